/**
 * Clauses that mean harm to the parser: each is a syntax tree or a message, whatever it is.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc } from "effect"
import { MAX_BYTES, parse } from "../../src/where/Grammar.ts"
import { clause, hostile } from "./Clauses.ts"

const read = (clause: string) => Effect.runPromise(Effect.either(parse(clause)))

const fill = (part: string) => part.repeat(Math.floor(65_000 / part.length))

const big: ReadonlyArray<string> = [
  fill("("),
  fill("NOT "),
  `${fill("- ")}1`,
  fill("'"),
  fill("\""),
  fill("/*"),
  fill("/*|"),
  fill("+-"),
  fill(`${"+-".repeat(31)} `),
  fill(`${"/*".repeat(31)} `),
  fill("--\n"),
  fill("\\"),
  fill("id = 1 AND "),
  fill("CASE WHEN true THEN "),
  fill("f("),
  fill("$a$"),
  fill("[[["),
  fill("E'\\"),
  fill("U&\"\\"),
  fill(" "),
  fill("\ud800"),
  `1${fill("+1")}=1`,
  `id${fill("[1]")}=1`,
  `id${fill("::int4")}=1`,
  `id${fill(" COLLATE a")}`,
  `true;${fill("true;")}`,
  `true ORDER BY 1${fill(",1")}`
]

describe("hostile values", () => {
  for (const value of hostile) {
    it(`${JSON.stringify(value)} is a text`, async () => {
      const tree = Either.getOrThrow(await read(`'${value.replaceAll("'", "''")}'`))
      assert.deepStrictEqual("A_Const" in tree && (tree.A_Const.sval?.sval ?? ""), value)
    })
  }
})

describe("any text", () => {
  it("is an error or one expression", async () => {
    let accepted = 0
    await fc.assert(
      fc.asyncProperty(clause, async (text) => {
        const result = await read(text)
        if (Either.isRight(result)) accepted++
        else assert.isAbove(result.left.length, 0)
      }),
      { numRuns: 3000 }
    )
    assert.isAbove(accepted, 30)
  })

  it("of the greatest size leaves the parser whole", async () => {
    for (const text of big) {
      const result = await read(text)
      if (Either.isLeft(result)) assert.isBelow(result.left.length, 1000, text.slice(0, 20))
      assert.isTrue(Either.isRight(await read("id = 1")), text.slice(0, 20))
    }
    assert.match(String(Either.getLeft(await read("a".repeat(MAX_BYTES + 1)))), /bigger than maximum size/)
    assert.match(String(Either.getLeft(await read("é".repeat(MAX_BYTES / 2 + 1)))), /bigger than maximum size/)
    assert.match(String(Either.getLeft(await read("a = '\0'"))), /null byte/)
  })
})
