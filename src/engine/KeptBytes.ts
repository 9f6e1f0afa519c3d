/**
 * Pieces of logs that were put together or read lately, for the next readers of the same: bytes that never change, by
 * a name for them. Bounded by bytes; the least recently used goes first.
 */

/** What keeping something takes besides its bytes, roughly: its objects, its key and its place in a map. */
const OVERHEAD = 500

export class KeptBytes {
  private readonly kept = new Map<string, Buffer>()
  private size = 0
  private readonly limitBytes: number

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get(key: string): Buffer | undefined {
    const bytes = this.kept.get(key)
    if (bytes === undefined) return undefined
    this.kept.delete(key)
    this.kept.set(key, bytes)
    return bytes
  }

  set(key: string, bytes: Buffer): void {
    if (this.kept.has(key)) return
    this.kept.set(key, bytes)
    this.size += bytes.length + OVERHEAD
    for (const [oldest, { length }] of this.kept) {
      if (this.size <= this.limitBytes) break
      this.kept.delete(oldest)
      this.size -= length + OVERHEAD
    }
  }

  bytes(): number {
    return this.size
  }
}
