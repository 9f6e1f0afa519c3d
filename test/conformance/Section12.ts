/** Electric HTTP protocol §12: log modes and subsets. */
import assert from "node:assert/strict"
import {
  ANY,
  change,
  header,
  key,
  mustRefetch,
  type Reply,
  type Row,
  same,
  type Section,
  snapshotEnd,
  upToDate
} from "./Conformance.ts"
import { ITEMS, itemsSchema, itemsValues } from "./Tables.ts"

interface Subset {
  readonly metadata: {
    readonly xmin: string
    readonly xmax: string
    readonly xip_list: ReadonlyArray<string>
    readonly database_lsn: string
    readonly snapshot_mark: number
  }
  readonly data: ReadonlyArray<
    {
      readonly key: string
      readonly value: Readonly<Record<string, string | null>>
      readonly headers: Readonly<Record<string, unknown>>
    }
  >
}

const subsetOf = (reply: Reply): Subset => JSON.parse(reply.body) as Subset

const METADATA = { xmin: /^\d+$/, xmax: /^\d+$/, xip_list: [], database_lsn: /^\d+$/, snapshot_mark: ANY }

/** The rows of `items` with these ids. */
const ids = (...wanted: ReadonlyArray<string>) => ({
  json: {
    metadata: METADATA,
    data: wanted.map((id) => ({
      key: key("items", id),
      value: itemsValues.find((value) => value.id === id),
      headers: { operation: "insert", relation: ["public", "items"], snapshot_mark: ANY }
    }))
  },
  headers: { "electric-snapshot": "true" }
})
const refused = (errors: unknown) => ({ invalid: { subset: errors } })
const at = (more: string) => `table=items&offset=-1&${more}`
const post = (body: unknown) => ({ ask: "POST table=items&offset=-1", body })

const modes: ReadonlyArray<Row> = [
  {
    line: "12.1 full: snapshot and changes",
    ask: "table=items&log=full&offset=-1",
    is: { json: [ANY, ANY, ANY, snapshotEnd] }
  },
  {
    line: "12.1 changes_only: no initial rows",
    ask: "table=items&log=changes_only&offset=-1",
    is: { json: [snapshotEnd] }
  },
  {
    line: "12.1 changes_only: every change to matching rows, updates and deletes of rows the client has never seen too",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, n int", "(1, 1), (2, 2)")
      const got = await world.changes(
        `table=${table}&log=changes_only`,
        `UPDATE ${table} SET n = 7 WHERE id = 1`,
        `DELETE FROM ${table} WHERE id = 2`,
        `INSERT INTO ${table} VALUES (3, 3)`
      )
      same(got, [
        { key: key(table, "1"), value: { id: "1", n: "7" }, headers: change(table, "update", 0) },
        { key: key(table, "2"), value: { id: "2" }, headers: change(table, "delete", 0) },
        { key: key(table, "3"), value: { id: "3", n: "3" }, headers: change(table, "insert", 0) }
      ])
    }
  },
  {
    line: "12.1 log is part of the shape's identity",
    script: async (world) => {
      const handles = new Set<string>()
      for (const log of ["full", "changes_only"]) {
        handles.add(
          header(await world.get(`table=items&log=${log}&offset=now`), "electric-handle")
        )
      }
      assert.equal(handles.size, 2)
    }
  },
  {
    line: "12.1 the typical start: log=changes_only&offset=now",
    ask: "table=items&log=changes_only&offset=now",
    is: { json: [upToDate], headers: { "electric-offset": "0_inf", "electric-has-data": "false" } }
  },
  {
    line: "12.2 stateless: the log knows nothing of subsets",
    script: async (world) => {
      const query = "table=items&log=changes_only"
      const { handle } = await world.follow(query)
      await world.get(`${query}&handle=${handle}&offset=0_inf&subset__where=id=1`, ids("1"))
      await world.get(`${query}&handle=${handle}&offset=0_inf`, {
        json: [upToDate],
        headers: { "electric-offset": "0_inf" }
      })
    }
  }
]

const requests: ReadonlyArray<Row> = [
  {
    line: "12.3 by any subset__* query key",
    cases: [[at("subset__where=id=1"), ids("1")], [at("subset__order_by=id DESC"), ids("3", "2", "1")], [
      at("subset__params={}"),
      ids("1", "2", "3")
    ]]
  },
  {
    line: "12.3 …or a subset key in a POST body",
    cases: [[post({ where: "id = 1" }), ids("1")], [post({ order_by: "id DESC" }), ids("3", "2", "1")], [
      post({ subset: { where: "id = 2" } }),
      ids("2")
    ]]
  },
  {
    line: "12.3 POST to the URL with shape, handle, offset and log",
    ask: {
      ask: "POST table=items&log=changes_only&offset=0_inf&handle=@",
      body: {
        where: "title = $1",
        params: { "1": "three" },
        order_by: "id DESC",
        limit: 10,
        offset: 0,
        where_expr: {},
        order_by_expr: []
      }
    },
    is: ids("3")
  },
  {
    line: "12.3 where: the language of section 14",
    ask: at("subset__where=title LIKE 't%25' AND n IS NULL"),
    is: ids("2")
  },
  {
    line: "12.3 where: only columns in queryable_columns, by default the selected ones",
    cases: [
      [at("columns=id,title&subset__where=n = 10"), refused({ where: ["At location 0: unknown reference n"] })],
      [at("columns=id,title&queryable_columns=id,title,n&subset__where=n = 10"), {
        json: { metadata: METADATA, data: [{ key: key("items", "1"), value: { id: "1", title: "one" }, headers: ANY }] }
      }]
    ]
  },
  {
    line: "12.3 where: enum constants are allowed",
    ask: "table=moods&offset=-1&subset__where=mood = 'ok'",
    is: {
      json: { metadata: METADATA, data: [{ key: key("moods", "1"), value: { id: "1", mood: "ok" }, headers: ANY }] }
    }
  },
  {
    line: "12.3 where: no subqueries",
    ask: at("subset__where=id IN (SELECT 1)"),
    is: refused({ where: ["Subqueries are not allowed in subsets"] })
  },
  {
    line: "12.3 where: over 64 KiB, bigger than maximum size",
    ask: post({ where: `title = '${"x".repeat(70_000)}'` }),
    is: refused({ where: [/bigger than maximum size/] })
  },
  {
    line: "12.3 params: an object, or its JSON in the query, keyed \"1\"…",
    cases: [
      [at("subset__where=id = $1&subset__params={\"1\":\"2\"}"), ids("2")],
      [post({ where: "id = $1 AND done = $2", params: { 1: 1, 2: true } }), ids("1")]
    ]
  },
  {
    line: "12.3 params: must be a JSON object, must be valid JSON",
    cases: [[at("subset__params=[1]"), refused({ params: ["params must be a JSON object"] })], [
      at("subset__params={"),
      refused({ params: ["params must be valid JSON"] })
    ]]
  },
  {
    line: "12.3 limit: an integer > 0",
    cases: [
      [at("subset__order_by=id&subset__limit=2"), ids("1", "2")],
      [at("subset__order_by=id&subset__limit=0"), refused({ limit: ["must be greater than 0"] })],
      [at("subset__order_by=id&subset__limit=x"), refused({ limit: ["is invalid"] })],
      [at("subset__order_by=id&subset__limit=1.5"), refused({ limit: ["is invalid"] })]
    ]
  },
  {
    line: "12.3 offset: an integer >= 0",
    cases: [
      [at("subset__order_by=id&subset__offset=2"), ids("3")],
      [at("subset__order_by=id&subset__offset=0"), ids("1", "2", "3")],
      [at("subset__order_by=id&subset__offset=-1"), refused({ offset: ["must be greater than or equal to 0"] })]
    ]
  },
  {
    line: "12.3 order_by: columns with ASC, DESC, NULLS FIRST, NULLS LAST",
    cases: [
      [at("subset__order_by=n DESC NULLS LAST, id"), ids("3", "1", "2")],
      [at("subset__order_by=n NULLS FIRST"), ids("2", "1", "3")],
      [at("subset__order_by=\"id\" ASC"), ids("1", "2", "3")]
    ]
  },
  {
    line: "12.3 order_by: required with limit or offset",
    ask: [at("subset__limit=1"), at("subset__offset=1")],
    is: refused({ order_by: ["order_by is required when limit or offset is present"] })
  },
  {
    line: "12.3 order_by: no casts, functions, CASE, subselects",
    cases: [
      [
        at("subset__order_by=lower(title)"),
        refused({ order_by: ["At location 0: FuncCall expressions are not allowed in ORDER BY clauses"] })
      ],
      [
        at("subset__order_by=id::text"),
        refused({ order_by: [/^At location \d+: TypeCast expressions are not allowed in ORDER BY clauses$/] })
      ],
      [
        at("subset__order_by=CASE WHEN true THEN id END"),
        refused({ order_by: [/^At location 0: CaseExpr expressions are not allowed in ORDER BY clauses$/] })
      ],
      [
        at("subset__order_by=(SELECT 1)"),
        refused({ order_by: [/^At location \d+: SubLink expressions are not allowed in ORDER BY clauses$/] })
      ]
    ]
  },
  {
    line: "12.3 order_by: no parameters, no `;`, no unknown reference",
    cases: [
      [at("subset__order_by=$1"), refused({ order_by: [/parameter \$1 is not supported in ORDER BY clauses$/] })],
      [at("subset__order_by=id;"), refused({ order_by: ["Unexpected `;` in order by"] })],
      [at("subset__order_by=nope"), refused({ order_by: [/unknown reference nope$/] })]
    ]
  },
  {
    line: "12.3 where_expr, order_by_expr: ignored",
    ask: [at("subset__where=id=1&subset__where_expr=[1]"), at("subset__where=id=1&subset__order_by_expr=nonsense")],
    is: ids("1")
  },
  {
    line: "12.3 a value that Postgres rejects at run time: 400, the message a plain string",
    differs: "it is found before the query runs, and told in a list (§20: either) with its place",
    ask: "table=moods&offset=-1&subset__where=mood = 'glad'",
    is: refused({ where: ["At location 7: invalid syntax for type mood: glad"] })
  },
  {
    line: "12.3 …also for = ANY($1)",
    ask: { ask: "POST table=moods&offset=-1", body: { where: "mood = ANY($1)", params: { 1: "{ok,glad}" } } },
    is: {
      status: 400,
      json: {
        message: "Invalid request",
        errors: { subset: { where: ["At location 11: invalid syntax for type mood[]: {ok,glad}"] } }
      }
    }
  },
  {
    line: "12.3 other failures of the query: 500",
    differs: "what the clause itself does wrong is told: a 400 with the message of Postgres",
    ask: at("subset__where=1 / (id - id) = 1"),
    is: refused({ where: ["division by zero"] })
  },
  {
    line: "12.3 offset is still required, real ones need a handle",
    cases: [
      ["table=items&subset__where=true", { invalid: { offset: ["can't be blank"] } }],
      ["table=items&offset=0_inf&subset__where=true", { invalid: { handle: ["can't be blank when offset != -1"] } }]
    ]
  },
  {
    line: "12.3 a wrong handle: 409 as for logs",
    ask: "table=items&offset=0_inf&handle=x&subset__where=true",
    is: { status: 409, body: mustRefetch, headers: { "electric-handle": /-/ } }
  },
  {
    line: "12.3 offset=-1 without handle creates the shape",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      const handle = header(await world.get(`table=${table}&offset=-1&subset__where=true`), "electric-handle")
      await world.get(`table=${table}&offset=-1`, { headers: { "electric-handle": handle } })
    }
  },
  {
    line: "12.3 out of bounds is not checked",
    script: async (world) => {
      const reply = await world.get("table=items&offset=99999999999_0&handle=@&subset__where=id=1", ids("1"))
      assert.ok(reply.millis < 900)
    }
  },
  {
    line: "12.3 any log mode; live_sse is ignored",
    ask: [
      at("log=full&subset__where=id=1"),
      at("log=changes_only&subset__where=id=1"),
      "table=items&offset=0_inf&handle=@&live=true&live_sse=true&subset__where=id=1"
    ],
    is: ids("1")
  }
]

const responses: ReadonlyArray<Row> = [
  {
    line: "12.4 {metadata, data}: rows with key, all selected columns, operation, relation and snapshot_mark",
    ask: at("subset__where=id < 3&subset__order_by=id"),
    is: ids("1", "2")
  },
  { line: "12.4 no rows: an empty array", ask: at("subset__where=false"), is: ids() },
  {
    line: "12.4 xmin, xmax, xip_list: decimal strings; database_lsn a decimal string",
    script: async (world) => {
      const before = BigInt(String((await world.query("SELECT pg_current_wal_lsn() - '0/0' AS lsn"))[0]!.lsn))
      const { metadata } = subsetOf(await world.get(at("subset__where=true")))
      const after = BigInt(String((await world.query("SELECT pg_current_wal_lsn() - '0/0' AS lsn"))[0]!.lsn))
      assert.ok(before <= BigInt(metadata.database_lsn) && BigInt(metadata.database_lsn) <= after)
      assert.ok(BigInt(metadata.xmin) <= BigInt(metadata.xmax))
    }
  },
  {
    line: "12.4 …of one REPEATABLE READ transaction: rows are those of transactions that are visible in it",
    elsewhere: "test/engine/Subset.test.ts › is read in a snapshot that sees whatever the stream has brought"
  },
  {
    line: "12.4 snapshot_mark: a random integer from 0 to 2^31-1, repeated on each row",
    script: async (world) => {
      const marks = new Set<number>()
      for (let i = 0; i < 3; i++) {
        const { data, metadata } = subsetOf(await world.get(at("subset__where=true")))
        assert.ok(
          Number.isInteger(metadata.snapshot_mark) && metadata.snapshot_mark >= 0 && metadata.snapshot_mark < 2 ** 31
        )
        assert.deepEqual(data.map(({ headers }) => headers.snapshot_mark), data.map(() => metadata.snapshot_mark))
        marks.add(metadata.snapshot_mark)
      }
      assert.equal(marks.size, 3)
    }
  },
  {
    line: "12.4 values as in the initial snapshot",
    script: async (world) => {
      const { items } = await world.follow("table=items")
      const { data } = subsetOf(await world.get(at("subset__order_by=id")))
      assert.deepEqual(
        data.map((row) => [row.key, row.value]),
        items.slice(0, -1).map((item) => [item.key, item.value])
      )
    }
  },
  {
    line: "12.4 headers: no-cache, snapshot, handle, offset, schema; no etag, cursor, up-to-date, has-data",
    ask: [at("subset__where=true"), post({ where: "true" })],
    is: {
      headers: {
        "cache-control": "no-cache",
        "electric-snapshot": "true",
        "electric-handle": /-/,
        "electric-offset": "0_0",
        "electric-schema": itemsSchema,
        etag: null,
        "electric-cursor": null,
        "electric-up-to-date": null,
        "electric-has-data": null
      }
    }
  },
  {
    line: "12.4 schema unless live",
    differs: "it is there: a subset is never live",
    ask: "table=items&offset=0_inf&handle=@&live=true&subset__where=true",
    is: { headers: { "electric-schema": itemsSchema } }
  },
  {
    line: "12.4 electric-offset: -1 → 0_0; now → the latest",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.get(`table=${table}&offset=-1&subset__where=true`, { headers: { "electric-offset": "0_0" } })
      await world.get(`table=${table}&offset=now&subset__where=true`, { headers: { "electric-offset": "0_inf" } })
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      const { offset } = await world.news(before)
      await world.get(`table=${table}&offset=now&subset__where=true`, { headers: { "electric-offset": offset } })
    }
  },
  {
    line: "12.4 electric-offset of a real X: the end of X's chunk, or the latest",
    differs: "X itself: nothing between X and the snapshot is lost to earlier subsets (§20)",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      await world.news(before)
      await world.get(`table=${table}&offset=0_inf&handle=${before.handle}&subset__where=true`, {
        headers: { "electric-offset": "0_inf" }
      })
    }
  },
  {
    line: "12.4 `now` and -1: the offset is not newer than the snapshot",
    elsewhere: "test/engine/Subset.test.ts › is read in a snapshot that sees whatever the stream has brought"
  },
  {
    line: "12.4 the base clause is not parenthesised",
    differs: "it is (§20)",
    ask: "table=items&where=id = 1 OR id = 2&offset=-1&subset__where=id = 2",
    is: ids("2")
  },
  {
    line: "12.5 a change is in a subset iff its transaction is visible in the subset's snapshot: clients can tell",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, n int", "(1, 0)")
      const query = `table=${table}&log=changes_only`
      const before = await world.follow(query)
      await world.exec(`UPDATE ${table} SET n = 1`)
      const subset = subsetOf(await world.get(`${query}&handle=${before.handle}&offset=0_inf&subset__where=true`))
      assert.deepEqual(subset.data.map(({ value }) => value.n), ["1"])
      await world.exec(`UPDATE ${table} SET n = 2`)
      const isVisible = (xid: number) =>
        BigInt(xid) < BigInt(subset.metadata.xmin) ||
        (BigInt(xid) < BigInt(subset.metadata.xmax) && !subset.metadata.xip_list.includes(String(xid)))
      const reply = await world.until(
        `${query}&handle=${before.handle}&offset=0_inf`,
        ({ body }) => body.includes("\"n\":\"2\"")
      )
      const seen = (JSON.parse(reply.body) as ReadonlyArray<
        { readonly headers: { readonly txids?: ReadonlyArray<number>; readonly lsn?: string } }
      >).filter(({ headers }) => headers.txids !== undefined)
      assert.deepEqual(seen.map(({ headers }) => isVisible(headers.txids![0]!)), [true, false])
      // The filter is retired by what comes after the snapshot.
      assert.ok(BigInt(seen[1]!.headers.lsn!) >= BigInt(subset.metadata.database_lsn))
    }
  },
  {
    line: "12.5 what the published client makes of it, while others write",
    elsewhere: "test/e2e/Subsets.pg.test.ts › the published client loads subsets while others write"
  }
]

export const section: Section = {
  title: "12 Log modes and subsets",
  setup: `${ITEMS}
    CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE moods (id int PRIMARY KEY, mood mood); INSERT INTO moods VALUES (1, 'ok'), (2, 'sad');`,
  servers: { main: {} },
  rows: [...modes, ...requests, ...responses]
}
