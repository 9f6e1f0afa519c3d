/**
 * Asks for many shapes for the first time, over some keep-alive connections, one at a time on each, and reads each one's snapshot.
 */
import * as RawHttp from "../RawHttp.ts"
import { percentile } from "../Report.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly port: number
  /** The shapes' targets, up to the offset. */
  readonly targets: ReadonlyArray<string>
  readonly connections: number
}

export interface Result {
  readonly wallMillis: number
  readonly bytes: number
  /** Of single creations, in milliseconds, from the request to the end of the response. */
  readonly p50: number
  readonly p99: number
  /** Of this process. */
  readonly busy: number
  /** What the server said to the first shape that it refused, if it did. */
  readonly refused: string | undefined
}

Worker.serve<Job, Result>(async ({ connections, port, targets }) => {
  const opened = await Promise.all(
    Array.from({ length: Math.min(connections, targets.length) }, () => RawHttp.connect(port))
  )
  const times: Array<number> = []
  const handles = new Set<string>()
  let refused: string | undefined
  let bytes = 0
  let sent = 0
  const cpu = process.cpuUsage()
  const begin = performance.now()
  await Promise.all(opened.map(async (connection) => {
    while (sent < targets.length && refused === undefined) {
      const target = targets[sent++]!
      const at = performance.now()
      let complaint = ""
      const head = await connection.get(`${target}&offset=-1`, (body) => {
        bytes += body.length
        if (body.length < 1000) complaint = body.toString()
      })
      times.push(performance.now() - at)
      if (head.status === 400) refused = complaint
      else handles.add(RawHttp.position(head).handle)
    }
  }))
  const wallMillis = performance.now() - begin
  const { system, user } = process.cpuUsage(cpu)
  for (const connection of opened) connection.close()
  if (refused === undefined && handles.size !== targets.length) {
    throw new Error(`${handles.size} shapes were made for ${targets.length} definitions`)
  }
  return {
    wallMillis,
    bytes,
    p50: percentile(times, 0.5),
    p99: percentile(times, 0.99),
    busy: (user + system) / 1000 / wallMillis,
    refused
  }
})
