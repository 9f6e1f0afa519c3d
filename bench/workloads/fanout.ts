/**
 * W4, live fan-out of one shape: a transaction of one row, and the clients that wait for it in long polls or streams of events. Time counts
 * from when COMMIT had returned to when a client had all of it. W4b: the same with 200 clients and a transaction of 1910 rows. The form
 * `shapes` has one long poll on each of 10,000 shapes, and a transaction with a row for each of them.
 *
 * Limit, measured right after: a bare `node:http` server on the server's core that holds as many requests and answers them all, with the
 * headers and the bytes that ours sent. It is told to by the benchmark and has no Postgres to wait for: its time counts from when it begins.
 *
 * All clients are in one process on the other core, which must read what the server writes: with many clients it is as busy as the
 * server. What a waiter takes in memory is the growth of the server's anonymous memory, and of its heap after garbage was collected.
 */
import type { Bench } from "../support/Bench.ts"
import * as Database from "../support/Database.ts"
import * as Forms from "../support/Forms.ts"
import * as Processes from "../support/Processes.ts"
import * as RawHttp from "../support/RawHttp.ts"
import { atMost, type Figure, median, percentile, type Report } from "../support/Report.ts"
import type { Server, Usage } from "../support/Server.ts"
import * as Worker from "../support/Worker.ts"
import type * as Create from "../support/workers/create.ts"
import type * as Crowd from "../support/workers/crowd.ts"
import type * as Raw from "../support/workers/rawWaiters.ts"
import type * as Waiters from "../support/workers/waiters.ts"

const LIMIT = 120_000
const SHAPE = "/v1/shape?table=items"
/** For the last requests to have arrived. */
const SETTLE_MILLIS = 1_000
const FAT = { clients: 200, rows: 1_910 }
const SHAPES = 10_000
/** Connections over which the shapes are made. */
const CONNECTIONS = 64
const FORMS = ["polls", "streams", "fat", "shapes"] as const
type Form = typeof FORMS[number]

interface Times {
  readonly p50: number
  readonly p99: number
  readonly last: number
  readonly cpuSeconds: number
}

interface Round {
  readonly form: Form
  readonly isStream: boolean
  readonly clients: number
  readonly rows: number
  readonly ours: Times
  readonly raw: Times
  readonly usage: Usage
  readonly heapPerWaiter: number
  readonly anonymousPerWaiter: number
  readonly rawPerWaiter: number
  readonly clientCpuSeconds: number
}

const timesOf = (received: BigInt64Array, from: bigint, cpuSeconds: number): Times => {
  const millis = Array.from(received, (at) => Number(at - from) / 1e6)
  return { p50: percentile(millis, 0.5), p99: percentile(millis, 0.99), last: Math.max(...millis), cpuSeconds }
}

/** Starts clients; resolves when their requests have arrived. */
const waiting = async <Job extends object, Result>(name: string, job: Job) => {
  const worker = Worker.start<Job, Result, "ready">(name, "load")
  let isReady = () => {}
  const ready = new Promise<void>((resolve) => {
    isReady = resolve
  })
  const done = worker.ask(job, LIMIT, isReady)
  await Promise.race([ready, done])
  await Processes.sleep(SETTLE_MILLIS)
  return { done, stop: worker.stop }
}

const waiters = (job: Waiters.Job) => waiting<Waiters.Job, Waiters.Result>("waiters", job)

/** What our server sends to one waiter: headers without those that a server adds of its own accord, and the body. */
interface Sample {
  readonly headers: ReadonlyArray<string>
  readonly body: string
}

const automatic = ["date", "connection", "keep-alive", "transfer-encoding", "content-length"]

const sample = async (port: number, target: string, isStream: boolean): Promise<Sample> => {
  const connection = await RawHttp.connect(port)
  let body = ""
  const head = await connection.get(target, (bytes) => {
    body += bytes.toString("latin1")
  })
  connection.close()
  const headers = head.text.split("\r\n").slice(1).flatMap((line) => {
    const colon = line.indexOf(":")
    const name = line.slice(0, colon).toLowerCase()
    return automatic.includes(name) ? [] : [name, line.slice(colon + 1).trim()]
  })
  if (!isStream) return { headers, body }
  const items = body.slice(1, -1).split(/,(?=\{"(?:headers|key|value)":)/)
  return { headers, body: items.map((item) => `data: ${item}\n\n`).join("") }
}

const insert = (firstId: number, rows: number, n: string) =>
  `INSERT INTO items SELECT i, 'name', 'active', '2024-01-01Z', ${n}, left(repeat(md5(i::text), 4), 120) FROM generate_series(${firstId}, ${
    firstId + rows - 1
  }) i`

const bare = async (job: Sample & { readonly isStream: boolean; readonly clients: number }) => {
  const server = Worker.start<Raw.Job, Raw.Result>("rawWaiters", "server")
  try {
    const { body, clients, headers, isStream } = job
    const { pid, port } = await server.ask({ _tag: "Listen", headers, body, isStream }, LIMIT)
    const before = Processes.memory(pid).anonymous
    const crowd = await waiters({ port, isStream, targets: Array.from({ length: clients }, () => "/") })
    try {
      const { cpuSeconds, waiting } = await server.ask({ _tag: "Look" }, LIMIT)
      if (waiting !== clients) throw new Error(`${waiting} of ${clients} requests arrived`)
      const perWaiter = (Processes.memory(pid).anonymous - before) / clients
      const { firedAt } = await server.ask({ _tag: "Fire" }, LIMIT)
      const { received } = await crowd.done
      const after = await server.ask({ _tag: "Look" }, LIMIT)
      return { times: timesOf(received, firedAt, after.cpuSeconds - cpuSeconds), perWaiter }
    } finally {
      crowd.stop()
    }
  } finally {
    server.stop()
  }
}

const round = async (
  server: Server,
  url: string,
  of: {
    readonly form: Form
    readonly isStream: boolean
    readonly clients: number
    readonly rows: number
    readonly firstId: number
  }
): Promise<Round> => {
  const { clients, firstId, form, isStream, rows } = of
  const connection = await RawHttp.connect(server.port)
  const { handle, offset } = await RawHttp.follow(connection, SHAPE, () => {})
  connection.close()
  const poll = `${SHAPE}&handle=${handle}&offset=${offset}&live=true`
  const target = isStream ? `${poll}&live_sse=true` : poll
  const before = { look: await server.look(), anonymous: Processes.memory(server.pid).anonymous }
  const crowd = await waiters({
    port: server.port,
    isStream,
    targets: Array.from({ length: clients }, (_, i) => `${target}&cursor=${i}`)
  })
  try {
    const look = await server.look()
    const { anonymous } = Processes.memory(server.pid)
    const measure = await server.measure()
    await Database.query(url, insert(firstId, rows, "1"))
    const committed = process.hrtime.bigint()
    const { bytes, cpuSeconds, received } = await crowd.done
    const usage = await measure.end()
    const sent = await sample(server.port, poll, isStream)
    if (sent.body.length !== bytes) throw new Error(`a client got ${bytes} bytes, and ${sent.body.length} were sent`)
    const raw = await bare({ ...sent, isStream, clients })
    return {
      form,
      isStream,
      clients,
      rows,
      ours: timesOf(received, committed, usage.cpuSeconds),
      raw: raw.times,
      usage,
      heapPerWaiter: (look.heap - before.look.heap) / clients,
      anonymousPerWaiter: (anonymous - before.anonymous) / clients,
      rawPerWaiter: raw.perWaiter,
      clientCpuSeconds: cpuSeconds
    }
  } finally {
    crowd.stop()
    // The server notices, before anything else is measured.
    await Processes.sleep(SETTLE_MILLIS)
  }
}

/** Each client on a shape of its own; these differ in a parameter. */
const shapesRound = async (server: Server, url: string, clients: number, firstId: number): Promise<Round> => {
  const targets = Array.from({ length: clients }, (_, i) => Forms.target("items", "n = $1", [String(firstId + i)]))
  const job = { port: server.port, targets, connections: CONNECTIONS }
  await Worker.once<Create.Job, Create.Result>("create", "load", job, LIMIT)
  const before = { look: await server.look(), anonymous: Processes.memory(server.pid).anonymous }
  const crowd = await waiting<Crowd.Job, Crowd.Result>("crowd", { port: server.port, targets, rows: 1 })
  try {
    const look = await server.look()
    const { anonymous } = Processes.memory(server.pid)
    const measure = await server.measure()
    await Database.query(url, insert(firstId, clients, "i"))
    const committed = process.hrtime.bigint()
    const { cpuSeconds, polls, received } = await crowd.done
    const usage = await measure.end()
    if (polls !== clients) throw new Error(`${polls} polls were answered, not ${clients}`)
    const connection = await RawHttp.connect(server.port)
    const { handle } = await RawHttp.follow(connection, targets[0]!, () => {})
    connection.close()
    const sent = await sample(server.port, `${targets[0]!}&handle=${handle}&offset=0_inf&live=true`, false)
    const raw = await bare({ ...sent, isStream: false, clients })
    return {
      form: "shapes",
      isStream: false,
      clients,
      rows: clients,
      ours: timesOf(received, committed, usage.cpuSeconds),
      raw: raw.times,
      usage,
      heapPerWaiter: (look.heap - before.look.heap) / clients,
      anonymousPerWaiter: (anonymous - before.anonymous) / clients,
      rawPerWaiter: raw.perWaiter,
      clientCpuSeconds: cpuSeconds
    }
  } finally {
    crowd.stop()
  }
}

/** What W4 aims at for the 99th percentile, in ms. */
const AIMS = new Map([[1_000, 40], [5_000, 150], [15_000, 500]])
/** What W10 aims at for a waiter, in bytes. */
const WAITER_AIM = 15_000

const figuresOf = (rounds: ReadonlyArray<Round>, aim: number | undefined): ReadonlyArray<Figure> => {
  const { clients, form, isStream, rows } = rounds[0]!
  const of = (pick: (round: Round) => number) => median(rounds.map(pick))
  const what = form === "shapes" ? `polls of ${clients} shapes` : isStream ? "streams" : "polls"
  const name = `${clients} ${what}${rows > 1 ? `, ${rows} rows` : ""}`
  const p99 = of(({ ours }) => ours.p99)
  const perWaiter = (pick: (round: Round) => number) => of((round) => pick(round) / round.clients * 1e6)
  const heap = of(({ heapPerWaiter }) => heapPerWaiter)
  return [
    { what: `${name}: p50`, ours: of(({ ours }) => ours.p50), unit: "ms", limit: of(({ raw }) => raw.p50) },
    {
      what: "  p99",
      ours: p99,
      unit: "ms",
      limit: of(({ raw }) => raw.p99),
      ...(aim !== undefined && { aim: atMost(p99, aim, "ms") })
    },
    { what: "  the last", ours: of(({ ours }) => ours.last), unit: "ms", limit: of(({ raw }) => raw.last) },
    {
      what: "  server CPU per client",
      ours: perWaiter(({ ours }) => ours.cpuSeconds),
      unit: "us",
      limit: perWaiter(({ raw }) => raw.cpuSeconds),
      ratio: of(({ ours, raw }) => raw.cpuSeconds / ours.cpuSeconds)
    },
    { what: "  client CPU per client", ours: perWaiter(({ clientCpuSeconds }) => clientCpuSeconds), unit: "us" },
    { what: "  a waiter: heap", ours: heap, unit: "B", aim: atMost(heap, WAITER_AIM, "B") },
    {
      what: "    anonymous memory",
      ours: of(({ anonymousPerWaiter }) => anonymousPerWaiter),
      unit: "B",
      limit: of(({ rawPerWaiter }) => rawPerWaiter)
    },
    {
      what: "  event loop delay max",
      ours: Math.max(...rounds.map(({ usage }) => usage.loopDelayMax)),
      unit: "ms"
    }
  ]
}

const formsOf = (asked: ReadonlyArray<string> = FORMS): ReadonlyArray<Form> => {
  const known: ReadonlyArray<string> = FORMS
  const unknown = asked.filter((name) => !known.includes(name))
  if (unknown.length > 0) throw new Error(`no form ${unknown.join(", ")}: there are ${FORMS.join(", ")}`)
  return FORMS.filter((form) => asked.includes(form))
}

export const run = async (bench: Bench): Promise<ReadonlyArray<Report>> => {
  const { clients, quick, runs } = bench.options
  const forms = formsOf(bench.options.forms)
  const steps = clients ?? (quick ? [100, 500] : [1_000, 5_000, 15_000])
  const fat = quick ? { clients: 50, rows: 500 } : FAT
  const shapes = quick ? 500 : SHAPES
  Processes.needConnections(Math.max(...steps, forms.includes("shapes") ? shapes : 0))
  const url = await bench.items("bench_fanout", 1)
  const results: Array<Round> = []
  await bench.withServer(
    {
      label: "fanout",
      databaseUrl: url,
      env: { SHAPELOG_MAX_CONCURRENT_REQUESTS: "{\"initial\": 300, \"existing\": 20000}" }
    },
    async (server) => {
      let firstId = 1_000_000
      const add = async (form: Form, clients: number, rows: number, isStream: boolean) => {
        results.push(
          form === "shapes"
            ? await shapesRound(server, url, clients, firstId)
            : await round(server, url, { form, clients, rows, isStream, firstId })
        )
        firstId += rows
      }
      const rounds: Readonly<Record<Form, () => Promise<void>>> = {
        polls: async () => {
          for (const clients of steps) await add("polls", clients, 1, false)
        },
        streams: async () => {
          for (const clients of steps) await add("streams", clients, 1, true)
        },
        fat: async () => {
          for (const isStream of [false, true]) await add("fat", fat.clients, fat.rows, isStream)
        },
        shapes: () => add("shapes", shapes, shapes, false)
      }
      // The first ones find code that has not been compiled.
      for (const isStream of [false, true]) await add("polls", steps[0]!, 1, isStream)
      results.length = 0
      for (let i = 1; i <= runs; i++) {
        for (const form of forms) {
          bench.progress(`fanout ${i}/${runs}: ${form}`)
          await rounds[form]()
        }
      }
    }
  )
  const group = (form: Form, clients: number, isStream: boolean) =>
    results.filter((round) => round.form === form && round.clients === clients && round.isStream === isStream)
  const runsOf = (...of: ReadonlyArray<Form>) => results.filter(({ form }) => of.includes(form))
  const notes = [
    "limit: a bare server answers as many at once, without Postgres before it",
    "CPU of the server is of all that it does meanwhile: decoding, storing, garbage collection"
  ]
  const singles = ([["polls", false], ["streams", true]] as const).filter(([form]) => forms.includes(form))
  const reports: ReadonlyArray<Report> = [
    {
      workload: "fanout",
      title: "W4, commit to the clients that wait for one row",
      figures: singles.flatMap(([form, isStream]) =>
        steps.flatMap((clients) => figuresOf(group(form, clients, isStream), AIMS.get(clients)))
      ),
      notes,
      runs: runsOf("polls", "streams")
    },
    {
      workload: "fanout, fat",
      title: `W4b, commit of ${fat.rows} rows to ${fat.clients} clients that wait for them`,
      figures: forms.includes("fat")
        ? [false, true].flatMap((isStream) => figuresOf(group("fat", fat.clients, isStream), quick ? undefined : 250))
        : [],
      notes,
      runs: runsOf("fat")
    },
    {
      workload: "fanout, shapes",
      title: "a row for each of many shapes, and a client that waits for it",
      figures: forms.includes("shapes") ? figuresOf(group("shapes", shapes, false), undefined) : [],
      notes: [...notes, "a waiter: beside its shape, which was made before"],
      runs: runsOf("shapes")
    }
  ]
  return reports.filter(({ figures }) => figures.length > 0)
}
