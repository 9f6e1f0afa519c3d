/**
 * Reads that are answered in one turn, from what is kept in memory: they answer as all others do, or not at all.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, HashMap, Ref } from "effect"
import * as LogBlock from "../../src/domain/LogBlock.ts"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import * as BlockCache from "../../src/engine/BlockCache.ts"
import type { Consumer } from "../../src/engine/Consumer.ts"
import { KeptBytes } from "../../src/engine/KeptBytes.ts"
import { RecentBlocks } from "../../src/engine/RecentBlocks.ts"
import { ShapeEntry } from "../../src/engine/ShapeCatalog.ts"
import type { LogBody } from "../../src/engine/ShapeEngine.ts"
import * as ShapeReader from "../../src/engine/ShapeReader.ts"
import { ShapeStorage } from "../../src/storage/ShapeStorage.ts"
import { layerFrom } from "../../src/storage/ShapeStorageMemory.ts"
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

/** As many rows to a transaction as make more than one piece of a body. */
const MANY = 700

/** The pieces of a body, of which each must be had in one turn. */
const piecesOf = ({ unsafeNext }: LogBody): ReadonlyArray<Uint8Array> => {
  const pieces: Array<Uint8Array> = []
  while (true) {
    const piece = unsafeNext!()
    if (piece === undefined) return pieces
    if (Effect.isEffect(piece)) return assert.fail("a piece could not be had in one turn")
    pieces.push(piece)
  }
}

const text = (pieces: ReadonlyArray<Uint8Array>) => Buffer.concat(pieces).toString()

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

describe("bodies in one turn", () => {
  /** A reader of a store that can be read in one turn. */
  const setUp = Effect.gen(function*() {
    const parts = yield* makeParts({ groupMillis: 3_600_000, chunkBytes: 100_000_000 })
    const { unsafe } = yield* Effect.provide(ShapeStorage, layerFrom(parts.state))
    const reader = ShapeReader.make({
      registry: parts.consumers.registry,
      unsafeConsumer: parts.consumers.unsafeRegistered,
      storage: { ...parts.storage, unsafe },
      lastSeen: () => 0n
    })
    return { ...parts, reader, consumer: (yield* parts.consumers.get(parts.entry))! }
  })

  it.scoped("are those that are waited for, from the tail, the store and both", () =>
    Effect.gen(function*() {
      const { committer, consumer, consumers, entry, reader } = yield* setUp
      const compare = Effect.gen(function*() {
        for (const after of [LogOffset.snapshotEnd, at(100), LogOffset.make(200n, 300), at(300)]) {
          const inTurn = yield* reader.read(entry, after)
          const waited = yield* reader.read(entry, after)
          const pieces = piecesOf(inTurn.body)
          assert.isTrue(pieces.every(({ length }) => length <= ShapeReader.PIECE_BYTES))
          assert.strictEqual(text(pieces), yield* bodyText({ ...waited.body, ready: undefined }))
          if (waited.body.ready) assert.strictEqual(text(waited.body.ready), text(pieces))
        }
      })
      for (const lsn of [100n, 200n, 300n]) yield* offer(consumer, transactions(MANY, lsn))
      yield* compare
      yield* committer.flush
      yield* compare
      for (const lsn of [400n, 500n, 600n]) yield* offer(consumer, transactions(3, lsn))
      yield* compare
      yield* committer.flush
      yield* consumers.endIdle(Infinity)
      yield* compare
    }))

  it.scoped("share the bytes of what others read", () =>
    Effect.gen(function*() {
      const { committer, consumer, entry, reader } = yield* setUp
      const shared = Effect.gen(function*() {
        const [one, other] = [yield* reader.read(entry, LogOffset.snapshotEnd), yield* reader.read(entry, at(100))]
        const [first, second] = [piecesOf(one.body), piecesOf(other.body)]
        assert.isAbove(second.length, 1)
        const buffers = new Set(first.map(({ buffer }) => buffer))
        assert.isTrue(second.slice(1).every(({ buffer }) => buffers.has(buffer)))
      })
      for (const lsn of [100n, 200n, 300n, 400n]) yield* offer(consumer, transactions(MANY, lsn))
      yield* shared
      yield* committer.flush
      yield* shared
    }))

  it.scoped("are given whole when they are in memory and at most 256 KiB long", () =>
    Effect.gen(function*() {
      const { committer, consumer, entry, reader } = yield* setUp
      const bodyAfter = (after: LogOffset.LogOffset) => Effect.map(reader.read(entry, after), ({ body }) => body)
      let size = 0
      for (let lsn = 100n; size < 600_000; lsn += 100n) {
        yield* offer(consumer, transactions(MANY, lsn))
        size = text(piecesOf(yield* bodyAfter(LogOffset.snapshotEnd))).length
      }
      const check = Effect.gen(function*() {
        let whole = 0
        for (let tx = 100n; tx <= entry.end.tx; tx += 100n) {
          const body = yield* bodyAfter(LogOffset.make(tx, 0))
          const { length } = text(piecesOf(yield* bodyAfter(LogOffset.make(tx, 0))))
          assert.strictEqual(body.ready !== undefined, length <= 4 * ShapeReader.PIECE_BYTES, `${tx}: ${length}`)
          assert.strictEqual(body.length, body.ready && length)
          if (body.ready) whole++
        }
        assert.isAbove(whole, 1)
      })
      yield* check
      yield* committer.flush
      yield* check
    }))

  it.scoped("are left to who can wait when the store fails or the shape is gone", () =>
    Effect.gen(function*() {
      const { committer, consumer, entry, reader, storage } = yield* setUp
      yield* offer(consumer, transactions(MANY, 100n))
      yield* committer.flush
      const failing = ShapeReader.make({
        registry: Ref.unsafeMake(HashMap.empty<string, Consumer>()),
        unsafeConsumer: () => undefined,
        storage: { ...storage, unsafe: { snapshotBlock: () => undefined, logBlock: () => undefined } },
        lastSeen: () => 0n
      })
      const { body } = yield* failing.read(entry, LogOffset.snapshotEnd)
      const next = body.unsafeNext!()
      if (!Effect.isEffect(next)) return assert.fail("it was had in one turn")
      // What was not run has taken nothing.
      assert.strictEqual(yield* bodyText(body), text(piecesOf((yield* reader.read(entry, LogOffset.snapshotEnd)).body)))
      const gone = yield* reader.read(entry, LogOffset.snapshotEnd)
      entry.markRemoved()
      const last = gone.body.unsafeNext!()
      if (!Effect.isEffect(last)) return assert.fail("a removed shape has no pieces")
      assert.strictEqual((yield* Effect.flip(last))._tag, "ShapeGone")
    }))
})

describe("bytes that are kept", () => {
  it("are the most recently used, within the limit", () => {
    const kept = new KeptBytes(5_000)
    const piece = Buffer.alloc(1_000)
    for (const key of ["a", "b", "c"]) kept.set(key, piece)
    assert.strictEqual(kept.get("a"), piece)
    kept.set("d", piece)
    assert.deepStrictEqual(["a", "b", "c", "d"].filter((key) => kept.get(key)), ["a", "c", "d"])
    kept.set("long", Buffer.alloc(6_000))
    assert.strictEqual(kept.bytes(), 0)
    kept.set("e", piece)
    kept.set("e", piece)
    assert.strictEqual(kept.bytes(), 1_500)
  })
})
