/**
 * Live requests for what comes after an offset: long polls, which are answered once, and streams of events (Electric
 * HTTP protocol §7.4, §8).
 */
import { type Context, Effect, Exit } from "effect"
import type { ShapeGone } from "../domain/Errors.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import type { EngineStatus, LogSlice, ShapeEngine, ShapeInfo } from "../engine/ShapeEngine.ts"
import type { HeldRequests, Outcome } from "./HeldRequests.ts"
import type { HttpSettings } from "./HttpOptions.ts"
import * as LogFrame from "./LogFrame.ts"
import { controlOf, etagOf, isQuiet, type LogReplies, unchanged } from "./LogReplies.ts"
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

/** A request that waits without a fiber. */
export interface Held {
  readonly _tag: "Held"
  /** Lets go of it. */
  readonly release: () => void
}

/** Gets the answer to a held request, or what makes it. */
export type Later<E = LogFrame.BodyError> = (answer: ShapeResponse | Effect.Effect<ShapeResponse, E>) => void

const keyOf = (shape: ShapeInfo, { end }: LogSlice): string => `${shape.handle}>${LogOffset.format(end)}`

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

  const readyBody = (slice: LogSlice, etag: string): LogFrame.ResponseBody | undefined => {
    const control = controlOf(true, slice)
    const { ready } = slice.body
    return ready && LogFrame.isSmall(ready)
      ? bodies.get(control === undefined ? `${etag}+` : etag, () => LogFrame.ofReady(ready, control))
      : LogFrame.unsafeOf(slice.body, control)
  }

  const bodyOf = (slice: LogSlice, etag: string): Effect.Effect<LogFrame.ResponseBody, LogFrame.BodyError> => {
    const ready = readyBody(slice, etag)
    return ready ? Effect.succeed(ready) : LogFrame.ofPulled(slice.body, controlOf(true, slice))
  }

  const news = (
    request: HttpRequest,
    params: ShapeParams,
    shape: ShapeInfo,
    offset: LogOffset.LogOffset,
    slice: LogSlice
  ): Effect.Effect<ShapeResponse, LogFrame.BodyError> => {
    const etag = etagOf(shape, offset, slice)
    return Effect.map(bodyOf(slice, etag), (body) => logReplies.reply(request, params, shape, slice, etag, body))
  }

  const noNews = (
    request: HttpRequest,
    params: ShapeParams,
    shape: ShapeInfo,
    offset: LogOffset.LogOffset,
    { end, lastSeenLsn }: LogSlice
  ): ShapeResponse => logReplies.withoutNews(request, params, shape, LogOffset.format(offset), end, lastSeenLsn)

  /** Answers a poll whose wait is over. */
  const settle = Effect.fnUntraced(function*(
    request: HttpRequest,
    params: ShapeParams,
    shape: ShapeInfo,
    offset: LogOffset.LogOffset,
    isWoken: boolean
  ) {
    const slice = yield* engine.read(shape.handle, offset)
    if (!isQuiet(slice, offset)) return yield* news(request, params, shape, offset, slice)
    const status = yield* engine.status
    return !isWoken && status !== "active"
      ? replies.unavailable(request, notReadyText[status], 10)
      : noNews(request, params, shape, offset, slice)
  })

  /** What those who were woken last were answered with, if it can be sent more than once. */
  let latest: {
    readonly outcome: Outcome<ShapeGone>
    readonly handle: string
    readonly offset: LogOffset.LogOffset
    readonly slice: LogSlice
    readonly etag: string
    readonly body: LogFrame.ResponseBody
  } | undefined

  /**
   * The same in this turn, if it can be. All who are woken at one offset by one change, which is one `outcome`, are
   * answered alike: the log is asked once.
   */
  const unsafeSettle = (
    request: HttpRequest,
    params: ShapeParams,
    shape: ShapeInfo,
    offset: LogOffset.LogOffset,
    outcome: Outcome<ShapeGone>
  ): ShapeResponse | undefined => {
    if (
      latest !== undefined && latest.outcome === outcome && latest.handle === shape.handle &&
      LogOffset.equals(latest.offset, offset)
    ) {
      const { body, etag, slice } = latest
      return logReplies.reply(request, params, shape, slice, etag, body)
    }
    latest = undefined
    const found = engine.unsafePeek(params.definition, offset)
    if (found?.shape.handle !== shape.handle) return undefined
    const { slice } = found
    if (isQuiet(slice, offset)) return noNews(request, params, shape, offset, slice)
    const etag = etagOf(shape, offset, slice)
    const body = readyBody(slice, etag)
    if (body === undefined) return undefined
    // Not of those whose time was up: that is one outcome for ever.
    const isWoken = Exit.isSuccess(outcome) && outcome.value
    if (isWoken && body._tag === "Latin1") latest = { outcome, handle: shape.handle, offset, slice, etag, body }
    return logReplies.reply(request, params, shape, slice, etag, body)
  }

  const poll = Effect.fnUntraced(function*(
    request: HttpRequest,
    params: ShapeParams,
    shape: ShapeInfo,
    offset: LogOffset.LogOffset,
    slice: LogSlice
  ) {
    const etag = etagOf(shape, offset, slice)
    const known = unchanged(request, etag)
    if (known !== undefined) return logReplies.reply(request, params, shape, slice, known, undefined)
    if (!isQuiet(slice, offset)) return yield* news(request, params, shape, offset, slice)
    const isWoken = yield* held.hold("live", keyOf(shape, slice), engine.awaitChange(shape.handle, slice.end))
    return yield* settle(request, params, shape, offset, isWoken)
  })

  const stream = (
    request: HttpRequest,
    params: ShapeParams,
    shape: ShapeInfo,
    offset: LogOffset.LogOffset,
    slice: LogSlice
  ): ShapeResponse => {
    const isAtEnd = isQuiet(slice, offset)
    const begin = isAtEnd ? slice.end : offset
    const source = sse.open(shape.handle, params.definition, begin, (release) => request.onEnd(release))
    return logReplies.events(request, params, shape, begin, isAtEnd, source)
  }

  return {
    /** Answers a live request whose `slice` after `offset` has been read. */
    handle: (
      request: HttpRequest,
      params: ShapeParams,
      shape: ShapeInfo,
      offset: LogOffset.LogOffset,
      slice: LogSlice
    ): Effect.Effect<ShapeResponse, LogFrame.BodyError> =>
      params.sse
        ? Effect.sync(() => stream(request, params, shape, offset, slice))
        : poll(request, params, shape, offset, slice),

    /**
     * The same in this turn and without a fiber: an answer, or a request that is held, or `undefined` when neither can
     * be. A held request calls `later` once, with its answer or with what makes it, unless it is released before.
     */
    unsafeHandle: (
      request: HttpRequest,
      params: ShapeParams,
      shape: ShapeInfo,
      offset: LogOffset.LogOffset,
      slice: LogSlice,
      later: Later
    ): ShapeResponse | Held | undefined => {
      if (params.sse) return stream(request, params, shape, offset, slice)
      const etag = etagOf(shape, offset, slice)
      const known = unchanged(request, etag)
      if (known !== undefined) return logReplies.reply(request, params, shape, slice, known, undefined)
      if (!isQuiet(slice, offset)) {
        const body = readyBody(slice, etag)
        return body && logReplies.reply(request, params, shape, slice, etag, body)
      }
      const release = held.unsafeHold(
        "live",
        keyOf(shape, slice),
        engine.awaitChange(shape.handle, slice.end),
        (outcome) =>
          later(
            (Exit.isSuccess(outcome) && unsafeSettle(request, params, shape, offset, outcome)) ||
              Effect.flatMap(outcome, (isWoken) => settle(request, params, shape, offset, isWoken))
          )
      )
      return { _tag: "Held", release }
    }
  }
}
