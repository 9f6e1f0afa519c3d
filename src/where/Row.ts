/**
 * The rows of one table as its clauses read them: columns by slot, each value decoded at most once per row, whatever the
 * number of clauses.
 */
import type { Relation } from "../domain/Relation.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"
import { type Tuple, UNCHANGED } from "../domain/WalMessage.ts"
import { baseTypeOf } from "./ExpressionType.ts"
import { type NormalForm, normalFormOf } from "./NormalForm.ts"
import { type Codec, UNSURE, type Value } from "./Value.ts"
import { codecOf } from "./values/Codecs.ts"

interface Slot {
  readonly name: string
  readonly type: SqlType
  readonly codec: Codec | undefined
  readonly form: NormalForm | undefined
}

/** The columns that a table's clauses read. Slots are never given back: a table has few columns. */
export class Slots {
  readonly all: Array<Slot> = []
  private readonly byName = new Map<string, number>()
  private readonly places = new WeakMap<Relation, Int32Array>()

  /** The slot of a column. A column that has got another type meanwhile is another one. */
  of(name: string, type: SqlType): number {
    const key = `${type.oid} ${name}`
    let slot = this.byName.get(key)
    if (slot === undefined) {
      slot = this.all.length
      this.all.push({ name, type, codec: codecOf(type), form: normalFormOf(type) })
      this.byName.set(key, slot)
    }
    return slot
  }

  /** Where each slot's column is in the tuples of a relation; -1 where it has none of that name. */
  columnsIn(relation: Relation): Int32Array {
    let columns = this.places.get(relation)
    if (columns === undefined || columns.length < this.all.length) {
      columns = Int32Array.from(this.all, ({ name }) => relation.columns.findIndex((column) => column.name === name))
      this.places.set(relation, columns)
    }
    return columns
  }
}

const NO_KEYS: ReadonlySet<string> = new Set()

/** Bytes become characters one by one: a key is compared, never read. */
const characters = "latin1"

/**
 * One row at a time. Values are those of the tuple it was last bound to; what an update left unchanged out of line
 * (TOAST) is taken from the old row, if that is there.
 */
export class Row {
  private readonly slots: Slots
  private tuple: Tuple | undefined = undefined
  private old: Tuple | undefined = undefined
  private columns: Int32Array = new Int32Array(0)
  private generation = 0
  private readonly values: Array<Value> = []
  /** The generation in which a slot's value was decoded. */
  private readonly decoded: Array<number> = []

  constructor(slots: Slots) {
    this.slots = slots
  }

  /** `columns` is `slots.columnsIn` of the tuple's relation. */
  bind(columns: Int32Array, tuple: Tuple, old: Tuple | undefined): void {
    this.columns = columns
    this.tuple = tuple
    this.old = old
    this.generation += 1
  }

  private source(column: number): Tuple {
    const tuple = this.tuple!
    return tuple.cols[2 * column + 1] === UNCHANGED && this.old ? this.old : tuple
  }

  /** Whether the column is NULL. */
  isNull(slot: number): boolean {
    const column = this.columns[slot]!
    return column < 0 || this.source(column).cols[2 * column + 1]! < 0
  }

  /** The column's text; `null` for NULL. */
  text(slot: number): string | null {
    const column = this.columns[slot]!
    if (column < 0) return null
    const { bytes, cols } = this.source(column)
    const length = cols[2 * column + 1]!
    if (length < 0) return null
    const start = cols[2 * column]!
    return bytes.toString("utf8", start, start + length)
  }

  /** The column's value; throws `UNSURE` for one that can't be read. */
  value(slot: number): Value {
    if (this.decoded[slot] === this.generation) return this.values[slot]!
    const text = this.text(slot)
    const codec = this.slots.all[slot]!.codec
    if (text !== null && codec === undefined) throw UNSURE
    const value = text === null ? null : codec!.decode(text)
    this.values[slot] = value
    this.decoded[slot] = this.generation
    return value
  }

  /**
   * The column's key: equal values of its type have equal keys. `undefined` for NULL. Meaningful only for types with a
   * normal form.
   */
  key(slot: number): string | undefined {
    const column = this.columns[slot]!
    if (column < 0) return undefined
    const { bytes, cols } = this.source(column)
    const length = cols[2 * column + 1]!
    if (length < 0) return undefined
    const start = cols[2 * column]!
    const end = start + length
    const form = this.slots.all[slot]!.form
    return form === undefined || form === "exact"
      ? bytes.toString(characters, start, end)
      : bytes.toString(characters, form.start(bytes, start, end), form.end(bytes, start, end))
  }

  /** The keys of an array's elements, NULLs left out; throws `UNSURE` for an array that can't be read. */
  elementKeys(slot: number): ReadonlySet<string> {
    const array = this.value(slot)
    const element = baseTypeOf(this.slots.all[slot]!.type).element
    const codec = element && codecOf(element)
    if (array === null) return NO_KEYS
    if (typeof array !== "object" || array._tag !== "Array" || !element || !codec) throw UNSURE
    const keys = new Set<string>()
    for (const value of array.elements) if (value !== null) keys.add(keyOf(element, codec.encode(value)))
    return keys
  }
}

/** The key of a constant of the type, as `Row.key` makes it. */
export const keyOf = (type: SqlType, text: string): string => {
  const bytes = Buffer.from(text)
  const form = normalFormOf(type)
  return form === undefined || form === "exact"
    ? bytes.toString(characters)
    : bytes.toString(characters, form.start(bytes, 0, bytes.length), form.end(bytes, 0, bytes.length))
}
