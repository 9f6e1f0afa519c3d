/**
 * Responses from a shape's log: their headers, their ETags, and what ends their bodies (Electric HTTP protocol §5–§7).
 */
import type { Clock } from "effect"
import * as LogOffset from "../domain/LogOffset.ts"
import * as Lsn from "../domain/Lsn.ts"
import type { LogSlice, ShapeInfo } from "../engine/ShapeEngine.ts"
import * as Cursor from "./Cursor.ts"
import type { HttpSettings } from "./HttpOptions.ts"
import * as LogFrame from "./LogFrame.ts"
import type { ShapeParams } from "./ShapeParams.ts"
import * as ShapeResponse from "./ShapeResponse.ts"

type HttpRequest = ShapeResponse.HttpRequest
type Response = ShapeResponse.ShapeResponse

/**
 * Whether a live request at `offset` has to wait: the slice ends where the request is, or the log has no live entry
 * yet.
 */
export const isQuiet = (slice: LogSlice, offset: LogOffset.LogOffset): boolean =>
  slice.upToDate && (LogOffset.equals(slice.end, offset) || LogOffset.equals(slice.end, LogOffset.snapshotEnd))

export const isBeyondEnd = (slice: LogSlice, offset: LogOffset.LogOffset): boolean =>
  !slice.upToDate && LogOffset.lessThan(slice.end, offset)

/**
 * What ends the body of a slice. Of a live response the LSN follows from its offset, so that equal requests have equal
 * bodies.
 */
export const controlOf = (live: boolean, slice: LogSlice): string | undefined =>
  slice.upToDate
    ? LogFrame.upToDate(live ? slice.end.tx : Lsn.max(slice.lastSeenLsn, slice.end.tx))
    : undefined

export const etagOf = (shape: ShapeInfo, offset: LogOffset.LogOffset, slice: LogSlice): string =>
  `"${shape.handle}:${LogOffset.format(offset)}:${LogOffset.format(slice.end)}"`

/**
 * The ETag among those of an `If-None-Match` header that names this response, as it is or compressed; `undefined` when
 * the client does not have it.
 */
export const unchanged = (request: HttpRequest, etag: string): string | undefined => {
  const given = ShapeResponse.header(request, "if-none-match")
  if (given === undefined) return undefined
  if (given === etag) return etag
  const name = etag.slice(1, -1)
  for (const each of given.split(",")) {
    const other = each.trim().replaceAll("\"", "")
    if (other.startsWith(name) && /^(-(zstd|br|gzip))?$/.test(other.slice(name.length))) return `"${other}"`
  }
  return undefined
}

export const make = (
  { clock, options, random, replies }: {
    readonly clock: Clock.Clock
    /** A random whole number from 0 to below the limit. */
    readonly random: (limit: number) => number
    readonly options: HttpSettings
    readonly replies: ShapeResponse.Replies
  }
) => {
  const cacheInitial = "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"
  const cacheLive = "public, max-age=5, stale-while-revalidate=5"
  const cacheStream = `public, max-age=${Math.max(1, Math.floor(options.sseTimeoutMs / 1_000) - 1)}`
  const cacheOther = `public, max-age=${options.cacheMaxAge}, stale-while-revalidate=${options.cacheStaleAge}`
  const cacheControl = (request: HttpRequest, { live, offset, sse }: ShapeParams): string =>
    request.method === "POST"
      ? "no-cache"
      : live
      ? (sse ? cacheStream : cacheLive)
      : offset !== "now" && offset.tx < 0n
      ? cacheInitial
      : cacheOther

  /**
   * Makes the ETag of a response without news one that never comes again: revalidated, it would turn long polls into a
   * busy loop.
   */
  let unique = clock.unsafeCurrentTimeMillis() * 1_000

  /** The `electric-cursor` of a live response. */
  const cursor = ({ cursor }: ShapeParams): number =>
    Cursor.next(cursor, clock.unsafeCurrentTimeMillis(), options.longPollTimeoutMs, random)

  return {
    /** A read's response with a body, or without one the 304 of a client that has it already. */
    reply: (
      request: HttpRequest,
      params: ShapeParams,
      shape: ShapeInfo,
      slice: LogSlice,
      etag: string,
      body: LogFrame.ResponseBody | undefined
    ): Response => ({
      status: body === undefined ? 304 : 200,
      headers: replies.logHeaders(request, cacheControl(request, params), {
        handle: shape.handle,
        offset: LogOffset.format(slice.end),
        etag,
        hasData: true,
        upToDate: slice.upToDate,
        cursor: params.live ? cursor(params) : undefined,
        schema: body === undefined || params.live ? undefined : shape.schema
      }),
      body: body ?? LogFrame.none,
      sameBytes: body && (params.live || !slice.upToDate)
        ? { key: slice.upToDate ? `${etag}.` : etag, isLive: params.live }
        : undefined
    }),

    /** A response that says nothing but that `offset` is up to date. */
    withoutNews: (
      request: HttpRequest,
      params: ShapeParams,
      shape: ShapeInfo,
      offset: string,
      end: LogOffset.LogOffset,
      lastSeen: Lsn.Lsn
    ): Response => {
      const endText = LogOffset.format(end)
      const headers = replies.logHeaders(request, cacheControl(request, params), {
        handle: shape.handle,
        offset: endText,
        etag: `"${shape.handle}:${offset}:${endText}:${++unique}"`,
        hasData: false,
        upToDate: true,
        cursor: params.live ? cursor(params) : undefined,
        schema: params.live ? undefined : shape.schema
      })
      return { status: 200, headers, body: LogFrame.ascii(`[${LogFrame.upToDate(Lsn.max(lastSeen, end.tx))}]`) }
    },

    /**
     * A stream of events that has yet to send what comes after `offset`: a client whose connection breaks comes back
     * with the offset that it was told, so that must not be past what it has got.
     */
    events: (
      request: HttpRequest,
      params: ShapeParams,
      shape: ShapeInfo,
      offset: LogOffset.LogOffset,
      upToDate: boolean,
      source: LogFrame.EventSource
    ): Response => ({
      status: 200,
      headers: replies.eventHeaders(request, cacheControl(request, params), {
        handle: shape.handle,
        offset: LogOffset.format(offset),
        etag: `"${shape.handle}:${LogOffset.format(offset)}:${LogOffset.format(offset)}:${++unique}"`,
        hasData: true,
        upToDate,
        cursor: cursor(params),
        schema: undefined
      }),
      body: { _tag: "Events", source }
    })
  }
}

export type LogReplies = ReturnType<typeof make>
