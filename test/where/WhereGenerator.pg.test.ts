import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import * as Postgres from "../support/Postgres.ts"
import { makeClause, makeRandom, makeTable, SETUP } from "./WhereGenerator.ts"

const seed = Number(process.env.SHAPELOG_TEST_SEED ?? Date.now() % 1_000_000_000)
const CLAUSES = Number(process.env.SHAPELOG_TEST_ROUNDS ?? 1) * 1000

const SIZE = { columns: 14, rows: 5 }

describe("generated clauses", () => {
  it("are the same for the same seed", () => {
    const make = (seed: number) => {
      const random = makeRandom(seed)
      const table = makeTable(random, "t", SIZE)
      return JSON.stringify([table, ...Array.from({ length: 50 }, () => makeClause(random, table))])
    }
    assert.strictEqual(make(1), make(1))
    assert.notStrictEqual(make(1), make(2))
  })

  it.scoped(`are nearly all accepted by Postgres (seed ${seed})`, () =>
    Effect.gen(function*() {
      const db = yield* (yield* Postgres.makeDatabase).session
      yield* db.exec(`${DISPLAY_SETTINGS};${SETUP}`)
      const random = makeRandom(seed)
      const refused: Array<string> = []
      let longest = 0
      for (let n = 0; n < CLAUSES; n += 50) {
        const table = makeTable(random, `t${n}`, SIZE)
        yield* db.exec(table.sql)
        for (let i = 0; i < 50; i++) {
          const { params, sql } = makeClause(random, table)
          longest = Math.max(longest, sql.length)
          yield* db.query(`SELECT (${sql}\n) FROM ${table.name} LIMIT 0`, params).pipe(
            Effect.catchAll((error) =>
              // Errors of constants are found while it is planned.
              Effect.sync(() => {
                if (error.code.startsWith("42")) refused.push(`${error.code} ${error.message}\n  ${sql}`)
              })
            )
          )
        }
      }
      if (process.env.SHAPELOG_TEST_VERBOSE) {
        console.log(`${refused.length} refused, longest ${longest}\n${refused.join("\n")}`)
      }
      assert.isAtMost(refused.length, CLAUSES * 0.05, refused.slice(0, 5).join("\n"))
    }))
})
