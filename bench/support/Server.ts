/**
 * The server under test, in a process of its own.
 */
import type { ChildProcess } from "node:child_process"
import * as fs from "node:fs"
import { createServer } from "node:net"
import * as path from "node:path"
import * as Compiled from "./Compiled.ts"
import type { Command, Look, Seen } from "./preload.ts"
import * as Processes from "./Processes.ts"

/** What a measured piece of work cost the server. */
export interface Usage extends Seen {
  readonly cpuSeconds: number
  /** Of the main thread alone; the rest is garbage collection, the store's writer thread and the thread pool. */
  readonly mainCpuSeconds: number
  readonly peakRss: number
  /** Highest anonymous part of the resident set, sampled; the rest is mapped files, above all the store's, which the kernel can take back. */
  readonly peakAnonymous: number
}

export interface Server {
  readonly port: number
  readonly pid: number
  /** Resident set when it was ready. */
  readonly rssAtStart: number
  /** `process.hrtime.bigint()` when it said that it follows the slot. */
  readonly followingAt: () => bigint
  /** Begins to measure; `end` says what was used. */
  readonly measure: () => Promise<{ readonly end: () => Promise<Usage> }>
  /** What it counts, after garbage has been collected. */
  readonly look: () => Promise<Look>
  readonly stop: () => Promise<void>
}

export interface ServerOptions {
  readonly databaseUrl: string
  readonly storage: string
  readonly logFile: string
  /** Where to write CPU profiles to, if anywhere. */
  readonly profiles?: string | undefined
  readonly label: string
  /** Further environment variables. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Run what `compile` made, not the sources. */
  /** Called when it begins to follow the slot; with it begins what `measure` measures. Without this, `measure` begins when called. */
  readonly onFollowing?: (pid: number) => void
}

const SAMPLE_MILLIS = 20
const START_MILLIS = 60_000
const STOP_MILLIS = 20_000

const freePort = () =>
  new Promise<number>((resolve, reject) => {
    const probe = createServer()
    probe.once("error", reject)
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => resolve(address !== null && typeof address === "object" ? address.port : 0))
    })
  })

const compiled = Processes.repository("bench/out/compiled")

/** Compiles the server, which runs as plain JavaScript. */
export const compile = (): void => Compiled.compile(Processes.repository(""), ["src", "bench/support"], compiled)

const spawnServer = (options: ServerOptions, port: number): ChildProcess => {
  const file = (path: string) => `${compiled}/${path}.js`
  return Processes.spawnScript(file("src/main"), {
    role: "server",
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    imports: [file("bench/support/preload")],
    env: {
      DATABASE_URL: options.databaseUrl,
      SHAPELOG_PORT: String(port),
      SHAPELOG_STORAGE_DIR: options.storage,
      SHAPELOG_INSECURE: "true",
      SHAPELOG_LOG_LEVEL: "info",
      ...options.env
    }
  })
}

let profiles = 0

export const start = async (options: ServerOptions): Promise<Server> => {
  const port = await freePort()
  const child = spawnServer(options, port)
  const pid = child.pid!
  const tell = (command: Command) =>
    Processes.within(
      60_000,
      "the server's answer to the benchmark",
      new Promise<unknown>((resolve) => {
        child.once("message", resolve)
        child.send(command)
      })
    )

  const measure = async () => {
    const profile = options.profiles
    Processes.resetPeak(pid)
    const before = Processes.cpu(pid)
    await tell({ _tag: "Begin", profile: profile !== undefined })
    let peakAnonymous = 0
    const sample = () => {
      if (!Processes.hasEnded(child)) peakAnonymous = Math.max(peakAnonymous, Processes.memory(pid).anonymous)
    }
    const sampler = setInterval(sample, SAMPLE_MILLIS)
    const end = async (): Promise<Usage> => {
      clearInterval(sampler)
      if (Processes.hasEnded(child)) throw new Error(`the server ended: see ${options.logFile}`)
      sample()
      const after = Processes.cpu(pid)
      const { peak } = Processes.memory(pid)
      const file = profile && path.join(profile, `${options.label}-${++profiles}.cpuprofile`)
      const seen = await tell({ _tag: "End", profileFile: file }) as Seen
      return {
        cpuSeconds: after.all - before.all,
        mainCpuSeconds: after.main - before.main,
        peakRss: peak,
        peakAnonymous,
        ...seen
      }
    }
    return { end }
  }

  const log = fs.createWriteStream(options.logFile, { flags: "a" })
  let followingAt: bigint | undefined
  let early: ReturnType<Server["measure"]> | undefined
  const onOutput = (chunk: Buffer) => {
    log.write(chunk)
    if (followingAt !== undefined || !chunk.includes("following slot")) return
    followingAt = process.hrtime.bigint()
    if (options.onFollowing === undefined) return
    early = measure()
    options.onFollowing(pid)
  }
  child.stdout!.on("data", onOutput)
  child.stderr!.on("data", onOutput)
  child.once("exit", () => log.end())

  await Processes.until(START_MILLIS, `the server's start (see ${options.logFile})`, async () => {
    if (Processes.hasEnded(child)) throw new Error(`the server ended at its start: see ${options.logFile}`)
    const health = await fetch(`http://127.0.0.1:${port}/v1/health`).catch(() => undefined)
    await health?.arrayBuffer()
    return health?.status === 200 && followingAt !== undefined ? true : undefined
  })

  const stop = async () => {
    child.kill("SIGTERM")
    await Processes.within(STOP_MILLIS, "the server's stop", Processes.exited(child)).catch((error: Error) => {
      console.error(`  ! ${error.message}: killed`)
      child.kill("SIGKILL")
      return Processes.exited(child)
    })
  }

  return {
    port,
    pid,
    rssAtStart: Processes.memory(pid).rss,
    followingAt: () => followingAt!,
    measure: () => early ?? measure(),
    look: async () => await tell({ _tag: "Look" }) as Look,
    stop
  }
}
