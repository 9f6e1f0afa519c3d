/** What every layer of the store asks of the ops of a commit, before it takes them. */
import type { LogOffset } from "../domain/LogOffset.ts"
import { type Commit, MAX_SCRATCH, type StoreOp } from "./ShapeStorage.ts"
import { MAX_TX } from "./StoreKeys.ts"

const isUint32 = (n: number): boolean => Number.isInteger(n) && n >= 0 && n <= 0xffffffff

const isOffset = ({ op, tx }: LogOffset): boolean =>
  tx >= 0n && tx <= MAX_TX && (op === Infinity || (Number.isSafeInteger(op) && op >= 0))

/** Ops that are not of a shape. */
export type ScratchOp = Extract<StoreOp, { readonly _tag: "PutScratch" | "DropScratch" }>
export type ShapeOp = Exclude<StoreOp, ScratchOp>

export const isScratchOp = (op: StoreOp): op is ScratchOp => op._tag === "PutScratch" || op._tag === "DropScratch"

/** The shape that an op is of. */
export const shapeOf = (op: ShapeOp): number => (op._tag === "PutShape" ? op.record.id : op.shape)

const isPage = (page: number): boolean => Number.isInteger(page) && page >= 0 && page <= MAX_SCRATCH

const complaintOfOp = (op: StoreOp): string | undefined => {
  if (op._tag === "PutScratch") return isPage(op.page) ? undefined : `PutScratch: no such page: ${op.page}`
  if (op._tag === "DropScratch") {
    return isPage(op.from) && isPage(op.to) ? undefined : `DropScratch: no such pages: ${op.from} to ${op.to}`
  }
  const shape = shapeOf(op)
  // 2^32 - 1 is not given, so that the next id still is a u32.
  if (!isUint32(shape) || shape === 0 || shape === 0xffffffff) return `${op._tag}: ${shape} is no shape id`
  switch (op._tag) {
    case "PutSnapshotBlock":
      return isUint32(op.chunk) && isUint32(op.block)
        ? undefined
        : `PutSnapshotBlock: no such block: ${op.chunk}, ${op.block}`
    case "PutLogBlock":
      return isOffset(op.first) ? undefined : `PutLogBlock: no offset of an entry: ${op.first.tx}_${op.first.op}`
    case "PutChunkEnd":
      return isOffset(op.end) ? undefined : `PutChunkEnd: no offset of an entry: ${op.end.tx}_${op.end.op}`
    case "PutHead":
      return isOffset(op.head.end) ? undefined : `PutHead: no offset of an entry: ${op.head.end.tx}_${op.head.end.op}`
    case "PutCount":
      return Number.isInteger(op.count) && op.count >= 0 && op.count < 2 ** 48
        ? undefined
        : `PutCount: no count of rows: ${op.count}`
    case "PutCountsAt":
      return op.at === undefined || (isOffset(op.at.offset) && Number.isInteger(op.at.values) && op.at.values >= 0)
        ? undefined
        : `PutCountsAt: no offset or number: ${op.at.offset.tx}_${op.at.offset.op}, ${op.at.values}`
    default:
      return undefined
  }
}

/** Why a commit can't be stored, whatever the store holds; `undefined` when it can. */
export const complaint = ({ ops }: Commit): string | undefined => {
  for (const op of ops) {
    const text = complaintOfOp(op)
    if (text !== undefined) return text
  }
  return undefined
}

/** Bytes of the blocks and values in a commit, roughly. */
export const commitBytes = ({ ops }: Commit): number => {
  let sum = 0
  for (const op of ops) {
    if ("bytes" in op) sum += op.bytes.length
    else if (op._tag === "PutCount") sum += op.value.length
  }
  return sum
}
