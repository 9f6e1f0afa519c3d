/**
 * The longest time that one where clause takes to be accepted or refused: CPU of our own, without Postgres's answers,
 * which are made up. First clauses as large as allowed, each of one thing over and over (`bench/support/HugeClauses.ts`),
 * by the grammar alone and by everything; then mutated clauses of usual size. Time is that of the process, its compiler
 * and garbage collector included; the best of several rounds, and the first. Slowest first.
 *
 * Run: `npx tsx bench/micro/clauses.ts [rounds] [mutated clauses]`
 */
import { Effect, Either } from "effect"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"
import type { ColumnInfo } from "../../src/domain/Relation.ts"
import { decode, SELECT_SQL_CATALOG } from "../../src/source/SqlCatalogQuery.ts"
import { resolve } from "../../src/where/Clause.ts"
import { parse } from "../../src/where/Grammar.ts"
import { mutate } from "../../test/where/Mutations.ts"
import { type GeneratedTable, makeClause, makeRandom, makeTable, SETUP } from "../../test/where/WhereGenerator.ts"
import { createDatabase, query, startPostgres } from "../support/Database.ts"
import { hugeClauses } from "../support/HugeClauses.ts"

const ROUNDS = Number(process.argv[2] ?? 3)
const MUTATED = Number(process.argv[3] ?? 10_000)
const SHOWN = 15

const load = async (table: GeneratedTable) => {
  const directory = await mkdtemp(path.join(tmpdir(), "shapelog-bench-"))
  const postgres = await startPostgres(directory)
  try {
    const url = await createDatabase(postgres.url, "clauses")
    await query(url, `${SETUP};${table.sql}`)
    const [row] = await query(url, SELECT_SQL_CATALOG)
    const columns = await query(
      url,
      `SELECT attname, atttypid, atttypmod, attcollation FROM pg_attribute WHERE attrelid = '${table.name}'::regclass AND attnum > 0`
    )
    return { sql: decode(row!.catalog!), columns }
  } finally {
    await postgres.stop()
    await rm(directory, { recursive: true, force: true })
  }
}

const random = makeRandom(1)
const table = makeTable(random, "t", { columns: 40, rows: 1 })
// Columns by the names that the huge clauses have, too.
const named: GeneratedTable = {
  ...table,
  sql: `${table.sql}; ALTER TABLE t ADD a int, ADD b int, ADD id int, ADD done bool, ADD title text`
}
const loaded = await load(named)
const columns = loaded.columns.map((row, position): ColumnInfo => ({
  name: row.attname!,
  position: position + 1,
  typeOid: Number(row.atttypid),
  typeName: loaded.sql.types.get(Number(row.atttypid))!.name,
  typeSchema: loaded.sql.types.get(Number(row.atttypid))!.schema,
  typeKind: loaded.sql.types.get(Number(row.atttypid))!.kind,
  elementType: undefined,
  dimensions: 0,
  typeModifier: Number(row.atttypmod),
  notNull: false,
  generated: "none",
  keyIndex: undefined,
  deterministic: true,
  collation: Number(row.attcollation)
}))

const ask = {
  evaluate: (sql: ReadonlyArray<string>) => Effect.succeed(sql.map(() => Either.right("1"))),
  check: () => Effect.succeed(Either.void)
}

type Outcome = Either.Either<unknown, unknown>

const ways: Record<string, (clause: string, params: ReadonlyArray<string>) => Effect.Effect<Outcome>> = {
  "the grammar": (clause) => Effect.either(parse(clause)),
  "everything": (clause, params) =>
    Effect.either(resolve({ scope: "t", clause, params, columns, sql: loaded.sql }, ask))
}

interface Result {
  readonly name: string
  readonly first: number
  readonly best: number
  readonly outcome: string
}

const time = async (name: string, run: () => Effect.Effect<Outcome>): Promise<Result> => {
  let best = Infinity
  let first: number | undefined
  let outcome = ""
  for (let i = 0; i < ROUNDS; i++) {
    const before = process.cpuUsage()
    const result = await Effect.runPromise(run())
    const { system, user } = process.cpuUsage(before)
    const elapsed = (system + user) / 1000
    first ??= elapsed
    best = Math.min(best, elapsed)
    outcome = Either.isLeft(result) ? String(result.left) : "accepted"
  }
  return { name, first: first ?? 0, best, outcome }
}

const show = (title: string, results: Array<Result>) => {
  results.sort((a, b) => b.best - a.best)
  const total = results.reduce((sum, { best }) => sum + best, 0)
  const accepted = results.filter(({ outcome }) => outcome === "accepted").length
  console.log(
    `\n${title}: ${results.length} clauses, ${accepted} accepted, mean ${(total / results.length).toFixed(3)} ms`
  )
  for (const { best, first, name, outcome } of results.slice(0, SHOWN)) {
    const times = `${best.toFixed(2).padStart(8)} ms (first ${first.toFixed(1)})`
    console.log(`${times}  ${name.slice(0, 40).padEnd(40)} ${outcome.slice(0, 60)}`)
  }
}

for (const [title, way] of Object.entries(ways)) {
  await Effect.runPromise(way("true", []))
  const results: Array<Result> = []
  for (const [name, clause] of Object.entries(hugeClauses)) results.push(await time(name, () => way(clause, ["1"])))
  show(`The largest clauses, ${title}`, results)
}

const results: Array<Result> = []
for (let i = 0; i < MUTATED; i++) {
  const { params, sql } = mutate(random, makeClause(random, table), makeClause(random, table))
  results.push(await time(sql, () => ways.everything!(sql, params)))
}
show("Mutated clauses, everything", results)
