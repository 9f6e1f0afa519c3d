/** Dates, times, timestamps and intervals against Postgres. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { temporalFunctions } from "../../src/where/functions/Temporal.ts"
import { type Builtins, unsure } from "../../src/where/Value.ts"
import { codecOf } from "../../src/where/values/Codecs.ts"
import { check } from "./FunctionOracle.ts"

const days = [
  ..."2000-01-01 1999-12-31 2024-02-29 2023-02-28 2024-01-31 1900-03-01 1970-01-01 2001-01-01 2026-12-28".split(" "),
  ..."0001-01-01 1001-01-01 9999-12-31 12345-06-07 2020-12-31 2021-01-03 2286-01-01 1714-01-01".split(" "),
  "0044-03-15 BC",
  "0001-12-31 BC",
  "4713-01-01 BC"
]

const clocks = "00:00:00 23:59:59.999999 12:34:56.789 00:00:00.000001 06:00:01.1".split(" ")

const stamps = [
  ...days.flatMap((day, i) => {
    const at = `${day.slice(0, day.includes(" ") ? -3 : undefined)} ${clocks[i % clocks.length]!}`
    return [day.endsWith("BC") ? `${at} BC` : at]
  }),
  "294276-12-31 23:59:59.999999",
  "4714-11-24 00:00:00 BC",
  "2024-01-31 10:00:00",
  "2023-03-30 09:30:00.5",
  "infinity",
  "-infinity"
]

const fields = [
  ..."year years month months day days hour hours minute minutes second seconds".split(" "),
  ..."millisecond milliseconds microsecond microseconds dow isodow doy week weeks isoyear quarter".split(" "),
  ..."decade decades century centuries millennium millennia epoch Year EPOCH constructor wee\u212A nonsense".split(" ")
]

const samples = {
  date: [...days, "5874897-12-31", "4714-11-24 BC", "294277-01-01", "infinity", "-infinity"],
  "time without time zone": [...clocks, "24:00:00", "00:00:59.5", "23:00:00"],
  "time with time zone": [
    ..."00:00:00+00 12:34:56.789+05:30 23:59:59.999999-08 24:00:00+15:59 01:02:03-12:34:56 03:04:05+02".split(" "),
    ..."05:04:05+04 04:34:05+03:30 00:00:00-15:59:59".split(" ")
  ],
  "timestamp without time zone": stamps,
  "timestamp with time zone": stamps.map((text) =>
    text.includes("infinity") ? text : text.endsWith(" BC") ? `${text.slice(0, -3)}+00 BC` : `${text}+00`
  ),
  interval: [
    ..."PT0S P1Y P1M P1D PT1H P-1M P-1D PT-1S P1Y2M3DT4H5M6.789S P-1Y-2M-3DT-4H-5M-6.789S P30D P1M PT24H".split(" "),
    ..."P1M-1D P-1M1DT-1S P13M P-13M31D PT-0.000001S PT719H59M59.999999S P1DT-24H P60DT-36H P-29DT23H P12000Y".split(
      " "
    ),
    ..."P178000000Y P2147483647D PT2000000000H PT100000H P1M15DT12H30M P7M P-7M PT5H30M PT-8H PT0.5S PT37M".split(" "),
    ..."PT2501999H47M PT-2501999H47M P178956970Y7M P178956970Y7M30DT-0.000001S P-178956970Y-7M-30D".split(" ")
  ],
  "double precision": [
    ..."0 1 -1 2 0.5 -0.5 3 0.1 1.1 -1.5 10 1000000 1e300 0.333333333333 0.7 NaN Infinity 1e-10 60 59.9999994".split(
      " "
    ),
    ..."12.3456789 7 100".split(" ")
  ],
  integer: "0 1 -1 2 12 13 31 30 29 24 59 60 365 -365 2024 2023 -44 10000 2147483647 -2147483648 5874897".split(" "),
  text: fields
}

const zones = new Set(["timestamp_zone", "timestamptz_zone"])

/** Fields that a type has not are errors, and don't count. */
const parts = (part: boolean) =>
  Object.fromEntries(
    Object.entries(temporalFunctions).filter(([name]) =>
      /^extract_|_part$|_trunc$/.test(name) === part && !zones.has(name)
    )
  )

/** The same, but made for the first argument, as if it were a constant. */
const forConstant = (functions: Builtins): Builtins =>
  Object.fromEntries(
    Object.entries(functions).map(([name, builtin]) => [
      name,
      (site) => (a, b, c, d) => {
        const closure = builtin({ ...site, constants: [a, undefined] })
        return closure === undefined ? unsure() : closure(a, b, c, d)
      }
    ])
  )

describe("dates, times and intervals", () => {
  it.scoped("are compared and calculated with as in Postgres", () =>
    Effect.gen(function*() {
      const { calls } = yield* check({
        functions: parts(false),
        samples,
        certain: 0.6
      }, codecOf)
      assert.isAbove(calls, 5000)
    }))

  it.scoped("have the same fields as in Postgres", () =>
    Effect.gen(function*() {
      const { calls } = yield* check({ functions: parts(true), samples, limit: 1200, certain: 0.85 }, codecOf)
      assert.isAbove(calls, 3000)
      yield* check({ functions: forConstant(parts(true)), samples, limit: 300, certain: 0.8 }, codecOf)
    }))

  it.scoped("are in UTC under its names alone", () =>
    Effect.gen(function*() {
      const functions = Object.fromEntries(Object.entries(temporalFunctions).filter(([name]) => zones.has(name)))
      const text = "UTC utc GMT Z z Europe/Berlin +02:00 EST <+03>-3 UTC+3 nowhere".split(" ")
      yield* check({ functions, samples: { ...samples, text }, limit: 400, certain: 0.4 }, codecOf)
      const constant = forConstant(functions)
      yield* check({ functions: constant, samples: { ...samples, text }, limit: 400, certain: 0.4 }, codecOf)
    }))
})
