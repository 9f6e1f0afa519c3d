/** What tests are given to simulate with: a memory store that loses what was not flushed, and a store that fails on command. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option } from "effect"
import { make as offset } from "../../src/domain/LogOffset.ts"
import { ShapeStorage } from "../../src/storage/ShapeStorage.ts"
import * as ShapeStorageMemory from "../../src/storage/ShapeStorageMemory.ts"
import * as Faulty from "../support/FaultyStorage.ts"
import { applied, putHead, putShape } from "./fixtures.ts"
import { life } from "./ShapeStorageContract.ts"

const commitOf = (n: bigint) => ({ ops: [putShape(1), putHead(1, offset(n, 0))], applied: applied(n) })

const build = Effect.gen(function*() {
  const context = yield* Layer.build(Layer.provide(Faulty.layer, ShapeStorageMemory.layer))
  return { store: Context.get(context, ShapeStorage), faults: Context.get(context, Faulty.FaultyStorage) }
})

describe("a crash of the memory store", () => {
  it.effect("takes the last commits that were not flushed, in whole, and no others", () =>
    Effect.gen(function*() {
      const state = ShapeStorageMemory.makeState()
      yield* life(ShapeStorageMemory.layerFrom(state), (store) =>
        Effect.gen(function*() {
          yield* store.commit(commitOf(1n))
          yield* store.commit(commitOf(2n))
          yield* store.flushed
          yield* store.commit(commitOf(3n))
          yield* store.commit(commitOf(4n))
        }))
      assert.strictEqual(ShapeStorageMemory.unflushed(state), 2)
      for (const [lost, left] of [[0, 4n], [1, 3n], [2, 2n], [9, 2n]] as const) {
        const after = ShapeStorageMemory.crashed(state, lost)
        const loaded = yield* life(ShapeStorageMemory.layerFrom(after), (store) => store.load)
        assert.strictEqual(loaded.applied?.lsn, left)
        assert.deepStrictEqual(loaded.shapes[0]?.head?.end, offset(left, 0))
        assert.strictEqual(ShapeStorageMemory.unflushed(after), 0)
      }
    }))
})

describe("FaultyStorage", () => {
  it.scoped("failNextCommit fails that commit, which changes nothing, and no other", () =>
    Effect.gen(function*() {
      const { faults, store } = yield* build
      yield* store.commit(commitOf(1n))
      yield* faults.failNextCommit(Faulty.ioError)
      yield* faults.failNextCommit()
      assert.strictEqual((yield* Effect.flip(store.commit(commitOf(2n)))).cause, Faulty.ioError.cause)
      assert.strictEqual((yield* Effect.flip(store.commit(commitOf(2n)))).cause, Faulty.diskFull.cause)
      assert.strictEqual((yield* store.load).applied?.lsn, 1n)
      yield* store.commit(commitOf(2n))
      assert.strictEqual((yield* store.load).applied?.lsn, 2n)
      assert.strictEqual(faults.asked.length, 4)
    }))

  it.scoped("failCommitsUntil fails them until the latch opens", () =>
    Effect.gen(function*() {
      const { faults, store } = yield* build
      const space = yield* Effect.makeLatch()
      yield* faults.failCommitsUntil(space)
      const retrying = yield* Effect.fork(
        Effect.retry(Effect.zipRight(Effect.yieldNow(), store.commit(commitOf(1n))), { times: 1000 })
      )
      yield* faults.commitsFailed(3)
      assert.strictEqual((yield* store.load).applied, undefined)
      yield* space.open
      yield* Fiber.join(retrying)
      assert.strictEqual((yield* store.load).applied?.lsn, 1n)
    }))

  it.scoped("a commit held before the store is not visible, one held after it is; neither can be interrupted", () =>
    Effect.gen(function*() {
      const { faults, store } = yield* build
      yield* faults.commits.close
      yield* faults.completions.close
      const fiber = yield* Effect.fork(store.commit(commitOf(1n)))
      yield* faults.commits.stopped(1)
      assert.strictEqual((yield* store.load).applied, undefined)
      yield* faults.commits.open
      yield* faults.completions.stopped(1)
      assert.strictEqual((yield* store.load).applied?.lsn, 1n)
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* Effect.yieldNow()
      assert.isTrue(Option.isNone(yield* Fiber.poll(interruption)))
      yield* faults.completions.open
      yield* Fiber.join(interruption)
      yield* faults.commitsApplied(1)
    }))

  it.scoped("held commits pass in the order in which they came", () =>
    Effect.gen(function*() {
      const { faults, store } = yield* build
      yield* faults.commits.close
      const fibers = yield* Effect.forEach([1n, 2n, 3n], (n) => Effect.fork(store.commit(commitOf(n))))
      yield* faults.commits.stopped(3)
      yield* faults.commits.open
      yield* Fiber.joinAll(fibers)
      assert.strictEqual((yield* store.load).applied?.lsn, 3n)
    }))

  it.scoped("flushes and reads fail and wait too", () =>
    Effect.gen(function*() {
      const { faults, store } = yield* build
      yield* faults.failNextFlush()
      yield* faults.failNextRead()
      assert.strictEqual((yield* Effect.flip(store.flushed))._tag, "StorageError")
      assert.strictEqual((yield* Effect.flip(store.snapshotBlock(1, 0, 0)))._tag, "StorageError")
      yield* store.flushed
      yield* faults.flushes.close
      const flush = yield* Effect.fork(store.flushed)
      yield* faults.flushes.stopped(1)
      yield* faults.flushes.open
      yield* Fiber.join(flush)
    }))
})
