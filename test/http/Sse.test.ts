/**
 * Streams of events: their framing, what they carry and when they end, and what they share.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, TestClock } from "effect"
import { ShapeGone } from "../../src/domain/Errors.ts"
import type { LogOffset } from "../../src/domain/LogOffset.ts"
import type { LogBody } from "../../src/engine/ShapeEngine.ts"
import * as EventBatches from "../../src/http/EventBatches.ts"
import { EventFramer } from "../../src/http/EventFrame.ts"
import * as LogFrame from "../../src/http/LogFrame.ts"
import type { ShapeResponse } from "../../src/http/ShapeResponse.ts"
import { type FakeEngine, type FakeShape, pulling } from "../support/FakeEngine.ts"
import { bodyOf, eventually, headerOf, routes } from "./HttpFixture.ts"

const event = (json: string) => `data: ${json}\n\n`
const upToDate = (lsn: number) => event(`{"headers":{"control":"up-to-date","global_last_seen_lsn":"${lsn}"}}`)
const url = (shape: FakeShape, offset: string, more = "") =>
  `/v1/shape?table=items&handle=${shape.handle}&offset=${offset}&live=true&live_sse=true${more}`

/** Follows a stream: its pieces as they come, and whether it has ended. */
const follow = Effect.fnUntraced(function*(response: ShapeResponse) {
  const { body } = response
  if (body._tag !== "Events") return yield* Effect.dieMessage(`no stream: ${bodyOf(response)}`)
  const pull = LogFrame.pullEvents(body.source)
  const state = { pieces: new Array<Uint8Array>(), isOver: false, text: () => Buffer.concat(state.pieces).toString() }
  const step: Effect.Effect<void, unknown> = Effect.flatMap(pull, (piece) => {
    if (Option.isNone(piece)) {
      state.isOver = true
      return Effect.void
    }
    state.pieces.push(piece.value)
    return Effect.zipRight(Effect.yieldNow(), step)
  })
  const fiber = yield* Effect.fork(step)
  return { ...state, state, fiber }
})

describe("framing", () => {
  const items = [
    "{\"a\":[1,{\"b\":\"x,}]\"}],\"c\":\"\\\\\"}",
    "{\"\\\",{\":\"größe, 日本\"}",
    "[]",
    "{}",
    "{\"deep\":[[[{\"x\":[1,2,3]}]]]}"
  ]
  const log = Buffer.from(items.map((item) => `,${item}`).join(""))

  it("makes an event of each item, wherever the pieces are cut", () => {
    const expected = items.map(event).join("") + upToDate(7)
    const control = upToDate(7).slice(6, -2)
    for (let step = 1; step <= log.length; step++) {
      const framer = new EventFramer()
      const framed: Array<Uint8Array> = []
      for (let at = 0; at < log.length; at += step) framed.push(framer.frame(log.subarray(at, at + step)))
      framed.push(framer.end(control))
      assert.strictEqual(Buffer.concat(framed).toString(), expected, `pieces of ${step}`)
    }
    assert.strictEqual(new EventFramer().end(control).toString(), upToDate(7))
    assert.strictEqual(new EventFramer().end(undefined).length, 0)
  })
})

describe("a stream", () => {
  it.scoped("opens at the end without a word, and then carries each batch and that it is up to date", () =>
    Effect.gen(function*() {
      const { ends, fake, get, routes: { held } } = yield* routes()
      const shape = fake.define("items")
      const response = yield* get(url(shape, "0_0", "&cursor=5"))
      assert.strictEqual(response.status, 200)
      assert.strictEqual(headerOf(response, "content-type"), "text/event-stream")
      assert.strictEqual(headerOf(response, "cache-control"), "public, max-age=59")
      assert.strictEqual(headerOf(response, "electric-offset"), "0_inf")
      assert.strictEqual(headerOf(response, "electric-handle"), shape.handle)
      assert.strictEqual(headerOf(response, "electric-up-to-date"), "")
      assert.strictEqual(headerOf(response, "electric-has-data"), "true")
      assert.isAbove(Number(headerOf(response, "electric-cursor")), 5)
      assert.isUndefined(headerOf(response, "electric-schema"))
      const { fiber, state } = yield* follow(response)
      yield* fake.until(() => fake.waits.size === 1)
      assert.strictEqual(held(), 1)
      assert.strictEqual(state.text(), "")
      let expected = ""
      for (const tx of [100, 200, 300]) {
        fake.append(shape, BigInt(tx), [`{"a":${tx}}`, `{"b":${tx}}`])
        yield* fake.until(() => fake.waits.size === 1 && fake.waitsBegun === tx / 100 + 1)
        expected += event(`{"a":${tx}}`) + event(`{"b":${tx}}`) + upToDate(tx)
        assert.strictEqual(state.text(), expected)
      }
      assert.isFalse(state.isOver)
      yield* fiber.interruptAsFork(fiber.id())
      for (const release of ends) release()
      yield* eventually(() => held() === 0 && fake.waits.size === 0)
    }))

  it.scoped("sends what is there when it opens and stays open; until then its client has nothing", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 100n, ["{\"a\":1}"])
      fake.append(shape, 200n, ["{\"a\":2}", "{\"a\":3}"])
      fake.lastSeenLsn = 900n
      const response = yield* get(url(shape, "0_inf"))
      // A client whose connection breaks before the first event comes back with this.
      assert.strictEqual(headerOf(response, "electric-offset"), "0_inf")
      assert.isUndefined(headerOf(response, "electric-up-to-date"))
      const { state } = yield* follow(response)
      yield* fake.until(() => fake.waits.size === 1)
      const first = event("{\"a\":1}") + event("{\"a\":2}") + event("{\"a\":3}") + upToDate(200)
      assert.strictEqual(state.text(), first)
      fake.append(shape, 300n, ["{\"a\":4}"])
      yield* fake.until(() => fake.waits.size === 1 && fake.waitsBegun === 2)
      assert.strictEqual(state.text(), first + event("{\"a\":4}") + upToDate(300))
    }))

  it.scoped("takes up the offset that clients make of an up-to-date message", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 200n, ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"])
      const behind = yield* follow(yield* get(url(shape, "200_0")))
      yield* fake.until(() => fake.waits.size === 1)
      assert.strictEqual(behind.state.text(), event("{\"a\":2}") + event("{\"a\":3}") + upToDate(200))
      const atEnd = yield* follow(yield* get(url(shape, "200_4")))
      fake.append(shape, 300n, ["{\"a\":4}"])
      yield* eventually(() => atEnd.state.pieces.length === 1)
      assert.strictEqual(atEnd.state.text(), event("{\"a\":4}") + upToDate(300))
    }))

  it.scoped("goes on past the ends of chunks, those that were there and those that come", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 100n, ["{\"a\":1}"], true)
      fake.append(shape, 200n, ["{\"a\":2}"], true)
      const { state } = yield* follow(yield* get(url(shape, "0_inf")))
      yield* fake.until(() => fake.waits.size === 1)
      const first = event("{\"a\":1}") + event("{\"a\":2}") + upToDate(200)
      assert.strictEqual(state.text(), first)
      fake.append(shape, 300n, ["{\"a\":3}"], true)
      fake.append(shape, 400n, ["{\"a\":4}"])
      yield* eventually(() => state.text().includes("\"400\""))
      assert.strictEqual(
        state.text().replace(upToDate(300), ""),
        first + event("{\"a\":3}") + event("{\"a\":4}") + upToDate(400)
      )
    }))

  it.scoped("gets a comment after 21 seconds without output and ends after 60", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { held } } = yield* routes()
      const shape = fake.define("items")
      const { state } = yield* follow(yield* get(url(shape, "0_inf")))
      yield* fake.until(() => fake.waits.size === 1)
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(state.text(), "")
      fake.append(shape, 100n, ["{}"])
      yield* eventually(() => state.pieces.length === 1)
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(state.pieces.length, 1)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(state.text(), event("{}") + upToDate(100) + ": keep-alive\n\n")
      yield* TestClock.adjust("17 seconds")
      assert.isFalse(state.isOver)
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(state.isOver)
      assert.strictEqual(state.pieces.length, 2)
      assert.strictEqual(held(), 0)
      assert.strictEqual(fake.waits.size, 0)
    }))

  it.scoped("whose client is slow ends when its time is over, and not in the middle", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 100n, ["{\"a\":1}"], true)
      fake.append(shape, 200n, ["{\"a\":2}"], true)
      const response = yield* get(url(shape, "0_inf"))
      if (response.body._tag !== "Events") return assert.fail()
      const pull = LogFrame.pullEvents(response.body.source)
      assert.strictEqual(String(Option.getOrThrow(yield* pull)), event("{\"a\":1}"))
      yield* TestClock.adjust("60 seconds")
      assert.isTrue(Option.isNone(yield* pull))
    }))

  it.scoped("ends at once when its shape goes, and the next request is a conflict", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const { state } = yield* follow(yield* get(url(shape, "0_inf")))
      yield* fake.until(() => fake.waits.size === 1)
      fake.drop(shape)
      const successor = fake.define("items")
      yield* eventually(() => state.isOver)
      assert.strictEqual(state.text(), "")
      assert.strictEqual(fake.waits.size, 0)
      const again = yield* get(url(shape, "0_inf"))
      assert.strictEqual(again.status, 409)
      assert.strictEqual(headerOf(again, "electric-handle"), successor.handle)
    }))

  it.scoped("that breaks in the middle of a batch fails", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 100n, ["{}"])
      let pulls = 0
      const pull: LogBody["pull"] = Effect.suspend(() =>
        pulls++ === 0 ? Effect.succeedSome(Buffer.from(",{\"a\"")) : new ShapeGone({ handle: shape.handle })
      )
      fake.onRead = (_, after) => Effect.succeed({ ...fake.slice(shape, after), body: { ready: undefined, pull } })
      const { fiber, state } = yield* follow(yield* get(url(shape, "0_inf")))
      assert.isTrue((yield* Effect.exit(fiber))._tag === "Failure")
      assert.strictEqual(state.text(), "data: {\"a\"")
      assert.isFalse(state.isOver)
    }))

  it.scoped("with an offset past the end is given the time to be caught up with, and then ends", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 100n, ["{}"])
      const request = yield* Effect.fork(get(url(shape, "200_0")))
      yield* fake.until(() => fake.waits.size === 1)
      yield* TestClock.adjust("10 seconds")
      const { state } = yield* follow(yield* request)
      yield* eventually(() => state.isOver)
      assert.strictEqual(state.text(), "")
    }))

  it.scoped("is never revalidated: each has an ETag of its own", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      fake.append(shape, 100n, ["{}"])
      const first = yield* get(url(shape, "100_0"))
      const etag = headerOf(first, "etag")!
      for (const tag of [etag, `"${shape.handle}:100_0:100_0"`]) {
        const again = yield* get(url(shape, "100_0"), { "if-none-match": tag })
        assert.strictEqual(again.status, 200)
        assert.notStrictEqual(headerOf(again, "etag"), etag)
      }
    }))

  it.scoped("ends when the server drains, and none is opened then", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { drain, held } } = yield* routes()
      const shape = fake.define("items")
      const streams = yield* Effect.forEach([1, 2], () => Effect.flatMap(get(url(shape, "0_inf")), follow))
      yield* fake.until(() => fake.waits.size === 1)
      yield* drain
      streams.push(yield* follow(yield* get(url(shape, "0_inf"))))
      yield* eventually(() => streams.every(({ state }) => state.isOver))
      assert.isTrue(streams.every(({ state }) => state.text() === ""))
      assert.strictEqual(held(), 0)
      assert.strictEqual(fake.waits.size, 0)
    }))

  it.scoped("needs live, and errors before it opens are what they always are", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const without = yield* get(`/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live_sse=true`)
      assert.strictEqual(without.status, 400)
      const conflict = yield* get(url({ ...shape, handle: "other" }, "0_inf"))
      assert.strictEqual(conflict.status, 409)
      assert.strictEqual(headerOf(conflict, "content-type"), "application/json; charset=utf-8")
      const alias = yield* get(url(shape, "0_inf").replace("live_sse", "experimental_live_sse"))
      assert.strictEqual(headerOf(alias, "content-type"), "text/event-stream")
    }))
})

describe("streams at the same offset", () => {
  it.scoped("share their wait and their bytes", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const streams = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.flatMap(get(url(shape, "0_inf")), follow)
      )
      yield* fake.until(() => fake.waits.size === 1)
      for (let tx = 1; tx <= 3; tx++) {
        fake.append(shape, BigInt(tx), [`{"tx":${tx}}`])
        yield* eventually(() => streams.every(({ state }) => state.pieces.length === tx))
        assert.strictEqual(new Set(streams.map(({ state }) => state.pieces[tx - 1])).size, 1)
      }
      assert.isAtMost(fake.waitsBegun, 4)
    }))

  const long = Array.from({ length: 400 }, (_, i) => Buffer.from(`,{"i":${i},"x":"${"é,{".repeat(2_000)}"}`))
  const whole = long.map((item) => event(item.toString().slice(1))).join("") + upToDate(100)

  /** The live log's one transaction as a body to be pulled; counts how often that is begun, and pieces. */
  const scripted = (fake: FakeEngine, shape: FakeShape) => {
    const counts = { bodies: 0, pieces: 0 }
    fake.onRead = (_, after: LogOffset) =>
      Effect.sync(() => {
        const slice = fake.slice(shape, after)
        if (slice.end.tx === 0n || slice.end.tx === after.tx) return slice
        let begun = false
        const rest = pulling(long)
        const pull = Effect.suspend(() => {
          if (!begun) counts.bodies++
          begun = true
          counts.pieces++
          return rest
        })
        return { ...slice, body: { ready: undefined, pull } }
      })
    return counts
  }

  it.scoped("share long batches too, piece by piece", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const counts = scripted(fake, shape)
      const streams = yield* Effect.forEach(
        Array.from({ length: 10 }),
        () => Effect.flatMap(get(url(shape, "0_inf")), follow)
      )
      yield* fake.until(() => fake.waits.size === 1)
      fake.append(shape, 100n, ["{}"])
      yield* eventually(() => streams.every(({ state }) => state.text().endsWith(upToDate(100))))
      for (const { state } of streams) assert.isTrue(state.text() === whole)
      assert.strictEqual(counts.bodies, 1)
      assert.isAtMost(counts.pieces, long.length + 1)
    }))

  it.scoped("that fall behind what is kept read for themselves, and get the same", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items")
      const counts = scripted(fake, shape)
      fake.append(shape, 100n, ["{}"])
      const slow = yield* get(url(shape, "0_inf"))
      if (slow.body._tag !== "Events") return assert.fail()
      const pull = LogFrame.pullEvents(slow.body.source)
      let text = ""
      for (let i = 0; i < 3; i++) text += String(Option.getOrThrow(yield* pull))
      const quick = yield* follow(yield* get(url(shape, "0_inf")))
      yield* eventually(() => quick.state.text().endsWith(upToDate(100)))
      assert.strictEqual(counts.bodies, 1)
      while (!text.endsWith(upToDate(100))) text += String(Option.getOrThrow(yield* pull))
      assert.isTrue(text === whole)
      assert.strictEqual(counts.bodies, 2)
    }))

  it("keep a bounded number of bytes for each other", () =>
    Effect.gen(function*() {
      const slice = {
        end: { tx: 1n, op: 0 },
        upToDate: true,
        lastSeenLsn: 1n,
        body: { ready: undefined, pull: pulling(long) }
      }
      const batches = EventBatches.make()
      const found = batches.of("h", { tx: 0n, op: Infinity }, slice)
      if (found._tag !== "Long") return assert.fail()
      for (let i = 0; i < long.length; i++) yield* found.batch.piece(i)
      let kept = 0
      for (let i = 0; i < long.length; i++) if (found.batch.has(i)) kept += long[i]!.length
      assert.isAtMost(kept, 2_200_000)
      assert.isAbove(kept, 1_000_000)
      assert.strictEqual(batches.find(found.key), found.batch)
    }).pipe(Effect.runPromise))
})
