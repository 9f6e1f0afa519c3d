/**
 * What the database's catalog says of tables, cached until somebody has reason to doubt it.
 */
import { Context, type Effect, type Option, Schema } from "effect"
import type { DatabaseUnavailable } from "../domain/Errors.ts"
import type { TableInfo } from "../domain/Relation.ts"

/** The text is not a value of the type. */
export class InvalidLiteral extends Schema.TaggedError<InvalidLiteral>("shapelog/source/InvalidLiteral")("InvalidLiteral", {
  type: Schema.String,
  text: Schema.String
}) {
  override get message() {
    return `invalid syntax for type ${this.type}: ${this.text}`
  }
}

export class Catalog extends Context.Tag("shapelog/source/Catalog")<Catalog, {
  /** An ordinary or partitioned table by name; `None` for anything else. Cached. */
  readonly table: (schema: string, name: string) => Effect.Effect<Option.Option<TableInfo>, DatabaseUnavailable>
  /** The same by oid. Cached. */
  readonly tableByOid: (oid: number) => Effect.Effect<Option.Option<TableInfo>, DatabaseUnavailable>
  /** Forgets what is known of a table (and of the partitioned tables above it): the next question asks the database. */
  readonly forget: (oid: number) => Effect.Effect<void>
  /**
   * The text in the output form of a column's type (`01` of int4 is `1`), under the display settings of every session: what the column's
   * text would be for this value.
   */
  readonly canonical: (typeOid: number, typeModifier: number, text: string) => Effect.Effect<string, InvalidLiteral | DatabaseUnavailable>
}>() {}
