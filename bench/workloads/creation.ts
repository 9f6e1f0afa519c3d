/**
 * W8, making shapes: each request is the first for its shape, whose snapshot has 500 rows of a table with an index on the column.
 *
 * Sustained, over 64 connections; and 3650 at once, over as many connections. Each run has a server with an empty store. Limit, in the
 * same run: a process in the server's place that runs the same queries, each in a transaction of its own, over as many connections as the
 * server has for snapshots, and throws the rows away.
 *
 * Postgres and the clients share a core. A snapshot is about 170 KB of JSON, which is also written to disk: at 1500 shapes a second that
 * is 250 MB/s.
 */
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Forms from "../support/Forms.ts"
import { atLeast, atMost, MB, median, type Report, usageFigures } from "../support/Report.ts"
import type { Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Check from "../support/workers/check.ts"
import type * as Copies from "../support/workers/copies.ts"
import type * as Create from "../support/workers/create.ts"

const LIMIT = 300_000
const ROWS = 500
const CONNECTIONS = 64
/** What the server has for snapshots by default. */
const SNAPSHOT_CONNECTIONS = 16
const AT_ONCE = 3650
const COLUMNS = "id, group_id, name, status, ts, n, payload"

interface Result {
  readonly ours: Create.Result
  readonly limit: Copies.Result
  readonly usage: Usage
}

const createMembers = (url: string, groups: number) =>
  Database.query(
    url,
    `CREATE TABLE members (id bigint PRIMARY KEY, group_id int NOT NULL, name text NOT NULL, status text NOT NULL, ts timestamptz NOT NULL,
       n int NOT NULL, payload text NOT NULL);
     ALTER TABLE members REPLICA IDENTITY FULL;
     INSERT INTO members SELECT i, (i - 1) / ${ROWS}, 'name ' || i, 'active', '2024-01-01Z'::timestamptz + i * interval '1 second', i % 1000,
       left(repeat(md5(i::text), 4), 120) FROM generate_series(1, ${groups * ROWS}) i;
     CREATE INDEX ON members (group_id)`
  )

const target = (group: number) => Forms.target("members", "group_id = $1", [String(group)])

/** Reads some of the shapes the way a client would: their rows are the table's. */
const check = async (port: number, url: string, groups: ReadonlyArray<number>): Promise<void> => {
  for (const group of groups) {
    const found = await Worker.once<Check.Job, Check.Result>("check", "load", { port, shape: target(group) }, LIMIT)
    const [table] = await Database.query(
      url,
      `SELECT count(*) AS rows, sum(n) AS sum FROM members WHERE group_id = ${group}`
    )
    if (found.rows !== Number(table?.rows) || found.sum !== Number(table?.sum)) {
      throw new Error(`group ${group}: the client has ${JSON.stringify(found)}, the table ${JSON.stringify(table)}`)
    }
  }
}

const runKind = async (
  bench: Bench,
  url: string,
  kind: { readonly name: string; readonly shapes: number; readonly connections: number }
): Promise<Report> => {
  const { connections, name, shapes } = kind
  const { runs } = bench.options
  const groups = Array.from({ length: shapes }, (_, i) => i)
  const results: Array<Result> = []
  for (let i = 1; i <= runs; i++) {
    bench.progress(`creation, ${name} ${i}/${runs}`)
    const limit = await Worker.once<Copies.Job, Copies.Result>(
      "copies",
      "server",
      {
        url,
        queries: groups.map((group) => `SELECT ${COLUMNS} FROM ONLY members WHERE group_id = ${group}`),
        connections: SNAPSHOT_CONNECTIONS
      },
      LIMIT
    )
    if (limit.rows !== shapes * ROWS) throw new Error(`${limit.rows} rows were copied`)
    results.push(
      await bench.withServer({ label: `creation-${name}`, databaseUrl: url }, async (server) => {
        const create = (targets: ReadonlyArray<string>, connections: number) =>
          Worker.once<Create.Job, Create.Result>(
            "create",
            "load",
            { port: server.port, targets, connections },
            LIMIT
          )
        // The table is published, its catalog entry read, and connections are opened.
        await create(groups.slice(0, SNAPSHOT_CONNECTIONS).map((group) => `${target(group)}&replica=full`), CONNECTIONS)
        const measure = await server.measure()
        const ours = await create(groups.map(target), connections)
        const usage = await measure.end()
        if (ours.refused !== undefined) throw new Error(`refused: ${ours.refused}`)
        await check(server.port, url, [0, shapes >> 1, shapes - 1])
        return { ours, limit, usage }
      })
    )
  }
  const of = (pick: (result: Result) => number) => median(results.map(pick))
  const wall = of(({ ours }) => ours.wallMillis)
  const limit = of(({ limit }) => limit.wallMillis)
  return {
    workload: `creation, ${name}`,
    title: `W8, ${shapes} new shapes of ${ROWS} rows over ${connections} connections; limit: the same queries alone`,
    figures: [
      {
        what: "shapes",
        ours: shapes / wall * 1000,
        unit: "1/s",
        limit: shapes / limit * 1000,
        ratio: limit / wall,
        aim: shapes / wall * 1000 >= 1500 ? { text: ">= 1500 1/s", met: true } : atLeast(limit / wall, 0.5)
      },
      {
        what: "all of them",
        ours: wall,
        unit: "ms",
        limit,
        ...(connections === shapes && { aim: atMost(wall, 3000, "ms") })
      },
      { what: "bodies", ours: of(({ ours }) => ours.bytes / MB / ours.wallMillis * 1000), unit: "MB/s" },
      { what: "one, p50", ours: of(({ ours }) => ours.p50), unit: "ms" },
      { what: "one, p99", ours: of(({ ours }) => ours.p99), unit: "ms" },
      { what: "server CPU per shape", ours: of(({ usage }) => usage.cpuSeconds) / shapes * 1e6, unit: "us" },
      { what: "client busy", ours: 100 * of(({ ours }) => ours.busy), unit: "%" },
      ...usageFigures(results.map(({ usage }) => usage))
    ],
    notes: ["checked in each run: as many handles as definitions; three of the shapes have the table's rows"],
    runs: results
  }
}

export const run = async (bench: Bench): Promise<ReadonlyArray<Report>> => {
  const atOnce = bench.options.quick ? 500 : AT_ONCE
  const url = await bench.database("bench_creation", async (url) => {
    bench.progress(`loading ${atOnce} groups of ${ROWS} rows`)
    await createMembers(url, atOnce)
    await Database.settle(url, "members")
  })
  return [
    await runKind(bench, url, { name: "sustained", shapes: atOnce, connections: CONNECTIONS }),
    await runKind(bench, url, { name: "at once", shapes: atOnce, connections: atOnce })
  ]
}
