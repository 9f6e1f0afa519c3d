/**
 * Exact decimals, as Postgres's `numeric` computes them: the same digits and the same display scale.
 *
 * Whatever Postgres would refuse is unsure, and so are numbers too long to be worth computing here.
 */
import { type Codec, type Numeric, unsure, type Value } from "../Value.ts"

/** Longer texts, and results with more digits than this, are left to Postgres, so that no row costs much. */
const LONGEST = 4_000
const BEYOND = 10n ** BigInt(LONGEST)

const make = (digits: bigint, scale: number, special: Numeric["special"]): Numeric => ({
  _tag: "Numeric",
  digits,
  scale,
  special
})

export const NAN: Numeric = make(0n, 0, "NaN")
export const INFINITY: Numeric = make(0n, 0, "Infinity")
export const NEGATIVE_INFINITY: Numeric = make(0n, 0, "-Infinity")
export const ZERO: Numeric = make(0n, 0, undefined)

/** `digits` × 10^-`scale`; unsure when it is too long. */
export const numeric = (digits: bigint, scale: number): Numeric =>
  digits < BEYOND && digits > -BEYOND && scale <= LONGEST ? make(digits, scale, undefined) : unsure()

const powers: Array<bigint> = [1n]
/** 10^`exponent`. */
export const power10 = (exponent: number): bigint => {
  if (exponent > 2 * LONGEST + 20) unsure()
  if (exponent > 400) return 10n ** BigInt(exponent)
  for (let at = powers.length; at <= exponent; at++) powers.push(powers[at - 1]! * 10n)
  return powers[exponent]!
}

/** Of texts in output form, without an exponent. Anything else is unsure. */
export const parse = (text: string): Numeric => {
  const length = text.length
  const negative = text.charCodeAt(0) === 45
  let at = negative ? 1 : 0
  if (at === length || length > LONGEST) return unsure()
  let point = -1
  // Exact while there are at most fifteen digits.
  let small = 0
  for (; at < length; at++) {
    const code = text.charCodeAt(at)
    if (code >= 48 && code <= 57) small = small * 10 + code - 48
    else if (code === 46 && point < 0 && at + 1 < length && at > (negative ? 1 : 0)) point = at
    else return parseSpecial(text)
  }
  const scale = point < 0 ? 0 : length - point - 1
  if (length <= 15) return make(BigInt(negative ? 0 - small : small), scale, undefined)
  return make(BigInt(point < 0 ? text : text.slice(0, point) + text.slice(point + 1)), scale, undefined)
}

const parseSpecial = (text: string): Numeric =>
  text === "NaN" ? NAN : text === "Infinity" ? INFINITY : text === "-Infinity" ? NEGATIVE_INFINITY : unsure()

/** The output text. */
export const format = (value: Numeric): string => {
  if (value.special !== undefined) return value.special
  if (value.scale === 0) return String(value.digits)
  const negative = value.digits < 0n
  const digits = String(negative ? -value.digits : value.digits).padStart(value.scale + 1, "0")
  const point = digits.length - value.scale
  return `${negative ? "-" : ""}${digits.slice(0, point)}.${digits.slice(point)}`
}

/** NaN is greater than everything else, and equal to itself. */
const rank = (special: Numeric["special"]): number =>
  special === undefined ? 0 : special === "NaN" ? 2 : special === "Infinity" ? 1 : -1

export const compare = (a: Numeric, b: Numeric): number => {
  if (a.special !== undefined || b.special !== undefined) return rank(a.special) - rank(b.special)
  const left = a.scale < b.scale ? a.digits * power10(b.scale - a.scale) : a.digits
  const right = b.scale < a.scale ? b.digits * power10(a.scale - b.scale) : b.digits
  return left < right ? -1 : left > right ? 1 : 0
}

/** 1.5 and 1.50 are equal. */
export const equal = (a: Numeric, b: Numeric): boolean =>
  a.scale === b.scale && a.special === undefined && b.special === undefined
    ? a.digits === b.digits
    : compare(a, b) === 0

const infinity = (sign: number): Numeric => sign > 0 ? INFINITY : NEGATIVE_INFINITY

/** -1, 0 or 1; not of NaN. */
const signOf = (value: Numeric): number =>
  value.special !== undefined ? rank(value.special) : value.digits > 0n ? 1 : value.digits < 0n ? -1 : 0

export const negate = (value: Numeric): Numeric =>
  value.special === undefined
    ? make(-value.digits, value.scale, undefined)
    : value.special === "NaN"
    ? NAN
    : infinity(-rank(value.special))

export const absolute = (value: Numeric): Numeric =>
  value.special === "-Infinity" ? INFINITY : value.digits < 0n ? negate(value) : value

export const sign = (value: Numeric): Numeric =>
  value.special === "NaN" ? NAN : make(BigInt(signOf(value)), 0, undefined)

export const add = (a: Numeric, b: Numeric): Numeric => {
  if (a.special !== undefined || b.special !== undefined) {
    if (a.special === "NaN" || b.special === "NaN") return NAN
    const sum = rank(a.special) + rank(b.special)
    return sum === 0 ? NAN : infinity(sum)
  }
  if (a.scale === b.scale) return numeric(a.digits + b.digits, a.scale)
  return a.scale < b.scale
    ? numeric(a.digits * power10(b.scale - a.scale) + b.digits, b.scale)
    : numeric(a.digits + b.digits * power10(a.scale - b.scale), a.scale)
}

export const subtract = (a: Numeric, b: Numeric): Numeric => add(a, negate(b))

export const multiply = (a: Numeric, b: Numeric): Numeric => {
  if (a.special === undefined && b.special === undefined) return numeric(a.digits * b.digits, a.scale + b.scale)
  if (a.special === "NaN" || b.special === "NaN") return NAN
  const product = signOf(a) * signOf(b)
  return product === 0 ? NAN : infinity(product)
}

/** `n` ÷ `d`, rounded half away from zero. */
const divideRounding = (n: bigint, d: bigint): bigint => {
  const quotient = n / d
  const rest = n % d
  const twice = (rest < 0n ? -rest : rest) * 2n
  if (twice < (d < 0n ? -d : d)) return quotient
  return n < 0n === d < 0n ? quotient + 1n : quotient - 1n
}

/** Weight and value of the first nonzero digit, in base 10000, in which Postgres keeps them. */
const leading = (value: Numeric): readonly [weight: number, digit: number] => {
  if (value.digits === 0n) return [0, 0]
  const text = String(value.digits < 0n ? -value.digits : value.digits)
  const exponent = text.length - 1 - value.scale
  const weight = Math.floor(exponent / 4)
  const count = exponent - 4 * weight + 1
  return [weight, Number(text.slice(0, count).padEnd(count, "0"))]
}

/** The scale of a quotient: at least sixteen significant digits, and no less than either operand's. */
const quotientScale = (a: Numeric, b: Numeric): number => {
  const [weightA, digitA] = leading(a)
  const [weightB, digitB] = leading(b)
  const weight = weightA - weightB - (digitA <= digitB ? 1 : 0)
  return Math.min(Math.max(16 - weight * 4, a.scale, b.scale, 0), 1000)
}

export const divide = (a: Numeric, b: Numeric): Numeric => {
  if (a.special === "NaN" || b.special === "NaN") return NAN
  if (a.special !== undefined) {
    if (b.special !== undefined) return NAN
    return b.digits === 0n ? unsure() : infinity(signOf(a) * signOf(b))
  }
  if (b.special !== undefined) return ZERO
  if (b.digits === 0n) return unsure()
  const scale = quotientScale(a, b)
  const shift = scale + b.scale - a.scale
  return numeric(
    shift >= 0
      ? divideRounding(a.digits * power10(shift), b.digits)
      : divideRounding(a.digits, b.digits * power10(-shift)),
    scale
  )
}

/** The rest of the truncated quotient: it has the sign of `a`. */
export const modulo = (a: Numeric, b: Numeric): Numeric => {
  if (a.special === "NaN" || b.special === "NaN") return NAN
  if (a.special !== undefined) return b.special === undefined && b.digits === 0n ? unsure() : NAN
  if (b.special !== undefined) return a
  if (b.digits === 0n) return unsure()
  const scale = Math.max(a.scale, b.scale)
  return numeric((a.digits * power10(scale - a.scale)) % (b.digits * power10(scale - b.scale)), scale)
}

/** How far versions of Postgres agree on the scales that `round` and `trunc` take. */
const LARGEST_SCALE = 1000

/** To `scale` digits after the point, or before it when negative; half away from zero. */
export const round = (value: Numeric, scale: number): Numeric => rescale(value, scale, true)

export const truncate = (value: Numeric, scale: number): Numeric => rescale(value, scale, false)

const rescale = (value: Numeric, scale: number, rounding: boolean): Numeric => {
  if (value.special !== undefined) return value
  if (scale > LARGEST_SCALE || scale < -LARGEST_SCALE) return unsure()
  if (scale >= value.scale) return numeric(value.digits * power10(scale - value.scale), scale)
  const unit = power10(value.scale - scale)
  const digits = rounding ? divideRounding(value.digits, unit) : value.digits / unit
  return scale >= 0 ? numeric(digits, scale) : numeric(digits * power10(-scale), 0)
}

export const floor = (value: Numeric): Numeric => {
  if (value.special !== undefined || value.scale === 0) return value
  const unit = power10(value.scale)
  const whole = value.digits / unit
  return make(value.digits < 0n && whole * unit !== value.digits ? whole - 1n : whole, 0, undefined)
}

export const ceiling = (value: Numeric): Numeric => negate(floor(negate(value)))

/** Rounded half away from zero, as casts to integers do; unsure when it isn't finite. */
export const toBigint = (value: Numeric): bigint =>
  value.special !== undefined
    ? unsure()
    : value.scale === 0
    ? value.digits
    : divideRounding(value.digits, power10(value.scale))

export const fromBigint = (value: bigint): Numeric => make(value, 0, undefined)

/** With as few digits after the point as its value needs. */
export const trimScale = (value: Numeric): Numeric => {
  let { digits, scale } = value
  for (; scale > 0 && digits % 10n === 0n; scale--) digits /= 10n
  return scale === value.scale ? value : make(digits, scale, undefined)
}

export const numericCodec: Codec = {
  decode: parse,
  encode: (value) => format(value as Numeric),
  equal: (a, b) => equal(a as Numeric, b as Numeric),
  compare: (a: Value, b: Value) => compare(a as Numeric, b as Numeric)
}
