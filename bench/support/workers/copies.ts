/**
 * Runs many COPYs, each in a transaction as a snapshot is, over some connections, and throws the rows away: what Postgres allows.
 */
import * as Wire from "../Wire.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly url: string
  readonly queries: ReadonlyArray<string>
  readonly connections: number
}

export interface Result {
  readonly wallMillis: number
  readonly bytes: number
  readonly rows: number
}

Worker.serve<Job, Result>(async ({ connections, queries, url }) => {
  const opened = await Promise.all(Array.from({ length: connections }, () => Wire.connect(url, false)))
  let bytes = 0
  let rows = 0
  let sent = 0
  const onData = (_: Buffer, start: number, end: number) => {
    bytes += end - start
    rows++
  }
  const begin = performance.now()
  await Promise.all(opened.map(async (wire) => {
    while (sent < queries.length) {
      await wire.copy(
        `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; COPY (${queries[sent++]!}) TO STDOUT; COMMIT`,
        { onData }
      )
    }
  }))
  const wallMillis = performance.now() - begin
  for (const wire of opened) wire.close()
  return { wallMillis, bytes, rows }
})
