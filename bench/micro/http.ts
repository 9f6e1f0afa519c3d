/**
 * What the HTTP room costs: CPU time per request of a raw `node:http` server that sends prepared headers and bytes, against the routes
 * and the adapter on a fake engine that sends the same. 64 keep-alive connections from a child process, the two servers in
 * turn in one process, best round of each.
 *
 * Caveats: the fake engine answers in one turn and from memory, so this is the protocol's cost and nothing else. Compare the
 * ratios; CPU time is steadier than throughput where cores are shared.
 *
 *     npx tsx bench/micro/http.ts [requests per round] [rounds]
 */
import { Context, Effect, Layer } from "effect"
import { fork } from "node:child_process"
import * as Http from "node:http"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import { ShapeEngine } from "../../src/engine/ShapeEngine.ts"
import { HttpOptions } from "../../src/http/HttpOptions.ts"
import { NodeServer } from "../../src/http/NodeServer.ts"
import { ShapeRoutes } from "../../src/http/ShapeRoutes.ts"

const CONNECTIONS = 64

interface Load {
  readonly port: number
  readonly requests: number
  readonly text: string
}

/** Sends so many requests over keep-alive connections; the time it took in ms. */
const generate = ({ port, requests, text }: Load) =>
  new Promise<number>((resolve, reject) => {
    let sent = 0
    let open = CONNECTIONS
    const begin = process.hrtime.bigint()
    // Never sleeps: otherwise the slower server's writes pay for waking us up, and the faster one's do not.
    const spin = () => {
      if (open > 0) setImmediate(spin)
    }
    spin()
    for (let i = 0; i < CONNECTIONS; i++) {
      const socket = Net.connect(port, "127.0.0.1")
      let received: Buffer = Buffer.alloc(0)
      let length: number | undefined
      const next = () => {
        if (sent++ < requests) return void socket.write(text)
        socket.end()
        if (--open === 0) resolve(Number(process.hrtime.bigint() - begin) / 1e6)
      }
      socket.setNoDelay(true)
      socket.on("connect", next)
      socket.on("error", reject)
      socket.on("data", (chunk) => {
        received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
        const head = received.indexOf("\r\n\r\n")
        if (head === -1) return
        length ??= Number(/\r\ncontent-length: (\d+)/i.exec(received.toString("latin1"))?.[1] ?? 0)
        if (received.length < head + 4 + length) return
        received = received.subarray(received.length)
        next()
      })
    }
  })

if (process.send !== undefined) {
  process.on("message", (load: Load) => {
    void generate(load).then((ms) => process.send?.(ms))
  })
} else {
  const requests = Number(process.argv[2] ?? 20_000)
  const rounds = Number(process.argv[3] ?? 5)

  const item = `,{"key":"\\"public\\".\\"items\\"/\\"1\\"","value":{"id":"1","title":"${"x".repeat(120)}"}}`
  const pieces = [Buffer.from(item.repeat(5))]
  const end = { tx: 27_108_392n, op: 0 }
  const shape = {
    handle: "9323358-1795328218958944",
    schema:
      "{\"id\":{\"type\":\"int4\",\"not_null\":true,\"pk_index\":0},\"title\":{\"type\":\"text\",\"not_null\":true}}"
  }
  const slice = {
    end,
    upToDate: true,
    lastSeenLsn: 27_108_392n,
    body: { ready: pieces, pull: Effect.succeedNone }
  }
  const engine = Layer.succeed(
    ShapeEngine,
    ShapeEngine.of({
      status: Effect.succeed("active"),
      awaitActive: Effect.void,
      followedLsn: Effect.succeed(0n),
      resolve: () => Effect.succeed(shape),
      exists: () => true,
      find: () => Effect.succeedSome(shape),
      subset: () => Effect.dieMessage("nobody asks"),
      read: () => Effect.succeed(slice),
      end: () => Effect.succeed(end),
      awaitChange: () => Effect.never,
      lastSeenLsn: () => Effect.succeed(27_108_392n),
      unsafePeek: () => ({ shape, slice }),
      describe: () => Effect.dieMessage("nobody asks"),
      remove: () => Effect.void
    })
  )

  const program = Effect.gen(function*() {
    const options = HttpOptions.layer({ port: 0, host: "127.0.0.1", insecure: true })
    const context = yield* Layer.build(
      NodeServer.layer.pipe(
        Layer.provideMerge(ShapeRoutes.layer),
        Layer.provideMerge(options),
        Layer.provide(engine)
      )
    )
    const ours = Context.get(context, NodeServer).address.port
    const routes = Context.get(context, ShapeRoutes)
    const child = fork(fileURLToPath(import.meta.url), { execArgv: process.execArgv })

    const path = "/v1/shape"
    const query =
      `columns=id,title&handle=${shape.handle}&log=full&offset=27108000_0&table=items&where=title%20%3D%20%27one%27`
    const measure = Effect.fnUntraced(function*(name: string, headers: Record<string, string>) {
      const response = yield* routes.handle({
        method: "GET",
        path,
        query,
        headers,
        body: Effect.succeed(new Uint8Array()),
        onEnd: () => undefined
      })
      const body = response.body._tag === "Latin1" ? Buffer.from(response.body.text, "latin1") : undefined
      const sent = [...response.headers]
      if (body !== undefined) sent.push("content-length", String(body.length))
      const raw = Http.createServer({ keepAliveTimeout: 60_000, noDelay: true }, (_, res) => {
        res.writeHead(response.status, sent)
        res.end(body)
      })
      const rawPort = yield* Effect.async<number>((resume) => {
        raw.listen(0, "127.0.0.1", () => {
          const address = raw.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
      })
      const text = [
        `GET ${path}?${query} HTTP/1.1`,
        "host: 127.0.0.1",
        ...Object.entries(headers).map(([key, value]) => `${key}: ${value}`),
        "",
        ""
      ].join("\r\n")
      const round = (port: number, count: number) =>
        Effect.async<{ readonly cpu: number; readonly wall: number }>((resume) => {
          const before = process.cpuUsage()
          child.once("message", (ms: number) => {
            const { system, user } = process.cpuUsage(before)
            resume(Effect.succeed({ cpu: (user + system) / count, wall: (ms * 1_000) / count }))
          })
          child.send({ port, requests: count, text } satisfies Load)
        })
      const best = { raw: { cpu: Infinity, wall: Infinity }, ours: { cpu: Infinity, wall: Infinity } }
      const warmUp = Math.min(requests, 5_000)
      yield* round(rawPort, warmUp)
      yield* round(ours, warmUp)
      for (let i = 0; i < rounds; i++) {
        for (const side of ["raw", "ours"] as const) {
          const result = yield* round(side === "raw" ? rawPort : ours, requests)
          best[side] = {
            cpu: Math.min(best[side].cpu, result.cpu),
            wall: Math.min(best[side].wall, result.wall)
          }
        }
      }
      raw.close()
      const show = ({ cpu, wall }: { readonly cpu: number; readonly wall: number }) =>
        `${cpu.toFixed(1)} µs CPU, ${Math.round(1e6 / wall)} requests/s`
      console.log(
        `${name} (${response.status}, ${body?.length ?? 0} bytes): raw ${show(best.raw)}; ours ${show(best.ours)}; ` +
          `ratio ${(best.raw.cpu / best.ours.cpu).toFixed(2)} by CPU, ${
            (best.raw.wall / best.ours.wall).toFixed(2)
          } by throughput`
      )
    })

    yield* measure("read", {})
    yield* measure("not modified", { "if-none-match": `"${shape.handle}:27108000_0:27108392_0"` })
    child.kill()
  })

  await Effect.runPromise(Effect.scoped(program))
}
