/**
 * Tables that are altered while shapes of them come to be.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { makeState } from "../../src/storage/ShapeStorageMemory.ts"
import * as Grammar from "../../src/where/Grammar.ts"
import { insert, request, Source, start, tableOf } from "../support/EngineWorld.ts"
import { inOrder } from "../support/Simulation.ts"

// The simulated world has no time for the parser to be loaded.
beforeAll(() => Effect.runPromise(Grammar.parse("true")))

const before = tableOf(4711, "items", ["id", "title"])
const after = tableOf(4711, "items", ["id", "title", "more"])

describe("a table whose new definition comes down the stream", () => {
  it("while a request for it is looked into: the shape is of the new one", () => {
    const simulation = inOrder()
    simulation.run(Effect.gen(function*() {
      const source = new Source(before)
      const { engine } = yield* start(source, makeState())
      yield* source.checking.gate.close
      const asked = yield* Effect.fork(engine.resolve(request("items", { where: "title = 'x'" })))
      source.deliver()
      yield* simulation.advance("10 millis")
      source.createTable(after)
      source.transaction(insert("items", { id: "1", title: "x", more: "y" }))
      source.deliver()
      yield* simulation.advance("10 millis")
      yield* source.checking.gate.open
      yield* simulation.advance("1 second")
      const { handle, schema } = yield* Fiber.join(asked)
      assert.include(schema, "more")
      assert.isTrue(engine.exists(handle))
    }))
  })

  it("before its shape is registered: the shape is removed", () => {
    const simulation = inOrder()
    simulation.run(Effect.gen(function*() {
      const source = new Source(before)
      const { engine } = yield* start(source, makeState())
      yield* source.publishing.gate.close
      const old = yield* engine.resolve(request("items"))
      source.deliver()
      yield* simulation.advance("10 millis")
      source.createTable(after)
      source.transaction(insert("items", { id: "1", title: "x", more: "y" }))
      source.deliver()
      yield* simulation.advance("10 millis")
      yield* source.publishing.gate.open
      source.deliver()
      yield* simulation.advance("10 millis")
      assert.isFalse(engine.exists(old.handle))
      assert.include((yield* engine.resolve(request("items"))).schema, "more")
    }))
  })
})
