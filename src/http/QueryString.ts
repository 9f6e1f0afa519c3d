/**
 * Splits a query string into what a shape request can carry. The part that defines the shape stays one raw string,
 * under which its meaning can be remembered.
 *
 * Only names that `RequestSchemas` describes can be looked for here: the types see to it.
 */
import type { Credentials, Definition, Position } from "./RequestSchemas.ts"

type DefinitionKey = keyof typeof Definition
type OtherKey = keyof typeof Position | keyof typeof Credentials

/** Values, `undefined` when absent. Of a repeated key the last counts. */
export interface RawQuery {
  /** Raw, as `apiSecret`. */
  secret: string | undefined
  apiSecret: string | undefined
  offset: string | undefined
  /** Raw. */
  handle: string | undefined
  /** `true` for a bare key without `=`, which is not the same as an empty value. */
  live: string | true | undefined
  liveSse: string | true | undefined
  experimentalLiveSse: string | true | undefined
  cursor: string | undefined
  /** The pairs that define the shape, as they came and in the order they came, each followed by `&`. */
  definition: string
  /** Raw values of `subset__*` and `subset[*]` keys; `undefined` when there is none. */
  subset: Map<string, string> | undefined
  /** A key is not valid percent-encoded UTF-8. */
  malformed: boolean
}

/** Percent-decodes a query component; `undefined` when it is not valid UTF-8 or carries NUL, which no SQL text can. */
export const decode = (text: string): string | undefined => {
  const spaced = text.includes("+") ? text.replaceAll("+", " ") : text
  if (!spaced.includes("%")) return spaced.includes("\0") ? undefined : spaced
  try {
    const decoded = decodeURIComponent(spaced)
    return decoded.includes("\0") ? undefined : decoded
  } catch (error) {
    if (error instanceof URIError) return undefined
    throw error
  }
}

/** Keys that are part of the shape's definition, beside `params[…]`. */
const isDefinitionKey = (key: string): boolean => {
  switch (key as DefinitionKey) {
    case "table":
    case "where":
    case "columns":
    case "queryable_columns":
    case "replica":
    case "log":
    case "experimental_compaction":
    case "params":
      return true
    default:
      return key.startsWith("params[")
  }
}

/**
 * Calls `visit` for each pair with the decoded key (`undefined` when malformed), the raw value (`undefined` when there
 * is no `=`) and where in the query the pair stands.
 */
export const forEachPair = <A>(
  query: string,
  into: A,
  visit: (
    into: A,
    key: string | undefined,
    value: string | undefined,
    query: string,
    start: number,
    end: number
  ) => void
): void => {
  let start = 0
  while (start < query.length) {
    let end = query.indexOf("&", start)
    if (end === -1) end = query.length
    if (end > start) {
      const equals = query.indexOf("=", start)
      const bare = equals === -1 || equals > end
      const key = query.slice(start, bare ? end : equals)
      visit(
        into,
        key.includes("%") || key.includes("+") ? decode(key) : key,
        bare ? undefined : query.slice(equals + 1, end),
        query,
        start,
        end
      )
    }
    start = end + 1
  }
}

/** Empty values count as absent. What can't be decoded stays as it is: it is no valid value of any of these. */
const text = (value: string | undefined): string | undefined =>
  value === undefined || value === "" ? undefined : decode(value) ?? value
const flag = (value: string | undefined): string | true | undefined => (value === undefined ? true : text(value))

const scanSubset = (raw: RawQuery, key: string, value: string): void => {
  const name = key.startsWith("subset__") ? key.slice(8) : /^subset\[([^[\]]*)\]$/.exec(key)?.[1]
  if (name !== undefined) (raw.subset ??= new Map()).set(name, value)
}

const scanPair = (
  raw: RawQuery,
  key: string | undefined,
  value: string | undefined,
  query: string,
  start: number,
  end: number
): void => {
  switch (key as OtherKey | undefined) {
    case undefined:
      raw.malformed = true
      return
    case "offset":
      raw.offset = text(value)
      return
    case "handle":
      raw.handle = value === "" ? undefined : value
      return
    case "live":
      raw.live = flag(value)
      return
    case "cursor":
      raw.cursor = text(value)
      return
    case "live_sse":
      raw.liveSse = flag(value)
      return
    case "experimental_live_sse":
      raw.experimentalLiveSse = flag(value)
      return
    case "secret":
      raw.secret = value ?? ""
      return
    case "api_secret":
      raw.apiSecret = value ?? ""
      return
    default:
      if (key === undefined) return
      if (isDefinitionKey(key)) raw.definition += query.slice(start, end) + "&"
      else if (key.startsWith("subset")) scanSubset(raw, key, value ?? "")
  }
}

export const scan = (query: string): RawQuery => {
  const raw: RawQuery = {
    secret: undefined,
    apiSecret: undefined,
    offset: undefined,
    handle: undefined,
    live: undefined,
    liveSse: undefined,
    experimentalLiveSse: undefined,
    cursor: undefined,
    definition: "",
    subset: undefined,
    malformed: false
  }
  forEachPair(query, raw, scanPair)
  return raw
}
