/**
 * Arrays: their text syntax, and their equality and order.
 */
import type { Collation } from "../../domain/SqlCatalog.ts"
import { type Codec, type PgArray, unsure, type Value } from "../Value.ts"

/** As many as Postgres has. */
const MOST_DIMENSIONS = 6

export const EMPTY: PgArray = { _tag: "Array", elements: [], lengths: [], lowerBounds: [] }

export const array = (
  elements: ReadonlyArray<Value>,
  lengths: ReadonlyArray<number>,
  lowerBounds: ReadonlyArray<number>
): PgArray => ({ _tag: "Array", elements, lengths, lowerBounds })

/** Of one dimension, from 1. */
export const list = (elements: ReadonlyArray<Value>): PgArray =>
  elements.length === 0 ? EMPTY : array(elements, [elements.length], [1])

// --- Output ---

/** Characters that make quotes necessary: quotes, backslash, braces, comma and white space. */
const SPECIAL = /["\\{},\t\n\v\f\r ]/
const ESCAPED = /["\\]/g

const writeElement = (text: string): string =>
  text === "" || SPECIAL.test(text) || (text.length === 4 && text.toUpperCase() === "NULL")
    ? `"${text.replace(ESCAPED, "\\$&")}"`
    : text

const write = (value: PgArray, element: Codec): string => {
  const { elements, lengths, lowerBounds } = value
  if (lengths.length === 0) return "{}"
  let next = 0
  const level = (dimension: number): string => {
    const parts: Array<string> = []
    for (let i = 0; i < lengths[dimension]!; i++) {
      if (dimension + 1 < lengths.length) parts.push(level(dimension + 1))
      else {
        const item = elements[next++]!
        parts.push(item === null ? "NULL" : writeElement(element.encode(item)))
      }
    }
    return `{${parts.join(",")}}`
  }
  const braces = level(0)
  if (lowerBounds.every((bound) => bound === 1)) return braces
  return `${lengths.map((length, at) => `[${lowerBounds[at]!}:${lowerBounds[at]! + length - 1}]`).join("")}=${braces}`
}

// --- Input ---

/** Reads the output form; everything else that Postgres would take is unsure. */
class Reader {
  private at = 0
  private readonly elements: Array<Value> = []
  private readonly lengths: Array<number> = []
  private readonly text: string
  private readonly element: Codec

  constructor(text: string, element: Codec) {
    this.text = text
    this.element = element
  }

  read(): PgArray {
    if (this.text === "{}") return EMPTY
    const bounds = this.text.charCodeAt(0) === 91 ? this.bounds() : undefined
    this.level(0)
    if (this.at !== this.text.length) return unsure()
    if (bounds === undefined) return array(this.elements, this.lengths, this.lengths.map(() => 1))
    if (bounds.length !== this.lengths.length) return unsure()
    for (let i = 0; i < bounds.length; i++) if (bounds[i]![1] - bounds[i]![0] + 1 !== this.lengths[i]) return unsure()
    return array(this.elements, this.lengths, bounds.map((bound) => bound[0]))
  }

  private bounds(): ReadonlyArray<readonly [number, number]> {
    const end = this.text.indexOf("=")
    const head = this.text.slice(0, end)
    if (!/^(\[-?\d{1,9}:-?\d{1,9}\])+$/.test(head)) return unsure()
    this.at = end + 1
    return head.slice(1, -1).split("][").map((bound) => {
      const colon = bound.indexOf(":")
      return [Number(bound.slice(0, colon)), Number(bound.slice(colon + 1))] as const
    })
  }

  /** From an opening brace to behind its closing one. */
  private level(dimension: number): void {
    if (dimension === MOST_DIMENSIONS || this.text.charCodeAt(this.at) !== 123) unsure()
    this.at++
    // Whether this is the innermost dimension is told by the first array that is opened or not opened.
    const inner = this.text.charCodeAt(this.at) !== 123
    if (dimension + 1 < this.lengths.length ? inner : this.lengths.length > dimension && !inner) unsure()
    const first = this.lengths.length === dimension
    if (first) this.lengths.push(0)
    let count = 0
    for (;;) {
      if (inner) this.item()
      else this.level(dimension + 1)
      count++
      const code = this.text.charCodeAt(this.at++)
      if (code === 125) break
      if (code !== 44) unsure()
    }
    if (first) this.lengths[dimension] = count
    else if (this.lengths[dimension] !== count) unsure()
  }

  private item(): void {
    if (this.text.charCodeAt(this.at) === 34) {
      this.elements.push(this.element.decode(this.quoted()))
      return
    }
    const start = this.at
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at)
      if (code === 44 || code === 125) break
      if (code === 34 || code === 92 || code === 123 || code === 32 || (code >= 9 && code <= 13)) unsure()
    }
    const item = this.text.slice(start, this.at)
    if (item === "") unsure()
    if (item.length === 4 && item.toUpperCase() === "NULL") this.elements.push(null)
    else this.elements.push(this.element.decode(item))
  }

  /** What is between quotes, without its backslashes. */
  private quoted(): string {
    let result = ""
    let start = ++this.at
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at)
      if (code === 34) {
        result += this.text.slice(start, this.at++)
        return result
      }
      if (code === 92) {
        result += this.text.slice(start, this.at++)
        start = this.at
      }
    }
    return unsure()
  }
}

// --- Comparison ---

const same = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): boolean => {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Equality of elements that aren't NULL. */
export type Equality = (a: Value, b: Value) => boolean
/** Order of elements that aren't NULL. */
export type Order = (a: Value, b: Value) => number

/** Of the same shape, with equal elements; NULLs are equal. */
export const equalArrays = (a: PgArray, b: PgArray, equal: Equality): boolean => {
  if (!same(a.lengths, b.lengths) || !same(a.lowerBounds, b.lowerBounds)) return false
  for (let i = 0; i < a.elements.length; i++) {
    const x = a.elements[i]!
    const y = b.elements[i]!
    if (x === null || y === null) {
      if (x !== y) return false
    } else if (!equal(x, y)) return false
  }
  return true
}

const firstDifference = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): number => {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!
  return 0
}

/** By elements, then by how many there are, then by shape. NULL is greater than everything else. */
export const compareArrays = (a: PgArray, b: PgArray, compare: Order): number => {
  const count = Math.min(a.elements.length, b.elements.length)
  for (let i = 0; i < count; i++) {
    const x = a.elements[i]!
    const y = b.elements[i]!
    const order = x === null || y === null ? Number(x === null) - Number(y === null) : compare(x, y)
    if (order !== 0) return order
  }
  return a.elements.length - b.elements.length || a.lengths.length - b.lengths.length ||
    firstDifference(a.lengths, b.lengths) || firstDifference(a.lowerBounds, b.lowerBounds)
}

export const arrayCodec = (element: Codec): Codec => {
  const { compare } = element
  return {
    decode: (text) => new Reader(text, element).read(),
    encode: (value) => write(value as PgArray, element),
    equal: (a, b) => equalArrays(a as PgArray, b as PgArray, element.equal),
    compare: compare &&
      ((a: Value, b: Value, collation: Collation | undefined) =>
        compareArrays(a as PgArray, b as PgArray, (x, y) => compare(x, y, collation)))
  }
}
