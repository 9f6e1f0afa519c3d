/**
 * Asks for many logs from given positions on, over some keep-alive connections, one request at a time on each, and reads each to its end.
 */
import * as RawHttp from "../RawHttp.ts"
import * as Worker from "../Worker.ts"

export interface Place {
  /** The shape's target, up to the offset. */
  readonly target: string
  /** Where to go on from; the beginning for `undefined`. */
  readonly from: { readonly handle: string; readonly offset: string } | undefined
}

export interface Job {
  readonly port: number
  readonly places: ReadonlyArray<Place>
  readonly connections: number
}

export interface Result {
  readonly wallMillis: number
  /** Where each log ends. */
  readonly ends: ReadonlyArray<{ readonly handle: string; readonly offset: string }>
}

/** Fails on anything but a 200: also on a 409. */
Worker.serve<Job, Result>(async ({ connections, places, port }) => {
  const opened = await Promise.all(
    Array.from({ length: Math.min(connections, places.length) }, () => RawHttp.connect(port))
  )
  const ends: Array<{ readonly handle: string; readonly offset: string }> = []
  let sent = 0
  const begin = performance.now()
  await Promise.all(opened.map(async (connection) => {
    while (sent < places.length) {
      const i = sent++
      const { from, target } = places[i]!
      const { handle, offset } = await RawHttp.follow(connection, target, () => {}, from)
      if (from !== undefined && from.handle !== handle) throw new Error(`${target} has another handle`)
      ends[i] = { handle, offset }
    }
  }))
  const wallMillis = performance.now() - begin
  for (const connection of opened) connection.close()
  return { wallMillis, ends }
})
