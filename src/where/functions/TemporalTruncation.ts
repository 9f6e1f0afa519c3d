/** `date_trunc`, `date_bin`, and time zones by name, of timestamps and intervals. All in UTC. */
import { type Builtin, type Builtins, type Closure, type Interval, unsure, type Value } from "../Value.ts"
import {
  civilOf,
  dayOf,
  dayOfStamp,
  isoWeekday,
  MICROS_PER_DAY,
  MICROS_PER_HOUR,
  MICROS_PER_MINUTE,
  MICROS_PER_SECOND,
  type Stamp,
  stampOf,
  timeOfStamp
} from "../values/Calendar.ts"
import { intervalOf } from "../values/Interval.ts"

import { isInfinite, LONGEST_DAYS } from "./TemporalArithmetic.ts"
import { fieldOf } from "./TemporalFields.ts"

/** Of the units shorter than a day: their microseconds. */
const LENGTHS: ReadonlyMap<string, number> = new Map([
  ["microsecond", 1],
  ["millisecond", 1000],
  ["second", MICROS_PER_SECOND],
  ["minute", MICROS_PER_MINUTE],
  ["hour", MICROS_PER_HOUR]
])

/** The first year of the century or millennium, which begins with its year 1. */
const firstYear = (year: number, length: number): number => Math.floor((year - 1) / length) * length + 1

const firstDay = (unit: string, day: number): number => {
  const { month, year } = civilOf(day)
  switch (unit) {
    case "day":
      return day
    case "week":
      return day - isoWeekday(day) + 1
    case "month":
      return dayOf(year, month, 1)
    case "quarter":
      return dayOf(year, Math.floor((month - 1) / 3) * 3 + 1, 1)
    case "year":
      return dayOf(year, 1, 1)
    case "decade":
      return dayOf(Math.floor(year / 10) * 10, 1, 1)
    case "century":
      return dayOf(firstYear(year, 100), 1, 1)
    case "millennium":
      return dayOf(firstYear(year, 1000), 1, 1)
    default:
      return unsure()
  }
}

const truncate = (unit: string, stamp: Stamp): Stamp => {
  const length = LENGTHS.get(unit)
  if (isInfinite(stamp)) {
    // Unsure about a unit that there isn't.
    if (length === undefined) firstDay(unit, 0)
    return stamp
  }
  const day = dayOfStamp(stamp)
  if (length === undefined) return stampOf(firstDay(unit, day), 0)
  const time = timeOfStamp(stamp)
  return stampOf(day, time - time % length)
}

const YEARS: ReadonlyMap<string, number> = new Map([
  ["year", 1],
  ["decade", 10],
  ["century", 100],
  ["millennium", 1000]
])

const truncateInterval = (unit: string, { days, micros, months }: Interval): Interval => {
  const length = LENGTHS.get(unit)
  if (length !== undefined) return intervalOf(months, days, micros - micros % length)
  const years = YEARS.get(unit)
  if (years !== undefined) return intervalOf(Math.trunc(months / 12 / years) * 12 * years, 0, 0)
  if (unit === "quarter") return intervalOf(months - months % 3, 0, 0)
  if (unit === "month") return intervalOf(months, 0, 0)
  return unit === "day" ? intervalOf(months, days, 0) : unsure()
}

const byUnit = (apply: (unit: string, value: Value) => Value): Builtin => ({ constants: [name] }) => {
  if (typeof name === "string") {
    const unit = fieldOf(name)
    return (_, value) => apply(unit, value)
  }
  return (name, value) => apply(fieldOf(name as string), value)
}

/** Microseconds from one timestamp to another, over a length; exact though they may be no safe integer. */
const remainder = (stamp: Stamp, origin: Stamp, length: number): number =>
  Number((BigInt(stamp) - BigInt(origin)) % BigInt(length))

/** The start of the bin that a timestamp is in; the bins' length has no months. */
const bin: Closure = (stride, source, origin) => {
  const { days, micros, months } = stride as Interval
  const stamp = source as Stamp
  const first = origin as Stamp
  const length = days * MICROS_PER_DAY + micros
  if (isInfinite(stamp) || isInfinite(first) || months !== 0 || length <= 0 || !Number.isSafeInteger(length)) unsure()
  if (Math.abs(dayOfStamp(stamp) - dayOfStamp(first)) > LONGEST_DAYS) unsure()
  const rest = remainder(stamp, first, length)
  // Before the origin, versions differ about the very start of a bin.
  if (rest === 0 && stamp < first) unsure()
  return stampOf(dayOfStamp(stamp), timeOfStamp(stamp) - (rest < 0 ? rest + length : rest))
}

const UTC = new Set(["utc", "gmt", "z"])

/** Only UTC: what other names mean is for Postgres to say. */
const inZone: Builtin = ({ constants: [name] }) =>
  typeof name === "string" && !UTC.has(name.toLowerCase())
    ? undefined
    : (name, stamp) => UTC.has((name as string).toLowerCase()) ? stamp : unsure()

const truncateStamp = byUnit((unit, value) => truncate(unit, value as Stamp))

export const temporalTruncation: Builtins = {
  timestamp_trunc: truncateStamp,
  timestamptz_trunc: truncateStamp,
  interval_trunc: byUnit((unit, value) => truncateInterval(unit, value as Interval)),
  timestamp_bin: () => bin,
  timestamptz_bin: () => bin,
  timestamp_zone: inZone,
  timestamptz_zone: inZone
}
