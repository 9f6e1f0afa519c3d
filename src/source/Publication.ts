/**
 * Makes tables part of the publication.
 */
import { Context, type Effect } from "effect"
import type { DatabaseUnavailable, SnapshotFailed } from "../domain/Errors.ts"
import type { TableInfo } from "../domain/Relation.ts"

export class Publication extends Context.Tag("shapelog/source/Publication")<Publication, {
  /**
   * Sees to it that changes of the table (and of its partitions) are published with REPLICA IDENTITY FULL. When it returns, every transaction that could
   * have written to the table before that has ended: a snapshot taken now and the stream miss nothing between them. Nothing is altered
   * when nothing needs to be.
   */
  readonly ensure: (table: TableInfo) => Effect.Effect<void, SnapshotFailed | DatabaseUnavailable>
}>() {}
