/**
 * However a consumer ends, it flushes, then clears the registry, then releases the buffer (DESIGN D1). Nothing that the code says of itself
 * counts here: at each step the world is looked at, and a reader reads.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, HashMap, Option, Ref, Scope, TestClock } from "effect"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import * as Consumer from "../../src/engine/Consumer.ts"
import * as ShapeReader from "../../src/engine/ShapeReader.ts"
import {
  keys,
  makeParts,
  offer,
  type Parts,
  poison,
  readKeys,
  storedKeys,
  transactions
} from "../support/EngineParts.ts"

/** What can be seen from outside at one moment. */
const look = Effect.fnUntraced(function*(parts: Parts, consumer: Consumer.Consumer, registry: Consumer.Registry) {
  const reader = ShapeReader.make({ registry, storage: parts.storage, lastSeen: () => 0n })
  const named = HashMap.get(yield* Ref.get(registry), parts.entry.handle)
  const tail = yield* Effect.either(consumer.buffer.tail)
  return {
    registered: Option.contains(named, consumer),
    buffer: tail._tag === "Right" ? "reads" : tail.left._tag,
    stored: storedKeys(parts.state),
    read: parts.entry.removed ? [] : yield* Effect.orDie(readKeys(reader, parts.entry))
  }
})

/** A registry that tells when a handle is being cleared from it, before and after. */
const watched = (
  inner: Consumer.Registry,
  around: (clearing: Effect.Effect<unknown>) => Effect.Effect<unknown>
): Consumer.Registry =>
  Object.create(inner, {
    modify: {
      value: <B>(
        f: (a: HashMap.HashMap<string, Consumer.Consumer>) => readonly [B, HashMap.HashMap<string, Consumer.Consumer>]
      ) =>
        Effect.suspend(() => {
          let result: B
          const clearing = Effect.map(
            inner.modify((before) => {
              const [b, after] = f(before)
              result = b
              return [HashMap.size(after) < HashMap.size(before), after] as const
            }),
            () => undefined
          )
          const isClearing = HashMap.size(f(Effect.runSync(inner.get))[1]) < HashMap.size(Effect.runSync(inner.get))
          return Effect.map(isClearing ? around(clearing) : clearing, () => result)
        })
    }
  }) as Consumer.Registry

const all = keys(2, 100n, 200n)

/** A consumer in a scope of its own, with two transactions that no commit has taken yet. */
const setUp = Effect.gen(function*() {
  const parts = yield* makeParts({ groupMillis: 3_600_000 })
  const inner: Consumer.Registry = yield* Ref.make(HashMap.empty<string, Consumer.Consumer>())
  const seen: Array<Effect.Effect.Success<ReturnType<typeof look>>> = []
  const acquired = yield* Deferred.make<Consumer.Consumer>()
  const registry = watched(inner, (clearing) =>
    Effect.gen(function*() {
      const consumer = yield* Deferred.await(acquired)
      seen.push(yield* look(parts, consumer, inner))
      yield* clearing
      seen.push(yield* look(parts, consumer, inner))
    }))
  const scope = yield* Scope.make()
  const { consumer, loop } = yield* Consumer.acquire(parts.entry, { ...parts.context, registry }).pipe(
    Scope.extend(scope)
  )
  yield* Deferred.succeed(acquired, consumer)
  const fiber = yield* Effect.fork(Effect.onExit(loop, (exit) => Scope.close(scope, exit)))
  yield* offer(consumer, transactions(2, 100n, 200n))
  assert.deepStrictEqual(storedKeys(parts.state), [])
  return { parts, inner, seen, consumer, fiber, scope }
})

describe("a consumer that ends flushes, then clears the registry, then releases the buffer", () => {
  const ways: ReadonlyArray<
    readonly [string, (set: Effect.Effect.Success<typeof setUp>) => Effect.Effect<unknown>]
  > = [
    ["interrupted", ({ fiber }) => Fiber.interrupt(fiber)],
    ["interrupted by its scope", ({ scope }) => Scope.close(scope, Exit.void)],
    ["by a typed failure", ({ scope }) => Scope.close(scope, Exit.fail("failure"))],
    [
      "by a change that can't be encoded",
      ({ consumer, fiber }) =>
        Effect.zipRight(Effect.sync(() => consumer.unsafeOffer(poison(300n), () => {})), Fiber.await(fiber))
    ]
  ]
  for (const [name, end] of ways) {
    it.scoped(name, () =>
      Effect.gen(function*() {
        const set = yield* setUp
        const { consumer, inner, parts, seen } = set
        yield* parts.faults.commits.close
        const ending = yield* Effect.fork(end(set))
        yield* Effect.raceFirst(parts.faults.commits.stopped(1), Fiber.await(ending))
        // The flush's commit is on its way: nothing is stored, everything can still be read.
        assert.deepStrictEqual(yield* look(parts, consumer, inner), {
          registered: true,
          buffer: "reads",
          stored: [],
          read: all
        })
        assert.strictEqual(seen.length, 0)
        yield* parts.faults.completions.close
        yield* parts.faults.commits.open
        yield* parts.faults.completions.stopped(1)
        // It is visible, and the consumer does not know yet.
        assert.deepStrictEqual(yield* look(parts, consumer, inner), {
          registered: true,
          buffer: "reads",
          stored: all,
          read: all
        })
        assert.strictEqual(seen.length, 0)
        yield* parts.faults.completions.open
        yield* Fiber.await(ending)
        assert.deepStrictEqual(seen, [
          { registered: true, buffer: "reads", stored: all, read: all },
          { registered: false, buffer: "reads", stored: all, read: all }
        ])
        assert.deepStrictEqual(yield* look(parts, consumer, inner), {
          registered: false,
          buffer: "BufferGone",
          stored: all,
          read: all
        })
        assert.strictEqual(parts.budget.used(), 0)
      }))
  }
})

describe("ends that Consumers brings about", () => {
  const start = Effect.gen(function*() {
    const parts = yield* makeParts({ groupMillis: 3_600_000, idleMillis: 1000 })
    const consumer = (yield* parts.consumers.get(parts.entry))!
    const clear = Ref.get(parts.consumers.registry)
    return { parts, consumer, clear }
  })

  it.scoped("engine shutdown", () =>
    Effect.gen(function*() {
      const { consumer, parts } = yield* start
      yield* offer(consumer, transactions(2, 100n, 200n))
      yield* parts.faults.completions.close
      const stopping = yield* Effect.fork(parts.stopConsumers)
      yield* parts.faults.completions.stopped(1)
      assert.deepStrictEqual(yield* look(parts, consumer, parts.consumers.registry), {
        registered: true,
        buffer: "reads",
        stored: all,
        read: all
      })
      yield* parts.faults.completions.open
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(yield* look(parts, consumer, parts.consumers.registry), {
        registered: false,
        buffer: "BufferGone",
        stored: all,
        read: all
      })
      assert.deepStrictEqual(parts.failures, [])
      assert.strictEqual(parts.budget.used(), 0)
    }))

  it.scoped("idleness: only once everything is stored", () =>
    Effect.gen(function*() {
      const { consumer, parts } = yield* start
      yield* offer(consumer, transactions(2, 100n, 200n))
      yield* TestClock.adjust("10 seconds")
      // Its entries wait for a commit: it is not idle.
      assert.deepStrictEqual(yield* look(parts, consumer, parts.consumers.registry), {
        registered: true,
        buffer: "reads",
        stored: [],
        read: all
      })
      yield* parts.committer.flush
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(parts.consumers.active(), 0)
      assert.deepStrictEqual(yield* look(parts, consumer, parts.consumers.registry), {
        registered: false,
        buffer: "BufferGone",
        stored: all,
        read: all
      })
      // It starts again where it was.
      const next = (yield* parts.consumers.get(parts.entry))!
      assert.notStrictEqual(next, consumer)
      yield* offer(next, transactions(2, 300n))
      assert.deepStrictEqual(yield* readKeys(parts.reader, parts.entry), [...all, ...keys(2, 300n)])
      assert.deepStrictEqual(
        yield* readKeys(parts.reader, parts.entry, LogOffset.make(200n, 2)),
        keys(2, 300n)
      )
    }))

  it.scoped("removal: there is nothing to flush any more, the rest keeps its order", () =>
    Effect.gen(function*() {
      const { consumer, parts } = yield* start
      yield* offer(consumer, transactions(2, 100n, 200n))
      parts.entry.markRemoved()
      parts.committer.unsafeEnqueue([{ _tag: "RemoveShape", shape: 1 }])
      yield* parts.consumers.stop(parts.entry)
      const end = yield* look(parts, consumer, parts.consumers.registry)
      assert.deepStrictEqual(end, { registered: false, buffer: "BufferGone", stored: [], read: [] })
      yield* parts.committer.flush
      assert.deepStrictEqual(storedKeys(parts.state), [])
      assert.strictEqual(parts.state.shapes.size, 0)
      assert.strictEqual(parts.budget.used(), 0)
      assert.deepStrictEqual(parts.failures, [])
    }))

  it.scoped("a defect: the shape is given up before the work that was left is settled", () =>
    Effect.gen(function*() {
      const { consumer, parts } = yield* start
      yield* offer(consumer, transactions(2, 100n))
      const settled: Array<boolean> = []
      consumer.unsafeOffer(poison(200n), () => settled.push(parts.entry.removed))
      consumer.unsafeOffer(transactions(2, 300n), () => settled.push(parts.entry.removed))
      // Nobody else is started meanwhile, and the caller is told that there is none.
      assert.strictEqual(
        yield* parts.consumers.get(parts.entry).pipe(Effect.repeat({ until: () => parts.entry.removed })),
        undefined
      )
      yield* Effect.yieldNow()
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(settled, [true, true])
      assert.isAtLeast(parts.failures.length, 1)
      assert.strictEqual(parts.consumers.active(), 0)
      assert.strictEqual((yield* look(parts, consumer, parts.consumers.registry)).buffer, "BufferGone")
      yield* parts.committer.flush
      assert.strictEqual(parts.budget.used(), 0)
    }))

  it.scoped("a store that refuses for good holds no end up for longer than the time limit", () =>
    Effect.gen(function*() {
      const { consumer, parts } = yield* start
      yield* offer(consumer, transactions(2, 100n))
      yield* parts.faults.failCommits()
      const stopping = yield* Effect.fork(parts.stopConsumers)
      yield* parts.faults.commitsFailed(1)
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(stopping)
      assert.strictEqual((yield* look(parts, consumer, parts.consumers.registry)).buffer, "BufferGone")
      yield* parts.faults.heal
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(parts.budget.used(), 0)
    }))
})
