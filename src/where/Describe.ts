/**
 * How a clause is evaluated, for people: which parts of it run as closures, which in Postgres, and what it is found by.
 */
import type { Expression } from "../domain/Expression.ts"
import { accessOf, NULL_KEY, type Term } from "./Access.ts"
import { type Part, parts } from "./Compile.ts"
import { printExpression } from "./Print.ts"
import { Slots } from "./Row.ts"

export interface ClauseDescription {
  /** The operands of the clause's logic, from left to right. */
  readonly parts: ReadonlyArray<{ readonly sql: string; readonly by: Part["by"] }>
  /** What a row is found by, one of them: `user_id = 42`. `undefined` when every change of the table is tested. */
  readonly index: ReadonlyArray<string> | undefined
  /** Being found is enough: nothing is evaluated. */
  readonly exact: boolean
}

/** At most so many terms are written out. */
const MAX_TERMS = 20

const readable = (key: string): string => key === NULL_KEY ? "NULL" : Buffer.from(key, "latin1").toString()

const describeTerm = (term: Term): string => {
  switch (term._tag) {
    case "Equal":
      return term.columns.map(({ name }, i) => `${name} = ${readable(term.keys[i]!)}`).join(" AND ")
    case "Element":
      return `${term.column.name} @> {${readable(term.key)}}`
    case "Within": {
      const { high, kind, low } = term.bounds
      const place = (bound: number | string | undefined) =>
        bound === undefined ? "" : kind === "text" ? readable(String(bound).replace(/\uffff$/, "…")) : String(bound)
      return `${term.column.name} in [${place(low)}, ${place(high)}]`
    }
  }
}

export const describe = (expression: Expression): ClauseDescription => {
  const { exact, terms } = accessOf(expression)
  const shown = terms?.slice(0, MAX_TERMS).map(describeTerm)
  const more = (terms?.length ?? 0) - MAX_TERMS
  return {
    parts: parts(expression, new Slots()).map(({ by, expression }) => ({ sql: printExpression(expression), by })),
    index: shown && more > 0 ? [...shown, `… and ${more} more`] : shown,
    exact
  }
}
