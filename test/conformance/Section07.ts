/** Electric HTTP protocol §7: offsets and the flow of requests. */
import assert from "node:assert/strict"
import {
  ANY,
  DECIMAL,
  header,
  type Item,
  items,
  mustRefetch,
  type Reply,
  type Row,
  row,
  type Section,
  snapshotEnd,
  upToDate,
  type World
} from "./Conformance.ts"
import { ITEMS, itemsSchema, itemsValues, MANY } from "./Tables.ts"

const OUT_OF_BOUNDS = { invalid: { offset: ["out of bounds for this shape"] } }

const positionOf = (item: Item): readonly [bigint, number] => [
  BigInt(String(item.headers.lsn)),
  Number(item.headers.op_position)
]

const parse = (offset: string): readonly [bigint, number] => {
  const [tx, op] = offset.split("_")
  return [BigInt(tx!), op === "inf" ? Infinity : Number(op)]
}

const isAfter = (a: readonly [bigint, number], b: readonly [bigint, number]): boolean =>
  a[0] > b[0] || (a[0] === b[0] && a[1] > b[1])

const changesOf = (reply: Reply): ReadonlyArray<Item> => items(reply).filter((item) => item.key !== undefined)

const lastSeen = (reply: Reply): bigint => BigInt(String(items(reply).at(-1)?.headers.global_last_seen_lsn))

/** Reads from an offset to where it is up to date. */
const readOn = async (world: World, query: string, handle: string, from: string): Promise<ReadonlyArray<Reply>> => {
  const replies: Array<Reply> = []
  let at = from
  while (true) {
    const reply = await world.get(`${query}&handle=${handle}&offset=${at}`, { status: 200 })
    replies.push(reply)
    at = header(reply, "electric-offset")
    if (reply.headers["electric-up-to-date"] !== undefined) return replies
  }
}

/** A request that is held: it has been sent, and the server has answered another since. */
const held = async (world: World, query: string): Promise<{ readonly reply: Promise<Reply> }> => {
  const reply = world.get(query)
  await world.get("/v1/health")
  return { reply }
}

const offsets: ReadonlyArray<Row> = [
  {
    line: "7.1 an offset is the commit's LSN, decimal, and the operation's number in its transaction",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      const [wal] = await world.query("SELECT pg_current_wal_lsn() - '0/0' AS lsn")
      const { items: [item], offset } = await world.news(before)
      assert.equal(offset, `${String(item!.headers.lsn)}_${String(item!.headers.op_position)}`)
      assert.ok(BigInt(String(item!.headers.lsn)) < BigInt(String(wal!.lsn)))
    }
  },
  {
    line: "7.1 ordered by transaction, then operation; inf is above every integer, -1 before everything",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(0)")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1), (2)`)
      const { items: [first] } = await world.news(before)
      const { lsn } = first!.headers
      const read = async (offset: string) =>
        changesOf(await world.get(`table=${table}&handle=${before.handle}&offset=${offset}`)).map(({ value }) =>
          value!.id
        )
      assert.deepEqual(await read("-1"), ["0"])
      for (const offset of ["0_0", "0_inf", "1_5", `${BigInt(String(lsn)) - 1n}_inf`]) {
        assert.deepEqual(
          await read(offset),
          ["1", "2"],
          offset
        )
      }
      assert.deepEqual(await read(`${String(lsn)}_0`), ["2"])
      assert.deepEqual(await read(`${String(lsn)}_1`), ["2"])
      assert.deepEqual(await read(`${String(lsn)}_2`), [])
    }
  },
  {
    line: "7.1 0_0, 0_1, … number the chunks of the snapshot; 0_inf is before the first real entry",
    on: "chunks",
    script: async (world) => {
      const ends: Array<string> = []
      let reply = await world.get("table=many&offset=-1")
      const handle = header(reply, "electric-handle")
      while (reply.headers["electric-up-to-date"] === undefined) {
        ends.push(header(reply, "electric-offset"))
        reply = await world.get(`table=many&handle=${handle}&offset=${ends.at(-1)!}`)
      }
      assert.ok(ends.length > 3)
      assert.deepEqual(ends, ends.map((_, i) => `0_${i}`))
      assert.equal(header(reply, "electric-offset"), "0_inf")
    }
  },
  {
    line: "7.1 operation numbers advance by 2 per row change, those of other tables and rows counted",
    script: async (world) => {
      const [a, b] = [await world.table("id int PRIMARY KEY"), await world.table("id int PRIMARY KEY")]
      await world.follow(`table=${b}`)
      const got = await world.changes(
        `table=${a}&where=id < 100`,
        `INSERT INTO ${a} VALUES (1); INSERT INTO ${b} VALUES (1); INSERT INTO ${a} VALUES (100); INSERT INTO ${a} VALUES (2); INSERT INTO ${a} VALUES (3)`
      )
      assert.deepEqual(got.map(({ headers }) => headers.op_position), [0, 6, 8])
    }
  },
  {
    line: "7.1 a change of the primary key uses n for its delete and n+1 for its insert",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      const got = await world.changes(
        `table=${table}`,
        `INSERT INTO ${table} VALUES (5); UPDATE ${table} SET id = 10 WHERE id = 1; INSERT INTO ${table} VALUES (6)`
      )
      assert.deepEqual(got.map(({ headers }) => headers.op_position), [0, 2, 3, 4])
    }
  },
  {
    line: "7.1 offsets within a shape only grow",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const got = await world.changes(
        `table=${table}`,
        `INSERT INTO ${table} SELECT generate_series(1, 50)`,
        `DELETE FROM ${table}`,
        `INSERT INTO ${table} VALUES (1)`
      )
      const positions = got.map(positionOf)
      assert.ok(positions.every((position, i) => i === 0 || isAfter(position, positions[i - 1]!)))
    }
  },
  {
    line: "7.1 offsets of control and move items of subqueries",
    elsewhere:
      "test/conformance/Section13.ts › 13.5 each takes the next op number after the last stored offset: 12_4, 12_5; 0_inf, 1_0"
  },
  {
    line:
      "7.1 a request offset need not be an entry: everything strictly greater is returned; <lsn>_0 and <lsn>_inf are fine",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      const one = await world.news(before)
      await world.exec(`INSERT INTO ${table} VALUES (2), (3)`)
      await world.news(one)
      const lsn = one.offset.split("_")[0]!
      for (const offset of [`${lsn}_0`, `${lsn}_1`, `${lsn}_7`, `${lsn}_inf`, `${BigInt(lsn) + 1n}_0`]) {
        const reply = await world.get(`table=${table}&handle=${before.handle}&offset=${offset}`)
        assert.deepEqual(changesOf(reply).map(({ value }) => value!.id), ["2", "3"], offset)
      }
    }
  },
  {
    line: "7.1 lsn, global_last_seen_lsn, xmin, xmax, xip_list are plain decimal strings",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const { items: snapshot } = await world.follow(`table=${table}`)
      const { xip_list, xmax, xmin } = snapshot.at(-1)!.headers
      for (const text of [xmin, xmax, ...(xip_list as ReadonlyArray<unknown>)]) assert.match(text as string, DECIMAL)
      const [item] = await world.changes(`table=${table}`, `INSERT INTO ${table} VALUES (1)`)
      assert.match(item!.headers.lsn as string, DECIMAL)
      await world.get(`table=${table}&offset=now`, { json: [upToDate] })
    }
  }
]

const first: ReadonlyArray<Row> = [
  {
    line: "7.2 1: offset=-1 finds or creates the shape: chunk 0, electric-offset 0_0, schema, handle",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      const one = await world.get(`table=${table}&offset=-1`, {
        json: [row(table, { id: "1" }), snapshotEnd],
        headers: { "electric-offset": "0_0", "electric-schema": /./ }
      })
      const two = await world.get(`table=${table}&offset=-1&handle=${header(one, "electric-handle")}`)
      assert.equal(header(two, "electric-handle"), header(one, "electric-handle"))
    }
  },
  {
    line: "7.2 1: a handle that is sent is ignored",
    ask: "table=items&offset=-1&handle=other",
    is: { headers: { "electric-offset": "0_0" } }
  },
  {
    line: "7.2 1: never up to date, even if the shape is empty or fits in one chunk",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      await world.get(`table=${table}&offset=-1`, {
        json: [snapshotEnd],
        headers: { "electric-up-to-date": null, "electric-offset": "0_0" }
      })
    }
  },
  {
    line: "7.2 2: offset=0_n, n a chunk: the next chunk, electric-offset 0_(n+1)",
    on: "chunks",
    script: async (world) => {
      const handle = header(await world.get("table=many&offset=-1"), "electric-handle")
      const reply = await world.get(`table=many&handle=${handle}&offset=0_1`, {
        headers: { "electric-offset": "0_2", "electric-up-to-date": null }
      })
      assert.ok(items(reply).every(({ headers }) => headers.operation === "insert"))
    }
  },
  {
    line: "7.2 2: of the last chunk: the live log from its beginning",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (2)`)
      const { offset } = await world.news(before)
      await world.get(`table=${table}&handle=${before.handle}&offset=0_0`, {
        json: [ANY, upToDate],
        headers: { "electric-offset": offset, "electric-up-to-date": "" }
      })
    }
  },
  {
    line: "7.2 2: while the snapshot is being written the request waits, and its first chunk is served as it comes",
    elsewhere:
      "test/e2e/Snapshot.pg.test.ts › the first rows are served while the snapshot is taken; what can't be read is refused, and tried anew"
  },
  {
    line: "7.2 3: the snapshot's last item is snapshot-end",
    ask: "table=items&offset=-1",
    is: { json: [...itemsValues.map((value) => row("items", value)), snapshotEnd] }
  },
  {
    line: "7.2 3: if the last row closed a chunk, snapshot-end sits alone in the next",
    elsewhere:
      "test/domain/SnapshotEncoder.test.ts › a chunk closes with the item that reaches its size exactly, and the end then stands alone in the next"
  },
  {
    line: "7.2 4: first live-log response of a quiet shape: [up-to-date], 0_inf, the header",
    ask: "table=items&offset=0_0&handle=@",
    is: { json: [upToDate], headers: { "electric-offset": "0_inf", "electric-up-to-date": "" } }
  },
  {
    line: "7.2 4: with changes: [change…, up-to-date], electric-offset of the last entry",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1), (2)`)
      const { items: [, last], offset } = await world.news(before)
      assert.equal(offset, positionOf(last!).join("_"))
    }
  },
  {
    line: "7.2 without a live entry the latest offset is always 0_inf, never 0_n",
    cases: [["table=items&offset=0_inf&handle=@", { headers: { "electric-offset": "0_inf" } }], [
      "table=items&offset=now",
      { headers: { "electric-offset": "0_inf" } }
    ]]
  },
  {
    line: "7.2 …also after a restart",
    on: "restarted",
    script: async (world) => {
      const { handle } = await world.follow("table=items")
      assert.equal(await world.server.stop(), 0)
      await world.server.start()
      for (const offset of ["0_0", "0_inf"]) {
        await world.get(`table=items&handle=${handle}&offset=${offset}`, {
          headers: { "electric-offset": "0_inf" },
          json: [upToDate]
        })
      }
    }
  }
]

const chunks: ReadonlyArray<Row> = [
  {
    line:
      "7.3 a chunk closes right after the item that makes its bytes reach the threshold: snapshot lines with their newline",
    on: "chunks",
    script: async (world) => {
      let reply = await world.get("table=many&offset=-1")
      const handle = header(reply, "electric-handle")
      while (items(reply).at(-1)!.headers.control === undefined) {
        // The array's own brackets and commas are not the items'.
        const sizes = items(reply).map((item) => Buffer.byteLength(JSON.stringify(item)) + 1)
        const total = sizes.reduce((sum, size) => sum + size, 0)
        assert.ok(total >= 1000 && total - sizes.at(-1)! < 1000, `${total} ${sizes.join()}`)
        reply = await world.get(`table=many&handle=${handle}&offset=${header(reply, "electric-offset")}`)
      }
    }
  },
  {
    line: "7.3 the live log counts the JSON bytes of each item, and chunks ignore transaction boundaries",
    on: "chunks",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, title text")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} SELECT i, repeat('z', 90) FROM generate_series(1, 30) i`)
      const last = await world.news(before)
      const replies = await readOn(world, `table=${table}`, before.handle, "0_inf")
      assert.ok(replies.length > 3)
      for (const reply of replies.slice(0, -1)) {
        const sizes = items(reply).map((item) => Buffer.byteLength(JSON.stringify(item)))
        const total = sizes.reduce((sum, size) => sum + size, 0)
        assert.ok(total >= 1000 && total - sizes.at(-1)! < 1000, `${total} ${sizes.join()}`)
      }
      assert.deepEqual(replies.flatMap(changesOf), last.items)
    }
  },
  {
    line:
      "7.3 a request at X gets (X, E], E the end of the chunk that X falls into, else the latest; the same X always the same E",
    on: "chunks",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, title text")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} SELECT i, repeat('z', 90) FROM generate_series(1, 30) i`)
      await world.news(before)
      const query = `table=${table}&handle=${before.handle}`
      const [whole] = await readOn(world, `table=${table}`, before.handle, "0_inf")
      const end = header(whole!, "electric-offset")
      for (const item of changesOf(whole!).slice(0, -1)) {
        const reply = await world.get(`${query}&offset=${positionOf(item).join("_")}`, {
          headers: { "electric-offset": end }
        })
        assert.deepEqual(
          changesOf(reply),
          changesOf(whole!).filter((each) => isAfter(positionOf(each), positionOf(item)))
        )
      }
      await world.exec(`DELETE FROM ${table}`)
      await world.until(`${query}&offset=0_inf`, (reply) => header(reply, "electric-offset") === end)
      await world.get(`${query}&offset=0_inf`, { body: whole!.body, headers: { etag: header(whole!, "etag") } })
    }
  },
  {
    line: "7.3 up-to-date header and message iff E is the latest offset and X is not -1",
    on: "chunks",
    script: async (world) => {
      const { handle } = await world.follow("table=many")
      const replies = await readOn(world, "table=many", handle, "0_0")
      assert.ok(replies.slice(0, -1).every((reply) => reply.headers["electric-up-to-date"] === undefined))
      assert.equal(header(replies.at(-1)!, "electric-up-to-date"), "")
    }
  },
  {
    line: "7.3 global_last_seen_lsn, non-live: of the last transaction processed of any table",
    script: async (world) => {
      const [a, b] = [await world.table("id int PRIMARY KEY"), await world.table("id int PRIMARY KEY")]
      const { handle } = await world.follow(`table=${a}`)
      const [change] = await world.changes(`table=${b}`, `INSERT INTO ${b} VALUES (1)`)
      const reply = await world.get(`table=${a}&handle=${handle}&offset=0_inf`, {
        headers: { "electric-offset": "0_inf" }
      })
      assert.ok(lastSeen(reply) >= positionOf(change!)[0])
    }
  },
  {
    line: "7.3 global_last_seen_lsn of a live response with data: the LSN of its end",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const { handle } = await world.follow(`table=${table}`)
      const { reply } = await held(world, `table=${table}&handle=${handle}&offset=0_inf&live=true`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      assert.equal(lastSeen(await reply), parse(header(await reply, "electric-offset"))[0])
    }
  },
  {
    line: "7.3 global_last_seen_lsn of a live timeout and of now: server-wide",
    script: async (world) => {
      const [a, b] = [await world.table("id int PRIMARY KEY"), await world.table("id int PRIMARY KEY")]
      const { handle } = await world.follow(`table=${a}`)
      const [change] = await world.changes(`table=${b}`, `INSERT INTO ${b} VALUES (1)`)
      for (const query of [`handle=${handle}&offset=0_inf&live=true`, "offset=now"]) {
        const reply = await world.get(`table=${a}&${query}`, { headers: { "electric-has-data": "false" } })
        assert.ok(lastSeen(reply) >= positionOf(change!)[0], query)
      }
    }
  },
  {
    line: "7.3 idle keepalives do not move it",
    untested: "nothing tells over HTTP that a keepalive has come"
  },
  {
    line: "7.3 up-to-date never precedes a half-applied transaction's remainder that the server has",
    elsewhere: [
      "test/engine/Simulated.test.ts › every reader gets the log, whatever happens to the engine",
      "test/e2e/Large.pg.test.ts › a large transaction, the server killed and stopped while it arrives"
    ]
  }
]

const live: ReadonlyArray<Row> = [
  {
    line: "7.4 entries after X: an immediate 200, with up-to-date when E is the end",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      await world.news(before)
      const reply = await world.get(`table=${table}&handle=${before.handle}&offset=0_inf&live=true`, {
        json: [ANY, upToDate],
        headers: { "electric-has-data": "true" }
      })
      assert.ok(reply.millis < 1500)
    }
  },
  {
    line: "7.4 …and without it when E is the end of a chunk",
    on: "chunks",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, title text")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} SELECT i, repeat('z', 90) FROM generate_series(1, 30) i`)
      await world.news(before)
      await world.get(`table=${table}&handle=${before.handle}&offset=0_inf&live=true`, {
        headers: { "electric-up-to-date": null, "electric-cursor": DECIMAL }
      })
    }
  },
  {
    line: "7.4 otherwise it is held until the shape gets entries",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const { handle } = await world.follow(`table=${table}`)
      const { reply } = await held(world, `table=${table}&handle=${handle}&offset=0_inf&live=true`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      assert.deepEqual(changesOf(await reply).map(({ value }) => value), [{ id: "1" }])
    }
  },
  {
    line: "7.4 …or rotates",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const { handle } = await world.follow(`table=${table}`)
      const { reply } = await held(world, `table=${table}&handle=${handle}&offset=0_inf&live=true`)
      await world.exec(`TRUNCATE ${table}`)
      assert.equal((await reply).status, 409)
    }
  },
  {
    line:
      "7.4 …or the time is over: 200, [up-to-date], the offset unchanged, has-data: false, an ETag with a suffix, never 204",
    script: async (world) => {
      const reply = await world.get("table=items&offset=0_inf&handle=@&live=true", {
        json: [upToDate],
        headers: {
          "electric-offset": "0_inf",
          "electric-has-data": "false",
          "electric-up-to-date": "",
          etag: /:0_inf:0_inf:-?\d+"$/
        }
      })
      assert.ok(reply.millis > 1500 && reply.millis < 15_000, String(reply.millis))
    }
  },
  {
    line: "7.4 …after 20 s by default",
    elsewhere:
      "test/http/Live.test.ts › are answered without news when the long poll is over, with an ETag that never matches"
  },
  {
    line: "7.4 if the stack is not healthy then: 503, retry-after 10",
    elsewhere: "test/http/Live.test.ts › that time out while the engine is down are told to come back"
  },
  {
    line: "7.4 new data is not exposed in the middle of a transaction",
    elsewhere: "test/engine/Simulated.test.ts › every reader gets the log, whatever happens to the engine"
  },
  {
    line: "7.4 cursor: seconds since 2024-10-09, rounded up to the next multiple of the timeout",
    script: async (world) => {
      const reply = await world.get("table=items&offset=0_inf&handle=@&live=true")
      const cursor = Number(header(reply, "electric-cursor"))
      const seconds = Date.now() / 1000 - 1_728_432_000
      assert.equal(cursor % 2, 0)
      assert.ok(cursor > seconds - 15 && cursor < seconds + 3, `${cursor} ${seconds}`)
    }
  },
  {
    line: "7.4 cursor: if the request's is as great, that plus 1 to 3600; successive cursors grow",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      await world.news(before)
      let cursor = 900_000_000
      for (let i = 0; i < 20; i++) {
        const reply = await world.get(`table=${table}&handle=${before.handle}&offset=0_inf&live=true&cursor=${cursor}`)
        const next = Number(header(reply, "electric-cursor"))
        assert.ok(next > cursor && next <= cursor + 3600, `${cursor} ${next}`)
        cursor = next
      }
    }
  },
  {
    line: "7.4 cursor: a param that is no plain integer counts as 0",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      await world.news(before)
      for (const cursor of ["", "abc", "1e99", "9999999999.5"]) {
        const reply = await world.get(`table=${table}&handle=${before.handle}&offset=0_inf&live=true&cursor=${cursor}`)
        assert.ok(Number(header(reply, "electric-cursor")) < 900_000_000, cursor)
      }
    }
  },
  {
    line: "7.4 cursor: 0 when the timeout is below a second",
    on: "short",
    ask: "table=items&offset=0_inf&handle=@&live=true&cursor=7",
    is: { headers: { "electric-cursor": "0" } }
  }
]

const conflicts: ReadonlyArray<Row> = [
  {
    line: "7.5 the body is exactly the must-refetch array; no Location, never 307",
    ask: [
      "table=items&offset=0_0&handle=x",
      "table=items&offset=0_inf&handle=x&live=true",
      "POST table=items&offset=0_0&handle=x"
    ],
    is: {
      status: 409,
      body: mustRefetch,
      headers: { location: null, "content-type": "application/json; charset=utf-8" }
    }
  },
  {
    line: "7.5 handle unknown: the handle of the shape that matches, created on the spot if absent",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const reply = await world.get(`table=${table}&offset=0_0&handle=unknown`, { status: 409 })
      const handle = header(reply, "electric-handle")
      await world.get(`table=${table}&offset=-1`, { headers: { "electric-handle": handle } })
    }
  },
  {
    line: "7.5 handle of another definition: the handle of the one that matches",
    script: async (world) => {
      const [one, two] = [await world.follow("table=items&where=id=1"), await world.follow("table=items&where=id=2")]
      await world.get(`table=items&where=id=1&offset=0_inf&handle=${two.handle}`, {
        status: 409,
        headers: { "electric-handle": one.handle }
      })
    }
  },
  {
    line: "7.5 rotation while a live request is held: the replacement's handle if known, usually absent",
    differs: "it is always named: clients go on with it instead of asking past caches",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      const { handle } = await world.follow(`table=${table}`)
      const { reply } = await held(world, `table=${table}&handle=${handle}&offset=0_inf&live=true`)
      await world.exec(`TRUNCATE ${table}`)
      const conflict = await reply
      assert.equal(conflict.status, 409)
      assert.equal(conflict.body, mustRefetch)
      assert.notEqual(header(conflict, "electric-handle"), handle)
      await world.get(`table=${table}&offset=-1`, {
        json: [snapshotEnd],
        headers: { "electric-handle": header(conflict, "electric-handle") }
      })
    }
  },
  {
    line: "7.5 …also when the table is re-created",
    elsewhere: [
      "test/engine/Reconcile.test.ts › a table that is dropped, made anew, renamed or altered without a write ends its shapes within a minute",
      "test/e2e/Tables.pg.test.ts › a table that is altered, dropped, recreated"
    ]
  },
  {
    line: "7.5 shape vanished between lookup and read; snapshot failed with schema_changed: without handle",
    elsewhere:
      "test/http/Conformance.test.ts › 9: a shape that vanished, or whose table did, is a conflict with the handle of its successor"
  },
  {
    line: "7.5 table dropped, a new shape of it requested: 409 while its schema is cached",
    differs: "the catalog is asked: it does not exist",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      await world.follow(`table=${table}`)
      await world.exec(`DROP TABLE ${table}`)
      const reply = await world.until(
        `table=${table}&where=id=1&offset=-1`,
        ({ status }) => status === 400 || status === 409
      )
      assert.match(reply.body, /does not exist|must-refetch/)
    }
  }
]

const beyond: ReadonlyArray<Row> = [
  {
    line: "7.6 an offset greater than the latest is held for half the long-poll time, then 400 out of bounds",
    script: async (world) => {
      for (const flags of ["", "&live=true"]) {
        const reply = await world.get(`table=items&offset=99999999999_0&handle=@${flags}`, OUT_OF_BOUNDS)
        assert.ok(reply.millis > 800 && reply.millis < 1900, String(reply.millis))
      }
    }
  },
  {
    line: "7.6 data arrives that reaches it: served normally, live and not",
    script: async (world) => {
      for (const flags of ["", "&live=true"]) {
        const table = await world.table("id int PRIMARY KEY")
        const before = await world.follow(`table=${table}`)
        await world.exec(`INSERT INTO ${table} VALUES (1)`)
        const { offset } = await world.news(before)
        const ahead = `${parse(offset)[0] + 1n}_0`
        const { reply } = await held(world, `table=${table}&handle=${before.handle}&offset=${ahead}${flags}`)
        await world.exec(`INSERT INTO ${table} VALUES (2)`)
        assert.deepEqual(changesOf(await reply).map(({ value }) => value!.id), ["2"])
      }
    }
  },
  {
    line: "7.6 with SSE the stream just ends",
    script: async (world) => {
      const { handle } = await world.follow("table=items")
      const events = await world.events(`table=items&offset=99999999999_0&handle=${handle}&live=true&live_sse=true`)
      await events.until(() => events.isOver(), "the end")
      assert.equal(events.status, 200)
      assert.ok(!events.text().includes("data:"))
    }
  },
  {
    line: "7.6 <global_last_seen_lsn>_0 of an SSE frame is accepted, and the rest of that transaction is sent again",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1), (2), (3)`)
      const { offset } = await world.news(before)
      const reply = await world.get(`table=${table}&handle=${before.handle}&offset=${parse(offset)[0]}_0&live=true`, {
        headers: { "electric-offset": offset }
      })
      assert.deepEqual(changesOf(reply).map(({ value }) => value!.id), ["2", "3"])
    }
  }
]

const now: ReadonlyArray<Row> = [
  {
    line:
      "7.7 now: at once [up-to-date], electric-offset the latest (0_inf of a new shape), the header, has-data: false, schema, handle",
    ask: "table=items&offset=now",
    is: {
      json: [upToDate],
      headers: {
        "electric-offset": "0_inf",
        "electric-up-to-date": "",
        "electric-has-data": "false",
        "electric-schema": itemsSchema,
        "electric-handle": /-/
      }
    }
  },
  {
    line: "7.7 …of one with entries, the last one's",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      const { offset } = await world.news(before)
      await world.get(`table=${table}&offset=now`, { json: [upToDate], headers: { "electric-offset": offset } })
    }
  },
  {
    line: "7.7 creates the shape if needed; a handle is ignored",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      const handle = header(await world.get(`table=${table}&offset=now&handle=other`), "electric-handle")
      await world.get(`table=${table}&offset=-1`, {
        json: [row(table, { id: "1" }), snapshotEnd],
        headers: { "electric-handle": handle }
      })
    }
  },
  {
    line: "7.7 cacheable like any non-live response; not combinable with live",
    cases: [
      ["table=items&offset=now", { headers: { "cache-control": "public, max-age=60, stale-while-revalidate=300" } }],
      ["table=items&offset=now&live=true", { invalid: { live: ["can't be true when offset is 'now'"] } }]
    ]
  },
  {
    line: "7.8 offset=E, non-live, nothing newer: at once [up-to-date], E, has-data: true",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY")
      const before = await world.follow(`table=${table}`)
      await world.exec(`INSERT INTO ${table} VALUES (1)`)
      const { offset } = await world.news(before)
      await world.get(`table=${table}&handle=${before.handle}&offset=${offset}`, {
        json: [upToDate],
        headers: { "electric-offset": offset, "electric-has-data": "true" }
      })
    }
  }
]

export const section: Section = {
  title: "7 Offsets and request flows",
  setup: ITEMS + MANY,
  servers: {
    main: {},
    chunks: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "1000" },
    restarted: {},
    short: { SHAPELOG_LONG_POLL_TIMEOUT: "300ms" }
  },
  rows: [...offsets, ...first, ...chunks, ...live, ...conflicts, ...beyond, ...now]
}
