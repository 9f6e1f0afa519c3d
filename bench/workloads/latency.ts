/**
 * W11, from commit to client: single-row transactions at a steady 100 a second, one client that follows by long polls.
 *
 * Limit: a bare reader of a slot of its own receives the same changes at the same time. Writer, client and bare reader share a core
 * with Postgres, so the bare reader's time contains all of Postgres's; what we add is the difference of the two, row by row.
 *
 * All times are of the monotonic clock, which the processes share. It counts from when COMMIT had returned to the writer: a change can
 * be there before that, and a time can be less than nothing.
 */
import type { Bench } from "../support/Bench.ts"
import * as Latency from "../support/Latency.ts"
import { atMost, percentile, type Report, usageFigures } from "../support/Report.ts"

const PER_SECOND = 100
const SHAPE = "/v1/shape?table=items"
const INSERT = "INSERT INTO items VALUES ($1, 'name', 'active', '2024-01-01Z', 1, $2)"
const ROWS = 1000

export const run = async (bench: Bench): Promise<Report> => {
  const { runs, seconds } = bench.options
  const url = await bench.items("bench_latency", ROWS)
  const results: Array<Latency.Result> = []
  for (let i = 1; i <= runs; i++) {
    bench.progress(`latency ${i}/${runs}`)
    results.push(
      await bench.withServer({ label: "latency", databaseUrl: url }, (server) =>
        Latency.measure({
          url,
          server,
          shape: SHAPE,
          insert: INSERT,
          firstId: 1_000_000 * i,
          perSecond: PER_SECOND,
          count: PER_SECOND * seconds
        }))
    )
  }
  const all = (pick: (result: Latency.Result) => ReadonlyArray<number>) => results.flatMap(pick)
  const [ours, bare, added] = [
    all((result) => result.ours),
    all((result) => result.bare),
    all((result) => result.added)
  ]
  const p50 = percentile(ours, 0.5) - percentile(bare, 0.5)
  const p99 = percentile(ours, 0.99) - percentile(bare, 0.99)
  const figure = (what: string, p: number) => ({
    what,
    ours: percentile(ours, p),
    unit: "ms",
    limit: percentile(bare, p)
  })
  return {
    workload: "latency",
    title: `W11, commit to byte received, ${PER_SECOND} writes/s for ${seconds} s; limit: a bare pgoutput reader`,
    figures: [
      figure("p50", 0.5),
      figure("p99", 0.99),
      figure("max", 1),
      { what: "p50: ours - bare", ours: p50, unit: "ms", aim: atMost(p50, 3, "ms") },
      { what: "p99: ours - bare", ours: p99, unit: "ms", aim: atMost(p99, 10, "ms") },
      { what: "row by row: p50", ours: percentile(added, 0.5), unit: "ms" },
      { what: "row by row: p99", ours: percentile(added, 0.99), unit: "ms" },
      ...usageFigures(results.map(({ usage }) => usage))
    ],
    notes: [
      `over all ${ours.length} rows of ${runs} runs; every row came once, and in ${
        results[0]!.polls
      } responses in the first run`
    ],
    runs: results.map(Latency.summary)
  }
}
