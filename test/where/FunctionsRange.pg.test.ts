/** Ranges and multiranges against Postgres. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { rangeFunctions } from "../../src/where/functions/Ranges.ts"
import { codecOf } from "../../src/where/values/Codecs.ts"
import { check } from "./FunctionOracle.ts"

const ints = "1 2 3 5 10 -7 0 2147483647 -2147483648".split(" ")
const numerics = "1 1.0 1.5 2 -0.5 10 NaN Infinity -Infinity 123456789012345678901234567890".split(" ")
const dates = "2000-01-01 2000-01-02 1999-12-31 2024-02-29 5874897-12-31 infinity -infinity".split(" ")
const stamps = [
  "2000-01-01 00:00:00",
  "2000-01-01 00:00:00.000001",
  "1999-12-31 12:00:00",
  "9999-12-31 00:00:00",
  "0044-03-15 00:00:00 BC",
  "infinity",
  "-infinity"
]
const intRanges =
  "empty [1,2) [1,3) [2,3) [2,5) [3,10) [1,10) (,) (,2) (,3) [2,) [3,) [-7,1) [5,6) [1,1] (1,3] [2147483647,)".split(
    " "
  )
const numericRanges = [
  ..."empty [1,2) [1.0,2] (1,2) (1,2] [1,1.5) (1.5,2] [1.5,2] (,) (,1.5) (,1.5] [1.5,) (1.5,) [-0.5,10]".split(" "),
  ..."(,NaN] [1,Infinity) [-Infinity,1.5] [1,1] [2,10) (2,10) [2,10.000]".split(" ")
]
const dateRanges = [
  ..."empty [2000-01-01,2000-01-02) [1999-12-31,2000-01-01) (,) (,2000-01-01) [2000-01-02,) (,infinity)".split(" "),
  ..."[2000-01-01,infinity] [2000-01-01,infinity) (-infinity,2000-01-01) [-infinity,2000-01-01) [-infinity,infinity]"
    .split(" "),
  ..."[1999-12-31,2024-02-29] [infinity,infinity] [-infinity,-infinity] [infinity,) (,-infinity]".split(" ")
]
const stampRanges = [
  "empty",
  "(,)",
  ...stamps.slice(0, -1).flatMap((stamp) => [`["${stamp}",)`, `(,"${stamp}")`, `[-infinity,"${stamp}"]`]),
  "[\"1999-12-31 12:00:00\",\"2000-01-01 00:00:00\")",
  "(\"2000-01-01 00:00:00\",\"2000-01-01 00:00:00.000001\"]",
  "[\"2000-01-01 00:00:00\",\"2000-01-01 00:00:00\"]"
]

/** Each alone, and some of them together. */
const many = (ranges: ReadonlyArray<string>): ReadonlyArray<string> => [
  "{}",
  ...ranges.map((range) => `{${range}}`),
  ...ranges.map((range, i) => `{${range},${ranges[(i * 5 + 1) % ranges.length]!}}`),
  ...ranges.map((range, i) =>
    `{${range},${ranges[(i * 3 + 2) % ranges.length]!},${ranges[(i * 7 + 3) % ranges.length]!}}`
  )
]

const samples = {
  integer: ints,
  bigint: ints,
  numeric: numerics,
  date: dates,
  "timestamp without time zone": stamps,
  "timestamp with time zone": stamps,
  int4range: intRanges,
  int8range: intRanges,
  numrange: numericRanges,
  daterange: dateRanges,
  tsrange: stampRanges,
  tstzrange: stampRanges,
  int4multirange: many(intRanges),
  int8multirange: many(intRanges),
  nummultirange: many(numericRanges),
  datemultirange: many(dateRanges),
  tsmultirange: many(stampRanges),
  tstzmultirange: many(stampRanges),
  text: ["[)", "[]", "()", "(]", "", "[", "x"]
}

const ranges = {
  integer: ["int4range", "int4multirange"],
  bigint: ["int8range", "int8multirange"],
  numeric: ["numrange", "nummultirange"],
  date: ["daterange", "datemultirange"],
  "timestamp without time zone": ["tsrange", "tsmultirange"],
  "timestamp with time zone": ["tstzrange", "tstzmultirange"]
} as const

describe("ranges", () => {
  it.scoped("contain, overlap and compare as in Postgres", () =>
    Effect.gen(function*() {
      const { calls } = yield* check({
        functions: rangeFunctions,
        samples,
        ranges,
        elements: Object.keys(ranges),
        limit: 150,
        certain: 0.99,
        // Of constant ranges that are empty, or everything, only Postgres knows.
        exceptions: { elem_contained_by_range: 0.8, range_contains_elem: 0.8 }
      }, codecOf)
      assert.isAbove(calls, 10_000)
    }))
})
