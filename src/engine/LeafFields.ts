/**
 * What a query has to return beside a shape's columns for its rows to be judged: the links of memberships, and whether
 * the other leaves hold.
 */
import { quote } from "../domain/Identifier.ts"
import type { Texts } from "../domain/RowItem.ts"
import type { ShapeDefinition } from "../domain/ShapeDefinition.ts"
import type { Leaf, Plan } from "../where/Plan.ts"
import { printExpression } from "../where/Print.ts"
import { valueKey } from "./ValueSet.ts"

/** A column of the shape's table, as a query of the table knows it. */
export const columnName = ({ schema, table }: Pick<ShapeDefinition, "schema" | "table">, name: string): string =>
  `${quote(schema)}.${quote(table)}.${quote(name)}`

const sqlOf = (leaf: Leaf): string =>
  leaf._tag === "Plain" ? leaf.sql : printExpression(leaf.negated ? { _tag: "Not", arg: leaf.member } : leaf.member)

export interface LeafFields {
  /** SQL of the further fields, after the shape's columns. */
  readonly fields: ReadonlyArray<string>
  /** The key of each leaf's link; empty for a leaf that is no membership. */
  readonly keysOf: (row: Texts) => ReadonlyArray<string>
  /** What the query says of each leaf; false for what it was not asked about. */
  readonly truthsOf: (row: Texts) => ReadonlyArray<boolean>
}

/** `asksMembers`: whether the query is also to say whether memberships hold. */
export const make = (definition: ShapeDefinition, plan: Plan, asksMembers: boolean): LeafFields => {
  const count = definition.columns.length
  const fields: Array<string> = []
  const places = new Map(definition.columns.map(({ name }, i) => [name, i]))
  const placeOf = (name: string): number => {
    let place = places.get(name)
    if (place === undefined) {
      place = count + fields.push(columnName(definition, name)) - 1
      places.set(name, place)
    }
    return place
  }
  const leaves = plan.leaves.map((leaf) => {
    const links = leaf._tag === "Member" ? leaf.member.links : []
    return {
      links: links.map(({ name }) => placeOf(name)),
      types: links.map(({ type }) => type),
      test: leaf._tag === "Member" && !asksMembers ? -1 : count + fields.push(`(${sqlOf(leaf)}) IS TRUE`) - 1
    }
  })
  return {
    fields,
    keysOf: (row) =>
      leaves.map(({ links, types }) => links.length === 0 ? "" : valueKey(types, links.map((place) => row[place]!))),
    truthsOf: (row) => leaves.map(({ test }) => test >= 0 && row[test] === "t")
  }
}
