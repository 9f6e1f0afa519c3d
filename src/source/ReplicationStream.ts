/**
 * Postgres's logical replication stream: one connection that holds the advisory lock of its slot, decoded and pausable.
 *
 * `connect` is one life of the connection; whoever follows the stream connects again after a failure, from the position
 * it has made durable. The connection reads from its socket only as fast as `pull` is called (TCP backpressure reaches
 * Postgres), while standby status updates go out on a timer all the same.
 */
import { Context, Duration, Effect, Layer, Option, type Scope } from "effect"
import { quote, quoteLiteral } from "../domain/Identifier.ts"
import * as Lsn from "../domain/Lsn.ts"
import type { WalMessage } from "../domain/WalMessage.ts"
import { type CopyWire, type Frames, WireError } from "./CopyWire.ts"
import { Database, DISPLAY_SETTINGS } from "./Database.ts"
import * as Pgoutput from "./Pgoutput.ts"
import { classify, isSlotLost, ReplicationError } from "./ReplicationError.ts"
import * as ReplicationSession from "./ReplicationSession.ts"
import * as ReplicationSlot from "./ReplicationSlot.ts"

export { ReplicationError } from "./ReplicationError.ts"

export interface ReplicationConnection {
  readonly systemId: string
  readonly timeline: number
  readonly slot: string
  /** Whether the slot was created by this connection: then no change before `confirmedFlush` can be had from it. */
  readonly slotCreated: boolean
  /** The slot's confirmed flush position, or the consistent point of a new slot. */
  readonly confirmedFlush: Lsn.Lsn
  /**
   * Starts streaming: transactions that committed at or after `from` (or after the slot's own position, if that is
   * later).
   */
  readonly start: (from: Lsn.Lsn) => Effect.Effect<void, ReplicationError>
  /**
   * The next decoded messages, at least one, in WAL order: what one read of the socket completed. A transaction may be
   * spread over many calls. Calls must not overlap.
   */
  readonly pull: Effect.Effect<ReadonlyArray<WalMessage>, ReplicationError>
  /**
   * Everything before `flushed` is durable here: told to Postgres with the next status update, which is sent soon.
   * Never goes back.
   */
  readonly confirm: (flushed: Lsn.Lsn) => Effect.Effect<void>
}

export class ReplicationStream extends Context.Tag("shapelog/source/ReplicationStream")<ReplicationStream, {
  /**
   * Takes the advisory lock (waiting for another engine to let go of it), makes sure that publication and slot exist,
   * and is ready to start. Closing the scope sends a last status update and closes the connection.
   */
  readonly connect: Effect.Effect<ReplicationConnection, ReplicationError, Scope.Scope>
}>() {}

/** Longest time between two status updates, in milliseconds; a third of `wal_sender_timeout` when that is less. */
const STATUS_INTERVAL = 10_000
/** How long a confirmation waits for others, so that one update carries them all. */
const CONFIRM_DELAY = Duration.millis(5)
/** Status intervals in which a server that was asked to answer may say nothing before it is taken for dead. */
const SILENT_INTERVALS = 6

const XLOG_DATA = 0x77
const KEEPALIVE = 0x6b
/** Kind, WAL start, WAL end and server time. */
const XLOG_DATA_HEADER = 25
/** Kind, WAL end, server time, whether a reply is wanted. */
const KEEPALIVE_LENGTH = 18
/** Microseconds from 1970 to 2000, where Postgres's clock begins. */
const POSTGRES_EPOCH = 946_684_800_000_000n

/** The standby status update, the only thing that is sent while streaming. */
const statusUpdate = (received: Lsn.Lsn, flushed: Lsn.Lsn, nowMillis: number, wantsReply: boolean): Buffer => {
  const update = Buffer.allocUnsafe(34)
  update[0] = 0x72
  update.writeBigUInt64BE(Lsn.max(received, flushed), 1)
  update.writeBigUInt64BE(flushed, 9)
  update.writeBigUInt64BE(flushed, 17)
  update.writeBigInt64BE(BigInt(nowMillis) * 1000n - POSTGRES_EPOCH, 25)
  update[33] = wantsReply ? 1 : 0
  return update
}

const notStarted = new ReplicationError({
  operation: "pull",
  retryable: true,
  cause: new Error("the stream was not started")
})
const endOfStream = new ReplicationError({
  operation: "stream",
  retryable: true,
  cause: new Error("the server ended the stream")
})
const serverSilent = new WireError({ kind: "socket", code: "", message: "the server does not answer" })

const connect = Effect.fnUntraced(function*(database: Database["Type"], silentFor: Duration.Duration) {
  const { names } = database
  const clock = yield* Effect.clock
  yield* ReplicationSlot.validate(names)

  // --- Session, lock, slot: closed last ---
  const session = yield* ReplicationSession.open(database)
  const [system] = yield* session.query("identify the system", "IDENTIFY_SYSTEM")
  yield* session.query("set the display settings", DISPLAY_SETTINGS)
  const [timeout] = yield* session.query(
    "read wal_sender_timeout",
    "SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'"
  )
  // 0 means that the server never gives up on us.
  const third = Number(timeout?.setting ?? 0) / 3
  const interval = Duration.millis(third > 0 ? Math.min(third, STATUS_INTERVAL) : STATUS_INTERVAL)
  yield* ReplicationSlot.acquireLock(session, database, silentFor)
  const slot = yield* ReplicationSlot.prepare(session, database)

  // --- Status ---
  let wire: CopyWire | undefined
  let received = slot.confirmedFlush
  let flushed = slot.confirmedFlush
  /** For how many intervals a `pull` has waited in vain. */
  let silence = 0
  const confirmed = Effect.unsafeMakeLatch(false)

  const sendStatus = (wantsReply: boolean): void =>
    wire?.write(statusUpdate(received, flushed, clock.unsafeCurrentTimeMillis(), wantsReply))

  yield* Effect.addFinalizer(() => Effect.sync(() => sendStatus(false)))

  const tick = Effect.suspend(() => {
    if (wire === undefined) {
      // Nobody streams yet: shows that this engine is alive, and learns whether the connection is.
      return session.isBusy()
        ? Effect.void
        : Effect.catchAll(session.query("stay alive", "SELECT 1"), Effect.logWarning)
    }
    silence = wire.isWaiting() ? silence + 1 : 0
    if (silence > SILENT_INTERVALS) wire.abort(serverSilent)
    else sendStatus(silence > 1)
    return Effect.void
  })
  yield* Effect.forkScoped(Effect.forever(Effect.delay(tick, interval)))

  const afterConfirm = confirmed.await.pipe(
    Effect.zipRight(Effect.sleep(CONFIRM_DELAY)),
    Effect.zipRight(Effect.sync(() => {
      confirmed.unsafeClose()
      sendStatus(false)
    }))
  )
  yield* Effect.forkScoped(Effect.forever(afterConfirm))

  // --- Stream ---
  const decoder = Pgoutput.make()

  /** Reads one CopyData message; what it says of the WAL's position is taken note of. */
  const decode = (bytes: Buffer, start: number, end: number): WalMessage | undefined => {
    const kind = bytes[start]
    if (kind === XLOG_DATA && end - start > XLOG_DATA_HEADER) {
      received = Lsn.max(received, bytes.readBigUInt64BE(start + 1))
      return decoder.decode(bytes, start + XLOG_DATA_HEADER, end)
    }
    if (kind === KEEPALIVE && end - start === KEEPALIVE_LENGTH) {
      const walEnd = bytes.readBigUInt64BE(start + 1)
      received = Lsn.max(received, walEnd)
      if (bytes[end - 1] === 1) sendStatus(false)
      return { _tag: "Keepalive", walEnd }
    }
    throw new Pgoutput.PgoutputError({
      type: "?",
      problem: `a replication message of kind ${kind} and ${end - start} bytes`
    })
  }

  const read = (frames: Option.Option<Frames>): Effect.Effect<ReadonlyArray<WalMessage>, ReplicationError> => {
    silence = 0
    if (Option.isNone(frames)) return Effect.fail(endOfStream)
    const { bytes, count, rows } = frames.value
    const messages: Array<WalMessage> = []
    try {
      for (let i = 0; i < count; i++) {
        const message = decode(bytes, rows[2 * i]!, rows[2 * i + 1]!)
        if (message !== undefined) messages.push(message)
      }
    } catch (cause) {
      return Effect.fail(new ReplicationError({ operation: "decode", retryable: true, cause }))
    }
    return messages.length > 0 ? Effect.succeed(messages) : pull
  }

  const pull: Effect.Effect<ReadonlyArray<WalMessage>, ReplicationError> = Effect.suspend(() => {
    if (wire === undefined) return Effect.fail(notStarted)
    return Effect.matchEffect(wire.pull, {
      onFailure: (error) => Effect.fail(classify("stream", error)),
      onSuccess: read
    })
  })

  const start = Effect.fnUntraced(function*(from: Lsn.Lsn) {
    const publications = quoteLiteral(quote(names.publication))
    wire = yield* session.copy(
      "start streaming",
      `START_REPLICATION SLOT ${quote(names.slot)} LOGICAL ${
        Lsn.format(from)
      } (proto_version '1', publication_names ${publications})`
    ).pipe(
      Effect.tapError((error) =>
        isSlotLost(error)
          ? Effect.zipRight(
            Effect.logWarning(`slot ${names.slot} can't be used any more and is dropped: ${error.message}`),
            ReplicationSlot.dropSlot(session, names.slot)
          )
          : Effect.void
      )
    )
    sendStatus(false)
  })

  return {
    systemId: system?.systemid ?? "",
    timeline: Number(system?.timeline ?? 0),
    slot: names.slot,
    slotCreated: slot.created,
    confirmedFlush: slot.confirmedFlush,
    start,
    pull,
    confirm: (lsn) =>
      Effect.sync(() => {
        if (lsn <= flushed) return
        flushed = lsn
        confirmed.unsafeOpen()
      })
  } satisfies ReplicationConnection
})

/** A layer that breaks the lock of a holder that has said nothing for this long while its slot is not in use. */
export const layerWith = (options: {
  readonly silentHolder: Duration.DurationInput
}): Layer.Layer<ReplicationStream, never, Database> =>
  Layer.effect(
    ReplicationStream,
    Effect.map(Database, (database) =>
      ReplicationStream.of({ connect: connect(database, Duration.decode(options.silentHolder)) }))
  )

export const layer: Layer.Layer<ReplicationStream, never, Database> = layerWith({ silentHolder: "30 seconds" })
