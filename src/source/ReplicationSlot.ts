/**
 * What a replication connection sets up before it can stream: the advisory lock that makes it the slot's only user, the
 * publication and the slot.
 */
import { Duration, Effect } from "effect"
import { quote, quoteLiteral } from "../domain/Identifier.ts"
import * as Lsn from "../domain/Lsn.ts"
import type { Database } from "./Database.ts"
import { classify, hasCode, ReplicationError } from "./ReplicationError.ts"
import type { Row, Session } from "./ReplicationSession.ts"

/** How often somebody who waits (for the lock, for old transactions) says so and tries to help. */
export const WAIT_TICK = Duration.seconds(10)

/** Postgres's rule for slot names; the advisory lock is named by it too. */
const slotName = /^[a-z0-9_]{1,63}$/

const refused = (operation: string, problem: string): ReplicationError =>
  new ReplicationError({ operation, retryable: false, cause: new Error(problem) })

/** Fails when the names can't be those of a slot and a publication. */
export const validate = (names: Database["Type"]["names"]): Effect.Effect<void, ReplicationError> => {
  if (!slotName.test(names.slot)) {
    return Effect.fail(
      refused("use the slot", `"${names.slot}" is no name of a slot: lower-case letters, digits and _, at most 63`)
    )
  }
  const bytes = Buffer.byteLength(names.publication)
  return bytes === 0 || bytes > 63 || names.publication.includes("\0")
    ? Effect.fail(refused("use the publication", `"${names.publication}" is no name of a publication: 1 to 63 bytes`))
    : Effect.void
}

/** Runs `effect`; as long as it takes, `tick` is run every `WAIT_TICK`. */
const withTicks = <A>(
  effect: Effect.Effect<A, ReplicationError>,
  tick: Effect.Effect<void>
): Effect.Effect<A, ReplicationError> => Effect.raceFirst(effect, Effect.forever(Effect.delay(tick, WAIT_TICK)))

// --- Lock ---

/**
 * Terminates whoever else holds the slot's lock, if the slot is there but nobody streams from it: an engine that is
 * gone and whose connection the server has not noticed to be. An engine that has yet to start streaming says something
 * on its connection at least every `WAIT_TICK`, so one that has been silent for `silentFor` is not alive.
 */
const breakLock = (database: Database["Type"], pid: number, silentFor: Duration.Duration): Effect.Effect<void> =>
  database.admin.unsafe<{ readonly pid: number }>(
    // Materialized, because Postgres is free to call a function in a WHERE clause for rows that the rest of the clause
    // excludes.
    `WITH stale AS MATERIALIZED (
       SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
       WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> $2
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND l.classid = ((hashtext($1)::bigint >> 32) & 4294967295)::oid
         AND l.objid = (hashtext($1)::bigint & 4294967295)::oid
         AND a.state_change <= clock_timestamp() - make_interval(secs => $3)
         AND EXISTS (
           SELECT FROM pg_replication_slots WHERE slot_name = $1 AND database = current_database() AND NOT active
         )
     )
     SELECT pid FROM stale WHERE pg_terminate_backend(pid)`,
    [database.names.slot, pid, Duration.toSeconds(silentFor)]
  ).pipe(
    Effect.flatMap((rows) =>
      rows.length === 0
        ? Effect.void
        : Effect.logWarning(
          `terminated backend ${rows.map((row) => row.pid).join(", ")}: it held the lock of an unused slot`
        )
    ),
    // The lock may still come free by itself.
    Effect.catchAll((error) =>
      Effect.logWarning(`could not look for a stale holder of the lock: ${String(error.cause)}`)
    )
  )

/**
 * Takes the slot's advisory lock on the replication connection itself, for as long as that lives; waits for it without
 * limit.
 */
export const acquireLock = (
  session: Session,
  database: Database["Type"],
  silentFor: Duration.Duration
): Effect.Effect<void, ReplicationError> => {
  const { slot } = database.names
  const lock = session.query("take the lock", `SELECT pg_advisory_lock(hashtext(${quoteLiteral(slot)}))`).pipe(
    // A statement timeout of the role or the database ends the waiting, not the wish.
    Effect.retry({ while: (error) => hasCode(error, "57014") })
  )
  const tick = Effect.logInfo(`waiting for the lock of slot ${slot}: another engine holds it`).pipe(
    Effect.zipRight(breakLock(database, session.pid, silentFor))
  )
  return Effect.asVoid(withTicks(lock, tick))
}

// --- Publication and slot ---

/** Makes sure that the publication is there and publishes everything. Returns whether it was created. */
const preparePublication = Effect.fnUntraced(function*(session: Session, database: Database["Type"]) {
  const { publication } = database.names
  const [found] = yield* session.query(
    "look up the publication",
    `SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AS complete
     FROM pg_publication WHERE pubname = ${quoteLiteral(publication)}`
  )
  if (found === undefined) {
    const serverVersion = yield* Effect.mapError(database.serverVersion, (error) => classify("connect", error.cause))
    const options = serverVersion >= 180_000 ? " WITH (publish_generated_columns = stored)" : ""
    yield* session.query("create the publication", `CREATE PUBLICATION ${quote(publication)}${options}`)
    yield* Effect.logInfo(`created publication ${publication}`)
    return true
  }
  if (found.complete !== "t") {
    return yield* refused(
      "use the publication",
      `publication ${publication} does not publish all of INSERT, UPDATE, DELETE and TRUNCATE: alter or drop it`
    )
  }
  return false
})

export interface Slot {
  readonly created: boolean
  readonly confirmedFlush: Lsn.Lsn
}

const lsn = (row: Row | undefined, column: string): Effect.Effect<Lsn.Lsn, ReplicationError> => {
  const parsed = Lsn.parse(row?.[column] ?? "")
  return parsed === undefined
    ? Effect.fail(
      new ReplicationError({
        operation: "read the slot",
        retryable: true,
        cause: new Error(`${column} is ${row?.[column]}`)
      })
    )
    : Effect.succeed(parsed)
}

/**
 * Creating a slot waits for every transaction that is running; an idle database may also have to be told to say that
 * there is none.
 */
const createSlot = Effect.fnUntraced(function*(session: Session, database: Database["Type"]) {
  const { slot } = database.names
  let canHelp = true
  const help = Effect.suspend(() =>
    canHelp
      ? database.admin.unsafe("SELECT pg_log_standby_snapshot()").pipe(
        Effect.asVoid,
        Effect.catchAll((error) => {
          canHelp = false
          return Effect.logInfo(`pg_log_standby_snapshot() can't be called to speed it up: ${String(error.cause)}`)
        })
      )
      : Effect.void
  )
  const tick = Effect.logWarning(`creating slot ${slot} waits for transactions that are older than it to end`).pipe(
    Effect.zipRight(help)
  )
  const [created] = yield* withTicks(
    session.query("create the slot", `CREATE_REPLICATION_SLOT ${quote(slot)} LOGICAL pgoutput NOEXPORT_SNAPSHOT`),
    tick
  )
  const confirmedFlush = yield* lsn(created, "consistent_point")
  yield* Effect.logInfo(`created slot ${slot} at ${Lsn.format(confirmedFlush)}`)
  return { created: true, confirmedFlush } satisfies Slot
})

export const dropSlot = (session: Session, slot: string): Effect.Effect<void, ReplicationError> =>
  Effect.asVoid(session.query(
    "drop the slot",
    `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ${quoteLiteral(slot)}`
  ))

/**
 * Makes sure that publication and slot are there. The slot is made anew when the publication had to be created (what
 * was written before can't be decoded with it) and when Postgres has invalidated the slot.
 */
export const prepare = Effect.fnUntraced(function*(session: Session, database: Database["Type"]) {
  const { slot } = database.names
  const publicationCreated = yield* preparePublication(session, database)
  const [found] = yield* session.query(
    "look up the slot",
    `SELECT plugin, database = current_database() AS ours, confirmed_flush_lsn, wal_status
     FROM pg_replication_slots WHERE slot_name = ${quoteLiteral(slot)}`
  )
  if (found === undefined) return yield* createSlot(session, database)
  if (found.plugin !== "pgoutput" || found.ours !== "t") {
    return yield* refused("use the slot", `slot ${slot} is not of this database or not of pgoutput`)
  }
  if (publicationCreated || found.wal_status === "lost") {
    yield* Effect.logWarning(
      `slot ${slot} is made anew: ${publicationCreated ? "its publication was missing" : "Postgres has invalidated it"}`
    )
    yield* dropSlot(session, slot)
    return yield* createSlot(session, database)
  }
  return { created: false, confirmedFlush: yield* lsn(found, "confirmed_flush_lsn") } satisfies Slot
})
