/**
 * A where clause as SQL: printed from what was understood of it, never from what was written.
 */
import type { Constant, Expression, Member, Subquery, Subscript } from "../domain/Expression.ts"
import { quote, quoteLiteral } from "../domain/Identifier.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"
import { UNKNOWN } from "./TypeOids.ts"

const qualified = ({ name, schema }: { readonly schema: string; readonly name: string }): string =>
  `${quote(schema)}.${quote(name)}`

const typeName = (type: SqlType, modifiers: ReadonlyArray<string> = []): string =>
  modifiers.length === 0 ? qualified(type) : `${qualified(type)}(${modifiers.map(quoteLiteral).join(", ")})`

const plainSchema = /^[a-z_][a-z0-9_]*$/

const operator = ({ name, schema }: { readonly schema: string; readonly name: string }): string =>
  `OPERATOR(${plainSchema.test(schema) ? schema : quote(schema)}.${name})`

const constant = ({ text, type }: Constant): string => {
  const literal = text === null ? "NULL" : quoteLiteral(text)
  return type.oid === UNKNOWN ? literal : `${literal}::${typeName(type)}`
}

const truth = (value: boolean | null): string => value === null ? "UNKNOWN" : value ? "TRUE" : "FALSE"

/** Comparisons that can't fail, whatever constant there is on one side. */
const comparing: ReadonlySet<string> = new Set(["=", "<>", "<", "<=", ">", ">="])

const isComparing = (expression: Expression): boolean =>
  (expression._tag === "Call" || expression._tag === "ArrayComparison") &&
  expression.operator?.schema === "pg_catalog" && comparing.has(expression.operator.name)

/**
 * Writes an expression. With `template` the constants of plain comparisons are left out, but for their types. `depth` is
 * the number of subqueries that it lies in: the columns of a subquery's table are qualified, as what has lost a column
 * must not be read as being about the table around it.
 */
const printer = (template: boolean, depth: number) => {
  const list = (expressions: ReadonlyArray<Expression>): string => expressions.map(write).join(", ")

  /** As part of a larger expression. */
  const operand = (expression: Expression): string => {
    switch (expression._tag) {
      case "Column":
      case "Constant":
      case "Choice":
      case "NullIf":
        return write(expression)
      case "Call":
        return expression.operator === undefined ? write(expression) : `(${write(expression)})`
      default:
        return `(${write(expression)})`
    }
  }

  /** An argument of a comparison. */
  const compared = (expression: Expression, parent: Expression): string =>
    template && expression._tag === "Constant" && expression.text !== null && isComparing(parent)
      ? `?::${typeName(expression.type)}`
      : operand(expression)

  const subscript = (one: Subscript): string =>
    one._tag === "Index"
      ? `[${write(one.at)}]`
      : `[${one.from === null ? "" : operand(one.from)}:${one.to === null ? "" : operand(one.to)}]`

  const opaque = (sql: ReadonlyArray<string>, args: ReadonlyArray<Expression>): string =>
    sql.reduce((text, piece, i) => i === 0 ? piece : `${text}(${write(args[i - 1]!)})${piece}`, "")

  const call = (expression: Extract<Expression, { readonly _tag: "Call" }>): string => {
    const { args, fn, variadic } = expression
    const [first, second] = args
    if (expression.operator !== undefined && first !== undefined) {
      const name = operator(expression.operator)
      return second === undefined
        ? `${name} ${operand(first)}`
        : `${compared(first, expression)} ${name} ${compared(second, expression)}`
    }
    if (!variadic) return `${qualified(fn)}(${list(args)})`
    const fixed = args.slice(0, -1).map((arg) => `${write(arg)}, `).join("")
    return `${qualified(fn)}(${fixed}VARIADIC ${write(args.at(-1)!)})`
  }

  const subselect = ({ only, schema, table, targets, where }: Subquery): string => {
    const alias = aliasOf(depth + 1)
    const columns = targets.map(({ name }) => `${alias}.${quote(name)}`).join(", ")
    const condition = where === undefined ? "" : ` WHERE ${printer(template, depth + 1)(where.expression)}`
    return `SELECT ${columns} FROM ${only ? "ONLY " : ""}${qualified({ schema, name: table })} AS ${alias}${condition}`
  }

  /** What is on its left is of the table around it, whose columns have no qualifier in the outermost clause. */
  const member = ({ links, nulls, subquery }: Member): string => {
    const [first] = links
    const left = links.length === 1 && first !== undefined ? write(first) : `ROW(${list(links)})`
    const test = `${left} OPERATOR(pg_catalog.=) ANY (${subselect(subquery)})`
    return nulls === "in" ? test : `(${test}) IS TRUE`
  }

  const write = (expression: Expression): string => {
    switch (expression._tag) {
      case "Column":
        return depth === 0 ? quote(expression.name) : `${aliasOf(depth)}.${quote(expression.name)}`
      case "Constant":
        return constant(expression)
      case "Call":
        return call(expression)
      case "Cast":
        return `${operand(expression.arg)}::${typeName(expression.type, expression.modifiers)}`
      case "ArrayComparison": {
        const left = compared(expression.left, expression)
        const right = compared(expression.right, expression)
        return `${left} ${operator(expression.operator)} ${expression.quantifier} (${right})`
      }
      case "And":
        return expression.args.map(operand).join(" AND ")
      case "Or":
        return expression.args.map(operand).join(" OR ")
      case "Not":
        return `NOT ${operand(expression.arg)}`
      case "NullTest":
        return `${operand(expression.arg)} IS ${expression.negated ? "NOT " : ""}NULL`
      case "BooleanTest":
        return `${operand(expression.arg)} IS ${expression.negated ? "NOT " : ""}${truth(expression.value)}`
      case "Distinct":
        return `${operand(expression.args[0])} IS DISTINCT FROM ${operand(expression.args[1])}`
      case "NullIf":
        return `NULLIF(${list(expression.args)})`
      case "Case":
        return `CASE ${
          expression.whens.map(({ condition, result }) => `WHEN ${write(condition)} THEN ${write(result)} `).join("")
        }ELSE ${write(expression.otherwise)} END`
      case "Choice":
        return `${expression.kind}(${list(expression.args)})`
      case "ArrayOf":
        return expression.elements.length === 0
          ? `ARRAY[]::${typeName(expression.type)}`
          : `ARRAY[${list(expression.elements)}]`
      case "Subscripted":
        return `(${write(expression.arg)})${expression.subscripts.map(subscript).join("")}`
      case "RowComparison":
        return `ROW(${list(expression.left)}) OPERATOR(pg_catalog.${expression.operator}) ROW(${
          list(expression.right)
        })`
      case "Collate":
        return `${operand(expression.arg)} COLLATE ${qualified(expression.collation)}`
      case "Opaque":
        return opaque(expression.sql, expression.args)
      case "Member":
        return member(expression)
    }
  }
  return write
}

/** The name of a subquery's table. */
const aliasOf = (depth: number): string => `s${depth}`

const writeExpression = printer(false, 0)
const writeTemplate = printer(true, 0)

/**
 * The expression as SQL that means the same whatever the session's search path is: operators, functions, types and
 * collations with their schemas, every constant with its type.
 */
export const printExpression = (expression: Expression): string => writeExpression(expression)

/**
 * The same without the values of constants that are only compared: clauses of one template are right or wrong
 * together. It is no SQL.
 */
export const printTemplate = (expression: Expression): string => writeTemplate(expression)
