/**
 * AND, OR and NOT, without nesting that means nothing.
 */
import type { Expression } from "../domain/Expression.ts"
import { typeOf } from "./ExpressionType.ts"

const flat = (tag: "And" | "Or", args: ReadonlyArray<Expression>): ReadonlyArray<Expression> =>
  args.some((arg) => arg._tag === tag) ? args.flatMap((arg) => arg._tag === tag ? arg.args : [arg]) : args

const join = (tag: "And" | "Or", args: ReadonlyArray<Expression>): Expression => {
  const all = flat(tag, args)
  return all.length === 1 ? all[0]! : { _tag: tag, args: all }
}

/** All of one or more conditions. */
export const and = (args: ReadonlyArray<Expression>): Expression => join("And", args)

/** Any of one or more conditions. */
export const or = (args: ReadonlyArray<Expression>): Expression => join("Or", args)

/** Types of values that are no rows: of a row, `IS NULL` and `IS NOT NULL` may both be false. */
const plainKinds: ReadonlySet<string> = new Set(["b", "e", "r", "m"])

/** The negation, which a test takes upon itself. */
export const not = (arg: Expression): Expression => {
  switch (arg._tag) {
    case "Not":
      return arg.arg
    case "BooleanTest":
      return { ...arg, negated: !arg.negated }
    case "NullTest":
      return plainKinds.has(typeOf(arg.arg).kind) ? { ...arg, negated: !arg.negated } : { _tag: "Not", arg }
    default:
      return { _tag: "Not", arg }
  }
}
