/**
 * The vocabulary of a test database, read as the engine reads it.
 */
import { Effect } from "effect"
import type { SqlCatalog } from "../../src/domain/SqlCatalog.ts"
import { decode, SELECT_SQL_CATALOG } from "../../src/source/SqlCatalogQuery.ts"
import type { Queryable, QueryError } from "./Postgres.ts"

export const sqlCatalogOf = (db: Queryable): Effect.Effect<SqlCatalog, QueryError> =>
  Effect.map(db.query(SELECT_SQL_CATALOG), ([row]) => decode(row!.catalog!))
