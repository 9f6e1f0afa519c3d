/**
 * Arithmetic of dates, times and timestamps, and the casts between them. Timestamps with time zone are worked
 * with in UTC, which is every session's time zone.
 */
import { type Builtins, type Closure, type Interval, type TimeTz, unsure } from "../Value.ts"
import {
  checkedDate,
  civilOf,
  dayOf,
  dayOfStamp,
  daysInMonth,
  MICROS_PER_DAY,
  MICROS_PER_HOUR,
  MICROS_PER_MINUTE,
  MICROS_PER_SECOND,
  type Stamp,
  stampOf,
  timeOfStamp
} from "../values/Calendar.ts"
import { intervalOf } from "../values/Interval.ts"
import { everywhere } from "./Families.ts"
import { justifyHours, negated, roundExactly } from "./IntervalArithmetic.ts"

export const isInfinite = (value: Stamp): boolean => value === Infinity || value === -Infinity

/** The same time of day that many months later, or the month's last day when that is earlier. */
const addMonths = (day: number, months: number): number => {
  const civil = civilOf(day)
  const month = civil.year * 12 + civil.month - 1 + months
  const year = Math.floor(month / 12)
  const ofYear = month - year * 12 + 1
  return dayOf(year, ofYear, Math.min(civil.day, daysInMonth(year, ofYear)))
}

/** Months, then days, then the time: each step must be a timestamp that Postgres has. */
const stampPlus = (stamp: Stamp, months: number, days: number, micros: number): Stamp => {
  if (isInfinite(stamp)) return stamp
  const time = timeOfStamp(stamp)
  let day = dayOfStamp(stamp)
  if (months !== 0) {
    day = addMonths(day, months)
    stampOf(day, time)
  }
  day += days
  stampOf(day, time)
  const whole = Math.trunc(micros / MICROS_PER_DAY)
  return stampOf(day + whole, time + (micros - whole * MICROS_PER_DAY))
}

/** Midnight of a day, as a timestamp. */
const midnight = (day: number): Stamp => isInfinite(day) ? day : stampOf(day, 0)

/** The most days whose microseconds are an int8. */
export const LONGEST_DAYS = 106_751_990

/** In days and, with the same sign, what is over. */
const stampMinus = (a: Stamp, b: Stamp): Interval => {
  if (isInfinite(a) || isInfinite(b)) unsure()
  const days = dayOfStamp(a) - dayOfStamp(b)
  return Math.abs(days) <= LONGEST_DAYS ? justifyHours(0, days, timeOfStamp(a) - timeOfStamp(b)) : unsure()
}

/** The time of day so much later. */
const later = (time: number, micros: number): number => {
  const rest = (time + micros % MICROS_PER_DAY) % MICROS_PER_DAY
  return rest < 0 ? rest + MICROS_PER_DAY : rest + 0
}

/** From `b` to the later `a` by the calendar, on which a day is borrowed from the month of `b`. */
const elapsed = (a: Stamp, b: Stamp): Interval => {
  const from = civilOf(dayOfStamp(b))
  const to = civilOf(dayOfStamp(a))
  let micros = timeOfStamp(a) - timeOfStamp(b)
  let days = to.day - from.day
  let months = (to.year - from.year) * 12 + to.month - from.month
  if (micros < 0) {
    micros += MICROS_PER_DAY
    days--
  }
  while (days < 0) {
    days += daysInMonth(from.year, from.month)
    months--
  }
  return intervalOf(months, days, micros)
}

const age = (a: Stamp, b: Stamp): Interval => {
  if (isInfinite(a) || isInfinite(b)) unsure()
  return a >= b ? elapsed(a, b) : negated(elapsed(b, a))
}

const LONGEST_ZONE = 100 * 3600

/** Seconds east of UTC that an interval stands for as a time zone. Postgres takes any, but counts them in 32 bits. */
const zoneOf = ({ days, micros, months }: Interval): number => {
  const seconds = Math.trunc(micros / MICROS_PER_SECOND)
  return months === 0 && days === 0 && Math.abs(seconds) < LONGEST_ZONE ? seconds : unsure()
}

const shift = (stamp: Stamp, seconds: number): Stamp => stampPlus(stamp, 0, 0, seconds * MICROS_PER_SECOND)

const makeTime = (hour: number, minute: number, second: number): number => {
  const micros = roundExactly(second * MICROS_PER_SECOND)
  if (!(hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second < 60)) unsure()
  return hour * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + micros
}

const makeDate = (year: number, month: number, day: number): number => {
  const astronomical = year > 0 ? year : year + 1
  if (year === 0 || month < 1 || month > 12 || day < 1 || day > daysInMonth(astronomical, month)) unsure()
  return checkedDate(dayOf(astronomical, month, day))
}

const dates: Readonly<Record<string, Closure>> = {
  date_pli: (a, b) => isInfinite(a as number) ? a : checkedDate((a as number) + (b as number)),
  date_mii: (a, b) => isInfinite(a as number) ? a : checkedDate((a as number) - (b as number)),
  date_mi: (a, b) => {
    const days = (a as number) - (b as number)
    return Number.isFinite(days) ? days : unsure()
  },
  date_pl_interval: (a, b) => {
    const { days, micros, months } = b as Interval
    return stampPlus(midnight(a as number), months, days, micros)
  },
  date_mi_interval: (a, b) => {
    const { days, micros, months } = b as Interval
    return stampPlus(midnight(a as number), 0 - months, 0 - days, 0 - micros)
  },
  datetime_timestamp: (a, b) => isInfinite(a as number) ? a : stampOf(a as number, b as number),
  datetimetz_timestamptz: (a, b) => {
    const { micros, zone } = b as TimeTz
    return isInfinite(a as number) ? a : stampOf(a as number, micros + zone * MICROS_PER_SECOND)
  },
  date_timestamp: (a) => midnight(a as number),
  date_finite: (a) => !isInfinite(a as number),
  make_date: (a, b, c) => makeDate(a as number, b as number, c as number)
}

const dayOfAny: Closure = (a) => isInfinite(a as Stamp) ? a : dayOfStamp(a as Stamp)
const timeOfAny: Closure = (a) => isInfinite(a as Stamp) ? null : timeOfStamp(a as Stamp)
const plus: Closure = (a, b) => {
  const { days, micros, months } = b as Interval
  return stampPlus(a as Stamp, months, days, micros)
}
const minus: Closure = (a, b) => {
  const { days, micros, months } = b as Interval
  return stampPlus(a as Stamp, 0 - months, 0 - days, 0 - micros)
}

const timestamps: Readonly<Record<string, Closure>> = {
  timestamp_pl_interval: plus,
  timestamp_mi_interval: minus,
  timestamptz_pl_interval: plus,
  timestamptz_mi_interval: minus,
  timestamp_mi: (a, b) => stampMinus(a as Stamp, b as Stamp),
  timestamp_age: (a, b) => age(a as Stamp, b as Stamp),
  timestamptz_age: (a, b) => age(a as Stamp, b as Stamp),
  timestamp_finite: (a) => !isInfinite(a as Stamp),
  timestamp_date: dayOfAny,
  timestamptz_date: dayOfAny,
  timestamp_time: timeOfAny,
  timestamptz_time: timeOfAny,
  timestamptz_timetz: (a) =>
    isInfinite(a as Stamp) ? null : { _tag: "TimeTz", micros: timeOfStamp(a as Stamp), zone: 0 },
  timestamp_timestamptz: (a) => a,
  timestamptz_timestamp: (a) => a,
  timestamp_izone: (a, b) => shift(b as Stamp, 0 - zoneOf(a as Interval)),
  timestamptz_izone: (a, b) => shift(b as Stamp, zoneOf(a as Interval))
}

const timesOfDay: Readonly<Record<string, Closure>> = {
  time_pl_interval: (a, b) => later(a as number, (b as Interval).micros),
  time_mi_interval: (a, b) => later(a as number, 0 - (b as Interval).micros),
  time_mi_time: (a, b) => intervalOf(0, 0, (a as number) - (b as number)),
  time_interval: (a) => intervalOf(0, 0, a as number),
  interval_time: (a) => later(0, (a as Interval).micros),
  time_timetz: (a) => ({ _tag: "TimeTz", micros: a as number, zone: 0 }),
  timetz_time: (a) => (a as TimeTz).micros,
  timetz_pl_interval: (a, b) => {
    const { micros, zone } = a as TimeTz
    return { _tag: "TimeTz", micros: later(micros, (b as Interval).micros), zone }
  },
  timetz_mi_interval: (a, b) => {
    const { micros, zone } = a as TimeTz
    return { _tag: "TimeTz", micros: later(micros, 0 - (b as Interval).micros), zone }
  },
  timetz_izone: (a, b) => {
    const east = zoneOf(a as Interval)
    const { micros, zone } = b as TimeTz
    return { _tag: "TimeTz", micros: later(micros, (zone + east) * MICROS_PER_SECOND), zone: 0 - east }
  },
  make_time: (a, b, c) => makeTime(a as number, b as number, c as number)
}

export const temporalArithmetic: Builtins = everywhere({ ...dates, ...timestamps, ...timesOfDay })
