/**
 * The engine over a simulated Postgres and store: each test is one history, run synchronously, the same every time.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, type Scope } from "effect"
import { SnapshotFailed } from "../../src/domain/Errors.ts"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import { makeState, unflushed } from "../../src/storage/ShapeStorageMemory.ts"
import {
  fragment,
  fragments,
  keys,
  makeParts,
  offer,
  readKeys,
  storedKeys,
  transactionAt,
  transactions
} from "../support/EngineParts.ts"
import {
  insert,
  itemsOf,
  readAll,
  request,
  Source,
  start,
  type StartOptions,
  tableOf,
  truncate
} from "../support/EngineWorld.ts"
import { inOrder, type Simulation } from "../support/Simulation.ts"

const row = (id: number, title = "t") => ({ id: String(id), title })

/** One engine that follows `items`, with a shape of it whose snapshot is complete. */
const setUp = Effect.fnUntraced(function*(simulation: Simulation, options: StartOptions = {}) {
  const source = new Source(tableOf(10, "items", ["id", "title"]))
  source.automatic = false
  const state = makeState()
  const started = yield* start(source, state, options)
  const { handle } = yield* started.engine.resolve(request("items"))
  yield* simulation.advance("2 seconds")
  return { source, state, handle, ...started, started }
})
type World = Effect.Effect.Success<ReturnType<typeof setUp>>

const history = (
  name: string,
  test: (simulation: Simulation) => Effect.Effect<unknown, unknown, Scope.Scope>
) =>
  it(name, () => {
    const simulation = inOrder()
    simulation.run(test(simulation))
  })

const ids = ({ engine, handle }: Pick<World, "engine" | "handle">) =>
  Effect.map(
    readAll(engine, handle),
    ({ text }) => itemsOf(text).filter(({ headers }) => headers.operation !== undefined).map(({ value }) => value["id"])
  )

describe("I1: nothing is confirmed that a crash could take", () => {
  history("while the store refuses, while it flushes, and after every commit", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      const { confirmed } = world.source
      yield* world.faults.failCommits()
      const { endLsn } = world.source.transaction(insert("items", row(1)))
      world.source.deliver()
      yield* simulation.advance("10 seconds")
      assert.deepStrictEqual(yield* ids(world), ["1"])
      assert.strictEqual(world.source.confirmed, confirmed)
      yield* world.faults.flushes.close
      yield* world.faults.heal
      yield* simulation.advance("10 seconds")
      assert.strictEqual(world.source.confirmed, confirmed)
      assert.isAbove(unflushed(world.state), 0)
      yield* world.faults.flushes.open
      yield* simulation.advance("10 seconds")
      assert.strictEqual(world.source.confirmed, endLsn)
      assert.strictEqual(unflushed(world.state), 0)
      assert.strictEqual(world.gauges.memoryBytes(), 0)
    }))
})

describe("the position and the entries that it covers", () => {
  history("go into one commit, however long a consumer takes to begin", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation, { idleMillis: 1000 })
      world.source.transaction(insert("items", row(1)))
      world.source.deliver()
      yield* simulation.advance("5 seconds")
      assert.strictEqual(world.gauges.consumers(), 0)
      yield* world.faults.reads.close
      const { lsn } = world.source.transaction(insert("items", row(2)))
      world.source.deliver()
      yield* simulation.advance("5 seconds")
      assert.isTrue(world.state.applied!.lsn < lsn)
      assert.isTrue(world.source.confirmed < lsn)
      const state = yield* simulation.elapse(world.crash(0))
      const next = yield* start(world.source, state)
      yield* simulation.settle
      world.source.deliver()
      yield* simulation.advance("5 seconds")
      assert.deepStrictEqual(yield* ids({ ...world, engine: next.engine }), ["1", "2"])
    }))
})

describe("I3: a transaction is seen as a whole or not at all", () => {
  const big = Array.from({ length: 6 }, (_, i) => insert("items", row(10 + i)))

  history("its fragments are stored and invisible until the commit", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      world.source.transaction(...big)
      world.source.deliver(5)
      yield* simulation.advance("1 second")
      assert.isTrue(world.state.unfinished)
      assert.deepStrictEqual(yield* ids(world), [])
      world.source.deliver()
      yield* simulation.advance("1 second")
      assert.deepStrictEqual(yield* ids(world), ["10", "11", "12", "13", "14", "15"])
      assert.isFalse(world.state.unfinished)
    }))

  history("the connection is lost within it, and it comes again", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      world.source.transaction(insert("items", row(1)))
      world.source.deliver()
      const { lsn } = world.source.transaction(...big)
      world.source.deliver(5)
      yield* simulation.advance("1 second")
      const logOf = () => [...world.state.shapes.values()][0]!.log
      assert.isTrue(logOf().some(({ first }) => first.tx === lsn))
      world.source.disconnect()
      yield* simulation.settle
      yield* simulation.advance(100)
      // Nothing of it is left, until it comes again.
      assert.isFalse(logOf().some(({ first }) => first.tx === lsn))
      assert.deepStrictEqual(yield* ids(world), ["1"])
      yield* simulation.advance("5 seconds")
      world.source.deliver()
      yield* simulation.advance("1 second")
      assert.deepStrictEqual(yield* ids(world), ["1", "10", "11", "12", "13", "14", "15"])
      assert.strictEqual(world.gauges.memoryBytes(), 0)
    }))

  history("a commit with fragments of it is on its way while it is aborted", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      world.source.transaction(...big)
      yield* world.faults.commits.close
      world.source.deliver(5)
      yield* simulation.advance("1 second")
      world.source.disconnect()
      yield* simulation.advance("5 seconds")
      yield* world.faults.commits.open
      yield* simulation.advance("1 second")
      assert.deepStrictEqual([...world.state.shapes.values()][0]!.log, [])
      world.source.deliver()
      yield* simulation.advance("1 second")
      assert.deepStrictEqual(yield* ids(world), ["10", "11", "12", "13", "14", "15"])
    }))

  history("a crash after its fragments were stored", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      world.source.transaction(...big)
      world.source.deliver(5)
      yield* simulation.advance("1 second")
      const state = yield* world.crash(0)
      assert.isTrue(state.unfinished)
      const next = yield* start(world.source, state)
      yield* simulation.advance("1 second")
      assert.deepStrictEqual([...state.shapes.values()][0]!.log, [])
      world.source.deliver()
      yield* simulation.advance("1 second")
      assert.deepStrictEqual(yield* ids({ ...world, engine: next.engine }), ["10", "11", "12", "13", "14", "15"])
    }))
})

describe("I4: what comes twice changes nothing", () => {
  history("a consumer that is offered what it has", (simulation) =>
    Effect.gen(function*() {
      const parts = yield* makeParts()
      const consumer = (yield* parts.consumers.get(parts.entry))!
      yield* offer(consumer, transactions(2, 100n, 200n))
      yield* offer(consumer, transactions(2, 100n, 200n, 300n))
      const split = transactionAt(300n)
      yield* offer(consumer, fragments(fragment(split, 1, 0, false)))
      yield* offer(consumer, fragments(fragment(split, 1, 1)))
      yield* simulation.advance("1 second")
      assert.deepStrictEqual(yield* readKeys(parts.reader, parts.entry), keys(2, 100n, 200n, 300n))
      assert.deepStrictEqual(storedKeys(parts.state), keys(2, 100n, 200n, 300n))
    }))

  history("a stream that begins anywhere before", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation, { chunkBytes: 300 })
      const { confirmed } = world.source
      for (let i = 1; i <= 12; i++) {
        world.source.transaction(insert("items", row(i)))
        world.source.deliver()
        yield* simulation.advance("1 second")
      }
      const before = yield* readAll(world.engine, world.handle)
      world.source.confirmed = confirmed
      world.source.disconnect()
      yield* simulation.advance("1 second")
      world.source.deliver()
      yield* simulation.advance("1 second")
      assert.deepStrictEqual(yield* readAll(world.engine, world.handle), before)
    }))
})

describe("I5: an offset means the same prefix for ever", () => {
  history("across flush, idleness, crash and replay, with small chunks", (simulation) =>
    Effect.gen(function*() {
      const options = { chunkBytes: 400, idleMillis: 1000 }
      const world = yield* setUp(simulation, options)
      const served = new Map<string, { readonly end: LogOffset.LogOffset; readonly text: string }>()
      const check = Effect.fnUntraced(function*(engine: World["engine"]) {
        const { end, slices } = yield* readAll(engine, world.handle)
        for (const { after, end: to, text } of slices) {
          if (LogOffset.equals(to, end)) continue
          const key = LogOffset.format(after)
          const known = served.get(key)
          if (known) assert.deepStrictEqual({ end: to, text }, known, `after ${key}`)
          served.set(key, { end: to, text })
        }
      })
      for (let i = 1; i <= 10; i++) {
        world.source.transaction(
          ...Array.from({ length: 1 + (i % 3) }, (_, k) => insert("items", row(10 * i + k, "t".repeat(7 * i))))
        )
        world.source.deliver()
        yield* simulation.settle
        yield* check(world.engine)
        if (i % 2 === 0) yield* simulation.advance("5 seconds")
        yield* check(world.engine)
      }
      assert.isAbove(served.size, 3)
      const state = yield* world.crash(Infinity)
      const next = yield* start(world.source, state, options)
      yield* simulation.settle
      world.source.deliver()
      yield* simulation.advance("1 second")
      yield* check(next.engine)
      yield* simulation.advance("5 seconds")
      assert.strictEqual(next.gauges.consumers(), 0)
      yield* check(next.engine)
    }))
})

describe("a shape that can't be continued", () => {
  history(
    "is gone with the position of what ended it: no crash brings it back",
    (simulation) =>
      Effect.gen(function*() {
        const world = yield* setUp(simulation)
        world.source.transaction(insert("items", row(1)))
        world.source.createTable(tableOf(10, "items", ["id", "title", "more"]))
        world.source.transaction(insert("items", { ...row(2), more: "m" }))
        world.source.deliver()
        yield* simulation.advance("1 second")
        assert.isFalse(world.engine.exists(world.handle))
        for (let lost = 0; lost <= unflushed(world.state); lost++) {
          const state = yield* world.crash(lost)
          assert.strictEqual((state.applied?.lsn ?? 0n) >= world.source.wal[1]!.lsn, state.shapes.size === 0)
        }
      })
  )

  history("truncated after its snapshot", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      world.source.transaction(insert("items", row(1)), truncate("items"))
      world.source.deliver()
      yield* simulation.advance("1 second")
      assert.isFalse(world.engine.exists(world.handle))
      assert.strictEqual(world.state.shapes.size, 0)
      assert.strictEqual(world.gauges.memoryBytes(), 0)
      assert.strictEqual(world.gauges.consumers(), 0)
    }))

  history("removed while its snapshot is taken: nothing of it is left", (simulation) =>
    Effect.gen(function*() {
      const source = new Source(tableOf(10, "items", ["id", "title"]))
      for (let i = 1; i < 8; i++) source.transaction(insert("items", row(i)))
      yield* source.beforeRows.gate.close
      const state = makeState()
      const { engine, gauges } = yield* start(source, state)
      const { handle } = yield* engine.resolve(request("items"))
      const reading = yield* Effect.fork(Effect.flip(readAll(engine, handle)))
      yield* simulation.advance("1 second")
      yield* engine.remove(handle)
      yield* source.beforeRows.gate.open
      yield* simulation.advance("1 second")
      assert.strictEqual((yield* Fiber.join(reading))._tag, "ShapeGone")
      assert.strictEqual(state.shapes.size, 0)
      assert.deepStrictEqual([gauges.memoryBytes(), gauges.shapes(), gauges.consumers(), gauges.snapshots()], [
        0,
        0,
        0,
        0
      ])
    }))

  history(
    "a snapshot that fails is told to its readers, and the next request begins anew",
    (simulation) =>
      Effect.gen(function*() {
        const source = new Source(tableOf(10, "items", ["id", "title"]))
        source.failSnapshot = new SnapshotFailed({ reason: "refused", detail: "no" })
        const state = makeState()
        const { engine, gauges } = yield* start(source, state)
        const { handle } = yield* engine.resolve(request("items"))
        const error = yield* Effect.flip(readAll(engine, handle))
        assert.include(["SnapshotFailed", "ShapeGone"], error._tag)
        source.failSnapshot = undefined
        yield* simulation.advance("1 second")
        assert.strictEqual(state.shapes.size, 0)
        assert.strictEqual(gauges.consumers(), 0)
        const again = yield* engine.resolve(request("items"))
        assert.notStrictEqual(again.handle, handle)
        yield* simulation.advance("1 second")
        assert.isTrue((yield* readAll(engine, again.handle)).text.includes("snapshot-end"))
      })
  )

  for (
    const [what, change] of [
      ["system", (source: Source) => (source.systemId = "2")],
      ["slot", (source: Source) => (source.slotCreated = true)],
      ["confirmed position ahead of the store", (source: Source) => (source.confirmed += 1_000_000n)]
    ] as const
  ) {
    history(`another ${what}: everything starts over`, (simulation) =>
      Effect.gen(function*() {
        const world = yield* setUp(simulation)
        yield* world.stop
        change(world.source)
        const next = yield* start(world.source, world.state)
        yield* simulation.advance("1 second")
        assert.isFalse(next.engine.exists(world.handle))
        assert.strictEqual(world.state.shapes.size, 0)
      }))
  }
})

describe("the snapshot and the stream", () => {
  for (const base of [700n, (1n << 32n) - 2n, (5n << 32n) - 1n]) {
    history(`transactions before, in and after the marks, xids from ${base}`, (simulation) =>
      Effect.gen(function*() {
        const source = new Source(tableOf(10, "items", ["id", "title"]))
        source.nextXid = base
        source.automatic = false
        const { engine } = yield* start(source)
        yield* source.beforeMarks.gate.close
        const { handle } = yield* engine.resolve(request("items"))
        yield* simulation.settle
        const running = source.begin([insert("items", row(1))])
        source.transaction(insert("items", row(2)))
        source.transaction(insert("items", row(3)))
        // In the WAL before the snapshot, and seen after it.
        const late = source.begin([insert("items", row(4))])
        source.commit(late)
        yield* source.beforeMarks.gate.open
        yield* simulation.advance("1 second")
        source.seen(late)
        source.commit(running)
        source.seen(running)
        source.transaction(insert("items", row(5)))
        source.deliver()
        yield* simulation.advance("1 second")
        assert.deepStrictEqual(yield* ids({ engine, handle }), ["2", "3", "4", "1", "5"])
      }))
  }

  history(
    "one that went by before the shape was registered and is not seen yet: the snapshot is taken again",
    (simulation) =>
      Effect.gen(function*() {
        const source = new Source(tableOf(10, "items", ["id", "title"]))
        const { engine } = yield* start(source)
        yield* simulation.settle
        const late = source.begin([insert("items", row(1))])
        source.commit(late)
        yield* simulation.settle
        const { handle } = yield* engine.resolve(request("items"))
        yield* simulation.advance("1 second")
        assert.isAbove(source.snapshots, 1)
        source.seen(late)
        yield* simulation.advance("1 second")
        assert.deepStrictEqual(yield* ids({ engine, handle }), ["1"])
      })
  )

  history(
    "one that went by before a restart and is not seen yet: the snapshot is taken again",
    (simulation) =>
      Effect.gen(function*() {
        const source = new Source(tableOf(10, "items", ["id", "title"]))
        const state = makeState()
        const before = yield* start(source, state)
        yield* simulation.settle
        // So that the position is stored after the transaction.
        yield* before.engine.resolve(request("items", { columns: ["id"] }))
        yield* simulation.advance("2 seconds")
        const late = source.begin([insert("items", row(1))])
        source.commit(late)
        yield* simulation.advance("2 seconds")
        yield* simulation.elapse(before.stop)
        const { engine } = yield* start(source, state)
        yield* simulation.settle
        const snapshots = source.snapshots
        const { handle } = yield* engine.resolve(request("items"))
        yield* simulation.advance("1 second")
        assert.isAbove(source.snapshots, snapshots + 1)
        source.seen(late)
        yield* simulation.advance("1 second")
        assert.deepStrictEqual(yield* ids({ engine, handle }), ["1"])
      })
  )

  history("registered in mid-transaction: nothing of that one from the stream", (simulation) =>
    Effect.gen(function*() {
      const source = new Source(tableOf(10, "items", ["id", "title"]))
      source.automatic = false
      const { engine } = yield* start(source)
      yield* simulation.settle
      source.transaction(insert("items", row(1)), insert("items", row(2)), insert("items", row(3)))
      source.deliver(3)
      yield* simulation.settle
      const { handle } = yield* engine.resolve(request("items"))
      yield* simulation.advance("1 second")
      source.deliver()
      source.transaction(insert("items", row(4)))
      source.deliver()
      yield* simulation.advance("1 second")
      assert.deepStrictEqual(yield* ids({ engine, handle }), ["1", "2", "3", "4"])
    }))

  history(
    "a consumer that ends for idleness while the first rows are long in coming goes on afterwards",
    (simulation) =>
      Effect.gen(function*() {
        const source = new Source(tableOf(10, "items", ["id", "title"]))
        yield* source.beforeRows.gate.close
        const { engine, gauges } = yield* start(source, makeState(), { idleMillis: 1000 })
        const { handle } = yield* engine.resolve(request("items"))
        yield* simulation.settle
        source.transaction(insert("items", row(1)))
        yield* simulation.advance("10 seconds")
        assert.strictEqual(gauges.consumers(), 0)
        source.transaction(insert("items", row(2)))
        yield* simulation.advance("1 second")
        yield* source.beforeRows.gate.open
        yield* simulation.advance("10 seconds")
        assert.deepStrictEqual((yield* ids({ engine, handle })).sort(), ["1", "2"])
        assert.strictEqual(gauges.memoryBytes(), 0)
      })
  )
})

describe("a consumer that ends for idleness", () => {
  history("while another one, which the same batch needs, is being started", (simulation) =>
    Effect.gen(function*() {
      const source = new Source(tableOf(10, "items", ["id", "title"]), tableOf(11, "notes", ["id", "text"]))
      source.automatic = false
      const { engine, faults, gauges } = yield* start(source, makeState(), { idleMillis: 1000 })
      const items = yield* engine.resolve(request("items"))
      yield* simulation.advance("5 seconds")
      const notes = yield* engine.resolve(request("notes"))
      yield* simulation.settle
      source.transaction(insert("notes", { id: "1", text: "x" }))
      source.deliver()
      yield* simulation.advance("5 seconds")
      assert.strictEqual(gauges.consumers(), 0)
      source.transaction(insert("items", row(1)))
      source.deliver()
      yield* simulation.settle
      assert.strictEqual(gauges.consumers(), 1)
      yield* simulation.advance("500 millis")
      // The second consumer has to read where its log ends, and can't yet; the first one's time is over meanwhile.
      yield* faults.reads.close
      source.transaction(insert("items", row(2)), insert("notes", { id: "2", text: "y" }))
      source.deliver()
      yield* simulation.advance("5 seconds")
      yield* faults.reads.open
      yield* simulation.advance("5 seconds")
      assert.deepStrictEqual(yield* ids({ engine, handle: items.handle }), ["1", "2"])
      assert.deepStrictEqual(yield* ids({ engine, handle: notes.handle }), ["1", "2"])
    }))
})

describe("a store that refuses for a while", () => {
  history("stops the stream at the budget, and nothing is lost", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation, { memoryBytes: 3000 })
      world.source.automatic = true
      yield* world.faults.failCommits()
      for (let i = 1; i <= 50; i++) {
        world.source.transaction(insert("items", row(i)))
        yield* simulation.settle
      }
      yield* simulation.advance("3 seconds")
      assert.isAbove(world.source.connection!.messages.length, 0)
      assert.isBelow(world.gauges.memoryBytes(), 5000)
      yield* world.faults.heal
      yield* simulation.advance("20 seconds")
      assert.deepStrictEqual(yield* ids(world), Array.from({ length: 50 }, (_, i) => String(i + 1)))
      assert.strictEqual(world.gauges.memoryBytes(), 0)
    }))

  history("does not keep the engine from stopping", (simulation) =>
    Effect.gen(function*() {
      const world = yield* setUp(simulation)
      world.source.transaction(insert("items", row(1)))
      world.source.deliver()
      yield* simulation.settle
      yield* world.faults.failCommits()
      const stopping = yield* Effect.fork(world.stop)
      yield* simulation.advance("30 seconds")
      assert.isTrue(Option.isSome(yield* Fiber.poll(stopping)))
    }))
})
