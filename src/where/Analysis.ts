/**
 * What the parts of the analysis of one clause share: what the clause is read against, what has been found out so far,
 * and how a clause is refused.
 */
import type { Node } from "libpg-query"
import type { Constant, Expression } from "../domain/Expression.ts"
import type { ColumnInfo } from "../domain/Relation.ts"
import type { SqlCatalog, SqlType } from "../domain/SqlCatalog.ts"
import { operands } from "./ExpressionType.ts"

/** What a clause is read against. */
export interface ClauseContext {
  readonly clause: string
  /** Values of `$1…$n`; `null` for NULL. */
  readonly params: ReadonlyArray<string | null>
  readonly columns: ReadonlyArray<ColumnInfo>
  readonly sql: SqlCatalog
}

/** Place of a node in the parsed statement, in bytes; `undefined` for the clause's beginning. */
export type Place = number | undefined

/** A literal or parameter as it was written, which has no type of its own. */
export interface Written {
  readonly place: Place
  /** Number of the parameter. */
  readonly param?: number
}

/** Whatever calls a function that may look at a collation. */
export type FunctionCall = Extract<
  Expression,
  { readonly _tag: "Call" | "ArrayComparison" | "Distinct" | "NullIf" | "Choice" | "RowComparison" }
>

export interface Analysis extends ClauseContext {
  /** Literals of type `unknown`. */
  readonly written: Map<Constant, Written>
  /** Typed literals in the form in which they were written, which may be none of the type. */
  readonly unread: Map<Expression, Unread>
  /** Where operators and functions are written. */
  readonly places: Map<FunctionCall, Place>
  /** The type of a parameter's first use. */
  readonly paramTypes: Map<number, SqlType>
  /** Types an expression. */
  readonly analyse: (node: Node | undefined) => Expression
  /** How many nodes of expressions have been written out more than once. */
  copied: number
}

export interface Unread {
  readonly place: Place
  readonly type: SqlType
  readonly text: string
}

/** Why a clause is refused. Thrown within the room, never beyond it. */
export class Refused {
  readonly place: Place
  readonly message: string
  constructor(place: Place, message: string) {
    this.place = place
    this.message = message
  }
}

export const refuse = (place: Place, message: string): never => {
  throw new Refused(place, message)
}

const MAX_COPIED = 50_000

const countNodes = (expression: Expression, limit: number): number => {
  let count = 1
  for (const operand of operands(expression)) {
    if (count > limit) return count
    count += countNodes(operand, limit - count)
  }
  return count
}

/**
 * Notes that an expression is written out more than once: where that is nested, the clause would grow with each level
 * by a factor.
 */
export const copies = (analysis: Analysis, expression: Expression, times: number, place: Place): void => {
  analysis.copied += countNodes(expression, MAX_COPIED) * times
  if (analysis.copied > MAX_COPIED) refuse(place, "the clause is too complex")
}

/** The texts of a list of name parts; `*` for what is no name. */
export const words = (nodes: ReadonlyArray<Node> = []): Array<string> =>
  nodes.map((node) => "String" in node ? node.String.sval ?? "" : "*")

/** The place of a node; `undefined` when it has none. */
export const placeOf = (node: Node | undefined): Place => {
  const [content] = node === undefined ? [] : Object.values(node)
  const location = content !== undefined && "location" in content ? content.location : undefined
  return typeof location === "number" && location >= 0 ? location : undefined
}
