/** Electric HTTP protocol §11: values and the schema header. */
import assert from "node:assert/strict"
import { header, type Row, type Section } from "./Conformance.ts"

/** Type, an SQL literal of it, and its text by §11.1. */
const FORMS: ReadonlyArray<
  readonly [what: string, values: ReadonlyArray<readonly [type: string, literal: string, text: string]>]
> = [
  ["int2/4/8, oid", [["int2", "42", "42"], ["int4", "-42", "-42"], [
    "int8",
    "9223372036854775807",
    "9223372036854775807"
  ], ["oid", "4294967295", "4294967295"]]],
  ["numeric: the scale is kept; NaN", [["numeric", "1.500", "1.500"], ["numeric(10,2)", "7", "7.00"], [
    "numeric",
    "'NaN'",
    "NaN"
  ]]],
  ["float4/8: Infinity, -Infinity, NaN", [
    ["float8", "1.5", "1.5"],
    ["float4", "4.5", "4.5"],
    ["float8", "'Infinity'", "Infinity"],
    ["float4", "'-Infinity'", "-Infinity"],
    ["float8", "'NaN'", "NaN"]
  ]],
  ["text, varchar, name, enum, domain, citext: verbatim", [
    ["text", "E'a\\n\\t\"\\\\ é 💡'", "a\n\t\"\\ é 💡"],
    ["varchar(9)", "' a '", " a "],
    ["name", "'n'", "n"],
    ["mood", "'it''s ok'", "it's ok"],
    ["positive", "5", "5"]
  ]],
  ["char(n): the padding is kept", [["char(5)", "'ab'", "ab   "]]],
  ["uuid: lower case with hyphens", [[
    "uuid",
    "'A0EEBC999C0B4EF8BB6D6BB9BD380A11'",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
  ]]],
  ["bytea: hex", [["bytea", "'\\x00FF'", "\\x00ff"]]],
  ["date", [["date", "'2024-11-12'", "2024-11-12"]]],
  ["time, timetz", [["time", "'11:42:15.000123'", "11:42:15.000123"], ["timetz", "'11:42:15+00'", "11:42:15+00"]]],
  ["timestamp, timestamptz: always UTC", [["timestamp", "'2024-11-12 11:42:15'", "2024-11-12 11:42:15"], [
    "timestamptz",
    "'2024-11-12 13:42:15+02'",
    "2024-11-12 11:42:15+00"
  ]]],
  ["interval: ISO 8601", [["interval", "'1 year 2 months 3 days 04:05:06'", "P1Y2M3DT4H5M6S"], [
    "interval",
    "'0'",
    "PT0S"
  ]]],
  ["json as it was written, jsonb as Postgres prints it", [["json", "'{\"foo\":\"bar\"}'", "{\"foo\":\"bar\"}"], [
    "json",
    "'{ \"a\":  1 }'",
    "{ \"a\":  1 }"
  ], ["jsonb", "'{\"foo\":\"bar\"}'", "{\"foo\": \"bar\"}"]]],
  ["arrays: Postgres literals", [
    ["int4[]", "'{1,2,NULL}'", "{1,2,NULL}"],
    ["text[]", "'{\"a b\",c}'", "{\"a b\",c}"],
    ["bool[]", "'{true,false,t}'", "{t,f,t}"],
    ["int4[][]", "'{{1,2,3},{4,5,6}}'", "{{1,2,3},{4,5,6}}"],
    ["float8[]", "'{1.2,-3.2,Infinity,-Infinity,NaN}'", "{1.2,-3.2,Infinity,-Infinity,NaN}"],
    ["mood[]", "'{sad}'", "{sad}"],
    ["json[]", "ARRAY['{\"foo\": \"bar\"}'::json]", "{\"{\\\"foo\\\": \\\"bar\\\"}\"}"]
  ]],
  ["composite", [["pair", "ROW(1.1, 2.2)", "(1.1,2.2)"], [
    "pair[]",
    "ARRAY[ROW(1.1, 2.2)::pair, ROW(3.3, 4.4)::pair]",
    "{\"(1.1,2.2)\",\"(3.3,4.4)\"}"
  ]]],
  ["ranges, geometric, bit, tsvector: Postgres' text", [
    ["int4range", "'[1,5)'", "[1,5)"],
    ["point", "'(1,2)'", "(1,2)"],
    ["bit(3)", "B'101'", "101"],
    ["tsvector", "'fat cat'", "'cat' 'fat'"]
  ]],
  ["NULL: JSON null", [["text", "NULL", "NULL"]]]
]

const columns = FORMS.flatMap(([, values], i) =>
  values.map(([type, literal, text], j) => ({
    name: `c${i}_${j}`,
    type,
    literal,
    text: literal === "NULL" ? null : text
  }))
)

const textOf = (names: ReadonlyArray<string>) =>
  Object.fromEntries(columns.filter(({ name }) => names.includes(name)).map(({ name, text }) => [name, text]))

const insert = (id: number) => `INSERT INTO zoo VALUES (${id}, ${columns.map(({ literal }) => literal).join(", ")})`

const forms: ReadonlyArray<Row> = FORMS.map(([what, values], i) => {
  const names = values.map((_, j) => `c${i}_${j}`)
  return {
    line: `11.1 ${what}: the same in snapshot, log and subset`,
    script: async (world) => {
      const query = `table=zoo&columns=id,${names.join(",")}`
      const { items: [snapshot] } = await world.follow(`${query}&where=id = 1`)
      assert.deepEqual(snapshot!.value, { id: "1", ...textOf(names) })
      const id = 100 + i
      const [live] = await world.changes(`${query}&where=id = ${id}`, insert(id))
      assert.deepEqual(live!.value, { id: String(id), ...textOf(names) })
      const subset = JSON.parse((await world.get(`${query}&offset=-1&subset__where=id = 1`)).body)
      assert.deepEqual(subset.data[0].value, { id: "1", ...textOf(names) })
    }
  }
})

const valuesRows: ReadonlyArray<Row> = [
  {
    line: "11.1 every value is a string of Postgres' text output, or null",
    script: async (world) => {
      const { items: [all] } = await world.follow("table=zoo&where=id = 1")
      assert.ok(Object.values(all!.value!).every((value) => value === null || typeof value === "string"))
      assert.equal(Object.keys(all!.value!).length, columns.length + 1)
    }
  },
  ...forms,
  {
    line: "11.1 bool: t/f in the log, true/false in snapshot, subset and move-in rows",
    differs: "one form, that of the output function (§20)",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, b bool", "(1, true), (2, false)")
      const { items } = await world.follow(`table=${table}`)
      assert.deepEqual(items.slice(0, 2).map(({ value }) => value!.b), ["t", "f"])
      const got = await world.changes(`table=${table}`, `UPDATE ${table} SET b = NOT b`)
      assert.deepEqual(got.map(({ value }) => value!.b), ["f", "t"])
      const subset = JSON.parse((await world.get(`table=${table}&offset=-1&subset__order_by=id`)).body)
      assert.deepEqual(subset.data.map((row: { readonly value: { readonly b: string } }) => row.value.b), ["f", "t"])
    }
  },
  {
    line: "11.1 inet: the snapshot's cast adds the mask",
    differs: "one form, that of the output function (§20)",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, i inet, c cidr", "(1, '192.168.0.1', '192.168.0.1')")
      const { items: [item] } = await world.follow(`table=${table}`)
      assert.deepEqual(item!.value, { id: "1", i: "192.168.0.1", c: "192.168.0.1/32" })
      const [live] = await world.changes(
        `table=${table}`,
        `INSERT INTO ${table} VALUES (2, '192.168.0.1', '192.168.0.1')`
      )
      assert.deepEqual(live!.value, { id: "2", i: "192.168.0.1", c: "192.168.0.1/32" })
    }
  },
  {
    line: "11.1 the display settings are the server's, whatever the database's are",
    elsewhere: "test/source/TextForms.pg.test.ts › are the same copied and streamed, for every built-in type"
  },
  {
    line: "11.2 never not_null for what is nullable",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, a text NOT NULL, b text, c text DEFAULT 'x'")
      const schema = JSON.parse(header(await world.get(`table=${table}&offset=-1`), "electric-schema"))
      assert.deepEqual(schema, {
        id: { type: "int4", not_null: true, pk_index: 0 },
        a: { type: "text", not_null: true },
        b: { type: "text" },
        c: { type: "text" }
      })
    }
  },
  {
    line: "11.2 what the published client makes of values and schema",
    elsewhere: "test/e2e/Client.pg.test.ts › a table through every kind of change, restarts and a kill"
  }
]

/** Declared type → what the header says. */
const SCHEMA: ReadonlyArray<readonly [string, object]> = [
  ["int2", { type: "int2" }],
  ["int", { type: "int4" }],
  ["bigint", { type: "int8" }],
  ["real", { type: "float4" }],
  ["double precision", { type: "float8" }],
  ["boolean", { type: "bool" }],
  ["text", { type: "text" }],
  ["jsonb", { type: "jsonb" }],
  ["timestamptz", { type: "timestamptz" }],
  ["mood", { type: "mood" }],
  ["positive", { type: "positive" }],
  ["pair", { type: "pair" }],
  ["int[]", { type: "int4", dims: 1 }],
  ["int[][]", { type: "int4", dims: 2 }],
  ["varchar(255)", { type: "varchar", max_length: 255 }],
  ["char(7)", { type: "bpchar", length: 7 }],
  ["char", { type: "bpchar", length: 1 }],
  ["bit", { type: "bit", length: 1 }],
  ["varbit(7)", { type: "varbit", length: 7 }],
  ["timestamp(3)", { type: "timestamp", precision: 3 }],
  ["time(2)", { type: "time", precision: 2 }],
  ["timetz(1)", { type: "timetz", precision: 1 }],
  ["numeric(5)", { type: "numeric", precision: 5, scale: 0 }],
  ["numeric(10,2)", { type: "numeric", precision: 10, scale: 2 }],
  ["numeric(5,-3)", { type: "numeric", precision: 5, scale: -3 }],
  ["numeric", { type: "numeric" }],
  ["interval second(4)", { type: "interval", fields: "SECOND", precision: 4 }],
  ["interval year", { type: "interval", fields: "YEAR" }],
  ["interval minute to second", { type: "interval", fields: "MINUTE TO SECOND" }],
  ["varbit", { type: "varbit" }]
]

const schemaOf = (what: string, names: ReadonlyArray<string>, differs?: string): Row => ({
  line: `11.3 ${what}`,
  ...(differs !== undefined && { differs }),
  script: async (world) => {
    const wanted = SCHEMA.map(([type, info], i) => ({ type, info, name: `c${i}` })).filter(({ type }) =>
      names.includes(type)
    )
    assert.equal(wanted.length, names.length)
    const schema = JSON.parse(
      header(
        await world.get(`table=kinds&columns=id,${wanted.map(({ name }) => name).join(",")}&offset=now`),
        "electric-schema"
      )
    )
    assert.deepEqual(schema, {
      id: { type: "int4", not_null: true, pk_index: 0 },
      ...Object.fromEntries(wanted.map(({ info, name }) => [name, info]))
    })
  }
})

const schema: ReadonlyArray<Row> = [
  schemaOf("only the selected columns; type: pg_type names", [
    "int2",
    "int",
    "bigint",
    "real",
    "double precision",
    "boolean",
    "text",
    "jsonb",
    "timestamptz"
  ]),
  schemaOf("enum, domain and composite names", ["mood", "positive", "pair"]),
  schemaOf("arrays: the element type, and dims", ["int[]", "int[][]"]),
  {
    line: "11.3 arrays whose catalog attndims is 0 come out as _int4 without dims",
    differs: "they are arrays: dims is 1",
    elsewhere: "test/domain/ElectricSchema.pg.test.ts › of arrays whose dimensions the catalog does not know"
  },
  {
    line: "11.3 pk_index: 0-based position within the primary key",
    script: async (world) => {
      const table = await world.table("a int, b int, c int, PRIMARY KEY (c, a)")
      const schema = JSON.parse(header(await world.get(`table=${table}&offset=now`), "electric-schema"))
      assert.deepEqual(schema, {
        a: { type: "int4", not_null: true, pk_index: 1 },
        b: { type: "int4" },
        c: { type: "int4", not_null: true, pk_index: 0 }
      })
    }
  },
  {
    line: "11.3 not_null: true on NOT NULL columns, the key absent otherwise",
    script: async (world) => {
      const table = await world.table("a int NOT NULL, b int")
      const schema = JSON.parse(header(await world.get(`table=${table}&offset=now`), "electric-schema"))
      assert.deepEqual(schema, { a: { type: "int4", not_null: true }, b: { type: "int4" } })
    }
  },
  schemaOf("max_length of varchar(n); length of char(n), bare CHAR is 1, bit and varbit their n", [
    "varchar(255)",
    "char(7)",
    "char",
    "bit",
    "varbit(7)"
  ]),
  schemaOf("length -1 of varbit without n", ["varbit"], "left out, as §20 allows"),
  schemaOf("precision of time, timetz, timestamp; of numeric with scale; of interval", [
    "timestamp(3)",
    "time(2)",
    "timetz(1)",
    "numeric(5)",
    "numeric(10,2)",
    "numeric(5,-3)",
    "numeric",
    "interval second(4)"
  ]),
  schemaOf("fields: the interval's qualifier", ["interval year", "interval minute to second"]),
  {
    line: "11.3 SERIAL PRIMARY KEY: int4, not_null, pk_index 0",
    script: async (world) => {
      const table = await world.table("id SERIAL PRIMARY KEY")
      await world.get(`table=${table}&offset=-1`, {
        headers: { "electric-schema": "{\"id\":{\"type\":\"int4\",\"not_null\":true,\"pk_index\":0}}" }
      })
    }
  },
  {
    line: "11.3 names beyond ASCII travel as raw UTF-8",
    differs: "as \\u escapes: the same JSON, which every client decodes alike",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, \"größe 💡\" int")
      const text = header(await world.get(`table=${table}&offset=-1`), "electric-schema")
      assert.match(text, /^[\x20-\x7e]+$/)
      assert.deepEqual(JSON.parse(text), {
        id: { type: "int4", not_null: true, pk_index: 0 },
        "größe 💡": { type: "int4" }
      })
    }
  },
  {
    line: "11.3 the header follows a change of nullability, without rotation",
    script: async (world) => {
      const table = await world.table("id int PRIMARY KEY, a text")
      const before = await world.follow(`table=${table}`)
      const read = `table=${table}&handle=${before.handle}&offset=0_inf`
      await world.exec(`ALTER TABLE ${table} ALTER a SET NOT NULL; INSERT INTO ${table} VALUES (1, 'a')`)
      await world.news(before)
      const schema = JSON.parse(header(await world.get(read, { status: 200 }), "electric-schema"))
      assert.deepEqual(schema.a, { type: "text", not_null: true })
    }
  }
]

export const section: Section = {
  title: "11 Values and schema",
  setup: `
    CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE pair AS (a float8, b float8);
    CREATE TABLE zoo (id int PRIMARY KEY, ${columns.map(({ name, type }) => `${name} ${type}`).join(", ")}); ${
    insert(1)
  };
    CREATE TABLE kinds (id int PRIMARY KEY, ${SCHEMA.map(([type], i) => `c${i} ${type}`).join(", ")});`,
  servers: { main: {} },
  rows: [...valuesRows, ...schema]
}
