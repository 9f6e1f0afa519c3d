/**
 * The published client's streams against the real server: their state, several shapes on one, the end of one that does not follow,
 * refresh, old values. What they hold is compared with `SELECT`; what they ask is seen by a gateway.
 */
import { isChangeMessage, type Row, Shape, type ShapeStreamInterface } from "@electric-sql/client"
import assert from "node:assert/strict"
import { isDeepStrictEqual } from "node:util"
import type { Values } from "../support/Follower.ts"
import { type Passed, withGateway } from "../support/Gateway.ts"
import { canonical, controlsOf, matches } from "../support/Materialised.ts"
import { AS_TEXT, scenario } from "../support/Scenario.ts"

const isLive = ({ url }: Passed): boolean => url.searchParams.get("live") === "true"

const setup = `
  CREATE TABLE items (id int PRIMARY KEY, title text NOT NULL, n int);
  INSERT INTO items SELECT i, 'title ' || i, i FROM generate_series(1, 20) i`

scenario("a stream says where it is, and feeds several shapes by one request at a time", { setup }, async ({
  client,
  db,
  select,
  server
}) => {
  await withGateway(server.url, async (gateway) => {
    const url = gateway.shapeUrl
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
  await withGateway(server.url, async (gateway) => {
    const url = gateway.shapeUrl
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

scenario("a forced refresh ends the live request and asks for what is there now", { setup }, async ({
  client,
  db,
  select,
  server
}) => {
  await withGateway(server.url, async (gateway) => {
    const url = gateway.shapeUrl
    const one = client({ table: "items" }, { url, parser: AS_TEXT })
    await matches(one, select, "SELECT * FROM items")
    for (let i = 0; i < 3; i++) {
      await gateway.until(() => gateway.held.length === 1, "a live request")
      const [held] = gateway.held
      const asked = gateway.requests.length
      const { handle, offset } = { handle: one.stream.shapeHandle, offset: one.stream.lastOffset }
      const ups = controlsOf(one.messages).length
      await one.stream.forceDisconnectAndRefresh()
      await gateway.until(() => held!.state === "left", "the end of the live request")
      const next = gateway.requests[asked]!
      assert.equal(isLive(next), false)
      assert.equal(next.status, 200)
      assert.equal(next.url.searchParams.get("handle"), handle)
      assert.equal(next.url.searchParams.get("offset"), offset)
      assert.equal(next.answered["electric-up-to-date"] !== undefined, true)
      assert.deepEqual(controlsOf(one.messages).slice(ups), ["up-to-date"])
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
