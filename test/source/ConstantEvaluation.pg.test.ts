import { assert, describe, it } from "@effect/vitest"
import { Effect, Either } from "effect"
import * as ConstantEvaluation from "../../src/source/ConstantEvaluation.ts"
import * as Postgres from "../support/Postgres.ts"

/** A database in which `sql` has run, and constants of it. */
const withConstants = <A, E>(
  sql: string,
  test: (constants: ConstantEvaluation.ConstantEvaluation, db: Postgres.TestDatabase) => Effect.Effect<A, E>,
  statementMillis = 10_000
) =>
  Effect.gen(function*() {
    const db = yield* Postgres.makeDatabase
    if (sql !== "") yield* db.exec(sql)
    return yield* Effect.flatMap(ConstantEvaluation.make(statementMillis), (constants) => test(constants, db)).pipe(
      Effect.provide(Postgres.poolsOf(db))
    )
  })

const types = "CREATE TYPE pair AS (a int, b text); CREATE DOMAIN posint AS int CHECK (VALUE > 0)"
/** Expressions and what they are; a message begins with `!`. */
const cases: ReadonlyArray<readonly [expression: string, expected: string | null]> = [
  ["true", "t"],
  ["'ab'::char(5)", "ab   "],
  ["'10.0.0.1'::inet", "10.0.0.1"],
  ["'10.0.0.0/8'::cidr", "10.0.0.0/8"],
  ["'it''s'::text", "it's"],
  ["''::text", ""],
  ["NULL::text", null],
  ["1.50::numeric", "1.50"],
  ["0.1::float8 + 0.2", "0.30000000000000004"],
  ["'2024-02-01 10:00+02'::timestamptz", "2024-02-01 08:00:00+00"],
  ["'1/2/2024'::date", "2024-02-01"],
  ["'1 day 2 hours'::interval", "P1DT2H"],
  ["'abc'::bytea", "\\x616263"],
  ["ARRAY[true, NULL]", "{t,NULL}"],
  ["ROW(NULL, NULL)::pair", "(,)"],
  ["ROW(1, 'a b')::pair", "(1,\"a b\")"],
  ["NULL::pair", null],
  ["7::posint", "7"],
  ["'[1,3]'::int4range", "[1,4)"],
  ["'{\"b\":1,\"a\":2}'::jsonb", "{\"a\": 2, \"b\": 1}"],
  ["generate_series(4, 1000000000)", "4"],
  ["repeat('x', 1048576) = 'x'", "f"],
  ["1 / 0", "!division by zero"],
  ["'x'::int4", "!invalid input syntax for type integer: \"x\""],
  ["(-1)::posint", "!value for domain posint violates check constraint \"posint_check\""],
  ["missing(1)", "!function missing(integer) does not exist"],
  ["repeat('x', 1048577)", "!constant is larger than 1048576 bytes"],
  ["''::char(2000000)", "!constant is larger than 1048576 bytes"],
  ["repeat('x', 2000000000)", "!requested length too large"],
  ["nextval('numbers')", "!cannot execute nextval() in a read-only transaction"],
  ["1); DROP SEQUENCE numbers; SELECT (1", "!syntax error at or near \";\""]
]

const shown = (value: Either.Either<string | null, string>) => Either.merge(Either.mapLeft(value, (text) => `!${text}`))

describe("constants", () => {
  it.scopedLive("come in the output form of their types, or with Postgres's message", () =>
    withConstants(`${types}; CREATE SEQUENCE numbers`, ({ evaluate }) =>
      Effect.gen(function*() {
        const expressions = cases.map(([expression]) => expression)
        const together = yield* evaluate(expressions)
        const good = cases.filter(([, expected]) => !expected?.startsWith("!"))
        const without = yield* evaluate(good.map(([expression]) => expression))
        assert.deepStrictEqual(without.map(shown), good.map(([, expected]) => expected))
        for (const [i, [expression, expected]] of cases.entries()) {
          assert.strictEqual(shown(together[i]!), expected, expression)
          assert.deepStrictEqual((yield* evaluate([expression])).map(shown), [expected], expression)
        }
        assert.deepStrictEqual(yield* evaluate([]), [])
      })))

  it.scopedLive("are asked all at once, however many", () =>
    withConstants("", ({ evaluate }) =>
      Effect.gen(function*() {
        // Of one transaction, hence one statement.
        const [first, second] = yield* evaluate(["now()", "now()"])
        assert.deepStrictEqual(first, second)
        assert.notDeepEqual((yield* evaluate(["now()"]))[0], first)
        const many = yield* evaluate(Array.from({ length: 1201 }, (_, i) => i === 700 ? "1 / 0" : `${i} + 1`))
        assert.deepStrictEqual(
          many.map(shown),
          Array.from({ length: 1201 }, (_, i) => i === 700 ? "!division by zero" : `${i + 1}`)
        )
      })))

  it.scopedLive("have a limit on their time, which one of them uses up for the others", () =>
    withConstants(
      "",
      ({ evaluate }) =>
        Effect.gen(function*() {
          const values = yield* evaluate(["1", "pg_sleep(60)", "2", "pg_sleep(60)"])
          const slow = "!canceling statement due to statement timeout"
          assert.deepStrictEqual(values.map(shown), ["1", slow, slow, slow])
          assert.deepStrictEqual((yield* evaluate(["2"])).map(shown), ["2"])
        }),
      1000
    ))
})

describe("a clause", () => {
  it.scopedLive("is checked on the table, without its rows", () =>
    withConstants(
      `CREATE SCHEMA "Odd"; CREATE TABLE "Odd"."T""1" (id int, "a b" text); INSERT INTO "Odd"."T""1" VALUES (0, 'x');
       CREATE TABLE parts (id int) PARTITION BY LIST (id)`,
      ({ check }) =>
        Effect.gen(function*() {
          const result = (sql: string, table = "T\"1", schema = "Odd") =>
            Effect.map(check(schema, table, sql), Either.getLeft)
          const said = (sql: string, table?: string, schema?: string) =>
            Effect.map(result(sql, table, schema), (left) => left._tag === "Some" ? left.value : "accepted")
          assert.strictEqual(yield* said("\"id\" = 1 AND \"a b\" = 'x'"), "accepted")
          assert.strictEqual(yield* said("1 / \"id\" = 1"), "accepted")
          assert.strictEqual(yield* said("\"id\" = 1", "parts", "public"), "accepted")
          assert.strictEqual(yield* said("\"id\" = 1 / 0"), "division by zero")
          assert.strictEqual(yield* said("1 / 0 = 1", "parts", "public"), "division by zero")
          assert.strictEqual(yield* said("\"id\""), "argument of WHERE must be type boolean, not type integer")
          assert.strictEqual(yield* said("\"nope\" = 1"), "column \"nope\" does not exist")
          assert.strictEqual(yield* said("true", "nope"), "relation \"Odd.nope\" does not exist")
          assert.strictEqual(
            yield* said("true; SELECT * FROM parts"),
            "cannot insert multiple commands into a prepared statement"
          )
        })
    ))

  it.scopedLive("is not judged while the table is locked", () =>
    withConstants("CREATE TABLE t (id int)", ({ check }, db) =>
      Effect.gen(function*() {
        const other = yield* db.session
        yield* other.exec("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        const error = yield* Effect.flip(check("public", "t", "true"))
        assert.strictEqual(error._tag, "DatabaseUnavailable")
        yield* other.exec("COMMIT")
        assert.deepStrictEqual(yield* check("public", "t", "true"), Either.void)
      }).pipe(Effect.scoped)))
})
