/**
 * Types of arguments and results that are found out from the arguments: `anyelement`, `anyarray` and the others
 * (Postgres's manual, 36.2.5).
 */
import type { SqlCatalog, SqlType } from "../domain/SqlCatalog.ts"
import { baseTypeOf } from "./ExpressionType.ts"
import { commonType, isCoercible, isType } from "./Pathways.ts"
import { typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

export interface Signature {
  /** Oids of the arguments' types. */
  readonly args: ReadonlyArray<number>
  readonly result: number
}

/** What the types of one family stand for. */
interface Found {
  element?: SqlType
  array?: SqlType
  range?: SqlType
  multirange?: SqlType
}

/** Notes what one of them stands for; false when it was another type before. */
const note = (found: Found, key: keyof Found, type: SqlType): boolean => {
  const known = found[key]
  found[key] = type
  return known === undefined || known.oid === type.oid
}

const rangeOf = (sql: SqlCatalog, multirange: SqlType): SqlType | undefined => {
  for (const [range, { oid }] of sql.multiranges) if (oid === multirange.oid) return sql.types.get(range)
  return undefined
}

/** The ranges of a family from its multiranges, or false when they don't belong together. */
const matchRanges = (sql: SqlCatalog, found: Found): boolean => {
  if (found.multirange === undefined) return found.range === undefined || found.range.kind === "r"
  if (found.multirange.kind !== "m") return false
  const range = rangeOf(sql, found.multirange)
  if (range === undefined) return false
  return note(found, "range", range) && range.kind === "r"
}

const keys: ReadonlyMap<number, keyof Found> = new Map([
  [Oid.ANYELEMENT, "element"],
  [Oid.ANYNONARRAY, "element"],
  [Oid.ANYENUM, "element"],
  [Oid.ANYARRAY, "array"],
  [Oid.ANYRANGE, "range"],
  [Oid.ANYMULTIRANGE, "multirange"]
])

/** The types that all have to be the same; `undefined` when they are not. */
const firstFamily = (
  sql: SqlCatalog,
  declared: ReadonlyArray<number>,
  actual: ReadonlyArray<SqlType>
): Found | undefined => {
  const found: Found = {}
  for (const [i, oid] of declared.entries()) {
    const key = keys.get(oid)
    const type = actual[i]!
    if (key === undefined || type.oid === Oid.UNKNOWN) continue
    if (!note(found, key, key === "element" ? type : baseTypeOf(type))) return undefined
  }
  if (found.array !== undefined) {
    const { element } = found.array
    if (element === undefined || !note(found, "element", element)) return undefined
  }
  if (!matchRanges(sql, found)) return undefined
  if (found.range?.subtype !== undefined && !note(found, "element", found.range.subtype)) return undefined
  const { element } = found
  if (element !== undefined) {
    if (declared.includes(Oid.ANYNONARRAY) && baseTypeOf(element).element !== undefined) return undefined
    if (declared.includes(Oid.ANYENUM) && element.kind !== "e") return undefined
  }
  return found
}

const compatibleKeys: ReadonlyMap<number, keyof Found> = new Map([
  [Oid.ANYCOMPATIBLE, "element"],
  [Oid.ANYCOMPATIBLENONARRAY, "element"],
  [Oid.ANYCOMPATIBLEARRAY, "array"],
  [Oid.ANYCOMPATIBLERANGE, "range"],
  [Oid.ANYCOMPATIBLEMULTIRANGE, "multirange"]
])

/** The types that have to have a common type; `undefined` when they have none. */
const secondFamily = (
  sql: SqlCatalog,
  declared: ReadonlyArray<number>,
  actual: ReadonlyArray<SqlType>
): Found | undefined => {
  const found: Found = {}
  const types: Array<SqlType> = []
  for (const [i, oid] of declared.entries()) {
    const key = compatibleKeys.get(oid)
    const type = actual[i]!
    if (key === undefined || type.oid === Oid.UNKNOWN) continue
    if (key === "element") types.push(type)
    else if (key === "array") {
      const { element } = baseTypeOf(type)
      if (element === undefined) return undefined
      types.push(element)
    } else if (!note(found, key, baseTypeOf(type))) return undefined
  }
  if (!matchRanges(sql, found)) return undefined
  const subtype = found.range?.subtype
  if (subtype !== undefined) types.push(subtype)
  if (types.length === 0) return found
  const common = commonType(sql, types)
  if (!isType(common) || types.some((type) => !isCoercible(sql, type, common, "implicit"))) return undefined
  // The range itself is never converted.
  if (subtype !== undefined && subtype.oid !== common.oid) return undefined
  if (declared.includes(Oid.ANYCOMPATIBLENONARRAY) && baseTypeOf(common).element !== undefined) return undefined
  return { ...found, element: common }
}

/** Whether arguments of these types can go together into parameters of those. */
export const isConsistent = (
  sql: SqlCatalog,
  declared: ReadonlyArray<number>,
  actual: ReadonlyArray<SqlType>
): boolean => firstFamily(sql, declared, actual) !== undefined && secondFamily(sql, declared, actual) !== undefined

const lookUp = (sql: SqlCatalog, found: Found, key: keyof Found): SqlType | undefined => {
  if (found[key] !== undefined) return found[key]
  const element = found.element ?? typeByOid(sql, Oid.TEXT)
  if (key === "element") return element
  if (key === "array") return sql.arrays.get(element.oid)
  return key === "multirange" && found.range !== undefined ? sql.multiranges.get(found.range.oid) : undefined
}

/**
 * The types that a call's arguments and result have, given those of its actual arguments. Arguments of unknown type take
 * what the others are, or `text`. `undefined` when the arguments don't fit together.
 */
export const resolvePolymorphic = (
  sql: SqlCatalog,
  { args, result }: Signature,
  actual: ReadonlyArray<SqlType>
): Signature | undefined => {
  if (!args.some(Oid.isPolymorphic)) return { args, result }
  const first = firstFamily(sql, args, actual)
  const second = first && secondFamily(sql, args, actual)
  if (first === undefined || second === undefined) return undefined
  const typeFor = (oid: number): number | undefined => {
    const compatible = compatibleKeys.get(oid)
    if (compatible !== undefined) return lookUp(sql, second, compatible)?.oid
    const key = keys.get(oid)
    return key === undefined ? oid : lookUp(sql, first, key)?.oid
  }
  const resolved: Array<number> = []
  for (const [i, oid] of args.entries()) {
    // Of the first family a known argument stays what it is.
    const type = keys.has(oid) && actual[i]!.oid !== Oid.UNKNOWN ? oid : typeFor(oid)
    if (type === undefined) return undefined
    resolved.push(type)
  }
  const resultType = typeFor(result)
  return resultType === undefined ? undefined : { args: resolved, result: resultType }
}
