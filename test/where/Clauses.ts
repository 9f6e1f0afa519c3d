/**
 * Clauses of every sort, and texts that try to be more than a text.
 */
import { FastCheck as fc } from "effect"

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
