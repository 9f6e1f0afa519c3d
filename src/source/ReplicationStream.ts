/**
 * Postgres's logical replication stream: one connection that holds the advisory lock of its slot, decoded and pausable.
 *
 * `connect` is one life of the connection; whoever follows the stream connects again after a failure, from the position it
 * has made durable. The connection reads from its socket only as fast as `pull` is called (TCP backpressure reaches Postgres), while
 * standby status updates go out on a timer all the same.
 */
import { Context, type Effect, Schema, type Scope } from "effect"
import type { Lsn } from "../domain/Lsn.ts"
import type { WalMessage } from "../domain/WalMessage.ts"

/** The stream ended or could not be started. Retryable ones are tried again with backoff; the others need the operator. */
export class ReplicationError extends Schema.TaggedError<ReplicationError>("shapelog/source/ReplicationError")("ReplicationError", {
  operation: Schema.String,
  retryable: Schema.Boolean,
  cause: Schema.Defect
}) {
  override get message() {
    return `replication failed to ${this.operation}: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

export interface ReplicationConnection {
  readonly systemId: string
  readonly timeline: number
  readonly slot: string
  /** Whether the slot was created by this connection: then no change before `confirmedFlush` can be had from it. */
  readonly slotCreated: boolean
  /** The slot's confirmed flush position, or the consistent point of a new slot. */
  readonly confirmedFlush: Lsn
  /** Starts streaming: transactions that committed at or after `from` (or after the slot's own position, if that is later). */
  readonly start: (from: Lsn) => Effect.Effect<void, ReplicationError>
  /**
   * The next decoded messages, at least one, in WAL order: what one read of the socket completed. A transaction may be spread over many
   * calls. Calls must not overlap.
   */
  readonly pull: Effect.Effect<ReadonlyArray<WalMessage>, ReplicationError>
  /** Everything before `flushed` is durable here: told to Postgres with the next status update, which is sent soon. Never goes back. */
  readonly confirm: (flushed: Lsn) => Effect.Effect<void>
}

export class ReplicationStream extends Context.Tag("shapelog/source/ReplicationStream")<ReplicationStream, {
  /**
   * Takes the advisory lock (waiting for another engine to let go of it), makes sure that publication and slot exist, and is ready to start.
   * Closing the scope sends a last status update and closes the connection.
   */
  readonly connect: Effect.Effect<ReplicationConnection, ReplicationError, Scope.Scope>
}>() {}
