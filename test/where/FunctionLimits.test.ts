/**
 * What takes long, or would make much of little, is left to Postgres.
 */
import { assert, describe, it } from "@effect/vitest"
import type { SqlType } from "../../src/domain/SqlCatalog.ts"
import { builtin } from "../../src/where/functions/Functions.ts"
import { type CallSite, UNSURE, type Value } from "../../src/where/Value.ts"
import { list } from "../../src/where/values/Arrays.ts"
import { codecOf } from "../../src/where/values/Codecs.ts"
import { multiply, parse } from "../../src/where/values/Numeric.ts"
import { C } from "./FunctionOracle.ts"

const base = (name: string): SqlType => ({
  oid: 0,
  schema: "pg_catalog",
  name,
  kind: "b",
  category: "U",
  preferred: false,
  collation: 0
})
const text = base("text")

const call = (source: string, args: ReadonlyArray<Value>, types: ReadonlyArray<SqlType> = [text, text]): Value => {
  const site: CallSite = {
    fn: { oid: 0, schema: "pg_catalog", name: source, source, strict: true },
    args: types,
    result: text,
    collation: C,
    constants: args.map(() => undefined)
  }
  return builtin(source)!(site)!(args[0]!, args[1]!, args[2]!, args[3]!)
}

const isUnsure = (f: () => unknown): void => {
  try {
    f()
  } catch (error) {
    assert.strictEqual(error, UNSURE)
    return
  }
  assert.fail("certain")
}

const million = "a".repeat(1_000_000)

describe("limits", () => {
  it("of results", () => {
    assert.strictEqual(call("repeat", ["ab", 3]), "ababab")
    isUnsure(() => call("repeat", ["ab", 2_147_483_647]))
    isUnsure(() => call("lpad", ["ab", 2_147_483_647, "x"]))
    isUnsure(() => call("textcat", [million, "b"]))
    isUnsure(() => call("replace_text", [million, "a", "bb"]))
    isUnsure(() => call("text_concat", [million, "b"]))
  })

  it("of searches", () => {
    const part = `${"a".repeat(10_000)}b`
    for (const source of ["textpos", "textlike", "textregexeq"]) isUnsure(() => call(source, [million, `%${part}%`]))
    isUnsure(() => call("replace_text", [million, part, "x"]))
    isUnsure(() => call("split_part", [million, part, 1]))
    isUnsure(() => call("textlike", [million, `%${"_a".repeat(1000)}b`]))
    isUnsure(() => call("textlike", [million + million, `%${"a".repeat(60)}b%_`]))
    isUnsure(() => call("textlike", ["a", "a".repeat(200_000)]))
    assert.strictEqual(call("textlike", [million, "%_b%_c%"]), false)
  })

  it("of numbers", () => {
    isUnsure(() => parse("1".repeat(5_000)))
    const long = parse("9".repeat(3_000))
    isUnsure(() => multiply(long, long))
    isUnsure(() => call("numeric_round", [parse("1"), 2_000_000_000]))
  })

  it("of arrays", () => {
    const many = list(Array.from({ length: 5_000 }, (_, i) => i))
    const int4Array: SqlType = { ...base("_int4"), element: base("int4") }
    isUnsure(() => call("arraycontains", [many, many], [int4Array, int4Array]))
    isUnsure(() => codecOf(int4Array)!.decode("{".repeat(100_000)))
  })

  it("are no limit to what has no function", () => {
    assert.isUndefined(builtin("pg_sleep"))
    assert.isUndefined(builtin("constructor"))
  })
})
