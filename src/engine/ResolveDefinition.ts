/**
 * From what was asked for to what it means: a `ShapeRequest` checked against the catalog, in the order and with the
 * messages of the protocol (Electric HTTP protocol §4.4).
 */
import { Effect, Either, Option } from "effect"
import { InvalidRequest } from "../domain/Errors.ts"
import type { Clause } from "../domain/Expression.ts"
import { doesNotExist, parseTable } from "../domain/Identifier.ts"
import { type ColumnInfo, keyColumns, type TableInfo } from "../domain/Relation.ts"
import type { ShapeDefinition, ShapeRequest } from "../domain/ShapeDefinition.ts"
import { Catalog } from "../source/Catalog.ts"
import * as Where from "../where/Clause.ts"
import { hasMember, subqueriesOf } from "../where/Plan.ts"

const invalid = (field: string) => (message: string) => InvalidRequest.of(field, message)

const table = Effect.fnUntraced(function*(text: string) {
  const { name, schema } = yield* Either.mapLeft(parseTable(text), invalid("table"))
  const found = yield* (yield* Catalog).table(schema, name)
  return yield* Option.filter(found, ({ columns }) => columns.length > 0).pipe(
    Effect.mapError(() => InvalidRequest.of("table", doesNotExist({ schema, name })))
  )
})

/** Stored generated columns are in the replication stream since Postgres 18, virtual ones never are. */
const isReplicated = (column: ColumnInfo, serverVersion: number): boolean =>
  column.generated === "none" || (column.generated === "stored" && serverVersion >= 180_000)

const selectedColumns = (
  info: TableInfo,
  names: ReadonlyArray<string> | undefined,
  serverVersion: number
): Either.Either<ReadonlyArray<ColumnInfo>, string> => {
  const missing = names === undefined ? [] : keyColumns(info).filter((name) => !names.includes(name))
  if (missing.length > 0) {
    return Either.left(`The list of columns must include all primary key columns, missing: ${missing.join(", ")}`)
  }
  const unknown = (names ?? []).filter((name) => !info.columns.some((column) => column.name === name))
  if (unknown.length > 0) {
    return Either.left(`The following columns are not found on the table: ${unknown.join(", ")}`)
  }
  const selected = names === undefined ? info.columns : info.columns.filter(({ name }) => names.includes(name))
  const generated = selected.filter((column) => !isReplicated(column, serverVersion))
  if (generated.length > 0) {
    const list = generated.map(({ name }) => name).join(", ")
    const hint = names === undefined
      ? ". You can exclude them from the shape by explicitly listing which columns to fetch in the 'columns' query param"
      : ""
    return Either.left(`The following columns are generated and cannot be included in the shape: ${list}${hint}`)
  }
  return Either.right(selected)
}

/** Something that a table's shape needs is gone: nothing that is remembered of it holds any more. */
export const forget = (tableOid: number) =>
  Effect.flatMap(Catalog, (catalog) => Effect.zipRight(catalog.forget(tableOid), catalog.forgetSql)).pipe(
    Effect.zipRight(Effect.sync(Where.forgetAccepted))
  )

export const scopeOf = Where.scopeOf

/** Tables that subqueries have named, by oid. */
type InnerTables = Map<number, TableInfo>

/** The first column that a clause needs and that changes come without. */
const unreplicated = (
  clause: Clause,
  info: TableInfo,
  inner: InnerTables,
  serverVersion: number
): string | undefined => {
  const first = (table: TableInfo, used: ReadonlyArray<{ readonly name: string }>): ColumnInfo | undefined =>
    table.columns.find((column) =>
      !isReplicated(column, serverVersion) && used.some(({ name }) => name === column.name)
    )
  const own = first(info, clause.columns)
  if (own !== undefined) return `column ${own.name}`
  for (const { columns, tableOid, where } of subqueriesOf(clause.expression)) {
    const table = inner.get(tableOid)
    const column = table && first(table, [...columns, ...where?.columns ?? []])
    if (column !== undefined) return `column ${column.name} of table ${table?.name}`
  }
  return undefined
}

const where = Effect.fnUntraced(function*(
  request: ShapeRequest,
  info: TableInfo,
  inner: InnerTables,
  serverVersion: number
) {
  if (request.where === undefined) return undefined
  const catalog = yield* Catalog
  const clause = yield* Where.resolve(
    {
      clause: request.where,
      params: request.params,
      columns: info.columns,
      sql: yield* catalog.sql,
      table: info,
      scope: scopeOf(info)
    },
    {
      evaluate: catalog.evaluate,
      check: (sql) => catalog.check(info.schema, info.name, sql),
      table: ({ name, schema }) =>
        Effect.map(catalog.table(schema, name), (found) => {
          if (Option.isSome(found)) inner.set(found.value.oid, found.value)
          return Option.filter(found, ({ columns }) => columns.length > 0)
        })
    }
  ).pipe(Effect.mapError((error) => typeof error === "string" ? InvalidRequest.of("where", error) : error))
  if (clause === undefined) return undefined
  const generated = unreplicated(clause, info, inner, serverVersion)
  if (generated !== undefined) {
    return yield* InvalidRequest.of("where", `${generated} is generated and cannot be used in the where clause`)
  }
  if (request.compaction && hasMember(clause.expression)) {
    return yield* InvalidRequest.of("experimental_compaction", "can't be enabled for shapes with subqueries")
  }
  return clause
})

export interface Resolved {
  readonly definition: ShapeDefinition
  readonly table: TableInfo
}

const define = Effect.fnUntraced(function*(
  request: ShapeRequest,
  info: TableInfo,
  inner: InnerTables,
  serverVersion: number
) {
  const columns = yield* Either.mapLeft(selectedColumns(info, request.columns, serverVersion), invalid("columns"))
  const clause = yield* where(request, info, inner, serverVersion)
  const definition: ShapeDefinition = {
    tableOid: info.oid,
    schema: info.schema,
    table: info.name,
    keyColumns: keyColumns(info),
    hasPrimaryKey: info.primaryKey.length > 0,
    columns: columns.map(({ name, typeOid }) => ({ name, typeOid })),
    explicitColumns: request.columns !== undefined,
    where: clause,
    replica: request.replica,
    log: request.log,
    // There are no tags without subqueries.
    ...(request.tags !== undefined && clause !== undefined && hasMember(clause.expression) && { tags: request.tags })
  }
  const resolved: Resolved = { definition, table: info }
  return resolved
})

/**
 * What the request means on a server of this version (`server_version_num`). Fails with `InvalidRequest` for the first
 * thing that is wrong with it, by what the catalog says now: what is remembered of the table may be from before it was
 * altered.
 */
export const resolve = Effect.fnUntraced(function*(request: ShapeRequest, serverVersion: number) {
  const info = yield* table(request.table)
  const inner: InnerTables = new Map()
  return yield* define(request, info, inner, serverVersion).pipe(
    Effect.catchTag(
      "InvalidRequest",
      () =>
        Effect.flatMap(Catalog, (catalog) =>
          Effect.zipRight(
            Effect.forEach([info.oid, ...inner.keys()], catalog.forget, { discard: true }),
            catalog.forgetSql
          )).pipe(
            Effect.zipRight(table(request.table)),
            Effect.flatMap((current) => define(request, current, new Map(), serverVersion))
          )
    )
  )
})
