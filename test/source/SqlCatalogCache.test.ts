import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, TestClock } from "effect"
import * as SqlCatalogCache from "../../src/source/SqlCatalogCache.ts"

/** A cache of numbers, which count the loads. `fails` has the next loads fail with their number. */
const counting = Effect.gen(function*() {
  const probe = { loads: 0, fails: false }
  const cache = yield* SqlCatalogCache.make(Effect.suspend(() => {
    probe.loads++
    return probe.fails ? Effect.fail(probe.loads) : Effect.succeed(probe.loads)
  }))
  return { ...cache, probe }
})

describe("SqlCatalogCache", () => {
  it.scoped("loads once, and again when it was told to forget and two seconds have passed", () =>
    Effect.gen(function*() {
      const { forget, get } = yield* counting
      assert.deepStrictEqual(yield* Effect.all([get, get, get], { concurrency: "unbounded" }), [1, 1, 1])
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* get, 1)
      yield* forget
      assert.strictEqual(yield* get, 2)
      yield* forget
      yield* TestClock.adjust("1999 millis")
      assert.strictEqual(yield* get, 2)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* get, 3)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* get, 3)
    }))

  it.scoped("doesn't keep an error, and keeps what it had", () =>
    Effect.gen(function*() {
      const { forget, get, probe } = yield* counting
      probe.fails = true
      assert.strictEqual(yield* Effect.flip(get), 1)
      probe.fails = false
      assert.strictEqual(yield* get, 2)
      yield* TestClock.adjust("2 seconds")
      yield* forget
      probe.fails = true
      assert.strictEqual(yield* Effect.flip(get), 3)
      assert.strictEqual(yield* get, 2)
      yield* TestClock.adjust("2 seconds")
      probe.fails = false
      assert.strictEqual(yield* get, 4)
    }))

  it.scoped("goes on loading for those who wait although the first is interrupted, and doubts what it read meanwhile", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      let loads = 0
      const { forget, get } = yield* SqlCatalogCache.make(
        Effect.suspend(() => Effect.as(Deferred.await(gate), ++loads))
      )
      const first = yield* Effect.fork(get)
      yield* Effect.yieldNow()
      const second = yield* Effect.fork(get)
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(first)
      yield* forget
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(second), 1)
      assert.strictEqual(yield* get, 1)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* get, 2)
    }))
})
