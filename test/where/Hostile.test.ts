import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck as fc } from "effect"
import { print } from "../../src/where/Print.ts"
import { clause, columns, equality, hostile, read } from "./Clauses.ts"

describe("hostile values", () => {
  for (const value of hostile) {
    it(JSON.stringify(value), async () => {
      const expected = Either.right(equality("title", value))
      assert.deepStrictEqual(await read("title = $1", value), expected)
      assert.deepStrictEqual(await read(`title = '${value.replaceAll("'", "''")}'`), expected)
      const again = await read(print(equality("title", value)).replace("OPERATOR(pg_catalog.=)", "="))
      assert.deepStrictEqual(again, expected)
    })
  }
})

describe("any text", () => {
  it("is an error or a clause, soon", async () => {
    await read("true")
    let accepted = 0
    const slow: Array<string> = []
    await fc.assert(
      fc.asyncProperty(clause, async (text) => {
        const before = performance.now()
        const result = await read(text, "1")
        if (performance.now() - before > 50) slow.push(text)
        if (Either.isRight(result)) {
          accepted++
          if (result.right !== undefined) {
            assert.strictEqual(result.right._tag, "Equality")
            assert.include(columns.map(({ name }) => name), result.right.column)
          }
        } else {
          assert.isString(result.left)
          assert.isAbove(result.left.length, 0)
        }
      }),
      { numRuns: 3000 }
    )
    // The machine may be busy; a clause that is slow is slow twice.
    for (const text of slow) {
      const before = performance.now()
      await read(text, "1")
      assert.isBelow(performance.now() - before, 50, text)
    }
    assert.isAbove(accepted, 30)
  }, 60_000)

  it("of the greatest size is refused soon too", async () => {
    const fill = (part: string) => part.repeat(Math.floor(65_000 / part.length))
    const big = [
      fill("("),
      fill("NOT "),
      fill("- ") + "1",
      "id IN (1" + fill(",1") + ")",
      "done" + fill(" OR done"),
      "title = '" + fill("a") + "'",
      fill("'"),
      fill("\""),
      fill("/*"),
      fill("/*|"),
      fill("+-"),
      fill(`${"+-".repeat(31)} `),
      fill(`${"/*".repeat(31)} `),
      fill("--\n"),
      fill("\\"),
      fill("é"),
      "id" + fill("[1]"),
      "id" + fill("::int4"),
      fill("id = 1 AND "),
      fill("CASE WHEN true THEN "),
      fill("f("),
      "1" + fill("+1") + "=1",
      fill(" ")
    ]
    for (const text of big) {
      let best = Infinity
      for (let i = 0; i < 5; i++) {
        const before = performance.now()
        await read(text)
        best = Math.min(best, performance.now() - before)
      }
      assert.isBelow(best, 50, text.slice(0, 30))
    }
  })
})
