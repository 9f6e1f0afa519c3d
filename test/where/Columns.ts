/**
 * Columns as the catalog describes them: made up, or read from a test database.
 */
import { Effect } from "effect"
import type { ColumnInfo, Relation } from "../../src/domain/Relation.ts"
import type { Queryable } from "../support/Postgres.ts"

export const column = (
  name: string,
  typeName: string,
  typeOid: number,
  rest: Partial<ColumnInfo> = {}
): ColumnInfo => ({
  name,
  position: 1,
  typeOid,
  typeName,
  typeSchema: "pg_catalog",
  typeKind: "b",
  elementType: undefined,
  dimensions: 0,
  typeModifier: -1,
  notNull: false,
  generated: "none",
  keyIndex: undefined,
  deterministic: true,
  // text, bpchar, varchar and text[]
  collation: [25, 1042, 1043, 1009].includes(typeOid) ? 100 : 0,
  ...rest
})

export const relation = (columns: ReadonlyArray<ColumnInfo>): Relation => ({
  oid: 1,
  schema: "public",
  name: "t",
  replicaIdentity: "d",
  columns: columns.map(({ name, typeModifier, typeOid }) => ({ name, typeModifier, typeOid, key: false }))
})

/** The columns of a table, from Postgres. */
export const columnsOf = (db: Queryable, table: string) =>
  Effect.map(
    db.query(
      `SELECT a.attname AS name, a.attnum AS position, a.atttypid AS oid, t.typname AS type, n.nspname AS schema, t.typtype AS kind,
         e.typname AS element, a.attndims AS dims, a.atttypmod AS modifier,
         a.attnotnull AS "notNull", coalesce(c.collisdeterministic, true) AS deterministic,
         a.attcollation AS collation
       FROM pg_attribute a
       JOIN pg_type t ON t.oid = a.atttypid
       JOIN pg_namespace n ON n.oid = t.typnamespace
       LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
       LEFT JOIN pg_collation c ON c.oid = a.attcollation
       WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
      [table]
    ),
    (rows): ReadonlyArray<ColumnInfo> =>
      rows.map((row) =>
        column(row.name!, row.type!, Number(row.oid), {
          position: Number(row.position),
          typeSchema: row.schema!,
          typeKind: row.kind!,
          elementType: row.element ?? undefined,
          dimensions: Number(row.dims),
          typeModifier: Number(row.modifier),
          notNull: row.notNull === "t",
          deterministic: row.deterministic === "t",
          collation: Number(row.collation)
        })
      )
  )
