/**
 * Subsets as the published client loads them: by GET and by POST, by texts and by expressions, into the stream and beside it. (What the
 * server answers, and loading while others write, is in `Subsets.pg.test.ts`.)
 */
import {
  FetchError,
  isChangeMessage,
  isControlMessage,
  type Row,
  snakeCamelMapper,
  type SubsetParams
} from "@electric-sql/client"
import assert from "node:assert/strict"
import { type Passed, withGateway } from "../support/Gateway.ts"
import { camel, canonical, controlsOf, matches } from "../support/Materialised.ts"
import { AS_TEXT, scenario } from "../support/Scenario.ts"

const setup = `
  CREATE TABLE line_items (
    line_id int PRIMARY KEY, order_id int NOT NULL, unit_price numeric(10, 2), sold_at timestamptz, note text);
  INSERT INTO line_items SELECT i, i % 7, CASE WHEN i % 10 > 0 THEN i * 1.5 END,
    '2026-01-01T00:00:00Z'::timestamptz + i * interval '1 hour', 'note ' || i FROM generate_series(1, 200) i`

const isSubset = ({ method, url }: Passed): boolean =>
  method === "POST" || [...url.searchParams.keys()].some((key) => key.startsWith("subset__"))

/** Subsets as an application writes them with camel-cased names, with what they come to in SQL. */
const subsets: ReadonlyArray<readonly [SubsetParams, string]> = [
  [{ where: "orderId = $1", params: { 1: "3" } }, "order_id = 3"],
  [
    { where: "unitPrice IS NOT NULL", orderBy: "unitPrice DESC, lineId", limit: 5 },
    "unit_price IS NOT NULL ORDER BY unit_price DESC, line_id LIMIT 5"
  ],
  [
    { where: "soldAt > $1 AND orderId IN ($2, $3)", params: { 1: "2026-01-05T00:00:00Z", 2: 1, 3: 2n } },
    "sold_at > '2026-01-05T00:00:00Z' AND order_id IN (1, 2)"
  ],
  [{ orderBy: "soldAt", limit: 10, offset: 20 }, "true ORDER BY sold_at LIMIT 10 OFFSET 20"],
  [{
    whereExpr: {
      type: "func",
      name: "or",
      args: [
        {
          type: "func",
          name: "and",
          args: [
            { type: "func", name: "gt", args: [{ type: "ref", column: "lineId" }, { type: "val", paramIndex: 1 }] },
            { type: "func", name: "isNull", args: [{ type: "ref", column: "unitPrice" }] }
          ]
        },
        { type: "func", name: "eq", args: [{ type: "ref", column: "note" }, { type: "val", paramIndex: 2 }] }
      ]
    },
    params: { 1: "150", 2: "note 1" },
    orderByExpr: [{ column: "unitPrice", direction: "desc", nulls: "last" }, { column: "lineId" }],
    limit: 4
  }, "(line_id > 150 AND unit_price IS NULL) OR note = 'note 1' ORDER BY unit_price DESC NULLS LAST, line_id LIMIT 4"]
]

for (const subsetMethod of ["GET", "POST"] as const) {
  scenario(`subsets with a column mapper, by ${subsetMethod}`, { setup }, async ({ client, db, select, server }) => {
    await withGateway(server.url, async (gateway) => {
      const one = client({ table: "line_items", where: "lineId < $1", params: ["190"] }, {
        url: gateway.shapeUrl,
        columnMapper: snakeCamelMapper(),
        log: "changes_only",
        offset: "now",
        parser: AS_TEXT,
        subsetMethod
      })
      await one.until(() => one.stream.isUpToDate, "the end of a log without rows")
      assert.deepEqual(one.rows, [])
      const rows = async (sql: string) =>
        (await select(`SELECT * FROM (SELECT * FROM line_items WHERE line_id < 190) line_items WHERE ${sql}`)).map(
          camel
        )

      // --- Beside the stream: nothing of it is heard ---
      const { lastOffset, shapeHandle } = one.stream
      for (const [params, sql] of subsets) {
        const seen = one.messages.length
        const { data, metadata, responseHandle } = await one.stream.fetchSnapshot(params)
        assert.deepEqual(data.map(({ value }) => value), await rows(sql), sql)
        assert.ok(data.length > 0, sql)
        assert.match(metadata.database_lsn, /^\d+$/)
        assert.equal(responseHandle, shapeHandle)
        assert.deepEqual(one.messages.slice(seen).filter(isChangeMessage), [])
      }
      assert.equal(one.stream.lastOffset, lastOffset)
      assert.deepEqual(one.rows, [])
      const asked = gateway.requests.filter(isSubset)
      assert.ok(asked.length >= subsets.length)
      assert.ok(asked.every(({ method, status }) => method === subsetMethod && status === 200))

      // One request may go the other way.
      const other = subsetMethod === "GET" ? "POST" : "GET"
      await one.stream.fetchSnapshot({ ...subsets[0]![0], method: other })
      assert.equal(gateway.requests.findLast(isSubset)!.method, other)

      // --- Into the stream ---
      const held = new Map<unknown, Row<unknown>>()
      const now = async () => {
        const ids = [...held.keys()].map(Number)
        await matches(
          one,
          select,
          `SELECT * FROM line_items WHERE line_id < 190 AND line_id = ANY('{${ids.join()}}')`,
          camel
        )
      }
      for (const [params, sql] of subsets) {
        const seen = one.messages.length
        const { data, metadata } = await one.stream.requestSnapshot(params)
        for (const { value } of data) held.set(value["lineId"], value)
        assert.deepEqual(data.map(({ value }) => value), await rows(sql), sql)
        await now()
        const controls = one.messages.slice(seen).filter(isControlMessage).map(({ headers }) => headers)
        const end = controls.find(({ control }) => control === "snapshot-end")!
        assert.deepEqual([end["xmin"], end["xmax"], end["xip_list"]], [metadata.xmin, metadata.xmax, metadata.xip_list])
        assert.ok(controls.some(({ control }) => control === "subset-end"))
        // What has been loaded follows the table; the rest is none of its concern.
        await db.exec(`
          UPDATE line_items SET note = note || '!', unit_price = coalesce(unit_price, 0) + 1 WHERE line_id % 3 = 0;
          UPDATE line_items SET order_id = order_id + 1`)
        await now()
      }
      const gone = [...held.keys()].slice(0, 3).map(Number)
      await db.exec(`DELETE FROM line_items WHERE line_id IN (${gone.join()})`)
      await now()
      assert.equal(one.rows.length, held.size - 3)

      // --- Refusals: they are the caller's, and the stream goes on ---
      for (
        const [params, field] of [
          [{ where: "nothing = 1" }, "where"],
          [{ where: "lineId = $1" }, "where"],
          [{ limit: 1 }, "order_by"],
          [{ orderBy: "lower(note)" }, "order_by"]
        ] as const
      ) {
        const refused = await one.stream.requestSnapshot(params).then(() => undefined, (error: unknown) => error)
        assert.ok(refused instanceof FetchError, JSON.stringify(params))
        assert.equal(refused.status, 400)
        const { errors } = refused.json as { readonly errors: { readonly subset: object } }
        assert.deepEqual(Object.keys(errors.subset), [field])
      }
      await db.exec("UPDATE line_items SET note = 'after the refusals'")
      await now()
      assert.deepEqual(one.errors, [])
    })
  })
}

scenario("subsets are loaded before anything else, after a restart, and after a rotation", { setup }, async ({
  client,
  db,
  select,
  server
}) => {
  const part = (order: number): SubsetParams => ({
    where: "order_id = $1",
    params: { 1: String(order) },
    method: "POST"
  })
  for (const offset of ["-1", "now"] as const) {
    const one = client({ table: "line_items" }, { log: "changes_only", offset, parser: AS_TEXT })
    const orders = new Set<number>()
    const load = async (order: number) => {
      orders.add(order)
      await one.shape.requestSnapshot(part(order))
    }
    const now = () => matches(one, select, `SELECT * FROM line_items WHERE order_id = ANY('{${[...orders].join()}}')`)
    // The stream has not asked for anything yet.
    await load(1)
    await now()
    await load(2)
    await db.exec("UPDATE line_items SET note = 'changed' WHERE order_id IN (1, 2, 3)")
    await now()

    assert.equal(await server.stop(), 0)
    await db.exec("UPDATE line_items SET note = 'while it was away' WHERE order_id = 2")
    await server.start()
    await now()
    await load(3)
    await now()
    await db.exec("DELETE FROM line_items WHERE order_id = 3 AND line_id % 2 = 0")
    await now()

    // The client forgets its rows and loads its subsets again.
    const { shapeHandle } = one.stream
    await db.exec(
      "BEGIN; TRUNCATE line_items; INSERT INTO line_items SELECT i, i % 4, i FROM generate_series(1, 40) i; COMMIT"
    )
    await now()
    assert.notEqual(one.stream.shapeHandle, shapeHandle)
    await db.exec("UPDATE line_items SET note = 'after the rotation'")
    await now()
    assert.deepEqual(one.errors, [])
    one.end()
  }
})

scenario("rows beside a stream that has them all", { setup }, async ({ client, db, select }) => {
  const one = client({ table: "line_items", columns: "line_id,order_id" }, { parser: AS_TEXT })
  await matches(one, select, "SELECT line_id, order_id FROM line_items")
  const { data } = await one.stream.fetchSnapshot({ where: "order_id = 5", orderBy: "line_id DESC", limit: 3 })
  assert.deepEqual(
    data.map(({ value }) => value),
    await select("SELECT line_id, order_id FROM line_items WHERE order_id = 5 ORDER BY line_id DESC LIMIT 3")
  )
  const refused = await one.stream.fetchSnapshot({ where: "note = 'x'" }).then(
    () => undefined,
    (error: unknown) => error
  )
  assert.ok(refused instanceof FetchError && refused.status === 400)
  // By URL alone a long list of values would not get through; by POST it does.
  const ids = Array.from({ length: 20_000 }, (_, i) => String(i + 100))
  const many = await one.stream.fetchSnapshot({
    where: "line_id = ANY($1)",
    params: { 1: `{${ids.join()}}` },
    method: "POST"
  })
  assert.equal(
    canonical(many.data.map(({ value }) => value)),
    canonical(await select("SELECT line_id, order_id FROM line_items WHERE line_id >= 100"))
  )
  await db.exec("DELETE FROM line_items WHERE line_id > 50")
  await matches(one, select, "SELECT line_id, order_id FROM line_items")
})

for (const liveSse of [false, true]) {
  const how = liveSse ? "events" : "long polls"
  scenario(`subsets, refreshes and writes at once (${how})`, { setup }, async ({ client, db, select }) => {
    const one = client({ table: "line_items" }, {
      log: "changes_only",
      offset: "now",
      parser: AS_TEXT,
      liveSse,
      subsetMethod: "POST"
    })
    await one.until(() => one.stream.isUpToDate, "the end of a log without rows")
    let isWriting = true
    const write = async (seed: number) => {
      for (let i = seed; isWriting; i += 1) {
        const id = 1 + (i * 37 * seed) % 200
        await db.exec(`
          UPDATE line_items SET unit_price = ${i} WHERE line_id IN (${id}, ${1 + id % 200});
          UPDATE line_items SET note = 'by ${seed}, ${i}' WHERE line_id = ${id}`)
      }
    }
    const writers = [1, 2].map(write)
    try {
      for (let order = 0; order < 7; order++) {
        const where = { where: "order_id = $1", params: { 1: String(order) } }
        // A subset that is asked for while the last one is on its way.
        await Promise.all([
          one.shape.requestSnapshot(where),
          one.shape.requestSnapshot({ ...where, orderBy: "line_id", limit: 5 })
        ])
        if (order % 3 === 1) await one.stream.forceDisconnectAndRefresh()
      }
    } finally {
      isWriting = false
      await Promise.all(writers)
    }
    await matches(one, select, "SELECT * FROM line_items")
    assert.deepEqual(one.errors, [])
    assert.deepEqual(controlsOf(one.messages).filter((control) => control === "must-refetch"), [])
  })
}
