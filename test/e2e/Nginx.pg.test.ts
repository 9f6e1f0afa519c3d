/**
 * The server behind nginx with `proxy/nginx.conf`.
 */
import assert from "node:assert/strict"
import { nginx } from "../support/Proxy.ts"
import { behind, contract, stream } from "./CacheContract.ts"

contract(nginx, () => {
  behind(nginx, "streams of events are not shared, and none is kept", {
    setup: "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)"
  }, async ({ at, counter, db, sync }) => {
    const position = await sync("items")
    const url = at({ ...position, live: "true", live_sse: "true", cursor: "7" })
    const streams = Array.from({ length: 5 }, () => stream(url))
    for (const each of streams) await each.until(() => each.state.status === 200, "the head of the stream")
    await db.exec("INSERT INTO items VALUES (2)")
    for (const each of streams) {
      await each.until(() => each.state.text.includes("up-to-date"), "the event")
      each.close()
    }
    assert.equal(counter.of({ live_sse: "true" }).length, 5)
  })
})
