/**
 * What the LMDB layer of the store costs. Run with `npx tsx bench/micro/storage.ts [directory]`; the directory decides which disk is
 * measured (the default is the system's temporary one). One run, no warm-up beyond what is written here: read the magnitudes.
 */
import { Clock, Console, Effect, Layer, Option } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { encode, lastOf } from "../../src/domain/LogBlock.ts"
import { beforeAll, type LogOffset, make as offset, snapshotEnd } from "../../src/domain/LogOffset.ts"
import type { ShapeDefinition } from "../../src/domain/ShapeDefinition.ts"
import { BLOCK_BYTES, ShapeStorage, type StoreOp } from "../../src/storage/ShapeStorage.ts"
import * as ShapeStorageLmdb from "../../src/storage/ShapeStorageLmdb.ts"
import { call, clause, column, constant, TEXT } from "../../test/where/Expressions.ts"

const definition: ShapeDefinition = {
  tableOid: 16400,
  schema: "public",
  table: "items",
  keyColumns: ["id"],
  hasPrimaryKey: true,
  columns: ["id", "project_id", "title", "status", "created_at"].map((name) => ({ name, typeOid: 25 })),
  explicitColumns: false,
  where: clause(
    call("texteq", "=", column("project_id", TEXT), constant(TEXT, "8f14e45f-ceea-467f-a9d0-1c8f4c1a7f10"))
  ),
  replica: "default",
  log: "full"
}

const putShape = (id: number): StoreOp => ({
  _tag: "PutShape",
  record: {
    id,
    handle: `${100000000 + id}-1700000000000000`,
    definition,
    snapshot: { marks: { xmin: 700n, xmax: 710n, xip: [701n, 705n], lsn: 123456789n }, chunks: [1] }
  }
})

/** A log block of one entry, about as long as it is to be. */
const logBlock = (first: LogOffset, length: number): Buffer =>
  encode({
    tx: BigUint64Array.of(first.tx),
    op: Float64Array.of(first.op),
    end: Uint32Array.of(length - 24),
    body: Buffer.alloc(length - 24, 0x61)
  })

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [micros: number, A], E, R> =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeNanos
    const result = yield* effect
    const end = yield* Clock.currentTimeNanos
    return [Number(end - start) / 1000, result] as const
  })

const line = (label: string, value: number, unit: string) =>
  Console.log(`${label.padEnd(52)}${value.toFixed(1).padStart(10)} ${unit}`)

const directory = fs.mkdtempSync(path.join(process.argv[2] ?? os.tmpdir(), "shapelog-bench-"))
const layer = ShapeStorageLmdb.layer({ directory })

const writing = Effect.gen(function*() {
  const store = yield* ShapeStorage
  yield* store.commit({ ops: [putShape(1), putShape(2)] })

  const block = Buffer.alloc(BLOCK_BYTES, 0x61)
  const blocksOfACommit = 64
  const commits = 80
  const [snapshotMicros] = yield* timed(Effect.gen(function*() {
    for (let chunk = 0; chunk < commits; chunk++) {
      const ops: Array<StoreOp> = []
      for (let n = 0; n < blocksOfACommit; n++) {
        ops.push({ _tag: "PutSnapshotBlock", shape: 1, chunk, block: n, bytes: block })
      }
      yield* store.commit({ ops })
    }
  }))
  const bytes = BLOCK_BYTES * blocksOfACommit * commits
  yield* line(
    `snapshot blocks, ${blocksOfACommit} a commit (${Math.round(bytes / 1e6)} MB)`,
    bytes / snapshotMicros,
    "MB/s"
  )

  for (const pairs of [1, 100, 1000]) {
    const rounds = pairs === 1000 ? 30 : 200
    let tx = 0n
    const [micros] = yield* timed(Effect.gen(function*() {
      for (let round = 0; round < rounds; round++) {
        tx += 1n
        const first = offset(tx, 0)
        const ops: Array<StoreOp> = []
        for (let n = 0; n < pairs; n++) {
          const shape = 10 + n
          ops.push({ _tag: "PutLogBlock", shape, first, bytes: logBlock(first, 300) })
          ops.push({ _tag: "PutHead", shape, head: { end: first, chunkBytes: 300 } })
        }
        yield* store.commit({
          ops,
          applied: { systemId: "7000", timeline: 1, slot: "shapelog", lsn: tx, endLsn: tx, recent: [] }
        })
      }
    }))
    yield* line(`commit of ${pairs} log blocks and heads`, micros / rounds, "us")
  }

  const together = 64
  const [togetherMicros] = yield* timed(
    Effect.forEach(
      Array.from({ length: together }, (_, n) => n),
      (n) => store.commit({ ops: [{ _tag: "PutHead", shape: 2, head: { end: offset(1n, n), chunkBytes: 0 } }] }),
      { concurrency: "unbounded", discard: true }
    )
  )
  yield* line(`${together} small commits asked for at once`, togetherMicros, "us")

  const logBlocks = 2000
  for (let from = 0; from < logBlocks; from += 50) {
    const ops: Array<StoreOp> = []
    for (let n = from; n < from + 50; n++) {
      const first = offset(BigInt(n + 1), 0)
      ops.push({ _tag: "PutLogBlock", shape: 2, first, bytes: logBlock(first, BLOCK_BYTES) })
    }
    yield* store.commit({ ops })
  }
  for (const round of ["first", "second"]) {
    const [micros, read] = yield* timed(Effect.gen(function*() {
      let after = beforeAll
      let read = 0
      for (;;) {
        const block = yield* store.logBlock(2, after)
        if (Option.isNone(block)) return read
        after = lastOf(block.value)
        read++
      }
    }))
    yield* line(`logBlock in sequence, 64 KiB (${round} time)`, micros / read, "us")
  }
  const [randomMicros] = yield* timed(Effect.gen(function*() {
    for (let n = 0; n < logBlocks; n++) yield* store.logBlock(2, offset(BigInt((n * 7919) % (logBlocks - 1)) + 1n, 0))
  }))
  yield* line("logBlock anywhere, 64 KiB", randomMicros / logBlocks, "us")
  const [blockMicros] = yield* timed(Effect.gen(function*() {
    for (let n = 0; n < 5000; n++) yield* store.snapshotBlock(1, n % commits, n % blocksOfACommit)
  }))
  yield* line("snapshotBlock, 64 KiB", blockMicros / 5000, "us")
  const [endMicros] = yield* timed(Effect.gen(function*() {
    for (let n = 0; n < 5000; n++) yield* store.chunkEnd(2, snapshotEnd)
  }))
  yield* line("chunkEnd", endMicros / 5000, "us")

  const shapes = 100_000
  const [createMicros] = yield* timed(Effect.gen(function*() {
    for (let from = 0; from < shapes; from += 5000) {
      const ops: Array<StoreOp> = []
      for (let n = from; n < from + 5000; n++) {
        ops.push(putShape(10_000 + n), {
          _tag: "PutHead",
          shape: 10_000 + n,
          head: { end: snapshotEnd, chunkBytes: 0 }
        })
      }
      yield* store.commit({ ops })
    }
  }))
  yield* line(`create ${shapes} shapes, 5000 a commit`, createMicros / 1000, "ms")
  yield* line("size", (yield* store.diskBytes) / 1e6, "MB")
})

const loading = Effect.gen(function*() {
  const [micros, store] = yield* timed(ShapeStorage)
  yield* line("service", micros / 1000, "ms")
  const [loadMicros, state] = yield* timed(store.load)
  yield* line(`load ${state.shapes.length} shapes`, loadMicros / 1000, "ms")
})

const program = Effect.gen(function*() {
  yield* Effect.provide(writing, layer)
  const [openMicros] = yield* timed(Effect.scoped(Layer.build(layer)))
  yield* line("open and close", openMicros / 1000, "ms")
  yield* Effect.provide(loading, layer)
}).pipe(Effect.ensuring(Effect.sync(() => fs.rmSync(directory, { recursive: true }))))

void Effect.runPromise(program)
