/**
 * The shape and health routes as a layer for an Effect application that has its own `HttpLayerRouter`. It serves
 * whatever else it likes beside them, and its middleware applies to them too.
 *
 * Bodies that are in memory are sent as they are; the others are streams, pulled as fast as the client takes them.
 * `NodeServer` costs less a request and drains: prefer it where shapes have a port of their own.
 */
import { HttpLayerRouter, type HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Effect, type Layer, Option, Stream } from "effect"
import { IncomingMessage } from "node:http"
import type * as LogFrame from "./LogFrame.ts"
import type { ShapeResponse } from "./ShapeResponse.ts"
import { ShapeRoutes } from "./ShapeRoutes.ts"

/**
 * The pieces of a body. The server would end a body that failed as if it were whole (and only the missing `]` would
 * tell), so on Node the connection is destroyed.
 */
const pieces = (
  request: HttpServerRequest.HttpServerRequest,
  pull: Effect.Effect<Option.Option<Uint8Array>, LogFrame.BodyError>
): Stream.Stream<Uint8Array, LogFrame.BodyError> =>
  Stream.repeatEffectOption(
    Effect.flatMap(
      Effect.mapError(pull, Option.some),
      (piece) => (Option.isSome(piece) ? Effect.succeed(piece.value) : Effect.fail(Option.none()))
    )
  ).pipe(Stream.tapError(() =>
    Effect.sync(() => {
      if (request.source instanceof IncomingMessage) request.source.socket.destroy()
    })
  ))

const toPlatform = (
  request: HttpServerRequest.HttpServerRequest,
  { body, headers: fields, status }: ShapeResponse
): HttpServerResponse.HttpServerResponse => {
  const headers: Record<string, string> = {}
  for (let i = 0; i < fields.length; i += 2) headers[fields[i]!] = fields[i + 1]!
  const length = body._tag === "Latin1" ? body.text.length : body._tag === "None" ? 0 : body.length
  if (length !== undefined && status !== 204 && status !== 304) headers["content-length"] = String(length)
  switch (body._tag) {
    case "None":
      return HttpServerResponse.empty({ status, headers })
    case "Latin1":
      return HttpServerResponse.raw(Buffer.from(body.text, "latin1"), { status, headers })
    case "Pieces":
      return HttpServerResponse.stream(pieces(request, body.pull), {
        status,
        headers,
        contentType: headers["content-type"] ?? "application/json"
      })
  }
}

/** `/v1/shape` and `/v1/health`, below whatever prefix the router has. */
export const routes: Layer.Layer<never, never, HttpLayerRouter.HttpRouter | ShapeRoutes> = HttpLayerRouter.use(
  Effect.fnUntraced(function*(router) {
    const { handle } = yield* ShapeRoutes
    const respond = (request: HttpServerRequest.HttpServerRequest) => {
      const mark = request.url.indexOf("?")
      return Effect.map(
        handle({
          method: request.method,
          path: mark === -1 ? request.url : request.url.slice(0, mark),
          query: mark === -1 ? "" : request.url.slice(mark + 1),
          headers: request.headers
        }),
        (response) => toPlatform(request, response)
      )
    }
    yield* router.add("*", "/v1/shape", respond)
    yield* router.add("*", "/v1/health", respond)
  })
)
