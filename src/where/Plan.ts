/**
 * A clause with subqueries in disjunctive form (Electric HTTP protocol §13.2): what the engine keeps its shape by.
 *
 * NOT is pushed to the leaves and AND distributed over OR, both of which hold in three-valued logic too: the clause is
 * TRUE for a row exactly when every leaf of some disjunct is.
 */
import type { Expression, Member, Subquery } from "../domain/Expression.ts"
import { operands } from "./ExpressionType.ts"
import { not } from "./Logic.ts"
import { printExpression } from "./Print.ts"

export type Leaf =
  | {
    readonly _tag: "Member"
    readonly member: Member
    readonly negated: boolean
    /** Number in `dependencies`. */
    readonly dependency: number
  }
  /** True for a row exactly when the expression (which includes any negation) is TRUE. `sql` is it printed. */
  | { readonly _tag: "Plain"; readonly expression: Expression; readonly sql: string }

export interface Plan {
  /** Distinct by meaning (`subqueryIdentity`). */
  readonly dependencies: ReadonlyArray<Subquery>
  /** Distinct leaves. */
  readonly leaves: ReadonlyArray<Leaf>
  /** Each a list of leaf numbers; position p of the protocol (§13.2) is the p-th leaf of all disjuncts in order. */
  readonly disjuncts: ReadonlyArray<ReadonlyArray<number>>
}

/** More disjuncts are refused when a clause is resolved. */
export const MAX_DISJUNCTS = 100
/** More positions are refused as well: a row's tags have as many slots, once for each disjunct. */
export const MAX_POSITIONS = 1000

/** A string that two subqueries share exactly when they are the same shape, and their values the same columns. */
export const subqueryIdentity = (subquery: Subquery): string =>
  JSON.stringify([
    subquery.tableOid,
    subquery.schema,
    subquery.table,
    subquery.only,
    subquery.keyColumns,
    subquery.hasPrimaryKey,
    subquery.targets.map(({ name, type }) => [name, type.oid]),
    subquery.columns.map(({ name, typeOid }) => [name, typeOid]),
    subquery.where?.sql ?? null
  ])

/** Whether a clause has a subquery, at any place that the row's own table is read from. */
export const hasMember = (expression: Expression): boolean =>
  expression._tag === "Member" || operands(expression).some(hasMember)

/** All subqueries of an expression, also those within others. */
export const subqueriesOf = (expression: Expression): ReadonlyArray<Subquery> => {
  if (expression._tag !== "Member") return operands(expression).flatMap(subqueriesOf)
  const { subquery } = expression
  return [subquery, ...subquery.where === undefined ? [] : subqueriesOf(subquery.where.expression)]
}

// --- Size ---

/** How many disjuncts an expression comes to, and how many leaves all of them have together. */
export interface PlanSize {
  readonly disjuncts: number
  readonly positions: number
}

const single: PlanSize = { disjuncts: 1, positions: 1 }

/** The size of `planOf`, found without making it; equal disjuncts count. */
export const planSize = (expression: Expression, negated = false): PlanSize => {
  switch (expression._tag) {
    case "Not":
      return planSize(expression.arg, !negated)
    case "And":
    case "Or": {
      const sizes = expression.args.map((arg) => planSize(arg, negated))
      if ((expression._tag === "Or") !== negated) {
        return sizes.reduce((a, b) => ({
          disjuncts: a.disjuncts + b.disjuncts,
          positions: a.positions + b.positions
        }))
      }
      return sizes.reduce((a, b) => ({
        disjuncts: a.disjuncts * b.disjuncts,
        positions: a.positions * b.disjuncts + b.positions * a.disjuncts
      }))
    }
    default:
      return single
  }
}

/** The message for a clause whose plan, or that of one of its subqueries, would be too large. */
export const tooComplex = (expression: Expression): string | undefined => {
  const subqueries = subqueriesOf(expression)
  if (subqueries.length === 0) return undefined
  for (const condition of [expression, ...subqueries.flatMap(({ where }) => where?.expression ?? [])]) {
    if (!hasMember(condition)) continue
    const { disjuncts, positions } = planSize(condition)
    const excess = disjuncts > MAX_DISJUNCTS
      ? `${disjuncts} disjuncts exceeds limit of ${MAX_DISJUNCTS}`
      : positions > MAX_POSITIONS
      ? `${positions} positions exceeds limit of ${MAX_POSITIONS}`
      : undefined
    if (excess !== undefined) return `WHERE clause too complex for DNF decomposition (${excess})`
  }
  return undefined
}

// --- Plan ---

type Disjuncts = ReadonlyArray<ReadonlyArray<number>>

const product = (a: Disjuncts, b: Disjuncts): Disjuncts => a.flatMap((left) => b.map((right) => [...left, ...right]))

/** Numbers things by a text that says what they are. */
class Numbered<A> {
  readonly all: Array<A> = []
  private readonly numbers = new Map<string, number>()

  of(identity: string, value: () => A): number {
    let number = this.numbers.get(identity)
    if (number === undefined) {
      number = this.all.length
      this.numbers.set(identity, number)
      this.all.push(value())
    }
    return number
  }
}

const makePlan = (root: Expression): Plan => {
  const dependencies = new Numbered<Subquery>()
  const leaves = new Numbered<Leaf>()

  const leaf = (expression: Expression, negated: boolean): number => {
    if (expression._tag === "Member") {
      const { links, nulls, subquery } = expression
      const dependency = dependencies.of(subqueryIdentity(subquery), () => subquery)
      const identity = JSON.stringify(["Member", dependency, nulls, negated, links.map(({ name }) => name)])
      return leaves.of(identity, () => ({ _tag: "Member", member: expression, negated, dependency }))
    }
    const plain = negated ? not(expression) : expression
    const sql = printExpression(plain)
    return leaves.of(sql, () => ({ _tag: "Plain", expression: plain, sql }))
  }

  const disjunctsOf = (expression: Expression, negated: boolean): Disjuncts => {
    switch (expression._tag) {
      case "Not":
        return disjunctsOf(expression.arg, !negated)
      case "And":
      case "Or": {
        const all = expression.args.map((arg) => disjunctsOf(arg, negated))
        return (expression._tag === "Or") !== negated ? all.flat() : all.reduce(product)
      }
      default:
        return [[leaf(expression, negated)]]
    }
  }

  const distinct = new Map<string, ReadonlyArray<number>>()
  for (const disjunct of disjunctsOf(root, false)) {
    const numbers = [...new Set(disjunct)]
    const identity = numbers.toSorted((a, b) => a - b).join(" ")
    if (!distinct.has(identity)) distinct.set(identity, numbers)
  }
  return { dependencies: dependencies.all, leaves: leaves.all, disjuncts: [...distinct.values()] }
}

const plans = new WeakMap<Expression, Plan | undefined>()

/** The plan of a clause that was resolved; `undefined` for one without subqueries. Kept for each expression object. */
export const planOf = (expression: Expression): Plan | undefined => {
  if (plans.has(expression)) return plans.get(expression)
  const plan = hasMember(expression) ? makePlan(expression) : undefined
  plans.set(expression, plan)
  return plan
}
