/**
 * The interval index against a list that is searched from end to end.
 */
import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { IntervalIndex } from "../../src/engine/IntervalIndex.ts"

const point = fc.oneof(
  fc.integer({ min: -20, max: 20 }),
  fc.constantFrom(-Infinity, Infinity),
  fc.double({ noNaN: true, min: -20, max: 20 })
)
const step = fc.record({ low: point, high: point, value: fc.integer({ min: 0, max: 5 }), add: fc.boolean() })

const found = (index: IntervalIndex<number>, at: number): ReadonlyArray<number> => {
  const values: Array<number> = []
  index.find(at, (value) => values.push(value))
  return values.sort((a, b) => a - b)
}

describe("IntervalIndex", () => {
  it("finds what a list finds", () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 200 }), fc.array(point, { maxLength: 20 }), (steps, points) => {
      const index = new IntervalIndex<number>()
      const list = new Map<string, { low: number; high: number; value: number }>()
      for (const { add, high, low, value } of steps) {
        // Removing something that is there is the case that matters.
        const known = add ? undefined : list.values().next().value
        const one = known ?? { low, high, value }
        const key = `${one.low} ${one.high} ${one.value}`
        if (add) {
          index.add(low, high, value)
          list.set(key, one)
        } else {
          index.remove(one.low, one.high, one.value)
          list.delete(key)
        }
      }
      assert.strictEqual(index.isEmpty, list.size === 0)
      for (const at of [...points, -Infinity, Infinity, 0]) {
        const expected = [...list.values()].filter(({ high, low }) => low <= at && at <= high).map(({ value }) => value)
        assert.deepStrictEqual(found(index, at), expected.sort((a, b) => a - b))
      }
      const everything: Array<number> = []
      index.all((value) => everything.push(value))
      assert.strictEqual(everything.length, list.size)
    }))
  })

  it("orders texts by their characters", () => {
    const index = new IntervalIndex<string>()
    index.add("a", "a\uffff", "a%")
    index.add("ab", "ab\uffff", "ab%")
    index.add("b", "b\uffff", "b%")
    const at = (text: string) => {
      const values: Array<string> = []
      index.find(text, (value) => values.push(value))
      return values.sort()
    }
    assert.deepStrictEqual(at("abc"), ["a%", "ab%"])
    assert.deepStrictEqual(at("b"), ["b%"])
    assert.deepStrictEqual(at("c"), [])
  })

  it("takes a hundred thousand intervals in order without growing deep", () => {
    const index = new IntervalIndex<number>()
    for (let i = 0; i < 100_000; i++) index.add(i, i + 1, i)
    assert.deepStrictEqual(found(index, 50_000), [49_999, 50_000])
    for (let i = 0; i < 100_000; i++) index.remove(i, i + 1, i)
    assert.isTrue(index.isEmpty)
  })
})
