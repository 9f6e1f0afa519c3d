/**
 * As much of SQL as the engine prints for conditions over text columns, evaluated as Postgres does, with NULL for unknown: comparisons,
 * AND, OR, NOT, memberships in subselects and in arrays, `strange(column)`. Anything else throws.
 */

export type SqlRow = Readonly<Record<string, string | null>>
/** All rows of a table that the query sees. */
export type Tables = (name: string) => Iterable<SqlRow>

type Value = string | boolean | null
interface Scope {
  readonly tables: Tables
  /** Rows by alias; the row of the query itself has none. */
  readonly rows: ReadonlyMap<string, SqlRow>
}
type Term = (scope: Scope) => Value
type Texts = ReadonlyArray<Value>

/** What `strange` of `SmallSqlCatalog` says of a value; `error` is one that it fails on. */
export const strange = (value: string | null): boolean | null => value === null ? null : value.startsWith("s")

const not = (value: Value): Value => value === null ? null : !value
const and = (values: ReadonlyArray<Value>): Value =>
  values.includes(false) ? false : values.includes(null) ? null : true
const or = (values: ReadonlyArray<Value>): Value => values.includes(true) ? true : values.includes(null) ? null : false
const equal = (a: Texts, b: Texts): Value =>
  and(a.map((one, i) => one === null || b[i]! === null ? null : one === b[i]))

const TOKEN = /\s*("(?:[^"]|"")*"|'(?:[^']|'')*'|::|[A-Za-z_]\w*|[().,*[\]]|<>|=)/y

class Parser {
  private readonly tokens: Array<string> = []
  private at = 0
  private readonly sql: string

  constructor(sql: string) {
    this.sql = sql
    const text = sql.trimEnd()
    TOKEN.lastIndex = 0
    while (TOKEN.lastIndex < text.length) {
      const match = TOKEN.exec(text)
      if (!match) throw this.unknown()
      this.tokens.push(match[1]!)
    }
  }

  private unknown(): Error {
    return new Error(
      `the simulated database does not understand ${this.sql} (token ${this.at}, ${this.tokens[this.at]})`
    )
  }
  private peek(...tokens: ReadonlyArray<string>): boolean {
    return tokens.every((token, i) => this.tokens[this.at + i] === token)
  }
  private take(...tokens: ReadonlyArray<string>): boolean {
    if (!this.peek(...tokens)) return false
    this.at += tokens.length
    return true
  }
  private expect(...tokens: ReadonlyArray<string>): void {
    if (!this.take(...tokens)) throw this.unknown()
  }

  whole(): Term {
    const term = this.or()
    if (this.at < this.tokens.length) throw this.unknown()
    return term
  }

  private or(): Term {
    const terms = [this.and()]
    while (this.take("OR")) terms.push(this.and())
    return terms.length === 1 ? terms[0]! : (scope) => or(terms.map((term) => term(scope)))
  }

  private and(): Term {
    const terms = [this.not()]
    while (this.take("AND")) terms.push(this.not())
    return terms.length === 1 ? terms[0]! : (scope) => and(terms.map((term) => term(scope)))
  }

  private not(): Term {
    if (!this.take("NOT")) return this.comparison()
    const term = this.not()
    return (scope) => not(term(scope))
  }

  private comparison(): Term {
    const left = this.operand()
    if (this.take("IS", "TRUE")) return (scope) => left(scope)[0] === true
    if (this.take("IS", "NULL")) return (scope) => left(scope)[0] === null
    if (!this.take("OPERATOR", "(", "pg_catalog", ".")) return (scope) => left(scope)[0]!
    const isEqual = this.take("=")
    if (!isEqual) this.expect("<>")
    this.expect(")")
    if (isEqual && this.take("ANY", "(")) {
      const list = this.peek("SELECT") ? this.select() : this.array()
      this.expect(")")
      return (scope) => {
        const value = left(scope)
        return or([...list(scope)].map((each) => equal(value, each)))
      }
    }
    const right = this.operand()
    return (scope) => {
      const value = equal(left(scope), right(scope))
      return isEqual ? value : not(value)
    }
  }

  /** One value, or those of a row. */
  private operand(): (scope: Scope) => Texts {
    if (this.take("ROW", "(")) {
      const terms: Array<(scope: Scope) => Texts> = []
      do terms.push(this.operand())
      while (this.take(","))
      this.expect(")")
      return (scope) => terms.map((term) => term(scope)[0]!)
    }
    if (this.take("(")) {
      const term = this.or()
      this.expect(")")
      return (scope) => [term(scope)]
    }
    for (const [word, value] of [["true", true], ["false", false], ["NULL", null]] as const) {
      if (this.take(word)) return () => [value]
    }
    if (this.tokens[this.at]?.startsWith("'")) {
      const text = this.literal()
      return () => [text]
    }
    const name = this.name()
    if (!this.take("(")) {
      const column = name[name.length - 1]!
      const alias = name.length === 2 ? name[0]! : ""
      return ({ rows }) => {
        const value = rows.get(alias)?.[column]
        if (value === undefined) throw new Error(`there is no column ${name.join(".")}`)
        return [value]
      }
    }
    if (name[name.length - 1] !== "strange") throw this.unknown()
    const argument = this.operand()
    this.expect(")")
    return (scope) => [strange(argument(scope)[0] as string | null)]
  }

  private name(): ReadonlyArray<string> {
    const names: Array<string> = []
    do {
      const token = this.tokens[this.at++] ?? ""
      if (!/^["A-Za-z_]/.test(token)) throw this.unknown()
      names.push(token.startsWith("\"") ? token.slice(1, -1).replaceAll("\"\"", "\"") : token)
    } while (this.take("."))
    return names
  }

  /** A constant with its type. */
  private literal(): string {
    const token = this.tokens[this.at++] ?? ""
    if (!token.startsWith("'")) throw this.unknown()
    this.expect("::")
    this.name()
    return token.slice(1, -1).replaceAll("''", "'")
  }

  private elements(): ReadonlyArray<string> {
    const text = this.literal()
    this.expect("[", "]")
    return [...text.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((match) => match[1]!.replace(/\\(.)/g, "$1"))
  }

  private array(): (scope: Scope) => Iterable<Texts> {
    const list = this.elements().map((text) => [text])
    return () => list
  }

  private select(): (scope: Scope) => Iterable<Texts> {
    this.expect("SELECT")
    if (this.take("*", "FROM", "ROWS", "FROM", "(")) {
      const columns: Array<ReadonlyArray<string>> = []
      do {
        this.expect("pg_catalog", ".", "unnest", "(")
        columns.push(this.elements())
        this.expect(")")
      } while (this.take(","))
      this.expect(")")
      const rows = columns[0]!.map((_, i) => columns.map((column) => column[i]!))
      return () => rows
    }
    const targets: Array<(scope: Scope) => Texts> = []
    do targets.push(this.operand())
    while (this.take(","))
    this.expect("FROM")
    this.take("ONLY")
    const name = this.name()
    this.expect("AS")
    const alias = this.name()[0]!
    const where: Term = this.take("WHERE") ? this.or() : () => true
    return (scope) =>
      [...scope.tables(name[name.length - 1]!)].flatMap((row) => {
        const inner = { ...scope, rows: new Map([...scope.rows, [alias, row]]) }
        return where(inner) === true ? [targets.map((target) => target(inner)[0]!)] : []
      })
  }
}

const parsed = new Map<string, Term>()

/** What a condition is for a row; `undefined` stands for no condition. */
export const evaluate = (sql: string | undefined, row: SqlRow, tables: Tables): Value => {
  if (sql === undefined) return true
  let term = parsed.get(sql)
  if (!term) parsed.set(sql, term = new Parser(sql).whole())
  return term({ tables, rows: new Map([["", row]]) })
}
