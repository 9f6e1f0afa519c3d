/**
 * Group commit: what every consumer and snapshot has pending goes into the store in one transaction, with the position
 * in the WAL that it brings all shapes to (D4).
 *
 * A commit is cut at a boundary of the stream: the collector holds `boundary` while a batch is on its way through the
 * consumers, so the applied position and the entries always belong together. A commit that fails is tried again until
 * it succeeds; nothing is dropped, and the memory budget stops the stream meanwhile. Positions are reported durable, in
 * order, only after the store has flushed them (I1).
 */
import { Deferred, Effect, Schedule, type Scope } from "effect"
import type { StorageError } from "../domain/Errors.ts"
import * as Lsn from "../domain/Lsn.ts"
import type { AppliedPosition, ShapeStorage, StoreOp } from "../storage/ShapeStorage.ts"
import type { MemoryBudget } from "./MemoryBudget.ts"

/** Something that gathers entries between commits: a consumer. */
export interface CommitSource {
  /** Takes what is pending, in one synchronous turn. `done` is called once readers can see it. */
  readonly unsafeCut: () => {
    readonly ops: ReadonlyArray<StoreOp>
    readonly unfinished: boolean
    readonly done: () => void
  } | undefined
}

export interface Committer {
  /**
   * Adds ops to the next commit, which is at the latest the one that carries the next position. `bytes` is what they
   * hold in memory until readers can see them; then `done` is called.
   */
  readonly unsafeEnqueue: (ops: ReadonlyArray<StoreOp>, bytes?: number, done?: () => void) => void
  /** Lets the next commit wait for nothing more: somebody waits for what it holds. */
  readonly unsafeHurry: () => void
  /** The source has something pending. */
  readonly unsafeDirty: (source: CommitSource) => void
  /**
   * The stream has got to this position: it goes with the next commit. An idle one (`endLsn` alone has moved) may wait
   * for a second.
   */
  readonly unsafeAdvance: (lsn: Lsn.Lsn, endLsn: Lsn.Lsn, idle: boolean) => void
  /**
   * Keeps the stored position from passing where the stream is now, until it is released: a restart has to be sent what
   * comes after it again. What shapes have of it already, they skip.
   */
  readonly hold: () => Hold
  /** Where the stream has got to; `undefined` before it was first followed. */
  readonly position: () => AppliedPosition | undefined
  /** Starts over at a position, for a source that is followed for the first time or anew. */
  readonly unsafeReset: (position: AppliedPosition) => void
  /** Commits what is pending now, without waiting for the group; completes when readers see it. */
  readonly flush: Effect.Effect<void>
  /** Held by the collector while a batch is under way. */
  readonly boundary: Effect.Semaphore
  /** Called with each position that has become durable. */
  readonly onDurable: (listener: ((endLsn: Lsn.Lsn) => void) | undefined) => void
}

export interface Hold {
  /** The position may come up to this transaction now. */
  readonly move: (lsn: Lsn.Lsn) => void
  readonly release: () => void
}

export interface CommitterOptions {
  /** How long a commit waits for company, in milliseconds. */
  readonly groupMillis: number
  /** Pending bytes at which a commit no longer waits. */
  readonly groupBytes: number
  /** How long a position that moved while nothing was written may wait, in milliseconds. */
  readonly idleMillis: number
}

export const defaults: CommitterOptions = { groupMillis: 3, groupBytes: 1 << 20, idleMillis: 1000 }

/**
 * Each source costs a commit a write, however little it has pending: with many of them a commit waits longer, so that
 * they have more. Nobody waits for it: readers have what is pending from memory.
 */
const SOURCES_PER_MILLI = 10
const MAX_GROUP_MILLIS = 100

const retryCommit = Schedule.exponential("50 millis", 2).pipe(Schedule.union(Schedule.spaced("2 seconds")))

export const make = Effect.fnUntraced(function*(
  storage: ShapeStorage["Type"],
  budget: MemoryBudget,
  initial: AppliedPosition | undefined,
  options: CommitterOptions = defaults,
  /** The transactions that a position is stored with. */
  recent: () => ReadonlyArray<number> = () => []
): Effect.fn.Return<Committer, never, Scope.Scope> {
  const boundary = Effect.unsafeMakeSemaphore(1)
  const work = Effect.unsafeMakeLatch(false)
  const urgent = Effect.unsafeMakeLatch(false)
  const flushWork = Effect.unsafeMakeLatch(false)
  const dirty = new Set<CommitSource>()
  let ops: Array<StoreOp> = []
  let opBytes = 0
  let opDones: Array<() => void> = []
  const fiberId = yield* Effect.fiberId
  let visible = Deferred.unsafeMake<void>(fiberId)
  let position = initial
  let positionDirty = false
  /** Positions that must not be passed. */
  const holds = new Set<{ position: AppliedPosition | undefined }>()
  /** Those that have been passed since the oldest of them, in order. */
  let passed: Array<AppliedPosition> = []
  let unfinished = false
  /** The position that the last commit left in the store. */
  let written = initial
  let committed = initial?.endLsn
  let listener: ((endLsn: Lsn.Lsn) => void) | undefined
  /** How many sources the last commit had entries of. */
  let sources = 0
  let inFlight: ReturnType<typeof cut> | undefined

  const hurry = () => {
    work.unsafeOpen()
    urgent.unsafeOpen()
  }

  /** The position that may be stored. */
  const lowest = (): AppliedPosition | undefined => {
    let found = position
    for (const hold of holds) {
      if (hold.position === undefined) return undefined
      if (found === undefined || hold.position.endLsn < found.endLsn) found = hold.position
    }
    return found
  }

  /** Everything pending, as one commit, and what to do once it is visible. */
  const cut = () => {
    work.unsafeClose()
    urgent.unsafeClose()
    const batch = ops
    const bytes = opBytes
    const waiting = visible
    const reached = lowest()
    const applied = positionDirty && reached && reached !== written ? { ...reached, recent: recent() } : undefined
    written = reached
    const dones = opDones
    let openEntries = false
    ops = []
    opBytes = 0
    opDones = []
    visible = Deferred.unsafeMake(fiberId)
    positionDirty = false
    sources = dirty.size
    for (const source of dirty) {
      const taken = source.unsafeCut()
      if (!taken) continue
      for (const op of taken.ops) batch.push(op)
      openEntries ||= taken.unfinished
      dones.push(taken.done)
    }
    dirty.clear()
    // Entries of an unfinished transaction stay unfinished until a position past it is committed.
    unfinished = openEntries || (unfinished && (!applied || holds.size > 0))
    return { commit: { ops: batch, ...(applied ? { applied } : {}), unfinished }, applied, bytes, waiting, dones }
  }

  const finish = (taken: ReturnType<typeof cut>) => {
    inFlight = undefined
    budget.release(taken.bytes)
    for (const done of taken.dones) done()
    if (taken.applied) {
      committed = taken.applied.endLsn
      flushWork.unsafeOpen()
    }
    Deferred.unsafeDone(taken.waiting, Effect.void)
  }

  // A cut that could not be stored stays in flight, also when this is interrupted: nothing later may be committed
  // before it. Storing it twice changes nothing.
  const commitOnce = Effect.gen(function*() {
    const taken = inFlight ?? (yield* boundary.withPermits(1)(Effect.sync(() => inFlight = cut())))
    if (taken.commit.ops.length > 0 || taken.applied) {
      yield* storage.commit(taken.commit).pipe(
        Effect.tapError((error) => Effect.logError("the store refused a commit; it is tried again", error)),
        Effect.retry(retryCommit),
        Effect.orDie
      )
    }
    finish(taken)
  })

  const awaitCompany = Effect.suspend(() => {
    const millis = Math.max(options.groupMillis, Math.min(sources / SOURCES_PER_MILLI, MAX_GROUP_MILLIS))
    return Effect.raceFirst(Effect.sleep(millis), urgent.await)
  })

  const flushDurable = Effect.gen(function*() {
    yield* flushWork.await
    flushWork.unsafeClose()
    const reached = committed
    yield* storage.flushed
    if (reached !== undefined) listener?.(reached)
  }).pipe(
    Effect.tapError((error: StorageError) => {
      flushWork.unsafeOpen()
      return Effect.logError("the store could not be flushed; it is tried again", error)
    }),
    Effect.retry(retryCommit),
    Effect.orDie
  )

  const flush = Effect.suspend(() => {
    hurry()
    return Deferred.await(visible)
  })

  // The last commit comes after everything that feeds the committer has ended; then what is visible is made durable.
  yield* Effect.addFinalizer(() =>
    // What was in flight when the loop ended, and what is pending behind it.
    Effect.suspend(() => (inFlight ? Effect.zipRight(commitOnce, commitOnce) : commitOnce)).pipe(
      Effect.andThen(storage.flushed),
      // A finalizer can't be interrupted, nor what runs in it: without this the time limit would be waited past.
      Effect.interruptible,
      Effect.timeoutFail({ duration: "5 seconds", onTimeout: () => new Error("the last commit took too long") }),
      Effect.catchAll((error) =>
        Effect.logError("the last commit failed; Postgres will send its transactions again", error)
      )
    )
  )
  yield* Effect.forkScoped(Effect.forever(work.await.pipe(Effect.andThen(awaitCompany), Effect.andThen(commitOnce))))
  yield* Effect.forkScoped(Effect.forever(flushDurable))
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(
    Effect.sleep(options.idleMillis),
    Effect.sync(() => {
      if (positionDirty) work.unsafeOpen()
    })
  )))

  return {
    flush,
    unsafeHurry: hurry,
    boundary,
    unsafeEnqueue: (added, bytes = 0, done) => {
      for (const op of added) ops.push(op)
      opBytes += bytes
      budget.add(bytes)
      if (done) opDones.push(done)
      if (opBytes >= options.groupBytes) hurry()
      else work.unsafeOpen()
    },
    unsafeDirty: (source) => {
      dirty.add(source)
      if (budget.used() >= options.groupBytes) hurry()
      else work.unsafeOpen()
    },
    unsafeAdvance: (lsn, endLsn, idle) => {
      if (!position || (endLsn <= position.endLsn && lsn <= position.lsn)) return
      position = { ...position, lsn: Lsn.max(position.lsn, lsn), endLsn: Lsn.max(position.endLsn, endLsn) }
      positionDirty = true
      if (holds.size > 0) passed.push(position)
      if (!idle) work.unsafeOpen()
    },
    hold: () => {
      const hold = { position }
      holds.add(hold)
      const changed = () => {
        const oldest = lowest()
        if (holds.size === 0) passed = []
        else if (oldest) passed = passed.filter(({ endLsn }) => endLsn > oldest.endLsn)
        positionDirty = true
        work.unsafeOpen()
      }
      return {
        move: (lsn) => {
          let next: AppliedPosition | undefined
          for (const each of passed) {
            if (each.lsn > lsn) break
            next = each
          }
          if (!next || !holds.has(hold) || (hold.position && next.endLsn <= hold.position.endLsn)) return
          hold.position = next
          changed()
        },
        release: () => {
          if (holds.delete(hold)) changed()
        }
      }
    },
    position: () => position,
    unsafeReset: (next) => {
      position = next
      positionDirty = true
      work.unsafeOpen()
    },
    onDurable: (next) => {
      listener = next
    }
  }
})
