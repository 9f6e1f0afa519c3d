/**
 * Clauses with subqueries against Postgres: which are accepted, what they are taken for, and which rows they select, as
 * they are written, as they are printed, and leaf by leaf as they are planned.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer } from "effect"
import { isDeepStrictEqual } from "node:util"
import type { Clause, Expression, Member, Subquery } from "../../src/domain/Expression.ts"
import { quote } from "../../src/domain/Identifier.ts"
import { identity, type ShapeDefinition, type ShapeRequest } from "../../src/domain/ShapeDefinition.ts"
import { resolve } from "../../src/engine/ResolveDefinition.ts"
import * as Catalog from "../../src/source/Catalog.ts"
import { Database, DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { encodeRecord, recordDecoder } from "../../src/storage/StoreValues.ts"
import { accessOf } from "../../src/where/Access.ts"
import { compile } from "../../src/where/Compile.ts"
import { describe as describeClause } from "../../src/where/Describe.ts"
import { not } from "../../src/where/Logic.ts"
import { hasMember, type Plan, planOf, subqueriesOf, subqueryIdentity } from "../../src/where/Plan.ts"
import { printExpression } from "../../src/where/Print.ts"
import { keyOf, Row, Slots } from "../../src/where/Row.ts"
import { leafSql } from "../support/Positions.ts"
import * as Postgres from "../support/Postgres.ts"
import { makeRandom, type Random } from "./generator/Random.ts"
import { literalOf, subqueryClause, type SubqueryColumn, type SubqueryTable } from "./generator/Subqueries.ts"
import { mutate } from "./Mutations.ts"

const column = (name: string, type: SubqueryColumn["type"], notNull = false): SubqueryColumn => ({
  name,
  type,
  notNull
})

/** Tables that have names in common, of columns, of tables and of what the printer calls them. */
const tables: ReadonlyArray<SubqueryTable> = [
  {
    name: "t",
    columns: [
      column("id", "int4", true),
      column("a", "int4"),
      column("b", "int4", true),
      column("c", "text"),
      column("v", "varchar"),
      column("f", "bool"),
      column("m", "mood"),
      column("s1", "int8")
    ]
  },
  {
    name: "s1",
    columns: [
      column("id", "int4", true),
      column("a", "int8"),
      column("b", "int4", true),
      column("c", "varchar"),
      column("f", "bool", true),
      column("s2", "text")
    ]
  },
  { name: "other.\"Odd \"\"one\"", columns: [column("\"A b\"", "int4"), column("c", "text"), column("m", "mood")] },
  { name: "parts", columns: [column("id", "int8", true), column("a", "int4"), column("c", "text")] }
]

const SETUP = `
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE SCHEMA other;
CREATE DOMAIN label AS text;
CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE t (id int PRIMARY KEY, a int, b int NOT NULL, c text, v varchar(20), f bool, m mood, s1 int8);
CREATE TABLE s1 (id int PRIMARY KEY, a int8, b int NOT NULL, c varchar, f bool NOT NULL, s2 text);
CREATE TABLE other."Odd ""one" ("A b" int, c text, m mood);
CREATE TABLE parts (id int8 NOT NULL, a int, c text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (MINVALUE) TO (2);
CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (2) TO (MAXVALUE);
CREATE TABLE odd (
  id int PRIMARY KEY, n numeric, ch char(3), f8 float8, js jsonb, u uuid, l label, cc text COLLATE "C",
  ic text COLLATE "en-x-icu", fo text COLLATE folded, nums int[], d date, twice int GENERATED ALWAYS AS (id * 2) STORED,
  name name, i2 int2, p point
);
CREATE VIEW seen AS SELECT * FROM t;
CREATE TABLE nothing ()`

const attempt = Effect.fnUntraced(function*(request: Partial<ShapeRequest>) {
  const serverVersion = yield* Effect.flatMap(Database, (database) => database.serverVersion)
  const whole: ShapeRequest = {
    table: "t",
    where: undefined,
    params: [],
    columns: undefined,
    replica: "default",
    log: "full",
    ...request
  }
  return yield* Effect.either(resolve(whole, Math.min(serverVersion, 170_000)))
})

/** The definition, or the messages. */
const read = (where: string, request: Partial<ShapeRequest> = {}) =>
  Effect.map(
    attempt({ where, ...request }),
    Either.mapBoth({
      onLeft: (error) => error._tag === "InvalidRequest" ? error.errors : error._tag,
      onRight: ({ definition }) => definition
    })
  )

const clauseOf = (where: string, request: Partial<ShapeRequest> = {}) =>
  Effect.map(read(where, request), (found) => {
    if (Either.isLeft(found)) return assert.fail(`${where}: ${JSON.stringify(found.left)}`)
    return found.right.where
  })

const withTables = <A, E>(
  test: (db: Postgres.Queryable) => Effect.Effect<A, E, Catalog.Catalog | Database>
) =>
  Effect.gen(function*() {
    const database = yield* Postgres.makeDatabase
    yield* database.exec(SETUP)
    const db = yield* database.session
    yield* db.exec(DISPLAY_SETTINGS)
    return yield* Effect.provide(test(db), Layer.provideMerge(Catalog.layer, Postgres.poolsOf(database)))
  })

/** Rows of small values, so that many are equal and some are NULL. */
const fill = (random: Random): string =>
  tables.flatMap(({ columns, name }) => [
    `TRUNCATE ${name}`,
    ...Array.from({ length: 4 + random.below(10) }, (_, i) => {
      const values = columns.map((one) => one.name === "id" ? String(i) : literalOf(random, one).replace(/^'/, "E'"))
      return `INSERT INTO ${name} (${columns.map((one) => one.name).join(", ")}) VALUES (${values.join(", ")})`
    })
  ]).join(";\n")

const rowsOf = (db: Postgres.Queryable, condition: string) =>
  Effect.map(
    db.query(`SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') AS ids FROM t WHERE ${condition}`),
    ([row]) => row!.ids!
  )

describe("accepted forms", () => {
  /** The clause, and how it is printed, less schemas. */
  const forms: ReadonlyArray<readonly [string, string, ReadonlyArray<string | null>?]> = [
    ["a IN (SELECT b FROM s1)", "\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1)"],
    ["a = ANY (SELECT b FROM s1)", "\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1)"],
    ["a = SOME (SELECT s1.b FROM public.s1)", "\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1)"],
    ["a NOT IN (SELECT x.b FROM s1 AS x)", "NOT (\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1))"],
    ["a <> ALL (SELECT public.s1.b FROM s1)", "NOT (\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1))"],
    ["a != ALL (SELECT b x FROM s1)", "NOT (\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1))"],
    ["a IN ((SELECT b FROM ONLY s1))", "\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1)"],
    ["a IN (SELECT b FROM s1 WHERE true)", "\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1)"],
    ["a IN (SELECT b FROM s1 WHERE false) OR b = 1", "\"b\" = '1'::\"int4\""],
    ["NOT (a IN (SELECT b FROM s1 WHERE NULL)) AND b = 1", "\"b\" = '1'::\"int4\""],
    ["b = 1 OR (a IN (SELECT b FROM s1) AND 1 = 2)", "\"b\" = '1'::\"int4\""],
    ["a IN (SELECT id FROM parts)", "\"a\" = ANY (SELECT s1.\"id\" FROM parts AS s1)"],
    [
      "c IN (SELECT c FROM s1 WHERE b = 1 + 1)",
      "\"c\" = ANY (SELECT s1.\"c\" FROM ONLY s1 AS s1 WHERE s1.\"b\" = '2'::\"int4\")"
    ],
    [
      "c IN (SELECT c FROM s1 WHERE $1 = b AND $2 = f)",
      "\"c\" = ANY (SELECT s1.\"c\" FROM ONLY s1 AS s1 WHERE (s1.\"b\" = '7'::\"int4\") AND (s1.\"f\" = 't'::\"bool\"))",
      ["7", "true"]
    ],
    ["v::text IN (SELECT c FROM t)", "\"v\" = ANY (SELECT s1.\"c\" FROM ONLY t AS s1)"],
    [
      "(a, c) IN (SELECT b, c FROM s1)",
      "ROW(\"a\", \"c\") = ANY (SELECT s1.\"b\", s1.\"c\" FROM ONLY s1 AS s1)"
    ],
    [
      "ROW(a, c) = ANY (SELECT a, c FROM s1)",
      "ROW(\"a\", \"c\") = ANY (SELECT s1.\"a\", s1.\"c\" FROM ONLY s1 AS s1)"
    ],
    [
      "(id, b) NOT IN (SELECT id, b FROM s1)",
      "NOT (ROW(\"id\", \"b\") = ANY (SELECT s1.\"id\", s1.\"b\" FROM ONLY s1 AS s1))"
    ],
    [
      "EXISTS (SELECT 1 FROM s1 WHERE s1.b = t.a)",
      "(\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1)) IS TRUE"
    ],
    [
      "NOT EXISTS (SELECT FROM s1 x WHERE t.v = x.c AND x.b = t.a AND f)",
      "NOT ((ROW(\"v\", \"a\") = ANY (SELECT s1.\"c\", s1.\"b\" FROM ONLY s1 AS s1 WHERE s1.\"f\")) IS TRUE)"
    ],
    [
      "EXISTS (SELECT x.a FROM s1 x WHERE b = public.t.a)",
      "(\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1)) IS TRUE"
    ],
    [
      "EXISTS (SELECT * FROM parts WHERE id OPERATOR(pg_catalog.=) b)",
      "(\"b\" = ANY (SELECT s1.\"id\" FROM parts AS s1)) IS TRUE"
    ],
    [
      "(a IN (SELECT b FROM s1)) IS NOT TRUE",
      "NOT ((\"a\" = ANY (SELECT s1.\"b\" FROM ONLY s1 AS s1)) IS TRUE)"
    ],
    [
      "a IN (SELECT a FROM s1 WHERE a IN (SELECT a FROM t WHERE c = 'x'))",
      "\"a\" = ANY (SELECT s1.\"a\" FROM ONLY s1 AS s1 WHERE s1.\"a\" = ANY (SELECT s2.\"a\" FROM ONLY t AS s2 WHERE s2.\"c\" = 'x'::\"text\"))"
    ],
    [
      "EXISTS (SELECT 1 FROM s1 WHERE s1.a = t.a AND EXISTS (SELECT 1 FROM parts WHERE parts.c = s1.c))",
      "(\"a\" = ANY (SELECT s1.\"a\" FROM ONLY s1 AS s1 WHERE (s1.\"c\" = ANY (SELECT s2.\"c\" FROM parts AS s2)) IS TRUE)) IS TRUE"
    ],
    [
      "a IN (SELECT \"A b\" FROM other.\"Odd \"\"one\")",
      "\"a\" = ANY (SELECT s1.\"A b\" FROM ONLY \"other\".\"Odd \"\"one\" AS s1)"
    ],
    [
      "m IN (SELECT m FROM other.\"Odd \"\"one\" WHERE m = 'ok')",
      "\"m\" = ANY (SELECT s1.\"m\" FROM ONLY \"other\".\"Odd \"\"one\" AS s1 WHERE s1.\"m\" = 'ok'::mood)"
    ]
  ]

  const shorten = (sql: string): string =>
    sql.replaceAll("\"pg_catalog\".", "").replaceAll("OPERATOR(pg_catalog.=)", "=")
      .replaceAll(/"public"\."([a-z0-9]+)"/g, "$1")

  it.scopedLive("are printed as what they mean", () =>
    withTables(() =>
      Effect.gen(function*() {
        for (const [written, printed, params = []] of forms) {
          const clause = yield* clauseOf(written, { params })
          assert.strictEqual(shorten(clause?.sql ?? "TRUE"), printed, written)
        }
      })
    ))

  it.scopedLive("are read by what the catalog says now of their tables", () =>
    withTables((db) =>
      Effect.gen(function*() {
        yield* clauseOf("a IN (SELECT b FROM s1)")
        yield* db.exec("ALTER TABLE s1 ADD COLUMN later int; CREATE TABLE late (id int PRIMARY KEY)")
        const clause = yield* clauseOf("a IN (SELECT later FROM s1 WHERE later IN (SELECT id FROM late))")
        assert.deepStrictEqual(
          subqueriesOf(clause!.expression).map((
            { columns, hasPrimaryKey, keyColumns, only, schema, table, targets }
          ) => [
            schema,
            table,
            only,
            keyColumns,
            hasPrimaryKey,
            targets.map(({ name }) => name),
            columns
          ]),
          [
            ["public", "s1", true, ["id"], true, ["later"], [{ name: "id", typeOid: 23 }, {
              name: "later",
              typeOid: 23
            }]],
            ["public", "late", true, ["id"], true, ["id"], [{ name: "id", typeOid: 23 }]]
          ]
        )
        const odd = yield* clauseOf("a IN (SELECT \"A b\" FROM other.\"Odd \"\"one\")")
        const [keyless] = subqueriesOf(odd!.expression)
        assert.deepStrictEqual(keyless?.keyColumns, ["A b", "c", "m"])
        assert.isFalse(keyless?.hasPrimaryKey)
      })
    ))

  it.scopedLive("mixed, within each other and made up: printed they select the same rows, and are printed the same again", () =>
    withTables((db) =>
      Effect.gen(function*() {
        let subqueries = 0
        for (let seed = 1; seed <= ROUNDS; seed++) {
          const random = makeRandom(seed)
          yield* db.exec(fill(random))
          for (let i = 0; i < CLAUSES; i++) {
            const written = subqueryClause(random, tables)
            const clause = yield* clauseOf(written)
            const printed = clause?.sql ?? "TRUE"
            assert.strictEqual(
              yield* rowsOf(db, printed),
              yield* rowsOf(db, written),
              `${seed}: ${written}\n${printed}`
            )
            if (clause === undefined) continue
            assert.deepStrictEqual(yield* clauseOf(printed), clause, `${seed}: ${written}`)
            subqueries += subqueriesOf(clause.expression).length
          }
        }
        assert.isAbove(subqueries, ROUNDS * CLAUSES)
      })
    ))
})

// --- Plans ---

const ROUNDS = 12
const CLAUSES = 25

/** The rows of an inner shape, as the keys of their targets. */
const valuesOf = (db: Postgres.Queryable, { only, schema, table, targets, where }: Subquery) =>
  Effect.map(
    db.query(`SELECT ${targets.map(({ name }, i) => `${quote(name)}::text AS v${i}`).join(", ")}
      FROM ${only ? "ONLY " : ""}${quote(schema)}.${quote(table)} WHERE ${where?.sql ?? "TRUE"}`),
    (rows) =>
      rows.map((row) =>
        targets.map(({ type }, i) => {
          const text = row[`v${i}`] ?? null
          return text === null ? null : keyOf(type, text)
        })
      )
  )

type Keys = ReadonlyArray<string | null>

/** Equality of rows, in three-valued logic. */
const equals = (left: Keys, right: Keys): boolean | null => {
  let result: boolean | null = true
  for (const [i, key] of left.entries()) {
    const other = right[i] ?? null
    if (key === null || other === null) result = null
    else if (key !== other) return false
  }
  return result
}

/** Membership as the engine finds it: by keys, and for what it knows of NULL. */
const membership = (values: ReadonlyArray<Keys>, keys: Keys, nulls: Member["nulls"]): boolean | null => {
  const results = values.map((value) => equals(keys, value))
  if (results.includes(true)) return true
  return nulls === "in" && results.includes(null) ? null : false
}

const textOf = (value: boolean | null): string | null => value === null ? null : value ? "t" : "f"

/** What is wrong with a plan on the rows of a table: the leaves' values, and what they come to. */
const planFaults = Effect.fnUntraced(function*(
  db: Postgres.Queryable,
  from: string,
  { expression, sql }: Clause
): Effect.fn.Return<ReadonlyArray<string>, Postgres.QueryError> {
  const plan = planOf(expression)
  if (plan === undefined) return hasMember(expression) ? ["there is no plan"] : []
  const sets = yield* Effect.forEach(plan.dependencies, (dependency) => valuesOf(db, dependency))
  const links = plan.leaves.flatMap((leaf) => leaf._tag === "Member" ? leaf.member.links : [])
  const select = [
    ...plan.leaves.map((leaf, i) => `(${leafSql(leaf)}) AS leaf${i}`),
    ...links.map(({ name }) => `${quote(name)}::text AS ${quote(`link ${name}`)}`)
  ]
  const rows = yield* db.query(`SELECT (${sql}) AS whole, ${[...new Set(select)].join(", ")} FROM ${from}`)
  const wrong: Array<string> = []
  for (const row of rows) {
    for (const [i, leaf] of plan.leaves.entries()) {
      if (leaf._tag === "Plain") continue
      const keys = leaf.member.links.map(({ name, type }) => {
        const text = row[`link ${name}`] ?? null
        return text === null ? null : keyOf(type, text)
      })
      const value = membership(sets[leaf.dependency]!, keys, leaf.member.nulls)
      const found = textOf(leaf.negated && value !== null ? !value : value)
      if (found !== row[`leaf${i}`]) wrong.push(`${leafSql(leaf)} is ${row[`leaf${i}`]}, not ${found}`)
    }
    const holds = plan.disjuncts.some((disjunct) => disjunct.every((leaf) => row[`leaf${leaf}`] === "t"))
    if (holds !== (row.whole === "t")) wrong.push(`${sql} is ${row.whole}, not ${holds}`)
  }
  for (const { only, schema, table, where } of plan.dependencies) {
    if (where === undefined) continue
    wrong.push(...yield* planFaults(db, `${only ? "ONLY " : ""}${quote(schema)}.${quote(table)}`, where))
  }
  return wrong
})

/** A plan as the positions of the protocol: subqueries by their letter, plain conditions by their number. */
const positions = ({ disjuncts, leaves }: Plan): string =>
  disjuncts.map((disjunct) =>
    disjunct.map((number) => {
      const leaf = leaves[number]!
      if (leaf._tag === "Plain") {
        return leaf.sql.replaceAll("\"pg_catalog\".", "").replaceAll("OPERATOR(pg_catalog.=)", "=")
      }
      const name = `${leaf.member.links.map(({ name }) => name).join("+")} in ${"ST"[leaf.dependency]}`
      return leaf.negated ? `not ${name}` : name
    }).join(", ")
  ).join(" | ")

/** As JSON has it: without what is `undefined`. */
const plain = (value: ShapeDefinition | Plan | undefined): unknown => JSON.parse(JSON.stringify(value ?? null))

describe("plans", () => {
  const S = "(SELECT id FROM s1)"
  const T = "(SELECT id FROM parts)"
  const one = "\"b\" = '1'::\"int4\""
  /** The first five are those of Electric HTTP protocol §13.2. */
  const cases: ReadonlyArray<readonly [string, string]> = [
    [`a IN ${S}`, "a in S"],
    [`a IN ${S} AND b = 1`, `a in S, ${one}`],
    [`a IN ${S} OR b = 1`, `a in S | ${one}`],
    [`(a IN ${S} OR b IN ${T}) AND b = 1`, `a in S, ${one} | b in T, ${one}`],
    [`NOT (a IN ${S} OR b = 1)`, `not a in S, NOT (${one})`],
    [`NOT (a IN ${S} AND NOT (b NOT IN ${T} AND f))`, `not a in S | not b in T, "f"`],
    [`(a IN ${S} AND b = 1) OR (b = 1 AND a IN ${S})`, `a in S, ${one}`],
    [`a IN ${S} AND a IN (SELECT s1.id FROM s1 WHERE true) AND a IN ${S}`, "a in S"],
    [`a IN ${S} AND b NOT IN ${S}`, "a in S, not b in S"],
    [`a IN ${S} OR EXISTS (SELECT 1 FROM s1 WHERE s1.id = t.a)`, "a in S | a in S"],
    [`(a, b) IN (SELECT a, b FROM s1) OR (b, a) IN (SELECT a, b FROM s1)`, "a+b in S | b+a in S"],
    [`(a IS NULL) = f AND a IN ${S} AND f IS NOT TRUE`, "(\"a\" IS NULL) = \"f\", a in S, \"f\" IS NOT TRUE"]
  ]

  it.scopedLive("have the protocol's positions", () =>
    withTables(() =>
      Effect.forEach(cases, ([written, expected]) =>
        Effect.gen(function*() {
          const clause = yield* clauseOf(written)
          const plan = planOf(clause!.expression)!
          assert.strictEqual(positions(plan), expected, written)
          assert.strictEqual(planOf(clause!.expression), plan, "it is made once")
          const identities = plan.dependencies.map(subqueryIdentity)
          assert.strictEqual(new Set(identities).size, identities.length)
        }))
    ))

  it.scopedLive("come leaf by leaf to what Postgres says of the clause, and so do those of inner shapes", () =>
    withTables((db) =>
      Effect.gen(function*() {
        let nulls = 0
        for (let seed = 101; seed <= 100 + ROUNDS; seed++) {
          const random = makeRandom(seed)
          yield* db.exec(fill(random))
          for (let i = 0; i < CLAUSES; i++) {
            const written = subqueryClause(random, tables)
            const clause = yield* clauseOf(written)
            if (clause === undefined) continue
            assert.deepStrictEqual(yield* planFaults(db, "t", clause), [], `${seed}: ${written}`)
            const [row] = yield* db.query(`SELECT count(*) AS n FROM t WHERE (${clause.sql}) IS NULL`)
            nulls += Number(row!.n)
          }
        }
        assert.isAbove(nulls, ROUNDS)
      })
    ))

  it.scopedLive("of columns of every type that can be linked: equal values are told by their keys", () =>
    withTables((db) =>
      Effect.gen(function*() {
        yield* db.exec(`INSERT INTO odd (id, n, ch, f8, u, l, cc, ic, nums, d, name, i2) VALUES
          (1, 1.50, 'a', '-0', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a', 'a', 'a', '{1,2}', '2024-01-01', 'a', 1),
          (2, 1.5, 'a ', 0, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', 'A', 'ä', 'ä', '[0:1]={1,2}', 'infinity', 'ä', 2),
          (3, 'NaN', '', 'NaN', NULL, '', '', '', '{}', '-infinity', '', -1),
          (4, -100, 'abc', 'Infinity', NULL, 'a ', 'a ', 'a ', '{{1,2}}', '0044-03-15 BC', 'a ', 0),
          (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
          (10, 1.500, 'a', 0, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a', 'a', 'a', '{1,2}', '2024-01-01', 'a', 10),
          (11, 'NaN', 'x', '-0', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13', 'ä', 'ä', 'ä', '{1,2,NULL}', 'infinity', 'b', 11)`)
        const own = ["n", "ch", "f8", "u", "l", "cc", "ic", "nums", "d", "name", "i2"].map((name) => [name, name])
        const mixed = [["l", "cc"], ["cc", "l"], ["name", "cc"], ["cc", "name"], ["id", "i2"], ["i2", "id"], [
          "l",
          "name"
        ]]
        for (const [link, target] of [...own, ...mixed]) {
          for (const inner of [`${target} IS NOT NULL AND id >= 10`, "id >= 4", "false OR id < 3"]) {
            const where = `NOT (${link} IN (SELECT ${target} FROM odd WHERE ${inner}))`
            const clause = yield* clauseOf(where, { table: "odd", columns: ["id"] })
            assert.deepStrictEqual(yield* planFaults(db, "odd", clause!), [], where)
          }
        }
      })
    ))

  it.scopedLive("stay, as definitions do, what they are in storage", () =>
    withTables(() =>
      Effect.gen(function*() {
        const random = makeRandom(7)
        const decode = recordDecoder()
        for (let i = 0; i < 30; i++) {
          const found = yield* read(subqueryClause(random, tables), { tags: "none" })
          if (Either.isLeft(found)) return assert.fail(JSON.stringify(found.left))
          const definition = found.right
          const record = decode(encodeRecord({ id: i, handle: "h", definition, snapshot: undefined }))
          assert.deepStrictEqual(plain(record.definition), plain(definition))
          assert.strictEqual(identity(record.definition), identity(definition))
          const [before, after] = [definition, record.definition].map(({ where }) => where && planOf(where.expression))
          assert.deepStrictEqual(plain(after), plain(before))
        }
      })
    ))

  it.scopedLive("are followed, not compiled, and described", () =>
    withTables(() =>
      Effect.gen(function*() {
        const clause = yield* clauseOf(`b = 1 AND a NOT IN ${S}`)
        const expression: Expression = clause!.expression
        assert.deepStrictEqual(clause!.columns.map(({ name }) => name), ["b", "a"])
        const member = planOf(expression)!.leaves.find((leaf) => leaf._tag === "Member")!.member
        assert.deepStrictEqual(accessOf(member), { terms: undefined, exact: false })
        assert.isUndefined(compile(not(member), new Slots())(new Row(new Slots())))
        assert.deepStrictEqual(describeClause(expression), {
          parts: [
            { sql: "\"b\" OPERATOR(pg_catalog.=) '1'::\"pg_catalog\".\"int4\"", by: "closure" },
            { sql: printExpression(member), by: "subquery" }
          ],
          index: ["b = 1"],
          exact: false
        })
      })
    ))
})

// --- Refusals ---

/** Rows, or the class of Postgres's error: it may come upon one of several first. */
const outcome = (result: Either.Either<string, Postgres.QueryError> | undefined): string | undefined =>
  result && Either.match(result, { onLeft: ({ code }) => `error ${code.slice(0, 2)}`, onRight: (ids) => ids })

const located = (place: number, message: string) => `At location ${place}: ${message}`
const ONLY_IN = "only `value IN (SELECT ...)` sublinks are supported right now"
const LEFT_SIDE =
  "currently, left side of `IN (SELECT ...)` can only be a column reference or a list of column references"
const NO_CLAUSES = "SELECT statement must not contain any clauses"
const SINGLE_TABLE = "Expected a single table reference"
const CONDITIONS = "subqueries can only be conditions that are joined by AND, OR and NOT"
const LIST = "EXISTS can only select constants and columns"
const CORRELATION =
  "EXISTS needs a condition that compares a column of its table with one of the table around it, as in t.a = outer.b"
const NULLABLE_ROW =
  "NOT IN over several columns needs all of them, on both sides, to be NOT NULL; use NOT EXISTS instead"
const missing = (schema: string, name: string) =>
  `Table "${schema}"."${name}" does not exist. If the table name contains capitals or special characters you must quote it.`
const types = (left: string, right: string) =>
  `left side of \`IN (SELECT ...)\` has type ${left} but subquery returns ${right}`
const around = (name: string) =>
  `${name} is a column of a table around the subquery, which only EXISTS can refer to, as in t.a = ${name}`

describe("refusals", () => {
  const cases: ReadonlyArray<readonly [string, string, string?]> = [
    // Other subqueries.
    ["a = (SELECT 1)", located(4, ONLY_IN)],
    ["a = ARRAY(SELECT b FROM s1)", located(4, ONLY_IN)],
    ["a > ANY (SELECT b FROM s1)", located(2, ONLY_IN)],
    ["a = ALL (SELECT b FROM s1)", located(2, ONLY_IN)],
    ["a <> ANY (SELECT b FROM s1)", located(2, ONLY_IN)],
    ["c LIKE ANY (SELECT c FROM s1)", located(2, ONLY_IN)],
    ["a OPERATOR(public.=) ANY (SELECT b FROM s1)", located(2, ONLY_IN)],
    // Elsewhere than as conditions.
    ["(a IN (SELECT b FROM s1)) = true", located(3, CONDITIONS)],
    ["(a IN (SELECT b FROM s1)) IS FALSE", located(3, CONDITIONS)],
    ["(NOT a IN (SELECT b FROM s1)) IS TRUE", located(7, CONDITIONS)],
    ["(a IN (SELECT b FROM s1)) IS NULL", located(3, CONDITIONS)],
    ["CASE WHEN a IN (SELECT b FROM s1) THEN true ELSE f END", located(12, CONDITIONS)],
    ["coalesce(EXISTS (SELECT 1 FROM s1 WHERE b = a), f)", located(9, CORRELATION)],
    ["coalesce(EXISTS (SELECT 1 FROM s1 WHERE b = t.a), f)", located(9, CONDITIONS)],
    ["b = 1 AND (a IN (SELECT b FROM s1) OR f) IS NOT TRUE", located(13, CONDITIONS)],
    ["ARRAY[a IN (SELECT b FROM s1)] = '{t}'", located(8, CONDITIONS)],
    ["a IN (SELECT b FROM s1 WHERE (b IN (SELECT id FROM t)) = f)", located(32, CONDITIONS)],
    // The left side.
    ["a + 1 IN (SELECT b FROM s1)", located(2, LEFT_SIDE)],
    ["1 IN (SELECT b FROM s1)", located(0, LEFT_SIDE)],
    ["(a, 1) IN (SELECT b, b FROM s1)", located(4, LEFT_SIDE)],
    ["ROW() IN (SELECT b FROM s1)", located(6, LEFT_SIDE)],
    ["c COLLATE \"C\" IN (SELECT c FROM s1)", located(2, LEFT_SIDE)],
    ["a::int8 IN (SELECT a FROM s1)", located(1, LEFT_SIDE)],
    ["nope IN (SELECT b FROM s1)", located(0, "unknown reference nope")],
    ["t.a IN (SELECT b FROM s1)", located(0, "unknown reference t.a")],
    // Types.
    ["a IN (SELECT c FROM s1)", located(2, types("int4", "varchar"))],
    ["a IN (SELECT a, b FROM s1)", located(2, types("int4", "(int8, int4)"))],
    ["(a, c) IN (SELECT b FROM s1)", located(7, types("(int4, text)", "int4"))],
    ["(a, c) IN (SELECT c, b FROM s1)", located(7, types("(int4, text)", "(varchar, int4)"))],
    ["a IN (SELECT FROM s1)", located(2, types("int4", "()"))],
    ["id IN (SELECT n FROM odd)", located(3, types("int4", "numeric"))],
    ["m IN (SELECT c FROM s1)", located(2, types("mood", "varchar"))],
    ["js IN (SELECT js FROM odd)", located(3, "subqueries over columns of type jsonb are not supported"), "odd"],
    ["p IN (SELECT p FROM odd)", located(2, "subqueries over columns of type point are not supported"), "odd"],
    [
      "fo IN (SELECT fo FROM odd)",
      located(3, "subqueries over columns with the nondeterministic collation folded are not supported"),
      "odd"
    ],
    [
      "cc IN (SELECT ic FROM odd)",
      located(3, "could not determine which collation to use for string comparison"),
      "odd"
    ],
    ["(a, c) NOT IN (SELECT b, c FROM s1)", located(7, NULLABLE_ROW)],
    ["NOT (b = 1 AND (id, b) IN (SELECT b, a FROM s1))", located(23, NULLABLE_ROW)],
    // The subselect.
    ["a IN (SELECT DISTINCT b FROM s1)", NO_CLAUSES],
    ["a IN (SELECT b FROM s1 GROUP BY b)", NO_CLAUSES],
    ["a IN (SELECT b FROM s1 HAVING true)", NO_CLAUSES],
    ["a IN (SELECT b FROM s1 WINDOW w AS ())", NO_CLAUSES],
    ["a IN (SELECT b FROM s1 ORDER BY b)", NO_CLAUSES],
    ["a IN (SELECT b FROM s1 LIMIT 1)", NO_CLAUSES],
    ["a IN (SELECT b FROM s1 OFFSET 1)", NO_CLAUSES],
    [
      "a IN (SELECT b FROM s1 FETCH FIRST ROW WITH TIES)",
      located(0, "WITH TIES cannot be specified without ORDER BY clause")
    ],
    ["a IN (SELECT b FROM s1 FOR UPDATE)", NO_CLAUSES],
    ["a IN (WITH w AS (SELECT 1) SELECT b FROM s1)", NO_CLAUSES],
    ["a IN (SELECT b FROM s1 UNION SELECT b FROM s1)", NO_CLAUSES],
    ["a IN (VALUES (1))", NO_CLAUSES],
    ["a IN (SELECT b INTO x FROM s1)", NO_CLAUSES],
    ["a IN (SELECT b FROM s1, parts)", SINGLE_TABLE],
    ["a IN (SELECT b FROM s1 JOIN parts USING (id))", SINGLE_TABLE],
    ["a IN (SELECT 1)", SINGLE_TABLE],
    ["a IN (SELECT b FROM (SELECT b FROM s1) AS x)", SINGLE_TABLE],
    ["a IN (SELECT b FROM generate_series(1, 2) AS b)", SINGLE_TABLE],
    ["a IN (SELECT y FROM s1 AS x (y))", SINGLE_TABLE],
    ["a IN (SELECT b FROM s1 TABLESAMPLE system (1))", SINGLE_TABLE],
    ["a IN (SELECT b FROM ONLY parts)", located(25, "ONLY can't be used with a partitioned table")],
    ["a IN (SELECT * FROM s1)", located(13, "Expected a plain column reference")],
    ["a IN (SELECT s1.* FROM s1)", located(13, "Expected a plain column reference")],
    ["a IN (SELECT b + 1 FROM s1)", located(15, "Expected a plain column reference")],
    ["a IN (SELECT count(b) FROM s1)", located(13, "Expected a plain column reference")],
    ["a IN (SELECT 1 FROM s1)", located(13, "Expected a plain column reference")],
    ["a IN (SELECT nope FROM s1)", located(13, "unknown reference nope")],
    ["a IN (SELECT t.b FROM s1)", located(13, around("t.b"))],
    ["a IN (SELECT s1.b FROM s1 AS x)", located(13, "unknown reference s1.b")],
    ["a IN (SELECT m FROM s1)", located(13, around("m"))],
    ["a IN (SELECT b FROM s1 WHERE s1.a = t.a)", located(36, around("t.a"))],
    ["a IN (SELECT b FROM s1 WHERE m = 'ok')", located(29, around("m"))],
    ["a IN (SELECT b FROM s1 WHERE b)", "WHERE clause must return a boolean"],
    ["a IN (SELECT b FROM s1 WHERE b = 'x')", located(33, "invalid syntax for type int4: x")],
    ["b = 1 OR a IN (SELECT b FROM s1 WHERE b = $1)", located(42, "parameter $1 was not provided")],
    ["a IN (SELECT b FROM s1 WHERE now() > '2020-01-01')", located(29, "function now() is not immutable")],
    // Tables.
    ["a IN (SELECT b FROM nope)", missing("public", "nope")],
    ["a IN (SELECT b FROM other.nope)", missing("other", "nope")],
    ["a IN (SELECT b FROM s1 WHERE b IN (SELECT b FROM \"S1\"))", missing("public", "S1")],
    ["a IN (SELECT a FROM seen)", missing("public", "seen")],
    ["a IN (SELECT a FROM nothing)", missing("public", "nothing")],
    ["a IN (SELECT b FROM here.there.s1)", missing("there", "s1")],
    [
      "a IN (SELECT twice FROM odd)",
      "column twice of table odd is generated and cannot be used in the where clause"
    ],
    [
      "a IN (SELECT id FROM odd WHERE twice > 2)",
      "column twice of table odd is generated and cannot be used in the where clause"
    ],
    // EXISTS.
    ["EXISTS (SELECT 1 FROM s1)", located(0, CORRELATION)],
    ["EXISTS (SELECT 1 FROM s1 WHERE s1.b = 1 AND s1.a = s1.b)", located(0, CORRELATION)],
    ["EXISTS (SELECT 1 FROM s1 WHERE s1.a = t.a OR f)", located(38, around("t.a"))],
    ["EXISTS (SELECT 1 FROM s1 WHERE s1.a < t.a)", located(38, around("t.a"))],
    ["EXISTS (SELECT 1 FROM s1 WHERE s1.b + 1 = t.a)", located(42, around("t.a"))],
    [
      "EXISTS (SELECT 1 FROM s1 WHERE s1.a = t.c)",
      located(36, "EXISTS can only compare columns of one type, not int8 with text")
    ],
    ["EXISTS (SELECT 1 FROM s1 WHERE s1.b = nope.a AND b = t.a)", located(38, "unknown reference nope.a")],
    ["EXISTS (SELECT count(*) FROM s1 WHERE s1.b = t.a)", located(15, LIST)],
    ["EXISTS (SELECT 1 / 0 FROM s1 WHERE s1.b = t.a)", located(17, LIST)],
    ["EXISTS (SELECT nope FROM s1 WHERE s1.b = t.a)", located(15, "unknown reference nope")],
    ["EXISTS (SELECT 1 FROM s1 WHERE s1.b = t.a LIMIT 0)", NO_CLAUSES],
    [
      "EXISTS (SELECT 1 FROM s1 x WHERE x.b = t.a AND EXISTS (SELECT 1 FROM parts WHERE parts.a = t.a AND parts.id = x.b))",
      located(91, around("t.a"))
    ],
    // Size.
    [
      Array.from({ length: 7 }, () => "(a IN (SELECT b FROM s1) OR b = 1)").join(" AND "),
      "WHERE clause too complex for DNF decomposition (128 disjuncts exceeds limit of 100)"
    ],
    [
      `a IN (SELECT b FROM s1 WHERE NOT (${
        Array.from({ length: 7 }, () => "(f AND b IN (SELECT id FROM t))").join(" OR ")
      }))`,
      "WHERE clause too complex for DNF decomposition (128 disjuncts exceeds limit of 100)"
    ],
    [
      `a IN (SELECT b FROM s1) AND ${Array.from({ length: 1000 }, (_, i) => `b <> ${i}`).join(" AND ")}`,
      "WHERE clause too complex for DNF decomposition (1001 positions exceeds limit of 1000)"
    ]
  ]

  it.scopedLive("with the protocol's messages where it has some", () =>
    withTables(() =>
      Effect.gen(function*() {
        const wrong: Array<string> = []
        for (const [where, message, table = "t"] of cases) {
          const found = yield* read(where, { table, ...(table === "odd" && { columns: ["id"] }) })
          const expected = { where: [message] }
          if (Either.isRight(found)) wrong.push(`${where}: accepted as ${found.right.where?.sql}`)
          else if (!isDeepStrictEqual(found.left, expected)) {
            wrong.push(`${where}\n  ${JSON.stringify(found.left)}\n  ${message}`)
          }
        }
        assert.strictEqual(wrong.join("\n"), "")
      })
    ))

  it.scopedLive("of a parameter that has two types in two tables", () =>
    withTables(() =>
      Effect.gen(function*() {
        const found = yield* read("b = $1 AND a IN (SELECT b FROM s1 WHERE c = $1)", { params: ["1"] })
        assert.deepStrictEqual(found, Either.left({ where: [located(44, "type conflict for $1: int4 and text")] }))
      })
    ))

  it.scopedLive("of too much: they say so, and take no time", () =>
    withTables(() =>
      Effect.gen(function*() {
        const nested = (depth: number): string =>
          depth === 0 ? "b = 1" : `b IN (SELECT b FROM s1 WHERE ${nested(depth - 1)})`
        const messageOf = Effect.fnUntraced(function*(where: string) {
          const found = yield* read(where)
          if (Either.isRight(found)) return "accepted"
          return typeof found.left === "string" ? found.left : JSON.stringify(found.left.where)
        })
        assert.strictEqual(yield* messageOf(nested(10)), "accepted")
        assert.include(yield* messageOf(nested(11)), "the clause's subqueries are nested too deeply")
        assert.include(yield* messageOf(nested(200)), "the clause's subqueries are nested too deeply")
        assert.include(yield* messageOf("b IN (SELECT b FROM s1 WHERE ".repeat(2000)), "memory exhausted")
        assert.include(yield* messageOf("a IN (".repeat(10_000)), "memory exhausted")
        assert.include(
          yield* messageOf(`${"EXISTS (SELECT ".repeat(1900)}1${")".repeat(1900)}`),
          "nested too deeply"
        )
        const many = (count: number) =>
          Array.from({ length: count }, (_, i) => `a IN (SELECT b FROM s1 WHERE b = ${i})`)
        assert.strictEqual(yield* messageOf(many(100).join(" AND ")), "accepted")
        assert.strictEqual(yield* messageOf(many(100).join(" OR ")), "accepted")
        assert.include(yield* messageOf(many(101).join(" OR ")), "the clause has more than 100 subqueries")
        const list = Array.from({ length: 10_000 }, (_, i) => i).join(",")
        assert.strictEqual(yield* messageOf(`a IN (SELECT b FROM s1 WHERE b IN (${list}))`), "accepted")
        const tables = Array.from({ length: 90 }, (_, i) => `a IN (SELECT b FROM nope${i})`).join(" OR ")
        assert.include(yield* messageOf(tables), "nope0")
      })
    ))

  it.scopedLive("with a message, of what is nearly right; what is accepted of that means what Postgres takes it for", () =>
    withTables((db) =>
      Effect.gen(function*() {
        const counts = { accepted: 0, refused: 0 }
        for (let seed = 201; seed <= 200 + ROUNDS; seed++) {
          const random = makeRandom(seed)
          yield* db.exec(fill(random))
          for (let i = 0; i < 2 * CLAUSES; i++) {
            const [one, other] = [subqueryClause(random, tables), subqueryClause(random, tables)]
            const { sql } = mutate(random, { sql: one, params: [] }, { sql: other, params: [] })
            const found = yield* read(sql)
            if (Either.isLeft(found)) {
              const [message] = typeof found.left === "string" ? [] : [found.left.where].flat()
              assert.isNotEmpty(message, sql)
              counts.refused += 1
              continue
            }
            const printed = found.right.where?.sql ?? "TRUE"
            const [ours, theirs] = yield* Effect.all([rowsOf(db, printed), rowsOf(db, `${sql}\n`)].map(Effect.either))
            assert.deepStrictEqual(outcome(ours), outcome(theirs), `${seed}: ${sql}\n${printed}`)
            counts.accepted += 1
          }
        }
        assert.isAbove(counts.accepted, 5 * ROUNDS)
        assert.isAbove(counts.refused, 5 * ROUNDS)
      })
    ))

  it.scopedLive("of compaction, and tags that nothing would have", () =>
    withTables(() =>
      Effect.gen(function*() {
        const clause = "a IN (SELECT b FROM s1)"
        assert.deepStrictEqual(
          yield* read(clause, { compaction: true }),
          Either.left({ experimental_compaction: ["can't be enabled for shapes with subqueries"] })
        )
        const definition = Effect.fnUntraced(function*(where: string | undefined, request: Partial<ShapeRequest>) {
          const found = yield* attempt({ where, ...request })
          return Either.isRight(found) ? found.right.definition : assert.fail(JSON.stringify(found.left))
        })
        const plain: ShapeDefinition = yield* definition("a = 1", {})
        assert.deepStrictEqual(yield* definition("a = 1", { tags: "none", compaction: true }), plain)
        const tagged = yield* definition(clause, {})
        const untagged = yield* definition(clause, { tags: "none" })
        assert.deepStrictEqual(untagged, { ...tagged, tags: "none" })
        assert.notStrictEqual(identity(untagged), identity(tagged))
      })
    ))
})
