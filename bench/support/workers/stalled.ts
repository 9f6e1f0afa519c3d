/**
 * Clients that ask for a log and stop reading in the middle: says when each has had some of it, and answers when the server has let all of
 * them go.
 */
import * as net from "node:net"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly port: number
  readonly target: string
  readonly clients: number
}

export interface Result {
  /** Bytes that the clients took before they stopped. */
  readonly bytes: number
  /** Milliseconds from when the last stopped to when the server had closed all connections. */
  readonly heldMillis: number
}

Worker.serve<Job, Result, "stalled">(async ({ clients, port, target }, say) => {
  let bytes = 0
  const sockets = await Promise.all(
    Array.from({ length: clients }, () =>
      new Promise<net.Socket>((resolve, reject) => {
        const socket = net.connect(port, "127.0.0.1")
        socket.once("error", reject)
        socket.once("data", (chunk) => {
          bytes += chunk.length
          socket.pause()
          socket.off("error", reject)
          resolve(socket)
        })
        socket.write(`GET ${target} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`)
      }))
  )
  const begin = performance.now()
  say("stalled")
  await Promise.all(sockets.map((socket) =>
    new Promise<void>((resolve) => {
      socket.once("error", () => resolve())
      socket.once("close", () => resolve())
      // A paused socket is not told of its end: a byte that is written to a closed one is answered by a reset.
      const knock = setInterval(() => socket.write("\r\n"), 1_000)
      socket.once("close", () => clearInterval(knock))
      socket.once("error", () => clearInterval(knock))
    })
  ))
  return { bytes, heldMillis: performance.now() - begin }
})
