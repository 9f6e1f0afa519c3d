/** inet and cidr, and macaddr, whose text compares as the address does. */
import { type Codec, type Codecs, type Inet, unsure } from "../Value.ts"
import { compareAscii } from "./Texts.ts"

export const bitsOf = (family: 4 | 6): number => family === 4 ? 32 : 128

export const inet = (family: 4 | 6, address: bigint, bits: number): Inet => ({ _tag: "Inet", family, address, bits })

/** The bits that a netmask leaves to hosts. */
export const hostBits = (family: 4 | 6, bits: number): bigint => (1n << BigInt(bitsOf(family) - bits)) - 1n

// --- Input ---

const part = (text: string, base: 10 | 16, largest: number): number => {
  if (!(base === 10 ? /^\d{1,3}$/ : /^[0-9a-f]{1,4}$/).test(text)) unsure()
  const number = Number.parseInt(text, base)
  return number <= largest ? number : unsure()
}

const parse4 = (text: string): bigint => {
  const parts = text.split(".")
  if (parts.length !== 4) unsure()
  let address = 0
  for (const one of parts) address = address * 256 + part(one, 10, 255)
  return BigInt(address)
}

/** Words between colons; the last two may be written as an IPv4 address. */
const words = (text: string): ReadonlyArray<number> => {
  if (text === "") return []
  const parts = text.split(":")
  const last = parts.at(-1)!
  if (!last.includes(".")) return parts.map((one) => part(one, 16, 0xffff))
  const low = Number(parse4(last))
  return [...parts.slice(0, -1).map((one) => part(one, 16, 0xffff)), low >>> 16, low & 0xffff]
}

const parse6 = (text: string): bigint => {
  const gap = text.indexOf("::")
  const head = words(gap < 0 ? text : text.slice(0, gap))
  const tail = gap < 0 ? [] : words(text.slice(gap + 2))
  const missing = 8 - head.length - tail.length
  if (gap < 0 ? missing !== 0 : missing < 1) unsure()
  let address = 0n
  for (const word of head) address = address << 16n | BigInt(word)
  address <<= BigInt(16 * missing)
  for (const word of tail) address = address << 16n | BigInt(word)
  return address
}

const decode = (text: string): Inet => {
  const slash = text.indexOf("/")
  const host = slash < 0 ? text : text.slice(0, slash)
  const family = host.includes(":") ? 6 : 4
  const bits = slash < 0 ? bitsOf(family) : part(text.slice(slash + 1), 10, bitsOf(family))
  return inet(family, family === 4 ? parse4(host) : parse6(host), bits)
}

// --- Output ---

const print4 = (address: number): string =>
  `${address >>> 24}.${address >>> 16 & 255}.${address >>> 8 & 255}.${address & 255}`

/** Where the longest run of at least two zeros begins, and its length. */
const longestGap = (parts: ReadonlyArray<number>): readonly [number, number] => {
  let best = -1
  let length = 1
  for (let from = 0; from < 8; from++) {
    let to = from
    while (to < 8 && parts[to] === 0) to++
    if (to - from > length) {
      best = from
      length = to - from
    }
    if (to > from) from = to
  }
  return [best, length]
}

const print6 = (address: bigint): string => {
  const parts = Array.from({ length: 8 }, (_, i) => Number(address >> BigInt(112 - 16 * i) & 0xffffn))
  const [gap, length] = longestGap(parts)
  // Addresses that are compatible with IPv4, or mapped to it, end like one.
  const mixed = gap === 0 && (length === 6 || (length === 5 && parts[5] === 0xffff))
  const print = (some: ReadonlyArray<number>) => some.map((word) => word.toString(16)).join(":")
  const low = Number(address & 0xffff_ffffn)
  if (mixed) return `::${length === 5 ? "ffff:" : ""}${print4(low)}`
  return gap < 0 ? print(parts) : `${print(parts.slice(0, gap))}::${print(parts.slice(gap + length))}`
}

/** Without the bits of the netmask. */
export const printHost = ({ address, family }: Inet): string => family === 4 ? print4(Number(address)) : print6(address)

/** With the bits of the netmask, whatever they are. */
export const printNetwork = (value: Inet): string => `${printHost(value)}/${value.bits}`

// --- Order ---

const comparePrefixes = (a: Inet, b: Inet, bits: number): number => {
  const rest = BigInt(bitsOf(a.family) - bits)
  const left = a.address >> rest
  const right = b.address >> rest
  return left < right ? -1 : left > right ? 1 : 0
}

/** Whether their first so many bits are the same. */
export const samePrefix = (a: Inet, b: Inet, bits: number): boolean => comparePrefixes(a, b, bits) === 0

/** IPv4 first; then by the bits that both netmasks have, by the netmasks, and by all bits. */
export const compareInets = (a: Inet, b: Inet): number => {
  if (a.family !== b.family) return a.family - b.family
  return comparePrefixes(a, b, Math.min(a.bits, b.bits)) || a.bits - b.bits ||
    comparePrefixes(a, b, bitsOf(a.family))
}

const codec = (encode: (value: Inet) => string): Codec => ({
  decode,
  encode: (value) => encode(value as Inet),
  equal: (a, b) => compareInets(a as Inet, b as Inet) === 0,
  compare: (a, b) => compareInets(a as Inet, b as Inet)
})

const cidr = codec(printNetwork)

const macaddr = (bytes: 6 | 8): Codec => ({
  decode: (text) => text.length === 3 * bytes - 1 && /^([0-9a-f]{2}:)+[0-9a-f]{2}$/.test(text) ? text : unsure(),
  encode: (value) => value as string,
  equal: (a, b) => a === b,
  compare: (a, b) => compareAscii(a as string, b as string)
})

export const networkCodecs: Codecs = {
  inet: codec((value) => value.bits === bitsOf(value.family) ? printHost(value) : printNetwork(value)),
  cidr: {
    ...cidr,
    decode: (text) => {
      const value = decode(text)
      return (value.address & hostBits(value.family, value.bits)) === 0n ? value : unsure()
    }
  },
  macaddr: macaddr(6),
  macaddr8: macaddr(8)
}
