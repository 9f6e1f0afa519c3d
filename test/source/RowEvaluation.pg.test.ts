import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import { quote, quoteLiteral } from "../../src/domain/Identifier.ts"
import type { Collation, SqlCatalog, SqlType } from "../../src/domain/SqlCatalog.ts"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { layerOf, type RowColumn, RowEvaluation, type RowVerdict } from "../../src/source/RowEvaluation.ts"
import * as Postgres from "../support/Postgres.ts"
import { sqlCatalogOf } from "../support/SqlCatalogs.ts"

type Evaluate = RowEvaluation["Type"]["evaluate"]

interface World {
  readonly db: Postgres.TestDatabase
  readonly catalog: SqlCatalog
  readonly type: (name: string) => SqlType
  readonly collation: (name: string) => Collation
  readonly evaluate: Evaluate
}

/** A database in which `sql` has run, and the service on it. */
const withRows = <A, E>(
  sql: string,
  test: (world: World) => Effect.Effect<A, E, Scope.Scope>,
  statementMillis = 10_000
) =>
  Effect.gen(function*() {
    const db = yield* Postgres.makeDatabase
    if (sql !== "") yield* db.exec(sql)
    const catalog = yield* sqlCatalogOf(db)
    return yield* Effect.flatMap(RowEvaluation, ({ evaluate }) =>
      test({
        db,
        catalog,
        evaluate,
        type: (name) => catalog.typesNamed.get(name)![0]!,
        collation: (name) => [...catalog.collations.values()].find((one) => one.name === name)!
      })).pipe(Effect.provide(Layer.provide(layerOf({ statementMillis, partMillis: 500 }), Postgres.poolsOf(db))))
  })

const messages = (verdicts: ReadonlyArray<ReadonlyArray<RowVerdict>>) =>
  verdicts.map((row) => row.map((one) => typeof one === "object" && one !== null ? one.error : one))

const hostile = [
  "'",
  "\"",
  "\\",
  "\\'",
  "'; DROP TABLE kept; --",
  "$1",
  "$$",
  "%s",
  "ordinal",
  "a\nb",
  "Käse",
  "🧀",
  ")",
  "--",
  "/*"
]

describe("RowEvaluation", () => {
  it.scopedLive("says of a single row what it says of it among others, and what the table says", () =>
    withRows(
      "CREATE TABLE t (id int, n int); INSERT INTO t VALUES (0, NULL), (1, 5)",
      ({ db, evaluate, type }) =>
        Effect.gen(function*() {
          const columns = [{ name: "n", type: type("int4") }]
          // Since 17, Postgres takes the first two for what they are without looking at the element.
          const expressions = [
            "\"n\" <@ '(,)'::int4range",
            "\"n\" <@ 'empty'::int4range",
            "\"n\" <@ '[1,9)'::int4range"
          ]
          const rows = yield* db.query(
            `SELECT ${expressions.map((sql, i) => `${sql} AS e${i}`).join()} FROM t ORDER BY id`
          )
          const table = rows.map((row) => Object.values(row).map((text) => text === null ? null : text === "t"))
          const alone = yield* Effect.forEach([null, "5"], (n) => evaluate({ columns, rows: [[n]], expressions }))
          assert.deepStrictEqual(alone.flat(), table)
          assert.deepStrictEqual(yield* evaluate({ columns, rows: [[null], ["5"]], expressions }), table)
        })
    ))

  it.scopedLive("evaluates each expression for each row, in their order", () =>
    withRows("", ({ evaluate, type }) =>
      Effect.gen(function*() {
        const columns = [{ name: "id", type: type("int4") }, { name: "title", type: type("text") }]
        const verdicts = yield* evaluate({
          columns,
          rows: [["3", "a"], ["1", null], [null, "b"], ["2", "NULL"]],
          expressions: ["\"id\" > 1", "\"title\" IS NULL", "\"title\" = 'b' OR \"id\" = 2"]
        })
        assert.deepStrictEqual(verdicts, [
          [true, false, false],
          [false, true, null],
          [null, false, true],
          [true, false, true]
        ])
        assert.deepStrictEqual(yield* evaluate({ columns, rows: [], expressions: ["true"] }), [])
        assert.deepStrictEqual(yield* evaluate({ columns, rows: [["1", "a"]], expressions: [] }), [[]])
        assert.deepStrictEqual(
          yield* evaluate({ columns: [], rows: [[], []], expressions: ["true", "NULL::bool"] }),
          [[true, null], [true, null]]
        )
      })))

  it.scopedLive("gives every type back the value that its text came from", () =>
    withRows(
      `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text);
       CREATE DOMAIN posint AS int CHECK (VALUE > 0); CREATE DOMAIN code AS char(4); CREATE DOMAIN codes AS code[];
       CREATE SCHEMA "Odd Schema"; CREATE TYPE "Odd Schema"."Odd ""Type" AS ENUM ('x''y')`,
      ({ catalog, db, evaluate }) =>
        Effect.gen(function*() {
          const session = yield* db.session
          yield* session.exec(DISPLAY_SETTINGS)
          const values = [
            "true",
            "1::int2",
            "-2::int4",
            "9223372036854775807::int8",
            "1.50::numeric(9,3)",
            "'NaN'::numeric",
            "0.1::float4",
            "'-0'::float8",
            "'NaN'::float8",
            "'it''s \\ \"x\"'::text",
            "'a '::varchar(5)",
            "'ab'::char(5)",
            "'x'::\"char\"",
            "'n'::name",
            "'\\x00ff'::bytea",
            "'2024-02-29'::date",
            "'infinity'::date",
            "'0044-03-15 BC'::date",
            "'12:34:56.789'::time",
            "'12:34:56+02'::timetz",
            "'2024-01-01 00:00:00.000001'::timestamp",
            "'2024-01-01 00:00+02'::timestamptz",
            "'1 mon -2 days 03:04:05.6'::interval",
            "B'10101'",
            "B'101'::bit varying(9)",
            "gen_random_uuid()",
            "'{\"b\": [1, null]}'::jsonb",
            "'10.0.0.1'::inet",
            "'10.0.0.0/8'::cidr",
            "'08:00:2b:01:02:03'::macaddr",
            "'12.34'::money",
            "point(1,2)::text",
            "'[1,5)'::int4range",
            "'{[1,2),[4,9)}'::int4multirange",
            "'(,\"a b\"]'::pg_catalog.numrange".replace("\"a b\"", "5"),
            "ARRAY[1,NULL,3]",
            "ARRAY['a','NULL',NULL,'\"q\"','\\']",
            "'[2:3][0:0]={{1},{2}}'::int[]",
            "ARRAY['ab'::char(5)]",
            "'{}'::text[]",
            "'fat & rat'::tsquery",
            "'a fat cat'::tsvector",
            "'ok'::mood",
            "ARRAY['ok'::mood]",
            "ROW(1, 'a,\"b')::pair",
            "7::posint",
            "'ab'::code",
            "ARRAY['ab']::codes",
            "'x''y'::\"Odd Schema\".\"Odd \"\"Type\"",
            "'pg_class'::regclass",
            "1::oid",
            "'1 2'::oidvector",
            "'0/16B3748'::pg_lsn"
          ]
          const columns: Array<RowColumn> = []
          const row: Array<string | null> = []
          for (const [i, value] of values.entries()) {
            const [found] = yield* session.query(`SELECT v, pg_typeof(v)::oid AS oid FROM (SELECT ${value} AS v) AS q`)
            const oid = Number(found!.oid)
            assert.isTrue(catalog.types.has(oid), value)
            columns.push({ name: `c${i}`, type: catalog.types.get(oid)! })
            row.push(found!.v!)
          }
          const nulls = values.map(() => null)
          const [same, ofNull] = yield* evaluate({
            columns,
            rows: [row, nulls, row],
            // The types are those of the columns, domains too, wherever the row stands.
            expressions: columns.map(({ name, type }, i) =>
              `${quote(name)} = (${values[i]!.startsWith("gen_") ? `${quoteLiteral(row[i]!)}::uuid` : values[i]}) `
              + `AND pg_typeof(${quote(name)})::oid = ${type.oid}`
            )
          })
          assert.deepStrictEqual(same, values.map(() => true))
          assert.deepStrictEqual(ofNull, values.map(() => null))
          const texts = yield* evaluate({
            columns,
            rows: [nulls, row],
            expressions: columns.map(({ name }, i) => `concat(${quote(name)}) = ${quoteLiteral(row[i]!)}`)
          })
          assert.deepStrictEqual(texts[1], values.map(() => true))
        })
    ))

  it.scopedLive("lets no value and no name be more than that", () =>
    withRows("CREATE TABLE kept (a int)", ({ db, evaluate, type }) =>
      Effect.gen(function*() {
        const columns = hostile.map((name) => ({ name, type: type("text") }))
        const verdicts = yield* evaluate({
          columns,
          rows: [hostile, [...hostile].reverse()],
          expressions: hostile.map((value) => `${quote(value)} = ${quoteLiteral(value)}`)
        })
        assert.deepStrictEqual(verdicts, [
          hostile.map(() => true),
          hostile.map((_, i) => 2 * i === hostile.length - 1)
        ])
        assert.deepStrictEqual(yield* db.query("SELECT * FROM kept"), [])
        // One statement is all that is ever run, and it writes nothing.
        const refused = yield* evaluate({
          columns: [],
          rows: [[]],
          expressions: ["true FROM (VALUES (1)) AS x; DROP TABLE kept; --", "nextval('pg_catalog.pg_class') > 0"]
        })
        assert.match(JSON.stringify(refused), /cannot insert multiple commands.*error/)
        yield* db.exec("CREATE SEQUENCE s")
        assert.deepStrictEqual(
          messages(yield* evaluate({ columns: [], rows: [[]], expressions: ["nextval('s') > 0"] })),
          [["cannot execute nextval() in a read-only transaction"]]
        )
      })))

  it.scopedLive("compares under the column's collation", () =>
    withRows(
      `CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
       CREATE DOMAIN loose AS text COLLATE folded`,
      ({ collation, evaluate, type }) =>
        Effect.gen(function*() {
          const columns = [
            { name: "plain", type: type("text"), collation: collation("default") },
            { name: "folded", type: type("text"), collation: collation("folded") },
            { name: "list", type: type("_text"), collation: collation("folded") },
            { name: "loose", type: type("loose"), collation: collation("folded") },
            { name: "strict", type: type("loose"), collation: collation("C") }
          ]
          const expressions = [
            ..."plain folded loose strict".split(" ").map((name) => `${name} = 'A'`),
            "'A' = ANY (list)"
          ]
          const row = ["a", "a", "{b,a}", "a", "a"]
          const expected = [false, true, true, false, true]
          assert.deepStrictEqual(yield* evaluate({ columns, rows: [row], expressions }), [expected])
          assert.deepStrictEqual(
            yield* evaluate({ columns, rows: [[null, null, null, null, null], row], expressions }),
            [expected.map(() => null), expected]
          )
        })
    ))

  it.scopedLive("says which expression fails for which row, and answers all others", () =>
    withRows("CREATE DOMAIN posint AS int CHECK (VALUE > 0)", ({ evaluate, type }) =>
      Effect.gen(function*() {
        const rows = Array.from({ length: 40 }, (_, i) => [String(i % 10), i === 17 ? "-1" : "1"])
        const expressions = [
          "id >= 0",
          "10 / id > 1",
          "id < 5",
          "10 / (id - 3) > 1",
          "missing = 1",
          "2147483643 + id > 0",
          "p = 1"
        ]
        const columns = [{ name: "id", type: type("int4") }, { name: "p", type: type("posint") }]
        const zero = "division by zero"
        const verdicts = messages(yield* evaluate({ columns, rows, expressions }))
        for (const [i, row] of verdicts.entries()) {
          const id = i % 10
          const expected = [
            true,
            id === 0 ? zero : Math.trunc(10 / id) > 1,
            id < 5,
            id === 3 ? zero : Math.trunc(10 / (id - 3)) > 1,
            "column \"missing\" does not exist",
            id > 4 ? "integer out of range" : true,
            true
          ]
          const refused = "value for domain posint violates check constraint \"posint_check\""
          assert.deepStrictEqual(row, i === 17 ? expected.map(() => refused) : expected, `row ${i}`)
        }
        const [only] = yield* evaluate({ columns, rows: [["x", "1"]], expressions: ["id = 1"] })
        assert.deepStrictEqual(only, [{ error: "invalid input syntax for type integer: \"x\"" }])
      })))

  it.scopedLive("splits what is large, and keeps the order", () =>
    withRows("", ({ evaluate, type }) =>
      Effect.gen(function*() {
        const columns = [{ name: "id", type: type("int4") }, { name: "long", type: type("text") }]
        const wide = yield* evaluate({
          columns,
          rows: [["7", "a"], ["8", "b"]],
          expressions: Array.from({ length: 2500 }, (_, i) => `id = ${i}`)
        })
        assert.deepStrictEqual(wide.map((row) => [row.length, row.indexOf(true), row.lastIndexOf(true)]), [
          [2500, 7, 7],
          [2500, 8, 8]
        ])
        const long = "x".repeat(300_000)
        const rows = Array.from({ length: 12 }, (_, i) => [String(i), i === 5 ? long.repeat(3) : long])
        const tall = yield* evaluate({
          columns,
          rows,
          expressions: ["id % 2 = 0", "length(long) > 300000", "1 / (id - 6) = 1"]
        })
        assert.deepStrictEqual(
          messages(tall),
          rows.map((_, i) => [
            i % 2 === 0,
            i === 5,
            i === 6 ? "division by zero" : i === 7
          ])
        )
      })))

  it.scopedLive(
    "takes what is too slow for a failure of its own",
    () =>
      withRows("", ({ evaluate, type }) =>
        Effect.gen(function*() {
          const columns = [{ name: "id", type: type("int4") }]
          const verdicts = yield* evaluate({
            columns,
            rows: [["1"], ["2"], ["3"]],
            expressions: ["id > 1", "CASE WHEN id = 2 THEN pg_sleep(60) IS NULL ELSE true END", "id > 2"]
          })
          assert.deepStrictEqual(messages(verdicts), [
            [false, true, false],
            [true, "canceling statement due to statement timeout", false],
            [true, true, true]
          ])
        }), 1000)
  )

  it.scopedLive("fails when the database does, and works again afterwards", () =>
    withRows("", ({ db, evaluate, type }) =>
      Effect.gen(function*() {
        const request = { columns: [{ name: "id", type: type("int4") }], rows: [["1"]], expressions: ["id = 1"] }
        assert.deepStrictEqual(yield* evaluate(request), [[true]])
        const asked = yield* Effect.fork(Effect.flip(evaluate({ ...request, expressions: ["pg_sleep(60) IS NULL"] })))
        const sleeping =
          "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep%' AND state = 'active'"
          + " AND pid <> pg_backend_pid()"
        yield* Effect.repeat(db.query(`SELECT pg_terminate_backend(pid) ${sleeping}`), {
          until: (rows) => rows.length > 0
        })
        assert.strictEqual((yield* asked)._tag, "DatabaseUnavailable")
        assert.deepStrictEqual(yield* evaluate(request), [[true]])
        const [row] = yield* db.query(
          "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%VALUES%' AND pid <> pg_backend_pid()"
        )
        assert.strictEqual(row!.n, "1", "one session")
      })))
})
