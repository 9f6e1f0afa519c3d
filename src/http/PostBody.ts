/**
 * The JSON body of a POST (Electric HTTP protocol §4.3), as further parameters of the query: from there on a POST is
 * read as a GET with a longer query would be.
 */
import { Either } from "effect"
import { quote } from "../domain/Identifier.ts"
import { parameterText } from "./SubsetParams.ts"

/** What the protocol says of a body that is none. */
export type BodyProblem = { readonly error: string; readonly details?: string }

type Json = Readonly<Record<string, unknown>>

const subsetKeys: ReadonlySet<string> = new Set([
  "where",
  "order_by",
  "limit",
  "offset",
  "params",
  "where_expr",
  "order_by_expr"
])

/** Parameters that only the query may carry: whoever logs or guards requests looks there. */
const queryOnly: ReadonlySet<string> = new Set(["secret", "api_secret"])

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

/** Lone surrogates have no encoding: they become replacement characters. */
const encode = (text: string): string => encodeURIComponent(Buffer.from(text).toString())

const pair = (key: string, value: string): string => `&${encode(key)}=${encode(value)}`

/** A value of a parameter as text; what has none is left as JSON, which no parameter takes. */
const textOf = (value: unknown): string => {
  if (typeof value === "string") return value
  const text = parameterText(value)
  return Either.isRight(text) ? text.right ?? "" : JSON.stringify(value)
}

const topLevel = (key: string, value: unknown): string => {
  if (queryOnly.has(key)) return ""
  if (key === "params" && isObject(value)) {
    return Object.entries(value).map(([position, each]) => pair(`params[${position}]`, textOf(each))).join("")
  }
  if ((key === "columns" || key === "queryable_columns") && Array.isArray(value)) {
    return pair(key, value.map((name) => quote(String(name))).join(","))
  }
  return pair(key, textOf(value))
}

const inSubset = (key: string, value: unknown): string =>
  pair(
    `subset__${key}`,
    key === "params" && typeof value !== "string" && value !== null
      ? JSON.stringify(value)
      : textOf(value)
  )

const pairs = (object: Json, write: (key: string, value: unknown) => string): string =>
  Object.entries(object).map(([key, value]) => write(key, value)).join("")

const parse = (text: string): Either.Either<Json, BodyProblem> =>
  Either.flatMap(
    Either.try({
      try: (): unknown => JSON.parse(text),
      catch: (cause): BodyProblem => ({
        error: "Invalid JSON in request body",
        details: cause instanceof Error ? cause.message : String(cause)
      })
    }),
    (json) => isObject(json) ? Either.right(json) : Either.left({ error: "Request body must be a JSON object" })
  )

/**
 * The query with a body's parameters after its own, where they count for more. Below `subset`, or as flat keys such as
 * `where`, they are the subset's; the others define shape and position. An empty body adds nothing.
 */
export const merge = (query: string, body: Uint8Array): Either.Either<string, BodyProblem> => {
  if (body.length === 0) return Either.right(query)
  return Either.map(parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString()), (json) => {
    const { subset, ...others } = json
    if (isObject(subset)) return query + pairs(others, topLevel) + pairs(subset, inSubset)
    return query + pairs(json, (key, value) => subsetKeys.has(key) ? inSubset(key, value) : topLevel(key, value))
  })
}
