/**
 * What a fake engine is needed for of the protocol's conformance: engines and stores that fail, shapes that vanish between two steps, and
 * answers that must not depend on how they are made. `test/conformance` walks the protocol line by line on the running server, and says
 * which lines are tested here.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { DatabaseUnavailable, SnapshotFailed, StorageError } from "../../src/domain/Errors.ts"
import * as Fixture from "./HttpFixture.ts"

const mustRefetch = "[{\"headers\":{\"control\":\"must-refetch\"}}]"

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

  it.scoped("23: a handle that nobody has does not create a shape before validation", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      yield* request("/v1/shape?table=items&handle=x&offset=nonsense")
      yield* request("/v1/shape?table=items&handle=x")
      assert.isEmpty(fake.resolved)
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
