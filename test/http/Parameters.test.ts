/**
 * What a request's query may say, and the messages for what it may not (Electric HTTP protocol §4.1, §4.2, §4.4).
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { InvalidRequest } from "../../src/domain/Errors.ts"
import * as Fixture from "./HttpFixture.ts"

const invalid = (errors: Record<string, unknown>) => JSON.stringify({ message: "Invalid request", errors })

/** `handle` stands for the handle of `items`. */
const badRequests: ReadonlyArray<readonly [query: string, errors: Record<string, ReadonlyArray<string>>]> = [
  ["table=items", { offset: ["can't be blank"] }],
  ["table=items&offset=", { offset: ["can't be blank"] }],
  ["table=items&offset=invalid", { offset: ["has invalid format"] }],
  ["table=items&offset=-2", { offset: ["has invalid format"] }],
  ["table=items&offset=1_-1", { offset: ["has invalid format"] }],
  ["table=items&offset=1_2_3", { offset: ["has invalid format"] }],
  ["table=items&offset=99999999999999999999999_0", { offset: ["has invalid format"] }],
  ["table=items&offset=%", { offset: ["has invalid format"] }],
  ["table=items&offset=0_0", { handle: ["can't be blank when offset != -1"] }],
  ["table=items&offset=0_0&handle=", { handle: ["can't be blank when offset != -1"] }],
  ["table=items&offset=0_0&handle=%ff", { handle: ["has invalid encoding"] }],
  ["table=items&offset=-1&live", { live: ["can't be true when offset == -1"] }],
  ["table=items&offset=-1&live=0", { live: ["can't be true when offset == -1"] }],
  ["table=items&offset=now&live=true", { live: ["can't be true when offset is 'now'"] }],
  ["table=items&offset=-1&live_sse=true", { live_sse: ["can't be true unless live is also true"] }],
  ["table=items&offset=-1&experimental_live_sse", { live_sse: ["can't be true unless live is also true"] }],
  ["offset=-1", { table: ["can't be blank"] }],
  ["table=&offset=-1", { table: ["can't be blank"] }],
  ["table=.x&offset=-1", { table: ["Invalid zero-length delimited identifier"] }],
  ["table=a%20b&offset=-1", { table: ["Invalid unquoted identifier contains special characters: a b"] }],
  ["table=%22a%22b%22&offset=-1", { table: ["Invalid identifier with unescaped quote: a\"b"] }],
  [`table=${"x".repeat(64)}&offset=-1`, { table: ["Identifier is too long (max length is 63)"] }],
  ["table=a.b.c&offset=-1", { table: ["Invalid relation identifier, too many delimiters: a.b.c"] }],
  ["table=items%00&offset=-1", { table: ["has invalid encoding"] }],
  ["table=%e0%a4&offset=-1", { table: ["has invalid encoding"] }],
  ["%e0%a4=1&table=items&offset=-1", { query: ["has invalid encoding"] }],
  ["table=items&offset=-1&columns=id,,x", { columns: ["Invalid zero-length delimited identifier"] }],
  ["table=items&offset=-1&columns=id,a-b", {
    columns: ["Invalid unquoted identifier contains special characters: a-b"]
  }],
  ["table=items&offset=-1&queryable_columns=id,", {
    queryable_columns: ["Invalid zero-length delimited identifier"]
  }],
  ["table=items&offset=-1&replica=some", { replica: ["is invalid"] }],
  ["table=items&offset=-1&log=some", { log: ["is invalid"] }],
  ["table=items&offset=-1&experimental_compaction=maybe", { experimental_compaction: ["is invalid"] }],
  ["table=items&offset=-1&tags=all", { tags: ["is invalid"] }],
  ["table=items&offset=-1&tags=None", { tags: ["is invalid"] }],
  ["table=items&log=x&replica=y", { replica: ["is invalid"], log: ["is invalid"] }],
  ["table=items&offset=-1&params[a]=1", { params: ["Parameters can only use numbers as keys"] }],
  ["table=items&offset=-1&params%5B2%5D=1", {
    params: ["Parameters must be numbered sequentially, starting from 1"]
  }],
  ["table=items&offset=-1&params[1]=1&params[3]=1", {
    params: ["Parameters must be numbered sequentially, starting from 1"]
  }],
  ["table=items&offset=-1&params[]=1", { params: ["is invalid"] }],
  ["table=items&offset=-1&params=1", { params: ["is invalid"] }],
  ["table=nope&offset=-1", { table: ["Table \"public\".\"nope\" does not exist."] }]
]

describe("messages of invalid requests", () => {
  it.scoped("are the protocol's", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.define("items")
      for (const [query, errors] of badRequests) {
        const reply = yield* request(`/v1/shape?${query}`)
        assert.strictEqual(reply.body, invalid(errors), query)
        assert.strictEqual(reply.status, 400, query)
        assert.strictEqual(reply.headers["cache-control"], "no-store")
        assert.strictEqual(reply.headers["surrogate-control"], "no-store")
        assert.isUndefined(reply.headers.etag)
        assert.isUndefined(reply.headers["electric-handle"])
      }
      assert.isEmpty(fake.resolved.filter(({ table }) => table !== "nope"))
    }))

  it.scoped("about queryable columns name that parameter", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.onResolve = () =>
        InvalidRequest.of("columns", "The list of columns must include all primary key columns, missing: id")
      const text = "The list of queryable columns must include all primary key columns, missing: id"
      const reply = yield* request("/v1/shape?table=items&offset=-1&queryable_columns=a")
      assert.strictEqual(reply.body, invalid({ queryable_columns: [text] }))
      assert.deepStrictEqual(fake.resolved[0]?.columns, ["a"])
    }))

  it.scoped("the definition reaches the engine decoded", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      fake.define("\"My.Items\"")
      const url =
        "/v1/shape?%74able=%22My.Items%22&columns=%22Id%22,NAME&where=a+%3D+%241%20AND%20b=$2&params%5B2%5D=%2B&" +
        "params[1]=x%20y&replica=full&log=full&offset=-1&handle=&cache-buster=1&experimental_compaction=true&tags=none&" +
        "unknown=%ff"
      assert.strictEqual((yield* request(url)).status, 200)
      yield* request(url)
      assert.deepStrictEqual(fake.resolved[0], {
        table: "\"My.Items\"",
        where: "a = $1 AND b=$2",
        params: ["x y", "+"],
        columns: ["Id", "name"],
        replica: "full",
        log: "full",
        tags: "none",
        compaction: true
      })
      yield* request("/v1/shape?table=nope&offset=-1&tags=&experimental_compaction=0")
      assert.notProperty(fake.resolved[2], "tags")
      assert.notProperty(fake.resolved[2], "compaction")
      // The same text gives the same object, for the engine to remember things by.
      assert.strictEqual(fake.resolved[0], fake.resolved[1])
    }))
})
