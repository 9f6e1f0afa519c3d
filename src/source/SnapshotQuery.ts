/**
 * The rows of a shape as they are now, as COPY text, with the snapshot they were read in.
 */
import { Context, type Effect, type Option, type Scope } from "effect"
import type { SnapshotFailed } from "../domain/Errors.ts"
import type { SnapshotMarks } from "../domain/PgSnapshot.ts"

/** Rows of COPY text: row `i` is `bytes[rows[2i] .. rows[2i + 1])`, its final newline included. */
export interface CopyRows {
  readonly bytes: Buffer
  readonly rows: Int32Array
  readonly count: number
}

export interface SnapshotRows {
  readonly marks: SnapshotMarks
  /** The next rows, `None` after the last. The query runs only as fast as this is called. Calls must not overlap. */
  readonly pull: Effect.Effect<Option.Option<CopyRows>, SnapshotFailed>
}

/** `SELECT columns FROM schema.table WHERE where`. */
export interface SnapshotSelect {
  readonly schema: string
  readonly table: string
  readonly columns: ReadonlyArray<string>
  /** SQL that was printed from a parsed clause, never the user's text; `undefined` selects all rows. */
  readonly where: string | undefined
  /** With false nothing is queried: only the marks are taken. */
  readonly rows: boolean
}

export class SnapshotQuery extends Context.Tag("shapelog/source/SnapshotQuery")<SnapshotQuery, {
  /** Opens a REPEATABLE READ READ ONLY transaction, reads its marks, and is ready to copy. The scope ends the transaction. */
  readonly open: (select: SnapshotSelect) => Effect.Effect<SnapshotRows, SnapshotFailed, Scope.Scope>
}>() {}
