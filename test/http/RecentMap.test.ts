import { assert, describe, it } from "@effect/vitest"
import { RecentMap } from "../../src/http/RecentMap.ts"

/** The keys that were made anew when they were asked for, in turn. */
const made = (map: RecentMap<string>, keys: ReadonlyArray<string>): ReadonlyArray<string> => {
  const out: Array<string> = []
  for (const key of keys) {
    map.get(key, (key) => {
      out.push(key)
      return key
    })
  }
  return out
}

describe("a map of what was asked for lately", () => {
  it("forgets what was not asked for while so many others were", () => {
    const map = new RecentMap<string>(2)
    assert.deepStrictEqual(made(map, ["a", "b", "c", "a", "d"]), ["a", "b", "c", "d"])
    assert.deepStrictEqual(made(map, ["e", "b"]), ["e", "b"])
  })

  it("counts the characters of its keys as well", () => {
    const map = new RecentMap<string>(1000, 10)
    const long = (c: string) => c.repeat(10)
    assert.deepStrictEqual(made(map, [long("a"), long("b"), long("c")]), [long("a"), long("b"), long("c")])
    assert.deepStrictEqual(made(map, [long("b"), long("a")]), [long("a")])
  })
})
