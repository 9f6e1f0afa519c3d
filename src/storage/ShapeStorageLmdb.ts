/**
 * The store in one LMDB environment. See `LmdbEnvironment` for what makes a commit atomic, `StoreKeys` for the layout.
 *
 * - A commit completes when it is visible *and* durable: it has been synced to disk, so `flushed` has nothing to wait
 * for. It takes
 *   two syncs. Commits that wait while one is being written are written together, in order, as one transaction; if that
 *   fails, each is tried alone.
 * - After a kill, and after a power cut with a disk that honours a sync, the store is at the last commit that
 * completed, or at one
 *   that was under way: never between two.
 * - A commit that fails (full disk, failed write or sync) leaves no trace and the next one is tried afresh. Only when
 * LMDB fails to write
 *   its meta page, every later read and commit fails too: then the process has to open the store again.
 * - One process at a time: opening a directory that is open, here or in another process of this machine, fails. Not for
 * network file
 *   systems, where LMDB does not work.
 * - The sweeper deletes the blocks of removed shapes slice by slice, between commits; what it had left when the process
 * ended, it
 *   deletes after the next start.
 * - Freed space is reused; the file does not shrink.
 */
import { Chunk, Effect, Exit, Fiber, Layer, Mailbox, Option, Schedule } from "effect"
import { StorageError } from "../domain/Errors.ts"
import { IdSet } from "./IdSet.ts"
import { type LmdbEnvironment, openEnvironment } from "./LmdbEnvironment.ts"
import { LmdbLog } from "./LmdbLog.ts"
import { type LmdbState, LmdbTransaction } from "./LmdbTransaction.ts"
import {
  COUNTS_PAGE,
  COUNTS_PAGE_BYTES,
  type ShapeHead,
  type ShapeId,
  ShapeStorage,
  type ShapeStorageOptions,
  type StoredCount,
  type StoredState
} from "./ShapeStorage.ts"
import * as Keys from "./StoreKeys.ts"
import { commitBytes, complaint } from "./StoreOps.ts"
import * as Values from "./StoreValues.ts"

/** Version of the layout: a store of another one is refused. */
const FORMAT = 2

/** Blocks of waiting commits that are written as one transaction, unless the first alone has more. */
const TRANSACTION_BYTES = 8 * 1024 * 1024

/** Keys that one slice of a removal deletes: 8 MiB of blocks, about 0.3 ms of the event loop. */
const SLICE_KEYS = 128

/** What waits for the writer. */
interface Request {
  readonly add: (transaction: LmdbTransaction) => void
  readonly bytes: number
  readonly done: (exit: Exit.Exit<void, StorageError>) => void
}

/** Opens `directory`, and checks or writes the format. */
const open = (directory: string): Effect.Effect<LmdbEnvironment, StorageError> =>
  Effect.tryPromise({
    try: async () => {
      const environment = openEnvironment(directory)
      try {
        const format = environment.read(Keys.FORMAT)
        if (format === undefined) {
          if (environment.keys(Buffer.of(0), Buffer.of(0xff), 1).length > 0) {
            throw new Error(`${directory} holds something else than a store`)
          }
          await environment.transact([{ key: Keys.FORMAT, value: Values.encodeUint32(FORMAT) }])
        } else if (format.length !== 4 || format.readUInt32BE() !== FORMAT) {
          const found = format.length === 4 ? String(format.readUInt32BE()) : "unknown"
          throw new Error(
            `the store in ${directory} has format ${found}, this version reads and writes format ${FORMAT}`
          )
        }
        return environment
      } catch (error) {
        await environment.close()
        throw error
      }
    },
    catch: (cause) => new StorageError({ operation: `open ${directory}`, cause })
  })

const readState = (environment: LmdbEnvironment): LmdbState => {
  const removed = new IdSet()
  const leftOver = new Set<number>()
  for (const key of environment.keys(Keys.spaceStart(Keys.REMOVED), Keys.spaceEnd(Keys.REMOVED), Infinity)) {
    removed.add(Keys.shapeOf(key))
    leftOver.add(Keys.shapeOf(key))
  }
  return { nextId: environment.read(Keys.NEXT_ID)?.readUInt32BE() ?? 1, removed, leftOver }
}

const load = ({ db, read }: LmdbEnvironment): StoredState => {
  const heads = new Map<number, ShapeHead>()
  for (const { key, value } of db.getRange({ start: Keys.spaceStart(Keys.HEAD), end: Keys.spaceEnd(Keys.HEAD) })) {
    heads.set(Keys.shapeOf(key), Values.decodeHead(value))
  }
  const decodeRecord = Values.recordDecoder()
  const shapes: Array<StoredState["shapes"][number]> = []
  for (const { value } of db.getRange({ start: Keys.spaceStart(Keys.RECORD), end: Keys.spaceEnd(Keys.RECORD) })) {
    const record = decodeRecord(value)
    shapes.push({ record, head: heads.get(record.id) })
  }
  const applied = read(Keys.APPLIED)
  return {
    applied: applied && Values.decodeApplied(applied),
    shapes,
    unfinished: read(Keys.UNFINISHED)?.[0] === 1,
    nextId: read(Keys.NEXT_ID)?.readUInt32BE() ?? 1
  }
}

/** Deletes what an earlier life of the store has left on its scratch pages, in slices. */
const dropScratch = (environment: LmdbEnvironment): Effect.Effect<void, StorageError> =>
  Effect.tryPromise({
    try: async () => {
      while (true) {
        const keys = environment.keys(Keys.spaceStart(Keys.SCRATCH), Keys.spaceEnd(Keys.SCRATCH), SLICE_KEYS)
        if (keys.length === 0) return
        await environment.transact(keys.map((key) => ({ key, value: undefined })))
      }
    },
    catch: (cause) => new StorageError({ operation: "open", cause })
  })

/** A page of a shape's counts. */
const readCounts = (
  { db }: LmdbEnvironment,
  shape: ShapeId,
  after: string | undefined
): ReadonlyArray<StoredCount> => {
  const start = after === undefined ? Keys.countsStart(shape) : Keys.successor(Keys.count(shape, after))
  const page: Array<StoredCount> = []
  let bytes = 0
  for (const { key, value } of db.getRange({ start, end: Keys.countsEnd(shape), limit: COUNTS_PAGE })) {
    page.push(Values.decodeCount(Keys.valueOfCount(key), value))
    bytes += key.length + value.length
    if (bytes >= COUNTS_PAGE_BYTES) break
  }
  return page
}

const attempt = <A>(read: () => A): A | undefined => {
  try {
    return read()
  } catch {
    // The Effect that does the same says why.
    return undefined
  }
}

const make = Effect.fnUntraced(function*({ directory }: ShapeStorageOptions) {
  const tryRead = <A>(operation: string, read: () => A): Effect.Effect<A, StorageError> =>
    Effect.try({ try: read, catch: (cause) => new StorageError({ operation, cause }) })

  // --- Environment: closed last ---

  const environment = yield* Effect.acquireRelease(
    open(directory),
    (environment) =>
      Effect.tryPromise(() => environment.close()).pipe(
        Effect.catchAll((error) => Effect.logError("the store did not close", error)),
        Effect.annotateLogs("module", "ShapeStorageLmdb")
      )
  )
  yield* dropScratch(environment)
  const state = yield* tryRead("open", () => readState(environment))
  const log = new LmdbLog(environment)

  // --- Writer: writes what has been asked for before it ends ---

  const requests = yield* Mailbox.make<Request>()
  const toSweep = Effect.unsafeMakeLatch(state.leftOver.size > 0)

  const write = (group: ReadonlyArray<Request>): Effect.Effect<void, StorageError> =>
    Effect.tryPromise({
      try: async () => {
        const transaction = new LmdbTransaction(environment, state)
        for (const request of group) request.add(transaction)
        if (transaction.writes.size === 0) return
        log.hold(transaction.changedLogs)
        try {
          await environment.transact(transaction.writes.values())
          transaction.apply()
          if (state.leftOver.size > 0) toSweep.unsafeOpen()
        } finally {
          log.release()
        }
      },
      catch: (cause) => new StorageError({ operation: "commit", cause })
    })

  const writeGroup = Effect.fnUntraced(function*(group: ReadonlyArray<Request>) {
    const exit = yield* Effect.exit(write(group))
    if (Exit.isSuccess(exit) || group.length === 1) {
      for (const request of group) request.done(exit)
    } else {
      for (const request of group) request.done(yield* Effect.exit(write([request])))
    }
  })

  const writer = yield* Effect.forkDaemon(Effect.gen(function*() {
    let done = false
    while (!done) {
      const [taken, ended] = yield* requests.takeAll
      done = ended
      const waiting = Chunk.toReadonlyArray(taken)
      for (let from = 0, to = 0; from < waiting.length; from = to) {
        let bytes = 0
        do bytes += waiting[to++]!.bytes
        while (to < waiting.length && bytes + waiting[to]!.bytes <= TRANSACTION_BYTES)
        yield* writeGroup(waiting.slice(from, to))
      }
    }
  }))
  yield* Effect.addFinalizer(() => Effect.zipRight(requests.end, Fiber.await(writer)))

  const request = (add: Request["add"], bytes: number): Effect.Effect<void, StorageError> =>
    // Uninterruptible: the bytes are the store's until it is done with them.
    Effect.uninterruptible(Effect.async((resume) => {
      if (!requests.unsafeOffer({ add, bytes, done: resume })) {
        resume(Exit.fail(new StorageError({ operation: "commit", cause: new Error("the store is closed") })))
      }
    }))

  // --- Sweeper: ends first ---

  const slice = Effect.suspend(() => {
    if (state.leftOver.size > 0) return request((transaction) => transaction.addSweep(SLICE_KEYS), 0)
    toSweep.unsafeClose()
    return Effect.void
  })
  yield* Effect.forkScoped(
    Effect.zipRight(toSweep.await, slice).pipe(
      Effect.tapError((error) => Effect.logWarning("could not delete blocks of removed shapes; trying again", error)),
      Effect.retry(Schedule.exponential(500, 1.5).pipe(Schedule.union(Schedule.spaced("10 seconds")))),
      Effect.forever,
      Effect.annotateLogs("module", "ShapeStorageLmdb")
    )
  )

  return ShapeStorage.of({
    load: tryRead("load", () => load(environment)),
    commit: (commit) =>
      Effect.suspend(() => {
        const text = complaint(commit)
        if (text !== undefined) return Effect.fail(new StorageError({ operation: "commit", cause: new Error(text) }))
        return request((transaction) => transaction.addCommit(commit), commitBytes(commit))
      }),
    flushed: Effect.void,
    snapshotBlock: (shape, chunk, block) =>
      tryRead(
        "read a snapshot block",
        () => Option.fromNullable(environment.read(Keys.snapshotBlock(shape, chunk, block)))
      ),
    logBlock: (shape, after) => tryRead("read a log block", () => Option.fromNullable(log.block(shape, after))),
    unsafe: {
      snapshotBlock: (shape, chunk, block) => attempt(() => environment.read(Keys.snapshotBlock(shape, chunk, block))),
      logBlock: (shape, after) => attempt(() => log.block(shape, after))
    },
    chunkEnd: (shape, after) =>
      tryRead("read a chunk end", () => {
        const [key] = environment.keys(Keys.chunkEndsAfter(shape, after), Keys.chunkEndsEnd(shape), 1)
        return key === undefined ? Option.none() : Option.some(Keys.offsetOf(key))
      }),
    countsAt: (shape) =>
      tryRead(
        "read what counts stand for",
        () => Option.map(Option.fromNullable(environment.read(Keys.countsAt(shape))), Values.decodeCountsAt)
      ),
    counts: (shape, after) => tryRead("read counts", () => readCounts(environment, shape, after)),
    scratch: (page) => tryRead("read a scratch page", () => Option.fromNullable(environment.read(Keys.scratch(page)))),
    diskBytes: Effect.tryPromise({
      try: () => environment.diskBytes(),
      catch: (cause) => new StorageError({ operation: "measure the store", cause })
    })
  })
})

export const layer = (options: ShapeStorageOptions): Layer.Layer<ShapeStorage, StorageError> =>
  Layer.scoped(ShapeStorage, make(options))
