/**
 * What an engine's replication is called in the database: everything that belongs to one stream id.
 */
import { Either } from "effect"

export interface StreamNames {
  readonly publication: string
  /** Also names the advisory lock that its one active engine holds. */
  readonly slot: string
}

/** Postgres cuts longer names off silently, which would make two ids one. */
const MAX_LENGTH = 63
const prefix = "shapelog_publication_"

/**
 * The names for a stream id, which is an identifier: ASCII letters (folded to lower case), digits and underscores,
 * which is what a slot name may consist of. Left says what is wrong with it.
 */
export const streamNames = (streamId: string): Either.Either<StreamNames, string> => {
  if (!/^[A-Za-z0-9_]+$/.test(streamId)) {
    return Either.left(
      `a replication stream id consists of letters, digits and underscores, not ${JSON.stringify(streamId)}`
    )
  }
  if (prefix.length + streamId.length > MAX_LENGTH) {
    return Either.left(
      `a replication stream id has at most ${MAX_LENGTH - prefix.length} characters, not ${streamId.length}`
    )
  }
  const id = streamId.toLowerCase()
  return Either.right({ publication: `${prefix}${id}`, slot: `shapelog_slot_${id}` })
}
