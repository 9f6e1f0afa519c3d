/**
 * `column = literal` of many types, with Postgres as the oracle: the row test, the printed SQL and the index key must say what
 * `SELECT column = 'literal'` says.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc } from "effect"
import { quoteLiteral } from "../../src/domain/Identifier.ts"
import type { ColumnInfo } from "../../src/domain/Relation.ts"
import type { SqlCatalog } from "../../src/domain/SqlCatalog.ts"
import { tuple } from "../../src/domain/WalMessage.ts"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { accessOf } from "../../src/where/Access.ts"
import { resolve } from "../../src/where/Clause.ts"
import { compile } from "../../src/where/Compile.ts"
import { Row, Slots } from "../../src/where/Row.ts"
import * as Postgres from "../support/Postgres.ts"
import { sqlCatalogOf } from "../support/SqlCatalogs.ts"
import { columnsOf, relation } from "./Columns.ts"

const from = (...texts: Array<string>) => fc.constantFrom(...texts)
const either = (arbitrary: fc.Arbitrary<string>, ...texts: Array<string>) => fc.oneof(arbitrary, from(...texts))
const pad = (width: number) => (n: number) => String(n).padStart(width, "0")
const int = (min: number, max: number) => fc.integer({ min, max }).map(String)
const spelled = (arbitrary: fc.Arbitrary<string>) =>
  fc.tuple(arbitrary, from("", "", " ", "+", "0")).map(([text, before]) => text.startsWith("-") ? text : before + text)

const digits = fc.tuple(
  fc.integer({ min: -12, max: 12 }),
  from("", ".", ".0", ".00", ".5", ".50", ".500", ".05", "e0", "e1", ".0e1")
)
  .map(([n, rest]) => n + rest)
const float = either(
  digits,
  "-0",
  "0",
  "-0.0",
  "NaN",
  "nan",
  "Infinity",
  "-inf",
  "1e20",
  "100000000000000000000",
  "0.1",
  "1e-7",
  "1.1"
)
const words = from(
  "",
  "a",
  "A",
  "b",
  "ab",
  "ab ",
  "ab  ",
  " ab",
  "a\\b",
  "a'b",
  "é",
  "e\u0301",
  "😀",
  "t",
  "null",
  "{a}",
  "a\"b",
  "a\nb"
)
const date = fc.tuple(int(1999, 2001), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }), from("-", "/"))
  .map(([y, m, d, s]) => [y, pad(2)(m), pad(2)(d)].join(s))
const clock = fc.tuple(
  fc.integer({ min: 0, max: 2 }),
  from("00", "59"),
  from("", ":00", ":00.5", ":00.500", ":00.1234", ":00.123456")
)
  .map(([h, m, s]) => `${pad(2)(h)}:${m}${s}`)
const zone = from("+00", "Z", "+01", "-01:00", "+01:30")
const moment = fc.tuple(date, clock).map(([d, t]) => `${d} ${t}`)
const range = (bound: fc.Arbitrary<string>) =>
  either(
    fc.tuple(from("[", "("), bound, bound, from("]", ")")).map(([l, a, b, r]) => `${l}${a},${b}${r}`),
    "empty",
    "(,)",
    "[,]",
    "(,5)"
  )
const array = (element: fc.Arbitrary<string>, ...others: Array<string>) =>
  either(
    fc.array(fc.oneof(element, from("NULL")), { maxLength: 3 }).map((items) => `{${items.join(",")}}`),
    "{}",
    "[0:1]={1,2}",
    "{{1},{2}}",
    "{ 1, 2 }",
    ...others
  )
const bits = fc.array(from("0", "1"), { minLength: 0, maxLength: 5 }).map((all) => all.join(""))
const uuid = from(
  "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
  "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
  "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
  "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
  "00000000-0000-0000-0000-000000000000"
)
const bytes = from("\\x", "\\x00", "\\000", "\\x41", "A", "\\x4142", "AB", "\\x5C", "\\\\", "\\xFF", "\\xff", "'")

/** Declared type of the column → texts, as values and as literals. Few different values, in many spellings. */
const types: ReadonlyArray<readonly [string, fc.Arbitrary<string>]> = [
  ["bool", from("t", "f", "true", "FALSE", "yes", "no", "1", "0", "on", "of", "x")],
  ["int2", either(spelled(int(-9, 9)), "32767", "-32768", "32768", "x", "")],
  ["int4", either(spelled(int(-9, 9)), "2147483647", "-2147483648", "2147483648", "-0", "1.0", "x")],
  [
    "int8",
    either(spelled(int(-9, 9)), "9007199254740993", "9007199254740992", "9223372036854775807", "9223372036854775808")
  ],
  ["oid", either(spelled(int(0, 9)), "4294967295", "-1")],
  ["float4", either(float, "16777217", "16777216", "1.1000000238418579")],
  ["float8", either(float, "9007199254740993", "9007199254740992", "0.1000000000000000055")],
  ["numeric", either(digits, "NaN", "Infinity", "-Infinity", "0.00", "-0", "100", "100.0", "1e2", "00100", "x")],
  ["numeric(8,3)", either(digits, "1.0005", "1.001", "1.0010")],
  ["numeric(4,-2)", either(digits, "100", "149", "150", "1e2", "0")],
  ["text", words],
  ["varchar", words],
  ["varchar(2)", either(words, "abc", "ab", "ab   ")],
  ["bpchar", words],
  ["char(4)", either(words, "abcd", "abcde", "abcd ", "\t", "ab\t")],
  ["text COLLATE \"C\"", words],
  ["name", either(words, "x".repeat(63), "x".repeat(64), "x".repeat(70))],
  ["uuid", uuid],
  ["bytea", bytes],
  ["date", either(date, "infinity", "-infinity", "epoch", "1970-01-01", "0044-03-15 BC", "Jan 1 2000", "01-02-2000")],
  ["time", either(clock, "24:00:00", "00:00:00", "allballs", "1:00 PM")],
  ["time(2)", clock],
  ["timetz", fc.tuple(clock, zone).map(([t, z]) => t + z)],
  ["timestamp", either(moment, "infinity", "epoch", "2000-01-01", "2000-01-01T00:00:00", "0044-03-15 00:00:00 BC")],
  ["timestamp(3)", moment],
  [
    "timestamptz",
    either(fc.tuple(moment, zone).map(([m, z]) => m + z), "infinity", "-infinity", "epoch", "2000-01-01 Europe/Berlin")
  ],
  ["timestamptz(3)", fc.tuple(moment, zone).map(([m, z]) => m + z)],
  [
    "inet",
    from(
      "10.0.0.1",
      "10.0.0.1/32",
      "10.0.0.1/24",
      "10.0.0.1/8",
      "::1",
      "0:0::1",
      "::1/128",
      "::1/64",
      "::ffff:10.0.0.1",
      "10"
    )
  ],
  ["macaddr", from("08:00:2b:01:02:03", "08-00-2B-01-02-03", "08002b010203", "08:00:2b:01:02:04")],
  ["macaddr8", from("08:00:2b:01:02:03", "08:00:2b:ff:fe:01:02:03", "08002bfffe010203", "08:00:2b:01:02:03:04:05")],
  ["pg_lsn", from("0/0", "00/00", "16/B374D848", "16/b374d848", "0/1")],
  ["bit(3)", either(bits, "X1", "b101")],
  ["bit(1)", bits],
  ["varbit", bits],
  ["varbit(4)", bits],
  ["int4range", range(int(0, 4))],
  ["int8range", range(int(0, 4))],
  ["daterange", range(date)],
  ["tsrange", range(either(moment, "infinity").map((m) => m === "" ? "" : `"${m}"`))],
  ["tstzrange", range(fc.tuple(moment, zone).map(([m, z]) => `"${m}${z}"`))],
  ["int4[]", array(int(0, 2), "[1:1]={1}", "{{1,2}}", "{{}}")],
  ["int8[]", array(int(0, 2))],
  ["text[]", array(from("a", "\"a\"", "\"a b\"", "\"\"", "null", "\"null\"", "\"a\\\"b\"", "\"a,b\"", "é"))],
  ["varchar(2)[]", array(from("a", "ab", "\"ab \""))],
  ["bool[]", array(from("t", "true", "f", "0"))],
  ["uuid[]", array(uuid)],
  ["timestamptz[]", array(fc.tuple(moment, zone).map(([m, z]) => `"${m}${z}"`))],
  ["date[]", array(date)],
  ["mood", from("sad", "ok", "so so", "SAD", "it's", "")],
  ["app.\"Odd Type\"", from("a", "b", "a.b")]
]

const setup = Effect.gen(function*() {
  const database = yield* Postgres.makeDatabase
  const db = yield* database.session
  yield* db.exec(DISPLAY_SETTINGS)
  yield* db.exec("CREATE TYPE mood AS ENUM ('sad', 'ok', 'so so', 'SAD', 'it''s', '')")
  yield* db.exec("CREATE SCHEMA app; CREATE TYPE app.\"Odd Type\" AS ENUM ('a', 'b', 'a.b')")
  return db
})

const insertAll = (db: Postgres.Queryable, texts: ReadonlyArray<string>) =>
  Effect.forEach(texts, (text) => Effect.option(db.query(`INSERT INTO t VALUES (${quoteLiteral(text)})`)), {
    discard: true
  })

const verdict = (value: string | null | undefined) => value === "t"

/** Asks the database what a constant is, and takes every clause for one that it accepts. */
const asking = (db: Postgres.Queryable) => ({
  evaluate: (expressions: ReadonlyArray<string>) =>
    Effect.forEach(expressions, (sql) =>
      db.query(`SELECT ${sql} AS v`).pipe(
        Effect.map(([row]) => row!.v!),
        Effect.mapError(({ message }) => message),
        Effect.either
      )),
  check: () => Effect.succeed(Either.void)
})

/** Checks one literal, as it is written in SQL, on every row of `t`. Whether Postgres and we accept it. */
const check = Effect.fnUntraced(
  function*(
    { column, db, sql }: { readonly db: Postgres.Queryable; readonly column: ColumnInfo; readonly sql: SqlCatalog },
    literal: string,
    params: Array<string> = []
  ) {
    const text = `v = ${params.length > 0 ? "$1" : literal}`
    const context = { clause: text, params, columns: [column], sql, scope: "t" }
    const ours = yield* Effect.either(resolve(context, asking(db)))
    const expected = yield* Effect.either(db.query(`SELECT v, v = ${literal} AS verdict FROM t`))
    if (Either.isLeft(ours)) return { ours: false, postgres: Either.isRight(expected), indexed: false }
    const clause = ours.right!
    assert(Either.isRight(expected), `${column.typeName}: ${text} is accepted but Postgres refuses it`)
    const printed = yield* db.query(`SELECT ${clause.sql} AS verdict FROM t`)
    const slots = new Slots()
    const test = compile(clause.expression, slots)
    const access = accessOf(clause.expression)
    const [term] = access.terms ?? []
    if (term?._tag === "Equal") slots.of("v", term.columns[0]!.type)
    const row = new Row(slots)
    expected.right.forEach(({ v, verdict: said }, i) => {
      row.bind(slots.columnsIn(relation([column])), tuple([v!]), undefined)
      const about = `${column.typeName}: ${text} on ${JSON.stringify(v)}`
      const tested = test(row)
      if (tested !== undefined) assert.strictEqual(tested, verdict(said), about)
      assert.strictEqual(verdict(printed[i]!.verdict), verdict(said), `printed ${clause.sql}, ${about}`)
      if (term?._tag !== "Equal") return
      const found = term.keys[0] === row.key(slots.of("v", term.columns[0]!.type))
      if (access.exact) assert.strictEqual(found, verdict(said), `key, ${about}`)
      else assert.isTrue(found || !verdict(said), `key, ${about}`)
    })
    return { ours: true, postgres: true, indexed: term?._tag === "Equal" }
  }
)

/** Types whose equal values have the same text, or the same part of it. */
const isIndexed = (type: string): boolean => !/^(interval|jsonb|numrange|citext)/.test(type)

describe("column = literal", () => {
  for (const [type, texts] of types) {
    it.scoped(type, () =>
      Effect.gen(function*() {
        const db = yield* setup
        yield* db.exec(`CREATE TABLE t (v ${type})`)
        const [column] = yield* columnsOf(db, "t")
        const on = { db, column: column!, sql: yield* sqlCatalogOf(db) }
        yield* insertAll(db, fc.sample(texts, 60))
        yield* db.exec("INSERT INTO t VALUES (NULL)")
        let accepted = 0
        for (const text of new Set(fc.sample(texts, 60))) {
          const result = yield* check(on, quoteLiteral(text))
          assert.strictEqual(result.ours, result.postgres, `${type}: ${text}`)
          const asParam = yield* check(on, quoteLiteral(text), [text])
          assert.deepStrictEqual(asParam, result)
          if (!result.ours) continue
          accepted++
          assert.strictEqual(result.indexed, isIndexed(type))
        }
        assert.isAbove(accepted, 1)
      }))
  }

  for (const [type, texts] of types.filter(([type]) => /^(int|float|numeric|oid)[248]?(\(.*\))?$/.test(type))) {
    it.scoped(`${type} = number`, () =>
      Effect.gen(function*() {
        const db = yield* setup
        yield* db.exec(`CREATE TABLE t (v ${type})`)
        const [column] = yield* columnsOf(db, "t")
        const on = { db, column: column!, sql: yield* sqlCatalogOf(db) }
        yield* insertAll(db, fc.sample(texts, 60))
        let accepted = 0
        for (const text of new Set(fc.sample(texts, 60).filter((text) => /^-?[0-9.]+(e[0-9]+)?$/.test(text)))) {
          const result = yield* check(on, text)
          if (result.ours) accepted++
        }
        assert.isAbove(accepted, 1)
      }))
  }
})
