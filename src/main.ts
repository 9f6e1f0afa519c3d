#!/usr/bin/env node
/**
 * The server: reads its settings from the environment, starts a Postgres of its own when it is given none, and serves
 * until it is told to stop.
 */
import { NodeRuntime } from "@effect/platform-node"
import { type ConfigError, Console, Duration, Effect, Layer, Logger, Redacted } from "effect"
import { EngineFailure } from "./engine/Engine.ts"
import { HttpOptions } from "./http/HttpOptions.ts"
import { NodeServer } from "./http/NodeServer.ts"
import { layer, layerEngine, layerHttp, ShapeStorageMemory } from "./index.ts"
import * as Config from "./ops/Config.ts"
import * as Demo from "./source/Demo.ts"
import * as EmbeddedPostgres from "./source/EmbeddedPostgres.ts"

const embedded = Effect.gen(function*() {
  yield* Effect.logInfo("DATABASE_URL is not set: starting an embedded Postgres on .shapelog/postgres")
  const { died, url } = yield* EmbeddedPostgres.start({ directory: ".shapelog/postgres", preferredPort: 54329 })
  yield* Demo.seed(url)
  return { url, died, table: Demo.DEMO_TABLE }
})

const serve = Effect.gen(function*() {
  const settings = yield* Config.settings
  const { died, table, url } = settings.databaseUrl
    ? { url: settings.databaseUrl, died: Effect.never, table: undefined }
    : yield* embedded
  const secret = settings.secret && Redacted.value(settings.secret)
  const engineOptions = {
    databaseUrl: url,
    pooledDatabaseUrl: settings.pooledDatabaseUrl,
    poolSize: settings.poolSize,
    streamId: settings.streamId,
    manualTablePublishing: settings.manualTablePublishing,
    chunkBytes: settings.chunkBytes,
    maxShapes: settings.maxShapes,
    idleMillis: Duration.toMillis(settings.shapeIdle),
    reconcileMillis: Duration.toMillis(settings.reconcilePeriod)
  }
  const { storageDirectory } = settings
  const engine = storageDirectory === undefined
    ? Layer.provide(layerEngine(engineOptions), ShapeStorageMemory.layer)
    : layer({ ...engineOptions, storageDirectory })
  const options = HttpOptions.layer({
    port: settings.port,
    ...(settings.host !== undefined && { host: settings.host }),
    longPollTimeoutMs: Duration.toMillis(settings.longPollTimeout),
    sseTimeoutMs: Duration.toMillis(settings.sseTimeout),
    sseKeepAliveMs: Duration.toMillis(settings.sseKeepAlive),
    readyTimeoutMs: Duration.toMillis(settings.readyTimeout),
    cacheMaxAge: Duration.toSeconds(settings.cacheMaxAge),
    cacheStaleAge: Duration.toSeconds(settings.cacheStaleAge),
    maxConcurrentRequests: settings.maxConcurrentRequests,
    compressionCacheBytes: settings.compressionCacheBytes,
    maxRequestBodyBytes: settings.maxRequestBodyBytes,
    headersTimeoutMs: Duration.toMillis(settings.tcpHeadersTimeout),
    drainTimeoutMs: Duration.toMillis(settings.drainTimeout),
    keepAliveTimeoutMs: Duration.toMillis(settings.tcpReadTimeout),
    sendTimeoutMs: Duration.toMillis(settings.tcpSendTimeout),
    allowDelete: settings.allowDelete,
    secret,
    insecure: secret === undefined
  })
  const announce = Effect.gen(function*() {
    const { address } = yield* NodeServer
    const host = address.address === "127.0.0.1" ? "127.0.0.1" : address.address === "::1" ? "[::1]" : "localhost"
    const base = `http://${host}:${address.port}`
    for (const notice of settings.notices) yield* Effect.logInfo(notice)
    const unknown = Config.unknown(Object.keys(process.env))
    if (unknown.length > 0) yield* Effect.logWarning(`no settings, misspelt perhaps: ${unknown.join(", ")}`)
    yield* Console.log(`Shapelog listens on ${base}`)
    if (table === undefined) return
    yield* Console.log(`  Postgres:      psql '${Redacted.value(url)}'`)
    yield* Console.log(
      `  A first look:  curl '${base}/v1/shape?table=${table}&offset=-1${secret ? "&secret=<SHAPELOG_SECRET>" : ""}'`
    )
  })
  const running = Effect.andThen(announce, Effect.raceFirst(Effect.flatten(EngineFailure), died))
  return yield* running.pipe(Effect.provide(layerHttp.pipe(Layer.provideMerge(engine), Layer.provide(options))))
})

const explain = (error: ConfigError.ConfigError) =>
  Effect.forEach(Config.explain(error), (line) => Console.error(`shapelog: ${line}`), { discard: true })

const main = Config.settings.pipe(
  Effect.map(({ logLevel }) => Logger.minimumLogLevel(logLevel)),
  Effect.flatMap((logLevel) => Effect.scoped(serve).pipe(Effect.provide(logLevel))),
  Effect.tapErrorTag("ConfigError", explain)
)
NodeRuntime.runMain(main)
