/**
 * json, which is kept as it was written: where its parts begin and end. The text is one that Postgres has accepted; where
 * it turns out not to be, the answer is unsure.
 */
import { unsure } from "../Value.ts"
import { unescaped } from "./Json.ts"

const QUOTE = 34
const BACKSLASH = 92
const COMMA = 44
const COLON = 58
const OPENING_BRACKET = 91
const CLOSING_BRACKET = 93
const OPENING_BRACE = 123
const CLOSING_BRACE = 125

const isBlank = (code: number): boolean => code === 32 || (code >= 9 && code <= 13)

const afterBlanks = (text: string, from: number): number => {
  let at = from
  while (isBlank(text.charCodeAt(at))) at++
  return at
}

/** From an opening quote to behind the closing one. */
const afterString = (text: string, from: number): number => {
  for (let at = from + 1; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) return at + 1
    if (code === BACKSLASH) at++
  }
  return unsure()
}

const isOpening = (code: number): boolean => code === OPENING_BRACE || code === OPENING_BRACKET
const isClosing = (code: number): boolean => code === CLOSING_BRACE || code === CLOSING_BRACKET

/** From the beginning of a value to behind its end. */
const afterValue = (text: string, from: number): number => {
  let depth = 0
  for (let at = from; at < text.length;) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      at = afterString(text, at)
      if (depth === 0) return at
    } else if (isOpening(code)) {
      depth++
      at++
    } else if (isClosing(code)) {
      if (depth === 0) return at
      depth--
      at++
      if (depth === 0) return at
    } else if (depth === 0 && (code === COMMA || isBlank(code))) return at
    else at++
  }
  return depth === 0 ? text.length : unsure()
}

/** Of a value that begins with this character. */
export const typeOf = (text: string): string => {
  switch (text[afterBlanks(text, 0)]) {
    case "{":
      return "object"
    case "[":
      return "array"
    case "\"":
      return "string"
    case "t":
    case "f":
      return "boolean"
    case "n":
      return "null"
    default:
      return "number"
  }
}

/**
 * Postgres resolves the escapes of all strings when it looks for something, so that a wrong one anywhere is an error.
 * Escapes are found in strings alone.
 */
export const checkEscapes = (text: string): void => {
  if (text.includes("\\u")) unescaped(text)
}

/** Goes on after a comma; `undefined` at the container's end. */
const next = (text: string, from: number, end: number): number | undefined => {
  const at = afterBlanks(text, from)
  const code = text.charCodeAt(at)
  if (code === COMMA) return afterBlanks(text, at + 1)
  return code === end ? undefined : unsure()
}

/** The first part's place, or `undefined` when the text is no such container or is empty. */
const first = (text: string, begin: number, end: number): number | undefined => {
  const from = afterBlanks(text, 0)
  if (text.charCodeAt(from) !== begin) return undefined
  const at = afterBlanks(text, from + 1)
  return text.charCodeAt(at) === end ? undefined : at
}

/** The values of an object that have this key, in their order, as they are written. */
export const members = (text: string, key: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (let at = first(text, OPENING_BRACE, CLOSING_BRACE); at !== undefined;) {
    if (text.charCodeAt(at) !== QUOTE) unsure()
    const afterKey = afterString(text, at)
    const name = text.slice(at + 1, afterKey - 1)
    const colon = afterBlanks(text, afterKey)
    if (text.charCodeAt(colon) !== COLON) unsure()
    const from = afterBlanks(text, colon + 1)
    const to = afterValue(text, from)
    if ((name.includes("\\") ? unescaped(name) : name) === key) found.push(text.slice(from, to))
    at = next(text, to, CLOSING_BRACE)
  }
  return found
}

/** The elements of an array, as they are written. */
export const elements = (text: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (let at = first(text, OPENING_BRACKET, CLOSING_BRACKET); at !== undefined;) {
    const to = afterValue(text, at)
    found.push(text.slice(at, to))
    at = next(text, to, CLOSING_BRACKET)
  }
  return found
}
