/**
 * A connection to Postgres whose COPY messages are cut out of the socket's bytes and not looked at: the least that a reader can do.
 */
import pg from "pg"

export interface CopyHandlers {
  /** The server has begun to send. */
  readonly onStart?: () => void
  /** The payload of a CopyData message; valid during the call. */
  readonly onData: (bytes: Buffer, start: number, end: number) => void
}

export interface Wire {
  /** Runs a COPY (or starts replication); resolves when the server has ended it. One at a time. */
  readonly copy: (sql: string, handlers: CopyHandlers) => Promise<void>
  /** Sends a CopyData message. */
  readonly write: (payload: Buffer) => void
  readonly close: () => void
}

const COPY_DATA = 0x64
const COPY_OUT = 0x48
const COPY_BOTH = 0x57
const ERROR = 0x45
const READY = 0x5a

export const connect = async (url: string, replication: boolean): Promise<Wire> => {
  const config: pg.ClientConfig & { readonly replication?: string } = {
    connectionString: url,
    ...(replication && { replication: "database" })
  }
  const client = new pg.Client(config)
  client.on("error", () => {})
  await client.connect()
  if (!replication) await client.query("SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SET IntervalStyle = 'iso_8601'")
  const { stream } = client.connection
  let fail = (_: Error) => {}
  stream.once("close", () => fail(new Error("the connection was closed")))

  const copy = (sql: string, { onData, onStart }: CopyHandlers) =>
    new Promise<void>((resolve, reject) => {
      let carry: Buffer = Buffer.alloc(0)
      fail = reject
      stream.removeAllListeners("data")
      stream.on("data", (chunk: Buffer) => {
        const bytes: Buffer = carry.length === 0 ? chunk : Buffer.concat([carry, chunk])
        let at = 0
        while (bytes.length - at >= 5) {
          const end = at + 1 + bytes.readInt32BE(at + 1)
          if (end > bytes.length) break
          switch (bytes[at]) {
            case COPY_DATA:
              onData(bytes, at + 5, end)
              break
            case COPY_OUT:
            case COPY_BOTH:
              onStart?.()
              break
            case ERROR:
              reject(new Error(bytes.toString("latin1", at + 5, end).replaceAll("\0", " ")))
              break
            case READY:
              resolve()
              break
          }
          at = end
        }
        carry = bytes.subarray(at)
      })
      client.connection.query(sql)
    })

  return {
    copy,
    write: (payload) => {
      const message = Buffer.allocUnsafe(payload.length + 5)
      message[0] = COPY_DATA
      message.writeInt32BE(payload.length + 4, 1)
      payload.copy(message, 5)
      stream.write(message)
    },
    close: () => {
      stream.destroy()
    }
  }
}
