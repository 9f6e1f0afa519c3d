/**
 * W11, from commit to client: single-row transactions at a steady 100 a second, one client that follows by long polls.
 *
 * Limit: a bare reader of a slot of its own receives the same changes at the same time. Writer, client and bare reader share a core
 * with Postgres, so the bare reader's time contains all of Postgres's; what we add is the difference of the two, row by row.
 *
 * All times are of the monotonic clock, which the processes share. It counts from when COMMIT had returned to the writer: a change can
 * be there before that, and a time can be less than nothing.
 */
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import { atMost, percentile, type Report, usageFigures } from "../support/Report.ts"
import type { Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Bare from "../support/workers/bareReader.ts"
import type * as Live from "../support/workers/live.ts"
import type * as Writer from "../support/workers/writer.ts"

const PER_SECOND = 100
const SHAPE = "/v1/shape?table=items"
const BARE_SLOT = "bench_bare_latency"
const ROWS = 1000

interface Result {
  readonly usage: Usage
  readonly polls: number
  /** Milliseconds of each row: from commit to client, from commit to bare reader, from bare reader to client. */
  readonly ours: ReadonlyArray<number>
  readonly bare: ReadonlyArray<number>
  readonly added: ReadonlyArray<number>
}

export const run = async (bench: Bench): Promise<Report> => {
  const { runs, seconds } = bench.options
  const url = await bench.items("bench_latency", ROWS)
  const count = PER_SECOND * seconds
  const limit = seconds * 5000 + 30_000
  const warmUp = PER_SECOND
  const results: Array<Result> = []
  for (let i = 1; i <= runs; i++) {
    bench.progress(`latency ${i}/${runs}`)
    const firstId = 1_000_000 * i
    results.push(
      await bench.withServer({ label: "latency", databaseUrl: url }, async (server) => {
        const writer = Worker.start<Writer.Job, Writer.Result>("writer", "load")
        const live = Worker.start<Live.Job, Live.Result, "ready">("live", "load")
        const bare = Worker.start<Bare.Job, Bare.Result, "ready">("bareReader", "load")
        try {
          await Database.query(url, `SELECT pg_create_logical_replication_slot('${BARE_SLOT}', 'pgoutput')`)
          // Rows of the first second are written and received as all others, and not counted.
          const rows = warmUp + count
          let isReady = () => {}
          const ready = new Promise<void>((resolve) => {
            let waiting = 2
            isReady = () => {
              if (--waiting === 0) resolve()
            }
          })
          const clientDone = live.ask({ port: server.port, shape: SHAPE, firstId, count: rows }, limit, isReady)
          const bareDone = bare.ask(
            { url, slot: BARE_SLOT, publication: Database.PUBLICATION, changes: rows, firstId },
            limit,
            isReady
          )
          const done = Promise.all([clientDone, bareDone])
          await Promise.race([ready, done])
          const measure = await server.measure()
          const { committed } = await writer.ask({ url, firstId, perSecond: PER_SECOND, count: rows }, limit)
          const [client, reader] = await done
          const usage = await measure.end()
          const millis = (from: BigInt64Array, to: BigInt64Array) =>
            Array.from({ length: count }, (_, i) => Number(to[warmUp + i]! - from[warmUp + i]!) / 1e6)
          return {
            usage,
            polls: client.polls,
            ours: millis(committed, client.received),
            bare: millis(committed, reader.received),
            added: millis(reader.received, client.received)
          }
        } finally {
          for (const worker of [writer, live, bare]) worker.stop()
          await Database.dropSlot(url, BARE_SLOT)
        }
      })
    )
  }
  const all = (pick: (result: Result) => ReadonlyArray<number>) => results.flatMap(pick)
  const [ours, bare, added] = [
    all((result) => result.ours),
    all((result) => result.bare),
    all((result) => result.added)
  ]
  const p50 = percentile(ours, 0.5) - percentile(bare, 0.5)
  const p99 = percentile(ours, 0.99) - percentile(bare, 0.99)
  const figure = (what: string, p: number) => ({
    what,
    ours: percentile(ours, p),
    unit: "ms",
    limit: percentile(bare, p)
  })
  return {
    workload: "latency",
    title: `W11, commit to byte received, ${PER_SECOND} writes/s for ${seconds} s; limit: a bare pgoutput reader`,
    figures: [
      figure("p50", 0.5),
      figure("p99", 0.99),
      figure("max", 1),
      { what: "p50: ours - bare", ours: p50, unit: "ms", aim: atMost(p50, 3, "ms") },
      { what: "p99: ours - bare", ours: p99, unit: "ms", aim: atMost(p99, 10, "ms") },
      { what: "row by row: p50", ours: percentile(added, 0.5), unit: "ms" },
      { what: "row by row: p99", ours: percentile(added, 0.99), unit: "ms" },
      ...usageFigures(results.map(({ usage }) => usage))
    ],
    notes: [
      `over all ${ours.length} rows of ${runs} runs; every row came once, and in ${
        results[0]!.polls
      } responses in the first run`
    ],
    runs: results.map(({ added, bare, ours, ...result }) => ({
      ...result,
      p50: [ours, bare, added].map((times) => percentile(times, 0.5)),
      p99: [ours, bare, added].map((times) => percentile(times, 0.99))
    }))
  }
}
