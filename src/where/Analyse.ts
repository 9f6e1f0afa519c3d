/**
 * From a clause's syntax tree to a typed expression, as Postgres's parse analysis would make it: names are looked up,
 * operators and functions chosen, conversions made explicit. What is wrong or not supported is refused with a message
 * that names its place and the cause (Electric HTTP protocol §14.6).
 */
import { Either } from "effect"
import type {
  BooleanTest,
  BoolExpr,
  CaseExpr,
  CoalesceExpr,
  JsonIsPredicate,
  MinMaxExpr,
  Node,
  NullTest,
  SQLValueFunction
} from "libpg-query"
import type { Choice, Expression } from "../domain/Expression.ts"
import { analyseSubscripts, arrayOf } from "./AnalyseArrays.ts"
import { analyseCall } from "./AnalyseCalls.ts"
import { analyseOperator } from "./AnalyseOperators.ts"
import { analyseRow, isRow, rowNullTest } from "./AnalyseRows.ts"
import { analyseCondition, analyseSubLink, existence } from "./AnalyseSubqueries.ts"
import { analyseCast, analyseCollate } from "./AnalyseTypes.ts"
import { analyseColumn, analyseConstant, analyseParam } from "./AnalyseValues.ts"
import {
  type Analysis,
  type ClauseContext,
  copies,
  type Place,
  placeOf,
  refuse,
  Refused,
  type Scope,
  type Unread
} from "./Analysis.ts"
import { coerceToBoolean, commonTypeOf, orAnyText, orText, toCommonType } from "./Coerce.ts"
import { deriveCollations } from "./Collations.ts"
import { typeOf } from "./ExpressionType.ts"
import { at, inClause } from "./Location.ts"
import { and, not, or } from "./Logic.ts"
import { operate } from "./Operators.ts"
import { nameOfType, typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

/** Deeper than this an expression is refused. */
const MAX_DEPTH = 200

// --- Logic and tests ---

const logic = (analysis: Analysis, { args = [], boolop, location }: BoolExpr): Expression => {
  const name = boolop === "OR_EXPR" ? "OR" : boolop === "NOT_EXPR" ? "NOT" : "AND"
  const conditions = args.map((arg) => coerceToBoolean(analysis, analysis.analyse(arg), name, placeOf(arg) ?? location))
  if (name === "NOT") return not(conditions[0]!)
  return name === "OR" ? or(conditions) : and(conditions)
}

const nullTest = (analysis: Analysis, { arg, location, nulltesttype }: NullTest): Expression => {
  const negated = nulltesttype === "IS_NOT_NULL"
  const expression = analysis.analyse(arg)
  return isRow(expression)
    ? rowNullTest(analysis, expression, negated, location)
    : { _tag: "NullTest", arg: orAnyText(analysis, expression, location), negated }
}

const booleanTest = (analysis: Analysis, { arg, booltesttype = "IS_TRUE", location }: BooleanTest): Expression => {
  const construct = booltesttype.replaceAll("_", " ")
  const negated = construct.startsWith("IS NOT ")
  const value = construct.endsWith("TRUE") ? true : construct.endsWith("FALSE") ? false : null
  const condition = coerceToBoolean(analysis, analysis.analyse(arg), construct, placeOf(arg) ?? location)
  const exists = value === true ? existence(analysis, condition) : undefined
  if (exists !== undefined) return negated ? not(exists) : exists
  return { _tag: "BooleanTest", arg: condition, value, negated }
}

// --- Choices ---

const caseExpression = (analysis: Analysis, { arg, args = [], defresult, location }: CaseExpr): Expression => {
  const subject = arg && orText(analysis, analysis.analyse(arg), location)
  if (subject !== undefined) copies(analysis, subject, args.length, location)
  const whens = args.map((node) => {
    const { expr, location: place, result } = "CaseWhen" in node ? node.CaseWhen : { expr: node }
    const test = analysis.analyse(expr)
    const condition = subject === undefined ? test : operate(analysis, ["="], [subject, test], place ?? location)
    return {
      condition: coerceToBoolean(analysis, condition, "CASE/WHEN", place ?? location),
      result: analysis.analyse(result)
    }
  })
  const none: Node = { A_Const: { isnull: true } }
  const otherwise = analysis.analyse(defresult ?? none)
  const results = [otherwise, ...whens.map(({ result }) => result)]
  const type = commonTypeOf(analysis, results, "CASE", location)
  const [last, ...others] = toCommonType(analysis, results, type, "CASE", location)
  return {
    _tag: "Case",
    whens: whens.map(({ condition }, i) => ({ condition, result: others[i]! })),
    otherwise: last!,
    type
  }
}

const choice = (
  analysis: Analysis,
  kind: "COALESCE" | "GREATEST" | "LEAST",
  expr: CoalesceExpr | MinMaxExpr
): Expression => {
  const nodes = expr.args ?? []
  const args = nodes.map((node) => analysis.analyse(node))
  const type = commonTypeOf(analysis, args, kind, expr.location)
  const chosen: Choice = { _tag: "Choice", kind, args: toCommonType(analysis, args, type, kind, expr.location), type }
  analysis.places.set(chosen, expr.location)
  return chosen
}

// --- What has no form of its own ---

const jsonTypes: ReadonlyMap<string | undefined, string> = new Map([
  ["JS_TYPE_OBJECT", " OBJECT"],
  ["JS_TYPE_ARRAY", " ARRAY"],
  ["JS_TYPE_SCALAR", " SCALAR"]
])

const jsonPredicate = (analysis: Analysis, predicate: JsonIsPredicate): Expression => {
  const { expr, format, item_type, location, unique_keys } = predicate
  const arg = orText(analysis, analysis.analyse(expr), location)
  const { category, oid } = typeOf(arg)
  if (format?.format_type !== undefined && format.format_type !== "JS_FORMAT_DEFAULT") {
    return refuse(location, "JsonFormat is not supported in this context")
  }
  if (category !== "S" && oid !== Oid.JSON && oid !== Oid.JSONB && oid !== Oid.BYTEA) {
    return refuse(location, `cannot use type ${nameOfType(typeOf(arg))} in IS JSON predicate`)
  }
  const test = ` IS JSON${jsonTypes.get(item_type) ?? ""}${unique_keys ? " WITH UNIQUE KEYS" : ""}`
  return { _tag: "Opaque", sql: ["", test], args: [arg], type: typeByOid(analysis.sql, Oid.BOOL) }
}

const valueFunction = ({ location, op = "SVFOP_CURRENT_DATE" }: SQLValueFunction): never =>
  refuse(location, `${op.replace(/^SVFOP_/, "").replace(/_N$/, "")} is not immutable`)

// --- Expressions ---

const analyseNode = (analysis: Analysis, node: Node): Expression => {
  if ("A_Expr" in node) return analyseOperator(analysis, node.A_Expr)
  if ("ColumnRef" in node) return analyseColumn(analysis, node.ColumnRef)
  if ("A_Const" in node) return analyseConstant(analysis, node.A_Const)
  if ("ParamRef" in node) return analyseParam(analysis, node.ParamRef)
  if ("BoolExpr" in node) return logic(analysis, node.BoolExpr)
  if ("TypeCast" in node) return analyseCast(analysis, node.TypeCast)
  if ("NullTest" in node) return nullTest(analysis, node.NullTest)
  if ("BooleanTest" in node) return booleanTest(analysis, node.BooleanTest)
  if ("FuncCall" in node) return analyseCall(analysis, node.FuncCall)
  if ("A_ArrayExpr" in node) return arrayOf(analysis, node.A_ArrayExpr)
  if ("A_Indirection" in node) return analyseSubscripts(analysis, node.A_Indirection)
  if ("CollateClause" in node) return analyseCollate(analysis, node.CollateClause)
  if ("CaseExpr" in node) return caseExpression(analysis, node.CaseExpr)
  if ("CoalesceExpr" in node) return choice(analysis, "COALESCE", node.CoalesceExpr)
  if ("MinMaxExpr" in node) {
    return choice(analysis, node.MinMaxExpr.op === "IS_LEAST" ? "LEAST" : "GREATEST", node.MinMaxExpr)
  }
  if ("RowExpr" in node) return analyseRow(analysis, node.RowExpr)
  if ("JsonIsPredicate" in node) return jsonPredicate(analysis, node.JsonIsPredicate)
  if ("SQLValueFunction" in node) return valueFunction(node.SQLValueFunction)
  if ("SubLink" in node) return analyseSubLink(analysis, node.SubLink)
  return refuse(placeOf(node), `${Object.keys(node)[0]} is not supported in this context`)
}

const start = (context: ClauseContext): Analysis => {
  let depth = 0
  const shared = {
    ...context,
    written: new Map(),
    unread: new Map(),
    places: new Map(),
    paramTypes: new Map(),
    members: new Map(),
    counts: { copied: 0 }
  }
  const within = (scope: Scope): Analysis => {
    const analysis: Analysis = {
      ...shared,
      scope,
      within,
      analyse: (node) => {
        if (node === undefined) return refuse(undefined, "an operand is missing")
        if (depth > MAX_DEPTH) return refuse(placeOf(node), "the clause is nested too deeply")
        depth++
        const expression = analyseNode(analysis, node)
        depth--
        return expression
      }
    }
    return analysis
  }
  const { columns, table } = context
  return within({ columns, name: table?.name, schema: table?.schema, outer: undefined })
}

export interface Analysed {
  readonly expression: Expression
  /** Expressions within it that are literals whose output form is not known yet. */
  readonly unread: ReadonlyMap<Expression, Unread>
}

/** A message with the place that it is about. */
export const messageAt = (clause: string, place: Place, message: string): string => at(inClause(clause, place), message)

/** Left is the message for a clause that is refused. */
export const analyse = (context: ClauseContext, node: Node): Either.Either<Analysed, string> => {
  const analysis = start(context)
  try {
    const { unread } = analysis
    const expression = deriveCollations(analyseCondition(analysis, node), {
      sql: analysis.sql,
      placeOf: (call) => analysis.places.get(call),
      replaced: (before, after) => {
        const literal = unread.get(before)
        if (literal === undefined) return
        unread.delete(before)
        unread.set(after, literal)
      }
    })
    return Either.right({ expression, unread })
  } catch (cause) {
    if (!(cause instanceof Refused)) throw cause
    const { message, place } = cause
    return Either.left(place === null ? message : messageAt(context.clause, place, message))
  }
}
