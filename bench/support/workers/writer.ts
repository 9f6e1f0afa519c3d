/**
 * Inserts rows one by one at a steady pace, each in its own transaction, and notes when each commit had returned.
 */
import pg from "pg"
import { sleep } from "../Processes.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly url: string
  /** The statement, with the id and 120 bytes of text as its parameters. */
  readonly insert: string
  readonly firstId: number
  readonly perSecond: number
  readonly count: number
}

export interface Result {
  /** Nanoseconds of the monotonic clock, which all processes share, by position: id - firstId. */
  readonly committed: BigInt64Array
}

Worker.serve<Job, Result>(async ({ count, firstId, insert, perSecond, url }) => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const committed = new BigInt64Array(count)
  const begin = performance.now()
  for (let i = 0; i < count; i++) {
    const due = begin + i * 1000 / perSecond
    const early = due - performance.now()
    if (early > 0) await sleep(early)
    await client.query({
      name: "insert",
      text: insert,
      values: [firstId + i, "x".repeat(120)]
    })
    committed[i] = process.hrtime.bigint()
  }
  await client.end()
  return { committed }
})
