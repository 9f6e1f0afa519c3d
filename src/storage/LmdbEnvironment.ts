/**
 * One LMDB environment, opened for one process, with what lmdb-js leaves to be known about it. Plain code: it throws,
 * or rejects, and its caller makes `StorageError`s of that.
 *
 * Atomicity. `transact` is one `batch()`, and one batch is one LMDB transaction: the write thread does not end its
 * transaction inside a batch. A transaction becomes visible and durable by the write of one meta page, so a killed
 * process leaves all of it or nothing. Two rules uphold this: never a synchronous transaction while a batch is under
 * way (it would make the write thread commit the half it has), and one batch at a time (batches that meet share a
 * transaction, and its fate).
 *
 * Options. `overlappingSync` off: with it, a batch's promise also waits for its fsync, so nothing is gained, but after
 * a failed fsync the transaction is visible though its promise rejects, and `close` and `flushed` then wait for ever.
 * Without it a transaction is written, synced, then made visible by a meta page that is written with O_DSYNC; if the
 * sync fails it was never there. `eventTurnBatching` off: with it, a failed transaction also rejects a promise that
 * nobody can catch, which ends the process.
 */
import { open, type RootDatabase } from "lmdb"
import * as fs from "node:fs"
import * as path from "node:path"

export interface Write {
  readonly key: Buffer
  /** `undefined` deletes the key. */
  readonly value: Uint8Array | undefined
}

export interface LmdbEnvironment {
  readonly db: RootDatabase<Buffer, Buffer>
  /** Writes all or nothing. Resolves when the writes are visible and durable. One at a time. */
  readonly transact: (writes: Iterable<Write>) => Promise<void>
  /** A copy of the value, owned by the caller. */
  readonly read: (key: Buffer) => Buffer | undefined
  /** The value in a buffer that the next read overwrites, and that may be longer than its `length` says. */
  readonly peek: (key: Buffer) => Buffer | undefined
  /** At most `limit` keys in [`start`, `end`), in order. */
  readonly keys: (start: Buffer, end: Buffer, limit: number) => Array<Buffer>
  /** The last key between `start` and `end`, neither of which is a key. */
  readonly lastKey: (start: Buffer, end: Buffer) => Buffer | undefined
  /** Bytes that the data file occupies. */
  readonly diskBytes: () => Promise<number>
  readonly close: () => Promise<void>
}

const FILE = "shapelog.mdb"

/** Address space that the map begins with; it grows by itself beyond that. No memory or disk is taken for it. */
const MAP_BYTES = 16 * 1024 ** 3

/** The reader table of LMDB does not tell two environments of one process apart. */
const openHere = new Set<string>()

/**
 * Every process that has an environment open holds a row in its reader table; rows of dead ones are cleared by `open`.
 */
const otherProcesses = (db: RootDatabase<Buffer, Buffer>): Array<number> =>
  [...db.readerList().matchAll(/^ *(\d+) /gm)].map((row) => Number(row[1])).filter((pid) => pid !== process.pid)

/** lmdb rejects with an error that promises the real one. */
const realError = async (error: unknown): Promise<unknown> => {
  if (error instanceof Error && "commitError" in error && error.commitError instanceof Promise) {
    try {
      await error.commitError
    } catch (real) {
      return real
    }
  }
  return error
}

const EIO = 5

/** A short write is all that LMDB sees of a full disk, and it calls that an I/O error. */
const explained = async (error: unknown, directory: string, wanted: number): Promise<unknown> => {
  if (!(error instanceof Error && "code" in error && error.code === EIO)) return error
  const { bavail, bsize } = await fs.promises.statfs(directory)
  return bavail * bsize > wanted + 1024 * 1024 ? error : new Error(`the disk of ${directory} is full`, { cause: error })
}

/** LMDB's magic number and the version of its file format, after the header of the first page. */
const HEADER_AT = 24
const HEADER = Buffer.of(0xde, 0xc0, 0xef, 0xbe, 2, 0, 0, 0)

/** lmdb ends the process when it opens a file that is not LMDB's, so this looks first. */
const refuseForeignFile = (file: string): void => {
  if (!fs.existsSync(file) || fs.statSync(file).size === 0) return
  const found = Buffer.alloc(HEADER.length)
  const descriptor = fs.openSync(file, "r")
  try {
    fs.readSync(descriptor, found, 0, found.length, HEADER_AT)
  } finally {
    fs.closeSync(descriptor)
  }
  if (!found.equals(HEADER)) throw new Error(`${file} is not a file of this version of LMDB`)
}

/** Opens the environment in `directory`, which is made if need be. Throws when another process has it open. */
export const openEnvironment = (directory: string): LmdbEnvironment => {
  fs.mkdirSync(directory, { recursive: true })
  const real = fs.realpathSync(directory)
  if (openHere.has(real)) throw new Error(`${real} is already open in this process`)
  const file = path.join(real, FILE)
  refuseForeignFile(file)
  const db = open<Buffer, Buffer>({
    path: file,
    noSubdir: true,
    encoding: "binary",
    keyEncoding: "binary",
    overlappingSync: false,
    eventTurnBatching: false,
    mapSize: MAP_BYTES
  })
  openHere.add(real)

  let broken: unknown
  const close = async () => {
    try {
      await db.close()
    } finally {
      openHere.delete(real)
    }
  }

  // Our own row first: of two processes that open at once, at least one sees the other.
  db.getBinaryFast(Buffer.of(0))
  const others = otherProcesses(db)
  if (others.length > 0) {
    void close()
    throw new Error(`${real} is open in another process (pid ${others.join(", ")})`)
  }

  const transact = async (writes: Iterable<Write>): Promise<void> => {
    if (broken !== undefined) throw broken
    let bytes = 0
    try {
      await db.batch(() => {
        for (const { key, value } of writes) {
          if (value === undefined) {
            void db.remove(key)
          } else {
            bytes += value.length
            void db.put(key, asBuffer(value))
          }
        }
      })
    } catch (thrown) {
      const error = await explained(await realError(thrown), real, bytes)
      try {
        db.transactionSync(() => undefined)
      } catch (panic) {
        // The meta page could not be written: LMDB takes no more transactions, and the write thread would never answer.
        broken = new Error("LMDB failed to write its meta page and takes no more writes until it is opened again", {
          cause: panic
        })
      }
      throw error
    }
    db.resetReadTxn()
  }

  const read = (key: Buffer): Buffer | undefined => {
    const shared = db.getBinaryFast(key)
    if (shared === undefined) return undefined
    // `shared` is a larger buffer that says another length: only subarray and set go by what is really there.
    const own = Buffer.allocUnsafeSlow(shared.length)
    own.set(shared.subarray(0, shared.length))
    return own
  }

  return {
    db,
    transact,
    read,
    peek: (key) => db.getBinaryFast(key),
    keys: (start, end, limit) => {
      const out: Array<Buffer> = []
      for (const key of db.getKeys({ start, end, limit })) out.push(key)
      return out
    },
    lastKey: (start, end) => {
      for (const key of db.getKeys({ start: end, end: start, reverse: true, limit: 1 })) return key
      return undefined
    },
    diskBytes: async () => (await fs.promises.stat(file)).blocks * 512,
    close
  }
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
