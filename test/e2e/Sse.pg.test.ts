/**
 * Streams of events from the real server: the published client with `liveSse`, and what comes over the wire.
 */
import assert from "node:assert/strict"
import * as http from "node:http"
import { AS_TEXT, scenario } from "../support/Scenario.ts"

const canonical = (rows: Iterable<object>): string => JSON.stringify([...rows].map((row) => JSON.stringify(row)).sort())

/** A stream of events, read as text. */
const open = (url: string) => {
  const state = { status: 0, headers: {} as http.IncomingHttpHeaders, text: "", isOver: false }
  const watchers = new Set<() => void>()
  const changed = () => {
    for (const watcher of [...watchers]) watcher()
  }
  const request = http.get(url, (response) => {
    state.status = response.statusCode ?? 0
    state.headers = response.headers
    response.setEncoding("utf8")
    response.on("data", (text: string) => {
      state.text += text
      changed()
    })
    response.on("close", () => {
      state.isOver = true
      changed()
    })
    changed()
  })
  request.on("error", changed)
  const until = (condition: () => boolean, what: string) =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        watchers.delete(look)
        reject(new Error(`${what}: ${state.status} ${state.text.slice(0, 1000)}`))
      }, 20_000)
      const look = () => {
        if (!condition()) return
        clearTimeout(timer)
        watchers.delete(look)
        resolve()
      }
      watchers.add(look)
      look()
    })
  return { state, until, close: () => request.destroy() }
}

scenario("the published client follows by server-sent events, through chunks and a rotation", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, title text NOT NULL);
    INSERT INTO items SELECT i, 'title ' || i FROM generate_series(1, 50) i`,
  env: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "10000" }
}, async ({ client, db, select, server }) => {
  const urls: Array<URL> = []
  const one = client({ table: "items" }, {
    parser: AS_TEXT,
    liveSse: true,
    fetchClient: (input, init) => {
      urls.push(new URL(String(input instanceof Request ? input.url : input)))
      return fetch(input, init)
    }
  })
  const now = async () => {
    const expected = canonical((await select("SELECT * FROM items")).map(({ id, title }) => ({ id, title })))
    await one.until((rows) => canonical(rows.map(({ id, title }) => ({ id, title }))) === expected, expected)
  }
  await now()
  const streams = () => urls.filter((url) => url.searchParams.get("live_sse") === "true")
  // Far more than a chunk, in transactions small and large, over one connection.
  for (let i = 1; i <= 20; i++) {
    await db.exec(`
      INSERT INTO items SELECT i, repeat('é,{}"\\', 20) || i FROM generate_series(${i * 1000}, ${i * 1000 + i * 10}) i;
      UPDATE items SET title = 'changed ${i}' WHERE id % 7 = ${i % 7};
      DELETE FROM items WHERE id % 11 = ${i % 11}`)
    await now()
  }
  const handle = one.stream.shapeHandle
  assert.equal(streams().length, 1)
  assert.equal(urls.filter((url) => url.searchParams.has("live")).length, 1)

  await db.exec("TRUNCATE items; INSERT INTO items VALUES (1, 'new')")
  await now()
  assert.notEqual(one.stream.shapeHandle, handle)
  await db.exec("INSERT INTO items VALUES (2, 'and on')")
  await now()

  assert.equal(await server.stop(), 0)
  await db.exec("UPDATE items SET title = 'while it was away'")
  await server.start()
  await now()
  await db.exec("DELETE FROM items WHERE id = 1")
  await now()
  assert.ok(streams().length >= 2)
})

scenario("a stream over the wire: what was missed, what comes, the end of its shape", {
  setup: "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)"
}, async ({ db, follow, server }) => {
  const follower = follow({ table: "items" }).start()
  await follower.until(({ upToDate }) => upToDate)
  const { handle } = follower
  await db.exec("BEGIN; INSERT INTO items VALUES (2); INSERT INTO items VALUES (3); COMMIT")
  await follower.until(({ rows }) => rows.size === 3)
  await follower.stop()
  const url = `${server.url}/v1/shape?table=items&handle=${handle}&live=true&live_sse=true&offset=`
  const stream = open(`${url}0_inf`)
  await stream.until(() => stream.state.text.includes("up-to-date"), "what was missed")
  assert.equal(stream.state.status, 200)
  assert.equal(stream.state.headers["content-type"], "text/event-stream")
  assert.equal(stream.state.headers["electric-offset"], "0_inf")
  const events = stream.state.text.split("\n\n").filter((event) => event !== "")
  assert.equal(events.length, 3)
  const messages = events.map((event) => {
    assert.match(event, /^data: \{.*\}$/)
    return JSON.parse(event.slice(6)) as { headers: Record<string, unknown>; value?: { id: string } }
  })
  assert.deepEqual(messages.map(({ value }) => value?.id), ["2", "3", undefined])
  // The offset that the client makes of this is behind the end: it gets the rest of the transaction again.
  const behind = open(`${url}${String(messages[2]!.headers["global_last_seen_lsn"])}_0`)
  await behind.until(() => behind.state.text.includes("up-to-date"), "the rest of the transaction")
  assert.equal(behind.state.text.split("\n\n").length, 3)
  behind.close()

  await db.exec("INSERT INTO items VALUES (4)")
  await stream.until(() => stream.state.text.split("up-to-date").length === 3, "the next transaction")
  assert.ok(!stream.state.isOver)
  await db.exec("TRUNCATE items")
  await stream.until(() => stream.state.isOver, "the end of the shape")
  const again = open(`${url}0_inf`)
  await again.until(() => again.state.isOver, "the answer after it")
  assert.equal(again.state.status, 409)
})
