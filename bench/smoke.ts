import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Logger, LogLevel, Redacted } from "effect"
import * as Engine from "../src/engine/Engine.ts"
import { HttpOptions } from "../src/http/HttpOptions.ts"
import { NodeServer } from "../src/http/NodeServer.ts"
import { ShapeRoutes } from "../src/http/ShapeRoutes.ts"
import * as Catalog from "../src/source/Catalog.ts"
import { Database } from "../src/source/Database.ts"
import * as Pools from "../src/source/Pools.ts"
import * as Publication from "../src/source/Publication.ts"
import * as ReplicationStream from "../src/source/ReplicationStream.ts"
import * as SnapshotQuery from "../src/source/SnapshotQuery.ts"
import * as Storage from "../src/storage/ShapeStorageLmdb.ts"

const source = Layer.mergeAll(
  Catalog.layer,
  Publication.layer({ manual: false }),
  ReplicationStream.layer,
  SnapshotQuery.layer
)
const engine = Layer.unwrapEffect(
  Effect.map(Database, (database) => Engine.layer({ ...Engine.defaults, serverVersion: database.serverVersion }))
)
const main = NodeServer.layer.pipe(
  Layer.provide(ShapeRoutes.layer),
  Layer.provide(engine),
  Layer.provide(source),
  Layer.provide(Storage.layer({ directory: process.env.STORE ?? "/tmp/smoke-store" })),
  Layer.provide(Pools.layer({ url: Redacted.make(process.env.DATABASE_URL!), streamId: "default" })),
  Layer.provide(HttpOptions.layer({ port: Number(process.env.PORT ?? 3300), insecure: true, host: "127.0.0.1" }))
)
NodeRuntime.runMain(Layer.launch(main).pipe(Logger.withMinimumLogLevel(LogLevel.Debug)))
