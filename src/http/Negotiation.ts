/**
 * Which encoding a client is sent a body in: what it likes best of what we have, and of what it likes equally the one
 * that costs least for what it saves.
 */
import * as zlib from "node:zlib"
import { RecentMap } from "./RecentMap.ts"

export type Encoding = "zstd" | "br" | "gzip"

/** Ours, the best first; Node has zstd from 22.15 on. */
const OURS: ReadonlyArray<Encoding> = "createZstdCompress" in zlib ? ["zstd", "br", "gzip"] : ["br", "gzip"]

/** Headers that are remembered, and characters of them: browsers have a handful. */
const REMEMBERED = 64
const REMEMBERED_CHARS = 8_192

/** Weights by name; what is not a number from 0 to 1 weighs nothing. */
const weights = (header: string): ReadonlyMap<string, number> => {
  const found = new Map<string, number>()
  for (const each of header.toLowerCase().split(",")) {
    const [name = "", ...params] = each.split(";").map((part) => part.trim())
    if (name === "") continue
    const given = params.find((param) => param.startsWith("q="))
    const weight = given === undefined ? 1 : Number(given.slice(2))
    found.set(name, weight >= 0 && weight <= 1 ? weight : 0)
  }
  return found
}

const choose = (header: string): Encoding | "identity" => {
  const given = weights(header)
  // Unless it is named, a body as it is counts for less than whatever is.
  let best: Encoding | "identity" = "identity"
  let most = given.get("identity") ?? 0
  for (const encoding of OURS) {
    const weight = given.get(encoding) ?? (encoding === "gzip" ? given.get("x-gzip") ?? given.get("*") : undefined) ?? 0
    if (weight > 0 && (weight > most || (weight === most && best === "identity"))) {
      best = encoding
      most = weight
    }
  }
  return best
}

/** Chooses by an `Accept-Encoding` header; `undefined` for a body as it is. */
export const make = (): (header: string | undefined) => Encoding | undefined => {
  const known = new RecentMap<Encoding | "identity">(REMEMBERED, REMEMBERED_CHARS)
  return (header) => {
    if (header === undefined || header === "") return undefined
    const chosen = header.length > 1_000 ? choose(header) : known.get(header, choose)
    return chosen === "identity" ? undefined : chosen
  }
}
