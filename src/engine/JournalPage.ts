/**
 * Parts of transactions as bytes, and back (see Journal). Relations are numbered, and kept by the page: these bytes are
 * of no use in another process. Numbers are little-endian.
 *
 * Part: lsn u64, xid u32, number u32, isLast u8, op f64, tables emptied u16 and their oids u32, tables u16; of each its
 * oid u32 and its changes u32; of each change its kind u8, relation u16, op f64, the old row (kinds with one) and the new
 * (kinds with one). Row: columns u16, their lengths i32 (below 0 as in `Tuple`), bytes.
 */
import type { Relation } from "../domain/Relation.ts"
import type { RowMessage, Tuple } from "../domain/WalMessage.ts"
import { RowChange, type Transaction } from "./Changes.ts"

/** Part of a transaction: all of it, unless it is large. */
export interface Part {
  readonly transaction: Transaction
  /** Which part of its transaction it is, from 0. */
  readonly number: number
  /** Its changes by table: a change of a partition is also one of the tables above it. */
  readonly changes: ReadonlyMap<number, ReadonlyArray<RowChange>>
  /** Tables that were emptied. */
  readonly truncated: ReadonlySet<number>
  /** Number of the first operation behind its changes. */
  readonly op: number
  /** The transaction ends with it. */
  readonly isLast: boolean
}

/** The relations of a page's changes, by their numbers. */
export interface PageTables {
  readonly relations: Array<Relation>
  readonly relationNumbers: Map<Relation, number>
}

const INSERT = 0
const UPDATE = 1
/** With the old row's key, or with all of it. */
const UPDATE_OLD = 2
const UPDATE_FULL = 3
const DELETE = 4
const DELETE_FULL = 5

const HEAD_BYTES = 8 + 4 + 4 + 1 + 8 + 2 + 2

const kindOf = (message: RowMessage): number => {
  switch (message._tag) {
    case "Insert":
      return INSERT
    case "Update":
      return message.old === undefined ? UPDATE : message.oldIsFull ? UPDATE_FULL : UPDATE_OLD
    case "Delete":
      return message.oldIsFull ? DELETE_FULL : DELETE
  }
}

const oldRow = (message: RowMessage): Tuple | undefined => message._tag === "Insert" ? undefined : message.old
const newRow = (message: RowMessage): Tuple | undefined => message._tag === "Delete" ? undefined : message.row

const tupleBytes = (row: Tuple | undefined): number => {
  if (row === undefined) return 0
  let bytes = 2 + row.cols.length * 2
  for (let i = 1; i < row.cols.length; i += 2) bytes += Math.max(0, row.cols[i]!)
  return bytes
}

const sizeOf = ({ changes, truncated }: Part): number => {
  let bytes = HEAD_BYTES + 4 * truncated.size
  for (const list of changes.values()) {
    bytes += 8
    for (const { message } of list) bytes += 11 + tupleBytes(oldRow(message)) + tupleBytes(newRow(message))
  }
  return bytes
}

export const encodePart = (part: Part, { relationNumbers, relations }: PageTables): Buffer => {
  const out = Buffer.allocUnsafeSlow(sizeOf(part))
  let at = out.writeBigUInt64LE(part.transaction.lsn, 0)
  at = out.writeUInt32LE(part.transaction.xid, at)
  at = out.writeUInt32LE(part.number, at)
  at = out.writeUInt8(part.isLast ? 1 : 0, at)
  at = out.writeDoubleLE(part.op, at)
  at = out.writeUInt16LE(part.truncated.size, at)
  for (const oid of part.truncated) at = out.writeUInt32LE(oid, at)
  at = out.writeUInt16LE(part.changes.size, at)

  const relationNumber = (relation: Relation): number => {
    let number = relationNumbers.get(relation)
    if (number === undefined) relationNumbers.set(relation, number = relations.push(relation) - 1)
    return number
  }
  const write = (row: Tuple | undefined): void => {
    if (row === undefined) return
    const { bytes, cols } = row
    at = out.writeUInt16LE(cols.length / 2, at)
    for (let i = 1; i < cols.length; i += 2) at = out.writeInt32LE(cols[i]!, at)
    for (let i = 0; i < cols.length; i += 2) {
      const length = cols[i + 1]!
      if (length > 0) at += bytes.copy(out, at, cols[i]!, cols[i]! + length)
    }
  }
  for (const [oid, changes] of part.changes) {
    at = out.writeUInt32LE(oid, at)
    at = out.writeUInt32LE(changes.length, at)
    for (const { message, op } of changes) {
      at = out.writeUInt8(kindOf(message), at)
      at = out.writeUInt16LE(relationNumber(message.relation), at)
      at = out.writeDoubleLE(op, at)
      write(oldRow(message))
      write(newRow(message))
    }
  }
  return out
}

/** The first `count` parts of a page. Their rows are views on the bytes. */
export const decodeParts = (
  bytes: Buffer,
  { relations }: Pick<PageTables, "relations">,
  count: number
): ReadonlyArray<Part> => {
  let at = 0
  const u16 = () => bytes.readUInt16LE((at += 2) - 2)
  const u32 = () => bytes.readUInt32LE((at += 4) - 4)
  const f64 = () => bytes.readDoubleLE((at += 8) - 8)

  const tuple = (): Tuple => {
    const columns = u16()
    const cols = new Int32Array(2 * columns)
    let start = at + 4 * columns
    for (let i = 0; i < columns; i++) {
      const length = bytes.readInt32LE(at + 4 * i)
      cols[2 * i + 1] = length
      if (length < 0) continue
      cols[2 * i] = start
      start += length
    }
    at = start
    return { bytes, cols }
  }
  const message = (kind: number, relation: Relation): RowMessage => {
    if (kind === INSERT) return { _tag: "Insert", relation, row: tuple() }
    if (kind === UPDATE) return { _tag: "Update", relation, old: undefined, oldIsFull: false, row: tuple() }
    const old = tuple()
    return kind === DELETE || kind === DELETE_FULL
      ? { _tag: "Delete", relation, old, oldIsFull: kind === DELETE_FULL }
      : { _tag: "Update", relation, old, oldIsFull: kind === UPDATE_FULL, row: tuple() }
  }
  const part = (): Part => {
    const lsn = bytes.readBigUInt64LE((at += 8) - 8)
    const transaction: Transaction = { lsn, lsnText: String(lsn), xid: u32() }
    const number = u32()
    const isLast = bytes[at++] === 1
    const op = f64()
    const truncated = new Set<number>()
    for (let left = u16(); left > 0; left--) truncated.add(u32())
    const changes = new Map<number, ReadonlyArray<RowChange>>()
    for (let tables = u16(); tables > 0; tables--) {
      const oid = u32()
      const list: Array<RowChange> = []
      for (let left = u32(); left > 0; left--) {
        const kind = bytes[at++]!
        const relation = relations[u16()]!
        const changeOp = f64()
        list.push(new RowChange(message(kind, relation), transaction, changeOp))
      }
      changes.set(oid, list)
    }
    return { transaction, number, changes, truncated, op, isLast }
  }
  return Array.from({ length: count }, part)
}
