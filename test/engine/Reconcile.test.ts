/**
 * What the stream does not say of tables: a catalog that is asked once a minute says it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { insert, readAll, request, Source, start, tableOf } from "../support/EngineWorld.ts"
import { inOrder } from "../support/Simulation.ts"

const columns = ["id", "title"]

const changes: Readonly<Record<string, (source: Source) => void>> = {
  dropped: (source) => source.tables.delete("items"),
  "made anew": (source) => source.createTable(tableOf(11, "items", columns)),
  renamed: (source) => {
    source.tables.delete("items")
    source.createTable(tableOf(10, "things", columns))
  },
  altered: (source) => source.createTable(tableOf(10, "items", [...columns, "more"])),
  "left as it is": () => undefined
}

describe("tables that are not what they were", () => {
  it("a table that is dropped, made anew, renamed or altered without a write ends its shapes within a minute", () => {
    for (const [name, change] of Object.entries(changes)) {
      const simulation = inOrder()
      simulation.run(Effect.gen(function*() {
        const source = new Source(tableOf(10, "items", columns))
        source.transaction(insert("items", { id: "1", title: "t" }))
        const { engine } = yield* start(source)
        const { handle } = yield* engine.resolve(request("items"))
        const { end } = yield* readAll(engine, handle)
        const waiting = yield* Effect.fork(Effect.either(engine.awaitChange(handle, end)))
        yield* simulation.advance("59 seconds")
        change(source)
        assert.isTrue(engine.exists(handle), name)
        yield* simulation.advance("2 seconds")
        assert.strictEqual(engine.exists(handle), name === "left as it is", name)
        if (name === "left as it is") return yield* Fiber.interrupt(waiting)
        // Who waits for news learns of it.
        const told = yield* Fiber.join(waiting)
        assert.strictEqual(told._tag === "Left" ? told.left._tag : told._tag, "ShapeGone", name)
      }))
    }
  })
})
