/**
 * The logical replication stream as plain data: what pgoutput (protocol version 1) says, decoded. Column values stay
 * the bytes that Postgres sent; a message holds views on the buffer it was decoded from.
 */
import type { Lsn } from "./Lsn.ts"
import type { Relation } from "./Relation.ts"

/** Length of a column that is SQL NULL. */
export const NULL = -1
/** Length of a TOASTed column that an UPDATE left as it was: its value is not in the message. */
export const UNCHANGED = -2

/**
 * A row of text values: column `i` is `bytes[cols[2i] .. cols[2i] + cols[2i + 1])`, where a negative length is `NULL`
 * or `UNCHANGED`.
 */
export interface Tuple {
  readonly bytes: Buffer
  readonly cols: Int32Array
}

export interface Begin {
  readonly _tag: "Begin"
  /** The transaction's commit LSN: the `tx` of its log offsets. */
  readonly lsn: Lsn
  /** 32-bit transaction id, without epoch. */
  readonly xid: number
}
export interface Commit {
  readonly _tag: "Commit"
  readonly lsn: Lsn
  /** First byte after the commit record: what is confirmed to Postgres once this transaction is durable. */
  readonly endLsn: Lsn
}
export interface RelationMessage {
  readonly _tag: "Relation"
  readonly relation: Relation
}
export interface Insert {
  readonly _tag: "Insert"
  readonly relation: Relation
  readonly row: Tuple
}
export interface Update {
  readonly _tag: "Update"
  readonly relation: Relation
  /** The whole old row with REPLICA IDENTITY FULL; key columns only, or absent, otherwise. */
  readonly old: Tuple | undefined
  /** Whether `old` is the whole row (`O`) and not only its key (`K`). */
  readonly oldIsFull: boolean
  readonly row: Tuple
}
export interface Delete {
  readonly _tag: "Delete"
  readonly relation: Relation
  readonly old: Tuple
  readonly oldIsFull: boolean
}
export interface Truncate {
  readonly _tag: "Truncate"
  readonly relations: ReadonlyArray<Relation>
}
/** The server's heartbeat: its WAL has reached `walEnd`, and nothing before it is still to be sent. */
export interface Keepalive {
  readonly _tag: "Keepalive"
  readonly walEnd: Lsn
}

export type RowMessage = Insert | Update | Delete

/** Type, Origin and Message messages are dropped by the decoder: nothing here depends on them. */
export type WalMessage = Begin | Commit | RelationMessage | Insert | Update | Delete | Truncate | Keepalive

/** A tuple of the given texts, as the decoder would have made it; `undefined` stands for an unchanged TOAST value. */
export const tuple = (values: ReadonlyArray<string | null | undefined>): Tuple => {
  const parts = values.map((value) => (typeof value === "string" ? Buffer.from(value) : undefined))
  const cols = new Int32Array(values.length * 2)
  let at = 0
  parts.forEach((part, i) => {
    cols[2 * i] = at
    cols[2 * i + 1] = part ? part.length : values[i] === null ? NULL : UNCHANGED
    at += part?.length ?? 0
  })
  return { bytes: Buffer.concat(parts.filter((part) => part !== undefined)), cols }
}

/** Column `i` as text; `null` for NULL, `undefined` for an unchanged TOAST value. */
export const text = (row: Tuple, i: number): string | null | undefined => {
  const length = row.cols[2 * i + 1]!
  if (length < 0) return length === NULL ? null : undefined
  const start = row.cols[2 * i]!
  return row.bytes.toString("utf8", start, start + length)
}
