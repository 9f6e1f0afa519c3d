/**
 * Memory for encoded items: slabs that are filled from the front. A slab is never used again, so whoever holds a view
 * keeps it for as long as they like; the collector frees a slab that nobody holds.
 */
const SLAB_BYTES = 256 * 1024

/** Where the next item goes. `view` is of all of `bytes`. */
export interface Slab {
  readonly bytes: Buffer
  readonly view: DataView
  used: number
}

const slabOf = (size: number): Slab => {
  const bytes = Buffer.allocUnsafeSlow(size)
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, size), used: 0 }
}

/** Above this an item gets a slab of its own, as it would waste too much of the end of a shared one. */
export const OWN_SLAB_BYTES = SLAB_BYTES / 4

let current = slabOf(0)

/** A slab with room for `size` bytes behind `used`. Take it, fill it and advance `used` in one synchronous turn. */
export const reserve = (size: number): Slab => {
  if (current.bytes.length - current.used >= size) return current
  if (size > OWN_SLAB_BYTES) return slabOf(size)
  current = slabOf(SLAB_BYTES)
  return current
}
