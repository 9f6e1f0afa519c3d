/** Intervals: their texts in the iso_8601 style, and their order, in which a month has 30 days and a day 24 hours. */
import { type Codec, type Interval, unsure } from "../Value.ts"
import { fraction, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND } from "./Calendar.ts"

const MAX_INT4 = 2_147_483_647

const isInt4 = (value: number): boolean => value >= -MAX_INT4 - 1 && value <= MAX_INT4

/** An interval whose parts fit: others are an error in Postgres, or too long for us to be exact. */
export const intervalOf = (months: number, days: number, micros: number): Interval => {
  if (!isInt4(months) || !isInt4(days) || !Number.isSafeInteger(micros)) unsure()
  // Not -0.
  return { _tag: "Interval", months: months + 0, days: days + 0, micros: micros + 0 }
}

const TEXT = /^P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d{1,6}))?S)?)?$/

const integer = (digits: string | undefined): number => digits === undefined ? 0 : Number(digits)

const decode = (text: string): Interval => {
  const parts = TEXT.exec(text)
  if (parts === null) return unsure()
  const seconds = integer(parts[7]) * MICROS_PER_SECOND + integer(parts[8]?.padEnd(6, "0"))
  return intervalOf(
    integer(parts[1]) * 12 + integer(parts[2]),
    integer(parts[3]),
    integer(parts[4]) * MICROS_PER_HOUR + integer(parts[5]) * MICROS_PER_MINUTE +
      (parts[6] === "-" ? -seconds : seconds)
  )
}

const part = (value: number, unit: string): string => value === 0 ? "" : `${value}${unit}`

const seconds = (micros: number): string => {
  if (micros === 0) return ""
  const size = Math.abs(micros)
  const whole = `${micros < 0 ? "-" : ""}${Math.floor(size / MICROS_PER_SECOND)}`
  return `${whole}${fraction(size % MICROS_PER_SECOND)}S`
}

const encode = ({ days, micros, months }: Interval): string => {
  const date = part(Math.trunc(months / 12), "Y") + part(months % 12, "M") + part(days, "D")
  const time = part(Math.trunc(micros / MICROS_PER_HOUR), "H") +
    part(Math.trunc(micros / MICROS_PER_MINUTE) % 60, "M") +
    seconds(micros % MICROS_PER_MINUTE)
  if (time !== "") return `P${date}T${time}`
  return date === "" ? "PT0S" : `P${date}`
}

/** Whole days and the rest are compared apart: together they are no safe integer. */
export const compareIntervals = (a: Interval, b: Interval): number => {
  const daysOfA = Math.floor(a.micros / MICROS_PER_DAY)
  const daysOfB = Math.floor(b.micros / MICROS_PER_DAY)
  const days = (a.months - b.months) * 30 + (a.days - b.days) + (daysOfA - daysOfB)
  return days !== 0 ? days : a.micros - daysOfA * MICROS_PER_DAY - (b.micros - daysOfB * MICROS_PER_DAY)
}

export const intervalCodec: Codec = {
  decode,
  encode: (value) => encode(value as Interval),
  equal: (a, b) => compareIntervals(a as Interval, b as Interval) === 0,
  compare: (a, b) => compareIntervals(a as Interval, b as Interval)
}
