/**
 * From commit to client: rows are inserted at a steady pace, one client follows by long polls, and a bare reader of a slot of its own
 * receives the same changes at the same time.
 */
import * as Database from "./Database.ts"
import { percentile } from "./Report.ts"
import type { Server, Usage } from "./Server.ts"
import * as Worker from "./Worker.ts"
import type * as Bare from "./workers/bareReader.ts"
import type * as Live from "./workers/live.ts"
import type * as Writer from "./workers/writer.ts"

const BARE_SLOT = "bench_bare_latency"

export interface Job {
  readonly url: string
  readonly server: Server
  /** Target of the shape that every row concerns. */
  readonly shape: string
  /** Inserts one row, with its id and 120 bytes of text as parameters. */
  readonly insert: string
  readonly firstId: number
  readonly perSecond: number
  /** Rows that count; those of one second before them don't. */
  readonly count: number
}

export interface Result {
  readonly usage: Usage
  readonly polls: number
  /** Milliseconds of each row: from commit to client, from commit to bare reader, from bare reader to client. */
  readonly ours: ReadonlyArray<number>
  readonly bare: ReadonlyArray<number>
  readonly added: ReadonlyArray<number>
}

export const measure = async ({ count, firstId, insert, perSecond, server, shape, url }: Job): Promise<Result> => {
  const limit = count / perSecond * 5000 + 30_000
  const writer = Worker.start<Writer.Job, Writer.Result>("writer", "load")
  const live = Worker.start<Live.Job, Live.Result, "ready">("live", "load")
  const bare = Worker.start<Bare.Job, Bare.Result, "ready">("bareReader", "load")
  try {
    await Database.query(url, `SELECT pg_create_logical_replication_slot('${BARE_SLOT}', 'pgoutput')`)
    const rows = perSecond + count
    let isReady = () => {}
    const ready = new Promise<void>((resolve) => {
      let waiting = 2
      isReady = () => {
        if (--waiting === 0) resolve()
      }
    })
    const clientDone = live.ask({ port: server.port, shape, firstId, count: rows }, limit, isReady)
    const bareDone = bare.ask(
      { url, slot: BARE_SLOT, publication: Database.PUBLICATION, changes: rows, firstId },
      limit,
      isReady
    )
    const done = Promise.all([clientDone, bareDone])
    await Promise.race([ready, done])
    const measure = await server.measure()
    const { committed } = await writer.ask({ url, insert, firstId, perSecond, count: rows }, limit)
    const [client, reader] = await done
    const usage = await measure.end()
    const millis = (from: BigInt64Array, to: BigInt64Array) =>
      Array.from({ length: count }, (_, i) => Number(to[perSecond + i]! - from[perSecond + i]!) / 1e6)
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
}

/** What is kept of a run: percentiles, and not every row. */
export const summary = ({ added, bare, ours, ...result }: Result) => ({
  ...result,
  p50: [ours, bare, added].map((times) => percentile(times, 0.5)),
  p99: [ours, bare, added].map((times) => percentile(times, 0.99))
})
