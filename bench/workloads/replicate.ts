/**
 * W7, draining a backlog: (a) one transaction that updates every row of the table, (b) many transactions that insert one row each; one
 * shape of the whole table follows.
 *
 * The server makes the shape and stops; the backlog is written; then, run after run, the server starts on a copy of its storage
 * and a copy of its slot. Time counts from when it follows the slot to when the shape's end is the last transaction, asked for every
 * 20 ms. Limit: a bare reader of another copy of the same slot, on the server's core. Postgres decodes the same WAL for both.
 *
 * Decoding one big transaction keeps Postgres busy for long before it sends the first byte, and that part is the same for both. So times
 * and ratios are also given from the first byte on: that is where a slow reader shows. For us that is when the server process
 * has read 256 KB more than when it began to follow, seen every 5 ms.
 *
 * Not comparable: the bare reader stores nothing. We write the log, and each run ends with a client that decodes all of it and must
 * come to the table's content.
 */
import * as fs from "node:fs/promises"
import * as path from "node:path"
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Processes from "../support/Processes.ts"
import * as RawHttp from "../support/RawHttp.ts"
import { atLeast, MB, median, type Report, usageFigures } from "../support/Report.ts"
import type { Server, Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Bare from "../support/workers/bareReader.ts"
import type * as Check from "../support/workers/check.ts"
import type * as Follow from "../support/workers/follow.ts"

const LIMIT = 600_000
const SHAPE = "/v1/shape?table=items"
const MASTER = "bench_master"
const BARE = "bench_bare"
/** Bytes by which the process must have read more for the stream to have begun. */
const BEGUN_BYTES = 256 * 1024

interface Kind {
  readonly name: string
  readonly title: string
  readonly database: string
  /** Rows before the backlog. */
  readonly rows: number
  /** Row changes of the backlog. */
  readonly changes: number
  readonly aim: number
  readonly rssLimitMb: number | undefined
  readonly generate: (url: string) => Promise<void>
}

interface Result {
  /** From following the slot to the last transaction's being readable. */
  readonly wallMillis: number
  /** The same from when the stream had begun. */
  readonly sinceFirstMillis: number
  /** Until the slot was confirmed up to there: all of it is durable. */
  readonly durableMillis: number
  /** A client's reading all of the log afterwards, decoding nothing. */
  readonly read: Follow.Result
  readonly bare: Bare.Result
  readonly usage: Usage
}

/** Many transactions quickly: a procedure that commits after each row, without a round trip or a wait for the disk. */
const insertOneByOne = async (url: string, first: number, count: number): Promise<void> => {
  await Database.query(
    url,
    `CREATE OR REPLACE PROCEDURE insert_one_by_one(first bigint, count bigint) LANGUAGE plpgsql AS $$
     BEGIN
       FOR i IN first .. first + count - 1 LOOP
         INSERT INTO items VALUES (i, 'name ' || i, 'active', '2024-01-01Z', i % 1000, left(repeat(md5(i::text), 4), 120));
         COMMIT;
       END LOOP;
     END $$`
  )
  const sessions = 2
  await Promise.all(Array.from({ length: sessions }, (_, i) => {
    const from = Math.floor(count * i / sessions)
    const to = Math.floor(count * (i + 1) / sessions)
    const session = new URL(url)
    session.searchParams.set("options", "-c synchronous_commit=off")
    return Database.query(session.href, `CALL insert_one_by_one(${first + from}, ${to - from})`)
  }))
}

const lsnOf = (offset: string): bigint => BigInt(offset.split("_")[0]!)

/** Where the shape ends now. */
const endOf = async (connection: RawHttp.Connection): Promise<bigint> =>
  lsnOf(RawHttp.position(await connection.get(`${SHAPE}&offset=now`)).offset)

/** When the process of the server has read much more than when first asked; `process.hrtime`. */
const streamBegun = async (pid: number): Promise<bigint> => {
  const before = Processes.bytesRead(pid)
  return await Processes.until(
    LIMIT,
    "the stream's first bytes",
    async () => (Processes.bytesRead(pid) - before > BEGUN_BYTES ? process.hrtime.bigint() : undefined),
    5
  )
}

const drain = async (bench: Bench, kind: Kind, url: string, storage: string, i: number): Promise<Result> => {
  const { name } = kind
  bench.progress(`${name} ${i}/${bench.options.runs}: bare reader`)
  await Database.copySlot(url, MASTER, BARE)
  const bare = await Worker.once<Bare.Job, Bare.Result>(
    "bareReader",
    "server",
    { url, slot: BARE, publication: Database.PUBLICATION, changes: kind.changes },
    LIMIT
  )
  await Database.dropSlot(url, BARE)

  bench.progress(`${name} ${i}/${bench.options.runs}: server`)
  await Database.copySlot(url, MASTER, Database.SLOT)
  const copy = path.join(bench.scratch("storage"), "copy")
  await fs.cp(storage, copy, { recursive: true })

  let begun: Promise<bigint> | undefined
  const onFollowing = (pid: number) => {
    begun = streamBegun(pid)
    // Looked at in the end; until then a failure is nobody's.
    begun.catch(() => {})
  }
  const measured = async (server: Server) => {
    const measure = await server.measure()
    const connection = await RawHttp.connect(server.port)
    await Processes.until(LIMIT, "the end of the backlog", async () => {
      const end = await endOf(connection)
      if (end > bare.lastLsn) throw new Error("the shape ends beyond the last transaction")
      return end === bare.lastLsn ? true : undefined
    })
    const done = process.hrtime.bigint()
    const usage = await measure.end()
    connection.close()
    await Processes.until(LIMIT, "the confirmation of the last transaction", async () => {
      const rows = await Database.query(
        url,
        `SELECT 1 FROM pg_replication_slots WHERE slot_name = '${Database.SLOT}' AND confirmed_flush_lsn - '0/0' > ${bare.lastLsn}`
      )
      return rows.length > 0 ? true : undefined
    })
    const durable = process.hrtime.bigint()
    const from = server.followingAt()

    const read = await Worker.once<Follow.Job, Follow.Result>(
      "follow",
      "load",
      { port: server.port, shape: SHAPE, clients: 1, rounds: 1 },
      LIMIT
    )
    const check = await Worker.once<Check.Job, Check.Result>(
      "check",
      "load",
      { port: server.port, shape: SHAPE },
      LIMIT
    )
    const [table] = await Database.query(url, "SELECT count(*) AS rows, sum(n) AS sum FROM items")
    if (
      check.rows !== Number(table?.rows) || check.sum !== Number(table?.sum) || lsnOf(check.offset) !== bare.lastLsn
    ) {
      throw new Error(
        `the client has ${JSON.stringify(check)}, the table ${JSON.stringify(table)}, the last LSN is ${bare.lastLsn}`
      )
    }
    if (check.inserts + check.updates !== kind.changes + kind.rows) {
      throw new Error(
        `${check.inserts} inserts and ${check.updates} updates were read, of ${kind.changes} changes to ${kind.rows} rows`
      )
    }
    return {
      wallMillis: Number(done - from) / 1e6,
      sinceFirstMillis: Number(done - (await begun)!) / 1e6,
      durableMillis: Number(durable - from) / 1e6,
      read,
      handle: check.handle,
      bare,
      usage
    }
  }
  try {
    return await bench.withServer(
      { label: name.replaceAll(" ", "-"), databaseUrl: url, storage: copy, onFollowing },
      measured
    )
  } finally {
    await fs.rm(copy, { recursive: true, force: true })
  }
}

const runKind = async (bench: Bench, kind: Kind): Promise<Report> => {
  const { runs } = bench.options
  const { changes } = kind
  const url = await bench.items(kind.database, kind.rows)
  const storage = bench.scratch("storage")
  bench.progress(`${kind.name}: making the shape`)
  const handle = await bench.withServer(
    { label: `${kind.name}-shape`, databaseUrl: url, storage, keepSlot: true },
    async (server) => {
      const connection = await RawHttp.connect(server.port)
      const { handle } = await RawHttp.follow(connection, SHAPE, () => {})
      connection.close()
      return handle
    }
  )
  await Database.copySlot(url, Database.SLOT, MASTER)
  await Database.dropSlot(url, Database.SLOT)
  try {
    bench.progress(`${kind.name}: writing the backlog`)
    await kind.generate(url)
    await Database.query(url, "CHECKPOINT")
    const results: Array<Result> = []
    for (let i = 1; i <= runs; i++) {
      const result = await drain(bench, kind, url, storage, i)
      if (result.read.handle !== handle) throw new Error("the shape was made anew")
      results.push(result)
    }
    const of = (pick: (result: Result) => number) => median(results.map(pick))
    const wall = of((result) => result.wallMillis)
    const bare = of((result) => result.bare.wallMillis)
    const since = of((result) => result.sinceFirstMillis)
    const bareSince = of((result) => result.bare.sinceFirstMillis)
    const perCpu = of((result) => result.usage.cpuSeconds) / changes * 1e6
    return {
      workload: kind.name,
      title: `${kind.title} (${(results[0]!.bare.bytes / MB).toFixed(0)} MB of pgoutput); limit: a bare reader`,
      figures: [
        {
          what: "from following to readable",
          ours: wall,
          unit: "ms",
          limit: bare,
          ratio: bare / wall,
          aim: atLeast(bare / wall, kind.aim)
        },
        { what: "  of it from the first byte", ours: since, unit: "ms", limit: bareSince, ratio: bareSince / since },
        { what: "changes", ours: changes / wall * 1000, unit: "1/s", limit: changes / bare * 1000 },
        { what: "until durable and confirmed", ours: of((result) => result.durableMillis), unit: "ms" },
        { what: "then: reading all of the log", ours: of((result) => result.read.wallMillis), unit: "ms" },
        {
          what: "server CPU per change",
          ours: perCpu,
          unit: "us",
          limit: of((result) => result.bare.cpuSeconds) / changes * 1e6
        },
        ...usageFigures(results.map(({ usage }) => usage), kind.rssLimitMb)
      ],
      notes: [
        "checked in each run: same handle, offsets in order, the last offset is the last transaction's, row count and sum as in the table"
      ],
      runs: results
    }
  } finally {
    await Database.dropSlot(url, MASTER)
    await fs.rm(storage, { recursive: true, force: true })
  }
}

export const run = async (bench: Bench): Promise<ReadonlyArray<Report>> => {
  const { rows, transactions } = bench.options
  const big = await runKind(bench, {
    name: "replicate, one transaction",
    title: `W7a, an update of ${rows} rows in one transaction`,
    database: "bench_update",
    rows,
    changes: rows,
    aim: 0.5,
    rssLimitMb: 300,
    generate: async (url) => {
      await Database.query(url, "UPDATE items SET n = n + 1")
    }
  })
  const many = await runKind(bench, {
    name: "replicate, many transactions",
    title: `W7b, ${transactions} transactions of one insert`,
    database: "bench_insert",
    rows: 1000,
    changes: transactions,
    aim: 0.35,
    rssLimitMb: undefined,
    generate: (url) => insertOneByOne(url, 1_000_001, transactions)
  })
  return [big, many]
}
