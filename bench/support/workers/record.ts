/**
 * Records responses to a file, for `rawServer` to repeat them: headers, bodies, and the pieces in which the bodies came.
 */
import * as fs from "node:fs"
import * as RawHttp from "../RawHttp.ts"
import * as Worker from "../Worker.ts"

export interface Request {
  readonly target: string
  /** Further header lines, each closed by CRLF. */
  readonly headers: string
}

export interface Job {
  readonly port: number
  readonly file: string
  /** These, or all responses on the way from -1 to the end of `shape`. */
  readonly requests?: ReadonlyArray<Request>
  readonly shape?: string
}

/** A response, of which the body is in the file from `start` on. */
export interface Recorded extends Request {
  readonly status: number
  /** Name, value, name, value, …, without what a server adds of its own accord. */
  readonly rawHeaders: ReadonlyArray<string>
  /** Lengths of the pieces of a chunked body; `undefined` for one that came in a piece with its length. */
  readonly pieces: ReadonlyArray<number> | undefined
  readonly start: number
  readonly length: number
}

/** What `node:http` sends by itself. */
const automatic = new Set(["date", "connection", "keep-alive", "transfer-encoding", "content-length"])

const headersOf = (head: RawHttp.Head): ReadonlyArray<string> =>
  head.text.split("\r\n").slice(1).flatMap((line) => {
    const colon = line.indexOf(":")
    const name = line.slice(0, colon)
    return automatic.has(name.toLowerCase()) ? [] : [name, line.slice(colon + 1).trim()]
  })

Worker.serve<Job, ReadonlyArray<Recorded>>(async ({ file, port, requests, shape }) => {
  const connection = await RawHttp.connect(port)
  const fd = fs.openSync(file, "w")
  const recorded: Array<Recorded> = []
  let at = 0
  const record = async (target: string, headers: string) => {
    const start = at
    const lengths: Array<number> = []
    const head = await connection.get(
      target,
      (bytes) => {
        at += fs.writeSync(fd, bytes)
      },
      headers,
      (length) => length > 0 && lengths.push(length)
    )
    const pieces = lengths.length > 0 ? lengths : undefined
    recorded.push({
      target,
      headers,
      status: head.status,
      rawHeaders: headersOf(head),
      pieces,
      start,
      length: at - start
    })
    return head
  }
  for (const { headers, target } of requests ?? []) await record(target, headers)
  let target = shape && `${shape}&offset=-1`
  for (let i = 0; target !== undefined && i < 10_000; i++) {
    const { handle, offset, upToDate } = RawHttp.position(await record(target, ""))
    target = upToDate ? undefined : `${shape}&offset=${offset}&handle=${handle}`
  }
  fs.closeSync(fd)
  connection.close()
  return recorded
})
