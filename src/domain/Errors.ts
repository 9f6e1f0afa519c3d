/**
 * Errors that more than one room raises or handles. Each says what a client or operator does next.
 */
import { Schema } from "effect"

/**
 * The request is wrong: nothing was changed. The client must not retry it unchanged. Field name → messages, as the
 * protocol prints them.
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>("shapelog/InvalidRequest")("InvalidRequest", {
  errors: Schema.Record({ key: Schema.String, value: Schema.Array(Schema.String) })
}) {
  override get message() {
    return Object.entries(this.errors).map(([field, texts]) => `${field}: ${texts.join(", ")}`).join("; ")
  }
  static of(field: string, message: string) {
    return new InvalidRequest({ errors: { [field]: [message] } })
  }
}

/**
 * The subset of a request is wrong: nothing was changed. The client must not retry it unchanged. Field of the subset →
 * messages, as the protocol prints them.
 */
export class InvalidSubset extends Schema.TaggedError<InvalidSubset>("shapelog/InvalidSubset")("InvalidSubset", {
  errors: Schema.Record({ key: Schema.String, value: Schema.Array(Schema.String) })
}) {
  override get message() {
    return Object.entries(this.errors).map(([field, texts]) => `${field}: ${texts.join(", ")}`).join("; ")
  }
  static of(field: string, message: string) {
    return new InvalidSubset({ errors: { [field]: [message] } })
  }
}

/**
 * No shape of this handle is kept (never was, was removed, or has been rotated). The client starts over with a new
 * handle.
 */
export class ShapeGone extends Schema.TaggedError<ShapeGone>("shapelog/ShapeGone")("ShapeGone", {
  handle: Schema.String
}) {
  override get message() {
    return `there is no shape ${this.handle}`
  }
}

/** The database can't be reached, or not now. The client retries after `retryAfterSeconds`. */
export class DatabaseUnavailable
  extends Schema.TaggedError<DatabaseUnavailable>("shapelog/DatabaseUnavailable")("DatabaseUnavailable", {
    operation: Schema.String,
    cause: Schema.Defect
  })
{
  override get message() {
    return `the database is not available for ${this.operation}: ${String(this.cause)}`
  }
}

/** The initial snapshot of a shape could not be taken; the shape is gone and the next request starts a new one. */
export class SnapshotFailed extends Schema.TaggedError<SnapshotFailed>("shapelog/SnapshotFailed")("SnapshotFailed", {
  reason: Schema.Literal(
    "schema_changed",
    "lock_timeout",
    "query_timeout",
    "connection",
    "pool_timeout",
    "refused",
    "publication",
    "unknown"
  ),
  /** What may be told to the client: says nothing of our internals. */
  detail: Schema.String,
  /** What Postgres has said, if it was it that refused: its SQLSTATE and message. */
  refusal: Schema.optional(Schema.Struct({ code: Schema.String, message: Schema.String }))
}) {
  override get message() {
    return this.detail
  }
}

/** The store refused a read or a write. Nothing of a refused commit is kept; the engine retries it. */
export class StorageError extends Schema.TaggedError<StorageError>("shapelog/StorageError")("StorageError", {
  operation: Schema.String,
  cause: Schema.Defect
}) {
  override get message() {
    return `storage failed to ${this.operation}: ${String(this.cause)}`
  }
}
