/**
 * Cost of encoding: snapshot rows from COPY text, and inserts of the replication stream. CPU of one thread, best and
 * median of several rounds in one process, input already in memory; says nothing of what Postgres, storage and HTTP
 * cost.
 *
 * Run: `npx tsx bench/micro/encode.ts [rows]`
 */
import * as ItemEncoder from "../../src/domain/ItemEncoder.ts"
import * as Projection from "../../src/domain/Projection.ts"
import type { ShapeDefinition } from "../../src/domain/ShapeDefinition.ts"
import * as SnapshotEncoder from "../../src/domain/SnapshotEncoder.ts"
import { type Tuple, tuple } from "../../src/domain/WalMessage.ts"

const ROWS = Number(process.argv[2] ?? 1_000_000)
const ROUNDS = 7
const BATCH = 512

const definition: ShapeDefinition = {
  tableOid: 1,
  schema: "public",
  table: "items",
  keyColumns: ["id"],
  hasPrimaryKey: true,
  columns: ["id", "name", "status", "ts", "n", "payload"].map((name) => ({ name, typeOid: 25 })),
  explicitColumns: false,
  where: undefined,
  replica: "default",
  log: "full"
}
const projection = Projection.make(definition)

const statuses = ["active", "pending", "done", "archived"]
const values = (i: number, payload: string): Array<string> => [
  String(i),
  `name-${i}`,
  statuses[i % 4]!,
  `2026-01-${String(1 + (i % 28)).padStart(2, "0")} 11:42:${String(i % 60).padStart(2, "0")}.${
    String(i % 1_000_000).padStart(6, "0")
  }+00`,
  String((i * 7919) % 100_000),
  payload
]

/** Payloads of 120 characters: with nothing to escape, and JSON. */
const payloads: Record<string, (i: number) => string> = {
  plain: (i) =>
    `${
      String(i).padStart(8, "0")
    } lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et do`,
  json: (i) =>
    `{"id": ${
      String(i).padStart(8, "0")
    }, "tags": ["a", "b"], "note": "a line\\nand another", "nested": {"x": 1.5, "y": null}, "end": true..}`
}

const copyBatches = (payload: (i: number) => string): Array<SnapshotEncoder.CopyRows> => {
  const distinct = Math.min(ROWS, 100_000)
  const batches: Array<SnapshotEncoder.CopyRows> = []
  for (let from = 0; from < distinct; from += BATCH) {
    const count = Math.min(BATCH, distinct - from)
    const lines = Array.from(
      { length: count },
      (_, i) => Buffer.from(values(from + i, payload(from + i)).join("\t").replaceAll("\\", "\\\\") + "\n")
    )
    const rows = new Int32Array(2 * count)
    let at = 0
    lines.forEach((line, i) => {
      rows[2 * i] = at
      rows[2 * i + 1] = at += line.length
    })
    batches.push({ bytes: Buffer.concat(lines), rows, count })
  }
  return batches
}

const measure = (name: string, round: () => { readonly rows: number; readonly bytes: number }) => {
  const times: Array<number> = []
  let bytes = 0
  for (let i = 0; i < ROUNDS; i++) {
    const before = process.cpuUsage()
    const began = performance.now()
    const done = round()
    const took = performance.now() - began
    const cpu = process.cpuUsage(before)
    // What the other threads of the process (collector, compiler) did is left out: they overlap.
    times.push((Math.min(took, (cpu.user + cpu.system) / 1000) * 1000) / done.rows)
    bytes = done.bytes / done.rows
  }
  times.sort((a, b) => a - b)
  const best = times[0]!
  console.log(
    `${name.padEnd(34)} best ${best.toFixed(3)} us, median ${times[ROUNDS >> 1]!.toFixed(3)} us, ${
      bytes.toFixed(0)
    } B out each, ${(bytes / best).toFixed(0)} MB/s`
  )
}

for (const [kind, payload] of Object.entries(payloads)) {
  const batches = copyBatches(payload)
  measure(`snapshot row, ${kind} payload`, () => {
    const encoder = SnapshotEncoder.make(projection, { blockBytes: 65520, chunkBytes: 10 * 1024 * 1024 })
    let bytes = 0
    let rows = 0
    while (rows < ROWS) {
      for (const batch of batches) {
        encoder.push(batch)
        for (const block of encoder.take()) bytes += block.bytes.length
        rows += batch.count
      }
    }
    encoder.finish({ xmin: 1n, xmax: 1n, xip: [] })
    for (const block of encoder.take()) bytes += block.bytes.length
    return { rows, bytes }
  })
}

/** Tuples as a decoder leaves them: many in one buffer, or each in its own. */
const tuples = (payload: (i: number) => string, shared: boolean): Array<Tuple> => {
  const each = Array.from({ length: 20_000 }, (_, i) => tuple(values(i, payload(i))))
  if (!shared) return each
  const bytes = Buffer.concat(each.map((row) => row.bytes))
  let at = 0
  return each.map((row) => {
    const cols = row.cols.map((value, i) => (i % 2 === 0 ? value + at : value))
    at += row.bytes.length
    return { bytes, cols }
  })
}

const wal = (
  name: string,
  encode: (
    binding: Projection.Binding,
    row: Tuple,
    next: Tuple,
    position: ItemEncoder.Position
  ) => ItemEncoder.EncodedItem | undefined,
  replica: "default" | "full",
  rows: Array<Tuple>
) => {
  const binding = Projection.bind(Projection.make({ ...definition, replica }), {
    oid: 1,
    schema: "public",
    name: "items",
    replicaIdentity: "f",
    columns: definition.columns.map((column) => ({ ...column, typeModifier: -1, key: true }))
  })!
  measure(name, () => {
    const count = Math.min(ROWS, 500_000)
    let bytes = 0
    const position = { lsn: "26800600", op: 0, xid: 749 }
    for (let i = 0; i < count; i++) {
      position.op = (i % 100) * 2
      const item = encode(binding, rows[i % rows.length]!, rows[(i + 1) % rows.length]!, position)
      if (item !== undefined) bytes += item.end - item.start
    }
    return { rows: count, bytes }
  })
}

wal(
  "insert, plain payload",
  (binding, row, _, position) => ItemEncoder.insert(binding, row, position),
  "default",
  tuples(payloads.plain!, true)
)
wal(
  "insert, buffer of its own",
  (binding, row, _, position) => ItemEncoder.insert(binding, row, position),
  "default",
  tuples(payloads.plain!, false)
)
wal(
  "insert, json payload",
  (binding, row, _, position) => ItemEncoder.insert(binding, row, position),
  "default",
  tuples(payloads.json!, true)
)
wal(
  "update, replica default",
  (binding, row, next, position) => ItemEncoder.update(binding, row, next, position),
  "default",
  tuples(payloads.plain!, true)
)
wal(
  "update, replica full",
  (binding, row, next, position) => ItemEncoder.update(binding, row, next, position),
  "full",
  tuples(payloads.plain!, true)
)
wal(
  "delete",
  (binding, row, _, position) => ItemEncoder.remove(binding, row, position),
  "default",
  tuples(payloads.plain!, true)
)
