/**
 * The proleptic Gregorian calendar as Postgres counts it: days since 2000-01-01, astronomical years (1 BC is year 0), and
 * the limits of `date` and `timestamp`.
 */
import { unsure } from "../Value.ts"

export const MICROS_PER_SECOND = 1_000_000
export const MICROS_PER_MINUTE = 60 * MICROS_PER_SECOND
export const MICROS_PER_HOUR = 60 * MICROS_PER_MINUTE
export const MICROS_PER_DAY = 24 * MICROS_PER_HOUR
/** From 1970-01-01 to 2000-01-01. */
export const EPOCH_DAYS = 10_957
/** 4714-11-24 BC, the first date and the day of the first timestamp. */
const FIRST_DAY = -2_451_545
/** 5874897-12-31. */
const LAST_DATE = 2_145_031_948
/** 294276-12-31. */
const LAST_TIMESTAMP_DAY = 106_751_982

const DAYS_PER_ERA = 146_097
/** From 0000-03-01 to 2000-01-01: years that begin in March end with the leap day. */
const MARCH_OF_YEAR_0 = 730_425

export interface Civil {
  /** 0 is 1 BC. */
  readonly year: number
  readonly month: number
  readonly day: number
}

const quotient = (a: number, b: number): number => Math.floor(a / b)

/** `day` days after 2000-01-01. */
export const civilOf = (day: number): Civil => {
  const shifted = day + MARCH_OF_YEAR_0
  const era = quotient(shifted, DAYS_PER_ERA)
  const ofEra = shifted - era * DAYS_PER_ERA
  const years = quotient(ofEra - quotient(ofEra, 1460) + quotient(ofEra, 36_524) - quotient(ofEra, 146_096), 365)
  const ofYear = ofEra - (365 * years + quotient(years, 4) - quotient(years, 100))
  const march = quotient(5 * ofYear + 2, 153)
  const month = march < 10 ? march + 3 : march - 9
  return {
    year: years + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: ofYear - quotient(153 * march + 2, 5) + 1
  }
}

/** Days since 2000-01-01, of a date that exists. */
export const dayOf = (year: number, month: number, day: number): number => {
  const shifted = month <= 2 ? year - 1 : year
  const era = quotient(shifted, 400)
  const ofEra = shifted - era * 400
  const ofYear = quotient(153 * (month > 2 ? month - 3 : month + 9) + 2, 5) + day - 1
  return era * DAYS_PER_ERA + ofEra * 365 + quotient(ofEra, 4) - quotient(ofEra, 100) + ofYear - MARCH_OF_YEAR_0
}

const isLeap = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)

const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

export const daysInMonth = (year: number, month: number): number =>
  month === 2 && isLeap(year) ? 29 : MONTH_DAYS[month - 1] ?? unsure()

/** 1 for Monday to 7 for Sunday. */
export const isoWeekday = (day: number): number => (((day + 5) % 7) + 7) % 7 + 1

/** The year that the day's week belongs to: the one that has its Thursday. */
export const isoYear = (day: number): number => civilOf(day - isoWeekday(day) + 4).year

/** 1 to 53. */
export const isoWeek = (day: number): number => {
  const thursday = day - isoWeekday(day) + 4
  return quotient(thursday - dayOf(civilOf(thursday).year, 1, 1), 7) + 1
}

/** Microseconds below a second as they are printed: `.678` for 678000, nothing for 0. */
export const fraction = (micros: number): string =>
  micros === 0 ? "" : `.${String(micros).padStart(6, "0").replace(/0+$/, "")}`

/** A date that Postgres has; others are an error there. */
export const checkedDate = (day: number): number => day >= FIRST_DAY && day <= LAST_DATE ? day : unsure()

/**
 * A timestamp. Microseconds as a number when it is a safe integer (the years 1715 to 2285), or else as a bigint: a
 * timestamp has one form, and `<` compares both kinds exactly.
 */
export type Stamp = number | bigint

/** Whole days of a finite timestamp, rounded down. */
export const dayOfStamp = (stamp: Stamp): number => {
  if (typeof stamp === "number") return Math.floor(stamp / MICROS_PER_DAY)
  return Number((stamp - BigInt(timeOfStamp(stamp))) / BigInt(MICROS_PER_DAY))
}

/** Microseconds since midnight of a finite timestamp. */
export const timeOfStamp = (stamp: Stamp): number => {
  const rest = typeof stamp === "number" ? stamp % MICROS_PER_DAY : Number(stamp % BigInt(MICROS_PER_DAY))
  return rest < 0 ? rest + MICROS_PER_DAY : rest + 0
}

const onlyForm = (micros: bigint): Stamp => {
  const number = Number(micros)
  return Number.isSafeInteger(number) ? number : micros
}

/** A moment for comparing: not necessarily one that Postgres has. */
export const moment = (day: number, micros: number): Stamp => {
  if (!Number.isFinite(day)) return day
  const sum = day * MICROS_PER_DAY + micros
  return Number.isSafeInteger(sum) ? sum : onlyForm(BigInt(day) * BigInt(MICROS_PER_DAY) + BigInt(micros))
}

/** The timestamp `micros` microseconds after the midnight of `day`, which is finite. Unsure when Postgres has none. */
export const stampOf = (day: number, micros: number): Stamp => {
  const days = day + Math.floor(micros / MICROS_PER_DAY)
  return days >= FIRST_DAY && days <= LAST_TIMESTAMP_DAY ? moment(day, micros) : unsure()
}
