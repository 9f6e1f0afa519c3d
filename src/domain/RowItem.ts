/**
 * Log items of rows that do not come from the stream, made from the texts of their columns: rows of a snapshot or a
 * move that carry tags (Electric HTTP protocol §13.3), and rows that leave without having changed. Also the events and
 * the mark that go with them. A few of them beside the stream's many, so they are written as JSON text.
 */
import type { EncodedItem } from "./ItemEncoder.ts"
import type { SnapshotMarks } from "./PgSnapshot.ts"
import type { ShapeDefinition } from "./ShapeDefinition.ts"

/** Column texts in the order of the shape's columns; `null` for NULL. */
export type Texts = ReadonlyArray<string | null>

export interface RowItems {
  /** The key by which clients know the row. */
  readonly keyOf: (texts: Texts) => string
  /**
   * `,{"key":…,"value":{…},"headers":{"operation":…,"relation":[…]` and the further headers, each with a comma before
   * it: without the two braces that end an item.
   */
  readonly insert: (texts: Texts, headers: string) => string
  /** An update that shows the key alone. */
  readonly touch: (texts: Texts, headers: string) => string
  /** The key, or in replica mode `full` the whole row. */
  readonly remove: (texts: Texts, headers: string) => string
}

const quoted = (name: string): string => `"${name.replaceAll("\"", "\"\"")}"`

export const make = (shape: ShapeDefinition): RowItems => {
  const names = shape.columns.map(({ name }) => JSON.stringify(name))
  const keys = shape.keyColumns.map((name) => shape.columns.findIndex((column) => column.name === name))
  const all = names.map((_, i) => i)
  const inKey = all.filter((i) => keys.includes(i))
  const prefix = `${quoted(shape.schema)}.${quoted(shape.table)}`
  const relation = JSON.stringify([shape.schema, shape.table])
  const keyOf = (texts: Texts): string => {
    let key = prefix
    for (const column of keys) {
      const text = texts[column]!
      key += text === null ? "/_" : `/"${text.replaceAll("/", "//")}"`
    }
    return key
  }
  const item = (operation: string, columns: ReadonlyArray<number>, texts: Texts, headers: string): string => {
    const value = columns.map((i) => `${names[i]!}:${JSON.stringify(texts[i])}`).join()
    return `,{"key":${JSON.stringify(keyOf(texts))},"value":{${value}},"headers":{"operation":"${operation}",` +
      `"relation":${relation}${headers}`
  }
  return {
    keyOf,
    insert: (texts, headers) => item("insert", all, texts, headers),
    touch: (texts, headers) => item("update", inKey, texts, headers),
    remove: (texts, headers) => item("delete", shape.replica === "full" ? all : inKey, texts, headers)
  }
}

/** Bytes of an item as the log's writer takes them: it adds the two braces. */
export const encoded = (item: string): EncodedItem => {
  const bytes = Buffer.from(item)
  return { bytes, start: 0, end: bytes.length }
}

/** A value of a position that rows move by (Electric HTTP protocol §13.5). */
export interface Pattern {
  readonly pos: number
  /** What stands for the value in tags. */
  readonly value: string
}

/** An event without the braces that end it. */
export const event = (
  kind: "move-in" | "move-out",
  patterns: ReadonlyArray<Pattern>,
  txids: ReadonlyArray<number>
): string => `,{"headers":{"event":"${kind}","patterns":${JSON.stringify(patterns)},"txids":${JSON.stringify(txids)}`

/** The mark of a snapshot without the braces that end it. */
export const snapshotEnd = ({ xip, xmax, xmin }: SnapshotMarks): string =>
  `,{"headers":{"control":"snapshot-end","xmin":"${xmin}","xmax":"${xmax}","xip_list":${
    JSON.stringify(xip.map(String))
  }`
