/**
 * Postgres connection URIs, such as `postgresql://user:password@host:5432/database?sslmode=require`. No message here
 * repeats the URI: it contains a password.
 */
import { Either, Redacted } from "effect"

/**
 * `disable`: never TLS. `require`: nothing but TLS. `allow`, `prefer`: TLS where the server offers it. The server's
 * certificate is not verified in any of them.
 */
export type SslMode = "disable" | "allow" | "prefer" | "require"

export interface ConnectionUri {
  /** A name, an address (IPv6 without brackets), or the directory of a socket. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: Redacted.Redacted | undefined
  readonly database: string
  /** `undefined` when the URI doesn't say: then it is as `prefer`. */
  readonly sslMode: SslMode | undefined
}

const form =
  /^postgres(?:ql)?:\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?(\[[0-9A-Fa-f:.%]+\]|[^:@/?#[\]]*)(?::(\d*))?(?:\/([^?#]*))?(?:\?([^#]*))?$/

const isSslMode = (text: string): text is SslMode =>
  text === "disable" || text === "allow" || text === "prefer" || text === "require"

/**
 * Reads a URI. Parameters other than `sslmode` mean nothing here and are passed over. Left says what is wrong, without
 * secrets.
 */
export const parse = (text: string): Either.Either<ConnectionUri, string> => {
  if (!/^postgres(ql)?:\/\//.test(text)) return Either.left("must begin with postgresql:// or postgres://")
  const match = form.exec(text)
  if (match === null) {
    return Either.left(
      "must look like postgresql://user:password@host:port/database, special characters in its parts percent-encoded"
    )
  }
  const parts = Either.try({
    try: () => match.slice(1, 6).map((part) => part === undefined ? "" : decodeURIComponent(part)),
    catch: () => "has a percent sign that is not the beginning of an encoded character"
  })
  return Either.flatMap(parts, ([user = "", password = "", host = "", port = "", database = ""]) => {
    if (user === "") return Either.left("must name a user")
    if (host === "") return Either.left("must name a host")
    const portNumber = port === "" ? 5432 : Number(port)
    if (portNumber < 1 || portNumber > 65535) return Either.left("must have a port between 1 and 65535")
    const sslMode = new URLSearchParams(match[6] ?? "").get("sslmode") ?? undefined
    if (sslMode !== undefined && !isSslMode(sslMode)) {
      return Either.left("must have an sslmode of disable, allow, prefer or require")
    }
    return Either.right({
      host: host.startsWith("[") ? host.slice(1, -1) : host,
      port: portNumber,
      user,
      password: password === "" ? undefined : Redacted.make(password),
      database: database === "" ? user : database,
      sslMode
    })
  })
}
