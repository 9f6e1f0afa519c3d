/**
 * Settings of the HTTP side that no other test turns: the limit of bodies, the document on an application's router.
 */
import { HttpClient, HttpClientRequest, HttpLayerRouter } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { HttpOptions } from "../../src/http/HttpOptions.ts"
import * as ShapeHttp from "../../src/http/ShapeHttp.ts"
import { ShapeRoutes } from "../../src/http/ShapeRoutes.ts"
import * as FakeEngine from "../support/FakeEngine.ts"
import * as Fixture from "./HttpFixture.ts"

const target = "/v1/shape?table=items&offset=-1"
const bodyOf = (length: number) => "{}".padEnd(length)

describe("the longest body of a request", () => {
  it.scoped("is what the setting says", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server({ maxRequestBodyBytes: 20 })
      fake.define("items")
      for (const headers of [{}, { "transfer-encoding": "chunked" }]) {
        const post = (length: number) => request(target, { method: "POST", headers, body: bodyOf(length) })
        assert.strictEqual((yield* post(20)).status, 200)
        const tooLong = yield* post(21)
        assert.strictEqual(tooLong.status, 413)
        assert.strictEqual(tooLong.body, "{\"error\":\"Request body too large\"}")
      }
    }))

  it.scoped("is that of an application's router, too, which serves the document where it is asked to", () =>
    Effect.gen(function*() {
      const fake = FakeEngine.make()
      fake.state.define("items")
      const context = yield* Layer.build(
        HttpLayerRouter.serve(Layer.mergeAll(ShapeHttp.routes, ShapeHttp.openApi), {
          disableLogger: true,
          disableListenLog: true
        }).pipe(
          Layer.provide(ShapeRoutes.layer),
          Layer.provide(HttpOptions.layer({ secret: "s", maxRequestBodyBytes: 20 })),
          Layer.provide(fake.layer),
          Layer.provideMerge(NodeHttpServer.layerTest)
        )
      )
      const client = Context.get(context, HttpClient.HttpClient)
      const post = (length: number) =>
        client.execute(
          HttpClientRequest.post(`${target}&secret=s`).pipe(
            HttpClientRequest.bodyText(bodyOf(length), "application/json")
          )
        )
      assert.strictEqual((yield* post(20)).status, 200)
      assert.strictEqual((yield* post(21)).status, 413)

      const document = yield* client.get("/openapi.json")
      assert.strictEqual(document.status, 200)
      const { openapi, paths } = (yield* document.json) as { readonly openapi: string; readonly paths: object }
      assert.strictEqual(openapi, "3.1.0")
      assert.property(paths, "/v1/shape")
      const known = yield* client.get("/openapi.json", { headers: { "if-none-match": document.headers.etag! } })
      assert.strictEqual(known.status, 304)
      assert.strictEqual((yield* client.post("/openapi.json")).status, 404)
    }))
})
