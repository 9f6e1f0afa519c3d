/**
 * The workloads, one by one, each beside the physical limit measured in the same run. See README.md.
 *
 *     npm run bench -- [NAME...] [--runs 3] [--quick] [--seconds 20] [--profile]
 *         [--rows N] [--transactions N] [--clients N,N] [--forms NAME,NAME]
 */
import * as fs from "node:fs"
import { cpus, release } from "node:os"
import * as path from "node:path"
import * as Bench from "./support/Bench.ts"
import { parse } from "./support/Options.ts"
import * as Processes from "./support/Processes.ts"
import { render, type Report } from "./support/Report.ts"
import * as catchup from "./workloads/catchup.ts"
import * as creation from "./workloads/creation.ts"
import * as fanout from "./workloads/fanout.ts"
import * as idle from "./workloads/idle.ts"
import * as latency from "./workloads/latency.ts"
import * as overlap from "./workloads/overlap.ts"
import * as read from "./workloads/read.ts"
import * as replicate from "./workloads/replicate.ts"
import * as shapes from "./workloads/shapes.ts"
import * as small from "./workloads/small.ts"
import * as snapshot from "./workloads/snapshot.ts"
import * as stalled from "./workloads/stalled.ts"
import * as subquery from "./workloads/subquery.ts"
import * as unindexed from "./workloads/unindexed.ts"

interface Workload {
  readonly run: (bench: Bench.Bench) => Promise<Report | ReadonlyArray<Report>>
}

const all: Readonly<Record<string, Workload>> = {
  snapshot,
  read,
  small,
  latency,
  replicate,
  creation,
  idle,
  shapes,
  unindexed,
  overlap,
  fanout,
  catchup,
  stalled,
  subquery
}
/** By `NAME.PART` a part of one alone. */
const workloads: Readonly<Record<string, Workload>> = {
  ...all,
  ...Object.fromEntries(Object.entries(subquery.parts).map(([name, run]) => [`subquery.${name}`, { run }]))
}

/** Longest that all of it may take: whatever goes wrong, it ends. */
const LIMIT_MILLIS = 2 * 3600_000

const options = parse(process.argv.slice(2))
const names = options.names.length > 0 ? options.names : Object.keys(all)
const unknown = names.filter((name) => !(name in workloads))
if (unknown.length > 0) {
  console.error(`no workload ${unknown.join(", ")}: there are ${Object.keys(workloads).join(", ")}`)
  process.exit(2)
}

/** Postgres stops itself when this process exits; its files then stay, so the usual way out is through `Bench.run`. */
const abandon = (why: string) => {
  console.error(why)
  Processes.killAll()
  process.exit(1)
}
process.once("exit", Processes.killAll)
const interrupted = new Promise<never>((_, reject) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      Processes.killAll()
      reject(new Error(`ended by ${signal}`))
      process.once(signal, () => abandon("at once, then"))
    })
  }
})
setTimeout(() => abandon("all of it takes too long"), LIMIT_MILLIS).unref()

const reports: Array<Report> = []
const failures: Array<string> = []

const runAll = async (bench: Bench.Bench) => {
  for (const name of names) {
    try {
      const found = await workloads[name]!.run(bench)
      for (const report of Array.isArray(found) ? found : [found]) {
        reports.push(report)
        console.log(render(report))
      }
    } catch (error) {
      failures.push(name)
      console.error(`\n${name} failed: ${error instanceof Error ? error.stack : String(error)}`)
    }
  }
}

const pinning = Processes.isPinned
  ? "server on core 0, Postgres and load on core 1"
  : "NOT pinned: processes share the cores as the kernel sees fit"
console.log(
  `${cpus().length} cores, Linux ${release()}, Node ${process.version}; ${pinning}; ${options.runs} runs, medians`
)

await Bench.run(options, (bench) => Promise.race([runAll(bench), interrupted])).catch((error: unknown) => {
  failures.push("the benchmark")
  console.error(error)
})

const stamp = new Date().toISOString().replaceAll(":", "-").slice(0, 19)
const file = path.join(Bench.outDirectory, `${stamp}-${names.join("-")}.json`)
const machine = {
  cores: cpus().length,
  model: cpus()[0]?.model,
  kernel: release(),
  node: process.version,
  pinned: Processes.isPinned
}
fs.writeFileSync(
  file,
  JSON.stringify(
    { at: stamp, options, machine, reports, failures },
    (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value),
    1
  )
)
console.log(`\nwritten to ${path.relative(process.cwd(), file)}`)
process.exit(failures.length > 0 ? 1 : 0)
