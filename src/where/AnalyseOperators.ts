/**
 * Operators, and the constructs that are made of them: `IN`, `BETWEEN`, `LIKE`, `IS DISTINCT FROM`, `ANY` and the rest.
 */
import type { A_Expr, Node } from "libpg-query"
import type { Distinct, Expression } from "../domain/Expression.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"
import { compareRows, isRow, pairs } from "./AnalyseRows.ts"
import { type Analysis, copies, type Place, refuse, words } from "./Analysis.ts"
import { coerceToBoolean, orAnyText, toCommonType } from "./Coerce.ts"
import { columnsOf, typeOf } from "./ExpressionType.ts"
import { and, not, or } from "./Logic.ts"
import { compare, compareArray, operate, type OperatorName } from "./Operators.ts"
import { commonType, isCoercible, isType } from "./Pathways.ts"
import { typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

const compareAny = (
  analysis: Analysis,
  path: OperatorName,
  left: Expression,
  right: Expression,
  place: Place
): Expression =>
  isRow(left) && isRow(right)
    ? compareRows(analysis, path, left, right, place)
    : operate(analysis, path, [left, right], place)

// --- IN ---

/** The type of an array of all of them, if they can be put into one. */
const listType = (analysis: Analysis, items: ReadonlyArray<Expression>): SqlType | undefined => {
  const { sql } = analysis
  const common = commonType(sql, items.map(typeOf))
  if (!isType(common) || common.oid === Oid.RECORD || !sql.arrays.has(common.oid)) return undefined
  return items.every((item) => isCoercible(sql, typeOf(item), common, "implicit")) ? common : undefined
}

const inArray = (
  analysis: Analysis,
  path: OperatorName,
  left: Expression,
  items: ReadonlyArray<Expression>,
  place: Place
): Expression | undefined => {
  const common = items.length > 1 ? listType(analysis, [left, ...items]) : undefined
  if (common === undefined) return undefined
  const elements = toCommonType(analysis, items, common, "IN", place)
  const array: Expression = { _tag: "ArrayOf", elements, type: analysis.sql.arrays.get(common.oid)!, nested: false }
  return compareArray(analysis, path, path.at(-1) === "<>" ? "ALL" : "ANY", left, array, place)
}

/** Items without columns go into an array, if there are several and they have a common type. */
const inList = (analysis: Analysis, path: OperatorName, left: Expression, list: Node, place: Place): Expression => {
  const items = ("List" in list ? list.List.items ?? [] : [list]).map((item) => analysis.analyse(item))
  const plain = new Set(items.filter((item) => columnsOf(item).length === 0))
  const array = inArray(analysis, path, left, [...plain], place)
  const rest = array === undefined ? items : items.filter((item) => !plain.has(item))
  copies(analysis, left, rest.length, place)
  const comparisons = rest.map((item) =>
    coerceToBoolean(analysis, compareAny(analysis, path, left, item, place), "IN", place)
  )
  const all = array === undefined ? comparisons : [array, ...comparisons]
  return path.at(-1) === "<>" ? and(all) : or(all)
}

// --- BETWEEN ---

const between = (analysis: Analysis, kind: string, left: Expression, list: Node, place: Place): Expression => {
  const [low, high] = ("List" in list ? list.List.items ?? [] : []).map((item) => analysis.analyse(item))
  if (low === undefined || high === undefined) return refuse(place, "BETWEEN needs two bounds")
  const symmetric = kind.endsWith("_SYM")
  copies(analysis, left, symmetric ? 3 : 1, place)
  if (symmetric) { for (const bound of [low, high]) copies(analysis, bound, 1, place) }
  const test = (name: string, bound: Expression) =>
    coerceToBoolean(analysis, compareAny(analysis, [name], left, bound, place), "BETWEEN", place)
  const inside = (a: Expression, b: Expression) => and([test(">=", a), test("<=", b)])
  const outside = (a: Expression, b: Expression) => or([test("<", a), test(">", b)])
  switch (kind) {
    case "AEXPR_BETWEEN":
      return inside(low, high)
    case "AEXPR_NOT_BETWEEN":
      return outside(low, high)
    case "AEXPR_BETWEEN_SYM":
      return or([inside(low, high), inside(high, low)])
    default:
      return and([outside(low, high), outside(high, low)])
  }
}

// --- IS DISTINCT FROM, NULLIF ---

const isNull = (node: Node | undefined): boolean =>
  node !== undefined && "A_Const" in node && node.A_Const.isnull === true

const distinctPair = (
  analysis: Analysis,
  path: OperatorName,
  left: Expression,
  right: Expression,
  place: Place
): Expression => {
  const { args, fn, operator } = compare(analysis, path, left, right, place, "IS DISTINCT FROM")
  const comparison: Distinct = { _tag: "Distinct", fn, operator, args, type: typeByOid(analysis.sql, Oid.BOOL) }
  analysis.places.set(comparison, place)
  return comparison
}

const distinctFromNull = (analysis: Analysis, arg: Expression, place: Place): Expression => {
  const expression = orAnyText(analysis, arg, place)
  const { kind } = typeOf(expression)
  // Of a row, IS NULL would look at the fields.
  if (kind === "b" || kind === "e" || kind === "r" || kind === "m") {
    return { _tag: "NullTest", arg: expression, negated: true }
  }
  const sql = ["", " IS DISTINCT FROM NULL"]
  return { _tag: "Opaque", sql, args: [expression], type: typeByOid(analysis.sql, Oid.BOOL) }
}

const distinct = (analysis: Analysis, expr: A_Expr): Expression => {
  const { lexpr, location, rexpr } = expr
  const [left, right] = [analysis.analyse(lexpr), analysis.analyse(rexpr)]
  if (isNull(rexpr)) return distinctFromNull(analysis, left, location)
  if (isNull(lexpr)) return distinctFromNull(analysis, right, location)
  const path = words(expr.name)
  if (isRow(left) && isRow(right)) {
    return or(pairs(left, right, location).map(([a, b]) => distinctPair(analysis, path, a, b, location)))
  }
  return distinctPair(analysis, path, left, right, location)
}

const nullIf = (analysis: Analysis, expr: A_Expr): Expression => {
  const [left, right] = [analysis.analyse(expr.lexpr), analysis.analyse(expr.rexpr)]
  const { args, fn, operator } = compare(analysis, words(expr.name), left, right, expr.location, "NULLIF")
  const comparison: Distinct = { _tag: "NullIf", fn, operator, args, type: typeOf(args[0]) }
  analysis.places.set(comparison, expr.location)
  return comparison
}

// --- All of them ---

const plain = (analysis: Analysis, { lexpr, location, name, rexpr }: A_Expr): Expression => {
  const path = words(name)
  if (lexpr === undefined) return operate(analysis, path, [analysis.analyse(rexpr)], location)
  const left = analysis.analyse(lexpr)
  return compareAny(analysis, path, left, analysis.analyse(rexpr), location)
}

/** `A_Expr`, in all its kinds. */
export const analyseOperator = (analysis: Analysis, expr: A_Expr): Expression => {
  const { kind, lexpr, location, rexpr } = expr
  const path = words(expr.name)
  if (rexpr === undefined) return refuse(location, "postfix operators are not supported")
  switch (kind) {
    case "AEXPR_OP_ANY":
    case "AEXPR_OP_ALL": {
      const left = analysis.analyse(lexpr)
      const quantifier = kind === "AEXPR_OP_ANY" ? "ANY" : "ALL"
      return compareArray(analysis, path, quantifier, left, analysis.analyse(rexpr), location)
    }
    case "AEXPR_DISTINCT":
      return distinct(analysis, expr)
    case "AEXPR_NOT_DISTINCT":
      return not(distinct(analysis, expr))
    case "AEXPR_NULLIF":
      return nullIf(analysis, expr)
    case "AEXPR_IN":
      return inList(analysis, path, analysis.analyse(lexpr), rexpr, location)
    case "AEXPR_BETWEEN":
    case "AEXPR_NOT_BETWEEN":
    case "AEXPR_BETWEEN_SYM":
    case "AEXPR_NOT_BETWEEN_SYM":
      return between(analysis, kind, analysis.analyse(lexpr), rexpr, location)
    default:
      return plain(analysis, expr)
  }
}
