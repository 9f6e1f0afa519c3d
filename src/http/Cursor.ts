/**
 * The `electric-cursor` of live responses (Electric HTTP protocol §7.4): the end of the long-poll interval that the
 * time lies in, so that clients which ask within one interval share one URL and a cache collapses them. A client's
 * cursors always grow, or it would go back to a URL that a cache still has an answer for.
 */
/** 2024-10-09T00:00:00Z, in seconds. */
const EPOCH = 1_728_432_000

/** Longest random step from a cursor that is at the interval's end already, in seconds. */
const MAX_STEP = 3_600

/** The cursor after `previous` (0 for none); always 0 when the long poll is shorter than a second. */
export const next = (
  previous: number,
  nowMs: number,
  longPollTimeoutMs: number,
  /** A random whole number from 0 to below the limit. */
  random: (limit: number) => number
): number => {
  const interval = Math.floor(longPollTimeoutMs / 1_000)
  if (interval === 0) return 0
  const end = Math.ceil((Math.floor(nowMs / 1_000) - EPOCH) / interval) * interval
  return end > previous ? end : previous + 1 + random(MAX_STEP)
}
