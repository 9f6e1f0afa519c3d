/** Snapshots that see everything that the stream has brought so far. */
import { Effect, ExecutionStrategy, Exit, Scope } from "effect"
import type { SnapshotFailed } from "../domain/Errors.ts"
import type { SnapshotQuery, SnapshotRows, SnapshotSelect } from "../source/SnapshotQuery.ts"
import type { Collector } from "./Collector.ts"

/** While a transaction that has gone by is not in a fresh snapshot, the snapshot is taken again after this time. */
export const RETAKE = "10 millis"

/** Opens one; each vain attempt has a scope of its own, so that its connection is free again. */
export const open = Effect.fnUntraced(function*(
  select: SnapshotSelect,
  snapshots: SnapshotQuery["Type"],
  collector: Collector
): Effect.fn.Return<SnapshotRows, SnapshotFailed, Scope.Scope> {
  const since = collector.mark()
  const scope = yield* Effect.scope
  while (true) {
    const attempt = yield* Scope.fork(scope, ExecutionStrategy.sequential)
    const rows = yield* Scope.extend(snapshots.open(select), attempt)
    if (!collector.missing(rows.marks, since)) return rows
    yield* Scope.close(attempt, Exit.void)
    yield* Effect.sleep(RETAKE)
  }
})
