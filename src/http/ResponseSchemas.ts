/**
 * What responses say, as Schemas: their bodies and their headers (Electric HTTP protocol §4.5, §5, §10, §12.4). Errors
 * are made with these types, and the OpenAPI document is made of the Schemas.
 */
import { Schema } from "effect"

const description = (text: string) => ({ description: text })

// --- Bodies: the log ---

const Decimal = Schema.String.pipe(Schema.pattern(/^\d+$/)).annotations(description("A decimal number as text."))

const Values = Schema.Record({ key: Schema.String, value: Schema.NullOr(Schema.String) }).annotations(
  description("Column → value as Postgres prints it.")
)

const Relation = Schema.Tuple(Schema.String, Schema.String).annotations(description("Schema and table."))
const TransactionIds = Schema.Array(Schema.NonNegativeInt).annotations(description("32-bit transaction ids."))

const Tags = Schema.Array(Schema.String)

const changeHeaders = {
  operation: Schema.Literal("insert", "update", "delete"),
  relation: Relation,
  lsn: Schema.optional(Decimal.annotations(description("Of the transaction's commit. Not of rows of a snapshot."))),
  op_position: Schema.optional(
    Schema.NonNegativeInt.annotations(description("Position of the operation in its transaction."))
  ),
  txids: Schema.optional(TransactionIds),
  last: Schema.optional(
    Schema.Literal(true).annotations(description("The transaction's last operation on the shape."))
  ),
  key_change_to: Schema.optional(
    Schema.String.annotations(description("Of a deletion: the row goes on under this key."))
  ),
  key_change_from: Schema.optional(
    Schema.String.annotations(description("Of an insertion: the row had this key before."))
  ),
  is_move_in: Schema.optional(
    Schema.Literal(true).annotations(description("Came into the shape by a change of another table."))
  ),
  tags: Schema.optional(Tags.annotations(description("Why the row is in a shape with subqueries."))),
  removed_tags: Schema.optional(Tags.annotations(description("Why it is no more."))),
  active_conditions: Schema.optional(
    Schema.Array(Schema.Boolean).annotations(description("Which conditions of such a shape's clause hold for the row."))
  )
}

const Key = Schema.String.annotations(description("Names the row: table and primary key."))

export const Change = Schema.Struct({
  key: Key,
  value: Values,
  old_value: Schema.optional(Values.annotations(description("With `replica=full`: what changed columns held before."))),
  headers: Schema.Struct(changeHeaders)
}).annotations({ identifier: "Change", description: "A row of the shape, or a change of one." })

export const UpToDate = Schema.Struct({
  headers: Schema.Struct({ control: Schema.Literal("up-to-date"), global_last_seen_lsn: Decimal })
}).annotations({
  identifier: "UpToDate",
  description: "The log ends here, as far as it is known. Nothing is missing of a transaction up to that LSN."
})

export const SnapshotEnd = Schema.Struct({
  headers: Schema.Struct({
    control: Schema.Literal("snapshot-end"),
    xmin: Decimal,
    xmax: Decimal,
    xip_list: Schema.Array(Decimal)
  })
}).annotations({
  identifier: "SnapshotEnd",
  description: "The rows before were read in one snapshot of the database, which these 64-bit transaction ids describe."
})

export const Move = Schema.Struct({
  headers: Schema.Struct({
    event: Schema.Literal("move-in", "move-out"),
    patterns: Schema.Array(Schema.Struct({ pos: Schema.NonNegativeInt, value: Schema.String })),
    txids: TransactionIds
  })
}).annotations({
  identifier: "Move",
  description: "Rows of a shape with subqueries come or go by a change of another table: those with a tag like these."
})

export const LogMessage = Schema.Union(Change, UpToDate, SnapshotEnd, Move).annotations({ identifier: "LogMessage" })

export const ShapeLog = Schema.Array(LogMessage).annotations({
  identifier: "ShapeLog",
  description: "A piece of a shape's log, in order."
})

export const MustRefetch = Schema.Tuple(
  Schema.Struct({ headers: Schema.Struct({ control: Schema.Literal("must-refetch") }) })
).annotations({
  identifier: "MustRefetch",
  description: "The log can't be continued: forget it and start over at `offset=-1`."
})

const SnapshotMark = Schema.Int.pipe(
  Schema.between(0, 2 ** 31 - 1, { description: "Tells the rows of one subset from those of another." })
)

export const SubsetRows = Schema.Struct({
  metadata: Schema.Struct({
    xmin: Decimal,
    xmax: Decimal,
    xip_list: Schema.Array(Decimal),
    database_lsn: Decimal,
    snapshot_mark: SnapshotMark
  }).annotations(description("The snapshot of the database that the rows were read in.")),
  data: Schema.Array(
    Schema.Struct({
      key: Key,
      value: Values,
      headers: Schema.Struct({
        operation: Schema.Literal("insert"),
        relation: Relation,
        snapshot_mark: SnapshotMark,
        tags: Schema.optional(Tags),
        active_conditions: Schema.optional(Schema.Array(Schema.Boolean))
      })
    })
  )
}).annotations({ identifier: "SubsetRows", description: "Some of a shape's rows, to be merged into its log." })

// --- Bodies: health and errors ---

export const Active = Schema.Struct({ status: Schema.Literal("active") }).annotations({ identifier: "Active" })

export const NotActive = Schema.Struct({ status: Schema.Literal("starting", "waiting") }).annotations({
  identifier: "NotActive",
  description: "`waiting`: another instance follows the database."
})

const Messages = Schema.Array(Schema.String)

/** 400: what is wrong with which parameter. */
export const InvalidParameters = Schema.Struct({
  message: Schema.Literal("Invalid request"),
  errors: Schema.Record({
    key: Schema.String,
    value: Schema.Union(Messages, Schema.Record({ key: Schema.String, value: Messages }))
  }).annotations(description("Parameter → messages; those of a subset's parameters are below `subset`."))
}).annotations({ identifier: "InvalidParameters" })

/** 400 and 413: there is something wrong with the body as a whole. */
export const BodyProblem = Schema.Struct({
  error: Schema.Literal(
    "Invalid JSON in request body",
    "Request body must be a JSON object",
    "Failed to read request body",
    "Request body too large"
  ),
  details: Schema.optional(Schema.String)
}).annotations({ identifier: "BodyProblem" })

/** What else there is to say, in words. */
export const Message = Schema.Struct({ message: Schema.String }).annotations({ identifier: "Message" })

/** 503: too many requests at a time. */
export const Overloaded = Schema.Struct({
  code: Schema.Literal("concurrent_request_limit_exceeded"),
  message: Schema.String
}).annotations({ identifier: "Overloaded" })

/** 500: says nothing of what happened. */
export const InternalError = Schema.Struct({ error: Schema.Literal("Internal server error") }).annotations({
  identifier: "InternalError"
})

export const Unauthorized = Schema.Struct({ message: Schema.Literal("Unauthorized - Invalid API secret") }).annotations(
  {
    identifier: "Unauthorized"
  }
)

/** The document that describes all of this. */
export const OpenApiDocument = Schema.Struct(
  { openapi: Schema.Literal("3.1.0") },
  { key: Schema.String, value: Schema.Unknown.annotations({ jsonSchema: { type: ["object", "array", "string"] } }) }
).annotations({ identifier: "OpenApiDocument" })

export const UriTooLong = Schema.Literal("URI too long")

export type InvalidParameters = typeof InvalidParameters.Type
export type BodyProblem = typeof BodyProblem.Type

/** Bodies of errors of `/v1/shape`, by status. */
export interface Problems {
  readonly 400: InvalidParameters | BodyProblem | typeof Message.Type
  readonly 404: typeof Message.Type
  readonly 405: typeof Message.Type
  readonly 413: BodyProblem
  readonly 500: typeof InternalError.Type | typeof Message.Type
  readonly 503: typeof Overloaded.Type | typeof Message.Type
}

// --- Headers ---

const pattern = (regex: RegExp, text: string, example?: string) =>
  Schema.String.pipe(Schema.pattern(regex)).annotations({
    description: text,
    ...(example !== undefined && { examples: [example] as const })
  })

const TRUE = Schema.Literal("true")

/** Headers that say something of their own; of others the document is silent. */
export const headers = {
  "electric-handle": pattern(/^[\x21-\x7e]+$/, "Names this log of the shape.", "38083685-1729874417404123"),
  "electric-offset": pattern(/^(?:0_inf|\d+_\d+)$/, "How far the response goes: the offset to ask for next.", "0_0"),
  "electric-schema": pattern(/^\{.*\}$/, "Column → its type, as JSON.", "{\"id\":{\"type\":\"int4\",\"pk_index\":0}}"),
  "electric-up-to-date": Schema.Literal("").annotations(
    description("Is there when the response reaches the end of the log as it is known now.")
  ),
  "electric-has-data": Schema.Literal("true", "false").annotations(description("`false`: nothing but up-to-date.")),
  "electric-cursor": pattern(/^\d+$/, "The `cursor` of the next live request.", "1020"),
  "electric-snapshot": TRUE.annotations(description("The body holds rows of a subset.")),
  "electric-internal-known-error": TRUE.annotations(description("What went wrong is known to go wrong at times.")),
  "cache-control": pattern(
    /^[\x20-\x7e]+$/,
    "How long the response is good for, to clients and to caches.",
    "no-store"
  ),
  "surrogate-control": Schema.Literal("no-store"),
  etag: pattern(/^"[\x21-\x7e]*"$/, "Names the response, for `If-None-Match`.", "\"38083685-1729874417404123:-1:0_0\""),
  "retry-after": pattern(/^\d+$/, "Seconds after which to ask again.", "5"),
  "access-control-allow-methods": pattern(/^[A-Z, ]+$/, "Methods that scripts of other origins may use."),
  "access-control-max-age": pattern(/^\d+$/, "Seconds for which that holds."),
  "access-control-allow-headers": pattern(/^[\x20-\x7e]+$/, "Headers that scripts of other origins may send.")
}

export type HeaderName = keyof typeof headers
