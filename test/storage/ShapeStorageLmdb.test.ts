/** What is LMDB's own: kills, a second process, full disks, other formats, how much a removal holds up. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { open } from "lmdb"
import { type ChildProcessByStdio, execFile, spawn, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import type { Readable } from "node:stream"
import { beforeAll as beforeAllOffsets, make as offset } from "../../src/domain/LogOffset.ts"
import { BLOCK_BYTES } from "../../src/storage/ShapeStorage.ts"
import * as ShapeStorageLmdb from "../../src/storage/ShapeStorageLmdb.ts"
import {
  applied,
  putHead,
  putLogBlock,
  putShape,
  putSnapshotBlock,
  removeShape,
  shown,
  truncateLog
} from "./fixtures.ts"
import { SHAPES } from "./killedWriter.ts"
import { life } from "./ShapeStorageContract.ts"
import { temporaryDirectory } from "./temporaryDirectory.ts"

const script = (name: string) => path.join(import.meta.dirname, name)

/** A writer in a process of its own; killed with the scope. */
const startWriter = (directory: string) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, ["--import", "tsx", script("killedWriter.ts"), directory], {
        stdio: ["ignore", "pipe", "inherit"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

type Writer = ChildProcessByStdio<null, Readable, null>

/** The lines that the process prints until `count` of them are there; then it is killed, and what it still got out is added. */
const killedAfter = (child: Writer, count: number): Effect.Effect<ReadonlyArray<string>> =>
  Effect.async((resume) => {
    let text = ""
    child.stdout.on("data", (bytes: Buffer) => {
      text += bytes.toString()
      if (text.split("\n").length > count) child.kill("SIGKILL")
    })
    child.once("close", () => resume(Effect.succeed(text.split("\n").slice(0, -1))))
  })

/** Completes when the process has printed something, which is left to be read. */
const firstLine = (child: Writer): Effect.Effect<void> =>
  Effect.async((resume) => {
    child.stdout.once("readable", () => resume(Effect.void))
  })

describe("ShapeStorageLmdb", () => {
  it.scoped("a process has the store alone, and killed while it commits leaves it at one of its commits", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const layer = ShapeStorageLmdb.layer({ directory })
      for (const count of [1, 17]) {
        const child = yield* startWriter(directory)
        yield* firstLine(child)
        const error = yield* Effect.flip(life(layer, (store) => store.load))
        assert.include(String(error.message), `open in another process (pid ${child.pid})`)
        const printed = yield* killedAfter(child, count)
        const lastKnown = BigInt(printed[printed.length - 1]!)
        yield* life(layer, (store) =>
          Effect.gen(function*() {
            const state = yield* store.load
            const lsn = state.applied!.lsn
            // Three are under way at once.
            assert.isTrue(lsn >= lastKnown && lsn <= lastKnown + 3n, `at ${lsn}, told of ${lastKnown}`)
            assert.strictEqual(state.shapes.length, SHAPES)
            for (const { head, record } of state.shapes) {
              assert.deepStrictEqual(head?.end, offset(lsn, 0))
              assert.strictEqual(shown(yield* store.logBlock(record.id, offset(lsn - 1n, 0))), `${lsn}_0`)
              assert.strictEqual(shown(yield* store.logBlock(record.id, offset(lsn, 0))), "none")
            }
            let after = beforeAllOffsets
            for (let n = 1n; n <= lsn; n++) {
              assert.strictEqual(shown(yield* store.logBlock(1, after)), `${n}_0`)
              after = offset(n, 0)
            }
          }))
      }
    }))

  it.scoped("a directory that this process has open is refused, by whatever name", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      fs.symlinkSync(path.join(directory, "a"), path.join(directory, "b"))
      const [a, b] = ["a", "b"].map((name) => ShapeStorageLmdb.layer({ directory: path.join(directory, name) }))
      yield* life(a!, (store) =>
        Effect.gen(function*() {
          for (const layer of [a!, b!]) {
            const error = yield* Effect.flip(life(layer, (store) => store.load))
            assert.include(error.message, "already open in this process")
          }
          yield* store.commit({ ops: [putShape(1)] })
        }))
      assert.strictEqual((yield* life(b!, (store) => store.load)).shapes.length, 1)
    }))

  it.scoped("a store of another format is refused and left alone", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const layer = ShapeStorageLmdb.layer({ directory })
      yield* life(layer, (store) => store.commit({ ops: [putShape(1)] }))
      const [file] = fs.readdirSync(directory).filter((name) => !name.endsWith("-lock"))
      const setFormat = (value: Buffer) =>
        Effect.promise(async () => {
          const db = open<Buffer, Buffer>({
            path: path.join(directory, file!),
            noSubdir: true,
            encoding: "binary",
            keyEncoding: "binary",
            overlappingSync: false
          })
          await db.put(Buffer.from("\0format"), value)
          await db.close()
        })
      yield* setFormat(Buffer.of(0, 0, 0, 9))
      const error = yield* Effect.flip(life(layer, (store) => store.load))
      assert.strictEqual(error._tag, "StorageError")
      assert.include(error.message, "has format 9, this version reads and writes format 2")
      yield* setFormat(Buffer.of(0, 0, 0, 2))
      assert.strictEqual((yield* life(layer, (store) => store.load)).shapes.length, 1)
    }))

  it.scoped("a file that is no store is refused and left alone", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const layer = ShapeStorageLmdb.layer({ directory })
      yield* life(layer, (store) => store.commit({ ops: [putShape(1)] }))
      const [file] = fs.readdirSync(directory).filter((name) => !name.endsWith("-lock"))
      for (const contents of [Buffer.alloc(20_000, "not a database"), Buffer.alloc(20_000), Buffer.of(1)]) {
        fs.writeFileSync(path.join(directory, file!), contents)
        const error = yield* Effect.flip(life(layer, (store) => store.load))
        assert.include(error.message, "is not a file of this version of LMDB")
        assert.isTrue(fs.readFileSync(path.join(directory, file!)).equals(contents))
      }
    }))

  it.scoped("after it is closed a store answers with errors", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const store = yield* life(ShapeStorageLmdb.layer({ directory }), Effect.succeed)
      const effects = [store.load, store.commit({ ops: [putShape(1)] }), store.snapshotBlock(1, 0, 0)]
      for (const effect of effects) assert.strictEqual((yield* Effect.flip(effect))._tag, "StorageError")
    }))

  it.scoped("closing waits for the commits that have been asked for", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const layer = ShapeStorageLmdb.layer({ directory })
      const count = 50
      yield* life(layer, (store) =>
        Effect.gen(function*() {
          for (let n = 1; n <= count; n++) {
            yield* Effect.forkDaemon(store.commit({ ops: [putSnapshotBlock(1, 0, n, Buffer.alloc(BLOCK_BYTES))] }))
          }
          // They have been asked for, and not waited for.
          yield* Effect.yieldNow()
        }))
      yield* life(layer, (store) =>
        Effect.gen(function*() {
          assert.isTrue(Option.isSome(yield* store.snapshotBlock(1, 0, count)))
        }))
    }))

  it.scoped("an interrupted caller's commit is applied, whole", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      yield* life(ShapeStorageLmdb.layer({ directory }), (store) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.fork(store.commit({ ops: [putShape(1)], applied: applied(1n) }))
          yield* Effect.yieldNow()
          yield* fiber.interruptAsFork(fiber.id())
          yield* fiber.await
          assert.strictEqual((yield* store.load).applied?.lsn, 1n)
        }))
    }))

  it.scoped("a removal lets commits pass between its slices", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      yield* life(ShapeStorageLmdb.layer({ directory }), (store) =>
        Effect.gen(function*() {
          const blocks = 2000
          const block = Buffer.alloc(100)
          yield* store.commit({
            ops: [putShape(1), ...Array.from({ length: blocks }, (_, n) => putSnapshotBlock(1, 0, n, block))]
          })
          yield* store.commit({ ops: [removeShape(1)] })
          yield* store.commit({ ops: [putShape(2)] })
          assert.isTrue(Option.isSome(yield* store.snapshotBlock(1, 0, blocks - 1)))
        }))
    }))

  it.scoped("the space of removed shapes is used again", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      yield* life(ShapeStorageLmdb.layer({ directory }), (store) =>
        Effect.gen(function*() {
          const blocks = 64
          const fill = Effect.fnUntraced(function*(shape: number) {
            const block = Buffer.alloc(BLOCK_BYTES, shape)
            yield* store.commit({
              ops: [putShape(shape), ...Array.from({ length: blocks }, (_, n) => putSnapshotBlock(shape, 0, n, block))]
            })
            const used = yield* store.diskBytes
            yield* store.commit({ ops: [removeShape(shape)] })
            while (Option.isSome(yield* store.snapshotBlock(shape, 0, blocks - 1))) {
              yield* store.commit({ ops: [putHead(1000, offset(1n, 0))] })
            }
            return used
          })
          // A block fills its pages exactly: 1 % for the rest.
          assert.isAtMost(yield* fill(1), blocks * 65536 * 1.01 + 100_000)
          yield* fill(2)
          const settled = yield* store.diskBytes
          for (let shape = 3; shape <= 8; shape++) yield* fill(shape)
          assert.isAtMost(yield* store.diskBytes, settled + blocks * 65536)
        }))
    }))

  it.scoped("a truncation of many blocks", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      yield* life(ShapeStorageLmdb.layer({ directory }), (store) =>
        Effect.gen(function*() {
          const blocks = 3000
          yield* store.commit({ ops: Array.from({ length: blocks }, (_, n) => putLogBlock(1, [offset(5n, n)])) })
          yield* store.commit({ ops: [truncateLog(1, offset(5n, 9))] })
          assert.strictEqual(shown(yield* store.logBlock(1, offset(5n, 8))), "5_9")
          assert.strictEqual(shown(yield* store.logBlock(1, offset(5n, 9))), "none")
        }))
    }))

  it.scoped("a full disk fails the commit, which changes nothing, and a later one works", (context) =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const mount = spawnSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", directory], { encoding: "utf8" })
      if (mount.status !== 0) {
        return context.skip(`can't mount a small tmpfs here: ${mount.stderr ?? mount.error?.message}`)
      }
      yield* Effect.addFinalizer(() => Effect.sync(() => spawnSync("umount", [directory])))
      const block = Buffer.alloc(BLOCK_BYTES, 1)
      const blocks = (shape: number, count: number) =>
        Array.from({ length: count }, (_, n) => putSnapshotBlock(shape, 0, n, block))
      yield* life(ShapeStorageLmdb.layer({ directory }), (store) =>
        Effect.gen(function*() {
          yield* store.commit({ ops: [putShape(1), ...blocks(1, 10)], applied: applied(1n) })
          const before = yield* store.load
          const error = yield* Effect.flip(
            store.commit({ ops: [putShape(2), ...blocks(2, 100)], applied: applied(2n) })
          )
          assert.include(error.message, "is full")
          assert.deepStrictEqual(yield* store.load, before)
          assert.isTrue(Option.isNone(yield* store.snapshotBlock(2, 0, 0)))
          yield* store.flushed
          yield* store.commit({ ops: [putShape(2), ...blocks(2, 10)], applied: applied(2n) })
        }))
      yield* life(ShapeStorageLmdb.layer({ directory }), (store) =>
        Effect.gen(function*() {
          assert.strictEqual((yield* store.load).applied?.lsn, 2n)
          assert.isTrue(Option.isSome(yield* store.snapshotBlock(2, 0, 9)))
        }))
    }))

  it.scoped("writes that fail for a while fail their commits and no others", (context) =>
    Effect.gen(function*() {
      if (spawnSync("prlimit", ["--version"]).status !== 0) {
        return context.skip("there is no prlimit here to limit a process's files")
      }
      const directory = yield* temporaryDirectory
      const limited = ["--fsize=4000000:unlimited", process.execPath, "--import", "tsx", script("limitedWriter.ts")]
      const output = yield* Effect.async<string, Error>((resume) => {
        execFile("prlimit", [...limited, directory], (error, stdout, stderr) =>
          resume(error === null ? Effect.succeed(stdout) : Effect.fail(new Error(stderr, { cause: error }))))
      })
      const { after, failed, healed, message, together } = JSON.parse(output)
      assert.isAbove(failed, 1)
      assert.include(message, "Input/output error")
      assert.deepStrictEqual(after, { applied: failed - 1, shapes: failed - 1, nextId: failed })
      assert.deepStrictEqual(together, [true, true, true])
      assert.deepStrictEqual(healed, { applied: failed, shapes: failed, nextId: failed + 1 })
    }))
})
