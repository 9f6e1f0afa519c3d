/**
 * Child processes that can't outlive the benchmark, pinned to a core where that is possible, and what the kernel knows of them.
 *
 * The server under test has core 0 to itself; Postgres and everything that makes load share core 1. A process that stands in for the
 * server, to measure a limit, takes its core.
 */
import { type ChildProcess, spawn as spawnProcess, spawnSync, type StdioOptions } from "node:child_process"
import * as fs from "node:fs"
import { cpus } from "node:os"
import { fileURLToPath } from "node:url"

export type Role = "server" | "load"

const hasTaskset = cpus().length >= 2 && spawnSync("taskset", ["--version"]).status === 0

/** Pins this process, and with it what it starts from now on, to the core of the load. Whether that was possible. */
export const isPinned: boolean = hasTaskset &&
  spawnSync("taskset", ["-a", "-p", "-c", "1", String(process.pid)]).status === 0

const running = new Set<ChildProcess>()

export const sleep = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

/** Fails when `promise` takes longer than it may: nothing here waits for ever. */
export const within = async <A>(millis: number, what: string, promise: Promise<A>): Promise<A> => {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${Math.round(millis / 1000)} s`)), millis)
  })
  try {
    return await Promise.race([promise, limit])
  } finally {
    clearTimeout(timer)
  }
}

/** Asks again and again, for so long at most. */
export const until = async <A>(
  millis: number,
  what: string,
  probe: () => Promise<A | undefined>,
  everyMillis = 20
): Promise<A> => {
  const deadline = performance.now() + millis
  while (performance.now() < deadline) {
    const found = await probe()
    if (found !== undefined) return found
    await sleep(everyMillis)
  }
  throw new Error(`${what} did not happen within ${Math.round(millis / 1000)} s`)
}

export interface SpawnOptions {
  readonly role: Role
  readonly stdio: StdioOptions
  readonly env?: NodeJS.ProcessEnv
}

export const spawn = (
  command: string,
  args: ReadonlyArray<string>,
  { env, role, stdio }: SpawnOptions
): ChildProcess => {
  const pinned = isPinned ? ["taskset", "-c", role === "server" ? "0" : "1", command, ...args] : [command, ...args]
  const child = spawnProcess(pinned[0]!, pinned.slice(1), {
    stdio,
    serialization: "advanced",
    env: { ...process.env, ...env }
  })
  running.add(child)
  child.once("exit", () => running.delete(child))
  child.once("error", () => running.delete(child))
  return child
}

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Starts a script after loading `imports`, of which one is to be tsx where TypeScript is to be understood. */
export const spawnScript = (
  file: string,
  options: SpawnOptions & { readonly imports: ReadonlyArray<string>; readonly flags?: ReadonlyArray<string> }
): ChildProcess =>
  spawn(
    process.execPath,
    [...(options.flags ?? []), ...options.imports.flatMap((each) => ["--import", each]), file],
    options
  )

export const repository = (path: string): string => `${root}${path}`

export const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

export const exited = (child: ChildProcess): Promise<void> =>
  hasEnded(child) ? Promise.resolve() : new Promise((resolve) => child.once("exit", () => resolve()))

/** For the end, however it comes. */
export const killAll = (): void => {
  for (const child of running) child.kill("SIGKILL")
}

// --- What the kernel knows ---

/** Files and sockets that a process that we start may have open. */
const openFiles = (): number => {
  const found = /^Max open files +(\S+)/m.exec(fs.readFileSync("/proc/self/limits", "utf8"))?.[1]
  return found === undefined || found === "unlimited" ? Infinity : Number(found)
}

/** Sockets of a process beside its clients', and its files. */
const OTHER_FILES = 300

/** Fails when a process can't have so many connections. */
export const needConnections = (count: number): void => {
  const limit = openFiles()
  if (count + OTHER_FILES <= limit) return
  throw new Error(
    `${count} connections and the server's own files are more than a process may have open here (${limit}): ` +
      `run \`ulimit -n ${count + OTHER_FILES}\` first, or ask for fewer with --clients`
  )
}

export interface Memory {
  /** All of the resident set, in bytes: with it the pages of the store's file that are mapped. */
  readonly rss: number
  /** What of it is memory of the process's own. */
  readonly anonymous: number
  /** The highest resident set since `resetPeak`. */
  readonly peak: number
}

export const memory = (pid: number): Memory => {
  const status = fs.readFileSync(`/proc/${pid}/status`, "utf8")
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024
  return { rss: field("VmRSS"), anonymous: field("RssAnon"), peak: field("VmHWM") }
}

export const resetPeak = (pid: number): void => fs.writeFileSync(`/proc/${pid}/clear_refs`, "5")

const TICKS = Number(spawnSync("getconf", ["CLK_TCK"]).stdout?.toString() || 100)

const cpuOf = (file: string): number => {
  const stat = fs.readFileSync(file, "utf8")
  // The command, in parentheses, may contain spaces; user and system time are the 12th and 13th field after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

/** CPU seconds of all threads of a process so far, and of its main thread. */
export const cpu = (pid: number) => ({ all: cpuOf(`/proc/${pid}/stat`), main: cpuOf(`/proc/${pid}/task/${pid}/stat`) })

/** Bytes that a process has read so far, from sockets and otherwise. */
export const bytesRead = (pid: number): number =>
  Number(/^rchar: (\d+)/m.exec(fs.readFileSync(`/proc/${pid}/io`, "utf8"))?.[1] ?? 0)
