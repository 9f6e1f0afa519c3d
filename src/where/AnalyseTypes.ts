/**
 * Names of types, and casts to them.
 */
import type { CollateClause, Node, TypeCast, TypeName } from "libpg-query"
import type { Constant, Expression } from "../domain/Expression.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"
import { arrayOf } from "./AnalyseArrays.ts"
import { type Analysis, type Place, placeOf, refuse, words } from "./Analysis.ts"
import { coerce, coerceTo } from "./Coerce.ts"
import { baseTypeOf, typeOf } from "./ExpressionType.ts"
import { findCollation, findType, nameFrom, nameOfType } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

/** A type as a cast names it. */
export interface NamedType {
  readonly type: SqlType
  readonly modifiers: ReadonlyArray<string>
}

const modifierOf = (node: Node, place: Place): string => {
  if ("A_Const" in node) {
    const { fval, ival, sval } = node.A_Const
    if (sval) return sval.sval ?? ""
    if (fval) return fval.fval ?? "0"
    if (ival) return String(ival.ival ?? 0)
  }
  const path = "ColumnRef" in node ? words(node.ColumnRef.fields) : []
  return path.length === 1 ? path[0]! : refuse(place, "type modifiers must be simple constants or identifiers")
}

export const namedType = (analysis: Analysis, typeName: TypeName | undefined, place: Place): NamedType => {
  const path = words(typeName?.names)
  const at = typeName?.location ?? place
  const written = path.join(".")
  if (typeName?.setof || typeName?.pct_type) return refuse(at, `unsupported type ${written}`)
  const name = nameFrom(path)
  const found = name && findType(analysis.sql, name)
  if (found === undefined) return refuse(at, `unsupported type ${written}`)
  const type = typeName?.arrayBounds === undefined ? found : analysis.sql.arrays.get(found.oid)
  if (type === undefined) return refuse(at, `unsupported type ${written}[]`)
  if (type.kind === "p" && type.oid !== Oid.RECORD) return refuse(at, `unsupported type ${written}`)
  return { type, modifiers: (typeName?.typmods ?? []).map((modifier) => modifierOf(modifier, at)) }
}

/**
 * An interval's fields tell how its text is read (`interval '5' day`), and are therefore not put on afterwards as other
 * modifiers are.
 */
const intervalLiteral = (
  analysis: Analysis,
  literal: Constant,
  { modifiers, type }: NamedType,
  place: Place
): Expression => {
  const plain = coerce(analysis, literal, type, "explicit", place)
  if (plain._tag !== "Constant" || plain.text === null) return plain
  analysis.unread.delete(plain)
  const cast: Expression = { _tag: "Cast", arg: { ...literal }, type, modifiers, method: "modifier" }
  analysis.unread.set(cast, { place: analysis.written.get(literal)?.place ?? place, type, text: plain.text })
  return cast
}

/** The expression cast to the type as the user writes it. */
export const castTo = (analysis: Analysis, arg: Expression, named: NamedType, place: Place): Expression => {
  const { modifiers, type } = named
  const from = typeOf(arg)
  const refused = (): never => refuse(place, `unknown cast from type ${nameOfType(from)} to type ${nameOfType(type)}`)
  const isLiteral = arg._tag === "Constant" && from.oid === Oid.UNKNOWN
  if (isLiteral && type.oid === Oid.INTERVAL && modifiers.length > 0) {
    return intervalLiteral(analysis, arg, named, place)
  }
  const converted = coerceTo(analysis, arg, type, "explicit", place) ?? refused()
  if (modifiers.length === 0) return converted
  if (type.kind === "d") return refuse(place, `type modifier is not allowed for type ${nameOfType(type)}`)
  // A conversion may itself look at the modifier: it is done in one step.
  const inner = isLiteral || from.oid === type.oid ? converted : arg
  return { _tag: "Cast", arg: inner, type, modifiers, method: "modifier" }
}

export const analyseCast = (analysis: Analysis, { arg, location, typeName }: TypeCast): Expression => {
  const place = location !== undefined && location >= 0 ? location : typeName?.location ?? placeOf(arg)
  const named = namedType(analysis, typeName, place)
  const base = baseTypeOf(named.type)
  if (arg !== undefined && "A_ArrayExpr" in arg && base.element !== undefined) {
    const array = arrayOf(analysis, arg.A_ArrayExpr, { type: base, modifiers: named.modifiers })
    return named.type === base ? array : castTo(analysis, array, named, place)
  }
  return castTo(analysis, analysis.analyse(arg), named, place)
}

export const analyseCollate = (analysis: Analysis, { arg, collname, location }: CollateClause): Expression => {
  const expression = analysis.analyse(arg)
  const type = typeOf(expression)
  if (type.oid !== Oid.UNKNOWN && type.collation === 0) {
    return refuse(location, `collations are not supported by type ${nameOfType(type)}`)
  }
  const path = words(collname)
  const name = nameFrom(path)
  const collation = name && findCollation(analysis.sql, name)
  return collation === undefined
    ? refuse(location, `unknown collation ${path.join(".")}`)
    : { _tag: "Collate", arg: expression, collation }
}
