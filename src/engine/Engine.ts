/**
 * The engine: everything between the source, the store and `ShapeEngine`.
 *
 * Sections stand in the order in which they are built, and so in the reverse of the order in which they stop: the
 * stream first, then the consumers, which flush, then the committer with its last commit.
 */
import { Cause, Context, Deferred, Effect, Fiber, FiberSet, Layer, Option, Random, Schedule } from "effect"
import * as ElectricSchema from "../domain/ElectricSchema.ts"
import { type DatabaseUnavailable, ShapeGone, SnapshotFailed, type StorageError } from "../domain/Errors.ts"
import type { Subquery } from "../domain/Expression.ts"
import * as Lsn from "../domain/Lsn.ts"
import type { Relation, TableInfo } from "../domain/Relation.ts"
import { identity, type ShapeDefinition, type ShapeRequest, type SubsetRequest } from "../domain/ShapeDefinition.ts"
import { Catalog } from "../source/Catalog.ts"
import { Publication } from "../source/Publication.ts"
import { type ReplicationConnection, type ReplicationError, ReplicationStream } from "../source/ReplicationStream.ts"
import { RowEvaluation } from "../source/RowEvaluation.ts"
import { SnapshotQuery } from "../source/SnapshotQuery.ts"
import { ShapeStorage } from "../storage/ShapeStorage.ts"
import { describe as describeClause } from "../where/Describe.ts"
import { hasMember, subqueriesOf } from "../where/Plan.ts"
import * as Collector from "./Collector.ts"
import * as Committer from "./Committer.ts"
import * as Consumers from "./Consumers.ts"
import * as Journal from "./Journal.ts"
import * as Materializer from "./Materializer.ts"
import * as MemoryBudget from "./MemoryBudget.ts"
import * as OpenVerdicts from "./OpenVerdicts.ts"
import * as ResolveDefinition from "./ResolveDefinition.ts"
import * as Router from "./Router.ts"
import { fitsRelation, fitsTable } from "./SchemaWatch.ts"
import * as ShapeCatalog from "./ShapeCatalog.ts"
import { leastRecentlyRead, ShapeEntry } from "./ShapeCatalog.ts"
import { type EngineStatus, type ShapeDescription, ShapeEngine } from "./ShapeEngine.ts"
import * as ShapeReader from "./ShapeReader.ts"
import * as Snapshotter from "./Snapshotter.ts"
import * as Subqueries from "./Subqueries.ts"
import * as Subset from "./Subset.ts"

/**
 * Fails when the source can't be followed and trying again is of no use: a wrong password, `wal_level`, a missing
 * privilege. Whoever runs the engine decides what then becomes of the process; what is stored is still served.
 */
export class EngineFailure
  extends Context.Tag("shapelog/engine/EngineFailure")<EngineFailure, Effect.Effect<never, ReplicationError>>()
{}

/** What the engine holds at the moment: for metrics, and to see that nothing is left over. */
export class EngineGauges extends Context.Tag("shapelog/engine/EngineGauges")<EngineGauges, {
  /** Bytes counted against `memoryBytes`. */
  readonly memoryBytes: () => number
  readonly shapes: () => number
  readonly consumers: () => number
  /** Snapshots that are being taken or wait to be. */
  readonly snapshots: () => number
  /** What is kept for shapes with subqueries (`Subqueries.held`). */
  readonly subqueries: () => number
  /** Bytes that are kept in memory of the stream for shapes with subqueries that are behind it. */
  readonly journalBytes: () => number
}>() {}

export interface EngineOptions {
  /** Bytes of JSON after which a chunk of a log or snapshot is closed. */
  readonly chunkBytes: number
  /** Bytes that may be on their way from the stream to the store. */
  readonly memoryBytes: number
  /** After how long without work a consumer ends, in milliseconds. */
  readonly idleMillis: number
  /** How many snapshots are taken at a time. */
  readonly concurrentSnapshots: number
  /** How many subsets are queried at a time. */
  readonly concurrentSubsets: number
  /** `server_version_num` of the source. */
  readonly serverVersion: Effect.Effect<number, DatabaseUnavailable>
  /** Shapes beyond this number are removed once a minute, those that nobody has read for longest. */
  readonly maxShapes: number | undefined
  /** How often the catalog is compared with what shapes were made from, in milliseconds. */
  readonly reconcileMillis: number
  readonly committer: Committer.CommitterOptions
  /** How many queries run at a time for rows that move because of a subquery. */
  readonly concurrentMoves: number
  /** How much is kept of the stream for shapes with subqueries that are behind it; the rest goes to the store. */
  readonly journal: Journal.JournalOptions
}

export const defaults: Omit<EngineOptions, "serverVersion"> = {
  chunkBytes: 10 * 1024 * 1024,
  memoryBytes: 16 * 1024 * 1024,
  idleMillis: 30_000,
  concurrentSnapshots: 10,
  concurrentSubsets: 8,
  maxShapes: undefined,
  reconcileMillis: 60_000,
  committer: Committer.defaults,
  concurrentMoves: 4,
  journal: Journal.defaults
}

const FLUSH_MILLIS = 5000

/** How often shapes beyond the limit are removed. */
const EVICTION_MILLIS = 60_000

const retryCatalog = Schedule.exponential("500 millis", 1.5).pipe(Schedule.union(Schedule.spaced("10 seconds")))

/** A 31-bit hash of a shape's identity: the first half of its handle. */
const hash = (text: string): number => {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 1
}

/** How long a connection must have lasted for the next failure to count as the first (H103). */
const STABLE_MILLIS = 5000

const make = Effect.fnUntraced(function*(options: EngineOptions) {
  const storage = yield* ShapeStorage
  const catalog = yield* Catalog
  const publication = yield* Publication
  const stream = yield* ReplicationStream
  const snapshots = yield* SnapshotQuery
  const evaluation = yield* RowEvaluation
  const clock = yield* Effect.clock

  const stored = yield* storage.load
  const shapes = ShapeCatalog.make()
  const router = Router.make()
  const budget = MemoryBudget.make(options.memoryBytes)
  /** What requests mean, by identity: whoever asks often keeps his request object. */
  const requests = new WeakMap<ShapeRequest, ShapeEntry>()
  const active = yield* Deferred.make<void>()
  const failed = yield* Deferred.make<never, ReplicationError>()
  let status: EngineStatus = "starting"
  let nextId = stored.nextId
  let lastMicros = 0n

  // --- Committer: outlives everything that has something to store ---
  const committer = yield* Committer.make(
    storage,
    budget,
    stored.applied,
    options.committer,
    () => collector.recent()
  )

  // --- Background work of removals: interrupted only after the consumers have ended ---
  const background = yield* FiberSet.makeRuntime<never>()

  /** Removals that a restart would not know of yet. */
  let removing = 0
  /**
   * Completes when every removal so far is in the store. Nobody is told of a shape that took another's place before
   * that: after a crash the old one would be there again, under a handle that clients have been told is gone.
   */
  const awaitRemovals = Effect.suspend(() => removing > 0 ? committer.flush : Effect.void)

  /** Removes a shape in this turn; what it leaves behind is cleared up afterwards. False when it was removed before. */
  const unsafeRemove = (entry: ShapeEntry): boolean => {
    if (!shapes.remove(entry)) return false
    router.remove(entry)
    subqueries.unsafeRemoved(entry)
    // With this turn's position or before it: a restart must not find a shape that missed what removed it.
    committer.unsafeEnqueue([{ _tag: "RemoveShape", shape: entry.id }])
    removing += 1
    background(Effect.zipRight(committer.flush, Effect.sync(() => removing -= 1)))
    const taking = taken.get(entry)
    background(Effect.zipRight(taking ? Fiber.interrupt(taking) : Effect.void, consumers.stop(entry)))
    return true
  }

  const unsafeRotate = (entry: ShapeEntry, reason: string) => {
    if (unsafeRemove(entry)) {
      background(Effect.logInfo(`shape ${entry.handle} of ${describe(entry.definition)} is rotated: ${reason}`))
    }
  }

  // --- Consumers: end by flushing, so before the committer ---
  const consumers = yield* Consumers.make(
    {
      committer,
      storage,
      budget,
      chunkBytes: options.chunkBytes,
      now: () => clock.unsafeCurrentTimeMillis(),
      flushMillis: FLUSH_MILLIS,
      unsafeRotate
    },
    { idleMillis: options.idleMillis },
    (entry, cause) =>
      Effect.zipRight(
        entry.removed ? Effect.void : Effect.logError(`the consumer of shape ${entry.handle} failed`, cause),
        Effect.sync(() => unsafeRotate(entry, "its consumer failed"))
      )
  )
  /** LSN up to which a shape's log misses nothing. */
  const lastSeenOf = (entry: ShapeEntry): Lsn.Lsn => subqueries.behind(entry) ?? collector.lastSeen()
  const reader = ShapeReader.make({
    registry: consumers.registry,
    unsafeConsumer: consumers.unsafeRegistered,
    storage,
    lastSeen: (entry) => lastSeenOf(entry)
  })

  // --- Shapes that were kept ---
  for (const { head, record } of stored.shapes) {
    if (!record.snapshot) {
      committer.unsafeEnqueue([{ _tag: "RemoveShape", shape: record.id }])
      continue
    }
    const entry = new ShapeEntry(record, head, shapes.projection(record.definition), "")
    entry.stale = true
    shapes.add(entry)
    router.add(entry)
    if (stored.unfinished) committer.unsafeEnqueue([{ _tag: "TruncateLog", shape: entry.id, after: entry.head.end }])
  }
  if (stored.unfinished) yield* committer.flush

  // --- Collector ---
  /**
   * A partition that was attached after its shapes were made, or a table that somebody has altered, may lack REPLICA
   * IDENTITY FULL.
   */
  const republish = (relation: Relation): Effect.Effect<void> =>
    Effect.forEach(
      new Set(router.shapesOf(relation.oid).map(({ definition }) => definition.tableOid)),
      (oid) =>
        Effect.flatMap(
          catalog.tableByOid(oid),
          Option.match({ onNone: () => Effect.void, onSome: publication.ensure })
        ),
      { discard: true }
    ).pipe(
      Effect.catchAll((error) =>
        Effect.logWarning(`${relation.schema}.${relation.name} is followed without REPLICA IDENTITY FULL`, error)
      )
    )

  /** When a table's definition came down the stream last, by the count of all such events. */
  const definedAt = new Map<number, number>()
  let definitions = 0

  /** What stands above a table, and which of the shapes that follow it no longer fit it. */
  const onRelation = (relation: Relation): Effect.Effect<void> =>
    Effect.gen(function*() {
      yield* catalog.forget(relation.oid)
      const table = yield* catalog.tableByOid(relation.oid)
      const ancestors = Option.match(table, { onNone: () => [], onSome: ({ ancestors }) => ancestors })
      router.setAncestors(relation.oid, ancestors)
      definitions += 1
      for (const oid of [relation.oid, ...ancestors]) {
        definedAt.set(oid, definitions)
        // Those too that the router does not know yet.
        for (const entry of shapes.byTable(oid)) {
          if (fitsRelation(entry.definition, relation)) entry.stale = true
          else unsafeRotate(entry, "its table was altered")
        }
      }
      if (relation.replicaIdentity !== "f") background(republish(relation))
    }).pipe(
      Effect.tapError((error) => Effect.logWarning("the stream waits for the catalog", error)),
      Effect.retry(retryCatalog),
      Effect.orDie
    )
  const decide = (open: ReadonlyArray<OpenVerdicts.OpenVerdict>): Effect.Effect<void> =>
    OpenVerdicts.decide(open, evaluation).pipe(
      Effect.tapError((error) => Effect.logWarning("the stream waits for the evaluation of where clauses", error)),
      Effect.retry(retryCatalog),
      Effect.orDie
    )
  const collector = Collector.make({
    router,
    consumers,
    committer,
    budget,
    onRelation,
    decide,
    subqueries: () => subqueries
  })

  // --- Snapshots ---
  const taken = new Map<ShapeEntry, Fiber.RuntimeFiber<void>>()
  const runSnapshot = yield* FiberSet.makeRuntime<never, void, never>()
  const snapshotter: Snapshotter.SnapshotterContext = {
    publication,
    snapshots,
    router,
    consumers,
    collector,
    committer,
    subqueries: () => subqueries,
    chunkBytes: options.chunkBytes,
    permits: Effect.unsafeMakeSemaphore(options.concurrentSnapshots)
  }

  const forget = (tableOid: number) => Effect.provideService(ResolveDefinition.forget(tableOid), Catalog, catalog)

  const takeSnapshot = (entry: ShapeEntry, table: TableInfo) =>
    Snapshotter.take(entry, table, snapshotter).pipe(
      Effect.catchAllDefect((defect) =>
        Effect.zipRight(
          Effect.logError("a snapshot failed unexpectedly", defect),
          new SnapshotFailed({
            reason: "unknown",
            detail: "Unexpected error while creating snapshot: the engine failed"
          })
        )
      ),
      Effect.catchTag("SnapshotFailed", (error) =>
        Effect.gen(function*() {
          if (entry.removed) return
          yield* Effect.logWarning(`the snapshot of ${describe(entry.definition)} failed: ${error.detail}`)
          // Else whoever asks again would be told to ask again, for ever.
          if (error.reason === "schema_changed") yield* forget(entry.definition.tableOid)
          entry.snapshot = { _tag: "Failed", error }
          unsafeRemove(entry)
        })),
      Effect.annotateLogs({ module: "Snapshotter", shape: entry.handle })
    )

  const unsafeCreate = (definition: ShapeDefinition, table: TableInfo): ShapeEntry => {
    const micros = BigInt(clock.unsafeCurrentTimeMillis()) * 1000n
    lastMicros = micros > lastMicros ? micros : lastMicros + 1n
    const handle = `${hash(identity(definition))}-${lastMicros}`
    const record = { id: nextId++, handle, definition, snapshot: undefined }
    const entry = new ShapeEntry(record, undefined, shapes.projection(definition), schemaOf(definition, table))
    shapes.add(entry)
    return entry
  }

  /**
   * What a request means. Again, if the definition of a table has come down the stream meanwhile: it may be newer than what
   * was looked at, and is not looked at by the stream a second time.
   */
  const define = Effect.fnUntraced(function*(request: ShapeRequest) {
    while (true) {
      const since = definitions
      const resolved = yield* ResolveDefinition.resolve(request, yield* options.serverVersion).pipe(
        Effect.provideService(Catalog, catalog)
      )
      const { tableOid, where } = resolved.definition
      const tables = [tableOid, ...(where ? subqueriesOf(where.expression).map((inner) => inner.tableOid) : [])]
      if (tables.every((oid) => (definedAt.get(oid) ?? 0) <= since)) return resolved
    }
  })

  /** The shape that there is, or a new one; in one turn, so that concurrent requests make one shape. */
  const unsafeObtain = (definition: ShapeDefinition, table: TableInfo): ShapeEntry => {
    const kept = shapes.byIdentity(identity(definition))
    if (kept) return kept
    const entry = unsafeCreate(definition, table)
    // Begun in the same turn: whoever asked may be interrupted, and the shape is there for others.
    const taking = runSnapshot(takeSnapshot(entry, table))
    taken.set(entry, taking)
    taking.addObserver(() => taken.delete(entry))
    return entry
  }

  const resolve = Effect.fnUntraced(function*(request: ShapeRequest) {
    const { definition, table } = yield* define(request)
    const entry = unsafeObtain(definition, table)
    if (entry.stale) {
      entry.schema = schemaOf(definition, table)
      entry.stale = false
    }
    yield* awaitRemovals
    // Removed meanwhile: whoever reads it would be told that it is gone, and to ask for it again.
    if (entry.snapshot._tag === "Failed") return yield* entry.snapshot.error
    requests.set(request, entry)
    return entry
  })

  // --- Subqueries: what they write is flushed by the consumers, so they end before them ---
  const toFailure = (error: ShapeGone | StorageError | DatabaseUnavailable) =>
    new SnapshotFailed({
      reason: error._tag === "DatabaseUnavailable" ? "connection" : "unknown",
      detail: `Unable to follow a subquery: ${error.message}`
    })
  const subqueries: Subqueries.Subqueries = yield* Subqueries.make({
    consumers,
    committer,
    budget,
    collector: () => collector,
    snapshots,
    evaluation,
    inner: (subquery) =>
      Effect.flatMap(
        Effect.mapError(catalog.tableByOid(subquery.tableOid), toFailure),
        Option.match({
          onNone: () =>
            new SnapshotFailed({ reason: "schema_changed", detail: `Table ${subquery.table} does not exist` }),
          onSome: (table) => Effect.sync(() => unsafeObtain(innerShape(subquery), table))
        })
      ),
    unsafeKept: (subquery) => shapes.byIdentity(identity(innerShape(subquery))),
    materialize: (entry, { targets }, from) =>
      Materializer.make(entry, { targets, from }, { consumers, reader, storage, committer }).pipe(
        Effect.mapError((error) => error._tag === "SnapshotFailed" ? error : toFailure(error))
      ),
    unsafeRotate,
    permits: Effect.unsafeMakeSemaphore(options.concurrentMoves),
    journalStore: { unsafeEnqueue: committer.unsafeEnqueue, read: storage.scratch },
    journal: options.journal,
    snapshotPermits: snapshotter.permits
  })
  if (stored.applied) collector.unsafeReset(stored.applied.lsn, stored.applied.recent)
  yield* subqueries.restore([...shapes.all()].filter(({ hasSubqueries }) => hasSubqueries), collector.lastSeen())
  for (const entry of [...shapes.all()]) {
    if (entry.definition.internal && !subqueries.isUsed(entry)) unsafeRotate(entry, "no shape depends on it")
  }

  // --- Stream: built last, stops first ---
  const purge = (reason: string) => {
    for (const entry of [...shapes.all()]) unsafeRotate(entry, reason)
  }

  /**
   * Decides whether the connection continues what the store has; if not, starts over with nothing. Returns where to
   * stream from.
   */
  const adopt = (connection: ReplicationConnection) =>
    Effect.sync(() => {
      const { confirmedFlush, slot, slotCreated, systemId, timeline } = connection
      const position = committer.position()
      const continues = position !== undefined && !slotCreated && position.systemId === systemId &&
        position.timeline === timeline && position.slot === slot && confirmedFlush <= position.endLsn
      if (continues) return position.endLsn
      if (position) purge("the database, its timeline or the replication slot is another than before")
      // A commit record may begin exactly where the slot begins.
      const lsn = confirmedFlush > 0n ? confirmedFlush - 1n : 0n
      committer.unsafeReset({ systemId, timeline, slot, lsn, endLsn: confirmedFlush, recent: [] })
      collector.unsafeReset(lsn, [])
      return confirmedFlush
    })

  let followedSince: number | undefined
  const follow = Effect.scoped(Effect.gen(function*() {
    const connection = yield* stream.connect
    const from = yield* adopt(connection)
    yield* connection.start(from)
    yield* Effect.acquireRelease(
      Effect.sync(() => committer.onDurable((endLsn) => background(connection.confirm(endLsn)))),
      () => Effect.sync(() => committer.onDurable(undefined))
    )
    followedSince = clock.unsafeCurrentTimeMillis()
    status = "active"
    yield* Deferred.succeed(active, void 0)
    yield* Effect.logInfo(`following slot ${connection.slot} from ${Lsn.format(from)}`)
    return yield* Effect.forever(Effect.flatMap(connection.pull, collector.process))
  })).pipe(Effect.ensuring(collector.abort))

  const keepFollowing = Effect.gen(function*() {
    let failures = 0
    while (true) {
      followedSince = undefined
      const error = yield* Effect.flip(follow)
      if (!error.retryable) return yield* Deferred.fail(failed, error)
      if (followedSince !== undefined && clock.unsafeCurrentTimeMillis() - followedSince >= STABLE_MILLIS) failures = 0
      const millis = Math.min(500 * 1.5 ** failures, 10_000)
      failures += 1
      yield* Effect.logWarning(`${error.message}; trying again in ${Math.round(millis)} ms`)
      yield* Effect.sleep(millis)
    }
  })
  yield* Effect.forkScoped(keepFollowing.pipe(
    Effect.catchAllCause((cause) =>
      Cause.isInterruptedOnly(cause) ? Effect.void : Effect.zipRight(
        Effect.logFatal("the stream can no longer be followed", cause),
        Deferred.failCause(failed, Cause.die(Cause.squash(cause)))
      )
    ),
    Effect.annotateLogs({ module: "Collector" })
  ))

  /**
   * Catches what the stream does not say: tables that were dropped, renamed or altered without a write since (H101).
   */
  const reconcile = Effect.gen(function*() {
    yield* Effect.sleep(options.reconcileMillis)
    for (const oid of shapes.tables()) {
      yield* catalog.forget(oid)
      const table = yield* catalog.tableByOid(oid)
      for (const entry of shapes.byTable(oid)) {
        if (Option.isSome(table) && fitsTable(entry.definition, table.value)) entry.stale = true
        else unsafeRotate(entry, "its table was dropped, renamed or altered")
      }
    }
  }).pipe(
    Effect.catchTag("DatabaseUnavailable", (error) => Effect.logDebug("the catalog could not be compared", error))
  )
  yield* Effect.forkScoped(Effect.forever(reconcile))

  const { maxShapes } = options
  if (maxShapes !== undefined) {
    const evict = Effect.sync(() => {
      if (status !== "active") return
      const asked = [...shapes.all()].filter(({ definition }) => !definition.internal)
      for (const entry of leastRecentlyRead(asked, asked.length - maxShapes)) {
        unsafeRotate(entry, `there are more than ${maxShapes} shapes, and this one has not been read for longest`)
      }
    })
    yield* Effect.forkScoped(Effect.forever(Effect.zipRight(Effect.sleep(EVICTION_MILLIS), evict)))
  }
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      status = "stopping"
    })
  )

  const subsets: Subset.SubsetContext = {
    catalog,
    snapshots,
    collector,
    permits: Effect.unsafeMakeSemaphore(options.concurrentSubsets),
    held: { bytes: 0 }
  }
  const subset = (entry: ShapeEntry, request: SubsetRequest) => {
    entry.lastRead = clock.unsafeCurrentTimeMillis()
    return Effect.flatMap(Random.nextIntBetween(0, 2 ** 31), (mark) => Subset.query(entry, request, mark, subsets))
  }

  /** The shape of a handle that somebody may ask for. */
  const unsafeFind = (handle: string): ShapeEntry | undefined => {
    const entry = shapes.byHandle(handle)
    return entry?.definition.internal ? undefined : entry
  }

  const withEntry = <A, E, R>(
    handle: string,
    use: (entry: ShapeEntry) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | ShapeGone, R> =>
    Effect.suspend((): Effect.Effect<A, E | ShapeGone, R> => {
      const entry = unsafeFind(handle)
      return entry ? use(entry) : Effect.fail(new ShapeGone({ handle }))
    })

  const engine = ShapeEngine.of({
    status: Effect.sync(() => status),
    awaitActive: Deferred.await(active),
    resolve: (request) =>
      Effect.suspend(() => {
        const known = requests.get(request)
        const entry = known && !known.removed && !known.stale ? Effect.succeed(known) : resolve(request)
        return Effect.map(entry, (entry) => {
          entry.lastRead = clock.unsafeCurrentTimeMillis()
          return { handle: entry.handle, schema: entry.schema }
        })
      }),
    find: (request) =>
      Effect.map(define(request), ({ definition }) => Option.fromNullable(shapes.byIdentity(identity(definition)))),
    subset: (handle, request) => withEntry(handle, (entry) => subset(entry, request)),
    exists: (handle) => unsafeFind(handle) !== undefined,
    unsafePeek: (request, after) => {
      const entry = requests.get(request)
      if (status !== "active" || !entry || entry.removed || entry.stale || removing > 0) return undefined
      const slice = reader.unsafeRead(entry, after)
      entry.lastRead = clock.unsafeCurrentTimeMillis()
      return slice && { shape: entry, slice }
    },
    read: (handle, after) =>
      withEntry(handle, (entry) => {
        entry.lastRead = clock.unsafeCurrentTimeMillis()
        return reader.read(entry, after)
      }),
    end: (handle) => withEntry(handle, reader.end),
    awaitChange: (handle, after) => withEntry(handle, (entry) => entry.awaitWake(after)),
    followedLsn: Effect.sync(collector.lastSeen),
    lastSeenLsn: (handle) => withEntry(handle, (entry) => Effect.sync(() => lastSeenOf(entry))),
    describe: (handle) => withEntry(handle, (entry) => Effect.sync(() => descriptionOf(entry))),
    remove: (handle) =>
      withEntry(handle, (entry) => Effect.sync(() => unsafeRotate(entry, "it was removed on request")))
  })
  const gauges = EngineGauges.of({
    memoryBytes: budget.used,
    shapes: shapes.size,
    consumers: consumers.active,
    snapshots: () => taken.size,
    subqueries: subqueries.held,
    journalBytes: subqueries.journalBytes
  })
  return Context.make(ShapeEngine, engine).pipe(
    Context.add(EngineFailure, Deferred.await(failed)),
    Context.add(EngineGauges, gauges)
  )
})

const describe = ({ schema, table, where }: ShapeDefinition): string =>
  `${schema}.${table}${where ? " (filtered)" : ""}`

const descriptionOf = ({ definition, handle }: ShapeEntry): ShapeDescription => ({
  handle,
  table: `${definition.schema}.${definition.table}`,
  columns: definition.columns.map(({ name }) => name),
  where: definition.where && { sql: definition.where.sql, ...describeClause(definition.where.expression) }
})

/** The shape whose rows a subquery is about. */
const innerShape = (subquery: Subquery): ShapeDefinition => {
  const { columns, hasPrimaryKey, keyColumns, schema, table, tableOid, targets, where } = subquery
  return {
    tableOid,
    schema,
    table,
    keyColumns,
    hasPrimaryKey,
    columns,
    explicitColumns: true,
    where,
    replica: "full",
    log: "full",
    ...(where && hasMember(where.expression) && { tags: "none" }),
    internal: targets.map(({ name }) => name)
  }
}

const schemaOf = (definition: ShapeDefinition, table: TableInfo): string =>
  ElectricSchema.json(table.columns.filter((column) => definition.columns.some(({ name }) => name === column.name)))

export const layer = (
  options: EngineOptions
): Layer.Layer<
  ShapeEngine | EngineFailure | EngineGauges,
  StorageError,
  Catalog | Publication | ReplicationStream | RowEvaluation | ShapeStorage | SnapshotQuery
> => Layer.scopedContext(make(options))
