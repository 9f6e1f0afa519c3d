/**
 * Rows of the replication stream as log items (Electric HTTP protocol §10.1–10.4). What is returned ends inside
 * `headers`: whether an item is the last of its transaction differs from shape to shape, while the rest is shared, so
 * each consumer appends `SUFFIX` or `SUFFIX_LAST`. An item begins with the comma that separates it from the one before.
 *
 * Plain synchronous code: it runs once per projection and change.
 */
import { OWN_SLAB_BYTES, reserve, type Slab } from "./Arena.ts"
import {
  fragment,
  IN_KEY,
  IN_VALUE,
  MAX_ESCAPE,
  put,
  putAscii,
  putNumber,
  putText,
  QUOTE,
  SLACK,
  textBytes
} from "./JsonBytes.ts"
import type { Binding, Operation } from "./Projection.ts"
import { NULL, type Tuple, UNCHANGED } from "./WalMessage.ts"

/** An item without its suffix: `bytes[start .. end)`. The bytes never change. */
export interface EncodedItem {
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
}

/** Where in the log an item stands. */
export interface Position {
  /** Commit LSN of the transaction, decimal. */
  readonly lsn: string
  /** Number of the operation in its transaction. */
  readonly op: number
  /** 32-bit transaction id. */
  readonly xid: number
}

/** Ends an item. */
export const SUFFIX = Buffer.from("}}")
/** Ends the last item that a transaction has for a shape. */
export const SUFFIX_LAST = Buffer.from(`,"last":true}}`)

/** A change says too little to make the row's key: the table's replica identity is not what the shape needs. */
export class KeyUnknown extends Error {
  readonly _tag = "KeyUnknown"
  constructor(relation: string) {
    super(`a change to ${relation} came without its key: the table's replica identity does not cover it`)
  }
}

const opPosition = fragment(`","op_position":`)
const txids = fragment(`,"txids":[`)
const keyChangeTo = fragment(`],"key_change_to":"`)
const keyChangeFrom = fragment(`],"key_change_from":"`)
const keyQuote = fragment(`/\\"`)
const keyNull = fragment(`/_`)
const valueOpen = fragment(`","value":{`)
const oldValueOpen = fragment(`},"old_value":{`)

// --- Values ---

/** The view of the buffer that was last read: changes of one transaction mostly come in one buffer. */
let viewed: Buffer = Buffer.alloc(0)
let view = new DataView(viewed.buffer, viewed.byteOffset, 0)
const viewOf = (bytes: Buffer): DataView => {
  if (bytes !== viewed) {
    viewed = bytes
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }
  return view
}

const lengthOf = (row: Tuple, column: number): number => row.cols[2 * column + 1]!

const sameValue = (a: Tuple, b: Tuple, column: number): boolean => {
  const length = lengthOf(a, column)
  if (length !== lengthOf(b, column)) return false
  if (length <= 0) return true
  const fromA = a.cols[2 * column]!
  const fromB = b.cols[2 * column]!
  const bytesA = a.bytes
  const bytesB = b.bytes
  if (length > 64) return bytesA.compare(bytesB, fromB, fromB + length, fromA, fromA + length) === 0
  for (let i = 0; i < length; i++) if (bytesA[fromA + i] !== bytesB[fromB + i]) return false
  return true
}

/** Writes column `i` of the projection, `first` in its object or not. */
const putColumn = (out: DataView, at: number, binding: Binding, i: number, row: Tuple, first: boolean): number => {
  const column = binding.columns[i]!
  const length = lengthOf(row, column)
  const { projection } = binding
  if (length < 0) return put(out, at, first ? projection.firstNull[i]! : projection.nextNull[i]!)
  at = put(out, at, first ? projection.first[i]! : projection.next[i]!)
  const from = row.cols[2 * column]!
  at = putText(out, at, viewOf(row.bytes), from, from + length, IN_VALUE)
  out.setUint8(at, QUOTE)
  return at + 1
}

/** The tuple that has the value of column `i` after the change; `undefined` when neither has. */
const holder = (binding: Binding, i: number, row: Tuple, old: Tuple | undefined): Tuple | undefined =>
  lengthOf(row, binding.columns[i]!) !== UNCHANGED ?
    row
    : old !== undefined && binding.inOld[i] === 1 && lengthOf(old, binding.columns[i]!) !== UNCHANGED ?
    old
    : undefined

const putKeyValue = (out: DataView, at: number, column: number, row: Tuple): number => {
  const length = lengthOf(row, column)
  if (length === NULL) return put(out, at, keyNull)
  at = put(out, at, keyQuote)
  const from = row.cols[2 * column]!
  at = putText(out, at, viewOf(row.bytes), from, from + length, IN_KEY)
  out.setUint16(at, 0x5c22)
  return at + 2
}

/** Writes the values of the new row's key. */
const putNewKey = (out: DataView, at: number, binding: Binding, row: Tuple, old: Tuple | undefined): number => {
  const { keyColumns } = binding
  for (let k = 0; k < keyColumns.length; k++) {
    const column = keyColumns[k]!
    if (lengthOf(row, column) !== UNCHANGED) at = putKeyValue(out, at, column, row)
    else if (old !== undefined && binding.keyInOld[k] === 1) at = putKeyValue(out, at, column, old)
    else throw new KeyUnknown(`${binding.relation.schema}.${binding.relation.name}`)
  }
  return at
}

/** Writes the values of the old row's key; `row`, if there is one, stands in for columns that only it has. */
const putOldKey = (out: DataView, at: number, binding: Binding, old: Tuple, row: Tuple | undefined): number => {
  const { keyColumns } = binding
  for (let k = 0; k < keyColumns.length; k++) {
    const column = keyColumns[k]!
    if (binding.keyInOld[k] === 1 && lengthOf(old, column) !== UNCHANGED) at = putKeyValue(out, at, column, old)
    else if (row !== undefined && lengthOf(row, column) !== UNCHANGED) at = putKeyValue(out, at, column, row)
    else throw new KeyUnknown(`${binding.relation.schema}.${binding.relation.name}`)
  }
  return at
}

/**
 * Writes all that follows the columns, up to where `last` or a suffix may come, without the bracket that closes
 * `txids`.
 */
const putHeaders = (
  out: DataView,
  at: number,
  binding: Binding,
  operation: Operation,
  position: Position,
  op: number
): number => {
  at = put(out, at, binding.projection.headers[operation])
  at = putAscii(out, at, position.lsn)
  at = put(out, at, opPosition)
  at = putNumber(out, at, op)
  at = put(out, at, txids)
  return putNumber(out, at, position.xid)
}

const putBracket = (out: DataView, at: number): number => {
  out.setUint8(at, 0x5d)
  return at + 1
}

// --- Memory ---

/** At least the bytes of any item of these rows. */
const reserveFor = (binding: Binding, a: Tuple, b: Tuple | undefined): Slab => {
  const { columns, projection } = binding
  let text = 0
  for (let i = 0; i < columns.length; i++) {
    const column = columns[i]!
    text += Math.max(0, lengthOf(a, column)) + (b === undefined ? 0 : Math.max(0, lengthOf(b, column)))
  }
  const fixed = projection.fixedBytes + SLACK
  // A value stands in `value` or `old_value`, and perhaps in the key and in a key_change header.
  const bound = fixed + 3 * MAX_ESCAPE * text
  if (bound <= OWN_SLAB_BYTES) return reserve(bound)
  let exact = fixed
  for (let i = 0; i < columns.length; i++) {
    const uses = projection.isKey[i] === 1 ? 5 : 1
    exact += uses * (columnBytes(a, columns[i]!) + (b === undefined ? 0 : columnBytes(b, columns[i]!)))
  }
  return reserve(exact)
}

const columnBytes = (row: Tuple, column: number): number => {
  const from = row.cols[2 * column]!
  return textBytes(viewOf(row.bytes), from, from + Math.max(0, lengthOf(row, column)))
}

/** Takes what was written, and its slack, out of the slab. */
const taken = (slab: Slab, end: number): EncodedItem => {
  const start = slab.used
  slab.used = end
  return { bytes: slab.bytes, start, end }
}

// --- Items ---

/** Writes all selected columns of the new row; one that neither tuple has is left out. */
const putRow = (out: DataView, at: number, binding: Binding, row: Tuple, old: Tuple | undefined): number => {
  const count = binding.columns.length
  let first = true
  for (let i = 0; i < count; i++) {
    const from = holder(binding, i, row, old)
    if (from === undefined) continue
    at = putColumn(out, at, binding, i, from, first)
    first = false
  }
  return at
}

/** Writes the columns of an old row that a delete shows: the key, or all that the tuple has. */
const putOldRow = (out: DataView, at: number, binding: Binding, old: Tuple, row: Tuple | undefined): number => {
  const { columns, inOld, projection } = binding
  const full = projection.replica === "full"
  let first = true
  for (let i = 0; i < columns.length; i++) {
    const isKey = projection.isKey[i] === 1
    if (!isKey && !full) continue
    const from = inOld[i] === 1 ? old : isKey ? row : undefined
    if (from === undefined) continue
    at = putColumn(out, at, binding, i, from, first)
    first = false
  }
  return at
}

/** A row that is new to the shape. For the new row of an UPDATE, `old` supplies unchanged TOAST values. */
export const insert = (binding: Binding, row: Tuple, position: Position, old?: Tuple): EncodedItem => {
  const slab = reserveFor(binding, row, old)
  const out = slab.view
  let at = put(out, slab.used, binding.projection.open)
  at = putNewKey(out, at, binding, row, old)
  at = put(out, at, valueOpen)
  at = putRow(out, at, binding, row, old)
  at = putHeaders(out, at, binding, "insert", position, position.op)
  return taken(slab, putBracket(out, at))
}

/** A row that has left the shape: its key in replica mode `default`, all that `old` has of it in `full`. */
export const remove = (binding: Binding, old: Tuple, position: Position): EncodedItem => {
  const slab = reserveFor(binding, old, undefined)
  const out = slab.view
  let at = put(out, slab.used, binding.projection.open)
  at = putOldKey(out, at, binding, old, undefined)
  at = put(out, at, valueOpen)
  at = putOldRow(out, at, binding, old, undefined)
  at = putHeaders(out, at, binding, "delete", position, position.op)
  return taken(slab, putBracket(out, at))
}

/** 1 for each column that the update being encoded has changed. */
let changed = new Uint8Array(64)

/** Fills `changed`; whether there is any. A column counts as changed unless it is known to be the same. */
const findChanged = (binding: Binding, old: Tuple | undefined, row: Tuple): boolean => {
  const { absentMeansSame, columns, inOld } = binding
  if (changed.length < columns.length) changed = new Uint8Array(2 * columns.length)
  let any = false
  for (let i = 0; i < columns.length; i++) {
    const column = columns[i]!
    const same = lengthOf(row, column) === UNCHANGED ||
      (inOld[i] === 1 && (old === undefined ? absentMeansSame : sameValue(old, row, column)))
    changed[i] = same ? 0 : 1
    if (!same) any = true
  }
  return any
}

/**
 * A row that stays in the shape with the same key; `undefined` when no selected column changed. Replica mode `default`:
 * the key and the changed columns; `full`: the whole row, and as `old_value` what is known of the changed columns'
 * previous values.
 */
export const update = (
  binding: Binding,
  old: Tuple | undefined,
  row: Tuple,
  position: Position
): EncodedItem | undefined => {
  if (!findChanged(binding, old, row)) return undefined
  const { columns, inOld, projection } = binding
  const slab = reserveFor(binding, row, old)
  const out = slab.view
  let at = put(out, slab.used, projection.open)
  at = putNewKey(out, at, binding, row, old)
  at = put(out, at, valueOpen)
  if (projection.replica === "full") {
    at = putRow(out, at, binding, row, old)
    if (old !== undefined) {
      let first = true
      for (let i = 0; i < columns.length; i++) {
        if (changed[i] === 0 || inOld[i] === 0) continue
        if (first) at = put(out, at, oldValueOpen)
        at = putColumn(out, at, binding, i, old, first)
        first = false
      }
    }
  } else {
    let first = true
    for (let i = 0; i < columns.length; i++) {
      if (changed[i] === 0 && projection.isKey[i] === 0) continue
      const from = holder(binding, i, row, old)
      if (from === undefined) continue
      at = putColumn(out, at, binding, i, from, first)
      first = false
    }
  }
  at = putHeaders(out, at, binding, "update", position, position.op)
  return taken(slab, putBracket(out, at))
}

/** Whether an UPDATE gives the row another key; false where the old tuple does not tell. */
export const keyChanged = (binding: Binding, old: Tuple | undefined, row: Tuple): boolean => {
  if (old === undefined) return false
  const { keyColumns, keyInOld } = binding
  for (let k = 0; k < keyColumns.length; k++) {
    const column = keyColumns[k]!
    if (keyInOld[k] === 1 && lengthOf(row, column) !== UNCHANGED && !sameValue(old, row, column)) return true
  }
  return false
}

/**
 * An UPDATE of the key: a delete at the position's op, never the last of its transaction, and an insert at the next.
 */
export const changeKey = (
  binding: Binding,
  old: Tuple,
  row: Tuple,
  position: Position
): { readonly remove: EncodedItem; readonly insert: EncodedItem } => ({
  remove: removeHalf(binding, old, row, position),
  insert: insertHalf(binding, old, row, position)
})

const removeHalf = (binding: Binding, old: Tuple, row: Tuple, position: Position): EncodedItem => {
  const slab = reserveFor(binding, old, row)
  const out = slab.view
  let at = put(out, slab.used, binding.projection.open)
  at = putOldKey(out, at, binding, old, row)
  at = put(out, at, valueOpen)
  at = putOldRow(out, at, binding, old, row)
  at = putHeaders(out, at, binding, "delete", position, position.op)
  at = put(out, put(out, at, keyChangeTo), binding.projection.keyPrefix)
  at = putNewKey(out, at, binding, row, old)
  out.setUint8(at, QUOTE)
  return taken(slab, at + 1)
}

const insertHalf = (binding: Binding, old: Tuple, row: Tuple, position: Position): EncodedItem => {
  const slab = reserveFor(binding, row, old)
  const out = slab.view
  let at = put(out, slab.used, binding.projection.open)
  at = putNewKey(out, at, binding, row, old)
  at = put(out, at, valueOpen)
  at = putRow(out, at, binding, row, old)
  at = putHeaders(out, at, binding, "insert", position, position.op + 1)
  at = put(out, put(out, at, keyChangeFrom), binding.projection.keyPrefix)
  at = putOldKey(out, at, binding, old, row)
  out.setUint8(at, QUOTE)
  return taken(slab, at + 1)
}
