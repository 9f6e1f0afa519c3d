/**
 * What holds behind any cache that we ship a configuration for: the real server, the real proxy with the shipped file, and between them
 * a server that counts.
 */
import assert from "node:assert/strict"
import * as http from "node:http"
import * as zlib from "node:zlib"
import { describe } from "vitest"
import { Counter, type Kind, type Proxy } from "../support/Proxy.ts"
import { AS_TEXT, Client, type Scenario, scenario, type ScenarioOptions } from "../support/Scenario.ts"

export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  /** As it came over the wire. */
  readonly raw: Buffer
  /** Uncompressed. */
  readonly text: string
  /** HIT, MISS, … */
  readonly cache: string
  /** How long it took, in ms. */
  readonly millis: number
}

const uncompressed = (body: Buffer, encoding: string | undefined): Buffer => {
  switch (encoding) {
    case undefined:
      return body
    case "br":
      return zlib.brotliDecompressSync(body)
    case "gzip":
      return zlib.gunzipSync(body)
    default:
      throw new Error(`nobody asked for ${encoding}`)
  }
}

/** One request on a connection of its own. */
export const get = (
  url: string,
  headers: Readonly<Record<string, string>> = {},
  options: { readonly signal?: AbortSignal; readonly method?: string; readonly body?: string } = {}
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const begun = performance.now()
    const { body, ...rest } = options
    const request = http.request(url, { agent: false, headers, ...rest }, (response) => {
      const pieces: Array<Buffer> = []
      response.on("data", (piece: Buffer) => pieces.push(piece))
      response.on("error", reject)
      response.on("end", () => {
        const raw = Buffer.concat(pieces)
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          raw,
          text: uncompressed(raw, response.headers["content-encoding"]).toString(),
          cache: String(response.headers["x-cache-status"]),
          millis: performance.now() - begun
        })
      })
    })
    request.on("error", reject)
    request.end(body)
  })

/** A stream of events through the proxy. */
export const stream = (url: string) => {
  const state = { status: 0, headers: {} as http.IncomingHttpHeaders, text: "" }
  const watchers = new Set<() => void>()
  const changed = () => {
    for (const watcher of [...watchers]) watcher()
  }
  const request = http.get(url, { agent: false }, (response) => {
    state.status = response.statusCode!
    state.headers = response.headers
    response.setEncoding("utf8")
    response.on("data", (text: string) => {
      state.text += text
      changed()
    })
    response.on("error", changed)
    changed()
  })
  request.on("error", changed)
  const until = (condition: () => boolean, what: string, millis = 20_000) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (!condition()) return
        clearTimeout(timer)
        watchers.delete(look)
        resolve()
      }
      const timer = setTimeout(() => {
        watchers.delete(look)
        reject(new Error(`${what} did not come: ${state.status} ${state.text.slice(0, 1000)}`))
      }, millis)
      watchers.add(look)
      look()
    })
  return { state, until, close: () => request.destroy() }
}

export interface Behind extends Scenario {
  readonly proxy: Proxy
  /** What reaches the server. */
  readonly counter: Counter
  /** Address of a request through the proxy. */
  readonly at: (query: Readonly<Record<string, string>>) => string
  /** Follows `table` through the proxy to the end of its log as it is now. */
  readonly sync: (table: string) => Promise<{ readonly handle: string; readonly offset: string }>
  /** The published client, through the proxy; its requests are counted. With `isNew` it remembers nothing of the others. */
  readonly through: (table: string, isNew?: boolean) => { readonly client: Client; readonly requests: () => number }
}

/** A test of the server behind the proxy. */
export const behind = (
  kind: Kind,
  name: string,
  options: ScenarioOptions,
  body: (behind: Behind) => Promise<void>
): void =>
  scenario(name, { timeout: 90_000, ...options }, async (scenario) => {
    const counter = await Counter.make(scenario.server.port)
    const proxy = await kind.start!(counter.port)
    const clients: Array<Client> = []
    /** Keys are sorted, as the published client sorts them: the query as it is written is what a cache goes by. */
    const at = (query: Readonly<Record<string, string>>) => {
      const params = new URLSearchParams({ table: "items", ...query })
      params.sort()
      return `${proxy.url}/v1/shape?${params}`
    }
    const sync = async (table: string) => {
      let position = { handle: "", offset: "-1" }
      for (;;) {
        const { headers, status, text } = await get(
          at(position.handle === "" ? { table, offset: "-1" } : { table, ...position })
        )
        assert.equal(status, 200, text)
        position = { handle: String(headers["electric-handle"]), offset: String(headers["electric-offset"]) }
        if (headers["electric-up-to-date"] !== undefined) return position
      }
    }
    const through = (table: string, isNew = false) => {
      let requests = 0
      // The published client remembers expired handles by address, for all of a process.
      const client = new Client(isNew ? proxy.url.replace("127.0.0.1", "localhost") : proxy.url, { table }, {
        parser: AS_TEXT,
        fetchClient: (input, init) => {
          requests++
          return fetch(input, init)
        }
      })
      clients.push(client)
      return { client, requests: () => requests }
    }
    try {
      await body({ ...scenario, at, counter, proxy, sync, through })
    } finally {
      for (const client of clients) client.end()
      await proxy.stop()
      await counter.stop()
    }
  })

const times = <A>(count: number, make: (index: number) => A): Array<A> =>
  Array.from({ length: count }, (_, i) => make(i))

const same = (answers: ReadonlyArray<Answer>): Answer => {
  const [first] = answers
  for (const { headers, status, text } of answers) {
    assert.equal(status, first!.status, text)
    assert.equal(text, first!.text)
    for (const name of ["electric-handle", "electric-offset", "electric-cursor", "electric-up-to-date"]) {
      assert.equal(headers[name], first!.headers[name], name)
    }
  }
  return first!
}

/** Rows that make the first response long enough to be worth compressing. */
const ITEMS = `
  CREATE TABLE items (id int PRIMARY KEY, title text NOT NULL);
  INSERT INTO items SELECT i, 'title number ' || i FROM generate_series(1, 2000) i`

/** The title of a suite: it says so when the proxy is not there. */
export const titleOf = ({ name, start }: Kind): string =>
  start === undefined ? `behind ${name} (left out: ${name} is not installed)` : `behind ${name}`

export const contract = (kind: Kind, more: () => void): void => {
  const test = (name: string, options: ScenarioOptions, body: (behind: Behind) => Promise<void>) =>
    behind(kind, name, options, body)

  describe.skipIf(kind.start === undefined)(titleOf(kind), () => {
    // --- Those that mostly wait, at the same time ---

    test("clients that come to a quiet shape one after the other, without a cursor, wait for few requests", {
      setup: ITEMS,
      concurrent: true,
      env: { SHAPELOG_LONG_POLL_TIMEOUT: "20s" }
    }, async ({ at, counter, db, sync }) => {
      const position = await sync("items")
      const live = { ...position, live: "true", cursor: "" }
      const encodings = ["br", "gzip", "identity", "gzip, br"]
      const answers: Array<Promise<Answer>> = []
      // A client each 200 ms, until those have come that find an expired answer.
      const begun = performance.now()
      while (performance.now() - begun < 28_000) {
        answers.push(get(at(live), { "accept-encoding": encodings[answers.length % 4]! }))
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
      await db.exec("INSERT INTO items SELECT i, repeat('news ', 10) || i FROM generate_series(5001, 5100) i")
      const all = await Promise.all(answers)
      const bodies = new Set(all.map(({ status, text }) => `${status} ${text}`))
      assert.equal(bodies.size, 2)
      const news = all.filter(({ text }) => text.includes("news"))
      assert.ok(news.length > 10, `${news.length}`)
      // The cursor's intervals are 20 s long.
      assert.ok(counter.of({ live: "true" }).length <= 3, `${counter.of({ live: "true" }).length}`)
    })

    test("nothing stale is served as live: neither late, nor while it is refreshed, nor without a server", {
      setup: ITEMS,
      concurrent: true,
      env: { SHAPELOG_LONG_POLL_TIMEOUT: "2s", SHAPELOG_CACHE_MAX_AGE: "1" }
    }, async ({ at, db, server, sync }) => {
      const position = await sync("items")
      const live = at({ ...position, live: "true", cursor: "7" })
      const quiet = await get(live)
      assert.equal(quiet.headers["electric-has-data"], "false")
      const etagOf = ({ headers }: Answer) => String(headers.etag).replace(/^W\//, "")
      const isQuiet = (answer: Answer) => answer.status === 200 && etagOf(answer) === etagOf(quiet)

      /**
       * Asks again and again until well past the end of both windows, five and five seconds. All the while either what is
       * there is young enough, or it is not what was there before.
       */
      const watch = async (url: string, isOld: (answer: Answer) => boolean, millis: number) => {
        const begun = performance.now()
        let last = 0
        const others: Array<Answer> = []
        while (performance.now() - begun < millis) {
          const asked = performance.now() - begun
          for (const answer of await Promise.all(times(3, () => get(url)))) {
            if (isOld(answer)) last = asked
            else others.push(answer)
          }
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
        return { last, others }
      }

      // --- Quiet: those that come later are held anew ---
      const first = await watch(live, isQuiet, 9_000)
      assert.ok(first.last > 1_000 && first.last < 6_500, `${first.last}`)
      assert.ok(first.others.length > 0)
      for (const { headers, status } of first.others) {
        assert.equal(status, 200)
        assert.ok(Number(headers["electric-cursor"]) > 7)
      }

      // --- With news ---
      await db.exec("INSERT INTO items VALUES (5001, 'news')")
      const late = at({ ...position, live: "true", cursor: "8" })
      const news = await get(late)
      assert.match(news.text, /"title":"news"/)
      const log = at(position)
      assert.equal((await get(log)).status, 200)

      // --- Without a server ---
      assert.equal(await server.stop(), 0)
      const down = await watch(late, (answer) => answer.status === 200, 12_000)
      assert.ok(down.last < 6_500, `${down.last}`)
      assert.ok(down.others.length > 0)
      for (const { status } of down.others) assert.ok(status === 502 || status === 503, `${status}`)
      // Those who wait for what can't be had learn so together.
      const seen = await Promise.all(times(40, () => get(at({ ...position, live: "true", cursor: "9" }))))
      assert.ok(
        seen.every(({ millis, status }) => status >= 502 && millis < 6_000),
        `${Math.max(...seen.map(({ millis }) => millis))}`
      )
      // What is not live may be stale for as long as it says.
      const old = await get(log)
      assert.equal(old.status, 200)
      assert.equal(old.cache, "STALE")

      // --- And back again ---
      await db.exec("INSERT INTO items VALUES (5002, 'while it was away')")
      await server.start()
      // It has yet to catch up when it is active.
      for (let cursor = 10;; cursor++) {
        const { status, text } = await get(at({ ...position, live: "true", cursor: String(cursor) }))
        assert.equal(status, 200)
        if (text.includes("\"title\":\"while it was away\"")) break
        assert.ok(cursor < 1_000)
      }
      assert.match((await get(late)).text, /"title":"while it was away"/)
    })

    test("equal live requests are one for the whole length of a long poll", {
      setup: ITEMS,
      concurrent: true,
      env: { SHAPELOG_LONG_POLL_TIMEOUT: "8s" }
    }, async ({ at, counter, db, sync }) => {
      const position = await sync("items")
      const live = { ...position, live: "true", cursor: "7" }
      const idle = await Promise.all(times(50, () => get(at(live))))
      const { headers, status } = same(idle)
      assert.equal(status, 200)
      assert.equal(headers["electric-has-data"], "false")
      for (const { millis } of idle) assert.ok(millis > 7_500 && millis < 15_000, `${millis}`)
      assert.equal(counter.of({ live: "true" }).length, 1)

      // --- A change wakes all of them, with the same body ---
      const next = { ...position, live: "true", cursor: String(headers["electric-cursor"]) }
      const aborted = new AbortController()
      const leaving = get(at(next), {}, { signal: aborted.signal }).then(() => "answered", () => "gone")
      await counter.until(() => counter.of(next).length === 1, "the live request")
      const woken = times(50, () => get(at(next)))
      // The one whose request it is goes away: the others still get what it had asked for.
      aborted.abort()
      assert.equal(await leaving, "gone")
      await db.exec("INSERT INTO items VALUES (5001, 'news')")
      const news = same(await Promise.all(woken))
      assert.match(news.text, /"title":"news"/)
      assert.equal(news.headers["electric-has-data"], "true")
      assert.equal(counter.of({ live: "true" }).length, 2)
    })

    // --- One after the other ---

    test("the second client's first sync comes from the cache", {
      setup: ITEMS,
      env: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "20000" }
    }, async (
      { at, counter, select, through }
    ) => {
      const rows = await select("SELECT * FROM items")
      const first = through("items").client
      await first.until((found) => found.length === rows.length)
      const log = () => counter.requests.filter(({ url }) => !url.searchParams.has("live"))
      const asked = log().length
      assert.ok(asked > 3, `${asked}`)
      const second = through("items").client
      await second.until((found) => found.length === rows.length)
      assert.deepEqual(second.rows, first.rows)
      assert.equal(log().length, asked)
      const answer = await get(at({ offset: "-1", log: "full" }), { "user-agent": "node" })
      assert.equal(answer.cache, "HIT")
    })

    test("clients that come at the same time make one first request", { setup: ITEMS }, async ({ at, counter }) => {
      const answers = await Promise.all(times(30, () => get(at({ offset: "-1" }))))
      assert.equal(same(answers).status, 200)
      assert.equal(counter.of({ offset: "-1" }).length, 1)
    })

    test("everybody gets an encoding that they take", { setup: ITEMS }, async ({ at, counter }) => {
      const first = at({ offset: "-1" })
      const expected = (await get(first)).text
      assert.ok(expected.length > 10_000)
      const clients: ReadonlyArray<readonly [Record<string, string>, ReadonlyArray<string | undefined>]> = [
        [{ "accept-encoding": "gzip, deflate, br, zstd" }, ["gzip", "br"]],
        [{ "accept-encoding": "gzip, deflate, br" }, ["gzip", "br"]],
        [{ "accept-encoding": "br;q=1.0, gzip;q=0.8" }, ["gzip", "br"]],
        [{ "accept-encoding": "gzip" }, ["gzip"]],
        [{ "accept-encoding": "GZIP;q=0.5" }, ["gzip"]],
        [{ "accept-encoding": "br" }, ["br", undefined]],
        [{ "accept-encoding": "br;q=0, gzip" }, ["gzip"]],
        [{ "accept-encoding": "gzip;q=0" }, [undefined]],
        [{ "accept-encoding": "gzip;q=0.0, br;q=0" }, [undefined]],
        [{ "accept-encoding": "identity" }, [undefined]],
        [{}, [undefined]],
        [{ "accept-encoding": "gzip, deflate", "user-agent": "node" }, [undefined]]
      ]
      for (const round of [1, 2]) {
        for (const [headers, encodings] of clients) {
          const answer = await get(first, headers)
          const what = `${JSON.stringify(headers)} ${answer.headers["content-encoding"]} ${round}`
          assert.equal(answer.status, 200, what)
          assert.ok(encodings.includes(answer.headers["content-encoding"]), what)
          assert.ok(answer.text === expected, what)
          assert.match(String(answer.headers.vary), /accept-encoding/i)
          if (round === 2) assert.equal(answer.cache, "HIT", what)
        }
      }
      assert.ok(counter.of({ offset: "-1" }).length <= 3)
    })

    test("after a rotation every client starts over once, and nobody asks again and again", { setup: ITEMS }, async (
      { at, counter, db, select, through }
    ) => {
      const refetches = (client: Client) =>
        client.messages.filter(({ headers }) => "control" in headers && headers.control === "must-refetch").length
      const titles = (rows: ReadonlyArray<object>) => JSON.stringify(rows.map((row) => JSON.stringify(row)).sort())
      const clients = times(10, () => through("items"))
      await Promise.all(clients.map(({ client }) => client.until((rows) => rows.length === 2000)))
      const old = clients[0]!.client.stream.shapeHandle
      const before = clients.map(({ requests }) => requests())
      const reached = counter.requests.length

      await db.exec("TRUNCATE items; INSERT INTO items VALUES (1, 'new'), (2, 'rows')")
      const now = titles((await select("SELECT * FROM items")).map(({ id, title }) => ({ id, title })))
      await Promise.all(clients.map(({ client }) => client.until((rows) => titles(rows) === now)))
      for (const [i, { client, requests }] of clients.entries()) {
        assert.notEqual(client.stream.shapeHandle, old)
        assert.equal(refetches(client), 1)
        assert.ok(requests() - before[i]! <= 12, `${requests() - before[i]!}`)
      }
      assert.ok(counter.requests.length - reached <= 60, `${counter.requests.length - reached}`)

      // --- The old handle's log is still in the cache: a new client starts with it, is told once, and gets the new one ---
      const stale = await get(at({ offset: "-1", log: "full" }), { "user-agent": "node" })
      assert.equal(stale.cache, "HIT")
      assert.equal(stale.headers["electric-handle"], old)
      const late = through("items", true)
      await late.client.until((rows) => titles(rows) === now)
      assert.equal(refetches(late.client), 1)
      assert.ok(late.requests() <= 15, `${late.requests()}`)

      await db.exec("INSERT INTO items VALUES (3, 'and on')")
      await Promise.all([late, ...clients].map(({ client }) => client.until((rows) => rows.length === 3)))
      assert.ok([late, ...clients].every(({ client }) => refetches(client) === 1))
    })

    test("a 409 is kept as long as it says", { setup: ITEMS }, async ({ at, counter, sync }) => {
      const { handle } = await sync("items")
      const gone = at({ handle: "1-1", offset: "0_0" })
      const answer = await get(gone)
      assert.equal(answer.status, 409)
      assert.equal(answer.headers["electric-handle"], handle)
      assert.equal(answer.headers["cache-control"], "public, max-age=60, must-revalidate")
      assert.equal((await get(gone)).cache, "HIT")
      assert.equal(counter.of({ handle: "1-1" }).length, 1)
      // Other errors are not.
      for (const time of [1, 2]) {
        assert.equal((await get(at({ table: "nothing", offset: "-1" }))).status, 400)
        assert.equal(counter.of({ table: "nothing" }).length, time)
      }
    })

    test("events come as they happen", { setup: ITEMS }, async ({ at, counter, db, sync }) => {
      const position = await sync("items")
      for (const flag of ["live_sse", "experimental_live_sse"]) {
        const { handle, offset } = position
        const url = at({ handle, offset, live: "true", [flag]: "true", cursor: "7" })
        const events = stream(url)
        await events.until(() => events.state.status === 200, "the head of the stream")
        assert.equal(events.state.headers["content-type"], "text/event-stream")
        for (const title of ["one", "two", "three"]) {
          await db.exec(`INSERT INTO items SELECT max(id) + 1, '${flag} ${title}' FROM items`)
          await events.until(() => events.state.text.includes(`${flag} ${title}`), title, 3_000)
        }
        events.close()
      }
      assert.equal(counter.of({ live: "true" }).length, 2)
    })

    test("the secret and the Authorization of one are no good for another", {
      setup: ITEMS,
      env: { SHAPELOG_INSECURE: "false", SHAPELOG_SECRET: "s3cret" }
    }, async ({ at, counter }) => {
      const withSecret = (secret?: string) => at({ offset: "-1", ...(secret === undefined ? {} : { secret }) })
      for (const round of [1, 2]) {
        const right = await get(withSecret("s3cret"))
        assert.equal(right.status, 200)
        assert.equal(right.cache, round === 1 ? "MISS" : "HIT")
        assert.equal((await get(withSecret("other"))).status, 401)
        assert.equal((await get(withSecret())).status, 401)
      }
      assert.equal(counter.of({ secret: "s3cret" }).length, 1)
      for (const authorization of ["Bearer a", "Bearer b"]) {
        assert.equal((await get(withSecret("s3cret"), { authorization })).cache, "MISS")
        assert.equal((await get(withSecret("s3cret"), { authorization })).cache, "HIT")
      }
      assert.deepEqual(
        counter.of({ secret: "s3cret" }).map(({ headers }) => headers.authorization),
        [undefined, "Bearer a", "Bearer b"]
      )
    })

    test("pages of different origins share what is cached", { setup: ITEMS }, async ({ at, counter }) => {
      for (const origin of ["https://a.example", "https://b.example"]) {
        const { headers } = await get(at({ offset: "-1" }), { origin, cookie: `of=${origin}` })
        assert.equal(headers["access-control-allow-origin"], "*")
        assert.match(String(headers["access-control-expose-headers"]), /electric-offset/)
        const preflight = await get(at({ offset: "-1" }), { origin, "access-control-request-method": "GET" }, {
          method: "OPTIONS"
        })
        assert.equal(preflight.status, 204)
        assert.equal(preflight.headers["access-control-allow-origin"], "*")
      }
      assert.equal(counter.of({ offset: "-1" }).filter(({ method }) => method === "GET").length, 1)
      assert.ok(counter.requests.every(({ headers }) => headers.cookie === undefined && headers.origin === undefined))
    })

    test(
      "subsets are never cached and don't wait for each other",
      { setup: ITEMS },
      async ({ at, counter, db, sync }) => {
        await sync("items")
        const before = counter.requests.length
        const subset = at({ offset: "now", "subset__where": "id < 3" })
        const answers = await Promise.all(times(60, () => get(subset)))
        for (const { headers, millis, status, text } of answers) {
          assert.equal(status, 200, text)
          assert.equal(headers["electric-snapshot"], "true")
          // One after the other they would take half a second each behind nginx.
          assert.ok(millis < 8_000, `${millis}`)
        }
        assert.equal(counter.requests.length - before, 60)
        const post = () =>
          get(at({ offset: "now" }), { "content-type": "application/json" }, {
            method: "POST",
            body: JSON.stringify({ where: "id < 3" })
          })
        const rows = async () => (JSON.parse((await post()).text) as { data: ReadonlyArray<unknown> }).data.length
        assert.equal(await rows(), 2)
        await db.exec("DELETE FROM items WHERE id = 1")
        assert.equal(await rows(), 1)
      }
    )

    test("a long where clause and the schema of a wide table fit", {
      setup: `CREATE TABLE items (id int PRIMARY KEY, ${
        times(140, (i) => `a_column_with_a_rather_long_name_${i} numeric(10, 2)`).join(", ")
      })`
    }, async ({ at }) => {
      const query = { offset: "-1", where: `id IN (${times(1500, String).join(",")})` }
      for (const cache of ["MISS", "HIT"]) {
        const { headers, status, text, ...answer } = await get(at(query))
        assert.equal(status, 200, text)
        assert.equal(answer.cache, cache)
        assert.ok(String(headers["electric-schema"]).length > 11_000, `${String(headers["electric-schema"]).length}`)
      }
    })

    more()
  })
}
