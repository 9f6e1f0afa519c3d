/**
 * Clients that follow a shape each by long polls: says when all are waiting, and when each has got so many rows more.
 */
import * as RawHttp from "../RawHttp.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly port: number
  readonly targets: ReadonlyArray<string>
  /** Items that each client is to get. */
  readonly rows: number
  /** What each of these items has, and no other; that it inserts a row, unless something else is said. */
  readonly needle?: string
}

export interface Result {
  /** Nanoseconds of the monotonic clock at which each client had the last row. */
  readonly received: BigInt64Array
  readonly polls: number
  readonly cpuSeconds: number
}

const INSERT = "\"operation\":\"insert\""

/** Counts the items in bytes that come in pieces cut anywhere. */
const counter = (needle: Buffer) => {
  let rows = 0
  let rest: Buffer = Buffer.alloc(0)
  return {
    add: (bytes: Buffer) => {
      const all: Buffer = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
      let at = 0
      for (let found = all.indexOf(needle); found >= 0; found = all.indexOf(needle, at)) {
        rows++
        at = found + needle.length
      }
      rest = Buffer.from(all.subarray(Math.max(at, all.length - needle.length + 1)))
    },
    rows: () => rows
  }
}

Worker.serve<Job, Result, "ready">(async ({ needle = INSERT, port, rows, targets }, say) => {
  const received = new BigInt64Array(targets.length)
  let polls = 0
  const clients: Array<{ readonly connection: RawHttp.Connection; readonly at: RawHttp.Position }> = []
  for (let from = 0; from < targets.length; from += 64) {
    clients.push(
      ...await Promise.all(
        targets.slice(from, from + 64).map(async (target) => {
          const connection = await RawHttp.connect(port)
          return { connection, at: await RawHttp.follow(connection, target, () => {}) }
        })
      )
    )
  }
  const cpu = process.cpuUsage()
  const done = Promise.all(clients.map(async ({ at, connection }, i) => {
    const count = counter(Buffer.from(needle))
    let position: RawHttp.Position = at
    while (count.rows() < rows) {
      const cursor = position.cursor === undefined ? "" : `&cursor=${position.cursor}`
      position = RawHttp.position(
        await connection.get(
          `${targets[i]!}&offset=${position.offset}&handle=${position.handle}&live=true${cursor}`,
          count.add
        )
      )
      polls++
    }
    received[i] = process.hrtime.bigint()
    if (count.rows() > rows) throw new Error(`${count.rows()} rows came, not ${rows}`)
  }))
  // The requests are on their way; the parent gives the server a moment before it writes.
  say("ready")
  await done
  const { system, user } = process.cpuUsage(cpu)
  for (const { connection } of clients) connection.close()
  return { received, polls, cpuSeconds: (user + system) / 1e6 }
})
