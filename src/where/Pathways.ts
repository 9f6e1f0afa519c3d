/**
 * Which types convert to which, and how (Postgres's manual, chapter 10): of types alone, without expressions.
 */
import { castKey, type SqlCatalog, type SqlType } from "../domain/SqlCatalog.ts"
import { baseTypeOf } from "./ExpressionType.ts"
import { typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

/** When a conversion is made: by itself, to fit where the value goes, or because somebody wrote it. */
export type Context = "implicit" | "assignment" | "explicit"

export interface Pathway {
  readonly method: "relabel" | "text" | "call" | "array"
  /** Oid of the function of method `call`. */
  readonly fn: number
}

const relabel: Pathway = { method: "relabel", fn: 0 }
const byText: Pathway = { method: "text", fn: 0 }
const byElement: Pathway = { method: "array", fn: 0 }

const allows = (context: Context, castContext: string): boolean =>
  castContext === "i" || context === "explicit" || (context === "assignment" && castContext === "a")

const elementPathway = (sql: SqlCatalog, from: SqlType, to: SqlType, context: Context): Pathway | undefined => {
  // An `oidvector` would take what is meant for real arrays.
  if (to.oid === Oid.OIDVECTOR || to.oid === Oid.INT2VECTOR) return undefined
  if (from.element === undefined || to.element === undefined) return undefined
  return pathway(sql, from.element, to.element, context) === undefined ? undefined : byElement
}

/** How a value of one type becomes one of another, domains being taken for what they are made of. */
export const pathway = (sql: SqlCatalog, source: SqlType, target: SqlType, context: Context): Pathway | undefined => {
  const [from, to] = [baseTypeOf(source), baseTypeOf(target)]
  if (from.oid === to.oid) return relabel
  const cast = sql.casts.get(castKey(from.oid, to.oid))
  if (cast !== undefined) {
    if (!allows(context, cast.context)) return undefined
    if (cast.method === "f") return { method: "call", fn: cast.fn }
    return cast.method === "b" ? relabel : byText
  }
  const elements = elementPathway(sql, from, to, context)
  if (elements !== undefined) return elements
  if (to.category === "S" && context !== "implicit") return byText
  return from.category === "S" && context === "explicit" ? byText : undefined
}

const isComposite = (type: SqlType): boolean => baseTypeOf(type).kind === "c"

/** Whether a value of one type can be used as another, which is no polymorphic one. */
export const isCoercible = (sql: SqlCatalog, from: SqlType, to: SqlType, context: Context): boolean => {
  if (from.oid === to.oid || to.oid === Oid.ANY || from.oid === Oid.UNKNOWN) return true
  if (pathway(sql, from, to, context) !== undefined) return true
  if (from.oid === Oid.RECORD) return isComposite(to)
  if (to.oid === Oid.RECORD) return isComposite(from)
  return to.oid === Oid.RECORD_ARRAY && from.element !== undefined && isComposite(from.element)
}

const better = (sql: SqlCatalog, chosen: SqlType, next: SqlType): SqlType | undefined => {
  if (next.oid === Oid.UNKNOWN || next.oid === chosen.oid) return chosen
  if (chosen.oid === Oid.UNKNOWN) return next
  if (next.category !== chosen.category) return undefined
  const wider = !chosen.preferred && isCoercible(sql, chosen, next, "implicit") &&
    !isCoercible(sql, next, chosen, "implicit")
  return wider ? next : chosen
}

/**
 * The type that values of several types have in common, as in `CASE` or `ARRAY`; the two types that can't be matched
 * when there is none. Only if all have the same domain it is that.
 */
export const commonType = (
  sql: SqlCatalog,
  types: ReadonlyArray<SqlType>
): SqlType | readonly [SqlType, SqlType] => {
  const [first, ...others] = types
  if (first !== undefined && first.oid !== Oid.UNKNOWN && others.every(({ oid }) => oid === first.oid)) return first
  let chosen = first === undefined ? typeByOid(sql, Oid.UNKNOWN) : baseTypeOf(first)
  for (const other of others) {
    const next = better(sql, chosen, baseTypeOf(other))
    if (next === undefined) return [chosen, other]
    chosen = next
  }
  return chosen.oid === Oid.UNKNOWN ? typeByOid(sql, Oid.TEXT) : chosen
}

/** Whether `commonType` found one. */
export const isType = (found: SqlType | readonly [SqlType, SqlType]): found is SqlType => "oid" in found
