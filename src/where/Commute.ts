/**
 * Comparisons with the constant on the right: `1 = id` is `id = 1`, and one shape.
 */
import type { Call, Expression } from "../domain/Expression.ts"
import type { SqlCatalog } from "../domain/SqlCatalog.ts"
import { typeOf } from "./ExpressionType.ts"
import { mapOperands } from "./Simplify.ts"

const commuted: ReadonlyMap<string, string> = new Map([
  ["=", "="],
  ["<>", "<>"],
  ["<", ">"],
  [">", "<"],
  ["<=", ">="],
  [">=", "<="]
])

const swapped = (sql: SqlCatalog, call: Call): Call => {
  const [first, second] = call.args
  const name = call.operator?.schema === "pg_catalog" ? commuted.get(call.operator.name) : undefined
  if (name === undefined || first?._tag !== "Constant" || second === undefined || second._tag === "Constant") {
    return call
  }
  const [left, right] = [typeOf(second).oid, typeOf(first).oid]
  // Also those of enums and arrays, whose operators are for any of them.
  if (left === right && name === call.operator?.name) return { ...call, args: [second, first] }
  const operator = sql.operatorsNamed.get(name)?.find((one) =>
    one.schema === "pg_catalog" && one.left === left && one.right === right
  )
  const fn = operator && sql.functions.get(operator.fn)
  return fn === undefined
    ? call
    : { ...call, fn: fn.ref, operator: { schema: "pg_catalog", name }, args: [second, first] }
}

/** The expression with its comparisons turned round where a constant comes first. */
export const commute = (sql: SqlCatalog, expression: Expression): Expression => {
  const inner = mapOperands(expression, (operand) => commute(sql, operand))
  return inner._tag === "Call" ? swapped(sql, inner) : inner
}
