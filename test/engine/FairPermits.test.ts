import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, FiberId } from "effect"
import * as FairPermits from "../../src/engine/FairPermits.ts"

/** Work that says when it runs, and ends when it is told to. */
const makeJobs = (count: number) => {
  const semaphore = Effect.unsafeMakeSemaphore(1)
  const running: Array<number> = []
  const jobs = Array.from({ length: count }, (_, i) => {
    const end = Deferred.unsafeMake<void>(FiberId.none)
    const work = FairPermits.withPermit(semaphore)(
      Effect.zipRight(Effect.sync(() => void running.push(i)), Deferred.await(end))
    )
    return { work, end: Deferred.succeed(end, void 0) }
  })
  return { jobs, running }
}

/** Lets every fiber run until it waits. */
const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow(), { discard: true })

describe("permits", () => {
  it.effect("are given one by one, in the order in which they were asked for", () =>
    Effect.gen(function*() {
      const { jobs, running } = makeJobs(4)
      const fibers = yield* Effect.forEach(jobs, ({ work }) => Effect.zipLeft(Effect.fork(work), settle))
      for (let i = 0; i < jobs.length; i++) {
        assert.deepStrictEqual(running, Array.from({ length: i + 1 }, (_, n) => n))
        yield* jobs[i]!.end
        yield* settle
      }
      yield* Fiber.joinAll(fibers)
    }))

  it.effect("go to the next when one who waits is interrupted, the first in the line or another", () =>
    Effect.gen(function*() {
      const { jobs, running } = makeJobs(5)
      const fibers = yield* Effect.forEach(jobs, ({ work }) => Effect.zipLeft(Effect.fork(work), settle))
      yield* Fiber.interrupt(fibers[1]!)
      yield* Fiber.interrupt(fibers[3]!)
      yield* jobs[0]!.end
      yield* settle
      assert.deepStrictEqual(running, [0, 2])
      yield* jobs[2]!.end
      yield* settle
      assert.deepStrictEqual(running, [0, 2, 4])
      yield* jobs[4]!.end
      yield* Fiber.join(fibers[4]!)
    }))

  it.effect("come back from work that is interrupted", () =>
    Effect.gen(function*() {
      const { jobs, running } = makeJobs(2)
      const [first, second] = yield* Effect.forEach(jobs, ({ work }) => Effect.zipLeft(Effect.fork(work), settle))
      yield* Fiber.interrupt(first!)
      yield* settle
      assert.deepStrictEqual(running, [0, 1])
      yield* jobs[1]!.end
      yield* Fiber.join(second!)
    }))

  it.effect("are not lost to one who is interrupted as his turn comes", () =>
    Effect.gen(function*() {
      const { jobs, running } = makeJobs(3)
      const fibers = yield* Effect.forEach(jobs, ({ work }) => Effect.zipLeft(Effect.fork(work), settle))
      // In one turn: the permit comes back, and who is next is told to end.
      yield* jobs[0]!.end
      yield* Fiber.interruptFork(fibers[1]!)
      yield* settle
      yield* jobs[1]!.end
      yield* settle
      assert.strictEqual(running.at(-1), 2)
      yield* jobs[2]!.end
      yield* Fiber.join(fibers[2]!)
    }))
})
