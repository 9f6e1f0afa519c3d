/**
 * A dead buffer is a typed error that readers recover from to a read of the store (DESIGN D2): the three windows, and whatever may fall between
 * two pieces of a body. What is read is always a gap-free prefix without duplicates.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, HashMap, Option, Ref, TestClock } from "effect"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import type { LogBody } from "../../src/engine/ShapeEngine.ts"
import * as ShapeReader from "../../src/engine/ShapeReader.ts"
import { keys, keysOf, makeParts, offer, readKeys, storedKeys, transactions } from "../support/EngineParts.ts"
import { bodyText } from "../support/EngineWorld.ts"

/** As many rows to a transaction as make more than one piece of a body. */
const MANY = 700
const all = keys(MANY, 100n, 200n, 300n)

const setUp = Effect.gen(function*() {
  const parts = yield* makeParts({ groupMillis: 3_600_000, idleMillis: 1000 })
  const consumer = (yield* parts.consumers.get(parts.entry))!
  for (const lsn of [100n, 200n, 300n]) yield* offer(consumer, transactions(MANY, lsn))
  return { parts, consumer }
})

const idle = TestClock.adjust("10 seconds")

const endOf = (lsn: bigint) => LogOffset.make(lsn, 2 * (MANY - 1))

/** The first piece of a body. */
const first = (body: LogBody) =>
  Effect.map(body.pull, Option.match({ onNone: () => "", onSome: (bytes) => Buffer.from(bytes).toString() }))

describe("the registry still names a buffer that is released", () => {
  it.scoped("the end and the entries come from the store", () =>
    Effect.gen(function*() {
      const { consumer, parts } = yield* setUp
      yield* parts.committer.flush
      yield* idle
      assert.strictEqual(parts.consumers.active(), 0)
      assert.strictEqual((yield* Effect.flip(consumer.buffer.tail))._tag, "BufferGone")
      assert.strictEqual(
        (yield* Effect.flip(consumer.buffer.read(LogOffset.snapshotEnd, endOf(100n), 1)))._tag,
        "BufferGone"
      )
      // A reader that has looked into the registry before it was cleared.
      const stale = yield* Ref.make(HashMap.make([parts.entry.handle, consumer]))
      const reader = ShapeReader.make({ registry: stale, storage: parts.storage, lastSeen: () => 0n })
      assert.deepStrictEqual(yield* reader.end(parts.entry), endOf(300n))
      assert.deepStrictEqual(yield* readKeys(reader, parts.entry), all)
      assert.deepStrictEqual(yield* readKeys(reader, parts.entry, LogOffset.make(200n, 2)), all.slice(MANY + 2))
      const slice = yield* reader.read(parts.entry, endOf(300n))
      assert.isTrue(slice.upToDate)
    }))
})

describe("a reader holds what it had from before the release", () => {
  it.scoped("a tail is not emptied under its reader, and a slice is read to its end", () =>
    Effect.gen(function*() {
      const { consumer, parts } = yield* setUp
      const tail = yield* consumer.buffer.tail
      const blocks = tail.blocks.slice(tail.from, tail.to)
      const slice = yield* parts.reader.read(parts.entry, LogOffset.snapshotEnd)
      yield* parts.committer.flush
      yield* idle
      assert.strictEqual(parts.consumers.active(), 0)
      assert.deepStrictEqual(tail.blocks.slice(tail.from, tail.to), blocks)
      assert.deepStrictEqual(keysOf(yield* bodyText(slice.body)), all)
    }))
})

describe("a reader is half way through", () => {
  const between: ReadonlyArray<
    readonly [string, (set: Effect.Effect.Success<typeof setUp>) => Effect.Effect<unknown>]
  > = [
    ["a flush", ({ parts }) => parts.committer.flush],
    ["the release", ({ parts }) => Effect.zipRight(parts.committer.flush, idle)],
    ["an append", ({ consumer }) => offer(consumer, transactions(1, 400n))],
    [
      "a flush and an append",
      ({ consumer, parts }) => Effect.zipRight(parts.committer.flush, offer(consumer, transactions(1, 400n)))
    ],
    ["the consumer's end, its return and an append", ({ parts }) =>
      Effect.gen(function*() {
        yield* parts.consumers.stop(parts.entry)
        yield* offer((yield* parts.consumers.get(parts.entry))!, transactions(1, 400n))
      })]
  ]
  for (const [name, happens] of between) {
    it.scoped(`${name} comes between two pieces`, () =>
      Effect.gen(function*() {
        const set = yield* setUp
        const { parts } = set
        // After each piece in turn.
        const slice = yield* parts.reader.read(parts.entry, LogOffset.snapshotEnd)
        const begin = yield* first(slice.body)
        assert.isAbove(begin.length, 0)
        assert.isBelow(keysOf(begin).length, all.length)
        yield* happens(set)
        assert.deepStrictEqual(keysOf(begin + (yield* bodyText(slice.body))), all)
        assert.deepStrictEqual((yield* readKeys(parts.reader, parts.entry)).slice(0, all.length), all)
      }))
  }

  it.scoped("the flush that ends the consumer is on its way between every two pieces", () =>
    Effect.gen(function*() {
      const { consumer, parts } = yield* setUp
      const slice = yield* parts.reader.read(parts.entry, LogOffset.snapshotEnd)
      let text = yield* first(slice.body)
      yield* parts.faults.commits.close
      const ending = yield* Effect.fork(parts.consumers.stop(parts.entry))
      yield* parts.faults.commits.stopped(1)
      text += yield* first(slice.body)
      yield* parts.faults.completions.close
      yield* parts.faults.commits.open
      yield* parts.faults.completions.stopped(1)
      text += yield* first(slice.body)
      yield* parts.faults.completions.open
      yield* Fiber.join(ending)
      assert.strictEqual((yield* Effect.flip(consumer.buffer.tail))._tag, "BufferGone")
      text += yield* bodyText(slice.body)
      assert.deepStrictEqual(keysOf(text), all)
      assert.deepStrictEqual(storedKeys(parts.state), all)
    }))
})
