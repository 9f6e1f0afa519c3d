/**
 * The newest blocks of a snapshot that is being taken, for the readers who follow it: they need not fetch from the
 * store what has just been put there.
 */

/** Blocks that are kept: 6 MiB of full ones. */
const LIMIT = 96

interface Recent {
  readonly chunk: number
  readonly block: number
  readonly bytes: Buffer
}

export class RecentBlocks {
  private readonly blocks: Array<Recent> = []

  /** Adds the next block; `recycle` is called with the bytes of one that leaves: they may be written over. */
  push(chunk: number, block: number, bytes: Buffer, recycle: (bytes: Buffer) => void): void {
    this.blocks.push({ chunk, block, bytes })
    const oldest = this.blocks.length > LIMIT ? this.blocks.shift() : undefined
    if (oldest) recycle(oldest.bytes)
  }

  /** A copy of the block's bytes, if they are still here. */
  get(chunk: number, block: number): Buffer | undefined {
    for (let i = this.blocks.length - 1; i >= 0; i--) {
      const recent = this.blocks[i]!
      if (recent.chunk !== chunk || recent.block !== block) continue
      const copy = Buffer.allocUnsafeSlow(recent.bytes.length)
      recent.bytes.copy(copy)
      return copy
    }
    return undefined
  }
}
