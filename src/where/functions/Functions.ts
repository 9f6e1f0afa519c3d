/**
 * The functions that are evaluated here, by the names of their C functions. All others are Postgres's.
 */
import type { Builtin } from "../Value.ts"
import { arrayFunctions } from "./Arrays.ts"
import { castFunctions } from "./Casts.ts"
import { comparisonFunctions } from "./Comparisons.ts"
import { floatFunctions } from "./Floats.ts"
import { integerFunctions } from "./Integers.ts"
import { jsonFunctions } from "./Json.ts"
import { jsonTextFunctions } from "./JsonText.ts"
import { networkFunctions } from "./Network.ts"
import { numericFunctions } from "./Numerics.ts"
import { patternFunctions } from "./Patterns.ts"
import { rangeFunctions } from "./Ranges.ts"
import { temporalFunctions } from "./Temporal.ts"
import { textFunctions } from "./Text.ts"
import { textComparisonFunctions } from "./TextComparisons.ts"

const builtins = new Map<string, Builtin>(
  [
    comparisonFunctions,
    textComparisonFunctions,
    integerFunctions,
    floatFunctions,
    numericFunctions,
    castFunctions,
    textFunctions,
    patternFunctions,
    arrayFunctions,
    temporalFunctions,
    jsonFunctions,
    jsonTextFunctions,
    rangeFunctions,
    networkFunctions
  ].flatMap((some) => Object.entries(some))
)

/** Of a C function, as `FunctionRef.source` names it. */
export const builtin = (source: string): Builtin | undefined => builtins.get(source)
