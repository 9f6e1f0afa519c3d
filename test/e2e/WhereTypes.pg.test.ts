/**
 * Clauses on columns of every kind: the shapes are followed through writes, and are what `SELECT` with the same clause
 * says after each of them.
 */
import assert from "node:assert/strict"
import type { Follower } from "../support/Follower.ts"
import { type Scenario, scenario } from "../support/Scenario.ts"

/** A shape that is followed, and the statement that it must equal. */
type Followed = readonly [Follower, string]

/** One shape for each clause, alternately with few columns, with all, and with old values. */
const followAll = (
  { follow }: Scenario,
  table: string,
  clauses: ReadonlyArray<string>,
  columns: string
): ReadonlyArray<Followed> =>
  clauses.map((where, i): Followed => {
    const some = i % 3 === 0
    const params = { table, where, ...(some ? { columns } : {}), ...(i % 3 === 2 ? { replica: "full" } : {}) }
    return [follow(params).start(), `SELECT ${some ? columns : "*"} FROM ${table} WHERE ${where}`]
  })

/** Each statement is a transaction; all shapes follow it, under the handle that they had before. */
const through = async (
  { db, followed }: Scenario,
  shapes: ReadonlyArray<Followed>,
  statements: ReadonlyArray<string>
) => {
  for (const sql of ["", ...statements]) {
    if (sql !== "") await db.exec(sql)
    for (const [follower, select] of shapes) await followed(follower, select)
  }
  for (const [follower, select] of shapes) assert.equal(follower.rotations, 0, select)
}

const stopAll = async (shapes: ReadonlyArray<Followed>) => {
  for (const [follower] of shapes) await follower.stop()
}

// --- An enum of another schema ---

scenario("an enum of another schema, which gets another value while shapes use it", {
  setup: `
    CREATE SCHEMA app;
    CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TABLE people (id int PRIMARY KEY, mood app.mood, moods app.mood[], age int);
    INSERT INTO people SELECT i, (ARRAY['sad', 'ok', 'happy', NULL]::app.mood[])[1 + i % 4], '{ok,sad}', i
    FROM generate_series(1, 20) i`
}, async (scenario) => {
  const { db } = scenario
  const clauses = [
    "mood IS NULL",
    "mood::text IN ('ok', 'sad')",
    "NOT (mood::text = 'ok')",
    "mood::text = 'ok' OR age > 15",
    "mood::text = 'ok'",
    "mood = 'ok'",
    "mood <> 'ok'",
    "mood > 'sad'",
    "mood <= 'ok'::app.mood",
    "mood IN ('ok', 'happy')",
    "mood NOT IN ('ok', 'happy')",
    "mood = ANY ('{sad,happy}')",
    "mood BETWEEN 'sad' AND 'ok' AND age < 18",
    "mood IS DISTINCT FROM 'sad'",
    "'happy' = ANY (moods)",
    "moods @> '{sad}'",
    "moods[1] > mood",
    "greatest(mood, 'ok') = 'happy'",
    "CASE mood WHEN 'ok' THEN age > 5 ELSE age < 15 END"
  ]
  const shapes = [...followAll(scenario, "people", clauses, "id,age")]
  await through(scenario, shapes, [
    "INSERT INTO people VALUES (21, 'happy', '{happy}', 3), (22, NULL, NULL, NULL), (23, 'ok', '{}', 17)",
    "UPDATE people SET mood = CASE mood WHEN 'sad' THEN 'ok'::app.mood WHEN 'ok' THEN 'happy' WHEN 'happy' THEN NULL ELSE 'sad' END",
    "UPDATE people SET id = id + 100, mood = 'ok' WHERE id % 7 = 0",
    "DELETE FROM people WHERE mood = 'happy'"
  ])
  await db.exec("ALTER TYPE app.mood ADD VALUE 'meh' BEFORE 'ok'")
  await db.exec("ALTER TYPE app.mood ADD VALUE 'ecstatic'")
  const later = ["mood = 'meh'", "mood >= 'meh'", "mood < 'ecstatic'", "mood::text LIKE 'e%'"]
  shapes.push(...followAll(scenario, "people", later, "id,mood"))
  await through(scenario, shapes, [
    "INSERT INTO people VALUES (31, 'meh', '{meh,sad}', 1), (32, 'ecstatic', '{ecstatic}', 30)",
    "UPDATE people SET mood = 'meh' WHERE id % 2 = 0",
    "UPDATE people SET mood = 'ecstatic', moods = '{happy,meh}' WHERE id % 3 = 0",
    "DELETE FROM people WHERE mood = 'meh'"
  ])
  await stopAll(shapes)
})

// --- What the reference refuses, or stops following ---

const SETUP = `
  CREATE DOMAIN quantity AS int CHECK (VALUE >= 0);
  CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  CREATE SCHEMA ext;
  CREATE FUNCTION ext.slug(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$SELECT lower(replace($1, ' ', '-'))$$;
  CREATE FUNCTION ext.alike(text, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1) = lower($2); END';
  CREATE OPERATOR ext.~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = ext.alike);
  CREATE FUNCTION half(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 2';
  CREATE TABLE things (
    id int PRIMARY KEY, d date, ts timestamp, tz timestamptz, name varchar(20), title text COLLATE "und-x-icu",
    tag text COLLATE nocase, nums int[], n int, meta jsonb, raw json, qty quantity, code char(5), price numeric(10, 2),
    span interval, uid uuid, bytes bytea, addr inet, during daterange, "Odd ""name""" text);
  INSERT INTO things SELECT i, date '2024-01-01' + (i % 5 - 2), timestamp '2024-01-01' + i * interval '7 hours',
    timestamptz '2024-01-01 00:00+02' + i * interval '5 hours', chr(96 + i % 4), (ARRAY['a', 'B', 'b', 'Ä', 'z', NULL])[1 + i % 6],
    (ARRAY['x', 'X', 'y', ''])[1 + i % 4], CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '{}' ELSE ARRAY[i, i % 3, NULL] END,
    NULLIF(i % 6, 5), (ARRAY['{"a": "x", "b": [1, 2]}', '{"a": 1.0}', 'null', NULL, '[]'])[1 + i % 5]::jsonb,
    (ARRAY['{"a":  "x"}', '{"a": 1}', NULL])[1 + i % 3]::json, i % 5, (ARRAY['ab', 'ab ', '', NULL])[1 + i % 4],
    i % 4 + 0.50, i % 50 * interval '1 hour', ('00000000-0000-0000-0000-00000000000' || i % 10)::uuid,
    decode(lpad(to_hex(i % 3), 2, '0'), 'hex'), ('10.0.' || i % 3 || '.1')::inet,
    daterange(date '2024-01-01' + i % 3, '2024-01-05'), (ARRAY['v', 'w', NULL])[1 + i % 3]
  FROM generate_series(1, 40) i`

const TEMPORAL = [
  "d <> '2024-01-01'",
  "d NOT BETWEEN '2024-01-01' AND '2024-01-02'",
  "d IN ('2024-01-01', '2023-12-31')",
  "ts <> '2024-01-01 07:00'",
  "ts NOT BETWEEN '2024-01-02' AND '2024-01-05'",
  "ts::date = '2024-01-02'",
  "tz >= '2024-01-03 00:00+02' AND tz < '2024-01-06'",
  "tz NOT IN ('2024-01-01 03:00Z')",
  "extract(hour from tz AT TIME ZONE 'UTC') < 6",
  "date_trunc('day', ts) = '2024-01-02'",
  "tz AT TIME ZONE 'America/New_York' > '2024-01-04'",
  "span <> 'P1D'",
  "span > '1 day'",
  "ts + span > '2024-01-05'",
  "during @> date '2024-01-02'",
  "d <@ during"
]

const TEXTUAL = [
  "name || 'z' = 'az'",
  "name::varchar(1) = 'b'",
  "title < 'b'",
  "title > 'B' AND title <= 'z'",
  "title COLLATE \"C\" < 'b'",
  "title BETWEEN 'a' AND 'b'",
  "lower(title) = 'ä'",
  "tag = 'x'",
  "tag <> 'X'",
  "tag IN ('Y', '')",
  "code = 'ab'",
  "code = 'ab   '",
  "code LIKE 'ab%'",
  "length(code) = 2",
  "code || '|' = 'ab|'",
  "code::text <> ''",
  "ext.slug(title || ' ' || name) = 'b-b'",
  "title OPERATOR(ext.~~~) 'B'",
  "\"Odd \"\"name\"\"\" = 'v'",
  "title ~ '^[a-c]'",
  "title ILIKE 'B%'",
  "coalesce(title, name) = 'a'",
  "bytes = '\\x01'",
  "encode(bytes, 'hex') = '02'",
  "uid = '00000000000000000000000000000003'",
  "uid > '00000000-0000-0000-0000-000000000005'"
]

const OTHER = [
  "nums @> '{}'",
  "nums @> '{1}' OR nums IS NULL",
  "NOT (nums && '{1,2}')",
  "1 = ANY (nums)",
  "5 <> ALL (nums)",
  "nums[1] > 10",
  "array_length(nums, 1) = 3",
  "n NOT IN (1, 2)",
  "n NOT IN (1, NULL)",
  "NOT (n IN (1, NULL))",
  "n IN (1, NULL)",
  "(n = 1) IS NOT TRUE",
  "n IS NULL OR n = id % 7",
  "half(n) = 1",
  "half(n) = 1 AND meta IS NOT NULL",
  "meta IS NOT NULL",
  "meta IS NULL",
  "meta->>'a' = 'x'",
  "meta @> '{\"a\": 1}'",
  "meta ? 'b'",
  "meta = '{\"a\": 1}'",
  "meta['a'] = '1.00'",
  "meta @? '$.b[*] ? (@ > 1)'",
  "raw->>'a' = 'x'",
  "raw IS NOT NULL",
  "qty > 2",
  "qty IN (1, 3)",
  "qty::text = '4'",
  "price = 1.5",
  "price * 2 >= 5",
  "addr << '10.0.1.0/24'",
  "addr = '10.0.2.1'",
  "(n, name) < (2, 'b')",
  "(n, name) IN ((1, 'b'), (2, 'c'))",
  "CASE WHEN n = 0 THEN name = 'a' ELSE 12 / n > 5 END",
  "n = 0 OR NULL",
  "random_state(id)"
]

const WRITES = [
  `INSERT INTO things (id, d, ts, tz, name, title, tag, nums, n, meta, raw, qty, code, price, span, uid, bytes, addr, during)
   VALUES (101, 'infinity', '-infinity', '2024-01-03 00:00+02', 'b', 'B', 'Y', '{}', 2, '{"a": 1}', '{"a":"x"}', 3, 'ab', 1.5,
     'P1D', '00000000-0000-0000-0000-000000000003', '\\x01', '10.0.1.0/24', '[2024-01-02,2024-01-03)'),
     (102, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
  "UPDATE things SET n = NULLIF((n + 1) % 6, 0), d = d + 1, ts = ts + interval '13 hours', tz = tz - interval '11 hours'",
  "UPDATE things SET name = chr(ascii(name) + 1), title = CASE title WHEN 'B' THEN 'ä' ELSE upper(title) END, tag = upper(tag)",
  "UPDATE things SET nums = nums || 1, meta = CASE WHEN id % 3 = 0 THEN NULL ELSE jsonb '{\"a\": \"x\", \"b\": []}' END, raw = '{\"a\": \"x\" }'",
  "UPDATE things SET id = id + 1000, qty = 4, code = 'ab', price = price + 1 WHERE id % 4 = 1",
  "UPDATE things SET bytes = '\\x01', addr = '10.0.1.7', uid = NULL, during = 'empty', \"Odd \"\"name\"\"\" = 'v', span = '25 hours'",
  "DELETE FROM things WHERE id % 2 = 0",
  "UPDATE things SET n = NULL, meta = NULL, nums = NULL, title = NULL, d = NULL"
]

const onThings = (name: string, clauses: ReadonlyArray<string>, setup = "") =>
  scenario(name, { setup: SETUP + setup }, async (scenario) => {
    const shapes = followAll(scenario, "things", clauses, "id,n")
    await through(scenario, shapes, WRITES)
    await stopAll(shapes)
  })

onThings("dates, times and ranges", TEMPORAL)
onThings("texts, collations, bytes and functions of other schemas", TEXTUAL)
onThings(
  "numbers, arrays, json, domains, NULL and users' functions",
  OTHER,
  "; CREATE FUNCTION random_state(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 3 = 1'"
)
