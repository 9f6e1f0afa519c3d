/**
 * The routes on an Effect application's own router.
 */
import {
  FetchHttpClient,
  HttpClient,
  HttpClientRequest,
  HttpLayerRouter,
  HttpServer,
  HttpServerResponse
} from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, Layer, Option } from "effect"
import { StorageError } from "../../src/domain/Errors.ts"
import { HttpOptions } from "../../src/http/HttpOptions.ts"
import * as ShapeHttp from "../../src/http/ShapeHttp.ts"
import { ShapeRoutes } from "../../src/http/ShapeRoutes.ts"
import * as FakeEngine from "../support/FakeEngine.ts"
import { eventually } from "./HttpFixture.ts"

const application = Effect.gen(function*() {
  const fake = FakeEngine.make()
  const own = HttpLayerRouter.add("GET", "/own", HttpServerResponse.text("mine"))
  const context = yield* Layer.build(
    HttpLayerRouter.serve(Layer.mergeAll(ShapeHttp.routes, own), { disableLogger: true, disableListenLog: true }).pipe(
      Layer.provideMerge(ShapeRoutes.layer),
      Layer.provideMerge(HttpOptions.layer({ insecure: true })),
      Layer.provide(fake.layer),
      Layer.provideMerge(NodeHttpServer.layerTest)
    )
  )
  const client = Context.get(context, HttpClient.HttpClient)
  const { address } = Context.get(context, HttpServer.HttpServer)
  const { admitted, held } = Context.get(context, ShapeRoutes)
  return { fake: fake.state, client, held, admitted, address }
})

describe("shapes on an application's router", () => {
  it.scoped("are served beside its own routes", () =>
    Effect.gen(function*() {
      const { client, fake } = yield* application
      const shape = fake.define("items", [["{\"größe\":1}"]])
      assert.strictEqual(yield* (yield* client.get("/own")).text, "mine")
      const response = yield* client.get("/v1/shape?table=items&offset=-1", { headers: { origin: "https://a.b" } })
      assert.strictEqual(response.status, 200)
      assert.strictEqual(yield* response.text, "[{\"größe\":1}]")
      assert.strictEqual(response.headers["electric-handle"], shape.handle)
      assert.strictEqual(response.headers["content-type"], "application/json; charset=utf-8")
      assert.strictEqual(response.headers["access-control-allow-origin"], "https://a.b")
      assert.strictEqual(response.headers["content-length"], "15")

      const etag = response.headers.etag!
      const again = yield* client.get("/v1/shape?table=items&offset=-1", { headers: { "if-none-match": etag } })
      assert.strictEqual(again.status, 304)
      assert.strictEqual((yield* client.get("/v1/shape?table=items")).status, 400)
      assert.strictEqual((yield* client.head("/v1/shape?table=items&offset=-1")).headers["electric-offset"], "0_0")
      assert.strictEqual((yield* client.options("/v1/shape")).status, 204)
      assert.strictEqual((yield* client.del("/v1/shape")).status, 405)
      assert.strictEqual(yield* (yield* client.get("/v1/health")).text, "{\"status\":\"active\"}")
    }))

  it.scoped("stream their bodies, which never look whole when they are not", () =>
    Effect.gen(function*() {
      const { client, fake } = yield* application
      const shape = fake.define("items")
      const piece = Buffer.from(`,"${"x".repeat(65_533)}"`)
      let failing = false
      fake.onRead = (_, after) =>
        Effect.sync(() => {
          let pulls = 0
          return {
            ...fake.slice(shape, after),
            body: {
              ready: undefined,
              pull: Effect.suspend(() =>
                pulls++ < 20
                  ? Effect.succeed(Option.some(piece))
                  : failing
                  ? new StorageError({ operation: "read", cause: "disk" })
                  : Effect.succeedNone
              )
            }
          }
        })
      const url = "/v1/shape?table=items&offset=-1"
      const whole = yield* Effect.flatMap(client.get(url), (response) => response.json)
      assert.deepStrictEqual(whole, Array.from({ length: 20 }, () => "x".repeat(65_533)))
      failing = true
      const error = yield* Effect.flip(Effect.flatMap(client.get(url), (response) => response.text))
      assert.strictEqual(error._tag, "ResponseError")
    }))

  it.scoped("take bodies, and let go of everything when a response has been sent", () =>
    Effect.gen(function*() {
      const { admitted, client, fake } = yield* application
      fake.define("items")
      let open = 0
      fake.onSubset = () =>
        Effect.gen(function*() {
          yield* Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--))
          let pulls = 0
          const pull = Effect.sync(() =>
            pulls++ < 3 ? Option.some(Buffer.from(`,"${"x".repeat(65_533)}"`)) : Option.none()
          )
          return { marks: { xmin: 1n, xmax: 1n, xip: [], lsn: 1n }, mark: 1, body: { ready: undefined, pull } }
        })
      const post = (body: string) =>
        client.execute(
          HttpClientRequest.post("/v1/shape?table=items&offset=-1").pipe(
            HttpClientRequest.bodyText(body, "application/json")
          )
        )
      const response = yield* post("{\"where\":\"a = $1\",\"params\":{\"1\":\"b\"}}")
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers["electric-snapshot"], "true")
      const { data } = (yield* response.json) as { readonly data: ReadonlyArray<string> }
      assert.lengthOf(data, 3)
      assert.deepStrictEqual(fake.subsets.map(({ params, where }) => [where, params]), [["a = $1", ["b"]]])
      yield* eventually(() => open === 0 && admitted().initial + admitted().existing === 0)

      assert.strictEqual((yield* post("{")).status, 400)
      assert.strictEqual((yield* post("")).status, 200)
      const tooLong = yield* Effect.either(post(`{"a":"${"x".repeat(8_000_000)}"}`))
      // The server may close the connection before the client has sent it all.
      assert.isTrue(Either.isLeft(tooLong) || tooLong.right.status === 413)
      yield* eventually(() => open === 0 && admitted().initial + admitted().existing === 0)
    }))

  it.scoped("let go of what a client that went away waited for", () =>
    Effect.gen(function*() {
      const { client, fake, held } = yield* application
      const shape = fake.define("items")
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`
      const request = yield* Effect.fork(client.get(url))
      yield* eventually(() => held() === 1)
      yield* request.interruptAsFork(request.id())
      yield* eventually(() => held() === 0)
      assert.strictEqual(fake.waits.size, 0)
    }).pipe(Effect.provide(FetchHttpClient.layer)))
})
