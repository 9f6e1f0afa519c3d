/** Everything about dates, times, timestamps and intervals. Comparisons that depend on the session's time zone are left out. */
import { type Builtins, type Interval, type TimeTz, type Value } from "../Value.ts"
import { moment, type Stamp } from "../values/Calendar.ts"
import { compareIntervals } from "../values/Interval.ts"
import { compareTimeTz } from "../values/Temporal.ts"
import { extremes, primitiveComparisons, threeWay } from "./Families.ts"
import { intervalArithmetic } from "./IntervalArithmetic.ts"
import { temporalArithmetic } from "./TemporalArithmetic.ts"
import { temporalFields } from "./TemporalFields.ts"
import { temporalTruncation } from "./TemporalTruncation.ts"

const compareStamps = (a: Stamp, b: Stamp): number => a < b ? -1 : a > b ? 1 : 0
const primitives = (a: Value, b: Value): number => compareStamps(a as Stamp, b as Stamp)
const intervals = (a: Value, b: Value): number => compareIntervals(a as Interval, b as Interval)
const timesWithZone = (a: Value, b: Value): number => compareTimeTz(a as TimeTz, b as TimeTz)

/** A date is its midnight, even when that is no timestamp. */
const dateWithStamp = (a: Value, b: Value): number => compareStamps(moment(a as number, 0), b as Stamp)
const stampWithDate = (a: Value, b: Value): number => compareStamps(a as Stamp, moment(b as number, 0))

export const temporalFunctions: Builtins = {
  ...primitiveComparisons("date"),
  ...primitiveComparisons("time"),
  ...primitiveComparisons("timestamp"),
  ...threeWay("timetz", timesWithZone),
  ...threeWay("interval", intervals),
  ...threeWay("date", dateWithStamp, "_timestamp"),
  ...threeWay("timestamp", stampWithDate, "_date"),
  ...extremes("date", primitives),
  ...extremes("time", primitives),
  ...extremes("timestamp", primitives),
  ...extremes("timetz", timesWithZone),
  ...extremes("interval", intervals),
  ...intervalArithmetic,
  ...temporalArithmetic,
  ...temporalFields,
  ...temporalTruncation
}
