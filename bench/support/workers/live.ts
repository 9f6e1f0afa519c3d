/**
 * Follows a shape by long polls and notes when each inserted row was received.
 */
import * as RawHttp from "../RawHttp.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly port: number
  readonly shape: string
  readonly firstId: number
  readonly count: number
}

export interface Result {
  /** Nanoseconds of the monotonic clock by position: id - firstId. */
  readonly received: BigInt64Array
  readonly polls: number
}

/** A row's key, as it stands in an item's: `\"schema\".\"table\"/\"123\"`. */
const KEY = /\\"\/\\"(\d+)\\"/g

Worker.serve<Job, Result, "ready">(async ({ count, firstId, port, shape }, say) => {
  const connection = await RawHttp.connect(port)
  const received = new BigInt64Array(count)
  let seen = 0
  let body = ""
  const onBody = (bytes: Buffer) => {
    body += bytes.toString("latin1")
  }
  let at: RawHttp.Position = await RawHttp.follow(connection, shape, () => {})
  say("ready")
  let polls = 0
  while (seen < count) {
    body = ""
    const cursor = at.cursor === undefined ? "" : `&cursor=${at.cursor}`
    at = RawHttp.position(
      await connection.get(`${shape}&offset=${at.offset}&handle=${at.handle}&live=true${cursor}`, onBody)
    )
    const now = process.hrtime.bigint()
    polls++
    for (const [, id] of body.matchAll(KEY)) {
      const index = Number(id) - firstId
      if (received[index] !== 0n) throw new Error(`row ${id} came twice, or was not asked for`)
      received[index] = now
      seen++
    }
  }
  connection.close()
  return { received, polls }
})
