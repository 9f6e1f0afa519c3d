/**
 * The tables of the sections themselves: that an expectation can fail, that each statement stands once, in the order of the text, and that
 * the tests they name are there.
 */
import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { section as checklist } from "./Checklist.ts"
import { ANY, assertExists, DECIMAL, same, type Section } from "./Conformance.ts"
import { section as section03 } from "./Section03.ts"
import { section as section04 } from "./Section04.ts"
import { section as section05 } from "./Section05.ts"
import { section as section06 } from "./Section06.ts"
import { section as section07 } from "./Section07.ts"
import { section as section08 } from "./Section08.ts"
import { section as section09 } from "./Section09.ts"
import { section as section10 } from "./Section10.ts"
import { section as section11 } from "./Section11.ts"
import { section as section12 } from "./Section12.ts"
import { section as section13 } from "./Section13.ts"
import { section as section16 } from "./Section16.ts"

const sections: Readonly<Record<string, Section>> = {
  Section03: section03,
  Section04: section04,
  Section05: section05,
  Section06: section06,
  Section07: section07,
  Section08: section08,
  Section09: section09,
  Section10: section10,
  Section11: section11,
  Section12: section12,
  Section13: section13,
  Section16: section16,
  Checklist: checklist
}

describe("the tables of the sections", () => {
  it("are all here, and each has a test file", () => {
    const files = fs.readdirSync(new URL(".", import.meta.url))
    const tables = files.filter((name) => /^(Section\d\d|Checklist)\.ts$/.test(name)).map((name) => name.slice(0, -3))
    assert.sameMembers(tables, Object.keys(sections))
    for (const name of tables) assert.include(files, `${name}.pg.test.ts`)
  })

  for (const [name, { rows, servers }] of Object.entries(sections)) {
    it(`${name}: each line once, in the order of the text, on a server that there is`, () => {
      const lines = rows.map(({ line }) => line)
      assert.strictEqual(new Set(lines).size, lines.length)
      const numbers = lines.map((line) =>
        parseFloat(line.replace(/^(\d+)\.(\d+)/, (_, a: string, b: string) => `${a}.${b.padStart(2, "0")}`))
      )
      assert.deepStrictEqual(numbers, [...numbers].sort((a, b) => a - b))
      for (const { on } of rows) if (on !== undefined) assert.property(servers, on)
    })

    it(`${name}: the tests that it names are there`, () => {
      for (const row of rows) {
        if (!("elsewhere" in row)) continue
        for (const reference of typeof row.elsewhere === "string" ? [row.elsewhere] : row.elsewhere) {
          assertExists(reference)
        }
      }
    })
  }
})

describe("expectations", () => {
  it("fail for whatever is not as expected", () => {
    const item = { headers: { control: "up-to-date", global_last_seen_lsn: "12" } }
    same([item], [{ headers: { control: "up-to-date", global_last_seen_lsn: DECIMAL } }])
    same([item], [ANY])
    same({ a: null, b: [1] }, { b: [1], a: null })
    const wrong: ReadonlyArray<readonly [unknown, unknown]> = [
      [[item], []],
      [[item], [{ headers: { control: "up-to-date" } }]],
      [[item], [{ headers: { control: "up-to-date", global_last_seen_lsn: /^[a-z]+$/ } }]],
      [{ lsn: 12 }, { lsn: DECIMAL }],
      [{}, { a: ANY }],
      [[1, 2], [2, 1]],
      [{ 0: 1 }, [1]],
      [null, {}],
      ["1", 1]
    ]
    for (const [actual, expected] of wrong) {
      assert.throws(() => same(actual, expected))
    }
  })

  it("of a test that is not there fail", () => {
    assertExists("test/conformance/Tables.test.ts › of a test that is not there fail")
    for (
      const reference of [
        "test/conformance/Tables.test.ts › of another",
        "test/conformance/None.test.ts › x",
        "test/conformance/Tables.test.ts"
      ]
    ) {
      assert.throws(() => assertExists(reference))
    }
  })
})
