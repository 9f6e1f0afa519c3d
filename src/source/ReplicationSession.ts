/**
 * The connection under a replication stream: a `pg.Client` in replication mode that runs one simple query at a time and
 * whose end leaves no walsender behind.
 */
import { Effect, Option, type Scope } from "effect"
import pg from "pg"
import * as CopyWire from "./CopyWire.ts"
import type { Database } from "./Database.ts"
import { classify, type ReplicationError } from "./ReplicationError.ts"

/** How long a closing connection may take before its backend is terminated. */
const CLOSE_LIMIT = "1 second"
/** How long terminating a backend may take, so that shutting down without a database ends. */
const TERMINATE_LIMIT = "2 seconds"
const CONNECT_LIMIT_MILLIS = 10_000

/** A row of a simple query: every value is the server's text. */
export type Row = Readonly<Record<string, string | null>>

export interface Session {
  /**
   * Runs SQL or a replication command; of several statements the last one's rows are returned. One at a time, later
   * callers wait.
   */
  readonly query: (operation: string, sql: string) => Effect.Effect<ReadonlyArray<Row>, ReplicationError>
  /** Starts a COPY on this connection, which ends its use for queries unless it fails. */
  readonly copy: (operation: string, sql: string) => Effect.Effect<CopyWire.CopyWire, ReplicationError>
  /** Whether a query runs or waits to run. */
  readonly isBusy: () => boolean
  /** Process id of the walsender. */
  readonly pid: number
}

// --- Session ---

/** pg's `Client` also knows its backend; pg's types leave that out. */
interface BackendClient {
  readonly processID: number | null
}

/**
 * Opens a connection in replication mode. Closing the scope closes it: politely when it is idle or streaming; a backend
 * that is busy (waiting for the lock, say) does not notice a closed socket, so it is terminated through the admin pool.
 */
export const open = (database: Database["Type"]): Effect.Effect<Session, ReplicationError, Scope.Scope> =>
  Effect.gen(function*() {
    const clientConfig = yield* Effect.mapError(database.clientConfig, (error) => classify("connect", error.cause))
    const config: pg.ClientConfig & { readonly replication: string } = {
      connectionTimeoutMillis: CONNECT_LIMIT_MILLIS,
      keepAlive: true,
      ...clientConfig,
      // Waiting for the lock or for old transactions has no limit, and pg must not call the stream a query that takes
      // too long.
      query_timeout: undefined,
      replication: "database",
      types: { getTypeParser: () => (value: string) => value }
    }
    const turn = Effect.unsafeMakeSemaphore(1)
    let waiting = 0
    let running = false
    let wire: CopyWire.CopyWire | undefined

    const client = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const client = new pg.Client(config)
        // The query that is running learns of a broken connection too; an idle connection's end is seen by the next
        // query.
        client.on("error", () => {})
        return client
      }),
      (client) => close(client)
    )

    const terminate = Effect.fnUntraced(function*(pid: number) {
      yield* database.admin.unsafe(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_type = 'walsender'",
        [pid]
      ).pipe(
        Effect.interruptible,
        Effect.timeout(TERMINATE_LIMIT),
        Effect.catchAll((error) =>
          Effect.logWarning(`could not make sure that the replication backend ${pid} is gone: ${error.message}`)
        )
      )
    })

    const close = Effect.fnUntraced(function*(client: pg.Client) {
      const { stream } = client.connection
      const pid = (client as pg.Client & BackendClient).processID
      if (stream.destroyed) return
      if (running || pid === null) {
        stream.destroy()
        if (pid !== null) yield* terminate(pid)
        return
      }
      const closed = Effect.async<void>((resume) => {
        client.connection.once("end", () => resume(Effect.void))
      })
      // What is still to be read stands before the end of the stream.
      if (wire) wire.discard()
      client.connection.end()
      const inTime = yield* Effect.timeoutOption(Effect.interruptible(closed), CLOSE_LIMIT)
      if (Option.isSome(inTime)) return
      stream.destroy()
      yield* terminate(pid)
    })

    yield* Effect.async<void, ReplicationError>((resume) => {
      client.connect((error?: Error | null) => resume(error ? Effect.fail(classify("connect", error)) : Effect.void))
    })

    const alone = <A>(effect: Effect.Effect<A, ReplicationError>): Effect.Effect<A, ReplicationError> =>
      Effect.suspend(() => {
        waiting++
        return Effect.ensuring(turn.withPermits(1)(effect), Effect.sync(() => waiting--))
      })

    const query = (operation: string, sql: string) =>
      alone(Effect.async<ReadonlyArray<Row>, ReplicationError>((resume) => {
        running = true
        client.query(sql, (error: Error | null, result: pg.QueryResult<Row> | Array<pg.QueryResult<Row>>) => {
          running = false
          if (error) return resume(Effect.fail(classify(operation, error)))
          const last = Array.isArray(result) ? result.at(-1) : result
          resume(Effect.succeed(last?.rows ?? []))
        })
      }))

    const copy = (operation: string, sql: string) =>
      alone(Effect.suspend(() => {
        running = true
        return CopyWire.open(client, sql).pipe(
          Effect.mapBoth({
            onFailure: (error) => {
              running = false
              return classify(operation, error)
            },
            onSuccess: (opened) => {
              running = false
              wire = opened
              return opened
            }
          })
        )
      }))

    return {
      query,
      copy,
      isBusy: () => waiting > 0,
      pid: (client as pg.Client & BackendClient).processID ?? 0
    }
  })
