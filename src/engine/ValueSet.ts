/**
 * The values that a subquery has, as of any position that somebody may still ask for. A multiset: a value is in it as
 * long as some row has it. Plain code (DESIGN D10).
 *
 * Values are known by their keys: of one column the key of its text, of several theirs joined. Equal values have equal keys.
 * What a value costs is its key and a place in one map; only values that have entered or left lately have a history.
 */
import type { Lsn } from "../domain/Lsn.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"
import { NULL_KEY, SEPARATOR } from "../where/Access.ts"
import { keyOf, type Row } from "../where/Row.ts"

export { SEPARATOR }

/** The texts of one or several columns; `null` for NULL. */
export type Texts = ReadonlyArray<string | null>

/** The key of a value. */
export const valueKey = (types: ReadonlyArray<SqlType>, texts: Texts): string => {
  const keys: Array<string> = []
  for (let i = 0; i < types.length; i++) {
    const text = texts[i]!
    keys.push(text === null ? NULL_KEY : keyOf(types[i]!, text))
  }
  return keys.length === 1 ? keys[0]! : keys.join(SEPARATOR)
}

/** The same of the row's columns in these slots: what `link IN (…)` is looked up by. */
export const rowKey = (row: Row, slots: ReadonlyArray<number>): string => {
  let key = row.key(slots[0]!) ?? NULL_KEY
  for (let i = 1; i < slots.length; i++) key += SEPARATOR + (row.key(slots[i]!) ?? NULL_KEY)
  return key
}

/** Whether a column of the value is NULL. */
export const keyHasNull = (key: string): boolean => key.includes(NULL_KEY)

/** Texts of a value with this key: of `1.50` and `1.5`, which are one value, the shortest. */
export const textsOf = (key: string): Texts =>
  key.split(SEPARATOR).map((part) => part === NULL_KEY ? null : Buffer.from(part, "latin1").toString("utf8"))

/** A value that a transaction has brought into the set, or taken out of it. */
export interface Transition {
  readonly key: string
  /** See `textsOf`. */
  readonly texts: Texts
  /** In the set after the transaction. */
  readonly present: boolean
}

class Moved implements Transition {
  readonly key: string
  readonly present: boolean

  constructor(key: string, present: boolean) {
    this.key = key
    this.present = present
  }

  /** Not kept: most are never asked for, or once. */
  get texts(): Texts {
    return textsOf(this.key)
  }
}

/** What a transaction has done to the set, and how large the set was then. */
interface Step {
  readonly tx: Lsn
  readonly transitions: ReadonlyArray<Transition>
  readonly size: number
  /** Values with a NULL among them. */
  readonly nulls: number
}

const NONE: ReadonlyArray<Transition> = []

export class ValueSet {
  readonly types: ReadonlyArray<SqlType>
  /** Called with what a transaction has brought in or taken out, when that is something. */
  onMoved: ((tx: Lsn, transitions: ReadonlyArray<Transition>) => void) | undefined = undefined
  /** How many rows have each value: none has 0. */
  private readonly counts = new Map<string, number>()
  private nulls = 0
  /** The last transactions that changed the set, in order. */
  private steps: Array<Step> = []
  /** The transactions among `steps` that a value entered or left by, in order: it did so in turns. */
  private readonly history = new Map<string, Array<Lsn>>()
  /** What was before the first of `steps`. */
  private before = { size: 0, nulls: 0 }
  /** The last transaction that changed the set: as of it, and later, the set is `counts`. */
  private newest: Lsn = -1n

  constructor(types: ReadonlyArray<SqlType>) {
    this.types = types
  }

  /** How many values are in the set now. */
  get size(): number {
    return this.counts.size
  }

  /** The keys of the values that are in the set now. */
  values(): IterableIterator<string> {
    return this.counts.keys()
  }

  /** How many rows have the value now. */
  count(key: string): number {
    return this.counts.get(key) ?? 0
  }

  /**
   * Counts rows that were there before everything that is asked for: no history is kept of them. Only before the first
   * transaction is applied.
   */
  seed(key: string, delta: number): void {
    if (this.steps.length > 0) throw new Error("a value set was seeded after its first transaction")
    this.add(key, delta)
    this.before = { size: this.counts.size, nulls: this.nulls }
  }

  /**
   * Applies one transaction's changes; opposite ones cancel (H171). Returns what entered or left, and keeps it until
   * `forget`. Transactions come in their order.
   */
  apply(tx: Lsn, changes: Iterable<{ readonly texts: Texts; readonly delta: 1 | -1 }>): ReadonlyArray<Transition> {
    const deltas = new Map<string, number>()
    for (const { delta, texts } of changes) addDelta(deltas, valueKey(this.types, texts), delta)
    return this.applyDeltas(tx, deltas)
  }

  /** The same, of changes that have been summed up by key. */
  applyDeltas(tx: Lsn, deltas: ReadonlyMap<string, number>): ReadonlyArray<Transition> {
    const last = this.steps[this.steps.length - 1]
    if (last !== undefined && tx <= last.tx) throw new Error(`a value set is at ${last.tx} and was given ${tx}`)
    const transitions: Array<Transition> = []
    for (const [key, delta] of deltas) {
      const entered = this.add(key, delta)
      if (entered === undefined) continue
      transitions.push(new Moved(key, entered))
      const moves = this.history.get(key)
      if (moves === undefined) this.history.set(key, [tx])
      else moves.push(tx)
    }
    if (transitions.length === 0) return NONE
    this.steps.push({ tx, transitions, size: this.counts.size, nulls: this.nulls })
    this.newest = tx
    this.onMoved?.(tx, transitions)
    return transitions
  }

  /** Counts `delta` more rows. Whether the value has entered the set (`true`), left it (`false`), or neither. */
  private add(key: string, delta: number): boolean | undefined {
    if (delta === 0) return undefined
    const had = this.counts.get(key)
    const count = (had ?? 0) + delta
    if (count < 0) throw new Error(`a value set has ${count} rows of a value`)
    if (count > 0) this.counts.set(key, count)
    else this.counts.delete(key)
    if ((had !== undefined) === (count > 0)) return undefined
    if (keyHasNull(key)) this.nulls += count > 0 ? 1 : -1
    return count > 0
  }

  /** Whether the value is in the set as of `at`: after all transactions up to and including it. */
  has(key: string, at: Lsn): boolean {
    const now = this.counts.has(key)
    if (at >= this.newest) return now
    const moves = this.history.get(key)
    if (moves === undefined) return now
    let later = 0
    while (later < moves.length && moves[moves.length - 1 - later]! > at) later++
    return (later % 2 === 0) === now
  }

  /**
   * What `link IN (set)` is as of `at`, of a link with this key; with `exists`, what `EXISTS (… = link)` is: never
   * unknown. Exact for one column. Of several columns it is unknown where a NULL is involved and the value is not found,
   * also when other columns differ.
   */
  test(key: string, hasNull: boolean, nulls: "in" | "exists", at: Lsn): boolean | null {
    if (nulls === "exists") return !hasNull && this.has(key, at)
    if (hasNull) return this.isEmpty(at) ? false : null
    if (this.has(key, at)) return true
    return this.hasNulls(at) ? null : false
  }

  isEmpty(at: Lsn): boolean {
    return (at >= this.newest ? this.counts.size : this.at(at).size) === 0
  }

  /** Whether a value with a NULL is in the set. */
  hasNulls(at: Lsn): boolean {
    return (at >= this.newest ? this.nulls : this.at(at).nulls) > 0
  }

  /** What the set was like as of a position. */
  private at(at: Lsn): { readonly size: number; readonly nulls: number } {
    return this.steps[this.firstAfter(at) - 1] ?? this.before
  }

  /** Number of the first step after a position; how many steps there are when there is none. */
  private firstAfter(at: Lsn): number {
    let low = 0
    let high = this.steps.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.steps[middle]!.tx > at) high = middle
      else low = middle + 1
    }
    return low
  }

  /** What entered or left by a transaction. */
  transitions(tx: Lsn): ReadonlyArray<Transition> {
    const step = this.steps[this.firstAfter(tx) - 1]
    return step?.tx === tx ? step.transitions : NONE
  }

  /**
   * What any transaction in (`after`, `upTo`] has brought in or taken out, each value by the last of them: also what is
   * again as it was before.
   */
  transitionsBetween(after: Lsn, upTo: Lsn): ReadonlyArray<Transition> {
    const from = this.firstAfter(after)
    const to = this.firstAfter(upTo)
    if (to - from <= 1) return to > from ? this.steps[from]!.transitions : NONE
    const moved = new Map<string, Transition>()
    for (let i = from; i < to; i++) {
      for (const transition of this.steps[i]!.transitions) moved.set(transition.key, transition)
    }
    return [...moved.values()]
  }

  /**
   * Nobody asks for positions before `before` any more. Returns the values that are gone for good by that: absent, and
   * without history.
   */
  forget(before: Lsn): ReadonlyArray<string> {
    const count = this.firstAfter(before)
    if (count === 0) return []
    const gone: Array<string> = []
    for (let i = 0; i < count; i++) {
      for (const { key } of this.steps[i]!.transitions) {
        const moves = this.history.get(key)!
        if (moves.length > 1) {
          moves.shift()
          continue
        }
        this.history.delete(key)
        if (!this.counts.has(key)) gone.push(key)
      }
    }
    const { nulls, size } = this.steps[count - 1]!
    this.before = { nulls, size }
    this.steps = this.steps.slice(count)
    return gone
  }
}

/** Sums a change up with what there is of its key; what cancels leaves nothing. */
export const addDelta = (deltas: Map<string, number>, key: string, delta: number): void => {
  const sum = (deltas.get(key) ?? 0) + delta
  if (sum === 0) deltas.delete(key)
  else deltas.set(key, sum)
}
