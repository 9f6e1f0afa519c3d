/**
 * W6, shapes that no index finds: 10 to 10 000 shapes of `name ILIKE 'prefix%'`, each of which has to look at each change.
 *
 * A transaction of inserts is written that concerns none of them, and then one row that concerns the first: time and CPU count from before
 * the former to when the latter is readable. The server's CPU for the same with one shape, which is decoding and all else that is done
 * once, is taken off; what is left is divided by shapes and changes.
 *
 * Limit: a loop in the server's place that calls a compiled predicate per shape on the same names, which are JavaScript strings there
 * already: what a shape can cost at least without an index. It neither decodes nor folds case as Postgres does.
 */
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Forms from "../support/Forms.ts"
import * as Processes from "../support/Processes.ts"
import * as RawHttp from "../support/RawHttp.ts"
import { atMost, type Figure, median, type Report, usageFigures } from "../support/Report.ts"
import type { Server, Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Create from "../support/workers/create.ts"
import type * as Predicates from "../support/workers/predicates.ts"

const LIMIT = 300_000
const CONNECTIONS = 64
/** Shapes times changes of one measurement. */
const EVALUATIONS = 10_000_000

interface Result {
  readonly shapes: number
  readonly changes: number
  readonly wallMillis: number
  readonly usage: Usage
  readonly limit: Predicates.Result
}

const prefix = (i: number) => `p${i}-`
const target = (i: number) => Forms.target("items", "name ILIKE $1", [`${prefix(i)}%`])
/** Begins as the prefixes do, and is none of them. */
const nameOf = (i: number) => `P${i % 97}x name ${i}`

const lsnOf = (offset: string): bigint => BigInt(offset.split("_")[0]!)

/** Writes the changes, and waits until the row that comes after them can be read in the first shape. */
const measure = async (server: Server, url: string, first: number, changes: number) => {
  const connection = await RawHttp.connect(server.port)
  const end = async () => lsnOf(RawHttp.position(await connection.get(`${target(0)}&offset=now`)).offset)
  const before = await end()
  const begun = await server.measure()
  const at = performance.now()
  const insert = (name: string, from: number, to: number) =>
    `INSERT INTO items SELECT i, ${name}, 'active', '2024-01-01Z', 1, 'x' FROM generate_series(${from}, ${to}) i;`
  await Database.query(
    url,
    `BEGIN; ${insert("'P' || i % 97 || 'x name ' || i", first, first + changes - 1)} COMMIT;
     ${insert(`'${prefix(0)}'`, first + changes, first + changes)}`
  )
  await Processes.until(LIMIT, "the last row", async () => (await end()) > before ? true : undefined)
  const wallMillis = performance.now() - at
  const usage = await begun.end()
  connection.close()
  return { wallMillis, usage }
}

export const run = async (bench: Bench): Promise<Report> => {
  const { quick, runs } = bench.options
  const steps = quick ? [10, 100, 1000] : [10, 100, 1000, 2000, 10_000]
  const evaluations = quick ? EVALUATIONS / 10 : EVALUATIONS
  const url = await bench.items("bench_unindexed", 10)
  const results: Array<Result> = []
  const once: Array<number> = []
  const notes: Array<string> = []
  for (let i = 1; i <= runs; i++) {
    await bench.withServer({ label: "unindexed", databaseUrl: url }, async (server) => {
      let first = 1_000_000 * i
      let made = 0
      const create = async (shapes: number) => {
        const targets = Array.from({ length: shapes - made }, (_, n) => target(made + n))
        made = shapes
        return Worker.once<Create.Job, Create.Result>(
          "create",
          "load",
          { port: server.port, targets, connections: CONNECTIONS },
          LIMIT
        )
      }
      const { refused } = await create(1)
      if (refused !== undefined) {
        notes.push(`LEFT OUT: the server refuses name ILIKE $1: ${refused.slice(0, 300)}`)
        return
      }
      // With one shape, for what does not depend on their number; and once before, so that it is compiled.
      const alone = Math.min(20_000, evaluations / 10)
      for (const counts of [false, true]) {
        const { usage } = await measure(server, url, first, alone)
        first += alone + 1
        if (counts) once.push(usage.cpuSeconds / alone)
      }
      for (const shapes of steps) {
        bench.progress(`unindexed ${i}/${runs}: ${shapes} shapes`)
        await create(shapes)
        const changes = Math.min(20_000, Math.max(100, Math.round(evaluations / shapes)))
        const limit = await Worker.once<Predicates.Job, Predicates.Result>(
          "predicates",
          "server",
          {
            prefixes: Array.from({ length: shapes }, (_, n) => prefix(n)),
            names: Array.from({ length: changes }, (_, n) => nameOf(first + n))
          },
          LIMIT
        )
        if (limit.found !== 0) throw new Error("the names were to match nothing")
        results.push({ shapes, changes, limit, ...await measure(server, url, first, changes) })
        first += changes + 1
      }
    })
    if (notes.length > 0) break
  }
  const figures = notes.length > 0 ? [] : steps.flatMap((shapes): ReadonlyArray<Figure> => {
    const mine = results.filter((result) => result.shapes === shapes)
    const of = (pick: (result: Result) => number) => median(mine.map(pick))
    const each = of(({ changes, usage }) => (usage.cpuSeconds / changes - median(once)) / shapes * 1e6)
    const limit = of(({ changes, limit }) => limit.cpuSeconds / changes / shapes * 1e6)
    return [
      { what: `${shapes} shapes: CPU per shape and change`, ours: each, unit: "us", limit, aim: atMost(each, 1, "us") },
      { what: "  time per change", ours: of(({ changes, wallMillis }) => wallMillis / changes), unit: "ms" }
    ]
  })
  const most = results.filter(({ shapes }) => shapes === steps.at(-1)).map(({ usage }) => usage)
  return {
    workload: "unindexed",
    title: "W6, changes that shapes of name ILIKE 'prefix%' have to look at; limit: a loop over compiled predicates",
    figures: most.length === 0 ? [] : [
      ...figures,
      { what: "with one shape: CPU per change", ours: median(once) * 1e6, unit: "us" },
      ...usageFigures(most)
    ],
    notes,
    runs: results
  }
}
