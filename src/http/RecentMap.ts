/**
 * A cache of at most `2 * limit` entries: what was not asked for while `limit` others were is forgotten. The same holds
 * for `limitChars` characters of keys, so that long keys are no way to make it hold more memory. Most hits write
 * nothing.
 */
export class RecentMap<A> {
  private young = new Map<string, A>()
  private old = new Map<string, A>()
  /** Characters of the young entries' keys. */
  private chars = 0
  private readonly limit: number
  private readonly limitChars: number

  constructor(limit: number, limitChars = Infinity) {
    this.limit = limit
    this.limitChars = limitChars
  }

  /** The entry, where it is remembered; being looked for does not keep it. */
  find(key: string): A | undefined {
    return this.young.get(key) ?? this.old.get(key)
  }

  get(key: string, make: (key: string) => A): A {
    const hit = this.young.get(key)
    if (hit !== undefined) return hit
    const value = this.old.get(key) ?? make(key)
    if (this.young.size >= this.limit || this.chars >= this.limitChars) {
      this.old = this.young
      this.young = new Map()
      this.chars = 0
    }
    this.young.set(key, value)
    this.chars += key.length
    return value
  }
}
