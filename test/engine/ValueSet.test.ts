/** The set of a subquery's values against a model that keeps the whole set after every transaction. */
import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { tuple } from "../../src/domain/WalMessage.ts"
import { rowKey, type Texts, textsOf, valueKey, ValueSet } from "../../src/engine/ValueSet.ts"
import { Row, Slots } from "../../src/where/Row.ts"
import * as E from "../where/Expressions.ts"

const one = (...texts: ReadonlyArray<string | null>) => texts.map((text) => ({ texts: [text], delta: 1 as const }))
const gone = (...texts: ReadonlyArray<string | null>) => texts.map((text) => ({ texts: [text], delta: -1 as const }))
const shown = (transitions: ReadonlyArray<{ readonly texts: Texts; readonly present: boolean }>) =>
  transitions.map(({ present, texts }) => `${present ? "+" : "-"}${texts.map((text) => text ?? "null").join()}`).sort()

/** What Postgres says of `link IN (values)`. */
const isIn = (link: string | null, values: ReadonlyArray<string | null>): boolean | null => {
  if (values.length === 0) return false
  if (link === null) return null
  return values.includes(link) ? true : values.includes(null) ? null : false
}

describe("ValueSet", () => {
  it("a value is in the set as long as some row has it", () => {
    const set = new ValueSet([E.INT4])
    assert.deepStrictEqual(shown(set.apply(10n, one("1", "1", "2"))), ["+1", "+2"])
    assert.deepStrictEqual(shown(set.apply(20n, gone("1"))), [])
    assert.deepStrictEqual(shown(set.apply(30n, [...gone("1"), ...one("3")])), ["+3", "-1"])
    assert.strictEqual(set.size, 2)
    assert.deepStrictEqual([...set.values()], ["2", "3"])
    const has = (text: string, at: bigint) => set.has(valueKey([E.INT4], [text]), at)
    assert.deepStrictEqual([9n, 10n, 29n, 30n, 31n].map((at) => has("1", at)), [false, true, true, false, false])
    assert.deepStrictEqual([10n, 29n, 30n].map((at) => has("3", at)), [false, false, true])
    assert.deepStrictEqual(shown(set.transitions(30n)), ["+3", "-1"])
    assert.deepStrictEqual(shown(set.transitions(20n)), [])
    assert.deepStrictEqual(shown(set.transitionsBetween(9n, 30n)), ["+2", "+3", "-1"])
    assert.deepStrictEqual(shown(set.transitionsBetween(10n, 29n)), [])
  })

  it("opposite changes of one transaction cancel (H171)", () => {
    const set = new ValueSet([E.INT4])
    const toggled = [...one("1"), ...gone("1"), ...one("1"), ...gone("1")]
    assert.deepStrictEqual(shown(set.apply(10n, toggled)), [])
    assert.deepStrictEqual(shown(set.apply(20n, [...toggled, ...one("1")])), ["+1"])
    assert.deepStrictEqual(shown(set.apply(30n, [...gone("1"), ...one("1")])), [])
    assert.isTrue(set.has("1", 30n))
  })

  it("a value that left and came back between two positions has moved", () => {
    const set = new ValueSet([E.INT4])
    set.apply(10n, one("1"))
    set.apply(20n, gone("1"))
    set.apply(30n, one("1"))
    assert.deepStrictEqual(shown(set.transitionsBetween(10n, 30n)), ["+1"])
    assert.deepStrictEqual(shown(set.transitionsBetween(10n, 20n)), ["-1"])
  })

  it("fewer rows than none are a defect", () => {
    const set = new ValueSet([E.INT4])
    set.seed("1", 1)
    assert.throws(() => set.apply(10n, gone("1", "1")), /-1 rows/)
    assert.throws(() => set.apply(20n, gone("2")), /-1 rows/)
  })

  it("transactions come in order, and nothing is seeded between them", () => {
    const set = new ValueSet([E.INT4])
    set.apply(10n, one("1"))
    assert.throws(() => set.apply(10n, one("2")))
    assert.throws(() => set.seed("2", 1))
  })

  it("equal values are one, whatever their texts", () => {
    const set = new ValueSet([E.NUMERIC])
    assert.deepStrictEqual(shown(set.apply(10n, one("1.50", "1.5"))), ["+1.5"])
    assert.isTrue(set.test(valueKey([E.NUMERIC], ["1.500"]), false, "in", 10n))
    assert.deepStrictEqual(shown(set.apply(20n, gone("1.50"))), [])
  })

  it("a key gives texts back that have it, and is the key that a row has", () => {
    const types = [E.TEXT, E.INT4, E.NUMERIC]
    const slots = new Slots()
    const numbers = types.map((type, i) => slots.of(`c${i}`, type))
    const row = new Row(slots)
    for (const texts of [["grün 🌱", "1", "2.0"], ["", null, "0"], [null, null, null], ["\u00ff", "-7", "1e3"]]) {
      const key = valueKey(types, texts)
      assert.strictEqual(valueKey(types, textsOf(key)), key)
      assert.deepStrictEqual(textsOf(key).slice(0, 2), texts.slice(0, 2))
      row.bind(Int32Array.of(0, 1, 2), tuple(texts), undefined)
      assert.strictEqual(rowKey(row, numbers), key)
    }
  })

  it("of several columns, a NULL leaves it open unless the value is found", () => {
    const types = [E.INT4, E.INT4]
    const set = new ValueSet(types)
    const test = (texts: Texts, nulls: "in" | "exists" = "in") =>
      set.test(valueKey(types, texts), texts.includes(null), nulls, 99n)
    assert.isFalse(test(["1", null]))
    set.apply(10n, [{ texts: ["1", "2"], delta: 1 }])
    assert.isTrue(test(["1", "2"]))
    assert.isFalse(test(["1", "3"]))
    assert.isNull(test(["1", null]))
    set.apply(20n, [{ texts: ["4", null], delta: 1 }])
    assert.isTrue(test(["1", "2"]))
    assert.isNull(test(["4", "1"]))
    assert.isNull(test(["4", null]))
    assert.isFalse(test(["4", null], "exists"))
    assert.isFalse(test(["9", "9"], "exists"))
    assert.isTrue(test(["1", "2"], "exists"))
  })

  const text = fc.constantFrom(null, "1", "2", "3", "4")
  const step = fc.record({
    gap: fc.integer({ min: 1, max: 3 }),
    add: fc.array(text, { maxLength: 3 }),
    /** Which of the rows that are there go, by their number. */
    remove: fc.array(fc.nat(20), { maxLength: 3 }),
    /** How far behind the newest transaction nobody asks any more. */
    forget: fc.option(fc.nat(6), { nil: undefined })
  })

  it.prop(
    "is what it was, at every position that may be asked for",
    [fc.array(text, { maxLength: 4 }), fc.array(step, { maxLength: 12 })],
    ([seeds, steps]) => {
      const set = new ValueSet([E.INT4])
      let rows: Array<string | null> = []
      for (const seed of seeds) {
        set.seed(valueKey([E.INT4], [seed]), 1)
        rows.push(seed)
      }
      /** The rows after each transaction. */
      const after = new Map<bigint, ReadonlyArray<string | null>>([[0n, [...rows]]])
      let tx = 0n
      let since = 0n
      const forgotten: Array<string> = []
      const valuesAt = (at: bigint) => {
        let found: ReadonlyArray<string | null> = []
        for (const [of, values] of after) if (of <= at) found = values
        return [...new Set(found)]
      }
      const moved = (from: bigint, to: bigint) => {
        const net: Array<string> = []
        for (const value of [null, "1", "2", "3", "4"]) {
          let last: string | undefined
          for (let at = from + 1n; at <= to; at++) {
            const [was, is] = [valuesAt(at - 1n).includes(value), valuesAt(at).includes(value)]
            if (was !== is) last = `${is ? "+" : "-"}${value ?? "null"}`
          }
          if (last !== undefined) net.push(last)
        }
        return net.sort()
      }
      for (const { add, forget, gap, remove } of steps) {
        const before = tx
        tx += BigInt(gap)
        const changes: Array<{ readonly texts: Texts; readonly delta: 1 | -1 }> = [...one(...add)]
        rows = [...rows, ...add]
        for (const number of remove) {
          if (rows.length === 0) continue
          const [row] = rows.splice(number % rows.length, 1)
          changes.push(...gone(row!))
        }
        after.set(tx, [...rows])
        assert.deepStrictEqual(shown(set.apply(tx, changes)), moved(before, tx))
        if (forget !== undefined && tx - BigInt(forget) > since) {
          since = tx - BigInt(forget)
          forgotten.push(...set.forget(since))
        }
        for (let at = since; at <= tx + 1n; at++) {
          const values = valuesAt(at)
          assert.strictEqual(set.isEmpty(at), values.length === 0)
          assert.strictEqual(set.hasNulls(at), values.includes(null))
          for (const link of [null, "1", "2", "3", "4"]) {
            const key = valueKey([E.INT4], [link])
            assert.strictEqual(set.has(key, at), values.includes(link), `${link} at ${at}`)
            assert.strictEqual(set.test(key, link === null, "in", at), isIn(link, values))
            assert.strictEqual(set.test(key, link === null, "exists", at), isIn(link, values) === true)
          }
          if (at > since) assert.deepStrictEqual(shown(set.transitions(at)), moved(at - 1n, at))
          for (let to = at; to <= tx; to++) {
            assert.deepStrictEqual(shown(set.transitionsBetween(at, to)), moved(at, to))
          }
        }
        assert.deepStrictEqual(
          [...set.values()].sort(),
          valuesAt(tx).map((value) => valueKey([E.INT4], [value])).sort()
        )
      }
      // With nothing left to ask for, what is gone is exactly what has left.
      forgotten.push(...set.forget(tx))
      assert.deepStrictEqual(set.forget(tx), [])
      for (const key of forgotten) assert.isTrue(set.has(key, tx) || set.count(key) === 0)
      for (const value of [null, "1", "2", "3", "4"]) {
        const everMoved = moved(0n, tx).some((move) => move.slice(1) === (value ?? "null"))
        const isThere = valuesAt(tx).includes(value)
        const key = valueKey([E.INT4], [value])
        if (everMoved && !isThere) assert.include(forgotten, key)
        if (!everMoved) assert.notInclude(forgotten, key)
      }
    },
    { fastCheck: { numRuns: 300 } }
  )
})
