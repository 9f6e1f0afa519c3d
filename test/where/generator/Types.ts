/**
 * The types that clauses are generated from: how they are written, and values of each in their input form, edges among
 * them.
 */

export interface GeneratedType {
  /** As a cast writes it. */
  readonly sql: string
  readonly values: ReadonlyArray<string>
  /** Declarations of columns of the type. The first one is the plain type. */
  readonly declarations: ReadonlyArray<string>
  /** Of an array: its elements' type. */
  readonly element?: string
  /** Has no `=`. */
  readonly incomparable?: true
  /** Only columns have it. They may stand for values of another type, or have rules of their own. */
  readonly standsFor?: string
}

const split = (values: string): ReadonlyArray<string> => values.split(" ")

const texts = [
  ...split(
    "a A b ab abc ABC aa z Z é É ß ẞ ı İ ς Σ 😀 1 10 -5 1.5 true % _ %a% a_c \\ a\\b %00 ' '' \" { null NULL $1 -- /*"
  ),
  "",
  " ",
  "a ",
  " a",
  "a b",
  "foo,bar,,baz",
  "line\nbreak",
  "tab\there",
  "e\u0301",
  "straße 12",
  "x".repeat(40)
]
const short = [...split("a A b ab abcd é 1 % 😀"), "", " ", "a ", " a", "a  "]
const integers = split("0 1 -1 2 3 7 10 42 100 -100 32767 -32768")
const floats = split("0 -0 1 -1 0.5 1.5 -2.5 0.1 3.14159 1e10 -1e-10 1e30 NaN Infinity -Infinity 16777217 100")
const times = split("00:00:00 00:00:00.000001 12:34:56.789 23:59:59.999999 24:00:00 06:00:00")
const days = split(
  "2000-01-01 1999-12-31 2024-02-29 2023-03-31 1970-01-01 0001-01-01 9999-12-31 infinity -infinity 4713-01-01 2023-10-29"
)
const moments = [
  "2000-01-01 00:00:00",
  "1999-12-31 23:59:59.999999",
  "2024-02-29 12:30:00.5",
  "2023-10-29 01:30:00",
  "2023-03-26 02:30:00",
  "1970-01-01 00:00:00",
  "0001-01-01 00:00:00",
  "0044-03-15 00:00:00 BC",
  "9999-12-31 23:59:59",
  "infinity",
  "-infinity"
]
const documents = [
  "{}",
  "[]",
  "null",
  "true",
  "0",
  "1",
  "1.50",
  "-1e3",
  "\"a\"",
  "\"\"",
  "\"1\"",
  "\"é😀\\n\"",
  "{\"a\": 1}",
  "{\"a\": 1.0, \"b\": [1, 2, null]}",
  "{\"a\": {\"b\": \"c\"}, \"n\": \"5\"}",
  "{\"a\": null, \"n\": 5, \"t\": true}",
  "[1, \"a\", null, {\"a\": 2}]",
  "[[1], [2, 3]]",
  "[1, 1, 2]",
  "{\"b\": 2, \"a\": 1, \"aa\": 3}"
]

const plain = (sql: string, values: ReadonlyArray<string>, ...declarations: ReadonlyArray<string>): GeneratedType => ({
  sql,
  values,
  declarations: [sql, ...declarations]
})

/** `NULL` among the elements, quotes, and more than one dimension. */
const array = (element: string, ...values: ReadonlyArray<string>): GeneratedType => ({
  sql: `${element}[]`,
  values: ["{}", "{NULL}", ...values],
  declarations: [`${element}[]`],
  element
})

export const types: Readonly<Record<string, GeneratedType>> = {
  bool: plain("bool", split("true false t f yes off 1 0")),
  int2: plain("int2", integers),
  int4: plain("int4", [...integers, "2147483647", "-2147483648", "65536"]),
  int8: plain("int8", [...integers, "9223372036854775807", "-9223372036854775808", "9007199254740993"]),
  float4: plain("float4", [...floats, "3.4e38", "1e-45"]),
  float8: plain("float8", [...floats, "1.7976931348623157e308", "5e-324", "9007199254740993"]),
  numeric: plain(
    "numeric",
    split(
      "0 0.00 1 1.0 1.50 -1.5 2 10 100.001 -0.5 0.333333333333333333 12345678901234567890.123456789 1e20 NaN Infinity -Infinity"
    )
  ),
  /** In a column of its own, as few values fit. */
  money2: { ...plain("numeric(6,2)", split("0 1.50 -1.5 9999.99 NaN 0.01")), standsFor: "numeric" },
  text: plain("text", texts, "text", "text COLLATE \"C\""),
  varchar: plain("varchar", texts, "varchar", "varchar(50)"),
  bpchar: plain("bpchar", short, "char(4)", "char(5)"),
  name: plain("name", texts),
  /** Of collations that can't be mixed with others. */
  icutext: { ...plain("text", texts, "text COLLATE \"und-x-icu\""), standsFor: "icutext" },
  folded: { ...plain("text", texts, "text COLLATE nocase"), standsFor: "folded" },
  uuid: plain(
    "uuid",
    split(
      "00000000-0000-0000-0000-000000000000 a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11 a0eebc999c0b4ef8bb6d6bb9bd380a12 ffffffff-ffff-ffff-ffff-ffffffffffff"
    )
  ),
  date: plain("date", [...days, "0044-03-15 BC"]),
  time: plain("time", times, "time", "time(3)"),
  timetz: plain("timetz", times.flatMap((time) => [`${time}+00`, `${time}-08`, `${time}+05:30`])),
  timestamp: plain("timestamp", moments, "timestamp", "timestamp(3)"),
  timestamptz: plain(
    "timestamptz",
    moments.flatMap((moment) =>
      /infinity|BC/.test(moment) ? [moment] : [`${moment}+00`, `${moment}+02`, `${moment}-08`]
    )
  ),
  interval: plain("interval", [
    ...split("P0D PT1S P1D PT24H P1M P30D P1Y P1Y2M3DT4H5M6.7S PT-1S P-1D"),
    "1 day -1 hour",
    "-1 mon +2 days",
    "00:00:00.000001",
    "100 years"
  ]),
  bytea: plain("bytea", ["", "\\x00", "\\xff", "\\x0001ff", "\\x61", "\\x6162", "abc", "a\\000b"]),
  json: { ...plain("json", documents), incomparable: true },
  jsonb: plain("jsonb", documents),
  mood: plain("mood", ["sad", "ok", "happy", "Very \"odd\"", "a'b", "1"]),
  posint: plain("posint", split("1 2 7 42 2147483647")),
  label: plain("label", ["a", "b", "abc", "A", "%", "é"]),
  fold: plain("fold", ["a", "A", "b", "", "É"]),
  inet: plain(
    "inet",
    split("10.0.0.1 10.0.0.0/8 192.168.1.5/24 0.0.0.0/0 255.255.255.255 ::1 fe80::1/64 ::ffff:1.2.3.4 2001:db8::/32")
  ),
  cidr: plain("cidr", split("10.0.0.0/8 10.1.0.0/16 192.168.1.0/24 0.0.0.0/0 2001:db8::/32 ::1/128")),
  int4range: plain("int4range", ["empty", "[1,5)", "[1,5]", "(1,5)", "[5,10)", "(,3)", "[3,)", "(,)", "[2,2]"]),
  numrange: plain("numrange", ["empty", "[1,5)", "[1.0,5.00]", "(1,5)", "(,3.5)", "[3,)", "[2,2]"]),
  tstzrange: plain("tstzrange", [
    "empty",
    "[2000-01-01 00:00+00,2001-01-01 00:00+00)",
    "[1999-01-01 00:00+00,2000-06-01 00:00+02]",
    "(,2000-01-01 00:00+00)",
    "[2000-01-01 00:00+00,infinity)"
  ]),
  int4s: array("int4", "{1,2,3}", "{1}", "{3,2,1}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}", "{1,1,2}"),
  texts: array(
    "text",
    "{a,b}",
    "{a}",
    "{A,\"\"}",
    "{a,NULL}",
    "{\"a b\",\"c,d\",\"\\\"\",\"\\\\\"}",
    "{{a,b},{c,d}}",
    "{\"NULL\"}"
  ),
  numerics: array("numeric", "{1,1.0,2.50}", "{NaN}", "{0.1,NULL}"),
  bools: array("bool", "{t,f}", "{t,NULL}", "{f}"),
  moods: array("mood", "{sad,ok}", "{happy,NULL}"),
  uuids: array("uuid", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,00000000-0000-0000-0000-000000000000}"),
  timestamptzs: array("timestamptz", "{\"2000-01-01 00:00:00+00\",NULL}", "{infinity}"),
  float8s: array("float8", "{1,NaN,-0}", "{0.1,0.2}"),
  jsonbs: array("jsonb", "{\"{\\\"a\\\": 1}\",1,null}", "{\"[1]\"}")
}
