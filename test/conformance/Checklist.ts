/**
 * Electric HTTP protocol §21: the conformance checklist. What is said there in more words is tested there; here are the walks that take
 * several of its lines together.
 */
import assert from "node:assert/strict"
import { ANY, header, items, mustRefetch, type Reply, row, type Section, snapshotEnd } from "./Conformance.ts"
import { ITEMS, itemsSchema, itemsValues, MANY } from "./Tables.ts"

const dir = "test/conformance"

const isBefore = (a: string, b: string): boolean => {
  const [[atx, aop], [btx, bop]] = [a, b].map((offset) => offset.split("_")) as [[string, string], [string, string]]
  const op = (text: string) => (text === "inf" ? Infinity : Number(text))
  return BigInt(atx) < BigInt(btx) || (BigInt(atx) === BigInt(btx) && op(aop) < op(bop))
}

const OVERLOADED = {
  status: 503,
  json: {
    code: "concurrent_request_limit_exceeded",
    message: "Concurrent initial request limit exceeded (limit: 0), please retry"
  },
  headers: {
    "retry-after": /^([6-9]|10)$/,
    "electric-internal-known-error": "true",
    "cache-control": "no-store",
    "surrogate-control": "no-store"
  }
}

export const section: Section = {
  title: "21 Conformance checklist",
  setup: ITEMS + MANY,
  servers: {
    main: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "1000" },
    overloaded: { SHAPELOG_MAX_CONCURRENT_REQUESTS: "{\"initial\": 0}" },
    secret: { SHAPELOG_INSECURE: "", SHAPELOG_SECRET: "s3same" }
  },
  rows: [
    {
      line: "1 -1 → 0_0, never up-to-date, long max-age, schema header, snapshot-end last",
      ask: "table=items&offset=-1",
      is: {
        json: [...itemsValues.map((value) => row("items", value)), snapshotEnd],
        headers: {
          "electric-offset": "0_0",
          "electric-up-to-date": null,
          "electric-schema": itemsSchema,
          "cache-control": "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"
        }
      }
    },
    {
      line:
        "2-3 0_n chain, then 0_inf or lsn_op with header and message together or neither; offsets grow, and each response that is not up to date advances",
      script: async (world) => {
        const table = await world.table("id int PRIMARY KEY, title text")
        await world.exec(`INSERT INTO ${table} SELECT i, repeat('x', 100) FROM generate_series(1, 40) i`)
        const before = await world.follow(`table=${table}`)
        await world.exec(`UPDATE ${table} SET title = repeat('y', 100)`)
        await world.news(before)
        const replies: Array<Reply> = []
        let at = "-1"
        for (let isOver = false; !isOver;) {
          const reply = await world.get(`table=${table}&handle=${before.handle}&offset=${at}`, { status: 200 })
          replies.push(reply)
          const next = header(reply, "electric-offset")
          isOver = reply.headers["electric-up-to-date"] !== undefined
          assert.equal(items(reply).at(-1)!.headers.control === "up-to-date", isOver)
          assert.ok(at === "-1" || isBefore(at, next), `${at} ${next}`)
          at = next
        }
        const chain = replies.map((reply) => header(reply, "electric-offset"))
        const snapshot = chain.filter((offset) => offset.startsWith("0_"))
        assert.deepEqual(snapshot, snapshot.map((_, i) => `0_${i}`))
        assert.ok(snapshot.length > 3 && chain.length - snapshot.length > 3)
        const rows = new Map<string, unknown>()
        for (const item of replies.flatMap(items)) if (item.key !== undefined) rows.set(item.key, item.value!.title)
        assert.deepEqual([...rows.values()], Array.from({ length: 40 }, () => "y".repeat(100)))
      }
    },
    {
      line: "4 the same (handle, offset) of a closed chunk: byte-identical body and ETag; If-None-Match → 304",
      script: async (world) => {
        const { handle } = await world.follow("table=many")
        for (const offset of ["-1", "0_0", "0_1"]) {
          const ask = `table=many&handle=${handle}&offset=${offset}`
          const one = await world.get(ask)
          await world.get(ask, { body: one.body, headers: { etag: header(one, "etag") } })
          await world.get({ ask, headers: { "if-none-match": header(one, "etag") } }, { status: 304, body: "" })
        }
      }
    },
    {
      line: "5 live: at once with data, else held and then 200 with up-to-date; cursors grow, ETags are unique",
      elsewhere: [
        `${dir}/Section07.ts › 7.4 entries after X: an immediate 200, with up-to-date when E is the end`,
        `${dir}/Section07.ts › 7.4 cursor: if the request's is as great, that plus 1 to 3600; successive cursors grow`,
        `${dir}/Section06.ts › 6.2 responses without new data (live timeout, now) append an integer that never comes again`
      ]
    },
    {
      line: "6 an unknown or mismatched handle: 409, array, new handle (shape created); -1 and now ignore handle",
      elsewhere: [
        `${dir}/Section07.ts › 7.5 handle unknown: the handle of the shape that matches, created on the spot if absent`,
        `${dir}/Section07.ts › 7.5 handle of another definition: the handle of the one that matches`,
        `${dir}/Section04.ts › 4.2 handle: with -1 and now it is silently dropped, never a 409`
      ]
    },
    {
      line: "7 handles are never reused; expired ones always get a 409, after a restart too",
      script: async (world) => {
        const table = await world.table("id int PRIMARY KEY", "(1)")
        const handles: Array<string> = []
        for (let i = 0; i < 4; i++) {
          const { handle } = await world.follow(`table=${table}`)
          assert.ok(!handles.includes(handle))
          handles.push(handle)
          await world.exec(`TRUNCATE ${table}`)
          await world.until(`table=${table}&handle=${handle}&offset=0_inf&live=true`, ({ status }) => status === 409)
        }
        const check = async () => {
          for (const handle of handles) {
            await world.get(`table=${table}&handle=${handle}&offset=0_inf`, {
              status: 409,
              body: mustRefetch
            })
          }
        }
        await check()
        assert.equal(await world.server.stop(), 0)
        await world.server.start()
        await check()
      }
    },
    {
      line: "8 offsets ahead of the log: held, then 400 out of bounds; <lsn>_0 re-reads are allowed",
      elsewhere: [
        `${dir}/Section07.ts › 7.6 an offset greater than the latest is held for half the long-poll time, then 400 out of bounds`,
        `${dir}/Section07.ts › 7.6 <global_last_seen_lsn>_0 of an SSE frame is accepted, and the rest of that transaction is sent again`
      ]
    },
    {
      line: "9 errors: 400 with message and errors, no-store; 503 with retry-after; 401",
      elsewhere: [
        `${dir}/Section04.ts › 4.4 failure: 400 with the message and errors by field, no electric-handle, no ETag`,
        "test/http/Conformance.test.ts › 9: errors are never cached and tell nothing of our insides",
        `${dir}/Section03.ts › 3.1 failure: 401 with the message, no CORS headers, no content-type, no electric-* but electric-server`
      ]
    },
    {
      line: "10 the CORS expose list is exact; POSTed subsets carry handle, offset, schema",
      elsewhere: [
        `${dir}/Section03.ts › 3.2 access-control-expose-headers: this list, everywhere`,
        `${dir}/Section05.ts › 5 a POSTed subset's response has offset, handle and schema`
      ]
    },
    {
      line: "11 values are text or null, under the display settings; not_null is truthful",
      elsewhere: [
        `${dir}/Section11.ts › 11.1 every value is a string of Postgres' text output, or null`,
        `${dir}/Section11.ts › 11.2 never not_null for what is nullable`,
        "test/source/TextForms.pg.test.ts › are the same copied and streamed, for every built-in type"
      ]
    },
    {
      line:
        "12 txids 32-bit integers, lsn decimal, op_position in even steps, last on the final op per transaction per shape",
      elsewhere: [
        `${dir}/Section10.ts › 10.1 txids: JSON integers, the 32-bit xid as in the WAL`,
        `${dir}/Section10.ts › 10.1 last: of each transaction for each shape, the key absent otherwise`,
        `${dir}/Section07.ts › 7.1 operation numbers advance by 2 per row change, those of other tables and rows counted`
      ]
    },
    {
      line: "13 a change of the key is delete and insert; tables without a key are keyed by all columns",
      elsewhere: [
        `${dir}/Section10.ts › 10.4 a change of the key: delete with key_change_to, then insert of the full row with key_change_from, op n and n+1, last on the insert only`,
        `${dir}/Section10.ts › 10.4 also without a primary key`
      ]
    },
    {
      line: "14 replica full: full row and old_value of changed columns; deletes with the full row",
      elsewhere: [
        `${dir}/Section10.ts › 10.3 update, replica=full: the full row, and old_value with the previous values of only the changed columns`,
        `${dir}/Section10.ts › 10.3 delete: the key's columns only, all columns without a primary key; replica=full: the full old row`
      ]
    },
    {
      line: "15 entering and leaving the where clause turns updates into inserts and deletes",
      elsewhere: [
        `${dir}/Section10.ts › 10.3 with where: a row that enters is an insert with the full row`,
        `${dir}/Section10.ts › 10.3 …one that leaves a delete, its value by replica mode`
      ]
    },
    {
      line: "16 rows of transactions that the snapshot shows never come again in the log",
      elsewhere: [
        `${dir}/Section09.ts › 9.2 transactions visible in the snapshot are dropped from the live log, all others are kept`,
        "test/e2e/Snapshot.pg.test.ts › shapes made under concurrent writers miss nothing and have nothing twice"
      ]
    },
    {
      line: "17 changes_only: [snapshot-end]; now: up-to-date at once with has-data: false",
      elsewhere: [
        `${dir}/Section12.ts › 12.1 changes_only: no initial rows`,
        `${dir}/Section12.ts › 12.1 the typical start: log=changes_only&offset=now`
      ]
    },
    {
      line: "18 subsets: metadata strings, decimal database_lsn, REPEATABLE READ, marks on rows",
      elsewhere: [
        `${dir}/Section12.ts › 12.4 xmin, xmax, xip_list: decimal strings; database_lsn a decimal string`,
        "test/engine/Subset.test.ts › is read in a snapshot that sees whatever the stream has brought",
        `${dir}/Section12.ts › 12.4 snapshot_mark: a random integer from 0 to 2^31-1, repeated on each row`
      ]
    },
    {
      line:
        "19 subqueries: tags per disjunct, of one structure; removed_tags even if empty; events with patterns; rows, then snapshot-end",
      elsewhere: [
        `${dir}/Section13.ts › 13.3 one tag per disjunct, always all of them; a slot per position: empty, a hash, or 1`,
        `${dir}/Section13.ts › 13.4 insert: tags and active_conditions; update: removed_tags too, even when []; delete: tags and active_conditions`,
        `${dir}/Section13.ts › 13.5 move-out: one event message, a pattern per position and value`,
        `${dir}/Section13.ts › 13.5 move-in: the event, then the rows with is_move_in, without position, then one snapshot-end`,
        "test/e2e/SubqueryProperty.pg.test.ts › rows by their tags, random transactions and kills, seed "
      ]
    },
    {
      line: "20 TRUNCATE rotates",
      elsewhere: `${dir}/Section10.ts › 10.7 TRUNCATE is never a message: the shape rotates`
    },
    {
      line: "20 relevant DDL rotates, and no other: columns added, dropped, renamed, retyped",
      script: async (world) => {
        const table = await world.table("id int PRIMARY KEY, a text, b text", "(1, 'a', 'b')")
        let id = 10
        for (
          const [ddl, isRelevantToSome] of [
            [`ADD c text`, false],
            [`DROP c`, false],
            [`RENAME b TO d`, false],
            [`ALTER a TYPE varchar USING a::varchar`, true]
          ] as const
        ) {
          const [all, some] = [await world.follow(`table=${table}`), await world.follow(`table=${table}&columns=id,a`)]
          await world.exec(`ALTER TABLE ${table} ${ddl}`)
          await world.exec(`INSERT INTO ${table} (id) VALUES (${++id})`)
          await world.until(`${all.query}&handle=${all.handle}&offset=0_inf&live=true`, ({ status }) => status === 409)
          const reply = await world.until(
            `${some.query}&handle=${some.handle}&offset=0_inf&live=true`,
            (reply) => reply.status === 409 || items(reply).length > 1
          )
          assert.equal(reply.status, isRelevantToSome ? 409 : 200, ddl)
        }
      }
    },
    {
      line: "20 nullability alone changes the schema header",
      elsewhere: `${dir}/Section11.ts › 11.3 the header follows a change of nullability, without rotation`
    },
    {
      line: "21 SSE framing, keep-alive comment, end, up-to-date frame after each batch",
      elsewhere: [
        `${dir}/Section08.ts › 8 each log item is one frame: data: and a compact JSON object, then a blank line; no event:, id:, retry:`,
        `${dir}/Section08.ts › 8 after each batch that reached the end an up-to-date frame with the LSN of the end`,
        "test/http/Sse.test.ts › gets a comment after 21 seconds without output and ends after 60"
      ]
    },
    {
      line: "22 health, `/`, 404 Not found, DELETE 405",
      cases: [
        ["/v1/health", { body: "{\"status\":\"active\"}" }],
        ["/", { body: "" }],
        ["/nowhere", { status: 404, body: "Not found" }],
        ["DELETE table=items", { status: 405, json: { message: "DELETE not allowed" } }]
      ]
    },
    { line: "22 health 202", elsewhere: "test/http/Methods.test.ts › 22: health, root, unknown paths and methods" },
    {
      line: "23 Admission 503 before validation; no shape creation when rejected",
      on: "overloaded",
      script: async (world) => {
        const table = await world.table("id int PRIMARY KEY")
        for (const query of ["offset=-1", "offset=nonsense", "", "offset=0_0&handle=unknown"]) {
          await world.get(
            `table=${table}&${query}`,
            OVERLOADED
          )
        }
        await world.get({ ask: `POST table=${table}&offset=-1`, body: "{" }, {
          ...OVERLOADED,
          headers: { "retry-after": /^([6-9]|10)$/, "cache-control": "no-cache" }
        })
        await world.get(`/v1/health`, { status: 200 })
        assert.deepEqual(await world.query(`SELECT FROM pg_publication_tables WHERE tablename = '${table}'`), [])
      }
    },
    {
      line: "24 secret and api_secret on every alias path of /v1/shape",
      on: "secret",
      cases: ["/v1/shape", "/v1/shape/", "/v1//shape", "/v1/%73hape"].flatMap((path) =>
        [
          [`${path}?table=items&offset=-1`, { status: 401 }],
          [`${path}?table=items&offset=-1&secret=s3same`, { json: [ANY, ANY, ANY, ANY] }],
          [`${path}?table=items&offset=-1&api_secret=s3same`, { status: 200 }]
        ] as const
      )
    },
    {
      line: "24 …not on health and OPTIONS",
      on: "secret",
      cases: [["/v1/health", {}], ["OPTIONS /v1/shape", { status: 204 }]]
    }
  ]
}
