import type { Lsn } from "./Lsn.ts"

/**
 * A Postgres snapshot (`pg_current_snapshot()`): which transactions a query sees. Its xids are 64 bits wide; the
 * replication stream's are the low 32 bits, so the two are compared within half a turn of the 32-bit circle.
 */
export interface PgSnapshot {
  /** Every transaction before this one has ended. */
  readonly xmin: bigint
  /** No transaction from this one on had begun to be visible. */
  readonly xmax: bigint
  /** Transactions in between that were still in progress. */
  readonly xip: ReadonlyArray<bigint>
}

/**
 * A snapshot with the WAL insert position read after it was taken. Every transaction it sees has its commit record
 * before `lsn`, so a transaction that commits at or past `lsn` is never in it. (That an xid is at or past `xmax` proves
 * less: a commit record can precede, in the WAL, the commit of an older and visible transaction while its own
 * transaction is still listed as in progress, as with synchronous replication.)
 */
export interface SnapshotMarks extends PgSnapshot {
  readonly lsn: Lsn
}

const low = (xid: bigint): number => Number(xid & 0xffffffffn)

/** Whether the 32-bit `xid` comes before `limit` on the circle. */
const before = (xid: number, limit: bigint): boolean => ((xid - low(limit)) | 0) < 0

/** Whether the snapshot sees the (committed) transaction with this 32-bit xid. */
export const sees = (snapshot: PgSnapshot, xid: number): boolean =>
  before(xid, snapshot.xmin) ||
  (before(xid, snapshot.xmax) && !snapshot.xip.some((inProgress) => low(inProgress) === xid >>> 0))

/** Reads `xmin:xmax:xip,xip`; `undefined` when the text is not of that form. */
export const parse = (text: string): PgSnapshot | undefined => {
  const match = /^(\d+):(\d+):((?:\d+(?:,\d+)*)?)$/.exec(text)
  return match
    ? { xmin: BigInt(match[1]!), xmax: BigInt(match[2]!), xip: match[3] ? match[3].split(",").map(BigInt) : [] }
    : undefined
}
