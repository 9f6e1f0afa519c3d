/**
 * Starts and ends consumers: one per active shape, on the first change that touches it; ended after an idle time, by the shape's removal, or
 * with the engine.
 */
import {
  type Cause,
  Clock,
  Deferred,
  Effect,
  Exit,
  Fiber,
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
   * The shape's consumer, started if need be; `undefined` when the shape has been removed. One that is ending is waited for first: two never
   * write one log.
   */
  readonly get: (entry: ShapeEntry) => Effect.Effect<Consumer.Consumer | undefined>
  /** Ends the shape's consumer, if it has one, and waits until its finalizers have run. */
  readonly stop: (entry: ShapeEntry) => Effect.Effect<void>
  /** Ends the consumers that have had nothing to do since `before` (Clock milliseconds). Returns how many. */
  readonly endIdle: (before: number) => Effect.Effect<number>
  /** Number of running consumers. */
  readonly active: () => number
}

export interface ConsumersOptions {
  /** After how long without work a consumer ends, in milliseconds. */
  readonly idleMillis: number
}

interface Running {
  readonly ready: Deferred.Deferred<Consumer.Consumer | undefined>
  consumer: Consumer.Consumer | undefined
  fiber: Fiber.RuntimeFiber<never> | undefined
  ending: boolean
}

const retryStart = Schedule.exponential("100 millis", 2).pipe(Schedule.union(Schedule.spaced("5 seconds")))

/**
 * `onFailure` is told of a consumer that ended by a failure or defect, or was interrupted by somebody else: its shape has missed something and
 * can't be continued.
 */
export const make = Effect.fnUntraced(function*(
  context: Omit<Consumer.ConsumerContext, "registry">,
  options: ConsumersOptions,
  onFailure: (entry: ShapeEntry, cause: Cause.Cause<never>) => Effect.Effect<void>
): Effect.fn.Return<Consumers, never, Scope.Scope> {
  const registry: Consumer.Registry = yield* Ref.make(HashMap.empty<string, Consumer.Consumer>())
  const running = new Map<string, Running>()
  let stopping = false
  const fibers = yield* FiberSet.make<never>()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      stopping = true
    })
  )

  const start = Effect.fnUntraced(function*(entry: ShapeEntry) {
    const ready = yield* Deferred.make<Consumer.Consumer | undefined>()
    const current: Running = { ready, consumer: undefined, fiber: undefined, ending: false }
    running.set(entry.handle, current)
    const life = Effect.scoped(
      Consumer.acquire(entry, { ...context, registry }).pipe(
        Effect.tapError((error) => Effect.logError("a consumer could not be started; it is tried again", error)),
        Effect.retry(retryStart),
        Effect.orDie,
        Effect.flatMap((acquired) => {
          current.consumer = acquired.consumer
          return Effect.zipRight(Deferred.succeed(ready, acquired.consumer), acquired.loop)
        })
      )
    ).pipe(
      Effect.onExit((exit) => {
        running.delete(entry.handle)
        Deferred.unsafeDone(ready, Effect.succeed(undefined))
        return stopping || current.ending || !Exit.isFailure(exit) ? Effect.void : onFailure(entry, exit.cause)
      }),
      Effect.annotateLogs({ module: "Consumer", shape: entry.handle })
    )
    current.fiber = yield* FiberSet.run(fibers, life)
    return yield* Deferred.await(ready)
  })

  const get = (entry: ShapeEntry): Effect.Effect<Consumer.Consumer | undefined> =>
    Effect.suspend(() => {
      const current = running.get(entry.handle)
      if (entry.removed) return Effect.succeed(undefined)
      if (!current) return start(entry)
      if (current.ending && current.fiber) return Effect.zipRight(Fiber.await(current.fiber), get(entry))
      return current.consumer ? Effect.succeed(current.consumer) : Deferred.await(current.ready)
    })

  const end = (current: Running) =>
    Effect.suspend(() => {
      current.ending = true
      return current.fiber ? Fiber.interrupt(current.fiber) : Effect.void
    })

  const endIdle = (before: number) =>
    Effect.suspend(() => {
      const idle = [...running.values()].filter((current) => {
        const { consumer } = current
        return !current.ending && consumer !== undefined && consumer.lastActive() <= before && consumer.isIdle()
      })
      for (const current of idle) current.ending = true
      return Effect.as(Effect.forEach(idle, end, { concurrency: "unbounded", discard: true }), idle.length)
    })

  yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
    yield* Effect.sleep(options.idleMillis)
    yield* endIdle((yield* Clock.currentTimeMillis) - options.idleMillis)
  })))

  return {
    registry,
    get,
    stop: (entry) =>
      Effect.suspend(() => {
        const current = running.get(entry.handle)
        return current ? Effect.asVoid(end(current)) : Effect.void
      }),
    endIdle,
    active: () => running.size
  }
})

/** The consumer that the registry names for a handle. */
export const registered = (
  registry: Consumer.Registry,
  handle: string
): Effect.Effect<Option.Option<Consumer.Consumer>> => Effect.map(Ref.get(registry), HashMap.get(handle))
