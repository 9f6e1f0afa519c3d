/**
 * A where clause after parsing and typing: every name looked up, every operator and function chosen, every conversion
 * explicit, every constant in its type's output form. Plain JSON; printed as SQL it means the same whatever the session's
 * search path is.
 */
import type { Collation, FunctionRef, SqlType } from "./SqlCatalog.ts"

/** An operator as it is printed: `OPERATOR(schema.name)`. */
export interface OperatorRef {
  readonly schema: string
  readonly name: string
}

export interface Column {
  readonly _tag: "Column"
  readonly name: string
  readonly type: SqlType
  readonly collation?: Collation
}

export interface Constant {
  readonly _tag: "Constant"
  readonly type: SqlType
  /** In the output form of the type, under the display settings of every session; `null` for NULL. */
  readonly text: string | null
  readonly collation?: Collation
}

/** A function, or an operator, of its arguments. */
export interface Call {
  readonly _tag: "Call"
  readonly fn: FunctionRef
  /** Set when it is written as an operator of one or two operands. */
  readonly operator?: OperatorRef
  readonly args: ReadonlyArray<Expression>
  /** The last argument is an array that stands for the variadic arguments. */
  readonly variadic?: true
  readonly type: SqlType
  /** The collation that the function works under. */
  readonly collation?: Collation
}

export interface Cast {
  readonly _tag: "Cast"
  readonly arg: Expression
  readonly type: SqlType
  /** Type modifier as it is written, such as `[10, 2]` of `numeric(10,2)`. */
  readonly modifiers?: ReadonlyArray<string>
  /**
   * `relabel`: the same bytes; `text`: by output and input function; `call`: by a function; `array`: by casting each
   * element; `domain`, `modifier` and `row`: in ways that only Postgres goes.
   */
  readonly method: "relabel" | "text" | "call" | "array" | "domain" | "modifier" | "row"
  /** Of method `call`, and of the elements for `array` (none there: each is relabelled or goes by its text). */
  readonly fn?: FunctionRef
}

/** `left operator ANY (array)` or `ALL`; `IN (list)` is one. */
export interface ArrayComparison {
  readonly _tag: "ArrayComparison"
  readonly quantifier: "ANY" | "ALL"
  readonly fn: FunctionRef
  readonly operator: OperatorRef
  readonly left: Expression
  readonly right: Expression
  readonly collation?: Collation
}

export interface And {
  readonly _tag: "And"
  readonly args: ReadonlyArray<Expression>
}
export interface Or {
  readonly _tag: "Or"
  readonly args: ReadonlyArray<Expression>
}
export interface Not {
  readonly _tag: "Not"
  readonly arg: Expression
}

/** `IS [NOT] NULL`. */
export interface NullTest {
  readonly _tag: "NullTest"
  readonly arg: Expression
  readonly negated: boolean
}

/** `IS [NOT] TRUE`, `FALSE`, `UNKNOWN`. */
export interface BooleanTest {
  readonly _tag: "BooleanTest"
  readonly arg: Expression
  readonly value: true | false | null
  readonly negated: boolean
}

/** `IS DISTINCT FROM`; `IS NOT DISTINCT FROM` is `Not` of it. `NULLIF` likewise uses an equality. */
export interface Distinct {
  readonly _tag: "Distinct" | "NullIf"
  readonly fn: FunctionRef
  readonly operator: OperatorRef
  readonly args: readonly [Expression, Expression]
  /** Of NULLIF: the type of the first argument. Of `Distinct`: bool. */
  readonly type: SqlType
  readonly collation?: Collation
}

/** Searched CASE; the simple form is written with equalities. */
export interface Case {
  readonly _tag: "Case"
  readonly whens: ReadonlyArray<{ readonly condition: Expression; readonly result: Expression }>
  readonly otherwise: Expression
  readonly type: SqlType
  readonly collation?: Collation
}

/** `COALESCE`, `GREATEST`, `LEAST` of arguments of one type. */
export interface Choice {
  readonly _tag: "Choice"
  readonly kind: "COALESCE" | "GREATEST" | "LEAST"
  readonly args: ReadonlyArray<Expression>
  readonly type: SqlType
  readonly collation?: Collation
}

/** `ARRAY[…]`. */
export interface ArrayOf {
  readonly _tag: "ArrayOf"
  readonly elements: ReadonlyArray<Expression>
  readonly type: SqlType
  /** The elements are arrays themselves: the result has one dimension more. */
  readonly nested: boolean
  readonly collation?: Collation
}

export type Subscript =
  | { readonly _tag: "Index"; readonly at: Expression }
  | { readonly _tag: "Slice"; readonly from: Expression | null; readonly to: Expression | null }

/** `array[i]`, `array[a:b]`, `jsonb['key']`. */
export interface Subscripted {
  readonly _tag: "Subscripted"
  readonly arg: Expression
  readonly subscripts: ReadonlyArray<Subscript>
  readonly type: SqlType
  readonly collation?: Collation
}

/** `ROW(a, b) < ROW(c, d)`, and the other orderings: equality of rows is written out as AND. */
export interface RowComparison {
  readonly _tag: "RowComparison"
  readonly operator: "<" | "<=" | ">" | ">="
  readonly left: ReadonlyArray<Expression>
  readonly right: ReadonlyArray<Expression>
  /** For each pair: the types' `<`, `<=` … and what it works under. */
  readonly fns: ReadonlyArray<FunctionRef>
  readonly collations: ReadonlyArray<Collation | null>
}

/** `expression COLLATE name`. */
export interface Collate {
  readonly _tag: "Collate"
  readonly arg: Expression
  readonly collation: Collation
}

/**
 * What has no form of its own here: pieces of SQL around arguments, each of which is printed in parentheses.
 * Evaluated by Postgres alone. Printed from the parsed clause, never copied from its text.
 */
export interface Opaque {
  readonly _tag: "Opaque"
  /** Pieces of SQL around the arguments: one more than there are arguments. */
  readonly sql: ReadonlyArray<string>
  readonly args: ReadonlyArray<Expression>
  readonly type: SqlType
  readonly collation?: Collation
}

/** The rows of another table that a `Member` is about: a shape of its own. */
export interface Subquery {
  readonly tableOid: number
  readonly schema: string
  readonly table: string
  /** An ordinary table: read with ONLY. */
  readonly only: boolean
  readonly keyColumns: ReadonlyArray<string>
  readonly hasPrimaryKey: boolean
  /** The columns whose values make the set, in the order of `links`. */
  readonly targets: ReadonlyArray<{ readonly name: string; readonly type: SqlType }>
  /** Targets and key: what the inner shape selects, in table order. */
  readonly columns: ReadonlyArray<{ readonly name: string; readonly typeOid: number }>
  /** May itself contain `Member`s. */
  readonly where: Clause | undefined
}

/** Whether the row's links are among a subquery's values. */
export interface Member {
  readonly _tag: "Member"
  readonly links: ReadonlyArray<Column>
  readonly subquery: Subquery
  /** `in`: as IN, three-valued. `exists`: NULL is like nothing, never NULL. */
  readonly nulls: "in" | "exists"
}

export type Expression =
  | Column
  | Constant
  | Call
  | Cast
  | ArrayComparison
  | And
  | Or
  | Not
  | NullTest
  | BooleanTest
  | Distinct
  | Case
  | Choice
  | ArrayOf
  | Subscripted
  | RowComparison
  | Collate
  | Opaque
  | Member

/** A shape's where clause. */
export interface Clause {
  /** The expression as SQL: the clause's identity. */
  readonly sql: string
  /** The columns that it reads. */
  readonly columns: ReadonlyArray<{ readonly name: string; readonly typeOid: number }>
  readonly expression: Expression
}
