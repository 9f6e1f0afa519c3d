/**
 * From a clause's syntax tree to our own expression, with every name looked up among the table's columns. What the
 * language does not have (yet) is refused with a message that names its place and the cause (Electric HTTP protocol
 * §14.6).
 */
import { Either, Option } from "effect"
import type { A_Expr, Node, TypeName } from "libpg-query"
import type { ColumnInfo } from "../domain/Relation.ts"
import { at, inClause } from "./Location.ts"
import { obstacle } from "./NormalForm.ts"
import { isNotBoolean, nameOf, unknownName } from "./Refusal.ts"

/** A value as it was written. */
export interface Literal {
  readonly text: string
  /** How it was written: a quoted text or a parameter takes the column's type, a number or a boolean must suit it. */
  readonly kind: "text" | "number" | "boolean"
  /** Place in the clause. */
  readonly location: number
}

/** `column = literal`. */
export interface Comparison {
  readonly _tag: "Comparison"
  readonly column: ColumnInfo
  readonly literal: Literal
}

/** A condition that holds for every row. */
export interface True {
  readonly _tag: "True"
}
export type Expression = Comparison | True

/** What a clause is read against. */
export interface ClauseContext {
  readonly clause: string
  /** Values of `$1…$n`. */
  readonly params: ReadonlyArray<string>
  readonly columns: ReadonlyArray<ColumnInfo>
}

type Result<A> = Either.Either<A, string>

const refuse = (context: ClauseContext, location: number | undefined, message: string) =>
  Either.left(at(inClause(context.clause, location), message))

const notYet = (context: ClauseContext, node: Node) => {
  const [what, location] = nameOf(node)
  return refuse(context, location, `${what} is not supported yet`)
}

/** A constant or a parameter, with the cast that was put on it. */
interface Value extends Literal {
  readonly cast: TypeName | undefined
}

const constant = (context: ClauseContext, node: Node): Option.Option<Value> => {
  if ("TypeCast" in node) {
    const { arg, typeName } = node.TypeCast
    if (arg === undefined || "TypeCast" in arg) return Option.none()
    return Option.map(constant(context, arg), (value) => ({ ...value, cast: typeName }))
  }
  if ("ParamRef" in node) {
    const text = context.params[(node.ParamRef.number ?? 0) - 1]
    if (text === undefined) return Option.none()
    return Option.some({
      text,
      kind: "text",
      location: inClause(context.clause, node.ParamRef.location),
      cast: undefined
    })
  }
  if (!("A_Const" in node)) return Option.none()
  const { boolval, fval, ival, location, sval } = node.A_Const
  const value = (kind: Literal["kind"], text: string) =>
    Option.some({ text, kind, location: inClause(context.clause, location), cast: undefined })
  if (sval) return value("text", sval.sval ?? "")
  // Zero, false and the empty text are left out of the tree.
  if (ival) return value("number", String(ival.ival ?? 0))
  if (fval) return value("number", fval.fval ?? "0")
  if (boolval) return value("boolean", String(boolval.boolval ?? false))
  return Option.none()
}

const columnOf = (context: ClauseContext, node: Node): ColumnInfo | undefined => {
  if (!("ColumnRef" in node)) return undefined
  const [field, ...others] = node.ColumnRef.fields ?? []
  if (field === undefined || others.length > 0 || !("String" in field)) return undefined
  return context.columns.find((column) => column.name === field.String.sval)
}

const interchangeable = new Set(["text", "varchar"])

/** Whether the cast leaves a literal what it would be without: it names the column's type, without a modifier. */
const isColumnType = (cast: TypeName, column: ColumnInfo): boolean => {
  const names = (cast.names ?? []).map((name) => "String" in name ? name.String.sval : undefined)
  const [name, schema] = names.toReversed()
  if (cast.setof || cast.pct_type || cast.typmods !== undefined || names.length > 2 || name === undefined) return false
  if (schema !== undefined && schema !== column.typeSchema) return false
  const type = cast.arrayBounds === undefined ? column.typeName : column.elementType
  return name === type || (type === column.typeName && interchangeable.has(name) && interchangeable.has(type))
}

const numbers = new Set(["int2", "int4", "int8", "float4", "float8", "numeric", "oid"])

const suits = ({ kind, text }: Literal, column: ColumnInfo): boolean => {
  if (kind === "text") return true
  if (kind === "boolean") return column.typeName === "bool"
  // A number that is no float4 would be compared as float8, and equal none.
  return numbers.has(column.typeName) && (column.typeName !== "float4" || Math.fround(Number(text)) === Number(text))
}

const comparison = (context: ClauseContext, expr: A_Expr, column: ColumnInfo, value: Value): Result<Expression> => {
  const cause = obstacle(column)
  if (cause !== undefined) {
    return refuse(context, expr.location, `column ${column.name} can't be compared: ${cause}`)
  }
  if (value.cast !== undefined && !isColumnType(value.cast, column)) {
    const message =
      `a cast to another type than that of column ${column.name} (${column.typeName}) is not supported yet`
    return Either.left(at(value.location, message))
  }
  if (!suits(value, column)) {
    const message =
      `comparing column ${column.name} (${column.typeName}) with the ${value.kind} ${value.text} is not supported yet`
    return Either.left(at(value.location, message))
  }
  return Either.right({
    _tag: "Comparison",
    column,
    literal: { text: value.text, kind: value.kind, location: value.location }
  })
}

const isEquals = (expr: A_Expr): boolean => {
  const [name, ...others] = expr.name ?? []
  return expr.kind === "AEXPR_OP" && others.length === 0 && name !== undefined && "String" in name &&
    name.String.sval === "="
}

const equality = (context: ClauseContext, expr: A_Expr, node: Node): Result<Expression> => {
  const { lexpr, rexpr } = expr
  if (lexpr === undefined || rexpr === undefined) return notYet(context, node)
  const left = columnOf(context, lexpr)
  const right = columnOf(context, rexpr)
  if (left && right) return refuse(context, expr.location, "comparing two columns is not supported yet")
  const column = left ?? right
  const leftValue = constant(context, lexpr)
  const rightValue = constant(context, rexpr)
  if (column !== undefined) {
    return Option.match(Option.orElse(leftValue, () => rightValue), {
      onNone: () => notYet(context, left ? rexpr : lexpr),
      onSome: (value) => comparison(context, expr, column, value)
    })
  }
  if (Option.isSome(leftValue) && Option.isSome(rightValue)) {
    const [a, b] = [leftValue.value, rightValue.value]
    return a.kind === b.kind && a.text === b.text && a.cast === undefined && b.cast === undefined
      ? Either.right({ _tag: "True" })
      : refuse(context, expr.location, "comparing two different constants is not supported yet")
  }
  return notYet(context, Option.isNone(leftValue) ? lexpr : rexpr)
}

/** Reads a clause's syntax tree. Left is the message for what is wrong or not supported. */
export const parse = (context: ClauseContext, node: Node): Result<Expression> => {
  const unknown = unknownName(context, node)
  if (unknown !== undefined) return refuse(context, unknown.location, unknown.message)
  if (isNotBoolean(context, node)) return Either.left("WHERE clause must return a boolean")
  if ("A_Const" in node && node.A_Const.boolval?.boolval) return Either.right({ _tag: "True" })
  if ("A_Expr" in node && isEquals(node.A_Expr)) return equality(context, node.A_Expr, node)
  return notYet(context, node)
}
