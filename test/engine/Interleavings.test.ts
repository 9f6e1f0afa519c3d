import { assert, describe, it } from "@effect/vitest"
import { Effect, Ref } from "effect"
import { explore } from "../support/Interleavings.ts"

const increments = (increment: (ref: Ref.Ref<number>) => Effect.Effect<void>) => ({
  setup: Ref.make(0),
  race: (ref: Ref.Ref<number>) => [increment(ref), increment(ref)],
  check: (ref: Ref.Ref<number>) =>
    Effect.flatMap(Ref.get(ref), (value) => (value === 2 ? Effect.void : Effect.fail(`${value} of 2 increments`)))
})

const inTwoSteps = increments((ref) => Effect.flatMap(Ref.get(ref), (value) => Ref.set(ref, value + 1)))

describe("explore", () => {
  it("finds an increment that gets lost", () => {
    assert.throws(() => explore(inTwoSteps, { maxSchedules: 1000 }), /1 of 2 increments/)
  })
  it("finds it with a single preemption, and not with none", () => {
    assert.throws(() => explore(inTwoSteps, { preemptions: 1, maxSchedules: 1000 }), /1 of 2 increments/)
    assert.isAbove(explore(inTwoSteps, { preemptions: 0, maxSchedules: 1000 }), 1)
  })
  it("goes through every schedule of what is right", () => {
    const n = explore(increments((ref) => Ref.update(ref, (value) => value + 1)), { maxSchedules: 1000 })
    assert.isAbove(n, 2)
    assert.isBelow(n, 100)
  })
})
