/**
 * Where shapes are kept: catalog, snapshot blocks, log blocks and the applied position, in one store that is written by
 * one atomic commit at a time (DESIGN D4).
 *
 * Guarantees: a commit is visible to readers as a whole or not at all, and in the order in which commits were asked
 * for; after a crash the store is exactly at one of its commits. A failed commit changes nothing. Reads see the newest
 * visible commit and never wait for a writer. The store does not know what is in a block's JSON, and decides nothing
 * about shapes.
 */
import { Context, type Effect, type Option } from "effect"
import type { StorageError } from "../domain/Errors.ts"
import type { LogOffset } from "../domain/LogOffset.ts"
import type { Lsn } from "../domain/Lsn.ts"
import type { SnapshotMarks } from "../domain/PgSnapshot.ts"
import type { ShapeDefinition } from "../domain/ShapeDefinition.ts"

/** A shape's number in this store: positive, below 2^32, never given twice, also not after a removal or a restart. */
export type ShapeId = number

/**
 * The store's largest block: with the header LMDB puts before a value it fills whole pages, so freed pages are reused
 * (D4). A larger one (a single item that exceeds this) is stored all the same.
 */
export const BLOCK_BYTES = 65536 - 24

/** A shape's entry in the catalog. Changes rarely: at creation and when its snapshot is complete. */
export interface ShapeRecord {
  readonly id: ShapeId
  readonly handle: string
  readonly definition: ShapeDefinition
  /** Set once the snapshot is complete; a record without it is a snapshot that a crash interrupted. */
  readonly snapshot: {
    readonly marks: SnapshotMarks
    /** Bytes of each chunk: of all its blocks together. */
    readonly chunks: ReadonlyArray<number>
  } | undefined
}

/** Where a shape's log has got to. Changes with every commit that appends to it. */
export interface ShapeHead {
  /**
   * Offset of the last committed entry; `0_inf` before the first. Entries stored past it belong to an unfinished
   * transaction.
   */
  readonly end: LogOffset
  /** Bytes in the log's open chunk. */
  readonly chunkBytes: number
}

/** The source that the store follows, and how far every shape has followed it. */
export interface AppliedPosition {
  /** Postgres's system identifier (`IDENTIFY_SYSTEM`), decimal. */
  readonly systemId: string
  readonly timeline: number
  readonly slot: string
  /** Commit LSN of the last applied transaction (or the position that followers started at). */
  readonly lsn: Lsn
  /** End of the WAL that is covered: may be confirmed to Postgres as flushed once durable. Never below `lsn`. */
  readonly endLsn: Lsn
  /**
   * 32-bit xids of the last transactions up to there, in no order: a snapshot that is taken after a restart may not see
   * them yet.
   */
  readonly recent: ReadonlyArray<number>
}

export type StoreOp =
  | { readonly _tag: "PutShape"; readonly record: ShapeRecord }
  /**
   * The record and head vanish with the commit; the shape's blocks are deleted afterwards, in slices, and may be read
   * until then. Any later op on the shape does nothing, so a writer that has not heard of the removal brings nothing
   * back.
   */
  | { readonly _tag: "RemoveShape"; readonly shape: ShapeId }
  | {
    readonly _tag: "PutSnapshotBlock"
    readonly shape: ShapeId
    readonly chunk: number
    readonly block: number
    readonly bytes: Uint8Array
  }
  /** An encoded `LogBlock`, keyed by its first offset: replaces a block stored under the same one. */
  | { readonly _tag: "PutLogBlock"; readonly shape: ShapeId; readonly first: LogOffset; readonly bytes: Uint8Array }
  /** A chunk of the log ends after the entry at `end`. */
  | { readonly _tag: "PutChunkEnd"; readonly shape: ShapeId; readonly end: LogOffset }
  | { readonly _tag: "PutHead"; readonly shape: ShapeId; readonly head: ShapeHead }
  /** Deletes the log blocks and chunk ends after `after`: an unfinished transaction that will be sent again. */
  | { readonly _tag: "TruncateLog"; readonly shape: ShapeId; readonly after: LogOffset }
  /** How often a shape's rows have a value, by the value's key; 0 deletes it. */
  | { readonly _tag: "PutCount"; readonly shape: ShapeId; readonly value: string; readonly count: number }
  /** What the shape's counts stand for; `undefined`: nothing, as they are being written. */
  | { readonly _tag: "PutCountsAt"; readonly shape: ShapeId; readonly at: CountsAt | undefined }
  /** A page of what has no room in memory. It is of no shape, and gone when the store is opened again. */
  | { readonly _tag: "PutScratch"; readonly page: ScratchPage; readonly bytes: Uint8Array }
  /** Deletes the pages from `from` up to and including `to`. */
  | { readonly _tag: "DropScratch"; readonly from: ScratchPage; readonly to: ScratchPage }

/** A page's number: whole, from 0 up to `MAX_SCRATCH`. */
export type ScratchPage = number
export const MAX_SCRATCH: ScratchPage = 2 ** 48 - 1

/** What a shape's counts stand for. */
export interface CountsAt {
  /** They are those of the rows that the shape has after this entry of its log. */
  readonly offset: LogOffset
  /** How many values have a count. */
  readonly values: number
}

/** How often a shape's rows have a value. */
export interface StoredCount {
  readonly value: string
  /** Above 0 and below 2^48. */
  readonly count: number
}

/** Most counts of one page, and the bytes of their values at which it ends. */
export const COUNTS_PAGE = 2048
export const COUNTS_PAGE_BYTES = 256 * 1024

export interface Commit {
  readonly ops: ReadonlyArray<StoreOp>
  /** Left as it is when absent. */
  readonly applied?: AppliedPosition
  /**
   * Whether the store now holds entries of an unfinished transaction (left as it is when absent): tells the next start
   * to look for them.
   */
  readonly unfinished?: boolean
}

export interface StoredState {
  readonly applied: AppliedPosition | undefined
  /** Every shape with its head; a shape whose snapshot is incomplete may have none. */
  readonly shapes: ReadonlyArray<{ readonly record: ShapeRecord; readonly head: ShapeHead | undefined }>
  readonly unfinished: boolean
  /** The lowest id never given to a shape. */
  readonly nextId: ShapeId
}

export class ShapeStorage extends Context.Tag("shapelog/storage/ShapeStorage")<ShapeStorage, {
  /** What the store holds: read once, at the start. */
  readonly load: Effect.Effect<StoredState, StorageError>
  /**
   * Applies the ops in order, as one. Completes when readers see them. Commits that are asked for at once are applied
   * one after another. Byte arrays in the ops belong to the store until then.
   */
  readonly commit: (commit: Commit) => Effect.Effect<void, StorageError>
  /** Completes when every commit that was visible at the call is durable: it survives a power cut. */
  readonly flushed: Effect.Effect<void, StorageError>
  /** Block `block` of chunk `chunk` of the snapshot. */
  readonly snapshotBlock: (
    shape: ShapeId,
    chunk: number,
    block: number
  ) => Effect.Effect<Option.Option<Buffer>, StorageError>
  /**
   * The encoded `LogBlock` that holds the first stored entry after `after`. `None` when there is no such entry. It may
   * begin before `after` and may hold entries of an unfinished transaction: the caller cuts it (`LogBlock.slice`).
   */
  readonly logBlock: (shape: ShapeId, after: LogOffset) => Effect.Effect<Option.Option<Buffer>, StorageError>
  /**
   * The same two reads in this turn, of a store that can. `undefined` says that there is no such block or that it could
   * not be read: the Effect tells which.
   */
  readonly unsafe?:
    | {
      readonly snapshotBlock: (shape: ShapeId, chunk: number, block: number) => Buffer | undefined
      readonly logBlock: (shape: ShapeId, after: LogOffset) => Buffer | undefined
    }
    | undefined
  /** The first chunk end that is greater than `after`. */
  readonly chunkEnd: (shape: ShapeId, after: LogOffset) => Effect.Effect<Option.Option<LogOffset>, StorageError>
  /** What the shape's counts stand for. */
  readonly countsAt: (shape: ShapeId) => Effect.Effect<Option.Option<CountsAt>, StorageError>
  /**
   * A page of the shape's counts: the next ones after the value that the page before ended with, from the beginning for
   * `undefined`; an empty page is the end. Their order is the store's own. Pages that are read while counts are written
   * belong to different commits.
   */
  readonly counts: (
    shape: ShapeId,
    after: string | undefined
  ) => Effect.Effect<ReadonlyArray<StoredCount>, StorageError>
  /** What was put as this page, if it was in this life of the store and was not dropped. */
  readonly scratch: (page: ScratchPage) => Effect.Effect<Option.Option<Buffer>, StorageError>
  /** Bytes the store takes on disk (0 in memory). */
  readonly diskBytes: Effect.Effect<number, StorageError>
}>() {}

/** What a layer of the store is built with. */
export interface ShapeStorageOptions {
  readonly directory: string
}
