/**
 * What becomes of inner shapes and of those that depend on them when one of them ends at a bad moment: nobody follows what has ended, nothing
 * is left of what nobody needs.
 */
import { assert, beforeAll, it } from "@effect/vitest"
import { Effect } from "effect"
import type { ShapeEngine } from "../../src/engine/ShapeEngine.ts"
import { makeState } from "../../src/storage/ShapeStorageMemory.ts"
import * as Grammar from "../../src/where/Grammar.ts"
import {
  insert,
  itemsOf,
  materialize,
  type QueryStep,
  readAll,
  request,
  Source,
  start,
  type Started,
  tableOf,
  truncate,
  update
} from "../support/EngineWorld.ts"
import { inOrder, type Simulation } from "../support/Simulation.ts"

// The simulated world has no time for the parser to be loaded.
beforeAll(() => Effect.runPromise(Grammar.parse("true")))

const OF_PARENT = "p IN (SELECT id FROM parent WHERE a = 't')"
const OF_GRAND = "v IN (SELECT id FROM grand WHERE a = 't')"

const sourceWith = () => {
  const source = new Source(
    tableOf(10, "child", ["id", "p", "v"]),
    tableOf(11, "parent", ["id", "a"]),
    tableOf(12, "grand", ["id", "a"])
  )
  const put = (table: string, id: string, rest: Record<string, string>) =>
    source.rows.get(table)!.set(id, { id, ...rest })
  put("parent", "a", { a: "t" })
  put("grand", "x", { a: "t" })
  put("child", "1", { p: "a", v: "x" })
  return source
}

/** Stops queries of a table at a step; returns what lets them go on. */
const holdQueries = (source: Source, isHeld: (step: QueryStep) => boolean) => {
  const held: Array<() => void> = []
  let open = false
  source.atStep = (step) =>
    Effect.async<void>((resume) => {
      if (open || !isHeld(step)) return resume(Effect.void)
      held.push(() => resume(Effect.void))
    })
  return {
    held,
    release: () => {
      open = true
      for (const go of held.splice(0)) go()
    }
  }
}

const live = Effect.fnUntraced(function*(simulation: Simulation, source: Source, millis: number) {
  for (let passed = 0; passed < millis; passed += 50) {
    source.keepalive()
    source.deliver()
    yield* simulation.advance(50)
  }
})

const rowsOf = Effect.fnUntraced(function*(engine: ShapeEngine["Type"], handle: string) {
  const { text } = yield* readAll(engine, handle)
  return [...materialize(itemsOf(text)).values()].map(({ id }) => id).sort()
})

const isEmpty = ({ gauges }: Started) => {
  assert.strictEqual(gauges.shapes(), 0)
  assert.strictEqual(gauges.subqueries(), 0)
}

it("an inner shape ends while the shape waits for another one", () => {
  const simulation = inOrder()
  simulation.run(Effect.gen(function*() {
    const source = sourceWith()
    const { engine } = yield* start(source, makeState())
    const queries = holdQueries(source, ({ at, table }) => table === "grand" && at === "rows")
    const asked = request("child", { where: `${OF_PARENT} AND ${OF_GRAND}`, tags: "none" })
    const first = yield* engine.resolve(asked)
    yield* live(simulation, source, 300)
    assert.strictEqual(queries.held.length, 1)
    source.transaction(truncate("parent"))
    yield* live(simulation, source, 300)
    queries.release()
    yield* live(simulation, source, 500)
    const { handle } = (engine.exists(first.handle)) ? first : yield* engine.resolve(asked)
    yield* live(simulation, source, 500)
    source.transaction(insert("parent", { id: "b", a: "t" }), insert("child", { id: "2", p: "b", v: "x" }))
    yield* live(simulation, source, 300)
    assert.deepStrictEqual(yield* rowsOf(engine, handle), ["2"])
  }))
})

it("two shapes wait for what one of them still needs, and the inner shape ends before both have it", () => {
  const simulation = inOrder()
  simulation.run(Effect.gen(function*() {
    const source = sourceWith()
    const { engine } = yield* start(source, makeState())
    const queries = holdQueries(source, ({ at, table }) => table === "grand" && at === "rows")
    const { handle: waiting } = yield* engine.resolve(
      request("child", { where: `${OF_PARENT} AND ${OF_GRAND}`, tags: "none" })
    )
    yield* live(simulation, source, 300)
    assert.strictEqual(queries.held.length, 1)
    source.transaction(truncate("parent"))
    yield* live(simulation, source, 300)
    source.transaction(insert("parent", { id: "b", a: "t" }), insert("child", { id: "2", p: "b", v: "x" }))
    // It follows the inner shape that has come in the place of the one that has ended.
    const { handle: other } = yield* engine.resolve(request("child", { where: OF_PARENT, tags: "none" }))
    yield* live(simulation, source, 500)
    queries.release()
    yield* live(simulation, source, 500)
    yield* Effect.ignore(engine.remove(waiting))
    yield* live(simulation, source, 300)
    assert.isTrue(engine.exists(other))
    source.transaction(update("parent", { id: "b", a: "t" }, { id: "b", a: "f" }))
    yield* live(simulation, source, 300)
    assert.deepStrictEqual(yield* rowsOf(engine, other), [])
  }))
})

for (const at of ["snapshot", "rows"] as const) {
  it(`a shape is removed while its inner shape's query is at its ${at}`, () => {
    const simulation = inOrder()
    simulation.run(Effect.gen(function*() {
      const source = sourceWith()
      const started = yield* start(source, makeState())
      const queries = holdQueries(source, (step) => step.table === "parent" && step.at === at)
      const { handle } = yield* started.engine.resolve(request("child", { where: OF_PARENT }))
      yield* live(simulation, source, 300)
      assert.strictEqual(queries.held.length, 1)
      yield* started.engine.remove(handle)
      yield* live(simulation, source, 300)
      queries.release()
      yield* live(simulation, source, 500)
      isEmpty(started)
    }))
  })
}

it("a shape is removed while the table of its inner shape is looked up", () => {
  const simulation = inOrder()
  simulation.run(Effect.gen(function*() {
    const source = sourceWith()
    const started = yield* start(source, makeState())
    yield* source.publishing.gate.close
    const { handle } = yield* started.engine.resolve(request("child", { where: OF_PARENT }))
    yield* source.catalogGate.gate.close
    yield* source.publishing.gate.open
    yield* live(simulation, source, 300)
    yield* started.engine.remove(handle)
    yield* live(simulation, source, 300)
    yield* source.catalogGate.gate.open
    yield* live(simulation, source, 500)
    isEmpty(started)
  }))
})

it("the log of an inner shape can't be read", () => {
  const simulation = inOrder()
  simulation.run(Effect.gen(function*() {
    const source = sourceWith()
    const started = yield* start(source, makeState())
    const queries = holdQueries(source, ({ at, table }) => table === "parent" && at === "end")
    const { handle } = yield* started.engine.resolve(request("child", { where: OF_PARENT }))
    yield* live(simulation, source, 300)
    assert.strictEqual(queries.held.length, 1)
    // Of what is stored of its counts, and then of its log.
    for (let i = 0; i < 3; i++) yield* started.faults.failNextRead()
    queries.release()
    yield* live(simulation, source, 500)
    assert.isFalse(started.engine.exists(handle))
    isEmpty(started)
  }))
})

it("no more snapshots are taken at a time than there are connections for", () => {
  const simulation = inOrder()
  simulation.run(Effect.gen(function*() {
    const source = sourceWith()
    const { engine } = yield* start(source, makeState(), { concurrentSnapshots: 2 })
    yield* engine.resolve(request("child", { where: OF_PARENT }))
    yield* live(simulation, source, 500)
    const queries = holdQueries(source, ({ at }) => at === "rows")
    const handles = yield* Effect.forEach(
      ["1", "2", "3", "4"],
      (id) =>
        Effect.map(
          engine.resolve(request("child", { where: `${OF_PARENT} AND id <> '${id}'` })),
          ({ handle }) => handle
        )
    )
    yield* live(simulation, source, 500)
    assert.strictEqual(queries.held.length, 2)
    queries.release()
    yield* live(simulation, source, 1000)
    for (const handle of handles) yield* rowsOf(engine, handle)
  }))
})

it("a database that is another one, and not as far as the one before", () => {
  const simulation = inOrder()
  simulation.run(Effect.gen(function*() {
    const source = sourceWith()
    source.lsn = 5000n
    source.confirmed = 5000n
    const { engine } = yield* start(source, makeState())
    const asked = request("child", { where: OF_PARENT, tags: "none" })
    const { handle } = yield* engine.resolve(asked)
    yield* live(simulation, source, 500)
    source.transaction(insert("child", { id: "2", p: "a", v: "x" }), insert("child", { id: "3", p: "b", v: "x" }))
    yield* live(simulation, source, 500)
    assert.deepStrictEqual(yield* rowsOf(engine, handle), ["1", "2"])
    source.wal.length = 0
    source.lsn = 1000n
    source.confirmed = 1000n
    source.systemId = "2"
    source.slotCreated = true
    source.disconnect()
    yield* live(simulation, source, 1000)
    const queries = holdQueries(source, ({ at, table }) => table === "child" && at === "snapshot")
    const again = yield* engine.resolve(asked)
    yield* live(simulation, source, 300)
    assert.strictEqual(queries.held.length, 1)
    // The query sees what the stream has yet to bring, and has to wait for it.
    source.automatic = false
    source.transaction(insert("parent", { id: "b", a: "t" }))
    queries.release()
    yield* simulation.advance(300)
    yield* live(simulation, source, 500)
    assert.deepStrictEqual(yield* rowsOf(engine, again.handle), ["1", "2", "3"])
  }))
})

it("a shape that waits for rows says how far its own log is", () => {
  const simulation = inOrder()
  simulation.run(Effect.gen(function*() {
    const source = sourceWith()
    const { engine } = yield* start(source, makeState())
    const { handle } = yield* engine.resolve(request("child", { where: OF_PARENT }))
    const { handle: plain } = yield* engine.resolve(request("child"))
    yield* live(simulation, source, 500)
    const queries = holdQueries(source, ({ at, table }) => table === "child" && at === "rows")
    const { lsn } = source.transaction(insert("parent", { id: "b", a: "t" }))
    yield* live(simulation, source, 300)
    assert.strictEqual(queries.held.length, 1)
    assert.isBelow(Number(yield* engine.lastSeenLsn(handle)), Number(lsn))
    assert.strictEqual(yield* engine.lastSeenLsn(plain), lsn)
    queries.release()
    yield* live(simulation, source, 300)
    assert.strictEqual(yield* engine.lastSeenLsn(handle), lsn)
  }))
})
