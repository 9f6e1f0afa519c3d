/** Electric HTTP protocol §4: what requests may say, and the answers to those that are wrong. */
import assert from "node:assert/strict"
import {
  ANY,
  header,
  items,
  key,
  mustRefetch,
  type Row,
  row,
  type Section,
  snapshotEnd,
  upToDate
} from "./Conformance.ts"
import { ITEMS, itemsValues } from "./Tables.ts"

const quoted = (name: string) => ({
  table: [`Table ${name} does not exist. If the table name contains capitals or special characters you must quote it.`]
})
const first = { headers: { "electric-offset": "0_0" } }
const NO_OFFSET = { invalid: { offset: ["can't be blank"] } }
const SUBSET = { headers: { "electric-snapshot": "true" } }
const NO_SUBSET = { headers: { "electric-snapshot": null } }

const order: ReadonlyArray<Row> = [
  {
    line: "4.1 1: admission control comes before body parsing and validation, and looks at the raw handle only",
    elsewhere: [
      "test/http/Admission.test.ts › turns away what is too much, before anything is done for it",
      "test/conformance/Checklist.ts › 23 Admission 503 before validation; no shape creation when rejected"
    ]
  },
  {
    line: "4.1 2: a POST's body is read and decoded before parameters are validated",
    ask: { ask: "POST table=nope", body: "{" },
    is: { status: 400, json: { error: "Invalid JSON in request body", details: ANY } }
  },
  {
    line: "4.1 3: then at most 5 s of waiting for the stack to be ready",
    elsewhere: "test/http/Live.test.ts › is waited for five seconds, before anything is validated"
  },
  {
    line: "4.1 4: parameter validation comes before the shape is looked up: no shape is created",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      for (
        const query of [
          "",
          "&offset=x",
          "&offset=0_0",
          "&offset=-1&live",
          "&offset=-1&where=id",
          "&offset=-1&columns=x"
        ]
      ) {
        await world.get(`table=${table}${query}`, { status: 400 })
      }
      assert.deepEqual(await world.query(`SELECT FROM pg_publication_tables WHERE tablename = '${table}'`), [])
    }
  },
  {
    line: "4.1 5: the conflict of compaction and subqueries",
    elsewhere: "test/conformance/Section13.ts › 13.1 errors.experimental_compaction"
  },
  {
    line: "4.1 6: the shape is looked up or created, and the handle compared, before If-None-Match",
    ask: { ask: "table=items&offset=0_0&handle=other", headers: { "if-none-match": "\"other:0_0:0_inf\"" } },
    is: { status: 409, body: mustRefetch }
  },
  {
    line: "4.1 7: If-None-Match gives a 304, but not for subsets",
    script: async (world) => {
      const etag = header(await world.get("table=items&offset=-1"), "etag")
      await world.get({ ask: "table=items&offset=-1", headers: { "if-none-match": etag } }, { status: 304, body: "" })
      await world.get({ ask: "table=items&offset=-1&subset__where=true", headers: { "if-none-match": etag } }, SUBSET)
    }
  },
  {
    line: "4.1 empty-string values count as absent",
    cases: [
      [
        "table=items&offset=-1&handle=&live=&live_sse=&cursor=&where=&columns=&queryable_columns=&replica=&log=&experimental_compaction=",
        first
      ],
      ["table=items&offset=", NO_OFFSET],
      ["table=&offset=-1", { invalid: { table: ["can't be blank"] } }]
    ]
  },
  { line: "4.1 unknown parameters are ignored", ask: "table=items&offset=-1&unknown=1&Table=x&_=", is: first }
]

const query: ReadonlyArray<Row> = [
  {
    line: "4.2 table: a name, in schema public",
    ask: ["table=items&offset=-1", "table=public.items&offset=-1"],
    is: { json: [...itemsValues.map((value) => row("items", value)), snapshotEnd] }
  },
  {
    line: "4.2 table: schema.name",
    ask: "table=other.things&offset=-1",
    is: {
      json: [{
        key: "\"other\".\"things\"/\"1\"",
        value: { id: "1" },
        headers: { operation: "insert", relation: ["other", "things"] }
      }, snapshotEnd]
    }
  },
  {
    line: "4.2 table: quoted parts",
    ask: [
      "table=\"My Table\"&offset=-1",
      "table=public.\"My Table\"&offset=-1",
      "table=%22public%22.%22My%20Table%22&offset=-1"
    ],
    is: { json: [row("My Table", { "Id": "1" }), snapshotEnd] }
  },
  { line: "4.2 offset: required", ask: ["table=items", "table=items&live=true&handle=x"], is: NO_OFFSET },
  {
    line: "4.2 offset: -1, now, <tx>_<op>, <tx>_inf",
    cases: [
      ["table=items&offset=-1", first],
      ["table=items&offset=now", { headers: { "electric-offset": "0_inf" } }],
      ["table=items&offset=0_0&handle=@", { headers: { "electric-offset": "0_inf" } }],
      ["table=items&offset=0_inf&handle=@", { headers: { "electric-offset": "0_inf" } }]
    ]
  },
  {
    line: "4.2 offset: non-negative integers",
    ask: [
      "table=items&offset=-2",
      "table=items&offset=1_-1",
      "table=items&offset=1",
      "table=items&offset=1_2_3",
      "table=items&offset=x_0",
      "table=items&offset=inf_0",
      "table=items&offset=1_x"
    ],
    is: { invalid: { offset: ["has invalid format"] } }
  },
  {
    line: "4.2 offset: -1_0 is accepted as -1",
    ask: "table=items&offset=-1_0",
    is: { headers: { "electric-offset": "0_0", etag: "\"{handle}:-1:0_0\"" } }
  },
  {
    line: "4.2 offset: leading zeros are fine",
    ask: "table=items&offset=000_00&handle=@",
    is: { headers: { "electric-offset": "0_inf", etag: "\"{handle}:0_0:0_inf\"" } }
  },
  {
    line: "4.2 handle: required unless the offset is -1 or now",
    ask: ["table=items&offset=0_0", "table=items&offset=0_inf&live=true", "table=items&offset=5_0"],
    is: { invalid: { handle: ["can't be blank when offset != -1"] } }
  },
  {
    line: "4.2 handle: with -1 and now it is silently dropped, never a 409",
    ask: [
      "table=items&offset=-1&handle=other",
      "table=items&offset=-1_0&handle=1-1",
      "table=items&offset=now&handle=other"
    ],
    is: { headers: { "electric-handle": /^\d+-\d+$/ } }
  },
  {
    line: "4.2 live: with any value but exactly `false` it is true",
    ask: ["live", "live=true", "live=0", "live=no", "live=FALSE", "live=1"].map((live) =>
      `table=items&offset=-1&${live}`
    ),
    is: { invalid: { live: ["can't be true when offset == -1"] } }
  },
  { line: "4.2 live: `false` is false", ask: "table=items&offset=-1&live=false", is: first },
  {
    line: "4.2 live_sse: requires live, by the same rule",
    ask: ["live_sse", "live_sse=true", "live_sse=0", "live_sse=true&live=false"].map((sse) =>
      `table=items&offset=-1&${sse}`
    ),
    is: { invalid: { live_sse: ["can't be true unless live is also true"] } }
  },
  {
    line: "4.2 live_sse: experimental_live_sse is an alias, consulted only if live_sse is absent",
    cases: [
      ["table=items&offset=-1&experimental_live_sse=true", {
        invalid: { live_sse: ["can't be true unless live is also true"] }
      }],
      ["table=items&offset=-1&experimental_live_sse=true&live_sse=false", first],
      ["table=items&offset=-1&experimental_live_sse=false&live_sse=true", {
        invalid: { live_sse: ["can't be true unless live is also true"] }
      }]
    ]
  },
  {
    line: "4.2 cursor: a string; only an integer means something",
    ask: ["table=items&offset=-1&cursor=abc", "table=items&offset=-1&cursor=1.5", "table=items&offset=-1&cursor="],
    is: first
  },
  {
    line: "4.2 where: an SQL boolean expression",
    ask: "table=items&offset=-1&where=n > 10 AND title LIKE 't%25'",
    is: { json: [row("items", itemsValues[2]!), snapshotEnd] }
  },
  {
    line: "4.2 params[N]: text values of $1…",
    ask: [
      "table=items&offset=-1&where=title = $1 AND id = $2&params[1]=two&params[2]=2",
      "table=items&offset=-1&where=title = $1 AND id = $2&params%5B2%5D=2&params%5B1%5D=two"
    ],
    is: { json: [row("items", itemsValues[1]!), snapshotEnd] }
  },
  {
    line: "4.2 params: keys are numbers from 1 on, without gaps",
    cases: [
      ["table=items&offset=-1&where=id = $1&params[a]=1", {
        invalid: { params: ["Parameters can only use numbers as keys"] }
      }],
      ["table=items&offset=-1&where=id = $1&params[1]=1&params[3]=1", {
        invalid: { params: ["Parameters must be numbered sequentially, starting from 1"] }
      }],
      ["table=items&offset=-1&where=id = $1&params[0]=1", {
        invalid: { params: ["Parameters must be numbered sequentially, starting from 1"] }
      }]
    ]
  },
  {
    line: "4.2 columns: a comma list, quoted identifiers allowed",
    ask: [
      "table=items&offset=-1&columns=id,title",
      "table=items&offset=-1&columns=\"title\",\"id\"",
      "table=items&offset=-1&columns=ID,Title"
    ],
    is: { json: [...itemsValues.map(({ id, title }) => row("items", { id, title })), snapshotEnd] }
  },
  {
    line: "4.2 columns: must include every primary key column",
    ask: "table=items&offset=-1&columns=title",
    is: { invalid: { columns: ["The list of columns must include all primary key columns, missing: id"] } }
  },
  {
    line: "4.2 queryable_columns: an allow-list for columns",
    cases: [
      ["table=items&offset=-1&queryable_columns=id,title&columns=id", {
        json: [...itemsValues.map(({ id }) => row("items", { id })), snapshotEnd]
      }],
      ["table=items&offset=-1&queryable_columns=id,title&columns=id,n", {
        invalid: { columns: ["The following columns are not queryable: n"] }
      }]
    ]
  },
  {
    line: "4.2 queryable_columns: an allow-list for a subset's where and order_by",
    cases: [
      ["table=items&offset=-1&queryable_columns=id,title&subset__where=n = 10", {
        invalid: { subset: { where: ["At location 0: unknown reference n"] } }
      }],
      ["table=items&offset=-1&queryable_columns=id,title&subset__order_by=n", {
        invalid: { subset: { order_by: ["At location 0: unknown reference n"] } }
      }],
      ["table=items&offset=-1&queryable_columns=id,title&columns=id&subset__where=title = 'one'", SUBSET]
    ]
  },
  {
    line: "4.2 queryable_columns: does not restrict the main where",
    ask: "table=items&offset=-1&queryable_columns=id,title&where=n = 10",
    is: { json: [row("items", { id: "1", title: "one" }), snapshotEnd] }
  },
  {
    line: "4.2 queryable_columns: must include the primary key",
    ask: "table=items&offset=-1&queryable_columns=title",
    is: {
      invalid: {
        queryable_columns: ["The list of queryable columns must include all primary key columns, missing: id"]
      }
    }
  },
  {
    line: "4.2 queryable_columns: the projection when columns is absent",
    ask: "table=items&offset=-1&queryable_columns=id,title",
    is: { json: [...itemsValues.map(({ id, title }) => row("items", { id, title })), snapshotEnd] }
  },
  {
    line: "4.2 replica: default or full",
    cases: [
      ["table=items&offset=-1&replica=default", first],
      ["table=items&offset=-1&replica=full", first],
      ["table=items&offset=-1&replica=identity", { invalid: { replica: ["is invalid"] } }]
    ]
  },
  {
    line: "4.2 log: full or changes_only",
    cases: [
      ["table=items&offset=-1&log=full", first],
      ["table=items&offset=-1&log=changes_only", { json: [snapshotEnd] }],
      ["table=items&offset=-1&log=none", { invalid: { log: ["is invalid"] } }]
    ]
  },
  {
    line: "4.2 experimental_compaction: a boolean",
    cases: [
      ...["true", "false", "1", "0"].map((value) =>
        [`table=items&offset=-1&experimental_compaction=${value}`, first] as const
      ),
      ["table=items&offset=-1&experimental_compaction=yes", { invalid: { experimental_compaction: ["is invalid"] } }]
    ]
  },
  {
    line: "4.2 subset__where, _params, _limit, _offset, _order_by",
    ask:
      "table=items&offset=-1&subset__where=id > $1&subset__params={\"1\":\"0\"}&subset__order_by=id DESC&subset__limit=1&subset__offset=1",
    is: { json: { metadata: ANY, data: [ANY] }, ...SUBSET }
  },
  {
    line: "4.2 …also as subset[where]",
    ask: ["table=items&offset=-1&subset[where]=id=1", "table=items&offset=-1&subset%5Bwhere%5D=id=1"],
    is: { json: { metadata: ANY, data: [ANY] }, ...SUBSET }
  },
  {
    line:
      "4.2 subset__where_expr, subset__order_by_expr: their contents are ignored, the presence of any subset key makes a subset",
    ask: ["table=items&offset=-1&subset__where_expr=nonsense", "table=items&offset=-1&subset__order_by_expr={}"],
    is: { json: { metadata: ANY, data: [ANY, ANY, ANY] }, ...SUBSET }
  },
  {
    line: "4.2 expired_handle, cache-buster: ignored",
    ask: "table=items&offset=-1&expired_handle=1-1&cache-buster=1-x",
    is: first
  }
]

const identifiers: ReadonlyArray<Row> = [
  {
    line: "4.2 identifiers: dots inside quotes do not split",
    ask: ["table=\"foo.bar\".\"baz\"&offset=-1", "table=\"a.b\"&offset=-1"],
    is: first
  },
  {
    line: "4.2 identifiers: unquoted ones are folded to lower case, A–Z only",
    ask: ["table=ITEMS&offset=-1", "table=Public.Items&offset=-1", "table=Größe&offset=-1"],
    is: first
  },
  {
    line: "4.2 identifiers: unquoted ones begin with a letter or _ and go on with letters, marks, digits, _, $",
    cases: [
      ["table=_a1$&offset=-1", first],
      ...["1a", "a-b", "a b", "$a", "a*"].map((name) =>
        [`table=${encodeURIComponent(name)}&offset=-1`, {
          invalid: { table: [`Invalid unquoted identifier contains special characters: ${name}`] }
        }] as const
      )
    ]
  },
  {
    line: "4.2 identifiers: quoted ones are kept verbatim, \"\" is a quote",
    cases: [
      ["table=\"My Table\"&offset=-1", first],
      ["table=\"a\"\"b\"&offset=-1", first],
      ["table=\"Items\"&offset=-1", { invalid: quoted("\"public\".\"Items\"") }]
    ]
  },
  {
    line: "4.2 identifiers: at most 63 characters",
    cases: [
      [`table=${"x".repeat(63)}&offset=-1`, { invalid: quoted(`"public"."${"x".repeat(63)}"`) }],
      [`table=${"x".repeat(64)}&offset=-1`, { invalid: { table: ["Identifier is too long (max length is 63)"] } }]
    ]
  },
  {
    line: "4.2 identifiers: splitting a list honours quotes",
    ask: "table=odd&offset=-1&columns=\"a,b\",c",
    is: { json: [row("odd", { "a,b": "1", c: "2" }), snapshotEnd] }
  },
  {
    line: "4.2 only ordinary and partitioned tables are found: no views, materialised views, foreign tables",
    cases: [
      ["table=parted&offset=-1", first],
      ["table=a_view&offset=-1", { invalid: quoted("\"public\".\"a_view\"") }],
      ["table=a_matview&offset=-1", { invalid: quoted("\"public\".\"a_matview\"") }],
      ["table=items_pkey&offset=-1", { invalid: quoted("\"public\".\"items_pkey\"") }]
    ]
  }
]

const body: ReadonlyArray<Row> = [
  {
    line: "4.3 an empty body is {}",
    cases: [["POST table=items&offset=-1", first], [{ ask: "POST table=items&offset=-1", body: {} }, first]]
  },
  {
    line: "4.3 must be a JSON object",
    ask: ["[]", "1", "null", "\"x\""].map((text) => ({ ask: "POST table=items&offset=-1", body: text })),
    is: { status: 400, json: { error: "Request body must be a JSON object" } }
  },
  {
    line: "4.3 query parameters still define the shape",
    ask: { ask: "POST table=items&offset=-1&where=id=2", body: { where: "true" } },
    is: {
      json: {
        metadata: ANY,
        data: [{
          ...row("items", itemsValues[1]!),
          headers: { operation: "insert", relation: ["public", "items"], snapshot_mark: ANY }
        }]
      }
    }
  },
  {
    line: "4.3 an object under subset is merged over the query's subset parameters",
    ask: {
      ask: "POST table=items&offset=-1&subset__where=id=1&subset__order_by=id",
      body: { subset: { where: "id > 1", limit: 1 } }
    },
    is: { json: { metadata: ANY, data: [{ key: key("items", "2"), value: ANY, headers: ANY }] } }
  },
  {
    line: "4.3 …and all other keys become top-level parameters",
    ask: { ask: "POST offset=-1", body: { table: "items", where: "id = 3", columns: "id", subset: { where: "true" } } },
    is: { json: { metadata: ANY, data: [{ key: key("items", "3"), value: { id: "3" }, headers: ANY }] } }
  },
  {
    line: "4.3 else flat where, order_by, limit, offset, params are the subset's",
    ask: {
      ask: "POST table=items&offset=-1",
      body: { where: "id > $1", params: { 1: "0" }, order_by: "id", limit: 1, offset: 1 }
    },
    is: { json: { metadata: ANY, data: [{ key: key("items", "2"), value: ANY, headers: ANY }] } }
  },
  {
    line: "4.3 …where_expr and order_by_expr too",
    ask: [{ ask: "POST table=items&offset=-1", body: { where_expr: {} } }, {
      ask: "POST table=items&offset=-1",
      body: { order_by_expr: [] }
    }],
    is: SUBSET
  },
  {
    line: "4.3 …and the remaining keys are top-level",
    script: async (world) => {
      const handle = header(await world.get("table=items&columns=id&offset=-1"), "electric-handle")
      await world.get(
        { ask: "POST offset=0_inf", body: { handle, table: "items", columns: "id", where: "id = 1" } },
        SUBSET
      )
      await world.get({
        ask: "POST offset=0_inf",
        body: { handle: "1-1", table: "items", columns: "id", where: "id = 1" }
      }, { status: 409, headers: { "electric-handle": handle } })
    }
  },
  {
    line: "4.3 without subset keys every key is top-level",
    ask: { ask: "POST offset=-1", body: { table: "items", columns: "id", replica: "full" } },
    is: { json: [...itemsValues.map(({ id }) => row("items", { id })), snapshotEnd], ...NO_SUBSET }
  },
  {
    line: "4.3 {} and no subset__* in the query: an ordinary log request, cache-control: no-cache",
    ask: [
      "POST table=items&offset=-1",
      { ask: "POST table=items&offset=0_0&handle=@", body: {} },
      "POST table=items&offset=now"
    ],
    is: { headers: { "cache-control": "no-cache", "electric-snapshot": null } }
  },
  {
    line: "4.3 JSON \"live\": false counts as true",
    differs: "false is false, as §20 allows",
    ask: { ask: "POST table=items&offset=-1", body: { live: false } },
    is: first
  },
  {
    line: "4.3 JSON \"live\": true, and the string \"false\"",
    cases: [
      [{ ask: "POST table=items&offset=-1", body: { live: true } }, {
        status: 400,
        json: { message: "Invalid request", errors: { live: ["can't be true when offset == -1"] } }
      }],
      [{ ask: "POST table=items&offset=-1", body: { live: "false" } }, first]
    ]
  }
]

const bad = (query: string, field: string, message: string) =>
  [query, {
    invalid: { [field]: [message] },
    headers: { "electric-handle": null, etag: null, "cache-control": "no-store", "surrogate-control": "no-store" }
  }] as const
const at = (more: string) => `table=items&offset=-1&${more}`

const validation: ReadonlyArray<Row> = [
  {
    line: "4.4 failure: 400 with the message and errors by field, no electric-handle, no ETag",
    cases: [bad("table=public.users&offset=invalid", "offset", "has invalid format")]
  },
  {
    line: "4.4 stages in this order: casts, offset, its format, handle, live, live_sse, table, subset",
    cases: [
      bad("replica=x&table=nope", "replica", "is invalid"),
      bad("table=nope&live=true&live_sse=true", "offset", "can't be blank"),
      bad("table=.x&offset=x&live=true", "offset", "has invalid format"),
      bad("table=.x&offset=0_0&live_sse", "handle", "can't be blank when offset != -1"),
      bad("table=.x&offset=-1&live&live_sse", "live", "can't be true when offset == -1"),
      bad("table=.x&offset=-1&live_sse", "live_sse", "can't be true unless live is also true"),
      bad("table=.x&offset=-1&subset__limit=0", "table", "Invalid zero-length delimited identifier"),
      bad("table=nope&offset=-1&subset__where=x", "table", quoted("\"public\".\"nope\"").table[0]!)
    ]
  },
  { line: "4.4 offset: can't be blank", cases: [bad("table=items", "offset", "can't be blank")] },
  { line: "4.4 offset: has invalid format", cases: [bad("table=items&offset=banana", "offset", "has invalid format")] },
  {
    line: "4.4 handle: can't be blank when offset != -1",
    cases: [bad("table=items&offset=0_0", "handle", "can't be blank when offset != -1")]
  },
  {
    line: "4.4 live: can't be true when offset == -1, or when offset is 'now'",
    cases: [
      bad(at("live=true"), "live", "can't be true when offset == -1"),
      bad("table=items&offset=now&live=true", "live", "can't be true when offset is 'now'")
    ]
  },
  {
    line: "4.4 live_sse: can't be true unless live is also true",
    cases: [bad(at("live_sse=true"), "live_sse", "can't be true unless live is also true")]
  },
  { line: "4.4 table: can't be blank", cases: [bad("offset=-1", "table", "can't be blank")] },
  {
    line: "4.4 table: Invalid zero-length delimited identifier",
    cases: [
      bad("table=.x&offset=-1", "table", "Invalid zero-length delimited identifier"),
      bad("table=x.&offset=-1", "table", "Invalid zero-length delimited identifier")
    ]
  },
  {
    line: "4.4 table: Invalid unquoted identifier contains special characters",
    cases: [bad("table=a%20b&offset=-1", "table", "Invalid unquoted identifier contains special characters: a b")]
  },
  {
    line: "4.4 table: Invalid identifier with unescaped quote",
    cases: [bad("table=%22a%22b%22&offset=-1", "table", "Invalid identifier with unescaped quote: a\"b")]
  },
  {
    line: "4.4 table: Identifier is too long (max length is 63)",
    cases: [bad(`table=${"y".repeat(64)}&offset=-1`, "table", "Identifier is too long (max length is 63)")]
  },
  {
    line: "4.4 table: Invalid relation identifier, too many delimiters",
    cases: [bad("table=a.b.c&offset=-1", "table", "Invalid relation identifier, too many delimiters: a.b.c")]
  },
  {
    line: "4.4 table: does not exist, also of tables without columns",
    cases: [
      bad("table=foo&offset=-1", "table", quoted("\"public\".\"foo\"").table[0]!),
      bad("table=bare&offset=-1", "table", quoted("\"public\".\"bare\"").table[0]!),
      bad("table=nowhere.foo&offset=-1", "table", quoted("\"nowhere\".\"foo\"").table[0]!)
    ]
  },
  {
    line: "4.4 columns: the identifier messages",
    cases: [
      bad(at("columns=id,,n"), "columns", "Invalid zero-length delimited identifier"),
      bad(at("columns=id,a-b"), "columns", "Invalid unquoted identifier contains special characters: a-b")
    ]
  },
  {
    line: "4.4 columns: must include all primary key columns, missing: a, b",
    cases: [
      bad(
        "table=pair&offset=-1&columns=c",
        "columns",
        "The list of columns must include all primary key columns, missing: a, b"
      )
    ]
  },
  {
    line: "4.4 columns: of tables without a primary key all columns count",
    cases: [
      bad(
        "table=keyless&offset=-1&columns=a",
        "columns",
        "The list of columns must include all primary key columns, missing: b"
      )
    ]
  },
  {
    line: "4.4 columns: not found on the table",
    cases: [bad(at("columns=id,x,y"), "columns", "The following columns are not found on the table: x, y")]
  },
  {
    line: "4.4 columns: generated ones cannot be included before Postgres 18",
    elsewhere: [
      "test/engine/ResolveDefinition.test.ts › generated ones that are stored are taken since Postgres 18, and left out when they are not selected",
      "test/engine/ResolveDefinition.pg.test.ts › generated columns by what the server replicates"
    ]
  },
  {
    line: "4.4 queryable_columns: missing key columns, columns not found",
    cases: [
      bad(
        at("queryable_columns=n"),
        "queryable_columns",
        "The list of queryable columns must include all primary key columns, missing: id"
      ),
      bad(
        at("queryable_columns=id,x"),
        "queryable_columns",
        "The following queryable columns are not found on the table: x"
      )
    ]
  },
  {
    line: "4.4 queryable_columns: must not be empty",
    differs: "an empty value is an absent one (§4.1)",
    ask: at("queryable_columns="),
    is: first
  },
  {
    line: "4.4 replica, log, experimental_compaction: is invalid",
    cases: [
      bad(at("replica=x"), "replica", "is invalid"),
      bad(at("log=x"), "log", "is invalid"),
      bad(at("experimental_compaction=x"), "experimental_compaction", "is invalid")
    ]
  },
  {
    line: "4.4 params: numbers as keys, sequential from 1",
    cases: [
      bad(at("params[x]=1"), "params", "Parameters can only use numbers as keys"),
      bad(at("params[2]=1"), "params", "Parameters must be numbered sequentially, starting from 1")
    ]
  },
  {
    line: "4.4 where: see §14.6",
    cases: [
      bad(at("where=foo = 1"), "where", "At location 0: unknown reference foo"),
      bad(at("where=1 x 1"), "where", "At location 17: syntax error at or near \"x\"")
    ]
  },
  {
    line: "4.4 …all of its messages",
    elsewhere: [
      "test/e2e/WhereRequests.pg.test.ts › clauses that are refused",
      "test/where/Analyse.pg.test.ts › are refused with a message, and by Postgres too unless on purpose"
    ]
  },
  {
    line: "4.4 experimental_compaction: can't be enabled for shapes with subqueries",
    elsewhere: "test/conformance/Section13.ts › 13.1 errors.experimental_compaction"
  },
  {
    line: "4.4 subset: errors.subset is an object",
    ask: at("subset__limit=0&subset__order_by=id"),
    is: { invalid: { subset: { limit: ["must be greater than 0"] } } }
  },
  {
    line: "4.4 offset: out of bounds for this shape, raised at serve time",
    ask: "table=items&offset=99999999999_0&handle=@",
    is: { invalid: { offset: ["out of bounds for this shape"] } }
  }
]

const errors: ReadonlyArray<Row> = [
  {
    line: "4.5 400 of the body: invalid JSON, with details",
    ask: { ask: "POST table=items&offset=-1", body: "{\"a\":" },
    is: {
      status: 400,
      json: { error: "Invalid JSON in request body", details: /./ },
      headers: { "cache-control": "no-cache" }
    }
  },
  {
    line: "4.5 400 of the body: failed to read",
    elsewhere: "test/http/Methods.test.ts › that its client stops sending costs the client its connection"
  },
  {
    line: "4.5 400 of a DELETE whose handle is another's",
    elsewhere:
      "test/conformance/Section16.ts › 16 (b) with another handle than the definition's: 400 with the mismatch text"
  },
  {
    line: "4.5 401",
    elsewhere:
      "test/conformance/Section03.ts › 3.1 failure: 401 with the message, no CORS headers, no content-type, no electric-* but electric-server"
  },
  { line: "4.5 404 Not found of a route", ask: "/nowhere", is: { status: 404, body: "Not found" } },
  {
    line: "4.5 405 of DELETE",
    ask: "DELETE table=items",
    is: { status: 405, json: { message: "DELETE not allowed" } }
  },
  { line: "4.5 409 must-refetch", ask: "table=items&offset=0_0&handle=other", is: { status: 409, body: mustRefetch } },
  {
    line: "4.5 413, 414",
    elsewhere: [
      "test/conformance/Section03.ts › 2 a POST body over 8,000,000 bytes: 413",
      "test/conformance/Section03.ts › 2 a request line over 10,000 bytes: 414"
    ]
  },
  {
    line: "4.5 500: details never leak",
    elsewhere: "test/http/Conformance.test.ts › 9: errors are never cached and tell nothing of our insides"
  },
  {
    line: "4.5 503 overload",
    elsewhere: "test/conformance/Checklist.ts › 23 Admission 503 before validation; no shape creation when rejected"
  },
  {
    line: "4.5 503 not ready",
    elsewhere: "test/http/Live.test.ts › is waited for five seconds, before anything is validated"
  },
  {
    line:
      "4.5 503 while the database is gone, retry-after 1; create failed, retry-after 1; snapshot problems, retry-after 10 and a known error",
    elsewhere: "test/http/Conformance.test.ts › 9: errors are never cached and tell nothing of our insides"
  },
  {
    line: "4.5 503 when a live request times out while the stack is down, retry-after 10",
    elsewhere: "test/http/Live.test.ts › that time out while the engine is down are told to come back"
  },
  {
    line: "4.5 never 307, 403, 429, or 204 for data",
    script: async (world) => {
      const quiet = await world.get("table=items&offset=@&handle=@&live=true", { json: [upToDate] })
      assert.equal(items(quiet).length, 1)
    }
  },
  {
    line: "4.5 on requests other than GET cache-control is always no-cache",
    ask: [{ ask: "POST table=items", body: {} }, "POST table=items&offset=-1&where=x"],
    is: { status: 400, headers: { "cache-control": "no-cache", "surrogate-control": null } }
  },
  {
    line: "4.5 …of a 200, a 409 and a 405 too",
    cases: [
      ["POST table=items&offset=-1", { headers: { "cache-control": "no-cache" } }],
      ["POST table=items&offset=0_0&handle=x", { status: 409, headers: { "cache-control": "no-cache" } }],
      ["DELETE table=items", { status: 405, headers: { "cache-control": "no-cache" } }]
    ]
  }
]

export const section: Section = {
  title: "4 Request parameters",
  setup: `${ITEMS}
    CREATE SCHEMA other; CREATE TABLE other.things (id int PRIMARY KEY); INSERT INTO other.things VALUES (1);
    CREATE TABLE "My Table" ("Id" int PRIMARY KEY); INSERT INTO "My Table" VALUES (1);
    CREATE SCHEMA "foo.bar"; CREATE TABLE "foo.bar"."baz" (id int PRIMARY KEY);
    CREATE TABLE "a.b" (id int PRIMARY KEY); CREATE TABLE "größe" (id int PRIMARY KEY);
    CREATE TABLE _a1$ (id int PRIMARY KEY); CREATE TABLE "a""b" (id int PRIMARY KEY);
    CREATE TABLE odd ("a,b" int PRIMARY KEY, c int, d int); INSERT INTO odd VALUES (1, 2, 3);
    CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE VIEW a_view AS SELECT * FROM items; CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM items;
    CREATE TABLE bare ();
    CREATE TABLE pair (a int, b int, c int, PRIMARY KEY (a, b));
    CREATE TABLE keyless (a int, b int);`,
  servers: { main: {} },
  rows: [...order, ...query, ...identifiers, ...body, ...validation, ...errors]
}
