/**
 * W3, catch-up: 1000 clients come back at once, and each reads about the last 200 KB of a log from an offset of its own.
 *
 * Limit, measured between the runs: a bare `node:http` server on the server's core that sends the same bytes with the same headers from
 * memory, each body in one buffer.
 *
 * The clients are in one process on the other core and have their connections already: what is measured is the reading. Latencies are of
 * all clients at once, so half of them is about half of the time that all take.
 */
import * as path from "node:path"
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Processes from "../support/Processes.ts"
import * as RawHttp from "../support/RawHttp.ts"
import * as RawServer from "../support/RawServer.ts"
import { atLeast, atMost, MB, median, percentile, type Report, usageFigures } from "../support/Report.ts"
import type { Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Readers from "../support/workers/readers.ts"

const LIMIT = 120_000
const SHAPE = "/v1/shape?table=items&log=changes_only"
/** Transactions of one row each, and how many of the last ones are about 200 KB. */
const TRANSACTIONS = 1_200
const LAST = 500
/** Different offsets that clients come with. */
const OFFSETS = 100

const POSITION = /"lsn":"(\d+)"[^{}]*?"op_position":(\d+)|"op_position":(\d+)[^{}]*?"lsn":"(\d+)"/g

interface Result {
  readonly ours: Readers.Result
  readonly usage: Usage
  readonly limit: Readers.Result
  readonly limitCpu: number
}

export const run = async (bench: Bench): Promise<Report> => {
  const { quick, runs } = bench.options
  const clients = quick ? 200 : 1_000
  const url = await bench.items("bench_catchup", 1)
  return bench.withServer({ label: "catchup", databaseUrl: url }, async (server) => {
    const connection = await RawHttp.connect(server.port)
    const { handle } = await RawHttp.follow(connection, SHAPE, () => {})
    await Database.query(
      url,
      `CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$ BEGIN
         FOR i IN 1..${TRANSACTIONS} LOOP
           INSERT INTO items VALUES (1000 + i, 'name ' || i, 'active', '2024-01-01Z', i, left(repeat(md5(i::text), 4), 120));
           COMMIT;
         END LOOP;
       END $$`
    )
    await Database.query(url, "CALL fill()")
    const offsets = await Processes.until(60_000, "the log", async () => {
      let log = ""
      await RawHttp.follow(connection, SHAPE, (bytes) => {
        log += bytes.toString("latin1")
      }, { handle, offset: "0_inf" })
      const found = Array.from(
        log.matchAll(POSITION),
        ([, lsn, op, otherOp, otherLsn]) => `${lsn ?? otherLsn}_${op ?? otherOp}`
      )
      return found.length === TRANSACTIONS ? found : undefined
    })
    connection.close()
    const asked = Array.from(
      { length: OFFSETS },
      (_, i) => `${SHAPE}&handle=${handle}&offset=${offsets[TRANSACTIONS - LAST - 1 - i]!}`
    )
    const targets = Array.from({ length: clients }, (_, i) => asked[i % OFFSETS]!)

    const recording = await RawServer.record({
      port: server.port,
      file: path.join(bench.scratch("record"), "bodies"),
      requests: asked.map((target) => ({ target, headers: "" }))
    })
    const raw = await RawServer.start(recording, false)
    const worker = Worker.start<Readers.Job, Readers.Result>("readers", "load")
    const read = (port: number) => worker.ask({ port, targets }, LIMIT)
    await read(raw.port)
    await read(server.port)
    const results: Array<Result> = []
    for (let i = 1; i <= runs; i++) {
      bench.progress(`catchup ${i}/${runs}`)
      const before = await raw.cpu()
      const limit = await read(raw.port)
      const limitCpu = (await raw.cpu()) - before
      const measure = await server.measure()
      const ours = await read(server.port)
      const usage = await measure.end()
      if (ours.bytes !== limit.bytes) throw new Error(`${ours.bytes} bytes came, not ${limit.bytes}`)
      results.push({ ours, usage, limit, limitCpu })
    }
    raw.stop()
    worker.stop()
    const of = (pick: (result: Result) => number) => median(results.map(pick))
    const p99 = of(({ ours }) => percentile(ours.millis, 0.99))
    const rate = (pick: (result: Result) => Readers.Result) =>
      of((result) => pick(result).bytes / MB / pick(result).wallMillis * 1_000)
    const [ours, limit] = [rate(({ ours }) => ours), rate(({ limit }) => limit)]
    return {
      workload: "catchup",
      title: `W3, ${clients} clients read ${
        (results[0]!.ours.bytes / clients / 1_000).toFixed(0)
      } KB each at once; limit: node:http`,
      figures: [
        {
          what: "p50",
          ours: of(({ ours }) => percentile(ours.millis, 0.5)),
          unit: "ms",
          limit: of(({ limit }) => percentile(limit.millis, 0.5))
        },
        {
          what: "p99",
          ours: p99,
          unit: "ms",
          limit: of(({ limit }) => percentile(limit.millis, 0.99)),
          aim: atMost(p99, 150, "ms")
        },
        { what: "read", ours, unit: "MB/s", limit, ratio: ours / limit, aim: atLeast(ours / limit, 0.5) },
        {
          what: "server CPU per client",
          ours: of(({ usage }) => usage.cpuSeconds) / clients * 1e6,
          unit: "us",
          limit: of(({ limitCpu }) => limitCpu) / clients * 1e6
        },
        {
          what: "client busy",
          ours: 100 * of(({ ours }) => ours.busy),
          unit: "%",
          limit: 100 * of(({ limit }) => limit.busy)
        },
        ...usageFigures(results.map(({ usage }) => usage))
      ],
      notes: [`${OFFSETS} different offsets; every client got what it was to get`],
      runs: results.map(({ limit, ours, ...rest }) => ({
        ...rest,
        ours: { ...ours, millis: [] },
        limit: { ...limit, millis: [] }
      }))
    }
  })
}
