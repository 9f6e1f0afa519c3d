/** Electric HTTP protocol §8: server-sent events. */
import assert from "node:assert/strict"
import { type Events, header, type Item, items, mustRefetch, type Section, type World } from "./Conformance.ts"
import { ITEMS, MANY } from "./Tables.ts"

const sse = "live=true&live_sse=true"

const frames = (events: Events): ReadonlyArray<string> => events.text().split("\n\n").slice(0, -1)

const messages = (events: Events): ReadonlyArray<Item> =>
  frames(events).filter((frame) => frame.startsWith("data: ")).map((frame) => JSON.parse(frame.slice(6)) as Item)

const upToDates = (events: Events): number =>
  messages(events).filter(({ headers }) => headers.control === "up-to-date").length

/** A shape of an empty table of its own, up to date, and a stream of it. */
const open = async (world: World) => {
  const table = await world.table("id int PRIMARY KEY, title text")
  const followed = await world.follow(`table=${table}`)
  const events = await world.events(`table=${table}&handle=${followed.handle}&offset=0_inf&${sse}`)
  return { table, followed, events }
}

export const section: Section = {
  title: "8 Server-sent events",
  setup: ITEMS + MANY,
  servers: { main: {}, chunks: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "1000" } },
  rows: [
    {
      line: "8 the server looks only at the query, not at Accept",
      script: async (world) => {
        const { handle } = await world.follow("table=items")
        await world.get({
          ask: `table=items&handle=${handle}&offset=0_inf&live=true`,
          headers: { accept: "text/event-stream" }
        }, { headers: { "content-type": "application/json; charset=utf-8" } })
        for (
          const flags of [
            sse,
            "live=true&experimental_live_sse=true",
            "live=true&live_sse=true&experimental_live_sse=true"
          ]
        ) {
          const events = await world.events({
            ask: `table=items&handle=${handle}&offset=0_inf&${flags}`,
            headers: { accept: "application/json" }
          })
          assert.equal(events.headers["content-type"], "text/event-stream")
          events.close()
        }
      }
    },
    {
      line:
        "8 headers as of a live response: handle, offset, cursor, etag, has-data, cache-control; content-type, connection: keep-alive",
      script: async (world) => {
        const { events, followed } = await open(world)
        const { headers } = events
        assert.equal(events.status, 200)
        assert.equal(headers["electric-handle"], followed.handle)
        assert.match(String(headers["electric-cursor"]), /^\d+$/)
        assert.match(String(headers.etag), new RegExp(`^"${followed.handle}:0_inf:0_inf(:-?\\d+)?"$`))
        assert.equal(headers["electric-has-data"], "true")
        assert.equal(headers["cache-control"], "public, max-age=59")
        assert.equal(headers["content-type"], "text/event-stream")
        assert.equal(headers.connection, "keep-alive")
      }
    },
    {
      line: "8 electric-offset is the value at open time; no schema",
      script: async (world) => {
        const { events, followed } = await open(world)
        assert.equal(events.headers["electric-offset"], "0_inf")
        assert.equal(events.headers["electric-schema"], undefined)
        await world.exec(`INSERT INTO ${followed.query.slice(6)} VALUES (1)`)
        const { offset } = await world.news(followed)
        const later = await world.events(`${followed.query}&handle=${followed.handle}&offset=${offset}&${sse}`)
        assert.equal(later.headers["electric-offset"], offset)
      }
    },
    {
      line: "8 each log item is one frame: data: and a compact JSON object, then a blank line; no event:, id:, retry:",
      script: async (world) => {
        const { events, table } = await open(world)
        await world.exec(`INSERT INTO ${table} VALUES (1, E'two\\nlines'), (2, NULL)`)
        await events.until(() => upToDates(events) === 1, "the batch")
        assert.equal(frames(events).length, 3)
        for (const frame of frames(events)) {
          assert.match(frame, /^data: \{[^\n]*\}$/)
          assert.equal(frame, `data: ${JSON.stringify(JSON.parse(frame.slice(6)))}`)
        }
        assert.deepEqual(messages(events)[0]!.value, { id: "1", title: "two\nlines" })
      }
    },
    {
      line: "8 after each batch that reached the end an up-to-date frame with the LSN of the end",
      script: async (world) => {
        const { events, followed, table } = await open(world)
        for (const id of [1, 2, 3]) {
          await world.exec(`INSERT INTO ${table} VALUES (${id})`)
          await events.until(() => upToDates(events) === id, "the batch")
        }
        const all = messages(events)
        assert.deepEqual(all.map(({ value }) => value?.id), ["1", undefined, "2", undefined, "3", undefined])
        for (const i of [1, 3, 5]) assert.equal(all[i]!.headers.global_last_seen_lsn, all[i - 1]!.headers.lsn)
        assert.deepEqual((await world.news(followed)).items, [all[0], all[2], all[4]])
      }
    },
    {
      line: "8 no such frame on opening an idle stream",
      script: async (world) => {
        const { events, table } = await open(world)
        await world.exec(`INSERT INTO ${table} VALUES (1)`)
        await events.until(() => upToDates(events) === 1, "the batch")
        assert.equal(messages(events).length, 2)
      }
    },
    {
      line: "8 a keep-alive comment after 21 s without output, the end after 60 s",
      elsewhere: "test/http/Sse.test.ts › gets a comment after 21 seconds without output and ends after 60"
    },
    {
      line: "8 if entries after X are there already they are sent and the stream is closed at once",
      differs: "it stays open, as §20 allows: closing at once makes clients fall back to polling",
      script: async (world) => {
        const table = await world.table("id int PRIMARY KEY")
        const before = await world.follow(`table=${table}`)
        await world.exec(`INSERT INTO ${table} VALUES (1)`)
        await world.news(before)
        const events = await world.events(`table=${table}&handle=${before.handle}&offset=0_inf&${sse}`)
        await events.until(() => upToDates(events) === 1, "what was there")
        assert.equal(events.headers["electric-offset"], "0_inf")
        await world.exec(`INSERT INTO ${table} VALUES (2)`)
        await events.until(() => upToDates(events) === 2, "what came")
        assert.ok(!events.isOver())
        assert.deepEqual(messages(events).map(({ value }) => value?.id), ["1", undefined, "2", undefined])
      }
    },
    {
      line: "8 rotation ends the stream, no must-refetch frame is sent, and the next request gets the 409",
      script: async (world) => {
        const { events, followed, table } = await open(world)
        await world.exec(`TRUNCATE ${table}`)
        await events.until(() => events.isOver(), "the end")
        assert.ok(!events.text().includes("must-refetch"))
        await world.get(`table=${table}&handle=${followed.handle}&offset=0_inf&${sse}`, {
          status: 409,
          body: mustRefetch
        })
      }
    },
    {
      line: "8 …also when a replacement is known: then the stream idles until its timeout",
      differs: "it ends (§20)",
      script: async (world) => {
        const { events, table } = await open(world)
        await world.exec(`TRUNCATE ${table}; INSERT INTO ${table} VALUES (1)`)
        await world.until(`table=${table}&offset=-1`, (reply) => items(reply).length === 2)
        await events.until(() => events.isOver(), "the end")
      }
    },
    {
      line: "8 errors before streaming are ordinary JSON responses with their own status",
      cases: [
        [`table=items&offset=-1&${sse}`, { invalid: { live: ["can't be true when offset == -1"] } }],
        [`table=items&offset=0_inf&handle=other&${sse}`, {
          status: 409,
          body: mustRefetch,
          headers: { "content-type": "application/json; charset=utf-8" }
        }],
        ["table=items&offset=0_inf&handle=@&live_sse=true", {
          invalid: { live_sse: ["can't be true unless live is also true"] }
        }]
      ]
    },
    {
      line: "8 a stream delivers past the end of the chunk that its offset lies in",
      on: "chunks",
      script: async (world) => {
        const { events, table } = await open(world)
        for (let i = 0; i < 4; i++) {
          await world.exec(`INSERT INTO ${table} SELECT ${i * 100} + i, repeat('z', 90) FROM generate_series(1, 30) i`)
          await events.until(
            () => messages(events).filter((item) => item.key !== undefined).length === (i + 1) * 30,
            "the rows"
          )
        }
        assert.equal(upToDates(events), 4)
      }
    },
    {
      line: "8 the clients' way: buffer to the up-to-date frame, move to <global_last_seen_lsn>_0, come back",
      script: async (world) => {
        const { events, followed, table } = await open(world)
        await world.exec(`INSERT INTO ${table} VALUES (1), (2)`)
        await events.until(() => upToDates(events) === 1, "the batch")
        events.close()
        const offset = `${String(messages(events).at(-1)!.headers.global_last_seen_lsn)}_0`
        await world.exec(`INSERT INTO ${table} VALUES (3)`)
        const again = await world.events(`table=${table}&handle=${followed.handle}&offset=${offset}&${sse}`)
        await again.until(() => messages(again).some(({ value }) => value?.id === "3"), "the rest")
        assert.deepEqual(messages(again).filter((item) => item.key !== undefined).map(({ value }) => value!.id), [
          "2",
          "3"
        ])
        const reply = await world.get(`table=${table}&handle=${followed.handle}&offset=${offset}`)
        assert.ok(Number(header(reply, "electric-offset").split("_")[0]) > 0)
      }
    }
  ]
}
