/**
 * Reads a database's whole vocabulary of SQL in one query, and builds the `SqlCatalog` from what it answers. Left out is
 * what no expression can use: functions of `internal` arguments, handlers and trigger functions, and the row types of
 * system tables, views and partitions unless a column, a domain or a function is of such a type. Postgres 14 and later.
 */
import { Schema } from "effect"
import { castKey } from "../domain/SqlCatalog.ts"
import type { Collation, SqlCast, SqlCatalog, SqlFunction, SqlOperator, SqlType } from "../domain/SqlCatalog.ts"

// --- The query ---

/** Pseudo-types that expressions can't have: of them are the arguments and results of functions that they can't call. */
const UNCALLABLE = [
  "internal",
  "trigger",
  "event_trigger",
  "language_handler",
  "fdw_handler",
  "index_am_handler",
  "tsm_handler",
  "table_am_handler"
].map((name) => `'pg_catalog.${name}'::regtype`).join(", ")

/** Array rows rather than objects, and oids of schemas rather than their names: half the bytes. */
export const SELECT_SQL_CATALOG = `
WITH callable AS (
  SELECT * FROM pg_catalog.pg_proc WHERE NOT proargtypes::oid[] && ARRAY[${UNCALLABLE}]::oid[]
    AND prorettype <> ALL (ARRAY[${UNCALLABLE}]::oid[])
), used AS (
  SELECT atttypid AS oid FROM pg_catalog.pg_attribute WHERE attnum > 0 AND NOT attisdropped
  UNION SELECT typbasetype FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION SELECT prorettype FROM callable
  UNION SELECT unnest(proargtypes) FROM callable
), rows AS (
  SELECT t.oid, t.typarray,
    c.relkind NOT IN ('r', 'p') OR c.relispartition OR c.relpersistence = 't' OR n.nspname = 'information_schema'
      OR n.nspname ^@ 'pg_' AS omitted
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type t ON t.oid = c.reltype
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind <> 'c'
), unused AS (
  SELECT typarray AS oid FROM rows WHERE NOT EXISTS (SELECT FROM used WHERE used.oid = typarray)
  UNION SELECT oid FROM rows
    WHERE omitted AND NOT EXISTS (SELECT FROM used WHERE used.oid = rows.oid)
      AND NOT EXISTS (SELECT FROM used WHERE used.oid = typarray)
), database AS (
  SELECT d.*, to_jsonb(d) AS info FROM pg_catalog.pg_database d WHERE datname = current_database()
)
SELECT json_build_object(
  'version', current_setting('server_version_num')::int4,
  'searchPath', current_schemas(true),
  'database', (SELECT json_build_object(
    'encoding', encoding, 'provider', coalesce(info ->> 'datlocprovider', 'c'), 'collate', datcollate,
    'ctype', datctype, 'locale', coalesce(info ->> 'datlocale', info ->> 'daticulocale')
  ) FROM database),
  'schemas', (SELECT json_agg(json_build_array(oid::int8, nspname)) FROM pg_catalog.pg_namespace),
  'types', (
    SELECT json_agg(json_build_array(
      t.oid::int8, t.typname, t.typnamespace::int8, concat(t.typtype, t.typcategory, t.typispreferred),
      e.oid::int8, nullif(t.typbasetype, 0)::int8, t.typtypmod, t.typcollation::int8
    ))
    FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
    WHERE t.typisdefined AND NOT EXISTS (SELECT FROM unused WHERE unused.oid = t.oid)
  ),
  'enums', (
    SELECT coalesce(json_agg(json_build_array(enumtypid::int8, labels)), '[]') FROM (
      SELECT enumtypid, json_agg(enumlabel ORDER BY enumsortorder) AS labels FROM pg_catalog.pg_enum GROUP BY enumtypid
    ) AS enum
  ),
  'ranges', (
    SELECT json_agg(json_build_array(rngtypid::int8, rngmultitypid::int8, rngsubtype::int8)) FROM pg_catalog.pg_range
  ),
  'functions', (
    SELECT json_agg(json_build_array(
      oid::int8, proname, pronamespace::int8,
      CASE WHEN prolang <> (SELECT oid FROM pg_catalog.pg_language WHERE lanname = 'internal') THEN NULL
        WHEN prosrc = proname THEN '' ELSE prosrc END,
      concat(prokind, provolatile, proisstrict, proretset),
      proargtypes::text, pronargdefaults, provariadic::int8, prorettype::int8
    ))
    FROM callable
  ),
  'argumentNames', (
    SELECT json_agg(json_build_array(oid::int8, CASE WHEN proargmodes IS NULL THEN proargnames ELSE (
      SELECT array_agg(name ORDER BY n) FROM unnest(proargnames, proargmodes) WITH ORDINALITY AS a (name, mode, n)
      WHERE mode IN ('i', 'b', 'v')
    ) END))
    FROM callable WHERE proargnames IS NOT NULL AND pronargs > 0
  ),
  'operators', (
    SELECT json_agg(json_build_array(
      oprname, oprnamespace::int8, oprleft::int8, oprright::int8, oprresult::int8, oprcode::oid::int8
    ))
    FROM pg_catalog.pg_operator WHERE oprcode <> 0
  ),
  'casts', (
    SELECT json_agg(json_build_array(castsource::int8, casttarget::int8, concat(castcontext, castmethod), castfunc::int8))
    FROM pg_catalog.pg_cast
  ),
  'collations', (
    SELECT json_agg(json_build_array(
      c.oid::int8, c.collname, c.collnamespace::int8, c.collprovider, c.collcollate, c.collctype,
      to_jsonb(c) ->> 'colllocale', c.collisdeterministic
    ))
    FROM pg_catalog.pg_collation c, database d WHERE c.collencoding IN (-1, d.encoding)
  )
)::text AS catalog`

// --- Its answer ---

const { Array: array, Boolean: boolean, Number: number, String: string, Tuple: tuple } = Schema
const nullable = Schema.NullOr

const Raw = Schema.Struct({
  version: number,
  searchPath: array(string),
  database: Schema.Struct({
    encoding: number,
    provider: string,
    collate: nullable(string),
    ctype: nullable(string),
    locale: nullable(string)
  }),
  schemas: array(tuple(number, string)),
  /** oid, name, schema, kind and category and whether preferred, element, base, modifier, collation */
  types: array(tuple(number, string, number, string, nullable(number), nullable(number), number, number)),
  /** type, labels */
  enums: array(tuple(number, array(string))),
  /** range, multirange, subtype */
  ranges: array(tuple(number, number, number)),
  /**
   * oid, name, schema, C function (empty when it has the same name), kind and volatility and whether strict and of a
   * set, arguments, defaults, variadic, result
   */
  functions: array(tuple(number, string, number, nullable(string), string, string, number, number, number)),
  /** function, names of its input arguments; none, if no function has names */
  argumentNames: Schema.optional(nullable(array(tuple(number, array(string))))),
  /** name, schema, left, right, result, function */
  operators: array(tuple(string, number, number, number, number, number)),
  /** from, to, context and method, function */
  casts: array(tuple(number, number, string, number)),
  /** oid, name, schema, provider, collate, ctype, locale, whether deterministic */
  collations: array(
    tuple(number, string, number, string, nullable(string), nullable(string), nullable(string), boolean)
  )
})

/** What the query answers, as it comes. */
export type RawCatalog = typeof Raw.Type

const decodeRaw = Schema.decodeUnknownSync(Schema.parseJson(Raw))

/** The catalog from the text that the query answers. Throws a `ParseError` for any other text. */
export const decode = (text: string): SqlCatalog => build(decodeRaw(text))

// --- The catalog ---

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

const grouped = <A>(all: Iterable<A>, nameOf: (one: A) => string): Map<string, Array<A>> => {
  const groups = new Map<string, Array<A>>()
  for (const one of all) {
    const group = groups.get(nameOf(one))
    if (group === undefined) groups.set(nameOf(one), [one])
    else group.push(one)
  }
  return groups
}

type SchemaName = (oid: number) => string

const buildTypes = (raw: RawCatalog, schema: SchemaName) => {
  const types = new Map<number, Mutable<SqlType>>()
  for (const [oid, name, namespace, flags, , , , collation] of raw.types) {
    types.set(oid, {
      oid,
      schema: schema(namespace),
      name,
      kind: flags[0]!,
      category: flags[1]!,
      preferred: flags[2] === "t",
      collation
    })
  }
  const arrays = new Map<number, SqlType>()
  for (const [oid, , , , element, base, modifier] of raw.types) {
    const type = types.get(oid)!
    const elementType = element === null ? undefined : types.get(element)
    if (elementType !== undefined) {
      type.element = elementType
      arrays.set(elementType.oid, type)
    }
    const baseType = base === null ? undefined : types.get(base)
    if (baseType !== undefined) {
      type.base = baseType
      type.baseModifier = modifier
    }
  }
  for (const [oid, labels] of raw.enums) {
    const type = types.get(oid)
    if (type !== undefined) type.labels = labels
  }
  const multiranges = new Map<number, SqlType>()
  for (const [oid, multirangeOid, subtypeOid] of raw.ranges) {
    const range = types.get(oid)
    const multirange = types.get(multirangeOid)
    const subtype = types.get(subtypeOid)
    if (range === undefined || multirange === undefined || subtype === undefined) continue
    range.subtype = subtype
    multirange.subtype = subtype
    multiranges.set(oid, multirange)
  }
  return { types, arrays, multiranges }
}

const NO_ARGS: ReadonlyArray<number> = []

const buildFunctions = (raw: RawCatalog, schema: SchemaName) => {
  // Many functions have the same arguments: one array for all of them.
  const lists = new Map<string, ReadonlyArray<number>>([["", NO_ARGS]])
  const argsOf = (text: string) => {
    const known = lists.get(text)
    if (known !== undefined) return known
    const args = text.split(" ").map(Number)
    lists.set(text, args)
    return args
  }
  const names = new Map(raw.argumentNames ?? [])
  const functions = new Map<number, SqlFunction>()
  for (const [oid, name, namespace, source, flags, args, defaults, variadic, result] of raw.functions) {
    functions.set(oid, {
      ref: {
        oid,
        schema: schema(namespace),
        name,
        ...(source !== null && { source: source === "" ? name : source }),
        strict: flags[2] === "t"
      },
      kind: flags[0]!,
      volatility: flags[1]!,
      args: argsOf(args),
      ...(names.has(oid) && { names: names.get(oid)! }),
      defaults,
      variadic,
      result,
      returnsSet: flags[3] === "t"
    })
  }
  return functions
}

/** Of a collation, or of the database for its default one. */
interface Locale {
  /** c libc, i ICU, b builtin */
  readonly provider: string
  readonly collate: string | null
  readonly ctype: string | null
  readonly locale: string | null
}

const isPlain = (name: string | null): boolean => name === "C" || name === "POSIX"

/** Every builtin locale orders by code point, which is the order of the bytes in UTF-8. */
const isBytewise = ({ collate, provider }: Locale): boolean =>
  provider === "b" || (provider === "c" && isPlain(collate))

const hasAsciiCase = ({ ctype, locale, provider }: Locale): boolean =>
  provider === "b" ? locale === "C" : provider === "c" && isPlain(ctype)

const UTF8 = 6

const buildCollations = (raw: RawCatalog, schema: SchemaName) => {
  const collations = new Map<number, Collation>()
  // In another encoding the order of the server's bytes is not the order of ours.
  const utf8 = raw.database.encoding === UTF8
  for (const [oid, name, namespace, provider, collate, ctype, locale, deterministic] of raw.collations) {
    const own: Locale = provider === "d" ? raw.database : { provider, collate, ctype, locale }
    collations.set(oid, {
      oid,
      schema: schema(namespace),
      name,
      bytewise: utf8 && isBytewise(own),
      asciiCase: utf8 && hasAsciiCase(own),
      deterministic
    })
  }
  return collations
}

const buildOperator = (
  [name, namespace, left, right, result, fn]: RawCatalog["operators"][number],
  schema: SchemaName
): SqlOperator => ({ schema: schema(namespace), name, left, right, result, fn })

const buildCast = ([from, to, flags, fn]: RawCatalog["casts"][number]): SqlCast => ({
  from,
  to,
  context: flags[0]!,
  method: flags[1]!,
  fn
})

/** One object per type, which all that refer to it share. */
export const build = (raw: RawCatalog): SqlCatalog => {
  const schemas = new Map(raw.schemas)
  const schema = (oid: number) => schemas.get(oid) ?? ""
  const { arrays, multiranges, types } = buildTypes(raw, schema)
  const functions = buildFunctions(raw, schema)
  return {
    types,
    typesNamed: grouped(types.values(), ({ name }) => name),
    arrays,
    multiranges,
    functions,
    functionsNamed: grouped(functions.values(), ({ ref }) => ref.name),
    operatorsNamed: grouped(raw.operators.map((operator) => buildOperator(operator, schema)), ({ name }) => name),
    casts: new Map(raw.casts.map((cast) => [castKey(cast[0], cast[1]), buildCast(cast)])),
    collations: buildCollations(raw, schema),
    searchPath: raw.searchPath,
    version: raw.version
  }
}
