/**
 * A value has one text form, whether it is copied or streamed, and whatever the database's own settings are.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Redacted } from "effect"
import * as Pools from "../../src/source/Pools.ts"
import * as ReplicationStream from "../../src/source/ReplicationStream.ts"
import * as SnapshotQuery from "../../src/source/SnapshotQuery.ts"
import * as Postgres from "../support/Postgres.ts"
import { nextTransaction, streaming, values } from "./support.ts"

/** Type, values, and for those that settings bear on the expected text. */
const types: ReadonlyArray<readonly [type: string, values: ReadonlyArray<string>, expected?: ReadonlyArray<string>]> = [
  ["int2", ["-32768"]],
  ["int4", ["2147483647"]],
  ["int8", ["9223372036854775807"]],
  ["oid", ["4294967295"]],
  ["numeric", ["1.500", "NaN", "-123456789012345678901234567890.123456789"]],
  ["numeric(10,3)", ["1.5"]],
  ["float4", ["0.1", "1e-30", "Infinity", "NaN"], ["0.1", "1e-30", "Infinity", "NaN"]],
  ["float8", ["0.1", "4.5", "-Infinity", "1.7976931348623157e308"], [
    "0.1",
    "4.5",
    "-Infinity",
    "1.7976931348623157e+308"
  ]],
  ["money", ["12.34"]],
  ["bool", ["true", "false"], ["t", "f"]],
  ["char(5)", ["ab", ""]],
  ["varchar(10)", ["ab ", ""]],
  ["text", ["", "gruß 日本 🦊", "a\tb\nc\rd\\e\be\ff\vg", "\\N", "\\."]],
  ["name", ["a name"]],
  ["\"char\"", ["x"]],
  ["bytea", ["\\x00ff41"], ["\\x00ff41"]],
  ["uuid", ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"]],
  ["date", ["2024-11-12", "infinity", "0044-03-15 BC"], ["2024-11-12", "infinity", "0044-03-15 BC"]],
  ["time", ["11:42:15.000123"]],
  ["timetz", ["11:42:15+00"]],
  ["timestamp", ["2024-11-12 11:42:15.5"], ["2024-11-12 11:42:15.5"]],
  ["timestamptz", ["2024-11-12 11:42:15+05", "infinity"], ["2024-11-12 06:42:15+00", "infinity"]],
  ["interval", ["1 year 2 months 3 days 4:05:06", "0"], ["P1Y2M3DT4H5M6S", "PT0S"]],
  ["json", ["{\"a\":   1, \"b\": \"x\\ny\"}"]],
  ["jsonb", ["{\"b\":   1, \"a\": [null, 1.50]}"]],
  ["xml", ["<a>b</a>"]],
  ["inet", ["192.168.0.1", "10.0.0.0/8"]],
  ["cidr", ["10.0.0.0/8"]],
  ["macaddr", ["08:00:2b:01:02:03"]],
  ["macaddr8", ["08:00:2b:01:02:03:04:05"]],
  ["bit(4)", ["1010"]],
  ["varbit", ["101", ""]],
  ["point", ["(1.1,2.2)"], ["(1.1,2.2)"]],
  ["line", ["{1,2,3}"]],
  ["lseg", ["[(1,2),(3,4)]"]],
  ["box", ["(3,4),(1,2)"]],
  ["path", ["[(1,2),(3,4)]"]],
  ["polygon", ["((1,2),(3,4),(5,6))"]],
  ["circle", ["<(1,2),3>"]],
  ["int4range", ["[1,5)", "empty", "(,3]"]],
  ["tstzrange", ["[2024-01-01 00:00+00,2024-06-01 00:00+00)"], [
    "[\"2024-01-01 00:00:00+00\",\"2024-06-01 00:00:00+00\")"
  ]],
  ["int4multirange", ["{[1,3),[5,7)}"]],
  ["tsvector", ["'fat':2 'cat':3"]],
  ["tsquery", ["'fat' & !'rat'"]],
  ["pg_lsn", ["16/B374D848"]],
  ["xid8", ["12345678901234"]],
  ["regtype", ["int4"]],
  ["jsonpath", ["$.a[*]"]],
  ["int4[]", ["{{1,2},{3,NULL}}", "{}", "[2:3]={1,2}"]],
  ["text[]", ["{a,\"b c\",NULL,\"NULL\",\"\\\"\",\"x\\\\y\",\"\"}"]],
  ["bool[]", ["{t,f,NULL}"]],
  ["timestamptz[]", ["{2024-01-01 00:00+00}"], ["{\"2024-01-01 00:00:00+00\"}"]],
  ["bytea[]", ["{\"\\\\x00ff\"}"]],
  ["mood", ["sad"]],
  ["mood[]", ["{sad,ok}"]],
  ["positive", ["5"]],
  ["pair", ["(1.1,\"x, y\")"]],
  ["pair[]", ["{\"(1,a)\",\"(2,)\"}"]]
]

const columns = types.flatMap(([type, texts, expected], i) =>
  texts.map((text, j) => ({ name: `c${i}_${j}`, type, text, expected: expected?.[j] }))
)

const escapes: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v", "\\": "\\" }

/** Columns of one line of COPY text. */
const parseCopy = (line: string): ReadonlyArray<string | null> =>
  line.slice(0, -1).split("\t").map((field) =>
    field === "\\N" ? null : field.replace(/\\(.)/g, (_, escaped: string) => escapes[escaped] ?? escaped)
  )

describe("text forms", () => {
  it.scoped("are the same copied and streamed, for every built-in type", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      yield* db.exec(`
        CREATE TYPE mood AS ENUM ('ok', 'sad');
        CREATE DOMAIN positive AS int CHECK (VALUE > 0);
        CREATE TYPE pair AS (a float8, b text);
        CREATE TABLE types (${columns.map(({ name, type }) => `${name} ${type}`).join(", ")}, nothing text);
        ALTER DATABASE ${db.name} SET DateStyle = 'German, MDY';
        ALTER DATABASE ${db.name} SET TimeZone = 'Asia/Kolkata';
        ALTER DATABASE ${db.name} SET bytea_output = 'escape';
        ALTER DATABASE ${db.name} SET extra_float_digits = -10;
        ALTER DATABASE ${db.name} SET IntervalStyle = 'sql_standard'`)
      const pools = Pools.layer({ url: Redacted.make(db.url), streamId: db.name })
      const context = yield* Layer.build(
        Layer.mergeAll(ReplicationStream.layer, SnapshotQuery.layer).pipe(Layer.provide(pools))
      )
      const stream = Context.get(context, ReplicationStream.ReplicationStream)
      const connection = yield* streaming(db, { ...stream, publication: `shapelog_publication_${db.name}`, slot: "" })

      yield* db.query(
        `INSERT INTO types VALUES (${columns.map(({ type }, i) => `$${i + 1}::text::${type}`).join(", ")}, NULL)`,
        columns.map(({ text }) => text)
      )
      const { rows: [insert] } = yield* nextTransaction(connection)
      assert.ok(insert?._tag === "Insert")
      const streamed = values(insert.row)

      const names = [...columns.map(({ name }) => name), "nothing"]
      const rows = yield* Context.get(context, SnapshotQuery.SnapshotQuery)
        .open({ schema: "public", table: "types", columns: names, where: undefined, rows: true })
      const copied = Option.getOrThrow(yield* rows.pull)
      assert.strictEqual(copied.count, 1)
      assert.deepStrictEqual(parseCopy(copied.bytes.toString("utf8", copied.rows[0], copied.rows[1])), streamed)

      assert.strictEqual(streamed.length, columns.length + 1)
      assert.isNull(streamed[columns.length])
      columns.forEach(({ expected, name, type }, i) => {
        if (expected !== undefined) assert.strictEqual(streamed[i], expected, `${name} ${type}`)
      })
    }))
})
