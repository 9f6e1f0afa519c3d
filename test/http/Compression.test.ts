/**
 * Compressed bodies: what is chosen, what its headers say, what is compressed once, and what is bounded.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Option } from "effect"
import * as zlib from "node:zlib"
import { ShapeGone } from "../../src/domain/Errors.ts"
import * as LogFrame from "../../src/http/LogFrame.ts"
import * as Negotiation from "../../src/http/Negotiation.ts"
import type { ShapeResponse } from "../../src/http/ShapeResponse.ts"
import { type FakeEngine, type FakeShape, pulling } from "../support/FakeEngine.ts"
import { bodyOf, eventually, headerOf, routes } from "./HttpFixture.ts"

const rows = (count: number) => Array.from({ length: count }, (_, i) => `{"i":${i},"größe":"${"x".repeat(i % 50)}"}`)

/** All of a body, as it is sent. */
const bytesOf = Effect.fnUntraced(function*({ body }: ShapeResponse) {
  if (body._tag === "Latin1") return Buffer.from(body.text, "latin1")
  if (body._tag !== "Pieces") return Buffer.alloc(0)
  const pieces: Array<Uint8Array> = []
  while (true) {
    const piece = yield* LogFrame.pullPieces(body)
    if (Option.isNone(piece)) return Buffer.concat(pieces)
    pieces.push(piece.value)
  }
})

const decoders = { br: zlib.brotliDecompressSync, gzip: zlib.gunzipSync }
const decoded = (response: ShapeResponse, bytes: Buffer): string => {
  const encoding = headerOf(response, "content-encoding")
  if (encoding === undefined) return bytes.toString()
  if (encoding !== "br" && encoding !== "gzip") throw new Error(`sent as ${encoding}`)
  return decoders[encoding](bytes).toString()
}

/** A snapshot of one chunk whose body is pulled; how many pieces were. */
const chunk = (fake: FakeEngine, shape: FakeShape, items: ReadonlyArray<string>) => {
  const counts = { pieces: 0 }
  fake.onRead = (_, after) =>
    Effect.sync(() => {
      const rest = pulling(items.map((item) => Buffer.from(`,${item}`)))
      const pull = Effect.suspend(() => {
        counts.pieces++
        return rest
      })
      return { ...fake.slice(shape, after), body: { ready: undefined, pull } }
    })
  return counts
}

describe("negotiation", () => {
  it("takes what the client likes best, and of equals the best of ours", () => {
    const choose = Negotiation.make()
    const ours = "createZstdCompress" in zlib ? "zstd" : "br"
    const cases: ReadonlyArray<readonly [string | undefined, string | undefined]> = [
      [undefined, undefined],
      ["", undefined],
      ["identity", undefined],
      ["gzip, deflate", "gzip"],
      ["gzip, deflate, br", "br"],
      ["zstd, br, gzip", ours],
      ["br;q=0.5, gzip;q=0.8", "gzip"],
      ["GZIP;q=1.0, br;q=0", "gzip"],
      ["gzip;q=0", undefined],
      ["*", "gzip"],
      ["*;q=0", undefined],
      ["identity;q=1, gzip;q=0.5", undefined],
      ["gzip;q=nonsense", undefined],
      [`${"x".repeat(5_000)}, gzip`, "gzip"],
      [",,;q=1,", undefined]
    ]
    for (const [header, expected] of cases) {
      assert.strictEqual(choose(header), expected, header)
      assert.strictEqual(choose(header), expected, header)
    }
  })
})

describe("bodies", () => {
  it.scoped("are the same, compressed, with the same headers but for the encoding and the ETag", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items", [rows(200)])
      const url = "/v1/shape?table=items&offset=-1"
      for (const pulled of [false, true]) {
        if (pulled) chunk(fake, shape, rows(200))
        const plain = yield* get(url)
        const expected = (yield* bytesOf(plain)).toString()
        const etag = headerOf(plain, "etag")!
        for (const encoding of ["br", "gzip"] as const) {
          const response = yield* get(url, { "accept-encoding": encoding })
          assert.strictEqual(headerOf(response, "content-encoding"), encoding)
          assert.strictEqual(headerOf(response, "etag"), `${etag.slice(0, -1)}-${encoding}"`)
          assert.strictEqual(headerOf(response, "vary"), "accept-encoding")
          for (
            const name of ["electric-handle", "electric-offset", "electric-schema", "content-type", "cache-control"]
          ) {
            assert.strictEqual(headerOf(response, name), headerOf(plain, name), name)
          }
          const bytes = yield* bytesOf(response)
          assert.isBelow(bytes.length, expected.length / 4)
          assert.strictEqual(decoded(response, bytes), expected)

          const head = yield* get(url, { "accept-encoding": encoding }, "HEAD")
          const varies = (headers: ReadonlyArray<string>) =>
            headers.filter((_, i) => headers[i - (i % 2)] !== "x-request-id")
          assert.deepStrictEqual(varies(head.headers), varies(response.headers))
        }
      }
    }))

  it.scoped("that a client has in either form are not sent again, in whatever form it asks", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items", [rows(200)])
      fake.append(shape, 100n, rows(100))
      for (const peeks of [false, true]) {
        fake.peeks = peeks
        for (const offset of ["-1", "0_0", "0_inf"]) {
          for (const live of offset === "-1" ? [""] : ["", "&live=true"]) {
            const url = `/v1/shape?table=items&handle=${shape.handle}&offset=${offset}${live}`
            const etag = headerOf(yield* get(url), "etag")!
            const forms = ["", "-br", "-gzip", "-zstd"].map((suffix) => `${etag.slice(0, -1)}${suffix}"`)
            for (const form of forms) {
              for (const accepted of [{}, { "accept-encoding": "gzip, br" }]) {
                const response = yield* get(url, { ...accepted, "if-none-match": form })
                assert.strictEqual(response.status, 304)
                assert.strictEqual(headerOf(response, "etag"), form)
                assert.isUndefined(headerOf(response, "content-encoding"))
              }
            }
            for (const other of [`${etag.slice(0, -1)}-deflate"`, `${etag.slice(0, -1)}1-br"`]) {
              assert.strictEqual((yield* get(url, { "if-none-match": other })).status, 200)
            }
          }
        }
      }
    }))

  it.scoped("that are short, streams, and errors are sent as they are", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes()
      const shape = fake.define("items", [["{}"]])
      fake.append(shape, 100n, rows(100))
      const accepted = { "accept-encoding": "br, gzip" }
      const handle = `table=items&handle=${shape.handle}`
      const plain = [
        "/v1/shape?table=items&offset=-1",
        `/v1/shape?${handle}&offset=0_inf&live=true`,
        `/v1/shape?${handle}&offset=0_inf&live=true&live_sse=true`,
        `/v1/shape?${handle}&offset=100_198`,
        `/v1/shape?table=${"x".repeat(3_000)}&offset=-1`,
        "/v1/health"
      ]
      for (const url of plain) assert.isUndefined(headerOf(yield* get(url, accepted), "content-encoding"), url)
      const response = yield* get(`/v1/shape?${handle}&offset=0_inf`, accepted)
      assert.strictEqual(headerOf(response, "content-encoding"), "br")
    }))

  it.scoped("of closed chunks and of live responses are compressed once, for those who come meanwhile too", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { compression, held } } = yield* routes()
      const shape = fake.define("items")
      const items = rows(3_000)
      const counts = chunk(fake, shape, items)
      const url = "/v1/shape?table=items&offset=-1"
      const responses = yield* Effect.forEach([1, 2, 3], () => get(url, { "accept-encoding": "gzip" }))
      assert.strictEqual(compression.running(), 1)
      const expected = `[${items.join(",")}]`
      for (const response of responses) {
        assert.strictEqual(decoded(response, yield* bytesOf(response)), expected)
      }
      const later = yield* get(url, { "accept-encoding": "gzip" })
      assert.strictEqual(decoded(later, yield* bytesOf(later)), expected)
      // Its length is known by now.
      if (later.body._tag !== "Pieces") return assert.fail()
      assert.isAbove(later.body.length ?? 0, 100)
      assert.strictEqual(compression.running(), 0)
      const keptBefore = compression.keptBytes()
      assert.isAbove(keptBefore, 100)
      // Of each the first, which says whether it is empty, and of one all others.
      assert.strictEqual(counts.pieces, items.length + 1 + 3)

      fake.onRead = () => undefined
      const live = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`
      const waiting = yield* Effect.forEach([1, 2, 3], () => Effect.fork(get(live, { "accept-encoding": "br" })))
      yield* eventually(() => held() === 3)
      fake.append(shape, 100n, items)
      for (const fiber of waiting) {
        const response = yield* fiber
        assert.strictEqual(headerOf(response, "content-encoding"), "br")
        const text = decoded(response, yield* bytesOf(response))
        assert.isTrue(text.startsWith(`[${items[0]!},`) && text.endsWith("\"100\"}}]"))
      }
      assert.strictEqual(compression.running(), 0)
    }))

  it.scoped("are kept up to a number of bytes", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { compression } } = yield* routes({ compressionCacheBytes: 20_000 })
      const random = (seed: number) =>
        Array.from({ length: 300 }, (_, i) => `"${((seed * 7919 + i) * 2654435761 % 4294967296).toString(36)}"`)
      for (let i = 0; i < 20; i++) {
        fake.define(`t${i}`, [random(i)])
        const response = yield* get(`/v1/shape?table=t${i}&offset=-1`, { "accept-encoding": "gzip" })
        assert.strictEqual(decoded(response, yield* bytesOf(response)), `[${random(i).join(",")}]`)
      }
      assert.isAtMost(compression.keptBytes(), 20_000)
      assert.isAbove(compression.keptBytes(), 5_000)
    }))

  it.scoped("that break off break off compressed, and are not kept", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { compression } } = yield* routes()
      const shape = fake.define("items")
      const rest = pulling(rows(2_000).map((item) => Buffer.from(`,${item}`)))
      const pull = Effect.flatMap(rest, (piece) =>
        Option.isSome(piece) ? Effect.succeed(piece) : new ShapeGone({ handle: shape.handle }))
      fake.onRead = (_, after) =>
        Effect.succeed({ ...fake.slice(shape, after), body: { ready: undefined, pull } })
      const response = yield* get("/v1/shape?table=items&offset=-1", { "accept-encoding": "gzip" })
      const error = yield* Effect.flip(bytesOf(response))
      assert.strictEqual(error._tag, "ShapeGone")
      assert.strictEqual(compression.running(), 0)
      assert.strictEqual(compression.keptBytes(), 0)
    }))

  it.scoped("of a response's own are pulled as they are taken, and let go of when it ends", () =>
    Effect.gen(function*() {
      const { ends, fake, get, routes: { compression } } = yield* routes()
      const shape = fake.define("items")
      let pulls = 0
      const pull = Effect.sync(() => {
        pulls++
        return Option.some(Buffer.from(`,${rows(60).join(",")}`))
      })
      fake.onRead = (_, after) => Effect.succeed({ ...fake.slice(shape, after), body: { ready: undefined, pull } })
      // At the end of the log: what follows the last item is of this response alone.
      const url = `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf`
      const response = yield* get(url, { "accept-encoding": "gzip" })
      assert.strictEqual(headerOf(response, "content-encoding"), "gzip")
      assert.isAtMost(pulls, 1)
      if (response.body._tag !== "Pieces") return assert.fail()
      yield* LogFrame.pullPieces(response.body)
      yield* LogFrame.pullPieces(response.body)
      assert.isAbove(pulls, 1)
      assert.strictEqual(compression.running(), 1)
      for (const release of ends.splice(0)) release()
      assert.strictEqual(compression.running(), 0)
    }))

  it.scoped("are sent as they are when too many are being compressed", () =>
    Effect.gen(function*() {
      const { fake, get, routes: { compression } } = yield* routes()
      const gate = yield* Deferred.make<void>()
      for (let i = 0; i < 12; i++) fake.define(`t${i}`)
      fake.onRead = (_, after) =>
        Effect.sync(() => {
          const rest = pulling(rows(100).map((item) => Buffer.from(`,${item}`)))
          let pulls = 0
          const pull = Effect.suspend(() => (pulls++ === 1 ? Effect.zipRight(Deferred.await(gate), rest) : rest))
          return { ...fake.slice([...fake.shapes.values()][0]!, after), body: { ready: undefined, pull } }
        })
      const responses = yield* Effect.forEach(
        Array.from({ length: 12 }, (_, i) => i),
        (i) => get(`/v1/shape?table=t${i}&offset=-1`, { "accept-encoding": "gzip" })
      )
      const encodings = responses.map((response) => headerOf(response, "content-encoding"))
      assert.strictEqual(encodings.filter((encoding) => encoding === "gzip").length, 8)
      assert.strictEqual(compression.running(), 8)
      yield* Deferred.succeed(gate, undefined)
      for (const response of responses) {
        assert.strictEqual(decoded(response, yield* bytesOf(response)), `[${rows(100).join(",")}]`)
      }
      yield* eventually(() => compression.running() === 0)
    }))

  it.scoped("stay as they are when nothing may be kept", () =>
    Effect.gen(function*() {
      const { fake, get } = yield* routes({ compressionCacheBytes: 0 })
      fake.define("items", [rows(200)])
      const response = yield* get("/v1/shape?table=items&offset=-1", { "accept-encoding": "br, gzip" })
      assert.isUndefined(headerOf(response, "content-encoding"))
      assert.strictEqual(bodyOf(response), `[${rows(200).join(",")}]`)
    }))
})
