/** Electric HTTP protocol §9: how snapshots are made. */
import assert from "node:assert/strict"
import { items, key, row, type Section, snapshotEnd } from "./Conformance.ts"
import { ITEMS, itemsValues } from "./Tables.ts"

const PARTITIONED = `
  CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
  CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
  CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (1000);
  INSERT INTO parted VALUES (1), (101);`

const snapshotTests = "test/source/SnapshotQuery.pg.test.ts"

export const section: Section = {
  title: "9 Snapshot creation",
  setup: ITEMS + PARTITIONED + `
    CREATE TABLE locked_out (id int PRIMARY KEY);
    CREATE TABLE by_hand (id int PRIMARY KEY);
    CREATE TABLE by_default (id int PRIMARY KEY);`,
  servers: { main: {}, manual: { SHAPELOG_MANUAL_TABLE_PUBLISHING: "true" } },
  rows: [
    {
      line: "9.1 the table joins the publication and gets REPLICA IDENTITY FULL",
      script: async (world) => {
        const table = await world.table("id int PRIMARY KEY")
        await world.get(`table=${table}&offset=-1`, { json: [snapshotEnd] })
        assert.equal((await world.query(`SELECT FROM pg_publication_tables WHERE tablename = '${table}'`)).length, 1)
        assert.deepEqual(
          await world.query(`SELECT relreplident::text AS identity FROM pg_class WHERE relname = '${table}'`),
          [{ identity: "f" }]
        )
      }
    },
    {
      line: "9.1 …unless publishing is manual",
      on: "manual",
      script: async (world) => {
        await world.get("table=by_hand&offset=-1", { status: 503 })
        assert.deepEqual(await world.query("SELECT FROM pg_publication_tables WHERE tablename = 'by_hand'"), [])
        assert.deepEqual(
          await world.query("SELECT relreplident::text AS identity FROM pg_class WHERE relname = 'by_hand'"),
          [{ identity: "d" }]
        )
      }
    },
    {
      line: "9.1 the snapshot is read in one REPEATABLE READ transaction, with its marks",
      elsewhere: `${snapshotTests} › the marks tell exactly what the rows show`
    },
    {
      line: "9.1 requests wait for it to start, then stream chunk 0 as it is written",
      elsewhere:
        "test/e2e/Snapshot.pg.test.ts › the first rows are served while the snapshot is taken; what can't be read is refused, and tried anew"
    },
    {
      line: "9.1 SELECT … FROM table [WHERE base]",
      ask: "table=items&where=n IS NOT NULL&offset=-1",
      is: { json: [row("items", itemsValues[0]!), row("items", itemsValues[2]!), snapshotEnd] }
    },
    {
      line: "9.1 log=changes_only queries nothing: [snapshot-end]",
      ask: "table=items&log=changes_only&offset=-1",
      is: { json: [snapshotEnd] }
    },
    {
      line: "9.2 transactions visible in the snapshot are dropped from the live log, all others are kept",
      script: async (world) => {
        const table = await world.table("id int PRIMARY KEY", "(1)")
        await world.exec(`INSERT INTO ${table} VALUES (2)`)
        const before = await world.follow(`table=${table}`)
        assert.deepEqual(before.items.slice(0, -1).map(({ value }) => value!.id), ["1", "2"])
        await world.exec(`INSERT INTO ${table} VALUES (3)`)
        assert.deepEqual((await world.news(before)).items.map(({ value }) => value!.id), ["3"])
      }
    },
    {
      line: "9.2 …of concurrent writers",
      elsewhere: [
        "test/e2e/Snapshot.pg.test.ts › shapes made under concurrent writers miss nothing and have nothing twice",
        "test/engine/Engine.test.ts › one that went by before the shape was registered and is not seen yet: the snapshot is taken again"
      ]
    },
    {
      line: "9.2 snapshot-end has the snapshot's xmin, xmax and xip_list",
      script: async (world) => {
        const { items: all } = await world.follow("table=items&where=id < 3")
        const { control, xip_list, xmax, xmin } = all.at(-1)!.headers
        assert.equal(control, "snapshot-end")
        assert.ok(BigInt(xmin as string) <= BigInt(xmax as string))
        assert.ok(Array.isArray(xip_list))
      }
    },
    {
      line: "9.3 a shape on a partition root gets the changes of all partitions, with relation = the root",
      script: async (world) => {
        const got = await world.changes(
          "table=parted",
          "INSERT INTO parted VALUES (2), (102)",
          "INSERT INTO parted_high VALUES (103)"
        )
        assert.deepEqual(got.map((item) => item.key), [key("parted", "2"), key("parted", "102"), key("parted", "103")])
        for (const { headers } of got) assert.deepEqual(headers.relation, ["public", "parted"])
      }
    },
    {
      line: "9.3 a shape on one partition sees only that",
      script: async (world) => {
        const got = await world.changes("table=parted_low", "INSERT INTO parted VALUES (110), (10), (111)")
        assert.deepEqual(got.map((item) => [item.key, item.headers.relation]), [[key("parted_low", "10"), [
          "public",
          "parted_low"
        ]]])
      }
    },
    {
      line: "9.3 truncating a partition truncates root shapes, truncating the root its partitions' shapes",
      script: async (world) => {
        const [root, low, high] = [
          await world.follow("table=parted"),
          await world.follow("table=parted_low"),
          await world.follow("table=parted_high")
        ]
        const isGone = (followed: typeof root) =>
          world.until(`${followed.query}&handle=${followed.handle}&offset=0_inf`, ({ status }) => status === 409)
        await world.exec("TRUNCATE parted_low")
        for (const followed of [root, low]) await isGone(followed)
        await world.get(`table=parted_high&handle=${high.handle}&offset=0_inf`, { status: 200 })
        await world.exec("TRUNCATE parted")
        await isGone(high)
      }
    },
    {
      line: "9.4 Snapshot timed out while waiting for a table lock",
      elsewhere: [
        "test/source/Publication.pg.test.ts › a lock that can't be had within five seconds",
        `${snapshotTests} › are told apart, and leave the connection usable`
      ]
    },
    {
      line:
        "9.4 a query that takes too long to return data is cancelled after 30 s; one that waits too long for a connection gives up",
      elsewhere: [
        `${snapshotTests} › a query whose first row does not come within 30 seconds is cancelled`,
        `${snapshotTests} › who waits for a connection for 30 seconds gives up, and keeps none`
      ]
    },
    {
      line: "9.4 Unable to create initial snapshot: permission denied",
      elsewhere: [
        "test/e2e/Snapshot.pg.test.ts › the first rows are served while the snapshot is taken; what can't be read is refused, and tried anew",
        `${snapshotTests} › a role that may not read the table`
      ]
    },
    {
      line:
        "9.4 the table is missing from the publication, and publishing is manual: 503, retry-after 10, a known error",
      on: "manual",
      ask: "table=by_hand&offset=-1",
      is: {
        status: 503,
        json: {
          message:
            /^Database table "public.by_hand" is missing from the publication "[^"]+" and the [A-Z_]+ setting prevents \w+ from adding it$/
        },
        headers: { "retry-after": "10", "electric-internal-known-error": "true" }
      }
    },
    {
      line: "9.4 the table does not have its replica identity set to FULL",
      on: "manual",
      script: async (world) => {
        const [publication] = await world.query("SELECT pubname FROM pg_publication WHERE pubname LIKE '%\\_manual'")
        await world.exec(`ALTER PUBLICATION ${publication!.pubname} ADD TABLE by_default`)
        await world.get("table=by_default&offset=-1", {
          status: 503,
          json: { message: "Database table \"public.by_default\" does not have its replica identity set to FULL" },
          headers: { "retry-after": "10", "electric-internal-known-error": "true" }
        })
        await world.exec("ALTER TABLE by_default REPLICA IDENTITY FULL")
        await world.get("table=by_default&offset=-1", { json: [snapshotEnd] })
      }
    },
    {
      line: "9.4 the publication does not publish generated columns",
      elsewhere: "test/engine/ResolveDefinition.pg.test.ts › generated columns by what the server replicates"
    },
    {
      line: "9.4 table, column or function vanished: 409",
      elsewhere: [
        "test/http/Conformance.test.ts › 9: a shape that vanished, or whose table did, is a conflict with the handle of its successor",
        "test/e2e/WhereRequests.pg.test.ts › a function that is dropped while a shape needs it, and made again"
      ]
    },
    {
      line: "9.4 unknown failure: 500 Unexpected error while creating snapshot",
      elsewhere: "test/http/Conformance.test.ts › 9: errors are never cached and tell nothing of our insides"
    },
    {
      line: "9.4 after a failure the shape is removed; the next request starts over with a new handle",
      on: "manual",
      script: async (world) => {
        await world.get("table=locked_out&offset=-1", { status: 503 })
        const [publication] = await world.query("SELECT pubname FROM pg_publication WHERE pubname LIKE '%\\_manual'")
        await world.exec(
          `ALTER TABLE locked_out REPLICA IDENTITY FULL; ALTER PUBLICATION ${publication!.pubname} ADD TABLE locked_out`
        )
        assert.equal(items(await world.get("table=locked_out&offset=-1")).length, 1)
      }
    }
  ]
}
