/**
 * A table of many types, clauses that are accepted on it and clauses that are refused.
 */
export const SETUP = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s');
CREATE DOMAIN pos AS int CHECK (VALUE > 0);
CREATE DOMAIN label AS text COLLATE "C" CHECK (VALUE <> 'forbidden');
CREATE TYPE pair AS (a int, b text);
CREATE FUNCTION plus(a int, b int DEFAULT 7) RETURNS int IMMUTABLE LANGUAGE sql RETURN a + b;
CREATE FUNCTION total(VARIADIC int[]) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT sum(n)::int FROM unnest($1) n';
CREATE FUNCTION "we ird"(anyelement) RETURNS anyarray IMMUTABLE LANGUAGE sql AS 'SELECT ARRAY[$1]';
CREATE FUNCTION pick(anycompatible, anycompatible) RETURNS anycompatible IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION vol(int) RETURNS bool LANGUAGE sql RETURN true;
CREATE FUNCTION twice(text) RETURNS text IMMUTABLE LANGUAGE sql RETURN $1 || $1;
CREATE FUNCTION twice(bytea) RETURNS bytea IMMUTABLE LANGUAGE sql RETURN $1 || $1;
CREATE FUNCTION amb(int, text) RETURNS bool IMMUTABLE LANGUAGE sql RETURN true;
CREATE FUNCTION amb(text, int) RETURNS bool IMMUTABLE LANGUAGE sql RETURN true;
CREATE PROCEDURE act() LANGUAGE sql AS '';
CREATE SCHEMA hidden;
CREATE FUNCTION hidden.eq(int, int) RETURNS bool IMMUTABLE LANGUAGE sql RETURN $1 = $2;
CREATE OPERATOR hidden.=== (FUNCTION = hidden.eq, LEFTARG = int, RIGHTARG = int);
CREATE TABLE t (
  id int, s smallint, big bigint, title text, v varchar(10), code char(5), n name, done bool, price numeric(10,2),
  f4 float4, f8 float8, born date, at timestamptz, ts timestamp, tm time, iv interval, meta jsonb, js json, tags text[],
  nums int[], mood mood, moods mood[], u uuid, r int4range, mr int4multirange, tr tstzrange, ip inet, by bytea, d pos,
  l label, p pair, c text COLLATE "C", ic text COLLATE "en-x-icu", bits bit(4), o oid, rc regclass, px point, x xml
);
INSERT INTO t VALUES
  (1, 1, 1, 'a', 'a', 'a', 'a', true, 1.50, 1.5, 1.5, '2024-01-01', '2024-01-01 00:00+00', '2024-01-01', '10:00', '1 day',
   '{"a": 1, "n": "4", "b": [1, "x"]}', '{"a": 1}', '{a,"b c",NULL}', '{1,2,3}', 'ok', '{ok,sad}',
   'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '[1,5)', '{[1,3),[5,8)}', '[2024-01-01,2025-01-01)', '10.0.0.1', '\\x6162', 1,
   'a', '(1,a)', 'a', 'a', '1010', 5, 'pg_class', '(1,1)', NULL),
  (2, 2, 12345678901, 'Ab%', 'b c', 'b', 'B', false, 2.00, -0.5, 1e20, '1999-12-31', '1999-12-31 23:00+00',
   '2024-06-01 12:34:56.789', '23:59:59', '-3 days 02:00', '[1, 2]', '[]', '{}', '{{1,2},{3,4}}', 'sad', '{}',
   'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', 'empty', '{}', 'empty', '192.168.0.0/16', '\\x', 5, 'b', '(2,)', 'B', 'B', '0000',
   1259, 'pg_proc', '(0,0)', NULL),
  (-3, -3, -3, '', '', '', '', NULL, 100, 'NaN', 'Infinity', 'infinity', '-infinity', '2025-02-28', '00:00', '2 years 1 mon',
   '"x"', '1', '{x,A,a}', '{}', 'it''s', '{it''s}', '00000000-0000-0000-0000-000000000000', '(,)', '{(,)}', '(,)', '::1',
   '\\xff', 7, 'Ä', '(,)', 'Ä', 'ä', '1111', 0, NULL, '(2,3)', NULL),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
   NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`

/** With values of parameters after the clause. */
export type ClauseCase = readonly [clause: string, ...params: ReadonlyArray<string | null>]

/** Whether a server of this version knows all that the clause is written with. */
export const isWritable = (version: number, clause: string): boolean =>
  version >= 170_000 || !/0x|_000|JSON/.test(clause)

const lines = (text: string): ReadonlyArray<ClauseCase> =>
  text.trim().split("\n").map((line): ClauseCase => {
    const [clause = "", ...params] = line.split(" ## ")
    return [clause, ...params]
  })

/** Accepted, and chosen alike by Postgres: the same operators, functions and collations in the same order. */
export const ACCEPTED: ReadonlyArray<ClauseCase> = lines(String.raw`
id = 1
id = $1 ## 7
$1 = id ## 7
id = '01'
id = - 5
id = 0x1F
id = 1_000
id = 12345678901
id = 1.0
id = 1e2
99999999999999999999 > big
-9223372036854775808 < big
1 = id
"id" = 1
ID = 1
id=1 -- it is
id IN (1,2,3)
id IN (1)
id NOT IN (1, $1) ## 9
id IN (1, s)
id IN (1, s, 3, big)
id NOT IN (s, big)
id IN (1, 2.5)
id IN (NULL)
id NOT IN (1, NULL)
title IN ('a', 'b c', NULL)
mood IN ('ok','sad')
code IN ('a', 'b')
v IN ('a','b')
n IN ('a','b')
d IN (1,2)
born IN ('2024-01-01', '1999-12-31')
nums IN ('{1,2,3}', '{}')
u IN ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12')
title LIKE 'a%'
title NOT ILIKE 'a%'
title LIKE 'a!%' ESCAPE '!'
title NOT LIKE 'a!%' ESCAPE '!'
title SIMILAR TO 'a(b|c)'
title NOT SIMILAR TO 'a' ESCAPE '!'
title ~ 'x'
title ~* '^x'
title !~~ 'x'
title ^@ 'a'
code LIKE 'a%'
n LIKE 'a%'
by LIKE 'a%'
title LIKE ANY(ARRAY['a%', 'b%'])
title LIKE ALL('{a%}')
NOT (title ILIKE ANY('{a%}'))
id BETWEEN 1 AND 10
id NOT BETWEEN 1 AND 10
id BETWEEN SYMMETRIC 10 AND 1
id NOT BETWEEN SYMMETRIC 10 AND 1
title BETWEEN 'a' AND v
done
NOT done
NOT NOT done AND TRUE
done AND 't'
'f' OR done
done IS TRUE
done IS NOT TRUE
done IS FALSE
NOT (done IS NOT UNKNOWN)
done = 't'
done <> 'no'
done::int = 1
id IS NULL
id IS NOT NULL OR FALSE
NOT (id IS NULL)
$1 IS NULL OR id = $1 ## 3
id = 1 AND id = 1 OR done AND (done OR done)
price = 1.50
price > 1e2
price = 1
price = $1 ## 1.5
f4 = 1.1
f4 > 1
f8 = 1.1
f8 = 'NaN'
big = 1
s = 100000
s + 1 > big
s = id
big = id
f4 + f8 > 1
price > f8
price + id > 2
-id = 1
@ id = 1
~ id = 1
|/ f8 = 2
id # 1 = 1
id & 1 = 1
id << 1 = 2
id % 2 = 0
id ^ 2 = 4
id / 2 = 1
id / 2.0 = 1
o = 5
o > 3
o::int = 3
big = o
rc = 5
id::regclass = o
title || 'x' = 'ax'
title || id = 'a1'
v || v = 'x'
code || 'x' = 'abx'
v = 'x'
v = title
v = code
code = 'ab'
code = title
n = 'x'
n = title
l = 'a'
l < title
title < 'b'
c = title
title < c
title || ic = 'a'
lower(v || c) > title
CASE WHEN done THEN title ELSE c END < 'b'
coalesce(title, c) < v
(title || c) = ANY(ARRAY[title, 'a'])
title IS DISTINCT FROM c
nullif(title, c) < 'b'
greatest('b', ic) = title
tags[1] < c
id::text < c
c::varchar < title
(title, v) > (c, ic)
c < 'b'
title < 'b' COLLATE "C"
title COLLATE "C" < 'b'
title COLLATE pg_catalog."C" < c
'a'::name::text < title
upper(title COLLATE "C") = 'A'
coalesce(c, title) < 'b' COLLATE "en-x-icu"
(c || title) COLLATE "C" < 'b'
greatest(title, 'b' COLLATE "C") = 'b'
(title, c) < ('a', 'b')
born = '2024-01-02'
born > '2024-1-2'
born + 1 > '2024-01-01'
born - born = 3
born - '2024-01-01' > 1
born - '1 day'::interval > ts
born + '1 day'::interval > ts
born < ts
at > '2024-01-01'
at > '2024-01-01 00:00:00+02'
at + interval '1 day' > '2024-01-01'
at - '1 day'::interval > at
'1 day'::interval + at > at
at::date = '2024-01-01'
date(at) = '2024-01-01'
ts::timestamptz = at
timestamptz(born) = at
at::text = 'x'
born::text LIKE '2024%'
at - at > '1 day'
ts - ts > '1 day'
ts + iv > ts
ts + '1 day' > ts
age(ts, ts) > '1 day'
tm > '10:00'
ts::time > '10:00'
ts::timestamp(0) = '2024-01-01'
ts BETWEEN '2024-01-01' AND '2025-01-01'
(ts, ts) OVERLAPS (ts, ts)
extract(year from ts) = 2024
extract(epoch from iv) > 1
date_part('year', born) = 2024
date_trunc('day', ts) = '2024-01-01'
at AT TIME ZONE 'Europe/Berlin' > '2024-01-01'
ts AT TIME ZONE INTERVAL '1 hour' > at
timezone('UTC', ts) > at
to_timestamp(id) = at
make_date(2024, 1, 1) = born
iv > interval '5' day
iv > '1 day'
iv = interval '1-2' year to month
iv * 2 > '1 day'
iv / 2 > '1 day'
2 * iv > '1 day'
justify_days(iv) = iv
meta->>'a' = 'b'
meta->'b'->>0 = '1'
meta #>> '{a,b}' = 'x'
meta @> '{"a": 1}'
meta ? 'a'
meta ?| '{a,b}'
meta ?& ARRAY['a', title]
meta @? '$.a'
meta @@ '$.a == 1'
meta - 'a' = '{}'
meta - 1 = '{}'
meta['a'] = '1'
meta['b'][0] = '1' and meta[1] is not null
meta[title] IS NULL
(meta->>'n')::int > 3
meta = '{"b":1, "a":2}'
'{"a":1}'::jsonb = meta
jsonb_path_exists(meta, '$.a')
jsonb_set(meta, '{a}', '1') = meta
jsonb_typeof(meta) = 'object'
js->'a' IS NOT NULL
js->>'a' = '1'
nums[1] = 1
nums[s] = 1
nums[1][2] = 2
nums[1:2] = '{1,2}'
nums[:2] = '{1,2}'
nums[1:2][1] = '{1,2}'
tags[id] LIKE 'a%'
(ARRAY[1,2,id])[1] = 1
(string_to_array(title, ','))[1] = 'a'
tags && ARRAY['a', 'b']
tags @> '{a}'
tags <@ ARRAY[title, 'x', v]
'a' = ANY(tags)
$1 = ANY(tags) ## a
id = ANY('{1,2}')
id = ANY($1) ## {1,2}
id = ANY(ARRAY[1,2]::bigint[])
id <> ALL(ARRAY[1, s])
id > ALL(nums)
title ~ ANY(tags)
d = ANY(nums)
mood = ANY('{ok}')
moods[1] = 'ok'
'ok' = ANY(moods)
moods @> ARRAY['ok']::mood[]
moods @> '{ok}'
nums = ARRAY[]::int[]
nums = ARRAY[[1,2],[3,4]]
nums = ARRAY['1', 2]
nums = ARRAY[1.5, '2']::int[]
nums::text[] = tags
nums::text = '{1,2,3}'
tags::varchar(1)[] = '{a}'
tags = ARRAY[[title, 'x'],[v,'y']]
array_length(nums, 1) = 2
array_append(nums, 1) = '{1}'
array_append(nums, big) = '{1}'
array_position(tags, 'x') = 1
nums || 1 = '{1}'
1 || nums = '{1}'
nums || '{1}' = '{1}'
cardinality(tags) = 1
mood = 'ok'
mood < 'ok'
mood::text = 'ok'
title::mood = mood
u = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'
r @> 5
r @> '[1,2)'
r @> s::int
id <@ r
r && int4range(1, 5)
r = '[1,2]'
lower(r) = 1
isempty(r)
r + r = r
mr @> 5
mr @> r
mr = '{[1,2]}'
int4multirange(r) = mr
tr @> '2024-01-01'::timestamptz
ip << '10.0.0.0/8'
ip = '10.0.0.1'
host(ip) = '10.0.0.1'
by = '\x00'
sha256(by) = by
encode(by, 'hex') = 'ff'
d = 5
d > id
d + 1 = 2
d::pos = 1
5::pos = id
p IS NULL
p IS NOT NULL
p = ROW(1, 'a')::pair
p = ROW(1, 'a')
p > ROW(1,'a')::pair
p IS DISTINCT FROM ROW(1,'a')::pair
ROW(id, title) = p
coalesce(title, 'x') = 'x'
coalesce($1, title) = 'a' ## x
coalesce(price, id) = 1
greatest(id, s, 5) = 5
least(id, price) = 1
nullif(id, 0) IS NULL
nullif(title, 'a') = 'b'
nullif(v, 'a') = 'b'
id IS DISTINCT FROM 1
id IS NOT DISTINCT FROM s
CASE WHEN done THEN 1 ELSE 2 END = 1
CASE WHEN id > 1 THEN price ELSE 1 END = 1
CASE WHEN id > 1 THEN 'a' END = title
CASE WHEN done THEN id > 1 WHEN id = 2 THEN NULL ELSE true END
CASE WHEN done THEN v ELSE title END = 'a'
(id, title) = (1, 'a')
(id, title) <> (1, 'a')
(id, title) < (1, 'a')
(id, s) >= (s, id)
(id, title) IN ((1,'a'), (2, 'b'))
(id, title) NOT IN ((1,'a'), (2, 'b'))
ROW(id) = ROW(1)
(id, title) = ROW(1, $1) ## x
(id, title) IS DISTINCT FROM (1, 'a')
(id, title) BETWEEN (1, 'a') AND (2, 'b')
bits = B'1010'
bits = X'A'
bits & B'1000' = B'1000'
id::bit(4) = B'0001'
id::text = '1'
id::text || 'x' = '1x'
title::int = 1
title::numeric(5,1) = 1
'1'::int = id
int4('1') = id
int8(id) = 1
text(id) = '1'
text(v) = '1'
float8(id) = 1
price::numeric(5,1) = 1.5
price::int = 1
v::char(3) = 'abc'
title::varchar(2) = 'ab'
id::numeric(10,2)::text = '1.00'
'abc'::char(2) = code
id::bool
title::bool IS NULL
plus(id) = 2
plus(id, 2) = 2
plus(b => id, a => s) = 3
plus(a => id) = 3
plus(id, b => 3) = 3
total(1, 2, id) = 3
total(VARIADIC nums) = 3
"we ird"(id) = '{1}'
"we ird"(title) = '{a}'
pick(id, price) = 1
pick('a', title) = 'a'
pick(1, 2.5) = price
twice('a') = title
twice(v) = 'aa'
concat(title, id, 'x') = 'a'
concat(VARIADIC tags) = 'a'
concat_ws(',', title, id) = 'a'
num_nulls(id, title) = 0
num_nonnulls(VARIADIC nums) = 0
length(title) > 3
length(c || ic) = 2
length(code) = 1
lower(v) = 'x'
upper(code) = 'x'
position('a' in title) = 1
substring(title from 1 for 2) = 'ab'
substring(title from 'a.') = 'ab'
trim(title) = 'a'
trim(leading 'x' from title) = 'a'
overlay(title placing 'x' from 1) = 'x'
title IS NORMALIZED
starts_with(title, 'a')
regexp_replace(title, 'a', 'b') = 'x'
lpad(title, 5, '0') = 'x'
left(title, 2) = 'ab'
abs(id) = 1
round(price) = 1
round(price, 1) = 1
mod(id, 2) = 0
power(id, 2) = 4
sqrt(id) = 2
px ~= '(1,1)'
px <-> px < 5
px <@ box '((0,0),(1,1))'
title OPERATOR(pg_catalog.=) 'x'
pg_catalog.lower(title) = 'a'
id OPERATOR(hidden.===) 1
FALSE
NULL
`)

/** Accepted, and written otherwise than Postgres keeps it, with the same meaning. */
export const REWRITTEN: ReadonlyArray<ClauseCase> = lines(String.raw`
CASE id WHEN 1 THEN 'a' WHEN 2 THEN 'b' END = title
CASE 'a' WHEN title THEN true END
CASE p WHEN ROW(1,'a') THEN true END
id IS DISTINCT FROM NULL
id IS NOT DISTINCT FROM NULL
p IS DISTINCT FROM NULL
p IS NOT DISTINCT FROM NULL
ROW(id, title) IS NULL
ROW(id, p) IS NOT NULL
(id, title) IS NOT NULL
ROW() IS NULL
title IS JSON
meta IS JSON OBJECT WITH UNIQUE KEYS
js IS NOT JSON ARRAY
'a' IS NULL
done IS NULL AND $1 IS NOT NULL ## 3
CASE WHEN true THEN 1 ELSE 1/0 END = id
id = 1 + 1
id = + 5
id + 1 = 1 + id
1 < 2 AND done
make_interval(days => s) = iv
lower(VARIADIC title) = 'a'
`)

/** Clauses that hold for every row. */
export const TRIVIAL: ReadonlyArray<ClauseCase> = lines(String.raw`
TRUE
true = true
1=1
(1 = 1)
'a' = 'a'
0=0
false=false
NULL IS NULL
$1 IS NOT NULL ## x
NOT FALSE
TRUE OR done
1 < 2
`)

/** Refused, with the message. `+` before a clause: Postgres accepts it. */
export const REFUSED: ReadonlyArray<
  readonly [clause: string, message: string, ...params: ReadonlyArray<string | null>]
> = [
  // Names.
  ["zzz = 1", "At location 0: unknown reference zzz"],
  ["id = zzz", "At location 5: unknown reference zzz"],
  ["+public.t.id = 1", "At location 0: unknown reference public.t.id"],
  ["+t.id = 1", "At location 0: unknown reference t.id"],
  ["+t IS NULL", "At location 0: unknown reference t"],
  ["+t.* IS NULL", "At location 0: unknown reference t.*"],
  ["\"ID\" = 1", "At location 0: unknown reference ID"],
  ["+ctid = '(0,1)'", "At location 0: unknown reference ctid"],
  ["title = 'é' AND id = zzz", "At location 21: unknown reference zzz"],
  ["foo(id)", "At location 0: unknown or unsupported function foo/1"],
  ["foo.bar(id, 1)", "At location 0: unknown or unsupported function bar/2"],
  ["public.lower(title) = 'a'", "At location 0: unknown or unsupported function lower/1"],
  ["NOT f(1, 2)", "At location 4: unknown or unsupported function f/2"],
  ["id === 1", "At location 3: unknown binary operator ==="],
  ["id OPERATOR(public.=) 1", "At location 3: unknown binary operator public.="],
  ["!!! id = 1", "At location 0: unknown unary operator !!!"],
  ["id::foo = 1", "At location 4: unsupported type foo"],
  ["id::public.int4 = 1", "At location 4: unsupported type public.int4"],
  ["title COLLATE \"nope\" = 'a'", "At location 6: unknown collation nope"],
  // Parameters.
  ["+id = $0", "At location 5: parameter $0 was not provided", "1"],
  ["+id = $3", "At location 5: parameter $3 was not provided", "1", "2"],
  ["id = $1", "At location 5: invalid syntax for type int4: x", "x"],
  ["+title = $1", "At location 8: invalid syntax for type text: a\0b (null byte)", "a\0b"],
  ["+id = $1 AND title = $1", "At location 20: type conflict for $1: int4 and text", "1"],
  ["id = $1::text", "At location 3: Could not select an operator overload", "1"],
  ["+ROW(id, $1) = p", "At location 8: invalid syntax for type unknown: a\0b (null byte)", "a\0b"],
  [`+${"NOT ".repeat(199)}(done AND ${"NOT ".repeat(9)}done)`, "At location 810: the clause is nested too deeply"],
  // Types.
  ["1", "WHERE clause must return a boolean"],
  ["+'t'", "WHERE clause must return a boolean"],
  ["title", "WHERE clause must return a boolean"],
  ["title || 'x'", "WHERE clause must return a boolean"],
  ["+$1", "WHERE clause must return a boolean", "t"],
  ["id::text", "WHERE clause must return a boolean"],
  ["id + 1", "WHERE clause must return a boolean"],
  ["id AND done", "At location 0: argument of AND must be bool, not int4"],
  ["done OR id", "At location 8: argument of OR must be bool, not int4"],
  ["NOT title", "At location 4: argument of NOT must be bool, not text"],
  ["id IS TRUE", "At location 0: argument of IS TRUE must be bool, not int4"],
  ["id IS NOT UNKNOWN", "At location 0: argument of IS NOT UNKNOWN must be bool, not int4"],
  ["CASE WHEN id THEN 1 END = 1", "At location 5: argument of CASE/WHEN must be bool, not int4"],
  ["title = 1", "At location 6: Could not select an operator overload"],
  ["id = true", "At location 3: Could not select an operator overload"],
  ["done = 1", "At location 5: Could not select an operator overload"],
  ["js = '{}'", "At location 3: Could not select an operator overload"],
  ["px = '(1,2)'", "At location 3: Could not select an operator overload"],
  ["mood = 'ok'::text", "At location 5: Could not select an operator overload"],
  ["meta > 1", "At location 5: Could not select an operator overload"],
  ["id !~ 'x'", "At location 3: Could not select an operator overload"],
  ["'[1,2)' @> '1'", "At location 8: Could not select an operator overload"],
  ["amb('1', '2')", "At location 0: Could not select a function overload for amb(unknown, unknown)"],
  ["lower(id) = 'a'", "At location 0: Could not select a function overload for lower(int4)"],
  ["plus('a', title) = 1", "At location 0: Could not select a function overload for plus(unknown, text)"],
  ["id = ANY(1)", "At location 3: argument of ANY must be an array"],
  ["id = ALL(title)", "At location 3: argument of ALL must be an array"],
  ["id + ANY(nums)", "At location 3: ANY/ALL requires operator that returns bool"],
  ["nums = ARRAY[]", "At location 7: cannot determine type of empty array"],
  ["nums = ARRAY[1, done]", "At location 7: ARRAY types int4 and bool cannot be matched"],
  ["tags = ARRAY[[v, 'x'],[title,'y']]", "At location 5: Could not select an operator overload"],
  ["coalesce(id, title) = 'a'", "At location 0: COALESCE types int4 and text cannot be matched"],
  ["CASE WHEN done THEN 1 ELSE title END = 1", "At location 0: CASE types text and int4 cannot be matched"],
  ["done::date = born", "At location 4: unknown cast from type bool to type date"],
  ["meta::uuid = u", "At location 4: unknown cast from type jsonb to type uuid"],
  ["id COLLATE \"C\" = 1", "At location 3: collations are not supported by type int4"],
  [
    "title COLLATE \"C\" < c COLLATE \"POSIX\"",
    "At location 0: collation mismatch between explicit collations \"C\" and \"POSIX\""
  ],
  ["+c < ic", "At location 2: could not determine which collation to use for string comparison"],
  [
    "+id = 1 AND c = ANY(ARRAY[ic])",
    "At location 13: could not determine which collation to use for string comparison"
  ],
  ["+(id, c) < (1, ic)", "At location 8: could not determine which collation to use for string comparison"],
  [
    "+upper(c || ic) = 'A' COLLATE \"C\"",
    "At location 0: could not determine which collation to use for string comparison"
  ],
  ["+c IS DISTINCT FROM ic", "At location 2: could not determine which collation to use for string comparison"],
  ["+greatest(c, ic) IS NULL", "At location 0: could not determine which collation to use for string comparison"],
  ["id[1] = 1", "At location 0: cannot subscript type int4 because it does not support subscripting"],
  ["nums[title] = 1", "At location 5: array subscript must have type int4"],
  ["meta[1:2] = '1'", "At location 0: jsonb subscript does not support slices"],
  ["meta[1.5] = '1'", "At location 5: subscript type numeric is not supported"],
  ["(id, s) = (1, 2, 3)", "At location 8: unequal number of entries in row expressions"],
  ["(id, s) ~~ (1, 2)", "At location 8: Could not select an operator overload"],
  ["total(1, VARIADIC nums) = 1", "At location 0: unknown or unsupported function total/2"],
  ["plus(VARIADIC nums) = 1", "At location 0: Could not select a function overload for plus(int4[])"],
  ["num_nulls(VARIADIC title) = 1", "At location 0: VARIADIC argument must be an array"],
  ["plus(b => id) = 3", "At location 0: unknown or unsupported function plus/1"],
  ["plus(id, a => 3) = 2", "At location 0: unknown or unsupported function plus/2"],
  ["plus(a => id, 3) = 2", "At location 0: positional argument cannot follow named argument"],
  // Values.
  ["id = 'x'", "At location 5: invalid syntax for type int4: x"],
  ["id = '99999999999'", "At location 5: invalid syntax for type int4: 99999999999"],
  ["FALSE AND id = 'x'", "At location 15: invalid syntax for type int4: x"],
  ["id IN (1, 'x')", "At location 10: invalid syntax for type int4: x"],
  ["born IN ('2024-01-01', 'x')", "At location 23: invalid syntax for type date: x"],
  ["CASE WHEN false THEN 'x' ELSE 1 END = 1", "At location 21: invalid syntax for type int4: x"],
  ["mood = 'nope'", "At location 7: invalid syntax for type mood: nope"],
  ["tr @> '2024-01-01'", "At location 6: invalid syntax for type tstzrange: 2024-01-01"],
  ["iv = interval 'x' day", "At location 14: invalid syntax for type interval: x"],
  ["+born = 'today'", "At location 7: invalid syntax for type date: today (relative to the present)"],
  ["+born = 'NOW()'", "At location 7: invalid syntax for type date: NOW() (relative to the present)"],
  [
    "+tr @> 'tomorrow'::timestamptz",
    "At location 6: invalid syntax for type timestamptz: tomorrow (relative to the present)"
  ],
  ["+tr = '[yesterday,)'", "At location 5: invalid syntax for type tstzrange: [yesterday,) (relative to the present)"],
  // Not immutable.
  ["+now() > at", "At location 0: function now() is not immutable"],
  ["+at > CURRENT_DATE", "At location 5: CURRENT_DATE is not immutable"],
  ["+title = CURRENT_USER", "At location 8: CURRENT_USER is not immutable"],
  ["+ts > LOCALTIMESTAMP(3)", "At location 5: LOCALTIMESTAMP is not immutable"],
  ["+random() > 0.5", "At location 0: unknown or unsupported function random/0"],
  ["+pg_sleep(1) IS NULL", "At location 0: unknown or unsupported function pg_sleep/1"],
  ["+vol(id)", "At location 0: function vol(int4) is not immutable"],
  ["+at > born", "At location 3: operator >(timestamptz, date) is not immutable"],
  ["+ts = at", "At location 3: operator =(timestamp, timestamptz) is not immutable"],
  ["+ts = ANY(ARRAY[at])", "At location 3: operator =(timestamp, timestamptz) is not immutable"],
  ["+coalesce(at, ts) = at", "At location 0: function timestamptz(timestamp) is not immutable"],
  ["+date_trunc('day', at) = '2024-01-01'", "At location 0: function date_trunc(text, timestamptz) is not immutable"],
  ["+extract(year from at) = 2024", "At location 0: function extract(text, timestamptz) is not immutable"],
  ["+to_char(ts, 'YYYY') = '2024'", "At location 0: function to_char(timestamp, text) is not immutable"],
  ["+rc = 'pg_class'::regclass", "At location 5: a literal of type regclass is not immutable"],
  ["+rc::text = 'x'", "At location 2: a cast from type regclass is not immutable"],
  ["+title::regclass = rc", "At location 5: function regclass(text) is not immutable"],
  ["+concat(rc) = 'a'", "At location 0: function concat(regclass) is not immutable"],
  // Not in a condition.
  ["count(*) > 1", "At location 0: aggregation is not supported in this context"],
  ["sum(id) > 1", "At location 0: aggregation is not supported in this context"],
  ["string_agg(DISTINCT title, ',') = 'a'", "At location 0: aggregation is not supported in this context"],
  ["row_number() OVER () = 1", "At location 0: window functions are not supported in this context"],
  ["rank() = 1", "At location 0: window function rank is not supported in this context"],
  ["unnest(nums) = 1", "At location 0: function unnest/1 returns a set, which is not supported here"],
  ["act() = 1", "At location 0: act is a procedure"],
  // Not supported.
  ["+id = (SELECT 1)", "At location 5: only `value IN (SELECT ...)` sublinks are supported right now"],
  ["+id IN (SELECT 1)", "Expected a single table reference"],
  ["+EXISTS (SELECT 1)", "Expected a single table reference"],
  [
    "+id IN (SELECT id FROM t)",
    "Table \"public\".\"t\" does not exist. If the table name contains capitals or special characters you must quote it."
  ],
  ["+(p).a = 1", "At location 1: selecting a field (a) is not supported in this context"],
  ["+x IS DOCUMENT", "At location 2: XmlExpr is not supported in this context"],
  ["+JSON_VALUE(meta, '$.a') = '1'", "At location 0: JsonFuncExpr is not supported in this context"],
  ["GROUPING(id) = 1", "At location 0: GroupingFunc is not supported in this context"],
  ["DEFAULT = 1", "At location 0: SetToDefault is not supported in this context"],
  ["id = 1 ORDER BY zzz", "malformed query ending with SQL clauses"],
  ["id = 1; DROP TABLE t", "unescaped \";\" causing statement split"]
]
