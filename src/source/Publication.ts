/**
 * Makes tables part of the publication.
 *
 * A table joins with `ALTER PUBLICATION … ADD TABLE` and `ALTER TABLE … REPLICA IDENTITY FULL`. The first does not wait
 * for transactions that have written to the table already, and those are not (wholly) in the stream; the second does,
 * as it locks the table. So when the first alone was needed, the writers of that moment are waited for.
 */
import type { SqlError } from "@effect/sql/SqlError"
import { Clock, Context, Deferred, Effect, FiberId, Layer, Schema } from "effect"
import pg from "pg"
import { DatabaseUnavailable, SnapshotFailed } from "../domain/Errors.ts"
import { quote } from "../domain/Identifier.ts"
import type { TableInfo } from "../domain/Relation.ts"
import { Database } from "./Database.ts"

export class Publication extends Context.Tag("shapelog/source/Publication")<Publication, {
  /**
   * Sees to it that changes of the table (and of its partitions) are published with REPLICA IDENTITY FULL. When it
   * returns, every transaction that could have written to the table before that has ended: a snapshot taken now and the
   * stream miss nothing between them. Nothing is altered when nothing needs to be. Concurrent calls for one table share
   * the work; tables are altered one after another.
   */
  readonly ensure: (table: TableInfo) => Effect.Effect<void, SnapshotFailed | DatabaseUnavailable>
}>() {}

export interface PublicationOptions {
  /** Never alters anything: tables that are not published as they should be are refused. */
  readonly manual: boolean
}

const LOCK_TIMEOUT = "5s"
const WRITERS_MILLIS = 30_000
const POLL_MILLIS = 50
/** How often a table is tried again after a deadlock, or after somebody else has altered it at the same time. */
const ATTEMPTS = 4

// --- What the catalog says ---

/**
 * The table and, of a partitioned one, every leaf: what has to have its identity set. A table is published through
 * itself, any partitioned table above it, its schema, or a publication of all tables; `since` is the transaction that
 * made it so.
 */
const STATUS = `
WITH relations AS (
  SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relreplident = 'f' AS full_identity
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = $1::oid
    OR c.relkind = 'r' AND c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::oid) WHERE isleaf)
),
publication AS (
  SELECT p.oid, p.xmin, p.puballtables, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS complete
  FROM pg_catalog.pg_publication p WHERE p.pubname = $2
),
published AS (
  -- Row filters and column lists are of Postgres 15 and later.
  SELECT pr.xmin, to_jsonb(pr) ->> 'prqual' IS NOT NULL OR to_jsonb(pr) ->> 'prattrs' IS NOT NULL AS partial
  FROM pg_catalog.pg_publication_rel pr JOIN publication p ON p.oid = pr.prpubid
  WHERE pr.prrelid = $1::oid
    OR pr.prrelid IN (SELECT relid FROM pg_catalog.pg_partition_ancestors($1::oid) AS a (relid))
  UNION ALL SELECT p.xmin, false FROM publication p WHERE p.puballtables
)
SELECT (SELECT complete::text FROM publication) AS complete,
  (SELECT xmin::text FROM published ORDER BY partial LIMIT 1) AS since,
  (SELECT bool_and(partial)::text FROM published) AS partial,
  (SELECT json_agg(json_build_object(
    'oid', oid::int8, 'schema', schema, 'name', name, 'full', full_identity
  ) ORDER BY schema COLLATE "C", name COLLATE "C")::text FROM relations) AS relations`

/**
 * Whether every relation that has rows is published, by whatever means (such as its whole schema). Slower than `STATUS`
 * with many tables, and doesn't say since when.
 */
const PUBLISHED_SOMEHOW = `
SELECT (count(*) > 0 AND bool_and(t.pubname IS NOT NULL))::text AS published
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_publication_tables t ON t.pubname = $2 AND t.schemaname = n.nspname AND t.tablename = c.relname
WHERE c.relkind = 'r'
  AND (c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::oid) WHERE isleaf))`

/** A transaction before all others: what stands in for the one that published a schema. */
const LONG_AGO = 2

const RelationStatus = Schema.Struct({
  oid: Schema.Number,
  schema: Schema.String,
  name: Schema.String,
  full: Schema.Boolean
})

const decodeRelations = Schema.decodeUnknownSync(Schema.parseJson(Schema.Array(RelationStatus)))

interface Status {
  /** `undefined` when there is no such publication; whether it publishes all kinds of changes. */
  readonly complete: boolean | undefined
  /** The 32-bit id of the transaction that published the table; `undefined` when it isn't. */
  readonly since: number | undefined
  /** Whether it is published with a row filter or a column list. */
  readonly partial: boolean
  /** In the order in which everybody alters them; empty when the table is gone. */
  readonly relations: ReadonlyArray<typeof RelationStatus.Type>
}

/**
 * Transactions that hold a lock under which the relations are written to and have an id, which is what a transaction
 * gets before it writes. A prepared transaction is one of them.
 */
const WRITERS = `
SELECT DISTINCT l.virtualtransaction AS transaction, x.transactionid AS xid
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_locks x ON x.virtualtransaction = l.virtualtransaction AND x.locktype = 'transactionid'
  AND x.mode = 'ExclusiveLock' AND x.granted
WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY ($1::oid[])
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')`

/**
 * How many transaction ids may have been given out while the transaction that published a table was open: writers with
 * a later id began after it had committed.
 */
const MARGIN = 10_000

/** Whether the 32-bit `xid` was given out before `since` committed. */
const mayPrecede = (xid: number, since: number): boolean => ((xid - since) | 0) < MARGIN

// --- Errors ---

const unavailable = (cause: unknown) => new DatabaseUnavailable({ operation: "publishing a table", cause })

const lockTimeout = new SnapshotFailed({
  reason: "lock_timeout",
  detail: "Snapshot timed out while waiting for a table lock"
})

/**
 * What a refused statement means for the shape; broken connections and a server in trouble are the database being
 * unavailable.
 */
const judge = ({ cause }: SqlError): SnapshotFailed | DatabaseUnavailable => {
  const state = cause instanceof pg.DatabaseError ? cause.code ?? "" : ""
  if (!(cause instanceof pg.DatabaseError) || /^(08|53|57P|58|XX)/.test(state)) return unavailable(cause)
  // Lock not available, deadlock, statement timeout.
  if (state === "55P03" || state === "40P01" || state === "57014") return lockTimeout
  const refused = new SnapshotFailed({
    reason: "refused",
    detail: `Unable to create initial snapshot: ${cause.message}`
  })
  switch (state) {
    // The table, or its schema, was dropped or renamed.
    case "42P01":
    case "3F000":
      return new SnapshotFailed({ reason: "schema_changed", detail: refused.detail })
    // The publication was dropped.
    case "42704":
      return new SnapshotFailed({ reason: "publication", detail: refused.detail })
    default:
      return refused
  }
}

// --- Service ---

const make = Effect.fnUntraced(function*(options: PublicationOptions) {
  const { admin, names } = yield* Database
  const scope = yield* Effect.scope
  const altering = yield* Effect.makeSemaphore(1)
  /** Tables that were found published, with no old writer left, in this process's life. */
  const settled = new Set<number>()
  const inFlight = new Map<number, Deferred.Deferred<void, SnapshotFailed | DatabaseUnavailable>>()

  const readStatus = Effect.fnUntraced(function*(oid: number) {
    const status = yield* readMembership(oid)
    if (!options.manual || status.since !== undefined) return status
    const [row] = yield* admin.unsafe<{ readonly published: string }>(PUBLISHED_SOMEHOW, [oid, names.publication]).pipe(
      Effect.mapError(({ cause }) => unavailable(cause))
    )
    return row?.published === "true" ? { ...status, since: LONG_AGO } : status
  })

  const readMembership = (oid: number): Effect.Effect<Status, DatabaseUnavailable> =>
    admin.unsafe<Readonly<Record<string, string | null>>>(STATUS, [oid, names.publication]).pipe(
      Effect.mapError(({ cause }) => unavailable(cause)),
      Effect.map(([row]) => ({
        complete: row?.complete === undefined || row.complete === null ? undefined : row.complete === "true",
        since: row?.since === undefined || row.since === null ? undefined : Number(row.since),
        partial: row?.partial === "true",
        relations: row?.relations ? decodeRelations(row.relations) : []
      }))
    )

  const check = (status: Status) => {
    if (status.relations.length === 0) {
      return Effect.fail(new SnapshotFailed({ reason: "schema_changed", detail: "The table does not exist any more" }))
    }
    if (status.complete !== true) {
      return Effect.fail(
        new SnapshotFailed({
          reason: "publication",
          detail: status.complete === undefined
            ? `Publication "${names.publication}" is missing from the database`
            : `Publication "${names.publication}" does not publish all of INSERT, UPDATE, DELETE and TRUNCATE`
        })
      )
    }
    if (status.partial) {
      return Effect.fail(
        new SnapshotFailed({
          reason: "publication",
          detail:
            `Publication "${names.publication}" publishes the table with a row filter or a column list: add it without`
        })
      )
    }
    return Effect.void
  }

  const isDone = (status: Status): boolean =>
    status.since !== undefined && status.relations.every((relation) => relation.full)

  const refuse = (table: TableInfo, status: Status): SnapshotFailed => {
    const wanting = status.relations.find((relation) => !relation.full)
    return new SnapshotFailed({
      reason: "publication",
      detail: status.since === undefined
        ? `Database table "${table.schema}.${table.name}" is missing from the publication "${names.publication}" and the ` +
          "SHAPELOG_MANUAL_TABLE_PUBLISHING setting prevents Shapelog from adding it"
        : `Database table "${wanting?.schema}.${wanting?.name}" does not have its replica identity set to FULL`
    })
  }

  /**
   * The statements that are wanting, a transaction for each relation. The publication comes before the table's lock in
   * each.
   */
  const alter = Effect.fnUntraced(function*(oid: number, status: Status) {
    for (const relation of status.relations) {
      const name = `${quote(relation.schema)}.${quote(relation.name)}`
      const statements = [
        ...(relation.oid === oid && status.since === undefined
          ? [`ALTER PUBLICATION ${quote(names.publication)} ADD TABLE ONLY ${name}`]
          : []),
        ...(relation.full ? [] : [`ALTER TABLE ONLY ${name} REPLICA IDENTITY FULL`])
      ]
      if (statements.length === 0) continue
      // Sent as one, so that they are one transaction which ends with them, whatever happens.
      yield* admin.unsafe([`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`, ...statements].join("; "))
      yield* Effect.logInfo(`altered for publication ${names.publication}: ${statements.join("; ")}`)
    }
  })

  /** Alters what is wanting. Returns the relations whose writers have not been waited for by that. */
  const publish = Effect.fnUntraced(function*(table: TableInfo) {
    for (let attempt = 1;; attempt++) {
      const status = yield* readStatus(table.oid)
      yield* check(status)
      if (isDone(status)) return status.relations
      if (options.manual) return yield* refuse(table, status)
      const before = status.relations
      const failure = yield* alter(table.oid, {
        ...status,
        // The table itself comes first: once it is published, an identity's lock waits for the writers of its relation.
        relations: [
          ...before.filter((relation) => relation.oid === table.oid),
          ...before.filter((relation) => relation.oid !== table.oid)
        ]
      }).pipe(Effect.match({ onFailure: (error) => error, onSuccess: () => undefined }))
      if (failure === undefined) return before.filter((relation) => relation.full)
      const state = failure.cause instanceof pg.DatabaseError ? failure.cause.code : undefined
      // Another engine was quicker, or a deadlock was resolved at our cost: look again.
      if (!(state === "42710" || state === "40P01" || state === "XX000") || attempt === ATTEMPTS) {
        return yield* judge(failure)
      }
    }
  })

  const writers = (oids: ReadonlyArray<number>) =>
    admin.unsafe<{ readonly transaction: string; readonly xid: string }>(WRITERS, [`{${oids.join(",")}}`]).pipe(
      Effect.mapError(({ cause }) => unavailable(cause))
    )

  /** Waits until the transactions that wrote to the relations before they were published have ended. */
  const awaitWriters = Effect.fnUntraced(function*(table: TableInfo, oids: ReadonlyArray<number>) {
    const { since } = yield* readStatus(table.oid)
    if (since === undefined || oids.length === 0) return
    let waiting = new Set(
      (yield* writers(oids)).filter(({ xid }) => mayPrecede(Number(xid), since)).map(({ transaction }) => transaction)
    )
    if (waiting.size === 0) return
    yield* Effect.logInfo(`waiting for ${waiting.size} transaction(s) that wrote to ${table.schema}.${table.name}`)
    const deadline = (yield* Clock.currentTimeMillis) + WRITERS_MILLIS
    while (waiting.size > 0) {
      if ((yield* Clock.currentTimeMillis) >= deadline) return yield* lockTimeout
      yield* Effect.sleep(POLL_MILLIS)
      const now = new Set((yield* writers(oids)).map(({ transaction }) => transaction))
      waiting = new Set([...waiting].filter((transaction) => now.has(transaction)))
    }
  })

  const run = Effect.fnUntraced(function*(table: TableInfo) {
    const status = yield* readStatus(table.oid)
    yield* check(status)
    if (settled.has(table.oid) && isDone(status)) return
    settled.delete(table.oid)
    const relations = isDone(status) ? status.relations : yield* altering.withPermits(1)(publish(table))
    yield* awaitWriters(table, relations.map((relation) => relation.oid))
    settled.add(table.oid)
  })

  const ensure = (table: TableInfo) =>
    Effect.suspend(() => {
      const running = inFlight.get(table.oid)
      if (running !== undefined) return Deferred.await(running)
      const result = Deferred.unsafeMake<void, SnapshotFailed | DatabaseUnavailable>(FiberId.none)
      inFlight.set(table.oid, result)
      const work = run(table).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            inFlight.delete(table.oid)
            Deferred.unsafeDone(result, exit)
          })
        )
      )
      // In the service's scope: the one who asked first may be interrupted, those who joined him are not.
      return Effect.uninterruptibleMask((restore) =>
        Effect.zipRight(Effect.forkIn(Effect.interruptible(work), scope), restore(Deferred.await(result)))
      )
    })

  return Publication.of({ ensure })
})

export const layer = (options: PublicationOptions): Layer.Layer<Publication, never, Database> =>
  Layer.scoped(Publication, make(options))
