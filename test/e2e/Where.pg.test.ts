/**
 * Rows that come into a shape and leave it, whatever evaluates its clause: an index, a closure, or Postgres. And tables
 * that change under the clauses on them.
 */
import assert from "node:assert/strict"
import type { Follower, Values } from "../support/Follower.ts"
import { scenario } from "../support/Scenario.ts"

interface Change {
  readonly headers: {
    readonly operation?: string
    readonly lsn?: string
    readonly key_change_to?: string
    readonly key_change_from?: string
  }
  readonly key?: string
  readonly value?: Values
  readonly old_value?: Values
}

/** The live log of what a follower has been served, without its positions. */
const changesOf = (follower: Follower): ReadonlyArray<unknown> =>
  follower.served.flatMap(({ body }) => JSON.parse(body) as ReadonlyArray<Change>)
    .filter(({ headers }) => headers.lsn !== undefined)
    .map(({ headers: { key_change_from, key_change_to, operation }, ...rest }) => ({
      is: operation,
      ...(key_change_to === undefined ? {} : { to: key_change_to }),
      ...(key_change_from === undefined ? {} : { from: key_change_from }),
      ...rest
    }))

const key = (id: number) => `"public"."items"/"${id}"`

// --- What is sent ---

/** Statements, each a transaction, and what a shape of `grp = 1` and the columns id and title is told of it. */
const CASES: ReadonlyArray<{
  readonly sql: string
  readonly plain: ReadonlyArray<object>
  readonly full: ReadonlyArray<object>
}> = [
  {
    sql: "INSERT INTO items VALUES (1, 1, 'a', 'x'), (2, 2, 'b', 'x'), (3, NULL, 'c', 'x')",
    plain: [{ is: "insert", key: key(1), value: { id: "1", title: "a" } }],
    full: [{ is: "insert", key: key(1), value: { id: "1", title: "a" } }]
  },
  {
    sql: "UPDATE items SET grp = 1 WHERE id IN (2, 3)",
    plain: [
      { is: "insert", key: key(2), value: { id: "2", title: "b" } },
      { is: "insert", key: key(3), value: { id: "3", title: "c" } }
    ],
    full: [
      { is: "insert", key: key(2), value: { id: "2", title: "b" } },
      { is: "insert", key: key(3), value: { id: "3", title: "c" } }
    ]
  },
  {
    sql: "UPDATE items SET title = 'aa', body = NULL WHERE id = 1",
    plain: [{ is: "update", key: key(1), value: { id: "1", title: "aa" } }],
    full: [{ is: "update", key: key(1), value: { id: "1", title: "aa" }, old_value: { title: "a" } }]
  },
  { sql: "UPDATE items SET body = 'y'; UPDATE items SET title = title, grp = grp", plain: [], full: [] },
  {
    // The old row leaves, whatever the new one is.
    sql: "UPDATE items SET grp = 2, title = 'gone' WHERE id = 1",
    plain: [{ is: "delete", key: key(1), value: { id: "1" } }],
    full: [{ is: "delete", key: key(1), value: { id: "1", title: "aa" } }]
  },
  {
    sql: "UPDATE items SET grp = NULL WHERE id = 3",
    plain: [{ is: "delete", key: key(3), value: { id: "3" } }],
    full: [{ is: "delete", key: key(3), value: { id: "3", title: "c" } }]
  },
  { sql: "UPDATE items SET id = 4, grp = 3 WHERE id = 3; DELETE FROM items WHERE id = 4", plain: [], full: [] },
  {
    // The key changes within the shape, out of it, into it.
    sql: "UPDATE items SET id = 20, title = 'moved' WHERE id = 2",
    plain: [
      { is: "delete", to: key(20), key: key(2), value: { id: "2" } },
      { is: "insert", from: key(2), key: key(20), value: { id: "20", title: "moved" } }
    ],
    full: [
      { is: "delete", to: key(20), key: key(2), value: { id: "2", title: "b" } },
      { is: "insert", from: key(2), key: key(20), value: { id: "20", title: "moved" } }
    ]
  },
  {
    sql: "UPDATE items SET id = 21, grp = 0 WHERE id = 20",
    plain: [{ is: "delete", key: key(20), value: { id: "20" } }],
    full: [{ is: "delete", key: key(20), value: { id: "20", title: "moved" } }]
  },
  {
    sql: "UPDATE items SET id = 22, grp = 1 WHERE id = 21",
    plain: [{ is: "insert", key: key(22), value: { id: "22", title: "moved" } }],
    full: [{ is: "insert", key: key(22), value: { id: "22", title: "moved" } }]
  },
  {
    // In and out and in again, in one transaction.
    sql: "BEGIN; UPDATE items SET grp = 5 WHERE id = 22; UPDATE items SET title = 'out' WHERE id = 22; "
      + "UPDATE items SET grp = 1, title = NULL WHERE id = 22; DELETE FROM items WHERE id = 22; COMMIT",
    plain: [
      { is: "delete", key: key(22), value: { id: "22" } },
      { is: "insert", key: key(22), value: { id: "22", title: null } },
      { is: "delete", key: key(22), value: { id: "22" } }
    ],
    full: [
      { is: "delete", key: key(22), value: { id: "22", title: "moved" } },
      { is: "insert", key: key(22), value: { id: "22", title: null } },
      { is: "delete", key: key(22), value: { id: "22", title: null } }
    ]
  },
  {
    sql: "INSERT INTO items VALUES (99, 1, 'last', NULL)",
    plain: [{ is: "insert", key: key(99), value: { id: "99", title: "last" } }],
    full: [{ is: "insert", key: key(99), value: { id: "99", title: "last" } }]
  }
]

/** The same clause, found by an index, tested by a closure, asked of Postgres, and partly each. */
const FORMS: ReadonlyArray<Readonly<Record<string, string>>> = [
  { where: "grp = 1" },
  { where: "grp IN ($1, -7)", "params[1]": "1" },
  { where: "grp BETWEEN 1 AND 1" },
  { where: "grp + 1 = 2" },
  { where: "is_one(grp)" },
  { where: "grp > 0 AND is_one(grp)" },
  { where: "grp = 1 AND (is_one(grp) OR title = 'never')" },
  { where: "NOT (grp IS DISTINCT FROM 1)" },
  { where: "CASE WHEN grp IS NULL THEN false ELSE is_one(grp) END" }
]

scenario("rows that enter, change and leave: what is sent", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, grp int, title text, body text);
    CREATE FUNCTION is_one(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 = 1; END'`
}, async ({ db, follow, followed }) => {
  const shapes = FORMS.flatMap((where) =>
    ["default", "full"].map((replica) => ({
      where: where.where!,
      replica,
      follower: follow({ table: "items", columns: "id,title", replica, ...where }).start()
    }))
  )
  const now = async () => {
    for (const { follower } of shapes) await followed(follower, "SELECT id, title FROM items WHERE grp = 1")
  }
  await now()
  const handles = new Set(shapes.map(({ follower }) => follower.handle))
  assert.equal(handles.size, shapes.length)
  for (const { sql } of CASES) {
    await db.exec(sql)
    await now()
  }
  for (const { follower, replica, where } of shapes) {
    await follower.stop()
    assert.deepEqual(
      changesOf(follower),
      CASES.flatMap(({ full, plain }) => replica === "full" ? full : plain),
      `${where}, ${replica}`
    )
  }
})

// --- Values that are not in the stream ---

scenario("clauses on large values that an update does not touch", {
  setup: `
    CREATE TABLE docs (id int PRIMARY KEY, state int, body text, meta jsonb, tags text[]);
    ALTER TABLE docs ALTER body SET STORAGE EXTERNAL, ALTER meta SET STORAGE EXTERNAL, ALTER tags SET STORAGE EXTERNAL;
    CREATE FUNCTION begins(text, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE
      AS 'BEGIN RETURN left($1, length($2)) = $2; END';
    INSERT INTO docs SELECT i, i % 3, chr(96 + i) || repeat(md5(i::text), 300),
      jsonb_build_object('kind', chr(96 + i), 'long', repeat(md5(i::text), 300)),
      ARRAY[chr(96 + i)] || array_fill(repeat('x', 100), ARRAY[100])
    FROM generate_series(1, 6) i`
}, async ({ db, follow, followed }) => {
  const clauses = [
    "body LIKE 'b%' OR body LIKE 'd%'",
    "length(body) > 5000",
    "begins(body, 'b')",
    "state = 1 AND begins(body, 'd')",
    "state = 2 AND body < 'c'",
    "meta ->> 'kind' = 'b'",
    "meta @> '{\"kind\": \"d\"}'",
    "tags @> ARRAY['b']",
    "'d' = ANY (tags)",
    "body IS NOT NULL AND state <> 1",
    "md5(body) = md5('b' || repeat(md5('2'), 300))"
  ]
  const shapes = clauses.flatMap((where, i): ReadonlyArray<readonly [Follower, string]> => {
    const columns = i % 2 === 0 ? "id,state" : "id,state,body"
    return [
      [follow({ table: "docs", where, columns }).start(), `SELECT ${columns} FROM docs WHERE ${where}`],
      [follow({ table: "docs", where, replica: "full" }).start(), `SELECT * FROM docs WHERE ${where}`]
    ]
  })
  const now = async () => {
    for (const [follower, sql] of shapes) await followed(follower, sql)
  }
  await now()
  for (
    const sql of [
      "UPDATE docs SET state = state + 1",
      "UPDATE docs SET state = 2",
      "UPDATE docs SET id = id + 10",
      "UPDATE docs SET body = replace(body, 'b', 'x') WHERE id = 12",
      "UPDATE docs SET body = 'b' || body, state = 1 WHERE id = 13",
      "UPDATE docs SET state = 5, meta = meta || '{\"kind\": \"b\"}' WHERE id IN (13, 14)",
      "UPDATE docs SET body = NULL, tags = NULL WHERE id = 14",
      "UPDATE docs SET state = 1",
      "DELETE FROM docs WHERE id < 14",
      "UPDATE docs SET id = 2, body = 'b', tags = '{b}', meta = '{\"kind\": \"b\"}' WHERE id = 15"
    ]
  ) {
    await db.exec(sql)
    await now()
  }
  for (const [follower] of shapes) {
    assert.equal(follower.rotations, 0)
    await follower.stop()
  }
})

// --- Partitions ---

scenario("clauses on partitioned tables whose partitions order their columns otherwise", {
  setup: `
    CREATE TABLE events (id int, region text, note text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE events_eu (n int, note text, gone int, region text NOT NULL, id int NOT NULL, PRIMARY KEY (id, region));
    ALTER TABLE events_eu DROP gone;
    ALTER TABLE events ATTACH PARTITION events_eu FOR VALUES IN ('eu');
    CREATE TABLE events_us PARTITION OF events FOR VALUES IN ('us');
    CREATE FUNCTION is_even(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 % 2 = 0; END';
    INSERT INTO events SELECT i, CASE i % 2 WHEN 0 THEN 'eu' ELSE 'us' END, 'note ' || i, i % 7 FROM generate_series(1, 60) i`
}, async ({ db, follow, followed }) => {
  const shape = (table: string, where: string, columns = "*"): readonly [Follower, string] => [
    follow({ table, where, ...(columns === "*" ? {} : { columns }) }).start(),
    `SELECT ${columns} FROM ${table} WHERE ${where}`
  ]
  const shapes = [
    shape("events", "n = 3"),
    shape("events", "n = 3 AND region = 'eu'", "id,region"),
    shape("events", "note LIKE 'note 1%' OR n > 5", "region,id"),
    shape("events", "is_even(n) AND region IN ('eu', 'asia')"),
    shape("events", "is_even(n)", "id,region,n"),
    shape("events_eu", "n = 3"),
    shape("events_us", "is_even(n)")
  ]
  const now = async () => {
    for (const [follower, sql] of shapes) await followed(follower, sql)
  }
  await now()
  for (
    const sql of [
      "UPDATE events SET n = (n + 1) % 7",
      "UPDATE events SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END WHERE id % 5 = 0",
      "CREATE TABLE events_asia (n int, id int NOT NULL, region text NOT NULL, note text); "
      + "ALTER TABLE events_asia ADD PRIMARY KEY (id, region), REPLICA IDENTITY FULL; "
      + "ALTER TABLE events ATTACH PARTITION events_asia FOR VALUES IN ('asia')",
      "INSERT INTO events VALUES (1, 'asia', 'note 100', 3), (71, 'asia', NULL, 2), (72, 'asia', 'x', NULL)",
      "UPDATE events SET n = n + 1, note = 'note 1'",
      "UPDATE events SET region = 'eu' WHERE region = 'asia' AND id > 1; UPDATE events SET id = id + 100 WHERE n = 3",
      "UPDATE events SET n = NULL WHERE id % 4 = 0; DELETE FROM events WHERE id % 6 = 0"
    ]
  ) {
    await db.exec(sql)
    await now()
  }
  for (const [follower] of shapes) assert.equal(follower.rotations, 0)
  await db.exec("TRUNCATE events_eu; INSERT INTO events VALUES (1, 'eu', 'note 1', 3)")
  for (const [follower] of shapes.slice(0, 6)) await follower.until(({ rotations }) => rotations === 1, "a rotation")
  await now()
  assert.equal(shapes[6]![0].rotations, 0)
  for (const [follower] of shapes) await follower.stop()
})

// --- Changes of the table ---

scenario("columns that only the clause reads are altered; the table is truncated", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, title text, n int, m int, o int);
    INSERT INTO items SELECT i, 'title ' || i, i % 4, i % 3, i FROM generate_series(1, 20) i`
}, async ({ db, follow, followed, server }) => {
  const shape = (where: string): readonly [Follower, string] => [
    follow({ table: "items", columns: "id,title", where }).start(),
    `SELECT id, title FROM items WHERE ${where}`
  ]
  const ofN = shape("n = 1")
  const ofM = shape("m % 2 = 1")
  const ofBoth = shape("n = 1 OR m = 1")
  const shapes = [ofN, ofM, ofBoth]
  const now = async () => {
    for (const [follower, sql] of shapes) await followed(follower, sql)
  }
  await now()
  let next = 100
  const alter = async (sql: string, rotated: ReadonlyArray<readonly [Follower, string]>) => {
    const before = shapes.map(([{ rotations }]) => rotations)
    await db.exec(sql)
    await db.exec(`INSERT INTO items (id, title, n, m) VALUES (${next++}, 'new', 1, 1)`)
    for (const [i, shape] of shapes.entries()) {
      const expected = before[i]! + (rotated.includes(shape) ? 1 : 0)
      await shape[0].until(({ rotations }) => rotations >= expected, `${sql}: ${expected} rotations of ${shape[1]}`)
    }
    await now()
    for (const [i, shape] of shapes.entries()) {
      assert.equal(shape[0].rotations, before[i]! + (rotated.includes(shape) ? 1 : 0), `${sql}: ${shape[1]}`)
    }
  }
  await alter("ALTER TABLE items ADD z text, DROP o", [])
  await alter("ALTER TABLE items ALTER m TYPE int8", [ofM, ofBoth])
  await alter("ALTER TABLE items ALTER n TYPE numeric USING n + 0.0", [ofN, ofBoth])
  await alter("UPDATE items SET n = n + 1", [])
  await alter("TRUNCATE items", shapes)

  // --- A column that is gone ---
  await db.exec("ALTER TABLE items RENAME n TO nn; INSERT INTO items VALUES (300, 'x', 1, 1)")
  for (const [follower] of [ofN, ofBoth]) {
    await assert.rejects(follower.until(() => false, "the refusal"), /At location 0: unknown reference n/)
  }
  await followed(...ofM)
  assert.equal(server.lines.filter((line) => /unknown reference/.test(line)).length, 0)
  await ofM[0].stop()
})
