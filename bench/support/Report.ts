/**
 * What a workload found: figures with the limit measured beside them, as a table and as JSON.
 */
import type { Usage } from "./Server.ts"

export interface Figure {
  readonly what: string
  readonly ours: number
  readonly unit: string
  /** What the machine can do, measured in the same run. */
  readonly limit?: number
  /** How much of the limit is reached: 1 is all of it. */
  readonly ratio?: number
  readonly aim?: { readonly text: string; readonly met: boolean }
}

export interface Report {
  readonly workload: string
  readonly title: string
  readonly figures: ReadonlyArray<Figure>
  /** What the reader has to know about the figures. */
  readonly notes: ReadonlyArray<string>
  /** Every run's own numbers. */
  readonly runs: ReadonlyArray<unknown>
}

/** The median; of an even number, the mean of the middle two. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** The value that a share `p` of all are not above. */
export const percentile = (values: ReadonlyArray<number>, p: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.max(0, Math.ceil(p * values.length) - 1))] ?? NaN

export const MB = 1_000_000

export const atMost = (value: number, limit: number, unit: string) => ({
  text: `<= ${limit} ${unit}`,
  met: value <= limit
})
export const atLeast = (ratio: number, limit: number) => ({ text: `>= ${limit}`, met: ratio >= limit })

/** What every workload says about the server process, over its runs. */
export const usageFigures = (usages: ReadonlyArray<Usage>, peakRssLimitMb?: number): ReadonlyArray<Figure> => {
  const of = (pick: (usage: Usage) => number) => median(usages.map(pick))
  const peakRss = Math.max(...usages.map((usage) => usage.peakRss)) / MB
  return [
    { what: "server CPU", ours: of((usage) => usage.cpuSeconds), unit: "s" },
    { what: "  of it the main thread", ours: of((usage) => usage.mainCpuSeconds), unit: "s" },
    {
      what: "server peak RSS",
      ours: peakRss,
      unit: "MB",
      ...(peakRssLimitMb !== undefined && { aim: atMost(peakRss, peakRssLimitMb, "MB") })
    },
    { what: "  of it anonymous", ours: Math.max(...usages.map((usage) => usage.peakAnonymous)) / MB, unit: "MB" },
    { what: "  JavaScript heap", ours: Math.max(...usages.map((usage) => usage.peakHeap)) / MB, unit: "MB" },
    { what: "  held by it outside", ours: Math.max(...usages.map((usage) => usage.peakExternal)) / MB, unit: "MB" },
    { what: "event loop delay p99", ours: of((usage) => usage.loopDelayP99), unit: "ms" },
    { what: "event loop delay max", ours: Math.max(...usages.map((usage) => usage.loopDelayMax)), unit: "ms" }
  ]
}

const number = (value: number | undefined): string =>
  value === undefined || Number.isNaN(value)
    ? ""
    : Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString("en").replaceAll(",", " ")
    : value.toPrecision(3)

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      "  " + row.map((cell, i) => (i === 0 || i === 5 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  ")
    )
    .map((line) => line.trimEnd())
    .join("\n")
}

export const render = ({ figures, notes, title, workload }: Report): string =>
  [
    "",
    `${workload}: ${title}`,
    table([
      ["", "ours", "unit", "limit", "ratio", "aim"],
      ...figures.map(({ aim, limit, ours, ratio, unit, what }) => [
        what,
        number(ours),
        unit,
        number(limit),
        ratio === undefined ? "" : ratio.toFixed(2),
        aim === undefined ? "" : `${aim.text}${aim.met ? "" : "  MISSED"}`
      ])
    ]),
    ...notes.map((note) => `  - ${note}`)
  ].join("\n")
