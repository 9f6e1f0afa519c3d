/**
 * A process that may not write files beyond a size, so that its disk seems full: `prlimit --fsize=<bytes>: … limitedWriter.ts <directory>`.
 * Commits until that fails, has the limit lifted, and commits again. Prints what came of it as JSON.
 */
import { Console, Effect, Exit } from "effect"
import { spawnSync } from "node:child_process"
import { make as offset } from "../../src/domain/LogOffset.ts"
import { ShapeStorage } from "../../src/storage/ShapeStorage.ts"
import * as ShapeStorageLmdb from "../../src/storage/ShapeStorageLmdb.ts"
import { applied, putLogBlock, putShape } from "./fixtures.ts"

const [, , directory] = process.argv

const commitOf = (n: bigint) => ({
  ops: [putShape(Number(n)), ...Array.from({ length: 10 }, (_, i) => putLogBlock(1, [offset(n, i)], 60_000))],
  applied: applied(n)
})

const writing = Effect.gen(function*() {
  const store = yield* ShapeStorage
  let n = 0n
  let exit = Exit.succeed<unknown>(undefined) as Exit.Exit<unknown, { readonly message: string }>
  while (Exit.isSuccess(exit) && n < 100n) exit = yield* Effect.exit(store.commit(commitOf(++n)))
  const message = Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error.message : String(exit)
  const after = yield* store.load
  // Those that wait together fail together, and each alone again.
  const together = yield* Effect.forEach([n, n + 1n, n + 2n], (n) => Effect.exit(store.commit(commitOf(n))), {
    concurrency: 3
  })
  spawnSync("prlimit", ["--pid", String(process.pid), "--fsize=unlimited"])
  yield* store.commit(commitOf(n))
  const healed = yield* store.load
  yield* Console.log(JSON.stringify({
    failed: Number(n),
    message,
    after: { applied: Number(after.applied?.lsn), shapes: after.shapes.length, nextId: after.nextId },
    together: together.map(Exit.isFailure),
    healed: { applied: Number(healed.applied?.lsn), shapes: healed.shapes.length, nextId: healed.nextId }
  }))
})

if (directory !== undefined) {
  void Effect.runPromise(Effect.provide(writing, ShapeStorageLmdb.layer({ directory })))
}
