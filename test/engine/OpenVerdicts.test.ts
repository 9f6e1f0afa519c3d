/**
 * Clauses that only Postgres can evaluate, in the simulated world: `strange(title)` is true of titles that begin with s, and
 * fails on `error`.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Either, type Scope } from "effect"
import { makeState } from "../../src/storage/ShapeStorageMemory.ts"
import * as Grammar from "../../src/where/Grammar.ts"
import {
  insert,
  itemsOf,
  materialize,
  readAll,
  remove,
  request,
  Source,
  start,
  tableOf,
  update
} from "../support/EngineWorld.ts"
import { inOrder, type Simulation } from "../support/Simulation.ts"

// The simulated world has no time for the parser to be loaded.
beforeAll(() => Effect.runPromise(Grammar.parse("true")))

const row = (id: number, title: string | null) => ({ id: String(id), title })

/** An engine with a shape of strange titles, one of everything and one of title a. */
const setUp = Effect.fnUntraced(function*(simulation: Simulation) {
  const source = new Source(tableOf(10, "items", ["id", "title"]))
  source.automatic = false
  const started = yield* start(source, makeState())
  const strange = yield* started.engine.resolve(request("items", { where: "strange(title)" }))
  const all = yield* started.engine.resolve(request("items"))
  const plain = yield* started.engine.resolve(request("items", { where: "title = 'a'" }))
  yield* simulation.advance("2 seconds")
  return { source, ...started, strange: strange.handle, all: all.handle, plain: plain.handle }
})
type World = Effect.Effect.Success<ReturnType<typeof setUp>>

const history = (name: string, test: (simulation: Simulation) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
  it(name, () => {
    const simulation = inOrder()
    simulation.run(test(simulation))
  })

/** Operations and ids of a shape's log. */
const log = ({ engine }: World, handle: string) =>
  Effect.map(
    readAll(engine, handle),
    ({ text }) =>
      itemsOf(text).flatMap(({ headers, value }) =>
        headers.operation === undefined ? [] : [`${headers.operation} ${value["id"]}`]
      )
  )

const ids = ({ engine }: World, handle: string) =>
  Effect.map(readAll(engine, handle), ({ text }) => [...materialize(itemsOf(text)).values()].map(({ id }) => id))

describe("a clause that only Postgres can evaluate", () => {
  history("rows enter, stay, leave and never come, in the order of the log", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      const { source } = world
      source.transaction(
        insert("items", row(1, "s1")),
        insert("items", row(2, "a")),
        insert("items", row(3, null)),
        update("items", row(1, "s1"), row(1, "s2")),
        update("items", row(2, "a"), row(2, "s")),
        update("items", row(1, "s2"), row(1, "b")),
        remove("items", row(2, "s")),
        remove("items", row(3, null)),
        insert("items", row(4, "s4"))
      )
      source.deliver()
      yield* simulation.advance("1 second")
      const expected = ["insert 1", "update 1", "insert 2", "delete 1", "delete 2", "insert 4"]
      assert.deepStrictEqual(yield* log(world, world.strange), expected)
      assert.deepStrictEqual(yield* log(world, world.plain), ["insert 2", "delete 2"])
      assert.strictEqual(source.evaluations, 1, "one question for all rows of the batch")
    }))

  history(
    "is asked about once more when the database can't be reached, and nothing is lost or comes twice",
    (simulation) =>
      Effect.gen(function*() {
        const world = yield* setUp(simulation)
        const { source } = world
        source.failEvaluations = 3
        source.transaction(insert("items", row(1, "s")), insert("items", row(2, "x")))
        source.transaction(update("items", row(2, "x"), row(2, "s")))
        source.deliver()
        yield* simulation.settle
        assert.deepStrictEqual(yield* log(world, world.strange), [])
        assert.deepStrictEqual(yield* log(world, world.all), [], "the stream waits as a whole")
        yield* simulation.advance("1 minute")
        assert.deepStrictEqual(yield* log(world, world.strange), ["insert 1", "insert 2"])
        assert.deepStrictEqual(yield* log(world, world.all), ["insert 1", "insert 2", "update 2"])
        assert.strictEqual(source.evaluations, 4)
      })
  )

  history("that fails for a row rotates its shape, and no other", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      const { source } = world
      source.transaction(insert("items", row(1, "s")), insert("items", row(2, "error")))
      source.deliver()
      yield* simulation.advance("1 second")
      const gone = yield* Effect.either(readAll(world.engine, world.strange))
      assert(Either.isLeft(gone) && gone.left._tag === "ShapeGone")
      assert.deepStrictEqual(yield* ids(world, world.all), ["1", "2"])
    }))

  history("the shape is removed while Postgres is asked", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      const { engine, source } = world
      yield* source.beforeVerdicts.gate.close
      source.transaction(insert("items", row(1, "s")))
      source.deliver()
      yield* simulation.settle
      yield* engine.remove(world.strange)
      yield* source.beforeVerdicts.gate.open
      yield* simulation.advance("1 second")
      assert.deepStrictEqual(yield* ids(world, world.all), ["1"])
      assert.strictEqual(world.gauges.memoryBytes(), 0)
      assert.strictEqual(world.gauges.shapes(), 2)
    }))

  history("the connection is lost while Postgres is asked", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      const { source } = world
      yield* source.beforeVerdicts.gate.close
      source.transaction(insert("items", row(1, "s")), insert("items", row(2, "t")))
      source.deliver(2)
      yield* simulation.settle
      source.disconnect()
      yield* simulation.settle
      yield* source.beforeVerdicts.gate.open
      yield* simulation.advance("10 seconds")
      source.deliver()
      yield* simulation.advance("10 seconds")
      assert.deepStrictEqual(yield* log(world, world.strange), ["insert 1"])
      assert.deepStrictEqual(yield* log(world, world.all), ["insert 1", "insert 2"])
    }))

  history("a shape that is made while Postgres is asked has all of it", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      const { engine, source } = world
      yield* source.beforeVerdicts.gate.close
      source.transaction(insert("items", row(1, "s")), insert("items", row(2, "t")))
      source.deliver()
      yield* simulation.settle
      const late = yield* engine.resolve(request("items", { where: "strange(title)", columns: ["id"] }))
      yield* simulation.advance("1 second")
      yield* source.beforeVerdicts.gate.open
      source.transaction(insert("items", row(3, "s")))
      source.deliver()
      yield* simulation.advance("10 seconds")
      assert.deepStrictEqual(yield* ids(world, late.handle), ["1", "3"])
      assert.deepStrictEqual(yield* ids(world, world.strange), ["1", "3"])
    }))

  history("is not asked about what something else has settled", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      const { engine, source } = world
      yield* engine.remove(world.strange)
      const both = yield* engine.resolve(request("items", { where: "strange(title) AND id = '1'" }))
      yield* simulation.advance("1 second")
      source.transaction(insert("items", row(2, "s")), insert("items", row(3, "s")))
      source.deliver()
      yield* simulation.advance("1 second")
      assert.strictEqual(source.evaluations, 0)
      source.transaction(insert("items", row(1, "s")))
      source.deliver()
      yield* simulation.advance("1 second")
      assert.strictEqual(source.evaluations, 1)
      assert.deepStrictEqual(yield* ids(world, both.handle), ["1"])
      const { where } = yield* engine.describe(both.handle)
      assert.deepStrictEqual(where?.index, ["id = 1"])
      assert.deepStrictEqual(where?.parts.map(({ by }) => by), ["Postgres", "closure"])
      assert.isFalse(where?.exact)
    }))
})
