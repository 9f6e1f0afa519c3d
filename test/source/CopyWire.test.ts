import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option } from "effect"
import { Duplex } from "node:stream"
import pg from "pg"
import * as CopyWire from "../../src/source/CopyWire.ts"

// --- A server whose every chunk the test decides ---

const message = (type: string, ...parts: ReadonlyArray<Buffer | string>): Buffer => {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)))
  const header = Buffer.alloc(5)
  header.write(type, "latin1")
  header.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([header, body])
}

const copyOut = message("H", Buffer.from([0, 0, 1, 0, 0]))
const data = (payload: string) => message("d", payload)
const copyDone = message("c")
const complete = message("C", "COPY 3\0")
const ready = message("Z", "I")
const errorResponse = (severity: string, code: string, text: string) =>
  message("E", `S${severity}\0V${severity}\0C${code}\0M${text}\0Ddetail\0\0`)

class ScriptedSocket extends Duplex {
  readonly written: Array<Buffer> = []
  /** What the server does with a query. */
  onQuery: (sql: string) => void = () => {}

  constructor() {
    // As a TCP socket: one that was ended by the other side closes.
    super({ allowHalfOpen: false })
  }
  connect(): this {
    process.nextTick(() => this.emit("connect"))
    return this
  }
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    done()
    if (chunk.length > 8 && chunk.readInt32BE(4) === 0x30000) {
      this.push(Buffer.concat([message("R", Buffer.alloc(4)), message("K", Buffer.alloc(8, 1)), ready]))
    } else if (chunk[0] === 0x51) {
      this.onQuery(chunk.toString("utf8", 5, chunk.length - 1))
    } else if (chunk[0] === 0x58) {
      this.push(null)
    } else {
      this.written.push(chunk)
    }
  }
}

const connected = Effect.acquireRelease(
  Effect.promise(async () => {
    const socket = new ScriptedSocket()
    const client = new pg.Client({ stream: () => socket })
    client.on("error", () => {})
    await client.connect()
    return { client, socket }
  }),
  ({ client, socket }) =>
    Effect.promise(async () => {
      socket.destroy()
      await client.end()
    })
)

const answer = (socket: ScriptedSocket, chunks: ReadonlyArray<Buffer>): void => {
  socket.onQuery = () => {
    for (const chunk of chunks) socket.push(chunk)
  }
}

const texts = (frames: CopyWire.Frames): Array<string> =>
  Array.from(
    { length: frames.count },
    (_, i) => frames.bytes.toString("utf8", frames.rows[2 * i], frames.rows[2 * i + 1])
  )

const readAll = Effect.fnUntraced(function*(wire: CopyWire.CopyWire) {
  const rows: Array<string> = []
  while (true) {
    const next = yield* wire.pull
    if (Option.isNone(next)) return rows
    assert.isAbove(next.value.count, 0)
    rows.push(...texts(next.value))
  }
})

const copyAll = (client: pg.Client) => Effect.flatMap(CopyWire.open(client, "COPY t TO STDOUT"), readAll)

/** pg has its socket back when a query of its own is answered. */
const assertUsable = (client: pg.Client, socket: ScriptedSocket) =>
  Effect.promise(async () => {
    answer(socket, [message("C", "SET\0"), ready])
    assert.strictEqual((await client.query("SET x = 1")).command, "SET")
  })

const rows = ["1\ta\n", "\n", "2\tb with some more text\n"]
const whole = Buffer.concat([copyOut, ...rows.map(data), copyDone, complete, ready])

// --- Framing ---

describe("framing", () => {
  it.scoped("a COPY in one chunk", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      answer(socket, [whole])
      assert.deepStrictEqual(yield* copyAll(client), rows)
      yield* assertUsable(client, socket)
    }))

  it.scoped("cut in two at every byte, on one connection", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      for (let at = 1; at < whole.length; at++) {
        answer(socket, [whole.subarray(0, at), whole.subarray(at)])
        assert.deepStrictEqual(yield* copyAll(client), rows, `cut at ${at}`)
      }
      yield* assertUsable(client, socket)
    }))

  it.scoped("byte by byte", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      answer(socket, Array.from(whole, (byte) => Buffer.from([byte])))
      assert.deepStrictEqual(yield* copyAll(client), rows)
      yield* assertUsable(client, socket)
    }))

  it.scoped("an empty COPY, and empty messages", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      answer(socket, [Buffer.concat([copyOut, copyDone, complete, ready])])
      assert.deepStrictEqual(yield* copyAll(client), [])
      answer(socket, [Buffer.concat([copyOut, data(""), data(""), copyDone, complete, ready])])
      assert.deepStrictEqual(yield* copyAll(client), ["", ""])
    }))

  it.scoped("a message over many chunks, and more messages in a chunk than the index has room for", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      const big = "x".repeat(300_000)
      const many = Array.from({ length: 5000 }, (_, i) => `${i}\n`)
      const bytes = Buffer.concat([copyOut, data(big), ...many.map(data), copyDone, complete, ready])
      const chunks: Array<Buffer> = []
      for (let at = 0; at < bytes.length; at += 40_000) chunks.push(bytes.subarray(at, at + 40_000))
      answer(socket, chunks)
      assert.deepStrictEqual(yield* copyAll(client), [big, ...many])
    }))

  it.scoped("what pg should know of reaches pg", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      const notices: Array<string | undefined> = []
      client.on("notice", (notice) => notices.push(notice.message))
      answer(socket, [
        Buffer.concat([
          message("N", "SNOTICE\0C00000\0Mduring\0\0"),
          copyOut,
          data("a"),
          message("S", "TimeZone\0UTC\0"),
          data("b"),
          copyDone,
          complete,
          ready,
          message("N", "SNOTICE\0C00000\0Mafter\0\0")
        ])
      ])
      assert.deepStrictEqual(yield* copyAll(client), ["a", "b"])
      assert.deepStrictEqual(notices, ["during", "after"])
    }))
})

// --- Flow ---

describe("flow", () => {
  it.scoped("nothing is read that nobody pulls", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      answer(socket, [copyOut, data("a"), data("b"), data("c")])
      const wire = yield* CopyWire.open(client, "COPY t TO STDOUT")
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      assert.isTrue(socket.isPaused())
      assert.strictEqual(socket.readableLength, 3 * 6)
      assert.deepStrictEqual(Option.map(yield* wire.pull, texts), Option.some(["a"]))
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      assert.isTrue(socket.isPaused())
      assert.strictEqual(socket.readableLength, 2 * 6)
    }))

  it.scoped("writes while it is paused", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      answer(socket, [message("W", Buffer.from([0, 0, 0])), data("a")])
      const wire = yield* CopyWire.open(client, "START_REPLICATION")
      assert.isTrue(socket.isPaused())
      wire.write(Buffer.from("status"))
      assert.deepStrictEqual(socket.written, [data("status")])
    }))

  it.scoped("an interrupted pull loses nothing", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      answer(socket, [copyOut])
      const wire = yield* CopyWire.open(client, "COPY t TO STDOUT")
      const pulling = yield* Effect.fork(wire.pull)
      yield* Effect.yieldNow()
      assert.isTrue(wire.isWaiting())
      yield* Fiber.interrupt(pulling)
      assert.isFalse(wire.isWaiting())
      for (const chunk of [data("a"), data("b"), copyDone, complete, ready]) socket.push(chunk)
      assert.deepStrictEqual(yield* readAll(wire), ["a", "b"])
      assert.isTrue(wire.isDone())
      yield* assertUsable(client, socket)
    }))
})

// --- Failures ---

describe("failures", () => {
  const failing = Effect.fnUntraced(function*(chunks: ReadonlyArray<Buffer>, close: boolean) {
    const { client, socket } = yield* connected
    socket.onQuery = () => {
      for (const chunk of chunks) socket.push(chunk)
      if (close) socket.push(null)
    }
    const received: Array<string> = []
    const error = yield* CopyWire.open(client, "COPY t TO STDOUT").pipe(
      Effect.flatMap((wire) =>
        Effect.forever(
          Effect.flatMap(wire.pull, (next) =>
            Option.isNone(next)
              ? Effect.dieMessage("it ended well")
              : Effect.sync(() => received.push(...texts(next.value))))
        )
      ),
      Effect.flip
    )
    return { client, socket, received, error }
  })

  it.scoped("the server refuses the statement", () =>
    Effect.gen(function*() {
      const { client, error, socket } = yield* failing(
        [errorResponse("ERROR", "42P01", "no such relation"), ready],
        false
      )
      assert.deepInclude(error, { kind: "server", code: "42P01", message: "no such relation" })
      yield* assertUsable(client, socket)
    }))

  it.scoped("the server fails half way: the rows before that are had, and the connection is usable", () =>
    Effect.gen(function*() {
      const { client, error, received, socket } = yield* failing(
        [Buffer.concat([copyOut, data("a"), errorResponse("ERROR", "22012", "division by zero")]), ready],
        false
      )
      assert.deepStrictEqual(received, ["a"])
      assert.deepInclude(error, { kind: "server", code: "22012", message: "division by zero" })
      yield* assertUsable(client, socket)
    }))

  it.scoped("the server says why it closes the connection", () =>
    Effect.gen(function*() {
      const { error, received } = yield* failing(
        [copyOut, data("a"), errorResponse("FATAL", "57P01", "terminating")],
        true
      )
      assert.deepStrictEqual(received, ["a"])
      assert.deepInclude(error, { kind: "server", code: "57P01", message: "terminating" })
    }))

  it.scoped("the connection closes in the middle of a message", () =>
    Effect.gen(function*() {
      const { error } = yield* failing([copyOut, data("abc").subarray(0, 6)], true)
      assert.strictEqual(error.kind, "socket")
    }))

  it.scoped("the connection breaks", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* connected
      answer(socket, [copyOut])
      const wire = yield* CopyWire.open(client, "COPY t TO STDOUT")
      socket.destroy(Object.assign(new Error("reset"), { code: "ECONNRESET" }))
      assert.deepInclude(yield* Effect.flip(wire.pull), { kind: "socket", code: "ECONNRESET", message: "reset" })
      assert.deepInclude(yield* Effect.flip(CopyWire.open(client, "COPY t TO STDOUT")), { kind: "socket" })
    }))

  it.scoped("the statement is no COPY", () =>
    Effect.gen(function*() {
      const { error } = yield* failing([message("C", "SET\0"), ready], false)
      assert.deepInclude(error, { kind: "protocol", message: "the statement is not a COPY" })
    }))

  for (
    const [name, bytes] of [
      ["a message of a type that has no place here", message("T", Buffer.alloc(2))],
      ["a length below its own size", Buffer.from([0x64, 0, 0, 0, 3])],
      ["a negative length", Buffer.from([0x64, 0xff, 0xff, 0xff, 0xff])]
    ] as const
  ) {
    it.scoped(`${name} ends the connection`, () =>
      Effect.gen(function*() {
        const { error, socket } = yield* failing([copyOut, bytes], false)
        assert.strictEqual(error.kind, "protocol")
        assert.isTrue(socket.destroyed)
      }))
  }
})
