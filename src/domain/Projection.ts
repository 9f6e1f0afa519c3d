/**
 * What is constant in the log items of a shape, as bytes ready to be copied; and where its columns are in a replication
 * relation. Shapes that differ in `where` and `log` alone have equal items and share a projection.
 */
import { escaped, type Fragment, fragment } from "./JsonBytes.ts"
import type { Relation } from "./Relation.ts"
import type { ReplicaMode, ShapeDefinition } from "./ShapeDefinition.ts"

export type Operation = "insert" | "update" | "delete"

export interface Projection {
  /** `projectionKey` of the definitions it is for. */
  readonly key: string
  readonly replica: ReplicaMode
  /** Selected columns: the order of the definition, and of the snapshot's COPY. */
  readonly columns: ReadonlyArray<string>
  /** Numbers in `columns` of the columns that make the key, in key order. */
  readonly keyColumns: Int32Array
  /** 1 for each of `columns` that is in the key. */
  readonly isKey: Uint8Array
  /** The inside of the key's JSON string up to its first value: `"schema"."table"`. Quotes in a name are doubled. */
  readonly keyPrefix: Fragment
  /** An item's beginning up to there: `,{"key":"\"schema\".\"table\"`. */
  readonly open: Fragment
  /** `,"name":` and `"name":` for each column, each with the quote that opens a value. */
  readonly next: ReadonlyArray<Fragment>
  readonly first: ReadonlyArray<Fragment>
  /** The same followed by `null`. */
  readonly nextNull: ReadonlyArray<Fragment>
  readonly firstNull: ReadonlyArray<Fragment>
  /** From the brace that closes `value` to the quote that opens `lsn`. */
  readonly headers: { readonly [operation in Operation]: Fragment }
  /** From the brace that closes `value` to the item's end. */
  readonly snapshotHeaders: Fragment
  /**
   * At least the bytes of an item with both `value` and `old_value`, without the column values and the keys' values.
   */
  readonly fixedBytes: number
}

/** Equal exactly for definitions whose items are equal: the same table, columns, key and replica mode. */
export const projectionKey = (definition: ShapeDefinition): string =>
  JSON.stringify([
    definition.tableOid,
    definition.schema,
    definition.table,
    definition.keyColumns,
    definition.columns.map((column) => column.name),
    definition.replica
  ])

const quoted = (name: string): string => `"${name.replaceAll("\"", "\"\"")}"`

const relationOf = ({ schema, table }: ShapeDefinition): string => `"relation":${JSON.stringify([schema, table])}`

export const make = (definition: ShapeDefinition): Projection => {
  const columns = definition.columns.map((column) => column.name)
  const keyColumns = Int32Array.from(definition.keyColumns, (name) => columns.indexOf(name))
  if (keyColumns.includes(-1)) {
    throw new Error(
      `shape of ${definition.schema}.${definition.table} does not select all of its key: ${
        definition.keyColumns.join(", ")
      }`
    )
  }
  const keyPrefix = escaped(`${quoted(definition.schema)}.${quoted(definition.table)}`)
  const relation = relationOf(definition)
  const headers = (operation: Operation) => fragment(`},"headers":{"operation":"${operation}",${relation},"lsn":"`)
  const names = columns.map((name) => JSON.stringify(name))
  const next = names.map((name) => fragment(`,${name}:"`))
  return {
    key: projectionKey(definition),
    replica: definition.replica,
    columns,
    keyColumns,
    isKey: Uint8Array.from(columns, (_, i) => (keyColumns.includes(i) ? 1 : 0)),
    keyPrefix: fragment(keyPrefix),
    open: fragment(`,{"key":"${keyPrefix}`),
    next,
    first: names.map((name) => fragment(`${name}:"`)),
    nextNull: names.map((name) => fragment(`,${name}:null`)),
    firstNull: names.map((name) => fragment(`${name}:null`)),
    headers: { insert: headers("insert"), update: headers("update"), delete: headers("delete") },
    snapshotHeaders: fragment(`},"headers":{"operation":"insert",${relation}}}`),
    fixedBytes: 400 + 2 * Buffer.byteLength(keyPrefix) + Buffer.byteLength(relation) + 16 * keyColumns.length +
      2 * next.reduce((sum, name) => sum + name.length + 8, 0)
  }
}

/** The same for the rows of a subset: each carries the mark of the snapshot that it was read in. */
export const withSnapshotMark = (projection: Projection, definition: ShapeDefinition, mark: number): Projection => ({
  ...projection,
  snapshotHeaders: fragment(
    `},"headers":{"operation":"insert",${relationOf(definition)},"snapshot_mark":${mark}}}`
  ),
  fixedBytes: projection.fixedBytes + 40
})

/**
 * Where a projection's columns are in the tuples of one relation: of the table, or of a partition with another column
 * order.
 */
export interface Binding {
  readonly projection: Projection
  readonly relation: Relation
  /** Number in the relation of each of the projection's columns. */
  readonly columns: Int32Array
  /** The same of the key's columns, in key order. */
  readonly keyColumns: Int32Array
  /**
   * 1 for each of the projection's columns whose value is in the relation's old tuples: all with REPLICA IDENTITY FULL,
   * else those of the identity; the rest is there as NULL, which says nothing.
   */
  readonly inOld: Uint8Array
  /** The same of the key's columns, in key order. */
  readonly keyInOld: Uint8Array
  /** Whether an old tuple has the whole key: else deletes cannot be encoded, and changes of the key not be seen. */
  readonly oldHasKey: boolean
  /**
   * Whether a row without old tuple has the identity's columns unchanged (any identity but FULL, which always sends
   * one).
   */
  readonly absentMeansSame: boolean
}

/** Finds the projection's columns in a relation by name; `undefined` when one is missing. */
export const bind = (projection: Projection, relation: Relation): Binding | undefined => {
  const columns = Int32Array.from(
    projection.columns,
    (name) => relation.columns.findIndex((column) => column.name === name)
  )
  if (columns.includes(-1)) return undefined
  const full = relation.replicaIdentity === "f"
  const inOld = Uint8Array.from(columns, (column) => (full || relation.columns[column]!.key ? 1 : 0))
  return {
    projection,
    relation,
    columns,
    keyColumns: projection.keyColumns.map((i) => columns[i]!),
    inOld,
    keyInOld: Uint8Array.from(projection.keyColumns, (i) => inOld[i]!),
    oldHasKey: projection.keyColumns.every((i) => inOld[i] === 1),
    absentMeansSame: !full
  }
}
