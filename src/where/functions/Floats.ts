/**
 * Arithmetic of float4 and float8: what IEEE 754 defines to the last bit, so no transcendental functions.
 *
 * Postgres reports infinite results of finite numbers as overflow, and zero ones as underflow.
 */
import { type Builtins, unsure } from "../Value.ts"
import { exact } from "./define.ts"

const isInfinite = (x: number): boolean => x === Infinity || x === -Infinity

/** A sum of `a` and `b`. */
const sum = (result: number, a: number, b: number): number =>
  isInfinite(result) && !isInfinite(a) && !isInfinite(b) ? unsure() : result

const product = (result: number, a: number, b: number): number =>
  (isInfinite(result) && !isInfinite(a) && !isInfinite(b)) || (result === 0 && a !== 0 && b !== 0) ? unsure() : result

const quotient = (result: number, a: number, b: number): number =>
  (b === 0 && a === a) || (isInfinite(result) && !isInfinite(a)) || (result === 0 && a !== 0 && !isInfinite(b))
    ? unsure()
    : result

/** Operations on doubles whose results are rounded again are right: a double has more than twice the bits of a float. */
const round = Math.fround

/** To the nearest integer, half to even. */
export const roundHalfEven = (x: number): number => {
  const result = Math.round(x)
  return result - x === 0.5 && result % 2 !== 0 ? result - 1 : result
}

/** Of integers, as long as the power is one that a double holds exactly: every library finds those. */
const power = (a: number, b: number): number => {
  if (!Number.isSafeInteger(a) || !Number.isInteger(b) || b < 0 || b > 1000) return unsure()
  let result = 1
  for (let i = 0; i < b; i++) {
    result *= a
    if (!Number.isSafeInteger(result)) return unsure()
  }
  return result
}

const plus = exact((a: number, b: number) => sum(a + b, a, b))
const minus = exact((a: number, b: number) => sum(a - b, a, b))
const times = exact((a: number, b: number) => product(a * b, a, b))
const divided = exact((a: number, b: number) => quotient(a / b, a, b))
const negated = exact((a: number) => -a)
const same = exact((a: number) => a)
const absolute = exact((a: number) => Math.abs(a))

export const floatFunctions: Builtins = {
  float8pl: plus,
  float48pl: plus,
  float84pl: plus,
  float8mi: minus,
  float48mi: minus,
  float84mi: minus,
  float8mul: times,
  float48mul: times,
  float84mul: times,
  float8div: divided,
  float48div: divided,
  float84div: divided,
  float8um: negated,
  float8up: same,
  float8abs: absolute,
  float4pl: exact((a: number, b: number) => sum(round(a + b), a, b)),
  float4mi: exact((a: number, b: number) => sum(round(a - b), a, b)),
  float4mul: exact((a: number, b: number) => product(round(a * b), a, b)),
  float4div: exact((a: number, b: number) => quotient(round(a / b), a, b)),
  float4um: negated,
  float4up: same,
  float4abs: absolute,
  dround: exact(roundHalfEven),
  dceil: exact((a: number) => Math.ceil(a)),
  dfloor: exact((a: number) => Math.floor(a)),
  dtrunc: exact((a: number) => Math.trunc(a)),
  dsign: exact((a: number) => a > 0 ? 1 : a < 0 ? -1 : 0),
  dpow: exact(power),
  dsqrt: exact((a: number) => a < 0 ? unsure() : Math.sqrt(a))
}
