/**
 * W14, shapes that overlap: 100 to 1500 of them, all of which each row of a transaction of 50 rows concerns, and a client on each that waits
 * in a long poll. Time counts from when COMMIT had returned to when the last client had all 50 rows.
 *
 * Limit: a bare reader of a slot of its own, which has the whole transaction. It answers nobody: what answering so many clients costs at
 * least is not in it, and `small` says what a response costs a bare `node:http` server.
 *
 * The clauses differ, the columns don't, so each change is to be made into an item once and no more, whatever the number of shapes. How
 * often it was is read from the server.
 */
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Forms from "../support/Forms.ts"
import * as Processes from "../support/Processes.ts"
import { atMost, type Figure, median, type Report, usageFigures } from "../support/Report.ts"
import type { Server, Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Bare from "../support/workers/bareReader.ts"
import type * as Create from "../support/workers/create.ts"
import type * as Crowd from "../support/workers/crowd.ts"

const LIMIT = 120_000
const ROWS = 50
const ROUNDS = 5
const CONNECTIONS = 64
const BARE_SLOT = "bench_bare_overlap"
/** For the last of the clients' requests to have arrived. */
const SETTLE_MILLIS = 1000

interface Round {
  readonly shapes: number
  readonly lastMillis: number
  readonly medianMillis: number
  readonly bareMillis: number
  readonly encodings: number
  readonly usage: Usage
  readonly clientCpuSeconds: number
}

/** All rows have `n` of 1. */
const target = (i: number) => Forms.target("items", "n >= $1", [String(-i)])

const round = async (server: Server, url: string, shapes: number, firstId: number): Promise<Round> => {
  const targets = Array.from({ length: shapes }, (_, i) => target(i))
  const crowd = Worker.start<Crowd.Job, Crowd.Result, "ready">("crowd", "load")
  const bare = Worker.start<Bare.Job, Bare.Result, "ready">("bareReader", "load")
  try {
    await Database.query(url, `SELECT pg_create_logical_replication_slot('${BARE_SLOT}', 'pgoutput')`)
    let isReady = () => {}
    const ready = new Promise<void>((resolve) => {
      let waiting = 2
      isReady = () => {
        if (--waiting === 0) resolve()
      }
    })
    const clients = crowd.ask({ port: server.port, targets, rows: ROWS }, LIMIT, isReady)
    const reader = bare.ask(
      { url, slot: BARE_SLOT, publication: Database.PUBLICATION, changes: ROWS, firstId },
      LIMIT,
      isReady
    )
    const done = Promise.all([clients, reader])
    await Promise.race([ready, done])
    await Processes.sleep(SETTLE_MILLIS)
    const before = await server.look()
    const measure = await server.measure()
    await Database.query(
      url,
      `INSERT INTO items SELECT i, 'name', 'active', '2024-01-01Z', 1, 'x' FROM generate_series(${firstId}, ${
        firstId + ROWS - 1
      }) i`
    )
    const committed = process.hrtime.bigint()
    const [{ cpuSeconds, received }, { received: bareReceived }] = await done
    const usage = await measure.end()
    const after = await server.look()
    const millis = Array.from(received, (at) => Number(at - committed) / 1e6)
    return {
      shapes,
      lastMillis: Math.max(...millis),
      medianMillis: median(millis),
      bareMillis: Math.max(...Array.from(bareReceived, (at) => Number(at - committed) / 1e6)),
      encodings: (after.encodings - before.encodings) / ROWS,
      usage,
      clientCpuSeconds: cpuSeconds
    }
  } finally {
    crowd.stop()
    bare.stop()
    await Database.dropSlot(url, BARE_SLOT)
  }
}

export const run = async (bench: Bench): Promise<Report> => {
  const { quick, runs } = bench.options
  const steps = quick ? [50, 200] : [100, 500, 1000, 1500]
  const url = await bench.items("bench_overlap", 1)
  const results: Array<Round> = []
  const notes: Array<string> = []
  for (let i = 1; i <= runs && notes.length === 0; i++) {
    await bench.withServer({ label: "overlap", databaseUrl: url }, async (server) => {
      let firstId = 1_000_000 * i
      for (const shapes of steps) {
        bench.progress(`overlap ${i}/${runs}: ${shapes} shapes`)
        const { refused } = await Worker.once<Create.Job, Create.Result>(
          "create",
          "load",
          {
            port: server.port,
            targets: Array.from({ length: shapes }, (_, i) => target(i)),
            connections: CONNECTIONS
          },
          LIMIT
        )
        if (refused !== undefined) {
          notes.push(`LEFT OUT: the server refuses n >= $1: ${refused.slice(0, 300)}`)
          return
        }
        for (let n = 0; n < ROUNDS; n++) {
          results.push(await round(server, url, shapes, firstId))
          firstId += ROWS
        }
      }
    })
  }
  const figures = notes.length > 0 ? [] : steps.flatMap((shapes): ReadonlyArray<Figure> => {
    const mine = results.filter((result) => result.shapes === shapes)
    const of = (pick: (result: Round) => number) => median(mine.map(pick))
    const last = of(({ lastMillis }) => lastMillis)
    const encodings = Math.max(...mine.map(({ encodings }) => encodings))
    return [
      {
        what: `${shapes} shapes: the last client`,
        ours: last,
        unit: "ms",
        limit: of(({ bareMillis }) => bareMillis),
        aim: atMost(last, 150, "ms")
      },
      { what: "  half of them", ours: of(({ medianMillis }) => medianMillis), unit: "ms" },
      { what: "  times that a change is encoded", ours: encodings, unit: "", aim: atMost(encodings, 1, "") },
      { what: "  CPU of server", ours: of(({ usage }) => usage.cpuSeconds) * 1000, unit: "ms" },
      { what: "  CPU of clients", ours: of(({ clientCpuSeconds }) => clientCpuSeconds) * 1000, unit: "ms" }
    ]
  })
  const most = results.filter(({ shapes }) => shapes === steps.at(-1)).map(({ usage }) => usage)
  return {
    workload: "overlap",
    title: `W14, shapes that all get ${ROWS} rows of one transaction, a client on each; limit: a bare reader has them`,
    figures: most.length === 0 ? [] : [...figures, ...usageFigures(most)],
    notes: [...notes, `medians over ${ROUNDS} transactions of each run; each client got ${ROWS} rows and no more`],
    runs: results
  }
}
