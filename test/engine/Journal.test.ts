/** The journal keeps what it is given, in memory and in the store, and no more memory than it may (DESIGN D11). */
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc, Option } from "effect"
import type { Relation } from "../../src/domain/Relation.ts"
import { type RowMessage, text, tuple } from "../../src/domain/WalMessage.ts"
import { RowChange, type Transaction } from "../../src/engine/Changes.ts"
import { Journal, type JournalOptions, type Part } from "../../src/engine/Journal.ts"

const relation = (oid: number): Relation => ({
  oid,
  schema: "public",
  name: `t${oid}`,
  replicaIdentity: "f",
  columns: ["id", "note"].map((name) => ({ name, typeOid: 25, typeModifier: -1, key: true }))
})
const relations = [relation(1), relation(2)]

/** Pages by number; those that are put are there when `commit` is called. */
const makeStore = () => {
  const pages = new Map<number, Buffer>()
  let pending: Array<() => void> = []
  return {
    pages,
    commit: () => {
      const done = pending
      pending = []
      for (const one of done) one()
    },
    unsafeEnqueue: (
      ops: ReadonlyArray<{ readonly _tag: string }>,
      _: number,
      done: () => void
    ) => {
      pending.push(() => {
        for (const op of ops) {
          if (isPut(op)) pages.set(op.page, Buffer.from(op.bytes))
          else if (isDrop(op)) { for (let page = op.from; page <= op.to; page++) pages.delete(page) }
        }
        done()
      })
    },
    read: (page: number) => Effect.sync(() => Option.fromNullable(pages.get(page)))
  }
}
const isPut = (op: { readonly _tag: string }): op is { _tag: "PutScratch"; page: number; bytes: Uint8Array } =>
  op._tag === "PutScratch"
const isDrop = (op: { readonly _tag: string }): op is { _tag: "DropScratch"; from: number; to: number } =>
  op._tag === "DropScratch"

const small: JournalOptions = { limit: 4000, partBytes: 1500, pageBytes: 600 }

const transactionAt = (lsn: bigint): Transaction => ({ lsn, lsnText: String(lsn), xid: Number(lsn) + 7 })

const messageOf = (kind: number, id: number, size: number): RowMessage => {
  const to = relations[id % 2]!
  const row = tuple([String(id), size % 5 === 0 ? null : "x".repeat(size)])
  const old = tuple([String(id), "é"])
  switch (kind) {
    case 0:
      return { _tag: "Insert", relation: to, row }
    case 1:
      return { _tag: "Update", relation: to, old, oldIsFull: true, row: tuple([String(id), undefined]) }
    case 2:
      return { _tag: "Update", relation: to, old: undefined, oldIsFull: false, row }
    case 3:
      return { _tag: "Update", relation: to, old, oldIsFull: false, row }
    case 4:
      return { _tag: "Delete", relation: to, old, oldIsFull: true }
    default:
      return { _tag: "Delete", relation: to, old, oldIsFull: false }
  }
}

const shownChange = ({ message, op, transaction }: RowChange) => [
  transaction.lsn,
  op,
  message._tag,
  message.relation.name,
  message._tag === "Insert" ? undefined : message.oldIsFull,
  message._tag === "Insert" || !message.old ? undefined : [text(message.old, 0), text(message.old, 1)],
  message._tag === "Delete" ? undefined : [text(message.row, 0), text(message.row, 1)]
]

/** Everything after a position: by transaction, what is told of it. */
const readAll = Effect.fnUntraced(function*(journal: Journal, from: bigint) {
  const found: Array<Part> = []
  let lsn = from
  let number = 0
  while (true) {
    const parts = yield* journal.from(lsn, number)
    const last = parts[parts.length - 1]
    if (!last) break
    found.push(...parts)
    lsn = last.transaction.lsn
    number = last.number + 1
  }
  const transactions = new Map<bigint, Array<Part>>()
  for (const part of found) {
    const known = transactions.get(part.transaction.lsn)
    if (known) known.push(part)
    else transactions.set(part.transaction.lsn, [part])
  }
  return [...transactions].map(([lsn, parts]) => {
    assert.deepStrictEqual(parts.map(({ number }) => number), parts.map((_, i) => i))
    assert.deepStrictEqual(parts.map(({ isLast }) => isLast), parts.map((_, i) => i === parts.length - 1))
    return {
      lsn,
      xid: parts[0]!.transaction.xid,
      op: parts[parts.length - 1]!.op,
      truncated: parts.flatMap(({ truncated }) => [...truncated]),
      changes: [1, 2].map((oid) => parts.flatMap(({ changes }) => (changes.get(oid) ?? []).map(shownChange)))
    }
  })
})

interface Turn {
  readonly changes: ReadonlyArray<{ readonly kind: number; readonly id: number; readonly size: number }>
  readonly truncates: boolean
  readonly end: "commit" | "abort" | "again"
  readonly stores: boolean
  /** How many of the transactions that are kept are forgotten afterwards. */
  readonly forget: number
}

const turn: fc.Arbitrary<Turn> = fc.record({
  changes: fc.array(
    fc.record({ kind: fc.nat(5), id: fc.nat(9), size: fc.oneof(fc.nat(40), fc.integer({ min: 500, max: 900 })) }),
    { maxLength: 8 }
  ),
  truncates: fc.boolean(),
  end: fc.constantFrom("commit", "commit", "commit", "abort", "again"),
  stores: fc.boolean(),
  forget: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(6) })
})

describe("the journal", () => {
  it.effect.prop(
    "has what it was given and nobody has done with, wherever it is kept",
    [fc.array(turn, { maxLength: 25 })],
    ([turns]) =>
      Effect.gen(function*() {
        const store = makeStore()
        const journal = new Journal(store, small)
        const expected: Array<Effect.Effect.Success<ReturnType<typeof readAll>>[number]> = []
        let lsn = 10n
        let forgotten = 0n
        for (const { changes, end, forget, stores, truncates } of turns) {
          lsn += 10n
          const send = () => {
            const transaction = transactionAt(lsn)
            const sent = changes.map(({ id, kind, size }, i) =>
              new RowChange(messageOf(kind, id, size), transaction, 2 * i)
            )
            for (const change of sent) journal.take([change.message.relation.oid], change)
            if (truncates) journal.truncate([2])
            return { transaction, sent }
          }
          const { sent, transaction } = send()
          if (end === "abort") {
            journal.abort()
          } else {
            const arrived = journal.commit(transaction, 100)
            // It comes again when the connection is lost before it was done.
            if (end === "again") {
              send()
              journal.commit(transactionAt(lsn), 100)
            }
            assert.strictEqual(arrived !== undefined, sent.length > 0 || truncates)
            if (arrived) {
              expected.push({
                lsn,
                xid: transaction.xid,
                op: 100,
                truncated: truncates ? [2] : [],
                changes: [1, 2].map((oid) =>
                  sent.filter(({ message }) => message.relation.oid === oid).map(shownChange)
                )
              })
            }
          }
          if (stores) store.commit()
          assert.deepStrictEqual(yield* readAll(journal, forgotten + 1n), expected)
          const middle = expected[expected.length >> 1]
          if (middle) {
            assert.deepStrictEqual(yield* readAll(journal, middle.lsn), expected.slice(expected.length >> 1))
            assert.strictEqual((yield* journal.at(middle.lsn - 5n, 0))?.transaction.lsn, middle.lsn)
          }
          if (forget > 0 && expected.length > 0) {
            forgotten = expected.splice(0, forget).pop()!.lsn
            journal.forget(forgotten)
            assert.deepStrictEqual(yield* readAll(journal, forgotten + 1n), expected)
          }
          // What is in memory beside the limit: what is arriving, and pages that are not stored.
          if (stores) assert.isAtMost(journal.bytes, small.limit + small.partBytes + small.pageBytes)
        }
        journal.forget(lsn)
        store.commit()
        assert.strictEqual(journal.length, 0)
        assert.strictEqual(journal.bytes, 0)
        assert.strictEqual(store.pages.size, 0)
      }),
    { fastCheck: { numRuns: 200 } }
  )

  it.effect("100 MB go by in bounded memory, as one transaction and as many", () =>
    Effect.gen(function*() {
      const store = makeStore()
      const journal = new Journal(store)
      const limit = 12 << 20
      const change = (transaction: Transaction, i: number) =>
        new RowChange(
          { _tag: "Insert", relation: relations[0]!, row: tuple([String(i), "x".repeat(1000)]) },
          transaction,
          i
        )
      const one = transactionAt(5n)
      for (let i = 0; i < 100_000; i++) {
        journal.take([1], change(one, i))
        if (i % 500 === 0) store.commit()
        assert.isAtMost(journal.bytes, limit)
      }
      assert.isUndefined(journal.commit(one, 100_000)?.part)
      for (let i = 0; i < 20_000; i++) {
        const transaction = transactionAt(BigInt(6 + i))
        journal.take([1], change(transaction, 0))
        journal.commit(transaction, 2)
        if (i % 500 === 0) store.commit()
        assert.isAtMost(journal.bytes, limit)
      }
      let count = 0
      let lsn = 0n
      let number = 0
      while (true) {
        const parts = yield* journal.from(lsn, number)
        const last = parts[parts.length - 1]
        if (!last) break
        for (const { changes } of parts) {
          for (const { op } of changes.get(1)!) {
            assert.strictEqual(op, count < 100_000 ? count : 0)
            count += 1
          }
        }
        lsn = last.transaction.lsn
        number = last.number + 1
      }
      assert.strictEqual(count, 120_000)
    }))
})
