/**
 * What a database has of SQL's vocabulary: its types, operators, functions, casts and collations, as the system catalogs
 * name them. Plain data; expressions refer to parts of it.
 */

export interface SqlType {
  readonly oid: number
  readonly schema: string
  /** `pg_type.typname`: `int4`, `_int4`, `mood`. */
  readonly name: string
  /** `pg_type.typtype`: b base, c composite, d domain, e enum, m multirange, p pseudo, r range. */
  readonly kind: string
  /** `pg_type.typcategory`, such as `N` for numbers. */
  readonly category: string
  readonly preferred: boolean
  /** Of a true array type: the type of its elements. */
  readonly element?: SqlType
  /** Of a domain: the type it is made of, which may be a domain again. */
  readonly base?: SqlType
  /** Of a domain: its type modifier, -1 for none. */
  readonly baseModifier?: number
  /** Of a range or multirange: the type of its bounds. */
  readonly subtype?: SqlType
  /** Of an enum: its labels in their order. */
  readonly labels?: ReadonlyArray<string>
  /** `pg_type.typcollation`: 0 when the type has no collation. */
  readonly collation: number
}

/** A function as an expression names it. */
export interface FunctionRef {
  readonly oid: number
  readonly schema: string
  readonly name: string
  /** The C function behind an internal one (`pg_proc.prosrc`), such as `int4eq`; `undefined` for all others. */
  readonly source?: string
  /** NULL for any NULL argument, without being called. */
  readonly strict: boolean
}

export interface SqlFunction {
  readonly ref: FunctionRef
  /** `pg_proc.prokind`: f function, a aggregate, w window function, p procedure. */
  readonly kind: string
  /** `pg_proc.provolatile`: i immutable, s stable, v volatile. */
  readonly volatility: string
  /** Oids of all input arguments; the last one of a variadic function is the array. */
  readonly args: ReadonlyArray<number>
  /** Names of the input arguments, empty for one that has none; `undefined` when none has. */
  readonly names?: ReadonlyArray<string>
  /** How many of the last arguments have defaults. */
  readonly defaults: number
  /** `pg_proc.provariadic`: element type of the variadic array, 0 when there is none. */
  readonly variadic: number
  readonly result: number
  readonly returnsSet: boolean
}

export interface SqlOperator {
  readonly schema: string
  readonly name: string
  /** Oid of the left operand's type, 0 for a prefix operator. */
  readonly left: number
  readonly right: number
  readonly result: number
  /** Oid of the function that does it. */
  readonly fn: number
}

export interface SqlCast {
  readonly from: number
  readonly to: number
  /** `pg_cast.castcontext`: e explicit, a assignment, i implicit. */
  readonly context: string
  /** `pg_cast.castmethod`: f function, i input and output functions, b binary coercible. */
  readonly method: string
  /** Oid of the function of method `f`. */
  readonly fn: number
}

export interface Collation {
  readonly oid: number
  readonly schema: string
  readonly name: string
  /** Texts are ordered as their bytes are. */
  readonly bytewise: boolean
  /** Case and character classes are those of ASCII and leave everything else as it is. */
  readonly asciiCase: boolean
  /** Texts are equal only when their bytes are. */
  readonly deterministic: boolean
}

export interface SqlCatalog {
  readonly types: ReadonlyMap<number, SqlType>
  /** By name, of all schemas. */
  readonly typesNamed: ReadonlyMap<string, ReadonlyArray<SqlType>>
  /** From an element type's oid to its array type. */
  readonly arrays: ReadonlyMap<number, SqlType>
  /** From a range type's oid to its multirange type. */
  readonly multiranges: ReadonlyMap<number, SqlType>
  readonly functions: ReadonlyMap<number, SqlFunction>
  /** By name, of all schemas. */
  readonly functionsNamed: ReadonlyMap<string, ReadonlyArray<SqlFunction>>
  /** By name, of all schemas. */
  readonly operatorsNamed: ReadonlyMap<string, ReadonlyArray<SqlOperator>>
  /** By `castKey`. */
  readonly casts: ReadonlyMap<string, SqlCast>
  /** By oid. 100 is the database's default, as `"default"` in `pg_catalog`. */
  readonly collations: ReadonlyMap<number, Collation>
  /** Schemas in the order in which unqualified names are looked up, `pg_catalog` among them. */
  readonly searchPath: ReadonlyArray<string>
  /** `server_version_num`. */
  readonly version: number
}

export const castKey = (from: number, to: number): string => `${from}>${to}`
