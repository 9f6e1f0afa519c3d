/**
 * What a shape is: which rows and columns of which table, and in which form. A `ShapeRequest` is what somebody asked
 * for, as text; a `ShapeDefinition` is what it means against the catalog, and is the shape's identity.
 */

import type { Clause } from "./Expression.ts"

/** `default`: updates carry the key and the changed columns; `full`: the whole row and the old values. */
export type ReplicaMode = "default" | "full"

/** `full`: snapshot, then changes; `changes_only`: changes alone. */
export type LogMode = "full" | "changes_only"

/** A shape as it is asked for: nothing in it has been checked against the database. */
export interface ShapeRequest {
  /** `name`, `schema.name`, each part possibly quoted. */
  readonly table: string
  readonly where: string | undefined
  /** Values of `$1…$n`, by position, in Postgres's input syntax; `null` for NULL. */
  readonly params: ReadonlyArray<string | null>
  /** Column names, unquoted and folded already; `undefined` selects all. */
  readonly columns: ReadonlyArray<string> | undefined
  readonly replica: ReplicaMode
  readonly log: LogMode
  /** As in `ShapeDefinition`. */
  readonly tags?: "none"
  /** Compaction was asked for, which shapes with subqueries refuse; it changes nothing else. */
  readonly compaction?: true
}

/**
 * A one-off query of some of a shape's rows, as it is asked for. `order_by` comes with `limit` and `offset`: without it
 * they would mean nothing.
 */
export interface SubsetRequest {
  /** A condition on top of the shape's own; `undefined` takes all of its rows. */
  readonly where: string | undefined
  /** Values of the condition's `$1…$n`. */
  readonly params: ReadonlyArray<string | null>
  /** `column [ASC | DESC] [NULLS FIRST | LAST], …` */
  readonly orderBy: string | undefined
  readonly limit: number | undefined
  readonly offset: number | undefined
  /** Columns that condition and order may name; `undefined`: those that the shape selects. */
  readonly queryable: ReadonlyArray<string> | undefined
}

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
  readonly where: Clause | undefined
  readonly replica: ReplicaMode
  readonly log: LogMode
  /**
   * Of a shape with subqueries. `none`: a row that leaves or enters is told as any other delete or insert. Absent: with
   * the protocol's tags, conditions and events (Electric HTTP protocol §13.3).
   */
  readonly tags?: "none"
  /**
   * It is there for a subquery of other shapes alone, and nobody asks for it: the columns whose values the subquery is
   * about, in its order. What is counted of them is kept with the shape.
   */
  readonly internal?: ReadonlyArray<string>
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
    shape.where?.sql ?? null,
    shape.replica,
    shape.log,
    ...(shape.tags === undefined ? [] : [shape.tags]),
    ...(shape.internal === undefined ? [] : [["internal", ...shape.internal]])
  ])
