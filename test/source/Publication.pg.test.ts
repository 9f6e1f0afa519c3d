import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Redacted, TestClock } from "effect"
import * as Catalog from "../../src/source/Catalog.ts"
import * as Pools from "../../src/source/Pools.ts"
import * as Publication from "../../src/source/Publication.ts"
import * as Postgres from "../support/Postgres.ts"

const sourceOf = (db: Postgres.TestDatabase, options: { readonly manual?: boolean; readonly url?: string } = {}) =>
  Layer.mergeAll(Catalog.layer, Publication.layer({ manual: options.manual ?? false })).pipe(
    Layer.provide(Pools.layer({ url: Redacted.make(options.url ?? db.url), streamId: db.name, poolSize: 8 }))
  )

const publicationOf = (db: Postgres.TestDatabase) => `shapelog_publication_${db.name}`

/** A database with a publication and `sql` run in it. */
const prepared = (sql: string) =>
  Effect.tap(Postgres.makeDatabase, (db) => db.exec(`CREATE PUBLICATION ${publicationOf(db)}; ${sql}`))

/** `ensure` of a table by name, in the layer. */
const ensure = Effect.fnUntraced(function*(name: string, schema = "public") {
  const catalog = yield* Catalog.Catalog
  const table = Option.getOrThrow(yield* catalog.table(schema, name))
  yield* (yield* Publication.Publication).ensure(table)
})

/** Names of relations whose changes are published, and those with full identity. */
const state = Effect.fnUntraced(function*(db: Postgres.TestDatabase) {
  const published = yield* db.query(
    "SELECT tablename AS name FROM pg_publication_tables WHERE pubname = $1 ORDER BY 1",
    [
      publicationOf(db)
    ]
  )
  const full = yield* db.query(
    "SELECT relname AS name FROM pg_class WHERE relreplident = 'f' ORDER BY relname COLLATE \"C\""
  )
  return { published: published.map(({ name }) => name), full: full.map(({ name }) => name) }
})

/** Waits for a condition that Postgres decides, such as that a lock is waited for. */
const until = (db: Postgres.Queryable, condition: string, params: ReadonlyArray<unknown> = []) =>
  Effect.gen(function*() {
    for (let i = 0; i < 400; i++) {
      const [row] = yield* db.query(`SELECT (${condition})::text AS yes`, params)
      if (row?.yes === "true") return
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 10)))
    }
    return yield* Effect.dieMessage(`never: ${condition}`)
  })

describe("Publication", () => {
  it.scopedLive("publishes a table with full identity, and alters nothing when nothing is wanting", () =>
    Effect.gen(function*() {
      const db = yield* prepared("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int)")
      yield* Effect.gen(function*() {
        yield* ensure("a")
        assert.deepStrictEqual(yield* state(db), { published: ["a"], full: ["a"] })
        const versions = () =>
          db.query("SELECT c.xmin AS a, r.xmin AS b FROM pg_class c, pg_publication_rel r WHERE relname = 'a'")
        const before = yield* versions()
        // A lock that every ALTER would have to wait for.
        const other = yield* db.session
        yield* other.exec("BEGIN; LOCK TABLE a IN ACCESS SHARE MODE")
        yield* ensure("a")
        yield* other.exec("COMMIT")
        assert.deepStrictEqual(yield* versions(), before)
        yield* ensure("b")
        assert.deepStrictEqual(yield* state(db), { published: ["a", "b"], full: ["a", "b"] })
      }).pipe(Effect.provide(sourceOf(db)))
      // Nor by the next process.
      yield* ensure("a").pipe(Effect.provide(sourceOf(db)))
    }))

  it.scopedLive("takes names as they are", () =>
    Effect.gen(function*() {
      const db = yield* prepared(`CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."We""ird.Table" (id int)`)
      yield* ensure("We\"ird.Table", "My Schema").pipe(Effect.provide(sourceOf(db)))
      assert.deepStrictEqual(yield* state(db), { published: ["We\"ird.Table"], full: ["We\"ird.Table"] })
    }))

  it.scopedLive("notices a table that was taken out, and an identity that was changed", () =>
    Effect.gen(function*() {
      const db = yield* prepared("CREATE TABLE a (id int PRIMARY KEY)")
      yield* Effect.gen(function*() {
        yield* ensure("a")
        yield* db.exec(`ALTER PUBLICATION ${publicationOf(db)} DROP TABLE a`)
        yield* ensure("a")
        assert.deepStrictEqual(yield* state(db), { published: ["a"], full: ["a"] })
        yield* db.exec("ALTER TABLE a REPLICA IDENTITY DEFAULT")
        yield* ensure("a")
        assert.deepStrictEqual(yield* state(db), { published: ["a"], full: ["a"] })
      }).pipe(Effect.provide(sourceOf(db)))
    }))

  it.scopedLive("publishes a partitioned table with all its leaves, and leaves that come later", () =>
    Effect.gen(function*() {
      const db = yield* prepared(
        `CREATE TABLE top (a int, b int) PARTITION BY RANGE (a);
         CREATE TABLE mid PARTITION OF top FOR VALUES FROM (0) TO (100) PARTITION BY LIST (b);
         CREATE TABLE leaf1 PARTITION OF mid FOR VALUES IN (1);
         CREATE TABLE leaf2 PARTITION OF top FOR VALUES FROM (100) TO (200)`
      )
      yield* Effect.gen(function*() {
        yield* ensure("top")
        assert.deepStrictEqual(yield* state(db), { published: ["leaf1", "leaf2"], full: ["leaf1", "leaf2", "top"] })
        yield* db.exec("CREATE TABLE leaf3 PARTITION OF mid FOR VALUES IN (3)")
        yield* ensure("top")
        assert.deepStrictEqual((yield* state(db)).full, ["leaf1", "leaf2", "leaf3", "top"])
        // A leaf of its own is published through the table above it.
        yield* ensure("leaf3")
        const rows = yield* db.query("SELECT prrelid::regclass::text AS name FROM pg_publication_rel")
        assert.deepStrictEqual(rows, [{ name: "top" }])
      }).pipe(Effect.provide(sourceOf(db)))
    }))

  it.scopedLive("is content with a publication of all tables", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      yield* db.exec(`CREATE PUBLICATION ${publicationOf(db)} FOR ALL TABLES; CREATE TABLE a (id int)`)
      yield* ensure("a").pipe(Effect.provide(sourceOf(db)))
      assert.deepStrictEqual((yield* state(db)).full, ["a"])
    }))

  it.scopedLive("shares the work of concurrent calls, whoever of them is interrupted", () =>
    Effect.gen(function*() {
      const db = yield* prepared("CREATE TABLE a (id int); CREATE TABLE b (id int)")
      const before = yield* db.query("SELECT pg_current_xact_id()::text AS xid")
      yield* Effect.gen(function*() {
        const catalog = yield* Catalog.Catalog
        const a = Option.getOrThrow(yield* catalog.table("public", "a"))
        const publication = yield* Publication.Publication
        const first = yield* Effect.fork(publication.ensure(a))
        yield* Effect.yieldNow()
        const others = yield* Effect.fork(
          Effect.all(Array.from({ length: 50 }, () => publication.ensure(a)), { concurrency: "unbounded" })
        )
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(first)
        yield* Fiber.join(others)
        yield* Effect.all([publication.ensure(a), ensure("b")], { concurrency: 2 })
      }).pipe(Effect.provide(sourceOf(db)))
      assert.deepStrictEqual(yield* state(db), { published: ["a", "b"], full: ["a", "b"] })
      const [after] = yield* db.query("SELECT pg_current_xact_id()::text AS xid")
      assert.isBelow(Number(after?.xid) - Number(before[0]?.xid), 50)
    }))

  it.scopedLive("does not deadlock with other engines on the same tables, nor with writers", () =>
    Effect.gen(function*() {
      const names = ["a", "b", "c", "d"]
      const db = yield* prepared(names.map((name) => `CREATE TABLE ${name} (id int)`).join(";"))
      const writer = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
        const session = yield* db.session
        for (;;) {
          for (const [one, two] of [["a", "d"], ["d", "b"], ["c", "a"]]) {
            yield* session.exec(`INSERT INTO ${one} VALUES (1); INSERT INTO ${two} VALUES (1)`)
          }
        }
      })))
      for (let round = 0; round < 3; round++) {
        yield* Effect.all(
          [0, 1, 2].map((engine) =>
            Effect.all(
              names.map((_, i) => ensure(names[(i * (engine + 1) + engine) % names.length]!)).concat(
                names.map((name) => ensure(name))
              ),
              { concurrency: "unbounded" }
            ).pipe(Effect.provide(sourceOf(db)))
          ),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(yield* state(db), { published: names, full: names })
        yield* db.exec(`ALTER PUBLICATION ${publicationOf(db)} DROP TABLE a, b, c, d`)
        for (const name of names) yield* db.exec(`ALTER TABLE ${name} REPLICA IDENTITY DEFAULT`)
      }
      yield* Fiber.interrupt(writer)
    }))

  describe("transactions that wrote before", () => {
    const slotChanges = (db: Postgres.TestDatabase) =>
      Effect.map(
        db.query(
          `SELECT count(*) FILTER (WHERE get_byte(data, 0) = ascii('I')) AS inserts
           FROM pg_logical_slot_get_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', $2)`,
          [`slot_${db.name}`, publicationOf(db)]
        ),
        ([row]) => Number(row?.inserts)
      )

    it.scopedLive("are waited for where joining the publication alone does not: no row is missed", () =>
      Effect.gen(function*() {
        const db = yield* prepared("CREATE TABLE a (id int); ALTER TABLE a REPLICA IDENTITY FULL")
        yield* db.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [`slot_${db.name}`])
        const writer = yield* db.session
        yield* writer.exec("BEGIN; INSERT INTO a VALUES (1)")
        const result = yield* Effect.gen(function*() {
          const ensuring = yield* Effect.fork(Effect.zipRight(
            ensure("a"),
            // The snapshot of the shape: what it does not see, the stream must have.
            Effect.map(db.query("SELECT * FROM a"), (rows) => rows.length)
          ))
          yield* until(db, "EXISTS (SELECT FROM pg_publication_rel)")
          yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 200)))
          assert.isTrue(Option.isNone(yield* Fiber.poll(ensuring)))
          // New writers are not held up, nor waited for.
          const later = yield* db.session
          yield* later.exec("BEGIN; INSERT INTO a VALUES (2)")
          yield* writer.exec("COMMIT")
          const seen = yield* Fiber.join(ensuring)
          yield* later.exec("COMMIT")
          return seen
        }).pipe(Effect.provide(sourceOf(db)))
        assert.strictEqual(result + (yield* slotChanges(db)), 2)
      }))

    it.scopedLive("are waited for where the identity is altered: no row is missed", () =>
      Effect.gen(function*() {
        const db = yield* prepared("CREATE TABLE a (id int)")
        yield* db.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [`slot_${db.name}`])
        const writer = yield* db.session
        yield* writer.exec("BEGIN; INSERT INTO a VALUES (1)")
        const result = yield* Effect.gen(function*() {
          const ensuring = yield* Effect.fork(Effect.zipRight(
            ensure("a"),
            Effect.map(db.query("SELECT * FROM a"), (rows) => rows.length)
          ))
          yield* until(db, "EXISTS (SELECT FROM pg_locks WHERE relation = 'a'::regclass AND NOT granted)")
          const later = yield* Effect.fork(db.exec("INSERT INTO a VALUES (2)"))
          yield* writer.exec("COMMIT")
          const seen = yield* Fiber.join(ensuring)
          yield* Fiber.join(later)
          return seen
        }).pipe(Effect.provide(sourceOf(db)))
        assert.isAtLeast(result + (yield* slotChanges(db)), 2)
      }))

    it.scopedLive("are waited for by the engine that comes after one that died between altering and waiting", () =>
      Effect.gen(function*() {
        const db = yield* prepared("CREATE TABLE a (id int); ALTER TABLE a REPLICA IDENTITY FULL")
        const writer = yield* db.session
        yield* writer.exec("BEGIN; INSERT INTO a VALUES (1)")
        yield* db.exec(`ALTER PUBLICATION ${publicationOf(db)} ADD TABLE a`)
        yield* Effect.gen(function*() {
          const ensuring = yield* Effect.fork(ensure("a"))
          yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 300)))
          assert.isTrue(Option.isNone(yield* Fiber.poll(ensuring)))
          yield* writer.exec("ROLLBACK")
          yield* Fiber.join(ensuring)
        }).pipe(Effect.provide(sourceOf(db)))
      }))

    it.scopedLive("are not waited for when they have written to other tables only, or read", () =>
      Effect.gen(function*() {
        const db = yield* prepared(
          "CREATE TABLE a (id int); ALTER TABLE a REPLICA IDENTITY FULL; CREATE TABLE b (id int)"
        )
        const other = yield* db.session
        yield* other.exec("BEGIN; INSERT INTO b VALUES (1); SELECT * FROM a")
        yield* ensure("a").pipe(Effect.provide(sourceOf(db)))
      }))

    it.scoped("are waited for thirty seconds, and again by the next attempt", () =>
      Effect.gen(function*() {
        const db = yield* prepared("CREATE TABLE a (id int); ALTER TABLE a REPLICA IDENTITY FULL")
        const writer = yield* db.session
        yield* writer.exec("BEGIN; INSERT INTO a VALUES (1)")
        yield* Effect.gen(function*() {
          for (let attempt = 0; attempt < 2; attempt++) {
            const ensuring = yield* Effect.fork(Effect.flip(ensure("a")))
            let seconds = 0
            while (Option.isNone(yield* Fiber.poll(ensuring))) {
              seconds++
              yield* TestClock.adjust("1 second")
              yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5)))
            }
            const error = yield* Fiber.join(ensuring)
            assert.strictEqual(error._tag === "SnapshotFailed" && error.reason, "lock_timeout")
            assert.isAtLeast(seconds, 30)
          }
        }).pipe(Effect.provide(sourceOf(db)))
      }))

    it.scopedLive("that are prepared count, and those of the leaves", () =>
      Effect.gen(function*() {
        const db = yield* prepared(
          `CREATE TABLE top (a int) PARTITION BY LIST (a); CREATE TABLE leaf PARTITION OF top FOR VALUES IN (1);
           ALTER TABLE top REPLICA IDENTITY FULL; ALTER TABLE leaf REPLICA IDENTITY FULL`
        )
        const [setting] = yield* db.query("SHOW max_prepared_transactions")
        const writer = yield* db.session
        yield* writer.exec("BEGIN; INSERT INTO leaf VALUES (1)")
        if (setting?.max_prepared_transactions !== "0") yield* writer.exec(`PREPARE TRANSACTION '${db.name}'`)
        yield* Effect.gen(function*() {
          const ensuring = yield* Effect.fork(ensure("top"))
          yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 300)))
          assert.isTrue(Option.isNone(yield* Fiber.poll(ensuring)))
          yield* writer.exec(setting?.max_prepared_transactions === "0" ? "COMMIT" : `COMMIT PREPARED '${db.name}'`)
          yield* Fiber.join(ensuring)
        }).pipe(Effect.provide(sourceOf(db)))
      }))
  })

  describe("failures", () => {
    const failure = (db: Postgres.TestDatabase, name: string, options: Parameters<typeof sourceOf>[1] = {}) =>
      Effect.flip(ensure(name)).pipe(
        Effect.provide(sourceOf(db, options)),
        Effect.map((error) =>
          error._tag === "SnapshotFailed" ? [error.reason, error.detail] : [error._tag, String(error)]
        )
      )

    it.scopedLive("a lock that can't be had within five seconds", () =>
      Effect.gen(function*() {
        const db = yield* prepared("CREATE TABLE a (id int)")
        const other = yield* db.session
        yield* other.exec("BEGIN; LOCK TABLE a IN ACCESS SHARE MODE")
        assert.deepStrictEqual(yield* failure(db, "a"), [
          "lock_timeout",
          "Snapshot timed out while waiting for a table lock"
        ])
        // The one who held the lock is unharmed, the next attempt succeeds.
        yield* other.exec("COMMIT")
        yield* ensure("a").pipe(Effect.provide(sourceOf(db)))
        assert.deepStrictEqual(yield* state(db), { published: ["a"], full: ["a"] })
      }))

    it.scopedLive("a role that may alter neither table nor publication", () =>
      Effect.gen(function*() {
        const db = yield* prepared("CREATE TABLE a (id int); CREATE TABLE b (id int)")
        yield* db.exec(
          `CREATE ROLE ${db.name} LOGIN PASSWORD 'x'; GRANT SELECT ON a, b TO ${db.name};
           ALTER PUBLICATION ${publicationOf(db)} ADD TABLE b`
        )
        yield* Effect.addFinalizer(() => Effect.orDie(db.exec(`DROP OWNED BY ${db.name}; DROP ROLE ${db.name}`)))
        const url = db.urlOf(db.name, "x")
        assert.deepStrictEqual(yield* failure(db, "a", { url }), [
          "refused",
          `Unable to create initial snapshot: must be owner of publication ${publicationOf(db)}`
        ])
        assert.deepStrictEqual(yield* failure(db, "b", { url }), [
          "refused",
          "Unable to create initial snapshot: must be owner of table b"
        ])
      }))

    it.scopedLive("a table that can't be published, one that is gone, and no publication", () =>
      Effect.gen(function*() {
        const db = yield* prepared(
          "CREATE UNLOGGED TABLE u (id int); CREATE TABLE gone (id int); CREATE TABLE a (id int)"
        )
        const [reason, detail] = yield* failure(db, "u")
        assert.strictEqual(reason, "refused")
        assert.match(detail ?? "", /^Unable to create initial snapshot: cannot add relation "u" to publication/)

        const error = yield* Effect.gen(function*() {
          const table = Option.getOrThrow(yield* (yield* Catalog.Catalog).table("public", "gone"))
          yield* db.exec("DROP TABLE gone")
          return yield* Effect.flip((yield* Publication.Publication).ensure(table))
        }).pipe(Effect.provide(sourceOf(db)))
        assert.strictEqual(error._tag === "SnapshotFailed" && error.reason, "schema_changed")

        yield* db.exec(`ALTER PUBLICATION ${publicationOf(db)} SET (publish = 'insert')`)
        assert.deepStrictEqual(yield* failure(db, "a"), [
          "publication",
          `Publication "${publicationOf(db)}" does not publish all of INSERT, UPDATE, DELETE and TRUNCATE`
        ])
        yield* db.exec(`DROP PUBLICATION ${publicationOf(db)}`)
        assert.deepStrictEqual(yield* failure(db, "a"), [
          "publication",
          `Publication "${publicationOf(db)}" is missing from the database`
        ])
      }))

    it.scopedLive("a database that is away: nothing is decided about the shape", () =>
      Effect.gen(function*() {
        const db = yield* prepared("CREATE TABLE a (id int)")
        const url = db.urlOf("nobody_of_this_name", "x")
        const table = yield* Effect.flatMap(Catalog.Catalog, (catalog) => catalog.table("public", "a")).pipe(
          Effect.provide(sourceOf(db))
        )
        const error = yield* Effect.flatMap(
          Publication.Publication,
          (publication) => Effect.flip(publication.ensure(Option.getOrThrow(table)))
        ).pipe(Effect.provide(sourceOf(db, { url })))
        assert.strictEqual(error._tag, "DatabaseUnavailable")
      }))
  })

  it.scopedLive("in manual mode never alters, says what is wanting, and works once that is done", () =>
    Effect.gen(function*() {
      const db = yield* prepared("CREATE TABLE \"Ab\" (id int)")
      yield* Effect.gen(function*() {
        const missing = yield* Effect.flip(ensure("Ab"))
        assert.strictEqual(
          missing.message,
          `Database table "public.Ab" is missing from the publication "${publicationOf(db)}" and the ` +
            "SHAPELOG_MANUAL_TABLE_PUBLISHING setting prevents Shapelog from adding it"
        )
        yield* db.exec(`ALTER PUBLICATION ${publicationOf(db)} ADD TABLE "Ab"`)
        const identity = yield* Effect.flip(ensure("Ab"))
        assert.strictEqual(
          identity.message,
          "Database table \"public.Ab\" does not have its replica identity set to FULL"
        )
        assert.deepStrictEqual((yield* state(db)).full, [])
        yield* db.exec("ALTER TABLE \"Ab\" REPLICA IDENTITY FULL")
        yield* ensure("Ab")
      }).pipe(Effect.provide(sourceOf(db, { manual: true })))
    }))

  it.scopedLive("in manual mode takes tables that are published with their schema, but none that are published in part", () =>
    Effect.gen(function*() {
      const db = yield* prepared(
        `CREATE SCHEMA s; CREATE TABLE s.a (id int); CREATE TABLE b (id int); CREATE TABLE c (id int);
         ALTER TABLE s.a REPLICA IDENTITY FULL; ALTER TABLE b REPLICA IDENTITY FULL; ALTER TABLE c REPLICA IDENTITY FULL`
      )
      const [version] = yield* db.query("SHOW server_version_num")
      if (Number(version?.server_version_num) < 150000) return
      yield* Effect.gen(function*() {
        assert.match((yield* Effect.flip(ensure("a", "s"))).message, /is missing from the publication/)
        yield* db.exec(`ALTER PUBLICATION ${publicationOf(db)} ADD TABLES IN SCHEMA s`)
        yield* ensure("a", "s")
        yield* db.exec(`ALTER PUBLICATION ${publicationOf(db)} ADD TABLE b WHERE (id > 1)`)
        assert.match((yield* Effect.flip(ensure("b"))).message, /row filter/)
        // Postgres allows column lists only without schemas.
        yield* db.exec(`ALTER PUBLICATION ${publicationOf(db)} DROP TABLES IN SCHEMA s`)
        yield* db.exec(`ALTER PUBLICATION ${publicationOf(db)} ADD TABLE c (id)`)
        assert.match((yield* Effect.flip(ensure("c"))).message, /column list/)
      }).pipe(Effect.provide(sourceOf(db, { manual: true })))
    }))
})
