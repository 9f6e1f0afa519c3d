/**
 * Verdicts that only Postgres can give: rows of the stream whose membership in a shape hangs on something that has no
 * closure. All that a batch left open is asked at once, each clause about just the rows it is open for.
 */
import { Effect } from "effect"
import type { DatabaseUnavailable } from "../domain/Errors.ts"
import type { Column } from "../domain/Expression.ts"
import { type RowMessage, text, type Tuple } from "../domain/WalMessage.ts"
import type { RowEvaluation, RowVerdict } from "../source/RowEvaluation.ts"
import { columnsOf } from "../where/ExpressionType.ts"
import type { Action } from "./Changes.ts"
import { actionOf, type Membership } from "./Router.ts"
import type { ShapeEntry } from "./ShapeCatalog.ts"

/** A change that may concern a shape. */
export interface OpenVerdict {
  readonly entry: ShapeEntry
  readonly message: RowMessage
  readonly before: Membership
  readonly after: Membership
  /** Says what the change means for the shape. */
  readonly settle: (action: Action | undefined) => void
  /** The clause has no value for the row: Postgres's message. */
  readonly fail: (message: string) => void
}

type Side = "before" | "after"

/** What a clause is asked: the rows, each by a change and one of its sides. */
interface Question {
  readonly sql: string
  readonly columns: ReadonlyArray<Column>
  readonly rows: Map<string, ReadonlyArray<string | null>>
}

/** A column's text on one side of a change; what an update left unchanged is in its old row. */
const valueOf = (message: RowMessage, side: Side, name: string): string | null => {
  const at = message.relation.columns.findIndex((column) => column.name === name)
  const old = message._tag === "Insert" ? undefined : message.old
  const row: Tuple | undefined = side === "before" || message._tag === "Delete" ? old : message.row
  if (at < 0 || row === undefined) return null
  const value = text(row, at)
  return value === undefined && old !== undefined ? text(old, at) ?? null : value ?? null
}

const sides: ReadonlyArray<Side> = ["before", "after"]

/** The clauses that ask about the same columns of the same rows: they go into one query. */
interface Group {
  readonly questions: Array<Question>
}

const groupKey = ({ columns, rows }: Question): string =>
  JSON.stringify([columns.map(({ name, type }) => [name, type.oid]), [...rows.keys()]])

const makeQuestions = (open: ReadonlyArray<OpenVerdict>, idOf: (message: RowMessage, side: Side) => string) => {
  const questions = new Map<string, Question>()
  for (const verdict of open) {
    const { expression, sql } = verdict.entry.definition.where!
    let question = questions.get(sql)
    if (question === undefined) questions.set(sql, question = { sql, columns: columnsOf(expression), rows: new Map() })
    for (const side of sides) {
      const id = idOf(verdict.message, side)
      if (verdict[side] !== undefined || question.rows.has(id)) continue
      question.rows.set(id, question.columns.map(({ name }) => valueOf(verdict.message, side, name)))
    }
  }
  return questions
}

const makeGroups = (questions: Iterable<Question>): ReadonlyArray<Group> => {
  const groups = new Map<string, Group>()
  for (const question of questions) {
    const key = groupKey(question)
    const group = groups.get(key)
    if (group) group.questions.push(question)
    else groups.set(key, { questions: [question] })
  }
  return [...groups.values()]
}

/**
 * Asks Postgres and settles all of them. Fails, with nothing settled, when it can't be asked.
 */
export const decide = Effect.fnUntraced(function*(
  open: ReadonlyArray<OpenVerdict>,
  evaluation: RowEvaluation["Type"]
): Effect.fn.Return<void, DatabaseUnavailable> {
  const ids = new Map<RowMessage, number>()
  const idOf = (message: RowMessage, side: Side) => {
    let id = ids.get(message)
    if (id === undefined) ids.set(message, id = ids.size)
    return `${id}${side}`
  }
  const questions = makeQuestions(open, idOf)
  const answers = new Map<string, RowVerdict>()
  for (const { questions: [first, ...others] } of makeGroups(questions.values())) {
    const asked = [first!, ...others]
    const verdicts = yield* evaluation.evaluate({
      columns: first!.columns,
      rows: [...first!.rows.values()],
      expressions: asked.map(({ sql }) => sql)
    })
    for (const [row, id] of [...first!.rows.keys()].entries()) {
      for (const [n, { sql }] of asked.entries()) answers.set(`${id} ${sql}`, verdicts[row]![n]!)
    }
  }
  for (const verdict of open) {
    settle(verdict, (side) => answers.get(`${idOf(verdict.message, side)} ${verdict.entry.definition.where!.sql}`))
  }
})

const settle = (verdict: OpenVerdict, answer: (side: Side) => RowVerdict | undefined): void => {
  const membership = { before: false, after: false }
  for (const side of sides) {
    const known = verdict[side] ?? answer(side)
    if (typeof known === "object" && known !== null) return verdict.fail(known.error)
    membership[side] = known === true
  }
  verdict.settle(actionOf(membership.before, membership.after))
}
