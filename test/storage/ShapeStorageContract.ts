/** What every `ShapeStorage` has to do: one suite, run over each layer. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Option, type Scope } from "effect"
import type { StorageError } from "../../src/domain/Errors.ts"
import { beforeAll as beforeAllOffsets, make as offset, snapshotEnd } from "../../src/domain/LogOffset.ts"
import { BLOCK_BYTES, COUNTS_PAGE, MAX_SCRATCH, ShapeStorage, type StoreOp } from "../../src/storage/ShapeStorage.ts"
import { call, clause, column, constant, INT8, isNull, or, TEXT } from "../where/Expressions.ts"
import {
  allCounts,
  applied,
  at,
  dropScratch,
  logBlock,
  putChunkEnd,
  putCount,
  putCountsAt,
  putHead,
  putLogBlock,
  putScratch,
  putShape,
  putSnapshotBlock,
  record,
  removeShape,
  shown,
  snapshot,
  truncateLog
} from "./fixtures.ts"

/** A place for one store. Building the layer again, after it was closed, is a restart. */
export type Place = Effect.Effect<Layer.Layer<ShapeStorage, StorageError>, never, Scope.Scope>

/** Runs in one life of the store at `layer`: it is open during the effect and closed after it. */
export const life = <A, E, R>(
  layer: Layer.Layer<ShapeStorage, StorageError>,
  use: (store: typeof ShapeStorage.Service) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | StorageError, Exclude<R, ShapeStorage>> =>
  Effect.provide(Effect.flatMap(ShapeStorage, use), layer)

export const shapeStorageContract = (name: string, place: Place): void => {
  /** One test in one life of a fresh store. */
  const inOneLife = (
    title: string,
    use: (store: typeof ShapeStorage.Service) => Effect.Effect<void, StorageError | void>
  ) => it.scoped(title, () => Effect.flatMap(place, (layer) => life(layer, use)))

  const commitAll = (store: typeof ShapeStorage.Service, ...ops: ReadonlyArray<StoreOp>) => store.commit({ ops })

  describe(`ShapeStorage (${name})`, () => {
    inOneLife("an empty store", (store) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* store.load, { applied: undefined, shapes: [], unfinished: false, nextId: 1 })
        assert.isTrue(Option.isNone(yield* store.snapshotBlock(1, 0, 0)))
        assert.isTrue(Option.isNone(yield* store.logBlock(1, beforeAllOffsets)))
        assert.isTrue(Option.isNone(yield* store.chunkEnd(1, beforeAllOffsets)))
        yield* store.flushed
        assert.isAtLeast(yield* store.diskBytes, 0)
        yield* store.commit({ ops: [] })
        assert.deepStrictEqual(yield* store.load, { applied: undefined, shapes: [], unfinished: false, nextId: 1 })
      }))

    describe("the catalog", () => {
      inOneLife(
        "records, heads, position and the unfinished mark come back as they were put",
        (store) =>
          Effect.gen(function*() {
            yield* store.commit({
              ops: [putShape(7, snapshot), putShape(3), putHead(7, offset(2n ** 64n - 1n, 2 ** 53 - 1), 12345678901)],
              applied: applied(2n ** 63n + 11n),
              unfinished: true
            })
            assert.deepStrictEqual(yield* store.load, {
              applied: applied(2n ** 63n + 11n),
              shapes: [
                { record: record(3), head: undefined },
                {
                  record: record(7, snapshot),
                  head: { end: offset(2n ** 64n - 1n, 2 ** 53 - 1), chunkBytes: 12345678901 }
                }
              ],
              unfinished: true,
              nextId: 8
            })
          })
      )

      inOneLife("the head of an empty log is 0_inf", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putShape(1), putHead(1, snapshotEnd))
          assert.deepStrictEqual((yield* store.load).shapes[0]?.head, { end: snapshotEnd, chunkBytes: 0 })
        }))

      inOneLife("a record and a head replace what was there", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putShape(1), putHead(1, snapshotEnd))
          yield* commitAll(store, putShape(1, snapshot), putHead(1, offset(9n, 2), 77))
          assert.deepStrictEqual((yield* store.load).shapes, [
            { record: record(1, snapshot), head: { end: offset(9n, 2), chunkBytes: 77 } }
          ])
        }))

      inOneLife("position and unfinished mark stay when a commit has none", (store) =>
        Effect.gen(function*() {
          yield* store.commit({ ops: [], applied: applied(5n), unfinished: true })
          yield* commitAll(store, putShape(1))
          const kept = yield* store.load
          assert.deepStrictEqual(kept.applied, applied(5n))
          assert.isTrue(kept.unfinished)
          yield* store.commit({ ops: [], unfinished: false })
          assert.isFalse((yield* store.load).unfinished)
        }))

      inOneLife("a where clause comes back", (store) =>
        Effect.gen(function*() {
          const where = clause(
            or(
              call("int8eq", "=", column("id", INT8), constant(INT8, "9007199254740993")),
              isNull(column("name", TEXT))
            )
          )
          const withWhere = { ...record(1), definition: { ...record(1).definition, where } }
          yield* commitAll(store, { _tag: "PutShape", record: withWhere })
          assert.deepStrictEqual((yield* store.load).shapes[0]?.record, withWhere)
        }))
    })

    describe("ids", () => {
      it.scoped("the next id is above every id there ever was", () =>
        Effect.gen(function*() {
          const layer = yield* place
          yield* life(layer, (store) =>
            Effect.gen(function*() {
              yield* commitAll(store, putShape(5), putShape(2))
              assert.strictEqual((yield* store.load).nextId, 6)
              yield* commitAll(store, removeShape(5))
              assert.strictEqual((yield* store.load).nextId, 6)
            }))
          yield* life(layer, (store) =>
            Effect.gen(function*() {
              assert.strictEqual((yield* store.load).nextId, 6)
              yield* commitAll(store, putShape(9), removeShape(9))
              assert.strictEqual((yield* store.load).nextId, 10)
            }))
          assert.strictEqual((yield* life(layer, (store) => store.load)).nextId, 10)
        }))

      inOneLife("an id that was passed over can still be put", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putShape(6))
          yield* commitAll(store, putShape(5))
          assert.deepStrictEqual((yield* store.load).shapes.map(({ record }) => record.id), [5, 6])
        }))

      inOneLife("the highest id", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putShape(0xfffffffe), putSnapshotBlock(0xfffffffe, 0, 0, Buffer.of(1)))
          assert.strictEqual((yield* store.load).nextId, 0xffffffff)
          assert.isTrue(Option.isSome(yield* store.snapshotBlock(0xfffffffe, 0, 0)))
        }))
    })

    describe("commits", () => {
      inOneLife("what could not be stored fails the commit and changes nothing", (store) =>
        Effect.gen(function*() {
          yield* store.commit({ ops: [putShape(1)], applied: applied(1n) })
          const before = yield* store.load
          const bad: ReadonlyArray<StoreOp> = [
            putShape(0),
            putShape(2 ** 32 - 1),
            removeShape(1.5),
            putHead(-1, snapshotEnd),
            putSnapshotBlock(1, 2 ** 32, 0, Buffer.of(1)),
            putSnapshotBlock(1, 0, -1, Buffer.of(1)),
            { _tag: "PutLogBlock", shape: 1, first: beforeAllOffsets, bytes: Buffer.of(1) },
            putChunkEnd(1, offset(2n ** 64n, 0)),
            putChunkEnd(1, offset(1n, 0.5)),
            putHead(1, offset(1n, Number.NaN))
          ]
          for (const op of bad) {
            const error = yield* Effect.flip(store.commit({ ops: [putShape(2), op], applied: applied(2n) }))
            assert.strictEqual(error._tag, "StorageError")
            assert.deepStrictEqual(yield* store.load, before)
          }
          yield* commitAll(store, putShape(2))
          assert.strictEqual((yield* store.load).shapes.length, 2)
        }))

      inOneLife("ops are applied in their order", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putShape(1), putLogBlock(1, at("5_0 5_1")), putChunkEnd(1, offset(5n, 1)))
          yield* commitAll(
            store,
            putLogBlock(1, at("6_0")),
            putChunkEnd(1, offset(6n, 0)),
            truncateLog(1, offset(5n, 1)),
            putLogBlock(1, at("7_0")),
            putChunkEnd(1, offset(7n, 0)),
            putHead(1, offset(6n, 0)),
            putHead(1, offset(7n, 0))
          )
          assert.strictEqual(shown(yield* store.logBlock(1, offset(5n, 1))), "7_0")
          assert.deepStrictEqual(yield* store.chunkEnd(1, offset(5n, 1)), Option.some(offset(7n, 0)))
          assert.deepStrictEqual((yield* store.load).shapes[0]?.head?.end, offset(7n, 0))
        }))

      inOneLife("commits that are asked for at once are applied one after another", (store) =>
        Effect.gen(function*() {
          const count = 300
          yield* Effect.forEach(
            Array.from({ length: count }, (_, n) => n),
            (n) =>
              store.commit({
                ops: [
                  putShape(1),
                  putHead(1, offset(BigInt(n + 1), 0)),
                  // Each takes back what the one before has put: only the order leaves the last.
                  truncateLog(1, beforeAllOffsets),
                  putLogBlock(1, [offset(BigInt(n + 1), 0)])
                ],
                applied: applied(BigInt(n + 1))
              }),
            { concurrency: "unbounded", discard: true }
          )
          const state = yield* store.load
          assert.deepStrictEqual(state.applied, applied(BigInt(count)))
          assert.deepStrictEqual(state.shapes[0]?.head?.end, offset(BigInt(count), 0))
          assert.strictEqual(shown(yield* store.logBlock(1, beforeAllOffsets)), `${count}_0`)
        }))

      inOneLife("a commit that completes can be read, all of it", (store) =>
        Effect.gen(function*() {
          for (let n = 1n; n <= 20n; n++) {
            yield* store.commit({
              ops: [putShape(1), putShape(2), putLogBlock(1, [offset(n, 0)]), putLogBlock(2, [offset(n, 0)])],
              applied: applied(n)
            })
            const before = n === 1n ? beforeAllOffsets : offset(n - 1n, 0)
            assert.strictEqual(shown(yield* store.logBlock(1, before)), `${n}_0`)
            assert.strictEqual(shown(yield* store.logBlock(2, before)), `${n}_0`)
            assert.strictEqual((yield* store.load).applied?.lsn, n)
          }
        }))

      inOneLife("the byte arrays are the caller's again when the commit completes", (store) =>
        Effect.gen(function*() {
          const bytes = new Uint8Array(Buffer.from("abc"))
          const logBytes = logBlock(at("1_0"))
          yield* commitAll(
            store,
            putSnapshotBlock(1, 0, 0, bytes),
            { _tag: "PutLogBlock", shape: 1, first: offset(1n, 0), bytes: logBytes }
          )
          bytes.fill(0)
          logBytes.fill(0)
          assert.strictEqual(String(Option.getOrThrow(yield* store.snapshotBlock(1, 0, 0))), "abc")
          assert.strictEqual(shown(yield* store.logBlock(1, beforeAllOffsets)), "1_0")
        }))
    })

    describe("snapshot blocks", () => {
      inOneLife("are found by chunk and block, whatever their size", (store) =>
        Effect.gen(function*() {
          const contents = [
            Buffer.alloc(0),
            Buffer.of(0),
            Buffer.alloc(BLOCK_BYTES, 1),
            Buffer.alloc(BLOCK_BYTES + 1, 2),
            Buffer.alloc(5_000_000, 3)
          ]
          yield* commitAll(
            store,
            putShape(1),
            ...contents.map((bytes, n) => putSnapshotBlock(1, n, 0, bytes)),
            putSnapshotBlock(1, 0, 1, Buffer.from("0/1")),
            putSnapshotBlock(2, 0, 1, Buffer.from("other shape"))
          )
          for (const [n, bytes] of contents.entries()) {
            const read = Option.getOrThrow(yield* store.snapshotBlock(1, n, 0))
            assert.strictEqual(read.length, bytes.length)
            assert.isTrue(read.equals(bytes))
          }
          assert.strictEqual(String(Option.getOrThrow(yield* store.snapshotBlock(1, 0, 1))), "0/1")
          assert.isTrue(Option.isNone(yield* store.snapshotBlock(1, 0, 2)))
          assert.isTrue(Option.isNone(yield* store.snapshotBlock(1, 5, 0)))
        }))

      inOneLife("what was read does not change when the block does", (store) =>
        Effect.gen(function*() {
          for (const size of [10, BLOCK_BYTES]) {
            yield* commitAll(store, putSnapshotBlock(1, 0, 0, Buffer.alloc(size, 1)))
            const read = Option.getOrThrow(yield* store.snapshotBlock(1, 0, 0))
            yield* commitAll(store, putSnapshotBlock(1, 0, 0, Buffer.alloc(size, 2)))
            yield* store.snapshotBlock(1, 0, 0)
            assert.isTrue(read.equals(Buffer.alloc(size, 1)))
          }
        }))
    })

    describe("the log", () => {
      const blocks = ["1_0 1_1", "1_2 2_0", "2_4294967296 2_4294967297", "5_0", "9223372036854775809_0"]
      const put = blocks.map((offsets) => putLogBlock(1, at(offsets)))

      inOneLife("logBlock is the block with the first entry after the offset", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putShape(1), ...put, putLogBlock(2, at("3_0")))
          const cases: ReadonlyArray<readonly [string, number]> = [
            ["0_0", 0],
            ["0_inf", 0],
            ["1_0", 0],
            ["1_1", 1],
            ["1_2", 1],
            ["1_inf", 1],
            ["2_0", 2],
            ["2_4294967295", 2],
            ["2_4294967296", 2],
            ["2_4294967297", 3],
            ["2_inf", 3],
            ["4_7", 3],
            ["5_0", 4],
            ["9223372036854775808_inf", 4],
            ["9223372036854775809_0", 5]
          ]
          assert.strictEqual(shown(yield* store.logBlock(1, beforeAllOffsets)), blocks[0])
          for (const [after, expected] of cases) {
            assert.strictEqual(
              shown(yield* store.logBlock(1, at(after)[0]!)),
              blocks[expected] ?? "none",
              `after ${after}`
            )
          }
          assert.strictEqual(shown(yield* store.logBlock(3, beforeAllOffsets)), "none")
        }))

      inOneLife("two readers of one log do not disturb each other", (store) =>
        Effect.gen(function*() {
          const count = 100
          yield* commitAll(
            store,
            ...Array.from({ length: count }, (_, n) => putLogBlock(1, [offset(BigInt(n + 1), 0)]))
          )
          let slow = beforeAllOffsets
          let fast = beforeAllOffsets
          for (let n = 1; n <= count; n++) {
            assert.strictEqual(shown(yield* store.logBlock(1, fast)), `${n}_0`)
            fast = offset(BigInt(n), 0)
            if (n % 3 === 0) {
              assert.strictEqual(shown(yield* store.logBlock(1, slow)), `${n / 3}_0`)
              slow = offset(BigInt(n / 3), 0)
            }
          }
          assert.strictEqual(shown(yield* store.logBlock(1, fast)), "none")
        }))

      inOneLife("a tail block is replaced by a longer one under a reader", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putLogBlock(1, at("1_0")), putLogBlock(1, at("2_0")))
          assert.strictEqual(shown(yield* store.logBlock(1, offset(1n, 0))), "2_0")
          assert.strictEqual(shown(yield* store.logBlock(1, offset(2n, 0))), "none")
          yield* commitAll(store, putLogBlock(1, at("2_0 2_1"), 500))
          assert.strictEqual(shown(yield* store.logBlock(1, offset(2n, 0))), "2_0 2_1")
          yield* commitAll(store, putLogBlock(1, at("2_0 2_1 3_0"), 500), putLogBlock(1, at("4_0")))
          assert.strictEqual(shown(yield* store.logBlock(1, offset(2n, 1))), "2_0 2_1 3_0")
          assert.strictEqual(shown(yield* store.logBlock(1, offset(3n, 0))), "4_0")
        }))

      inOneLife("TruncateLog deletes the blocks and chunk ends after an offset", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putShape(1), ...put, putChunkEnd(1, offset(2n, 0)), putChunkEnd(1, offset(5n, 0)))
          yield* commitAll(store, putLogBlock(2, at("9_0")), putSnapshotBlock(1, 0, 0, Buffer.of(1)))
          // A reader on the way has to notice.
          assert.strictEqual(shown(yield* store.logBlock(1, offset(1n, 1))), blocks[1])
          yield* commitAll(store, truncateLog(1, offset(2n, 0)))
          assert.strictEqual(shown(yield* store.logBlock(1, offset(2n, 0))), "none")
          assert.strictEqual(shown(yield* store.logBlock(1, offset(1n, 1))), blocks[1])
          assert.deepStrictEqual(yield* store.chunkEnd(1, beforeAllOffsets), Option.some(offset(2n, 0)))
          assert.deepStrictEqual(yield* store.chunkEnd(1, offset(2n, 0)), Option.none())
          assert.strictEqual(shown(yield* store.logBlock(2, beforeAllOffsets)), "9_0")
          assert.isTrue(Option.isSome(yield* store.snapshotBlock(1, 0, 0)))
          yield* commitAll(store, putLogBlock(1, at("3_0")))
          assert.strictEqual(shown(yield* store.logBlock(1, offset(2n, 0))), "3_0")
          yield* commitAll(store, truncateLog(1, beforeAllOffsets))
          assert.strictEqual(shown(yield* store.logBlock(1, beforeAllOffsets)), "none")
          assert.deepStrictEqual(yield* store.chunkEnd(1, beforeAllOffsets), Option.none())
        }))

      inOneLife("a block that begins before the truncation stays whole", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putLogBlock(1, at("1_0 2_0 3_0")), putLogBlock(1, at("4_0")))
          yield* commitAll(store, truncateLog(1, offset(2n, 0)))
          assert.strictEqual(shown(yield* store.logBlock(1, offset(2n, 0))), "1_0 2_0 3_0")
          assert.strictEqual(shown(yield* store.logBlock(1, offset(3n, 0))), "none")
          yield* commitAll(store, putLogBlock(1, at("1_0 2_0")))
          assert.strictEqual(shown(yield* store.logBlock(1, offset(2n, 0))), "none")
        }))

      inOneLife("chunkEnd is the first end after the offset", (store) =>
        Effect.gen(function*() {
          const ends = at("1_5 1_6 9_0 18446744073709551615_9007199254740991")
          yield* commitAll(store, ...ends.map((end) => putChunkEnd(1, end)), putChunkEnd(2, offset(3n, 0)))
          let after = beforeAllOffsets
          for (const end of ends) {
            const found = yield* store.chunkEnd(1, after)
            assert.deepStrictEqual(found, Option.some(end))
            after = end
          }
          assert.deepStrictEqual(yield* store.chunkEnd(1, after), Option.none())
          assert.deepStrictEqual(yield* store.chunkEnd(1, snapshotEnd), Option.some(ends[0]!))
          assert.deepStrictEqual(yield* store.chunkEnd(1, offset(1n, Infinity)), Option.some(ends[2]!))
        }))
    })

    describe("counts", () => {
      const long = "x".repeat(100_000)

      inOneLife("come back as they were put, whatever the value", (store) =>
        Effect.gen(function*() {
          const values = [
            "",
            "1",
            "\u0100",
            "a\u0101\u0100",
            "\u0000",
            "ÿ",
            "grün 🌱",
            "x".repeat(400),
            "é".repeat(201),
            long
          ]
          yield* commitAll(
            store,
            ...values.map((value, n) => putCount(1, value, n + 1)),
            putCount(1, long + "y", 2 ** 48 - 1),
            putCount(2, "1", 7)
          )
          const expected = new Map([...values.map((value, n) => [value, n + 1] as const), [long + "y", 2 ** 48 - 1]])
          const read = yield* allCounts(store, 1)
          assert.deepStrictEqual([...read].sort(), [...expected].sort())
          assert.deepStrictEqual([...yield* allCounts(store, 2)], [["1", 7]])
          assert.deepStrictEqual([...yield* allCounts(store, 3)], [])
        }))

      inOneLife("replace what was there, and 0 deletes", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, putCount(1, "a", 1), putCount(1, "b", 1), putCount(1, long, 1), putCount(1, "c", 0))
          yield* commitAll(
            store,
            putCount(1, "a", 5),
            putCount(1, "b", 0),
            putCount(1, long, 0),
            putCount(1, "gone", 0)
          )
          assert.deepStrictEqual([...yield* allCounts(store, 1)], [["a", 5]])
          yield* commitAll(store, putCount(1, "a", 0), putCount(1, "a", 2), putCount(1, "b", 2), putCount(1, "b", 0))
          assert.deepStrictEqual([...yield* allCounts(store, 1)], [["a", 2]])
        }))

      inOneLife("are read in pages", (store) =>
        Effect.gen(function*() {
          const count = 2 * COUNTS_PAGE + 10
          yield* commitAll(store, ...Array.from({ length: count }, (_, n) => putCount(1, String(n), n + 1)))
          assert.isAtMost((yield* store.counts(1, undefined)).length, COUNTS_PAGE)
          const read = yield* allCounts(store, 1)
          assert.strictEqual(read.size, count)
          for (let n = 0; n < count; n++) assert.strictEqual(read.get(String(n)), n + 1)
          // After a value that is not there any more.
          const [first, ...rest] = yield* store.counts(1, undefined)
          yield* commitAll(store, putCount(1, first!.value, 0))
          assert.deepStrictEqual((yield* store.counts(1, first!.value))[0], rest[0])
        }))

      inOneLife("stand for an offset, or for nothing", (store) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* store.countsAt(1), Option.none())
          const at = { offset: offset(2n ** 64n - 1n, 2 ** 53 - 1), values: 2 ** 40 }
          yield* commitAll(store, putCountsAt(1, { offset: snapshotEnd, values: 0 }), putCountsAt(2, at))
          assert.deepStrictEqual(yield* store.countsAt(1), Option.some({ offset: snapshotEnd, values: 0 }))
          yield* commitAll(store, putCountsAt(1, at), putCountsAt(2, undefined))
          assert.deepStrictEqual(yield* store.countsAt(1), Option.some(at))
          assert.deepStrictEqual(yield* store.countsAt(2), Option.none())
        }))

      inOneLife("are no blocks, and no truncation touches them", (store) =>
        Effect.gen(function*() {
          yield* commitAll(
            store,
            putLogBlock(1, at("1_0")),
            putChunkEnd(1, offset(1n, 0)),
            putCount(1, "a", 1),
            putCountsAt(1, { offset: offset(1n, 0), values: 1 })
          )
          assert.strictEqual(shown(yield* store.logBlock(1, offset(1n, 0))), "none")
          assert.deepStrictEqual(yield* store.chunkEnd(1, offset(1n, 0)), Option.none())
          yield* commitAll(store, truncateLog(1, beforeAllOffsets))
          assert.deepStrictEqual([...yield* allCounts(store, 1)], [["a", 1]])
          assert.deepStrictEqual(yield* store.countsAt(1), Option.some({ offset: offset(1n, 0), values: 1 }))
        }))

      for (
        const [name, op] of [
          ["a negative count", putCount(1, "a", -1)],
          ["half a row", putCount(1, "a", 0.5)],
          ["a count that is too large", putCount(1, "a", 2 ** 48)],
          ["an offset before everything", putCountsAt(1, { offset: beforeAllOffsets, values: 1 })],
          ["a negative number of values", putCountsAt(1, { offset: snapshotEnd, values: -1 })]
        ] as const
      ) {
        inOneLife(`refused: ${name}`, (store) =>
          Effect.gen(function*() {
            const error = yield* Effect.flip(commitAll(store, putCount(1, "b", 1), op))
            assert.strictEqual(error instanceof Error && error._tag, "StorageError")
            assert.deepStrictEqual([...yield* allCounts(store, 1)], [])
          }))
      }
    })

    describe("removal", () => {
      const shapeOps = (id: number, blocks: number): ReadonlyArray<StoreOp> => [
        putShape(id, snapshot),
        putHead(id, offset(1n, 0)),
        putLogBlock(id, at("1_0")),
        putChunkEnd(id, offset(1n, 0)),
        putCount(id, "a", 1),
        putCount(id, "x".repeat(1000), 1),
        putCountsAt(id, { offset: offset(1n, 0), values: 2 }),
        ...Array.from({ length: blocks }, (_, n) => putSnapshotBlock(id, 0, n, Buffer.of(n)))
      ]

      /** Completes when the blocks of `shapeOps` are gone: every turn waits for a commit, and so lets the store get on. */
      const swept = Effect.fnUntraced(function*(store: typeof ShapeStorage.Service, id: number, blocks: number) {
        const isLeft = Effect.all([store.snapshotBlock(id, 0, blocks - 1), store.logBlock(id, beforeAllOffsets)]).pipe(
          Effect.map((reads) => reads.some(Option.isSome)),
          Effect.zipWith(store.chunkEnd(id, beforeAllOffsets), (left, end) => left || Option.isSome(end)),
          Effect.zipWith(store.countsAt(id), (left, at) => left || Option.isSome(at)),
          Effect.zipWith(store.counts(id, undefined), (left, page) => left || page.length > 0)
        )
        for (let turn = 0; turn < 1000 && (yield* isLeft); turn++) {
          yield* commitAll(store, putHead(1000, snapshotEnd, turn))
        }
        assert.isFalse(yield* isLeft)
      })

      inOneLife(
        "the record vanishes with the commit, the blocks soon, and other shapes stay",
        (store) =>
          Effect.gen(function*() {
            yield* commitAll(store, ...shapeOps(1, 1), ...shapeOps(2, 700), ...shapeOps(3, 1))
            yield* commitAll(store, removeShape(2))
            assert.deepStrictEqual((yield* store.load).shapes.map(({ record }) => record.id), [1, 3])
            yield* swept(store, 2, 700)
            for (const id of [1, 3]) {
              assert.isTrue(Option.isSome(yield* store.snapshotBlock(id, 0, 0)))
              assert.strictEqual(shown(yield* store.logBlock(id, beforeAllOffsets)), "1_0")
              assert.isTrue(Option.isSome(yield* store.chunkEnd(id, beforeAllOffsets)))
              assert.isTrue(Option.isSome(yield* store.countsAt(id)))
              assert.strictEqual((yield* allCounts(store, id)).size, 2)
            }
          })
      )

      it.scoped("blocks that are left when the store closes are deleted after the next start", () =>
        Effect.gen(function*() {
          const layer = yield* place
          yield* life(layer, (store) =>
            Effect.gen(function*() {
              yield* commitAll(store, ...shapeOps(1, 1), ...shapeOps(2, 700))
              yield* commitAll(store, removeShape(2))
            }))
          yield* life(layer, (store) =>
            Effect.gen(function*() {
              assert.deepStrictEqual((yield* store.load).shapes.map(({ record }) => record.id), [1])
              yield* commitAll(store, putShape(2), putHead(2, snapshotEnd))
              assert.isTrue(Option.isSome(yield* store.snapshotBlock(1, 0, 0)))
              yield* swept(store, 2, 700)
            }))
        }))

      inOneLife("a writer that is late brings nothing back", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, ...shapeOps(1, 1))
          yield* commitAll(store, removeShape(1), ...shapeOps(1, 2))
          yield* commitAll(store, ...shapeOps(1, 2), truncateLog(1, beforeAllOffsets), removeShape(1))
          assert.deepStrictEqual((yield* store.load).shapes, [])
          yield* swept(store, 1, 2)
          yield* commitAll(store, ...shapeOps(1, 2))
          assert.deepStrictEqual((yield* store.load).shapes, [])
          yield* swept(store, 1, 2)
          assert.isTrue(Option.isNone(yield* store.snapshotBlock(1, 0, 0)))
        }))

      inOneLife("a shape that is put and removed by one commit leaves nothing", (store) =>
        Effect.gen(function*() {
          yield* commitAll(store, ...shapeOps(1, 2), removeShape(1), ...shapeOps(2, 1))
          const { nextId, shapes } = yield* store.load
          assert.deepStrictEqual(shapes.map(({ record }) => record.id), [2])
          assert.strictEqual(nextId, 3)
          assert.isTrue(Option.isNone(yield* store.snapshotBlock(1, 0, 0)))
          assert.isTrue(Option.isSome(yield* store.snapshotBlock(2, 0, 0)))
        }))
    })

    describe("scratch pages", () => {
      const pagesOf = (store: typeof ShapeStorage.Service, pages: ReadonlyArray<number>) =>
        Effect.forEach(
          pages,
          (page) => Effect.map(store.scratch(page), Option.match({ onNone: () => "", onSome: String }))
        )

      inOneLife("are put, put anew and dropped", (store) =>
        Effect.gen(function*() {
          const pages = [0, 1, 2, 256, MAX_SCRATCH]
          yield* commitAll(store, ...pages.map((page) => putScratch(page, Buffer.from(`page ${page}`))))
          assert.deepStrictEqual(yield* pagesOf(store, [...pages, 3]), [...pages.map((page) => `page ${page}`), ""])
          yield* commitAll(store, putScratch(1, Buffer.from("again")), dropScratch(2, 256))
          assert.deepStrictEqual(yield* pagesOf(store, pages), ["page 0", "again", "", "", `page ${MAX_SCRATCH}`])
          yield* commitAll(store, dropScratch(1, 1), dropScratch(MAX_SCRATCH, MAX_SCRATCH))
          assert.deepStrictEqual(yield* pagesOf(store, pages), ["page 0", "", "", "", ""])
        }))

      inOneLife("of one commit: the last op of a page counts", (store) =>
        Effect.gen(function*() {
          yield* commitAll(
            store,
            putScratch(1, Buffer.from("a")),
            putScratch(2, Buffer.from("b")),
            dropScratch(0, 1),
            dropScratch(2, 2),
            putScratch(2, Buffer.from("c"))
          )
          assert.deepStrictEqual(yield* pagesOf(store, [0, 1, 2]), ["", "", "c"])
        }))

      inOneLife("that can't be are refused", (store) =>
        Effect.gen(function*() {
          for (
            const op of [putScratch(-1, Buffer.of()), putScratch(MAX_SCRATCH + 1, Buffer.of()), dropScratch(0, 0.5)]
          ) {
            assert.strictEqual((yield* Effect.flip(commitAll(store, op))).operation, "commit")
          }
        }))

      it.scoped("are gone after a restart", () =>
        Effect.gen(function*() {
          const layer = yield* place
          const pages = Array.from({ length: 300 }, (_, page) => page)
          yield* life(layer, (store) =>
            commitAll(
              store,
              putShape(1),
              putHead(1, offset(2n, 1), 24),
              ...pages.map((page) => putScratch(page, Buffer.from("left")))
            ))
          yield* life(layer, (store) =>
            Effect.gen(function*() {
              assert.deepStrictEqual(
                yield* pagesOf(store, pages),
                pages.map(() => "")
              )
              assert.strictEqual((yield* store.load).shapes.length, 1)
            }))
        }))
    })

    it.scoped("all of it survives a restart", () =>
      Effect.gen(function*() {
        const layer = yield* place
        yield* life(layer, (store) =>
          store.commit({
            ops: [
              putShape(1, snapshot),
              putHead(1, offset(2n, 1), 24),
              putSnapshotBlock(1, 2, 1, Buffer.from("rows")),
              putLogBlock(1, at("1_0")),
              putLogBlock(1, at("2_0 2_1")),
              putChunkEnd(1, offset(1n, 0)),
              putCount(1, "a", 3),
              putCountsAt(1, { offset: offset(1n, 0), values: 1 })
            ],
            applied: applied(2n),
            unfinished: true
          }))
        yield* life(layer, (store) =>
          Effect.gen(function*() {
            assert.deepStrictEqual(yield* store.load, {
              applied: applied(2n),
              shapes: [{ record: record(1, snapshot), head: { end: offset(2n, 1), chunkBytes: 24 } }],
              unfinished: true,
              nextId: 2
            })
            assert.strictEqual(String(Option.getOrThrow(yield* store.snapshotBlock(1, 2, 1))), "rows")
            assert.strictEqual(shown(yield* store.logBlock(1, offset(1n, 0))), "2_0 2_1")
            assert.deepStrictEqual(yield* store.chunkEnd(1, beforeAllOffsets), Option.some(offset(1n, 0)))
            assert.deepStrictEqual([...yield* allCounts(store, 1)], [["a", 3]])
            assert.deepStrictEqual(yield* store.countsAt(1), Option.some({ offset: offset(1n, 0), values: 1 }))
          }))
      }))
  })
}
