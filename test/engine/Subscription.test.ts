/**
 * Exactly once (DESIGN D3), and the other places where two fibers meet: every interleaving within a bound is run, operation by operation,
 * through the engine's own code.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, HashMap, Ref, Scope } from "effect"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import * as Consumer from "../../src/engine/Consumer.ts"
import {
  fragment,
  fragments,
  keys,
  keysOf,
  makeParts,
  offer,
  type Parts,
  readKeys,
  storedKeys,
  transactionAt,
  transactions
} from "../support/EngineParts.ts"
import { bodyText } from "../support/EngineWorld.ts"
import { type Bounds, explore, type Program } from "../support/Interleavings.ts"

/** `INTERLEAVINGS=1` allows one preemption more everywhere. */
const deeper = Number(process.env["INTERLEAVINGS"] ?? 0)
const counts: Record<string, number> = {}
const run = <S, A, E>(name: string, program: Program<S, A, E>, bounds: Bounds) => {
  const { preemptions } = bounds
  const began = performance.now()
  counts[name] = explore(program, {
    ...bounds,
    ...(preemptions === undefined ? {} : { preemptions: preemptions + deeper }),
    maxSchedules: deeper > 0 ? Infinity : bounds.maxSchedules
  })
  if (process.env["INTERLEAVINGS"] !== undefined) {
    console.log(`${name}: ${counts[name]} schedules in ${Math.round(performance.now() - began)} ms`)
  }
  return counts[name]
}

interface Set {
  readonly parts: Parts
  readonly consumer: Consumer.Consumer
  readonly loop: Effect.Effect<never>
  readonly scope: Scope.CloseableScope
  /** The loop's fiber, while it runs beside the race. */
  fiber: Fiber.RuntimeFiber<never> | undefined
}

/** A consumer whose loop is one of the fibers that are interleaved. */
const setUp = (before: ReadonlyArray<bigint> = []) =>
  Effect.gen(function*() {
    const parts = yield* makeParts()
    const scope = yield* Scope.make()
    const { consumer, loop } = yield* Consumer.acquire(parts.entry, {
      ...parts.context,
      registry: parts.consumers.registry
    })
      .pipe(Scope.extend(scope))
    if (before.length > 0) {
      const fiber = yield* Effect.fork(loop)
      yield* offer(consumer, transactions(1, ...before))
      yield* Fiber.interrupt(fiber)
    }
    const set: Set = { parts, consumer, loop, scope, fiber: undefined }
    return set
  })

const beside = (set: Set) => [Effect.withFiberRuntime<never>((fiber) => {
  set.fiber = fiber as Fiber.RuntimeFiber<never>
  return set.loop
})]

/** Ends the consumer as `Consumers` would. */
const end = (set: Set) =>
  Effect.suspend(() => set.fiber ? Fiber.interrupt(set.fiber) : Effect.void).pipe(
    Effect.zipRight(Scope.close(set.scope, Exit.void))
  )

const collecting = (delivered: { now: Array<string> }, before: ReadonlyArray<bigint> = []) =>
  Effect.map(setUp(before), (set) => {
    delivered.now = []
    return set
  })

/**
 * Subscribes, reads the log up to where the subscription begins, and collects what is delivered from then on; of transactions that came in
 * pieces, where they are in the log.
 */
const follow = ({ consumer, parts }: Set, delivered: Array<string>, inLog: Array<Consumer.Appended> = []) =>
  Effect.gen(function*() {
    const offset = yield* consumer.subscribe((appended: Consumer.Appended) => {
      if (!appended.fragment) return void inLog.push(appended)
      const { changes, transaction } = appended.fragment
      assert.strictEqual(transaction.lsn, appended.end.tx)
      for (const { op } of changes) delivered.push(`${transaction.lsn}.${op / 2}`)
    })
    const body = yield* parts.reader.body(parts.entry, LogOffset.snapshotEnd, offset)
    return keysOf(yield* bodyText(body))
  })

describe("a subscriber sees every transaction exactly once", () => {
  it("whatever it meets: the consumer's loop, appending", () => {
    const delivered: { now: Array<string> } = { now: [] }
    const n = run("subscribe, append", {
      setup: collecting(delivered, [100n]),
      beside,
      race: (set) => [
        follow(set, delivered.now),
        Effect.as(offer(set.consumer, transactions(1, 200n)), [])
      ],
      check: (_, [read]) => Effect.sync(() => assert.deepStrictEqual([...read!, ...delivered.now], keys(1, 100n, 200n)))
    }, { preemptions: 1, maxSchedules: 20_000 })
    assert.isAbove(n, 20)
  })

  it("three transactions, one of them in two fragments, and a flush", () => {
    const delivered: { now: Array<string> } = { now: [] }
    let inLog: Array<Consumer.Appended> = []
    const last = transactionAt(300n)
    run("subscribe, append, append, flush", {
      setup: Effect.zipRight(Effect.sync(() => inLog = []), collecting(delivered)),
      beside,
      race: (set) => [
        follow(set, delivered.now, inLog),
        Effect.as(
          offer(set.consumer, transactions(1, 100n)).pipe(
            Effect.zipRight(offer(
              set.consumer,
              fragments(
                ...[200n].map((lsn) => fragment(transactionAt(lsn), 1)),
                fragment(last, 1, 0, false)
              )
            )),
            Effect.zipRight(offer(set.consumer, fragments(fragment(last, 1, 1))))
          ),
          []
        ),
        Effect.as(set.parts.committer.flush, [])
      ],
      check: ({ parts }, [read]) =>
        Effect.gen(function*() {
          for (const { after, end } of inLog) {
            delivered.now.push(...keysOf(yield* bodyText(yield* parts.reader.body(parts.entry, after, end))))
          }
          assert.deepStrictEqual([...read!, ...delivered.now], [...keys(1, 100n, 200n), ...keys(2, 300n)])
        })
    }, { preemptions: 0, maxSchedules: 20_000 })
  })

  it("the same in two steps instead of one is caught", () => {
    const delivered: { now: Array<string> } = { now: [] }
    /** What D3 forbids: the offset is read, and the subscriber is added afterwards. */
    const split = (set: Set): Set => ({
      ...set,
      consumer: {
        ...set.consumer,
        subscribe: (subscriber) =>
          Effect.flatMap(
            Effect.sync(() => set.consumer.buffer),
            (buffer) =>
              Effect.flatMap(Effect.orDie(buffer.tail), ({ end }) => Effect.as(set.consumer.subscribe(subscriber), end))
          )
      }
    })
    assert.throws(() =>
      explore({
        setup: collecting(delivered, [100n]),
        beside,
        race: (set) => [follow(split(set), delivered.now), Effect.as(offer(set.consumer, transactions(1, 200n)), [])],
        check: (_, [read]) =>
          Effect.sync(() => assert.deepStrictEqual([...read!, ...delivered.now], keys(1, 100n, 200n)))
      }, { preemptions: 1, maxSchedules: 20_000 })
    )
  })
})

describe("a reader sees a prefix", () => {
  const log = keys(1, 100n, 200n, 300n)
  const isPrefix = (read: ReadonlyArray<string>) => assert.deepStrictEqual(read, log.slice(0, read.length))

  it("whatever it meets: append, flush, the consumer's end", () => {
    run("read, append, flush, end", {
      setup: setUp([100n, 200n]),
      beside,
      race: (set) => [
        readKeys(set.parts.reader, set.parts.entry),
        Effect.as(
          Effect.zipRight(offer(set.consumer, transactions(1, 300n)), set.parts.committer.flush),
          []
        ),
        Effect.as(end(set), [])
      ],
      check: ({ parts }, [read]) =>
        Effect.gen(function*() {
          isPrefix(read!)
          assert.isAtLeast(read!.length, 2)
          yield* parts.committer.flush
          const end = yield* readKeys(parts.reader, parts.entry)
          isPrefix(end)
          assert.deepStrictEqual(storedKeys(parts.state), end)
          assert.strictEqual(HashMap.size(yield* Ref.get(parts.consumers.registry)), 0)
          assert.strictEqual(parts.budget.used(), 0)
        })
    }, { preemptions: 0, maxSchedules: 20_000 })
  })

  it("piece by piece, while the consumer ends and another begins", () => {
    run("read, end, begin again", {
      setup: setUp([100n, 200n]),
      race: (set) => [
        readKeys(set.parts.reader, set.parts.entry),
        Effect.gen(function*() {
          const { parts } = set
          yield* end(set)
          const next = (yield* parts.consumers.get(parts.entry))!
          yield* offer(next, transactions(1, 300n))
          return []
        })
      ],
      check: ({ parts }, [read]) =>
        Effect.gen(function*() {
          isPrefix(read!)
          assert.isAtLeast(read!.length, 2)
          assert.deepStrictEqual(yield* readKeys(parts.reader, parts.entry), log)
        })
    }, { preemptions: 1, maxSchedules: 20_000 })
  })
})

describe("whoever waits for news is told of it, and can read it then", () => {
  it("awaitChange against append", () => {
    const n = run("await, append", {
      setup: setUp([100n]),
      beside,
      race: ({ consumer, parts }) => [
        Effect.zipRight(
          parts.entry.awaitWake(LogOffset.make(100n, 0)),
          readKeys(parts.reader, parts.entry, LogOffset.make(100n, 0))
        ),
        Effect.as(offer(consumer, transactions(1, 200n)), [])
      ],
      check: ({ parts }, [read]) =>
        Effect.sync(() => {
          assert.deepStrictEqual(read, keys(1, 200n))
          assert.strictEqual(parts.entry.waiting, 0)
        })
    }, { preemptions: 1, maxSchedules: 20_000 })
    assert.isAbove(n, 10)
  })
})

/** A consumer that `Consumers` has started. */
const running = (before: ReadonlyArray<bigint>) =>
  Effect.gen(function*() {
    const parts = yield* makeParts()
    const consumer = (yield* parts.consumers.get(parts.entry))!
    yield* offer(consumer, transactions(1, ...before))
    yield* parts.committer.flush
    return { parts }
  })

describe("a consumer that ends for idleness", () => {
  it("does not take work along that it was offered", () => {
    run("idle end, offer", {
      setup: running([100n]),
      race: ({ parts }) => [
        Effect.as(parts.consumers.endIdle(Infinity), 0),
        // As the collector does it.
        Effect.gen(function*() {
          const offered = Effect.async<boolean>((resume) => {
            const consumer = parts.consumers.unsafeCurrent(parts.entry)
            if (!consumer) return resume(Effect.succeed(false))
            consumer.unsafeOffer(transactions(1, 200n), () => resume(Effect.succeed(true)))
          })
          while (!(yield* offered)) yield* parts.consumers.get(parts.entry)
          return 1
        })
      ],
      check: ({ parts }) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* readKeys(parts.reader, parts.entry), keys(1, 100n, 200n))
          yield* parts.committer.flush
          assert.deepStrictEqual(storedKeys(parts.state), keys(1, 100n, 200n))
        })
    }, { preemptions: 1, maxSchedules: 20_000 })
  })

  it("is never one of two", () => {
    run("get, get, end", {
      setup: running([]),
      race: ({ parts }) => [
        parts.consumers.get(parts.entry),
        Effect.as(parts.consumers.endIdle(Infinity), undefined),
        parts.consumers.get(parts.entry)
      ],
      check: ({ parts }) =>
        Effect.gen(function*() {
          assert.isAtMost(parts.consumers.active(), 1)
          assert.strictEqual(HashMap.size(yield* Ref.get(parts.consumers.registry)), parts.consumers.active())
        })
    }, { preemptions: 1, maxSchedules: 20_000 })
  })
})
