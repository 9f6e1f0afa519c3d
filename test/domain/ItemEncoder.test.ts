import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import * as ItemEncoder from "../../src/domain/ItemEncoder.ts"
import * as Projection from "../../src/domain/Projection.ts"
import { tuple } from "../../src/domain/WalMessage.ts"
import { clause, column, isNull, TEXT } from "../where/Expressions.ts"
import {
  definition,
  key,
  logItem,
  relation,
  type Row,
  rowOf,
  someColumns,
  type Table,
  table,
  type Value,
  wholeRow
} from "./EncoderReference.ts"

const at = { lsn: "26800600", op: 4, xid: 749 }

const print = (item: ItemEncoder.EncodedItem | undefined): string | undefined =>
  item?.bytes.toString("utf8", item.start, item.end)

/**
 * A table, its columns in the order of some partition, an old and a new row, and which columns the new one leaves out
 * as unchanged.
 */
interface Change {
  readonly of: Table
  readonly order: ReadonlyArray<number>
  readonly old: Row
  readonly row: Row
  readonly unchanged: ReadonlyArray<boolean>
}
const change: fc.Arbitrary<Change> = table.chain((of) =>
  fc.record({
    of: fc.constant(of),
    order: fc.shuffledSubarray(of.columns.map((_, i) => i), { minLength: of.columns.length }),
    old: rowOf(of),
    row: rowOf(of),
    same: fc.tuple(...of.columns.map(() => fc.boolean())),
    unchanged: fc.tuple(...of.columns.map(() => fc.boolean()))
  })
).map(({ same, unchanged, ...rest }) => ({
  ...rest,
  row: rest.row.map((value, i) => (same[i] ? rest.old[i]! : value)),
  unchanged: unchanged.map((left, i) => left && same[i]! && rest.old[i] !== null)
}))

/** The tuple of a row of the relation with its columns in `order`. */
const inOrder = (order: ReadonlyArray<number>, row: ReadonlyArray<Value | undefined>) => tuple(order.map((i) => row[i]))
const sent = ({ order, row, unchanged }: Change) =>
  inOrder(order, row.map((value, i) => (unchanged[i] ? undefined : value)))
const bindingOf = (of: Table, order: ReadonlyArray<number>, identity: "d" | "f" | "n" | "i" = "f") =>
  Projection.bind(Projection.make(definition(of)), relation(of, identity, order))!

const check = (property: (change: Change) => void, numRuns = 400) =>
  fc.assert(fc.property(change, property), { numRuns })

describe("ItemEncoder", { timeout: 30_000 }, () => {
  it("insert", () => {
    check((c) => {
      const { of, old, order, row } = c
      const binding = bindingOf(of, order)
      const expected = logItem(of, "insert", key(of, row), `"value":${wholeRow(of, row)}`, at)
      assert.strictEqual(print(ItemEncoder.insert(binding, inOrder(order, row), at)), expected)
      assert.strictEqual(print(ItemEncoder.insert(binding, sent(c), at, inOrder(order, old))), expected)
    })
  })

  it("delete: the key, or the whole row in replica mode full", () => {
    check(({ of, old, order }) => {
      const value = of.replica === "full" ? wholeRow(of, old) : someColumns(of, old, (i) => of.key.includes(i))
      const expected = logItem(of, "delete", key(of, old), `"value":${value}`, at)
      assert.strictEqual(print(ItemEncoder.remove(bindingOf(of, order), inOrder(order, old), at)), expected)
    })
  })

  it("delete with an old tuple of the key alone shows no column it does not have", () => {
    check(({ of, old, order }) => {
      const known = (i: number) => of.key.includes(i)
      const partial = old.map((value, i) => (known(i) ? value : null))
      const binding = bindingOf(of, order, "d")
      assert.isTrue(binding.oldHasKey)
      const expected = logItem(of, "delete", key(of, old), `"value":${someColumns(of, old, known)}`, at)
      assert.strictEqual(print(ItemEncoder.remove(binding, inOrder(order, partial), at)), expected)
    })
  })

  it("update: the changed columns, by replica mode; nothing when none changed", () => {
    check((c) => {
      const { of, old, order, row } = c
      const changed = (i: number) => old[i] !== row[i]
      const value = of.replica === "full"
        ? wholeRow(of, row)
        : someColumns(of, row, (i) => changed(i) || of.key.includes(i))
      const oldValue = of.replica === "full" ? `,"old_value":${someColumns(of, old, changed)}` : ""
      const expected = of.columns.some((_, i) => changed(i))
        ? logItem(of, "update", key(of, row), `"value":${value}${oldValue}`, at)
        : undefined
      assert.strictEqual(print(ItemEncoder.update(bindingOf(of, order), inOrder(order, old), sent(c), at)), expected)
      assert.strictEqual(
        ItemEncoder.keyChanged(bindingOf(of, order), inOrder(order, old), sent(c)),
        of.key.some(changed)
      )
    }, 1000)
  })

  it("update without old tuple: every column that is there and not of the identity counts as changed", () => {
    check((c) => {
      const { of, order, row } = c
      const isKey = (i: number) => of.key.includes(i)
      // The identity's columns are always sent.
      const unchanged = c.unchanged.map((left, i) => left && !isKey(i))
      const there = row.map((value, i) => (unchanged[i] ? undefined : value))
      const any = there.some((value, i) => !isKey(i) && value !== undefined)
      const expected = any ? logItem(of, "update", key(of, row), `"value":${wholeRow(of, there)}`, at) : undefined
      const encoded = ItemEncoder.update(bindingOf(of, order, "d"), undefined, inOrder(order, there), at)
      assert.strictEqual(print(encoded), expected)
      const nothing = ItemEncoder.update(bindingOf(of, order, "n"), undefined, inOrder(order, row), at)
      assert.strictEqual(print(nothing), logItem(of, "update", key(of, row), `"value":${wholeRow(of, row)}`, at))
      assert.isFalse(ItemEncoder.keyChanged(bindingOf(of, order, "d"), undefined, inOrder(order, row)))
    })
  })

  it("a change of the key: delete and insert that name each other's key", () => {
    check((c) => {
      const { of, old, order, row } = c
      const oldKey = key(of, old)
      const newKey = key(of, row)
      const removed = of.replica === "full" ? wholeRow(of, old) : someColumns(of, old, (i) => of.key.includes(i))
      const items = ItemEncoder.changeKey(bindingOf(of, order), inOrder(order, old), sent(c), at)
      assert.strictEqual(
        print(items.remove),
        logItem(of, "delete", oldKey, `"value":${removed}`, at, `,"key_change_to":${JSON.stringify(newKey)}`)
      )
      assert.strictEqual(
        print(items.insert),
        logItem(
          of,
          "insert",
          newKey,
          `"value":${wholeRow(of, row)}`,
          { ...at, op: 5 },
          `,"key_change_from":${JSON.stringify(oldKey)}`
        )
      )
    })
  })

  it("a change of the key with an old tuple of the key alone", () => {
    check((c) => {
      const { of, order, row } = c
      const isKey = (i: number) => of.key.includes(i)
      const old = c.old.map((value, i) => (isKey(i) ? value : null))
      const binding = bindingOf(of, order, "d")
      assert.strictEqual(
        ItemEncoder.keyChanged(binding, inOrder(order, old), sent(c)),
        of.key.some((i) => old[i] !== row[i])
      )
      // An unchanged TOAST value that is not of the key is nowhere to be had.
      const there = row.map((value, i) => (c.unchanged[i] && !isKey(i) ? undefined : value))
      const items = ItemEncoder.changeKey(binding, inOrder(order, old), sent(c), at)
      assert.strictEqual(
        print(items.remove),
        logItem(
          of,
          "delete",
          key(of, old),
          `"value":${someColumns(of, old, isKey)}`,
          at,
          `,"key_change_to":${JSON.stringify(key(of, row))}`
        )
      )
      assert.strictEqual(
        print(items.insert),
        logItem(
          of,
          "insert",
          key(of, row),
          `"value":${wholeRow(of, there)}`,
          { ...at, op: 5 },
          `,"key_change_from":${JSON.stringify(key(of, old))}`
        )
      )
    })
  })

  it("an old tuple without the key is refused", () => {
    const of: Table = { schema: "public", table: "t", columns: ["id", "other"], key: [0], replica: "default" }
    const binding = Projection.bind(Projection.make(definition(of)), {
      ...relation(of, "i"),
      columns: relation(of, "i").columns.map((column) => ({ ...column, key: column.name === "other" }))
    })!
    assert.isFalse(binding.oldHasKey)
    assert.throws(() => ItemEncoder.remove(binding, tuple([null, "x"]), at), ItemEncoder.KeyUnknown)
    assert.throws(() => ItemEncoder.insert(binding, tuple([undefined, "x"]), at), ItemEncoder.KeyUnknown)
    // What follows is whole.
    assert.strictEqual(
      print(ItemEncoder.insert(binding, tuple(["1", "x"]), at)),
      logItem(of, "insert", key(of, ["1", "x"]), `"value":{"id":"1","other":"x"}`, at)
    )
  })

  it("items stay as they were while others are encoded, across slabs and for rows of any size", () => {
    const of: Table = { schema: "public", table: "t", columns: ["id", "a"], key: [0], replica: "full" }
    const binding = bindingOf(of, [0, 1])
    const written: Array<readonly [ItemEncoder.EncodedItem, string]> = []
    for (let i = 0; i < 100; i++) {
      const size = [0, 1, 100, 3000, 30_000, 80_000, 400_000][i % 7]!
      const row = [String(i), (i % 3 === 0 ? "\u0001\"" : "xy/").repeat(size / 2)]
      written.push([
        ItemEncoder.insert(binding, tuple(row), { ...at, op: i }),
        logItem(of, "insert", key(of, row), `"value":${wholeRow(of, row)}`, { ...at, op: i })
      ])
    }
    for (const [item, expected] of written) assert.isTrue(print(item) === expected)
  })

  it("numbers of every length", () => {
    const of: Table = { schema: "public", table: "t", columns: ["id"], key: [0], replica: "default" }
    const binding = bindingOf(of, [0])
    const numbers = [0, 9, 10, 99, 100, 12345, 2147483646, 2147483647, 2147483648, 4294967295]
    for (const n of [...numbers, Number.MAX_SAFE_INTEGER]) {
      const position = { lsn: "18446744073709551615", op: n, xid: Math.min(n, 4294967295) }
      assert.strictEqual(
        print(ItemEncoder.insert(binding, tuple(["1"]), position)),
        logItem(of, "insert", key(of, ["1"]), `"value":{"id":"1"}`, position)
      )
    }
  })

  describe("recorded items of the reference server", () => {
    const cap: Table = {
      schema: "public",
      table: "cap",
      columns: ["id", "title", "done", "n", "f", "ts", "j", "b", "tags"],
      key: [0],
      replica: "default"
    }
    const rowWith = (
      id: string,
      title: string,
      n: string | null
    ): Row => [id, title, null, n, null, null, null, null, null]
    const capOrder = cap.columns.map((_, i) => i)
    const same = (item: ItemEncoder.EncodedItem | undefined, last: boolean, recorded: string) =>
      assert.deepStrictEqual(
        JSON.parse((print(item)! + (last ? ItemEncoder.SUFFIX_LAST : ItemEncoder.SUFFIX).toString()).slice(1)),
        JSON.parse(recorded)
      )

    it("insert, update, change of key, delete", () => {
      const binding = bindingOf(cap, capOrder)
      const three = tuple(rowWith("3", "three", null))
      const THREE = tuple(rowWith("3", "THREE", "3.10"))
      const thirty = tuple(rowWith("30", "THREE", "3.10"))
      same(
        ItemEncoder.insert(binding, three, { lsn: "27259104", op: 0, xid: 805 }),
        true,
        `{"value":{"b":null,"done":null,"f":null,"id":"3","j":null,"n":null,"tags":null,"title":"three","ts":null},"key":"\\"public\\".\\"cap\\"/\\"3\\"","headers":{"last":true,"relation":["public","cap"],"operation":"insert","lsn":"27259104","op_position":0,"txids":[805]}}`
      )
      same(
        ItemEncoder.update(binding, three, THREE, { lsn: "27259272", op: 0, xid: 806 }),
        true,
        `{"value":{"id":"3","n":"3.10","title":"THREE"},"key":"\\"public\\".\\"cap\\"/\\"3\\"","headers":{"last":true,"relation":["public","cap"],"operation":"update","lsn":"27259272","op_position":0,"txids":[806]}}`
      )
      const { insert, remove } = ItemEncoder.changeKey(binding, THREE, thirty, { lsn: "27259512", op: 0, xid: 807 })
      same(
        remove,
        false,
        `{"value":{"id":"3"},"key":"\\"public\\".\\"cap\\"/\\"3\\"","headers":{"relation":["public","cap"],"operation":"delete","lsn":"27259512","op_position":0,"txids":[807],"key_change_to":"\\"public\\".\\"cap\\"/\\"30\\""}}`
      )
      same(
        insert,
        true,
        `{"value":{"b":null,"done":null,"f":null,"id":"30","j":null,"n":"3.10","tags":null,"title":"THREE","ts":null},"key":"\\"public\\".\\"cap\\"/\\"30\\"","headers":{"last":true,"relation":["public","cap"],"operation":"insert","lsn":"27259512","op_position":1,"txids":[807],"key_change_from":"\\"public\\".\\"cap\\"/\\"3\\""}}`
      )
    })

    it("replica mode full", () => {
      const full: Table = {
        ...cap,
        columns: ["id", "title", "done", "n", "f", "ts", "j", "b", "tags", "extra"],
        replica: "full"
      }
      const binding = bindingOf(full, full.columns.map((_, i) => i))
      const two = tuple([...rowWith("2", "two", null), null])
      const TWO = tuple([...rowWith("2", "TWO", null), null])
      same(
        ItemEncoder.update(binding, two, TWO, { lsn: "27269000", op: 0, xid: 821 }),
        true,
        `{"value":{"b":null,"done":null,"extra":null,"f":null,"id":"2","j":null,"n":null,"tags":null,"title":"TWO","ts":null},"key":"\\"public\\".\\"cap\\"/\\"2\\"","headers":{"last":true,"relation":["public","cap"],"operation":"update","lsn":"27269000","op_position":0,"txids":[821]},"old_value":{"title":"two"}}`
      )
      same(
        ItemEncoder.remove(binding, TWO, { lsn: "27269128", op: 0, xid: 822 }),
        true,
        `{"value":{"b":null,"done":null,"extra":null,"f":null,"id":"2","j":null,"n":null,"tags":null,"title":"TWO","ts":null},"key":"\\"public\\".\\"cap\\"/\\"2\\"","headers":{"last":true,"relation":["public","cap"],"operation":"delete","lsn":"27269128","op_position":0,"txids":[822]}}`
      )
    })

    it("keys (protocol §10.2)", () => {
      const keyOf = (of: Table, row: Row): string =>
        JSON.parse(
          (print(ItemEncoder.insert(bindingOf(of, of.columns.map((_, i) => i)), tuple(row), at))! + "}}").slice(1)
        ).key
      const ab = (count: number): Table => ({
        schema: "public",
        table: "t",
        columns: ["a", "b", "c"].slice(0, count),
        key: [0, 1, 2].slice(0, count),
        replica: "default"
      })
      assert.strictEqual(keyOf(ab(2), ["a", "b"]), `"public"."t"/"a"/"b"`)
      assert.strictEqual(
        keyOf({ ...ab(1), schema: "hello", table: "world" }, ["test/test"]),
        `"hello"."world"/"test//test"`
      )
      assert.strictEqual(keyOf({ ...ab(3), schema: "a", table: "b" }, ["1", null, "2"]), `"a"."b"/"1"/_/"2"`)
      assert.strictEqual(keyOf({ ...ab(2), schema: `o"dd`, table: "x.y" }, ["", `q"`]), `"o""dd"."x.y"/""/"q""`)
      assert.strictEqual(keyOf({ ...ab(2), key: [1, 0] }, ["a", "b"]), `"public"."t"/"b"/"a"`)
    })
  })
})

describe("Projection", () => {
  const of: Table = { schema: "public", table: "t", columns: ["id", "a"], key: [0], replica: "default" }

  it("definitions with equal items share a key, others do not", () => {
    const base = definition(of)
    const key = Projection.projectionKey(base)
    const equal = [
      { ...base, where: clause(isNull(column("a", TEXT))) },
      { ...base, log: "changes_only" as const },
      { ...base, explicitColumns: true }
    ]
    for (const other of equal) assert.strictEqual(Projection.projectionKey(other), key)
    const different = [
      { ...base, replica: "full" as const },
      { ...base, tableOid: 1 },
      { ...base, schema: "x" },
      { ...base, table: "x" },
      { ...base, keyColumns: ["id", "a"] },
      { ...base, columns: base.columns.slice(0, 1) },
      { ...base, columns: [...base.columns].reverse() }
    ]
    for (const other of different) assert.notStrictEqual(Projection.projectionKey(other), key)
  })

  it("binds by name, and not to a relation that lacks a column", () => {
    const projection = Projection.make(definition(of))
    assert.deepStrictEqual([...Projection.bind(projection, relation(of, "d", [1, 0]))!.columns], [1, 0])
    assert.isUndefined(Projection.bind(projection, relation(of, "d", [0])))
  })

  it("does not take a definition that leaves out a key column", () => {
    assert.throws(() => Projection.make({ ...definition(of), keyColumns: ["other"] }), /key/)
  })
})
