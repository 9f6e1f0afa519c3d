/**
 * Sends the same request over some keep-alive connections, one at a time on each, and takes the time.
 */
import * as RawHttp from "../RawHttp.ts"
import { percentile } from "../Report.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly port: number
  readonly target: string
  readonly headers: string
  readonly status: number
  readonly connections: number
  readonly requests: number
}

export interface Result {
  readonly wallMillis: number
  /** Of single requests, in milliseconds: with this many connections that is mostly waiting for one's turn. */
  readonly p50: number
  readonly p99: number
  readonly busy: number
}

Worker.serve<Job, Result>(async ({ connections, headers, port, requests, status, target }) => {
  const opened = await Promise.all(Array.from({ length: connections }, () => RawHttp.connect(port)))
  const times: Array<number> = []
  let sent = 0
  const cpu = process.cpuUsage()
  const begin = performance.now()
  await Promise.all(opened.map(async (connection) => {
    while (sent++ < requests) {
      const at = performance.now()
      const head = await connection.get(target, undefined, headers)
      times.push(performance.now() - at)
      if (head.status !== status) throw new Error(`expected ${status}, not ${head.text}`)
    }
  }))
  const wallMillis = performance.now() - begin
  const { system, user } = process.cpuUsage(cpu)
  for (const connection of opened) connection.close()
  return {
    wallMillis,
    p50: percentile(times, 0.5),
    p99: percentile(times, 0.99),
    busy: (user + system) / 1000 / wallMillis
  }
})
