/**
 * A bare reader of a replication slot: takes what pgoutput sends and looks no further than at the kind of each message, and at an
 * insert's key. What Postgres can deliver, and how soon.
 */
import * as Wire from "../Wire.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly url: string
  readonly slot: string
  readonly publication: string
  /** Row changes after which it is done, at the end of their transaction. */
  readonly changes: number
  /** Note when each inserted row came, of those from this key (the first column) on. */
  readonly firstId?: number
}

export interface Result {
  /** From the start of streaming to the end of the last transaction. */
  readonly wallMillis: number
  /** From the first message to the end of the last transaction. */
  readonly sinceFirstMillis: number
  readonly bytes: number
  readonly transactions: number
  /** Final LSN of the last transaction: what a log offset begins with. */
  readonly lastLsn: bigint
  /** Where its record ends. */
  readonly endLsn: bigint
  readonly received: BigInt64Array
  readonly cpuSeconds: number
}

const XLOG_DATA = 0x77
const KEEPALIVE = 0x6b
const BEGIN = 0x42
const INSERT = 0x49
const UPDATE = 0x55
const DELETE = 0x44
const COMMIT = 0x43
const HEADER = 25

/** A standby status update: all up to `lsn` is taken care of. */
const status = (lsn: bigint): Buffer => {
  const update = Buffer.alloc(34)
  update[0] = 0x72
  for (const at of [1, 9, 17]) update.writeBigUInt64BE(lsn, at)
  return update
}

Worker.serve<Job, Result, "ready">(async ({ changes, firstId, publication, slot, url }, say) => {
  const wire = await Wire.connect(url, true)
  const received = new BigInt64Array(firstId === undefined ? 0 : changes)
  let begin = 0
  let firstAt = 0
  let bytes = 0
  let seen = 0
  let transactions = 0
  let lastLsn = 0n
  let confirmed = 0n
  const cpu = process.cpuUsage()

  await new Promise<void>((resolve, reject) => {
    const onData = (data: Buffer, start: number, end: number): void => {
      bytes += end - start
      if (data[start] === KEEPALIVE) {
        if (data[end - 1] === 1) wire.write(status(confirmed))
        return
      }
      if (data[start] !== XLOG_DATA) return
      const at = start + HEADER
      switch (data[at]) {
        case BEGIN:
          firstAt ||= performance.now()
          lastLsn = data.readBigUInt64BE(at + 1)
          break
        case INSERT:
          seen++
          if (firstId !== undefined) {
            // Relation, 'N', number of columns, then the first column: kind, length, text.
            const length = data.readInt32BE(at + 9)
            const index = Number(data.toString("latin1", at + 13, at + 13 + length)) - firstId
            if (index >= 0) received[index] = process.hrtime.bigint()
          }
          break
        case UPDATE:
        case DELETE:
          seen++
          break
        case COMMIT:
          transactions++
          confirmed = data.readBigUInt64BE(at + 10)
          if (seen >= changes) resolve()
          break
      }
    }
    const command =
      `START_REPLICATION SLOT "${slot}" LOGICAL 0/0 (proto_version '1', publication_names '"${publication}"')`
    const onStart = () => {
      begin = performance.now()
      say("ready")
    }
    wire.copy(command, { onStart, onData }).then(() => reject(new Error("the stream ended")), reject)
  })
  const end = performance.now()
  const { system, user } = process.cpuUsage(cpu)
  wire.close()
  return {
    wallMillis: end - begin,
    sinceFirstMillis: end - firstAt,
    bytes,
    transactions,
    lastLsn,
    endLsn: confirmed,
    received,
    cpuSeconds: (user + system) / 1e6
  }
})
