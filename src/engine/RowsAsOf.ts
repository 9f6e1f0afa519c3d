/**
 * The rows of a node's table as of a position of the stream that has gone by (see SUBQUERIES.md): a query of Postgres,
 * and for every row that has changed since the position what its first change found.
 */
import { Effect, Option, type Scope } from "effect"
import { fieldsOf } from "../domain/CopyText.ts"
import { SnapshotFailed } from "../domain/Errors.ts"
import { quote, quoteLiteral } from "../domain/Identifier.ts"
import * as Lsn from "../domain/Lsn.ts"
import type { SnapshotMarks } from "../domain/PgSnapshot.ts"
import type { Texts } from "../domain/RowItem.ts"
import type { RowMessage } from "../domain/WalMessage.ts"
import type { SnapshotQuery } from "../source/SnapshotQuery.ts"
import type { Leaf } from "../where/Plan.ts"
import type { Collector } from "./Collector.ts"
import * as CurrentSnapshot from "./CurrentSnapshot.ts"
import type { Journal, Part } from "./Journal.ts"
import * as LeafFields from "./LeafFields.ts"
import { columnName } from "./LeafFields.ts"
import { type Facts, type Question, textOf, type Verdicts } from "./NodeRows.ts"
import { keyText, type Node } from "./SubqueryNode.ts"
import type { Moved } from "./Tags.ts"

/** A row as of the position, and what it was to the shape just before and is then. */
export interface RowAsOf {
  /** In the order of the shape's columns. */
  readonly texts: Texts
  readonly before: Facts
  readonly after: Facts
}

export interface RowsAsOf {
  /** A snapshot that sees just the transactions up to the position. */
  readonly marks: SnapshotMarks
  /** The next rows; `None` after the last. */
  readonly pull: Effect.Effect<Option.Option<ReadonlyArray<RowAsOf>>, SnapshotFailed>
}

export interface RowsAsOfContext {
  readonly snapshots: SnapshotQuery["Type"]
  readonly collector: () => Collector
  /** Has Postgres decide; fails never. */
  readonly ask: (questions: ReadonlyArray<Question>) => Effect.Effect<void>
  readonly journal: Journal
  readonly verdicts: Verdicts
  /** Completes when everything of the stream before a position is in the journal, and in the node's sets. */
  readonly awaitReached: (lsn: Lsn.Lsn) => Effect.Effect<void>
}

export interface RowsAsOfRequest {
  readonly node: Node
  /** Commit LSN of the transaction. */
  readonly at: Lsn.Lsn
  /** Its own changes have been dealt with: rows that it changed are left out. */
  readonly withoutOwn: boolean
  /** False: no rows, the marks alone. */
  readonly rows: boolean
  /** The condition, asked for when everything up to the query's snapshot is known. */
  readonly where: () => string
}

// --- Conditions ---

type MemberLeaf = Extract<Leaf, { readonly _tag: "Member" }>

const arrayElement = (text: string): string => `"${text.replace(/["\\]/g, "\\$&")}"`

/** The link of a leaf is one of these values. */
const linkIsAmong = (node: Node, { member }: MemberLeaf, values: ReadonlyArray<Texts>): string => {
  const links = member.links.map(({ name }) => columnName(node.entry.definition, name))
  const whole = values.filter((texts) => !texts.includes(null))
  const conditions: Array<string> = []
  if (whole.length > 0) {
    const arrays = member.subquery.targets.map(({ type }, i) => {
      const list = `{${whole.map((texts) => arrayElement(texts[i]!)).join()}}`
      return `${quoteLiteral(list)}::${quote(type.schema)}.${quote(type.name)}[]`
    })
    conditions.push(
      links.length === 1
        ? `${links[0]} OPERATOR(pg_catalog.=) ANY (${arrays[0]})`
        : `ROW(${links.join(", ")}) OPERATOR(pg_catalog.=) ANY (SELECT * FROM ROWS FROM (${
          arrays.map((array) => `pg_catalog.unnest(${array})`).join(", ")
        }))`
    )
  }
  if (whole.length < values.length) conditions.push(`(${links.map((link) => `${link} IS NULL`).join(" OR ")})`)
  return `(${conditions.join(" OR ")})`
}

/** Rows that the move of these values may concern: no others, and all of them. */
export const movedCondition = (node: Node, moved: ReadonlyArray<Moved>): string => {
  const { disjuncts, leaves } = node.plan
  const byLeaf = new Map<number, Array<Texts>>()
  for (const { leaf, texts } of moved) {
    const values = byLeaf.get(leaf)
    if (values) values.push(texts)
    else byLeaf.set(leaf, [texts])
  }
  const conditions = disjuncts.flatMap((disjunct) => {
    const concerned = disjunct.filter((leaf) => byLeaf.has(leaf))
    if (concerned.length === 0) return []
    const links = concerned.map((leaf) => linkIsAmong(node, leaves[leaf] as MemberLeaf, byLeaf.get(leaf)!))
    const plain = disjunct.flatMap((leaf) => {
      const each = leaves[leaf]!
      return each._tag === "Plain" ? [`(${each.sql})`] : []
    })
    return [`(${[...plain, `(${links.join(" OR ")})`].join(" AND ")})`]
  })
  return conditions.length === 0 ? "false" : conditions.join(" OR ")
}

/** All rows that may be in the shape as of a position: by the clause, or by what its sets have seen since. */
export const snapshotCondition = (node: Node, at: Lsn.Lsn): string => {
  const { where } = node.entry.definition
  const drifted = node.plan.leaves.flatMap((leaf) => {
    if (leaf._tag !== "Member") return []
    const { set } = node.dependencies[leaf.dependency]!.materializer
    const moved = set.transitionsBetween(at, Lsn.highest)
    if (moved.length === 0) return []
    // A NOT IN may have been unknown for every row, or hold for rows without link.
    return [leaf.negated ? "true" : linkIsAmong(node, leaf, moved.map(({ texts }) => texts))]
  })
  return [`(${where!.sql})`, ...drifted].join(" OR ")
}

// --- Rows ---

/** Of the first change of a row whose old image is not wanted: it was not there, or has been dealt with. */
const NO_IMAGE = -1

/** Memory of an entry of a map, beside its key's text. */
const ENTRY_BYTES = 100

/** What has become of rows since a position. */
interface Changed {
  /** For each key that a transaction has changed, the number of its first change, or `NO_IMAGE`. */
  readonly first: ReadonlyMap<string, number>
  readonly xids: ReadonlyArray<number>
  /** The last transaction. */
  readonly until: Lsn.Lsn
}

/** Calls `visit` for the journal's parts of transactions from one to another, in order. */
const eachPart = Effect.fnUntraced(function*(
  journal: Journal,
  from: Lsn.Lsn,
  until: Lsn.Lsn,
  visit: (parts: ReadonlyArray<Part>) => void
) {
  let lsn = from
  let number = 0
  while (true) {
    const found = yield* journal.from(lsn, number)
    const parts = found.filter(({ transaction }) => transaction.lsn <= until)
    visit(parts)
    const last = parts[parts.length - 1]
    if (last === undefined || parts.length < found.length) return
    lsn = last.transaction.lsn
    number = last.number + 1
  }
})

/** What transactions after the position have changed; with `withoutOwn` also what its own has, without images. */
const changedSince = Effect.fnUntraced(function*(
  { at, node, withoutOwn }: RowsAsOfRequest,
  journal: Journal
): Effect.fn.Return<Changed, SnapshotFailed, Scope.Scope> {
  const until = journal.last
  const first = new Map<string, number>()
  const xids: Array<number> = []
  let count = 0
  let bytes = 0
  let isEmptied = false
  yield* Effect.addFinalizer(() => Effect.sync(() => journal.hold(-bytes)))
  const note = (key: string | undefined, change: number) => {
    if (key === undefined || first.has(key)) return
    first.set(key, change)
    bytes += ENTRY_BYTES + key.length
    journal.hold(ENTRY_BYTES + key.length)
  }
  yield* eachPart(journal, withoutOwn ? at : at + 1n, until, (parts) => {
    for (const { changes, number, transaction, truncated } of parts) {
      const isOwn = transaction.lsn === at
      if (!isOwn && number === 0) xids.push(transaction.xid)
      isEmptied ||= truncated.has(node.table.oid)
      for (const { message } of changes.get(node.table.oid) ?? []) {
        note(node.keyOfChange(message, "before"), isOwn ? NO_IMAGE : count)
        note(node.keyOfChange(message, "after"), NO_IMAGE)
        if (!isOwn) count += 1
      }
    }
  })
  // What rows there were, nobody can tell any more.
  if (isEmptied) {
    return yield* new SnapshotFailed({ reason: "schema_changed", detail: "the table has been truncated since" })
  }
  return { first, xids, until }
})

/** A snapshot that sees all of a snapshot's transactions but these. */
const without = (marks: SnapshotMarks, xids: ReadonlyArray<number>): SnapshotMarks => {
  const low = Number(marks.xmax & 0xffffffffn)
  const added = xids.flatMap((xid) => {
    const distance = (xid - low) | 0
    const whole = marks.xmax + BigInt(distance)
    return distance < 0 && !marks.xip.includes(whole) ? [whole] : []
  })
  if (added.length === 0) return marks
  const xip = [...new Set([...marks.xip, ...added])].sort((a, b) => a < b ? -1 : 1)
  return { ...marks, xip, xmin: xip[0]! < marks.xmin ? xip[0]! : marks.xmin }
}

/** The rows that are given as of the position by the old images of changes, with what only Postgres can tell of them. */
const imagesOf = Effect.fnUntraced(function*(
  { at, node }: RowsAsOfRequest,
  messages: ReadonlyArray<RowMessage>,
  { ask, verdicts }: RowsAsOfContext
) {
  const names = node.entry.definition.columns.map(({ name }) => name)
  const images = () => {
    const questions: Array<Question> = []
    const rows = messages.flatMap((message): ReadonlyArray<RowAsOf> => {
      const before = node.rows.ofChange(message, "before", at - 1n, verdicts, (question) => questions.push(question))
      const after = before && node.rows.ofChange(message, "before", at, verdicts, () => {})
      return after ? [{ texts: names.map((name) => textOf(message, "before", name)), before, after }] : []
    })
    return { rows, questions }
  }
  const { questions, rows } = images()
  if (questions.length === 0) return rows
  yield* ask(questions)
  return images().rows
})

export const open = Effect.fnUntraced(function*(
  request: RowsAsOfRequest,
  context: RowsAsOfContext
): Effect.fn.Return<RowsAsOf, SnapshotFailed, Scope.Scope> {
  const { at, node } = request
  const { definition } = node.entry
  const columns = definition.columns.map(({ name }) => name)
  const keyColumns = definition.keyColumns.map((name) => columns.indexOf(name))
  const leaves = LeafFields.make(definition, node.plan, false)
  const rows = yield* CurrentSnapshot.open(
    {
      schema: definition.schema,
      table: definition.table,
      columns,
      fields: leaves.fields,
      where: request.where,
      rows: request.rows
    },
    context.snapshots,
    context.collector()
  )
  yield* context.awaitReached(rows.marks.lsn)
  const { first, until, xids } = yield* changedSince(request, context.journal)
  const marks = without(rows.marks, xids)

  const rowOf = (fields: Texts): RowAsOf => {
    const keys = leaves.keysOf(fields)
    const plain = leaves.truthsOf(fields)
    return {
      texts: fields.slice(0, columns.length),
      before: node.rows.ofKeys(keys, plain, at - 1n),
      after: node.rows.ofKeys(keys, plain, at)
    }
  }
  /** The old images, some at a time: they are read from the journal again. */
  let next: { readonly lsn: Lsn.Lsn; readonly number: number } | undefined = { lsn: at + 1n, number: 0 }
  let count = 0
  const pullImages: RowsAsOf["pull"] = Effect.suspend(() => {
    if (next === undefined) return Effect.succeedNone
    return Effect.flatMap(context.journal.from(next.lsn, next.number), (parts) => {
      const messages: Array<RowMessage> = []
      next = undefined
      for (const { changes, number, transaction } of parts) {
        if (transaction.lsn > until) {
          next = undefined
          break
        }
        next = { lsn: transaction.lsn, number: number + 1 }
        for (const { message } of changes.get(node.table.oid) ?? []) {
          const key = node.keyOfChange(message, "before")
          if (key !== undefined && first.get(key) === count) messages.push(message)
          count += 1
        }
      }
      return Effect.asSome(imagesOf(request, messages, context))
    })
  })

  let isCopied = !request.rows
  const pull: RowsAsOf["pull"] = Effect.suspend(() => {
    if (isCopied) return request.rows ? pullImages : Effect.succeedNone
    return Effect.flatMap(
      rows.pull,
      Option.match({
        onNone: () => {
          isCopied = true
          return pullImages
        },
        onSome: (copied) => {
          const found: Array<RowAsOf> = []
          for (let i = 0; i < copied.count; i++) {
            const fields = fieldsOf(copied, i)
            if (!first.has(keyText(keyColumns.map((place) => fields[place]!)))) found.push(rowOf(fields))
          }
          return Effect.succeedSome(found)
        }
      })
    )
  })
  return { marks, pull }
})

/** The rows in an order that depends on their keys alone. */
export const inKeyOrder = (node: Node, rows: ReadonlyArray<RowAsOf>): ReadonlyArray<RowAsOf> => {
  const { columns, keyColumns } = node.entry.definition
  const places = keyColumns.map((name) => columns.findIndex((column) => column.name === name))
  return rows
    .map((row) => ({ row, key: keyText(places.map((place) => row.texts[place]!)) }))
    .sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : 0)
    .map(({ row }) => row)
}
