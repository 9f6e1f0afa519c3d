/**
 * The published client against the real server: what it materialises is what `SELECT` says, whatever happens to table and server.
 */
import type { Row } from "@electric-sql/client"
import assert from "node:assert/strict"
import { sorted, type Values } from "../support/Follower.ts"
import { matches } from "../support/Materialised.ts"
import { AS_TEXT, scenario } from "../support/Scenario.ts"

const parsed = ({ big, done, id, meta, tags, title }: Values): Row<unknown> => ({
  id: Number(id),
  title: title!,
  done: done === null ? null : done === "t",
  big: big === null ? null : BigInt(big!),
  meta: meta === null ? null : JSON.parse(meta!),
  tags: tags === null ? null : tags!.slice(1, -1).split(",").map(Number)
})

scenario("a table through every kind of change, restarts and a kill", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, title text NOT NULL, done bool, big int8, meta jsonb, tags int[]);
    INSERT INTO items SELECT i, 'title ' || i, i % 2 = 0, i * 10000000000000001, '{"a": [1, null]}', ARRAY[i, i + 1]
    FROM generate_series(1, 50) i;
    INSERT INTO items VALUES (1000, '', NULL, NULL, NULL, NULL)`
}, async ({ client, db, follow, same, select, server }) => {
  const one = client({ table: "items" })
  const strict = follow({ table: "items" }).start()
  const now = () => matches(one, select, "SELECT * FROM items", parsed)
  await now()
  for (
    const sql of [
      "INSERT INTO items (id, title, done) VALUES (51, 'é \"quoted\" \\ 日本', false)",
      "UPDATE items SET title = 'changed', big = NULL WHERE id = 3",
      "UPDATE items SET meta = '{\"b\": \"x\"}', tags = NULL, done = NULL WHERE id IN (4, 5)",
      "DELETE FROM items WHERE id = 1",
      "UPDATE items SET id = 2000 WHERE id = 7",
      "UPDATE items SET id = id + 3000, title = 'moved' WHERE id BETWEEN 10 AND 20",
      "BEGIN; DELETE FROM items WHERE id = 2; INSERT INTO items VALUES (2, 'again'); UPDATE items SET title = 'and again' WHERE id = 2; COMMIT",
      "BEGIN; INSERT INTO items VALUES (60, 'a'); UPDATE items SET id = 61 WHERE id = 60; DELETE FROM items WHERE id = 61; COMMIT",
      "INSERT INTO items SELECT i, 'many ' || i FROM generate_series(5000, 6000) i",
      "BEGIN; INSERT INTO items VALUES (70, 'never'); ROLLBACK",
      "BEGIN; SAVEPOINT s; INSERT INTO items VALUES (71, 'never'); ROLLBACK TO s; INSERT INTO items VALUES (72, 'ever'); COMMIT",
      "DELETE FROM items WHERE id >= 5000"
    ]
  ) {
    await db.exec(sql)
    await now()
  }
  const handle = one.stream.shapeHandle

  // --- A clean restart: the same handle goes on, with what was written meanwhile ---
  assert.equal(await server.stop(), 0)
  await db.exec("INSERT INTO items VALUES (80, 'while it was away'); DELETE FROM items WHERE id = 30")
  await server.start()
  await now()
  await db.exec("UPDATE items SET title = 'after it' WHERE id = 80")
  await now()
  assert.equal(one.stream.shapeHandle, handle)

  // --- A kill ---
  await db.exec("INSERT INTO items VALUES (81, 'just before')")
  await now()
  await server.kill()
  await db.exec("UPDATE items SET id = 82 WHERE id = 81")
  await server.start()
  await now()
  assert.equal(one.stream.shapeHandle, handle)
  await strict.until(({ rows }) => rows.has("\"public\".\"items\"/\"82\""))
  assert.equal(strict.rotations, 0)

  // --- Truncate: the client starts over ---
  await db.exec("TRUNCATE items; INSERT INTO items VALUES (1, 'new')")
  await now()
  assert.notEqual(one.stream.shapeHandle, handle)
  await strict.until(({ rows, upToDate }) => upToDate && rows.size === 1)
  await db.exec(
    "BEGIN; INSERT INTO items VALUES (2, 'gone'); TRUNCATE items; INSERT INTO items VALUES (3, 'stays'); COMMIT"
  )
  await now()
  await db.exec("INSERT INTO items VALUES (4, 'and on')")
  await now()
  await strict.until(({ rows, upToDate }) => upToDate && rows.size === 2)
  await strict.stop()
  await same(strict.rows.values(), "SELECT * FROM items")
})

scenario("shapes of one table: columns, where, replica=full", {
  setup: `
    CREATE TABLE tasks (id int PRIMARY KEY, owner text, state int, note text);
    INSERT INTO tasks SELECT i, CASE WHEN i % 3 > 0 THEN 'o' || i % 3 END, i % 4, 'note ' || i FROM generate_series(1, 40) i`
}, async ({ client, db, follow, same, select }) => {
  const shapes: ReadonlyArray<readonly [Record<string, string>, string]> = [
    [{ table: "tasks" }, "SELECT * FROM tasks"],
    [{ table: "public.tasks", columns: "id,note" }, "SELECT id, note FROM tasks"],
    [{ table: "tasks", where: "state = 1" }, "SELECT * FROM tasks WHERE state = 1"],
    [{ table: "tasks", where: "state = 2" }, "SELECT * FROM tasks WHERE state = 2"],
    [{ table: "tasks", where: "owner = 'o1'", columns: "id,note" }, "SELECT id, note FROM tasks WHERE owner = 'o1'"],
    [{ table: "tasks", where: "state = $1", "params[1]": "3", replica: "full" }, "SELECT * FROM tasks WHERE state = 3"],
    [{ table: "tasks", replica: "full", columns: "id,state" }, "SELECT id, state FROM tasks"]
  ]
  const followers = shapes.map(([params, sql]) => ({ follower: follow(params).start(), sql }))
  const clients = shapes.map(([params, sql]) => ({ client: client(params, { parser: AS_TEXT }), sql }))
  const now = () => Promise.all(clients.map(({ client, sql }) => matches(client, select, sql)))
  await now()
  for (
    const sql of [
      "UPDATE tasks SET state = (state + 1) % 4",
      "UPDATE tasks SET state = NULL WHERE id < 5",
      "UPDATE tasks SET owner = 'o1' WHERE owner IS NULL",
      "UPDATE tasks SET owner = NULL, note = NULL WHERE id % 5 = 0",
      "UPDATE tasks SET id = id + 100, state = 1 WHERE id BETWEEN 20 AND 25",
      "UPDATE tasks SET id = id + 100 WHERE state = 2",
      "UPDATE tasks SET note = note",
      "DELETE FROM tasks WHERE state = 3",
      "INSERT INTO tasks VALUES (500, 'o1', 3, ''), (501, 'o1', 1, NULL)"
    ]
  ) {
    await db.exec(sql)
    await now()
  }
  const handles = new Set(clients.map(({ client }) => client.stream.shapeHandle))
  assert.equal(handles.size, shapes.length)
  for (const { follower, sql } of followers) {
    const expected = JSON.stringify(sorted(await select(sql)))
    await follower.until(({ rows }) => JSON.stringify(sorted(rows.values())) === expected, sql)
    await follower.stop()
    await same(follower.rows.values(), sql)
  }
  // A change outside of the selected columns is not sent.
  const quiet = followers.find(({ sql }) => sql === "SELECT id, state FROM tasks")!.follower
  assert.ok(quiet.served.every(({ body }) => !body.includes("note")))
})

scenario("names that must be quoted, composite keys, no key", {
  setup: `
    CREATE SCHEMA "My Schema";
    CREATE TABLE "My Schema"."It""ems.x" ("Id" int PRIMARY KEY, "a b" text, "ü,\\" text, id int);
    INSERT INTO "My Schema"."It""ems.x" VALUES (1, 'x', 'y', 5), (2, NULL, '', NULL);
    CREATE TABLE pairs (v text, b text, a int, PRIMARY KEY (b, a));
    INSERT INTO pairs VALUES ('x', 'a/b', 1), ('y', '', 2), ('z', '"', 2);
    CREATE TABLE bare (a int, b text, c bool);
    INSERT INTO bare VALUES (1, 'x', true), (2, NULL, NULL), (3, '', false)`
}, async ({ client, db, follow, same, select }) => {
  const shapes: ReadonlyArray<readonly [Record<string, string>, string]> = [
    [{ table: "\"My Schema\".\"It\"\"ems.x\"" }, "SELECT * FROM \"My Schema\".\"It\"\"ems.x\""],
    [
      { table: "\"My Schema\".\"It\"\"ems.x\"", columns: "\"Id\",\"ü,\\\",id", where: "\"a b\" = 'x'" },
      "SELECT \"Id\", \"ü,\\\", id FROM \"My Schema\".\"It\"\"ems.x\" WHERE \"a b\" = 'x'"
    ],
    [{ table: "pairs" }, "SELECT * FROM pairs"],
    [{ table: "PAIRS", replica: "full" }, "SELECT * FROM pairs"],
    [{ table: "bare" }, "SELECT * FROM bare"],
    [{ table: "bare", where: "c = true" }, "SELECT * FROM bare WHERE c"]
  ]
  const followers = shapes.map(([params, sql]) => ({ follower: follow(params).start(), sql }))
  const clients = shapes.map(([params, sql]) => ({ client: client(params, { parser: AS_TEXT }), sql }))
  const now = () => Promise.all(clients.map(({ client, sql }) => matches(client, select, sql)))
  await now()
  for (
    const sql of [
      "INSERT INTO \"My Schema\".\"It\"\"ems.x\" VALUES (3, 'x', E'\\n\\t\\u0001', 1)",
      "UPDATE \"My Schema\".\"It\"\"ems.x\" SET \"Id\" = 30, \"ü,\\\" = '\\\"' WHERE \"Id\" = 3",
      "UPDATE \"My Schema\".\"It\"\"ems.x\" SET \"a b\" = NULL WHERE \"Id\" = 1",
      "UPDATE pairs SET b = b || '/' WHERE a = 2",
      "UPDATE pairs SET v = 'new' WHERE b = 'a/b'",
      "UPDATE pairs SET a = 3 WHERE b = 'a/b'; DELETE FROM pairs WHERE b = '/'",
      "INSERT INTO bare VALUES (NULL, NULL, NULL), (4, 'y', true)",
      "UPDATE bare SET b = coalesce(b, '') || '!', c = NOT c",
      "DELETE FROM bare WHERE a IS NULL",
      "DELETE FROM bare WHERE a = 1"
    ]
  ) {
    await db.exec(sql)
    await now()
  }
  for (const { follower, sql } of followers) {
    const expected = JSON.stringify(sorted(await select(sql)))
    await follower.until(({ rows }) => JSON.stringify(sorted(rows.values())) === expected, sql)
    await follower.stop()
    await same(follower.rows.values(), sql)
  }
})

scenario("a handle that clients were told is gone stays gone, however the server ends", {
  setup: "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)"
}, async ({ db, follow, server }) => {
  const follower = follow({ table: "items" })
  for (let i = 1; i <= 2; i++) {
    follower.start()
    await follower.until(({ upToDate }) => upToDate)
    await Promise.all([
      follower.until(({ rotations }) => rotations === i),
      db.exec("TRUNCATE items; INSERT INTO items VALUES (1)")
    ])
    // The follower fails if a handle comes back.
    await server.kill()
    await server.start()
    await follower.until(({ rows, upToDate }) => upToDate && rows.size === 1)
    await follower.stop()
  }
})
