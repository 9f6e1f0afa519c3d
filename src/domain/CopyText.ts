/** Rows of COPY text, taken apart into the texts of their fields (Postgres documentation, COPY, Text Format). */
import type { CopyRows } from "./SnapshotEncoder.ts"

const escapes: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" }

const unescape = (field: string): string =>
  field.includes("\\") ? field.replace(/\\(.)/gs, (_, letter: string) => escapes[letter] ?? letter) : field

/** The fields of row `i`; `null` for NULL. */
export const fieldsOf = ({ bytes, rows }: CopyRows, i: number): ReadonlyArray<string | null> =>
  bytes.toString("utf8", rows[2 * i]!, rows[2 * i + 1]! - 1).split("\t").map((field) =>
    field === "\\N" ? null : unescape(field)
  )
