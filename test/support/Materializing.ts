/** An inner shape on `items (id, title)` whose titles make a set, and a table that changes are made to. */
import { Effect, Exit, Scope } from "effect"
import * as Projection from "../../src/domain/Projection.ts"
import type { ShapeDefinition } from "../../src/domain/ShapeDefinition.ts"
import { tuple } from "../../src/domain/WalMessage.ts"
import { type Action, RowChange, type Transaction } from "../../src/engine/Changes.ts"
import { SLICE_COUNTS } from "../../src/engine/Checkpoint.ts"
import type { Fragment } from "../../src/engine/Consumer.ts"
import * as Materializer from "../../src/engine/Materializer.ts"
import { ShapeEntry } from "../../src/engine/ShapeCatalog.ts"
import { valueKey, type ValueSet } from "../../src/engine/ValueSet.ts"
import type { MemoryState } from "../../src/storage/ShapeStorageMemory.ts"
import { TEXT } from "../where/Expressions.ts"
import * as EngineParts from "./EngineParts.ts"

export const SHAPE = 2
export const targets = [{ name: "title", type: TEXT }]

export const definition: ShapeDefinition = { ...EngineParts.definition, replica: "full" }

export const keyOf = (title: string | null): string => valueKey([TEXT], [title])

/** How many rows have each title. */
export const countsOf = (titles: Iterable<string | null>): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const title of titles) counts.set(keyOf(title), (counts.get(keyOf(title)) ?? 0) + 1)
  return counts
}

/** The same of a set, in the order of the keys. */
export const counted = (set: ValueSet): ReadonlyArray<readonly [string, number]> =>
  [...set.values()].map((key) => [key, set.count(key)] as const).sort(([a], [b]) => a < b ? -1 : 1)

export const sorted = (counts: ReadonlyMap<string, number>): ReadonlyArray<readonly [string, number]> =>
  [...counts].sort(([a], [b]) => a < b ? -1 : 1)

export type Change =
  | { readonly _tag: "Insert"; readonly id: string; readonly title: string | null }
  | { readonly _tag: "Update"; readonly id: string; readonly title: string | null | undefined; readonly to?: string }
  | { readonly _tag: "Delete"; readonly id: string }

export const insert = (id: string, title: string | null): Change => ({ _tag: "Insert", id, title })
/** `undefined`: a value out of line that is not sent. */
export const update = (id: string, title: string | null | undefined, to = id): Change => ({
  _tag: "Update",
  id,
  title,
  to
})
export const remove = (id: string): Change => ({ _tag: "Delete", id })

/** The table, and what its history says of it. */
export class Table {
  readonly rows = new Map<string, string | null>()
  /** Titles by id, after each transaction; 0 is the snapshot. */
  readonly after = new Map<bigint, ReadonlyMap<string, string | null>>()
  readonly transactions: Array<Fragment> = []

  constructor(rows: Iterable<readonly [string, string | null]> = []) {
    for (const [id, title] of rows) this.rows.set(id, title)
    this.after.set(0n, new Map(this.rows))
  }

  /** One transaction, as the collector gives it to the shape's consumer. */
  commit(lsn: bigint, ...changes: ReadonlyArray<Change>): Fragment {
    const transaction: Transaction = EngineParts.transactionAt(lsn)
    const made: Array<RowChange> = []
    const actions: Array<Action> = []
    for (const [n, change] of changes.entries()) {
      const { relation } = EngineParts
      const old = this.rows.get(change.id)
      const oldTuple = tuple([change.id, old])
      const add = (message: RowChange["message"], action: Action) => {
        made.push(new RowChange(message, transaction, 2 * n))
        actions.push(action)
      }
      switch (change._tag) {
        case "Insert":
          this.rows.set(change.id, change.title)
          add({ _tag: "Insert", relation, row: tuple([change.id, change.title]) }, "insert")
          break
        case "Delete":
          this.rows.delete(change.id)
          add({ _tag: "Delete", relation, old: oldTuple, oldIsFull: true }, "delete")
          break
        case "Update": {
          const to = change.to ?? change.id
          this.rows.delete(change.id)
          this.rows.set(to, change.title === undefined ? old! : change.title)
          const row = tuple([to, change.title])
          add({ _tag: "Update", relation, old: oldTuple, oldIsFull: true, row }, "update")
        }
      }
    }
    this.after.set(lsn, new Map(this.rows))
    const fragment: Fragment = { transaction, changes: made, actions, broken: undefined, commit: true }
    this.transactions.push(fragment)
    return fragment
  }

  /** How many rows have each title, after the transactions up to and including one. */
  counts(at: bigint = 1n << 64n): ReadonlyArray<readonly [string, number]> {
    let found: ReadonlyMap<string, string | null> = new Map()
    for (const [lsn, rows] of this.after) if (lsn <= at) found = rows
    return sorted(countsOf(found.values()))
  }
}

/** A transaction in two pieces: its subscribers are not given its changes. */
export const inPieces = (fragment: Fragment): ReadonlyArray<Fragment> => {
  const half = fragment.changes.length >> 1
  const { actions, changes } = fragment
  return [
    { ...fragment, changes: changes.slice(0, half), actions: actions.slice(0, half), commit: false },
    { ...fragment, changes: changes.slice(half), actions: actions.slice(half) }
  ]
}

const snapshotItem = ([id, title]: readonly [string, string | null]): string =>
  `,${JSON.stringify({ key: `"public"."items"/"${id}"`, value: { id, title }, headers: { operation: "insert" } })}`

const END = `,{"headers":{"control":"snapshot-end"}}`

/** Puts a snapshot into the store: `rows` to a chunk, in blocks of so many bytes. */
export const putSnapshot = Effect.fnUntraced(
  function*(
    storage: EngineParts.Parts["storage"],
    rows: Iterable<readonly [string, string | null]>,
    { perChunk = 1000, blockBytes = 40_000 }: { readonly perChunk?: number; readonly blockBytes?: number } = {}
  ) {
    const all = [...rows]
    const chunks: Array<Buffer> = []
    for (let from = 0; from === 0 || from < all.length; from += perChunk) {
      const isLast = from + perChunk >= all.length
      const text = all.slice(from, from + perChunk).map(snapshotItem).join("") + (isLast ? END : "")
      chunks.push(Buffer.from(text))
    }
    const sizes = chunks.map(({ length }) => length)
    const record = { id: SHAPE, handle: "inner", definition, snapshot: { marks, chunks: sizes } }
    yield* storage.commit({
      ops: [
        { _tag: "PutShape", record },
        ...chunks.flatMap((bytes, chunk) =>
          Array.from({ length: Math.ceil(bytes.length / blockBytes) }, (_, block) => ({
            _tag: "PutSnapshotBlock" as const,
            shape: SHAPE,
            chunk,
            block,
            bytes: bytes.subarray(block * blockBytes, (block + 1) * blockBytes)
          }))
        )
      ]
    })
    return sizes
  }
)

const marks = { xmin: 1n, xmax: 1n, xip: [], lsn: 0n }

/** The shape as a start finds it. */
export const entryFrom = (state: MemoryState): ShapeEntry => {
  const { head, record } = state.shapes.get(SHAPE)!
  return new ShapeEntry(record!, head, Projection.make(definition), "{}")
}

/** Everything that is left of a process over a store; in a scope of its own, so that it can end. */
export const life = Effect.fnUntraced(function*(state: MemoryState, options: EngineParts.PartsOptions = {}) {
  const scope = yield* Scope.make()
  const parts = yield* EngineParts.makeParts({ ...options, state }).pipe(Scope.extend(scope))
  const entry = entryFrom(state)
  const offer = (...fragments: ReadonlyArray<Fragment>) =>
    Effect.gen(function*() {
      const consumer = yield* parts.consumers.get(entry)
      if (consumer) {
        for (const one of fragments) yield* EngineParts.offer(consumer, EngineParts.fragments(one))
      }
    })
  const materialize = (from: bigint = 1n << 64n, sliceCounts = SLICE_COUNTS) =>
    Materializer.make(entry, { targets, from }, {
      consumers: parts.consumers,
      reader: parts.reader,
      storage: parts.storage,
      committer: parts.committer,
      sliceCounts
    })
  return {
    parts,
    entry,
    offer,
    materialize,
    scope,
    close: Effect.zipRight(parts.stopConsumers, Scope.close(scope, Exit.void))
  }
})

export type Life = Effect.Effect.Success<ReturnType<typeof life>>

/** A store with the table as the shape's snapshot. */
export const stored = Effect.fnUntraced(function*(
  state: MemoryState,
  table: Table,
  options?: { readonly perChunk?: number; readonly blockBytes?: number }
) {
  const { close, storage } = yield* storeOver(state)
  yield* putSnapshot(storage, table.after.get(0n)!, options)
  yield* close
})

const storeOver = Effect.fnUntraced(function*(state: MemoryState) {
  const scope = yield* Scope.make()
  const { storage } = yield* EngineParts.makeParts({ state }).pipe(Scope.extend(scope))
  return { storage, close: Scope.close(scope, Exit.void) }
})
