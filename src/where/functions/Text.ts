/**
 * Functions that take texts apart and put them together. Texts are UTF-8, and positions count characters from 1.
 *
 * What looks for one text in another does so by bytes, and so only under deterministic collations.
 */
import { createHash } from "node:crypto"
import { type Builtin, type Builtins, type Closure, unsure, type Value } from "../Value.ts"
import { codecOf } from "../values/Codecs.ts"
import { withoutBlanks } from "../values/Texts.ts"
import {
  bounded,
  countCharacters,
  hasPlainCase,
  isAscii,
  lowerAscii,
  search,
  sliceCharacters,
  upperAscii
} from "./Characters.ts"
import { at, exact } from "./define.ts"

/** Under a deterministic collation. */
const searching = <A extends Value, B extends Value, C extends Value>(f: (a: A, b: B, c: C) => Value): Builtin =>
  at((site) => site.collation?.deterministic === true ? f : undefined)

// --- Case ---

const lower: Builtin = at((site) => {
  if (site.collation?.asciiCase === true) return lowerAscii
  return site.collation !== undefined && hasPlainCase(site.collation)
    ? (text: string) => isAscii(text) ? text.toLowerCase() : unsure()
    : undefined
})
const upper: Builtin = at((site) => {
  if (site.collation?.asciiCase === true) return upperAscii
  return site.collation !== undefined && hasPlainCase(site.collation)
    ? (text: string) => isAscii(text) ? text.toUpperCase() : unsure()
    : undefined
})

// --- Parts ---

const left = (text: string, count: number): string =>
  sliceCharacters(text, 0, count < 0 ? countCharacters(text) + count : count)

/** Postgres negates the count, which the least integer can't be. */
const right = (text: string, count: number): string =>
  count === -2_147_483_648
    ? unsure()
    : sliceCharacters(text, count < 0 ? -count : Math.max(0, countCharacters(text) - count), text.length)

const substring = (text: string, start: number, length: number): string =>
  length < 0 ? unsure() : sliceCharacters(text, Math.max(0, start - 1), start - 1 + length)

const position = (text: string, part: string): number => {
  const found = search(text, part)
  return found < 0 ? 0 : countCharacters(text, found) + 1
}

const splitPart = (text: string, separator: string, field: number): string => {
  if (field === 0) return unsure()
  if (text === "") return ""
  if (separator === "") return field === 1 || field === -1 ? text : ""
  // Looked for first, so that what takes long isn't begun.
  if (search(text, separator) < 0) return field === 1 || field === -1 ? text : ""
  const parts = text.split(separator)
  return parts[field > 0 ? field - 1 : parts.length + field] ?? ""
}

const replace = (text: string, from: string, to: string): string => {
  if (from === "" || search(text, from) < 0) return text
  const parts = text.split(from)
  bounded(text.length + (parts.length - 1) * to.length)
  return parts.join(to)
}

/** Characters of `from` become those of `to` at the same place, and vanish where there is none. */
const translate = (text: string, from: string, to: string): string => {
  const map = new Map<string, string>()
  const targets = [...to]
  let place = 0
  for (const character of from) {
    if (!map.has(character)) map.set(character, targets[place] ?? "")
    place++
  }
  let result = ""
  for (const character of text) result += map.get(character) ?? character
  return result
}

const trimStart = (text: string, set: ReadonlySet<string>): string => {
  let start = 0
  for (const character of text) {
    if (!set.has(character)) break
    start += character.length
  }
  return text.slice(start)
}

const trimEnd = (text: string, set: ReadonlySet<string>): string => {
  const characters = [...text]
  let end = characters.length
  let kept = text.length
  while (end > 0 && set.has(characters[end - 1]!)) kept -= characters[--end]!.length
  return text.slice(0, kept)
}

const BLANK: ReadonlySet<string> = new Set(" ")

// --- Longer ones ---

const concatenate = (a: string, b: string): string => {
  bounded(a.length + b.length)
  return a + b
}

const repeat = (text: string, count: number): string => {
  if (count <= 0) return ""
  bounded(text.length * count)
  return text.repeat(count)
}

/** `missing` characters, of `fill` again and again. */
const filling = (fill: string, missing: number): string => {
  bounded(missing)
  const characters = countCharacters(fill)
  return sliceCharacters(fill.repeat(Math.ceil(missing / characters)), 0, missing)
}

const pad = (text: string, length: number, fill: string, before: boolean): string => {
  const missing = Math.max(length, 0) - countCharacters(text)
  if (missing <= 0) return sliceCharacters(text, 0, length)
  if (fill === "") return text
  const padding = filling(fill, missing)
  return before ? padding + text : text + padding
}

const reverse = (text: string): string => [...text].reverse().join("")

/** Each argument's output text. Arrays may stand for variadic arguments. */
const joined = (first: number): Builtin => (site) => {
  if (site.args.length > 4 || site.args.some((type) => type.element !== undefined)) return undefined
  const codecs = site.args.map(codecOf)
  if (codecs.some((codec) => codec === undefined)) return undefined
  const join: Closure = (...values) => {
    const texts: Array<string> = []
    for (let i = first; i < codecs.length; i++) {
      const value = values[i]!
      if (value !== null) texts.push(codecs[i]!.encode(value))
    }
    return bounding(texts.join(first === 0 ? "" : (values[0] as string)))
  }
  return first === 0 ? join : (a, b, c, d) => a === null ? null : join(a, b, c, d)
}

const bounding = (text: string): string => {
  bounded(text.length)
  return text
}

// --- Characters and bytes ---

const byteLength = (text: string): number => Buffer.byteLength(text)

const character = (code: number): string =>
  code <= 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? unsure() : String.fromCodePoint(code)

export const textFunctions: Builtins = {
  lower,
  upper,
  textlen: exact((text: string) => countCharacters(text)),
  bpcharlen: exact((text: string) => countCharacters(withoutBlanks(text))),
  textoctetlen: exact(byteLength),
  bpcharoctetlen: exact(byteLength),
  byteaoctetlen: exact((bytes: string) => bytes.length / 2 - 1),
  textcat: exact(concatenate),
  byteacat: exact((a: string, b: string) => concatenate(a, b.slice(2))),
  text_concat: joined(0),
  text_concat_ws: joined(1),
  text_left: exact(left),
  text_right: exact(right),
  text_substr: exact(substring),
  text_substr_no_len: exact((text: string, start: number) =>
    sliceCharacters(text, Math.max(0, start - 1), text.length)
  ),
  textpos: searching(position),
  text_starts_with: searching((text: string, start: string) => text.startsWith(start)),
  split_part: searching(splitPart),
  replace_text: searching(replace),
  translate: exact(translate),
  btrim1: exact((text: string) => withoutBlanks(trimStart(text, BLANK))),
  ltrim1: exact((text: string) => trimStart(text, BLANK)),
  rtrim1: exact(withoutBlanks),
  btrim: exact((text: string, set: string) => {
    const characters = new Set(set)
    return trimEnd(trimStart(text, characters), characters)
  }),
  ltrim: exact((text: string, set: string) => trimStart(text, new Set(set))),
  rtrim: exact((text: string, set: string) => trimEnd(text, new Set(set))),
  text_reverse: exact(reverse),
  repeat: exact(repeat),
  lpad: exact((text: string, length: number, fill: string) => pad(text, length, fill, true)),
  rpad: exact((text: string, length: number, fill: string) => pad(text, length, fill, false)),
  ascii: exact((text: string) => text.codePointAt(0) ?? 0),
  chr: exact(character),
  md5_text: exact((text: string) => createHash("md5").update(text).digest("hex"))
}
