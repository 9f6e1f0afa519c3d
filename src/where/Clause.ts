/**
 * A where clause as text, made into what a shape's definition keeps: parsed, typed, its constants computed, and
 * accepted by Postgres.
 */
import { Effect, Either, Option } from "effect"
import type { Constant, Expression } from "../domain/Expression.ts"
import { doesNotExist, type TableName } from "../domain/Identifier.ts"
import type { TableInfo } from "../domain/Relation.ts"
import { analyse, type Analysed, messageAt } from "./Analyse.ts"
import { type ClauseContext, tableKey } from "./Analysis.ts"
import { commute } from "./Commute.ts"
import { constantParts, foldEvident, replaceParts, unreadWithin, valueOf } from "./Fold.ts"
import * as Grammar from "./Grammar.ts"
import { tooComplex } from "./Plan.ts"
import { printExpression, printTemplate } from "./Print.ts"
import { toClause } from "./Simplify.ts"
import { nameOfType } from "./SqlNames.ts"

/** Questions to the database. */
export interface Ask<E> {
  /** Output texts of constant expressions; Left is the message of the one that failed. */
  readonly evaluate: (
    sql: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<Either.Either<string | null, string>>, E>
  /** Whether the table accepts a condition. */
  readonly check: (sql: string) => Effect.Effect<Either.Either<void, string>, E>
  /** A table that a subquery names. Where this can't be asked, no table exists. */
  readonly table?: (name: TableName) => Effect.Effect<Option.Option<TableInfo>, E>
}

export interface ResolveContext extends Omit<ClauseContext, "tables"> {
  /** Whatever `check` depends on, such as the table and its version: what was accepted in one scope is not in another. */
  readonly scope: string
}

/** How many templates that Postgres has accepted are remembered, and how long they may be, in characters. */
const MAX_TEMPLATES = 10_000
const MAX_TEMPLATE_LENGTH = 4096

/** Templates by scope, the least recently used first. */
const accepted = new Set<string>()

const isAccepted = (template: string): boolean => {
  if (!accepted.delete(template)) return false
  accepted.add(template)
  return true
}

const accept = (template: string): void => {
  if (template.length > MAX_TEMPLATE_LENGTH) return
  accepted.add(template)
  if (accepted.size <= MAX_TEMPLATES) return
  for (const oldest of accepted) {
    accepted.delete(oldest)
    return
  }
}

/**
 * Has every clause be accepted anew: something that one of them needs is not there any more, which no scope tells.
 */
export const forgetAccepted = (): void => accepted.clear()

/** Longer values of expressions are not written in their place, in characters. */
const MAX_FOLDED = 16_384
/** How long all values together may be: a literal may be longer as it is printed, such as `1e1000`. */
const MAX_TEXTS = 1_000_000

const noParts: ReadonlyMap<Expression, Constant> = new Map()

const evaluateAll = Effect.fnUntraced(function*<E>(
  { sql }: ResolveContext,
  parts: ReadonlyArray<Expression>,
  unread: Analysed["unread"],
  ask: Ask<E>
) {
  if (parts.length === 0) return noParts
  const answers = yield* ask.evaluate(parts.map(printExpression))
  const values = new Map<Expression, Constant>()
  let total = 0
  for (const [i, part] of parts.entries()) {
    const value = valueOf(sql, part, answers[i] ?? Either.left("no answer"))
    if (value === undefined) continue
    const length = value.text?.length ?? 0
    total += length
    if (length <= MAX_FOLDED || unread.has(part)) values.set(part, value)
  }
  if (total > MAX_TEXTS) return yield* Effect.fail("the clause's constants are too large")
  return values
})

/** The first literal that is none of its type. */
const refuseUnread = (
  { clause }: ResolveContext,
  { unread }: Analysed,
  literals: ReadonlySet<Expression>,
  values: ReadonlyMap<Expression, Constant>
) => {
  for (const [literal, { place, text, type }] of unread) {
    if (!literals.has(literal) || values.has(literal)) continue
    return Effect.fail(messageAt(clause, place, `invalid syntax for type ${nameOfType(type)}: ${text}`))
  }
  return Effect.void
}

interface Folded {
  readonly expression: Expression
  /** Some constant part has no value, such as a division by zero. */
  readonly failing: boolean
}

/** Reads the literals and computes what is constant: mostly without a question, else mostly with one. */
const fold = Effect.fnUntraced(function*<E>(context: ResolveContext, analysed: Analysed, ask: Ask<E>) {
  const failures = new Set<string>()
  let { unread } = analysed
  let expression = foldEvident(analysed.expression, unread)
  for (;;) {
    const parts = constantParts(expression, unread).filter((part) => !failures.has(printExpression(part)))
    // Also a literal that has no say has to be one.
    const within = unreadWithin(parts, unread)
    const others = [...unread.keys()].filter((literal) => !within.has(literal))
    if (parts.length + others.length === 0) return { expression, failing: failures.size > 0 } satisfies Folded
    const values = yield* evaluateAll(context, [...parts, ...others], unread, ask)
    const failed = new Set(parts.filter((part) => !values.has(part)))
    // What failed may be a literal. Anything else is left to Postgres, which may never come to compute it.
    const literals = unreadWithin(failed, unread)
    const single = [...literals].filter((literal) => !failed.has(literal))
    const texts = yield* evaluateAll(context, single, unread, ask)
    yield* refuseUnread(context, analysed, new Set([...literals, ...others]), new Map([...values, ...texts]))
    for (const part of failed) failures.add(printExpression(replaceParts(part, texts)))
    unread = nothingUnread
    // Values may make constants of what is around them.
    expression = foldEvident(replaceParts(expression, new Map([...values, ...texts])), unread)
  }
})

const nothingUnread: Analysed["unread"] = new Map()

/** What a clause that was checked for the table stays checked for. */
export const scopeOf = ({ columns, oid }: TableInfo): string =>
  `${oid} ${columns.map(({ name, typeOid }) => `${typeOid} ${name}`).join("\u0000")}`

/** The tables of a clause's subqueries; the first that does not exist is the end of it. */
const tablesOf = Effect.fnUntraced(function*<E>(names: ReadonlyArray<TableName>, ask: Ask<E>) {
  const tables = new Map<string, TableInfo>()
  for (const name of names) {
    const found = ask.table === undefined ? Option.none() : yield* ask.table(name)
    if (Option.isNone(found)) return yield* Effect.fail(doesNotExist(name))
    tables.set(tableKey(name), found.value)
  }
  return tables
})

/**
 * The clause, or `undefined` when it holds for every row. Fails with the message (Electric HTTP protocol §14.6) for a
 * clause that is refused.
 */
export const resolve = Effect.fnUntraced(function*<E>(context: ResolveContext, ask: Ask<E>) {
  const node = yield* Grammar.parse(context.clause)
  const tables = yield* tablesOf(yield* Grammar.tablesOf(node), ask)
  const analysed = yield* analyse({ ...context, tables }, node)
  const { expression, failing } = yield* fold(context, analysed, ask)
  const clause = toClause(commute(context.sql, expression))
  if (clause === undefined) return undefined
  const excess = tooComplex(clause.expression)
  if (excess !== undefined) return yield* Effect.fail(excess)
  const scope = [context.scope, ...Array.from(tables.values(), scopeOf)].join("\u0001")
  const template = `${scope} ${failing ? clause.sql : printTemplate(clause.expression)}`
  if (!isAccepted(template)) {
    const answer = yield* ask.check(clause.sql)
    if (Either.isLeft(answer)) return yield* Effect.fail(answer.left)
    accept(template)
  }
  return clause
})
