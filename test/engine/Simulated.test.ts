/**
 * Random lives of the engine in the simulated world: several shapes, transactions split anywhere, lost connections, crashes that lose
 * commits, a store that refuses, consumers that end for idleness, and readers that follow at their own pace. Every seed is one history, repeated
 * exactly. `SIMULATION_SEEDS` runs more of them, `SIMULATION_SEED` a single one.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Cause, Effect } from "effect"
import * as LogOffset from "../../src/domain/LogOffset.ts"

import { makeState, type MemoryState, unflushed } from "../../src/storage/ShapeStorageMemory.ts"
import * as Grammar from "../../src/where/Grammar.ts"
import {
  type Change,
  insert,
  type Item,
  itemsOf,
  materialize,
  readAll,
  remove,
  request,
  type Row,
  Source,
  start,
  type Started,
  tableOf,
  update
} from "../support/EngineWorld.ts"
import { randomOf, Simulation } from "../support/Simulation.ts"

// The simulated world has no time for the parser to be loaded.
beforeAll(() => Effect.runPromise(Grammar.parse("true")))

const tables = ["items", "notes"]

/** One client: it keeps what it read, and follows the handle that it was given until that is gone. */
interface Client {
  readonly table: string
  readonly columns: ReadonlyArray<string> | undefined
  readonly where: string | undefined
  /** What the clause says of a row. */
  readonly matches: (row: Row) => boolean
  handle: string | undefined
  at: LogOffset.LogOffset
  text: string
  polling: boolean
  /** Where slices began and ended, with the text up to there. */
  readonly seen: Map<
    string,
    { readonly at: LogOffset.LogOffset; readonly end: LogOffset.LogOffset; readonly text: string }
  >
}

const options = {
  chunkBytes: 700,
  memoryBytes: 8000,
  idleMillis: 1000,
  committer: { groupMillis: 3, groupBytes: 2000, idleMillis: 1000 }
}

/** Strictly increasing, whole transactions: what any log must be, whatever it says. */
const checkOrder = (items: ReadonlyArray<Item>) => {
  let before = LogOffset.snapshotEnd
  let last = true
  for (const { headers } of items) {
    if (headers.lsn === undefined) continue
    const offset = LogOffset.make(BigInt(headers.lsn), headers.op_position!)
    assert.isTrue(
      LogOffset.lessThan(before, offset),
      `${LogOffset.format(offset)} comes after ${LogOffset.format(before)}`
    )
    assert.isTrue(last || before.tx === offset.tx, `transaction ${before.tx} ends without its last entry`)
    before = offset
    last = headers.last === true
  }
  return last
}

const life = (seed: number, steps: number) => {
  const random = randomOf(seed)
  const below = (n: number) => Math.floor(random() * n)
  const chance = (p: number) => random() < p
  const simulation = new Simulation((tasks) => below(tasks.length))
  const trace: Array<string> = []
  const log = (text: string) => trace.push(text)

  const program = Effect.gen(function*() {
    const source = new Source(
      tableOf(10, "items", ["id", "title", "n"]),
      tableOf(11, "notes", ["id", "text"])
    )
    source.automatic = false
    let state: MemoryState = makeState()
    let started: Started = yield* start(source, state, options)
    let nextId = 1
    const busy = new Set<string>()
    const open: Array<
      { readonly unseen: ReturnType<Source["begin"]>; committed: boolean; readonly keys: ReadonlyArray<string> }
    > = []
    const everything: Pick<Client, "where" | "matches"> = { where: undefined, matches: () => true }
    const clients: Array<Client> = [
      { table: "items", columns: undefined, ...everything },
      { table: "items", columns: ["id", "n"], ...everything },
      { table: "notes", columns: undefined, ...everything },
      { table: "notes", columns: ["id"], ...everything },
      { table: "items", columns: undefined, where: "n = '2'", matches: ({ n }: Row) => n === "2" },
      // Only the simulated database can say this.
      {
        table: "items",
        columns: ["id", "n"],
        where: "strange(title)",
        matches: ({ title }: Row) => title?.startsWith("s") ?? false
      }
    ].map((client): Client => ({
      ...client,
      handle: undefined,
      at: LogOffset.beforeAll,
      text: "",
      polling: false,
      seen: new Map()
    }))

    const randomRow = (table: string, id: string): Row =>
      table === "items"
        ? { id, title: (chance(0.5) ? "s" : "t").repeat(below(60)), n: String(below(5)) }
        : { id, text: chance(0.2) ? null : "x".repeat(below(40)) }

    const randomChanges = (): { readonly changes: Array<Change>; readonly keys: Array<string> } => {
      const changes: Array<Change> = []
      const keys: Array<string> = []
      for (let n = 1 + below(chance(0.1) ? 40 : 5); n > 0; n--) {
        const table = tables[below(tables.length)]!
        const rows = [...source.rows.get(table)!.values()].filter((row) => !busy.has(`${table} ${row.id}`))
        const old = rows[below(rows.length)]
        if (old && chance(0.6)) {
          changes.push(chance(0.3) ? remove(table, old) : update(table, old, randomRow(table, old.id!)))
          keys.push(`${table} ${old.id}`)
          busy.add(`${table} ${old.id}`)
        } else changes.push(insert(table, randomRow(table, String(nextId++))))
      }
      return { changes, keys }
    }

    const commitOne = () => {
      const one = open[below(open.length)]
      if (!one) return
      if (!one.committed) {
        const { lsn } = source.commit(one.unseen)
        log(`commit ${lsn} xid ${one.unseen.xid}`)
        one.committed = true
        if (chance(0.3)) return
      }
      source.seen(one.unseen)
      for (const key of one.keys) busy.delete(key)
      open.splice(open.indexOf(one), 1)
    }

    /** One request of a client, as far as it gets now. */
    const poll = (client: Client) =>
      Effect.gen(function*() {
        const { engine } = started
        if (client.handle === undefined) {
          client.handle =
            (yield* engine.resolve(request(client.table, { columns: client.columns, where: client.where }))).handle
        }
        const again = chance(0.2) ? [...client.seen.values()][below(client.seen.size)] : undefined
        const from = again ?? client
        const slice = yield* engine.read(client.handle, from.at)
        let text = ""
        while (true) {
          const part = yield* slice.body.pull
          if (part._tag === "None") break
          text += Buffer.from(part.value).toString()
          if (chance(0.3)) yield* Effect.sleep(below(20))
        }
        if (again) {
          // What an offset was answered with before is the beginning of any later answer, and the whole of it once the chunk is closed.
          assert.isTrue(
            text.startsWith(again.text) || again.text.startsWith(text),
            "an offset means another prefix than before"
          )
          return
        }
        if (LogOffset.lessThan(slice.end, client.at)) {
          // A crash took what was served and not durable yet: it will come again, the same.
          assert.strictEqual(text, "")
          return
        }
        log(`client ${client.handle} read ${LogOffset.format(client.at)} to ${LogOffset.format(slice.end)}`)
        if (text !== "") client.seen.set(LogOffset.format(client.at), { at: client.at, end: slice.end, text })
        client.text += text
        client.at = slice.end
        assert.isTrue(checkOrder(itemsOf(client.text)) || !slice.upToDate, "a slice ends within a transaction")
      }).pipe(
        Effect.catchTags({
          ShapeGone: () => Effect.sync(() => forget(client)),
          SnapshotFailed: () => Effect.sync(() => forget(client))
        })
      )
    const forget = (client: Client) => {
      client.handle = undefined
      client.at = LogOffset.beforeAll
      client.text = ""
      client.seen.clear()
    }

    const step = Effect.gen(function*() {
      const dice = random()
      if (dice < 0.25) {
        const { changes, keys } = randomChanges()
        open.push({ unseen: source.begin(changes), committed: false, keys })
        if (chance(0.7)) commitOne()
        log(`begin ${changes.length}`)
      } else if (dice < 0.35) {
        commitOne()
      } else if (dice < 0.6) {
        source.deliver(1 + below(8))
      } else if (dice < 0.65) {
        source.keepalive()
      } else if (dice < 0.85) {
        const client = clients[below(clients.length)]!
        if (client.polling) return
        client.polling = true
        yield* Effect.fork(
          poll(client).pipe(
            Effect.timeoutOption(5000),
            Effect.catchAllCause((cause) => Effect.sync(() => failures.push(Cause.squash(cause)))),
            Effect.ensuring(Effect.sync(() => {
              client.polling = false
            }))
          )
        )
      } else if (dice < 0.88) {
        source.disconnect()
        log("disconnect")
      } else if (dice < 0.91) {
        yield* started.faults.failNextCommit()
      } else if (dice < 0.912) {
        source.failEvaluations += 1
      } else if (dice < 0.915) {
        const { handle } = clients[below(clients.length)]!
        if (handle !== undefined) yield* Effect.ignore(simulation.elapse(started.engine.remove(handle)))
        log("remove")
      } else if (dice < 0.93) {
        const crash = chance(0.7)
        log(crash ? "crash" : "stop")
        if (crash) state = yield* simulation.elapse(started.crash(below(unflushed(state) + 1)))
        else yield* simulation.elapse(started.stop)
        // A client may have been told of a handle that the crash took.
        started = yield* simulation.elapse(start(source, state, options))
        yield* simulation.settle
      } else if (dice < 0.98) {
        yield* simulation.advance(below(50))
      } else {
        yield* simulation.advance(below(3000))
      }
    })
    const failures: Array<unknown> = []

    for (let i = 0; i < steps; i++) {
      yield* step
      if (failures.length > 0) return yield* Effect.die(failures[0])
    }

    log(`rest at step ${simulation.steps}`)
    // Everything comes to rest, and then everybody has everything.
    while (open.length > 0) commitOne()
    yield* started.faults.heal
    source.automatic = true
    source.deliver()
    yield* simulation.advance("20 seconds")
    source.deliver()
    log(`rested at step ${simulation.steps}`)
    yield* simulation.advance("10 seconds")
    if (failures.length > 0) return yield* Effect.die(failures[0])
    for (const client of clients) {
      const resolved = Effect.map(
        started.engine.resolve(request(client.table, { columns: client.columns, where: client.where })),
        ({ handle }) => handle
      )
      yield* simulation.elapse(
        Effect.gen(function*() {
          const { text } = yield* readAll(started.engine, client.handle ?? (yield* resolved), client.at)
          client.text += text
        }).pipe(Effect.catchTag("ShapeGone", () =>
          Effect.gen(function*() {
            client.text = (yield* readAll(started.engine, yield* resolved)).text
          })))
      )
      const items = itemsOf(client.text)
      assert.isTrue(checkOrder(items))
      const names = client.columns ?? source.tables.get(client.table)!.columns.map(({ name }) => name)
      const expected = [...source.rows.get(client.table)!.values()].filter(client.matches).map((row) =>
        names.map((name) => row[name] ?? null).join("|")
      ).sort()
      const got = [...materialize(items).values()].map((row) => names.map((name) => row[name] ?? null).join("|")).sort()
      assert.deepStrictEqual(got, expected, `${client.table} (${names.join(", ")})`)
    }
    yield* simulation.advance("10 seconds")
    assert.strictEqual(started.gauges.memoryBytes(), 0, "bytes that nobody gives back")
    assert.strictEqual(started.gauges.consumers(), 0, "consumers that do not end")
    assert.strictEqual(started.gauges.snapshots(), 0)
  })
  try {
    simulation.run(program)
    const unexpected = simulation.errors.filter((error) =>
      // A store that goes on refusing while the engine stops.
      !/the store refused a commit|the last commit failed|could not be stored in time/.test(error)
    )
    assert.strictEqual(unexpected.join("\n"), "")
  } catch (error) {
    if (process.env["SIMULATION_SEED"]) console.log(trace.join("\n"))
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`)
  }
  return simulation.steps
}

describe("random lives of the engine", () => {
  it("every reader gets the log, whatever happens to the engine", () => {
    const only = process.env["SIMULATION_SEED"]
    if (only !== undefined) return void life(Number(only), 300)
    const seeds = Number(process.env["SIMULATION_SEEDS"] ?? 12)
    const first = Number(process.env["SIMULATION_FIRST"] ?? 1)
    for (let seed = first; seed < first + seeds; seed++) life(seed, 300)
  }, 600_000)
})
