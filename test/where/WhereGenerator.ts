/**
 * Well-typed boolean expressions over the columns of a generated table, as SQL text; the same ones for the same seed.
 */
import { quote, quoteLiteral } from "../../src/domain/Identifier.ts"
import type { Random } from "./generator/Random.ts"
import { groups, practical, type Rule } from "./generator/Rules.ts"
import type { GeneratedTable } from "./generator/Schema.ts"
import { types } from "./generator/Types.ts"

export { makeRandom, type Random } from "./generator/Random.ts"
export { type GeneratedTable, makeTable, SETUP } from "./generator/Schema.ts"

export interface GeneratedClause {
  readonly sql: string
  /** Values of `$1…$n`, every one of which is used. */
  readonly params: ReadonlyArray<string>
}

const MAX_DEPTH = 4
const MAX_LENGTH = 2500

const groupsOf = new Map<string, Array<ReadonlyArray<Rule>>>()
for (const group of groups) {
  const { result } = group[0]!
  groupsOf.set(result, [...groupsOf.get(result) ?? [], group])
}

/** Spellings of the same text. */
const spell = (random: Random, text: string): string => {
  if (random.chance(0.85)) return quoteLiteral(text)
  const hexadecimal = (character: string, width: number) => character.codePointAt(0)!.toString(16).padStart(width, "0")
  const spellings = [
    () => `E'${[...text].map((one) => one < " " || "'\\".includes(one) ? `\\x${hexadecimal(one, 2)}` : one).join("")}'`,
    () => `U&'${[...text].map((one) => `\\+${hexadecimal(one, 6)}`).join("")}'`,
    () => `$q$${text}$q$`,
    () => `'${text.replaceAll("'", "''").slice(0, 1)}'\n  '${text.replaceAll("'", "''").slice(1)}'`
  ]
  const spelling = random.pick(spellings)
  // Cut between two characters.
  return text.startsWith("'") || /^[\ud800-\udfff]/.test(text) || text.includes("$") ? quoteLiteral(text) : spelling()
}

class Generator {
  readonly params: Array<string> = []
  private readonly byType = new Map<string, Array<string>>()
  private readonly random: Random

  constructor(random: Random, table: GeneratedTable) {
    this.random = random
    for (const { name, type } of table.columns) {
      const stands = types[type]!.standsFor
      for (const of of stands === undefined || stands === type ? [type] : [type, stands]) {
        this.byType.set(of, [...this.byType.get(of) ?? [], name])
      }
    }
  }

  expression(type: string, depth: number): string {
    if (depth === 0) return this.leaf(type)
    const rule = this.rule(type)
    if (rule === undefined) return this.leaf(type)
    const sql = this.expand(rule.template, depth - 1)
    return this.random.chance(0.02) ? `(/* a ( ' */ ${sql} -- ' b\n)` : `(${sql})`
  }

  /** Comparisons of columns with constants, one or a few of them. */
  practical(columns: GeneratedTable["columns"], depth: number): string {
    if (depth > 0) {
      const left = this.practical(columns, depth - 1)
      if (this.random.chance(0.15)) return `NOT (${left})`
      return `(${left}) ${this.random.pick(["AND", "OR"])} (${this.practical(columns, depth - 1)})`
    }
    const { type } = this.random.pick(columns)
    const of = types[type]!.standsFor ?? type
    const templates = practical(of).filter((template) =>
      types[of]!.standsFor === undefined || !template.includes("{lit")
    )
    return this.expand(this.random.pick(templates), 0)
  }

  private rule(type: string): Rule | undefined {
    const choices = groupsOf.get(type) ?? []
    for (let attempt = 0; attempt < 12 && choices.length > 0; attempt++) {
      const group = this.random.pick(choices)
      const rule = this.random.pick(group)
      const holes = [...rule.template.matchAll(/\{(\w+)\}/g)].map(([, hole]) => hole!)
      const present = holes.filter((hole) => this.byType.has(hole))
      if (holes.some((hole) => types[hole]?.standsFor !== undefined && !this.byType.has(hole))) continue
      // Mostly what is about columns of the table.
      if (present.length > 0 || attempt > 3 || this.random.chance(0.15)) return rule
    }
    return undefined
  }

  private leaf(type: string): string {
    const columns = this.byType.get(type)
    if (columns !== undefined && (types[type]!.standsFor !== undefined || this.random.chance(0.7))) {
      return this.column(this.random.pick(columns))
    }
    return this.constant(type)
  }

  private column(name: string): string {
    return /^[a-z]\d*$/.test(name) && this.random.chance(0.9) ? name : quote(name)
  }

  private value(type: string): string {
    return this.random.pick(types[type]!.values)
  }

  private param(value: string): string {
    this.params.push(value)
    return `$${this.params.length}`
  }

  private constant(type: string): string {
    const { element, sql } = types[type]!
    if (this.random.chance(0.05)) return `NULL::${sql}`
    const value = this.value(type)
    if (this.random.chance(0.1)) return `${this.param(value)}::${sql}`
    if (this.random.chance(0.4)) return this.bare(type, value) ?? `${spell(this.random, value)}::${sql}`
    if (this.random.chance(0.2)) return `CAST(${spell(this.random, value)} AS ${sql})`
    return element === undefined && this.random.chance(0.3)
      ? `${sql} ${spell(this.random, value)}`
      : `${spell(this.random, value)}::${sql}`
  }

  /** Constants that have the type without saying so. */
  private bare(type: string, value: string): string | undefined {
    if (type === "bool") return this.random.pick(["TRUE", "false"])
    const suits = type === "int4" ? /^-?\d{1,9}$/ : type === "numeric" ? /^-?\d+\.\d+$/ : /^-?\d{11,18}$/
    if (!["int4", "int8", "numeric"].includes(type) || !suits.test(value)) return undefined
    return value.startsWith("-") ? `(${value})` : value
  }

  /** Constants that take their type from where they stand. */
  private raw(type: string): string {
    const of = types[type]!.standsFor === undefined ? type : "text"
    const value = this.value(of)
    if (this.random.chance(0.1)) return this.param(value)
    return (this.random.chance(0.5) ? this.bare(of, value) : undefined) ?? spell(this.random, value)
  }

  private expand(template: string, depth: number): string {
    let sql = ""
    for (let i = 0; i < template.length;) {
      const end = template[i] === "'" ? template.indexOf("'", i + 1) : template[i] === "{" ? closing(template, i) : i
      const piece = template.slice(i, end + 1)
      sql += piece.startsWith("{") ? this.hole(piece.slice(1, -1), depth) : piece
      i = end + 1
    }
    return sql
  }

  private hole(hole: string, depth: number): string {
    if (hole.startsWith("| ")) {
      const choice = this.random.pick(hole.slice(2).split(" "))
      if (/^[A-Z_]+$/.test(choice)) return choice.replaceAll("_", " ")
      return choice.startsWith("{") ? this.expand(choice, depth) : choice
    }
    const [form, type = ""] = hole.split(" ")
    if (form === "lit") return this.constant(type)
    if (form === "raw") return this.raw(type)
    // Not every branch is as deep as it may be.
    return this.expression(hole, this.random.chance(0.3) ? 0 : depth)
  }
}

/** The place of the brace that closes the one here. */
const closing = (template: string, from: number): number => {
  let depth = 0
  for (let i = from; i < template.length; i++) {
    if (template[i] === "{") depth++
    else if (template[i] === "}" && --depth === 0) return i
  }
  throw new Error(`a brace is not closed in ${template}`)
}

/** One clause; a few in a hundred raise an error whatever the row. */
export const makeClause = (random: Random, table: GeneratedTable): GeneratedClause => {
  for (;;) {
    const generator = new Generator(random, table)
    const sql = random.chance(0.25)
      ? generator.practical(table.columns, random.below(3))
      : generator.expression("bool", 1 + random.below(MAX_DEPTH))
    if (sql.length <= MAX_LENGTH) return { sql, params: generator.params }
  }
}
