/**
 * What SQL offers for each type, as templates: `{type}` is any expression of the type, `{lit type}` a constant with its
 * type, `{raw type}` one without, `{| a b}` a choice of words, `T` the type that a generic rule is written for and `E` the
 * type of its elements.
 */
import { types } from "./Types.ts"

export interface Rule {
  readonly result: string
  readonly template: string
}

const all = Object.keys(types).filter((type) => types[type]!.standsFor === undefined)
const arrays = all.filter((type) => types[type]!.element !== undefined)
const unequal = new Set(["json", "jsonbs"])
/** Types with `=` and `<`. */
const ordered = all.filter((type) => !unequal.has(type) && type !== "fold")
const ranges = ["int4range", "numrange", "tstzrange"]
const strings = ["text", "varchar", "bpchar", "name", "label"]
const numbers = ["int2", "int4", "int8", "float4", "float8", "numeric"]

/** Groups are equally likely; within a group, so are its rules. */
export const groups: Array<ReadonlyArray<Rule>> = []

const rules = (result: string, ...templates: ReadonlyArray<string>) => {
  for (const template of templates) groups.push([{ result, template }])
}

const substitute = (template: string, type: string): string =>
  template
    .replaceAll(/\{(lit |raw )?T\}/g, (_, form = "") => `{${form}${type}}`)
    .replaceAll(/\{(lit |raw )?E\}/g, (_, form = "") => `{${form}${types[type]?.element ?? type}}`)
    .replaceAll("::T", `::${types[type]?.sql ?? type}`)

/** One group for every template, with a rule for every type. `T` as the result is the type itself, `E` its element's. */
const generic = (result: string, of: ReadonlyArray<string>, ...templates: ReadonlyArray<string>) => {
  for (const template of templates) {
    const made = of.map((type) => ({
      result: result === "T" ? type : result === "E" ? types[type]!.element! : result,
      template: substitute(template, type)
    }))
    for (const kind of new Set(made.map((rule) => rule.result))) {
      groups.push(made.filter((rule) => rule.result === kind))
    }
  }
}

const COMPARE = "{| = <> < <= > >= !=}"

// --- Every type ---

generic(
  "bool",
  ordered,
  `{T} ${COMPARE} {T}`,
  `{T} ${COMPARE} {T}`,
  `{T} ${COMPARE} {raw T}`,
  `{raw T} ${COMPARE} {T}`,
  "{T} {| IN NOT_IN} ({raw T}, {raw T}, {raw T})",
  "{T} {| IN NOT_IN} ({T}, NULL, {raw T})",
  "{T} {| IN NOT_IN} ({T}, {T})",
  "{T} {| BETWEEN NOT_BETWEEN BETWEEN_SYMMETRIC NOT_BETWEEN_SYMMETRIC} {T} AND {raw T}",
  "{T} {| IS_DISTINCT_FROM IS_NOT_DISTINCT_FROM} {T}",
  "({T}, {int4}) {| = <> < <= > >=} ({T}, {int4})",
  "({T}, {text}) {| IN NOT_IN} (({T}, {text}), ({raw T}, {raw text}))",
  "ROW({T}, {bool}) IS {| NULL NOT_NULL}",
  "ROW({T}, {bool}) {| IS_DISTINCT_FROM IS_NOT_DISTINCT_FROM} ROW({T}, {bool})",
  "{T} OPERATOR(pg_catalog.{| = < >=}) {T}",
  "NULLIF({T}, {T}) IS NULL"
)
generic("bool", all, "{T} {| IS_NULL IS_NOT_NULL ISNULL NOTNULL}", "{T} IS {| NULL NOT_NULL}")
generic(
  "T",
  all,
  "CASE WHEN {bool} THEN {T} WHEN {bool} THEN {T} ELSE {T} END",
  "CASE WHEN {bool} THEN {T} END",
  "COALESCE({T}, {T}, {raw T})",
  "CASE {int4} WHEN {int4} THEN {T} WHEN {raw int4} THEN NULL ELSE {T} END"
)
generic("T", ordered, "NULLIF({T}, {T})", "NULLIF({T}, {raw T})", "{| GREATEST LEAST}({T}, {T}, {raw T})")
generic("text", all, "{T}::text", "CAST({T} AS text)")
rules(
  "bool",
  "{bool} {| AND OR} {bool}",
  "{bool} {| AND OR} {bool}",
  "{bool} {| AND OR} {bool}",
  "{bool} {| AND OR} {bool} {| AND OR} {bool}",
  "NOT {bool}",
  "NOT {bool}",
  "{bool} IS {| TRUE FALSE UNKNOWN NOT_TRUE NOT_FALSE NOT_UNKNOWN}",
  "{text}::bool",
  "{int4}::bool",
  "{jsonb}::bool"
)

// --- Numbers ---

generic("T", ["int2", "int4", "int8", "numeric"], "{T} {| + - * / %} {T}", "{T} {| + - * / %} {T}", "mod({T}, {T})")
generic("T", ["float4", "float8"], "{T} {| + - * /} {T}")
generic("T", numbers, "- {T}", "+ {T}", "@ {T}", "abs({T})")
generic("T", ["int2", "int4", "int8"], "{T} {| & #} {T}", "{T} | {T}", "~ {T}", "{T} {| << >>} 3")
for (const a of numbers) {
  groups.push(numbers.map((b) => ({ result: "bool", template: `{${a}} ${COMPARE} {${b}}` })))
  groups.push(numbers.map((b) => ({ result: a, template: `{${b}}::${a}` })))
  groups.push([{ result: a, template: `{text}::${a}` }, { result: a, template: `CAST({varchar} AS ${a})` }])
}
rules("int8", "{int8} {| + - *} {int4}", "{int2} {| + - * /} {int8}", "gcd({int8}, {int4})")
rules("numeric", "{numeric} {| + - * /} {int4}", "{int8} {| + *} {numeric}", "{numeric} ^ {lit int2}")
rules("float8", "{float4} {| + *} {float8}", "{numeric} {| + /} {float8}", "{float8} ^ {raw float8}", "|/ {float8}")
rules(
  "numeric",
  "{| round ceil ceiling floor trunc sign}({numeric})",
  "{| round trunc}({numeric}, {| -1 0 1 2})",
  "{| sqrt exp}({numeric})",
  "power({numeric}, {lit numeric})",
  "div({numeric}, {numeric})",
  "{numeric}::numeric({| 30,2 5,1 4})",
  "{money2}",
  "log({numeric})"
)
rules(
  "float8",
  "{| round ceil floor trunc sign sqrt}({float8})",
  "power({float8}, {float8})",
  "{| ceil floor}({int4})",
  "radians({float8})"
)
rules(
  "int4",
  "{int2} {| + - *} {int4}",
  "double_it({int4})",
  "add_up({int4})",
  "add_up({int4}, {int4})",
  "add_up(b => {int4}, a => {int4})",
  "biggest({int4}, {int4})",
  "biggest(VARIADIC {int4s})",
  "first_of({int4s})",
  "public.double_it({int4})",
  "pg_catalog.int4mul({int4}, {int4})",
  "\"Other \"\"schema\"\"\".\"Odd \"\"name\"\"\"({int4})",
  "width_bucket({numeric}, 0, 10, 5)",
  "int4({float8})",
  "{bool}::int",
  "{posint}"
)
rules("bool", "{int4} ~=~ {int4}", "{int4} OPERATOR(public.~=~) {int4}", "near({int4}, {int4})")
rules("posint", "{int4}::posint", "{lit posint}")

// --- Texts ---

const PATTERN = "{| 'a%' '%b' '_' '%' 'a\\%' 'a\\\\%' '%é%' '' '__' 'A%' '%a%b%' '😀%' E'%\\n%'}"
const REGEX = "{| 'a' '^a' 'b$' '^[a-c]+$' '[[:digit:]]+' '(a|b)' '\\d' '^$' '.' 'é' '\\mab\\M' 'a{1,2}' '^(?!a)'}"
for (const type of strings) {
  rules("bool", `{${type}} {| LIKE NOT_LIKE ILIKE NOT_ILIKE ~~ !~~ ~~* !~~*} ${PATTERN}`)
  rules("bool", `{${type}} {| ~ ~* !~ !~*} ${REGEX}`)
}
rules(
  "bool",
  "{text} {| LIKE NOT_LIKE ILIKE} {text}",
  "{text} LIKE {| 'a!%' '!_%' 'a!!b' '%!%%'} ESCAPE '!'",
  "{text} NOT LIKE {text} ESCAPE ''",
  "{text} {| SIMILAR_TO NOT_SIMILAR_TO} {| 'a|b' '%(a|b)%' '_' '[a-c]+' 'a{2}'}",
  "{text} SIMILAR TO 'a!_' ESCAPE '!'",
  "{text} {| LIKE ILIKE} {| ANY ALL} (ARRAY['a%', '%b', NULL])",
  "starts_with({text}, {text})",
  "{text} ^@ {text}",
  `{text} COLLATE {| "C" "POSIX" "und-x-icu" pg_catalog."default" ucs_basic} ${COMPARE} {text}`,
  `{text} ${COMPARE} {text} COLLATE "C"`,
  `{icutext} ${COMPARE} {raw text}`,
  `{icutext} ${COMPARE} {icutext}`,
  `{folded} ${COMPARE} {raw text}`,
  "{folded} IN ({raw text}, {raw text})",
  `lower({icutext}) ${COMPARE} {raw text}`,
  `upper({folded}) = {raw text}`,
  "{varchar} = {text}",
  "{bpchar} = {text}",
  "{name} = {text}",
  "{label} = {text}",
  "{text} < {varchar}",
  "{fold} = {fold}",
  "{fold} IS DISTINCT FROM {raw fold}",
  "textlike({text}, {text})"
)
for (const type of strings) {
  rules("int4", `{| char_length length octet_length bit_length character_length}({${type}})`)
  rules("text", `{| lower upper btrim ltrim rtrim md5 reverse}({${type}}::text)`, `{| lower upper initcap}({${type}})`)
}
rules(
  "text",
  "{text} || {text}",
  "{varchar} || {text}",
  "substring({text} from {| -1 0 1 2 3})",
  "substring({text} from {| 0 1 2} for {| 0 1 2 10})",
  "substr({text}, {int4})",
  "substring({text} from {| 'a' '(b)c' '[0-9]+' '^.'})",
  "{| left right}({text}, {| -1 0 1 3})",
  "left({text}, {int4})",
  "trim({text})",
  "trim({| both leading trailing} from {text})",
  "trim({| both leading trailing} {raw text} from {text})",
  "replace({text}, {text}, {raw text})",
  "split_part({text}, {raw text}, {| 1 2 -1})",
  "regexp_replace({text}, {| 'a' '[a-z]+' '(.)'}, {raw text})",
  "regexp_replace({text}, 'A', '<\\&>', 'gi')",
  "translate({text}, 'abc', 'xy')",
  "overlay({text} placing {raw text} from 2)",
  "{| lpad rpad}({text}, {| 0 3 8}, 'xy')",
  "repeat({text}, {| 0 1 3 -1})",
  "to_hex({int4})",
  "chr({| 97 233 128512})",
  "shout({text})",
  "lower({mood})",
  "{label}",
  "{name}::text",
  "{bpchar}::text",
  "quote_ident({text})",
  "{text}::varchar({| 1 3 100})",
  "coalesce({varchar}, {text})"
)
rules("int4", "position({text} in {text})", "strpos({text}, {raw text})", "ascii({text})")
rules("varchar", "{text}::varchar", "{text}::varchar(3)", "{bpchar}::varchar")
rules("bpchar", "{text}::char({| 1 3 5})", "{text}::bpchar")
rules("name", "{text}::name")
rules("label", "{lit text}::label", "{text}::label")
rules("fold", "{text}::fold")
rules("mood", "{text}::mood", "first_of({moods})")

// --- Dates and times ---

const FIELD = "{| year month day decade century millennium quarter week dow isodow doy isoyear epoch}"
const CLOCK = "{| hour minute second milliseconds microseconds epoch}"
const TRUNC = "{| 'year' 'month' 'day' 'hour' 'minute' 'second' 'week' 'quarter' 'decade' 'century' 'milliseconds'}"
const ZONE = "{| 'UTC' 'Europe/Berlin' 'America/New_York' '+02' 'EST5EDT' 'Asia/Kathmandu'}"
rules(
  "numeric",
  `extract(${FIELD} from {date})`,
  `extract(${FIELD} from {timestamp})`,
  `extract(${CLOCK} from {timestamp})`,
  `extract(${CLOCK} from {time})`,
  `extract({| year month day hour minute second epoch quarter} from {interval})`,
  "extract(timezone from {timetz})"
)
rules("float8", "date_part('month', {date})", "date_part({| 'year' 'hour' 'epoch' 'dow'}, {timestamp})")
rules("float8", "date_part({| 'day' 'second'}, {interval})")
rules(
  "date",
  "{date} {| + -} {int4}",
  "{timestamp}::date",
  "{timestamptz}::date",
  "make_date(2024, 2, {int4})",
  "{text}::date"
)
rules("int4", "{date} - {date}")
rules("time", "{time} {| + -} {interval}", "{timestamp}::time", "{timetz}::time", "{interval}::time", "{time}::time(0)")
rules(
  "timestamp",
  "{timestamp} {| + -} {interval}",
  "{date} {| + -} {interval}",
  "{date} + {time}",
  "{date}::timestamp",
  "{timestamptz}::timestamp",
  `date_trunc(${TRUNC}, {timestamp})`,
  `{timestamptz} AT TIME ZONE ${ZONE}`,
  "{timestamptz} AT TIME ZONE {lit interval}",
  "{timestamp}::timestamp(0)",
  "date_bin('15 minutes', {timestamp}, timestamp '2000-01-01')"
)
rules(
  "timestamptz",
  "{timestamptz} {| + -} {interval}",
  `{timestamp} AT TIME ZONE ${ZONE}`,
  `timezone(${ZONE}, {timestamp})`,
  "{timestamp}::timestamptz",
  "{date}::timestamptz",
  "{lit text}::timestamptz(3)",
  "to_timestamp({float8})",
  "{timestamptz}::timestamptz(0)"
)
rules(
  "interval",
  "{timestamp} - {timestamp}",
  "{timestamptz} - {timestamptz}",
  "{time} - {time}",
  "{interval} {| + -} {interval}",
  "{interval} {| * /} {float8}",
  "- {interval}",
  `date_trunc(${TRUNC}, {interval})`,
  "{| justify_days justify_hours justify_interval}({interval})",
  "make_interval(days => {int4}, hours => {| 1 -5 30})",
  "{time}::interval",
  "age({timestamp}, {timestamp})",
  "interval '1' {| day hour month YEAR_TO_MONTH}"
)
rules(
  "bool",
  "{date} < {timestamp}",
  "{timestamp} >= {date}",
  "isfinite({| {date} {timestamp} {timestamptz} {interval}})",
  "({timestamp}, {timestamp}) OVERLAPS ({timestamp}, {interval})",
  "({time}, {time}) OVERLAPS ({time}, {time})"
)

// --- Bytes, JSON, arrays, ranges, addresses ---

rules("int4", "{| length octet_length bit_length}({bytea})", "get_byte({bytea}, 0)", "position({raw bytea} in {bytea})")
rules("bytea", "{bytea} || {bytea}", "substring({bytea} from 2 for 3)", "decode({| '00ff' 'zz' ''}, 'hex')")
rules("text", "encode({bytea}, {| 'hex' 'base64' 'escape'})", "md5({bytea})")
const KEY = "{| 'a' 'b' 'n' 'zz' ''}"
const PATH = "{| '{a}' '{a,b}' '{b,1}' '{0}' '{}' '{b,-1}'}"
for (const type of ["json", "jsonb"]) {
  rules(type, `{${type}} -> ${KEY}`, `{${type}} -> {| 0 1 -1 9}`, `{${type}} #> ${PATH}`, `{${type}} -> {text}`)
  rules("text", `{${type}} ->> ${KEY}`, `{${type}} ->> {int4}`, `{${type}} #>> ${PATH}`, `${type}_typeof({${type}})`)
  rules("int4", `${type}_array_length({${type}})`)
}
rules("json", "{jsonb}::json", "{text}::json")
rules(
  "jsonb",
  "{jsonb} || {jsonb}",
  "{jsonb} - {| 'a' 0 -1}",
  "{jsonb} #- '{a,b}'",
  `({jsonb})[${KEY}]`,
  `({jsonb})[{int4}]`,
  "{json}::jsonb",
  "jsonb_strip_nulls({jsonb})",
  "jsonb_set({jsonb}, '{a}', {jsonb})",
  "jsonb_extract_path({jsonb}, 'a', 'b')"
)
rules(
  "bool",
  "{jsonb} {| @> <@} {jsonb}",
  "{jsonb} {| @> <@} {raw jsonb}",
  `{jsonb} ? ${KEY}`,
  "{jsonb} {| ?| ?&} ARRAY['a', {text}]",
  "{jsonb} ?| {texts}",
  "{jsonb} @? '$.a'",
  "{jsonb} @@ '$.n > 3'",
  "jsonb_exists({jsonb}, 'a')",
  "({jsonb} ->> 'n')::int > {int4}",
  "({jsonb} -> 'a')::numeric = {numeric}"
)
rules("numeric", "{jsonb}::numeric")
generic("E", arrays, "({T})[{| 0 1 2 3}]", "({T})[{int4}]")
generic(
  "T",
  arrays,
  "ARRAY[{E}, {E}]",
  "ARRAY[{E}, NULL]::T",
  "({T})[{| 1:2 2: :1 0:0 :}]",
  "{T} || {T}",
  "array_append({T}, {E})",
  "{E} || {T}",
  "array_cat({T}, {raw T})"
)
const searchable = arrays.filter((type) => type !== "jsonbs")
generic("T", searchable, "array_remove({T}, {E})", "array_replace({T}, {E}, {E})")
generic(
  "bool",
  searchable,
  "{T} {| @> <@ &&} {T}",
  "{T} {| @> <@ &&} {raw T}",
  "{E} {| = <> < >=} {| ANY ALL} ({T})",
  "{E} = ANY ({raw T})",
  "{E} <> ALL (ARRAY[{E}, {E}, NULL])",
  "ARRAY[[{E}, {E}], [{E}, {raw E}]] = ARRAY[{T}, {T}]"
)
generic(
  "int4",
  arrays,
  "array_length({T}, {| 1 2})",
  "cardinality({T})",
  "array_ndims({T})",
  "{| array_lower array_upper}({T}, 1)"
)
generic("int4", searchable, "array_position({T}, {E})")
rules("int4s", "{texts}::int4[]", "{numerics}::int4[]", "string_to_array({lit text}, ',')::int4[]", "ARRAY[1, {int4}]")
rules("texts", "{int4s}::text[]", "string_to_array({text}, {raw text})", "{moods}::text[]")
generic(
  "bool",
  ranges,
  "{T} {| @> <@ && << >> &< &> -|-} {T}",
  "{T} {| @> <@ &&} {raw T}::T",
  "{| isempty lower_inc upper_inc lower_inf upper_inf}({T})"
)
generic("T", ranges, "{T} {| + * -} {T}", "range_merge({T}, {T})")
for (const [range, bound] of [["int4range", "int4"], ["numrange", "numeric"], ["tstzrange", "timestamptz"]] as const) {
  rules("bool", `{${range}} @> {${bound}}`, `{${bound}} <@ {${range}}`)
  rules(bound, `{| lower upper}({${range}})`)
  rules(range, `${range}({${bound}}, {${bound}}, {| '[]' '[)' '(]' '()'})`, `${range}({${bound}}, NULL)`)
}
for (const type of ["inet", "cidr"]) {
  rules("bool", `{${type}} {| << <<= >> >>= &&} {${type}}`, `{${type}} <<= {raw inet}::inet`, `{inet} = {${type}}`)
  rules("text", `{| host text abbrev}({${type}})`)
  rules("int4", `{| masklen family}({${type}})`)
}
rules(
  "inet",
  "{cidr}",
  "{cidr}::inet",
  "set_masklen({inet}, 8)",
  "{| broadcast netmask hostmask}({inet})",
  "{inet} + {int4}",
  "~ {inet}"
)
rules("cidr", "network({inet})", "{inet}::cidr")
rules("int8", "{inet} - {inet}")

// --- What is written in practice, and what clauses are found by ---

const forAll = [
  "{T} = {raw T}",
  "{T} = {raw T}",
  "{raw T} = {T}",
  "{T} = {lit T}",
  "{T} IN ({raw T}, {raw T})",
  "{T} {| < <= > >=} {raw T}",
  "{raw T} {| < <= > >=} {T}",
  "{T} BETWEEN {raw T} AND {raw T}",
  "{T} = {raw T} AND {int4} = {raw int4}",
  "{T} IS NOT DISTINCT FROM {raw T}",
  "{T} <> {raw T}",
  "{T} IS NULL"
]

/** Templates for conditions on a column of the type. */
export const practical = (type: string): ReadonlyArray<string> => {
  if (unequal.has(type) || type === "fold") return ["{T} IS NOT NULL"].map((one) => substitute(one, type))
  const own = arrays.includes(type)
    ? ["{T} @> {raw T}", "{T} && {raw T}", "{lit E} = ANY ({T})", "{T} @> ARRAY[{lit E}]", "{raw T} <@ {T}"]
    : strings.includes(type) || type === "icutext"
    ? [`{T} LIKE ${PATTERN}`, `{T} LIKE ${PATTERN}`, "{T} NOT LIKE 'a%'", "{T} ILIKE 'a%'"]
    : type === "bool"
    ? ["{T}", "NOT {T}", "{T} IS TRUE", "{T} IS NOT TRUE", "{T} IS FALSE"]
    : numbers.includes(type)
    ? ["{T} < {lit numeric}", "{T} = {lit int8}", "{T} >= {lit float8}", "{T} > {lit int2} AND {T} <= {raw T}"]
    : []
  const one = arrays.includes(type) ? [] : ["{T} = ANY (ARRAY[{lit T}, NULL, {lit T}])", "{T} <> ALL (ARRAY[{lit T}])"]
  return [...forAll, ...one, ...own].map((one) => substitute(one, type))
}
