/**
 * Equality of values by their texts: for which types the texts of equal values are the same bytes, and for which they
 * are once they have been brought to one form.
 */
import type { SqlType } from "../domain/SqlCatalog.ts"

const NUMERIC = 1700
const BPCHAR = 1042
const FLOAT4 = 700
const FLOAT8 = 701

/**
 * Base types whose output is the same exactly when `=` says that the values are (each checked against Postgres by a
 * test).
 */
const exact = new Set([
  "bool",
  "bytea",
  "date",
  "daterange",
  "inet",
  "int2",
  "int4",
  "int4range",
  "int8",
  "int8range",
  "macaddr",
  "macaddr8",
  "name",
  "oid",
  "pg_lsn",
  "text",
  "time",
  "timestamp",
  "timestamptz",
  "timetz",
  "tsrange",
  "tstzrange",
  "uuid",
  "bit",
  "varbit",
  "varchar"
])

const SPACE = 0x20
const MINUS = 0x2d
const POINT = 0x2e
const ZERO = 0x30

/** The part of a value's text that stands for it among equal values of its type. */
export interface Part {
  readonly start: (bytes: Uint8Array, start: number, end: number) => number
  readonly end: (bytes: Uint8Array, start: number, end: number) => number
}

const unchangedStart = (_bytes: Uint8Array, start: number): number => start
const unchangedEnd = (_bytes: Uint8Array, _start: number, end: number): number => end

/** `-0` is `0`. */
const float: Part = {
  start: (bytes, start, end) =>
    end - start === 2 && bytes[start] === MINUS && bytes[start + 1] === ZERO ? start + 1 : start,
  end: unchangedEnd
}

/** `1.50` is `1.5`, `2.0` is `2`. */
const numeric: Part = {
  start: unchangedStart,
  end: (bytes, start, end) => {
    let point = start
    while (point < end && bytes[point] !== POINT) point++
    if (point === end) return end
    let last = end
    while (bytes[last - 1] === ZERO) last--
    return last - 1 === point ? point : last
  }
}

/** Trailing blanks of `char(n)` do not count. */
const bpchar: Part = {
  start: unchangedStart,
  end: (bytes, start, end) => {
    let last = end
    while (last > start && bytes[last - 1] === SPACE) last--
    return last
  }
}

const forms: ReadonlyMap<number, Part> = new Map([
  [NUMERIC, numeric],
  [BPCHAR, bpchar],
  [FLOAT4, float],
  [FLOAT8, float]
])

/** How equal values of a type are recognised by their texts: they are the same, or a part of them is. */
export type NormalForm = Part | "exact"

/** The type behind domains. */
const baseOf = (type: SqlType): SqlType => type.base === undefined ? type : baseOf(type.base)

const isExact = (type: SqlType): boolean => type.kind === "e" || (type.schema === "pg_catalog" && exact.has(type.name))

/** The normal form of a type; `undefined` when equal values can't be recognised by their texts. */
export const normalFormOf = (type: SqlType): NormalForm | undefined => {
  const base = baseOf(type)
  return isExact(base.element ?? base) ? "exact" : forms.get(base.oid)
}
