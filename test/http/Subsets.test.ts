/**
 * Subset snapshots over HTTP (Electric HTTP protocol §12.3, §12.4): what reaches the engine, what comes back, and what is refused.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { InvalidSubset, SnapshotFailed } from "../../src/domain/Errors.ts"
import type { SubsetRequest } from "../../src/domain/ShapeDefinition.ts"
import * as Fixture from "./HttpFixture.ts"

const nothing: SubsetRequest = {
  where: undefined,
  params: [],
  orderBy: undefined,
  limit: undefined,
  offset: undefined,
  queryable: undefined
}

const metadata = {
  xmin: "7",
  xmax: "9",
  xip_list: ["8"],
  database_lsn: "26801000",
  snapshot_mark: 1304557
}

const base = "/v1/shape?table=items&offset=-1"
const query = (fields: Readonly<Record<string, string>>) => `${base}&${new URLSearchParams(fields).toString()}`

/** A query, or a body beside the plain one, and what the engine is asked for. */
const accepted: ReadonlyArray<readonly [Readonly<Record<string, string>> | string, Partial<SubsetRequest>]> = [
  [{ subset__where: "id > 1" }, { where: "id > 1" }],
  [{ "subset[where]": "id > 1", "subset[limit]": "2", "subset[order_by]": "id" }, {
    where: "id > 1",
    limit: 2,
    orderBy: "id"
  }],
  [{ subset__where: "" }, {}],
  [{ subset__where_expr: "{}" }, {}],
  [{ subset__order_by: "id", subset__limit: "10", subset__offset: "0" }, { orderBy: "id", limit: 10, offset: 0 }],
  [{ subset__where: "a = $1", subset__params: "{\"1\":\"x\"}" }, { where: "a = $1", params: ["x"] }],
  [{
    subset__params:
      "{\"2\":true,\"1\":1.5,\"3\":null,\"10\":\"j\",\"4\":\"\",\"5\":\"\",\"6\":6,\"7\":7,\"8\":8,\"9\":9}"
  }, {
    params: ["1.5", "true", null, "", "", "6", "7", "8", "9", "j"]
  }],
  [
    "{\"where\":\"b\",\"order_by\":\"c\",\"limit\":3,\"offset\":4,\"params\":{\"1\":\"x\"},\"where_expr\":{\"a\":[1]}}",
    {
      where: "b",
      orderBy: "c",
      limit: 3,
      offset: 4,
      params: ["x"]
    }
  ],
  ["{\"subset\":{\"where\":\"b\",\"params\":{\"1\":2}},\"where\":\"shape\"}", { where: "b", params: ["2"] }],
  ["{\"where_expr\":{}}", {}],
  ["{\"where\":null,\"limit\":null}", {}],
  ["{\"params\":\"{\\\"1\\\":\\\"x\\\"}\"}", { params: ["x"] }]
]

const refused: ReadonlyArray<readonly [Readonly<Record<string, string>> | string, Record<string, string>]> = [
  [{ subset__limit: "0", subset__order_by: "id" }, { limit: "must be greater than 0" }],
  [{ subset__limit: "-1", subset__order_by: "id" }, { limit: "must be greater than 0" }],
  [{ subset__limit: "1.5", subset__order_by: "id" }, { limit: "is invalid" }],
  [{ subset__limit: "99999999999999999999", subset__order_by: "id" }, { limit: "is invalid" }],
  [{ subset__offset: "-1", subset__order_by: "id" }, { offset: "must be greater than or equal to 0" }],
  [{ subset__offset: "x", subset__limit: "y", subset__order_by: "id" }, { limit: "is invalid", offset: "is invalid" }],
  [{ subset__limit: "1" }, { order_by: "order_by is required when limit or offset is present" }],
  [{ subset__offset: "1" }, { order_by: "order_by is required when limit or offset is present" }],
  [{ subset__params: "[\"x\"]" }, { params: "params must be a JSON object" }],
  [{ subset__params: "x" }, { params: "params must be valid JSON" }],
  [{ subset__params: "{\"a\":1}" }, { params: "Parameters can only use numbers as keys" }],
  [{ subset__params: "{\"2\":1}" }, { params: "Parameters must be numbered sequentially, starting from 1" }],
  [{ subset__params: "{\"1\":{}}" }, { params: "is invalid" }],
  [{ subset__params: "{\"1\":9007199254740993}" }, { params: "numbers that are this large must be given as text" }],
  [{ subset__where: "a\0" }, { where: "has invalid encoding" }],
  ["{\"limit\":0,\"order_by\":\"id\"}", { limit: "must be greater than 0" }],
  ["{\"limit\":\"x\",\"order_by\":\"id\"}", { limit: "is invalid" }],
  ["{\"where\":{},\"order_by\":[\"id\"]}", { where: "is invalid", order_by: "is invalid" }],
  ["{\"params\":[1]}", { params: "params must be a JSON object" }],
  ["{\"params\":{\"1\":[\"x\"]}}", { params: "is invalid" }],
  ["{\"params\":{\"1\":\"\\u0000\"}}", { params: "has invalid encoding" }],
  ["{\"subset\":{\"offset\":1}}", { order_by: "order_by is required when limit or offset is present" }]
]

const ask = (
  server: Effect.Effect.Success<ReturnType<typeof Fixture.server>>,
  given: Readonly<Record<string, string>> | string
) =>
  typeof given === "string"
    ? server.request(base, { method: "POST", headers: { "content-type": "application/json" }, body: given })
    : server.request(query(given))

describe("requests for a subset", () => {
  it.scoped("reach the engine, by query or by body", () =>
    Effect.gen(function*() {
      const server = yield* Fixture.server()
      const { fake } = server
      const shape = fake.define("items")
      for (const [given, subset] of accepted) {
        fake.subsets = []
        const reply = yield* ask(server, given)
        assert.strictEqual(reply.status, 200, JSON.stringify(given))
        assert.deepStrictEqual(fake.subsets, [{ ...nothing, ...subset }], JSON.stringify(given))
        assert.deepStrictEqual(JSON.parse(reply.body), { metadata, data: [{ row: 1 }] })
        assert.strictEqual(reply.headers["cache-control"], "no-cache")
        assert.strictEqual(reply.headers["electric-snapshot"], "true")
        assert.strictEqual(reply.headers["electric-handle"], shape.handle)
        assert.strictEqual(reply.headers["electric-offset"], "0_0")
        assert.strictEqual(reply.headers["electric-schema"], shape.schema)
        assert.strictEqual(reply.headers["content-type"], "application/json; charset=utf-8")
        for (const name of ["etag", "electric-cursor", "electric-up-to-date", "electric-has-data"]) {
          assert.isUndefined(reply.headers[name], name)
        }
      }
      yield* server.request(query({ queryable_columns: "id,b,\"C d\"", columns: "id", subset__where: "b = 1" }))
      assert.deepStrictEqual(fake.subsets.at(-1)?.queryable, ["id", "b", "C d"])
      assert.deepStrictEqual(fake.resolved.at(-1)?.columns, ["id"])
    }))

  it.scoped("that are wrong are refused below `subset`, and ask the engine for nothing", () =>
    Effect.gen(function*() {
      const server = yield* Fixture.server()
      server.fake.define("items")
      for (const [given, errors] of refused) {
        const reply = yield* ask(server, given)
        assert.strictEqual(reply.status, 400, JSON.stringify(given))
        assert.deepStrictEqual(JSON.parse(reply.body), {
          message: "Invalid request",
          errors: { subset: Object.fromEntries(Object.entries(errors).map(([field, text]) => [field, [text]])) }
        })
        assert.strictEqual(reply.headers["cache-control"], typeof given === "string" ? "no-cache" : "no-store")
      }
      const other = yield* server.request(query({ queryable_columns: "id", columns: "id,b" }))
      assert.deepStrictEqual(JSON.parse(other.body), {
        message: "Invalid request",
        errors: { columns: ["The following columns are not queryable: b"] }
      })
      assert.isEmpty(server.fake.subsets)
      assert.isEmpty(server.fake.resolved)
    }))

  it.scoped("keep to the rules of offset and handle, and are told where their stream goes on", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items", [["{}"], ["{}"]])
      fake.append(shape, 100n, ["{}", "{}"])
      const at = (position: string, headers = {}) =>
        request(`/v1/shape?table=items&subset__where=true&${position}`, { headers })
      const { handle } = shape
      const cases: ReadonlyArray<readonly [position: string, status: number, offset: string | undefined]> = [
        ["offset=-1", 200, "0_0"],
        ["offset=-1&handle=x", 200, "0_0"],
        ["offset=now", 200, "100_2"],
        [`offset=0_0&handle=${handle}`, 200, "0_0"],
        [`offset=100_0&handle=${handle}`, 200, "100_0"],
        [`offset=100_0&handle=${handle}&live=true&live_sse=true`, 200, "100_0"],
        // Not looked at: the stream's own next request is told.
        [`offset=900_0&handle=${handle}`, 200, "900_0"],
        ["offset=100_0&handle=x", 409, undefined],
        ["offset=100_0", 400, undefined],
        ["", 400, undefined],
        ["offset=-1&live=true", 400, undefined]
      ]
      for (const [position, status, offset] of cases) {
        const reply = yield* at(position)
        assert.strictEqual(reply.status, status, position)
        assert.strictEqual(reply.headers["electric-offset"], offset, position)
      }
      const etag = `"${handle}:100_2:100_2"`
      assert.strictEqual((yield* at(`offset=100_2&handle=${handle}`, { "if-none-match": etag })).status, 200)
      // Nobody reads the log for it.
      assert.strictEqual(fake.reads, 0)
    }))

  it.scoped("that the engine refuses, or that fail, are told so", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items")
      fake.onSubset = () => InvalidSubset.of("where", "division by zero")
      const refusal = yield* request(query({ subset__where: "x" }))
      assert.strictEqual(refusal.status, 400)
      assert.strictEqual(
        refusal.body,
        "{\"message\":\"Invalid request\",\"errors\":{\"subset\":{\"where\":[\"division by zero\"]}}}"
      )
      fake.onSubset = () => new SnapshotFailed({ reason: "pool_timeout", detail: "no connection" })
      const failure = yield* request(query({ subset__where: "x" }))
      assert.deepStrictEqual([failure.status, failure.headers["retry-after"]], [503, "10"])
      fake.onSubset = () => {
        fake.drop(shape)
        fake.define("items")
        return undefined
      }
      const gone = yield* request(query({ subset__where: "x" }))
      assert.strictEqual(gone.status, 409)
      assert.strictEqual(gone.headers["electric-handle"], fake.byTable.get("items"))
    }))
})

describe("the rows of a subset", () => {
  const marks = { xmin: 1n, xmax: 1n, xip: [], lsn: 5n }
  const head =
    "{\"metadata\":{\"xmin\":\"1\",\"xmax\":\"1\",\"xip_list\":[],\"database_lsn\":\"5\",\"snapshot_mark\":1},\"data\":["

  it.scoped("arrive whole, from memory or pulled, long or short or none, and what they hold is let go of", () =>
    Effect.gen(function*() {
      const { fake, request, routes } = yield* Fixture.server()
      fake.define("items")
      const item = (size: number) => Buffer.from(`,"${"é".repeat(size)}"`)
      const bodies = [[], [item(1)], [item(1), item(2)], [item(40_000)], Array.from({ length: 50 }, () => item(30_000))]
      let open = 0
      for (const pieces of bodies) {
        const whole = `${head}${Buffer.concat(pieces).subarray(1).toString()}]}`
        const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
        for (const kind of ["ready", "pulled", "pulled with length"]) {
          fake.onSubset = () =>
            Effect.gen(function*() {
              yield* Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--))
              let next = 0
              const pull = Effect.sync(() => Option.fromNullable(pieces[next++]))
              const body = { pull, ready: kind === "ready" ? pieces : undefined }
              return { marks, mark: 1, body: kind === "pulled" ? body : { ...body, length } }
            })
          const reply = yield* request(query({ subset__where: "true" }))
          assert.strictEqual(reply.body, whole, kind)
          yield* Fixture.eventually(() => open === 0)
          const headOnly = yield* request(query({ subset__where: "true" }), { method: "HEAD" })
          assert.strictEqual(headOnly.status, 200)
          yield* Fixture.eventually(() => open === 0)
        }
      }
      assert.deepStrictEqual(routes.admitted(), { initial: 0, existing: 0 })
    }))

  it.scoped("that can't be continued never look whole, and hold nothing any more", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.define("items")
      let open = 0
      const failure = new SnapshotFailed({ reason: "query_timeout", detail: "too slow" })
      fake.onSubset = () =>
        Effect.gen(function*() {
          yield* Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--))
          let pulls = 0
          const pull = Effect.suspend(() => pulls++ < 3 ? Effect.succeedSome(Buffer.from(",1")) : failure)
          return { marks, mark: 1, body: { ready: undefined, pull } }
        })
      yield* Effect.flip(request(query({ subset__where: "true" })))
      yield* Fixture.eventually(() => open === 0)
    }))
})
