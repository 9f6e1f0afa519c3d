/**
 * Sends responses on `node:http`, no faster than their clients take them. A client that takes nothing for too long
 * while bytes wait for it loses its connection; a body that can't be continued ends in a destroyed one.
 */
import { Cause, Effect, Exit, type Fiber, FiberId, Option } from "effect"
import type * as Http from "node:http"
import type * as Deadlines from "./Deadlines.ts"
import * as LogFrame from "./LogFrame.ts"
import type { ShapeResponse } from "./ShapeResponse.ts"

/** Bytes that may be written to a fast client before other connections get a turn. */
const TURN = 1_048_576

/** Bytes that are worth a system call of their own. */
const WORTHWHILE = 16_384

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
   * Calls `then` at the next drain. The socket's own timeout would begin anew with whatever a client sends that does
   * not read.
   */
  const whenDrained = (res: Http.ServerResponse, then: () => void): void => {
    const cancel = deadlines.after("send", () => res.destroy())
    const onDrain = () => {
      cancel()
      res.off("close", cancel)
      then()
    }
    res.once("drain", onDrain)
    res.once("close", cancel)
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

  /**
   * Ends the response to a request that is still coming in. A connection that is closed with bytes unread is reset, and what
   * its client has not read yet of the response is lost. So it is closed for writing first, and what comes is thrown away
   * until the client has sent everything or closes as well: for as long as the send timeout at most.
   */
  const endEarly = (req: Http.IncomingMessage, res: Http.ServerResponse, latin1: string) => {
    const { socket } = res
    if (socket === null) return end(res, latin1)
    if (latin1 === "") res.flushHeaders()
    else res.write(latin1, "latin1")
    res.once("close", deadlines.after("send", () => res.destroy()))
    req.once("end", () => socket.destroySoon())
    req.resume()
    socket.end()
  }

  /**
   * Sends the pieces of a body, which needs a fiber only for those that can't be had in their turn. Node keeps writes
   * together until the next turn: what is short goes with what comes after it, and what the kernel takes of the rest
   * does not have to wait.
   */
  const sendPieces = (
    res: Http.ServerResponse,
    unsafeNext: LogFrame.EventSource["unsafeNext"],
    atOnce: number = WORTHWHILE
  ) => {
    let making: Fiber.RuntimeFiber<void> | undefined
    let isOver = false
    /** Bytes written since the kernel was last given any. */
    let corked = 0
    const write = (piece: Uint8Array) => {
      res.write(piece)
      corked += piece.length
      if (corked >= atOnce) flush()
    }
    const flush = () => {
      corked = 0
      res.socket?.uncork()
    }
    /** The event if it can be had in this turn; otherwise it comes later, with those after it. */
    const unsafeMake = (next: Effect.Effect<LogFrame.Event, LogFrame.BodyError>): LogFrame.Event | undefined => {
      let made: LogFrame.Event | undefined
      let isLater = false
      const fiber = runFork(Effect.matchEffect(next, {
        onFailure: (error) => cutOff(res, error),
        onSuccess: (event) =>
          Effect.sync(() => {
            if (!isLater) made = event
            else if (event === "end") end(res)
            else {
              if (event !== "again") write(event)
              setImmediate(take)
            }
          })
      }))
      const exit = fiber.unsafePoll()
      if (exit !== null) {
        ended(res, exit)
        return made
      }
      isLater = true
      making = fiber
      fiber.addObserver((exit) => {
        making = undefined
        ended(res, exit)
      })
      return undefined
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
        // It says that it needs to drain as soon as much is written; what the kernel has taken by now need not.
        if (atOnce === WORTHWHILE && res.writableNeedDrain && res.writableLength >= res.writableHighWaterMark) {
          return void whenDrained(res, take)
        }
        if (turn >= TURN) return void setImmediate(take)
        let next = unsafeNext(take)
        if (!(next instanceof Uint8Array) && Effect.isEffect(next)) {
          if (corked > 0) flush()
          const made = unsafeMake(next)
          if (made === undefined) return
          next = made
        }
        if (next === "wait") return corked > 0 ? flush() : undefined
        if (next === "end") {
          isOver = true
          return end(res)
        }
        if (next === "again") continue
        write(next)
        turn += next.length
      }
    }
    take()
    if (isOver) return
    res.once("close", () => making?.unsafeInterruptAsFork(FiberId.none))
    res.on("error", (cause) => runFork(Effect.logDebug("a response could not be written", cause)))
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

  /** Sends the head, and of the body what is at hand and the client takes; the rest follows by itself. */
  const unsafeSend = (
    req: Http.IncomingMessage,
    res: Http.ServerResponse,
    response: ShapeResponse
  ): void => {
    const { body, headers, status } = response
    const length = LogFrame.lengthOf(body)
    if (length !== undefined && status !== 204 && status !== 304) headers.push("content-length", String(length))
    // What a client sends beyond what we read of it would have to be read before its next request.
    const isEarly = !req.complete && hasBody(req)
    if (isDraining() || isEarly) headers.push("connection", "close")
    res.writeHead(status, headers)
    if (req.method === "HEAD" || body._tag === "None" || body._tag === "Latin1") {
      const text = req.method !== "HEAD" && body._tag === "Latin1" ? body.text : ""
      if (isEarly) endEarly(req, res, text)
      else end(res, text)
      return
    }
    if (body._tag === "Events") {
      // Otherwise they go out with the first piece.
      res.flushHeaders()
      sendPieces(res, body.source.unsafeNext)
      return
    }
    const next = () => {
      const piece = body.unsafeNext()
      if (piece === undefined) return "end"
      return piece instanceof Uint8Array ? piece : Effect.map(piece, Option.getOrElse(() => "end" as const))
    }
    sendPieces(res, next, body.isHeld ? Infinity : WORTHWHILE)
  }

  const send = (req: Http.IncomingMessage, res: Http.ServerResponse, response: ShapeResponse): Effect.Effect<void> =>
    Effect.sync(() => unsafeSend(req, res, response))

  /** Sends a response that is there. */
  const respond = (req: Http.IncomingMessage, res: Http.ServerResponse, response: ShapeResponse) => {
    if (res.destroyed) return
    try {
      unsafeSend(req, res, response)
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
