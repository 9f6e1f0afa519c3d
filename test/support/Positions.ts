/**
 * What the positions of a shape's tags stand for (Electric HTTP protocol §13.2), as SQL: Postgres says of each row which of
 * them hold.
 */
import { Effect, Either, Layer, ManagedRuntime } from "effect"
import { resolve } from "../../src/engine/ResolveDefinition.ts"
import * as Catalog from "../../src/source/Catalog.ts"
import { Database } from "../../src/source/Database.ts"
import { not } from "../../src/where/Logic.ts"
import { type Leaf, planOf } from "../../src/where/Plan.ts"
import { printExpression } from "../../src/where/Print.ts"
import * as Postgres from "./Postgres.ts"

/** A leaf of a plan as a condition. */
export const leafSql = (leaf: Leaf): string =>
  leaf._tag === "Plain" ? leaf.sql : printExpression(leaf.negated ? not(leaf.member) : leaf.member)

/** The condition of each position of a clause on a table; none when the clause has no subquery. */
export type PositionsOf = (params: Readonly<Record<string, string>>) => Promise<ReadonlyArray<string>>

/** Plans clauses as the server does. */
export const make = (db: Pick<Postgres.TestDatabase, "name" | "url">): {
  readonly of: PositionsOf
  readonly close: () => Promise<void>
} => {
  const runtime = ManagedRuntime.make(
    Layer.provideMerge(Catalog.layer, Postgres.poolsOf(db, { poolSize: 2 }))
  )
  const known = new Map<string, ReadonlyArray<string>>()
  const find = Effect.fnUntraced(function*(params: Readonly<Record<string, string>>) {
    const serverVersion = yield* Effect.flatMap(Database, (database) => database.serverVersion)
    const values: Array<string> = []
    for (let i = 1; params[`params[${i}]`] !== undefined; i++) values.push(params[`params[${i}]`]!)
    const found = yield* Effect.either(resolve({
      table: params.table!,
      where: params.where,
      params: values,
      columns: undefined,
      replica: "default",
      log: "full"
    }, serverVersion))
    if (Either.isLeft(found)) throw new Error(`${params.where}: ${JSON.stringify(found.left)}`)
    const { where } = found.right.definition
    const plan = where && planOf(where.expression)
    return plan === undefined ? [] : plan.disjuncts.flat().map((leaf) => leafSql(plan.leaves[leaf]!))
  })
  return {
    of: async (params) => {
      const identity = JSON.stringify(params)
      const positions = known.get(identity) ?? await runtime.runPromise(find(params))
      known.set(identity, positions)
      return positions
    },
    close: () => runtime.dispose()
  }
}
