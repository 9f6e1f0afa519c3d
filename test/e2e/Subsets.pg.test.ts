/**
 * Subset snapshots from the running server: their rows are what `SELECT` says, their refusals are clear, and a client that loads them
 * while others write ends with what the table holds.
 */
import { isChangeMessage, isControlMessage, type Row } from "@electric-sql/client"
import assert from "node:assert/strict"
import type { Values } from "../support/Follower.ts"
import { AS_TEXT, scenario } from "../support/Scenario.ts"
import type { ServerProcess } from "../support/ServerProcess.ts"

interface Item {
  readonly key: string
  readonly value: Values
  readonly headers: Readonly<Record<string, unknown>>
}

interface Subset {
  readonly metadata: {
    readonly xmin: string
    readonly xmax: string
    readonly xip_list: ReadonlyArray<string>
    readonly database_lsn: string
    readonly snapshot_mark: number
  }
  readonly data: ReadonlyArray<Item>
}

type Fields = Readonly<Record<string, string>>

const query = (fields: Fields) => new URLSearchParams(fields).toString()

const get = (server: ServerProcess, fields: Fields) => fetch(`${server.url}/v1/shape?${query(fields)}`)

const post = (server: ServerProcess, fields: Fields, body: unknown) =>
  fetch(`${server.url}/v1/shape?${query(fields)}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body)
  })

const subsetOf = async (response: Response): Promise<Subset> => {
  assert.equal(response.status, 200, await response.clone().text())
  return await response.json() as Subset
}

const errorsOf = async (response: Response): Promise<Record<string, unknown>> => {
  const body = await response.json() as { readonly errors: Record<string, unknown> }
  assert.equal(response.status, 400, JSON.stringify(body))
  return body.errors
}

const values = ({ data }: Subset): ReadonlyArray<Values> => data.map(({ value }) => value)

scenario("rows of a subset, by GET and by POST", {
  setup: `
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TABLE items (id int, part int, name text, mood mood, meta json, hidden text, done bool, PRIMARY KEY (part, id));
    INSERT INTO items SELECT i, i % 3, CASE WHEN i % 5 > 0 THEN 'n' || i END, (ARRAY['sad', 'ok', 'happy'])[i % 3 + 1]::mood,
      '{"a": 1}', 'secret', i % 2 = 0 FROM generate_series(1, 60) i`
}, async ({ db, select, server }) => {
  const shape = { table: "items", offset: "-1", columns: "id,part,name,mood,done", where: "id > 50 OR id < 20" }
  const columns = "id, part, name, mood, done"
  const inShape = "(id > 50 OR id < 20)"

  // --- Headers, metadata, rows ---
  const first = await get(server, { ...shape, subset__where: "part = 1", subset__order_by: "id DESC" })
  assert.equal(first.headers.get("cache-control"), "no-cache")
  assert.equal(first.headers.get("electric-snapshot"), "true")
  assert.equal(first.headers.get("electric-offset"), "0_0")
  for (const name of ["etag", "electric-up-to-date", "electric-cursor", "electric-has-data"]) {
    assert.equal(first.headers.get(name), null, name)
  }
  const handle = first.headers.get("electric-handle")!
  assert.equal(Object.keys(JSON.parse(first.headers.get("electric-schema")!) as object).length, 5)
  const { data, metadata } = await subsetOf(first)
  assert.deepEqual(
    data.map(({ value }) => value),
    await select(`SELECT ${columns} FROM items WHERE ${inShape} AND part = 1 ORDER BY id DESC`)
  )
  const mark = metadata.snapshot_mark
  assert.deepEqual(data[0], {
    key: "\"public\".\"items\"/\"1\"/\"58\"",
    value: { id: "58", part: "1", name: "n58", mood: "ok", done: "t" },
    headers: { operation: "insert", relation: ["public", "items"], snapshot_mark: mark }
  })
  assert.ok(Number.isInteger(mark) && mark >= 0 && mark < 2 ** 31)
  for (const text of [metadata.xmin, metadata.xmax, metadata.database_lsn, ...metadata.xip_list]) {
    assert.match(text, /^\d+$/)
  }

  // The shape's own log has the same keys and values.
  const log = await (await get(server, shape)).json() as ReadonlyArray<Item>
  const byKey = new Map(log.map(({ key, value }) => [key, value]))
  for (const { key, value } of data) assert.deepEqual(byKey.get(key), value)

  // --- Every way of asking ---
  const position = { ...shape, offset: "0_inf", handle }
  const ways: ReadonlyArray<readonly [Promise<Response>, string]> = [
    [
      get(server, {
        ...position,
        subset__limit: "3",
        subset__offset: "2",
        subset__order_by: "name DESC NULLS FIRST, id"
      }),
      `${inShape} ORDER BY name DESC NULLS FIRST, id LIMIT 3 OFFSET 2`
    ],
    [
      get(server, {
        ...position,
        "subset[where]": "name LIKE $1",
        subset__params: "{\"1\": \"n5%\"}",
        subset__order_by: "id"
      }),
      `${inShape} AND name LIKE 'n5%' ORDER BY id`
    ],
    [
      post(server, position, { where: "id = ANY($1::int[])", params: { 1: "{1,2,30}" }, order_by: "id" }),
      `${inShape} AND id IN (1, 2, 30) ORDER BY id`
    ],
    [
      post(server, position, {
        subset: { where: "done = $2 AND id < $1", params: { 1: 10, 2: true }, order_by: "\"id\"" }
      }),
      `${inShape} AND done AND id < 10 ORDER BY id`
    ],
    [
      post(server, { offset: "-1" }, {
        ...shape,
        where: undefined,
        offset: undefined,
        subset: { order_by: "id, part" }
      }),
      `true ORDER BY id, part`
    ],
    [
      post(server, position, { where: "mood = 'happy'", order_by: "id", limit: 2, offset: 0 }),
      `${inShape} AND mood = 'happy' ORDER BY id LIMIT 2`
    ],
    [post(server, position, { where: "true = true", where_expr: {}, order_by: "id" }), `${inShape} ORDER BY id`],
    [
      post(server, { ...position, subset__where: "id = 1", subset__order_by: "id" }, { where: "id = 2" }),
      `${inShape} AND id = 2`
    ],
    [get(server, { ...position, subset__where: "false" }), "false"]
  ]
  for (const [asked, sql] of ways) {
    const response = await asked
    assert.deepEqual(
      values(await subsetOf(response)),
      await select(`SELECT ${columns} FROM items WHERE ${sql}`),
      sql
    )
    assert.equal(response.headers.get("electric-offset"), sql.startsWith("true") ? "0_0" : "0_inf")
  }
  const empty = await (await get(server, { ...position, subset__where: "false" })).text()
  assert.match(empty, /,"data":\[\]\}$/)

  // --- Positions ---
  await db.exec("INSERT INTO items VALUES (1000, 1, 'late')")
  const now = await get(server, { ...shape, offset: "now", subset__where: "id = 1000" })
  assert.equal((await subsetOf(now)).data.length, 1)
  assert.match(now.headers.get("electric-offset")!, /^(0_inf|[1-9]\d*_\d+)$/)
  const conflict = await post(server, { ...position, handle: "1-1" }, { where: "true" })
  assert.equal(conflict.status, 409)
  assert.equal(conflict.headers.get("electric-handle"), handle)
  assert.deepEqual(await errorsOf(await post(server, { table: "items" }, { where: "true" })), {
    offset: ["can't be blank"]
  })

  // --- Refusals ---
  const refusals: ReadonlyArray<readonly [Fields, Record<string, unknown>]> = [
    [{ subset__limit: "0", subset__order_by: "id" }, { limit: ["must be greater than 0"] }],
    [{ subset__limit: "x", subset__order_by: "id" }, { limit: ["is invalid"] }],
    [{ subset__offset: "-1", subset__order_by: "id" }, { offset: ["must be greater than or equal to 0"] }],
    [{ subset__limit: "1" }, { order_by: ["order_by is required when limit or offset is present"] }],
    [{ subset__where: "hidden = 'secret'" }, { where: ["At location 0: unknown reference hidden"] }],
    [{ subset__order_by: "hidden" }, { order_by: ["At location 0: unknown reference hidden"] }],
    [{ subset__order_by: "lower(name)" }, {
      order_by: ["At location 0: FuncCall expressions are not allowed in ORDER BY clauses"]
    }],
    [{ subset__where: "id IN (SELECT 1)" }, { where: ["Subqueries are not allowed in subsets"] }],
    [{ subset__where: "id" }, { where: ["WHERE clause must return a boolean"] }],
    [{ subset__where: "id = $1" }, { where: ["At location 5: parameter $1 was not provided"] }],
    [{ subset__params: "[1]" }, { params: ["params must be a JSON object"] }],
    [{ subset__params: "{" }, { params: ["params must be valid JSON"] }],
    [{ subset__where: "1 / (id - id) = 1" }, { where: ["division by zero"] }]
  ]
  for (const [fields, errors] of refusals) {
    assert.deepEqual(await errorsOf(await get(server, { ...position, ...fields })), { subset: errors })
  }
  const wrongLabel = await errorsOf(await get(server, { ...position, subset__where: "mood = 'glad'" }))
  assert.match(JSON.stringify(wrongLabel), /mood.*glad/)
  const long = await errorsOf(await post(server, position, { where: `name = '${"x".repeat(70_000)}'` }))
  assert.match(JSON.stringify(long), /bigger than maximum size/)
  const unordered = { table: "items", offset: "-1", subset__order_by: "meta" }
  assert.deepEqual(await errorsOf(await get(server, unordered)), {
    subset: { order_by: ["could not identify an ordering operator for type json"] }
  })

  // --- Queryable columns ---
  const queryable = { ...position, queryable_columns: "id,part,name,mood,done,hidden" }
  assert.deepEqual(
    values(await subsetOf(await get(server, { ...queryable, subset__where: "hidden = 'secret' AND id = 1" }))),
    await select(`SELECT ${columns} FROM items WHERE id = 1`)
  )
  assert.deepEqual(
    await errorsOf(await get(server, { ...queryable, queryable_columns: "id,part,done", subset__where: "true" })),
    { columns: ["The following columns are not queryable: name, mood"] }
  )
  assert.deepEqual(
    await errorsOf(
      await get(server, { ...queryable, queryable_columns: "id,part,name,mood,done,x", subset__where: "true" })
    ),
    { queryable_columns: ["The following queryable columns are not found on the table: x"] }
  )
})

scenario("a subset that is long is streamed, and one whose client leaves frees its connection", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, body text);
    INSERT INTO items SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 10000) i`
}, async ({ db, server }) => {
  const all = { table: "items", offset: "now", log: "changes_only", subset__where: "id > 0" }
  const whole = await subsetOf(await get(server, all))
  assert.equal(whole.data.length, 10_000)
  assert.equal(new Set(whole.data.map(({ key }) => key)).size, 10_000)

  // More of them than there are connections: each takes one piece and goes.
  for (let i = 0; i < 30; i++) {
    const aborter = new AbortController()
    const response = await fetch(`${server.url}/v1/shape?${query(all)}`, { signal: aborter.signal })
    assert.equal(response.status, 200)
    await response.body!.getReader().read()
    aborter.abort()
  }
  assert.equal((await subsetOf(await get(server, { ...all, subset__where: "id = 5" }))).data.length, 1)
  const busy =
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND query LIKE 'COPY%'"
  while ((await db.query(busy)).length > 0) { /* asked again */ }
})

scenario("the published client loads subsets while others write", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, part int NOT NULL, n int NOT NULL);
    INSERT INTO items SELECT i, i % 10, 0 FROM generate_series(1, 400) i`
}, async ({ client, db, select }) => {
  let isWriting = true
  const write = async (seed: number) => {
    for (let i = 0; isWriting; i++) {
      const id = 1 + (i * 37 * seed) % 400
      await db.exec(`UPDATE items SET n = n + 1 WHERE id IN (${id}, ${1 + (id * 7) % 400})`)
    }
  }
  const writers = [1, 2, 3].map(write)
  const readers = (["GET", "POST"] as const).map(async (subsetMethod) => {
    const one = client({ table: "items" }, { log: "changes_only", offset: "now", subsetMethod, parser: AS_TEXT })
    const rows = new Map<string, Row<unknown>>()
    const refetches: Array<unknown> = []
    /** Called when the rows may have changed; the client's own shape hears of messages before they are in them. */
    let look = () => {}
    const upToDate = new Promise<void>((resolve) => {
      one.stream.subscribe((messages) => {
        for (const message of messages) {
          if (isControlMessage(message)) {
            if (message.headers.control === "up-to-date") resolve()
            if (message.headers.control === "must-refetch") refetches.push(message)
            continue
          }
          if (!isChangeMessage(message)) continue
          const { headers, key, value } = message
          // Changes of what has not been loaded are none of its concern.
          if (headers.operation === "insert") rows.set(key, value)
          else if (rows.has(key)) rows.set(key, { ...rows.get(key), ...value })
        }
        look()
      })
    })
    const have = (predicate: () => boolean) =>
      new Promise<void>((resolve) => {
        look = () => {
          if (predicate()) resolve()
        }
        look()
      })
    for (let part = 0; part < 10; part++) {
      await one.stream.requestSnapshot({ where: "part = $1", params: { 1: String(part) }, orderBy: "id", limit: 1000 })
      // The client takes it for a loop when it is kept from reading five times before it has read anything.
      if (part === 0) await upToDate
    }
    return { have, rows, refetches }
  })
  const loaded = await Promise.all(readers)
  isWriting = false
  await Promise.all(writers)
  const text = (all: Iterable<Row<unknown>>) =>
    JSON.stringify([...all].map(({ id, n }) => [Number(id), Number(n)]).sort((a, b) => a[0]! - b[0]!))
  const expected = text(await select("SELECT id, n FROM items"))
  for (const { have, refetches, rows } of loaded) {
    await have(() => text(rows.values()) === expected)
    assert.deepEqual(refetches, [])
  }
})
