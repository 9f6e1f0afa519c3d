/**
 * A made-up table for tests of clauses, and clauses of every sort.
 */
import { Effect, FastCheck as fc, Option } from "effect"
import type { ColumnInfo } from "../../src/domain/Relation.ts"
import type { Where } from "../../src/domain/ShapeDefinition.ts"
import { resolve } from "../../src/where/Resolve.ts"
import { column } from "./Columns.ts"

export const columns = [
  column("id", "int4", 23),
  column("title", "text", 25),
  column("done", "bool", 16),
  column("price", "numeric", 1700),
  column("born", "date", 1082),
  column("code", "bpchar", 1042),
  column("meta", "jsonb", 3802),
  column("tags", "_text", 1009, { elementType: "text", dimensions: 1 }),
  column("mood", "mood", 90_000, { typeKind: "e", typeSchema: "public" }),
  column("folded", "text", 25, { deterministic: false }),
  column("Käse \"x\"", "text", 25),
  column("f4", "float4", 700)
]

/** Takes every text but `x` for the output form of every type. */
const canonical = (_column: ColumnInfo, text: string) =>
  Effect.succeed(Option.liftPredicate(text, (one) => one !== "x"))

export const read = (clause: string, ...params: ReadonlyArray<string>) =>
  Effect.runPromise(Effect.either(resolve({ clause, params, columns }, canonical)))

export const equality = (name: string, value: string): Where => {
  const { typeName, typeOid, typeSchema } = columns.find((candidate) => candidate.name === name)!
  return { _tag: "Equality", column: name, typeOid, type: `"${typeSchema}"."${typeName}"`, value }
}

/** Texts that try to be more than a text. */
export const hostile = [
  ...String.raw`'; DROP TABLE t; --
\'; DROP TABLE t; --
' OR '1'='1
'||pg_sleep(9)||'
E'\''
U&'\0027'
\
\\'
\x27
\u0027
$1
$$
"
'
''
/*
*/
--
;
%00
’ OR 1=1
＇ OR 1=1`.split("\n"),
  "a\nb",
  "\u202e",
  "😀",
  "\x01",
  ""
]

const words = [
  ...`id title done "id" = = = 1 'a' $1 $2 true NULL ( ) :: int4 text AND OR NOT IN , [ ] ARRAY . * + - -- /* */ ' " $$ E'\\ U&' B'1' SELECT FROM CASE
WHEN END IS LIKE BETWEEN COLLATE f( count(*) ; INTERVAL ROW( GROUPING( DEFAULT JSON_OBJECT() XMLPARSE( 1e999 0x1F 1_000 é ? @> <%> VARIADIC`
    .split(/\s/),
  "AT TIME ZONE",
  "OVER ()",
  "FILTER (WHERE true)",
  "\0",
  "\ud800",
  "\u2028"
]

const statements = [
  "id = 1",
  "title = 'a'",
  "$1 = id",
  "done = true",
  "id = '1'::int4",
  "'a'::varchar = title",
  "price = 1.50",
  "born = date '2000-01-01'",
  "1 = 1"
]

/** Clauses, most of them wrong. */
export const clause = fc.oneof(
  fc.array(fc.constantFrom(...words), { maxLength: 12 }).map((parts) => parts.join(" ")),
  fc.array(fc.constantFrom(...words), { maxLength: 6 }).map((parts) => parts.join("")),
  fc.tuple(
    fc.constantFrom(...statements),
    fc.nat(20),
    fc.nat(3),
    fc.oneof(fc.constantFrom("", "", "(", " ", "'", "1", "-", "0", "."), fc.constantFrom(...words))
  )
    .map(([base, place, length, insert]) => base.slice(0, place) + insert + base.slice(place + length)),
  fc.fullUnicodeString({ maxLength: 30 })
)
