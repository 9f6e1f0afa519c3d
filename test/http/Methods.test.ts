/**
 * Routes and methods, the secret, CORS, and bodies of requests (Electric HTTP protocol §2, §3, §4.3, §16).
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, TestClock } from "effect"
import * as Net from "node:net"
import * as FakeEngine from "../support/FakeEngine.ts"
import * as Fixture from "./HttpFixture.ts"

const invalid = (errors: Record<string, unknown>) => JSON.stringify({ message: "Invalid request", errors })

describe("routes and methods", () => {
  it.scoped("22: health, root, unknown paths and methods", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      for (
        const [status, code, text] of [
          ["active", 200, "active"],
          ["waiting", 202, "waiting"],
          ["starting", 202, "starting"],
          ["stopping", 202, "starting"]
        ] as const
      ) {
        fake.status = status
        const reply = yield* request("/v1/health")
        assert.strictEqual(reply.status, code)
        assert.strictEqual(reply.body, `{"status":"${text}"}`)
        assert.strictEqual(reply.headers["cache-control"], "no-cache, no-store, must-revalidate")
      }
      const cases = [
        ["GET", "/", 200, ""],
        ["HEAD", "/v1/health", 202, ""],
        ["GET", "/v1/shapes", 404, "Not found"],
        ["GET", "/v1/shape/1", 404, "Not found"],
        ["GET", "/v1%2Fshape", 404, "Not found"],
        ["GET", "/v1/%zz", 404, "Not found"],
        ["PUT", "/v1/shape", 404, "Not found"],
        ["PATCH", "/v1/shape", 404, "Not found"],
        ["POST", "/v1/health", 404, "Not found"],
        ["DELETE", "/v1/shape", 405, "{\"message\":\"DELETE not allowed\"}"]
      ] as const
      for (const [method, path, status, body] of cases) {
        const reply = yield* request(path, { method })
        assert.strictEqual(reply.status, status, `${method} ${path}`)
        assert.strictEqual(reply.body, body)
        if (status === 405) {
          assert.strictEqual(reply.headers["cache-control"], "no-cache")
          assert.isUndefined(reply.headers["surrogate-control"])
        }
      }
    }))

  it.scoped("request ids are echoed when they are of a sensible length, and made up otherwise", () =>
    Effect.gen(function*() {
      const { request } = yield* Fixture.server()
      const idOf = (id: string) =>
        Effect.map(request("/", { headers: { "x-request-id": id } }), (reply) => reply.headers["x-request-id"])
      assert.strictEqual(yield* idOf("x".repeat(20)), "x".repeat(20))
      assert.strictEqual(yield* idOf("x".repeat(200)), "x".repeat(200))
      const made = [yield* idOf("x".repeat(19)), yield* idOf("x".repeat(201))]
      assert.strictEqual(new Set(made).size, 2)
      assert.notInclude(made[1], "xxxxxxxxx")
    }))

  it.scoped("HEAD is GET without the body", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items", [["{\"a\":1}"]])
      const get = yield* request("/v1/shape?table=items&offset=-1")
      const head = yield* request("/v1/shape?table=items&offset=-1", { method: "HEAD" })
      assert.strictEqual(head.body, "")
      for (const name of Object.keys(get.headers)) {
        if (name !== "x-request-id" && name !== "date") assert.strictEqual(head.headers[name], get.headers[name], name)
      }
      fake.onRead = (_, after) =>
        Effect.succeed({
          ...fake.slice(shape, after),
          body: { ready: undefined, pull: FakeEngine.pulling([Buffer.from(",1"), Buffer.from(",2")]) }
        })
      const streamed = yield* request("/v1/shape?table=items&offset=-1", { method: "HEAD" })
      assert.strictEqual(streamed.status, 200)
      assert.strictEqual(streamed.body, "")
    }))

  it.scoped("10: CORS headers, preflight", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.define("items")
      const exposed = "electric-cursor,electric-handle,electric-has-data,electric-offset,electric-schema," +
        "electric-up-to-date,electric-internal-known-error,retry-after"
      for (const path of ["/v1/shape?table=items&offset=-1", "/v1/shape", "/v1/health", "/", "/nowhere"]) {
        const isShape = path.startsWith("/v1/shape")
        const reply = yield* request(path, { headers: { origin: "https://example.com" } })
        assert.strictEqual(reply.headers["access-control-allow-origin"], "https://example.com")
        assert.strictEqual(reply.headers["access-control-expose-headers"], exposed)
        assert.strictEqual(
          reply.headers["access-control-allow-methods"],
          isShape ? "GET, POST, HEAD, DELETE, OPTIONS" : "GET, HEAD"
        )
        assert.isUndefined(reply.headers["access-control-allow-credentials"])
        assert.strictEqual((yield* request(path)).headers["access-control-allow-origin"], "*")
      }
      const preflight = yield* request("/v1/shape", {
        method: "OPTIONS",
        headers: { "access-control-request-headers": "content-type, authorization" }
      })
      assert.strictEqual(preflight.status, 204)
      assert.strictEqual(preflight.headers["access-control-max-age"], "86400")
      assert.strictEqual(preflight.headers["access-control-allow-headers"], "content-type, authorization")
      assert.isUndefined(preflight.headers["cache-control"])
    }))

  it.scoped("24: the secret is asked for on every alias of the path, and nowhere else", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server({ secret: "s&cret" })
      fake.define("items")
      const query = "table=items&offset=-1"
      const aliases = ["/v1/shape", "/v1/shape/", "/v1//shape", "//v1/shape", "/v1/%73hape", "/%76%31/shape"]
      for (const path of aliases) {
        for (
          const given of [
            "",
            "&secret=",
            "&secret=wrong",
            "&secret=%ff",
            "&api_secret=wrong",
            "&secret=x&api_secret=s%26cret"
          ]
        ) {
          for (const method of ["GET", "HEAD", "POST", "DELETE"]) {
            const reply = yield* request(`${path}?${query}${given}`, { method })
            assert.strictEqual(reply.status, 401, `${method} ${path} ${given}`)
            if (method !== "HEAD") {
              assert.strictEqual(reply.body, "{\"message\":\"Unauthorized - Invalid API secret\"}")
            }
            assert.isUndefined(reply.headers["access-control-allow-origin"])
            assert.isUndefined(reply.headers["content-type"])
          }
        }
        for (const given of ["&secret=s%26cret", "&api_secret=s%26cret", "&secret=s%26cret&api_secret=wrong"]) {
          assert.strictEqual((yield* request(`${path}?${query}${given}`)).status, 200)
        }
        assert.strictEqual((yield* request(path, { method: "OPTIONS" })).status, 204)
      }
      for (const [path, status] of [["/", 200], ["/v1/health", 200], ["/nowhere", 404]] as const) {
        assert.strictEqual((yield* request(path)).status, status)
      }
    }))
})

describe("the body of a POST", () => {
  const base = "/v1/shape?table=items&offset=-1"
  const json = { "content-type": "application/json" }

  it.scoped("without subset keys is an ordinary request with more parameters, never cached", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items", [["{\"a\":1}"]])
      const post = (path: string, body: string) => request(path, { method: "POST", headers: json, body })
      for (const body of ["", "{}", "{\"unknown\":{\"x\":1}}", "{\"live\":false}", "{\"handle\":null}"]) {
        const reply = yield* post(base, body)
        assert.strictEqual(reply.status, 200, body)
        assert.strictEqual(reply.body, "[{\"a\":1}]")
        assert.strictEqual(reply.headers["cache-control"], "no-cache")
        assert.strictEqual(reply.headers["electric-offset"], "0_0")
        assert.isUndefined(reply.headers["connection"] === "close" ? "closed" : undefined)
      }
      assert.isEmpty(fake.subsets)
      fake.resolved = []
      yield* post(
        "/v1/shape?table=nope&replica=default&secret=x&params[1]=a",
        JSON.stringify({
          subset: {},
          table: "items",
          offset: "-1",
          replica: "full",
          columns: ["id", "A \"b\"", "c,d"],
          where: "a = $1 AND b = $2",
          params: { 1: "x&y=z%", 2: 5 },
          tags: "none"
        })
      )
      assert.deepStrictEqual(fake.resolved, [{
        table: "items",
        where: "a = $1 AND b = $2",
        params: ["x&y=z%", "5"],
        columns: ["id", "A \"b\"", "c,d"],
        replica: "full",
        log: "full",
        tags: "none"
      }])
      const conflict = yield* post(
        "/v1/shape?table=items",
        JSON.stringify({ handle: "other", subset: {}, offset: "0_0" })
      )
      assert.strictEqual(conflict.status, 409)
      assert.strictEqual(conflict.headers["cache-control"], "no-cache")
      assert.strictEqual(conflict.headers["electric-handle"], shape.handle)
    }))

  it.scoped("that is none is refused, before the shape is looked for", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.define("items")
      const cases: ReadonlyArray<readonly [body: string, error: string]> = [
        ["{", "Invalid JSON in request body"],
        ["{\"a\":1}}", "Invalid JSON in request body"],
        ["nonsense", "Invalid JSON in request body"],
        ["[1]", "Request body must be a JSON object"],
        ["\"text\"", "Request body must be a JSON object"],
        ["null", "Request body must be a JSON object"],
        ["17", "Request body must be a JSON object"]
      ]
      for (const [body, error] of cases) {
        const reply = yield* request(base, { method: "POST", headers: json, body })
        assert.strictEqual(reply.status, 400, body)
        const said = JSON.parse(reply.body) as { readonly error: string; readonly details?: string }
        assert.strictEqual(said.error, error)
        assert.strictEqual(typeof said.details, error.startsWith("Invalid JSON") ? "string" : "undefined")
        assert.strictEqual(reply.headers["cache-control"], "no-cache")
      }
      const nul = yield* request(base, { method: "POST", headers: json, body: "{\"table\":\"a\\u0000\"}" })
      assert.strictEqual(nul.body, invalid({ table: ["has invalid encoding"] }))
      const values = { subset: {}, table: {}, columns: [1], params: { 1: 9007199254740993, 2: [] }, offset: ["x"] }
      const wrong = yield* request(base, { method: "POST", headers: json, body: JSON.stringify(values) })
      assert.deepStrictEqual(JSON.parse(wrong.body), {
        message: "Invalid request",
        errors: { table: ["is invalid"], columns: ["is invalid"], params: ["is invalid"], offset: ["is invalid"] }
      })
      const lone = yield* request(base, {
        method: "POST",
        headers: json,
        body: "{\"\\ud800\":1,\"table\":\"\\udfff\"}"
      })
      assert.strictEqual(lone.status, 400)
      assert.isEmpty(fake.resolved)
    }))

  it.scoped("is read in moderate time, whatever is in it", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.define("items", [["{}"]])
      const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [i + 1, "x"]))
      const post = (body: unknown) => request(base, { method: "POST", headers: json, body: JSON.stringify(body) })
      assert.strictEqual((yield* post(many(500_000))).status, 200)
      assert.strictEqual(
        (yield* post({ params: many(70_000) })).body,
        invalid({ subset: { params: ["must not be more than 65535"] } })
      )
      assert.strictEqual((yield* post({ subset: {}, params: many(70_000) })).body, invalid({ params: ["is invalid"] }))
      assert.strictEqual((yield* post({ subset: {}, params: many(65_535) })).status, 200)
      const deep = "{\"where\":" + "[".repeat(100_000) + "]".repeat(100_000) + "}"
      assert.strictEqual((yield* request(base, { method: "POST", headers: json, body: deep })).status, 400)
      const nested = "{\"a\":" + "[".repeat(1_000_000) + "]".repeat(1_000_000) + "}"
      assert.include([200, 400], (yield* request(base, { method: "POST", headers: json, body: nested })).status)
    }))

  it.scoped("may not bring the secret", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server({ secret: "s" })
      fake.define("items")
      const body = "{\"secret\":\"s\"}"
      assert.strictEqual((yield* request(base, { method: "POST", headers: json, body })).status, 401)
      const wrong = "{\"secret\":\"wrong\"}"
      assert.strictEqual(
        (yield* request(`${base}&secret=s`, { method: "POST", headers: json, body: wrong })).status,
        200
      )
    }))

  it.scoped("longer than eight million bytes is not read, whether it says so or not", () =>
    Effect.gen(function*() {
      const { connections, fake, port, request, routes } = yield* Fixture.server()
      fake.define("items")
      const limit = 8_000_000
      const padded = (length: number) => `{"a":"${"x".repeat(length - 8)}"}`
      const most = yield* request(base, { method: "POST", headers: json, body: padded(limit) })
      assert.strictEqual(most.status, 200)
      for (const head of [`content-length: ${limit + 1}`, "transfer-encoding: chunked"]) {
        const socket = yield* Effect.acquireRelease(
          Effect.sync(() => Net.connect(port, "127.0.0.1")),
          (socket) => Effect.sync(() => socket.destroy())
        )
        let received = ""
        let isClosed = false
        socket.on("error", () => undefined)
        socket.on("close", () => (isClosed = true))
        socket.on("data", (chunk) => (received += chunk.toString()))
        socket.write(`POST ${base} HTTP/1.1\r\nhost: x\r\n${head}\r\n\r\n`)
        if (head.startsWith("transfer")) socket.write(`${(limit + 1).toString(16)}\r\n${padded(limit + 1)}\r\n`)
        yield* Fixture.eventually(() => received.includes("\r\n\r\n{"))
        assert.match(received, /^HTTP\/1\.1 413 /)
        assert.match(received, /\r\nconnection: close\r\n/)
        assert.include(received, "{\"error\":\"Request body too large\"}")
        yield* Fixture.eventually(() => isClosed)
      }
      // The client sees the end of a connection first.
      yield* Fixture.eventually(() => routes.admitted().initial + routes.admitted().existing === 0)
      assert.isAtMost(yield* connections, 1)
    }))

  it.scoped("that its client stops sending costs the client its connection", () =>
    Effect.gen(function*() {
      const { port, routes } = yield* Fixture.server({ keepAliveTimeoutMs: 50 })
      for (const leaves of [true, false]) {
        const socket = Net.connect(port, "127.0.0.1")
        let isClosed = false
        socket.on("error", () => undefined)
        socket.on("close", () => (isClosed = true))
        socket.write(`POST ${base} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"a"`)
        yield* Fixture.eventually(() => routes.admitted().initial === 1)
        if (leaves) socket.destroy()
        yield* Fixture.eventually(() => isClosed && routes.admitted().initial === 0)
      }
    }))
})

describe("DELETE", () => {
  const enabled = { allowDelete: true, secret: "s" }
  const at = (query: string) => `/v1/shape?secret=s&${query}`

  it.scoped("is not allowed unless it has been", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items")
      const reply = yield* request(`/v1/shape?handle=${shape.handle}`, { method: "DELETE" })
      assert.strictEqual(reply.status, 405)
      assert.strictEqual(reply.body, "{\"message\":\"DELETE not allowed\"}")
      assert.strictEqual(reply.headers["cache-control"], "no-cache")
      assert.isTrue(fake.shapes.has(shape.handle))
    }))

  it.scoped("removes by definition, by handle, or by both when they agree", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server(enabled)
      const remove = (query: string) => request(at(query), { method: "DELETE" })
      for (
        const query of ["table=items", "handle=HANDLE", "table=items&handle=HANDLE&where=", "table=items&offset=x"]
      ) {
        const { handle } = fake.define("items")
        const reply = yield* remove(query.replace("HANDLE", handle))
        assert.strictEqual(reply.status, 202, query)
        assert.strictEqual(reply.body, "")
        assert.strictEqual(reply.headers["cache-control"], "no-cache")
        assert.isFalse(fake.shapes.has(handle))
      }
      // Nothing was made in order to be removed.
      assert.isEmpty(fake.resolved)

      const items = fake.define("items")
      const other = fake.define("other")
      const mismatch =
        "The specified shape definition and handle do not match. Please ensure the shape definition is " +
        "correct or omit the shape handle from the request to obtain a new one."
      const cases: ReadonlyArray<readonly [query: string, status: number, body: unknown]> = [
        [`table=items&handle=${other.handle}`, 400, { message: mismatch }],
        ["table=items&handle=nobody", 400, { message: mismatch }],
        [`table=missing&handle=${other.handle}`, 400, { message: mismatch }],
        ["table=missing", 404, { message: "No existing shape found" }],
        ["table=missing&handle=nobody", 404, { message: "No existing shape found" }],
        ["handle=nobody", 404, { message: "No existing shape found" }],
        ["", 400, {
          message: "Invalid request",
          errors: { handle: ["can't be blank when shape definition is missing"] }
        }],
        ["table=a%20b", 400, {
          message: "Invalid request",
          errors: { table: ["Invalid unquoted identifier contains special characters: a b"] }
        }],
        ["table=items&live=foo", 400, { message: "Invalid request", errors: { live: ["is invalid"] } }],
        ["table=items&replica=x", 400, { message: "Invalid request", errors: { replica: ["is invalid"] } }]
      ]
      for (const [query, status, body] of cases) {
        const reply = yield* remove(query)
        assert.deepStrictEqual([reply.status, JSON.parse(reply.body)], [status, body], query)
        assert.strictEqual(reply.headers["cache-control"], "no-cache")
      }
      assert.strictEqual((yield* request("/v1//shape/?table=items", { method: "DELETE" })).status, 401)
      assert.isTrue(fake.shapes.has(items.handle) && fake.shapes.has(other.handle))
    }))

  it.scoped("tells those who wait at the shape", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server(enabled)
      const shape = fake.define("items")
      const live = yield* Effect.fork(request(at(`table=items&handle=${shape.handle}&offset=0_inf&live=true`)))
      yield* fake.until(() => fake.waits.size === 1)
      assert.strictEqual((yield* request(at("table=items"), { method: "DELETE" })).status, 202)
      assert.strictEqual((yield* live).status, 409)
    }))

  it.scoped("waits for an active engine, and not for ever", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server(enabled)
      const { handle } = fake.define("items")
      fake.status = "starting"
      const removing = yield* Effect.fork(request(at(`handle=${handle}`), { method: "DELETE" }))
      yield* fake.until(() => fake.waits.size === 1)
      yield* TestClock.adjust("5 seconds")
      const reply = yield* removing
      assert.strictEqual(reply.status, 503)
      assert.strictEqual(reply.headers["retry-after"], "5")
      assert.isTrue(fake.shapes.has(handle))
    }))
})

describe("what is logged of a request that failed", () => {
  it.scoped("names the request and none of its secrets", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => lines.push(String(message)))
      const { fake, get } = yield* Effect.provide(
        Fixture.routes({ secret: "s3same" }),
        Logger.replace(Logger.defaultLogger, logger)
      )
      fake.onResolve = () => Effect.die("broken")
      const secrets = "&token=t0p&Access_Token=t1p&%61pi_key=t2p&password=t3p&api_secret=t4p"
      const reply = yield* Effect.provide(
        get(`/v1/shape?table=items&secret=s3same${secrets}&offset=-1`),
        Logger.replace(Logger.defaultLogger, logger)
      )
      assert.strictEqual(reply.status, 500)
      assert.lengthOf(lines, 1)
      assert.include(lines[0], "GET /v1/shape?table=items")
      assert.notMatch(lines[0]!, /s3same|t\dp/)
    }))
})
