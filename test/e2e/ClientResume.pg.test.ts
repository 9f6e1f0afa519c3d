/**
 * Streams of the published client that go on from a stored handle and offset: after an abort, a restart, a kill, a rotation, and from
 * every offset there was.
 */
import type { Message, Row } from "@electric-sql/client"
import assert from "node:assert/strict"
import { type Gateway, withGateway } from "../support/Gateway.ts"
import { apply, canonical, changesOf, controlsOf } from "../support/Materialised.ts"
import { AS_TEXT, type Client, type Scenario, scenario } from "../support/Scenario.ts"

const setup = `
  CREATE TABLE items (id int PRIMARY KEY, title text NOT NULL, n int);
  INSERT INTO items SELECT i, 'title ' || i, i FROM generate_series(1, 20) i`

/** What an application keeps of a stream, to go on with later. */
interface Kept {
  readonly rows: Map<string, Row<unknown>>
  readonly handle: string
  readonly offset: Client["stream"]["lastOffset"]
}

/** A stream that goes on from what was kept, with the rows that come of it. */
const resume = (
  client: Scenario["client"],
  url: string,
  kept: Kept | undefined,
  liveSse: boolean,
  more: Parameters<Scenario["client"]>[1] = {}
) => {
  const aborter = new AbortController()
  const position = kept ? { handle: kept.handle, offset: kept.offset } : {}
  const options = { url, parser: AS_TEXT, liveSse, signal: aborter.signal }
  const one = client({ table: "items" }, { ...options, ...position, ...more })
  const rows = new Map(kept?.rows)
  let upToDate = false
  let look = () => {}
  one.stream.subscribe((messages) => {
    apply(rows, messages)
    if (controlsOf(messages).includes("up-to-date")) upToDate = true
    look()
  })
  /** Waits until it is up to date with rows like these. */
  const has = (expected: string) =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${canonical(rows.values())} is not ${expected}`)), 30_000)
      look = () => {
        if (!upToDate || canonical(rows.values()) !== expected) return
        clearTimeout(timer)
        resolve()
      }
      look()
    })
  /** Aborts it while it waits for news. */
  const leave = async (gateway: Gateway): Promise<Kept> => {
    await gateway.until(() => gateway.held.length === 1, "a live request")
    const [held] = gateway.held
    aborter.abort()
    await gateway.until(() => held!.state === "left", "the end of the live request")
    return { rows, handle: one.stream.shapeHandle!, offset: one.stream.lastOffset }
  }
  return { end: () => one.end(), has, leave, messages: one.messages, stream: one.stream }
}

for (const liveSse of [false, true]) {
  const how = liveSse ? "events" : "long polls"
  scenario(`an aborted stream is gone on with by a new one, over restarts and a rotation (${how})`, {
    setup
  }, async ({ client, db, select, server }) => {
    await withGateway(server.url, async (gateway) => {
      const url = gateway.shapeUrl
      const selected = async () => canonical(await select("SELECT * FROM items"))
      const first = resume(client, url, undefined, liveSse)
      await first.has(await selected())
      let kept = await first.leave(gateway)
      const { handle } = kept
      const asked = gateway.requests.length

      const away: ReadonlyArray<readonly [string, () => Promise<unknown>, ReadonlyArray<string>]> = [
        ["nothing", async () => {}, []],
        [
          "changes",
          () => db.exec("INSERT INTO items VALUES (50, 'away', 1); UPDATE items SET n = 0 WHERE id = 2"),
          ["insert 50", "update 2"]
        ],
        ["a restart", async () => {
          await db.exec("DELETE FROM items WHERE id = 50")
          assert.equal(await server.stop(), 0)
          await db.exec("UPDATE items SET id = 60 WHERE id = 5")
          await server.start()
        }, ["delete 50", "delete 5", "insert 60"]],
        ["a kill", async () => {
          await db.exec("UPDATE items SET title = 'before the kill' WHERE id = 60")
          await server.kill()
          await server.start()
        }, ["update 60"]]
      ]
      let last: ReadonlyArray<string> = []
      for (const [what, happen, changes] of away) {
        await happen()
        const next = resume(client, url, kept, liveSse)
        await next.has(await selected())
        // What it had is not sent again; save that by events it learns of the transaction it is up to date with, not how far in it
        // that is, and gets the rest of that one again (Electric HTTP protocol §8).
        const came = changesOf(next.messages)
        const again = came.slice(0, came.length - changes.length)
        assert.deepEqual(came.slice(again.length), changes, what)
        assert.ok(
          last.join().endsWith(again.join()) && (liveSse || again.length === 0),
          `${what}: ${again.join()} again`
        )
        if (changes.length > 0) last = changes
        kept = await next.leave(gateway)
        assert.equal(kept.handle, handle, what)
      }
      assert.ok(gateway.requests.slice(asked).every((request) => request.url.searchParams.get("handle") === handle))

      // The shape is rotated meanwhile: everything is to be forgotten, and comes again.
      await db.exec("TRUNCATE items; INSERT INTO items VALUES (1, 'new', 1), (2, 'new', 2)")
      const after = resume(client, url, kept, liveSse)
      await after.has(await selected())
      assert.ok(controlsOf(after.messages).includes("must-refetch"))
      assert.notEqual(after.stream.shapeHandle, handle)
      await db.exec("INSERT INTO items VALUES (3, 'and on', 3)")
      await after.has(await selected())
    })
  })
}

scenario("every offset that was served is one to go on from, after a restart too", {
  setup,
  env: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "400" }
}, async ({ client, db, select, server }) => {
  const selected = async () => canonical(await select("SELECT * FROM items"))
  const warm = resume(client, `${server.url}/v1/shape`, undefined, false)
  await warm.has(await selected())
  for (let i = 1; i <= 5; i++) {
    await db.exec(`
      INSERT INTO items SELECT i, 'new', ${i} FROM generate_series(${i * 100}, ${i * 100 + i}) i;
      UPDATE items SET title = 'changed ${i}' WHERE id % 5 = ${i % 5};
      UPDATE items SET id = id + 1000 WHERE id = ${i}; DELETE FROM items WHERE id = ${i + 5}`)
  }
  await warm.has(await selected())

  const points: Array<Kept> = []
  const rows = new Map<string, Row<unknown>>()
  let [handle, offset, isOver] = ["", "-1", false]
  while (!isOver) {
    const query = new URLSearchParams({ table: "items", log: "full", offset, ...(handle !== "" ? { handle } : {}) })
    const { body, headers } = await fetch(`${server.url}/v1/shape?${query}`).then(async (response) => ({
      body: await response.json() as ReadonlyArray<Message<Row<unknown>>>,
      headers: response.headers
    }))
    apply(rows, body)
    handle = headers.get("electric-handle")!
    offset = headers.get("electric-offset")!
    isOver = headers.has("electric-up-to-date")
    points.push({ rows: new Map(rows), handle, offset: offset as Kept["offset"] })
  }
  assert.equal(handle, warm.stream.shapeHandle)
  assert.ok(points.length >= 10)
  assert.equal(new Set(points.map(({ offset }) => offset)).size, points.length)
  const goOn = async () => {
    const all = points.map((kept, i) => resume(client, `${server.url}/v1/shape`, kept, i % 2 === 0))
    const now = async () => {
      const expected = await selected()
      await Promise.all(all.map(({ has }) => has(expected)))
    }
    await now()
    await db.exec("UPDATE items SET n = coalesce(n, 0) + 1 WHERE id % 2 = 0")
    await now()
    for (const { end, messages, stream } of all) {
      assert.ok(!controlsOf(messages).includes("must-refetch"))
      assert.equal(stream.shapeHandle, handle)
      end()
    }
  }
  await goOn()
  assert.equal(await server.stop(), 0)
  await db.exec("DELETE FROM items WHERE id > 1000")
  await server.start()
  await goOn()
})

scenario("a client that waits for less time than the server holds its requests misses nothing", { setup }, async ({
  client,
  db,
  select,
  server
}) => {
  await withGateway(server.url, async (gateway) => {
    const url = gateway.shapeUrl
    const one = resume(client, url, undefined, false, { liveRequestTimeoutMs: 40 })
    const selected = async () => canonical(await select("SELECT * FROM items"))
    for (let i = 0; i < 10; i++) {
      const left = gateway.requests.filter(({ state }) => state === "left").length
      await gateway.until(
        () => gateway.requests.filter(({ state }) => state === "left").length > left,
        "a request given up"
      )
      await db.exec(`INSERT INTO items VALUES (${100 + i}, 'new', ${i}); DELETE FROM items WHERE id = ${i + 1}`)
      await one.has(await selected())
    }
    // Each change came once.
    const live = changesOf(one.messages).slice(20)
    assert.deepEqual(live, Array.from({ length: 10 }, (_, i) => [`insert ${100 + i}`, `delete ${i + 1}`]).flat())
    assert.ok(!controlsOf(one.messages).includes("must-refetch"))
  })
})
