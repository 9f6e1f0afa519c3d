/**
 * Leaves out of an expression what says nothing, in three-valued logic: `AND TRUE`, `OR FALSE`, NOT of a constant.
 */
import type { Clause, Constant, Expression, Member, Subscript } from "../domain/Expression.ts"
import { BOOL, columnsOf, typeOf } from "./ExpressionType.ts"
import { and, not, or } from "./Logic.ts"
import { printExpression } from "./Print.ts"

export const TRUE: Constant = { _tag: "Constant", type: BOOL, text: "t" }
export const FALSE: Constant = { _tag: "Constant", type: BOOL, text: "f" }

/** Whether the expression is this boolean constant. */
export const isConstant = (expression: Expression, text: "t" | "f"): boolean =>
  expression._tag === "Constant" && expression.text === text && typeOf(expression).oid === BOOL.oid

const joined = (tag: "And" | "Or", args: ReadonlyArray<Expression>): Expression => {
  const [neutral, decisive] = tag === "And" ? [TRUE, FALSE] as const : [FALSE, TRUE] as const
  if (args.some((arg) => isConstant(arg, decisive.text === "t" ? "t" : "f"))) return decisive
  const rest = args.filter((arg) => !isConstant(arg, neutral.text === "t" ? "t" : "f"))
  if (rest.length === 0) return neutral
  return tag === "And" ? and(rest) : or(rest)
}

const negation = (arg: Expression): Expression => isConstant(arg, "t") ? FALSE : isConstant(arg, "f") ? TRUE : not(arg)

/** Whether a condition holds for no row. */
const isNever = (expression: Expression): boolean =>
  isConstant(expression, "f") ||
  (expression._tag === "Constant" && expression.text === null && typeOf(expression).oid === BOOL.oid)

/** Nothing is among no values, not even NULL. */
const membership = (member: Member): Expression => {
  const condition = member.subquery.where?.expression
  return condition !== undefined && isNever(condition) ? FALSE : member
}

/** One expression, those below it being simplified already. */
export const simplify = (expression: Expression): Expression => {
  switch (expression._tag) {
    case "And":
    case "Or":
      return joined(expression._tag, expression.args)
    case "Not":
      return negation(expression.arg)
    case "Member":
      return membership(expression)
    default:
      return expression
  }
}

const subscript = (one: Subscript, change: (expression: Expression) => Expression): Subscript =>
  one._tag === "Index"
    ? { _tag: "Index", at: change(one.at) }
    : { _tag: "Slice", from: one.from && change(one.from), to: one.to && change(one.to) }

/** What a shape's definition keeps of a condition; `undefined` for one that holds for every row. */
export const toClause = (expression: Expression): Clause | undefined =>
  isConstant(expression, "t") ? undefined : {
    sql: printExpression(expression),
    columns: columnsOf(expression).map(({ name, type }) => ({ name, typeOid: type.oid })),
    expression
  }

const withCondition = (member: Member, change: (expression: Expression) => Expression): Member => {
  const { subquery } = member
  if (subquery.where === undefined) return member
  const condition = change(subquery.where.expression)
  return condition === subquery.where.expression
    ? member
    : { ...member, subquery: { ...subquery, where: toClause(condition) } }
}

/** The expression with others right below it, and below its subquery's condition; links stay what they are. */
export const mapOperands = (expression: Expression, change: (operand: Expression) => Expression): Expression => {
  switch (expression._tag) {
    case "Column":
    case "Constant":
      return expression
    case "Call":
    case "Choice":
    case "Opaque":
      return { ...expression, args: expression.args.map(change) }
    case "And":
    case "Or":
      return { ...expression, args: expression.args.map(change) }
    case "Distinct":
    case "NullIf":
      return { ...expression, args: [change(expression.args[0]), change(expression.args[1])] }
    case "Cast":
    case "Not":
    case "NullTest":
    case "BooleanTest":
    case "Collate":
      return { ...expression, arg: change(expression.arg) }
    case "ArrayComparison":
      return { ...expression, left: change(expression.left), right: change(expression.right) }
    case "ArrayOf":
      return { ...expression, elements: expression.elements.map(change) }
    case "Case":
      return {
        ...expression,
        whens: expression.whens.map(({ condition, result }) => ({
          condition: change(condition),
          result: change(result)
        })),
        otherwise: change(expression.otherwise)
      }
    case "RowComparison":
      return { ...expression, left: expression.left.map(change), right: expression.right.map(change) }
    case "Subscripted":
      return {
        ...expression,
        arg: change(expression.arg),
        subscripts: expression.subscripts.map((one) => subscript(one, change))
      }
    case "Member":
      return withCondition(expression, change)
  }
}
