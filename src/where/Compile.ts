/**
 * A where clause as a test on the rows of the replication stream, and as the term that a router finds it by.
 */
import type { Relation } from "../domain/Relation.ts"
import type { Where } from "../domain/ShapeDefinition.ts"
import type { Tuple } from "../domain/WalMessage.ts"
import { normalForm } from "./NormalForm.ts"

/** The column of the relation that the clause is about; `-1` when there is none of its name and type. */
const columnIndex = (where: Where, relation: Relation): number =>
  relation.columns.findIndex((column) => column.name === where.column && column.typeOid === where.typeOid)

/**
 * Whether a row satisfies the clause. `undefined` when the relation has no such column, or one of another type: the
 * clause has no meaning for it any more. Values that the stream left out (unchanged TOAST) must have been filled in:
 * they match nothing, as NULL does.
 */
export const compile = (where: Where, relation: Relation): ((row: Tuple) => boolean) | undefined => {
  const index = columnIndex(where, relation)
  if (index < 0) return undefined
  const wanted = Buffer.from(where.value)
  const form = normalForm(where.typeOid)
  const equals = (bytes: Uint8Array, start: number, end: number): boolean => {
    if (end - start !== wanted.length) return false
    for (let i = 0; i < wanted.length; i++) if (bytes[start + i] !== wanted[i]) return false
    return true
  }
  return ({ bytes, cols }) => {
    const length = cols[2 * index + 1]!
    if (length < 0) return false
    const start = cols[2 * index]!
    const end = start + length
    return form === undefined
      ? equals(bytes, start, end)
      : equals(bytes, form.start(bytes, start, end), form.end(bytes, start, end))
  }
}

/** A condition that a row satisfies only if its value of `column` has this key. */
export interface IndexTerm {
  readonly column: string
  /** Comparable with `termKey` of the column. */
  readonly key: string
}

/** What a router can find the clause by. */
export const indexTerm = (where: Where): IndexTerm => ({
  column: where.column,
  key: Buffer.from(where.value).toString("latin1")
})

/**
 * The key of a row's value in one column: equal values have equal keys. It is the text's bytes, one character each,
 * since decoding them would cost more and tell no more. `undefined` for NULL, which equals nothing, and for a value
 * that the stream left out.
 */
export const termKey = (relation: Relation, columnIndex: number, row: Tuple): string | undefined => {
  const length = row.cols[2 * columnIndex + 1]!
  if (length < 0) return undefined
  const start = row.cols[2 * columnIndex]!
  const end = start + length
  const form = normalForm(relation.columns[columnIndex]!.typeOid)
  return form === undefined
    ? row.bytes.toString("latin1", start, end)
    : row.bytes.toString("latin1", form.start(row.bytes, start, end), form.end(row.bytes, start, end))
}
