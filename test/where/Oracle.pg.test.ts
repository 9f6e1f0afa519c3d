/**
 * Generated clauses against Postgres: what it accepts, we accept; what we accept, it accepts; and each row gets the
 * verdict that Postgres gives it, from our own closures, or else from Postgres by way of the printed clause.
 *
 * `SHAPELOG_TEST_SEED` replays a seed, `SHAPELOG_TEST_ROUNDS` soaks, `SHAPELOG_TEST_VERBOSE` tells the share that
 * closures decide.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer } from "effect"
import type { Clause } from "../../src/domain/Expression.ts"
import type { ColumnInfo } from "../../src/domain/Relation.ts"
import type { SqlCatalog } from "../../src/domain/SqlCatalog.ts"
import { tuple } from "../../src/domain/WalMessage.ts"
import * as Catalog from "../../src/source/Catalog.ts"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import * as RowEvaluation from "../../src/source/RowEvaluation.ts"
import { type Access, accessOf } from "../../src/where/Access.ts"
import { resolve } from "../../src/where/Clause.ts"
import { evaluator } from "../../src/where/Evaluate.ts"
import { Row, Slots } from "../../src/where/Row.ts"
import { UNSURE, type Value } from "../../src/where/Value.ts"
import * as Postgres from "../support/Postgres.ts"
import { meets, prepare } from "./AccessTerms.ts"
import { columnsOf, relation } from "./Columns.ts"
import { postgresVerdicts, type Verdict } from "./PostgresVerdicts.ts"
import {
  type GeneratedClause,
  type GeneratedTable,
  makeClause,
  makeRandom,
  makeTable,
  SETUP
} from "./WhereGenerator.ts"

const seed = Number(process.env.SHAPELOG_TEST_SEED ?? Date.now() % 1_000_000_000)
const rounds = Number(process.env.SHAPELOG_TEST_ROUNDS ?? 1)
const verbose = process.env.SHAPELOG_TEST_VERBOSE !== undefined

const TABLES = 8
const SIZE = { columns: 16, rows: 12 }
/** With the rows of a table: more than 20,000 pairs in a round. */
const CLAUSES = 260

/** What Postgres accepts and we refuse, on purpose. */
const ALLOWED_REFUSALS: ReadonlyArray<RegExp> = []

/** The share of pairs that closures have to decide. */
const DECIDED = 0.6

const MASKED = "an error of one plan only"

/**
 * The share of pairs for which the clause fails and its printed form doesn't, or the other way round: which constant parts
 * Postgres computes, and so what it comes to evaluate at all, depends on where the row is from.
 */
const MASKED_SHARE = 0.002

const columnTypes = (columns: ReadonlyArray<ColumnInfo>, sql: SqlCatalog) =>
  columns.map(({ collation, name, typeOid }) => {
    const found = sql.collations.get(collation)
    return { name, type: sql.types.get(typeOid)!, ...(found === undefined ? {} : { collation: found }) }
  })

interface Ours {
  /** `undefined` where closures can't tell. */
  readonly value: Value | undefined
  /** Whether the row meets one of the terms that the clause is found by; `undefined` when it is not found by terms. */
  readonly found: boolean | undefined
}

const ours = (
  clause: Clause,
  access: Access,
  columns: ReadonlyArray<ColumnInfo>,
  rows: ReadonlyArray<ReadonlyArray<string | null>>
): ReadonlyArray<Ours> => {
  const slots = new Slots()
  const evaluate = evaluator(clause.expression, slots)
  prepare(access, slots)
  const row = new Row(slots)
  const places = slots.columnsIn(relation(columns))
  const valueOf = () => {
    try {
      return evaluate?.(row)
    } catch (cause) {
      if (cause === UNSURE) return undefined
      throw cause
    }
  }
  return rows.map((texts) => {
    row.bind(places, tuple([...texts]), undefined)
    return { value: valueOf(), found: meets(access, row, slots) }
  })
}

const isError = (verdict: Verdict): verdict is { readonly error: string } =>
  typeof verdict === "object" && verdict !== null

const show = (verdict: Verdict | Value | undefined): string => JSON.stringify(verdict) ?? "nothing"

/** A generated clause that was accepted. */
interface Accepted {
  readonly of: GeneratedClause
  readonly clause: Clause
  /** What Postgres says of each row. */
  readonly verdicts: ReadonlyArray<Verdict>
  /** What closures say of rows on which it fails. */
  readonly instead: Map<number, Value>
}

class Tally {
  pairs = 0
  decided = 0
  accepted = 0
  /** Clauses that are found by terms. */
  indexed = 0
  /** Pairs for which one plan of Postgres's meets an error and another doesn't. */
  masked = 0
  /** What is wrong, by its sort. */
  readonly failures = new Map<string, Array<string>>()
  /** Clauses that only we refuse, by message. */
  readonly refusals = new Map<string, Array<string>>()

  private put(map: Map<string, Array<string>>, key: string, text: string): void {
    map.set(key, [...map.get(key) ?? [], text])
  }

  fail(sort: string, { params, sql }: GeneratedClause, ...details: ReadonlyArray<string>): void {
    this.put(this.failures, sort, [`${sql} ${JSON.stringify(params)}`, ...details].join("\n    "))
  }

  refused(message: string, clause: GeneratedClause): void {
    this.put(this.refusals, message.replace(/^At location \d+: /, ""), `${clause.sql} ${JSON.stringify(clause.params)}`)
  }
}

const list = (found: ReadonlyMap<string, ReadonlyArray<string>>): string =>
  [...found].sort(([, a], [, b]) => b.length - a.length)
    .map(([sort, texts]) => `${texts.length} × ${sort}\n  ${texts.slice(0, 3).join("\n  ")}`)
    .join("\n")

const report = (tally: Tally): string => {
  const share = (part: number) => `${(100 * part / tally.pairs).toFixed(2)} %`
  return `seed ${seed}: ${tally.accepted} clauses accepted, ${tally.indexed} found by terms; ${tally.pairs} pairs, `
    + `${share(tally.decided)} decided by closures, ${share(tally.masked)} with an error of one plan only\n`
    + `Refused:\n${list(tally.refusals)}\nWrong:\n${list(tally.failures)}`
}

/** What closures and terms say of an accepted clause. */
const checkClosures = (
  { clause, instead, of, verdicts }: Accepted,
  columns: ReadonlyArray<ColumnInfo>,
  rows: ReadonlyArray<ReadonlyArray<string | null>>,
  tally: Tally
): void => {
  const access = accessOf(clause.expression)
  if (access.terms !== undefined) tally.indexed++
  const wrong = new Set<string>()
  for (const [id, { found, value }] of ours(clause, access, columns, rows).entries()) {
    const verdict = verdicts[id]!
    tally.pairs++
    if (value !== undefined) tally.decided++
    // What fails may be a part that the rest of the clause makes superfluous: then the printed clause does not have it.
    if (isError(verdict) && value !== undefined) instead.set(id, value)
    const sort = !isError(verdict) && value !== undefined && value !== verdict
      ? "closures decide otherwise"
      : verdict === true && found === false
      ? "not found by the terms"
      : verdict !== true && found === true && access.exact
      ? "found by exact terms"
      : undefined
    if (sort === undefined || wrong.has(sort)) continue
    wrong.add(sort)
    const terms = sort.includes("terms") ? [`terms: ${JSON.stringify(access)}`] : []
    const said = `ours: ${show(value)}, Postgres: ${show(verdict)}`
    tally.fail(sort, of, said, `printed: ${clause.sql}`, `row: ${JSON.stringify(rows[id])}`, ...terms)
  }
}

/** What Postgres says of the printed clauses and of rows that are sent along. */
const checkPrinted = Effect.fnUntraced(function*(
  accepted: ReadonlyArray<Accepted>,
  columns: ReadonlyArray<RowEvaluation.RowColumn>,
  rows: ReadonlyArray<ReadonlyArray<string | null>>,
  tally: Tally
) {
  const { evaluate } = yield* RowEvaluation.RowEvaluation
  for (let i = 0; i < accepted.length; i += 30) {
    const chunk = accepted.slice(i, i + 30)
    const found = yield* evaluate({ columns, rows, expressions: chunk.map(({ clause }) => clause.sql) })
    for (const [n, { clause, of, verdicts }] of chunk.entries()) {
      for (const [id, verdict] of verdicts.entries()) {
        const printed = found[id]![n]!
        const instead = chunk[n]!.instead.get(id)
        if (instead !== undefined && instead !== printed) {
          const said = `ours: ${show(instead)}, printed: ${show(printed)}, itself: ${show(verdict)}`
          tally.fail("closures decide otherwise than by an error", of, said, `printed: ${clause.sql}`)
        }
        if (printed === verdict || (isError(printed) && isError(verdict))) continue
        if (isError(printed) || isError(verdict)) {
          tally.masked++
          if (!verbose) continue
        }
        const sort = isError(verdict) || isError(printed) ? MASKED : "the printed clause says something else"
        const said = `printed: ${show(printed)}, itself: ${show(verdict)}`
        tally.fail(sort, of, said, `printed: ${clause.sql}`, `row: ${JSON.stringify(rows[id])}`)
      }
    }
  }
})

/** One table with its clauses. */
const checkTable = Effect.fnUntraced(function*(db: Postgres.Queryable, table: GeneratedTable, tally: Tally) {
  const catalog = yield* Catalog.Catalog
  const random = makeRandom(seed ^ Number(table.name.slice(1)))
  yield* db.exec(table.sql)
  const columns = yield* columnsOf(db, table.name)
  const sql = yield* catalog.sql
  const rows = (yield* db.query(`SELECT * FROM ${table.name} ORDER BY row_id`))
    .map((row) => columns.map(({ name }) => row[name]!))
  const clauses = Array.from({ length: CLAUSES }, () => makeClause(random, table))
  const expected = yield* postgresVerdicts(db, table, clauses)
  const resolveClause = (clause: GeneratedClause) =>
    Effect.either(
      resolve({ scope: `oracle ${table.name}`, clause: clause.sql, params: clause.params, columns, sql }, {
        evaluate: catalog.evaluate,
        check: (printed) => catalog.check("public", table.name, printed)
      })
    )

  const accepted: Array<Accepted> = []
  for (const [i, of] of clauses.entries()) {
    const verdicts = expected[i]!
    const found = yield* resolveClause(of)
    if (Either.isLeft(found)) {
      if (typeof found.left !== "string") return yield* Effect.die(found.left)
      // As a condition it is looked at more closely, and constants in it may fail that no row comes to need.
      const condition = `SELECT 1 FROM ${table.name} WHERE (${of.sql}\n) LIMIT 0`
      const fails = Effect.as(Effect.flip(db.query(condition, of.params)), true)
      const fairly = Either.isRight(verdicts) && !verdicts.right.every(isError)
      if (fairly && !(yield* Effect.orElseSucceed(fails, () => false))) tally.refused(found.left, of)
      continue
    }
    tally.accepted++
    const clause = found.right
    if (Either.isLeft(verdicts)) {
      tally.fail("refused by Postgres", of, verdicts.left)
      continue
    }
    if (clause === undefined) {
      // A constant part that fails may be one that the others make superfluous.
      const others = verdicts.right.filter((verdict) => verdict !== true && !isError(verdict))
      if (others.length > 0) tally.fail("not TRUE", of, JSON.stringify(verdicts.right))
      continue
    }
    accepted.push({ of, clause, verdicts: verdicts.right, instead: new Map() })
    const again = yield* resolveClause({ sql: clause.sql, params: [] })
    if (Either.isLeft(again)) tally.fail("refused once printed", of, String(again.left), `printed: ${clause.sql}`)
    else if (again.right?.sql !== clause.sql) {
      tally.fail("printed differently", of, `printed: ${clause.sql}`, `again:   ${again.right?.sql}`)
    }
  }
  // One that fails for every row fails for its constants, which we may have found superfluous.
  const telling = accepted.filter(({ verdicts }) => !verdicts.every(isError))
  for (const one of telling) checkClosures(one, columns, rows, tally)
  yield* checkPrinted(telling, columnTypes(columns, sql), rows, tally)
})

describe("generated clauses", () => {
  it.scopedLive(`mean what they mean to Postgres (seed ${seed})`, () =>
    Effect.gen(function*() {
      const database = yield* Postgres.makeDatabase
      yield* database.exec(SETUP)
      const db = yield* database.session
      yield* db.exec(DISPLAY_SETTINGS)
      const random = makeRandom(seed)
      const tally = new Tally()
      const services = Layer.provide(Layer.merge(Catalog.layer, RowEvaluation.layer), Postgres.poolsOf(database))
      yield* Effect.forEach(
        Array.from({ length: TABLES * rounds }, (_, i) => i),
        (i) => checkTable(db, makeTable(random, `t${i}`, SIZE), tally),
        { discard: true }
      ).pipe(Effect.provide(services))
      if (verbose) console.log(report(tally))
      assert.lengthOf([...tally.failures.keys()].filter((sort) => sort !== MASKED), 0, report(tally))
      for (const [message, clauses] of tally.refusals) {
        assert.isTrue(
          ALLOWED_REFUSALS.some((allowed) => allowed.test(message)),
          `seed ${seed}: ${message}: ${clauses[0]}`
        )
      }
      assert.isAtMost(tally.masked / tally.pairs, MASKED_SHARE)
      assert.isAtLeast(tally.decided / tally.pairs, DECIDED)
    }), 60_000 * (1 + 10 * (rounds - 1)))
})
