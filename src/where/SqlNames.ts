/**
 * Finds what names mean in a database's vocabulary, and names it in messages.
 */
import type { Collation, SqlCatalog, SqlType } from "../domain/SqlCatalog.ts"

/** A type by its oid, of one that the catalog itself refers to. */
export const typeByOid = (sql: SqlCatalog, oid: number): SqlType => {
  const type = sql.types.get(oid)
  return type ??
    { oid, schema: "pg_catalog", name: `type ${oid}`, kind: "p", category: "X", preferred: false, collation: 0 }
}

/** A type's name in messages: `int4`, `text[]`. */
export const nameOfType = (type: SqlType): string =>
  type.element === undefined ? type.name : `${nameOfType(type.element)}[]`

/** The place of a schema among those that unqualified names are looked up in; -1 for one that is not. */
export const pathPosition = (sql: SqlCatalog, schema: string): number => sql.searchPath.indexOf(schema)

/** The first of what has the name, in the order in which schemas are searched; or what is in the schema that is named. */
const first = <A extends { readonly schema: string }>(
  sql: SqlCatalog,
  all: ReadonlyArray<A>,
  schema: string | undefined
): A | undefined => {
  if (schema !== undefined) return all.find((one) => one.schema === schema)
  if (all.length === 1 && all[0]!.schema === "pg_catalog") return all[0]
  for (const candidate of sql.searchPath) {
    const found = all.find((one) => one.schema === candidate)
    if (found !== undefined) return found
  }
  return undefined
}

/** A qualified or unqualified name. `undefined` for a longer one. */
export interface Name {
  readonly schema: string | undefined
  readonly name: string
}
export const nameFrom = (path: ReadonlyArray<string>): Name | undefined => {
  const [name, schema, ...more] = path.toReversed()
  return name === undefined || more.length > 0 ? undefined : { schema, name }
}

export const findType = (sql: SqlCatalog, { name, schema }: Name): SqlType | undefined =>
  first(sql, sql.typesNamed.get(name) ?? [], schema)

const collationsByName = new WeakMap<SqlCatalog, ReadonlyMap<string, ReadonlyArray<Collation>>>()

const collationsNamed = (sql: SqlCatalog): ReadonlyMap<string, ReadonlyArray<Collation>> => {
  const known = collationsByName.get(sql)
  if (known !== undefined) return known
  const names = new Map<string, Array<Collation>>()
  for (const collation of sql.collations.values()) {
    names.set(collation.name, [...names.get(collation.name) ?? [], collation])
  }
  collationsByName.set(sql, names)
  return names
}

export const findCollation = (sql: SqlCatalog, { name, schema }: Name): Collation | undefined =>
  first(sql, collationsNamed(sql).get(name) ?? [], schema)
