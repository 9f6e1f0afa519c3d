/**
 * Compresses the pieces of a body as they are pulled, on Node's thread pool: what is not taken is not compressed.
 */
import { Effect, Option } from "effect"
import { Transform } from "node:stream"
import * as zlib from "node:zlib"
import type * as LogFrame from "./LogFrame.ts"
import type { Encoding } from "./Negotiation.ts"

/**
 * Fast levels: a log is compressed once and sent often, but it is also sent while somebody waits. The window is small,
 * because each body that is being compressed has one.
 */
const BROTLI = {
  params: {
    [zlib.constants.BROTLI_PARAM_QUALITY]: 4,
    [zlib.constants.BROTLI_PARAM_LGWIN]: 18,
    [zlib.constants.BROTLI_PARAM_MODE]: zlib.constants.BROTLI_MODE_TEXT
  }
}
const GZIP = { level: 4 }

const transformOf = (encoding: Encoding): Transform => {
  if (encoding === "br") return zlib.createBrotliCompress(BROTLI)
  if (encoding === "gzip") return zlib.createGzip(GZIP)
  // The types that we build with are of a Node without it.
  const create: unknown = Reflect.get(zlib, "createZstdCompress")
  const made: unknown = typeof create === "function" ? Reflect.apply(create, zlib, []) : undefined
  if (made instanceof Transform) return made
  throw new Error("this Node has no zstd")
}

export interface Compressor {
  readonly pull: LogFrame.Pull
  /** Frees what it holds; it is not pulled from any more. */
  readonly close: () => void
}

export const make = (encoding: Encoding, source: LogFrame.Pull): Compressor => {
  const transform = transformOf(encoding)
  const ready: Array<Uint8Array> = []
  let isOver = false
  transform.on("data", (piece: Uint8Array) => ready.push(piece))
  // What can go wrong is told to whom it concerns; after `close` it concerns nobody.
  transform.on("error", () => undefined)

  const write = (piece: Uint8Array) =>
    Effect.async<void>((resume) => {
      transform.write(piece, (error) => resume(error ? Effect.die(error) : Effect.void))
    })

  const finish = Effect.async<void>((resume) => {
    transform.once("end", () => resume(Effect.void))
    transform.once("error", (error) => resume(Effect.die(error)))
    transform.end()
  })

  const pull: LogFrame.Pull = Effect.suspend(() => {
    const piece = ready.shift()
    if (piece !== undefined) return Effect.succeedSome(piece)
    if (isOver) return Effect.succeedNone
    return Effect.flatMap(source, (next) => {
      if (Option.isSome(next)) return Effect.zipRight(write(next.value), pull)
      isOver = true
      return Effect.zipRight(finish, pull)
    })
  })

  return { pull, close: () => void transform.destroy() }
}
