/**
 * Clauses that mean harm, through everything that a clause goes through: each is refused with a message, or it is a
 * clause, and what Postgres is sent is one expression that means what we take it for.
 *
 * `SHAPELOG_TEST_SEED` replays a seed, `SHAPELOG_TEST_ROUNDS` soaks.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer } from "effect"
import { quote, quoteLiteral } from "../../src/domain/Identifier.ts"
import * as Catalog from "../../src/source/Catalog.ts"
import { resolve } from "../../src/where/Clause.ts"
import * as Grammar from "../../src/where/Grammar.ts"
import * as Postgres from "../support/Postgres.ts"
import { hostile } from "./Clauses.ts"
import { columnsOf } from "./Columns.ts"
import { mutate, nonsense } from "./Mutations.ts"
import { type GeneratedClause, makeClause, makeRandom, makeTable, SETUP } from "./WhereGenerator.ts"

const seed = Number(process.env.SHAPELOG_TEST_SEED ?? Date.now() % 1_000_000_000)
const rounds = Number(process.env.SHAPELOG_TEST_ROUNDS ?? 1)
const verbose = process.env.SHAPELOG_TEST_VERBOSE !== undefined

const TABLES = 20
const CLAUSES = 500
const SIZE = { columns: 12, rows: 2 }
const TIMEOUT = 60_000 * (1 + 10 * (rounds - 1))

/** Whether the SQL is one expression, with nothing in it that could read another table. */
const isExpression = (sql: string) =>
  Effect.map(
    Effect.either(Grammar.parse(sql)),
    (tree) => Either.isRight(tree) && !/"(SubLink|ParamRef|SQLValueFunction)"/.test(JSON.stringify(tree.right))
  )

/** Resolves clauses on a table, and keeps all SQL that this has Postgres run. */
const makeResolver = Effect.fnUntraced(function*(db: Postgres.TestDatabase, table: string) {
  const catalog = yield* Catalog.Catalog
  yield* catalog.forgetSql
  const columns = yield* columnsOf(db, quote(table))
  const sql = yield* catalog.sql
  const asked: Array<string> = []
  const read = (clause: string, params: ReadonlyArray<string> = []) =>
    resolve({ scope: `${db.name} ${table}`, clause, params, columns, sql }, {
      evaluate: (expressions) => {
        asked.push(...expressions)
        return catalog.evaluate(expressions)
      },
      check: (printed) => {
        asked.push(printed)
        return catalog.check("public", table, printed)
      }
    }).pipe(
      Effect.either,
      // A message, or a defect.
      Effect.flatMap((result) =>
        Either.isLeft(result) && typeof result.left !== "string" ? Effect.die(result.left) : Effect.succeed(result)
      )
    )
  return { read, asked }
})

const onDatabase = <A, E>(
  setup: string,
  test: (db: Postgres.TestDatabase) => Effect.Effect<A, E, Catalog.Catalog>
) =>
  Effect.gen(function*() {
    const db = yield* Postgres.makeDatabase
    yield* db.exec(setup)
    return yield* Effect.provide(test(db), Layer.provide(Catalog.layer, Postgres.poolsOf(db)))
  })

type Resolver = Effect.Effect.Success<ReturnType<typeof makeResolver>>

/** What is wrong with the treatment of a clause, and whether it was accepted. */
const treat = Effect.fnUntraced(function*({ asked, read }: Resolver, { params, sql }: GeneratedClause) {
  const problems: Array<string> = []
  const result = yield* read(sql, params)
  for (const question of asked.splice(0)) {
    if (!(yield* isExpression(question))) problems.push(`asked ${question}`)
  }
  if (Either.isLeft(result) && (typeof result.left !== "string" || result.left === "")) problems.push("no message")
  if (Either.isLeft(result) || result.right === undefined) return { problems, accepted: Either.isRight(result) }
  const printed = result.right.sql
  const again = yield* read(printed)
  asked.splice(0)
  if (Either.isLeft(again)) problems.push(`${String(again.left)}\n  printed: ${printed}`)
  else if (again.right?.sql !== printed) problems.push(`printed: ${printed}\n  again:   ${again.right?.sql}`)
  return { problems, accepted: true }
})

describe("hostile clauses", () => {
  it.scopedLive(
    `are refused with a message, or are clauses (seed ${seed})`,
    () =>
      onDatabase(SETUP, (db) =>
        Effect.gen(function*() {
          const random = makeRandom(seed)
          const failures: Array<string> = []
          let accepted = 0
          for (let i = 0; i < TABLES * rounds; i++) {
            const table = makeTable(random, `t${i}`, SIZE)
            yield* db.exec(table.sql)
            const resolver = yield* makeResolver(db, table.name)
            const names = table.columns.map(({ name }) => quote(name))
            for (let n = 0; n < CLAUSES; n++) {
              const clause = random.chance(0.8)
                ? mutate(random, makeClause(random, table), makeClause(random, table))
                : nonsense(random, names)
              const treated = yield* treat(resolver, clause)
              if (treated.accepted) accepted++
              for (const problem of treated.problems) {
                failures.push(`${problem}\n  clause: ${clause.sql} ${JSON.stringify(clause.params)}`)
              }
            }
          }
          if (verbose) console.log(`${accepted} accepted\n${failures.join("\n\n")}`)
          assert.lengthOf(failures, 0, `seed ${seed}\n${failures.slice(0, 3).join("\n\n")}`)
          assert.isAbove(accepted, TABLES * rounds * CLAUSES * 0.05)
        })),
    TIMEOUT
  )

  for (const value of hostile) {
    it.scopedLive(`do no harm by ${JSON.stringify(value)}`, () =>
      onDatabase("CREATE TABLE kept (v text); INSERT INTO kept VALUES ('kept')", (db) =>
        Effect.gen(function*() {
          const label = value === "" ? "empty" : value
          const name = quote(label)
          // A type's array type has its name, cut at 63 bytes, after an underscore.
          yield* db.exec(`
            CREATE TYPE ${name} AS ENUM (${quoteLiteral(label)}, 'other');
            CREATE TABLE t (${name} text, e ${name}, n int, j jsonb, a text[], v varchar(99), b bpchar, m name);`)
          yield* db.query(
            "INSERT INTO t VALUES ($1, $2, 1, to_jsonb($1::text), ARRAY[$1], $1, $1, $1), ('x', 'other', 2, '{}', '{}', 'x', 'x', 'x')",
            [value, label]
          )
          const { asked, read } = yield* makeResolver(db, "t")
          const literal = quoteLiteral(value)
          const selected = Effect.fnUntraced(function*(clause: string, params: ReadonlyArray<string> = []) {
            const result = yield* read(clause, params)
            assert.isTrue(Either.isRight(result), `${clause}: ${String(Either.getLeft(result))}`)
            const { sql } = Either.getOrThrow(result)!
            for (const question of [...asked.splice(0), sql]) assert.isTrue(yield* isExpression(question), question)
            return (yield* db.query(`SELECT n FROM t WHERE ${sql}`)).map(({ n }) => n)
          })
          const clauses: ReadonlyArray<readonly [string, ReadonlyArray<string>?]> = [
            [`${name} = $1`, [value]],
            [`${name} = ${literal}`],
            [`v = $1`, [value]],
            [`b = $1`, [value]],
            [`m = $1`, [value]],
            [`${name} IN ($1, $2)`, [value, "no"]],
            [`a @> ARRAY[$1]`, [value]],
            [`$1 = ANY (a)`, [value]],
            [`j = to_jsonb($1::text)`, [value]],
            [`j = $1`, [JSON.stringify(value)]],
            [`e = $1`, [label]],
            [`e = ${quoteLiteral(label)}`],
            [`e = CAST($1 AS ${name})`, [label]],
            [`e::text = $1`, [label]],
            [`e = ANY ($1)`, [`{"${label.replaceAll(/["\\]/g, "\\$&")}"}`]],
            [`coalesce(${name}, $1) = $2`, [value, value]],
            [`${name} || $1 = $2`, [value, value + value]],
            [`n = 1 /* ${value.replaceAll(/\/\*|\*\//g, "")} */`],
            [`n = 1 -- ${value.replaceAll("\n", " ")}`]
          ]
          for (const [clause, params] of clauses) {
            // `to_jsonb` is only stable.
            if (clause.includes("to_jsonb")) continue
            assert.deepStrictEqual(yield* selected(clause, params), ["1"], clause)
          }
          // As SQL, or as a value of another type, it is refused, or harmless.
          for (const clause of [value, `n = ${value}`, `n = 1 ${value}`, `n = '${value}'`, `${name} = E'${value}'`]) {
            const result = yield* read(clause, ["1"])
            for (const question of asked.splice(0)) assert.isTrue(yield* isExpression(question), question)
            if (Either.isRight(result) && result.right !== undefined) {
              yield* db.query(`SELECT n FROM t WHERE ${result.right.sql}`)
            }
          }
          yield* read("n = $1", [value])
          yield* read(`e = $1::${value}`, [label])
          assert.deepStrictEqual(yield* db.query("SELECT v FROM kept"), [{ v: "kept" }])
        })))
  }

  it.scopedLive("of other sorts are refused with a message", () =>
    onDatabase("CREATE TABLE t (n int, v text)", (db) =>
      Effect.gen(function*() {
        const { asked, read } = yield* makeResolver(db, "t")
        const refused: ReadonlyArray<string> = [
          "n = 1; DROP TABLE t",
          "n = 1) OR (1 = 1",
          "true UNION SELECT 1",
          "n = (SELECT 1)",
          "EXISTS (SELECT 1)",
          "pg_sleep(9) IS NULL",
          "random() < 0.5",
          "n = 1 ORDER BY n",
          "v = 'a' || pg_read_file('/etc/passwd')",
          "lo_import('/etc/passwd') > 0",
          "query_to_xml('DROP TABLE t', true, true, '') IS NULL",
          "set_config('a.b', 'c', false) = 'c'",
          "nextval('s') = 1",
          "current_user = 'postgres'",
          "'t'::regclass::oid = 1",
          "v = ‘a’",
          "v = 'a\0'",
          "n = $1",
          "count(*) > 0",
          "row_number() OVER () = 1",
          "generate_series(1, 3) = n",
          "U&\"\\0000\" = 1",
          "U&'\\0000' = v",
          "n"
        ]
        for (const clause of refused) {
          const result = yield* read(clause)
          assert.isTrue(Either.isLeft(result), clause)
          assert.lengthOf(asked.filter((question) => /pg_sleep|random|pg_read|lo_import|to_xml|DROP/.test(question)), 0)
        }
      })))
})
