/**
 * What the parts of the analysis of one clause share: what the clause is read against, what has been found out so far,
 * and how a clause is refused.
 */
import type { Node } from "libpg-query"
import type { Constant, Expression, Member } from "../domain/Expression.ts"
import type { TableName } from "../domain/Identifier.ts"
import type { ColumnInfo, TableInfo } from "../domain/Relation.ts"
import type { SqlCatalog, SqlType } from "../domain/SqlCatalog.ts"
import { operands } from "./ExpressionType.ts"

/** What a clause is read against. */
export interface ClauseContext {
  readonly clause: string
  /** Values of `$1…$n`; `null` for NULL. */
  readonly params: ReadonlyArray<string | null>
  readonly columns: ReadonlyArray<ColumnInfo>
  readonly sql: SqlCatalog
  /** The table's name, which subqueries may qualify its columns with. */
  readonly table?: TableName
  /** Tables that subqueries may be about, by `tableKey`; one that is not among them does not exist. */
  readonly tables?: ReadonlyMap<string, TableInfo>
}

export const tableKey = ({ name, schema }: TableName): string => JSON.stringify([schema, name])

/** The table that the names of columns are looked up in. */
export interface Scope {
  readonly columns: ReadonlyArray<ColumnInfo>
  /** What qualifies them: the alias or the table's name, which the schema may go before. */
  readonly name: string | undefined
  readonly schema: string | undefined
  /** Of a subquery: the scope that it stands in. */
  readonly outer: Scope | undefined
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
  readonly scope: Scope
  /** Where subqueries are written, and whether some of the columns that they compare may be NULL. */
  readonly members: Map<Member, WrittenMember>
  /** Types an expression. */
  readonly analyse: (node: Node | undefined) => Expression
  /** The same analysis for the condition of a subquery. */
  readonly within: (scope: Scope) => Analysis
  /** How many nodes of expressions have been written out more than once. */
  readonly counts: { copied: number }
}

export interface WrittenMember {
  readonly place: Place
  readonly nullable: boolean
}

export interface Unread {
  readonly place: Place
  readonly type: SqlType
  readonly text: string
}

/** Why a clause is refused. Thrown within the room, never beyond it. */
export class Refused {
  /** `null` when the message stands for itself. */
  readonly place: Place | null
  readonly message: string
  constructor(place: Place | null, message: string) {
    this.place = place
    this.message = message
  }
}

export const refuse = (place: Place | null, message: string): never => {
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
  analysis.counts.copied += countNodes(expression, MAX_COPIED) * times
  if (analysis.counts.copied > MAX_COPIED) refuse(place, "the clause is too complex")
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
