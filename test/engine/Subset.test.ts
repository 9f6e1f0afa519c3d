/**
 * Subsets and the rest of what the engine does for requests that are not reads of a log, over a simulated Postgres: each test is one
 * history, run synchronously, the same every time.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Scope } from "effect"
import { SnapshotFailed } from "../../src/domain/Errors.ts"
import type { SubsetRequest } from "../../src/domain/ShapeDefinition.ts"
import type { ShapeEngine } from "../../src/engine/ShapeEngine.ts"
import { makeState } from "../../src/storage/ShapeStorageMemory.ts"
import * as Grammar from "../../src/where/Grammar.ts"
import { bodyText, insert, itemsOf, request, Source, start, tableOf, truncate } from "../support/EngineWorld.ts"
import { inOrder, type Simulation } from "../support/Simulation.ts"

// The parser is loaded before a history begins: nothing in it waits for the real world.
beforeAll(() => Effect.runPromise(Grammar.parse("true")))

const all: SubsetRequest = {
  where: undefined,
  params: [],
  orderBy: undefined,
  limit: undefined,
  offset: undefined,
  queryable: undefined
}

const row = (id: number) => ({ id: String(id), title: "t" })

const history = (
  name: string,
  test: (simulation: Simulation) => Effect.Effect<unknown, unknown, Scope.Scope>
) =>
  it(name, () => {
    const simulation = inOrder()
    simulation.run(test(simulation))
  })

const world = () => new Source(tableOf(10, "items", ["id", "title"]))

const idsOf = (text: string) => itemsOf(text).map(({ value }) => value["id"])

const idsIn = (engine: ShapeEngine["Type"], handle: string, subset: SubsetRequest) =>
  Effect.scoped(
    Effect.map(Effect.flatMap(engine.subset(handle, subset), ({ body }) => bodyText(body)), idsOf)
  )

describe("a subset", () => {
  history("is read in a snapshot that sees whatever the stream has brought", (simulation) =>
    Effect.gen(function*() {
      const source = world()
      const { engine } = yield* start(source)
      const { handle } = yield* engine.resolve(request("items"))
      yield* simulation.advance("1 second")
      const late = source.begin([insert("items", row(1))])
      source.commit(late)
      yield* simulation.settle
      // Its commit has been streamed, and queries do not see it yet.
      assert.strictEqual((yield* engine.end(handle)).tx > 0n, true)
      const before = source.snapshots
      const asking = yield* Effect.fork(idsIn(engine, handle, all))
      yield* simulation.advance("1 second")
      assert.isAbove(source.snapshots, before + 1)
      source.seen(late)
      yield* simulation.advance("1 second")
      assert.deepStrictEqual(yield* Fiber.join(asking), ["1"])
    }))

  history(
    "waits until the shape's own snapshot has begun, and fails as that does",
    (simulation) =>
      Effect.gen(function*() {
        const source = world()
        const { engine } = yield* start(source)
        yield* source.beforeMarks.gate.close
        const { handle } = yield* engine.resolve(request("items"))
        const asking = yield* Effect.fork(Effect.exit(idsIn(engine, handle, all)))
        yield* simulation.advance("1 second")
        assert.strictEqual(source.snapshots, 1)
        assert.isNull(asking.unsafePoll())
        yield* source.beforeMarks.gate.open
        yield* simulation.advance("1 second")
        assert.deepStrictEqual(yield* Fiber.join(asking), Exit.succeed([]))

        yield* source.beforeMarks.gate.close
        source.failSnapshot = new SnapshotFailed({ reason: "refused", detail: "permission denied" })
        const other = yield* engine.resolve({ ...request("items"), columns: ["id"] })
        const error = yield* Effect.fork(Effect.flip(idsIn(engine, other.handle, all)))
        yield* simulation.settle
        yield* source.beforeMarks.gate.open
        yield* simulation.advance("1 second")
        assert.strictEqual((yield* Fiber.join(error))._tag, "SnapshotFailed")
        const gone = yield* Effect.flip(idsIn(engine, "nobody", all))
        assert.strictEqual(gone._tag, "ShapeGone")
      })
  )

  history("says in each row which snapshot it is of", (simulation) =>
    Effect.gen(function*() {
      const source = world()
      const { engine } = yield* start(source)
      source.transaction(insert("items", row(1)))
      const { handle } = yield* engine.resolve(request("items"))
      yield* simulation.advance("1 second")
      const { mark, text } = yield* Effect.scoped(
        Effect.flatMap(
          engine.subset(handle, all),
          ({ body, mark }) => Effect.map(bodyText(body), (text) => ({ mark, text }))
        )
      )
      assert.isTrue(Number.isInteger(mark) && mark >= 0 && mark < 2 ** 31)
      assert.deepStrictEqual(JSON.parse(`[${text.slice(1)}]`), [{
        key: "\"public\".\"items\"/\"1\"",
        value: row(1),
        headers: { operation: "insert", relation: ["public", "items"], snapshot_mark: mark }
      }])
    }))

  history("gives its turn back however it ends", (simulation) =>
    Effect.gen(function*() {
      const source = world()
      source.transaction(...Array.from({ length: 3 }, (_, i) => insert("items", row(i))))
      const { engine } = yield* start(source, makeState(), { concurrentSubsets: 1 })
      const { handle } = yield* engine.resolve(request("items"))
      yield* simulation.advance("1 second")
      const ask = idsIn(engine, handle, all)
      // Whole, and its reader is in no hurry.
      const scope = yield* Scope.make()
      const kept = yield* Scope.extend(engine.subset(handle, all), scope)
      assert.lengthOf(yield* ask, 3)
      assert.lengthOf(idsOf(yield* bodyText(kept.body)), 3)
      yield* Scope.close(scope, Exit.void)
      // Refused, failed, interrupted.
      assert.strictEqual((yield* Effect.flip(idsIn(engine, handle, { ...all, where: "nope" })))._tag, "InvalidSubset")
      source.failSnapshot = new SnapshotFailed({ reason: "query_timeout", detail: "too slow" })
      assert.strictEqual((yield* Effect.flip(ask))._tag, "SnapshotFailed")
      source.failSnapshot = undefined
      yield* source.beforeMarks.gate.close
      const held = yield* Effect.fork(ask)
      yield* simulation.settle
      const next = yield* Effect.fork(Effect.flip(ask))
      yield* simulation.advance("31 seconds")
      const error = yield* Fiber.join(next)
      assert.strictEqual(error._tag === "SnapshotFailed" && error.reason, "pool_timeout")
      yield* Fiber.interrupt(held)
      yield* source.beforeMarks.gate.open
      assert.lengthOf(yield* ask, 3)
    }))

  history("too long for memory is read as it is pulled, and not for ever", (simulation) =>
    Effect.gen(function*() {
      const source = world()
      const title = "x".repeat(100_000)
      source.transaction(...Array.from({ length: 100 }, (_, i) => insert("items", { id: String(i), title })))
      const { engine } = yield* start(source, makeState(), { concurrentSubsets: 1 })
      const { handle } = yield* engine.resolve(request("items"))
      yield* simulation.advance("10 seconds")
      const ask = Effect.flatMap(engine.subset(handle, all), ({ body }) => bodyText(body))
      assert.lengthOf(idsOf(yield* Effect.scoped(ask)), 100)

      const scope = yield* Scope.make()
      const { body } = yield* Scope.extend(engine.subset(handle, all), scope)
      assert.isUndefined(body.ready)
      const waiting = yield* Effect.fork(idsIn(engine, handle, { ...all, where: "id = '1'" }))
      yield* simulation.advance("10 seconds")
      assert.isNull(waiting.unsafePoll())
      yield* Scope.close(scope, Exit.void)
      yield* simulation.settle
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(waiting)))

      const slow = yield* Scope.make()
      const late = yield* Scope.extend(engine.subset(handle, all), slow)
      yield* simulation.advance("301 seconds")
      const error = yield* Effect.flip(bodyText(late.body))
      assert.strictEqual(error._tag === "SnapshotFailed" && error.reason, "query_timeout")
      // Its turn came back although the scope is still open.
      assert.lengthOf(idsOf(yield* Effect.scoped(ask)), 100)
      yield* Scope.close(slow, Exit.void)
    }))
})

describe("finding a shape", () => {
  history("makes none, and finds the one that there is", (simulation) =>
    Effect.gen(function*() {
      const { engine, gauges } = yield* start(world())
      yield* simulation.settle
      assert.isTrue(Option.isNone(yield* engine.find(request("items"))))
      assert.strictEqual(gauges.shapes(), 0)
      const { handle } = yield* engine.resolve(request("items"))
      assert.strictEqual(Option.getOrThrow(yield* engine.find(request("items"))).handle, handle)
      assert.isTrue(Option.isNone(yield* engine.find({ ...request("items"), replica: "full" })))
      assert.strictEqual((yield* Effect.flip(engine.find(request("nope"))))._tag, "InvalidRequest")
    }))
})

describe("more shapes than there may be", () => {
  history(
    "lose those that nobody has read for longest, but none that is waited at",
    (simulation) =>
      Effect.gen(function*() {
        const source = world()
        const { engine } = yield* start(source, makeState(), { maxShapes: 2 })
        const shapes: Array<string> = []
        for (const id of ["a", "b", "c", "d"]) {
          const { handle } = yield* engine.resolve({ ...request("items"), where: `id = '${id}'` })
          shapes.push(handle)
          yield* simulation.advance("1 second")
        }
        const [waited, read, forgotten, latest] = shapes as [string, string, string, string]
        const waiting = yield* Effect.fork(engine.awaitChange(waited, yield* engine.end(waited)))
        yield* simulation.settle
        yield* engine.read(read, { tx: -1n, op: 0 })
        yield* simulation.advance("61 seconds")
        assert.deepStrictEqual(
          [waited, read, forgotten, latest].map(engine.exists),
          [true, true, false, false]
        )
        yield* Fiber.interrupt(waiting)
        yield* simulation.advance("61 seconds")
        assert.isTrue(engine.exists(waited) && engine.exists(read))
        source.transaction(truncate("items"))
        yield* simulation.settle
      })
  )
})
