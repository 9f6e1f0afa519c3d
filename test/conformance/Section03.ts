/** Electric HTTP protocol §2 and §3: routes, headers of every response, limits, secret, CORS, health. */
import assert from "node:assert/strict"
import { ANY, header, type Row, row, type Section, snapshotEnd } from "./Conformance.ts"
import { ITEMS, itemsValues, MANY } from "./Tables.ts"

const EXPOSED = "electric-cursor,electric-handle,electric-has-data,electric-offset,electric-schema," +
  "electric-up-to-date,electric-internal-known-error,retry-after"
const DEFAULT_CACHE = "max-age=0, private, must-revalidate"
const UNAUTHORIZED = {
  status: 401,
  body: "{\"message\":\"Unauthorized - Invalid API secret\"}",
  headers: {
    "content-type": null,
    "access-control-allow-origin": null,
    "access-control-expose-headers": null,
    "access-control-allow-methods": null,
    "electric-handle": null,
    "cache-control": DEFAULT_CACHE
  }
}
const NOT_FOUND = {
  status: 404,
  body: "Not found",
  headers: { "content-type": null, "cache-control": DEFAULT_CACHE, "access-control-allow-methods": "GET, HEAD" }
}

const surface: ReadonlyArray<Row> = [
  {
    line: "2 `/`: GET and HEAD, 200 with an empty body and no content-type",
    ask: ["/", "HEAD /", "/?x=1"],
    is: { body: "", headers: { "content-type": null, "cache-control": DEFAULT_CACHE } }
  },
  { line: "2 /v1/health: GET and HEAD", cases: [["/v1/health", {}], ["HEAD /v1/health", { body: "" }]] },
  {
    line: "2 /v1/shape: GET and HEAD give the shape's log",
    cases: [
      ["table=items&offset=-1", { json: [...itemsValues.map((value) => row("items", value)), snapshotEnd] }],
      ["HEAD table=items&offset=-1", { body: "", headers: { "electric-offset": "0_0" } }]
    ]
  },
  {
    line: "2 /v1/shape: with subset parameters GET gives rows",
    ask: "table=items&offset=-1&subset__where=id=1",
    is: { headers: { "electric-snapshot": "true" } }
  },
  {
    line: "2 /v1/shape: POST is the same as GET",
    ask: "POST table=items&offset=-1",
    is: { headers: { "electric-offset": "0_0" } }
  },
  {
    line: "2 /v1/shape: a POST's JSON body may carry subset parameters",
    ask: { ask: "POST table=items&offset=-1", body: { where: "id = 1" } },
    is: { headers: { "electric-snapshot": "true" } }
  },
  {
    line: "2 /v1/shape: DELETE is 405 unless enabled",
    ask: "DELETE table=items",
    is: { status: 405, json: { message: "DELETE not allowed" } }
  },
  { line: "2 /v1/shape: OPTIONS is 204", ask: "OPTIONS /v1/shape", is: { status: 204 } },
  {
    line: "2 anything else, PUT /v1/shape included: 404, body `Not found`, no content-type",
    ask: [
      "PUT table=items&offset=-1",
      "PATCH /v1/shape",
      "POST /",
      "DELETE /v1/health",
      "/v1",
      "/v1/shapes",
      "/v2/shape",
      "/x",
      "/v1/shape/x"
    ],
    is: NOT_FOUND
  },
  {
    line: "2 the normalised path is matched: /v1/shape/, /v1//shape and /v1/%73hape reach the shape handler",
    ask: ["/v1/shape/?table=items&offset=-1", "/v1//shape?table=items&offset=-1", "/v1/%73hape?table=items&offset=-1"],
    is: { headers: { "electric-offset": "0_0" } }
  },
  {
    line: "2 …and all still need the secret",
    on: "secret",
    ask: ["/v1/shape/?table=items&offset=-1", "/v1//shape?table=items&offset=-1", "/v1/%73hape?table=items&offset=-1"],
    is: UNAUTHORIZED
  },
  {
    line: "2 HEAD is GET without the body: it creates shapes",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      const head = await world.get(`HEAD table=${table}&offset=-1`, { body: "" })
      const get = await world.get(`table=${table}&offset=-1`)
      const { date: _, "x-request-id": __, "content-length": ___, ...headers } = get.headers
      for (const [name, value] of Object.entries(headers)) {
        if (name !== "transfer-encoding") assert.equal(head.headers[name], value, name)
      }
    }
  },
  {
    line: "2 HEAD holds live requests",
    script: async (world) => {
      const reply = await world.get("HEAD table=items&offset=@&handle=@&live=true", {
        headers: { "electric-has-data": "false" }
      })
      assert.ok(reply.millis > 1500)
    }
  },
  { line: "2 a 401 carries no CORS headers", on: "secret", ask: "table=items&offset=-1", is: UNAUTHORIZED },
  {
    line: "2 electric-server is on every response",
    differs: "it names us",
    ask: ["/", "/v1/health", "table=items&offset=-1"],
    is: { headers: { "electric-server": /^Shapelog\/\d+\.\d+\.\d+/ } }
  },
  {
    line: "2 x-request-id: the client's own when it is 20 to 200 characters long, else a new one",
    script: async (world) => {
      for (const id of ["x".repeat(20), "y".repeat(200)]) {
        await world.get({ ask: "/", headers: { "x-request-id": id } }, { headers: { "x-request-id": id } })
      }
      const made = new Set<string>()
      for (const id of ["x".repeat(19), "y".repeat(201)]) {
        const reply = await world.get({ ask: "/", headers: { "x-request-id": id } })
        assert.notEqual(header(reply, "x-request-id"), id)
        made.add(header(reply, "x-request-id"))
      }
      assert.equal(made.size, 2)
    }
  },
  {
    line: "2 date is on every response",
    ask: ["/", "/v1/health", "table=items&offset=-1"],
    is: { headers: { date: / GMT$/ } }
  },
  {
    line: "2 cache-control has a default where nothing below overrides it: `/`, 404, 401",
    cases: [["/", { headers: { "cache-control": DEFAULT_CACHE } }], ["/nowhere", NOT_FOUND]]
  },
  {
    line: "2 vary: accept-encoding, except on 204",
    cases: [["/", { headers: { vary: "accept-encoding" } }], ["OPTIONS /v1/shape", {
      status: 204,
      headers: { vary: null }
    }]]
  },
  {
    line: "2 compression is negotiated; a shape's log is not compressed",
    differs: "an implementation may compress more freely: logs that are long enough are, with an ETag of that form",
    cases: [
      [{ ask: "table=many&offset=-1", headers: { "accept-encoding": "gzip" } }, {
        headers: { "content-encoding": "gzip", etag: /-gzip"$/ }
      }],
      [{ ask: "table=many&offset=-1", headers: { "accept-encoding": "identity" } }, {
        headers: { "content-encoding": null }
      }],
      ["table=many&offset=-1", { headers: { "content-encoding": null } }],
      [{ ask: "table=items&offset=zero", headers: { "accept-encoding": "gzip" } }, {
        invalid: { offset: ["has invalid format"] },
        headers: { "content-encoding": null }
      }]
    ]
  },
  {
    line: "2 logs and subsets are sent chunked, errors with content-length",
    differs: "a body that is in memory is sent with its length",
    cases: [
      ["table=items&offset=@&handle=@", { headers: { "content-length": /^\d+$/, "transfer-encoding": null } }],
      ["table=items", { invalid: { offset: ["can't be blank"] }, headers: { "content-length": /^\d+$/ } }]
    ]
  },
  {
    line: "2 a request line over 10,000 bytes: 414",
    ask: `table=items&offset=-1&x=${"x".repeat(10_000)}`,
    is: { status: 414 }
  },
  {
    line: "2 …the reason POST subsets exist: a longer body passes",
    ask: { ask: "POST table=items&offset=-1", body: { where: `title = '${"x".repeat(20_000)}'` } },
    is: { json: { metadata: ANY, data: [] } }
  },
  {
    line: "2 each header at most 10,000 bytes, at most 50 headers",
    elsewhere: "test/http/NodeServer.test.ts › are told of lines and headers that are too long"
  },
  {
    line: "2 a POST body over 8,000,000 bytes: 413",
    ask: { ask: "POST table=items&offset=-1", body: " ".repeat(8_000_001) },
    is: { status: 413, json: { error: "Request body too large" } }
  },
  {
    line: "2 at most 50 requests per keep-alive connection",
    differs: "a connection is kept as long as its client uses it",
    script: async (world) => {
      for (let i = 0; i < 60; i++) await world.get("/", { headers: { connection: /^keep-alive$/ } })
    }
  },
  { line: "2 idle keep-alive 60 s", ask: "/", is: { headers: { "keep-alive": "timeout=60" } } },
  {
    line: "2 content-type of shape responses and of their errors: application/json; charset=utf-8",
    cases: [
      ["table=items&offset=-1", { headers: { "content-type": "application/json; charset=utf-8" } }],
      ["table=items", {
        invalid: { offset: ["can't be blank"] },
        headers: { "content-type": "application/json; charset=utf-8" }
      }],
      ["table=items&offset=-1&subset__where=true", { headers: { "content-type": "application/json; charset=utf-8" } }]
    ]
  },
  {
    line: "2 traceparent and tracestate are accepted, without effect on the protocol",
    ask: {
      ask: "table=items&offset=-1",
      headers: { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "electric=rate:1" }
    },
    is: { headers: { "electric-offset": "0_0" } }
  },
  { line: "2 the utility port serves GET /metrics as Prometheus text", untested: "not part of the protocol of shapes" }
]

const auth: ReadonlyArray<Row> = [
  {
    line: "3.1 start-up demands exactly one of secret and insecure",
    elsewhere:
      "test/ops/Config.test.ts › demands a decision on the secret with a database of the user's, and refuses two"
  },
  {
    line: "3.1 every request to /v1/shape must carry `secret`",
    on: "secret",
    ask: [
      "table=items&offset=-1&secret=s3same",
      "POST table=items&offset=-1&secret=s3same",
      "HEAD table=items&offset=-1&secret=s3same"
    ],
    is: {}
  },
  {
    line: "3.1 `api_secret` is looked at only when `secret` is absent",
    on: "secret",
    cases: [
      ["table=items&offset=-1&api_secret=s3same", {}],
      ["table=items&offset=-1&api_secret=s3same&secret=wrong", UNAUTHORIZED],
      ["table=items&offset=-1&api_secret=wrong&secret=s3same", {}]
    ]
  },
  {
    line: "3.1 only in the query, never in a header or body",
    on: "secret",
    cases: [
      [{
        ask: "table=items&offset=-1",
        headers: { authorization: "Bearer s3same", secret: "s3same", "x-api-key": "s3same" }
      }, UNAUTHORIZED],
      [{ ask: "POST table=items&offset=-1", body: { secret: "s3same" } }, UNAUTHORIZED]
    ]
  },
  {
    line: "3.1 failure: 401 with the message, no CORS headers, no content-type, no electric-* but electric-server",
    on: "secret",
    ask: [
      "table=items&offset=-1",
      "table=items&offset=-1&secret=",
      "table=items&offset=-1&secret=s3samE",
      "DELETE table=items",
      "POST table=items&offset=-1",
      "table=nope"
    ],
    is: UNAUTHORIZED
  },
  {
    line: "3.1 `/`, /v1/health, 404s and OPTIONS need no secret",
    on: "secret",
    cases: [["/", {}], ["/v1/health", {}], ["/nowhere", NOT_FOUND], ["OPTIONS /v1/shape", { status: 204 }]]
  },
  {
    line: "3.1 secrets are redacted in server logs",
    elsewhere: [
      "test/http/Methods.test.ts › names the request and none of its secrets",
      "test/e2e/Methods.pg.test.ts › a secret is asked of whoever wants shapes, and of nobody else"
    ]
  },
  {
    line: "3.1 database_id, source_id and source_secret are ignored",
    ask: "table=items&offset=-1&database_id=x&source_id=y&source_secret=z",
    is: { headers: { "electric-offset": "0_0" } }
  },
  {
    line: "3.1 the protocol parameters that proxies pass through are known or ignored",
    ask:
      "table=items&offset=-1&live=false&live_sse=false&experimental_live_sse=false&handle=&cursor=1&expired_handle=x&log=full&cache-buster=1",
    is: { headers: { "electric-offset": "0_0" } }
  }
]

const cors: ReadonlyArray<Row> = [
  {
    line: "3.2 access-control-allow-origin: the request's Origin, or *",
    cases: [
      ["table=items&offset=-1", { headers: { "access-control-allow-origin": "*" } }],
      [{ ask: "table=items&offset=-1", headers: { origin: "https://app.example" } }, {
        headers: { "access-control-allow-origin": "https://app.example" }
      }],
      [{ ask: "/", headers: { origin: "null" } }, { headers: { "access-control-allow-origin": "null" } }],
      [{ ask: "table=items", headers: { origin: "https://a.b:1" } }, {
        status: 400,
        headers: { "access-control-allow-origin": "https://a.b:1" }
      }]
    ]
  },
  {
    line: "3.2 access-control-expose-headers: this list, everywhere",
    ask: ["table=items&offset=-1", "/", "/v1/health"],
    is: { headers: { "access-control-expose-headers": EXPOSED } }
  },
  {
    line: "3.2 access-control-allow-methods of /v1/shape and of other routes",
    cases: [
      ["table=items&offset=-1", { headers: { "access-control-allow-methods": "GET, POST, HEAD, DELETE, OPTIONS" } }],
      ["/", { headers: { "access-control-allow-methods": "GET, HEAD" } }],
      ["/v1/health", { headers: { "access-control-allow-methods": "GET, HEAD" } }]
    ]
  },
  {
    line: "3.2 access-control-allow-credentials is never sent; etag and electric-snapshot are not exposed",
    ask: "table=items&offset=-1",
    is: {
      headers: {
        "access-control-allow-credentials": null,
        "access-control-expose-headers": /^(?!.*(etag|snapshot)).*$/
      }
    }
  },
  {
    line: "3.3 OPTIONS: 204, empty, CORS headers, max-age, connection: keep-alive, no cache-control",
    ask: { ask: "OPTIONS /v1/shape", headers: { origin: "https://app.example" } },
    is: {
      status: 204,
      body: "",
      headers: {
        "access-control-allow-origin": "https://app.example",
        "access-control-expose-headers": EXPOSED,
        "access-control-allow-methods": "GET, POST, HEAD, DELETE, OPTIONS",
        "access-control-max-age": "86400",
        "access-control-allow-headers": null,
        "cache-control": null,
        connection: "keep-alive"
      }
    }
  },
  {
    line: "3.3 access-control-allow-headers echoes if-none-match or traceparent, in any case",
    ask: { ask: "OPTIONS /v1/shape", headers: { "access-control-request-headers": "If-None-Match" } },
    is: { status: 204, headers: { "access-control-allow-headers": "If-None-Match" } }
  },
  {
    line: "3.3 a comma list matches nothing and the header is left out",
    differs: "more generous: whatever is asked for is allowed, so a JSON POST passes the preflight",
    ask: { ask: "OPTIONS /v1/shape", headers: { "access-control-request-headers": "content-type, authorization" } },
    is: { status: 204, headers: { "access-control-allow-headers": "content-type, authorization" } }
  },
  {
    line: "3.4 health needs no secret, is JSON and is never cached",
    on: "secret",
    ask: "/v1/health",
    is: {
      headers: {
        "content-type": "application/json; charset=utf-8",
        "cache-control": "no-cache, no-store, must-revalidate"
      }
    }
  },
  {
    line: "3.4 200 {\"status\":\"active\"} when fully operational",
    ask: "/v1/health",
    is: { body: "{\"status\":\"active\"}" }
  },
  {
    line: "3.4 202 waiting while another instance holds the lock, 202 starting in any other state",
    elsewhere: "test/http/Methods.test.ts › 22: health, root, unknown paths and methods"
  }
]

export const section: Section = {
  title: "2-3 Surface, secret, CORS, health",
  setup: ITEMS + MANY,
  servers: { main: {}, secret: { SHAPELOG_INSECURE: "", SHAPELOG_SECRET: "s3same" } },
  rows: [...surface, ...auth, ...cors]
}
