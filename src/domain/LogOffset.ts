/**
 * A position in a shape's log: the commit LSN of a transaction and the position of an operation inside it, printed
 * `<tx>_<op>`. Transaction 0 is the snapshot: `0_n` is its chunk `n`, `0_inf` its end, before the first live entry.
 * `-1` is before everything.
 */
export interface LogOffset {
  /** Commit LSN; 0 for the snapshot; -1 for "before everything". */
  readonly tx: bigint
  /** Operation number, or `Infinity`, which is above every operation of its transaction. */
  readonly op: number
}

export const make = (tx: bigint, op: number): LogOffset => ({ tx, op })

/** `-1`: before the first entry of any log. */
export const beforeAll: LogOffset = { tx: -1n, op: 0 }

/** `0_inf`: after every snapshot chunk, before the first live entry. */
export const snapshotEnd: LogOffset = { tx: 0n, op: Infinity }

/** `0_n`: chunk `n` of the snapshot. */
export const snapshotChunk = (n: number): LogOffset => ({ tx: 0n, op: n })

/** Negative when `a` is before `b`, 0 when equal, positive when after. */
export const compare = (a: LogOffset, b: LogOffset): number =>
  a.tx === b.tx ? (a.op === b.op ? 0 : a.op < b.op ? -1 : 1) : a.tx < b.tx ? -1 : 1

export const lessThan = (a: LogOffset, b: LogOffset): boolean => compare(a, b) < 0
export const lessOrEqual = (a: LogOffset, b: LogOffset): boolean => compare(a, b) <= 0
export const equals = (a: LogOffset, b: LogOffset): boolean => a.tx === b.tx && a.op === b.op
export const max = (a: LogOffset, b: LogOffset): LogOffset => (compare(a, b) >= 0 ? a : b)
export const min = (a: LogOffset, b: LogOffset): LogOffset => (compare(a, b) <= 0 ? a : b)

/** Whether the offset lies in the snapshot's virtual range but is not its end (`0_n`). */
export const isSnapshotChunk = (o: LogOffset): boolean => o.tx === 0n && o.op !== Infinity

export const format = (o: LogOffset): string => o.tx < 0n ? "-1" : `${o.tx}_${o.op === Infinity ? "inf" : o.op}`

const maxTx = 0xffffffffffffffffn

/** Reads `-1`, `-1_0`, `<tx>_<op>` or `<tx>_inf`; `undefined` for anything else, including out-of-range numbers. */
export const parse = (text: string): LogOffset | undefined => {
  if (text === "-1" || text === "-1_0") return beforeAll
  const match = /^(\d{1,40})_(\d{1,20}|inf)$/.exec(text)
  if (!match) return undefined
  const tx = BigInt(match[1]!)
  const op = match[2] === "inf" ? Infinity : Number(match[2])
  return tx > maxTx || (op !== Infinity && !Number.isSafeInteger(op)) ? undefined : { tx, op }
}
