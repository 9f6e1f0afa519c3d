/**
 * Chooses among operators or functions of one name by the types of the arguments (Postgres's manual, 10.2 and 10.3).
 */
import type { SqlCatalog, SqlFunction, SqlOperator, SqlType } from "../domain/SqlCatalog.ts"
import { canCoerce } from "./Coerce.ts"
import { baseTypeOf } from "./ExpressionType.ts"
import { pathPosition, typeByOid } from "./SqlNames.ts"
import * as Oid from "./TypeOids.ts"

/** Something that could be meant, with the oids of the types that it takes in this call. */
export interface Candidate<A> {
  readonly args: ReadonlyArray<number>
  readonly item: A
  /** Several are equally good: it can't be told which one is meant. */
  readonly ambiguous: boolean
}

export type Choice<A> =
  | { readonly _tag: "Chosen"; readonly candidate: Candidate<A> }
  | { readonly _tag: "None" | "Ambiguous" }

const none: Choice<never> = { _tag: "None" }
const ambiguous: Choice<never> = { _tag: "Ambiguous" }
const chosen = <A>(candidate: Candidate<A>): Choice<A> =>
  candidate.ambiguous ? ambiguous : { _tag: "Chosen", candidate }

// --- The rules for candidates that take the arguments ---

/** The candidates for which `count` is highest. */
const most = <A>(all: ReadonlyArray<Candidate<A>>, count: (candidate: Candidate<A>) => number) => {
  let best: Array<Candidate<A>> = []
  let highest = -1
  for (const candidate of all) {
    const matches = count(candidate)
    if (matches > highest) best = []
    if (matches >= highest) best.push(candidate)
    highest = Math.max(highest, matches)
  }
  return best
}

const isUnknown = (type: SqlType): boolean => type.oid === Oid.UNKNOWN

const isPreferred = (sql: SqlCatalog, oid: number, category: string): boolean => {
  const type = typeByOid(sql, oid)
  return type.preferred && type.category === category
}

interface Slot {
  readonly category: string
  readonly preferred: boolean
}

/** The category that an argument of unknown type is taken for; `undefined` when the candidates don't agree. */
const slotOf = <A>(sql: SqlCatalog, all: ReadonlyArray<Candidate<A>>, position: number): Slot | undefined => {
  let slot: Slot | undefined
  let conflict = false
  for (const { args } of all) {
    const { category, preferred } = typeByOid(sql, args[position]!)
    if (slot === undefined || (category !== slot.category && category === "S")) slot = { category, preferred }
    else if (category === slot.category) slot = { category, preferred: slot.preferred || preferred }
    else conflict = true
  }
  return conflict && slot?.category !== "S" ? undefined : slot
}

/** The candidates of the categories that arguments of unknown type are taken for; all when there are none. */
const ofCategories = <A>(sql: SqlCatalog, all: ReadonlyArray<Candidate<A>>, types: ReadonlyArray<SqlType>) => {
  const slots = new Map<number, Slot>()
  for (const [i, type] of types.entries()) {
    if (!isUnknown(type)) continue
    const slot = slotOf(sql, all, i)
    if (slot === undefined) return all
    slots.set(i, slot)
  }
  const kept = all.filter(({ args }) =>
    [...slots].every(([i, slot]) => {
      const type = typeByOid(sql, args[i]!)
      return type.category === slot.category && (type.preferred || !slot.preferred)
    })
  )
  return kept.length === 0 ? all : kept
}

/** The last resort: arguments of unknown type are what all the others are. */
const assumingSame = <A>(
  sql: SqlCatalog,
  all: ReadonlyArray<Candidate<A>>,
  types: ReadonlyArray<SqlType>
): Candidate<A> | undefined => {
  const known = types.filter((type) => !isUnknown(type))
  const [first] = known
  if (first === undefined || known.some(({ oid }) => oid !== first.oid)) return undefined
  const same = types.map(() => first)
  const matching = all.filter(({ args }) => canCoerce(sql, same, args))
  return matching.length === 1 ? matching[0] : undefined
}

const select = <A>(
  sql: SqlCatalog,
  all: ReadonlyArray<Candidate<A>>,
  actual: ReadonlyArray<SqlType>
): Candidate<A> | undefined => {
  const types = actual.map((type) => isUnknown(type) ? type : baseTypeOf(type))
  const matches = (test: (type: SqlType, oid: number) => boolean) => ({ args }: Candidate<A>): number =>
    types.reduce((count, type, i) => !isUnknown(type) && test(type, args[i]!) ? count + 1 : count, 0)
  const exact = most(all, matches((type, oid) => type.oid === oid))
  if (exact.length === 1) return exact[0]
  const near = most(exact, matches((type, oid) => type.oid === oid || isPreferred(sql, oid, type.category)))
  if (near.length === 1) return near[0]
  if (!types.some(isUnknown)) return undefined
  const rest = ofCategories(sql, near, types)
  return rest.length === 1 ? rest[0] : assumingSame(sql, rest, types)
}

/** The candidate that is meant, none of which takes exactly these types. */
const choose = <A>(
  sql: SqlCatalog,
  candidates: ReadonlyArray<Candidate<A>>,
  types: ReadonlyArray<SqlType>
): Choice<A> => {
  const fitting = candidates.filter(({ args }) => canCoerce(sql, types, args))
  const [first, ...others] = fitting
  if (first === undefined) return none
  if (others.length === 0) return chosen(first)
  const best = select(sql, fitting, types)
  return best === undefined ? ambiguous : chosen(best)
}

const sameArgs = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): boolean =>
  a.length === b.length && a.every((oid, i) => oid === b[i])

// --- Operators ---

/** Operators in the schema, or in any that is searched, the earlier hiding the later ones of the same operands. */
const visible = (
  sql: SqlCatalog,
  operators: ReadonlyArray<SqlOperator>,
  schema: string | undefined
): ReadonlyArray<SqlOperator> => {
  if (schema !== undefined) return operators.filter((operator) => operator.schema === schema)
  if (operators.every((operator) => operator.schema === "pg_catalog")) return operators
  const kept = new Map<string, SqlOperator>()
  for (const operator of operators) {
    const position = pathPosition(sql, operator.schema)
    if (position < 0) continue
    const key = `${operator.left} ${operator.right}`
    const known = kept.get(key)
    if (known === undefined || position < pathPosition(sql, known.schema)) kept.set(key, operator)
  }
  return [...kept.values()]
}

const exactBinary = (all: ReadonlyArray<SqlOperator>, a: SqlType, b: SqlType): SqlOperator | undefined => {
  const find = (left: SqlType, right: SqlType) =>
    all.find((operator) => operator.left === left.oid && operator.right === right.oid)
  if (!isUnknown(a) && !isUnknown(b)) return find(a, b)
  // A literal is first taken for what the other side is.
  const type = isUnknown(a) ? b : a
  const found = find(type, type)
  if (found !== undefined) return found
  const base = baseTypeOf(type)
  return base === type ? undefined : find(base, base)
}

const asCandidate = <A>(args: ReadonlyArray<number>, item: A): Candidate<A> => ({ args, item, ambiguous: false })

/** Operators of one name, as they are looked up for every clause. */
const operatorLists = new WeakMap<SqlCatalog, Map<string, ReadonlyArray<SqlOperator>>>()

const operatorsOf = (sql: SqlCatalog, schema: string | undefined, name: string, prefix: boolean) => {
  const lists = operatorLists.get(sql) ?? new Map<string, ReadonlyArray<SqlOperator>>()
  operatorLists.set(sql, lists)
  const key = `${prefix ? "l" : "b"}${schema ?? ""}.${name}`
  const known = lists.get(key)
  if (known !== undefined) return known
  const found = visible(sql, sql.operatorsNamed.get(name) ?? [], schema).filter(({ left }) => (left === 0) === prefix)
  // Only names that there are: clauses may have any.
  if (found.length > 0) lists.set(key, found)
  return found
}

/**
 * The operator of a name for operands of these types, one of them for a prefix operator. `undefined` when there is no
 * operator of the name at all.
 */
export const chooseOperator = (
  sql: SqlCatalog,
  schema: string | undefined,
  name: string,
  types: ReadonlyArray<SqlType>
): Choice<SqlOperator> | undefined => {
  const [a, b] = types
  const all = operatorsOf(sql, schema, name, b === undefined)
  if (a === undefined || all.length === 0) return undefined
  const exact = b === undefined ? all.find(({ right }) => right === a.oid) : exactBinary(all, a, b)
  const argsOf = ({ left, right }: SqlOperator) => b === undefined ? [right] : [left, right]
  if (exact !== undefined) return chosen(asCandidate(argsOf(exact), exact))
  return choose(sql, all.map((operator) => asCandidate(argsOf(operator), operator)), types)
}

// --- Functions ---

export interface Called {
  readonly fn: SqlFunction
  /** How many of the last arguments are elements of the variadic array; 0 when it is given as an array, or is none. */
  readonly variadic: number
  /** The parameter that each argument is for, when some are named. */
  readonly places?: ReadonlyArray<number>
}

/** How a function is called. */
export interface CallForm {
  /** The last arguments may be elements of a variadic array. */
  readonly expand: boolean
  /** Names of the last arguments. */
  readonly names: ReadonlyArray<string>
}

interface Found extends Candidate<Called> {
  readonly position: number
}

/** The parameters that named arguments are for; `undefined` when the function has no such, or lacks others. */
const placesOf = (fn: SqlFunction, count: number, names: ReadonlyArray<string>): ReadonlyArray<number> | undefined => {
  const places = Array.from({ length: count - names.length }, (_, i) => i)
  for (const name of names) {
    const place = fn.names?.indexOf(name) ?? -1
    if (place < 0 || places.includes(place)) return undefined
    places.push(place)
  }
  const required = fn.args.length - fn.defaults
  for (let i = 0; i < required; i++) if (!places.includes(i)) return undefined
  return places
}

type Taken = readonly [args: ReadonlyArray<number>, called: Called]

/** How a function takes this many arguments; `undefined` when it doesn't. */
const argumentsFor = (fn: SqlFunction, count: number, { expand, names }: CallForm): Taken | undefined => {
  const declared = fn.args.length
  const spread = expand && fn.variadic !== 0
  if (names.length > 0) {
    const places = spread || count > declared ? undefined : placesOf(fn, count, names)
    return places && [places.map((place) => fn.args[place]!), { fn, variadic: 0, places }]
  }
  if (spread && declared <= count) {
    const fixed = fn.args.slice(0, -1)
    const variadic = count - fixed.length
    return [[...fixed, ...Array.from({ length: variadic }, () => fn.variadic)], { fn, variadic }]
  }
  if (declared === count) return [fn.args, { fn, variadic: 0 }]
  return declared > count && count + fn.defaults >= declared
    ? [fn.args.slice(0, count), { fn, variadic: 0 }]
    : undefined
}

const preferred = (known: Found, next: Found): Found => {
  if (known.position !== next.position) return known.position < next.position ? known : next
  const [a, b] = [known.item.variadic > 0, next.item.variadic > 0]
  if (a !== b) return a ? next : known
  return { ...known, ambiguous: true }
}

const functionCandidates = (
  sql: SqlCatalog,
  schema: string | undefined,
  name: string,
  count: number,
  form: CallForm
): ReadonlyArray<Candidate<Called>> => {
  const found: Array<Found> = []
  for (const fn of sql.functionsNamed.get(name) ?? []) {
    const position = schema === undefined ? pathPosition(sql, fn.ref.schema) : fn.ref.schema === schema ? 0 : -1
    const taken = position < 0 ? undefined : argumentsFor(fn, count, form)
    if (taken === undefined) continue
    const next: Found = { args: taken[0], item: taken[1], ambiguous: false, position }
    const known = found.findIndex(({ args }) => sameArgs(args, next.args))
    if (known < 0) found.push(next)
    else found[known] = preferred(found[known]!, next)
  }
  return found
}

/**
 * The function of a name for arguments of these types. `asCast` is asked before arguments are converted, whether the call is a cast by the name of a type.
 */
export const chooseFunction = <A>(
  sql: SqlCatalog,
  schema: string | undefined,
  name: string,
  types: ReadonlyArray<SqlType>,
  form: CallForm,
  asCast: () => A | undefined
): Choice<Called> | { readonly _tag: "Cast"; readonly cast: A } | undefined => {
  const candidates = functionCandidates(sql, schema, name, types.length, form)
  const oids = types.map(({ oid }) => oid)
  const exact = candidates.find(({ args }) => sameArgs(args, oids))
  if (exact !== undefined) return chosen(exact)
  const cast = asCast()
  if (cast !== undefined) return { _tag: "Cast", cast }
  return candidates.length === 0 ? undefined : choose(sql, candidates, types)
}
