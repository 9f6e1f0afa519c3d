/** Families of functions over one order, which C names alike: `date_eq`, `date_ne`, `date_lt` … `date_cmp`. */
import type { Builtins, Closure, Value } from "../Value.ts"

/** The same closures wherever their functions are called. */
export const everywhere = (closures: Readonly<Record<string, Closure>>): Builtins =>
  Object.fromEntries(Object.entries(closures).map(([name, closure]) => [name, () => closure]))

/** Values whose `<` is their order, whatever kind of number they are, and each of which has one form. */
export const primitiveComparisons = (prefix: string, suffix = ""): Builtins =>
  everywhere({
    [`${prefix}_eq${suffix}`]: (a, b) => a === b,
    [`${prefix}_ne${suffix}`]: (a, b) => a !== b,
    [`${prefix}_lt${suffix}`]: (a, b) => (a as number) < (b as number),
    [`${prefix}_le${suffix}`]: (a, b) => (a as number) <= (b as number),
    [`${prefix}_gt${suffix}`]: (a, b) => (a as number) > (b as number),
    [`${prefix}_ge${suffix}`]: (a, b) => (a as number) >= (b as number),
    [`${prefix}_cmp${suffix}`]: (a, b) => (a as number) < (b as number) ? -1 : a === b ? 0 : 1
  })

/** By a function that says which of two values is first, and may be unsure. */
export const comparisons = (prefix: string, compare: (a: Value, b: Value) => number, suffix = ""): Builtins =>
  everywhere({
    [`${prefix}_eq${suffix}`]: (a, b) => compare(a, b) === 0,
    [`${prefix}_ne${suffix}`]: (a, b) => compare(a, b) !== 0,
    [`${prefix}_lt${suffix}`]: (a, b) => compare(a, b) < 0,
    [`${prefix}_le${suffix}`]: (a, b) => compare(a, b) <= 0,
    [`${prefix}_gt${suffix}`]: (a, b) => compare(a, b) > 0,
    [`${prefix}_ge${suffix}`]: (a, b) => compare(a, b) >= 0
  })

/** The same with `_cmp`, which is -1, 0 or 1. */
export const threeWay = (prefix: string, compare: (a: Value, b: Value) => number, suffix = ""): Builtins => ({
  ...comparisons(prefix, compare, suffix),
  ...everywhere({ [`${prefix}_cmp${suffix}`]: (a, b) => Math.sign(compare(a, b)) })
})

/** `_larger` and `_smaller`; of equal ones the second. */
export const extremes = (prefix: string, compare: (a: Value, b: Value) => number): Builtins =>
  everywhere({
    [`${prefix}_larger`]: (a, b) => compare(a, b) > 0 ? a : b,
    [`${prefix}_smaller`]: (a, b) => compare(a, b) < 0 ? a : b
  })
