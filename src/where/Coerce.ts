/**
 * Converts expressions from one type to another: literals are read as the type that is wanted, everything else gets a
 * cast.
 */
import type { Cast, Constant, Expression } from "../domain/Expression.ts"
import type { SqlCatalog, SqlFunction, SqlType } from "../domain/SqlCatalog.ts"
import { type Analysis, type Place, refuse } from "./Analysis.ts"
import { evident } from "./Canonical.ts"
import { baseTypeOf, typeOf } from "./ExpressionType.ts"
import { isRelative, requireFixed, requireFixedTexts } from "./Immutable.ts"
import { commonType, type Context, isCoercible, isType, type Pathway, pathway } from "./Pathways.ts"
import { isConsistent } from "./Polymorphic.ts"
import { nameOfType, typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

/** Whether arguments of these types can be given to parameters of those, without being written as casts. */
export const canCoerce = (
  sql: SqlCatalog,
  types: ReadonlyArray<SqlType>,
  targets: ReadonlyArray<number>,
  context: Context = "implicit"
): boolean => {
  let polymorphic = false
  for (const [i, target] of targets.entries()) {
    if (types[i]!.oid === target) continue
    if (Oid.isPolymorphic(target)) polymorphic = true
    else if (!isCoercible(sql, types[i]!, typeByOid(sql, target), context)) return false
  }
  return !polymorphic || isConsistent(sql, targets, types)
}

// --- Literals ---

const useParam = (analysis: Analysis, number: number, type: SqlType, place: Place): void => {
  const known = analysis.paramTypes.get(number)
  if (known === undefined) analysis.paramTypes.set(number, type)
  else if (
    known.oid !== type.oid && !isCoercible(analysis.sql, known, type, "implicit") &&
    !isCoercible(analysis.sql, type, known, "implicit")
  ) refuse(place, `type conflict for $${number}: ${nameOfType(known)} and ${nameOfType(type)}`)
}

/** Reads a literal as a value of a type. What the text means may turn out only later. */
const readLiteral = (analysis: Analysis, literal: Constant, type: SqlType, place: Place): Constant => {
  const written = analysis.written.get(literal)
  const at = written?.place ?? place
  if (type.kind === "p") return refuse(at, `unsupported type ${nameOfType(type)}`)
  if (written?.param !== undefined) useParam(analysis, written.param, type, at)
  const { text } = literal
  if (text === null) return { _tag: "Constant", type, text }
  const invalid = `invalid syntax for type ${nameOfType(type)}: ${text}`
  if (text.includes("\0")) return refuse(at, `${invalid} (null byte)`)
  requireFixedTexts(type, at, "a literal of type")
  if (isRelative(type, text)) return refuse(at, `${invalid} (relative to the present)`)
  const output = type.kind === "e" && type.labels?.includes(text)
    ? text
    : type.schema === "pg_catalog"
    ? evident(type.name, text)
    : undefined
  const constant: Constant = { _tag: "Constant", type, text: output ?? text }
  if (output === undefined) analysis.unread.set(constant, { place: at, type, text })
  return constant
}

/** A literal that nothing gives a type to is a text. */
export const orText = (analysis: Analysis, expression: Expression, place: Place): Expression =>
  typeOf(expression).oid === Oid.UNKNOWN
    ? coerce(analysis, expression, typeByOid(analysis.sql, Oid.TEXT), "implicit", place)
    : expression

/** The same, where a parameter is only looked at: what it is somewhere else it may be of any type. */
export const orAnyText = (analysis: Analysis, expression: Expression, place: Place): Expression => {
  if (expression._tag === "Constant") analysis.written.delete(expression)
  return orText(analysis, expression, place)
}

// --- Casts ---

const functionAt = (analysis: Analysis, oid: number, place: Place): SqlFunction =>
  analysis.sql.functions.get(oid) ?? refuse(place, "the cast's function is not known")

/** Refuses conversions that may change, and finds the function behind one. */
const functionOf = (
  analysis: Analysis,
  path: Pathway,
  from: SqlType,
  to: SqlType,
  context: Context,
  place: Place
): SqlFunction | undefined => {
  switch (path.method) {
    case "relabel":
      return undefined
    case "text":
      requireFixedTexts(from, place, "a cast from type")
      requireFixedTexts(to, place, "a cast to type")
      return undefined
    case "call": {
      const fn = functionAt(analysis, path.fn, place)
      requireFixed(fn, [baseTypeOf(from)], place, { explicit: context === "explicit" })
      return fn
    }
    case "array": {
      const [source, target] = [baseTypeOf(from).element!, baseTypeOf(to).element!]
      return functionOf(analysis, pathway(analysis.sql, source, target, context)!, source, target, context, place)
    }
  }
}

const cast = (
  analysis: Analysis,
  arg: Expression,
  type: SqlType,
  path: Pathway,
  context: Context,
  place: Place
): Cast => {
  const from = typeOf(arg)
  const fn = functionOf(analysis, path, from, type, context, place)
  // A domain has constraints of its own.
  if (type.kind === "d") return { _tag: "Cast", arg, type, method: "domain" }
  return { _tag: "Cast", arg, type, method: path.method, ...(fn !== undefined && { fn: fn.ref }) }
}

/** The expression as a value of a type that it is known to convert to. */
export const coerce = (
  analysis: Analysis,
  expression: Expression,
  target: SqlType,
  context: Context,
  place: Place
): Expression => {
  const from = typeOf(expression)
  if (from.oid === target.oid || Oid.takesAnything.has(target.oid)) return expression
  if (expression._tag === "Collate") {
    const arg = coerce(analysis, expression.arg, target, context, place)
    return target.collation === 0 ? arg : { ...expression, arg }
  }
  if (Oid.takesSort.has(target.oid)) {
    const base = baseTypeOf(from)
    return base === from ? expression : { _tag: "Cast", arg: expression, type: base, method: "relabel" }
  }
  if (expression._tag === "Constant" && from.oid === Oid.UNKNOWN) {
    return readLiteral(analysis, expression, target, place)
  }
  const path = pathway(analysis.sql, from, target, context)
  if (expression._tag === "ArrayOf" && path?.method === "array" && target.element !== undefined) {
    const type = expression.nested ? target : target.element
    const elements = expression.elements.map((element) => coerce(analysis, element, type, context, place))
    return { ...expression, elements, type: target }
  }
  if (path !== undefined) return cast(analysis, expression, target, path, context, place)
  if (from.oid === Oid.RECORD) return { _tag: "Cast", arg: expression, type: target, method: "row" }
  // A row of a known type is a row.
  return expression
}

/** The expression as a value of a type; `undefined` when there is no such conversion. */
export const coerceTo = (
  analysis: Analysis,
  expression: Expression,
  target: SqlType,
  context: Context,
  place: Place
): Expression | undefined =>
  isCoercible(analysis.sql, typeOf(expression), target, context)
    ? coerce(analysis, expression, target, context, place)
    : undefined

/** As `coerceTo`, for arguments of AND, `IS TRUE` and whatever else takes a condition. */
export const coerceToBoolean = (
  analysis: Analysis,
  expression: Expression,
  construct: string,
  place: Place
): Expression =>
  coerceTo(analysis, expression, typeByOid(analysis.sql, Oid.BOOL), "assignment", place) ??
    refuse(place, `argument of ${construct} must be bool, not ${nameOfType(typeOf(expression))}`)

// --- Several expressions of one type ---

/** The type that the expressions have in common. */
export const commonTypeOf = (
  analysis: Analysis,
  expressions: ReadonlyArray<Expression>,
  construct: string,
  place: Place
): SqlType => {
  const found = commonType(analysis.sql, expressions.map(typeOf))
  if (isType(found)) return found
  const [a, b] = found
  return refuse(place, `${construct} types ${nameOfType(a)} and ${nameOfType(b)} cannot be matched`)
}

/** The expressions as values of their common type. */
export const toCommonType = (
  analysis: Analysis,
  expressions: ReadonlyArray<Expression>,
  type: SqlType,
  construct: string,
  place: Place
): ReadonlyArray<Expression> =>
  expressions.map((expression) =>
    coerceTo(analysis, expression, type, "implicit", place) ??
      refuse(place, `${construct} could not convert type ${nameOfType(typeOf(expression))} to ${nameOfType(type)}`)
  )
