/**
 * A server that is lived through: concurrent writers, followers and clients, and the server killed or stopped and started again and
 * again; at rest everything is compared with what `SELECT` says.
 *
 * `SHAPELOG_TEST_SEED` replays a seed (as far as concurrent writers can be replayed), `SHAPELOG_TEST_ROUNDS` soaks.
 */
import assert from "node:assert/strict"
import { makeRandom, type Random } from "../where/WhereGenerator.ts"
import { content, type Follower, type Served, sorted, type Values } from "./Follower.ts"
import type { ShapeOfTest } from "./GeneratedShapes.ts"
import type { PositionsOf } from "./Positions.ts"
import { AS_TEXT, type Scenario, type Sql } from "./Scenario.ts"
import { tagAwareCollection } from "./TagClient.ts"

export const seed = Number(process.env.SHAPELOG_TEST_SEED ?? Date.now() % 1_000_000_000)
const rounds = Number(process.env.SHAPELOG_TEST_ROUNDS ?? 1)
const WRITERS = 4
/** How often the server ends in a round, unless the world says so. */
const ENDS = 4
/** Transactions that are written at most while the server starts: readers of small chunks have to keep up. */
const MOST = 150

/** How long a shape may take, in milliseconds, until it has everything: rows that move are fetched one transaction after another. */
const PATIENCE = 90_000

/** What is lived through. */
export interface World {
  readonly tables: ReadonlyArray<string>
  /** A random statement on them. */
  readonly statement: (r: Random) => string
  /** Followed all the time. */
  readonly shapes: ReadonlyArray<ShapeOfTest>
  /** Followed from some time on, besides. */
  readonly added: (r: Random) => ReadonlyArray<ShapeOfTest>
  /** How often the server ends in a round. */
  readonly ends?: number
  /** Nothing is written before all shapes are there: the server may end before they are made otherwise. */
  readonly prepared?: boolean
  /** How often a transaction empties a table. */
  readonly truncates?: number
  /** Why shapes may be rotated, beside TRUNCATE and clauses that fail. */
  readonly rotations?: RegExp
  /** Followed by the published client. */
  readonly clients: ReadonlyArray<ShapeOfTest>
  /** Followed by the published client that understands tags; with the columns of the table's key. */
  readonly collections?: ReadonlyArray<readonly [shape: ShapeOfTest, key: ReadonlyArray<string>]>
  /** What the rows' tags are about. */
  readonly positions?: PositionsOf
}

/** One random transaction. What Postgres refuses (a key that exists, a deadlock) is rolled back. */
const transaction = async (sql: Sql, r: Random, { statement, tables, truncates = 0.0015 }: World): Promise<void> => {
  if (r.chance(truncates)) return sql.exec(`TRUNCATE ${r.pick(tables)}`)
  try {
    await sql.exec("BEGIN")
    const count = 1 + r.below(r.chance(0.2) ? 12 : 3)
    for (let i = 0; i < count; i++) {
      if (r.chance(0.2)) {
        await sql.exec("SAVEPOINT s")
        const failed = await sql.exec(statement(r)).then(() => false, () => true)
        await sql.exec(failed || r.chance(0.5) ? "ROLLBACK TO SAVEPOINT s" : "RELEASE SAVEPOINT s")
      } else await sql.exec(statement(r))
    }
    await sql.exec(r.chance(0.1) ? "ROLLBACK" : "COMMIT")
  } catch {
    await sql.exec("ROLLBACK")
  }
}

/** What was served must be served again: the same of a closed chunk, at least as much of the open end. */
const reread = async (url: string, follower: Follower, served: Served): Promise<void> => {
  const query = new URLSearchParams({ ...follower.options.params, offset: served.offset, handle: served.handle })
  const response = await fetch(`${url}/v1/shape?${query}`)
  const body = await response.text()
  const context = `${
    JSON.stringify(follower.options.params)
  } ${served.handle} ${served.offset} (to ${served.end}, live: ${served.live})`
  assert.equal(response.status, 200, `${context}: ${body.slice(0, 300)}`)
  assert.equal(response.headers.get("electric-handle"), served.handle, context)
  const before = content(served.body)
  if (!served.upToDate) {
    assert.equal(response.headers.get("electric-offset"), served.end, `${context}: a closed chunk ends elsewhere`)
    assert.equal(content(body), before, `${context}: a closed chunk is another`)
  } else if (!content(body).startsWith(before)) {
    assert.fail(`${context}: was ${before.slice(-300)}, is ${content(body).slice(0, before.length).slice(-300)}`)
  }
}

/** Fails unless Postgres says of each row that the same positions hold. */
const sameConditions = async (
  { select }: Scenario,
  { memberships, rows }: Follower,
  { params, sql, values }: ShapeOfTest,
  positions: ReadonlyArray<string>,
  context: string
): Promise<void> => {
  if (params.tags === "none" || positions.length === 0) return assert.equal(memberships.size, 0, context)
  const conditions = positions.map((condition, pos) => `(${condition}) IS TRUE AS "position ${pos}"`)
  const expected = await select(sql.replace(/^SELECT (.*?) FROM/, `SELECT $1, ${conditions.join(", ")} FROM`), values)
  const found = [...rows].map(([key, row]) => {
    const holds = memberships.get(key)?.conditions.map((holds, pos) => [`position ${pos}`, holds ? "t" : "f"])
    return { ...row, ...Object.fromEntries(holds ?? []) }
  })
  assert.deepEqual(sorted(found), sorted(expected), context)
}

/** The rows of the shape's statement; `undefined` when it fails. */
const expectedOf = async (
  { select }: Scenario,
  { sql, values }: ShapeOfTest
): Promise<ReadonlyArray<Values> | undefined> =>
  select(sql, values).catch((error: unknown) => {
    if (values === undefined) throw error
    return undefined
  })

export const live = async (scenario: Scenario, world: World, r: Random) => {
  const { client, db, follow, select, server } = scenario
  console.log(`seed ${seed}`)
  const writers = await Promise.all(Array.from({ length: WRITERS }, () => db.session()))
  const followers: Array<{ readonly follower: Follower; readonly shape: ShapeOfTest }> = []
  const add = (shape: ShapeOfTest) =>
    // There may be no such shape for long, for a row that its clause fails for.
    followers.push({ follower: follow(shape.params, server, { patience: 600_000 }).start(), shape })
  for (const shape of world.shapes) add(shape)
  const limit = followers.length + 16
  const clients = world.clients.map((shape) => ({ shape, client: client(shape.params, { parser: AS_TEXT }) }))
  const collections = (world.collections ?? []).map(([shape, key]) => {
    const { table, where, ...params } = shape.params
    return { shape, collection: tagAwareCollection(server.url, table!, where, params, key) }
  })

  if (world.prepared === true) {
    for (const { follower } of followers) await follower.until(({ upToDate }) => upToDate, "the shape", PATIENCE)
    for (const { collection } of collections) await collection.ready()
  }

  for (let round = 0; round < rounds; round++) {
    let ended = 0
    let writing = true
    let reached: { readonly count: number; readonly resume: () => void } | undefined
    let allowed = 0
    const waiting: Array<() => void> = []
    const allow = (count: number) => {
      allowed = ended + count
      for (const resume of waiting.splice(0)) resume()
    }
    /** Completes after so many more transactions. */
    const progress = (count: number) => {
      allow(count + MOST)
      return new Promise<void>((resume) => {
        reached = { count: ended + count, resume }
      })
    }
    const write = async (sql: Sql, r: Random) => {
      while (writing) {
        if (ended >= allowed) await new Promise<void>((resume) => waiting.push(resume))
        await transaction(sql, r, world)
        ended += 1
        if (reached && ended >= reached.count) reached.resume()
      }
    }
    const load = Promise.all(writers.map((sql) => write(sql, makeRandom(r.below(2 ** 31))))).catch((error: unknown) =>
      error
    )

    // --- Meanwhile the server ends and starts again, and new shapes come up ---
    for (let i = 0; i < Number(process.env.SHAPELOG_TEST_ENDS ?? world.ends ?? ENDS); i++) {
      const { follower } = r.pick(followers)
      const { changes } = follower
      // What is wrong with it is said when it is stopped; that nothing comes is right while its clause fails.
      if (r.chance(0.5)) {
        const anything = follower.until((now) => now.upToDate || now.changes !== changes, "anything new", 2000)
        await anything.catch(() => undefined)
      }
      await progress(1 + r.below(150))
      if (followers.length < limit) {
        for (const shape of world.added(r)) add(shape)
        if (r.chance(0.5)) await progress(1 + r.below(5))
      }
      if (r.chance(0.7)) await server.kill()
      else assert.equal(await server.stop(), 0)
      await server.start()
    }
    await progress(Number(process.env.SHAPELOG_TEST_LAST ?? 50))
    writing = false
    allow(0)
    assert.ok(Array.isArray(await load), String(await load))

    // --- At rest: everything is as SELECT says ---
    const [marker] = await db.query("INSERT INTO marker DEFAULT VALUES RETURNING id")
    const last = follow({ table: "marker" })
    last.start()
    await last.until(({ rows }) => [...rows.values()].some((row) => row.id === marker!.id), "the marker")
    await last.stop()
    const [position] = await select(
      "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text AS lsn, pg_current_wal_insert_lsn()::text AS text"
    )
    // A second marker's LSN is past everything, and the log says what it is.
    await db.query("INSERT INTO marker DEFAULT VALUES")
    last.start()
    const count = last.changes
    await last.until(({ changes }) => changes > count, "the second marker")
    await last.stop()
    const lsn = BigInt(last.offset.split("_")[0]!)
    assert.ok(lsn > 0n)
    const check = async (follower: Follower, shape: ShapeOfTest, name: string) => {
      const context = `${name} ${JSON.stringify(follower.options.params)} in round ${round}`
      const expected = await expectedOf(scenario, shape)
      if (expected !== undefined) {
        await follower.catchUp(lsn, PATIENCE)
        assert.deepEqual(sorted(follower.rows.values()), sorted(expected), context)
        if (world.positions) {
          await sameConditions(scenario, follower, shape, await world.positions(shape.params), context)
        }
        return 0
      }
      // Of what fails in the table, the shape may be there yet if the stream did not come to what fails.
      const response = await fetch(`${server.url}/v1/shape?${new URLSearchParams({ ...shape.params, offset: "-1" })}`)
      await response.text()
      assert.ok([200, 409, 503].includes(response.status), `${context}: ${response.status}`)
      return 1
    }
    let failing = 0
    for (const { follower, shape } of followers) {
      await follower.stop()
      failing += await check(follower, shape, "followed")
    }
    for (const shape of world.shapes) await check(follow(shape.params), shape, "fresh")
    for (const { client, shape } of clients) {
      const rows = await expectedOf(scenario, shape)
      if (rows === undefined) continue
      const expected = JSON.stringify(sorted(rows))
      await client.until(
        (rows) => JSON.stringify(sorted(rows as never)) === expected,
        `${shape.sql} of the client in round ${round}`
      )
    }
    for (const { collection, shape } of collections) {
      const rows = await expectedOf(scenario, shape)
      if (rows !== undefined) await collection.until(rows, `${shape.sql} in round ${round}`, 30_000)
    }

    // --- What was served is served again ---
    for (const { follower } of followers) {
      const current = follower.served.filter(({ handle }) => handle === follower.handle)
      const sample = current.length <= 25 ? current : Array.from({ length: 25 }, () => r.pick(current))
      for (const served of sample) await reread(server.url, follower, served)
    }

    // --- Postgres is told that it was stored ---
    const deadline = Date.now() + 15_000
    for (;;) {
      const [slot] = await db.query(
        "SELECT confirmed_flush_lsn >= $2::pg_lsn AS done, confirmed_flush_lsn FROM pg_replication_slots WHERE database = $1",
        [db.name, position!.text]
      )
      if (slot?.done === "t") break
      assert.ok(
        Date.now() < deadline,
        `the slot is confirmed up to ${slot?.confirmed_flush_lsn} only, not ${position!.text}`
      )
    }
    const { changes, moves, requests, rotations } = followers.reduce((sum, { follower }) => ({
      changes: sum.changes + follower.changes,
      requests: sum.requests + follower.served.length,
      rotations: sum.rotations + follower.rotations,
      moves: sum.moves + follower.moves.in + follower.moves.out
    }), { changes: 0, requests: 0, rotations: 0, moves: 0 })
    console.log(
      `round ${round}: ${followers.length} followers (${failing} of clauses that fail now), ${requests} responses, ${changes} changes, ${moves} rows moved by events, ${rotations} rotations, ${ended} transactions`
    )
    // --- Nothing else ends a shape; in particular Postgres was never told more than what was stored (I1) ---
    const reasons = server.lines.flatMap((line) => /is rotated: (.*)/.exec(line)?.[1] ?? [])
    assert.deepEqual(
      reasons.filter((reason) =>
        !/^its table was truncated$|^its where clause can't be evaluated: /.test(reason) &&
        world.rotations?.test(reason) !== true
      ),
      []
    )
    for (const { follower } of followers) {
      assert.equal(follower.unnamed, 0, "a 409 that does not name the new shape")
      follower.start()
    }
  }
  for (const { follower } of followers) await follower.stop()
  for (const { collection } of collections) await collection.close()
}

export const ENVIRONMENT = { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "10000", SHAPELOG_LONG_POLL_TIMEOUT: "20s" }
export const TIMEOUT = 100_000 + rounds * 60_000
