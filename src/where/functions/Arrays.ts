/**
 * Functions of arrays. Elements are compared as the default operators of their type do, under the collation of the call.
 */
import type { Collation, SqlType } from "../../domain/SqlCatalog.ts"
import { type Builtin, type Builtins, type CallSite, type PgArray, unsure, type Value } from "../Value.ts"
import { array, compareArrays, EMPTY, equalArrays, type Equality, type Order } from "../values/Arrays.ts"
import { codecOf } from "../values/Codecs.ts"
import { equalTexts } from "../values/Texts.ts"
import { bounded } from "./Characters.ts"
import { at, exact } from "./define.ts"

/** The element type of the first argument that is an array. */
const elementOf = (site: CallSite): SqlType | undefined => {
  for (let type of site.args) {
    while (type.base !== undefined) type = type.base
    if (type.element !== undefined) return type.element
  }
  return undefined
}

/** Texts that differ may be equal in collations that aren't deterministic. */
const equality = (site: CallSite): Equality | undefined => {
  const element = elementOf(site)
  const codec = element && codecOf(element)
  // Without an order there is no default equality either.
  if (codec?.compare === undefined || element === undefined) return undefined
  if (element.collation === 0 || site.collation?.deterministic === true) return codec.equal
  const { collation } = site
  if (collation === undefined) return undefined
  return (a, b) => codec.equal(a, b) || equalTexts(String(a), String(b), collation)
}

const order = (site: CallSite): Order | undefined => {
  const element = elementOf(site)
  const compare = element && codecOf(element)?.compare
  const collation: Collation | undefined = site.collation
  return compare && ((a, b) => compare(a, b, collation))
}

const byEquality = <A extends Value, B extends Value, C extends Value>(
  f: (equal: Equality) => (a: A, b: B, c: C) => Value
): Builtin =>
  at((site) => {
    const equal = equality(site)
    return equal && f(equal)
  })

const byOrder = (holds: (order: number) => boolean): Builtin =>
  at((site) => {
    const compare = order(site)
    return compare && ((a: PgArray, b: PgArray) => holds(compareArrays(a, b, compare)))
  })

// --- Containment ---

/** Pairs of elements that are compared at most; more are left to Postgres. */
const within = (a: PgArray, b: PgArray): void => {
  bounded(a.elements.length * b.elements.length / 10)
}

/** NULL is equal to nothing. */
const includes = (elements: ReadonlyArray<Value>, wanted: Value, equal: Equality): boolean => {
  for (const item of elements) if (item !== null && equal(item, wanted)) return true
  return false
}

const contains = (a: PgArray, b: PgArray, equal: Equality): boolean => {
  within(a, b)
  for (const item of b.elements) if (item === null || !includes(a.elements, item, equal)) return false
  return true
}

const overlaps = (a: PgArray, b: PgArray, equal: Equality): boolean => {
  within(a, b)
  for (const item of b.elements) if (item !== null && includes(a.elements, item, equal)) return true
  return false
}

// --- Shape ---

/** Dimensions count from 1. */
const lengthOf = (a: PgArray, dimension: number): number | null => a.lengths[dimension - 1] ?? null
const lowerOf = (a: PgArray, dimension: number): number | null => a.lowerBounds[dimension - 1] ?? null
const upperOf = (a: PgArray, dimension: number): number | null => {
  const lower = lowerOf(a, dimension)
  return lower === null ? null : lower + a.lengths[dimension - 1]! - 1
}

const dimensions = (a: PgArray): string | null =>
  a.lengths.length === 0
    ? null
    : a.lengths.map((_, i) => `[${a.lowerBounds[i]!}:${upperOf(a, i + 1)!}]`).join("")

// --- New arrays ---

/** The elements of an array of one dimension; that of others is an error. */
const flat = (a: PgArray | null): PgArray => a === null ? EMPTY : a.lengths.length <= 1 ? a : unsure()

const append = (a: PgArray | null, item: Value): PgArray => {
  const { elements, lowerBounds } = flat(a)
  return array([...elements, item], [elements.length + 1], lowerBounds.length === 0 ? [1] : lowerBounds)
}

/** The lower bound stays: the elements move. */
const prepend = (item: Value, a: PgArray | null): PgArray => {
  const { elements, lowerBounds } = flat(a)
  return array([item, ...elements], [elements.length + 1], lowerBounds.length === 0 ? [1] : lowerBounds)
}

/** Whether inner dimensions agree, `a`'s from `from` on with the last ones of `b`. */
const agree = (a: PgArray, from: number, b: PgArray): boolean => {
  const shift = b.lengths.length - a.lengths.length
  for (let i = from; i < a.lengths.length; i++) {
    if (a.lengths[i] !== b.lengths[i + shift] || a.lowerBounds[i] !== b.lowerBounds[i + shift]) return false
  }
  return true
}

/** With the outermost dimension of `like` made longer. */
const joined = (a: PgArray, b: PgArray, like: PgArray, more: number): PgArray =>
  array([...a.elements, ...b.elements], [like.lengths[0]! + more, ...like.lengths.slice(1)], like.lowerBounds)

/** Arrays of as many dimensions one after the other, or one with fewer as an element of the other. */
const concatenate = (a: PgArray | null, b: PgArray | null): PgArray | null => {
  if (a === null || b === null) return a ?? b
  if (a.lengths.length === 0) return b
  if (b.lengths.length === 0) return a
  switch (a.lengths.length - b.lengths.length) {
    case 0:
      return agree(a, 1, b) ? joined(a, b, a, b.lengths[0]!) : unsure()
    case -1:
      return agree(a, 0, b) ? joined(a, b, b, 1) : unsure()
    case 1:
      return agree(b, 0, a) ? joined(a, b, a, 1) : unsure()
    default:
      return unsure()
  }
}

/** NULL is the same as NULL here. */
const identical = (a: Value, b: Value, equal: Equality): boolean => a === null || b === null ? a === b : equal(a, b)

const remove = (a: PgArray | null, item: Value, equal: Equality): PgArray | null => {
  if (a === null) return null
  const kept = flat(a).elements.filter((other) => !identical(other, item, equal))
  if (kept.length === a.elements.length) return a
  return kept.length === 0 ? EMPTY : array(kept, [kept.length], a.lowerBounds)
}

const replace = (a: PgArray | null, from: Value, to: Value, equal: Equality): PgArray | null =>
  a && array(a.elements.map((item) => identical(item, from, equal) ? to : item), a.lengths, a.lowerBounds)

/** Without the last `count` elements of the outermost dimension. As a slice, it counts from 1. */
const trim = (a: PgArray, count: number): PgArray => {
  const length = a.lengths[0] ?? 0
  if (count < 0 || count > length) return unsure()
  if (count === length) return EMPTY
  const kept = a.elements.slice(0, a.elements.length / length * (length - count))
  return array(kept, [length - count, ...a.lengths.slice(1)], a.lengths.map(() => 1))
}

/** The subscript of the first such element. */
const position = (a: PgArray | null, item: Value, equal: Equality): number | null => {
  if (a === null) return null
  const found = flat(a).elements.findIndex((other) => identical(other, item, equal))
  return found < 0 ? null : found + a.lowerBounds[0]!
}

export const arrayFunctions: Builtins = {
  array_eq: byEquality((equal) => (a: PgArray, b: PgArray) => equalArrays(a, b, equal)),
  array_ne: byEquality((equal) => (a: PgArray, b: PgArray) => !equalArrays(a, b, equal)),
  array_lt: byOrder((order) => order < 0),
  array_le: byOrder((order) => order <= 0),
  array_gt: byOrder((order) => order > 0),
  array_ge: byOrder((order) => order >= 0),
  arraycontains: byEquality((equal) => (a: PgArray, b: PgArray) => contains(a, b, equal)),
  arraycontained: byEquality((equal) => (a: PgArray, b: PgArray) => contains(b, a, equal)),
  arrayoverlap: byEquality((equal) => (a: PgArray, b: PgArray) => overlaps(a, b, equal)),
  array_length: exact(lengthOf),
  array_lower: exact(lowerOf),
  array_upper: exact(upperOf),
  array_ndims: exact((a: PgArray) => a.lengths.length === 0 ? null : a.lengths.length),
  array_cardinality: exact((a: PgArray) => a.elements.length),
  array_dims: exact(dimensions),
  array_append: exact(append),
  array_prepend: exact(prepend),
  array_cat: exact(concatenate),
  array_remove: byEquality((equal) => (a: PgArray | null, item: Value) => remove(a, item, equal)),
  array_replace: byEquality((equal) => (a: PgArray | null, from: Value, to: Value) => replace(a, from, to, equal)),
  array_position: byEquality((equal) => (a: PgArray | null, item: Value) => position(a, item, equal)),
  trim_array: exact(trim)
}
