/**
 * Slots that Postgres invalidates. What invalidates them is a setting of the whole server, so these tests have servers of their own.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Redacted, type Scope } from "effect"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"
import pg from "pg"
import * as EmbeddedPostgres from "../../src/source/EmbeddedPostgres.ts"
import * as Pools from "../../src/source/Pools.ts"
import * as ReplicationStream from "../../src/source/ReplicationStream.ts"

const serverWith = Effect.fnUntraced(function*(settings: Readonly<Record<string, string>>) {
  const directory = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const directory = await fs.mkdtemp(path.join(tmpdir(), "shapelog-test-"))
      await fs.chmod(directory, 0o755)
      return directory
    }),
    (directory) => Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))
  )
  const { url } = yield* EmbeddedPostgres.start({
    directory: path.join(directory, "postgres"),
    settings: { fsync: "off", ...settings }
  })
  const admin = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new pg.Client({ connectionString: Redacted.value(url) })
      await client.connect()
      return client
    }),
    (client) => Effect.promise(() => client.end())
  )
  const context = yield* Layer.build(
    ReplicationStream.layer.pipe(Layer.provide(Pools.layer({ url, streamId: "lost" })))
  )
  return { admin, stream: Context.get(context, ReplicationStream.ReplicationStream) }
})

/** Writes more WAL than the server keeps for a slot, and lets it notice. */
const outgrow = (admin: pg.Client): Effect.Effect<void> =>
  Effect.promise(async () => {
    for (let i = 0; i < 4; i++) {
      await admin.query("SELECT pg_logical_emit_message(false, '', 'x'); SELECT pg_switch_wal()")
    }
    await admin.query("CHECKPOINT")
    const { rows } = await admin.query("SELECT wal_status FROM pg_replication_slots")
    assert.deepStrictEqual(rows, [{ wal_status: "lost" }])
  })

describe("an invalidated slot", () => {
  it.scopedLive("is made anew, whenever it is noticed", () =>
    Effect.gen(function*() {
      const { admin, stream } = yield* serverWith({
        max_slot_wal_keep_size: "1MB",
        max_wal_size: "32MB",
        min_wal_size: "32MB"
      })
      const created = (
        connect: Effect.Effect<ReplicationStream.ReplicationConnection, ReplicationStream.ReplicationError, Scope.Scope>
      ) => Effect.scoped(Effect.map(connect, (connection) => connection.slotCreated))
      assert.isTrue(yield* created(stream.connect))

      yield* outgrow(admin)
      assert.isTrue(yield* created(stream.connect), "invalidated before connecting")

      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* stream.connect
        yield* outgrow(admin)
        const error = yield* Effect.flip(connection.start(connection.confirmedFlush))
        assert.isTrue(error.retryable)
        assert.match(error.message, /can no longer|invalidated/)
      }))
      const { rows } = yield* Effect.promise(() => admin.query("SELECT slot_name FROM pg_replication_slots"))
      assert.deepStrictEqual(rows, [], "dropped when the start fails")
      assert.isTrue(yield* created(stream.connect), "invalidated before the start")

      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* stream.connect
        yield* connection.start(connection.confirmedFlush)
        yield* outgrow(admin)
        assert.isTrue((yield* Effect.flip(Effect.forever(connection.pull))).retryable)
      }))
      assert.isTrue(yield* created(stream.connect), "invalidated while streaming")
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))), 60_000)

  it.scopedLive("is nothing that a server with another wal_level can have", () =>
    Effect.gen(function*() {
      const { stream } = yield* serverWith({ wal_level: "replica" })
      const error = yield* Effect.flip(Effect.scoped(stream.connect))
      assert.isFalse(error.retryable)
      assert.include(error.message, "wal_level must be logical")
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))), 60_000)
})
