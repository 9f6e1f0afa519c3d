/**
 * Which shapes no longer fit their table: the definition that came down the stream, or that the catalog gives now, is
 * compared with what the shape was made from.
 */
import type { Relation, TableInfo } from "../domain/Relation.ts"
import type { ShapeDefinition } from "../domain/ShapeDefinition.ts"

interface Columns {
  readonly columns: ReadonlyArray<{ readonly name: string; readonly typeOid: number }>
}

/**
 * Whether every column that the shape selects or filters by is there with the type it had, and no column more where all
 * were asked for.
 */
const fitsColumns = (shape: ShapeDefinition, { columns }: Columns): boolean => {
  const has = (name: string, typeOid: number) =>
    columns.some((column) => column.name === name && column.typeOid === typeOid)
  return shape.columns.every(({ name, typeOid }) => has(name, typeOid)) &&
    (shape.where?.columns ?? []).every(({ name, typeOid }) => has(name, typeOid)) &&
    (shape.explicitColumns || columns.length === shape.columns.length)
}

/** Whether a shape can follow a relation: its table, or a partition of it (which may be called otherwise). */
export const fitsRelation = (shape: ShapeDefinition, relation: Relation): boolean =>
  fitsColumns(shape, relation) &&
  (relation.oid !== shape.tableOid || (relation.schema === shape.schema && relation.name === shape.table))

/** Whether a shape is still what its table is, by the catalog. */
export const fitsTable = (shape: ShapeDefinition, table: TableInfo): boolean =>
  fitsColumns(shape, table) && table.schema === shape.schema && table.name === shape.table &&
  (table.primaryKey.length > 0) === shape.hasPrimaryKey &&
  (!shape.hasPrimaryKey || table.primaryKey.join("\u0000") === shape.keyColumns.join("\u0000"))
