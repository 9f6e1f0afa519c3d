/**
 * W5, many shapes that an index finds: 10 to 50 000 shapes of `column = $1`, and some thousands of the other indexed forms.
 *
 * (a) From commit to client, with one client that follows one of them. (b) Draining a backlog of inserts, each of which concerns one shape,
 * all shapes in turn, by 100 in a transaction and by 1. (c) The same with inserts that concern no shape. The table has a column for each
 * number of shapes, so that one backlog does for all.
 *
 * The server makes its shapes and stops. Then, backlog after backlog and run after run, it starts on a copy of its storage and of its slot;
 * the last run is on the storage itself, which so comes to where the next backlog begins. Each backlog ends with a row that concerns the
 * first shape of each: time counts from when the server follows the slot to when that row can be read, asked for every 20 ms. Limit: a bare
 * reader of another copy of the same slot, on the server's core. It stores nothing and does not look at values.
 */
import * as fs from "node:fs/promises"
import * as path from "node:path"
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Forms from "../support/Forms.ts"
import * as Latency from "../support/Latency.ts"
import * as Processes from "../support/Processes.ts"
import * as RawHttp from "../support/RawHttp.ts"
import { atLeast, atMost, type Figure, median, percentile, type Report, usageFigures } from "../support/Report.ts"
import type { Server, Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Bare from "../support/workers/bareReader.ts"
import type * as Check from "../support/workers/check.ts"
import type * as Create from "../support/workers/create.ts"

const LIMIT = 600_000
const CONNECTIONS = 64
const MASTER = "bench_master"
const BARE = "bench_bare"
const PER_SECOND = 100

/** So many shapes of one form, and where their server keeps them. */
interface Variant {
  readonly name: string
  readonly form: Forms.Form
  readonly column: string
  readonly shapes: number
  readonly storage: string
  readonly target: (i: number) => string
}

interface Kind {
  readonly name: string
  readonly title: string
  readonly hits: boolean
  readonly perTransaction: number
  /** Changes a second that are aimed at, and share of the bare reader's. */
  readonly aim: { readonly rate: number; readonly ratio: number }
}

const kinds: ReadonlyArray<Kind> = [
  { name: "none, by 100", title: "c", hits: false, perTransaction: 100, aim: { rate: 80_000, ratio: 0.8 } },
  { name: "none, by 1", title: "c", hits: false, perTransaction: 1, aim: { rate: 80_000, ratio: 0.8 } },
  { name: "one each, by 100", title: "b", hits: true, perTransaction: 100, aim: { rate: 25_000, ratio: 0.3 } },
  { name: "one each, by 1", title: "b", hits: true, perTransaction: 1, aim: { rate: 25_000, ratio: 0.3 } }
]

interface Backlog {
  readonly kind: Kind
  readonly firstId: number
  readonly changes: number
}

// --- The table ---

const columnOf = (shapes: number) => `user_${shapes}`

/** A row of the shapes number `of`, which is an expression over `i`: -1 is in none. */
const values = (spreads: ReadonlyArray<number>, of: (spread: number) => string): string =>
  `i, ${spreads.map(of).join(", ")}, -1, 'active', i % 1000, left(repeat(md5(i::text), 4), 120)`

/** Writes the backlog, quickly: without a round trip or a wait for the disk for each commit. The last row is in each form's first shape. */
const generate = async (url: string, spreads: ReadonlyArray<number>, { changes, firstId, kind }: Backlog) => {
  const row = values(spreads, (spread) => kind.hits ? `(i % ${spread})` : "-1")
  await Database.query(
    url,
    `CREATE OR REPLACE PROCEDURE insert_tasks(first bigint, last bigint, step bigint) LANGUAGE plpgsql AS $$
     BEGIN
       FOR a IN first .. last BY step LOOP
         INSERT INTO tasks SELECT ${row} FROM generate_series(a, least(a + step - 1, last)) i;
         COMMIT;
       END LOOP;
     END $$`
  )
  const session = new URL(url)
  session.searchParams.set("options", "-c synchronous_commit=off")
  const half = firstId + Math.floor(changes / 2)
  const last = firstId + changes - 1
  await Promise.all(
    [[firstId, half - 1], [half, last - 1]].map(([from, to]) =>
      Database.query(session.href, `CALL insert_tasks(${from}, ${to}, ${kind.perTransaction})`)
    )
  )
  await Database.query(
    url,
    `INSERT INTO tasks SELECT ${values(spreads, () => "0")} FROM generate_series(${last}, ${last}) i`
  )
  await Database.query(url, "CHECKPOINT")
}

// --- Shapes ---

/** Makes the shapes; what the server said if it does not know the form. */
const create = async (server: Server, { shapes, target }: Variant) => {
  const ask = (targets: ReadonlyArray<string>) =>
    Worker.once<Create.Job, Create.Result>(
      "create",
      "load",
      { port: server.port, targets, connections: CONNECTIONS },
      LIMIT
    )
  const first = await ask([target(0)])
  return first.refused === undefined ? await ask(Array.from({ length: shapes - 1 }, (_, i) => target(i + 1))) : first
}

/** Some of the shapes, read as a client would: what is in the table is in them. */
const check = async (server: Server, url: string, { column, form, shapes, target }: Variant) => {
  for (const i of [0, 1, shapes >> 1, shapes - 1]) {
    const found = await Worker.once<Check.Job, Check.Result>(
      "check",
      "load",
      { port: server.port, shape: target(i) },
      LIMIT
    )
    const [table] = await Database.query(
      url,
      `SELECT count(*) AS rows, coalesce(sum(n), 0) AS sum FROM tasks WHERE ${
        Forms.sql(form.where(column), form.params(i, shapes))
      }`
    )
    if (found.rows !== Number(table?.rows) || found.sum !== Number(table?.sum)) {
      throw new Error(
        `shape ${i} of ${shapes}: the client has ${JSON.stringify(found)}, the table ${JSON.stringify(table)}`
      )
    }
  }
}

// --- Draining ---

interface Drained {
  readonly wallMillis: number
  readonly usage: Usage
}

const lsnOf = (offset: string): bigint => BigInt(offset.split("_")[0]!)

const drained = async (server: Server, { target }: Variant, until: bigint): Promise<Drained> => {
  const measure = await server.measure()
  const connection = await RawHttp.connect(server.port)
  await Processes.until(LIMIT, "the end of the backlog", async () => {
    const head = await connection.get(`${target(0)}&offset=now`)
    // At work at the backlog, it may not get to hear Postgres in time.
    if (head.status === 503) return undefined
    const { offset } = RawHttp.position(head)
    if (lsnOf(offset) > until) throw new Error("the shape ends beyond the last transaction")
    return lsnOf(offset) === until ? true : undefined
  })
  const done = process.hrtime.bigint()
  const usage = await measure.end()
  connection.close()
  return { wallMillis: Number(done - server.followingAt()) / 1e6, usage }
}

interface Measured {
  readonly variant: Variant
  readonly kind: Kind
  readonly runs: Array<Drained>
}

/** One run of a variant over a backlog: on a copy of its storage, or on the storage itself. */
const drainOnce = async (
  bench: Bench,
  url: string,
  variant: Variant,
  until: bigint,
  isLast: boolean
): Promise<Drained> => {
  await Database.copySlot(url, MASTER, Database.SLOT)
  const storage = isLast ? variant.storage : path.join(bench.scratch("storage"), "copy")
  if (!isLast) await fs.cp(variant.storage, storage, { recursive: true })
  try {
    return await bench.withServer(
      { label: `shapes-${variant.name}`, databaseUrl: url, storage, onFollowing: () => {} },
      (server) => drained(server, variant, until)
    )
  } finally {
    if (!isLast) await fs.rm(storage, { recursive: true, force: true })
  }
}

/** With all backlogs read: what is in the shapes, and how long a row takes to get there. */
const checkAndTime = async (
  bench: Bench,
  url: string,
  variant: Variant,
  job: Pick<Latency.Job, "firstId" | "insert" | "count">
): Promise<Latency.Result> => {
  await Database.copySlot(url, MASTER, Database.SLOT)
  return bench.withServer(
    { label: "shapes-latency", databaseUrl: url, storage: variant.storage },
    async (server) => {
      await check(server, url, variant)
      return Latency.measure({ url, server, shape: variant.target(0), perSecond: PER_SECOND, ...job })
    }
  )
}

// --- Reports ---

const drainReport = (
  kind: Kind,
  changes: number,
  bare: ReadonlyArray<Bare.Result>,
  measured: ReadonlyArray<Measured>
): Report => {
  const limit = changes / median(bare.map(({ wallMillis }) => wallMillis)) * 1000
  const rateOf = ({ runs }: Measured) => changes / median(runs.map(({ wallMillis }) => wallMillis)) * 1000
  const fewest = rateOf(measured[0]!)
  const figures = measured.flatMap((each): ReadonlyArray<Figure> => {
    const rate = rateOf(each)
    const usages = each.runs.map(({ usage }) => usage)
    const isMost = each.variant.form === Forms.equality && each.variant.shapes >= 50_000
    return [
      {
        what: `${each.variant.name}: changes`,
        ours: rate,
        unit: "1/s",
        limit,
        ratio: rate / limit,
        aim: rate < kind.aim.rate
          ? { text: `>= ${kind.aim.rate} 1/s`, met: false }
          : atLeast(rate / limit, kind.aim.ratio)
      },
      ...(isMost
        ? [{
          what: "  times slower than the fewest",
          ours: fewest / rate,
          unit: "",
          aim: atMost(fewest / rate, 1.3, "")
        }]
        : []),
      {
        what: "  server CPU per change",
        ours: median(usages.map((usage) => usage.cpuSeconds)) / changes * 1e6,
        unit: "us"
      },
      { what: "  peak RSS", ours: Math.max(...usages.map((usage) => usage.peakRss)) / 1e6, unit: "MB" }
    ]
  })
  return {
    workload: `shapes, ${kind.name}`,
    title:
      `W5${kind.title}, ${changes} inserts that concern ${
        kind.hits ? "one shape each" : "no shape"
      }, ${kind.perTransaction} in a ` +
      "transaction; limit: a bare reader",
    figures: [...figures, ...usageFigures(measured.at(-1)!.runs.map(({ usage }) => usage))],
    notes: [],
    runs: measured.map(({ runs, variant }) => ({ variant: variant.name, runs, bare }))
  }
}

const latencyReport = (
  seconds: number,
  results: ReadonlyArray<{ readonly variant: Variant; readonly result: Latency.Result }>,
  notes: ReadonlyArray<string>
): Report => {
  const fewest = percentile(results[0]!.result.ours, 0.5)
  return {
    workload: "shapes, latency",
    title:
      `W5a, commit to byte received with one client, ${PER_SECOND} writes/s for ${seconds} s; limit: a bare reader`,
    figures: results.flatMap(({ result: { bare, ours }, variant }): ReadonlyArray<Figure> => {
      const p50 = percentile(ours, 0.5)
      return [
        {
          what: `${variant.name}: p50`,
          ours: p50,
          unit: "ms",
          limit: percentile(bare, 0.5),
          ...(variant.form === Forms.equality && { aim: atMost(p50, Math.round(fewest * 130) / 100, "ms") })
        },
        { what: "  p99", ours: percentile(ours, 0.99), unit: "ms", limit: percentile(bare, 0.99) }
      ]
    }),
    notes: [
      "checked afterwards: four shapes of each have the table's rows of all backlogs",
      "the latencies' aim is 1.3 times that of the fewest shapes",
      ...notes
    ],
    runs: results.map(({ result, variant }) => ({ variant: variant.name, ...Latency.summary(result) }))
  }
}

export const run = async (bench: Bench): Promise<ReadonlyArray<Report>> => {
  const { quick, runs, seconds, transactions } = bench.options
  const spreads = quick ? [10, 1000] : [10, 1000, 10_000, 50_000]
  const ofForms = quick ? 1000 : 10_000
  const changes = Math.floor(transactions * 0.4)
  const url = await bench.database("bench_shapes", (url) => Database.createTasks(url, spreads))
  const variant = (form: Forms.Form, shapes: number): Variant => ({
    name: `${shapes} ${form.name}`,
    form,
    column: columnOf(shapes),
    shapes,
    storage: bench.scratch("shapes"),
    target: (i) => Forms.target("tasks", form.where(columnOf(shapes)), form.params(i, shapes))
  })
  const wanted = [
    ...spreads.map((shapes) => variant(Forms.equality, shapes)),
    ...Forms.forms.filter((form) => form !== Forms.equality).map((form) => variant(form, ofForms))
  ]

  const notes: Array<string> = []
  const variants: Array<Variant> = []
  for (const each of wanted) {
    bench.progress(`shapes: making ${each.name}`)
    const { refused, wallMillis } = await bench.withServer(
      { label: "shapes-made", databaseUrl: url, storage: each.storage, keepSlot: true },
      (server) => create(server, each)
    )
    // The first server's slot is the furthest back.
    if (each === wanted[0]) await Database.copySlot(url, Database.SLOT, MASTER)
    if (refused === undefined) {
      variants.push(each)
      notes.push(`${each.name}: made in ${(wallMillis / 1000).toFixed(1)} s`)
    } else notes.push(`${each.name}: LEFT OUT, the server refuses ${each.form.where("c")}: ${refused.slice(0, 300)}`)
  }
  await Database.dropSlot(url, Database.SLOT)

  const reports: Array<Report> = []
  const latencies: Array<{ readonly variant: Variant; readonly result: Latency.Result }> = []
  let firstId = 1
  for (const kind of kinds) {
    bench.progress(`shapes, ${kind.name}: writing the backlog`)
    await generate(url, spreads, { kind, firstId, changes })
    firstId += changes
    const bare: Array<Bare.Result> = []
    const measured = variants.map((variant): Measured => ({ variant, kind, runs: [] }))
    for (let i = 1; i <= runs; i++) {
      await Database.copySlot(url, MASTER, BARE)
      bare.push(
        await Worker.once<Bare.Job, Bare.Result>(
          "bareReader",
          "server",
          { url, slot: BARE, publication: Database.PUBLICATION, changes },
          LIMIT
        )
      )
      await Database.dropSlot(url, BARE)
      for (const { runs: results, variant } of measured) {
        bench.progress(`shapes, ${kind.name} ${i}/${runs}: ${variant.name}`)
        results.push(await drainOnce(bench, url, variant, bare.at(-1)!.lastLsn, i === runs))
      }
    }
    await Database.query(
      url,
      `SELECT pg_replication_slot_advance('${MASTER}', '0/0'::pg_lsn + ${bare[0]!.endLsn}::numeric)`
    )
    reports.push(drainReport(kind, changes, bare, measured))
  }
  const insert = `INSERT INTO tasks VALUES ($1, ${spreads.map(() => "0").join(", ")}, -1, 'active', 1, $2)`
  for (const [i, variant] of variants.entries()) {
    bench.progress(`shapes, latency: ${variant.name}`)
    const job = { insert, firstId: 1_000_000_000 + 1_000_000 * i, count: PER_SECOND * seconds }
    latencies.push({ variant, result: await checkAndTime(bench, url, variant, job) })
  }
  await Database.dropSlot(url, MASTER)
  return [...reports, latencyReport(seconds, latencies, notes)]
}
