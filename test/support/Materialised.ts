/**
 * What the published client has made of a shape, compared with what `SELECT` says.
 */
import { isChangeMessage, isControlMessage, type Message, type Row } from "@electric-sql/client"
import type { Values } from "./Follower.ts"
import type { Client, Scenario } from "./Scenario.ts"

const text = (value: unknown) => JSON.stringify(value, (_, inner) => typeof inner === "bigint" ? `${inner}n` : inner)

/** Rows as one text, whatever order they and their columns come in. */
export const canonical = (rows: Iterable<Row<unknown>>): string =>
  text([...rows].map((row) => text(Object.entries(row).sort(([a], [b]) => a < b ? -1 : 1))).sort())

/** Waits until the client has what `SELECT` gives, as the client's parser is to make it of the text. */
export const matches = async (
  client: Client,
  select: Scenario["select"],
  sql: string,
  parse: (row: Values) => Row<unknown> = (row) => row
): Promise<void> => {
  const expected = canonical((await select(sql)).map(parse))
  await client.until((rows) => canonical(rows) === expected, `${sql}, ${expected.slice(0, 500)}`)
}

/** Applies messages to rows by key, as an application that keeps them itself does. */
export const apply = (rows: Map<string, Row<unknown>>, messages: Iterable<Message<Row<unknown>>>): void => {
  for (const message of messages) {
    if (isControlMessage(message)) {
      if (message.headers.control === "must-refetch") rows.clear()
    } else if (isChangeMessage(message)) {
      const { headers, key, value } = message
      if (headers.operation === "insert") rows.set(key, value)
      else if (headers.operation === "update") rows.set(key, { ...rows.get(key), ...value })
      else rows.delete(key)
    }
  }
}

/** Operations and primary keys of the changes among the messages, such as `insert 1`. */
export const changesOf = (messages: Iterable<Message<Row<unknown>>>): ReadonlyArray<string> =>
  [...messages].flatMap((message) =>
    isChangeMessage(message) ? [`${message.headers.operation} ${String(message.value["id"])}`] : []
  )

/** The control messages among them, such as `up-to-date`. */
export const controlsOf = (messages: Iterable<Message<Row<unknown>>>): ReadonlyArray<string> =>
  [...messages].flatMap((message) => isControlMessage(message) ? [message.headers.control] : [])

/** A row of `SELECT` with the names that the client's `snakeCamelMapper` gives its columns. */
export const camel = (row: Values): Row<unknown> =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name.replace(/(?<=[a-z])_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      value
    ])
  )
