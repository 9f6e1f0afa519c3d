/**
 * Sessions that evaluate expressions of where clauses: read-only, with a limit on the time of each statement. They are
 * their own, apart from the pools, so that an expression that is slow on purpose holds up neither the catalog nor a
 * snapshot. Opened when first needed, closed when idle.
 */
import { Effect, Schema, type Scope } from "effect"
import pg from "pg"
import { DatabaseUnavailable } from "../domain/Errors.ts"
import { Database, DISPLAY_SETTINGS } from "./Database.ts"

/** Postgres has refused a statement for what is in it; the session goes on. */
export class StatementRefused
  extends Schema.TaggedError<StatementRefused>("shapelog/source/StatementRefused")("StatementRefused", {
    /** SQLSTATE. */
    code: Schema.String,
    /** The primary message. */
    message: Schema.String
  })
{}

export interface ReadOnlySessionsOptions {
  /** What the sessions are for, as errors name it. */
  readonly operation: string
  /** Most sessions at a time; statements beyond that wait. */
  readonly max: number
  readonly statementMillis: number
}

export interface ReadOnlySessions {
  /**
   * The rows of one statement, as the texts that Postgres sends, in one round trip. `limitMillis` is a shorter time limit
   * than usual. A caller that is interrupted leaves the statement to its end.
   */
  readonly query: (
    sql: string,
    limitMillis?: number
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<string | null>>, StatementRefused | DatabaseUnavailable>
}

/** SQLSTATE of a statement that took too long, or was cancelled. */
export const QUERY_CANCELED = "57014"

const CONNECT_MILLIS = 10_000
const LOCK_MILLIS = 1000
/** How much longer than the server we wait for its answer before the connection is given up. */
const GRACE_MILLIS = 10_000
const IDLE_MILLIS = 30_000
const END_MILLIS = 2000

/**
 * Errors that say nothing of the statement: of the connection, of a server that starts or stops or lacks disk or
 * connections, of a lock that was not to be had, and of the operating system.
 */
const passing = /^(08|28|3D|40|53[013]|55P03|57P|58)/

const settings = (statementMillis: number): string =>
  [
    DISPLAY_SETTINGS,
    "SET default_transaction_read_only = on",
    `SET statement_timeout = ${statementMillis}`,
    `SET lock_timeout = ${LOCK_MILLIS}`,
    // Compiling, or starting workers, takes longer than evaluating a few rows.
    "SET jit = off",
    "SET max_parallel_workers_per_gather = 0"
  ].join("; ")

/**
 * The extended protocol, which takes one statement and no more, whatever is in the text. The driver's types don't know
 * of it.
 */
interface OneStatement extends pg.QueryArrayConfig {
  readonly queryMode: "extended"
}

const isRefusal = (cause: unknown): cause is pg.DatabaseError & { readonly code: string } =>
  cause instanceof pg.DatabaseError && cause.code !== undefined && cause.severity !== "FATAL"
  && !passing.test(cause.code)

const execute = async (pool: pg.Pool, sql: string, limits: { readonly usual: number; readonly now: number }) => {
  const client = await pool.connect()
  let broken: Error | undefined
  try {
    if (limits.now !== limits.usual) await client.query(`SET statement_timeout = ${limits.now}`)
    const statement: OneStatement = { text: sql, rowMode: "array", queryMode: "extended" }
    const { rows } = await client.query<Array<string | null>>(statement).finally(() =>
      limits.now !== limits.usual ? client.query(`SET statement_timeout = ${limits.usual}`) : undefined
    )
    return rows
  } catch (cause) {
    if (!isRefusal(cause)) broken = cause instanceof Error ? cause : new Error(String(cause))
    throw cause
  } finally {
    // A session that has refused a statement is as good as before; one that may be in doubt is closed.
    client.release(broken)
  }
}

/** Nothing is connected yet. */
export const make = (
  { max, operation, statementMillis }: ReadOnlySessionsOptions
): Effect.Effect<ReadOnlySessions, never, Database | Scope.Scope> =>
  Effect.gen(function*() {
    const { clientConfig } = yield* Database
    let pool: pg.Pool | undefined
    yield* Effect.addFinalizer(() =>
      Effect.promise(async () => pool?.end()).pipe(Effect.interruptible, Effect.timeoutOption(END_MILLIS))
    )
    const open = (config: pg.ClientConfig): pg.Pool => {
      if (pool !== undefined) return pool
      pool = new pg.Pool({
        ...config,
        max,
        connectionTimeoutMillis: CONNECT_MILLIS,
        idleTimeoutMillis: IDLE_MILLIS,
        query_timeout: statementMillis + GRACE_MILLIS,
        onConnect: (client) => client.query(settings(statementMillis))
      })
      // An idle connection that breaks is replaced when the next one is needed.
      pool.on("error", () => undefined)
      return pool
    }
    return {
      query: (sql, limitMillis = statementMillis) =>
        Effect.flatMap(clientConfig, (config) =>
          Effect.tryPromise({
            try: () => execute(open(config), sql, { usual: statementMillis, now: limitMillis }),
            catch: (cause) =>
              isRefusal(cause)
                ? new StatementRefused({ code: cause.code, message: cause.message })
                : new DatabaseUnavailable({ operation, cause })
          }))
    }
  })
