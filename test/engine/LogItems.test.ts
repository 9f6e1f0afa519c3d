/** Items of a log are found whatever pieces it comes in. */
import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { type LogItem, LogItems } from "../../src/engine/LogItems.ts"

describe("LogItems", () => {
  it.prop(
    "gives each item once, as soon as it is whole",
    [
      fc.array(
        fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.constantFrom(null, "{", "}", "\"", "\\", "},{", "ü🌱")))
      ),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 })
    ],
    ([values, cuts]) => {
      const items = values.map((value): LogItem => ({ value, headers: { operation: "insert" } }))
      const texts = items.map((item) => Buffer.from(`,${JSON.stringify(item)}`))
      const bytes = Buffer.concat(texts)
      const reader = new LogItems()
      const found: Array<LogItem> = []
      let at = 0
      for (let n = 0; at < bytes.length; n++) {
        const piece = Buffer.from(bytes.subarray(at, at + cuts[n % cuts.length]!))
        found.push(...reader.push(piece))
        // Nobody minds what becomes of a piece that was taken.
        piece.fill(0)
        at = Math.min(at + cuts[n % cuts.length]!, bytes.length)
        let whole = 0
        for (let end = texts[0]?.length ?? 0; whole < texts.length && end <= at; end += texts[++whole]?.length ?? 0);
        assert.strictEqual(found.length, whole)
      }
      assert.isTrue(reader.isWhole)
      assert.strictEqual(JSON.stringify(found), JSON.stringify(items))
    },
    { fastCheck: { numRuns: 300 } }
  )

  it("an item that is larger than its pieces", () => {
    const text = `,${JSON.stringify({ value: { a: "x".repeat(100_000) }, headers: {} })}`
    const reader = new LogItems()
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; at += 1000) {
      const items = reader.push(bytes.subarray(at, at + 1000))
      assert.strictEqual(items.length, at + 1000 >= bytes.length ? 1 : 0)
    }
    assert.isFalse((reader.push(Buffer.from(",{")), reader.isWhole))
  })
})
