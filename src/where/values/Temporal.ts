/**
 * Dates, times and timestamps: their texts under the display settings (ISO, UTC), and their order.
 *
 * A timestamp outside the safe integers' years (1715 to 2285) is a bigint: see `Stamp`.
 */
import { type Codec, type Codecs, type TimeTz, unsure, type Value } from "../Value.ts"
import * as Calendar from "./Calendar.ts"
import { intervalCodec } from "./Interval.ts"

const ZERO = 48
const DASH = 45
const COLON = 58
const DOT = 46
const PLUS = 43

/** The number that the digits from `from` to `to` make. Anything else than digits is unsure. */
const digits = (text: string, from: number, to: number): number => {
  let number = 0
  for (let at = from; at < to; at++) {
    const digit = text.charCodeAt(at) - ZERO
    if (!(digit >= 0 && digit <= 9)) unsure()
    number = number * 10 + digit
  }
  return from < to ? number : unsure()
}

const expect = (text: string, at: number, code: number): void => {
  if (text.charCodeAt(at) !== code) unsure()
}

/** `2024-01-31` up to `end`: days since 2000-01-01. */
const parseDay = (text: string, end: number, beforeChrist: boolean): number => {
  const dash = end - 6
  expect(text, dash, DASH)
  expect(text, end - 3, DASH)
  const year = digits(text, 0, dash)
  return Calendar.dayOf(beforeChrist ? 1 - year : year, digits(text, dash + 1, end - 3), digits(text, end - 2, end))
}

/** `03:04:05.678` from `from` to `end`: microseconds since midnight. */
const parseTime = (text: string, from: number, end: number): number => {
  expect(text, from + 2, COLON)
  expect(text, from + 5, COLON)
  const seconds = digits(text, from, from + 2) * 3600 + digits(text, from + 3, from + 5) * 60 +
    digits(text, from + 6, from + 8)
  if (end === from + 8) return seconds * Calendar.MICROS_PER_SECOND
  expect(text, from + 8, DOT)
  const places = end - from - 9
  if (places > 6) unsure()
  return seconds * Calendar.MICROS_PER_SECOND + digits(text, from + 9, end) * 10 ** (6 - places)
}

const infinity = (text: string): number => text === "infinity" ? Infinity : text === "-infinity" ? -Infinity : unsure()

/** Whether a date's or a timestamp's text is one of the infinities: all others begin with a digit. */
const isInfinity = (text: string): boolean => text.charCodeAt(0) > 57 || text.charCodeAt(0) === DASH

const two = (number: number): string => number < 10 ? `0${number}` : `${number}`

const printDay = (day: number): string => {
  const civil = Calendar.civilOf(day)
  const year = civil.year > 0 ? civil.year : 1 - civil.year
  return `${String(year).padStart(4, "0")}-${two(civil.month)}-${two(civil.day)}`
}

const era = (day: number): string => Calendar.civilOf(day).year > 0 ? "" : " BC"

const printTime = (micros: number): string => {
  const seconds = Math.floor(micros / Calendar.MICROS_PER_SECOND)
  const rest = micros % Calendar.MICROS_PER_SECOND
  const hours = Math.floor(seconds / 3600)
  return `${two(hours)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}${Calendar.fraction(rest)}`
}

const printInfinity = (value: number | bigint): string => value === Infinity ? "infinity" : "-infinity"

const isInfinite = (value: number | bigint): boolean => value === Infinity || value === -Infinity

const order = (a: Value, b: Value): number => {
  const left = a as number | bigint
  const right = b as number | bigint
  return left < right ? -1 : left > right ? 1 : 0
}

const same = (a: Value, b: Value): boolean => a === b

const date: Codec = {
  decode: (text) => {
    if (isInfinity(text)) return infinity(text)
    const beforeChrist = text.endsWith(" BC")
    return Calendar.checkedDate(parseDay(text, beforeChrist ? text.length - 3 : text.length, beforeChrist))
  },
  encode: (value) => {
    const day = value as number
    return isInfinite(day) ? printInfinity(day) : printDay(day) + era(day)
  },
  equal: same,
  compare: order
}

const stamp = (zone: "" | "+00"): Codec => ({
  decode: (text) => {
    if (isInfinity(text)) return infinity(text)
    const beforeChrist = text.endsWith(" BC")
    const end = (beforeChrist ? text.length - 3 : text.length) - zone.length
    if (zone !== "" && !text.startsWith(zone, end)) unsure()
    const space = text.indexOf(" ")
    return Calendar.stampOf(parseDay(text, space, beforeChrist), parseTime(text, space + 1, end))
  },
  encode: (value) => {
    const micros = value as Calendar.Stamp
    if (isInfinite(micros)) return printInfinity(micros)
    const day = Calendar.dayOfStamp(micros)
    return `${printDay(day)} ${printTime(Calendar.timeOfStamp(micros))}${zone}${era(day)}`
  },
  equal: same,
  compare: order
})

/** No later than midnight at the end of the day. */
const checkedTime = (micros: number): number => micros <= Calendar.MICROS_PER_DAY ? micros : unsure()

const time: Codec = {
  decode: (text) => checkedTime(parseTime(text, 0, text.length)),
  encode: (value) => printTime(value as number),
  equal: same,
  compare: order
}

/** By the moment in UTC, then by the zone. */
export const compareTimeTz = (a: TimeTz, b: TimeTz): number => {
  const difference = a.micros + a.zone * Calendar.MICROS_PER_SECOND - b.micros - b.zone * Calendar.MICROS_PER_SECOND
  return difference !== 0 ? difference : a.zone - b.zone
}

/** `+05`, `-03:30`, `+00:00:05` from `from` on: seconds west of UTC. */
const parseZone = (text: string, from: number): number => {
  const parts = text.length - from
  if (parts !== 3 && parts !== 6 && parts !== 9) unsure()
  const seconds = digits(text, from + 1, from + 3) * 3600 +
    (parts > 3 ? digits(text, from + 4, from + 6) * 60 : 0) + (parts > 6 ? digits(text, from + 7, from + 9) : 0)
  if (seconds >= 16 * 3600) unsure()
  return text.charCodeAt(from) === PLUS ? 0 - seconds : seconds
}

const printZone = (zone: number): string => {
  const seconds = Math.abs(zone)
  const minutes = Math.floor(seconds / 60) % 60
  const hours = `${zone <= 0 ? "+" : "-"}${two(Math.floor(seconds / 3600))}`
  if (seconds % 60 !== 0) return `${hours}:${two(minutes)}:${two(seconds % 60)}`
  return minutes !== 0 ? `${hours}:${two(minutes)}` : hours
}

const timetz: Codec = {
  decode: (text) => {
    const plus = text.indexOf("+")
    const sign = plus >= 0 ? plus : text.indexOf("-")
    if (sign < 0) unsure()
    return { _tag: "TimeTz", micros: checkedTime(parseTime(text, 0, sign)), zone: parseZone(text, sign) }
  },
  encode: (value) => {
    const { micros, zone } = value as TimeTz
    return printTime(micros) + printZone(zone)
  },
  equal: (a, b) => compareTimeTz(a as TimeTz, b as TimeTz) === 0,
  compare: (a, b) => compareTimeTz(a as TimeTz, b as TimeTz)
}

export const temporalCodecs: Codecs = {
  date,
  time,
  timetz,
  timestamp: stamp(""),
  timestamptz: stamp("+00"),
  interval: intervalCodec
}
