import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, LogLevel, Option, Redacted } from "effect"
import * as Config from "../../src/ops/Config.ts"

const load = (variables: Record<string, string>) =>
  Effect.withConfigProvider(Config.settings, ConfigProvider.fromMap(new Map(Object.entries(variables))))

const problems = (variables: Record<string, string>) =>
  Effect.map(Effect.flip(load(variables)), (error) => Config.explain(error).join("\n"))

const url = "postgresql://u:sesame@db/app"

describe("Config", () => {
  it.effect("has defaults that need no variable at all, and is then for this machine only", () =>
    Effect.gen(function*() {
      const settings = yield* load({})
      assert.strictEqual(settings.port, 3000)
      assert.strictEqual(settings.host, "127.0.0.1")
      assert.strictEqual(settings.storageDirectory, ".shapelog/storage")
      assert.strictEqual(settings.streamId, "default")
      assert.strictEqual(settings.secret, undefined)
      assert.strictEqual(settings.databaseUrl, undefined)
      assert.strictEqual(settings.poolSize, 20)
      assert.strictEqual(settings.manualTablePublishing, false)
      assert.strictEqual(settings.chunkBytes, 10485760)
      assert.strictEqual(Duration.toMillis(settings.longPollTimeout), 20_000)
      assert.strictEqual(Duration.toSeconds(settings.cacheMaxAge), 60)
      assert.strictEqual(Duration.toSeconds(settings.cacheStaleAge), 300)
      assert.strictEqual(settings.logLevel, LogLevel.Info)
      assert.deepStrictEqual(settings.maxConcurrentRequests, { initial: 300, existing: 10_000 })
      assert.strictEqual(settings.maxShapes, undefined)
      assert.strictEqual(Duration.toMillis(settings.tcpReadTimeout), 60_000)
      assert.strictEqual(Duration.toMillis(settings.tcpSendTimeout), 30_000)
      assert.isFalse(settings.allowDelete)
      assert.match(settings.notices.join(), /127\.0\.0\.1 only/)
    }))

  it.effect("reads every variable by either name, and prefers SHAPELOG_", () =>
    Effect.gen(function*() {
      const values = {
        PORT: "4000",
        STORAGE_DIR: "/data",
        REPLICATION_STREAM_ID: "Blue_1",
        SECRET: "s3cret",
        SHAPE_CHUNK_BYTES_THRESHOLD: "1000",
        LONG_POLL_TIMEOUT: "300",
        LOG_LEVEL: "debug",
        POOLED_DATABASE_URL: "postgres://u@pooler/app",
        DB_POOL_SIZE: "8",
        MANUAL_TABLE_PUBLISHING: "true",
        CACHE_MAX_AGE: "5",
        CACHE_STALE_AGE: "6",
        MAX_CONCURRENT_REQUESTS: "{\"initial\": 3, \"existing\": 4}",
        MAX_SHAPES: "100",
        TCP_READ_TIMEOUT: "90s",
        TCP_SEND_TIMEOUT: "5000",
        LISTEN_ON_IPV6: "true",
        ENABLE_INTEGRATION_TESTING: "true"
      }
      const named = (prefix: string) =>
        Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}_${name}`, value]))
      for (const prefix of ["SHAPELOG", "ELECTRIC"]) {
        const settings = yield* load({ ...named(prefix), DATABASE_URL: url })
        assert.strictEqual(settings.port, 4000)
        assert.strictEqual(settings.host, "::")
        assert.deepStrictEqual(settings.maxConcurrentRequests, { initial: 3, existing: 4 })
        assert.strictEqual(settings.maxShapes, 100)
        assert.strictEqual(Duration.toMillis(settings.tcpReadTimeout), 90_000)
        assert.strictEqual(Duration.toMillis(settings.tcpSendTimeout), 5000)
        assert.isTrue(settings.allowDelete)
        assert.strictEqual(settings.storageDirectory, "/data")
        assert.strictEqual(settings.streamId, "blue_1")
        assert.strictEqual(settings.secret && Redacted.value(settings.secret), "s3cret")
        assert.strictEqual(settings.databaseUrl && Redacted.value(settings.databaseUrl), url)
        assert.strictEqual(
          settings.pooledDatabaseUrl && Redacted.value(settings.pooledDatabaseUrl),
          "postgres://u@pooler/app"
        )
        assert.strictEqual(settings.poolSize, 8)
        assert.isTrue(settings.manualTablePublishing)
        assert.strictEqual(settings.chunkBytes, 1000)
        assert.strictEqual(Duration.toMillis(settings.longPollTimeout), 300)
        assert.strictEqual(Duration.toSeconds(settings.cacheMaxAge), 5)
        assert.strictEqual(Duration.toSeconds(settings.cacheStaleAge), 6)
        assert.strictEqual(settings.logLevel, LogLevel.Debug)
        assert.deepStrictEqual(settings.notices, [])
      }
      const preferred = yield* load({ SHAPELOG_PORT: "1", ELECTRIC_PORT: "2" })
      assert.strictEqual(preferred.port, 1)
      const oldest = yield* load({ ELECTRIC_QUERY_DATABASE_URL: url, DATABASE_URL: url, ELECTRIC_INSECURE: "true" })
      assert.isTrue(oldest.pooledDatabaseUrl !== undefined)
    }))

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

  it.effect("names the variable that is wrong, as it was set, and all of them", () =>
    Effect.gen(function*() {
      assert.match(yield* problems({ ELECTRIC_PORT: "http" }), /^ELECTRIC_PORT must be a whole number .* not "http"/)
      assert.match(yield* problems({ SHAPELOG_PORT: "65536" }), /SHAPELOG_PORT/)
      assert.match(yield* problems({ SHAPELOG_DB_POOL_SIZE: "1" }), /SHAPELOG_DB_POOL_SIZE/)
      assert.match(yield* problems({ SHAPELOG_MANUAL_TABLE_PUBLISHING: "yes" }), /SHAPELOG_MANUAL_TABLE_PUBLISHING/)
      assert.match(yield* problems({ SHAPELOG_LOG_LEVEL: "loud" }), /SHAPELOG_LOG_LEVEL/)
      assert.match(yield* problems({ SHAPELOG_MAX_SHAPES: "0" }), /SHAPELOG_MAX_SHAPES/)
      for (const text of ["300", "{", "{\"initial\": -1}", "{\"existing\": \"x\"}"]) {
        assert.match(
          yield* problems({ ELECTRIC_MAX_CONCURRENT_REQUESTS: text }),
          /ELECTRIC_MAX_CONCURRENT_REQUESTS must be JSON/
        )
      }
      assert.match(yield* problems({ SHAPELOG_REPLICATION_STREAM_ID: "a-b" }), /SHAPELOG_REPLICATION_STREAM_ID/)
      assert.match(
        yield* problems({ SHAPELOG_REPLICATION_STREAM_ID: "a".repeat(60) }),
        /SHAPELOG_REPLICATION_STREAM_ID/
      )
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

  it("describes every variable", () => {
    assert.strictEqual(Config.variables.length, 20)
    assert.isTrue(Config.variables.every(({ description, name }) => description !== "" && /^[A-Z0-9_]+$/.test(name)))
    assert.isTrue(Option.isSome(Option.fromNullable(Config.variables.find(({ name }) => name === "SHAPELOG_INSECURE"))))
  })
})
