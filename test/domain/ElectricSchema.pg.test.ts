import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { header, json } from "../../src/domain/ElectricSchema.ts"
import * as Postgres from "../support/Postgres.ts"
import { columnsOf } from "../where/Columns.ts"

/** Declared type → what the header says of it. */
const types: ReadonlyArray<readonly [string, object]> = [
  ["int2", { type: "int2" }],
  ["bigint", { type: "int8" }],
  ["real", { type: "float4" }],
  ["double precision", { type: "float8" }],
  ["boolean", { type: "bool" }],
  ["text", { type: "text" }],
  ["\"char\"", { type: "char" }],
  ["varchar", { type: "varchar" }],
  ["varchar(255)", { type: "varchar", max_length: 255 }],
  ["char", { type: "bpchar", length: 1 }],
  ["char(5)", { type: "bpchar", length: 5 }],
  ["bpchar", { type: "bpchar" }],
  ["bit", { type: "bit", length: 1 }],
  ["bit(7)", { type: "bit", length: 7 }],
  ["varbit(7)", { type: "varbit", length: 7 }],
  ["varbit", { type: "varbit" }],
  ["numeric", { type: "numeric" }],
  ["numeric(5)", { type: "numeric", precision: 5, scale: 0 }],
  ["numeric(10,2)", { type: "numeric", precision: 10, scale: 2 }],
  ["numeric(1000,1000)", { type: "numeric", precision: 1000, scale: 1000 }],
  ["numeric(5,-3)", { type: "numeric", precision: 5, scale: -3 }],
  ["numeric(1000,-1000)", { type: "numeric", precision: 1000, scale: -1000 }],
  ["numeric(3,5)", { type: "numeric", precision: 3, scale: 5 }],
  ["time", { type: "time" }],
  ["time(3)", { type: "time", precision: 3 }],
  ["timetz(2)", { type: "timetz", precision: 2 }],
  ["timestamp(3)", { type: "timestamp", precision: 3 }],
  ["timestamp(0)", { type: "timestamp" }],
  ["timestamptz", { type: "timestamptz" }],
  ["timestamptz(6)", { type: "timestamptz", precision: 6 }],
  ["interval", { type: "interval" }],
  ["interval(3)", { type: "interval", precision: 3 }],
  ["interval(0)", { type: "interval", precision: 0 }],
  ["interval year", { type: "interval", fields: "YEAR" }],
  ["interval month", { type: "interval", fields: "MONTH" }],
  ["interval day", { type: "interval", fields: "DAY" }],
  ["interval hour", { type: "interval", fields: "HOUR" }],
  ["interval minute", { type: "interval", fields: "MINUTE" }],
  ["interval second", { type: "interval", fields: "SECOND" }],
  ["interval second(4)", { type: "interval", fields: "SECOND", precision: 4 }],
  ["interval year to month", { type: "interval", fields: "YEAR TO MONTH" }],
  ["interval day to hour", { type: "interval", fields: "DAY TO HOUR" }],
  ["interval day to minute", { type: "interval", fields: "DAY TO MINUTE" }],
  ["interval day to second", { type: "interval", fields: "DAY TO SECOND" }],
  ["interval hour to minute", { type: "interval", fields: "HOUR TO MINUTE" }],
  ["interval hour to second", { type: "interval", fields: "HOUR TO SECOND" }],
  ["interval minute to second", { type: "interval", fields: "MINUTE TO SECOND" }],
  ["interval minute to second(2)", { type: "interval", fields: "MINUTE TO SECOND", precision: 2 }],
  ["int[]", { type: "int4", dims: 1 }],
  ["int[][]", { type: "int4", dims: 2 }],
  ["int[3]", { type: "int4", dims: 1 }],
  ["varchar(7)[]", { type: "varchar", dims: 1, max_length: 7 }],
  ["numeric(5,2)[][]", { type: "numeric", dims: 2, precision: 5, scale: 2 }],
  ["timestamp(3)[]", { type: "timestamp", dims: 1, precision: 3 }],
  ["mood", { type: "mood" }],
  ["mood[]", { type: "mood", dims: 1 }],
  ["app.\"Odd Type\"", { type: "Odd Type" }],
  ["posint", { type: "posint" }],
  ["short", { type: "short" }],
  ["app.varchar", { type: "varchar" }],
  ["short[]", { type: "short", dims: 1 }],
  ["pair", { type: "pair" }],
  ["pair[]", { type: "pair", dims: 1 }],
  ["oidvector", { type: "oidvector" }],
  ["int2vector", { type: "int2vector" }],
  ["int4range", { type: "int4range" }],
  ["jsonb", { type: "jsonb" }],
  ["jsonb[]", { type: "jsonb", dims: 1 }],
  ["bytea", { type: "bytea" }],
  ["uuid", { type: "uuid" }],
  ["inet", { type: "inet" }],
  ["point", { type: "point" }]
]

describe("electric-schema", () => {
  it.scoped("of every kind of column", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      yield* db.exec(`
        CREATE SCHEMA app;
        CREATE TYPE mood AS ENUM ('ok');
        CREATE TYPE app."Odd Type" AS ENUM ('ok');
        CREATE DOMAIN posint AS int4 CHECK (VALUE > 0);
        CREATE DOMAIN short AS varchar(3);
        CREATE DOMAIN app.varchar AS pg_catalog.varchar(3);
        CREATE TYPE pair AS (a int, b int);
        CREATE TABLE t (${types.map(([type], i) => `c${i} ${type}`).join(", ")})`)
      const columns = yield* columnsOf(db, "t")
      const schema = JSON.parse(json(columns))
      types.forEach(([type, expected], i) => assert.deepStrictEqual(schema[`c${i}`], expected, type))
    }))

  it.scoped("of arrays whose dimensions the catalog does not know", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      yield* db.exec("CREATE TABLE t AS SELECT array_agg(x) AS a FROM generate_series(1, 2) AS x")
      assert.strictEqual(json(yield* columnsOf(db, "t")), "{\"a\":{\"type\":\"int4\",\"dims\":1}}")
    }))

  it.scoped("of odd names", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      const names = ["Größe", "名前", "😀", "a\"b\\c", "__proto__", "1", "a\nb", "del\x7f", "it's"]
      yield* db.exec(
        `CREATE TABLE t (${names.map((name) => `"${name.replaceAll("\"", "\"\"")}" int NOT NULL`).join(", ")})`
      )
      const columns = yield* columnsOf(db, "t")
      const bytes = Buffer.from(header(columns), "latin1")
      assert.deepStrictEqual(
        JSON.parse(bytes.toString("utf8"), (key, value: unknown) => key === "type" ? undefined : value),
        JSON.parse(`{${names.map((name) => `${JSON.stringify(name)}:{"not_null":true}`).join(",")}}`)
      )
    }))
})
