import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Option } from "effect"
import { DatabaseUnavailable } from "../../src/domain/Errors.ts"
import type { ColumnInfo, TableInfo } from "../../src/domain/Relation.ts"
import { identity, type ShapeRequest } from "../../src/domain/ShapeDefinition.ts"
import { resolve } from "../../src/engine/ResolveDefinition.ts"
import { Catalog } from "../../src/source/Catalog.ts"
import { smallSqlCatalog } from "../support/SmallSqlCatalog.ts"
import { column } from "../where/Columns.ts"

const table = (
  name: string,
  columns: ReadonlyArray<ColumnInfo>,
  primaryKey: ReadonlyArray<string> = [],
  rest: Partial<TableInfo> = {}
): TableInfo => ({
  oid: 16_384,
  schema: "public",
  name,
  kind: "table",
  columns: columns.map((one, i) => ({ ...one, position: i + 1 })),
  primaryKey,
  partitions: [],
  ancestors: [],
  ...rest
})

const id = column("id", "int4", 23, { notNull: true, keyIndex: 0 })
const title = column("title", "text", 25)
const stored = column("upper", "text", 25, { generated: "stored" })
const virtual = column("lower", "text", 25, { generated: "virtual" })
const tables = [
  table("items", [id, title, column("born", "date", 1082)], ["id"]),
  table("Odd.Items", [title, column("a,b", "int4", 23), id], ["id", "a,b"], { schema: "App" }),
  table("log", [title, column("level", "int4", 23)]),
  table("nothing", []),
  table("with_stored", [id, title, stored], ["id"]),
  table("with_virtual", [id, title, virtual], ["id"]),
  table("log_with_stored", [title, stored])
]

/** Knows the tables above; `x` is no value of any type, and every date is that of the year 2000. */
const catalog = Catalog.of({
  table: (schema, name) =>
    name === "down"
      ? new DatabaseUnavailable({ operation: "catalog", cause: "gone" })
      : Effect.succeed(Option.fromNullable(tables.find((one) => one.schema === schema && one.name === name))),
  tableByOid: () => Effect.succeedNone,
  forget: () => Effect.void,
  sql: Effect.succeed(smallSqlCatalog),
  forgetSql: Effect.void,
  evaluate: (expressions) =>
    expressions.some((sql) => sql.includes("'down'"))
      ? new DatabaseUnavailable({ operation: "evaluating", cause: "gone" })
      : Effect.succeed(
        expressions.map((sql) => sql.includes("'x'") ? Either.left("invalid input syntax") : Either.right("2000-01-01"))
      ),
  check: (_schema, _table, sql) =>
    Effect.succeed(sql.includes("'refused'") ? Either.left("Postgres does not like it") : Either.void)
})

const attempt = (request: Partial<ShapeRequest> & { readonly table: string }, serverVersion = 150_018) =>
  resolve(
    { where: undefined, params: [], columns: undefined, replica: "default", log: "full", ...request },
    serverVersion
  ).pipe(Effect.provideService(Catalog, catalog), Effect.either)

const refused = (field: string, message: string) => (result: Either.Either<unknown, unknown>) => {
  assert(Either.isLeft(result))
  assert.deepInclude(result.left, { _tag: "InvalidRequest", errors: { [field]: [message] } })
}

describe("table", () => {
  const missing = (name: string) =>
    `Table ${name} does not exist. If the table name contains capitals or special characters you must quote it.`
  const cases: ReadonlyArray<readonly [string, string]> = [
    ["nope", missing("\"public\".\"nope\"")],
    ["app.items", missing("\"app\".\"items\"")],
    ["Odd.Items", missing("\"odd\".\"items\"")],
    ["\"Items\"", missing("\"public\".\"Items\"")],
    ["nothing", missing("\"public\".\"nothing\"")],
    ["a.b.c", "Invalid relation identifier, too many delimiters: a.b.c"],
    [".x", "Invalid zero-length delimited identifier"],
    ["a b", "Invalid unquoted identifier contains special characters: a b"]
  ]
  for (const [text, message] of cases) {
    it.effect(text, () => Effect.map(attempt({ table: text }), refused("table", message)))
  }

  it.effect("that can't be looked up", () =>
    Effect.gen(function*() {
      const result = yield* attempt({ table: "down" })
      assert(Either.isLeft(result))
      assert.strictEqual(result.left._tag, "DatabaseUnavailable")
    }))
})

describe("columns", () => {
  it.effect("all of them, in table order", () =>
    Effect.gen(function*() {
      const result = yield* attempt({ table: "Items" })
      assert(Either.isRight(result))
      assert.strictEqual(result.right.table, tables[0])
      assert.deepStrictEqual(result.right.definition, {
        tableOid: 16_384,
        schema: "public",
        table: "items",
        keyColumns: ["id"],
        hasPrimaryKey: true,
        columns: [{ name: "id", typeOid: 23 }, { name: "title", typeOid: 25 }, { name: "born", typeOid: 1082 }],
        explicitColumns: false,
        where: undefined,
        replica: "default",
        log: "full"
      })
    }))

  it.effect("selected ones come in table order, the key in key order", () =>
    Effect.gen(function*() {
      const one = yield* attempt({ table: "\"App\".\"Odd.Items\"", columns: ["id", "a,b", "id"], replica: "full" })
      const other = yield* attempt({ table: "\"App\".\"Odd.Items\"", columns: ["a,b", "id"], replica: "full" })
      assert(Either.isRight(one) && Either.isRight(other))
      assert.deepInclude(one.right.definition, {
        schema: "App",
        table: "Odd.Items",
        keyColumns: ["id", "a,b"],
        columns: [{ name: "a,b", typeOid: 23 }, { name: "id", typeOid: 23 }],
        explicitColumns: true,
        replica: "full"
      })
      assert.strictEqual(identity(one.right.definition), identity(other.right.definition))
    }))

  it.effect("without a primary key all columns are the key", () =>
    Effect.gen(function*() {
      const result = yield* attempt({ table: "log", log: "changes_only" })
      assert(Either.isRight(result))
      assert.deepInclude(result.right.definition, {
        keyColumns: ["title", "level"],
        hasPrimaryKey: false,
        log: "changes_only"
      })
    }))

  const missing = (names: string) => `The list of columns must include all primary key columns, missing: ${names}`
  const generated = (names: string) =>
    `The following columns are generated and cannot be included in the shape: ${names}`
  const hint =
    ". You can exclude them from the shape by explicitly listing which columns to fetch in the 'columns' query param"
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<string> | undefined, number, string]> = [
    ["items", ["title"], 150_000, missing("id")],
    ["items", ["zzz"], 150_000, missing("id")],
    ["\"App\".\"Odd.Items\"", ["title"], 150_000, missing("id, a,b")],
    ["log", ["title"], 150_000, missing("level")],
    ["items", ["id", "zzz", "yyy"], 150_000, "The following columns are not found on the table: zzz, yyy"],
    ["items", ["id", "ID"], 150_000, "The following columns are not found on the table: ID"],
    ["with_stored", ["id", "upper"], 170_005, generated("upper")],
    ["with_stored", undefined, 170_005, generated("upper") + hint],
    ["with_virtual", ["id", "lower"], 180_000, generated("lower")],
    ["with_virtual", undefined, 180_000, generated("lower") + hint],
    ["log_with_stored", ["title"], 150_000, missing("upper")]
  ]
  for (const [name, columns, version, message] of cases) {
    it.effect(`${name} (${columns})`, () =>
      Effect.map(attempt({ table: name, columns }, version), refused("columns", message)))
  }

  it.effect("generated ones that are stored are taken since Postgres 18, and left out when they are not selected", () =>
    Effect.gen(function*() {
      assert(Either.isRight(yield* attempt({ table: "with_stored" }, 180_000)))
      assert(Either.isRight(yield* attempt({ table: "with_stored", columns: ["id", "title"] }, 150_000)))
      assert(Either.isRight(yield* attempt({ table: "with_virtual", columns: ["id", "title"] }, 180_000)))
    }))
})

describe("where", () => {
  const where = (clause: string, ...params: ReadonlyArray<string>) =>
    Effect.map(attempt({ table: "items", where: clause, params }), Either.map(({ definition }) => definition.where))

  it.effect("trivial truths are no clause", () =>
    Effect.gen(function*() {
      for (const clause of ["TRUE", "true = true", "1=1"]) {
        assert.deepStrictEqual(yield* where(clause), Either.right(undefined))
      }
    }))

  it.effect("one clause in several spellings is one shape", () =>
    Effect.gen(function*() {
      const spellings = [
        ["id=1"],
        ["id = 1"],
        ["(id = 1)"],
        ["1 = id"],
        ["id = '01'"],
        ["id IN (1)"],
        ["id = $1", "1"],
        ["(\"id\" = $2::int4)", "0", "1"],
        ["id = 1", "unused"]
      ]
      for (const [clause, ...params] of spellings) {
        const result = yield* where(clause!, ...params)
        assert(Either.isRight(result))
        assert.strictEqual(
          result.right?.sql,
          "\"id\" OPERATOR(pg_catalog.=) '1'::\"pg_catalog\".\"int4\"",
          clause
        )
        assert.deepStrictEqual(result.right?.columns, [{ name: "id", typeOid: 23 }])
      }
    }))

  it.effect("literals come from the database in their output form", () =>
    Effect.gen(function*() {
      const result = yield* where("born = '1 1 2000'")
      assert(Either.isRight(result))
      assert.include(result.right?.sql, "'2000-01-01'")
    }))

  it.effect("errors of the clause and of its values", () =>
    Effect.gen(function*() {
      refused("where", "At location 19: syntax error at end of input")(yield* where("id ="))
      refused("where", "At location 0: unknown reference zzz")(yield* where("zzz = 1"))
      refused("where", "At location 7: invalid syntax for type date: x")(yield* where("born = 'x'"))
      refused("where", "At location 5: parameter $1 was not provided")(yield* where("id = $1"))
      refused("where", "Postgres does not like it")(yield* where("title = 'refused'"))
      const down = yield* where("born = 'down'")
      assert(Either.isLeft(down))
      assert.strictEqual(down.left._tag, "DatabaseUnavailable")
    }))

  it.effect("columns that are not in the stream can't be used", () =>
    Effect.gen(function*() {
      const request = { table: "with_stored", columns: ["id"], where: "upper = 'A'" }
      refused("where", "column upper is generated and cannot be used in the where clause")(yield* attempt(request))
      assert(Either.isRight(yield* attempt(request, 180_000)))
    }))

  it.effect("is looked at after table and columns", () =>
    Effect.gen(function*() {
      refused("columns", "The following columns are not found on the table: zzz")(
        yield* attempt({ table: "items", columns: ["id", "zzz"], where: "id =" })
      )
      refused("table", "Invalid zero-length delimited identifier")(
        yield* attempt({ table: ".", columns: ["zzz"], where: "id =" })
      )
    }))
})
