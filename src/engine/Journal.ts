/**
 * What the stream has brought of tables that subqueries are about, transaction by transaction, for as long as a node has
 * not got there (see SUBQUERIES.md).
 */
import type { Lsn } from "../domain/Lsn.ts"
import type { RowChange, Transaction } from "./Changes.ts"

/** One transaction. */
export interface Step {
  readonly transaction: Transaction
  /** Its changes by table: a change of a partition is also one of the tables above it. */
  readonly changes: ReadonlyMap<number, ReadonlyArray<RowChange>>
  /** Tables that it emptied. */
  readonly truncated: ReadonlySet<number>
  /** Number of the first operation behind its changes. */
  readonly op: number
}

export class Journal {
  private steps: Array<Step> = []

  get length(): number {
    return this.steps.length
  }

  /** Adds a transaction; one that comes again, because the connection was lost, is there already. */
  push(step: Step): void {
    const last = this.steps[this.steps.length - 1]
    if (last === undefined || last.transaction.lsn < step.transaction.lsn) this.steps.push(step)
  }

  /** The first transaction after a position. */
  after(lsn: Lsn): Step | undefined {
    return this.steps[this.indexAfter(lsn)]
  }

  /** All transactions from a position on. */
  from(lsn: Lsn): ReadonlyArray<Step> {
    return this.steps.slice(this.indexAfter(lsn - 1n))
  }

  /** Nobody asks for transactions up to this position any more. */
  forget(upTo: Lsn): void {
    const keep = this.indexAfter(upTo)
    if (keep > 0) this.steps = this.steps.slice(keep)
  }

  private indexAfter(lsn: Lsn): number {
    let low = 0
    let high = this.steps.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.steps[middle]!.transaction.lsn > lsn) high = middle
      else low = middle + 1
    }
    return low
  }
}
