/**
 * A gateway between clients and the server, such as applications put in front of it: it sees every request, may answer in the server's
 * place, and knows which requests have not ended.
 */
import assert from "node:assert/strict"
import * as http from "node:http"

/** A request that came by. */
export interface Passed {
  readonly method: string
  readonly url: URL
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
  /** Of the response, once its headers are there. */
  readonly status: number | undefined
  readonly answered: http.IncomingHttpHeaders
  /** `left`: the client went away before it had the whole answer; `broken`: the server did. */
  readonly state: "open" | "done" | "left" | "broken"
}

/** What is answered without the server. */
export interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

type Decide = (request: Passed) => Answer | undefined

interface Entry extends Passed {
  status: number | undefined
  answered: http.IncomingHttpHeaders
  state: Passed["state"]
}

/** Headers that concern one connection only. */
const hopByHop = new Set(["connection", "keep-alive", "transfer-encoding"])

const forwarded = (headers: http.IncomingHttpHeaders): http.OutgoingHttpHeaders =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !hopByHop.has(name)))

export class Gateway {
  /** All requests, in the order in which they came. */
  readonly requests: Array<Passed> = []
  private readonly target: string
  private readonly decide: Decide
  private readonly server: http.Server
  private readonly watchers = new Set<() => void>()

  private constructor(target: string, decide: Decide) {
    this.target = target
    this.decide = decide
    this.server = http.createServer((request, response) => {
      const pieces: Array<Buffer> = []
      request.on("data", (piece: Buffer) => pieces.push(piece))
      request.on("end", () => this.pass(request, response, Buffer.concat(pieces)))
    })
  }

  static async open(target: string, decide: Decide = () => undefined): Promise<Gateway> {
    const gateway = new Gateway(target, decide)
    await new Promise<void>((resolve, reject) => {
      gateway.server.once("error", reject)
      gateway.server.listen(0, "127.0.0.1", resolve)
    })
    return gateway
  }

  get url(): string {
    const address = this.server.address()
    assert.ok(address !== null && typeof address === "object")
    return `http://127.0.0.1:${address.port}`
  }

  /** What the published client takes for `url`. */
  get shapeUrl(): string {
    return `${this.url}/v1/shape`
  }

  /** Live requests that have not ended, refused ones apart. */
  get held(): ReadonlyArray<Passed> {
    return this.requests.filter(({ state, status = 200, url }) =>
      state === "open" && status === 200 && url.searchParams.get("live") === "true"
    )
  }

  /** Waits until the condition holds, which is asked whenever a request comes, is answered or ends. */
  async until(condition: () => boolean, what: string, millis = 20_000): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.watchers.delete(look)
        const last = this.requests.slice(-10).map((
          { method, state, status, url }
        ) => [method, url.search, status, state])
        reject(new Error(`${what} did not come within ${millis} ms; last requests: ${JSON.stringify(last)}`))
      }, millis)
      const look = () => {
        if (!condition()) return
        clearTimeout(timer)
        this.watchers.delete(look)
        resolve()
      }
      this.watchers.add(look)
      look()
    })
  }

  async close(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }

  private changed(): void {
    for (const watcher of [...this.watchers]) watcher()
  }

  private pass(request: http.IncomingMessage, response: http.ServerResponse, body: Buffer): void {
    const entry: Entry = {
      method: request.method ?? "GET",
      url: new URL(request.url ?? "/", this.target),
      headers: request.headers,
      body: body.toString(),
      status: undefined,
      answered: {},
      state: "open"
    }
    const end = (state: Passed["state"]) => {
      if (entry.state !== "open") return
      entry.state = state
      this.changed()
    }
    this.requests.push(entry)
    const answer = this.decide(entry)
    response.on("finish", () => end("done"))
    if (answer) {
      entry.status = answer.status
      response.on("close", () => end("left"))
      response.writeHead(answer.status, answer.headers).end(answer.body)
      this.changed()
      return
    }
    const upstream = http.request(entry.url, { method: entry.method, headers: forwarded(request.headers) }, (from) => {
      entry.status = from.statusCode
      entry.answered = from.headers
      response.writeHead(from.statusCode ?? 502, forwarded(from.headers))
      from.on("error", () => response.destroy())
      from.pipe(response)
      this.changed()
    })
    upstream.on("error", () => {
      end("broken")
      response.destroy()
    })
    // The server sees that its client is gone when ours is.
    response.on("close", () => {
      end("left")
      upstream.destroy()
    })
    upstream.end(body)
    this.changed()
  }
}

/** Runs with a gateway before a server. */
export const withGateway = async (
  target: string,
  body: (gateway: Gateway) => Promise<void>,
  decide?: Decide
): Promise<void> => {
  const gateway = await Gateway.open(target, decide)
  try {
    await body(gateway)
  } finally {
    await gateway.close()
  }
}
