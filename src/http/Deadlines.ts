/**
 * Time limits of very many waits: all with the same limit are watched by one fiber, and each is an entry in a set.
 */
import { Effect, type Scope } from "effect"

/** Waits that end before others get a turn: tens of thousands at once must not stop the event loop. */
export const BATCH = 256

/** Shortest sleep of a sweeper, in ms: limits that are close together are swept together, at most this late. */
const GRANULARITY = 10

interface Entry {
  readonly at: number
  readonly expire: () => void
}

/** Waits with the same time limit: a set is in order of insertion, which is the order of their ends. */
interface Queue {
  readonly limitMs: number
  readonly entries: Set<Entry>
  readonly filled: Effect.Latch
}

export interface Deadlines<L extends string> {
  /**
   * Calls `expire` when the limit is over or the server drains: at once when it does already. What it returns takes
   * the wait back.
   */
  readonly after: (limit: L, expire: () => void) => () => void
  readonly isDraining: () => boolean
  /** Ends all waits, and every later one as it begins. */
  readonly drain: Effect.Effect<void>
  /** Number of waits under way, of one limit or all. */
  readonly size: (limit?: L) => number
}

export const immediate = Effect.async<void>((resume) => {
  const handle = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(handle))
})

/** Watches limits in ms, by name. */
export const make = <const L extends string>(
  limits: ReadonlyArray<readonly [L, number]>
): Effect.Effect<Deadlines<L>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const queues = new Map<L, Queue>()
    let draining = false

    /** Milliseconds on a clock that is never set. */
    const now = () => Number(clock.unsafeCurrentTimeNanos() / 1_000_000n)

    const sweep = Effect.fnUntraced(function*({ entries, filled }: Queue) {
      let budget = BATCH
      while (true) {
        const first = entries.values().next()
        if (first.done === true) {
          filled.unsafeClose()
          yield* filled.await
          continue
        }
        const wait = first.value.at - now()
        if (wait > 0) {
          yield* Effect.sleep(Math.max(wait, GRANULARITY))
          continue
        }
        entries.delete(first.value)
        first.value.expire()
        if (--budget === 0) {
          yield* immediate
          budget = BATCH
        }
      }
    })

    for (const [name, limitMs] of limits) {
      const queue: Queue = { limitMs, entries: new Set(), filled: Effect.unsafeMakeLatch(false) }
      queues.set(name, queue)
      yield* Effect.forkScoped(sweep(queue))
    }

    return {
      after: (limit, expire) => {
        const queue = queues.get(limit)
        if (draining || queue === undefined) {
          expire()
          return () => undefined
        }
        const { entries, filled, limitMs } = queue
        const entry = { at: now() + limitMs, expire }
        entries.add(entry)
        filled.unsafeOpen()
        return () => {
          entries.delete(entry)
        }
      },
      isDraining: () => draining,
      drain: Effect.gen(function*() {
        draining = true
        let budget = BATCH
        for (const { entries } of queues.values()) {
          for (const entry of entries) {
            entries.delete(entry)
            entry.expire()
            if (--budget === 0) {
              yield* immediate
              budget = BATCH
            }
          }
        }
      }),
      size: (limit) => {
        let size = 0
        for (const [name, { entries }] of queues) if (limit === undefined || name === limit) size += entries.size
        return size
      }
    }
  })
