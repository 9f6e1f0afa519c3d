/**
 * Keeps the set of values that an inner shape's rows have in its target columns (see SUBQUERIES.md): subscribes to the
 * shape's consumer, reads what the log has up to there, and follows what is appended (DESIGN D3).
 *
 * Inner shapes are plain and have `replica=full`, so every item of their log says which value its row had before and has
 * now; counts of values are all that is kept.
 */
import type { Effect, Scope } from "effect"
import type { ShapeGone, SnapshotFailed, StorageError } from "../domain/Errors.ts"
import type { Lsn } from "../domain/Lsn.ts"
import type { ShapeStorage } from "../storage/ShapeStorage.ts"
import type { IndexColumn } from "../where/Access.ts"
import type { Committer } from "./Committer.ts"
import type { Consumers } from "./Consumers.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"
import type { ShapeReader } from "./ShapeReader.ts"
import type { ValueSet } from "./ValueSet.ts"

export interface Materializer {
  readonly entry: ShapeEntry
  readonly set: ValueSet
  /**
   * Completes when every transaction that has been appended so far is in the set: large ones are read from the log. Also
   * completes when the materializer has ended, or ends meanwhile.
   */
  readonly settled: Effect.Effect<void>
  /** Whether `settled` would complete at once. */
  readonly isSettled: () => boolean
  /** The stream is at `tx` again: puts what the log has of transactions up to it, and was ahead, into the set. */
  readonly unsafeAdvance: (tx: Lsn) => void
  /**
   * Calls the listener once when it has ended, at once if it has: its inner shape was removed or its consumer ended, or
   * the log could not be read. Never for the engine's own stop, nor when its scope is closed.
   */
  readonly onEnd: (listener: (reason: string) => void) => void
}

/** What a materializer needs of the engine. */
export interface MaterializerContext {
  readonly consumers: Consumers
  readonly reader: ShapeReader
  readonly storage: ShapeStorage["Type"]
  readonly committer: Committer
}

export interface MaterializerOptions {
  /** The columns whose values make the set, as the inner shape's clause knows them. */
  readonly targets: ReadonlyArray<IndexColumn>
  /**
   * Where the stream is. What the log has of later transactions comes into the set by `unsafeAdvance`, when the stream
   * sends them again.
   */
  readonly from: Lsn
}

export type MaterializerError = ShapeGone | SnapshotFailed | StorageError

/**
 * Follows an inner shape until the scope is closed. Waits for its snapshot to be complete. Not to be waited for in the
 * stream's turn: it asks for a commit.
 */
export type Make = (
  entry: ShapeEntry,
  options: MaterializerOptions,
  context: MaterializerContext
) => Effect.Effect<Materializer, MaterializerError, Scope.Scope>
