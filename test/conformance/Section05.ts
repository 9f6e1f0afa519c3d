/** Electric HTTP protocol §5: headers of responses on /v1/shape. Of every response, in every section, `Conformance.ts` checks them too. */
import assert from "node:assert/strict"
import { header, items, type Section, upToDate } from "./Conformance.ts"
import { ITEMS, itemsSchema } from "./Tables.ts"

const NONE = {
  "electric-handle": null,
  "electric-offset": null,
  "electric-schema": null,
  "electric-cursor": null,
  "electric-has-data": null,
  etag: null
}

export const section: Section = {
  title: "5 Response headers",
  setup: ITEMS,
  servers: { main: {} },
  rows: [
    {
      line: "5 electric-handle: 200 and 304, and 409 when the replacement is known",
      script: async (world) => {
        const one = await world.get("table=items&offset=-1", { headers: { "electric-handle": /^\d+-\d+$/ } })
        const handle = header(one, "electric-handle")
        await world.get({ ask: "table=items&offset=-1", headers: { "if-none-match": header(one, "etag") } }, {
          status: 304,
          headers: { "electric-handle": handle }
        })
        await world.get("table=items&offset=0_0&handle=other", { status: 409, headers: { "electric-handle": handle } })
      }
    },
    {
      line: "5 electric-handle: absent on every other error",
      ask: ["table=items", "table=nope&offset=-1", "table=items&handle=@&offset=9999999999_0"],
      is: { status: 400, headers: NONE }
    },
    {
      line: "5 electric-offset: 200 and 304, of log and subset; never on errors",
      script: async (world) => {
        const one = await world.get("table=items&offset=-1", { headers: { "electric-offset": "0_0" } })
        await world.get({ ask: "table=items&offset=-1", headers: { "if-none-match": header(one, "etag") } }, {
          status: 304,
          headers: { "electric-offset": "0_0" }
        })
        await world.get("table=items&offset=-1&subset__where=true", { headers: { "electric-offset": "0_0" } })
        await world.get("table=items&offset=0_0&handle=other", { status: 409, headers: { "electric-offset": null } })
      }
    },
    {
      line: "5 electric-schema: JSON, on 200s that are not live",
      cases: [
        ["table=items&offset=-1", { headers: { "electric-schema": itemsSchema } }],
        ["table=items&offset=0_0&handle=@", { headers: { "electric-schema": itemsSchema } }],
        ["table=items&offset=now", { headers: { "electric-schema": itemsSchema } }],
        ["table=items&offset=-1&subset__where=true", { headers: { "electric-schema": itemsSchema } }],
        ["table=items&offset=-1&columns=id", {
          headers: { "electric-schema": "{\"id\":{\"type\":\"int4\",\"not_null\":true,\"pk_index\":0}}" }
        }]
      ]
    },
    {
      line: "5 electric-schema: absent on live responses, 304 and errors",
      script: async (world) => {
        const one = await world.get("table=items&offset=-1")
        await world.get({ ask: "table=items&offset=-1", headers: { "if-none-match": header(one, "etag") } }, {
          status: 304,
          headers: { "electric-schema": null }
        })
        await world.get("table=items&offset=0_inf&handle=@&live=true", { headers: { "electric-schema": null } })
        await world.get("table=items&offset=0_0&handle=x", { status: 409, headers: { "electric-schema": null } })
      }
    },
    {
      line: "5 electric-up-to-date: the empty string, iff the body ends with an up-to-date message",
      cases: [
        ["table=items&offset=-1", { headers: { "electric-up-to-date": null } }],
        ["table=items&offset=0_0&handle=@", { headers: { "electric-up-to-date": "" }, json: [upToDate] }],
        ["table=items&offset=0_inf&handle=@&live=true", { headers: { "electric-up-to-date": "" }, json: [upToDate] }]
      ]
    },
    {
      line: "5 electric-up-to-date: also on offset=now, never on subsets",
      cases: [
        ["table=items&offset=now", { headers: { "electric-up-to-date": "" } }],
        ["table=items&offset=now&subset__where=true", { headers: { "electric-up-to-date": null } }]
      ]
    },
    {
      line: "5 electric-has-data: true on log responses with a status below 400",
      script: async (world) => {
        const one = await world.get("table=items&offset=-1", { headers: { "electric-has-data": "true" } })
        await world.get({ ask: "table=items&offset=-1", headers: { "if-none-match": header(one, "etag") } }, {
          status: 304,
          headers: { "electric-has-data": "true" }
        })
        await world.get("table=items&offset=-1&subset__where=true", { headers: { "electric-has-data": null } })
      }
    },
    {
      line: "5 electric-has-data: false only for a live poll that timed out and for offset=now",
      cases: [
        ["table=items&offset=0_inf&handle=@&live=true", { headers: { "electric-has-data": "false" } }],
        ["table=items&offset=now", { headers: { "electric-has-data": "false" } }]
      ]
    },
    {
      line: "5 electric-has-data: true on a non-live response that holds nothing but up-to-date",
      ask: "table=items&offset=0_inf&handle=@",
      is: { headers: { "electric-has-data": "true" }, json: [upToDate] }
    },
    {
      line: "5 electric-cursor: a decimal integer, on live requests",
      cases: [
        ["table=items&offset=0_inf&handle=@&live=true", { headers: { "electric-cursor": /^\d+$/ } }],
        ["table=items&offset=0_inf&handle=@", { headers: { "electric-cursor": null } }],
        ["table=items&offset=-1", { headers: { "electric-cursor": null } }]
      ]
    },
    {
      line: "5 electric-cursor: on a live 304 and on a stream of events, not on errors",
      script: async (world) => {
        const table = await world.table("id int PRIMARY KEY", "(1)")
        const before = await world.follow(`table=${table}`)
        await world.exec(`INSERT INTO ${table} VALUES (2)`)
        const { offset } = await world.news(before)
        const live = `table=${table}&handle=${before.handle}&offset=0_inf&live=true`
        await world.get({ ask: live, headers: { "if-none-match": `"${before.handle}:0_inf:${offset}"` } }, {
          status: 304,
          headers: { "electric-cursor": /^\d+$/, "electric-up-to-date": "", "electric-schema": null }
        })
        const events = await world.events(`${live}&live_sse=true`)
        assert.match(String(events.headers["electric-cursor"]), /^\d+$/)
        events.close()
        await world.get(`table=${table}&handle=other&offset=0_inf&live=true`, {
          status: 409,
          headers: { "electric-cursor": null }
        })
      }
    },
    {
      line: "5 etag: \"<handle>:<request offset>:<response offset>\" on log responses with a handle",
      cases: [
        ["table=items&offset=-1", { headers: { etag: "\"{handle}:-1:{offset}\"" } }],
        ["table=items&offset=0_0&handle=@", { headers: { etag: "\"{handle}:0_0:{offset}\"" } }],
        ["table=items&offset=-1&subset__where=true", { headers: { etag: null } }]
      ]
    },
    {
      line: "5 electric-snapshot: true on subset responses, and only on those",
      cases: [
        ["table=items&offset=-1&subset__where=true", { headers: { "electric-snapshot": "true" } }],
        ["table=items&offset=-1", { headers: { "electric-snapshot": null } }]
      ]
    },
    {
      line: "5 electric-internal-known-error: overload and known failures of snapshots",
      elsewhere: [
        "test/conformance/Checklist.ts › 23 Admission 503 before validation; no shape creation when rejected",
        "test/http/Conformance.test.ts › 9: errors are never cached and tell nothing of our insides"
      ]
    },
    {
      line: "5 retry-after: integer seconds, on the 503s of 4.5",
      elsewhere: "test/http/Conformance.test.ts › 9: errors are never cached and tell nothing of our insides"
    },
    {
      line: "5 surrogate-control: no-store on errors of GETs other than 409",
      cases: [
        ["table=items", { status: 400, headers: { "surrogate-control": "no-store" } }],
        ["table=items&offset=0_0&handle=x", { status: 409, headers: { "surrogate-control": null } }],
        ["table=items&offset=-1", { headers: { "surrogate-control": null } }],
        [{ ask: "POST table=items", body: {} }, { status: 400, headers: { "surrogate-control": null } }]
      ]
    },
    {
      line: "5 cache-control: always",
      elsewhere:
        "test/conformance/Section06.ts › 6.1 anything else, offset=now included: public, max-age=60, stale-while-revalidate=300"
    },
    {
      line: "5 the clients' required headers: offset and handle always, cursor when live, schema when not",
      script: async (world) => {
        // Those of the published client.
        let reply = await world.get("table=items&offset=-1&log=full")
        const handle = header(reply, "electric-handle")
        for (const live of ["", "", "&live=true&cursor="]) {
          reply = await world.get(
            `table=items&log=full&handle=${handle}&offset=${header(reply, "electric-offset")}${live}`
          )
          header(reply, "electric-offset")
          assert.equal(header(reply, "electric-handle"), handle)
          header(reply, live === "" ? "electric-schema" : "electric-cursor")
          items(reply)
        }
      }
    },
    {
      line: "5 a POSTed subset's response has offset, handle and schema",
      ask: { ask: "POST table=items&offset=0_inf&handle=@&log=full", body: { where: "true" } },
      is: { headers: { "electric-offset": /_/, "electric-handle": /-/, "electric-schema": itemsSchema } }
    }
  ]
}
