/**
 * Clauses against Postgres: which it accepts, what it takes them for, and which rows they select, as they are written
 * and as they are printed.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either } from "effect"
import { isDeepStrictEqual } from "node:util"
import type { Clause, Expression } from "../../src/domain/Expression.ts"
import { quoteLiteral } from "../../src/domain/Identifier.ts"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { analyse } from "../../src/where/Analyse.ts"
import { type Ask, resolve } from "../../src/where/Clause.ts"
import { operands } from "../../src/where/ExpressionType.ts"
import * as Grammar from "../../src/where/Grammar.ts"
import { printExpression } from "../../src/where/Print.ts"
import { makeDatabase, type Queryable, type QueryError } from "../support/Postgres.ts"
import { sqlCatalogOf } from "../support/SqlCatalogs.ts"
import { ACCEPTED, type ClauseCase, isWritable, REFUSED, REWRITTEN, SETUP, TRIVIAL } from "./ClauseTable.ts"
import { columnsOf } from "./Columns.ts"

const message = (error: QueryError): string => error.message

const asking = (db: Queryable): Ask<never> => ({
  evaluate: (all) =>
    Effect.forEach(all, (sql) =>
      db.query(`SELECT ${sql} AS value`).pipe(
        Effect.map(([row]) => row!.value ?? null),
        Effect.mapError(message),
        Effect.either
      )),
  check: (sql) =>
    db.query(`SELECT 1 FROM ONLY t WHERE ${sql} LIMIT 0`).pipe(Effect.asVoid, Effect.mapError(message), Effect.either)
})

const withTable = Effect.gen(function*() {
  const database = yield* makeDatabase
  const db = yield* database.session
  yield* db.exec(`${DISPLAY_SETTINGS}; ${SETUP}`)
  const columns = yield* columnsOf(db, "t")
  const sql = yield* sqlCatalogOf(db)
  const ask = asking(db)
  const resolveCase = ([clause, ...params]: ClauseCase) =>
    Effect.either(resolve({ clause, params, columns, sql, scope: database.name }, ask))
  /** The clause as it is understood, nothing computed yet. */
  const analysed = ([clause, ...params]: ClauseCase) =>
    Effect.map(
      Grammar.parse(clause),
      (node) => Either.map(analyse({ clause, params, columns, sql }, node), ({ expression }) => expression)
    )
  const writable = (cases: ReadonlyArray<ClauseCase>) => cases.filter(([clause]) => isWritable(sql.version, clause))
  return { db, resolveCase, analysed, writable }
})

/** The clause with its parameters as literals, which they behave like. */
const inlined = ([clause, ...params]: ClauseCase): string =>
  clause.replaceAll(/\$(\d+)/g, (_, number: string) => {
    const value = params[Number(number) - 1]
    return value === undefined || value === null ? "NULL" : quoteLiteral(value)
  })

/** Rows that a condition holds for, or Postgres's message. */
const selected = (db: Queryable, condition: string) =>
  db.query(`SELECT coalesce(string_agg(row::text, ' ' ORDER BY row), '') AS rows
    FROM (SELECT row_number() OVER () AS row, t.* FROM t) AS t WHERE ${condition}`).pipe(
    Effect.map(([row]) => row!.rows),
    Effect.mapError(message),
    Effect.either
  )

/** A condition as Postgres has understood it. */
const treeOf = (db: Queryable, condition: string) =>
  Effect.gen(function*() {
    yield* db.exec(`CREATE OR REPLACE VIEW understood AS SELECT 1 AS one FROM t WHERE ${condition}`)
    const [row] = yield* db.query("SELECT ev_action AS tree FROM pg_rewrite WHERE ev_class = 'understood'::regclass")
    return row!.tree!
  })

/** Operators, functions and collations. */
const choices = (db: Queryable, condition: string) =>
  Effect.map(
    treeOf(db, condition),
    (tree) => [...tree.matchAll(/:(?:opno|funcid|inputcollid) \d+/g)].map(([choice]) => choice).join(" ")
  )

/** Oids of the collations that functions work under, from the outside to the inside; conversions have none. */
const theirCollations = (tree: string): ReadonlyArray<number> =>
  [...tree.matchAll(/\{(\w+) [^{}]*?:inputcollid (\d+)/g)]
    .filter(([node]) => !/^\{FUNCEXPR .*:funcformat [12] /.test(node))
    .map(([, , collation]) => Number(collation))

const ourCollations = (expression: Expression): ReadonlyArray<number> => {
  const { _tag } = expression
  const works = _tag === "Call" || _tag === "ArrayComparison" || _tag === "Distinct" || _tag === "NullIf" ||
    (_tag === "Choice" && expression.kind !== "COALESCE")
  const below = operands(expression).flatMap(ourCollations)
  return works ? [expression.collation?.oid ?? 0, ...below] : below
}

const shorten = (sql: string | undefined): string => (sql ?? "nothing").replaceAll("\"pg_catalog\".", "")

/** What is wrong with a clause that should be accepted. */
const faults = Effect.fnUntraced(function*(
  { db, resolveCase }: Effect.Effect.Success<typeof withTable>,
  one: ClauseCase
) {
  const found = yield* resolveCase(one)
  if (Either.isLeft(found)) return [`${one[0]}: refused: ${found.left}`]
  const clause: Clause | undefined = found.right
  const original = yield* selected(db, inlined(one))
  const printed = yield* selected(db, clause?.sql ?? "TRUE")
  const where = `${one[0]}\n  ${shorten(clause?.sql)}`
  const wrong: Array<string> = []
  if (JSON.stringify(original) !== JSON.stringify(printed)) {
    wrong.push(`${where}: ${JSON.stringify(original)} became ${JSON.stringify(printed)}`)
  }
  if (clause === undefined) return wrong
  const again = yield* resolveCase([clause.sql])
  if (Either.isLeft(again)) wrong.push(`${where}: printed, it is refused: ${again.left}`)
  else if (!isDeepStrictEqual(again.right, clause)) {
    const [before, after] = [clause, again.right].map((one) => JSON.stringify(one?.expression))
    wrong.push(`${where}: printed, it is ${shorten(again.right?.sql)}\n  ${before}\n  ${after}`)
  }
  return wrong
})

describe("accepted clauses", () => {
  it.scopedLive("select the same rows when printed, and are printed the same again", () =>
    Effect.gen(function*() {
      const table = yield* withTable
      const wrong = yield* Effect.forEach(table.writable([...ACCEPTED, ...REWRITTEN]), (one) => faults(table, one))
      assert.deepStrictEqual(wrong.flat(), [])
    }))

  it.scopedLive("use the operators, functions and collations that Postgres chooses", () =>
    Effect.gen(function*() {
      const { analysed, db, writable } = yield* withTable
      const wrong: Array<string> = []
      for (const one of writable(ACCEPTED)) {
        const found = yield* analysed(one)
        if (Either.isLeft(found)) assert.fail(`${one[0]}: ${found.left}`)
        const expression = found.right
        const ours = yield* choices(db, printExpression(expression))
        const theirs = yield* choices(db, inlined(one))
        if (ours !== theirs) wrong.push(`${one[0]}\n${printExpression(expression)}\n  ${ours}\n  ${theirs}`)
      }
      assert.deepStrictEqual(wrong, [])
    }))

  it.scopedLive("work under the collations that Postgres derives", () =>
    Effect.gen(function*() {
      const { analysed, db, writable } = yield* withTable
      const wrong: Array<string> = []
      for (const one of writable(ACCEPTED)) {
        const found = yield* analysed(one)
        if (Either.isLeft(found)) assert.fail(`${one[0]}: ${found.left}`)
        const ours = ourCollations(found.right).join(" ")
        const theirs = theirCollations(yield* treeOf(db, printExpression(found.right))).join(" ")
        if (ours !== theirs) wrong.push(`${one[0]}: ${ours}, to Postgres ${theirs}`)
      }
      assert.deepStrictEqual(wrong, [])
    }))

  it.scopedLive("are none at all when they hold for every row", () =>
    Effect.gen(function*() {
      const { db, resolveCase } = yield* withTable
      for (const one of TRIVIAL) {
        assert.deepStrictEqual(yield* resolveCase(one), Either.right(undefined), one[0])
        assert.deepStrictEqual(yield* selected(db, inlined(one)), Either.right("1 2 3 4"), one[0])
      }
    }))

  it.scopedLive("have one form, however they are spelled", () =>
    Effect.gen(function*() {
      const { resolveCase } = yield* withTable
      const same: ReadonlyArray<ReadonlyArray<ClauseCase>> = [
        [
          ["id = 1"],
          ["ID=1"],
          ["(((\"id\")) = (1))"],
          ["id = $1", "1"],
          ["id = '01'"],
          ["id IN (1)"],
          ["id = 1::int4"],
          [
            "NOT NOT id = 1 AND TRUE"
          ]
        ],
        [["title = 'a' and done"], ["(title = $1) AND (done)", "a"], ["title = 'a'::text AND (done AND TRUE)"]],
        [["id IN (1, 2)"], ["id = ANY('{1,2}')"], ["id = ANY (ARRAY[1, 2])"], ["id in ($1,$2)", "1", "2"]],
        [["at > '2024-01-01'"], ["at > '2024-01-01 02:00+02'"], ["at > timestamptz '2024-01-01 00:00Z'"]]
      ]
      for (const spellings of same) {
        const found = yield* Effect.forEach(spellings, resolveCase)
        const forms = new Set(found.map((one) => Either.getOrThrow(one)?.sql))
        assert.strictEqual(forms.size, 1, [...forms].join("\n"))
      }
    }))
})

describe("refused clauses", () => {
  it.scopedLive("are refused with a message, and by Postgres too unless on purpose", () =>
    Effect.gen(function*() {
      const { db, resolveCase, writable } = yield* withTable
      const wrong: Array<string> = []
      for (const [marked, text, ...params] of REFUSED) {
        if (writable([[marked]]).length === 0) continue
        const onPurpose = marked.startsWith("+")
        const one: ClauseCase = [onPurpose ? marked.slice(1) : marked, ...params]
        const found = Either.map(yield* resolveCase(one), (clause) => clause?.sql)
        if (JSON.stringify(found) !== JSON.stringify(Either.left(text))) {
          wrong.push(`${one[0]}: ${JSON.stringify(found)}`)
        }
        if (params.some((param) => param?.includes("\0"))) continue
        const asked = yield* Effect.either(db.query(`SELECT 1 FROM t WHERE ${inlined(one)} LIMIT 0`))
        if (one[0].includes("ORDER BY") || one[0].includes(";")) continue
        if (Either.isRight(asked) !== onPurpose) wrong.push(`Postgres on ${one[0]}: ${JSON.stringify(asked)}`)
      }
      assert.deepStrictEqual(wrong, [])
    }))
})
