/**
 * What the HTTP room can be told. Times are in milliseconds unless the name says otherwise.
 */
import { Context, Effect, Layer, Schema } from "effect"
import type * as Admission from "./Admission.ts"

/** The options contradict each other: the server does not start. The operator changes the configuration. */
export class InvalidHttpOptions
  extends Schema.TaggedError<InvalidHttpOptions>("shapelog/InvalidHttpOptions")("InvalidHttpOptions", {
    reason: Schema.String
  })
{
  override get message() {
    return this.reason
  }
}

export interface HttpSettings {
  /** Port to listen on; 0 lets the system choose one. */
  readonly port: number
  /** Address to listen on. */
  readonly host: string
  /**
   * How long a live request is held; half of it is how long one with an offset past the end is. Also the interval of
   * the cursor.
   */
  readonly longPollTimeoutMs: number
  /** How long a stream of events is kept open. */
  readonly sseTimeoutMs: number
  /** After how long without output a stream of events gets a comment, so that nothing on its way gives it up. */
  readonly sseKeepAliveMs: number
  /** How long a request waits for an engine that is not active yet. */
  readonly readyTimeoutMs: number
  /** `max-age` of responses that are neither live nor the first of a shape, in seconds. */
  readonly cacheMaxAge: number
  /** `stale-while-revalidate` of the same, in seconds. */
  readonly cacheStaleAge: number
  /** The API secret that requests for shapes must carry in their query. */
  readonly secret: string | undefined
  /** Serve without a secret. Exactly one of `secret` and `insecure` is set. */
  readonly insecure: boolean
  /** Most requests that are served at a time, by whether their shape is there. */
  readonly maxConcurrentRequests: Admission.Limits
  /** Whether `DELETE` removes shapes. */
  readonly allowDelete: boolean
  /** Bytes of compressed bodies that are kept; with none, nothing is compressed. */
  readonly compressionCacheBytes: number
  /** Longest body of a request, in bytes: beyond it the answer is 413. */
  readonly maxRequestBodyBytes: number
  /** How long a client may take to send the head of a request, from its first byte or its connection on. */
  readonly headersTimeoutMs: number
  /** How long an idle connection is kept open. Keep it above the idle time of any proxy in front. */
  readonly keepAliveTimeoutMs: number
  /** A connection whose client takes no bytes for this long while some are waiting for it is destroyed. */
  readonly sendTimeoutMs: number
  /** How long responses under way may take to end at shutdown, before their connections are destroyed. */
  readonly drainTimeoutMs: number
  /** Our version, as the `electric-server` header prints it. */
  readonly version: string
}

export class HttpOptions extends Context.Tag("shapelog/http/HttpOptions")<HttpOptions, HttpSettings>() {
  static readonly defaults: HttpSettings = {
    port: 3000,
    host: "0.0.0.0",
    longPollTimeoutMs: 20_000,
    sseTimeoutMs: 60_000,
    sseKeepAliveMs: 21_000,
    readyTimeoutMs: 5_000,
    cacheMaxAge: 60,
    cacheStaleAge: 300,
    secret: undefined,
    insecure: false,
    maxConcurrentRequests: { initial: 300, existing: 10_000 },
    allowDelete: false,
    compressionCacheBytes: 64 * 1024 * 1024,
    maxRequestBodyBytes: 8_000_000,
    headersTimeoutMs: 30_000,
    keepAliveTimeoutMs: 60_000,
    sendTimeoutMs: 30_000,
    drainTimeoutMs: 10_000,
    version: "0.1.0"
  }

  /** The defaults with some replaced. Fails unless exactly one of `secret` and `insecure` is given. */
  static readonly layer = (settings: Partial<HttpSettings>): Layer.Layer<HttpOptions, InvalidHttpOptions> =>
    Layer.effect(
      HttpOptions,
      Effect.suspend(() => {
        const all = { ...HttpOptions.defaults, ...settings }
        if (all.secret === "") return new InvalidHttpOptions({ reason: "the API secret must not be empty" })
        return (all.secret === undefined) === all.insecure
          ? Effect.succeed(all)
          : new InvalidHttpOptions({ reason: "exactly one of an API secret and insecure mode must be configured" })
      })
    )
}
