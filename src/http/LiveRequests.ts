/**
 * Live requests for what comes after an offset: long polls, which are answered once, and streams of events (Electric
 * HTTP protocol §7.4, §8).
 */
import { type Context, Effect } from "effect"
import type { ShapeGone } from "../domain/Errors.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import type { EngineStatus, LogSlice, ShapeEngine, ShapeInfo } from "../engine/ShapeEngine.ts"
import type { HeldRequests } from "./HeldRequests.ts"
import type { HttpSettings } from "./HttpOptions.ts"
import * as LogFrame from "./LogFrame.ts"
import { controlOf, etagOf, isQuiet, isUnchanged, type LogReplies } from "./LogReplies.ts"
import { RecentMap } from "./RecentMap.ts"
import type { ShapeParams } from "./ShapeParams.ts"
import type { HttpRequest, Replies, ShapeResponse } from "./ShapeResponse.ts"
import * as Sse from "./Sse.ts"

/** Why a request is held: it waits for news, or its offset is past the log's end. */
export type Limit = Sse.Limit | "live" | "beyond"

/** How long requests are held, in ms. */
export const limits = (options: HttpSettings): ReadonlyArray<readonly [Limit, number]> => [
  ["live", options.longPollTimeoutMs],
  ["beyond", options.longPollTimeoutMs / 2],
  ["stream", options.sseTimeoutMs],
  ["keepAlive", options.sseKeepAliveMs]
]

/** Why a request had to wait longer than it may, by what the engine was doing. */
export const notReadyText: Readonly<Record<EngineStatus, string>> = {
  starting:
    "Timeout waiting for replication client to be ready. Check that you don't have pending transactions in the " +
    "database. Electric has to wait for all pending transactions to commit or rollback before it can create the " +
    "replication slot.",
  waiting: "Timeout waiting for Postgres lock acquisition",
  active: "Timeout waiting for stack restart",
  stopping: "Timeout waiting for stack restart"
}

/** Live responses whose bodies are kept to be shared. */
const SHARED_BODIES = 32

export const make = (
  { engine, held, logReplies, replies }: {
    readonly engine: Context.Tag.Service<ShapeEngine>
    readonly held: HeldRequests<ShapeGone, Limit>
    readonly logReplies: LogReplies
    readonly replies: Replies
  }
) => {
  const sse = Sse.make({ engine, held })

  /** Live responses to the same offset share one body. Of a long one they share the pieces, which are the engine's. */
  const bodies = new RecentMap<LogFrame.ResponseBody>(SHARED_BODIES)

  const bodyOf = (slice: LogSlice, etag: string): Effect.Effect<LogFrame.ResponseBody, LogFrame.BodyError> => {
    const control = controlOf(true, slice)
    const { ready } = slice.body
    if (ready === undefined) return LogFrame.ofPulled(slice.body, control)
    return Effect.succeed(
      LogFrame.isSmall(ready)
        ? bodies.get(control === undefined ? `${etag}+` : etag, () => LogFrame.ofReady(ready, control))
        : LogFrame.ofReady(ready, control)
    )
  }

  const poll = Effect.fnUntraced(function*(
    request: HttpRequest,
    params: ShapeParams,
    shape: ShapeInfo,
    offset: LogOffset.LogOffset,
    first: LogSlice
  ) {
    let slice = first
    let etag = etagOf(shape, offset, slice)
    if (isUnchanged(request, etag)) {
      return logReplies.reply(request, params, shape, slice, etag, undefined, yield* logReplies.cursor(params))
    }
    if (isQuiet(slice, offset)) {
      const woken = yield* held.hold(
        "live",
        `${shape.handle}>${LogOffset.format(slice.end)}`,
        engine.awaitChange(shape.handle, slice.end)
      )
      slice = yield* engine.read(shape.handle, offset)
      if (isQuiet(slice, offset)) {
        const status = yield* engine.status
        return !woken && status !== "active"
          ? replies.unavailable(request, notReadyText[status], 10)
          : yield* logReplies.withoutNews(
            request,
            params,
            shape,
            LogOffset.format(offset),
            slice.end,
            slice.lastSeenLsn
          )
      }
      etag = etagOf(shape, offset, slice)
    }
    const body = yield* bodyOf(slice, etag)
    return logReplies.reply(request, params, shape, slice, etag, body, yield* logReplies.cursor(params))
  })

  const stream = (
    request: HttpRequest,
    params: ShapeParams,
    shape: ShapeInfo,
    offset: LogOffset.LogOffset,
    slice: LogSlice
  ): Effect.Effect<ShapeResponse> =>
    Effect.map(logReplies.cursor(params), (cursor) => {
      const isAtEnd = isQuiet(slice, offset)
      const begin = isAtEnd ? slice.end : offset
      const pull = sse.open(shape.handle, params.definition, begin, request.onEnd)
      return logReplies.events(request, params, shape, begin, isAtEnd, cursor, pull)
    })

  /** Answers a live request whose `slice` after `offset` has been read. */
  return (
    request: HttpRequest,
    params: ShapeParams,
    shape: ShapeInfo,
    offset: LogOffset.LogOffset,
    slice: LogSlice
  ): Effect.Effect<ShapeResponse, LogFrame.BodyError> =>
    params.sse ? stream(request, params, shape, offset, slice) : poll(request, params, shape, offset, slice)
}
