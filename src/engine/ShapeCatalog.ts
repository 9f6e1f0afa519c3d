/**
 * Every shape that is kept, active or not: found by handle, by meaning and by table. Plain synchronous state, touched
 * only by the engine; nothing here waits.
 */
import { Effect, Exit } from "effect"
import type { SnapshotFailed } from "../domain/Errors.ts"
import { ShapeGone } from "../domain/Errors.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import type { Lsn } from "../domain/Lsn.ts"
import type { SnapshotMarks } from "../domain/PgSnapshot.ts"
import * as Projection from "../domain/Projection.ts"
import { identity, type ShapeDefinition } from "../domain/ShapeDefinition.ts"
import type { ShapeHead, ShapeId, ShapeRecord } from "../storage/ShapeStorage.ts"
import type { RecentBlocks } from "./RecentBlocks.ts"

interface Waiter {
  readonly after: LogOffset.LogOffset
  readonly resume: (exit: Exit.Exit<void, ShapeGone>) => void
}

/**
 * How far a shape's snapshot has got. `blocks[n]` blocks of chunk `n` can be read; all chunks but the last are whole.
 * Once it is complete, the bytes of each chunk.
 */
export type SnapshotState =
  | { readonly _tag: "Waiting" }
  | { readonly _tag: "Running"; readonly blocks: ReadonlyArray<number>; readonly recent: RecentBlocks }
  | { readonly _tag: "Complete"; readonly chunks: ReadonlyArray<number> }
  | { readonly _tag: "Failed"; readonly error: SnapshotFailed }

/** One shape, from its creation to its removal. */
export class ShapeEntry {
  readonly id: ShapeId
  readonly handle: string
  readonly definition: ShapeDefinition
  readonly identity: string
  readonly projection: Projection.Projection
  /** JSON of the `electric-schema` header; follows the catalog. */
  schema: string
  /** What is in the store. */
  head: ShapeHead
  /** Offset of the last entry that readers may see. */
  end: LogOffset.LogOffset
  snapshot: SnapshotState
  /** Set until no transaction that the snapshot saw can come any more. */
  filter: SnapshotMarks | undefined
  /** The snapshot's marks are known: transactions are told apart, none is kept back any more. */
  joined: boolean
  /** The transaction that was arriving when the shape was registered: the shape has nothing of it (H223). */
  skipTransaction: Lsn | undefined = undefined
  removed = false
  /** The catalog may say something else of the table by now. */
  stale = false
  /** No chunk of the log ends after this offset; `undefined` after a restart, when only the store knows. */
  openChunkStart: LogOffset.LogOffset | undefined
  /** Chunk ends that are not stored yet. */
  pendingChunkEnds: Array<LogOffset.LogOffset> = []
  private readonly waiters = new Set<Waiter>()
  private progress = Effect.unsafeMakeLatch(false)

  constructor(record: ShapeRecord, head: ShapeHead | undefined, projection: Projection.Projection, schema: string) {
    this.id = record.id
    this.handle = record.handle
    this.definition = record.definition
    this.identity = identity(record.definition)
    this.projection = projection
    this.schema = schema
    this.head = head ?? { end: LogOffset.snapshotEnd, chunkBytes: 0 }
    this.end = this.head.end
    this.snapshot = record.snapshot ? { _tag: "Complete", chunks: record.snapshot.chunks } : { _tag: "Waiting" }
    this.filter = record.snapshot?.marks
    this.joined = record.snapshot !== undefined
    this.openChunkStart = record.snapshot ? undefined : LogOffset.snapshotEnd
  }

  /** Moves the snapshot on and wakes whoever waits for it. */
  snapshotAdvanced(state: SnapshotState): void {
    this.snapshot = state
    const latch = this.progress
    this.progress = Effect.unsafeMakeLatch(false)
    latch.unsafeOpen()
  }

  /**
   * Completes when the snapshot has moved on from where it was when this was called, or the shape is removed. Call it
   * in the turn of the look at `snapshot`.
   */
  awaitSnapshotProgress(): Effect.Effect<void> {
    return this.removed ? Effect.void : this.progress.await
  }

  /** Completes when the end is past `after`: at once if it is; fails when the shape is removed. */
  awaitWake(after: LogOffset.LogOffset): Effect.Effect<void, ShapeGone> {
    return Effect.async<void, ShapeGone>((resume) => {
      if (this.removed) return resume(Effect.fail(new ShapeGone({ handle: this.handle })))
      if (LogOffset.lessThan(after, this.end)) return resume(Effect.void)
      const waiter: Waiter = { after, resume }
      this.waiters.add(waiter)
      return Effect.sync(() => {
        this.waiters.delete(waiter)
      })
    })
  }

  /** The log's end has moved: wakes those who wait for something before it. Called after it can be read (I8). */
  wake(end: LogOffset.LogOffset): void {
    this.end = end
    for (const waiter of this.waiters) {
      if (LogOffset.lessThan(waiter.after, end)) {
        this.waiters.delete(waiter)
        waiter.resume(Exit.void)
      }
    }
  }

  get waiting(): number {
    return this.waiters.size
  }

  /** Marks the shape removed and tells everybody who waits for it. */
  markRemoved(): void {
    this.removed = true
    const gone = Exit.fail(new ShapeGone({ handle: this.handle }))
    const waiters = [...this.waiters]
    this.waiters.clear()
    for (const waiter of waiters) waiter.resume(gone)
    this.progress.unsafeOpen()
  }
}

export interface ShapeCatalog {
  readonly byHandle: (handle: string) => ShapeEntry | undefined
  readonly byIdentity: (identity: string) => ShapeEntry | undefined
  /** The shapes whose root table this is. */
  readonly byTable: (oid: number) => ReadonlyArray<ShapeEntry>
  readonly tables: () => ReadonlyArray<number>
  readonly all: () => Iterable<ShapeEntry>
  readonly size: () => number
  readonly add: (entry: ShapeEntry) => void
  /** False when it was removed before. */
  readonly remove: (entry: ShapeEntry) => boolean
  /** The projection of a definition: one object for all shapes that share encodings (D5). */
  readonly projection: (definition: ShapeDefinition) => Projection.Projection
}

export const make = (): ShapeCatalog => {
  const handles = new Map<string, ShapeEntry>()
  const identities = new Map<string, ShapeEntry>()
  const tables = new Map<number, Set<ShapeEntry>>()
  const projections = new Map<string, { readonly projection: Projection.Projection; uses: number }>()
  return {
    byHandle: (handle) => handles.get(handle),
    byIdentity: (key) => identities.get(key),
    byTable: (oid) => [...(tables.get(oid) ?? [])],
    tables: () => [...tables.keys()],
    all: () => handles.values(),
    size: () => handles.size,
    add: (entry) => {
      handles.set(entry.handle, entry)
      identities.set(entry.identity, entry)
      const oid = entry.definition.tableOid
      const shapes = tables.get(oid)
      if (shapes) shapes.add(entry)
      else tables.set(oid, new Set([entry]))
      const shared = projections.get(Projection.projectionKey(entry.definition))
      if (shared) shared.uses += 1
      else projections.set(Projection.projectionKey(entry.definition), { projection: entry.projection, uses: 1 })
    },
    remove: (entry) => {
      if (handles.get(entry.handle) !== entry) return false
      handles.delete(entry.handle)
      if (identities.get(entry.identity) === entry) identities.delete(entry.identity)
      const shapes = tables.get(entry.definition.tableOid)
      shapes?.delete(entry)
      if (shapes?.size === 0) tables.delete(entry.definition.tableOid)
      const key = Projection.projectionKey(entry.definition)
      const shared = projections.get(key)
      if (shared && --shared.uses === 0) projections.delete(key)
      entry.markRemoved()
      return true
    },
    projection: (definition) =>
      projections.get(Projection.projectionKey(definition))?.projection ?? Projection.make(definition)
  }
}
