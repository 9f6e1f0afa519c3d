/** Network addresses against Postgres. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { networkFunctions } from "../../src/where/functions/Network.ts"
import { codecOf } from "../../src/where/values/Codecs.ts"
import { check } from "./FunctionOracle.ts"

const inet = [
  ..."10.1.2.3 10.1.2.3/8 10.0.0.0/8 10.0.0.0/16 10.1.0.0/16 10.1.2.3/31 0.0.0.0 0.0.0.0/0 255.255.255.255".split(" "),
  ..."192.168.0.1/24 192.168.0.128/25 128.0.0.1/1 ::1 :: ::2 ::/0 2001:db8::/32 2001:db8::1 2001:db8:1::/48".split(" "),
  ..."::ffff:1.2.3.4 ::1.2.3.4 ::1.2.3.4/100 1:0:0:2:0:0:0:3 ::5:0 ::1:2:3 0:1:: 1:0:2:3:4:5:6:7 fe80::1%0".split(" ")
    .slice(0, -1),
  ..."::2:3:4:5:6:7:8 1:2:3:4:5:6:7:0 1:0:0:2:0:0:3:4 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127 1:2:3:4:5:6:0:0"
    .split(" "),
  ..."::ffff:0:0/96 ::1:0:0 0:0:1:: a::b/64 abcd:ef01::".split(" ")
]

const samples = {
  inet,
  cidr: [
    ..."10.0.0.0/8 10.1.0.0/16 10.1.2.3/32 0.0.0.0/0 192.168.0.0/24 ::/0 ::1/128 2001:db8::/32 ::ffff:1.2.3.4/128"
      .split(" "),
    ..."::ffff:0:0/96 128.0.0.0/1 fe80::/10".split(" ")
  ],
  macaddr: "08:00:2b:01:02:03 08:00:2b:01:02:04 00:00:00:00:00:00 ff:ff:ff:ff:ff:ff 80:00:00:00:00:0a 9f:ff:ff:ff:ff:ff"
    .split(" "),
  macaddr8:
    "08:00:2b:01:02:03:04:05 08:00:2b:ff:fe:02:04:05 00:00:00:00:00:00:00:00 ff:ff:ff:ff:ff:ff:ff:ff a0:00:00:00:00:00:00:01"
      .split(" "),
  integer: "0 1 8 -1 32 33 128 129 -2 31 64".split(" ")
}

describe("network addresses", () => {
  it.scoped("are compared and taken apart as in Postgres", () =>
    Effect.gen(function*() {
      const { calls } = yield* check({ functions: networkFunctions, samples, limit: 2000, certain: 1 }, codecOf)
      assert.isAbove(calls, 10_000)
    }))
})
