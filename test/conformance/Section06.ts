/** Electric HTTP protocol §6: caching. */
import assert from "node:assert/strict"
import { ANY, header, items, type Row, type Section } from "./Conformance.ts"
import { ITEMS, MANY } from "./Tables.ts"

const cache = (value: string, more: object = {}) => ({ headers: { "cache-control": value, ...more } })

const control: ReadonlyArray<Row> = [
  {
    line: "6.1 subset response: no-cache",
    ask: [
      "table=items&offset=-1&subset__where=true",
      "table=items&offset=now&subset__where=true",
      "table=items&offset=0_inf&handle=@&subset__where=true"
    ],
    is: cache("no-cache")
  },
  {
    line: "6.1 a method other than GET, any status: no-cache",
    cases: [
      ["POST table=items&offset=-1", cache("no-cache")],
      ["POST table=items", { status: 400, ...cache("no-cache") }],
      ["POST table=items&offset=0_0&handle=x", { status: 409, ...cache("no-cache") }],
      ["DELETE table=items", { status: 405, ...cache("no-cache") }]
    ]
  },
  {
    line: "6.1 409 with electric-handle: public, max-age=60, must-revalidate",
    ask: "table=items&offset=0_0&handle=other",
    is: { status: 409, ...cache("public, max-age=60, must-revalidate", { "electric-handle": /-/ }) }
  },
  {
    line: "6.1 409 without handle: public, max-age=1, must-revalidate",
    elsewhere:
      "test/http/Conformance.test.ts › 9: a shape that vanished, or whose table did, is a conflict with the handle of its successor"
  },
  {
    line: "6.1 any other status >= 400: no-store, and surrogate-control: no-store",
    ask: ["table=items", "table=nope&offset=-1", "table=items&offset=x"],
    is: { status: 400, ...cache("no-store", { "surrogate-control": "no-store" }) }
  },
  {
    line: "6.1 offset=-1: public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746",
    ask: ["table=items&offset=-1", "table=items&offset=-1_0"],
    is: cache("public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746")
  },
  {
    line: "6.1 live and SSE: public, max-age=59",
    script: async (world) => {
      const handle = header(await world.get("table=items&offset=now"), "electric-handle")
      const events = await world.events(`table=items&offset=0_inf&handle=${handle}&live=true&live_sse=true`)
      assert.equal(events.headers["cache-control"], "public, max-age=59")
      events.close()
    }
  },
  {
    line: "6.1 live long poll, with data or timed out: public, max-age=5, stale-while-revalidate=5",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const { handle } = await world.follow(`table=${table}`)
      const live = `table=${table}&handle=${handle}&offset=0_inf&live=true`
      await world.get(live, cache("public, max-age=5, stale-while-revalidate=5", { "electric-has-data": "false" }))
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      await world.get(live, cache("public, max-age=5, stale-while-revalidate=5", { "electric-has-data": "true" }))
    }
  },
  {
    line: "6.1 anything else, offset=now included: public, max-age=60, stale-while-revalidate=300",
    ask: ["table=items&offset=0_0&handle=@", "table=items&offset=0_inf&handle=@", "table=items&offset=now"],
    is: cache("public, max-age=60, stale-while-revalidate=300")
  },
  {
    line: "6.1 …as CACHE_MAX_AGE and CACHE_STALE_AGE say",
    on: "ages",
    ask: ["table=items&offset=0_0&handle=@", "table=items&offset=now"],
    is: cache("public, max-age=7, stale-while-revalidate=8")
  },
  {
    line: "6.1 …which concern nothing else",
    on: "ages",
    cases: [
      ["table=items&offset=-1", cache("public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746")],
      ["table=items&offset=0_inf&handle=@&live=true", cache("public, max-age=5, stale-while-revalidate=5")]
    ]
  },
  {
    line: "6.1 a 304 gets the row that its offset and live flags select",
    script: async (world) => {
      for (
        const [query, value] of [
          ["table=items&offset=-1", "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"],
          ["table=items&offset=0_0&handle=@", "public, max-age=60, stale-while-revalidate=300"]
        ] as const
      ) {
        const etag = header(await world.get(query), "etag")
        await world.get({ ask: query, headers: { "if-none-match": etag } }, { status: 304, ...cache(value) })
      }
    }
  }
]

const etags: ReadonlyArray<Row> = [
  {
    line: "6.2 strong, quoted: handle, request offset, response offset",
    ask: "table=items&offset=-1",
    is: { headers: { etag: "\"{handle}:-1:{offset}\"" } }
  },
  {
    line: "6.2 the request offset is printed in canonical form",
    cases: [
      ["table=items&offset=-1_0", { headers: { etag: "\"{handle}:-1:0_0\"" } }],
      ["table=items&offset=00_000&handle=@", { headers: { etag: "\"{handle}:0_0:{offset}\"" } }],
      ["table=items&offset=0_inf&handle=@", { headers: { etag: "\"{handle}:0_inf:{offset}\"" } }],
      ["table=items&offset=now", { headers: { etag: /^"[^:]+:now:0_inf:\d+"$/ } }]
    ]
  },
  {
    line: "6.2 responses without new data (live timeout, now) append an integer that never comes again",
    script: async (world) => {
      const seen = new Set<string>()
      for (
        const query of [
          "table=items&offset=now",
          "table=items&offset=now",
          "table=items&offset=0_inf&handle=@&live=true"
        ]
      ) {
        const reply = await world.get(query, { headers: { etag: /^"[^:]+:(now|0_inf):0_inf:-?\d+"$/ } })
        seen.add(header(reply, "etag").split(":").at(-1)!)
        await world.get({ ask: "table=items&offset=now", headers: { "if-none-match": header(reply, "etag") } }, {
          status: 200
        })
      }
      assert.equal(seen.size, 3)
    }
  },
  {
    line: "6.2 409 with a known handle: \"<new handle>::\"",
    ask: "table=items&offset=0_0&handle=x",
    is: { status: 409, headers: { etag: "\"{handle}::\"" } }
  },
  {
    line: "6.2 no ETag on subsets and validation errors",
    cases: [["table=items&offset=-1&subset__where=true", { headers: { etag: null } }], ["table=items", {
      status: 400,
      headers: { etag: null }
    }]]
  },
  {
    line: "6.2 If-None-Match: fields are split on commas, trimmed, unquoted, compared for equality",
    script: async (world) => {
      const etag = header(await world.get("table=items&offset=-1"), "etag")
      for (const field of [etag, etag.slice(1, -1), `"x", ${etag}`, `${etag},"y"`, `  ${etag}  `]) {
        await world.get({ ask: "table=items&offset=-1", headers: { "if-none-match": field } }, {
          status: 304,
          body: ""
        })
      }
      for (const field of ["*", `W/${etag}`, "\"x\"", `"${etag.slice(1, -1)}x"`]) {
        await world.get({ ask: "table=items&offset=-1", headers: { "if-none-match": field } }, { status: 200 })
      }
    }
  },
  {
    line: "6.2 304: an empty body, the headers of the 200 minus electric-schema, up-to-date and has-data kept",
    script: async (world) => {
      const full = await world.get("table=items&offset=0_0&handle=@")
      const reply = await world.get({
        ask: "table=items&offset=0_0&handle=@",
        headers: { "if-none-match": header(full, "etag") }
      }, { status: 304, body: "" })
      const { "content-length": _, "electric-schema": __, "transfer-encoding": ___, ...expected } = full.headers
      const { "content-length": ____, ...actual } = reply.headers
      assert.deepEqual({ ...actual, date: 0, "x-request-id": 0 }, { ...expected, date: 0, "x-request-id": 0 })
      assert.equal(reply.headers["electric-up-to-date"], "")
      assert.equal(reply.headers["electric-has-data"], "true")
    }
  },
  {
    line: "6.2 If-None-Match is ignored for subsets",
    script: async (world) => {
      const etag = header(await world.get("table=items&offset=-1"), "etag")
      await world.get({ ask: "table=items&offset=-1&subset__where=true", headers: { "if-none-match": etag } }, {
        json: { metadata: ANY, data: ANY }
      })
    }
  },
  {
    line: "6.3 (handle, offset) responses of chunks that are complete are immutable",
    on: "chunks",
    script: async (world) => {
      const read = async () => {
        const all: Array<readonly [string, string, string]> = []
        let reply = await world.get("table=many&offset=-1")
        const handle = header(reply, "electric-handle")
        while (reply.headers["electric-up-to-date"] === undefined) {
          all.push([header(reply, "etag"), header(reply, "electric-offset"), reply.body])
          reply = await world.get(`table=many&handle=${handle}&offset=${header(reply, "electric-offset")}`)
        }
        return all
      }
      const before = await read()
      assert.ok(before.length > 3)
      await world.exec("UPDATE many SET title = 'y' WHERE id < 3")
      await world.until("table=many&offset=0_inf&handle=@", (reply) => items(reply).length > 1)
      assert.deepEqual((await read()).slice(0, before.length), before)
    }
  },
  {
    line: "6.3 live URLs include cursor, which clients that ask within one interval share",
    script: async (world) => {
      const handle = header(await world.get("table=items&offset=now"), "electric-handle")
      const live = `table=items&offset=0_inf&handle=${handle}&live=true`
      const cursors = (await Promise.all([world.get(live), world.get(live)])).map((reply) =>
        Number(header(reply, "electric-cursor"))
      )
      // Of the interval in which they were answered, or the next if its end came between the two.
      assert.ok(Math.abs(cursors[0]! - cursors[1]!) <= 2, String(cursors))
    }
  }
]

export const section: Section = {
  title: "6 Caching",
  setup: ITEMS + MANY,
  servers: {
    main: {},
    ages: { SHAPELOG_CACHE_MAX_AGE: "7", SHAPELOG_CACHE_STALE_AGE: "8" },
    chunks: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "1000" }
  },
  rows: [...control, ...etags]
}
