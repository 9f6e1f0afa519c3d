/**
 * Keeps what was loaded until it is to be forgotten, and then loads anew, but not more often than every two seconds:
 * whoever asks for functions that don't exist doesn't make us read the catalog with every request.
 */
import { Clock, Deferred, Effect, FiberId, type Scope } from "effect"

/** Least time between two loads. */
export const LOAD_INTERVAL_MILLIS = 2000

export interface SqlCatalogCache<A, E> {
  /** What was loaded last, or is being loaded. An error is not kept; it may be retried at once if nothing was loaded. */
  readonly get: Effect.Effect<A, E>
  /** The next `get` loads anew, as soon as the last load is two seconds old. */
  readonly forget: Effect.Effect<void>
}

/** `load` runs in the scope: it is not interrupted with those who wait for it. */
export const make = <A, E>(load: Effect.Effect<A, E>): Effect.Effect<SqlCatalogCache<A, E>, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    let kept: { readonly value: A } | undefined
    let running: Deferred.Deferred<A, E> | undefined
    let stale = false
    let startedAt = -Infinity

    const start = (now: number) =>
      Effect.suspend(() => {
        const result: Deferred.Deferred<A, E> = Deferred.unsafeMake(FiberId.none)
        running = result
        startedAt = now
        // What is forgotten while this runs may have been read before.
        stale = false
        const run = Effect.onExit(load, (exit) =>
          Effect.sync(() => {
            running = undefined
            if (exit._tag === "Success") kept = { value: exit.value }
            else stale = true
            Deferred.unsafeDone(result, exit)
          }))
        return Effect.uninterruptibleMask((restore) =>
          Effect.zipRight(Effect.forkIn(Effect.interruptible(run), scope), restore(Deferred.await(result)))
        )
      })

    return {
      get: Effect.flatMap(Clock.currentTimeMillis, (now) => {
        if (running !== undefined) return Deferred.await(running)
        if (kept !== undefined && (!stale || now - startedAt < LOAD_INTERVAL_MILLIS)) return Effect.succeed(kept.value)
        return start(now)
      }),
      forget: Effect.sync(() => {
        stale = true
      })
    }
  })
