/**
 * Connections to the source database, all with the same display settings, so that a value has one text form on every
 * path.
 */
import type { PgClient } from "@effect/sql-pg"
import { Context, type Effect } from "effect"
import type pg from "pg"
import type { DatabaseUnavailable } from "../domain/Errors.ts"

/** Run on every session before its first use (Electric HTTP protocol §11.1). */
export const DISPLAY_SETTINGS = [
  "SET bytea_output = 'hex'",
  "SET DateStyle = 'ISO, DMY'",
  "SET TimeZone = 'UTC'",
  "SET extra_float_digits = 1",
  "SET IntervalStyle = 'iso_8601'",
  "SET standard_conforming_strings = on",
  "SET client_encoding = 'UTF8'"
].join("; ")

export class Database extends Context.Tag("shapelog/source/Database")<Database, {
  /**
   * Options of one more connection, such as the replication connection. An effect, because whether the server speaks
   * TLS is known only after talking to it.
   */
  readonly clientConfig: Effect.Effect<pg.ClientConfig, DatabaseUnavailable>
  /** Catalog queries, publication, health: never busy for long. Values are the text that Postgres sends. */
  readonly admin: PgClient.PgClient
  /** For snapshots, each of which holds one connection until it is read. Values are the text that Postgres sends. */
  readonly snapshots: pg.Pool
  /** Names the publication and the slot, and through the slot the advisory lock. */
  readonly names: { readonly publication: string; readonly slot: string }
  /** `server_version_num`, such as 150018. Asked once, when the database can first be reached. */
  readonly serverVersion: Effect.Effect<number, DatabaseUnavailable>
}>() {}
