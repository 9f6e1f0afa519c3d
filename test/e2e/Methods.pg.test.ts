/**
 * The running server under the settings of its HTTP side: secret, DELETE, limits, addresses.
 */
import assert from "node:assert/strict"
import { AS_TEXT, scenario } from "../support/Scenario.ts"

const setup =
  "CREATE TABLE items (id int PRIMARY KEY, n int); INSERT INTO items SELECT i, i FROM generate_series(1, 20) i"

scenario("a secret is asked of whoever wants shapes, and of nobody else", {
  setup,
  env: { SHAPELOG_INSECURE: "", ELECTRIC_SECRET: "s3same" },
  start: false
}, async ({ client, select, server }) => {
  await server.start()
  const status = async (path: string, method = "GET") => (await fetch(`${server.url}${path}`, { method })).status
  assert.equal(await status("/v1/health"), 200)
  assert.equal(await status("/"), 200)
  assert.equal(await status("/v1/shape", "OPTIONS"), 204)
  for (const path of ["/v1/shape", "/v1//shape/", "/v1/%73hape"]) {
    assert.equal(await status(`${path}?table=items&offset=-1`), 401)
    assert.equal(await status(`${path}?table=items&offset=-1&secret=wrong`, "POST"), 401)
    assert.equal(await status(`${path}?table=items&offset=-1&secret=s3same`), 200)
  }
  const one = client({ table: "items", secret: "s3same" }, { parser: AS_TEXT })
  const expected = (await select("SELECT * FROM items")).length
  await one.until((rows) => rows.length === expected)
  assert.ok(!server.lines.some((line) => line.includes("s3same")))
})

scenario("DELETE removes a shape, and its readers start over", {
  setup,
  env: { SHAPELOG_ENABLE_INTEGRATION_TESTING: "true" }
}, async ({ db, follow, server }) => {
  const remove = async (query: string) => (await fetch(`${server.url}/v1/shape?${query}`, { method: "DELETE" })).status
  const follower = follow({ table: "items", where: "n > 5" }).start()
  await follower.until(({ upToDate }) => upToDate)
  assert.equal(await remove("table=items"), 404)
  assert.equal(await remove("table=nope"), 400)
  assert.equal(await remove("table=items&where=n>5"), 202)
  await follower.until(({ rotations, upToDate }) => rotations === 1 && upToDate)
  await db.exec("INSERT INTO items VALUES (100, 100)")
  await follower.until(({ rows }) => rows.has("\"public\".\"items\"/\"100\""))
  // The clause is the same however it is written.
  const response = await fetch(`${server.url}/v1/shape?table=public.items&offset=now&where=n%20%3E%205`)
  const handle = response.headers.get("electric-handle")!
  assert.equal(await remove(`table=items&handle=${handle}`), 400)
  assert.equal(await remove(`handle=${handle}`), 202)
  assert.equal(await remove(`handle=${handle}`), 404)
  await follower.until(({ rotations, upToDate }) => rotations === 2 && upToDate)
})

scenario("requests beyond the limits are turned away and come back", {
  setup,
  env: { ELECTRIC_MAX_CONCURRENT_REQUESTS: "{\"existing\": 1}", SHAPELOG_LISTEN_ON_IPV6: "true" }
}, async ({ client, db, server }) => {
  const both = ["127.0.0.1", "[::1]"].map((host) => fetch(`http://${host}:${server.port}/v1/health`))
  assert.deepEqual((await Promise.all(both)).map(({ status }) => status), [200, 200])
  const one = client({ table: "items" })
  await one.until((rows) => rows.length === 20)
  // It waits for news from here on, most of the time.
  const handle = one.stream.shapeHandle
  const ask = () => fetch(`${server.url}/v1/shape?table=items&handle=${handle}&offset=0_0`)
  let reply = await ask()
  while (reply.status === 200) reply = await ask()
  assert.equal(reply.status, 503)
  assert.equal((await reply.json() as { readonly code: string }).code, "concurrent_request_limit_exceeded")
  const two = client({ table: "items", where: "n > 1" })
  await db.exec("UPDATE items SET n = n + 1000")
  const isNew = (rows: ReadonlyArray<{ readonly [column: string]: unknown }>) =>
    rows.length === 20 && rows.every(({ n }) => Number(n) > 1000)
  await one.until(isNew)
  one.end()
  await two.until(isNew)
})
