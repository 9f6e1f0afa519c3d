/**
 * The running server under settings of both names: that they reach what they are about, and what it says of those that
 * are about nothing.
 */
import { Schema } from "effect"
import assert from "node:assert/strict"
import { readdir } from "node:fs/promises"
import * as Responses from "../../src/http/ResponseSchemas.ts"
import { scenario } from "../support/Scenario.ts"

const setup =
  "CREATE TABLE items (id int PRIMARY KEY, n int); INSERT INTO items SELECT i, i FROM generate_series(1, 200) i"

/** As an answer's body is described, to the last field. */
const decode = <A, I>(schema: Schema.Schema<A, I>) =>
  Schema.decodeUnknownSync(Schema.parseJson(schema), { onExcessProperty: "error" })

const readLog = decode(Responses.ShapeLog)
const readSubset = decode(Responses.SubsetRows)

scenario("settings reach the server by either name, and what it serves is as its document says", {
  setup,
  env: {
    SHAPELOG_STORAGE: "MEMORY",
    ELECTRIC_MAX_REQUEST_BODY_BYTES: "100",
    SHAPELOG_COMPRESSION: "false",
    ELECTRIC_SSE_TIMEOUT: "400ms",
    SHAPELOG_SSE_KEEP_ALIVE: "100",
    ELECTRIC_CACHE_MAX_AGE: "7",
    SHAPELOG_SHAPE_HIBERNATE_AFTER: "1s",
    ELECTRIC_LONG_POLL_TIMEOUT: "0.1s",
    ELECTRIC_OTLP_ENDPOINT: "http://nowhere",
    ELECTRIC_LOG_COLORS: "true",
    SHAPELOG_PROT: "1"
  }
}, async ({ db, server }) => {
  await server.awaitLog(/set, but without effect here: ELECTRIC_OTLP_ENDPOINT, ELECTRIC_LOG_COLORS/)
  await server.awaitLog(/no settings, misspelt perhaps: SHAPELOG_PROT/)
  const get = async (query: string, init?: RequestInit) => {
    const response = await fetch(`${server.url}/v1/shape?table=items&${query}`, init)
    return { headers: response.headers, status: response.status, body: await response.text() }
  }

  const first = await get("offset=-1&replica=full", { headers: { "user-agent": "x", "accept-encoding": "gzip" } })
  assert.equal(first.headers.get("content-encoding"), null)
  assert.equal(readLog(first.body).length, 201)
  const handle = first.headers.get("electric-handle")!
  await db.exec("UPDATE items SET n = n + 1 WHERE id <= 2; UPDATE items SET id = 1000 WHERE id = 3")
  let { body, headers } = await get(`offset=0_0&handle=${handle}&replica=full`)
  for (const deadline = Date.now() + 20_000; readLog(body).length < 5 && Date.now() < deadline;) {
    const more = await get(`offset=0_0&handle=${handle}&replica=full`)
    body = more.body
    headers = more.headers
  }
  // Two updates, the halves of the third, and the end.
  assert.equal(readLog(body).length, 5)
  assert.equal(headers.get("cache-control"), "public, max-age=7, stale-while-revalidate=300")

  const live = `offset=${headers.get("electric-offset")}&handle=${handle}&replica=full&live=true`
  const nothing = await get(live)
  assert.equal(nothing.headers.get("electric-has-data"), "false")
  assert.equal(readLog(nothing.body).length, 1)
  const events = await get(`${live}&live_sse=true`)
  assert.equal(events.headers.get("content-type"), "text/event-stream")
  assert.match(events.body, /^(: keep-alive\n\n){1,4}$/)

  const where = JSON.stringify({ where: "n < $1", params: { 1: 5 } })
  const subset = await get("offset=-1&replica=full", { method: "POST", body: where })
  assert.ok(readSubset(subset.body).data.length > 0)
  assert.equal((await get("offset=-1&replica=full", { method: "POST", body: where.padEnd(101) })).status, 413)

  // Nothing is on the disk.
  assert.deepEqual(await readdir(server.storageDirectory), [])
  const document = await fetch(`${server.url}/openapi.json`)
  assert.equal(document.status, 200)

  await server.stop()
  await server.start()
  assert.notEqual((await get("offset=-1&replica=full")).headers.get("electric-handle"), handle)
})
