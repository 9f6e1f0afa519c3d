/**
 * A cache of at most `2 * limit` entries: what was not asked for while `limit` others were is forgotten. Most hits
 * write nothing.
 */
export class RecentMap<A> {
  private young = new Map<string, A>()
  private old = new Map<string, A>()
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  get(key: string, make: (key: string) => A): A {
    const hit = this.young.get(key)
    if (hit !== undefined) return hit
    if (this.young.size >= this.limit) {
      this.old = this.young
      this.young = new Map()
    }
    const value = this.old.get(key) ?? make(key)
    this.young.set(key, value)
    return value
  }
}
