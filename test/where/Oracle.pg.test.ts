/**
 * Whole clauses against Postgres: what we accept, Postgres accepts, and says the same of every row.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc } from "effect"
import { quote } from "../../src/domain/Identifier.ts"
import { tuple } from "../../src/domain/WalMessage.ts"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { compile } from "../../src/where/Compile.ts"
import { print } from "../../src/where/Print.ts"
import { resolve } from "../../src/where/Resolve.ts"
import * as Postgres from "../support/Postgres.ts"
import { clause, hostile } from "./Clauses.ts"
import { canonical, columnsOf, relation } from "./Columns.ts"

const session = Effect.gen(function*() {
  const database = yield* Postgres.makeDatabase
  const db = yield* database.session
  yield* db.exec(DISPLAY_SETTINGS)
  return db
})

describe("clauses", () => {
  it.scoped("mean what they mean to Postgres", () =>
    Effect.gen(function*() {
      const db = yield* session
      yield* db.exec(`
        CREATE TYPE mood AS ENUM ('ok', 'a', '1');
        CREATE TABLE t (id int4, title text, done bool, price numeric, born date, code char(4), tags text[], mood mood, f4 float4);
        INSERT INTO t VALUES
          (1, 'a', true, 1.50, '2000-01-01', 'a', '{a}', 'ok', 1), (0, '', false, 1.5, '2000-01-02', 'a ', '{1}', 'a', -0.0),
          (11, '1', NULL, 10, NULL, '1', '{}', '1', 1.1), (NULL, 'aa', true, NULL, '1999-12-31', NULL, NULL, NULL, NULL)`)
      const columns = yield* columnsOf(db, "t")
      const of = relation(columns)
      const list = columns.map(({ name }) => quote(name)).join(", ")
      let accepted = 0
      for (const text of new Set(fc.sample(clause, 10_000))) {
        const params = ["1", "a"]
        const result = yield* Effect.either(resolve({ clause: text, params, columns }, canonical(db)))
        // Numbers of the grammar of Postgres 16 and later, which the server may be older than.
        if (Either.isLeft(result) || /0x1F|1_000/.test(text)) continue
        accepted++
        // Mentioned after the clause, which decides on their types, both parameters are always used.
        const rows = yield* Effect.either(
          db.query(`SELECT ${list}, (${text}\n) AS verdict, $1 || '' AS p1, $2 || '' AS p2 FROM t`, params)
        )
        assert(Either.isRight(rows), `Postgres refuses ${text}: ${Either.isLeft(rows) ? rows.left.message : ""}`)
        const test = result.right === undefined ? () => true : compile(result.right, of)!
        for (const row of rows.right) {
          const verdict = test(tuple(columns.map(({ name }) => row[name])))
          assert.strictEqual(verdict, row.verdict === "t", `${text} on ${JSON.stringify(row)}`)
        }
      }
      assert.isAbove(accepted, 50)
    }))

  it.scoped("with hostile values and names are harmless", () =>
    Effect.gen(function*() {
      const db = yield* session
      yield* db.exec("CREATE TABLE t (v text); INSERT INTO t VALUES ('kept')")
      for (const value of hostile) {
        yield* db.query("INSERT INTO t VALUES ($1)", [value])
        const columns = yield* columnsOf(db, "t")
        const where = yield* resolve({ clause: "v = $1", params: [value], columns }, canonical(db))
        assert.deepStrictEqual(yield* db.query(`SELECT v FROM t WHERE ${print(where!)}`), [{ v: value }], value)
        if (value === "") continue
        yield* db.exec(
          `DROP TABLE IF EXISTS n; CREATE TABLE n (${quote(value)} text); INSERT INTO n VALUES ('x'), ('y')`
        )
        const named = yield* resolve(
          { clause: `${quote(value)} = 'y'`, params: [], columns: yield* columnsOf(db, "n") },
          canonical(db)
        )
        assert.deepStrictEqual(yield* db.query(`SELECT * FROM n WHERE ${print(named!)}`), [{ [value]: "y" }], value)
      }
      assert.deepStrictEqual(yield* db.query("SELECT v FROM t WHERE v = 'kept'"), [{ v: "kept" }])
    }))
})
