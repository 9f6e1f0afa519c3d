/**
 * The parameters of a request for a shape: decoded, and validated in the protocol's stages and with its messages
 * (Electric HTTP protocol §4). What only the catalog can tell (that the table and its columns exist, what the clause
 * means) is the engine's to check when it resolves the definition.
 */
import { Either } from "effect"
import type { ShapeRequest, SubsetRequest } from "../domain/ShapeDefinition.ts"
import { decode, forEachPair, type RawQuery } from "./QueryString.ts"
import { RecentMap } from "./RecentMap.ts"
import {
  Definition as Fields,
  IS_INVALID,
  type Offset,
  parseCursor,
  type Parsed,
  parseFlag,
  parseOffset,
  reader
} from "./RequestSchemas.ts"
import * as SubsetParams from "./SubsetParams.ts"

export interface ShapeParams {
  /** The same object for the same text, as long as it is remembered. */
  readonly definition: ShapeRequest
  /** `definition.columns` came from `queryable_columns`: the engine's messages about them are about that parameter. */
  readonly columnsAreQueryable: boolean
  readonly offset: Offset
  /** Set exactly when `offset` is a real one: sent with `-1` or `now`, a handle means nothing. */
  readonly handle: string | undefined
  readonly live: boolean
  /** The live request wants a stream of events. */
  readonly sse: boolean
  /** Set for a request that wants some rows rather than the log. */
  readonly subset: SubsetRequest | undefined
  /** The cursor as an integer; 0 when there is none. */
  readonly cursor: number
}

/** Field → messages; those of a subset's fields are below `subset`. */
export type FieldErrors = {
  readonly [field: string]: ReadonlyArray<string> | SubsetParams.SubsetErrors
}

/** What the defining part of a query says, in the two stages in which its faults are told. */
interface Definition {
  readonly castErrors: FieldErrors | undefined
  readonly shape: Either.Either<ShapeRequest, FieldErrors>
  readonly columnsAreQueryable: boolean
  readonly queryable: ReadonlyArray<string> | undefined
  /** No table is named. */
  readonly isMissing: boolean
}

const NOT_DECODABLE = "has invalid encoding"
const readTable = reader(Fields.table)
const readParams = reader(Fields.params)
const readReplica = reader(Fields.replica)
const readLog = reader(Fields.log)
const readCompaction = reader(Fields.experimental_compaction)
const readColumns = { columns: reader(Fields.columns), queryable_columns: reader(Fields.queryable_columns) }

const parseDefinition = (definition: string): Definition => {
  const values = new Map<string, string>()
  const params = new Map<string, string>()
  const castErrors: Record<string, ReadonlyArray<string>> = {}
  forEachPair(definition, values, (_, key, raw) => {
    if (key === undefined) return
    const field = key.startsWith("params") ? "params" : key
    const value = decode(raw ?? "")
    if (value === undefined) {
      castErrors[field] = [NOT_DECODABLE]
    } else if (key.startsWith("params[")) {
      const name = /^params\[([^[\]]+)\]$/.exec(key)?.[1]
      if (name === undefined) castErrors[field] = [IS_INVALID]
      else params.set(name, value)
    } else if (key === "params") {
      if (value !== "") castErrors[field] = [IS_INVALID]
    } else if (value === "") {
      values.delete(key)
    } else {
      values.set(key, value)
    }
  })
  const cast = <A>(field: keyof typeof Fields, read: (text: string) => Parsed<A>, fallback: A): A => {
    const text = values.get(field)
    if (text === undefined) return fallback
    const value = read(text)
    if (Either.isRight(value)) return value.right
    castErrors[field] = [value.left]
    return fallback
  }
  const replica = cast("replica", readReplica, "default")
  const log = cast("log", readLog, "full")
  cast("experimental_compaction", readCompaction, "false")
  const columnsAreQueryable = !values.has("columns") && values.has("queryable_columns")
  const lists: Record<string, ReadonlyArray<string>> = {}
  const shape = (): Either.Either<ShapeRequest, FieldErrors> => {
    const table = values.get("table")
    if (table === undefined) return Either.left({ table: ["can't be blank"] })
    const name = readTable(table)
    if (Either.isLeft(name)) return Either.left({ table: [name.left] })
    const texts = readParams(Object.fromEntries(params))
    if (Either.isLeft(texts)) return Either.left({ params: [texts.left] })
    for (const field of ["columns", "queryable_columns"] as const) {
      const list = values.get(field)
      if (list === undefined) continue
      const names = readColumns[field](list)
      if (Either.isLeft(names)) return Either.left({ [field]: [names.left] })
      lists[field] = names.right
    }
    const beyond = lists.queryable_columns === undefined
      ? []
      : (lists.columns ?? []).filter((name) => !lists.queryable_columns!.includes(name))
    if (beyond.length > 0) {
      return Either.left({ columns: [`The following columns are not queryable: ${beyond.join(", ")}`] })
    }
    return Either.right({
      table,
      where: values.get("where"),
      params: texts.right,
      columns: lists.columns ?? lists.queryable_columns,
      replica,
      log
    })
  }
  return {
    castErrors: Object.keys(castErrors).length === 0 ? undefined : castErrors,
    shape: shape(),
    columnsAreQueryable,
    queryable: lists.queryable_columns,
    isMissing: !values.has("table")
  }
}

const isTrue = (flag: string | true | undefined): boolean => flag === true || flag !== undefined && parseFlag(flag)

const fail = (field: string, message: string): Either.Either<never, FieldErrors> => Either.left({ [field]: [message] })

/**
 * Definitions that are remembered, and characters of their texts: about 600 bytes each, 30 MB at most. A definition
 * that is not remembered is resolved anew by every request for it.
 */
const REMEMBERED = 25_000
const REMEMBERED_CHARS = 5_000_000

/** A definition that is longer than a query can be, as in the body of a POST, is not remembered. */
const REMEMBERED_LENGTH = 10_000

/** What a request for a shape says. */
export type Validate = (raw: RawQuery) => Either.Either<ShapeParams, FieldErrors>

/** What a request says of the shape alone; `undefined` when it names no table. */
export type ValidateDefinition = (raw: RawQuery) => Either.Either<ShapeRequest | undefined, FieldErrors>

/** Validators with a memory of the definitions they have seen lately. */
export const make = (): { readonly request: Validate; readonly definition: ValidateDefinition } => {
  const definitions = new RecentMap<Definition>(REMEMBERED, REMEMBERED_CHARS)
  const definitionOf = (raw: RawQuery): Definition =>
    raw.definition.length > REMEMBERED_LENGTH
      ? parseDefinition(raw.definition)
      : definitions.get(raw.definition, parseDefinition)

  const request: Validate = (raw) => {
    if (raw.malformed) return fail("query", NOT_DECODABLE)
    const definition = definitionOf(raw)
    if (definition.castErrors !== undefined) return Either.left(definition.castErrors)

    if (raw.offset === undefined) return fail("offset", "can't be blank")
    const offset = parseOffset(raw.offset)
    if (offset === undefined) return fail("offset", "has invalid format")
    const real = offset !== "now" && offset.tx >= 0n
    const handle = real && raw.handle !== undefined ? decode(raw.handle) : undefined
    if (real && handle === undefined) {
      return fail("handle", raw.handle === undefined ? "can't be blank when offset != -1" : NOT_DECODABLE)
    }
    const live = isTrue(raw.live)
    if (live && !real) {
      return fail("live", offset === "now" ? "can't be true when offset is 'now'" : "can't be true when offset == -1")
    }
    const sse = isTrue(raw.liveSse ?? raw.experimentalLiveSse)
    if (sse && !live) return fail("live_sse", "can't be true unless live is also true")
    if (Either.isLeft(definition.shape)) return Either.left(definition.shape.left)
    const subset = raw.subset && SubsetParams.parse(raw.subset, definition.queryable)
    if (subset !== undefined && Either.isLeft(subset)) return Either.left({ subset: subset.left })
    return Either.right({
      definition: definition.shape.right,
      columnsAreQueryable: definition.columnsAreQueryable,
      offset,
      handle,
      live,
      sse,
      subset: subset?.right,
      cursor: raw.cursor === undefined ? 0 : parseCursor(raw.cursor)
    })
  }
  return {
    request,
    definition: (raw) => {
      if (raw.malformed) return fail("query", NOT_DECODABLE)
      const { castErrors, isMissing, shape } = definitionOf(raw)
      if (castErrors !== undefined) return Either.left(castErrors)
      return isMissing ? Either.right(undefined) : shape
    }
  }
}
