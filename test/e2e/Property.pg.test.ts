/**
 * The property that everything else serves (I9): under random transactions of concurrent writers, with the server killed and
 * restarted again and again, what clients materialise from a shape is what `SELECT` says; every step of the log is right on the way
 * (test/support/Follower.ts); what was served once is served again (I5); and Postgres gets rid of its WAL (I6).
 *
 * `SHAPELOG_TEST_SEED` replays a seed (as far as concurrent writers can be replayed), `SHAPELOG_TEST_ROUNDS` soaks.
 */
import assert from "node:assert/strict"
import { content, type Follower, type Served, sorted } from "../support/Follower.ts"
import { AS_TEXT, scenario, type Sql } from "../support/Scenario.ts"

const seed = Number(process.env.SHAPELOG_TEST_SEED ?? Date.now() % 1_000_000_000)
const rounds = Number(process.env.SHAPELOG_TEST_ROUNDS ?? 2)
const WRITERS = 4
/** How often the server ends in a round. */
const ENDS = 4
/** Transactions that are written at most while the server starts: readers of small chunks have to keep up. */
const MOST = 150

/** Numbers from a seed. */
const random = (seed: number) => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (n: number) => Math.floor(next() * n)
  return { below, chance: (p: number) => next() < p, pick: <A>(from: ReadonlyArray<A>): A => from[below(from.length)]! }
}

type Random = ReturnType<typeof random>

const SETUP = `
CREATE TABLE items (id int PRIMARY KEY, grp int, title text NOT NULL, body text, n numeric(12, 3));
ALTER TABLE items ALTER body SET STORAGE EXTERNAL;
CREATE TABLE pairs ("A" int, b text, v int, PRIMARY KEY (b, "A"));
CREATE TABLE bare (u bigserial, note text, flag bool);
CREATE TABLE marker (id bigserial PRIMARY KEY);
INSERT INTO items SELECT i, i % 5, 'title ' || i, repeat(md5(i::text), i % 130), i / 7.0 FROM generate_series(1, 300) i;
INSERT INTO pairs SELECT i, 'b/' || i % 3, i % 4 FROM generate_series(1, 100) i;
INSERT INTO bare (note, flag) SELECT CASE WHEN i % 3 > 0 THEN 'note ' || i END, i % 2 = 0 FROM generate_series(1, 50) i`

/** Shapes that are followed all the time, each with the statement that it must equal. */
const SHAPES: ReadonlyArray<readonly [Readonly<Record<string, string>>, string]> = [
  [{ table: "items" }, "SELECT * FROM items"],
  [{ table: "items", replica: "full" }, "SELECT * FROM items"],
  [{ table: "items", where: "grp = 3" }, "SELECT * FROM items WHERE grp = 3"],
  [{ table: "items", where: "grp = 2", columns: "id,n", replica: "full" }, "SELECT id, n FROM items WHERE grp = 2"],
  [{ table: "items", columns: "id,title" }, "SELECT id, title FROM items"],
  [{ table: "pairs" }, "SELECT * FROM pairs"],
  [{ table: "pairs", where: "v = 1", columns: "\"A\",b" }, "SELECT \"A\", b FROM pairs WHERE v = 1"],
  [{ table: "bare" }, "SELECT * FROM bare"],
  [{ table: "bare", where: "flag = true", replica: "full" }, "SELECT * FROM bare WHERE flag = true"]
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

/** One random transaction. What Postgres refuses (a key that exists, a deadlock) is rolled back. */
const transaction = async (sql: Sql, r: Random): Promise<void> => {
  if (r.chance(0.0015)) return sql.exec(`TRUNCATE ${r.pick(["pairs", "bare", "items"])}`)
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

scenario(`random transactions and kills, seed ${seed}`, {
  setup: SETUP,
  timeout: 100_000 + rounds * 60_000,
  env: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "10000", SHAPELOG_LONG_POLL_TIMEOUT: "20s" }
}, async ({ client, db, follow, same, select, server }) => {
  console.log(`seed ${seed}`)
  const r = random(seed)
  const writers = await Promise.all(Array.from({ length: WRITERS }, () => db.session()))
  const followers: Array<{ readonly follower: Follower; readonly sql: string }> = []
  const add = ([params, sql]: (typeof SHAPES)[number]) => followers.push({ follower: follow(params).start(), sql })
  for (const shape of SHAPES) add(shape)
  const clients = SHAPES.filter((_, i) => i % 2 === 0).map(([params, sql]) => ({
    sql,
    client: client(params, { parser: AS_TEXT })
  }))

  for (let round = 0; round < rounds; round++) {
    let ended = 0
    let writing = true
    let reached: { readonly count: number; readonly resume: () => void } | undefined
    let limit = 0
    const waiting: Array<() => void> = []
    const allow = (count: number) => {
      limit = ended + count
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
        if (ended >= limit) await new Promise<void>((resume) => waiting.push(resume))
        await transaction(sql, r)
        ended += 1
        if (reached && ended >= reached.count) reached.resume()
      }
    }
    const load = Promise.all(writers.map((sql) => write(sql, random(r.below(2 ** 31))))).catch((error: unknown) =>
      error
    )

    // --- Meanwhile the server ends and starts again, and new shapes come up ---
    for (let i = 0; i < ENDS; i++) {
      const { follower } = r.pick(followers)
      const { changes } = follower
      if (r.chance(0.5)) await follower.until((now) => now.upToDate || now.changes !== changes, "anything new")
      await progress(1 + r.below(150))
      if (followers.length < 24) {
        const group = r.below(5)
        add([
          { table: "items", where: `grp = ${group}`, columns: "id,body,grp" },
          `SELECT id, body, grp FROM items WHERE grp = ${group}`
        ])
        add(r.pick(SHAPES))
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
    for (const { follower, sql } of followers) {
      await follower.stop()
      await follower.catchUp(lsn)
      await same(follower.rows.values(), sql, `${JSON.stringify(follower.options.params)} in round ${round}`)
    }
    for (const [params, sql] of SHAPES) {
      const fresh = follow(params)
      await fresh.catchUp(lsn)
      await same(fresh.rows.values(), sql, `fresh ${JSON.stringify(params)} in round ${round}`)
    }
    for (const { client, sql } of clients) {
      const expected = JSON.stringify(sorted(await select(sql)))
      await client.until(
        (rows) => JSON.stringify(sorted(rows as never)) === expected,
        `${sql} of the client in round ${round}`
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
      `round ${round}: ${followers.length} followers, ${requests} responses, ${changes} changes, ${rotations} rotations, ${ended} transactions`
    )
    // --- Nothing but a truncate ends a shape; in particular Postgres was never told more than what was stored (I1) ---
    const reasons = server.lines.flatMap((line) => /is rotated: (.*)/.exec(line)?.[1] ?? [])
    assert.deepEqual(reasons.filter((reason) => reason !== "its table was truncated"), [])
    for (const { follower } of followers) {
      assert.equal(follower.unnamed, 0, "a 409 that does not name the new shape")
      follower.start()
    }
  }
  for (const { follower } of followers) await follower.stop()
})
