/**
 * Row changes on their way from the collector to the consumers, and their encodings, which all shapes of a projection
 * share (D5).
 */
import * as ItemEncoder from "../domain/ItemEncoder.ts"
import type { Lsn } from "../domain/Lsn.ts"
import { bind, type Binding, type Projection } from "../domain/Projection.ts"
import type { Relation } from "../domain/Relation.ts"
import type { RowMessage } from "../domain/WalMessage.ts"

/** A transaction of the stream. One object stands for it everywhere, so identity tells transactions apart. */
export interface Transaction {
  readonly lsn: Lsn
  /** `lsn` in decimal, as items print it. */
  readonly lsnText: string
  /** 32-bit transaction id. */
  readonly xid: number
}

/** What a change means for one shape: by its where clause an update may bring a row into the shape or take it out. */
export type Action = "insert" | "update" | "delete"

/** A change's items for one projection: one, or two for a change of the key. */
export interface EncodedChange {
  /** Operation number of the first item. */
  readonly op: number
  readonly items: ReadonlyArray<ItemEncoder.EncodedItem>
}

/** One row change of a transaction. */
export class RowChange {
  readonly message: RowMessage
  readonly transaction: Transaction
  /** Operation number in the transaction: the changes of all tables count, in steps of 2. */
  readonly op: number
  private projection: Projection | undefined = undefined
  private action: Action | undefined = undefined
  private encoded: EncodedChange | undefined = undefined
  private others: Map<Projection, Map<Action, EncodedChange | undefined>> | undefined = undefined

  constructor(message: RowMessage, transaction: Transaction, op: number) {
    this.message = message
    this.transaction = transaction
    this.op = op
  }

  /**
   * The change as the items of a projection; `undefined` when it shows in none of its columns. Encoded at the first
   * call for a projection and action, and shared from then on.
   */
  encode(projection: Projection, action: Action): EncodedChange | undefined {
    if (this.projection === projection && this.action === action) return this.encoded
    const known = this.others?.get(projection)
    if (known?.has(action)) return known.get(action)
    const encoded = encode(this, projection, action)
    if (this.projection === undefined) {
      this.projection = projection
      this.action = action
      this.encoded = encoded
    } else {
      this.others ??= new Map()
      if (known) known.set(action, encoded)
      else this.others.set(projection, new Map([[action, encoded]]))
    }
    return encoded
  }
}

const bindings = new WeakMap<Relation, Map<Projection, Binding>>()
let lastRelation: Relation | undefined
let lastProjection: Projection | undefined
let lastBinding: Binding | undefined

/**
 * Where a projection's columns are in a relation's tuples. Throws when one is missing: such a shape has been removed
 * before.
 */
const bindingOf = (projection: Projection, relation: Relation): Binding => {
  if (relation === lastRelation && projection === lastProjection && lastBinding) return lastBinding
  let ofRelation = bindings.get(relation)
  if (!ofRelation) bindings.set(relation, ofRelation = new Map())
  let binding = ofRelation.get(projection)
  if (!binding) {
    binding = bind(projection, relation)
    if (!binding) throw new Error(`${relation.schema}.${relation.name} lacks a column of a shape that follows it`)
    ofRelation.set(projection, binding)
  }
  lastRelation = relation
  lastProjection = projection
  lastBinding = binding
  return binding
}

let encoded = 0

/**
 * How often a change has been made into items in this process: once per change and projection, however many shapes it
 * concerns (D5).
 */
export const encodings = (): number => encoded

const one = (op: number, item: ItemEncoder.EncodedItem): EncodedChange => ({ op, items: [item] })

const encode = (
  { message, op, transaction }: RowChange,
  projection: Projection,
  action: Action
): EncodedChange | undefined => {
  encoded += 1
  const binding = bindingOf(projection, message.relation)
  const position = { lsn: transaction.lsnText, op, xid: transaction.xid }
  switch (message._tag) {
    case "Insert":
      return one(op, ItemEncoder.insert(binding, message.row, position))
    case "Delete":
      return one(op, ItemEncoder.remove(binding, message.old, position))
    case "Update": {
      const { old, row } = message
      if (action === "insert") return one(op, ItemEncoder.insert(binding, row, position, old))
      if (action === "delete") return old ? one(op, ItemEncoder.remove(binding, old, position)) : undefined
      if (old && ItemEncoder.keyChanged(binding, old, row)) {
        const { insert, remove } = ItemEncoder.changeKey(binding, old, row, position)
        return { op, items: [remove, insert] }
      }
      const item = ItemEncoder.update(binding, old, row, position)
      return item ? one(op, item) : undefined
    }
  }
}
