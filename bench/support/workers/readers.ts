/**
 * Clients that come all at once and read each a piece of a log of its own, over connections that are open already.
 */
import * as RawHttp from "../RawHttp.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly port: number
  /** What each client asks for. */
  readonly targets: ReadonlyArray<string>
}

export interface Result {
  /** Milliseconds that each client had to wait for all of it. */
  readonly millis: ReadonlyArray<number>
  readonly bytes: number
  readonly wallMillis: number
  /** Share of the time in which this process had work. */
  readonly busy: number
}

const AT_ONCE = 128

Worker.serve<Job, Result>(async ({ port, targets }) => {
  const connections: Array<RawHttp.Connection> = []
  for (let from = 0; from < targets.length; from += AT_ONCE) {
    connections.push(...await Promise.all(targets.slice(from, from + AT_ONCE).map(() => RawHttp.connect(port))))
  }
  let bytes = 0
  const cpu = process.cpuUsage()
  const begin = performance.now()
  const millis = await Promise.all(connections.map(async (connection, i) => {
    const head = await connection.get(targets[i]!, (body) => {
      bytes += body.length
    })
    if (head.status !== 200) throw new Error(`expected a piece of the log, not: ${head.text.slice(0, 500)}`)
    return performance.now() - begin
  }))
  const wallMillis = performance.now() - begin
  const { system, user } = process.cpuUsage(cpu)
  for (const connection of connections) connection.close()
  return { millis, bytes, wallMillis, busy: (user + system) / 1e3 / wallMillis }
})
