/**
 * A `ShapeEngine` in memory that a test writes the script of: shapes by table name, logs that are appended to, hooks that take
 * the place of a method, and counts of what is going on.
 */
import { type Context, Deferred, Effect, Layer, Option } from "effect"
import { type DatabaseUnavailable, InvalidRequest, ShapeGone, type StorageError } from "../../src/domain/Errors.ts"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import type { Lsn } from "../../src/domain/Lsn.ts"
import type { ShapeRequest, SubsetRequest } from "../../src/domain/ShapeDefinition.ts"
import {
  type EngineStatus,
  type LogBody,
  type LogSlice,
  ShapeEngine,
  type ShapeInfo
} from "../../src/engine/ShapeEngine.ts"

export interface FakeShape extends ShapeInfo {
  /** JSON items of each chunk of the snapshot. */
  readonly snapshot: ReadonlyArray<ReadonlyArray<string>>
  /** The live log, and after which of its entries a chunk ends. */
  readonly log: Array<{ readonly offset: LogOffset.LogOffset; readonly json: string; readonly chunkEnd: boolean }>
}

type Resolve = Effect.Effect<ShapeInfo, InvalidRequest | DatabaseUnavailable | StorageError>
type Subset = ReturnType<Context.Tag.Service<ShapeEngine>["subset"]>
type Read = ReturnType<Context.Tag.Service<ShapeEngine>["read"]>

/** The body of a slice that is in memory. */
export const readyBody = (items: ReadonlyArray<string>): LogBody => {
  const pieces = items.length === 0 ? [] : [Buffer.from(items.map((item) => `,${item}`).join(""))]
  return { ready: pieces, pull: pulling(pieces) }
}

/** The pieces one by one. */
export const pulling = (pieces: ReadonlyArray<Uint8Array>): LogBody["pull"] => {
  let next = 0
  return Effect.sync(() => Option.fromNullable(pieces[next++]))
}

const schema = "{\"id\":{\"type\":\"int4\",\"not_null\":true,\"pk_index\":0}}"
const snapshotEnd = "{\"headers\":{\"control\":\"snapshot-end\",\"xmin\":\"1\",\"xmax\":\"1\",\"xip_list\":[]}}"

class FakeEngineState {
  status: EngineStatus = "active"
  /** Whether reads are answered in one turn where they can be, as an engine does that has met the request before. */
  peeks = false
  peeked = 0
  lastSeenLsn = 0n
  /** Where the stream is, if shapes are not. */
  followedLsn: Lsn | undefined
  /** Shapes by handle, and which table name leads to which handle. */
  readonly shapes = new Map<string, FakeShape>()
  readonly byTable = new Map<string, string>()
  /** Take the place of a method when they return something. */
  onResolve: (request: ShapeRequest) => Resolve | undefined = () => undefined
  onRead: (handle: string, after: LogOffset.LogOffset) => Read | undefined = () => undefined
  onSubset: (handle: string, subset: SubsetRequest) => Subset | undefined = () => undefined
  resolved: Array<ShapeRequest> = []
  subsets: Array<SubsetRequest> = []
  reads = 0
  /** `awaitChange` and `awaitActive` calls that have not completed, and how many ever began. */
  readonly waits = new Set<{ readonly check: () => void }>()
  waitsBegun = 0
  private watchers = new Set<{ readonly until: () => boolean; readonly done: Deferred.Deferred<void> }>()
  private handles = 0

  /** Adds a shape under a table name, in the place of the one that was there. */
  define(
    table: string,
    snapshot: ReadonlyArray<ReadonlyArray<string>> = [[snapshotEnd]],
    info: Partial<ShapeInfo> = {}
  ) {
    const handle = info.handle ?? `${table}-${++this.handles}`
    const shape: FakeShape = { schema, snapshot, log: [], ...info, handle }
    this.shapes.set(handle, shape)
    this.byTable.set(table, handle)
    return shape
  }

  /** Adds one transaction of the given JSON items to a shape's log. */
  append(shape: FakeShape, tx: bigint, items: ReadonlyArray<string>, chunkEnd = false) {
    items.forEach((json, i) => {
      shape.log.push({ offset: { tx, op: 2 * i }, json, chunkEnd: chunkEnd && i === items.length - 1 })
    })
    if (tx > this.lastSeenLsn) this.lastSeenLsn = tx
    this.changed()
  }

  /** Removes a shape; its table name leads nowhere until it is defined again. */
  drop(shape: FakeShape) {
    this.shapes.delete(shape.handle)
    for (const [table, handle] of this.byTable) if (handle === shape.handle) this.byTable.delete(table)
    this.changed()
  }

  setStatus(status: EngineStatus) {
    this.status = status
    this.changed()
  }

  /** Wakes whom the present state concerns. */
  changed() {
    for (const wait of [...this.waits]) wait.check()
    for (const watcher of [...this.watchers]) {
      if (watcher.until()) {
        this.watchers.delete(watcher)
        Deferred.unsafeDone(watcher.done, Effect.void)
      }
    }
  }

  /** Completes when the condition holds; it is looked at whenever a wait begins or ends, and on every change. */
  until(condition: () => boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (condition()) return Effect.void
      return Effect.flatMap(Deferred.make<void>(), (done) => {
        this.watchers.add({ until: condition, done })
        return Deferred.await(done)
      })
    })
  }

  wait<E>(poll: () => Effect.Effect<void, E> | undefined): Effect.Effect<void, E> {
    return Effect.async((resume) => {
      const now = poll()
      this.waitsBegun++
      if (now !== undefined) {
        this.changed()
        return resume(now)
      }
      const wait = {
        check: () => {
          const outcome = poll()
          if (outcome === undefined) return
          this.waits.delete(wait)
          resume(outcome)
        }
      }
      this.waits.add(wait)
      this.changed()
      return Effect.sync(() => {
        this.waits.delete(wait)
        this.changed()
      })
    })
  }

  end(shape: FakeShape): LogOffset.LogOffset {
    return shape.log.at(-1)?.offset ?? LogOffset.snapshotEnd
  }

  slice(shape: FakeShape, after: LogOffset.LogOffset): LogSlice {
    const { lastSeenLsn } = this
    const chunk = after.tx < 0n ? 0 : LogOffset.isSnapshotChunk(after) ? after.op + 1 : Infinity
    const rows = shape.snapshot[chunk]
    if (rows !== undefined) {
      return { end: LogOffset.snapshotChunk(chunk), upToDate: false, lastSeenLsn, body: readyBody(rows) }
    }
    const from = LogOffset.isSnapshotChunk(after) ? LogOffset.snapshotEnd : after
    const last = this.end(shape)
    if (LogOffset.lessThan(last, from)) return { end: last, upToDate: false, lastSeenLsn, body: readyBody([]) }
    const entries = shape.log.filter(({ offset }) => LogOffset.lessThan(from, offset))
    const boundary = entries.findIndex(({ chunkEnd }) => chunkEnd)
    const taken = boundary === -1 ? entries : entries.slice(0, boundary + 1)
    const end = taken.at(-1)?.offset ?? last
    return {
      end,
      upToDate: LogOffset.equals(end, last),
      lastSeenLsn,
      body: readyBody(taken.map(({ json }) => json))
    }
  }
}

export type FakeEngine = FakeEngineState

export const make = () => {
  const state = new FakeEngineState()
  const shapeOf = (handle: string) => {
    const shape = state.shapes.get(handle)
    return shape === undefined ? new ShapeGone({ handle }) : Effect.succeed(shape)
  }
  const engine = ShapeEngine.of({
    status: Effect.sync(() => state.status),
    awaitActive: state.wait(() => (state.status === "active" ? Effect.void : undefined)),
    resolve: (request) =>
      Effect.suspend(() => {
        state.resolved.push(request)
        const scripted = state.onResolve(request)
        if (scripted !== undefined) return scripted
        const handle = state.byTable.get(request.table)
        const shape = handle === undefined ? undefined : state.shapes.get(handle)
        return shape === undefined
          ? InvalidRequest.of("table", `Table "public"."${request.table}" does not exist.`)
          : Effect.succeed(shape)
      }),
    find: (request) =>
      Effect.sync(() => {
        const handle = state.byTable.get(request.table)
        return Option.fromNullable(handle === undefined ? undefined : state.shapes.get(handle))
      }),
    subset: (handle, subset) =>
      Effect.suspend(() => {
        state.subsets.push(subset)
        const marks = { xmin: 7n, xmax: 9n, xip: [8n], lsn: 26801000n }
        return state.onSubset(handle, subset) ??
          Effect.map(shapeOf(handle), () => ({ marks, mark: 1304557, body: readyBody(["{\"row\":1}"]) }))
      }),
    exists: (handle) => state.shapes.has(handle),
    read: (handle, after) =>
      Effect.suspend(() => {
        state.reads++
        return state.onRead(handle, after) ?? Effect.map(shapeOf(handle), (shape) => state.slice(shape, after))
      }),
    unsafePeek: (request, after) => {
      const handle = state.byTable.get(request.table)
      const shape = handle === undefined ? undefined : state.shapes.get(handle)
      if (shape === undefined || !state.peeks || state.status !== "active") return undefined
      state.peeked++
      return { shape, slice: state.slice(shape, after) }
    },
    end: (handle) => Effect.map(Effect.suspend(() => shapeOf(handle)), (shape) => state.end(shape)),
    awaitChange: (handle, after) =>
      state.wait<ShapeGone>(() => {
        const shape = state.shapes.get(handle)
        if (shape === undefined) return new ShapeGone({ handle })
        return LogOffset.lessThan(after, state.end(shape)) ? Effect.void : undefined
      }),
    followedLsn: Effect.sync(() => state.followedLsn ?? state.lastSeenLsn),
    lastSeenLsn: (handle) => Effect.map(Effect.suspend(() => shapeOf(handle)), () => state.lastSeenLsn),
    describe: (handle) =>
      Effect.map(
        Effect.suspend(() => shapeOf(handle)),
        () => ({ handle, table: "public.items", columns: [], where: undefined })
      ),
    remove: (handle) => Effect.map(Effect.suspend(() => shapeOf(handle)), (shape) => state.drop(shape))
  })
  return { state, engine, layer: Layer.succeed(ShapeEngine, engine) }
}
