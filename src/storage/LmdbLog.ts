/**
 * Reads the log blocks of shapes. A reader goes through a log block by block, asking each time for what comes after the
 * last entry it was given; for such a reader the keys that come next are remembered (a *run*), so that a block costs
 * one get. A run holds only while nothing is written to its shape's log: see `hold` and `release`.
 */
import { lastOf } from "../domain/LogBlock.ts"
import { compare, equals, type LogOffset } from "../domain/LogOffset.ts"
import type { LmdbEnvironment } from "./LmdbEnvironment.ts"
import type { ShapeId } from "./ShapeStorage.ts"
import * as Keys from "./StoreKeys.ts"

interface Run {
  /** Last entry of the block that was read last. */
  after: LogOffset
  /** The keys that follow, from `next` on; when there is none left, the ones after the last of them are looked up. */
  keys: Array<Buffer>
  next: number
}

/** Keys looked up at once: an iterator costs 5 µs and 0.5 µs for each key. */
const AHEAD = 16
/** Readers of one shape, at different places, that have a run. */
const RUNS_OF_A_SHAPE = 4
/** Shapes that have runs: about 4 kB each. */
const SHAPES = 1024

export class LmdbLog {
  private readonly runs = new Map<ShapeId, Array<Run>>()
  private held: ReadonlySet<ShapeId> = new Set()
  private readonly environment: LmdbEnvironment

  constructor(environment: LmdbEnvironment) {
    this.environment = environment
  }

  /** These logs are about to be written: from now until `release`, a read may or may not see it. */
  hold(shapes: ReadonlySet<ShapeId>): void {
    this.held = shapes
    for (const shape of shapes) this.runs.delete(shape)
  }

  release(): void {
    this.held = new Set()
  }

  /** See `ShapeStorage.logBlock`. */
  block(shape: ShapeId, after: LogOffset): Buffer | undefined {
    const held = this.held.has(shape)
    const run = held ? undefined : this.runs.get(shape)?.find((run) => equals(run.after, after))
    if (run !== undefined) return this.continueRun(shape, run)
    const within = this.within(shape, after)
    const keys = within === undefined
      ? this.environment.keys(Keys.logAfter(shape, after), Keys.logEnd(shape), AHEAD)
      : [within.key]
    const block = within === undefined ? keys[0] && this.environment.read(keys[0]) : within.block
    if (block !== undefined && !held) this.addRun(shape, { after: lastOf(block), keys, next: 1 })
    return block
  }

  private continueRun(shape: ShapeId, run: Run): Buffer | undefined {
    if (run.next === run.keys.length) {
      const more = this.environment.keys(Keys.successor(run.keys[run.next - 1]!), Keys.logEnd(shape), AHEAD)
      if (more.length === 0) return undefined
      run.keys = more
      run.next = 0
    }
    const block = this.environment.read(run.keys[run.next]!)
    if (block !== undefined) {
      run.next++
      run.after = lastOf(block)
    }
    return block
  }

  /** The block that begins at or before `after`, if it also has an entry past it. */
  private within(shape: ShapeId, after: LogOffset): { readonly key: Buffer; readonly block: Buffer } | undefined {
    if (after.tx < 0n) return undefined
    const key = this.environment.lastKey(Keys.logStart(shape), Keys.logAfter(shape, after))
    const shared = key && this.environment.peek(key)
    if (key === undefined || shared === undefined || compare(lastOf(shared), after) <= 0) return undefined
    const block = this.environment.read(key)
    return block && { key, block }
  }

  private addRun(shape: ShapeId, run: Run): void {
    const runs = this.runs.get(shape) ?? []
    // Again at the end: the map's order is that of use.
    this.runs.delete(shape)
    this.runs.set(shape, runs)
    if (runs.push(run) > RUNS_OF_A_SHAPE) runs.shift()
    if (this.runs.size > SHAPES) {
      for (const oldest of this.runs.keys()) {
        this.runs.delete(oldest)
        break
      }
    }
  }
}
