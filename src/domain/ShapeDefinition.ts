/**
 * What a shape is: which rows and columns of which table, and in which form. A `ShapeRequest` is what somebody asked
 * for, as text; a `ShapeDefinition` is what it means against the catalog, and is the shape's identity.
 */

/** `default`: updates carry the key and the changed columns; `full`: the whole row and the old values. */
export type ReplicaMode = "default" | "full"

/** `full`: snapshot, then changes; `changes_only`: changes alone. */
export type LogMode = "full" | "changes_only"

/** A shape as it is asked for: nothing in it has been checked against the database. */
export interface ShapeRequest {
  /** `name`, `schema.name`, each part possibly quoted. */
  readonly table: string
  readonly where: string | undefined
  /** Values of `$1…$n`, by position. */
  readonly params: ReadonlyArray<string>
  /** Column names, unquoted and folded already; `undefined` selects all. */
  readonly columns: ReadonlyArray<string> | undefined
  readonly replica: ReplicaMode
  readonly log: LogMode
}

/** A where clause after parsing and typing: `column = value`. The other forms of the language extend this union. */
export interface Equality {
  readonly _tag: "Equality"
  readonly column: string
  readonly typeOid: number
  /** The column's type, as it is written in a cast. */
  readonly type: string
  /**
   * The value in Postgres's own output form, so that it equals the column's text exactly when SQL says the values are
   * equal.
   */
  readonly value: string
}
export type Where = Equality

/**
 * A shape against the catalog. Plain JSON: it is stored as it is, and two shapes are the same iff `identity` agrees.
 */
export interface ShapeDefinition {
  readonly tableOid: number
  readonly schema: string
  readonly table: string
  /** The columns that make the key, in key order: the primary key, or every column. */
  readonly keyColumns: ReadonlyArray<string>
  readonly hasPrimaryKey: boolean
  /** Selected columns with their type oids, in table order. */
  readonly columns: ReadonlyArray<{ readonly name: string; readonly typeOid: number }>
  /** Whether `columns` was given rather than meaning "all": then a column added later does not concern the shape. */
  readonly explicitColumns: boolean
  readonly where: Where | undefined
  readonly replica: ReplicaMode
  readonly log: LogMode
}

/** A string that two definitions share exactly when they are the same shape. */
export const identity = (shape: ShapeDefinition): string =>
  JSON.stringify([
    shape.tableOid,
    shape.schema,
    shape.table,
    shape.keyColumns,
    shape.hasPrimaryKey,
    shape.columns.map((column) => [column.name, column.typeOid]),
    shape.explicitColumns,
    shape.where ?? null,
    shape.replica,
    shape.log
  ])
