/**
 * Texts as sequences of characters, which are code points: JavaScript writes those beyond the basic plane as two units.
 */
import type { Collation } from "../../domain/SqlCatalog.ts"
import { unsure } from "../Value.ts"

/** In units; longer results are left to Postgres, so that nobody can have texts multiplied here. */
const LONGEST = 1_000_000

/** Unsure when a result would have that many units. */
export const bounded = (length: number): number => length <= LONGEST ? length : unsure()

/** How many units may be compared in one search for a long text: at worst, all places with all of the part. */
const LONGEST_SEARCH = 100_000_000

/** `indexOf`, unless the search for a long part may take long. */
export const search = (text: string, part: string, from = 0): number =>
  part.length <= 32 || text.length * part.length <= LONGEST_SEARCH ? text.indexOf(part, from) : unsure()

const SURROGATE = /[\ud800-\udfff]/

export const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff
export const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff

/** How many characters there are in the first `end` units. */
export const countCharacters = (text: string, end: number = text.length): number => {
  if (!SURROGATE.test(text)) return end
  let count = 0
  for (let at = 0; at < end; at++) if (!isLowSurrogate(text.charCodeAt(at))) count++
  return count
}

/** In units, where the character after the first `count` ones begins; the end of the text when there are fewer. */
export const unitOffset = (text: string, count: number): number => {
  if (count <= 0) return 0
  if (count >= text.length) return text.length
  if (!SURROGATE.test(text)) return count
  let at = 0
  for (let seen = 0; seen < count && at < text.length; seen++) at += isHighSurrogate(text.charCodeAt(at)) ? 2 : 1
  return at
}

/** Characters `from` (counted from 0) up to but not including `to`. */
export const sliceCharacters = (text: string, from: number, to: number): string =>
  to <= from ? "" : text.slice(unitOffset(text, from), unitOffset(text, to))

const BEYOND_ASCII = /[^\0-\x7f]/

export const isAscii = (text: string): boolean => !BEYOND_ASCII.test(text)

const UPPER = /[A-Z]+/g
const LOWER = /[a-z]+/g

/** Lower case of the ASCII letters, and everything else as it is. */
export const lowerAscii = (text: string): string =>
  isAscii(text) ? text.toLowerCase() : text.replace(UPPER, (letters) => letters.toLowerCase())

export const upperAscii = (text: string): string =>
  isAscii(text) ? text.toUpperCase() : text.replace(LOWER, (letters) => letters.toUpperCase())

/** Of languages whose lower case of I isn't i, or depends on what follows it. */
const PECULIAR_ICU = /^(tr|az|lt)\b/
const PLAIN_ICU = /-x-icu$|^(unicode|pg_c_utf8|pg_unicode_fast)$/
const PLAIN_LIBC = /^(en|de|fr|es|it|pt|nl|sv|da|nb|nn|fi|is|pl|cs|sk|hu|ro|hr|sl|bg|ru|uk|el|he|ar|ja|ko|zh)_/

/**
 * Whether ASCII letters have the case that they have in English, and only İ and the Kelvin sign are lowered to ASCII ones.
 *
 * The database's own collation is taken to be so. It isn't in a database whose locale is Turkish, Azerbaijani or Lithuanian:
 * there, its `asciiCase` can't tell.
 */
export const hasPlainCase = (collation: Collation): boolean =>
  collation.asciiCase || (collation.schema === "pg_catalog" && (
    collation.name === "default" || PLAIN_LIBC.test(collation.name) ||
    (PLAIN_ICU.test(collation.name) && !PECULIAR_ICU.test(collation.name))
  ))
