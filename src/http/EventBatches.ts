/**
 * Slices of logs as events, framed once and shared by all streams that stand at the same offset of the same shape.
 *
 * A slice that is in memory is one piece. Of a longer one only the last pieces are kept, up to a number of bytes: a
 * stream that falls behind them, or comes when the batch is forgotten, reads the slice for itself. So what a stalled
 * client holds is a key and two numbers.
 */
import { Effect, Option } from "effect"
import type { LogOffset } from "../domain/LogOffset.ts"
import * as Offset from "../domain/LogOffset.ts"
import type { LogBody, LogSlice } from "../engine/ShapeEngine.ts"
import { EventFramer } from "./EventFrame.ts"
import * as LogFrame from "./LogFrame.ts"
import { controlOf } from "./LogReplies.ts"
import { RecentMap } from "./RecentMap.ts"

/**
 * Bytes of a long batch that are kept for streams that are not as far yet: more than a stream may write before others
 * get their turn.
 */
const KEPT_BYTES = 2_097_152

/** Short batches, and long ones, that are remembered: twice as many at most. */
const SHORT = 64
const SHORT_BYTES = 65_536
const LONG = 4

/** A slice that has to be pulled, framed piece by piece for whoever asks first. */
export class LongBatch {
  /** Offset that the batch leads to. */
  readonly to: LogOffset
  private readonly framer = new EventFramer()
  private readonly source: LogBody
  private readonly control: string | undefined
  private readonly keptBytes: number
  private readonly turn = Effect.unsafeMakeSemaphore(1)
  /** The last pieces, of which the first is number `first`. */
  private readonly kept: Array<Uint8Array> = []
  private first = 0
  private bytes = 0
  private isDone = false
  /** Somebody waits for the source: nobody else may ask it. */
  private isPulling = false

  constructor(slice: LogSlice, keptBytes: number) {
    this.to = slice.end
    this.source = slice.body
    this.control = controlOf(true, slice)
    this.keptBytes = keptBytes
  }

  /** Whether piece `index` can still be had. */
  has(index: number): boolean {
    return index >= this.first
  }

  /**
   * Piece `index`, which it still has, in this turn if it can be; `undefined` after the last, and an Effect that waits
   * for it when it can't.
   */
  unsafePiece(index: number): Uint8Array | undefined | LogFrame.Pull {
    while (true) {
      const piece = this.kept[index - this.first]
      if (piece !== undefined || this.isDone) return piece
      const next = this.isPulling ? undefined : this.source.unsafeNext?.()
      if (this.isPulling || this.source.unsafeNext === undefined || Effect.isEffect(next)) return this.piece(index)
      this.add(next)
    }
  }

  /** The same, waited for; `None` after the last. */
  piece(index: number): LogFrame.Pull {
    return Effect.suspend(() => {
      const piece = this.kept[index - this.first]
      if (piece !== undefined) return Effect.succeedSome(piece)
      if (this.isDone) return Effect.succeedNone
      // A piece that was pulled must not get lost because of the client that asked for it.
      return Effect.zipRight(this.turn.withPermits(1)(Effect.uninterruptible(this.advance(index))), this.piece(index))
    })
  }

  private advance(index: number): Effect.Effect<void, LogFrame.BodyError> {
    return Effect.suspend(() => {
      if (this.isDone || index < this.first + this.kept.length) return Effect.void
      this.isPulling = true
      return this.source.pull.pipe(
        Effect.map((piece) => this.add(Option.getOrUndefined(piece))),
        Effect.ensuring(Effect.sync(() => this.isPulling = false))
      )
    })
  }

  /** The source's next piece, or what follows its last. */
  private add(piece: Uint8Array | undefined): void {
    if (piece === undefined) this.isDone = true
    const framed = piece === undefined ? this.framer.end(this.control) : this.framer.frame(piece)
    if (framed.length === 0) return
    this.kept.push(framed)
    this.bytes += framed.length
    while (this.kept.length > 1 && this.bytes > this.keptBytes) {
      this.bytes -= this.kept.shift()!.length
      this.first++
    }
  }
}

/** The events of a slice that is in memory. */
const short = (pieces: ReadonlyArray<Uint8Array>, slice: LogSlice): Uint8Array => {
  const framer = new EventFramer()
  return Buffer.concat([...pieces.map((piece) => framer.frame(piece)), framer.end(controlOf(true, slice))])
}

export type Found =
  | { readonly _tag: "Short"; readonly bytes: Uint8Array }
  | { readonly _tag: "Long"; readonly key: string; readonly batch: LongBatch }

export interface EventBatches {
  /** The batch of a slice of the live log after `from`, which may be shared. */
  readonly of: (handle: string, from: LogOffset, slice: LogSlice) => Found
  /** A long batch that is still remembered. */
  readonly find: (key: string) => LongBatch | undefined
  /** A batch of one stream's own: it keeps the last piece alone. */
  readonly own: (slice: LogSlice) => LongBatch
}

export const make = (): EventBatches => {
  const shorts = new RecentMap<Uint8Array>(SHORT)
  const longs = new RecentMap<LongBatch>(LONG)
  return {
    of: (handle, from, slice) => {
      const key = `${handle}>${Offset.format(from)}>${Offset.format(slice.end)}${slice.upToDate ? "." : ""}`
      const known = shorts.find(key)
      if (known !== undefined) return { _tag: "Short", bytes: known }
      const { ready } = slice.body
      return ready === undefined || LogFrame.sizeOf(ready) > SHORT_BYTES
        ? { _tag: "Long", key, batch: longs.get(key, () => new LongBatch(slice, KEPT_BYTES)) }
        : { _tag: "Short", bytes: shorts.get(key, () => short(ready, slice)) }
    },
    find: (key) => longs.find(key),
    own: (slice) => new LongBatch(slice, 0)
  }
}
