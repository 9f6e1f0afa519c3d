import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Option, Redacted, Scope, TestClock } from "effect"
import { randomBytes } from "node:crypto"
import type { SnapshotFailed } from "../../src/domain/Errors.ts"
import * as Lsn from "../../src/domain/Lsn.ts"
import * as PgSnapshot from "../../src/domain/PgSnapshot.ts"
import { Database } from "../../src/source/Database.ts"
import * as Pools from "../../src/source/Pools.ts"
import * as SnapshotQuery from "../../src/source/SnapshotQuery.ts"
import * as Postgres from "../support/Postgres.ts"

/** A fresh database, and snapshots of it over a pool of one connection. */
const setup = Effect.fnUntraced(function*(sql: string, url?: (db: Postgres.TestDatabase) => string) {
  const db = yield* Postgres.makeDatabase
  yield* db.exec(sql)
  const pools = Pools.layer({ url: Redacted.make(url ? url(db) : db.url), streamId: "test", poolSize: 2 })
  const context = yield* Layer.build(SnapshotQuery.layer.pipe(Layer.provideMerge(pools)))
  const query = Context.get(context, SnapshotQuery.SnapshotQuery)
  const pool = Context.get(context, Database).snapshots
  return { db, query, pool }
})

const items: SnapshotQuery.SnapshotSelect = {
  schema: "public",
  table: "items",
  columns: ["id", "name"],
  where: undefined,
  rows: true
}

const drain = Effect.fnUntraced(function*(rows: SnapshotQuery.SnapshotRows) {
  const lines: Array<string> = []
  while (true) {
    const next = yield* rows.pull
    if (Option.isNone(next)) return lines
    const { bytes, count, rows: at } = next.value
    for (let i = 0; i < count; i++) lines.push(bytes.toString("utf8", at[2 * i], at[2 * i + 1]))
  }
})

const readAll = (query: SnapshotQuery.SnapshotQuery["Type"], select: SnapshotQuery.SnapshotSelect) =>
  Effect.scoped(Effect.flatMap(query.open(select), drain))

/** Asks the database again until the answer is the expected one. */
const until = (
  db: Postgres.Queryable,
  sql: string,
  expected: (rows: ReadonlyArray<Postgres.Row>) => boolean = (rows) => rows.length > 0
) => Effect.repeat(db.query(sql), { until: expected })

const sessions = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY (SELECT%' "
const waiting = `${sessions} AND wait_event_type = 'Lock'`
/** Blocks the query on its first row for as long as another session holds advisory lock 1. */
const blocked = { ...items, where: "pg_advisory_xact_lock_shared(1) IS NOT NULL" }

const create =
  "CREATE TABLE items (id int PRIMARY KEY, name text); INSERT INTO items VALUES (1, 'one'), (2, NULL), (3, E'a\\tb\\\\')"

describe("rows and marks", () => {
  it.scoped("rows as COPY text, of a where clause and of all", () =>
    Effect.gen(function*() {
      const { query } = yield* setup(create)
      assert.deepStrictEqual(yield* readAll(query, items), ["1\tone\n", "2\t\\N\n", "3\ta\\tb\\\\\n"])
      assert.deepStrictEqual(yield* readAll(query, { ...items, columns: ["name"], where: "id < 2" }), ["one\n"])
      assert.deepStrictEqual(yield* readAll(query, { ...items, where: "false" }), [])
    }))

  it.scoped("the marks tell exactly what the rows show", () =>
    Effect.gen(function*() {
      const { db, query } = yield* setup(create)
      const [before, open, after] = yield* Effect.all([db.session, db.session, db.session])
      const insert = (session: Postgres.Queryable, id: number) =>
        Effect.map(
          session.query(`INSERT INTO items VALUES (${id}) RETURNING pg_current_xact_id()::text AS xid`),
          (rows) => Number(BigInt(rows[0]!.xid!) & 0xffffffffn)
        )
      const seen = yield* insert(before, 10)
      yield* open.exec("BEGIN")
      const inProgress = yield* insert(open, 11)
      const [taken] = yield* db.query(
        "SELECT pg_current_wal_insert_lsn()::text AS lsn, pg_current_snapshot()::text AS snapshot"
      )

      const rows = yield* query.open(items)
      yield* open.exec("COMMIT")
      const later = yield* insert(after, 12)
      assert.deepStrictEqual((yield* drain(rows)).map((line) => line.split("\t")[0]), ["1", "2", "3", "10"])
      assert.deepStrictEqual(
        [seen, inProgress, later].map((xid) => PgSnapshot.sees(rows.marks, xid)),
        [true, false, false]
      )
      // Other tests' transactions on the same server move the marks, but never backwards.
      assert.isTrue(rows.marks.xmin >= PgSnapshot.parse(taken!.snapshot!)!.xmin)
      const [lsn] = yield* db.query("SELECT $1::pg_lsn <= $2::pg_lsn AS ok", [taken!.lsn, Lsn.format(rows.marks.lsn)])
      assert.strictEqual(lsn!.ok, "t")
    }))

  it.scoped("without rows only the marks are taken, and the connection is free at once", () =>
    Effect.gen(function*() {
      const { pool, query } = yield* setup(create)
      const rows = yield* query.open({ ...items, rows: false })
      assert.isTrue(rows.marks.lsn > 0n)
      assert.deepStrictEqual(yield* drain(rows), [])
      assert.strictEqual(pool.idleCount, 1)
    }))

  it.scoped("the connection is pg's again with the last row, whatever the scope still does", () =>
    Effect.gen(function*() {
      const { db, pool, query } = yield* setup(create)
      const rows = yield* query.open(items)
      yield* drain(rows)
      assert.strictEqual(pool.idleCount, 1)
      assert.deepStrictEqual(yield* db.query(`${sessions} AND state <> 'idle'`), [])
      assert.strictEqual((yield* Effect.promise(() => pool.query("SELECT 1 AS one"))).rows[0].one, "1")
      assert.strictEqual(pool.totalCount, 1)
    }))

  it.scoped("text forms do not depend on the session, which a pooler may have given to others", () =>
    Effect.gen(function*() {
      const { pool, query } = yield* setup("CREATE TABLE items AS SELECT 1 AS id, '\\x00'::bytea || '' AS name")
      yield* Effect.promise(() => pool.query("SET bytea_output = 'escape'"))
      assert.deepStrictEqual(yield* readAll(query, items), ["1\t\\\\x00\n"])
      assert.strictEqual(pool.totalCount, 1)
    }))

  it.scoped("names are quoted", () =>
    Effect.gen(function*() {
      const { query } = yield* setup(
        "CREATE SCHEMA \"S.\"; CREATE TABLE \"S.\".\"T \"\"'\" (\"a,b\" int, \"select\" int);"
          + "INSERT INTO \"S.\".\"T \"\"'\" VALUES (1, 2)"
      )
      const lines = yield* readAll(query, {
        schema: "S.",
        table: "T \"'",
        columns: ["select", "a,b"],
        where: undefined,
        rows: true
      })
      assert.deepStrictEqual(lines, ["2\t1\n"])
    }))

  it.scoped("a partitioned table has its partitions' rows, another table only its own", () =>
    Effect.gen(function*() {
      const { query } = yield* setup(`
        CREATE TABLE items (id int, name text) PARTITION BY LIST (id);
        CREATE TABLE part PARTITION OF items FOR VALUES IN (1);
        CREATE TABLE parent (id int, name text);
        CREATE TABLE child () INHERITS (parent);
        INSERT INTO items VALUES (1, 'in a partition');
        INSERT INTO parent VALUES (1, 'own');
        INSERT INTO child VALUES (2, 'of the child')`)
      assert.deepStrictEqual(yield* readAll(query, items), ["1\tin a partition\n"])
      assert.deepStrictEqual(yield* readAll(query, { ...items, table: "part" }), ["1\tin a partition\n"])
      assert.deepStrictEqual(yield* readAll(query, { ...items, table: "parent" }), ["1\town\n"])
      assert.deepStrictEqual(yield* readAll(query, { ...items, table: "child" }), ["2\tof the child\n"])
    }))

  it.scoped("a table of many reads, on one connection twice", () =>
    Effect.gen(function*() {
      const { pool, query } = yield* setup(
        "CREATE TABLE items AS SELECT i AS id, repeat('x', i % 300) AS name FROM generate_series(1, 20000) i"
      )
      for (let round = 0; round < 2; round++) {
        const lines = yield* readAll(query, items)
        assert.strictEqual(lines.length, 20000)
        assert.isTrue(lines.every((line, i) => line === `${i + 1}\t${"x".repeat((i + 1) % 300)}\n`))
      }
      assert.strictEqual(pool.totalCount, 1)
    }))
})

describe("failures", () => {
  const failing = (query: SnapshotQuery.SnapshotQuery["Type"], select: SnapshotQuery.SnapshotSelect) =>
    Effect.map(Effect.flip(readAll(query, select)), ({ detail, reason }: SnapshotFailed) => ({ reason, detail }))

  it.scoped("are told apart, and leave the connection usable", () =>
    Effect.gen(function*() {
      const { pool, query } = yield* setup(`${create};
        CREATE FUNCTION lost(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN gone($1); END $$;
        CREATE DOMAIN small AS int CHECK (VALUE < 3);
        CREATE FUNCTION fail(code text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'told you' USING ERRCODE = code; END $$`)
      const raising = (code: string) => failing(query, { ...items, where: `fail('${code}')` })
      const refused = "Unable to create initial snapshot: "

      assert.strictEqual((yield* failing(query, { ...items, table: "gone" })).reason, "schema_changed")
      assert.deepStrictEqual(yield* failing(query, { ...items, columns: ["gone"] }), {
        reason: "schema_changed",
        detail: `${refused}column "gone" does not exist`
      })
      assert.strictEqual((yield* failing(query, { ...items, where: "gone(1)" })).reason, "schema_changed")
      assert.deepStrictEqual(yield* failing(query, { ...items, where: "1 / (id - 3) = 0" }), {
        reason: "refused",
        detail: `${refused}division by zero`
      })
      assert.deepStrictEqual(yield* raising("55P03"), {
        reason: "lock_timeout",
        detail: "Snapshot timed out while waiting for a table lock"
      })
      assert.strictEqual((yield* raising("57014")).reason, "query_timeout")
      assert.deepStrictEqual(yield* raising("57P03"), {
        reason: "connection",
        detail: "Database connection not available"
      })
      assert.deepStrictEqual(yield* raising("P0001"), { reason: "refused", detail: `${refused}told you` })
      assert.deepStrictEqual(yield* raising("XX001"), {
        reason: "unknown",
        detail: "Unexpected error while creating snapshot: told you"
      })
      // Of a row, or of what the clause calls: asking again is of no use, and there is nothing to look up anew.
      assert.deepStrictEqual(yield* failing(query, { ...items, where: "lost(id)" }), {
        reason: "refused",
        detail: `${refused}function gone(integer) does not exist`
      })
      assert.deepStrictEqual(yield* failing(query, { ...items, where: "id::small > 0" }), {
        reason: "refused",
        detail: `${refused}value for domain small violates check constraint "small_check"`
      })
      assert.strictEqual(pool.totalCount, 1)
      assert.strictEqual((yield* readAll(query, items)).length, 3)
    }))

  it.scoped("a role that may not read the table", () =>
    Effect.gen(function*() {
      const role = yield* Effect.acquireRelease(
        Effect.sync(() => `role_${randomBytes(6).toString("hex")}`).pipe(
          Effect.tap((role) =>
            Effect.flatMap(Postgres.admin, (server) => server.exec(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`))
          )
        ),
        (role) =>
          Effect.scoped(Effect.flatMap(Postgres.admin, (server) => server.exec(`DROP ROLE ${role}`))).pipe(Effect.orDie)
      )
      const { query } = yield* setup(create, (db) => db.urlOf(role, "secret"))
      assert.deepStrictEqual(yield* failing(query, items), {
        reason: "refused",
        detail: "Unable to create initial snapshot: permission denied for table items"
      })
    }))

  it.scoped("a database that is not there", () =>
    Effect.gen(function*() {
      const { query } = yield* setup(create, () => "postgres://nobody@127.0.0.1:1/nothing")
      assert.deepStrictEqual(yield* failing(query, items), {
        reason: "connection",
        detail: "Database connection not available"
      })
    }))

  it.scoped("a backend that is terminated half way", () =>
    Effect.gen(function*() {
      const { db, pool, query } = yield* setup(
        "CREATE TABLE items AS SELECT i AS id, repeat('x', 200) AS name FROM generate_series(1, 200000) i"
      )
      const error = yield* query.open(items).pipe(
        Effect.tap((rows) => rows.pull),
        Effect.tap(() => until(db, `SELECT pg_terminate_backend(pid) FROM (${sessions}) s`)),
        Effect.flatMap(drain),
        Effect.scoped,
        Effect.flip
      )
      assert.deepInclude(error, { _tag: "SnapshotFailed", reason: "connection" })
      assert.strictEqual(pool.totalCount, 0)
      assert.strictEqual((yield* readAll(query, { ...items, where: "id < 4" })).length, 3)
    }))

  it.scoped("a query whose first row does not come within 30 seconds is cancelled", () =>
    Effect.gen(function*() {
      const { db, pool, query } = yield* setup(create)
      const holder = yield* db.session
      yield* holder.exec("SELECT pg_advisory_lock(1)")
      const reading = yield* Effect.fork(failing(query, blocked))
      yield* until(db, waiting)
      yield* TestClock.adjust("30 seconds")
      const failure = yield* Fiber.join(reading)
      assert.strictEqual(failure.reason, "query_timeout")
      assert.include(failure.detail, "cancelled after 30000ms")
      yield* until(db, sessions, (rows) => rows.length === 0)
      assert.strictEqual(pool.totalCount, 0)
      assert.strictEqual((yield* readAll(query, items)).length, 3)
    }))

  it.scoped("who waits for a connection for 30 seconds gives up, and keeps none", () =>
    Effect.gen(function*() {
      const { pool, query } = yield* setup(create)
      const scope = yield* Scope.make()
      yield* Scope.extend(query.open(items), scope)
      const opening = yield* Effect.fork(failing(query, items))
      yield* Effect.repeat(Effect.yieldNow(), { until: () => pool.waitingCount === 1 })
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* Fiber.join(opening), {
        reason: "pool_timeout",
        detail: "Snapshot creation failed because of a connection pool queue timeout"
      })
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* readAll(query, items)).length, 3)
      assert.strictEqual(pool.totalCount, 1)
    }))
})

describe("interruption", () => {
  it.scoped("cancels a query that is at work", () =>
    Effect.gen(function*() {
      const { db, pool, query } = yield* setup(create)
      const holder = yield* db.session
      yield* holder.exec("SELECT pg_advisory_lock(1)")
      const reading = yield* Effect.fork(readAll(query, blocked))
      yield* until(db, waiting)
      yield* Fiber.interrupt(reading)
      yield* until(db, sessions, (rows) => rows.length === 0)
      assert.strictEqual(pool.totalCount, 0)
      assert.strictEqual((yield* readAll(query, items)).length, 3)
    }))

  it.scoped("between two pulls ends the query, which Postgres holds back meanwhile", () =>
    Effect.gen(function*() {
      const { db, pool, query } = yield* setup(
        "CREATE TABLE items AS SELECT i AS id, repeat('x', 1000) AS name FROM generate_series(1, 50000) i"
      )
      const scope = yield* Scope.make()
      const rows = yield* Scope.extend(query.open(items), scope)
      yield* rows.pull
      yield* until(db, `${sessions} AND wait_event = 'ClientWrite'`)
      yield* Scope.close(scope, Exit.void)
      yield* until(db, sessions, (found) => found.length === 0)
      assert.strictEqual(pool.totalCount, 0)
      assert.strictEqual((yield* readAll(query, { ...items, where: "id < 4" })).length, 3)
    }))

  it.scoped("before the first pull returns the connection", () =>
    Effect.gen(function*() {
      const { db, pool, query } = yield* setup(create)
      yield* Effect.scoped(query.open(items))
      assert.strictEqual(pool.idleCount, 1)
      assert.deepStrictEqual(
        yield* db.query(
          "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        ),
        []
      )
    }))
})
