/**
 * `=`, `<>`, `<`, `<=`, `>`, `>=` of numbers, bools, enums and of types kept as ASCII. Texts are in TextComparisons.ts.
 */
import type { Builtin, Builtins, Numeric, Value } from "../Value.ts"
import { compare, equal } from "../values/Numeric.ts"
import { compareChars, compareLabels, placesOf } from "../values/Texts.ts"
import { at, exact } from "./define.ts"

/** By the end of the C function's name. */
interface Comparisons {
  readonly eq: Builtin
  readonly ne: Builtin
  readonly lt: Builtin
  readonly le: Builtin
  readonly gt: Builtin
  readonly ge: Builtin
}

const named = (prefix: string, by: Comparisons): Builtins => ({
  [`${prefix}eq`]: by.eq,
  [`${prefix}ne`]: by.ne,
  [`${prefix}lt`]: by.lt,
  [`${prefix}le`]: by.le,
  [`${prefix}gt`]: by.gt,
  [`${prefix}ge`]: by.ge
})

/** Of one JavaScript type, by its own operators. */
const native: Comparisons = {
  eq: exact((a: Value, b: Value) => a === b),
  ne: exact((a: Value, b: Value) => a !== b),
  lt: exact((a: number, b: number) => a < b),
  le: exact((a: number, b: number) => a <= b),
  gt: exact((a: number, b: number) => a > b),
  ge: exact((a: number, b: number) => a >= b)
}

/** Between int8 and a shorter integer: JavaScript compares a bigint and a number exactly, but for `===`. */
const mixed: Comparisons = {
  ...native,
  eq: exact((a: number, b: number) => a <= b && a >= b),
  ne: exact((a: number, b: number) => a < b || a > b)
}

/** NaN is equal to itself and greater than everything else. */
const floats: Comparisons = {
  eq: exact((a: number, b: number) => a === b || (a !== a && b !== b)),
  ne: exact((a: number, b: number) => a !== b && (a === a || b === b)),
  lt: exact((a: number, b: number) => a < b || (b !== b && a === a)),
  le: exact((a: number, b: number) => a <= b || b !== b),
  gt: exact((a: number, b: number) => a > b || (a !== a && b === b)),
  ge: exact((a: number, b: number) => a >= b || a !== a)
}

const numerics: Comparisons = {
  eq: exact((a: Numeric, b: Numeric) => equal(a, b)),
  ne: exact((a: Numeric, b: Numeric) => !equal(a, b)),
  lt: exact((a: Numeric, b: Numeric) => compare(a, b) < 0),
  le: exact((a: Numeric, b: Numeric) => compare(a, b) <= 0),
  gt: exact((a: Numeric, b: Numeric) => compare(a, b) > 0),
  ge: exact((a: Numeric, b: Numeric) => compare(a, b) >= 0)
}

const chars: Comparisons = {
  eq: native.eq,
  ne: native.ne,
  lt: exact((a: string, b: string) => compareChars(a, b) < 0),
  le: exact((a: string, b: string) => compareChars(a, b) <= 0),
  gt: exact((a: string, b: string) => compareChars(a, b) > 0),
  ge: exact((a: string, b: string) => compareChars(a, b) >= 0)
}

/** By the places of the labels in the enum that is compared. */
const labels = (holds: (order: number) => boolean): Builtin =>
  at((site) => {
    let type = site.args[0]
    while (type?.base !== undefined) type = type.base
    if (type?.labels === undefined) return undefined
    const places = placesOf(type)
    return (a: string, b: string) => holds(compareLabels(places, a, b))
  })

const enums: Comparisons = {
  eq: native.eq,
  ne: native.ne,
  lt: labels((order) => order < 0),
  le: labels((order) => order <= 0),
  gt: labels((order) => order > 0),
  ge: labels((order) => order >= 0)
}

export const comparisonFunctions: Builtins = {
  ...named("int2", native),
  ...named("int4", native),
  ...named("int8", native),
  ...named("int24", native),
  ...named("int42", native),
  ...named("int28", mixed),
  ...named("int82", mixed),
  ...named("int48", mixed),
  ...named("int84", mixed),
  ...named("oid", native),
  ...named("bool", native),
  ...named("float4", floats),
  ...named("float8", floats),
  ...named("float48", floats),
  ...named("float84", floats),
  ...named("numeric_", numerics),
  ...named("char", chars),
  ...named("uuid_", native),
  ...named("bytea", native),
  ...named("enum_", enums)
}
