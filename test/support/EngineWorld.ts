/**
 * A simulated Postgres for the engine: tables, transactions, a WAL, a slot, snapshots. Nothing in it takes time or happens by itself; the WAL
 * is delivered in pieces of the test's choosing, and connections break when they are told to.
 */
import { Context, Effect, Either, Exit, Layer, Option, Scope } from "effect"
import { DatabaseUnavailable, type SnapshotFailed } from "../../src/domain/Errors.ts"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import type { Lsn } from "../../src/domain/Lsn.ts"
import type { SnapshotMarks } from "../../src/domain/PgSnapshot.ts"
import { type ColumnInfo, type Relation, type TableInfo } from "../../src/domain/Relation.ts"
import type { ShapeRequest } from "../../src/domain/ShapeDefinition.ts"
import type { CopyRows } from "../../src/domain/SnapshotEncoder.ts"
import { type RowMessage, tuple, type WalMessage } from "../../src/domain/WalMessage.ts"
import * as Engine from "../../src/engine/Engine.ts"
import { type LogBody, ShapeEngine } from "../../src/engine/ShapeEngine.ts"
import { Catalog } from "../../src/source/Catalog.ts"
import { Publication } from "../../src/source/Publication.ts"
import { ReplicationError, ReplicationStream } from "../../src/source/ReplicationStream.ts"
import { RowEvaluation, type RowVerdict } from "../../src/source/RowEvaluation.ts"
import { SnapshotQuery } from "../../src/source/SnapshotQuery.ts"
import { ShapeStorage } from "../../src/storage/ShapeStorage.ts"
import { crashed, layerFrom, makeState, type MemoryState } from "../../src/storage/ShapeStorageMemory.ts"
import { FaultyStorage, type Gate, layer as faultyLayer, makeGate } from "./FaultyStorage.ts"
import { evaluate, strange } from "./SmallSql.ts"
import { smallSqlCatalog } from "./SmallSqlCatalog.ts"

export type Row = Readonly<Record<string, string | null>>

export type Change =
  | { readonly _tag: "Insert"; readonly table: string; readonly row: Row }
  | { readonly _tag: "Update"; readonly table: string; readonly old: Row; readonly row: Row }
  | { readonly _tag: "Delete"; readonly table: string; readonly old: Row }
  | { readonly _tag: "Truncate"; readonly tables: ReadonlyArray<string> }
  /** Changes nothing, and nobody can make anything of it: it lacks columns of its table, or the old row. */
  | { readonly _tag: "Broken"; readonly table: string; readonly lacks: "columns" | "old" }

export const insert = (table: string, row: Row): Change => ({ _tag: "Insert", table, row })
export const update = (table: string, old: Row, row: Row): Change => ({ _tag: "Update", table, old, row })
export const remove = (table: string, old: Row): Change => ({ _tag: "Delete", table, old })
export const broken = (table: string, lacks: "columns" | "old"): Change => ({ _tag: "Broken", table, lacks })
export const truncate = (...tables: ReadonlyArray<string>): Change => ({ _tag: "Truncate", tables })

export interface Transaction {
  readonly lsn: Lsn
  readonly endLsn: Lsn
  readonly xid: number
  readonly changes: ReadonlyArray<Change>
}

const column = (name: string, i: number, typeOid = 25, typeName = "text"): ColumnInfo => ({
  name,
  position: i + 1,
  typeOid,
  typeName,
  typeSchema: "pg_catalog",
  typeKind: "b",
  elementType: undefined,
  dimensions: 0,
  typeModifier: -1,
  notNull: i === 0,
  generated: "none",
  keyIndex: i === 0 ? 0 : undefined,
  deterministic: true,
  collation: typeOid === 25 ? 100 : 0
})

/** A table whose first column is its primary key; all columns are text. */
export const tableOf = (oid: number, name: string, columns: ReadonlyArray<string>): TableInfo => ({
  oid,
  schema: "public",
  name,
  kind: "table",
  columns: columns.map((name, i) => column(name, i)),
  primaryKey: [columns[0]!],
  partitions: [],
  ancestors: []
})

const relationOf = (table: TableInfo): Relation => ({
  oid: table.oid,
  schema: table.schema,
  name: table.name,
  replicaIdentity: "f",
  columns: table.columns.map(({ name, typeModifier, typeOid }) => ({ name, typeOid, typeModifier, key: true }))
})

const tupleOf = (table: TableInfo, row: Row) => tuple(table.columns.map(({ name }) => row[name] ?? null))

/** A request for all of a table, unless told otherwise. */
export const request = (table: string, rest: Partial<ShapeRequest> = {}): ShapeRequest => ({
  table,
  where: undefined,
  params: [],
  columns: undefined,
  replica: "default",
  log: "full",
  ...rest
})

/** A constant as it is printed, read back. */
const literalOf = (sql: string): string => {
  const text = /^\(*'((?:[^']|'')*)'::/.exec(sql)?.[1]
  if (text === undefined) throw new Error(`the simulated database does not understand ${sql}`)
  return text.replaceAll("''", "'")
}

const lost = new ReplicationError({ operation: "pull", retryable: true, cause: new Error("the connection was lost") })

/**
 * Where a query of rows is: before its snapshot, between that and the WAL position that goes with it, before rows, and before it is told that
 * there are no more.
 */
export interface QueryStep {
  /** Counts the queries. */
  readonly query: number
  readonly table: string
  /** For a shape with subqueries. */
  readonly isNode: boolean
  readonly at: "snapshot" | "marks" | "rows" | "end"
}

/** One connection's view of the WAL, as messages. */
interface Connection {
  /** Messages that have not been handed over, in order. */
  readonly messages: Array<WalMessage>
  /** Batches that the next pulls get. */
  readonly batches: Array<ReadonlyArray<WalMessage>>
  readonly known: Map<string, Relation>
  broken: ReplicationError | undefined
  started: boolean
  waiting: ((result: Effect.Effect<ReadonlyArray<WalMessage>, ReplicationError>) => void) | undefined
}

/** A transaction that has not committed, or whose commit is in the WAL while snapshots do not see it yet. */
interface Unseen {
  readonly xid: bigint
  readonly changes: ReadonlyArray<Change>
}

export class Source {
  readonly tables = new Map<string, TableInfo>()
  /** What a snapshot sees, by table and key. */
  readonly rows = new Map<string, Map<string, Row>>()
  readonly wal: Array<Transaction> = []
  readonly unseen = new Set<Unseen>()
  systemId = "1"
  slotCreated = true
  slot = "slot"
  confirmed: Lsn = 1000n
  /** What was confirmed, in order. */
  readonly confirms: Array<Lsn> = []
  lsn: Lsn = 1000n
  nextXid = 700n
  /** With true, a pull gets everything that there is; else only what `deliver` has handed over. */
  automatic = true
  rowsPerPull = 2
  connection: Connection | undefined
  connects = 0
  snapshots = 0
  failSnapshot: SnapshotFailed | undefined
  /** With true, a query whose rows the engine judges itself gets all of the table's: its condition may let through too much. */
  broad = false
  /** Called at each step of each query; the query goes on when it completes. */
  atStep: (step: QueryStep) => Effect.Effect<void> = () => Effect.void
  readonly beforeMarks = makeGate()
  readonly beforeRows = makeGate()
  /** Times that Postgres was asked about rows, and how many of the next times it can't be reached. */
  evaluations = 0
  failEvaluations = 0
  readonly beforeVerdicts = makeGate()
  readonly publishing = makeGate()
  readonly catalogGate = makeGate()
  /** Before a clause is accepted. */
  readonly checking = makeGate()

  constructor(...tables: ReadonlyArray<TableInfo>) {
    for (const table of tables) this.createTable(table)
  }

  createTable(table: TableInfo): void {
    this.tables.set(table.name, table)
    if (!this.rows.has(table.name)) this.rows.set(table.name, new Map())
  }

  // --- Writing ---

  private see(changes: ReadonlyArray<Change>): void {
    for (const change of changes) {
      if (change._tag === "Truncate") {
        for (const table of change.tables) this.rows.get(table)!.clear()
        continue
      }
      if (change._tag === "Broken") continue
      const rows = this.rows.get(change.table)!
      const key = this.tables.get(change.table)!.primaryKey[0]!
      if (change._tag !== "Insert") rows.delete(change.old[key]!)
      if (change._tag !== "Delete") rows.set(change.row[key]!, change.row)
    }
  }

  /** Begins a transaction that snapshots list as in progress until it is `seen`. */
  begin(changes: ReadonlyArray<Change>, xid = this.nextXid++): Unseen {
    const unseen = { xid, changes }
    this.unseen.add(unseen)
    return unseen
  }

  /** Writes the commit to the WAL. */
  commit(unseen: Unseen, lsn = this.lsn + 16n): Transaction {
    this.lsn = lsn + 8n
    const transaction = { lsn, endLsn: lsn + 8n, xid: Number(unseen.xid & 0xffffffffn), changes: unseen.changes }
    this.wal.push(transaction)
    const { connection } = this
    if (connection?.started) this.render(connection, transaction)
    this.serve()
    return transaction
  }

  /** From now on snapshots see it. */
  seen(unseen: Unseen): void {
    this.unseen.delete(unseen)
    this.see(unseen.changes)
  }

  /** A whole transaction at once. */
  transaction(...changes: ReadonlyArray<Change>): Transaction {
    const unseen = this.begin(changes)
    const transaction = this.commit(unseen)
    this.seen(unseen)
    return transaction
  }

  marks(): SnapshotMarks {
    const xip = [...this.unseen].map(({ xid }) => xid).sort((a, b) => (a < b ? -1 : 1))
    return { xmin: xip[0] ?? this.nextXid, xmax: this.nextXid, xip, lsn: this.lsn }
  }

  // --- Streaming ---

  private render(connection: Connection, { changes, endLsn, lsn, xid }: Transaction): void {
    const { messages } = connection
    messages.push({ _tag: "Begin", lsn, xid })
    const relationTo = (name: string): Relation => {
      const table = this.tables.get(name)!
      const known = connection.known.get(name)
      if (known && known.columns.length === table.columns.length) return known
      const relation = relationOf(table)
      connection.known.set(name, relation)
      messages.push({ _tag: "Relation", relation })
      return relation
    }
    for (const change of changes) {
      if (change._tag === "Truncate") {
        messages.push({ _tag: "Truncate", relations: change.tables.map(relationTo) })
        continue
      }
      const relation = relationTo(change.table)
      const table = this.tables.get(change.table)!
      if (change._tag === "Broken") {
        const columns = relation.columns.slice(1)
        const row = tuple(columns.map(() => "broken"))
        messages.push(
          change.lacks === "columns"
            ? { _tag: "Insert", relation: { ...relation, columns }, row }
            : { _tag: "Update", relation, old: undefined, oldIsFull: false, row: tupleOf(table, {}) }
        )
        continue
      }
      const message: RowMessage = change._tag === "Insert"
        ? { _tag: "Insert", relation, row: tupleOf(table, change.row) }
        : change._tag === "Delete"
        ? { _tag: "Delete", relation, old: tupleOf(table, change.old), oldIsFull: true }
        : {
          _tag: "Update",
          relation,
          old: tupleOf(table, change.old),
          oldIsFull: true,
          row: tupleOf(table, change.row)
        }
      messages.push(message)
    }
    messages.push({ _tag: "Commit", lsn, endLsn })
  }

  private serve(): void {
    const { connection } = this
    if (!connection?.waiting) return
    if (connection.broken) {
      const resume = connection.waiting
      connection.waiting = undefined
      return resume(Effect.fail(connection.broken))
    }
    if (this.automatic && connection.messages.length > 0) connection.batches.push(connection.messages.splice(0))
    const batch = connection.batches.shift()
    if (!batch) return
    const resume = connection.waiting
    connection.waiting = undefined
    resume(Effect.succeed(batch))
  }

  /** Hands over the next `n` messages as what one pull gets. Returns how many are left. */
  deliver(n = Infinity): number {
    const { connection } = this
    if (!connection) return 0
    const batch = connection.messages.splice(0, n)
    if (batch.length > 0) connection.batches.push(batch)
    this.serve()
    return connection.messages.length
  }

  keepalive(walEnd = this.lsn): void {
    if (!this.connection?.started) return
    this.connection.messages.push({ _tag: "Keepalive", walEnd })
    this.serve()
  }

  /** Breaks the connection; what it had not handed over will come again on the next one. */
  disconnect(error: ReplicationError = lost): void {
    const { connection } = this
    if (!connection) return
    connection.broken = error
    connection.batches.length = 0
    this.serve()
  }

  /** Whether the engine has taken all that there is and waits for more. */
  get drained(): boolean {
    const { connection } = this
    return connection?.waiting !== undefined && connection.batches.length === 0 && connection.messages.length === 0
  }

  private readonly connect = Effect.acquireRelease(
    Effect.sync(() => {
      this.connects += 1
      const connection: Connection = {
        messages: [],
        batches: [],
        known: new Map(),
        broken: undefined,
        started: false,
        waiting: undefined
      }
      this.connection = connection
      return connection
    }),
    (connection) =>
      Effect.sync(() => {
        connection.broken ??= lost
        if (this.connection === connection) this.connection = undefined
      })
  ).pipe(Effect.map((connection) => {
    const { slotCreated } = this
    this.slotCreated = false
    return {
      systemId: this.systemId,
      timeline: 1,
      slot: this.slot,
      slotCreated,
      confirmedFlush: this.confirmed,
      start: (from: Lsn) =>
        Effect.sync(() => {
          const first = from > this.confirmed ? from : this.confirmed
          for (const transaction of this.wal) if (transaction.lsn >= first) this.render(connection, transaction)
          connection.started = true
        }),
      pull: Effect.async<ReadonlyArray<WalMessage>, ReplicationError>((resume) => {
        connection.waiting = resume
        this.serve()
        return Effect.sync(() => {
          connection.waiting = undefined
        })
      }),
      confirm: (flushed: Lsn) =>
        Effect.sync(() => {
          if (connection.broken) return
          this.confirms.push(flushed)
          if (flushed > this.confirmed) this.confirmed = flushed
        })
    }
  }))

  // --- Snapshots ---

  /** `strange(v)` of `SmallSqlCatalog`: true for values that begin with s, an error for `error`. */
  private readonly evaluateRows: RowEvaluation["Type"]["evaluate"] = ({ expressions, rows }) =>
    Effect.gen(this, function*() {
      this.evaluations += 1
      yield* this.beforeVerdicts.pass
      if (this.failEvaluations > 0) {
        this.failEvaluations -= 1
        return yield* new DatabaseUnavailable({ operation: "evaluating rows", cause: "gone" })
      }
      const verdict = (value: string | null): RowVerdict =>
        value === "error" ? { error: "it is strange" } : strange(value)
      return rows.map(([value]) => expressions.map(() => verdict(value ?? null)))
    })

  private readonly openSnapshot: SnapshotQuery["Type"]["open"] = (select) =>
    Effect.gen(this, function*() {
      this.snapshots += 1
      const query = this.snapshots
      const { table } = select
      const isNode = select.fields !== undefined
      yield* this.beforeMarks.pass
      yield* this.atStep({ query, table, isNode, at: "snapshot" })
      if (this.failSnapshot) return yield* this.failSnapshot
      const snapshot = this.marks()
      const seen = new Map([...this.rows].map(([name, rows]) => [name, [...rows.values()]] as const))
      const tables = (name: string) => seen.get(name) ?? []
      yield* this.atStep({ query, table, isNode, at: "marks" })
      const marks: SnapshotMarks = { ...snapshot, lsn: this.lsn }
      // As with Postgres, the condition is asked for with the first rows.
      let rows: ReadonlyArray<Row> | undefined
      const find = () => {
        const where = typeof select.where === "function" ? select.where() : select.where
        const isBroad = this.broad && isNode
        return tables(table).filter((row) => isBroad || evaluate(where, row, tables) === true)
      }
      const fieldOf = (row: Row, sql: string): string | null => {
        const value = evaluate(sql, row, tables)
        return typeof value === "boolean" ? (value ? "t" : "f") : value
      }
      let at = 0
      return {
        marks,
        pull: Effect.zipRight(
          Effect.zipRight(
            this.beforeRows.pass,
            Effect.suspend(() => this.atStep({ query, table, isNode, at: rows && at >= rows.length ? "end" : "rows" }))
          ),
          Effect.suspend(() => {
            if (this.failSnapshot) return Effect.fail(this.failSnapshot)
            rows ??= select.rows ? find() : []
            if (at >= rows.length) return Effect.succeedNone
            const some = rows.slice(at, at + this.rowsPerPull)
            at += some.length
            return Effect.succeedSome(copyRows(some.map((row) => [
              ...select.columns.map((name) => row[name] ?? null),
              ...(select.fields ?? []).map((sql) => fieldOf(row, sql))
            ])))
          })
        )
      }
    })

  readonly layer: Layer.Layer<
    Catalog | Publication | ReplicationStream | RowEvaluation | SnapshotQuery
  > = Layer.succeedContext(
    Context.make(ReplicationStream, ReplicationStream.of({ connect: this.connect })).pipe(
      Context.add(SnapshotQuery, SnapshotQuery.of({ open: this.openSnapshot })),
      Context.add(RowEvaluation, RowEvaluation.of({ evaluate: this.evaluateRows })),
      Context.add(Publication, Publication.of({ ensure: () => this.publishing.pass })),
      Context.add(
        Catalog,
        Catalog.of({
          table: (_, name) =>
            Effect.zipRight(this.catalogGate.pass, Effect.sync(() => Option.fromNullable(this.tables.get(name)))),
          tableByOid: (oid) =>
            Effect.zipRight(
              this.catalogGate.pass,
              Effect.sync(() => Option.fromNullable([...this.tables.values()].find((table) => table.oid === oid)))
            ),
          forget: () => Effect.void,
          sql: Effect.succeed(smallSqlCatalog),
          forgetSql: Effect.void,
          evaluate: (expressions) => Effect.succeed(expressions.map((sql) => Either.right(literalOf(sql)))),
          check: () => Effect.as(this.checking.pass, Either.void)
        })
      )
    )
  )
}

const copyRows = (rows: ReadonlyArray<ReadonlyArray<string | null>>): CopyRows => {
  const lines = rows.map((row) => `${row.map((value) => value ?? "\\N").join("\t")}\n`)
  const bounds = new Int32Array(rows.length * 2)
  let at = 0
  lines.forEach((line, i) => {
    bounds[2 * i] = at
    at += Buffer.byteLength(line)
    bounds[2 * i + 1] = at
  })
  return { bytes: Buffer.from(lines.join("")), rows: bounds, count: rows.length }
}

// --- The engine over it ---

export type StartOptions = Partial<Omit<Engine.EngineOptions, "serverVersion">>

export interface Started {
  readonly engine: ShapeEngine["Type"]
  readonly gauges: Engine.EngineGauges["Type"]
  readonly faults: FaultyStorage["Type"]
  /** Ends the engine as it should end. */
  readonly stop: Effect.Effect<void>
  /** Ends it without anything that it does from now on reaching the store; returns what is left with up to `lost` unflushed commits gone. */
  readonly crash: (lost: number) => Effect.Effect<MemoryState>
}

/** A store that a dead process writes to: it hears that all went well. */
const mortal = (isDead: () => boolean) =>
  Layer.effect(
    ShapeStorage,
    Effect.map(ShapeStorage, (storage) =>
      ShapeStorage.of({
        ...storage,
        commit: (commit) => Effect.suspend(() => (isDead() ? Effect.void : storage.commit(commit))),
        flushed: Effect.suspend(() => (isDead() ? Effect.void : storage.flushed))
      }))
  )

export const start = Effect.fnUntraced(
  function*(source: Source, state: MemoryState = makeState(), options: StartOptions = {}) {
    const scope = yield* Scope.make()
    let dead = false
    const store = Layer.provide(faultyLayer, Layer.provide(mortal(() => dead), layerFrom(state)))
    const layer = Engine.layer({ ...Engine.defaults, serverVersion: Effect.succeed(160_000), ...options }).pipe(
      Layer.provide(source.layer),
      Layer.provideMerge(store)
    )
    const context = yield* Layer.build(layer).pipe(Scope.extend(scope))
    const faults = Context.get(context, FaultyStorage)
    const started: Started = {
      engine: Context.get(context, ShapeEngine),
      gauges: Context.get(context, Engine.EngineGauges),
      faults,
      stop: Scope.close(scope, Exit.void),
      crash: (lost) =>
        Effect.suspend(() => {
          dead = true
          const left = crashed(state, lost)
          source.disconnect()
          // Whatever held the dead engine up holds it no longer.
          return Effect.all([
            faults.commits.open,
            faults.completions.open,
            faults.flushes.open,
            faults.reads.open,
            faults.heal
          ]).pipe(
            Effect.zipRight(Scope.close(scope, Exit.void)),
            Effect.as(left)
          )
        })
    }
    yield* Effect.addFinalizer(() => started.stop)
    return started
  }
)

// --- Reading ---

export interface Item {
  readonly key: string
  readonly value: Record<string, string | null>
  readonly headers: {
    readonly operation?: string
    readonly lsn?: string
    readonly op_position?: number
    readonly last?: boolean
    readonly control?: string
  }
}

/** The JSON of a body. */
export const bodyText = Effect.fnUntraced(function*(body: LogBody) {
  const parts: Array<Uint8Array> = []
  while (true) {
    const part = yield* body.pull
    if (Option.isNone(part)) return Buffer.concat(parts).toString()
    parts.push(part.value)
  }
})

export const itemsOf = (text: string): ReadonlyArray<Item> => JSON.parse(`[${text.slice(1)}]`)

/** Follows a shape's log from `after` to where it is up to date; each slice with its text. */
export const readAll = Effect.fnUntraced(function*(
  engine: ShapeEngine["Type"],
  handle: string,
  after: LogOffset.LogOffset = LogOffset.beforeAll
) {
  const slices: Array<
    { readonly after: LogOffset.LogOffset; readonly end: LogOffset.LogOffset; readonly text: string }
  > = []
  let at = after
  while (true) {
    const slice = yield* engine.read(handle, at)
    if (!slice.upToDate && LogOffset.lessOrEqual(slice.end, at)) {
      const ends = `${LogOffset.format(slice.end)}, and was ${LogOffset.format(at)}`
      return yield* Effect.dieMessage(`the end of the log of ${handle} is ${ends}`)
    }
    const text = yield* bodyText(slice.body)
    slices.push({ after: at, end: slice.end, text })
    at = slice.end
    if (slice.upToDate) return { slices, end: at, text: slices.map(({ text }) => text).join("") }
  }
})

/** What a client makes of a log: rows by key. Throws when an operation does not fit the row that is there. */
export const materialize = (items: ReadonlyArray<Item>): Map<string, Record<string, string | null>> => {
  const rows = new Map<string, Record<string, string | null>>()
  for (const { headers, key, value } of items) {
    const { operation } = headers
    if (operation === undefined) continue
    if (rows.has(key) === (operation === "insert")) {
      throw new Error(`${operation} of ${key} at ${headers.lsn ?? "snapshot"} does not fit`)
    }
    if (operation === "delete") rows.delete(key)
    else rows.set(key, { ...rows.get(key), ...value })
  }
  return rows
}

export type { Gate }
