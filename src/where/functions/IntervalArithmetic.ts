/** Arithmetic of intervals alone: sums, multiples, and their normal forms. */
import { type Builtins, type Interval, unsure } from "../Value.ts"
import { MICROS_PER_DAY, MICROS_PER_SECOND } from "../values/Calendar.ts"
import { intervalOf } from "../values/Interval.ts"
import { everywhere } from "./Families.ts"

const MAX_INT4 = 2_147_483_647

export const negated = ({ days, micros, months }: Interval): Interval => intervalOf(0 - months, 0 - days, 0 - micros)

/** Days that are whole are counted as days. */
export const justifyHours = (months: number, days: number, micros: number): Interval => {
  const whole = Math.trunc(micros / MICROS_PER_DAY)
  const sum = days + whole
  const rest = micros - whole * MICROS_PER_DAY
  if (sum > 0 && rest < 0) return intervalOf(months, sum - 1, rest + MICROS_PER_DAY)
  if (sum < 0 && rest > 0) return intervalOf(months, sum + 1, rest - MICROS_PER_DAY)
  return intervalOf(months, sum, rest)
}

const justifyDays = (months: number, days: number, micros: number): Interval => {
  const whole = Math.trunc(days / 30)
  const sum = months + whole
  const rest = days - whole * 30
  if (sum > 0 && rest < 0) return intervalOf(sum - 1, rest + 30, micros)
  if (sum < 0 && rest > 0) return intervalOf(sum + 1, rest - 30, micros)
  return intervalOf(sum, rest, micros)
}

const justifyInterval = (interval: Interval): Interval => {
  const wholeDays = Math.trunc(interval.micros / MICROS_PER_DAY)
  let micros = interval.micros - wholeDays * MICROS_PER_DAY
  const allDays = interval.days + wholeDays
  // Days and time may each be too many though their sum is not: Postgres has its own order of doing this.
  if (Math.abs(allDays) > MAX_INT4) unsure()
  const wholeMonths = Math.trunc(allDays / 30)
  let days = allDays - wholeMonths * 30
  let months = interval.months + wholeMonths
  if (Math.abs(months) > MAX_INT4) unsure()
  if (months > 0 && (days < 0 || (days === 0 && micros < 0))) {
    days += 30
    months--
  } else if (months < 0 && (days > 0 || (days === 0 && micros > 0))) {
    days -= 30
    months++
  }
  if (days > 0 && micros < 0) {
    micros += MICROS_PER_DAY
    days--
  } else if (days < 0 && micros > 0) {
    micros -= MICROS_PER_DAY
    days++
  }
  return intervalOf(months, days, micros)
}

const sum = (a: Interval, b: Interval, factor: 1 | -1): Interval =>
  intervalOf(a.months + factor * b.months, a.days + factor * b.days, a.micros + factor * b.micros)

/** Rounds to microseconds; unsure next to a half, where a platform's fused multiplication may matter. */
export const roundExactly = (value: number): number => {
  const floor = Math.floor(value)
  const rest = value - floor
  if (Math.abs(rest - 0.5) < 0.05) unsure()
  return rest < 0.5 ? floor : floor + 1
}

const roundSeconds = (value: number): number => roundExactly(value * MICROS_PER_SECOND) / MICROS_PER_SECOND

/** Beyond this, the parts' fractions are too coarse for the rounding above. */
const LARGEST_SCALED = 1000
const LARGEST_SCALED_MICROS = 2 ** 42

const checkFractions = (months: number, days: number): void => {
  if (!(Math.abs(months) <= LARGEST_SCALED && Math.abs(days) <= LARGEST_SCALED)) unsure()
}

/**
 * The interval of the three products (or quotients) of its parts with a number: fractions of months go to days of 30 to
 * the month, fractions of days to the time.
 */
const scaled = (months: number, days: number, micros: number): Interval => {
  if (Number.isInteger(months) && Number.isInteger(days) && Number.isSafeInteger(micros)) {
    return intervalOf(months, days, micros)
  }
  checkFractions(months, days)
  if (Math.abs(micros) > LARGEST_SCALED_MICROS) unsure()
  const wholeMonths = Math.trunc(months)
  const wholeDays = Math.trunc(days)
  const daysOfMonths = roundSeconds((months - wholeMonths) * 30)
  let seconds = roundSeconds((days - wholeDays + daysOfMonths - Math.trunc(daysOfMonths)) * 86_400)
  const carried = Math.abs(seconds) >= 86_400 ? Math.trunc(seconds / 86_400) : 0
  seconds -= carried * 86_400
  return intervalOf(
    wholeMonths,
    wholeDays + carried + Math.trunc(daysOfMonths),
    roundExactly(micros + seconds * MICROS_PER_SECOND)
  )
}

const multiplied = ({ days, micros, months }: Interval, factor: number): Interval => {
  // A whole number's products are exact. Others leave something over where multiplication and subtraction are fused.
  if (!Number.isInteger(factor)) checkFractions(months * factor, days * factor)
  return scaled(months * factor, days * factor, micros * factor)
}

const divided = ({ days, micros, months }: Interval, divisor: number): Interval =>
  divisor === 0 ? unsure() : scaled(months / divisor, days / divisor, micros / divisor)

export const intervalArithmetic: Builtins = everywhere({
  interval_pl: (a, b) => sum(a as Interval, b as Interval, 1),
  interval_mi: (a, b) => sum(a as Interval, b as Interval, -1),
  interval_um: (a) => negated(a as Interval),
  interval_mul: (a, b) => multiplied(a as Interval, b as number),
  mul_d_interval: (a, b) => multiplied(b as Interval, a as number),
  interval_div: (a, b) => divided(a as Interval, b as number),
  interval_finite: () => true,
  interval_justify_hours: (a) => justifyHours((a as Interval).months, (a as Interval).days, (a as Interval).micros),
  interval_justify_days: (a) => justifyDays((a as Interval).months, (a as Interval).days, (a as Interval).micros),
  interval_justify_interval: (a) => justifyInterval(a as Interval)
})
