/**
 * Runs a small concurrent program under every schedule: before each operation of each fiber, whichever fiber can run may be the next. All
 * choices are walked depth-first, one run of the whole program after another (stateless model checking).
 *
 * Schedules grow exponentially with the program, so a search may be bounded: to schedules with at most `preemptions` switches away from a fiber that
 * could have gone on (switches from one that waits or has ended are free). Within the bound the search is complete, or fails: it never stops
 * early in silence.
 */
import { Effect, Fiber, type Scope } from "effect"
import { type Choose, Simulation, type Task } from "./Simulation.ts"

export interface Program<S, A, E> {
  /** Runs in one fixed order. */
  readonly setup: Effect.Effect<S, E, Scope.Scope>
  /** The fibers whose interleavings are explored; whatever else there is runs as soon as it can. */
  readonly race: (state: S) => ReadonlyArray<Effect.Effect<A, E>>
  /** Fibers that take part and need not end, such as a consumer's loop. */
  readonly beside?: (state: S) => ReadonlyArray<Effect.Effect<unknown>>
  /** Fails when what came of the race is wrong. */
  readonly check: (state: S, results: ReadonlyArray<A>) => Effect.Effect<void, E>
}

export interface Bounds {
  /** Most switches away from a fiber that could have gone on; without bound when left out. */
  readonly preemptions?: number
  /** Also before operations that only hand a value on. */
  readonly finest?: boolean
  /** A search that needs more schedules than this fails. */
  readonly maxSchedules: number
}

interface Branch {
  readonly options: number
  /** Options from this one on cost a preemption. */
  readonly freeOptions: number
  taken: number
}

/** Runs the program under every schedule within the bounds; returns how many there were. Throws for the first that fails its check. */
export const explore = <S, A, E>(program: Program<S, A, E>, bounds: Bounds): number => {
  const limit = bounds.preemptions ?? Infinity
  let path: Array<Branch> = []
  let schedules = 0
  while (true) {
    schedules += 1
    if (schedules > bounds.maxSchedules) throw new Error(`more than ${bounds.maxSchedules} schedules`)
    let depth = 0
    let exploring = false
    const actors = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
    let actor: Task["fiber"]
    const choose: Choose = (tasks, last) => {
      if (!exploring || tasks.length === 1) return 0
      const isActor = (fiber: Task["fiber"]) => fiber !== undefined && actors.has(fiber)
      const bystander = tasks.findIndex(({ fiber }) => !isActor(fiber))
      if (bystander >= 0) return bystander
      // The fiber that ran comes first: to go on with it costs nothing.
      if (isActor(last)) actor = last
      const current = tasks.findIndex(({ fiber }) => fiber === actor)
      const branch = path[depth] ??= { options: tasks.length, freeOptions: current < 0 ? tasks.length : 1, taken: 0 }
      if (branch.options !== tasks.length) throw new Error("the program does not run the same way twice")
      depth += 1
      if (current < 0) return branch.taken
      return branch.taken === 0 ? current : branch.taken <= current ? branch.taken - 1 : branch.taken
    }
    const simulation = new Simulation(choose, bounds.finest)
    try {
      simulation.run(Effect.gen(function*() {
        const state = yield* program.setup
        yield* simulation.settle
        const ready = Effect.unsafeMakeLatch(false)
        const fibers = yield* Effect.forEach(
          program.race(state),
          (effect) => Effect.fork(Effect.zipRight(ready.await, effect))
        )
        const beside = yield* Effect.forEach(
          program.beside?.(state) ?? [],
          (effect) => Effect.fork(Effect.zipRight(ready.await, effect))
        )
        for (const fiber of [...fibers, ...beside]) actors.add(fiber)
        yield* simulation.settle
        yield* simulation.finely(simulation.elapse(Effect.suspend(() => {
          exploring = true
          ready.unsafeOpen()
          return Effect.forEach(fibers, Fiber.await)
        })))
        exploring = false
        const results = yield* Effect.forEach(fibers, Fiber.join)
        yield* simulation.settle
        yield* program.check(state, results)
      }))
      if (simulation.errors.length > 0) throw new Error(simulation.errors.join("\n"))
    } catch (error) {
      const taken = path.map((branch) => branch.taken).join(" ")
      throw new Error(
        `schedule ${schedules} (${taken}) fails: ${error instanceof Error ? error.stack : JSON.stringify(error)}`
      )
    }
    // The next schedule: the deepest choice that has another option within the bound.
    path.length = depth
    let next: number | undefined
    let used = path.map((branch) => (branch.taken >= branch.freeOptions ? 1 : 0) as number).reduce(
      (sum, cost) => sum + cost,
      0
    )
    for (let i = path.length - 1; i >= 0; i--) {
      const branch = path[i]!
      if (branch.taken >= branch.freeOptions) used -= 1
      const cost = branch.taken + 1 >= branch.freeOptions ? 1 : 0
      if (branch.taken + 1 < branch.options && used + cost <= limit) {
        next = i
        break
      }
    }
    if (next === undefined) return schedules
    path = path.slice(0, next + 1)
    path[next]!.taken += 1
  }
}
