/**
 * The grammar of Postgres 17 (libpg_query, WASM): a where clause as a syntax tree. Refuses everything that is not one
 * expression.
 */
import { Effect, Either } from "effect"
import type { Node, ParseResult, RangeVar, SelectStmt, SortBy } from "libpg-query"
import instantiate, { type PgQuery } from "libpg-query/wasm/libpg-query.js"
import type { TableName } from "../domain/Identifier.ts"
import { excess } from "./Excess.ts"
import { at, ORDER_PREFIX, PREFIX } from "./Location.ts"

/** Longest clause, in bytes of UTF-8. */
export const MAX_BYTES = 65_536

/** Longest message of the parser that is passed on whole: it may quote the rest of the clause. */
const MAX_MESSAGE = 500

type Parsed = Either.Either<ParseResult, string>

/**
 * Result struct: char *tree, char *stderr, error *. Error struct: char *message, *function, *file; int line, cursor
 * (1-based, characters).
 */
const readResult = (pg: PgQuery, result: number): Parsed => {
  const error = pg.getValue(result + 8, "i32")
  if (error !== 0) {
    const cursor = pg.getValue(error + 16, "i32")
    const message = pg.UTF8ToString(pg.getValue(error, "i32"))
    return Either.left(
      at(Math.max(cursor - 1, 0), message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message)
    )
  }
  const tree: ParseResult = JSON.parse(pg.UTF8ToString(pg.getValue(result, "i32")))
  return Either.right(tree)
}

/** Throws when the instance breaks, as by an overflow of its stack. */
const parseSql = (pg: PgQuery, sql: string): Parsed => {
  const bytes = pg.lengthBytesUTF8(sql) + 1
  const pointer = pg._malloc(bytes)
  pg.stringToUTF8(sql, pointer, bytes)
  const result = pg._wasm_parse_query_raw(pointer)
  const parsed = readResult(pg, result)
  pg._wasm_free_parse_result(result)
  pg._free(pointer)
  return parsed
}

/**
 * The instance all clauses are parsed with. One whose stack has overflowed keeps memory and, after some forty times, is
 * broken for good: so one that has thrown is dropped, and the next clause makes another (7 ms). Clauses that could do
 * that are refused before (`Excess`), unless the caller's own stack is nearly full.
 */
let current: PgQuery | undefined

const parseWith = (pg: PgQuery, sql: string): Parsed => {
  try {
    return parseSql(pg, sql)
  } catch (cause) {
    if (!(cause instanceof RangeError || cause instanceof WebAssembly.RuntimeError)) throw cause
    if (current === pg) current = undefined
    return Either.left(at(0, "the clause is nested too deeply"))
  }
}

/** The instance; from the second time on without waiting. */
const instance = Effect.suspend(() =>
  current !== undefined
    ? Effect.succeed(current)
    : Effect.map(Effect.promise(() => instantiate()), (made) => current ??= made)
)

const parseStatement = (sql: string): Effect.Effect<ParseResult, string> =>
  Effect.flatMap(instance, (pg) => parseWith(pg, sql))

const SUFFIXED = "malformed query ending with SQL clauses"

type SelectKeys = ReadonlySet<string>
const keys = (names: ReadonlyArray<keyof SelectStmt>): SelectKeys => new Set<string>(names)

/** The one SELECT statement of a tree, if it has no clauses but these; `split` is the message for more than one. */
const selectOnly = (tree: ParseResult, clauses: SelectKeys, split: string): Either.Either<SelectStmt, string> => {
  const [first, ...others] = tree.stmts ?? []
  if (first === undefined || others.length > 0 || first.stmt_len !== undefined) return Either.left(split)
  const select = first.stmt !== undefined && "SelectStmt" in first.stmt ? first.stmt.SelectStmt : undefined
  return select === undefined || Object.keys(select).some((key) => !clauses.has(key))
    ? Either.left(SUFFIXED)
    : Either.right(select)
}

const parseAfter = Effect.fnUntraced(function*(prefix: string, clause: string, name: string) {
  if (Buffer.byteLength(clause) > MAX_BYTES) {
    return yield* Effect.fail(`the ${name} clause is bigger than maximum size (${MAX_BYTES} bytes)`)
  }
  // A C string ends there: what follows would be ignored.
  const nul = clause.indexOf("\0")
  if (nul >= 0) return yield* Effect.fail(at(nul, `null byte in ${name} clause`))
  const problem = excess(clause)
  if (problem !== undefined) return yield* Effect.fail(problem)
  return yield* parseStatement(prefix + clause)
})

const conditionOnly = keys(["targetList", "whereClause", "limitOption", "op"])

/**
 * The syntax tree of a where clause. Fails with the message of Electric HTTP protocol §14.6 for a clause that is none.
 */
export const parse = Effect.fnUntraced(function*(clause: string) {
  const tree = yield* parseAfter(PREFIX, clause, "where")
  const select = yield* selectOnly(tree, conditionOnly, "unescaped \";\" causing statement split")
  return yield* select.whereClause === undefined ? Effect.fail(SUFFIXED) : Effect.succeed(select.whereClause)
})

const orderOnly = keys(["targetList", "sortClause", "limitOption", "op"])

/** The terms of an order. Fails with the message of Electric HTTP protocol §12.3 for a text that is none. */
export const parseOrderBy = Effect.fnUntraced(function*(order: string) {
  const tree = yield* parseAfter(ORDER_PREFIX, order, "order by")
  const select = yield* selectOnly(tree, orderOnly, "Unexpected `;` in order by")
  const terms = select.sortClause?.flatMap((node): ReadonlyArray<SortBy> => "SortBy" in node ? [node.SortBy] : [])
  return terms ?? []
})

/** How many subqueries a clause may have, and how many within each other. */
export const MAX_SUBQUERIES = 100
export const MAX_SUBQUERY_DEPTH = 10

interface Place {
  readonly node: unknown
  /** In how many subqueries. */
  readonly depth: number
}

interface Subqueries {
  readonly count: number
  readonly depth: number
  /** The tables that they name, each once. */
  readonly tables: ReadonlyArray<TableName>
}

/** What is said of subqueries anywhere in a syntax tree. */
const subqueriesOf = (root: Node): Subqueries => {
  const rest: Array<Place> = [{ node: root, depth: 0 }]
  const tables = new Map<string, TableName>()
  let count = 0
  let deepest = 0
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    const { node } = next
    if (typeof node !== "object" || node === null) continue
    const isSubquery = "SubLink" in node
    const depth = next.depth + (isSubquery ? 1 : 0)
    if (isSubquery) count += 1
    deepest = Math.max(deepest, depth)
    if ("RangeVar" in node) {
      const { relname: name = "", schemaname: schema = "public" }: RangeVar = node.RangeVar ?? {}
      tables.set(JSON.stringify([schema, name]), { schema, name })
    }
    for (const child of Object.values(node).reverse()) rest.push({ node: child, depth })
  }
  return { count, depth: deepest, tables: [...tables.values()] }
}

/** Whether there is a subquery anywhere in a syntax tree. */
export const hasSubquery = (node: Node): boolean => subqueriesOf(node).count > 0

/** The tables that a clause's subqueries name, in the order in which they do. Left is the message for too many of them. */
export const tablesOf = (node: Node): Either.Either<ReadonlyArray<TableName>, string> => {
  const { count, depth, tables } = subqueriesOf(node)
  if (depth > MAX_SUBQUERY_DEPTH) return Either.left("the clause's subqueries are nested too deeply")
  return count > MAX_SUBQUERIES
    ? Either.left(`the clause has more than ${MAX_SUBQUERIES} subqueries`)
    : Either.right(tables)
}
