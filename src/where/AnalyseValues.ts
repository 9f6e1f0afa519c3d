/**
 * Columns, literals and parameters.
 */
import type { A_Const, ColumnRef, ParamRef } from "libpg-query"
import type { Column, Constant } from "../domain/Expression.ts"
import type { ColumnInfo } from "../domain/Relation.ts"
import { type Analysis, type Place, refuse, type Scope, words } from "./Analysis.ts"
import { numericLiteral } from "./Canonical.ts"
import { typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

/** A column that a name is about, and how many subqueries away its table is. */
export interface FoundColumn {
  readonly column: ColumnInfo
  readonly distance: number
}

const isNamed = ({ name, schema }: Scope, qualifier: ReadonlyArray<string>): boolean =>
  qualifier.length === 1
    ? qualifier[0] === name
    : qualifier.length === 2 && qualifier[0] === schema && qualifier[1] === name

/** Looks a name up from the inside to the outside. In the clause itself names are not qualified. */
export const findColumn = (from: Scope, path: ReadonlyArray<string>): FoundColumn | undefined => {
  const qualifier = path.slice(0, -1)
  if (qualifier.length > 0 && from.outer === undefined) return undefined
  let distance = 0
  for (let scope: Scope | undefined = from; scope !== undefined; scope = scope.outer) {
    const isMeant = qualifier.length === 0 || isNamed(scope, qualifier)
    const column = isMeant ? scope.columns.find(({ name }) => name === path.at(-1)) : undefined
    if (column !== undefined) return { column, distance }
    if (isMeant && qualifier.length > 0) return undefined
    distance += 1
  }
  return undefined
}

export const analyseColumn = (analysis: Analysis, { fields, location }: ColumnRef): Column => {
  const path = words(fields)
  const found = findColumn(analysis.scope, path)
  if (found === undefined) return refuse(location, `unknown reference ${path.join(".")}`)
  if (found.distance === 0) return columnOf(analysis, found.column, location)
  return refuse(
    location,
    `${path.join(".")} is a column of a table around the subquery, which only EXISTS can refer to, as in t.a = ${
      path.join(".")
    }`
  )
}

export const columnOf = (analysis: Analysis, column: ColumnInfo, location: Place): Column => {
  const collation = analysis.sql.collations.get(column.collation)
  const type = analysis.sql.types.get(column.typeOid) ??
    refuse(location, `type ${column.typeName} of column ${column.name} is not known`)
  return { _tag: "Column", name: column.name, type, ...(collation !== undefined && { collation }) }
}

/** A literal without a type. */
const untyped = (analysis: Analysis, text: string | null, place: Place, param?: number): Constant => {
  const constant: Constant = { _tag: "Constant", type: typeByOid(analysis.sql, Oid.UNKNOWN), text }
  analysis.written.set(constant, { place, ...(param !== undefined && { param }) })
  return constant
}

export const analyseParam = (analysis: Analysis, { location, number = 0 }: ParamRef): Constant => {
  const text = analysis.params[number - 1]
  return text === undefined
    ? refuse(location, `parameter $${number} was not provided`)
    : untyped(analysis, text, location, number)
}

const integerLiteral = /^(?:\d[\d_]*|0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+)$/

const INT8_MAX = 0x7fffffffffffffffn
const INT8_MIN = -0x8000000000000000n

/** A number that is no int4: an int8 if it is an integer that fits. */
const numberConstant = (analysis: Analysis, written: string, place: Place): Constant => {
  const negative = written.startsWith("-")
  const digits = negative ? written.slice(1) : written
  const typed = (oid: number, text: string): Constant => ({
    _tag: "Constant",
    type: typeByOid(analysis.sql, oid),
    text
  })
  if (integerLiteral.test(digits)) {
    const plain = digits.replaceAll("_", "")
    const size = BigInt(plain.startsWith("0") && /^0\d/.test(plain) ? plain.replace(/^0+(?=\d)/, "") : plain)
    const value = negative ? -size : size
    return typed(value >= INT8_MIN && value <= INT8_MAX ? Oid.INT8 : Oid.NUMERIC, String(value))
  }
  const text = numericLiteral(written.replaceAll("_", ""))
  if (text !== undefined) return typed(Oid.NUMERIC, text)
  const constant = typed(Oid.NUMERIC, written)
  analysis.unread.set(constant, { place, type: constant.type, text: written })
  return constant
}

/** `b101` or `x1F`. */
const bits = (written: string, place: Place): string => {
  const digits = written.slice(1)
  if (written.startsWith("b")) {
    return /^[01]*$/.test(digits) ? digits : refuse(place, `invalid syntax for type bit: ${digits}`)
  }
  if (!/^[\da-fA-F]*$/.test(digits)) return refuse(place, `invalid syntax for type bit: ${digits}`)
  return [...digits].map((digit) => Number.parseInt(digit, 16).toString(2).padStart(4, "0")).join("")
}

export const analyseConstant = (
  analysis: Analysis,
  { boolval, bsval, fval, isnull, ival, location, sval }: A_Const
): Constant => {
  const typed = (oid: number, text: string): Constant => ({
    _tag: "Constant",
    type: typeByOid(analysis.sql, oid),
    text
  })
  // Zero, false and the empty text are left out of the tree.
  if (isnull) return untyped(analysis, null, location)
  if (sval) return untyped(analysis, sval.sval ?? "", location)
  if (ival) return typed(Oid.INT4, String(ival.ival ?? 0))
  if (boolval) return typed(Oid.BOOL, boolval.boolval ? "t" : "f")
  if (bsval) return typed(Oid.BIT, bits(bsval.bsval ?? "b", location))
  return numberConstant(analysis, fval?.fval ?? "0", location)
}
