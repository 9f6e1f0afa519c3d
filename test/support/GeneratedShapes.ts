/**
 * Shapes with generated where clauses, for tests of the running server: tables of random columns, statements that write
 * to them, and clauses of all forms, a few of which fail for some rows.
 */
import { quote } from "../../src/domain/Identifier.ts"
import {
  type GeneratedClause,
  type GeneratedTable,
  makeClause,
  makeTable,
  type Random,
  SETUP
} from "../where/WhereGenerator.ts"
import type { Sql } from "./Scenario.ts"

/** What a shape is asked for with, and the statement that it must equal. */
export interface ShapeOfTest {
  readonly params: Readonly<Record<string, string>>
  readonly sql: string
  /** Of the statement. */
  readonly values?: ReadonlyArray<string>
}

export interface GeneratedTables {
  readonly tables: ReadonlyArray<GeneratedTable>
  readonly setup: string
}

const SIZE = { columns: 14, rows: 150 }
/** Rows that each table begins with. */
const FIRST = 40
/** Keys are below this, mostly. */
const KEYS = 120

/** Tables `g0`, `g1`, … with the primary key `row_id`, each beside a `pool_g0` of rows to be written. */
export const makeTables = (random: Random, count: number): GeneratedTables => {
  const tables = Array.from({ length: count }, (_, i) => makeTable(random, `pool_g${i}`, SIZE))
  const made = tables.map(({ name, sql }) => {
    const table = name.replace("pool_", "")
    return `${sql};
      CREATE TABLE ${table} (LIKE ${name}); ALTER TABLE ${table} ADD PRIMARY KEY (row_id);
      INSERT INTO ${table} SELECT * FROM ${name} WHERE row_id < ${FIRST}`
  })
  return { tables, setup: [SETUP, ...made].join(";\n") }
}

/** A random statement on one of the tables. */
export const statement = (r: Random, { tables }: GeneratedTables): string => {
  const { columns, name: pool } = r.pick(tables)
  const table = pool.replace("pool_", "")
  const others = columns.slice(1).map(({ name }) => quote(name))
  const some = others.filter(() => r.chance(0.3))
  const set = (some.length > 0 ? some : others).join(", ")
  const from = r.below(KEYS)
  const to = from + r.below(r.chance(0.1) ? 60 : 6)
  const source = () => r.below(SIZE.rows)
  return r.pick([
    () =>
      `INSERT INTO ${table} SELECT ${from}, ${
        others.join(", ")
      } FROM ${pool} WHERE row_id = ${source()} ON CONFLICT DO NOTHING`,
    () =>
      `INSERT INTO ${table} SELECT row_id + ${r.below(20)}, ${
        others.join(", ")
      } FROM ${pool} WHERE row_id BETWEEN ${from} AND ${to} ON CONFLICT DO NOTHING`,
    () =>
      `UPDATE ${table} SET (${set}) = (SELECT ${set} FROM ${pool} WHERE row_id = ${source()}) WHERE row_id = ${from}`,
    () =>
      `UPDATE ${table} SET (${set}) = (SELECT ${set} FROM ${pool} WHERE row_id = ${source()}) WHERE row_id BETWEEN ${from} AND ${to}`,
    () =>
      `UPDATE ${table} t SET (${set}) = (SELECT ${set} FROM ${pool} p WHERE p.row_id = (t.row_id + ${source()}) % ${SIZE.rows})
       WHERE row_id BETWEEN ${from} AND ${to}`,
    () => `UPDATE ${table} SET n = NULLIF((n + ${1 + r.below(3)}) % 50, 7) WHERE row_id BETWEEN ${from} AND ${to}`,
    () => `UPDATE ${table} SET row_id = ${r.below(KEYS)} WHERE row_id = ${from}`,
    () =>
      `UPDATE ${table} SET row_id = row_id + 1000, n = ${
        r.below(5)
      } WHERE row_id BETWEEN ${from} AND ${to} AND row_id < 1000`,
    () => `DELETE FROM ${table} WHERE row_id BETWEEN ${from} AND ${to}`,
    () => `DELETE FROM ${table} WHERE row_id % 23 = ${r.below(23)}`
  ])()
}

const makeShape = (
  r: Random,
  { columns, name }: GeneratedTable,
  { params, sql: where }: GeneratedClause
): ShapeOfTest => {
  const table = name.replace("pool_", "")
  // Often without what the clause reads.
  const selected = columns.filter((_, i) => i === 0 || r.chance(0.3)).map(({ name }) => quote(name)).join(",")
  const all = r.chance(0.4)
  return {
    params: {
      table,
      where,
      ...(all ? {} : { columns: selected }),
      ...(r.chance(0.4) ? { replica: "full" } : {}),
      ...Object.fromEntries(params.map((value, i) => [`params[${i + 1}]`, value]))
    },
    sql: `SELECT ${all ? "*" : selected} FROM ${table} WHERE (${where}\n)`,
    values: params
  }
}

/** The same rows with columns of plain types alone. */
export const withSimpleColumns = ({ params, sql, ...rest }: ShapeOfTest): ShapeOfTest => ({
  ...rest,
  params: { ...params, columns: "row_id,n,t" },
  sql: sql.replace(/^SELECT .*? FROM (g\d+) WHERE/, "SELECT row_id, n, t FROM $1 WHERE")
})

type Kind = "fails" | "some" | "one-sided"

/** What a clause does with the rows of the pool. */
const kindOf = async (db: Sql, { name }: GeneratedTable, { params, sql }: GeneratedClause): Promise<Kind> => {
  try {
    const [row] = await db.query(`SELECT count(*) AS n FROM ${name} WHERE (${sql}\n)`, params)
    const count = Number(row!.n)
    return count > 2 && count < SIZE.rows - 2 ? "some" : "one-sided"
  } catch {
    return "fails"
  }
}

/**
 * As many shapes, mostly with clauses that some rows satisfy and others don't; about one in ten of `failing` may be of
 * clauses that fail for a row. `accepts` says whether the server takes a clause.
 */
export const makeShapes = async (
  r: Random,
  { tables }: GeneratedTables,
  db: Sql,
  count: number,
  accepts: (shape: ShapeOfTest) => Promise<boolean>
): Promise<ReadonlyArray<ShapeOfTest>> => {
  const shapes: Array<ShapeOfTest> = []
  let failing = 0
  let plain = 0
  while (shapes.length < count) {
    const table = r.pick(tables)
    const clause = makeClause(r, table)
    const kind = await kindOf(db, table, clause)
    if (kind === "fails" && failing >= count / 10) continue
    if (kind === "one-sided" && plain >= count / 10) continue
    const shape = makeShape(r, table, clause)
    if (!(await accepts(shape))) continue
    if (kind === "fails") failing += 1
    if (kind === "one-sided") plain += 1
    shapes.push(shape)
  }
  return shapes
}
