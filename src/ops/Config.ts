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
  /** Where shape logs are kept; `undefined`: in memory, and gone with the process. */
  readonly storageDirectory: string | undefined
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
  /** How long a stream of events is kept open, and after how long without output it gets a comment. */
  readonly sseTimeout: Duration.Duration
  readonly sseKeepAlive: Duration.Duration
  /** How long a request waits for an engine that is not active yet. */
  readonly readyTimeout: Duration.Duration
  /** How long a client may take to send the head of a request. */
  readonly tcpHeadersTimeout: Duration.Duration
  /** How long responses under way may take to end at shutdown. */
  readonly drainTimeout: Duration.Duration
  /** Longest body of a request. */
  readonly maxRequestBodyBytes: number
  /** Bytes of compressed bodies that are kept; 0: nothing is compressed. */
  readonly compressionCacheBytes: number
  /** After how long without work a shape's consumer ends, and how often the catalog is compared with the shapes. */
  readonly shapeIdle: Duration.Duration
  readonly reconcilePeriod: Duration.Duration
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

/** One setting for documentation: the variable with its other names, its default, its meaning. */
export interface Variable {
  readonly name: string
  readonly aliases: ReadonlyArray<string>
  readonly default: string
  readonly description: string
}

const described: Array<Variable> = []

/** Every variable that is read, in order: the README's table is made of them. */
export const variables: ReadonlyArray<Variable> = described

/** The first of `names` that is set to something, with its text. */
const firstOf = (names: readonly [string, ...ReadonlyArray<string>]) => {
  const [first, ...others] = names.map((name) =>
    Config.string(name).pipe(
      Config.map((text) => ({ name, text: text.trim() })),
      Config.option,
      Config.map(Option.filter(({ text }) => text !== ""))
    )
  )
  return Config.map(Config.all([first!, ...others]), (found) => Option.firstSomeOf(found))
}

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
  const [name, ...aliases] = names
  described.push({ name, aliases, default: options.default, description: options.description })
  return firstOf(names).pipe(
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

const oneOf = <const A extends string>(...values: ReadonlyArray<A>) => (text: string): Either.Either<A, string> =>
  Either.fromNullable(
    values.find((value) => value === text.toUpperCase()),
    () => `must be ${values.join(" or ")}, not ${JSON.stringify(text)}`
  )

const boolean = (text: string): Either.Either<boolean, string> =>
  /^(true|1)$/i.test(text)
    ? Either.right(true)
    : /^(false|0)$/i.test(text)
    ? Either.right(false)
    : Either.left(`must be true or false, not ${JSON.stringify(text)}`)

const units: Readonly<Record<string, number>> = { ms: 1, msec: 1, s: 1000, sec: 1000, m: 60_000, min: 60_000 }

/** What a timer can count, in ms. */
const MAX_MILLIS = 0x7fffffff

/** A number with one of the units; without one it counts `bare` milliseconds. */
const duration = (bare: number, leastMillis = 0) => (text: string): Either.Either<Duration.Duration, string> => {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|msec|s|sec|m|min)?$/i.exec(text)
  const unit = match?.[2] === undefined ? bare : units[match[2].toLowerCase()]
  const millis = match && unit !== undefined ? Number(match[1]) * unit : Infinity
  if (millis < leastMillis) return Either.left(`must be at least ${leastMillis}ms, not ${JSON.stringify(text)}`)
  return millis <= MAX_MILLIS
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
    default: "embedded Postgres",
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
    read: duration(1, 1),
    otherwise: Duration.seconds(60)
  }),
  tcpSendTimeout: setting(both("TCP_SEND_TIMEOUT"), {
    default: "30s",
    description: "how long a client may take no bytes of a response before it is dropped",
    read: duration(1, 1),
    otherwise: Duration.seconds(30)
  }),
  tcpHeadersTimeout: setting(both("TCP_HEADERS_TIMEOUT"), {
    default: "30s",
    description: "how long a client may take to send the head of a request",
    read: duration(1, 1),
    otherwise: Duration.seconds(30)
  }),
  maxRequestBodyBytes: setting(both("MAX_REQUEST_BODY_BYTES"), {
    default: "8000000",
    description: "longest body of a request, in bytes: a longer one gets a 413",
    read: integer(0, 1_000_000_000),
    otherwise: 8_000_000
  }),
  readyTimeout: setting(both("READY_TIMEOUT"), {
    default: "5s",
    description: "how long a request waits for a server that is not ready yet, before it gets a 503",
    read: duration(1),
    otherwise: Duration.seconds(5)
  }),
  drainTimeout: setting(both("DRAIN_TIMEOUT"), {
    default: "10s",
    description: "how long responses under way may take at shutdown, before they are cut off",
    read: duration(1),
    otherwise: Duration.seconds(10)
  }),
  allowDelete: setting(both("ENABLE_INTEGRATION_TESTING"), {
    default: "false",
    description: "`DELETE /v1/shape` removes shapes",
    read: boolean,
    otherwise: false
  }),
  storage: setting(both("STORAGE"), {
    default: "FAST_FILE",
    description: "`FAST_FILE`, or `MEMORY`: shape logs are gone with the process",
    read: oneOf("FAST_FILE", "MEMORY"),
    otherwise: "FAST_FILE"
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
  shapeIdle: setting(both("SHAPE_HIBERNATE_AFTER"), {
    default: "30s",
    description: "after how long without work a shape gives back what memory it uses",
    read: duration(1, 1),
    otherwise: Duration.seconds(30)
  }),
  reconcilePeriod: setting(both("TWEAKS_SCHEMA_RECONCILER_PERIOD"), {
    default: "60s",
    description: "how often tables are compared with what their shapes were made from",
    read: duration(1, 1),
    otherwise: Duration.seconds(60)
  }),
  longPollTimeout: setting(both("LONG_POLL_TIMEOUT"), {
    default: "20s",
    description: "how long a live request waits for news",
    read: duration(1),
    otherwise: Duration.seconds(20)
  }),
  sseTimeout: setting(both("SSE_TIMEOUT"), {
    default: "60s",
    description: "how long a stream of events is kept open",
    read: duration(1, 1),
    otherwise: Duration.seconds(60)
  }),
  sseKeepAlive: setting(both("SSE_KEEP_ALIVE"), {
    default: "21s",
    description: "after how long without output a stream of events gets a comment: sooner than a proxy gives it up",
    read: duration(1, 1),
    otherwise: Duration.seconds(21)
  }),
  compression: setting(both("COMPRESSION"), {
    default: "true",
    description: "compress what clients accept compressed",
    read: boolean,
    otherwise: true
  }),
  compressionCacheBytes: setting(both("COMPRESSION_CACHE_BYTES"), {
    default: "67108864",
    description: "bytes of compressed responses that are kept for the next client",
    read: integer(1, 100_000_000_000),
    otherwise: 67_108_864
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
 * Variables of the reference system that name what there is none of here (Electric HTTP protocol §17): they are accepted,
 * and the operator is told that they have no effect.
 */
export const ignored = [
  // How it connects to the database: here over whichever addresses its name has, with the system's keep-alive.
  "ELECTRIC_DATABASE_USE_IPV6",
  "ELECTRIC_DATABASE_TCP_KEEPALIVE_IDLE",
  "ELECTRIC_DATABASE_TCP_KEEPALIVE_INTERVAL",
  "ELECTRIC_DATABASE_TCP_KEEPALIVE_COUNT",
  "ELECTRIC_DATABASE_TCP_USER_TIMEOUT",
  // Slots that go with the server, and connections that are closed when nobody asks for anything.
  "CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN",
  "ELECTRIC_TEMPORARY_REPLICATION_SLOT_USE_RANDOM_NAME",
  "ELECTRIC_REPLICATION_IDLE_TIMEOUT",
  // Its runtime and its stores.
  "ELECTRIC_SHAPE_SUSPEND_CONSUMER",
  "ELECTRIC_SHAPE_SUSPEND_AFTER",
  "ELECTRIC_CONSUMER_PARTITIONS",
  "ELECTRIC_PERSISTENT_STATE",
  "ELECTRIC_SHAPE_DB_STORAGE_DIR",
  "ELECTRIC_SHAPE_DB_EXCLUSIVE_MODE",
  "ELECTRIC_SHAPE_DB_SYNCHRONOUS",
  "ELECTRIC_SHAPE_DB_CACHE_SIZE",
  "ELECTRIC_SHAPE_DB_ENABLE_STATS",
  "ELECTRIC_SHAPE_DB_ENABLE_MEMORY_STATS",
  "ELECTRIC_FEATURE_FLAGS",
  "ELECTRIC_DATABASE_ID",
  "ELECTRIC_SUBQUERY_BUFFER_MAX_TRANSACTIONS",
  "ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE",
  "ELECTRIC_EXPERIMENTAL_MAX_BATCH_SIZE",
  "ELECTRIC_CLEANUP_INTERVAL_MS",
  "ELECTRIC_FLUSH_STALL_GRACE_PERIOD",
  "ELECTRIC_PROFILE_WHERE_CLAUSES",
  "ELECTRIC_PUBLICATION_ALTER_DEBOUNCE_TIME",
  "ELECTRIC_TWEAKS_HTTP_API_NUM_ACCEPTORS",
  "ELECTRIC_TWEAKS_CONN_MAX_REQUESTS",
  "ELECTRIC_TWEAKS_PUBLICATION_REFRESH_PERIOD",
  // Where it reports to.
  "ELECTRIC_INSTANCE_ID",
  "ELECTRIC_SERVICE_NAME",
  "ELECTRIC_OTLP_ENDPOINT",
  "ELECTRIC_OTEL_DEBUG",
  "ELECTRIC_OTEL_SAMPLING_RATIO",
  "ELECTRIC_METRICS_SAMPLING_RATIO",
  "ELECTRIC_DROP_EMPTY_RESPONSE_SPANS",
  "ELECTRIC_HNY_API_KEY",
  "ELECTRIC_HNY_DATASET",
  "ELECTRIC_STATSD_HOST",
  "SENTRY_DSN",
  "ELECTRIC_PROMETHEUS_PORT",
  "ELECTRIC_LIVE_DASHBOARD_PORT",
  "ELECTRIC_LOG_COLORS",
  "ELECTRIC_LOG_OTP_REPORTS",
  "ELECTRIC_USAGE_REPORTING",
  "ELECTRIC_TELEMETRY_URL"
] as const

/** A variable that has no effect here, by its name in the reference system. */
export type IgnoredVariable = typeof ignored[number]

const twin = (name: string): string => name.replace(/^ELECTRIC_/, "SHAPELOG_")

/** Names of those that are set, whichever of their names that is. */
const setInVain: Config.Config<ReadonlyArray<string>> = Config.map(
  Config.all(ignored.map((name) => firstOf([twin(name), name]))),
  (found) => found.flatMap(Option.match({ onNone: () => [], onSome: ({ name }) => [name] }))
)

/**
 * Whoever sets it wants the server's certificate verified, and must not be left to believe that it is.
 */
const certificate = Config.mapOrFail(
  firstOf(both("DATABASE_CA_CERTIFICATE_FILE")),
  Option.match({
    onNone: () => Either.void,
    onSome: ({ name }) =>
      Either.left(
        ConfigError.Unsupported([name], `${name} is not supported: the database's certificate is not verified`)
      )
  })
)

const known: ReadonlySet<string> = new Set([
  ...described.flatMap(({ aliases, name }) => [name, ...aliases]),
  ...ignored.flatMap((name) => [name, twin(name)]),
  ...both("DATABASE_CA_CERTIFICATE_FILE")
])

/** Which of an environment's names look like settings and are none: misspelt ones, as a rule. */
export const unknown = (names: Iterable<string>): ReadonlyArray<string> =>
  [...names].filter((name) => /^(?:SHAPELOG|ELECTRIC)_/.test(name) && !known.has(name)).sort()

/**
 * All settings, from the ConfigProvider (the environment). With a database of the user's, exactly one of secret and
 * insecure has to be chosen; with the embedded one neither need be, and then the server listens on the loopback
 * interface alone.
 */
export const settings: Config.Config<Settings> = Config.all({ raw, setInVain, certificate }).pipe(
  Config.mapOrFail(({ raw, setInVain }): Either.Either<Settings, ConfigError.ConfigError> => {
    const { compression, compressionCacheBytes, insecure, ipv6, storage, storageDirectory, ...given } = raw
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
      compressionCacheBytes: compression ? compressionCacheBytes : 0,
      storageDirectory: storage === "MEMORY" ? undefined : storageDirectory,
      host: undecided ? loopback : ipv6 ? "::" : undefined,
      notices: [
        ...undecided
          ? [`no SHAPELOG_SECRET is set: listening on ${loopback} only, where whoever asks is served`]
          : insecure
          ? ["SHAPELOG_INSECURE is set: whoever can reach the server is served"]
          : [],
        ...setInVain.length > 0 ? [`set, but without effect here: ${setInVain.join(", ")}`] : []
      ]
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
