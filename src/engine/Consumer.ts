/**
 * A consumer: the scoped fiber that writes one shape's log (DESIGN D1, D3).
 *
 * It acquires, in this order, the buffer, its entry in the registry, and the flush; so however it ends, the scope's
 * finalizers flush, then clear the registry `Ref`, then release the buffer. What readers no longer find in the registry
 * or in the buffer is therefore in the store.
 *
 * The collector gives it the parts of transactions that concern its shape, in WAL order; it drops what its snapshot or
 * its log has already, encodes the rest and appends it. A transaction becomes visible as a whole, with its commit. That is
 * plain code, which runs in the turn of the offer (D10): a turn of the fiber for each piece would take longer than the
 * work. The fiber is the consumer's life: it takes up what came before it ran, and what it fails with it ends by.
 */
import { Effect, HashMap, Option, Ref, type Scope } from "effect"
import type { StorageError } from "../domain/Errors.ts"
import type { EncodedItem } from "../domain/ItemEncoder.ts"
import * as LogBlock from "../domain/LogBlock.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import { sees, type SnapshotMarks } from "../domain/PgSnapshot.ts"
import type { ShapeStorage } from "../storage/ShapeStorage.ts"
import type { Action, EncodedChange, RowChange, Transaction } from "./Changes.ts"
import type { CommitSource, Committer } from "./Committer.ts"
import { LogWriter } from "./LogWriter.ts"
import type { MemoryBudget } from "./MemoryBudget.ts"
import * as ShapeBuffer from "./ShapeBuffer.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"

export interface Further {
  readonly op: number
  readonly items: ReadonlyArray<EncodedItem>
  /** To clients they are changes like others. */
  readonly areChanges: boolean
}

/** What a transaction, or the part of it that one batch of the stream brought, does to a shape. */
export interface Fragment {
  readonly transaction: Transaction
  readonly changes: ReadonlyArray<RowChange>
  /** What each change means for this shape: nothing, if `undefined`. */
  readonly actions: ReadonlyArray<Action | undefined>
  /** What each change is written as, if not as what all shapes of the projection share. */
  readonly encoded?: ReadonlyArray<EncodedChange | undefined>
  /** What the transaction has led to beside its changes; numbered on from `op`. */
  readonly further?: Further
  /**
   * Why the log can't go on with it, if so: the table was emptied, or the stream does not say enough. The shape is
   * rotated.
   */
  readonly broken: string | undefined
  /** The transaction ends with this fragment. */
  readonly commit: boolean
}

export type Work =
  | { readonly _tag: "Fragments"; readonly fragments: ReadonlyArray<Fragment>; readonly bytes: number }
  /** The shape's snapshot was taken: from now on transactions can be told apart. */
  | { readonly _tag: "SnapshotTaken"; readonly marks: SnapshotMarks }
  /** The connection was lost inside a transaction, which will be sent again from its beginning. */
  | { readonly _tag: "Abort" }

/** A committed transaction as a subscriber of a shape sees it. */
export interface Appended {
  /** Its entries are those of the shape's log in (`after`, `end`]. */
  readonly after: LogOffset.LogOffset
  readonly end: LogOffset.LogOffset
  /**
   * Its changes if they are all there is and came in one piece; of another transaction everything is in the log alone,
   * because it is not held in memory (D11).
   */
  readonly fragment: Fragment | undefined
}

/**
 * Called in the consumer's turn, in order, once per transaction, after its entries can be read. Must not throw or wait.
 */
export type Subscriber = (appended: Appended) => void

export interface ConsumerState {
  /** Offset of the last committed transaction's last entry. */
  readonly offset: LogOffset.LogOffset
  readonly subscribers: ReadonlyArray<Subscriber>
}

export interface Consumer {
  readonly entry: ShapeEntry
  readonly buffer: ShapeBuffer.ShapeBuffer
  /**
   * Adds a subscriber and returns the offset of the last committed transaction, in one atomic step: everything up to
   * that offset is to be read from the log, everything after it is delivered, nothing twice and nothing never (D3).
   */
  readonly subscribe: (subscriber: Subscriber) => Effect.Effect<LogOffset.LogOffset>
  readonly unsubscribe: (subscriber: Subscriber) => Effect.Effect<void>
  /**
   * Calls the listener once when the consumer has ended, however it did, and its subscribers are told nothing any more:
   * at once if it has. Returns what takes the listener back.
   */
  readonly onEnd: (listener: () => void) => () => void
  /** Queues work; `done` is called exactly once: when it was done, or will never be. */
  readonly unsafeOffer: (work: Work, done: () => void) => void
  /** Something is queued or half done: it would be lost to the log if the consumer ended now. */
  readonly hasWork: () => boolean
  /** Nothing is queued, half done or not yet stored, and nobody has subscribed: it may end and nobody would notice. */
  readonly isIdle: () => boolean
  /** Clock time of the last work, in milliseconds. */
  readonly lastActive: () => number
}

/** Consumers by handle: the one place where a reader finds a shape's buffer. */
export type Registry = Ref.Ref<HashMap.HashMap<string, Consumer>>

/** What a consumer needs of the engine. */
export interface ConsumerContext {
  readonly registry: Registry
  readonly committer: Committer
  readonly storage: ShapeStorage["Type"]
  readonly budget: MemoryBudget
  /** Bytes after which a chunk of the log is closed. */
  readonly chunkBytes: number
  /** Clock time in milliseconds. */
  readonly now: () => number
  /** How long a consumer that ends waits for its entries to be stored, in milliseconds. */
  readonly flushMillis: number
  /** The shape's log can't be continued: removes the shape, in this turn. */
  readonly unsafeRotate: (entry: ShapeEntry, reason: string) => void
}

interface Queued {
  readonly work: Work
  readonly done: () => void
}

/** The last stored block of a shape's log: small ones are stored anew with what follows. */
const lastBlock = Effect.fnUntraced(function*(entry: ShapeEntry, storage: ShapeStorage["Type"]) {
  const { end } = entry.head
  if (end.tx === 0n) return undefined
  const before = end.op > 0 ? LogOffset.make(end.tx, end.op - 1) : LogOffset.make(end.tx - 1n, Infinity)
  return Option.getOrUndefined(Option.map(yield* storage.logBlock(entry.id, before), LogBlock.decode))
})

/**
 * Acquires a consumer in the scope, in the order of D1, and returns it with the loop that is its fiber. The loop ends
 * only by failing or being interrupted; a failure means that the shape's log can't be continued.
 */
export const acquire = Effect.fnUntraced(function*(
  entry: ShapeEntry,
  context: ConsumerContext
): Effect.fn.Return<{ readonly consumer: Consumer; readonly loop: Effect.Effect<never> }, StorageError, Scope.Scope> {
  const { budget, committer, registry } = context
  const tail = yield* lastBlock(entry, context.storage)

  // --- Buffer: acquired first, released last ---
  const buffer = yield* Effect.acquireRelease(
    Effect.sync(() => ShapeBuffer.make(entry.handle, entry.head.end)),
    (buffer) => buffer.release
  )

  const state = yield* Ref.make<ConsumerState>({ offset: entry.head.end, subscribers: [] })
  const arrived = Effect.unsafeMakeLatch(false)
  const queue: Array<Queued> = []
  let closed = false
  const endings = new Set<() => void>()
  const writer = new LogWriter(entry, context.chunkBytes, tail)
  /** Work that came before the snapshot was taken. */
  let early: Array<Work> | undefined = entry.snapshot._tag === "Waiting" && !entry.joined ? [] : undefined
  let open:
    | { readonly transaction: Transaction; readonly skip: boolean; readonly first: Fragment }
    | undefined
  let offset = entry.head.end
  let pendingBytes = 0
  let lastActive = context.now()
  /** The fiber runs, and takes up what is offered. */
  let taking = false
  /** What work that was done in the turn of its offer has failed with. */
  let defect: unknown

  const source: CommitSource = {
    unsafeCut: () => {
      const bytes = pendingBytes
      pendingBytes = 0
      const cut = entry.removed ? undefined : writer.cut()
      if (!cut) {
        budget.release(bytes)
        return undefined
      }
      return {
        ops: cut.ops,
        unfinished: cut.unfinished,
        done: () => {
          budget.release(bytes)
          const stored = cut.aborts === writer.aborts ? cut.stored : cut.storedVisible
          entry.head = cut.head
          entry.pendingChunkEnds = entry.pendingChunkEnds.filter((end) => LogOffset.lessThan(stored, end))
          buffer.unsafeFlushed(stored)
        }
      }
    }
  }

  const skips = (transaction: Transaction): boolean => {
    if (transaction.lsn === entry.skipTransaction || transaction.lsn <= offset.tx) return true
    const filter = entry.filter
    if (!filter) return false
    if (transaction.lsn < filter.lsn) return sees(filter, transaction.xid)
    entry.filter = undefined
    return false
  }

  /** Writes one fragment; returns its transaction if it ends here and did something to the shape. */
  const write = (fragment: Fragment): Appended | undefined => {
    const { transaction } = fragment
    if (open?.transaction !== transaction) {
      open = { transaction, skip: skips(transaction), first: fragment }
      if (!open.skip) writer.begin()
    }
    if (!open.skip) {
      const { actions, changes, further } = fragment
      if (fragment.broken !== undefined) {
        context.unsafeRotate(entry, fragment.broken)
        return undefined
      }
      for (let i = 0; i < changes.length; i++) {
        const action = actions[i]
        const encoded = fragment.encoded
          ? fragment.encoded[i]
          : action && changes[i]!.encode(entry.projection, action)
        if (encoded) writer.write(encoded, transaction.lsn)
      }
      for (const [i, item] of (further?.items ?? []).entries()) {
        writer.writeFurther(item, transaction.lsn, further!.op + i, further!.areChanges)
      }
    }
    if (!fragment.commit) return undefined
    const { first, skip } = open
    open = undefined
    const after = writer.end
    return skip || !writer.commit()
      ? undefined
      : { after, end: writer.end, fragment: first === fragment && !fragment.further ? fragment : undefined }
  }

  /** Makes what was written visible: in the buffer, then in the state, and only then to those who wait for it (I8). */
  const publish = (transactions: ReadonlyArray<Appended>): void => {
    const blocks = writer.take()
    if (blocks.length > 0) {
      let bytes = 0
      for (const { block } of blocks) bytes += LogBlock.encodedBytes(block)
      pendingBytes += bytes
      budget.add(bytes)
    }
    if (blocks.length === 0 && transactions.length === 0) return
    buffer.unsafeAppend(blocks, writer.end)
    committer.unsafeDirty(source)
    if (transactions.length === 0) return
    offset = writer.end
    const subscribers = Effect.runSync(
      Ref.modify(state, (current) => [current.subscribers, { ...current, offset: writer.end }])
    )
    for (const transaction of transactions) for (const subscriber of subscribers) subscriber(transaction)
    entry.wake(offset)
  }

  const writeAll = (fragments: ReadonlyArray<Fragment>): void => {
    const transactions: Array<Appended> = []
    for (const fragment of fragments) {
      const transaction = write(fragment)
      if (transaction) transactions.push(transaction)
    }
    publish(transactions)
  }

  const abort = () => {
    if (open && !open.skip) {
      buffer.unsafeAbort()
      if (writer.abort()) committer.unsafeEnqueue([{ _tag: "TruncateLog", shape: entry.id, after: offset }])
      entry.pendingChunkEnds = entry.pendingChunkEnds.filter((end) => LogOffset.lessOrEqual(end, offset))
    }
    open = undefined
  }

  const handle = (work: Work): void => {
    if (entry.removed) return
    if (early && work._tag !== "SnapshotTaken") {
      // The bytes stay counted until the work is done.
      if (work._tag === "Fragments") budget.add(work.bytes)
      early.push(work)
      return
    }
    switch (work._tag) {
      case "Fragments":
        return writeAll(work.fragments)
      case "Abort":
        return abort()
      case "SnapshotTaken": {
        entry.filter = work.marks
        entry.joined = true
        const before = early ?? []
        early = undefined
        for (const earlier of before) if (earlier._tag === "Fragments") budget.release(earlier.bytes)
        for (const earlier of before) handle(earlier)
      }
    }
  }

  /**
   * Does work in the turn of whoever offers it: a fiber's turn for each piece would take longer than the work. False if it
   * can't be done: the consumer's fiber then fails with it.
   */
  const unsafeHandle = (work: Work): boolean => {
    try {
      handle(work)
      return true
    } catch (cause) {
      defect = cause
      return false
    }
  }

  const finish = ({ done, work }: Queued) => {
    if (work._tag === "Fragments") budget.release(work.bytes)
    done()
  }

  const consumer: Consumer = {
    entry,
    buffer,
    subscribe: (subscriber) =>
      Ref.modify(
        state,
        (current) => [current.offset, { ...current, subscribers: [...current.subscribers, subscriber] }]
      ),
    unsubscribe: (subscriber) =>
      Ref.update(
        state,
        (current) => ({ ...current, subscribers: current.subscribers.filter((other) => other !== subscriber) })
      ),
    onEnd: (listener) => {
      if (closed) listener()
      else endings.add(listener)
      return () => endings.delete(listener)
    },
    unsafeOffer: (work, done) => {
      if (closed) return done()
      if (work._tag === "Fragments") budget.add(work.bytes)
      lastActive = context.now()
      if (queue.length === 0 && taking && unsafeHandle(work)) return finish({ work, done })
      queue.push({ work, done })
      arrived.unsafeOpen()
    },
    hasWork: () => queue.length > 0 || open !== undefined || early !== undefined,
    isIdle: () =>
      queue.length === 0 && !open && !early && pendingBytes === 0 && !writer.hasPending && buffer.isStored() &&
      Effect.runSync(Ref.get(state)).subscribers.length === 0,
    lastActive: () => lastActive
  }

  // --- Work that will never be done is settled as done: nobody may wait for a consumer that has ended ---
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      for (const queued of queue.splice(0)) finish(queued)
      for (const work of early ?? []) if (work._tag === "Fragments") budget.release(work.bytes)
      early = undefined
      // A commit may still take what is pending.
      budget.release(pendingBytes)
      pendingBytes = 0
      for (const listener of endings) listener()
      endings.clear()
    })
  )

  // --- Registry entry: cleared after the flush, before the buffer is released ---
  yield* Effect.acquireRelease(
    Ref.update(registry, HashMap.set(entry.handle, consumer)),
    () =>
      Ref.update(
        registry,
        (consumers) =>
          Option.contains(HashMap.get(consumers, entry.handle), consumer)
            ? HashMap.remove(consumers, entry.handle)
            : consumers
      )
  )

  // --- Flush: acquired last, runs first ---
  const flush = Effect.suspend(() => committer.flush).pipe(
    // A finalizer can't be interrupted, nor what runs in it: without this the time limit would be waited past.
    Effect.interruptible,
    Effect.timeoutOption(context.flushMillis),
    Effect.flatMap(Option.match({
      onNone: () =>
        Effect.logError("a shape's last entries could not be stored in time; Postgres will send them again"),
      onSome: () => Effect.void
    })),
    Effect.annotateLogs({ module: "Consumer", shape: entry.handle })
  )
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      taking = false
      abort()
      return entry.removed || (pendingBytes === 0 && !writer.hasPending && buffer.isStored()) ? Effect.void : flush
    })
  )

  // What has been taken up is carried through: interruption finds the consumer between two pieces of work.
  const drain = Effect.uninterruptible(Effect.whileLoop({
    while: () => queue.length > 0,
    body: () => defect === undefined ? Effect.sync(() => handle(queue[0]!.work)) : Effect.die(defect),
    step: () => finish(queue.shift()!)
  }))
  const loop = Effect.suspend(() => {
    taking = true
    return Effect.forever(Effect.flatMap(arrived.await, () => {
      arrived.unsafeClose()
      return drain
    }))
  })
  return { consumer, loop }
})
