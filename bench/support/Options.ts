/**
 * What the command line asks for, and the sizes that follow from it.
 */
import { parseArgs } from "node:util"

export interface Options {
  readonly names: ReadonlyArray<string>
  readonly runs: number
  readonly quick: boolean
  /** Length of the latency workload. */
  readonly seconds: number
  /** Write a CPU profile of the server for each measured window. */
  readonly profile: boolean
  /** Numbers of clients of `fanout`, and the forms of it that are run. */
  readonly clients: ReadonlyArray<number> | undefined
  readonly forms: ReadonlyArray<string> | undefined
  /** Rows of the table that is synced. */
  readonly rows: number
  /** Single-row transactions of the backlog. */
  readonly transactions: number
  /** Requests of one round of small responses. */
  readonly requests: number
}

export const parse = (args: ReadonlyArray<string>): Options => {
  const { positionals, values } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      runs: { type: "string", default: "3" },
      quick: { type: "boolean", default: false },
      seconds: { type: "string" },
      profile: { type: "boolean", default: false },
      clients: { type: "string" },
      forms: { type: "string" },
      rows: { type: "string" },
      transactions: { type: "string" }
    }
  })
  const { profile, quick } = values
  const number = (name: string, text: string | undefined, otherwise: number): number => {
    const value = text === undefined ? otherwise : Number(text)
    if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes a whole number, not ${text}`)
    return value
  }
  const rows = number("rows", values.rows, quick ? 100_000 : 1_000_000)
  return {
    names: positionals,
    runs: number("runs", values.runs, 3),
    quick,
    seconds: number("seconds", values.seconds, quick ? 5 : 20),
    profile,
    clients: values.clients?.split(",").map((text) => number("clients", text, 0)),
    forms: values.forms?.split(","),
    rows,
    transactions: number("transactions", values.transactions, quick ? 50_000 : 500_000),
    requests: quick ? 20_000 : 100_000
  }
}
