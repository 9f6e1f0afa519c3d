/**
 * The functions that are evaluated here, by the names of their C functions. All others are Postgres's.
 */
import type { Builtin } from "../Value.ts"
import { comparisonFunctions } from "./Comparisons.ts"
import { textComparisonFunctions } from "./TextComparisons.ts"

const builtins = new Map<string, Builtin>(
  [comparisonFunctions, textComparisonFunctions].flatMap((some) => Object.entries(some))
)

/** Of a C function, as `FunctionRef.source` names it. */
export const builtin = (source: string): Builtin | undefined => builtins.get(source)
