/**
 * The router's indexes against testing every shape with every row.
 */
import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import type { Expression } from "../../src/domain/Expression.ts"
import * as Projection from "../../src/domain/Projection.ts"
import type { Relation } from "../../src/domain/Relation.ts"
import type { ShapeDefinition } from "../../src/domain/ShapeDefinition.ts"
import { type RowMessage, type Tuple, tuple } from "../../src/domain/WalMessage.ts"
import type { Action } from "../../src/engine/Changes.ts"
import * as Router from "../../src/engine/Router.ts"
import { ShapeEntry } from "../../src/engine/ShapeCatalog.ts"
import { accessOf } from "../../src/where/Access.ts"
import { compile } from "../../src/where/Compile.ts"
import { Row, Slots } from "../../src/where/Row.ts"
import * as E from "../where/Expressions.ts"

const columns = [
  { name: "id", type: E.INT4 },
  { name: "owner", type: E.INT8 },
  { name: "name", type: E.TEXT },
  { name: "done", type: E.BOOL },
  { name: "price", type: E.NUMERIC },
  { name: "tags", type: E.TEXT_ARRAY },
  { name: "at", type: E.TIMESTAMP }
]
const [ID, OWNER, NAME, DONE, PRICE, TAGS, AT] = columns.map(({ name, type }) => E.column(name, type))

const relation = (identity: "f" | "d"): Relation => ({
  oid: 1,
  schema: "public",
  name: "t",
  replicaIdentity: identity,
  columns: columns.map(({ name, type }) => ({
    name,
    typeOid: type.oid,
    typeModifier: -1,
    key: identity === "f" || name === "id"
  }))
})

let nextId = 1
const entryOf = (expression: Expression): ShapeEntry => {
  const definition: ShapeDefinition = {
    tableOid: 1,
    schema: "public",
    table: "t",
    keyColumns: ["id"],
    hasPrimaryKey: true,
    columns: [{ name: "id", typeOid: 23 }],
    explicitColumns: true,
    where: E.clause(expression),
    replica: "default",
    log: "full"
  }
  const id = nextId++
  const record = { id, handle: String(id), definition, snapshot: undefined }
  return new ShapeEntry(record, undefined, Projection.make(definition), "")
}

// --- Clauses and rows over few values, so that they meet ---
const ids = ["1", "2", "3"]
const names = ["a", "ab", "b", "ä", "a%"]
const prices = ["1", "1.0", "1.5", "2", "NaN"]
const times = ["2024-01-01 00:00:00", "2024-01-02 00:00:00", "infinity"]
const pick = fc.constantFrom
const orders = [["int4lt", "<"], ["int4le", "<="], ["int4gt", ">"], ["int4ge", ">="]] as const
const priceOrders = [["numeric_lt", "<"], ["numeric_ge", ">="]] as const
const nameOrders = [["text_lt", "<"], ["text_ge", ">="]] as const
const timeOrders = [["timestamp_gt", ">"], ["timestamp_le", "<="]] as const

const atom: fc.Arbitrary<Expression> = fc.oneof(
  pick(...ids).map((id) => E.call("int4eq", "=", ID!, E.constant(E.INT4, id))),
  pick(...ids).map((id) => E.call("int84eq", "=", OWNER!, E.constant(E.INT4, id))),
  pick(...ids).map((id) => E.call("int48eq", "=", E.constant(E.INT4, id), OWNER!)),
  pick(...names).map((name) => E.call("texteq", "=", NAME!, E.constant(E.TEXT, name))),
  pick(...prices).map((price) => E.call("numeric_eq", "=", PRICE!, E.constant(E.NUMERIC, price))),
  fc.constant(E.call("int4eq", "=", ID!, E.constant(E.INT4, null))),
  fc.subarray([...ids, "NULL"]).map((list) => E.any("int4eq", ID!, E.constant(E.INT4_ARRAY, `{${list.join(",")}}`))),
  fc.constant(DONE!),
  fc.constant(E.not(DONE!)),
  fc.constant<Expression>({ _tag: "BooleanTest", arg: DONE!, value: true, negated: true }),
  fc.constant<Expression>({ _tag: "BooleanTest", arg: DONE!, value: null, negated: false }),
  pick(ID!, NAME!, TAGS!).map(E.isNull),
  pick(ID!, NAME!, TAGS!).map(E.isNotNull),
  fc.tuple(pick(...orders), pick(...ids)).map(([[source, name], id]) =>
    E.call(source, name, ID!, E.constant(E.INT4, id))
  ),
  fc.tuple(pick(...priceOrders), pick(...prices)).map(([[source, name], price]) =>
    E.call(source, name, PRICE!, E.constant(E.NUMERIC, price))
  ),
  fc.tuple(pick(...nameOrders), pick(...names)).map(([[source, name], text]) =>
    E.call(source, name, NAME!, E.constant(E.TEXT, text))
  ),
  fc.tuple(pick(...timeOrders), pick(...times)).map(([[source, name], time]) =>
    E.call(source, name, AT!, E.constant(E.TIMESTAMP, time))
  ),
  pick("a%", "%b", "a_", "ä%", "\\%a", "%").map((pattern) =>
    E.call("textlike", "~~", NAME!, E.constant(E.TEXT, pattern))
  ),
  pick("{a}", "{a,b}", "{}", "{NULL}", "{b,b}").map((list) =>
    E.call("arraycontains", "@>", TAGS!, E.constant(E.TEXT_ARRAY, list))
  ),
  pick("{a}", "{a,b}", "{}", "{NULL}").map((list) =>
    E.call("arrayoverlap", "&&", TAGS!, E.constant(E.TEXT_ARRAY, list))
  ),
  pick(...names).map((name) => E.any("texteq", E.constant(E.TEXT, name), TAGS!)),
  fc.constant(E.opaque(NAME!))
)
const { clause } = fc.letrec<{ clause: Expression }>((tie) => ({
  clause: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    atom,
    fc.array(tie("clause"), { minLength: 2, maxLength: 3 }).map((args) => E.and(...args)),
    fc.array(tie("clause"), { minLength: 2, maxLength: 3 }).map((args) => E.or(...args)),
    tie("clause").map(E.not)
  )
}))

const orNull = <A>(values: ReadonlyArray<A>) => fc.option(pick(...values), { freq: 5 })
const row = fc.tuple(
  orNull(ids),
  orNull(ids),
  orNull(names),
  orNull(["t", "f"]),
  orNull(prices),
  orNull(["{a}", "{a,b}", "{}", "{NULL,b}", "{{a},{b}}"]),
  orNull([...times, "294276-01-01 00:00:00", "4000-01-01 00:00:00"])
)
const change = fc.oneof(
  row.map((values): RowMessage => ({ _tag: "Insert", relation: relation("f"), row: tuple(values) })),
  row.map((values): RowMessage => ({ _tag: "Delete", relation: relation("f"), old: tuple(values), oldIsFull: true })),
  fc.tuple(row, row, fc.array(fc.boolean(), { minLength: 7, maxLength: 7 })).map(([old, now, kept]): RowMessage => ({
    _tag: "Update",
    relation: relation("f"),
    old: tuple(old),
    oldIsFull: true,
    // Some values stay as they were, and come as "unchanged".
    row: tuple(now.map((value, i) => kept[i] ? old[i] === null ? null : undefined : value))
  }))
)

/** Whether the old row was, and the new row is, in a shape. */
type Verdicts = readonly [before: Router.Membership, after: Router.Membership]

const byAction: Readonly<Record<Action, Verdicts>> = {
  insert: [false, true],
  update: [true, true],
  delete: [true, false]
}

const told = (router: Router.Router, message: RowMessage): ReadonlyMap<ShapeEntry, Verdicts> => {
  const all = new Map<ShapeEntry, Verdicts>()
  const tell = (entry: ShapeEntry, what: Verdicts) => {
    assert.isFalse(all.has(entry), "told twice")
    all.set(entry, what)
  }
  router.route(message, {
    found: (entry, action) => tell(entry, byAction[action]),
    lost: () => assert.fail("lost"),
    open: (entry, before, after) => tell(entry, [before, after])
  })
  return all
}

/** By testing both rows. */
const tested = (message: RowMessage, entry: ShapeEntry): Verdicts => {
  const slots = new Slots()
  const test = compile(entry.definition.where!.expression, slots)
  const verdict = (bound: Tuple | undefined, old: Tuple | undefined): Router.Membership => {
    if (bound === undefined) return false
    const read = new Row(slots)
    read.bind(slots.columnsIn(message.relation), bound, old)
    return test(read)
  }
  const old = message._tag === "Insert" ? undefined : message.old
  return [verdict(old, undefined), verdict(message._tag === "Delete" ? undefined : message.row, old)]
}

describe("Router", () => {
  it("finds exactly the shapes that testing all of them finds", () => {
    let indexed = 0
    let found = 0
    fc.assert(
      fc.property(fc.array(clause, { maxLength: 12 }), fc.array(change, { maxLength: 12 }), (clauses, changes) => {
        const router = Router.make()
        const entries = clauses.map(entryOf)
        for (const entry of entries) router.add(entry)
        // Some leave again.
        const gone = entries.filter((_, i) => i % 4 === 3)
        for (const entry of gone) router.remove(entry)
        const kept = entries.filter((entry) => !gone.includes(entry))
        for (const message of changes) {
          const all = told(router, message)
          for (const entry of kept) {
            const { expression } = entry.definition.where!
            const says = all.get(entry) ?? [false, false]
            if (accessOf(expression).terms !== undefined) indexed += 1
            if (says.includes(true)) found += 1
            for (const [side, verdict] of tested(message, entry).entries()) {
              // The index may know what a test would have to ask Postgres for.
              if (verdict !== undefined) {
                assert.strictEqual(says[side], verdict, `side ${side} of ${E.show(expression)}`)
              }
            }
          }
          for (const entry of gone) assert.isFalse(all.has(entry))
        }
        for (const entry of kept) router.remove(entry)
        assert.deepStrictEqual(router.shapesOf(1), [])
      }),
      { numRuns: 2000 }
    )
    assert.isAbove(indexed, 1000)
    assert.isAbove(found, 1000)
  })
})
