/**
 * Codecs of float4 and float8. The output text is the shortest that reads back as the same number, in Postgres's choice of
 * notation.
 */
import { type Codec, unsure, type Value } from "../Value.ts"

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

/** Digits without a point, and the exponent of the first one. */
const scientific = (text: string): readonly [digits: string, exponent: number] => {
  const at = text.indexOf("e")
  const digits = text.slice(0, at).replace(".", "").replace(/0+$/, "")
  return [digits === "" ? "0" : digits, Number(text.slice(at + 1))]
}

/** As Postgres lays digits out: with an exponent below 10^-4 and from `limit` digits before the point on. */
const layOut = (negative: boolean, digits: string, exponent: number, limit: number): string => {
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

/** `digits` × 10^`exponent` as a fraction. */
const decimal = (digits: bigint, exponent: number): readonly [bigint, bigint] =>
  exponent >= 0 ? [digits * 10n ** BigInt(exponent), 1n] : [digits, 10n ** BigInt(-exponent)]

const binary = (mantissa: bigint, exponent: number): readonly [bigint, bigint] =>
  exponent >= 0 ? [mantissa << BigInt(exponent), 1n] : [mantissa, 1n << BigInt(-exponent)]

/** Whether a decimal is exactly half way from `x` to one of its neighbours: JavaScript accepts it as a short form, Postgres not. */
const onBoundary = (x: number, digits: string, exponent: number): boolean => {
  double[0] = x
  const high = words[1 - low]! & 0x7fffffff
  const biased = high >>> 20
  const fractionBits = (BigInt(high & 0xfffff) << 32n) | BigInt(words[low]!)
  const mantissa = biased === 0 ? fractionBits : fractionBits | (1n << 52n)
  const power = Math.max(biased, 1) - 1075
  const [n, d] = decimal(BigInt(digits), exponent - digits.length + 1)
  return [4n * mantissa + 2n, 4n * mantissa - 2n, 4n * mantissa - 1n].some((quarter) => {
    const [bn, bd] = binary(quarter, power - 2)
    return n * bd === bn * d
  })
}

export const encodeFloat8 = (x: number): string => {
  const name = special(x)
  if (name !== undefined) return name
  const [digits, exponent] = scientific(Math.abs(x).toExponential())
  // Integers that a double holds exactly have no shorter form than their digits.
  if (!Number.isSafeInteger(x) && onBoundary(Math.abs(x), digits, exponent)) return unsure()
  return layOut(x < 0, digits, exponent, 15)
}

const isPowerOfTwo = (x: number): boolean => {
  double[0] = x
  return (words[1 - low]! & 0xfffff) === 0 && words[low] === 0
}

export const encodeFloat4 = (x: number): string => {
  const name = special(x)
  if (name !== undefined) return name
  const size = Math.abs(x)
  for (let precision = 1; precision <= 9; precision++) {
    const text = size.toExponential(precision - 1)
    const near = Number(text)
    if (near !== size) {
      if (Math.fround(near) !== size || isTie(near)) continue
      // The neighbour below a power of two is nearer than the one above; and of two equally near texts either may be meant.
      if (isPowerOfTwo(size) || Number(size.toExponential(precision)) === size) return unsure()
    }
    const [digits, exponent] = scientific(text)
    return layOut(x < 0, digits, exponent, 6)
  }
  return unsure()
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
