/**
 * The Electric HTTP protocol as tables: one row for each statement of its text, asked of the running server on a real database. A section's
 * rows stand in the order of the text, so the titles of the tests are the index of what is tested where.
 *
 * A row asks, or runs a script, or names the test that covers what can't be seen over HTTP (a race, a crash, a clock). Where we differ from
 * the text on purpose, the row holds us to what we do, and says why.
 *
 * A further section is a file of rows, a test file that hands them to `conforms`, and a line in `Tables.test.ts`.
 */
import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import assert from "node:assert/strict"
import * as fs from "node:fs"
import * as http from "node:http"
import { fileURLToPath } from "node:url"
import * as Postgres from "../support/Postgres.ts"
import { ServerProcess } from "../support/ServerProcess.ts"

// --- Rows ---

/**
 * A request: a query of `/v1/shape` or a path that begins with `/`, after a method unless it is GET. `handle=@` stands for the handle of the
 * shape that the rest of the query defines, `offset=@` for the latest offset of it.
 */
export type Ask = string | {
  readonly ask: string
  readonly headers?: http.OutgoingHttpHeaders
  /** Text, or what is sent as JSON. */
  readonly body?: unknown
}

/** Header → its value, a pattern of it, or null when it must be absent. `{handle}` and `{offset}` stand for those of the response. */
export type Headers = Readonly<Record<string, string | RegExp | null>>

export interface Expected {
  /** 200 unless given. */
  readonly status?: number
  readonly headers?: Headers
  readonly body?: string | RegExp
  /** What the body's JSON is equal to; a pattern in it stands for a text that matches, `ANY` for anything. */
  readonly json?: unknown
  /** 400 with these errors, never cached. */
  readonly invalid?: unknown
}

interface Line {
  /** Number of the section and the statement, shortened. */
  readonly line: string
  /** Why we do otherwise than the text says. */
  readonly differs?: string
  /** Which of the section's servers is asked; the first unless given. */
  readonly on?: string
}

export type Row =
  & Line
  & (
    /** Every one of the requests gets what is expected. */
    | { readonly ask: Ask | ReadonlyArray<Ask>; readonly is: Expected }
    /** Each request with what it gets. */
    | { readonly cases: ReadonlyArray<readonly [Ask, Expected]> }
    | { readonly script: (world: World) => Promise<void> }
    /** The tests that cover it: `test/http/Live.test.ts › title`. */
    | { readonly elsewhere: string | ReadonlyArray<string> }
    /** Why it is not tested. */
    | { readonly untested: string }
  )

export interface Section {
  readonly title: string
  /** Statements before the servers start. */
  readonly setup?: string
  /** Environments by name; the servers share the database. */
  readonly servers: Readonly<Record<string, Readonly<Record<string, string>>>>
  readonly rows: ReadonlyArray<Row>
}

// --- What is expected ---

export const ANY = Symbol("anything")

export const DECIMAL = /^\d+$/

export const upToDate = { headers: { control: "up-to-date", global_last_seen_lsn: DECIMAL } }

/** The end of a snapshot that no other transaction was open beside. */
export const snapshotEnd = { headers: { control: "snapshot-end", xmin: DECIMAL, xmax: DECIMAL, xip_list: [] } }

export const mustRefetch = "[{\"headers\":{\"control\":\"must-refetch\"}}]"

type Values = Readonly<Record<string, string | null>>

export const key = (table: string, ...values: ReadonlyArray<string>): string =>
  [`"public"."${table}"`, ...values.map((value) => `"${value}"`)].join("/")

/** A row of a snapshot, whose key is its first value. */
export const row = (table: string, value: Values) => ({
  key: key(table, Object.values(value)[0]!),
  value,
  headers: { operation: "insert", relation: ["public", table] }
})

/** Headers of an item of the live log. */
export const change = (
  table: string,
  operation: "insert" | "update" | "delete",
  position: number,
  more: Readonly<Record<string, unknown>> = { last: true }
) => ({
  operation,
  relation: ["public", table],
  lsn: DECIMAL,
  op_position: position,
  txids: [ANY],
  ...more
})

const matches = (actual: unknown, expected: unknown): boolean => {
  if (expected === ANY) return actual !== undefined
  if (expected instanceof RegExp) return typeof actual === "string" && expected.test(actual)
  if (typeof expected !== "object" || expected === null) return Object.is(actual, expected)
  if (typeof actual !== "object" || actual === null || Array.isArray(actual) !== Array.isArray(expected)) return false
  const wanted = Object.entries(expected)
  const given = new Map(Object.entries(actual))
  return wanted.length === given.size && wanted.every(([name, value]) => matches(given.get(name), value))
}

/** Fails unless the value is equal to what is expected, but for patterns. */
export const same = (actual: unknown, expected: unknown, what = "value"): void => {
  if (matches(actual, expected)) return
  // The two side by side; patterns differ from what they matched too.
  assert.deepEqual(actual, expected, what)
  assert.fail(`${what}: ${JSON.stringify(actual)}`)
}

// --- Requests ---

/** A message of a log, without its types: what the rows look at. */
export interface Item {
  readonly key?: string
  readonly value?: Values
  readonly old_value?: Values
  readonly headers: Readonly<Record<string, unknown>>
}

export interface Reply {
  readonly what: string
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
  /** How long it took, in milliseconds. */
  readonly millis: number
}

export const header = ({ headers, what }: Reply, name: string): string => {
  const value = headers[name]
  if (typeof value !== "string") throw new Error(`${what}: there is no header ${name}`)
  return value
}

export const json = (reply: Reply): unknown => {
  try {
    return JSON.parse(reply.body) as unknown
  } catch {
    throw new Error(`${reply.what}: this is no JSON: ${reply.body.slice(0, 1000)}`)
  }
}

export const items = (reply: Reply): ReadonlyArray<Item> => {
  const body = json(reply)
  assert.ok(Array.isArray(body), `${reply.what}: ${reply.status} ${reply.body.slice(0, 1000)}`)
  return body as ReadonlyArray<Item>
}

interface Parsed {
  readonly method: string
  readonly path: string
  readonly headers: http.OutgoingHttpHeaders
  readonly body: string | undefined
}

const POSITION = /^(offset|handle|live|live_sse|experimental_live_sse|cursor|secret|subset__\w+|subset%5B.*)$/

/** What is no ASCII, and what can't stand in a request line. */
const escaped = (path: string): string =>
  path.replace(/[^\x21-\x7e]|["<>\\^`{|}]/gu, (text) => encodeURIComponent(text))

/** What holds for every response, wherever it comes from: §2, §5, §6.1. */
const invariants = (reply: Reply, method: string, path: string): void => {
  const { headers, status, what } = reply
  const has = (name: string) => headers[name] !== undefined
  const check = (holds: boolean, rule: string) =>
    assert.ok(holds, `${what}: ${rule}: ${status} ${JSON.stringify(headers)} ${reply.body.slice(0, 500)}`)
  check(has("electric-server") && has("x-request-id") && has("date"), "server, request id and date are always there")
  check(has("cache-control") !== (status === 204), "cache-control is always there, but for a preflight")
  check(status === 204 || headers.vary === "accept-encoding", "vary: accept-encoding")
  check(has("access-control-allow-origin") !== (status === 401), "CORS headers are always there, but for a 401")
  check(has("access-control-expose-headers") !== (status === 401), "CORS headers are always there, but for a 401")
  check(!has("access-control-allow-credentials") && !has("location"), "headers that never are")
  if (status >= 400) {
    for (const name of ["offset", "schema", "cursor", "has-data", "up-to-date", "snapshot"]) {
      check(!has(`electric-${name}`), `an error has no electric-${name}`)
    }
    check(status === 409 || (!has("electric-handle") && !has("etag")), "errors but 409 have no handle and no ETag")
  }
  const isShape = /^\/v1\/shape(\?|$)/.test(path) && (method === "GET" || method === "HEAD")
  if (!isShape) return
  if (status >= 400 && status !== 409 && status !== 401 && status !== 414) {
    check(headers["cache-control"] === "no-store" && headers["surrogate-control"] === "no-store", "errors: no-store")
  } else check(!has("surrogate-control"), "surrogate-control is on errors only")
  if ((status !== 200 && status !== 304) || has("electric-snapshot")) return
  check(has("electric-handle") && has("electric-offset") && has("etag"), "handle, offset and ETag")
  const query = new URLSearchParams(path.slice(path.indexOf("?") + 1))
  const isLive = query.has("live") && query.get("live") !== "" && query.get("live") !== "false"
  check(has("electric-cursor") === isLive, "electric-cursor: on live requests")
  check(has("electric-schema") === (!isLive && status === 200), "electric-schema: on 200s that are not live")
  if (method === "HEAD" || status !== 200 || has("content-encoding")) return
  const last = items(reply).at(-1)
  check(
    (headers["electric-up-to-date"] === "") === (last?.headers.control === "up-to-date"),
    "up-to-date: both or none"
  )
}

/** A stream of events. */
export interface Events {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  /** As it came, so far. */
  readonly text: () => string
  readonly isOver: () => boolean
  /** Waits until the condition holds. */
  readonly until: (condition: () => boolean, what: string) => Promise<void>
  readonly close: () => void
}

/** A log followed to a place. */
export interface Followed {
  /** The query that defines the shape. */
  readonly query: string
  readonly handle: string
  readonly offset: string
  readonly items: ReadonlyArray<Item>
}

const PATIENCE = 20_000

/** One of the section's servers and the database behind it. */
export class World {
  readonly server: ServerProcess
  readonly database: Postgres.TestDatabase
  private readonly agent = new http.Agent({ keepAlive: true })
  private readonly ends: Array<() => Promise<void> | void> = []
  private static tables = 0

  constructor(server: ServerProcess, database: Postgres.TestDatabase) {
    this.server = server
    this.database = database
  }

  /** Statements, in one transaction. */
  exec(sql: string): Promise<void> {
    return Effect.runPromise(this.database.exec(sql))
  }

  query(sql: string): Promise<ReadonlyArray<Postgres.Row>> {
    return Effect.runPromise(this.database.query(sql))
  }

  /** A connection of its own, for a transaction that is left open. */
  async session() {
    const scope = await Effect.runPromise(Scope.make())
    const { exec, query } = await Effect.runPromise(Scope.extend(this.database.session, scope))
    const end = () => Effect.runPromise(Scope.close(scope, Exit.void))
    this.ends.push(end)
    return {
      exec: (sql: string) => Effect.runPromise(exec(sql)),
      query: (sql: string) => Effect.runPromise(query(sql)),
      close: end
    }
  }

  /** A table of the row's own. Returns its name. */
  async table(columns: string, values?: string): Promise<string> {
    const name = `own_${++World.tables}`
    const insert = values === undefined ? "" : `INSERT INTO ${name} VALUES ${values}`
    await this.exec(`CREATE TABLE ${name} (${columns}); ${insert}`)
    return name
  }

  private async parse(ask: Ask): Promise<Parsed> {
    const { body, headers = {}, ask: text } = typeof ask === "string" ? { ask } : ask
    const [, method = "GET", rest = ""] = /^(?:([A-Z]+) )?([^]*)$/.exec(text)!
    const path = rest.startsWith("/") ? rest : await this.resolved(rest)
    return {
      method,
      path: escaped(path),
      headers: body === undefined || typeof body === "string"
        ? headers
        : { "content-type": "application/json", ...headers },
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body)
    }
  }

  /** The path of a query, with what `@` stands for. */
  private async resolved(query: string): Promise<string> {
    if (!/(^|&)(handle|offset)=@/.test(query)) return `/v1/shape?${query}`
    const definition = query.split("&").filter((pair) => !POSITION.test(pair.split("=")[0]!))
    const now = await this.get([...definition, "offset=now"].join("&"), { status: 200 })
    return `/v1/shape?${
      query.replace(/(^|&)handle=@/, `$1handle=${header(now, "electric-handle")}`)
        .replace(/(^|&)offset=@/, `$1offset=${header(now, "electric-offset")}`)
    }`
  }

  /** The answer to a request, which is as expected. */
  async get(ask: Ask, expected?: Expected): Promise<Reply> {
    const { body, headers, method, path } = await this.parse(ask)
    const what = `${method} ${path}`
    const begin = performance.now()
    const reply = await new Promise<Reply>((resolve, reject) => {
      const request = http.request(
        { agent: this.agent, host: "127.0.0.1", port: this.server.port, method, path, headers },
        (response) => {
          const chunks: Array<Buffer> = []
          response.on("data", (chunk: Buffer) => chunks.push(chunk))
          response.on("error", reject)
          response.on("end", () =>
            resolve({
              what,
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks).toString(),
              millis: performance.now() - begin
            }))
        }
      )
      request.on("error", (error) => reject(new Error(what, { cause: error })))
      request.end(body)
    })
    invariants(reply, method, path)
    if (expected !== undefined) this.check(reply, expected)
    return reply
  }

  private check(reply: Reply, { body, headers = {}, invalid, json: wanted, status }: Expected): void {
    const { what } = reply
    const got = `${what}: ${reply.status} ${reply.body.slice(0, 1000)}`
    assert.equal(reply.status, status ?? (invalid === undefined ? 200 : 400), got)
    for (const [name, value] of Object.entries(headers)) {
      const given = reply.headers[name]
      if (value === null) assert.equal(given, undefined, `${what}: ${name}`)
      else if (value instanceof RegExp) assert.match(String(given), value, `${what}: ${name}`)
      else {
        const text = value.replace(/\{(\w+)\}/g, (_, part: string) => String(reply.headers[`electric-${part}`]))
        assert.equal(given, text, `${what}: ${name}`)
      }
    }
    if (invalid !== undefined) same(json(reply), { message: "Invalid request", errors: invalid }, what)
    if (wanted !== undefined) same(json(reply), wanted, what)
    if (typeof body === "string") assert.equal(reply.body, body, what)
    if (body instanceof RegExp) assert.match(reply.body, body, what)
  }

  /** Asks again and again until the answer is what is waited for. */
  async until(ask: Ask, holds: (reply: Reply) => boolean): Promise<Reply> {
    const deadline = Date.now() + PATIENCE
    while (true) {
      const reply = await this.get(ask)
      if (holds(reply)) return reply
      if (Date.now() > deadline) assert.fail(`${reply.what}: still ${reply.status} ${reply.body.slice(0, 1000)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Follows a shape from its beginning to where it is up to date. */
  async follow(query: string): Promise<Followed> {
    let reply = await this.get(`${query}&offset=-1`, { status: 200 })
    const handle = header(reply, "electric-handle")
    const all = [...items(reply)]
    while (reply.headers["electric-up-to-date"] === undefined) {
      reply = await this.get(`${query}&handle=${handle}&offset=${header(reply, "electric-offset")}`, { status: 200 })
      all.push(...items(reply))
    }
    return { query, handle, offset: header(reply, "electric-offset"), items: all.slice(0, -1) }
  }

  /** What comes next, live, up to where it is up to date. */
  async news({ handle, offset, query }: Followed): Promise<Followed> {
    const deadline = Date.now() + PATIENCE
    const all: Array<Item> = []
    let at = offset
    while (true) {
      const reply = await this.get(`${query}&handle=${handle}&offset=${at}&live=true`, { status: 200 })
      at = header(reply, "electric-offset")
      all.push(...items(reply))
      if (reply.headers["electric-up-to-date"] !== undefined) {
        all.pop()
        if (all.length > 0) return { query, handle, offset: at, items: all }
      }
      if (Date.now() > deadline) assert.fail(`${reply.what}: nothing came`)
    }
  }

  /** What the statements, each a transaction, add to the log of a shape that was up to date. */
  async changes(query: string, ...transactions: ReadonlyArray<string>): Promise<ReadonlyArray<Item>> {
    let followed = await this.follow(query)
    const all: Array<Item> = []
    for (const sql of transactions) {
      await this.exec(sql)
      followed = await this.news(followed)
      all.push(...followed.items)
    }
    return all
  }

  /** Opens a stream of events. */
  async events(ask: Ask): Promise<Events> {
    const { headers, method, path } = await this.parse(ask)
    const watchers = new Set<() => void>()
    const changed = () => {
      for (const watcher of [...watchers]) watcher()
    }
    let text = ""
    let isOver = false
    const wait = (condition: () => boolean, what: string) =>
      new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          watchers.delete(look)
          reject(new Error(`${path}: ${what} did not come: ${text.slice(0, 1000)}`))
        }, PATIENCE)
        const look = () => {
          if (!condition()) return
          clearTimeout(timer)
          watchers.delete(look)
          resolve()
        }
        watchers.add(look)
        look()
      })
    return new Promise((resolve, reject) => {
      const request = http.request(
        { host: "127.0.0.1", port: this.server.port, method, path, headers, agent: this.agent },
        (response) => {
          response.setEncoding("utf8")
          response.on("data", (part: string) => {
            text += part
            changed()
          })
          response.on("error", () => undefined)
          response.on("close", () => {
            isOver = true
            changed()
          })
          const stream: Events = {
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: () => text,
            isOver: () => isOver,
            until: wait,
            close: () => request.destroy()
          }
          this.ends.push(stream.close)
          resolve(stream)
        }
      )
      request.on("error", reject)
      request.end()
    })
  }

  async close(): Promise<void> {
    for (const end of this.ends) await end()
    this.agent.destroy()
  }
}

// --- Tests that are elsewhere ---

const root = fileURLToPath(new URL("../../", import.meta.url))

/** First arguments of calls, which titles of tests are, and lines of tables like ours. */
const titlesOf = (source: string): ReadonlySet<string> => {
  const titles = new Set<string>()
  const literal = /(?:\w\(\s*|\bline:\s*|\bname:\s*|^\s*\[?)("(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`)/gm
  for (const [, text] of source.matchAll(literal)) {
    const title = text!.slice(1, -1).replace(/\\(["'`\\])/g, "$1")
    titles.add(title)
    // Of a title that is put together, what comes first.
    if (text!.startsWith("`")) titles.add(title.slice(0, title.indexOf("${")))
  }
  return titles
}

/** Fails unless the file has a test of that title. */
export const assertExists = (reference: string): void => {
  const [file, ...rest] = reference.split(" › ")
  assert.ok(file !== undefined && rest.length > 0, `${reference}: no file or no title`)
  assert.ok(fs.existsSync(`${root}${file}`), `${reference}: there is no such file`)
  const titles = titlesOf(fs.readFileSync(`${root}${file}`, "utf8"))
  for (const title of rest) assert.ok(titles.has(title), `${reference}: ${file} has no test "${title}"`)
}

// --- Running ---

const run = async (row: Row, world: World): Promise<void> => {
  if ("script" in row) return row.script(world)
  if ("cases" in row) {
    for (const [ask, expected] of row.cases) await world.get(ask, expected)
  } else if ("ask" in row) {
    const asks = typeof row.ask === "string" || "ask" in row.ask ? [row.ask] : row.ask
    for (const ask of asks) await world.get(ask, row.is)
  } else if ("elsewhere" in row) {
    for (const reference of typeof row.elsewhere === "string" ? [row.elsewhere] : row.elsewhere) assertExists(reference)
  }
}

const titleOf = (row: Row): string =>
  row.line + (row.differs === undefined ? "" : ` — differs: ${row.differs}`) +
  ("elsewhere" in row ? ` → ${typeof row.elsewhere === "string" ? row.elsewhere : row.elsewhere.join(", ")}` : "")

/** The tests of a section. */
export const conforms = (section: Section): void => {
  describe(section.title, () => {
    const names = Object.keys(section.servers)
    const worlds = new Map<string, World>()
    let scope: Scope.CloseableScope | undefined
    beforeAll(async () => {
      scope = await Effect.runPromise(Scope.make())
      const database = await Effect.runPromise(Scope.extend(Postgres.makeDatabase, scope))
      if (section.setup !== undefined) await Effect.runPromise(database.exec(section.setup))
      await Promise.all(names.map(async (name) => {
        const server = await ServerProcess.make({
          databaseUrl: database.url,
          env: {
            SHAPELOG_REPLICATION_STREAM_ID: `${database.name}_${name}`,
            SHAPELOG_LONG_POLL_TIMEOUT: "2s",
            SHAPELOG_DB_POOL_SIZE: "8",
            ...section.servers[name]
          }
        })
        worlds.set(name, new World(server, database))
        await server.start()
      }))
    })
    afterAll(async () => {
      for (const world of worlds.values()) {
        await world.close()
        await world.server.dispose()
      }
      if (scope) await Effect.runPromise(Scope.close(scope, Exit.void))
    })
    for (const row of section.rows) {
      if ("untested" in row) {
        it.skip(`${titleOf(row)} — not tested: ${row.untested}`, () => undefined)
      } else {
        it(titleOf(row), async () => {
          const world = worlds.get(row.on ?? names[0]!)
          assert.ok(world, `there is no server ${row.on}`)
          await run(row, world)
        })
      }
    }
    it("none of the servers has said that something is wrong", () => {
      for (const { server } of worlds.values()) assert.deepEqual(server.alarms(), [])
    })
  })
}
