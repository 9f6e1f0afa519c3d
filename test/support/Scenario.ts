/**
 * An end-to-end test: a database, the real server on it, and clients of both kinds. Everything ends with the test; the test fails if the
 * server has said something alarming.
 */
import { it } from "@effect/vitest"
import {
  FetchError,
  type Message,
  type Row,
  Shape,
  ShapeStream,
  type ShapeStreamInterface,
  type ShapeStreamOptions
} from "@electric-sql/client"
import { Effect, Exit, Scope } from "effect"
import assert from "node:assert/strict"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { Follower, type FollowerOptions, sorted, type Values } from "./Follower.ts"
import * as Postgres from "./Postgres.ts"
import { ServerProcess } from "./ServerProcess.ts"

/** A connection, or a pool of them. */
export interface Sql {
  readonly query: (sql: string, params?: ReadonlyArray<unknown>) => Promise<ReadonlyArray<Postgres.Row>>
  readonly exec: (sql: string) => Promise<void>
}

const promises = (on: Postgres.Queryable): Sql => ({
  query: (sql, params) => Effect.runPromise(on.query(sql, params)),
  exec: (sql) => Effect.runPromise(on.exec(sql))
})

export interface Scenario {
  readonly db: Sql & {
    readonly url: string
    readonly name: string
    readonly urlOf: (role: string, password: string) => string
    /** A connection of its own, closed with the test or before. */
    readonly session: () => Promise<Sql & { readonly pid: number; readonly close: () => Promise<void> }>
  }
  readonly server: ServerProcess
  /** A further server, which has yet to be started. */
  readonly another: (options: ServerEnv) => Promise<ServerProcess>
  /** A strict follower of the raw protocol. */
  readonly follow: (
    params: Readonly<Record<string, string>>,
    on?: ServerProcess,
    options?: Pick<FollowerOptions, "patience">
  ) => Follower
  /** The published client. Its options come last: a `url` among them counts. */
  readonly client: (params: ClientParams, options?: Partial<ShapeStreamOptions<unknown>>) => Client
  /** The rows of a statement, with the server's display settings. */
  readonly select: (sql: string, params?: ReadonlyArray<string>) => Promise<ReadonlyArray<Values>>
  /** Waits until a follower that follows has the rows of the statement. */
  readonly followed: (follower: Follower, sql: string) => Promise<void>
  /** Fails unless the followed rows are those of the statement. */
  readonly same: (rows: Iterable<Values>, sql: string, message?: string) => Promise<void>
}

interface ServerEnv {
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly databaseUrl?: string | undefined
  readonly storageDirectory?: string | undefined
}

export interface ScenarioOptions extends ServerEnv {
  /** Statements before the server starts. */
  readonly setup?: string | undefined
  /** With false the test starts the server. */
  readonly start?: boolean | undefined
  readonly timeout?: number | undefined
  /** Runs beside its neighbours that say so too: for tests that mostly wait. */
  readonly concurrent?: boolean | undefined
  /** What the server may say of level ERROR. */
  readonly expected?: ReadonlyArray<RegExp> | undefined
}

const asText = (value: string) => value

/** A parser for the published client that leaves the values as they came. */
export const AS_TEXT = {
  bool: asText,
  float4: asText,
  float8: asText,
  int2: asText,
  int4: asText,
  int8: asText,
  json: asText,
  jsonb: asText
}

/** Parameters of the published client's stream: texts, lists, functions. */
export type ClientParams = NonNullable<ShapeStreamOptions<unknown>["params"]> | Readonly<Record<string, string>>

/** The published client's stream and shape. */
export class Client {
  readonly stream: ShapeStream<Row<unknown>>
  readonly shape: Shape<Row<unknown>>
  /** Messages as the stream gave them out. */
  readonly messages: Array<Message<Row<unknown>>> = []
  readonly errors: Array<unknown> = []
  private readonly aborter = new AbortController()

  constructor(
    url: string,
    params: ClientParams,
    options: Partial<ShapeStreamOptions<unknown>> = {}
  ) {
    this.stream = new ShapeStream<Row<unknown>>({
      warnOnHttp: false,
      url: `${url}/v1/shape`,
      params: { ...params } as NonNullable<ShapeStreamOptions<unknown>["params"]>,
      backoffOptions: { initialDelay: 50, maxDelay: 300, multiplier: 2 },
      onError: (error) => {
        // A body that breaks off, as when the server is killed, is the one failure that the client does not try again by itself.
        if (error instanceof FetchError && error.status === 200) return {}
        this.errors.push(error)
        return undefined
      },
      ...options,
      signal: options.signal ? AbortSignal.any([options.signal, this.aborter.signal]) : this.aborter.signal
    })
    this.shape = new Shape(this.stream as ShapeStreamInterface<Row<unknown>>)
    this.stream.subscribe((messages) => {
      for (const message of messages) this.messages.push(message)
    })
  }

  /** Values as the client's parser makes them. */
  get rows(): ReadonlyArray<Row<unknown>> {
    return this.shape.currentRows
  }

  /** Waits until the predicate holds, which is asked whenever the shape has changed. */
  async until(
    predicate: (rows: ReadonlyArray<Row<unknown>>) => boolean,
    what = "what was waited for",
    millis = 30_000
  ): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const finish = (end: () => void) => {
        clearTimeout(timer)
        unsubscribe()
        end()
      }
      const look = () => {
        if (this.errors.length > 0) finish(() => reject(this.errors[0]))
        else if (predicate(this.rows)) finish(resolve)
      }
      const timer = setTimeout(() =>
        finish(() =>
          reject(
            new Error(
              `${what} did not come within ${millis} ms: ${this.stream.shapeHandle} ${this.stream.lastOffset}, ${
                JSON.stringify(this.rows.slice(0, 10), (_, value) => typeof value === "bigint" ? String(value) : value)
              }`
            )
          )
        ), millis)
      const unsubscribe = this.shape.subscribe(() => look())
      look()
    })
  }

  end(): void {
    this.aborter.abort()
    this.shape.unsubscribeAll()
    this.stream.unsubscribeAll()
  }
}

const open = Effect.fnUntraced(function*(options: ScenarioOptions) {
  const ends: Array<() => Promise<void> | void> = []
  const database = yield* Postgres.makeDatabase
  // In the reverse order: clients, then servers, then the database.
  yield* Effect.addFinalizer(() =>
    Effect.promise(async () => {
      for (const end of ends.reverse()) await end()
    })
  )
  if (options.setup !== undefined) yield* database.exec(options.setup)
  const servers: Array<ServerProcess> = []
  const make = async (more: ServerEnv): Promise<ServerProcess> => {
    const server = await ServerProcess.make({
      databaseUrl: more.databaseUrl ?? options.databaseUrl ?? database.url,
      env: { SHAPELOG_LONG_POLL_TIMEOUT: "4s", SHAPELOG_DB_POOL_SIZE: "10", ...options.env, ...more.env },
      storageDirectory: more.storageDirectory
    })
    servers.push(server)
    ends.push(() => server.dispose())
    return server
  }
  const server = yield* Effect.promise(() => make({}))
  if (options.start !== false) yield* Effect.promise(() => server.start())

  const session = async () => {
    const scope = await Effect.runPromise(Scope.make())
    const on = await Effect.runPromise(Scope.extend(database.session, scope))
    let closed = false
    const close = async () => {
      if (closed) return
      closed = true
      await Effect.runPromise(Scope.close(scope, Exit.void))
    }
    ends.push(close)
    return { ...promises(on), pid: on.pid, close }
  }
  let reader: Sql | undefined
  let last: Promise<unknown> = Promise.resolve()
  /** One after another, as they share a session. */
  const select = (sql: string, params: ReadonlyArray<string> = []): Promise<ReadonlyArray<Values>> => {
    const rows = last.then(async () => {
      if (!reader) {
        reader = await session()
        await reader.exec(DISPLAY_SETTINGS)
      }
      return reader.query(sql, params)
    })
    last = rows.catch(() => undefined)
    return rows
  }
  const scenario: Scenario = {
    db: { ...promises(database), url: database.url, name: database.name, urlOf: database.urlOf, session },
    server,
    another: make,
    follow: (params, on = server, options) => {
      const follower = new Follower({ url: on.url, params, ...options })
      ends.push(() => follower.stop().catch(() => undefined))
      return follower
    },
    client: (params, more) => {
      const client = new Client(server.url, params, more)
      ends.push(() => client.end())
      return client
    },
    select,
    followed: async (follower, sql) => {
      const expected = JSON.stringify(sorted(await select(sql)))
      await follower.until(
        ({ rows, upToDate }) => upToDate && JSON.stringify(sorted(rows.values())) === expected,
        `${sql}: ${expected.slice(0, 1000)}`
      )
    },
    same: async (rows, sql, message) => assert.deepEqual(sorted(rows), sorted(await select(sql)), message ?? sql)
  }
  return { scenario, servers }
})

/** A test of the running server. */
export const scenario = (
  name: string,
  options: ScenarioOptions,
  body: (scenario: Scenario) => Promise<void>
): void => {
  it.scopedLive(name, () =>
    Effect.gen(function*() {
      const { scenario, servers } = yield* open(options)
      yield* Effect.tryPromise({ try: () => body(scenario), catch: (error) => error }).pipe(
        Effect.tapError(() =>
          Effect.sync(() => {
            for (const { lines } of servers) console.error(lines.slice(-60).join("\n"))
          })
        )
      )
      for (const server of servers) {
        assert.deepEqual(server.alarms(options.expected), [], "the server has said that something is wrong")
      }
    }), { timeout: options.timeout ?? 60_000, concurrent: options.concurrent ?? false })
}
