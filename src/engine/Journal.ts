/**
 * What the stream brought of tables that subqueries are about, transaction by transaction, for as long as a node has
 * not got there (see SUBQUERIES.md).
 *
 * Bounded in memory (DESIGN D11): what comes when the limit is reached goes to scratch pages of the store, in the order
 * of the stream, until the nodes have got through all of them. A large transaction is kept in parts, so one of any size
 * passes. Plain code; only reading a page is an Effect.
 */
import { Effect, Option, Schedule } from "effect"
import type { StorageError } from "../domain/Errors.ts"
import { highest, type Lsn } from "../domain/Lsn.ts"
import type { ScratchPage, StoreOp } from "../storage/ShapeStorage.ts"
import type { RowChange, Transaction } from "./Changes.ts"
import { decodeParts, encodePart, type PageTables, type Part } from "./JournalPage.ts"

export type { Part } from "./JournalPage.ts"

/** A transaction that has ended. */
export interface Arrived {
  readonly transaction: Transaction
  /** All of it; `undefined` when it is kept in parts. */
  readonly part: Part | undefined
}

/** Where pages are kept. */
export interface JournalStore {
  /** Adds ops to the next commit; `bytes` are held until `done` is called. */
  readonly unsafeEnqueue: (ops: ReadonlyArray<StoreOp>, bytes: number, done: () => void) => void
  readonly read: (page: ScratchPage) => Effect.Effect<Option.Option<Buffer>, StorageError>
}

export interface JournalOptions {
  /** Bytes of changes in memory beyond which more of them go to the store. */
  readonly limit: number
  /** Bytes of changes at which a part of a transaction ends. */
  readonly partBytes: number
  /** Bytes at which a page ends. */
  readonly pageBytes: number
}

export const defaults: JournalOptions = { limit: 8 << 20, partBytes: 512 << 10, pageBytes: 64 << 10 }

/** A page: several small transactions, or a part of a large one. */
interface Page extends PageTables {
  readonly page: ScratchPage
  readonly firstLsn: Lsn
  readonly firstNumber: number
  lastLsn: Lsn
  /** How many parts it has; those behind them were dropped. */
  count: number
  /** What it is made of, until the store has it. */
  encoded: Array<Buffer> | undefined
  /** The store has it, or will. */
  isSealed: boolean
  bytes: number
}

/** The transaction that is arriving. */
interface Open {
  transaction: Transaction | undefined
  number: number
  changes: Map<number, Array<RowChange>>
  truncated: Set<number>
  bytes: number
}

/** How many pages are kept as they were read last. */
const DECODED = 4

const retryRead = Schedule.exponential("50 millis", 2).pipe(Schedule.union(Schedule.spaced("2 seconds")))

/** Memory of a change beside the buffers that it is a view on, and of a transaction, roughly. */
const CHANGE_BYTES = 300
const TRANSACTION_BYTES = 400

const isBefore = (lsn: Lsn, number: number, thanLsn: Lsn, thanNumber: number): boolean =>
  lsn < thanLsn || (lsn === thanLsn && number < thanNumber)

/** How many elements, which are sorted, come before a position. */
const countBefore = (length: number, isBeforeIt: (i: number) => boolean): number => {
  let low = 0
  let high = length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isBeforeIt(middle)) low = middle + 1
    else high = middle
  }
  return low
}

export class Journal {
  /** The last transaction that it has to the end. */
  last: Lsn = -1n
  private readonly store: JournalStore
  private readonly options: JournalOptions
  /** The oldest: in memory. */
  private parts: Array<Part> = []
  private partBytes: Array<number> = []
  /** What follows them: in the store. The last one may still be open. */
  private pages: Array<Page> = []
  private open: Open | undefined
  /** The buffer that the last change is a view on: it is held as a whole. */
  private buffer: Buffer | undefined
  private nextPage = 0
  /** Bytes of `parts`, of pages that the store does not have yet, and of what others hold. */
  private held = 0
  private readonly decoded: Array<
    { readonly page: Page; readonly count: number; readonly parts: ReadonlyArray<Part> }
  > = []

  constructor(store: JournalStore, options: JournalOptions = defaults) {
    this.store = store
    this.options = options
  }

  /** Bytes in memory, roughly: also what was told by `hold`. */
  get bytes(): number {
    return this.held + (this.open?.bytes ?? 0)
  }

  /** How many parts and pages there are. */
  get length(): number {
    return this.parts.length + this.pages.length
  }

  /** Counts what somebody keeps of its changes. */
  hold(bytes: number): void {
    this.held += bytes
  }

  // --- The transaction that is arriving ---

  take(oids: Iterable<number>, change: RowChange): void {
    const open = this.opened()
    open.transaction = change.transaction
    for (const oid of oids) {
      const changes = open.changes.get(oid)
      if (changes) changes.push(change)
      else open.changes.set(oid, [change])
    }
    const { message } = change
    const { bytes } = message._tag === "Delete" ? message.old : message.row
    open.bytes += CHANGE_BYTES + (bytes === this.buffer ? 0 : bytes.length)
    this.buffer = bytes
    if (open.bytes >= this.options.partBytes) this.cut(open)
  }

  truncate(oids: Iterable<number>): void {
    const { truncated } = this.opened()
    for (const oid of oids) truncated.add(oid)
  }

  /** It ends; `op` is the number of the first operation behind its changes. `undefined` if it had nothing. */
  commit(transaction: Transaction, op: number): Arrived | undefined {
    const { open } = this
    if (!open) return undefined
    this.open = undefined
    const { bytes, changes, number, truncated } = open
    const part: Part = { transaction, number, changes, truncated, op, isLast: true }
    // One that comes again, because the connection was lost, is there already.
    if (transaction.lsn > this.last) {
      this.push(part, bytes + TRANSACTION_BYTES)
      this.last = transaction.lsn
    }
    return { transaction, part: number === 0 ? part : undefined }
  }

  /** Drops it. */
  abort(): void {
    const lsn = this.open?.transaction?.lsn
    this.open = undefined
    if (lsn === undefined || lsn <= this.last) return
    while (this.parts.length > 0 && this.parts[this.parts.length - 1]!.transaction.lsn === lsn) {
      this.parts.pop()
      this.held -= this.partBytes.pop()!
    }
    while (this.pages.length > 0 && this.pages[this.pages.length - 1]!.firstLsn === lsn) {
      this.drop([this.pages.pop()!])
    }
    const page = this.pages[this.pages.length - 1]
    if (page === undefined || page.lastLsn !== lsn) return
    // It begins in the middle of a page: at the one part of it that the page ends with.
    page.count -= 1
    page.lastLsn = this.last
    if (!page.isSealed) this.seal(page)
  }

  private opened(): Open {
    return this.open ??= {
      transaction: undefined,
      number: 0,
      changes: new Map(),
      truncated: new Set(),
      bytes: 0
    }
  }

  /** Ends a part in the middle of the transaction. */
  private cut(open: Open): void {
    const { changes, number, truncated } = open
    const transaction = open.transaction!
    if (transaction.lsn > this.last) {
      this.push({ transaction, number, changes, truncated, op: 0, isLast: false }, open.bytes)
    }
    this.open = {
      transaction,
      number: number + 1,
      changes: new Map(),
      truncated: new Set(),
      bytes: 0
    }
  }

  // --- What is kept ---

  private isSpilling(): boolean {
    return this.pages.length > 0
  }

  private push(part: Part, bytes: number): void {
    if (!this.isSpilling() && this.held + bytes <= this.options.limit) {
      this.parts.push(part)
      this.partBytes.push(bytes)
      this.held += bytes
      return
    }
    const page = this.openPage(part)
    const encoded = encodePart(part, page)
    page.encoded!.push(encoded)
    page.count += 1
    page.lastLsn = part.transaction.lsn
    page.bytes += encoded.length
    this.held += encoded.length
    // A large transaction's parts have pages of their own.
    if (page.bytes >= this.options.pageBytes || !part.isLast) this.seal(page)
  }

  private openPage({ number, transaction }: Part): Page {
    const last = this.pages[this.pages.length - 1]
    if (last && !last.isSealed) return last
    const page: Page = {
      page: this.nextPage++,
      firstLsn: transaction.lsn,
      firstNumber: number,
      lastLsn: transaction.lsn,
      count: 0,
      encoded: [],
      isSealed: false,
      bytes: 0,
      relations: [],
      relationNumbers: new Map()
    }
    this.pages.push(page)
    return page
  }

  /** Hands a page to the store. */
  private seal(page: Page): void {
    page.isSealed = true
    const bytes = Buffer.concat(page.encoded!)
    page.encoded = [bytes]
    this.store.unsafeEnqueue([{ _tag: "PutScratch", page: page.page, bytes }], bytes.length, () => {
      this.held -= page.bytes
      page.bytes = 0
      page.encoded = undefined
    })
  }

  /** Nobody asks for transactions up to this position any more. */
  forget(upTo: Lsn): void {
    const count = countBefore(this.parts.length, (i) => this.parts[i]!.transaction.lsn <= upTo)
    if (count > 0) {
      for (let i = 0; i < count; i++) this.held -= this.partBytes[i]!
      this.parts = this.parts.slice(count)
      this.partBytes = this.partBytes.slice(count)
    }
    const pages = countBefore(this.pages.length, (i) => this.pages[i]!.lastLsn <= upTo)
    if (pages === 0) return
    this.drop(this.pages.splice(0, pages))
  }

  /** Nothing of it is asked for any more, and positions begin anew. */
  reset(): void {
    this.abort()
    this.forget(highest)
    this.last = -1n
  }

  private drop(pages: ReadonlyArray<Page>): void {
    for (const page of pages) {
      const at = this.decoded.findIndex((known) => known.page === page)
      if (at >= 0) this.decoded.splice(at, 1)
    }
    // One that the store was not given is only here.
    const open = pages.find(({ isSealed }) => !isSealed)
    if (open) this.held -= open.bytes
    this.store.unsafeEnqueue(
      [{ _tag: "DropScratch", from: pages[0]!.page, to: pages[pages.length - 1]!.page }],
      0,
      () => {}
    )
  }

  // --- Reading ---

  /** The part at a position, or the first behind it, of transactions that have ended; `undefined` if there is none. */
  at(lsn: Lsn, number: number): Effect.Effect<Part | undefined> {
    return Effect.map(this.from(lsn, number), (parts) => parts[0])
  }

  /**
   * Some of the parts from a position on, in order, of transactions that have ended: at least one, if there is one. The
   * next ones are behind the last of them.
   */
  from(lsn: Lsn, number: number): Effect.Effect<ReadonlyArray<Part>> {
    return Effect.suspend(() => {
      const { pages, parts } = this
      const first = countBefore(parts.length, (i) => isBefore(parts[i]!.transaction.lsn, parts[i]!.number, lsn, number))
      if (first < parts.length) return Effect.succeed(this.ended(parts.slice(first, first + PARTS_AT_ONCE)))
      const after = countBefore(pages.length, (i) => !isBefore(lsn, number, pages[i]!.firstLsn, pages[i]!.firstNumber))
      return this.fromPages(Math.max(0, after - 1), lsn, number)
    })
  }

  private fromPages(at: number, lsn: Lsn, number: number): Effect.Effect<ReadonlyArray<Part>> {
    const page = this.pages[at]
    if (page === undefined) return Effect.succeed([])
    return Effect.flatMap(this.read(page), (parts) => {
      const first = countBefore(
        parts.length,
        (i) => isBefore(parts[i]!.transaction.lsn, parts[i]!.number, lsn, number)
      )
      return first < parts.length
        ? Effect.succeed(this.ended(parts.slice(first)))
        : this.fromPages(this.pages.indexOf(page) + 1, lsn, number)
    })
  }

  /** Without those of a transaction that is still arriving. */
  private ended(parts: ReadonlyArray<Part>): ReadonlyArray<Part> {
    const count = countBefore(parts.length, (i) => parts[i]!.transaction.lsn <= this.last)
    return count === parts.length ? parts : parts.slice(0, count)
  }

  private read(page: Page): Effect.Effect<ReadonlyArray<Part>> {
    const known = this.decoded.find((known) => known.page === page && known.count === page.count)
    if (known) return Effect.succeed(known.parts)
    return Effect.map(this.bytesOf(page), (bytes) => {
      const parts = decodeParts(bytes, page, page.count)
      const old = this.decoded.findIndex((known) => known.page === page)
      if (old >= 0) this.decoded.splice(old, 1)
      this.decoded.push({ page, count: page.count, parts })
      if (this.decoded.length > DECODED) this.decoded.shift()
      return parts
    })
  }

  private bytesOf(page: Page): Effect.Effect<Buffer> {
    if (page.encoded) return Effect.succeed(Buffer.concat(page.encoded))
    return this.store.read(page.page).pipe(
      Effect.tapError((error) => Effect.logError("a page of the journal could not be read; it is tried again", error)),
      Effect.retry(retryRead),
      Effect.orDie,
      Effect.map(Option.getOrThrowWith(() => new Error(`page ${page.page} of the journal is not there`)))
    )
  }
}

/** Most parts that are given out at once. */
const PARTS_AT_ONCE = 1024
