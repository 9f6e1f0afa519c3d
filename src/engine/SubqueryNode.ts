/**
 * Nodes: shapes whose clauses have subqueries (see SUBQUERIES.md). What each is made of, and how the changes of its
 * table that may concern it are found: by the values of its sets (D8).
 */
import { Effect } from "effect"
import * as Lsn from "../domain/Lsn.ts"
import { make as makeRowItems, type RowItems } from "../domain/RowItem.ts"
import type { RowMessage } from "../domain/WalMessage.ts"
import type { Plan } from "../where/Plan.ts"
import type { Row } from "../where/Row.ts"
import type { Hold } from "./Committer.ts"
import type { Materializer } from "./Materializer.ts"
import { holds, NodeRows, oldOf, TableRows, textOf } from "./NodeRows.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"
import { type Moved, Tags } from "./Tags.ts"
import { keyHasNull, rowKey, valueKey } from "./ValueSet.ts"

/** An inner shape that nodes depend on. */
export interface Dependency {
  readonly entry: ShapeEntry
  readonly materializer: Materializer
  /** Set when the inner shape is a node itself. */
  readonly node: Node | undefined
  readonly dependents: Set<Node>
  /** Where the values of its set are looked up. */
  readonly indexes: Set<LinkIndex>
  /** Its inner shape has ended: nothing may depend on it any more. */
  readonly isLost: () => boolean
  /** One that acquired it does not need it any more. */
  readonly release: () => void
}

/** What tells a row from the others of its table, by the texts of its key. */
export const keyText = (texts: ReadonlyArray<string | null>): string => JSON.stringify(texts)

export class Node {
  readonly entry: ShapeEntry
  readonly plan: Plan
  readonly dependencies: ReadonlyArray<Dependency>
  readonly table: TableNodes
  readonly rows: NodeRows
  readonly items: RowItems
  /** `undefined` when rows carry none: leaving rows are told one by one. */
  readonly tags: Tags | undefined
  /** One more than the highest of the nodes that it depends on. */
  readonly level: number
  /** Set while it has not got to where the stream is: all transactions up to here are done. */
  behind: Lsn.Lsn | undefined = undefined
  /** Keeps the stored position from passing what it has done. */
  hold: Hold | undefined = undefined
  private readonly keysBefore = new WeakMap<RowMessage, string>()
  private readonly keysAfter = new WeakMap<RowMessage, string>()
  private readonly progressed = Effect.unsafeMakeLatch(false)

  constructor(
    entry: ShapeEntry,
    plan: Plan,
    dependencies: ReadonlyArray<Dependency>,
    table: TableNodes
  ) {
    this.entry = entry
    this.plan = plan
    this.dependencies = dependencies
    this.table = table
    this.rows = new NodeRows(plan, table.rows, dependencies.map(({ materializer }) => materializer.set))
    this.items = makeRowItems(entry.definition)
    this.tags = entry.definition.tags === "none" ? undefined : new Tags(plan, entry.handle)
    this.level = Math.max(0, ...dependencies.map(({ node }) => node?.level ?? 0)) + 1
  }

  /** Completes when the node has got further than it is now, or has ended. */
  get progress(): Effect.Effect<void> {
    return this.progressed.await
  }

  /** It has done everything up to a position; or, without one, is where the stream is. */
  advance(behind: Lsn.Lsn | undefined): void {
    this.behind = behind
    this.progressed.unsafeOpen()
    this.progressed.unsafeClose()
  }

  /** Wakes whoever waits for it: it will get no further. */
  end(): void {
    this.progressed.unsafeOpen()
  }

  /** The key of one side of a change, as `keyText` has it. */
  keyOfChange(message: RowMessage, side: "before" | "after"): string | undefined {
    const isThere = side === "before" ? oldOf(message) !== undefined : message._tag !== "Delete"
    if (!isThere) return undefined
    // Looked up once for each time that the node gets rows as of a position before it.
    const known = side === "before" ? this.keysBefore : this.keysAfter
    let key = known.get(message)
    if (key === undefined) {
      key = keyText(this.entry.definition.keyColumns.map((name) => textOf(message, side, name)))
      known.set(message, key)
    }
    return key
  }

  /**
   * The link values for which a leaf holds since a transaction, or no longer does; or why the shape can't go on: NULL in
   * the set of a NOT IN concerns every row.
   */
  moved(at: Lsn.Lsn): ReadonlyArray<Moved> | string {
    const moved: Array<Moved> = []
    for (const [leaf, member] of this.plan.leaves.entries()) {
      if (member._tag !== "Member") continue
      const { set } = this.dependencies[member.dependency]!.materializer
      const transitions = set.transitions(at)
      if (transitions.length === 0) continue
      if (member.negated && member.member.nulls === "in") {
        if (set.hasNulls(at - 1n) !== set.hasNulls(at)) return "NULL has entered or left the set of a NOT IN"
      }
      const add = (key: string, texts: ReadonlyArray<string | null>) => {
        const now = holds(member, set, key, at)
        if (now !== holds(member, set, key, at - 1n)) moved.push({ leaf, key, texts, holds: now })
      }
      for (const { key, texts } of transitions) if (!keyHasNull(key)) add(key, texts)
      // NULL is not in an empty set, and unknown to be in any other.
      if (member.negated && set.isEmpty(at - 1n) !== set.isEmpty(at)) {
        const texts = member.member.links.map(() => null)
        add(valueKey(member.member.links.map(({ type }) => type), texts), texts)
      }
    }
    // In an order of their own: if it is done again, after a crash, readers may have had it already.
    return moved.sort((a, b) => a.leaf - b.leaf || (a.key < b.key ? -1 : 1))
  }
}

/** Which sets have a value, for the links of one or several columns. */
export class LinkIndex {
  readonly slots: ReadonlyArray<number>
  private readonly byKey = new Map<string, Dependency | Set<Dependency>>()
  readonly nodes = new Map<Dependency, Set<Node>>()

  constructor(slots: ReadonlyArray<number>) {
    this.slots = slots
  }

  put(key: string, dependency: Dependency): void {
    const known = this.byKey.get(key)
    if (known === undefined) this.byKey.set(key, dependency)
    else if (known instanceof Set) known.add(dependency)
    else if (known !== dependency) this.byKey.set(key, new Set([known, dependency]))
  }

  take(key: string, dependency: Dependency): void {
    const known = this.byKey.get(key)
    if (known === dependency) this.byKey.delete(key)
    if (!(known instanceof Set)) return
    known.delete(dependency)
    if (known.size === 0) this.byKey.delete(key)
  }

  find(row: Row, visit: (node: Node) => void): void {
    const found = this.byKey.get(rowKey(row, this.slots))
    if (found === undefined) return
    if (found instanceof Set) { for (const dependency of found) this.visitNodes(dependency, visit) }
    else this.visitNodes(found, visit)
  }

  private visitNodes(dependency: Dependency, visit: (node: Node) => void): void {
    for (const node of this.nodes.get(dependency) ?? []) visit(node)
  }
}

/** The nodes of one table. */
export class TableNodes {
  readonly oid: number
  readonly rows = new TableRows()
  readonly all = new Set<Node>()
  /** Those that every change has to be tested with. */
  private readonly scanned = new Set<Node>()
  private readonly links = new Map<string, LinkIndex>()

  constructor(oid: number) {
    this.oid = oid
  }

  add(node: Node): void {
    this.all.add(node)
    const leaves = accessOf(node.plan)
    if (leaves === undefined) {
      this.scanned.add(node)
      return
    }
    for (const leaf of leaves) {
      const dependency = node.dependencies[leaf.dependency]!
      const index = this.indexOf(node.rows.linkOf(leaf.leaf))
      const known = index.nodes.get(dependency)
      if (known) {
        known.add(node)
        continue
      }
      index.nodes.set(dependency, new Set([node]))
      dependency.indexes.add(index)
      for (const key of dependency.materializer.set.values()) index.put(key, dependency)
    }
  }

  remove(node: Node): void {
    if (!this.all.delete(node) || this.scanned.delete(node)) return
    for (const leaf of accessOf(node.plan) ?? []) {
      const dependency = node.dependencies[leaf.dependency]!
      const index = this.links.get(node.rows.linkOf(leaf.leaf).join())
      const nodes = index?.nodes.get(dependency)
      nodes?.delete(node)
      // Of two leaves with one link, the first has taken it out.
      if (!index || nodes?.size !== 0) continue
      index.nodes.delete(dependency)
      dependency.indexes.delete(index)
      const { set } = dependency.materializer
      for (const key of set.values()) index.take(key, dependency)
      for (const { key } of set.transitionsBetween(-1n, Lsn.highest)) index.take(key, dependency)
      if (index.nodes.size === 0) this.links.delete(index.slots.join())
    }
  }

  /** Calls `visit` for every node that either side of a change may be in, possibly more than once. */
  find(message: RowMessage, visit: (node: Node) => void): void {
    for (const node of this.scanned) visit(node)
    if (this.links.size === 0) return
    const old = oldOf(message)
    if (old !== undefined) this.findRow(this.rows.bind(message.relation, old, undefined), visit)
    if (message._tag !== "Delete") this.findRow(this.rows.bind(message.relation, message.row, old), visit)
  }

  private findRow(row: Row, visit: (node: Node) => void): void {
    for (const index of this.links.values()) index.find(row, visit)
  }

  private indexOf(slots: ReadonlyArray<number>): LinkIndex {
    const name = slots.join()
    let index = this.links.get(name)
    if (index === undefined) this.links.set(name, index = new LinkIndex(slots))
    return index
  }
}

/**
 * A membership of each disjunct, one of which every row of the shape has; `undefined` when some disjunct has none that
 * is not negated.
 */
const accessOf = ({ disjuncts, leaves }: Plan) => {
  const access = disjuncts.map((disjunct) => {
    for (const leaf of disjunct) {
      const each = leaves[leaf]!
      if (each._tag === "Member" && !each.negated) return { leaf, dependency: each.dependency }
    }
    return undefined
  })
  const known = access.filter((each) => each !== undefined)
  return known.length === access.length ? known : undefined
}
