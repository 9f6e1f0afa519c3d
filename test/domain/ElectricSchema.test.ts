import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { once } from "node:events"
import * as http from "node:http"
import * as net from "node:net"
import { header, json } from "../../src/domain/ElectricSchema.ts"
import { column } from "../where/Columns.ts"

const columns = [
  column("id", "int4", 23, { notNull: true, keyIndex: 1 }),
  column("größe 名前 😀 \x7f \x80 \n \"", "text", 25, { notNull: true, keyIndex: 0 }),
  column("note", "text", 25)
]

describe("electric-schema", () => {
  it("says which columns make the key and which are never null", () => {
    assert.strictEqual(
      json([columns[0]!, columns[2]!]),
      "{\"id\":{\"type\":\"int4\",\"not_null\":true,\"pk_index\":1},\"note\":{\"type\":\"text\"}}"
    )
    assert.strictEqual(json([]), "{}")
  })

  it("arrives as UTF-8 over node:http", () =>
    Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(
        Effect.promise(async () => {
          const server = http.createServer((_request, response) => {
            response.writeHead(200, { "electric-schema": header(columns), connection: "close" })
            response.end(Buffer.from("[\"é\"]"))
          })
          server.listen(0, "127.0.0.1")
          await once(server, "listening")
          return server
        }),
        (server) => Effect.promise(() => once(server.close(), "close"))
      )
      const received = yield* Effect.promise(async () => {
        const address = server.address()
        const socket = net.connect(typeof address === "object" && address !== null ? address.port : 0, "127.0.0.1")
        socket.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        const chunks: Array<Buffer> = []
        for await (const chunk of socket) chunks.push(chunk)
        return Buffer.concat(chunks).toString("utf8")
      })
      const value = /^electric-schema: (.*)\r$/m.exec(received)![1]!
      assert.strictEqual(value, json(columns).replaceAll("\x7f", "\\u007f"))
      assert.deepStrictEqual(JSON.parse(value), JSON.parse(json(columns)))
      assert.include(received, "[\"é\"]")
    }))))
})
