/**
 * Clauses with subqueries, made up from a seed, over any tables: `IN`, `NOT IN`, `= ANY`, `<> ALL`, `EXISTS` and their
 * rows, within each other and joined with plain conditions by AND, OR and NOT.
 */
import type { Random } from "./Random.ts"

export type SubqueryType = "int4" | "int8" | "text" | "varchar" | "bool" | "mood"

export interface SubqueryColumn {
  readonly name: string
  readonly type: SubqueryType
  readonly notNull: boolean
}

export interface SubqueryTable {
  /** As SQL: quoted, and with its schema where that is not `public`. */
  readonly name: string
  readonly columns: ReadonlyArray<SubqueryColumn>
}

export interface SubqueryOptions {
  /** How many subqueries may lie within each other: 3 unless told. */
  readonly depth?: number
  /** About how many conditions a clause has at each level: 3 unless told. */
  readonly conditions?: number
}

const literals: Readonly<Record<SubqueryType, ReadonlyArray<string>>> = {
  int4: ["0", "1", "2", "3", "-1"],
  int8: ["0", "1", "2", "3", "10000000000"],
  text: ["'a'", "'b'", "'A'", "''", "'a''b'"],
  varchar: ["'a'", "'b'", "'A'", "''", "'a\\b'"],
  bool: ["true", "false"],
  mood: ["'sad'", "'ok'"]
}

/** A value of the type, as SQL; now and then NULL where that may be. */
export const literalOf = (random: Random, { notNull, type }: SubqueryColumn): string =>
  !notNull && random.chance(0.2) ? "NULL" : random.pick(literals[type])

const families: ReadonlyArray<ReadonlyArray<SubqueryType>> = [["int4", "int8"], ["text", "varchar"], ["bool"], ["mood"]]

const isComparable = (a: SubqueryColumn, b: SubqueryColumn): boolean =>
  families.some((family) => family.includes(a.type) && family.includes(b.type))

/** A table that a condition is about, and how its columns are written. */
interface Scope {
  readonly table: SubqueryTable
  /** What goes before a column's name in the condition: an alias with its dot, or nothing. */
  readonly prefix: string
  /** The same as it is written in a subquery of the condition. */
  readonly outerPrefix: string
}

interface Pair {
  readonly link: SubqueryColumn
  readonly target: SubqueryColumn
}

class Generator {
  private readonly random: Random
  private readonly tables: ReadonlyArray<SubqueryTable>
  private readonly conditions: number
  private aliases = 0

  constructor(random: Random, tables: ReadonlyArray<SubqueryTable>, conditions: number) {
    this.random = random
    this.tables = tables
    this.conditions = conditions
  }

  condition(scope: Scope, depth: number, negated: boolean, size: number): string {
    const { random } = this
    if (size <= 1) return this.leaf(scope, depth, negated)
    if (random.chance(0.2)) return `NOT (${this.condition(scope, depth, !negated, size)})`
    const left = 1 + random.below(size - 1)
    const operator = random.pick(["AND", "OR"])
    return `(${this.condition(scope, depth, negated, left)} ${operator} ${
      this.condition(scope, depth, negated, size - left)
    })`
  }

  private leaf(scope: Scope, depth: number, negated: boolean): string {
    return depth > 0 && this.random.chance(0.65) ? this.subquery(scope, depth, negated) : this.plain(scope)
  }

  private plain({ prefix, table }: Scope): string {
    const { random } = this
    const column = random.pick(table.columns)
    const name = prefix + column.name
    const literal = () => random.pick(literals[column.type])
    switch (random.below(5)) {
      case 0:
        return `${name} IS ${random.pick(["", "NOT "])}NULL`
      case 1:
        return `${name} IN (${literal()}, ${literal()})`
      case 2:
        return column.type === "bool" ? random.pick([name, `NOT ${name}`]) : `${name} <> ${literal()}`
      default:
        return `${name} ${column.type === "bool" ? "=" : random.pick(["=", "<", ">="])} ${literal()}`
    }
  }

  /** One or two pairs of columns that can be compared. */
  private pairs(scope: Scope, inner: SubqueryTable): ReadonlyArray<Pair> {
    const { random } = this
    const all = scope.table.columns.flatMap((link) =>
      inner.columns.filter((target) => isComparable(link, target)).map((target): Pair => ({ link, target }))
    )
    const first = random.pick(all)
    return random.chance(0.25) ? [first, random.pick(all)] : [first]
  }

  private subquery(scope: Scope, depth: number, negated: boolean): string {
    const { random } = this
    const inner = random.pick(this.tables)
    const pairs = this.pairs(scope, inner)
    // EXISTS tells its table's columns from those around it by an alias.
    const exists = random.chance(0.3)
    const aliased = exists || random.chance(0.3)
    const alias = aliased ? `q${++this.aliases}` : ""
    const prefix = aliased ? `${alias}.` : ""
    const from = `FROM ${inner.name}${aliased ? random.pick([" AS ", " "]) + alias : ""}`
    const innerScope: Scope = { table: inner, prefix, outerPrefix: aliased ? prefix : `${inner.name}.` }
    const where = random.chance(0.75)
      ? this.condition(innerScope, depth - 1, false, 1 + random.below(this.conditions))
      : undefined
    if (exists) {
      const equalities = pairs.map(({ link, target }) => {
        const sides = [prefix + target.name, scope.outerPrefix + link.name]
        return (random.chance(0.5) ? sides : sides.reverse()).join(" = ")
      })
      const all = where === undefined ? equalities : [...equalities, where]
      return `${random.pick(["", "NOT "])}EXISTS (SELECT ${random.pick(["1", "*", "NULL"])} ${from} WHERE ${
        all.join(" AND ")
      })`
    }
    const select = `(SELECT ${pairs.map(({ target }) => prefix + target.name).join(", ")} ${from}${
      where === undefined ? "" : ` WHERE ${where}`
    })`
    const links = pairs.map(({ link }) => scope.prefix + link.name)
    const left = links.length === 1 ? links[0]! : `(${links.join(", ")})`
    const clear = links.length === 1 || pairs.every(({ link, target }) => link.notNull && target.notNull)
    const positive = [`${left} IN ${select}`, `${left} = ANY ${select}`, `${left} = SOME ${select}`]
    const negative = [`${left} NOT IN ${select}`, `${left} <> ALL ${select}`, `NOT ${left} IN ${select}`]
    if (clear) return random.pick(random.chance(0.4) ? negative : positive)
    // Rows that may be NULL are not for negation.
    return negated ? random.pick([`(${positive[0]}) IS TRUE`, negative[0]!]) : random.pick(positive)
  }
}

/**
 * A clause on the rows of the first of the tables that is taken. It has a subquery, unless chance will have it
 * otherwise; it may hold for every row or for none.
 */
export const subqueryClause = (
  random: Random,
  tables: ReadonlyArray<SubqueryTable>,
  { conditions = 3, depth = 3 }: SubqueryOptions = {}
): string => {
  const table = tables[0]!
  const scope: Scope = { table, prefix: "", outerPrefix: `${table.name}.` }
  const generator = new Generator(random, tables, conditions)
  return generator.condition(scope, 1 + random.below(depth), false, 1 + random.below(conditions))
}
