/**
 * Shapelog inside an Effect application: layers composed from the public face, no process of its own.
 */
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Fiber, Layer, Option, Redacted, Stream } from "effect"
import * as Shapelog from "../src/index.ts"
import { makeDatabase, type TestDatabase } from "./support/Postgres.ts"

interface Item {
  readonly key?: string
  readonly value?: Readonly<Record<string, string | null>>
  readonly headers: Readonly<Record<string, unknown>>
}

const itemsOf = Effect.fnUntraced(function*(body: Shapelog.LogBody) {
  const pieces = yield* Stream.runCollect(Stream.repeatEffectOption(
    Effect.flatMap(Effect.mapError(body.pull, Option.some), Effect.mapError(Option.none))
  ))
  const text = Buffer.concat(Chunk.toReadonlyArray(pieces)).toString()
  return JSON.parse(`[${text.slice(1)}]`) as ReadonlyArray<Item>
})

const todos = {
  table: "todos",
  where: undefined,
  params: [],
  columns: undefined,
  replica: "default",
  log: "full"
} as const

const engineOn = (db: TestDatabase) =>
  Shapelog.layerEngine({ databaseUrl: Redacted.make(db.url), streamId: db.name, poolSize: 4 }).pipe(
    Layer.provide(Shapelog.ShapeStorageMemory.layer)
  )

/** Follows a shape to its end: the items, and the offset they bring one to. */
const catchUp = Effect.fnUntraced(function*(handle: string, from: Shapelog.LogOffset.LogOffset) {
  const shapes = yield* Shapelog.ShapeEngine
  const items: Array<Item> = []
  let offset = from
  while (true) {
    const slice = yield* shapes.read(handle, offset)
    items.push(...(yield* itemsOf(slice.body)))
    offset = slice.end
    if (slice.upToDate) return { items, offset }
  }
})

describe("as a library", () => {
  it.scopedLive("reads a shape, waits for a change and reads it, in one process with the application", () =>
    Effect.gen(function*() {
      const db = yield* makeDatabase
      yield* db.exec(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, 'one'), (2, 'two')"
      )
      yield* Effect.gen(function*() {
        const shapes = yield* Shapelog.ShapeEngine
        yield* shapes.awaitActive
        const { handle, schema } = yield* shapes.resolve(todos)
        assert.deepStrictEqual(Object.keys(JSON.parse(schema)), ["id", "title"])

        const first = yield* catchUp(handle, Shapelog.LogOffset.beforeAll)
        assert.deepStrictEqual(first.items.flatMap(({ value }) => value?.title ?? []), ["one", "two"])
        assert.strictEqual(Shapelog.LogOffset.format(first.offset), "0_inf")

        const change = yield* Effect.fork(shapes.awaitChange(handle, first.offset))
        yield* db.exec("UPDATE todos SET title = 'TWO' WHERE id = 2")
        yield* Fiber.join(change)
        const next = yield* catchUp(handle, first.offset)
        assert.deepStrictEqual(next.items.map(({ value }) => value), [{ id: "2", title: "TWO" }])

        yield* shapes.remove(handle)
        const gone = yield* Effect.flip(shapes.read(handle, next.offset))
        assert.strictEqual(gone._tag, "ShapeGone")
        assert.notStrictEqual((yield* shapes.resolve(todos)).handle, handle)
      }).pipe(Effect.provide(engineOn(db)))
    }))

  it.scopedLive("a request that names no table is a typed error", () =>
    Effect.gen(function*() {
      const db = yield* makeDatabase
      const error = yield* Effect.flatMap(Shapelog.ShapeEngine, (shapes) => Effect.flip(shapes.resolve(todos))).pipe(
        Effect.provide(engineOn(db))
      )
      assert.strictEqual(error._tag, "InvalidRequest")
    }))
})
