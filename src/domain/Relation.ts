/**
 * What we know of a table: `Relation` is what the replication stream says of it at one point of the WAL, `TableInfo` is
 * what the catalog says of it now.
 */

/** One column as a pgoutput Relation message describes it. */
export interface RelationColumn {
  readonly name: string
  readonly typeOid: number
  readonly typeModifier: number
  /** Part of the replica identity. */
  readonly key: boolean
}

/** A pgoutput Relation message: the table's shape at this point of the WAL. Change messages refer to it by oid. */
export interface Relation {
  readonly oid: number
  readonly schema: string
  readonly name: string
  /** `d` default (primary key), `n` nothing, `f` full, `i` index. */
  readonly replicaIdentity: "d" | "n" | "f" | "i"
  readonly columns: ReadonlyArray<RelationColumn>
}

/** One column as the catalog describes it. */
export interface ColumnInfo {
  readonly name: string
  /** 1-based `attnum`. */
  readonly position: number
  readonly typeOid: number
  /** `pg_type.typname` of the column's type, `_int4` for an array of `int4`. */
  readonly typeName: string
  readonly typeSchema: string
  /** `pg_type.typtype`: b base, c composite, d domain, e enum, r range, m multirange, p pseudo. */
  readonly typeKind: string
  /** For an array type (which `int2vector` and `oidvector` are not), the `typname` of its element type. */
  readonly elementType: string | undefined
  /** Declared array dimensions (`attndims`); 0 for a scalar. */
  readonly dimensions: number
  readonly typeModifier: number
  readonly notNull: boolean
  /** `none`, or stored / virtual generated column. */
  readonly generated: "none" | "stored" | "virtual"
  /** 0-based position in the primary key. */
  readonly keyIndex: number | undefined
  /** False when the column's collation calls texts equal that differ bytewise. */
  readonly deterministic: boolean
  /** Oid of the column's collation (`attcollation`), 0 when its type has none. */
  readonly collation: number
}

/** A table or partitioned table as the catalog describes it. */
export interface TableInfo {
  readonly oid: number
  readonly schema: string
  readonly name: string
  readonly kind: "table" | "partitioned"
  /** In `attnum` order, dropped columns left out. */
  readonly columns: ReadonlyArray<ColumnInfo>
  /** Primary key column names in index order; empty when there is none. */
  readonly primaryKey: ReadonlyArray<string>
  /** Oids of every partition below this table, at any depth. */
  readonly partitions: ReadonlyArray<number>
  /** Oids of every partitioned table above this one. */
  readonly ancestors: ReadonlyArray<number>
}

/** The columns that identify a row: the primary key, or every column where there is none. */
export const keyColumns = (table: TableInfo): ReadonlyArray<string> =>
  table.primaryKey.length > 0 ? table.primaryKey : table.columns.map((column) => column.name)
