/**
 * Which type an expression has.
 */
import type { Column, Expression } from "../domain/Expression.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"

export const BOOL: SqlType = {
  oid: 16,
  schema: "pg_catalog",
  name: "bool",
  kind: "b",
  category: "B",
  preferred: true,
  collation: 0
}

export const typeOf = (expression: Expression): SqlType => {
  switch (expression._tag) {
    case "And":
    case "Or":
    case "Not":
    case "NullTest":
    case "BooleanTest":
    case "ArrayComparison":
    case "RowComparison":
    case "Member":
      return BOOL
    case "Collate":
      return typeOf(expression.arg)
    default:
      return expression.type
  }
}

/** The type behind domains. */
export const baseTypeOf = (type: SqlType): SqlType => type.base === undefined ? type : baseTypeOf(type.base)

/**
 * The expressions right below an expression, from left to right. Those of a subquery are not among them: its condition is
 * about another table.
 */
export const operands = (expression: Expression): ReadonlyArray<Expression> => {
  switch (expression._tag) {
    case "Column":
    case "Constant":
      return []
    case "Call":
    case "And":
    case "Or":
    case "Distinct":
    case "NullIf":
    case "Choice":
    case "Opaque":
      return expression.args
    case "Cast":
    case "Not":
    case "NullTest":
    case "BooleanTest":
    case "Collate":
      return [expression.arg]
    case "ArrayComparison":
      return [expression.left, expression.right]
    case "ArrayOf":
      return expression.elements
    case "Case":
      return [...expression.whens.flatMap(({ condition, result }) => [condition, result]), expression.otherwise]
    case "RowComparison":
      return [...expression.left, ...expression.right]
    case "Member":
      return expression.links
    case "Subscripted":
      return [
        expression.arg,
        ...expression.subscripts.flatMap((subscript) =>
          subscript._tag === "Index" ? [subscript.at] : [subscript.from ?? [], subscript.to ?? []].flat()
        )
      ]
  }
}

/** The columns that an expression reads, each once. */
export const columnsOf = (expression: Expression): ReadonlyArray<Column> => {
  const found = new Map<string, Column>()
  const visit = (node: Expression): void => {
    if (node._tag === "Column") found.set(node.name, node)
    for (const operand of operands(node)) visit(operand)
  }
  visit(expression)
  return [...found.values()]
}
