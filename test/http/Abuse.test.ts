/**
 * Clients that are broken or mean, over raw sockets: whatever they do, the server goes on answering others and holds
 * nothing of them when they are gone. What it holds is counted before and after.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as Net from "node:net"
import type { HttpSettings } from "../../src/http/HttpOptions.ts"
import type { FakeShape } from "../support/FakeEngine.ts"
import * as Fixture from "./HttpFixture.ts"

const PIECE = Buffer.from(`,"${"x".repeat(65_533)}"`)
const CRLF = "\r\n"

/** A connection of which only what was received last is kept. */
class Abuser {
  received = ""
  bytes = 0
  isClosed = false
  readonly socket: Net.Socket

  constructor(socket: Net.Socket) {
    this.socket = socket
    socket.on("error", () => undefined)
    socket.on("close", () => (this.isClosed = true))
  }
  read() {
    this.socket.on("data", (chunk) => {
      this.bytes += chunk.length
      this.received = (this.received + chunk.toString("latin1")).slice(-100_000)
    })
    return this
  }
  send(...lines: ReadonlyArray<string>) {
    this.socket.write(lines.join(CRLF))
    return this
  }
  get closed() {
    return Fixture.eventually(() => this.isClosed)
  }
}

const connect = (port: number) =>
  Effect.acquireRelease(
    Effect.async<Abuser, Error>((resume) => {
      const socket = Net.connect(port, "127.0.0.1")
      socket.once("error", (error) => resume(Effect.fail(error)))
      socket.once("connect", () => resume(Effect.succeed(new Abuser(socket))))
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

const snapshotUrl = "/v1/shape?table=items&offset=-1"
const liveUrl = ({ handle }: FakeShape, sse = false) =>
  `/v1/shape?table=items&handle=${handle}&offset=0_inf&live=true${sse ? "&live_sse=true" : ""}`
const get = (path: string, ...headers: ReadonlyArray<string>) => [`GET ${path} HTTP/1.1`, "host: x", ...headers, "", ""]

/** A server, and a check that it answers and holds nothing but its own. */
const underAttack = Effect.fnUntraced(function*(settings: Partial<HttpSettings> = {}) {
  const server = yield* Fixture.server(settings)
  const { connections, fake, request, routes } = server
  const shape = fake.define("items", [["{\"a\":1}"]])
  const isUnharmed = Effect.gen(function*() {
    assert.strictEqual((yield* request(snapshotUrl, { headers: { connection: "close" } })).body, "[{\"a\":1}]")
    let open = -1
    const look: Effect.Effect<void> = Effect.flatMap(connections, (count) => {
      open = count
      return count === 0 ? Effect.void : Effect.zipRight(Fixture.eventually(() => true), look)
    })
    yield* look
    assert.strictEqual(open, 0)
    yield* Fixture.eventually(() => routes.held() === 0 && fake.waits.size === 0)
    assert.deepStrictEqual(routes.admitted(), { initial: 0, existing: 0 })
    assert.strictEqual(routes.compression.running(), 0)
    assert.deepStrictEqual(routes.waiting(), { groups: 0, timers: 0 })
  })
  return { ...server, shape, isUnharmed }
})

describe("requests that are none", () => {
  const broken: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["no HTTP", ["\u0000\u0001\u0002\u0003", ""]],
    ["TLS", ["\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003", ""]],
    ["no version", ["GET /v1/shape", "", ""]],
    ["another version", ["GET / HTTP/9.9", "host: x", "", ""]],
    ["a method of our own", ["SHAPE / HTTP/1.1", "host: x", "", ""]],
    ["no target", ["GET  HTTP/1.1", "host: x", "", ""]],
    ["a space in a header's name", ["GET / HTTP/1.1", "host : x", "", ""]],
    ["a NUL in a header", ["GET / HTTP/1.1", "host: x", "a: \u0000", "", ""]],
    ["no host", ["GET / HTTP/1.1", "", ""]],
    ["two lengths", ["POST / HTTP/1.1", "host: x", "content-length: 1", "content-length: 2", "", "ab"]],
    ["a length and chunks", [
      "POST / HTTP/1.1",
      "host: x",
      "content-length: 1",
      "transfer-encoding: chunked",
      "",
      "0",
      "",
      ""
    ]],
    ["a length below nothing", ["POST / HTTP/1.1", "host: x", "content-length: -1", "", ""]],
    ["a chunk without a size", ["POST / HTTP/1.1", "host: x", "transfer-encoding: chunked", "", "zz", "", ""]],
    ["folded headers", ["GET / HTTP/1.1", "host: x", "a: b", " c", "d", "", ""]]
  ]

  it.scoped("get a 4xx, or lose their connection", () =>
    Effect.gen(function*() {
      const { isUnharmed, port } = yield* underAttack()
      for (const [name, lines] of broken) {
        const client = (yield* connect(port)).read().send(...lines)
        client.socket.end()
        yield* client.closed
        if (client.received !== "") assert.match(client.received, /^HTTP\/1\.1 (4\d\d|505) /, name)
      }
      yield* isUnharmed
    }))

  it.scoped("may have any path and any query", () =>
    Effect.gen(function*() {
      const { isUnharmed, port } = yield* underAttack()
      const targets = [
        "/%",
        "/%zz",
        "/v1/%00shape",
        "/v1/shape?%",
        "/v1/shape?%ff=%ff",
        "/v1/shape?table=%00&offset=-1",
        "//",
        "/?",
        "/v1/shape?",
        "/v1/shape?offset",
        "/v1/shape?offset=&offset",
        "/v1/shape?params[=1&table=x&offset=-1",
        "*",
        "/v1/shape?params[__proto__]=1&table=items&offset=-1",
        "/v1/../v1/shape",
        "/v1/shape/../../..",
        "/v1/shape#x",
        "/v1/shape?table=items&offset=99999999999999999999999999_0&handle=x",
        "/v1/shape?live=true&live_sse=true",
        `/v1/shape?table=items&offset=-1&cursor=${"9".repeat(400)}`,
        "/v1/shape?table=__proto__&offset=-1"
      ]
      for (const target of targets) {
        const client = (yield* connect(port)).read().send(...get(target, "connection: close"))
        yield* client.closed
        assert.match(client.received, /^HTTP\/1\.1 [234]\d\d /, target)
        assert.notInclude(client.received, "HTTP/1.1 5")
      }
      yield* isUnharmed
    }))

  it.scoped("that are too long are told so", () =>
    Effect.gen(function*() {
      const { isUnharmed, port } = yield* underAttack()
      const cases: ReadonlyArray<readonly [number, ReadonlyArray<string>]> = [
        [414, get(`/v1/shape?where=${"x".repeat(10_000)}`, "connection: close")],
        [431, get(`/${"x".repeat(100_000)}`)],
        [431, get("/", `a: ${"x".repeat(100_000)}`)],
        [431, get("/", ...Array.from({ length: 5_000 }, (_, i) => `header-${i}: ${"x".repeat(10)}`))]
      ]
      for (const [status, lines] of cases) {
        const client = (yield* connect(port)).read().send(...lines)
        yield* client.closed
        assert.match(client.received, new RegExp(`^HTTP/1.1 ${status} `))
      }
      const endless = (yield* connect(port)).read().send("GET / HTTP/1.1", "host: x", "")
      let sent = 0
      const more = () => {
        for (; sent < 100_000 && !endless.isClosed; sent++) if (!endless.socket.write(`a${sent}: b${CRLF}`)) return
      }
      endless.socket.on("drain", more)
      more()
      yield* endless.closed
      assert.match(endless.received, /^HTTP\/1\.1 431 /)
      yield* isUnharmed
    }))
})

describe("clients that take their time", () => {
  it.scopedLive("to send the head of a request lose their connection, wherever they stopped", () =>
    Effect.gen(function*() {
      const { isUnharmed, port } = yield* underAttack({ headersTimeoutMs: 100 })
      const begun = ["", "G", "GET / HTTP/1.1", `GET / HTTP/1.1${CRLF}host: x${CRLF}a:`]
      const clients = yield* Effect.forEach(begun, (text) =>
        Effect.map(connect(port), (client) => {
          client.read()
          if (text !== "") client.socket.write(text)
          return client
        }))
      // One goes on, a byte now and then, and never ends.
      const loris = (yield* connect(port)).read().send("GET / HTTP/1.1", "a: ")
      const drip = setInterval(() => loris.socket.write("x"), 10)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(drip)))
      for (const client of [...clients, loris]) yield* client.closed
      clearInterval(drip)
      yield* isUnharmed
    }))

  it.scopedLive("to send a body lose their connection", () =>
    Effect.gen(function*() {
      const { isUnharmed, port } = yield* underAttack({ keepAliveTimeoutMs: 50 })
      const client = (yield* connect(port)).read()
      client.send("POST /v1/shape?table=items&offset=-1 HTTP/1.1", "host: x", "content-length: 100", "", "{")
      yield* client.closed
      yield* isUnharmed
    }))

  it.scopedLive("to read a stream are cut off, having had a bounded number of bytes", () =>
    Effect.gen(function*() {
      const { fake, isUnharmed, port, routes, shape } = yield* underAttack({ sendTimeoutMs: 50 })
      const stalled = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.map(connect(port), (client) => client.send(...get(liveUrl(shape, true))))
      )
      yield* Fixture.eventually(() => routes.held() === 20)
      let pulls = 0
      fake.onRead = (_, after) =>
        Effect.sync(() => {
          const slice = fake.slice(shape, after)
          if (slice.end.tx === after.tx) return slice
          let mine = 0
          const pull = Effect.sync(() => {
            pulls++
            return mine++ < 2_000 ? Option.some(PIECE) : Option.none()
          })
          return { ...slice, body: { ready: undefined, pull } }
        })
      fake.append(shape, 100n, ["{}"])
      yield* Fixture.eventually(() => routes.held() === 0)
      // 2000 pieces are 131 MB for each; the kernel takes some of them.
      assert.isBelow(pulls * PIECE.length, 20 * 16 * 1_048_576)
      for (const client of stalled) client.read()
      for (const client of stalled) yield* client.closed
      fake.onRead = () => undefined
      shape.log.length = 0
      yield* isUnharmed
    }))
})

describe("clients that do not read", () => {
  it.scopedLive("are cut off although they go on sending", () =>
    Effect.gen(function*() {
      const { fake, isUnharmed, port, routes } = yield* underAttack({ sendTimeoutMs: 100 })
      fake.define("endless")
      let pulls = 0
      const pull = Effect.sync(() => {
        pulls++
        return Option.some(PIECE)
      })
      fake.onRead = () =>
        Effect.succeed({
          end: { tx: 0n, op: 0 },
          upToDate: false,
          lastSeenLsn: 0n,
          body: { ready: undefined, pull }
        })
      const client = (yield* connect(port)).send(...get("/v1/shape?table=endless&offset=-1"))
      yield* Fixture.eventually(() => pulls > 1)
      const drip = setInterval(() => client.socket.write(CRLF), 10)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(drip)))
      yield* Fixture.eventually(() => routes.admitted().existing === 0)
      clearInterval(drip)
      fake.onRead = () => undefined
      client.read()
      yield* client.closed
      yield* isUnharmed
    }))
})

describe("connections that end early", () => {
  it.scoped("by halves let go of what they wait for", () =>
    Effect.gen(function*() {
      const { isUnharmed, port, routes, shape } = yield* underAttack()
      for (const sse of [false, true]) {
        const clients = yield* Effect.forEach([1, 2, 3], () => connect(port))
        for (const client of clients) client.read().send(...get(liveUrl(shape, sse)))
        yield* Fixture.eventually(() => routes.held() === 3)
        for (const client of clients) client.socket.end()
        yield* Fixture.eventually(() => routes.held() === 0)
        for (const client of clients) yield* client.closed
      }
      yield* isUnharmed
    }))

  it.scoped("in the middle of a request or its body", () =>
    Effect.gen(function*() {
      const { isUnharmed, port } = yield* underAttack()
      const cut = [
        "GET",
        `GET / HTTP/1.1${CRLF}host`,
        ["POST /v1/shape?table=items&offset=-1 HTTP/1.1", "host: x", "content-length: 1000", "", "{"].join(CRLF),
        ["POST /v1/shape?table=items&offset=-1 HTTP/1.1", "host: x", "transfer-encoding: chunked", "", "ff", "{"]
          .join(CRLF)
      ]
      for (const text of cut) {
        for (const end of ["destroy", "end", "resetAndDestroy"] as const) {
          const client = (yield* connect(port)).read()
          yield* Effect.async<void>((resume) => {
            client.socket.write(text, () => resume(Effect.void))
          })
          client.socket[end]()
          yield* client.closed
        }
      }
      yield* isUnharmed
    }))

  it.scoped("by the thousand, while they wait, stream and read", () =>
    Effect.gen(function*() {
      const { connections, fake, isUnharmed, port, routes, shape } = yield* underAttack()
      const endless = fake.define("endless")
      fake.onRead = (handle) =>
        handle === endless.handle
          ? Effect.succeed({
            end: { tx: 0n, op: 0 },
            upToDate: false,
            lastSeenLsn: 0n,
            body: { ready: undefined, pull: Effect.sync(() => Option.some(PIECE)) }
          })
          : undefined
      const kinds = [
        get(liveUrl(shape)),
        get(liveUrl(shape, true)),
        get("/v1/shape?table=endless&offset=-1"),
        get("/v1/shape?table=endless&offset=-1", "accept-encoding: gzip")
      ]
      const perRound = 250
      for (let round = 0; round < 4; round++) {
        const clients = yield* Effect.forEach(
          Array.from({ length: perRound }),
          () => connect(port),
          { concurrency: 50 }
        )
        // Endless bodies only for some: they keep the machine busy.
        clients.forEach((client, i) => client.send(...kinds[i % 50 === 0 ? 2 : i % 50 === 1 ? 3 : i % 2]!))
        yield* Fixture.eventually(() => routes.held() >= 240)
        const streaming = clients.filter((_, i) => i % 50 < 2)
        for (const client of streaming) client.read()
        yield* Fixture.eventually(() => streaming.every(({ bytes }) => bytes > 0))
        assert.strictEqual(yield* connections, perRound)
        for (const { socket } of clients) socket.resetAndDestroy()
        yield* Fixture.eventually(() => routes.held() === 0)
      }
      fake.onRead = () => undefined
      yield* isUnharmed
    }))

  it.scoped("with requests behind one that is held", () =>
    Effect.gen(function*() {
      const { fake, isUnharmed, port, routes, shape } = yield* underAttack()
      for (const sse of [false, true]) {
        const client = (yield* connect(port)).read()
        client.send(...get(liveUrl(shape, sse)))
        for (let i = 0; i < 30; i++) client.send(...get(snapshotUrl))
        yield* Fixture.eventually(() => routes.held() === 1)
        const { reads } = fake
        client.socket.destroy()
        yield* Fixture.eventually(() => routes.held() === 0)
        assert.strictEqual(fake.reads, reads)
      }
      const flood = (yield* connect(port)).read()
      for (let i = 0; i < 500; i++) flood.send(...get(liveUrl(shape)))
      yield* flood.closed
      yield* isUnharmed
    }))
})
