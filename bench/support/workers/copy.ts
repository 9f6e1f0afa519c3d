/**
 * Reads a COPY and throws it away: what stands in for psql where there is none.
 */
import * as Wire from "../Wire.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly url: string
  readonly sql: string
}

export interface Result {
  readonly wallMillis: number
  readonly bytes: number
}

Worker.serve<Job, Result>(async ({ sql, url }) => {
  const connection = await Wire.connect(url, false)
  const begin = performance.now()
  let bytes = 0
  await connection.copy(sql, {
    onData: (_, start, end) => {
      bytes += end - start
    }
  })
  const wallMillis = performance.now() - begin
  connection.close()
  return { wallMillis, bytes }
})
