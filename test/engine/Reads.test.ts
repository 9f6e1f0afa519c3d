/**
 * Reads that are answered in one turn, from what is kept in memory: they answer as all others do, or not at all.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as LogBlock from "../../src/domain/LogBlock.ts"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import * as BlockCache from "../../src/engine/BlockCache.ts"
import { RecentBlocks } from "../../src/engine/RecentBlocks.ts"
import { ShapeEntry } from "../../src/engine/ShapeCatalog.ts"
import * as ShapeReader from "../../src/engine/ShapeReader.ts"
import { makeParts, offer, transactions } from "../support/EngineParts.ts"
import { bodyText } from "../support/EngineWorld.ts"

/** An encoded block of one-byte items at the given transactions. */
const blockOf = (...txs: ReadonlyArray<number>): Buffer =>
  LogBlock.encode({
    tx: BigUint64Array.from(txs, BigInt),
    op: new Float64Array(txs.length),
    end: Uint32Array.from(txs, (_, i) => i + 1),
    body: Buffer.alloc(txs.length, 0x2c)
  })

const at = (tx: number) => LogOffset.make(BigInt(tx), 0)

describe("a read in one turn", () => {
  it.scoped("answers as `read` does, wherever the log's entries are", () =>
    Effect.gen(function*() {
      const parts = yield* makeParts({ chunkBytes: 500 })
      const { consumers, entry, storage } = parts
      const reader = ShapeReader.make({
        registry: consumers.registry,
        unsafeConsumer: consumers.unsafeRegistered,
        storage,
        lastSeen: () => 0n
      })
      let answered = 0
      const compare = Effect.gen(function*() {
        const offsets = [LogOffset.snapshotEnd, at(50), at(900)]
        for (let tx = 100; tx <= 800; tx += 100) {
          for (const op of [0, 1, 2, 4]) offsets.push(LogOffset.make(BigInt(tx), op))
        }
        for (const offset of offsets) {
          const expected = yield* reader.read(entry, offset)
          const slice = reader.unsafeRead(entry, offset)
          if (!slice) continue
          answered += 1
          assert.deepStrictEqual([slice.end, slice.upToDate], [expected.end, expected.upToDate])
          assert.strictEqual(yield* bodyText(slice.body), yield* bodyText(expected.body))
        }
      })
      const append = (...lsns: ReadonlyArray<bigint>) =>
        Effect.gen(function*() {
          const consumer = yield* consumers.get(entry)
          yield* offer(consumer!, transactions(2, ...lsns))
        })
      yield* compare
      yield* append(100n, 200n)
      yield* compare
      yield* parts.committer.flush
      yield* compare
      yield* append(300n, 400n, 500n)
      yield* compare
      yield* parts.committer.flush
      yield* consumers.endIdle(Infinity)
      assert.strictEqual(consumers.active(), 0)
      yield* compare
      yield* append(600n)
      yield* compare
      assert.isAbove(answered, 60)
    }))

  it.scoped("is not answered, and work not offered, while the consumer is ending", () =>
    Effect.gen(function*() {
      const { committer: _, consumers, entry, faults } = yield* makeParts()
      const first = yield* consumers.get(entry)
      assert.strictEqual(consumers.unsafeCurrent(entry), first)
      yield* faults.commits.close
      yield* offer(first!, transactions(1, 100n))
      const stopping = yield* Effect.fork(consumers.stop(entry))
      yield* faults.commits.stopped(1)
      assert.isUndefined(consumers.unsafeCurrent(entry))
      assert.strictEqual(consumers.unsafeRegistered(entry), "ending")
      const second = yield* Effect.fork(consumers.get(entry))
      yield* Effect.yieldNow()
      assert.isNull(second.unsafePoll())
      yield* faults.commits.open
      yield* Fiber.join(stopping)
      const next = yield* Fiber.join(second)
      assert.notStrictEqual(next, first)
      assert.strictEqual(consumers.unsafeCurrent(entry), next)
    }))
})

describe("a chunk of the snapshot", () => {
  it.scoped("that has lost a block is not taken for whole", () =>
    Effect.gen(function*() {
      const { entry, reader, storage } = yield* makeParts()
      const bytes = Buffer.alloc(40_000, 0x2c)
      const put = (block: number) => ({ _tag: "PutSnapshotBlock" as const, shape: entry.id, chunk: 0, block, bytes })
      const record = {
        id: entry.id,
        handle: entry.handle,
        definition: entry.definition,
        snapshot: { marks: { xmin: 1n, xmax: 1n, xip: [], lsn: 0n }, chunks: [80_000] }
      }
      yield* storage.commit({ ops: [{ _tag: "PutShape", record }, put(0)] })
      const damaged = new ShapeEntry(record, undefined, entry.projection, "{}")
      const slice = yield* reader.read(damaged, LogOffset.beforeAll)
      assert.strictEqual((yield* Effect.flip(bodyText(slice.body)))._tag, "ShapeGone")
      yield* storage.commit({ ops: [put(1)] })
      const whole = yield* reader.read(damaged, LogOffset.beforeAll)
      assert.strictEqual((yield* bodyText(whole.body)).length, 80_000)
    }))
})

describe("BlockCache", () => {
  it("answers for the offsets that a block covers, and for no others", () => {
    const cache = BlockCache.make(10_000)
    const block = blockOf(10, 20, 30)
    cache.set(1, LogOffset.snapshotEnd, block)
    for (const after of [LogOffset.snapshotEnd, at(5), at(10), at(25)]) assert.strictEqual(cache.get(1, after), block)
    for (const after of [LogOffset.beforeAll, at(30), at(31)]) assert.isUndefined(cache.get(1, after))
    assert.isUndefined(cache.get(2, at(10)))
    const later = blockOf(50, 60)
    cache.set(1, at(40), later)
    assert.strictEqual(cache.get(1, at(45)), later)
    assert.isUndefined(cache.get(1, at(35)), "what is between the two is not known")
  })

  it("replaces a block by a longer one, and drops the least recently used", () => {
    const short = blockOf(10)
    const long = blockOf(10, 20)
    const cache = BlockCache.make(long.length + short.length)
    cache.set(1, LogOffset.snapshotEnd, short)
    cache.set(1, at(10), long)
    assert.strictEqual(cache.get(1, LogOffset.snapshotEnd), long)
    assert.strictEqual(cache.bytes(), long.length)
    cache.set(2, at(0), short)
    assert.strictEqual(cache.get(1, at(10)), long)
    cache.set(3, at(0), short)
    assert.isUndefined(cache.get(2, at(0)))
    assert.strictEqual(cache.get(1, at(10)), long)
    cache.set(4, at(0), Buffer.alloc(2 * cache.bytes()))
    assert.strictEqual(cache.get(1, at(10)), long)
  })
})

describe("RecentBlocks", () => {
  it("hands out copies, and gives back what leaves", () => {
    const recent = new RecentBlocks()
    const back: Array<Buffer> = []
    const first = Buffer.from("first")
    recent.push(0, 0, first, (bytes) => back.push(bytes))
    const copy = recent.get(0, 0)
    assert.deepStrictEqual(copy, first)
    assert.isUndefined(recent.get(0, 1))
    for (let block = 1; back.length === 0; block++) {
      recent.push(0, block, Buffer.from("next"), (bytes) => back.push(bytes))
    }
    assert.strictEqual(back[0], first)
    assert.isUndefined(recent.get(0, 0))
    first.fill(0)
    assert.strictEqual(String(copy), "first")
  })
})
