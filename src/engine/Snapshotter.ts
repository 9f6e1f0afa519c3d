/**
 * Takes a new shape's initial snapshot and joins it to the stream, so that no row is missing and none comes twice.
 *
 * In this order: the table is published; the shape is registered with the router, and its consumer keeps back what
 * comes; the snapshot is taken; the consumer learns which transactions it saw. What the stream brought before the
 * registration is in the snapshot, unless a transaction's commit was in the WAL before its session was done with it:
 * then the snapshot is taken again.
 */
import { Effect, Option, type Scope } from "effect"
import { type DatabaseUnavailable, SnapshotFailed } from "../domain/Errors.ts"
import type { SnapshotMarks } from "../domain/PgSnapshot.ts"
import type { TableInfo } from "../domain/Relation.ts"
import type { CopyRows } from "../domain/SnapshotEncoder.ts"
import * as SnapshotEncoder from "../domain/SnapshotEncoder.ts"
import type { Publication } from "../source/Publication.ts"
import type { SnapshotQuery } from "../source/SnapshotQuery.ts"
import { BLOCK_BYTES, type ShapeRecord, type StoreOp } from "../storage/ShapeStorage.ts"
import type { Collector, Mark } from "./Collector.ts"
import type { Committer } from "./Committer.ts"
import type { Consumer } from "./Consumer.ts"
import type { Consumers } from "./Consumers.ts"
import { RETAKE } from "./CurrentSnapshot.ts"
import * as FairPermits from "./FairPermits.ts"
import * as MemoryBudget from "./MemoryBudget.ts"
import { RecentBlocks } from "./RecentBlocks.ts"
import type { Router } from "./Router.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"
import type { NodeSnapshot, Subqueries } from "./Subqueries.ts"

export interface SnapshotterContext {
  readonly publication: Publication["Type"]
  readonly snapshots: SnapshotQuery["Type"]
  readonly router: Router
  readonly consumers: Consumers
  readonly collector: Collector
  readonly committer: Committer
  readonly chunkBytes: number
  readonly subqueries: () => Subqueries
  /** Bounds how many snapshots are taken at a time: no more than there are connections for them. */
  readonly permits: Effect.Semaphore
}

/** Bytes of one snapshot that may be on their way to the store. */
const WINDOW_BYTES = 64 * BLOCK_BYTES
/** Bytes of rows after which blocks are handed over. */
const SAVE_BYTES = 4 * BLOCK_BYTES
/** Rows that have come are readable after this time at the latest, in milliseconds. */
const FLUSH_MILLIS = 100

const toFailure = (error: SnapshotFailed | DatabaseUnavailable): SnapshotFailed =>
  error._tag === "SnapshotFailed"
    ? error
    : new SnapshotFailed({ reason: "connection", detail: "Database connection not available" })

/** The record of a shape as it is now. */
const recordOf = (entry: ShapeEntry, snapshot: ShapeRecord["snapshot"]): ShapeRecord => ({
  id: entry.id,
  handle: entry.handle,
  definition: entry.definition,
  snapshot
})

/** What a snapshot consists of. */
interface Source {
  readonly marks: SnapshotMarks
  /** The next rows: their size in bytes, roughly, and what writes them; `None` after the last. */
  readonly pull: Effect.Effect<
    Option.Option<{ readonly bytes: number; readonly write: (encoder: SnapshotEncoder.SnapshotEncoder) => void }>,
    SnapshotFailed
  >
}

/** Stores the snapshot's rows block by block, and wakes readers as they become readable. */
const store = Effect.fnUntraced(function*(entry: ShapeEntry, rows: Source, context: SnapshotterContext) {
  const { committer } = context
  const encoder = SnapshotEncoder.make(entry.projection, { blockBytes: BLOCK_BYTES, chunkBytes: context.chunkBytes })
  const window = MemoryBudget.make(WINDOW_BYTES)
  const visible: Array<number> = []
  const sizes: Array<number> = []
  const recent = new RecentBlocks()

  /** Hands over the completed blocks, with `last` in the same commit. */
  const save = (last: () => ReadonlyArray<StoreOp>, done: () => void) => {
    const blocks = encoder.take()
    const ops: Array<StoreOp> = blocks.map(({ block, bytes, chunk }) => ({
      _tag: "PutSnapshotBlock",
      shape: entry.id,
      chunk,
      block,
      bytes
    }))
    const size = blocks.reduce((sum, { bytes }) => sum + bytes.length, 0)
    for (const { bytes, chunk } of blocks) sizes[chunk] = (sizes[chunk] ?? 0) + bytes.length
    window.add(size)
    committer.unsafeEnqueue([...ops, ...last()], size, () => {
      window.release(size)
      if (entry.removed) return
      for (const { block, bytes, chunk } of blocks) {
        visible[chunk] = block + 1
        recent.push(chunk, block, bytes, encoder.recycle)
      }
      if (blocks.length > 0) entry.snapshotAdvanced({ _tag: "Running", blocks: [...visible], recent })
      done()
    })
  }

  const clock = yield* Effect.clock
  let flushedAt = 0
  let pending = 0
  while (true) {
    const pulled = yield* rows.pull
    // What comes after the removal would stay in the store for ever.
    if (entry.removed) return
    if (Option.isNone(pulled)) break
    pulled.value.write(encoder)
    pending += pulled.value.bytes
    const now = clock.unsafeCurrentTimeMillis()
    const isDue = now - flushedAt >= FLUSH_MILLIS
    if (!isDue && pending < SAVE_BYTES) continue
    // Rows that trickle in are not kept back for a full block; a stream of them fills blocks anyway.
    if (isDue && (flushedAt === 0 || pending < BLOCK_BYTES)) encoder.flush()
    // The first rows don't hurry: all of a small snapshot goes into one commit.
    save(() => [], () => {})
    flushedAt = now
    pending = 0
    yield* window.awaitRoom
    if (entry.removed) return
  }
  encoder.finish(rows.marks)
  yield* Effect.async<void>((resume) => {
    save(() => [{ _tag: "PutShape", record: recordOf(entry, { marks: rows.marks, chunks: sizes }) }], () => {
      entry.snapshotAdvanced({ _tag: "Complete", chunks: sizes })
      resume(Effect.void)
    })
    committer.unsafeHurry()
  })
})

/** A shape that the router knows: its consumer gets everything after `since`. */
interface Registered {
  readonly consumer: Consumer
  readonly since: Mark
}

/** Takes one snapshot. False when it does not see a transaction that went by before the shape was registered. */
const attempt = Effect.fnUntraced(function*(
  entry: ShapeEntry,
  { consumer, since }: Registered,
  context: SnapshotterContext
): Effect.fn.Return<boolean, SnapshotFailed, Scope.Scope> {
  const { definition } = entry
  const rows = yield* context.snapshots.open({
    schema: definition.schema,
    table: definition.table,
    columns: definition.columns.map((column) => column.name),
    where: definition.where?.sql,
    rows: definition.log === "full"
  })
  if (context.collector.missing(rows.marks, since)) return false
  // Waited for: what was kept back is in the log before the snapshot can be complete.
  yield* Effect.async<void>((resume) =>
    consumer.unsafeOffer({ _tag: "SnapshotTaken", marks: rows.marks }, () => resume(Effect.void))
  )
  yield* store(
    entry,
    { marks: rows.marks, pull: Effect.map(rows.pull, Option.map(sourceOf)) },
    context
  )
  return true
})

const sourceOf = (rows: CopyRows) => ({
  bytes: rows.bytes.length,
  write: (encoder: SnapshotEncoder.SnapshotEncoder) => encoder.push(rows)
})

/** Takes the snapshot of a shape with subqueries. */
const takeNode = (entry: ShapeEntry, context: SnapshotterContext): Effect.Effect<void, SnapshotFailed> => {
  const { committer, consumers, router, subqueries } = context
  const takeRows = Effect.fnUntraced(function*({ marks, pull }: NodeSnapshot) {
    const consumer = yield* consumers.get(entry)
    if (!consumer || entry.removed) return
    yield* Effect.async<void>((resume) =>
      consumer.unsafeOffer({ _tag: "SnapshotTaken", marks }, () => resume(Effect.void))
    )
    const source: Source = {
      marks,
      pull: Effect.map(
        pull,
        Option.map((items) => ({
          bytes: items.reduce((sum, item) => sum + item.length, 0),
          write: (encoder: SnapshotEncoder.SnapshotEncoder) => items.forEach(encoder.pushItem)
        }))
      )
    }
    yield* store(entry, source, context)
  })
  return Effect.suspend(() => {
    committer.unsafeEnqueue([{ _tag: "PutShape", record: recordOf(entry, undefined) }])
    router.add(entry)
    return subqueries().create(entry, entry.definition.log === "full", takeRows)
  })
}

const register = Effect.fnUntraced(
  function*(entry: ShapeEntry, { collector, committer, consumers, router }: SnapshotterContext) {
    committer.unsafeEnqueue([{ _tag: "PutShape", record: recordOf(entry, undefined) }])
    const consumer = yield* consumers.get(entry)
    if (!consumer || entry.removed) return undefined
    // From this turn on the consumer gets every transaction but the one that is arriving, which the snapshot sees.
    entry.skipTransaction = collector.arriving()
    router.add(entry)
    const registered: Registered = { consumer, since: collector.mark() }
    return registered
  }
)

const registerAndTake = Effect.fnUntraced(function*(entry: ShapeEntry, context: SnapshotterContext) {
  const registered = yield* register(entry, context)
  if (!registered) return
  while (!(yield* Effect.scoped(attempt(entry, registered, context)))) yield* Effect.sleep(RETAKE)
  // Many shapes are made and never change.
  context.consumers.unsafeEndIdle(entry)
})

/**
 * Takes the snapshot of a shape that has just been added to the catalog. Fails with what its readers are to be told.
 */
export const take = (
  entry: ShapeEntry,
  table: TableInfo,
  context: SnapshotterContext
): Effect.Effect<void, SnapshotFailed> =>
  Effect.andThen(
    Effect.mapError(context.publication.ensure(table), toFailure),
    entry.hasSubqueries
      ? takeNode(entry, context)
      : FairPermits.withPermit(context.permits)(registerAndTake(entry, context))
  )
