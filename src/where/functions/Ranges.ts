/** Ranges and multiranges of the types that Postgres comes with. */
import type { SqlType } from "../../domain/SqlCatalog.ts"
import { type Builtin, type Builtins, type Closure, type Range, unsure, type Value } from "../Value.ts"
import { checkedDate } from "../values/Calendar.ts"
import { codecOf } from "../values/Codecs.ts"
import {
  compareLowers,
  compareLowerToUpper,
  compareMultiranges,
  compareRanges,
  compareUppers,
  EMPTY,
  type Order,
  rangesOf
} from "../values/Range.ts"

/** How the bounds of a range or multirange are ordered, when we know. */
const orderOf = (type: SqlType | undefined): Order | undefined => {
  if (type?.base !== undefined) return orderOf(type.base)
  if (type?.subtype === undefined || codecOf(type) === undefined) return undefined
  const compare = codecOf(type.subtype)?.compare
  return compare && ((a, b) => compare(a, b, undefined))
}

/** A function of ranges, given the order of their bounds; the type is that of the argument at `place`. */
const ordered = (place: 0 | 1, make: (order: Order) => Closure): Builtin => ({ args }) => {
  const order = orderOf(args[place])
  return order && make(order)
}

/**
 * Postgres 17 and later replace an element's test against a constant range that is empty, or has no bounds, by false or
 * true, NULL elements included: only Postgres knows whether it does.
 */
const unlessTrivial = (place: 0 | 1, builtin: Builtin): Builtin => (site) => {
  const range = site.constants[place] as Range | null | undefined
  const trivial = range !== undefined && range !== null &&
    (range.empty || (range.lower === null && range.upper === null))
  return trivial ? undefined : builtin(site)
}

/** Of the range types themselves, for functions that compare nothing. */
const known = (closure: Closure): Builtin => ordered(0, () => closure)

// --- Relations of two ranges ---

type Relation = (a: Range, b: Range, order: Order) => boolean

const contains: Relation = (a, b, order) =>
  b.empty || (!a.empty && compareLowers(a, b, order) <= 0 && compareUppers(a, b, order) >= 0)

const overlaps: Relation = (a, b, order) =>
  !a.empty && !b.empty && compareLowerToUpper(a, b, order) <= 0 && compareLowerToUpper(b, a, order) <= 0

const isBefore: Relation = (a, b, order) => !a.empty && !b.empty && compareLowerToUpper(b, a, order) > 0

const isOverleft: Relation = (a, b, order) => !a.empty && !b.empty && compareUppers(a, b, order) <= 0

const isOverright: Relation = (a, b, order) => !a.empty && !b.empty && compareLowers(a, b, order) >= 0

/** One ends where the other begins, and one of them includes that value. Discrete ranges always exclude their end. */
const meets: Relation = (a, b, order) =>
  a.upper !== null && b.lower !== null && a.upperInclusive !== b.lowerInclusive && order(a.upper, b.lower) === 0

const isAdjacent: Relation = (a, b, order) => !a.empty && !b.empty && (meets(a, b, order) || meets(b, a, order))

const containsElement = (range: Range, element: Value, order: Order): boolean => {
  if (range.empty) return false
  if (range.lower !== null) {
    const first = order(range.lower, element)
    if (first > 0 || (first === 0 && !range.lowerInclusive)) return false
  }
  if (range.upper === null) return true
  const last = order(element, range.upper)
  return last < 0 || (last === 0 && range.upperInclusive)
}

const relation = (holds: Relation): Builtin => ordered(0, (order) => (a, b) => holds(a as Range, b as Range, order))

const inverse = (holds: Relation): Builtin => ordered(0, (order) => (a, b) => holds(b as Range, a as Range, order))

/** `_eq`, `_lt` and the others. */
const comparisons = (prefix: string, compare: (a: Value, b: Value, order: Order) => number): Builtins => ({
  [`${prefix}_eq`]: ordered(0, (order) => (a, b) => compare(a, b, order) === 0),
  [`${prefix}_ne`]: ordered(0, (order) => (a, b) => compare(a, b, order) !== 0),
  [`${prefix}_lt`]: ordered(0, (order) => (a, b) => compare(a, b, order) < 0),
  [`${prefix}_le`]: ordered(0, (order) => (a, b) => compare(a, b, order) <= 0),
  [`${prefix}_gt`]: ordered(0, (order) => (a, b) => compare(a, b, order) > 0),
  [`${prefix}_ge`]: ordered(0, (order) => (a, b) => compare(a, b, order) >= 0),
  [`${prefix}_cmp`]: ordered(0, (order) => (a, b) => Math.sign(compare(a, b, order)))
})

// --- New ranges ---

/** The next value of a discrete type; `undefined` when the type isn't discrete. */
const SUCCESSORS: Readonly<Record<string, (value: Value) => Value>> = {
  int4range: (value) => (value as number) < 2_147_483_647 ? (value as number) + 1 : unsure(),
  int8range: (value) => (value as bigint) < 2n ** 63n - 1n ? (value as bigint) + 1n : unsure(),
  daterange: (value) => Number.isFinite(value as number) ? checkedDate((value as number) + 1) : value
}

/** What Postgres makes of bounds: an error, the empty range, or the one form that a discrete range has. */
const makeRange = (range: Range, name: string, order: Order): Range => {
  const checked = withBounds(range, order)
  const successor = SUCCESSORS[name]
  if (checked.empty || successor === undefined) return checked
  return withBounds(closedOpen(checked, successor), order)
}

const withBounds = (range: Range, order: Order): Range => {
  const { lower, upper } = range
  const lowerInclusive = lower !== null && range.lowerInclusive
  const upperInclusive = upper !== null && range.upperInclusive
  if (lower !== null && upper !== null) {
    const first = order(lower, upper)
    if (first > 0) unsure()
    if (first === 0 && !(lowerInclusive && upperInclusive)) return EMPTY
  }
  return { _tag: "Range", empty: false, lower, upper, lowerInclusive, upperInclusive }
}

/** Infinite dates stay as they are, as they have no next one. */
const closedOpen = (range: Range, successor: (value: Value) => Value): Range => {
  const moveLower = range.lower !== null && !range.lowerInclusive && Number.isFinite(Number(range.lower))
  const moveUpper = range.upper !== null && range.upperInclusive && Number.isFinite(Number(range.upper))
  return {
    ...range,
    lower: moveLower ? successor(range.lower) : range.lower,
    lowerInclusive: range.lowerInclusive || moveLower,
    upper: moveUpper ? successor(range.upper) : range.upper,
    upperInclusive: range.upperInclusive && !moveUpper
  }
}

const BOUNDS = new Set(["[]", "[)", "(]", "()"])

/** Of two arguments, or of three, the last of which says which bounds are included. */
const constructor: Builtin = ({ args, result }) => {
  const order = orderOf(result)
  if (order === undefined || result.schema !== "pg_catalog") return undefined
  return (lower, upper, third) => {
    const flags = args.length === 2 ? "[)" : third
    if (!BOUNDS.has(flags as string)) return unsure()
    const lowerInclusive = (flags as string).startsWith("[")
    const upperInclusive = (flags as string).endsWith("]")
    return makeRange({ _tag: "Range", empty: false, lower, upper, lowerInclusive, upperInclusive }, result.name, order)
  }
}

/** From the lower bound of one to the upper bound of one. */
const between = (lower: Range, upper: Range): Range => ({
  ...lower,
  upper: upper.upper,
  upperInclusive: upper.upperInclusive
})

// Equal bounds may be written in two ways (1 and 1.0). The one that is kept is the one that Postgres keeps.

const intersect = (a: Range, b: Range, order: Order): Range =>
  overlaps(a, b, order)
    ? between(compareLowers(a, b, order) >= 0 ? a : b, compareUppers(a, b, order) <= 0 ? a : b)
    : EMPTY

const merge = (a: Range, b: Range, order: Order): Range => {
  if (a.empty || b.empty) return a.empty ? b : a
  return between(compareLowers(a, b, order) < 0 ? a : b, compareUppers(a, b, order) > 0 ? a : b)
}

// --- Multiranges ---

/** Ranges of a multirange neither touch nor overlap: what it contains, one of them does. */
const someContains = (ranges: ReadonlyArray<Range>, range: Range, order: Order): boolean => {
  if (range.empty) return true
  for (const one of ranges) if (contains(one, range, order)) return true
  return false
}

const someOverlaps = (ranges: ReadonlyArray<Range>, range: Range, order: Order): boolean => {
  for (const one of ranges) if (overlaps(one, range, order)) return true
  return false
}

const someContainsElement = (ranges: ReadonlyArray<Range>, element: Value, order: Order): boolean => {
  for (const one of ranges) if (containsElement(one, element, order)) return true
  return false
}

const allContained = (a: ReadonlyArray<Range>, b: ReadonlyArray<Range>, order: Order): boolean => {
  for (const one of b) if (!someContains(a, one, order)) return false
  return true
}

const anyOverlaps = (a: ReadonlyArray<Range>, b: ReadonlyArray<Range>, order: Order): boolean => {
  for (const one of b) if (someOverlaps(a, one, order)) return true
  return false
}

const multiranges: Builtins = {
  ...comparisons("multirange", compareMultiranges),
  multirange_empty: known((a) => rangesOf(a).length === 0),
  multirange_contains_elem: ordered(0, (order) => (a, b) => someContainsElement(rangesOf(a), b, order)),
  elem_contained_by_multirange: ordered(1, (order) => (a, b) => someContainsElement(rangesOf(b), a, order)),
  multirange_contains_range: ordered(0, (order) => (a, b) => someContains(rangesOf(a), b as Range, order)),
  range_contained_by_multirange: ordered(0, (order) => (a, b) => someContains(rangesOf(b), a as Range, order)),
  range_contains_multirange: ordered(0, (order) => (a, b) => allContained([a as Range], rangesOf(b), order)),
  multirange_contained_by_range: ordered(0, (order) => (a, b) => allContained([b as Range], rangesOf(a), order)),
  multirange_contains_multirange: ordered(0, (order) => (a, b) => allContained(rangesOf(a), rangesOf(b), order)),
  multirange_contained_by_multirange: ordered(0, (order) => (a, b) => allContained(rangesOf(b), rangesOf(a), order)),
  multirange_overlaps_range: ordered(0, (order) => (a, b) => someOverlaps(rangesOf(a), b as Range, order)),
  range_overlaps_multirange: ordered(0, (order) => (a, b) => someOverlaps(rangesOf(b), a as Range, order)),
  multirange_overlaps_multirange: ordered(0, (order) => (a, b) => anyOverlaps(rangesOf(a), rangesOf(b), order)),
  multirange_lower: known((a) => rangesOf(a)[0]?.lower ?? null),
  multirange_upper: known((a) => rangesOf(a).at(-1)?.upper ?? null),
  multirange_lower_inc: known((a) => rangesOf(a)[0]?.lowerInclusive ?? false),
  multirange_upper_inc: known((a) => rangesOf(a).at(-1)?.upperInclusive ?? false),
  multirange_lower_inf: known((a) => rangesOf(a)[0]?.lower === null),
  multirange_upper_inf: known((a) => rangesOf(a).at(-1)?.upper === null)
}

export const rangeFunctions: Builtins = {
  ...multiranges,
  ...comparisons("range", (a, b, order) => compareRanges(a as Range, b as Range, order)),
  range_contains: relation(contains),
  range_contained_by: inverse(contains),
  range_overlaps: relation(overlaps),
  range_adjacent: relation(isAdjacent),
  range_before: relation(isBefore),
  range_after: inverse(isBefore),
  range_overleft: relation(isOverleft),
  range_overright: relation(isOverright),
  range_contains_elem: unlessTrivial(0, ordered(0, (order) => (a, b) => containsElement(a as Range, b, order))),
  elem_contained_by_range: unlessTrivial(1, ordered(1, (order) => (a, b) => containsElement(b as Range, a, order))),
  range_lower: known((a) => (a as Range).lower),
  range_upper: known((a) => (a as Range).upper),
  range_empty: known((a) => (a as Range).empty),
  range_lower_inc: known((a) => (a as Range).lowerInclusive),
  range_upper_inc: known((a) => (a as Range).upperInclusive),
  range_lower_inf: known((a) => !(a as Range).empty && (a as Range).lower === null),
  range_upper_inf: known((a) => !(a as Range).empty && (a as Range).upper === null),
  range_intersect: ordered(0, (order) => (a, b) => intersect(a as Range, b as Range, order)),
  range_merge: ordered(0, (order) => (a, b) => merge(a as Range, b as Range, order)),
  range_constructor2: constructor,
  range_constructor3: constructor
}
