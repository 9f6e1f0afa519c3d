/**
 * Finds the shapes that a row change concerns (D8): those without where clause by their table, the others by a hash
 * lookup of the column's value. A change to a partition concerns the shapes of the partitioned tables above it as well.
 *
 * Adding and removing a shape costs its terms, a change costs the shapes it concerns; neither depends on how many there
 * are.
 */
import type { Relation } from "../domain/Relation.ts"
import type { ShapeDefinition } from "../domain/ShapeDefinition.ts"
import { type Delete, type RowMessage, type Tuple, UNCHANGED, type Update } from "../domain/WalMessage.ts"
import { indexTerm, termKey } from "../where/Compile.ts"
import type { Action } from "./Changes.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"

interface Index {
  readonly column: string
  readonly shapes: Map<string, Set<ShapeEntry>>
}

interface Routes {
  readonly unconditional: Set<ShapeEntry>
  readonly indexes: Map<string, Index>
}

/** Where a relation's index columns are; made anew when an index is added or removed. */
interface Plan {
  readonly version: number
  readonly indexes: ReadonlyArray<{ readonly index: Index; readonly column: number }>
}

/** Whether a change without the whole old row says enough for a shape that it concerns. */
const suffices = (shape: ShapeDefinition, message: Update | Delete): boolean => {
  const { relation } = message
  const keyIsKnown = shape.keyColumns.every((name) =>
    relation.columns.some((column) => column.name === name && column.key)
  )
  if (!keyIsKnown || shape.replica === "full") return false
  if (message._tag === "Delete" || message.old === undefined) return true
  // Part of the identity has changed: if that is the key, the row is inserted anew and needs all its values.
  const { cols } = message.row
  return relation.columns.every((_, i) => cols[2 * i + 1] !== UNCHANGED)
}

export interface Router {
  readonly add: (entry: ShapeEntry) => void
  readonly remove: (entry: ShapeEntry) => void
  /** Whether it is known which partitioned tables are above this table. */
  readonly knows: (oid: number) => boolean
  /** Says which partitioned tables are above a table. */
  readonly setAncestors: (oid: number, ancestors: ReadonlyArray<number>) => void
  /** Forgets it again: a partition may have been attached or detached. */
  readonly forget: (oid: number) => void
  /** The shapes that follow this table, their own or as a partition of theirs. */
  readonly shapesOf: (oid: number) => ReadonlyArray<ShapeEntry>
  /**
   * Calls `found` for each shape that the change concerns, and `lost` for each of which the change does not say enough
   * to tell.
   */
  readonly route: (
    message: RowMessage,
    found: (entry: ShapeEntry, action: Action) => void,
    lost: (entry: ShapeEntry) => void
  ) => void
}

export const make = (): Router => {
  const tables = new Map<number, Routes>()
  const ancestors = new Map<number, ReadonlyArray<number>>()
  const plans = new WeakMap<Relation, Map<Routes, Plan>>()
  let version = 0

  /** The routes that concern a table: its own and those of the tables above it. */
  const routesOf = (oid: number): ReadonlyArray<Routes> => {
    const above = ancestors.get(oid)
    const own = tables.get(oid)
    if (!above || above.length === 0) return own ? [own] : []
    return [oid, ...above].flatMap((table) => tables.get(table) ?? [])
  }

  const planOf = (routes: Routes, relation: Relation): Plan => {
    let ofRelation = plans.get(relation)
    if (!ofRelation) plans.set(relation, ofRelation = new Map())
    let plan = ofRelation.get(routes)
    if (!plan || plan.version !== version) {
      const indexes = [...routes.indexes.values()]
      plan = {
        version,
        indexes: indexes.map((index) => ({
          index,
          column: relation.columns.findIndex(({ name }) => name === index.column)
        }))
      }
      ofRelation.set(routes, plan)
    }
    return plan
  }

  /** Whether an old tuple says what the column was. */
  const isKnown = (relation: Relation, oldIsFull: boolean, column: number) => oldIsFull || relation.columns[column]!.key

  const routeIndex = (
    message: RowMessage,
    { column, index }: Plan["indexes"][number],
    found: (entry: ShapeEntry, action: Action) => void,
    lost: (entry: ShapeEntry) => void
  ) => {
    const { relation } = message
    // A relation without the column no longer fits its shapes: they are removed by its Relation message.
    if (column < 0) return
    const each = (key: string | undefined, action: Action) => {
      const shapes = key === undefined ? undefined : index.shapes.get(key)
      if (shapes) { for (const entry of shapes) found(entry, action) }
    }
    const isUnchanged = (row: Tuple) => row.cols[2 * column + 1] === UNCHANGED
    if (message._tag === "Insert") return each(termKey(relation, column, message.row), "insert")
    const { old, oldIsFull } = message
    if (old === undefined || !isKnown(relation, oldIsFull, column)) {
      // Postgres leaves the old tuple out when no column of the replica identity has changed.
      const identityUnchanged = message._tag === "Update" && old === undefined && relation.columns[column]!.key
      if (identityUnchanged) return each(termKey(relation, column, message.row), "update")
      for (const shapes of index.shapes.values()) for (const entry of shapes) lost(entry)
      return
    }
    const before = termKey(relation, column, old)
    if (message._tag === "Delete") return each(before, "delete")
    const after = isUnchanged(message.row) ? before : termKey(relation, column, message.row)
    if (before === after) return each(after, "update")
    each(before, "delete")
    each(after, "insert")
  }

  return {
    add: (entry) => {
      const { tableOid, where } = entry.definition
      let routes = tables.get(tableOid)
      if (!routes) tables.set(tableOid, routes = { unconditional: new Set(), indexes: new Map() })
      if (!where) {
        routes.unconditional.add(entry)
        return
      }
      const { column, key } = indexTerm(where)
      let index = routes.indexes.get(column)
      if (!index) {
        routes.indexes.set(column, index = { column, shapes: new Map() })
        version += 1
      }
      const shapes = index.shapes.get(key)
      if (shapes) shapes.add(entry)
      else index.shapes.set(key, new Set([entry]))
    },
    remove: (entry) => {
      const { tableOid, where } = entry.definition
      const routes = tables.get(tableOid)
      if (!routes) return
      if (!where) routes.unconditional.delete(entry)
      else {
        const { column, key } = indexTerm(where)
        const index = routes.indexes.get(column)
        const shapes = index?.shapes.get(key)
        shapes?.delete(entry)
        if (shapes?.size === 0) index?.shapes.delete(key)
        if (index?.shapes.size === 0) {
          routes.indexes.delete(column)
          version += 1
        }
      }
      if (routes.unconditional.size === 0 && routes.indexes.size === 0) tables.delete(tableOid)
    },
    knows: (oid) => ancestors.has(oid),
    setAncestors: (oid, above) => {
      ancestors.set(oid, above)
    },
    forget: (oid) => {
      ancestors.delete(oid)
    },
    shapesOf: (oid) =>
      routesOf(oid).flatMap(({ indexes, unconditional }) => [
        ...unconditional,
        ...[...indexes.values()].flatMap(({ shapes }) => [...shapes.values()].flatMap((entries) => [...entries]))
      ]),
    route: (message, found, lost) => {
      const action: Action = message._tag === "Insert" ? "insert" : message._tag === "Update" ? "update" : "delete"
      const take: typeof found = message._tag === "Insert" || message.oldIsFull
        ? found
        : (entry, action) => suffices(entry.definition, message) ? found(entry, action) : lost(entry)
      for (const routes of routesOf(message.relation.oid)) {
        for (const entry of routes.unconditional) take(entry, action)
        if (routes.indexes.size === 0) continue
        for (const plan of planOf(routes, message.relation).indexes) routeIndex(message, plan, take, lost)
      }
    }
  }
}
