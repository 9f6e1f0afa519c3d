/**
 * The order of a subset: what is accepted, as what it is printed, and how the rest is refused.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as OrderBy from "../../src/where/OrderBy.ts"

const columns = ["id", "name", "Name", "a\"b", "ü"]
const resolve = (order: string) => OrderBy.resolve(order, columns)

const accepted: ReadonlyArray<readonly [order: string, sql: string | undefined]> = [
  ["id", "\"id\""],
  ["ID", "\"id\""],
  ["\"Name\" desc", "\"Name\" DESC"],
  ["id ASC, name DESC NULLS LAST", "\"id\" ASC, \"name\" DESC NULLS LAST"],
  ["id nulls first", "\"id\" NULLS FIRST"],
  ["\"a\"\"b\", \"ü\"", "\"a\"\"b\", \"ü\""],
  ["id -- and nothing else", "\"id\""],
  ["id /* , name */ , \"name\"", "\"id\", \"name\""],
  // A constant orders nothing.
  ["1", undefined],
  ["'x', id", "\"id\""]
]

const refused: ReadonlyArray<readonly [order: string, message: string]> = [
  ["nope", "At location 0: unknown reference nope"],
  ["id, nope", "At location 4: unknown reference nope"],
  ["items.id", "At location 0: unknown reference items.id"],
  ["lower(name)", "At location 0: FuncCall expressions are not allowed in ORDER BY clauses"],
  ["id, name::text", "At location 8: TypeCast expressions are not allowed in ORDER BY clauses"],
  ["id + 1", "At location 3: A_Expr expressions are not allowed in ORDER BY clauses"],
  ["name COLLATE \"C\"", "At location 5: CollateClause expressions are not allowed in ORDER BY clauses"],
  [
    "CASE WHEN true THEN id END",
    "At location 0: CaseExpr expressions are not allowed in ORDER BY clauses"
  ],
  ["(SELECT pg_sleep(1))", "At location 0: SubLink expressions are not allowed in ORDER BY clauses"],
  ["$1", "parameter $1 is not supported in ORDER BY clauses"],
  ["id USING >", "At location 0: USING is not allowed in ORDER BY clauses"],
  ["id; DROP TABLE items", "Unexpected `;` in order by"],
  ["id;", "Unexpected `;` in order by"],
  ["id LIMIT 1", "malformed query ending with SQL clauses"],
  ["id FOR UPDATE", "malformed query ending with SQL clauses"],
  ["id UNION SELECT 1", "At location 21: syntax error at or near \"UNION\""],
  ["ü, nope", "At location 3: unknown reference nope"],
  ["id\0", "At location 2: null byte in order by clause"],
  [" ", "At location 19: syntax error at end of input"],
  ["id name", "At location 21: syntax error at or near \"name\""]
]

describe("the order of a subset", () => {
  it.effect("is columns with directions, printed anew", () =>
    Effect.gen(function*() {
      for (const [order, sql] of accepted) assert.strictEqual(yield* resolve(order), sql, order)
    }))

  it.effect("is nothing else", () =>
    Effect.gen(function*() {
      for (const [order, message] of refused) {
        assert.strictEqual(yield* Effect.flip(resolve(order)), message, order)
      }
    }))

  it.effect("is of limited length", () =>
    Effect.gen(function*() {
      assert.include(yield* Effect.flip(resolve("id,".repeat(30_000) + "id")), "bigger than maximum size")
    }))
})
