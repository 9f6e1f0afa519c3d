/**
 * Stores what a materializer has counted, in the commits that store what it has counted (DESIGN D4): so after a crash the
 * counts and the log are of one moment. What one commit takes is bounded; while counts are being written that are not yet
 * all there, the store says that they stand for nothing.
 */
import { Effect } from "effect"
import type { StorageError } from "../domain/Errors.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import type { Lsn } from "../domain/Lsn.ts"
import type { ShapeStorage, StoreOp } from "../storage/ShapeStorage.ts"
import type { CommitSource, Committer } from "./Committer.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"
import type { ValueSet } from "./ValueSet.ts"

/** Most counts that a commit takes of one shape. */
export const SLICE_COUNTS = 4096
/** The length of their values at which it takes no more. */
const SLICE_LENGTH = 1 << 20

export interface CheckpointOptions {
  readonly entry: ShapeEntry
  readonly set: ValueSet
  readonly storage: ShapeStorage["Type"]
  readonly committer: Committer
  /** The set was made from the store's counts: only what changes is written. Else all are, in place of what there is. */
  readonly isRestored: boolean
  /** The store says that its counts stand for something. */
  readonly isMarked: boolean
  /** Most counts that a commit takes. */
  readonly sliceCounts: number
  /** The transaction that the set has got to. */
  readonly position: () => Lsn
  /** Whether the set is where the log is, so that it may be stored. */
  readonly isCurrent: () => boolean
}

export class Checkpoint implements CommitSource {
  private readonly options: CheckpointOptions
  /** Values whose counts may be others than those in the store. */
  private readonly changed = new Set<string>()
  /** Goes through all values while they are stored for the first time. */
  private rest: Iterator<string> | undefined
  /** The store may have counts of values that are not in the set. */
  private hasLeftOvers: boolean
  private isMarked: boolean
  private isGivenUp = false
  private isClosed = false

  constructor(options: CheckpointOptions) {
    this.options = options
    this.isMarked = options.isMarked
    this.hasLeftOvers = !options.isRestored
    this.rest = options.isRestored ? undefined : options.set.values()
  }

  /** The set has moved on, and the counts of these values with it. */
  unsafeMoved(values: Iterable<string>): void {
    if (!this.isGivenUp) { for (const value of values) this.changed.add(value) }
    this.options.committer.unsafeDirty(this)
  }

  /** From now on nothing is stored. */
  close(): void {
    this.isClosed = true
  }

  /** Stores no counts any more: those that are there stand for nothing. */
  unsafeGiveUp(): void {
    this.isGivenUp = true
    this.rest = undefined
    this.changed.clear()
    this.options.committer.unsafeDirty(this)
  }

  unsafeCut(): ReturnType<CommitSource["unsafeCut"]> {
    const { committer, entry, isCurrent, position, set, sliceCounts } = this.options
    if (this.isClosed || entry.removed || !isCurrent()) return undefined
    const ops: Array<StoreOp> = []
    let length = 0
    const hasRoom = () => ops.length < sliceCounts && length < SLICE_LENGTH
    const put = (value: string) => {
      length += value.length
      ops.push({ _tag: "PutCount", shape: entry.id, value, count: set.count(value) })
    }
    for (const value of this.changed) {
      if (!hasRoom()) break
      this.changed.delete(value)
      put(value)
    }
    // The map is changed while it is gone through: what is added comes last, what was passed is in `changed`.
    while (this.rest && hasRoom()) {
      const next = this.rest.next()
      if (next.done) this.rest = undefined
      else put(next.value)
    }
    const hasMore = this.changed.size > 0 || this.rest !== undefined
    const isWhole = !hasMore && !this.hasLeftOvers && !this.isGivenUp
    if (isWhole) {
      const at = { offset: LogOffset.make(position(), Infinity), values: set.size }
      ops.push({ _tag: "PutCountsAt", shape: entry.id, at })
    } else if (this.isMarked) {
      ops.push({ _tag: "PutCountsAt", shape: entry.id, at: undefined })
    }
    this.isMarked = isWhole
    if (ops.length === 0) return undefined
    return {
      ops,
      unfinished: false,
      done: () => {
        if (hasMore && !this.isClosed) committer.unsafeDirty(this)
      }
    }
  }

  /**
   * Has the store lose the counts that were left by a checkpoint that did not get to its end. Until that is done the
   * counts stand for nothing.
   */
  readonly clear: Effect.Effect<void, StorageError> = Effect.suspend(() => this.hasLeftOvers ? this.sweep : Effect.void)

  private readonly sweep = Effect.gen(this, function*() {
    const { committer, entry, set, storage } = this.options
    let after: string | undefined
    while (true) {
      const page = yield* storage.counts(entry.id, after)
      if (page.length === 0) break
      after = page[page.length - 1]!.value
      this.unsafeMoved(page.flatMap(({ value }) => set.count(value) === 0 ? [value] : []))
      // A page at a time.
      yield* committer.flush
    }
    this.hasLeftOvers = false
    committer.unsafeDirty(this)
  })
}
