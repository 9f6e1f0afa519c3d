/**
 * Asks Postgres what where clauses say of rows that are in no table any more, or not yet: rows of the replication
 * stream, sent along as typed literals. Exact by definition, and slow beside our own evaluator: for what that can't tell.
 *
 * It has one session of its own, reads no table and holds no lock, so that the replication stream, which waits for it, waits
 * for nobody else's queries. One request at a time.
 */
import { Context, Effect, Layer } from "effect"
import type { DatabaseUnavailable } from "../domain/Errors.ts"
import { quote, quoteLiteral } from "../domain/Identifier.ts"
import type { Collation, SqlType } from "../domain/SqlCatalog.ts"
import type { Database } from "./Database.ts"
import * as ReadOnlySessions from "./ReadOnlySessions.ts"

export interface RowColumn {
  readonly name: string
  readonly type: SqlType
  /** The column's collation. */
  readonly collation?: Collation
}

export interface RowRequest {
  readonly columns: ReadonlyArray<RowColumn>
  /** For each row the columns' texts in the output form of their types, `null` for NULL. */
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
  /** Boolean SQL, printed by us, that refers to columns by their quoted names. */
  readonly expressions: ReadonlyArray<string>
}

/** What an expression is for a row; Postgres's message when it fails for this row, or takes too long. */
export type RowVerdict = boolean | null | { readonly error: string }

export class RowEvaluation extends Context.Tag("shapelog/source/RowEvaluation")<RowEvaluation, {
  /** For each row, in their order, the verdict of each expression. One round trip when nothing fails and it is not large. */
  readonly evaluate: (
    request: RowRequest
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<RowVerdict>>, DatabaseUnavailable>
}>() {}

export interface RowEvaluationOptions {
  /** How long a statement may take. */
  readonly statementMillis: number
  /** How long each of the following may take once one has taken too long: parts of it, mostly. */
  readonly partMillis: number
}

const defaults: RowEvaluationOptions = { statementMillis: 5000, partMillis: 1000 }

// One statement has at most this many of each. A row or an expression that is longer goes alone.
const MAX_BYTES = 1 << 19
const MAX_EXPRESSIONS = 1000
const MAX_ROWS = 10_000
const MAX_VERDICTS = 200_000

/**
 * What looking for failures may take, per request: beyond it, a failure counts for all rows and expressions of the
 * statement that has failed.
 */
const MAX_TIMEOUTS = 25
const MAX_STATEMENTS = 2000

// --- Statements ---

/** Ends of runs of at most `maxCount` and about `maxBytes`, each of one at least. */
const split = (sizes: ReadonlyArray<number>, maxBytes: number, maxCount: number): Array<number> => {
  const ends: Array<number> = []
  let start = 0
  let bytes = 0
  for (const [i, size] of sizes.entries()) {
    if (i > start && (i - start >= maxCount || bytes + size > maxBytes)) {
      ends.push(i)
      start = i
      bytes = 0
    }
    bytes += size
  }
  if (sizes.length > start) ends.push(sizes.length)
  return ends
}

/** A name that no column has. */
const unusedName = (columns: ReadonlyArray<RowColumn>): string => {
  let name = "ordinal"
  while (columns.some((column) => column.name === name)) name += "_"
  return name
}

/** What each literal of a column is followed by: in the first row, and in the others. */
const suffixOf = ({ collation, type }: RowColumn): { readonly first: string; readonly other: string } => {
  const cast = `::${quote(type.schema)}.${quote(type.name)}`
  const collate = collation === undefined || collation.oid === type.collation
    ? ""
    : ` COLLATE ${quote(collation.schema)}.${quote(collation.name)}`
  // The first row decides on the type of the column, except that a domain would become what it is made of if there were
  // literals without a type.
  return { first: cast + collate, other: type.kind === "d" ? cast : "" }
}

/** The request as pieces of SQL. */
interface Pieces {
  readonly expressions: ReadonlyArray<string>
  /** The literals of a row; `first` when it is the first of its statement. */
  readonly row: (i: number, first: boolean) => string
  readonly ordinal: string
  /** `AS r(columns)` */
  readonly alias: string
}

const piecesOf = ({ columns, expressions, rows }: RowRequest): Pieces => {
  const ordinal = quote(unusedName(columns))
  const suffixes = columns.map(suffixOf)
  return {
    expressions,
    ordinal,
    alias: `AS r(${[ordinal, ...columns.map(({ name }) => quote(name))].join(", ")})`,
    row: (i, first) => {
      let sql = `(${i}`
      for (const [n, suffix] of suffixes.entries()) {
        const text = rows[i]![n] ?? null
        sql += `, ${text === null ? "NULL" : quoteLiteral(text)}${first ? suffix.first : suffix.other}`
      }
      return `${sql})`
    }
  }
}

/** Some of a request's rows and some of its expressions, from the first until before the last. */
interface Block {
  readonly rows: readonly [number, number]
  readonly expressions: readonly [number, number]
}

const heightOf = ({ rows: [from, to] }: Block): number => to - from
const widthOf = ({ expressions: [from, to] }: Block): number => to - from

/**
 * A single row would be taken for constants, which the planner puts into the expressions, and what becomes of an
 * expression of constants is not always what it is for a row: hence two of them.
 */
const select = (pieces: Pieces, { expressions }: Block, rows: ReadonlyArray<string>): string =>
  `SELECT ${[pieces.ordinal, ...pieces.expressions.slice(...expressions)].join(", ")} FROM (VALUES ${
    (rows.length === 1 ? [...rows, ...rows] : rows).join(", ")
  }) ${pieces.alias}`

const rowsOf = (pieces: Pieces, { rows: [from, to] }: Block): Array<string> =>
  Array.from({ length: to - from }, (_, i) => pieces.row(from + i, i === 0))

const statement = (pieces: Pieces, block: Block): string => select(pieces, block, rowsOf(pieces, block))

/** Reads the values of the rows and evaluates nothing. */
const readOnly = (pieces: Pieces, block: Block): string =>
  select(pieces, { ...block, expressions: [0, 0] }, rowsOf(pieces, block))

/** Looks up types and computes constants, for no row. */
const planOnly = (pieces: Pieces, block: Block): string => {
  const [row] = rowsOf(pieces, { ...block, rows: [block.rows[0], block.rows[0] + 1] })
  return `${select(pieces, block, [row!])} LIMIT 0`
}

/** The request in blocks that are not too large. */
const blocksOf = (request: RowRequest): Array<Block> => {
  const blocks: Array<Block> = []
  const widths = split(request.expressions.map((sql) => sql.length), MAX_BYTES, MAX_EXPRESSIONS)
  const perRow = request.columns.length * 4 + 8
  const sizes = request.rows.map((row) => row.reduce((sum, text) => sum + (text === null ? 0 : text.length), perRow))
  let firstExpression = 0
  for (const endExpression of widths) {
    const most = Math.min(MAX_ROWS, Math.max(1, Math.floor(MAX_VERDICTS / (endExpression - firstExpression))))
    let firstRow = 0
    for (const endRow of split(sizes, MAX_BYTES, most)) {
      blocks.push({ rows: [firstRow, endRow], expressions: [firstExpression, endExpression] })
      firstRow = endRow
    }
    firstExpression = endExpression
  }
  return blocks
}

const halves = ([from, to]: readonly [number, number]): Array<readonly [number, number]> => {
  const middle = (from + to) >> 1
  return [[from, middle], [middle, to]]
}

// --- Failures ---

/** What a statement has answered. */
type Rows = ReadonlyArray<ReadonlyArray<string | null>>

/** Takes rows and expressions apart until it is known which of them fail. */
const search = (
  sessions: ReadOnlySessions.ReadOnlySessions,
  { partMillis, statementMillis }: RowEvaluationOptions,
  request: RowRequest
) => {
  const pieces = piecesOf(request)
  const verdicts = request.rows.map(() => new Array<RowVerdict>(request.expressions.length).fill(null))
  let statements = 0
  let timeouts = 0

  const fill = ({ expressions: [left, right], rows: [top, bottom] }: Block, verdict: RowVerdict) => {
    for (let row = top; row < bottom; row++) verdicts[row]!.fill(verdict, left, right)
  }

  /** `undefined` when nothing has failed. */
  const attempt = (sql: string, then: (rows: Rows) => void) => {
    statements++
    return sessions.query(sql, timeouts > 0 ? partMillis : statementMillis).pipe(
      Effect.map((rows) => then(rows)),
      Effect.catchTag("StatementRefused", (refused) =>
        Effect.sync(() => {
          if (refused.code === ReadOnlySessions.QUERY_CANCELED) timeouts++
          return refused
        }))
    )
  }

  const read = ({ expressions: [left, right] }: Block) => (rows: Rows) => {
    for (const row of rows) {
      const found = verdicts[Number(row[0])]!
      for (let n = left; n < right; n++) {
        const text = row[n - left + 1]!
        found[n] = text === null ? null : text === "t"
      }
    }
  }

  /** Rows whose values alone are refused fail with every expression; the others are left. */
  const withoutBadRows = (block: Block): Effect.Effect<Array<Block>, DatabaseUnavailable> =>
    Effect.suspend(() => {
      return Effect.flatMap(attempt(readOnly(pieces, block), () => undefined), (refused) => {
        if (refused === undefined) return Effect.succeed([block])
        if (heightOf(block) > 1 && statements < MAX_STATEMENTS && timeouts < MAX_TIMEOUTS) {
          return Effect.map(
            Effect.forEach(halves(block.rows), (rows) => withoutBadRows({ ...block, rows })),
            (parts) => parts.flat()
          )
        }
        fill(block, { error: refused.message })
        return Effect.succeed([])
      })
    })

  /** Expressions first, as one that fails often fails for many rows. */
  const isolate = (block: Block): Effect.Effect<void, DatabaseUnavailable> =>
    Effect.suspend(() =>
      Effect.flatMap(
        attempt(statement(pieces, block), read(block)),
        (refused) => refused === undefined ? Effect.void : divide(block, refused)
      )
    )

  const divide = (
    block: Block,
    refused: ReadOnlySessions.StatementRefused
  ): Effect.Effect<void, DatabaseUnavailable> => {
    const single = widthOf(block) === 1
    if ((single && heightOf(block) === 1) || statements >= MAX_STATEMENTS || timeouts >= MAX_TIMEOUTS) {
      return Effect.sync(() => fill(block, { error: refused.message }))
    }
    if (!single) {
      return Effect.forEach(halves(block.expressions), (expressions) => isolate({ ...block, expressions }), {
        discard: true
      })
    }
    // One that is refused before any row is looked at fails for all of them.
    return Effect.flatMap(
      attempt(planOnly(pieces, block), () => undefined),
      (unplanned) =>
        unplanned !== undefined
          ? Effect.sync(() => fill(block, { error: unplanned.message }))
          : Effect.forEach(halves(block.rows), (rows) => isolate({ ...block, rows }), { discard: true })
    )
  }

  const run = (block: Block) =>
    Effect.flatMap(attempt(statement(pieces, block), read(block)), (refused) => {
      if (refused === undefined) return Effect.void
      return Effect.flatMap(withoutBadRows(block), (rest) =>
        Effect.forEach(rest, (part) =>
          heightOf(part) === heightOf(block) ? divide(part, refused) : isolate(part), { discard: true }))
    })

  return Effect.as(Effect.suspend(() => Effect.forEach(blocksOf(request), run, { discard: true })), verdicts)
}

const make = Effect.fnUntraced(function*(options: RowEvaluationOptions) {
  const sessions = yield* ReadOnlySessions.make({
    operation: "evaluating where clauses",
    max: 1,
    statementMillis: options.statementMillis
  })
  const turn = yield* Effect.makeSemaphore(1)
  return RowEvaluation.of({
    evaluate: (request) => turn.withPermits(1)(Effect.suspend(() => search(sessions, options, request)))
  })
})

/** Connects when it is first asked. */
export const layerOf = (options: RowEvaluationOptions): Layer.Layer<RowEvaluation, never, Database> =>
  Layer.scoped(RowEvaluation, make(options))

export const layer: Layer.Layer<RowEvaluation, never, Database> = layerOf(defaults)
