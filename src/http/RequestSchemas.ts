/**
 * What a request may say, as Schemas: the parameters of its query and the body of a POST (Electric HTTP protocol §4,
 * §12.3). The parser decodes with them, and the OpenAPI document is made of them.
 *
 * A parameter's Schema reads the text that is left once the query's own encoding is undone; its message is the
 * protocol's. The pattern of a text is what a client should send; the parser takes somewhat more, such as leading zeros.
 * Parameters that come with every request are read by functions, and their Schemas are made of those.
 */
import { Arbitrary, Either, ParseResult, Schema } from "effect"
import { parseColumns, parseTable, quote } from "../domain/Identifier.ts"
import * as LogOffset from "../domain/LogOffset.ts"

/** Left is the message for whoever sent it. */
export type Parsed<A> = Either.Either<A, string>

export const IS_INVALID = "is invalid"

/** What the text of a parameter means, or the message for it. */
export const reader = <A, I>(schema: Schema.Schema<A, I>): (text: unknown) => Parsed<A> => {
  const decode = Schema.decodeUnknownEither(schema)
  return (text) =>
    Either.mapLeft(decode(text), ({ issue }) => ParseResult.ArrayFormatter.formatIssueSync(issue)[0]?.message ?? "")
}

interface Documentation {
  readonly description: string
  readonly examples?: readonly [string, ...ReadonlyArray<string>]
  /** Pattern of the texts that are right, for a JSON Schema. */
  readonly pattern?: string
  /** Pattern of some of them, for tests, where a generator can't do the other one. */
  readonly like?: string
}

/** Without NUL, which no SQL text can carry. */
const NO_NUL = "^[^\\0]*$"

/** A text as the document describes it. */
const text = ({ description, examples, like, pattern = NO_NUL }: Documentation): Schema.Schema<string> =>
  Schema.String.annotations({
    description,
    ...(examples && { examples }),
    jsonSchema: { pattern },
    arbitrary: () => (fc) => fc.stringMatching(new RegExp(like ?? pattern))
  })

/** A text that means something: `read` says what, or why it doesn't; `print` is a text that means it. */
const meaning = <A>(
  to: Schema.Schema<A>,
  { print, read, ...documentation }: Documentation & {
    readonly read: (text: string) => Parsed<A>
    readonly print: (value: A) => string
  }
): Schema.Schema<A, string> =>
  Schema.transformOrFail(text(documentation), to, {
    strict: true,
    decode: (given, _, ast) => Either.mapLeft(read(given), (message) => new ParseResult.Type(ast, given, message)),
    encode: (value) => Either.right(print(value))
  })

const literal = <const L extends readonly [string, ...ReadonlyArray<string>]>(
  values: L,
  annotations: { readonly description: string; readonly default: L[number] }
) => Schema.Literal(...values).annotations({ ...annotations, message: () => ({ message: IS_INVALID, override: true }) })

// --- Where in the log, and how to be answered ---

export type Offset = LogOffset.LogOffset | "now"

/** `undefined` for what is no offset. */
export const parseOffset = (text: string): Offset | undefined => text === "now" ? text : LogOffset.parse(text)

/** Flags are set by whatever they are but `false`. */
export const parseFlag = (text: string): boolean => text !== "false"

/** Only a whole number means something. */
export const parseCursor = (text: string): number => /^-?\d{1,15}$/.test(text) ? Number(text) : 0

const flag = (description: string) =>
  meaning(Schema.Boolean, {
    description: `${description} Set by any value but \`false\`, and by its bare name.`,
    examples: ["true", "false"],
    read: (text) => Either.right(parseFlag(text)),
    print: String
  })

/** Parameters of every request for a shape's log, read without a Schema's cost. */
export const Position = {
  offset: meaning(
    Schema.declare((value): value is Offset =>
      value === "now" || typeof value === "object" && value !== null && "tx" in value && "op" in value
    ),
    {
      description:
        "What the client has: `-1` nothing, `now` what there is so far and does not want, otherwise the `electric-offset` " +
        "of the response before. The response holds what comes after it. An unsigned 64-bit number, and one below 2^53 " +
        "or `inf`.",
      examples: ["-1", "now", "0_inf", "26800600_0"],
      pattern: "^(?:now|-1(?:_0)?|\\d{1,19}_(?:\\d{1,15}|inf))$",
      read: (text) => Either.fromNullable(parseOffset(text), () => "has invalid format"),
      print: (offset) => offset === "now" ? offset : LogOffset.format(offset)
    }
  ),
  handle: text({
    description:
      "The `electric-handle` of the response before. Needed unless `offset` is `-1` or `now`, where it means " +
      "nothing.",
    examples: ["38083685-1729874417404123"],
    pattern: "^[^\\0]+$"
  }),
  live: flag("Wait for news if there are none. Not with an offset of `-1` or `now`."),
  live_sse: flag("Answer a live request with a stream of events (`text/event-stream`)."),
  experimental_live_sse: flag("Former name of `live_sse`, without which it counts."),
  cursor: meaning(Schema.Number, {
    description:
      "The `electric-cursor` of the response before: it tells one round of live requests from the next, for " +
      "caches. Anything but a whole number counts as 0.",
    examples: ["1020"],
    read: (text) => Either.right(parseCursor(text)),
    print: String
  })
}

export const Credentials = {
  secret: text({ description: "The server's API secret, where it has one." }),
  api_secret: text({ description: "Former name of `secret`, without which it counts." })
}

// --- What the shape is ---

const NAME = "(?:[\\p{L}_][\\p{L}\\p{M}\\p{Nd}_$]{0,62}|\"(?:[^\"\\0]|\"\"){1,63}\")"
const LIKE_NAME = "(?:[A-Za-z_][A-Za-z0-9_$]{0,20}|\"(?:[a-z,. \u00e9]|\"\"){1,9}\")"

const columns = (description: string) =>
  meaning(Schema.Array(Schema.String), {
    description: `${description} Names that SQL would quote are quoted.`,
    examples: ["id,title", "id,\"Created At\""],
    pattern: `^${NAME}(?:,${NAME})*$`,
    like: `^${LIKE_NAME}(?:,${LIKE_NAME}){0,3}$`,
    read: parseColumns,
    print: (names) => names.map(quote).join(",")
  })

/** Most parameters of a clause: Postgres has no more either. */
export const MAX_PARAMS = 65_535

/** Values of `$1…$n`, from what is keyed by their numbers. */
const positional = <A>(values: Iterable<readonly [string, A]>): Parsed<ReadonlyArray<A>> => {
  const entries: Array<readonly [number, A]> = []
  for (const [key, value] of values) {
    if (!/^\d{1,9}$/.test(key)) return Either.left("Parameters can only use numbers as keys")
    entries.push([Number(key), value])
    if (entries.length > MAX_PARAMS) return Either.left(`must not be more than ${MAX_PARAMS}`)
  }
  entries.sort((a, b) => a[0] - b[0])
  return entries.every(([position], i) => position === i + 1)
    ? Either.right(entries.map(([, value]) => value))
    : Either.left("Parameters must be numbered sequentially, starting from 1")
}

const byPosition = <A>(values: ReadonlyArray<A>): Readonly<Record<string, A>> =>
  Object.fromEntries(values.map((value, i) => [i + 1, value]))

/** An object with the values of `$1…$n` under their numbers. */
const numbered = <A, I>(value: Schema.Schema<A, I>, description: string) =>
  Schema.Record({ key: Schema.String, value }).annotations({
    description,
    jsonSchema: { propertyNames: { pattern: "^[1-9]\\d{0,4}$" } },
    arbitrary: () => (fc) =>
      fc.array(Arbitrary.makeLazy(Schema.typeSchema(value))(fc), { maxLength: 4 }).map(byPosition)
  })

export const Definition = {
  table: meaning(Schema.String, {
    description: "The table: `name` or `schema.name`, the schema being `public` where it is left out. Names that SQL " +
      "would quote are quoted. The only part of a definition that is needed.",
    examples: ["items", "public.items", "\"My Schema\".\"Items\""],
    pattern: `^${NAME}(?:\\.${NAME})?$`,
    like: `^${LIKE_NAME}(?:\\.${LIKE_NAME})?$`,
    read: (text) => Either.map(parseTable(text), () => text),
    print: (table) => table
  }),
  where: text({
    description:
      "Which rows: a boolean SQL expression over the table's columns, at most 65,536 bytes of UTF-8. `$1`, " +
      "`$2`, … stand for `params`.",
    examples: ["list = $1 AND NOT done"]
  }),
  params: Schema.transformOrFail(
    numbered(
      text({ description: "A value in Postgres's input syntax.", examples: ["home"] }),
      "Values of `$1`, `$2`, … in `where`: `params[1]=…&params[2]=…`, numbered without gaps from 1 on."
    ),
    Schema.Array(Schema.String),
    {
      strict: true,
      decode: (values, _, ast) =>
        Either.mapLeft(positional(Object.entries(values)), (message) => new ParseResult.Type(ast, values, message)),
      encode: (values) => Either.right(byPosition(values))
    }
  ),
  columns: columns("Which columns, comma-separated: all where it is left out. The primary key's must be among them."),
  queryable_columns: columns(
    "Columns that `columns` and a subset's condition and order may name, comma-separated. Without `columns` it selects " +
      "them, too."
  ),
  replica: literal(["default", "full"], {
    description: "What updates carry: the key and what has changed, or the whole row and the old values.",
    default: "default"
  }),
  log: literal(["full", "changes_only"], {
    description: "Whether the log begins with the rows that are there.",
    default: "full"
  }),
  experimental_compaction: literal(["true", "false", "1", "0"], {
    description: "Accepted and of no effect.",
    default: "false"
  })
}

// --- Subsets ---

/**
 * The text of a JSON value as a parameter. A number that JSON can't carry exactly is refused rather than changed.
 */
export const parameterText = (value: unknown): Parsed<string | null> => {
  switch (typeof value) {
    case "string":
      return value.includes("\0") ? Either.left("has invalid encoding") : Either.right(value)
    case "boolean":
      return Either.right(String(value))
    case "number":
      return Number.isInteger(value) && !Number.isSafeInteger(value)
        ? Either.left("numbers that are this large must be given as text")
        : Either.right(String(value))
    default:
      return value === null ? Either.right(null) : Either.left(IS_INVALID)
  }
}

export type JsonObject = Readonly<Record<string, unknown>>

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const parseJson = (text: string): Parsed<unknown> =>
  Either.try({ try: (): unknown => JSON.parse(text), catch: () => "params must be valid JSON" })

const parseSubsetParams = (text: string): Parsed<ReadonlyArray<string | null>> =>
  Either.gen(function*() {
    const json = yield* parseJson(text)
    if (!isObject(json)) return yield* Either.left("params must be a JSON object")
    const texts: Array<readonly [string, string | null]> = []
    for (const [key, value] of Object.entries(json)) texts.push([key, yield* parameterText(value)])
    return yield* positional(texts)
  })

const parseInteger = (text: string): Parsed<number> => {
  const value = Number(text)
  return /^[+-]?\d+$/.test(text) && Number.isSafeInteger(value) ? Either.right(value) : Either.left(IS_INVALID)
}

const wholeFrom = (least: number) =>
  Schema.Int.pipe(
    Schema.between(least, Number.MAX_SAFE_INTEGER, { description: `A whole number from ${least} on.` })
  )

/** Parameters of a subset: `subset__where` and so on, or `subset[where]`. */
export const Subset = {
  where: text({
    description: "A condition on top of the shape's, at most 65,536 bytes of UTF-8. `$1`, `$2`, … stand for the " +
      "subset's `params`.",
    examples: ["priority = $1"]
  }),
  params: meaning(Schema.Array(Schema.NullOr(Schema.String)), {
    description: "Values of the condition's `$1`, `$2`, …: a JSON object with the keys `1`, `2`, … without gaps.",
    examples: ["{\"1\":\"high\",\"2\":7}"],
    like: "^\\{\"1\":(?:\"[a-z ]{0,9}\"|-?[1-9]\\d{0,9}|true|null)(?:,\"2\":(?:1\\.5|\"x\"))?\\}$",
    read: parseSubsetParams,
    print: (values) => JSON.stringify(byPosition(values))
  }),
  order_by: text({
    description: "`column [ASC | DESC] [NULLS FIRST | LAST], …`. Needed with `limit` or `offset`.",
    examples: ["created_at DESC, id"]
  }),
  limit: meaning(wholeFrom(1), {
    description: "Most rows, at most 2^53 - 1.",
    examples: ["10"],
    pattern: "^\\+?0*[1-9]\\d{0,14}$",
    read: (text) => Either.filterOrLeft(parseInteger(text), (value) => value > 0, () => "must be greater than 0"),
    print: String
  }),
  offset: meaning(wholeFrom(0), {
    description: "Rows of the order that are passed over, at most 2^53 - 1.",
    examples: ["0"],
    pattern: "^(?:\\+?\\d{1,15}|-0+)$",
    read: (text) =>
      Either.filterOrLeft(parseInteger(text), (value) => value >= 0, () => "must be greater than or equal to 0"),
    print: String
  }),
  where_expr: text({ description: "For proxies: the condition as JSON. Its content means nothing here." }),
  order_by_expr: text({ description: "For proxies: the order as JSON. Its content means nothing here." })
}

// --- The body of a POST ---

/** What JSON carries exactly. */
const ExactNumber = Schema.Number.pipe(Schema.between(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)).annotations({
  identifier: "ExactNumber",
  title: "Number",
  description: "A number. Those beyond 2^53 - 1 are given as text.",
  arbitrary: () => (fc) => fc.oneof(fc.maxSafeInteger(), fc.double({ min: -1e6, max: 1e6, noNaN: true }))
})

const ColumnNames = Schema.Array(
  Schema.String.pipe(
    Schema.pattern(/^[^\0]{1,63}$/u, {
      description: "A name as it is.",
      arbitrary: () => (fc) => fc.string({ minLength: 1, maxLength: 63 })
    })
  )
).pipe(Schema.minItems(1, { title: "Names", description: "At least one." }))

/** Of a body's parameter: its text as in the query, or JSON that is more natural. */
const inJson = <A, B, I>(json: Schema.Schema<A>, parameter: Schema.Schema<B, I>, description: string) =>
  Schema.Union(json, Schema.encodedSchema(parameter)).annotations({
    description: `As in the query, or ${description}.`
  })

const flagInJson = <B, I>(parameter: Schema.Schema<B, I>) => inJson(Schema.Boolean, parameter, "a boolean")
const columnsInJson = <B, I>(parameter: Schema.Schema<B, I>) =>
  inJson(ColumnNames, parameter, "an array of names, which are not quoted")

const NUMBERED = "Values of `$1`, `$2`, … under their numbers, without gaps from 1 on."

/** Parameters that a body may bring, where they count for more than the query's. The secret is none of them. */
export const ShapeBody = {
  offset: Schema.encodedSchema(Position.offset),
  handle: Position.handle,
  live: flagInJson(Position.live),
  live_sse: flagInJson(Position.live_sse),
  experimental_live_sse: flagInJson(Position.experimental_live_sse),
  cursor: inJson(ExactNumber, Position.cursor, "a number"),
  table: Schema.encodedSchema(Definition.table),
  where: Definition.where,
  params: numbered(Schema.Union(Definition.where, ExactNumber, Schema.Boolean), NUMBERED),
  columns: columnsInJson(Definition.columns),
  queryable_columns: columnsInJson(Definition.queryable_columns),
  replica: Definition.replica,
  log: Definition.log,
  experimental_compaction: flagInJson(Definition.experimental_compaction)
} satisfies Record<keyof typeof Position | keyof typeof Definition, Schema.Schema.All>

const AnyJson = Schema.Unknown.annotations({
  description: "Its content means nothing here.",
  jsonSchema: { type: ["object", "array", "string", "number", "boolean", "null"] }
})

/** Parameters of a subset in a body. */
export const SubsetBody = {
  where: Subset.where,
  params: inJson(
    numbered(Schema.Union(Subset.where, ExactNumber, Schema.Boolean, Schema.Null), NUMBERED),
    Subset.params,
    "an object"
  ),
  order_by: Subset.order_by,
  limit: inJson(Schema.typeSchema(Subset.limit), Subset.limit, "a number"),
  offset: inJson(Schema.typeSchema(Subset.offset), Subset.offset, "a number"),
  where_expr: AnyJson,
  order_by_expr: AnyJson
} satisfies Record<keyof typeof Subset, Schema.Schema.All>

const partial = <F extends Schema.Struct.Fields>(fields: F) => Schema.partial(Schema.Struct(fields))

const NEEDS_ORDER = { dependentRequired: { limit: ["order_by"], offset: ["order_by"] } }

/** Without an order, `limit` and `offset` would mean nothing. */
const isOrdered = (of: { readonly limit?: unknown; readonly offset?: unknown; readonly order_by?: unknown }): boolean =>
  of.limit === undefined && of.offset === undefined || of.order_by !== undefined && of.order_by !== ""

const ordered = (jsonSchema: object) => Schema.filter(isOrdered, { jsonSchema: { ...NEEDS_ORDER, ...jsonSchema } })

/** The body of a POST. */
export const PostBody = Schema.Union(
  Schema.extend(
    partial(ShapeBody),
    Schema.Struct({
      subset: partial(SubsetBody).pipe(ordered({})).annotations({
        identifier: "Subset",
        description: "A subset of the rows."
      })
    })
  ).annotations({ description: "A subset, and further parameters beside it." }),
  partial({ ...ShapeBody, ...SubsetBody }).pipe(ordered({ not: { required: ["subset"] } })).annotations({
    description: "`where`, `params`, `order_by`, `limit` and `offset` are those of a subset, others further parameters."
  })
).annotations({ identifier: "PostBody" })
