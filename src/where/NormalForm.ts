/**
 * Equality of values by their texts: for which types the texts of equal values are the same bytes, and for which they
 * are once they have been brought to one form.
 */
import type { ColumnInfo } from "../domain/Relation.ts"
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
const normalised = new Set(["numeric", "bpchar", "float4", "float8"])

/** Why values of the column can't be told apart by their texts; `undefined` when they can. */
export const obstacle = (column: ColumnInfo): string | undefined => {
  if (!column.deterministic) return "its collation calls different texts equal"
  if (column.typeKind === "e") return undefined
  if (column.typeSchema !== "pg_catalog") return `type ${column.typeName} is not supported yet`
  const supported = column.elementType === undefined
    ? exact.has(column.typeName) || normalised.has(column.typeName)
    : column.typeName === `_${column.elementType}` && exact.has(column.elementType)
  return supported ? undefined : `type ${column.typeName} is not supported yet`
}

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

/** The normal form of a type's texts; `undefined` when every text is normal. */
export const normalForm = (typeOid: number): Part | undefined => forms.get(typeOid)

/** A value's text in the form that all equal values of its type share. */
export const equalityKey = (typeOid: number, text: string): string => {
  const form = forms.get(typeOid)
  if (form === undefined) return text
  const bytes = Buffer.from(text)
  return bytes.toString("utf8", form.start(bytes, 0, bytes.length), form.end(bytes, 0, bytes.length))
}

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
