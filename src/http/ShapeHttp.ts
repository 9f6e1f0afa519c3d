/**
 * The shape and health routes as a layer for an Effect application that has its own `HttpLayerRouter`. It serves
 * whatever else it likes beside them, and its middleware applies to them too.
 *
 * Bodies that are in memory are sent as they are; the others are streams, pulled as fast as the client takes them.
 * `NodeServer` costs less a request and drains: prefer it where shapes have a port of their own.
 */
import { HttpLayerRouter, type HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServerRequest } from "@effect/platform-node"
import { Effect, type Layer, Option, Stream } from "effect"
import { IncomingMessage } from "node:http"
import { HttpOptions, type HttpSettings } from "./HttpOptions.ts"
import * as LogFrame from "./LogFrame.ts"
import * as RequestBody from "./RequestBody.ts"
import { RequestBodyError, type ShapeResponse } from "./ShapeResponse.ts"
import { ShapeRoutes } from "./ShapeRoutes.ts"

const flushHeaders = (request: HttpServerRequest.HttpServerRequest) =>
  Effect.sync(() => {
    if (request.source instanceof IncomingMessage) NodeHttpServerRequest.toServerResponse(request).flushHeaders()
  })

/**
 * The pieces of a body. The server would end a body that failed as if it were whole (and only the missing `]` would
 * tell), so on Node the connection is destroyed.
 */
const pieces = (
  request: HttpServerRequest.HttpServerRequest,
  body: Extract<LogFrame.ResponseBody, { readonly _tag: "Pieces" | "Events" }>
): Stream.Stream<Uint8Array, LogFrame.BodyError> =>
  Stream.repeatEffectOption(
    Effect.flatMap(
      Effect.mapError(
        body._tag === "Events" ? LogFrame.pullEvents(body.source) : LogFrame.pullPieces(body),
        Option.some
      ),
      (piece) => (Option.isSome(piece) ? Effect.succeed(piece.value) : Effect.fail(Option.none()))
    )
  ).pipe(
    // The server sends headers along with the first piece, which a stream of events may be long without.
    (pieces) => (body._tag === "Events" ? Stream.onStart(pieces, flushHeaders(request)) : pieces),
    Stream.tapError(() =>
      Effect.sync(() => {
        if (request.source instanceof IncomingMessage) request.source.socket.destroy()
      })
    )
  )

/**
 * The body of a request, as far as the limit. On Node it is read past the platform's stream, which would destroy the
 * connection when it is left half way, and with it the response that says why.
 */
const bodyOf = (
  request: HttpServerRequest.HttpServerRequest,
  options: HttpSettings
): Effect.Effect<Uint8Array, RequestBodyError> => {
  if (request.source instanceof IncomingMessage) return RequestBody.read(request.source, options)
  const chunks: Array<Uint8Array> = []
  let size = 0
  return request.stream.pipe(
    Stream.mapError(() => new RequestBodyError({ reason: "unreadable" })),
    Stream.runForEach((chunk) => {
      size += chunk.length
      if (size > options.maxRequestBodyBytes) return new RequestBodyError({ reason: "too large" })
      chunks.push(chunk)
      return Effect.void
    }),
    Effect.map(() => Buffer.concat(chunks, size))
  )
}

const toPlatform = (
  request: HttpServerRequest.HttpServerRequest,
  { body, headers: fields, status }: ShapeResponse
): HttpServerResponse.HttpServerResponse => {
  const headers: Record<string, string> = {}
  for (let i = 0; i < fields.length; i += 2) headers[fields[i]!] = fields[i + 1]!
  const length = LogFrame.lengthOf(body)
  if (length !== undefined && status !== 204 && status !== 304) headers["content-length"] = String(length)
  // The rest of the request is of no interest.
  if (status === 413) headers.connection = "close"
  switch (body._tag) {
    case "None":
      return HttpServerResponse.empty({ status, headers })
    case "Latin1":
      return HttpServerResponse.raw(Buffer.from(body.text, "latin1"), { status, headers })
    case "Pieces":
    case "Events":
      return HttpServerResponse.stream(pieces(request, body), {
        status,
        headers,
        contentType: headers["content-type"] ?? "application/json"
      })
  }
}

/** Answers requests with the routes' responses. */
const responder = Effect.gen(function*() {
  const { handle } = yield* ShapeRoutes
  const options = yield* HttpOptions
  return Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest) {
    const mark = request.url.indexOf("?")
    const releases: Array<() => void> = []
    // The request's scope is closed when its response has been sent.
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        for (const release of releases) release()
      })
    )
    const response = yield* handle({
      method: request.method,
      path: mark === -1 ? request.url : request.url.slice(0, mark),
      query: mark === -1 ? "" : request.url.slice(mark + 1),
      headers: request.headers,
      body: bodyOf(request, options),
      onEnd: (release) => releases.push(release)
    })
    return toPlatform(request, response)
  })
})

/** `/v1/shape` and `/v1/health`, below whatever prefix the router has. */
export const routes: Layer.Layer<
  never,
  never,
  HttpLayerRouter.HttpRouter | ShapeRoutes | HttpOptions
> = HttpLayerRouter.use(
  Effect.fnUntraced(function*(router) {
    const respond = yield* responder
    yield* router.add("*", "/v1/shape", respond)
    yield* router.add("*", "/v1/health", respond)
  })
)

/** `/openapi.json`, which describes them. By itself, because an application may well have a document of its own. */
export const openApi: Layer.Layer<
  never,
  never,
  HttpLayerRouter.HttpRouter | ShapeRoutes | HttpOptions
> = HttpLayerRouter.use(
  Effect.fnUntraced(function*(router) {
    yield* router.add("*", "/openapi.json", yield* responder)
  })
)
