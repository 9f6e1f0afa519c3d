/**
 * The server beside a Postgres that comes and goes, a slot that is lost, and another server on the same slot.
 */
import { Effect, Exit, Redacted, Scope } from "effect"
import assert from "node:assert/strict"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"
import pg from "pg"
import * as EmbeddedPostgres from "../../src/source/EmbeddedPostgres.ts"
import { type Follower, sorted } from "../support/Follower.ts"
import { scenario } from "../support/Scenario.ts"

/** A Postgres of the test's own, which may be stopped and started. */
const makePostgres = async () => {
  const directory = await fs.mkdtemp(path.join(tmpdir(), "shapelog-test-"))
  await fs.chmod(directory, 0o755)
  let scope: Scope.CloseableScope | undefined
  let port = 0
  let url = ""
  const start = async () => {
    scope = await Effect.runPromise(Scope.make())
    const server = await EmbeddedPostgres.start({
      directory: path.join(directory, "postgres"),
      port,
      settings: { fsync: "off", full_page_writes: "off" }
    }).pipe(Scope.extend(scope), Effect.runPromise)
    port = server.port
    url = Redacted.value(server.url)
  }
  const stop = async () => {
    if (scope) await Effect.runPromise(Scope.close(scope, Exit.void))
    scope = undefined
  }
  const session = async () => {
    const client = new pg.Client({
      connectionString: url,
      types: { getTypeParser: () => (value: string | Buffer) => value }
    })
    client.on("error", () => undefined)
    await client.connect()
    return client
  }
  const query = async (sql: string) => {
    const client = await session()
    try {
      return (await client.query<Record<string, string | null>>(sql)).rows
    } finally {
      await client.end()
    }
  }
  await start()
  return {
    url,
    start,
    stop,
    session,
    query,
    remove: async () => {
      await stop()
      await fs.rm(directory, { recursive: true, force: true })
    }
  }
}

scenario("Postgres is away at the start, restarts, and holds commits back", { start: false, timeout: 120_000 }, async ({
  another,
  follow
}) => {
  const postgres = await makePostgres()
  try {
    await postgres.query("CREATE TABLE items (id int PRIMARY KEY, v text); INSERT INTO items VALUES (1, 'x')")
    const server = await another({ databaseUrl: postgres.url })
    const same = async (follower: Follower, sql: string) => {
      const expected = JSON.stringify(sorted(await postgres.query(sql)))
      await follower.until(
        ({ rows, upToDate }) => upToDate && JSON.stringify(sorted(rows.values())) === expected,
        expected
      )
    }

    // --- Away at the start ---
    await postgres.stop()
    server.spawn()
    await server.awaitHealth("starting")
    assert.equal((await server.health())?.code, 202)
    const early = await fetch(`${server.url}/v1/shape?table=items&offset=-1`)
    assert.equal(early.status, 503)
    assert.equal(early.headers.get("retry-after"), "5")
    await early.text()
    await postgres.start()
    await server.awaitHealth("active")
    const all = follow({ table: "items" }, server).start()
    await same(all, "SELECT * FROM items")

    // --- Restarted under the running server ---
    await postgres.stop()
    await postgres.start()
    await postgres.query("INSERT INTO items VALUES (2, 'after the restart'); UPDATE items SET v = 'y' WHERE id = 1")
    await same(all, "SELECT * FROM items")
    await server.awaitHealth("active")
    assert.equal(all.rotations, 0)
    // A new shape, too.
    const other = follow({ table: "items", columns: "id" }, server).start()
    await same(other, "SELECT id FROM items")

    // --- Commits that are in the WAL, and so in the stream, but not visible yet (H195) ---
    await postgres.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await postgres.query("SELECT pg_reload_conf()")
    const writer = await postgres.session()
    let committed = false
    const held = writer.query("INSERT INTO items VALUES (3, 'held'); UPDATE items SET v = 'held' WHERE id = 1").then(
      () => {
        committed = true
      }
    )
    await all.until(({ rows }) => rows.size === 3, "the held transaction")
    assert.deepEqual(await postgres.query("SELECT id FROM items WHERE id = 3"), [])
    const late = follow({ table: "items", columns: "id,v" }, server).start()
    const filtered = follow({ table: "items", where: "v = 'held'" }, server).start()
    // Both have had their table read, which shows that they were made in the window.
    const since = (await postgres.query("SELECT clock_timestamp() AS now"))[0]!.now
    for (let sessions = 0; sessions < 2;) {
      const [row] = await postgres.query(
        `SELECT count(*) AS n FROM pg_stat_activity
         WHERE application_name = 'shapelog' AND query ~ '^(COMMIT|BEGIN|COPY)' AND state_change > '${since}'`
      )
      sessions = Number(row!.n)
    }
    const [waiting] = await postgres.query("SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    assert.equal(waiting?.n, "1")
    assert.equal(committed, false)
    await postgres.query("ALTER SYSTEM RESET synchronous_standby_names")
    await postgres.query("SELECT pg_reload_conf()")
    await held
    for (
      const [follower, sql] of [
        [all, "SELECT * FROM items"],
        [late, "SELECT id, v FROM items"],
        [filtered, "SELECT * FROM items WHERE v = 'held'"]
      ] as const
    ) {
      await same(follower, sql)
      await follower.stop()
    }
    await other.stop()
    await writer.end()
    assert.equal(await server.stop(), 0)
  } finally {
    await postgres.remove()
  }
})

scenario("a slot that was dropped while the server was down: every shape starts over", {
  setup: "CREATE TABLE items (id int PRIMARY KEY, v int); INSERT INTO items VALUES (1, 1)"
}, async ({ db, follow, followed, server }) => {
  const shapes: ReadonlyArray<readonly [Follower, string]> = [
    [follow({ table: "items" }).start(), "SELECT * FROM items"],
    [follow({ table: "items", where: "v = 1" }).start(), "SELECT * FROM items WHERE v = 1"]
  ]
  for (const [follower, sql] of shapes) await followed(follower, sql)
  await db.exec("INSERT INTO items VALUES (2, 1)")
  for (const [follower, sql] of shapes) await followed(follower, sql)
  assert.equal(await server.stop(), 0)
  await db.query("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1", [db.name])
  await db.exec("INSERT INTO items VALUES (3, 1); DELETE FROM items WHERE id = 1")
  await server.start()
  for (const [follower, sql] of shapes) {
    await follower.until(({ rotations }) => rotations === 1, "a rotation")
    await followed(follower, sql)
  }
  await db.exec("INSERT INTO items VALUES (4, 1)")
  for (const [follower, sql] of shapes) {
    await followed(follower, sql)
    await follower.stop()
  }
})

scenario("another server on the same slot waits for the first to end", {
  setup: "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)"
}, async ({ another, db, follow, followed, server }) => {
  const first = follow({ table: "items" }).start()
  await followed(first, "SELECT * FROM items")
  const second = await another({})
  second.spawn()
  await second.awaitHealth("starting").catch(() => second.awaitHealth("waiting", 1000))
  assert.equal((await second.health())?.code, 202)
  const refused = await fetch(`${second.url}/v1/shape?table=items&offset=-1`)
  assert.equal(refused.status, 503)
  await refused.text()
  await first.stop()
  assert.equal(await server.stop(), 0)
  await db.exec("INSERT INTO items VALUES (2)")
  await second.awaitHealth("active")
  const other = follow({ table: "items" }, second).start()
  await followed(other, "SELECT * FROM items")
  await db.exec("INSERT INTO items VALUES (3)")
  await followed(other, "SELECT * FROM items")
  await other.stop()
  // A server that is killed lets go of the lock as well.
  server.spawn()
  await server.awaitHealth("starting")
  await second.kill()
  await server.awaitHealth("active")
})
