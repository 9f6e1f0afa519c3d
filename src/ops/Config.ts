/**
 * The settings of a server: environment variables, each `SHAPELOG_*` with its `ELECTRIC_*` twin, so that an existing
 * deployment switches by changing the image. Where both are set, the `SHAPELOG_` one counts. An empty value is as good
 * as none.
 */
import { Config, ConfigError, Duration, Either, LogLevel, Option, Redacted, Schema } from "effect"
import * as ConnectionUri from "../domain/ConnectionUri.ts"
import { streamNames } from "../domain/StreamNames.ts"

export interface Settings {
  /** TCP port of the HTTP server; 0 takes a free one. */
  readonly port: number
  /**
   * Where the HTTP server listens: `undefined` is all IPv4 interfaces, `::` those of IPv6 too; without a secret and a
   * database of the user's, the loopback one alone.
   */
  readonly host: string | undefined
  readonly storageDirectory: string
  /** Names publication, slot and lock. */
  readonly streamId: string
  /** `undefined`: whoever can reach the server may use it. */
  readonly secret: Redacted.Redacted | undefined
  /** `undefined`: the embedded database. */
  readonly databaseUrl: Redacted.Redacted | undefined
  /** For queries other than replication and publication; `undefined`: as `databaseUrl`. */
  readonly pooledDatabaseUrl: Redacted.Redacted | undefined
  readonly poolSize: number
  readonly manualTablePublishing: boolean
  /** Bytes after which a chunk of a shape's log ends. */
  readonly chunkBytes: number
  readonly longPollTimeout: Duration.Duration
  /** How long an idle connection is kept open, and one whose client is in the middle of a request waited for. */
  readonly tcpReadTimeout: Duration.Duration
  /** How long a client may take no bytes of a response before it is dropped. */
  readonly tcpSendTimeout: Duration.Duration
  /** Most requests for shapes that are served at a time: of shapes that may have to be made, and of those that are. */
  readonly maxConcurrentRequests: { readonly initial: number; readonly existing: number }
  /** Shapes beyond this number are removed, those that nobody has read for longest; `undefined`: none are. */
  readonly maxShapes: number | undefined
  /** Whether `DELETE` removes shapes. */
  readonly allowDelete: boolean
  readonly cacheMaxAge: Duration.Duration
  readonly cacheStaleAge: Duration.Duration
  readonly logLevel: LogLevel.LogLevel
  /** What the operator is told at start about these settings. */
  readonly notices: ReadonlyArray<string>
}

/** One setting for documentation: the variable, its default, its meaning. */
export interface Variable {
  readonly name: string
  readonly default: string
  readonly description: string
}

const described: Array<Variable> = []

/** Every variable that is read, in order: the README's table is made of them. */
export const variables: ReadonlyArray<Variable> = described

/**
 * Reads the text of the first of `names` that is set to something, and makes a value of it; Left is what is wrong with
 * it.
 */
const setting = <A>(
  names: readonly [string, ...ReadonlyArray<string>],
  options: {
    readonly default: string
    readonly description: string
    readonly read: (text: string) => Either.Either<A, string>
    readonly otherwise: A
  }
): Config.Config<A> => {
  described.push({ name: names[0], default: options.default, description: options.description })
  const [first, ...others] = names.map((name) =>
    Config.string(name).pipe(
      Config.map((text) => ({ name, text: text.trim() })),
      Config.option,
      Config.map(Option.filter(({ text }) => text !== ""))
    )
  )
  return Config.all([first!, ...others]).pipe(
    Config.map((found) => Option.firstSomeOf(found)),
    Config.mapOrFail(Option.match({
      onNone: () => Either.right(options.otherwise),
      onSome: ({ name, text }) =>
        Either.mapLeft(options.read(text), (problem) => ConfigError.InvalidData([name], `${name} ${problem}`))
    })),
    Config.withDescription(options.description)
  )
}

/** `SHAPELOG_x` and `ELECTRIC_x`. */
const both = (name: string): readonly [string, string] => [`SHAPELOG_${name}`, `ELECTRIC_${name}`]

const integer = (min: number, max: number) => (text: string): Either.Either<number, string> => {
  const value = Number(text)
  return /^\d+$/.test(text) && value >= min && value <= max
    ? Either.right(value)
    : Either.left(`must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`)
}

const boolean = (text: string): Either.Either<boolean, string> =>
  /^(true|1)$/i.test(text)
    ? Either.right(true)
    : /^(false|0)$/i.test(text)
    ? Either.right(false)
    : Either.left(`must be true or false, not ${JSON.stringify(text)}`)

const units: Readonly<Record<string, number>> = { ms: 1, msec: 1, s: 1000, sec: 1000, m: 60_000, min: 60_000 }

/** A number with one of the units; without one it counts `bare` milliseconds. */
const duration = (bare: number) => (text: string): Either.Either<Duration.Duration, string> => {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|msec|s|sec|m|min)?$/i.exec(text)
  const unit = match?.[2] === undefined ? bare : units[match[2].toLowerCase()]
  const millis = match && unit !== undefined ? Number(match[1]) * unit : Infinity
  // What a timer can count.
  return millis <= 0x7fffffff
    ? Either.right(Duration.millis(millis))
    : Either.left(`must be a duration such as 500ms, 20s or 2min, not ${JSON.stringify(text)}`)
}

const levels: Readonly<Record<string, LogLevel.LogLevel>> = {
  error: LogLevel.Error,
  warning: LogLevel.Warning,
  info: LogLevel.Info,
  debug: LogLevel.Debug
}

const logLevel = (text: string): Either.Either<LogLevel.LogLevel, string> =>
  Either.fromNullable(
    levels[text.toLowerCase()],
    () => `must be error, warning, info or debug, not ${JSON.stringify(text)}`
  )

const url = (text: string): Either.Either<Redacted.Redacted | undefined, string> =>
  Either.map(ConnectionUri.parse(text), () => Redacted.make(text))

const streamId = (text: string): Either.Either<string, string> =>
  Either.mapBoth(streamNames(text), {
    onLeft: (problem) => `is no stream id: ${problem}`,
    onRight: () => text.toLowerCase()
  })

const Concurrency = Schema.parseJson(Schema.Struct({
  initial: Schema.optionalWith(Schema.NonNegativeInt, { default: () => 300 }),
  existing: Schema.optionalWith(Schema.NonNegativeInt, { default: () => 10_000 })
}))

const concurrency = (text: string) =>
  Either.mapLeft(
    Schema.decodeUnknownEither(Concurrency)(text),
    () => `must be JSON such as {"initial": 300, "existing": 10000}, not ${JSON.stringify(text)}`
  )

const raw = Config.all({
  databaseUrl: setting(["DATABASE_URL"], {
    default: "the embedded database",
    description: "Postgres to follow: a direct connection as a role with REPLICATION, wal_level=logical. " +
      "sslmode is disable, allow, prefer or require",
    read: url,
    otherwise: undefined
  }),
  pooledDatabaseUrl: setting([...both("POOLED_DATABASE_URL"), "ELECTRIC_QUERY_DATABASE_URL"], {
    default: "as DATABASE_URL",
    description: "Postgres for snapshot queries, such as through a connection pooler",
    read: url,
    otherwise: undefined
  }),
  poolSize: setting(both("DB_POOL_SIZE"), {
    default: "20",
    description: "connections to Postgres, besides the one for replication",
    read: integer(2, 10_000),
    otherwise: 20
  }),
  streamId: setting(both("REPLICATION_STREAM_ID"), {
    default: "default",
    description: "suffix of the names of publication and replication slot: letters, digits and underscores",
    read: streamId,
    otherwise: "default"
  }),
  manualTablePublishing: setting(both("MANUAL_TABLE_PUBLISHING"), {
    default: "false",
    description: "never alter the publication or a table's replica identity: the operator does",
    read: boolean,
    otherwise: false
  }),
  secret: setting(both("SECRET"), {
    default: "none",
    description: "what requests must carry as `secret`",
    read: (text): Either.Either<Redacted.Redacted | undefined, string> => Either.right(Redacted.make(text)),
    otherwise: undefined
  }),
  insecure: setting(both("INSECURE"), {
    default: "false",
    description: "serve whoever asks, without a secret",
    read: boolean,
    otherwise: false
  }),
  port: setting(both("PORT"), {
    default: "3000",
    description: "TCP port of the HTTP server",
    read: integer(0, 65535),
    otherwise: 3000
  }),
  ipv6: setting(both("LISTEN_ON_IPV6"), {
    default: "false",
    description: "listen on IPv6 addresses as well",
    read: boolean,
    otherwise: false
  }),
  maxConcurrentRequests: setting(both("MAX_CONCURRENT_REQUESTS"), {
    default: "{\"initial\": 300, \"existing\": 10000}",
    description:
      "requests served at a time, as JSON: `initial` ones without the handle of a shape that is there, and " +
      "`existing` ones. Those beyond get a 503",
    read: concurrency,
    otherwise: { initial: 300, existing: 10_000 }
  }),
  tcpReadTimeout: setting(both("TCP_READ_TIMEOUT"), {
    default: "60s",
    description: "how long an idle connection is kept open: longer than a proxy in front keeps it",
    read: duration(1),
    otherwise: Duration.seconds(60)
  }),
  tcpSendTimeout: setting(both("TCP_SEND_TIMEOUT"), {
    default: "30s",
    description: "how long a client may take no bytes of a response before it is dropped",
    read: duration(1),
    otherwise: Duration.seconds(30)
  }),
  allowDelete: setting(both("ENABLE_INTEGRATION_TESTING"), {
    default: "false",
    description: "`DELETE /v1/shape` removes shapes",
    read: boolean,
    otherwise: false
  }),
  storageDirectory: setting(both("STORAGE_DIR"), {
    default: ".shapelog/storage",
    description: "where shape logs are kept",
    read: (text) => Either.right(text),
    otherwise: ".shapelog/storage"
  }),
  chunkBytes: setting(both("SHAPE_CHUNK_BYTES_THRESHOLD"), {
    default: "10485760",
    description: "bytes after which a chunk of a shape's log ends",
    read: integer(1, 1_000_000_000),
    otherwise: 10_485_760
  }),
  maxShapes: setting([...both("MAX_SHAPES"), "ELECTRIC_EXPERIMENTAL_MAX_SHAPES"], {
    default: "no limit",
    description: "shapes beyond this number are removed, those that nobody has read for longest",
    read: (text): Either.Either<number | undefined, string> => integer(1, 100_000_000)(text),
    otherwise: undefined
  }),
  longPollTimeout: setting(both("LONG_POLL_TIMEOUT"), {
    default: "20s",
    description: "how long a live request waits for news",
    read: duration(1),
    otherwise: Duration.seconds(20)
  }),
  cacheMaxAge: setting(both("CACHE_MAX_AGE"), {
    default: "60",
    description: "seconds for which caches may serve a response that is not live",
    read: duration(1000),
    otherwise: Duration.seconds(60)
  }),
  cacheStaleAge: setting(both("CACHE_STALE_AGE"), {
    default: "300",
    description: "seconds after that in which caches may serve it while they ask for a new one",
    read: duration(1000),
    otherwise: Duration.seconds(300)
  }),
  logLevel: setting(both("LOG_LEVEL"), {
    default: "info",
    description: "error, warning, info or debug",
    read: logLevel,
    otherwise: LogLevel.Info
  })
})

/**
 * All settings, from the ConfigProvider (the environment). With a database of the user's, exactly one of secret and
 * insecure has to be chosen; with the embedded one neither need be, and then the server listens on the loopback
 * interface alone.
 */
export const settings: Config.Config<Settings> = raw.pipe(
  Config.mapOrFail(({ insecure, ipv6, ...given }): Either.Either<Settings, ConfigError.ConfigError> => {
    if (given.secret !== undefined && insecure) {
      return Either.left(ConfigError.InvalidData(
        ["SHAPELOG_SECRET"],
        "SHAPELOG_SECRET and SHAPELOG_INSECURE=true contradict each other: set one of them"
      ))
    }
    const loopback = ipv6 ? "::1" : "127.0.0.1"
    const undecided = given.secret === undefined && !insecure
    if (undecided && given.databaseUrl !== undefined) {
      return Either.left(ConfigError.MissingData(
        ["SHAPELOG_SECRET"],
        "set SHAPELOG_SECRET to a secret that requests must carry, or SHAPELOG_INSECURE=true to serve whoever asks"
      ))
    }
    if (given.pooledDatabaseUrl !== undefined && given.databaseUrl === undefined) {
      return Either.left(ConfigError.MissingData(
        ["DATABASE_URL"],
        "SHAPELOG_POOLED_DATABASE_URL is only of use along with DATABASE_URL"
      ))
    }
    return Either.right({
      ...given,
      host: undecided ? loopback : ipv6 ? "::" : undefined,
      notices: undecided
        ? [`no SHAPELOG_SECRET is set: listening on ${loopback} only, where whoever asks is served`]
        : insecure
        ? ["SHAPELOG_INSECURE is set: whoever can reach the server is served"]
        : []
    })
  })
)

/** What is wrong, a line for each setting, without the decoration of `ConfigError`. */
export const explain = (error: ConfigError.ConfigError): ReadonlyArray<string> => {
  switch (error._op) {
    case "And":
    case "Or":
      return [...explain(error.left), ...explain(error.right)]
    default: {
      const name = error.path.join("_")
      return [error.message.includes(name) ? error.message : `${name}: ${error.message}`]
    }
  }
}
