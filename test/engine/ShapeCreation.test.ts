/**
 * What is left of a shape's creation when it is done.
 */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeState } from "../../src/storage/ShapeStorageMemory.ts"
import { insert, itemsOf, readAll, request, Source, start, tableOf } from "../support/EngineWorld.ts"
import { inOrder } from "../support/Simulation.ts"

it("a consumer without work ends with the snapshot, long before its idle time, and is started again by a change", () => {
  const simulation = inOrder()
  simulation.run(Effect.gen(function*() {
    const source = new Source(tableOf(10, "items", ["id", "title"]))
    const { engine, gauges } = yield* start(source, makeState(), { idleMillis: 30_000 })
    const { handle } = yield* engine.resolve(request("items"))
    yield* simulation.advance("200 millis")
    assert.strictEqual(gauges.consumers(), 0)
    source.transaction(insert("items", { id: "1", title: "t" }))
    source.deliver()
    yield* simulation.advance("200 millis")
    assert.strictEqual(gauges.consumers(), 1)
    const { text } = yield* readAll(engine, handle)
    const rows = itemsOf(text).filter(({ headers }) => headers.operation !== undefined)
    assert.deepStrictEqual(rows.map(({ value }) => value["id"]), ["1"])
  }))
})
