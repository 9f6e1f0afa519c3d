/**
 * Arithmetic of int2, int4 and int8. Overflow and division by zero are Postgres's to report.
 */
import { type Builtin, type Builtins, unsure } from "../Value.ts"
import { exact } from "./define.ts"

const int2 = (x: number): number => x >= -32_768 && x <= 32_767 ? x : unsure()
const int4 = (x: number): number => x >= -2_147_483_648 && x <= 2_147_483_647 ? x : unsure()
const int8 = (x: bigint): bigint => BigInt.asIntN(64, x) === x ? x : unsure()

/** Truncated. `| 0` takes the sign off a zero, which is why a quotient of 2^31 has to be caught before. */
const quotient = (a: number, b: number): number => b === 0 ? unsure() : int4(Math.trunc(a / b)) | 0
const remainder = (a: number, b: number): number => b === 0 ? unsure() : (a % b) | 0

/** Counts beyond the width are undefined in C. */
const count = (n: number, width: number): number => n >= 0 && n < width ? n : unsure()

/** Of two int2. */
const shorts: Builtins = {
  int2pl: exact((a: number, b: number) => int2(a + b)),
  int2mi: exact((a: number, b: number) => int2(a - b)),
  int2mul: exact((a: number, b: number) => int2(a * b)),
  int2div: exact((a: number, b: number) => int2(quotient(a, b))),
  int2mod: exact(remainder),
  int2um: exact((a: number) => int2(0 - a)),
  int2up: exact((a: number) => a),
  int2abs: exact((a: number) => int2(Math.abs(a))),
  int2and: exact((a: number, b: number) => a & b),
  int2or: exact((a: number, b: number) => a | b),
  int2xor: exact((a: number, b: number) => a ^ b),
  int2not: exact((a: number) => ~a),
  int2shl: exact((a: number, n: number) => ((a << count(n, 32)) << 16) >> 16),
  int2shr: exact((a: number, n: number) => a >> count(n, 32))
}

const plus = exact((a: number, b: number) => int4(a + b))
const minus = exact((a: number, b: number) => int4(a - b))
// Products beyond 2^53 aren't exact, but far beyond an int4.
const times = exact((a: number, b: number) => int4(a * b) | 0)
const divided = exact(quotient)

/** Of int4, and of int4 with int2. */
const integers: Builtins = {
  int4pl: plus,
  int24pl: plus,
  int42pl: plus,
  int4mi: minus,
  int24mi: minus,
  int42mi: minus,
  int4mul: times,
  int24mul: times,
  int42mul: times,
  int4div: divided,
  int24div: divided,
  int42div: divided,
  int4mod: exact(remainder),
  int4um: exact((a: number) => int4(0 - a)),
  int4up: exact((a: number) => a),
  int4inc: exact((a: number) => int4(a + 1)),
  int4abs: exact((a: number) => int4(Math.abs(a))),
  int4and: exact((a: number, b: number) => a & b),
  int4or: exact((a: number, b: number) => a | b),
  int4xor: exact((a: number, b: number) => a ^ b),
  int4not: exact((a: number) => ~a),
  int4shl: exact((a: number, n: number) => a << count(n, 32)),
  int4shr: exact((a: number, n: number) => a >> count(n, 32))
}

/** Of int8, and of int8 with a shorter one: `name` with each pair of widths. */
const eights = (name: string, f: (a: bigint, b: bigint) => bigint): Builtins => {
  const left: Builtin = exact((a: number, b: bigint) => f(BigInt(a), b))
  const right: Builtin = exact((a: bigint, b: number) => f(a, BigInt(b)))
  return {
    [`int8${name}`]: exact(f),
    [`int28${name}`]: left,
    [`int48${name}`]: left,
    [`int82${name}`]: right,
    [`int84${name}`]: right
  }
}

const longs: Builtins = {
  ...eights("pl", (a, b) => int8(a + b)),
  ...eights("mi", (a, b) => int8(a - b)),
  ...eights("mul", (a, b) => int8(a * b)),
  ...eights("div", (a, b) => b === 0n ? unsure() : int8(a / b)),
  int8mod: exact((a: bigint, b: bigint) => b === 0n ? unsure() : a % b),
  int8um: exact((a: bigint) => int8(-a)),
  int8up: exact((a: bigint) => a),
  int8abs: exact((a: bigint) => int8(a < 0n ? -a : a)),
  int8and: exact((a: bigint, b: bigint) => a & b),
  int8or: exact((a: bigint, b: bigint) => a | b),
  int8xor: exact((a: bigint, b: bigint) => a ^ b),
  int8not: exact((a: bigint) => ~a),
  int8shl: exact((a: bigint, n: number) => BigInt.asIntN(64, a << BigInt(count(n, 64)))),
  int8shr: exact((a: bigint, n: number) => a >> BigInt(count(n, 64)))
}

/** As hexadecimal and the like: the bits, without a sign. */
const written: Builtins = {
  to_hex32: exact((a: number) => (a >>> 0).toString(16)),
  to_hex64: exact((a: bigint) => BigInt.asUintN(64, a).toString(16)),
  to_oct32: exact((a: number) => (a >>> 0).toString(8)),
  to_oct64: exact((a: bigint) => BigInt.asUintN(64, a).toString(8)),
  to_bin32: exact((a: number) => (a >>> 0).toString(2)),
  to_bin64: exact((a: bigint) => BigInt.asUintN(64, a).toString(2))
}

export const integerFunctions: Builtins = { ...shorts, ...integers, ...longs, ...written }
