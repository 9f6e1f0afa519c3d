/** What a materializer stores of its counts, and what a start makes of it: also after a kill between any two commits. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FastCheck as fc, Scope } from "effect"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import { SLICE_COUNTS } from "../../src/engine/Checkpoint.ts"
import type { Fragment } from "../../src/engine/Consumer.ts"
import type { Materializer } from "../../src/engine/Materializer.ts"
import type { StoreOp } from "../../src/storage/ShapeStorage.ts"
import { crashed, makeState, type MemoryState, unflushed } from "../../src/storage/ShapeStorageMemory.ts"
import { ioError } from "../support/FaultyStorage.ts"
import {
  type Change,
  counted,
  inPieces,
  insert,
  keyOf,
  type Life,
  life,
  remove,
  SHAPE,
  stored,
  Table,
  update
} from "../support/Materializing.ts"
import { inOrder } from "../support/Simulation.ts"

const rows = (count: number) =>
  Array.from({ length: count }, (_, i) => [`r${i}`, i % 7 === 0 ? null : `t${i % 50}`] as const)

const inStore = (state: MemoryState) => [...state.shapes.get(SHAPE)!.counts].sort(([a], [b]) => a < b ? -1 : 1)
const markOf = (state: MemoryState) => state.shapes.get(SHAPE)!.countsAt

/** One life over a store; ended afterwards, as it should end. */
const during = <A, E>(
  state: MemoryState,
  use: (alive: Life, materializer: Materializer) => Effect.Effect<A, E>,
  options: { readonly from?: bigint; readonly slice?: number } = {}
) =>
  Effect.gen(function*() {
    const alive = yield* life(state)
    const scope = yield* Scope.make()
    const materializer = yield* Scope.extend(alive.materialize(options.from, options.slice), scope)
    yield* materializer.settled
    const result = yield* use(alive, materializer)
    yield* Scope.close(scope, Exit.void)
    yield* alive.close
    return result
  })

/** Commits until the counts in the store stand for something. */
const untilMarked = ({ parts }: Life, state: MemoryState) =>
  Effect.gen(function*() {
    for (let turn = 0; turn < 1000; turn++) {
      yield* parts.committer.flush
      if (markOf(state)) return
    }
    assert.fail("the counts are never whole")
  })

const prepared = (table: Table) =>
  Effect.gen(function*() {
    const state = makeState()
    yield* stored(state, table)
    yield* during(state, (alive) => untilMarked(alive, state))
    return state
  })

describe("a checkpoint", () => {
  it.scoped("is what a start begins with: neither the snapshot nor the log before it is read again", () =>
    Effect.gen(function*() {
      const table = new Table(rows(300))
      const state = makeState()
      yield* stored(state, table)
      yield* during(state, (alive) =>
        Effect.gen(function*() {
          yield* alive.offer(table.commit(10n, insert("a", "A"), remove("r1")))
          yield* untilMarked(alive, state)
          yield* alive.offer(table.commit(20n, insert("b", "A"), update("r2", "B")))
          yield* alive.parts.committer.flush
        }))
      assert.deepStrictEqual(inStore(state), table.counts())
      assert.deepStrictEqual(markOf(state), { offset: LogOffset.make(20n, Infinity), values: table.counts().length })
      // A life without materializer: the log goes on, the counts do not.
      const alone = yield* life(state)
      yield* alone.offer(table.commit(30n, insert("c", "C"), remove("b")))
      yield* alone.close
      const shape = state.shapes.get(SHAPE)!
      shape.snapshot.clear()
      shape.log.splice(0, shape.log.findIndex(({ block }) => block.includes("\"C\"")))
      yield* during(state, (alive, materializer) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(counted(materializer.set), table.counts())
          yield* alive.parts.committer.flush
          assert.deepStrictEqual(inStore(state), table.counts())
          assert.strictEqual(markOf(state)?.offset.tx, 30n)
        }))
    }))

  it.scoped("goes with the commit that stores the log it stands for", () =>
    Effect.gen(function*() {
      const table = new Table(rows(20))
      const state = yield* prepared(table)
      yield* during(state, ({ offer, parts }) =>
        Effect.gen(function*() {
          yield* offer(table.commit(10n, insert("a", "A")))
          yield* offer(table.commit(20n, remove("a"), insert("b", null)))
          yield* parts.committer.flush
          const commit = parts.faults.asked.find(({ ops }) => ops.some(({ _tag }) => _tag === "PutHead"))!
          const tags = commit.ops.map(({ _tag }) => _tag)
          assert.include(tags, "PutCount")
          assert.include(tags, "PutCountsAt")
          const head = commit.ops.find((op) => op._tag === "PutHead")
          assert.strictEqual(head?._tag === "PutHead" && head.head.end.tx, 20n)
          assert.strictEqual(markOf(state)?.offset.tx, 20n)
        }))
    }))

  it.scoped("is written in slices, and stands for nothing until the last", () =>
    Effect.gen(function*() {
      const count = 2 * SLICE_COUNTS + 100
      const table = new Table(Array.from({ length: count }, (_, i) => [`${i}`, `t${i}`] as const))
      const state = makeState()
      yield* stored(state, table)
      yield* during(state, (alive) =>
        Effect.gen(function*() {
          const { asked } = alive.parts.faults
          const countsOf = (ops: ReadonlyArray<StoreOp>) => ops.filter(({ _tag }) => _tag === "PutCount").length
          const marksOf = (from: number) =>
            asked.slice(from).flatMap(({ ops }) =>
              ops.flatMap((op) => op._tag === "PutCountsAt" ? [op.at?.values] : [])
            )
          yield* untilMarked(alive, state)
          for (const { ops } of asked) assert.isAtMost(countsOf(ops), SLICE_COUNTS)
          assert.deepStrictEqual(marksOf(0), [count])
          assert.deepStrictEqual(inStore(state), table.counts())
          const before = asked.length
          const changes = Array.from({ length: count }, (_, i): Change => remove(`${i}`))
          yield* alive.offer(table.commit(10n, ...changes, insert("x", "x")))
          yield* alive.parts.committer.flush
          assert.isUndefined(markOf(state))
          yield* untilMarked(alive, state)
          for (const { ops } of asked) assert.isAtMost(countsOf(ops), SLICE_COUNTS)
          assert.deepStrictEqual(marksOf(before), [undefined, 1])
          assert.deepStrictEqual(inStore(state), table.counts())
        }))
    }))

  it.scoped("that did not get to its end is made anew, and nothing of it is left", () =>
    Effect.gen(function*() {
      const table = new Table(rows(300))
      const state = makeState()
      yield* stored(state, table)
      yield* during(state, (alive) => alive.parts.committer.flush, { slice: 10 })
      assert.isUndefined(markOf(state))
      assert.isAbove(inStore(state).length, 0)
      // What was stored of these is wrong by the next start.
      const alone = yield* life(state)
      const changes = [...table.rows.keys()].filter((_, i) => i < 200).map((id) => remove(id))
      yield* alone.offer(table.commit(10n, ...changes))
      yield* alone.close
      yield* during(state, (alive, materializer) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(counted(materializer.set), table.counts())
          yield* untilMarked(alive, state)
          assert.deepStrictEqual(inStore(state), table.counts())
        }), { slice: 10 })
    }))

  for (const damaged of [false, true]) {
    it.scoped(`that the stream has not got to yet is taken back to where it is${damaged ? ", also if not used" : ""}`, () =>
      Effect.gen(function*() {
        const table = new Table(rows(50))
        const state = makeState()
        yield* stored(state, table)
        yield* during(state, (alive) =>
          Effect.gen(function*() {
            yield* untilMarked(alive, state)
            yield* alive.offer(table.commit(10n, insert("a", "A")))
            yield* alive.offer(table.commit(20n, insert("b", "B"), remove("a")))
            yield* alive.offer(table.commit(30n, insert("a", "A"), remove("b"), insert("d", "D")))
            yield* alive.parts.committer.flush
          }))
        assert.strictEqual(markOf(state)?.offset.tx, 30n)
        if (damaged) {
          const { counts } = state.shapes.get(SHAPE)!
          counts.delete(keyOf("D"))
          counts.set(keyOf("nonsense"), 1)
        }
        const kept = inStore(state)
        yield* during(state, (alive, materializer) =>
          Effect.gen(function*() {
            for (const lsn of [10n, 20n, 30n]) {
              materializer.unsafeAdvance(lsn)
              assert.deepStrictEqual(counted(materializer.set), table.counts(lsn), `at ${lsn}`)
              yield* alive.parts.committer.flush
              // What is stored already stays until the set has got there.
              if (lsn < 30n) assert.deepStrictEqual(inStore(state), kept)
            }
            yield* alive.offer(table.commit(40n, insert("c", "C")))
            while (markOf(state)?.offset.tx !== 40n) yield* alive.parts.committer.flush
            assert.deepStrictEqual(inStore(state), table.counts())
          }), { from: 10n })
      }))
  }

  const damages: ReadonlyArray<readonly [string, (state: MemoryState) => void]> = [
    ["lacks a value", (state) => state.shapes.get(SHAPE)!.counts.delete(keyOf("t1"))],
    ["has a value too many", (state) => state.shapes.get(SHAPE)!.counts.set(keyOf("nonsense"), 2)],
    ["has a value of no row", (state) => {
      const { counts } = state.shapes.get(SHAPE)!
      counts.delete(keyOf("t1"))
      counts.set(keyOf("nonsense"), 1)
      // Then the log takes out more than there is.
    }],
    ["stands for more than the log has", (state) => {
      state.shapes.get(SHAPE)!.countsAt = { offset: LogOffset.make(99n, Infinity), values: inStore(state).length }
    }]
  ]
  for (const [name, damage] of damages) {
    it.scoped(`that ${name} is not used`, () =>
      Effect.gen(function*() {
        const table = new Table(rows(100))
        const state = yield* prepared(table)
        const alone = yield* life(state)
        const gone = [...table.rows].filter(([, title]) => title === "t1").map(([id]) => remove(id))
        yield* alone.offer(table.commit(10n, ...gone))
        yield* alone.close
        damage(state)
        yield* during(state, (alive, materializer) =>
          Effect.gen(function*() {
            assert.deepStrictEqual(counted(materializer.set), table.counts())
            yield* alive.offer(table.commit(20n, insert("a", "nonsense"), insert("b", "t1")))
            while (markOf(state)?.offset.tx !== 20n) yield* alive.parts.committer.flush
            assert.deepStrictEqual(inStore(state), table.counts())
          }))
      }))
  }

  it.scoped("that can't be read is not used", () =>
    Effect.gen(function*() {
      const table = new Table(rows(100))
      const state = yield* prepared(table)
      const alive = yield* life(state)
      // The mark, once to know whether there is one.
      yield* alive.parts.faults.failNextRead(ioError)
      yield* alive.parts.faults.failNextRead(ioError)
      const materializer = yield* alive.materialize()
      assert.deepStrictEqual(counted(materializer.set), table.counts())
      yield* alive.offer(table.commit(10n, remove("r1")))
      while (markOf(state)?.offset.tx !== 10n) yield* alive.parts.committer.flush
      assert.deepStrictEqual(inStore(state), table.counts())
      yield* alive.close
    }))

  it.scoped("is given up when what was left of another one can't be read", () =>
    Effect.gen(function*() {
      const table = new Table(rows(100))
      const state = yield* prepared(table)
      state.shapes.get(SHAPE)!.counts.delete(keyOf("t1"))
      const alive = yield* life(state)
      const { faults } = alive.parts
      const materializer = yield* alive.materialize()
      // It waits for the end of the first page's commit, or has not asked for the page yet.
      for (let n = 0; n < 3; n++) yield* faults.failNextRead(ioError)
      yield* alive.offer(table.commit(10n, insert("a", "A")))
      for (let n = 0; n < 10; n++) yield* alive.parts.committer.flush
      assert.isUndefined(markOf(state))
      const since = faults.asked.length
      yield* alive.offer(table.commit(20n, insert("b", "B")))
      yield* alive.parts.committer.flush
      const tags = faults.asked.slice(since).flatMap(({ ops }) => ops.map(({ _tag }) => _tag))
      assert.include(tags, "PutLogBlock")
      assert.notInclude(tags, "PutCount")
      assert.deepStrictEqual(counted(materializer.set), table.counts())
      yield* alive.close
      yield* during(state, (alive, materializer) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(counted(materializer.set), table.counts())
          yield* untilMarked(alive, state)
          assert.deepStrictEqual(inStore(state), table.counts())
        }))
    }))

  it.scoped("of a shape that is removed goes with it", () =>
    Effect.gen(function*() {
      const table = new Table(rows(100))
      const state = yield* prepared(table)
      yield* during(state, (alive) =>
        Effect.gen(function*() {
          yield* alive.offer(table.commit(10n, insert("a", "A")))
          alive.parts.committer.unsafeEnqueue([{ _tag: "RemoveShape", shape: SHAPE }])
          alive.entry.markRemoved()
          yield* alive.parts.committer.flush
          yield* alive.parts.committer.flush
          assert.isUndefined(state.shapes.get(SHAPE))
        }))
    }))
})

type Step =
  | { readonly _tag: "commit"; readonly changes: ReadonlyArray<number>; readonly inPieces: boolean }
  | { readonly _tag: "store"; readonly commits: number }
  /** `lost`: commits that the kill takes; `back`: how many transactions before the log's end the stream begins again. */
  | { readonly _tag: "kill"; readonly lost: number; readonly back: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      _tag: fc.constant("commit" as const),
      changes: fc.array(fc.nat(1000), { minLength: 1, maxLength: 5 }),
      inPieces: fc.boolean()
    })
  },
  {
    weight: 4,
    arbitrary: fc.record({ _tag: fc.constant("store" as const), commits: fc.integer({ min: 1, max: 12 }) })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      _tag: fc.constant("kill" as const),
      lost: fc.constantFrom(0, 0, 0, 1, 2, 4),
      back: fc.nat(4)
    })
  }
)

/** Changes that a table can have, out of any numbers. */
const changesOf = (table: Table, numbers: ReadonlyArray<number>, lsn: bigint): ReadonlyArray<Change> => {
  const ids = new Set(table.rows.keys())
  return numbers.map((number, n): Change => {
    const title = number % 5 === 0 ? null : `t${number % 5}`
    const id = [...ids][number % Math.max(ids.size, 1)]
    if (id === undefined || number % 3 === 0) {
      const added = `${lsn}.${n}`
      ids.add(added)
      return insert(added, title)
    }
    if (number % 3 === 1) return update(id, number % 7 === 0 ? undefined : title)
    ids.delete(id)
    return remove(id)
  })
}

describe("killed between any two commits", () => {
  it.prop(
    "a materializer's set is what it was, at every transaction that the stream sends again",
    [fc.array(step, { minLength: 5, maxLength: 25 }), fc.integer({ min: 1, max: 4 })],
    ([steps, slice]) => {
      const simulation = inOrder()
      simulation.run(Effect.gen(function*() {
        const table = new Table(rows(12))
        let state = makeState()
        yield* stored(state, table)
        let alive = yield* life(state)
        let scope = yield* Scope.make()
        let materializer = yield* Scope.extend(alive.materialize(0n, slice), scope)
        const pieces = new Map<bigint, boolean>()
        let lsn = 0n

        const check = Effect.fnUntraced(function*(at: bigint) {
          yield* materializer.settled
          assert.deepStrictEqual(counted(materializer.set), table.counts(at), `at ${at}`)
          const mark = markOf(state)
          if (mark) assert.deepStrictEqual(inStore(state), table.counts(mark.offset.tx), `stored at ${mark.offset.tx}`)
        })
        /** As the stream sends it. */
        const send = Effect.fnUntraced(function*(fragment: Fragment) {
          const { lsn } = fragment.transaction
          materializer.unsafeAdvance(lsn)
          yield* alive.offer(...(pieces.get(lsn) ? inPieces(fragment) : [fragment]))
          yield* check(lsn)
        })

        for (const step of steps) {
          switch (step._tag) {
            case "commit": {
              lsn += 10n
              pieces.set(lsn, step.inPieces && step.changes.length > 1)
              yield* send(table.commit(lsn, ...changesOf(table, step.changes, lsn)))
              break
            }
            case "store":
              for (let n = 0; n < step.commits; n++) yield* alive.parts.committer.flush
              break
            case "kill": {
              const next = crashed(state, Math.min(step.lost, unflushed(state)))
              yield* Scope.close(scope, Exit.void)
              yield* alive.close
              state = next
              const end = state.shapes.get(SHAPE)!.head?.end.tx ?? 0n
              const before = [0n, ...table.transactions.map(({ transaction }) => transaction.lsn)].filter((at) =>
                at <= end
              )
              const from = before[Math.max(0, before.length - 1 - step.back)]!
              alive = yield* life(state)
              scope = yield* Scope.make()
              materializer = yield* Scope.extend(alive.materialize(from, slice), scope)
              yield* check(from)
              for (const fragment of table.transactions) if (fragment.transaction.lsn > from) yield* send(fragment)
            }
          }
          yield* check(lsn)
        }
        for (let turn = 0; !markOf(state) && turn < 200; turn++) yield* alive.parts.committer.flush
        yield* check(lsn)
        assert.strictEqual(markOf(state)?.offset.tx ?? -1n, state.shapes.get(SHAPE)!.head?.end.tx ?? 0n)
        yield* Scope.close(scope, Exit.void)
        yield* alive.close
      }))
    },
    { fastCheck: { numRuns: 100 } }
  )
})
