/**
 * Casts between types of numbers, from and to bool, and within the family of texts. Out of range is Postgres's to report.
 */
import { type Builtins, type Numeric, unsure } from "../Value.ts"
import { decodeFloat8, roundToFloat4 } from "../values/Floats.ts"
import { format, fromBigint, numeric, parse, toBigint } from "../values/Numeric.ts"
import { nameOf, withoutBlanks } from "../values/Texts.ts"
import { exact } from "./define.ts"
import { roundHalfEven } from "./Floats.ts"

const int2 = (x: number): number => x >= -32_768 && x <= 32_767 ? x : unsure()
const int4 = (x: number): number => x >= -2_147_483_648 && x <= 2_147_483_647 ? x : unsure()
const int8 = (x: bigint): bigint => BigInt.asIntN(64, x) === x ? x : unsure()
const oid = (x: bigint): number => x >= 0n && x <= 4_294_967_295n ? Number(x) : unsure()

/** `+ 0` takes the sign off a zero. */
const floatToInt2 = (x: number): number => int2(roundHalfEven(x) + 0)
const floatToInt4 = (x: number): number => int4(roundHalfEven(x) + 0)
const floatToInt8 = (x: number): bigint => Number.isFinite(x) ? int8(BigInt(roundHalfEven(x))) : unsure()

const doubleToFloat4 = (x: number): number => {
  const result = Math.fround(x)
  return (!Number.isFinite(result) && Number.isFinite(x)) || (result === 0 && x !== 0) ? unsure() : result
}

/** Through a double: exact when that is, else when the double isn't half way between two floats. */
const bigintToFloat4 = (x: bigint): number => {
  const double = Number(x)
  return BigInt(double) === x ? Math.fround(double) : roundToFloat4(double)
}

const numericToFloat8 = (value: Numeric): number =>
  value.special === undefined && value.digits === 0n ? 0 : decodeFloat8(format(value))

/** Postgres prints the float with so many significant digits, and reads that. */
const floatToNumeric = (x: number, precision: number): Numeric => {
  if (!Number.isFinite(x)) return parse(String(x))
  // One half in the last place is rounded to even by C, and up by JavaScript.
  const further = Math.abs(x).toExponential(precision + 20)
  if (/^50*e/.test(further.slice(precision + 1))) return unsure()
  const text = x.toExponential(precision - 1)
  const e = text.indexOf("e")
  const mantissa = text.slice(0, e).replace(/\.?0+$/, "")
  const exponent = Number(text.slice(e + 1))
  const point = mantissa.indexOf(".")
  const digits = BigInt(mantissa.replace(".", ""))
  const scale = (point < 0 ? 0 : mantissa.length - point - 1) - exponent
  return scale >= 0 ? numeric(digits, scale) : numeric(digits * 10n ** BigInt(-scale), 0)
}

export const castFunctions: Builtins = {
  i2toi4: exact((a: number) => a),
  i4toi2: exact(int2),
  int28: exact((a: number) => BigInt(a)),
  int48: exact((a: number) => BigInt(a)),
  int82: exact((a: bigint) => int2(Number(a))),
  int84: exact((a: bigint) => int4(Number(a))),
  i8tooid: exact(oid),
  oidtoi8: exact((a: number) => BigInt(a)),
  i2tof: exact((a: number) => a),
  i4tof: exact((a: number) => Math.fround(a)),
  i8tof: exact(bigintToFloat4),
  i2tod: exact((a: number) => a),
  i4tod: exact((a: number) => a),
  i8tod: exact((a: bigint) => Number(a)),
  ftod: exact((a: number) => a),
  dtof: exact(doubleToFloat4),
  ftoi2: exact(floatToInt2),
  ftoi4: exact(floatToInt4),
  ftoi8: exact(floatToInt8),
  dtoi2: exact(floatToInt2),
  dtoi4: exact(floatToInt4),
  dtoi8: exact(floatToInt8),
  int2_numeric: exact((a: number) => fromBigint(BigInt(a))),
  int4_numeric: exact((a: number) => fromBigint(BigInt(a))),
  int8_numeric: exact(fromBigint),
  float4_numeric: exact((a: number) => floatToNumeric(a, 6)),
  float8_numeric: exact((a: number) => floatToNumeric(a, 15)),
  numeric_int2: exact((a: Numeric) => int2(Number(int8(toBigint(a))))),
  numeric_int4: exact((a: Numeric) => int4(Number(int8(toBigint(a))))),
  numeric_int8: exact((a: Numeric) => int8(toBigint(a))),
  numeric_float4: exact((a: Numeric) => roundToFloat4(numericToFloat8(a))),
  numeric_float8: exact(numericToFloat8),
  bool_int4: exact((a: boolean) => a ? 1 : 0),
  int4_bool: exact((a: number) => a !== 0),
  booltext: exact((a: boolean) => a ? "true" : "false"),
  name_text: exact((a: string) => a),
  text_name: exact(nameOf),
  bpchar_name: exact((a: string) => nameOf(withoutBlanks(a))),
  char_text: exact((a: string) => a)
}
