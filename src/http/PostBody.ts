/**
 * The JSON body of a POST (Electric HTTP protocol §4.3), as further parameters of the query: from there on a POST is
 * read as a GET with a longer query would be.
 */
import { Either } from "effect"
import { quote } from "../domain/Identifier.ts"
import {
  IS_INVALID,
  isObject,
  type JsonObject,
  MAX_PARAMS,
  parameterText,
  ShapeBody,
  SubsetBody
} from "./RequestSchemas.ts"
import type { BodyProblem, InvalidParameters } from "./ResponseSchemas.ts"
import type { FieldErrors } from "./ShapeParams.ts"

const subsetKeys: ReadonlySet<string> = new Set(Object.keys(SubsetBody))

/**
 * Parameters that a body may bring beside a subset's; others mean nothing. Not the secret: whoever logs or guards
 * requests looks for it in the query.
 */
const topLevelKeys: ReadonlySet<string> = new Set(Object.keys(ShapeBody))

/** Lone surrogates have no encoding: they become replacement characters. */
const encode = (text: string): string => encodeURIComponent(Buffer.from(text).toString())

/** Writes the parameters of a body as pairs, and notes those that have no text. */
class Writer {
  query = ""
  private top: Record<string, ReadonlyArray<string>> = {}
  private subset: Record<string, ReadonlyArray<string>> = {}

  /** What is wrong, as the protocol prints it. */
  get errors(): FieldErrors | undefined {
    const isSubset = Object.keys(this.subset).length > 0
    return isSubset || Object.keys(this.top).length > 0
      ? { ...this.top, ...(isSubset && { subset: this.subset }) }
      : undefined
  }

  topLevel(key: string, value: unknown): void {
    if (!topLevelKeys.has(key)) return
    if (key === "params" && isObject(value) && Object.keys(value).length <= MAX_PARAMS) {
      for (const [position, each] of Object.entries(value)) this.text(this.top, key, `params[${position}]`, each)
    } else if ((key === "columns" || key === "queryable_columns") && Array.isArray(value)) {
      if (value.every((name) => typeof name === "string")) this.pair(key, value.map(quote).join(","))
      else this.top[key] = [IS_INVALID]
    } else {
      this.text(this.top, key, key, value)
    }
  }

  inSubset(key: string, value: unknown): void {
    // Their presence asks for a subset, whatever is in them.
    if (key === "where_expr" || key === "order_by_expr") this.pair(`subset__${key}`, "")
    else if (!subsetKeys.has(key)) return
    else if (key !== "params" || typeof value !== "object" || value === null) {
      this.text(this.subset, key, `subset__${key}`, value)
    } else if (Object.values(value).some((each) => typeof each === "object" && each !== null)) {
      this.subset[key] = [IS_INVALID]
    } else {
      this.pair(`subset__${key}`, JSON.stringify(value))
    }
  }

  private text(errors: Record<string, ReadonlyArray<string>>, field: string, key: string, value: unknown): void {
    if (typeof value === "string") return this.pair(key, value)
    const text = parameterText(value)
    if (Either.isRight(text)) this.pair(key, text.right ?? "")
    else errors[field] = [text.left]
  }

  private pair(key: string, value: string): void {
    this.query += `&${encode(key)}=${encode(value)}`
  }
}

const parse = (text: string): Either.Either<JsonObject, BodyProblem> =>
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
export const merge = (
  query: string,
  body: Uint8Array
): Either.Either<string, BodyProblem | InvalidParameters> => {
  if (body.length === 0) return Either.right(query)
  return Either.flatMap(parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString()), (json) => {
    const { subset } = json
    const isNested = isObject(subset)
    const writer = new Writer()
    for (const [key, value] of Object.entries(json)) {
      if (!isNested && subsetKeys.has(key)) writer.inSubset(key, value)
      else writer.topLevel(key, value)
    }
    if (isNested) { for (const [key, value] of Object.entries(subset)) writer.inSubset(key, value) }
    const { errors } = writer
    return errors === undefined
      ? Either.right(query + writer.query)
      : Either.left({ message: "Invalid request", errors })
  })
}
