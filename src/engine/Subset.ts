/**
 * Rows of a shape as they are now, by a query of their own (Electric HTTP protocol §12): nothing of it is kept.
 *
 * The query's snapshot is taken when it sees every transaction that the stream has brought so far. A client that has
 * read the log up to any offset it was ever given can take the rows in and go on reading there: what it finds is either
 * in the rows already, which the marks tell, or comes after them.
 *
 * A small result is in memory when the response begins, and its connection is free again. A large one is read from
 * Postgres as fast as its client takes it; how many may be, and for how long, is bounded.
 */
import { Effect, Exit, Option, Scope } from "effect"
import { fieldsOf } from "../domain/CopyText.ts"
import { InvalidRequest, InvalidSubset, ShapeGone, SnapshotFailed } from "../domain/Errors.ts"
import * as Projection from "../domain/Projection.ts"
import { keyColumns, type TableInfo } from "../domain/Relation.ts"
import * as RowItem from "../domain/RowItem.ts"
import type { ShapeDefinition, SubsetRequest } from "../domain/ShapeDefinition.ts"
import type { CopyRows } from "../domain/SnapshotEncoder.ts"
import * as SnapshotEncoder from "../domain/SnapshotEncoder.ts"
import type { Catalog } from "../source/Catalog.ts"
import type { SnapshotQuery, SnapshotRows, SnapshotSelect } from "../source/SnapshotQuery.ts"
import { BLOCK_BYTES } from "../storage/ShapeStorage.ts"
import * as Where from "../where/Clause.ts"
import * as Grammar from "../where/Grammar.ts"
import * as OrderBy from "../where/OrderBy.ts"
import { planOf } from "../where/Plan.ts"
import type { Collector } from "./Collector.ts"
import * as CurrentSnapshot from "./CurrentSnapshot.ts"
import * as LeafFields from "./LeafFields.ts"
import { scopeOf } from "./ResolveDefinition.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"
import type { LogBody, SubsetRows } from "./ShapeEngine.ts"
import { Tags } from "./Tags.ts"

export interface SubsetContext {
  readonly catalog: Catalog["Type"]
  readonly snapshots: SnapshotQuery["Type"]
  readonly collector: Collector
  /** Bounds how many queries run at a time. */
  readonly permits: Effect.Semaphore
  /** Bytes of results that are in memory, all together. */
  readonly held: { bytes: number }
}

/** A result up to this many bytes is in memory before its response begins. */
const KEPT_BYTES = 4 * 1024 * 1024
/** The same once results of `HELD_BYTES` are in memory. */
const KEPT_BYTES_WHEN_FULL = 256 * 1024
const HELD_BYTES = 64 * 1024 * 1024

/** How long a query waits for its turn. */
const TURN_LIMIT = "30 seconds"
/** How long a result may take to be read. */
const READ_LIMIT_MILLIS = 300_000

const noTurn = new SnapshotFailed({
  reason: "pool_timeout",
  detail: "Snapshot creation failed because of a connection pool queue timeout"
})
const tooSlow = new SnapshotFailed({
  reason: "query_timeout",
  detail: "The subset was not read within five minutes"
})

// --- What is asked for ---

const invalid = (field: string) => (error: string | InvalidSubset): InvalidSubset =>
  typeof error === "string" ? InvalidSubset.of(field, error) : error

const queryableColumns = ({ definition }: ShapeEntry, table: TableInfo, { queryable }: SubsetRequest) => {
  if (queryable === undefined) return Effect.succeed(definition.columns.map(({ name }) => name))
  const about = (message: string) => InvalidRequest.of("queryable_columns", message)
  const missing = keyColumns(table).filter((name) => !queryable.includes(name))
  if (missing.length > 0) {
    return about(`The list of queryable columns must include all primary key columns, missing: ${missing.join(", ")}`)
  }
  const unknown = queryable.filter((name) => !table.columns.some((column) => column.name === name))
  return unknown.length > 0
    ? about(`The following queryable columns are not found on the table: ${unknown.join(", ")}`)
    : Effect.succeed(queryable)
}

const condition = Effect.fnUntraced(function*(
  { params, where: clause }: SubsetRequest,
  table: TableInfo,
  names: ReadonlyArray<string>,
  catalog: Catalog["Type"]
) {
  if (clause === undefined) return undefined
  if (Grammar.hasSubquery(yield* Effect.mapError(Grammar.parse(clause), invalid("where")))) {
    return yield* InvalidSubset.of("where", "Subqueries are not allowed in subsets")
  }
  const resolved = yield* Where.resolve(
    {
      clause,
      params,
      columns: table.columns.filter(({ name }) => names.includes(name)),
      sql: yield* catalog.sql,
      scope: scopeOf(table)
    },
    { evaluate: catalog.evaluate, check: (sql) => catalog.check(table.schema, table.name, sql) }
  ).pipe(Effect.mapError((error) => typeof error === "string" ? InvalidSubset.of("where", error) : error))
  return resolved?.sql
})

/** The query of a subset, by what the catalog says of the table. */
const selectOf = Effect.fnUntraced(function*(
  entry: ShapeEntry,
  table: TableInfo,
  subset: SubsetRequest,
  catalog: Catalog["Type"]
) {
  const { definition } = entry
  const names = yield* queryableColumns(entry, table, subset)
  const where = yield* condition(subset, table, names, catalog)
  const orderBy = subset.orderBy === undefined
    ? undefined
    : yield* Effect.mapError(OrderBy.resolve(subset.orderBy, names), invalid("order_by"))
  const conditions = [definition.where?.sql, where].filter((sql) => sql !== undefined)
  const select: SnapshotSelect = {
    schema: definition.schema,
    table: definition.table,
    columns: definition.columns.map(({ name }) => name),
    fields: leafFields(definition)?.fields,
    where: conditions.length === 0 ? undefined : conditions.map((sql) => `(${sql})`).join(" AND "),
    orderBy,
    limit: subset.limit,
    offset: subset.offset,
    rows: true
  }
  return select
})

/** The same, and if it is refused once more by what the catalog says now: what is remembered may be out of date. */
const resolve = Effect.fnUntraced(function*(entry: ShapeEntry, subset: SubsetRequest, catalog: Catalog["Type"]) {
  const { tableOid } = entry.definition
  const table = Effect.flatMap(
    catalog.tableByOid(tableOid),
    Option.match({
      onNone: () => Effect.fail(new ShapeGone({ handle: entry.handle })),
      onSome: (table) => Effect.succeed(table)
    })
  )
  const attempt = Effect.flatMap(table, (table) => selectOf(entry, table, subset, catalog))
  return yield* Effect.catchTag(
    attempt,
    "InvalidSubset",
    () => Effect.zipRight(Effect.zipRight(catalog.forget(tableOid), catalog.forgetSql), attempt)
  )
})

/** Postgres's refusal of what was asked for is the client's to mend. */
const toInvalid = (error: SnapshotFailed): SnapshotFailed | InvalidSubset => {
  const { refusal } = error
  if (refusal?.code.startsWith("22")) return InvalidSubset.of("where", refusal.message)
  return refusal?.code === "42883" && refusal.message.includes("ordering operator")
    ? InvalidSubset.of("order_by", refusal.message)
    : error
}

// --- The rows ---

/** What rows with tags need beside their columns. */
const leafFields = (definition: ShapeDefinition): LeafFields.LeafFields | undefined => {
  const plan = definition.tags === "none" || definition.where === undefined
    ? undefined
    : planOf(definition.where.expression)
  return plan && LeafFields.make(definition, plan, true)
}

/** How rows are written: with tags, if the shape's rows have them (Electric HTTP protocol §12.4, §13.3). */
const writerOf = ({ definition, handle }: ShapeEntry, mark: number) => {
  const leaves = leafFields(definition)
  if (leaves === undefined) return (encoder: SnapshotEncoder.SnapshotEncoder, rows: CopyRows) => encoder.push(rows)
  const tags = new Tags(planOf(definition.where!.expression)!, handle)
  const items = RowItem.make(definition)
  return (encoder: SnapshotEncoder.SnapshotEncoder, rows: CopyRows) => {
    for (let i = 0; i < rows.count; i++) {
      const row = fieldsOf(rows, i)
      const facts = { keys: leaves.keysOf(row), truths: leaves.truthsOf(row), isIn: true }
      const texts = row.slice(0, definition.columns.length)
      encoder.pushItem(Buffer.from(`${items.insert(texts, `,"snapshot_mark":${mark}${tags.headers(facts)}`)}}}`))
    }
  }
}

const awaitBegun = (entry: ShapeEntry): Effect.Effect<void, ShapeGone | SnapshotFailed> =>
  Effect.suspend(() => {
    const { snapshot } = entry
    if (entry.removed) {
      return Effect.fail(snapshot._tag === "Failed" ? snapshot.error : new ShapeGone({ handle: entry.handle }))
    }
    return snapshot._tag === "Waiting"
      ? Effect.zipRight(entry.awaitSnapshotProgress(), awaitBegun(entry))
      : Effect.void
  })

/** Takes a permit for as long as the scope lasts: also one that comes in the moment in which the time is up. */
const takePermit = (permits: Effect.Semaphore) =>
  Effect.timeoutFail(
    Effect.uninterruptibleMask((restore) =>
      Effect.zipRight(restore(permits.take(1)), Effect.addFinalizer(() => permits.release(1)))
    ),
    { duration: TURN_LIMIT, onTimeout: () => noTurn }
  )

/** The rows as items. Ends the scope with the last of them. */
const bodyOf = Effect.fnUntraced(function*(
  entry: ShapeEntry,
  rows: SnapshotRows,
  mark: number,
  { held }: SubsetContext,
  end: Effect.Effect<void>
) {
  const projection = Projection.withSnapshotMark(entry.projection, entry.definition, mark)
  const encoder = SnapshotEncoder.make(projection, { blockBytes: BLOCK_BYTES, chunkBytes: Infinity })
  const write = writerOf(entry, mark)
  const clock = yield* Effect.clock
  const deadline = clock.unsafeCurrentTimeMillis() + READ_LIMIT_MILLIS
  let blocks: Array<Uint8Array> = []
  let isWhole = false

  const more = Effect.map(rows.pull, (pulled) => {
    if (Option.isSome(pulled)) write(encoder, pulled.value)
    else {
      encoder.flush()
      isWhole = true
    }
    for (const { bytes } of encoder.take()) blocks.push(bytes)
  })

  let size = 0
  yield* Effect.addFinalizer(() => Effect.sync(() => held.bytes -= size))
  const limit = held.bytes < HELD_BYTES ? KEPT_BYTES : KEPT_BYTES_WHEN_FULL
  while (!isWhole && size < limit) {
    const from = blocks.length
    yield* more
    for (let i = from; i < blocks.length; i++) {
      size += blocks[i]!.length
      held.bytes += blocks[i]!.length
    }
  }
  if (isWhole) yield* end

  let next = 0
  const pull: LogBody["pull"] = Effect.suspend(() => {
    if (next < blocks.length) return Effect.succeedSome(blocks[next++]!)
    if (isWhole) return Effect.as(end, Option.none())
    if (clock.unsafeCurrentTimeMillis() > deadline) return Effect.zipRight(end, tooSlow)
    blocks = []
    next = 0
    return Effect.zipRight(Effect.tapError(more, () => end), pull)
  })
  const body: LogBody = isWhole ? { pull, length: size, ready: blocks } : { pull, ready: undefined }
  return body
})

/** Queries a subset of a kept shape's rows. The scope ends the query, if it has not ended by itself. */
export const query = Effect.fnUntraced(function*(
  entry: ShapeEntry,
  subset: SubsetRequest,
  mark: number,
  context: SubsetContext
) {
  yield* awaitBegun(entry)
  const select = yield* resolve(entry, subset, context.catalog)
  const scope = yield* Scope.fork(yield* Effect.scope, { _tag: "Sequential" })
  const end = Scope.close(scope, Exit.void)
  yield* Scope.extend(takePermit(context.permits), scope)
  const taken = Effect.gen(function*() {
    const rows = yield* Scope.extend(CurrentSnapshot.open(select, context.snapshots, context.collector), scope)
    const body = yield* bodyOf(entry, rows, mark, context, end)
    const subsetRows: SubsetRows = { marks: rows.marks, mark, body }
    return subsetRows
  })
  return yield* Effect.mapError(taken, (error) => error._tag === "SnapshotFailed" ? toInvalid(error) : error)
})
