/**
 * Names of tables and columns: as the protocol writes them (Electric HTTP protocol §4.2, §4.4) and as SQL does.
 */
import { Either } from "effect"

/** Longest identifier, in characters. */
export const MAX_LENGTH = 63

const unquoted = /^[\p{L}_][\p{L}\p{M}\p{Nd}_$]*$/u

/** Pieces of `text` between the separators that stand outside double quotes. */
const split = (text: string, separator: string): Array<string> => {
  const parts: Array<string> = []
  let start = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\"") quoted = !quoted
    else if (!quoted && text[i] === separator) {
      parts.push(text.slice(start, i))
      start = i + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

const withinLength = (name: string): Either.Either<string, string> =>
  [...name].length > MAX_LENGTH
    ? Either.left(`Identifier is too long (max length is ${MAX_LENGTH})`)
    : Either.right(name)

/** One name: quoted it is taken verbatim, otherwise its ASCII capitals are folded. */
const parseName = (text: string): Either.Either<string, string> => {
  if (text.length >= 2 && text.startsWith("\"") && text.endsWith("\"")) {
    const inner = text.slice(1, -1)
    if (inner === "") return Either.left("Invalid zero-length delimited identifier")
    if (inner.replaceAll("\"\"", "").includes("\"")) {
      return Either.left(`Invalid identifier with unescaped quote: ${inner}`)
    }
    // Not of the protocol, but no name that Postgres could be asked for.
    if (inner.includes("\0")) return Either.left("Invalid identifier with a null byte")
    return withinLength(inner.replaceAll("\"\"", "\""))
  }
  if (text === "") return Either.left("Invalid zero-length delimited identifier")
  return unquoted.test(text)
    ? withinLength(text.replace(/[A-Z]/g, (letter) => letter.toLowerCase()))
    : Either.left(`Invalid unquoted identifier contains special characters: ${text}`)
}

export interface TableName {
  readonly schema: string
  readonly name: string
}

/** Reads `name` or `schema.name`; the schema is `public` when it is left out. Left is the protocol's message. */
export const parseTable = (text: string): Either.Either<TableName, string> => {
  const parts = split(text, ".")
  if (parts.length > 2) return Either.left(`Invalid relation identifier, too many delimiters: ${text}`)
  return Either.map(
    Either.all(parts.map(parseName)),
    (names) => names.length === 2 ? { schema: names[0]!, name: names[1]! } : { schema: "public", name: names[0]! }
  )
}

/** Reads a comma-separated list of column names. Left is the protocol's message for the first name that is wrong. */
export const parseColumns = (text: string): Either.Either<ReadonlyArray<string>, string> =>
  Either.all(split(text, ",").map(parseName))

/** What is said of a table that is not there (Electric HTTP protocol §4.4). */
export const doesNotExist = ({ name, schema }: TableName): string =>
  `Table "${schema}"."${name}" does not exist. If the table name contains capitals or special characters you must quote it.`

/** The name as a quoted SQL identifier. */
export const quote = (name: string): string => `"${name.replaceAll("\"", "\"\"")}"`

/**
 * The text as an SQL string literal that means the same whatever `standard_conforming_strings` is: one with a backslash
 * takes the `E''` form. A text with a NUL byte can't be sent to Postgres and must not get here.
 */
export const quoteLiteral = (text: string): string => {
  const quoted = text.replaceAll("'", "''")
  return quoted.includes("\\") ? `E'${quoted.replaceAll("\\", "\\\\")}'` : `'${quoted}'`
}
