/**
 * What a row is to a node (see SUBQUERIES.md): for each leaf of its clause whether it holds, and so whether the row is in
 * the shape. The rest of a clause is decided by closures, or where there is none by Postgres; membership by the sets, as
 * of a position.
 */
import { Effect } from "effect"
import type { DatabaseUnavailable } from "../domain/Errors.ts"
import type { Lsn } from "../domain/Lsn.ts"
import type { Relation } from "../domain/Relation.ts"
import { type RowMessage, text, type Tuple, UNCHANGED } from "../domain/WalMessage.ts"
import type { RowEvaluation, RowVerdict } from "../source/RowEvaluation.ts"
import { compile, type Test } from "../where/Compile.ts"
import { columnsOf } from "../where/ExpressionType.ts"
import type { Leaf, Plan } from "../where/Plan.ts"
import { Row, Slots } from "../where/Row.ts"
import { keyHasNull, rowKey, type ValueSet } from "./ValueSet.ts"

export interface Facts {
  /** The key of each leaf's link; empty for a leaf that is no membership. */
  readonly keys: ReadonlyArray<string>
  /** Whether each leaf holds. */
  readonly truths: ReadonlyArray<boolean>
  /** Whether the row is in the shape. */
  readonly isIn: boolean
}

/** The rows of one table as its nodes read them. */
export class TableRows {
  readonly slots = new Slots()
  readonly row = new Row(this.slots)

  bind(relation: Relation, tuple: Tuple, old: Tuple | undefined): Row {
    this.row.bind(this.slots.columnsIn(relation), tuple, old)
    return this.row
  }
}

/** Whether a membership holds for rows with this link, as of a position. */
export const holds = (leaf: Extract<Leaf, { _tag: "Member" }>, set: ValueSet, key: string, at: Lsn): boolean => {
  const value = set.test(key, keyHasNull(key), leaf.member.nulls, at)
  return leaf.negated ? value === false : value === true
}

/** A side of a row change. */
export type Side = "before" | "after"

/** What Postgres has said of rows for which there was no closure: by row, then by side and leaf. */
export type Verdicts = WeakMap<RowMessage, Map<string, RowVerdict>>

/** A leaf that only Postgres can decide for a row. */
export interface Question {
  readonly leaf: Extract<Leaf, { _tag: "Plain" }>
  readonly message: RowMessage
  readonly side: Side
}

/** A leaf fails for a row of the stream: Postgres's message. */
export class LeafFailed extends Error {
  readonly _tag = "LeafFailed"
}

export class NodeRows {
  readonly plan: Plan
  private readonly table: TableRows
  private readonly sets: ReadonlyArray<ValueSet>
  private readonly links: ReadonlyArray<ReadonlyArray<number>>
  private readonly tests: ReadonlyArray<Test | undefined>

  constructor(plan: Plan, table: TableRows, sets: ReadonlyArray<ValueSet>) {
    this.plan = plan
    this.table = table
    this.sets = sets
    this.links = plan.leaves.map((leaf) =>
      leaf._tag === "Member" ? leaf.member.links.map(({ name, type }) => table.slots.of(name, type)) : []
    )
    for (const leaf of plan.leaves) {
      if (leaf._tag === "Plain") { for (const { name, type } of columnsOf(leaf.expression)) table.slots.of(name, type) }
    }
    this.tests = plan.leaves.map((leaf) => leaf._tag === "Plain" ? compile(leaf.expression, table.slots) : undefined)
  }

  /** The slots of a leaf's link. */
  linkOf(leaf: number): ReadonlyArray<number> {
    return this.links[leaf]!
  }

  /**
   * What one side of a change is, by the sets as of `at`; `undefined` when Postgres has to be asked first: then
   * `ask` has been told what.
   */
  ofChange(
    message: RowMessage,
    side: Side,
    at: Lsn,
    verdicts: Verdicts,
    ask: (question: Question) => void
  ): Facts | undefined {
    const tuple = side === "after" ? message._tag === "Delete" ? undefined : message.row : oldOf(message)
    if (tuple === undefined) return none
    const row = this.table.bind(message.relation, tuple, side === "after" ? oldOf(message) : undefined)
    const { leaves } = this.plan
    const keys: Array<string> = []
    const truths: Array<boolean> = []
    let open = false
    for (let i = 0; i < leaves.length; i++) {
      const leaf = leaves[i]!
      if (leaf._tag === "Member") {
        const key = rowKey(row, this.links[i]!)
        keys.push(key)
        truths.push(holds(leaf, this.sets[leaf.dependency]!, key, at))
        continue
      }
      keys.push("")
      let verdict: RowVerdict | undefined = this.tests[i]!(row)
      if (verdict === undefined) {
        verdict = verdicts.get(message)?.get(`${side} ${leaf.sql}`)
        if (verdict === undefined) {
          open = true
          ask({ leaf, message, side })
        } else if (typeof verdict === "object" && verdict !== null) throw new LeafFailed(verdict.error)
      }
      truths.push(verdict === true)
    }
    return open ? undefined : this.judge(keys, truths)
  }

  /** What a row is whose plain leaves are known, by the sets as of `at`. */
  ofKeys(keys: ReadonlyArray<string>, plain: ReadonlyArray<boolean>, at: Lsn): Facts {
    const truths = this.plan.leaves.map((leaf, i) =>
      leaf._tag === "Member" ? holds(leaf, this.sets[leaf.dependency]!, keys[i]!, at) : plain[i]!
    )
    return this.judge(keys, truths)
  }

  private judge(keys: ReadonlyArray<string>, truths: ReadonlyArray<boolean>): Facts {
    return { keys, truths, isIn: this.isIn(truths) }
  }

  /** Whether a row is in the shape for which these leaves hold. */
  isIn(truths: ReadonlyArray<boolean>): boolean {
    return this.plan.disjuncts.some((disjunct) => disjunct.every((leaf) => truths[leaf]!))
  }
}

/** A row that is not there. */
const none: Facts = { keys: [], truths: [], isIn: false }

/** The whole old row of a change. */
export const oldOf = (message: RowMessage): Tuple | undefined =>
  message._tag === "Insert" || !message.oldIsFull ? undefined : message.old

/** Text of a column of one side of a change. */
export const textOf = (message: RowMessage, side: Side, name: string): string | null => {
  const i = message.relation.columns.findIndex((column) => column.name === name)
  if (i < 0) return null
  const old = oldOf(message)
  if (side === "before") return (old && text(old, i)) ?? null
  if (message._tag === "Delete") return null
  return (message.row.cols[2 * i + 1] === UNCHANGED && old ? text(old, i) : text(message.row, i)) ?? null
}

/** Asks Postgres; afterwards `verdicts` has the answers. */
export const askPostgres = Effect.fnUntraced(function*(
  questions: ReadonlyArray<Question>,
  evaluation: RowEvaluation["Type"],
  verdicts: Verdicts
): Effect.fn.Return<void, DatabaseUnavailable> {
  const byLeaf = new Map<string, Array<Question>>()
  for (const question of questions) {
    const asked = byLeaf.get(question.leaf.sql)
    if (asked) asked.push(question)
    else byLeaf.set(question.leaf.sql, [question])
  }
  for (const [sql, asked] of byLeaf) {
    const columns = columnsOf(asked[0]!.leaf.expression)
    const answers = yield* evaluation.evaluate({
      columns,
      rows: asked.map(({ message, side }) => columns.map(({ name }) => textOf(message, side, name))),
      expressions: [sql]
    })
    for (const [i, { message, side }] of asked.entries()) {
      let known = verdicts.get(message)
      if (!known) verdicts.set(message, known = new Map())
      known.set(`${side} ${sql}`, answers[i]![0]!)
    }
  }
})
