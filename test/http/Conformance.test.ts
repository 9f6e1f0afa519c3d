/**
 * The protocol's conformance checklist (§21) and its messages (§4.4), over HTTP on the fake engine.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { DatabaseUnavailable, InvalidRequest, SnapshotFailed, StorageError } from "../../src/domain/Errors.ts"
import * as FakeEngine from "../support/FakeEngine.ts"
import * as Fixture from "./HttpFixture.ts"

const invalid = (errors: Record<string, ReadonlyArray<string>>) =>
  JSON.stringify({ message: "Invalid request", errors })

const mustRefetch = "[{\"headers\":{\"control\":\"must-refetch\"}}]"

/** `handle` stands for the handle of `items`. */
const badRequests: ReadonlyArray<readonly [query: string, errors: Record<string, ReadonlyArray<string>>]> = [
  ["table=items", { offset: ["can't be blank"] }],
  ["table=items&offset=", { offset: ["can't be blank"] }],
  ["table=items&offset=invalid", { offset: ["has invalid format"] }],
  ["table=items&offset=-2", { offset: ["has invalid format"] }],
  ["table=items&offset=1_-1", { offset: ["has invalid format"] }],
  ["table=items&offset=1_2_3", { offset: ["has invalid format"] }],
  ["table=items&offset=99999999999999999999999_0", { offset: ["has invalid format"] }],
  ["table=items&offset=%", { offset: ["has invalid format"] }],
  ["table=items&offset=0_0", { handle: ["can't be blank when offset != -1"] }],
  ["table=items&offset=0_0&handle=", { handle: ["can't be blank when offset != -1"] }],
  ["table=items&offset=0_0&handle=%ff", { handle: ["has invalid encoding"] }],
  ["table=items&offset=-1&live", { live: ["can't be true when offset == -1"] }],
  ["table=items&offset=-1&live=0", { live: ["can't be true when offset == -1"] }],
  ["table=items&offset=now&live=true", { live: ["can't be true when offset is 'now'"] }],
  ["table=items&offset=-1&live_sse=true", { live_sse: ["can't be true unless live is also true"] }],
  ["table=items&offset=-1&experimental_live_sse", { live_sse: ["can't be true unless live is also true"] }],
  ["offset=-1", { table: ["can't be blank"] }],
  ["table=&offset=-1", { table: ["can't be blank"] }],
  ["table=.x&offset=-1", { table: ["Invalid zero-length delimited identifier"] }],
  ["table=a%20b&offset=-1", { table: ["Invalid unquoted identifier contains special characters: a b"] }],
  ["table=%22a%22b%22&offset=-1", { table: ["Invalid identifier with unescaped quote: a\"b"] }],
  [`table=${"x".repeat(64)}&offset=-1`, { table: ["Identifier is too long (max length is 63)"] }],
  ["table=a.b.c&offset=-1", { table: ["Invalid relation identifier, too many delimiters: a.b.c"] }],
  ["table=items%00&offset=-1", { table: ["has invalid encoding"] }],
  ["table=%e0%a4&offset=-1", { table: ["has invalid encoding"] }],
  ["%e0%a4=1&table=items&offset=-1", { query: ["has invalid encoding"] }],
  ["table=items&offset=-1&columns=id,,x", { columns: ["Invalid zero-length delimited identifier"] }],
  ["table=items&offset=-1&columns=id,a-b", {
    columns: ["Invalid unquoted identifier contains special characters: a-b"]
  }],
  ["table=items&offset=-1&queryable_columns=id,", {
    queryable_columns: ["Invalid zero-length delimited identifier"]
  }],
  ["table=items&offset=-1&replica=some", { replica: ["is invalid"] }],
  ["table=items&offset=-1&log=some", { log: ["is invalid"] }],
  ["table=items&offset=-1&experimental_compaction=maybe", { experimental_compaction: ["is invalid"] }],
  ["table=items&log=x&replica=y", { replica: ["is invalid"], log: ["is invalid"] }],
  ["table=items&offset=-1&params[a]=1", { params: ["Parameters can only use numbers as keys"] }],
  ["table=items&offset=-1&params%5B2%5D=1", {
    params: ["Parameters must be numbered sequentially, starting from 1"]
  }],
  ["table=items&offset=-1&params[1]=1&params[3]=1", {
    params: ["Parameters must be numbered sequentially, starting from 1"]
  }],
  ["table=items&offset=-1&params[]=1", { params: ["is invalid"] }],
  ["table=items&offset=-1&params=1", { params: ["is invalid"] }],
  ["table=nope&offset=-1", { table: ["Table \"public\".\"nope\" does not exist."] }]
]

describe("messages of invalid requests", () => {
  it.scoped("are the protocol's", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.define("items")
      for (const [query, errors] of badRequests) {
        const reply = yield* request(`/v1/shape?${query}`)
        assert.strictEqual(reply.body, invalid(errors), query)
        assert.strictEqual(reply.status, 400, query)
        assert.strictEqual(reply.headers["cache-control"], "no-store")
        assert.strictEqual(reply.headers["surrogate-control"], "no-store")
        assert.isUndefined(reply.headers.etag)
        assert.isUndefined(reply.headers["electric-handle"])
      }
      assert.isEmpty(fake.resolved.filter(({ table }) => table !== "nope"))
    }))

  it.scoped("about queryable columns name that parameter", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.onResolve = () =>
        InvalidRequest.of("columns", "The list of columns must include all primary key columns, missing: id")
      const text = "The list of queryable columns must include all primary key columns, missing: id"
      const reply = yield* request("/v1/shape?table=items&offset=-1&queryable_columns=a")
      assert.strictEqual(reply.body, invalid({ queryable_columns: [text] }))
      assert.deepStrictEqual(fake.resolved[0]?.columns, ["a"])
    }))
})

describe("conformance checklist", () => {
  it.scoped("1-4: the snapshot's chunks, then the log; the same again is the same, and not modified", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items", [["{\"a\":1}"], ["{\"a\":2}", "{\"end\":1}"]])
      fake.append(shape, 90n, ["{\"b\":1}"], true)
      fake.append(shape, 100n, ["{\"b\":2}", "{\"b\":3}"])
      fake.lastSeenLsn = 120n
      const upToDate = "{\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"120\"}}"
      const steps: ReadonlyArray<readonly [offset: string, next: string, body: string, cacheControl: string]> = [
        ["-1", "0_0", "[{\"a\":1}]", "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"],
        ["0_0", "0_1", "[{\"a\":2},{\"end\":1}]", "public, max-age=60, stale-while-revalidate=300"],
        ["0_1", "90_0", "[{\"b\":1}]", "public, max-age=60, stale-while-revalidate=300"],
        ["90_0", "100_2", `[{"b":2},{"b":3},${upToDate}]`, "public, max-age=60, stale-while-revalidate=300"],
        // Offsets between entries, and leading zeros.
        ["0090_1", "100_2", `[{"b":2},{"b":3},${upToDate}]`, "public, max-age=60, stale-while-revalidate=300"],
        ["100_0", "100_2", `[{"b":3},${upToDate}]`, "public, max-age=60, stale-while-revalidate=300"],
        ["100_2", "100_2", `[${upToDate}]`, "public, max-age=60, stale-while-revalidate=300"]
      ]
      for (const [offset, next, body, cacheControl] of steps) {
        const url = `/v1/shape?table=items&offset=${offset}&handle=${shape.handle}`
        const reply = yield* request(url)
        assert.strictEqual(reply.status, 200)
        assert.strictEqual(reply.body, body)
        assert.strictEqual(reply.headers["electric-offset"], next)
        assert.strictEqual(reply.headers["electric-handle"], shape.handle)
        assert.strictEqual(reply.headers["electric-schema"], shape.schema)
        assert.strictEqual(reply.headers["electric-up-to-date"], body.includes("up-to-date") ? "" : undefined)
        assert.strictEqual(reply.headers["cache-control"], cacheControl)
        assert.isUndefined(reply.headers["electric-cursor"])
        const etag = `"${shape.handle}:${offset.replace(/^0+(?=[1-9])/, "")}:${next}"`
        assert.strictEqual(reply.headers.etag, etag)

        const again = yield* request(url)
        assert.strictEqual(again.body, reply.body)
        for (const field of [etag, `"x", ${etag}`, etag.slice(1, -1)]) {
          const cached = yield* request(url, { headers: { "if-none-match": field } })
          assert.strictEqual(cached.status, 304)
          assert.strictEqual(cached.body, "")
          assert.strictEqual(cached.headers.etag, etag)
          assert.strictEqual(cached.headers["electric-offset"], next)
          assert.strictEqual(cached.headers["electric-up-to-date"], reply.headers["electric-up-to-date"])
          assert.isUndefined(cached.headers["electric-schema"])
        }
        for (const field of ["*", `W/${etag}`, "\"other\""]) {
          assert.strictEqual((yield* request(url, { headers: { "if-none-match": field } })).status, 200)
        }
      }
    }))

  it.scoped("6-7: another handle is a conflict and names the right one; with -1 and now it means nothing", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const { handle } = fake.define("items")
      for (const flags of ["", "&live=true"]) {
        const reply = yield* request(`/v1/shape?table=items&offset=0_0&handle=other${flags}`)
        assert.strictEqual(reply.status, 409)
        assert.strictEqual(reply.body, mustRefetch)
        assert.strictEqual(reply.headers["electric-handle"], handle)
        assert.strictEqual(reply.headers.etag, `"${handle}::"`)
        assert.strictEqual(reply.headers["cache-control"], "public, max-age=60, must-revalidate")
        assert.isUndefined(reply.headers.location)
        assert.isUndefined(reply.headers["electric-offset"])
      }
      for (const offset of ["-1", "-1_0", "now"]) {
        assert.strictEqual((yield* request(`/v1/shape?table=items&offset=${offset}&handle=other`)).status, 200)
      }
    }))

  it.scoped("9: errors are never cached and tell nothing of our insides", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.define("items")
      const url = "/v1/shape?table=items&offset=-1"
      const secretive = new Error("password=hunter2")
      const cases: ReadonlyArray<readonly [script: () => void, status: number, body: unknown, retryAfter?: string]> = [
        [
          () => (fake.onResolve = () => new DatabaseUnavailable({ operation: "resolve", cause: secretive })),
          503,
          { message: "Cannot connect to the database to verify the shape. Please try again later." },
          "1"
        ],
        [
          () => (fake.onResolve = () => new StorageError({ operation: "create", cause: secretive })),
          503,
          { message: "Failed to create shape, please retry" },
          "1"
        ],
        [() => (fake.onResolve = () => Effect.die(secretive)), 500, { error: "Internal server error" }],
        [
          () => (fake.onRead = () => new StorageError({ operation: "read", cause: secretive })),
          500,
          { error: "Internal server error" }
        ],
        [() => (fake.onRead = () => Effect.die(secretive)), 500, { error: "Internal server error" }],
        [
          () => (fake.onRead = () => {
            throw secretive
          }),
          500,
          { error: "Internal server error" }
        ],
        [
          () => (fake.onRead = () => new SnapshotFailed({ reason: "lock_timeout", detail: "Snapshot timed out" })),
          503,
          { message: "Snapshot timed out" },
          "10"
        ],
        [
          () => (fake.onRead = () =>
            new SnapshotFailed({ reason: "unknown", detail: "Unexpected error while creating snapshot: something" })),
          500,
          { message: "Unexpected error while creating snapshot: something" }
        ]
      ]
      for (const [script, status, body, retryAfter] of cases) {
        fake.onResolve = () => undefined
        fake.onRead = () => undefined
        script()
        const reply = yield* request(url)
        assert.strictEqual(reply.status, status)
        assert.deepStrictEqual(JSON.parse(reply.body), body)
        assert.strictEqual(reply.headers["retry-after"], retryAfter)
        assert.strictEqual(reply.headers["electric-internal-known-error"], retryAfter === "10" ? "true" : undefined)
        assert.strictEqual(reply.headers["cache-control"], "no-store")
        assert.strictEqual(reply.headers["surrogate-control"], "no-store")
        assert.strictEqual(reply.headers["content-type"], "application/json; charset=utf-8")
        assert.isUndefined(reply.headers["electric-handle"])
      }
    }))

  it.scoped("9: a shape that vanished, or whose table did, is a conflict with the handle of its successor", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const gone = fake.define("items")
      fake.onRead = (handle) => {
        if (handle !== gone.handle || !fake.shapes.has(handle)) return undefined
        fake.drop(gone)
        fake.define("items")
        return undefined
      }
      const first = yield* request("/v1/shape?table=items&offset=-1")
      assert.strictEqual(first.status, 409)
      assert.strictEqual(first.headers["electric-handle"], fake.byTable.get("items"))

      fake.onRead = () => new SnapshotFailed({ reason: "schema_changed", detail: "gone" })
      const second = yield* request("/v1/shape?table=items&offset=-1")
      assert.strictEqual(second.status, 409)
      assert.strictEqual(second.body, mustRefetch)
      assert.isUndefined(second.headers["electric-handle"])
      assert.isUndefined(second.headers.etag)
      assert.strictEqual(second.headers["cache-control"], "public, max-age=1, must-revalidate")
    }))

  it.scoped("9: a body that fails before its first byte is an error, not a broken response", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items")
      fake.onRead = (_, after) =>
        Effect.succeed({
          ...fake.slice(shape, after),
          body: {
            ready: undefined,
            pull: new SnapshotFailed({ reason: "query_timeout", detail: "Snapshot query took too long" })
          }
        })
      const reply = yield* request("/v1/shape?table=items&offset=-1")
      assert.strictEqual(reply.status, 503)
      assert.strictEqual(reply.body, "{\"message\":\"Snapshot query took too long\"}")
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

  it.scoped("11: a schema with names beyond ASCII reaches every client", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const schema = "{\"größe 💡\":{\"type\":\"text\"}}"
      fake.define("items", undefined, { schema })
      const reply = yield* request("/v1/shape?table=items&offset=-1")
      assert.deepStrictEqual(JSON.parse(String(reply.headers["electric-schema"])), JSON.parse(schema))
    }))

  it.scoped("17: `now` is the end of the log, at once and never revalidated", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items", [["{}"]])
      const url = "/v1/shape?table=items&offset=now&log=changes_only"
      const first = yield* request(url)
      assert.strictEqual(first.headers["electric-offset"], "0_inf")
      fake.append(shape, 100n, ["{}"])
      fake.lastSeenLsn = 110n
      const second = yield* request(url, { headers: { "if-none-match": String(first.headers.etag) } })
      assert.strictEqual(second.status, 200)
      assert.strictEqual(second.headers["electric-offset"], "100_0")
      assert.strictEqual(second.headers["electric-has-data"], "false")
      assert.strictEqual(second.headers["electric-up-to-date"], "")
      assert.strictEqual(second.headers["electric-schema"], shape.schema)
      assert.strictEqual(second.headers["cache-control"], "public, max-age=60, stale-while-revalidate=300")
      assert.match(String(second.headers.etag), new RegExp(`^"${shape.handle}:now:100_0:\\d+"$`))
      assert.strictEqual(
        second.body,
        "[{\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"110\"}}]"
      )
      assert.strictEqual(fake.resolved[0]?.log, "changes_only")
    }))

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

  it.scoped("23: a handle that nobody has does not create a shape before validation", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      yield* request("/v1/shape?table=items&handle=x&offset=nonsense")
      yield* request("/v1/shape?table=items&handle=x")
      assert.isEmpty(fake.resolved)
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

  it.scoped("the definition reaches the engine decoded", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.define("\"My.Items\"")
      const url =
        "/v1/shape?%74able=%22My.Items%22&columns=%22Id%22,NAME&where=a+%3D+%241%20AND%20b=$2&params%5B2%5D=%2B&" +
        "params[1]=x%20y&replica=full&log=full&offset=-1&handle=&cache-buster=1&experimental_compaction=true&unknown=%ff"
      assert.strictEqual((yield* request(url)).status, 200)
      yield* request(url)
      assert.deepStrictEqual(fake.resolved[0], {
        table: "\"My.Items\"",
        where: "a = $1 AND b=$2",
        params: ["x y", "+"],
        columns: ["Id", "name"],
        replica: "full",
        log: "full"
      })
      // The same text gives the same object, for the engine to remember things by.
      assert.strictEqual(fake.resolved[0], fake.resolved[1])
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
})

describe("reads that are answered in one turn", () => {
  it.scoped("are answered as all others are", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server({ secret: "s" })
      const shape = fake.define("items", [["{\"a\":1}"], ["{\"a\":2}", "{\"a\":3}"]])
      fake.append(shape, 100n, ["{\"b\":1}", "{\"b\":2}"])
      const at = (offset: string, more = "") => `/v1/shape?secret=s&table=items&offset=${offset}${more}`
      const known = `&handle=${shape.handle}`
      const etag = (offset: string, end: string) => ({ "if-none-match": `"${shape.handle}:${offset}:${end}"` })
      const reads: ReadonlyArray<readonly [path: string, options?: Parameters<typeof request>[1]]> = [
        [at("-1")],
        [at("-1"), { method: "HEAD" }],
        [at("-1", "&handle=other")],
        [at("0_0", known)],
        [at("0_1", known)],
        [at("0_inf", known)],
        [at("100_0", `${known}&live=false`)],
        [at("100_2", known)],
        [at("0_0", known), { headers: etag("0_0", "0_1") }],
        [at("0_inf", known), { headers: etag("0_inf", "100_2") }],
        [at("0_inf", known), { headers: etag("0_inf", "99_0") }],
        [at("0_0", "&handle=other")],
        [at("0_0", `${known}&columns=`)],
        [at("banana")],
        [`/v1/shape?table=items&offset=-1`],
        ["/v1/%73hape/?table=items&offset=-1&secret=s"]
      ]
      const replies = Effect.forEach(reads, ([path, options]) =>
        Effect.map(
          request(path, options),
          ({ body, headers: { date: _, "x-request-id": __, ...headers }, status }) => ({
            path,
            status,
            headers,
            body
          })
        ))
      const expected = yield* replies
      fake.peeks = true
      assert.deepStrictEqual(yield* replies, expected)
      assert.isAtLeast(fake.peeked, 10)
    }))
})
