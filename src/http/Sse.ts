/**
 * Streams of events (Electric HTTP protocol §8). A stream follows its shape's log from one offset to the next until its
 * time is over: what is there when it opens, then what comes, past the ends of chunks. It ends when its shape goes, so
 * that the client's next request learns of that.
 *
 * The server pulls a stream's pieces as its client takes them. Between two pieces a stream is an offset and, while it
 * waits, an entry among the held requests.
 */
import { type Context, Effect, Exit, Option } from "effect"
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
  /** A stream that begins after `offset`. `onEnd` gets what must be called when nobody takes from it any more. */
  readonly open: (
    handle: string,
    definition: ShapeRequest,
    offset: LogOffset.LogOffset,
    onEnd: (release: () => void) => void
  ) => LogFrame.EventSource
}

type Next = ReturnType<LogFrame.EventSource["unsafeNext"]>

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

const waitedFor = (event: LogFrame.Event | Effect.Effect<LogFrame.Event, LogFrame.BodyError>) =>
  Effect.isEffect(event) ? event : Effect.succeed(event)

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
    /** What was read to answer the next call. */
    let known: LogSlice | undefined
    let isOver = false
    /** A comment is due. */
    let isSilent = false
    /** Takes the wait that is under way back. */
    let release: (() => void) | undefined
    let wake: (() => void) | undefined

    const woken = () => {
      release = undefined
      const resume = wake
      wake = undefined
      resume?.()
    }
    const cancel = held.after("stream", () => {
      isOver = true
      release?.()
      woken()
    })
    onEnd(() => {
      cancel()
      isOver = true
      wake = undefined
      release?.()
    })

    /** Until the log's end is past `end`, a comment is due, or the stream's time is over. */
    const wait = (end: LogOffset.LogOffset, then: () => void): "wait" => {
      wake = then
      release = held.unsafeHold(
        "keepAlive",
        `${handle}>${LogOffset.format(end)}`,
        engine.awaitChange(handle, end),
        (outcome) => {
          if (Exit.isFailure(outcome)) isOver = true
          else if (!outcome.value) isSilent = true
          woken()
        }
      )
      return "wait"
    }

    const after = (slice: LogSlice, then: () => void): Next => {
      if (isBeyondEnd(slice, offset)) return "end"
      if (isQuiet(slice, offset)) return wait(slice.end, then)
      if (!LogOffset.lessThan(LogOffset.snapshotEnd, slice.end)) {
        reading = { key: "", from: offset, own: batches.own(slice), index: 0, sent: 0, skip: 0 }
        return piece(reading)
      }
      const found = batches.of(handle, offset, slice)
      if (found._tag === "Short") {
        offset = slice.end
        return found.bytes
      }
      reading = { key: found.key, from: offset, own: undefined, index: 0, sent: 0, skip: 0 }
      return piece(reading)
    }

    /** The next piece of a long batch. Its end is that of the batch, or of the longer one that is there by now. */
    const piece = (current: Reading): LogFrame.Event | Effect.Effect<LogFrame.Event, LogFrame.BodyError> => {
      const batch = current.own ?? batches.find(current.key)
      if (batch === undefined || !batch.has(current.index)) {
        return Effect.flatMap(engine.read(handle, current.from), (slice) => {
          current.own = batches.own(slice)
          current.index = 0
          current.skip = current.sent
          return waitedFor(piece(current))
        })
      }
      const found = batch.unsafePiece(current.index)
      return Effect.isEffect(found)
        ? Effect.flatMap(found, (found) => waitedFor(taken(current, batch, Option.getOrUndefined(found))))
        : taken(current, batch, found)
    }

    const taken = (
      current: Reading,
      batch: EventBatches.LongBatch,
      found: Uint8Array | undefined
    ): ReturnType<typeof piece> => {
      if (found === undefined) {
        reading = undefined
        offset = batch.to
        return "again"
      }
      current.index++
      const { skip } = current
      current.skip = Math.max(0, skip - found.length)
      if (skip >= found.length) return piece(current)
      const rest = skip === 0 ? found : found.subarray(skip)
      current.sent += rest.length
      return rest
    }

    const peek = (): LogSlice | undefined => {
      const found = engine.unsafePeek(definition, offset)
      return found?.shape.handle === handle ? found.slice : undefined
    }

    const read = Effect.suspend(() => engine.read(handle, offset)).pipe(
      Effect.map((slice): LogFrame.Event => {
        known = slice
        return "again"
      }),
      // What is not begun was not promised: the next request learns that the shape is gone.
      Effect.catchTag("ShapeGone", () => Effect.succeed("end" as const))
    )

    const unsafeNext = (then: () => void): Next => {
      if (reading !== undefined) return piece(reading)
      if (isOver || held.isDraining()) return "end"
      if (isSilent) {
        isSilent = false
        return EventFrame.KEEP_ALIVE
      }
      const slice = known ?? peek()
      known = undefined
      return slice ? after(slice, then) : read
    }
    return { unsafeNext }
  }

  return { open }
}
