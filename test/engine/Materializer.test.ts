/**
 * A materializer's set is that of the inner shape's rows, exactly once at every interleaving (DESIGN D3), and ends cleanly
 * however the inner consumer ends (H163–H168, H170, H193).
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, TestClock } from "effect"
import type { Fragment } from "../../src/engine/Consumer.ts"
import type { Materializer } from "../../src/engine/Materializer.ts"
import { makeState } from "../../src/storage/ShapeStorageMemory.ts"
import { offer, poison } from "../support/EngineParts.ts"
import { ioError } from "../support/FaultyStorage.ts"
import { explore } from "../support/Interleavings.ts"
import {
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

const shown = (materializer: Materializer, tx: bigint) =>
  materializer.set.transitions(tx).map(({ present, texts }) => `${present ? "+" : "-"}${texts[0] ?? "null"}`).sort()

const rows = (count: number) =>
  Array.from({ length: count }, (_, i) => [`r${i}`, i % 7 === 0 ? null : `t${i % 50}`] as const)

const world = Effect.fnUntraced(function*(table: Table, options?: Parameters<typeof stored>[2]) {
  const state = makeState()
  yield* stored(state, table, options)
  const alive = yield* life(state)
  yield* Effect.addFinalizer(() => alive.close)
  return { ...alive, state, table }
})

/** A materializer in a scope of its own. */
const scoped = Effect.fnUntraced(function*(alive: Pick<Life, "materialize">, from?: bigint) {
  const scope = yield* Scope.make()
  const materializer = yield* Scope.extend(alive.materialize(from), scope)
  return { materializer, close: Scope.close(scope, Exit.void) }
})

describe("a materializer's set", () => {
  it.scoped("is that of the snapshot, all of its chunks, and the log, once (H166)", () =>
    Effect.gen(function*() {
      const table = new Table(rows(700))
      const { materialize, offer, table: { counts } } = yield* world(table, { perChunk: 200, blockBytes: 1001 })
      assert.isAbove(counts.call(table).length, 40)
      yield* offer(
        table.commit(10n, insert("a", "new"), update("r1", "moved"), remove("r2")),
        table.commit(20n, update("r3", "t3"), update("r4", null), update("r7", "r7"), update("r5", "t5", "renamed"))
      )
      const materializer = yield* materialize()
      yield* materializer.settled
      assert.deepStrictEqual(counted(materializer.set), table.counts())
      assert.deepStrictEqual(shown(materializer, 10n), [])
    }))

  it.scoped("follows what is appended, and keeps what entered and left", () =>
    Effect.gen(function*() {
      const table = new Table([["1", "a"], ["2", "a"], ["3", null]])
      const { materialize, offer } = yield* world(table)
      const materializer = yield* materialize()
      assert.isTrue(materializer.isSettled())
      const steps: ReadonlyArray<readonly [Fragment, ReadonlyArray<string>]> = [
        [table.commit(10n, insert("4", "b")), ["+b"]],
        [table.commit(20n, update("1", "b"), remove("3")), ["-null"]],
        [table.commit(30n, update("2", undefined, "5")), []],
        [table.commit(40n, remove("5")), ["-a"]],
        [table.commit(50n, insert("6", "c"), remove("6"), insert("6", "c"), update("6", "d")), ["+d"]]
      ]
      for (const [fragment, expected] of steps) {
        yield* offer(fragment)
        // In the turn of the append: nobody has to wait for a small transaction.
        assert.isTrue(materializer.isSettled())
        assert.deepStrictEqual(shown(materializer, fragment.transaction.lsn), expected)
      }
      assert.deepStrictEqual(counted(materializer.set), table.counts())
      assert.isTrue(materializer.set.has(keyOf("a"), 39n))
      assert.isFalse(materializer.set.has(keyOf("a"), 40n))
    }))

  it.scoped("reads large transactions from the log, and what is appended meanwhile", () =>
    Effect.gen(function*() {
      const table = new Table(rows(100))
      const { materialize, offer, parts } = yield* world(table)
      const materializer = yield* materialize()
      const many = Array.from({ length: 3000 }, (_, i) => insert(`x${i}`, `x${i % 900}`))
      const large = inPieces(table.commit(10n, ...many))
      yield* parts.faults.reads.close
      yield* offer(...large)
      assert.isFalse(materializer.isSettled())
      assert.isFalse(materializer.set.has(keyOf("x1"), 10n))
      yield* offer(table.commit(20n, remove("x1"), insert("y", "y")), ...inPieces(table.commit(30n, remove("y"))))
      yield* offer(table.commit(40n, insert("z", "z")))
      yield* parts.faults.reads.open
      yield* materializer.settled
      assert.isTrue(materializer.isSettled())
      assert.deepStrictEqual(counted(materializer.set), table.counts())
      assert.strictEqual(shown(materializer, 10n).length, 900)
      assert.deepStrictEqual(shown(materializer, 20n), ["+y"])
      assert.deepStrictEqual(shown(materializer, 30n), ["-y"])
      yield* offer(table.commit(50n, remove("z")))
      assert.deepStrictEqual(shown(materializer, 50n), ["-z"])
    }))

  it.scoped("what the log has and the stream has not got to comes when it does", () =>
    Effect.gen(function*() {
      const table = new Table([["1", "a"]])
      const { materialize, offer } = yield* world(table)
      yield* offer(
        table.commit(10n, insert("2", "b")),
        table.commit(20n, remove("1"), insert("3", "c")),
        table.commit(30n, insert("4", "a"), remove("3"))
      )
      const materializer = yield* materialize(10n)
      yield* materializer.settled
      assert.deepStrictEqual(counted(materializer.set), table.counts(10n))
      materializer.unsafeAdvance(15n)
      assert.deepStrictEqual(counted(materializer.set), table.counts(10n))
      materializer.unsafeAdvance(20n)
      assert.deepStrictEqual(counted(materializer.set), table.counts(20n))
      assert.deepStrictEqual(shown(materializer, 20n), ["+c", "-a"])
      // A new transaction comes after all of them.
      yield* offer(table.commit(40n, insert("5", "e")))
      assert.deepStrictEqual(shown(materializer, 30n), ["+a", "-c"])
      assert.deepStrictEqual(counted(materializer.set), table.counts())
      assert.isTrue(materializer.set.has(keyOf("a"), 10n))
      assert.isFalse(materializer.set.has(keyOf("a"), 20n))
      assert.isTrue(materializer.set.has(keyOf("a"), 30n))
    }))

  it.scoped("waits for the snapshot to be complete", () =>
    Effect.gen(function*() {
      const table = new Table([["1", "a"]])
      const { entry, materialize, parts } = yield* world(table)
      const { snapshot } = entry
      entry.snapshot = { _tag: "Waiting" }
      const making = yield* Effect.fork(materialize())
      yield* Effect.yieldNow()
      assert.strictEqual(parts.consumers.active(), 0)
      entry.snapshotAdvanced(snapshot)
      const materializer = yield* Fiber.join(making)
      assert.deepStrictEqual(counted(materializer.set), table.counts())
    }))
})

describe("every transaction is in the set exactly once (H163, H193)", () => {
  const setUp = (before: (table: Table) => ReadonlyArray<Fragment>) =>
    Effect.gen(function*() {
      const table = new Table([["1", "a"], ["2", "b"]])
      const alive = yield* world(table)
      yield* alive.offer(...before(table))
      return alive
    })
  const settledCounts = (alive: Life) =>
    Effect.gen(function*() {
      const { materializer } = yield* scoped(alive)
      yield* materializer.settled
      return materializer
    })
  type Made = Materializer | undefined

  const check = (
    { parts, table }: { readonly parts: Life["parts"]; readonly table: Table },
    made: ReadonlyArray<Made>
  ) =>
    Effect.gen(function*() {
      for (const materializer of made) {
        if (!materializer) continue
        yield* materializer.settled
        assert.deepStrictEqual(counted(materializer.set), table.counts())
      }
      yield* parts.committer.flush
      const kept = parts.state.shapes.get(SHAPE)!
      if (kept.countsAt) assert.deepStrictEqual([...kept.counts].sort(), [...table.counts()])
    })

  it("whatever it meets: appending, small and large", () => {
    const n = explore<Effect.Effect.Success<ReturnType<typeof setUp>>, Made, unknown>({
      setup: setUp((table) => [table.commit(10n, insert("3", "c"))]),
      race: (alive) => [
        settledCounts(alive),
        Effect.as(
          Effect.gen(function*() {
            const { offer, table } = alive
            yield* offer(table.commit(20n, remove("1"), insert("4", "c")))
            yield* offer(...inPieces(table.commit(30n, update("2", "d"), remove("3"))))
          }),
          undefined
        )
      ],
      check
    }, { preemptions: 1, maxSchedules: 20_000 })
    assert.isAbove(n, 50)
  })

  it("and commits", () => {
    explore<Effect.Effect.Success<ReturnType<typeof setUp>>, Made, unknown>({
      setup: setUp((table) => [table.commit(10n, insert("3", "c"))]),
      race: (alive) => [
        settledCounts(alive),
        Effect.as(alive.offer(alive.table.commit(20n, remove("1"), insert("4", "c"))), undefined),
        Effect.as(alive.parts.committer.flush, undefined)
      ],
      check
    }, { preemptions: 0, maxSchedules: 20_000 })
  })

  it("and a consumer that ends for idleness as it subscribes", () => {
    const n = explore<Effect.Effect.Success<ReturnType<typeof setUp>>, Made, unknown>({
      setup: Effect.tap(setUp((table) => [table.commit(10n, insert("3", "c"))]), ({ parts }) => parts.committer.flush),
      race: (alive) => [
        settledCounts(alive),
        Effect.as(alive.parts.consumers.endIdle(Infinity), undefined)
      ],
      check: (alive, made) =>
        Effect.gen(function*() {
          assert.strictEqual(alive.parts.consumers.active(), 1)
          yield* alive.offer(alive.table.commit(20n, remove("1")))
          yield* check(alive, made)
        })
    }, { preemptions: 1, maxSchedules: 20_000 })
    assert.isAbove(n, 50)
  })

  it("a subscription in two steps is caught", () => {
    assert.throws(() =>
      explore<Effect.Effect.Success<ReturnType<typeof setUp>>, Made, unknown>({
        setup: setUp((table) => [table.commit(10n, insert("3", "c"))]),
        race: (alive) => [
          Effect.gen(function*() {
            const consumer = (yield* alive.parts.consumers.get(alive.entry))!
            const { subscribe } = consumer
            // What D3 forbids: the offset is read, and the subscriber is added afterwards.
            Object.assign(consumer, {
              subscribe: (subscriber: Parameters<typeof subscribe>[0]) =>
                Effect.flatMap(
                  Effect.orDie(consumer.buffer.tail),
                  ({ end }) => Effect.as(subscribe(subscriber), end)
                )
            })
            return yield* settledCounts(alive)
          }),
          Effect.as(alive.offer(alive.table.commit(20n, insert("4", "z"))), undefined)
        ],
        check
      }, { preemptions: 1, maxSchedules: 20_000 })
    )
  })
})

describe("a materializer ends", () => {
  const start = Effect.gen(function*() {
    const alive = yield* world(new Table([["1", "a"]]))
    const reasons: Array<string> = []
    const { close, materializer } = yield* scoped(alive)
    materializer.onEnd((reason) => reasons.push(reason))
    return { ...alive, materializer, closeMaterializer: close, reasons }
  })

  it.scoped("with its shape, in the turn of the removal", () =>
    Effect.gen(function*() {
      const { entry, materializer, reasons } = yield* start
      entry.markRemoved()
      assert.deepStrictEqual(reasons, ["its shape was removed"])
      yield* materializer.settled
      const late: Array<string> = []
      materializer.onEnd((reason) => late.push(reason))
      assert.deepStrictEqual(late, reasons)
    }))

  it.scoped("when the consumer fails", () =>
    Effect.gen(function*() {
      const { entry, parts, reasons } = yield* start
      const consumer = (yield* parts.consumers.get(entry))!
      yield* offer(consumer, poison(10n))
      yield* parts.consumers.stop(entry)
      assert.strictEqual(reasons.length, 1)
      assert.isTrue(entry.removed)
    }))

  it.scoped("when the consumer is ended by somebody", () =>
    Effect.gen(function*() {
      const { entry, parts, reasons } = yield* start
      yield* parts.consumers.stop(entry)
      assert.deepStrictEqual(reasons, ["its consumer ended"])
    }))

  it.scoped("when the log can't be read, and tells nobody that it is settled before", () =>
    Effect.gen(function*() {
      const { materializer, offer, parts, reasons, table } = yield* start
      yield* offer(...inPieces(table.commit(10n, insert("2", "b"), insert("3", "c"))))
      yield* materializer.settled
      yield* parts.committer.flush
      // Nothing is in memory any more, so it is read from the store.
      yield* parts.faults.failNextRead(ioError)
      yield* parts.faults.reads.close
      const gate = yield* Effect.fork(Effect.zipRight(parts.faults.reads.stopped(1), parts.faults.reads.open))
      const consumer = (yield* parts.consumers.get(materializer.entry))!
      const { buffer } = consumer
      Object.assign(buffer, { read: () => Effect.succeedNone })
      yield* offer(...inPieces(table.commit(20n, insert("4", "d"), insert("5", "e"))))
      yield* materializer.settled
      yield* Fiber.join(gate)
      assert.deepStrictEqual(reasons, ["its log could not be read"])
    }))

  it.scoped("when what is appended does not say what the row was", () =>
    Effect.gen(function*() {
      const { offer, reasons, table } = yield* start
      const fragment = table.commit(10n, remove("1"))
      const [change] = fragment.changes
      Object.assign(change!.message, { oldIsFull: false })
      yield* offer(fragment)
      assert.strictEqual(reasons.length, 1)
      assert.match(reasons[0]!, /REPLICA IDENTITY FULL/)
    }))

  it.scoped("without a word when its scope is closed, or the engine stops", () =>
    Effect.gen(function*() {
      const first = yield* start
      yield* first.closeMaterializer
      first.entry.markRemoved()
      assert.deepStrictEqual(first.reasons, [])
      const second = yield* start
      yield* second.parts.stopConsumers
      assert.deepStrictEqual(second.reasons, [])
      yield* second.closeMaterializer
    }))

  it.scoped("never for idleness: a consumer that somebody has subscribed to goes on until he leaves (H170)", () =>
    Effect.gen(function*() {
      const { closeMaterializer, offer, parts, reasons, table } = yield* start
      yield* offer(table.commit(10n, insert("2", "b")))
      yield* parts.committer.flush
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(parts.consumers.active(), 1)
      assert.deepStrictEqual(reasons, [])
      yield* closeMaterializer
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(parts.consumers.active(), 0)
    }))

  it.scoped("before it has begun: the shape goes, or its snapshot fails, while it waits for that (H164)", () =>
    Effect.gen(function*() {
      const alive = yield* world(new Table([["1", "a"]]))
      const { entry, parts } = alive
      entry.snapshot = { _tag: "Waiting" }
      const making = yield* Effect.fork(Effect.flip(Effect.scoped(alive.materialize())))
      yield* Effect.yieldNow()
      entry.markRemoved()
      assert.strictEqual((yield* Fiber.join(making))._tag, "ShapeGone")
      assert.strictEqual(parts.consumers.active(), 0)
    }))

  it.scoped("while it reads: the shape goes", () =>
    Effect.gen(function*() {
      const alive = yield* world(new Table(rows(3000)), { perChunk: 1000 })
      const { entry, parts } = alive
      yield* parts.faults.reads.close
      const making = yield* Effect.fork(Effect.flip(Effect.scoped(alive.materialize())))
      yield* parts.faults.reads.stopped(1)
      entry.markRemoved()
      yield* parts.faults.reads.open
      assert.strictEqual((yield* Fiber.join(making))._tag, "ShapeGone")
    }))

  it.scoped("while it reads: the log can't be read", () =>
    Effect.gen(function*() {
      const alive = yield* world(new Table(rows(10)))
      const { parts } = alive
      // The first reads are for what is stored of its counts.
      for (let n = 0; n < 3; n++) yield* parts.faults.failNextRead(ioError)
      const error = yield* Effect.flip(Effect.scoped(alive.materialize()))
      assert.strictEqual(error._tag, "StorageError")
    }))
})
