import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import * as ItemEncoder from "../../src/domain/ItemEncoder.ts"
import * as Projection from "../../src/domain/Projection.ts"
import * as SnapshotEncoder from "../../src/domain/SnapshotEncoder.ts"
import { tuple } from "../../src/domain/WalMessage.ts"
import { copyRows, definition, relation, type Row, snapshotItem, type Table, tableAndRows } from "./EncoderReference.ts"

const marks = { xmin: 745n, xmax: 4294967999n, xip: [4294967296n, 4294967300n] }
const endItem =
  `,{"headers":{"control":"snapshot-end","xmin":"745","xmax":"4294967999","xip_list":["4294967296","4294967300"]}}`

const projectionOf = (table: Table) => Projection.make(definition(table))

/** The chunks that the rows become, and their blocks, by the protocol's rule. */
const naive = (table: Table, rows: ReadonlyArray<Row>, chunkBytes: number): Array<string> => {
  const chunks = [""]
  let size = 0
  for (const row of rows) {
    const item = snapshotItem(table, row)
    chunks[chunks.length - 1] += item
    size += Buffer.byteLength(item.slice(1)) + 1
    if (size >= chunkBytes) {
      chunks.push("")
      size = 0
    }
  }
  chunks[chunks.length - 1] += endItem
  return chunks
}

const chunksOf = (blocks: ReadonlyArray<SnapshotEncoder.SnapshotBlock>): Array<string> => {
  const chunks: Array<Array<Buffer>> = []
  for (const { block, bytes, chunk } of blocks) {
    const of = (chunks[chunk] ??= [])
    assert.strictEqual(block, of.length)
    assert.isAbove(bytes.length, 0)
    of.push(bytes)
  }
  return chunks.map((parts) => Buffer.concat(parts).toString())
}

const items: Table = { schema: "public", table: "items", columns: ["id", "title"], key: [0], replica: "default" }

describe("SnapshotEncoder", { timeout: 30_000 }, () => {
  it("encodes rows as the reference does, cut into its chunks and full blocks", () => {
    fc.assert(
      fc.property(
        tableAndRows(12),
        fc.integer({ min: 16, max: 400 }),
        fc.integer({ min: 1, max: 1500 }),
        fc.integer({ min: 1, max: 5 }),
        fc.nat({ max: 5 }),
        ([table, rows], blockBytes, chunkBytes, batch, padding) => {
          const encoder = SnapshotEncoder.make(projectionOf(table), { blockBytes, chunkBytes })
          const blocks: Array<SnapshotEncoder.SnapshotBlock> = []
          for (let i = 0; i < rows.length; i += batch) {
            encoder.push(copyRows(rows.slice(i, i + batch), padding))
            blocks.push(...encoder.take())
          }
          encoder.finish(marks)
          blocks.push(...encoder.take())
          const chunks = chunksOf(blocks)
          assert.deepStrictEqual(chunks, naive(table, rows, chunkBytes))
          assert.strictEqual(encoder.chunks(), chunks.length)
          blocks.forEach((block, i) => {
            const lastOfChunk = i === blocks.length - 1 || blocks[i + 1]!.chunk !== block.chunk
            if (lastOfChunk) assert.isAtMost(block.bytes.length, blockBytes)
            else assert.strictEqual(block.bytes.length, blockBytes)
          })
        }
      ),
      { numRuns: 400 }
    )
  })

  it("flush changes where blocks are cut, and nothing else", () => {
    fc.assert(
      fc.property(
        tableAndRows(8),
        fc.integer({ min: 16, max: 400 }),
        fc.integer({ min: 1, max: 1500 }),
        ([table, rows], blockBytes, chunkBytes) => {
          const encoder = SnapshotEncoder.make(projectionOf(table), { blockBytes, chunkBytes })
          encoder.flush()
          assert.deepStrictEqual(encoder.take(), [])
          for (const row of rows) {
            encoder.push(copyRows([row]))
            encoder.flush()
          }
          encoder.finish(marks)
          const blocks = encoder.take()
          for (const block of blocks) assert.isAtMost(block.bytes.length, blockBytes)
          assert.deepStrictEqual(chunksOf(blocks), naive(table, rows, chunkBytes))
        }
      )
    )
  })

  it("gives a row the key and value that the live log gives it", () => {
    fc.assert(
      fc.property(tableAndRows(3), ([table, rows]) => {
        const projection = projectionOf(table)
        const binding = Projection.bind(projection, relation(table))!
        for (const row of rows) {
          const encoder = SnapshotEncoder.make(projection, { blockBytes: 1 << 16, chunkBytes: 1 << 20 })
          encoder.push(copyRows([row]))
          encoder.flush()
          const snapshot = encoder.take()[0]!.bytes.toString()
          const live = ItemEncoder.insert(binding, tuple(row), { lsn: "1", op: 0, xid: 1 })
          const common = snapshot.slice(0, -2)
          assert.strictEqual(
            live.bytes.toString("utf8", live.start, live.end),
            `${common},"lsn":"1","op_position":0,"txids":[1]`
          )
        }
      })
    )
  })

  it("a chunk closes with the item that reaches its size exactly, and the end then stands alone in the next", () => {
    const rows = [["1", "a"], ["2", "b"], ["3", "c"], ["4", "d"]]
    const size = Buffer.byteLength(snapshotItem(items, rows[0]!))
    const chunksWith = (chunkBytes: number) => {
      // Blocks end exactly where the chunk does.
      const encoder = SnapshotEncoder.make(projectionOf(items), { blockBytes: size, chunkBytes })
      encoder.push(copyRows(rows))
      encoder.finish(marks)
      return chunksOf(encoder.take()).map((chunk) => chunk.split(`,{"`).length - 1)
    }
    assert.deepStrictEqual(chunksWith(2 * size - 1), [2, 2, 1])
    assert.deepStrictEqual(chunksWith(2 * size), [2, 2, 1])
    assert.deepStrictEqual(chunksWith(2 * size + 1), [3, 2])
  })

  it("rows far longer than a block, and every length around a word and around the block's room", () => {
    for (const size of [0, 1, 2, 3, 4, 5, 7, 8, 9, 1000, 16384, 70_000, 300_000]) {
      const rows = [["1", "x".repeat(size)], ["2", "\u0001".repeat(size)], ["3", "a\"\\".repeat(size)], ["4", null]]
      const encoder = SnapshotEncoder.make(projectionOf(items), { blockBytes: 4096, chunkBytes: 100_000 })
      encoder.push(copyRows(rows))
      encoder.finish(marks)
      assert.deepStrictEqual(chunksOf(encoder.take()), naive(items, rows, 100_000))
    }
  })

  it("every byte, alone and inside a word", () => {
    const rows = Array.from(
      { length: 0x500 },
      (_, i) => [`/${String.fromCharCode(i)}/`, `ab${String.fromCharCode(i)}cdef${String.fromCharCode(i)}`]
    )
    const encoder = SnapshotEncoder.make(projectionOf({ ...items, key: [0, 1] }), {
      blockBytes: 65520,
      chunkBytes: 1 << 20
    })
    encoder.push(copyRows(rows))
    encoder.finish(marks)
    assert.deepStrictEqual(chunksOf(encoder.take()), naive({ ...items, key: [0, 1] }, rows, 1 << 20))
  })

  it("an empty snapshot is one chunk with its end", () => {
    const encoder = SnapshotEncoder.make(projectionOf(items), { blockBytes: 100, chunkBytes: 100 })
    encoder.finish({ xmin: 745n, xmax: 745n, xip: [] })
    const end = `,{"headers":{"control":"snapshot-end","xmin":"745","xmax":"745","xip_list":[]}}`
    assert.deepStrictEqual(encoder.take().map(({ bytes, ...at }) => ({ ...at, text: bytes.toString() })), [{
      chunk: 0,
      block: 0,
      text: end
    }])
    assert.strictEqual(encoder.chunks(), 1)
  })

  it("a backslash that COPY TO never writes stands for the character after it", () => {
    const encoder = SnapshotEncoder.make(projectionOf(items), { blockBytes: 1000, chunkBytes: 1000 })
    const line = Buffer.from("a\\/b\\q\tx\\q\\\"y\\\u0001\n")
    encoder.push({ bytes: line, rows: Int32Array.of(0, line.length), count: 1 })
    encoder.flush()
    assert.strictEqual(encoder.take()[0]!.bytes.toString(), snapshotItem(items, ["a/bq", "xq\"y\u0001"]))
  })

  it("refuses a row with too few or too many fields", () => {
    for (const row of [["1"], ["1", "2", "3"]]) {
      const encoder = SnapshotEncoder.make(projectionOf(items), { blockBytes: 1000, chunkBytes: 1000 })
      assert.throws(() => encoder.push(copyRows([row])), /number of fields/)
    }
    const second = SnapshotEncoder.make(projectionOf({ ...items, key: [1] }), { blockBytes: 1000, chunkBytes: 1000 })
    assert.throws(() => second.push(copyRows([["1"]])), /number of fields/)
  })

  it("a recorded snapshot of the reference server (booleans apart)", () => {
    const body =
      `[{"key":"\\"public\\".\\"cap\\"/\\"1\\"","value":{"b":"\\\\xdead","f":"1.5","id":"1","j":"{\\"a\\": 1}","n":"1.50","tags":"{a,b}","title":"one","ts":"2026-01-01 00:00:00+00"},"headers":{"relation":["public","cap"],"operation":"insert"}},{"key":"\\"public\\".\\"cap\\"/\\"2\\"","value":{"b":null,"f":null,"id":"2","j":null,"n":null,"tags":null,"title":"t\\"w'o","ts":null},"headers":{"relation":["public","cap"],"operation":"insert"}},{"headers":{"control":"snapshot-end","xip_list":[],"xmax":"805","xmin":"805"}}]`
    const cap: Table = {
      schema: "public",
      table: "cap",
      columns: ["id", "title", "n", "f", "ts", "j", "b", "tags"],
      key: [0],
      replica: "default"
    }
    const encoder = SnapshotEncoder.make(projectionOf(cap), { blockBytes: 100, chunkBytes: 10_000 })
    encoder.push(copyRows([
      ["1", "one", "1.50", "1.5", "2026-01-01 00:00:00+00", "{\"a\": 1}", "\\xdead", "{a,b}"],
      ["2", "t\"w'o", null, null, null, null, null, null]
    ]))
    encoder.finish({ xmin: 805n, xmax: 805n, xip: [] })
    assert.deepStrictEqual(JSON.parse(`[${chunksOf(encoder.take())[0]!.slice(1)}]`), JSON.parse(body))
  })
})
