/**
 * Comparisons of text, varchar, bpchar and name: exact equality in every deterministic collation, order in bytewise ones.
 */
import type { Collation } from "../../domain/SqlCatalog.ts"
import type { Builtin, Builtins } from "../Value.ts"
import { compareBytes, compareTexts, equalTexts, withoutBlanks } from "../values/Texts.ts"
import { at } from "./define.ts"

/** Under a collation; Postgres refuses to compare texts without one. */
const collated = (f: (collation: Collation) => (a: string, b: string) => boolean): Builtin =>
  at((site) => site.collation && f(site.collation))

const equality: Builtin = collated((collation) =>
  collation.deterministic ? (a, b) => a === b : (a, b) => equalTexts(a, b, collation)
)
const inequality: Builtin = collated((collation) =>
  collation.deterministic ? (a, b) => a !== b : (a, b) => !equalTexts(a, b, collation)
)

const ordered = (holds: (order: number) => boolean): Builtin =>
  collated((collation) =>
    collation.bytewise
      ? (a, b) => holds(compareBytes(a, b))
      : (a, b) => holds(compareTexts(a, b, collation))
  )

const blankEquality: Builtin = collated((collation) =>
  collation.deterministic
    ? (a, b) => a === b || withoutBlanks(a) === withoutBlanks(b)
    : (a, b) => equalTexts(withoutBlanks(a), withoutBlanks(b), collation)
)
const blankInequality: Builtin = collated((collation) =>
  collation.deterministic
    ? (a, b) => a !== b && withoutBlanks(a) !== withoutBlanks(b)
    : (a, b) => !equalTexts(withoutBlanks(a), withoutBlanks(b), collation)
)
const blankOrdered = (holds: (order: number) => boolean): Builtin =>
  collated((collation) => (a, b) => holds(compareTexts(withoutBlanks(a), withoutBlanks(b), collation)))

const less = (order: number): boolean => order < 0
const lessOrEqual = (order: number): boolean => order <= 0
const greater = (order: number): boolean => order > 0
const greaterOrEqual = (order: number): boolean => order >= 0

const named = (prefix: string, suffix: string): Builtins => ({
  [`${prefix}eq${suffix}`]: equality,
  [`${prefix}ne${suffix}`]: inequality,
  [`${prefix}lt${suffix}`]: ordered(less),
  [`${prefix}le${suffix}`]: ordered(lessOrEqual),
  [`${prefix}gt${suffix}`]: ordered(greater),
  [`${prefix}ge${suffix}`]: ordered(greaterOrEqual)
})

/** By bytes, whatever the collation; Postgres refuses those that aren't deterministic. */
const pattern = (holds: (order: number) => boolean): Builtin =>
  at((site) => site.collation?.deterministic === true ? (a: string, b: string) => holds(compareBytes(a, b)) : undefined)
const blankPattern = (holds: (order: number) => boolean): Builtin =>
  at((site) =>
    site.collation?.deterministic === true
      ? (a: string, b: string) => holds(compareBytes(withoutBlanks(a), withoutBlanks(b)))
      : undefined
  )

export const textComparisonFunctions: Builtins = {
  texteq: equality,
  textne: inequality,
  text_lt: ordered(less),
  text_le: ordered(lessOrEqual),
  text_gt: ordered(greater),
  text_ge: ordered(greaterOrEqual),
  ...named("name", ""),
  ...named("name", "text"),
  ...named("text", "name"),
  bpchareq: blankEquality,
  bpcharne: blankInequality,
  bpcharlt: blankOrdered(less),
  bpcharle: blankOrdered(lessOrEqual),
  bpchargt: blankOrdered(greater),
  bpcharge: blankOrdered(greaterOrEqual),
  text_pattern_lt: pattern(less),
  text_pattern_le: pattern(lessOrEqual),
  text_pattern_gt: pattern(greater),
  text_pattern_ge: pattern(greaterOrEqual),
  bpchar_pattern_lt: blankPattern(less),
  bpchar_pattern_le: blankPattern(lessOrEqual),
  bpchar_pattern_gt: blankPattern(greater),
  bpchar_pattern_ge: blankPattern(greaterOrEqual)
}
