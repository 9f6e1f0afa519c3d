/**
 * A process that commits until it is killed: `killedWriter.ts <directory>`. Commit `n` brings every shape and the applied position to `n`.
 * Prints the number of each commit that has completed, one a line.
 */
import { Console, Effect } from "effect"
import { make as offset } from "../../src/domain/LogOffset.ts"
import { ShapeStorage, type StoreOp } from "../../src/storage/ShapeStorage.ts"
import * as ShapeStorageLmdb from "../../src/storage/ShapeStorageLmdb.ts"
import { applied, putHead, putLogBlock, putShape } from "./fixtures.ts"

export const SHAPES = 20

const commitOf = (n: bigint) => {
  const ops: Array<StoreOp> = []
  for (let shape = 1; shape <= SHAPES; shape++) {
    // Enough that a transaction takes a while.
    ops.push(putShape(shape), putLogBlock(shape, [offset(n, 0)], 60_000), putHead(shape, offset(n, 0)))
  }
  return { ops, applied: applied(n) }
}

const writing = Effect.gen(function*() {
  const store = yield* ShapeStorage
  let n = (yield* store.load).applied?.lsn ?? 0n
  // Three at a time: while one is written, others wait, and are written together.
  for (;;) {
    const next = [n + 1n, n + 2n, n + 3n]
    yield* Effect.forEach(next, (n) => Effect.zipRight(store.commit(commitOf(n)), Console.log(String(n))), {
      concurrency: 3
    })
    n += 3n
  }
})

const [, script, directory] = process.argv
if (script === import.meta.filename && directory !== undefined) {
  void Effect.runPromise(Effect.provide(writing, ShapeStorageLmdb.layer({ directory })))
}
