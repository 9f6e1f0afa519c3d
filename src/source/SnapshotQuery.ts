/**
 * The rows of a shape as they are now, as COPY text, with the snapshot they were read in.
 */
import { Context, Effect, Layer, Option, type Scope } from "effect"
import type pg from "pg"
import { SnapshotFailed } from "../domain/Errors.ts"
import { quote, quoteLiteral } from "../domain/Identifier.ts"
import * as Lsn from "../domain/Lsn.ts"
import * as PgSnapshot from "../domain/PgSnapshot.ts"
import type { SnapshotMarks } from "../domain/PgSnapshot.ts"
import type { CopyRows } from "../domain/SnapshotEncoder.ts"
import * as CopyWire from "./CopyWire.ts"
import { Database, DISPLAY_SETTINGS } from "./Database.ts"
import * as PgCancel from "./PgCancel.ts"

export interface SnapshotRows {
  readonly marks: SnapshotMarks
  /** The next rows, `None` after the last. The query runs only as fast as this is called. Calls must not overlap. */
  readonly pull: Effect.Effect<Option.Option<CopyRows>, SnapshotFailed>
}

/** `SELECT columns FROM schema.table WHERE where ORDER BY orderBy LIMIT limit OFFSET offset`. */
export interface SnapshotSelect {
  readonly schema: string
  readonly table: string
  readonly columns: ReadonlyArray<string>
  /** SQL of further fields, after the columns; printed as `where` is. */
  readonly fields?: ReadonlyArray<string> | undefined
  /** SQL that was printed from a parsed clause, never the user's text; `undefined` selects all rows. A function is called with the first pull. */
  readonly where: string | undefined | (() => string | undefined)
  /** As `where`; rows come in any order when there is none. */
  readonly orderBy?: string | undefined
  readonly limit?: number | undefined
  readonly offset?: number | undefined
  /** With false nothing is queried: only the marks are taken. */
  readonly rows: boolean
}

export class SnapshotQuery extends Context.Tag("shapelog/source/SnapshotQuery")<SnapshotQuery, {
  /**
   * Opens a REPEATABLE READ READ ONLY transaction, reads its marks, and is ready to copy. The scope ends the
   * transaction.
   */
  readonly open: (select: SnapshotSelect) => Effect.Effect<SnapshotRows, SnapshotFailed, Scope.Scope>
}>() {}

/** How long a snapshot may wait for a connection, and for its first rows. */
const POOL_LIMIT = "30 seconds"
const FIRST_ROWS_LIMIT_MILLIS = 30_000
/** Below the limit above, so that waiting for a lock is reported as what it is. */
const LOCK_LIMIT_MILLIS = 20_000
/** How long cancelling, or ending the transaction, may take before the connection is given up. */
const CLOSE_LIMIT = "2 seconds"

// --- Errors ---

/** Tells a SQLSTATE from a socket error's code. */
const sqlState = /^(?:\d[0-9A-Z]|F0|HV|P0|XX)[0-9A-Z]{3}$/
const schemaCodes = new Set(["42P01", "42703", "42883", "42704", "42804", "3F000"])

interface Problem {
  readonly code?: string | undefined
  readonly message: string
  /** What Postgres was in the middle of. */
  readonly where?: string | undefined
}

/**
 * Whether the where clause has no value for some row: invalid values (class 22) and those that a domain refuses (23),
 * what is not supported (0A) or beyond a limit (54), and whatever a function of the clause fails with.
 */
const isOfClause = (code: string, { where }: Problem): boolean =>
  /^(22|23|0A|54|P0)/.test(code) || (where !== undefined && !code.startsWith("XX"))

/** Postgres's error, or the socket's, as what it means for the snapshot. Texts: Electric HTTP protocol §9.4. */
const failed = (error: Problem): SnapshotFailed => {
  const code = error.code ?? ""
  const detail = `Unable to create initial snapshot: ${error.message}`
  const refusal = { code, message: error.message }
  if (code === "55P03") {
    return new SnapshotFailed({ reason: "lock_timeout", detail: "Snapshot timed out while waiting for a table lock" })
  }
  if (code === "57014") return tookTooLong
  if (!sqlState.test(code) || /^(08|28|3D|53|57P)/.test(code)) return noConnection
  // Insufficient privilege.
  if (code === "42501" || isOfClause(code, error)) return new SnapshotFailed({ reason: "refused", detail, refusal })
  if (schemaCodes.has(code)) return new SnapshotFailed({ reason: "schema_changed", detail, refusal })
  return new SnapshotFailed({
    reason: "unknown",
    detail: `Unexpected error while creating snapshot: ${error.message}`,
    refusal
  })
}

const tookTooLong = new SnapshotFailed({
  reason: "query_timeout",
  detail: `Snapshot query took too long to return data (cancelled after ${FIRST_ROWS_LIMIT_MILLIS}ms). `
    + "Please ensure snapshot queries are using an index to avoid taking up all database connections."
})
const noConnection = new SnapshotFailed({ reason: "connection", detail: "Database connection not available" })
const poolExhausted = new SnapshotFailed({
  reason: "pool_timeout",
  detail: "Snapshot creation failed because of a connection pool queue timeout"
})

// --- Connection ---

/**
 * A pool's connection for one transaction: whatever state it is left in, closing ends the transaction and the pool
 * stays healthy.
 */
class Lease {
  private readonly pool: pg.Pool
  private client: pg.PoolClient | undefined
  private closed = false
  /** Whether a transaction has to be ended. */
  private open = false
  /** Whether the server is at work for us: then the connection can't be used for anything else. */
  private busy = false
  private broken: Error | undefined

  constructor(pool: pg.Pool) {
    this.pool = pool
  }

  private readonly onError = (error: Error): void => {
    this.broken = error
  }

  /** Takes a connection out of the pool: at once if one is idle, and otherwise within the limit. */
  get checkout(): Effect.Effect<void, SnapshotFailed> {
    return this.pool.idleCount > 0 && this.pool.waitingCount === 0
      ? this.connect
      : Effect.timeoutFail(this.connect, { duration: POOL_LIMIT, onTimeout: () => poolExhausted })
  }

  private readonly connect: Effect.Effect<void, SnapshotFailed> = Effect.async((resume) => {
    this.pool.connect((error, client) => {
      if (client === undefined) {
        const waitedInVain = error?.message === "timeout exceeded when trying to connect"
        return resume(Effect.fail(waitedInVain ? poolExhausted : failed(error ?? noConnection)))
      }
      if (this.closed) return client.release()
      client.on("error", this.onError)
      this.client = client
      resume(Effect.void)
    })
  })

  /** Runs statements that begin the transaction; their results. */
  readonly begin = (sql: string): Effect.Effect<Array<pg.QueryResult<Record<string, unknown>>>, SnapshotFailed> => {
    this.open = true
    return this.query(sql)
  }

  private readonly query = (
    sql: string
  ): Effect.Effect<Array<pg.QueryResult<Record<string, unknown>>>, SnapshotFailed> =>
    this.use(
      (client) =>
        Effect.async<Array<pg.QueryResult>, SnapshotFailed>((resume) => {
          client.query(
            sql,
            (error: Error | null, result: pg.QueryResult | Array<pg.QueryResult>) =>
              resume(error ? Effect.fail(failed(error)) : Effect.succeed(Array.isArray(result) ? result : [result]))
          )
        }),
      () => false
    )

  /** Runs a COPY, and with it what ends the transaction: a round trip less. */
  readonly copy = (sql: string): Effect.Effect<CopyWire.CopyWire, SnapshotFailed> =>
    this.use((client) => Effect.mapError(CopyWire.open(client, `${sql}; COMMIT`), failed), () => true)

  /** Reads on in a COPY of this connection. */
  readonly pull = (wire: CopyWire.CopyWire): Effect.Effect<Option.Option<CopyRows>, SnapshotFailed> =>
    this.use(() => Effect.mapError(wire.pull, failed), (rows) => {
      if (Option.isNone(rows)) this.open = false
      return Option.isSome(rows)
    })

  /**
   * Runs something on the connection, which is busy until that has ended, and after that if `leavesBusy`. Interruption
   * leaves it busy.
   */
  private use<A>(
    run: (client: pg.PoolClient) => Effect.Effect<A, SnapshotFailed>,
    leavesBusy: (value: A) => boolean
  ): Effect.Effect<A, SnapshotFailed> {
    return Effect.suspend(() => {
      if (this.client === undefined) return Effect.fail(noConnection)
      this.busy = true
      return Effect.mapBoth(run(this.client), {
        onFailure: (error) => {
          this.busy = false
          return error
        },
        onSuccess: (value) => {
          this.busy = leavesBusy(value)
          return value
        }
      })
    })
  }

  /**
   * Ends the transaction and returns the connection, or cancels the query and destroys the connection. Later calls do
   * nothing.
   */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.closed = true
    const client = this.client
    if (client === undefined) return Effect.void
    const release = (error: Error | undefined): void => {
      client.removeListener("error", this.onError)
      // The connection may still report an error on its way out.
      if (error) client.on("error", () => {})
      client.release(error)
    }
    if (!this.busy && !this.open) {
      this.client = undefined
      return Effect.sync(() => release(this.broken))
    }
    const limited = <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.timeoutOption(Effect.interruptible(effect), CLOSE_LIMIT)
    const ended = this.busy
      ? Effect.as(limited(PgCancel.cancel(client)), new Error("the snapshot was interrupted"))
      : limited(this.query("COMMIT")).pipe(
        Effect.match({
          onFailure: (error) => error,
          onSuccess: (done) => Option.isSome(done) ? this.broken : new Error("the snapshot's transaction did not end")
        })
      )
    return Effect.map(ended, (error) => {
      this.client = undefined
      release(error)
    })
  })
}

// --- Query ---

const tableName = (select: SnapshotSelect): string => `${quote(select.schema)}.${quote(select.table)}`

/** `SET name = value` of the display settings, and what bounds waiting for locks, as one expression each. */
const settings = [...DISPLAY_SETTINGS.split("; "), `SET lock_timeout = '${LOCK_LIMIT_MILLIS}'`].map((statement) =>
  statement.replace(
    /^SET (\w+) = '?([^']*)'?$/,
    (_, name: string, value: string) => `set_config('${name}', '${value}', true)`
  )
)

/**
 * The transaction's first query takes the snapshot, the WAL position is read by a later one; `relkind` is what the same
 * snapshot says.
 */
const begin = (select: SnapshotSelect): string =>
  [
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    // The settings once more and for this transaction: behind a pooler the session may be another one than they were
    // made on. In one statement with the snapshot: each statement costs Postgres, and us, a response.
    `SELECT pg_current_snapshot()::text AS snapshot, ${settings.join(", ")}`,
    `SELECT pg_current_wal_insert_lsn()::text AS lsn,
       (SELECT relkind FROM pg_catalog.pg_class WHERE oid = to_regclass(${quoteLiteral(tableName(select))})) AS relkind`
  ].join("; ")

/**
 * A partitioned table's rows are its partitions'. An ordinary table is read with ONLY: the stream reports a row of an
 * inheritance child as the child's, so the rows of the table itself are the ones that changes will follow.
 */
const copy = (select: SnapshotSelect, partitioned: boolean): string => {
  const { limit, offset, orderBy } = select
  const condition = typeof select.where === "function" ? select.where() : select.where
  const where = condition === undefined ? "" : ` WHERE ${condition}`
  const order = orderBy === undefined ? "" : ` ORDER BY ${orderBy}`
  const range = `${limit === undefined ? "" : ` LIMIT ${limit}`}${offset === undefined ? "" : ` OFFSET ${offset}`}`
  const from = `${partitioned ? "" : "ONLY "}${tableName(select)}`
  const fields = [...select.columns.map(quote), ...select.fields ?? []]
  return `COPY (SELECT ${fields.join(", ")} FROM ${from}${where}${order}${range}) TO STDOUT`
}

const open = Effect.fnUntraced(function*(pool: pg.Pool, select: SnapshotSelect) {
  const lease = yield* Effect.acquireRelease(Effect.sync(() => new Lease(pool)), (lease) => lease.close)
  yield* Effect.suspend(() => lease.checkout)
  const results = yield* lease.begin(begin(select))
  const first = results.at(-2)?.rows[0]
  const second = results.at(-1)?.rows[0]
  const snapshot = PgSnapshot.parse(String(first?.snapshot))
  const lsn = Lsn.parse(String(second?.lsn))
  const relkind = second?.relkind
  if (snapshot === undefined || lsn === undefined) {
    return yield* new SnapshotFailed({
      reason: "unknown",
      detail: "Unexpected error while creating snapshot: it can't be read"
    })
  }
  if (relkind !== "r" && relkind !== "p") {
    return yield* new SnapshotFailed({ reason: "schema_changed", detail: `Table ${tableName(select)} does not exist` })
  }
  const marks: SnapshotMarks = { ...snapshot, lsn }
  if (!select.rows) {
    yield* lease.close
    return { marks, pull: Effect.succeedNone } satisfies SnapshotRows
  }

  let next: Effect.Effect<Option.Option<CopyRows>, SnapshotFailed> = Effect.suspend(() =>
    lease.copy(copy(select, relkind === "p"))
  ).pipe(
    Effect.flatMap((wire) => {
      // The connection goes back with the last row, not with the scope: what follows may take its time.
      next = Effect.tap(lease.pull(wire), (rows) => Option.isNone(rows) ? lease.close : Effect.void)
      return next
    }),
    Effect.timeoutFail({ duration: FIRST_ROWS_LIMIT_MILLIS, onTimeout: () => tookTooLong })
  )
  return { marks, pull: Effect.suspend(() => next) } satisfies SnapshotRows
})

export const layer: Layer.Layer<SnapshotQuery, never, Database> = Layer.effect(
  SnapshotQuery,
  Effect.map(Database, (database) => SnapshotQuery.of({ open: (select) => open(database.snapshots, select) }))
)
