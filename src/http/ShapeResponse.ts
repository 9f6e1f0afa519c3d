/**
 * Requests and responses without a server: what the routes take and give. Header names are lower-case; header values
 * are ASCII or were echoed from the request.
 */
import { type Effect, Schema } from "effect"
import * as LogFrame from "./LogFrame.ts"
import type { InvalidParameters, Problems } from "./ResponseSchemas.ts"

/** The body of a request could not be had: it is longer than the limit, or its client has stopped sending. */
export class RequestBodyError
  extends Schema.TaggedError<RequestBodyError>("shapelog/RequestBodyError")("RequestBodyError", {
    reason: Schema.Literal("too large", "unreadable")
  })
{}

export interface HttpRequest {
  readonly method: string
  /** Path as it came, percent-encoded, without the query. */
  readonly path: string
  /** Query as it came, without `?`; empty when there is none. */
  readonly query: string
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  /** Reads the request's body, once and only when this is run; empty when there is none. */
  readonly body: Effect.Effect<Uint8Array, RequestBodyError>
  /**
   * Registers what is to be let go of when the response has been sent or can't be any more: the server calls each
   * exactly once, however the exchange ends.
   */
  readonly onEnd: (release: () => void) => void
}

export interface ShapeResponse {
  readonly _tag?: undefined
  readonly status: number
  /**
   * Name, value, name, value, …; without `content-length`, which follows from the body. The server adds its own to it.
   */
  readonly headers: Array<string>
  readonly body: LogFrame.ResponseBody
  /** Set when every response with this key has a body of the same bytes. */
  readonly sameBytes?: { readonly key: string; readonly isLive: boolean } | undefined
}

/** The value of a header; several fields of one name count as one, comma-separated. */
export const header = (request: HttpRequest, name: string): string | undefined => {
  const value = request.headers[name]
  return typeof value === "string" || value === undefined ? value : value.join(", ")
}

const JSON_TYPE = "application/json; charset=utf-8"
const EXPOSED = "electric-cursor,electric-handle,electric-has-data,electric-offset,electric-schema," +
  "electric-up-to-date,electric-internal-known-error,retry-after"
const SHAPE_METHODS = "GET, POST, HEAD, DELETE, OPTIONS"
const OTHER_METHODS = "GET, HEAD"
const DEFAULT_CACHE = "max-age=0, private, must-revalidate"

/**
 * ASCII JSON of the same meaning: a header field is bytes, and clients disagree on the encoding of those beyond ASCII.
 */
export const asciiJson = (json: string): string =>
  /^[\x20-\x7e]*$/.test(json)
    ? json
    : json.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** What the headers of a response from the log say. */
export interface LogHeaders {
  readonly handle: string
  /** Where the response ends. */
  readonly offset: string
  readonly etag: string
  readonly hasData: boolean
  readonly upToDate: boolean
  /** Of live responses. */
  readonly cursor: number | undefined
  /** Left out of live responses and of those without a body. */
  readonly schema: string | undefined
}

/** The replies that all routes share, with the headers that every response carries. */
export const make = (options: { readonly version: string; readonly requestIdPrefix: string }) => {
  const server = `Shapelog/${options.version}`
  let requests = 0

  /** The client's own request id when it is of a sensible length, or a new one. */
  const requestId = (request: HttpRequest): string => {
    const given = header(request, "x-request-id")
    return given !== undefined && given.length >= 20 && given.length <= 200
      ? given
      : `${options.requestIdPrefix}-${(++requests).toString(36)}`
  }

  const withCors = (request: HttpRequest, methods: string, cacheControl: string): Array<string> => [
    "vary",
    "accept-encoding",
    "cache-control",
    cacheControl,
    "x-request-id",
    requestId(request),
    "electric-server",
    server,
    "access-control-allow-origin",
    header(request, "origin") ?? "*",
    "access-control-expose-headers",
    EXPOSED,
    "access-control-allow-methods",
    methods
  ]

  /** Headers of a JSON response on `/v1/shape`, for more to be added. */
  const shapeHeaders = (request: HttpRequest, cacheControl: string): Array<string> => {
    const headers = withCors(request, SHAPE_METHODS, cacheControl)
    headers.push("content-type", JSON_TYPE)
    return headers
  }

  /** A response from the log: one literal, because it is made for every request. */
  const logHeaders = (
    request: HttpRequest,
    cacheControl: string,
    of: LogHeaders,
    contentType = JSON_TYPE
  ): Array<string> => {
    const headers = [
      "vary",
      "accept-encoding",
      "cache-control",
      cacheControl,
      "x-request-id",
      requestId(request),
      "electric-server",
      server,
      "access-control-allow-origin",
      header(request, "origin") ?? "*",
      "access-control-expose-headers",
      EXPOSED,
      "access-control-allow-methods",
      SHAPE_METHODS,
      "content-type",
      contentType,
      "etag",
      of.etag,
      "electric-handle",
      of.handle,
      "electric-has-data",
      of.hasData ? "true" : "false",
      "electric-offset",
      of.offset
    ]
    if (of.upToDate) headers.push("electric-up-to-date", "")
    if (of.cursor !== undefined) headers.push("electric-cursor", String(of.cursor))
    if (of.schema !== undefined) headers.push("electric-schema", asciiJson(of.schema))
    return headers
  }

  /** An error on `/v1/shape`: never cached. */
  const error = <S extends keyof Problems>(
    request: HttpRequest,
    status: S,
    body: Problems[S],
    extra: ReadonlyArray<string> = []
  ): ShapeResponse => {
    const get = request.method === "GET" || request.method === "HEAD"
    const headers = shapeHeaders(request, get ? "no-store" : "no-cache")
    if (get) headers.push("surrogate-control", "no-store")
    headers.push(...extra)
    return { status, headers, body: LogFrame.utf8(JSON.stringify(body)) }
  }

  return {
    logHeaders,
    error,

    /** A stream of events from the log. */
    eventHeaders: (request: HttpRequest, cacheControl: string, of: LogHeaders): Array<string> =>
      logHeaders(request, cacheControl, of, "text/event-stream"),

    /** 400 with the protocol's field messages. */
    invalid: (request: HttpRequest, errors: InvalidParameters["errors"]): ShapeResponse =>
      error(request, 400, { message: "Invalid request", errors }),

    /** 503 with a message; the client comes back after so many seconds. */
    unavailable: (
      request: HttpRequest,
      message: string,
      retryAfterSeconds: number,
      extra: ReadonlyArray<string> = []
    ): ShapeResponse => error(request, 503, { message }, ["retry-after", String(retryAfterSeconds), ...extra]),

    /** 500 that says nothing of what happened. */
    internalError: (request: HttpRequest): ShapeResponse => error(request, 500, { error: "Internal server error" }),

    /** 503: there are as many requests of this kind as there may be. */
    overloaded: (request: HttpRequest, kind: string, limit: number, retryAfterSeconds: number): ShapeResponse =>
      error(request, 503, {
        code: "concurrent_request_limit_exceeded",
        message: `Concurrent ${kind} request limit exceeded (limit: ${limit}), please retry`
      }, ["retry-after", String(retryAfterSeconds), "electric-internal-known-error", "true"]),

    /** Headers of the rows of a subset: never cached. */
    subsetHeaders: (request: HttpRequest, handle: string, offset: string, schema: string): Array<string> => {
      const headers = shapeHeaders(request, "no-cache")
      headers.push("electric-snapshot", "true", "electric-handle", handle, "electric-offset", offset)
      headers.push("electric-schema", asciiJson(schema))
      return headers
    },

    /** 202: the shape is gone. */
    deleted: (request: HttpRequest): ShapeResponse => ({
      status: 202,
      headers: withCors(request, SHAPE_METHODS, "no-cache"),
      body: LogFrame.none
    }),

    /** 409: the client starts over, with the shape of `handle` where it is known. */
    mustRefetch: (request: HttpRequest, handle: string | undefined): ShapeResponse => {
      const age = handle === undefined ? 1 : 60
      const headers = shapeHeaders(
        request,
        request.method === "POST" ? "no-cache" : `public, max-age=${age}, must-revalidate`
      )
      if (handle !== undefined) headers.push("etag", `"${handle}::"`, "electric-handle", handle)
      return { status: 409, headers, body: LogFrame.ascii("[{\"headers\":{\"control\":\"must-refetch\"}}]") }
    },

    /** 401: without CORS headers, so that a script of another origin does not even learn that much. */
    unauthorized: (request: HttpRequest): ShapeResponse => ({
      status: 401,
      headers: [
        "vary",
        "accept-encoding",
        "cache-control",
        DEFAULT_CACHE,
        "x-request-id",
        requestId(request),
        "electric-server",
        server
      ],
      body: LogFrame.ascii("{\"message\":\"Unauthorized - Invalid API secret\"}")
    }),

    preflight: (request: HttpRequest): ShapeResponse => {
      const headers = withCors(request, SHAPE_METHODS, "").slice(4)
      headers.push("access-control-max-age", "86400")
      const asked = header(request, "access-control-request-headers")
      if (asked !== undefined && /^[\w!#$%&'*+.^`|~, -]{1,2000}$/.test(asked)) {
        headers.push("access-control-allow-headers", asked)
      }
      return { status: 204, headers, body: LogFrame.none }
    },

    health: (request: HttpRequest, status: number, state: string): ShapeResponse => {
      const headers = withCors(request, OTHER_METHODS, "no-cache, no-store, must-revalidate")
      headers.push("content-type", JSON_TYPE)
      return { status, headers, body: LogFrame.ascii(`{"status":"${state}"}`) }
    },

    /** The OpenAPI document, or without its body the 304 of a client that has it. */
    openApi: (request: HttpRequest, etag: string, body: LogFrame.ResponseBody | undefined): ShapeResponse => {
      const headers = withCors(request, OTHER_METHODS, "public, max-age=300")
      headers.push("content-type", JSON_TYPE, "etag", etag)
      return {
        status: body === undefined ? 304 : 200,
        headers,
        body: body ?? LogFrame.none,
        sameBytes: body && { key: etag, isLive: false }
      }
    },

    root: (request: HttpRequest): ShapeResponse => ({
      status: 200,
      headers: withCors(request, OTHER_METHODS, DEFAULT_CACHE),
      body: LogFrame.none
    }),

    notFound: (request: HttpRequest): ShapeResponse => ({
      status: 404,
      headers: withCors(request, OTHER_METHODS, DEFAULT_CACHE),
      body: LogFrame.ascii("Not found")
    }),

    /** 414 or 431, for a server that finds out itself. */
    tooLong: (request: HttpRequest): ShapeResponse => ({
      status: 414,
      headers: withCors(request, OTHER_METHODS, DEFAULT_CACHE),
      body: LogFrame.ascii("URI too long")
    })
  }
}

export type Replies = ReturnType<typeof make>
