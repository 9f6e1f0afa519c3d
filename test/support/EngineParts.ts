/**
 * The engine's inner parts without a source: consumers, committer and reader over a store that fails and stalls on command.
 */
import { Context, Effect, Exit, HashMap, Layer, Ref, Scope } from "effect"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import * as Projection from "../../src/domain/Projection.ts"
import type { Relation } from "../../src/domain/Relation.ts"
import type { ShapeDefinition } from "../../src/domain/ShapeDefinition.ts"
import { tuple } from "../../src/domain/WalMessage.ts"
import { RowChange, type Transaction } from "../../src/engine/Changes.ts"
import * as Committer from "../../src/engine/Committer.ts"
import type * as Consumer from "../../src/engine/Consumer.ts"
import * as Consumers from "../../src/engine/Consumers.ts"
import * as MemoryBudget from "../../src/engine/MemoryBudget.ts"
import { ShapeEntry } from "../../src/engine/ShapeCatalog.ts"
import * as ShapeReader from "../../src/engine/ShapeReader.ts"
import { ShapeStorage } from "../../src/storage/ShapeStorage.ts"
import { layerFrom, makeState, type MemoryState } from "../../src/storage/ShapeStorageMemory.ts"
import { bodyText, tableOf } from "./EngineWorld.ts"
import { FaultyStorage, layer as faultyLayer } from "./FaultyStorage.ts"

const items = tableOf(10, "items", ["id", "title"])

export const definition: ShapeDefinition = {
  tableOid: items.oid,
  schema: items.schema,
  table: items.name,
  keyColumns: ["id"],
  hasPrimaryKey: true,
  columns: items.columns.map(({ name, typeOid }) => ({ name, typeOid })),
  explicitColumns: false,
  where: undefined,
  replica: "default",
  log: "full"
}

export const relation: Relation = {
  oid: items.oid,
  schema: items.schema,
  name: items.name,
  replicaIdentity: "f",
  columns: items.columns.map(({ name, typeModifier, typeOid }) => ({ name, typeOid, typeModifier, key: true }))
}

export const transactionAt = (lsn: bigint): Transaction => ({ lsn, lsnText: String(lsn), xid: Number(lsn) })

/** Inserts rows `<lsn>.<op>`; a fragment of a transaction, its last one unless `commit` is false. */
export const fragment = (transaction: Transaction, rows: number, from = 0, commit = true): Consumer.Fragment => ({
  transaction,
  changes: Array.from({ length: rows }, (_, i) =>
    new RowChange(
      { _tag: "Insert", relation, row: tuple([`${transaction.lsn}.${from + i}`, "x"]) },
      transaction,
      2 * (from + i)
    )),
  actions: Array.from({ length: rows }, () => "insert" as const),
  broken: undefined,
  commit
})

export const fragments = (...all: ReadonlyArray<Consumer.Fragment>): Consumer.Work => ({
  _tag: "Fragments",
  fragments: all,
  bytes: 100
})

/** Whole transactions of `rows` rows each. */
export const transactions = (rows: number, ...lsns: ReadonlyArray<bigint>): Consumer.Work =>
  fragments(...lsns.map((lsn) => fragment(transactionAt(lsn), rows)))

/** A change that can't be encoded: its relation lacks a column. */
export const poison = (lsn: bigint): Consumer.Work => {
  const transaction = transactionAt(lsn)
  const broken: Relation = { ...relation, columns: relation.columns.slice(0, 1) }
  return fragments({
    ...fragment(transaction, 0),
    changes: [new RowChange({ _tag: "Insert", relation: broken, row: tuple(["1"]) }, transaction, 0)],
    actions: ["insert"]
  })
}

export interface PartsOptions {
  readonly groupMillis?: number
  readonly idleMillis?: number
  readonly chunkBytes?: number
  /** What the store has at the beginning. */
  readonly state?: MemoryState
  /** Put in the registry's place. */
  readonly registry?: (registry: Consumer.Registry) => Consumer.Registry
}

export const makeParts = Effect.fnUntraced(function*(options: PartsOptions = {}) {
  const state = options.state ?? makeState()
  const services = yield* Layer.build(Layer.provide(faultyLayer, layerFrom(state)))
  const storage = Context.get(services, ShapeStorage)
  const faults = Context.get(services, FaultyStorage)
  const budget = MemoryBudget.make(1 << 20)
  const committer = yield* Committer.make(storage, budget, undefined, {
    groupMillis: options.groupMillis ?? 3,
    groupBytes: 1 << 20,
    idleMillis: 1000
  })
  const entry = new ShapeEntry(
    { id: 1, handle: "handle", definition, snapshot: { marks: { xmin: 1n, xmax: 1n, xip: [], lsn: 0n }, chunks: [1] } },
    undefined,
    Projection.make(definition),
    "{}"
  )
  // A test that fails leaves gates closed, and nothing could end.
  yield* Effect.addFinalizer(() =>
    Effect.all([faults.commits.open, faults.completions.open, faults.flushes.open, faults.reads.open, faults.heal])
  )
  const failures: Array<unknown> = []
  const scope = yield* Scope.make()
  const context: Omit<Consumer.ConsumerContext, "registry"> = {
    committer,
    storage,
    budget,
    chunkBytes: options.chunkBytes ?? 1 << 20,
    now: () => 0,
    flushMillis: 5000,
    unsafeRotate: (entry) => entry.markRemoved()
  }
  const consumers = yield* Consumers.make(
    { ...context, now: (yield* Effect.clock).unsafeCurrentTimeMillis.bind(yield* Effect.clock) },
    { idleMillis: options.idleMillis ?? 1000 },
    (entry, cause) =>
      Effect.sync(() => {
        failures.push(cause)
        entry.markRemoved()
      })
  ).pipe(Scope.extend(scope))
  const registry = consumers.registry
  const reader = ShapeReader.make({ registry, storage, lastSeen: () => 0n })
  return {
    state,
    storage,
    faults,
    budget,
    committer,
    entry,
    context,
    consumers,
    failures,
    reader,
    stopConsumers: Scope.close(scope, Exit.void)
  }
})

export type Parts = Effect.Effect.Success<ReturnType<typeof makeParts>>

/** Offers work and completes when it is done. */
export const offer = (consumer: Consumer.Consumer, work: Consumer.Work): Effect.Effect<void> =>
  Effect.async<void>((resume) => consumer.unsafeOffer(work, () => resume(Effect.void)))

/** Row keys of a log's text, in order. */
export const keysOf = (text: string): ReadonlyArray<string> =>
  (text === "" ? [] : JSON.parse(`[${text.slice(1)}]`) as ReadonlyArray<{ readonly value: { readonly id: string } }>)
    .map(({ value }) => value.id)

export const keys = (rows: number, ...lsns: ReadonlyArray<bigint>): ReadonlyArray<string> =>
  lsns.flatMap((lsn) => Array.from({ length: rows }, (_, i) => `${lsn}.${i}`))

/** All that a reader can see after an offset, as row keys. */
export const readKeys = Effect.fnUntraced(function*(
  reader: ShapeReader.ShapeReader,
  entry: ShapeEntry,
  after: LogOffset.LogOffset = LogOffset.snapshotEnd
) {
  const slice = yield* reader.read(entry, after)
  return keysOf(yield* bodyText(slice.body))
})

/** The rows that the store alone has of the log, committed or not. */
export const storedKeys = (state: ReturnType<typeof makeState>): ReadonlyArray<string> => {
  const read = ShapeReader.make({
    registry: Ref.unsafeMake(HashMap.empty<string, Consumer.Consumer>()),
    storage: Effect.runSync(Effect.provide(ShapeStorage, layerFrom(state))),
    lastSeen: () => 0n
  })
  const shape = state.shapes.get(1)
  const entry = new ShapeEntry(
    { id: 1, handle: "handle", definition, snapshot: { marks: { xmin: 1n, xmax: 1n, xip: [], lsn: 0n }, chunks: [1] } },
    shape?.head,
    Projection.make(definition),
    "{}"
  )
  return Effect.runSync(readKeys(read, entry))
}
