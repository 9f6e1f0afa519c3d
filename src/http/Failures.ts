/**
 * What the engine's errors are over HTTP (Electric HTTP protocol §4.5, §7.5, §9.4). Only what may be told is told; the
 * rest is logged.
 */
import { type Context, Effect } from "effect"
import type { DatabaseUnavailable, InvalidRequest, InvalidSubset, SnapshotFailed } from "../domain/Errors.ts"
import type { ShapeEngine, ShapeInfo } from "../engine/ShapeEngine.ts"
import type * as LogFrame from "./LogFrame.ts"
import type { ShapeParams } from "./ShapeParams.ts"
import type { HttpRequest, Replies, ShapeResponse } from "./ShapeResponse.ts"

/** A request for a shape on its way, and how far it has come. */
export interface Exchange {
  readonly request: HttpRequest
  /** Set once they are valid. */
  params: ShapeParams | undefined
  /** Set once the shape is resolved. */
  shape: ShapeInfo | undefined
}

export type EngineError = InvalidRequest | InvalidSubset | DatabaseUnavailable | LogFrame.BodyError

const KNOWN_ERROR = ["electric-internal-known-error", "true"]

/** Messages about a column list that was given as `queryable_columns`. */
const aboutQueryable = ({ columns, ...others }: InvalidRequest["errors"]): InvalidRequest["errors"] =>
  columns === undefined ? others : {
    ...others,
    queryable_columns: columns.map((message) =>
      message
        .replace("The list of columns", "The list of queryable columns")
        .replace("The following columns are not found", "The following queryable columns are not found")
    )
  }

/** The response to a request that failed. */
export const make = (engine: Context.Tag.Service<ShapeEngine>, replies: Replies) => {
  /** What readers are told of a snapshot that failed, unless the shape is to be asked for anew. */
  const snapshotFailed = (request: HttpRequest, error: SnapshotFailed): ShapeResponse =>
    error.reason === "unknown"
      ? replies.error(request, 500, { message: error.detail })
      : replies.unavailable(request, error.detail, 10, KNOWN_ERROR)

  /** 409 with the handle of the shape that took the place of the one that is gone, where there is one. */
  const refetch = ({ params, request, shape }: Exchange): Effect.Effect<ShapeResponse> =>
    params === undefined ? Effect.succeed(replies.mustRefetch(request, undefined)) : Effect.match(
      engine.resolve(params.definition),
      {
        onFailure: (error) =>
          // There is none to name, and may be none for long.
          error._tag === "SnapshotFailed" && error.reason !== "schema_changed"
            ? snapshotFailed(request, error)
            : replies.mustRefetch(request, undefined),
        onSuccess: ({ handle }) => replies.mustRefetch(request, handle === shape?.handle ? undefined : handle)
      }
    )

  return (exchange: Exchange, error: EngineError): Effect.Effect<ShapeResponse> => {
    const { params, request, shape } = exchange
    switch (error._tag) {
      case "InvalidRequest":
        return Effect.succeed(
          replies.invalid(request, params?.columnsAreQueryable === true ? aboutQueryable(error.errors) : error.errors)
        )
      case "InvalidSubset":
        return Effect.succeed(replies.invalid(request, { subset: error.errors }))
      case "DatabaseUnavailable":
        return Effect.succeed(
          replies.unavailable(
            request,
            "Cannot connect to the database to verify the shape. Please try again later.",
            1
          )
        )
      case "ShapeGone":
        return refetch(exchange)
      case "SnapshotFailed":
        if (error.reason === "schema_changed") return refetch(exchange)
        return Effect.succeed(snapshotFailed(request, error))
      case "StorageError":
        return shape === undefined
          ? Effect.as(
            Effect.logError("a shape could not be created", error),
            replies.unavailable(request, "Failed to create shape, please retry", 1)
          )
          : Effect.as(
            Effect.annotateLogs(Effect.logError("a shape's log could not be read", error), "shape", shape.handle),
            replies.internalError(request)
          )
    }
  }
}
