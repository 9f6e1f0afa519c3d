/**
 * How functions are defined: over the values that their argument types have, checked by nobody but the types of the call.
 */
import type { Builtin, CallSite, Closure, Value } from "../Value.ts"

/** The same closure wherever the function is called. */
export const exact = <A extends Value, B extends Value, C extends Value, D extends Value>(
  f: (a: A, b: B, c: C, d: D) => Value
): Builtin => {
  const closure = f as Closure
  return () => closure
}

/** A closure that depends on where the function is called. */
export const at = <A extends Value, B extends Value, C extends Value, D extends Value>(
  f: (site: CallSite) => ((a: A, b: B, c: C, d: D) => Value) | undefined
): Builtin => f as Builtin
