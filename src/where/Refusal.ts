/**
 * What a clause that is not accepted is refused for.
 */
import type { ColumnRef, FuncCall, Node } from "libpg-query"
import type { ColumnInfo } from "../domain/Relation.ts"

interface Names {
  readonly params: ReadonlyArray<string>
  readonly columns: ReadonlyArray<ColumnInfo>
}

/** Deeper than this an expression is refused. */
const MAX_DEPTH = 200

const words = (nodes: ReadonlyArray<Node> = []): Array<string> =>
  nodes.map((node) => "String" in node ? node.String.sval ?? "" : "*")

const kinds: Record<string, string> = {
  AEXPR_OP_ANY: "ANY",
  AEXPR_OP_ALL: "ALL",
  AEXPR_DISTINCT: "IS DISTINCT FROM",
  AEXPR_NOT_DISTINCT: "IS NOT DISTINCT FROM",
  AEXPR_NULLIF: "NULLIF",
  AEXPR_IN: "IN",
  AEXPR_LIKE: "LIKE",
  AEXPR_ILIKE: "ILIKE",
  AEXPR_SIMILAR: "SIMILAR TO",
  AEXPR_BETWEEN: "BETWEEN",
  AEXPR_NOT_BETWEEN: "NOT BETWEEN",
  AEXPR_BETWEEN_SYM: "BETWEEN SYMMETRIC",
  AEXPR_NOT_BETWEEN_SYM: "NOT BETWEEN SYMMETRIC"
}
const logic: Record<string, string> = { AND_EXPR: "AND", OR_EXPR: "OR", NOT_EXPR: "NOT" }

/** What a node is, in the words of SQL, and its place in the statement. */
export const nameOf = (node: Node): [string, number | undefined] => {
  if ("A_Expr" in node) {
    const { kind = "AEXPR_OP", location, name } = node.A_Expr
    return [kinds[kind] ?? `operator ${words(name).join(".")}`, location]
  }
  if ("BoolExpr" in node) return [logic[node.BoolExpr.boolop ?? "AND_EXPR"]!, node.BoolExpr.location]
  if ("NullTest" in node) return ["IS NULL", node.NullTest.location]
  if ("BooleanTest" in node) return ["IS TRUE", node.BooleanTest.location]
  if ("ColumnRef" in node) return ["a column as a condition of its own", node.ColumnRef.location]
  if ("TypeCast" in node) return ["a cast", node.TypeCast.location]
  if ("A_Const" in node) {
    const { bsval, boolval, isnull, location } = node.A_Const
    return [isnull ? "NULL" : boolval ? "FALSE" : bsval ? "a bit string" : "a constant", location]
  }
  const [kind = "this expression", content] = Object.entries(node)[0] ?? []
  const location = content !== undefined && "location" in content ? content.location : undefined
  return [kind, typeof location === "number" ? location : undefined]
}

/** The expressions right below an expression, from left to right. */
const children = (node: Node): ReadonlyArray<Node | undefined> => {
  if ("A_Expr" in node) return [node.A_Expr.lexpr, node.A_Expr.rexpr]
  if ("BoolExpr" in node) return node.BoolExpr.args ?? []
  if ("TypeCast" in node) return [node.TypeCast.arg]
  if ("NullTest" in node) return [node.NullTest.arg]
  if ("BooleanTest" in node) return [node.BooleanTest.arg]
  if ("List" in node) return node.List.items ?? []
  if ("A_ArrayExpr" in node) return node.A_ArrayExpr.elements ?? []
  if ("CoalesceExpr" in node) return node.CoalesceExpr.args ?? []
  if ("MinMaxExpr" in node) return node.MinMaxExpr.args ?? []
  return []
}

const columnProblem = (names: Names, { fields }: ColumnRef): string | undefined => {
  const path = words(fields)
  return path.length === 1 && names.columns.some((column) => column.name === path[0])
    ? undefined
    : `unknown reference ${path.join(".")}`
}

const functionName = ({ args = [], funcname }: FuncCall): string => `${words(funcname).at(-1) ?? ""}/${args.length}`

interface Problem {
  readonly location: number | undefined
  readonly message: string
}

/** The first column, function or parameter of the expression that there is not. */
export const unknownName = (names: Names, node: Node, depth = 0): Problem | undefined => {
  if (depth > MAX_DEPTH) return { location: nameOf(node)[1], message: "the clause is nested too deeply" }
  if ("ColumnRef" in node) {
    const message = columnProblem(names, node.ColumnRef)
    return message === undefined ? undefined : { location: node.ColumnRef.location, message }
  }
  if ("ParamRef" in node) {
    const { location, number = 0 } = node.ParamRef
    return number >= 1 && number <= names.params.length
      ? undefined
      : { location, message: `parameter $${number} was not provided` }
  }
  if ("FuncCall" in node) {
    return {
      location: node.FuncCall.location,
      message: `unknown or unsupported function ${functionName(node.FuncCall)}`
    }
  }
  for (const child of children(node)) {
    const problem = child && unknownName(names, child, depth + 1)
    if (problem) return problem
  }
  return undefined
}

const notComparing = new Set(["+", "-", "*", "/", "%", "^", "&", "#", "||", "|/", "||/", "@", "->", "->>", "#>", "#>>"])

/** Whether the expression is certainly of another type than boolean. */
export const isNotBoolean = (names: Names, node: Node): boolean => {
  if ("A_Const" in node) return node.A_Const.boolval === undefined && !node.A_Const.isnull
  if ("ParamRef" in node || "A_ArrayExpr" in node) return true
  if ("ColumnRef" in node) {
    const [name] = words(node.ColumnRef.fields)
    return names.columns.find((column) => column.name === name)?.typeName !== "bool"
  }
  if ("A_Expr" in node) {
    return (node.A_Expr.kind ?? "AEXPR_OP") === "AEXPR_OP" && notComparing.has(words(node.A_Expr.name).at(-1) ?? "")
  }
  return "TypeCast" in node && words(node.TypeCast.typeName?.names).at(-1) !== "bool"
}
