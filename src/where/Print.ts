/**
 * A where clause as SQL: printed from what was understood of it, never from what was written.
 */
import { quote, quoteLiteral } from "../domain/Identifier.ts"
import type { Where } from "../domain/ShapeDefinition.ts"

/**
 * The operator is named with its schema: an `=` of the user's own would not be the one that rows of the stream are
 * tested with.
 */
export const print = (where: Where): string =>
  `${quote(where.column)} OPERATOR(pg_catalog.=) ${quoteLiteral(where.value)}::${where.type}`
