/**
 * The server behind Varnish with `proxy/varnish.vcl`.
 */
import assert from "node:assert/strict"
import { varnish } from "../support/Proxy.ts"
import { behind, contract, get, stream } from "./CacheContract.ts"

contract(varnish, () => {
  behind(varnish, "streams of events that begin together are one", {
    setup: "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)"
  }, async ({ at, counter, db, sync }) => {
    const position = await sync("items")
    const url = at({ ...position, live: "true", live_sse: "true", cursor: "7" })
    const streams = Array.from({ length: 5 }, () => stream(url))
    for (const each of streams) await each.until(() => each.state.status === 200, "the head of the stream")
    for (const id of [2, 3]) {
      await db.exec(`INSERT INTO items VALUES (${id})`)
      for (const each of streams) {
        await each.until(() => each.state.text.includes(`"value":{"id":"${id}"}`), `row ${id}`, 3_000)
      }
    }
    // Who joins gets it from its beginning.
    const late = stream(url)
    await late.until(() => late.state.text.includes("\"value\":{\"id\":\"3\"}"), "what had come before", 3_000)
    assert.match(late.state.text, /"value":\{"id":"2"\}/)
    for (const each of [...streams, late]) each.close()
    assert.equal(counter.of({ live_sse: "true" }).length, 1)
  })

  behind(varnish, "those who wait for what turns out not to be cached do not wait for each other", {
    setup: "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)",
    env: { SHAPELOG_LONG_POLL_TIMEOUT: "4s" }
  }, async ({ at, counter, sync }) => {
    const { handle } = await sync("items")
    // Held for half the time of a long poll, and then a 400.
    const beyond = { handle, offset: "9999999999999999_0" }
    const answers = await Promise.all(Array.from({ length: 10 }, () => get(at(beyond))))
    for (const { millis, status } of answers) {
      assert.equal(status, 400)
      assert.ok(millis > 1_900 && millis < 8_000, `${millis}`)
    }
    assert.equal(counter.of(beyond).length, 10)
  })
})
