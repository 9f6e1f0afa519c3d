/**
 * Cost of following the replication stream: one transaction of many rows, pulled and decoded and otherwise ignored. CPU is
 * `process.cpuUsage` (user and system) over the run, socket reads included. Wall time is mostly Postgres decoding its WAL on the same
 * machine. Says nothing of what an engine does with the rows.
 *
 * Run: `npx tsx bench/micro/replication.ts <url of a scratch database, wal_level=logical> [rows]`. It makes a table `bench_items`, a publication
 * and a slot, and drops them.
 */
import { Effect, Layer, Logger, LogLevel, Redacted } from "effect"
import pg from "pg"
import { Database } from "../../src/source/Database.ts"
import * as Pools from "../../src/source/Pools.ts"
import * as ReplicationStream from "../../src/source/ReplicationStream.ts"

const url = process.argv[2]
if (url === undefined) throw new Error("usage: replication.ts <url> [rows]")
const ROWS = Number(process.argv[3] ?? 300_000)
const ROUNDS = 5

const program = Effect.gen(function*() {
  const { names } = yield* Database
  const stream = yield* ReplicationStream.ReplicationStream
  const client = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new pg.Client({ connectionString: url })
      await client.connect()
      return client
    }),
    (client) =>
      Effect.promise(async () => {
        await client.query(`DROP TABLE IF EXISTS bench_items; DROP PUBLICATION IF EXISTS ${names.publication}`)
        await client.query(
          "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1",
          [
            names.slot
          ]
        )
        await client.end()
      })
  )
  const sql = (text: string) => Effect.promise(() => client.query(text))
  yield* sql(`DROP TABLE IF EXISTS bench_items;
    CREATE TABLE bench_items (id bigint PRIMARY KEY, name text, status text, ts timestamptz, n int, payload text);
    ALTER TABLE bench_items REPLICA IDENTITY FULL`)
  yield* Effect.scoped(Effect.gen(function*() {
    const connection = yield* stream.connect
    yield* sql(`ALTER PUBLICATION ${names.publication} ADD TABLE bench_items`)
    yield* connection.start(connection.confirmedFlush)
    for (let round = 0; round < ROUNDS; round++) {
      yield* sql(`INSERT INTO bench_items
        SELECT i, 'name-' || i, 'active', now() - i * interval '1 s', i % 1000, repeat(md5(i::text), 4)
        FROM generate_series(${round * ROWS + 1}, ${(round + 1) * ROWS}) i`)
      const cpu = process.cpuUsage()
      const wall = performance.now()
      let rows = 0
      let pulls = 0
      let isOpen = true
      while (isOpen) {
        const messages = yield* connection.pull
        pulls++
        for (const message of messages) {
          if (message._tag === "Insert") rows++
          else if (message._tag === "Commit" && rows > 0) {
            isOpen = false
            yield* connection.confirm(message.endLsn)
          }
        }
      }
      const used = process.cpuUsage(cpu)
      console.log(
        `${rows} rows   ${((used.user + used.system) / rows).toFixed(3)} us CPU/row   ${
          (performance.now() - wall).toFixed(0)
        } ms wall   ${(rows / pulls).toFixed(0)} rows a pull`
      )
    }
  }))
})

const pools = Pools.layer({ url: Redacted.make(url), streamId: "bench" })
await Effect.runPromise(
  Effect.scoped(program).pipe(
    Effect.provide(ReplicationStream.layer.pipe(Layer.provideMerge(pools))),
    Logger.withMinimumLogLevel(LogLevel.Warning)
  )
)
