/**
 * A position in Postgres's write-ahead log: one unsigned 64-bit integer. Postgres prints it `X/Y` in hex; the HTTP
 * protocol prints it as a decimal.
 */
export type Lsn = bigint

export const zero: Lsn = 0n
/** No position is beyond it. */
export const highest: Lsn = (1n << 64n) - 1n

/** Reads Postgres's `X/Y` form; `undefined` when the text is not one. */
export const parse = (text: string): Lsn | undefined => {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text)
  return match ? (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`) : undefined
}

/** Prints Postgres's `X/Y` form. */
export const format = (lsn: Lsn): string =>
  `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`

export const max = (a: Lsn, b: Lsn): Lsn => (a > b ? a : b)
