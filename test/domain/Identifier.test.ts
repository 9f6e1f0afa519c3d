import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck as fc } from "effect"
import { parseColumns, parseTable, quote, quoteLiteral } from "../../src/domain/Identifier.ts"

const long = (n: number) => "a".repeat(n)

describe("parseTable", () => {
  const names: ReadonlyArray<readonly [string, string, string]> = [
    ["items", "public", "items"],
    ["app.items", "app", "items"],
    ["Items", "public", "items"],
    ["ÄÖ", "public", "ÄÖ"],
    ["Öl", "public", "Öl"],
    ["_a$1", "public", "_a$1"],
    ["\"Items\"", "public", "Items"],
    ["\"My Table\"", "public", "My Table"],
    ["\"a.b\"", "public", "a.b"],
    ["\"foo.bar\".\"baz\"", "foo.bar", "baz"],
    ["App.\"Items\"", "app", "Items"],
    ["\"a\"\"b\"", "public", "a\"b"],
    ["\"\"\"\"", "public", "\""],
    ["\"1\"", "public", "1"],
    ["\" \"", "public", " "],
    ["\"a,b\"", "public", "a,b"],
    [long(63), "public", long(63)],
    [`"${"é".repeat(63)}"`, "public", "é".repeat(63)],
    [`"${"😀".repeat(63)}"`, "public", "😀".repeat(63)],
    [`"${"\"\"".repeat(63)}"`, "public", "\"".repeat(63)],
    // A letter with a combining mark.
    ["e\u0301", "public", "e\u0301"]
  ]
  for (const [text, schema, name] of names) {
    it(text, () => assert.deepStrictEqual(parseTable(text), Either.right({ schema, name })))
  }

  const zeroLength = "Invalid zero-length delimited identifier"
  const special = (text: string) => `Invalid unquoted identifier contains special characters: ${text}`
  const tooLong = "Identifier is too long (max length is 63)"
  const errors: ReadonlyArray<readonly [string, string]> = [
    ["", zeroLength],
    [".x", zeroLength],
    ["x.", zeroLength],
    [".", zeroLength],
    ["\"\"", zeroLength],
    ["\"\".x", zeroLength],
    ["1a", special("1a")],
    ["a b", special("a b")],
    [" a", special(" a")],
    ["a-b", special("a-b")],
    ["$a", special("$a")],
    ["a;drop table b", special("a;drop table b")],
    ["a\0", special("a\0")],
    ["\"a\0\"", "Invalid identifier with a null byte"],
    ["\"", special("\"")],
    ["\"a", special("\"a")],
    ["a\"", special("a\"")],
    ["a\"b\"", special("a\"b\"")],
    ["x.\"a.b", special("\"a.b")],
    ["\"a\"b\"", "Invalid identifier with unescaped quote: a\"b"],
    ["\"a\"\"\"b\"", "Invalid identifier with unescaped quote: a\"\"\"b"],
    ["\"a\" OR \"b\"", "Invalid identifier with unescaped quote: a\" OR \"b"],
    ["a.b.c", "Invalid relation identifier, too many delimiters: a.b.c"],
    ["..", "Invalid relation identifier, too many delimiters: .."],
    [long(64), tooLong],
    [`"${long(64)}"`, tooLong],
    [`a.${long(64)}`, tooLong]
  ]
  for (const [text, message] of errors) {
    it(`${JSON.stringify(text)} is refused`, () => assert.deepStrictEqual(parseTable(text), Either.left(message)))
  }
})

describe("parseColumns", () => {
  it("splits at commas outside quotes", () => {
    assert.deepStrictEqual(parseColumns("id"), Either.right(["id"]))
    assert.deepStrictEqual(parseColumns("\"a,b\",C"), Either.right(["a,b", "c"]))
    assert.deepStrictEqual(
      parseColumns("a.b"),
      Either.left("Invalid unquoted identifier contains special characters: a.b")
    )
    assert.deepStrictEqual(parseColumns("\"a.b\",\"x\"\",\"\"y\""), Either.right(["a.b", "x\",\"y"]))
  })
  it("refuses a list with an empty name", () => {
    for (const text of ["", ",", "a,", ",a", "a,,b", "a,\"\""]) {
      assert.deepStrictEqual(parseColumns(text), Either.left("Invalid zero-length delimited identifier"), text)
    }
  })
})

const name = fc.fullUnicodeString({ minLength: 1, maxLength: 40 }).filter((text) => !text.includes("\0"))

describe("quoting", () => {
  it("is read back as the same name", () => {
    fc.assert(
      fc.property(name, name, (schema, table) => {
        assert.deepStrictEqual(parseTable(`${quote(schema)}.${quote(table)}`), Either.right({ schema, name: table }))
        assert.deepStrictEqual(parseColumns(`${quote(schema)},${quote(table)}`), Either.right([schema, table]))
      })
    )
  })
  it("of a literal is independent of standard_conforming_strings", () => {
    assert.strictEqual(quoteLiteral("it's"), "'it''s'")
    assert.strictEqual(quoteLiteral("\\"), "E'\\\\'")
    assert.strictEqual(quoteLiteral("\\'; --"), "E'\\\\''; --'")
  })
  it("never throws on any text", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.fullUnicodeString(), fc.stringOf(fc.constantFrom("\"", ".", ",", "a", "A", " ", "é"))),
        (text) => {
          const results: ReadonlyArray<Either.Either<unknown, string>> = [parseTable(text), parseColumns(text)]
          for (const result of results) {
            if (Either.isLeft(result)) assert.match(result.left, /^(Invalid|Identifier) /)
          }
        }
      ),
      { numRuns: 1000 }
    )
  })
})
