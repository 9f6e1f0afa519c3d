/**
 * Intervals of a column's values, for finding clauses by: numbers, as doubles, or texts, as their bytes. Both keep the
 * order of the values they stand for, but may run neighbours together, so a bound is always part of its interval.
 */
import type { Column, Constant } from "../domain/Expression.ts"
import type { Collation, SqlType } from "../domain/SqlCatalog.ts"
import { baseTypeOf } from "./ExpressionType.ts"
import type { Numeric, Value } from "./Value.ts"

/** A value's place in the order of its kind. */
export type Place = number | string

/** From `low` to `high`, both included; `undefined` is no bound. */
export class Bounds {
  readonly kind: "number" | "text"
  readonly low: Place | undefined
  readonly high: Place | undefined

  constructor(kind: "number" | "text", low: Place | undefined, high: Place | undefined) {
    this.kind = kind
    this.low = low
    this.high = high
  }

  /** What lies in both. */
  and(other: Bounds): Bounds {
    if (other.kind !== this.kind) return this
    const low = this.low === undefined || (other.low !== undefined && other.low > this.low) ? other.low : this.low
    const high = this.high === undefined || (other.high !== undefined && other.high < this.high)
      ? other.high
      : this.high
    return new Bounds(this.kind, low, high)
  }
}

/** Types whose values have the same place when they are equal, by families that compare with each other. */
const families: ReadonlyArray<ReadonlySet<string>> = [
  new Set(["int2", "int4", "int8", "float4", "float8", "numeric", "oid"]),
  new Set(["date"]),
  new Set(["time"]),
  new Set(["timestamp"]),
  new Set(["timestamptz"]),
  new Set(["text", "varchar", "name"]),
  new Set(["uuid"])
]
const texts = new Set(["text", "varchar", "name", "bpchar"])

const familyOf = (type: SqlType): ReadonlySet<string> | undefined => {
  const { name, schema } = baseTypeOf(type)
  return schema === "pg_catalog" ? families.find((family) => family.has(name)) : undefined
}

const numericPlace = ({ digits, scale, special }: Numeric): number => {
  if (special !== undefined) return special === "-Infinity" ? -Infinity : Infinity
  return Number(`${digits}e${-scale}`)
}

/** NaN is greater than every number. */
const numberPlace = (value: number): number => Number.isNaN(value) ? Infinity : value

/** The bytes of a text, each as a character: their order is that of the C collation. */
const textPlace = (text: string): string => Buffer.from(text).toString("latin1")

/** Where a value stands; `undefined` when it has no place. */
export const placeOf = (value: Value): Place | undefined => {
  switch (typeof value) {
    case "number":
      return numberPlace(value)
    case "bigint":
      return Number(value)
    case "string":
      return textPlace(value)
    case "object":
      return value !== null && value._tag === "Numeric" ? numericPlace(value) : undefined
    default:
      return undefined
  }
}

/** The interval of the values that compare so with a constant; `undefined` when there is no such interval. */
export const boundsOf = (
  operator: "<" | "<=" | ">" | ">=",
  column: Column,
  constant: Constant,
  value: Value | undefined,
  collation: Collation | undefined
): Bounds | undefined => {
  const family = familyOf(column.type)
  if (family === undefined || family !== familyOf(constant.type) || value === undefined) return undefined
  if (family.has("text") && !collation?.bytewise) return undefined
  const place = placeOf(value)
  if (place === undefined) return undefined
  const kind = typeof place === "number" ? "number" : "text"
  return operator === "<" || operator === "<="
    ? new Bounds(kind, undefined, place)
    : new Bounds(kind, place, undefined)
}

/** Greater than every continuation of a prefix. */
const BEYOND = "\uffff"

/**
 * The interval of a text column's values that a LIKE pattern's fixed beginning allows; `undefined` when it begins with a
 * wildcard.
 */
export const prefixBounds = (column: Column, pattern: string): Bounds | undefined => {
  const { name, schema } = baseTypeOf(column.type)
  if (schema !== "pg_catalog" || !texts.has(name)) return undefined
  const prefix = textPlace(/^[^%_\\]*/.exec(pattern)![0])
  return prefix === "" ? undefined : new Bounds("text", prefix, prefix + BEYOND)
}
