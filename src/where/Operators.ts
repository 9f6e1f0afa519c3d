/**
 * Applies operators to typed operands.
 */
import type { ArrayComparison, Call, Expression } from "../domain/Expression.ts"
import type { FunctionRef, SqlFunction, SqlOperator, SqlType } from "../domain/SqlCatalog.ts"
import { type Analysis, type Place, refuse } from "./Analysis.ts"
import { coerce, coerceTo } from "./Coerce.ts"
import { baseTypeOf, typeOf } from "./ExpressionType.ts"
import { requireFixed } from "./Immutable.ts"
import { chooseOperator } from "./Overload.ts"
import { resolvePolymorphic, type Signature } from "./Polymorphic.ts"
import { type Name, nameFrom, nameOfType, typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

/** The parts of an operator's name as it is written. */
export type OperatorName = ReadonlyArray<string>

const nameOf = (path: OperatorName, place: Place): Name =>
  nameFrom(path) ?? refuse(place, `unknown binary operator ${path.join(".")}`)

interface Chosen {
  readonly operator: SqlOperator
  readonly fn: SqlFunction
  readonly signature: Signature
}

const choose = (analysis: Analysis, path: OperatorName, types: ReadonlyArray<SqlType>, place: Place): Chosen => {
  const { sql } = analysis
  const { name, schema } = nameOf(path, place)
  const choice = chooseOperator(sql, schema, name, types)
  if (choice === undefined) {
    return refuse(place, `unknown ${types.length === 1 ? "unary" : "binary"} operator ${path.join(".")}`)
  }
  if (choice._tag !== "Chosen") return refuse(place, "Could not select an operator overload")
  const operator = choice.candidate.item
  const signature = resolvePolymorphic(sql, { args: choice.candidate.args, result: operator.result }, types)
  const fn = sql.functions.get(operator.fn)
  if (signature === undefined || fn === undefined) return refuse(place, "Could not select an operator overload")
  if (fn.returnsSet) return refuse(place, `operator ${name} returns a set`)
  return { operator, fn, signature }
}

const check = ({ fn, operator }: Chosen, args: ReadonlyArray<Expression>, place: Place): void =>
  requireFixed(fn, args.map((arg) => baseTypeOf(typeOf(arg))), place, { explicit: false, operator: operator.name })

/** The operator of its one or two operands. */
export const operate = (
  analysis: Analysis,
  path: OperatorName,
  operands: ReadonlyArray<Expression>,
  place: Place
): Call => {
  const found = choose(analysis, path, operands.map(typeOf), place)
  const args = operands.map((operand, i) =>
    coerce(analysis, operand, typeByOid(analysis.sql, found.signature.args[i]!), "implicit", place)
  )
  check(found, args, place)
  const call: Call = {
    _tag: "Call",
    fn: found.fn.ref,
    operator: { schema: found.operator.schema, name: found.operator.name },
    args,
    type: typeByOid(analysis.sql, found.signature.result)
  }
  analysis.places.set(call, place)
  return call
}

/** A comparison that some other construct is made of. */
export interface Comparison {
  readonly fn: FunctionRef
  readonly operator: { readonly schema: string; readonly name: string }
  readonly args: readonly [Expression, Expression]
}

/** As `operate`, for a binary operator that has to yield a boolean. */
export const compare = (
  analysis: Analysis,
  path: OperatorName,
  left: Expression,
  right: Expression,
  place: Place,
  construct: string
): Call & Comparison => {
  const call = operate(analysis, path, [left, right], place)
  const [a, b] = call.args
  if (call.type.oid !== Oid.BOOL || a === undefined || b === undefined || call.operator === undefined) {
    return refuse(place, `${construct} requires operator that returns bool`)
  }
  const comparison = { ...call, operator: call.operator, args: [a, b] as const }
  analysis.places.set(comparison, place)
  return comparison
}

/** `left operator ANY (array)`, or `ALL`. */
export const compareArray = (
  analysis: Analysis,
  path: OperatorName,
  quantifier: "ANY" | "ALL",
  left: Expression,
  right: Expression,
  place: Place
): ArrayComparison => {
  const { sql } = analysis
  const array = typeOf(right)
  const unknown = array.oid === Oid.UNKNOWN
  const element = unknown ? array : baseTypeOf(array).element
  if (element === undefined) return refuse(place, `argument of ${quantifier} must be an array`)
  const found = choose(analysis, path, [typeOf(left), element], place)
  if (found.signature.result !== Oid.BOOL) return refuse(place, "ANY/ALL requires operator that returns bool")
  const [leftType, rightType] = found.signature.args.map((oid) => typeByOid(sql, oid))
  // A polymorphic operator takes the array as it is.
  const target = Oid.isPolymorphic(rightType!.oid) ? array : sql.arrays.get(rightType!.oid)
  const coerced = target && coerceTo(analysis, right, target, "implicit", place)
  if (coerced === undefined || typeOf(coerced).oid === Oid.UNKNOWN) {
    return refuse(place, `no array type for type ${nameOfType(rightType!)}`)
  }
  const arg = coerce(analysis, left, leftType!, "implicit", place)
  requireFixed(found.fn, [baseTypeOf(typeOf(arg)), baseTypeOf(element)], place, {
    explicit: false,
    operator: found.operator.name
  })
  const comparison: ArrayComparison = {
    _tag: "ArrayComparison",
    quantifier,
    fn: found.fn.ref,
    operator: { schema: found.operator.schema, name: found.operator.name },
    left: arg,
    right: coerced
  }
  analysis.places.set(comparison, place)
  return comparison
}
