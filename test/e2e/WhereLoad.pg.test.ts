/**
 * Many shapes with clauses of all forms at once: over restarts, and under a large transaction.
 */
import assert from "node:assert/strict"
import type { Follower } from "../support/Follower.ts"
import { scenario } from "../support/Scenario.ts"

interface Shape {
  readonly params: Readonly<Record<string, string>>
  readonly sql: string
}

const shape = (where: string, columns = "*", more: Readonly<Record<string, string>> = {}): Shape => ({
  params: { table: "items", where, ...(columns === "*" ? {} : { columns }), ...more },
  sql: `SELECT ${columns} FROM items WHERE ${where}`
})

const FUNCTIONS = `
  CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
  CREATE FUNCTION rest(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 % $2';
  CREATE FUNCTION is_rest(int, int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 % 5 = $2; END';`

scenario("restarts and kills with shapes of all forms", {
  setup: `${FUNCTIONS}
    CREATE TABLE items (id int PRIMARY KEY, n int, title text COLLATE "und-x-icu", mood mood, meta jsonb, nums int[], at timestamptz);
    INSERT INTO items SELECT i, i % 7, chr(96 + i % 26), (ARRAY['sad', 'ok', NULL]::mood[])[1 + i % 3],
      jsonb_build_object('k', i % 4), ARRAY[i % 3, i % 5], timestamptz '2024-01-01 00:00Z' + i * interval '3 hours'
    FROM generate_series(1, 60) i`
}, async ({ db, follow, followed, server }) => {
  const shapes = [
    shape("n = 3"),
    {
      ...shape("n = 4 AND title = 'k'", "id,title"),
      params: {
        table: "items",
        columns: "id,title",
        where: "n = $1 AND title = $2",
        "params[1]": "4",
        "params[2]": "k"
      }
    },
    shape("n IN (1, 2)", "id", { replica: "full" }),
    shape("n BETWEEN 2 AND 4"),
    shape("title < 'f'", "id,n"),
    shape("title LIKE 'a%' OR n > 5"),
    shape("mood = 'ok'"),
    shape("mood >= 'ok' AND n <> 0", "id,mood"),
    shape("meta @> '{\"k\": 1}'", "*", { replica: "full" }),
    shape("meta->>'k' = '2'", "id"),
    shape("2 = ANY (nums)"),
    shape("nums && '{0,4}'", "id,nums"),
    shape("at > '2024-01-03' AND at AT TIME ZONE 'UTC' < '2024-01-06'"),
    shape("rest(n, 3) = 1"),
    shape("is_rest(id, 2) AND n < 5", "id", { replica: "full" }),
    shape("is_rest(n, 1) OR title COLLATE \"C\" > 'q'"),
    shape("n IS NULL")
  ]
  const followers = shapes.map(({ params, sql }) => ({ follower: follow(params).start(), sql }))
  const now = async () => {
    for (const { follower, sql } of followers) await followed(follower, sql)
  }
  await now()
  const handles = followers.map(({ follower }) => follower.handle)
  const write = async (i: number) => {
    await db.exec(
      `UPDATE items SET n = NULLIF((n + ${i}) % 7, 6), title = chr(97 + (ascii(title) + ${i}) % 26) WHERE id % 2 = ${
        i % 2
      }`
    )
    await db.exec(
      `UPDATE items SET mood = 'happy', meta = jsonb_build_object('k', id % 3), nums = nums || ${i} WHERE id % 3 = ${
        i % 3
      }`
    )
    await db.exec(`UPDATE items SET id = id + 1000, at = at + interval '1 day' WHERE id % 10 = ${i}`)
    await db.exec(
      `DELETE FROM items WHERE id % 11 = ${i}; INSERT INTO items (id, n, title) VALUES (${10_000 + i}, ${i}, 'a')`
    )
  }
  let i = 0
  for (const end of ["stop", "kill", "kill", "stop"] as const) {
    await write(i++)
    if (i % 2 === 0) await now()
    if (end === "kill") await server.kill()
    else assert.equal(await server.stop(), 0)
    await write(i++)
    await server.start()
    await now()
    // Whoever asks for the first time gets the shape that was kept.
    for (const [n, { params, sql }] of shapes.entries()) {
      const fresh = follow(params).start()
      await followed(fresh, sql)
      assert.equal(fresh.handle, handles[n], sql)
      await fresh.stop()
    }
    await write(i++)
    await now()
  }
  for (const { follower, sql } of followers) {
    assert.equal(follower.rotations, 0, sql)
    await follower.stop()
  }
})

const ROWS = 50_000

scenario("a transaction of 50,000 rows over 200 shapes", {
  setup: `${FUNCTIONS} CREATE TABLE items (id int PRIMARY KEY, n int, title text, mood mood);
    INSERT INTO items SELECT -i, i, 'old ' || i, 'sad' FROM generate_series(1, 100) i; CREATE TABLE marker (id int PRIMARY KEY)`,
  timeout: 180_000
}, async ({ db, follow, followed, same }) => {
  const shapes: ReadonlyArray<Shape> = [
    ...Array.from(
      { length: 120 },
      (_, i) => shape(`n = ${i * 7}`, i % 2 === 0 ? "*" : "id", i % 3 === 0 ? { replica: "full" } : {})
    ),
    ...Array.from(
      { length: 40 },
      (_, i) => shape(`n > ${i * 20} AND n <= ${i * 20 + 5}`, i % 2 === 0 ? "id,n" : "id,mood")
    ),
    ...Array.from({ length: 20 }, (_, i) => shape(`title = 'title ${i}' OR n % 1000 = ${i}`)),
    ...Array.from(
      { length: 10 },
      (_, i) => shape(`n BETWEEN ${i * 50} AND ${i * 50 + 49} AND is_rest(n, ${i % 5})`, "id,title")
    ),
    ...Array.from({ length: 5 }, (_, i) => shape(`mood = 'ok' AND lower(title) LIKE '%${i}%7'`, "id")),
    ...Array.from({ length: 5 }, (_, i) => shape(`is_rest(n, ${i}) AND mood <> 'sad' AND n > 900`, "id"))
  ]
  assert.equal(shapes.length, 200)
  const followers = shapes.map(({ params, sql }): readonly [Follower, string] => [follow(params), sql])
  for (const [follower] of followers) {
    await follower.step(false)
    while (!follower.upToDate) await follower.step(false)
  }
  const marker = follow({ table: "marker" }).start()
  let marks = 0
  const now = async () => {
    await db.exec(`INSERT INTO marker VALUES (${++marks})`)
    await followed(marker, "SELECT * FROM marker")
    for (const [follower, sql] of followers) {
      await follower.catchUp(marker.seen)
      await same(follower.rows.values(), sql)
      assert.equal(follower.rotations, 0)
    }
  }
  await now()
  await db.exec(
    `INSERT INTO items SELECT i, i % 1000, 'title ' || i % 500, (ARRAY['sad', 'ok', 'happy']::mood[])[1 + i % 3] FROM generate_series(1, ${ROWS}) i`
  )
  await now()
  await db.exec(
    "UPDATE items SET n = n + 1, mood = CASE mood WHEN 'sad' THEN 'ok'::mood ELSE 'happy' END WHERE id % 2 = 0"
  )
  await now()
  await marker.stop()
})
