/**
 * Log blocks that were read from the store lately, for the next readers of the same stretch of a log.
 *
 * A log never changes, it only grows: so a cached block is right for ever, at worst shorter than the one that the store
 * has by now. Bounded by bytes; the least recently used block goes first.
 */
import * as LogBlock from "../domain/LogBlock.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import type { ShapeId } from "../storage/ShapeStorage.ts"

interface Cached {
  readonly shape: ShapeId
  /** The block answers for every offset in [`from`, `last`): the first entry after it is in the block. */
  readonly from: LogOffset.LogOffset
  readonly last: LogOffset.LogOffset
  readonly block: Buffer
}

export interface BlockCache {
  /**
   * The block that holds the first entry after `after`, as `ShapeStorage.logBlock` gives it; `undefined` when it is not
   * here.
   */
  readonly get: (shape: ShapeId, after: LogOffset.LogOffset) => Buffer | undefined
  /** Keeps what the store answered for `after`. */
  readonly set: (shape: ShapeId, after: LogOffset.LogOffset, block: Buffer) => void
  readonly bytes: () => number
}

/** How many of the entries begin at or before `offset`. */
const countUpTo = (entries: ReadonlyArray<Cached>, offset: LogOffset.LogOffset): number => {
  let low = 0
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (LogOffset.lessOrEqual(entries[middle]!.from, offset)) low = middle + 1
    else high = middle
  }
  return low
}

export const make = (limitBytes: number): BlockCache => {
  /** By shape, in order of `from`. */
  const shapes = new Map<ShapeId, Array<Cached>>()
  /** Least recently used first. */
  const used = new Set<Cached>()
  let bytes = 0

  const drop = (cached: Cached) => {
    used.delete(cached)
    bytes -= cached.block.length
    const entries = shapes.get(cached.shape)
    const at = entries?.indexOf(cached) ?? -1
    if (entries && at >= 0) entries.splice(at, 1)
    if (entries?.length === 0) shapes.delete(cached.shape)
  }

  return {
    get: (shape, after) => {
      const entries = shapes.get(shape)
      if (!entries) return undefined
      const cached = entries[countUpTo(entries, after) - 1]
      if (!cached || LogOffset.lessOrEqual(cached.last, after)) return undefined
      used.delete(cached)
      used.add(cached)
      return cached.block
    },
    set: (shape, after, block) => {
      if (block.length > limitBytes) return
      const first = LogBlock.firstOf(block)
      const last = LogBlock.lastOf(block)
      let from = LogOffset.min(after, first)
      for (const older of [...(shapes.get(shape) ?? [])]) {
        const isPrefix = LogOffset.equals(LogBlock.firstOf(older.block), first)
        if (isPrefix) from = LogOffset.min(from, older.from)
        if (isPrefix || (LogOffset.lessOrEqual(from, older.from) && LogOffset.lessOrEqual(older.last, last))) {
          drop(older)
        }
      }
      const entries = shapes.get(shape) ?? []
      shapes.set(shape, entries)
      const cached: Cached = { shape, from, last, block }
      entries.splice(countUpTo(entries, from), 0, cached)
      used.add(cached)
      bytes += block.length
      for (const oldest of used) {
        if (bytes <= limitBytes) break
        drop(oldest)
      }
    },
    bytes: () => bytes
  }
}
