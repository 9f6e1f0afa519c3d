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
import { resolve } from "../../src/where/Clause.ts"
import { evaluator } from "../../src/where/Evaluate.ts"
import { Row, Slots } from "../../src/where/Row.ts"
import { UNSURE, type Value } from "../../src/where/Value.ts"
import * as Postgres from "../support/Postgres.ts"
import { columnsOf, relation } from "./Columns.ts"
import { postgresVerdicts, type Verdict, type Verdicts } from "./PostgresVerdicts.ts"
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
const ALLOWED_REFUSALS: ReadonlyArray<RegExp> = [/^named arguments are not supported: /]

/** The share of pairs that closures have to decide. */
const DECIDED = 0.4

const columnTypes = (columns: ReadonlyArray<ColumnInfo>, sql: SqlCatalog) =>
  columns.map(({ collation, name, typeOid }) => {
    const found = sql.collations.get(collation)
    return { name, type: sql.types.get(typeOid)!, ...(found === undefined ? {} : { collation: found }) }
  })

/** The clause's value for each row; `UNSURE` where closures can't tell. */
const closureVerdicts = (
  clause: Clause,
  columns: ReadonlyArray<ColumnInfo>,
  rows: ReadonlyArray<ReadonlyArray<string | null>>
): ReadonlyArray<Value | typeof UNSURE> => {
  const slots = new Slots()
  const evaluate = evaluator(clause.expression, slots)
  const row = new Row(slots)
  const places = slots.columnsIn(relation(columns))
  return rows.map((texts) => {
    row.bind(places, tuple([...texts]), undefined)
    try {
      return evaluate === undefined ? UNSURE : evaluate(row)
    } catch (cause) {
      if (cause === UNSURE) return UNSURE
      throw cause
    }
  })
}

const isError = (verdict: Verdict): verdict is { readonly error: string } =>
  typeof verdict === "object" && verdict !== null

const agree = (a: Verdict, b: Verdict): boolean => isError(a) ? isError(b) : a === b

const show = (verdict: Verdict | Value | typeof UNSURE): string => JSON.stringify(verdict) ?? "nothing"

class Tally {
  pairs = 0
  decided = 0
  accepted = 0
  readonly failures: Array<string> = []
  /** Clauses that only we refuse, by message. */
  readonly refusals = new Map<string, Array<string>>()

  refused(message: string, clause: GeneratedClause): void {
    const kind = message.replace(/^At location \d+: /, "")
    this.refusals.set(kind, [...this.refusals.get(kind) ?? [], clause.sql])
  }
}

/** One table with its clauses. */
const checkTable = Effect.fnUntraced(function*(db: Postgres.Queryable, table: GeneratedTable, tally: Tally) {
  const catalog = yield* Catalog.Catalog
  const rowEvaluation = yield* RowEvaluation.RowEvaluation
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

  const accepted: Array<{ readonly of: GeneratedClause; readonly clause: Clause; readonly verdicts: Verdicts }> = []
  for (const [i, of] of clauses.entries()) {
    const fail = (what: string) =>
      tally.failures.push(
        `${what}\n  clause: ${of.sql} ${JSON.stringify(of.params)}\n  table: ${table.sql.slice(0, 400)}`
      )
    const verdicts = expected[i]!
    const found = yield* resolveClause(of)
    if (Either.isLeft(found)) {
      if (typeof found.left !== "string") return yield* Effect.die(found.left)
      const hasValue = Either.isRight(verdicts) && !verdicts.right.every(isError)
      if (hasValue) tally.refused(found.left, of)
      continue
    }
    tally.accepted++
    const clause = found.right
    if (Either.isLeft(verdicts)) {
      fail(`Postgres refuses it: ${verdicts.left}`)
      continue
    }
    if (clause === undefined) {
      if (!verdicts.right.every((verdict) => verdict === true)) fail("is not TRUE")
      continue
    }
    accepted.push({ of, clause, verdicts })
    const again = yield* resolveClause({ sql: clause.sql, params: [] })
    if (Either.isLeft(again)) fail(`its printed form is refused: ${String(again.left)}\n  printed: ${clause.sql}`)
    else if (again.right?.sql !== clause.sql) {
      fail(`printing is not the identity\n  printed: ${clause.sql}\n  again:   ${again.right?.sql}`)
    }
    const ours = closureVerdicts(clause, columns, rows)
    for (const [id, verdict] of verdicts.right.entries()) {
      tally.pairs++
      const mine = ours[id]!
      if (mine === UNSURE) continue
      tally.decided++
      if (mine !== verdict) {
        fail(
          `closures say ${show(mine)}, Postgres ${show(verdict)}\n  printed: ${clause.sql}\n  row: ${
            JSON.stringify(rows[id])
          }`
        )
        break
      }
    }
  }

  const types = columnTypes(columns, sql)
  for (let i = 0; i < accepted.length; i += 30) {
    const chunk = accepted.slice(i, i + 30)
    const found = yield* rowEvaluation.evaluate({
      columns: types,
      rows,
      expressions: chunk.map(({ clause }) => clause.sql)
    })
    for (const [n, { clause, of, verdicts }] of chunk.entries()) {
      const wanted = Either.getOrThrow(verdicts)
      const differs = wanted.findIndex((verdict, id) => !agree(verdict, found[id]![n]!))
      if (differs < 0) continue
      tally.failures.push(
        `the printed clause says ${show(found[differs]![n]!)}, the clause ${
          show(wanted[differs]!)
        }\n  clause: ${of.sql} ${JSON.stringify(of.params)}\n  printed: ${clause.sql}\n  row: ${
          JSON.stringify(rows[differs])
        }\n  table: ${table.sql.slice(0, 400)}`
      )
    }
  }
})

const report = (tally: Tally): string => {
  const refusals = [...tally.refusals].sort(([, a], [, b]) => b.length - a.length)
    .map(([message, clauses]) => `${clauses.length} × ${message}\n  ${clauses[0]}`)
  return `seed ${seed}: ${tally.pairs} pairs, ${
    (100 * tally.decided / tally.pairs).toFixed(1)
  } % decided by closures, ${tally.accepted} clauses accepted, `
    + `${refusals.length} kinds of refusals, ${tally.failures.length} failures\n${refusals.join("\n")}\n${
      tally.failures.join("\n\n")
    }`
}

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
      assert.lengthOf(tally.failures, 0, `seed ${seed}\n${tally.failures.slice(0, 3).join("\n\n")}`)
      for (const [message, clauses] of tally.refusals) {
        assert.isTrue(
          ALLOWED_REFUSALS.some((allowed) => allowed.test(message)),
          `seed ${seed}: refused for ${message}: ${clauses[0]}`
        )
      }
      assert.isAtLeast(tally.decided / tally.pairs, DECIDED)
    }), 60_000 * (1 + 10 * (rounds - 1)))
})
