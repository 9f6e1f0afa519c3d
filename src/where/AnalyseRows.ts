/**
 * `ROW(…)`, and comparisons of two of them.
 */
import type { Node, RowExpr } from "libpg-query"
import type { Expression, Opaque, RowComparison } from "../domain/Expression.ts"
import { type Analysis, type Place, placeOf, refuse } from "./Analysis.ts"
import { orAnyText } from "./Coerce.ts"
import { baseTypeOf, typeOf } from "./ExpressionType.ts"
import { and, or } from "./Logic.ts"
import { compare, type OperatorName } from "./Operators.ts"
import { typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

const OPENING = "ROW("

/** A field, which may stay a literal without a type. */
const field = (analysis: Analysis, node: Node): Expression => {
  const expression = analysis.analyse(node)
  if (expression._tag === "Constant" && expression.text?.includes("\0")) {
    return refuse(placeOf(node), `invalid syntax for type unknown: ${expression.text} (null byte)`)
  }
  return expression
}

/** A row as a value. */
export const analyseRow = (analysis: Analysis, { args = [] }: RowExpr): Opaque => ({
  _tag: "Opaque",
  sql: args.length === 0 ? [`${OPENING})`] : [OPENING, ...args.slice(1).map(() => ", "), ")"],
  args: args.map((arg) => field(analysis, arg)),
  type: typeByOid(analysis.sql, Oid.RECORD)
})

export const isRow = (expression: Expression): expression is Opaque =>
  expression._tag === "Opaque" && expression.sql[0]!.startsWith(OPENING)

/** Fields in pairs. */
export const pairs = (
  left: Opaque,
  right: Opaque,
  place: Place
): ReadonlyArray<readonly [Expression, Expression]> => {
  if (left.args.length !== right.args.length) return refuse(place, "unequal number of entries in row expressions")
  if (left.args.length === 0) return refuse(place, "cannot compare rows of zero length")
  return left.args.map((arg, i) => [arg, right.args[i]!])
}

const orderings: ReadonlySet<string> = new Set<RowComparison["operator"]>(["<", "<=", ">", ">="])
const isOrdering = (name: string): name is RowComparison["operator"] => orderings.has(name)

/** `ROW(…) operator ROW(…)`: `=` is AND, `<>` is OR of the fields' comparisons. */
export const compareRows = (
  analysis: Analysis,
  path: OperatorName,
  left: Opaque,
  right: Opaque,
  place: Place
): Expression => {
  const name = path.at(-1)!
  const comparisons = pairs(left, right, place).map(([a, b]) => compare(analysis, path, a, b, place, "row comparison"))
  if (comparisons.length === 1) return comparisons[0]!
  if (name === "=") return and(comparisons)
  if (name === "<>") return or(comparisons)
  if (!isOrdering(name) || comparisons.some(({ operator }) => operator.schema !== "pg_catalog")) {
    return refuse(place, `could not determine interpretation of row comparison operator ${name}`)
  }
  const comparison: RowComparison = {
    _tag: "RowComparison",
    operator: name,
    left: comparisons.map(({ args }) => args[0]),
    right: comparisons.map(({ args }) => args[1]),
    fns: comparisons.map(({ fn }) => fn),
    collations: comparisons.map(() => null)
  }
  analysis.places.set(comparison, place)
  return comparison
}

const isComposite = (expression: Expression): boolean => {
  const type = typeOf(expression)
  return baseTypeOf(type).kind === "c" || type.oid === Oid.RECORD
}

/** `ROW(…) IS [NOT] NULL`: so is every field. */
export const rowNullTest = (analysis: Analysis, row: Opaque, negated: boolean, place: Place): Expression => {
  const bool = typeByOid(analysis.sql, Oid.BOOL)
  if (row.args.length === 0) return { _tag: "Constant", type: bool, text: "t" }
  // A field that is a row counts as not null, whatever is in it.
  if (row.args.some(isComposite)) {
    const sql = [...row.sql.slice(0, -1), `) IS ${negated ? "NOT " : ""}NULL`]
    return { _tag: "Opaque", sql, args: row.args, type: bool }
  }
  return and(row.args.map((arg) => ({ _tag: "NullTest", arg: orAnyText(analysis, arg, place), negated })))
}
