/**
 * Holds requests until something happens or their time is up, cheaply when there are very many: a held request is a
 * callback and an entry in two sets. Requests that wait for the same thing share one fiber that waits for it, and the
 * time of all requests with the same limit is watched by one fiber.
 *
 * Must be released after the server that holds requests with it.
 */
import { Effect, Exit, Fiber, FiberId, Runtime, type Scope } from "effect"
import * as Deadlines from "./Deadlines.ts"

/** How a wait ended: `true` when what was waited for has come, `false` when its time is up. */
export type Outcome<E> = Exit.Exit<boolean, E>

interface Held<E> {
  readonly resume: (outcome: Outcome<E>) => void
  /** Takes the time limit back. */
  cancel: () => void
}

interface Group<E> {
  readonly key: string
  readonly held: Set<Held<E>>
  fiber: Fiber.RuntimeFiber<void, E> | undefined
}

export interface HeldRequests<E, L extends string> {
  /**
   * Succeeds with `true` when `wake` has completed, `false` when the limit is over or the server drains, and fails as
   * `wake` fails. `wake` runs once for all that wait under the same key, and is interrupted when nobody does any more.
   */
  readonly hold: (limit: L, key: string, wake: Effect.Effect<void, E>) => Effect.Effect<boolean, E>
  /** The same with a callback, which is called once unless what this returns is called before. */
  readonly unsafeHold: (
    limit: L,
    key: string,
    wake: Effect.Effect<void, E>,
    resume: (outcome: Outcome<E>) => void
  ) => () => void
  /** Calls `expire` when the limit is over or the server drains. What it returns takes that back. */
  readonly after: Deadlines.Deadlines<L>["after"]
  readonly isDraining: () => boolean
  /** Ends all waits as if their time were up, and lets nobody wait from now on. */
  readonly drain: Effect.Effect<void>
  /** Number of requests held now, under one limit or all, and of groups that they wait in. */
  readonly size: (limit?: L) => number
  readonly groups: () => number
}

/** Holds requests under one of several time limits, in ms by name. */
export const make = <E, const L extends string>(
  limits: ReadonlyArray<readonly [L, number]>
): Effect.Effect<HeldRequests<E, L>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const runFork = Runtime.runFork(yield* Effect.runtime<never>())
    const deadlines = yield* Deadlines.make(limits)
    const groups = new Map<string, Group<E>>()
    const timeIsUp = Exit.succeed(false)

    yield* Effect.addFinalizer(() =>
      Fiber.interruptAll(Array.from(groups.values()).flatMap(({ fiber }) => (fiber ? [fiber] : [])))
    )

    /** Takes a request out; the last of its group ends the group's fiber. */
    const leave = (group: Group<E>, held: Held<E>) => {
      group.held.delete(held)
      if (group.held.size === 0 && groups.get(group.key) === group) {
        groups.delete(group.key)
        group.fiber?.unsafeInterruptAsFork(FiberId.none)
      }
    }

    /** Groups whose wait is over, in that order, and how many requests were woken in this turn. */
    const woken: Array<{ readonly group: Group<E>; readonly outcome: Outcome<E> }> = []
    let spent = 0

    /** As many as may be woken in this turn, of one group or of many; the others follow in the next ones. */
    const wakeSome = () => {
      for (let next = woken[0]; next !== undefined; next = woken[0]) {
        for (const held of next.group.held) {
          if (spent === Deadlines.BATCH) return
          if (spent++ === 0) {
            setImmediate(() => {
              spent = 0
              wakeSome()
            })
          }
          next.group.held.delete(held)
          held.cancel()
          held.resume(next.outcome)
        }
        woken.shift()
      }
    }

    const start = (group: Group<E>, wake: Effect.Effect<void, E>) => {
      const fiber = runFork(wake)
      group.fiber = fiber
      fiber.addObserver((exit) => {
        if (groups.get(group.key) === group) groups.delete(group.key)
        woken.push({ group, outcome: Exit.as(exit, true) })
        if (woken.length === 1) wakeSome()
      })
    }

    const unsafeHold: HeldRequests<E, L>["unsafeHold"] = (limit, key, wake, resume) => {
      if (deadlines.isDraining()) {
        resume(timeIsUp)
        return () => undefined
      }
      let group = groups.get(key)
      const isNew = group === undefined
      if (group === undefined) {
        group = { key, held: new Set(), fiber: undefined }
        groups.set(key, group)
      }
      const joined = group
      const held: Held<E> = { resume, cancel: () => undefined }
      held.cancel = deadlines.after(limit, () => {
        leave(joined, held)
        resume(timeIsUp)
      })
      joined.held.add(held)
      if (isNew) start(joined, wake)
      return () => {
        held.cancel()
        leave(joined, held)
      }
    }

    return {
      unsafeHold,
      hold: (limit, key, wake) =>
        Effect.async<boolean, E>((resume) => {
          const release = unsafeHold(limit, key, wake, resume)
          return Effect.sync(release)
        }),
      after: deadlines.after,
      isDraining: deadlines.isDraining,
      drain: deadlines.drain,
      size: deadlines.size,
      groups: () => groups.size
    }
  })
