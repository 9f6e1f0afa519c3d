/**
 * Asks Postgres what constant expressions are, and whether it takes a where clause. Expressions are printed by us, never
 * a client's text, but the client chooses the functions in them: so time and size have limits.
 */
import { Effect, Either, type Scope } from "effect"
import type { DatabaseUnavailable } from "../domain/Errors.ts"
import { quote } from "../domain/Identifier.ts"
import type { Database } from "./Database.ts"
import * as ReadOnlySessions from "./ReadOnlySessions.ts"

type Value = Either.Either<string | null, string>

export interface ConstantEvaluation {
  /**
   * The values of constant expressions in the output form of their types, under the display settings; `null` for NULL.
   * One round trip when none fails. Left is Postgres's message for the expression, or ours for one that is too large.
   */
  readonly evaluate: (
    expressions: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<Value>, DatabaseUnavailable>
  /**
   * Whether Postgres accepts a condition on the rows of a table. Constants in it are evaluated, rows are not read. Left
   * is Postgres's message.
   */
  readonly check: (
    schema: string,
    table: string,
    sql: string
  ) => Effect.Effect<Either.Either<void, string>, DatabaseUnavailable>
}

export const STATEMENT_MILLIS = 2000
/** One slow clause alone doesn't hold up the others. */
const SESSIONS = 2
/** Largest output of one constant. */
const MAX_BYTES = 1 << 20
/** Expressions of one statement: the parser's stack has an end. */
const MAX_EXPRESSIONS = 500

const TOO_LARGE = `constant is larger than ${MAX_BYTES} bytes`

/**
 * `concat` writes a value as its type's output function does, which `::text` does not for bool, bpchar and inet. LIMIT
 * has each expression evaluated once, and gives one value of one that returns a set.
 */
const select = (expression: string, i: number): string =>
  `SELECT ${i}, pg_catalog.num_nulls(v), size, CASE WHEN size <= ${MAX_BYTES} THEN t END FROM (`
  + "SELECT v, t, pg_catalog.octet_length(t) AS size FROM ("
  + `SELECT v, pg_catalog.concat(v) AS t FROM (SELECT (${expression}) AS v LIMIT 1) AS value LIMIT 1) AS output) AS sized`

const valueOf = (row: ReadonlyArray<string | null> | undefined): Value => {
  if (row === undefined) return Either.left("expression has no value")
  const [, nulls, size, text] = row
  if (nulls === "1") return Either.right(null)
  return Number(size) > MAX_BYTES ? Either.left(TOO_LARGE) : Either.right(text!)
}

const chunksOf = <A>(all: ReadonlyArray<A>, size: number): Array<ReadonlyArray<A>> =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size))

/** Connects when it is first asked. */
export const make = Effect.fnUntraced(function*(
  statementMillis: number
): Effect.fn.Return<ConstantEvaluation, never, Database | Scope.Scope> {
  const sessions = yield* ReadOnlySessions.make({
    operation: "evaluating constants",
    max: SESSIONS,
    statementMillis
  })

  const evaluateTogether = (expressions: ReadonlyArray<string>) =>
    Effect.map(sessions.query(expressions.map(select).join(" UNION ALL ")), (rows) => {
      const byIndex = new Map(rows.map((row) => [Number(row[0]), row]))
      return expressions.map((_, i) => valueOf(byIndex.get(i)))
    })

  const evaluateEach = Effect.fnUntraced(function*(expressions: ReadonlyArray<string>) {
    const values: Array<Value> = []
    let tooSlow: string | undefined
    for (const expression of expressions) {
      // After one that took all its time the others are not tried: a clause may have many of them.
      if (tooSlow !== undefined) {
        values.push(Either.left(tooSlow))
        continue
      }
      const value = yield* evaluateTogether([expression]).pipe(
        Effect.map(([only]) => only!),
        Effect.catchTag("StatementRefused", ({ code, message }) => {
          if (code === ReadOnlySessions.QUERY_CANCELED) tooSlow = message
          return Effect.succeed(Either.left(message))
        })
      )
      values.push(value)
    }
    return values
  })

  const evaluate = (expressions: ReadonlyArray<string>) =>
    Effect.map(
      Effect.forEach(chunksOf(expressions, MAX_EXPRESSIONS), (chunk) =>
        evaluateTogether(chunk).pipe(
          Effect.catchTag(
            "StatementRefused",
            (refused) => chunk.length === 1 ? Effect.succeed([Either.left(refused.message)]) : evaluateEach(chunk)
          )
        )),
      (chunks) => chunks.flat()
    )

  const check = (schema: string, table: string, sql: string) =>
    sessions.query(`SELECT 1 FROM ONLY ${quote(schema)}.${quote(table)} WHERE ${sql} LIMIT 0`).pipe(
      Effect.map((): Either.Either<void, string> => Either.void),
      Effect.catchTag("StatementRefused", ({ message }) => Effect.succeed(Either.left(message)))
    )

  return { evaluate, check }
})
