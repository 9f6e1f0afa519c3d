/**
 * The real server as a child process: started, told to stop, killed, and started again on the same port and storage directory.
 */
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../../", import.meta.url))

export interface ServerOptions {
  readonly databaseUrl: string
  /** Further environment variables, such as `SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD`. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Kept by the caller; a temporary one, removed by `dispose`, when absent. */
  readonly storageDirectory?: string | undefined
}

/** What runs, as `npm start` runs it: the global setup has compiled it. */
const launch = (options: ServerOptions, port: number, storageDirectory: string): ChildProcess =>
  spawn(process.execPath, [path.join(root, "dist/server.js")], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      NODE_ENV: "production",
      DATABASE_URL: options.databaseUrl,
      SHAPELOG_PORT: String(port),
      SHAPELOG_STORAGE_DIR: storageDirectory,
      SHAPELOG_INSECURE: "true",
      SHAPELOG_LOG_LEVEL: "debug",
      // Slots are the whole database server's, on which other tests may run at the same time.
      SHAPELOG_REPLICATION_STREAM_ID: new URL(options.databaseUrl).pathname.slice(1),
      ...options.env
    }
  })

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once("error", reject)
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => resolve(address !== null && typeof address === "object" ? address.port : 0))
    })
  })

/** What a server must never say, unless a test expects it. */
const isAlarming = (line: string): boolean =>
  /level=(ERROR|FATAL)|^\[[\d:.]+\] (ERROR|FATAL)/.test(line) ||
  /^(Uncaught|\w*Error: |node:internal)|UnhandledPromiseRejection|heap out of memory/
    .test(line)

const pause = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

export class ServerProcess {
  readonly port: number
  readonly storageDirectory: string
  /** All lines of all its lives. */
  readonly lines: Array<string> = []
  private readonly options: ServerOptions
  private child: ChildProcess | undefined
  private exited: Promise<number | string> | undefined
  private readonly listeners = new Set<() => void>()

  private constructor(options: ServerOptions, port: number, storageDirectory: string) {
    this.options = options
    this.port = port
    this.storageDirectory = storageDirectory
  }

  /** A server that has yet to be started. */
  static async make(options: ServerOptions): Promise<ServerProcess> {
    const directory = options.storageDirectory ?? await fs.mkdtemp(path.join(tmpdir(), "shapelog-e2e-"))
    return new ServerProcess(options, await freePort(), directory)
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get running(): boolean {
    return this.child !== undefined
  }

  /** Starts the process, without waiting for anything. */
  spawn(env?: Readonly<Record<string, string>>): void {
    if (this.child) throw new Error("the server runs already")
    const child = launch({ ...this.options, env: { ...this.options.env, ...env } }, this.port, this.storageDirectory)
    this.child = child
    for (const stream of [child.stdout!, child.stderr!]) {
      let rest = ""
      stream.setEncoding("utf8")
      stream.on("data", (text: string) => {
        const lines = (rest + text).split("\n")
        rest = lines.pop()!
        this.add(lines)
      })
      stream.on("end", () => {
        if (rest !== "") this.add([rest])
      })
    }
    this.exited = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        if (this.child === child) this.child = undefined
        this.add([`--- the server ended: ${signal ?? code}`])
        resolve(signal ?? code ?? -1)
      })
    })
  }

  /** Starts the process and waits until it is active. */
  async start(env?: Readonly<Record<string, string>>): Promise<void> {
    this.spawn(env)
    await this.awaitHealth("active")
  }

  /** SIGTERM; returns how it ended: 0, another code, or the signal. */
  async stop(): Promise<number | string> {
    return this.end("SIGTERM")
  }

  async kill(): Promise<void> {
    await this.end("SIGKILL")
  }

  /** `status` of the health check and its HTTP status; `undefined` while nobody listens. */
  async health(): Promise<{ readonly code: number; readonly status: string } | undefined> {
    try {
      const response = await fetch(`${this.url}/v1/health`, { signal: AbortSignal.timeout(5000) })
      const body = await response.json() as { readonly status: string }
      return { code: response.status, status: body.status }
    } catch {
      return undefined
    }
  }

  /** Waits for the health check to say this. There is no event for it, so it is asked again and again. */
  async awaitHealth(status: string, millis = 30_000): Promise<void> {
    const deadline = Date.now() + millis
    let last: unknown
    while (Date.now() < deadline) {
      if (!this.child) throw new Error(`the server ended before it was ${status}:\n${this.tail()}`)
      const health = await this.health()
      if (health?.status === status) return
      last = health
      await pause(20)
    }
    throw new Error(`the server was not ${status} within ${millis} ms: ${JSON.stringify(last)}\n${this.tail()}`)
  }

  /** Waits until a line from index `from` on matches. */
  async awaitLog(pattern: RegExp, millis = 30_000, from = 0): Promise<string> {
    const found = () => this.lines.slice(from).find((line) => pattern.test(line))
    return new Promise((resolve, reject) => {
      const check = () => {
        const line = found()
        if (line === undefined) return
        done()
        resolve(line)
      }
      const timer = setTimeout(() => {
        done()
        reject(new Error(`the server has not said ${pattern} within ${millis} ms:\n${this.tail()}`))
      }, millis)
      const done = () => {
        clearTimeout(timer)
        this.listeners.delete(check)
      }
      this.listeners.add(check)
      check()
    })
  }

  /** Lines that say that something is wrong with the server. */
  alarms(expected: ReadonlyArray<RegExp> = []): ReadonlyArray<string> {
    return this.lines.filter((line) => isAlarming(line) && !expected.some((pattern) => pattern.test(line)))
  }

  tail(count = 40): string {
    return this.lines.slice(-count).join("\n")
  }

  /** Ends what still runs and removes the storage directory if it is ours. */
  async dispose(): Promise<void> {
    await this.kill()
    if (this.options.storageDirectory === undefined) {
      await fs.rm(this.storageDirectory, { recursive: true, force: true })
    }
  }

  private add(lines: ReadonlyArray<string>): void {
    for (const line of lines) this.lines.push(line)
    for (const listener of [...this.listeners]) listener()
  }

  private async end(signal: "SIGTERM" | "SIGKILL"): Promise<number | string> {
    const { child, exited } = this
    if (!child || !exited) return 0
    child.kill(signal)
    const timer = setTimeout(() => {
      this.add([`level=ERROR message="the server did not end on ${signal}"`])
      child.kill("SIGKILL")
    }, 30_000)
    const how = await exited
    clearTimeout(timer)
    return how
  }
}
