/**
 * What the parser is spared: clauses that would overflow its stack or keep it busy. Found by one pass over the clause's
 * tokens, which follows the rules of Postgres's scanner for what is text, name, comment or operator. Whatever else is
 * wrong with a clause is left to the parser.
 */
import { at } from "./Location.ts"

/**
 * Most tokens of one expression that may lie within each other: those between two commas, `AND`s or `OR`s, with all
 * that is in brackets there. The parser's stack ends at some four thousand. Analysis refuses expressions that are
 * nested far less deeply; here, `a + b + …` of some hundreds of terms must pass.
 */
const MAX_WEIGHT = 2000

/** Most names, operators and constants: a list of constants of three characters may be as long as the clause. */
const MAX_WORDS = 20_000

/** No operator is longer. The parser's scanner takes time in the square of the length of a run of their characters. */
const MAX_OPERATOR = 63

/** Most characters that the parser's scanner may look at again after a comment's beginning; it does in a run of them. */
const MAX_RESCANNED = 1_000_000

const TOO_LONG = "operator too long (texts that look like one go into a parameter)"

const DOUBLE_QUOTE = 34
const DOLLAR = 36
const QUOTE = 39
const BACKSLASH = 92
const COMMA = 44
const DOT = 46

const BLANK = 1
const OPERATOR = 2
const DIGIT = 4
const LETTER = 8
const OPENS = 16
const CLOSES = 32

const classes = new Uint8Array(128)
const mark = (characters: string, kind: number) => {
  for (let i = 0; i < characters.length; i++) classes[characters.charCodeAt(i)]! |= kind
}
mark(" \t\n\r\f\v", BLANK)
mark("~!@#^&|`?+-*/%<>=", OPERATOR)
mark("0123456789", DIGIT)
mark("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", LETTER)
mark("([", OPENS)
mark(")]", CLOSES)

/** Every character beyond ASCII may be part of a name. */
const classOf = (code: number): number => code < 128 ? classes[code]! : LETTER

/** The place after the next `end`, or the end of the clause. */
const after = (clause: string, end: string, from: number): number => {
  const found = clause.indexOf(end, from)
  return found < 0 ? clause.length : found + end.length
}

/** Words after which another expression begins that doesn't lie in the one before. */
const separators = new Set(["and", "or", "when", "then", "else"])
/** Words that put all that stands before them one level deeper, lists included. */
const deepening = new Set(["join", "union", "intersect", "except"])
const LONGEST_WORD = 9

/** Tokens in one pair of brackets, or between `CASE` and `END`. */
interface Level {
  readonly isCase: boolean
  /** Weight of the expression that is being read. */
  weight: number
  /** Greatest weight of those before it. */
  most: number
  /** Part of the weight that no separator ends. */
  kept: number
  /** `BETWEEN`s whose `AND` is still to come. */
  betweens: number
}

const makeLevel = (isCase: boolean): Level => ({ isCase, weight: 0, most: 0, kept: 0, betweens: 0 })

const dollarTag = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z_0-9\u0080-\uffff]*)?\$/y

class Scanner {
  private readonly outer: Array<Level> = []
  private level = makeLevel(false)
  private words = 0
  private rescanned = 0
  private position = 0
  /** The last token was a text with backslash escapes; one that continues it has them too. */
  private escapes = false
  /** The last token was a dot: what follows is a name, whatever it looks like. */
  private qualified = false

  private readonly clause: string

  constructor(clause: string) {
    this.clause = clause
  }

  /** The message for the first excess. */
  scan(): string | undefined {
    while (this.position < this.clause.length) {
      const start = this.position
      const problem = this.token()
      if (problem !== undefined) return at(start, problem)
      if (this.level.weight > MAX_WEIGHT) return at(start, "the clause is nested too deeply")
      if (this.words > MAX_WORDS) {
        return at(start, `the clause has more than ${MAX_WORDS} names, operators and constants`)
      }
    }
    return undefined
  }

  private token(): string | undefined {
    const code = this.clause.charCodeAt(this.position)
    const kind = classOf(code)
    if (kind === BLANK) {
      this.position++
      return undefined
    }
    if (kind === OPERATOR) return this.operator()
    const { escapes, qualified } = this
    this.escapes = false
    this.qualified = code === DOT
    if (kind === LETTER) this.word(qualified)
    else if (kind === DIGIT || code === QUOTE || code === DOLLAR) this.constant(code, escapes)
    else return this.other(code, kind)
    return undefined
  }

  private constant(code: number, escapes: boolean): void {
    this.words++
    if (code === QUOTE) this.text(escapes)
    else if (code === DOLLAR) this.dollar()
    else this.skip(DIGIT | LETTER)
  }

  private skip(kinds: number): void {
    do this.position++
    while (
      this.position < this.clause.length && (classOf(this.clause.charCodeAt(this.position)) & kinds) !== 0
    )
  }

  /** Brackets, commas, quoted names, and whatever is a token by itself. */
  private other(code: number, kind: number): string | undefined {
    if (code === DOUBLE_QUOTE) {
      this.position = after(this.clause, "\"", this.position + 1)
      this.level.weight++
      this.words++
      return undefined
    }
    // Lists of a statement's other clauses: the parser would read all of them before they are refused.
    if (code === COMMA && this.outer.length === 0) return "syntax error at or near \",\""
    this.position++
    if (kind === OPENS) this.open(false)
    else if (kind === CLOSES) this.closeBracket()
    else if (code === COMMA) this.separate()
    else this.level.weight++
    return undefined
  }

  private open(isCase: boolean): void {
    this.level.weight++
    this.outer.push(this.level)
    this.level = makeLevel(isCase)
  }

  private close(): void {
    const inner = this.level
    this.level = this.outer.pop() ?? makeLevel(false)
    this.level.weight += Math.max(inner.most, inner.weight)
  }

  private closeBracket(): void {
    while (this.level.isCase) this.close()
    this.close()
  }

  private separate(): void {
    this.level.most = Math.max(this.level.most, this.level.weight)
    this.level.weight = this.level.kept
  }

  private operator(): string | undefined {
    const { clause, position } = this
    if (clause.startsWith("--", position)) {
      const end = clause.indexOf("\n", position)
      this.position = end < 0 ? clause.length : end
      return undefined
    }
    if (clause.startsWith("/*", position)) return this.comment()
    this.escapes = false
    this.qualified = false
    this.skip(OPERATOR)
    if (this.position - position > MAX_OPERATOR) return TOO_LONG
    const run = clause.slice(position, this.position)
    const comment = run.search(/--|\/\*/)
    if (comment > 0) this.position = position + comment
    // A run of them may be as many operators.
    this.level.weight += this.position - position
    this.words++
    return undefined
  }

  /** Comments lie within each other. */
  private comment(): string | undefined {
    const marks = /\/\*|\*\//g
    marks.lastIndex = this.position
    let depth = 0
    for (let found = marks.exec(this.clause); found !== null; found = marks.exec(this.clause)) {
      depth += found[0] === "/*" ? 1 : -1
      if (depth === 0) {
        this.position = marks.lastIndex
        return undefined
      }
      if (found[0] === "/*") {
        this.position = found.index
        this.skip(OPERATOR)
        this.rescanned += this.position - found.index
        if (this.rescanned > MAX_RESCANNED) return TOO_LONG
      }
    }
    this.position = this.clause.length
    return undefined
  }

  private word(qualified: boolean): void {
    const { clause, position } = this
    do this.skip(LETTER | DIGIT)
    while (clause.charCodeAt(this.position) === DOLLAR)
    const length = this.position - position
    if (length === 1 && clause.charCodeAt(this.position) === QUOTE && (clause.charCodeAt(position) | 32) === 101) {
      this.text(true)
      return
    }
    const word = length <= LONGEST_WORD && !qualified ? clause.slice(position, this.position).toLowerCase() : ""
    this.words++
    if (word === "and" && this.level.betweens > 0) {
      this.level.betweens--
      this.level.weight++
    } else if (separators.has(word)) this.separate()
    else if (word === "case") this.open(true)
    else if (word === "end" && this.level.isCase) this.close()
    else this.level.weight++
    if (word === "between") this.level.betweens++
    if (deepening.has(word)) this.level.kept++
  }

  private text(escapes: boolean): void {
    const { clause } = this
    if (!escapes) {
      do this.position = after(clause, "'", this.position + 1)
      while (clause.charCodeAt(this.position) === QUOTE)
      return
    }
    this.escapes = true
    for (let i = this.position + 1; i < clause.length; i++) {
      const code = clause.charCodeAt(i)
      if (code === BACKSLASH) i++
      else if (code === QUOTE) {
        this.position = i + 1
        return
      }
    }
    this.position = clause.length
  }

  private dollar(): void {
    dollarTag.lastIndex = this.position
    const tag = dollarTag.exec(this.clause)?.[0]
    if (tag !== undefined) this.position = after(this.clause, tag, this.position + tag.length)
    else this.skip(DIGIT | LETTER)
  }
}

/** The message for a clause that is not for the parser. A short one is no trouble. */
export const excess = (clause: string): string | undefined =>
  clause.length > MAX_WEIGHT ? new Scanner(clause).scan() : undefined
