/**
 * W13, stalled readers: 400 clients ask for a log of 50 MB, take the first bytes and stop reading. What one of them makes the server hold is
 * the growth of its anonymous memory and of what its heap holds, by the number of clients; after the send timeout all must be gone.
 *
 * There is no limit beside it: a server that holds nothing for a client that does not read is the limit. What the kernel holds in its
 * socket buffers is not the process's.
 */
import type { Bench } from "../support/Bench.ts"
import * as Processes from "../support/Processes.ts"
import * as RawHttp from "../support/RawHttp.ts"
import { atMost, MB, median, type Report } from "../support/Report.ts"
import * as Worker from "../support/Worker.ts"
import type * as Stalled from "../support/workers/stalled.ts"

const LIMIT = 180_000
const SHAPE = "/v1/shape?table=items"
/** Rows of about 50 MB of log. */
const ROWS = 150_000
const SETTLE_MILLIS = 2_000
const SEND_TIMEOUT_MILLIS = 8_000
/** What W13 aims at for a client, in bytes. */
const CLIENT_AIM = 128_000

export const run = async (bench: Bench): Promise<Report> => {
  const { quick, runs } = bench.options
  const clients = quick ? 100 : 400
  const url = await bench.items("bench_stalled", quick ? 60_000 : ROWS)
  const results: Array<{
    readonly anonymous: number
    readonly held: number
    readonly left: number
    readonly heldMillis: number
  }> = []
  await bench.withServer(
    {
      label: "stalled",
      databaseUrl: url,
      env: { SHAPELOG_TCP_SEND_TIMEOUT: `${SEND_TIMEOUT_MILLIS}ms`, SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "100000000" }
    },
    async (server) => {
      const connection = await RawHttp.connect(server.port)
      const { handle } = await RawHttp.follow(connection, SHAPE, () => {})
      connection.close()
      const seen = async () => {
        const { external, heap } = await server.look()
        return { held: heap + external, anonymous: Processes.memory(server.pid).anonymous }
      }
      for (let i = 0; i <= runs; i++) {
        bench.progress(`stalled ${i}/${runs}: ${clients} clients`)
        const before = await seen()
        const worker = Worker.start<Stalled.Job, Stalled.Result, "stalled">("stalled", "load")
        try {
          let isStalled = () => {}
          const stalled = new Promise<void>((resolve) => {
            isStalled = resolve
          })
          const target = `${SHAPE}&handle=${handle}&offset=-1`
          const done = worker.ask({ port: server.port, target, clients }, LIMIT, isStalled)
          await Promise.race([stalled, done])
          await Processes.sleep(SETTLE_MILLIS)
          const during = await seen()
          const { heldMillis } = await done
          const after = await seen()
          // The first one finds memory that has not been allocated.
          if (i === 0) continue
          results.push({
            anonymous: (during.anonymous - before.anonymous) / clients,
            held: (during.held - before.held) / clients,
            left: after.held - before.held,
            heldMillis
          })
        } finally {
          worker.stop()
        }
      }
    }
  )
  const anonymous = median(results.map(({ anonymous }) => anonymous))
  const held = median(results.map(({ held }) => held))
  const heldMillis = Math.max(...results.map(({ heldMillis }) => heldMillis))
  return {
    workload: "stalled",
    title: `W13, ${clients} clients stop reading in the middle of a log`,
    figures: [
      { what: "a client: anonymous memory", ours: anonymous, unit: "B", aim: atMost(anonymous, CLIENT_AIM, "B") },
      { what: "  heap and what it holds", ours: held, unit: "B", aim: atMost(held, CLIENT_AIM, "B") },
      { what: "left when they are gone", ours: Math.max(...results.map(({ left }) => left)) / MB, unit: "MB" },
      {
        what: "the last was let go after",
        ours: heldMillis,
        unit: "ms",
        aim: atMost(heldMillis, 2 * SEND_TIMEOUT_MILLIS, "ms")
      }
    ],
    notes: [`the send timeout was ${SEND_TIMEOUT_MILLIS / 1_000} s`],
    runs: results
  }
}
