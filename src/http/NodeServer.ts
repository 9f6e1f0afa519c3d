/**
 * `ShapeRoutes` on `node:http`: a fiber only for requests that need one, and as little else as the protocol allows.
 *
 * - A client that goes away interrupts its request, or lets go of it where it waits without a fiber.
 * - A client that does not read makes us hold one piece of a body for it (64 KiB), whatever the body's length; a body that is in
 * memory as a whole, of 256 KiB at most, is held as long as the client takes, and shared with those who read the same.
 * - Pipelined requests are answered one after the other; the next one is not begun before the one before it is sent.
 * - On release, held requests are answered at once, new ones are told to close the connection, and what is still being
 * sent at the deadline is cut off.
 */
import { Context, Deferred, Effect, Layer, Option, Runtime, RuntimeFlags, Schema } from "effect"
import * as Http from "node:http"
import type { AddressInfo, Socket } from "node:net"
import * as Deadlines from "./Deadlines.ts"
import { HttpOptions, type HttpSettings } from "./HttpOptions.ts"
import type { Later } from "./LiveRequests.ts"
import * as NodeSend from "./NodeSend.ts"
import * as RequestBody from "./RequestBody.ts"
import type { HttpRequest, ShapeResponse } from "./ShapeResponse.ts"
import { ShapeRoutes } from "./ShapeRoutes.ts"

/** The address can't be listened on. The operator changes the configuration or ends what holds the port. */
export class ListenFailed extends Schema.TaggedError<ListenFailed>("shapelog/ListenFailed")("ListenFailed", {
  host: Schema.String,
  port: Schema.Number,
  cause: Schema.Defect
}) {
  override get message() {
    return `can't listen on ${this.host}:${this.port}: ${String(this.cause)}`
  }
}

/** Longest request target, in bytes: beyond it the answer is 414. */
const MAX_URL = 10_000

/** All headers of a request together, in bytes: beyond it the answer is 431. */
const MAX_HEADERS = 32_768

/** How often connections are looked at that are slow to send a request, in ms. */
const CHECK_EVERY = 5_000

/** Requests that may wait behind another on the same connection. */
const MAX_PIPELINED = 64

export class NodeServer extends Context.Tag("shapelog/http/NodeServer")<NodeServer, {
  /** The address that is listened on; its port is the real one. */
  readonly address: AddressInfo
  /** Number of open connections. */
  readonly connections: Effect.Effect<number>
}>() {
  /** Listens until released. */
  static readonly layer: Layer.Layer<NodeServer, ListenFailed, ShapeRoutes | HttpOptions> = Layer.scoped(
    NodeServer,
    Effect.suspend(() => make)
  )
}

/** A class, so that what most requests do not ask for costs nothing. */
class NodeRequest implements HttpRequest {
  readonly path: string
  readonly query: string
  private readonly req: Http.IncomingMessage
  private readonly res: Http.ServerResponse
  private readonly options: HttpSettings

  constructor(
    req: Http.IncomingMessage,
    res: Http.ServerResponse,
    path: string,
    query: string,
    options: HttpSettings
  ) {
    this.req = req
    this.res = res
    this.path = path
    this.query = query
    this.options = options
  }
  get method() {
    return this.req.method ?? "GET"
  }
  get headers() {
    return this.req.headers
  }
  get body() {
    return RequestBody.read(this.req, this.options)
  }
  onEnd(release: () => void) {
    this.res.once("close", release)
  }
}

const make = Effect.gen(function*() {
  const routes = yield* ShapeRoutes
  const options = yield* HttpOptions
  // Counting every request's fiber in Effect's own metrics costs more than the fiber.
  const runFork = Runtime.runFork(
    Runtime.disableRuntimeFlag(yield* Effect.runtime<never>(), RuntimeFlags.RuntimeMetrics)
  )
  let isDraining = false

  const { follow, respond, send } = NodeSend.make({
    runFork,
    deadlines: yield* Deadlines.make([["send", options.sendTimeoutMs]]),
    sendTimeoutMs: options.sendTimeoutMs,
    isDraining: () => isDraining,
    closeIdle: () => server.closeIdleConnections()
  })

  // --- Requests ---

  /**
   * A defect here would end the process: the request is left to the fiber that answers all others, which reports it.
   */
  const unsafeAnswer = (
    request: HttpRequest,
    later: Later<never>
  ): ReturnType<typeof routes.unsafeHandle> => {
    try {
      return routes.unsafeHandle(request, later)
    } catch (defect) {
      runFork(Effect.logWarning("a request could not be answered in one turn", defect))
      return undefined
    }
  }

  const serve = (req: Http.IncomingMessage, res: Http.ServerResponse) => {
    const target = req.url ?? "/"
    const start = target.charCodeAt(0) === 0x2f ? 0 : pathStart(target)
    const mark = target.indexOf("?", start)
    const request = new NodeRequest(
      req,
      res,
      target.slice(start, mark === -1 ? undefined : mark),
      mark === -1 ? "" : target.slice(mark + 1),
      options
    )
    if (target.length > MAX_URL) return run(req, res, Effect.succeed(routes.tooLong(request)))
    // Most reads are answered in this turn, without a fiber; most live requests are held without one.
    const answer = unsafeAnswer(request, (answer) => {
      if (Effect.isEffect(answer)) run(req, res, answer)
      else respond(req, res, answer)
    })
    if (answer === undefined) run(req, res, routes.handle(request))
    else if (Effect.isEffect(answer)) run(req, res, answer)
    else if (answer._tag === "Held") res.once("close", answer.release)
    else respond(req, res, answer)
  }

  /** Makes a response in a fiber, which ends with the connection, and sends it. */
  const run = (req: Http.IncomingMessage, res: Http.ServerResponse, answer: Effect.Effect<ShapeResponse>) =>
    follow(res, Effect.flatMap(answer, (response) => send(req, res, response)))

  /** Requests that wait behind another, by connection. */
  const waiting = new WeakMap<Socket, number>()

  /** Connections that have not sent a request yet: Node does not count them as idle. */
  const fresh = new Set<Socket>()

  const server = Http.createServer(
    {
      keepAliveTimeout: options.keepAliveTimeoutMs,
      maxHeaderSize: MAX_HEADERS,
      noDelay: true,
      headersTimeout: options.headersTimeoutMs,
      connectionsCheckingInterval: Math.min(options.headersTimeoutMs, CHECK_EVERY)
    },
    (req, res) => {
      fresh.delete(req.socket)
      if (res.socket !== null) return serve(req, res)
      // Behind another response on the same connection.
      const behind = (waiting.get(req.socket) ?? 0) + 1
      if (behind > MAX_PIPELINED) {
        req.socket.destroy()
        return
      }
      waiting.set(req.socket, behind)
      res.once("socket", () => {
        waiting.set(req.socket, (waiting.get(req.socket) ?? 1) - 1)
        serve(req, res)
      })
    }
  )

  server.on("connection", (socket) => {
    fresh.add(socket)
    socket.once("close", () => fresh.delete(socket))
  })

  // --- Lifetime ---

  yield* Effect.acquireRelease(
    Effect.async<void, ListenFailed>((resume) => {
      const onError = (cause: Error) => resume(new ListenFailed({ host: options.host, port: options.port, cause }))
      server.once("error", onError)
      server.listen(options.port, options.host, () => {
        server.off("error", onError)
        resume(Effect.void)
      })
    }),
    () =>
      Effect.gen(function*() {
        isDraining = true
        const closed = yield* Deferred.make<void>()
        server.close(() => Deferred.unsafeDone(closed, Effect.void))
        yield* routes.drain
        server.closeIdleConnections()
        for (const socket of fresh) socket.destroy()
        const inTime = yield* Effect.timeoutOption(
          Effect.interruptible(Deferred.await(closed)),
          options.drainTimeoutMs
        )
        if (Option.isSome(inTime)) return
        yield* Effect.logWarning("connections still open at the deadline are cut off")
        server.closeAllConnections()
        yield* Deferred.await(closed)
      })
  )
  server.on("error", (cause) => runFork(Effect.logError("the HTTP server reports an error", cause)))

  const address = server.address()
  if (address === null || typeof address === "string") {
    return yield* Effect.dieMessage("a server that listens on a port has an address")
  }
  return NodeServer.of({
    address,
    connections: Effect.async((resume) => {
      server.getConnections((error, count) => resume(error === null ? Effect.succeed(count) : Effect.die(error)))
    })
  })
})

/** Where the path of an absolute-form target begins; its end when it has none. */
const pathStart = (target: string): number => {
  const authority = /^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i.exec(target)
  return authority === null ? 0 : authority[0].length
}
