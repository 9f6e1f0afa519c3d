/**
 * A store that fails and stalls on command: wraps another one. Every fault is awaitable, so a test needs no clock to know that it has struck.
 *
 * A commit passes, in this order: the gate `commits`, the faults, the wrapped store, the gate `completions`. A commit that is held at
 * `completions` is visible, and its caller does not know yet. Like the real ones, a commit that waits can't be interrupted.
 */
import { Context, Deferred, Effect, Layer } from "effect"
import { StorageError } from "../../src/domain/Errors.ts"
import { type Commit, ShapeStorage } from "../../src/storage/ShapeStorage.ts"

/** Counts what happens, and lets a test wait for the `n`-th time. */
const makeTally = () => {
  let count = 0
  let waiters: Array<{ readonly n: number; readonly reached: Deferred.Deferred<void> }> = []
  return {
    hit: (): void => {
      count++
      const reached = waiters.filter(({ n }) => n <= count)
      waiters = waiters.filter(({ n }) => n > count)
      for (const waiter of reached) Deferred.unsafeDone(waiter.reached, Effect.void)
    },
    /** Completes when it has happened `n` times since the beginning. */
    reached: Effect.fnUntraced(function*(n: number) {
      if (count >= n) return
      const reached = yield* Deferred.make<void>()
      waiters.push({ n, reached })
      yield* Deferred.await(reached)
    })
  }
}

/** Something that calls have to pass, one after another; open at first. */
export interface Gate {
  readonly close: Effect.Effect<void>
  /** Lets all pass that wait, in the order in which they came, and all that come. */
  readonly open: Effect.Effect<void>
  /** Completes when `n` calls have been stopped by this gate since the beginning. */
  readonly stopped: (n: number) => Effect.Effect<void>
}

export const makeGate = (): { readonly gate: Gate; readonly pass: Effect.Effect<void> } => {
  const latch = Effect.unsafeMakeLatch(true)
  const stops = makeTally()
  let isOpen = true
  return {
    gate: {
      close: Effect.sync(() => {
        isOpen = false
        latch.unsafeClose()
      }),
      open: Effect.sync(() => {
        isOpen = true
        latch.unsafeOpen()
      }),
      stopped: stops.reached
    },
    pass: Effect.suspend(() => {
      if (isOpen) return Effect.void
      stops.hit()
      return latch.await
    })
  }
}

/** What a full disk looks like. */
export const diskFull = new StorageError({ operation: "commit", cause: new Error("no space left on device") })
export const ioError = new StorageError({ operation: "commit", cause: new Error("Input/output error") })

export class FaultyStorage extends Context.Tag("shapelog/test/FaultyStorage")<FaultyStorage, {
  readonly commits: Gate
  readonly completions: Gate
  readonly flushes: Gate
  readonly reads: Gate
  /** The next commit fails and changes nothing. Called twice, the next two do. */
  readonly failNextCommit: (error?: StorageError) => Effect.Effect<void>
  /** Every commit fails and changes nothing, until `heal`. */
  readonly failCommits: (error?: StorageError) => Effect.Effect<void>
  readonly heal: Effect.Effect<void>
  /** Every commit fails and changes nothing, until the latch is open and its opening has been noticed: a commit in the same turn still fails. */
  readonly failCommitsUntil: (latch: Effect.Latch, error?: StorageError) => Effect.Effect<void>
  readonly failNextFlush: (error?: StorageError) => Effect.Effect<void>
  readonly failNextRead: (error?: StorageError) => Effect.Effect<void>
  /** Completes when `n` commits have failed on command since the beginning. */
  readonly commitsFailed: (n: number) => Effect.Effect<void>
  /** Completes when the wrapped store has completed `n` commits since the beginning. */
  readonly commitsApplied: (n: number) => Effect.Effect<void>
  /** Every commit that was asked for, in order, also those that failed. */
  readonly asked: ReadonlyArray<Commit>
}>() {}

const make = Effect.gen(function*() {
  const inner = yield* ShapeStorage
  const scope = yield* Effect.scope

  const commits = makeGate()
  const completions = makeGate()
  const flushes = makeGate()
  const reads = makeGate()
  const failed = makeTally()
  const applied = makeTally()
  const asked: Array<Commit> = []
  const nextCommits: Array<StorageError> = []
  const nextFlushes: Array<StorageError> = []
  const nextReads: Array<StorageError> = []
  let always: StorageError | undefined

  const commit = (commit: Commit): Effect.Effect<void, StorageError> => {
    const attempt = Effect.suspend(() => {
      const error = nextCommits.shift() ?? always
      if (error !== undefined) {
        failed.hit()
        return Effect.fail(error)
      }
      return Effect.tap(inner.commit(commit), () => applied.hit())
    })
    return Effect.uninterruptible(Effect.suspend(() => {
      asked.push(commit)
      return commits.pass.pipe(Effect.zipRight(attempt), Effect.zipLeft(completions.pass))
    }))
  }

  const read = <A>(effect: Effect.Effect<A, StorageError>): Effect.Effect<A, StorageError> =>
    Effect.zipRight(
      reads.pass,
      Effect.suspend(() => {
        const error = nextReads.shift()
        return error === undefined ? effect : Effect.fail(error)
      })
    )

  const storage = ShapeStorage.of({
    load: inner.load,
    commit,
    flushed: Effect.zipRight(
      flushes.pass,
      Effect.suspend(() => {
        const error = nextFlushes.shift()
        return error === undefined ? inner.flushed : Effect.fail(error)
      })
    ),
    snapshotBlock: (shape, chunk, block) => read(inner.snapshotBlock(shape, chunk, block)),
    logBlock: (shape, after) => read(inner.logBlock(shape, after)),
    chunkEnd: (shape, after) => read(inner.chunkEnd(shape, after)),
    countsAt: (shape) => read(inner.countsAt(shape)),
    counts: (shape, after) => read(inner.counts(shape, after)),
    scratch: (page) => read(inner.scratch(page)),
    diskBytes: inner.diskBytes
  })

  const failCommits = (error: StorageError = diskFull) =>
    Effect.sync(() => {
      always = error
    })
  const heal = Effect.sync(() => {
    always = undefined
  })

  const faults = FaultyStorage.of({
    commits: commits.gate,
    completions: completions.gate,
    flushes: flushes.gate,
    reads: reads.gate,
    failNextCommit: (error = diskFull) => Effect.sync(() => void nextCommits.push(error)),
    failCommits,
    heal,
    failCommitsUntil: (latch, error) =>
      Effect.zipRight(failCommits(error), Effect.forkIn(Effect.zipRight(latch.await, heal), scope)).pipe(Effect.asVoid),
    failNextFlush: (error = ioError) => Effect.sync(() => void nextFlushes.push(error)),
    failNextRead: (error = ioError) => Effect.sync(() => void nextReads.push(error)),
    commitsFailed: failed.reached,
    commitsApplied: applied.reached,
    asked
  })
  return Context.make(ShapeStorage, storage).pipe(Context.add(FaultyStorage, faults))
})

/** Puts the faults between the wrapped store and whoever uses this layer. */
export const layer: Layer.Layer<ShapeStorage | FaultyStorage, never, ShapeStorage> = Layer.scopedContext(make)
