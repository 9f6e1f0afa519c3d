/**
 * A where clause as text, made into what a shape's definition keeps: parsed, its names looked up and its literals read
 * as values of their type.
 */
import { Effect, Option } from "effect"
import { quote } from "../domain/Identifier.ts"
import type { ColumnInfo } from "../domain/Relation.ts"
import type { Where } from "../domain/ShapeDefinition.ts"
import { evident } from "./Canonical.ts"
import * as Grammar from "./Grammar.ts"
import { at } from "./Location.ts"
import { equalityKey } from "./NormalForm.ts"
import { type ClauseContext, type Comparison, parse } from "./Parse.ts"

/**
 * The output form of a text as a value of the column's type, without its modifier: a literal is neither cut nor rounded
 * before it is compared. `None` for a text that is no value of the type.
 */
export type Canonical<E> = (column: ColumnInfo, text: string) => Effect.Effect<Option.Option<string>, E>

/**
 * Words that date and time types read as a time near now, wherever they stand: a shape would be another one with every
 * request.
 */
const relative = /now|today|tomorrow|yesterday/i
const temporal = /^_?(date|time|ts)/

const literalValue = Effect.fnUntraced(function*<E>(canonical: Canonical<E>, { column, literal }: Comparison) {
  const refuse = (cause: string) =>
    Effect.fail(at(literal.location, `invalid syntax for type ${column.typeName}: ${literal.text}${cause}`))
  if (literal.text.includes("\0")) return yield* refuse(" (null byte)")
  const builtin = column.typeSchema === "pg_catalog"
  if (builtin && temporal.test(column.typeName) && relative.test(literal.text)) {
    return yield* refuse(" (relative to the present)")
  }
  const known = builtin ? evident(column.typeName, literal.text) : undefined
  if (known !== undefined) return known
  return Option.getOrUndefined(yield* canonical(column, literal.text)) ?? (yield* refuse(""))
})

/** The clause, or `undefined` when it holds for every row. Fails with the message for a clause that is refused. */
export const resolve = Effect.fnUntraced(function*<E>(context: ClauseContext, canonical: Canonical<E>) {
  const expression = yield* parse(context, yield* Grammar.parse(context.clause))
  if (expression._tag === "True") return undefined
  const { column } = expression
  const text = yield* literalValue(canonical, expression)
  const where: Where = {
    _tag: "Equality",
    column: column.name,
    typeOid: column.typeOid,
    type: `${quote(column.typeSchema)}.${quote(column.typeName)}`,
    value: equalityKey(column.typeOid, text)
  }
  return where
})
