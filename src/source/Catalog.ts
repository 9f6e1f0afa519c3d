/**
 * What the database's catalog says of tables, cached until somebody has reason to doubt it.
 */
import { Context, Deferred, Effect, type Either, FiberId, Layer, Option, Schema } from "effect"
import { DatabaseUnavailable } from "../domain/Errors.ts"
import type { TableInfo } from "../domain/Relation.ts"
import type { SqlCatalog } from "../domain/SqlCatalog.ts"
import * as ConstantEvaluation from "./ConstantEvaluation.ts"
import { Database } from "./Database.ts"
import * as SqlCatalogCache from "./SqlCatalogCache.ts"
import { decode as decodeSql, SELECT_SQL_CATALOG } from "./SqlCatalogQuery.ts"

export class Catalog extends Context.Tag("shapelog/source/Catalog")<Catalog, {
  /**
   * An ordinary or partitioned table by name; `None` for anything else. Cached, except that there is none: it may be
   * created any moment. Concurrent questions for one table share one query.
   */
  readonly table: (schema: string, name: string) => Effect.Effect<Option.Option<TableInfo>, DatabaseUnavailable>
  /** The same by oid. */
  readonly tableByOid: (oid: number) => Effect.Effect<Option.Option<TableInfo>, DatabaseUnavailable>
  /** Forgets what is known of a table (and of the partitioned tables above it): the next question asks the database. */
  readonly forget: (oid: number) => Effect.Effect<void>
  /** The database's types, operators, functions, casts and collations. Cached; concurrent questions share one query. */
  readonly sql: Effect.Effect<SqlCatalog, DatabaseUnavailable>
  /**
   * The next `sql` asks the database, unless it was asked within the last two seconds: until then it stays what it was.
   */
  readonly forgetSql: Effect.Effect<void>
  /**
   * The values of constant SQL expressions, printed by us, in the output form of their types under the display settings;
   * `null` for NULL. One round trip when none fails. Left is Postgres's message for the expression, or ours for a value
   * of more than 1 MB. What takes more than two seconds is cancelled, and so is refused.
   */
  readonly evaluate: (
    expressions: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<Either.Either<string | null, string>>, DatabaseUnavailable>
  /**
   * Whether Postgres accepts a condition, printed by us, on the rows of a table. Its constant parts are evaluated, rows
   * are not read. Left is Postgres's message.
   */
  readonly check: (
    schema: string,
    table: string,
    sql: string
  ) => Effect.Effect<Either.Either<void, string>, DatabaseUnavailable>
}>() {}

/** How many tables are remembered. */
const MAX_TABLES = 10_000

// --- Queries ---

const selectTable = (condition: string) => `
SELECT json_build_object(
  'oid', c.oid::int8,
  'schema', n.nspname,
  'name', c.relname,
  'kind', CASE c.relkind WHEN 'p' THEN 'partitioned' ELSE 'table' END,
  'columns', coalesce((
    SELECT json_agg(json_build_object(
      'name', a.attname,
      'position', a.attnum,
      'typeOid', t.oid::int8,
      'typeName', t.typname,
      'typeSchema', tn.nspname,
      'typeKind', t.typtype,
      'elementType', e.typname,
      'dimensions', a.attndims,
      'typeModifier', a.atttypmod,
      'notNull', a.attnotnull,
      'generated', CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' ELSE 'none' END,
      'keyIndex', (SELECT k FROM generate_series(0, i.indnkeyatts - 1) AS k WHERE i.indkey[k] = a.attnum),
      'deterministic', coalesce(co.collisdeterministic, true),
      'collation', a.attcollation::int8
    ) ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
    LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  ), '[]'),
  'partitions', coalesce((
    SELECT json_agg(p.relid::oid::int8 ORDER BY p.relid::oid)
    FROM pg_catalog.pg_partition_tree(c.oid) p WHERE p.relid <> c.oid
  ), '[]'),
  'ancestors', coalesce((
    SELECT json_agg(p.relid::oid::int8 ORDER BY p.distance)
    FROM pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY AS p (relid, distance) WHERE p.relid <> c.oid
  ), '[]')
)::text AS info
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND ${condition}`

const byName = selectTable("n.nspname = $1 AND c.relname = $2")
const byOid = selectTable("c.oid = $1::oid")

const optional = <A, I>(schema: Schema.Schema<A, I>) =>
  Schema.transform(Schema.NullOr(schema), Schema.UndefinedOr(Schema.typeSchema(schema)), {
    strict: true,
    decode: (value) => value ?? undefined,
    encode: (value) => value ?? null
  })

const Info = Schema.parseJson(Schema.Struct({
  oid: Schema.Number,
  schema: Schema.String,
  name: Schema.String,
  kind: Schema.Literal("table", "partitioned"),
  columns: Schema.Array(Schema.Struct({
    name: Schema.String,
    position: Schema.Number,
    typeOid: Schema.Number,
    typeName: Schema.String,
    typeSchema: Schema.String,
    typeKind: Schema.String,
    elementType: optional(Schema.String),
    dimensions: Schema.Number,
    typeModifier: Schema.Number,
    notNull: Schema.Boolean,
    generated: Schema.Literal("none", "stored", "virtual"),
    keyIndex: optional(Schema.Number),
    deterministic: Schema.Boolean,
    collation: Schema.Number
  })),
  partitions: Schema.Array(Schema.Number),
  ancestors: Schema.Array(Schema.Number)
}))

const decode = Schema.decodeUnknownSync(Info)

const toTable = (text: string): TableInfo => {
  const info = decode(text)
  const key = info.columns.filter((column) => column.keyIndex !== undefined)
  return {
    ...info,
    primaryKey: key.sort((a, b) => a.keyIndex! - b.keyIndex!).map((column) => column.name)
  }
}

// --- Service ---

/** A map that forgets what was not used for longest. */
const makeRecent = <K, V>(limit: number) => {
  const entries = new Map<K, V>()
  return {
    get: (key: K): V | undefined => {
      const value = entries.get(key)
      if (value !== undefined) {
        entries.delete(key)
        entries.set(key, value)
      }
      return value
    },
    set: (key: K, value: V): void => {
      entries.delete(key)
      entries.set(key, value)
      if (entries.size > limit) {
        for (const oldest of entries.keys()) {
          entries.delete(oldest)
          return
        }
      }
    },
    delete: (key: K) => entries.delete(key),
    values: () => entries.values()
  }
}

const make = Effect.gen(function*() {
  const { admin } = yield* Database
  const scope = yield* Effect.scope
  type Lookup = Deferred.Deferred<Option.Option<TableInfo>, DatabaseUnavailable>

  const tables = makeRecent<number, TableInfo>(MAX_TABLES)
  const oids = makeRecent<string, number>(MAX_TABLES)
  const inFlight = new Map<string, Lookup>()
  const nameKey = (schema: string, name: string) => JSON.stringify([schema, name])

  const query = (operation: string, sql: string, params: ReadonlyArray<unknown>) =>
    admin.unsafe<Readonly<Record<string, string | null>>>(sql, params).pipe(
      Effect.mapError(({ cause }) => new DatabaseUnavailable({ operation, cause }))
    )

  /**
   * Joins the lookup that runs, or starts one, which no caller's interruption ends. Its result is kept unless `forget`
   * came between.
   */
  const lookup = (key: string, sql: string, params: ReadonlyArray<unknown>) =>
    Effect.suspend(() => {
      const running = inFlight.get(key)
      if (running !== undefined) return Deferred.await(running)
      const result: Lookup = Deferred.unsafeMake(FiberId.none)
      inFlight.set(key, result)
      const run = query("looking up a table", sql, params).pipe(
        Effect.map(([row]) => Option.map(Option.fromNullable(row?.info), toTable)),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (inFlight.get(key) === result) {
              inFlight.delete(key)
              if (exit._tag === "Success" && Option.isSome(exit.value)) {
                const table = exit.value.value
                tables.set(table.oid, table)
                oids.set(nameKey(table.schema, table.name), table.oid)
              }
            }
            Deferred.unsafeDone(result, exit)
          })
        )
      )
      return Effect.uninterruptibleMask((restore) =>
        Effect.zipRight(Effect.forkIn(Effect.interruptible(run), scope), restore(Deferred.await(result)))
      )
    })

  const table = (schema: string, name: string) =>
    Effect.suspend(() => {
      const key = nameKey(schema, name)
      const oid = oids.get(key)
      const known = oid === undefined ? undefined : tables.get(oid)
      // The oid may have been looked up again since, under another name.
      return known !== undefined && known.schema === schema && known.name === name
        ? Effect.succeedSome(known)
        : lookup(key, byName, [schema, name])
    })

  const tableByOid = (oid: number) =>
    Effect.suspend(() => {
      const known = tables.get(oid)
      return known === undefined ? lookup(String(oid), byOid, [oid]) : Effect.succeedSome(known)
    })

  const forget = (oid: number) =>
    Effect.sync(() => {
      for (const known of [...tables.values()]) {
        // A partition that was just attached is not in what we know of the tables above it, so all of those are
        // forgotten.
        if (known.oid === oid || known.kind === "partitioned" || known.ancestors.includes(oid)) tables.delete(known.oid)
      }
      // What runs may have read the catalog before the change: nobody joins it any more, and its result is not kept.
      inFlight.clear()
    })

  const sqlCatalog = yield* SqlCatalogCache.make(
    Effect.map(
      Effect.suspend(() => query("reading the catalog", SELECT_SQL_CATALOG, [])),
      ([row]) => decodeSql(row!.catalog!)
    )
  )
  const { check, evaluate } = yield* ConstantEvaluation.make(ConstantEvaluation.STATEMENT_MILLIS)

  return Catalog.of({
    table,
    tableByOid,
    forget,
    sql: sqlCatalog.get,
    forgetSql: sqlCatalog.forget,
    evaluate,
    check
  })
})

export const layer: Layer.Layer<Catalog, never, Database> = Layer.scoped(Catalog, make)
