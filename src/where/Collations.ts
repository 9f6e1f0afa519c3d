/**
 * Which collation each function works under, by Postgres's rules (manual, 24.2.1): columns and literals bring one, an
 * explicit one wins, and two different ones leave it undefined.
 */
import type { Expression, RowComparison, Subscript } from "../domain/Expression.ts"
import type { Collation, SqlCatalog, SqlType } from "../domain/SqlCatalog.ts"
import { type FunctionCall, type Place, refuse } from "./Analysis.ts"
import { operands, typeOf } from "./ExpressionType.ts"
import { mapOperands } from "./Simplify.ts"

/** What an expression brings along. The higher strength wins; of strength 2 there is no collation, but a conflict. */
interface State {
  readonly strength: 0 | 1 | 2 | 3
  readonly collation: Collation | undefined
}

const NONE: State = { strength: 0, collation: undefined }
const CONFLICT: State = { strength: 2, collation: undefined }
const DEFAULT_OID = 100

const merge = (a: State, b: State): State => {
  if (a.strength !== b.strength) return a.strength > b.strength ? a : b
  if (a.collation === b.collation || a.collation?.oid === b.collation?.oid) return a
  if (a.strength === 3) {
    return refuse(
      undefined,
      `collation mismatch between explicit collations "${a.collation?.name}" and "${b.collation?.name}"`
    )
  }
  // Any other collation of a column goes before the database's.
  if (a.collation?.oid === DEFAULT_OID) return b
  return b.collation?.oid === DEFAULT_OID ? a : CONFLICT
}

/** Comparisons of texts, in all the ways that there are. */
const sensitiveOperators: ReadonlySet<string> = new Set(
  ["=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*", "^@"]
)
const sensitiveFunctions: ReadonlySet<string> = new Set(
  ["lower", "upper", "initcap", "position", "strpos", "replace", "split_part", "starts_with", "like", "notlike"]
)

/** Whether it fails for every row when no collation can be told. */
const isSensitive = (call: FunctionCall): boolean => {
  if (call._tag === "Choice") return call.kind !== "COALESCE"
  if (call._tag === "RowComparison") return true
  if (call.operator !== undefined) {
    return call.operator.schema === "pg_catalog" && sensitiveOperators.has(call.operator.name)
  }
  return call.fn.schema === "pg_catalog" && sensitiveFunctions.has(call.fn.name)
}

/** What the collations are derived with, and who is told of it. */
export interface Derivation {
  readonly sql: SqlCatalog
  readonly placeOf: (call: FunctionCall) => Place
  /** Told of every expression that another one stands for now. */
  readonly replaced: (before: Expression, after: Expression) => void
}

interface Derived {
  readonly expression: Expression
  readonly state: State
}

const implicit = (collation: Collation | undefined): State =>
  collation === undefined ? NONE : { strength: 1, collation }

/** Whether nothing in the expression has a collation: most clauses are like that. */
const isPlain = (expression: Expression): boolean => {
  if (expression._tag === "Member") return expression.subquery.where === undefined
  if (expression._tag === "Collate" || typeOf(expression).collation !== 0) return false
  return operands(expression).every(isPlain)
}

/** The expression with its collations. */
export const deriveCollations = (root: Expression, context: Derivation): Expression =>
  isPlain(root) ? root : derivation(context)(root).expression

const derivation = ({ placeOf, replaced, sql }: Derivation) => {
  const ofType = (type: SqlType): Collation | undefined => sql.collations.get(type.collation)

  /** What an expression of a type brings along, given what its arguments do. */
  const result = (type: SqlType, inputs: State): State => {
    if (type.collation === 0) return NONE
    return inputs.strength > 0 ? inputs : implicit(ofType(type))
  }

  const visit = (before: Expression): Derived => {
    const derived = derive(before)
    if (derived.expression !== before) replaced(before, derived.expression)
    return derived
  }
  const alone = (expression: Expression): Expression => visit(expression).expression
  const all = (expressions: ReadonlyArray<Expression>): readonly [ReadonlyArray<Expression>, State] => {
    let state = NONE
    const derived = expressions.map((expression) => {
      const one = visit(expression)
      state = merge(state, one.state)
      return one.expression
    })
    return [derived, state]
  }
  const under = (call: FunctionCall, { collation, strength }: State) => {
    if (strength === CONFLICT.strength && isSensitive(call)) {
      refuse(placeOf(call), "could not determine which collation to use for string comparison")
    }
    return collation === undefined ? {} : { collation }
  }
  const having = ({ collation }: State) => collation === undefined ? {} : { collation }

  const subscript = (one: Subscript): Subscript =>
    one._tag === "Index"
      ? { _tag: "Index", at: alone(one.at) }
      : { _tag: "Slice", from: one.from && alone(one.from), to: one.to && alone(one.to) }

  const rowComparison = (row: RowComparison): Expression => {
    const fields = row.left.map((left, i) => all([left, row.right[i]!]))
    return {
      ...row,
      left: fields.map(([[left]]) => left!),
      right: fields.map(([[, right]]) => right!),
      collations: fields.map(([, state]) => under(row, state).collation ?? null)
    }
  }

  const caseExpression = (expression: Extract<Expression, { readonly _tag: "Case" }>): Derived => {
    const { otherwise, type, whens } = expression
    const conditions = whens.map(({ condition }) => alone(condition))
    const [[last, ...results], inputs] = all([otherwise, ...whens.map((when) => when.result)])
    const state = result(type, inputs)
    return {
      expression: {
        ...expression,
        whens: conditions.map((condition, i) => ({ condition, result: results[i]! })),
        otherwise: last!,
        ...having(state)
      },
      state
    }
  }

  const derive = (expression: Expression): Derived => {
    switch (expression._tag) {
      case "Column":
        return { expression, state: implicit(expression.collation) }
      case "Constant": {
        const collation = ofType(expression.type)
        return collation === undefined
          ? { expression, state: NONE }
          : { expression: { ...expression, collation }, state: implicit(collation) }
      }
      case "Collate":
        return {
          expression: { ...expression, arg: alone(expression.arg) },
          state: { strength: 3, collation: expression.collation }
        }
      case "Cast": {
        const { expression: arg, state } = visit(expression.arg)
        return { expression: { ...expression, arg }, state: result(expression.type, state) }
      }
      case "Call":
      case "Choice": {
        const [args, inputs] = all(expression.args)
        return {
          expression: { ...expression, args, ...under(expression, inputs) },
          state: result(expression.type, inputs)
        }
      }
      case "Distinct":
      case "NullIf": {
        const [[left, right], inputs] = all(expression.args)
        return {
          expression: { ...expression, args: [left!, right!], ...under(expression, inputs) },
          state: result(expression.type, inputs)
        }
      }
      case "ArrayComparison": {
        const [[left, right], inputs] = all([expression.left, expression.right])
        return { expression: { ...expression, left: left!, right: right!, ...under(expression, inputs) }, state: NONE }
      }
      case "And":
      case "Or":
        return { expression: { ...expression, args: expression.args.map(alone) }, state: NONE }
      case "Not":
      case "NullTest":
      case "BooleanTest":
        return { expression: { ...expression, arg: alone(expression.arg) }, state: NONE }
      case "Case":
        return caseExpression(expression)
      case "ArrayOf": {
        const [elements, inputs] = all(expression.elements)
        const state = result(expression.type, inputs)
        return { expression: { ...expression, elements, ...having(state) }, state }
      }
      case "Subscripted": {
        const { expression: arg, state: inputs } = visit(expression.arg)
        const state = result(expression.type, inputs)
        const subscripts = expression.subscripts.map(subscript)
        return { expression: { ...expression, arg, subscripts, ...having(state) }, state }
      }
      case "RowComparison":
        return { expression: rowComparison(expression), state: NONE }
      case "Opaque": {
        const args = expression.args.map(alone)
        const collation = ofType(expression.type)
        return { expression: { ...expression, args, ...(collation && { collation }) }, state: implicit(collation) }
      }
      case "Member":
        return { expression: mapOperands(expression, alone), state: NONE }
    }
  }
  return visit
}
