/**
 * A bare `node:http` server that repeats recorded responses from memory: what a server in Node can do at most.
 */
import * as fs from "node:fs"
import * as http from "node:http"
import * as Processes from "../Processes.ts"
import * as Worker from "../Worker.ts"
import type { Recorded } from "./record.ts"

export type Job =
  | {
    readonly _tag: "Listen"
    readonly file: string
    readonly responses: ReadonlyArray<Recorded>
    /** Send each body in the pieces in which it was recorded, or whole with its length. */
    readonly inPieces: boolean
  }
  | { readonly _tag: "Usage" }

export interface Result {
  readonly port: number
  /** CPU seconds so far. */
  readonly cpuSeconds: number
}

let port = 0

const listen = (file: string, responses: ReadonlyArray<Recorded>, inPieces: boolean): Promise<void> => {
  const all = fs.readFileSync(file)
  const routes = new Map(responses.map((response) => {
    const body = all.subarray(response.start, response.start + response.length)
    const pieces: Array<Buffer> = []
    let at = 0
    for (const length of response.pieces ?? []) pieces.push(body.subarray(at, at += length))
    const isPieces = inPieces && response.pieces !== undefined
    const headers = [...response.rawHeaders]
    if (!isPieces && response.status !== 304) headers.push("content-length", String(body.length))
    const conditional = response.headers.toLowerCase().includes("if-none-match")
    return [`${conditional ? "?" : ""}${response.target}`, {
      status: response.status,
      headers,
      body,
      pieces: isPieces ? pieces : undefined
    }]
  }))
  const server = http.createServer({ keepAliveTimeout: 60_000, noDelay: true }, (req, res) => {
    const conditional = req.headers["if-none-match"] !== undefined
    const found = routes.get(`${conditional ? "?" : ""}${req.url}`)
    if (found === undefined) {
      res.writeHead(404).end()
      return
    }
    const { body, headers, pieces, status } = found
    res.writeHead(status, headers)
    if (pieces === undefined) {
      res.end(body)
      return
    }
    let next = 0
    const send = () => {
      while (next < pieces.length) {
        if (!res.write(pieces[next++]!)) return
      }
      res.end()
      next = Infinity
    }
    res.on("drain", () => next !== Infinity && send())
    send()
  })
  return new Promise((resolve, reject) => {
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      port = address !== null && typeof address === "object" ? address.port : 0
      resolve()
    })
  })
}

Worker.serve<Job, Result>(async (job) => {
  if (job._tag === "Listen") await listen(job.file, job.responses, job.inPieces)
  return { port, cpuSeconds: Processes.cpu(process.pid).all }
})
