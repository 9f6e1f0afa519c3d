/**
 * Compressed bodies that many ask for: each is compressed once, and everybody reads from what there is of it already.
 * Finished ones are kept as long as they were asked for lately, up to a number of bytes.
 */
import { Cause, Effect, Exit, FiberId, Option, Runtime, type Scope } from "effect"
import * as Compressor from "./Compressor.ts"
import type * as LogFrame from "./LogFrame.ts"
import type { Encoding } from "./Negotiation.ts"

/** What keeping a body takes besides its bytes, roughly. */
const OVERHEAD = 500

class CompressedBody {
  readonly pieces: Array<Uint8Array> = []
  bytes = 0
  outcome: Exit.Exit<void, LogFrame.BodyError> | undefined
  /** Set by whoever makes it: ends that. */
  stop: () => void = () => undefined
  private readers = 0
  private readonly waiting = new Set<() => void>()

  /** Tells those who wait that there is more, or that there won't be. */
  changed() {
    const waiting = [...this.waiting]
    this.waiting.clear()
    for (const resume of waiting) resume()
  }

  private readonly change = Effect.async<void>((resume) => {
    const done = () => resume(Effect.void)
    this.waiting.add(done)
    return Effect.sync(() => this.waiting.delete(done))
  })

  /**
   * The pieces from the first one on, for one reader, those that are there in this turn; `onEnd` gets what must be
   * called when it reads no more. What nobody reads any more is not made any further.
   */
  read(onEnd: (release: () => void) => void): () => Uint8Array | undefined | LogFrame.Pull {
    this.readers++
    onEnd(() => {
      if (--this.readers === 0 && this.outcome === undefined) this.stop()
    })
    let next = 0
    const unsafeNext = (): Uint8Array | undefined | LogFrame.Pull => {
      const piece = this.pieces[next]
      if (piece !== undefined) {
        next++
        return piece
      }
      if (this.outcome === undefined) return Effect.zipRight(this.change, pull)
      return Exit.isSuccess(this.outcome) ? undefined : Effect.as(this.outcome, Option.none())
    }
    const pull: LogFrame.Pull = Effect.suspend(() => {
      const piece = unsafeNext()
      return Effect.isEffect(piece) ? piece : Effect.succeed(Option.fromNullable(piece))
    })
    return unsafeNext
  }
}

export interface CompressedBodies {
  /**
   * The body that is known under `key`, which stands for its bytes; when there is none, `source` is compressed, as long
   * as somebody reads it.
   */
  readonly get: (encoding: Encoding, key: string, source: () => LogFrame.Pull) => CompressedBody
  /** The same if it is there. */
  readonly find: (encoding: Encoding, key: string) => CompressedBody | undefined
  /** Bodies that are being compressed, and bytes of those that are kept. */
  readonly running: () => number
  readonly keptBytes: () => number
}

export const make = (maxBytes: number): Effect.Effect<CompressedBodies, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const runFork = Runtime.runFork(yield* Effect.runtime<never>())
    const bodies = new Map<string, CompressedBody>()
    let running = 0
    let keptBytes = 0

    const sizeOf = (key: string, { bytes }: CompressedBody) => bytes + 2 * key.length + OVERHEAD

    const keep = (key: string, body: CompressedBody) => {
      keptBytes += sizeOf(key, body)
      for (const [oldest, each] of bodies) {
        if (keptBytes <= maxBytes) break
        if (each.outcome === undefined) continue
        bodies.delete(oldest)
        keptBytes -= sizeOf(oldest, each)
      }
    }

    const compress = (body: CompressedBody, { pull }: Compressor.Compressor) => {
      const step: Effect.Effect<void, LogFrame.BodyError> = Effect.flatMap(pull, (piece) => {
        if (Option.isNone(piece)) return Effect.void
        body.pieces.push(piece.value)
        body.bytes += piece.value.length
        body.changed()
        return step
      })
      return step
    }

    const start = (key: string, encoding: Encoding, source: LogFrame.Pull): CompressedBody => {
      const body = new CompressedBody()
      bodies.set(key, body)
      running++
      const compressor = Compressor.make(encoding, source)
      const work = Effect.onExit(compress(body, compressor), (exit) =>
        Effect.sync(() => {
          compressor.close()
          running--
          body.outcome = exit
          if (Exit.isSuccess(exit)) keep(key, body)
          else if (bodies.get(key) === body) bodies.delete(key)
          body.changed()
        })).pipe(
          Effect.catchAllCause((cause) =>
            Cause.isFailure(cause) || Cause.isInterrupted(cause)
              ? Effect.void
              : Effect.logError("a body could not be compressed", cause)
          )
        )
      // Whoever asks for it first may go away before the others.
      const fiber = runFork(work, { scope })
      body.stop = () => {
        if (bodies.get(key) === body) bodies.delete(key)
        fiber.unsafeInterruptAsFork(FiberId.none)
      }
      return body
    }

    return {
      get: (encoding, key, source) => {
        const name = `${encoding} ${key}`
        const known = bodies.get(name)
        if (known === undefined) return start(name, encoding, source())
        // Asked for lately.
        bodies.delete(name)
        bodies.set(name, known)
        return known
      },
      find: (encoding, key) => bodies.get(`${encoding} ${key}`),
      running: () => running,
      keptBytes: () => keptBytes
    }
  })
