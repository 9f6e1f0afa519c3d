/**
 * PGlite, Postgres inside the client, fed by its sync extension from the real server: its tables are what the database's tables are, and
 * several of them change together. The extension brings a client of its own, of an older version.
 */
import { PGlite } from "@electric-sql/pglite"
import { electricSync, type InitialInsertMethod } from "@electric-sql/pglite-sync"
import assert from "node:assert/strict"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { eventually } from "../support/Eventually.ts"
import { Gateway } from "../support/Gateway.ts"
import { type Scenario, scenario } from "../support/Scenario.ts"

const open = (dataDir?: string) =>
  PGlite.create({ extensions: { electric: electricSync() }, ...(dataDir !== undefined && { dataDir }) })

type Lite = Awaited<ReturnType<typeof open>>

const rowsOf = async (lite: Lite, table: string): Promise<ReadonlyArray<string>> =>
  (await lite.query<{ row: string }>(`SELECT to_jsonb(t)::text AS row FROM ${table} t ORDER BY 1`)).rows.map((
    { row }
  ) => row)

/** Waits until the local table is the database's. */
const same = async (lite: Lite, select: Scenario["select"], local: string, table: string): Promise<void> => {
  const expected = (await select(`SELECT to_jsonb(t)::text AS row FROM ${table} t ORDER BY 1`)).map(({ row }) => row!)
  await eventually(async () => {
    const held = await rowsOf(lite, local)
    if (JSON.stringify(held) === JSON.stringify(expected)) return undefined
    const only = (these: ReadonlyArray<string>, others: ReadonlyArray<string>) =>
      these.filter((row) => !others.includes(row)).slice(0, 5).join(" ")
    return `${local} has ${held.length} rows for ${expected.length}, too many ${only(held, expected)}, missing ${
      only(expected, held)
    }`
  })
}

const ITEMS = "id int PRIMARY KEY, name text NOT NULL, big int8, price numeric, ok bool, at timestamptz"

const FILL = `INSERT INTO items SELECT i, 'name, "' || i || E'"\\n', i * 90000000000007, i / 8.0, i % 3 = 0,
  timestamptz '2024-02-29 12:00:00.000001Z' + i * interval '1 day' FROM generate_series(1::int8, 400) i;
  INSERT INTO items VALUES (1000, '', NULL, NULL, NULL, NULL)`

scenario("one shape into a table: each way of the first insertion, changes, rotation", {
  setup: `CREATE TABLE items (${ITEMS}); ${FILL}`,
  timeout: 240_000
}, async ({ db, select, server }) => {
  const lite = await open()
  try {
    await lite.exec("SET TimeZone = 'UTC'")
    const methods: ReadonlyArray<InitialInsertMethod> = ["insert", "json", "csv", "useCopy"]
    let refetches = 0
    const errors: Array<unknown> = []
    const shapes = []
    for (const [i, method] of methods.entries()) {
      const table = `items_${method.toLowerCase()}`
      await lite.exec(`CREATE TABLE ${table} (${ITEMS})`)
      let isSynced = false
      shapes.push(
        await lite.electric.syncShapeToTable({
          shape: {
            url: `${server.url}/v1/shape`,
            params: { table: "items" },
            // What becomes JSON can have no bigint.
            ...(method === "json" && { parser: { int8: (text: string) => text } })
          },
          table,
          primaryKey: ["id"],
          shapeKey: i === 0 ? null : table,
          initialInsertMethod: method,
          onInitialSync: () => {
            isSynced = true
          },
          onError: (error) => errors.push(error),
          ...(method === "csv" && {
            onMustRefetch: async (tx) => {
              refetches++
              await tx.exec(`TRUNCATE ${table}`)
            }
          })
        })
      )
      await eventually(() => isSynced ? undefined : `${table} has had no first synchronisation`)
    }
    const now = async () => {
      for (const method of methods) await same(lite, select, `items_${method.toLowerCase()}`, "items")
      assert.deepEqual(errors, [])
    }
    await now()
    for (
      const sql of [
        "INSERT INTO items (id, name) VALUES (2000, 'é \\ 日本'), (2001, 'x')",
        "UPDATE items SET name = 'changed', big = NULL WHERE id IN (1, 2, 1000)",
        "UPDATE items SET price = -price, at = at + interval '1 microsecond'",
        "UPDATE items SET id = id + 5000 WHERE id BETWEEN 10 AND 15",
        "BEGIN; INSERT INTO items (id, name) VALUES (3000, 'a'); UPDATE items SET name = 'b' WHERE id = 3000; DELETE FROM items WHERE id = 3000; INSERT INTO items (id, name) VALUES (3000, 'c'); COMMIT",
        "DELETE FROM items WHERE id % 2 = 0",
        "TRUNCATE items; INSERT INTO items (id, name) VALUES (1, 'new')",
        "INSERT INTO items (id, name) VALUES (2, 'and on')",
        "UPDATE items SET name = 'and on and on'"
      ]
    ) {
      await db.exec(sql)
      await now()
    }
    assert.equal(refetches, 1)
    for (const shape of shapes) {
      assert.ok(shape.isUpToDate)
      shape.unsubscribe()
    }
  } finally {
    await lite.close()
  }
})

scenario("several shapes change together, transaction by transaction", {
  setup: `
    CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL);
    CREATE TABLE savings (id int PRIMARY KEY, balance int NOT NULL);
    CREATE TABLE moves (id serial PRIMARY KEY, account int NOT NULL, amount int NOT NULL);
    CREATE TABLE quiet (id int PRIMARY KEY);
    INSERT INTO accounts SELECT i, 1000 FROM generate_series(1, 8) i;
    INSERT INTO savings SELECT i, 0 FROM generate_series(1, 8) i`,
  // What is seen in time is not seen because a live request of a shape without news has ended.
  env: { SHAPELOG_LONG_POLL_TIMEOUT: "60s" },
  timeout: 240_000
}, async ({ db, select, server }) => {
  const WRITERS = 4
  const ROUNDS = 6
  const TRANSACTIONS = 10
  const tables = ["accounts", "savings", "moves", "quiet"]
  const lite = await open()
  try {
    await lite.exec(`
      CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL);
      CREATE TABLE savings (id int PRIMARY KEY, balance int NOT NULL);
      CREATE TABLE moves (id int PRIMARY KEY, account int NOT NULL, amount int NOT NULL);
      CREATE TABLE quiet (id int PRIMARY KEY)`)
    const errors: Array<unknown> = []
    let isSynced = false
    const sync = await lite.electric.syncShapesToTables({
      key: "bank",
      shapes: Object.fromEntries(tables.map((table) => [table, {
        shape: { url: `${server.url}/v1/shape`, params: { table } },
        table,
        primaryKey: ["id"]
      }])),
      onInitialSync: () => {
        isSynced = true
      },
      onError: (error) => errors.push(error)
    })
    await eventually(() => isSynced ? undefined : "no first synchronisation")
    for (const table of tables) await same(lite, select, table, table)

    let writing = true
    /** How many moves were to be seen, each time that the local tables were read. */
    const seen = new Set<number>()
    const watch = async () => {
      while (writing) {
        const { rows: [state] } = await lite.query<{ money: number; saved: number; moved: number; moves: number }>(`
          SELECT (SELECT sum(balance) FROM accounts)::int + (SELECT sum(balance) FROM savings)::int AS money,
            (SELECT sum(balance) FROM savings)::int AS saved,
            (SELECT coalesce(sum(amount), 0) FROM moves)::int AS moved, (SELECT count(*) FROM moves)::int AS moves`)
        assert.ok(state)
        assert.equal(state.money, 8000, `money after ${state.moves} moves`)
        assert.equal(state.saved, state.moved, `savings after ${state.moves} moves`)
        seen.add(state.moves)
        // Its turn comes after whatever else waits.
        await new Promise<void>((resolve) => setImmediate(resolve))
      }
    }
    /** In rounds, after each of which something new has to be seen: several states come by, however fast the writers are. */
    const write = async (round: number, writer: number) => {
      const session = await db.session()
      for (let i = 0; i < TRANSACTIONS; i++) {
        const id = 1 + (writer * 3 + i * 5) % 8
        const amount = 1 + (round + writer + i) % 9
        await session.exec(`BEGIN;
          UPDATE accounts SET balance = balance - ${amount} WHERE id = ${id};
          INSERT INTO moves (account, amount) VALUES (${id}, ${amount});
          UPDATE savings SET balance = balance + ${amount} WHERE id = ${id};
          COMMIT`)
      }
      await session.close()
    }
    const watched = watch()
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const before = seen.size
        await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(round, writer)))
        // A shape without news must not hold the others back.
        await eventually(() => seen.size > before ? undefined : `round ${round} is not to be seen`, 20_000)
      }
      for (const table of tables) await same(lite, select, table, table)
    } finally {
      writing = false
    }
    await watched
    assert.ok(seen.has(ROUNDS * WRITERS * TRANSACTIONS))

    // --- One of the shapes rotates: it is fetched again, the others go on ---
    await db.exec("TRUNCATE moves; UPDATE savings SET balance = 1 WHERE id = 1")
    for (const table of tables) await same(lite, select, table, table)
    await db.exec("INSERT INTO moves VALUES (9000, 1, 1); UPDATE accounts SET balance = 2 WHERE id = 2")
    for (const table of tables) await same(lite, select, table, table)
    assert.deepEqual(errors, [])
    sync.unsubscribe()
  } finally {
    await lite.close()
  }
})

scenario("a database that is closed and opened again goes on where it was", {
  setup: `CREATE TABLE items (${ITEMS}); ${FILL}`,
  timeout: 240_000
}, async ({ db, select, server }) => {
  const directory = await fs.mkdtemp(path.join(tmpdir(), "shapelog-pglite-"))
  const gateway = await Gateway.open(server.url)
  /** Opens it, waits until it is right, and tells which requests that took. */
  const session = async (meanwhile?: (lite: Lite) => Promise<void>) => {
    const from = gateway.requests.length
    const lite = await open(path.join(directory, "data"))
    try {
      await lite.exec(`SET TimeZone = 'UTC'; CREATE TABLE IF NOT EXISTS items (${ITEMS})`)
      const errors: Array<unknown> = []
      const sync = await lite.electric.syncShapeToTable({
        shape: { url: `${gateway.url}/v1/shape`, params: { table: "items" } },
        table: "items",
        primaryKey: ["id"],
        shapeKey: "items",
        initialInsertMethod: "csv",
        onError: (error) => errors.push(error)
      })
      await same(lite, select, "items", "items")
      await meanwhile?.(lite)
      // Its position is kept with the rows; it has to be that of the last of them.
      await eventually(async () => {
        const { rows: [kept] } = await lite.query<{ at: { shape: { offset: string } } }>(
          "SELECT shape_metadata AS at FROM electric.subscriptions_metadata WHERE key = 'items'"
        )
        const offset = kept?.at.shape.offset
        return sync.isUpToDate && offset === sync.stream.lastOffset
          ? undefined
          : `${offset} is kept, not ${sync.stream.lastOffset}`
      })
      sync.unsubscribe()
      assert.deepEqual(errors, [])
    } finally {
      await lite.close()
    }
    return gateway.requests.slice(from)
  }
  try {
    const [first] = await session(async (lite) => {
      await db.exec("UPDATE items SET name = 'changed' WHERE id < 10")
      await same(lite, select, "items", "items")
    })
    assert.equal(first?.url.searchParams.get("offset"), "-1")

    await db.exec("DELETE FROM items WHERE id BETWEEN 5 AND 20; INSERT INTO items (id, name) VALUES (5, 'again')")
    assert.equal(await server.stop(), 0)
    await server.start()
    const resumed = await session()
    for (const { url } of resumed) {
      assert.notEqual(url.searchParams.get("offset"), "-1")
      assert.notEqual(url.searchParams.get("offset"), "0_0")
    }

    // --- While it is away, its shape is rotated ---
    await db.exec("TRUNCATE items; INSERT INTO items (id, name) VALUES (1, 'new')")
    const [refused, again] = await session()
    assert.equal(refused?.status, 409)
    assert.equal(again?.url.searchParams.get("offset"), "-1")
    assert.equal(again?.url.searchParams.get("handle"), refused?.answered["electric-handle"])
  } finally {
    await gateway.close()
    await fs.rm(directory, { recursive: true, force: true })
  }
})
