/**
 * The shortest decimal that reads back as the same binary number, as Postgres chooses it: strictly nearer to the number
 * than half way to its neighbours, the nearest such one, and even when two are equally near.
 *
 * JavaScript's own differs where a decimal is exactly half way, and it has none for float4.
 */

export interface Decimal {
  /** Without zeros at the end. */
  readonly digits: string
  /** Of the first digit. */
  readonly exponent: number
}

/** `n` ÷ `d`. */
type Fraction = readonly [n: bigint, d: bigint]

const powerOfTwo = (mantissa: bigint, exponent: number): Fraction =>
  exponent >= 0 ? [mantissa << BigInt(exponent), 1n] : [mantissa, 1n << BigInt(-exponent)]

/** A multiple of 10^`place` that is in the open interval, and the nearest to `value` that there is; `undefined` for none. */
const nearest = (place: number, value: Fraction, lower: Fraction, upper: Fraction): bigint | undefined => {
  const unit = 10n ** BigInt(Math.abs(place))
  const up = place >= 0 ? unit : 1n
  const down = place >= 0 ? 1n : unit
  const within = (count: bigint): boolean =>
    count * up * lower[1] > lower[0] * down && count * up * upper[1] < upper[0] * down
  const n = value[0] * down
  const d = value[1] * up
  const floor = n / d
  const rest = 2n * (n % d) - d
  const below = rest < 0n || (rest === 0n && floor % 2n === 0n)
  const first = below ? floor : floor + 1n
  const second = below ? floor + 1n : floor
  return within(first) ? first : within(second) ? second : undefined
}

/**
 * Of `mantissa` × 2^`exponent`, which is positive; `narrow` when the neighbour below is only half as far as the one above.
 */
export const shortestDecimal = (mantissa: bigint, exponent: number, narrow: boolean): Decimal => {
  const value = powerOfTwo(4n * mantissa, exponent - 2)
  const lower = powerOfTwo(4n * mantissa - (narrow ? 1n : 2n), exponent - 2)
  const upper = powerOfTwo(4n * mantissa + 2n, exponent - 2)
  // From a place that is certainly too coarse.
  let place = Math.ceil(Math.log10(Number(mantissa)) + exponent * Math.log10(2)) + 1
  for (;; place--) {
    const count = nearest(place, value, lower, upper)
    if (count === undefined || count === 0n) continue
    const digits = String(count)
    return { digits: digits.replace(/0+$/, ""), exponent: place + digits.length - 1 }
  }
}
