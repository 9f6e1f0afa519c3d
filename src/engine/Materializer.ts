/**
 * Keeps the set of values that an inner shape's rows have in its target columns (see SUBQUERIES.md): subscribes to the
 * shape's consumer, reads what the log has up to there, and follows what is appended (DESIGN D3).
 *
 * Inner shapes are plain and have `replica=full`, so every item of their log says which value its row had before and has
 * now; counts of values are all that is kept. They are stored with the log (`Checkpoint`), so that a start reads them
 * instead of the snapshot and the whole log.
 */
import { Cause, Effect, type Scope } from "effect"
import { ShapeGone, type SnapshotFailed, type StorageError } from "../domain/Errors.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import type { Lsn } from "../domain/Lsn.ts"
import type { Relation } from "../domain/Relation.ts"
import type { RowMessage, Tuple } from "../domain/WalMessage.ts"
import type { ShapeStorage } from "../storage/ShapeStorage.ts"
import type { IndexColumn } from "../where/Access.ts"
import { Row, Slots } from "../where/Row.ts"
import { Checkpoint, SLICE_COUNTS } from "./Checkpoint.ts"
import type { Committer } from "./Committer.ts"
import type { Appended, Fragment } from "./Consumer.ts"
import type { Consumers } from "./Consumers.ts"
import { type LogItem, LogItems } from "./LogItems.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"
import type { LogBody } from "./ShapeEngine.ts"
import type { ReadError, ShapeReader } from "./ShapeReader.ts"
import { addDelta, rowKey, type Texts, valueKey, ValueSet } from "./ValueSet.ts"

export interface Materializer {
  readonly entry: ShapeEntry
  readonly set: ValueSet
  /**
   * Completes when every transaction that has been appended so far is in the set: large ones are read from the log. Also
   * completes when the materializer has ended, or ends meanwhile.
   */
  readonly settled: Effect.Effect<void>
  /** Whether `settled` would complete at once. */
  readonly isSettled: () => boolean
  /** Calls the listener whenever it begins to read its log, so that `settled` has to be waited for; at once if it does. */
  readonly onReading: (listener: () => void) => void
  /**
   * The stream is at `tx` again: puts what the log has of transactions up to it, and was ahead, into the set. Whether
   * anything is ahead still.
   */
  readonly unsafeAdvance: (tx: Lsn) => boolean
  /**
   * Calls the listener once when it has ended, at once if it has: its inner shape was removed or its consumer ended, or
   * the log could not be read. Never for the engine's own stop, nor when its scope is closed.
   */
  readonly onEnd: (listener: (reason: string) => void) => void
}

/** What a materializer needs of the engine. */
export interface MaterializerContext {
  readonly consumers: Consumers
  readonly reader: ShapeReader
  readonly storage: ShapeStorage["Type"]
  readonly committer: Committer
  /** Most counts that a commit takes. */
  readonly sliceCounts?: number
}

export interface MaterializerOptions {
  /** The columns whose values make the set, as the inner shape's clause knows them. */
  readonly targets: ReadonlyArray<IndexColumn>
  /**
   * Where the stream is. What the log has of later transactions comes into the set by `unsafeAdvance`, when the stream
   * sends them again.
   */
  readonly from: Lsn
}

export type MaterializerError = ShapeGone | SnapshotFailed | StorageError

/** What a transaction changes of the counts. */
interface Deltas {
  readonly tx: Lsn
  readonly deltas: Map<string, number>
}

/** A stored count, or what was stored of all, that can't be right. */
class Inconsistent extends Error {
  readonly _tag = "Inconsistent"
}

/** Pieces of a log that are read in one turn of the event loop. */
const PIECES_PER_TURN = 4

/** The whole of everything that a transaction has in a log. */
const through = (tx: Lsn): LogOffset.LogOffset => LogOffset.make(tx, Infinity)

// --- What changes say of the targets ---

/** The changes of the stream. */
const changesOf = (targets: ReadonlyArray<IndexColumn>) => {
  const slots = new Slots()
  const numbers = targets.map(({ name, type }) => slots.of(name, type))
  const row = new Row(slots)

  const keyOf = (relation: Relation, tuple: Tuple, old: Tuple | undefined): string => {
    const columns = slots.columnsIn(relation)
    if (columns.includes(-1)) throw new Error(`${relation.schema}.${relation.name} lacks a column of a subquery`)
    row.bind(columns, tuple, old)
    return rowKey(row, numbers)
  }

  const oldKey = (message: RowMessage): string => {
    if (message._tag === "Insert" || !message.old || !message.oldIsFull) {
      const { name, schema } = message.relation
      throw new Error(`a change to ${schema}.${name} does not say what the row was: it lacks REPLICA IDENTITY FULL`)
    }
    return keyOf(message.relation, message.old, undefined)
  }

  return (fragment: Fragment): Map<string, number> => {
    const deltas = new Map<string, number>()
    for (let i = 0; i < fragment.changes.length; i++) {
      const action = fragment.actions[i]
      if (action === undefined || (fragment.encoded && fragment.encoded[i] === undefined)) continue
      const { message } = fragment.changes[i]!
      if (action !== "insert") addDelta(deltas, oldKey(message), -1)
      if (action !== "delete" && message._tag !== "Delete") {
        addDelta(deltas, keyOf(message.relation, message.row, message._tag === "Update" ? message.old : undefined), 1)
      }
    }
    return deltas
  }
}

/** The items of the log. Calls `count` for each row that has a value more, or one less. */
const itemsOf = (targets: ReadonlyArray<IndexColumn>) => {
  const names = targets.map(({ name }) => name)
  const types = targets.map(({ type }) => type)

  const textsOf = (row: LogItem["value"], over: LogItem["value"]): Texts =>
    names.map((name) => {
      const from = over && Object.hasOwn(over, name) ? over : row
      if (!from || !Object.hasOwn(from, name)) throw new Error(`the log of a subquery lacks its column ${name}`)
      return from[name]!
    })

  return (item: LogItem, count: (key: string, delta: 1 | -1) => void): void => {
    const { headers, old_value, value } = item
    switch (headers.operation) {
      case "insert":
        return count(valueKey(types, textsOf(value, undefined)), 1)
      case "delete":
        return count(valueKey(types, textsOf(value, undefined)), -1)
      case "update": {
        const before = valueKey(types, textsOf(value, old_value))
        const after = valueKey(types, textsOf(value, undefined))
        if (before === after) return
        count(before, -1)
        return count(after, 1)
      }
      default:
        // The mark that ends a snapshot is no row; of anything else it is not known what it does to the rows.
        if (headers.control === undefined) throw new Error("the log of a subquery has an item that is no row")
    }
  }
}

/** Completes once the snapshot can be read as a whole. */
const awaitSnapshot = (entry: ShapeEntry): Effect.Effect<ReadonlyArray<number>, ShapeGone | SnapshotFailed> =>
  Effect.suspend(() => {
    const { removed, snapshot } = entry
    if (snapshot._tag === "Failed") return Effect.fail(snapshot.error)
    if (removed) return Effect.fail(new ShapeGone({ handle: entry.handle }))
    if (snapshot._tag === "Complete") return Effect.succeed(snapshot.chunks)
    return Effect.zipRight(entry.awaitSnapshotProgress(), awaitSnapshot(entry))
  })

/**
 * Follows an inner shape until the scope is closed. Waits for its snapshot to be complete. Not to be waited for in the
 * stream's turn: it asks for a commit.
 */
export const make = Effect.fnUntraced(function*(
  entry: ShapeEntry,
  { from, targets }: MaterializerOptions,
  { committer, consumers, reader, sliceCounts = SLICE_COUNTS, storage }: MaterializerContext
): Effect.fn.Return<Materializer, MaterializerError, Scope.Scope> {
  const types = targets.map(({ type }) => type)
  const deltasOfFragment = changesOf(targets)
  const countItem = itemsOf(targets)
  const chunks = yield* awaitSnapshot(entry)

  /** The set has everything up to this transaction, or will once the stream is there again. */
  let position: Lsn = 0n
  /** What had been appended when it subscribed, and by now. */
  let start = LogOffset.snapshotEnd
  let reached = LogOffset.snapshotEnd
  /** Transactions that the log has and the stream has not got to, in order. */
  const ahead: Array<Deltas> = []
  /** The log is being read; what is appended meanwhile is read as well. */
  let reading = true
  const toRead = Effect.unsafeMakeLatch(false)
  const settled = Effect.unsafeMakeLatch(false)
  let closed = false
  let ended: string | undefined
  const listeners: Array<(reason: string) => void> = []
  let onReading: (() => void) | undefined

  const unsafeEnd = (reason: string) => {
    if (closed || ended !== undefined) return
    ended = reason
    for (const listener of listeners.splice(0)) listener(reason)
    settled.unsafeOpen()
  }
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      settled.unsafeOpen()
    })
  )

  // --- Subscription ---

  const subscriber = (appended: Appended): void => {
    if (closed || ended !== undefined) return
    reached = appended.end
    if (reading) return
    if (!appended.fragment) {
      reading = true
      settled.unsafeClose()
      toRead.unsafeOpen()
      onReading?.()
      return
    }
    try {
      unsafeApply({ tx: appended.end.tx, deltas: deltasOfFragment(appended.fragment) })
    } catch (cause) {
      unsafeEnd(`what was appended to it can't be counted: ${String(cause)}`)
    }
  }

  while (true) {
    const consumer = yield* consumers.get(entry)
    if (!consumer || entry.removed) return yield* new ShapeGone({ handle: entry.handle })
    const offset = yield* Effect.acquireRelease(
      consumer.subscribe(subscriber),
      () => consumer.unsubscribe(subscriber)
    )
    // One that was found idle before it had a subscriber is about to end.
    if (consumers.unsafeCurrent(entry) !== consumer) {
      yield* consumer.unsubscribe(subscriber)
      continue
    }
    reached = LogOffset.max(reached, offset)
    start = offset
    position = offset.tx
    yield* Effect.acquireRelease(
      Effect.sync(() => [
        entry.onRemoved(() => unsafeEnd("its shape was removed")),
        consumer.onEnd(() => {
          if (!consumers.isStopping()) unsafeEnd("its consumer ended")
        })
      ]),
      (takeBack) => Effect.sync(() => takeBack.forEach((one) => one()))
    )
    break
  }

  // --- Reading ---

  const eachItem = Effect.fnUntraced(function*(body: LogBody, take: (item: LogItem) => void) {
    const items = new LogItems()
    for (let pieces = 1;; pieces++) {
      const piece = yield* body.pull
      if (piece._tag === "None") break
      for (const item of items.push(piece.value)) take(item)
      if (pieces % PIECES_PER_TURN === 0) yield* Effect.sleep(0)
    }
    if (!items.isWhole) throw new Error("a log ends inside an item")
  })

  /** The transactions of the log in (`after`, `upTo`], each as a whole. */
  const eachTransaction = Effect.fnUntraced(function*(
    after: LogOffset.LogOffset,
    upTo: LogOffset.LogOffset,
    take: (transaction: Deltas) => void
  ): Effect.fn.Return<void, ReadError> {
    if (LogOffset.lessOrEqual(upTo, after)) return
    let lsn = ""
    let current: Deltas | undefined
    yield* eachItem(yield* reader.body(entry, after, upTo), (item) => {
      if (item.headers.lsn !== lsn || !current) {
        if (current) take(current)
        lsn = item.headers.lsn ?? ""
        current = { tx: BigInt(lsn), deltas: new Map() }
      }
      const { deltas } = current
      countItem(item, (key, delta) => addDelta(deltas, key, delta))
    })
    if (current) take(current)
  })

  /** The set as of `from`, by the snapshot and the log up to `upTo`. */
  const replayed = Effect.fnUntraced(function*(upTo: LogOffset.LogOffset) {
    const set = new ValueSet(types)
    for (let chunk = 0; chunk < chunks.length; chunk++) {
      const after = chunk === 0 ? LogOffset.beforeAll : LogOffset.snapshotChunk(chunk - 1)
      const { body } = yield* reader.read(entry, after)
      yield* eachItem(body, (item) => countItem(item, (key, delta) => set.seed(key, delta)))
    }
    yield* eachTransaction(LogOffset.snapshotEnd, upTo, (transaction) => {
      if (transaction.tx > from) ahead.push(transaction)
      else for (const [key, delta] of transaction.deltas) set.seed(key, delta)
    })
    return set
  })

  /** The same by the counts that are stored; `undefined` when they stand for nothing. Also which of them have changed. */
  const restored = Effect.fnUntraced(function*(upTo: LogOffset.LogOffset) {
    const at = yield* storage.countsAt(entry.id)
    if (at._tag === "None") return undefined
    const { offset, values } = at.value
    if (offset.tx > upTo.tx) throw new Inconsistent("its counts stand for more than the log has")
    const set = new ValueSet(types)
    for (let after: string | undefined, pages = 1;; pages++) {
      const page = yield* storage.counts(entry.id, after)
      if (page.length === 0) break
      for (const { count, value } of page) {
        if (set.count(value) > 0) throw new Inconsistent("a value was counted twice")
        set.seed(value, count)
      }
      after = page[page.length - 1]!.value
      if (pages % PIECES_PER_TURN === 0) yield* Effect.sleep(0)
    }
    if (set.size !== values) throw new Inconsistent(`${set.size} values were counted, of ${values}`)
    const changed = new Set<string>()
    // What is counted already of transactions that the stream has not got to is taken back, as a whole: on the way there
    // may be less than nothing.
    const early = new Map<string, number>()
    yield* eachTransaction(through(offset.tx < from ? offset.tx : from), upTo, (transaction) => {
      if (transaction.tx > from) ahead.push(transaction)
      for (const [key, delta] of transaction.deltas) {
        if (transaction.tx <= from) {
          set.seed(key, delta)
          changed.add(key)
        } else if (transaction.tx <= offset.tx) addDelta(early, key, -delta)
      }
    })
    for (const [key, delta] of early) set.seed(key, delta)
    return { set, changed }
  })

  const warn = (cause: unknown) =>
    Effect.logWarning("the counts of a subquery can't be used; its whole log is read", cause).pipe(
      Effect.annotateLogs({ module: "Materializer", shape: entry.handle }),
      Effect.as(undefined)
    )

  const restore = (upTo: LogOffset.LogOffset) =>
    restored(upTo).pipe(
      Effect.catchAllDefect((defect) => warn(defect)),
      Effect.catchTag("StorageError", warn),
      Effect.tap((found) =>
        Effect.sync(() => {
          if (!found) ahead.length = 0
        })
      )
    )

  // What another materializer of the shape may have left on its way to the store is there after this.
  yield* committer.flush
  const isMarked = yield* Effect.match(storage.countsAt(entry.id), {
    onFailure: () => true,
    onSuccess: (at) => at._tag === "Some"
  })
  const stored = yield* restore(start)
  const set = stored ? stored.set : yield* replayed(start)

  // --- Checkpoint ---

  const checkpoint = new Checkpoint({
    entry,
    set,
    storage,
    committer,
    sliceCounts,
    isRestored: stored !== undefined,
    isMarked,
    position: () => position,
    isCurrent: () => ahead.length === 0 && ended === undefined
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => checkpoint.close()))
  if (stored) checkpoint.unsafeMoved(stored.changed)

  // --- Following ---

  const current = Effect.unsafeMakeLatch(ahead.length === 0)

  const unsafeCount = ({ deltas, tx }: Deltas): void => {
    set.applyDeltas(tx, deltas)
    checkpoint.unsafeMoved(deltas.keys())
  }

  const unsafeAdvance = (tx: Lsn): boolean => {
    if (ahead.length === 0) return false
    let count = 0
    while (count < ahead.length && ahead[count]!.tx <= tx) unsafeCount(ahead[count++]!)
    ahead.splice(0, count)
    if (ahead.length > 0) return true
    current.unsafeOpen()
    return false
  }

  /** A transaction of the stream: what was ahead of it is no longer. */
  const unsafeApply = (transaction: Deltas): void => {
    unsafeAdvance(transaction.tx)
    position = transaction.tx
    unsafeCount(transaction)
  }

  /** In the turn in which nothing is left to read: what comes next is taken as it comes. */
  const unsafeFollow = () => {
    reading = false
    settled.unsafeOpen()
  }

  const catchUp = Effect.gen(function*() {
    yield* toRead.await
    toRead.unsafeClose()
    while (position < reached.tx) {
      const to = reached
      yield* eachTransaction(through(position), to, unsafeApply)
      position = to.tx
    }
    unsafeFollow()
  })
  if (position < reached.tx) toRead.unsafeOpen()
  else unsafeFollow()
  yield* Effect.forkScoped(
    Effect.forever(catchUp).pipe(
      Effect.catchAllCause((cause) =>
        Cause.isInterruptedOnly(cause) ? Effect.void : Effect.suspend(() => {
          const isGone = entry.removed
          unsafeEnd(isGone ? "its shape was removed" : "its log could not be read")
          return isGone ? Effect.void : Effect.logError("a materializer can't read its log", cause)
        })
      ),
      Effect.annotateLogs({ module: "Materializer", shape: entry.handle })
    )
  )
  yield* Effect.forkScoped(
    Effect.zipRight(current.await, checkpoint.clear).pipe(
      Effect.catchAll((error) =>
        Effect.zipRight(
          Effect.logWarning("the counts of a subquery are not stored: what was there could not be read", error),
          Effect.sync(() => checkpoint.unsafeGiveUp())
        )
      ),
      Effect.annotateLogs({ module: "Materializer", shape: entry.handle })
    )
  )

  return {
    entry,
    set,
    settled: settled.await,
    isSettled: () => !reading || closed || ended !== undefined,
    onReading: (listener) => {
      onReading = listener
      if (reading) listener()
    },
    unsafeAdvance,
    onEnd: (listener) => {
      if (ended !== undefined) listener(ended)
      else listeners.push(listener)
    }
  }
})
