/**
 * `ARRAY[…]` and subscripts.
 */
import type { A_ArrayExpr, A_Indices, A_Indirection, Node } from "libpg-query"
import type { Expression, Subscript } from "../domain/Expression.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"
import { type Analysis, type Place, placeOf, refuse, words } from "./Analysis.ts"
import { coerceTo, commonTypeOf, toCommonType } from "./Coerce.ts"
import { baseTypeOf, typeOf } from "./ExpressionType.ts"
import { isCoercible } from "./Pathways.ts"
import { nameOfType, typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

/** The array type that `ARRAY[…]` was cast to. */
export interface ArrayTarget {
  readonly type: SqlType
  readonly modifiers: ReadonlyArray<string>
}

const isArray = (type: SqlType): boolean => baseTypeOf(type).element !== undefined

const castElement = (
  analysis: Analysis,
  element: Expression,
  type: SqlType,
  modifiers: ReadonlyArray<string>,
  place: Place
): Expression => {
  const cast = coerceTo(analysis, element, type, "explicit", place) ??
    refuse(place, `unknown cast from type ${nameOfType(typeOf(element))} to type ${nameOfType(type)}`)
  return modifiers.length === 0 ? cast : { _tag: "Cast", arg: cast, type, modifiers, method: "modifier" }
}

/** `target` is the array type that it is cast to, which its elements are then cast to. */
export const arrayOf = (
  analysis: Analysis,
  { elements = [], location }: A_ArrayExpr,
  target?: ArrayTarget
): Expression => {
  const nodes: ReadonlyArray<Node> = elements
  const args = nodes.map((node) =>
    "A_ArrayExpr" in node ? arrayOf(analysis, node.A_ArrayExpr, target) : analysis.analyse(node)
  )
  const nested = args.some((arg) => isArray(typeOf(arg)))
  if (target !== undefined) {
    const type = nested ? target.type : target.type.element!
    const cast = args.map((arg, i) => castElement(analysis, arg, type, target.modifiers, placeOf(nodes[i]) ?? location))
    return { _tag: "ArrayOf", elements: cast, type: target.type, nested }
  }
  if (args.length === 0) return refuse(location, "cannot determine type of empty array")
  const common = commonTypeOf(analysis, args, "ARRAY", location)
  const type = nested ? baseTypeOf(common) : analysis.sql.arrays.get(common.oid)
  if (type?.element === undefined) return refuse(location, `no array type for type ${nameOfType(common)}`)
  return { _tag: "ArrayOf", elements: toCommonType(analysis, args, common, "ARRAY", location), type, nested }
}

// --- Subscripts ---

const arraySubscript = (analysis: Analysis, node: Node | undefined, place: Place): Expression | null => {
  if (node === undefined) return null
  const at = placeOf(node) ?? place
  return coerceTo(analysis, analysis.analyse(node), typeByOid(analysis.sql, Oid.INT4), "assignment", at) ??
    refuse(at, "array subscript must have type int4")
}

const arraySubscripts = (
  analysis: Analysis,
  indices: ReadonlyArray<A_Indices>,
  place: Place
): ReadonlyArray<Subscript> => {
  const slices = indices.some(({ is_slice }) => is_slice)
  return indices.map(({ is_slice, lidx, uidx }): Subscript => {
    const to = arraySubscript(analysis, uidx, place)
    if (!slices) return { _tag: "Index", at: to ?? refuse(place, "array subscript must have type int4") }
    if (is_slice) return { _tag: "Slice", from: arraySubscript(analysis, lidx, place), to }
    // Beside slices, [n] is [1:n].
    return { _tag: "Slice", from: { _tag: "Constant", type: typeByOid(analysis.sql, Oid.INT4), text: "1" }, to }
  })
}

const jsonbSubscript = (analysis: Analysis, { is_slice, uidx }: A_Indices, place: Place): Subscript => {
  if (is_slice || uidx === undefined) return refuse(place, "jsonb subscript does not support slices")
  const at = placeOf(uidx) ?? place
  const expression = analysis.analyse(uidx)
  const [int4, text] = [typeByOid(analysis.sql, Oid.INT4), typeByOid(analysis.sql, Oid.TEXT)]
  const from = typeOf(expression)
  const fits = (type: SqlType) => isCoercible(analysis.sql, from, type, "implicit")
  const type = from.oid === Oid.UNKNOWN || !fits(int4) ? text : int4
  const ambiguous = from.oid !== Oid.UNKNOWN && fits(int4) === fits(text)
  const key = ambiguous ? undefined : coerceTo(analysis, expression, type, "assignment", at)
  return key === undefined
    ? refuse(at, `subscript type ${nameOfType(from)} is not supported`)
    : { _tag: "Index", at: key }
}

const indicesOf = (node: Node, place: Place): A_Indices => {
  if ("A_Indices" in node) return node.A_Indices
  const name = words([node])[0]
  return refuse(place, `selecting a field (${name}) is not supported in this context`)
}

/** Below the array itself: its base type, whose elements they are. */
const withoutDomain = (expression: Expression): Expression => {
  const type = typeOf(expression)
  const base = baseTypeOf(type)
  return base === type ? expression : { _tag: "Cast", arg: expression, type: base, method: "relabel" }
}

export const analyseSubscripts = (analysis: Analysis, { arg, indirection = [] }: A_Indirection): Expression => {
  const place = placeOf(arg)
  const indices = indirection.map((node) => indicesOf(node, place))
  const container = withoutDomain(analysis.analyse(arg))
  const type = typeOf(container)
  if (type.oid === Oid.JSONB) {
    const subscripts = indices.map((index) => jsonbSubscript(analysis, index, place))
    return { _tag: "Subscripted", arg: container, subscripts, type }
  }
  if (type.element === undefined) {
    return refuse(place, `cannot subscript type ${nameOfType(type)} because it does not support subscripting`)
  }
  const subscripts = arraySubscripts(analysis, indices, place)
  const isSlice = subscripts[0]?._tag === "Slice"
  return { _tag: "Subscripted", arg: container, subscripts, type: isSlice ? type : type.element }
}
