/**
 * Shapelog as a library: layers that an Effect application composes, and the services that they provide.
 *
 * `layer` is the engine on a database and a store; `ShapeEngine` is what it gives. `HttpServer.layer` serves it on a
 * port of its own.
 */
import { type ConfigError, Effect, Layer, type Redacted } from "effect"
import type { StorageError } from "./domain/Errors.ts"
import * as Engine from "./engine/Engine.ts"
import type { ShapeEngine } from "./engine/ShapeEngine.ts"
import { type HttpOptions } from "./http/HttpOptions.ts"
import { NodeServer } from "./http/NodeServer.ts"
import { ShapeRoutes } from "./http/ShapeRoutes.ts"
import * as Catalog from "./source/Catalog.ts"
import { Database } from "./source/Database.ts"
import * as Pools from "./source/Pools.ts"
import * as Publication from "./source/Publication.ts"
import * as ReplicationStream from "./source/ReplicationStream.ts"
import * as RowEvaluation from "./source/RowEvaluation.ts"
import * as SnapshotQuery from "./source/SnapshotQuery.ts"
import type { ShapeStorage } from "./storage/ShapeStorage.ts"
import * as ShapeStorageLmdb from "./storage/ShapeStorageLmdb.ts"

export * as Errors from "./domain/Errors.ts"
export * as LogOffset from "./domain/LogOffset.ts"
export * as Lsn from "./domain/Lsn.ts"
export type { ShapeDefinition, ShapeRequest, SubsetRequest } from "./domain/ShapeDefinition.ts"
export { EngineFailure } from "./engine/Engine.ts"
export {
  type LogBody,
  type LogSlice,
  type ShapeDescription,
  ShapeEngine,
  type ShapeInfo,
  type SubsetRows
} from "./engine/ShapeEngine.ts"
export { HttpOptions } from "./http/HttpOptions.ts"
export { NodeServer } from "./http/NodeServer.ts"
export { ShapeRoutes } from "./http/ShapeRoutes.ts"
export * as EmbeddedPostgres from "./source/EmbeddedPostgres.ts"
export { ShapeStorage } from "./storage/ShapeStorage.ts"
export * as ShapeStorageLmdb from "./storage/ShapeStorageLmdb.ts"
export * as ShapeStorageMemory from "./storage/ShapeStorageMemory.ts"

export interface ShapelogOptions extends Partial<Omit<Engine.EngineOptions, "serverVersion">> {
  /**
   * Connection URI of the database to follow; its user needs REPLICATION and must be able to alter the tables that are
   * synced.
   */
  readonly databaseUrl: Redacted.Redacted
  /** Connection URI for all but replication and publication: a pooler, for example. */
  readonly pooledDatabaseUrl?: Redacted.Redacted | undefined
  /** Most connections for queries; the replication connection comes on top. */
  readonly poolSize?: number
  /** Names publication, slot and lock: engines with different ids follow one database independently. */
  readonly streamId?: string
  /** Never alter the publication or a table's replica identity: the operator does. */
  readonly manualTablePublishing?: boolean
}

/** The engine on a database, with whatever store is provided. */
export const layerEngine = (
  options: ShapelogOptions
): Layer.Layer<ShapeEngine | Engine.EngineFailure, ConfigError.ConfigError | StorageError, ShapeStorage> => {
  const source = Layer.mergeAll(
    Catalog.layer,
    Publication.layer({ manual: options.manualTablePublishing ?? false }),
    ReplicationStream.layer,
    RowEvaluation.layer,
    SnapshotQuery.layer
  )
  const engine = Layer.unwrapEffect(
    Effect.map(Database, ({ serverVersion }) => Engine.layer({ ...Engine.defaults, ...options, serverVersion }))
  )
  const database = Pools.layer({
    url: options.databaseUrl,
    pooledUrl: options.pooledDatabaseUrl,
    poolSize: options.poolSize,
    streamId: options.streamId ?? "default"
  })
  return engine.pipe(Layer.provide(source), Layer.provide(database))
}

/** The engine on a database, with its store in a directory. */
export const layer = (
  options: ShapelogOptions & { readonly storageDirectory: string }
): Layer.Layer<ShapeEngine | Engine.EngineFailure, ConfigError.ConfigError | StorageError> =>
  layerEngine(options).pipe(Layer.provide(ShapeStorageLmdb.layer({ directory: options.storageDirectory })))

/** Serves the engine over HTTP on a port of its own; stops before the engine does. */
export const layerHttp: Layer.Layer<NodeServer, Layer.Layer.Error<typeof NodeServer.layer>, ShapeEngine | HttpOptions> =
  NodeServer.layer.pipe(
    Layer.provide(ShapeRoutes.layer)
  )
