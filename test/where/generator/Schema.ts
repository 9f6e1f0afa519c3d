/**
 * A database for generated clauses: types, functions and operators of users, and tables of random columns and rows.
 */
import { quote, quoteLiteral } from "../../../src/domain/Identifier.ts"
import type { Random } from "./Random.ts"
import { types } from "./Types.ts"

/** What every table and clause may use. */
export const SETUP = `
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'Very "odd"', 'a''b', '1');
CREATE DOMAIN posint AS int4 CHECK (VALUE > 0);
CREATE DOMAIN label AS text CHECK (VALUE <> '');
CREATE TYPE fold;
CREATE FUNCTION fold_in(cstring) RETURNS fold LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION fold_out(fold) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE fold (INPUT = fold_in, OUTPUT = fold_out, LIKE = text, CATEGORY = 'S');
CREATE FUNCTION fold_eq(fold, fold) RETURNS bool LANGUAGE sql IMMUTABLE STRICT
  AS $$SELECT lower($1::text) = lower($2::text)$$;
CREATE OPERATOR = (LEFTARG = fold, RIGHTARG = fold, FUNCTION = fold_eq, COMMUTATOR = OPERATOR(public.=));
CREATE FUNCTION double_it(int4) RETURNS int4 LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION shout(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$BEGIN RETURN upper(t) || '!'; END$$;
CREATE FUNCTION add_up(a int4, b int4 DEFAULT 10) RETURNS int4 LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
CREATE FUNCTION biggest(VARIADIC int4[]) RETURNS int4 LANGUAGE sql IMMUTABLE AS 'SELECT max(i) FROM unnest($1) i';
CREATE FUNCTION first_of(anyarray) RETURNS anyelement LANGUAGE sql IMMUTABLE AS 'SELECT $1[1]';
CREATE FUNCTION lower(mood) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'mood ' || lower($1::text)$$;
CREATE FUNCTION near(int4, int4) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN abs($1 - $2) < 3; END$$;
CREATE OPERATOR ~=~ (LEFTARG = int4, RIGHTARG = int4, FUNCTION = near);
CREATE SCHEMA "Other ""schema""";
CREATE FUNCTION "Other ""schema"""."Odd ""name"""(int4) RETURNS int4 LANGUAGE sql IMMUTABLE AS 'SELECT -$1'`

export interface GeneratedColumn {
  readonly name: string
  /** Key of `types`. */
  readonly type: string
  readonly declaration: string
}

export interface GeneratedTable {
  readonly name: string
  readonly columns: ReadonlyArray<GeneratedColumn>
  /** Input texts. The first column is `row_id`, which numbers the rows from 0. */
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
  /** Makes the table and its rows. */
  readonly sql: string
}

const ODD_NAMES = [
  "weird \"names\"",
  "Mixed Case",
  "select",
  "a.b",
  "$1",
  "'; DROP TABLE t; --",
  "é😀",
  "--",
  "/*",
  "true",
  "\\",
  "between"
]

const literal = (value: string | null): string => value === null ? "NULL" : quoteLiteral(value)

const makeColumn = (random: Random, position: number, odd: Array<string>): GeneratedColumn => {
  const type = random.pick(Object.keys(types))
  const [name = `c${position}`] = random.chance(0.2) ? odd.splice(random.below(odd.length), 1) : []
  const { declarations } = types[type]!
  const [, ...declared] = declarations
  return { name, type, declaration: declared.length > 0 ? random.pick(declared) : declarations[0]! }
}

export interface TableSize {
  readonly columns: number
  readonly rows: number
}

export const makeTable = (random: Random, name: string, size: TableSize): GeneratedTable => {
  const odd = [...ODD_NAMES]
  const columns = [
    { name: "row_id", type: "int4", declaration: "int4" },
    // Most of what is written in practice is on these.
    { name: "n", type: "int4", declaration: "int4" },
    { name: "t", type: "text", declaration: "text" },
    ...Array.from({ length: size.columns - 3 }, (_, position) => makeColumn(random, position, odd))
  ]
  const rows = Array.from(
    { length: size.rows },
    (_, id) =>
      columns.map(({ type }, position) =>
        position === 0 ? String(id) : random.chance(0.12) ? null : random.pick(types[type]!.values)
      )
  )
  const declared = columns.map(({ declaration, name }) => `${quote(name)} ${declaration}`).join(", ")
  const values = rows.map((row) => `(${row.map(literal).join(", ")})`).join(",\n")
  return {
    name,
    columns,
    rows,
    sql: `CREATE TABLE ${quote(name)} (${declared}); INSERT INTO ${quote(name)} VALUES ${values}`
  }
}
