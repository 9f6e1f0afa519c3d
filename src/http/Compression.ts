/**
 * Bodies compressed as their clients like it. A body that always has the same bytes is compressed once and kept; others
 * are compressed as they are sent. Short ones are sent as they are, and so is everything when too much is being
 * compressed already: what compression takes is bounded.
 *
 * The ETag of a compressed body says how it is compressed. Either form of it is good for a 304.
 */
import { Effect, Option, type Scope } from "effect"
import * as CompressedBodies from "./CompressedBodies.ts"
import * as Compressor from "./Compressor.ts"
import * as LogFrame from "./LogFrame.ts"
import * as Negotiation from "./Negotiation.ts"
import { header, type HttpRequest, type ShapeResponse } from "./ShapeResponse.ts"

/** Shortest body that is worth it, in bytes; that of a live response is sent to many at once. */
const SHORTEST = 1_024
const SHORTEST_LIVE = 16_384

/** Bodies that may be compressed at the same time. */
const MAX_RUNNING = 8

export interface Compression {
  /** The response as it is to be sent; the same one where it stays as it is. Makes no response fail. */
  readonly encode: (request: HttpRequest, response: ShapeResponse) => Effect.Effect<ShapeResponse>
  /** Whether `encode` would change it. */
  readonly applies: (request: HttpRequest, response: ShapeResponse) => boolean
  /** Bodies that are being compressed, and bytes of those that are kept. */
  readonly running: () => number
  readonly keptBytes: () => number
}

/**
 * Node's own `fetch` (undici) never ends a compressed body that breaks off, as when a server is killed: its reader would
 * wait for ever instead of asking again.
 */
const isNodesFetch = (request: HttpRequest): boolean => header(request, "user-agent") === "node"

/** Headers of the same response with its body in an encoding. */
const encodedHeaders = (headers: ReadonlyArray<string>, encoding: Negotiation.Encoding): Array<string> => {
  const encoded = [...headers]
  for (let i = 0; i < encoded.length; i += 2) {
    if (encoded[i] === "etag") encoded[i + 1] = `${encoded[i + 1]!.slice(0, -1)}-${encoding}"`
  }
  encoded.push("content-encoding", encoding)
  return encoded
}

/** Compresses with at most so many bytes kept; with none it changes nothing. */
export const make = (maxBytes: number): Effect.Effect<Compression, never, Scope.Scope> =>
  Effect.gen(function*() {
    const negotiate = Negotiation.make()
    const bodies = yield* CompressedBodies.make(maxBytes)
    let streams = 0
    const running = () => streams + bodies.running()

    const encodingOf = (request: HttpRequest, { body, sameBytes, status }: ShapeResponse) => {
      const accepted = request.headers["accept-encoding"]
      if (accepted === undefined || status !== 200 || maxBytes === 0) return undefined
      if (body._tag !== "Latin1" && body._tag !== "Pieces") return undefined
      const length = LogFrame.lengthOf(body)
      if (length !== undefined && length < (sameBytes?.isLive === true ? SHORTEST_LIVE : SHORTEST)) return undefined
      return isNodesFetch(request) ? undefined : negotiate(header(request, "accept-encoding"))
    }

    /** A body of one response's own. */
    const stream = (request: HttpRequest, encoding: Negotiation.Encoding, source: LogFrame.Pull): LogFrame.Pull => {
      const compressor = Compressor.make(encoding, source)
      streams++
      request.onEnd(() => {
        streams--
        compressor.close()
      })
      return compressor.pull
    }

    const encode = (
      request: HttpRequest,
      response: ShapeResponse,
      encoding: Negotiation.Encoding
    ): ShapeResponse => {
      const { body, sameBytes, status } = response
      if (body._tag !== "Latin1" && body._tag !== "Pieces") return response
      const known = sameBytes && bodies.find(encoding, sameBytes.key)
      if (known === undefined && running() >= MAX_RUNNING) return response
      const headers = encodedHeaders(response.headers, encoding)
      const whole = known?.outcome === undefined ? undefined : known.bytes
      if (request.method === "HEAD") {
        return { status, headers, body: LogFrame.pieced(whole, () => undefined) }
      }
      const source = () => (body._tag === "Pieces" ? LogFrame.pullPieces(body) : once(Buffer.from(body.text, "latin1")))
      const encoded = sameBytes
        ? LogFrame.pieced(whole, bodies.get(encoding, sameBytes.key, source).read((release) => request.onEnd(release)))
        : LogFrame.pulled(whole, stream(request, encoding, source()))
      return { status, headers, body: encoded }
    }

    return {
      applies: (request, response) => encodingOf(request, response) !== undefined,
      encode: (request, response) => {
        const encoding = encodingOf(request, response)
        return encoding === undefined
          ? Effect.succeed(response)
          : Effect.sync(() => encode(request, response, encoding))
      },
      running,
      keptBytes: bodies.keptBytes
    }
  })

const once = (bytes: Uint8Array): LogFrame.Pull => {
  let isTaken = false
  return Effect.sync(() => {
    if (isTaken) return Option.none()
    isTaken = true
    return Option.some(bytes)
  })
}
