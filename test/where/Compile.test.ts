import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { tuple } from "../../src/domain/WalMessage.ts"
import { compile, indexTerm, termKey } from "../../src/where/Compile.ts"
import { print } from "../../src/where/Print.ts"
import { columns, equality } from "./Clauses.ts"
import { column, relation } from "./Columns.ts"

describe("compile", () => {
  const of = relation(columns)

  it("says nothing of a relation without the column, or with another type", () => {
    assert.isUndefined(compile(equality("id", "1"), relation(columns.slice(1))))
    assert.isUndefined(compile(equality("id", "1"), relation([column("id", "int8", 20)])))
  })

  it("finds the column by name wherever it stands", () => {
    const test = compile(equality("id", "1"), relation([...columns].reverse()))!
    const row = (id: string | null | undefined) => tuple([...columns.slice(1).map(() => "1"), id])
    assert.isTrue(test(row("1")))
    assert.isFalse(test(row("11")))
    assert.isFalse(test(row("")))
    assert.isFalse(test(row(null)))
    assert.isFalse(test(row(undefined)))
  })

  it("is the equality of keys", () => {
    fc.assert(
      fc.property(fc.fullUnicodeString({ maxLength: 4 }), fc.fullUnicodeString({ maxLength: 4 }), (value, text) => {
        const row = tuple(["0", text])
        const where = equality("title", value)
        assert.strictEqual(compile(where, of)!(row), value === text)
        assert.strictEqual(indexTerm(where).key === termKey(of, 1, row), value === text)
      })
    )
    assert.isUndefined(termKey(of, 0, tuple([null])))
    assert.isUndefined(termKey(of, 0, tuple([undefined])))
  })
})

describe("print", () => {
  it("quotes name, value and type", () => {
    assert.strictEqual(
      print(equality("Käse \"x\"", "it's \\")),
      String.raw`"Käse ""x""" OPERATOR(pg_catalog.=) E'it''s \\'::"pg_catalog"."text"`
    )
  })
})
