/**
 * Expressions as closures over a row. What has no closure here is evaluated by Postgres.
 */
import type {
  ArrayComparison,
  Call,
  Case,
  Cast,
  Choice,
  Column,
  Constant,
  Distinct,
  Expression,
  NullTest,
  RowComparison,
  Subscripted
} from "../domain/Expression.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"
import { baseTypeOf, typeOf } from "./ExpressionType.ts"
import { builtin } from "./functions/Functions.ts"
import type { Row, Slots } from "./Row.ts"
import { type CallSite, type Closure, UNSURE, unsure, type Value } from "./Value.ts"
import { codecOf } from "./values/Codecs.ts"

/** The expression's value for a row; throws `UNSURE` where only Postgres can tell. */
export type Evaluate = (row: Row) => Value

type Evaluates = ReadonlyArray<Evaluate>

/** Whether an expression is a constant: then its value is known, without a row. */
const constantOf = (expression: Expression): Value | undefined => {
  if (expression._tag !== "Constant") return undefined
  return constantValue(expression)
}

/** `undefined` when it can't be read here. */
const constantValue = ({ text, type }: Constant): Value | undefined => {
  if (text === null) return null
  try {
    return codecOf(type)?.decode(text)
  } catch (cause) {
    if (cause === UNSURE) return undefined
    throw cause
  }
}

const constant = (expression: Constant): Evaluate | undefined => {
  const value = constantValue(expression)
  return value === undefined ? undefined : () => value
}

const column = ({ name, type }: Column, slots: Slots): Evaluate | undefined => {
  if (codecOf(type) === undefined) return undefined
  const slot = slots.of(name, type)
  return (row) => row.value(slot)
}

const all = (expressions: ReadonlyArray<Expression>, slots: Slots): Evaluates | undefined => {
  const evaluates: Array<Evaluate> = []
  for (const expression of expressions) {
    const evaluate = evaluator(expression, slots)
    if (evaluate === undefined) return undefined
    evaluates.push(evaluate)
  }
  return evaluates
}

/** The call of a strict function, by its number of arguments. */
const strictCall = (closure: Closure, [a, b, c, d]: Evaluates): Evaluate => {
  if (a === undefined) return () => closure(null, null, null, null)
  if (b === undefined) {
    return (row) => {
      const x = a(row)
      return x === null ? null : closure(x, null, null, null)
    }
  }
  if (c === undefined) {
    return (row) => {
      const x = a(row)
      const y = b(row)
      return x === null || y === null ? null : closure(x, y, null, null)
    }
  }
  return (row) => {
    const x = a(row)
    const y = b(row)
    const z = c(row)
    const w = d === undefined ? null : d(row)
    return x === null || y === null || z === null || (d !== undefined && w === null) ? null : closure(x, y, z, w)
  }
}

const NONE: Evaluate = () => null

const looseCall = (closure: Closure, [a = NONE, b = NONE, c = NONE, d = NONE]: Evaluates): Evaluate => (row) =>
  closure(a(row), b(row), c(row), d(row))

const closureOf = (site: CallSite): Closure | undefined =>
  site.fn.source === undefined || site.args.length > 4 ? undefined : builtin(site.fn.source)?.(site)

/**
 * Since version 17 Postgres plans the test of an element against a range that it can compute beforehand, and one that
 * is empty or has no bounds then takes NULL for an element like any other. What it can compute is its own business.
 */
const planned: Readonly<Record<string, number>> = { range_contains_elem: 0, elem_contained_by_range: 1 }

const mayBePlanned = ({ args, fn }: Call): boolean => {
  const range = fn.source === undefined ? undefined : args[planned[fn.source] ?? -1]
  return range !== undefined && range._tag !== "Column" && range._tag !== "Constant"
}

const call = (expression: Call, slots: Slots): Evaluate | undefined => {
  const { args, collation, fn, type, variadic } = expression
  if (variadic || mayBePlanned(expression)) return undefined
  const site = { fn, args: args.map(typeOf), result: type, collation, constants: args.map(constantOf) }
  const closure = closureOf(site)
  const evaluates = closure && all(args, slots)
  if (closure === undefined || evaluates === undefined) return undefined
  return fn.strict ? strictCall(closure, evaluates) : looseCall(closure, evaluates)
}

const texts = new Set(["text", "varchar", "bpchar", "name"])

/** Whether values of both types are the same here. */
const isSameInside = (a: SqlType, b: SqlType): boolean => {
  const [from, to] = [baseTypeOf(a), baseTypeOf(b)]
  if (from.oid === to.oid) return true
  if (from.schema !== "pg_catalog" || to.schema !== "pg_catalog") return false
  if (from.element !== undefined && to.element !== undefined) return isSameInside(from.element, to.element)
  return (texts.has(from.name) && texts.has(to.name)) || (from.name === "cidr" && to.name === "inet")
}

const cast = ({ arg, fn, method, type }: Cast, slots: Slots): Evaluate | undefined => {
  const from = typeOf(arg)
  const evaluate = evaluator(arg, slots)
  if (evaluate === undefined) return undefined
  switch (method) {
    case "relabel":
      return isSameInside(from, type) ? evaluate : undefined
    case "call": {
      const closure = fn &&
        closureOf({ fn, args: [from], result: type, collation: undefined, constants: [constantOf(arg)] })
      return closure && fn && (fn.strict ? strictCall(closure, [evaluate]) : looseCall(closure, [evaluate]))
    }
    case "text":
      return throughText(from, type, evaluate)
    default:
      return undefined
  }
}

/** A cast by output and input function. An input that isn't in output form is left to Postgres. */
const throughText = (from: SqlType, to: SqlType, evaluate: Evaluate): Evaluate | undefined => {
  const source = codecOf(from)
  const target = codecOf(to)
  if (source === undefined || target === undefined || baseTypeOf(to).oid !== to.oid) return undefined
  return (row) => {
    const value = evaluate(row)
    if (value === null) return null
    const text = source.encode(value)
    const result = target.decode(text)
    return target.encode(result) === text ? result : unsure()
  }
}

/** Values that are the same when they are equal, and of which a Set therefore knows its members. */
const simple = /^(int[248]|text|varchar|uuid|bool|oid|date|time|timestamp|timestamptz)$/

const membership = (
  comparison: ArrayComparison,
  elements: ReadonlyArray<Value>,
  slots: Slots
): Evaluate | undefined => {
  const { collation, fn, left, quantifier, right } = comparison
  const type = typeOf(left)
  const isEquality = quantifier === "ANY" && comparison.operator.name === "=" &&
    comparison.operator.schema === "pg_catalog"
  if (!isEquality || !simple.test(type.name) || type.schema !== "pg_catalog" || collation?.deterministic === false) {
    return undefined
  }
  const element = typeOf(right).element
  const evaluate = evaluator(left, slots)
  if (element?.oid !== type.oid || !fn.strict || evaluate === undefined) return undefined
  const members = new Set(elements)
  const otherwise = members.delete(null) ? null : false
  return (row) => {
    const value = evaluate(row)
    if (value === null) return elements.length === 0 ? false : null
    return members.has(value) || otherwise
  }
}

const arrayComparison = (comparison: ArrayComparison, slots: Slots): Evaluate | undefined => {
  const { collation, fn, left, quantifier, right } = comparison
  const list = constantOf(right)
  if (list !== null && typeof list === "object" && list._tag === "Array") {
    const known = membership(comparison, list.elements, slots)
    if (known !== undefined) return known
  }
  const element = typeOf(right).element
  const evaluates = all([left, right], slots)
  if (element === undefined || evaluates === undefined || !fn.strict) return undefined
  const constants = [constantOf(left), undefined]
  const closure = closureOf({ fn, args: [typeOf(left), element], result: typeOf(comparison), collation, constants })
  if (closure === undefined) return undefined
  const [value, array] = evaluates
  const decisive = quantifier === "ANY"
  return (row) => {
    const x = value!(row)
    const set = array!(row)
    if (set === null) return null
    if (typeof set !== "object" || set._tag !== "Array") return unsure()
    if (set.elements.length === 0) return !decisive
    if (x === null) return null
    let result: Value = !decisive
    for (const member of set.elements) {
      const verdict = member === null ? null : closure(x, member, null, null)
      if (verdict === decisive) return decisive
      if (verdict === null) result = null
    }
    return result
  }
}

const and = (evaluates: Evaluates): Evaluate => (row) => {
  let result: Value = true
  for (const evaluate of evaluates) {
    const value = evaluate(row)
    if (value === false) return false
    if (value === null) result = null
  }
  return result
}

const or = (evaluates: Evaluates): Evaluate => (row) => {
  let result: Value = false
  for (const evaluate of evaluates) {
    const value = evaluate(row)
    if (value === true) return true
    if (value === null) result = null
  }
  return result
}

const nullTest = ({ arg, negated }: NullTest, slots: Slots): Evaluate | undefined => {
  if (baseTypeOf(typeOf(arg)).kind === "c") return undefined
  if (arg._tag === "Column") {
    const slot = slots.of(arg.name, arg.type)
    return (row) => row.isNull(slot) !== negated
  }
  const evaluate = evaluator(arg, slots)
  return evaluate && ((row) => (evaluate(row) === null) !== negated)
}

const equalityOf = ({ args, collation, fn, operator }: Distinct): Closure | undefined =>
  fn.strict && operator.name === "="
    ? closureOf({ fn, args: args.map(typeOf), result: typeOf(args[0]), collation, constants: args.map(constantOf) })
    : undefined

const distinct = (expression: Distinct, slots: Slots): Evaluate | undefined => {
  const equal = equalityOf(expression)
  const evaluates = equal && all(expression.args, slots)
  if (equal === undefined || evaluates === undefined) return undefined
  const [left, right] = evaluates
  if (expression._tag === "Distinct") {
    return (row) => {
      const a = left!(row)
      const b = right!(row)
      return a === null || b === null ? a !== b : equal(a, b, null, null) === false
    }
  }
  return (row) => {
    const a = left!(row)
    const b = right!(row)
    return a !== null && b !== null && equal(a, b, null, null) === true ? null : a
  }
}

const caseOf = ({ otherwise, whens }: Case, slots: Slots): Evaluate | undefined => {
  const conditions = all(whens.map(({ condition }) => condition), slots)
  const results = all([...whens.map(({ result }) => result), otherwise], slots)
  if (conditions === undefined || results === undefined) return undefined
  return (row) => {
    const chosen = conditions.findIndex((condition) => condition(row) === true)
    return results.at(chosen)!(row)
  }
}

const choice = ({ args, collation, kind, type }: Choice, slots: Slots): Evaluate | undefined => {
  const evaluates = all(args, slots)
  if (evaluates === undefined) return undefined
  if (kind === "COALESCE") {
    return (row) => {
      for (const evaluate of evaluates) {
        const value = evaluate(row)
        if (value !== null) return value
      }
      return null
    }
  }
  const compare = codecOf(type)?.compare
  if (compare === undefined) return undefined
  const sign = kind === "GREATEST" ? 1 : -1
  return (row) => {
    let best: Value = null
    for (const evaluate of evaluates) {
      const value = evaluate(row)
      if (value !== null && (best === null || compare(value, best, collation) * sign > 0)) best = value
    }
    return best
  }
}

const arrayOf = (elements: ReadonlyArray<Expression>, slots: Slots): Evaluate | undefined => {
  const evaluates = all(elements, slots)
  if (evaluates === undefined) return undefined
  const empty = elements.length === 0
  const dimensions = { lengths: empty ? [] : [elements.length], lowerBounds: empty ? [] : [1] }
  return (row) => ({ _tag: "Array", elements: evaluates.map((evaluate) => evaluate(row)), ...dimensions })
}

const subscripted = ({ arg, subscripts }: Subscripted, slots: Slots): Evaluate | undefined => {
  const [subscript, ...others] = subscripts
  if (subscript?._tag !== "Index" || others.length > 0 || typeOf(arg).element === undefined) return undefined
  const evaluates = all([arg, subscript.at], slots)
  if (evaluates === undefined) return undefined
  const [array, at] = evaluates
  return (row) => {
    const value = array!(row)
    const index = at!(row)
    if (value === null || index === null) return null
    if (typeof value !== "object" || value._tag !== "Array" || typeof index !== "number") return unsure()
    if (value.lengths.length !== 1) return null
    return value.elements[index - value.lowerBounds[0]!] ?? null
  }
}

/** By the first pair that differs; NULL when a pair before that can't be compared. */
const rowComparison = (expression: RowComparison, slots: Slots): Evaluate | undefined => {
  const left = all(expression.left, slots)
  const right = all(expression.right, slots)
  const pairs = expression.left.map((arg, i) => ({ from: typeOf(arg), to: typeOf(expression.right[i]!) }))
  const compares = pairs.map(({ from, to }) => isSameInside(from, to) ? codecOf(from)?.compare : undefined)
  if (left === undefined || right === undefined || compares.includes(undefined)) return undefined
  const { collations, operator } = expression
  const last = left.length - 1
  return (row) => {
    for (let i = 0; i <= last; i++) {
      const a = left[i]!(row)
      const b = right[i]!(row)
      if (a === null || b === null) return null
      const order = compares[i]!(a, b, collations[i] ?? undefined)
      if (order !== 0) return operator.startsWith("<") ? order < 0 : order > 0
    }
    return operator.endsWith("=")
  }
}

/** The closure of an expression; `undefined` when only Postgres can evaluate it. */
export const evaluator = (expression: Expression, slots: Slots): Evaluate | undefined => {
  switch (expression._tag) {
    case "Column":
      return column(expression, slots)
    case "Constant":
      return constant(expression)
    case "Call":
      return call(expression, slots)
    case "Cast":
      return cast(expression, slots)
    case "ArrayComparison":
      return arrayComparison(expression, slots)
    case "And": {
      const evaluates = all(expression.args, slots)
      return evaluates && and(evaluates)
    }
    case "Or": {
      const evaluates = all(expression.args, slots)
      return evaluates && or(evaluates)
    }
    case "Not": {
      const evaluate = evaluator(expression.arg, slots)
      return evaluate && ((row) => {
        const value = evaluate(row)
        return value === null ? null : !value
      })
    }
    case "NullTest":
      return nullTest(expression, slots)
    case "BooleanTest": {
      const evaluate = evaluator(expression.arg, slots)
      const { negated, value } = expression
      return evaluate && ((row) => (evaluate(row) === value) !== negated)
    }
    case "Distinct":
    case "NullIf":
      return distinct(expression, slots)
    case "Case":
      return caseOf(expression, slots)
    case "Choice":
      return choice(expression, slots)
    case "ArrayOf":
      return expression.nested ? undefined : arrayOf(expression.elements, slots)
    case "Subscripted":
      return subscripted(expression, slots)
    case "RowComparison":
      return rowComparison(expression, slots)
    case "Collate":
      return evaluator(expression.arg, slots)
    // A matter of another table.
    case "Member":
    case "Opaque":
      return undefined
  }
}
