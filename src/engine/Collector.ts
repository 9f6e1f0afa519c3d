/**
 * Follows the replication stream, in WAL order and one batch at a time: numbers the operations of each transaction,
 * routes every change to the shapes that it concerns, hands each consumer its part, waits for all of them, and only
 * then says that the engine has got there. A batch is what one read of the socket completed; a transaction may span
 * many batches, and a batch hold many transactions.
 *
 * After a lost connection the stream is followed again from the last whole transaction; what had come of an unfinished
 * one is dropped. A transaction that comes twice is dropped (I4).
 */
import { Effect } from "effect"
import * as Lsn from "../domain/Lsn.ts"
import type { SnapshotMarks } from "../domain/PgSnapshot.ts"
import type { Relation } from "../domain/Relation.ts"
import type { RowMessage, WalMessage } from "../domain/WalMessage.ts"
import { type Action, RowChange, type Transaction } from "./Changes.ts"
import type { Committer } from "./Committer.ts"
import type { Fragment, Work } from "./Consumer.ts"
import type { Consumers } from "./Consumers.ts"
import type { MemoryBudget } from "./MemoryBudget.ts"
import type { OpenVerdict } from "./OpenVerdicts.ts"
import type { Listener, Router } from "./Router.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"

/** Shapes that take a transaction as a whole, and after all others. */
export interface DeferredShapes {
  /** Whether changes of one of these tables have to be told. */
  readonly follows: (tables: ReadonlyArray<number>) => boolean
  /** A change, of these tables; of a transaction that has not been seen before. */
  readonly unsafeTake: (tables: ReadonlyArray<number>, change: RowChange) => void
  readonly unsafeTruncate: (tables: ReadonlyArray<number>) => void
  /** The transaction ends; `op` is the number of the first operation behind its changes. */
  readonly unsafeCommit: (transaction: Transaction, op: number) => void
  /** Drops the arriving transaction. */
  readonly unsafeAbort: () => void
  /** The stream starts over at a position, which may be before where it was: another database has its own. */
  readonly unsafeReset: (lsn: Lsn.Lsn) => void
  readonly isEmpty: () => boolean
  /**
   * Takes the transactions that have ended through all nodes that are where the stream is. The plain shapes have got
   * through them already.
   */
  readonly process: Effect.Effect<void>
  /** The stream has been followed, by all, up to here. */
  readonly unsafeReach: (lsn: Lsn.Lsn) => void
}

export interface CollectorContext {
  readonly router: Router
  readonly consumers: Consumers
  readonly committer: Committer
  readonly budget: MemoryBudget
  /**
   * A table's definition has come down the stream: removes the shapes that it no longer fits, and learns what is above
   * the table.
   */
  readonly onRelation: (relation: Relation) => Effect.Effect<void>
  /** Settles what only Postgres can tell; completes when it has. */
  readonly decide: (open: ReadonlyArray<OpenVerdict>) => Effect.Effect<void>
  /** The shapes with subqueries, which take a transaction as a whole and after all others. */
  readonly subqueries: () => DeferredShapes
}

export interface Collector {
  /** Takes in one batch; completes when all of it is in the consumers' buffers. Calls must not overlap. */
  readonly process: (messages: ReadonlyArray<WalMessage>) => Effect.Effect<void>
  /** The connection was lost: drops what came of a transaction without its end. */
  readonly abort: Effect.Effect<void>
  /** Commit LSN of the last transaction that every shape has seen. */
  readonly lastSeen: () => Lsn.Lsn
  /**
   * Starts at a position, for a source that is followed for the first time or anew; `recent` are the transactions that
   * went by before it (`Collector.recent`).
   */
  readonly unsafeReset: (lsn: Lsn.Lsn, recent: ReadonlyArray<number>) => void
  /** The 32-bit xids of the last transactions that have gone through the router: what is to be known after a restart. */
  readonly recent: () => ReadonlyArray<number>
  /** Commit LSN of the transaction that is arriving. */
  readonly arriving: () => Lsn.Lsn | undefined
  /** Commit LSN of the last transaction of which something has come. */
  readonly begun: () => Lsn.Lsn
  /** Remembers which transactions have gone through the router by now, the arriving one included. */
  readonly mark: () => Mark
  /**
   * Whether a transaction that had gone through the router by `since` is not in a snapshot taken afterwards: its commit
   * was in the WAL before its session was done with it (H195). A shape that was registered at `since` would have it
   * neither from that snapshot nor from the stream, so the snapshot must be taken again.
   */
  readonly missing: (marks: SnapshotMarks, since: Mark) => boolean
}

/** The transactions that had gone through the router at one moment. */
export interface Mark {
  /** The 32-bit xids of the latest ones, in no order. */
  readonly recent: Uint32Array
  /** The highest of all, on its circle. */
  readonly newest: number | undefined
}

/** How many transactions the collector remembers for `missing`. */
const RECENT = 1 << 13
/**
 * How many of them over a restart: more than can have their commits in the WAL and not be visible yet, which no session
 * has but one of.
 */
const KEPT = 256

/** Consumers that are started before others get a turn: a transaction may need tens of thousands. */
const STARTED_AT_ONCE = 64

const immediate = Effect.async<void>((resume) => {
  const handle = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(handle))
})

interface MutableFragment extends Fragment {
  readonly changes: Array<RowChange>
  readonly actions: Array<Action | undefined>
  broken: string | undefined
  commit: boolean
}

/** One shape's part of the batch that is being taken in. */
interface Part {
  readonly fragments: Array<MutableFragment>
  bytes: number
}

/** The transaction that is arriving. */
interface Arriving {
  readonly transaction: Transaction
  /** It has been seen before. */
  readonly skip: boolean
  op: number
  /** Shapes that have got something of it. */
  readonly shapes: Set<ShapeEntry>
}

/** Memory that a change holds: its values, and as much as its objects take, roughly. */
const bytesOf = (message: RowMessage): number => {
  const row = message._tag === "Delete" ? message.old : message.row
  const last = row.cols.length - 2
  return 200 + (last < 0 ? 0 : Math.max(0, row.cols[last]! + row.cols[last + 1]! - row.cols[0]!))
}

const low = (xid: bigint): number => Number(xid & 0xffffffffn)

export const make = (context: CollectorContext): Collector => {
  const { budget, committer, consumers, router } = context
  let lastSeen: Lsn.Lsn = 0n
  let begun: Lsn.Lsn = 0n
  let arriving: Arriving | undefined
  let parts = new Map<ShapeEntry, Part>()
  /** Where the batch that is being taken in brings the engine to. */
  let reached: { readonly lsn: Lsn.Lsn; readonly endLsn: Lsn.Lsn; readonly idle: boolean } | undefined

  // --- Transactions that have gone through lately ---
  /** The last `RECENT` transactions' xids: that of the n-th is at n modulo `RECENT`. */
  const recent = new Uint32Array(RECENT)
  let count = 0
  let newest: number | undefined

  const remember = (xid: number) => {
    recent[count % RECENT] = xid
    count += 1
    if (newest === undefined || ((xid - newest) | 0) > 0) newest = xid
  }

  const missing = (marks: SnapshotMarks, { newest, recent }: Mark): boolean => {
    const xmax = low(marks.xmax)
    const isAhead = newest !== undefined && ((newest - xmax) | 0) >= 0
    if (!isAhead && marks.xip.length === 0) return false
    const inProgress = new Set(marks.xip.map(low))
    return recent.some((xid) => inProgress.has(xid) || (isAhead && ((xid - xmax) | 0) >= 0))
  }

  // --- Taking in: synchronous ---
  const fragmentOf = (entry: ShapeEntry, transaction: Transaction, bytes: number): MutableFragment => {
    let part = parts.get(entry)
    if (!part) parts.set(entry, part = { fragments: [], bytes: 0 })
    part.bytes += bytes
    const last = part.fragments[part.fragments.length - 1]
    if (last?.transaction === transaction) return last
    const fragment: MutableFragment = { transaction, changes: [], actions: [], broken: undefined, commit: false }
    part.fragments.push(fragment)
    return fragment
  }

  /** Verdicts on this batch's changes that Postgres has to give. */
  let opened: Array<OpenVerdict> = []
  let change: RowChange | undefined
  let changeBytes = 0
  /** The change's place in the shape's fragment. */
  const add = (entry: ShapeEntry, action: Action | undefined): MutableFragment | undefined => {
    if (!arriving || !change || entry.removed) return undefined
    const fragment = fragmentOf(entry, arriving.transaction, changeBytes)
    fragment.changes.push(change)
    fragment.actions.push(action)
    arriving.shapes.add(entry)
    return fragment
  }
  const listener: Listener = {
    found: add,
    // For the consumer to decide: a new shape's snapshot may have seen the transaction.
    lost: (entry) => {
      if (!arriving || entry.removed) return
      fragmentOf(entry, arriving.transaction, 0).broken =
        "a change came without its old row: the table's replica identity is not FULL"
      arriving.shapes.add(entry)
    },
    // The change keeps its place in the fragment until it is known what it means.
    open: (entry, before, after) => {
      const fragment = add(entry, undefined)
      if (!fragment || !change) return
      const at = fragment.actions.length - 1
      const settle = (action: Action | undefined) => {
        fragment.actions[at] = action
      }
      const fail = (message: string) => {
        fragment.broken = `its where clause can't be evaluated: ${message}`
      }
      opened.push({ entry, message: change.message, before, after, settle, fail })
    }
  }

  const takeRow = (message: RowMessage) => {
    if (!arriving) throw new Error("a row change came outside of a transaction")
    const op = arriving.op
    arriving.op += 2
    if (arriving.skip) return
    change = new RowChange(message, arriving.transaction, op)
    changeBytes = bytesOf(message)
    router.route(message, listener)
    const tables = router.tablesOf(message.relation.oid)
    if (context.subqueries().follows(tables)) context.subqueries().unsafeTake(tables, change)
  }

  const takeTruncate = (relations: ReadonlyArray<Relation>) => {
    if (!arriving) throw new Error("a truncate came outside of a transaction")
    arriving.op += 2
    if (arriving.skip) return
    for (const relation of relations) {
      for (const entry of router.shapesOf(relation.oid)) {
        if (entry.hasSubqueries) continue
        fragmentOf(entry, arriving.transaction, 0).broken = "its table was truncated"
        arriving.shapes.add(entry)
      }
      const tables = router.tablesOf(relation.oid)
      if (context.subqueries().follows(tables)) context.subqueries().unsafeTruncate(tables)
    }
  }

  const takeCommit = (endLsn: Lsn.Lsn) => {
    if (!arriving) throw new Error("a commit came outside of a transaction")
    const { op, shapes, skip, transaction } = arriving
    arriving = undefined
    if (skip) return
    context.subqueries().unsafeCommit(transaction, op)
    for (const entry of shapes) if (!entry.removed) fragmentOf(entry, transaction, 0).commit = true
    reached = { lsn: transaction.lsn, endLsn, idle: false }
  }

  const takeKeepalive = (walEnd: Lsn.Lsn) => {
    if (arriving) return
    reached = reached
      ? { ...reached, endLsn: Lsn.max(reached.endLsn, walEnd) }
      : { lsn: committer.position()?.lsn ?? lastSeen, endLsn: walEnd, idle: true }
  }

  /**
   * Takes in messages from `from` on; returns where it stopped: behind the last, or at a Relation, which needs an
   * Effect.
   */
  const take = (messages: ReadonlyArray<WalMessage>, from: number): number => {
    for (let i = from; i < messages.length; i++) {
      const message = messages[i]!
      switch (message._tag) {
        case "Begin":
          arriving = {
            transaction: { lsn: message.lsn, lsnText: String(message.lsn), xid: message.xid },
            skip: message.lsn <= lastSeen,
            op: 0,
            shapes: new Set()
          }
          remember(message.xid)
          begun = Lsn.max(begun, message.lsn)
          break
        case "Insert":
        case "Update":
        case "Delete":
          takeRow(message)
          break
        case "Truncate":
          takeTruncate(message.relations)
          break
        case "Commit":
          takeCommit(message.endLsn)
          break
        case "Keepalive":
          takeKeepalive(message.walEnd)
          break
        case "Relation":
          return i
      }
    }
    return messages.length
  }

  // --- Handing out ---
  const advance = (position: typeof reached) => {
    if (!position) return
    if (!position.idle) lastSeen = Lsn.max(lastSeen, position.lsn)
    committer.unsafeAdvance(position.lsn, position.endLsn, position.idle)
    context.subqueries().unsafeReach(position.endLsn)
  }

  /**
   * Gives each shape's consumer its work and completes when all have done it, within the commit boundary: the position
   * and the entries that it covers go into one commit. A consumer may end for idleness while others are started, so
   * they are looked up in the turn of the offer.
   */
  const offerAll = (works: ReadonlyMap<ShapeEntry, Work>, after: () => void): Effect.Effect<void> => {
    const isMissing = (entry: ShapeEntry) => !entry.removed && !consumers.unsafeCurrent(entry)
    const missing = () => {
      for (const entry of works.keys()) if (isMissing(entry)) return true
      return false
    }
    const startMissing = Effect.suspend(() => {
      let started = 0
      return Effect.forEach(works.keys(), (entry) => {
        if (!isMissing(entry)) return Effect.void
        const start = consumers.get(entry)
        return ++started % STARTED_AT_ONCE === 0 ? Effect.zipRight(immediate, start) : start
      }, { discard: true })
    })
    const offer = Effect.async<boolean>((resume) => {
      if (missing()) return resume(Effect.succeed(false))
      let left = 1
      const done = () => {
        if (--left > 0) return
        after()
        resume(Effect.succeed(true))
      }
      for (const [entry, work] of works) {
        const consumer = entry.removed ? undefined : consumers.unsafeCurrent(entry)
        if (!consumer) continue
        left += 1
        consumer.unsafeOffer(work, done)
      }
      done()
    })
    return Effect.suspend(() => {
      if (missing()) return Effect.zipRight(startMissing, offerAll(works, after))
      return Effect.flatMap(
        committer.boundary.withPermits(1)(Effect.uninterruptible(offer)),
        (offered) => offered ? Effect.void : offerAll(works, after)
      )
    })
  }

  const deliver = Effect.gen(function*() {
    const undecided = opened.filter(({ entry }) => !entry.removed)
    opened = []
    if (undecided.length > 0) yield* context.decide(undecided)
    const batch = parts
    const position = reached
    parts = new Map()
    reached = undefined
    const works = new Map<ShapeEntry, Work>()
    for (const [entry, { bytes, fragments }] of batch) {
      if (!entry.removed) works.set(entry, { _tag: "Fragments", fragments, bytes })
    }
    if (!context.subqueries().isEmpty()) {
      // The position may be stored only with what the shapes with subqueries make of it.
      if (works.size > 0) yield* offerAll(works, () => {})
      yield* context.subqueries().process
      advance(position)
    } else if (works.size === 0) advance(position)
    else yield* offerAll(works, () => advance(position))
    yield* budget.awaitRoom
  })

  const process = Effect.fnUntraced(function*(messages: ReadonlyArray<WalMessage>) {
    let next = 0
    while (next < messages.length) {
      next = take(messages, next)
      const stop = messages[next]
      if (stop?._tag === "Relation") {
        yield* context.onRelation(stop.relation)
        next += 1
      }
    }
    yield* deliver
  })

  return {
    process,
    abort: Effect.gen(function*() {
      const shapes = arriving?.shapes
      arriving = undefined
      context.subqueries().unsafeAbort()
      parts = new Map()
      opened = []
      reached = undefined
      const works = new Map<ShapeEntry, Work>()
      for (const entry of shapes ?? []) if (consumers.unsafeCurrent(entry)) works.set(entry, { _tag: "Abort" })
      if (works.size > 0) yield* offerAll(works, () => {})
    }),
    lastSeen: () => lastSeen,
    arriving: () => arriving?.transaction.lsn,
    begun: () => begun,
    mark: () => ({ recent: recent.slice(0, count), newest }),
    missing,
    recent: () => Array.from({ length: Math.min(count, KEPT) }, (_, i) => recent[(count - 1 - i) % RECENT]!),
    unsafeReset: (lsn, before) => {
      lastSeen = lsn
      begun = lsn
      arriving = undefined
      context.subqueries().unsafeReset(lsn)
      parts = new Map()
      opened = []
      reached = undefined
      count = 0
      newest = undefined
      for (const xid of before) remember(xid)
    }
  }
}
