/**
 * Whether a row meets the terms that a clause is found by: what the index on clauses does with hashes and intervals, one
 * by one.
 */
import { type Access, NULL_KEY, type Term } from "../../src/where/Access.ts"
import { placeOf } from "../../src/where/Bounds.ts"
import type { Row, Slots } from "../../src/where/Row.ts"
import { UNSURE, type Value } from "../../src/where/Value.ts"

/** Throws `UNSURE` when a value can't be read. */
const meetsTerm = (term: Term, row: Row, slots: Slots): boolean => {
  switch (term._tag) {
    case "Equal":
      return term.columns.every(({ name, type }, i) => (row.key(slots.of(name, type)) ?? NULL_KEY) === term.keys[i])
    case "Element":
      return row.elementKeys(slots.of(term.column.name, term.column.type)).has(term.key)
    case "Within": {
      const value: Value = row.value(slots.of(term.column.name, term.column.type))
      const place = value === null ? undefined : placeOf(value)
      const { high, low } = term.bounds
      return place !== undefined && (low === undefined || place >= low) && (high === undefined || place <= high)
    }
  }
}

/** Whether one of the terms is met; `undefined` when that can't be told. */
export const meets = (access: Access, row: Row, slots: Slots): boolean | undefined => {
  let unsure = access.terms === undefined
  for (const term of access.terms ?? []) {
    try {
      if (meetsTerm(term, row, slots)) return true
    } catch (cause) {
      if (cause !== UNSURE) throw cause
      unsure = true
    }
  }
  return unsure ? undefined : false
}

/** Makes the slots of all columns that the terms name: a row must be bound after that. */
export const prepare = (access: Access, slots: Slots): void => {
  for (const term of access.terms ?? []) {
    for (const { name, type } of term._tag === "Equal" ? term.columns : [term.column]) slots.of(name, type)
  }
}
