import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer } from "effect"
import * as ElectricSchema from "../../src/domain/ElectricSchema.ts"
import type { ShapeRequest } from "../../src/domain/ShapeDefinition.ts"
import { tuple } from "../../src/domain/WalMessage.ts"
import { resolve } from "../../src/engine/ResolveDefinition.ts"
import * as Catalog from "../../src/source/Catalog.ts"
import { Database, DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { compile } from "../../src/where/Compile.ts"
import { Row, Slots } from "../../src/where/Row.ts"
import * as Postgres from "../support/Postgres.ts"
import { relation } from "../where/Columns.ts"

const schema = `
  CREATE TYPE mood AS ENUM ('sad', 'ok');
  CREATE DOMAIN posint AS int4 CHECK (VALUE > 0);
  CREATE SCHEMA "Odd Schema";
  CREATE TABLE items (
    id int4 PRIMARY KEY, title text, done bool, price numeric(10,2), at timestamptz, code char(4), mood mood, span int4range, size posint,
    ip inet, tags text[], bits bit(3), label varchar(3)
  );
  INSERT INTO items VALUES
    (1, 'a', true, 1.5, '2000-01-01', 'ab', 'ok', '[1,3)', 1, '10.0.0.1', '{a}', '101', 'abc'),
    (2, 'b', false, 0, 'infinity', 'abcd', 'sad', 'empty', 2, '10.0.0.1/8', '{}', '001', 'ab');
  CREATE TABLE "Odd Schema"."My.Table" ("a,b" int, "Key" text, PRIMARY KEY ("Key", "a,b"));
  CREATE TABLE generated (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
  CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
  CREATE TABLE nothing ();
  CREATE VIEW v AS SELECT 1 AS id;
  CREATE MATERIALIZED VIEW mv AS SELECT 1 AS id`

const attempt = Effect.fnUntraced(function*(request: Partial<ShapeRequest> & { readonly table: string }) {
  const serverVersion = yield* Effect.flatMap(Database, (database) => database.serverVersion)
  return yield* Effect.either(
    resolve(
      { where: undefined, params: [], columns: undefined, replica: "default", log: "full", ...request },
      serverVersion
    )
  )
})

const withTables = <A, E>(test: (db: Postgres.Queryable) => Effect.Effect<A, E, Catalog.Catalog | Database>) =>
  Effect.gen(function*() {
    const database = yield* Postgres.makeDatabase
    yield* database.exec(schema)
    const db = yield* database.session
    yield* db.exec(DISPLAY_SETTINGS)
    return yield* Effect.provide(test(db), Layer.provideMerge(Catalog.layer, Postgres.poolsOf(database)))
  })

describe("resolve", () => {
  it.scopedLive("tables by name", () =>
    withTables(() =>
      Effect.gen(function*() {
        const odd = yield* attempt({ table: "\"Odd Schema\".\"My.Table\"" })
        assert(Either.isRight(odd))
        assert.deepInclude(odd.right.definition, {
          schema: "Odd Schema",
          table: "My.Table",
          keyColumns: ["Key", "a,b"],
          hasPrimaryKey: true,
          columns: [{ name: "a,b", typeOid: 23 }, { name: "Key", typeOid: 25 }]
        })
        assert.strictEqual(
          ElectricSchema.json(odd.right.table.columns),
          "{\"a,b\":{\"type\":\"int4\",\"not_null\":true,\"pk_index\":1},\"Key\":{\"type\":\"text\",\"not_null\":true,\"pk_index\":0}}"
        )
        const parts = yield* attempt({ table: "Parts" })
        assert(Either.isRight(parts))
        assert.deepInclude(parts.right.definition, { keyColumns: ["id", "v"], hasPrimaryKey: false })
        for (
          const table of ["nothing", "v", "mv", "missing", "pg_toast.missing", "'; DROP TABLE items; --", "items\0"]
        ) {
          assert(Either.isLeft(yield* attempt({ table })), table)
        }
        assert(Either.isRight(yield* attempt({ table: "items" })))
      })
    ))

  it.scopedLive("generated columns by what the server replicates", () =>
    withTables(() =>
      Effect.gen(function*() {
        const serverVersion = yield* Effect.flatMap(Database, (database) => database.serverVersion)
        const all = yield* attempt({ table: "generated" })
        assert.strictEqual(Either.isRight(all), serverVersion >= 180_000)
        assert(Either.isRight(yield* attempt({ table: "generated", columns: ["id"] })))
      })
    ))

  const clauses: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["id = ' 01'", ["1"]],
    ["done = 'yes'", ["1"]],
    ["NOT done", ["2"]],
    ["price = '1.500'", ["1"]],
    ["price = 1.501", []],
    ["price = -0", ["2"]],
    ["at = '2000-01-01T02:00:00+02'", ["1"]],
    ["at = 'infinity'", ["2"]],
    ["code = 'ab      '", ["1"]],
    ["code = 'abcde'", []],
    ["mood = 'ok'", ["1"]],
    ["mood < 'ok'", ["2"]],
    ["span = '[1,2]'", ["1"]],
    ["span @> 2", ["1"]],
    ["span = '[1,1)'", ["2"]],
    ["ip = '10.0.0.1/32'", ["1"]],
    ["ip << '10.0.0.0/8'", ["1"]],
    ["tags = '{ \"a\" }'", ["1"]],
    ["'a' = ANY (tags)", ["1"]],
    ["bits = '101'", ["1"]],
    ["bits = '1011'", []],
    ["label = 'abcd'", []],
    ["label LIKE 'ab%' AND length(label) = 2", ["2"]],
    ["size = 1", ["1"]]
  ]
  it.scopedLive("clauses select what Postgres selects, in its own words and by our test", () =>
    withTables((db) =>
      Effect.gen(function*() {
        const rows = yield* db.query("SELECT * FROM items ORDER BY id")
        for (const [where, ids] of clauses) {
          const result = yield* attempt({ table: "items", where })
          assert(Either.isRight(result), `${where}: ${String(Either.isLeft(result) ? result.left : "")}`)
          const { definition, table } = result.right
          const selected = yield* db.query(`SELECT id FROM items WHERE ${definition.where!.sql} ORDER BY id`)
          assert.deepStrictEqual(selected.map(({ id }) => id), [...ids], where)
          const slots = new Slots()
          const test = compile(definition.where!.expression, slots)
          const row = new Row(slots)
          const matching = rows.filter((values) => {
            row.bind(
              slots.columnsIn(relation(table.columns)),
              tuple(table.columns.map(({ name }) => values[name])),
              undefined
            )
            return test(row) === true || (test(row) === undefined && ids.includes(values["id"]!))
          })
          assert.deepStrictEqual(matching.map(({ id }) => id), [...ids], where)
        }
      })
    ))

  it.scopedLive("clauses: values that are none", () =>
    withTables(() =>
      Effect.gen(function*() {
        const refused: ReadonlyArray<readonly [string, string]> = [
          ["id = 'x'", "At location 5: invalid syntax for type int4: x"],
          ["mood = 'OK'", "At location 7: invalid syntax for type mood: OK"],
          ["at = '1 2 3 x'", "At location 5: invalid syntax for type timestamptz: 1 2 3 x"],
          ["tags = 'a'", "At location 7: invalid syntax for type text[]: a"],
          ["bits = '102'", "At location 7: invalid syntax for type bit: 102"],
          ["price = '1,5'", "At location 8: invalid syntax for type numeric: 1,5"]
        ]
        for (const [where, message] of refused) {
          const result = yield* attempt({ table: "items", where })
          assert(Either.isLeft(result), where)
          assert.deepInclude(result.left, { _tag: "InvalidRequest", errors: { where: [message] } })
        }
      })
    ))
})
