/**
 * TanStack DB's collection over a shape of the running server. Of the published clients it is the one that understands tags, move-ins
 * and move-outs, so shapes with subqueries are right in it or wrong.
 */
import { FetchError } from "@electric-sql/client"
import { createCollection } from "@tanstack/db"
import { electricCollectionOptions } from "@tanstack/electric-db-collection"
import { isDeepStrictEqual } from "node:util"
import { eventually } from "./Eventually.ts"
import { sorted, type Values } from "./Follower.ts"
import { AS_TEXT } from "./Scenario.ts"

/** A primary key's values, as JSON. */
export type TagKey = string

export interface TagAwareCollection {
  /** What the collection holds now: the text of each column by primary key. */
  readonly rows: () => ReadonlyMap<TagKey, Values>
  /** Whether it has had the whole shape once, and no error since. */
  readonly upToDate: () => boolean
  /** Answers by status: `409` counts rotations. */
  readonly answers: ReadonlyMap<number, number>
  /** Resolves with the first up-to-date. */
  readonly ready: () => Promise<void>
  /** Waits until the collection has exactly these rows, in any order; fails on a stream error and after the deadline. */
  readonly until: (expected: ReadonlyArray<Values>, what?: string, millis?: number) => Promise<void>
  readonly close: () => Promise<void>
}

/** A body that breaks off, as when the server is killed, is the one failure that the client does not try again by itself. */
export const isBrokenOff = (error: Error): boolean => error instanceof FetchError && error.status === 200

/** A row without what TanStack DB adds to it. */
export const withoutVirtual = <A extends object>(row: A): A =>
  Object.fromEntries(Object.entries(row).filter(([name]) => !name.startsWith("$"))) as A

/** Which rows are too many and which are missing, for an error's message. */
const difference = (rows: Iterable<Values>, expected: Iterable<Values>): string => {
  const [have, want] = [sorted(rows), sorted(expected)]
  const only = (these: ReadonlyArray<string>, others: ReadonlyArray<string>) =>
    these.filter((row) => !others.includes(row)).slice(0, 10).join(" ")
  return `too many: ${only(have, want)}; missing: ${only(want, have)}`
}

/**
 * Follows the shape of a table with a where clause (`undefined`: all rows).
 *
 * @param url Where the server is, such as `http://127.0.0.1:3000`.
 * @param params Further parameters of the shape, such as `replica`, `columns`, `params[1]`.
 * @param key Columns of the primary key. They must be among the shape's columns.
 */
export const tagAwareCollection = (
  url: string,
  table: string,
  where: string | undefined,
  params: Readonly<Record<string, string>> = {},
  key: ReadonlyArray<string> = ["id"]
): TagAwareCollection => {
  const answers = new Map<number, number>()
  let failure: Error | undefined
  const collection = createCollection(electricCollectionOptions<Values>({
    // A deletion brings the key's columns only.
    getKey: (row) => JSON.stringify(key.map((column) => row[column])),
    shapeOptions: {
      url: `${url}/v1/shape`,
      params: { table, ...(where !== undefined && { where }), ...params },
      parser: AS_TEXT,
      warnOnHttp: false,
      backoffOptions: { initialDelay: 50, maxDelay: 300, multiplier: 2 },
      fetchClient: async (...request) => {
        const response = await fetch(...request)
        answers.set(response.status, (answers.get(response.status) ?? 0) + 1)
        return response
      },
      onError: (error) => {
        if (isBrokenOff(error)) return {}
        failure = error
        return undefined
      }
    },
    startSync: true,
    // It lives until it is closed.
    gcTime: 0
  }))

  const rows = () =>
    new Map<TagKey, Values>(
      Array.from(collection.entries(), ([id, row]) => [String(id), withoutVirtual(row)])
    )

  return {
    rows,
    upToDate: () => failure === undefined && collection.isReady(),
    answers,
    ready: () => collection.preload(),
    until: (expected, what = "what was expected", millis) => {
      const wanted = sorted(expected)
      return eventually(() => {
        if (failure) throw failure
        const held = rows()
        if (collection.isReady() && isDeepStrictEqual(sorted(held.values()), wanted)) return undefined
        return `the collection is not ${what}: ${difference(held.values(), expected)}; answers ${
          JSON.stringify([...answers])
        }`
      }, millis)
    },
    close: () => collection.cleanup()
  }
}
