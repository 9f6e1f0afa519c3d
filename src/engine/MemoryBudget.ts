/**
 * Bytes that the engine holds on behalf of the stream: work that consumers have not done, log entries that are not
 * stored yet (D11). Above the limit the collector stops pulling, and through TCP Postgres stops sending, until half of
 * it is free again.
 */
import { Effect } from "effect"

export interface MemoryBudget {
  readonly limit: number
  readonly used: () => number
  readonly add: (bytes: number) => void
  readonly release: (bytes: number) => void
  /** Completes when there is room: at once below the limit. */
  readonly awaitRoom: Effect.Effect<void>
}

export const make = (limit: number): MemoryBudget => {
  const room = Effect.unsafeMakeLatch(true)
  let used = 0
  let closed = false
  return {
    limit,
    used: () => used,
    add: (bytes) => {
      used += bytes
      if (!closed && used > limit) {
        closed = true
        room.unsafeClose()
      }
    },
    release: (bytes) => {
      used -= bytes
      if (closed && used <= limit / 2) {
        closed = false
        room.unsafeOpen()
      }
    },
    awaitRoom: room.await
  }
}
