/**
 * Reads a shape's log: the snapshot's chunks from the store, the live log from the buffer's tail and the store behind
 * it.
 *
 * A read is a cursor. It fixes where it will end, and then takes piece after piece, each from where it is at that
 * moment: from the buffer if the buffer has it, from the store if the buffer says so or is gone (`BufferGone`).
 * Flushes, and the end of the consumer, may fall between any two pieces. So nothing of the log is held for a slow
 * reader, and what it gets is gap-free and in order.
 *
 * A piece that is in memory, or that the store can read at once, is had in the turn in which it is asked for
 * (`unsafeNext`); there is an Effect for every other. What was read of the live log for one reader is kept for the next
 * ones, and those who read the same share its bytes.
 */
import { Effect, HashMap, Option, Ref } from "effect"
import { ShapeGone, type SnapshotFailed, type StorageError } from "../domain/Errors.ts"
import * as LogBlock from "../domain/LogBlock.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import * as Lsn from "../domain/Lsn.ts"
import type { ShapeStorage } from "../storage/ShapeStorage.ts"
import * as BlockCache from "./BlockCache.ts"
import type { Consumer, Registry } from "./Consumer.ts"
import { KeptBytes } from "./KeptBytes.ts"
import { readTail, type Tail, type TailPiece } from "./ShapeBuffer.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"
import type { LogBody, LogSlice } from "./ShapeEngine.ts"

/** Most bytes of one piece of a body. */
export const PIECE_BYTES = 64 * 1024

/** Longest body of the live log that is given whole when it is in memory: what a slow reader of it can hold on to. */
const READY_BYTES = 4 * PIECE_BYTES

/** Bytes of log blocks that are kept for the next readers; as many of small chunks. */
const CACHE_BYTES = 16 * 1024 * 1024
/** Bytes of pieces of the tail that are kept for those who read the same just now. */
const TAIL_BYTES = 4 * 1024 * 1024

export interface ReaderContext {
  readonly registry: Registry
  /**
   * What the registry has of a shape, without an Effect: `undefined` for nothing, `ending` when that is about to
   * change. Only for `unsafeRead`.
   */
  readonly unsafeConsumer?: (entry: ShapeEntry) => Consumer | undefined | "ending"
  readonly storage: ShapeStorage["Type"]
  /** LSN up to which the shape's log misses nothing. */
  readonly lastSeen: (entry: ShapeEntry) => Lsn.Lsn
}

export interface ShapeReader {
  /** What comes after `after`: see `ShapeEngine.read`. */
  readonly read: (entry: ShapeEntry, after: LogOffset.LogOffset) => Effect.Effect<LogSlice, ReadError>
  /** What `read` would answer, if it can in this turn; `undefined` when it may have to wait, or the shape is gone. */
  readonly unsafeRead: (entry: ShapeEntry, after: LogOffset.LogOffset) => LogSlice | undefined
  /** The live log in (`after`, `upTo`], where `upTo` is no greater than an end that was seen before. */
  readonly body: (entry: ShapeEntry, after: LogOffset.LogOffset, upTo: LogOffset.LogOffset) => Effect.Effect<LogBody>
  /** Offset of the last entry that readers may see. */
  readonly end: (entry: ShapeEntry) => Effect.Effect<LogOffset.LogOffset>
}

export type ReadError = ShapeGone | SnapshotFailed | StorageError

/** The next bytes of a body, and the offset that they bring it to. */
interface Piece {
  readonly bytes: ReadonlyArray<Uint8Array>
  readonly last: LogOffset.LogOffset
}

const nothing: LogBody = { pull: Effect.succeedNone, unsafeNext: () => undefined, length: 0, ready: [] }

/** Parts of a piece from which on they are put together: each costs the sender a few µs. */
const MANY_PARTS = 4

const pieceOf = (block: Buffer, after: LogOffset.LogOffset, upTo: LogOffset.LogOffset): Piece => {
  const bytes = LogBlock.slice(block, after, upTo)
  return {
    bytes: bytes.length === 0 ? [] : split(bytes),
    last: LogOffset.min(LogBlock.lastOf(block), upTo)
  }
}

type Parts = ReadonlyArray<Uint8Array>

const split = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
  if (bytes.length <= PIECE_BYTES) return [bytes]
  const parts: Array<Uint8Array> = []
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) parts.push(bytes.subarray(at, at + PIECE_BYTES))
  return parts
}

const noParts: Parts = []

/**
 * A body that asks `more` for pieces until it says that there are no more, and hands their parts out one by one. `more`
 * gives what can be had in this turn, and else an Effect that makes it.
 */
const bodyOf = (
  more: () => Parts | undefined | Effect.Effect<Parts | undefined, ReadError>
): Pick<LogBody, "pull" | "unsafeNext"> => {
  let parts = noParts
  let at = 0
  const unsafeNext = (): Uint8Array | undefined | LogBody["pull"] => {
    while (true) {
      if (at < parts.length) {
        const part = parts[at++]!
        // What has been handed out is held by nobody but who has it.
        if (at === parts.length) parts = noParts
        return part
      }
      const found = more()
      if (Effect.isEffect(found)) {
        return Effect.flatMap(found, (found) => {
          if (found === undefined) return Effect.succeedNone
          parts = found
          at = 0
          return pull
        })
      }
      if (found === undefined) return undefined
      parts = found
      at = 0
    }
  }
  const pull: LogBody["pull"] = Effect.suspend(() => {
    const next = unsafeNext()
    return Effect.isEffect(next) ? next : Effect.succeed(Option.fromNullable(next))
  })
  return { pull, unsafeNext }
}

/** The parts once, and then the end. */
const once = <A>(parts: A): () => A | undefined => {
  let isDone = false
  return () => {
    if (isDone) return undefined
    isDone = true
    return parts
  }
}

export const make = ({ lastSeen, registry, storage, unsafeConsumer = () => "ending" }: ReaderContext): ShapeReader => {
  const cache = BlockCache.make(CACHE_BYTES)
  const tailPieces = new KeptBytes(TAIL_BYTES)
  const gone = (entry: ShapeEntry) => new ShapeGone({ handle: entry.handle })

  const bufferOf = (entry: ShapeEntry) => Effect.map(Ref.get(registry), HashMap.get(entry.handle))

  /**
   * The tail as the registry's buffer has it; `None` when there is no buffer, or none any more: then everything is in
   * the store (D2).
   */
  const tailOf = (entry: ShapeEntry): Effect.Effect<Option.Option<Tail>> =>
    Effect.flatMap(bufferOf(entry), (consumer) =>
      Option.isNone(consumer)
        ? Effect.succeedNone
        : consumer.value.buffer.tail.pipe(Effect.asSome, Effect.catchTag("BufferGone", () => Effect.succeedNone)))

  const end: ShapeReader["end"] = (entry) =>
    Effect.map(tailOf(entry), (tail) => (Option.isSome(tail) ? tail.value.end : entry.head.end))

  // --- Live log ---
  const cachedPiece = (entry: ShapeEntry, after: LogOffset.LogOffset, upTo: LogOffset.LogOffset): Piece | undefined => {
    const block = cache.get(entry.id, after)
    return block && pieceOf(block, after, upTo)
  }

  /** What was read of a tail; many small blocks are put together, once for all who read the same. */
  const tailPiece = (entry: ShapeEntry, after: LogOffset.LogOffset, { bytes, last }: TailPiece): Piece => {
    if (bytes.length === 1) return { bytes: split(bytes[0]!), last }
    if (bytes.length < MANY_PARTS) return { bytes, last }
    const key = `${entry.id}>${LogOffset.format(after)}>${LogOffset.format(last)}`
    let whole = tailPieces.get(key)
    if (!whole) {
      const length = bytes.reduce((sum, part) => sum + part.length, 0)
      // Of its own: a small result of `concat` would keep a shared piece of memory alive.
      whole = Buffer.allocUnsafeSlow(length)
      let at = 0
      for (const part of bytes) {
        whole.set(part, at)
        at += part.length
      }
      tailPieces.set(key, whole)
    }
    return { bytes: [whole], last }
  }

  /** The next piece from the store, or from what was read of it lately. */
  const stored = (
    entry: ShapeEntry,
    after: LogOffset.LogOffset,
    upTo: LogOffset.LogOffset
  ): Effect.Effect<Piece, ReadError> =>
    Effect.suspend(() => {
      const cached = cache.get(entry.id, after)
      if (cached) return Effect.succeed(pieceOf(cached, after, upTo))
      return Effect.flatMap(storage.logBlock(entry.id, after), (block) => {
        if (Option.isNone(block)) return Effect.fail(gone(entry))
        cache.set(entry.id, after, block.value)
        const piece = pieceOf(block.value, after, upTo)
        // Nothing up to the end that was announced: the log is not what it was when the read began.
        return piece.bytes.length === 0 ? Effect.fail(gone(entry)) : Effect.succeed(piece)
      })
    })

  /** The next piece: from the buffer, and from the store when the buffer does not have it or is gone. */
  const live = (
    entry: ShapeEntry,
    after: LogOffset.LogOffset,
    upTo: LogOffset.LogOffset
  ): Effect.Effect<Piece, ReadError> =>
    Effect.flatMap(bufferOf(entry), (consumer) => {
      if (entry.removed) return Effect.fail(gone(entry))
      const fromStore = stored(entry, after, upTo)
      if (Option.isNone(consumer)) return fromStore
      return consumer.value.buffer.read(after, upTo, PIECE_BYTES).pipe(
        Effect.flatMap((piece): Effect.Effect<Piece, ReadError> =>
          Option.isSome(piece) && piece.value.bytes.length > 0
            ? Effect.succeed(tailPiece(entry, after, piece.value))
            : fromStore
        ),
        Effect.catchTag("BufferGone", () => fromStore)
      )
    })

  /** The next piece if it is in the tail, or was read from the store lately. */
  const inMemory = (
    entry: ShapeEntry,
    after: LogOffset.LogOffset,
    upTo: LogOffset.LogOffset,
    tail: Tail | undefined
  ): Piece | undefined => {
    const held = tail && Option.getOrUndefined(readTail(tail, after, upTo, PIECE_BYTES))
    if (held && held.bytes.length > 0) return tailPiece(entry, after, held)
    const cached = cachedPiece(entry, after, upTo)
    return cached && cached.bytes.length > 0 ? cached : undefined
  }

  /** What `live` would give, if it can in this turn. */
  const unsafeLive = (
    entry: ShapeEntry,
    after: LogOffset.LogOffset,
    upTo: LogOffset.LogOffset
  ): Piece | undefined => {
    const consumer = unsafeConsumer(entry)
    if (entry.removed || consumer === "ending") return undefined
    const tail = consumer?.buffer.unsafeTail()
    if (consumer && !tail) return undefined
    const found = inMemory(entry, after, upTo, tail)
    if (found) return found
    const block = storage.unsafe?.logBlock(entry.id, after)
    if (!block) return undefined
    cache.set(entry.id, after, block)
    const piece = pieceOf(block, after, upTo)
    return piece.bytes.length > 0 ? piece : undefined
  }

  /** All of a body that is in memory and not too long. */
  const readyParts = (
    entry: ShapeEntry,
    after: LogOffset.LogOffset,
    upTo: LogOffset.LogOffset,
    tail: Tail | undefined
  ): { readonly parts: Parts; readonly length: number } | undefined => {
    let parts = noParts
    let length = 0
    for (let position = after; LogOffset.lessThan(position, upTo);) {
      const piece = inMemory(entry, position, upTo, tail)
      if (!piece) return undefined
      for (let i = 0; i < piece.bytes.length; i++) length += piece.bytes[i]!.length
      if (length > READY_BYTES) return undefined
      parts = parts.length === 0 ? piece.bytes : [...parts, ...piece.bytes]
      position = piece.last
    }
    return { parts, length }
  }

  /** The live log in (`after`, `upTo`]; `tail` is what the buffer held a moment ago. */
  const bodyWith = (
    entry: ShapeEntry,
    after: LogOffset.LogOffset,
    upTo: LogOffset.LogOffset,
    tail: Tail | undefined
  ): LogBody => {
    if (LogOffset.lessOrEqual(upTo, after)) return nothing
    // What is in memory and not long needs no cursor.
    const ready = readyParts(entry, after, upTo, tail)
    let position = after
    const given = (piece: Piece): Parts => {
      position = piece.last
      return piece.bytes
    }
    const more = () => {
      if (LogOffset.lessOrEqual(upTo, position)) return undefined
      const piece = unsafeLive(entry, position, upTo)
      return piece ? given(piece) : Effect.map(live(entry, position, upTo), given)
    }
    return { ...bodyOf(more), length: ready?.length, ready: ready?.parts }
  }

  const body: ShapeReader["body"] = (entry, after, upTo) =>
    Effect.map(tailOf(entry), (tail) => bodyWith(entry, after, upTo, Option.getOrUndefined(tail)))

  /**
   * The slice of the live log from `after` to `to`. Its body is made when it is asked for: a response that has not
   * changed has none.
   */
  const liveSlice = (
    entry: ShapeEntry,
    after: LogOffset.LogOffset,
    to: LogOffset.LogOffset,
    logEnd: LogOffset.LogOffset,
    seen: Lsn.Lsn,
    tail: Tail | undefined
  ): LogSlice => {
    let made: LogBody | undefined
    return {
      end: to,
      upToDate: LogOffset.lessOrEqual(after, logEnd) && LogOffset.equals(to, logEnd),
      lastSeenLsn: Lsn.max(seen, to.tx),
      get body() {
        return made ??= bodyWith(entry, after, to, tail)
      }
    }
  }

  /**
   * Where the chunk that `after` lies in ends, if that can be told without the store: the log's end for the open chunk.
   */
  const openChunkEnd = (entry: ShapeEntry, after: LogOffset.LogOffset, logEnd: LogOffset.LogOffset) =>
    LogOffset.lessOrEqual(logEnd, after) || (entry.openChunkStart && LogOffset.lessOrEqual(entry.openChunkStart, after))
      ? logEnd
      : undefined

  const chunkEnd = (entry: ShapeEntry, after: LogOffset.LogOffset, logEnd: LogOffset.LogOffset) =>
    Effect.suspend(() => {
      const open = openChunkEnd(entry, after, logEnd)
      if (open) return Effect.succeed(open)
      const { openChunkStart, pendingChunkEnds } = entry
      return Effect.map(storage.chunkEnd(entry.id, after), (found) => {
        const closed = Option.getOrElse(found, () => pendingChunkEnds.find((end) => LogOffset.lessThan(after, end)))
        if (closed) return LogOffset.min(closed, logEnd)
        // Only if no chunk was closed while the store was asked.
        if (entry.openChunkStart === openChunkStart) entry.openChunkStart = after
        return logEnd
      })
    })

  const readLive = (entry: ShapeEntry, after: LogOffset.LogOffset): Effect.Effect<LogSlice, ReadError> =>
    Effect.gen(function*() {
      // Sampled first: what every shape has seen by now is in the log's end (H79).
      const seen = lastSeen(entry)
      const tail = Option.getOrUndefined(yield* tailOf(entry))
      const logEnd = tail ? tail.end : entry.head.end
      const to = yield* chunkEnd(entry, after, logEnd)
      if (entry.removed) return yield* gone(entry)
      return liveSlice(entry, after, to, logEnd, seen, tail)
    })

  /**
   * `readLive` in one turn, for the most common case: the buffer is alive, or there is none, and the store need not be
   * asked.
   */
  const unsafeReadLive = (
    entry: ShapeEntry,
    after: LogOffset.LogOffset,
    consumer: Consumer | undefined
  ): LogSlice | undefined => {
    if (entry.removed) return undefined
    const tail = consumer?.buffer.unsafeTail()
    if (consumer && !tail) return undefined
    const logEnd = tail ? tail.end : entry.head.end
    const to = openChunkEnd(entry, after, logEnd)
    return to && liveSlice(entry, after, to, logEnd, lastSeen(entry), tail)
  }

  // --- Snapshot ---
  /** Whole chunks that are small: of small shapes, which many ask for. */
  const smallChunks = new KeptBytes(CACHE_BYTES)

  /** All of a small chunk in one piece. */
  const smallBody = (entry: ShapeEntry, chunk: number, length: number): LogBody => {
    const key = `${entry.id}/${chunk}`
    const kept = smallChunks.get(key)
    if (kept) return { ...bodyOf(once([kept])), length, ready: [kept] }
    const read = Effect.gen(function*() {
      const blocks: Array<Buffer> = []
      for (let size = 0; size < length;) {
        const block = yield* storage.snapshotBlock(entry.id, chunk, blocks.length)
        if (Option.isNone(block)) return yield* gone(entry)
        blocks.push(block.value)
        size += block.value.length
      }
      // A block that the store has read is memory of its own; a small result of `concat` would keep a shared piece alive.
      const bytes = blocks.length === 1 ? blocks[0]! : Buffer.concat(blocks)
      smallChunks.set(key, bytes)
      return [bytes]
    })
    return { ...bodyOf(once(read)), length, ready: undefined }
  }

  const snapshotBody = (entry: ShapeEntry, chunk: number): LogBody => {
    const length = entry.snapshot._tag === "Complete" ? entry.snapshot.chunks[chunk] : undefined
    if (length !== undefined && length <= PIECE_BYTES) return smallBody(entry, chunk, length)
    let block = 0
    let size = 0
    const given = (bytes: Buffer) => {
      block += 1
      size += bytes.length
      return split(bytes)
    }
    /**
     * The block in this turn. It is read for each reader anew: kept for those who come after, it would grow old, and take
     * full garbage collections that cost more than reading it again.
     */
    const found = (): Buffer | undefined => {
      const state = entry.snapshot
      const recent = state._tag === "Running" ? state.recent.get(chunk, block) : undefined
      return recent ?? storage.unsafe?.snapshotBlock(entry.id, chunk, block)
    }
    const more = (): Parts | undefined | Effect.Effect<Parts | undefined, ReadError> => {
      if (length !== undefined && size === length) return undefined
      const state = entry.snapshot
      if (entry.removed) return Effect.fail(state._tag === "Failed" ? state.error : gone(entry))
      if (state._tag === "Running" && block >= (state.blocks[chunk] ?? 0)) {
        if (chunk < state.blocks.length - 1) return undefined
        return Effect.zipRight(entry.awaitSnapshotProgress(), Effect.suspend(later))
      }
      const bytes = found()
      if (bytes) return given(bytes)
      return Effect.flatMap(storage.snapshotBlock(entry.id, chunk, block), (bytes) => {
        if (Option.isSome(bytes)) return Effect.succeed(given(bytes.value))
        // A chunk that has lost blocks must not be taken for whole.
        return entry.removed || (length !== undefined && size !== length)
          ? Effect.fail(gone(entry))
          : Effect.succeed(undefined)
      })
    }
    const later = (): Effect.Effect<Parts | undefined, ReadError> => {
      const found = more()
      return Effect.isEffect(found) ? found : Effect.succeed(found)
    }
    return { ...bodyOf(more), length, ready: undefined }
  }

  const chunkSlice = (entry: ShapeEntry, chunk: number): LogSlice => ({
    end: LogOffset.snapshotChunk(chunk),
    upToDate: false,
    lastSeenLsn: lastSeen(entry),
    body: snapshotBody(entry, chunk)
  })

  /** Chunk `chunk` of the snapshot, once it has begun; `None` if the snapshot ends before it. */
  const readChunk = (entry: ShapeEntry, chunk: number): Effect.Effect<Option.Option<LogSlice>, ReadError> =>
    Effect.suspend(() => {
      const state = entry.snapshot
      if (entry.removed) return Effect.fail(state._tag === "Failed" ? state.error : gone(entry))
      if (state._tag === "Complete" && chunk >= state.chunks.length) return Effect.succeedNone
      if (state._tag === "Complete" || (state._tag === "Running" && chunk < state.blocks.length)) {
        return Effect.succeedSome(chunkSlice(entry, chunk))
      }
      return Effect.zipRight(entry.awaitSnapshotProgress(), readChunk(entry, chunk))
    })

  /** The chunk of the snapshot that comes after `after`. */
  const chunkAfter = (after: LogOffset.LogOffset): number => (after.tx < 0n ? 0 : after.op + 1)

  return {
    end,
    unsafeRead: (entry, after) => {
      const consumer = unsafeConsumer(entry)
      if (consumer === "ending") return undefined
      if (!LogOffset.lessThan(after, LogOffset.snapshotEnd)) return unsafeReadLive(entry, after, consumer)
      const { removed, snapshot } = entry
      if (removed || snapshot._tag !== "Complete") return undefined
      const chunk = chunkAfter(after)
      return chunk < snapshot.chunks.length
        ? chunkSlice(entry, chunk)
        : unsafeReadLive(entry, LogOffset.snapshotEnd, consumer)
    },
    body,
    read: (entry, after) => {
      if (!LogOffset.lessThan(after, LogOffset.snapshotEnd)) {
        return Effect.flatMap(bufferOf(entry), (consumer) => {
          const slice = unsafeReadLive(entry, after, Option.getOrUndefined(consumer))
          return slice ? Effect.succeed(slice) : readLive(entry, after)
        })
      }
      return Effect.flatMap(
        readChunk(entry, chunkAfter(after)),
        (slice) => Option.isSome(slice) ? Effect.succeed(slice.value) : readLive(entry, LogOffset.snapshotEnd)
      )
    }
  }
}
