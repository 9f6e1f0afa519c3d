/**
 * Databases for tests, on the server that `globalSetup` provides. Nothing here uses Effect's Clock, so it works under TestClock.
 */
import { type ConfigError, Data, Effect, type Layer, Redacted, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import pg from "pg"
import { inject } from "vitest"
import type { Database } from "../../src/source/Database.ts"
import * as Pools from "../../src/source/Pools.ts"

/** Postgres refused a statement. */
export class QueryError extends Data.TaggedError("QueryError")<{
  readonly sql: string
  /** SQLSTATE, such as `42501`; empty when the connection failed. */
  readonly code: string
  readonly message: string
}> {}

/** Every value is the text that Postgres sent. */
export type Row = Readonly<Record<string, string | null>>

/** Something to run SQL on. */
export interface Queryable {
  /** One statement, with `$1…$n`. */
  readonly query: (sql: string, params?: ReadonlyArray<unknown>) => Effect.Effect<ReadonlyArray<Row>, QueryError>
  /** Any number of statements, whose results don't matter. Outside a transaction block they form one transaction. */
  readonly exec: (sql: string) => Effect.Effect<void, QueryError>
}

export interface TestDatabase extends Queryable {
  readonly name: string
  /** Connection URI of the superuser to this database. */
  readonly url: string
  /** Connection URI of another role, which the test has created, to this database. */
  readonly urlOf: (role: string, password: string) => string
  /** A connection of its own, for interleaved transactions; closed (and rolled back) with the scope. */
  readonly session: Effect.Effect<Queryable & { readonly pid: number }, QueryError, Scope.Scope>
}

const types: pg.CustomTypesConfig = { getTypeParser: () => (value: string | Buffer) => value }

const attempt = <A>(sql: string, body: () => Promise<A>): Effect.Effect<A, QueryError> =>
  Effect.tryPromise({
    try: body,
    catch: (cause) =>
      new QueryError({
        sql,
        code: cause instanceof pg.DatabaseError ? cause.code ?? "" : "",
        message: cause instanceof Error ? cause.message : String(cause)
      })
  })

const queryable = (on: pg.Pool | pg.Client): Queryable => ({
  query: (sql, params = []) =>
    attempt(sql, () => on.query<Record<string, string | null>>(sql, [...params])).pipe(
      Effect.map((result) => result.rows)
    ),
  exec: (sql) => attempt(sql, () => on.query(sql)).pipe(Effect.asVoid)
})

const withParts = (
  url: string,
  parts: { readonly database?: string; readonly user?: string; readonly password?: string }
): string => {
  const changed = new URL(url)
  if (parts.database !== undefined) changed.pathname = `/${encodeURIComponent(parts.database)}`
  if (parts.user !== undefined) changed.username = encodeURIComponent(parts.user)
  if (parts.password !== undefined) changed.password = encodeURIComponent(parts.password)
  return changed.toString()
}

const connect = (connectionString: string) =>
  Effect.acquireRelease(
    attempt("connect", async () => {
      const client = new pg.Client({ connectionString, types })
      // A connection that the test or the server ends is reported by the next statement on it.
      client.on("error", () => undefined)
      await client.connect()
      return client
    }),
    (client) => Effect.promise(() => client.end())
  )

/** The server of this worker. */
const serverUrl = (): string => {
  const urls = inject("postgresUrls")
  const url = urls[Number(process.env.VITEST_POOL_ID ?? 1) - 1]
  if (url === undefined) throw new Error("there is a database server for each worker")
  return url
}

/** A superuser's session in the server's maintenance database, to make roles or look at other databases. */
export const admin = Effect.map(Effect.suspend(() => connect(serverUrl())), queryable)

const drop = (name: string) =>
  Effect.scoped(Effect.gen(function*() {
    const server = yield* admin
    // A slot in use keeps the database; one that is not goes with it. The wait is the server's.
    yield* server.query(
      "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE database = $1 AND active_pid IS NOT NULL",
      [name]
    )
    yield* server.query(
      "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1 AND NOT active",
      [name]
    )
    yield* server.exec(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`)
  }))

/** A fresh, empty database of its own name, dropped with the scope along with its slots and whatever sessions are left. */
export const makeDatabase: Effect.Effect<TestDatabase, QueryError, Scope.Scope> = Effect.gen(function*() {
  const name = `test_${randomBytes(6).toString("hex")}`
  const url = withParts(serverUrl(), { database: name })
  yield* Effect.acquireRelease(
    Effect.scoped(Effect.flatMap(admin, (server) => server.exec(`CREATE DATABASE ${name} TEMPLATE template0`))),
    () => Effect.orDie(drop(name))
  )
  const pool = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const pool = new pg.Pool({ connectionString: url, max: 4, types })
      pool.on("error", () => undefined)
      return pool
    }),
    (pool) => Effect.promise(() => pool.end())
  )
  return {
    name,
    url,
    urlOf: (user, password) => withParts(url, { user, password }),
    ...queryable(pool),
    session: Effect.gen(function*() {
      const client = yield* connect(url)
      const on = queryable(client)
      const [row] = yield* on.query("SELECT pg_backend_pid() AS pid")
      return { ...on, pid: Number(row?.pid) }
    })
  }
})

/** The engine's pools on a test database. Publication and slot are named after it, as slots are the whole server's. */
export const poolsOf = (
  db: Pick<TestDatabase, "name" | "url">,
  options?: Partial<Pools.PoolsOptions>
): Layer.Layer<Database, ConfigError.ConfigError> =>
  Pools.layer({ url: Redacted.make(db.url), streamId: db.name, poolSize: 8, ...options })
