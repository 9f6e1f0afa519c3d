/**
 * What a where clause may depend on: the row and nothing else. Functions have to be immutable. Those that are called
 * stable only because they look at the session's display settings or time zone are accepted, since these are the same
 * in all our sessions.
 */
import type { SqlFunction, SqlType } from "../domain/SqlCatalog.ts"
import { type Place, refuse } from "./Analysis.ts"
import { nameOfType } from "./SqlNames.ts"

/** In `pg_catalog`, by name. */
const fixedBySettings: ReadonlySet<string> = new Set([
  "timestamptz_pl_interval",
  "timestamptz_mi_interval",
  "interval_pl_timestamptz",
  // Of the output texts of their arguments.
  "concat",
  "concat_ws",
  "textanycat",
  "anytextcat"
])

/** Conversions between dates and times with and without a zone, for those who write them. */
const conversions: ReadonlySet<string> = new Set(["date", "time", "timetz", "timestamp", "timestamptz"])
const temporal: ReadonlySet<string> = new Set(["date", "time", "timetz", "timestamp", "timestamptz"])

const isConversion = (fn: SqlFunction, args: ReadonlyArray<SqlType>): boolean =>
  conversions.has(fn.ref.name) && args.length === 1 && args.every((type) => temporal.has(type.name))

/** Whether a function's result follows from its arguments. `explicit`: it was written, as a call or a cast. */
const isFixed = (fn: SqlFunction, args: ReadonlyArray<SqlType>, explicit: boolean): boolean => {
  if (fn.volatility === "i") return true
  if (fn.volatility !== "s" || fn.ref.schema !== "pg_catalog") return false
  if (fixedBySettings.has(fn.ref.name)) return args.every((type) => hasFixedTexts(type))
  return explicit && isConversion(fn, args)
}

/**
 * Refuses a function whose result may change between two calls. One of Postgres's own volatile functions is refused in
 * the protocol's words.
 */
export const requireFixed = (
  fn: SqlFunction,
  args: ReadonlyArray<SqlType>,
  place: Place,
  { explicit, operator }: { readonly explicit: boolean; readonly operator?: string }
): void => {
  if (isFixed(fn, args, explicit)) return
  if (fn.volatility === "v" && fn.ref.schema === "pg_catalog") {
    refuse(place, `unknown or unsupported function ${fn.ref.name}/${args.length}`)
  }
  const types = args.map(nameOfType).join(", ")
  refuse(
    place,
    operator === undefined
      ? `function ${fn.ref.name}(${types}) is not immutable`
      : `operator ${operator}(${types}) is not immutable`
  )
}

/** Types whose texts are names of things in the database, which are created and dropped. */
const named: ReadonlySet<string> = new Set([
  "regproc",
  "regprocedure",
  "regoper",
  "regoperator",
  "regclass",
  "regtype",
  "regrole",
  "regnamespace",
  "regconfig",
  "regdictionary",
  "regcollation",
  "regdatabase",
  "aclitem"
])

const inner = (type: SqlType): SqlType | undefined => type.element ?? type.base ?? type.subtype

/** Whether texts and values of the type mean each other for ever. */
export const hasFixedTexts = (type: SqlType): boolean => {
  if (type.schema === "pg_catalog" && named.has(type.name)) return false
  const part = inner(type)
  return part === undefined || hasFixedTexts(part)
}

/** Refuses conversions to and from text of a type whose texts are names. */
export const requireFixedTexts = (type: SqlType, place: Place, what: string): void => {
  if (!hasFixedTexts(type)) refuse(place, `${what} ${nameOfType(type)} is not immutable`)
}

/**
 * Words that date and time types read as a time near now, wherever they stand: a shape would be another one with every
 * request.
 */
const relative = /now|today|tomorrow|yesterday/i

/** Whether a literal of the type would be read as a time near now. */
export const isRelative = (type: SqlType, text: string): boolean => mayBeRelative(type) && relative.test(text)

const mayBeRelative = (type: SqlType): boolean => {
  // Any field may be a date.
  if (type.kind === "c") return true
  if (type.schema === "pg_catalog" && temporal.has(type.name)) return true
  const part = inner(type)
  return part !== undefined && mayBeRelative(part)
}
