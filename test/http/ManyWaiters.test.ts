/**
 * Very many requests that wait: what one change costs for all of them, what they leave behind, and that others get their turns meanwhile.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, TestClock } from "effect"
import * as net from "node:net"
import type { HttpRequest, ShapeResponse } from "../../src/http/ShapeResponse.ts"
import type { ShapeRoutes } from "../../src/http/ShapeRoutes.ts"
import type { FakeShape } from "../support/FakeEngine.ts"
import * as Fixture from "./HttpFixture.ts"

const WAITERS = 2_000
/** Requests that may be answered before others get a turn. */
const BATCH = 256

const poll = (shape: FakeShape, table: string, offset = "0_inf"): HttpRequest => ({
  method: "GET",
  path: "/v1/shape",
  query: `table=${table}&handle=${shape.handle}&offset=${offset}&live=true`,
  headers: {},
  body: Effect.succeed(new Uint8Array()),
  onEnd: () => undefined
})

/** Holds a request without a fiber; its answer goes to `answers`. */
const hold = (routes: ShapeRoutes["Type"], request: HttpRequest, answers: Array<ShapeResponse>) => {
  const answer = routes.unsafeHandle(request, (answer) => {
    if (Effect.isEffect(answer)) return assert.fail("the answer could not be had in one turn")
    answers.push(answer)
  })
  if (answer === undefined || Effect.isEffect(answer) || answer._tag !== "Held") return assert.fail("not held")
  return answer.release
}

describe("very many polls", () => {
  it.scoped("of one shape wait in one group and are answered with one body, made once", () =>
    Effect.gen(function*() {
      const { fake, routes } = yield* Fixture.routes()
      const shape = fake.define("items")
      fake.peeks = true
      for (let offset = "0_inf", round = 1n; round <= 2n; round++) {
        const answers: Array<ShapeResponse> = []
        for (let i = 0; i < WAITERS; i++) hold(routes, poll(shape, "items", offset), answers)
        assert.strictEqual(routes.held(), WAITERS)
        assert.deepStrictEqual([routes.waiting().groups, fake.waits.size], [1, 1])
        fake.peeked = 0
        fake.append(shape, round * 100n, [`{"round":${round}}`])
        yield* Fixture.eventually(() => answers.length === WAITERS)
        // The log was asked once, and there is one body.
        assert.strictEqual(fake.peeked, 1)
        assert.strictEqual(new Set(answers.map(({ body }) => body)).size, 1)
        assert.include(Fixture.bodyOf(answers[0]!), `[{"round":${round}},`)
        assert.strictEqual(routes.held(), 0)
        assert.deepStrictEqual(routes.waiting(), { groups: 0, timers: 0 })
        offset = Fixture.headerOf(answers[0]!, "electric-offset")!
        assert.strictEqual(offset, `${round}00_0`)
      }
    }))

  it.scoped("that change their mind are forgotten at once", () =>
    Effect.gen(function*() {
      const { fake, routes } = yield* Fixture.routes()
      const shape = fake.define("items")
      fake.peeks = true
      const answers: Array<ShapeResponse> = []
      const releases = Array.from({ length: WAITERS }, () => hold(routes, poll(shape, "items"), answers))
      for (const release of releases.slice(1)) release()
      assert.deepStrictEqual([routes.held(), routes.waiting().groups], [1, 1])
      releases[0]!()
      assert.deepStrictEqual(routes.waiting(), { groups: 0, timers: 0 })
      yield* Fixture.eventually(() => fake.waits.size === 0)
      fake.append(shape, 100n, ["{}"])
      assert.strictEqual(answers.length, 0)
    }))

  it.scoped("of as many shapes are answered some at a time", () =>
    Effect.gen(function*() {
      const { fake, routes } = yield* Fixture.routes()
      fake.peeks = true
      const shapes = Array.from({ length: WAITERS }, (_, i) => fake.define(`items${i}`))
      const answers: Array<ShapeResponse> = []
      shapes.forEach((shape, i) => hold(routes, poll(shape, `items${i}`), answers))
      assert.deepStrictEqual([routes.held(), routes.waiting().groups], [WAITERS, WAITERS])
      for (const shape of shapes) shape.log.push({ offset: { tx: 100n, op: 0 }, json: "{}", chunkEnd: false })
      fake.changed()
      let most = 0
      let before = 0
      yield* Fixture.eventually(() => {
        most = Math.max(most, answers.length - before)
        before = answers.length
        return answers.length === WAITERS
      })
      assert.isAtMost(most, BATCH)
      assert.strictEqual(new Set(answers.map((answer) => Fixture.headerOf(answer, "electric-handle"))).size, WAITERS)
      assert.deepStrictEqual(routes.waiting(), { groups: 0, timers: 0 })
    }))

  it.scoped("whose time is up are each answered with what there is then", () =>
    Effect.gen(function*() {
      const { fake, routes } = yield* Fixture.routes({ longPollTimeoutMs: 20_000 })
      const shape = fake.define("items")
      fake.peeks = true
      const answers: Array<ShapeResponse> = []
      for (let i = 0; i < 2; i++) {
        hold(routes, poll(shape, "items"), answers)
        yield* TestClock.adjust("1 seconds")
      }
      yield* TestClock.adjust("17 seconds")
      assert.strictEqual(answers.length, 0)
      for (const tx of [100n, 200n]) {
        // The wait is never told.
        shape.log.push({ offset: { tx, op: 0 }, json: "{}", chunkEnd: false })
        yield* TestClock.adjust("1 seconds")
        assert.strictEqual(Fixture.headerOf(answers.at(-1)!, "electric-offset"), `${tx}_0`)
      }
      assert.strictEqual(answers.length, 2)
    }))

  it.scoped("whose clients disconnect are let go of at once, and the change that they waited for reaches the others", () =>
    Effect.gen(function*() {
      const { connections, fake, port, routes } = yield* Fixture.server()
      const shape = fake.define("items")
      const connect = (live: string) =>
        Effect.acquireRelease(
          Effect.async<{ readonly socket: net.Socket; readonly text: () => string }, Error>((resume) => {
            let text = ""
            const socket = net.connect(port, "127.0.0.1", () => resume(Effect.succeed({ socket, text: () => text })))
            socket.on("error", (error) => resume(Effect.fail(error)))
            socket.on("data", (bytes) => {
              text += bytes.toString("latin1")
            })
            const target = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&${live}`
            socket.write(`GET ${target} HTTP/1.1\r\nhost: x\r\n\r\n`)
          }),
          ({ socket }) => Effect.sync(() => socket.destroy())
        )
      const kinds = ["live=true", "live=true&live_sse=true"]
      const clients = yield* Effect.forEach(
        Array.from({ length: 600 }, (_, i) => kinds[i % 2]!),
        connect,
        { concurrency: 50 }
      )
      yield* Fixture.eventually(() => routes.held() === 600)
      for (const { socket } of clients.slice(2)) socket.destroy()
      yield* Fixture.eventually(() => routes.held() === 2)
      // One group, two streams' or polls' time limits, and the comment that the stream is due.
      assert.deepStrictEqual([routes.waiting().groups, routes.admitted().existing], [1, 2])
      fake.append(shape, 100n, ["{\"a\":1}"])
      yield* Fixture.eventually(() => clients.slice(0, 2).every(({ text }) => text().includes("up-to-date\"")))
      for (const { socket } of clients) socket.destroy()
      yield* Fixture.eventually(() => routes.held() === 0 && fake.waits.size === 0)
      assert.deepStrictEqual(routes.waiting(), { groups: 0, timers: 0 })
      let open = -1
      while (open !== 0) open = yield* connections
      assert.strictEqual(routes.admitted().existing, 0)
    }))
})

describe("bodies that are in memory piece by piece", () => {
  const PIECE = Buffer.from(`,"${"x".repeat(65_533)}"`)

  it.scoped("are sent without a fiber, as far as the client takes them, from the same bytes", () =>
    Effect.gen(function*() {
      const { fake, port } = yield* Fixture.server()
      const shape = fake.define("items")
      fake.peeks = true
      const total = 1_000
      let taken = 0
      const slice = fake.slice.bind(fake)
      fake.slice = (shape, after) => ({
        ...slice(shape, after),
        body: {
          ready: undefined,
          unsafeNext: () => (taken++ < total ? PIECE : undefined),
          pull: Effect.dieMessage("it was pulled")
        }
      })
      const socket = yield* Effect.acquireRelease(
        Effect.sync(() => net.connect(port, "127.0.0.1").pause()),
        (socket) => Effect.sync(() => socket.destroy())
      )
      socket.write(`GET /v1/shape?table=items&handle=${shape.handle}&offset=-1 HTTP/1.1\r\nhost: x\r\n\r\n`)
      let before = -1
      let turns = 0
      yield* Fixture.eventually(() => {
        turns = taken === before && taken > 0 ? turns + 1 : 0
        before = taken
        return turns === 50
      })
      assert.isBelow(taken * PIECE.length, 16 * 1_048_576)
      const chunks: Array<Buffer> = []
      let length = 0
      socket.on("data", (chunk) => {
        chunks.push(chunk)
        length += chunk.length
      }).resume()
      yield* Fixture.eventually(() => length > total * PIECE.length)
      yield* Fixture.eventually(() => chunks.at(-1)!.toString("latin1").endsWith("0\r\n\r\n"))
      assert.strictEqual(taken, total + 1)
      assert.strictEqual(PIECE[0], ",".charCodeAt(0))
    }))

  it.scoped("may have to be waited for in between, and may fail", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items")
      fake.peeks = true
      const slice = fake.slice.bind(fake)
      const pieces = [",1", "", ",2", ",3", ",4"].map((text) => Buffer.from(text))
      let isBroken = false
      fake.slice = (shape, after) => {
        let next = 0
        const pull = Effect.suspend(() =>
          isBroken && next > 2 ? Effect.dieMessage("broken") : Effect.succeed(Option.fromNullable(pieces[next++]))
        )
        // Every other one is there; of the rest some take a turn.
        const unsafeNext = () =>
          next % 2 === 0 ? pieces[next++] : next === 3 ? Effect.zipRight(Effect.yieldNow(), pull) : pull
        return { ...slice(shape, after), body: { ready: undefined, unsafeNext, pull } }
      }
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=-1`
      assert.strictEqual((yield* request(url)).body, "[1,2,3,4]")
      isBroken = true
      assert.strictEqual((yield* Effect.flip(request(url))).message, "aborted")
    }))
})
