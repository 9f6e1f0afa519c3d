/**
 * Postgres's cancel request: a connection of its own that names the backend and its secret. It works through poolers
 * and with an exhausted connection pool, and reaches no other session than the one meant.
 */
import { Effect } from "effect"
import pg from "pg"

/** What pg keeps of a connected client besides what its types tell. */
interface ConnectedClient {
  readonly processID: number | null
  readonly secretKey: number | null
}

/** What pg's `Connection` can do besides what its types tell. */
interface CancelConnection {
  readonly connect: (portOrPath: number | string, host?: string) => void
  readonly requestSsl: () => void
  readonly cancel: (processID: number, secretKey: number) => void
}

/**
 * Asks the server to cancel what the client is running. Returns when the server has taken note of it, or can't be
 * reached.
 */
export const cancel = (client: pg.Client): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const { processID, secretKey } = client as pg.Client & ConnectedClient
    if (processID === null || secretKey === null) return resume(Effect.void)
    const connection = new pg.Connection({ ssl: client.ssl }) as pg.Connection & CancelConnection
    const send = () => connection.cancel(processID, secretKey)
    connection.once("connect", () => client.ssl ? connection.requestSsl() : send())
    connection.once("sslconnect", send)
    // The server answers by closing the connection; there is nothing else to be learnt, and the caller closes the
    // session anyway.
    connection.on("error", () => connection.stream.destroy())
    connection.once("end", () => resume(Effect.void))
    if (client.host.startsWith("/")) connection.connect(`${client.host}/.s.PGSQL.${client.port}`)
    else connection.connect(client.port, client.host)
    return Effect.sync(() => connection.stream.destroy())
  })
