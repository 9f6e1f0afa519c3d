import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc } from "effect"
import { excess } from "../../src/where/Excess.ts"
import { MAX_BYTES, parse } from "../../src/where/Grammar.ts"

const read = (clause: string) => Effect.runPromise(Effect.either(parse(clause)))

const TOO_DEEP = "the clause is nested too deeply"
const TOO_LONG = "operator too long"
const TOO_MANY = "names, operators and constants"

/** Larger than what is read without a look at it, with nothing to find in it. */
const FILL = `/*${" ".repeat(2000)}*/`

const refused: ReadonlyArray<readonly [string, string]> = [
  [`1${"+1".repeat(2000)} = 1`, TOO_DEEP],
  [`${"NOT ".repeat(2001)}true`, TOO_DEEP],
  [`${"- ".repeat(2001)}1 = 1`, TOO_DEEP],
  [`${"(".repeat(2001)}1${")".repeat(2001)} = 1`, TOO_DEEP],
  [`id${"::int4".repeat(700)} = 1`, TOO_DEEP],
  [`id${" COLLATE a".repeat(1001)}`, TOO_DEEP],
  [`id${" ISNULL".repeat(2001)}`, TOO_DEEP],
  [`${"CASE WHEN a THEN ".repeat(2001)}1${" END".repeat(2001)}`, TOO_DEEP],
  [`${"CASE WHEN a.end AND ".repeat(2001)}1${" THEN a END".repeat(2001)}`, TOO_DEEP],
  [`${"f(1, ".repeat(1001)}1${")".repeat(1001)}`, TOO_DEEP],
  [`a${" BETWEEN 1 AND 2 ISNULL".repeat(700)}`, TOO_DEEP],
  [`a = (SELECT 1, 2${" UNION SELECT 1, 2".repeat(2001)})`, TOO_DEEP],
  // Texts that are continued on another line keep their sort, and the quote is in the second one.
  [`E'a'\n'\\'' = '${"+ ".repeat(1500)}' ${"+ ".repeat(2001)}`, TOO_DEEP],
  [`a = '${"\\"}' ${"+ ".repeat(2001)}'`, TOO_DEEP],
  [`$a$ $b$ ' $a$ ${"+ ".repeat(2001)}$a$`, TOO_DEEP],
  [`/* /* */ ' */ ${"+ ".repeat(2001)}'`, TOO_DEEP],
  [`-- '\n${"+ ".repeat(2001)}'`, TOO_DEEP],
  [`"'" ${"+ ".repeat(2001)}'`, TOO_DEEP],
  [`${"+".repeat(64)}1 = 1 ${FILL}`, TOO_LONG],
  ["/*".repeat(30_000), TOO_LONG],
  ["/*|*/".repeat(12_000), TOO_LONG],
  [`a${" OR a".repeat(10_001)}`, TOO_MANY],
  [`id IN (1${",1".repeat(20_001)})`, TOO_MANY],
  [`true ORDER BY 1${",1".repeat(2000)}`, "syntax error at or near \",\""]
]

const accepted = [
  `id IN (123${",123".repeat(16_000)})`,
  `id IN ('a'${",'a'".repeat(16_000)})`,
  `(a, b) IN ((1, 2)${",(1, 2)".repeat(8000)})`,
  `id = 1${" OR id = 1".repeat(4999)}`,
  `id = 1${" AND (id = 1 OR id = 2)".repeat(1500)}`,
  `id BETWEEN 1 AND 2${" OR id BETWEEN 1 AND 2".repeat(2000)}`,
  `CASE${" WHEN id = 1 THEN true".repeat(2500)} ELSE false END`,
  `a${" || coalesce(b, '')".repeat(300)} = ''`,
  `a = '${"a".repeat(65_000)}'`,
  `a = '${"(".repeat(65_000)}'`,
  `a = '${"''".repeat(32_000)}'`,
  `a = '${"+-".repeat(32_000)}'`,
  `a = E'${"\\'+".repeat(20_000)}'`,
  `a = $t$${"$ + ".repeat(16_000)}$t$`,
  `"${"(+".repeat(30_000)}" = 1`,
  `/${"*".repeat(60_000)}/ true`,
  `true --${"-+".repeat(30_000)}`,
  `${"/* a */ ".repeat(8000)} true`,
  `${"/* ".repeat(10_000)}${"*/ ".repeat(10_000)} true`
]

describe("what the parser is spared", () => {
  for (const [clause, message] of refused) {
    it(`${clause.slice(0, 40)}… (${clause.length})`, () => {
      assert.include(excess(clause), message)
      assert.match(excess(clause)!, /^At location \d+: /)
    })
  }

  for (const clause of accepted) {
    it(`not ${clause.slice(0, 40)}… (${clause.length})`, async () => {
      assert.isAtMost(clause.length, MAX_BYTES)
      assert.isUndefined(excess(clause))
      const tree = await read(clause)
      assert.isTrue(Either.isRight(tree), String(Either.getLeft(tree)))
    })
  }

  it("is found at its place", () => {
    assert.strictEqual(excess(`a ${"+".repeat(64)} b ${FILL}`)?.slice(0, 15), "At location 2: ")
  })

  it("is enough: what passes never overflows the parser's stack", async () => {
    const pieces = [
      ..."( ) [ ] , . + - NOT AND OR CASE WHEN THEN ELSE END BETWEEN a 1 ' \" $$ $1 /* */ -- E'\\ :: ISNULL COLLATE SELECT UNION JOIN f( ; a.end"
        .split(" "),
      "AT TIME ZONE b",
      "E'a'\n'\\''",
      "BETWEEN 1 AND 2 ISNULL",
      "\n"
    ]
    const pattern = fc.array(fc.constantFrom(...pieces), { minLength: 1, maxLength: 5 }).map((parts) => parts.join(" "))
    await fc.assert(
      fc.asyncProperty(pattern, pattern, pattern, async (before, middle, behind) => {
        const times = Math.floor(MAX_BYTES / (before.length + behind.length + 2))
        const clause = `a ${`${before} `.repeat(times)}${middle}${` ${behind}`.repeat(times)}`.slice(0, MAX_BYTES)
        const found = excess(clause)
        const tree = await read(clause)
        // The message of the parser's own, where its stack has overflowed.
        if (found === undefined) {
          assert.isFalse(Either.isLeft(tree) && tree.left.includes(TOO_DEEP), clause.slice(0, 200))
        }
      }),
      { numRuns: 500 }
    )
  })
})
