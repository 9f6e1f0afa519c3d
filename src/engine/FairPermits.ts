/**
 * A semaphore's permits in the order in which they were asked for.
 *
 * Effect's semaphore wakes everybody who waits for it with each permit that comes back, and all but one go to sleep
 * again: with thousands of waiters that is all the time there is. Here only the first in the line waits for the
 * semaphore, and a permit wakes one fiber.
 */
import { Effect } from "effect"

/** A place in the line. */
interface Ticket {
  /** Set while its holder sleeps. */
  wake: (() => void) | undefined
}

class Line {
  private first: Ticket | undefined
  private readonly others = new Set<Ticket>()

  enter(): Ticket {
    const ticket: Ticket = { wake: undefined }
    if (this.first) this.others.add(ticket)
    else this.first = ticket
    return ticket
  }

  /** Completes when the ticket is the first in the line. */
  awaitTurn(ticket: Ticket): Effect.Effect<void> {
    return this.first === ticket ? Effect.void : Effect.async((resume) => {
      if (this.first === ticket) return resume(Effect.void)
      ticket.wake = () => resume(Effect.void)
    })
  }

  /** Leaves the line, whether it was one's turn or not. */
  leave(ticket: Ticket): void {
    this.others.delete(ticket)
    if (this.first !== ticket) return
    this.first = undefined
    for (const next of this.others) {
      this.others.delete(next)
      this.first = next
      return next.wake?.()
    }
  }
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
      const ticket = line.enter()
      return restore(Effect.zipRight(line.awaitTurn(ticket), semaphore.take(1))).pipe(
        Effect.ensuring(Effect.sync(() => line.leave(ticket))),
        Effect.zipRight(Effect.ensuring(restore(effect), semaphore.release(1)))
      )
    })
