/**
 * Writes one shape's log: items to blocks, blocks to chunks, and what of it the next commit stores. A plain state
 * machine in its consumer's hands; it neither waits nor knows who reads.
 *
 * Blocks never span a chunk's end, nor the border between what is visible and the transaction that is still arriving:
 * so an aborted transaction is whole blocks, here and in the store.
 */
import type { EncodedItem } from "../domain/ItemEncoder.ts"
import { SUFFIX, SUFFIX_LAST } from "../domain/ItemEncoder.ts"
import * as LogBlock from "../domain/LogBlock.ts"
import * as LogOffset from "../domain/LogOffset.ts"
import type { Lsn } from "../domain/Lsn.ts"
import { BLOCK_BYTES, type ShapeHead, type StoreOp } from "../storage/ShapeStorage.ts"
import type { EncodedChange } from "./Changes.ts"
import type { TailBlock } from "./ShapeBuffer.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"

/**
 * A block that has reached this many bytes is closed: half of what the store's largest block holds, so that two may be
 * merged.
 */
const CLOSE_BLOCK_AT = BLOCK_BYTES / 2

/**
 * A stored block below this size is stored anew with what comes next, so that slow shapes do not become a block per
 * commit; a larger one would mostly be written again and again.
 */
const REWRITE_BELOW = 4 * 1024

interface Item {
  readonly encoded: EncodedItem
  readonly tx: Lsn
  readonly op: number
  /** It stands for a change of the transaction, rather than for what the transaction has led to. */
  readonly isChange: boolean
  /** The transaction ends with it. */
  last: boolean
  /** It says that it is the transaction's last change. */
  marked: boolean
}

const itemBytes = (item: Item): number =>
  item.encoded.end - item.encoded.start + (item.marked ? SUFFIX_LAST.length : SUFFIX.length)

const toBlock = (items: ReadonlyArray<Item>, from: number, to: number, closesChunk: boolean): TailBlock => {
  const n = to - from
  const tx = new BigUint64Array(n)
  const op = new Float64Array(n)
  const end = new Uint32Array(n)
  let size = 0
  for (let i = from; i < to; i++) size += itemBytes(items[i]!)
  const body = Buffer.allocUnsafe(size)
  let at = 0
  for (let i = 0; i < n; i++) {
    const item = items[from + i]!
    at += item.encoded.bytes.copy(body, at, item.encoded.start, item.encoded.end)
    const suffix = item.marked ? SUFFIX_LAST : SUFFIX
    body.set(suffix, at)
    at += suffix.length
    tx[i] = item.tx
    op[i] = item.op
    end[i] = at
  }
  const block = { tx, op, end, body }
  return { block, first: LogBlock.first(block), last: LogBlock.last(block), closesChunk }
}

/** What one commit stores of a shape. */
export interface LogCut {
  readonly ops: ReadonlyArray<StoreOp>
  readonly head: ShapeHead
  /** Entries of an unfinished transaction are among the ops. */
  readonly unfinished: boolean
  /** Everything up to here is stored when the commit is. */
  readonly stored: LogOffset.LogOffset
  /** The same if the unfinished transaction is aborted before that. */
  readonly storedVisible: LogOffset.LogOffset
  /** Number of aborts before the cut. */
  readonly aborts: number
}

export class LogWriter {
  /** Offset of the last entry of the last committed transaction. */
  end: LogOffset.LogOffset
  aborts = 0
  private chunkBytes: number
  private committedChunkBytes: number
  private items: Array<Item> = []
  private size = 0
  /** Where the arriving transaction begins in `items`; -1 outside of one. */
  private start = -1
  private wrote = false
  private held: Item | undefined
  private taken: Array<TailBlock> = []
  private toStore: Array<TailBlock> = []
  private headDirty = false
  private storedUnfinished = false
  private tail: LogBlock.LogBlock | undefined

  private readonly entry: ShapeEntry
  private readonly chunkThreshold: number

  constructor(entry: ShapeEntry, chunkThreshold: number, tail: LogBlock.LogBlock | undefined) {
    this.entry = entry
    this.chunkThreshold = chunkThreshold
    this.end = entry.head.end
    this.chunkBytes = entry.head.chunkBytes
    this.committedChunkBytes = entry.head.chunkBytes
    this.tail = tail
  }

  get hasPending(): boolean {
    return this.toStore.length > 0 || this.headDirty || this.items.length > 0 || this.held !== undefined
  }

  /** A transaction begins. */
  begin(): void {
    this.start = this.items.length
    this.wrote = false
  }

  write(change: EncodedChange, lsn: Lsn): void {
    for (let i = 0; i < change.items.length; i++) {
      this.put({ encoded: change.items[i]!, tx: lsn, op: change.op + i, isChange: true, last: false, marked: false })
    }
  }

  /** Writes what follows the transaction's changes: events, and rows that move because of them, as changes or not. */
  writeFurther(encoded: EncodedItem, lsn: Lsn, op: number, isChange: boolean): void {
    if (!isChange && this.held?.isChange) this.held.marked = true
    this.put({ encoded, tx: lsn, op, isChange, last: false, marked: false })
  }

  /** Makes the transaction's entries visible. False when it had none. */
  commit(): boolean {
    if (this.held) {
      this.held.last = true
      this.held.marked ||= this.held.isChange
      this.place(this.held)
      this.held = undefined
    }
    this.start = -1
    if (!this.wrote) return false
    this.committedChunkBytes = this.chunkBytes
    this.headDirty = true
    this.storedUnfinished = false
    return true
  }

  /** Drops the arriving transaction. True when the store was given some of it. */
  abort(): boolean {
    const hadStored = this.storedUnfinished
    if (this.start >= 0) this.items.length = this.start
    this.start = -1
    this.held = undefined
    this.size = this.items.reduce((sum, item) => sum + itemBytes(item), 0)
    this.taken = this.taken.filter((block) => LogOffset.lessOrEqual(block.last, this.end))
    this.toStore = this.toStore.filter((block) => LogOffset.lessOrEqual(block.last, this.end))
    this.chunkBytes = this.committedChunkBytes
    this.storedUnfinished = false
    this.aborts += 1
    return hadStored
  }

  /** The blocks written since the last call, the open one included. */
  take(): ReadonlyArray<TailBlock> {
    this.close(false)
    const blocks = this.taken
    this.taken = []
    for (const block of blocks) this.toStore.push(block)
    return blocks
  }

  /** What the next commit stores. Call `take` before it. */
  cut(): LogCut | undefined {
    if (this.toStore.length === 0 && !this.headDirty) return undefined
    const { entry } = this
    const ops: Array<StoreOp> = []
    let group: Array<LogBlock.LogBlock> = this.tail ? [this.tail] : []
    let bytes = this.tail ? LogBlock.encodedBytes(this.tail) : 0
    let added = 0
    let unfinished = false
    let stored = this.end
    const emit = (keepOpen: boolean) => {
      if (added > 0) {
        const block = LogBlock.concat(group)
        ops.push({ _tag: "PutLogBlock", shape: entry.id, first: LogBlock.first(block), bytes: LogBlock.encode(block) })
        this.tail = keepOpen && LogBlock.encodedBytes(block) < REWRITE_BELOW ? block : undefined
      }
      group = this.tail && keepOpen ? [this.tail] : []
      bytes = 0
      added = 0
    }
    for (const { block, closesChunk, last } of this.toStore) {
      const visible = LogOffset.lessOrEqual(last, this.end)
      const size = LogBlock.encodedBytes(block)
      if (bytes + size > BLOCK_BYTES || (!visible && !unfinished)) {
        emit(false)
        this.tail = undefined
        group = []
      }
      group.push(block)
      bytes += size
      added += 1
      unfinished ||= !visible
      stored = LogOffset.max(stored, last)
      if (closesChunk) {
        emit(false)
        this.tail = undefined
        group = []
        ops.push({ _tag: "PutChunkEnd", shape: entry.id, end: last })
      }
    }
    emit(!unfinished)
    this.toStore = []
    const head: ShapeHead = { end: this.end, chunkBytes: this.committedChunkBytes }
    if (this.headDirty) ops.push({ _tag: "PutHead", shape: entry.id, head })
    this.headDirty = false
    this.storedUnfinished ||= unfinished
    return { ops, head, unfinished, stored, storedVisible: this.end, aborts: this.aborts }
  }

  /** The last item is held back until it is known whether another follows in its transaction. */
  private put(item: Item): void {
    if (this.held) this.place(this.held)
    this.held = item
  }

  private place(item: Item): void {
    this.wrote = true
    this.items.push(item)
    const bytes = itemBytes(item)
    this.size += bytes
    this.chunkBytes += bytes - 1
    if (item.last) this.end = { tx: item.tx, op: item.op }
    if (this.chunkBytes >= this.chunkThreshold) {
      this.chunkBytes = 0
      this.close(true)
      const end = { tx: item.tx, op: item.op }
      this.entry.pendingChunkEnds.push(end)
      this.entry.openChunkStart = end
    } else if (this.size >= CLOSE_BLOCK_AT) {
      this.close(false)
    }
  }

  private close(closesChunk: boolean): void {
    const { items } = this
    if (items.length === 0) return
    // A block of finished transactions and one of the arriving one; after `commit` there is no border any more.
    const border = this.start > 0 && this.start < items.length && !items[items.length - 1]!.last ? this.start : 0
    if (border > 0) this.taken.push(toBlock(items, 0, border, false))
    this.taken.push(toBlock(items, border, items.length, closesChunk))
    this.items = []
    this.size = 0
    if (this.start >= 0) this.start = 0
  }
}
