/**
 * Codecs of bool, int2, int4, int8 and oid. What isn't in output form is unsure.
 */
import { type Codec, unsure, type Value } from "../Value.ts"

/** Of up to fifteen digits after the sign. */
const parseSmall = (text: string, negative: boolean): number => {
  const length = text.length
  let at = negative ? 1 : 0
  if (at === length || length - at > 15) return unsure()
  let result = 0
  for (; at < length; at++) {
    const digit = text.charCodeAt(at) - 48
    if (digit < 0 || digit > 9) return unsure()
    result = result * 10 + digit
  }
  // Not -result: zero has no sign.
  return negative ? 0 - result : result
}

const within = (least: number, greatest: number) => (text: string): number => {
  const result = parseSmall(text, text.charCodeAt(0) === 45)
  return result >= least && result <= greatest ? result : unsure()
}

const decodeBigint = (text: string): bigint => {
  const negative = text.charCodeAt(0) === 45
  if (text.length <= 15) return BigInt(parseSmall(text, negative))
  if (text.length > 20) return unsure()
  for (let at = negative ? 1 : 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code < 48 || code > 57) return unsure()
  }
  const result = BigInt(text)
  return BigInt.asIntN(64, result) === result ? result : unsure()
}

const equal = (a: Value, b: Value): boolean => a === b
const compareNumbers = (a: Value, b: Value): number => (a as number) - (b as number)
const compareBigints = (a: Value, b: Value): number => (a as bigint) < (b as bigint) ? -1 : a === b ? 0 : 1

const codec = (decode: (text: string) => number): Codec => ({ decode, encode: String, equal, compare: compareNumbers })

export const int2Codec: Codec = codec(within(-32_768, 32_767))
export const int4Codec: Codec = codec(within(-2_147_483_648, 2_147_483_647))
export const oidCodec: Codec = codec(within(0, 4_294_967_295))
export const int8Codec: Codec = { decode: decodeBigint, encode: String, equal, compare: compareBigints }

export const boolCodec: Codec = {
  decode: (text) => text === "t" ? true : text === "f" ? false : unsure(),
  encode: (value) => value === true ? "t" : "f",
  equal,
  compare: (a, b) => Number(a) - Number(b)
}
