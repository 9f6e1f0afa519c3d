/** The encoders once more, naively: what the byte-level ones are compared with. Also the random rows both are given. */
import { FastCheck as fc } from "effect"
import type { Relation } from "../../src/domain/Relation.ts"
import type { ReplicaMode, ShapeDefinition } from "../../src/domain/ShapeDefinition.ts"
import type { CopyRows } from "../../src/domain/SnapshotEncoder.ts"

export type Value = string | null
export type Row = ReadonlyArray<Value>

export interface Table {
  readonly schema: string
  readonly table: string
  readonly columns: ReadonlyArray<string>
  /** Numbers of the key's columns, in key order. */
  readonly key: ReadonlyArray<number>
  readonly replica: ReplicaMode
}

export const definition = (table: Table): ShapeDefinition => ({
  tableOid: 1000,
  schema: table.schema,
  table: table.table,
  keyColumns: table.key.map((i) => table.columns[i]!),
  hasPrimaryKey: table.key.length < table.columns.length,
  columns: table.columns.map((name) => ({ name, typeOid: 25 })),
  explicitColumns: false,
  where: undefined,
  replica: table.replica,
  log: "full"
})

/** A relation with the table's columns in the given order (numbers into `table.columns`). */
export const relation = (
  table: Table,
  replicaIdentity: Relation["replicaIdentity"] = "f",
  order: ReadonlyArray<number> = table.columns.map((_, i) => i)
): Relation => ({
  oid: 1000,
  schema: table.schema,
  name: table.table,
  replicaIdentity,
  columns: order.map((i) => ({
    name: table.columns[i]!,
    typeOid: 25,
    typeModifier: -1,
    key: replicaIdentity === "f" || (replicaIdentity !== "n" && table.key.includes(i))
  }))
})

export const key = (table: Table, row: Row): string =>
  [table.schema, table.table].map((name) => `"${name.replaceAll("\"", "\"\"")}"`).join(".") +
  table.key.map((i) => (row[i] === null ? "/_" : `/"${row[i]!.replaceAll("/", "//")}"`)).join("")

const members = (table: Table, row: ReadonlyArray<Value | undefined>, include: (i: number) => boolean): string =>
  `{${
    table.columns.flatMap((name, i) =>
      include(i) && row[i] !== undefined ? [`${JSON.stringify(name)}:${JSON.stringify(row[i])}`] : []
    ).join(",")
  }}`

export const wholeRow = (table: Table, row: ReadonlyArray<Value | undefined>): string => members(table, row, () => true)
export const someColumns = members

export const snapshotItem = (table: Table, row: Row): string =>
  `,{"key":${JSON.stringify(key(table, row))},"value":${
    wholeRow(table, row)
  },"headers":{"operation":"insert","relation":${JSON.stringify([table.schema, table.table])}}}`

/** A log item without its suffix. */
export const logItem = (
  table: Table,
  operation: string,
  itemKey: string,
  objects: string,
  at: { readonly lsn: string; readonly op: number; readonly xid: number },
  more = ""
): string =>
  `,{"key":${JSON.stringify(itemKey)},${objects},"headers":{"operation":"${operation}","relation":${
    JSON.stringify([table.schema, table.table])
  },"lsn":"${at.lsn}","op_position":${at.op},"txids":[${at.xid}]${more}`

const copyEscapes: Record<string, string> = {
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\"
}

/** A row as COPY TO writes it. */
export const copyLine = (row: Row): string =>
  row.map((
    value
  ) => (value === null ? "\\N" : value.replace(/[\b\f\n\r\t\v\\]/g, (character) => copyEscapes[character]!))).join(
    "\t"
  ) + "\n"

/** Rows as they come from COPY, behind `padding` bytes that are not theirs. */
export const copyRows = (rows: ReadonlyArray<Row>, padding = 0): CopyRows => {
  const lines = rows.map((row) => Buffer.from(copyLine(row)))
  const bounds = new Int32Array(rows.length * 2 + 2)
  let at = padding
  lines.forEach((line, i) => {
    bounds[2 * i] = at
    bounds[2 * i + 1] = at + line.length
    at += line.length
  })
  return { bytes: Buffer.concat([Buffer.alloc(padding, "\\"), ...lines]), rows: bounds, count: rows.length }
}

/** Text with plenty of what needs care, in all lengths around the words it is copied by. */
export const text: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.stringOf(
      fc.constantFrom(..."abc019 -:.+é€😀\u2028\u007f\u0080/\\\"'\t\n\r\b\f\v\u0000\u0001\u001f N_{},"),
      { maxLength: 24 }
    )
  },
  { weight: 2, arbitrary: fc.asciiString({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.fullUnicodeString({ maxLength: 40 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "",
      "\\N",
      "\\",
      "\"",
      "/",
      "//",
      "\\.",
      "_",
      "NULL",
      "\\x00ff",
      "{\"a\": [1, \"b\\\\c\"]}"
    )
  },
  { weight: 1, arbitrary: fc.stringOf(fc.constantFrom("a", "é"), { minLength: 100, maxLength: 300 }) }
).map((string) => Buffer.from(string).toString())

export const value: fc.Arbitrary<Value> = fc.oneof({ weight: 5, arbitrary: text }, {
  weight: 1,
  arbitrary: fc.constant(null)
})

const name = fc.oneof(
  fc.constantFrom("id", "items", "Odd \"name\"", "a.b", "a/b", "ü\\x"),
  text.filter((string) => string.length > 0)
)

export const table: fc.Arbitrary<Table> = fc.record({
  schema: name,
  table: name,
  columns: fc.uniqueArray(name, { minLength: 1, maxLength: 7 }),
  keyOf: fc.array(fc.nat(), { maxLength: 3 }),
  replica: fc.constantFrom<ReplicaMode>("default", "full")
}).map(({ columns, keyOf, ...rest }) => ({
  ...rest,
  columns,
  key: keyOf.length === 0 ? columns.map((_, i) => i) : [...new Set(keyOf.map((n) => n % columns.length))]
}))

export const rowOf = (of: Table): fc.Arbitrary<Row> => fc.tuple(...of.columns.map(() => value))

/** A table with rows of it. */
export const tableAndRows = (maxLength: number): fc.Arbitrary<readonly [Table, ReadonlyArray<Row>]> =>
  table.chain((of) => fc.tuple(fc.constant(of), fc.array(rowOf(of), { maxLength })))
