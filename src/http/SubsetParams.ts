/**
 * The parameters of a subset (Electric HTTP protocol §12.3), as the query carries them or as they are in a body's
 * JSON.
 */
import { Either } from "effect"
import type { SubsetRequest } from "../domain/ShapeDefinition.ts"
import { decode } from "./QueryString.ts"
import { type Parsed, reader, Subset } from "./RequestSchemas.ts"

/** Field of the subset → messages. */
export type SubsetErrors = { readonly [field: string]: ReadonlyArray<string> }

const readParams = reader(Subset.params)
const readLimit = reader(Subset.limit)
const readOffset = reader(Subset.offset)

/** A subset from the raw values of its keys; empty ones count as absent, and unknown keys mean nothing. */
export const parse = (
  raw: ReadonlyMap<string, string>,
  queryable: ReadonlyArray<string> | undefined
): Either.Either<SubsetRequest, SubsetErrors> => {
  const errors: Record<string, ReadonlyArray<string>> = {}
  const read = <A>(field: keyof typeof Subset, parse: (text: string) => Parsed<A>): A | undefined => {
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
    params: read("params", readParams) ?? [],
    orderBy: read("order_by", Either.right),
    limit: read("limit", readLimit),
    offset: read("offset", readOffset),
    queryable
  }
  const isRange = subset.limit !== undefined || subset.offset !== undefined
  if (isRange && subset.orderBy === undefined && errors.order_by === undefined) {
    errors.order_by = ["order_by is required when limit or offset is present"]
  }
  return Object.keys(errors).length === 0 ? Either.right(subset) : Either.left(errors)
}
