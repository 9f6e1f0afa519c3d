/**
 * What resolving a clause asks the database, and what it knows by itself.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc } from "effect"
import { quoteLiteral } from "../../src/domain/Identifier.ts"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { arrayText, evident, numericLiteral } from "../../src/where/Canonical.ts"
import { resolve } from "../../src/where/Clause.ts"
import { makeDatabase } from "../support/Postgres.ts"
import { sqlCatalogOf } from "../support/SqlCatalogs.ts"
import { columnsOf } from "./Columns.ts"

const withTable = Effect.gen(function*() {
  const database = yield* makeDatabase
  const db = yield* database.session
  yield* db.exec(`${DISPLAY_SETTINGS}; CREATE TABLE t (id int, title text, born timestamp, price numeric, done bool)`)
  const columns = yield* columnsOf(db, "t")
  const sql = yield* sqlCatalogOf(db)
  const value = (expression: string) =>
    db.query(`SELECT ${expression} AS value`).pipe(
      Effect.map(([row]) => row!.value ?? null),
      Effect.mapError((error) => error.message),
      Effect.either
    )
  const asked: { evaluated: Array<ReadonlyArray<string>>; checked: Array<string> } = { evaluated: [], checked: [] }
  const read = (clause: string, params: ReadonlyArray<string | null> = [], scope = database.name) =>
    Effect.either(resolve({ clause, params, columns, sql, scope }, {
      evaluate: (all) => {
        asked.evaluated.push(all)
        return Effect.forEach(all, value)
      },
      check: (condition) => {
        asked.checked.push(condition)
        return db.query(`SELECT 1 FROM t WHERE ${condition} LIMIT 0`).pipe(
          Effect.asVoid,
          Effect.mapError((error) => error.message),
          Effect.either
        )
      }
    }))
  return { asked, db, read, value }
})

describe("questions to the database", () => {
  it.scopedLive("none for evident literals, and one check for all clauses of a template", () =>
    Effect.gen(function*() {
      const { asked, read } = yield* withTable
      for (let id = 0; id < 20; id++) {
        assert(Either.isRight(yield* read("id = $1 AND title = $2 AND price < 1.5", [String(id), `user ${id}`])))
      }
      assert.deepStrictEqual(asked.evaluated, [])
      assert.lengthOf(asked.checked, 1)
      yield* read("id = $1 AND title = $2 AND price < 1.5", ["1", null])
      assert.lengthOf(asked.checked, 2, "NULL is another template")
      yield* read("id = 1 AND title = 'x' AND price < 1.5", [], `${asked.checked.length} another table`)
      assert.lengthOf(asked.checked, 3, "another scope")
    }))

  it.scopedLive("of an operator that may fail for a constant, every constant is checked", () =>
    Effect.gen(function*() {
      const { asked, read } = yield* withTable
      yield* read("title ~ 'a'")
      yield* read("title ~ 'b'")
      assert.lengthOf(asked.checked, 2)
    }))

  it.scopedLive("one evaluation for all that is constant", () =>
    Effect.gen(function*() {
      const { asked, read } = yield* withTable
      const found = yield* read(
        "id = 1 + 1 AND born > $1 AND born IN ('2024-01-01', '2024-1-2') AND lower('A') = title",
        [
          "2024-1-1"
        ]
      )
      assert.lengthOf(asked.evaluated, 1)
      assert.lengthOf(asked.evaluated[0]!, 4)
      assert.strictEqual(
        Either.getOrThrow(found)!.sql.replaceAll("\"pg_catalog\".", "").replaceAll("pg_catalog.", ""),
        "(\"id\" OPERATOR(=) '2'::\"int4\") AND (\"born\" OPERATOR(>) '2024-01-01 00:00:00'::\"timestamp\") AND "
          + "(\"born\" OPERATOR(=) ANY ('{\"2024-01-01 00:00:00\",\"2024-01-02 00:00:00\"}'::\"_timestamp\")) AND "
          + "(\"title\" OPERATOR(=) 'a'::\"text\")"
      )
    }))

  it.scopedLive("what fails is left to Postgres", () =>
    Effect.gen(function*() {
      const { asked, read } = yield* withTable
      assert.deepStrictEqual(yield* read("id = 1 / 0"), Either.left("division by zero"))
      const found = yield* read("CASE WHEN done THEN 1 / 0 ELSE id END = 1")
      assert.deepStrictEqual(found, Either.left("division by zero"), "Postgres computes it before there is a row")
      const untaken = Either.getOrThrow(yield* read("CASE WHEN false THEN 1 / 0 ELSE id END = 1"))
      assert.include(untaken!.sql, "OPERATOR(pg_catalog./)")
      assert.strictEqual(asked.checked.at(-1), untaken!.sql)
    }))

  it.scopedLive("long values are not written into the clause", () =>
    Effect.gen(function*() {
      const { read } = yield* withTable
      const found = Either.getOrThrow(yield* read("title = repeat('x', 100000)"))
      assert.include(found!.sql, "repeat")
      assert.isBelow(found!.sql.length, 200)
      const numbers = Array.from({ length: 20 }, (_, i) => `price = '${i + 1}e1000'`).join(" OR ")
      assert(Either.isRight(yield* read(numbers)))
      const more = Array.from({ length: 20 }, (_, i) => `price = '${i + 1}e100000'`).join(" OR ")
      assert.deepStrictEqual(yield* read(more), Either.left("the clause's constants are too large"))
    }))

  it.scopedLive("what Postgres refuses at last is refused in its words", () =>
    Effect.gen(function*() {
      const { read } = yield* withTable
      assert.deepStrictEqual(
        yield* read("title ~ '('"),
        Either.left("invalid regular expression: parentheses () not balanced")
      )
      assert.deepStrictEqual(
        yield* read("title::varchar(0) = 'a'"),
        Either.left("length for type varchar must be at least 1")
      )
    }))
})

describe("output forms", () => {
  const digits = fc.stringOf(fc.constantFrom("0", "1", "5", "9"), { maxLength: 8 })
  const number = fc.tuple(
    fc.constantFrom("", "-"),
    digits,
    fc.constantFrom("", "."),
    digits,
    fc.constantFrom("", "", "e3", "E-2", "e+1", "e-12", "e20")
  ).map((parts) => parts.join(""))

  it.scopedLive("of numbers are those of Postgres", () =>
    Effect.gen(function*() {
      const { value } = yield* withTable
      for (const text of new Set(fc.sample(number, 300))) {
        const ours = numericLiteral(text)
        if (ours === undefined) continue
        assert.deepStrictEqual(yield* value(`${quoteLiteral(text)}::numeric`), Either.right(ours), text)
      }
    }))

  it.scopedLive("of arrays are those of Postgres", () =>
    Effect.gen(function*() {
      const { value } = yield* withTable
      const element = fc.oneof(
        fc.constantFrom(
          null,
          "",
          "null",
          "NULL",
          "nul",
          "a b",
          "{",
          "}",
          ",",
          "\"",
          "\\",
          "\t",
          "\n",
          "\u00a0",
          "é",
          " a",
          "'"
        ),
        fc.string({ maxLength: 4 }).map((text) => text.replaceAll("\0", ""))
      )
      for (const elements of fc.sample(fc.array(element, { maxLength: 4 }), 200)) {
        const list = elements.map((text) => text === null ? "NULL" : quoteLiteral(text)).join(", ")
        const ours = arrayText(elements)
        assert.deepStrictEqual(yield* value(`ARRAY[${list}]::text[]`), Either.right(ours), list)
      }
    }))

  it.scopedLive("that are evident are those of Postgres, and values at all", () =>
    Effect.gen(function*() {
      const { value } = yield* withTable
      const texts = [
        ...["0", "-0", "00", "7", "-32768", "32768", "2147483647", "2147483648", "9223372036854775807", "1.50", "01.5"],
        ...[
          "t",
          "true",
          "f",
          "false",
          "T",
          "yes",
          "2024-02-29",
          "2023-02-29",
          "2024-04-31",
          "0000-01-01",
          "0001-01-01"
        ],
        ...[
          "9999-12-31",
          "2024-00-01",
          "2024-13-01",
          "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
          "",
          " 1",
          "1 ",
          "+1",
          "1e3"
        ]
      ]
      for (const type of ["text", "varchar", "bpchar", "int2", "int4", "int8", "numeric", "bool", "uuid", "date"]) {
        for (const text of texts) {
          const ours = evident(type, text)
          if (ours === undefined) continue
          assert.deepStrictEqual(yield* value(`${quoteLiteral(text)}::${type}`), Either.right(ours), `${type} ${text}`)
        }
      }
    }))

  it.scopedLive("of folded conversions are those of Postgres", () =>
    Effect.gen(function*() {
      const { asked, read, value } = yield* withTable
      for (const text of ["1", "0", "1.10", "100000", "99999999999999", "0.001", "123.456000", "-7.25"]) {
        const found = Either.getOrThrow(yield* read(`id::float8 = ${text}`))
        const theirs = Either.getOrThrow(yield* value(`(${text})::float8`))
        assert.include(found!.sql, `'${theirs}'::"pg_catalog"."float8"`)
      }
      assert.deepStrictEqual(asked.evaluated, [])
    }))
})
