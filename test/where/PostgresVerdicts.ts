/**
 * What Postgres says of generated clauses: of each whether it is one, and of each row whether it holds.
 */
import { Effect, Either } from "effect"
import { quote } from "../../src/domain/Identifier.ts"
import type { Queryable, QueryError } from "../support/Postgres.ts"
import type { GeneratedClause, GeneratedTable } from "./WhereGenerator.ts"

export type Verdict = boolean | null | { readonly error: string }

/** For each row the verdict; Left is the message for what is no clause. */
export type Verdicts = Either.Either<ReadonlyArray<Verdict>, string>

/** Clauses that are asked for in one query. */
const BATCH = 40

const verdictOf = (text: string | null | undefined): boolean | null =>
  text === null || text === undefined ? null : text === "t"

const select = (clauses: ReadonlyArray<GeneratedClause>, table: GeneratedTable): string =>
  `SELECT ${clauses.map(({ sql }, i) => `(${sql}\n) AS v${i}`).join(", ")} FROM ${quote(table.name)}`

/** Row by row, so that an error is that of one row. */
const rowByRow = (db: Queryable, table: GeneratedTable, clause: GeneratedClause) =>
  Effect.forEach(table.rows, (_, id) =>
    db.query(`${select([clause], table)} WHERE row_id = ${id}`, clause.params).pipe(
      Effect.map(([row]): Verdict => verdictOf(row?.v0)),
      Effect.catchAll((error) => Effect.succeed({ error: error.message }))
    ))

/** Of a clause that has failed: refused when it is analysed, or for some rows. */
const single = (db: Queryable, table: GeneratedTable, clause: GeneratedClause): Effect.Effect<Verdicts> =>
  db.exec(`PREPARE analysed AS ${select([clause], table)}`).pipe(
    Effect.matchEffect({
      onFailure: (error) => Effect.succeed(Either.left(error.message)),
      onSuccess: () =>
        Effect.zipRight(
          Effect.orDie(db.exec("DEALLOCATE analysed")),
          Effect.map(rowByRow(db, table, clause), Either.right)
        )
    })
  )

const together = (
  db: Queryable,
  table: GeneratedTable,
  clauses: ReadonlyArray<GeneratedClause>
): Effect.Effect<ReadonlyArray<Verdicts>, QueryError> =>
  Effect.map(
    db.query(`${select(clauses, table)} ORDER BY row_id`, clauses[0]?.params),
    (rows) => clauses.map((_, i) => Either.right(rows.map((row) => verdictOf(row[`v${i}`]))))
  )

const halve = (
  db: Queryable,
  table: GeneratedTable,
  clauses: ReadonlyArray<GeneratedClause>
): Effect.Effect<ReadonlyArray<Verdicts>> =>
  Effect.catchAll(together(db, table, clauses), () => {
    const [first] = clauses
    if (clauses.length === 1) return Effect.map(single(db, table, first!), (only) => [only])
    const middle = clauses.length >> 1
    return Effect.zipWith(
      halve(db, table, clauses.slice(0, middle)),
      halve(db, table, clauses.slice(middle)),
      (left, right) => [...left, ...right]
    )
  })

/** The verdicts on each clause, in the clauses' order. Rows are in the order of their ids. */
export const postgresVerdicts = Effect.fnUntraced(function*(
  db: Queryable,
  table: GeneratedTable,
  clauses: ReadonlyArray<GeneratedClause>
) {
  const verdicts = new Map<GeneratedClause, Verdicts>()
  const keep = (of: ReadonlyArray<GeneratedClause>) =>
    Effect.map(halve(db, table, of), (found) => of.forEach((clause, i) => verdicts.set(clause, found[i]!)))
  // Each statement has parameters of its own.
  for (const clause of clauses) if (clause.params.length > 0) yield* keep([clause])
  const others = clauses.filter(({ params }) => params.length === 0)
  for (let i = 0; i < others.length; i += BATCH) yield* keep(others.slice(i, i + BATCH))
  return clauses.map((clause) => verdicts.get(clause)!)
})
