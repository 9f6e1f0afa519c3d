import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, LogLevel, Redacted, Struct } from "effect"
import { readFileSync } from "node:fs"
import * as Engine from "../../src/engine/Engine.ts"
import { HttpOptions } from "../../src/http/HttpOptions.ts"
import * as Config from "../../src/ops/Config.ts"

const load = (variables: Record<string, string>) =>
  Effect.withConfigProvider(Config.settings, ConfigProvider.fromMap(new Map(Object.entries(variables))))

const problems = (variables: Record<string, string>) =>
  Effect.map(Effect.flip(load(variables)), (error) => Config.explain(error).join("\n"))

const url = "postgresql://u:sesame@db/app"

interface Row {
  readonly name: string
  readonly text: string
  /** What the settings are of it when it has that text, and when it is not set. */
  readonly read: (settings: Config.Settings) => unknown
  readonly expected: unknown
  readonly otherwise: unknown
  readonly bad: ReadonlyArray<string>
  /** Without which it means nothing. */
  readonly beside?: Readonly<Record<string, string>>
}

const durations = ["-1", "1h", "s", "1e3", "20 seconds", "99999999999"]
const bytes = ["-1", "1MB", "1.5", "x"]
const booleans = ["yes", "2"]
const secret = (of: Redacted.Redacted | undefined) => of && Redacted.value(of)
const pooler = "postgres://u@pooler/app"
const decided = { SHAPELOG_INSECURE: "true" }

const time = (
  name: string,
  text: string,
  of: (settings: Config.Settings) => Duration.Duration,
  expected: number,
  otherwise: number,
  ...bad: ReadonlyArray<string>
): Row => ({
  name,
  text,
  read: (settings) => Duration.toMillis(of(settings)),
  expected,
  otherwise,
  bad: [...durations, ...bad]
})

const rows: ReadonlyArray<Row> = [
  {
    name: "DATABASE_URL",
    text: url,
    read: (of) => secret(of.databaseUrl),
    expected: url,
    otherwise: undefined,
    bad: ["mysql://x", "postgres://", "postgresql://u@h/d?sslmode=verify-full"],
    beside: decided
  },
  {
    name: "SHAPELOG_POOLED_DATABASE_URL",
    text: pooler,
    read: (of) => secret(of.pooledDatabaseUrl),
    expected: pooler,
    otherwise: undefined,
    bad: ["mysql://x"],
    beside: { ...decided, DATABASE_URL: url }
  },
  {
    name: "SHAPELOG_DB_POOL_SIZE",
    text: "8",
    read: (of) => of.poolSize,
    expected: 8,
    otherwise: 20,
    bad: ["1", "x", "10001"]
  },
  {
    name: "SHAPELOG_REPLICATION_STREAM_ID",
    text: "Blue_1",
    read: (of) => of.streamId,
    expected: "blue_1",
    otherwise: "default",
    bad: ["a-b"]
  },
  {
    name: "SHAPELOG_MANUAL_TABLE_PUBLISHING",
    text: "true",
    read: (of) => of.manualTablePublishing,
    expected: true,
    otherwise: false,
    bad: booleans
  },
  {
    name: "SHAPELOG_SECRET",
    text: "s3cret",
    read: (of) => secret(of.secret),
    expected: "s3cret",
    otherwise: undefined,
    bad: []
  },
  {
    name: "SHAPELOG_INSECURE",
    text: "TRUE",
    read: (of) => of.host,
    expected: undefined,
    otherwise: "127.0.0.1",
    bad: booleans
  },
  {
    name: "SHAPELOG_PORT",
    text: "4000",
    read: (of) => of.port,
    expected: 4000,
    otherwise: 3000,
    bad: ["http", "65536", "-1"]
  },
  {
    name: "SHAPELOG_LISTEN_ON_IPV6",
    text: "1",
    read: (of) => of.host,
    expected: "::1",
    otherwise: "127.0.0.1",
    bad: booleans
  },
  {
    name: "SHAPELOG_MAX_CONCURRENT_REQUESTS",
    text: "{\"initial\": 3}",
    read: (of) => of.maxConcurrentRequests,
    expected: { initial: 3, existing: 10_000 },
    otherwise: { initial: 300, existing: 10_000 },
    bad: ["300", "{", "{\"initial\": -1}", "{\"existing\": \"x\"}"]
  },
  time("SHAPELOG_TCP_READ_TIMEOUT", "90s", (of) => of.tcpReadTimeout, 90_000, 60_000, "0"),
  time("SHAPELOG_TCP_SEND_TIMEOUT", "5000", (of) => of.tcpSendTimeout, 5000, 30_000, "0"),
  time("SHAPELOG_TCP_HEADERS_TIMEOUT", "1min", (of) => of.tcpHeadersTimeout, 60_000, 30_000, "0"),
  {
    name: "SHAPELOG_MAX_REQUEST_BODY_BYTES",
    text: "5",
    read: (of) => of.maxRequestBodyBytes,
    expected: 5,
    otherwise: 8_000_000,
    bad: bytes
  },
  time("SHAPELOG_READY_TIMEOUT", "0", (of) => of.readyTimeout, 0, 5000),
  time("SHAPELOG_DRAIN_TIMEOUT", "2s", (of) => of.drainTimeout, 2000, 10_000),
  {
    name: "SHAPELOG_ENABLE_INTEGRATION_TESTING",
    text: "true",
    read: (of) => of.allowDelete,
    expected: true,
    otherwise: false,
    bad: booleans
  },
  {
    name: "SHAPELOG_STORAGE",
    text: "memory",
    read: (of) => of.storageDirectory,
    expected: undefined,
    otherwise: ".shapelog/storage",
    bad: ["TAPE"]
  },
  {
    name: "SHAPELOG_STORAGE_DIR",
    text: "/data",
    read: (of) => of.storageDirectory,
    expected: "/data",
    otherwise: ".shapelog/storage",
    bad: []
  },
  {
    name: "SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD",
    text: "1000",
    read: (of) => of.chunkBytes,
    expected: 1000,
    otherwise: 10_485_760,
    bad: ["0", ...bytes]
  },
  {
    name: "SHAPELOG_MAX_SHAPES",
    text: "100",
    read: (of) => of.maxShapes,
    expected: 100,
    otherwise: undefined,
    bad: ["0", "x"]
  },
  time("SHAPELOG_SHAPE_HIBERNATE_AFTER", "1s", (of) => of.shapeIdle, 1000, 30_000, "0"),
  time("SHAPELOG_TWEAKS_SCHEMA_RECONCILER_PERIOD", "5sec", (of) => of.reconcilePeriod, 5000, 60_000, "0"),
  time("SHAPELOG_LONG_POLL_TIMEOUT", "300", (of) => of.longPollTimeout, 300, 20_000),
  time("SHAPELOG_SSE_TIMEOUT", "1m", (of) => of.sseTimeout, 60_000, 60_000, "0"),
  time("SHAPELOG_SSE_KEEP_ALIVE", "1.5s", (of) => of.sseKeepAlive, 1500, 21_000, "0"),
  {
    name: "SHAPELOG_COMPRESSION",
    text: "false",
    read: (of) => of.compressionCacheBytes,
    expected: 0,
    otherwise: 67_108_864,
    bad: booleans
  },
  {
    name: "SHAPELOG_COMPRESSION_CACHE_BYTES",
    text: "1024",
    read: (of) => of.compressionCacheBytes,
    expected: 1024,
    otherwise: 67_108_864,
    bad: ["0", ...bytes]
  },
  time("SHAPELOG_CACHE_MAX_AGE", "5", (of) => of.cacheMaxAge, 5000, 60_000),
  time("SHAPELOG_CACHE_STALE_AGE", "2min", (of) => of.cacheStaleAge, 120_000, 300_000),
  {
    name: "SHAPELOG_LOG_LEVEL",
    text: "debug",
    read: (of) => of.logLevel,
    expected: LogLevel.Debug,
    otherwise: LogLevel.Info,
    bad: ["loud"]
  }
]

/** Both names of a variable. */
const twins = (name: string): ReadonlyArray<string> =>
  name.startsWith("SHAPELOG_") ? [name, name.replace("SHAPELOG_", "ELECTRIC_")] : [name]

/** Every variable of Electric HTTP protocol §17. */
const reference = `
  DATABASE_URL ELECTRIC_POOLED_DATABASE_URL ELECTRIC_QUERY_DATABASE_URL ELECTRIC_DATABASE_USE_IPV6
  ELECTRIC_DATABASE_CA_CERTIFICATE_FILE ELECTRIC_DB_POOL_SIZE ELECTRIC_DATABASE_TCP_KEEPALIVE_IDLE
  ELECTRIC_DATABASE_TCP_KEEPALIVE_INTERVAL ELECTRIC_DATABASE_TCP_KEEPALIVE_COUNT ELECTRIC_DATABASE_TCP_USER_TIMEOUT
  ELECTRIC_REPLICATION_STREAM_ID CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN
  ELECTRIC_TEMPORARY_REPLICATION_SLOT_USE_RANDOM_NAME ELECTRIC_REPLICATION_IDLE_TIMEOUT
  ELECTRIC_MANUAL_TABLE_PUBLISHING ELECTRIC_SECRET ELECTRIC_INSECURE ELECTRIC_INSTANCE_ID ELECTRIC_SERVICE_NAME
  ELECTRIC_PORT ELECTRIC_LISTEN_ON_IPV6 ELECTRIC_TCP_SEND_TIMEOUT ELECTRIC_TCP_READ_TIMEOUT
  ELECTRIC_MAX_CONCURRENT_REQUESTS ELECTRIC_CACHE_MAX_AGE ELECTRIC_CACHE_STALE_AGE ELECTRIC_MAX_SHAPES
  ELECTRIC_EXPERIMENTAL_MAX_SHAPES ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD ELECTRIC_SHAPE_SUSPEND_CONSUMER
  ELECTRIC_SHAPE_HIBERNATE_AFTER ELECTRIC_SHAPE_SUSPEND_AFTER ELECTRIC_CONSUMER_PARTITIONS ELECTRIC_STORAGE
  ELECTRIC_STORAGE_DIR ELECTRIC_PERSISTENT_STATE ELECTRIC_SHAPE_DB_STORAGE_DIR ELECTRIC_SHAPE_DB_EXCLUSIVE_MODE
  ELECTRIC_SHAPE_DB_SYNCHRONOUS ELECTRIC_SHAPE_DB_CACHE_SIZE ELECTRIC_SHAPE_DB_ENABLE_STATS
  ELECTRIC_SHAPE_DB_ENABLE_MEMORY_STATS ELECTRIC_FEATURE_FLAGS ELECTRIC_OTLP_ENDPOINT ELECTRIC_OTEL_DEBUG
  ELECTRIC_HNY_API_KEY ELECTRIC_HNY_DATASET ELECTRIC_STATSD_HOST SENTRY_DSN ELECTRIC_PROMETHEUS_PORT
  ELECTRIC_LOG_LEVEL ELECTRIC_LOG_COLORS ELECTRIC_LOG_OTP_REPORTS ELECTRIC_LONG_POLL_TIMEOUT
  ELECTRIC_ENABLE_INTEGRATION_TESTING ELECTRIC_DATABASE_ID ELECTRIC_LIVE_DASHBOARD_PORT
  ELECTRIC_SUBQUERY_BUFFER_MAX_TRANSACTIONS ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE ELECTRIC_EXPERIMENTAL_MAX_BATCH_SIZE
  ELECTRIC_CLEANUP_INTERVAL_MS ELECTRIC_FLUSH_STALL_GRACE_PERIOD ELECTRIC_PROFILE_WHERE_CLAUSES
  ELECTRIC_PUBLICATION_ALTER_DEBOUNCE_TIME ELECTRIC_TWEAKS_HTTP_API_NUM_ACCEPTORS ELECTRIC_TWEAKS_CONN_MAX_REQUESTS
  ELECTRIC_TWEAKS_PUBLICATION_REFRESH_PERIOD ELECTRIC_TWEAKS_SCHEMA_RECONCILER_PERIOD ELECTRIC_OTEL_SAMPLING_RATIO
  ELECTRIC_METRICS_SAMPLING_RATIO ELECTRIC_DROP_EMPTY_RESPONSE_SPANS ELECTRIC_USAGE_REPORTING ELECTRIC_TELEMETRY_URL
`.trim().split(/\s+/)

describe("Config", () => {
  it.effect("has defaults that need no variable at all, and is then for this machine only", () =>
    Effect.gen(function*() {
      const settings = yield* load({})
      for (const { name, otherwise, read } of rows) assert.deepStrictEqual(read(settings), otherwise, name)
      assert.match(settings.notices.join(), /127\.0\.0\.1 only/)
    }))

  for (const { bad, beside = {}, expected, name, read, text } of rows) {
    it.effect(`${name}: by either name, and its faults by the one that is set`, () =>
      Effect.gen(function*() {
        const names = twins(name)
        for (const each of names) {
          assert.deepStrictEqual(read(yield* load({ ...beside, [each]: text })), expected, each)
          assert.deepStrictEqual(read(yield* load({ ...beside, [each]: `  ${text} ` })), expected, each)
          for (const wrong of bad) {
            const said = yield* problems({ ...beside, [each]: wrong })
            assert.include(said, each)
            // What it takes; and what it got, unless that may hold a password.
            assert.match(said, /must |is no stream id/, said)
            if (!name.endsWith("DATABASE_URL")) assert.include(said, JSON.stringify(wrong))
          }
        }
        const [first, second] = names
        const preferred = second === undefined ? {} : { [second]: bad[0] ?? "other" }
        assert.deepStrictEqual(read(yield* load({ ...beside, [first!]: text, ...preferred })), expected)
      }))
  }

  it("has a row here for every variable, and a variable for every row", () => {
    assert.sameMembers(Config.variables.map(({ name }) => name), rows.map(({ name }) => name))
  })

  it.effect("reads the oldest names too", () =>
    Effect.gen(function*() {
      const pooled = yield* load({ ELECTRIC_QUERY_DATABASE_URL: url, DATABASE_URL: url, ELECTRIC_INSECURE: "true" })
      assert.isTrue(pooled.pooledDatabaseUrl !== undefined)
      assert.strictEqual((yield* load({ ELECTRIC_EXPERIMENTAL_MAX_SHAPES: "7" })).maxShapes, 7)
    }))

  it("has the defaults of the HTTP server", () =>
    Effect.gen(function*() {
      const settings = yield* load({})
      assert.deepStrictEqual({
        port: settings.port,
        longPollTimeoutMs: Duration.toMillis(settings.longPollTimeout),
        sseTimeoutMs: Duration.toMillis(settings.sseTimeout),
        sseKeepAliveMs: Duration.toMillis(settings.sseKeepAlive),
        readyTimeoutMs: Duration.toMillis(settings.readyTimeout),
        cacheMaxAge: Duration.toSeconds(settings.cacheMaxAge),
        cacheStaleAge: Duration.toSeconds(settings.cacheStaleAge),
        maxConcurrentRequests: settings.maxConcurrentRequests,
        allowDelete: settings.allowDelete,
        compressionCacheBytes: settings.compressionCacheBytes,
        maxRequestBodyBytes: settings.maxRequestBodyBytes,
        headersTimeoutMs: Duration.toMillis(settings.tcpHeadersTimeout),
        keepAliveTimeoutMs: Duration.toMillis(settings.tcpReadTimeout),
        sendTimeoutMs: Duration.toMillis(settings.tcpSendTimeout),
        drainTimeoutMs: Duration.toMillis(settings.drainTimeout)
      }, Struct.omit(HttpOptions.defaults, "host", "secret", "insecure", "version"))
      assert.strictEqual(settings.chunkBytes, Engine.defaults.chunkBytes)
      assert.strictEqual(Duration.toMillis(settings.shapeIdle), Engine.defaults.idleMillis)
      assert.strictEqual(Duration.toMillis(settings.reconcilePeriod), Engine.defaults.reconcileMillis)
      assert.strictEqual(settings.maxShapes, Engine.defaults.maxShapes)
    }).pipe(Effect.runPromise))

  it("knows every variable of the protocol's reference", () => {
    const names = new Set([
      ...Config.variables.flatMap(({ aliases, name }) => [name, ...aliases]),
      ...Config.ignored,
      "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE"
    ])
    assert.deepStrictEqual(reference.filter((name) => !names.has(name)), [])
    assert.deepStrictEqual(Config.unknown(reference), [])
    assert.deepStrictEqual(Config.ignored.filter((name) => !reference.includes(name)), [])
    assert.deepStrictEqual(
      Config.unknown(["PATH", "SHAPELOG_PROT", "SHAPELOG_PORT", "ELECTRIC_X", "SHAPELOG_STATSD_HOST"]),
      ["ELECTRIC_X", "SHAPELOG_PROT"]
    )
  })

  it.effect("takes what it has no use for, and says so in one line", () =>
    Effect.gen(function*() {
      const inVain = Object.fromEntries(Config.ignored.map((name) => [name, "x"]))
      const { notices } = yield* load({ ...inVain, SHAPELOG_SECRET: "s" })
      assert.deepStrictEqual(notices, [`set, but without effect here: ${Config.ignored.join(", ")}`])
      const twin = yield* load({ SHAPELOG_SECRET: "s", SHAPELOG_OTLP_ENDPOINT: "http://x", ELECTRIC_FEATURE_FLAGS: "" })
      assert.deepStrictEqual(twin.notices, ["set, but without effect here: SHAPELOG_OTLP_ENDPOINT"])
      assert.deepStrictEqual((yield* load({ SHAPELOG_SECRET: "s" })).notices, [])
    }))

  it.effect("does not let anybody believe that a certificate is verified", () =>
    Effect.gen(function*() {
      for (const name of ["SHAPELOG_DATABASE_CA_CERTIFICATE_FILE", "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE"]) {
        assert.match(yield* problems({ [name]: "/ca.pem" }), new RegExp(`^${name} is not supported`))
        yield* load({ [name]: "" })
      }
    }))

  it("is what the README says", () => {
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8")
    const table = readme.slice(readme.indexOf("| Variable | Default | Meaning |")).split("\n\n")[0]!.split("\n").slice(
      2
    )
    const said = table.flatMap((line) => {
      const [names = "", defaults = "", meaning = ""] = line.replace(/^\| | \|$/g, "").split(" | ")
      assert.isNotEmpty(meaning, line)
      const all = [...names.matchAll(/`([A-Z0-9_]+)`/g)].map(([, name]) => name!)
      const values = all.length === 1 ? [defaults] : defaults.split(", ")
      return all.map((name, i) => [name, values[i]?.replaceAll("`", "")] as const)
    })
    assert.deepStrictEqual(
      Object.fromEntries(said),
      Object.fromEntries(Config.variables.map((each) => [each.name, each.default]))
    )
  })

  it.effect("takes an empty variable for none", () =>
    Effect.gen(function*() {
      const settings = yield* load({ SHAPELOG_PORT: "", ELECTRIC_PORT: "5", SHAPELOG_SECRET: " ", DATABASE_URL: "" })
      assert.strictEqual(settings.port, 5)
      assert.strictEqual(settings.secret, undefined)
      assert.strictEqual(settings.databaseUrl, undefined)
    }))

  it.effect("reads durations with units, of which a bare number needs none", () =>
    Effect.gen(function*() {
      const millis = (text: string) =>
        Effect.map(
          load({ SHAPELOG_LONG_POLL_TIMEOUT: text }),
          (settings) => Duration.toMillis(settings.longPollTimeout)
        )
      for (
        const [text, expected] of [
          ["250", 250],
          ["250ms", 250],
          ["250 msec", 250],
          ["2s", 2000],
          ["2sec", 2000],
          ["1.5s", 1500],
          ["3m", 180_000],
          ["3MIN", 180_000]
        ] as const
      ) {
        assert.strictEqual(yield* millis(text), expected, text)
      }
      for (const text of ["-1", "1h", "s", "1e3", "20 seconds", "99999999999"]) {
        assert.match(
          yield* problems({ SHAPELOG_LONG_POLL_TIMEOUT: text }),
          /SHAPELOG_LONG_POLL_TIMEOUT must be a duration/
        )
      }
      const settings = yield* load({ SHAPELOG_CACHE_MAX_AGE: "2min" })
      assert.strictEqual(Duration.toSeconds(settings.cacheMaxAge), 120)
    }))

  it.effect("names all variables that are wrong", () =>
    Effect.gen(function*() {
      const both = yield* problems({ SHAPELOG_PORT: "x", SHAPELOG_CACHE_MAX_AGE: "y" })
      assert.include(both, "SHAPELOG_PORT")
      assert.include(both, "SHAPELOG_CACHE_MAX_AGE")
    }))

  it.effect("never repeats a password or secret", () =>
    Effect.gen(function*() {
      const wrong = yield* problems({ DATABASE_URL: "postgresql://u:sesame@db/app?sslmode=verify-full" })
      assert.include(wrong, "DATABASE_URL")
      assert.notInclude(wrong, "sesame")
      const settings = yield* load({ DATABASE_URL: url, SHAPELOG_SECRET: "opened" })
      assert.notInclude(JSON.stringify(settings) + String(settings.databaseUrl), "sesame")
      assert.notInclude(JSON.stringify(settings), "opened")
    }))

  it.effect("demands a decision on the secret with a database of the user's, and refuses two", () =>
    Effect.gen(function*() {
      assert.match(yield* problems({ DATABASE_URL: url }), /SHAPELOG_SECRET.*SHAPELOG_INSECURE/)
      assert.match(
        yield* problems({ DATABASE_URL: url, SHAPELOG_INSECURE: "true", ELECTRIC_SECRET: "x" }),
        /contradict/
      )
      assert.match(yield* problems({ SHAPELOG_INSECURE: "true", SHAPELOG_SECRET: "x" }), /contradict/)
      assert.match(yield* problems({ DATABASE_URL: url, SHAPELOG_INSECURE: "false" }), /SHAPELOG_SECRET/)
      const insecure = yield* load({ DATABASE_URL: url, SHAPELOG_INSECURE: "true" })
      assert.strictEqual(insecure.host, undefined)
      assert.match(insecure.notices.join(), /whoever can reach/)
      const secret = yield* load({ SHAPELOG_SECRET: "x", SHAPELOG_INSECURE: "false" })
      assert.strictEqual(secret.host, undefined)
      const six = yield* load({ SHAPELOG_LISTEN_ON_IPV6: "true" })
      assert.strictEqual(six.host, "::1")
      const part = yield* load({
        ELECTRIC_MAX_CONCURRENT_REQUESTS: "{\"initial\": 5}",
        ELECTRIC_EXPERIMENTAL_MAX_SHAPES: "7"
      })
      assert.deepStrictEqual(part.maxConcurrentRequests, { initial: 5, existing: 10_000 })
      assert.strictEqual(part.maxShapes, 7)
      const open = yield* load({ SHAPELOG_INSECURE: "true" })
      assert.strictEqual(open.host, undefined)
    }))
})
