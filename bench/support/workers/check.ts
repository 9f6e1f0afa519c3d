/**
 * Reads a log to its end the way a client would, with all its decoding, and says what came of it: that speed was not bought with
 * wrong data.
 */
import * as RawHttp from "../RawHttp.ts"
import * as Worker from "../Worker.ts"

export interface Job {
  readonly port: number
  readonly shape: string
}

export interface Result {
  /** Rows of the materialised shape. */
  readonly rows: number
  /** Sum of their column `n`. */
  readonly sum: number
  readonly inserts: number
  readonly updates: number
  readonly deletes: number
  readonly handle: string
  readonly offset: string
}

interface Item {
  readonly key?: string
  readonly value: { readonly n?: string }
  readonly headers: {
    readonly operation?: string
    readonly control?: string
    readonly lsn?: string
    readonly op_position?: number
  }
}

Worker.serve<Job, Result>(async ({ port, shape }) => {
  const connection = await RawHttp.connect(port)
  const rows = new Map<string, number>()
  const counts = { insert: 0, update: 0, delete: 0 }
  let last = { lsn: 0n, position: 0 }

  const apply = ({ headers, key, value }: Item) => {
    if (key === undefined) return
    if (headers.lsn !== undefined) {
      const lsn = BigInt(headers.lsn)
      const position = headers.op_position ?? 0
      if (lsn < last.lsn || (lsn === last.lsn && position <= last.position)) {
        throw new Error(`out of order: ${headers.lsn}_${position}`)
      }
      last = { lsn, position }
    }
    switch (headers.operation) {
      case "insert":
        if (rows.has(key)) throw new Error(`inserted twice: ${key}`)
        rows.set(key, Number(value.n))
        counts.insert++
        break
      case "update":
        if (!rows.has(key)) throw new Error(`updated before it was inserted: ${key}`)
        if (value.n !== undefined) rows.set(key, Number(value.n))
        counts.update++
        break
      case "delete":
        if (!rows.delete(key)) throw new Error(`deleted before it was inserted: ${key}`)
        counts.delete++
        break
      default:
        throw new Error(`no operation: ${JSON.stringify(headers)}`)
    }
  }

  const items = await (async () => {
    let target = `${shape}&offset=-1`
    for (let responses = 0; responses < 10_000; responses++) {
      const pieces: Array<Buffer> = []
      const reached = RawHttp.position(await connection.get(target, (bytes) => pieces.push(Buffer.from(bytes))))
      for (const item of JSON.parse(Buffer.concat(pieces).toString()) as ReadonlyArray<Item>) apply(item)
      if (reached.upToDate) return reached
      target = `${shape}&offset=${reached.offset}&handle=${reached.handle}`
    }
    throw new Error("the log does not end")
  })()
  connection.close()
  let sum = 0
  for (const n of rows.values()) sum += n
  return {
    rows: rows.size,
    sum,
    inserts: counts.insert,
    updates: counts.update,
    deletes: counts.delete,
    handle: items.handle,
    offset: items.offset
  }
})
