/**
 * Subset snapshots over HTTP (Electric HTTP protocol §12.4): the rows with what is needed to merge them into the stream.
 */
import { type Context, Effect, Exit, Option, type Runtime, Scope } from "effect"
import * as LogOffset from "../domain/LogOffset.ts"
import type { SubsetRequest } from "../domain/ShapeDefinition.ts"
import type { ShapeEngine, ShapeInfo, SubsetRows } from "../engine/ShapeEngine.ts"
import * as LogFrame from "./LogFrame.ts"
import type { ShapeParams } from "./ShapeParams.ts"
import type { HttpRequest, Replies, ShapeResponse } from "./ShapeResponse.ts"

const TAIL = "]}"

const headOf = ({ mark, marks }: SubsetRows): string => {
  const metadata = {
    xmin: String(marks.xmin),
    xmax: String(marks.xmax),
    xip_list: marks.xip.map(String),
    database_lsn: String(marks.lsn),
    snapshot_mark: mark
  }
  return `{"metadata":${JSON.stringify(metadata)},"data":[`
}

/** Rows up to this many bytes are sent as one. */
const SMALL = 16_384

/** The rows in their frame. Their pieces are items each preceded by a comma, of which the first must go. */
const frame = (rows: SubsetRows): LogFrame.ResponseBody => {
  const { length, pull, ready } = rows.body
  const head = headOf(rows)
  if (length === 0) return LogFrame.ascii(head + TAIL)
  if (ready !== undefined && length !== undefined && length <= SMALL) {
    return LogFrame.ascii(`${head}${Buffer.concat(ready).toString("latin1", 1)}${TAIL}`)
  }
  let state: "head" | "first" | "rows" | "done" = "head"
  const next: typeof pull = Effect.map(pull, (piece) => {
    if (Option.isNone(piece)) {
      state = "done"
      return Option.some(Buffer.from(TAIL))
    }
    if (state === "rows") return piece
    state = "rows"
    return Option.some(piece.value.subarray(1))
  })
  return LogFrame.pieced(
    length === undefined ? undefined : head.length + length - 1 + TAIL.length,
    () => {
      if (state === "done") return undefined
      if (state !== "head") return next
      state = "first"
      return Buffer.from(head)
    }
  )
}

export const make = (
  { engine, replies, runFork }: {
    readonly engine: Context.Tag.Service<ShapeEngine>
    readonly replies: Replies
    readonly runFork: ReturnType<typeof Runtime.runFork<never>>
  }
) => {
  /**
   * Where the client's stream goes on: never past what the rows show. It keeps a real offset; whatever it is told again
   * of what the rows show already, it can tell by the snapshot.
   */
  const offsetOf = ({ offset }: ShapeParams, { handle }: ShapeInfo) =>
    offset === "now"
      ? engine.end(handle)
      : Effect.succeed(offset.tx < 0n ? LogOffset.snapshotChunk(0) : offset)

  /** Answers with the rows of a subset. What the query holds is let go of when the exchange ends. */
  return Effect.fnUntraced(
    function*(request: HttpRequest, params: ShapeParams, shape: ShapeInfo, subset: SubsetRequest) {
      const offset = yield* offsetOf(params, shape)
      const scope = yield* Scope.make()
      request.onEnd(() => runFork(Scope.close(scope, Exit.void)))
      const rows = yield* Scope.extend(engine.subset(shape.handle, subset), scope)
      const response: ShapeResponse = {
        status: 200,
        headers: replies.subsetHeaders(request, shape.handle, LogOffset.format(offset), shape.schema),
        body: frame(rows)
      }
      return response
    }
  )
}
