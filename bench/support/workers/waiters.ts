/**
 * Clients that wait for news of a log, by long polls or streams of events: says when all requests are sent, and when each client has got
 * all of what came.
 */
import * as RawHttp from "../RawHttp.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly port: number
  /** What each client asks for. */
  readonly targets: ReadonlyArray<string>
  /** Streams go on; of them all is there with the message that ends a batch. */
  readonly isStream: boolean
}

export interface Result {
  /** Nanoseconds of the monotonic clock at which each client had all of it. */
  readonly received: BigInt64Array
  /** Bytes of body that the first client got. */
  readonly bytes: number
  readonly cpuSeconds: number
}

const LAST = Buffer.from("\"up-to-date\"")
const AT_ONCE = 128

/** Whether the bytes so far, which come cut anywhere, have the last message. */
const watcher = () => {
  let rest: Buffer = Buffer.alloc(0)
  return (bytes: Buffer): boolean => {
    const end = bytes.subarray(Math.max(0, bytes.length - 2 * LAST.length - 100))
    const all = Buffer.concat([rest, end])
    rest = Buffer.from(all.subarray(Math.max(0, all.length - LAST.length)))
    return all.includes(LAST)
  }
}

Worker.serve<Job, Result, "ready">(async ({ isStream, port, targets }, say) => {
  const received = new BigInt64Array(targets.length)
  const connections: Array<RawHttp.Connection> = []
  for (let from = 0; from < targets.length; from += AT_ONCE) {
    const some = targets.slice(from, from + AT_ONCE).map(() => RawHttp.connect(port))
    connections.push(...await Promise.all(some))
  }
  let bytes = 0
  const done = Promise.all(connections.map((connection, i) =>
    new Promise<void>((resolve, reject) => {
      const isLast = watcher()
      const has = () => {
        received[i] = process.hrtime.bigint()
        resolve()
      }
      connection.get(targets[i]!, (body) => {
        if (i === 0) bytes += body.length
        if (isStream && received[i] === 0n && isLast(body)) has()
      }).then((head) => {
        RawHttp.position(head)
        if (!isStream) has()
      }).catch((error: Error) => {
        if (received[i] === 0n) reject(error)
      })
    })
  ))
  say("ready")
  // What connecting took is not counted.
  const before = process.cpuUsage()
  await done
  const { system, user } = process.cpuUsage(before)
  // They stay open until this process is ended: closing them is not what is measured.
  return { received, bytes, cpuSeconds: (user + system) / 1e6 }
})
