/**
 * Typed expressions made by hand, as parse analysis makes them.
 */
import type { Call, Clause, Column, Constant, Expression } from "../../src/domain/Expression.ts"
import type { Collation, FunctionRef, SqlType } from "../../src/domain/SqlCatalog.ts"
import { BOOL, columnsOf, typeOf } from "../../src/where/ExpressionType.ts"

const type = (oid: number, name: string, rest: Partial<SqlType> = {}): SqlType => ({
  oid,
  schema: "pg_catalog",
  name,
  kind: "b",
  category: "U",
  preferred: false,
  collation: 0,
  ...rest
})

export const INT4 = type(23, "int4")
export const INT8 = type(20, "int8")
export const NUMERIC = type(1700, "numeric")
export const TEXT = type(25, "text", { collation: 100 })
export const INT4_ARRAY = type(1007, "_int4", { element: INT4 })
export const TEXT_ARRAY = type(1009, "_text", { element: TEXT, collation: 100 })
export const TIMESTAMP = type(1114, "timestamp")
export { BOOL }

export const C: Collation = {
  oid: 950,
  schema: "pg_catalog",
  name: "C",
  bytewise: true,
  asciiCase: true,
  deterministic: true
}

export const column = (name: string, type: SqlType): Column => ({
  _tag: "Column",
  name,
  type,
  ...(type.collation !== 0 && { collation: C })
})

export const constant = (type: SqlType, text: string | null): Constant => ({ _tag: "Constant", type, text })

const functionRef = (source: string): FunctionRef => ({
  oid: 0,
  schema: "pg_catalog",
  name: source,
  source,
  strict: true
})

/** `left operator right`, done by a C function. */
export const call = (source: string, operator: string, left: Expression, right: Expression): Call => ({
  _tag: "Call",
  fn: functionRef(source),
  operator: { schema: "pg_catalog", name: operator },
  args: [left, right],
  type: BOOL,
  ...(typeOf(left).collation !== 0 && { collation: C })
})

export const any = (source: string, left: Expression, right: Expression): Expression => ({
  _tag: "ArrayComparison",
  quantifier: "ANY",
  fn: functionRef(source),
  operator: { schema: "pg_catalog", name: "=" },
  left,
  right,
  ...(typeOf(left).collation !== 0 && { collation: C })
})

export const and = (...args: ReadonlyArray<Expression>): Expression => ({ _tag: "And", args })
export const or = (...args: ReadonlyArray<Expression>): Expression => ({ _tag: "Or", args })
export const not = (arg: Expression): Expression => ({ _tag: "Not", arg })
export const isNull = (arg: Expression): Expression => ({ _tag: "NullTest", arg, negated: false })
export const isNotNull = (arg: Expression): Expression => ({ _tag: "NullTest", arg, negated: true })

/** A condition that only Postgres can evaluate. */
export const opaque = (...args: ReadonlyArray<Expression>): Expression => ({
  _tag: "Opaque",
  sql: ["strange(", ...args.slice(1).map(() => ", "), ")"],
  args,
  type: BOOL
})

/** The expression as a shape's clause. `sql` is its JSON: nothing here asks Postgres. */
export const clause = (expression: Expression): Clause => ({
  sql: JSON.stringify(expression),
  columns: columnsOf(expression).map(({ name, type }) => ({ name, typeOid: type.oid })),
  expression
})

/** The expression in short, for messages of tests. */
export const show = (expression: Expression): string => {
  switch (expression._tag) {
    case "Column":
      return expression.name
    case "Constant":
      return `'${expression.text}'`
    case "Call":
      return `(${expression.args.map(show).join(` ${expression.operator?.name} `)})`
    case "ArrayComparison":
      return `(${show(expression.left)} = ANY (${show(expression.right)}))`
    case "And":
    case "Or":
      return `(${expression.args.map(show).join(` ${expression._tag} `)})`
    case "Not":
      return `NOT ${show(expression.arg)}`
    case "NullTest":
      return `${show(expression.arg)} IS ${expression.negated ? "NOT " : ""}NULL`
    case "BooleanTest":
      return `${show(expression.arg)} IS ${expression.negated ? "NOT " : ""}${expression.value}`
    default:
      return expression._tag
  }
}
