/**
 * What a router can find a clause by: terms on the values of single columns, of which a row must meet at least one to
 * satisfy the clause.
 */
import type { ArrayComparison, Call, Column, Constant, Expression } from "../domain/Expression.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"
import { type Bounds, boundsOf, prefixBounds } from "./Bounds.ts"
import { baseTypeOf, BOOL, typeOf } from "./ExpressionType.ts"
import { normalFormOf } from "./NormalForm.ts"
import { keyOf } from "./Row.ts"
import { UNSURE, type Value } from "./Value.ts"
import { codecOf } from "./values/Codecs.ts"

/** The key of NULL: no value has it, as the keys of values have no character beyond 255. */
export const NULL_KEY = "\u0100"

/** Between the keys of several columns: no key has it. */
export const SEPARATOR = "\u0101"

/** A column as the index reads it. */
export interface IndexColumn {
  readonly name: string
  readonly type: SqlType
}

/** The columns have these keys (`Row.key`, `NULL_KEY`), all of them. */
export interface Equal {
  readonly _tag: "Equal"
  /** Sorted by name. */
  readonly columns: ReadonlyArray<IndexColumn>
  readonly keys: ReadonlyArray<string>
}
/** The array column has an element with this text. */
export interface Element {
  readonly _tag: "Element"
  readonly column: IndexColumn
  readonly key: string
}
/** The column's value lies in an interval, which may be a little too large. */
export interface Within {
  readonly _tag: "Within"
  readonly column: IndexColumn
  readonly bounds: Bounds
}
export type Term = Equal | Element | Within

export interface Access {
  /**
   * A row that satisfies the clause meets one of these. `undefined` when nothing can be said: every row has to be
   * tested. None for a clause that no row satisfies.
   */
  readonly terms: ReadonlyArray<Term> | undefined
  /** A row that meets one of the terms satisfies the clause: there is nothing left to test. */
  readonly exact: boolean
}

/** More alternatives than this are not made out of several lists. */
const MAX_PRODUCT = 256

const unknown: Access = { terms: undefined, exact: false }
const never: Access = { terms: [], exact: true }

const equal = (column: Column, keys: ReadonlyArray<string>): Access => ({
  terms: [...new Set(keys)].map((key) => ({
    _tag: "Equal",
    columns: [{ name: column.name, type: column.type }],
    keys: [key]
  })),
  exact: true
})

/** The column behind conversions that leave its text as it is. */
export const plainColumn = (expression: Expression): Column | undefined => {
  if (expression._tag === "Column") return expression
  if (expression._tag === "Collate") return plainColumn(expression.arg)
  return expression._tag === "Cast" && expression.method === "relabel" ? plainColumn(expression.arg) : undefined
}

const integers = new Set(["int2", "int4", "int8"])
const strings = new Set(["text", "varchar", "name"])

/** Whether equal values of both types have the same key. */
export const shareKeys = (a: SqlType, b: SqlType): boolean => {
  const [left, right] = [baseTypeOf(a), baseTypeOf(b)]
  if (left.oid === right.oid) return true
  if (left.schema !== "pg_catalog" || right.schema !== "pg_catalog") return false
  return [integers, strings].some((family) => family.has(left.name) && family.has(right.name))
}

/** Whether the operator is Postgres's own of this name, under a collation that tells all texts apart. */
export const isBuiltin = ({ collation, operator }: Pick<Call, "operator" | "collation">, name: string): boolean =>
  operator?.schema === "pg_catalog" && operator.name === name && collation?.deterministic !== false

const keysOf = (column: Column, list: ArrayComparison["right"]): ReadonlyArray<string> | undefined => {
  if (list._tag !== "Constant") return undefined
  if (list.text === null) return []
  const element = typeOf(list).element
  const elements = arrayElements(list)
  if (element === undefined || elements === undefined || !shareKeys(column.type, element)) return undefined
  return elements.flatMap((text) => text === null ? [] : [keyOf(element, text)])
}

/** The texts of an array constant's elements. */
const arrayElements = ({ text, type }: Constant): ReadonlyArray<string | null> | undefined => {
  const element = type.element && codecOf(type.element)
  const array = decode(type, text)
  if (element === undefined || array === undefined || array === null) return undefined
  if (typeof array !== "object" || array._tag !== "Array") return undefined
  return array.elements.map((value) => value === null ? null : element.encode(value))
}

const decode = (type: SqlType, text: string | null): Value | undefined => {
  try {
    return text === null ? null : codecOf(type)?.decode(text)
  } catch (cause) {
    if (cause === UNSURE) return undefined
    throw cause
  }
}

const isIndexable = (column: Column): boolean =>
  normalFormOf(column.type) !== undefined && column.collation?.deterministic !== false

const equality = (left: Expression, right: Expression): Access => {
  const column = plainColumn(left)
  if (column === undefined || right._tag !== "Constant" || !isIndexable(column)) return unknown
  if (right.text === null) return never
  if (!shareKeys(column.type, right.type)) return unknown
  return equal(column, [keyOf(right.type, right.text)])
}

const elementTerms = (array: Expression, list: Expression, every: boolean): Access => {
  const column = plainColumn(array)
  if (column === undefined || list._tag !== "Constant") return unknown
  if (list.text === null) return never
  const type = baseTypeOf(column.type)
  const elements = arrayElements(list)
  if (type.element === undefined || normalFormOf(type.element) === undefined || elements === undefined) return unknown
  // A nondeterministic collation calls different elements equal.
  if (column.collation?.deterministic === false) return unknown
  const keys = elements.map((text) => text === null ? undefined : keyOf(type.element!, text))
  // NULL is contained in nothing.
  if (every && keys.includes(undefined)) return never
  const present = [...new Set(keys.filter((key) => key !== undefined))]
  const term = (key: string): Term => ({ _tag: "Element", column: { name: column.name, type: column.type }, key })
  if (!every) return { terms: present.map(term), exact: true }
  return present.length === 0 ? unknown : { terms: [term(present[0]!)], exact: present.length === 1 }
}

const within = (arg: Expression, bounds: Bounds | undefined): Access => {
  const column = boundsColumn(arg)
  return column === undefined || bounds === undefined
    ? unknown
    : { terms: [{ _tag: "Within", column: { name: column.name, type: column.type }, bounds }], exact: false }
}

const numbers = new Set(["int2", "int4", "int8", "numeric", "float8"])

/** The column behind conversions that keep the order of its values. */
const boundsColumn = (expression: Expression): Column | undefined => {
  const column = plainColumn(expression)
  if (column !== undefined) return column
  if (expression._tag !== "Cast" || expression.method !== "call") return undefined
  const [from, to] = [baseTypeOf(typeOf(expression.arg)), baseTypeOf(expression.type)]
  return numbers.has(from.name) && numbers.has(to.name) && to.name !== "int2" && to.name !== "int4" &&
      to.name !== "int8"
    ? boundsColumn(expression.arg)
    : undefined
}

const flipped: Readonly<Record<string, string>> = {
  "<": ">",
  "<=": ">=",
  ">": "<",
  ">=": "<=",
  "=": "=",
  "@>": "<@",
  "<@": "@>"
}

const comparison = (call: Call, operator: string, left: Expression, right: Expression): Access => {
  switch (operator) {
    case "=":
      return equality(left, right)
    case "<":
    case "<=":
    case ">":
    case ">=": {
      const column = boundsColumn(left)
      if (column === undefined || right._tag !== "Constant") return unknown
      if (right.text === null) return never
      return within(left, boundsOf(operator, column, right, decode(right.type, right.text), call.collation))
    }
    case "@>":
      return elementTerms(left, right, true)
    case "&&":
      return elementTerms(left, right, false)
    case "~~": {
      const column = plainColumn(left)
      if (column === undefined || right._tag !== "Constant" || right.text === null) return unknown
      return within(left, prefixBounds(column, right.text))
    }
    default:
      return unknown
  }
}

const call = (expression: Call): Access => {
  const { args: [left, right], fn, operator } = expression
  if (operator === undefined || left === undefined || right === undefined || !fn.strict) return unknown
  if (!isBuiltin(expression, operator.name)) return unknown
  if (left._tag !== "Constant") return comparison(expression, operator.name, left, right)
  const reverse = operator.name === "&&" ? "&&" : flipped[operator.name]
  return reverse === undefined || right._tag === "Constant" ? unknown : comparison(expression, reverse, right, left)
}

const arrayComparison = (expression: ArrayComparison): Access => {
  const { left, quantifier, right } = expression
  if (quantifier !== "ANY" || !isBuiltin(expression, "=")) return unknown
  if (left._tag === "Constant") {
    const column = plainColumn(right)
    const element = column && baseTypeOf(column.type).element
    if (column === undefined || element === undefined || normalFormOf(element) === undefined) return unknown
    if (left.text === null) return never
    if (!shareKeys(element, left.type)) return unknown
    const key = keyOf(left.type, left.text)
    return { terms: [{ _tag: "Element", column: { name: column.name, type: column.type }, key }], exact: true }
  }
  const column = plainColumn(left)
  if (column === undefined || !isIndexable(column)) return unknown
  const keys = keysOf(column, right)
  return keys === undefined ? unknown : equal(column, keys)
}

/** A boolean column that has this value. */
const boolean = (expression: Expression, value: boolean): Access => {
  const column = plainColumn(expression)
  return column !== undefined && baseTypeOf(column.type).oid === BOOL.oid ? equal(column, [value ? "t" : "f"]) : unknown
}

// --- Logic ---

const or = (args: ReadonlyArray<Access>): Access => {
  const terms: Array<Term> = []
  for (const arg of args) {
    if (arg.terms === undefined) return unknown
    for (const term of arg.terms) terms.push(term)
  }
  return { terms, exact: args.every(({ exact }) => exact) }
}

/** Both terms at once; `undefined` when no row meets both. */
const merge = (a: Equal, b: Equal): Equal | undefined => {
  const keys = new Map(a.columns.map((column, i) => [column.name, { column, key: a.keys[i]! }]))
  for (const [i, column] of b.columns.entries()) {
    const key = b.keys[i]!
    const known = keys.get(column.name)
    if (known !== undefined && known.key !== key) return undefined
    keys.set(column.name, { column, key })
  }
  const sorted = [...keys.values()].sort((x, y) => x.column.name < y.column.name ? -1 : 1)
  return { _tag: "Equal", columns: sorted.map(({ column }) => column), keys: sorted.map(({ key }) => key) }
}

const isEquals = (access: Access): access is { readonly terms: ReadonlyArray<Equal>; readonly exact: boolean } =>
  access.terms !== undefined && access.terms.every((term) => term._tag === "Equal")

/** How few rows a term is thought to let through: the higher the fewer. */
const selectivity = (term: Term): number => {
  if (term._tag === "Equal") return term.columns.every(({ type }) => type.oid === BOOL.oid) ? 1 : 4
  if (term._tag === "Element") return 3
  return term.bounds.low !== undefined && term.bounds.high !== undefined ? 2 : 1
}

const worth = ({ terms = [] }: Access): number => Math.min(...terms.map(selectivity), 5) - terms.length / 1e6

const intersectBounds = (args: ReadonlyArray<Access>): Array<Access> => {
  const byColumn = new Map<string, Within>()
  const others: Array<Access> = []
  for (const arg of args) {
    const [term, ...more] = arg.terms ?? []
    if (term?._tag !== "Within" || more.length > 0) {
      others.push(arg)
      continue
    }
    const known = byColumn.get(term.column.name)
    const bounds = known === undefined ? term.bounds : known.bounds.and(term.bounds)
    byColumn.set(term.column.name, { ...term, bounds })
  }
  return [...others, ...[...byColumn.values()].map((term): Access => ({ terms: [term], exact: false }))]
}

const and = (args: ReadonlyArray<Access>): Access => {
  if (args.some(({ terms }) => terms?.length === 0)) return never
  const useful = intersectBounds(args.filter(({ terms }) => terms !== undefined))
  const equals = useful.filter(isEquals).sort((a, b) => a.terms.length - b.terms.length)
  let merged: ReadonlyArray<Equal> | undefined
  let taken = 0
  for (const { terms } of equals) {
    if (merged !== undefined && merged.length * terms.length > MAX_PRODUCT) continue
    const before: ReadonlyArray<Equal> | undefined = merged
    merged = before === undefined ? terms : before.flatMap((a) => terms.flatMap((b) => merge(a, b) ?? []))
    taken += 1
  }
  const all = args.every(({ exact, terms }) => exact && terms !== undefined)
  const together: Array<Access> = merged === undefined ? [] : [{ terms: merged, exact: all && taken === args.length }]
  const candidates = [...together, ...useful.filter((access) => !isEquals(access))]
  const [first, ...rest] = candidates
  if (first === undefined) return unknown
  const best = rest.reduce((a, b) => worth(b) > worth(a) ? b : a, first)
  return best === together[0] ? best : { terms: best.terms, exact: best.exact && args.length === 1 }
}

/** What is known of the rows for which the expression is not true but false. */
const negated = (expression: Expression): Access => {
  switch (expression._tag) {
    case "Not":
      return accessOf(expression.arg)
    case "And":
      return or(expression.args.map(negated))
    case "Or":
      return and(expression.args.map(negated))
    default:
      return boolean(expression, false)
  }
}

/** What a clause can be found by. */
export const accessOf = (expression: Expression): Access => {
  switch (expression._tag) {
    case "And":
      return and(expression.args.map(accessOf))
    case "Or":
      return or(expression.args.map(accessOf))
    case "Not":
      return negated(expression.arg)
    case "Call":
      return call(expression)
    case "ArrayComparison":
      return arrayComparison(expression)
    case "Column":
      return boolean(expression, true)
    case "Constant":
      return expression.text === "t" ? unknown : never
    case "NullTest": {
      const column = plainColumn(expression.arg)
      return column === undefined || expression.negated || baseTypeOf(column.type).kind === "c"
        ? unknown
        : equal(column, [NULL_KEY])
    }
    case "BooleanTest":
      if (expression.negated) return unknown
      if (expression.value !== null) return boolean(expression.arg, expression.value)
      return plainColumn(expression.arg) === undefined ? unknown : equal(plainColumn(expression.arg)!, [NULL_KEY])
    default:
      return unknown
  }
}
