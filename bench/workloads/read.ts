/**
 * W2, first sync of a warm shape: the log is on disk and in the page cache; 1 and 16 clients read all of it.
 *
 * Limit, measured between the runs: a bare `node:http` server on the server's core that sends the recorded responses from memory, with the
 * same headers and in the same pieces; and, for comparison, each body as one buffer.
 *
 * All clients are in one process on the other core. Where it is busy all the time it bounds both sides and the wall times come out too
 * near to each other: then look at bytes per second of server CPU.
 */
import * as path from "node:path"
import type { Bench } from "../support/Bench.ts"
import * as RawServer from "../support/RawServer.ts"
import { atLeast, type Figure, MB, median, type Report, usageFigures } from "../support/Report.ts"
import type { Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Follow from "../support/workers/follow.ts"

const LIMIT = 300_000
const SHAPE = "/v1/shape?table=items"
const CLIENTS = [1, 16]

/** The same work by the bare server. */
interface RawResult {
  readonly read: Follow.Result
  readonly cpuSeconds: number
}

interface Result {
  readonly read: Follow.Result
  readonly usage: Usage
  readonly pieces: RawResult
  readonly whole: RawResult
}

export const run = async (bench: Bench): Promise<ReadonlyArray<Report>> => {
  const { rows, runs } = bench.options
  const url = await bench.items("bench_items", rows)
  return bench.withServer({ label: "read", databaseUrl: url }, async (server) => {
    const worker = Worker.start<Follow.Job, Follow.Result>("follow", "load")
    const follow = (port: number, clients: number, rounds: number) =>
      worker.ask({ port, shape: SHAPE, clients, rounds }, LIMIT)

    bench.progress("making the shape, and recording what is sent")
    await follow(server.port, 1, 1)
    const recording = await RawServer.record({
      port: server.port,
      file: path.join(bench.scratch("record"), "bodies"),
      shape: SHAPE
    })

    const raw = async (clients: number, rounds: number, inPieces: boolean): Promise<RawResult> => {
      const server = await RawServer.start(recording, inPieces)
      try {
        await follow(server.port, clients, 1)
        const before = await server.cpu()
        const read = await follow(server.port, clients, rounds)
        return { read, cpuSeconds: (await server.cpu()) - before }
      } finally {
        server.stop()
      }
    }

    const reports: Array<Report> = []
    for (const clients of CLIENTS) {
      // One client alone is soon done: several times, so that the time is more than its noise.
      const rounds = clients === 1 ? (bench.options.quick ? 10 : 3) : 1
      await follow(server.port, clients, 1)
      const results: Array<Result> = []
      for (let i = 1; i <= runs; i++) {
        bench.progress(`read with ${clients} clients ${i}/${runs}`)
        const pieces = await raw(clients, rounds, true)
        const whole = await raw(clients, rounds, false)
        const measure = await server.measure()
        const read = await follow(server.port, clients, rounds)
        const usage = await measure.end()
        if (read.bytes !== pieces.read.bytes) throw new Error("the bare server sent something else than ours")
        results.push({ read, usage, pieces, whole })
      }
      const rate = (pick: (result: Result) => { readonly bytes: number; readonly wallMillis: number }) =>
        median(results.map((result) => pick(result).bytes / MB / pick(result).wallMillis * 1000))
      const ours = rate(({ read }) => read)
      const pieces = rate(({ pieces }) => pieces.read)
      const whole = rate(({ whole }) => whole.read)
      const perCpu = median(results.map(({ read, usage }) => read.bytes / MB / usage.cpuSeconds))
      const rawPerCpu = median(results.map(({ pieces }) => pieces.read.bytes / MB / pieces.cpuSeconds))
      const busy = (pick: (result: Result) => Follow.Result) => 100 * median(results.map((result) => pick(result).busy))
      const figures: ReadonlyArray<Figure> = [
        {
          what: "read; limit: node:http, same pieces",
          ours,
          unit: "MB/s",
          limit: pieces,
          ratio: ours / pieces,
          aim: atLeast(ours / pieces, 0.5)
        },
        { what: "  limit: node:http, one buffer a response", ours, unit: "MB/s", limit: whole, ratio: ours / whole },
        { what: "per second of server CPU", ours: perCpu, unit: "MB", limit: rawPerCpu, ratio: perCpu / rawPerCpu },
        { what: "client busy", ours: busy(({ read }) => read), unit: "%", limit: busy(({ pieces }) => pieces.read) },
        ...usageFigures(results.map(({ usage }) => usage))
      ]
      reports.push({
        workload: `read, ${clients} client${clients > 1 ? "s" : ""}`,
        title: `W2, ${clients} x ${rounds} times the warm log of ${rows} rows (${
          (results[0]!.read.bytes / MB / clients / rounds).toFixed(0)
        } MB)`,
        figures,
        notes: [],
        runs: results
      })
    }
    worker.stop()
    return reports
  })
}
