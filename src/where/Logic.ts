/**
 * AND, OR and NOT, without nesting that means nothing.
 */
import type { Expression } from "../domain/Expression.ts"

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

export const not = (arg: Expression): Expression => arg._tag === "Not" ? arg.arg : { _tag: "Not", arg }
