/**
 * Places in a where clause, as error messages name them.
 */

/** What stands before the clause when it is parsed. The parser counts the place of a syntax error from here. */
export const PREFIX = "SELECT 1 WHERE "

/** What stands before an order when it is parsed. */
export const ORDER_PREFIX = "SELECT 1 ORDER BY "

/** A message with its place. */
export const at = (location: number, message: string): string => `At location ${location}: ${message}`

/**
 * From the place of a syntax tree's node, in bytes of the whole statement, to characters of the clause. Nodes that have
 * no place of their own (-1, or none for 0) are at the clause's beginning.
 */
export const inClause = (clause: string, location: number | undefined, prefix = PREFIX): number => {
  const bytes = Buffer.from(clause).subarray(0, Math.max((location ?? 0) - prefix.length, 0))
  return [...bytes.toString()].length
}
