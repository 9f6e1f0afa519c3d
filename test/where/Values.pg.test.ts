/**
 * Values against Postgres: texts that it prints are read and printed again unchanged, values are ordered as it orders
 * them, and a text that it doesn't print is read as it reads it, or not at all.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import type { SqlType } from "../../src/domain/SqlCatalog.ts"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { type Codec, UNSURE, type Value } from "../../src/where/Value.ts"
import { codecOf } from "../../src/where/values/Codecs.ts"
import * as Postgres from "../support/Postgres.ts"
import { C } from "./FunctionOracle.ts"

const base = (name: string): SqlType => ({
  oid: 0,
  schema: "pg_catalog",
  name,
  kind: "b",
  category: "U",
  preferred: false,
  collation: name === "text" || name === "bpchar" || name === "varchar" ? 100 : name === "name" ? 950 : 0
})
const arrayOf = (element: SqlType): SqlType => ({ ...base(`_${element.name}`), category: "A", element })
const mood: SqlType = { ...base("mood"), schema: "public", kind: "e", labels: ["sad", "ok", "happy", "a,b", "NULL"] }
const price: SqlType = { ...base("price"), schema: "public", kind: "d", base: base("numeric"), baseModifier: -1 }

const digits = (maxLength: number) =>
  fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength }).map((some) => some.join(""))
const decimals = fc.tuple(fc.constantFrom("", "-"), digits(30), fc.option(digits(30))).map(([sign, whole, fraction]) =>
  `${sign}${whole}${fraction === null ? "" : `.${fraction}`}`
)
const doubles = fc.oneof(fc.double(), fc.float(), fc.integer(), fc.integer({ min: -40, max: 40 }).map((e) => 2 ** e))
  .map((x) => Object.is(x, -0) ? "-0" : String(x))
const floats = fc.oneof(
  fc.float(),
  fc.integer({ min: -9_999_999, max: 9_999_999 }),
  fc.integer({ min: -149, max: 127 }).map((e) => 2 ** e)
)
  .map((x) => Object.is(x, -0) ? "-0" : String(x))
const text = fc.oneof(
  fc.fullUnicodeString({ maxLength: 6 }),
  fc.string({ maxLength: 6 }),
  fc.constantFrom(
    "NULL",
    "null",
    "a ",
    " a",
    "{}",
    "\"",
    "\\",
    "a,b",
    "\uffff",
    "😀",
    "\ue000",
    "a\tb",
    "a\nb",
    "\u00a0",
    "\v"
  )
).map((some) => some.replaceAll("\0", "0"))
const int8 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String)
const label = fc.constantFrom("sad", "ok", "happy", "a,b", "NULL")

/** An array literal, in one of the forms that Postgres reads; of elements that are NULL when they are null. */
const arrays = (element: fc.Arbitrary<string>): fc.Arbitrary<string> => {
  const item = fc.option(element).map((some) => some === null ? "NULL" : `"${some.replace(/["\\]/g, "\\$&")}"`)
  const flat = fc.array(item, { maxLength: 4 }).map((items) => `{${items.join(",")}}`)
  return fc.oneof(
    flat,
    fc.array(fc.tuple(item, item), { minLength: 1, maxLength: 3 }).map((rows) =>
      `{${rows.map((row) => `{${row.join(",")}}`).join(",")}}`
    ),
    fc.tuple(fc.integer({ min: -5, max: 5 }), item, item).map(([from, a, b]) => `[${from}:${from + 1}]={${a},${b}}`)
  )
}

/** Types by how Postgres names them, with inputs of each. */
const types: ReadonlyArray<readonly [name: string, type: SqlType, inputs: fc.Arbitrary<string>]> = [
  ["bool", base("bool"), fc.constantFrom("t", "f")],
  ["int2", base("int2"), fc.integer({ min: -32_768, max: 32_767 }).map(String)],
  ["int4", base("int4"), fc.integer().map(String)],
  ["int8", base("int8"), fc.oneof(int8, fc.integer().map(String))],
  ["oid", base("oid"), fc.integer({ min: 0, max: 4_294_967_295 }).map(String)],
  ["float4", base("float4"), floats],
  ["float8", base("float8"), doubles],
  [
    "numeric",
    base("numeric"),
    fc.oneof(decimals, digits(6), fc.constantFrom("NaN", "Infinity", "-Infinity", "1e-50", "1e50"))
  ],
  ["text", base("text"), text],
  ["varchar", base("varchar"), text],
  ["bpchar", base("bpchar"), text],
  ["name", base("name"), text],
  ["\"char\"", base("char"), fc.constantFrom("", "a", "Z", "~", "1")],
  ["uuid", base("uuid"), fc.uuid()],
  [
    "bytea",
    base("bytea"),
    fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 5 }).map((bytes) =>
      `\\x${Buffer.from(bytes).toString("hex")}`
    )
  ],
  ["json", base("json"), fc.json()],
  ["mood", mood, label],
  ["price", price, decimals],
  ["int4[]", arrayOf(base("int4")), arrays(fc.integer().map(String))],
  ["text[]", arrayOf(base("text")), arrays(text)],
  ["bpchar[]", arrayOf(base("bpchar")), arrays(text)],
  ["numeric[]", arrayOf(base("numeric")), arrays(decimals)],
  ["float8[]", arrayOf(base("float8")), arrays(doubles)],
  ["mood[]", arrayOf(mood), arrays(label)],
  ["price[]", arrayOf(price), arrays(decimals)]
]

const session = Effect.gen(function*() {
  const database = yield* Postgres.makeDatabase
  const db = yield* database.session
  yield* db.exec(`${DISPLAY_SETTINGS};
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'a,b', 'NULL');
    CREATE DOMAIN price AS numeric;
    CREATE FUNCTION reading(type text, input text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE result text;
    BEGIN
      EXECUTE format('SELECT format(''%%s'', %L::%s)', input, type) INTO result;
      RETURN result;
    EXCEPTION WHEN OTHERS THEN RETURN NULL;
    END $$`)
  return db
})

/** `undefined` for unsure. */
const decode = (codec: Codec, text: string): Value | undefined => {
  try {
    return codec.decode(text)
  } catch (error) {
    assert.strictEqual(error, UNSURE)
    return undefined
  }
}

/** Texts with a mistake, or in another of the forms that types have. */
const odd = fc.oneof(
  text,
  fc.constantFrom(
    "",
    "-",
    "+1",
    "-0",
    "007",
    " 1",
    "1 ",
    "1.",
    ".5",
    "-.5",
    "1.5.2",
    "1e5",
    "1E5",
    "e5",
    "1e",
    "1e400",
    "1e-400",
    "1e39",
    "1e-46",
    "0x1F",
    "1_000",
    "0b1",
    "inf",
    "nan",
    "-NaN",
    "infinity",
    "true",
    "F",
    "32768",
    "-32769",
    "2147483648",
    "-2147483649",
    "4294967296",
    "9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999999",
    "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
    "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
    "a0eebc999c0b4ef8bb6d6bb9bd380a11",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g",
    "\\xAB",
    "\\x1",
    "\\x",
    "\\x 01",
    "abc",
    "\\200",
    "Sad",
    "{ 1 , 2 }",
    "{1,}",
    "{,1}",
    "{{1},2}",
    "{1,{2}}",
    "{{1},{2,3}}",
    "{{}}",
    "{{},{}}",
    "{1}x",
    "{1",
    "{",
    "}",
    "{\"1}",
    "{\"1\"2}",
    "{1\"2\"}",
    "{\\1}",
    "[1:1]={1,2}",
    "[1:2]={1,2}",
    "[2]={1,2}",
    "[0:1]{1,2}",
    "[1:2][1:1]={{1},{2}}",
    "[2:1]={}",
    "[0:0]={{1}}",
    "{{{{{{{1}}}}}}}",
    "{NULL,null,nUll}",
    " [1, -0, 1e400] ",
    "[01]",
    "[1,]",
    "{\"a\": 1, \"a\": 2}",
    "{a: 1}",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\x\"",
    "\"a\tb\"",
    "\u00a0[1]",
    "nul",
    "[".repeat(900) + "]".repeat(900),
    "[".repeat(50_000) + "]".repeat(50_000),
    "{a\u00a0}",
    "{\"a\\\"b\"}"
  )
)

describe("values", () => {
  it.scoped("are printed as they were read", () =>
    Effect.gen(function*() {
      const db = yield* session
      for (const [name, type, inputs] of types) {
        const codec = codecOf(type)!
        const rows = yield* db.query(`SELECT format('%s', i::${name}) AS text FROM unnest($1::text[]) i`, [
          fc.sample(inputs, 400)
        ])
        for (const { text } of rows) assert.strictEqual(codec.encode(codec.decode(text!)), text, `${name} ${text!}`)
      }
    }))

  it.scoped("are ordered as Postgres orders them", () =>
    Effect.gen(function*() {
      const db = yield* session
      for (const [name, type, inputs] of types) {
        const { compare, decode, equal } = codecOf(type)!
        if (compare === undefined) continue
        const collated = /^(text|varchar|bpchar)/.test(name) ? " COLLATE \"C\"" : ""
        const rows = yield* db.query(
          `SELECT format('%s', i::${name}) AS text, dense_rank() OVER (ORDER BY i::${name}${collated}) AS rank
           FROM unnest($1::text[]) i`,
          [fc.sample(inputs, 50)]
        )
        const values = rows.map((row) => ({ value: decode(row.text!), rank: Number(row.rank), text: row.text! }))
        for (const a of values) {
          for (const b of values) {
            const context = `${name}: ${a.text} and ${b.text}`
            assert.strictEqual(Math.sign(compare(a.value, b.value, C)), Math.sign(a.rank - b.rank), context)
            assert.strictEqual(equal(a.value, b.value), a.rank === b.rank, context)
          }
        }
      }
    }))

  it.scoped("are read from other texts as Postgres reads them, or not at all", () =>
    Effect.gen(function*() {
      const db = yield* session
      let read = 0
      for (const [name, type] of types) {
        const codec = codecOf(type)!
        const inputs = fc.sample(odd, 400)
        const rows = yield* db.query(
          "SELECT reading($1, i) AS text FROM unnest($2::text[]) WITH ORDINALITY u(i, n) ORDER BY n",
          [name, inputs]
        )
        inputs.forEach((input, i) => {
          const value = decode(codec, input)
          if (value === undefined) return
          read++
          assert.strictEqual(codec.encode(value), rows[i]!.text, `${name} ${JSON.stringify(input)}`)
        })
      }
      assert.isAbove(read, 1000)
    }))
})
