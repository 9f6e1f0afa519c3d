/**
 * The body of a request on `node:http`: read when it is asked for, never more of it than the limit.
 */
import { Effect } from "effect"
import type { IncomingMessage } from "node:http"
import type { HttpSettings } from "./HttpOptions.ts"
import { RequestBodyError } from "./ShapeResponse.ts"

type Limits = Pick<HttpSettings, "keepAliveTimeoutMs" | "maxRequestBodyBytes">

const tooLarge = new RequestBodyError({ reason: "too large" })
const unreadable = new RequestBodyError({ reason: "unreadable" })

const collect = (req: IncomingMessage, { keepAliveTimeoutMs, maxRequestBodyBytes }: Limits) =>
  Effect.async<Uint8Array, RequestBodyError>((resume) => {
    const chunks: Array<Buffer> = []
    let size = 0
    const stop = () => {
      req.off("data", onData)
      req.off("end", onEnd)
      req.off("close", onClose)
      req.off("error", onClose)
      req.socket.setTimeout(0)
    }
    const finish = (outcome: Effect.Effect<Uint8Array, RequestBodyError>) => {
      stop()
      resume(outcome)
    }
    const onData = (chunk: Buffer) => {
      size += chunk.length
      if (size > maxRequestBodyBytes) {
        // What follows is thrown away by the response, which closes the connection.
        req.pause()
        finish(Effect.fail(tooLarge))
      } else chunks.push(chunk)
    }
    const onEnd = () => finish(Effect.succeed(Buffer.concat(chunks, size)))
    const onClose = () => finish(Effect.fail(unreadable))
    // A client that stops half way loses its connection.
    req.socket.setTimeout(keepAliveTimeoutMs)
    req.on("data", onData)
    req.on("end", onEnd)
    req.on("close", onClose)
    req.on("error", onClose)
    return Effect.sync(stop)
  })

/** Reads the body whole. Nothing is read of one that says beforehand that it is too long. */
export const read = (req: IncomingMessage, limits: Limits): Effect.Effect<Uint8Array, RequestBodyError> =>
  Effect.suspend(() => {
    if (Number(req.headers["content-length"] ?? 0) > limits.maxRequestBodyBytes) return Effect.fail(tooLarge)
    return req.readableEnded || req.destroyed ? Effect.succeed(Buffer.alloc(0)) : collect(req, limits)
  })
