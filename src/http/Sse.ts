/**
 * Streams of events (Electric HTTP protocol §8). A stream follows its shape's log from one offset to the next until its
 * time is over: what is there when it opens, then what comes, past the ends of chunks. It ends when its shape goes, so
 * that the client's next request learns of that.
 *
 * The server pulls a stream's pieces as its client takes them. Between two pieces a stream is an offset and, while it
 * waits, an entry among the held requests.
 */
import { type Context, Effect, Option } from "effect"
import type { ShapeGone } from "../domain/Errors.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import type { ShapeRequest } from "../domain/ShapeDefinition.ts"
import type { LogSlice, ShapeEngine } from "../engine/ShapeEngine.ts"
import * as EventBatches from "./EventBatches.ts"
import * as EventFrame from "./EventFrame.ts"
import type { HeldRequests } from "./HeldRequests.ts"
import type * as LogFrame from "./LogFrame.ts"
import { isBeyondEnd, isQuiet } from "./LogReplies.ts"

/** How a stream's time is limited. */
export type Limit = "stream" | "keepAlive"

export interface Sse {
  /**
   * The pieces of a stream that begins after `offset`. `onEnd` gets what must be called when nobody pulls any more.
   */
  readonly open: (
    handle: string,
    definition: ShapeRequest,
    offset: LogOffset.LogOffset,
    onEnd: (release: () => void) => void
  ) => LogFrame.Pull
}

/** A long batch on its way to one client. */
interface Reading {
  readonly key: string
  /** Where the batch begins. */
  readonly from: LogOffset.LogOffset
  own: EventBatches.LongBatch | undefined
  /** The piece that comes next, of `own` or else of the shared batch. */
  index: number
  /** Bytes that the client has got. */
  sent: number
  /** Bytes of `own` that the client has got already from the shared batch. */
  skip: number
}

export const make = (
  { engine, held }: {
    readonly engine: Context.Tag.Service<ShapeEngine>
    readonly held: HeldRequests<ShapeGone, Limit>
  }
): Sse => {
  const batches = EventBatches.make()

  const open: Sse["open"] = (handle, definition, first, onEnd) => {
    let offset = first
    let reading: Reading | undefined
    let isOver = false
    /** Ends the wait that is under way. */
    let stopWaiting: (() => void) | undefined
    onEnd(held.after("stream", () => {
      isOver = true
      stopWaiting?.()
    }))

    /** Until the log's end is past `end`, a comment is due, or the stream's time is over. */
    const wait = (end: LogOffset.LogOffset): LogFrame.Pull =>
      Effect.flatMap(
        Effect.async<boolean, ShapeGone>((resume) => {
          const release = held.unsafeHold(
            "keepAlive",
            `${handle}>${LogOffset.format(end)}`,
            engine.awaitChange(handle, end),
            (outcome) => {
              stopWaiting = undefined
              resume(outcome)
            }
          )
          stopWaiting = () => {
            stopWaiting = undefined
            release()
            resume(Effect.succeed(true))
          }
          return Effect.sync(release)
        }),
        (isWoken) => (isWoken || isOver || held.isDraining() ? pull : Effect.succeedSome(EventFrame.KEEP_ALIVE))
      )

    const after = (slice: LogSlice): LogFrame.Pull => {
      if (isBeyondEnd(slice, offset)) return Effect.succeedNone
      if (isQuiet(slice, offset)) return wait(slice.end)
      if (!LogOffset.lessThan(LogOffset.snapshotEnd, slice.end)) {
        reading = { key: "", from: offset, own: batches.own(slice), index: 0, sent: 0, skip: 0 }
        return pull
      }
      const found = batches.of(handle, offset, slice)
      if (found._tag === "Short") {
        offset = slice.end
        return Effect.succeedSome(found.bytes)
      }
      reading = { key: found.key, from: offset, own: undefined, index: 0, sent: 0, skip: 0 }
      return pull
    }

    /** The next piece of a long batch. Its end is that of the batch, or of the longer one that is there by now. */
    const piece = (current: Reading): LogFrame.Pull => {
      const batch = current.own ?? batches.find(current.key)
      if (batch === undefined || !batch.has(current.index)) {
        return Effect.flatMap(engine.read(handle, current.from), (slice) => {
          current.own = batches.own(slice)
          current.index = 0
          current.skip = current.sent
          return piece(current)
        })
      }
      return Effect.flatMap(batch.piece(current.index), (found): LogFrame.Pull => {
        if (Option.isNone(found)) {
          reading = undefined
          offset = batch.to
          return pull
        }
        current.index++
        const { skip } = current
        current.skip = Math.max(0, skip - found.value.length)
        if (skip >= found.value.length) return piece(current)
        const rest = skip === 0 ? found.value : found.value.subarray(skip)
        current.sent += rest.length
        return Effect.succeedSome(rest)
      })
    }

    const peek = (): LogSlice | undefined => {
      const found = engine.unsafePeek(definition, offset)
      return found?.shape.handle === handle ? found.slice : undefined
    }

    const pull: LogFrame.Pull = Effect.suspend(() => {
      if (reading !== undefined) return piece(reading)
      if (isOver || held.isDraining()) return Effect.succeedNone
      const slice = peek()
      return Effect.catchTag(
        slice ? after(slice) : Effect.flatMap(engine.read(handle, offset), after),
        "ShapeGone",
        // What was begun must not be taken for whole; what was not begun was not promised.
        (error) => (reading === undefined ? Effect.succeedNone : Effect.fail(error))
      )
    })
    return pull
  }

  return { open }
}
