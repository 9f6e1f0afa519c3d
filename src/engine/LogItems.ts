/**
 * A log read back: its JSON comes in pieces that end anywhere, and is parsed as soon as an item is whole. Holds one piece,
 * or one item if that is larger.
 */
import { BACKSLASH, QUOTE } from "../domain/JsonBytes.ts"

/** An item as it is parsed (Electric HTTP protocol §10). */
export interface LogItem {
  readonly value?: Readonly<Record<string, string | null>>
  /** Previous values of the columns that an update has changed. */
  readonly old_value?: Readonly<Record<string, string | null>>
  readonly headers: {
    readonly operation?: string
    readonly control?: string
    readonly event?: string
    /** Commit LSN of its transaction, decimal; rows of a snapshot have none. */
    readonly lsn?: string
  }
}

const OPEN = 0x7b
const CLOSE = 0x7d

export class LogItems {
  /** The beginning of an item that is not whole yet. */
  private parts: Array<Uint8Array> = []
  private depth = 0
  private inString = false
  private isEscaped = false

  /** The items that end in a piece. Each is preceded by a comma. */
  push(piece: Uint8Array): ReadonlyArray<LogItem> {
    const end = this.lastEnd(piece)
    if (end === 0) {
      this.parts.push(Uint8Array.from(piece))
      return []
    }
    const text = Buffer.concat([...this.parts, piece.subarray(0, end)]).toString("utf8", 1)
    this.parts = end < piece.length ? [Uint8Array.from(piece.subarray(end))] : []
    return JSON.parse(`[${text}]`)
  }

  /** Whether there is no item of which only the beginning has come. */
  get isWhole(): boolean {
    return this.parts.length === 0
  }

  /** Where the last item that ends in a piece does; 0 if none does. */
  private lastEnd(piece: Uint8Array): number {
    let { depth, inString, isEscaped } = this
    let end = 0
    for (let i = 0; i < piece.length; i++) {
      const byte = piece[i]!
      if (inString) {
        if (isEscaped) isEscaped = false
        else if (byte === BACKSLASH) isEscaped = true
        else if (byte === QUOTE) inString = false
      } else if (byte === QUOTE) inString = true
      else if (byte === OPEN) depth += 1
      else if (byte === CLOSE && --depth === 0) end = i + 1
    }
    this.depth = depth
    this.inString = inString
    this.isEscaped = isEscaped
    return end
  }
}
