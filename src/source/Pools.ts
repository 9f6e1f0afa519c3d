/**
 * The layer of `Database`: two pools of connections, opened when they are first needed. A database that can't be
 * reached fails the queries that need it and nothing else.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import { PgClient } from "@effect/sql-pg"
import { ConfigError, Effect, Either, Layer, Redacted, Runtime } from "effect"
import pg from "pg"
import * as ConnectionUri from "../domain/ConnectionUri.ts"
import { DatabaseUnavailable } from "../domain/Errors.ts"
import { streamNames } from "../domain/StreamNames.ts"
import { Database, DISPLAY_SETTINGS } from "./Database.ts"

export interface PoolsOptions {
  /** Connection URI for the admin pool and for replication: a direct connection. */
  readonly url: Redacted.Redacted
  /** Connection URI for snapshots, such as that of a connection pooler; the same as `url` when absent. */
  readonly pooledUrl?: Redacted.Redacted | undefined
  /** Connections of both pools together; 20 when absent. */
  readonly poolSize?: number | undefined
  /** Names publication and slot. */
  readonly streamId: string
}

const CONNECT_TIMEOUT_MILLIS = 10_000
/** How long a snapshot waits for a connection: long, as each of them holds one until it is read. */
const SNAPSHOT_QUEUE_MILLIS = 30_000
const END_MILLIS = 2000

/** Sizes of the pools for catalog and snapshots, of a given total: at least one each. */
export const poolSizes = (total: number): { readonly admin: number; readonly snapshots: number } => {
  const admin = Math.min(Math.max(Math.floor(total / 4), 1), 4)
  return { admin, snapshots: Math.max(total - admin, 1) }
}

/** What the driver reports when the server, or a proxy in front of it, has no TLS. */
const withoutTls = /does not support SSL|disconnected before secure TLS|ECONNRESET|socket hang up/

type OnConnect = (
  error: Error | undefined,
  client: pg.PoolClient | undefined,
  done: (release?: Error | boolean) => void
) => void

/**
 * A pool that falls back to plaintext, for all connections that follow, when TLS was only preferred and plaintext is
 * what the server accepts.
 */
class NegotiatingPool extends pg.Pool {
  private readonly onPlaintext: (() => void) | undefined

  constructor(options: pg.PoolConfig, onPlaintext: (() => void) | undefined) {
    super(options)
    this.onPlaintext = onPlaintext
  }

  override connect(): Promise<pg.PoolClient>
  override connect(callback: OnConnect): void
  override connect(callback?: OnConnect): Promise<pg.PoolClient> | void {
    const connected = this.negotiate()
    if (callback === undefined) return connected
    connected.then(
      (client) => callback(undefined, client, (release) => client.release(release)),
      (error: Error) => callback(error, undefined, () => undefined)
    )
  }

  private async negotiate(): Promise<pg.PoolClient> {
    const { ssl } = this.options
    try {
      return await super.connect()
    } catch (error) {
      if (this.onPlaintext === undefined || !ssl || !withoutTls.test(String(error))) throw error
      // Of several that connect at the same time, the first to come here decides for all.
      const decides = this.options.ssl !== false
      this.options.ssl = false
      try {
        const client = await super.connect()
        if (decides) this.onPlaintext()
        return client
      } catch (cause) {
        // Not for want of TLS then: it is tried again the next time.
        this.options.ssl = ssl
        throw cause
      }
    }
  }
}

/** Every value as the text that Postgres sent. */
const types: pg.CustomTypesConfig = { getTypeParser: () => (value: string | Buffer) => value }

const parse = (name: string, url: Redacted.Redacted) =>
  Either.mapLeft(ConnectionUri.parse(Redacted.value(url)), (problem) => ConfigError.InvalidData([name], problem))

const clientConfig = (uri: ConnectionUri.ConnectionUri): pg.ClientConfig => {
  const { password } = uri
  return {
    host: uri.host,
    port: uri.port,
    user: uri.user,
    database: uri.database,
    // A function, so that the options can be printed.
    ...(password && { password: () => Redacted.value(password) }),
    ssl: uri.sslMode === "disable" || uri.host.startsWith("/") ? false : { rejectUnauthorized: false },
    application_name: "shapelog",
    keepAlive: true,
    types
  }
}

const makePool = Effect.fnUntraced(function*(
  uri: ConnectionUri.ConnectionUri,
  name: string,
  max: number,
  connectionTimeoutMillis: number
) {
  const runtime = yield* Effect.runtime()
  const log = Runtime.runFork(runtime)
  return yield* Effect.acquireRelease(
    Effect.sync(() => {
      const onPlaintext = () => {
        if (uri.sslMode !== undefined) {
          log(Effect.logWarning(`the database has no TLS: the ${name} connections are not encrypted`))
        }
      }
      const pool = new NegotiatingPool({
        ...clientConfig(uri),
        max,
        connectionTimeoutMillis,
        idleTimeoutMillis: 30_000,
        // Awaited by the pool: nobody gets a session without them.
        onConnect: (client) => client.query(DISPLAY_SETTINGS)
      }, uri.sslMode === "require" ? undefined : onPlaintext)
      // An idle connection that breaks is replaced when the next one is needed.
      pool.on("error", (error) => log(Effect.logDebug(`an idle ${name} connection broke: ${error.message}`)))
      return pool
    }),
    (pool) =>
      Effect.promise(() => pool.end()).pipe(
        Effect.interruptible,
        Effect.timeoutOption(END_MILLIS)
      )
  )
})

const make = Effect.fnUntraced(function*(options: PoolsOptions) {
  const uri = yield* parse("DATABASE_URL", options.url)
  const pooled = options.pooledUrl === undefined ? uri : yield* parse("SHAPELOG_POOLED_DATABASE_URL", options.pooledUrl)
  const names = yield* Either.mapLeft(
    streamNames(options.streamId),
    (problem) => ConfigError.InvalidData(["SHAPELOG_REPLICATION_STREAM_ID"], problem)
  )
  const sizes = poolSizes(options.poolSize ?? 20)
  const snapshots = yield* makePool(pooled, "snapshot", sizes.snapshots, SNAPSHOT_QUEUE_MILLIS)
  const adminPool = yield* makePool(uri, "admin", sizes.admin, CONNECT_TIMEOUT_MILLIS)
  // Wrapping a pool can't fail; the error is that of `acquire`.
  const admin = yield* Effect.orDie(PgClient.fromPool({ acquire: Effect.succeed(adminPool) }))

  let version: number | undefined
  const serverVersion = Effect.suspend(() =>
    version !== undefined ? Effect.succeed(version) : Effect.map(
      admin<{ readonly server_version_num: string }>`SHOW server_version_num`,
      (rows) => version = Number(rows[0]?.server_version_num)
    ).pipe(Effect.mapError(({ cause }) => new DatabaseUnavailable({ operation: "asking its version", cause })))
  )

  return Database.of({
    admin,
    snapshots,
    names,
    serverVersion,
    clientConfig: Effect.map(serverVersion, () => ({ ...clientConfig(uri), ssl: adminPool.options.ssl ?? false }))
  })
})

/**
 * Connections with the display settings to one database. Fails for options that can never work, not for a database that
 * is down.
 */
export const layer = (options: PoolsOptions): Layer.Layer<Database, ConfigError.ConfigError> =>
  Layer.scoped(Database, make(options)).pipe(Layer.provide(Reactivity.layer))
