/**
 * The benchmark's Postgres, and what the workloads need in it.
 */
import { Effect, Exit, Redacted, Scope } from "effect"
import * as path from "node:path"
import pg from "pg"
import * as EmbeddedPostgres from "../../src/source/EmbeddedPostgres.ts"
import { until } from "./Processes.ts"

/** What the server under test calls its slot and publication. */
export const SLOT = "shapelog_slot_default"
export const PUBLICATION = "shapelog_publication_default"

const settings = {
  max_wal_size: "32GB",
  checkpoint_timeout: "1h",
  shared_buffers: "512MB",
  // Statistics are taken once, after loading; a vacuum in the middle of a run would be noise.
  autovacuum: "off"
}

/** A Postgres with its usual fsync, in a directory of its own. */
export const startPostgres = async (directory: string) => {
  const scope = await Effect.runPromise(Scope.make())
  const server = await EmbeddedPostgres.start({ directory: path.join(directory, "postgres"), settings }).pipe(
    Scope.extend(scope),
    Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))),
    Effect.runPromise
  )
  return {
    url: Redacted.value(server.url),
    stop: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

export type Row = Readonly<Record<string, string | null>>

/** Runs statements on a connection of their own; the last one's rows, as text. */
export const query = async (url: string, sql: string): Promise<ReadonlyArray<Row>> => {
  const client = new pg.Client({
    connectionString: url,
    types: { getTypeParser: () => (value: string) => value }
  })
  client.on("error", () => {})
  await client.connect()
  try {
    const result: pg.QueryResult<Row> | Array<pg.QueryResult<Row>> = await client.query<Row>(sql)
    return (Array.isArray(result) ? result.at(-1) : result)?.rows ?? []
  } finally {
    await client.end()
  }
}

export const createDatabase = async (url: string, name: string): Promise<string> => {
  await query(url, `CREATE DATABASE ${name}`)
  const created = new URL(url)
  created.pathname = `/${name}`
  return created.href
}

/** The table of all workloads: about 180 bytes a row, 340 bytes as an item of a snapshot. */
export const createItems = (url: string, rows: number) =>
  query(
    url,
    `CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, status text NOT NULL, ts timestamptz NOT NULL, n int NOT NULL,
       payload text NOT NULL);
     ALTER TABLE items REPLICA IDENTITY FULL;
     INSERT INTO items SELECT i, 'name ' || i, (ARRAY['active', 'paused', 'done'])[1 + i % 3], '2024-01-01Z'::timestamptz + i * interval '1 second',
       i % 1000, left(repeat(md5(i::text), 4), 120) FROM generate_series(1, ${rows}) i`
  )

/**
 * The table of the workloads with many shapes: a column for each number of shapes, so that the same rows can be spread over each number of
 * them.
 */
export const createTasks = (url: string, spreads: ReadonlyArray<number>) =>
  query(
    url,
    `CREATE TABLE tasks (id bigint PRIMARY KEY, ${
      spreads.map((shapes) => `user_${shapes} int NOT NULL`).join(", ")
    }, owner_id int NOT NULL, status text NOT NULL, n int NOT NULL, payload text NOT NULL);
     ALTER TABLE tasks REPLICA IDENTITY FULL`
  )

/** Leaves nothing for a first reader to do: hint bits, statistics and dirty pages are taken care of. */
export const settle = async (url: string, table = "items"): Promise<void> => {
  // VACUUM refuses to share a string with another statement.
  await query(url, `VACUUM (FREEZE, ANALYZE) ${table}`)
  await query(url, "CHECKPOINT")
}

export const dropSlot = (url: string, slot: string) =>
  until(10_000, `dropping the slot ${slot}`, async () => {
    const rows = await query(
      url,
      `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '${slot}' AND NOT active`
    )
    const left = await query(url, `SELECT 1 FROM pg_replication_slots WHERE slot_name = '${slot}'`)
    return left.length === 0 ? rows : undefined
  })

/** Another slot at exactly the same position. */
export const copySlot = (url: string, from: string, to: string) =>
  query(url, `SELECT pg_copy_logical_replication_slot('${from}', '${to}')`)
