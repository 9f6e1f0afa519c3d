/** Electric HTTP protocol §16: DELETE. */
import assert from "node:assert/strict"
import { header, mustRefetch, type Section } from "./Conformance.ts"
import { ITEMS } from "./Tables.ts"

const DELETED = { status: 202, body: "", headers: { "cache-control": "no-cache" } }
const NOT_FOUND = { status: 404, json: { message: "No existing shape found" } }
const MISMATCH = {
  status: 400,
  json: {
    message:
      "The specified shape definition and handle do not match. Please ensure the shape definition is correct or omit the shape handle from the request to obtain a new one."
  }
}
const badly = (errors: unknown) => ({ status: 400, json: { message: "Invalid request", errors } })

export const section: Section = {
  title: "16 DELETE /v1/shape",
  setup: ITEMS,
  servers: { enabled: { SHAPELOG_ENABLE_INTEGRATION_TESTING: "true" }, disabled: {} },
  rows: [
    {
      line: "16 disabled: 405 DELETE not allowed",
      on: "disabled",
      ask: ["DELETE table=items", "DELETE handle=x", "DELETE "],
      is: { status: 405, json: { message: "DELETE not allowed" } }
    },
    {
      line: "16 needs the active state, 503 first",
      elsewhere: "test/http/Methods.test.ts › waits for an active engine, and not for ever"
    },
    {
      line: "16 (a) full definition: table, where, params, columns, replica, log all count",
      script: async (world) => {
        const other = await world.follow("table=items")
        for (
          const definition of [
            "where=id = 1",
            "where=id = $1&params[1]=2",
            "columns=id",
            "replica=full",
            "log=changes_only"
          ]
        ) {
          const { handle } = await world.follow(`table=items&${definition}`)
          await world.get(`DELETE table=items&${definition}`, DELETED)
          await world.get(`table=items&${definition}&handle=${handle}&offset=0_inf`, { status: 409 })
        }
        await world.get(`table=items&handle=${other.handle}&offset=0_inf`, { status: 200 })
      }
    },
    {
      line: "16 (b) definition and handle",
      script: async (world) => {
        const { handle } = await world.follow("table=items&where=id = 5")
        await world.get(`DELETE table=items&where=id = 5&handle=${handle}`, DELETED)
      }
    },
    {
      line: "16 (c) handle only",
      script: async (world) => {
        const { handle } = await world.follow("table=items&where=id = 6")
        await world.get(`DELETE handle=${handle}`, DELETED)
        await world.get(`DELETE handle=${handle}`, NOT_FOUND)
      }
    },
    {
      line: "16 202, empty body, cache-control: no-cache; live readers get a 409",
      script: async (world) => {
        const { handle } = await world.follow("table=items&where=id = 7")
        const waiting = world.get(`table=items&where=id = 7&handle=${handle}&offset=0_inf&live=true`)
        await world.get("/v1/health")
        await world.get("DELETE table=items&where=id = 7", DELETED)
        const reply = await waiting
        assert.equal(reply.status, 409)
        assert.equal(reply.body, mustRefetch)
        assert.notEqual(header(reply, "electric-handle"), handle)
      }
    },
    {
      line: "16 (b) with another handle than the definition's: 400 with the mismatch text",
      script: async (world) => {
        const [one, two] = [
          await world.follow("table=items&where=id = 8"),
          await world.follow("table=items&where=id = 9")
        ]
        await world.get(`DELETE table=items&where=id = 8&handle=${two.handle}`, MISMATCH)
        await world.get(`DELETE table=items&where=id = 8&handle=unknown`, MISMATCH)
        for (const { handle, query } of [one, two]) {
          await world.get(`${query}&handle=${handle}&offset=0_inf`, {
            status: 200
          })
        }
      }
    },
    {
      line: "16 nothing found: 404",
      ask: [
        "DELETE table=items&where=id = 1000",
        "DELETE handle=unknown",
        "DELETE table=items&where=id = 1000&handle=unknown"
      ],
      is: NOT_FOUND
    },
    {
      line: "16 neither table nor handle: 400",
      ask: ["DELETE ", "DELETE where=id = 1", "DELETE handle="],
      is: badly({ handle: ["can't be blank when shape definition is missing"] })
    },
    {
      line: "16 booleans are cast strictly",
      cases: [
        ["DELETE table=items&live=foo", badly({ live: ["is invalid"] })],
        ["DELETE table=items&live_sse=foo", badly({ live_sse: ["is invalid"] })],
        ["DELETE table=items&where=id = 1001&live=true", NOT_FOUND]
      ]
    },
    {
      line: "16 the table is validated as for GET",
      cases: [
        ["DELETE table=.x", badly({ table: ["Invalid zero-length delimited identifier"] })],
        [
          "DELETE table=nope",
          badly({
            table: [
              "Table \"public\".\"nope\" does not exist. If the table name contains capitals or special characters you must quote it."
            ]
          })
        ]
      ]
    },
    {
      line: "16 the next request makes a new shape, of another handle",
      script: async (world) => {
        const before = await world.follow("table=items&where=id = 3")
        await world.get("DELETE table=items&where=id = 3", DELETED)
        const after = await world.follow("table=items&where=id = 3")
        assert.notEqual(after.handle, before.handle)
        assert.deepEqual(after.items.slice(0, -1), before.items.slice(0, -1))
      }
    }
  ]
}
