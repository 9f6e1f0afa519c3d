/**
 * The caching proxies that we ship configurations for, as child processes with those very configurations, and a server between proxy and
 * origin that counts what reaches the origin.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { accessSync, constants, readFileSync } from "node:fs"
import * as fs from "node:fs/promises"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { freePort } from "./ServerProcess.ts"

const shipped = (name: string): string =>
  readFileSync(fileURLToPath(new URL(`../../proxy/${name}`, import.meta.url)), "utf8")

/** The path of a program, looked for as a shell would and where daemons are; `undefined` when it is not installed. */
const find = (name: string): string | undefined =>
  [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/usr/local/sbin"].map((directory) =>
    path.join(directory, name)
  )
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })

/** The text with each of the strings replaced, which must all be there. */
const replaced = (text: string, replacements: ReadonlyArray<readonly [string, string]>): string => {
  let result = text
  for (const [from, to] of replacements) {
    if (!result.includes(from)) throw new Error(`the shipped configuration has no ${JSON.stringify(from)}`)
    result = result.replaceAll(from, to)
  }
  return result
}

/** Polled, as a daemon does not say when it listens. */
const awaitListening = async (child: ChildProcess, port: number, said: () => string): Promise<void> => {
  const deadline = Date.now() + 30_000
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the proxy ended:\n${said()}`)
    const ok = await new Promise<boolean>((resolve) => {
      http.get({ port, host: "127.0.0.1", path: "/v1/health", agent: false }, (response) => {
        response.resume()
        resolve(true)
      }).on("error", () => resolve(false))
    })
    if (ok) return
    if (Date.now() > deadline) throw new Error(`the proxy does not listen:\n${said()}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

export interface Proxy {
  readonly url: string
  readonly stop: () => Promise<void>
}

interface Launch {
  readonly command: string
  readonly args: ReadonlyArray<string>
}

const run = async (
  prefix: string,
  prepare: (directory: string, port: number) => Promise<Launch>
): Promise<Proxy> => {
  const directory = await fs.mkdtemp(path.join(tmpdir(), prefix))
  // The account that the workers run as, when we are root, must pass through.
  await fs.chmod(directory, 0o755)
  const port = await freePort()
  const { args, command } = await prepare(directory, port)
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] })
  let said = ""
  const isOver = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      said += String(error)
      resolve()
    })
    child.once("close", () => resolve())
  })
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (text: Buffer) => {
      said = (said + text.toString()).slice(-20_000)
    })
  }
  const stop = async () => {
    child.kill("SIGTERM")
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000)
    await isOver
    clearTimeout(timer)
    await fs.rm(directory, { recursive: true, force: true })
  }
  try {
    await awaitListening(child, port, () => said)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: `http://127.0.0.1:${port}`, stop }
}

/** A proxy of ours by its name: how it is started in front of a port of this machine, if it is installed. */
export interface Kind {
  readonly name: "nginx" | "Varnish"
  readonly start: ((upstream: number) => Promise<Proxy>) | undefined
}

const nginxCommand = find("nginx")

export const nginx: Kind = {
  name: "nginx",
  start: nginxCommand === undefined ? undefined : (upstream) =>
    run("shapelog-nginx-", async (directory, port) => {
      const main = path.join(directory, "nginx.conf")
      await fs.writeFile(
        path.join(directory, "shapelog.conf"),
        replaced(shipped("nginx.conf"), [
          ["listen 8080;", `listen 127.0.0.1:${port};`],
          ["127.0.0.1:3000", `127.0.0.1:${upstream}`],
          ["/var/cache/", `${directory}/`],
          ["/var/log/nginx/", `${directory}/`]
        ])
      )
      // What a distribution's main file has around it.
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
      await fs.writeFile(
        main,
        `daemon off;
        worker_processes 2;
        pid ${directory}/nginx.pid;
        error_log stderr;
        events { worker_connections 1024; }
        http {
          ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join("\n")}
          include ${directory}/shapelog.conf;
        }`
      )
      return { command: nginxCommand, args: ["-c", main, "-e", "stderr"] }
    })
}

const varnishCommand = find("varnishd")

export const varnish: Kind = {
  name: "Varnish",
  start: varnishCommand === undefined ? undefined : (upstream) =>
    run("shapelog-varnish-", async (directory, port) => {
      const text = shipped("varnish.vcl")
      const vcl = path.join(directory, "shapelog.vcl")
      await fs.writeFile(
        vcl,
        replaced(text, [[
          ".host = \"127.0.0.1\";\n    .port = \"3000\";",
          `.host = "127.0.0.1";\n    .port = "${upstream}";`
        ]])
      )
      // The parameters that the file says to start it with.
      const parameters = [...text.matchAll(/^#.*/gm)].flatMap(([line]) => [...line.matchAll(/-p (\w+=\w+)/g)])
        .flatMap(([, parameter]) => ["-p", parameter!])
      if (parameters.length === 0) throw new Error("the shipped configuration names no parameters")
      return {
        command: varnishCommand,
        args: ["-F", "-j", "none", "-a", `127.0.0.1:${port}`, "-f", vcl, "-n", path.join(directory, "work")]
          .concat("-s", "malloc,64m", parameters)
      }
    })
}

/** A request that has reached the origin. */
export interface Upstream {
  readonly method: string
  readonly url: URL
  readonly headers: http.IncomingHttpHeaders
  /** The origin's answer, once it has begun. */
  status: number | undefined
}

/** Stands between proxy and origin, passes everything on as it comes, and remembers it. */
export class Counter {
  readonly requests: Array<Upstream> = []
  readonly port: number
  private readonly server: http.Server
  private readonly agent: http.Agent
  private readonly watchers = new Set<() => void>()

  private constructor(server: http.Server, agent: http.Agent) {
    this.server = server
    this.agent = agent
    this.port = (server.address() as AddressInfo).port
  }

  static async make(origin: number): Promise<Counter> {
    const agent = new http.Agent({ keepAlive: true })
    const server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      const seen: Upstream = {
        method: request.method!,
        url: new URL(request.url!, "http://origin"),
        headers: request.headers,
        status: undefined
      }
      counter.requests.push(seen)
      counter.changed()
      const { headers, method, url } = request
      const onward = http.request({ agent, headers, host: "127.0.0.1", method, path: url, port: origin }, (answer) => {
        seen.status = answer.statusCode
        response.writeHead(answer.statusCode!, answer.rawHeaders)
        response.flushHeaders()
        answer.pipe(response)
        answer.on("error", () => response.destroy())
        counter.changed()
      })
      // As if there were nothing in between.
      onward.on("error", () => response.destroy())
      response.on("close", () => onward.destroy())
      request.pipe(onward)
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const counter = new Counter(server, agent)
    return counter
  }

  /** The requests whose query has all of these values. */
  of(query: Readonly<Record<string, string>>): ReadonlyArray<Upstream> {
    return this.requests.filter(({ url }) =>
      Object.entries(query).every(([key, value]) => url.searchParams.get(key) === value)
    )
  }

  /** Waits until the condition holds, which is asked whenever a request has come or been answered. */
  async until(condition: () => boolean, what: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const look = () => {
        if (!condition()) return
        clearTimeout(timer)
        this.watchers.delete(look)
        resolve()
      }
      const timer = setTimeout(() => {
        this.watchers.delete(look)
        reject(
          new Error(
            `${what} did not come: ${this.requests.map(({ status, url }) => `${url.search} ${status}`).join("\n")}`
          )
        )
      }, 20_000)
      this.watchers.add(look)
      look()
    })
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    this.agent.destroy()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }

  private changed(): void {
    for (const watcher of [...this.watchers]) watcher()
  }
}
