/**
 * Parts of dates, times, timestamps and intervals: `extract` (numeric, with the scale that Postgres gives each field) and
 * `date_part` (the same as float8). Fields have their full names, in singular or plural; Postgres knows more.
 */
import { type Builtin, type Builtins, type Interval, type Numeric, type TimeTz, unsure, type Value } from "../Value.ts"
import {
  civilOf,
  dayOf,
  dayOfStamp,
  EPOCH_DAYS,
  isoWeek,
  isoWeekday,
  isoYear,
  MICROS_PER_DAY,
  MICROS_PER_HOUR,
  MICROS_PER_MINUTE,
  MICROS_PER_SECOND,
  type Stamp,
  timeOfStamp
} from "../values/Calendar.ts"
import * as Numbers from "../values/Numeric.ts"

const SECONDS_PER_DAY = 86_400

const PLURALS: ReadonlyMap<string, string> = new Map([
  ..."microsecond millisecond second minute hour day week month year decade".split(" ").map((name) =>
    [`${name}s`, name] as const
  ),
  ["centuries", "century"],
  ["millennia", "millennium"]
])

/** In singular and lower case. Letters that aren't ASCII's stay as they are. */
export const fieldOf = (name: string): string => {
  const lower = /^[a-z]+$/i.test(name) ? name.toLowerCase() : name
  return PLURALS.get(lower) ?? lower
}

/** A whole number, or one of microseconds in a unit with so many places, and as Postgres calculates it in doubles. */
type Part = number | { readonly micros: Stamp; readonly places: number; readonly float: number }

const secondPart = (micros: number): Part => {
  const rest = micros % MICROS_PER_SECOND
  return { micros, places: 6, float: (micros - rest) / MICROS_PER_SECOND + rest / MICROS_PER_SECOND }
}

const millisecondPart = (micros: number): Part => {
  const rest = micros % MICROS_PER_SECOND
  return { micros, places: 3, float: (micros - rest) / 1000 + rest / 1000 }
}

/** Rounds towards minus infinity: 1 to 100 are one century, 1 BC to 100 BC are the one before. */
const century = (year: number, length: number): number =>
  year > 0 ? Math.trunc((year + length - 1) / length) : 0 - Math.trunc((length - year) / length)

/** No year 0 in what is shown. */
const shownYear = (year: number): number => year > 0 ? year : year - 1

const datePart = (field: string, day: number): number => {
  const { month, year, ...civil } = civilOf(day)
  switch (field) {
    case "day":
      return civil.day
    case "month":
      return month
    case "quarter":
      return Math.floor((month - 1) / 3) + 1
    case "year":
      return shownYear(year)
    case "decade":
      return Math.floor(year / 10) + 0
    case "century":
      return century(year, 100)
    case "millennium":
      return century(year, 1000)
    case "week":
      return isoWeek(day)
    case "isoyear":
      return shownYear(isoYear(day))
    case "dow":
      return isoWeekday(day) % 7
    case "isodow":
      return isoWeekday(day)
    case "doy":
      return day - dayOf(year, 1, 1) + 1
    default:
      return unsure()
  }
}

/** Of the time of day, or of an interval's time, whose hours are not limited and whose parts may be negative. */
const timePart = (field: string, micros: number): Part | undefined => {
  switch (field) {
    case "microsecond":
      return micros % MICROS_PER_MINUTE
    case "millisecond":
      return millisecondPart(micros % MICROS_PER_MINUTE)
    case "second":
      return secondPart(micros % MICROS_PER_MINUTE)
    case "minute":
      return Math.trunc(micros / MICROS_PER_MINUTE) % 60
    case "hour":
      return Math.trunc(micros / MICROS_PER_HOUR)
    default:
      return undefined
  }
}

const ENDLESS = new Set(["year", "decade", "century", "millennium", "isoyear", "epoch"])
const RECURRING = new Set([
  ..."microsecond millisecond second minute hour".split(" "),
  ..."day month quarter week dow isodow doy".split(" ")
])
const TIMES = new Set(["microsecond", "millisecond", "second", "minute", "hour"])

/** Of an infinite date or timestamp: infinite when the field only ever grows, NULL when it comes round. */
const endlessPart = (field: string, value: Stamp): number | null => {
  if (ENDLESS.has(field)) return Number(value)
  return RECURRING.has(field) ? null : unsure()
}

const stampPart = (field: string, stamp: Stamp): Part | null => {
  if (stamp === Infinity || stamp === -Infinity) return endlessPart(field, stamp)
  if (field === "epoch") {
    const micros = BigInt(stamp) + BigInt(EPOCH_DAYS) * BigInt(MICROS_PER_DAY)
    // Beyond int8, Postgres calculates in doubles.
    if (BigInt.asIntN(64, micros) !== micros) unsure()
    return { micros, places: 6, float: Number(micros) / MICROS_PER_SECOND }
  }
  return timePart(field, timeOfStamp(stamp)) ?? datePart(field, dayOfStamp(stamp))
}

const dayPart = (field: string, day: number): Part | null => {
  // A date has no time: an error, even of an infinite one.
  if (TIMES.has(field)) unsure()
  if (day === Infinity || day === -Infinity) return endlessPart(field, day)
  return field === "epoch" ? (day + EPOCH_DAYS) * SECONDS_PER_DAY : datePart(field, day)
}

const clockPart = (field: string, micros: number, zone: number): Part =>
  field === "epoch"
    ? { micros: micros + zone * MICROS_PER_SECOND, places: 6, float: micros / MICROS_PER_SECOND + zone }
    : timePart(field, micros) ?? unsure()

/** In seconds. A year has 365.25 days, a month 30. */
const intervalEpoch = (years: number, months: number, days: number, micros: number): Part => {
  const quarterDays = 1461 * years + 120 * months + 4 * days
  const float = micros / MICROS_PER_SECOND + 365.25 * SECONDS_PER_DAY * years + 30 * SECONDS_PER_DAY * months +
    SECONDS_PER_DAY * days
  return { micros: BigInt(quarterDays) * BigInt(MICROS_PER_DAY / 4) + BigInt(micros), places: 6, float }
}

const intervalPart = (field: string, { days, micros, months }: Interval): Part => {
  const year = Math.trunc(months / 12)
  switch (field) {
    case "year":
      return year
    case "decade":
      return Math.trunc(year / 10)
    case "century":
      return Math.trunc(year / 100)
    case "millennium":
      return Math.trunc(year / 1000)
    case "month":
      return months % 12
    case "quarter":
      // Of negative ones, versions differ.
      return months < 0 ? unsure() : Math.trunc(months % 12 / 3) + 1
    case "day":
      return days
    case "epoch":
      return intervalEpoch(year, months % 12, days, micros)
    default:
      return timePart(field, micros) ?? unsure()
  }
}

const asNumeric = (part: Part | null): Numeric | null => {
  if (part === null) return null
  if (typeof part !== "number") return Numbers.numeric(BigInt(part.micros), part.places)
  if (Number.isFinite(part)) return Numbers.numeric(BigInt(part), 0)
  return part > 0 ? Numbers.INFINITY : Numbers.NEGATIVE_INFINITY
}

const asFloat = (part: Part | null): number | null =>
  part === null ? null : (typeof part === "number" ? part : part.float) + 0

type Source = (field: string, value: Value) => Part | null

const dates: Source = (field, value) => dayPart(field, value as number)
const stamps: Source = (field, value) => stampPart(field, value as Stamp)
const times: Source = (field, value) => clockPart(field, value as number, 0)
const timesWithZone: Source = (field, value) => clockPart(field, (value as TimeTz).micros, (value as TimeTz).zone)
const intervals: Source = (field, value) => intervalPart(field, value as Interval)

const field = (source: Source, result: (part: Part | null) => Value): Builtin => ({ constants: [name] }) => {
  if (typeof name === "string") {
    const known = fieldOf(name)
    return (_, value) => result(source(known, value))
  }
  return (name, value) => result(source(fieldOf(name as string), value))
}

export const temporalFields: Builtins = {
  extract_date: field(dates, asNumeric),
  extract_timestamp: field(stamps, asNumeric),
  extract_timestamptz: field(stamps, asNumeric),
  extract_time: field(times, asNumeric),
  extract_timetz: field(timesWithZone, asNumeric),
  extract_interval: field(intervals, asNumeric),
  timestamp_part: field(stamps, asFloat),
  timestamptz_part: field(stamps, asFloat),
  time_part: field(times, asFloat),
  timetz_part: field(timesWithZone, asFloat),
  interval_part: field(intervals, asFloat)
}
