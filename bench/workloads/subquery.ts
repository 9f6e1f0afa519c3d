/**
 * W12, shapes whose clauses have subqueries.
 *
 * - moves: one change of `projects` brings the 1000 rows of a shape of `tasks WHERE project_id IN (SELECT id FROM projects WHERE owner =
 *   $1)`, or takes them away, with tags and without. Limit: the same rows by a SELECT, and then a long poll that one row ends.
 * - wide: 200 shapes that depend on 3 inner shapes each, and transactions of 99 changes of their table.
 * - steady: 200 projects a second come to an owner, each with one task. Limit: a bare reader, which has the project.
 * - permissions: 10, 100 and 1000 shapes of `documents WHERE id IN (SELECT document_id FROM shares WHERE user_id = $1)`; documents are
 *   shared 50 times a second, one after the other, with the user of one of them; then documents change that nobody has. Limit: a bare reader.
 * - restart: the server of 1000 such shapes is stopped and started on its storage; every client goes on where it was.
 * - values: what the set of an inner shape takes, by the server's heap with a million values and without. Limit: a `Map` of them.
 */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Forms from "../support/Forms.ts"
import * as Latency from "../support/Latency.ts"
import * as Processes from "../support/Processes.ts"
import * as RawHttp from "../support/RawHttp.ts"
import { atMost, type Figure, MB, median, percentile, type Report, usageFigures } from "../support/Report.ts"
import type { Server, Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Create from "../support/workers/create.ts"
import type * as Crowd from "../support/workers/crowd.ts"
import type * as Revisit from "../support/workers/revisit.ts"

const LIMIT = 120_000
const CONNECTIONS = 64
/** For the last of the clients' requests to have arrived. */
const SETTLE_MILLIS = 300

const OWNED = "project_id IN (SELECT id FROM projects WHERE owner = $1)"
const SHARED = "id IN (SELECT document_id FROM shares WHERE user_id = $1)"

const owned = (owner: string, tags: boolean): string =>
  `${Forms.target("tasks", OWNED, [owner])}${tags ? "" : "&tags=none"}`
const shared = (user: number): string => `${Forms.target("documents", SHARED, [String(user)])}&tags=none`

const full = (...tables: ReadonlyArray<string>) =>
  tables.map((table) => `ALTER TABLE ${table} REPLICA IDENTITY FULL`).join(";")

const create = async (server: Server, targets: ReadonlyArray<string>): Promise<Create.Result> => {
  const made = await Worker.once<Create.Job, Create.Result>(
    "create",
    "load",
    { port: server.port, targets, connections: CONNECTIONS },
    LIMIT
  )
  if (made.refused !== undefined) throw new Error(`the server refuses: ${made.refused}`)
  return made
}

/** A connection to write with. */
const withWriter = async <A>(url: string, use: (write: (sql: string) => Promise<void>) => Promise<A>): Promise<A> => {
  const { Client } = (await import("pg")).default
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return await use(async (sql) => {
      await client.query(sql)
    })
  } finally {
    await client.end()
  }
}

/** Milliseconds from when a statement's commit had returned until a waiting client had so many items that have the needle. */
const untilSeen = async (
  server: Server,
  target: string,
  items: number,
  needle: string,
  write: () => Promise<void>
): Promise<number> => {
  const crowd = Worker.start<Crowd.Job, Crowd.Result, "ready">("crowd", "load")
  try {
    let isReady = () => {}
    const ready = new Promise<void>((resolve) => {
      isReady = resolve
    })
    const done = crowd.ask({ port: server.port, targets: [target], rows: items, needle }, LIMIT, () => isReady())
    await Promise.race([ready, done])
    await Processes.sleep(SETTLE_MILLIS)
    await write()
    const committed = process.hrtime.bigint()
    const { received } = await done
    return Number(received[0]! - committed) / 1e6
  } finally {
    crowd.stop()
  }
}

/** Completes when the log of a shape ends with a transaction that inserted a row with this key. */
const awaitRow = async (connection: RawHttp.Connection, target: string, id: number): Promise<void> => {
  const key = `/\\"${id}\\"`
  let body = ""
  await Processes.until(LIMIT, `row ${id}`, async () => {
    body = ""
    await RawHttp.follow(connection, target, (bytes) => {
      body += bytes.toString("latin1")
    })
    return body.includes(key) ? true : undefined
  }, 5)
}

// --- moves ---

const ROWS = 1000
const PROJECTS = 20

const INSERT = "\"operation\":\"insert\""
const DELETE = "\"operation\":\"delete\""
const MOVE_OUT = "\"event\":\"move-out\""

interface Move {
  readonly tags: boolean
  readonly into: number
  readonly out: number
  readonly select: number
  readonly poll: number
}

const moves = async (bench: Bench): Promise<Report> => {
  const { quick, runs } = bench.options
  const rounds = quick ? 3 : 5
  const url = await bench.database("bench_subquery_moves", async (url) => {
    await Database.query(
      url,
      `CREATE TABLE projects (id int PRIMARY KEY, owner text NOT NULL);
       CREATE TABLE tasks (id int PRIMARY KEY, project_id int NOT NULL, note text NOT NULL);
       ${full("projects", "tasks")};
       INSERT INTO projects SELECT i, 'nobody' FROM generate_series(1, ${PROJECTS}) i;
       INSERT INTO tasks SELECT i, 1 + i % ${PROJECTS}, md5(i::text) FROM generate_series(1, ${ROWS * PROJECTS}) i;
       CREATE INDEX ON tasks (project_id)`
    )
    await Database.settle(url, "tasks")
  })
  const found: Array<Move> = []
  let id = 1_000_000
  for (let i = 1; i <= runs; i++) {
    await bench.withServer({ label: "subquery-moves", databaseUrl: url }, (server) =>
      withWriter(url, async (write) => {
        for (const tags of [false, true]) {
          bench.progress(`subquery, moves ${i}/${runs}: ${tags ? "with tags" : "tags=none"}`)
          for (let round = 0; round < rounds; round++) {
            const project = 1 + (round % PROJECTS)
            // A client of a new shape each time: it has no long log to read first.
            const owner = `owner ${i} ${tags} ${round}`
            const target = owned(owner, tags)
            await create(server, [target])
            const give = (to: string) => write(`UPDATE projects SET owner = '${to}' WHERE id = ${project}`)
            const into = await untilSeen(server, target, ROWS, INSERT, () => give(owner))
            const begin = performance.now()
            await write(
              `SELECT * FROM tasks WHERE project_id IN (SELECT id FROM projects WHERE owner = '${owner}')`
            )
            const select = performance.now() - begin
            const row = ++id
            const poll = await untilSeen(server, target, 1, INSERT, () =>
              write(`INSERT INTO tasks VALUES (${row}, ${project}, 'x')`))
            const out = await untilSeen(server, target, tags ? 1 : ROWS + 1, tags ? MOVE_OUT : DELETE, () =>
              give("nobody"))
            await write(`DELETE FROM tasks WHERE id = ${row}`)
            found.push({ tags, into, out, select, poll })
          }
        }
      }))
  }
  const figures = [false, true].flatMap((tags): ReadonlyArray<Figure> => {
    const mine = found.filter((move) => move.tags === tags)
    const of = (pick: (move: Move) => number) => median(mine.map(pick))
    const limit = of(({ poll, select }) => poll + select)
    const one = (what: string, ours: number): Figure => ({
      what: `${tags ? "with tags" : "tags=none"}: ${what}`,
      ours,
      unit: "ms",
      limit,
      ratio: limit / ours,
      aim: atMost(ours, 50, "ms")
    })
    return [one("move-in", of(({ into }) => into)), one("move-out", of(({ out }) => out))]
  })
  return {
    workload: "subquery, moves",
    title:
      `W12, ${ROWS} rows move by one change of another table: commit to last row; limit: the SELECT and one long poll`,
    figures,
    notes: [`medians over ${rounds} moves of each run, each of a new shape; each client got the rows and no more`],
    runs: found
  }
}

// --- wide ---

const WIDE_SHAPES = 200
const CHANGES = 99

const wideWhere = [1, 2, 3].map((i) => `g${i} IN (SELECT id FROM groups WHERE owner = $${i})`).join(" AND ")

const wide = async (bench: Bench): Promise<Report> => {
  const { quick, runs } = bench.options
  const transactions = quick ? 50 : 200
  const url = await bench.database("bench_subquery_wide", (url) =>
    Database.query(
      url,
      `CREATE TABLE groups (id int PRIMARY KEY, owner int NOT NULL);
       CREATE TABLE items (id int PRIMARY KEY, g1 int NOT NULL, g2 int NOT NULL, g3 int NOT NULL, note text NOT NULL);
       ${full("groups", "items")};
       INSERT INTO groups SELECT i, i FROM generate_series(0, ${3 * WIDE_SHAPES - 1}) i`
    ))
  const target = (i: number) =>
    `${Forms.target("items", wideWhere, [0, 1, 2].map((n) => String(i + n * WIDE_SHAPES)))}&tags=none`
  const usages: Array<Usage> = []
  let id = 0
  for (let i = 1; i <= runs; i++) {
    bench.progress(`subquery, wide ${i}/${runs}`)
    await bench.withServer({ label: "subquery-wide", databaseUrl: url }, (server) =>
      withWriter(url, async (write) => {
        await create(server, Array.from({ length: WIDE_SHAPES }, (_, i) => target(i)))
        const connection = await RawHttp.connect(server.port)
        // Each row is in one shape: of each transaction half of them have something.
        const insert = () => {
          const first = id + 1
          id += CHANGES
          const group = (n: number) => `i % ${WIDE_SHAPES} + ${n * WIDE_SHAPES}`
          return write(
            `INSERT INTO items SELECT i, ${group(0)}, ${group(1)}, ${
              group(2)
            }, 'x' FROM generate_series(${first}, ${id}) i`
          )
        }
        const last = () => awaitRow(connection, target(id % WIDE_SHAPES), id)
        for (let n = 0; n < 20; n++) await insert()
        await last()
        const measure = await server.measure()
        for (let n = 0; n < transactions; n++) await insert()
        await last()
        usages.push(await measure.end())
        connection.close()
      }))
  }
  const millis = median(usages.map(({ cpuSeconds }) => cpuSeconds)) / transactions * 1000
  return {
    workload: "subquery, wide",
    title: `W12, ${WIDE_SHAPES} shapes of 3 subqueries each, transactions of ${CHANGES} inserts`,
    figures: [
      { what: "server CPU per transaction", ours: millis, unit: "ms", aim: atMost(millis, 15, "ms") },
      ...usageFigures(usages)
    ],
    notes: [`each insert is in one of the shapes; ${transactions} transactions after 20 that don't count`],
    runs: usages
  }
}

// --- steady ---

const PER_SECOND = 200

const steady = async (bench: Bench): Promise<Report> => {
  const { quick, runs } = bench.options
  const seconds = quick ? 5 : 10
  const count = PER_SECOND * seconds
  const each = PER_SECOND + count
  const url = await bench.database("bench_subquery_steady", async (url) => {
    await Database.query(
      url,
      `CREATE TABLE projects (id int PRIMARY KEY, owner text NOT NULL, note text NOT NULL);
       CREATE TABLE tasks (id int PRIMARY KEY, project_id int NOT NULL, note text NOT NULL);
       ${full("projects", "tasks")};
       INSERT INTO tasks SELECT i, i, 'x' FROM generate_series(1, ${2 * each * runs}) i;
       CREATE INDEX ON tasks (project_id)`
    )
    await Database.settle(url, "tasks")
  })
  const found: Array<Latency.Result & { readonly tags: boolean }> = []
  let firstId = 1
  for (let i = 1; i <= runs; i++) {
    for (const tags of [false, true]) {
      bench.progress(`subquery, steady ${i}/${runs}: ${tags ? "with tags" : "tags=none"}`)
      const owner = `owner ${i} ${tags}`
      await bench.withServer({ label: "subquery-steady", databaseUrl: url }, async (server) => {
        await create(server, [owned(owner, tags)])
        const result = await Latency.measure({
          url,
          server,
          shape: owned(owner, tags),
          insert: `INSERT INTO projects VALUES ($1, '${owner}', $2)`,
          firstId,
          perSecond: PER_SECOND,
          count
        })
        found.push({ ...result, tags })
      })
      firstId += each
    }
  }
  return {
    workload: "subquery, steady",
    title:
      `W12, ${PER_SECOND} changes a second that bring one row each, for ${seconds} s: commit to row; limit: a bare reader`,
    figures: [false, true].flatMap((tags): ReadonlyArray<Figure> => {
      const mine = found.filter((result) => result.tags === tags)
      const [ours, bare] = [mine.flatMap((result) => result.ours), mine.flatMap((result) => result.bare)]
      const cpu = median(mine.map(({ usage }) => usage.cpuSeconds)) / each
      return [
        {
          what: `${tags ? "with tags" : "tags=none"}: p50`,
          ours: percentile(ours, 0.5),
          unit: "ms",
          limit: percentile(bare, 0.5)
        },
        { what: "  p99", ours: percentile(ours, 0.99), unit: "ms", limit: percentile(bare, 0.99) },
        { what: "  the last row", ours: median(mine.map((result) => result.ours.at(-1)!)), unit: "ms" },
        { what: "  server CPU per change", ours: cpu * 1000, unit: "ms" }
      ]
    }),
    notes: ["every row came, once; it keeps up when the last row is no later than others"],
    runs: found.map(({ tags, ...result }) => ({ tags, ...Latency.summary(result) }))
  }
}

// --- permissions and restart ---

const DOCUMENTS = 10_000
const UNRELATED = 20_000
const GRANTS_PER_SECOND = 50

interface Permissions {
  readonly shapes: number
  readonly latency: Latency.Result
  readonly grants: number
  /** Server CPU per unrelated change, in microseconds. */
  readonly unrelated: number
}

interface Restart {
  readonly firstMillis: number
  readonly followingMillis: number
  readonly allMillis: number
  readonly usage: Usage
}

/** Some of the users' documents, as the clients have them, are those that Postgres says. */
const checkShared = async (server: Server, url: string, users: ReadonlyArray<number>) => {
  const connection = await RawHttp.connect(server.port)
  for (const user of users) {
    const keys = new Set<string>()
    let body = ""
    await RawHttp.follow(connection, shared(user), (bytes) => {
      body += bytes.toString("latin1")
    })
    for (const [, id] of body.matchAll(/\\"\/\\"(\d+)\\"/g)) keys.add(id!)
    const rows = await Database.query(
      url,
      `SELECT id FROM documents WHERE id IN (SELECT document_id FROM shares WHERE user_id = ${user})`
    )
    if (keys.size !== rows.length || !rows.every(({ id }) => keys.has(id!))) {
      throw new Error(`user ${user} has ${keys.size} documents of ${rows.length}`)
    }
  }
  connection.close()
}

const permissions = async (bench: Bench): Promise<ReadonlyArray<Report>> => {
  const { quick, runs } = bench.options
  const steps = quick ? [10, 100, 300] : [10, 100, 1000]
  const most = steps.at(-1)!
  const grants = GRANTS_PER_SECOND * 3
  const url = await bench.database("bench_subquery_permissions", async (url) => {
    await Database.query(
      url,
      `CREATE TABLE documents (id int PRIMARY KEY, title text NOT NULL);
       CREATE TABLE shares (id int PRIMARY KEY, user_id int NOT NULL, document_id int NOT NULL, note text NOT NULL);
       ${full("documents", "shares")};
       INSERT INTO documents SELECT i, md5(i::text) FROM generate_series(1, ${DOCUMENTS}) i;
       INSERT INTO shares SELECT i, i % ${most}, 1 + i % 1000, 'x' FROM generate_series(1, ${10 * most}) i;
       CREATE INDEX ON shares (user_id)`
    )
    await Database.settle(url, "documents")
    await Database.settle(url, "shares")
  })
  const found: Array<Permissions> = []
  const restarts: Array<Restart> = []
  const notes: Array<string> = []
  // Documents that are shared with one user each, after those of the beginning and before those with nobody.
  let firstId = 1_000_000
  for (let i = 1; i <= runs; i++) {
    const storage = bench.scratch("permissions")
    await bench.withServer(
      { label: "subquery-permissions", databaseUrl: url, storage, keepSlot: true },
      async (server) => {
        let made = 0
        for (const shapes of steps) {
          bench.progress(`subquery, permissions ${i}/${runs}: ${shapes} shapes`)
          const { wallMillis } = await create(
            server,
            Array.from({ length: shapes - made }, (_, n) => shared(made + n))
          )
          notes.push(`${shapes - made} shapes made in ${(wallMillis / 1000).toFixed(1)} s`)
          made = shapes
          const count = grants - GRANTS_PER_SECOND
          const user = (7 * i) % shapes
          // The document that is granted is the id's own.
          await Database.query(
            url,
            `INSERT INTO documents SELECT i, 'granted' FROM generate_series(${firstId}, ${firstId + grants - 1}) i`
          )
          const latency = await Latency.measure({
            url,
            server,
            shape: shared(user),
            insert: `INSERT INTO shares VALUES ($1, ${user}, $1, $2)`,
            firstId,
            perSecond: GRANTS_PER_SECOND,
            count
          })
          firstId += grants
          // Changes of documents that nobody has, and behind them one that the user gets.
          await Database.query(
            url,
            `INSERT INTO documents VALUES (${firstId}, 'last');
             UPDATE documents SET title = title WHERE id > 1000 AND id <= 2000`
          )
          const connection = await RawHttp.connect(server.port)
          const measure = await server.measure()
          for (let n = 0; n < UNRELATED; n += 1000) {
            await Database.query(
              url,
              "UPDATE documents SET title = title || 'x' WHERE id > 5000 AND id <= 6000"
            )
          }
          await Database.query(url, `INSERT INTO shares VALUES (${firstId}, ${user}, ${firstId}, 'x')`)
          await awaitRow(connection, shared(user), firstId)
          const { cpuSeconds } = await measure.end()
          connection.close()
          firstId += 1
          await checkShared(server, url, [user, 0, shapes - 1])
          found.push({ shapes, latency, grants, unrelated: cpuSeconds / UNRELATED * 1e6 })
        }
      }
    )
    restarts.push(await restart(bench, url, storage, most, i === runs))
  }
  const of = (shapes: number) => found.filter((each) => each.shapes === shapes)
  const cpuOf = ({ grants, latency }: Permissions) => latency.usage.cpuSeconds / grants * 1000
  const fewest = percentile(of(steps[0]!).flatMap(({ latency }) => latency.ours), 0.5)
  const figures = steps.flatMap((shapes): ReadonlyArray<Figure> => {
    const mine = of(shapes)
    const ours = mine.flatMap(({ latency }) => latency.ours)
    const bare = mine.flatMap(({ latency }) => latency.bare)
    const p50 = percentile(ours, 0.5)
    return [
      {
        what: `${shapes} shapes: a grant, p50`,
        ours: p50,
        unit: "ms",
        limit: percentile(bare, 0.5),
        aim: atMost(p50, Math.round(fewest * 130) / 100, "ms")
      },
      { what: "  p99", ours: percentile(ours, 0.99), unit: "ms", limit: percentile(bare, 0.99) },
      { what: "  server CPU per grant", ours: median(mine.map(cpuOf)), unit: "ms" },
      { what: "  server CPU per unrelated change", ours: median(mine.map(({ unrelated }) => unrelated)), unit: "us" }
    ]
  })
  return [
    {
      workload: "subquery, permissions",
      title: `W12, documents are shared with one of many users, ${GRANTS_PER_SECOND} a second; limit: a bare reader`,
      figures: [...figures, ...usageFigures(of(most).map(({ latency }) => latency.usage))],
      notes: ["the latencies' aim is 1.3 times that of the fewest shapes", ...notes],
      runs: found.map(({ latency, ...rest }) => ({ ...rest, ...Latency.summary(latency) }))
    },
    {
      workload: "subquery, restart",
      title: `W12, a start with ${most} such shapes, every client where it was`,
      figures: [
        { what: "until the first answer", ours: median(restarts.map(({ firstMillis }) => firstMillis)), unit: "ms" },
        { what: "until it follows", ours: median(restarts.map(({ followingMillis }) => followingMillis)), unit: "ms" },
        { what: `all ${most} clients`, ours: median(restarts.map(({ allMillis }) => allMillis)), unit: "ms" },
        ...usageFigures(restarts.map(({ usage }) => usage))
      ],
      notes: [
        "from the process's start; no client got anything but a 200, and each has its handle still",
        "CPU and memory from when it follows until all clients have had their answers"
      ],
      runs: restarts
    }
  ]
}

const restart = async (
  bench: Bench,
  url: string,
  storage: string,
  shapes: number,
  isLast: boolean
): Promise<Restart> => {
  const visit = (port: number, places: ReadonlyArray<Revisit.Place>) =>
    Worker.once<Revisit.Job, Revisit.Result>("revisit", "load", { port, places, connections: CONNECTIONS }, LIMIT)
  const targets = Array.from({ length: shapes }, (_, user) => shared(user))
  bench.progress(`subquery, restart of ${shapes} shapes`)
  const { ends } = await bench.withServer(
    { label: "subquery-before", databaseUrl: url, storage, keepSlot: true },
    ({ port }) => visit(port, targets.map((target) => ({ target, from: undefined })))
  )
  // The stream brings something to every start.
  await Database.query(url, "UPDATE documents SET title = title || 'y' WHERE id <= 1000")
  const begin = process.hrtime.bigint()
  let followingMillis = 0
  return bench.withServer(
    {
      label: "subquery-restart",
      databaseUrl: url,
      storage,
      keepSlot: false,
      onFollowing: () => {
        followingMillis = Number(process.hrtime.bigint() - begin) / 1e6
      }
    },
    async (server) => {
      const measure = await server.measure()
      const connection = await RawHttp.connect(server.port)
      await Processes.until(LIMIT, "the first answer", async () => {
        const head = await connection.get(`${targets[0]!}&offset=${ends[0]!.offset}&handle=${ends[0]!.handle}`)
        if (head.status === 503) return undefined
        RawHttp.position(head)
        return true
      })
      const firstMillis = Number(process.hrtime.bigint() - begin) / 1e6
      connection.close()
      await visit(server.port, targets.map((target, i) => ({ target, from: ends[i]! })))
      const allMillis = Number(process.hrtime.bigint() - begin) / 1e6
      const usage = await measure.end()
      if (isLast) await checkShared(server, url, [0, 1, shapes - 1])
      return { firstMillis, followingMillis, allMillis, usage }
    }
  )
}

// --- values ---

/** Bytes of a Map's entry with a number's text for its key. */
const mapEntry = (count: number): number => {
  setFlagsFromString("--expose-gc")
  const collect: () => void = runInNewContext("gc")
  collect()
  const before = process.memoryUsage().heapUsed
  const entries = new Map<string, number>()
  for (let i = 0; i < count; i++) entries.set(`${1_000_000_000 + i}`, 1)
  collect()
  return Math.max(0, (process.memoryUsage().heapUsed - before) / entries.size)
}

const values = async (bench: Bench): Promise<Report> => {
  const count = bench.options.rows
  const url = await bench.database("bench_subquery_values", async (url) => {
    await Database.query(
      url,
      `CREATE TABLE few (id int PRIMARY KEY, value int);
       CREATE TABLE many (id int PRIMARY KEY);
       ${full("few", "many")};
       INSERT INTO few VALUES (1, 1000000001), (2, 5);
       INSERT INTO many SELECT 1000000000 + i FROM generate_series(1, ${count}) i`
    )
    await Database.settle(url, "many")
  })
  const target = (from: number) => Forms.target("few", "value IN (SELECT id FROM many WHERE id > $1)", [String(from)])
  bench.progress(`subquery, values: ${count} of them`)
  const found = await bench.withServer({ label: "subquery-values", databaseUrl: url }, async (server) => {
    // An empty set first: everything is there that is there once.
    await create(server, [target(2_000_000_000)])
    const before = await server.look()
    const { wallMillis } = await create(server, [target(0)])
    const measure = await server.measure()
    // What is on its way to the store has got there.
    await Processes.sleep(5000)
    const usage = await measure.end()
    const after = await server.look()
    return { before, after, usage, wallMillis }
  })
  const bytes = (found.after.heap - found.before.heap) / count
  const outside = (found.after.external - found.before.external) / count
  const limit = mapEntry(count)
  return {
    workload: "subquery, values",
    title: `W12, memory of a set of ${count} values, numbers of 10 digits; limit: a Map of them`,
    figures: [
      { what: "a value: heap", ours: bytes, unit: "B", limit, ratio: limit / bytes, aim: atMost(bytes, 120, "B") },
      { what: "  held outside", ours: outside, unit: "B" },
      { what: "until the shape is made", ours: found.wallMillis / 1000, unit: "s" },
      { what: "server peak RSS", ours: found.usage.peakRss / MB, unit: "MB" }
    ],
    notes: ["garbage has been collected before each look"],
    runs: [found]
  }
}

// --- All ---

export const parts = { moves, wide, steady, permissions, values }

export const run = async (bench: Bench): Promise<ReadonlyArray<Report>> => {
  const reports: Array<Report> = []
  for (const part of Object.values(parts)) {
    const found = await part(bench)
    reports.push(...(Array.isArray(found) ? found : [found]))
  }
  return reports
}
