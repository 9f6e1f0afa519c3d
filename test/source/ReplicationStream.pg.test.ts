import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Scope, TestClock } from "effect"
import * as Lsn from "../../src/domain/Lsn.ts"
import type { WalMessage } from "../../src/domain/WalMessage.ts"
import * as Postgres from "../support/Postgres.ts"
import { makeLog, nextTransaction, setup, streaming, streamOf, until, values } from "./support.ts"

const create = "CREATE TABLE items (id int PRIMARY KEY, name text)"

const print = (message: WalMessage): string => {
  switch (message._tag) {
    case "Insert":
      return `+ ${values(message.row).join(" ")}`
    case "Update":
      return `~ ${message.old ? `${values(message.old).join(" ")} -> ` : ""}${values(message.row).join(" ")}`
    case "Delete":
      return `- ${values(message.old).join(" ")}`
    case "Truncate":
      return `truncate ${message.relations.map((relation) => relation.name).join(" ")}`
    default:
      return message._tag
  }
}

describe("streaming", () => {
  it.scoped("every kind of change, transaction by transaction", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(`${create}; CREATE TABLE other (id int)`)
      const connection = yield* streaming(db, stream)
      const change = Effect.fnUntraced(function*(sql: string) {
        yield* db.exec(sql)
        return (yield* nextTransaction(connection)).rows.map(print)
      })
      assert.deepStrictEqual(yield* change("INSERT INTO items VALUES (1, 'a'), (2, NULL)"), ["+ 1 a", "+ 2 "])
      assert.deepStrictEqual(yield* change("UPDATE items SET name = 'b' WHERE id = 1"), ["~ 1 a -> 1 b"])
      assert.deepStrictEqual(yield* change("UPDATE items SET id = 10 WHERE id = 1"), ["~ 1 b -> 10 b"])
      assert.deepStrictEqual(yield* change("DELETE FROM items WHERE id = 10"), ["- 10 b"])
      assert.deepStrictEqual(yield* change("TRUNCATE items, other"), ["truncate items other"])
      assert.deepStrictEqual(
        yield* change("INSERT INTO other VALUES (1); INSERT INTO items VALUES (3, 'c'); DELETE FROM other"),
        ["+ 1", "+ 3 c", "- 1"]
      )
      assert.deepStrictEqual(
        yield* change("ALTER TABLE items ADD extra int DEFAULT 7; INSERT INTO items VALUES (4, 'd')"),
        ["+ 4 d 7"]
      )
    }))

  it.scoped("a TOASTed value that did not change is not in the update, but in its old row", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(
        "CREATE TABLE t (id int PRIMARY KEY, big text, n int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL"
      )
      const connection = yield* streaming(db, stream)
      yield* db.exec("INSERT INTO t VALUES (1, repeat('x', 10000), 1)")
      yield* nextTransaction(connection)
      yield* db.exec("UPDATE t SET n = 2")
      const { rows: [update] } = yield* nextTransaction(connection)
      assert.ok(update?._tag === "Update" && update.old !== undefined && update.oldIsFull)
      assert.deepStrictEqual(values(update.row), ["1", undefined, "2"])
      assert.deepStrictEqual(values(update.old), ["1", "x".repeat(10000), "1"])
    }))

  it.scoped("starts where it is told to", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const first = yield* Scope.make()
      const before = yield* Scope.extend(streaming(db, stream), first)
      yield* db.exec("INSERT INTO items VALUES (1, 'a')")
      const { endLsn } = yield* nextTransaction(before)
      yield* db.exec("INSERT INTO items VALUES (2, 'b')")
      yield* Scope.close(first, Exit.void)

      const again = yield* Scope.make()
      const all = yield* Scope.extend(stream.connect, again)
      yield* all.start(all.confirmedFlush)
      assert.deepStrictEqual((yield* nextTransaction(all)).rows.map(print), ["+ 1 a"])
      yield* Scope.close(again, Exit.void)

      const after = yield* stream.connect
      yield* after.start(endLsn)
      assert.deepStrictEqual((yield* nextTransaction(after)).rows.map(print), ["+ 2 b"])
    }))

  it.scoped("pulling before the start, or from a connection that is gone, fails", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const connection = yield* stream.connect
      assert.strictEqual((yield* Effect.flip(connection.pull)).operation, "pull")
      yield* connection.start(connection.confirmedFlush)
      yield* db.query("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1", [
        stream.slot
      ])
      const error = yield* Effect.flip(Effect.forever(connection.pull))
      assert.isTrue(error.retryable)
      assert.include(error.message, "terminating connection due to administrator command")
      const next = yield* stream.connect
      yield* next.start(next.confirmedFlush)
    }))

  it.scoped("reads no more than is pulled: a big transaction waits in Postgres", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const connection = yield* streaming(db, stream)
      const rows = 100_000
      yield* db.exec(`INSERT INTO items SELECT i, repeat('x', 500) FROM generate_series(1, ${rows}) i`)
      const messages = yield* connection.pull
      const memory = process.memoryUsage()
      const waiting = `SELECT sent_lsn FROM pg_stat_replication r JOIN pg_stat_activity a USING (pid)
        JOIN pg_replication_slots s ON s.active_pid = r.pid
        WHERE s.slot_name = '${stream.slot}' AND a.wait_event = 'WalSenderWriteData'`
      yield* until(db, waiting)
      // Its 50 MB stay where they are however often the event loop turns.
      for (let i = 0; i < 20; i++) yield* until(db, waiting)
      const grown = process.memoryUsage().arrayBuffers - memory.arrayBuffers
      assert.isBelow(grown, 4_000_000)

      let count = messages.filter((message) => message._tag === "Insert").length
      let largest = 0
      while (count < rows) {
        const pulled = yield* connection.pull
        largest = Math.max(largest, pulled.length)
        for (const message of pulled) if (message._tag === "Insert") count++
      }
      assert.strictEqual(count, rows)
      assert.isBelow(largest * 500, 256 * 1024)
    }))

  it.scoped("Keepalives are pulled like anything else", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup("CREATE TABLE unpublished (id int)")
      const connection = yield* stream.connect
      yield* connection.start(connection.confirmedFlush)
      const [row] = yield* db.query(
        "INSERT INTO unpublished VALUES (1) RETURNING pg_current_wal_insert_lsn()::text AS lsn"
      )
      const target = Lsn.parse(row!.lsn!)!
      let walEnd = Lsn.zero
      while (walEnd < target) {
        for (const message of yield* connection.pull) if (message._tag === "Keepalive") walEnd = message.walEnd
      }
      yield* connection.confirm(walEnd)
      yield* TestClock.adjust("10 millis")
      yield* until(
        db,
        `SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = '${stream.slot}'`,
        (rows) => Lsn.parse(rows[0]!.lsn!)! >= walEnd
      )
    }))
})

describe("status", () => {
  const position = (slot: string) =>
    `SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = '${slot}'`

  it.scoped("what is confirmed reaches the slot within 10 ms, and never goes back", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const connection = yield* streaming(db, stream)
      yield* db.exec("INSERT INTO items VALUES (1, 'a')")
      const first = yield* nextTransaction(connection)
      yield* db.exec("INSERT INTO items VALUES (2, 'b')")
      const second = yield* nextTransaction(connection)
      const [before] = yield* db.query(position(stream.slot))
      assert.isTrue(Lsn.parse(before!.lsn!)! < first.endLsn)

      yield* connection.confirm(second.endLsn)
      yield* connection.confirm(first.endLsn)
      yield* TestClock.adjust("10 millis")
      yield* until(db, position(stream.slot), (rows) => rows[0]!.lsn === Lsn.format(second.endLsn))
      const [told] = yield* until(
        db,
        `SELECT flush_lsn::text AS flush, replay_lsn::text AS apply, write_lsn >= flush_lsn AS ahead FROM pg_stat_replication r
         JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE slot_name = '${stream.slot}'`
      )
      assert.deepStrictEqual(told, { flush: Lsn.format(second.endLsn), apply: Lsn.format(second.endLsn), ahead: "t" })
    }))

  it.scoped("the last of it is told on closing", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const scope = yield* Scope.make()
      const connection = yield* Scope.extend(streaming(db, stream), scope)
      yield* db.exec("INSERT INTO items VALUES (1, 'a')")
      const { endLsn } = yield* nextTransaction(connection)
      yield* connection.confirm(endLsn)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* db.query(position(stream.slot)), [{ lsn: Lsn.format(endLsn) }])
      assert.strictEqual((yield* stream.connect).confirmedFlush, endLsn)
    }))

  const impatient = (db: Postgres.TestDatabase) => db.exec(`ALTER DATABASE ${db.name} SET wal_sender_timeout = '400ms'`)

  it.scopedLive("a stream that nobody pulls outlives wal_sender_timeout", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      yield* impatient(db)
      const connection = yield* streaming(db, stream)
      yield* db.exec("INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i")
      const [began] = yield* db.query("SELECT now()::text AS now")
      yield* until(
        db,
        `SELECT pid FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid
         WHERE slot_name = '${stream.slot}' AND reply_time > '${began!.now}'::timestamptz + interval '1 second'`
      )
      assert.strictEqual((yield* nextTransaction(connection)).rows.length, 20000)
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))

  it.scoped("without the timer it would not", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      yield* impatient(db)
      const connection = yield* streaming(db, stream)
      yield* db.exec("INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i")
      yield* until(db, `SELECT 1 FROM pg_replication_slots WHERE slot_name = '${stream.slot}' AND NOT active`)
      const error = yield* Effect.flip(Effect.forever(connection.pull))
      assert.isTrue(error.retryable)
    }))

  it.scoped("a server that asks is answered at once, without the timer", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      yield* impatient(db)
      const connection = yield* streaming(db, stream)
      const [began] = yield* db.query("SELECT now()::text AS now")
      yield* Effect.raceFirst(
        Effect.forever(connection.pull),
        until(
          db,
          `SELECT 1 FROM pg_replication_slots
           WHERE slot_name = '${stream.slot}' AND active AND now() > '${began!.now}'::timestamptz + interval '1 second'`
        )
      )
    }))

  it.scoped("a server that does not answer any more is given up", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const connection = yield* streaming(db, stream)
      const [slot] = yield* db.query(`SELECT active_pid FROM pg_replication_slots WHERE slot_name = '${stream.slot}'`)
      const pid = Number(slot!.active_pid)
      const pulling = yield* Effect.fork(Effect.flip(Effect.forever(connection.pull)))
      yield* Effect.acquireUseRelease(
        Effect.sync(() => process.kill(pid, "SIGSTOP")),
        () => TestClock.adjust("90 seconds"),
        () => Effect.sync(() => process.kill(pid, "SIGCONT"))
      )
      const error = yield* Fiber.join(pulling)
      assert.isTrue(error.retryable)
      assert.include(error.message, "the server does not answer")
    }))
})

describe("one engine a slot", () => {
  const waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND "
    + "database = (SELECT oid FROM pg_database WHERE datname = current_database())"

  /** Lets 10 s pass, again and again, until this much has been logged: the next 10 s are counted from when the server has answered. */
  const ticks = (log: ReturnType<typeof makeLog>, lines: number) =>
    Effect.repeat(TestClock.adjust("10 seconds"), { until: () => log.lines.length >= lines })

  it.scoped("the second waits, says so every 10 s, and follows when the first has closed", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const first = yield* Scope.make()
      yield* Scope.extend(streaming(db, stream), first)
      const log = makeLog()
      const connecting = yield* Effect.fork(Effect.provide(stream.connect, log.layer))
      yield* until(db, waiting)
      yield* ticks(log, 2)
      assert.isTrue(log.lines.every((line) => line.includes("waiting for the lock")))
      assert.isNull(connecting.unsafePoll())
      yield* Scope.close(first, Exit.void)
      const second = yield* Fiber.join(connecting)
      assert.isFalse(second.slotCreated)
      yield* second.start(second.confirmedFlush)
    }))

  it.scoped("a statement timeout does not end the waiting", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const first = yield* Scope.make()
      yield* Scope.extend(streaming(db, stream), first)
      yield* db.exec(`ALTER DATABASE ${db.name} SET statement_timeout = '30ms'`)
      const connecting = yield* Effect.fork(stream.connect)
      // One lock request is granted or cancelled before the next one is made: three times that it began to wait.
      const starts = new Set<string>()
      yield* Effect.repeat(
        db.query(`SELECT query_start::text AS at FROM pg_stat_activity WHERE pid IN (${waiting})`),
        {
          until: (rows) => {
            for (const row of rows) starts.add(row.at!)
            return starts.size >= 3
          }
        }
      )
      yield* Scope.close(first, Exit.void)
      yield* Fiber.join(connecting)
    }))

  it.scoped("interrupting the one that waits leaves nothing behind", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      yield* streaming(db, stream)
      const connecting = yield* Effect.fork(Effect.scoped(stream.connect))
      const [row] = yield* until(db, waiting)
      yield* Fiber.interrupt(connecting)
      yield* until(db, `SELECT pid FROM pg_stat_activity WHERE pid = ${row!.pid}`, (rows) => rows.length === 0)
    }))

  const holding = Effect.fnUntraced(function*(db: Postgres.TestDatabase, slot: string) {
    const holder = yield* db.session
    yield* holder.query("SELECT pg_advisory_lock(hashtext($1))", [slot])
    return holder
  })

  it.scoped("a holder that is silent while its slot is unused is terminated", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create, { silentHolder: 0 })
      yield* Effect.scoped(stream.connect)
      const holder = yield* holding(db, stream.slot)
      const connecting = yield* Effect.fork(stream.connect)
      yield* until(db, waiting)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(connecting)
      assert.isNotEmpty((yield* Effect.flip(holder.query("SELECT 1"))).message)
    }))

  it.scoped("a holder that has spoken lately, or streams, or whose slot is not there yet, is not", () =>
    Effect.gen(function*() {
      const spared = Effect.fnUntraced(
        function*(db: Postgres.TestDatabase, connect: Effect.Effect<unknown, unknown, Scope.Scope>) {
          const log = makeLog()
          const connecting = yield* Effect.fork(Effect.scoped(Effect.provide(connect, log.layer)))
          yield* until(db, waiting)
          // The third line comes after what the first two have brought about.
          yield* ticks(log, 3)
          assert.isTrue(log.lines.every((line) => line.includes("waiting")), log.lines.join("\n"))
          yield* Fiber.interrupt(connecting)
        }
      )
      const lately = yield* setup(create, { silentHolder: 3_600_000 })
      yield* Effect.scoped(lately.stream.connect)
      const holder = yield* holding(lately.db, lately.stream.slot)
      yield* spared(lately.db, lately.stream.connect)
      yield* holder.query("SELECT 1")

      const active = yield* setup(create, { silentHolder: 0 })
      const connection = yield* streaming(active.db, active.stream)
      yield* spared(active.db, active.stream.connect)
      yield* active.db.exec("INSERT INTO items VALUES (1, 'a')")
      yield* nextTransaction(connection)

      const fresh = yield* setup(create, { silentHolder: 0 })
      const early = yield* holding(fresh.db, fresh.stream.slot)
      yield* spared(fresh.db, fresh.stream.connect)
      yield* early.query("SELECT 1")
    }))

  it.scoped("an engine that has not started yet speaks now and then", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      yield* stream.connect
      const spoke =
        "SELECT state_change::text AS at FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = current_database()"
      const [before] = yield* db.query(spoke)
      yield* TestClock.adjust("10 seconds")
      yield* until(db, spoke, (rows) => rows[0]!.at! > before!.at!)
    }))

  it.scoped("closing leaves no walsender, even in the middle of a transaction that nobody reads", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const scope = yield* Scope.make()
      const connection = yield* Scope.extend(streaming(db, stream), scope)
      yield* db.exec("INSERT INTO items SELECT i, repeat('x', 500) FROM generate_series(1, 100000) i")
      yield* connection.pull
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(
        yield* db.query(`SELECT active FROM pg_replication_slots WHERE slot_name = '${stream.slot}'`),
        [{ active: "f" }]
      )
      const again = yield* stream.connect
      yield* again.start(again.confirmedFlush)
    }))
})

describe("publication and slot", () => {
  it.scoped("are created once", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const first = yield* Effect.scoped(stream.connect)
      assert.isTrue(first.slotCreated)
      assert.match(first.systemId, /^\d+$/)
      assert.strictEqual(first.timeline, 1)
      assert.strictEqual(first.slot, stream.slot)
      assert.deepStrictEqual(
        yield* db.query(
          "SELECT plugin, confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1",
          [stream.slot]
        ),
        [{ plugin: "pgoutput", lsn: Lsn.format(first.confirmedFlush) }]
      )
      const [version] = yield* db.query("SELECT current_setting('server_version_num')::int >= 180000 AS generated")
      if (version!.generated === "t") {
        assert.deepStrictEqual(yield* db.query("SELECT pubgencols FROM pg_publication"), [{ pubgencols: "s" }])
      }
      const second = yield* Effect.scoped(stream.connect)
      assert.isFalse(second.slotCreated)
      assert.strictEqual(second.confirmedFlush, first.confirmedFlush)
    }))

  it.scoped("names are quoted, and checked", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      yield* db.exec(create)
      const odd = yield* streamOf(db, { names: { publication: "It's \"A\"", slot: `odd_${db.name}` } })
      const connection = yield* odd.connect
      yield* db.exec("ALTER PUBLICATION \"It's \"\"A\"\"\" ADD TABLE items")
      yield* connection.start(connection.confirmedFlush)
      yield* db.exec("INSERT INTO items VALUES (1, 'a')")
      assert.deepStrictEqual((yield* nextTransaction(connection)).rows.map(print), ["+ 1 a"])

      for (
        const names of [{ publication: "p", slot: "No'Slot" }, { publication: "", slot: "s" }, {
          publication: "p",
          slot: ""
        }]
      ) {
        const wrong = yield* streamOf(db, { names })
        assert.isFalse((yield* Effect.flip(Effect.scoped(wrong.connect))).retryable)
      }
    }))

  it.scoped("a missing publication means a new slot", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      yield* Effect.scoped(stream.connect)
      yield* db.exec(`DROP PUBLICATION ${stream.publication}`)
      assert.isTrue((yield* Effect.scoped(stream.connect)).slotCreated)
    }))

  it.scoped("a publication that lacks an operation is the operator's to mend", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      yield* db.exec(`CREATE PUBLICATION ${stream.publication} WITH (publish = 'insert, update, delete')`)
      const error = yield* Effect.flip(Effect.scoped(stream.connect))
      assert.isFalse(error.retryable)
      assert.include(error.message, "TRUNCATE")
    }))

  it.scoped("a slot that is gone at the start is made anew by the next connection", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const connection = yield* stream.connect
      yield* db.query("SELECT pg_drop_replication_slot($1)", [stream.slot])
      const error = yield* Effect.flip(connection.start(connection.confirmedFlush))
      assert.isTrue(error.retryable)
      assert.include(error.message, "does not exist")
      // Nothing else is streamed from this connection, so the lock is let go of with its scope as always.
    }).pipe(Effect.scoped))

  it.scoped("a slot of another plugin is not touched", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      yield* db.query("SELECT pg_create_logical_replication_slot($1, 'test_decoding')", [stream.slot]).pipe(
        Effect.catchAll(() => db.query("SELECT pg_create_physical_replication_slot($1)", [stream.slot]))
      )
      assert.isFalse((yield* Effect.flip(Effect.scoped(stream.connect))).retryable)
      yield* db.query("SELECT pg_drop_replication_slot($1)", [stream.slot])
    }))

  it.scoped("creating a slot waits for older transactions, and says so", () =>
    Effect.gen(function*() {
      const { db, stream } = yield* setup(create)
      const old = yield* db.session
      yield* old.exec("BEGIN; INSERT INTO items VALUES (1, 'a')")
      const log = makeLog()
      const connecting = yield* Effect.fork(Effect.provide(stream.connect, log.layer))
      yield* until(db, `SELECT active FROM pg_replication_slots WHERE slot_name = '${stream.slot}'`, (rows) =>
        rows[0]?.active === "t")
      yield* TestClock.adjust("10 seconds")
      yield* Effect.repeat(Effect.yieldNow(), {
        until: () =>
          log.lines.some((line) =>
            line.includes("older than it to end")
          )
      })
      yield* old.exec("COMMIT")
      assert.isTrue((yield* Fiber.join(connecting)).slotCreated)
    }))
})

describe("errors", () => {
  const refusal = Effect.fnUntraced(function*(url: (db: Postgres.TestDatabase) => string) {
    const db = yield* Postgres.makeDatabase
    const stream = yield* streamOf(db, { url: url(db) })
    return yield* Effect.flip(Effect.scoped(stream.connect))
  })

  it.scoped("a database that is not there needs the operator, a server that is not there a retry", () =>
    Effect.gen(function*() {
      const missing = yield* refusal((db) => db.url.replace(db.name, "missing"))
      assert.isFalse(missing.retryable)
      assert.include(missing.message, "there is no such database")
      const down = yield* refusal(() => "postgres://postgres@127.0.0.1:1/postgres")
      assert.isTrue(down.retryable)
    }))

  it.scoped("a role without REPLICATION, or with another password", () =>
    Effect.gen(function*() {
      const role = `role_${(yield* Postgres.makeDatabase).name}`
      yield* Effect.acquireRelease(
        Effect.scoped(
          Effect.flatMap(Postgres.admin, (server) => server.exec(`CREATE ROLE ${role} LOGIN PASSWORD 'right'`))
        ),
        () =>
          Effect.scoped(Effect.flatMap(Postgres.admin, (server) => server.exec(`DROP ROLE ${role}`))).pipe(Effect.orDie)
      )
      const lacking = yield* refusal((db) => db.urlOf(role, "right"))
      assert.isFalse(lacking.retryable)
      assert.include(lacking.message, "REPLICATION")
    }))
})
