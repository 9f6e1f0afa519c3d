/**
 * W3, small responses: reads of about 1 KB and 304s over 64 keep-alive connections, no pipelining.
 *
 * Three requests: the live log of some changes, which is in memory; a snapshot of some rows, which comes from the store; the former
 * again with `If-None-Match`. Limit, measured between the runs: a bare `node:http` server on the server's core that sends the same bytes
 * with the same headers.
 *
 * The load's process has the other core to itself and is less busy than the server: the server is what is measured. Throughput under
 * closed-loop load is the reciprocal of the server's time per request; latencies under it say nothing.
 */
import * as path from "node:path"
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Processes from "../support/Processes.ts"
import * as RawHttp from "../support/RawHttp.ts"
import * as RawServer from "../support/RawServer.ts"
import { atLeast, median, type Report, usageFigures } from "../support/Report.ts"
import * as Worker from "../support/Worker.ts"
import type * as Load from "../support/workers/load.ts"

const LIMIT = 120_000
const CONNECTIONS = 64
const SHAPE = "/v1/shape?table=items"

export const run = async (bench: Bench): Promise<ReadonlyArray<Report>> => {
  const { requests, runs } = bench.options
  const url = await bench.items("bench_small", 3)
  return bench.withServer({ label: "small", databaseUrl: url }, async (server) => {
    const connection = await RawHttp.connect(server.port)
    const { handle } = await RawHttp.follow(connection, SHAPE, () => {})
    for (let i = 1; i <= 5; i++) {
      await Database.query(url, `UPDATE items SET payload = left(repeat(md5('${i}'), 4), 120) WHERE id = ${1 + i % 3}`)
    }
    const live = `${SHAPE}&offset=0_inf&handle=${handle}`
    const etag = await Processes.until(10_000, "the changes' arrival", async () => {
      let body = ""
      const head = await connection.get(live, (bytes) => {
        body += bytes.toString("latin1")
      })
      return body.split("\"operation\"").length > 5 ? RawHttp.header(head, "etag") : undefined
    })
    connection.close()

    const kinds = [
      { name: "live log", target: live, headers: "", status: 200 },
      { name: "snapshot", target: `${SHAPE}&offset=-1`, headers: "", status: 200 },
      { name: "not modified", target: live, headers: `if-none-match: ${etag}\r\n`, status: 304 }
    ]
    const recording = await RawServer.record({
      port: server.port,
      file: path.join(bench.scratch("record"), "bodies"),
      requests: kinds.map(({ headers, target }) => ({ target, headers }))
    })
    const raw = await RawServer.start(recording, true)
    const worker = Worker.start<Load.Job, Load.Result>("load", "load")

    const reports: Array<Report> = []
    for (const [index, { headers, name, status, target }] of kinds.entries()) {
      const load = (port: number, count: number) =>
        worker.ask({ port, target, headers, status, connections: CONNECTIONS, requests: count }, LIMIT)
      await load(raw.port, Math.min(requests, 10_000))
      await load(server.port, Math.min(requests, 10_000))
      const results = []
      for (let i = 1; i <= runs; i++) {
        bench.progress(`small, ${name} ${i}/${runs}`)
        const before = await raw.cpu()
        const limit = await load(raw.port, requests)
        const limitCpu = (await raw.cpu()) - before
        const measure = await server.measure()
        const ours = await load(server.port, requests)
        const usage = await measure.end()
        results.push({ ours, usage, limit, limitCpu })
      }
      const rate = requests / median(results.map(({ ours }) => ours.wallMillis)) * 1000
      const limit = requests / median(results.map(({ limit }) => limit.wallMillis)) * 1000
      const cpu = median(results.map(({ usage }) => usage.cpuSeconds)) / requests * 1e6
      const limitCpu = median(results.map(({ limitCpu }) => limitCpu)) / requests * 1e6
      reports.push({
        workload: `small, ${name}`,
        title: `W3, ${requests} x ${status} with ${
          recording.responses[index]!.length
        } bytes of body, ${CONNECTIONS} connections`,
        figures: [
          {
            what: "requests; limit: node:http",
            ours: rate,
            unit: "1/s",
            limit,
            ratio: rate / limit,
            aim: atLeast(rate / limit, 0.6)
          },
          { what: "server CPU per request", ours: cpu, unit: "us", limit: limitCpu, ratio: limitCpu / cpu },
          {
            what: "client busy",
            ours: 100 * median(results.map(({ ours }) => ours.busy)),
            unit: "%",
            limit: 100 * median(results.map(({ limit }) => limit.busy))
          },
          ...usageFigures(results.map(({ usage }) => usage))
        ],
        notes: [],
        runs: results
      })
    }
    raw.stop()
    worker.stop()
    return reports
  })
}
