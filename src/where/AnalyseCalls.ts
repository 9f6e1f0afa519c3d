/**
 * Calls of functions by name.
 */
import type { FuncCall, Node } from "libpg-query"
import type { Call, Expression } from "../domain/Expression.ts"
import { quote } from "../domain/Identifier.ts"
import type { SqlFunction, SqlType } from "../domain/SqlCatalog.ts"
import { type Analysis, type Place, refuse, words } from "./Analysis.ts"
import { coerce } from "./Coerce.ts"
import { baseTypeOf, typeOf } from "./ExpressionType.ts"
import { requireFixed } from "./Immutable.ts"
import { type Called, chooseFunction } from "./Overload.ts"
import { pathway } from "./Pathways.ts"
import { resolvePolymorphic } from "./Polymorphic.ts"
import { findType, type Name, nameFrom, nameOfType, typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

/** The type that a call of one argument casts to by its name, if it is no function's. */
const castByName = (analysis: Analysis, name: Name, args: ReadonlyArray<Expression>): SqlType | undefined => {
  const [arg, ...more] = args
  const type = arg === undefined || more.length > 0 ? undefined : findType(analysis.sql, name)
  if (arg === undefined || type === undefined || type.kind === "c" || type.kind === "p") return undefined
  const from = typeOf(arg)
  if (from.oid === Oid.UNKNOWN) return type
  const method = pathway(analysis.sql, from, type, "explicit")?.method
  if (method === "relabel") return type
  const row = from.oid === Oid.RECORD || from.kind === "c"
  return method === "text" && !(row && type.category === "S") ? type : undefined
}

const requireKind = (fn: SqlFunction, count: number, place: Place): void => {
  if (fn.kind === "a") refuse(place, "aggregation is not supported in this context")
  if (fn.kind === "w") refuse(place, `window function ${fn.ref.name} is not supported in this context`)
  if (fn.kind === "p") refuse(place, `${fn.ref.name} is a procedure`)
  if (fn.returnsSet) refuse(place, `function ${fn.ref.name}/${count} returns a set, which is not supported here`)
}

/** The last arguments as the array that a variadic function takes. `"any"` takes them as they are. */
const packed = (
  analysis: Analysis,
  args: ReadonlyArray<Expression>,
  { fn, variadic }: Called
): ReadonlyArray<Expression> => {
  if (variadic === 0 || fn.variadic === Oid.ANY) return args
  const elements = args.slice(-variadic)
  const type = analysis.sql.arrays.get(typeOf(elements[0]!).oid)
  if (type === undefined) return refuse(undefined, `no array type for type ${nameOfType(typeOf(elements[0]!))}`)
  return [...args.slice(0, -variadic), { _tag: "ArrayOf", elements, type, nested: false }]
}

/** Whether `VARIADIC` is written, and means something: functions that are not variadic ignore it. */
const takesArray = (fn: SqlFunction, last: Expression | undefined, written: boolean, place: Place): boolean => {
  if (!written || fn.variadic === 0) return false
  if (fn.variadic === Oid.ANY && (last === undefined || baseTypeOf(typeOf(last)).element === undefined)) {
    refuse(place, "VARIADIC argument must be an array")
  }
  return true
}

/** Named arguments as parameters, if none before the last one is left to its default. */
const inOrder = (
  args: ReadonlyArray<Expression>,
  places: ReadonlyArray<number>
): ReadonlyArray<Expression> | undefined =>
  places.every((place) => place < args.length) ? args.map((_, i) => args[places.indexOf(i)]!) : undefined

const namedCall = (
  { names = [], ref }: SqlFunction,
  args: ReadonlyArray<Expression>,
  places: ReadonlyArray<number>,
  type: SqlType
): Expression => {
  const labels = places.map((place, i) => `${i === 0 ? "" : ", "}${quote(names[place] ?? "")} => `)
  const [first = "", ...others] = labels
  return { _tag: "Opaque", sql: [`${quote(ref.schema)}.${quote(ref.name)}(${first}`, ...others, ")"], args, type }
}

interface Selected extends Called {
  readonly args: ReadonlyArray<number>
}

const makeCall = (
  analysis: Analysis,
  { args: declared, fn, places, variadic }: Selected,
  args: ReadonlyArray<Expression>,
  explicitVariadic: boolean,
  place: Place
): Expression => {
  const { sql } = analysis
  requireKind(fn, args.length, place)
  const array = takesArray(fn, args.at(-1), explicitVariadic, place)
  const types = args.map(typeOf)
  const signature = resolvePolymorphic(sql, { args: declared, result: fn.result }, types)
  if (signature === undefined) return refuse(place, `Could not select a function overload for ${fn.ref.name}`)
  const coerced = args.map((arg, i) => {
    const type = typeByOid(sql, signature.args[i]!)
    const untyped = type.oid === Oid.ANY && typeOf(arg).oid === Oid.UNKNOWN
    return coerce(analysis, arg, untyped ? typeByOid(sql, Oid.TEXT) : type, "implicit", place)
  })
  requireFixed(fn, coerced.map((arg) => baseTypeOf(typeOf(arg))), place, { explicit: true })
  const type = typeByOid(sql, signature.result)
  const ordered = places === undefined ? coerced : inOrder(coerced, places)
  if (ordered === undefined) return namedCall(fn, coerced, places ?? [], type)
  const all = packed(analysis, ordered, { fn, variadic })
  const call: Call = {
    _tag: "Call",
    fn: fn.ref,
    args: all,
    ...((array || all !== ordered) && { variadic: true }),
    type
  }
  analysis.places.set(call, place)
  return call
}

const requirePlain = (call: FuncCall): void => {
  const { agg_distinct, agg_filter, agg_order, agg_star, agg_within_group, location, over } = call
  if (over !== undefined) refuse(location, "window functions are not supported in this context")
  if (agg_distinct || agg_star || agg_filter || agg_order || agg_within_group) {
    refuse(location, "aggregation is not supported in this context")
  }
}

/** Names of the last arguments. */
const namesOf = ({ args = [], location }: FuncCall): ReadonlyArray<string> => {
  const names: Array<string> = []
  for (const arg of args) {
    if (!("NamedArgExpr" in arg)) {
      if (names.length > 0) return refuse(location, "positional argument cannot follow named argument")
      continue
    }
    const { location: place, name = "" } = arg.NamedArgExpr
    if (names.includes(name)) return refuse(place, `argument name "${name}" used more than once`)
    names.push(name)
  }
  return names
}

const valueOf = (node: Node): Node | undefined => "NamedArgExpr" in node ? node.NamedArgExpr.arg : node

export const analyseCall = (analysis: Analysis, call: FuncCall): Expression => {
  const path = words(call.funcname)
  const { args: nodes = [], location } = call
  const shown = `${path.at(-1)}/${nodes.length}`
  const unknown = (): never => refuse(location, `unknown or unsupported function ${shown}`)
  const name = nameFrom(path) ?? unknown()
  requirePlain(call)
  const args = nodes.map((node) => analysis.analyse(valueOf(node)))
  const types = args.map(typeOf)
  const explicitVariadic = call.func_variadic === true
  const form = { expand: !explicitVariadic, names: namesOf(call) }
  const asCast = () => explicitVariadic || form.names.length > 0 ? undefined : castByName(analysis, name, args)
  const choice = chooseFunction(analysis.sql, name.schema, name.name, types, form, asCast) ?? unknown()
  switch (choice._tag) {
    case "Cast":
      return coerce(analysis, args[0]!, choice.cast, "explicit", location)
    case "Chosen":
      return makeCall(
        analysis,
        { ...choice.candidate.item, args: choice.candidate.args },
        args,
        explicitVariadic,
        location
      )
    default:
      return refuse(
        location,
        `Could not select a function overload for ${name.name}(${types.map(nameOfType).join(", ")})`
      )
  }
}
