/**
 * Finds the shapes that a row change concerns (D8): those without where clause by their table, the others by their
 * table's index. A change to a partition concerns the shapes of the partitioned tables above it as well.
 *
 * Adding and removing a shape costs its terms, a change costs the shapes it concerns and those that nothing can be found
 * by; neither depends on how many there are.
 */
import type { ShapeDefinition } from "../domain/ShapeDefinition.ts"
import { type Delete, type RowMessage, type Tuple, UNCHANGED, type Update } from "../domain/WalMessage.ts"
import { Row } from "../where/Row.ts"
import type { Action } from "./Changes.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"
import { type Route, TableIndex } from "./TableIndex.ts"

/** Whether a row was, or is, in a shape; `undefined` when only Postgres can tell. */
export type Membership = boolean | undefined

/** What is told of a change. */
export interface Listener {
  /** It concerns the shape. */
  readonly found: (entry: ShapeEntry, action: Action) => void
  /** It does not say enough to tell what it means for the shape. */
  readonly lost: (entry: ShapeEntry) => void
  /** Postgres has to say whether the old row was, or the new row is, in the shape. */
  readonly open: (entry: ShapeEntry, before: Membership, after: Membership) => void
}

/** What a change means for a shape, by whether the old row was and the new one is in it. */
export const actionOf = (before: boolean, after: boolean): Action | undefined =>
  after ? before ? "update" : "insert" : before ? "delete" : undefined

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

/** Whether a tuple that has only the replica identity's columns, or what an update without old row says, has a clause's. */
const knowsColumns = ({ where }: ShapeDefinition, { relation }: RowMessage): boolean =>
  (where?.columns ?? []).every(({ name }) => relation.columns.some((column) => column.name === name && column.key))

/** The shapes of one table. */
class TableRoutes {
  readonly unconditional = new Set<ShapeEntry>()
  /** Those with subqueries: what a change means for them is not known before its transaction ends (`Subqueries`). */
  readonly deferred = new Set<ShapeEntry>()
  readonly index = new TableIndex()
  private readonly before = new Row(this.index.slots)
  private readonly after = new Row(this.index.slots)
  private search = 0

  get isEmpty(): boolean {
    return this.unconditional.size === 0 && this.deferred.size === 0 && this.index.isEmpty
  }

  /** A change with whole rows. */
  route(message: RowMessage, listener: Listener): void {
    switch (message._tag) {
      case "Insert":
        return this.routeOne(message, message.row, listener, "after")
      case "Delete":
        return this.routeOne(message, message.old, listener, "before")
      case "Update":
        return this.routeUpdate(message, message.old!, listener)
    }
  }

  private routeOne({ relation }: RowMessage, tuple: Tuple, listener: Listener, side: "before" | "after"): void {
    const { after: row, index } = this
    const search = ++this.search
    index.bind(row, relation, tuple, undefined)
    index.find(row, (route, certain) => {
      if (route.found === search) return
      route.found = search
      const verdict = certain || route.test(row, index.slots)
      if (verdict === undefined) listener.open(route.entry, side === "before" && verdict, side === "after" && verdict)
      else if (verdict) listener.found(route.entry, side === "after" ? "insert" : "delete")
    })
  }

  private routeUpdate({ relation, row }: Update, old: Tuple, listener: Listener): void {
    const { after, before, index } = this
    index.bind(after, relation, row, old)
    index.bind(before, relation, old, undefined)
    const hits: Array<Route> = []
    const isHit = ++this.search
    index.find(after, (route, certain) => {
      if (route.found === isHit) return
      route.found = isHit
      route.verdict = certain || route.test(after, index.slots)
      if (route.verdict !== false) hits.push(route)
    })
    const isSettled = ++this.search
    index.find(before, (route, certain) => {
      if (route.found === isSettled) return
      const now = route.found === isHit && route.verdict
      route.found = isSettled
      settle(route.entry, certain || route.test(before, index.slots), now, listener)
    })
    // Not found by the old row: it was not in these.
    for (const route of hits) if (route.found === isHit) settle(route.entry, false, route.verdict, listener)
  }

  /** A change whose old row has the replica identity's columns alone, or is not there at all. */
  routePartly(message: Update | Delete, listener: Listener): void {
    const { after, before, index } = this
    const row = message._tag === "Update" ? message.row : message.old
    index.bind(after, message.relation, row, undefined)
    // Postgres leaves the old tuple out when no column of the replica identity has changed.
    index.bind(before, message.relation, message.old ?? row, undefined)
    for (const route of index.all()) {
      const { entry } = route
      if (!knowsColumns(entry.definition, message)) {
        listener.lost(entry)
        continue
      }
      const was = route.test(before, index.slots)
      settle(entry, was, message._tag === "Update" && route.test(after, index.slots), listener)
    }
  }
}

const settle = (entry: ShapeEntry, before: Membership, after: Membership, { found, open }: Listener): void => {
  if (before === undefined || after === undefined) return open(entry, before, after)
  const action = actionOf(before, after)
  if (action) found(entry, action)
}

export interface Router {
  readonly add: (entry: ShapeEntry) => void
  readonly remove: (entry: ShapeEntry) => void
  /** Says which partitioned tables are above a table. */
  readonly setAncestors: (oid: number, ancestors: ReadonlyArray<number>) => void
  /** A table and those above it. */
  readonly tablesOf: (oid: number) => ReadonlyArray<number>
  /** The shapes that follow this table, their own or as a partition of theirs. */
  readonly shapesOf: (oid: number) => ReadonlyArray<ShapeEntry>
  /** Tells the listener of each shape that the change concerns, once. */
  readonly route: (message: RowMessage, listener: Listener) => void
}

export const make = (): Router => {
  const tables = new Map<number, TableRoutes>()
  const ancestors = new Map<number, ReadonlyArray<number>>()

  /** The routes that concern a table: its own and those of the tables above it. */
  const routesOf = (oid: number): ReadonlyArray<TableRoutes> => {
    const above = ancestors.get(oid)
    const own = tables.get(oid)
    if (!above || above.length === 0) return own ? [own] : []
    return [oid, ...above].flatMap((table) => tables.get(table) ?? [])
  }

  return {
    tablesOf: (oid) => {
      const above = ancestors.get(oid)
      return above && above.length > 0 ? [oid, ...above] : [oid]
    },
    add: (entry) => {
      const { tableOid, where } = entry.definition
      let routes = tables.get(tableOid)
      if (!routes) tables.set(tableOid, routes = new TableRoutes())
      if (entry.hasSubqueries) routes.deferred.add(entry)
      else if (where) routes.index.add(entry)
      else routes.unconditional.add(entry)
    },
    remove: (entry) => {
      const { tableOid } = entry.definition
      const routes = tables.get(tableOid)
      if (!routes) return
      const isIndexed = !routes.deferred.delete(entry) && !routes.unconditional.delete(entry)
      if (isIndexed) routes.index.remove(entry)
      if (routes.isEmpty) tables.delete(tableOid)
    },
    setAncestors: (oid, above) => {
      ancestors.set(oid, above)
    },
    shapesOf: (oid) =>
      routesOf(oid).flatMap(({ deferred, index, unconditional }) => [
        ...unconditional,
        ...deferred,
        ...Array.from(index.all(), ({ entry }) => entry)
      ]),
    route: (message, listener) => {
      const action: Action = message._tag === "Insert" ? "insert" : message._tag === "Update" ? "update" : "delete"
      if (message._tag === "Insert" || message.oldIsFull) {
        for (const routes of routesOf(message.relation.oid)) {
          for (const entry of routes.unconditional) listener.found(entry, action)
          if (!routes.index.isEmpty) routes.route(message, listener)
        }
        return
      }
      const { found, lost, open } = listener
      const partial: Listener = {
        found: (entry, action) => suffices(entry.definition, message) ? found(entry, action) : lost(entry),
        lost,
        open: (entry, before, after) => suffices(entry.definition, message) ? open(entry, before, after) : lost(entry)
      }
      for (const routes of routesOf(message.relation.oid)) {
        for (const entry of routes.unconditional) partial.found(entry, action)
        if (!routes.index.isEmpty) routes.routePartly(message, partial)
      }
    }
  }
}
