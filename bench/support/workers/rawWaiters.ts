/**
 * A bare `node:http` server that holds all requests, and answers them all with the same when it is told to.
 */
import * as http from "node:http"
import * as Processes from "../Processes.ts"
import * as Worker from "../Worker.ts"

export type Job =
  | {
    readonly _tag: "Listen"
    /** Name, value, name, value, …. */
    readonly headers: ReadonlyArray<string>
    readonly body: string
    /** Sends the headers at once and the body as a piece of a response that goes on. */
    readonly isStream: boolean
  }
  | { readonly _tag: "Fire" }
  | { readonly _tag: "Look" }

export interface Result {
  readonly port: number
  readonly waiting: number
  /** When it began to answer, by the monotonic clock. */
  readonly firedAt: bigint
  /** CPU seconds so far. */
  readonly cpuSeconds: number
  readonly pid: number
}

let port = 0
let waiting: Array<http.ServerResponse> = []
let answer: (res: http.ServerResponse) => void = () => {}

const listen = ({ body, headers, isStream }: Extract<Job, { readonly _tag: "Listen" }>) => {
  const bytes = Buffer.from(body, "latin1")
  const all = [...headers, "content-length", String(bytes.length)]
  answer = (res) => {
    if (isStream) {
      res.write(bytes)
      return
    }
    res.writeHead(200, all)
    // With its head in one write, as far as it is short.
    if (bytes.length <= 16_384) res.end(body, "latin1")
    else res.end(bytes)
  }
  const server = http.createServer({ keepAliveTimeout: 60_000, noDelay: true }, (_, res) => {
    if (isStream) {
      res.writeHead(200, [...headers])
      res.flushHeaders()
    }
    waiting.push(res)
  })
  return new Promise<void>((resolve, reject) => {
    server.once("error", reject)
    server.listen(0, "127.0.0.1", 4096, () => {
      const address = server.address()
      port = address !== null && typeof address === "object" ? address.port : 0
      resolve()
    })
  })
}

Worker.serve<Job, Result>(async (job) => {
  let firedAt = 0n
  if (job._tag === "Listen") await listen(job)
  if (job._tag === "Fire") {
    firedAt = process.hrtime.bigint()
    const all = waiting
    waiting = []
    for (const res of all) answer(res)
  }
  return { port, waiting: waiting.length, firedAt, cpuSeconds: Processes.cpu(process.pid).all, pid: process.pid }
})
