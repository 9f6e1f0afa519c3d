/**
 * The Electric HTTP protocol as a function from request to response, without a server: Electric HTTP protocol §3-§7.
 *
 * A response's headers are made when its slice of the log has been determined, and never before. `handle` does not
 * fail: what goes wrong is a response, and what should not have gone wrong is logged and answered with a bare 500.
 *
 * The layer must be released after the server that calls `handle`.
 */
import { Cause, Context, Effect, Either, Layer, Runtime, Utils } from "effect"
import type { ShapeGone } from "../domain/Errors.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import { type EngineStatus, ShapeEngine, type ShapeInfo } from "../engine/ShapeEngine.ts"
import * as Admission from "./Admission.ts"
import * as ApiSecret from "./ApiSecret.ts"
import * as Compression from "./Compression.ts"
import * as DeleteShape from "./DeleteShape.ts"
import * as Failures from "./Failures.ts"
import * as HeldRequests from "./HeldRequests.ts"
import { HttpOptions } from "./HttpOptions.ts"
import * as LiveRequests from "./LiveRequests.ts"
import * as LogFrame from "./LogFrame.ts"
import * as LogReplies from "./LogReplies.ts"
import { controlOf, etagOf, isBeyondEnd, unchanged } from "./LogReplies.ts"
import * as OpenApi from "./OpenApi.ts"
import * as PostBody from "./PostBody.ts"
import { decode, type RawQuery, scan } from "./QueryString.ts"
import * as Route from "./Route.ts"
import * as ShapeParams from "./ShapeParams.ts"
import * as ShapeResponse from "./ShapeResponse.ts"
import * as SubsetReplies from "./SubsetReplies.ts"

type HttpRequest = ShapeResponse.HttpRequest
type Response = ShapeResponse.ShapeResponse

/** The greatest offset below, so that waiting for an end past it is waiting for one at `offset` or further. */
const before = ({ op, tx }: LogOffset.LogOffset): LogOffset.LogOffset =>
  op === Infinity ? { tx, op } : op > 0 ? { tx, op: op - 1 } : { tx: tx - 1n, op: Infinity }

export class ShapeRoutes extends Context.Tag("shapelog/http/ShapeRoutes")<ShapeRoutes, {
  /** Answers a request. Interrupting it lets go of everything that waits for it. */
  readonly handle: (request: HttpRequest) => Effect.Effect<Response>
  /**
   * The same in this turn, for a read that has to wait for nothing, and for a live request that has to wait for news:
   * `later` is called once with its answer or with what makes it, unless it is released before. An Effect where the
   * answer's body has to be compressed first; `undefined` for every other request.
   */
  readonly unsafeHandle: (
    request: HttpRequest,
    later: LiveRequests.Later<never>
  ) => Response | Effect.Effect<Response> | LiveRequests.Held | undefined
  /** What is waited for, and time limits that are watched, for all requests together. */
  readonly waiting: () => { readonly groups: number; readonly timers: number }
  /** Bodies that are being compressed, and bytes of those that are kept. */
  readonly compression: Pick<Compression.Compression, "keptBytes" | "running">
  /** The answer to a request line that is too long to be looked at. */
  readonly tooLong: (request: HttpRequest) => Response
  /** Answers all held requests at once and holds none from now on. */
  readonly drain: Effect.Effect<void>
  /** Number of requests that are held now. */
  readonly held: () => number
  /** Number of requests for shapes that are being served, held ones included. */
  readonly admitted: () => Admission.Limits
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
  const held = yield* HeldRequests.make<ShapeGone, LiveRequests.Limit>(LiveRequests.limits(options))
  const prefix = (yield* random.nextIntBetween(36 ** 7, 36 ** 8)).toString(36)
  const replies = ShapeResponse.make({ version: options.version, requestIdPrefix: prefix })
  const { definition: validateDefinition, request: validate } = ShapeParams.make()
  const isAuthorized = ApiSecret.make(options.secret)
  const admission = Admission.make(options.maxConcurrentRequests)
  const failed = Failures.make(engine, replies)
  const dice = new Utils.PCGRandom(yield* random.nextIntBetween(0, 2 ** 31))
  const logReplies = LogReplies.make({ clock, random: (limit) => dice.integer(limit), options, replies })
  const compression = yield* Compression.make(options.compressionCacheBytes)
  const live = LiveRequests.make({ engine, held, logReplies, replies })
  const subsets = SubsetReplies.make({ engine, replies, runFork: Runtime.runFork(yield* Effect.runtime<never>()) })
  const remove = DeleteShape.make({ engine, replies, validate: validateDefinition })
  const document = OpenApi.lazily(options)
  let isDraining = false

  // --- Admission ---

  const kindOf = ({ handle }: RawQuery): Admission.Kind => {
    const name = handle === undefined ? undefined : decode(handle)
    return name !== undefined && engine.exists(name) ? "existing" : "initial"
  }

  /** Counts the request until it ends; `undefined` when there are too many. */
  const admit = (request: HttpRequest, raw: RawQuery): Admission.Permit | undefined => {
    const permit = admission.acquire(kindOf(raw))
    if (permit) request.onEnd(permit.release)
    return permit
  }

  const overloaded = (request: HttpRequest, raw: RawQuery): Effect.Effect<Response> => {
    const kind = kindOf(raw)
    return Effect.map(
      random.nextIntBetween(6, 11),
      (seconds) => replies.overloaded(request, kind, options.maxConcurrentRequests[kind], seconds)
    )
  }

  // --- The log ---

  const serveNow = Effect.fnUntraced(function*(
    request: HttpRequest,
    params: ShapeParams.ShapeParams,
    shape: ShapeInfo
  ) {
    // In this order: the log reaches at least to the LSN that the response says it does.
    const lastSeen = yield* engine.lastSeenLsn(shape.handle)
    const end = yield* engine.end(shape.handle)
    return logReplies.withoutNews(request, params, shape, "now", end, lastSeen)
  })

  // --- Requests ---

  /** Waits for an engine that is not active, as long as a request may. */
  const awaitReady = (status: EngineStatus): Effect.Effect<boolean> =>
    status === "stopping" ? Effect.succeed(false) : starting.hold("ready", "active", engine.awaitActive)

  const whenFailed = (exchange: Failures.Exchange, work: Effect.Effect<Response, Failures.EngineError>) =>
    Effect.catchAll(work, (error) => failed(exchange, error))

  const recovered = (request: HttpRequest, work: Effect.Effect<Response>): Effect.Effect<Response> =>
    Effect.catchAllCause(work, (cause) =>
      Cause.isInterrupted(cause)
        ? Effect.interrupt
        : Effect.as(
          Effect.logError(`${request.method} ${request.path}?${ApiSecret.redacted(request.query)} failed`, cause),
          replies.internalError(request)
        ))

  const encoded = (request: HttpRequest, work: Effect.Effect<Response>): Effect.Effect<Response> =>
    Effect.flatMap(work, (response) => compression.encode(request, response))

  const isLong = ({ _tag }: LogFrame.ResponseBody): boolean => _tag === "Pieces" || _tag === "Events"

  const unsafeHandle = (
    request: HttpRequest,
    later: LiveRequests.Later<never>
  ): Response | LiveRequests.Held | undefined => {
    if ((request.method !== "GET" && request.method !== "HEAD") || Route.match(request.path) !== "shape") {
      return undefined
    }
    const raw = scan(request.query)
    if (!isAuthorized(raw)) return undefined
    const validated = validate(raw)
    if (Either.isLeft(validated)) return undefined
    const params = validated.right
    const { definition, handle, offset } = params
    if (params.subset || offset === "now") return undefined
    // What kind it is takes a look at its handle, which most of the time nobody needs.
    const isCrowded = admission.isFull("existing") || admission.isFull("initial")
    if (isCrowded && admission.isFull(kindOf(raw))) return undefined
    const found = engine.unsafePeek(definition, offset)
    if (!found || (handle !== undefined && handle !== found.shape.handle) || isBeyondEnd(found.slice, offset)) {
      return undefined
    }
    const { shape, slice } = found
    if (params.live) {
      const exchange: Failures.Exchange = { request, params, shape }
      const answer = live.unsafeHandle(
        request,
        params,
        shape,
        offset,
        slice,
        (answer) => later(Effect.isEffect(answer) ? recovered(request, whenFailed(exchange, answer)) : answer)
      )
      // Not full, as of this turn. What is sent at once is not counted.
      if (answer && (answer._tag === "Held" || isLong(answer.body))) admit(request, raw)
      return answer
    }
    const etag = etagOf(shape, offset, slice)
    const known = unchanged(request, etag)
    if (known !== undefined) return logReplies.reply(request, params, shape, slice, known, undefined)
    const body = LogFrame.unsafeOf(slice.body, controlOf(false, slice))
    // What is sent at once is not counted.
    if (!body || (isLong(body) && !admit(request, raw))) return undefined
    return logReplies.reply(request, params, shape, slice, etag, body)
  }

  /** One generator for all of it, because its steps are what a request costs. */
  const serveShape = Effect.fnUntraced(function*(
    exchange: Failures.Exchange,
    raw: RawQuery,
    permit: Admission.Permit
  ) {
    const { request } = exchange
    const status = yield* engine.status
    if (status !== "active" && !(yield* awaitReady(status))) {
      return replies.unavailable(request, LiveRequests.notReadyText[yield* engine.status], 5)
    }
    const validated = validate(raw)
    if (Either.isLeft(validated)) return replies.invalid(request, validated.left)
    const params = exchange.params = validated.right
    const shape = exchange.shape = yield* engine.resolve(params.definition)
    const { handle, offset } = params
    if (handle !== undefined && handle !== shape.handle) return replies.mustRefetch(request, shape.handle)
    if (params.subset) {
      const response = yield* subsets(request, params, shape, params.subset)
      permit.exchange()
      return response
    }
    if (offset === "now") return yield* serveNow(request, params, shape)

    const offsetText = LogOffset.format(offset)
    let slice = yield* engine.read(shape.handle, offset)
    // The snapshot has begun.
    permit.exchange()

    if (isBeyondEnd(slice, offset)) {
      // The server may be catching up with what it has served before a restart.
      yield* held.hold("beyond", `${shape.handle}<${offsetText}`, engine.awaitChange(shape.handle, before(offset)))
      slice = yield* engine.read(shape.handle, offset)
      const isBeyond = isBeyondEnd(slice, offset)
      // It was not waited for as long as it takes.
      if (isBeyond && isDraining) return replies.unavailable(request, LiveRequests.notReadyText.stopping, 5)
      // The stream has been there, and the shape has not yet: after a restart it may have rows to fetch on its way.
      if (isBeyond && offset.tx > slice.lastSeenLsn && offset.tx <= (yield* engine.followedLsn)) {
        return replies.unavailable(request, "Shape is catching up", 1)
      }
      if (isBeyond && !params.sse) {
        return replies.invalid(request, { offset: ["out of bounds for this shape"] })
      }
    }

    if (params.live) return yield* live.handle(request, params, shape, offset, slice)
    const etag = etagOf(shape, offset, slice)
    const known = unchanged(request, etag)
    if (known !== undefined) return logReplies.reply(request, params, shape, slice, known, undefined)
    const control = controlOf(false, slice)
    const { ready } = slice.body
    const body = ready === undefined ? yield* LogFrame.ofPulled(slice.body, control) : LogFrame.ofReady(ready, control)
    return logReplies.reply(request, params, shape, slice, etag, body)
  })

  const health = (request: HttpRequest): Effect.Effect<Response> =>
    Effect.map(engine.status, (status) =>
      status === "active" && !isDraining
        ? replies.health(request, 200, "active")
        : replies.health(request, 202, status === "waiting" ? "waiting" : "starting"))

  const openApi = (request: HttpRequest): Response => {
    const { body, etag } = document()
    const known = unchanged(request, etag)
    return known === undefined ? replies.openApi(request, etag, body) : replies.openApi(request, known, undefined)
  }

  const serve = (
    request: HttpRequest,
    work: (exchange: Failures.Exchange) => Effect.Effect<Response, Failures.EngineError>
  ): Effect.Effect<Response> => {
    const exchange: Failures.Exchange = { request, params: undefined, shape: undefined }
    return whenFailed(exchange, work(exchange))
  }

  const post = (request: HttpRequest, permit: Admission.Permit): Effect.Effect<Response> =>
    Effect.matchEffect(request.body, {
      onFailure: ({ reason }) =>
        Effect.succeed(
          reason === "too large"
            ? replies.error(request, 413, { error: "Request body too large" })
            : replies.error(request, 400, { error: "Failed to read request body" })
        ),
      onSuccess: (body) => {
        const query = PostBody.merge(request.query, body)
        return Either.isLeft(query)
          ? Effect.succeed(replies.error(request, 400, query.left))
          : serve(request, (exchange) => serveShape(exchange, scan(query.right), permit))
      }
    })

  const deleteShape = Effect.fnUntraced(function*(request: HttpRequest, raw: RawQuery) {
    if (!options.allowDelete) return replies.error(request, 405, { message: "DELETE not allowed" })
    const status = yield* engine.status
    return status === "active" || (yield* awaitReady(status))
      ? yield* serve(request, () => remove(request, raw))
      : replies.unavailable(request, LiveRequests.notReadyText[yield* engine.status], 5)
  })

  const shapes = (request: HttpRequest): Effect.Effect<Response> => {
    if (request.method === "OPTIONS") return Effect.succeed(replies.preflight(request))
    const raw = scan(request.query)
    if (!isAuthorized(raw)) return Effect.succeed(replies.unauthorized(request))
    if (request.method === "DELETE") return deleteShape(request, raw)
    const permit = admit(request, raw)
    if (!permit) return overloaded(request, raw)
    return request.method === "POST"
      ? post(request, permit)
      : serve(request, (exchange) => serveShape(exchange, raw, permit))
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
      case "openapi":
        return Effect.sync(() => get ? openApi(request) : replies.notFound(request))
      case "root":
        return Effect.succeed(get ? replies.root(request) : replies.notFound(request))
      case undefined:
        return Effect.succeed(replies.notFound(request))
    }
  }

  return ShapeRoutes.of({
    handle: (request) => encoded(request, recovered(request, Effect.suspend(() => answer(request)))),
    unsafeHandle: (request, later) => {
      const answer = unsafeHandle(request, (answer) => {
        if (Effect.isEffect(answer)) later(encoded(request, answer))
        else later(compression.applies(request, answer) ? compression.encode(request, answer) : answer)
      })
      return answer === undefined || answer._tag === "Held" || !compression.applies(request, answer)
        ? answer
        : compression.encode(request, answer)
    },
    compression,
    tooLong: replies.tooLong,
    drain: Effect.suspend(() => {
      isDraining = true
      return Effect.zipRight(starting.drain, held.drain)
    }),
    admitted: admission.counts,
    waiting: () => ({ groups: starting.groups() + held.groups(), timers: starting.size() + held.size() }),
    held: () => starting.size() + held.size("live") + held.size("beyond") + held.size("stream")
  })
})
