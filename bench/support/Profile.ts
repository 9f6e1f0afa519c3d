/**
 * The functions in which a CPU profile spent its time.
 */
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

interface Frame {
  readonly functionName: string
  readonly url: string
  readonly lineNumber: number
}

interface Profile {
  readonly nodes: ReadonlyArray<{
    readonly id: number
    readonly children?: ReadonlyArray<number>
    readonly callFrame: Frame
  }>
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

const LINES = 25

const place = (url: string): string =>
  url.startsWith("file:")
    ? path.relative(process.cwd(), fileURLToPath(url.split("?")[0]!)).replace(/^.*node_modules\//, "")
    : url

/** What stands in that line of a file of ours: arrow functions have no name in a profile. */
const sourceLine = (url: string, line: number): string => {
  if (!url.startsWith("file:") || url.includes("node_modules")) return ""
  const text = fs.readFileSync(fileURLToPath(url.split("?")[0]!), "utf8").split("\n")[line]
  return text === undefined ? "" : `  | ${text.trim().slice(0, 60)}`
}

/** Top functions by the time in themselves, as lines of text; percentages are of the time that was not idle. */
export const summary = (file: string): ReadonlyArray<string> => {
  const { nodes, samples, timeDeltas } = JSON.parse(fs.readFileSync(file, "utf8")) as Profile
  const parents = new Map(nodes.flatMap(({ children, id }) => (children ?? []).map((child) => [child, id])))
  const frames = new Map(nodes.map(({ callFrame, id }) => [id, callFrame]))
  const placeOf = ({ functionName, lineNumber, url }: Frame) =>
    `${functionName || "(anonymous)"}${url ? `  ${place(url)}:${lineNumber + 1}${sourceLine(url, lineNumber)}` : ""}`
  /** Native functions say little: who called them says more. */
  const nameOf = (id: number): string => {
    const frame = frames.get(id)!
    const parent = frames.get(parents.get(id) ?? -1)
    return frame.url === "" && parent !== undefined && parent.functionName !== "(root)"
      ? `${placeOf(frame)}  < ${placeOf(parent)}`
      : placeOf(frame)
  }
  const names = new Map(nodes.map(({ id }) => [id, nameOf(id)]))
  const times = new Map<string, number>()
  samples.forEach((id, i) => {
    const name = names.get(id) ?? "?"
    times.set(name, (times.get(name) ?? 0) + timeDeltas[i]!)
  })
  const all = [...times.values()].reduce((sum, time) => sum + time, 0)
  // Starting the profiler is not the server's work.
  let idle = 0
  for (const [name, time] of times) {
    if (name !== "(idle)" && !name.startsWith("dispatch  <")) continue
    idle += time
    times.delete(name)
  }
  const busy = all - idle
  const top = [...times].sort((a, b) => b[1] - a[1]).slice(0, LINES)
  return [
    `busy ${(busy / 1e6).toFixed(2)} s of ${(all / 1e6).toFixed(2)} s`,
    ...top.map(([name, time]) => `${(100 * time / busy).toFixed(1).padStart(5)} %  ${name}`)
  ]
}

export const print = (directory: string): void => {
  for (const file of fs.readdirSync(directory).filter((name) => name.endsWith(".cpuprofile")).sort()) {
    console.log(`\nprofile ${file}`)
    for (const line of summary(path.join(directory, file))) console.log(`  ${line}`)
  }
}
