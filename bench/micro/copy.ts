/**
 * Cost of reading a table: `SnapshotQuery` pulling every row, against `psql -c 'COPY … TO STDOUT' > /dev/null` on the same rows, and the
 * pgoutput decoder on the same rows as inserts. Node's CPU is `process.cpuUsage` (user and system) over the run, so it contains the
 * socket reads; `socket` is a run that reads the same bytes off the same kind of socket and looks at none of them. Wall time contains
 * Postgres, which runs on the same machine: compare CPU.
 *
 * Run: `npx tsx bench/micro/copy.ts <url of a scratch database> [rows]`. It makes a table `bench_items`, and drops it.
 */
import { Effect, Layer, Option, Redacted } from "effect"
import { spawnSync } from "node:child_process"
import pg from "pg"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import * as Pgoutput from "../../src/source/Pgoutput.ts"
import * as Pools from "../../src/source/Pools.ts"
import * as SnapshotQuery from "../../src/source/SnapshotQuery.ts"

const url = process.argv[2]
if (url === undefined) throw new Error("usage: copy.ts <url> [rows]")
const ROWS = Number(process.argv[3] ?? 1_000_000)
const ROUNDS = 5
const COLUMNS = ["id", "name", "status", "ts", "n", "payload"]

interface Cost {
  readonly wall: number
  readonly cpu: number
}

const measured = async (run: () => Promise<unknown>): Promise<Cost> => {
  const cpu = process.cpuUsage()
  const wall = performance.now()
  await run()
  const used = process.cpuUsage(cpu)
  return { wall: performance.now() - wall, cpu: (used.user + used.system) / 1000 }
}

const report = (name: string, costs: ReadonlyArray<Cost>): void => {
  const best = (pick: (cost: Cost) => number) => Math.min(...costs.map(pick))
  console.log(
    `${name.padEnd(34)} ${(best((c) => c.cpu) * 1000 / ROWS).toFixed(3)} us CPU/row   ${
      best((c) => c.wall).toFixed(0)
    } ms wall`
  )
}

const rounds = async (name: string, run: () => Promise<unknown>): Promise<void> => {
  const costs: Array<Cost> = []
  for (let i = 0; i < ROUNDS; i++) costs.push(await measured(run))
  report(name, costs)
}

const database = Pools.layer({ url: Redacted.make(url), streamId: "bench" })

const copyOnce = Effect.fnUntraced(function*(query: SnapshotQuery.SnapshotQuery["Type"]) {
  const rows = yield* query.open({
    schema: "public",
    table: "bench_items",
    columns: COLUMNS,
    where: undefined,
    rows: true
  })
  let count = 0
  let pulls = 0
  while (true) {
    const next = yield* rows.pull
    if (Option.isNone(next)) break
    count += next.value.count
    pulls++
  }
  if (count !== ROWS) return yield* Effect.dieMessage(`${count} rows instead of ${ROWS}`)
  return pulls
}, Effect.scoped)

/** The same statement, with the socket's chunks counted and thrown away. */
const socketOnly = async (client: pg.Client): Promise<void> => {
  const { stream } = client.connection
  const parsers = stream.listeners("data") as Array<(chunk: Buffer) => void>
  for (const parser of parsers) stream.removeListener("data", parser)
  await new Promise<void>((resolve) => {
    const onData = (chunk: Buffer) => {
      // ReadyForQuery is the last thing that comes: Z, length 5, status.
      if (chunk.length < 6 || chunk[chunk.length - 6] !== 0x5a || chunk[chunk.length - 2] !== 5) return
      stream.removeListener("data", onData)
      for (const parser of parsers) stream.on("data", parser)
      resolve()
    }
    stream.on("data", onData)
    client.connection.query(`COPY (SELECT ${COLUMNS.join(", ")} FROM bench_items) TO STDOUT`)
  })
}

/** Inserts of a table like the one above, as pgoutput has them. */
const inserts = (
  count: number
): { readonly bytes: Buffer; readonly ends: Array<number>; readonly relation: Buffer } => {
  const relation = Buffer.concat([
    Buffer.from([0x52, 0, 0, 0, 1]),
    Buffer.from("public\0bench_items\0f"),
    Buffer.from([0, COLUMNS.length]),
    ...COLUMNS.map((name) =>
      Buffer.concat([Buffer.from([1]), Buffer.from(`${name}\0`), Buffer.from([0, 0, 0, 25, 255, 255, 255, 255])])
    )
  ])
  const parts: Array<Buffer> = []
  const ends: Array<number> = []
  let at = 0
  for (let i = 0; i < count; i++) {
    const values = [`${i}`, `name-${i}`, "active", "2026-01-12 11:42:15.000123+00", `${i % 1000}`, "x".repeat(120)]
    const message = Buffer.concat([
      Buffer.from([0x49, 0, 0, 0, 1, 0x4e, 0, values.length]),
      ...values.map((value) => {
        const length = Buffer.alloc(5)
        length[0] = 0x74
        length.writeInt32BE(value.length, 1)
        return Buffer.concat([length, Buffer.from(value)])
      })
    ])
    parts.push(message)
    at += message.length
    ends.push(at)
  }
  return { bytes: Buffer.concat(parts), ends, relation }
}

const setup = `
  DROP TABLE IF EXISTS bench_items;
  CREATE UNLOGGED TABLE bench_items (id bigint PRIMARY KEY, name text, status text, ts timestamptz, n int, payload text);
  INSERT INTO bench_items SELECT i, 'name-' || i, 'active', now() - i * interval '1 s', i % 1000, repeat(md5(i::text), 4)
    FROM generate_series(1, ${ROWS}) i;
`
const client = new pg.Client({ connectionString: url })
await client.connect()
await client.query(setup)
await client.query("VACUUM ANALYZE bench_items")
await client.query(DISPLAY_SETTINGS)
try {
  for (let i = 0; i < ROUNDS; i++) {
    const psql = spawnSync("/bin/sh", ["-c", `time -p psql "${url}" -qc "COPY bench_items TO STDOUT" > /dev/null`], {
      encoding: "utf8"
    })
    if (i === 0 || psql.status !== 0) {
      console.log(
        psql.status === 0 ? `psql (seconds): ${psql.stderr.trim().replace(/\n/g, ", ")}` : `psql: ${psql.stderr}`
      )
    }
  }
  await rounds("socket", () => socketOnly(client))
  let pulls = 0
  await Effect.runPromise(
    Effect.flatMap(SnapshotQuery.SnapshotQuery, (query) =>
      Effect.promise(() =>
        rounds("SnapshotQuery", async () => {
          pulls = await Effect.runPromise(copyOnce(query))
        })
      )).pipe(Effect.provide(SnapshotQuery.layer.pipe(Layer.provide(database))))
  )
  console.log(`rows per pull: ${(ROWS / pulls).toFixed(0)}`)

  const batch = inserts(1000)
  await rounds("Pgoutput, inserts of 6 columns", async () => {
    const decoder = Pgoutput.make()
    decoder.decode(batch.relation, 0, batch.relation.length)
    for (let round = 0; round < ROWS / 1000; round++) {
      let start = 0
      const messages = []
      for (const end of batch.ends) {
        messages.push(decoder.decode(batch.bytes, start, end))
        start = end
      }
      if (messages.length !== 1000) throw new Error("messages are missing")
    }
  })
} finally {
  await client.query("DROP TABLE bench_items")
  await client.end()
}
