/**
 * Replaces parts of an expression that no row changes by their values.
 */
import { Either } from "effect"
import type { Cast, Constant, Expression, Member } from "../domain/Expression.ts"
import type { Collation, SqlCatalog } from "../domain/SqlCatalog.ts"
import type { Unread } from "./Analysis.ts"
import { arrayText } from "./Canonical.ts"
import { BOOL, operands, typeOf } from "./ExpressionType.ts"
import { mapOperands, simplify } from "./Simplify.ts"

type Reading = ReadonlyMap<Expression, Unread>

// --- What is evident ---

/** Equality of values whose output texts differ when they do. */
const textual: ReadonlySet<string> = new Set(["int2eq", "int4eq", "int8eq", "booleq", "uuid_eq", "date_eq"])

const known = (expression: Expression, reading: Reading): expression is Constant =>
  expression._tag === "Constant" && !reading.has(expression)

const delimitedByComma = (name: string): boolean => name !== "box"

const collationOf = (expression: Expression): Collation | undefined =>
  "collation" in expression ? expression.collation : undefined

/** A constant in the place of an expression that keeps its collation. */
const constant = (like: Expression, text: string | null): Constant => {
  const type = typeOf(like)
  const collation = [like, ...operands(like)].map(collationOf).find((found) => found?.oid === type.collation)
  return { _tag: "Constant", type, text, ...(collation !== undefined && { collation }) }
}

/** Types whose values are their texts: of a domain, and of each other. */
const isSameText = (from: string, to: string): boolean => (from === "varchar" && to === "text") || from === to

/** Conversions that leave an integer's text as it is. */
const widening: ReadonlySet<string> = new Set([
  "i2toi4",
  "int28",
  "int48",
  "int2_numeric",
  "int4_numeric",
  "int8_numeric"
])

const toFloat8: ReadonlySet<string> = new Set(["i2tod", "i4tod", "i8tod", "numeric_float8"])

/** As float8 has it, for numbers that both we and Postgres write without an exponent. */
const float8Text = (text: string): string | undefined => {
  const value = Number(text)
  const size = Math.abs(value)
  return value === 0 ? "0" : size >= 1e-3 && size < 1e14 ? String(value) : undefined
}

const castText = ({ fn, method, type }: Cast, arg: Constant): string | null | undefined => {
  if (method === "relabel") return isSameText((arg.type.base ?? arg.type).name, type.name) ? arg.text : undefined
  if (method !== "call" || fn?.source === undefined || arg.text === null) return undefined
  if (widening.has(fn.source)) return arg.text
  return toFloat8.has(fn.source) ? float8Text(arg.text) : undefined
}

/**
 * Whether a constant in its place would bring along the same collation, as nothing in it has another one than its own
 * type has.
 */
const keepsCollation = (expression: Expression): boolean => {
  const { collation } = typeOf(expression)
  const isOwn = (part: Expression): boolean =>
    part._tag !== "Collate" && [0, collation].includes(typeOf(part).collation) && operands(part).every(isOwn)
  return collation === 0 || isOwn(expression)
}

/** The value of an expression whose operands are constants, where it is evident. */
const evidentValue = (expression: Expression, reading: Reading): Constant | undefined => {
  if (!operands(expression).every((operand) => known(operand, reading)) || !keepsCollation(expression)) return undefined
  switch (expression._tag) {
    case "ArrayOf": {
      const { element } = expression.type
      if (expression.nested || element === undefined || !delimitedByComma(element.name)) return undefined
      return constant(
        expression,
        arrayText(expression.elements.map((one) => one._tag === "Constant" ? one.text : null))
      )
    }
    case "Call": {
      const [a, b] = expression.args
      const { source = "" } = expression.fn
      if (a?._tag !== "Constant" || b?._tag !== "Constant") return undefined
      if (expression.fn.strict && (a.text === null || b.text === null)) return constant(expression, null)
      // The same text is the same value under any collation.
      const equal = a.text === b.text
      const decided = textual.has(source) || (source === "texteq" && (equal || expression.collation?.deterministic))
      return decided ? constant(expression, equal ? "t" : "f") : undefined
    }
    case "Cast": {
      const text = expression.arg._tag === "Constant" ? castText(expression, expression.arg) : undefined
      return text === undefined ? undefined : constant(expression, text)
    }
    case "NullTest":
      return expression.arg._tag === "Constant" && expression.arg.type.kind === "b"
        ? { _tag: "Constant", type: BOOL, text: (expression.arg.text === null) !== expression.negated ? "t" : "f" }
        : undefined
    default:
      return undefined
  }
}

/** Folds what is evident, and leaves out what says nothing. */
export const foldEvident = (root: Expression, reading: Reading): Expression => {
  const fold = (before: Expression): Expression => {
    if (before._tag === "Column" || before._tag === "Constant" || reading.has(before)) return before
    const expression = simplify(mapOperands(before, fold))
    return evidentValue(expression, reading) ?? expression
  }
  return fold(root)
}

// --- What only Postgres can tell ---

/** Whether a literal could be in its place. */
const isReplaceable = (expression: Expression): boolean => typeOf(expression).kind !== "p" && keepsCollation(expression)

/** The largest parts without columns that are not read or not folded yet. */
export const constantParts = (root: Expression, reading: Reading): ReadonlyArray<Expression> => {
  const parts: Array<Expression> = []
  const withinCondition = ({ subquery: { where } }: Member): boolean => {
    if (where !== undefined) visit(where.expression)
    return false
  }
  /** Whether there is no column in it. */
  const visit = (expression: Expression): boolean => {
    if (expression._tag === "Column") return false
    const start = parts.length
    const below = operands(expression)
    let constant = true
    for (const operand of below) constant = visit(operand) && constant
    if (expression._tag === "Member") return withinCondition(expression)
    if (!constant || !isReplaceable(expression)) return constant
    if (expression._tag === "Constant" && !reading.has(expression)) return true
    parts.length = start
    parts.push(expression)
    return true
  }
  visit(root)
  return parts
}

/** The expression with constants in the place of parts of it. */
export const replaceParts = (root: Expression, values: ReadonlyMap<Expression, Expression>): Expression => {
  const replace = (expression: Expression): Expression => {
    const value = values.get(expression)
    if (value !== undefined) return value
    return expression._tag === "Column" || expression._tag === "Constant"
      ? expression
      : simplify(mapOperands(expression, replace))
  }
  return replace(root)
}

/** A part's value, as Postgres answered; `undefined` when it failed. */
export const valueOf = (
  { collations }: SqlCatalog,
  part: Expression,
  answer: Either.Either<string | null, string>
): Constant | undefined => {
  if (Either.isLeft(answer)) return undefined
  const type = typeOf(part)
  const collation = collations.get(type.collation)
  return { _tag: "Constant", type, text: answer.right, ...(collation !== undefined && { collation }) }
}

/** Literals within parts that are not read yet. */
export const unreadWithin = (parts: Iterable<Expression>, reading: Reading): ReadonlySet<Expression> => {
  const found = new Set<Expression>()
  const visit = (expression: Expression): void => {
    if (reading.has(expression)) found.add(expression)
    else for (const operand of operands(expression)) visit(operand)
  }
  for (const part of parts) visit(part)
  return found
}
