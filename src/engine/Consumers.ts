/**
 * Starts and ends consumers: one per active shape, on the first change that touches it; ended after an idle time, by
 * the shape's removal, or with the engine.
 */
import {
  Cause,
  Clock,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FiberId,
  FiberSet,
  HashMap,
  type Option,
  Ref,
  Schedule,
  type Scope
} from "effect"
import * as Consumer from "./Consumer.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"

export interface Consumers {
  readonly registry: Consumer.Registry
  /**
   * The shape's consumer, started if need be; `undefined` when the shape has been removed. One that is ending is waited
   * for first: two never write one log.
   */
  readonly get: (entry: ShapeEntry) => Effect.Effect<Consumer.Consumer | undefined>
  /**
   * The shape's consumer if it runs and is not about to end: what it is offered in this turn gets done. Otherwise `get`
   * is called for.
   */
  readonly unsafeCurrent: (entry: ShapeEntry) => Consumer.Consumer | undefined
  /**
   * The shape's consumer as the registry has it, `undefined` when it has none; `ending` when that is about to change.
   */
  readonly unsafeRegistered: (entry: ShapeEntry) => Consumer.Consumer | undefined | "ending"
  /** Ends the shape's consumer, if it has one, and waits until its finalizers have run. */
  readonly stop: (entry: ShapeEntry) => Effect.Effect<void>
  /** Ends the consumers that have had nothing to do since `before` (Clock milliseconds). Returns how many. */
  readonly endIdle: (before: number) => Effect.Effect<number>
  /**
   * Ends the shape's consumer, without waiting for that, if it has nothing to do. What it holds is many times what the
   * shape does.
   */
  readonly unsafeEndIdle: (entry: ShapeEntry) => void
  /** Number of running consumers. */
  readonly active: () => number
  /** All of them are being ended, with the engine. */
  readonly isStopping: () => boolean
}

export interface ConsumersOptions {
  /** After how long without work a consumer ends, in milliseconds. */
  readonly idleMillis: number
}

interface Running {
  readonly ready: Deferred.Deferred<Consumer.Consumer | undefined>
  consumer: Consumer.Consumer | undefined
  fiber: Fiber.RuntimeFiber<never> | undefined
  /** Takes no more work. */
  ending: boolean
  /** Was told to end. */
  told: boolean
}

const retryStart = Schedule.exponential("100 millis", 2).pipe(Schedule.union(Schedule.spaced("5 seconds")))

/**
 * `onFailure` is told of a consumer that ended by a failure or defect, or was interrupted by somebody else: its shape
 * has missed something and can't be continued.
 */
export const make = Effect.fnUntraced(function*(
  context: Omit<Consumer.ConsumerContext, "registry">,
  options: ConsumersOptions,
  onFailure: (entry: ShapeEntry, cause: Cause.Cause<never>) => Effect.Effect<void>
): Effect.fn.Return<Consumers, never, Scope.Scope> {
  const registry: Consumer.Registry = yield* Ref.make(HashMap.empty<string, Consumer.Consumer>())
  const running = new Map<string, Running>()
  let stopping = false
  // With the engine's own context and interruptibility, not those of whoever asks first.
  const run = yield* FiberSet.makeRuntime<never, never, never>()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      stopping = true
    })
  )

  /** Begins a life in the turn in which it was found that there is none: two consumers would write one log. */
  const unsafeStart = (entry: ShapeEntry): Running => {
    const current: Running = {
      ready: Deferred.unsafeMake(FiberId.none),
      consumer: undefined,
      fiber: undefined,
      ending: false,
      told: false
    }
    running.set(entry.handle, current)
    const expected = (exit: Exit.Exit<unknown, unknown>) => stopping || current.told || Exit.isSuccess(exit)
    const life = Effect.scoped(
      Consumer.acquire(entry, { ...context, registry }).pipe(
        Effect.tapError((error) => Effect.logError("a consumer could not be started; it is tried again", error)),
        Effect.retry(retryStart),
        Effect.orDie,
        Effect.flatMap(({ consumer, loop }) =>
          Effect.zipRight(
            // Runs before the consumer's own finalizers. Work that it leaves undone is lost to the log, and is settled
            // as done: the shape has to be gone before that, or a commit could carry the position past it.
            Effect.addFinalizer((exit) =>
              Effect.suspend(() => {
                current.ending = true
                return Exit.isFailure(exit) && !expected(exit) && consumer.hasWork()
                  ? onFailure(entry, Cause.stripFailures(exit.cause))
                  : Effect.void
              })
            ),
            Effect.suspend(() => {
              current.consumer = consumer
              Deferred.unsafeDone(current.ready, Effect.succeed(consumer))
              return loop
            })
          )
        )
      )
    ).pipe(
      Effect.onExit((exit) => Exit.isFailure(exit) && !expected(exit) ? onFailure(entry, exit.cause) : Effect.void),
      Effect.annotateLogs({ module: "Consumer", shape: entry.handle })
    )
    current.fiber = run(life)
    // Also called for a fiber that was interrupted before it had begun.
    current.fiber.addObserver(() => {
      running.delete(entry.handle)
      Deferred.unsafeDone(current.ready, Effect.succeed(undefined))
    })
    return current
  }

  const get = (entry: ShapeEntry): Effect.Effect<Consumer.Consumer | undefined> =>
    Effect.suspend(() => {
      if (entry.removed) return Effect.succeed(undefined)
      const current = running.get(entry.handle) ?? unsafeStart(entry)
      if (current.ending && current.fiber) return Effect.zipRight(current.fiber.await, get(entry))
      return current.consumer ? Effect.succeed(current.consumer) : Deferred.await(current.ready)
    })

  const end = (current: Running) =>
    Effect.suspend(() => {
      current.ending = true
      current.told = true
      return current.fiber ? Fiber.interrupt(current.fiber) : Effect.void
    })

  const endIdle = (before: number) =>
    Effect.suspend(() => {
      const idle = [...running.values()].filter((current) => {
        const { consumer } = current
        return !current.ending && consumer !== undefined && consumer.lastActive() <= before && consumer.isIdle()
      })
      // In this turn: nobody offers work to one that has been found idle.
      for (const current of idle) current.ending = current.told = true
      return Effect.as(Effect.forEach(idle, end, { concurrency: "unbounded", discard: true }), idle.length)
    })

  yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
    yield* Effect.sleep(options.idleMillis)
    yield* endIdle((yield* Clock.currentTimeMillis) - options.idleMillis)
  })))

  return {
    registry,
    get,
    unsafeCurrent: (entry) => {
      const current = running.get(entry.handle)
      return current && !current.ending ? current.consumer : undefined
    },
    unsafeRegistered: (entry) => {
      const current = running.get(entry.handle)
      return current?.ending ? "ending" : current?.consumer
    },
    stop: (entry) =>
      Effect.suspend(() => {
        const current = running.get(entry.handle)
        return current ? Effect.asVoid(end(current)) : Effect.void
      }),
    endIdle,
    unsafeEndIdle: (entry) => {
      const current = running.get(entry.handle)
      if (!current?.fiber || current.ending || !current.consumer?.isIdle()) return
      // In this turn: nobody offers work to one that has been found idle.
      current.ending = current.told = true
      current.fiber.unsafeInterruptAsFork(FiberId.none)
    },
    active: () => running.size,
    isStopping: () => stopping
  }
})

/** The consumer that the registry names for a handle. */
export const registered = (
  registry: Consumer.Registry,
  handle: string
): Effect.Effect<Option.Option<Consumer.Consumer>> => Effect.map(Ref.get(registry), HashMap.get(handle))
