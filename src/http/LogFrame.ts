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
   * Pieces to be taken one by one as the client takes them, once. When one can't be had, what was sent must not be
   * taken for whole. Other responses may send the same bytes: nobody writes to them.
   */
  | {
    readonly _tag: "Pieces"
    /** Length of all pieces in bytes, when it is known. */
    readonly length: number | undefined
    /** The next piece in this turn, `undefined` at the end, or an Effect that takes it: see `LogBody.unsafeNext`. */
    readonly unsafeNext: NonNullable<LogBody["unsafeNext"]>
    /** All of it is in memory for as long as the body is: whoever writes it at once makes nobody hold more. */
    readonly isHeld: boolean
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

/** Pieces that are had in their turn where they can be. */
export const pieced = (
  length: number | undefined,
  unsafeNext: NonNullable<LogBody["unsafeNext"]>,
  isHeld = false
): ResponseBody => ({
  _tag: "Pieces",
  length,
  unsafeNext,
  isHeld
})

/** Pieces that are always waited for. */
export const pulled = (length: number | undefined, pull: Pull): ResponseBody => pieced(length, () => pull)

/** Pieces one by one, waited for. */
export const pullPieces = (
  { unsafeNext }: Extract<ResponseBody, { readonly _tag: "Pieces" }>
): Pull =>
  Effect.suspend(() => {
    const next = unsafeNext()
    return Effect.isEffect(next) ? next : Effect.succeed(Option.fromNullable(next))
  })

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

const OPEN = Buffer.from("[")

const latin1 = (piece: Uint8Array): string =>
  (Buffer.isBuffer(piece) ? piece : Buffer.from(piece.buffer, piece.byteOffset, piece.length)).toString("latin1")

/** What follows the last item; `control` is ASCII. */
const tail = (control: string | undefined): string => (control === undefined ? "]" : `,${control}]`)
const onlyTail = (control: string | undefined): ResponseBody => ascii(control === undefined ? "[]" : `[${control}]`)

export const sizeOf = (pieces: ReadonlyArray<Uint8Array>): number => {
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
  const [first, ...rest] = pieces.filter((piece) => piece.length > 0)
  let next = 0
  return pieced(size + end.length, framed(first!, () => rest[next++], end), true)
}

type Source = NonNullable<LogBody["unsafeNext"]>

/** The first piece that is not empty. */
const firstOf = (source: Source): ReturnType<Source> => {
  while (true) {
    const first = source()
    if (!(first instanceof Uint8Array) || first.length > 0) return first
  }
}

/** An opened first piece, those that `rest` gives, and the end. A piece is never copied: others send the same one. */
const framed = (first: Uint8Array, rest: Source, end: string): Source => {
  let state: "open" | "first" | "rest" | "done" = "open"
  const last = (): Uint8Array => {
    state = "done"
    return Buffer.from(end, "latin1")
  }
  return () => {
    switch (state) {
      case "open":
        state = "first"
        return OPEN
      case "first":
        state = "rest"
        return first.subarray(1)
      case "done":
        return undefined
      case "rest": {
        const next = rest()
        if (next === undefined) return last()
        return next instanceof Uint8Array
          ? next
          : Effect.map(next, (piece) => Option.isSome(piece) ? piece : Option.some(last()))
      }
    }
  }
}

const framedBody = ({ length }: LogBody, first: Uint8Array, source: Source, control: string | undefined) => {
  if (first.length === length) return ofReady([first], control)
  const end = tail(control)
  return pieced(length === undefined ? undefined : length + end.length, framed(first, source, end))
}

const sourceOf = ({ pull, unsafeNext }: LogBody): Source => unsafeNext ?? (() => pull)

/** The frame of a body whose first piece can be had in this turn; `undefined` when it can't, and then none was taken. */
export const unsafeOf = (body: LogBody, control: string | undefined): ResponseBody | undefined => {
  if (body.ready) return ofReady(body.ready, control)
  const source = sourceOf(body)
  const first = firstOf(source)
  if (first === undefined) return onlyTail(control)
  return Effect.isEffect(first) ? undefined : framedBody(body, first, source, control)
}

/**
 * The frame of a body that has to be pulled. The first piece is pulled here, so that a body which fails at once fails
 * before its headers are sent.
 */
export const ofPulled = Effect.fnUntraced(function*(body: LogBody, control: string | undefined) {
  while (true) {
    const first = yield* body.pull
    if (Option.isNone(first)) return onlyTail(control)
    if (first.value.length > 0) return framedBody(body, first.value, sourceOf(body), control)
  }
})
