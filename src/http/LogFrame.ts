/**
 * A log body as a JSON array. The pieces of a log are items that are each preceded by a comma, so the array is the
 * pieces with the very first comma turned into `[`, a control message where there is one, and `]`.
 */
import { Effect, Option } from "effect"
import type { ShapeGone, SnapshotFailed, StorageError } from "../domain/Errors.ts"
import type { Lsn } from "../domain/Lsn.ts"
import type { LogBody } from "../engine/ShapeEngine.ts"

/** Why a body can't be continued. */
export type BodyError = ShapeGone | SnapshotFailed | StorageError

/** The next piece of a body; `None` at its end. */
export type Pull = Effect.Effect<Option.Option<Uint8Array>, BodyError>

/** What a response carries after its headers. */
export type ResponseBody =
  | { readonly _tag: "None" }
  /**
   * All of it, as a latin-1 string: each character is a byte. In this form Node sends it with the headers in one write.
   */
  | { readonly _tag: "Latin1"; readonly text: string }
  /**
   * Pieces to be pulled one by one as the client takes them, once. When a pull fails, what was sent must not be taken
   * for whole.
   */
  | {
    readonly _tag: "Pieces"
    /** Length of all pieces in bytes, when it is known. */
    readonly length: number | undefined
    readonly pull: Pull
  }
  /**
   * Events as they happen, to be pulled likewise. The headers are sent at once, however long the first of them takes.
   */
  | { readonly _tag: "Events"; readonly source: EventSource }

/** A piece of a stream of events; `end` after the last; `again` when it is to be asked for once more. */
export type Event = Uint8Array | "end" | "again"

/** A stream of events without a server. Whoever takes from it takes one piece after the other. */
export interface EventSource {
  /**
   * The next piece; `"wait"` when there is none yet, and then `wake` is called once when there may be; an Effect when
   * it can't be had in this turn.
   */
  readonly unsafeNext: (wake: () => void) => Event | "wait" | Effect.Effect<Event, BodyError>
}

/** The pieces of a stream of events, waited for. */
export const pullEvents = ({ unsafeNext }: EventSource): Pull => {
  const take = (event: Event): Pull =>
    event === "end" ? Effect.succeedNone : event === "again" ? pull : Effect.succeedSome(event)
  const pull: Pull = Effect.suspend(() => {
    let isAwake = false
    let resume: ((next: Pull) => void) | undefined
    const next = unsafeNext(() => {
      isAwake = true
      resume?.(pull)
    })
    if (Effect.isEffect(next)) return Effect.flatMap(next, take)
    if (next !== "wait") return take(next)
    return Effect.async((waiting) => {
      if (isAwake) waiting(pull)
      else resume = waiting
    })
  })
  return pull
}

/** Bytes of a body, when that is known. */
export const lengthOf = (body: ResponseBody): number | undefined => {
  switch (body._tag) {
    case "None":
      return 0
    case "Latin1":
      return body.text.length
    case "Pieces":
      return body.length
    case "Events":
      return undefined
  }
}

export const none: ResponseBody = { _tag: "None" }
export const ascii = (text: string): ResponseBody => ({ _tag: "Latin1", text })
export const utf8 = (text: string): ResponseBody => ascii(Buffer.from(text).toString("latin1"))

/** The message that ends a body which reaches the end of the log. */
export const upToDate = (lastSeen: Lsn): string =>
  `{"headers":{"control":"up-to-date","global_last_seen_lsn":"${lastSeen}"}}`

/** Bodies up to this many bytes are sent as one. */
const SMALL = 16_384

const OPEN = 0x5b

const opened = (first: Uint8Array): Uint8Array => {
  const copy = Buffer.from(first)
  copy[0] = OPEN
  return copy
}

const latin1 = (piece: Uint8Array): string =>
  (Buffer.isBuffer(piece) ? piece : Buffer.from(piece.buffer, piece.byteOffset, piece.length)).toString("latin1")

/** What follows the last item; `control` is ASCII. */
const tail = (control: string | undefined): string => (control === undefined ? "]" : `,${control}]`)
const onlyTail = (control: string | undefined): ResponseBody => ascii(control === undefined ? "[]" : `[${control}]`)

const sizeOf = (pieces: ReadonlyArray<Uint8Array>): number => {
  let size = 0
  for (let i = 0; i < pieces.length; i++) size += pieces[i]!.length
  return size
}

/** Whether `ofReady` puts the body together, so that the result can be sent more than once. */
export const isSmall = (pieces: ReadonlyArray<Uint8Array>): boolean => sizeOf(pieces) <= SMALL

/** The frame of a body that is in memory. */
export const ofReady = (pieces: ReadonlyArray<Uint8Array>, control: string | undefined): ResponseBody => {
  const size = sizeOf(pieces)
  if (size === 0) return onlyTail(control)
  const end = tail(control)
  if (size <= SMALL) {
    let items = latin1(pieces[0]!)
    for (let i = 1; i < pieces.length; i++) items += latin1(pieces[i]!)
    return ascii(`[${items.slice(1)}${end}`)
  }
  let next = 0
  const rest = pieces.filter((piece) => piece.length > 0)
  const pull = Effect.sync(() => Option.fromNullable(rest[next++]))
  return { _tag: "Pieces", length: size + end.length, pull: framed(opened(rest[next++]!), pull, end) }
}

/** Pieces from an opened first one, those that `rest` gives, and the end. */
const framed = (
  first: Uint8Array,
  rest: LogBody["pull"],
  end: string
): Pull => {
  let state: "first" | "rest" | "done" = "first"
  const step = Effect.map(rest, (piece) => {
    if (Option.isSome(piece)) return piece
    state = "done"
    return Option.some<Uint8Array>(Buffer.from(end))
  })
  return Effect.suspend(() => {
    if (state === "done") return Effect.succeedNone
    if (state === "rest") return step
    state = "rest"
    return Effect.succeedSome(first)
  })
}

/**
 * The frame of a body that has to be pulled. The first piece is pulled here, so that a body which fails at once fails
 * before its headers are sent.
 */
export const ofPulled = Effect.fnUntraced(function*({ length, pull }: LogBody, control: string | undefined) {
  while (true) {
    const first = yield* pull
    if (Option.isNone(first)) return onlyTail(control)
    if (first.value.length === 0) continue
    if (first.value.length === length) return ofReady([first.value], control)
    const end = tail(control)
    const frame: ResponseBody = {
      _tag: "Pieces",
      length: length === undefined ? undefined : length + end.length,
      pull: framed(opened(first.value), pull, end)
    }
    return frame
  }
})
