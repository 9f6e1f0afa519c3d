/**
 * `ShapeRoutes` on `node:http`: one fiber a request, and as little else as the protocol allows.
 *
 * - A client that goes away interrupts its request.
 * - A client that does not read makes us hold one piece of a body for it, whatever the body's length.
 * - A body that can't be continued ends in a destroyed connection: it is never taken for whole.
 * - Pipelined requests are answered one after the other; the next one is not begun before the one before it is sent.
 * - On release, held requests are answered at once, new ones are told to close the connection, and what is still being
 * sent at the
 *   deadline is cut off.
 */
import {
  Cause,
  Context,
  Deferred,
  Effect,
  Exit,
  type Fiber,
  FiberId,
  Layer,
  Option,
  Runtime,
  RuntimeFlags,
  Schema
} from "effect"
import * as Http from "node:http"
import type { AddressInfo, Socket } from "node:net"
import * as Deadlines from "./Deadlines.ts"
import { HttpOptions } from "./HttpOptions.ts"
import type { Later } from "./LiveRequests.ts"
import * as LogFrame from "./LogFrame.ts"
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

/** Bytes that may be written to a fast client before other connections get a turn. */
const TURN = 1_048_576

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
  private readonly idleTimeoutMs: number

  constructor(
    req: Http.IncomingMessage,
    res: Http.ServerResponse,
    path: string,
    query: string,
    idleTimeoutMs: number
  ) {
    this.req = req
    this.res = res
    this.path = path
    this.query = query
    this.idleTimeoutMs = idleTimeoutMs
  }
  get method() {
    return this.req.method ?? "GET"
  }
  get headers() {
    return this.req.headers
  }
  get body() {
    return RequestBody.read(this.req, this.idleTimeoutMs)
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
  const deadlines = yield* Deadlines.make([["send", options.sendTimeoutMs]])
  let isDraining = false

  // --- Sending ---

  /**
   * Completes when the client has taken what was written. A connection on which nothing moves for too long is
   * destroyed.
   */
  const drained = (res: Http.ServerResponse) =>
    Effect.async<void>((resume) => {
      // It may have drained since the look at its length.
      if (!res.writableNeedDrain) return resume(Effect.void)
      const stop = whenDrained(res, () => resume(Effect.void))
      return Effect.sync(stop)
    })

  /**
   * Calls `then` at the next drain, unless what it returns is called before. The socket's own timeout would begin anew
   * with whatever a client sends that does not read.
   */
  const whenDrained = (res: Http.ServerResponse, then: () => void): () => void => {
    const cancel = deadlines.after("send", () => res.destroy())
    const onDrain = () => {
      cancel()
      res.off("close", cancel)
      then()
    }
    res.once("drain", onDrain)
    res.once("close", cancel)
    return () => {
      cancel()
      res.off("close", cancel)
      res.off("drain", onDrain)
    }
  }

  /** Ends the response; the send timeout stays armed while bytes wait, until the keep-alive timeout takes its place. */
  const end = (res: Http.ServerResponse, latin1?: string) => {
    if (isDraining) res.once("close", () => server.closeIdleConnections())
    res.end(latin1, "latin1")
    if (res.writableLength > 0) res.socket?.setTimeout(options.sendTimeoutMs)
    if (!res.writableNeedDrain) return
    const cancel = deadlines.after("send", () => res.destroy())
    res.once("finish", cancel)
    res.once("close", cancel)
  }

  const sendPieces = Effect.fnUntraced(function*(
    res: Http.ServerResponse,
    pull: Effect.Effect<Option.Option<Uint8Array>, LogFrame.BodyError>
  ) {
    let turn = 0
    while (true) {
      const piece = yield* pull
      if (Option.isNone(piece)) return end(res)
      res.write(piece.value)
      // Node keeps writes together until the next turn; what the kernel takes now does not have to wait.
      res.socket?.uncork()
      turn += piece.value.length
      if (res.writableLength >= res.writableHighWaterMark) {
        yield* drained(res)
        turn = 0
      } else if (turn >= TURN) {
        yield* Deadlines.immediate
        turn = 0
      }
    }
  })

  /** Sends the pieces of a stream, which needs a fiber only for those that can't be had at once. */
  const sendEvents = (res: Http.ServerResponse, { unsafeNext }: LogFrame.EventSource) => {
    const write = (piece: Uint8Array) => {
      res.write(piece)
      res.socket?.uncork()
    }
    let making: Fiber.RuntimeFiber<void> | undefined
    res.once("close", () => making?.unsafeInterruptAsFork(FiberId.none))
    res.on("error", (cause) => runFork(Effect.logDebug("a response could not be written", cause)))
    const takeLater = (next: Effect.Effect<LogFrame.Event, LogFrame.BodyError>) => {
      making = runFork(Effect.matchEffect(next, {
        onFailure: (error) => cutOff(res, error),
        onSuccess: (event) =>
          Effect.sync(() => {
            if (event === "end") return end(res)
            if (event !== "again") write(event)
            setImmediate(take)
          })
      }))
      making.addObserver((exit) => {
        making = undefined
        ended(res, exit)
      })
    }
    const take = () => {
      try {
        unsafeTake()
      } catch (defect) {
        failed(res, defect)
      }
    }
    const unsafeTake = () => {
      for (let turn = 0; !res.destroyed;) {
        if (res.writableNeedDrain) return void whenDrained(res, take)
        if (turn >= TURN) return void setImmediate(take)
        const next = unsafeNext(take)
        if (Effect.isEffect(next)) return takeLater(next)
        if (next === "wait") return
        if (next === "end") return end(res)
        if (next === "again") continue
        write(next)
        turn += next.length
      }
    }
    take()
  }

  /** A defect must not reach others that are answered in the same turn. */
  const failed = (res: Http.ServerResponse, defect: unknown) => {
    runFork(Effect.logError("a response could not be sent", defect))
    res.destroy()
  }

  const cutOff = (res: Http.ServerResponse, error: LogFrame.BodyError) =>
    Effect.zipRight(
      Effect.sync(() => res.destroy()),
      error._tag === "ShapeGone"
        ? Effect.logDebug("a shape was removed while it was being sent", error)
        : Effect.logError("a response could not be completed", error)
    )

  /** Sends the head, and the body if it is at hand; returns what is left to do. */
  const unsafeSend = (
    req: Http.IncomingMessage,
    res: Http.ServerResponse,
    response: ShapeResponse
  ): Effect.Effect<void> | undefined => {
    const { body, headers, status } = response
    const length = LogFrame.lengthOf(body)
    if (length !== undefined && status !== 204 && status !== 304) headers.push("content-length", String(length))
    // What a client sends beyond what we read of it would have to be read before its next request.
    if (isDraining || (!req.complete && hasBody(req))) headers.push("connection", "close")
    res.writeHead(status, headers)
    if (req.method === "HEAD" || body._tag === "None") {
      end(res)
      return undefined
    }
    if (body._tag === "Latin1") {
      end(res, body.text)
      return undefined
    }
    if (body._tag === "Events") {
      // Otherwise they go out with the first piece.
      res.flushHeaders()
      sendEvents(res, body.source)
      return undefined
    }
    return Effect.catchAll(sendPieces(res, body.pull), (error) => cutOff(res, error))
  }

  const send = (req: Http.IncomingMessage, res: Http.ServerResponse, response: ShapeResponse): Effect.Effect<void> =>
    Effect.suspend(() => unsafeSend(req, res, response) ?? Effect.void)

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
      options.keepAliveTimeoutMs
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

  /** Sends a response that is there. */
  const respond = (req: Http.IncomingMessage, res: Http.ServerResponse, response: ShapeResponse) => {
    if (res.destroyed) return
    try {
      const work = unsafeSend(req, res, response)
      if (work) follow(res, work)
    } catch (defect) {
      failed(res, defect)
    }
  }

  /** Makes a response in a fiber, which ends with the connection, and sends it. */
  const run = (req: Http.IncomingMessage, res: Http.ServerResponse, answer: Effect.Effect<ShapeResponse>) =>
    follow(res, Effect.flatMap(answer, (response) => send(req, res, response)))

  const follow = (res: Http.ServerResponse, work: Effect.Effect<void>) => {
    const fiber = runFork(work)
    const exit = fiber.unsafePoll()
    if (exit !== null) return ended(res, exit)
    res.once("close", () => fiber.unsafeInterruptAsFork(FiberId.none))
    res.on("error", (cause) => runFork(Effect.logDebug("a response could not be written", cause)))
    fiber.addObserver((exit) => ended(res, exit))
  }

  /** A request that ends without a response: its client is gone, or else something is wrong. */
  const ended = (res: Http.ServerResponse, exit: Exit.Exit<void>) => {
    if (Exit.isSuccess(exit)) return
    if (!Cause.isInterrupted(exit.cause)) runFork(Effect.logError("a response could not be sent", exit.cause))
    res.destroy()
  }

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

const hasBody = ({ headers }: Http.IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined ||
  (headers["content-length"] !== undefined && headers["content-length"] !== "0")

/** Where the path of an absolute-form target begins; its end when it has none. */
const pathStart = (target: string): number => {
  const authority = /^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i.exec(target)
  return authority === null ? 0 : authority[0].length
}
