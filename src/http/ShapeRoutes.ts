/**
 * The Electric HTTP protocol as a function from request to response, without a server: Electric HTTP protocol §3-§7.
 *
 * A response's headers are made when its slice of the log has been determined, and never before. `handle` does not
 * fail: what goes wrong is a response, and what should not have gone wrong is logged and answered with a bare 500.
 *
 * The layer must be released after the server that calls `handle`.
 */
import { Cause, Context, Effect, Either, Layer } from "effect"
import { createHash, timingSafeEqual } from "node:crypto"
import type { ShapeGone } from "../domain/Errors.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import * as Lsn from "../domain/Lsn.ts"
import { type EngineStatus, type LogSlice, ShapeEngine, type ShapeInfo } from "../engine/ShapeEngine.ts"
import * as Cursor from "./Cursor.ts"
import * as Failures from "./Failures.ts"
import * as HeldRequests from "./HeldRequests.ts"
import { HttpOptions } from "./HttpOptions.ts"
import * as LogFrame from "./LogFrame.ts"
import { decode, type RawQuery, scan } from "./QueryString.ts"
import { RecentMap } from "./RecentMap.ts"
import * as Route from "./Route.ts"
import * as ShapeParams from "./ShapeParams.ts"
import * as ShapeResponse from "./ShapeResponse.ts"

type HttpRequest = ShapeResponse.HttpRequest
type Response = ShapeResponse.ShapeResponse

/** Why a request had to wait longer than it may, by what the engine was doing. */
const notReadyText: Readonly<Record<EngineStatus, string>> = {
  starting:
    "Timeout waiting for replication client to be ready. Check that you don't have pending transactions in the " +
    "database. Electric has to wait for all pending transactions to commit or rollback before it can create the " +
    "replication slot.",
  waiting: "Timeout waiting for Postgres lock acquisition",
  active: "Timeout waiting for stack restart",
  stopping: "Timeout waiting for stack restart"
}

/**
 * Whether a live request at `offset` has to wait: the slice ends where the request is, or the log has no live entry
 * yet.
 */
const isQuiet = (slice: LogSlice, offset: LogOffset.LogOffset): boolean =>
  slice.upToDate && (LogOffset.equals(slice.end, offset) || LogOffset.equals(slice.end, LogOffset.snapshotEnd))

const isBeyondEnd = (slice: LogSlice, offset: LogOffset.LogOffset): boolean =>
  !slice.upToDate && LogOffset.lessThan(slice.end, offset)

/** The greatest offset below, so that waiting for an end past it is waiting for one at `offset` or further. */
const before = ({ op, tx }: LogOffset.LogOffset): LogOffset.LogOffset =>
  op === Infinity ? { tx, op } : op > 0 ? { tx, op: op - 1 } : { tx: tx - 1n, op: Infinity }

/** Whether `etag` is among those of an `If-None-Match` header. */
const isNoneMatch = (given: string | undefined, etag: string): boolean =>
  given !== undefined &&
  (given === etag || given.split(",").some((each) => each.trim().replaceAll("\"", "") === etag.slice(1, -1)))

export class ShapeRoutes extends Context.Tag("shapelog/http/ShapeRoutes")<ShapeRoutes, {
  /** Answers a request. Interrupting it lets go of everything that waits for it. */
  readonly handle: (request: HttpRequest) => Effect.Effect<Response>
  /** The same in this turn, for a read that has to wait for nothing; `undefined` for every other request. */
  readonly unsafeHandle: (request: HttpRequest) => Response | undefined
  /** The answer to a request line that is too long to be looked at. */
  readonly tooLong: (request: HttpRequest) => Response
  /** Answers all held requests at once and holds none from now on. */
  readonly drain: Effect.Effect<void>
  /** Number of requests that are held now. */
  readonly held: () => number
}>() {
  static readonly layer: Layer.Layer<ShapeRoutes, never, ShapeEngine | HttpOptions> = Layer.scoped(
    ShapeRoutes,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function*() {
  const engine = yield* ShapeEngine
  const options = yield* HttpOptions
  const clock = yield* Effect.clock
  const random = yield* Effect.random

  const starting = yield* HeldRequests.make<never, "ready">([["ready", options.readyTimeoutMs]])
  const held = yield* HeldRequests.make<ShapeGone, "live" | "beyond">([
    ["live", options.longPollTimeoutMs],
    ["beyond", options.longPollTimeoutMs / 2]
  ])
  const prefix = (yield* random.nextIntBetween(36 ** 7, 36 ** 8)).toString(36)
  const replies = ShapeResponse.make({ version: options.version, requestIdPrefix: prefix })
  const validate = ShapeParams.make()
  const failed = Failures.make(engine, replies)
  let isDraining = false

  // --- Authentication ---

  const digest = (text: string) => createHash("sha256").update(text).digest()
  const secret = options.secret === undefined ? undefined : digest(options.secret)
  const isAuthorized = ({ apiSecret, secret: given }: RawQuery): boolean => {
    if (secret === undefined) return true
    const text = decode(given ?? apiSecret ?? "")
    return text !== undefined && timingSafeEqual(digest(text), secret)
  }

  // --- Headers ---

  const cacheInitial = "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"
  const cacheLive = "public, max-age=5, stale-while-revalidate=5"
  const cacheOther = `public, max-age=${options.cacheMaxAge}, stale-while-revalidate=${options.cacheStaleAge}`
  const cacheControl = ({ live, offset }: ShapeParams.ShapeParams): string =>
    live ? cacheLive : offset !== "now" && offset.tx < 0n ? cacheInitial : cacheOther

  /**
   * Makes the ETag of a response without news one that never comes again: revalidated, it would turn long polls into a
   * busy loop.
   */
  let unique = clock.unsafeCurrentTimeMillis() * 1_000

  const cursor = ({ cursor }: ShapeParams.ShapeParams): Effect.Effect<number> =>
    Cursor.next(cursor, clock.unsafeCurrentTimeMillis(), options.longPollTimeoutMs, random)

  // --- The log ---

  /** Live responses to the same offset share one body. Of a long one they share the pieces, which are the engine's. */
  const liveBodies = new RecentMap<LogFrame.ResponseBody>(32)

  /**
   * What ends the body of a slice. Of a live response the LSN follows from its offset, so that equal requests have
   * equal bodies.
   */
  const controlOf = (params: ShapeParams.ShapeParams, slice: LogSlice): string | undefined =>
    slice.upToDate
      ? LogFrame.upToDate(params.live ? slice.end.tx : Lsn.max(slice.lastSeenLsn, slice.end.tx))
      : undefined

  const withoutNews = Effect.fnUntraced(function*(
    request: HttpRequest,
    params: ShapeParams.ShapeParams,
    shape: ShapeInfo,
    offset: string,
    end: LogOffset.LogOffset,
    lastSeen: Lsn.Lsn
  ) {
    const endText = LogOffset.format(end)
    const headers = replies.logHeaders(request, cacheControl(params), {
      handle: shape.handle,
      offset: endText,
      etag: `"${shape.handle}:${offset}:${endText}:${++unique}"`,
      hasData: false,
      upToDate: true,
      cursor: params.live ? yield* cursor(params) : undefined,
      schema: params.live ? undefined : shape.schema
    })
    const body = LogFrame.ascii(`[${LogFrame.upToDate(Lsn.max(lastSeen, end.tx))}]`)
    return { status: 200, headers, body } satisfies Response
  })

  const serveNow = Effect.fnUntraced(function*(
    request: HttpRequest,
    params: ShapeParams.ShapeParams,
    shape: ShapeInfo
  ) {
    // In this order: the log reaches at least to the LSN that the response says it does.
    const lastSeen = yield* engine.lastSeenLsn
    const end = yield* engine.end(shape.handle)
    return yield* withoutNews(request, params, shape, "now", end, lastSeen)
  })

  // --- Requests ---

  /** Waits for an engine that is not active, as long as a request may. */
  const awaitReady = (status: EngineStatus): Effect.Effect<boolean> =>
    status === "stopping" ? Effect.succeed(false) : starting.hold("ready", "active", engine.awaitActive)

  /** A read's response with a body, or without one the 304 of a client that has it already. */
  const reply = (
    request: HttpRequest,
    params: ShapeParams.ShapeParams,
    shape: ShapeInfo,
    slice: LogSlice,
    etag: string,
    body: LogFrame.ResponseBody | undefined,
    cursor: number | undefined
  ): Response => ({
    status: body === undefined ? 304 : 200,
    headers: replies.logHeaders(request, cacheControl(params), {
      handle: shape.handle,
      offset: LogOffset.format(slice.end),
      etag,
      hasData: true,
      upToDate: slice.upToDate,
      cursor,
      schema: body === undefined || params.live ? undefined : shape.schema
    }),
    body: body ?? LogFrame.none
  })

  const etagOf = (shape: ShapeInfo, offset: LogOffset.LogOffset, slice: LogSlice): string =>
    `"${shape.handle}:${LogOffset.format(offset)}:${LogOffset.format(slice.end)}"`

  const isUnchanged = (request: HttpRequest, etag: string): boolean =>
    isNoneMatch(ShapeResponse.header(request, "if-none-match"), etag)

  const unsafeHandle = (request: HttpRequest): Response | undefined => {
    if ((request.method !== "GET" && request.method !== "HEAD") || Route.match(request.path) !== "shape") {
      return undefined
    }
    const raw = scan(request.query)
    if ((raw.live !== undefined && raw.live !== "false") || !isAuthorized(raw)) return undefined
    const validated = validate(raw)
    if (Either.isLeft(validated)) return undefined
    const params = validated.right
    const { definition, handle, offset } = params
    if (params.live || offset === "now") return undefined
    const found = engine.unsafePeek(definition, offset)
    if (!found || (handle !== undefined && handle !== found.shape.handle) || isBeyondEnd(found.slice, offset)) {
      return undefined
    }
    const { shape, slice } = found
    const etag = etagOf(shape, offset, slice)
    if (isUnchanged(request, etag)) return reply(request, params, shape, slice, etag, undefined, undefined)
    const { ready } = slice.body
    return ready &&
      reply(request, params, shape, slice, etag, LogFrame.ofReady(ready, controlOf(params, slice)), undefined)
  }

  /** One generator for all of it, because its steps are what a request costs. */
  const serveShape = Effect.fnUntraced(function*(exchange: Failures.Exchange, raw: RawQuery) {
    const { request } = exchange
    const status = yield* engine.status
    if (status !== "active" && !(yield* awaitReady(status))) {
      return replies.unavailable(request, notReadyText[yield* engine.status], 5)
    }
    const validated = validate(raw)
    if (Either.isLeft(validated)) return replies.invalid(request, validated.left)
    const params = exchange.params = validated.right
    const shape = exchange.shape = yield* engine.resolve(params.definition)
    const { handle, offset } = params
    if (handle !== undefined && handle !== shape.handle) return replies.mustRefetch(request, shape.handle)
    if (offset === "now") return yield* serveNow(request, params, shape)

    const offsetText = LogOffset.format(offset)
    let slice = yield* engine.read(shape.handle, offset)

    if (isBeyondEnd(slice, offset)) {
      // The server may be catching up with what it has served before a restart.
      yield* held.hold("beyond", `${shape.handle}<${offsetText}`, engine.awaitChange(shape.handle, before(offset)))
      slice = yield* engine.read(shape.handle, offset)
      if (isBeyondEnd(slice, offset)) {
        return replies.invalid(request, { offset: ["out of bounds for this shape"] })
      }
    }

    let etag = etagOf(shape, offset, slice)
    if (isUnchanged(request, etag)) {
      return reply(request, params, shape, slice, etag, undefined, params.live ? yield* cursor(params) : undefined)
    }

    if (params.live && isQuiet(slice, offset)) {
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
          : yield* withoutNews(request, params, shape, offsetText, slice.end, slice.lastSeenLsn)
      }
      etag = etagOf(shape, offset, slice)
    }

    const control = controlOf(params, slice)
    const { ready } = slice.body
    const body = ready === undefined
      ? yield* LogFrame.ofPulled(slice.body, control)
      : params.live && LogFrame.isSmall(ready)
      ? liveBodies.get(control === undefined ? `${etag}+` : etag, () => LogFrame.ofReady(ready, control))
      : LogFrame.ofReady(ready, control)
    return reply(request, params, shape, slice, etag, body, params.live ? yield* cursor(params) : undefined)
  })

  const health = (request: HttpRequest): Effect.Effect<Response> =>
    Effect.map(engine.status, (status) =>
      status === "active" && !isDraining
        ? replies.health(request, 200, "active")
        : replies.health(request, 202, status === "waiting" ? "waiting" : "starting"))

  const shapes = (request: HttpRequest): Effect.Effect<Response> => {
    if (request.method === "OPTIONS") return Effect.succeed(replies.preflight(request))
    const raw = scan(request.query)
    if (!isAuthorized(raw)) return Effect.succeed(replies.unauthorized(request))
    switch (request.method) {
      case "DELETE":
        return Effect.succeed(replies.error(request, 405, { message: "DELETE not allowed" }))
      case "POST":
        return Effect.succeed(replies.invalid(request, { method: ["POST is not supported yet"] }))
      default: {
        const exchange: Failures.Exchange = { request, params: undefined, shape: undefined }
        return Effect.catchAll(serveShape(exchange, raw), (error) => failed(exchange, error))
      }
    }
  }

  const answer = (request: HttpRequest): Effect.Effect<Response> => {
    const get = request.method === "GET" || request.method === "HEAD"
    switch (Route.match(request.path)) {
      case "shape":
        return get || request.method === "OPTIONS" || request.method === "POST" || request.method === "DELETE"
          ? shapes(request)
          : Effect.succeed(replies.notFound(request))
      case "health":
        return get ? health(request) : Effect.succeed(replies.notFound(request))
      case "root":
        return Effect.succeed(get ? replies.root(request) : replies.notFound(request))
      case undefined:
        return Effect.succeed(replies.notFound(request))
    }
  }

  return ShapeRoutes.of({
    handle: (request) =>
      Effect.catchAllCause(Effect.suspend(() => answer(request)), (cause) =>
        Cause.isInterrupted(cause)
          ? Effect.interrupt
          : Effect.as(
            Effect.logError("a request failed", cause),
            replies.internalError(request)
          )),
    unsafeHandle,
    tooLong: replies.tooLong,
    drain: Effect.suspend(() => {
      isDraining = true
      return Effect.zipRight(starting.drain, held.drain)
    }),
    held: () => starting.size() + held.size()
  })
})
