/** jsonb against Postgres. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { jsonFunctions } from "../../src/where/functions/Json.ts"
import { jsonTextFunctions } from "../../src/where/functions/JsonText.ts"
import { UNSURE } from "../../src/where/Value.ts"
import { codecOf } from "../../src/where/values/Codecs.ts"
import { jsonCodecs } from "../../src/where/values/Json.ts"
import { check } from "./FunctionOracle.ts"

const jsonb = [
  ..."null true false 0 1 1.0 1.00 -1 -0 1e3 1.5 2.5 -2.5 0.000001 32767.5 2147483647.4 9223372036854775807".split(" "),
  ..."9223372036854775808 1e400 12345678901234567890.123456789 16777217 1e-400 0.1 3e38 3.5e38 1e-46 {} [] [[]]".split(
    " "
  ),
  ..."[{}] [null] [1] [1.0] [1,2] [2,1] [1,1,2] [\"a\"] [\"b\",\"a\"] [\"a\",\"a\",\"b\"] [[1,2],[3]] [[1,2]]".split(
    " "
  ),
  ..."{\"a\":1} {\"a\":1.00} {\"a\":null} {\"a\":\"x\"} {\"b\":2,\"a\":1} {\"aa\":1,\"b\":2,\"a\":3} {\"a\":[1,2,3]}"
    .split(" "),
  ..."{\"a\":[1]} {\"a\":{\"b\":{\"c\":[1,{\"d\":\"e\"}]}}} {\"a\":{\"b\":{}}} {\"a\":{}} {\"a\":[]} [{\"a\":1}]".split(
    " "
  ),
  ..."[{\"a\":1,\"b\":2},{\"a\":3}] \"\" \"a\" \"b\" \"é\" \"😀\" {\"é\":1,\"zz\":2,\"😀\":3,\"x\":4} {\"\":0}".split(
    " "
  ),
  "\"a b\"",
  "\"1\"",
  "\"true\"",
  String.raw`"quote \" backslash \\ slash \/ newline \n tab \t \b\f\r control \u0001\u001f\u007f line \u2028"`,
  String.raw`{"key \"\\\n\u0001": "\ud83d\ude00"}`,
  "[1, \"a\", null, true, {\"a\": [1, \"a\"]}, [1, [2]]]",
  "[false, 1, 1.0, \"1\", {\"b\": 1}]",
  "{\"a\": \"a\", \"1\": [10, 20, 30], \"0\": {\"1\": \"deep\"}}"
]

const samples = {
  jsonb,
  text: ["a", "b", "", "é", "😀", "1", "0", "aa", "zz", "true", "x", "key \"\\\n\u0001"],
  integer: ["0", "1", "2", "-1", "-2", "5", "-5", "2147483647", "-2147483648"],
  "text[]": [
    ..."{} {a} {a,b} {b,NULL} {NULL} {a,b,c} {a,b,c,1,d} {0} {1} {-1} {a,0} {a,-1} {1,1} {a,5} {0,a} {5} {1,0}".split(
      " "
    ),
    ..."{01} {1x} {x} {+1} {99999999999} {4,a,1} {5,1,0} {2,0} {é} {{a,b},{b,c}} {a,a} {-9} {1.0}".split(" "),
    "{\" 1\"}",
    "{\"1 \"}",
    "{\"\"}"
  ]
}

const group = { functions: jsonFunctions, samples, limit: 2000, certain: 0.6 }

describe("jsonb", () => {
  it.scoped("is read, asked and taken apart as in Postgres", () =>
    Effect.gen(function*() {
      const { calls } = yield* check(group, codecOf)
      assert.isAbove(calls, 10_000)
    }))

  it.scoped("and json is taken apart as it was written", () =>
    Effect.gen(function*() {
      const json = [
        ...jsonb,
        " { \"a\" :  [1 ,\t2 ] , \"b\":\n{\"a\": 1.0e5} } ",
        " [ 1, \" x \" ,[ ] , { } , null ]\n",
        "[]",
        " [ ] ",
        "{ }",
        " 1 ",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":1},\"a\":{\"c\":2}}",
        "{\"a\":1,\"a\":null}",
        "{\"a\": \"]},{[\", \"b\": \"\\\"}\"}",
        String.raw`{"\u0061": "\u00e9\ud83d\ude00\n", "b": ["\\", "\""]}`,
        String.raw`{"a": 1, "b": "\u0000"}`,
        String.raw`["\ud800"]`,
        String.raw`{"a": "\\u0000"}`
      ]
      const { calls } = yield* check({ ...group, functions: jsonTextFunctions, samples: { ...samples, json } }, codecOf)
      assert.isAbove(calls, 5000)
    }))

  it("that Postgres would not print like this is not read", () => {
    const texts = [
      ..."{\"a\":1} [1,2] 01 1. .5 1e5 NaN Infinity nul truex [1] ] {\"a\" : 1} {\"a\": 1,} [1, ] \"a \"a\"b\"".split(
        " "
      ),
      "",
      " 1",
      "1 ",
      "\"\t\"",
      String.raw`"\x"`,
      String.raw`"\ud800"`,
      String.raw`"\u0000"`,
      "[".repeat(100_000),
      `${"[".repeat(2000)}${"]".repeat(2000)}`
    ].filter((text) => text !== "[1]")
    for (const text of texts) {
      let result: unknown
      try {
        result = jsonCodecs.jsonb.decode(text)
      } catch (error) {
        result = error
      }
      assert.strictEqual(result, UNSURE, text.slice(0, 50))
    }
  })
})
