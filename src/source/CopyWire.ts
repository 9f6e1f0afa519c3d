/**
 * COPY over the socket of a connected `pg.Client`: the bytes of COPY OUT and of replication's CopyBoth, without an
 * object per row.
 *
 * pg connects and authenticates; for as long as one COPY runs the socket's bytes come here instead of to pg's parser,
 * and with ReadyForQuery they are pg's again. The socket is read only while somebody pulls: what was read and not
 * pulled is at most the messages of one socket read plus one more read in Node's own buffer, so TCP holds the server
 * back. Writing works all the while.
 *
 * It takes the socket over between two messages: a query is submitted when pg has parsed the ReadyForQuery before it.
 */
import { Effect, type Option, Schema } from "effect"
import type pg from "pg"

/**
 * A COPY that failed. After `server` errors that are not fatal the connection is usable again; after the others it is
 * gone.
 */
export class WireError extends Schema.TaggedError<WireError>("shapelog/source/WireError")("WireError", {
  /**
   * `server`: an ErrorResponse; `socket`: the connection closed or broke; `protocol`: bytes that make no sense here.
   */
  kind: Schema.Literal("server", "socket", "protocol"),
  /** SQLSTATE, or the socket error's code, or empty. */
  code: Schema.String,
  /** The server's primary message, or what happened. */
  message: Schema.String,
  /** Of the server: what it was in the middle of, such as a user's function. */
  where: Schema.optional(Schema.String)
}) {}

/**
 * Complete CopyData messages: the payload of message `i` is `bytes[rows[2i] .. rows[2i + 1])`. The receiver owns both
 * arrays.
 */
export interface Frames {
  readonly bytes: Buffer
  readonly rows: Int32Array
  readonly count: number
}

export interface CopyWire {
  /**
   * The next messages, at least one; `None` when the COPY has ended and pg has its socket back. Calls must not overlap.
   */
  readonly pull: Effect.Effect<Option.Option<Frames>, WireError>
  /** Sends one CopyData message; nothing happens when the socket can't be written to any more (`pull` tells why). */
  readonly write: (payload: Uint8Array) => void
  /** Whether the COPY has ended, well or not. */
  readonly isDone: () => boolean
  /** Whether a `pull` waits for the server. */
  readonly isWaiting: () => boolean
  /** Whatever still arrives is thrown away, so that the socket can be seen to close. Nothing can be pulled any more. */
  readonly discard: () => void
  /** Destroys the connection; `pull` fails with this error. */
  readonly abort: (error: WireError) => void
}

const COPY_DATA = 0x64
const COPY_DONE = 0x63
const COMMAND_COMPLETE = 0x43
const COPY_OUT_RESPONSE = 0x48
const COPY_BOTH_RESPONSE = 0x57
const ERROR_RESPONSE = 0x45
const READY_FOR_QUERY = 0x5a
const NOTICE_RESPONSE = 0x4e
const PARAMETER_STATUS = 0x53
const NOTIFICATION = 0x41

/** Type byte and length of a message. */
const HEADER = 5

const readInt32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!

/** The fields of an ErrorResponse body: a type byte and a zero-terminated text each, closed by a zero byte. */
const parseErrorResponse = (bytes: Buffer, start: number, end: number): WireError => {
  let code = ""
  let message = "error without a message"
  let where: string | undefined
  let at = start
  while (at < end && bytes[at] !== 0) {
    const close = bytes.indexOf(0, at + 1)
    const stop = close < 0 || close > end ? end : close
    if (bytes[at] === 0x43) code = bytes.toString("utf8", at + 1, stop)
    else if (bytes[at] === 0x4d) message = bytes.toString("utf8", at + 1, stop)
    else if (bytes[at] === 0x57) where = bytes.toString("utf8", at + 1, stop)
    at = stop + 1
  }
  return new WireError({ kind: "server", code, message, where })
}

type DataListener = (chunk: Buffer) => void

/** What `pg.Client` calls on the query it is running; pg's types know only `submit`. */
interface ActiveQuery extends pg.Submittable {
  readonly handleError: (error: Error & { readonly code?: string }) => void
  readonly handleReadyForQuery: () => void
}

/** One COPY on one connection: the state that the socket's callbacks and the pulling fiber share. */
class Wire implements CopyWire, ActiveQuery {
  private readonly sql: string
  private connection: pg.Connection | undefined
  /** pg's own readers of the socket, to be put back. */
  private parsers: Array<DataListener> = []
  /** Chunks that end in an incomplete message, and how many bytes are needed to complete it. */
  private carry: Array<Buffer> = []
  private carried = 0
  private needed = 0
  private scratch = new Int32Array(1024)
  private queued: Frames | undefined
  private waiter: (() => void) | undefined
  private opened = false
  /** Whether `open` has been told. */
  private started = false
  private done = false
  private error: WireError | undefined

  constructor(sql: string) {
    this.sql = sql
  }

  // --- Called by pg ---

  readonly submit = (connection: pg.Connection): void => {
    this.connection = connection
    this.parsers = connection.stream.listeners("data") as Array<DataListener>
    for (const parser of this.parsers) connection.stream.removeListener("data", parser)
    connection.stream.on("data", this.onData)
    connection.query(this.sql)
  }

  /** pg reports here that the socket closed or broke: an ErrorResponse never gets as far as pg. */
  readonly handleError = (error: Error & { readonly code?: string }): void =>
    this.finish(new WireError({ kind: "socket", code: error.code ?? "", message: error.message }))

  readonly handleReadyForQuery = (): void => {}

  // --- The pulling side ---

  /** Resolves with the server's CopyOutResponse or CopyBothResponse. */
  readonly open: Effect.Effect<CopyWire, WireError> = Effect.suspend(() => {
    const result = () => this.opened ? Effect.succeed(this) : Effect.fail(this.error ?? notCopy)
    return this.opened || this.done ? result() : Effect.async((resume) => this.park(() => resume(result())))
  })

  readonly pull: Effect.Effect<Option.Option<Frames>, WireError> = Effect.suspend(() => {
    const ready = this.next()
    return ready ?? Effect.async((resume) => this.park(() => resume(this.next() ?? Effect.succeedNone)))
  })

  readonly isDone = (): boolean => this.done

  readonly isWaiting = (): boolean => this.waiter !== undefined

  readonly write = (payload: Uint8Array): void => {
    const stream = this.connection?.stream
    if (stream === undefined || !stream.writable) return
    const message = Buffer.allocUnsafe(HEADER + payload.length)
    message[0] = COPY_DATA
    message.writeInt32BE(payload.length + 4, 1)
    message.set(payload, HEADER)
    stream.write(message)
  }

  readonly discard = (): void => {
    this.connection?.stream.removeListener("data", this.onData)
    this.connection?.stream.resume()
  }

  readonly abort = (error: WireError): void => {
    this.finish(error)
    this.connection?.stream.destroy()
  }

  private next(): Effect.Effect<Option.Option<Frames>, WireError> | undefined {
    const frames = this.queued
    if (frames !== undefined) {
      this.queued = undefined
      return Effect.succeedSome(frames)
    }
    if (!this.done) return undefined
    return this.error ? Effect.fail(this.error) : Effect.succeedNone
  }

  /** Lets the socket flow until there is something to report, once. */
  private park(report: () => void): Effect.Effect<void> {
    this.waiter = report
    this.connection?.stream.resume()
    return Effect.sync(() => {
      this.waiter = undefined
      if (!this.done) this.connection?.stream.pause()
    })
  }

  private wake(): void {
    const report = this.waiter
    this.waiter = undefined
    report?.()
  }

  // --- The socket's side ---

  private readonly onData = (chunk: Buffer): void => {
    let bytes = chunk
    if (this.carried > 0) {
      this.carry.push(chunk)
      this.carried += chunk.length
      if (this.carried < this.needed) return
      bytes = Buffer.concat(this.carry, this.carried)
      this.carry = []
      this.carried = 0
    }
    this.scan(bytes)
  }

  private scan(bytes: Buffer): void {
    const end = bytes.length
    let at = 0
    let n = 0
    while (end - at >= HEADER && !this.done) {
      const length = readInt32(bytes, at + 1)
      if (length < 4) return this.violation(`a message of length ${length}`)
      const next = at + 1 + length
      if (next > end) break
      if (bytes[at] === COPY_DATA) {
        if (n === this.scratch.length) this.grow()
        this.scratch[n++] = at + HEADER
        this.scratch[n++] = next
      } else {
        this.control(bytes, at, next)
      }
      at = next
    }
    if (n > 0) this.queued = { bytes, rows: this.scratch.slice(0, n), count: n / 2 }
    if (!this.done && at < end) {
      this.carry = [bytes.subarray(at)]
      this.carried = end - at
      this.needed = this.carried < HEADER ? HEADER : 1 + readInt32(bytes, at + 1)
    }
    if (this.done || n > 0 || (this.opened && !this.started)) {
      this.started = this.opened
      // With an error known, what is left to come is ReadyForQuery or the end: nobody needs to ask for that.
      if (!this.done && this.error === undefined) this.connection?.stream.pause()
      this.wake()
    }
  }

  private control(bytes: Buffer, at: number, next: number): void {
    switch (bytes[at]) {
      case COPY_OUT_RESPONSE:
      case COPY_BOTH_RESPONSE:
        this.opened = true
        return
      case COPY_DONE:
      case COMMAND_COMPLETE:
        return
      case ERROR_RESPONSE:
        this.error ??= parseErrorResponse(bytes, at + HEADER, next)
        return
      case READY_FOR_QUERY:
        return this.giveBack(bytes.subarray(at))
      case NOTICE_RESPONSE:
      case PARAMETER_STATUS:
      case NOTIFICATION:
        return this.toPg(bytes.subarray(at, next))
      default:
        return this.violation(`a message of type ${bytes[at]}`)
    }
  }

  /** pg gets its socket back, and ReadyForQuery with whatever came after it as the first bytes. */
  private giveBack(rest: Buffer): void {
    const stream = this.connection?.stream
    stream?.removeListener("data", this.onData)
    for (const parser of this.parsers) stream?.on("data", parser)
    stream?.resume()
    this.done = true
    this.toPg(rest)
  }

  private toPg(message: Buffer): void {
    for (const parser of this.parsers) parser(message)
  }

  private finish(error: WireError): void {
    if (this.done) return
    this.done = true
    // What the server said before it closed tells more than that it closed.
    this.error ??= error
    this.connection?.stream.removeListener("data", this.onData)
    this.wake()
  }

  private violation(what: string): void {
    this.abort(new WireError({ kind: "protocol", code: "", message: `the server sent ${what} during a COPY` }))
  }

  private grow(): void {
    const larger = new Int32Array(this.scratch.length * 2)
    larger.set(this.scratch)
    this.scratch = larger
  }
}

const notCopy = new WireError({ kind: "protocol", code: "", message: "the statement is not a COPY" })

/**
 * Runs one COPY statement (`COPY … TO STDOUT`, `START_REPLICATION …`) on an idle client. Interrupting this or a pull
 * leaves the COPY where it is: who owns the client then closes it.
 */
export const open = (client: pg.Client, sql: string): Effect.Effect<CopyWire, WireError> =>
  Effect.suspend(() => client.query(new Wire(sql)).open)
