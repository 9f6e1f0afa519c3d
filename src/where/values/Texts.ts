/**
 * Codecs of types whose values are kept as their output text, and how texts are compared.
 */
import type { Collation, SqlType } from "../../domain/SqlCatalog.ts"
import { type Codec, unsure, type Value } from "../Value.ts"

/**
 * In the order of code points, which is that of UTF-8's bytes. JavaScript's own order puts characters beyond the basic
 * plane, which it writes as surrogates, before U+E000.
 */
export const compareBytes = (a: string, b: string): number => {
  if (a === b) return 0
  const length = Math.min(a.length, b.length)
  for (let at = 0; at < length; at++) {
    const x = a.charCodeAt(at)
    const y = b.charCodeAt(at)
    if (x !== y) return x >= 0xd800 && y >= 0xd800 ? aboveSurrogates(x) - aboveSurrogates(y) : x - y
  }
  return a.length - b.length
}

const aboveSurrogates = (unit: number): number => unit >= 0xe000 ? unit - 0x800 : unit + 0x2000

/** Only in bytewise collations do we know which of two different texts is the lesser. */
export const compareTexts = (a: string, b: string, collation: Collation | undefined): number => {
  if (a === b) return 0
  return collation !== undefined && collation.bytewise ? compareBytes(a, b) : unsure()
}

/** Different texts may be equal where the collation isn't deterministic. */
export const equalTexts = (a: string, b: string, collation: Collation | undefined): boolean =>
  a === b || (collation !== undefined && collation.deterministic ? false : unsure())

/** Without the blanks that a bpchar is filled up with: they count for nothing. */
export const withoutBlanks = (text: string): string => {
  let end = text.length
  while (end > 0 && text.charCodeAt(end - 1) === 32) end--
  return end === text.length ? text : text.slice(0, end)
}

const keep = (text: string): string => text
const encode = (value: Value): string => value as string
const equal = (a: Value, b: Value): boolean => a === b

/** Equality is that of deterministic collations. */
export const textCodec: Codec = {
  decode: keep,
  encode,
  equal,
  compare: (a, b, collation) => compareTexts(a as string, b as string, collation)
}

export const bpcharCodec: Codec = {
  decode: keep,
  encode,
  equal: (a, b) => withoutBlanks(a as string) === withoutBlanks(b as string),
  compare: (a, b, collation) => compareTexts(withoutBlanks(a as string), withoutBlanks(b as string), collation)
}

/** In bytes; Postgres cuts longer ones off. */
const LONGEST_NAME = 63

/** Of a text that needs no cutting off. */
export const nameOf = (text: string): string =>
  text.length * 3 <= LONGEST_NAME || Buffer.byteLength(text) <= LONGEST_NAME ? text : unsure()

export const nameCodec: Codec = { ...textCodec, decode: nameOf }

/** Deeper json is left to Postgres, whose stack has an end that we don't know. */
const DEEPEST = 1000

const depthOf = (json: string): number => {
  let depth = 0
  let deepest = 0
  let quoted = false
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at)
    if (code === 34) quoted = !quoted
    else if (code === 92) at++
    else if (quoted) continue
    else if (code === 91 || code === 123) deepest = Math.max(deepest, ++depth)
    else if (code === 93 || code === 125) depth--
  }
  return deepest
}

/** What is valid is kept as it is written. JSON's grammar is the same for JavaScript and Postgres. */
const decodeJson = (text: string): string => {
  try {
    JSON.parse(text)
  } catch {
    return unsure()
  }
  return text.length > DEEPEST && depthOf(text) > DEEPEST ? unsure() : text
}

export const jsonCodec: Codec = { decode: decodeJson, encode, equal, compare: undefined }

/** The byte of a `"char"`: as itself, or as `\ooo`; none for zero. */
const byteOf = (text: string): number => {
  if (text.length === 0) return 0
  if (text.length === 1 && text.charCodeAt(0) < 128) return text.charCodeAt(0)
  return /^\\[0-3][0-7]{2}$/.test(text) ? Number.parseInt(text.slice(1), 8) : unsure()
}

export const compareChars = (a: string, b: string): number => byteOf(a) - byteOf(b)

export const charCodec: Codec = {
  decode: (text) => byteOf(text) >= 0 ? text : unsure(),
  encode,
  equal,
  compare: (a, b) => compareChars(a as string, b as string)
}

/** For texts of ASCII: by bytes. */
export const compareAscii = (a: string, b: string): number => a < b ? -1 : a === b ? 0 : 1

const isHex = (code: number): boolean => (code >= 48 && code <= 57) || (code >= 97 && code <= 102)

const decodeUuid = (text: string): string => {
  if (text.length !== 36) return unsure()
  for (let at = 0; at < 36; at++) {
    const code = text.charCodeAt(at)
    if (at === 8 || at === 13 || at === 18 || at === 23 ? code !== 45 : !isHex(code)) return unsure()
  }
  return text
}

/** Two lower-case digits for each byte, after `\x`. */
const decodeBytea = (text: string): string => {
  if (text.length % 2 !== 0 || !text.startsWith("\\x")) return unsure()
  for (let at = 2; at < text.length; at++) if (!isHex(text.charCodeAt(at))) return unsure()
  return text
}

const ascii = (decode: (text: string) => string): Codec => ({
  decode,
  encode,
  equal,
  compare: (a, b) => compareAscii(a as string, b as string)
})

export const uuidCodec: Codec = ascii(decodeUuid)
export const byteaCodec: Codec = ascii(decodeBytea)

/** From an enum's labels to their places. */
export const placesOf = (type: SqlType): ReadonlyMap<string, number> =>
  new Map(type.labels?.map((label, place) => [label, place]))

/** The order of two labels; one that we haven't heard of yet is unsure. */
export const compareLabels = (places: ReadonlyMap<string, number>, a: string, b: string): number =>
  (places.get(a) ?? unsure()) - (places.get(b) ?? unsure())

export const enumCodec = (type: SqlType): Codec => {
  const places = placesOf(type)
  return {
    decode: (text) => places.has(text) ? text : unsure(),
    encode,
    equal,
    compare: (a, b) => compareLabels(places, a as string, b as string)
  }
}
