/**
 * Every shape that is kept, active or not: found by handle, by meaning and by table. Plain synchronous state, touched
 * only by the engine; nothing here waits.
 */
import { Effect, Exit } from "effect"
import { createHash } from "node:crypto"
import type { SnapshotFailed } from "../domain/Errors.ts"
import { ShapeGone } from "../domain/Errors.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import type { Lsn } from "../domain/Lsn.ts"
import type { SnapshotMarks } from "../domain/PgSnapshot.ts"
import * as Projection from "../domain/Projection.ts"
import { identity, type ShapeDefinition } from "../domain/ShapeDefinition.ts"
import type { ShapeHead, ShapeId, ShapeRecord } from "../storage/ShapeStorage.ts"
import { hasMember } from "../where/Plan.ts"
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

/** The newest schema of each projection: shapes that share the one share the other's text. */
const schemas = new WeakMap<Projection.Projection, string>()

/** One shape, from its creation to its removal. What only some shapes need is made when they do: most shapes are idle. */
export class ShapeEntry {
  readonly id: ShapeId
  readonly handle: string
  readonly projection: Projection.Projection
  /** Its clause has subqueries: it takes a transaction as a whole, after those that it depends on. */
  readonly hasSubqueries: boolean
  private described: ShapeDefinition
  private schemaText = ""
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
  /** When somebody last began to read, in ms; 0 when nobody has since the start. */
  lastRead = 0
  /** The catalog may say something else of the table by now. */
  stale = false
  /** No chunk of the log ends after this offset; `undefined` after a restart, when only the store knows. */
  openChunkStart: LogOffset.LogOffset | undefined
  /** Chunk ends that are not stored yet. */
  pendingChunkEnds: Array<LogOffset.LogOffset> = []
  private waiters: Set<Waiter> | undefined
  private progress: Effect.Latch | undefined
  private removals: Set<() => void> | undefined

  constructor(record: ShapeRecord, head: ShapeHead | undefined, projection: Projection.Projection, schema: string) {
    this.id = record.id
    this.handle = record.handle
    this.described = record.definition
    this.hasSubqueries = record.definition.where !== undefined && hasMember(record.definition.where.expression)
    this.projection = projection
    this.schema = schema
    this.head = head ?? { end: LogOffset.snapshotEnd, chunkBytes: 0 }
    this.end = this.head.end
    this.snapshot = record.snapshot ? { _tag: "Complete", chunks: record.snapshot.chunks } : { _tag: "Waiting" }
    this.filter = record.snapshot?.marks
    this.joined = record.snapshot !== undefined
    this.openChunkStart = record.snapshot ? undefined : LogOffset.snapshotEnd
  }

  get definition(): ShapeDefinition {
    return this.described
  }

  /** Holds on to `like`'s table and columns, which are equal, instead of its own. */
  shareDefinition(like: ShapeDefinition): void {
    const { columns, keyColumns, schema, table } = like
    this.described = { ...this.described, schema, table, keyColumns, columns }
  }

  /** JSON of the `electric-schema` header; follows the catalog. */
  get schema(): string {
    return this.schemaText
  }

  set schema(text: string) {
    const known = schemas.get(this.projection)
    if (known !== text) schemas.set(this.projection, text)
    this.schemaText = known === text ? known : text
  }

  /** Moves the snapshot on and wakes whoever waits for it. */
  snapshotAdvanced(state: SnapshotState): void {
    this.snapshot = state
    const latch = this.progress
    this.progress = undefined
    latch?.unsafeOpen()
  }

  /**
   * Completes when the snapshot has moved on from where it was when this was called, or the shape is removed. Call it
   * in the turn of the look at `snapshot`.
   */
  awaitSnapshotProgress(): Effect.Effect<void> {
    return this.removed ? Effect.void : (this.progress ??= Effect.unsafeMakeLatch(false)).await
  }

  /** Completes when the end is past `after`: at once if it is; fails when the shape is removed. */
  awaitWake(after: LogOffset.LogOffset): Effect.Effect<void, ShapeGone> {
    return Effect.async<void, ShapeGone>((resume) => {
      if (this.removed) return resume(Effect.fail(new ShapeGone({ handle: this.handle })))
      if (LogOffset.lessThan(after, this.end)) return resume(Effect.void)
      const waiter: Waiter = { after, resume }
      this.waiters ??= new Set()
      this.waiters.add(waiter)
      return Effect.sync(() => this.forget(waiter))
    })
  }

  private forget(waiter: Waiter): void {
    this.waiters?.delete(waiter)
    if (this.waiters?.size === 0) this.waiters = undefined
  }

  /** The log's end has moved: wakes those who wait for something before it. Called after it can be read (I8). */
  wake(end: LogOffset.LogOffset): void {
    this.end = end
    for (const waiter of this.waiters ?? []) {
      if (LogOffset.lessThan(waiter.after, end)) {
        this.forget(waiter)
        waiter.resume(Exit.void)
      }
    }
  }

  get waiting(): number {
    return this.waiters?.size ?? 0
  }

  /**
   * Calls the listener in the turn in which the shape is removed: at once if it was. Returns what takes the listener
   * back.
   */
  onRemoved(listener: () => void): () => void {
    if (this.removed) listener()
    else (this.removals ??= new Set()).add(listener)
    return () => this.removals?.delete(listener)
  }

  /** Marks the shape removed and tells everybody who waits for it. */
  markRemoved(): void {
    this.removed = true
    const gone = Exit.fail(new ShapeGone({ handle: this.handle }))
    const waiters = [...this.waiters ?? []]
    this.waiters = undefined
    for (const waiter of waiters) waiter.resume(gone)
    this.progress?.unsafeOpen()
    const removals = [...this.removals ?? []]
    this.removals = undefined
    for (const listener of removals) listener()
  }
}

/**
 * Up to `count` shapes, those first that nobody has read for longest. A shape that somebody waits at is being read, and
 * one whose snapshot is still being taken is too young to go.
 */
export const leastRecentlyRead = (entries: Iterable<ShapeEntry>, count: number): ReadonlyArray<ShapeEntry> => {
  if (count <= 0) return []
  const idle: Array<ShapeEntry> = []
  for (const entry of entries) if (entry.waiting === 0 && entry.snapshot._tag === "Complete") idle.push(entry)
  return idle.sort((a, b) => a.lastRead - b.lastRead).slice(0, count)
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

/** What stands for an identity, which may be long: 128 bits of its SHA-256. */
const digest = (key: string): string => createHash("sha256").update(key).digest().toString("latin1", 0, 16)

/** Equal projections have equal column names, but their types may differ: the table was altered. */
const hasEqualColumns = (one: ShapeDefinition, other: ShapeDefinition): boolean =>
  one.columns.length === other.columns.length &&
  one.columns.every(({ name, typeOid }, i) => name === other.columns[i]!.name && typeOid === other.columns[i]!.typeOid)

/** What the shapes of one projection have in common. */
interface Shared {
  readonly projection: Projection.Projection
  readonly definition: ShapeDefinition
  uses: number
}

export const make = (): ShapeCatalog => {
  const handles = new Map<string, ShapeEntry>()
  const identities = new Map<string, ShapeEntry>()
  const tables = new Map<number, Set<ShapeEntry>>()
  const projections = new Map<string, Shared>()
  return {
    byHandle: (handle) => handles.get(handle),
    byIdentity: (key) => identities.get(digest(key)),
    byTable: (oid) => [...(tables.get(oid) ?? [])],
    tables: () => [...tables.keys()],
    all: () => handles.values(),
    size: () => handles.size,
    add: (entry) => {
      handles.set(entry.handle, entry)
      identities.set(digest(identity(entry.definition)), entry)
      const oid = entry.definition.tableOid
      const shapes = tables.get(oid)
      if (shapes) shapes.add(entry)
      else tables.set(oid, new Set([entry]))
      const { definition, projection } = entry
      const shared = projections.get(projection.key)
      if (shared) {
        shared.uses += 1
        if (hasEqualColumns(shared.definition, definition)) entry.shareDefinition(shared.definition)
      } else {
        projections.set(projection.key, { projection, definition, uses: 1 })
      }
    },
    remove: (entry) => {
      if (handles.get(entry.handle) !== entry) return false
      handles.delete(entry.handle)
      const key = digest(identity(entry.definition))
      if (identities.get(key) === entry) identities.delete(key)
      const shapes = tables.get(entry.definition.tableOid)
      shapes?.delete(entry)
      if (shapes?.size === 0) tables.delete(entry.definition.tableOid)
      const shared = projections.get(entry.projection.key)
      if (shared && --shared.uses === 0) projections.delete(entry.projection.key)
      entry.markRemoved()
      return true
    },
    projection: (definition) =>
      projections.get(Projection.projectionKey(definition))?.projection ?? Projection.make(definition)
  }
}
