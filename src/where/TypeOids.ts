/**
 * Oids of the built-in types that Postgres's typing rules name.
 */

export const BOOL = 16
export const INT8 = 20
export const INT2VECTOR = 22
export const INT4 = 23
export const TEXT = 25
export const OIDVECTOR = 30
export const UNKNOWN = 705
export const BPCHAR = 1042
export const VARCHAR = 1043
export const BIT = 1560
export const INTERVAL = 1186
export const NUMERIC = 1700
export const RECORD = 2249
export const RECORD_ARRAY = 2287
export const JSON = 114
export const JSONB = 3802
export const BYTEA = 17

/** Pseudo-types of arguments that may have several types. */
export const ANY = 2276
export const ANYARRAY = 2277
export const ANYELEMENT = 2283
export const ANYNONARRAY = 2776
export const ANYENUM = 3500
export const ANYRANGE = 3831
export const ANYMULTIRANGE = 4537
export const ANYCOMPATIBLE = 5077
export const ANYCOMPATIBLEARRAY = 5078
export const ANYCOMPATIBLENONARRAY = 5079
export const ANYCOMPATIBLERANGE = 5080
export const ANYCOMPATIBLEMULTIRANGE = 4538

/** Arguments that take a value as it is. */
export const takesAnything: ReadonlySet<number> = new Set([
  ANY,
  ANYELEMENT,
  ANYNONARRAY,
  ANYCOMPATIBLE,
  ANYCOMPATIBLENONARRAY
])

/** Arguments that take values of one sort: an array, an enum, a range. */
export const takesSort: ReadonlySet<number> = new Set([
  ANYARRAY,
  ANYENUM,
  ANYRANGE,
  ANYMULTIRANGE,
  ANYCOMPATIBLEARRAY,
  ANYCOMPATIBLERANGE,
  ANYCOMPATIBLEMULTIRANGE
])

/** Whether the type stands for one that is found out from the arguments. */
export const isPolymorphic = (oid: number): boolean => oid !== ANY && (takesAnything.has(oid) || takesSort.has(oid))
