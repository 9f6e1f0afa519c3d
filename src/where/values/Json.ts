/** jsonb: its text, as Postgres prints it, with exact numbers. Nesting deeper than any sane one is left to Postgres. */
import { type Codec, type Json, type Jsonb, unsure } from "../Value.ts"
import { compareJson, equalJson } from "./JsonOrder.ts"
import { format, parse as parseNumber } from "./Numeric.ts"
import { compareBytes } from "./Texts.ts"

const DEEPEST = 500

const QUOTE = 34
const BACKSLASH = 92
const COMMA = 44
const DASH = 45
const ZERO = 48
const CLOSING_BRACKET = 93
const CLOSING_BRACE = 125

export const isArray = (json: Json): json is ReadonlyArray<Json> => Array.isArray(json)
export const isObject = (json: Json): json is ReadonlyMap<string, Json> => json instanceof Map

export const jsonb = (json: Json): Jsonb => ({ _tag: "Jsonb", json })

const ESCAPES: Readonly<Record<string, string>> = {
  "\"": "\"",
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t"
}

const LONE_SURROGATE_OR_ZERO = /[\p{Surrogate}\0]/u

/** What a JSON string's escapes stand for; unsure about a lone surrogate and U+0000, which are errors. */
export const unescaped = (text: string): string => {
  const result = text.replace(
    /\\(?:u([0-9a-fA-F]{4})|(.))/g,
    (_, hex: string | undefined, letter: string) =>
      hex === undefined ? ESCAPES[letter] ?? unsure() : String.fromCharCode(Number.parseInt(hex, 16))
  )
  return LONE_SURROGATE_OR_ZERO.test(result) ? unsure() : result
}

/** Keys of an object are in the order of their lengths, then their bytes. */
export const compareKeys = (a: string, b: string): number =>
  Buffer.byteLength(a) - Buffer.byteLength(b) || compareBytes(a, b)

/** Reads the output form alone: one blank after a comma or a colon and nowhere else, and keys in their order. */
class Reader {
  private at = 0
  private readonly text: string

  constructor(text: string) {
    this.text = text
  }

  read(): Json {
    const json = this.value(0)
    return this.at === this.text.length ? json : unsure()
  }

  private value(depth: number): Json {
    switch (this.text.charCodeAt(this.at)) {
      case QUOTE:
        return this.string()
      case 91:
        return this.array(depth + 1)
      case 123:
        return this.object(depth + 1)
      case 116:
        return this.word("true", true)
      case 102:
        return this.word("false", false)
      case 110:
        return this.word("null", null)
      default:
        return this.number()
    }
  }

  private word(word: string, json: boolean | null): boolean | null {
    if (!this.text.startsWith(word, this.at)) unsure()
    this.at += word.length
    return json
  }

  private expect(word: string): void {
    if (!this.text.startsWith(word, this.at)) unsure()
    this.at += word.length
  }

  private number(): Json {
    const start = this.at
    const first = start + (this.text.charCodeAt(start) === DASH ? 1 : 0)
    if (this.text.charCodeAt(first) === ZERO && this.text.charCodeAt(first + 1) >= ZERO) unsure()
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at)
      if (code === COMMA || code === CLOSING_BRACKET || code === CLOSING_BRACE) break
    }
    const number = parseNumber(this.text.slice(start, this.at))
    return number.special === undefined ? number : unsure()
  }

  private string(): string {
    const start = ++this.at
    let escaped = false
    for (; this.at < this.text.length; this.at++) {
      const code = this.text.charCodeAt(this.at)
      if (code === QUOTE) {
        const text = this.text.slice(start, this.at++)
        return escaped ? unescaped(text) : text
      }
      if (code === BACKSLASH) {
        escaped = true
        this.at++
      } else if (code < 32) unsure()
    }
    return unsure()
  }

  private array(depth: number): Json {
    if (depth > DEEPEST) unsure()
    this.at++
    const elements: Array<Json> = []
    if (this.text.charCodeAt(this.at) !== CLOSING_BRACKET) {
      for (;;) {
        elements.push(this.value(depth))
        if (this.text.charCodeAt(this.at) !== COMMA) break
        this.expect(", ")
      }
    }
    this.expect("]")
    return elements
  }

  private object(depth: number): Json {
    if (depth > DEEPEST) unsure()
    this.at++
    const members = new Map<string, Json>()
    let previous: string | undefined
    if (this.text.charCodeAt(this.at) !== CLOSING_BRACE) {
      for (;;) {
        if (this.text.charCodeAt(this.at) !== QUOTE) unsure()
        const key = this.string()
        if (previous !== undefined && compareKeys(previous, key) >= 0) unsure()
        previous = key
        this.expect(": ")
        members.set(key, this.value(depth))
        if (this.text.charCodeAt(this.at) !== COMMA) break
        this.expect(", ")
      }
    }
    this.expect("}")
    return members
  }
}

/** As Postgres prints it. JSON's own escaping of strings is the same. */
export const printJson = (json: Json): string => {
  if (json === null || typeof json === "boolean") return String(json)
  if (typeof json === "string") return JSON.stringify(json)
  if (isArray(json)) return `[${json.map(printJson).join(", ")}]`
  if (!isObject(json)) return format(json)
  const members: Array<string> = []
  for (const [key, value] of json) members.push(`${JSON.stringify(key)}: ${printJson(value)}`)
  return `{${members.join(", ")}}`
}

const jsonbCodec: Codec = {
  decode: (text) => jsonb(new Reader(text).read()),
  encode: (value) => printJson((value as Jsonb).json),
  equal: (a, b) => equalJson((a as Jsonb).json, (b as Jsonb).json),
  compare: (a, b) => compareJson((a as Jsonb).json, (b as Jsonb).json)
}

export const jsonCodecs = { jsonb: jsonbCodec } satisfies Readonly<Record<string, Codec>>
