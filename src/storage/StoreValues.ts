/**
 * How the LMDB layer writes what is not a block: records and the applied position as JSON with their 64-bit numbers as
 * text, heads as 24 bytes, a count as 6 bytes and the value where its key does not have it.
 */
import type { AppliedPosition, CountsAt, ShapeHead, ShapeRecord, StoredCount } from "./ShapeStorage.ts"
import { readOffset, writeOffset } from "./StoreKeys.ts"

type Snapshot = NonNullable<ShapeRecord["snapshot"]>

/** What many shapes of one table have in common. */
type Selection = Omit<ShapeRecord["definition"], "where">

/** The rest of a record, as JSON has it: `undefined` is absent and bigints are decimal text. */
interface StoredRecord {
  readonly id: number
  readonly handle: string
  readonly where?: ShapeRecord["definition"]["where"]
  readonly snapshot?: {
    readonly xmin: string
    readonly xmax: string
    readonly xip: ReadonlyArray<string>
    readonly lsn: string
    readonly chunks: ReadonlyArray<number>
  }
}

const encodeSnapshot = ({ chunks, marks }: Snapshot): NonNullable<StoredRecord["snapshot"]> => ({
  xmin: String(marks.xmin),
  xmax: String(marks.xmax),
  xip: marks.xip.map(String),
  lsn: String(marks.lsn),
  chunks
})

const decodeSnapshot = (stored: NonNullable<StoredRecord["snapshot"]>): Snapshot => ({
  marks: {
    xmin: BigInt(stored.xmin),
    xmax: BigInt(stored.xmax),
    xip: stored.xip.map(BigInt),
    lsn: BigInt(stored.lsn)
  },
  chunks: stored.chunks
})

/** The selection comes first, after its length, so that a reader of many records parses each but once. */
export const encodeRecord = ({ definition, handle, id, snapshot }: ShapeRecord): Buffer => {
  const { where, ...selection } = definition
  const stored: StoredRecord = {
    id,
    handle,
    ...(where && { where }),
    ...(snapshot && { snapshot: encodeSnapshot(snapshot) })
  }
  const first = Buffer.from(JSON.stringify(selection))
  return Buffer.concat([encodeUint32(first.length), first, Buffer.from(JSON.stringify(stored))])
}

/** Parts of clauses that most clauses of a database have in common. */
const sharedParts = new Set(["type", "fn", "operator", "collation", "subquery"])

/** A reviver that makes equal parts of the clauses that it reads one object. */
const sharing = () => {
  const known = new Map<string, unknown>()
  return (key: string, value: unknown): unknown => {
    if (!sharedParts.has(key) || typeof value !== "object") return value
    const text = JSON.stringify(value)
    const same = known.get(text)
    if (same === undefined) known.set(text, value)
    return same ?? value
  }
}

/** Decodes records. Those that one decoder returns share their selections, and the types and functions of their clauses. */
export const recordDecoder = (): (bytes: Buffer) => ShapeRecord => {
  const selections = new Map<string, Selection>()
  const share = sharing()
  return (bytes) => {
    const end = 4 + bytes.readUInt32BE(0)
    const name = bytes.toString("latin1", 4, end)
    let selection = selections.get(name)
    if (selection === undefined) {
      const parsed: Selection = JSON.parse(bytes.toString("utf8", 4, end))
      selections.set(name, selection = parsed)
    }
    const { handle, id, snapshot, where }: StoredRecord = JSON.parse(bytes.toString("utf8", end), share)
    return { id, handle, definition: { ...selection, where }, snapshot: snapshot && decodeSnapshot(snapshot) }
  }
}

export const encodeHead = (head: ShapeHead): Buffer => {
  const out = Buffer.allocUnsafe(24)
  writeOffset(out, head.end, 0)
  out.writeDoubleBE(head.chunkBytes, 16)
  return out
}

export const decodeHead = (bytes: Buffer): ShapeHead => ({
  end: readOffset(bytes, 0),
  chunkBytes: bytes.readDoubleBE(16)
})

interface StoredPosition {
  readonly systemId: string
  readonly timeline: number
  readonly slot: string
  readonly lsn: string
  readonly endLsn: string
  readonly recent: ReadonlyArray<number>
}

export const encodeApplied = (applied: AppliedPosition): Buffer => {
  const stored: StoredPosition = { ...applied, lsn: String(applied.lsn), endLsn: String(applied.endLsn) }
  return Buffer.from(JSON.stringify(stored))
}

export const decodeApplied = (bytes: Buffer): AppliedPosition => {
  const { lsn, endLsn, ...rest }: StoredPosition = JSON.parse(bytes.toString())
  return { ...rest, lsn: BigInt(lsn), endLsn: BigInt(endLsn) }
}

export const encodeUint32 = (value: number): Buffer => {
  const out = Buffer.allocUnsafe(4)
  out.writeUInt32BE(value)
  return out
}

export const encodeCount = (count: number, value: string | undefined): Buffer => {
  const text = value === undefined ? undefined : Buffer.from(value)
  const out = Buffer.allocUnsafe(6 + (text?.length ?? 0))
  out.writeUIntBE(count, 0, 6)
  if (text) out.set(text, 6)
  return out
}

/** Throws when it is none. */
export const decodeCount = (value: string | undefined, bytes: Buffer): StoredCount => ({
  value: value ?? bytes.toString("utf8", 6, bytes.length),
  count: bytes.readUIntBE(0, 6)
})

export const encodeCountsAt = ({ offset, values }: CountsAt): Buffer => {
  const out = Buffer.allocUnsafe(22)
  writeOffset(out, offset, 0)
  out.writeUIntBE(values, 16, 6)
  return out
}

export const decodeCountsAt = (bytes: Buffer): CountsAt => ({
  offset: readOffset(bytes, 0),
  values: bytes.readUIntBE(16, 6)
})
