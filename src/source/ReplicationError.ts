/**
 * Why replication failed, and whether trying again can help: what Postgres, the driver and the socket report is judged
 * here, once.
 */
import { Schema } from "effect"

/**
 * The stream ended or could not be started. Retryable ones are tried again with backoff; the others need the operator.
 */
export class ReplicationError
  extends Schema.TaggedError<ReplicationError>("shapelog/source/ReplicationError")("ReplicationError", {
    operation: Schema.String,
    retryable: Schema.Boolean,
    cause: Schema.Defect
  })
{
  override get message() {
    return `replication failed to ${this.operation}: ${
      this.cause instanceof Error ? this.cause.message : String(this.cause)
    }`
  }
}

/** What the driver and `CopyWire` report: a SQLSTATE or a socket error's code where there is one. */
interface PgFailure {
  readonly message: string
  readonly code?: string | undefined
}

/** SQLSTATEs that need the operator, and what the operator is told besides the server's own words. */
const needsOperator: Readonly<Record<string, string>> = {
  "28P01": "the password is wrong",
  "28000": "the database does not let this role connect",
  "3D000": "there is no such database",
  "42501": "the role lacks a privilege (it needs REPLICATION, and CREATE on the database to create the publication)",
  "08P01":
    "the server does not speak the replication protocol (a connection pooler such as PgBouncer can't be used for replication)"
}

/** Whether the failure says that the slot is of no use any more, or not there. */
export const isSlotLost = (error: ReplicationError): boolean => {
  const { code, message } = error.cause as PgFailure
  return /can no longer (get changes|access)|exceeded (the maximum reserved size|max_slot_wal_keep_size)/i.test(message)
    || (code === "42704" && /replication slot/i.test(message))
}

export const hasCode = (error: ReplicationError, code: string): boolean => (error.cause as PgFailure).code === code

/** The failure with its verdict: retryable unless it is known that only the operator can help. */
export const classify = (operation: string, failure: unknown): ReplicationError => {
  const cause: Error & PgFailure = failure instanceof Error ? failure : new Error(String(failure))
  const hint = cause.code === "55000" && cause.message.includes("wal_level")
    ? "wal_level must be logical"
    : needsOperator[cause.code ?? ""]
  return hint === undefined
    ? new ReplicationError({ operation, retryable: true, cause })
    : new ReplicationError({
      operation,
      retryable: false,
      cause: Object.assign(new Error(`${hint}: ${cause.message}`), { code: cause.code })
    })
}
