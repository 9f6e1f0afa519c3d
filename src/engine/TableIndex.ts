/**
 * The clauses on one table, by what they can be found by (D8): hash lookups for equalities on one or several columns and
 * for elements of arrays, an interval index for ranges and prefixes, and a list of those that every row must be tested
 * with.
 */
import type { Relation } from "../domain/Relation.ts"
import type { Tuple } from "../domain/WalMessage.ts"
import { accessOf, type IndexColumn, NULL_KEY, SEPARATOR, type Term } from "../where/Access.ts"
import { type Place, placeOf } from "../where/Bounds.ts"
import { compile, type Test } from "../where/Compile.ts"
import { columnsOf } from "../where/ExpressionType.ts"
import { type Row, Slots } from "../where/Row.ts"
import { UNSURE } from "../where/Value.ts"
import { IntervalIndex } from "./IntervalIndex.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"

/** A shape's clause in the index. */
export class Route {
  readonly entry: ShapeEntry
  /** Being found is enough: there is nothing left to test. */
  readonly exact: boolean
  /** The last search that found it. */
  found = 0
  /** What that search said. */
  verdict: boolean | undefined = false
  private compiled: Test | undefined = undefined

  constructor(entry: ShapeEntry, exact: boolean) {
    this.entry = entry
    this.exact = exact
  }

  /** Whether a row satisfies the clause; `undefined` when only Postgres can tell. */
  test(row: Row, slots: Slots): boolean | undefined {
    this.compiled ??= compile(this.entry.definition.where!.expression, slots)
    return this.compiled(row)
  }
}

/** Few keys have more than one clause: a set for each would take more than all the rest. */
type Bucket = Route | Set<Route>

const put = (buckets: Map<string, Bucket>, key: string, route: Route): void => {
  const bucket = buckets.get(key)
  if (bucket === undefined) buckets.set(key, route)
  else if (bucket instanceof Set) bucket.add(route)
  else if (bucket !== route) buckets.set(key, new Set([bucket, route]))
}

const take = (buckets: Map<string, Bucket>, key: string, route: Route): void => {
  const bucket = buckets.get(key)
  if (bucket === route) buckets.delete(key)
  if (!(bucket instanceof Set)) return
  bucket.delete(route)
  if (bucket.size === 0) buckets.delete(key)
}

/** `certain`: the row satisfies the route's clause, without a test. */
type Visit = (route: Route, certain: boolean) => void

const visitBucket = (bucket: Bucket | undefined, visit: Visit): void => {
  if (bucket === undefined) return
  if (bucket instanceof Set) { for (const route of bucket) visit(route, route.exact) }
  else visit(bucket, bucket.exact)
}

class HashIndex {
  private readonly slots: ReadonlyArray<number>
  readonly buckets = new Map<string, Bucket>()

  constructor(slots: ReadonlyArray<number>) {
    this.slots = slots
  }

  find(row: Row, visit: Visit): void {
    let key = row.key(this.slots[0]!) ?? NULL_KEY
    for (let i = 1; i < this.slots.length; i++) key += SEPARATOR + (row.key(this.slots[i]!) ?? NULL_KEY)
    visitBucket(this.buckets.get(key), visit)
  }
}

class ElementIndex {
  private readonly slot: number
  readonly buckets = new Map<string, Bucket>()

  constructor(slot: number) {
    this.slot = slot
  }

  find(row: Row, visit: Visit): void {
    for (const key of row.elementKeys(this.slot)) visitBucket(this.buckets.get(key), visit)
  }

  all(visit: Visit): void {
    for (const bucket of this.buckets.values()) visitBucket(bucket, (route) => visit(route, false))
  }
}

class RangeIndex {
  private readonly slot: number
  readonly intervals = new IntervalIndex<Route>()

  constructor(slot: number) {
    this.slot = slot
  }

  find(row: Row, visit: Visit): void {
    const value = row.value(this.slot)
    const place = value === null ? undefined : placeOf(value)
    if (place !== undefined) this.intervals.find(place, (route) => visit(route, false))
  }

  all(visit: Visit): void {
    this.intervals.all((route) => visit(route, false))
  }
}

/** Places beyond all values of their kind. */
const lowest = (kind: "number" | "text"): Place => kind === "number" ? -Infinity : ""
const highest = (kind: "number" | "text"): Place => kind === "number" ? Infinity : "\uffff"

/** The index for a key of the map, made if it is not there. */
const indexOf = <A>(indexes: Map<string, A>, key: string, make: () => A): A => {
  let index = indexes.get(key)
  if (index === undefined) indexes.set(key, index = make())
  return index
}

export class TableIndex {
  readonly slots = new Slots()
  private readonly routes = new Map<ShapeEntry, Route>()
  private readonly hashes = new Map<string, HashIndex>()
  private readonly elements = new Map<string, ElementIndex>()
  private readonly ranges = new Map<string, RangeIndex>()
  /** What every row must be tested with. */
  private readonly scanned = new Set<Route>()

  get isEmpty(): boolean {
    return this.routes.size === 0
  }

  /** All clauses. */
  all(): IterableIterator<Route> {
    return this.routes.values()
  }

  add(entry: ShapeEntry): void {
    const { expression } = entry.definition.where!
    const { exact, terms } = accessOf(expression)
    // All of them now: rows are bound to the slots that there are, and a test may be compiled after that.
    for (const { name, type } of columnsOf(expression)) this.slots.of(name, type)
    const route = new Route(entry, exact)
    this.routes.set(entry, route)
    if (terms === undefined) this.scanned.add(route)
    else for (const term of terms) this.addTerm(term, route)
  }

  remove(entry: ShapeEntry): void {
    const route = this.routes.get(entry)
    if (route === undefined) return
    this.routes.delete(entry)
    const { terms } = accessOf(entry.definition.where!.expression)
    if (terms === undefined) this.scanned.delete(route)
    else for (const term of terms) this.removeTerm(term, route)
  }

  /** Has `row` read a tuple; what an update left unchanged out of line is taken from `old`. */
  bind(row: Row, relation: Relation, tuple: Tuple, old: Tuple | undefined): void {
    row.bind(this.slots.columnsIn(relation), tuple, old)
  }

  /**
   * Calls `visit` for every clause that the row may satisfy, possibly more than once. None is left out because of a value
   * that can't be read.
   */
  find(row: Row, visit: Visit): void {
    for (const index of this.hashes.values()) index.find(row, visit)
    for (const index of this.elements.values()) this.findIn(index, row, visit)
    for (const index of this.ranges.values()) this.findIn(index, row, visit)
    for (const route of this.scanned) visit(route, false)
  }

  /** A value that can't be read here may be any: all clauses of its index have to be tested. */
  private findIn(index: ElementIndex | RangeIndex, row: Row, visit: Visit): void {
    try {
      index.find(row, visit)
    } catch (cause) {
      if (cause !== UNSURE) throw cause
      index.all(visit)
    }
  }

  private slotOf({ name, type }: IndexColumn): number {
    return this.slots.of(name, type)
  }

  private hashKey(term: Extract<Term, { readonly _tag: "Equal" }>): readonly [string, ReadonlyArray<number>] {
    const slots = term.columns.map((column) => this.slotOf(column))
    return [slots.join(), slots]
  }

  private addTerm(term: Term, route: Route): void {
    switch (term._tag) {
      case "Equal": {
        const [name, slots] = this.hashKey(term)
        put(indexOf(this.hashes, name, () => new HashIndex(slots)).buckets, term.keys.join(SEPARATOR), route)
        break
      }
      case "Element": {
        const slot = this.slotOf(term.column)
        put(indexOf(this.elements, String(slot), () => new ElementIndex(slot)).buckets, term.key, route)
        break
      }
      case "Within": {
        const slot = this.slotOf(term.column)
        const { high, kind, low } = term.bounds
        const { intervals } = indexOf(this.ranges, `${slot} ${kind}`, () => new RangeIndex(slot))
        intervals.add(low ?? lowest(kind), high ?? highest(kind), route)
      }
    }
  }

  private removeTerm(term: Term, route: Route): void {
    switch (term._tag) {
      case "Equal": {
        const [name] = this.hashKey(term)
        const index = this.hashes.get(name)
        if (index === undefined) return
        take(index.buckets, term.keys.join(SEPARATOR), route)
        if (index.buckets.size === 0) this.hashes.delete(name)
        break
      }
      case "Element": {
        const name = String(this.slotOf(term.column))
        const index = this.elements.get(name)
        if (index === undefined) return
        take(index.buckets, term.key, route)
        if (index.buckets.size === 0) this.elements.delete(name)
        break
      }
      case "Within": {
        const { high, kind, low } = term.bounds
        const name = `${this.slotOf(term.column)} ${kind}`
        const index = this.ranges.get(name)
        if (index === undefined) return
        index.intervals.remove(low ?? lowest(kind), high ?? highest(kind), route)
        if (index.intervals.isEmpty) this.ranges.delete(name)
      }
    }
  }
}
