/** A table, TanStack DB collections over it, and how the two are compared. */
import { BasicIndex, createCollection } from "@tanstack/db"
import { electricCollectionOptions } from "@tanstack/electric-db-collection"
import assert from "node:assert/strict"
import { isDeepStrictEqual } from "node:util"
import { eventually } from "./Eventually.ts"
import type { Values } from "./Follower.ts"
import type { Scenario, Sql } from "./Scenario.ts"
import { isBrokenOff, withoutVirtual } from "./TagClient.ts"

export interface Todo extends Record<string, unknown> {
  readonly id: number
  readonly owner: string | null
  title: string
  rank: number | null
  done: boolean | null
}

/** Forty rows of two owners and of nobody. */
export const TODOS = `
  CREATE TABLE todos (id int PRIMARY KEY, owner text, title text NOT NULL, rank int, done bool);
  INSERT INTO todos SELECT i, CASE i % 3 WHEN 1 THEN 'ann' WHEN 2 THEN 'bob' END, 'title ' || i, i * 7 % 41, i % 2 = 0
  FROM generate_series(1, 40) i`

export const parseTodo = ({ done, id, owner, rank, title }: Values): Todo => ({
  id: Number(id),
  owner: owner!,
  title: title!,
  rank: rank === null ? null : Number(rank),
  done: done === null ? null : done === "t"
})

export interface TodosOptions {
  readonly url: string
  readonly syncMode: "eager" | "progressive" | "on-demand"
  readonly where?: string | undefined
  /** With `full` an update brings all columns: rows that nobody has loaded can be shown when they come into a query. */
  readonly replica?: "full" | undefined
  readonly subsetMethod?: "GET" | "POST" | undefined
  readonly fetchClient?: typeof fetch | undefined
  /** Where optimistic changes are written; without it there are none. */
  readonly db?: Sql | undefined
}

/** Statements that write and tell their transaction. */
const txid = "RETURNING pg_current_xact_id()::xid::text AS txid"

const written = async (
  rows: Promise<ReadonlyArray<Values>>
): Promise<{ readonly txid: number; readonly timeout: number }> => {
  const [row] = await rows
  assert.ok(row, "no row was written")
  return { txid: Number(row.txid), timeout: 20_000 }
}

export const makeTodos = (options: TodosOptions) => {
  const { db } = options
  return createCollection(electricCollectionOptions<Todo>({
    getKey: ({ id }) => id,
    syncMode: options.syncMode,
    autoIndex: "eager",
    defaultIndexType: BasicIndex,
    gcTime: 0,
    shapeOptions: {
      url: `${options.url}/v1/shape`,
      params: {
        table: "todos",
        ...(options.where !== undefined && { where: options.where }),
        ...(options.replica && { replica: options.replica })
      },
      warnOnHttp: false,
      onError: (error) => {
        if (isBrokenOff(error)) return {}
        console.error(error)
        return undefined
      },
      backoffOptions: { initialDelay: 50, maxDelay: 300, multiplier: 2 },
      ...(options.subsetMethod && { subsetMethod: options.subsetMethod }),
      ...(options.fetchClient && { fetchClient: options.fetchClient })
    },
    ...(db && {
      onInsert: ({ transaction }) => {
        const { done, id, owner, rank, title } = transaction.mutations[0].modified
        return written(
          db.query(`INSERT INTO todos VALUES ($1, $2, $3, $4, $5) ${txid}`, [id, owner, title, rank, done])
        )
      },
      onUpdate: ({ transaction }) => {
        const { done, id, rank, title } = transaction.mutations[0].modified
        return written(
          db.query(`UPDATE todos SET title = $2, rank = $3, done = $4 WHERE id = $1 ${txid}`, [id, title, rank, done])
        )
      },
      onDelete: ({ transaction }) =>
        written(db.query(`DELETE FROM todos WHERE id = $1 ${txid}`, [transaction.mutations[0].key]))
    })
  }))
}
export type Todos = ReturnType<typeof makeTodos>

/** Waits until a collection or live query has the rows of the statement: in its order, if `ordered`. */
export const has = async (
  rows: { readonly toArray: ReadonlyArray<Todo>; readonly status: string },
  select: Scenario["select"],
  sql: string,
  ordered = false
): Promise<void> => {
  const arranged = (todos: ReadonlyArray<Todo>) => ordered ? todos : [...todos].sort((a, b) => a.id - b.id)
  const expected = arranged((await select(sql)).map(parseTodo))
  await eventually(() => {
    const held = arranged(rows.toArray.map(withoutVirtual))
    if (isDeepStrictEqual(held, expected)) return undefined
    const only = (these: ReadonlyArray<Todo>, others: ReadonlyArray<Todo>) =>
      JSON.stringify(these.filter((todo) => !others.some((other) => isDeepStrictEqual(todo, other))).slice(0, 10))
    return `${sql}: ${held.length} rows for ${expected.length}, too many ${only(held, expected)}, missing ${
      only(expected, held)
    }, ${rows.status}`
  })
}
