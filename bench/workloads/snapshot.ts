/**
 * W1, first sync of a cold shape: one client reads from offset=-1 until it is up to date, and with its first request the shape is made.
 *
 * Limits, measured between the runs: `COPY items TO STDOUT` to /dev/null by psql on the server's core, which is the least Postgres can do to
 * give out a table; and the same with each row's JSON built in SQL. Both read the same table with warm buffers, as we do.
 *
 * Not comparable: the COPYs store nothing, we write the log to disk; our client shares a core with Postgres, psql has the server's.
 */
import { spawnSync } from "node:child_process"
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Processes from "../support/Processes.ts"
import { atLeast, atMost, MB, median, type Report, usageFigures } from "../support/Report.ts"
import * as Worker from "../support/Worker.ts"
import type * as Check from "../support/workers/check.ts"
import type * as Copy from "../support/workers/copy.ts"
import type * as Follow from "../support/workers/follow.ts"

const LIMIT = 300_000

const json = (column: string) =>
  `'"${column}":' || CASE WHEN ${column} IS NULL THEN 'null' ELSE to_json(${column}::text)::text END`

/** Snapshot items made in SQL: string concatenation, column by column. */
const jsonInSql =
  `SELECT '{"key":' || to_json('"public"."items"/"' || replace(id::text, '/', '//') || '"')::text || ',"value":{' || ${
    ["id", "name", "status", "ts", "n", "payload"].map(json).join(` || ',' || `)
  } || '},"headers":{"operation":"insert","relation":["public","items"]}}' FROM items`

const hasPsql = spawnSync("psql", ["--version"]).status === 0

/** Milliseconds of a COPY whose output is thrown away. */
const copy = async (url: string, what: string): Promise<number> => {
  if (!hasPsql) {
    const job: Copy.Job = { url, sql: `COPY ${what} TO STDOUT` }
    return (await Worker.once<Copy.Job, Copy.Result>("copy", "server", job, LIMIT)).wallMillis
  }
  const child = Processes.spawn("psql", [
    url,
    "-X",
    "-v",
    "ON_ERROR_STOP=1",
    "-c",
    "\\timing on",
    "-c",
    `\\copy ${what} to /dev/null`
  ], {
    role: "server",
    stdio: ["ignore", "pipe", "inherit"],
    env: { PGTZ: "UTC", PGDATESTYLE: "ISO" }
  })
  let output = ""
  child.stdout!.on("data", (chunk: Buffer) => {
    output += chunk.toString()
  })
  await Processes.within(LIMIT, "psql", Processes.exited(child))
  await Processes.sleep(20)
  const millis = Number(/Time: ([\d.]+) ms/.exec(output)?.[1])
  if (Number.isNaN(millis)) throw new Error(`psql did not tell the time: ${output}`)
  return millis
}

export const run = async (bench: Bench): Promise<Report> => {
  const { rows, runs } = bench.options
  const url = await bench.items("bench_items", rows)
  const results = []
  for (let i = 1; i <= runs; i++) {
    bench.progress(`snapshot ${i}/${runs}`)
    const copyMillis = await copy(url, "items")
    const jsonMillis = await copy(url, `(${jsonInSql})`)
    const ours = await bench.withServer({ label: "snapshot", databaseUrl: url }, async (server) => {
      const worker = Worker.start<Follow.Job, Follow.Result>("follow", "load")
      const measure = await server.measure()
      const read = await worker.ask({ port: server.port, shape: "/v1/shape?table=items", clients: 1, rounds: 1 }, LIMIT)
      const usage = await measure.end()
      worker.stop()
      const check = i > 1 ? undefined : await Worker.once<Check.Job, Check.Result>(
        "check",
        "load",
        { port: server.port, shape: "/v1/shape?table=items" },
        LIMIT
      )
      if (check && (check.rows !== rows || check.handle !== read.handle)) {
        throw new Error(`the snapshot has ${check.rows} rows instead of ${rows}`)
      }
      if (check) {
        const [expected] = await Database.query(url, "SELECT sum(n) AS sum FROM items")
        if (Number(expected?.sum) !== check.sum) throw new Error("the snapshot has other values than the table")
      }
      return { read, usage, rssAtStart: server.rssAtStart }
    })
    results.push({ copyMillis, jsonMillis, ...ours })
  }
  const wall = median(results.map(({ read }) => read.wallMillis))
  const copyMillis = median(results.map((result) => result.copyMillis))
  const jsonMillis = median(results.map((result) => result.jsonMillis))
  const firstByte = median(results.map(({ read }) => read.firstByteMillis))
  const { read } = results[0]!
  return {
    workload: "snapshot",
    title: `W1, first sync of ${rows} rows, cold (${(read.bytes / MB).toFixed(0)} MB in ${read.responses} responses)`,
    figures: [
      {
        what: hasPsql ? "wall; limit: psql COPY" : "wall; limit: COPY",
        ours: wall,
        unit: "ms",
        limit: copyMillis,
        ratio: copyMillis / wall,
        aim: atLeast(copyMillis / wall, 0.35)
      },
      {
        what: "  limit: COPY of JSON built in SQL",
        ours: wall,
        unit: "ms",
        limit: jsonMillis,
        ratio: jsonMillis / wall,
        aim: atLeast(jsonMillis / wall, 1.5)
      },
      { what: "rows", ours: rows / wall * 1000, unit: "1/s" },
      { what: "time to first byte", ours: firstByte, unit: "ms", aim: atMost(firstByte, 100, "ms") },
      ...usageFigures(results.map(({ usage }) => usage), 250),
      { what: "server RSS when ready", ours: median(results.map(({ rssAtStart }) => rssAtStart)) / MB, unit: "MB" },
      { what: "client busy", ours: 100 * median(results.map(({ read }) => read.busy)), unit: "%" }
    ],
    notes: [
      "checked: in the first run, a client that decodes everything has all rows, with the table's values",
      "RSS contains the mapped pages of the store's file; the anonymous part does not"
    ],
    runs: results
  }
}
