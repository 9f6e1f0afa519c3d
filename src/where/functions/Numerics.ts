/**
 * Functions of numeric.
 */
import { type Builtins, type Numeric, unsure } from "../Value.ts"
import {
  absolute,
  add,
  ceiling,
  divide,
  floor,
  modulo,
  multiply,
  negate,
  round,
  sign,
  subtract,
  trimScale,
  truncate
} from "../values/Numeric.ts"
import { exact } from "./define.ts"

export const numericFunctions: Builtins = {
  numeric_add: exact(add),
  numeric_sub: exact(subtract),
  numeric_mul: exact(multiply),
  numeric_div: exact(divide),
  numeric_mod: exact(modulo),
  numeric_uminus: exact(negate),
  numeric_uplus: exact((a: Numeric) => a),
  numeric_abs: exact(absolute),
  numeric_sign: exact(sign),
  numeric_ceil: exact(ceiling),
  numeric_floor: exact(floor),
  numeric_round: exact(round),
  numeric_trunc: exact(truncate),
  numeric_trim_scale: exact(trimScale),
  numeric_scale: exact((a: Numeric) => a.special === undefined ? a.scale : null),
  numeric_min_scale: exact((a: Numeric) => a.special === undefined ? trimScale(a).scale : null),
  // Quotients without a fraction, which a rounded one would not tell.
  numeric_div_trunc: exact((a: Numeric, b: Numeric) =>
    a.special !== undefined || b.special !== undefined ? divide(a, b) : divideTruncating(a, b)
  )
}

/** What is left after taking off the rest is a multiple of `b`, and no rounding changes its quotient. */
const divideTruncating = (a: Numeric, b: Numeric): Numeric =>
  b.digits === 0n ? unsure() : truncate(divide(subtract(a, modulo(a, b)), b), 0)
