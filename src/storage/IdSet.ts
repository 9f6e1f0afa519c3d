/** A growing set of shape ids: one bit each, as it is kept for as long as the process lives. */
export class IdSet {
  private readonly pages = new Map<number, Uint32Array>()

  has(id: number): boolean {
    const page = this.pages.get(id >>> 15)
    return page !== undefined && (page[(id >>> 5) & 1023]! & (1 << (id & 31))) !== 0
  }

  add(id: number): void {
    let page = this.pages.get(id >>> 15)
    if (page === undefined) {
      page = new Uint32Array(1024)
      this.pages.set(id >>> 15, page)
    }
    page[(id >>> 5) & 1023]! |= 1 << (id & 31)
  }
}
