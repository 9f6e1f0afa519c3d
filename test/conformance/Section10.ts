/** Electric HTTP protocol §10: messages. */
import assert from "node:assert/strict"
import {
  ANY,
  change,
  key,
  mustRefetch,
  type Row,
  row,
  same,
  type Section,
  snapshotEnd,
  upToDate
} from "./Conformance.ts"
import { ITEMS, itemsValues } from "./Tables.ts"

const COLUMNS = "id int PRIMARY KEY, a text, b text"

const messages: ReadonlyArray<Row> = [
  {
    line: "10 a body is a JSON array of changes, controls and events",
    ask: ["table=items&offset=-1", "table=items&offset=0_0&handle=@", "table=items&offset=now"],
    is: { body: /^\[[^]*\]$/ }
  },
  {
    line: "10.1 a snapshot row: key, value, operation, relation",
    ask: "table=items&offset=-1",
    is: { json: [...itemsValues.map((value) => row("items", value)), snapshotEnd] }
  },
  {
    line:
      "10.1 live rows: operation, relation, lsn, op_position, txids; last on the last operation of the transaction for this shape",
    script: async (world) => {
      const table = await world.table(COLUMNS)
      const got = await world.changes(
        `table=${table}`,
        `INSERT INTO ${table} VALUES (1, 'a', 'b'), (2, 'c', NULL); UPDATE ${table} SET a = 'z' WHERE id = 1; DELETE FROM ${table} WHERE id = 2`
      )
      same(got, [
        { key: key(table, "1"), value: { id: "1", a: "a", b: "b" }, headers: change(table, "insert", 0, {}) },
        { key: key(table, "2"), value: { id: "2", a: "c", b: null }, headers: change(table, "insert", 2, {}) },
        { key: key(table, "1"), value: { id: "1", a: "z" }, headers: change(table, "update", 4, {}) },
        { key: key(table, "2"), value: { id: "2" }, headers: change(table, "delete", 6, { last: true }) }
      ])
    }
  },
  {
    line: "10.1 relation is the shape's root table, with its schema",
    script: async (world) => {
      const got = await world.changes("table=other.things", "INSERT INTO other.things VALUES (10)")
      assert.deepEqual(got[0]!.headers.relation, ["other", "things"])
    }
  },
  {
    line: "10.1 lsn is a decimal string, op_position an integer",
    script: async (world) => {
      const table = await world.table(COLUMNS)
      const [item] = await world.changes(`table=${table}`, `INSERT INTO ${table} VALUES (1)`)
      assert.match(item!.headers.lsn as string, /^\d+$/)
      assert.equal(item!.headers.op_position, 0)
    }
  },
  {
    line: "10.1 txids: JSON integers, the 32-bit xid as in the WAL",
    script: async (world) => {
      const table = await world.table(COLUMNS)
      const before = await world.follow(`table=${table}`)
      const [written] = await world.query(`INSERT INTO ${table} VALUES (1) RETURNING xmin::text AS xid`)
      assert.deepEqual((await world.news(before)).items[0]!.headers.txids, [Number(written!.xid)])
    }
  },
  {
    line: "10.1 last: of each transaction for each shape, the key absent otherwise",
    script: async (world) => {
      const table = await world.table(COLUMNS)
      const before = await world.follow(`table=${table}&where=id < 10`)
      await world.exec(`INSERT INTO ${table} VALUES (1), (2), (100)`)
      const one = await world.news(before)
      assert.deepEqual(one.items.map(({ headers }) => ["last" in headers, headers.last]), [[false, undefined], [
        true,
        true
      ]])
      await world.exec(`INSERT INTO ${table} VALUES (3)`)
      assert.equal((await world.news(one)).items[0]!.headers.last, true)
    }
  },
  {
    line: "10.1 snapshot_mark: on the rows of subset responses",
    elsewhere:
      "test/conformance/Section12.ts › 12.4 snapshot_mark: a random integer from 0 to 2^31-1, repeated on each row"
  },
  {
    line: "10.1 tags, removed_tags, active_conditions, is_move_in",
    elsewhere: [
      "test/conformance/Section13.ts › 13.4 insert: tags and active_conditions; update: removed_tags too, even when []; delete: tags and active_conditions",
      "test/conformance/Section13.ts › 13.5 move-in: the event, then the rows with is_move_in, without position, then one snapshot-end"
    ]
  }
]

const keys: ReadonlyArray<Row> = [
  {
    line: "10.2 \"schema\".\"table\", then /\"value\" for each column of the primary key in index order",
    script: async (world) => {
      const table = await world.table("a text, b text, c int, PRIMARY KEY (b, a)", "('x', 'y', 1)")
      const { items } = await world.follow(`table=${table}`)
      assert.equal(items[0]!.key, `"public"."${table}"/"y"/"x"`)
      const [item] = await world.changes(`table=${table}`, `INSERT INTO ${table} VALUES ('1', '2', 3)`)
      assert.equal(item!.key, `"public"."${table}"/"2"/"1"`)
    }
  },
  {
    line: "10.2 / in values becomes //, quotes in values are not escaped",
    script: async (world) => {
      const table = await world.table("id text PRIMARY KEY", "('test/test'), ('a\"b')")
      const { items } = await world.follow(`table=${table}`)
      assert.deepEqual(items.slice(0, 2).map((item) => item.key), [
        `"public"."${table}"/"test//test"`,
        `"public"."${table}"/"a"b"`
      ])
      const got = await world.changes(`table=${table}`, `INSERT INTO ${table} VALUES ('/x/'), ('"')`)
      assert.deepEqual(got.map((item) => item.key), [`"public"."${table}"/"//x//"`, `"public"."${table}"/"""`])
    }
  },
  {
    line: "10.2 NULL becomes _ without quotes, the empty string \"\"",
    script: async (world) => {
      const table = await world.table("a text, b text, c text", "('1', NULL, '2'), ('', '', NULL)")
      const { items } = await world.follow(`table=${table}`)
      assert.deepEqual(items.slice(0, 2).map((item) => item.key), [
        `"public"."${table}"/"1"/_/"2"`,
        `"public"."${table}"/""/""/_`
      ])
      const [item] = await world.changes(`table=${table}`, `INSERT INTO ${table} VALUES (NULL, '', 'x')`)
      assert.equal(item!.key, `"public"."${table}"/_/""/"x"`)
    }
  },
  {
    line: "10.2 without primary key all columns, in table order, whatever `columns` says",
    script: async (world) => {
      const table = await world.table("a int, b int", "(1, 2)")
      const { items } = await world.follow(`table=${table}&columns=b,a`)
      assert.equal(items[0]!.key, key(table, "1", "2"))
      await world.get(`table=${table}&columns=b&offset=-1`, {
        invalid: { columns: ["The list of columns must include all primary key columns, missing: a"] }
      })
    }
  },
  {
    line: "10.2 schema and table are escaped differently by snapshot and log",
    differs: "one form (§20)",
    script: async (world) => {
      const { items: [snapshot] } = await world.follow("table=\"od.d/\"\"t\"\"\"")
      const [live] = await world.changes("table=\"od.d/\"\"t\"\"\"", "UPDATE \"od.d/\"\"t\"\"\" SET n = n + 1")
      assert.equal(live!.key, snapshot!.key)
    }
  },
  {
    line: "10.2 a boolean key is \"true\" in the snapshot and \"t\" in the log",
    differs: "one form (§20)",
    script: async (world) => {
      const table = await world.table("flag bool PRIMARY KEY, n int", "(true, 1)")
      const { items } = await world.follow(`table=${table}`)
      assert.equal(items[0]!.key, `"public"."${table}"/"t"`)
      const [live] = await world.changes(`table=${table}`, `UPDATE ${table} SET n = 2`)
      assert.equal(live!.key, `"public"."${table}"/"t"`)
    }
  }
]

const values: ReadonlyArray<Row> = [
  {
    line: "10.3 insert: all selected columns",
    script: async (world) => {
      const table = await world.table(COLUMNS)
      const sql = (id: number) => `INSERT INTO ${table} VALUES (${id}, 'a', 'b')`
      const value = async (query: string, id: number) =>
        (await world.changes(`table=${table}${query}`, sql(id)))[0]!.value
      assert.deepEqual(await value("", 1), { id: "1", a: "a", b: "b" })
      assert.deepEqual(await value("&replica=full", 2), { id: "2", a: "a", b: "b" })
      assert.deepEqual(await value("&columns=id,b", 3), { id: "3", b: "b" })
    }
  },
  {
    line: "10.3 update, replica=default: the key's columns and the changed selected ones",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'b')")
      const [item] = await world.changes(`table=${table}`, `UPDATE ${table} SET b = 'z'`)
      same(item, { key: key(table, "1"), value: { id: "1", b: "z" }, headers: change(table, "update", 0) })
    }
  },
  {
    line: "10.3 update, replica=full: the full row, and old_value with the previous values of only the changed columns",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', NULL)")
      const [item] = await world.changes(`table=${table}&replica=full`, `UPDATE ${table} SET b = 'z'`)
      same(item, {
        key: key(table, "1"),
        value: { id: "1", a: "a", b: "z" },
        old_value: { b: null },
        headers: change(table, "update", 0)
      })
    }
  },
  {
    line: "10.3 delete: the key's columns only, all columns without a primary key; replica=full: the full old row",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'b'), (2, 'c', 'd')")
      assert.deepEqual((await world.changes(`table=${table}`, `DELETE FROM ${table} WHERE id = 1`))[0]!.value, {
        id: "1"
      })
      assert.deepEqual(
        (await world.changes(`table=${table}&replica=full`, `DELETE FROM ${table} WHERE id = 2`))[0]!.value,
        { id: "2", a: "c", b: "d" }
      )
      const keyless = await world.table("a int, b int", "(1, 2)")
      assert.deepEqual((await world.changes(`table=${keyless}`, `DELETE FROM ${keyless}`))[0]!.value, {
        a: "1",
        b: "2"
      })
    }
  },
  {
    line: "10.3 an update whose changed columns are all outside the projection, or that changes nothing, is not sent",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'b')")
      const got = await world.changes(
        `table=${table}&columns=id,a`,
        `UPDATE ${table} SET b = 'z'; UPDATE ${table} SET a = a; UPDATE ${table} SET a = 'y'`
      )
      assert.deepEqual(got.map(({ value }) => value), [{ id: "1", a: "y" }])
      assert.equal(got[0]!.headers.op_position, 4)
    }
  },
  {
    line: "10.3 …of shapes with subqueries it is sent, with the key's columns",
    elsewhere:
      "test/conformance/Section13.ts › 13.4 an update is sent even if no selected column changed, with the key's columns"
  },
  {
    line: "10.3 with where: a row that enters is an insert with the full row",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'out')")
      const [item] = await world.changes(`table=${table}&where=b = 'in'`, `UPDATE ${table} SET b = 'in'`)
      same(item, { key: key(table, "1"), value: { id: "1", a: "a", b: "in" }, headers: change(table, "insert", 0) })
    }
  },
  {
    line: "10.3 …one that leaves a delete, its value by replica mode",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'in'), (2, 'c', 'in')")
      const [plain] = await world.changes(`table=${table}&where=b = 'in'`, `UPDATE ${table} SET b = 'out' WHERE id = 1`)
      same(plain, { key: key(table, "1"), value: { id: "1" }, headers: change(table, "delete", 0) })
      const [full] = await world.changes(
        `table=${table}&where=b = 'in'&replica=full`,
        `UPDATE ${table} SET b = 'out' WHERE id = 2`
      )
      same(full, { key: key(table, "2"), value: { id: "2", a: "c", b: "in" }, headers: change(table, "delete", 0) })
    }
  },
  {
    line: "10.3 …one that stays an update",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'in')")
      const [item] = await world.changes(`table=${table}&where=b = 'in'`, `UPDATE ${table} SET a = 'z'`)
      same(item, { key: key(table, "1"), value: { id: "1", a: "z" }, headers: change(table, "update", 0) })
    }
  },
  {
    line: "10.3 …filter columns need not be selected",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'out')")
      const got = await world.changes(
        `table=${table}&columns=id,a&where=b = 'in'`,
        `UPDATE ${table} SET b = 'in'`,
        `UPDATE ${table} SET b = 'out'`
      )
      assert.deepEqual(got.map(({ headers, value }) => [headers.operation, value]), [["insert", { id: "1", a: "a" }], [
        "delete",
        { id: "1" }
      ]])
    }
  },
  {
    line: "10.3 TOASTed values that an update does not touch are restored from the old row",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, big text, n int")
      await world.exec(
        `ALTER TABLE ${table} ALTER big SET STORAGE EXTERNAL; INSERT INTO ${table} VALUES (1, repeat('x', 10000), 0)`
      )
      const [plain] = await world.changes(`table=${table}`, `UPDATE ${table} SET n = 1`)
      assert.deepEqual(plain!.value, { id: "1", n: "1" })
      const [full] = await world.changes(`table=${table}&replica=full`, `UPDATE ${table} SET n = 2`)
      assert.deepEqual(full!.value, { id: "1", big: "x".repeat(10_000), n: "2" })
      assert.deepEqual(full!.old_value, { n: "1" })
    }
  }
]

const others: ReadonlyArray<Row> = [
  {
    line:
      "10.4 a change of the key: delete with key_change_to, then insert of the full row with key_change_from, op n and n+1, last on the insert only",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'b')")
      same(await world.changes(`table=${table}`, `UPDATE ${table} SET id = 2`), [
        {
          key: key(table, "1"),
          value: { id: "1" },
          headers: change(table, "delete", 0, { key_change_to: key(table, "2") })
        },
        {
          key: key(table, "2"),
          value: { id: "2", a: "a", b: "b" },
          headers: change(table, "insert", 1, { key_change_from: key(table, "1"), last: true })
        }
      ])
    }
  },
  {
    line: "10.4 also without a primary key",
    script: async (world) => {
      const table = await world.table("a int, b int", "(1, 2)")
      same(await world.changes(`table=${table}`, `UPDATE ${table} SET b = 3`), [
        {
          key: key(table, "1", "2"),
          value: { a: "1", b: "2" },
          headers: change(table, "delete", 0, { key_change_to: key(table, "1", "3") })
        },
        {
          key: key(table, "1", "3"),
          value: { a: "1", b: "3" },
          headers: change(table, "insert", 1, { key_change_from: key(table, "1", "2"), last: true })
        }
      ])
    }
  },
  {
    line: "10.4 with tags, those of the delete are the new ones and the removed ones",
    script: async (world) => {
      const inner = await world.table("id int PRIMARY KEY", "(1), (2)")
      const table = await world.table("id int PRIMARY KEY, a int", "(1, 1)")
      const [first, second] = await world.changes(
        `table=${table}&where=a IN (SELECT id FROM ${inner})`,
        `UPDATE ${table} SET id = 2, a = 2`
      )
      const [tag] = second!.headers.tags as ReadonlyArray<string>
      same(first!.headers.tags, [tag, /^[0-9a-f]{32}$/])
      assert.deepEqual(second!.headers.tags, [tag])
    }
  },
  {
    line: "10.4 if only one side is in the shape: a plain insert or delete, without key_change headers",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'b'), (11, 'c', 'd')")
      const got = await world.changes(
        `table=${table}&where=id < 10`,
        `UPDATE ${table} SET id = 12 WHERE id = 1`,
        `UPDATE ${table} SET id = 2 WHERE id = 11`
      )
      same(got.map(({ headers, ...rest }) => ({ ...rest, headers: { ...headers, op_position: 0 } })), [
        { key: key(table, "1"), value: { id: "1" }, headers: change(table, "delete", 0) },
        { key: key(table, "2"), value: { id: "2", a: "c", b: "d" }, headers: change(table, "insert", 0) }
      ])
    }
  },
  { line: "10.5 up-to-date", ask: "table=items&offset=0_inf&handle=@", is: { json: [upToDate] } },
  { line: "10.5 must-refetch", ask: "table=items&offset=0_inf&handle=x", is: { status: 409, body: mustRefetch } },
  {
    line: "10.5 snapshot-end: 64-bit xids as strings, at the end of every initial snapshot",
    ask: ["table=items&offset=-1", "table=items&where=false&offset=-1", "table=items&log=changes_only&offset=-1"],
    is: { body: /\{"headers":\{"control":"snapshot-end","xmin":"\d+","xmax":"\d+","xip_list":\[\]\}\}\]$/ }
  },
  {
    line: "10.5 …xip_list an array of strings",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      const other = await world.table("id int PRIMARY KEY")
      // The table is published and the slot is ahead before the other transaction begins.
      await world.follow(`table=${table}`)
      const session = await world.session()
      await session.exec(`BEGIN; INSERT INTO ${other} VALUES (1)`)
      const [open] = await session.query("SELECT pg_current_xact_id()::text AS xid")
      await world.exec(`INSERT INTO ${other} VALUES (2)`)
      const { items } = await world.follow(`table=${table}&where=id > 0`)
      await session.close()
      same(items.at(-1), { headers: { control: "snapshot-end", xmin: ANY, xmax: ANY, xip_list: [open!.xid] } })
    }
  },
  {
    line: "10.6 move-in and move-out events: no key, no value, no lsn; txids ascending",
    elsewhere: [
      "test/conformance/Section13.ts › 13.7 the example",
      "test/conformance/Section13.ts › 13.5 txids: the upstream transactions that caused the move"
    ]
  },
  {
    line: "10.7 TRUNCATE is never a message: the shape rotates",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY", "(1)")
      const { handle } = await world.follow(`table=${table}`)
      await world.exec(`TRUNCATE ${table}`)
      await world.until(
        `table=${table}&handle=${handle}&offset=0_inf&live=true`,
        ({ body, status }) => status === 409 && body === mustRefetch
      )
      await world.get(`table=${table}&offset=-1`, { json: [snapshotEnd] })
    }
  },
  {
    line: "10.7 relevant schema changes too",
    elsewhere: "test/e2e/Tables.pg.test.ts › a table that is altered, dropped, recreated"
  },
  {
    line: "10.8 experimental_compaction=true is accepted",
    script: async (world) => {
      const table = await world.table(COLUMNS, "(1, 'a', 'b')")
      const got = await world.changes(`table=${table}&experimental_compaction=true`, `UPDATE ${table} SET a = 'c'`)
      same(got, [{ key: key(table, "1"), value: { id: "1", a: "c" }, headers: ANY }])
    }
  }
]

export const section: Section = {
  title: "10 Message formats",
  setup: `${ITEMS}
    CREATE SCHEMA other; CREATE TABLE other.things (id int PRIMARY KEY);
    CREATE TABLE "od.d/""t""" (id int PRIMARY KEY, n int); INSERT INTO "od.d/""t""" VALUES (1, 1);`,
  servers: { main: {} },
  rows: [...messages, ...keys, ...values, ...others]
}
