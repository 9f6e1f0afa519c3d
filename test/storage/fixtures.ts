/** Shapes, blocks and short forms for the tests of the store. */
import { Effect, Option } from "effect"
import { decode, encode } from "../../src/domain/LogBlock.ts"
import { type LogOffset, make } from "../../src/domain/LogOffset.ts"
import type { Lsn } from "../../src/domain/Lsn.ts"
import type { ShapeDefinition } from "../../src/domain/ShapeDefinition.ts"
import type { AppliedPosition, CountsAt, ShapeRecord, ShapeStorage, StoreOp } from "../../src/storage/ShapeStorage.ts"

export const definition: ShapeDefinition = {
  tableOid: 16400,
  schema: "public",
  table: "größe \"x\"",
  keyColumns: ["id"],
  hasPrimaryKey: true,
  columns: [{ name: "id", typeOid: 20 }, { name: "title", typeOid: 25 }],
  explicitColumns: false,
  where: undefined,
  replica: "default",
  log: "full"
}

export const record = (id: number, snapshot?: ShapeRecord["snapshot"]): ShapeRecord => ({
  id,
  handle: `handle-${id}`,
  definition,
  snapshot
})

/** A snapshot whose numbers do not fit a double. */
export const snapshot: NonNullable<ShapeRecord["snapshot"]> = {
  marks: { xmin: 2n ** 63n + 1n, xmax: 2n ** 63n + 9n, xip: [2n ** 63n + 3n, 2n ** 63n + 5n], lsn: 2n ** 64n - 1n },
  chunks: [10, 20, 5]
}

export const applied = (lsn: Lsn): AppliedPosition => ({
  systemId: "7391820374659182736",
  timeline: 1,
  slot: "shapelog_slot",
  lsn,
  endLsn: lsn + 8n,
  recent: [4_294_967_295, 0, 700]
})

/** An encoded log block with an entry of `itemBytes` at each of the offsets. */
export const logBlock = (offsets: ReadonlyArray<LogOffset>, itemBytes = 12, fill = 0x61): Buffer =>
  encode({
    tx: BigUint64Array.from(offsets, ({ tx }) => tx),
    op: Float64Array.from(offsets, ({ op }) => op),
    end: Uint32Array.from(offsets, (_, i) => (i + 1) * itemBytes),
    body: Buffer.alloc(offsets.length * itemBytes, fill)
  })

export const offsetsOf = (block: Buffer): Array<LogOffset> => {
  const { op, tx } = decode(block)
  return Array.from(tx, (tx, i) => make(tx, op[i]!))
}

export const putShape = (id: number, snapshot?: ShapeRecord["snapshot"]): StoreOp => ({
  _tag: "PutShape",
  record: record(id, snapshot)
})

export const removeShape = (shape: number): StoreOp => ({ _tag: "RemoveShape", shape })

export const putSnapshotBlock = (shape: number, chunk: number, block: number, bytes: Uint8Array): StoreOp => ({
  _tag: "PutSnapshotBlock",
  shape,
  chunk,
  block,
  bytes
})

export const putLogBlock = (
  shape: number,
  offsets: ReadonlyArray<LogOffset>,
  itemBytes?: number,
  fill?: number
): StoreOp => ({
  _tag: "PutLogBlock",
  shape,
  first: offsets[0]!,
  bytes: logBlock(offsets, itemBytes, fill)
})

export const putChunkEnd = (shape: number, end: LogOffset): StoreOp => ({ _tag: "PutChunkEnd", shape, end })

export const putHead = (shape: number, end: LogOffset, chunkBytes = 0): StoreOp => ({
  _tag: "PutHead",
  shape,
  head: { end, chunkBytes }
})

export const truncateLog = (shape: number, after: LogOffset): StoreOp => ({ _tag: "TruncateLog", shape, after })

export const putCount = (shape: number, value: string, count: number): StoreOp => ({
  _tag: "PutCount",
  shape,
  value,
  count
})

export const putScratch = (page: number, bytes: Uint8Array): StoreOp => ({ _tag: "PutScratch", page, bytes })
export const dropScratch = (from: number, to: number): StoreOp => ({ _tag: "DropScratch", from, to })
export const putCountsAt = (shape: number, at: CountsAt | undefined): StoreOp => ({ _tag: "PutCountsAt", shape, at })

/** All counts of a shape, page by page, by value. */
export const allCounts = Effect.fnUntraced(function*(store: typeof ShapeStorage.Service, shape: number) {
  const counts = new Map<string, number>()
  let after: string | undefined
  while (true) {
    const page = yield* store.counts(shape, after)
    if (page.length === 0) return counts
    for (const { count, value } of page) {
      if (counts.has(value)) throw new Error(`twice in the pages: ${value}`)
      counts.set(value, count)
      after = value
    }
  }
})

/** `"5_0 5_1"` to offsets. */
export const at = (text: string): Array<LogOffset> =>
  text.split(" ").map((one) => {
    const [tx, op] = one.split("_")
    return make(BigInt(tx!), op === "inf" ? Infinity : Number(op))
  })

/** The offsets of a block, printed, or `"none"`. */
export const shown = (block: Option.Option<Buffer>): string =>
  Option.match(block, {
    onNone: () => "none",
    onSome: (bytes) => offsetsOf(bytes).map(({ op, tx }) => `${tx}_${op}`).join(" ")
  })
