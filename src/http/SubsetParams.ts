/**
 * The parameters of a subset (Electric HTTP protocol §12.3), as the query carries them or as they are in a body's
 * JSON.
 */
import { Either } from "effect"
import type { SubsetRequest } from "../domain/ShapeDefinition.ts"
import { decode } from "./QueryString.ts"

/** Field of the subset → messages. */
export type SubsetErrors = { readonly [field: string]: ReadonlyArray<string> }

type Parsed<A> = Either.Either<A, string>

const IS_INVALID = "is invalid"

const integer = (text: string): Parsed<number> => {
  const value = Number(text)
  return /^[+-]?\d+$/.test(text) && Number.isSafeInteger(value) ? Either.right(value) : Either.left(IS_INVALID)
}

const limit = (text: string): Parsed<number> =>
  Either.filterOrLeft(integer(text), (value) => value > 0, () => "must be greater than 0")

const offset = (text: string): Parsed<number> =>
  Either.filterOrLeft(integer(text), (value) => value >= 0, () => "must be greater than or equal to 0")

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

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Most parameters of a clause: Postgres has no more either. */
export const MAX_PARAMS = 65_535

/** Values of `$1…$n`, from what is keyed by their numbers. */
export const positional = <A>(values: Iterable<readonly [string, A]>): Parsed<ReadonlyArray<A>> => {
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

const parseJson = (text: string): Parsed<unknown> =>
  Either.try({ try: (): unknown => JSON.parse(text), catch: () => "params must be valid JSON" })

const params = (text: string): Parsed<ReadonlyArray<string | null>> =>
  Either.gen(function*() {
    const json = yield* parseJson(text)
    if (!isObject(json)) return yield* Either.left("params must be a JSON object")
    const texts: Array<readonly [string, string | null]> = []
    for (const [key, value] of Object.entries(json)) texts.push([key, yield* parameterText(value)])
    return yield* positional(texts)
  })

/** A subset from the raw values of its keys; empty ones count as absent, and unknown keys mean nothing. */
export const parse = (
  raw: ReadonlyMap<string, string>,
  queryable: ReadonlyArray<string> | undefined
): Either.Either<SubsetRequest, SubsetErrors> => {
  const errors: Record<string, ReadonlyArray<string>> = {}
  const read = <A>(field: string, parse: (text: string) => Parsed<A>): A | undefined => {
    const given = raw.get(field)
    if (given === undefined || given === "") return undefined
    const text = decode(given)
    const parsed = text === undefined ? Either.left("has invalid encoding") : parse(text)
    if (Either.isRight(parsed)) return parsed.right
    errors[field] = [parsed.left]
    return undefined
  }
  const subset: SubsetRequest = {
    where: read("where", Either.right),
    params: read("params", params) ?? [],
    orderBy: read("order_by", Either.right),
    limit: read("limit", limit),
    offset: read("offset", offset),
    queryable
  }
  const isRange = subset.limit !== undefined || subset.offset !== undefined
  if (isRange && subset.orderBy === undefined && errors.order_by === undefined) {
    errors.order_by = ["order_by is required when limit or offset is present"]
  }
  return Object.keys(errors).length === 0 ? Either.right(subset) : Either.left(errors)
}
