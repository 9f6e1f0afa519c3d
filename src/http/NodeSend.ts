/**
 * Sends responses on `node:http`, no faster than their clients take them. A client that takes nothing for too long
 * while bytes wait for it loses its connection; a body that can't be continued ends in a destroyed one.
 */
import { Cause, Effect, Exit, type Fiber, FiberId, Option } from "effect"
import type * as Http from "node:http"
import * as Deadlines from "./Deadlines.ts"
import * as LogFrame from "./LogFrame.ts"
import type { ShapeResponse } from "./ShapeResponse.ts"

/** Bytes that may be written to a fast client before other connections get a turn. */
const TURN = 1_048_576

const hasBody = ({ headers }: Http.IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined ||
  (headers["content-length"] !== undefined && headers["content-length"] !== "0")

export const make = ({ closeIdle, deadlines, isDraining, runFork, sendTimeoutMs }: {
  readonly runFork: (work: Effect.Effect<void>) => Fiber.RuntimeFiber<void>
  readonly deadlines: Deadlines.Deadlines<"send">
  readonly sendTimeoutMs: number
  /** The server shuts down: connections are not kept. */
  readonly isDraining: () => boolean
  readonly closeIdle: () => void
}) => {
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
    if (isDraining()) res.once("close", closeIdle)
    res.end(latin1, "latin1")
    if (res.writableLength > 0) res.socket?.setTimeout(sendTimeoutMs)
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
      // Only the last is the server's fault: the others are removed shapes and, mostly, rows that a clause fails for.
      error._tag === "ShapeGone"
        ? Effect.logDebug("a shape was removed while it was being sent", error)
        : error._tag === "SnapshotFailed"
        ? Effect.logWarning("a snapshot failed while it was being sent", error)
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
    if (isDraining() || (!req.complete && hasBody(req))) headers.push("connection", "close")
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

  return {
    /** Sends a response that is there, in this turn as far as its body is at hand. */
    respond,
    /** Sends a response. */
    send,
    /** Runs what is left of a request, as long as its connection. */
    follow
  }
}
