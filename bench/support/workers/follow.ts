/**
 * Reads a log to its end with some clients at a time, and decodes nothing.
 */
import * as RawHttp from "../RawHttp.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly port: number
  /** Target of the shape's requests, up to the offset. */
  readonly shape: string
  readonly clients: number
  /** Times that each client reads the log. */
  readonly rounds: number
  readonly from?: { readonly handle: string; readonly offset: string }
}

export interface Result {
  readonly wallMillis: number
  /** From the first request to the first byte of a body. */
  readonly firstByteMillis: number
  readonly bytes: number
  readonly responses: number
  readonly offset: string
  readonly handle: string
  /** Share of the time that this process was busy: near 1, it is what bounds the result. */
  readonly busy: number
}

Worker.serve<Job, Result>(async ({ clients, from, port, rounds, shape }) => {
  const connections = await Promise.all(Array.from({ length: clients }, () => RawHttp.connect(port)))
  let bytes = 0
  let responses = 0
  let firstByteAt = 0
  const onBody = (chunk: Buffer) => {
    if (bytes === 0) firstByteAt = performance.now()
    bytes += chunk.length
  }
  const cpu = process.cpuUsage()
  const begin = performance.now()
  const ends = await Promise.all(connections.map(async (connection) => {
    for (let round = 1;; round++) {
      const end = await RawHttp.follow(connection, shape, onBody, from)
      responses += end.responses
      if (round === rounds) return end
    }
  }))
  const wallMillis = performance.now() - begin
  const { system, user } = process.cpuUsage(cpu)
  for (const connection of connections) connection.close()
  const { handle, offset } = ends[0]!
  if (ends.some((end) => end.offset !== offset)) throw new Error("the clients came to different ends")
  return {
    wallMillis,
    firstByteMillis: firstByteAt - begin,
    bytes,
    responses,
    offset,
    handle,
    busy: (user + system) / 1000 / wallMillis
  }
})
