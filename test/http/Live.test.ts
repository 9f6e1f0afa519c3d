/**
 * Requests that wait: live ones, those past the end of the log, and those that come before the engine is ready. The handler is called
 * directly and time is the test clock's.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import { ShapeGone } from "../../src/domain/Errors.ts"
import { bodyOf, eventually, headerOf, routes } from "./HttpFixture.ts"

const upToDate = (lsn: string) => `{"headers":{"control":"up-to-date","global_last_seen_lsn":"${lsn}"}}`

/** Whether the fiber has not answered yet. */
const isHeld = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) => Effect.map(fiber.poll, (exit) => exit._tag === "None")

describe("live requests", () => {
  it.scoped("are answered at once when there is news", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items", [["{}"]])
      fake.append(shape, 100n, ["{\"a\":1}"])
      fake.lastSeenLsn = 500n
      const response = yield* get(`/v1/shape?table=items&handle=${shape.handle}&offset=0_0&live=true`)
      assert.strictEqual(response.status, 200)
      // Of a live response, the LSN is the one that it ends at.
      assert.strictEqual(bodyOf(response), `[{"a":1},${upToDate("100")}]`)
      assert.strictEqual(headerOf(response, "cache-control"), "public, max-age=5, stale-while-revalidate=5")
      assert.strictEqual(headerOf(response, "electric-has-data"), "true")
      assert.isUndefined(headerOf(response, "electric-schema"))
      assert.strictEqual(fake.waitsBegun, 0)
    }))

  it.scoped("are held until the log grows", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { held } } = yield* routes()
      const shape = fake.define("items", [["{}"]])
      for (const offset of ["0_0", "0_inf"]) {
        fake.lastSeenLsn += 1n
        const request = yield* Effect.fork(get(`/v1/shape?table=items&handle=${shape.handle}&offset=${offset}&live`))
        yield* fake.until(() => fake.waits.size === 1)
        assert.strictEqual(held(), 1)
        assert.isTrue(yield* isHeld(request))
        shape.log.length = 0
        fake.append(shape, 100n, ["{\"a\":1}", "{\"a\":2}"])
        const response = yield* request
        assert.strictEqual(bodyOf(response), `[{"a":1},{"a":2},${upToDate("100")}]`)
        assert.strictEqual(headerOf(response, "etag"), `"${shape.handle}:${offset}:100_2"`)
        assert.strictEqual(headerOf(response, "electric-up-to-date"), "")
        assert.strictEqual(held(), 0)
        shape.log.length = 0
      }
    }))

  it.scoped("are answered without news when the long poll is over, with an ETag that never matches", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items", [["{}"]])
      fake.append(shape, 100n, ["{}"])
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=100_0&live=true`
      const requests = [yield* Effect.fork(get(url)), yield* Effect.fork(get(`${url}&cursor=20`))]
      yield* fake.until(() => fake.waits.size === 1)
      yield* TestClock.adjust("19 seconds")
      assert.isTrue(yield* isHeld(requests[0]!))
      fake.lastSeenLsn = 150n
      yield* TestClock.adjust("1 seconds")
      const etags = new Set<string | undefined>()
      for (const request of requests) {
        const response = yield* request
        assert.strictEqual(response.status, 200)
        assert.strictEqual(bodyOf(response), `[${upToDate("150")}]`)
        assert.strictEqual(headerOf(response, "electric-has-data"), "false")
        assert.strictEqual(headerOf(response, "electric-up-to-date"), "")
        assert.strictEqual(headerOf(response, "electric-offset"), "100_0")
        assert.isUndefined(headerOf(response, "electric-schema"))
        const etag = headerOf(response, "etag")!
        assert.match(etag, new RegExp(`^"${shape.handle}:100_0:100_0:\\d+"$`))
        etags.add(etag)
        const again = yield* Effect.fork(get(url, { "if-none-match": etag }))
        yield* fake.until(() => fake.waits.size === 1)
        assert.isTrue(yield* isHeld(again))
        yield* Fiber.interrupt(again)
      }
      assert.strictEqual(etags.size, 2)
      assert.strictEqual(fake.waits.size, 0)
    }))

  it.scoped("that time out while the engine is down are told to come back", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`
      const request = yield* Effect.fork(get(url))
      yield* fake.until(() => fake.waits.size === 1)
      fake.status = "waiting"
      yield* TestClock.adjust("20 seconds")
      const response = yield* request
      assert.strictEqual(response.status, 503)
      assert.strictEqual(headerOf(response, "retry-after"), "10")
      assert.strictEqual(bodyOf(response), "{\"message\":\"Timeout waiting for Postgres lock acquisition\"}")
    }))

  it.scoped("see a change between their look at the log and their wait, and one at the last moment", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`
      fake.onRead = (_, after) => {
        const slice = fake.slice(shape, after)
        if (fake.reads === 1) fake.append(shape, 100n, ["{\"a\":1}"])
        return Effect.succeed(slice)
      }
      assert.strictEqual(bodyOf(yield* get(url)), `[{"a":1},${upToDate("100")}]`)

      // The wait is never told, but the read after it finds the change.
      const late = yield* Effect.fork(get(url.replace("0_inf", "100_0")))
      yield* fake.until(() => fake.waits.size === 1)
      shape.log.push({ offset: { tx: 200n, op: 0 }, json: "{\"a\":2}", chunkEnd: false })
      yield* TestClock.adjust("20 seconds")
      const response = yield* late
      assert.strictEqual(bodyOf(response), `[{"a":2},${upToDate("200")}]`)
      assert.strictEqual(headerOf(response, "electric-has-data"), "true")
    }))

  it.scoped("end at the end of a chunk, and are then not up to date", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 100n, ["{\"a\":1}"], true)
      fake.append(shape, 200n, ["{\"a\":2}"])
      const response = yield* get(`/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`)
      assert.strictEqual(bodyOf(response), "[{\"a\":1}]")
      assert.isUndefined(headerOf(response, "electric-up-to-date"))
      assert.strictEqual(headerOf(response, "electric-offset"), "100_0")
    }))

  it.scoped("are conflicts when their shape goes, with the handle of its successor", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`
      const request = yield* Effect.fork(get(url))
      yield* fake.until(() => fake.waits.size === 1)
      fake.onResolve = () => Effect.sync(() => fake.define("items", [["{}"]], { handle: "successor" }))
      fake.drop(shape)
      const response = yield* request
      assert.strictEqual(response.status, 409)
      assert.strictEqual(headerOf(response, "electric-handle"), "successor")
      assert.strictEqual(headerOf(response, "cache-control"), "public, max-age=60, must-revalidate")
    }))

  it.scoped("whose shape goes never lead back to it", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.onResolve = () => Effect.succeed(shape)
      fake.onRead = (handle) => new ShapeGone({ handle })
      const response = yield* get(`/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`)
      assert.strictEqual(response.status, 409)
      assert.isUndefined(headerOf(response, "electric-handle"))
    }))

  it.scoped("share one wait and one body, and cursors of each its own", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { held } } = yield* routes()
      const shape = fake.define("items")
      yield* TestClock.setTime(Date.UTC(2024, 9, 9) + 1_001_000)
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true&cursor=`
      const cursors = ["", "1019", "1020", "4000", "nonsense", "-5"]
      const requests = yield* Effect.forEach(cursors, (cursor) => Effect.fork(get(`${url}${cursor}`)))
      yield* eventually(() => held() === cursors.length)
      assert.strictEqual(fake.waitsBegun, 1)
      fake.append(shape, 100n, ["{\"a\":1}"])
      const responses = yield* Effect.forEach(requests, (request) => request)
      assert.strictEqual(new Set(responses.map(({ body }) => body)).size, 1)
      const sent = responses.map((response) => Number(headerOf(response, "electric-cursor")))
      assert.deepStrictEqual([sent[0], sent[1], sent[4], sent[5]], [1_020, 1_020, 1_020, 1_020])
      assert.isTrue(sent[2]! > 1_020 && sent[2]! <= 4_620)
      assert.isTrue(sent[3]! > 4_000 && sent[3]! <= 7_600)
    }))

  it.scoped("that are interrupted leave nothing behind, and leave others alone", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { held } } = yield* routes()
      const shape = fake.define("items")
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`
      const requests = yield* Effect.forEach([1, 2, 3], () => Effect.fork(get(url)))
      yield* eventually(() => held() === 3)
      yield* Fiber.interrupt(requests[0]!)
      yield* Fiber.interrupt(requests[1]!)
      assert.strictEqual(held(), 1)
      assert.strictEqual(fake.waits.size, 1)
      yield* Fiber.interrupt(requests[2]!)
      assert.strictEqual(held(), 0)
      assert.strictEqual(fake.waits.size, 0)
    }))

  it.scoped("are answered when the server drains, and then none is held", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { drain, held } } = yield* routes()
      const shape = fake.define("items")
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`
      const requests = yield* Effect.forEach([1, 2], () => Effect.fork(get(url)))
      yield* eventually(() => held() === 2)
      yield* drain
      for (const request of requests) assert.strictEqual(headerOf(yield* request, "electric-has-data"), "false")
      assert.strictEqual(headerOf(yield* get(url), "electric-has-data"), "false")
      assert.strictEqual(bodyOf(yield* get("/v1/health")), "{\"status\":\"starting\"}")
      assert.strictEqual(fake.waits.size, 0)
    }))

  it.scoped("wake and time out by the thousand", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { held } } = yield* routes()
      const shape = fake.define("items")
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`
      const requests = yield* Effect.forEach(Array.from({ length: 2_000 }), () => Effect.fork(get(url)))
      yield* eventually(() => held() === 2_000)
      yield* Effect.forEach(requests.slice(0, 1_000), (request) => Fiber.interrupt(request), { discard: true })
      assert.strictEqual(held(), 1_000)
      yield* TestClock.adjust("20 seconds")
      const responses = yield* Effect.forEach(requests.slice(1_000), (request) => request)
      assert.isTrue(responses.every((response) => headerOf(response, "electric-has-data") === "false"))

      const others = yield* Effect.forEach(Array.from({ length: 1_000 }), () => Effect.fork(get(url)))
      yield* eventually(() => held() === 1_000)
      fake.append(shape, 100n, ["{}"])
      const woken = yield* Effect.forEach(others, (request) => request)
      assert.isTrue(woken.every((response) => headerOf(response, "electric-has-data") === "true"))
    }))
})

describe("offsets past the end of the log", () => {
  const url = (handle: string, flags = "") => `/v1/shape?table=items&handle=${handle}&offset=200_2${flags}`

  it.scoped("are held for half a long poll, and are then out of bounds", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 100n, ["{}"])
      for (const flags of ["", "&live=true"]) {
        const request = yield* Effect.fork(get(url(shape.handle, flags)))
        yield* fake.until(() => fake.waits.size === 1)
        yield* TestClock.adjust("9 seconds")
        assert.isTrue(yield* isHeld(request))
        yield* TestClock.adjust("1 seconds")
        const response = yield* request
        assert.strictEqual(response.status, 400)
        assert.strictEqual(
          bodyOf(response),
          "{\"message\":\"Invalid request\",\"errors\":{\"offset\":[\"out of bounds for this shape\"]}}"
        )
        assert.isUndefined(headerOf(response, "electric-handle"))
      }
    }))

  it.scoped("are to be asked for again while the shape catches up with the stream", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 100n, ["{}"])
      fake.followedLsn = 200n
      const request = yield* Effect.fork(get(url(shape.handle)))
      yield* fake.until(() => fake.waits.size === 1)
      yield* TestClock.adjust("10 seconds")
      const response = yield* request
      assert.strictEqual(response.status, 503)
      assert.isDefined(headerOf(response, "retry-after"))
    }))

  it.scoped("are to be asked for again when the server drains: the next one may have them", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { drain } } = yield* routes()
      const shape = fake.define("items")
      const request = yield* Effect.fork(get(url(shape.handle)))
      yield* fake.until(() => fake.waits.size === 1)
      yield* drain
      for (const response of [yield* request, yield* get(url(shape.handle))]) {
        assert.strictEqual(response.status, 503)
        assert.strictEqual(headerOf(response, "retry-after"), "5")
      }
    }))

  it.scoped("are served when the log reaches them", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const request = yield* Effect.fork(get(url(shape.handle)))
      yield* fake.until(() => fake.waits.size === 1)
      // Not far enough yet.
      fake.append(shape, 100n, ["{}"])
      fake.append(shape, 200n, ["{}"])
      assert.isTrue(yield* isHeld(request))
      shape.log.push({ offset: { tx: 200n, op: 2 }, json: "{}", chunkEnd: false })
      fake.changed()
      const response = yield* request
      assert.strictEqual(response.status, 200)
      assert.strictEqual(bodyOf(response), `[${upToDate("200")}]`)
    }))

  it.scoped("of live requests are served when the log passes them, and held on where it just reaches them", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const request = yield* Effect.fork(get(url(shape.handle, "&live=true")))
      yield* fake.until(() => fake.waits.size === 1)
      fake.append(shape, 200n, ["{}", "{}"])
      yield* fake.until(() => fake.waitsBegun === 2 && fake.waits.size === 1)
      assert.isTrue(yield* isHeld(request))
      fake.append(shape, 300n, ["{\"a\":1}"])
      assert.strictEqual(bodyOf(yield* request), `[{"a":1},${upToDate("300")}]`)
    }))

  it.scoped("of a shape that goes are conflicts", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const request = yield* Effect.fork(get(url(shape.handle)))
      yield* fake.until(() => fake.waits.size === 1)
      fake.drop(shape)
      assert.strictEqual((yield* request).status, 409)
    }))
})

describe("an engine that is not ready", () => {
  const url = "/v1/shape?table=items&offset=-1"

  it.scoped("is waited for", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      fake.define("items")
      fake.status = "starting"
      const requests = yield* Effect.forEach([1, 2], () => Effect.fork(get(url)))
      yield* fake.until(() => fake.waits.size === 1)
      yield* TestClock.adjust("4 seconds")
      fake.setStatus("active")
      for (const request of requests) assert.strictEqual((yield* request).status, 200)
    }))

  it.scoped("is waited for five seconds, before anything is validated", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      for (const [status, text] of [["starting", "replication client"], ["waiting", "Postgres lock"]] as const) {
        fake.status = status
        const request = yield* Effect.fork(get("/v1/shape?offset=nonsense"))
        yield* fake.until(() => fake.waits.size === 1)
        yield* TestClock.adjust("5 seconds")
        const response = yield* request
        assert.strictEqual(response.status, 503)
        assert.include(bodyOf(response), `{"message":"Timeout waiting for ${text}`)
        assert.strictEqual(headerOf(response, "retry-after"), "5")
        assert.strictEqual(headerOf(response, "cache-control"), "no-store")
      }
    }))

  it.scoped("is not waited for when it stops", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      fake.status = "stopping"
      const response = yield* get(url)
      assert.strictEqual(response.status, 503)
      assert.strictEqual(bodyOf(response), "{\"message\":\"Timeout waiting for stack restart\"}")
    }))
})
