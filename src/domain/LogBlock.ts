/**
 * A log block: a run of consecutive log items as they are stored and sent. The JSON of every item stands in `body`,
 * each preceded by a comma, so that a response is `[`, the bodies of its blocks without the very first comma, and `]`.
 * The entry table in front of it finds where an offset's items begin.
 *
 * Encoded form, big-endian: u32 count, then per entry u64 tx, u64 op, u32 end of the item in `body`, then `body`.
 */
import { compare, type LogOffset } from "./LogOffset.ts"

export interface LogBlock {
  /** Offset of entry `i`: `tx[i]`, `op[i]`. Offsets strictly increase. */
  readonly tx: BigUint64Array
  readonly op: Float64Array
  /** Where item `i` ends in `body`; it begins where the one before it ends. */
  readonly end: Uint32Array
  readonly body: Uint8Array
}

export const HEADER_BYTES = 4
export const ENTRY_BYTES = 20

export const count = (block: LogBlock): number => block.end.length
export const first = (block: LogBlock): LogOffset => ({ tx: block.tx[0]!, op: block.op[0]! })
export const last = (block: LogBlock): LogOffset => ({
  tx: block.tx[block.tx.length - 1]!,
  op: block.op[block.op.length - 1]!
})

/** Bytes the block takes when encoded. */
export const encodedBytes = (block: LogBlock): number => HEADER_BYTES + count(block) * ENTRY_BYTES + block.body.length

export const encode = (block: LogBlock): Buffer => {
  const n = count(block)
  const out = Buffer.allocUnsafe(encodedBytes(block))
  out.writeUInt32BE(n, 0)
  let at = HEADER_BYTES
  for (let i = 0; i < n; i++) {
    out.writeBigUInt64BE(block.tx[i]!, at)
    out.writeUInt32BE(Math.floor(block.op[i]! / 0x100000000), at + 8)
    out.writeUInt32BE(block.op[i]! % 0x100000000, at + 12)
    out.writeUInt32BE(block.end[i]!, at + 16)
    at += ENTRY_BYTES
  }
  out.set(block.body, at)
  return out
}

const entryOffset = (encoded: Buffer, i: number): LogOffset => {
  const at = HEADER_BYTES + i * ENTRY_BYTES
  return {
    tx: encoded.readBigUInt64BE(at),
    op: encoded.readUInt32BE(at + 8) * 0x100000000 + encoded.readUInt32BE(at + 12)
  }
}

/**
 * Number of the first entry of an encoded block whose offset is greater than `after`; the block's count when there is
 * none.
 */
const firstAfter = (encoded: Buffer, after: LogOffset): number => {
  let low = 0
  let high = encoded.readUInt32BE(0)
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compare(entryOffset(encoded, middle), after) > 0) high = middle
    else low = middle + 1
  }
  return low
}

/** Offset of the first entry of an encoded block. */
export const firstOf = (encoded: Buffer): LogOffset => entryOffset(encoded, 0)

/** Offset of the last entry of an encoded block. */
export const lastOf = (encoded: Buffer): LogOffset => entryOffset(encoded, encoded.readUInt32BE(0) - 1)

/**
 * The JSON of the entries of an encoded block in (`after`, `upTo`]: a view, empty when there are none. Each item is
 * preceded by a comma.
 */
export const slice = (encoded: Buffer, after: LogOffset, upTo: LogOffset): Buffer => {
  const n = encoded.readUInt32BE(0)
  // Most readers take blocks whole.
  const from = n > 0 && compare(entryOffset(encoded, 0), after) > 0 ? 0 : firstAfter(encoded, after)
  const to = n > 0 && compare(entryOffset(encoded, n - 1), upTo) <= 0 ? n : firstAfter(encoded, upTo)
  const body = HEADER_BYTES + n * ENTRY_BYTES
  const endOf = (i: number) => (i === 0 ? 0 : encoded.readUInt32BE(HEADER_BYTES + (i - 1) * ENTRY_BYTES + 16))
  return to <= from ? encoded.subarray(0, 0) : encoded.subarray(body + endOf(from), body + endOf(to))
}

/** The same of a block in memory. */
export const sliceBlock = (block: LogBlock, after: LogOffset, upTo: LogOffset): Uint8Array => {
  const boundary = (offset: LogOffset): number => {
    let low = 0
    let high = block.end.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compare({ tx: block.tx[middle]!, op: block.op[middle]! }, offset) > 0) high = middle
      else low = middle + 1
    }
    return low === 0 ? 0 : block.end[low - 1]!
  }
  const to = boundary(upTo)
  const from = Math.min(boundary(after), to)
  return block.body.subarray(from, to)
}

/** Takes an encoded block apart. */
export const decode = (encoded: Buffer): LogBlock => {
  const n = encoded.readUInt32BE(0)
  const tx = new BigUint64Array(n)
  const op = new Float64Array(n)
  const end = new Uint32Array(n)
  for (let i = 0; i < n; i++) {
    const offset = entryOffset(encoded, i)
    tx[i] = offset.tx
    op[i] = offset.op
    end[i] = encoded.readUInt32BE(HEADER_BYTES + i * ENTRY_BYTES + 16)
  }
  return { tx, op, end, body: encoded.subarray(HEADER_BYTES + n * ENTRY_BYTES) }
}

/** One block of several that follow each other. */
export const concat = (blocks: ReadonlyArray<LogBlock>): LogBlock => {
  if (blocks.length === 1) return blocks[0]!
  const n = blocks.reduce((sum, block) => sum + count(block), 0)
  const tx = new BigUint64Array(n)
  const op = new Float64Array(n)
  const end = new Uint32Array(n)
  const body = Buffer.allocUnsafe(blocks.reduce((sum, block) => sum + block.body.length, 0))
  let i = 0
  let at = 0
  for (const block of blocks) {
    tx.set(block.tx, i)
    op.set(block.op, i)
    for (let k = 0; k < block.end.length; k++) end[i + k] = at + block.end[k]!
    body.set(block.body, at)
    i += count(block)
    at += block.body.length
  }
  return { tx, op, end, body }
}
