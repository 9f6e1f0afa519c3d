/**
 * W10, memory of shapes that nobody asks for: 10k, then 50k of them are made, none with a row, and left alone until their consumers have
 * ended. What more of them take more is what one takes.
 *
 * The limit is what an empty `Map` entry takes in this process: a key of the handle's length and a small object.
 *
 * Anonymous memory is the process's own; the rest of the resident set is files, of which the kernel takes back what it needs. Garbage has
 * been collected before each look, but V8 gives pages back as it pleases: the heap's use is the steadier figure.
 */
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Forms from "../support/Forms.ts"
import type { Look } from "../support/preload.ts"
import * as Processes from "../support/Processes.ts"
import { atMost, type Figure, MB, median, type Report } from "../support/Report.ts"
import * as Worker from "../support/Worker.ts"
import type * as Create from "../support/workers/create.ts"

const LIMIT = 600_000
const CONNECTIONS = 64
const SPREAD = 50_000
/** Consumers end between one and two of their idle times (30 s) after their last work. */
const IDLE_MILLIS = 65_000

interface Seen extends Look {
  readonly shapes: number
  readonly rss: number
  readonly anonymous: number
}

const target = (i: number) => Forms.target("tasks", `user_${SPREAD} = $1`, [String(i)])

/** Bytes of a Map's entry with a handle for its key. */
const mapEntry = (): number => {
  const count = 100_000
  const heap = () => process.memoryUsage().heapUsed
  const before = heap()
  const entries = new Map<string, { readonly id: number; readonly end: number }>()
  for (let i = 0; i < count; i++) entries.set(`${i + 1_000_000}-1700000000000000`, { id: i, end: 0 })
  const bytes = (heap() - before) / entries.size
  return Math.max(0, bytes)
}

const runOnce = (bench: Bench, url: string, steps: ReadonlyArray<number>): Promise<ReadonlyArray<Seen>> =>
  bench.withServer({ label: "idle", databaseUrl: url }, async (server) => {
    const seen: Array<Seen> = []
    let made = 0
    for (const shapes of steps) {
      const targets = Array.from({ length: shapes - made }, (_, i) => target(made + i))
      const { refused, wallMillis } = await Worker.once<Create.Job, Create.Result>(
        "create",
        "load",
        { port: server.port, targets, connections: CONNECTIONS },
        LIMIT
      )
      if (refused !== undefined) throw new Error(`refused: ${refused}`)
      made = shapes
      bench.progress(`idle: ${targets.length} shapes made in ${(wallMillis / 1000).toFixed(1)} s; they become idle`)
      await Processes.sleep(IDLE_MILLIS)
      const look = await server.look()
      seen.push({ shapes, ...look, ...Processes.memory(server.pid) })
    }
    return seen
  })

export const run = async (bench: Bench): Promise<Report> => {
  const { quick, runs } = bench.options
  // The first step is there to have everything allocated that is allocated once.
  const steps = quick ? [500, 2000, 5000] : [1000, 10_000, 50_000]
  const url = await bench.database("bench_idle", (url) => Database.createTasks(url, [SPREAD]))
  const results: Array<ReadonlyArray<Seen>> = []
  for (let i = 1; i <= Math.min(runs, 2); i++) results.push(await runOnce(bench, url, steps))
  const limit = mapEntry()
  const each = (pick: (seen: Seen) => number, from: number, to: number) =>
    median(results.map((seen) => (pick(seen[to]!) - pick(seen[from]!)) / (seen[to]!.shapes - seen[from]!.shapes)))
  const figures = steps.flatMap((shapes, i): ReadonlyArray<Figure> => {
    const of = (pick: (seen: Seen) => number) => median(results.map((seen) => pick(seen[i]!))) / MB
    const all = [
      { what: `${shapes} shapes: RSS`, ours: of((seen) => seen.rss), unit: "MB" },
      { what: "  of it anonymous", ours: of((seen) => seen.anonymous), unit: "MB" },
      { what: "  JavaScript heap", ours: of((seen) => seen.heap), unit: "MB" }
    ]
    if (i === 0) return all
    const bytes = each((seen) => seen.rss, i - 1, i)
    return [
      ...all,
      { what: "  a shape: RSS", ours: bytes, unit: "B", limit, aim: atMost(bytes, 2048, "B") },
      { what: "    anonymous", ours: each((seen) => seen.anonymous, i - 1, i), unit: "B" },
      { what: "    JavaScript heap", ours: each((seen) => seen.heap, i - 1, i), unit: "B" }
    ]
  })
  return {
    workload: "idle",
    title: `W10, memory of shapes without rows whose consumers have ended; limit: a Map's entry`,
    figures,
    notes: ["a shape: the difference to the step before, by the shapes that were made between"],
    runs: results
  }
}
