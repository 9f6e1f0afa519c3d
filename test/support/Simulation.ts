/**
 * A world in which nothing happens by itself: which fiber runs next is asked of the test, time stands still until it is moved, and a whole
 * run, engine and all, is one synchronous call. So a run is repeated exactly by the same answers, and thousands fit into a second.
 *
 * Only what is made of Effects runs here: a promise or a timer of Node's would never be waited for.
 */
import {
  Cause,
  Clock,
  Duration,
  Effect,
  Exit,
  type Fiber,
  FiberRef,
  Logger,
  LogLevel,
  Runtime,
  RuntimeFlags,
  type Scope,
  Supervisor
} from "effect"
import type { Scheduler } from "effect/Scheduler"

export interface Task {
  readonly run: () => void
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
}

/** Says which of the tasks runs next, by its number. `last` is the fiber that ran before. */
export type Choose = (tasks: ReadonlyArray<Task>, last: Task["fiber"]) => number

interface Sleeper {
  readonly at: number
  readonly wake: () => void
}

/** Operations that neither touch anything nor run code of the program's: nothing can come between them and what follows. */
const pushes: ReadonlyArray<string> = ["OnSuccess", "OnFailure", "OnSuccessAndFailure", "UpdateRuntimeFlags"]
/** These only hand a value on to the code that follows, so that what comes before them might as well come before that value was made. */
const values: ReadonlyArray<string> = ["Success", "Failure"]

class Watcher extends Supervisor.AbstractSupervisor<void> {
  override value = Effect.void
  /** Runs the program as a whole; takes no part in it. */
  root: unknown

  constructor(finest: boolean) {
    super()
    this.passed = new Set(finest ? pushes : [...pushes, ...values])
  }

  private passing = false
  private readonly passed: ReadonlySet<string>
  private readonly yielded = new WeakSet<object>()

  override onEffect(_: Fiber.RuntimeFiber<unknown, unknown>, effect: Effect.Effect<unknown, unknown, unknown>) {
    this.passing = this.passed.has((effect as { readonly _op?: string })._op ?? "")
  }

  /** Whether the fiber is to let others run before its next operation. */
  yields(fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean {
    // The first operation after a yield only returns from it, the second is the one that was held back.
    if (fiber.currentOpCount === 1 || fiber === this.root) return false
    if (this.yielded.delete(fiber) && fiber.currentOpCount === 2) return false
    if (this.passing) return false
    this.yielded.add(fiber)
    return true
  }
}

const MAX_STEPS = 300_000

export class Simulation {
  private tasks: Array<Task> = []
  private last: Task["fiber"]
  private readonly sleepers = new Set<Sleeper>()
  private readonly settling: Array<() => void> = []
  private millis = 1_700_000_000_000
  private readonly watcher: Watcher
  private choosing = false
  private elapsing = false
  private readonly choose: Choose
  /** What was logged as an error or worse. */
  readonly errors: Array<string> = []
  steps = 0

  /** With `finest`, fibers also take turns before operations that only hand a value on. */
  constructor(choose: Choose, finest = false) {
    this.choose = choose
    this.watcher = new Watcher(finest)
  }

  private readonly scheduler: Scheduler = {
    shouldYield: (fiber) => {
      if (!this.choosing) return fiber.currentOpCount > 2048 ? 0 : false
      // Without a priority, for to set one takes operations of its own.
      return this.watcher.yields(fiber) ? undefined as never : false
    },
    scheduleTask: (run, _, fiber) => {
      this.tasks.push({ run, fiber })
    }
  }

  private readonly clock: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => this.millis,
    unsafeCurrentTimeNanos: () => BigInt(this.millis) * 1_000_000n,
    currentTimeMillis: Effect.sync(() => this.millis),
    currentTimeNanos: Effect.sync(() => BigInt(this.millis) * 1_000_000n),
    sleep: (duration) =>
      Effect.async<void>((resume) => {
        const millis = Duration.toMillis(duration)
        if (millis <= 0) return resume(Effect.void)
        const sleeper = { at: this.millis + millis, wake: () => resume(Effect.void) }
        this.sleepers.add(sleeper)
        return Effect.sync(() => {
          this.sleepers.delete(sleeper)
        })
      })
  }

  private readonly logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    if (LogLevel.greaterThanEqual(logLevel, LogLevel.Error)) {
      this.errors.push(`${String(message)} ${Cause.isEmpty(cause) ? "" : Cause.pretty(cause)}`)
    }
  })

  /** Between every two operations of every fiber another may be chosen; outside of it a fiber runs until it waits. */
  readonly finely = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        this.choosing = true
      }),
      () => effect,
      () =>
        Effect.sync(() => {
          this.choosing = false
        })
    )

  /** Completes when nothing else can run before time moves. */
  readonly settle: Effect.Effect<void> = Effect.async<void>((resume) => {
    this.settling.push(() => resume(Effect.void))
  })

  /** Lets time pass, waking sleepers one after another. */
  readonly advance = (duration: Duration.DurationInput): Effect.Effect<void> =>
    Effect.gen(this, function*() {
      const until = this.millis + Duration.toMillis(duration)
      yield* this.settle
      while (this.wakeNext(until)) yield* this.settle
      this.millis = until
    })

  /** Runs the effect; time moves on whenever nothing else can. */
  readonly elapse = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        this.elapsing = true
      }),
      () => effect,
      () =>
        Effect.sync(() => {
          this.elapsing = false
        })
    )

  /** Moves time to the next sleeper's, if that is not after `until`, and wakes it. */
  private wakeNext(until: number): boolean {
    let next: Sleeper | undefined
    for (const sleeper of this.sleepers) if (next === undefined || sleeper.at < next.at) next = sleeper
    if (next === undefined || next.at > until) return false
    this.millis = Math.max(this.millis, next.at)
    this.sleepers.delete(next)
    next.wake()
    return true
  }

  private drain(done: () => boolean): void {
    while (!done()) {
      if (this.tasks.length > 0) {
        const at = this.tasks.length === 1 && !this.choosing ? 0 : this.choose(this.tasks, this.last)
        const [task] = this.tasks.splice(at, 1)
        this.last = task!.fiber
        this.steps += 1
        if (this.steps > MAX_STEPS) {
          throw new Error(`the simulation does not come to an end (at ${this.millis}, ${this.tasks.length} tasks)`)
        }
        task!.run()
      } else if (this.settling.length > 0) this.settling.shift()!()
      else if (!this.elapsing || !this.wakeNext(this.millis + 3_600_000)) {
        throw new Error(`the simulation is stuck: every fiber waits, ${this.sleepers.size} of them for time to pass`)
      }
    }
  }

  /** Runs the effect to its end, scope included, and throws what it fails with. */
  run<A, E>(effect: Effect.Effect<A, E, Scope.Scope>): A {
    const runtime = Runtime.defaultRuntime.pipe(
      Runtime.enableRuntimeFlag(RuntimeFlags.OpSupervision),
      Runtime.setFiberRef(FiberRef.currentSupervisor, this.watcher)
    )
    let exit: Exit.Exit<A, E> | undefined
    const fiber = Runtime.runFork(runtime)(
      Effect.scoped(effect).pipe(
        Effect.withClock(this.clock),
        Effect.provide(Logger.replace(Logger.defaultLogger, this.logger))
      ),
      { scheduler: this.scheduler }
    )
    this.watcher.root = fiber
    fiber.addObserver((ended) => {
      exit = ended
    })
    this.drain(() => exit !== undefined)
    return Exit.getOrElse(exit ?? Exit.die("no exit"), (cause) => {
      throw Cause.squash(cause)
    })
  }
}

/** A run in which fibers take turns in the order in which they became ready. */
export const inOrder = (): Simulation => new Simulation(() => 0)

/** Numbers in [0, 1) that a seed determines (mulberry32). */
export const randomOf = (seed: number) => {
  let state = seed >>> 0
  return (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
