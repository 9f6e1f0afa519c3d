/**
 * How the LMDB layer lays its keys out. The first byte is the keyspace; the catalog is apart from the blocks, so that a
 * start reads it without passing over them, and a shape's blocks are contiguous, so that removing it is one range.
 *
 * | key | value |
 * |---|---|
 * | `0` name | one fact about the store: format, applied position, unfinished, next id |
 * | `1` shape | shape record |
 * | `2` shape | shape head |
 * | `3` shape | removed, and its blocks may not all be deleted yet |
 * | `4` shape `1` chunk block | snapshot block |
 * | `4` shape `2` tx op | log block, by its first offset |
 * | `4` shape `3` tx op | chunk end |
 * | `4` shape `4` `0` value | how often the shape's rows have a value |
 * | `4` shape `4` `1` SHA-256 of the value | the same for a value that is too long for a key, and the value |
 * | `4` shape `5` | what these counts stand for |
 * | `5` page | scratch page |
 *
 * Numbers are big-endian, so that keys sort as their numbers do: shape, chunk and block u32, tx and op u64 (an infinite
 * op is ff…ff), page u48.
 */
import { createHash } from "node:crypto"
import type { LogOffset } from "../domain/LogOffset.ts"

export const META = 0
export const RECORD = 1
export const HEAD = 2
export const REMOVED = 3
export const BLOCKS = 4
export const SCRATCH = 5

const SNAPSHOT = 1
const LOG = 2
const CHUNK_END = 3
const COUNT = 4
const COUNTS_AT = 5

const meta = (name: string): Buffer => Buffer.concat([Buffer.of(META), Buffer.from(name)])

export const FORMAT = meta("format")
export const APPLIED = meta("applied")
export const UNFINISHED = meta("unfinished")
export const NEXT_ID = meta("nextId")

/** The bounds of a keyspace: the first possible key, and the first key after it. */
export const spaceStart = (space: number): Buffer => Buffer.of(space)
export const spaceEnd = (space: number): Buffer => Buffer.of(space + 1)

/** The key of a shape in the keyspaces that hold one value for each. */
export const ofShape = (space: number, shape: number): Buffer => {
  const key = Buffer.allocUnsafe(5)
  key[0] = space
  key.writeUInt32BE(shape, 1)
  return key
}

/** The shape that a key belongs to. */
export const shapeOf = (key: Uint8Array): number => ((key[1]! << 24) | (key[2]! << 16) | (key[3]! << 8) | key[4]!) >>> 0

/** Bounds of all that is stored in `BLOCKS` for a shape. */
export const blocksStart = (shape: number): Buffer => ofShape(BLOCKS, shape)
export const blocksEnd = (
  shape: number
): Buffer => (shape === 0xffffffff ? spaceEnd(BLOCKS) : ofShape(BLOCKS, shape + 1))

export const snapshotBlock = (shape: number, chunk: number, block: number): Buffer => {
  const key = Buffer.allocUnsafe(14)
  key[0] = BLOCKS
  key.writeUInt32BE(shape, 1)
  key[5] = SNAPSHOT
  key.writeUInt32BE(chunk, 6)
  key.writeUInt32BE(block, 10)
  return key
}

export const MAX_TX = 0xffffffffffffffffn

/** Writes an offset's 16 bytes at `at`. */
export const writeOffset = (out: Buffer, offset: LogOffset, at: number): void => {
  out.writeBigUInt64BE(offset.tx, at)
  if (offset.op === Infinity) {
    out.writeUInt32BE(0xffffffff, at + 8)
    out.writeUInt32BE(0xffffffff, at + 12)
  } else {
    out.writeUInt32BE(Math.floor(offset.op / 0x100000000), at + 8)
    out.writeUInt32BE(offset.op % 0x100000000, at + 12)
  }
}

export const readOffset = (bytes: Buffer, at: number): LogOffset => {
  const high = bytes.readUInt32BE(at + 8)
  const op = high === 0xffffffff ? Infinity : high * 0x100000000 + bytes.readUInt32BE(at + 12)
  return { tx: bytes.readBigUInt64BE(at), op }
}

const atOffset = (kind: number, shape: number, offset: LogOffset): Buffer => {
  const key = Buffer.allocUnsafe(22)
  key[0] = BLOCKS
  key.writeUInt32BE(shape, 1)
  key[5] = kind
  writeOffset(key, offset, 6)
  return key
}

const ofKind = (kind: number, shape: number): Buffer => {
  const key = Buffer.allocUnsafe(6)
  key[0] = BLOCKS
  key.writeUInt32BE(shape, 1)
  key[5] = kind
  return key
}

/** The smallest key greater than `key`. */
export const successor = (key: Uint8Array): Buffer => Buffer.concat([key, Buffer.of(0)])

/** The first possible key of what comes after `offset`. */
const after = (kind: number, shape: number, offset: LogOffset): Buffer =>
  offset.tx < 0n ? ofKind(kind, shape) : successor(atOffset(kind, shape, offset))

export const logBlock = (shape: number, first: LogOffset): Buffer => atOffset(LOG, shape, first)
export const logStart = (shape: number): Buffer => ofKind(LOG, shape)
export const logEnd = (shape: number): Buffer => ofKind(LOG + 1, shape)
export const logAfter = (shape: number, offset: LogOffset): Buffer => after(LOG, shape, offset)

export const chunkEnd = (shape: number, end: LogOffset): Buffer => atOffset(CHUNK_END, shape, end)
export const chunkEndsEnd = (shape: number): Buffer => ofKind(CHUNK_END + 1, shape)
export const chunkEndsAfter = (shape: number, offset: LogOffset): Buffer => after(CHUNK_END, shape, offset)
/** The offset in the key of a log block or a chunk end. */
export const offsetOf = (key: Uint8Array): LogOffset =>
  readOffset(Buffer.from(key.buffer, key.byteOffset, key.length), 6)

/** The key of a scratch page. */
export const scratch = (page: number): Buffer => {
  const key = Buffer.allocUnsafe(7)
  key[0] = SCRATCH
  key.writeUIntBE(page, 1, 6)
  return key
}

export const countsStart = (shape: number): Buffer => ofKind(COUNT, shape)
export const countsEnd = (shape: number): Buffer => ofKind(COUNT + 1, shape)
export const countsAt = (shape: number): Buffer => ofKind(COUNTS_AT, shape)

/** A value of more bytes than this is not in the key: LMDB's keys are short. */
const MAX_VALUE_BYTES = 400

/** Whether a value's key does not have it. */
export const isLongValue = (value: string): boolean =>
  value.length > MAX_VALUE_BYTES || Buffer.byteLength(value) > MAX_VALUE_BYTES

export const count = (shape: number, value: string): Buffer =>
  isLongValue(value)
    ? Buffer.concat([ofKind(COUNT, shape), Buffer.of(1), createHash("sha256").update(value).digest()])
    : Buffer.concat([ofKind(COUNT, shape), Buffer.of(0), Buffer.from(value)])

/** The value in the key of a count; `undefined` when it is too long to be there. */
export const valueOfCount = (key: Buffer): string | undefined => key[6] === 0 ? key.toString("utf8", 7) : undefined
