/**
 * A semaphore's permits in the order in which they were asked for.
 *
 * Effect's semaphore wakes everybody who waits for it with each permit that comes back, and all but one go to sleep
 * again: with thousands of waiters that is all the time there is. Here only the first in the line waits for the
 * semaphore, and a permit wakes one fiber.
 */
import { Effect } from "effect"

class Line {
  private occupied = false
  private readonly waiting = new Set<() => void>()

  /** Completes when it is one's turn. Whoever was let in leaves again. */
  readonly enter: Effect.Effect<void> = Effect.async((resume) => {
    if (!this.occupied) {
      this.occupied = true
      return resume(Effect.void)
    }
    const turn = () => resume(Effect.void)
    this.waiting.add(turn)
    // One whose turn came when it was already being interrupted passes it on.
    return Effect.suspend(() => this.waiting.delete(turn) ? Effect.void : this.leave)
  })

  readonly leave: Effect.Effect<void> = Effect.sync(() => {
    for (const turn of this.waiting) {
      this.waiting.delete(turn)
      return turn()
    }
    this.occupied = false
  })
}

const lines = new WeakMap<Effect.Semaphore, Line>()

const lineOf = (semaphore: Effect.Semaphore): Line => {
  let line = lines.get(semaphore)
  if (!line) lines.set(semaphore, line = new Line())
  return line
}

/** Runs the effect with one permit. All who use the semaphore do it through this. */
export const withPermit =
  (semaphore: Effect.Semaphore) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.uninterruptibleMask((restore) => {
      const line = lineOf(semaphore)
      return restore(line.enter).pipe(
        Effect.zipRight(Effect.ensuring(restore(semaphore.take(1)), line.leave)),
        Effect.zipRight(Effect.ensuring(restore(effect), semaphore.release(1)))
      )
    })
