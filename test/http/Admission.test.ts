/**
 * How many requests are served at a time (Electric HTTP protocol §15.3): who is counted as what, who is turned away, and that every permit
 * comes back.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Option } from "effect"
import * as Net from "node:net"
import { SnapshotFailed } from "../../src/domain/Errors.ts"
import type * as FakeEngine from "../support/FakeEngine.ts"
import * as Fixture from "./HttpFixture.ts"

const liveUrl = ({ handle }: FakeEngine.FakeShape) => `/v1/shape?table=items&handle=${handle}&offset=0_inf&live=true`
const none = { initial: 0, existing: 0 }

describe("admission", () => {
  for (const peeks of [false, true]) {
    it.scoped(`turns away what is too much, before anything is done for it${peeks ? ", known or not" : ""}`, () =>
      Effect.gen(function*() {
        const { fake, request, routes } = yield* Fixture.server({ maxConcurrentRequests: { initial: 1, existing: 1 } })
        fake.peeks = peeks
        const shape = fake.define("items", [["{}"]])
        const held = yield* Effect.fork(request(liveUrl(shape)))
        yield* Fixture.eventually(() => routes.held() === 1)
        assert.deepStrictEqual(routes.admitted(), { initial: 0, existing: 1 })
        fake.resolved = []
        const gate = yield* Deferred.make<void>()
        fake.onResolve = ({ table }) => table === "slow" ? Effect.as(Deferred.await(gate), shape) : undefined
        const slow = yield* Effect.fork(request("/v1/shape?table=slow&offset=-1"))
        yield* Fixture.eventually(() => fake.resolved.length === 1)
        assert.deepStrictEqual(routes.admitted(), { initial: 1, existing: 1 })

        const turnedAway: ReadonlyArray<readonly [path: string, kind: string, method?: string]> = [
          [liveUrl(shape), "existing"],
          [`/v1/shape?table=items&handle=${shape.handle}&offset=0_0`, "existing"],
          [`/v1/shape?handle=${shape.handle}`, "existing"],
          [`/v1/shape?handle=${shape.handle}`, "existing", "POST"],
          ["/v1/shape?table=items&offset=-1", "initial"],
          ["/v1/shape?table=items&handle=nobody&offset=0_0", "initial"],
          ["/v1/shape", "initial"],
          ["/v1/shape?subset__limit=x", "initial", "POST"]
        ]
        for (const [path, kind, method = "GET"] of turnedAway) {
          const reply = yield* request(path, { method })
          assert.strictEqual(reply.status, 503, path)
          assert.deepStrictEqual(JSON.parse(reply.body), {
            code: "concurrent_request_limit_exceeded",
            message: `Concurrent ${kind} request limit exceeded (limit: 1), please retry`
          })
          assert.match(String(reply.headers["retry-after"]), /^([6-9]|10)$/)
          assert.strictEqual(reply.headers["electric-internal-known-error"], "true")
          assert.strictEqual(reply.headers["cache-control"], method === "GET" ? "no-store" : "no-cache")
          assert.strictEqual(reply.headers["surrogate-control"], method === "GET" ? "no-store" : undefined)
          assert.strictEqual(reply.headers["content-type"], "application/json; charset=utf-8")
          assert.strictEqual(reply.headers["access-control-allow-origin"], "*")
        }
        assert.lengthOf(fake.resolved, 1)
        assert.strictEqual((yield* request("/v1/health")).status, 200)
        assert.strictEqual((yield* request("/v1/shape", { method: "OPTIONS" })).status, 204)

        fake.append(shape, 100n, ["{}"])
        assert.strictEqual((yield* held).status, 200)
        yield* Deferred.succeed(gate, void 0)
        assert.strictEqual((yield* slow).status, 200)
        yield* Fixture.eventually(() => routes.admitted().initial + routes.admitted().existing === 0)
        assert.strictEqual((yield* request("/v1/shape?table=items&offset=-1")).status, 200)
      }))
  }

  it.scoped("asks for the secret first", () =>
    Effect.gen(function*() {
      const { request } = yield* Fixture.server({ secret: "s", maxConcurrentRequests: { initial: 0, existing: 0 } })
      assert.strictEqual((yield* request("/v1/shape")).status, 401)
      assert.strictEqual((yield* request("/v1/shape?secret=s")).status, 503)
    }))

  it.scoped("counts a first request among the others once its snapshot has begun, if there is room", () =>
    Effect.gen(function*() {
      for (const existing of [1, 0]) {
        const { fake, request, routes } = yield* Fixture.server({ maxConcurrentRequests: { initial: 1, existing } })
        const shape = fake.define("items")
        const begun = yield* Deferred.make<void>()
        const rest = yield* Deferred.make<void>()
        let pulls = 0
        fake.onRead = (_, after) =>
          Effect.as(Deferred.await(begun), {
            ...fake.slice(shape, after),
            body: {
              ready: undefined,
              pull: Effect.suspend(() => {
                pulls += 1
                if (pulls === 1) return Effect.succeedSome(Buffer.from(",1"))
                return pulls === 2
                  ? Effect.as(Deferred.await(rest), Option.some(Buffer.from(",2")))
                  : Effect.succeedNone
              })
            }
          })
        const first = yield* Effect.fork(request("/v1/shape?table=items&offset=-1"))
        yield* Fixture.eventually(() => routes.admitted().initial === 1)
        yield* Deferred.succeed(begun, void 0)
        yield* Fixture.eventually(() => pulls === 2)
        assert.deepStrictEqual(
          routes.admitted(),
          existing === 1 ? { initial: 0, existing: 1 } : { initial: 1, existing: 0 }
        )
        yield* Deferred.succeed(rest, void 0)
        assert.strictEqual((yield* first).body, "[1,2]")
        yield* Fixture.eventually(() => routes.admitted().initial + routes.admitted().existing === 0)
      }
    }))

  it.scoped("gets its permit back however a request ends", () =>
    Effect.gen(function*() {
      const { fake, port, request, routes } = yield* Fixture.server({
        maxConcurrentRequests: { initial: 2, existing: 2 }
      })
      const shape = fake.define("items", [["{}"]])
      const ended = Fixture.eventually(() => routes.admitted().initial + routes.admitted().existing === 0)
      const paths = [
        "/v1/shape?table=items&offset=-1",
        "/v1/shape?table=items&offset=now",
        `/v1/shape?table=items&offset=0_0&handle=${shape.handle}`,
        "/v1/shape?table=items",
        "/v1/shape?table=nope&offset=-1",
        "/v1/shape?table=items&offset=0_0&handle=x",
        "/v1/shape?table=items&offset=-1&subset__where=true",
        "/v1/shape?table=items&offset=-1&subset__limit=1"
      ]
      for (const method of ["GET", "HEAD", "POST"]) {
        for (const path of paths) {
          yield* request(path, { method })
          yield* ended
        }
      }
      fake.onRead = () => Effect.die("broken")
      yield* request(paths[0]!)
      fake.onRead = () => new SnapshotFailed({ reason: "refused", detail: "no" })
      yield* request(paths[0]!)
      yield* ended
      // A body that can't be continued.
      const failing = new SnapshotFailed({ reason: "unknown", detail: "no" })
      fake.onRead = (_, after) =>
        Effect.sync(() => {
          let pulls = 0
          return {
            ...fake.slice(shape, after),
            body: {
              ready: undefined,
              pull: Effect.suspend(() => pulls++ === 0 ? Effect.succeedSome(Buffer.from(",1")) : failing)
            }
          }
        })
      yield* Effect.flip(request(paths[0]!))
      yield* ended
      fake.onRead = () => undefined

      // A client that leaves: while it waits, and while it is being sent something.
      const waiting = yield* Effect.fork(request(liveUrl(shape)))
      yield* Fixture.eventually(() => routes.held() === 1)
      yield* Fiber.interrupt(waiting)
      yield* ended
      const piece = Buffer.from(`,"${"x".repeat(65_533)}"`)
      fake.onRead = (_, after) =>
        Effect.succeed({ ...fake.slice(shape, after), body: { ready: undefined, pull: Effect.succeedSome(piece) } })
      const socket = Net.connect(port, "127.0.0.1")
      socket.on("error", () => undefined)
      socket.pause()
      socket.write(`GET ${paths[0]} HTTP/1.1\r\nhost: x\r\n\r\n`)
      yield* Fixture.eventually(() => routes.admitted().existing === 1)
      socket.destroy()
      yield* ended
      assert.deepStrictEqual(routes.admitted(), none)
    }))
})
