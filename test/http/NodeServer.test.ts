/**
 * The adapter on real sockets: slow and vanishing clients, pipelining, limits, broken bodies, shutdown.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Option, Scope } from "effect"
import * as Net from "node:net"
import { ShapeGone, StorageError } from "../../src/domain/Errors.ts"
import type { LogBody } from "../../src/engine/ShapeEngine.ts"
import { ListenFailed } from "../../src/http/NodeServer.ts"
import type { FakeEngine, FakeShape } from "../support/FakeEngine.ts"
import * as Fixture from "./HttpFixture.ts"

const PIECE = Buffer.from(`,"${"x".repeat(65_533)}"`)

/** A connection that is written to and read as bytes. */
const connect = (port: number) =>
  Effect.acquireRelease(
    Effect.async<Connection, Error>((resume) => {
      const socket = Net.connect(port, "127.0.0.1")
      socket.once("error", (error) => resume(Effect.fail(error)))
      socket.once("connect", () => resume(Effect.succeed(new Connection(socket))))
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

class Connection {
  received = ""
  isClosed = false
  readonly socket: Net.Socket

  constructor(socket: Net.Socket) {
    this.socket = socket
    // A reset is one of the ways in which a connection ends.
    socket.on("error", () => undefined)
    socket.on("close", () => (this.isClosed = true))
  }
  /** Begins to read. */
  read() {
    this.socket.on("data", (chunk) => (this.received += chunk.toString("latin1")))
    return this
  }
  get(path: string, headers: ReadonlyArray<string> = []) {
    this.socket.write([`GET ${path} HTTP/1.1`, "host: x", ...headers, "", ""].join("\r\n"))
    return this
  }
  get closed() {
    return Fixture.eventually(() => this.isClosed)
  }
}

/** Makes the shape's log a body that is pulled, and counts what is. */
const pulled = (fake: FakeEngine, shape: FakeShape, body: (pull: number) => LogBody["pull"]) => {
  const counts = { pulls: 0, bytes: 0 }
  fake.onRead = (_, after) =>
    Effect.sync(() => {
      counts.pulls = 0
      return { ...fake.slice(shape, after), body: { ready: undefined, pull } }
    })
  const pull: LogBody["pull"] = Effect.tap(Effect.suspend(() => body(counts.pulls++)), (piece) =>
    Effect.sync(() => {
      counts.bytes += Option.isSome(piece) ? piece.value.length : 0
    }))
  return counts
}

const url = "/v1/shape?table=items&offset=-1"
const liveUrl = (shape: FakeShape) => `/v1/shape?table=items&handle=${shape.handle}&offset=0_inf&live=true`

describe("bodies", () => {
  it.scoped("of any length arrive whole, pulled or from memory", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items")
      const pieces = Array.from({ length: 40 }, () => PIECE)
      const whole = `[${Buffer.concat(pieces).toString().slice(1)}]`
      pulled(fake, shape, (n) => Effect.succeed(Option.fromNullable(pieces[n])))
      const fromPulls = yield* request(url)
      assert.strictEqual(fromPulls.body, whole)
      assert.strictEqual(fromPulls.headers["transfer-encoding"], "chunked")

      for (
        const ready of [pieces, [Buffer.from(",1"), Buffer.alloc(0), Buffer.from(",\"größe\""), Buffer.from(",3")]]
      ) {
        fake.onRead = (_, after) =>
          Effect.succeed({ ...fake.slice(shape, after), body: { ready, pull: Effect.succeedNone } })
        const fromMemory = yield* request(url)
        assert.strictEqual(fromMemory.body, `[${Buffer.concat(ready).toString().slice(1)}]`)
        assert.strictEqual(Number(fromMemory.headers["content-length"]), Buffer.concat(ready).length + 1)
      }
    }))

  it.scoped("that are long reach every live client whole", () =>
    Effect.gen(function*() {
      const { fake, request, routes: { held } } = yield* Fixture.server()
      const shape = fake.define("items")
      const requests = yield* Effect.forEach([1, 2, 3], () => Effect.fork(request(liveUrl(shape))))
      yield* Fixture.eventually(() => held() === 3)
      const item = PIECE.toString().slice(1)
      fake.append(shape, 100n, Array.from({ length: 20 }, () => item))
      const whole = `[${`${item},`.repeat(20)}{"headers":{"control":"up-to-date","global_last_seen_lsn":"100"}}]`
      for (const reply of requests) assert.strictEqual((yield* reply).body, whole)
    }))

  it.scoped("may be empty, and may have empty pieces", () =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const shape = fake.define("items")
      for (const [texts, body] of [[[], "[]"], [["", ""], "[]"], [["", ",1", "", ",2"], "[1,2]"]] as const) {
        const pieces: ReadonlyArray<string> = texts
        const pieceAt = (n: number) => Option.map(Option.fromNullable(pieces[n]), (text) => Buffer.from(text))
        pulled(fake, shape, (n) => Effect.succeed(pieceAt(n)))
        assert.strictEqual((yield* request(url)).body, body)
      }
    }))

  it.scoped("are not pulled for a client that does not read", () =>
    Effect.gen(function*() {
      const { fake, port } = yield* Fixture.server()
      const shape = fake.define("items")
      const total = 4_000
      const counts = pulled(
        fake,
        shape,
        (n) => Effect.succeed(n < total ? Option.some(PIECE) : Option.none())
      )
      const client = yield* connect(port)
      client.get(url)
      // Pulling stops: the kernel's buffers are full, and one piece waits.
      let before = -1
      let turns = 0
      yield* Fixture.eventually(() => {
        turns = counts.pulls === before && counts.pulls > 0 ? turns + 1 : 0
        before = counts.pulls
        return turns === 50
      })
      assert.isBelow(counts.bytes, 16 * 1_048_576)
      // What the client has not read, and the kernel has not taken, is less than two pieces.
      let length = 0
      client.socket.on("data", (chunk) => (length += chunk.length))
      yield* Fixture.eventually(() => length > total * PIECE.length)
      assert.strictEqual(counts.pulls, total + 1)
    }))

  it.scoped("that can't be continued end in a destroyed connection", () =>
    Effect.gen(function*() {
      const { fake, port, request } = yield* Fixture.server()
      const shape = fake.define("items")
      const failures = [
        new ShapeGone({ handle: "x" }),
        new StorageError({ operation: "read", cause: "disk" }),
        Effect.die("defect")
      ]
      for (const failure of failures) {
        pulled(fake, shape, (n) => (n < 3 ? Effect.succeed(Option.some(PIECE)) : failure))
        const error = yield* Effect.flip(request(url))
        assert.strictEqual(error.message, "aborted")
        const client = (yield* connect(port)).read().get(url)
        yield* client.closed
        assert.isFalse(client.received.endsWith("0\r\n\r\n"))
      }
    }))

  it.scopedLive("that a client no longer takes are given up after the send timeout", () =>
    Effect.gen(function*() {
      const { connections, fake, port } = yield* Fixture.server({ sendTimeoutMs: 50 })
      const shape = fake.define("items")
      pulled(fake, shape, () => Effect.succeed(Option.some(PIECE)))
      const pulling = (yield* connect(port)).get(url)
      yield* Fixture.eventually(() => fake.reads === 1)
      // Short responses too, when the kernel has no room for the last of them.
      fake.onRead = () => undefined
      const short = fake.define("short", [[`"${"x".repeat(16_000)}"`]])
      const all = yield* connect(port)
      let asked = 1
      const askUntilClosed: Effect.Effect<void> = Effect.suspend(() => {
        if (fake.reads === asked) {
          all.get(`/v1/shape?table=short&offset=-1&handle=${short.handle}`)
          asked++
        }
        return Effect.flatMap(
          Effect.zipRight(Fixture.eventually(() => true), connections),
          (open) => (open === 0 ? Effect.void : askUntilClosed)
        )
      })
      yield* askUntilClosed
      assert.isAbove(asked, 2)
      pulling.read()
      yield* pulling.closed
    }))
})

describe("connections", () => {
  it.scoped("that are closed interrupt their requests and leave nothing behind", () =>
    Effect.gen(function*() {
      const { fake, port, routes: { held } } = yield* Fixture.server()
      const shape = fake.define("items")
      const clients = yield* Effect.forEach([1, 2, 3], () => connect(port))
      for (const client of clients) client.get(liveUrl(shape))
      yield* Fixture.eventually(() => held() === 3)
      clients[0]!.socket.destroy()
      clients[1]!.socket.end()
      yield* Fixture.eventually(() => held() === 1)
      assert.strictEqual(fake.waits.size, 1)
      clients[2]!.socket.destroy()
      yield* Fixture.eventually(() => held() === 0)
      assert.strictEqual(fake.waits.size, 0)
    }))

  it.scoped("that are closed end the pulling of their bodies", () =>
    Effect.gen(function*() {
      const { fake, port } = yield* Fixture.server()
      const shape = fake.define("items")
      const interrupted = yield* Deferred.make<void>()
      pulled(fake, shape, (n) =>
        n < 2
          ? Effect.succeed(Option.some(PIECE))
          : Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined)))
      const client = (yield* connect(port)).read().get(url)
      yield* Fixture.eventually(() => client.received.length > PIECE.length)
      client.socket.destroy()
      yield* Deferred.await(interrupted)
    }))

  it.scoped("serve pipelined requests in order, and begin the next when the one before it is sent", () =>
    Effect.gen(function*() {
      const { fake, port, routes: { held } } = yield* Fixture.server()
      const shape = fake.define("items", [["{\"a\":1}"]])
      const client = (yield* connect(port)).read()
      client.get(liveUrl(shape)).get(url).get("/v1/health").get("/nowhere", ["connection: close"])
      yield* Fixture.eventually(() => held() === 1)
      assert.strictEqual(fake.reads, 1)
      assert.strictEqual(client.received, "")
      fake.append(shape, 100n, ["{\"live\":1}"])
      yield* client.closed
      const order = ["{\"live\":1}", "[{\"a\":1}]", "{\"status\":\"active\"}", "Not found"]
      const positions = order.map((text) => client.received.indexOf(text))
      assert.deepStrictEqual(positions, [...positions].sort((a, b) => a - b))
      assert.isAtLeast(positions[0]!, 0)
    }))

  it.scoped("that pipeline without end are closed", () =>
    Effect.gen(function*() {
      const { fake, port, routes: { held } } = yield* Fixture.server()
      const shape = fake.define("items")
      const client = (yield* connect(port)).read()
      for (let i = 0; i < 100; i++) client.get(liveUrl(shape))
      yield* client.closed
      yield* Fixture.eventually(() => held() === 0)
      assert.strictEqual(fake.waits.size, 0)
    }))

  it.scoped("are closed after a request whose body nobody reads", () =>
    Effect.gen(function*() {
      const { fake, port, routes: { held } } = yield* Fixture.server()
      const shape = fake.define("items", [["{\"a\":1}"]])
      const client = (yield* connect(port)).read()
      client.socket.write(
        "PUT /v1/shape?table=items&offset=-1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nabc"
      )
      yield* client.closed
      assert.match(client.received, /^HTTP\/1\.1 404 /)
      assert.match(client.received, /\r\nconnection: close\r\n/)

      // A body that breaks off while its request is held.
      const aborted = yield* connect(port)
      aborted.get(liveUrl(shape), ["content-length: 10"])
      yield* Fixture.eventually(() => held() === 1)
      aborted.socket.destroy()
      yield* Fixture.eventually(() => held() === 0)
    }))

  it.scoped("that are answered before their body has come get the answer, however late they read it", () =>
    Effect.gen(function*() {
      const { port } = yield* Fixture.server({ secret: "s" })
      const body = "x".repeat(20_000_000)
      const cases = [[`POST ${url}&secret=s`, 413], [`POST ${url}`, 401], ["PUT /", 404]] as const
      for (const [target, status] of cases) {
        const client = yield* connect(port)
        const head = [`${target} HTTP/1.1`, "host: x", `content-length: ${body.length}`, "", body].join("\r\n")
        yield* Effect.async<void, Error>((resume) => {
          client.socket.write(head, (error) => resume(error ? Effect.fail(error) : Effect.void))
        })
        yield* client.read().closed
        assert.match(client.received, new RegExp(`^HTTP/1\\.1 ${status} [^]*\\r\\nconnection: close\\r\\n`))
        assert.match(client.received, /\r\n\r\n(\{.*\}|Not found)$/)
      }
    }))

  it.scoped("are told of lines and headers that are too long", () =>
    Effect.gen(function*() {
      const { port, request } = yield* Fixture.server()
      const long = yield* request(`/v1/shape?where=${"x".repeat(10_000)}`)
      assert.strictEqual(long.status, 414)
      for (const raw of [`GET / HTTP/1.1\r\nhost: x\r\na: ${"x".repeat(40_000)}\r\n\r\n`, "nonsense\r\n\r\n"]) {
        const client = (yield* connect(port)).read()
        client.socket.write(raw)
        yield* client.closed
        assert.match(client.received, raw.startsWith("GET") ? /^HTTP\/1\.1 431 / : /^HTTP\/1\.1 400 /)
      }
    }))

  it.scoped("may name the whole URL in the request line", () =>
    Effect.gen(function*() {
      const { fake, port } = yield* Fixture.server({ secret: "s" })
      fake.define("items", [["{\"a\":1}"]])
      const client = (yield* connect(port)).read()
      client.get(`http://example.com${url}`).get(`http://example.com${url}&secret=s`).get("http://x?a", [
        "connection: close"
      ])
      yield* client.closed
      assert.deepStrictEqual(client.received.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 401", "HTTP/1.1 200", "HTTP/1.1 200"])
    }))
})

describe("shutdown", () => {
  it.scoped("answers held requests, finishes bodies, and closes connections", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { fake, port, request, routes: { held } } = yield* Scope.extend(Fixture.server(), scope)
      const shape = fake.define("items")
      yield* request("/v1/health")
      const idle = (yield* connect(port)).read()
      const live = (yield* connect(port)).read().get(liveUrl(shape))
      yield* Fixture.eventually(() => held() === 1)
      const gate = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      pulled(fake, shape, (n) =>
        n === 0
          ? Effect.succeed(Option.some(PIECE))
          : n === 1
          ? Effect.as(Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(gate)), Option.some(PIECE))
          : Effect.succeedNone)
      const streaming = (yield* connect(port)).read().get(url)
      yield* Deferred.await(begun)
      fake.onRead = () => undefined

      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* live.closed
      assert.match(live.received, /^HTTP\/1\.1 200 /)
      assert.include(live.received, "electric-has-data: false")
      assert.match(live.received, /\r\nconnection: close\r\n/)
      yield* idle.closed
      assert.strictEqual((yield* closing.poll)._tag, "None")
      const refused = yield* Effect.flip(connect(port))
      assert.include(refused.message, "ECONNREFUSED")

      yield* Deferred.succeed(gate, undefined)
      yield* streaming.closed
      assert.isTrue(streaming.received.endsWith("\"]\r\n0\r\n\r\n") || streaming.received.includes("]\r\n0\r\n\r\n"))
      yield* closing
      assert.strictEqual(held(), 0)
    }))

  it.scopedLive("cuts off at the deadline what does not end", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { fake, port } = yield* Scope.extend(Fixture.server({ drainTimeoutMs: 20 }), scope)
      const shape = fake.define("items")
      pulled(fake, shape, (n) => (n === 0 ? Effect.succeed(Option.some(PIECE)) : Effect.never))
      const client = (yield* connect(port)).read().get(url)
      yield* Fixture.eventually(() => client.received.length > 0)
      yield* Scope.close(scope, Exit.void)
      yield* client.closed
    }))

  it.scoped("frees its port; a port that is taken is a typed failure", () =>
    Effect.gen(function*() {
      const first = yield* Fixture.server()
      const error = yield* Effect.flip(Fixture.server({ port: first.port }))
      assert.instanceOf(error, ListenFailed)
      assert.strictEqual(error._tag, "ListenFailed")
    }))

  it.scoped("the options must say how requests are authorised", () =>
    Effect.gen(function*() {
      for (const settings of [{ insecure: false }, { insecure: true, secret: "s" }, { insecure: false, secret: "" }]) {
        const error = yield* Effect.flip(Fixture.server(settings))
        assert.strictEqual(error._tag, "InvalidHttpOptions")
      }
    }))
})
