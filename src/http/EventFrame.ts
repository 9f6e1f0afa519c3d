/**
 * Pieces of a log as server-sent events (Electric HTTP protocol §8). An item is preceded by a comma in the log; as an
 * event it is `data: ` before it and an empty line after it. Items are JSON without line breaks, and a piece may end
 * anywhere in one.
 */
const COMMA = 0x2c
const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

const BEGIN = Buffer.from("data: ")
const END = Buffer.from("\n\n")

/** The event of a control message. */
export const control = (json: string): Buffer => Buffer.from(`data: ${json}\n\n`)

/** What keeps a quiet connection alive: a comment, which clients skip. */
export const KEEP_ALIVE: Uint8Array = Buffer.from(": keep-alive\n\n")

/** Frames the pieces of one slice of a log, in their order. */
export class EventFramer {
  private depth = 0
  private inString = false
  private escaped = false
  private isInItem = false

  /** Where in the piece the commas between items are. */
  private commas(piece: Uint8Array): ReadonlyArray<number> {
    const found: Array<number> = []
    let { depth, escaped, inString } = this
    for (let i = 0; i < piece.length; i++) {
      const byte = piece[i]!
      if (inString) {
        if (escaped) escaped = false
        else if (byte === BACKSLASH) escaped = true
        else if (byte === QUOTE) inString = false
      } else if (byte === QUOTE) inString = true
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++
      else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--
      else if (byte === COMMA && depth === 0) found.push(i)
    }
    this.depth = depth
    this.inString = inString
    this.escaped = escaped
    return found
  }

  /** The events of a piece, as far as it goes. */
  frame(piece: Uint8Array): Buffer {
    const commas = this.commas(piece)
    const ends = commas.length - (commas.length > 0 && !this.isInItem ? 1 : 0)
    const framed = Buffer.allocUnsafeSlow(
      piece.length - commas.length + commas.length * BEGIN.length + ends * END.length
    )
    let at = 0
    let from = 0
    for (const comma of commas) {
      framed.set(piece.subarray(from, comma), at)
      at += comma - from
      if (this.isInItem) {
        framed.set(END, at)
        at += END.length
      }
      framed.set(BEGIN, at)
      at += BEGIN.length
      from = comma + 1
      this.isInItem = true
    }
    framed.set(piece.subarray(from), at)
    return framed
  }

  /** What follows the last piece: the end of its item, and a control message where there is one. */
  end(controlMessage: string | undefined): Buffer {
    const last = this.isInItem ? END : Buffer.alloc(0)
    this.isInItem = false
    return controlMessage === undefined ? last : Buffer.concat([last, control(controlMessage)])
  }
}
