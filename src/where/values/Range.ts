/**
 * Ranges and multiranges of the types that Postgres comes with: their texts, and the order of their bounds. A multirange is
 * kept as an array of its ranges. Ranges of other types may order their bounds in ways of their own, and are left to
 * Postgres.
 */
import type { SqlType } from "../../domain/SqlCatalog.ts"
import { type Codec, type PgArray, type Range, unsure, type Value } from "../Value.ts"
import { array } from "./Arrays.ts"

const BUILTIN = new Set(
  ["int4", "int8", "num", "date", "ts", "tstz"].flatMap((name) => [`${name}range`, `${name}multirange`])
)

const QUOTE = 34
const BACKSLASH = 92

export const EMPTY: Range = {
  _tag: "Range",
  empty: true,
  lower: null,
  upper: null,
  lowerInclusive: false,
  upperInclusive: false
}

export type Order = (a: Value, b: Value) => number

// --- Text ---

class Reader {
  at = 0
  private readonly text: string
  private readonly subtype: Codec

  constructor(text: string, subtype: Codec) {
    this.text = text
    this.subtype = subtype
  }

  /** Whether the next character is this one, which is then read. */
  accept(character: string): boolean {
    if (this.text[this.at] !== character) return false
    this.at++
    return true
  }

  expect(character: string): void {
    if (!this.accept(character)) unsure()
  }

  /** One range that isn't empty. */
  range(): Range {
    const lowerInclusive = this.accept("[")
    if (!lowerInclusive) this.expect("(")
    const lower = this.bound()
    this.expect(",")
    const upper = this.bound()
    const upperInclusive = this.accept("]")
    if (!upperInclusive) this.expect(")")
    return { _tag: "Range", empty: false, lower, upper, lowerInclusive, upperInclusive }
  }

  end(): void {
    if (this.at !== this.text.length) unsure()
  }

  private bound(): Value {
    if (this.text.charCodeAt(this.at) === QUOTE) return this.subtype.decode(this.quoted())
    const start = this.at
    while (this.at < this.text.length && !",)]".includes(this.text[this.at]!)) this.at++
    return start === this.at ? null : this.subtype.decode(this.text.slice(start, this.at))
  }

  /** Quotes and backslashes are doubled. */
  private quoted(): string {
    let result = ""
    let start = ++this.at
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at)
      if (code !== QUOTE && code !== BACKSLASH) continue
      result += this.text.slice(start, this.at)
      if (this.text.charCodeAt(this.at + 1) !== code) {
        if (code === BACKSLASH) unsure()
        this.at++
        return result
      }
      start = ++this.at
    }
    return unsure()
  }
}

const SPECIAL = /^$|["\\()[\],\s]/

const writeBound = (value: Value, subtype: Codec): string => {
  if (value === null) return ""
  const text = subtype.encode(value)
  return SPECIAL.test(text) ? `"${text.replace(/["\\]/g, "$&$&")}"` : text
}

const write = (range: Range, subtype: Codec): string =>
  range.empty
    ? "empty"
    : `${range.lowerInclusive ? "[" : "("}${writeBound(range.lower, subtype)},${writeBound(range.upper, subtype)}${
      range.upperInclusive ? "]" : ")"
    }`

const read = (text: string, subtype: Codec): Range => {
  if (text === "empty") return EMPTY
  const reader = new Reader(text, subtype)
  const range = reader.range()
  reader.end()
  return range
}

const readMany = (text: string, subtype: Codec): PgArray => {
  const reader = new Reader(text, subtype)
  const ranges: Array<Range> = []
  reader.expect("{")
  if (!reader.accept("}")) {
    do ranges.push(reader.range())
    while (reader.accept(","))
    reader.expect("}")
  }
  reader.end()
  return manyOf(ranges)
}

// --- Multiranges ---

const manyOf = (ranges: ReadonlyArray<Range>): PgArray => array(ranges, [ranges.length], [1])

export const rangesOf = (multirange: Value): ReadonlyArray<Range> =>
  (multirange as PgArray).elements as ReadonlyArray<Range>

// --- Order ---

/** Two lower bounds: none is before all, an inclusive one before an exclusive one. */
export const compareLowers = (a: Range, b: Range, order: Order): number => {
  if (a.lower === null || b.lower === null) return a.lower === b.lower ? 0 : a.lower === null ? -1 : 1
  return order(a.lower, b.lower) || Number(b.lowerInclusive) - Number(a.lowerInclusive)
}

/** Two upper bounds: none is after all, an inclusive one after an exclusive one. */
export const compareUppers = (a: Range, b: Range, order: Order): number => {
  if (a.upper === null || b.upper === null) return a.upper === b.upper ? 0 : a.upper === null ? 1 : -1
  return order(a.upper, b.upper) || Number(a.upperInclusive) - Number(b.upperInclusive)
}

/** The lower bound of one and the upper bound of another: 0 only when both include the same value. */
export const compareLowerToUpper = (a: Range, b: Range, order: Order): number => {
  if (a.lower === null || b.upper === null) return -1
  return order(a.lower, b.upper) || (a.lowerInclusive && b.upperInclusive ? 0 : 1)
}

/** The empty one first, then by lower and upper bound. */
export const compareRanges = (a: Range, b: Range, order: Order): number => {
  if (a.empty || b.empty) return Number(b.empty) - Number(a.empty)
  return compareLowers(a, b, order) || compareUppers(a, b, order)
}

export const compareMultiranges = (a: Value, b: Value, order: Order): number => {
  const left = rangesOf(a)
  const right = rangesOf(b)
  for (let i = 0; i < left.length && i < right.length; i++) {
    const first = compareRanges(left[i]!, right[i]!, order)
    if (first !== 0) return first
  }
  return left.length - right.length
}

/** Discrete types, whose ranges include their lower bound and exclude the upper one, unless it is infinite. */
const DISCRETE = new Set(["int4", "int8", "date"])

const isFinite = (value: Value): boolean => value !== null && Number.isFinite(Number(value))

/** What no range is written as: bounds the wrong way round, nothing between them, or another form than a discrete range's. */
const checkRange = (range: Range, discrete: boolean, order: Order): Range => {
  const { lower, lowerInclusive, upper, upperInclusive } = range
  if (range.empty) return range
  if ((lower === null && lowerInclusive) || (upper === null && upperInclusive)) unsure()
  if (discrete && ((isFinite(lower) && !lowerInclusive) || (isFinite(upper) && upperInclusive))) unsure()
  if (lower !== null && upper !== null) {
    const first = order(lower, upper)
    if (first > 0 || (first === 0 && !(lowerInclusive && upperInclusive))) unsure()
  }
  return range
}

/** Whether there is something between the end of one range and the beginning of another. */
const isApart = (a: Range, b: Range, order: Order): boolean => {
  if (a.upper === null || b.lower === null) return false
  const first = order(a.upper, b.lower)
  return first < 0 || (first === 0 && !a.upperInclusive && !b.lowerInclusive)
}

const checkMany = (multirange: PgArray, discrete: boolean, order: Order): PgArray => {
  const ranges = rangesOf(multirange)
  ranges.forEach((range, i) => {
    checkRange(range, discrete, order)
    if (i > 0 && !isApart(ranges[i - 1]!, range, order)) unsure()
  })
  return multirange
}

/** `undefined` for types whose bounds we can't order as Postgres does. */
export const rangeCodec = (type: SqlType, subtype: Codec): Codec | undefined => {
  const { compare } = subtype
  if (compare === undefined || type.schema !== "pg_catalog" || !BUILTIN.has(type.name)) return undefined
  const order: Order = (a, b) => compare(a, b, undefined)
  const discrete = DISCRETE.has(type.subtype?.name ?? "")
  if (type.kind === "m") {
    return {
      decode: (text) => checkMany(readMany(text, subtype), discrete, order),
      encode: (value) => `{${rangesOf(value).map((range) => write(range, subtype)).join(",")}}`,
      equal: (a, b) => compareMultiranges(a, b, order) === 0,
      compare: (a, b) => compareMultiranges(a, b, order)
    }
  }
  return {
    decode: (text) => checkRange(read(text, subtype), discrete, order),
    encode: (value) => write(value as Range, subtype),
    equal: (a, b) => compareRanges(a as Range, b as Range, order) === 0,
    compare: (a, b) => compareRanges(a as Range, b as Range, order)
  }
}
