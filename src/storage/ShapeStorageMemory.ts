/**
 * The store in memory: the same semantics, nothing survives its state. `layer` has a state of its own. For tests, two
 * layers over one state are a store that was closed and opened again, and `crashed` is what a power cut leaves: a state
 * that has lost commits which `flushed` had not covered, the last ones first.
 */
import { Effect, Layer, Option } from "effect"
import { StorageError } from "../domain/Errors.ts"
import { lastOf } from "../domain/LogBlock.ts"
import { compare, type LogOffset } from "../domain/LogOffset.ts"
import { IdSet } from "./IdSet.ts"
import {
  type AppliedPosition,
  type Commit,
  COUNTS_PAGE,
  type CountsAt,
  type ShapeHead,
  type ShapeId,
  type ShapeRecord,
  ShapeStorage,
  type StoredCount,
  type StoreOp
} from "./ShapeStorage.ts"
import { complaint, isScratchOp, shapeOf } from "./StoreOps.ts"

interface LogEntry {
  readonly first: LogOffset
  readonly block: Buffer
}

/** What is stored of one shape. A shape whose `record` is missing has only had blocks or a head put. */
interface StoredShape {
  record: ShapeRecord | undefined
  head: ShapeHead | undefined
  /** By chunk, by block. */
  readonly snapshot: Map<number, Map<number, Buffer>>
  /** In order of their offsets. */
  readonly log: Array<LogEntry>
  readonly chunkEnds: Array<LogOffset>
  /** By value. */
  readonly counts: Map<string, number>
  countsAt: CountsAt | undefined
}

export interface MemoryState {
  applied: AppliedPosition | undefined
  unfinished: boolean
  nextId: ShapeId
  readonly shapes: Map<ShapeId, StoredShape>
  readonly removed: IdSet
  readonly scratch: Map<number, Buffer>
  /** Every commit in order, when the state was made with a journal. */
  readonly journal: Array<Commit> | undefined
  /** How many commits of the journal are durable. */
  flushed: number
}

const empty = (journal: boolean): MemoryState => ({
  applied: undefined,
  unfinished: false,
  nextId: 1,
  shapes: new Map(),
  removed: new IdSet(),
  scratch: new Map(),
  journal: journal ? [] : undefined,
  flushed: 0
})

/** An empty store for tests. It keeps a journal of its commits, so its memory grows with all that is ever written. */
export const makeState = (): MemoryState => empty(true)

/** How many commits a power cut could take at most. */
export const unflushed = (state: MemoryState): number => (state.journal?.length ?? 0) - state.flushed

/**
 * The state that a power cut leaves which takes the last `lost` commits, or all that are not flushed if those are
 * fewer.
 */
export const crashed = (state: MemoryState, lost: number): MemoryState => {
  const after = makeState()
  const journal = state.journal ?? []
  for (const commit of journal.slice(0, journal.length - Math.min(lost, unflushed(state)))) apply(after, commit)
  after.flushed = after.journal?.length ?? 0
  return after
}

/** Index of the first element for which `isAfter` holds, when it holds for all that follow it too; else the length. */
const indexOfFirst = <A>(sorted: ReadonlyArray<A>, isAfter: (a: A) => boolean): number => {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isAfter(sorted[middle]!)) high = middle
    else low = middle + 1
  }
  return low
}

const putOrdered = <A>(sorted: Array<A>, value: A, offsetOf: (a: A) => LogOffset): void => {
  const at = indexOfFirst(sorted, (other) => compare(offsetOf(other), offsetOf(value)) >= 0)
  const replaces = at < sorted.length && compare(offsetOf(sorted[at]!), offsetOf(value)) === 0
  sorted.splice(at, replaces ? 1 : 0, value)
}

const shapeIn = (state: MemoryState, id: ShapeId): StoredShape => {
  let shape = state.shapes.get(id)
  if (shape === undefined) {
    shape = {
      record: undefined,
      head: undefined,
      snapshot: new Map(),
      log: [],
      chunkEnds: [],
      counts: new Map(),
      countsAt: undefined
    }
    state.shapes.set(id, shape)
  }
  return shape
}

const applyOp = (state: MemoryState, op: StoreOp): void => {
  if (isScratchOp(op)) {
    if (op._tag === "PutScratch") state.scratch.set(op.page, Buffer.from(op.bytes))
    else for (const page of state.scratch.keys()) if (page >= op.from && page <= op.to) state.scratch.delete(page)
    return
  }
  const id = shapeOf(op)
  // A writer that has not heard of the removal yet must not bring anything back.
  if (state.removed.has(id)) return
  if (op._tag === "RemoveShape") {
    state.shapes.delete(id)
    state.removed.add(id)
    return
  }
  const shape = shapeIn(state, id)
  switch (op._tag) {
    case "PutShape":
      shape.record = op.record
      state.nextId = Math.max(state.nextId, id + 1)
      return
    case "PutHead":
      shape.head = op.head
      return
    case "PutSnapshotBlock": {
      const chunk = shape.snapshot.get(op.chunk) ?? new Map<number, Buffer>()
      shape.snapshot.set(op.chunk, chunk.set(op.block, Buffer.from(op.bytes)))
      return
    }
    case "PutLogBlock":
      return putOrdered(shape.log, { first: op.first, block: Buffer.from(op.bytes) }, (entry) => entry.first)
    case "PutChunkEnd":
      return putOrdered(shape.chunkEnds, op.end, (end) => end)
    case "TruncateLog":
      shape.log.length = indexOfFirst(shape.log, (entry) => compare(entry.first, op.after) > 0)
      shape.chunkEnds.length = indexOfFirst(shape.chunkEnds, (end) => compare(end, op.after) > 0)
      return
    case "PutCount":
      if (op.count === 0) shape.counts.delete(op.value)
      else shape.counts.set(op.value, op.count)
      return
    case "PutCountsAt":
      shape.countsAt = op.at
  }
}

const apply = (state: MemoryState, commit: Commit): void => {
  for (const op of commit.ops) applyOp(state, op)
  if (commit.applied !== undefined) state.applied = commit.applied
  if (commit.unfinished !== undefined) state.unfinished = commit.unfinished
  state.journal?.push(withOwnBytes(commit))
}

/** The caller has its byte arrays back once a commit completes. */
const withOwnBytes = (commit: Commit): Commit => ({
  ...commit,
  ops: commit.ops.map((op) => ("bytes" in op ? { ...op, bytes: Buffer.from(op.bytes) } : op))
})

const logBlock = (log: ReadonlyArray<LogEntry>, after: LogOffset): Buffer | undefined => {
  const next = indexOfFirst(log, (entry) => compare(entry.first, after) > 0)
  const within = log[next - 1]
  return within !== undefined && compare(lastOf(within.block), after) > 0 ? within.block : log[next]?.block
}

/** A page of counts, in the order of their values. */
const pageOf = (counts: ReadonlyMap<string, number>, after: string | undefined): ReadonlyArray<StoredCount> => {
  const values: Array<string> = []
  for (const value of counts.keys()) if (after === undefined || value > after) values.push(value)
  return values.sort((a, b) => a < b ? -1 : 1).slice(0, COUNTS_PAGE).map((value) => ({
    value,
    count: counts.get(value)!
  }))
}

const make = (state: MemoryState) => {
  state.scratch.clear()
  const snapshotBlock = (shape: ShapeId, chunk: number, block: number) =>
    state.shapes.get(shape)?.snapshot.get(chunk)?.get(block)
  const blockAfter = (shape: ShapeId, after: LogOffset) => logBlock(state.shapes.get(shape)?.log ?? [], after)
  return ShapeStorage.of({
    load: Effect.sync(() => {
      const shapes = []
      for (const { head, record } of [...state.shapes.entries()].sort(([a], [b]) => a - b).map(([, shape]) => shape)) {
        if (record !== undefined) shapes.push({ record, head })
      }
      return { applied: state.applied, shapes, unfinished: state.unfinished, nextId: state.nextId }
    }),
    commit: (commit) =>
      Effect.suspend(() => {
        const text = complaint(commit)
        if (text !== undefined) return Effect.fail(new StorageError({ operation: "commit", cause: new Error(text) }))
        apply(state, commit)
        return Effect.void
      }),
    flushed: Effect.sync(() => {
      state.flushed = state.journal?.length ?? 0
    }),
    snapshotBlock: (shape, chunk, block) => Effect.sync(() => Option.fromNullable(snapshotBlock(shape, chunk, block))),
    logBlock: (shape, after) => Effect.sync(() => Option.fromNullable(blockAfter(shape, after))),
    unsafe: { snapshotBlock, logBlock: blockAfter },
    chunkEnd: (shape, after) =>
      Effect.sync(() => Option.fromNullable(state.shapes.get(shape)?.chunkEnds.find((end) => compare(end, after) > 0))),
    countsAt: (shape) => Effect.sync(() => Option.fromNullable(state.shapes.get(shape)?.countsAt)),
    counts: (shape, after) => Effect.sync(() => pageOf(state.shapes.get(shape)?.counts ?? new Map(), after)),
    scratch: (page) => Effect.sync(() => Option.map(Option.fromNullable(state.scratch.get(page)), Buffer.from)),
    diskBytes: Effect.succeed(0)
  })
}

/** A store over `state`, which outlives it. */
export const layerFrom = (state: MemoryState): Layer.Layer<ShapeStorage> => Layer.sync(ShapeStorage, () => make(state))

/** A store of its own that is gone with the layer. */
export const layer: Layer.Layer<ShapeStorage> = Layer.sync(ShapeStorage, () => make(empty(false)))
