/**
 * What the collector remembers of transactions that have gone by, for snapshots that may not see them yet (H195).
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { WalMessage } from "../../src/domain/WalMessage.ts"
import * as Collector from "../../src/engine/Collector.ts"
import * as Router from "../../src/engine/Router.ts"
import { makeParts } from "../support/EngineParts.ts"

/** Empty transactions with the given xids, one after another. */
const transactions = (from: number, to: number): ReadonlyArray<WalMessage> =>
  Array.from({ length: to - from + 1 }, (_, i): ReadonlyArray<WalMessage> => {
    const lsn = BigInt(from + i) * 100n
    return [
      { _tag: "Begin", lsn, xid: from + i },
      { _tag: "Commit", lsn, endLsn: lsn + 50n }
    ]
  }).flat()

const noSubqueries = {
  follows: () => false,
  isEmpty: () => true,
  process: Effect.void,
  unsafeAbort: () => {},
  unsafeReset: () => {},
  unsafeCommit: () => {},
  unsafeReach: () => {},
  unsafeTake: () => {},
  unsafeTruncate: () => {}
}

const marks = (xmax: bigint, ...xip: ReadonlyArray<bigint>) => ({ xmin: 1n, xmax, xip, lsn: 0n })

describe("transactions that have gone by", () => {
  it.scoped("are missed in a snapshot that does not see them, however many have come since", () =>
    Effect.gen(function*() {
      const { budget, committer, consumers } = yield* makeParts()
      const collector = Collector.make({
        router: Router.make(),
        consumers,
        committer,
        budget,
        onRelation: () => Effect.void,
        decide: () => Effect.void,
        subqueries: () => noSubqueries
      })
      assert.isFalse(collector.missing(marks(10n, 5n), collector.mark()), "nothing has gone by")

      yield* collector.process(transactions(1, 20))
      const since = collector.mark()
      yield* collector.process(transactions(21, 20_000))
      assert.isTrue(collector.missing(marks(20_001n, 5n), since), "still in progress for the snapshot")
      assert.isFalse(collector.missing(marks(20_001n, 15_000n), since), "gone by after the mark: delivered")
      assert.isFalse(collector.missing(marks(21n), since), "seen")
      assert.isTrue(collector.missing(marks(20n), since), "begun after what the snapshot has seen complete")
      assert.isFalse(collector.missing(marks((7n << 32n) + 21n), since), "xids of a later epoch")
      assert.isTrue(collector.missing(marks((7n << 32n) + 30n, (7n << 32n) + 12n), since))
    }))
})
