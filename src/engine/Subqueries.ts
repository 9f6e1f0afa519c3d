/**
 * Keeps the shapes whose clauses have subqueries: takes each transaction through them, inner shapes before outer ones
 * (I7), and fetches the rows that move because a set has changed. See SUBQUERIES.md for why the result is exact.
 */
import { Deferred, Effect, ExecutionStrategy, Exit, FiberId, FiberSet, Option, Schedule, Scope } from "effect"
import { type DatabaseUnavailable, SnapshotFailed } from "../domain/Errors.ts"
import type { Subquery } from "../domain/Expression.ts"
import type { EncodedItem } from "../domain/ItemEncoder.ts"
import { highest, type Lsn } from "../domain/Lsn.ts"
import { sees, type SnapshotMarks } from "../domain/PgSnapshot.ts"
import * as RowItem from "../domain/RowItem.ts"
import type { RowEvaluation } from "../source/RowEvaluation.ts"
import type { SnapshotQuery } from "../source/SnapshotQuery.ts"
import { planOf, subqueryIdentity } from "../where/Plan.ts"
import type { Action, EncodedChange, RowChange, Transaction } from "./Changes.ts"
import type { Collector, DeferredShapes } from "./Collector.ts"
import type { Committer } from "./Committer.ts"
import type { Fragment, Work } from "./Consumer.ts"
import type { Consumers } from "./Consumers.ts"
import * as FairPermits from "./FairPermits.ts"
import { type Arrived, Journal, type JournalOptions, type JournalStore, type Part } from "./Journal.ts"
import type { Materializer } from "./Materializer.ts"
import type { MemoryBudget } from "./MemoryBudget.ts"
import { askPostgres, type Facts, LeafFailed, oldOf, type Question, textOf, type Verdicts } from "./NodeRows.ts"
import { actionOf } from "./Router.ts"
import * as RowsAsOf from "./RowsAsOf.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"
import { type Dependency, Node, TableNodes } from "./SubqueryNode.ts"
import type { Moved } from "./Tags.ts"

export interface SubqueriesContext {
  readonly consumers: Consumers
  readonly committer: Committer
  readonly budget: MemoryBudget
  readonly collector: () => Collector
  readonly snapshots: SnapshotQuery["Type"]
  readonly evaluation: RowEvaluation["Type"]
  /** The inner shape of a subquery: the one that there is, or a new one. */
  readonly inner: (subquery: Subquery) => Effect.Effect<ShapeEntry, SnapshotFailed>
  /** The same, if it was kept. */
  readonly unsafeKept: (subquery: Subquery) => ShapeEntry | undefined
  /** Follows an inner shape; entries of its log after `from` are given out when their transactions come again. */
  readonly materialize: (
    entry: ShapeEntry,
    subquery: Subquery,
    from: Lsn
  ) => Effect.Effect<Materializer, SnapshotFailed, Scope.Scope>
  /** Removes a shape that can't be continued, or is not needed any more. */
  readonly unsafeRotate: (entry: ShapeEntry, reason: string) => void
  /** How many queries for rows that move run at a time. */
  readonly permits: Effect.Semaphore
  /** How many snapshots are taken at a time. */
  readonly snapshotPermits: Effect.Semaphore
  /** Where the journal goes beyond its limit. */
  readonly journalStore: JournalStore
  readonly journal: JournalOptions
}

/** A node's snapshot: rows as items, and what goes with them. */
export interface NodeSnapshot {
  readonly marks: SnapshotMarks
  /** The next rows' items, each with the comma before it; `None` after the last. */
  readonly pull: Effect.Effect<Option.Option<ReadonlyArray<Buffer>>, SnapshotFailed>
}

export interface Subqueries extends DeferredShapes {
  /** Makes a node of a new shape, and gives out its snapshot as of now when it is its turn. */
  readonly create: (
    entry: ShapeEntry,
    rows: boolean,
    take: (snapshot: NodeSnapshot) => Effect.Effect<void, SnapshotFailed>
  ) => Effect.Effect<void, SnapshotFailed>
  /** Makes nodes of shapes that were kept, as of the position that the stream will be followed from. */
  readonly restore: (entries: ReadonlyArray<ShapeEntry>, from: Lsn) => Effect.Effect<void>
  /** The shape is gone: so are those that depend on it, and what only it depended on. */
  readonly unsafeRemoved: (entry: ShapeEntry) => void
  /** Whether a shape depends on this one. */
  readonly isUsed: (entry: ShapeEntry) => boolean
  /** LSN up to which the shape's log misses nothing, if that is not as far as the stream. */
  readonly behind: (entry: ShapeEntry) => Lsn | undefined
  /** Nodes, sets, transactions and whatever else is kept for them: nothing when there are no shapes with subqueries. */
  readonly held: () => number
  /** Bytes that are kept in memory of what the stream brought, for shapes that are behind. */
  readonly journalBytes: () => number
}

/** A dependency that is being made or in use. */
interface Use {
  /** See `subqueryIdentity`. */
  readonly identity: string
  readonly ready: Deferred.Deferred<Dependency, SnapshotFailed>
  readonly scope: Scope.CloseableScope
  readonly table: number
  /** The inner shape, once it is known. */
  entry: ShapeEntry | undefined
  /** The same, once it can be depended on. */
  dependency: Dependency | undefined
  /** How many need it, or wait for it. */
  count: number
}

/** Most rows of a move that are put in order. */
const SORTED = 20_000

/** Rows in one piece of work. */
const PAGE = 256

/** How often a query for rows that move is tried again while there is no connection for it. */
const retryRows = Schedule.exponential("100 millis", 2).pipe(
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.intersect(Schedule.recurs(60))
)
const retryAsk = Schedule.exponential("500 millis", 1.5).pipe(Schedule.union(Schedule.spaced("10 seconds")))

const isTransient = ({ reason }: SnapshotFailed): boolean =>
  reason === "connection" || reason === "pool_timeout" || reason === "lock_timeout" || reason === "query_timeout"

/** What a node makes of the changes of a transaction: the last of it, which has not been written yet. */
interface Rest {
  readonly fragment: Fragment
  /** Number of the first operation behind its changes. */
  readonly op: number
  /** Something of it has been written. */
  readonly begun: boolean
}

/** How many subqueries stand within each other. */
const depthOf = ({ where }: Pick<Subquery, "where">): number => {
  const plan = where && planOf(where.expression)
  return plan ? 1 + Math.max(...plan.dependencies.map(depthOf)) : 0
}

export const make = Effect.fnUntraced(function*(
  context: SubqueriesContext
): Effect.fn.Return<Subqueries, never, Scope.Scope> {
  const { committer, consumers, unsafeRotate } = context
  const run = yield* FiberSet.makeRuntime<never, void, never>()
  const scope = yield* Effect.scope
  const uses = new Map<string, Use>()
  const nodes = new Map<ShapeEntry, Node>()
  const tables = new Map<number, TableNodes>()
  /** How many nodes and inner shapes follow each table. */
  const followed = new Map<number, number>()
  const journal = new Journal(context.journalStore, context.journal)
  const verdicts: Verdicts = new WeakMap()
  let arrived: Array<Arrived> = []
  /** Nodes that are not where the stream is. */
  const lateNodes = new Set<Node>()
  /** Of each inner shape what it is in use for. */
  const usesOf = new Map<ShapeEntry, Set<Use>>()
  /** Dependencies whose logs were ahead of the stream at the start. */
  const ahead = new Set<Dependency>()
  /** Dependencies that read their logs for what was too large to be told. */
  const unsettled = new Set<Dependency>()
  let reached: Lsn = 0n
  /** The last transaction that all nodes which are where the stream is have got through. */
  let taken: Lsn = 0n
  const reachedMore = Effect.unsafeMakeLatch(false)
  /** Positions of the snapshots that are being read. */
  const snapshotsAt = new Map<Node, Lsn>()
  /** Dependencies whose sets a transaction has changed, by its LSN. */
  const movedAt = new Map<Lsn, Set<Dependency>>()

  const follow = (table: number, by: 1 | -1) => {
    const count = (followed.get(table) ?? 0) + by
    if (count > 0) followed.set(table, count)
    else followed.delete(table)
  }

  const ask = (questions: ReadonlyArray<Question>): Effect.Effect<void> =>
    askPostgres(questions, context.evaluation, verdicts).pipe(
      Effect.tapError((error: DatabaseUnavailable) =>
        Effect.logWarning("a shape waits for the evaluation of its where clause", error)
      ),
      Effect.retry(retryAsk),
      Effect.orDie
    )

  // --- Where the stream is ---
  const unsafeReach = (lsn: Lsn): void => {
    if (lsn > reached) reached = lsn
    reachedMore.unsafeOpen()
    reachedMore.unsafeClose()
  }
  const awaitStream = (lsn: Lsn): Effect.Effect<void> =>
    Effect.suspend(() => reached >= lsn ? Effect.void : Effect.zipRight(reachedMore.await, awaitStream(lsn)))

  /** The nodes that a node depends on have got to where the stream is now, and its sets have all of that. */
  const awaitDependencies = (node: Node, upTo = taken): Effect.Effect<void> =>
    Effect.suspend(() => {
      for (const { materializer, node: inner } of node.dependencies) {
        if (inner?.behind !== undefined && inner.behind < upTo) {
          return Effect.zipRight(inner.progress, awaitDependencies(node, upTo))
        }
        if (!materializer.isSettled()) return Effect.zipRight(materializer.settled, awaitDependencies(node, upTo))
      }
      return Effect.void
    })

  const rowsContext: RowsAsOf.RowsAsOfContext = {
    snapshots: context.snapshots,
    collector: context.collector,
    ask,
    journal,
    verdicts,
    awaitReached: awaitStream
  }

  /** Forgets what nobody will ask for. */
  const forget = () => {
    // Of a transaction that is where the stream has got to, nothing may have been done yet.
    let lowest = reached - 1n
    for (const { behind } of lateNodes) if (behind !== undefined && behind < lowest) lowest = behind
    // Rows of a snapshot are judged, and put back, as of its position, also when its node has got further.
    for (const at of snapshotsAt.values()) if (at < lowest) lowest = at
    journal.forget(lowest)
    for (const [lsn, dependencies] of movedAt) {
      if (lsn > lowest) continue
      movedAt.delete(lsn)
      for (const dependency of dependencies) {
        for (const key of dependency.materializer.set.forget(lowest)) {
          for (const index of dependency.indexes) index.take(key, dependency)
        }
      }
    }
  }

  // --- One transaction of one node ---

  /** Whether the node's log has the transaction, or its snapshot does. */
  const isDone = ({ entry }: Node, { lsn, xid }: Transaction): boolean =>
    lsn <= entry.end.tx || (entry.filter !== undefined && lsn < entry.filter.lsn && sees(entry.filter, xid))

  const taggedItem = ({ bytes, end, start }: EncodedItem, headers: string): EncodedItem => {
    const added = Buffer.from(headers)
    const item = Buffer.allocUnsafe(end - start + added.length)
    bytes.copy(item, 0, start, end)
    item.set(added, end - start)
    return { bytes: item, start: 0, end: item.length }
  }

  /** A change with what it says of tags. */
  const tagged = (node: Node, change: RowChange, action: Action, before: Facts, after: Facts): EncodedChange => {
    const tags = node.tags!
    const { projection } = node.entry
    const encoded = change.encode(projection, action)
    const touch = (op: number, was: Facts): EncodedItem => {
      const { lsnText, xid } = change.transaction
      const texts = node.entry.definition.columns.map(({ name }) => textOf(change.message, "after", name))
      const headers = `,"lsn":"${lsnText}","op_position":${op},"txids":[${xid}]`
      return RowItem.encoded(node.items.touch(texts, headers + tags.updateHeaders(was, after)))
    }
    const [first, second] = encoded?.items ?? []
    if (second !== undefined) {
      return {
        op: change.op,
        items: [taggedItem(first!, tags.removalHeaders(before, after)), taggedItem(second, tags.headers(after))]
      }
    }
    if (action !== "update") {
      return { op: change.op, items: [taggedItem(first!, tags.headers(action === "insert" ? after : before))] }
    }
    const item = first ? taggedItem(first, tags.updateHeaders(before, after)) : touch(change.op, before)
    return { op: change.op, items: tags.overlap(before, after) ? [item, touch(change.op + 1, after)] : [item] }
  }

  /**
   * Which of a transaction's changes are of rows that it has changed before: they were judged as of its end. `seen` are
   * the keys of those, also from the parts before.
   */
  const findAgain = (node: Node, changes: ReadonlyArray<RowChange>, seen: Set<string>): ReadonlyArray<boolean> =>
    changes.map(({ message }) => {
      const key = node.keyOfChange(message, "before")
      const isAgain = key !== undefined && seen.has(key)
      const after = node.keyOfChange(message, "after")
      if (after !== undefined) seen.add(after)
      return isAgain
    })

  /** What the node makes of its table's changes; Postgres's message if its clause can't be evaluated. */
  const judge = (
    node: Node,
    transaction: Transaction,
    changes: ReadonlyArray<RowChange>,
    again: ReadonlyArray<boolean> | undefined
  ) => {
    const { lsn } = transaction
    const questions: Array<Question> = []
    const found: Array<RowChange> = []
    const actions: Array<Action> = []
    const encoded: Array<EncodedChange | undefined> = []
    for (const [i, change] of changes.entries()) {
      const { message } = change
      if (message._tag !== "Insert" && oldOf(message) === undefined) {
        return { questions, failure: "a change came without its old row: the table's replica identity is not FULL" }
      }
      const collect = (question: Question) => questions.push(question)
      const before = node.rows.ofChange(message, "before", again?.[i] ? lsn : lsn - 1n, verdicts, collect)
      const after = node.rows.ofChange(message, "after", lsn, verdicts, collect)
      if (before === undefined || after === undefined) continue
      const action = actionOf(before.isIn, after.isIn)
      if (action === undefined) continue
      found.push(change)
      actions.push(action)
      if (node.tags) encoded.push(tagged(node, change, action, before, after))
    }
    const fragment: Fragment = {
      transaction,
      changes: found,
      actions,
      ...(node.tags && { encoded }),
      broken: undefined,
      commit: true
    }
    return { questions, fragment }
  }

  const rotated = (node: Node, reason: string): Effect.Effect<undefined> =>
    Effect.sync(() => {
      unsafeRotate(node.entry, reason)
      return undefined
    })

  /** What a node makes of part of a transaction's changes; `undefined` when its shape has been rotated. */
  const judged = (
    node: Node,
    transaction: Transaction,
    changes: ReadonlyArray<RowChange>,
    again: ReadonlyArray<boolean> | undefined
  ): Effect.Effect<Fragment | undefined> =>
    Effect.suspend(() => {
      try {
        const { failure, fragment, questions } = judge(node, transaction, changes, again)
        if (failure !== undefined) return rotated(node, failure)
        return questions.length > 0
          ? Effect.zipRight(ask(questions), judged(node, transaction, changes, again))
          : Effect.succeed(fragment)
      } catch (error) {
        if (!(error instanceof LeafFailed)) throw error
        return rotated(node, `its where clause can't be evaluated: ${error.message}`)
      }
    })

  /**
   * Judges a transaction's changes, and writes all parts but the last; `undefined` when the shape has been rotated.
   * `changes` are those of the first part that may concern the node.
   */
  const writeParts = Effect.fnUntraced(function*(
    node: Node,
    first: Part,
    changes: ReadonlyArray<RowChange>,
    moved: ReadonlyArray<Moved>
  ): Effect.fn.Return<Rest | undefined> {
    const { oid } = node.table
    const { transaction } = first
    // While no leaf moves, it makes no difference as of when a row is judged.
    const seen = moved.length > 0 && (changes.length > 1 || !first.isLast) ? new Set<string>() : undefined
    let part = first
    let mine = changes
    let begun = false
    while (true) {
      if (part.truncated.has(oid)) return yield* rotated(node, "its table was truncated")
      const fragment = yield* judged(node, transaction, mine, seen && findAgain(node, mine, seen))
      if (!fragment) return undefined
      if (part.isLast) return { fragment, op: part.op, begun }
      if (fragment.changes.length > 0) {
        begun = true
        yield* offer(node, { ...fragment, commit: false }, bytesOf(fragment))
        yield* context.budget.awaitRoom
      }
      part = (yield* journal.at(transaction.lsn, part.number + 1))!
      mine = part.changes.get(oid) ?? []
    }
  })

  /** What has moved by a transaction; `undefined` when that has rotated the shape. */
  const movedBy = (node: Node, { lsn }: Transaction): Effect.Effect<ReadonlyArray<Moved> | undefined> =>
    Effect.suspend(() => {
      const moved = node.moved(lsn)
      return typeof moved === "string" ? rotated(node, moved) : Effect.succeed(moved)
    })

  /** Whether rows have to be fetched for the values that have moved. */
  const needsRows = (node: Node, moved: ReadonlyArray<Moved>): boolean =>
    node.tags ? moved.some(({ holds }) => holds) : moved.length > 0

  /** Has the node's consumer do something. One that is ending would do nothing, so it is looked at in the same turn. */
  const work = (node: Node, todo: Work): Effect.Effect<void> =>
    Effect.flatMap(consumers.get(node.entry), (consumer) =>
      consumer
        ? Effect.async<void>((resume) => {
          if (consumers.unsafeCurrent(node.entry) !== consumer) return resume(work(node, todo))
          consumer.unsafeOffer(todo, () => resume(Effect.void))
        })
        : Effect.void)

  const offer = (node: Node, fragment: Fragment, bytes: number): Effect.Effect<void> =>
    work(node, { _tag: "Fragments", fragments: [fragment], bytes })

  /** The transaction's events, if the node's clients understand them. */
  const eventsOf = ({ tags }: Node, transaction: Transaction, moved: ReadonlyArray<Moved>): Array<EncodedItem> => {
    if (!tags) return []
    const events: Array<EncodedItem> = []
    for (const holds of [false, true]) {
      const patterns = tags.patterns(moved, holds)
      if (patterns.length === 0) continue
      events.push(RowItem.encoded(RowItem.event(holds ? "move-in" : "move-out", patterns, [transaction.xid])))
    }
    return events
  }

  /** Whether something becomes of a row whose leaf has moved. */
  const isMoving = ({ rows, tags }: Node, { after, before }: RowsAsOf.RowAsOf): boolean => {
    if (!tags) return before.isIn !== after.isIn
    // The event that tells which values have left comes first: by that alone the row may be gone.
    const between = before.truths.map((holds, leaf) => holds && after.truths[leaf]!)
    return after.isIn && !rows.isIn(between)
  }

  /** What becomes of it. */
  const movedItem = (
    { items, tags }: Node,
    { after, texts }: RowsAsOf.RowAsOf,
    { lsnText, xid }: Transaction,
    op: number
  ): EncodedItem => {
    if (tags) return RowItem.encoded(items.insert(texts, `,"is_move_in":true${tags.headers(after)}`))
    const headers = `,"lsn":"${lsnText}","op_position":${op},"txids":[${xid}]`
    return RowItem.encoded(after.isIn ? items.insert(texts, headers) : items.remove(texts, headers))
  }

  const sizeOf = (items: ReadonlyArray<EncodedItem>): number =>
    items.reduce((sum, { end, start }) => sum + 200 + end - start, 0)

  /** Bytes of a fragment's changes, roughly. */
  const bytesOf = ({ changes }: Fragment): number => 1000 * changes.length

  /** Ends a transaction of which no rows have to be fetched. */
  const writeRest = (
    node: Node,
    { begun, fragment, op }: Rest,
    moved: ReadonlyArray<Moved>
  ): Effect.Effect<void> => {
    const items = eventsOf(node, fragment.transaction, moved)
    if (!begun && fragment.changes.length === 0 && items.length === 0) return Effect.void
    const whole = items.length > 0 ? { ...fragment, further: { op, items, areChanges: false } } : fragment
    return offer(node, whole, bytesOf(whole))
  }

  /** Writes the rows that a transaction's moves bring or take, after its changes, and commits it. */
  const writeMoved = Effect.fnUntraced(function*(node: Node, part: Part, moved: ReadonlyArray<Moved>) {
    const { transaction } = part
    const rows = yield* RowsAsOf.open({
      node,
      at: transaction.lsn,
      withoutOwn: true,
      rows: true,
      where: () => RowsAsOf.movedCondition(node, node.tags ? moved.filter(({ holds }) => holds) : moved)
    }, rowsContext)
    const rest = yield* writeParts(node, part, part.changes.get(node.table.oid) ?? [], moved)
    if (!rest) return
    let { op } = rest
    const events = eventsOf(node, transaction, moved)
    const further = { op, items: events, areChanges: false }
    yield* offer(node, { ...rest.fragment, further, commit: false }, sizeOf(events))
    op += events.length
    let count = 0
    const write = (items: ReadonlyArray<EncodedItem>, commit: boolean) =>
      Effect.suspend(() => {
        const from = op
        op += items.length
        const further = { op: from, items, areChanges: node.tags === undefined }
        const rest: Fragment = { transaction, changes: [], actions: [], further, broken: undefined, commit }
        return Effect.zipRight(offer(node, rest, sizeOf(items)), context.budget.awaitRoom)
      })
    const writeRows = Effect.fnUntraced(function*(moving: ReadonlyArray<RowsAsOf.RowAsOf>) {
      for (let from = 0; from < moving.length; from += PAGE) {
        yield* write(moving.slice(from, from + PAGE).map((row, i) => movedItem(node, row, transaction, op + i)), false)
      }
      count += moving.length
    })
    // In an order of their own: if this has to be done again, after a crash, readers may have had it already.
    let sorted: Array<RowsAsOf.RowAsOf> | undefined = []
    while (!node.entry.removed) {
      const page = yield* rows.pull
      if (Option.isNone(page)) break
      const moving = page.value.filter((row) => isMoving(node, row))
      if (sorted) { for (const row of moving) sorted.push(row) }
      else yield* writeRows(moving)
      if (sorted && sorted.length > SORTED) {
        yield* writeRows(sorted)
        sorted = undefined
      }
    }
    if (sorted) yield* writeRows(RowsAsOf.inKeyOrder(node, sorted))
    else yield* committer.flush
    yield* write(node.tags && count > 0 ? [RowItem.encoded(RowItem.snapshotEnd(rows.marks))] : [], true)
  }, Effect.scoped)

  /** A node that has lost its way. */
  const giveUp = (node: Node, error: SnapshotFailed) => rotated(node, `rows that moved can't be read: ${error.detail}`)

  const fetchAndWrite = (node: Node, part: Part, moved: ReadonlyArray<Moved>): Effect.Effect<void> =>
    FairPermits.withPermit(context.permits)(writeMoved(node, part, moved)).pipe(
      // What was written of the transaction before it failed is dropped by its beginning anew.
      Effect.tapError((error) =>
        Effect.zipRight(Effect.logWarning(`rows that moved could not be read: ${error.detail}`), restart(node))
      ),
      Effect.retry({ while: isTransient, schedule: retryRows }),
      Effect.catchAll((error) => Effect.asVoid(giveUp(node, error)))
    )

  /** Drops what the node's log has of an unfinished transaction. */
  const restart = (node: Node): Effect.Effect<void> => work(node, { _tag: "Abort" })

  // --- Nodes that are where the stream is ---

  /** Takes one transaction, all of it, through a node that is where the stream is; or leaves it behind to fetch rows. */
  const takeThrough = Effect.fnUntraced(function*(node: Node, part: Part, changes: ReadonlyArray<RowChange>) {
    const { transaction } = part
    if (isDone(node, transaction)) return
    const moved = yield* movedBy(node, transaction)
    if (!moved) return
    if (needsRows(node, moved)) return unsafeLeave(node, transaction.lsn - 1n)
    const rest = yield* writeParts(node, part, changes, moved)
    if (rest) yield* writeRest(node, rest, moved)
  })

  /** Leaves a node, and what depends on it, behind the stream: they catch up on their own. */
  const unsafeLeave = (node: Node, at: Lsn) => {
    if (node.behind !== undefined || node.entry.removed) return
    node.behind = at
    lateNodes.add(node)
    node.hold = committer.hold()
    for (const { dependents, node: inner } of dependenciesOf(node)) {
      if (inner === node) { for (const dependent of dependents) unsafeLeave(dependent, at) }
    }
    run(catchUp(node))
  }

  /** The dependency that a node is, for others. */
  const dependenciesOf = (node: Node): ReadonlyArray<Dependency> =>
    [...(usesOf.get(node.entry) ?? [])].flatMap(({ dependency }) => dependency ? [dependency] : [])

  /** A node that this one depends on, and that has not got through a transaction yet. */
  const isLate = (node: Node, lsn: Lsn): Node | undefined =>
    node.dependencies.find((dependency) => dependency.node?.behind !== undefined && dependency.node.behind < lsn)?.node

  const settle = (node: Node): Effect.Effect<void> =>
    Effect.forEach(dependenciesOf(node), ({ materializer }) => materializer.settled, { discard: true })

  /** Brings a node that is behind to where the stream is, transaction by transaction. */
  const catchUp = (node: Node): Effect.Effect<void> =>
    Effect.gen(function*() {
      while (!node.entry.removed) {
        if (journal.last <= node.behind!) {
          // Those that it depends on first: from then on each transaction finds them in their order.
          const before = node.dependencies.find((dependency) => dependency.node?.behind !== undefined)?.node
          if (before) {
            yield* before.progress
            continue
          }
          // In this turn nothing can come between: the next transaction finds it where the stream is.
          lateNodes.delete(node)
          node.advance(undefined)
          node.hold?.release()
          node.hold = undefined
          forget()
          return
        }
        const part = (yield* journal.at(node.behind! + 1n, 0))!
        const { lsn } = part.transaction
        // The nodes that it depends on may not have got through it yet.
        if (lsn > taken) {
          yield* reachedMore.await
          continue
        }
        const late = isLate(node, lsn)
        if (late) {
          yield* late.progress
          continue
        }
        if (!isDone(node, part.transaction)) {
          const moved = yield* movedBy(node, part.transaction)
          if (!moved) break
          if (needsRows(node, moved)) yield* fetchAndWrite(node, part, moved)
          else {
            const rest = yield* writeParts(node, part, part.changes.get(node.table.oid) ?? [], moved)
            if (!rest) break
            yield* writeRest(node, rest, moved)
          }
          yield* settle(node)
        }
        node.advance(lsn)
        node.hold?.move(lsn)
      }
      unsafeRemoved(node.entry)
    }).pipe(
      Effect.catchAllCause((cause) =>
        Effect.zipRight(
          Effect.logError(`the subqueries of shape ${node.entry.handle} could not be followed`, cause),
          Effect.sync(() => unsafeRotate(node.entry, "its subqueries could not be followed"))
        )
      ),
      Effect.annotateLogs({ module: "Subqueries", shape: node.entry.handle })
    )

  /** The changes of a part by the nodes that they may concern. */
  const concerned = (part: Part): Map<Node, Array<RowChange>> => {
    const found = new Map<Node, Array<RowChange>>()
    for (const [oid, changes] of part.changes) {
      const table = tables.get(oid)
      if (!table) continue
      for (const change of changes) {
        const isWhole = change.message._tag === "Insert" || change.message.oldIsFull
        const add = (node: Node) => {
          const known = found.get(node)
          if (!known) found.set(node, [change])
          else if (known[known.length - 1] !== change) known.push(change)
        }
        if (isWhole) table.find(change.message, add)
        else for (const node of table.all) add(node)
      }
    }
    for (const oid of part.truncated) {
      for (const node of tables.get(oid)?.all ?? []) if (!found.has(node)) found.set(node, [])
    }
    return found
  }

  /** Takes a transaction, all of it, through the nodes that are where the stream is. */
  const takeWhole = Effect.fnUntraced(function*(part: Part) {
    const { lsn } = part.transaction
    const found = concerned(part)
    const done = new Set<Node>()
    while (true) {
      for (const { dependents } of movedAt.get(lsn) ?? []) {
        for (const node of dependents) if (!found.has(node)) found.set(node, [])
      }
      // The lowest first: what they do may concern others, but none of their own level.
      let level = Infinity
      for (const node of found.keys()) if (!done.has(node) && node.level < level) level = node.level
      if (level === Infinity) return
      for (const node of [...found.keys()]) {
        if (node.level !== level || done.has(node)) continue
        done.add(node)
        if (node.behind !== undefined || node.entry.removed) continue
        yield* takeThrough(node, part, found.get(node)!)
        if (node.behind === undefined) yield* settle(node)
      }
    }
  })

  /** Takes a large transaction, part by part, through the nodes of a level that are where the stream is. */
  const takeLevel = Effect.fnUntraced(function*(transaction: Transaction, level: number) {
    const begun = new Set<Node>()
    for (let number = 0;; number++) {
      const part = (yield* journal.at(transaction.lsn, number))!
      for (const [node, changes] of concerned(part)) {
        if (node.level !== level || node.behind !== undefined || node.entry.removed) continue
        if (!begun.has(node) && isDone(node, transaction)) continue
        if (part.truncated.has(node.table.oid)) {
          yield* rotated(node, "its table was truncated")
          continue
        }
        const fragment = yield* judged(node, transaction, changes, undefined)
        if (!fragment || fragment.changes.length === 0) continue
        begun.add(node)
        yield* offer(node, { ...fragment, commit: false }, bytesOf(fragment))
      }
      yield* context.budget.awaitRoom
      if (part.isLast) break
    }
    const end: Fragment = { transaction, changes: [], actions: [], broken: undefined, commit: true }
    for (const node of begun) {
      if (node.entry.removed) continue
      yield* offer(node, end, 0)
      yield* settle(node)
    }
  })

  /** Takes a large transaction through all of them. Those that a set has moved for by it go through it on their own. */
  const takeLarge = Effect.fnUntraced(function*(transaction: Transaction) {
    const { lsn } = transaction
    const levels = new Set<number>()
    for (const table of tables.values()) for (const node of table.all) levels.add(node.level)
    for (const level of [...levels].sort((a, b) => a - b)) {
      for (const { dependents } of movedAt.get(lsn) ?? []) {
        for (const node of dependents) if (!isDone(node, transaction)) unsafeLeave(node, lsn - 1n)
      }
      yield* takeLevel(transaction, level)
    }
  })

  const process = Effect.gen(function*() {
    const transactions = arrived
    arrived = []
    for (const dependency of unsettled) {
      yield* dependency.materializer.settled
      if (dependency.materializer.isSettled()) unsettled.delete(dependency)
    }
    for (const { part, transaction } of transactions) {
      for (const dependency of ahead) {
        if (!dependency.materializer.unsafeAdvance(transaction.lsn)) ahead.delete(dependency)
      }
      yield* part ? takeWhole(part) : takeLarge(transaction)
      taken = transaction.lsn
      unsafeReach(taken)
    }
    forget()
  })

  // --- Nodes and what they depend on ---

  const acquire = (subquery: Subquery, from: Lsn | undefined): Effect.Effect<Dependency, SnapshotFailed> =>
    Effect.suspend(() => {
      const use = uses.get(subqueryIdentity(subquery)) ?? unsafeUse(subquery, from)
      use.count += 1
      return Effect.onError(Deferred.await(use.ready), () => Effect.sync(() => unsafeRelease(use)))
    })

  const unsafeUse = (subquery: Subquery, from: Lsn | undefined): Use => {
    const use: Use = {
      identity: subqueryIdentity(subquery),
      ready: Deferred.unsafeMake(FiberId.none),
      scope: Effect.runSync(Scope.fork(scope, ExecutionStrategy.sequential)),
      table: subquery.tableOid,
      entry: undefined,
      dependency: undefined,
      count: 0
    }
    uses.set(use.identity, use)
    follow(subquery.tableOid, 1)
    run(makeDependency(subquery, use, from))
    return use
  }

  /** False for one that nobody needs any more, or whose inner shape has ended: another may have its place. */
  const isInUse = (use: Use): boolean => uses.get(use.identity) === use

  const makeDependency = (subquery: Subquery, use: Use, from: Lsn | undefined) =>
    Effect.gen(function*() {
      const entry = from === undefined ? yield* context.inner(subquery) : context.unsafeKept(subquery)
      if (!entry) return yield* new SnapshotFailed({ reason: "unknown", detail: "it was not kept" })
      use.entry = entry
      if (!isInUse(use)) return yield* new SnapshotFailed({ reason: "unknown", detail: "nobody needs it any more" })
      const ofEntry = usesOf.get(entry)
      if (ofEntry) ofEntry.add(use)
      else usesOf.set(entry, new Set([use]))
      const materializer = yield* Scope.extend(
        // While the stream is followed, all that the log has is where the stream is.
        context.materialize(entry, subquery, from ?? highest),
        use.scope
      )
      const dependency: Dependency = {
        entry,
        materializer,
        node: nodes.get(entry),
        dependents: new Set(),
        indexes: new Set(),
        isLost: () => !isInUse(use),
        release: () => unsafeRelease(use)
      }
      materializer.set.onMoved = (tx, transitions) => {
        const moved = movedAt.get(tx)
        if (moved) moved.add(dependency)
        else movedAt.set(tx, new Set([dependency]))
        for (const { key, present } of transitions) {
          if (present) { for (const index of dependency.indexes) index.put(key, dependency) }
        }
      }
      use.dependency = dependency
      if (from !== undefined) ahead.add(dependency)
      materializer.onReading(() => unsettled.add(dependency))
      materializer.onEnd((reason) => unsafeLost(use, reason))
      return dependency
    }).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          // In one turn: whoever asks after this begins anew. Interrupted is what the engine's stop does, and keeps its shapes.
          if (Exit.isFailure(exit) && !Exit.isInterrupted(exit)) unsafeGiveUp(use)
          Deferred.unsafeDone(use.ready, exit)
        })
      ),
      Effect.ignore
    )

  const unsafeForgetUse = (use: Use) => {
    uses.delete(use.identity)
    if (use.entry) {
      const ofEntry = usesOf.get(use.entry)
      ofEntry?.delete(use)
      if (ofEntry?.size === 0) usesOf.delete(use.entry)
    }
    if (use.dependency) {
      ahead.delete(use.dependency)
      unsettled.delete(use.dependency)
    }
    follow(use.table, -1)
    run(Scope.close(use.scope, Exit.void))
  }

  /** It can't be depended on: nor is its inner shape of use, if it is not another's by now. */
  const unsafeGiveUp = (use: Use) => {
    if (isInUse(use)) unsafeForgetUse(use)
    const { entry } = use
    if (!entry || usesOf.has(entry)) return
    unsafeRotate(entry, "no shape can depend on it")
  }

  /** One use less. An inner shape that nobody uses is removed. */
  const unsafeRelease = (use: Use) => {
    use.count -= 1
    if (use.count > 0 || !isInUse(use)) return
    unsafeForgetUse(use)
    if (use.entry) unsafeRotate(use.entry, "no shape depends on it any more")
  }

  const unsafeLost = (use: Use, reason: string) => {
    if (!isInUse(use)) return
    unsafeForgetUse(use)
    if (use.entry) unsafeRotate(use.entry, reason)
    for (const node of [...use.dependency?.dependents ?? []]) {
      unsafeRotate(node.entry, `a shape that it depends on has ended: ${reason}`)
    }
  }

  const tableOf = (oid: number): TableNodes => {
    let table = tables.get(oid)
    if (!table) tables.set(oid, table = new TableNodes(oid))
    return table
  }

  const unsafeAdd = (entry: ShapeEntry, dependencies: ReadonlyArray<Dependency>): Node => {
    const plan = planOf(entry.definition.where!.expression)!
    const { tableOid } = entry.definition
    const node = new Node(entry, plan, dependencies, tableOf(tableOid))
    nodes.set(entry, node)
    follow(tableOid, 1)
    node.table.add(node)
    for (const dependency of dependencies) dependency.dependents.add(node)
    return node
  }

  const unsafeRemoved = (entry: ShapeEntry): void => {
    const node = nodes.get(entry)
    if (node) {
      nodes.delete(entry)
      lateNodes.delete(node)
      follow(entry.definition.tableOid, -1)
      node.table.remove(node)
      if (node.table.all.size === 0) tables.delete(node.table.oid)
      node.hold?.release()
      node.hold = undefined
      for (const dependency of node.dependencies) {
        dependency.dependents.delete(node)
        dependency.release()
      }
      node.end()
    }
    for (const use of [...(usesOf.get(entry) ?? [])]) unsafeLost(use, "it was removed")
  }

  const acquireAll = (
    entry: ShapeEntry,
    from: Lsn | undefined
  ): Effect.Effect<ReadonlyArray<Dependency>, SnapshotFailed> =>
    Effect.suspend(() => {
      const acquired: Array<Dependency> = []
      return Effect.forEach(planOf(entry.definition.where!.expression)!.dependencies, (subquery) =>
        Effect.tap(acquire(subquery, from), (dependency) => {
          acquired.push(dependency)
        })).pipe(
          Effect.onError(() =>
            Effect.sync(() =>
              acquired.forEach(({ release }) => release())
            )
          )
        )
    })

  /** Makes the node that has them as its own; fails if one of them, or the shape itself, has ended meanwhile. */
  const join = (entry: ShapeEntry, dependencies: ReadonlyArray<Dependency>): Effect.Effect<Node, SnapshotFailed> =>
    Effect.suspend(() => {
      if (!entry.removed && !dependencies.some(({ isLost }) => isLost())) {
        return Effect.succeed(unsafeAdd(entry, dependencies))
      }
      const detail = "a shape that it depends on has ended"
      unsafeRotate(entry, detail)
      return new SnapshotFailed({ reason: "unknown", detail })
    })

  /** Takes the snapshot of a shape with these dependencies, which are its own from `onJoined` on. */
  const createNode = Effect.fnUntraced(function*(
    entry: ShapeEntry,
    dependencies: ReadonlyArray<Dependency>,
    rows: boolean,
    take: (snapshot: NodeSnapshot) => Effect.Effect<void, SnapshotFailed>,
    onJoined: () => void
  ) {
    // Until then a set is as of its snapshot, which is no position of the stream.
    for (const { entry: { filter } } of dependencies) if (filter) yield* awaitStream(filter.lsn)
    const node = yield* join(entry, dependencies)
    onJoined()
    // Everything that the stream has begun is before the snapshot, and all that follows is in the journal.
    const at = context.collector().begun()
    node.behind = at
    lateNodes.add(node)
    // The shape may be kept before it has got to where the stream is.
    node.hold = committer.hold()
    yield* Effect.acquireRelease(
      Effect.sync(() => snapshotsAt.set(node, at)),
      () =>
        Effect.sync(() => {
          snapshotsAt.delete(node)
          forget()
        })
    )
    yield* awaitStream(at + 1n)
    const asOf = yield* RowsAsOf.open({
      node,
      at,
      withoutOwn: false,
      rows,
      where: () => RowsAsOf.snapshotCondition(node, at)
    }, {
      ...rowsContext,
      awaitReached: (lsn) => Effect.zipRight(awaitStream(lsn), Effect.suspend(() => awaitDependencies(node)))
    })
    const begin = Effect.sync(() => run(catchUp(node)))
    const pull = Effect.map(
      asOf.pull,
      Option.map((page) =>
        page.flatMap(({ after, texts }) =>
          after.isIn ? [Buffer.from(`${node.items.insert(texts, node.tags ? node.tags.headers(after) : "")}}}`)] : []
        )
      )
    )
    let hasBegun = false
    const snapshot: NodeSnapshot = {
      marks: asOf.marks,
      pull: Effect.suspend(() => {
        if (hasBegun) return pull
        hasBegun = true
        return Effect.zipRight(begin, pull)
      })
    }
    yield* take(snapshot)
  }, Effect.scoped)

  const create: Subqueries["create"] = (entry, rows, take) =>
    Effect.flatMap(acquireAll(entry, undefined), (dependencies) => {
      let hasJoined = false
      const taken = createNode(entry, dependencies, rows, take, () => {
        hasJoined = true
      })
      return FairPermits.withPermit(context.snapshotPermits)(taken).pipe(
        Effect.onError(() =>
          Effect.sync(() => {
            if (!hasJoined) { for (const { release } of dependencies) release() }
          })
        )
      )
    })

  const restore: Subqueries["restore"] = Effect.fnUntraced(function*(entries, from) {
    const restoreOne = (entry: ShapeEntry) =>
      acquireAll(entry, from).pipe(
        Effect.flatMap((dependencies) =>
          Effect.tapError(
            join(entry, dependencies),
            () => Effect.sync(() => dependencies.forEach(({ release }) => release()))
          )
        ),
        Effect.catchAll((error) =>
          Effect.sync(() => unsafeRotate(entry, `a shape that it depends on is gone: ${error.detail}`))
        )
      )
    // Those first that others depend on.
    const sorted = [...entries].sort((a, b) => depthOf(a.definition) - depthOf(b.definition))
    for (const entry of sorted) yield* restoreOne(entry)
  })

  return {
    follows: (oids) => followed.size > 0 && oids.some((oid) => followed.has(oid)),
    unsafeTake: (oids, change) => journal.take(oids.filter((oid) => followed.has(oid)), change),
    unsafeTruncate: (oids) => journal.truncate(oids),
    unsafeCommit: (transaction, op) => {
      const ended = journal.commit(transaction, op)
      if (ended) arrived.push(ended)
    },
    unsafeAbort: () => {
      journal.abort()
      arrived = []
    },
    unsafeReset: (lsn) => {
      arrived = []
      journal.reset()
      movedAt.clear()
      reached = lsn
      taken = lsn
    },
    isEmpty: () => followed.size === 0 && arrived.length === 0 && journal.length === 0,
    process,
    unsafeReach,
    create,
    restore,
    unsafeRemoved,
    isUsed: (entry) => usesOf.has(entry),
    behind: (entry) => nodes.get(entry)?.behind,
    held: () =>
      uses.size + nodes.size + tables.size + followed.size + movedAt.size + arrived.length + journal.length +
      lateNodes.size + usesOf.size + ahead.size + unsettled.size,
    journalBytes: () => journal.bytes
  }
})
