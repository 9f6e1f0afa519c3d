/**
 * The tail of one shape's log in memory: entries that readers may see and entries of the transaction that is still
 * arriving, none of which the store need have yet.
 *
 * The tail is an immutable value. Appending and flushing swap in a new one, so a reader that holds one is never
 * disturbed (D2); a released buffer fails with `BufferGone`, which `ShapeReader` recovers to a read from the store. The
 * consumer that made the buffer releases it last, after it has flushed and left the registry (D1): what a reader can no
 * longer find here is in the store.
 */
import { Effect, Option, Schema } from "effect"
import * as LogBlock from "../domain/LogBlock.ts"
import * as LogOffset from "../domain/LogOffset.ts"

/** The buffer was released with its consumer. What it held is in the store. */
export class BufferGone extends Schema.TaggedError<BufferGone>("shapelog/engine/BufferGone")("BufferGone", {
  handle: Schema.String
}) {}

/** A block of the tail. */
export interface TailBlock {
  readonly block: LogBlock.LogBlock
  readonly first: LogOffset.LogOffset
  readonly last: LogOffset.LogOffset
  /** The block's last entry closes a chunk of the log. */
  readonly closesChunk: boolean
}

/** What the buffer holds at one moment. */
export interface Tail {
  /** Everything up to here is in the store. */
  readonly stored: LogOffset.LogOffset
  /** The last entry that readers may see: the end of the last whole transaction. */
  readonly end: LogOffset.LogOffset
  /**
   * Blocks after `stored` in order; those past `end` belong to the transaction that is arriving. The array is only ever
   * appended to; `from` and `to` bound what is in this tail.
   */
  readonly blocks: ReadonlyArray<TailBlock>
  readonly from: number
  readonly to: number
}

export interface ShapeBuffer {
  readonly handle: string
  /** The tail as it is now. */
  readonly tail: Effect.Effect<Tail, BufferGone>
  /** The same in this turn; `undefined` when the buffer was released. */
  readonly unsafeTail: () => Tail | undefined
  /**
   * JSON of the entries in (`after`, `upTo`], from the start of that range, at most `maxBytes` of it (but at least one
   * block's worth). `None` when they are not here because the store has them. Call it with `upTo` no greater than a
   * `Tail.end` seen earlier.
   */
  readonly read: (
    after: LogOffset.LogOffset,
    upTo: LogOffset.LogOffset,
    maxBytes: number
  ) => Effect.Effect<Option.Option<TailPiece>, BufferGone>
  /** Appends blocks; readers see entries up to `end`. For the consumer only. */
  readonly unsafeAppend: (blocks: ReadonlyArray<TailBlock>, end: LogOffset.LogOffset) => void
  /** The store has everything up to `stored`: those blocks leave the tail. */
  readonly unsafeFlushed: (stored: LogOffset.LogOffset) => void
  /** Drops the blocks past `end`: the transaction that was arriving will be sent again. */
  readonly unsafeAbort: () => void
  /** Whether the store has everything that is here. */
  readonly isStored: () => boolean
  /** From now on every read fails with `BufferGone`. */
  readonly release: Effect.Effect<void>
}

export interface TailPiece {
  readonly bytes: ReadonlyArray<Uint8Array>
  /** Offset of the last entry in `bytes`. */
  readonly last: LogOffset.LogOffset
}

/** The first of the tail's blocks that has an entry after `after`. */
const blockAfter = (tail: Tail, after: LogOffset.LogOffset): number => {
  let low = tail.from
  let high = tail.to
  while (low < high) {
    const middle = (low + high) >>> 1
    if (LogOffset.lessOrEqual(tail.blocks[middle]!.last, after)) low = middle + 1
    else high = middle
  }
  return low
}

/** Reads from a tail that is held already: what `ShapeBuffer.read` says. */
export const readTail = (
  tail: Tail,
  after: LogOffset.LogOffset,
  upTo: LogOffset.LogOffset,
  maxBytes: number
): Option.Option<TailPiece> => {
  if (LogOffset.lessThan(after, tail.stored)) return Option.none()
  const bytes: Array<Uint8Array> = []
  let size = 0
  let last = after
  for (let i = blockAfter(tail, after); i < tail.to && size < maxBytes; i++) {
    const block = tail.blocks[i]!
    if (LogOffset.lessThan(upTo, block.first)) break
    const whole = LogOffset.lessOrEqual(block.last, upTo) && LogOffset.lessThan(after, block.first)
    const piece = whole ? block.block.body : LogBlock.sliceBlock(block.block, after, upTo)
    if (size > 0 && size + piece.length > maxBytes) break
    bytes.push(piece)
    size += piece.length
    last = LogOffset.min(block.last, upTo)
  }
  return Option.some({ bytes, last })
}

/** How many dropped blocks may stay in front of the array before it is copied. */
const COMPACT_AFTER = 64

export const make = (handle: string, end: LogOffset.LogOffset): ShapeBuffer => {
  let tail: Tail | undefined = { stored: end, end, blocks: [], from: 0, to: 0 }
  let array: Array<TailBlock> = []
  // An error notes where it was made, which takes longer than making the buffer.
  const gone = () => new BufferGone({ handle })
  const current = Effect.suspend(() => (tail ? Effect.succeed(tail) : gone()))
  return {
    handle,
    tail: current,
    unsafeTail: () => tail,
    read: (after, upTo, maxBytes) =>
      Effect.suspend(() => (tail ? Effect.succeed(readTail(tail, after, upTo, maxBytes)) : gone())),
    unsafeAppend: (blocks, newEnd) => {
      if (!tail) return
      for (const block of blocks) array.push(block)
      tail = { stored: tail.stored, end: newEnd, blocks: array, from: tail.from, to: array.length }
    },
    unsafeFlushed: (stored) => {
      if (!tail || LogOffset.lessOrEqual(stored, tail.stored)) return
      let from = tail.from
      while (from < tail.to && LogOffset.lessOrEqual(array[from]!.last, stored)) from++
      if (from > COMPACT_AFTER || from === tail.to) {
        array = array.slice(from)
        from = 0
      }
      tail = { stored, end: tail.end, blocks: array, from, to: array.length }
    },
    unsafeAbort: () => {
      if (!tail) return
      const { end: visible, from, stored } = tail
      array = array.slice(from).filter((block) => LogOffset.lessOrEqual(block.last, visible))
      tail = { stored: LogOffset.min(stored, visible), end: visible, blocks: array, from: 0, to: array.length }
    },
    isStored: () => tail === undefined || tail.from === tail.to,
    release: Effect.sync(() => {
      tail = undefined
      array = []
    })
  }
}
