/**
 * Histories of shapes with subqueries in the simulated world, in every order: what Postgres has committed, what its snapshots see, what the
 * stream has brought and how far a query of rows is are steps that a test chooses one after another. At each step every shape is read and has
 * to be what a model of the database says.
 */
import { Effect, Fiber, type Scope } from "effect"
import assert from "node:assert/strict"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import type { TableInfo } from "../../src/domain/Relation.ts"
import type { ShapeRequest } from "../../src/domain/ShapeDefinition.ts"
import type { ShapeEngine } from "../../src/engine/ShapeEngine.ts"
import { crashed, makeState, type MemoryState, unflushed } from "../../src/storage/ShapeStorageMemory.ts"
import {
  bodyText,
  broken,
  type Change,
  insert,
  type QueryStep,
  remove,
  request,
  type Row,
  Source,
  start,
  type Started,
  type StartOptions,
  tableOf,
  truncate,
  update
} from "./EngineWorld.ts"
import { Simulation } from "./Simulation.ts"
import { evaluate } from "./SmallSql.ts"

// --- Choices ---

/** Picks one of `n` options. */
export type Pick = (n: number) => number

/**
 * Runs the program once for every sequence of choices it can make, depth first; returns how many there were. More than `most` of them, or a
 * program that does not make the same choices again, is an error. `INTERLEAVING` makes it take one path, as a failure names it.
 */
export const everyPath = async (program: (pick: Pick) => void, most: number): Promise<number> => {
  const path: Array<{ readonly options: number; taken: number }> = []
  const only = process.env["INTERLEAVING"]?.split(" ").map(Number)
  for (let count = 1;; count++) {
    if (count > most) throw new Error(`there are more than ${most} paths`)
    let depth = 0
    const pick: Pick = (options) => {
      const known = path[depth] ?? (path[depth] = { options, taken: only?.[depth] ?? 0 })
      if (known.options !== options) throw new Error("the program does not run the same way twice")
      depth += 1
      return known.taken
    }
    try {
      program(pick)
    } catch (error) {
      const taken = path.map(({ taken }) => taken).join(" ")
      throw new Error(`INTERLEAVING="${taken}"\n${error instanceof Error ? error.message : String(error)}`)
    }
    if (only) return count
    // The test runner wants to be told that all is well.
    if (count % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
    path.length = depth
    while (path.length > 0 && path[path.length - 1]!.taken + 1 === path[path.length - 1]!.options) path.pop()
    const last = path[path.length - 1]
    if (!last) return count
    last.taken += 1
  }
}

// --- Histories ---

/** What a transaction does: puts a row in the place of the one with a key, or of none; `undefined` deletes it. */
export type Put = readonly [table: string, id: string, row: Readonly<Record<string, string | null>> | undefined]
/** A table that a transaction empties. */
export type Emptied = readonly [table: string]
/** A change that changes nothing, and that the engine can't make anything of. */
export type Broken = readonly [table: string, lacks: "columns" | "old"]

export interface History {
  readonly tables: Readonly<Record<string, ReadonlyArray<string>>>
  /** What is there at the beginning. */
  readonly rows: ReadonlyArray<Put>
  readonly transactions: ReadonlyArray<ReadonlyArray<Put | Emptied | Broken>>
  readonly shapes: ReadonlyArray<readonly [table: string, where: string]>
}

type Database = ReadonlyMap<string, ReadonlyMap<string, Row>>

/** Applies what a transaction does; returns it as the changes that the stream has. */
const apply = (database: Map<string, Map<string, Row>>, puts: ReadonlyArray<Put | Emptied | Broken>): Array<Change> =>
  puts.flatMap((put): Array<Change> => {
    const rows = database.get(put[0])!
    if (put.length === 1) {
      rows.clear()
      return [truncate(put[0])]
    }
    if (put.length === 2) return [broken(...put)]
    const [table, id, values] = put
    const old = rows.get(id)
    rows.delete(id)
    if (!values) return old ? [remove(table, old)] : []
    const row = { id, ...values }
    rows.set(row.id, row)
    return [old ? update(table, old, row) : insert(table, row)]
  })

const copied = (database: Database) => new Map([...database].map(([name, rows]) => [name, new Map(rows)]))

const tablesOf = ({ tables }: History): ReadonlyArray<TableInfo> =>
  Object.entries(tables).map(([name, columns], i) => tableOf(10 + i, name, ["id", ...columns]))

/** The history as changes, and the database before it and after each of its transactions. */
const play = (history: History) => {
  const database = new Map(Object.keys(history.tables).map((name) => [name, new Map<string, Row>()]))
  apply(database, history.rows)
  const states: Array<Database> = [copied(database)]
  const changes = history.transactions.map((puts) => {
    const made = apply(database, puts)
    states.push(copied(database))
    return made
  })
  return { states, changes }
}

const touched = (changes: ReadonlyArray<Change>): ReadonlyArray<string> =>
  changes.flatMap((change) => {
    if (change._tag === "Truncate") return change.tables
    if (change._tag === "Broken") return []
    return [
      ...change._tag === "Insert" ? [] : [`${change.table} ${change.old["id"]}`],
      ...change._tag === "Delete" ? [] : [`${change.table} ${change.row["id"]}`]
    ]
  })

// --- A client ---

interface TaggedItem {
  readonly key: string
  readonly value: Readonly<Record<string, string | null>>
  readonly headers: {
    readonly operation?: "insert" | "update" | "delete"
    readonly event?: "move-in" | "move-out"
    readonly patterns?: ReadonlyArray<{ readonly pos: number; readonly value: string }>
    readonly tags?: ReadonlyArray<string>
    readonly active_conditions?: ReadonlyArray<boolean>
    readonly lsn?: string
    readonly op_position?: number
  }
}

interface Held {
  readonly value: Readonly<Record<string, string | null>>
  readonly tags: ReadonlyArray<ReadonlyArray<string>> | undefined
  readonly conditions: Array<boolean>
}

/** A strict client (Electric HTTP protocol §13.6): what does not fit the rows that it has is an error. */
export class Client {
  readonly handle: string
  readonly request: ShapeRequest
  /** The clause as the engine prints it. */
  readonly where: string
  at = LogOffset.beforeAll
  text = ""
  /** LSN that it was last up to date with. */
  seen = -1n
  private rows = new Map<string, Held>()
  private before = LogOffset.snapshotEnd

  constructor(handle: string, request: ShapeRequest, where: string) {
    this.handle = handle
    this.request = request
    this.where = where
  }

  /** The same, for an engine that is not the same process any more: it may be further back. */
  copy(): Client {
    const client = new Client(this.handle, this.request, this.where)
    client.at = this.at
    client.text = this.text
    client.before = this.before
    client.rows = new Map([...this.rows].map(([key, row]) => [key, { ...row, conditions: [...row.conditions] }]))
    return client
  }

  private take({ headers, key, value }: TaggedItem): void {
    const { lsn, op_position: op, operation, tags } = headers
    if (lsn !== undefined) {
      const offset = LogOffset.make(BigInt(lsn), op!)
      assert.ok(LogOffset.lessThan(this.before, offset), `${LogOffset.format(offset)} comes too late`)
      this.before = offset
    }
    if (headers.event !== undefined) {
      const isIn = headers.event === "move-in"
      for (const [key, row] of this.rows) {
        for (const pattern of headers.patterns!) {
          if (row.tags!.some((tag) => tag[pattern.pos] === pattern.value)) {
            row.conditions[pattern.pos] = isIn
          }
        }
        const isKept = row.tags!.some((tag) => tag.every((slot, i) => slot === "" || row.conditions[i]))
        if (!isKept) this.rows.delete(key)
      }
      return
    }
    if (operation === undefined) return
    assert.strictEqual(this.rows.has(key), operation !== "insert", `${operation} of ${key} does not fit`)
    if (operation === "delete") {
      this.rows.delete(key)
      return
    }
    this.rows.set(key, {
      value: { ...this.rows.get(key)?.value, ...value },
      tags: tags?.map((tag) => tag.split("/")),
      conditions: [...headers.active_conditions ?? []]
    })
  }

  /** Reads to where the shape is up to date. */
  readonly read = Effect.fnUntraced(function*(this: Client, engine: ShapeEngine["Type"]) {
    while (true) {
      const slice = yield* engine.read(this.handle, this.at)
      const text = yield* bodyText(slice.body)
      assert.ok(
        LogOffset.lessThan(this.at, slice.end) || (text === "" && LogOffset.equals(this.at, slice.end)),
        `offset ${LogOffset.format(slice.end)} after ${LogOffset.format(this.at)}`
      )
      for (const item of JSON.parse(`[${text.slice(1)}]`) as ReadonlyArray<TaggedItem>) this.take(item)
      this.text += text
      this.at = slice.end
      if (!slice.upToDate) continue
      assert.ok(slice.lastSeenLsn >= this.seen, `up to date with ${slice.lastSeenLsn} after ${this.seen}`)
      this.seen = slice.lastSeenLsn
      return
    }
  })

  get values(): ReadonlyArray<string> {
    return [...this.rows.values()].map(({ value }) => JSON.stringify(value)).sort()
  }
}

/** What `SELECT` says. */
const select = (database: Database, table: string, where: string): ReadonlyArray<string> =>
  [...database.get(table)!.values()]
    .filter((row) => evaluate(where, row, (name) => database.get(name)!.values()) === true)
    .map((row) => JSON.stringify(row)).sort()

// --- A run ---

export interface Variant {
  /** With tags and events, or `tags=none`. */
  readonly tags: boolean
  /** Transactions get their xids when they commit, or all at the beginning, the last one first. */
  readonly xids: "late" | "reversed"
  /** After each step there is time for what is pending to be stored, and a kill is tried. */
  readonly stored: boolean
  /** Queries of rows that move get the whole table. */
  readonly broad: boolean
}

export const variants: ReadonlyArray<Variant> = [
  { tags: true, xids: "late", stored: true, broad: false },
  { tags: false, xids: "reversed", stored: true, broad: true },
  { tags: false, xids: "late", stored: false, broad: false },
  { tags: true, xids: "reversed", stored: false, broad: true }
]

/** A thing that can happen next. */
export interface Action {
  readonly name: string
  readonly run: Effect.Effect<void>
  /** Two of different kinds may change places: rows of a query whose snapshot the stream has passed, and what the stream brings. */
  readonly kind?: "rows" | "stream"
}

const EMPTY_MILLIS = 50

/**
 * The actions that need not come right after the one that is taken: another order has gone through them before it, with the same result. (Sleep
 * sets: every state is still come to.)
 */
const stillAsleep = (
  asleep: ReadonlySet<string>,
  actions: ReadonlyArray<Action>,
  taken: number
): ReadonlySet<string> => {
  const { kind } = actions[taken]!
  const names = [...asleep, ...actions.slice(0, taken).map(({ name }) => name)]
  return new Set(names.filter((name) => {
    const other = actions.find((each) => each.name === name)
    return other?.kind !== undefined && kind !== undefined && other.kind !== kind
  }))
}

/** Postgres as the model has it, and what of the history has happened. */
export class World {
  readonly source: Source
  readonly states: ReadonlyArray<Database>
  readonly history: History
  readonly variant: Variant
  private readonly changes: ReadonlyArray<ReadonlyArray<Change>>
  private readonly pending: Array<ReturnType<Source["begin"]>> = []
  /** How many transactions are in the WAL. */
  written = 0
  readonly seen = new Set<number>()
  /** Commit LSNs. */
  readonly lsns: Array<bigint> = []
  delivered = 0
  /** Queries that have stopped at a step. */
  readonly held: Array<{ readonly step: QueryStep; readonly go: () => void }> = []
  /** All queries are of rows that move. */
  moves = false
  /** Without it queries stop nowhere. */
  holding = false
  private overtaken = 0
  private more = false
  /** Where queries stop. */
  stops: ReadonlyArray<QueryStep["at"]> = ["snapshot", "marks", "rows", "end"]
  readonly trace: Array<string> = []

  constructor(history: History, variant: Variant) {
    const { changes, states } = play(history)
    this.history = history
    this.variant = variant
    this.states = states
    this.changes = changes
    const source = new Source(...tablesOf(history))
    this.source = source
    source.automatic = false
    source.broad = variant.broad
    for (const [name, rows] of states[0]!) source.rows.set(name, new Map(rows))
    source.atStep = (step) =>
      Effect.suspend(() => {
        if (!this.holding || !this.stops.includes(step.at)) return Effect.void
        return Effect.async<void>((resume) => {
          const held = { step, go: () => resume(Effect.void) }
          this.held.push(held)
          return Effect.sync(() => {
            const at = this.held.indexOf(held)
            if (at >= 0) this.held.splice(at, 1)
          })
        })
      })
    if (variant.xids === "reversed") {
      const first = source.nextXid
      source.nextXid += BigInt(changes.length)
      changes.forEach((each, i) => this.pending.push(source.begin(each, first + BigInt(changes.length - 1 - i))))
    }
  }

  get count(): number {
    return this.changes.length
  }

  /** Rows that two transactions change: the later one waits for the earlier one's end. */
  private follows(later: number, earlier: number): boolean {
    const rows = touched(this.changes[earlier]!)
    return touched(this.changes[later]!).some((row) =>
      rows.some((other) => row === other || row.startsWith(`${other} `) || other.startsWith(`${row} `))
    )
  }

  /** Writes transactions to the WAL, up to the `upTo`-th. */
  write(upTo: number): void {
    while (this.written < upTo) {
      const i = this.written
      for (let earlier = 0; earlier < i; earlier++) if (this.follows(i, earlier)) this.see(earlier)
      const unseen = this.pending[i] ??= this.source.begin(this.changes[i]!)
      this.lsns.push(this.source.commit(unseen).lsn)
      this.written += 1
    }
  }

  /** From now on snapshots see it. */
  see(i: number): void {
    this.write(i + 1)
    if (this.seen.has(i)) return
    this.seen.add(i)
    this.source.seen(this.pending[i]!)
  }

  /** The sets of transactions that a snapshot may see now, beyond those that the last one saw. */
  private visibilities({ isNode, table }: QueryStep): ReadonlyArray<ReadonlyArray<number>> {
    const open = this.changes.map((_, i) => i).filter((i) => !this.seen.has(i))
    const sets: Array<ReadonlyArray<number>> = []
    for (let bits = 0; bits < 1 << open.length; bits++) {
      const set = open.filter((_, n) => (bits >> n) & 1)
      const highest = Math.max(this.written - 1, ...set)
      const isPossible = (i: number) => set.includes(i) || this.seen.has(i)
      // What is in the WAL has waited for what it changes again.
      const isWhole = this.changes.every((_, later) =>
        later > highest ||
        open.every((earlier) => earlier >= later || !this.follows(later, earlier) || isPossible(earlier))
      )
      const isOvertaken = open.some((i) => i < this.delivered && !isPossible(i))
      if (isWhole && (!isOvertaken || this.overtaken < 1)) sets.push(set)
    }
    if (isNode && !this.moves) return sets
    // Such a query reads one table: of two snapshots that find the same there, one is enough.
    const byRows = new Map<string, ReadonlyArray<number>>()
    for (const set of sets) {
      const rows = new Map(this.source.rows.get(table))
      for (const i of set) {
        apply(
          new Map([[table, rows]]),
          this.history.transactions[i]!.filter(([name]) => name === table)
        )
      }
      const isMissing = open.some((i) => i < this.delivered && !set.includes(i))
      const key = JSON.stringify([isMissing, [...rows.values()]])
      const known = byRows.get(key)
      if (!known || set.length < known.length) byRows.set(key, set)
    }
    const all = sets.filter(({ length }) => length === open.length)
    return [...new Set([...byRows.values(), ...all])]
  }

  /** Everything happens that has not. */
  finish(): void {
    for (let i = 0; i < this.count; i++) this.see(i)
  }

  /** Delivers messages up to the end of so many transactions, or up to somewhere inside the next one. */
  deliver(count: number, split = 0): void {
    this.write(this.delivered + count + (split > 0 ? 1 : 0))
    const messages = this.source.connection!.messages
    let n = 0
    for (let commits = 0; commits < count; n++) if (messages[n]!._tag === "Commit") commits += 1
    this.source.deliver(n + split)
    this.delivered += count
  }

  private keepalive(): void {
    this.source.keepalive()
    this.source.deliver()
    this.heard = this.source.lsn
  }
  /** How far keepalives have come. */
  heard = 0n

  /** What can happen next, in every way in which it can. */
  actions(): ReadonlyArray<Action> {
    const actions: Array<Action> = []
    const add = (name: string, run: () => void, kind?: Action["kind"]) =>
      actions.push({ name, run: Effect.sync(run), ...(kind && { kind }) })
    const { source } = this
    for (const held of this.held) {
      const { at, query, table } = held.step
      const go = () => {
        this.held.splice(this.held.indexOf(held), 1)
        held.go()
      }
      const name = `query ${query} of ${table}: ${at}`
      if (at === "snapshot") {
        for (const set of this.visibilities(held.step)) {
          add(`${name} sees ${[...this.seen, ...set].sort().join() || "nothing"}`, () => {
            for (const i of set) this.see(i)
            if ([...Array(this.delivered).keys()].some((i) => !this.seen.has(i))) this.overtaken += 1
            go()
          })
        }
      } else if (at === "marks") {
        // The position is read after the snapshot: there may be more in the WAL by then, and some that concerns nobody.
        for (const upTo of new Set([this.written, this.count])) {
          add(`${name} behind ${upTo}`, () => {
            this.write(upTo)
            go()
          })
        }
        if (this.written === this.count && !this.more) {
          add(`${name} behind more`, () => {
            this.more = true
            source.lsn += 8n
            go()
          })
        }
      } else add(name, go, at === "rows" ? "rows" : undefined)
    }
    for (let count = 1; this.delivered + count <= this.count && (count === 1 || this.moves); count++) {
      add(`deliver ${count}`, () => this.deliver(count), "stream")
    }
    if (this.delivered === this.count && this.heard < source.lsn && source.lsn > (this.lsns.at(-1) ?? 0n) + 8n) {
      add("keepalive", () => this.keepalive(), "stream")
    }
    return actions
  }

  /** The database with everything up to a position. */
  at(lsn: bigint): Database {
    return this.states[this.lsns.filter((each) => each <= lsn).length]!
  }

  /** The same database for an engine that starts anew: everything has happened, and comes as it may. */
  restarted(): Source {
    const { source } = this
    const next = new Source(...tablesOf(this.history))
    for (const [name, rows] of this.states[this.count]!) next.rows.set(name, new Map(rows))
    next.wal.push(...source.wal)
    next.lsn = source.lsn
    next.nextXid = source.nextXid
    next.confirmed = source.confirmed
    next.slotCreated = false
    next.broad = source.broad
    const written = this.written
    for (let i = written; i < this.count; i++) next.commit(this.pending[i] ?? next.begin(this.changes[i]!))
    next.unseen.clear()
    return next
  }

  requestOf([table, where]: History["shapes"][number]): ShapeRequest {
    return request(table, { where, ...(this.variant.tags ? {} : { tags: "none" }) })
  }
}

/** What is wrong with what a client has. */
export const check = (client: Client, states: (lsn: bigint) => Database): void => {
  const { table } = client.request
  const expected = select(states(client.seen), table, client.where)
  assert.deepStrictEqual(client.values, expected, `${table} is not what it was at ${client.seen}`)
}

export const options: StartOptions = {
  idleMillis: 500,
  committer: { groupMillis: 3, groupBytes: 1 << 20, idleMillis: 400 }
}

/** Lets time pass until the condition holds; everything has to be told by then. */
export const until = Effect.fnUntraced(function*(
  simulation: Simulation,
  source: Source,
  what: string,
  holds: () => unknown
) {
  for (let i = 0; i < 40; i++) {
    if (holds()) return
    source.keepalive()
    source.deliver()
    yield* simulation.advance(100)
  }
  if (!holds()) throw new Error(`${what}: it never comes to that`)
})

/** An engine with the history's shapes, complete and read. */
export const begin = Effect.fnUntraced(function*(
  simulation: Simulation,
  world: World,
  state: MemoryState,
  shapes: ReadonlyArray<number> = world.history.shapes.map((_, i) => i)
) {
  const started = yield* start(world.source, state, options)
  const clients: Array<Client> = []
  for (const i of shapes) {
    const shape = world.history.shapes[i]!
    const asked = world.requestOf(shape)
    const { handle } = yield* started.engine.resolve(asked)
    const described = yield* started.engine.describe(handle)
    clients.push(new Client(handle, asked, described.where!.sql))
  }
  const fibers = yield* Effect.forEach(clients, (client) => Effect.fork(client.read(started.engine)))
  yield* until(simulation, world.source, "the shapes", () => fibers.every((fiber) => fiber.unsafePoll() !== null))
  for (const fiber of fibers) yield* Fiber.join(fiber)
  yield* simulation.advance(100)
  // A position that moves is what makes the shapes durable.
  world.source.lsn += 8n
  world.source.keepalive()
  world.source.deliver()
  yield* simulation.advance("1 seconds")
  assert.strictEqual(unflushed(state), 0)
  return { started, clients }
})

const shown = (_: string, value: unknown) => typeof value === "bigint" ? String(value) : value

/** What a store has, as a text that two that are the same share. */
const textOf = ({ applied, nextId, shapes, unfinished }: MemoryState): string =>
  JSON.stringify(
    [
      applied && [applied.lsn, applied.endLsn, applied.recent],
      nextId,
      unfinished,
      [...shapes].map(([id, { head, log, record }]) => [
        id,
        head?.end,
        log.map(({ block }) => block.toString("latin1")),
        record?.snapshot !== undefined
      ])
    ],
    shown
  )

/** What there is after an engine's end: the store, the database, and what clients had read. */
interface Left {
  readonly state: MemoryState
  readonly source: Source
  readonly clients: ReadonlyArray<Client>
  readonly trace: ReadonlyArray<string>
}

/** Starts an engine over what is left, and follows to the end: the shapes are the same, and right. */
const restart = Effect.fnUntraced(function*(simulation: Simulation, world: World, left: Left) {
  const { source } = left
  const started = yield* start(source, left.state, options)
  const lsn = source.wal.at(-1)?.lsn ?? 0n
  const followers: Array<Client> = []
  for (const client of left.clients) {
    const { handle } = yield* started.engine.resolve(client.request)
    assert.strictEqual(handle, client.handle, "the handle is another after a restart")
    followers.push(client)
  }
  const anew: Array<Client> = []
  for (const shape of world.history.shapes) {
    const asked = world.requestOf(shape)
    const { handle } = yield* started.engine.resolve(asked)
    const { where } = yield* started.engine.describe(handle)
    anew.push(new Client(handle, asked, where!.sql))
  }
  const fibers = yield* Effect.forEach(anew, (client) => Effect.fork(client.read(started.engine)))
  yield* until(simulation, source, "the shapes after a restart", () => fibers.every((fiber) => fiber.unsafePoll()))
  for (const fiber of fibers) yield* Fiber.join(fiber)
  followers.push(...anew)
  for (let i = 0;; i++) {
    let isDone = true
    for (const follower of followers) {
      // What was served and not stored is there again once its transactions have come again.
      if (LogOffset.lessThan(yield* started.engine.end(follower.handle), follower.at)) isDone = false
      else {
        yield* follower.read(started.engine)
        if (follower.seen < lsn) isDone = false
      }
    }
    if (isDone) break
    if (i > 30) throw new Error("the restarted engine does not get to the end")
    source.keepalive()
    yield* simulation.advance(200)
  }
  for (const follower of followers) check(follower, () => world.states[world.count]!)
  yield* started.stop
})

const described = (trace: ReadonlyArray<string>, error: unknown): Error =>
  new Error(`${trace.join("\n")}\n${error instanceof Error ? error.stack : String(error)}`)

/** Runs the effect in a simulation of its own; throws what it fails with, and what was logged as an error. */
const simulate = (
  trace: ReadonlyArray<string>,
  program: (simulation: Simulation) => Effect.Effect<void, unknown, Scope.Scope>
) => {
  const simulation = new Simulation(() => 0)
  try {
    simulation.run(program(simulation))
    // Some histories make a consumer fail.
    const unexpected = simulation.errors.filter((error) => !error.includes("lacks a column of a shape that follows it"))
    assert.strictEqual(unexpected.join("\n"), "")
  } catch (error) {
    throw described([...trace, ...simulation.errors], error)
  }
}

/** One order of a history; `kills` are those that were tried before. */
const runOnce = (history: History, variant: Variant, pick: Pick, kills: Set<string>) => {
  const world = new World(history, variant)
  const { source, trace } = world
  const left: Array<Left> = []
  trace.push(JSON.stringify(variant))
  simulate(trace, (simulation) =>
    Effect.gen(function*() {
      const state = makeState()
      const { clients, started } = yield* begin(simulation, world, state)
      world.holding = true
      world.moves = true

      const look = Effect.gen(function*() {
        for (const client of clients) {
          yield* client.read(started.engine)
          const delivered = world.lsns[world.delivered - 1] ?? client.seen
          assert.ok(client.seen <= delivered, `up to date with ${client.seen}, and ${delivered} has come`)
          check(client, (lsn) => world.at(lsn))
        }
        const lowest = clients.reduce((least, { seen }) => seen < least ? seen : least, 1n << 62n)
        for (const lsn of world.lsns) {
          // I1: Postgres sends it again.
          assert.ok(lsn <= lowest || source.confirmed <= lsn, `${source.confirmed} is confirmed, ${lsn} is not done`)
        }
      })
      const kill = () => {
        for (const lost of new Set([0, unflushed(state)])) {
          const after = crashed(state, lost)
          const at = clients.map(({ at }) => LogOffset.format(at))
          const key = JSON.stringify([textOf(after), String(source.confirmed), at, world.written, String(source.lsn)])
          if (kills.has(key)) continue
          kills.add(key)
          left.push({
            state: after,
            source: world.restarted(),
            clients: clients.map((client) => client.copy()),
            trace: [...trace, `kill, with ${lost} commits lost`]
          })
        }
      }

      let asleep: ReadonlySet<string> = new Set()
      for (let idle = 0;;) {
        yield* look
        const actions = world.actions()
        if (actions.length === 0) {
          if (clients.every(({ seen }) => seen >= world.lsns.at(-1)!)) break
          if (idle++ > 20) throw new Error("nothing happens any more")
          yield* simulation.advance(EMPTY_MILLIS)
          continue
        }
        const taken = pick(actions.length)
        const action = actions[taken]!
        if (asleep.has(action.name)) return
        asleep = stillAsleep(asleep, actions, taken)
        trace.push(action.name)
        yield* action.run
        yield* simulation.settle
        if (variant.stored) {
          yield* simulation.advance(5)
          kill()
        }
      }
      world.holding = false
      world.finish()
      for (const client of clients) {
        check(client, () => world.states[world.count]!)
        const again = new Client(client.handle, client.request, client.where)
        yield* again.read(started.engine)
        assert.strictEqual(again.text, client.text, "the log is another when it is read again")
      }
      yield* simulation.advance("2 seconds")
      assert.strictEqual(started.gauges.memoryBytes(), 0, "bytes that nobody gives back")
      assert.strictEqual(source.confirmed, source.lsn, "the end of the WAL is not confirmed")
      yield* started.stop
    }))
  for (const each of left) simulate(each.trace, (simulation) => restart(simulation, world, each))
}

/** Every order of a history in one variant; returns how many orders there were, and kills. */
export const everyOrder = async (history: History, variant: Variant, most = 20_000) => {
  const kills = new Set<string>()
  const orders = await everyPath((pick) => runOnce(history, variant, pick, kills), most)
  return { orders, kills: kills.size }
}

// --- Lives ---

/** Something that may happen once, at any step. */
export interface Event {
  readonly name: string
  readonly run: Effect.Effect<void>
}

export interface Life {
  readonly history: History
  /** The shapes that are there before, by their numbers. The others are asked for at any step. */
  readonly old: ReadonlyArray<number>
  /** The shapes that may be rotated. */
  readonly rotate?: ReadonlyArray<number>
  /** A shape that is removed, at each step. */
  readonly removed?: number
  /** The engine is stopped, at each step. */
  readonly stops?: boolean
  /** Where queries stop, if not everywhere. */
  readonly steps?: ReadonlyArray<QueryStep["at"]>
  /** What else happens, at each step. */
  readonly events?: (started: Started) => ReadonlyArray<Event>
}

/** A shape that somebody asks for, and asks for again when it is gone. */
interface Asked {
  readonly request: ShapeRequest
  client: Client | undefined
  reading: Fiber.RuntimeFiber<void, unknown> | undefined
  /** The client has been up to date. */
  isRead: boolean
  isRemoved: boolean
  /** How many handles there were that are gone. */
  gone: number
}

const liveOnce = (life: Life, variant: Variant, pick: Pick, rotations: Array<number>) => {
  const { history } = life
  const world = new World(history, variant)
  const { source, trace } = world
  source.rowsPerPull = 10
  trace.push(JSON.stringify(variant))
  let left: Left | undefined
  simulate(trace, (simulation) =>
    Effect.gen(function*() {
      const state = makeState()
      const { clients, started } = yield* begin(simulation, world, state, life.old)
      const { engine } = started
      world.holding = true
      world.stops = life.steps ?? world.stops
      world.moves = life.old.length === history.shapes.length
      const shapes = history.shapes.map((_, i): Asked | undefined => {
        const client = clients[life.old.indexOf(i)]
        return client &&
          { request: client.request, client, reading: undefined, isRead: true, isRemoved: false, gone: 0 }
      })

      const step = (asked: Asked) =>
        Effect.gen(function*() {
          if (!asked.client) {
            const { handle } = yield* engine.resolve(asked.request)
            const { where } = yield* engine.describe(handle)
            asked.client = new Client(handle, asked.request, where!.sql)
          }
          yield* asked.client.read(engine)
          asked.isRead = true
        }).pipe(
          Effect.catchTags({
            ShapeGone: () => Effect.sync(() => lose(asked)),
            SnapshotFailed: () => Effect.sync(() => lose(asked)),
            // The store may be asked again.
            StorageError: () => Effect.void
          })
        )
      const lose = (asked: Asked) => {
        asked.client = undefined
        asked.isRead = false
        asked.gone += 1
      }

      const look = Effect.gen(function*() {
        for (let again = true; again;) {
          again = false
          for (const asked of shapes) {
            if (!asked || asked.isRemoved) continue
            const before = asked.gone
            if (asked.reading?.unsafePoll()) {
              yield* Fiber.join(asked.reading)
              asked.reading = undefined
            }
            asked.reading ??= yield* Effect.fork(step(asked))
            yield* simulation.settle
            if (!asked.reading.unsafePoll()) continue
            yield* Fiber.join(asked.reading)
            // It is asked for again at once.
            if (asked.gone > before) again = true
            if (asked.gone > 10) throw new Error("the shape is gone again and again")
            if (asked.client && asked.isRead) check(asked.client, (lsn) => world.at(lsn))
          }
        }
      })
      const isDone = () =>
        shapes.every((asked) =>
          asked && (asked.isRemoved || (asked.isRead && asked.client && asked.client.seen >= world.lsns.at(-1)!))
        )

      const events: Array<Event> = [...life.events?.(started) ?? []]
      if (life.removed !== undefined) {
        const number = life.removed
        events.push({
          name: "remove",
          run: Effect.suspend(() => {
            const asked = shapes[number]!
            asked.isRemoved = true
            return Effect.zipRight(
              asked.client ? Effect.ignore(engine.remove(asked.client.handle)) : Effect.void,
              asked.reading ? Fiber.interrupt(asked.reading) : Effect.void
            )
          })
        })
      }
      let isStopped = false
      if (life.stops) {
        events.push({
          name: "stop",
          run: Effect.gen(function*() {
            for (const asked of shapes) if (asked?.reading) yield* Fiber.interrupt(asked.reading)
            yield* simulation.elapse(started.stop)
            isStopped = true
          })
        })
      }
      const hasEvents = events.length > 0
      /** Whether it can happen now. */
      const isOpen = ({ name }: Event) => name !== "remove" || shapes[life.removed!]?.client !== undefined

      let asleep: ReadonlySet<string> = new Set()
      for (let idle = 0;;) {
        yield* look
        const actions: Array<Action> = [...world.actions()]
        for (const [i, shape] of history.shapes.entries()) {
          if (shapes[i]) continue
          actions.push({
            name: `ask for ${shape[0]} where ${shape[1]}`,
            run: Effect.sync(() => {
              const request = world.requestOf(shape)
              shapes[i] = { request, client: undefined, reading: undefined, isRead: false, isRemoved: false, gone: 0 }
            })
          })
        }
        if (actions.length === 0) {
          if (!isDone()) {
            if (idle++ > 40) throw new Error("nothing happens any more")
            source.keepalive()
            source.deliver()
            yield* simulation.advance(EMPTY_MILLIS)
            continue
          }
          actions.push({ name: "end", run: Effect.void })
        }
        for (const event of events) {
          if (!isOpen(event)) continue
          const run = Effect.zipRight(Effect.sync(() => events.length = 0), event.run)
          actions.push({ name: event.name, run })
        }
        // Once it has happened, the rest takes one course.
        const taken = hasEvents && events.length === 0 ? 0 : pick(actions.length)
        const action = actions[taken]!
        if (!(hasEvents && events.length === 0)) {
          if (asleep.has(action.name)) return
          asleep = stillAsleep(asleep, actions, taken)
        }
        if (action.name === "end") break
        trace.push(action.name)
        yield* action.run
        if (isStopped) break
        yield* simulation.settle
        if (variant.stored) yield* simulation.advance(5)
      }
      world.holding = false
      if (isStopped) {
        left = {
          state,
          source: world.restarted(),
          clients: shapes.flatMap((asked) =>
            asked?.isRead && !asked.isRemoved && asked.client ? [asked.client.copy()] : []
          ),
          trace: [...trace]
        }
        return
      }
      world.finish()
      for (const [i, asked] of shapes.entries()) {
        rotations[i] = (rotations[i] ?? 0) + asked!.gone
        if (asked!.isRemoved) continue
        assert.ok(asked!.gone === 0 || life.rotate?.includes(i), `shape ${i} was rotated`)
        check(asked!.client!, () => world.states[world.count]!)
        yield* engine.remove(asked!.client!.handle)
      }
      // What is left over goes with what the stream brings next.
      source.lsn += 8n
      source.keepalive()
      source.deliver()
      yield* simulation.advance("3 seconds")
      source.lsn += 8n
      source.keepalive()
      source.deliver()
      yield* simulation.advance("1 seconds")
      const { consumers, memoryBytes, shapes: kept, snapshots, subqueries } = started.gauges
      const held = [kept(), consumers(), snapshots(), memoryBytes(), subqueries()]
      assert.deepStrictEqual(held, [0, 0, 0, 0, 0], "shapes, consumers, snapshots, bytes or subqueries are left over")
      assert.strictEqual(source.confirmed, source.lsn, "the end of the WAL is not confirmed")
      yield* simulation.elapse(started.stop)
    }))
  if (left) {
    const after = left
    simulate(after.trace, (simulation) => restart(simulation, world, after))
  }
}

/** A life in every order; returns how many there were, and how often each shape was rotated in all of them. */
export const everyLife = async (life: Life, variant: Variant, most = 20_000) => {
  const rotations: Array<number> = []
  const orders = await everyPath((pick) => liveOnce(life, variant, pick, rotations), most)
  return { orders, rotations }
}
