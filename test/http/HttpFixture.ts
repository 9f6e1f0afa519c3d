/**
 * The HTTP room on the fake engine, over a real socket or without one. Everything belongs to the scope of one test.
 */
import { Context, Effect, Layer } from "effect"
import * as Http from "node:http"
import { HttpOptions, type HttpSettings } from "../../src/http/HttpOptions.ts"
import { NodeServer } from "../../src/http/NodeServer.ts"
import type { HttpRequest, ShapeResponse } from "../../src/http/ShapeResponse.ts"
import { ShapeRoutes } from "../../src/http/ShapeRoutes.ts"
import * as FakeEngine from "../support/FakeEngine.ts"

export interface Reply {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly body: string
}

/** The value of a header by its lower-case name. */
export const headerOf = (response: ShapeResponse, name: string): string | undefined => {
  const at = response.headers.findIndex((each, i) => i % 2 === 0 && each === name)
  return at === -1 ? undefined : response.headers[at + 1]
}

export const bodyOf = (response: ShapeResponse): string => {
  if (response.body._tag === "Pieces") throw new Error("the body is not in memory")
  return response.body._tag === "Latin1" ? Buffer.from(response.body.text, "latin1").toString() : ""
}

/** The routes on a fake engine, to be called directly. */
export const routes = Effect.fnUntraced(function*(settings: Partial<HttpSettings> = { insecure: true }) {
  const fake = FakeEngine.make()
  const options = HttpOptions.layer({ insecure: settings.secret === undefined, ...settings })
  const context = yield* Layer.build(
    ShapeRoutes.layer.pipe(Layer.provideMerge(options), Layer.provide(fake.layer))
  )
  const service = Context.get(context, ShapeRoutes)
  /** What requests that were made directly hold on to. */
  const ends: Array<() => void> = []
  const get = (pathAndQuery: string, headers: HttpRequest["headers"] = {}, method = "GET") => {
    const [path = "", query = ""] = pathAndQuery.split("?")
    const body = Effect.succeed(new Uint8Array())
    return service.handle({ method, path, query, headers, body, onEnd: (release) => ends.push(release) })
  }
  return { fake: fake.state, routes: service, context, get, ends }
})

/** A server on a port of its own, with a client that keeps its connections. */
export const server = Effect.fnUntraced(function*(settings: Partial<HttpSettings> = {}) {
  const { context, fake, routes: service } = yield* routes({ port: 0, host: "127.0.0.1", ...settings })
  const listening = yield* Layer.build(Layer.provide(NodeServer.layer, Layer.succeedContext(context)))
  const { address: { port }, connections } = Context.get(listening, NodeServer)
  const agent = yield* Effect.acquireRelease(
    Effect.sync(() => new Http.Agent({ keepAlive: true })),
    (agent) => Effect.sync(() => agent.destroy())
  )
  const request = (
    path: string,
    options: { readonly method?: string; readonly headers?: Http.OutgoingHttpHeaders; readonly body?: string } = {}
  ): Effect.Effect<Reply, Error> =>
    Effect.async((resume) => {
      const outgoing = Http.request(
        { agent, port, host: "127.0.0.1", path, method: options.method ?? "GET", headers: options.headers ?? {} },
        (response) => {
          const chunks: Array<Buffer> = []
          response.on("data", (chunk: Buffer) => chunks.push(chunk))
          response.on("error", (error) => resume(Effect.fail(error)))
          response.on("end", () =>
            resume(Effect.succeed({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks).toString()
            })))
        }
      )
      outgoing.on("error", (error) => resume(Effect.fail(error)))
      outgoing.end(options.body)
      return Effect.sync(() => outgoing.destroy())
    })
  return { fake, routes: service, port, connections, request }
})

/** Completes when the condition holds; for what nobody tells of. */
export const eventually = (condition: () => boolean): Effect.Effect<void> =>
  Effect.async((resume) => {
    const look = () => {
      if (condition()) resume(Effect.void)
      else handle = setImmediate(look)
    }
    let handle = setImmediate(look)
    return Effect.sync(() => clearImmediate(handle))
  })
