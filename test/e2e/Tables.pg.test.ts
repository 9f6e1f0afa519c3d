/**
 * Kinds of tables and values: partitioned tables, every type, large values; and tables that are altered under their shapes.
 */
import assert from "node:assert/strict"
import type { Follower } from "../support/Follower.ts"
import { scenario } from "../support/Scenario.ts"

scenario("partitioned tables: the root, one partition, a partition attached later", {
  setup: `
    CREATE TABLE events (id int, region text, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE events_eu PARTITION OF events FOR VALUES IN ('eu');
    CREATE TABLE events_us PARTITION OF events FOR VALUES IN ('us') PARTITION BY RANGE (id);
    CREATE TABLE events_us_low PARTITION OF events_us FOR VALUES FROM (0) TO (100);
    CREATE TABLE events_us_high PARTITION OF events_us FOR VALUES FROM (100) TO (1000);
    INSERT INTO events SELECT i, CASE i % 2 WHEN 0 THEN 'eu' ELSE 'us' END, 'note ' || i FROM generate_series(1, 150) i`
}, async ({ db, follow, followed }) => {
  const shapes: ReadonlyArray<readonly [Follower, string]> = [
    [follow({ table: "events" }).start(), "SELECT * FROM events"],
    [
      follow({ table: "events", replica: "full", where: "region = 'us'" }).start(),
      "SELECT * FROM events WHERE region = 'us'"
    ],
    [follow({ table: "events_eu" }).start(), "SELECT * FROM events_eu"],
    [follow({ table: "events_us" }).start(), "SELECT * FROM events_us"],
    [follow({ table: "events_us_low" }).start(), "SELECT * FROM events_us_low"]
  ]
  const now = async () => {
    for (const [follower, sql] of shapes) await followed(follower, sql)
  }
  await now()
  for (
    const sql of [
      "INSERT INTO events VALUES (500, 'eu', 'a'), (500, 'us', 'b'), (51, 'eu', 'c')",
      "UPDATE events SET note = 'x' WHERE id % 10 = 3",
      // From one partition to another.
      "UPDATE events SET region = 'us' WHERE id = 4",
      "UPDATE events SET id = id + 200 WHERE id BETWEEN 90 AND 99",
      "DELETE FROM events_us WHERE id < 20",
      // Attached, with rows, and then written to.
      "CREATE TABLE events_asia (note text, id int NOT NULL, region text NOT NULL)",
      "ALTER TABLE events_asia ADD PRIMARY KEY (id, region)",
      "ALTER TABLE events ATTACH PARTITION events_asia FOR VALUES IN ('asia')",
      "INSERT INTO events VALUES (1, 'asia', 'first')",
      "UPDATE events SET note = 'second' WHERE region = 'asia'",
      "UPDATE events SET region = 'eu' WHERE region = 'asia'",
      "INSERT INTO events VALUES (2, 'asia', 'to be deleted')",
      "DELETE FROM events WHERE region = 'asia'"
    ]
  ) {
    await db.exec(sql)
    await now()
  }
  for (const [follower] of shapes) assert.equal(follower.rotations, 0)
  // Relation and keys are the root's.
  const root = shapes[0]![0]
  assert.ok(root.served.every(({ body }) => !body.includes("events_")))
  await db.exec("TRUNCATE events_eu")
  await root.until(({ rotations }) => rotations === 1, "the root's rotation")
  await now()
  assert.equal(shapes[2]![0].rotations, 1)
  assert.equal(shapes[4]![0].rotations, 0)
  for (const [follower] of shapes) await follower.stop()
})

scenario("a partition attached later whose replica identity is not FULL", {
  setup: `
    CREATE TABLE events (id int, region text, body text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE events_eu PARTITION OF events FOR VALUES IN ('eu');
    INSERT INTO events VALUES (1, 'eu', 'x')`
}, async ({ db, follow, followed }) => {
  const shapes: ReadonlyArray<readonly [Follower, string]> = [
    [follow({ table: "events" }).start(), "SELECT * FROM events"],
    [follow({ table: "events", replica: "full" }).start(), "SELECT * FROM events"],
    [follow({ table: "events", where: "body = 'y'" }).start(), "SELECT * FROM events WHERE body = 'y'"]
  ]
  const now = async () => {
    for (const [follower, sql] of shapes) await followed(follower, sql)
  }
  await now()
  for (
    const sql of [
      "CREATE TABLE events_asia PARTITION OF events FOR VALUES IN ('asia')",
      "ALTER TABLE events_asia ALTER body SET STORAGE EXTERNAL",
      // In one transaction: nobody can have set the identity in between.
      "INSERT INTO events VALUES (1, 'asia', repeat('long', 5000)), (2, 'asia', 'x'); UPDATE events SET id = id + 100 WHERE region = 'asia'",
      "UPDATE events SET body = 'y' WHERE id = 102",
      "UPDATE events SET id = id + 100 WHERE region = 'asia'",
      "DELETE FROM events WHERE region = 'asia'"
    ]
  ) {
    await db.exec(sql)
    await now()
  }
  for (const [follower] of shapes) await follower.stop()
})

/** A column of each type, and values of it: the first of each line is the first row's, and so on; missing ones are NULL. */
const TYPES: ReadonlyArray<readonly [string, ...ReadonlyArray<string>]> = [
  ["int2", "-32768", "32767"],
  ["int4", "-2147483648", "0"],
  ["int8", "9223372036854775807", "-9223372036854775808"],
  ["numeric", "1.500", "'NaN'", "'-Infinity'", "12345678901234567890.123456789"],
  ["numeric(10,2)", "1.5", "-0.01"],
  ["float4", "1.1", "'NaN'", "'Infinity'", "1e-30"],
  ["float8", "0.1", "'-Infinity'", "1.7976931348623157e308", "5e-324"],
  ["money", "'12.34'"],
  ["bool", "true", "false"],
  ["text", "''", "E'\\n\\t\\\\ \" \\u0001\\u001f'", "'日本 é 😀'", "'\\N'", "'null'"],
  ["varchar(20)", "'a  '", "'\"quoted\"'"],
  ["char(5)", "'ab'", "''"],
  ["\"char\"", "'x'"],
  ["name", "'a name'"],
  ["bytea", "'\\x00ff5c27'", "''"],
  ["date", "'2024-02-29'", "'infinity'", "'0044-03-15 BC'"],
  ["time", "'11:42:15.000123'", "'24:00:00'"],
  ["timetz", "'11:42:15+02'"],
  ["timestamp", "'2024-11-12 11:42:15.123456'", "'-infinity'"],
  ["timestamptz", "'2024-11-12 11:42:15+05:30'", "'infinity'", "'0001-01-01 00:00:00+00 BC'"],
  ["interval", "'1 year 2 mons 3 days 04:05:06.789'", "'0'", "'-1 mon +2 days'"],
  ["uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"],
  ["json", "'{\"a\":   [1, \"x\\\\n\"]}'", "'null'"],
  ["jsonb", "'{\"b\": 1.0, \"a\": {\"é\": null}}'", "'\"text\"'"],
  ["jsonpath", "'$.a[*]'"],
  ["xml", "'<a b=\"c\">d</a>'"],
  ["inet", "'192.168.0.1'", "'::1/64'"],
  ["cidr", "'10.0.0.0/8'"],
  ["macaddr", "'08:00:2b:01:02:03'"],
  ["macaddr8", "'08:00:2b:01:02:03:04:05'"],
  ["bit(3)", "B'101'"],
  ["varbit", "B'10101'", "B''"],
  ["point", "'(1.5,-2)'"],
  ["line", "'{1,2,3}'"],
  ["lseg", "'[(0,0),(1,1)]'"],
  ["box", "'(1,1),(0,0)'"],
  ["path", "'[(0,0),(1,1)]'"],
  ["polygon", "'((0,0),(1,1),(1,0))'"],
  ["circle", "'<(0,0),5>'"],
  ["tsvector", "'a:1 fat:2 cat:3'"],
  ["tsquery", "'fat & !cat'"],
  ["int4range", "'[1,5)'", "'empty'"],
  ["tstzrange", "'[2024-01-01 00:00+02,)'"],
  ["int4multirange", "'{[1,3),[5,8)}'"],
  ["pg_lsn", "'16/B374D848'"],
  ["oid", "4294967295"],
  ["regclass", "'pg_class'"],
  ["xid", "'123'"],
  ["pg_snapshot", "'10:20:10,14,15'"],
  ["int4[]", "'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'", "'[0:1]={1,2}'"],
  ["text[]", "ARRAY['a b', '\"', '\\', NULL, 'NULL', '']"],
  ["bool[]", "'{t,f,NULL}'"],
  ["timestamptz[]", "'{2024-11-12 11:42:15+02}'"],
  ["mood", "'it''s \"ok\"'", "'sad'"],
  ["mood[]", "ARRAY['sad', 'it''s \"ok\"']::mood[]"],
  ["positive", "5"],
  ["positive[]", "'{1,2}'"],
  ["pair", "ROW(1, 'x,\"y')", "ROW(NULL, '')"],
  ["pair[]", "ARRAY[ROW(1, 'x')::pair, NULL]"],
  ["nested", "ROW(ROW(1, 'a b')::pair, 'sad')"],
  ["my_range", "'[1.5,2.5]'"]
]

const ZOO_ROWS = Math.max(...TYPES.map(([, ...values]) => values.length))

const zooRow = (id: number, row: number): string =>
  `INSERT INTO zoo VALUES (${id}, ${TYPES.map(([, ...values]) => values[row] ?? "NULL").join(", ")})`

scenario("values of every type: the stream's text is the snapshot's", {
  setup: `
    CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
    CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE nested AS (p pair, m mood);
    CREATE TYPE my_range AS RANGE (subtype = numeric);
    CREATE TABLE zoo (id int PRIMARY KEY, ${TYPES.map(([type], i) => `c${i} ${type}`).join(", ")},
      ident int GENERATED BY DEFAULT AS IDENTITY);
    -- In the replication stream since 18.
    DO $$ BEGIN
      IF current_setting('server_version_num')::int >= 180000 THEN
        ALTER TABLE zoo ADD stored int GENERATED ALWAYS AS (id % 100) STORED;
      END IF;
    END $$;
    ${Array.from({ length: ZOO_ROWS }, (_, row) => zooRow(row, row)).join(";\n")}`
}, async ({ db, follow, followed }) => {
  const plain = follow({ table: "zoo" }).start()
  const full = follow({ table: "zoo", replica: "full" }).start()
  await followed(plain, "SELECT * FROM zoo")
  for (let row = 0; row < ZOO_ROWS; row++) await db.exec(zooRow(100 + row, row))
  // The same session settings or not: the text is the server's.
  const other = await db.session()
  await other.exec(
    "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, MDY'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape'"
  )
  await other.exec(zooRow(150, 0))
  await followed(plain, "SELECT * FROM zoo")
  await followed(full, "SELECT * FROM zoo")
  const values = (id: number) => {
    const { id: _, ident: __, ...rest } = plain.rows.get(`"public"."zoo"/"${id}"`)!
    return rest
  }
  for (let row = 0; row < ZOO_ROWS; row++) assert.deepEqual(values(100 + row), values(row))
  // Each value replaced by each: updates carry the same text too.
  await db.exec(
    `UPDATE zoo SET ${
      TYPES.map((_, i) => `c${i} = (SELECT c${i} FROM zoo z WHERE z.id = (zoo.id + 1) % ${ZOO_ROWS})`).join(", ")
    } WHERE id < 100`
  )
  await followed(plain, "SELECT * FROM zoo")
  await followed(full, "SELECT * FROM zoo")
  await db.exec("UPDATE zoo SET id = id + 1000; DELETE FROM zoo WHERE id > 1100")
  await followed(plain, "SELECT * FROM zoo")
  await followed(full, "SELECT * FROM zoo")
  await plain.stop()
  await full.stop()
})

scenario("large values that an update does not touch", {
  setup: `
    CREATE TABLE docs (id int PRIMARY KEY, title text, body text, more jsonb, state int);
    ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;
    INSERT INTO docs SELECT i, 'title ' || i, (SELECT string_agg(md5(j::text), '') FROM generate_series(1, 400 * i) j),
      jsonb_build_object('long', (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 300) j)), i
    FROM generate_series(1, 4) i`
}, async ({ db, follow, followed }) => {
  const shapes: ReadonlyArray<readonly [Follower, string]> = [
    [follow({ table: "docs" }).start(), "SELECT * FROM docs"],
    [follow({ table: "docs", replica: "full" }).start(), "SELECT * FROM docs"],
    [follow({ table: "docs", where: "state = 2" }).start(), "SELECT * FROM docs WHERE state = 2"],
    [follow({ table: "docs", where: "state = 2", replica: "full" }).start(), "SELECT * FROM docs WHERE state = 2"],
    [follow({ table: "docs", columns: "id,body" }).start(), "SELECT id, body FROM docs"]
  ]
  const now = async () => {
    for (const [follower, sql] of shapes) await followed(follower, sql)
  }
  await now()
  for (
    const sql of [
      "UPDATE docs SET title = 'changed'",
      // Into and out of the shape, and a new key, with the large values untouched.
      "UPDATE docs SET state = 2",
      "UPDATE docs SET state = 3 WHERE id = 1",
      "UPDATE docs SET id = id + 10",
      "UPDATE docs SET body = body || 'x', title = NULL WHERE id = 12",
      "UPDATE docs SET more = NULL WHERE id = 13",
      "DELETE FROM docs WHERE id = 14"
    ]
  ) {
    await db.exec(sql)
    await now()
  }
  // An untouched value is not sent by default.
  const first = shapes[0]![0].served.find(({ body }) => body.includes("\"changed\""))!
  assert.ok(first.body.length < 5000)
  for (const [follower] of shapes) await follower.stop()
})

scenario("a table that is altered, dropped, recreated", {
  setup:
    "CREATE TABLE items (id int PRIMARY KEY, a text, b varchar(10) NOT NULL, c int); INSERT INTO items VALUES (1, 'a', 'b', 3)"
}, async ({ db, follow, followed }) => {
  const all = follow({ table: "items" }).start()
  const some = follow({ table: "items", columns: "id,b" }).start()
  const where = follow({ table: "items", columns: "id", where: "c = 3" }).start()
  const ALL: readonly [Follower, string] = [all, "SELECT * FROM items"]
  const SOME: readonly [Follower, string] = [some, "SELECT id, b FROM items"]
  const WHERE: readonly [Follower, string] = [where, "SELECT id FROM items WHERE c = 3"]
  for (const [follower, sql] of [ALL, SOME, WHERE]) await followed(follower, sql)
  let next = 2
  /** Alters, writes a row (with which the stream learns of it), and says which shapes are to rotate. */
  const alter = async (sql: string, rotate: ReadonlyArray<Follower>, columns: string, values: string) => {
    const before = new Map([all, some, where].map((follower) => [follower, follower.rotations]))
    await db.exec(sql)
    await db.exec(`INSERT INTO items (id, ${columns}) VALUES (${next++}, ${values})`)
    for (const follower of rotate) {
      await follower.until(({ rotations }) => rotations > before.get(follower)!, `${sql}: a rotation`)
    }
    for (const [follower, select] of [ALL, SOME, WHERE]) {
      await followed(follower, select)
      assert.equal(follower.rotations, before.get(follower)! + (rotate.includes(follower) ? 1 : 0), `${sql}: ${select}`)
    }
  }
  await alter("ALTER TABLE items ADD d text DEFAULT 'd'", [all], "b, c", "'x', 3")
  await alter("ALTER TABLE items DROP a", [all], "b, c", "'x', 3")
  await alter("ALTER TABLE items RENAME d TO e", [all], "b, c", "'x', 3")
  await alter("ALTER TABLE items ALTER e DROP DEFAULT, ALTER e TYPE int USING 1", [all], "b, c, e", "'x', 3, 7")
  // What changes nothing of the rows changes no shape.
  await alter(
    "CREATE INDEX ON items (c); ALTER TABLE items ALTER e SET DEFAULT 5; COMMENT ON TABLE items IS 'x'",
    [],
    "b, c",
    "'x', 3"
  )
  await alter("ALTER TABLE items ALTER b DROP NOT NULL", [], "c", "3")
  const schema = async (follower: Follower): Promise<Record<string, Record<string, unknown>>> => {
    await follower.stop()
    await follower.step(false)
    const found = JSON.parse(follower.schema!)
    follower.start()
    return found
  }
  assert.deepEqual((await schema(some)).b, { type: "varchar", max_length: 10 })
  await alter("ALTER TABLE items ALTER c SET NOT NULL, ALTER b TYPE varchar(20)", [], "b, c", "'twelve chars', 3")
  assert.deepEqual((await schema(all)).c, { type: "int4", not_null: true })
  assert.deepEqual((await schema(some)).b, { type: "varchar", max_length: 20 })
  await alter("ALTER TABLE items ALTER c TYPE int8", [all, where], "b, c", "'x', 3")
  // A shape of a column that is gone is refused.
  await db.exec("ALTER TABLE items DROP b; INSERT INTO items (id, c) VALUES (100, 3)")
  await assert.rejects(some.until(() => false, "the refusal"), /not found on the table: b/)
  await all.stop()
  await where.stop()

  // --- Recreated: a column is found that was not there when the table was last looked at; a new shape is of the new table ---
  await db.exec(
    "DROP TABLE items; CREATE TABLE items (id int PRIMARY KEY, c int8, z text); INSERT INTO items VALUES (1, 3, 'new')"
  )
  const again = follow({ table: "items", columns: "id,c,z" }).start()
  const other = follow({ table: "items", columns: "id,c" }).start()
  await followed(other, "SELECT id, c FROM items")
  await followed(again, "SELECT * FROM items")
  await db.exec("INSERT INTO items VALUES (2, 3, 'newer')")
  await followed(again, "SELECT * FROM items")
  await followed(other, "SELECT id, c FROM items")
  await again.stop()
  await other.stop()

  // --- Recreated once more, so that only what is remembered has the table that is gone ---
  await db.exec(
    "DROP TABLE items; CREATE TABLE items (id int PRIMARY KEY, c int8, z text); INSERT INTO items VALUES (7, 3, 'newest')"
  )
  const newest = follow({ table: "items", where: "c = 3" }).start()
  await followed(newest, "SELECT * FROM items")
  await newest.stop()
})
