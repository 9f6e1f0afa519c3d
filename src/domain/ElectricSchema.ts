/**
 * The `electric-schema` header: what a client needs to know of a shape's columns to parse their values (Electric HTTP
 * protocol §11.3).
 */
import type { ColumnInfo } from "./Relation.ts"

type Modifiers = Readonly<Record<string, number | string>>

/** Typmods of most lengths, and of numeric, are 4 too high (VARHDRSZ). */
const HEADER = 4

const numeric = (modifier: number): Modifiers => {
  const packed = modifier - HEADER
  // The scale is a signed number of 11 bits.
  return { precision: (packed >> 16) & 0xffff, scale: ((packed & 0x7ff) ^ 1024) - 1024 }
}

/** Bits of an interval's typmod, and the ranges Postgres knows (utils/datetime.h, utils/timestamp.h). */
const YEAR = 1 << 2
const MONTH = 1 << 1
const DAY = 1 << 3
const HOUR = 1 << 10
const MINUTE = 1 << 11
const SECOND = 1 << 12
const FULL_PRECISION = 0xffff
const intervalFields: ReadonlyMap<number, string> = new Map([
  [YEAR, "YEAR"],
  [MONTH, "MONTH"],
  [DAY, "DAY"],
  [HOUR, "HOUR"],
  [MINUTE, "MINUTE"],
  [SECOND, "SECOND"],
  [YEAR | MONTH, "YEAR TO MONTH"],
  [DAY | HOUR, "DAY TO HOUR"],
  [DAY | HOUR | MINUTE, "DAY TO MINUTE"],
  [DAY | HOUR | MINUTE | SECOND, "DAY TO SECOND"],
  [HOUR | MINUTE, "HOUR TO MINUTE"],
  [HOUR | MINUTE | SECOND, "HOUR TO SECOND"],
  [MINUTE | SECOND, "MINUTE TO SECOND"]
])

const interval = (modifier: number): Modifiers => {
  const fields = intervalFields.get((modifier >> 16) & 0x7fff)
  const precision = modifier & 0xffff
  return { ...(fields && { fields }), ...(precision !== FULL_PRECISION && { precision }) }
}

const modifiers = (typeSchema: string, type: string, modifier: number): Modifiers => {
  if (modifier < 0) return {}
  switch (typeSchema === "pg_catalog" ? type : undefined) {
    case "varchar":
      return { max_length: modifier - HEADER }
    case "bpchar":
      return { length: modifier - HEADER }
    case "bit":
    case "varbit":
      return { length: modifier }
    case "numeric":
      return numeric(modifier)
    case "time":
    case "timetz":
    case "timestamp":
    case "timestamptz":
      return modifier > 0 ? { precision: modifier } : {}
    case "interval":
      return interval(modifier)
    default:
      return { type_mod: modifier }
  }
}

const columnSchema = (column: ColumnInfo) => {
  const element = column.elementType
  const type = element ?? column.typeName
  return {
    type,
    // An array column of unknown dimensions (CREATE TABLE AS) still holds array literals.
    ...(element !== undefined && { dims: Math.max(column.dimensions, 1) }),
    ...modifiers(column.typeSchema, type, column.typeModifier),
    ...(column.notNull && { not_null: true }),
    ...(column.keyIndex !== undefined && { pk_index: column.keyIndex })
  }
}

/** The header's JSON for the selected columns. */
export const json = (columns: ReadonlyArray<ColumnInfo>): string =>
  `{${columns.map((column) => `${JSON.stringify(column.name)}:${JSON.stringify(columnSchema(column))}`).join(",")}}`

/**
 * The header's value as node:http takes it: a header's characters go out as one byte each, so that the JSON's UTF-8
 * bytes have to stand as characters. (Only with a body of bytes: node sends the head together with a body of text, and
 * then in the encoding of that.)
 */
export const header = (columns: ReadonlyArray<ColumnInfo>): string =>
  // DEL is the one character that JSON leaves as it is and a header must not have.
  Buffer.from(json(columns).replaceAll("\x7f", "\\u007f")).toString("latin1")
