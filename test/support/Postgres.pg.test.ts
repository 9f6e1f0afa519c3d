import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import * as Postgres from "./Postgres.ts"

describe("makeDatabase", () => {
  it.scoped("is an empty database on a server with logical replication", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      yield* db.exec("CREATE TABLE t (a int8); INSERT INTO t VALUES (9007199254740993), (NULL)")
      assert.deepStrictEqual(yield* db.query("SELECT a FROM t WHERE a > $1", [1]), [{ a: "9007199254740993" }])
      assert.deepStrictEqual(yield* db.query("SHOW wal_level"), [{ wal_level: "logical" }])
    }))

  it.scoped("reports errors with their code", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      const error = yield* Effect.flip(db.query("SELECT * FROM missing"))
      assert.strictEqual(error.code, "42P01")
    }))

  it.scoped("keeps sessions apart", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      yield* db.exec("CREATE TABLE t (a int)")
      const [one, two] = yield* Effect.all([db.session, db.session])
      yield* one.exec("BEGIN; INSERT INTO t VALUES (1)")
      assert.deepStrictEqual(yield* two.query("SELECT * FROM t"), [])
      yield* one.exec("COMMIT")
      assert.deepStrictEqual(yield* two.query("SELECT * FROM t"), [{ a: "1" }])
    }))

  it.effect("is dropped with its slots and open sessions", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const db = yield* Scope.extend(Postgres.makeDatabase, scope)
      yield* Scope.extend(db.session, scope)
      yield* db.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [`slot_${db.name}`])
      yield* Scope.close(scope, Exit.void)
      const server = yield* Postgres.admin
      assert.deepStrictEqual(yield* server.query("SELECT 1 FROM pg_database WHERE datname = $1", [db.name]), [])
      assert.deepStrictEqual(
        yield* server.query("SELECT 1 FROM pg_replication_slots WHERE database = $1", [db.name]),
        []
      )
    }).pipe(Effect.scoped))
})
