/**
 * The API secret that requests for shapes carry in their query (Electric HTTP protocol §3.1).
 */
import { createHash, timingSafeEqual } from "node:crypto"
import { decode, type RawQuery } from "./QueryString.ts"

const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

/**
 * Whether a query carries the secret: as `secret`, or, when that is absent, as `api_secret`. Takes the same time for
 * every wrong one. Without a secret everybody is let in.
 */
export const make = (secret: string | undefined): (query: RawQuery) => boolean => {
  if (secret === undefined) return () => true
  const expected = digest(secret)
  return ({ apiSecret, secret: given }) => {
    const text = decode(given ?? apiSecret ?? "")
    return text !== undefined && timingSafeEqual(digest(text), expected)
  }
}

const confidential = /^(?:secret|api_secret|token|access_token|api_key|password)$/i

/** A query for logs: the values of what is or may be confidential are left out. */
export const redacted = (query: string): string =>
  query.split("&").map((pair) => {
    const equals = pair.indexOf("=")
    const key = decode(equals === -1 ? pair : pair.slice(0, equals))
    return key === undefined || confidential.test(key) ? `${pair.slice(0, Math.max(equals, 0))}=<redacted>` : pair
  }).join("&")
