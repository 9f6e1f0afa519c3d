/**
 * Clauses that are nearly right: generated ones with pieces removed, doubled, moved, or replaced by what hurts.
 */
import { hostile } from "./Clauses.ts"
import type { GeneratedClause, Random } from "./WhereGenerator.ts"

const words = [
  ...hostile,
  ..."( ) [ ] , . ; : :: := => + - * / < = @> -- /* */ ' '' \" \"\" $$ $1 $2 $0 $99999999999 $q$ E' U&' B'1' X'f' N' NULL TRUE 1e999 1e-999 .5. 0x 0b2 1__0 99999999999999999999 AND OR NOT IN IS LIKE BETWEEN SYMMETRIC"
    .split(" "),
  ..."CASE WHEN THEN ELSE END SELECT FROM WHERE EXISTS ANY ALL ARRAY ROW COLLATE UNION VALUES WITH GROUPING DEFAULT VARIADIC OVER FILTER WITHIN now() current_date random() count(*) pg_sleep(9) t.* t.n public.t.n xmin ctid tableoid ::regclass ::record ::anyarray ::void ::nope"
    .split(" "),
  "(SELECT 1)",
  "IN (SELECT n FROM t)",
  "; DROP TABLE t",
  "OPERATOR(pg_catalog.+)",
  "OPERATOR(",
  "AT TIME ZONE",
  "IS OF",
  "ORDER BY 1",
  "LIMIT 1",
  "FOR UPDATE",
  "generate_series(1, 9)",
  "XMLPARSE(DOCUMENT '<a/>')",
  "JSON_VALUE('1', '$')",
  "COLLATE \"nope\"",
  "'now'::timestamptz",
  "'{1,2'::int[]",
  "'x'::int",
  "CAST(1 AS numeric(9999))",
  "int4 '1' '2'",
  "\0",
  "\ud800",
  "\u2028",
  "\ufeff"
]

const token = /'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|\s+|[^\w\s]/g

const mutateOnce = (random: Random, parts: ReadonlyArray<string>, others: ReadonlyArray<string>): Array<string> => {
  const place = random.below(parts.length + 1)
  const end = Math.min(place + 1 + random.below(4), parts.length)
  const [before, middle, behind] = [parts.slice(0, place), parts.slice(place, end), parts.slice(end)]
  const from = random.below(others.length)
  return random.pick([
    () => [...before, ...behind],
    () => [...before, ...middle, ...middle, ...behind],
    () => [...behind, ...middle, ...before],
    () => [...before, ` ${random.pick(words)} `, ...behind],
    () => [...before, random.pick(words), ...middle, ...behind],
    () => [...before, ...others.slice(from, from + 1 + random.below(8)), ...behind],
    () => [...before, middle.join("").slice(1), ...behind],
    () => [...before, "(", ...middle, ")", ...behind]
  ])()
}

const OPERATORS =
  "= <> < <= > >= != + - * / % || @> <@ && ? -> ->> ~ !~ LIKE ILIKE << >> IS^DISTINCT^FROM AND OR # & | ^".split(" ")
    .map((operator) => operator.replaceAll("^", " "))

/** Places of a bracket and the one that closes it. */
const brackets = (parts: ReadonlyArray<string>): Array<[number, number]> => {
  const open: Array<number> = []
  const found: Array<[number, number]> = []
  for (const [place, part] of parts.entries()) {
    if (part === "(") open.push(place)
    const opened = part === ")" ? open.pop() : undefined
    if (opened !== undefined) found.push([opened, place + 1])
  }
  return found.length === 0 ? [[0, parts.length]] : found
}

/** What leaves a clause well formed more often than not. */
const exchange = (random: Random, parts: ReadonlyArray<string>, others: ReadonlyArray<string>): Array<string> => {
  const [start, end] = random.pick(brackets(parts))
  const [from, to] = random.pick(brackets(others))
  const isOperator = (part: string) => OPERATORS.includes(part)
  const isLiteral = (part: string) => /^['\d]/.test(part)
  const swap = (matches: (part: string) => boolean, others: ReadonlyArray<string>) => {
    const places = parts.flatMap((part, place) => matches(part) ? [place] : [])
    const chosen = places.length > 0 && others.length > 0 ? random.pick(places) : -1
    return parts.map((part, place) => place === chosen ? random.pick(others) : part)
  }
  return random.pick([
    () => [...parts.slice(0, start), ...others.slice(from, to), ...parts.slice(end)],
    () => swap(isOperator, OPERATORS),
    () => swap(isLiteral, others.filter(isLiteral))
  ])()
}

/** A clause with one to three pieces of it changed; its parameters have hostile values now and then. */
export const mutate = (random: Random, clause: GeneratedClause, other: GeneratedClause): GeneratedClause => {
  const others = other.sql.match(token) ?? [""]
  let parts: Array<string> = clause.sql.match(token) ?? [""]
  const change = random.chance(0.5) ? exchange : mutateOnce
  for (let n = 1 + random.below(3); n > 0; n--) parts = change(random, parts, others)
  const params = clause.params.map((param) => random.chance(0.3) ? random.pick(hostile) : param)
  return { sql: parts.join(""), params }
}

/** Words in any order. */
export const nonsense = (random: Random, names: ReadonlyArray<string>): GeneratedClause => ({
  sql: Array.from({ length: 1 + random.below(10) }, () => random.pick(random.chance(0.3) ? names : words)).join(
    random.chance(0.7) ? " " : ""
  ),
  params: ["1", "a"]
})
