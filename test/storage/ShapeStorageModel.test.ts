/** Random histories: LMDB, memory and a model that is too simple to be wrong hold the same, whatever is committed, read and restarted in between. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, FastCheck as fc, Layer, Option, Scope } from "effect"
import {
  beforeAll as beforeAllOffsets,
  compare,
  type LogOffset,
  make as offset,
  snapshotEnd
} from "../../src/domain/LogOffset.ts"
import { type CountsAt, ShapeStorage, type StoredState, type StoreOp } from "../../src/storage/ShapeStorage.ts"
import * as ShapeStorageLmdb from "../../src/storage/ShapeStorageLmdb.ts"
import * as ShapeStorageMemory from "../../src/storage/ShapeStorageMemory.ts"
import {
  allCounts,
  applied,
  dropScratch,
  offsetsOf,
  putChunkEnd,
  putCount,
  putCountsAt,
  putHead,
  putLogBlock,
  putScratch,
  putShape,
  putSnapshotBlock,
  removeShape,
  snapshot,
  truncateLog
} from "./fixtures.ts"
import { temporaryDirectory } from "./temporaryDirectory.ts"

const SHAPES = 3

type Step =
  | {
    readonly _tag: "append"
    readonly shape: number
    readonly entries: number
    readonly gap: number
    readonly newTx: boolean
    readonly chunkEnd: boolean
  }
  | { readonly _tag: "extendTail"; readonly shape: number; readonly entries: number }
  | { readonly _tag: "truncate"; readonly shape: number; readonly back: number }
  | {
    readonly _tag: "snapshotBlock"
    readonly shape: number
    readonly chunk: number
    readonly block: number
    readonly size: number
  }
  | { readonly _tag: "head"; readonly shape: number; readonly bytes: number }
  | { readonly _tag: "put"; readonly shape: number; readonly done: boolean }
  | { readonly _tag: "remove"; readonly shape: number }
  | { readonly _tag: "count"; readonly shape: number; readonly value: string; readonly count: number }
  | { readonly _tag: "countsAt"; readonly shape: number; readonly known: boolean }
  | { readonly _tag: "putScratch"; readonly shape: number; readonly page: number; readonly size: number }
  | { readonly _tag: "dropScratch"; readonly shape: number; readonly from: number; readonly to: number }

interface Turn {
  readonly steps: ReadonlyArray<Step>
  readonly withPosition: boolean
  readonly unfinished: boolean | undefined
  /** Then so many blocks are read on, by the reader of each shape. */
  readonly reads: number
  readonly restart: boolean
}

const shape = fc.integer({ min: 1, max: SHAPES })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      _tag: fc.constant("append" as const),
      shape,
      entries: fc.integer({ min: 1, max: 4 }),
      gap: fc.integer({ min: 1, max: 3 }),
      newTx: fc.boolean(),
      chunkEnd: fc.boolean()
    })
  },
  {
    weight: 3,
    arbitrary: fc.record({ _tag: fc.constant("extendTail" as const), shape, entries: fc.integer({ min: 1, max: 3 }) })
  },
  { weight: 2, arbitrary: fc.record({ _tag: fc.constant("truncate" as const), shape, back: fc.nat(12) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      _tag: fc.constant("snapshotBlock" as const),
      shape,
      chunk: fc.nat(1),
      block: fc.nat(2),
      size: fc.integer({ min: 0, max: 70_000 })
    })
  },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("head" as const), shape, bytes: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("put" as const), shape, done: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("remove" as const), shape }) },
  {
    weight: 3,
    arbitrary: fc.record({
      _tag: fc.constant("count" as const),
      shape,
      value: fc.constantFrom("", "1", "2", "\u0100", "\u0101", "x".repeat(500)),
      count: fc.nat(2)
    })
  },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("countsAt" as const), shape, known: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      _tag: fc.constant("putScratch" as const),
      shape,
      page: fc.nat(4),
      size: fc.integer({ min: 0, max: 70_000 })
    })
  },
  {
    weight: 1,
    arbitrary: fc.record({ _tag: fc.constant("dropScratch" as const), shape, from: fc.nat(4), to: fc.nat(4) })
  }
)
const turn: fc.Arbitrary<Turn> = fc.record({
  steps: fc.array(step, { maxLength: 6 }),
  withPosition: fc.boolean(),
  unfinished: fc.option(fc.boolean(), { nil: undefined }),
  reads: fc.nat(3),
  restart: fc.boolean()
})

/** Holds everything in the plainest way, and looks through all of it for each answer. */
const makeModel = () => {
  let state: StoredState = { applied: undefined, shapes: [], unfinished: false, nextId: 1 }
  const removed = new Set<number>()
  const blocks: Array<{ readonly shape: number; readonly first: LogOffset; readonly bytes: Buffer }> = []
  const ends: Array<{ readonly shape: number; readonly end: LogOffset }> = []
  const snapshots = new Map<string, Buffer>()
  const counts = new Map<string, number>()
  const countsAt = new Map<number, CountsAt>()
  const scratch = new Map<number, Buffer>()
  const heads = new Map<number, StoredState["shapes"][number]["head"]>()
  const records = new Map<number, StoredState["shapes"][number]["record"]>()

  const dropWhere = <A>(array: Array<A>, drop: (a: A) => boolean) => {
    array.splice(0, array.length, ...array.filter((a) => !drop(a)))
  }

  return {
    blocksOf: (shape: number) => blocks.filter((block) => block.shape === shape),
    isRemoved: (shape: number) => removed.has(shape),
    setPosition: (change: Partial<StoredState>) => {
      state = { ...state, ...change }
    },
    restart: () => scratch.clear(),
    apply: (op: StoreOp) => {
      if (op._tag === "PutScratch") {
        scratch.set(op.page, Buffer.from(op.bytes))
        return
      }
      if (op._tag === "DropScratch") {
        for (let page = op.from; page <= op.to; page++) scratch.delete(page)
        return
      }
      const shape = op._tag === "PutShape" ? op.record.id : op.shape
      if (removed.has(shape)) return
      switch (op._tag) {
        case "PutShape":
          records.set(shape, op.record)
          state = { ...state, nextId: Math.max(state.nextId, shape + 1) }
          return
        case "RemoveShape":
          removed.add(shape)
          records.delete(shape)
          heads.delete(shape)
          return
        case "PutHead":
          heads.set(shape, op.head)
          return
        case "PutSnapshotBlock":
          snapshots.set(`${shape}/${op.chunk}/${op.block}`, Buffer.from(op.bytes))
          return
        case "PutLogBlock":
          dropWhere(blocks, (block) => block.shape === shape && compare(block.first, op.first) === 0)
          blocks.push({ shape, first: op.first, bytes: Buffer.from(op.bytes) })
          blocks.sort((a, b) => compare(a.first, b.first))
          return
        case "PutChunkEnd":
          dropWhere(ends, ({ end, shape: of }) => of === shape && compare(end, op.end) === 0)
          ends.push({ shape, end: op.end })
          ends.sort((a, b) => compare(a.end, b.end))
          return
        case "TruncateLog":
          dropWhere(blocks, (block) => block.shape === shape && compare(block.first, op.after) > 0)
          dropWhere(ends, ({ end, shape: of }) => of === shape && compare(end, op.after) > 0)
          return
        case "PutCount":
          counts.set(`${shape}/${op.value}`, op.count)
          return
        case "PutCountsAt":
          if (op.at) countsAt.set(shape, op.at)
          else countsAt.delete(shape)
      }
    },
    load: (): StoredState => ({
      ...state,
      shapes: [...records.values()].sort((a, b) => a.id - b.id).map((record) => ({
        record,
        head: heads.get(record.id)
      }))
    }),
    logBlock: (shape: number, after: LogOffset) =>
      blocks.find((block) =>
        block.shape === shape && offsetsOf(block.bytes).some((offset) => compare(offset, after) > 0)
      )?.bytes,
    chunkEnd: (shape: number, after: LogOffset) =>
      ends.find(({ end, shape: of }) => of === shape && compare(end, after) > 0)?.end,
    counts: (shape: number) =>
      [...counts].flatMap(([key, count]) =>
        key.startsWith(`${shape}/`) && count > 0 ? [[key.slice(key.indexOf("/") + 1), count] as const] : []
      ),
    countsAt: (shape: number) => countsAt.get(shape),
    scratch: (page: number) => scratch.get(page),
    snapshotBlock: (shape: number, chunk: number, block: number) => snapshots.get(`${shape}/${chunk}/${block}`)
  }
}

type Model = ReturnType<typeof makeModel>

const opsOf = (model: Model, ids: ReadonlyArray<number>, step: Step): ReadonlyArray<StoreOp> => {
  const id = ids[step.shape - 1]!
  const blocks = model.blocksOf(id)
  const tail = blocks[blocks.length - 1]
  const offsets = blocks.flatMap((block) => offsetsOf(block.bytes))
  const last = offsets[offsets.length - 1] ?? offset(1n, 0)
  switch (step._tag) {
    case "append": {
      const first = step.newTx ? offset(last.tx + BigInt(step.gap), step.gap - 1) : offset(last.tx, last.op + step.gap)
      const entries = Array.from({ length: step.entries }, (_, n) => offset(first.tx, first.op + n))
      const ends = step.chunkEnd ? [putChunkEnd(id, entries[entries.length - 1]!)] : []
      return [putLogBlock(id, entries, 5 + step.gap), ...ends]
    }
    case "extendTail": {
      if (tail === undefined) return []
      const kept = offsetsOf(tail.bytes)
      const from = kept[kept.length - 1]!
      const more = Array.from({ length: step.entries }, (_, n) => offset(from.tx, from.op + 1 + n))
      return [putLogBlock(id, [...kept, ...more], 9)]
    }
    case "truncate":
      return [truncateLog(id, offsets[offsets.length - 1 - step.back] ?? beforeAllOffsets)]
    case "snapshotBlock":
      return [putSnapshotBlock(id, step.chunk, step.block, Buffer.alloc(step.size, step.size))]
    case "head":
      return [putHead(id, last, step.bytes)]
    case "put":
      return [putShape(id, step.done ? snapshot : undefined)]
    case "remove":
      return [removeShape(id)]
    case "count":
      return [putCount(id, step.value, step.count)]
    case "countsAt":
      return [putCountsAt(id, step.known ? { offset: last, values: offsets.length } : undefined)]
    case "putScratch":
      return [putScratch(step.page, Buffer.alloc(step.size, step.size))]
    case "dropScratch":
      return [dropScratch(step.from, step.to)]
  }
}

/** A store that can be closed and opened again. */
const restartable = Effect.fnUntraced(function*(layer: Layer.Layer<ShapeStorage, unknown>) {
  const start = Effect.gen(function*() {
    const scope = yield* Scope.make()
    return { scope, store: Context.get(yield* Layer.buildWithScope(layer, scope), ShapeStorage) }
  })
  let life = yield* start
  yield* Effect.addFinalizer(() => Scope.close(life.scope, Exit.void))
  return {
    current: () => life.store,
    restart: Effect.gen(function*() {
      yield* Scope.close(life.scope, Exit.void)
      life = yield* start
    })
  }
})

const sameBytes = (actual: Option.Option<Buffer>, expected: Buffer | undefined, what: string) => {
  const read = Option.getOrUndefined(actual)
  if (read === undefined || expected === undefined) assert.strictEqual(read, expected, what)
  else if (!read.equals(expected)) assert.fail(`${what}: other bytes`)
}

const checkAll = Effect.fnUntraced(
  function*(model: Model, store: typeof ShapeStorage.Service, ids: ReadonlyArray<number>) {
    assert.deepStrictEqual(yield* store.load, model.load())
    for (let page = 0; page < 5; page++) {
      sameBytes(yield* store.scratch(page), model.scratch(page), `scratch page ${page}`)
    }
    for (const id of ids) {
      // What is left of a removed shape may be read or not.
      if (model.isRemoved(id)) continue
      const entries = model.blocksOf(id).flatMap((block) => offsetsOf(block.bytes))
      for (
        const after of [
          beforeAllOffsets,
          snapshotEnd,
          ...entries,
          ...entries.map(({ op, tx }) => offset(tx, op + 1))
        ]
      ) {
        const expected = model.logBlock(id, after)
        sameBytes(yield* store.logBlock(id, after), expected, `block after ${after.tx}_${after.op}`)
        sameBytes(Option.fromNullable(store.unsafe!.logBlock(id, after)), expected, "the same in one turn")
        assert.deepStrictEqual(Option.getOrUndefined(yield* store.chunkEnd(id, after)), model.chunkEnd(id, after))
      }
      assert.deepStrictEqual([...yield* allCounts(store, id)].sort(), [...model.counts(id)].sort())
      assert.deepStrictEqual(Option.getOrUndefined(yield* store.countsAt(id)), model.countsAt(id))
      for (let n = 0; n < 6; n++) {
        const [chunk, block] = [n % 2, n >> 1]
        sameBytes(
          yield* store.snapshotBlock(id, chunk, block),
          model.snapshotBlock(id, chunk, block),
          `snapshot ${chunk}/${block}`
        )
        assert.deepStrictEqual(
          store.unsafe!.snapshotBlock(id, chunk, block),
          Option.getOrUndefined(yield* store.snapshotBlock(id, chunk, block))
        )
      }
    }
  }
)

describe("ShapeStorage against a model", () => {
  it.scoped.prop(
    "whatever happens, all hold the same",
    [fc.array(turn, { minLength: 3, maxLength: 12 })],
    ([turns]) =>
      Effect.gen(function*() {
        const directory = yield* temporaryDirectory
        const model = makeModel()
        const lmdb = yield* restartable(ShapeStorageLmdb.layer({ directory }))
        const memory = yield* restartable(ShapeStorageMemory.layerFrom(ShapeStorageMemory.makeState()))
        const ids: Array<number> = [1, 2, 3]
        const all = [...ids]
        const readers = new Map<number, LogOffset>()
        let lsn = 0n
        for (const turn of turns) {
          const ops: Array<StoreOp> = []
          for (const step of turn.steps) {
            const next = opsOf(model, ids, step)
            for (const op of next) model.apply(op)
            ops.push(...next)
          }
          const position = turn.withPosition ? applied(++lsn) : undefined
          const commit = {
            ops,
            ...(position && { applied: position }),
            ...(turn.unfinished !== undefined && { unfinished: turn.unfinished })
          }
          model.setPosition({
            ...(position && { applied: position }),
            ...(turn.unfinished !== undefined && { unfinished: turn.unfinished })
          })
          yield* lmdb.current().commit(commit)
          yield* memory.current().commit(commit)
          // Up to here what follows in the same commit went to the removed shape, as from a writer that is late.
          for (const [place, id] of ids.entries()) {
            if (model.isRemoved(id)) all.push(ids[place] = all.length + 1)
          }
          for (let n = 0; n < turn.reads; n++) {
            for (const id of ids) {
              const after = readers.get(id) ?? beforeAllOffsets
              const expected = model.logBlock(id, after)
              sameBytes(yield* lmdb.current().logBlock(id, after), expected, "read on, LMDB")
              sameBytes(yield* memory.current().logBlock(id, after), expected, "read on, memory")
              const entries = expected === undefined ? [] : offsetsOf(expected)
              readers.set(id, entries[entries.length - 1] ?? after)
            }
          }
          if (turn.restart) {
            yield* Effect.all([lmdb.restart, memory.restart])
            model.restart()
            yield* checkAll(model, lmdb.current(), all)
          }
        }
        for (const store of [lmdb.current(), memory.current()]) yield* checkAll(model, store, all)
      }),
    { fastCheck: { numRuns: 25 } }
  )
})
