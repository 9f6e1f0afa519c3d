/**
 * What the published client does when it is refused: it goes on with what `onError` gives it, stops when that is nothing, and comes back
 * by itself to a server that is too busy.
 */
import { FetchError, type ShapeStreamOptions } from "@electric-sql/client"
import assert from "node:assert/strict"
import { type Passed, withGateway } from "../support/Gateway.ts"
import { matches } from "../support/Materialised.ts"
import { AS_TEXT, type Client, scenario } from "../support/Scenario.ts"

const setup = `
  CREATE TABLE items (id int PRIMARY KEY, title text NOT NULL);
  INSERT INTO items SELECT i, 'title ' || i FROM generate_series(1, 20) i`

type Options = Partial<ShapeStreamOptions<unknown>>

/** Waits for the error that a stream stops with. */
const stopped = (open: () => Client): Promise<{ readonly one: Client; readonly error: FetchError }> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the stream did not stop within 20 s")), 20_000)
    const one = open()
    one.stream.subscribe(() => {}, (error) => {
      clearTimeout(timer)
      if (error instanceof FetchError) resolve({ one, error })
      else reject(error)
    })
  })

const statuses = (requests: ReadonlyArray<Passed>): ReadonlyArray<number | undefined> =>
  requests.map(({ status }) => status)

/** Collects what `onError` is called with, as errors of requests. */
const collecting = (answer: (error: FetchError) => ReturnType<NonNullable<Options["onError"]>>) => {
  const errors: Array<FetchError> = []
  const onError: NonNullable<Options["onError"]> = (error) => {
    if (!(error instanceof FetchError)) throw error
    errors.push(error)
    return answer(error)
  }
  return { errors, onError }
}

scenario("a wrong secret: onError gives the right one, or the stream stops", {
  setup,
  env: { SHAPELOG_INSECURE: "false", SHAPELOG_SECRET: "s3&cr=t" }
}, async ({ client, db, select, server }) => {
  await withGateway(server.url, async (gateway) => {
    const url = gateway.shapeUrl
    const { errors, onError } = collecting(() => ({ params: { table: "items", secret: "s3&cr=t" } }))
    const one = client({ table: "items", secret: "wrong" }, { url, onError, parser: AS_TEXT })
    await matches(one, select, "SELECT * FROM items")
    assert.equal(errors.length, 1)
    assert.equal(errors[0]!.status, 401)
    assert.equal(errors[0]!.text, "{\"message\":\"Unauthorized - Invalid API secret\"}")
    assert.equal(one.stream.error, null)
    await db.exec("DELETE FROM items WHERE id = 1")
    await matches(one, select, "SELECT * FROM items")
    assert.equal(errors.length, 1)
    one.end()
    await gateway.until(() => gateway.requests.every(({ state }) => state !== "open"), "the end of all requests")

    for (const secret of [undefined, "", "s3", "S3&CR=T"]) {
      const asked = gateway.requests.length
      const params = secret === undefined ? { table: "items" } : { table: "items", secret }
      const { error, one } = await stopped(() => client(params, { url, onError: () => {} }))
      assert.equal(error.status, 401)
      assert.equal(one.stream.error, error)
      assert.equal(one.stream.isConnected(), false)
      assert.deepEqual(one.rows, [])
      assert.deepEqual(statuses(gateway.requests.slice(asked)), [401])
    }
  })
})

scenario("a token that has run out in the midst of it: onError gives other headers", { setup }, async ({
  client,
  db,
  select,
  server
}) => {
  const valid = new Set(["Bearer 1"])
  const decide = ({ headers }: Passed) =>
    valid.has(headers.authorization ?? "")
      ? undefined
      : { status: 401, headers: { "content-type": "text/plain" }, body: "who are you?" }
  await withGateway(server.url, async (gateway) => {
    let token = 1
    const { errors, onError } = collecting(async () => {
      token = await Promise.resolve(token + 1)
      return { headers: { authorization: `Bearer ${token}` } }
    })
    const one = client({ table: "items" }, {
      url: gateway.shapeUrl,
      headers: { authorization: "Bearer 1", "x-kept": "yes" },
      onError,
      parser: AS_TEXT
    })
    await matches(one, select, "SELECT * FROM items")
    const handle = one.stream.shapeHandle
    for (const next of [2, 3]) {
      valid.clear()
      valid.add(`Bearer ${next}`)
      await gateway.until(() => gateway.held.length === 1, "a live request")
      await db.exec(
        `UPDATE items SET title = 'token ${next}' WHERE id = ${next}; DELETE FROM items WHERE id = ${next + 10}`
      )
      await matches(one, select, "SELECT * FROM items")
      await gateway.until(() => gateway.held.length === 1, "a live request by the new token")
    }
    assert.deepEqual(errors.map(({ status, text }) => [status, text]), [[401, "who are you?"], [401, "who are you?"]])
    // It goes on where it was, with the headers it had besides.
    assert.equal(one.stream.shapeHandle, handle)
    assert.equal(gateway.requests.filter((request) => request.url.searchParams.get("offset") === "-1").length, 1)
    assert.ok(gateway.requests.every(({ headers }) => headers["x-kept"] === "yes"))
  }, decide)
})

scenario("a request that is wrong: onError gives another, or the stream stops with the field's message", {
  setup
}, async ({ client, db, select, server }) => {
  await withGateway(server.url, async (gateway) => {
    const url = gateway.shapeUrl
    const fixes: Array<NonNullable<Options["params"]>> = [
      { table: "items", where: "nr > 1", columns: ["id"] },
      { table: "items", where: "id > 3", columns: ["id", "name"] },
      { table: "items", where: "id > 3", columns: ["id", "title"] }
    ]
    const { errors, onError } = collecting(() => ({ params: fixes.shift()! }))
    const one = client({ table: "itens" }, { url, onError, parser: AS_TEXT })
    await matches(one, select, "SELECT * FROM items WHERE id > 3")
    assert.deepEqual(statuses(gateway.requests.slice(0, 3)), [400, 400, 400])
    const fields = errors.map(({ json }) => Object.keys((json as { readonly errors: object }).errors))
    assert.deepEqual(fields, [["table"], ["where"], ["columns"]])
    await db.exec("UPDATE items SET id = id + 1000 WHERE id < 6; DELETE FROM items WHERE id = 7")
    await matches(one, select, "SELECT * FROM items WHERE id > 3")
    assert.equal(errors.length, 3)
    one.end()
    await gateway.until(() => gateway.requests.every(({ state }) => state !== "open"), "the end of all requests")

    const wrong: ReadonlyArray<readonly [Record<string, string>, string]> = [
      [{ table: "items", where: "id ==" }, "where"],
      [{ table: "items", where: "id = $1" }, "where"],
      [{ table: "items", where: "id = $1", "params[1]": "one" }, "where"],
      [{ table: "items", columns: "title" }, "columns"],
      [{ table: "items", replica: "some" }, "replica"],
      [{ where: "true" }, "table"]
    ]
    for (const [params, field] of wrong) {
      const asked = gateway.requests.length
      for (const onError of [() => {}, () => Promise.resolve()]) {
        const { error, one } = await stopped(() => client(params, { url, onError }))
        assert.equal(error.status, 400, JSON.stringify(params))
        assert.deepEqual(Object.keys((error.json as { readonly errors: object }).errors), [field])
        assert.equal(one.shape.error, error)
      }
      assert.deepEqual(statuses(gateway.requests.slice(asked)), [400, 400])
    }
  })
})

scenario("a server that is too busy: the client comes back when it was told to", {
  setup: `${setup}; CREATE TABLE slow (id int PRIMARY KEY); INSERT INTO slow VALUES (1)`,
  env: { SHAPELOG_MAX_CONCURRENT_REQUESTS: "{\"initial\": 1, \"existing\": 100}" }
}, async ({ client, db, select, server }) => {
  const session = await db.session()
  await withGateway(server.url, async (gateway) => {
    const url = gateway.shapeUrl
    // The one request that may make a shape waits for a table that is locked.
    await session.exec("BEGIN; LOCK TABLE slow IN ACCESS EXCLUSIVE MODE")
    const slow = client({ table: "slow" }, { url, parser: AS_TEXT })
    await gateway.until(() => gateway.requests.length === 1, "the request that waits")
    const failed: Array<number> = []
    let one: Client | undefined
    await new Promise<void>((resolve) => {
      const onFailedAttempt = () => {
        failed.push(performance.now())
        resolve()
      }
      one = client({ table: "items" }, {
        url,
        parser: AS_TEXT,
        backoffOptions: { initialDelay: 1, maxDelay: 2, multiplier: 1.1, onFailedAttempt }
      })
    })
    const first = gateway.requests[1]!
    assert.equal(first.status, 503)
    const seconds = Number(first.answered["retry-after"])
    assert.ok(seconds >= 1 && seconds <= 60)
    assert.equal(first.answered["cache-control"], "no-store")
    await session.exec("COMMIT")
    await matches(slow, select, "SELECT * FROM slow")
    await matches(one!, select, "SELECT * FROM items")
    assert.equal(failed.length, 1)
    assert.ok(performance.now() - failed[0]! > seconds * 1000 - 100, "it came back before it was told to")
  })
})

scenario(
  "a gateway that has no server: so many attempts, then onError",
  { setup },
  async ({ client, select, server }) => {
    let refusals = 5
    const decide = () => refusals-- > 0 ? { status: 503, body: "not yet" } : undefined
    await withGateway(server.url, async (gateway) => {
      let failed = 0
      const { errors, onError } = collecting(() => ({}))
      const one = client({ table: "items" }, {
        url: gateway.shapeUrl,
        parser: AS_TEXT,
        onError,
        backoffOptions: {
          initialDelay: 1,
          maxDelay: 5,
          multiplier: 2,
          maxRetries: 2,
          onFailedAttempt: () => {
            failed += 1
          }
        }
      })
      await matches(one, select, "SELECT * FROM items")
      assert.deepEqual(statuses(gateway.requests.slice(0, 6)), [503, 503, 503, 503, 503, 200])
      assert.equal(failed, 5)
      assert.deepEqual(errors.map(({ status }) => status), [503])
    }, decide)
  }
)
