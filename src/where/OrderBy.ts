/**
 * The order of a subset: column names with their directions, and nothing else. What is sent to Postgres is printed from
 * what was understood, never the user's text.
 */
import { Effect, Either } from "effect"
import type { Node, SortBy } from "libpg-query"
import { quote } from "../domain/Identifier.ts"
import { placeOf, words } from "./Analysis.ts"
import * as Grammar from "./Grammar.ts"
import { at, inClause, ORDER_PREFIX } from "./Location.ts"

const directions: ReadonlyMap<string | undefined, string> = new Map([
  ["SORTBY_ASC", " ASC"],
  ["SORTBY_DESC", " DESC"]
])

const nullPlaces: ReadonlyMap<string | undefined, string> = new Map([
  ["SORTBY_NULLS_FIRST", " NULLS FIRST"],
  ["SORTBY_NULLS_LAST", " NULLS LAST"]
])

/** A term's SQL; `undefined` for a constant, which orders nothing. */
const term = (
  order: string,
  node: Node,
  { location, sortby_dir, sortby_nulls }: SortBy,
  columns: ReadonlySet<string>
): Either.Either<string | undefined, string> => {
  const place = (location: number | undefined) => inClause(order, location, ORDER_PREFIX)
  const refuse = (message: string) => Either.left(at(place(placeOf(node) ?? location), message))
  if (sortby_dir === "SORTBY_USING") return refuse("USING is not allowed in ORDER BY clauses")
  if ("A_Const" in node) return Either.right(undefined)
  if ("ParamRef" in node) {
    return Either.left(`parameter $${node.ParamRef.number ?? 0} is not supported in ORDER BY clauses`)
  }
  if (!("ColumnRef" in node)) {
    return refuse(`${Object.keys(node)[0]} expressions are not allowed in ORDER BY clauses`)
  }
  const [name, ...more] = words(node.ColumnRef.fields)
  if (name === undefined || more.length > 0 || !columns.has(name)) {
    return refuse(`unknown reference ${words(node.ColumnRef.fields).join(".")}`)
  }
  return Either.right(`${quote(name)}${directions.get(sortby_dir) ?? ""}${nullPlaces.get(sortby_nulls) ?? ""}`)
}

/**
 * The SQL of an order of some of these columns; `undefined` when it orders nothing. Fails with the message (Electric
 * HTTP protocol §12.3) for an order that is refused.
 */
export const resolve = Effect.fnUntraced(function*(order: string, columns: ReadonlyArray<string>) {
  const names = new Set(columns)
  const terms: Array<string> = []
  for (const sort of yield* Grammar.parseOrderBy(order)) {
    if (sort.node === undefined) return yield* Effect.fail("an operand is missing")
    const sql = yield* term(order, sort.node, sort, names)
    if (sql !== undefined) terms.push(sql)
  }
  return terms.length === 0 ? undefined : terms.join(", ")
})
