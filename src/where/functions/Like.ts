/**
 * LIKE patterns, compiled. `%` is any number of characters, `_` is one, and a backslash takes the next character for itself.
 *
 * Without `_` a match takes time in proportion to the text; with it, to text times pattern at worst, never more.
 */
import { unsure } from "../Value.ts"
import { bounded, isHighSurrogate, isLowSurrogate, search } from "./Characters.ts"

export type Matcher = (text: string) => boolean

/** In a segment: any one character. All else are units of text. */
const ANY = -1

/** What is between two `%`. */
interface Segment {
  readonly units: ReadonlyArray<number>
  /** The segment as text, when it has no `_`. */
  readonly literal: string | undefined
  readonly characters: number
}

/** `undefined` for a pattern that ends within an escape, which is an error. */
const segments = (pattern: string): ReadonlyArray<Segment> | undefined => {
  const result: Array<Segment> = []
  let units: Array<number> = []
  const close = (): void => {
    result.push({
      units,
      literal: units.includes(ANY) ? undefined : units.map((unit) => String.fromCharCode(unit)).join(""),
      characters: units.reduce((count, unit) => isLowSurrogate(unit) ? count : count + 1, 0)
    })
    units = []
  }
  for (let at = 0; at < pattern.length; at++) {
    const code = pattern.charCodeAt(at)
    if (code === 37) close()
    else if (code === 95) units.push(ANY)
    else if (code !== 92) units.push(code)
    else if (++at === pattern.length) return undefined
    else units.push(pattern.charCodeAt(at))
  }
  close()
  return result
}

/** Where the match of a segment that begins at `from` ends, or -1. */
const matchAt = (units: ReadonlyArray<number>, text: string, from: number): number => {
  let at = from
  for (let i = 0; i < units.length; i++) {
    if (at >= text.length) return -1
    const unit = units[i]!
    const code = text.charCodeAt(at++)
    if (unit === ANY) {
      if (isHighSurrogate(code)) at++
    } else if (unit !== code) return -1
  }
  return at
}

/** The end of the first match that begins at `from` or later, or -1. */
const find = (segment: Segment, text: string, from: number): number => {
  if (segment.literal !== undefined) {
    const found = search(text, segment.literal, from)
    return found < 0 ? -1 : found + segment.literal.length
  }
  for (let at = from; at < text.length; at++) {
    if (isLowSurrogate(text.charCodeAt(at))) continue
    const end = matchAt(segment.units, text, at)
    if (end >= 0) return end
  }
  return -1
}

/** Where the last `count` characters begin, or -1 when there are fewer. */
const fromEnd = (text: string, count: number): number => {
  let at = text.length
  for (let i = 0; i < count; i++) {
    if (at === 0) return -1
    at -= at > 1 && isLowSurrogate(text.charCodeAt(at - 1)) ? 2 : 1
  }
  return at
}

/** Each segment as early as it can be, and the last one at the end. */
const general = (parts: ReadonlyArray<Segment>, length: number): Matcher => {
  const first = parts[0]!
  const last = parts[parts.length - 1]!
  return (text) => {
    if (length > 100) bounded(text.length * length / 10)
    let at = matchAt(first.units, text, 0)
    if (parts.length === 1 || at < 0) return at === text.length
    for (let i = 1; i + 1 < parts.length; i++) {
      at = find(parts[i]!, text, at)
      if (at < 0) return false
    }
    const end = fromEnd(text, last.characters)
    return end >= at && matchAt(last.units, text, end) === text.length
  }
}

/** In units; longer patterns are left to Postgres. */
const LONGEST_PATTERN = 100_000

/** The matcher of a pattern. One for a pattern that is an error is always unsure. */
export const like = (pattern: string): Matcher => {
  const parts = pattern.length > LONGEST_PATTERN ? undefined : segments(pattern)
  if (parts === undefined) return unsure
  const literals = parts.map((part) => part.literal)
  const first = literals[0]
  const last = literals[literals.length - 1]
  if (first === undefined || last === undefined || pattern.length > 1000) return general(parts, pattern.length)
  if (parts.length === 1) return (text) => text === first
  const between = literals.slice(1, -1).filter((literal) => literal !== "")
  if (between.length === 0) {
    if (last === "") return (text) => text.startsWith(first)
    if (first === "") return (text) => text.endsWith(last)
    return (text) => text.length >= first.length + last.length && text.startsWith(first) && text.endsWith(last)
  }
  const only = between[0]
  if (between.length === 1 && only !== undefined && first === "" && last === "") {
    return (text) => search(text, only) >= 0
  }
  return general(parts, pattern.length)
}

/** The pattern with backslashes in place of another escape character; an empty one is none at all. */
export const likeEscape = (pattern: string, escape: string): string => {
  if (escape === "\\") return pattern
  if ([...escape].length > 1) return unsure()
  let result = ""
  let escaped = false
  for (const character of pattern) {
    const escapes: boolean = character === escape && !escaped
    result += escapes ? "\\" : character === "\\" && !escaped ? "\\\\" : character
    escaped = escapes
  }
  return result
}
