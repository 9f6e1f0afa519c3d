/**
 * JSON written as bytes: constant fragments, and text values escaped while they are copied. Every function takes the
 * position to write at and returns the position after what it wrote.
 *
 * Copies go by whole words, so a write may touch up to `SLACK` bytes past its end: the caller leaves that much room
 * behind everything it writes, and writes in ascending order.
 */

/** Bytes past the end of what is written that a write may touch. */
export const SLACK = 8

/** Most bytes that one byte of text becomes (`\u0000`). */
export const MAX_ESCAPE = 6

export const QUOTE = 0x22
export const BACKSLASH = 0x5c
export const COMMA = 0x2c
export const SLASH = 0x2f

/**
 * Constant bytes, in words of 8. Words are doubles for speed; no word is a NaN (which the engine might rewrite), since
 * UTF-8 never has the byte 0xff, nor 0xf0 and above before 0x7f.
 */
export interface Fragment {
  readonly words: Float64Array
  readonly length: number
}

export const fragment = (text: string): Fragment => {
  const bytes = Buffer.from(text)
  const padded = new DataView(new ArrayBuffer(Math.ceil(bytes.length / 8) * 8))
  bytes.forEach((byte, i) => padded.setUint8(i, byte))
  const words = new Float64Array(padded.byteLength / 8)
  words.forEach((_, i) => {
    words[i] = padded.getFloat64(8 * i, true)
  })
  return { words, length: bytes.length }
}

/** `text` as it stands inside a JSON string, without the quotes around it. */
export const escaped = (text: string): string => JSON.stringify(text).slice(1, -1)

export const put = (out: DataView, at: number, constant: Fragment): number => {
  const words = constant.words
  for (let i = 0, to = at; i < words.length; i++, to += 8) out.setFloat64(to, words[i]!, true)
  return at + constant.length
}

/** Writes text that is known to be ASCII. */
export const putAscii = (out: DataView, at: number, text: string): number => {
  for (let i = 0; i < text.length; i++) out.setUint8(at + i, text.charCodeAt(i))
  return at + text.length
}

/** Writes a natural number in decimal. */
export const putNumber = (out: DataView, at: number, value: number): number => {
  if (value < 10) {
    out.setUint8(at, 48 + value)
    return at + 1
  }
  if (value > 0x7fffffff) return putAscii(out, at, String(value))
  let digits = 1
  for (let rest = value; rest > 9; rest = (rest / 10) | 0) digits++
  let rest = value | 0
  for (let to = at + digits - 1; to >= at; to--) {
    const next = (rest / 10) | 0
    out.setUint8(to, 48 + rest - next * 10)
    rest = next
  }
  return at + digits
}

/** Letter of a character's two-byte JSON escape; 0 where it has none. */
const shortEscape = new Uint8Array(256)
for (
  const [character, letter] of ["\bb", "\ff", "\nn", "\rr", "\tt", "\"\"", "\\\\"].map((pair) =>
    [pair.charCodeAt(0), pair.charCodeAt(1)] as const
  )
) {
  shortEscape[character] = letter
}

const hex = (digit: number): number => (digit < 10 ? 48 : 87) + digit

/** Writes a byte as the inside of a string has it when it can't stand as it is; of slashes, two. */
export const putEscape = (out: DataView, at: number, byte: number): number => {
  if (byte === SLASH) {
    out.setUint16(at, 0x2f2f)
    return at + 2
  }
  out.setUint8(at, BACKSLASH)
  const letter = shortEscape[byte]!
  if (letter !== 0) {
    out.setUint8(at + 1, letter)
    return at + 2
  }
  out.setUint8(at + 1, 0x75)
  out.setUint8(at + 2, 0x30)
  out.setUint8(at + 3, 0x30)
  out.setUint8(at + 4, hex(byte >>> 4))
  out.setUint8(at + 5, hex(byte & 15))
  return at + 6
}

/** What a text is a part of: which characters, beside those that JSON escapes, are written differently. */
export type Place = typeof IN_VALUE | typeof IN_KEY
/** A column's value: none. (The constant is a character that is escaped anyway, four times over.) */
export const IN_VALUE = 0x5c5c5c5c
/** A part of a key: slashes are doubled. */
export const IN_KEY = 0x2f2f2f2f

/**
 * Nonzero when one of the four bytes of `word` can't stand as it is: is below 0x20, a quote, a backslash or, in a key,
 * a slash; its lowest set bit is then bit 7 of the first such byte. (Flipping bit 1 puts the quote at 0x20 and moves
 * nothing else across it, so one comparison finds quotes and controls.)
 */
export const special = (word: number, place: Place): number =>
  ~word & 0x80808080 &
  (((word ^ 0x02020202) - 0x21212121) | ((word ^ 0x5c5c5c5c) - 0x01010101) | ((word ^ place) - 0x01010101))

/** The same of one byte. */
export const isSpecial = (byte: number, place: Place): boolean =>
  byte < 0x20 || byte === QUOTE || byte === BACKSLASH || byte === (place & 0xff)

/** Number of the byte that the lowest set bit of `mask` is in. */
export const firstByte = (mask: number): number => (31 - Math.clz32(mask & -mask)) >>> 3

/** Writes bytes `from` to `to` of `input` as the inside of a JSON string. */
export const putText = (
  out: DataView,
  at: number,
  input: DataView,
  from: number,
  to: number,
  place: Place
): number => {
  const wordsEnd = Math.min(to, input.byteLength - 3)
  while (from < wordsEnd) {
    const word = input.getInt32(from, true)
    out.setInt32(at, word, true)
    const mask = special(word, place)
    if (mask === 0) {
      from += 4
      at += 4
      continue
    }
    const plain = firstByte(mask)
    from += plain
    at += plain
    if (from >= to) break
    at = putEscape(out, at, input.getUint8(from++))
  }
  // The last word may have reached past the end.
  if (from > to) return at - (from - to)
  for (; from < to; from++) {
    const byte = input.getUint8(from)
    if (isSpecial(byte, place)) at = putEscape(out, at, byte)
    else out.setUint8(at++, byte)
  }
  return at
}

/** At least the bytes that `putText` writes in a value. */
export const textBytes = (input: DataView, from: number, to: number): number => {
  let bytes = to - from
  while (from < to) {
    from = plainEnd(input, from, to)
    if (from < to) bytes += input.getUint8(from++) < 0x20 ? MAX_ESCAPE - 1 : 1
  }
  return bytes
}

/** The first byte from `from` on that a value can't have as it is; `to` when all before it are plain. */
export const plainEnd = (input: DataView, from: number, to: number): number => {
  const wordsEnd = Math.min(to, input.byteLength) - 3
  while (from < wordsEnd) {
    const mask = special(input.getInt32(from, true), IN_VALUE)
    if (mask !== 0) return from + firstByte(mask)
    from += 4
  }
  while (from < to && !isSpecial(input.getUint8(from), IN_VALUE)) from++
  return from
}
