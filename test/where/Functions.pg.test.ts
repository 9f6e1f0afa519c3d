/**
 * Functions of numbers, texts, enums and arrays against Postgres.
 */
import { describe, it } from "@effect/vitest"
import { arrayFunctions } from "../../src/where/functions/Arrays.ts"
import { castFunctions } from "../../src/where/functions/Casts.ts"
import { comparisonFunctions } from "../../src/where/functions/Comparisons.ts"
import { floatFunctions } from "../../src/where/functions/Floats.ts"
import { integerFunctions } from "../../src/where/functions/Integers.ts"
import { numericFunctions } from "../../src/where/functions/Numerics.ts"
import { patternFunctions } from "../../src/where/functions/Patterns.ts"
import { textFunctions } from "../../src/where/functions/Text.ts"
import { textComparisonFunctions } from "../../src/where/functions/TextComparisons.ts"
import type { Builtins } from "../../src/where/Value.ts"
import { codecOf } from "../../src/where/values/Codecs.ts"
import { C, check, type Group, ICU } from "./FunctionOracle.ts"

const int2 = ["0", "1", "-1", "2", "-2", "7", "-7", "10", "181", "-182", "32767", "-32768", "32766"]
const int4 = [...int2, "32768", "46340", "46341", "-46341", "65536", "2147483646", "2147483647", "-2147483648", "31"]
const int8 = [
  ...int4,
  "2147483648",
  "3037000499",
  "3037000500",
  "9007199254740991",
  "9007199254740993",
  "-9007199254740993",
  "9223372036854775806",
  "9223372036854775807",
  "-9223372036854775808",
  // Nearly half way between two floats, and rounded to just that as a double.
  "1152921573326323713",
  "63"
]
const float8 = [
  "0",
  "-0",
  "1",
  "-1",
  "0.5",
  "-0.5",
  "1.5",
  "2",
  "3",
  "-12",
  "2.5",
  "-2.5",
  "0.1",
  "3.3333333333333335",
  "NaN",
  "Infinity",
  "-Infinity",
  "1e308",
  "1.7976931348623157e308",
  "-1e308",
  "5e-324",
  "1e-300",
  "2.2250738585072014e-308",
  "1e15",
  "123456789012345",
  "123456789012344.5",
  "1234567890123456",
  "9007199254740993",
  "1e22",
  "1e23",
  "2251799813685248.25",
  "2251799813685248.75",
  "281474976710656.0625",
  "9223372036854775807",
  "-9223372036854775808",
  "2147483647.5",
  "-2147483648.5",
  "32767.5",
  "0.0001",
  "0.00001",
  "0.000123456789",
  "4503599627370497.5",
  "0.49999999999999994",
  "16777217",
  "1e10",
  "3.4028236e38",
  "1e-46",
  "1e-40"
]
const float4 = [
  "0",
  "-0",
  "1",
  "-1",
  "0.5",
  "1.5",
  "2.5",
  "-2.5",
  "0.1",
  "3.3333333",
  "NaN",
  "Infinity",
  "-Infinity",
  "3.4028235e38",
  "-3.4028235e38",
  "1e-45",
  "1.1754944e-38",
  "1e-40",
  "1234567",
  "1234565",
  "123456",
  "16777216",
  "16777217",
  "33554432",
  "9.5367431640625e-07",
  "0.0001",
  "0.00001",
  "1e10",
  "2147483648",
  "9223372036854775807",
  "32767.5",
  "0.3",
  "7.7"
]
const numeric = [
  "0",
  "0.00",
  "1",
  "1.0",
  "-1.00",
  "1.5",
  "-1.5",
  "2.5",
  "-2.5",
  "0.5",
  "0.1",
  "-0.1",
  "3",
  "7",
  "0.0001",
  "0.00001234",
  "9999",
  "10000",
  "9999.9999",
  "12345678.901234",
  "NaN",
  "Infinity",
  "-Infinity",
  "2147483647.4",
  "2147483647.5",
  "-2147483648.5",
  "32767.49",
  "9223372036854775807",
  "9223372036854775807.5",
  "-9223372036854775808",
  "123456789012345678901234567890.123456789012345678901234567890",
  "1e100",
  "1e-100",
  "-1e400",
  "1e-330",
  "340282350000000000000000000000000000000",
  "3.00000000000000000000",
  "999999999999999.9",
  "16777217.0000000001"
]
const texts = [
  "",
  " ",
  "a",
  "A",
  "b",
  "ab",
  "abc",
  "abc  ",
  "  abc",
  "aB%c_d\\e",
  "%",
  "_",
  "a%",
  "é",
  "É",
  "ß",
  "İ",
  "\u212a",
  "ﬁ",
  "\uffff",
  "\ue000x",
  "😀",
  "a😀b",
  "😀😀",
  "日本語",
  "x\ny",
  "Zz",
  "zebra",
  "1",
  "-"
]
const base = {
  smallint: int2,
  integer: int4,
  bigint: int8,
  oid: ["0", "1", "2147483648", "4294967295"],
  boolean: ["t", "f"],
  real: float4,
  "double precision": float8,
  numeric,
  text: texts,
  character: texts,
  name: texts,
  "\"char\"": ["", "a", "b", "Z", " "],
  uuid: [
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12"
  ],
  bytea: ["", "\\x00", "\\x0001", "\\xff", "\\x7f80", "abc"],
  mood: ["sad", "ok", "happy", "NULL", "a b"]
}
const setup = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'NULL', 'a b')"

/** Texts to look in, and patterns of all three languages to look for. */
const patterns = [
  ...texts,
  "abcabc",
  "aXbXc",
  "ABC",
  "İSTANBUL",
  "straße",
  "ab%",
  "%c",
  "%b%",
  "a%c",
  "%a%c%",
  "_",
  "__",
  "a_c",
  "%_",
  "_%_",
  "%b_",
  "_b%",
  "%_b%c",
  "\\%",
  "a\\",
  "%\\_%",
  "k",
  "%k%",
  "^a",
  "c$",
  "^abc$",
  "^$",
  "bc",
  "x.z",
  "$",
  "^"
]
/** Of functions that take any number of arguments of any types. */
const signatures = {
  text_concat: [
    ["text"],
    ["text", "integer"],
    ["boolean", "numeric", "text"],
    ["character", "name", "double precision", "mood"],
    ["bytea", "uuid"]
  ],
  text_concat_ws: [["text", "text"], ["text", "bigint", "boolean"], ["text", "text", "text", "real"]]
}
const elements = ["integer", "text", "numeric", "boolean", "mood", "uuid", "character", "double precision"]
const arrays = {
  integer: ["0", "1", "2", "-1", "3", "5"],
  text: ["", "a", "b", "NULL", "a b", "é", "😀", "\uffff", "{", "\"", "\\"],
  numeric: ["1", "1.0", "2.5", "NaN"],
  "double precision": ["0", "-0", "1.5", "NaN"],
  "integer[]": [
    "{}",
    "{1}",
    "{1,2,3}",
    "{3,2,1}",
    "{1,NULL}",
    "{NULL}",
    "{1,1}",
    "[0:2]={1,2,3}",
    "[-5:-4]={1,2}",
    "{{1,2},{3,4}}",
    "{{1,2}}",
    "{{{1},{2}}}",
    "[2:3][0:1]={{1,2},{3,4}}",
    "{2}"
  ],
  "text[]": [
    "{}",
    "{a}",
    "{a,b}",
    "{\"\"}",
    "{NULL,\"NULL\"}",
    "{\"a b\",\"{\",\"\\\"\",\"\\\\\"}",
    "{é,😀}",
    "{\uffff}",
    "{😀}",
    "{{a,b},{c,NULL}}",
    "[3:4]={x,y}"
  ],
  "numeric[]": ["{}", "{1.0,2.50}", "{1,2.5}", "{NaN}", "{NULL,1.00}"],
  "boolean[]": ["{}", "{t,f}", "{f,NULL}"],
  "mood[]": ["{}", "{sad,\"a b\"}", "{\"NULL\",NULL}", "{ok}", "{happy,ok}"],
  "uuid[]": ["{}", "{00000000-0000-0000-0000-000000000000}"],
  "character[]": ["{}", "{\"a \",b}", "{a,\"b  \"}"],
  "double precision[]": ["{}", "{-0}", "{0}", "{NaN,1.5}", "{Infinity,NULL}"]
}

const run = (functions: Builtins, options: Partial<Group>) =>
  check({ functions, samples: base, setup, ...options }, codecOf)

describe("functions", () => {
  it.scoped("comparing numbers and other scalars", () =>
    run(comparisonFunctions, { elements: ["mood"], limit: 400, certain: 1 }))

  it.scoped("comparing texts under a bytewise collation", () =>
    run(textComparisonFunctions, { limit: 300, certain: 1, collations: [C] }))

  it.scoped("comparing texts under a language's collation", () =>
    run(textComparisonFunctions, { collations: [ICU], certain: 0.03 }))

  it.scoped("of integers", () =>
    run(integerFunctions, {
      limit: 400,
      certain: 1,
      exceptions: { int2shl: 0.2, int2shr: 0.2, int4shl: 0.2, int4shr: 0.2, int8shl: 0.2, int8shr: 0.2 }
    }))

  it.scoped("of floats", () => run(floatFunctions, { limit: 1000, certain: 0.95, exceptions: { dpow: 0.02 } }))

  it.scoped("of numerics", () =>
    run(numericFunctions, { limit: 1000, certain: 0.95, exceptions: { numeric_round: 0.5, numeric_trunc: 0.5 } }))

  it.scoped("casting numbers", () => run(castFunctions, { certain: 0.9 }))

  it.scoped("of texts", () =>
    run(textFunctions, {
      samples: {
        ...base,
        integer: [
          "0",
          "1",
          "-1",
          "2",
          "3",
          "-2",
          "5",
          "-5",
          "65",
          "233",
          "55296",
          "128512",
          "2147483647",
          "-2147483648"
        ]
      },
      signatures,
      limit: 250,
      certain: 0.95,
      exceptions: { text_right: 0.9 }
    }))

  it.scoped("of texts under a language's collation", () =>
    run({ lower: textFunctions.lower!, upper: textFunctions.upper!, textpos: textFunctions.textpos! }, {
      collations: [ICU],
      certain: 0.6
    }))

  it.scoped("matching patterns", () =>
    run(patternFunctions, { samples: { ...base, text: patterns, name: patterns, character: patterns }, limit: 600 }))

  it.scoped("matching patterns under a language's collation", () =>
    run(patternFunctions, {
      samples: { ...base, text: patterns, name: patterns, character: patterns },
      limit: 600,
      collations: [ICU],
      certain: 0.5
    }))

  it.scoped("of arrays", () =>
    run(arrayFunctions, { elements, limit: 700, certain: 0.95, samples: { ...base, ...arrays } }))

  it.scoped("of arrays under a language's collation", () =>
    run(arrayFunctions, {
      elements: ["text", "integer"],
      samples: { ...base, ...arrays },
      collations: [ICU],
      certain: 0.5
    }))

  it.scoped("are left to Postgres where the collation isn't deterministic", () =>
    run(
      { ...textComparisonFunctions, ...textFunctions, ...patternFunctions, ...arrayFunctions },
      {
        setup:
          `${setup}; CREATE COLLATION ignoring (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
        collations: [{ ...ICU, schema: "public", name: "ignoring", deterministic: false }],
        samples: { ...base, ...arrays, text: ["", "a", "A", "ab", "é", "É", "e"] },
        elements: ["text"],
        signatures,
        limit: 60,
        certain: 0
      }
    ))

  it.scoped("know that case isn't the same everywhere", () =>
    run(
      { lower: textFunctions.lower!, upper: textFunctions.upper!, ...patternFunctions },
      {
        collations: [{ ...ICU, name: "tr-x-icu" }, { ...ICU, schema: "public", name: "turkish" }, ICU],
        setup: `${setup}; CREATE COLLATION turkish (provider = icu, locale = 'tr')`,
        samples: {
          ...base,
          text: ["i", "I", "ı", "İ", "k", "K", "\u212a", "ß", "_", "__", "%k%", "%i_", "i%"],
          name: ["TITLE", "title", "İ"]
        },
        certain: 0
      }
    ))
})
