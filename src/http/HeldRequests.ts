/**
 * Holds requests until something happens or their time is up, cheaply when there are very many: a held request is its
 * own suspended fiber and an entry in two sets. Requests that wait for the same thing share one fiber that waits for
 * it, and the time of all requests with the same limit is watched by one fiber.
 *
 * Must be released after the server that holds requests with it.
 */
import { Effect, Exit, Fiber, FiberId, Runtime, type Scope } from "effect"

/**
 * Requests that are woken or expired before others get a turn: tens of thousands at once must not stop the event loop.
 */
const BATCH = 256

/** Shortest sleep of a sweeper, in ms: limits that are close together are swept together, at most this late. */
const GRANULARITY = 10

interface Held<E> {
  readonly group: Group<E>
  readonly queue: Queue<E>
  readonly deadline: number
  readonly resume: (outcome: Effect.Effect<boolean, E>) => void
}

interface Group<E> {
  readonly key: string
  readonly held: Set<Held<E>>
  fiber: Fiber.RuntimeFiber<void, E> | undefined
}

/** Held requests with the same time limit: a set is in order of insertion, which is the order of their deadlines. */
interface Queue<E> {
  readonly limitMs: number
  readonly held: Set<Held<E>>
  readonly filled: Effect.Latch
}

export interface HeldRequests<E, L extends string> {
  /**
   * Succeeds with `true` when `wake` has completed, `false` when the limit is over or the server drains, and fails as
   * `wake` fails. `wake` runs once for all that wait under the same key, and is interrupted when nobody does any more.
   */
  readonly hold: (limit: L, key: string, wake: Effect.Effect<void, E>) => Effect.Effect<boolean, E>
  /** Ends all waits as if their time were up, and lets nobody wait from now on. */
  readonly drain: Effect.Effect<void>
  /** Number of requests held now. */
  readonly size: () => number
}

const immediate = Effect.async<void>((resume) => {
  const handle = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(handle))
})

/** Holds requests under one of several time limits, in ms by name. */
export const make = <E, const L extends string>(
  limits: ReadonlyArray<readonly [L, number]>
): Effect.Effect<HeldRequests<E, L>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const runtime = yield* Effect.runtime<never>()
    const clock = yield* Effect.clock
    const groups = new Map<string, Group<E>>()
    const queues = new Map<L, Queue<E>>()
    let draining = false

    /** Milliseconds on a clock that is never set. */
    const now = () => Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)

    yield* Effect.addFinalizer(() =>
      Fiber.interruptAll(Array.from(groups.values()).flatMap(({ fiber }) => (fiber ? [fiber] : [])))
    )

    /** Takes a request out; the last of its group ends the group's fiber. */
    const release = (held: Held<E>) => {
      const { group } = held
      held.queue.held.delete(held)
      group.held.delete(held)
      if (group.held.size === 0 && groups.get(group.key) === group) {
        groups.delete(group.key)
        group.fiber?.unsafeInterruptAsFork(FiberId.none)
      }
    }

    const wakeSome = (group: Group<E>, outcome: Effect.Effect<boolean, E>) => {
      let budget = BATCH
      for (const held of group.held) {
        if (budget-- === 0) {
          setImmediate(() => wakeSome(group, outcome))
          return
        }
        held.queue.held.delete(held)
        group.held.delete(held)
        held.resume(outcome)
      }
    }

    const start = (group: Group<E>, wake: Effect.Effect<void, E>) => {
      const fiber = Runtime.runFork(runtime)(wake)
      group.fiber = fiber
      fiber.addObserver((exit) => {
        if (groups.get(group.key) === group) groups.delete(group.key)
        wakeSome(group, Exit.isSuccess(exit) ? Effect.succeed(true) : Effect.failCause(exit.cause))
      })
    }

    const sweep = Effect.fnUntraced(function*(queue: Queue<E>) {
      let budget = BATCH
      while (true) {
        const first = queue.held.values().next()
        if (first.done === true) {
          queue.filled.unsafeClose()
          yield* queue.filled.await
          continue
        }
        const wait = first.value.deadline - now()
        if (wait > 0) {
          yield* Effect.sleep(Math.max(wait, GRANULARITY))
          continue
        }
        release(first.value)
        first.value.resume(Effect.succeed(false))
        if (--budget === 0) {
          yield* immediate
          budget = BATCH
        }
      }
    })

    for (const [name, limitMs] of limits) {
      const queue: Queue<E> = { limitMs, held: new Set(), filled: Effect.unsafeMakeLatch(false) }
      queues.set(name, queue)
      yield* Effect.forkScoped(sweep(queue))
    }

    return {
      hold: (limit, key, wake) =>
        Effect.async<boolean, E>((resume) => {
          const queue = queues.get(limit)
          if (draining || queue === undefined) return resume(Effect.succeed(false))
          let group = groups.get(key)
          const isNew = group === undefined
          if (group === undefined) {
            group = { key, held: new Set(), fiber: undefined }
            groups.set(key, group)
          }
          const held = { group, queue, deadline: now() + queue.limitMs, resume }
          group.held.add(held)
          queue.held.add(held)
          queue.filled.unsafeOpen()
          if (isNew) start(group, wake)
          return Effect.sync(() => release(held))
        }),
      drain: Effect.gen(function*() {
        draining = true
        let budget = BATCH
        for (const queue of queues.values()) {
          for (const held of queue.held) {
            release(held)
            held.resume(Effect.succeed(false))
            if (--budget === 0) {
              yield* immediate
              budget = BATCH
            }
          }
        }
      }),
      size: () => {
        let size = 0
        for (const queue of queues.values()) size += queue.held.size
        return size
      }
    }
  })
