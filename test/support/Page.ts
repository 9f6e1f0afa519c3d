/**
 * A page that React renders into: jsdom's window and document beside Node's own `fetch` and `AbortSignal`. The globals stay for the rest of
 * the test file, because React looks for them when it is loaded.
 */
import { JSDOM } from "jsdom"
import { act, type ReactNode } from "react"

const { window } = new JSDOM("<!doctype html><body></body>", { url: "http://127.0.0.1/", pretendToBeVisual: true })
const { document, localStorage, navigator } = window
const globals = { window, document, localStorage, navigator }
// Defined, as Node has some of them as getters.
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { configurable: true, writable: true, value })
}
const { createRoot } = await import("react-dom/client")

/** Does it and all that React makes of it. Outside of this React works by itself, as news come from the network. */
const acting = async (work: () => void): Promise<void> => {
  const environment = globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }
  environment.IS_REACT_ACT_ENVIRONMENT = true
  try {
    await act(async () => work())
  } finally {
    environment.IS_REACT_ACT_ENVIRONMENT = false
  }
}

/** Tells everything on the page whether it can be seen. */
export const setVisible = (visible: boolean): void => {
  const state = visible ? "visible" : "hidden"
  Object.defineProperty(document, "visibilityState", { configurable: true, value: state })
  Object.defineProperty(document, "hidden", { configurable: true, value: !visible })
  document.dispatchEvent(new window.Event("visibilitychange"))
}

export interface Page {
  readonly render: (node: ReactNode) => Promise<void>
  readonly unmount: () => Promise<void>
  /** The texts of the elements that a selector finds, in order. */
  readonly texts: (selector: string) => ReadonlyArray<string>
  /** Waits until the page shows this, which is looked at whenever it has changed. */
  readonly until: (condition: () => boolean, what: string, millis?: number) => Promise<void>
  /** What React has complained about. */
  readonly complaints: ReadonlyArray<string>
}

/** Runs with an empty page, and takes down what was rendered. */
export const withPage = async (body: (page: Page) => Promise<void>): Promise<void> => {
  const container = document.body.appendChild(document.createElement("main"))
  const root = createRoot(container)
  const complaints: Array<string> = []
  const { error } = console
  console.error = (...parts: ReadonlyArray<unknown>) => {
    complaints.push(parts.map(String).join(" "))
  }
  const page: Page = {
    render: (node) => acting(() => root.render(node)),
    unmount: () => acting(() => root.render(null)),
    texts: (selector) => [...container.querySelectorAll(selector)].map(({ textContent }) => textContent ?? ""),
    until: (condition, what, millis = 20_000) =>
      new Promise((resolve, reject) => {
        const finish = (end: () => void) => {
          clearTimeout(timer)
          observer.disconnect()
          end()
        }
        const look = () => {
          if (condition()) finish(resolve)
        }
        const observer = new window.MutationObserver(look)
        const timer = setTimeout(() => {
          const shown = container.innerHTML.slice(0, 1000)
          finish(() => reject(new Error(`${what} did not come within ${millis} ms: ${shown}`)))
        }, millis)
        observer.observe(container, { childList: true, characterData: true, subtree: true })
        look()
      }),
    complaints
  }
  try {
    await body(page)
  } finally {
    await acting(() => root.unmount())
    container.remove()
    console.error = error
  }
}
