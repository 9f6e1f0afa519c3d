import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fixture from "./HttpFixture.ts"

describe("HTTP server", () => {
  it.scoped("serves a shape from its snapshot to its end", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items", [["{\"a\":1}"], ["{\"a\":2}"]])
      fake.append(shape, 100n, ["{\"b\":1}", "{\"b\":2}"])
      const first = yield* request("/v1/shape?table=items&offset=-1")
      assert.strictEqual(first.status, 200)
      assert.strictEqual(first.body, "[{\"a\":1}]")
      assert.strictEqual(first.headers["electric-offset"], "0_0")
      const second = yield* request(`/v1/shape?table=items&offset=0_0&handle=${shape.handle}`)
      assert.strictEqual(second.body, "[{\"a\":2}]")
      const third = yield* request(`/v1/shape?table=items&offset=0_1&handle=${shape.handle}`)
      assert.strictEqual(
        third.body,
        "[{\"b\":1},{\"b\":2},{\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"100\"}}]"
      )
      assert.strictEqual(third.headers["electric-offset"], "100_2")
      console.log(third.headers)
    }))
})
