/**
 * The property that everything else serves (I9): under random transactions of concurrent writers, with the server killed and
 * restarted again and again, what clients materialise from a shape is what `SELECT` says; every step of the log is right on the way
 * (test/support/Follower.ts); what was served once is served again (I5); and Postgres gets rid of its WAL (I6). Once with tables
 * made by hand, once with random tables and random where clauses, some of which fail for some rows.
 *
 * `SHAPELOG_TEST_SEED` replays a seed (as far as concurrent writers can be replayed), `SHAPELOG_TEST_ROUNDS` soaks.
 */
import assert from "node:assert/strict"
import { content, type Follower, type Served, sorted, type Values } from "../support/Follower.ts"
import * as Generated from "../support/GeneratedShapes.ts"
import type { ShapeOfTest } from "../support/GeneratedShapes.ts"
import { AS_TEXT, type Scenario, scenario, type Sql } from "../support/Scenario.ts"
import { makeRandom, type Random } from "../where/WhereGenerator.ts"

const seed = Number(process.env.SHAPELOG_TEST_SEED ?? Date.now() % 1_000_000_000)
const rounds = Number(process.env.SHAPELOG_TEST_ROUNDS ?? 1)
const WRITERS = 4
/** How often the server ends in a round. */
const ENDS = 4
/** Transactions that are written at most while the server starts: readers of small chunks have to keep up. */
const MOST = 150

const SETUP = `
CREATE TABLE items (id int PRIMARY KEY, grp int, title text NOT NULL, body text, n numeric(12, 3));
ALTER TABLE items ALTER body SET STORAGE EXTERNAL;
CREATE TABLE pairs ("A" int, b text, v int, PRIMARY KEY (b, "A"));
CREATE TABLE bare (u bigserial, note text, flag bool);
CREATE TABLE marker (id bigserial PRIMARY KEY);
INSERT INTO items SELECT i, i % 5, 'title ' || i, repeat(md5(i::text), i % 130), i / 7.0 FROM generate_series(1, 300) i;
INSERT INTO pairs SELECT i, 'b/' || i % 3, i % 4 FROM generate_series(1, 100) i;
INSERT INTO bare (note, flag) SELECT CASE WHEN i % 3 > 0 THEN 'note ' || i END, i % 2 = 0 FROM generate_series(1, 50) i`

/** Shapes that are followed all the time. */
const SHAPES: ReadonlyArray<ShapeOfTest> = [
  { params: { table: "items" }, sql: "SELECT * FROM items" },
  { params: { table: "items", replica: "full" }, sql: "SELECT * FROM items" },
  { params: { table: "items", where: "grp = 3" }, sql: "SELECT * FROM items WHERE grp = 3" },
  {
    params: { table: "items", where: "grp = 2", columns: "id,n", replica: "full" },
    sql: "SELECT id, n FROM items WHERE grp = 2"
  },
  { params: { table: "items", columns: "id,title" }, sql: "SELECT id, title FROM items" },
  { params: { table: "pairs" }, sql: "SELECT * FROM pairs" },
  { params: { table: "pairs", where: "v = 1", columns: "\"A\",b" }, sql: "SELECT \"A\", b FROM pairs WHERE v = 1" },
  { params: { table: "bare" }, sql: "SELECT * FROM bare" },
  { params: { table: "bare", where: "flag = true", replica: "full" }, sql: "SELECT * FROM bare WHERE flag = true" }
]

const id = (r: Random) => 1 + r.below(r.chance(0.5) ? 40 : 1500)

const statement = (r: Random): string => {
  const tag = r.below(1_000_000)
  const from = id(r)
  const to = from + r.below(r.chance(0.1) ? 400 : 30)
  return r.pick([
    () =>
      `INSERT INTO items VALUES (${id(r)}, ${r.below(5)}, 'new ${tag}', repeat(md5('${tag}'), ${
        r.below(200)
      }), ${tag}) ON CONFLICT DO NOTHING`,
    () =>
      `INSERT INTO items SELECT i, i % 5, 'many ' || i, NULL, ${tag} FROM generate_series(${from}, ${to}) i ON CONFLICT DO NOTHING`,
    () =>
      `INSERT INTO items VALUES (${id(r)}, ${
        r.below(5)
      }, 'upsert ${tag}', NULL, 1) ON CONFLICT (id) DO UPDATE SET title = excluded.title`,
    () => `UPDATE items SET title = 'up ${tag}' WHERE id = ${id(r)}`,
    () => `UPDATE items SET n = n + 1 WHERE id BETWEEN ${from} AND ${to}`,
    () => `UPDATE items SET grp = (grp + ${1 + r.below(4)}) % 5 WHERE id BETWEEN ${from} AND ${to}`,
    () =>
      `UPDATE items SET grp = NULLIF(${r.below(5)}, 0), body = repeat(md5('${tag}'), ${r.below(150)}) WHERE id = ${
        id(r)
      }`,
    () => `UPDATE items SET id = ${id(r)} WHERE id = ${id(r)}`,
    () =>
      `UPDATE items SET id = id + 1500, grp = ${r.below(5)} WHERE id BETWEEN ${from} AND ${from + 20} AND id <= 1500`,
    () => `UPDATE items SET title = title WHERE id = ${id(r)}`,
    () => `DELETE FROM items WHERE id = ${id(r)}`,
    () => `DELETE FROM items WHERE id BETWEEN ${from} AND ${to}`,
    () => `INSERT INTO pairs VALUES (${r.below(200)}, 'b/${r.below(3)}', ${r.below(4)}) ON CONFLICT DO NOTHING`,
    () => `UPDATE pairs SET v = ${r.below(4)} WHERE "A" = ${r.below(200)}`,
    () => `UPDATE pairs SET "A" = "A" + 1000, b = 'b"/é${r.below(3)}' WHERE "A" = ${r.below(200)}`,
    () => `DELETE FROM pairs WHERE "A" % 17 = ${r.below(17)}`,
    () =>
      `INSERT INTO bare (note, flag) VALUES (${r.chance(0.3) ? "NULL" : `'n ${tag}'`}, ${
        r.pick(["true", "false", "NULL"])
      })`,
    () => `UPDATE bare SET note = 'up ${tag}' WHERE u % 11 = ${r.below(11)}`,
    () => `UPDATE bare SET flag = NOT flag WHERE u % 7 = ${r.below(7)}`,
    () => `DELETE FROM bare WHERE u % 13 = ${r.below(13)}`
  ])()
}

/** What is lived through. */
interface World {
  readonly tables: ReadonlyArray<string>
  /** A random statement on them. */
  readonly statement: (r: Random) => string
  /** Followed all the time. */
  readonly shapes: ReadonlyArray<ShapeOfTest>
  /** Followed from some time on, besides. */
  readonly added: (r: Random) => ReadonlyArray<ShapeOfTest>
  /** Followed by the published client. */
  readonly clients: ReadonlyArray<ShapeOfTest>
}

/** One random transaction. What Postgres refuses (a key that exists, a deadlock) is rolled back. */
const transaction = async (sql: Sql, r: Random, { statement, tables }: World): Promise<void> => {
  if (r.chance(0.0015)) return sql.exec(`TRUNCATE ${r.pick(tables)}`)
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

/** The rows of the shape's statement; `undefined` when it fails. */
const expectedOf = async (
  { select }: Scenario,
  { sql, values }: ShapeOfTest
): Promise<ReadonlyArray<Values> | undefined> =>
  select(sql, values).catch((error: unknown) => {
    if (values === undefined) throw error
    return undefined
  })

const live = async (scenario: Scenario, world: World, r: Random) => {
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
    for (let i = 0; i < ENDS; i++) {
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
    await progress(50)
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
        await follower.catchUp(lsn)
        assert.deepEqual(sorted(follower.rows.values()), sorted(expected), context)
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
    const { changes, requests, rotations } = followers.reduce((sum, { follower }) => ({
      changes: sum.changes + follower.changes,
      requests: sum.requests + follower.served.length,
      rotations: sum.rotations + follower.rotations
    }), { changes: 0, requests: 0, rotations: 0 })
    console.log(
      `round ${round}: ${followers.length} followers (${failing} of clauses that fail now), ${requests} responses, ${changes} changes, ${rotations} rotations, ${ended} transactions`
    )
    // --- Nothing else ends a shape; in particular Postgres was never told more than what was stored (I1) ---
    const reasons = server.lines.flatMap((line) => /is rotated: (.*)/.exec(line)?.[1] ?? [])
    assert.deepEqual(
      reasons.filter((reason) => !/^its table was truncated$|^its where clause can't be evaluated: /.test(reason)),
      []
    )
    for (const { follower } of followers) {
      assert.equal(follower.unnamed, 0, "a 409 that does not name the new shape")
      follower.start()
    }
  }
  for (const { follower } of followers) await follower.stop()
}

const ENVIRONMENT = { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "10000", SHAPELOG_LONG_POLL_TIMEOUT: "20s" }
const TIMEOUT = 100_000 + rounds * 60_000

scenario(
  `random transactions and kills, seed ${seed}`,
  { setup: SETUP, timeout: TIMEOUT, env: ENVIRONMENT },
  (scenario) =>
    live(scenario, {
      tables: ["pairs", "bare", "items"],
      statement,
      shapes: SHAPES,
      added: (r) => {
        const group = r.below(5)
        return [
          {
            params: { table: "items", where: `grp = ${group}`, columns: "id,body,grp" },
            sql: `SELECT id, body, grp FROM items WHERE grp = ${group}`
          },
          r.pick(SHAPES)
        ]
      },
      clients: SHAPES.filter((_, i) => i % 2 === 0)
    }, makeRandom(seed))
)

/** Shapes with generated clauses. */
const COUNT = 40

const generated = Generated.makeTables(makeRandom(seed), 2)

scenario(`random clauses, transactions and kills, seed ${seed}`, {
  setup: `${generated.setup}; CREATE TABLE marker (id bigserial PRIMARY KEY)`,
  timeout: TIMEOUT,
  env: ENVIRONMENT
}, async (scenario) => {
  const { db, server } = scenario
  const r = makeRandom(seed + 1)
  let refused = 0
  const accepts = async ({ params }: ShapeOfTest) => {
    const response = await fetch(`${server.url}/v1/shape?${new URLSearchParams({ ...params, offset: "-1" })}`)
    const body = await response.text()
    assert.ok([200, 400, 503].includes(response.status), `${JSON.stringify(params)}: ${response.status} ${body}`)
    if (response.status === 400) refused += 1
    return response.status !== 400
  }
  const session = await db.session()
  const shapes = await Generated.makeShapes(r, generated, session, COUNT + 12, accepts)
  assert.ok(refused <= COUNT / 2, `${refused} clauses were refused`)
  const later = shapes.slice(COUNT)
  // The client makes arrays of arrays: theirs is the business of other tests.
  const simple = shapes.filter(({ params }) => params.columns !== undefined).slice(0, 4).map(
    Generated.withSimpleColumns
  )
  await live(scenario, {
    tables: ["g0", "g1"],
    statement: (r) => Generated.statement(r, generated),
    shapes: shapes.slice(0, COUNT),
    added: () => later.splice(0, 3),
    clients: simple
  }, r)
})
