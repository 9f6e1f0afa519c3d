/** What the tests of the replication stream share. */
import { Context, Effect, Layer, Logger, Redacted } from "effect"
import type { Lsn } from "../../src/domain/Lsn.ts"
import { text, type Tuple, type WalMessage } from "../../src/domain/WalMessage.ts"
import { Database } from "../../src/source/Database.ts"
import * as Pools from "../../src/source/Pools.ts"
import * as ReplicationStream from "../../src/source/ReplicationStream.ts"
import * as Postgres from "../support/Postgres.ts"

export interface Options {
  /** Connection URI of the engine; the superuser's when absent. */
  readonly url?: string
  readonly names?: { readonly publication: string; readonly slot: string }
  /** Milliseconds of silence after which a holder of the lock is taken for dead. */
  readonly silentHolder?: number
}

/** A replication stream of the database, with names of its own: slots are the whole server's. */
export const streamOf = Effect.fnUntraced(function*(db: Postgres.TestDatabase, options: Options = {}) {
  const pools = Pools.layer({ url: Redacted.make(options.url ?? db.url), streamId: db.name, poolSize: 4 })
  const database = options.names
    ? Layer.map(
      pools,
      (context) => Context.make(Database, { ...Context.get(context, Database), names: options.names! })
    )
    : pools
  const stream = ReplicationStream.layerWith({ silentHolder: options.silentHolder ?? 30_000 })
  const context = yield* Layer.build(stream.pipe(Layer.provideMerge(database)))
  return { ...Context.get(context, ReplicationStream.ReplicationStream), ...Context.get(context, Database).names }
})

/** A fresh database with the given tables, all of them with REPLICA IDENTITY FULL, and its replication stream. */
export const setup = Effect.fnUntraced(function*(sql = "", options: Options = {}) {
  const db = yield* Postgres.makeDatabase
  if (sql !== "") yield* db.exec(sql)
  return { db, stream: yield* streamOf(db, options) }
})

/** Connects, publishes every table there is (as the publication is the stream's to create) and starts at the slot's position. */
export const streaming = Effect.fnUntraced(function*(
  db: Postgres.TestDatabase,
  stream: Effect.Effect.Success<ReturnType<typeof streamOf>>
) {
  const connection = yield* stream.connect
  const tables = yield* db.query(
    "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = 'public'"
  )
  for (const { name } of tables) {
    yield* db.exec(
      `ALTER TABLE ${name} REPLICA IDENTITY FULL; ALTER PUBLICATION "${stream.publication}" ADD TABLE ${name}`
    )
  }
  yield* connection.start(connection.confirmedFlush)
  return connection
})

/** Pulls until a transaction that changes rows has come whole: its row messages, and its end. */
export const nextTransaction = Effect.fnUntraced(function*(connection: ReplicationStream.ReplicationConnection) {
  const rows: Array<WalMessage> = []
  while (true) {
    for (const message of yield* connection.pull) {
      if (message._tag === "Commit" && rows.length > 0) return { rows, endLsn: message.endLsn as Lsn }
      if (
        message._tag !== "Begin" && message._tag !== "Commit" && message._tag !== "Relation" &&
        message._tag !== "Keepalive"
      ) {
        rows.push(message)
      }
    }
  }
})

export const values = (tuple: Tuple): ReadonlyArray<string | null | undefined> =>
  Array.from({ length: tuple.cols.length / 2 }, (_, i) => text(tuple, i))

/** Asks the database again until the answer is the expected one: a rendezvous with the server. */
export const until = (
  db: Postgres.Queryable,
  sql: string,
  expected: (rows: ReadonlyArray<Postgres.Row>) => boolean = (rows) => rows.length > 0
) => Effect.repeat(db.query(sql), { until: expected })

/** Collects what is logged. */
export const makeLog = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => {
    lines.push(Array.isArray(message) ? message.join(" ") : String(message))
  })
  return { lines, layer: Logger.add(logger) }
}
