/**
 * The longest time that the grammar takes to accept or refuse one clause: families of clauses as large as allowed, each
 * the best of several rounds (the machine may be busy), slowest first.
 *
 * Run: `npx tsx bench/micro/grammar.ts [rounds]`
 */
import { Effect, Either } from "effect"
import { MAX_BYTES, parse } from "../../src/where/Grammar.ts"

const ROUNDS = Number(process.argv[2] ?? 3)

const fill = (part: string, room = MAX_BYTES - 100) => part.repeat(Math.floor(room / Buffer.byteLength(part)))
/** Of the same size before and behind. */
const nested = (before: string, middle: string, after: string) => {
  const times = Math.floor((MAX_BYTES - 100) / (before.length + after.length))
  return before.repeat(times) + middle + after.repeat(times)
}

const clauses: Record<string, string> = {
  "( open": fill("("),
  "( closed": nested("(", "true", ")"),
  ") only": fill(")"),
  "NOT": fill("NOT ") + "true",
  "not in a row": fill("not\n") + "true",
  "- chain": fill("- ") + "1 = 1",
  "@ chain": fill("@ ") + "1 = 1",
  "+ chain": fill("+ ") + "1 = 1",
  "1+1": "1" + fill("+1") + " = 1",
  "1^1": "1" + fill("^1") + " = 1",
  "a||b": "a" + fill("||b") + " = 'a'",
  "a.b.c": "a" + fill(".b"),
  "a=a": "a" + fill("=a"),
  "a AND": "a" + fill(" AND a"),
  "a=1 OR": "a=1" + fill(" OR a=1"),
  "(a OR b) AND": "a" + fill(" AND (a OR b)"),
  "AND OR alternating": "a" + fill(" AND a OR a"),
  "a AND (a OR (": nested("a AND (a OR (", "a", "))"),
  "::int": "1" + fill("::int"),
  "::a.b": "1" + fill("::a.b(1)"),
  "int 1": fill("int "),
  "CAST(": nested("CAST(", "1", " AS int)"),
  "CASE WHEN open": fill("CASE WHEN true THEN "),
  "CASE nested": nested("CASE WHEN a THEN ", "1", " END"),
  "CASE else": nested("CASE WHEN a THEN 1 ELSE ", "1", " END"),
  "CASE many": "CASE" + fill(" WHEN a THEN b") + " END",
  "ARRAY[ open": fill("ARRAY["),
  "ARRAY[[ closed": `ARRAY${nested("[", "1", "]")} = a`,
  "ARRAY[[ open": `ARRAY${fill("[")}`,
  "ARRAY[1,1": `ARRAY[1${fill(",1")}] = a`,
  "a[1][1]": "a" + fill("[1]"),
  "a[a[a[": nested("a[", "1", "]"),
  "f(f(f(": nested("f(", "1", ")"),
  "f( open": fill("f("),
  "f(1,1,": `f(1${fill(",1")})`,
  "IN list": `a IN (1${fill(",1")})`,
  "IN texts": `a IN ('a'${fill(",'a'")})`,
  "IN IN": "a" + fill(" IN (1)"),
  "IN nested": nested("a IN (", "1", ")"),
  "ROW(": nested("ROW(", "1", ")"),
  "rows": `(a,b) IN ((1,2)${fill(",(1,2)")})`,
  "IS NULL": "a" + fill(" IS NULL"),
  "IS TRUE": "a" + fill(" IS TRUE"),
  "ISNULL": "a" + fill(" ISNULL"),
  "COLLATE": "a" + fill(" COLLATE b"),
  "AT TIME ZONE": "a" + fill(" AT TIME ZONE b"),
  "AT LOCAL": "a" + fill(" AT LOCAL"),
  "BETWEEN": "a" + fill(" BETWEEN 1 AND 2"),
  "LIKE": "a" + fill(" LIKE a"),
  "LIKE ESCAPE": "a" + fill(" LIKE a ESCAPE b"),
  "IS DISTINCT": "a" + fill(" IS DISTINCT FROM (a)"),
  "OPERATOR()": "a" + fill(" OPERATOR(a.+) a"),
  "OPERATOR(long)": `a OPERATOR(${fill("a.")}+) a`,
  "operator run": "a " + fill("+-") + " a",
  "operators": "a " + fill(`${"+-".repeat(31)} `) + " a",
  "operators of 63": "a" + fill(`${"<".repeat(63)}a`),
  "/* run": fill("/*"),
  "/* blank": fill("/* "),
  "/*|": fill("/*|"),
  "banner": `/*${fill("*")}/ true`,
  "/*-*/ op": fill("+/*-*/") + "1",
  "BETWEEN IS": "a" + fill(" BETWEEN 1 AND 2 ISNULL"),
  "E continued": `a = E'a'\n'\\'' ${fill("+1")}`,
  "/*|*/": fill("/*|*/") + "true",
  "/* */": fill("/* a */") + "true",
  "/*/* */*/": nested("/* ", "a", " */") + "true",
  "/*/62": fill(`${"/*".repeat(31)} `),
  "*/": fill("*/ "),
  "-- lines": fill("--\n") + "true",
  "-- long": `true --${fill("a")}`,
  "dashes": `true ${fill("- -")}1`,
  "$$": fill("$$"),
  "$a$": fill("$a$"),
  "$aaa": fill("$aaa"),
  "$ alone": fill("$"),
  "$1": `$1${fill(" OR $1")}`,
  "$long": `$${fill("9")}`,
  "$tag long$": `$${fill("a", 30_000)}$ ${fill("$a")}`,
  "$tag text": `$a$${fill("$b")}$a$ = a`,
  "' run": fill("'"),
  "' '": `a = 'a'${fill("\n'a'")}`,
  "text": `a = '${fill("a")}'`,
  "text é": `a = '${fill("é")}'`,
  "text 😀": `a = '${fill("😀")}'`,
  "text \\u0001": `a = '${fill("\u0001")}'`,
  "text \\\"": `a = '${fill("\"")}'`,
  "texts": `a = 'a'${fill(" OR a='a'")}`,
  "E''": `a = E'${fill("\\n")}'`,
  "E'\\u": `a = E'${fill("\\u0041")}'`,
  "E'\\x": `a = E'${fill("\\xc3\\xa9")}'`,
  "E'\\1": `a = E'${fill("\\101")}'`,
  "U&''": `a = U&'${fill("\\0041")}'`,
  "U&\"\"": `U&"${fill("\\0041")}" = 1`,
  "U&'' many": `a = U&'\\0041'${fill(" OR a=U&'\\0041'")}`,
  "B''": `a = B'${fill("1")}'`,
  "X''": `a = X'${fill("f")}'`,
  "N''": `a = N'${fill("f")}'`,
  "\" run": fill("\""),
  "identifier": fill("a"),
  "identifier quoted": `"${fill("a")}" = 1`,
  "identifier é": fill("é"),
  "identifiers": fill("a "),
  "identifiers long": fill(`${"a".repeat(63)} `),
  "number": fill("1") + " = 1",
  "number.": `1.${fill("1")} = 1`,
  "number e": `1e${fill("1")} = 1`,
  "number 0x": `0x${fill("1")} = 1`,
  "number 1_1": `1${fill("_1")} = 1`,
  "numbers": `1${fill(" 1")}`,
  "1..1": fill("1.."),
  "blank": fill(" "),
  "blank true": fill("\n") + "true",
  "backslash": fill("\\"),
  "NUL": fill("a\0"),
  "comma": fill(","),
  ";": fill(";"),
  "true;": "true" + fill(";true"),
  "select": fill("select "),
  "(select": fill("(select "),
  "(select 1": nested("(select ", "1", ")"),
  "exists": nested("exists(select ", "1", ")"),
  "union": "true" + fill(" union select 1"),
  "order by": "true order by 1" + fill(",1"),
  "from": "true from" + fill(" a,"),
  "with": fill("with a as ("),
  "group by": "true group by 1" + fill(",1"),
  "window": "true window a as (" + fill("a,") + ")",
  "values": fill("(values (1),"),
  "from join": "(select 1 from a" + fill(" join a on true") + ")",
  "from (": `(select 1 from ${nested("(", "a", ")")})`,
  "interval": `interval '1'${fill(" day")}`,
  "interval (": `a = ${fill("interval(1) '1' +")}`,
  "extract": nested("extract(day from ", "a", ")"),
  "substring": nested("substring(", "a", " from 1)"),
  "trim": nested("trim(", "a", ")"),
  "overlay": nested("overlay(a placing ", "a", " from 1)"),
  "coalesce": nested("coalesce(", "a", ")"),
  "greatest": `greatest(a${fill(",a")}) = 1`,
  "xmlelement": nested("xmlelement(name a, ", "a", ")"),
  "json_object": nested("json_object('a': ", "a", ")"),
  "over": "f()" + fill(" over (partition by 1)"),
  "filter": "f() filter (where " + fill("a or ") + "a)",
  "IS JSON": "a" + fill(" IS JSON"),
  "dot star": "a" + fill(".*"),
  "[:": "a" + fill("[:]"),
  "(a).b": nested("(", "a", ").b"),
  "?": `a ${fill("? ")} a`,
  "ANY": nested("a = ANY (", "a", ")"),
  "type[]": `a::int${fill("[]")}`,
  "type(": `a::numeric(1${fill(",1")})`,
  "setof": `a::${fill("setof ")}int`,
  "=>": `f(a => 1${fill(",a => 1")})`,
  "unreserved": fill("abort "),
  "surrogate": fill("\ud800"),
  "U+2028": fill("\u2028"),
  "bom": fill("\ufeff")
}

const time = async (clause: string): Promise<[number, string]> => {
  let best = Infinity
  let outcome = ""
  for (let i = 0; i < ROUNDS; i++) {
    const before = performance.now()
    const result = await Effect.runPromise(Effect.either(parse(clause)))
    best = Math.min(best, performance.now() - before)
    outcome = Either.isLeft(result) ? result.left.slice(0, 60) : "accepted"
  }
  return [best, outcome]
}

await time("true")
const results: Array<[string, number, string]> = []
for (const [name, clause] of Object.entries(clauses)) results.push([name, ...(await time(clause))])
results.sort(([, a], [, b]) => b - a)
for (const [name, best, outcome] of results) {
  console.log(`${best.toFixed(2).padStart(9)} ms  ${name.padEnd(20)} ${outcome}`)
}
