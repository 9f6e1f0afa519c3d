/**
 * Values of expressions as our own evaluator has them, and what functions on them look like.
 *
 * The evaluator never guesses. Whatever it can't be certain of (an error that Postgres would raise, a number beyond what a
 * double holds exactly, a character whose case depends on the locale) is `unsure`: Postgres is asked about that row.
 */
import type { Collation, FunctionRef, SqlType } from "../domain/SqlCatalog.ts"

/** `digits` × 10^-`scale`, or one of the special values. `scale` is the display scale: 1.50 has 2. */
export interface Numeric {
  readonly _tag: "Numeric"
  readonly digits: bigint
  readonly scale: number
  readonly special: "NaN" | "Infinity" | "-Infinity" | undefined
}
/** Microseconds are a safe integer. */
export interface Interval {
  readonly _tag: "Interval"
  readonly months: number
  readonly days: number
  readonly micros: number
}
/** Elements in row-major order; no dimensions for the empty array. A multirange is one of its ranges. */
export interface PgArray {
  readonly _tag: "Array"
  readonly elements: ReadonlyArray<Value>
  readonly lengths: ReadonlyArray<number>
  readonly lowerBounds: ReadonlyArray<number>
}
/** A jsonb value. Keys of objects are unique; numbers are exact. */
export interface Jsonb {
  readonly _tag: "Jsonb"
  readonly json: Json
}
export type Json = null | boolean | string | Numeric | ReadonlyArray<Json> | ReadonlyMap<string, Json>
export interface Range {
  readonly _tag: "Range"
  readonly empty: boolean
  /** `null` for no bound. */
  readonly lower: Value
  readonly upper: Value
  readonly lowerInclusive: boolean
  readonly upperInclusive: boolean
}
export interface Inet {
  readonly _tag: "Inet"
  readonly family: 4 | 6
  readonly address: bigint
  readonly bits: number
}
/** Microseconds since midnight and the zone's seconds west of UTC. */
export interface TimeTz {
  readonly _tag: "TimeTz"
  readonly micros: number
  readonly zone: number
}

/**
 * bool: boolean. int2, int4, oid: number. int8: bigint. float4, float8: number. date: days since 2000-01-01, with
 * ±Infinity. time: microseconds. timestamp, timestamptz: microseconds since 2000-01-01 (UTC), with ±Infinity; a bigint
 * when they are no safe integer. text, varchar, bpchar (with its blanks), name, "char", json, uuid, bytea (hex), enums, and
 * every type without a codec: the output text.
 */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Numeric
  | Interval
  | PgArray
  | Jsonb
  | Range
  | Inet
  | TimeTz

/** Thrown by functions and codecs for what only Postgres can tell. Not an error: no stack, one object. */
export const UNSURE: { readonly _tag: "Unsure" } = { _tag: "Unsure" }

export const unsure = (): never => {
  throw UNSURE
}

/** How values of a type are read, written and compared. None of it is called with NULL. */
export interface Codec {
  /** From the output text, under the display settings. May be unsure. */
  readonly decode: (text: string) => Value
  /** The output text of a value that was computed. May be unsure. */
  readonly encode: (value: Value) => string
  /** As the type's default `=`. */
  readonly equal: (a: Value, b: Value) => boolean
  /** As the type's default btree ordering; `undefined` when it has none here. */
  readonly compare: ((a: Value, b: Value, collation: Collation | undefined) => number) | undefined
}

/** Codecs by `pg_type.typname` of types in `pg_catalog`. `undefined` when values of this type can't be read here. */
export type Codecs = Readonly<Record<string, Codec>>

/** Where a function is called, as far as it is known before there is a row. */
export interface CallSite {
  readonly fn: FunctionRef
  readonly args: ReadonlyArray<SqlType>
  readonly result: SqlType
  readonly collation: Collation | undefined
  /** Values of the arguments that are constants (`null` for NULL); `undefined` for those that are not. */
  readonly constants: ReadonlyArray<Value | undefined>
}

/** A function of up to four arguments. A strict one is never called with NULL. */
export type Closure = (a: Value, b: Value, c: Value, d: Value) => Value

/** Makes the closure for one place where a function is called; `undefined` when there is none for such a place. */
export type Builtin = (site: CallSite) => Closure | undefined

/** By the name of the C function (`FunctionRef.source`). */
export type Builtins = Readonly<Record<string, Builtin>>
