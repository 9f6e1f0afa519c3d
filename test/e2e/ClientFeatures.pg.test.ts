/**
 * The published client's streams against the real server: their state, several shapes on one, abort and resume, refresh, events,
 * old values. What they hold is compared with `SELECT`; what they ask is seen by a gateway.
 */
import {
  isChangeMessage,
  isControlMessage,
  type Message,
  type Row,
  Shape,
  type ShapeStreamInterface
} from "@electric-sql/client"
import assert from "node:assert/strict"
import { isDeepStrictEqual } from "node:util"
import type { Values } from "../support/Follower.ts"
import { Gateway, type Passed } from "../support/Gateway.ts"
import { apply, canonical, changesOf, matches } from "../support/Materialised.ts"
import { AS_TEXT, type Client, type Scenario, scenario } from "../support/Scenario.ts"

const withGateway = async (target: string, body: (gateway: Gateway, url: string) => Promise<void>): Promise<void> => {
  const gateway = await Gateway.open(target)
  try {
    await body(gateway, `${gateway.url}/v1/shape`)
  } finally {
    await gateway.close()
  }
}

const isLive = ({ url }: Passed): boolean => url.searchParams.get("live") === "true"

const controls = (messages: ReadonlyArray<Message<Row<unknown>>>): ReadonlyArray<string> =>
  messages.flatMap((message) => isControlMessage(message) ? [message.headers.control] : [])

const setup = `
  CREATE TABLE items (id int PRIMARY KEY, title text NOT NULL, n int);
  INSERT INTO items SELECT i, 'title ' || i, i FROM generate_series(1, 20) i`

scenario("a stream says where it is, and feeds several shapes by one request at a time", { setup }, async ({
  client,
  db,
  select,
  server
}) => {
  await withGateway(server.url, async (gateway, url) => {
    const one = client({ table: "items" }, { url, parser: AS_TEXT })
    const { stream } = one
    assert.equal(stream.shapeHandle, undefined)
    assert.equal(stream.lastOffset, "-1")
    assert.equal(stream.isUpToDate, false)
    assert.equal(stream.isLoading(), true)
    assert.equal(stream.lastSyncedAt(), undefined)
    const others = [1, 2].map(() => new Shape(stream as ShapeStreamInterface<Row<unknown>>))
    const heard = others.map(() => 0)
    others.forEach((shape, i) =>
      shape.subscribe(() => {
        heard[i]! += 1
      })
    )

    const same = async () => {
      await matches(one, select, "SELECT * FROM items")
      await gateway.until(() => gateway.held.length === 1, "a live request")
      const expected = canonical(one.rows)
      for (const shape of others) {
        assert.equal(canonical(await shape.rows), expected)
        assert.equal(canonical((await shape.value).values()), expected)
        assert.equal(shape.handle, stream.shapeHandle)
        assert.equal(shape.lastOffset, stream.lastOffset)
        assert.equal(shape.isUpToDate, true)
      }
      const last = gateway.requests.findLast(({ state, status }) => state === "done" && status === 200)!
      assert.equal(stream.lastOffset, last.answered["electric-offset"])
      assert.equal(stream.shapeHandle, last.answered["electric-handle"])
    }
    await same()
    assert.equal(stream.isUpToDate, true)
    assert.equal(stream.isLoading(), false)
    assert.equal(stream.isConnected(), true)
    assert.ok(stream.lastSynced() < 30_000)
    const offsets = [stream.lastOffset]
    for (
      const sql of [
        "INSERT INTO items VALUES (21, 'new', NULL)",
        "UPDATE items SET id = 30, n = 5 WHERE id = 3",
        "DELETE FROM items WHERE n > 15"
      ]
    ) {
      const before = [...heard]
      await db.exec(sql)
      await same()
      heard.forEach((times, i) => assert.ok(times > before[i]!, `shape ${i} has not heard of ${sql}`))
      offsets.push(stream.lastOffset)
    }
    assert.equal(new Set(offsets).size, offsets.length)
    // One stream, however many shapes: it waits once at each offset, and asks nothing twice.
    const live = gateway.requests.filter(isLive).map(({ url }) => url)
    assert.equal(new Set(live.map(({ searchParams }) => searchParams.get("offset"))).size, offsets.length)
    assert.equal(new Set(live.map(({ search }) => search)).size, live.length)

    // A shape that hears no more of it keeps the others.
    others[0]!.unsubscribeAll()
    assert.equal(others[0]!.numSubscribers, 0)
    await db.exec("TRUNCATE items; INSERT INTO items VALUES (1, 'after', 1)")
    await same()
  })
})

scenario("subscribe: false ends with the last row", {
  setup,
  env: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "400" }
}, async ({ client, db, select, server }) => {
  await withGateway(server.url, async (gateway, url) => {
    const warm = client({ table: "items" }, { parser: AS_TEXT })
    await matches(warm, select, "SELECT * FROM items")
    await db.exec("UPDATE items SET n = n + 100; DELETE FROM items WHERE id = 4")
    await matches(warm, select, "SELECT * FROM items")

    const once = client({ table: "items" }, { url, parser: AS_TEXT, subscribe: false })
    await matches(once, select, "SELECT * FROM items")
    await gateway.until(() => gateway.requests.every(({ state }) => state !== "open"), "the end of all requests")
    const asked = gateway.requests.length
    assert.ok(asked > 1)
    assert.deepEqual(gateway.requests.filter(isLive), [])
    const expected = canonical(once.rows)
    await db.exec("DELETE FROM items WHERE id < 10")
    await matches(warm, select, "SELECT * FROM items")
    assert.equal(gateway.requests.length, asked)
    assert.equal(canonical(once.rows), expected)
    assert.equal(once.stream.shapeHandle, warm.stream.shapeHandle)
  })
})

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
    if (controls(messages).includes("up-to-date")) upToDate = true
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
    await withGateway(server.url, async (gateway, url) => {
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
      assert.ok(controls(after.messages).includes("must-refetch"))
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
      assert.ok(!controls(messages).includes("must-refetch"))
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
  await withGateway(server.url, async (gateway, url) => {
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
    assert.ok(!controls(one.messages).includes("must-refetch"))
  })
})

scenario("a forced refresh ends the live request and asks for what is there now", { setup }, async ({
  client,
  db,
  select,
  server
}) => {
  await withGateway(server.url, async (gateway, url) => {
    const one = client({ table: "items" }, { url, parser: AS_TEXT })
    await matches(one, select, "SELECT * FROM items")
    for (let i = 0; i < 3; i++) {
      await gateway.until(() => gateway.held.length === 1, "a live request")
      const [held] = gateway.held
      const asked = gateway.requests.length
      const { handle, offset } = { handle: one.stream.shapeHandle, offset: one.stream.lastOffset }
      const ups = controls(one.messages).length
      await one.stream.forceDisconnectAndRefresh()
      await gateway.until(() => held!.state === "left", "the end of the live request")
      const next = gateway.requests[asked]!
      assert.equal(isLive(next), false)
      assert.equal(next.status, 200)
      assert.equal(next.url.searchParams.get("handle"), handle)
      assert.equal(next.url.searchParams.get("offset"), offset)
      assert.equal(next.answered["electric-up-to-date"] !== undefined, true)
      assert.deepEqual(controls(one.messages).slice(ups), ["up-to-date"])
      await gateway.until(() => gateway.held.length === 1, "the next live request")
      await db.exec(`UPDATE items SET n = ${1000 + i} WHERE id = 7`)
      await matches(one, select, "SELECT * FROM items")
      assert.equal(one.stream.shapeHandle, handle)
    }
  })
})

for (const liveSse of [false, true]) {
  scenario(`replica=full: whole rows and old values (${liveSse ? "events" : "long polls"})`, {
    setup: `
      CREATE TABLE items (id int PRIMARY KEY, title text, n int8, tags int[], done bool);
      INSERT INTO items VALUES (1, 'one', 1, '{1,2}', true), (2, NULL, NULL, NULL, NULL), (3, 'three', 3, '{3}', false)`
  }, async ({ client, db, select }) => {
    const parse = (row: Values): Row<unknown> => ({ ...row, tags: row["tags"]?.slice(1, -1).split(",") ?? null })
    const selected = async () =>
      new Map((await select("SELECT * FROM items")).map((row) => [row["id"]!, parse(row)] as const))
    const one = client({ table: "items", replica: "full" }, { parser: AS_TEXT, liveSse })
    await matches(one, select, "SELECT * FROM items", parse)
    let before = await selected()
    for (
      const sql of [
        "UPDATE items SET title = 'changed', n = 9007199254740993 WHERE id = 1",
        "UPDATE items SET title = NULL WHERE id = 1",
        "UPDATE items SET tags = '{7}', done = false WHERE id = 2",
        "UPDATE items SET n = 4, tags = NULL WHERE id = 3",
        "DELETE FROM items WHERE id = 2"
      ]
    ) {
      const seen = one.messages.length
      await db.exec(sql)
      await matches(one, select, "SELECT * FROM items", parse)
      const rows = await selected()
      const expected: Array<unknown> = []
      for (const [id, old] of before) {
        const value = rows.get(id)
        if (!value) {
          expected.push({ operation: "delete", value: old, old: undefined })
          continue
        }
        const changed = Object.entries(old).filter(([name, was]) => !isDeepStrictEqual(was, value[name]))
        if (changed.length > 0) expected.push({ operation: "update", value, old: Object.fromEntries(changed) })
      }
      assert.equal(expected.length, 1)
      const got = one.messages.slice(seen).filter(isChangeMessage)
      assert.deepEqual(
        got.map(({ headers, old_value, value }) => ({ operation: headers.operation, value, old: old_value })),
        expected,
        sql
      )
      before = rows
    }
  })
}
