/**
 * A where clause as a test on rows. Its logic is always ours; an operand of it that has no closure is left open, and
 * Postgres is asked about the rows on which the verdict hangs on it.
 */
import type { Expression } from "../domain/Expression.ts"
import { evaluator } from "./Evaluate.ts"
import type { Row, Slots } from "./Row.ts"
import { UNSURE } from "./Value.ts"

/** Whether a row satisfies the clause; `undefined` when only Postgres can tell. */
export type Test = (row: Row) => boolean | undefined

/** In three-valued logic; `undefined` for what is open. */
type Verdict = (row: Row) => boolean | null | undefined

const open: Verdict = () => undefined

const and = (args: ReadonlyArray<Verdict>): Verdict => (row) => {
  let result: boolean | null | undefined = true
  for (const arg of args) {
    const value = arg(row)
    if (value === false) return false
    if (value === undefined) result = undefined
    else if (value === null && result === true) result = null
  }
  return result
}

const or = (args: ReadonlyArray<Verdict>): Verdict => (row) => {
  let result: boolean | null | undefined = false
  for (const arg of args) {
    const value = arg(row)
    if (value === true) return true
    if (value === undefined) result = undefined
    else if (value === null && result === false) result = null
  }
  return result
}

const verdict = (expression: Expression, slots: Slots): Verdict => {
  switch (expression._tag) {
    case "And":
      return and(expression.args.map((arg) => verdict(arg, slots)))
    case "Or":
      return or(expression.args.map((arg) => verdict(arg, slots)))
    case "Not": {
      const arg = verdict(expression.arg, slots)
      return (row) => {
        const value = arg(row)
        return typeof value === "boolean" ? !value : value
      }
    }
    default: {
      const evaluate = evaluator(expression, slots)
      return evaluate === undefined ? open : (row) => {
        const value = evaluate(row)
        return typeof value === "boolean" ? value : null
      }
    }
  }
}

/** The test of a clause on the rows that `slots` describes. */
export const compile = (expression: Expression, slots: Slots): Test => {
  const test = verdict(expression, slots)
  return (row) => {
    try {
      const value = test(row)
      return value === null ? false : value
    } catch (cause) {
      if (cause === UNSURE) return undefined
      throw cause
    }
  }
}

/** One operand of a clause's logic, and what evaluates it. */
export interface Part {
  readonly expression: Expression
  readonly by: "closure" | "Postgres" | "subquery"
}

const byOf = (expression: Expression, slots: Slots): Part["by"] => {
  if (expression._tag === "Member") return "subquery"
  return evaluator(expression, slots) === undefined ? "Postgres" : "closure"
}

/** The operands of a clause's logic, from left to right. */
export const parts = (expression: Expression, slots: Slots): ReadonlyArray<Part> => {
  switch (expression._tag) {
    case "And":
    case "Or":
      return expression.args.flatMap((arg) => parts(arg, slots))
    case "Not":
      return parts(expression.arg, slots)
    default:
      return [{ expression, by: byOf(expression, slots) }]
  }
}
