/** Network addresses: inet, cidr and macaddr. */
import { type Builtins, type Inet, unsure } from "../Value.ts"
import { bitsOf, compareInets, hostBits, inet, printHost, printNetwork, samePrefix } from "../values/Network.ts"
import { comparisons, everywhere, extremes, primitiveComparisons } from "./Families.ts"

/** Whether the first is inside the second: of its family, in its network, and at least so many bits longer. */
const isWithin = (a: Inet, b: Inet, longer: 0 | 1): boolean =>
  a.family === b.family && a.bits >= b.bits + longer && samePrefix(a, b, b.bits)

const allBits = (family: 4 | 6): bigint => hostBits(family, 0)

const network = ({ address, bits, family }: Inet): Inet =>
  inet(family, address & (allBits(family) ^ hostBits(family, bits)), bits)

const bitwise = (a: Inet, b: Inet, operation: (x: bigint, y: bigint) => bigint): Inet =>
  a.family === b.family ? inet(a.family, operation(a.address, b.address), Math.max(a.bits, b.bits)) : unsure()

/** -1 is all bits. */
const withBits = (value: Inet, bits: number): Inet => {
  const most = bitsOf(value.family)
  const given = bits === -1 ? most : bits
  return given >= 0 && given <= most ? inet(value.family, value.address, given) : unsure()
}

const compare = (a: unknown, b: unknown): number => compareInets(a as Inet, b as Inet)

export const networkFunctions: Builtins = {
  ...comparisons("network", compare),
  ...extremes("network", compare),
  ...primitiveComparisons("macaddr"),
  ...primitiveComparisons("macaddr8"),
  ...everywhere({
    network_sub: (a, b) => isWithin(a as Inet, b as Inet, 1),
    network_subeq: (a, b) => isWithin(a as Inet, b as Inet, 0),
    network_sup: (a, b) => isWithin(b as Inet, a as Inet, 1),
    network_supeq: (a, b) => isWithin(b as Inet, a as Inet, 0),
    network_overlap: (a, b) => {
      const left = a as Inet
      const right = b as Inet
      return left.family === right.family && samePrefix(left, right, Math.min(left.bits, right.bits))
    },
    network_family: (a) => (a as Inet).family,
    network_masklen: (a) => (a as Inet).bits,
    network_host: (a) => printHost(a as Inet),
    network_show: (a) => printNetwork(a as Inet),
    network_network: (a) => network(a as Inet),
    inet_to_cidr: (a) => network(a as Inet),
    network_broadcast: (a) => {
      const { address, bits, family } = a as Inet
      return inet(family, address | hostBits(family, bits), bits)
    },
    network_netmask: (a) => {
      const { bits, family } = a as Inet
      return inet(family, allBits(family) ^ hostBits(family, bits), bitsOf(family))
    },
    network_hostmask: (a) => {
      const { bits, family } = a as Inet
      return inet(family, hostBits(family, bits), bitsOf(family))
    },
    inet_same_family: (a, b) => (a as Inet).family === (b as Inet).family,
    inet_set_masklen: (a, b) => withBits(a as Inet, b as number),
    cidr_set_masklen: (a, b) => network(withBits(a as Inet, b as number)),
    inetnot: (a) => {
      const { address, bits, family } = a as Inet
      return inet(family, allBits(family) ^ address, bits)
    },
    inetand: (a, b) => bitwise(a as Inet, b as Inet, (x, y) => x & y),
    inetor: (a, b) => bitwise(a as Inet, b as Inet, (x, y) => x | y)
  })
}
