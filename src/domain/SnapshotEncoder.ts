/**
 * Rows of COPY text as the snapshot's log items, cut into chunks and blocks (Electric HTTP protocol §7.3, §10.1,
 * §10.5).
 *
 * A chunk is a run of items, each preceded by a comma; it closes right after the item that brings it to `chunkBytes`.
 * Its bytes are cut into blocks of `blockBytes` without regard to items; only its last block, and one that `flush` cut,
 * is shorter.
 */
import {
  BACKSLASH,
  firstByte,
  fragment,
  IN_KEY,
  IN_VALUE,
  isSpecial,
  MAX_ESCAPE,
  type Place,
  plainEnd,
  put,
  putEscape,
  QUOTE,
  SLACK,
  special
} from "./JsonBytes.ts"
import type { PgSnapshot } from "./PgSnapshot.ts"
import type { Projection } from "./Projection.ts"

/**
 * Rows of COPY text: row `i` is `bytes[rows[2i] .. rows[2i + 1])`, its final newline included. Columns are in the
 * projection's order.
 */
export interface CopyRows {
  readonly bytes: Buffer
  readonly rows: Int32Array
  readonly count: number
}

/** Block `block` of chunk `chunk`: both count from 0, blocks anew in each chunk. */
export interface SnapshotBlock {
  readonly chunk: number
  readonly block: number
  readonly bytes: Buffer
}

export interface SnapshotEncoder {
  readonly push: (rows: CopyRows) => void
  /** Appends one item, with the comma before it. */
  readonly pushItem: (item: Buffer) => void
  /** Cuts a block short after what has been pushed, so that it can be served. */
  readonly flush: () => void
  /** Appends the `snapshot-end` item: in a chunk of its own if the last row closed one. Nothing may follow. */
  readonly finish: (marks: PgSnapshot) => void
  /** The blocks completed since the last call, in order. The encoder keeps no hold on their bytes. */
  readonly take: () => Array<SnapshotBlock>
  /** Gives a block's bytes back for use in a later one: nobody may look at them any more. */
  readonly recycle: (bytes: Buffer) => void
  /** Chunks begun: their number, once the snapshot is finished. */
  readonly chunks: () => number
}

export interface SnapshotEncoderOptions {
  /** Size of a full block. */
  readonly blockBytes: number
  /** Size at which a chunk closes: bytes of its items, and one for each of them. */
  readonly chunkBytes: number
}

/** Room behind the open block for an item that runs over its end. */
const SPILL_BYTES = 16384

const TAB = 0x09
const NEWLINE = 0x0a

const valueOpen = fragment(`","value":{`)
const keyQuote = fragment(`/\\"`)
const keyNull = fragment(`/_`)

const malformed = (): Error => new Error("a COPY row has another number of fields than the snapshot has columns")

/** Above this bound a row is measured before room is made for it. */
const MEASURE_BYTES = 65536
/** A larger scratch buffer is not kept. */
const KEEP_BYTES = 1 << 20
const empty = Buffer.alloc(0)

/** At least the bytes of the item that a row becomes: close, unlike the bound from its length. */
const measure = (projection: Projection, input: DataView, from: number, to: number): number => {
  const { fixedBytes, isKey } = projection
  let bytes = fixedBytes + SLACK
  let column = 0
  for (;;) {
    const special = plainEnd(input, from, to)
    // What is in the key is written twice, and there a slash becomes two.
    const uses = isKey[column] === 1 ? 3 : 1
    bytes += uses * (special - from)
    if (special === to) return bytes
    const byte = input.getUint8(special)
    if (byte === TAB) column++
    else bytes += uses * (byte === QUOTE ? 2 : MAX_ESCAPE)
    from = special + 1
  }
}

const isNull = (input: DataView, from: number): boolean =>
  input.getUint8(from) === BACKSLASH && input.getUint8(from + 1) === 0x4e

/** Letters after a COPY backslash that JSON writes the same way: b f n r t and the backslash itself. */
const sameInJson = (letter: number): boolean =>
  letter === 0x6e || letter === BACKSLASH || letter === 0x74 || letter === 0x72 || letter === 0x62 || letter === 0x66

/** Where the copied field ended: what `putField` leaves beside the position it returns. */
let fieldEnd = 0

/** Writes the field at `from` as the inside of a JSON string, as far as the TAB or newline that ends it. */
const putField = (out: DataView, at: number, input: DataView, from: number, place: Place): number => {
  const wordsEnd = input.byteLength - 3
  for (;;) {
    if (from < wordsEnd) {
      const word = input.getInt32(from, true)
      out.setInt32(at, word, true)
      const mask = special(word, place)
      if (mask === 0) {
        from += 4
        at += 4
        continue
      }
      const plain = firstByte(mask)
      from += plain
      at += plain
    }
    const byte = input.getUint8(from)
    if (byte === TAB || byte === NEWLINE) {
      fieldEnd = from
      return at
    }
    from++
    if (byte === BACKSLASH) {
      const letter = input.getUint8(from++)
      if (sameInJson(letter)) {
        out.setUint8(at, BACKSLASH)
        out.setUint8(at + 1, letter)
        at += 2
      } else if (letter === 0x76) at = putEscape(out, at, 0x0b)
      else if (isSpecial(letter, place)) at = putEscape(out, at, letter)
      else out.setUint8(at++, letter)
    } else if (isSpecial(byte, place)) at = putEscape(out, at, byte)
    else out.setUint8(at++, byte)
  }
}

/** Position of the TAB or newline that ends the field at `from`. Neither stands unescaped inside a field. */
const skipField = (input: DataView, from: number): number => {
  for (;;) {
    const byte = input.getUint8(from)
    if (byte === TAB || byte === NEWLINE) return from
    from++
  }
}

/** Writes the row at `from` as an item and returns where it ends. `starts` is scratch space. */
const putRow = (
  out: DataView,
  at: number,
  projection: Projection,
  input: DataView,
  from: number,
  starts: Int32Array
): number => {
  const { first, firstNull, keyColumns, next, nextNull } = projection
  starts[0] = from
  for (let i = 1, start = from; i < starts.length; i++) {
    start = skipField(input, start)
    if (input.getUint8(start) === NEWLINE) throw malformed()
    starts[i] = ++start
  }
  at = put(out, at, projection.open)
  for (let k = 0; k < keyColumns.length; k++) {
    const start = starts[keyColumns[k]!]!
    if (isNull(input, start)) {
      at = put(out, at, keyNull)
      continue
    }
    at = put(out, at, keyQuote)
    at = putField(out, at, input, start, IN_KEY)
    out.setUint16(at, 0x5c22)
    at += 2
  }
  at = put(out, at, valueOpen)
  const last = next.length - 1
  for (let i = 0; i <= last; i++) {
    if (isNull(input, from)) {
      at = put(out, at, i === 0 ? firstNull[i]! : nextNull[i]!)
      from += 2
    } else {
      at = put(out, at, i === 0 ? first[i]! : next[i]!)
      at = putField(out, at, input, from, IN_VALUE)
      from = fieldEnd
      out.setUint8(at++, QUOTE)
    }
    if (input.getUint8(from) !== (i === last ? NEWLINE : TAB)) throw malformed()
    from++
  }
  return put(out, at, projection.snapshotHeaders)
}

const snapshotEnd = (marks: PgSnapshot): Buffer =>
  Buffer.from(
    "," + JSON.stringify({
      headers: {
        control: "snapshot-end",
        xmin: String(marks.xmin),
        xmax: String(marks.xmax),
        xip_list: marks.xip.map(String)
      }
    })
  )

const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** Work buffers of encoders that have finished: there are many small snapshots, and large buffers are dear. */
const spareWork: Array<Buffer> = []
const MAX_SPARE_WORK = 16

export const make = (projection: Projection, options: SnapshotEncoderOptions): SnapshotEncoder => {
  const { blockBytes, chunkBytes } = options
  /**
   * The open block, and behind it room for what runs over. Blocks are copied out of it, so this one stays in the cache.
   */
  const workBytes = blockBytes + SPILL_BYTES
  const spareOne = spareWork[spareWork.length - 1]?.length === workBytes ? spareWork.pop() : undefined
  const work = spareOne ?? Buffer.allocUnsafeSlow(workBytes)
  const workView = viewOf(work)
  /** For a row that might not fit behind the open block. */
  let large = empty
  let largeView = viewOf(large)
  /** Where each field of a row begins, as far as its last key column. */
  const starts = new Int32Array(projection.keyColumns.reduce((most, column) => Math.max(most, column + 1), 1))
  let done: Array<SnapshotBlock> = []
  /** Blocks that came back: large buffers are dear to the garbage collector. */
  const spare: Array<Buffer> = []
  let chunk = 0
  let block = 0
  /** Bytes in the open block. */
  let used = 0
  /** Bytes in the open chunk. */
  let chunkUsed = 0

  /** Cuts the first `size` bytes off the work buffer. */
  const cut = (size: number) => {
    const bytes = (size === blockBytes ? spare.pop() : undefined) ?? Buffer.allocUnsafeSlow(size)
    bytes.set(work.subarray(0, size))
    done.push({ chunk, block: block++, bytes })
    work.copyWithin(0, size, used)
    used -= size
  }

  const flush = () => {
    if (used > 0) cut(used)
  }

  /** Appends bytes that may be longer than the room in the work buffer. */
  const append = (bytes: Buffer) => {
    for (let from = 0; from < bytes.length;) {
      const size = Math.min(bytes.length - from, blockBytes - used)
      work.set(bytes.subarray(from, from + size), used)
      used += size
      from += size
      if (used === blockBytes) cut(blockBytes)
    }
    chunkUsed += bytes.length
  }

  const closeChunk = () => {
    flush()
    chunk++
    block = 0
    chunkUsed = 0
  }

  const push = (rows: CopyRows) => {
    const input = viewOf(rows.bytes)
    for (let i = 0; i < rows.count; i++) {
      const start = rows.rows[2 * i]!
      // A value stands in `value` and perhaps in the key.
      const bound = projection.fixedBytes + SLACK + 2 * MAX_ESCAPE * (rows.rows[2 * i + 1]! - start)
      if (bound <= work.length - used) {
        const end = putRow(workView, used, projection, input, start, starts)
        chunkUsed += end - used
        used = end
        while (used >= blockBytes) cut(blockBytes)
      } else {
        const size = bound <= MEASURE_BYTES ? bound : measure(projection, input, start, rows.rows[2 * i + 1]!)
        if (size > large.length) {
          large = Buffer.allocUnsafeSlow(Math.max(size, MEASURE_BYTES))
          largeView = viewOf(large)
        }
        append(large.subarray(0, putRow(largeView, 0, projection, input, start, starts)))
        if (large.length > KEEP_BYTES) {
          large = empty
          largeView = viewOf(large)
        }
      }
      if (chunkUsed >= chunkBytes) closeChunk()
    }
  }

  const pushItem = (item: Buffer) => {
    append(item)
    if (chunkUsed >= chunkBytes) closeChunk()
  }

  const finish = (marks: PgSnapshot) => {
    append(snapshotEnd(marks))
    flush()
    // Its blocks are copies: nothing is read from it or written to it any more.
    if (spareWork.length < MAX_SPARE_WORK) spareWork.push(work)
  }

  const take = () => {
    const blocks = done
    done = []
    return blocks
  }

  const recycle = (bytes: Buffer) => {
    if (bytes.length === blockBytes) spare.push(bytes)
  }

  return { push, pushItem, flush, finish, take, recycle, chunks: () => chunk + 1 }
}
