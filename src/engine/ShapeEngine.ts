/**
 * The narrow waist: everything that serves shapes (HTTP, an Effect application in the same process) stands on this
 * service alone.
 */
import { Context, type Effect, type Option, type Scope } from "effect"
import type {
  DatabaseUnavailable,
  InvalidRequest,
  InvalidSubset,
  ShapeGone,
  SnapshotFailed,
  StorageError
} from "../domain/Errors.ts"
import type { LogOffset } from "../domain/LogOffset.ts"
import type { Lsn } from "../domain/Lsn.ts"
import type { SnapshotMarks } from "../domain/PgSnapshot.ts"
import type { ShapeRequest, SubsetRequest } from "../domain/ShapeDefinition.ts"

/** The engine can't answer yet (or any more): the client retries. */
export type EngineStatus = "starting" | "waiting" | "active" | "stopping"

export interface ShapeInfo {
  readonly handle: string
  /** Value of the `electric-schema` header: JSON. */
  readonly schema: string
}

/** Bytes of log items, each preceded by a comma, in pieces of at most 64 KiB. */
export interface LogBody {
  /**
   * The next piece; `None` at the end. Only as many bytes as this was asked for are in memory. Fails with `ShapeGone`
   * when the shape vanished half way: what was sent then must not be taken for whole. May wait, for a snapshot that is
   * still being written.
   */
  readonly pull: Effect.Effect<Option.Option<Uint8Array>, ShapeGone | SnapshotFailed | StorageError>
  /**
   * What `pull` would give, in this turn: the next piece, or `undefined` at the end. When it can't be had in this turn,
   * an Effect that takes it, as `pull` does: one that is not run has taken nothing. For bodies that may be in memory.
   */
  readonly unsafeNext?: (() => Uint8Array | undefined | LogBody["pull"]) | undefined
  /** Bytes of all pieces together, when that is known beforehand. */
  readonly length?: number | undefined
  /** Set when all of it is in memory already: the pieces that `pull` would return. */
  readonly ready: ReadonlyArray<Uint8Array> | undefined
}

/** A piece of a shape's log: everything after one offset and up to another. */
export interface LogSlice {
  /** Where the slice ends: the offset to ask for next. */
  readonly end: LogOffset
  /** The slice reaches the end of the log as it is known now. Never for a slice from `-1`. */
  readonly upToDate: boolean
  /** LSN that an up-to-date message after this slice carries: the slice misses nothing of a transaction up to it. */
  readonly lastSeenLsn: Lsn
  readonly body: LogBody
}

/** Some of a shape's rows as they are now, and which transactions they show. */
export interface SubsetRows {
  readonly marks: SnapshotMarks
  /** A number that each of the rows carries as `snapshot_mark`. */
  readonly mark: number
  readonly body: LogBody
}

export interface ShapeDescription {
  readonly handle: string
  /** `schema.table`. */
  readonly table: string
  readonly columns: ReadonlyArray<string>
  readonly where:
    | {
      /** The clause as it was understood. */
      readonly sql: string
      /** The operands of its logic, each with what evaluates it on changed rows. */
      readonly parts: ReadonlyArray<{ readonly sql: string; readonly by: "closure" | "Postgres" | "subquery" }>
      /** What changed rows are found by, one of them; `undefined` when every change of the table is tested. */
      readonly index: ReadonlyArray<string> | undefined
      /** Being found is enough: nothing is evaluated. */
      readonly exact: boolean
    }
    | undefined
}

export class ShapeEngine extends Context.Tag("shapelog/engine/ShapeEngine")<ShapeEngine, {
  readonly status: Effect.Effect<EngineStatus>
  /** Completes when the engine is `active`. */
  readonly awaitActive: Effect.Effect<void>
  /**
   * The shape of a request: the one that is kept, or a new one. Concurrent requests for the same shape get the same.
   * Does not wait for the snapshot (`read` does), and fails with what it failed with if that was soon enough. The same
   * request object is answered without asking the catalog again.
   */
  readonly resolve: (
    request: ShapeRequest
  ) => Effect.Effect<ShapeInfo, InvalidRequest | DatabaseUnavailable | SnapshotFailed | StorageError>
  /** The kept shape of a request; `None` when there is none. Makes nothing. */
  readonly find: (
    request: ShapeRequest
  ) => Effect.Effect<Option.Option<ShapeInfo>, InvalidRequest | DatabaseUnavailable>
  /** Whether `handle` names a kept shape: cheap, asks nobody. */
  readonly exists: (handle: string) => boolean
  /**
   * What of the shape's log comes after `after`, up to the end of the chunk it lies in. At an offset past the end:
   * nothing, up to date = false, and `end` is the log's end, before `after`. Waits while the snapshot has not begun.
   */
  readonly read: (
    handle: string,
    after: LogOffset
  ) => Effect.Effect<LogSlice, ShapeGone | SnapshotFailed | StorageError>
  /**
   * What `resolve` and then `read` would answer, if they can in this turn and without asking anybody; `undefined`
   * otherwise, which says nothing. For servers of many small reads.
   */
  readonly unsafePeek: (
    request: ShapeRequest,
    after: LogOffset
  ) => { readonly shape: ShapeInfo; readonly slice: LogSlice } | undefined
  /** Offset of the log's end: `0_inf` until there is a live entry. */
  readonly end: (handle: string) => Effect.Effect<LogOffset, ShapeGone>
  /**
   * Completes when the log's end is past `after`: at once if it is already. Fails with `ShapeGone` when the shape is
   * removed meanwhile.
   */
  readonly awaitChange: (handle: string, after: LogOffset) => Effect.Effect<void, ShapeGone>
  /** LSN up to which the shape's log misses nothing: of the last transaction, whatever table it touched. */
  /**
   * Commit LSN of the last transaction that has been followed. A shape with subqueries may not have got there: then its
   * own `lastSeenLsn` is lower.
   */
  readonly followedLsn: Effect.Effect<Lsn>
  readonly lastSeenLsn: (handle: string) => Effect.Effect<Lsn, ShapeGone>
  /**
   * Rows of the shape's table that fulfil its clause and the subset's, read in one snapshot of the database. Begun when
   * whatever the shape's log holds so far is in that snapshot: a reader at any offset that has been served loses nothing
   * by going on from there. A connection may be held until the body is read or the scope ends, and for five minutes at
   * most: then the body fails.
   */
  readonly subset: (
    handle: string,
    subset: SubsetRequest
  ) => Effect.Effect<
    SubsetRows,
    InvalidRequest | InvalidSubset | DatabaseUnavailable | ShapeGone | SnapshotFailed,
    Scope.Scope
  >
  /** What the shape is, and how the changes that concern it are found. */
  readonly describe: (handle: string) => Effect.Effect<ShapeDescription, ShapeGone>
  /** Removes a shape: its readers get `ShapeGone`, the handle never comes back. */
  readonly remove: (handle: string) => Effect.Effect<void, ShapeGone>
}>() {}
