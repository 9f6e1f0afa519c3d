/**
 * `DELETE /v1/shape` (Electric HTTP protocol §16): by definition, by handle, or by both, which then have to agree.
 */
import { type Context, Effect, Either, Option } from "effect"
import type { DatabaseUnavailable, InvalidRequest } from "../domain/Errors.ts"
import type { ShapeEngine } from "../engine/ShapeEngine.ts"
import { decode, type RawQuery } from "./QueryString.ts"
import type { ValidateDefinition } from "./ShapeParams.ts"
import type { HttpRequest, Replies, ShapeResponse } from "./ShapeResponse.ts"

const MISMATCH = "The specified shape definition and handle do not match. Please ensure the shape definition is " +
  "correct or omit the shape handle from the request to obtain a new one."

const booleans: ReadonlySet<string> = new Set(["true", "false", "1", "0"])

export const make = (
  { engine, replies, validate }: {
    readonly engine: Context.Tag.Service<ShapeEngine>
    readonly replies: Replies
    readonly validate: ValidateDefinition
  }
) => {
  const remove = (request: HttpRequest, handle: string): Effect.Effect<ShapeResponse> =>
    Effect.match(engine.remove(handle), {
      onFailure: () => replies.error(request, 404, { message: "No existing shape found" }),
      onSuccess: () => replies.deleted(request)
    })

  return Effect.fnUntraced(
    function*(request: HttpRequest, raw: RawQuery): Effect.fn.Return<
      ShapeResponse,
      InvalidRequest | DatabaseUnavailable
    > {
      const flags = Object.entries({ live: raw.live, live_sse: raw.liveSse ?? raw.experimentalLiveSse })
      const wrong = flags.find(([, flag]) => flag !== undefined && (flag === true || !booleans.has(flag)))
      if (wrong) return replies.invalid(request, { [wrong[0]]: ["is invalid"] })
      const handle = raw.handle === undefined ? undefined : decode(raw.handle)
      const definition = validate(raw)
      if (Either.isLeft(definition)) return replies.invalid(request, definition.left)
      if (definition.right === undefined) {
        return handle === undefined
          ? replies.invalid(request, { handle: ["can't be blank when shape definition is missing"] })
          : yield* remove(request, handle)
      }
      const found = yield* engine.find(definition.right)
      const foundHandle = Option.getOrUndefined(Option.map(found, (shape) => shape.handle))
      if (handle !== undefined && handle !== foundHandle && (foundHandle !== undefined || engine.exists(handle))) {
        return replies.error(request, 400, { message: MISMATCH })
      }
      return foundHandle === undefined
        ? replies.error(request, 404, { message: "No existing shape found" })
        : yield* remove(request, foundHandle)
    }
  )
}
