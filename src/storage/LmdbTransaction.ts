/**
 * One transaction of the LMDB layer in the making: turns the ops of one or more commits into the keys to write, in the
 * order of the ops, against what the store holds. Nothing is written and no state changes until the transaction is
 * through.
 */
import type { IdSet } from "./IdSet.ts"
import type { LmdbEnvironment, Write } from "./LmdbEnvironment.ts"
import type { Commit, ShapeId, StoreOp } from "./ShapeStorage.ts"
import * as Keys from "./StoreKeys.ts"
import { isScratchOp, type ScratchOp, shapeOf } from "./StoreOps.ts"
import * as Values from "./StoreValues.ts"

/** What the layer knows of the store without reading it. */
export interface LmdbState {
  nextId: ShapeId
  /** Shapes that were removed since the store was opened, and those whose blocks were left over from before. */
  readonly removed: IdSet
  /** Removed shapes that may still have blocks. */
  readonly leftOver: Set<ShapeId>
}

const MARK = Buffer.of(1)

export class LmdbTransaction {
  /** By key; later ones replace earlier ones. */
  readonly writes = new Map<string, Write>()
  /** Shapes whose log it changes. */
  readonly changedLogs = new Set<ShapeId>()
  /** Shapes that it puts blocks of. */
  private readonly puts = new Set<ShapeId>()
  private putsScratch = false
  private readonly removes = new Set<ShapeId>()
  private readonly sweeps = new Set<ShapeId>()
  private nextId: ShapeId
  private readonly environment: LmdbEnvironment
  private readonly state: LmdbState

  constructor(environment: LmdbEnvironment, state: LmdbState) {
    this.environment = environment
    this.state = state
    this.nextId = state.nextId
  }

  addCommit(commit: Commit): void {
    for (const op of commit.ops) this.addOp(op)
    if (commit.applied !== undefined) this.put(Keys.APPLIED, Values.encodeApplied(commit.applied))
    if (commit.unfinished !== undefined) this.put(Keys.UNFINISHED, Buffer.of(commit.unfinished ? 1 : 0))
  }

  private addScratchOp(op: ScratchOp): void {
    if (op._tag === "PutScratch") {
      this.putsScratch = true
      return this.put(Keys.scratch(op.page), op.bytes)
    }
    const end = Keys.successor(Keys.scratch(op.to))
    if (this.putsScratch) this.takeBack(Keys.scratch(op.from), end)
    for (const key of this.environment.keys(Keys.scratch(op.from), end, Infinity)) this.remove(key)
  }

  private addOp(op: StoreOp): void {
    if (isScratchOp(op)) return this.addScratchOp(op)
    const shape = shapeOf(op)
    // A writer that has not heard of the removal yet must not bring anything back.
    if (this.removes.has(shape) || this.state.removed.has(shape)) return
    switch (op._tag) {
      case "PutShape": {
        if (shape >= this.nextId) {
          this.nextId = shape + 1
          this.put(Keys.NEXT_ID, Values.encodeUint32(this.nextId))
        }
        return this.put(Keys.ofShape(Keys.RECORD, shape), Values.encodeRecord(op.record))
      }
      case "RemoveShape": {
        this.removes.add(shape)
        this.changedLogs.add(shape)
        this.forget(shape, Keys.blocksStart(shape), Keys.blocksEnd(shape))
        this.remove(Keys.ofShape(Keys.RECORD, shape))
        this.remove(Keys.ofShape(Keys.HEAD, shape))
        return this.put(Keys.ofShape(Keys.REMOVED, shape), MARK)
      }
      case "PutHead":
        return this.put(Keys.ofShape(Keys.HEAD, shape), Values.encodeHead(op.head))
      case "PutSnapshotBlock":
        this.puts.add(shape)
        return this.put(Keys.snapshotBlock(shape, op.chunk, op.block), op.bytes)
      case "PutLogBlock":
        this.puts.add(shape)
        this.changedLogs.add(shape)
        return this.put(Keys.logBlock(shape, op.first), op.bytes)
      case "PutChunkEnd":
        this.puts.add(shape)
        return this.put(Keys.chunkEnd(shape, op.end), MARK)
      case "TruncateLog": {
        this.changedLogs.add(shape)
        this.removeRange(shape, Keys.logAfter(shape, op.after), Keys.logEnd(shape))
        return this.removeRange(shape, Keys.chunkEndsAfter(shape, op.after), Keys.chunkEndsEnd(shape))
      }
      case "PutCount": {
        const key = Keys.count(shape, op.value)
        if (op.count === 0) return this.remove(key)
        this.puts.add(shape)
        return this.put(key, Values.encodeCount(op.count, Keys.isLongValue(op.value) ? op.value : undefined))
      }
      case "PutCountsAt":
        if (op.at === undefined) return this.remove(Keys.countsAt(shape))
        this.puts.add(shape)
        return this.put(Keys.countsAt(shape), Values.encodeCountsAt(op.at))
    }
  }

  /** Deletes up to `limit` keys of removed shapes. */
  addSweep(limit: number): void {
    let left = limit
    for (const shape of this.state.leftOver) {
      const keys = this.environment.keys(Keys.blocksStart(shape), Keys.blocksEnd(shape), left)
      for (const key of keys) this.remove(key)
      left -= keys.length
      if (left === 0) return
      this.remove(Keys.ofShape(Keys.REMOVED, shape))
      this.sweeps.add(shape)
    }
  }

  /** Call once the writes are through. */
  apply(): void {
    this.state.nextId = this.nextId
    for (const shape of this.removes) {
      this.state.removed.add(shape)
      this.state.leftOver.add(shape)
    }
    for (const shape of this.sweeps) this.state.leftOver.delete(shape)
  }

  private put(key: Buffer, value: Uint8Array): void {
    this.writes.set(key.toString("latin1"), { key, value })
  }

  private remove(key: Buffer): void {
    this.writes.set(key.toString("latin1"), { key, value: undefined })
  }

  /**
   * Takes back what this transaction was to put in [`start`, `end`), which is of `shape`. What is stored there stays.
   */
  private forget(shape: ShapeId, start: Buffer, end: Buffer): void {
    if (this.puts.has(shape)) this.takeBack(start, end)
  }

  private takeBack(start: Buffer, end: Buffer): void {
    for (const [name, { key, value }] of this.writes) {
      if (value !== undefined && start.compare(key) <= 0 && key.compare(end) < 0) this.writes.delete(name)
    }
  }

  private removeRange(shape: ShapeId, start: Buffer, end: Buffer): void {
    this.forget(shape, start, end)
    for (const key of this.environment.keys(start, end, Infinity)) this.remove(key)
  }
}
