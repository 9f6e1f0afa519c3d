/**
 * Subqueries: `IN (SELECT …)` and `EXISTS (SELECT …)` as membership of a row's columns in the values of another table
 * (Electric HTTP protocol §13.1).
 */
import type { Node, SelectStmt, SubLink } from "libpg-query"
import type { Column, Expression, Member, Subquery } from "../domain/Expression.ts"
import { doesNotExist } from "../domain/Identifier.ts"
import { keyColumns, type TableInfo } from "../domain/Relation.ts"
import type { SqlType } from "../domain/SqlCatalog.ts"
import { isBuiltin, plainColumn, shareKeys } from "./Access.ts"
import { columnOf, findColumn, type FoundColumn } from "./AnalyseValues.ts"
import { type Analysis, type Place, placeOf, refuse, type Scope, tableKey, words } from "./Analysis.ts"
import { coerceTo } from "./Coerce.ts"
import { deriveCollations } from "./Collations.ts"
import { BOOL, operands, typeOf } from "./ExpressionType.ts"
import { and, not } from "./Logic.ts"
import { normalFormOf } from "./NormalForm.ts"
import { compare } from "./Operators.ts"
import { toClause } from "./Simplify.ts"
import { nameOfType } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

const ONLY_IN = "only `value IN (SELECT ...)` sublinks are supported right now"
const LEFT_SIDE =
  "currently, left side of `IN (SELECT ...)` can only be a column reference or a list of column references"
const NO_CLAUSES = "SELECT statement must not contain any clauses"
const SINGLE_TABLE = "Expected a single table reference"
const PLAIN_COLUMN = "Expected a plain column reference"
const CONDITIONS_ONLY = "subqueries can only be conditions that are joined by AND, OR and NOT"
const NO_CORRELATION =
  "EXISTS needs a condition that compares a column of its table with one of the table around it, as in t.a = outer.b"
const EXISTS_LIST = "EXISTS can only select constants and columns"
const NULLABLE_ROW =
  "NOT IN over several columns needs all of them, on both sides, to be NOT NULL; use NOT EXISTS instead"

// --- Conditions ---

/** Subqueries stand where they decide on rows and nowhere else: their values are followed, not computed with. */
const requireConditions = (analysis: Analysis, expression: Expression, negated: boolean): void => {
  switch (expression._tag) {
    case "And":
    case "Or":
      for (const arg of expression.args) requireConditions(analysis, arg, negated)
      return
    case "Not":
      return requireConditions(analysis, expression.arg, !negated)
    case "Member": {
      const written = analysis.members.get(expression)
      const unclear = negated && expression.nulls === "in" && expression.links.length > 1 && written?.nullable
      return unclear ? refuse(written?.place, NULLABLE_ROW) : undefined
    }
    default:
      return requireNone(analysis, expression)
  }
}

const requireNone = (analysis: Analysis, expression: Expression): void => {
  if (expression._tag === "Member") return refuse(analysis.members.get(expression)?.place, CONDITIONS_ONLY)
  for (const operand of operands(expression)) requireNone(analysis, operand)
}

/** A clause's condition. Something untyped is not taken for a boolean, except NULL. */
export const analyseCondition = (analysis: Analysis, node: Node): Expression => {
  const expression = analysis.analyse(node)
  const untyped = expression._tag === "Constant" && expression.text !== null && typeOf(expression).oid === Oid.UNKNOWN
  const boolean = untyped ? undefined : coerceTo(analysis, expression, BOOL, "assignment", placeOf(node))
  if (boolean === undefined) return refuse(null, "WHERE clause must return a boolean")
  if (analysis.members.size > 0) requireConditions(analysis, boolean, false)
  return boolean
}

// --- The table ---

/** A subselect of the form `SELECT … FROM table [WHERE …]`. */
interface Source {
  readonly table: TableInfo
  readonly targets: ReadonlyArray<Node>
  readonly where: Node | undefined
  /** The analysis of what is about the table. */
  readonly inner: Analysis
}

const clauses: ReadonlySet<string> = new Set<keyof SelectStmt>([
  "targetList",
  "fromClause",
  "whereClause",
  "limitOption",
  "op"
])

const selectOf = (node: Node | undefined): SelectStmt => {
  const select = node !== undefined && "SelectStmt" in node ? node.SelectStmt : refuse(null, NO_CLAUSES)
  const others = Object.keys(select).some((key) => !clauses.has(key))
  return others || (select.limitOption ?? "LIMIT_OPTION_DEFAULT") !== "LIMIT_OPTION_DEFAULT"
    ? refuse(null, NO_CLAUSES)
    : select
}

const sourceOf = (analysis: Analysis, node: Node | undefined): Source => {
  const { fromClause = [], targetList = [], whereClause } = selectOf(node)
  const [only, ...more] = fromClause
  if (only === undefined || more.length > 0 || !("RangeVar" in only)) return refuse(null, SINGLE_TABLE)
  const { alias, catalogname, inh, location, relname: name = "", schemaname: schema = "public" } = only.RangeVar
  if (catalogname !== undefined || alias?.colnames !== undefined) return refuse(null, SINGLE_TABLE)
  const table = analysis.tables?.get(tableKey({ schema, name })) ?? refuse(null, doesNotExist({ schema, name }))
  // What is written as ONLY of a partitioned table would be no rows.
  if (!inh && table.kind === "partitioned") return refuse(location, "ONLY can't be used with a partitioned table")
  const scope: Scope = {
    columns: table.columns,
    name: alias?.aliasname ?? name,
    schema: alias === undefined ? schema : undefined,
    outer: analysis.scope
  }
  return {
    table,
    targets: targetList.map((target) =>
      "ResTarget" in target && target.ResTarget.val !== undefined ? target.ResTarget.val : target
    ),
    where: whereClause,
    inner: analysis.within(scope)
  }
}

// --- Membership ---

/** Columns that are compared: the link's and the subquery's. */
interface Pair {
  readonly link: Column
  readonly target: Column
  readonly nullable: boolean
  readonly place: Place
}

/** Whether equal values of both are told by their texts, and Postgres has equality for them. */
const requireComparable = (analysis: Analysis, { link, place, target }: Pair): void => {
  const unsupported = (type: SqlType) =>
    refuse(place, `subqueries over columns of type ${nameOfType(type)} are not supported`)
  for (const { collation, type } of [link, target]) {
    if (normalFormOf(type) === undefined) unsupported(type)
    if (collation?.deterministic === false) {
      refuse(place, `subqueries over columns with the nondeterministic collation ${collation.name} are not supported`)
    }
  }
  const call = deriveCollations(compare(analysis, ["="], link, target, place, "IN"), {
    sql: analysis.sql,
    placeOf: () => place,
    replaced: () => undefined
  })
  if (call._tag !== "Call" || !isBuiltin(call, "=")) unsupported(link.type)
}

const namesOf = (columns: ReadonlyArray<Column>): string => {
  const names = columns.map(({ type }) => nameOfType(type))
  return names.length === 1 ? names[0]! : `(${names.join(", ")})`
}

const requireSameTypes = (links: ReadonlyArray<Column>, targets: ReadonlyArray<Column>, place: Place): void => {
  const same = links.length === targets.length && links.every(({ type }, i) => shareKeys(type, targets[i]!.type))
  if (!same) {
    refuse(
      place,
      `left side of \`IN (SELECT ...)\` has type ${namesOf(links)} but subquery returns ${namesOf(targets)}`
    )
  }
}

const subqueryOf = (table: TableInfo, targets: ReadonlyArray<Column>, where: Expression | undefined): Subquery => {
  const key = keyColumns(table)
  const selected = new Set([...key, ...targets.map(({ name }) => name)])
  return {
    tableOid: table.oid,
    schema: table.schema,
    table: table.name,
    only: table.kind === "table",
    keyColumns: key,
    hasPrimaryKey: table.primaryKey.length > 0,
    targets: targets.map(({ name, type }) => ({ name, type })),
    columns: table.columns.filter(({ name }) => selected.has(name)).map(({ name, typeOid }) => ({ name, typeOid })),
    where: where && toClause(where)
  }
}

const memberOf = (
  analysis: Analysis,
  { table }: Source,
  nulls: Member["nulls"],
  pairs: ReadonlyArray<Pair>,
  where: Expression | undefined,
  place: Place
): Member => {
  for (const pair of pairs) requireComparable(analysis, pair)
  const member: Member = {
    _tag: "Member",
    links: pairs.map(({ link }) => link),
    subquery: subqueryOf(table, pairs.map(({ target }) => target), where),
    nulls
  }
  analysis.members.set(member, { place, nullable: pairs.some(({ nullable }) => nullable) })
  return member
}

// --- IN ---

/** The column behind conversions after which equal values have the keys that they had before. */
const linkOf = (expression: Expression): Column | undefined => {
  const column = expression._tag === "Column" || expression._tag === "Cast" ? plainColumn(expression) : undefined
  return column !== undefined && shareKeys(column.type, typeOf(expression)) ? column : undefined
}

const linksOf = (analysis: Analysis, left: Node | undefined, place: Place): ReadonlyArray<Column> => {
  const nodes = left === undefined ? [] : "RowExpr" in left ? left.RowExpr.args ?? [] : [left]
  const links = nodes.map((node) => linkOf(analysis.analyse(node)) ?? refuse(placeOf(node) ?? place, LEFT_SIDE))
  return links.length === 0 ? refuse(place, LEFT_SIDE) : links
}

const targetOf = (inner: Analysis, node: Node): Column => {
  const found = "ColumnRef" in node ? inner.analyse(node) : undefined
  return found?._tag === "Column" ? found : refuse(placeOf(node), PLAIN_COLUMN)
}

const isStar = (node: Node): boolean =>
  "ColumnRef" in node && (node.ColumnRef.fields ?? []).some((field) => "A_Star" in field)

const isNullable = (analysis: Analysis, { name }: Column): boolean =>
  analysis.scope.columns.some((column) => column.name === name && !column.notNull)

const inSubquery = (analysis: Analysis, { location, subselect, testexpr }: SubLink): Member => {
  const source = sourceOf(analysis, subselect)
  const { inner, where } = source
  const star = source.targets.find(isStar)
  if (star !== undefined) return refuse(placeOf(star), PLAIN_COLUMN)
  const targets = source.targets.map((node) => targetOf(inner, node))
  const links = linksOf(analysis, testexpr, location)
  requireSameTypes(links, targets, location)
  const pairs = links.map((link, i): Pair => {
    const target = targets[i]!
    const nullable = isNullable(analysis, link) || isNullable(inner, target)
    return { link, target, nullable, place: location }
  })
  return memberOf(analysis, source, "in", pairs, where && analyseCondition(inner, where), location)
}

// --- EXISTS ---

const conjunctsOf = (node: Node | undefined): ReadonlyArray<Node> => {
  if (node === undefined) return []
  return "BoolExpr" in node && node.BoolExpr.boolop === "AND_EXPR"
    ? (node.BoolExpr.args ?? []).flatMap(conjunctsOf)
    : [node]
}

const isEquality = (name: ReadonlyArray<Node> | undefined): boolean => {
  const path = words(name === undefined ? [] : [...name])
  return path.at(-1) === "=" && (path.length === 1 || (path.length === 2 && path[0] === "pg_catalog"))
}

/** `t.column = outer.column`, either way round; `undefined` for any other condition. */
const correlation = (analysis: Analysis, inner: Analysis, node: Node): Pair | undefined => {
  if (!("A_Expr" in node) || node.A_Expr.kind !== "AEXPR_OP" || !isEquality(node.A_Expr.name)) return undefined
  const { lexpr, location, rexpr } = node.A_Expr
  const find = (side: Node | undefined): FoundColumn | undefined =>
    side !== undefined && "ColumnRef" in side ? findColumn(inner.scope, words(side.ColumnRef.fields)) : undefined
  const found = [find(lexpr), find(rexpr)]
  const own = found.find((one) => one?.distance === 0)
  const outer = found.find((one) => one?.distance === 1)
  if (own === undefined || outer === undefined) return undefined
  const link = columnOf(analysis, outer.column, location)
  const target = columnOf(inner, own.column, location)
  if (!shareKeys(link.type, target.type)) {
    refuse(
      location,
      `EXISTS can only compare columns of one type, not ${nameOfType(target.type)} with ${nameOfType(link.type)}`
    )
  }
  return { link, target, nullable: true, place: location }
}

/** What EXISTS selects means nothing, unless it were an aggregate or failed. */
const requireHarmless = (inner: Analysis, node: Node): void => {
  if ("A_Const" in node || isStar(node)) return
  if (!("ColumnRef" in node)) return refuse(placeOf(node), EXISTS_LIST)
  inner.analyse(node)
}

const exists = (analysis: Analysis, { location, subselect }: SubLink): Member => {
  const source = sourceOf(analysis, subselect)
  const { inner } = source
  for (const target of source.targets) if (!("ResTarget" in target)) requireHarmless(inner, target)
  const pairs: Array<Pair> = []
  const conditions: Array<Expression> = []
  for (const node of conjunctsOf(source.where)) {
    const pair = correlation(analysis, inner, node)
    if (pair === undefined) conditions.push(analyseCondition(inner, node))
    else pairs.push(pair)
  }
  if (pairs.length === 0) return refuse(location, NO_CORRELATION)
  const where = conditions.length === 0 ? undefined : and(conditions)
  return memberOf(analysis, source, "exists", pairs, where, location)
}

/** `(x IN (SELECT …)) IS TRUE`: what EXISTS is printed as. `undefined` for what is no subquery. */
export const existence = (analysis: Analysis, expression: Expression): Member | undefined => {
  if (expression._tag !== "Member") return undefined
  const member: Member = { ...expression, nulls: "exists" }
  analysis.members.set(member, { place: analysis.members.get(expression)?.place, nullable: false })
  return member
}

/** A subquery as a condition: one of the forms of `IN` and `EXISTS`, or their negation. */
export const analyseSubLink = (analysis: Analysis, link: SubLink): Expression => {
  const path = words(link.operName)
  const name = path.at(-1)
  const isPlain = path.length <= 1 || (path.length === 2 && path[0] === "pg_catalog")
  switch (link.subLinkType) {
    case "EXISTS_SUBLINK":
      return exists(analysis, link)
    case "ANY_SUBLINK":
      return isPlain && (name === undefined || name === "=")
        ? inSubquery(analysis, link)
        : refuse(link.location, ONLY_IN)
    case "ALL_SUBLINK":
      return isPlain && name === "<>" ? not(inSubquery(analysis, link)) : refuse(link.location, ONLY_IN)
    default:
      return refuse(link.location, ONLY_IN)
  }
}
