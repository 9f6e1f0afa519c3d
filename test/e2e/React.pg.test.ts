/**
 * `useShape` of the published React integration against the real server: what the page shows is what `SELECT` says.
 */
import { type Row, snakeCamelMapper } from "@electric-sql/client"
import { preloadShape, useShape } from "@electric-sql/react"
import assert from "node:assert/strict"
import { createElement, useEffect, useState } from "react"
import { Gateway } from "../support/Gateway.ts"
import { matches } from "../support/Materialised.ts"
import { type Page, setVisible, withPage } from "../support/Page.ts"
import { AS_TEXT, type Scenario, scenario } from "../support/Scenario.ts"

type Item = Row & { readonly id: string; readonly title: string; readonly n: string | null }

type Options = Parameters<typeof useShape<Item>>[0]

const setup = `
  CREATE TABLE items (id int PRIMARY KEY, title text NOT NULL, n int);
  INSERT INTO items SELECT i, 'title ' || i, i FROM generate_series(1, 12) i`

const textOf = ({ id, n, title }: Readonly<Record<string, unknown>>) => JSON.stringify([id, title, n])

/** Renders a list of a shape's rows. */
const List = ({ name, options }: { readonly name: string; readonly options: Options }) => {
  const { data, error, isError, isLoading } = useShape<Item>(options)
  if (isError) return createElement("p", { className: `${name} error` }, error === false ? "" : error.message)
  if (isLoading) return createElement("p", { className: `${name} loading` }, "loading")
  return createElement("ul", { className: name }, data.map((row) => createElement("li", { key: row.id }, textOf(row))))
}

interface Stage extends Scenario {
  readonly page: Page
  readonly gateway: Gateway
  /** Options of a shape by way of the gateway; its stream ends with the test. */
  readonly shape: (params: NonNullable<Options["params"]>, more?: Partial<Options>) => Options
  /** Waits until a list shows the rows of the statement. */
  readonly shows: (name: string, sql: string) => Promise<void>
}

const onPage = (name: string, env: Readonly<Record<string, string>>, body: (stage: Stage) => Promise<void>): void =>
  scenario(name, { setup, env }, async (scenario) => {
    const gateway = await Gateway.open(scenario.server.url)
    const aborter = new AbortController()
    try {
      await withPage(async (page) => {
        await body({
          ...scenario,
          page,
          gateway,
          shape: (params, more) => ({
            url: gateway.shapeUrl,
            params,
            parser: AS_TEXT,
            signal: aborter.signal,
            warnOnHttp: false,
            backoffOptions: { initialDelay: 50, maxDelay: 300, multiplier: 2 },
            ...more
          }),
          shows: async (name, sql) => {
            const expected = (await scenario.select(sql)).map(textOf).sort().join()
            await page.until(() => page.texts(`.${name} li`).toSorted().join() === expected, `${sql}: ${expected}`)
          }
        })
        assert.deepEqual(page.complaints, [])
      })
    } finally {
      aborter.abort()
      await gateway.close()
    }
  })

onPage("a list shows the rows, and follows them through changes, a restart and a rotation", {}, async ({
  db,
  page,
  server,
  shape,
  shows
}) => {
  const options = shape({ table: "items" })
  await page.render(createElement(List, { name: "all", options }))
  assert.deepEqual(page.texts(".all"), ["loading"])
  const now = () => shows("all", "SELECT * FROM items")
  await now()
  for (
    const sql of [
      "INSERT INTO items VALUES (20, 'é \"quoted\" <b>', NULL)",
      "UPDATE items SET title = 'changed' WHERE id = 3",
      "UPDATE items SET id = 30, n = NULL WHERE id = 4",
      "DELETE FROM items WHERE id < 3",
      "BEGIN; DELETE FROM items WHERE id = 5; INSERT INTO items VALUES (5, 'again', 0); COMMIT"
    ]
  ) {
    await db.exec(sql)
    await now()
  }
  assert.equal(await server.stop(), 0)
  await db.exec("UPDATE items SET title = 'while it was away' WHERE id > 10")
  await server.start()
  await now()

  for (const title of ["new", "newer"]) {
    await db.exec(`TRUNCATE items; INSERT INTO items VALUES (1, '${title}', 1), (2, '${title}', 2)`)
    await now()
    await db.exec("INSERT INTO items VALUES (3, 'and on', 3)")
    await now()
  }

  // Other options are another shape.
  await page.render(createElement(List, { name: "all", options: shape({ table: "items", where: "n > 1" }) }))
  await shows("all", "SELECT * FROM items WHERE n > 1")
  await db.exec("UPDATE items SET n = n - 1")
  await shows("all", "SELECT * FROM items WHERE n > 1")
})

onPage("components with the same options share a stream", {}, async ({ db, gateway, page, shape, shows }) => {
  const names = ["left", "right"]
  const lists = (all: ReadonlyArray<string>) =>
    createElement(
      "div",
      null,
      all.map((name) => createElement(List, { key: name, name, options: shape({ table: "items" }) }))
    )
  const now = async (all: ReadonlyArray<string>) => {
    for (const name of all) await shows(name, "SELECT * FROM items")
  }
  await page.render(lists(names))
  await now(names)
  await db.exec("DELETE FROM items WHERE id < 5")
  await now(names)
  // One that comes later has its rows at once.
  await page.render(lists([...names, "late"]))
  assert.equal(page.texts(".late li").length, page.texts(".left li").length)
  await db.exec("UPDATE items SET title = 'for all'")
  await now([...names, "late"])
  // One that goes takes nothing from the others.
  await page.render(lists(["late"]))
  await db.exec("UPDATE items SET title = 'for one'")
  await now(["late"])

  const searches = gateway.requests.map(({ url }) => url.search)
  assert.equal(new Set(searches).size, searches.length)
  assert.equal(searches.filter((search) => search.includes("offset=-1")).length, 1)
  await gateway.until(() => gateway.held.length === 1, "one live request")
})

onPage("a selector gives a part, and what was loaded ahead is there from the first", {}, async ({
  db,
  gateway,
  page,
  select,
  shape
}) => {
  let renders = 0
  const ahead = shape({ table: "items", where: "n % 2 = 0" })
  const titlesOf = ({ data, isLoading }: { readonly data: ReadonlyArray<Item>; readonly isLoading: boolean }) =>
    isLoading ? "loading" : data.map(({ title }) => title).toSorted().join()
  const Titles = () => {
    renders += 1
    return createElement("p", { className: "titles" }, useShape<Item, string>({ ...ahead, selector: titlesOf }))
  }
  const expected = async () =>
    (await select("SELECT title FROM items WHERE n % 2 = 0")).map(({ title }) => title).toSorted().join()
  const shape_ = await preloadShape<Item>(ahead)
  assert.equal(shape_.isUpToDate, true)
  const first = await expected()
  await page.render(createElement(Titles))
  assert.deepEqual(page.texts(".titles"), [first])
  await db.exec("UPDATE items SET title = 'selected' WHERE id = 2")
  const second = await expected()
  await page.until(() => page.texts(".titles")[0] === second, second)
  // What the selector leaves out renders nothing.
  const before = renders
  const { lastOffset } = shape_
  await db.exec("UPDATE items SET n = 100 WHERE id = 4")
  await gateway.until(() => shape_.lastOffset !== lastOffset, "the change")
  assert.equal(shape_.currentRows.find(({ id }) => id === "4")?.n, "100")
  assert.equal(renders, before)
  assert.deepEqual(page.texts(".titles"), [second])
  await db.exec("DELETE FROM items WHERE id = 6")
  const third = await expected()
  await page.until(() => page.texts(".titles")[0] === third, third)
  assert.equal(renders, before + 1)
})

onPage("an error is shown, and the shape comes when it has been dealt with", {}, async ({ page, shape, shows }) => {
  const options = shape({ table: "items", where: "missing = 1" }, { onError: () => {} })
  await page.render(createElement(List, { name: "broken", options }))
  await page.until(() => page.texts(".broken.error").length === 1, "the error")
  assert.match(page.texts(".broken.error")[0]!, /HTTP Error 400.*unknown reference missing/)
  const mended = shape({ table: "items", where: "missing = 2" }, {
    onError: () => ({ params: { table: "items", where: "id = 2" } })
  })
  await page.render(createElement(List, { name: "mended", options: mended }))
  await shows("mended", "SELECT * FROM items WHERE id = 2")
})

onPage("a component that goes frees its live request on the server", {
  SHAPELOG_MAX_CONCURRENT_REQUESTS: "{\"initial\": 10, \"existing\": 1}",
  SHAPELOG_LONG_POLL_TIMEOUT: "30s"
}, async ({ gateway, page, server, shape, shows }) => {
  /** As the integration's documentation has it: the stream ends with the component that began it. */
  const Mortal = () => {
    const [aborter] = useState(() => new AbortController())
    useEffect(() => () => aborter.abort(), [aborter])
    return createElement(List, { name: "mortal", options: shape({ table: "items" }, { signal: aborter.signal }) })
  }
  await page.render(createElement(Mortal))
  await shows("mortal", "SELECT * FROM items")
  await gateway.until(() => gateway.held.length === 1, "a live request")
  const [held] = gateway.held
  // There is room for one such request. A stream of events is answered at once, or refused.
  const another = async () => {
    const { search } = held!.url
    const aborter = new AbortController()
    const response = await fetch(`${server.url}/v1/shape${search}&live_sse=true`, { signal: aborter.signal })
    return { status: response.status, end: () => aborter.abort() }
  }
  assert.equal((await another()).status, 503)
  await page.unmount()
  await gateway.until(() => held!.state === "left", "the end of the live request")
  const deadline = performance.now() + 20_000
  let got = await another()
  while (got.status === 503) {
    assert.ok(performance.now() < deadline, "the server still holds the request")
    got = await another()
  }
  assert.equal(got.status, 200)
  assert.equal((await another()).status, 503)
  got.end()
})

onPage("a page that is out of sight asks for nothing, and catches up when it is back", {}, async ({
  client,
  db,
  gateway,
  page,
  select,
  shape,
  shows
}) => {
  // One that is no part of the page: by its rows the change has been served.
  const elsewhere = client({ table: "items" }, { parser: AS_TEXT, runtimeVisibility: { subscribe: () => () => {} } })
  await page.render(createElement(List, { name: "all", options: shape({ table: "items" }) }))
  await shows("all", "SELECT * FROM items")
  try {
    for (const sql of ["DELETE FROM items WHERE id < 4", "TRUNCATE items; INSERT INTO items VALUES (1, 'new', 1)"]) {
      await gateway.until(() => gateway.held.length === 1, "a live request")
      const [held] = gateway.held
      setVisible(false)
      await gateway.until(() => held!.state !== "open", "the end of the live request")
      const asked = gateway.requests.length
      const shown = page.texts(".all li")
      await db.exec(sql)
      await matches(elsewhere, select, "SELECT * FROM items")
      assert.equal(gateway.requests.length, asked)
      assert.deepEqual(page.texts(".all li"), shown)
      setVisible(true)
      await shows("all", "SELECT * FROM items")
    }
  } finally {
    setVisible(true)
  }
})

onPage(
  "a list that follows by server-sent events, with camel-cased names",
  {},
  async ({ db, gateway, page, shape, shows }) => {
    await db.exec("ALTER TABLE items ADD COLUMN made_at timestamptz NOT NULL DEFAULT '2026-01-01T00:00:00Z'")
    const seconds = (text: string) => BigInt(Math.round(new Date(text).getTime() / 1000))
    const Made = () => {
      const { data } = useShape<Item>(shape({ table: "items", where: "id < 5" }, {
        columnMapper: snakeCamelMapper(),
        liveSse: true,
        parser: { ...AS_TEXT, timestamptz: seconds }
      }))
      const rows = data.map((row) =>
        createElement("li", { key: row.id }, textOf({ ...row, n: `${row.n} ${String(row["madeAt"])}` }))
      )
      return createElement("ul", { className: "made" }, rows)
    }
    const sql = "SELECT id, title, n || ' ' || extract(epoch FROM made_at)::bigint AS n FROM items WHERE id < 5"
    await page.render(createElement(Made))
    await shows("made", sql)
    await gateway.until(() => gateway.held.length === 1, "the stream of events")
    const [held] = gateway.held
    assert.equal(held!.url.searchParams.get("live_sse"), "true")
    for (const change of ["made_at = '2026-02-03 04:05:06+02'", "n = n + 1, title = ''", "id = id - 10"]) {
      await db.exec(`UPDATE items SET ${change} WHERE id < 4`)
      await shows("made", sql)
    }
    assert.equal(held!.state, "open")
  }
)
