import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import { quote, quoteLiteral } from "../../src/domain/Identifier.ts"
import * as Postgres from "../support/Postgres.ts"

const hostile = [
  "'",
  "\"",
  "\\",
  "\\'",
  "''",
  "\\\\",
  "--",
  "/*",
  ";",
  "$$",
  "E'",
  "\n",
  "\r",
  "\t",
  "\x01",
  "\x7f",
  "é",
  "😀",
  "\u2019",
  "%",
  "a"
]
const text = fc.oneof(
  fc.array(fc.constantFrom(...hostile), { maxLength: 8 }).map((parts) => parts.join("")),
  fc.fullUnicodeString({ maxLength: 20 }).filter((all) => !all.includes("\0"))
)
/** Postgres cuts a name after 63 bytes. */
const name = text.filter((all) => all.length > 0 && Buffer.byteLength(all) <= 63)

describe("quoting, as Postgres reads it", () => {
  for (const setting of ["on", "off"]) {
    it.scoped(`of literals with standard_conforming_strings ${setting}`, () =>
      Effect.gen(function*() {
        const db = yield* Effect.flatMap(Postgres.makeDatabase, (database) => database.session)
        yield* db.exec(`SET standard_conforming_strings = ${setting}`)
        const texts = fc.sample(text, 400)
        const rows = yield* db.query(
          `SELECT * FROM (VALUES ${texts.map((all) => `(${quoteLiteral(all)})`).join(", ")}) AS t (v)`
        )
        assert.deepStrictEqual(rows.map(({ v }) => v), texts)
      }))
  }

  it.scoped("of names", () =>
    Effect.gen(function*() {
      const db = yield* Effect.flatMap(Postgres.makeDatabase, (database) => database.session)
      for (const one of new Set(fc.sample(name, 150))) {
        const rows = yield* db.query(`SELECT 1 AS ${quote(one)}`)
        assert.deepStrictEqual(rows, [{ [one]: "1" }])
      }
    }))
})
