/**
 * Codecs of float4 and float8. The output text is the shortest that reads back as the same number, in Postgres's choice of
 * notation.
 */
import { type Codec, unsure, type Value } from "../Value.ts"
import { type Decimal, shortestDecimal } from "./ShortestDecimal.ts"

/** Whether the text is a number as Postgres and JavaScript both write it: 2 when it isn't zero, 1 when it is. */
const syntax = (text: string): 0 | 1 | 2 => {
  let mantissa = true
  let zero = true
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code > 48 && code <= 57) zero = zero && !mantissa
    else if (code === 101) mantissa = false
    else if (code !== 48 && code !== 46 && code !== 45 && code !== 43) return 0
  }
  return text.length === 0 ? 0 : zero ? 1 : 2
}

export const decodeFloat8 = (text: string): number => {
  const form = syntax(text)
  if (form === 0) {
    return text === "NaN" ? NaN : text === "Infinity" ? Infinity : text === "-Infinity" ? -Infinity : unsure()
  }
  const result = Number(text)
  // Syntax errors, overflow and underflow are Postgres's to report.
  return Number.isFinite(result) && (result !== 0 || form === 1) ? result : unsure()
}

const double = new Float64Array(1)
const words = new Uint32Array(double.buffer)
const low = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 0 : 1

const LEAST_NORMAL = 2 ** -126

/** Half way between two floats: rounding to this double first may have decided which one a decimal rounds to. */
const isTie = (x: number): boolean => {
  if (Math.abs(x) < LEAST_NORMAL) return Math.abs(x) * 2 ** 149 % 1 === 0.5
  double[0] = x
  return (words[low]! & 0x1fffffff) === 0x10000000
}

/** The float nearest to what `x` is the nearest double of; unsure where that can't be told, or for overflow and underflow. */
export const roundToFloat4 = (x: number): number => {
  const result = Math.fround(x)
  if (result === x || x !== x) return result
  return isTie(x) || result === 0 || !Number.isFinite(result) ? unsure() : result
}

export const decodeFloat4 = (text: string): number => roundToFloat4(decodeFloat8(text))

/** As Postgres lays digits out: with an exponent below 10^-4 and from `limit` digits before the point on. */
const layOut = (negative: boolean, { digits, exponent }: Decimal, limit: number): string => {
  const sign = negative ? "-" : ""
  if (exponent < -4 || exponent >= limit) {
    const point = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits
    const size = Math.abs(exponent)
    return `${sign}${point}e${exponent < 0 ? "-" : "+"}${size < 10 ? "0" : ""}${size}`
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`
  if (digits.length <= exponent + 1) return sign + digits.padEnd(exponent + 1, "0")
  return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`
}

const special = (x: number): string | undefined =>
  Number.isFinite(x)
    ? x === 0 ? (Object.is(x, -0) ? "-0" : "0") : undefined
    : Number.isNaN(x)
    ? "NaN"
    : x > 0
    ? "Infinity"
    : "-Infinity"

const single = new Float32Array(1)
const bits = new Uint32Array(single.buffer)

export const encodeFloat4 = (x: number): string => {
  const name = special(x)
  if (name !== undefined) return name
  single[0] = Math.abs(x)
  const biased = bits[0]! >>> 23
  const fraction = bits[0]! & 0x7fffff
  const decimal = biased === 0
    ? shortestDecimal(BigInt(fraction), -149, false)
    : shortestDecimal(BigInt(fraction | 0x800000), biased - 150, fraction === 0 && biased > 1)
  return layOut(x < 0, decimal, 6)
}

const shortestOfDouble = (x: number): Decimal => {
  double[0] = x
  const high = words[1 - low]!
  const biased = high >>> 20
  const fraction = (BigInt(high & 0xfffff) << 32n) | BigInt(words[low]!)
  return biased === 0
    ? shortestDecimal(fraction, -1074, false)
    : shortestDecimal(fraction | (1n << 52n), biased - 1075, fraction === 0n && biased > 1)
}

/** Of a number whose shortest form JavaScript knows: it ends before a decimal can be half way to the next double. */
const nativeDecimal = (size: number): Decimal => {
  const text = size.toExponential()
  const at = text.indexOf("e")
  return { digits: text.slice(0, at).replace(".", ""), exponent: Number(text.slice(at + 1)) }
}

export const encodeFloat8 = (x: number): string => {
  const name = special(x)
  if (name !== undefined) return name
  const size = Math.abs(x)
  const native = Number.isSafeInteger(x) || (size < 2 ** 49 && size > 1e-300)
  return layOut(x < 0, native ? nativeDecimal(size) : shortestOfDouble(size), 15)
}

const compare = (a: Value, b: Value): number => {
  const x = a as number
  const y = b as number
  return x < y ? -1 : x > y ? 1 : x === y ? 0 : Number(x !== x) - Number(y !== y)
}
const equal = (a: Value, b: Value): boolean => a === b || (a !== a && b !== b)

export const float4Codec: Codec = {
  decode: decodeFloat4,
  encode: (value) => encodeFloat4(value as number),
  equal,
  compare
}
export const float8Codec: Codec = {
  decode: decodeFloat8,
  encode: (value) => encodeFloat8(value as number),
  equal,
  compare
}
