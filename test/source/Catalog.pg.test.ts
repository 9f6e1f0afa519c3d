import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Fiber, Layer, Option, Redacted } from "effect"
import type { ColumnInfo, TableInfo } from "../../src/domain/Relation.ts"
import * as Catalog from "../../src/source/Catalog.ts"
import { Database } from "../../src/source/Database.ts"
import * as Pools from "../../src/source/Pools.ts"
import * as Postgres from "../support/Postgres.ts"

/** A database with `sql` run in it and the catalog of it. `queries` counts what the catalog has asked. */
const withCatalog = <A, E>(
  sql: string,
  test: (
    catalog: Catalog.Catalog["Type"],
    db: Postgres.TestDatabase,
    queries: () => number
  ) => Effect.Effect<A, E>
) =>
  Effect.gen(function*() {
    const db = yield* Postgres.makeDatabase
    if (sql !== "") yield* db.exec(sql)
    let count = 0
    const counting = Layer.map(Postgres.poolsOf(db), (context) => context).pipe(
      Layer.flatMap((context) => {
        const database = Layer.succeedContext(context)
        return Layer.effect(
          Database,
          Effect.map(Database, (inner) => ({
            ...inner,
            admin: new Proxy(inner.admin, {
              get: (target, property, receiver) => {
                if (property === "unsafe") count++
                return Reflect.get(target, property, receiver)
              }
            })
          }))
        ).pipe(Layer.provide(database))
      })
    )
    return yield* Effect.flatMap(Catalog.Catalog, (catalog) => test(catalog, db, () => count)).pipe(
      Effect.provide(Layer.provide(Catalog.layer, counting))
    )
  })

const existing = (found: Effect.Effect<Option.Option<TableInfo>, unknown>) => Effect.map(found, Option.getOrThrow)

const column = (table: TableInfo, name: string): ColumnInfo => {
  const found = table.columns.find((column) => column.name === name)
  assert.isDefined(found)
  return found!
}

describe("Catalog", () => {
  it.scopedLive("describes columns of every kind", () =>
    withCatalog(
      `CREATE TYPE mood AS ENUM ('sad', 'ok');
       CREATE TYPE pair AS (a int, b text);
       CREATE DOMAIN posint AS int CHECK (VALUE > 0);
       CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
       CREATE SCHEMA "Odd Schema";
       CREATE TYPE "Odd Schema"."Odd Type" AS ENUM ('x');
       CREATE TABLE zoo (
         id int8 PRIMARY KEY, gone int, s varchar(10), c char(5), n numeric(8, 3), plain numeric,
         a int[], aa text[][], m mood NOT NULL, ms mood[], p pair, d posint, at timestamptz(3),
         o "Odd Schema"."Odd Type", v int2vector, r int4range, mr int4multirange,
         loose text COLLATE loose, nm name, double int8 GENERATED ALWAYS AS (id * 2) STORED
       );
       ALTER TABLE zoo DROP COLUMN gone`,
      (catalog, db) =>
        Effect.gen(function*() {
          const table = yield* existing(catalog.table("public", "zoo"))
          const [row] = yield* db.query("SELECT 'zoo'::regclass::oid AS oid")
          assert.strictEqual(table.oid, Number(row?.oid))
          assert.strictEqual(table.kind, "table")
          assert.deepStrictEqual(table.primaryKey, ["id"])
          assert.deepStrictEqual(table.partitions, [])
          assert.deepStrictEqual(table.ancestors, [])
          assert.deepStrictEqual(column(table, "id"), {
            name: "id",
            position: 1,
            typeOid: 20,
            typeName: "int8",
            typeSchema: "pg_catalog",
            typeKind: "b",
            elementType: undefined,
            dimensions: 0,
            typeModifier: -1,
            notNull: true,
            generated: "none",
            keyIndex: 0,
            deterministic: true,
            collation: 0
          })
          assert.isUndefined(table.columns.find(({ name }) => name.includes("gone") || name.includes("dropped")))
          assert.strictEqual(column(table, "s").position, 3)
          assert.strictEqual(column(table, "s").typeModifier, 14)
          assert.strictEqual(column(table, "c").typeName, "bpchar")
          assert.strictEqual(column(table, "c").typeModifier, 9)
          assert.strictEqual(column(table, "n").typeModifier, ((8 << 16) | 3) + 4)
          assert.strictEqual(column(table, "plain").typeModifier, -1)
          const kinds = (name: string) => {
            const { dimensions, elementType, typeKind, typeName, typeSchema } = column(table, name)
            return [typeSchema, typeName, typeKind, elementType, dimensions]
          }
          assert.deepStrictEqual(kinds("a"), ["pg_catalog", "_int4", "b", "int4", 1])
          assert.deepStrictEqual(kinds("aa"), ["pg_catalog", "_text", "b", "text", 2])
          assert.deepStrictEqual(kinds("m"), ["public", "mood", "e", undefined, 0])
          assert.isTrue(column(table, "m").notNull)
          assert.deepStrictEqual(kinds("ms"), ["public", "_mood", "b", "mood", 1])
          assert.deepStrictEqual(kinds("p"), ["public", "pair", "c", undefined, 0])
          assert.deepStrictEqual(kinds("d"), ["public", "posint", "d", undefined, 0])
          assert.deepStrictEqual(kinds("o"), ["Odd Schema", "Odd Type", "e", undefined, 0])
          assert.deepStrictEqual(kinds("v"), ["pg_catalog", "int2vector", "b", undefined, 0])
          assert.deepStrictEqual(kinds("nm"), ["pg_catalog", "name", "b", undefined, 0])
          assert.deepStrictEqual(kinds("r"), ["pg_catalog", "int4range", "r", undefined, 0])
          assert.deepStrictEqual(kinds("mr"), ["pg_catalog", "int4multirange", "m", undefined, 0])
          assert.strictEqual(column(table, "at").typeModifier, 3)
          assert.isFalse(column(table, "loose").deterministic)
          assert.isTrue(column(table, "s").deterministic)
          const [loose] = yield* db.query("SELECT oid FROM pg_collation WHERE collname = 'loose'")
          assert.strictEqual(column(table, "loose").collation, Number(loose!.oid))
          assert.strictEqual(column(table, "s").collation, 100)
          assert.strictEqual(column(table, "nm").collation, 950)
          assert.strictEqual(column(table, "a").collation, 0)
          assert.strictEqual(column(table, "aa").collation, 100)
          assert.strictEqual(column(table, "double").generated, "stored")
        })
    ))

  it.scopedLive("tells virtual generated columns from stored ones", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      const [version] = yield* db.query("SHOW server_version_num")
      if (Number(version?.server_version_num) < 180000) return
      yield* db.exec(
        "CREATE TABLE g (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL, c int GENERATED ALWAYS AS (a) STORED)"
      )
      yield* Effect.gen(function*() {
        const table = yield* existing((yield* Catalog.Catalog).table("public", "g"))
        assert.deepStrictEqual(table.columns.map(({ generated }) => generated), ["none", "virtual", "stored"])
      }).pipe(Effect.provide(Layer.provide(Catalog.layer, Postgres.poolsOf(db))))
    }))

  it.scopedLive("gives the primary key in index order, without included columns", () =>
    withCatalog(
      "CREATE TABLE k (a int, b int, c int, d int, PRIMARY KEY (c, a) INCLUDE (d)); CREATE TABLE none (a int UNIQUE)",
      (catalog) =>
        Effect.gen(function*() {
          const table = yield* existing(catalog.table("public", "k"))
          assert.deepStrictEqual(table.primaryKey, ["c", "a"])
          assert.deepStrictEqual(table.columns.map(({ keyIndex }) => keyIndex), [1, undefined, 0, undefined])
          assert.deepStrictEqual((yield* existing(catalog.table("public", "none"))).primaryKey, [])
        })
    ))

  it.scopedLive("finds tables by their exact names, whatever the search path, and nothing that is no table", () =>
    withCatalog(
      `CREATE SCHEMA other; CREATE TABLE other.items (a int); CREATE TABLE "Items" (a int);
       CREATE TABLE "we""ird.näme" (a int); CREATE VIEW seen AS SELECT 1 AS a; CREATE SEQUENCE numbers;
       CREATE MATERIALIZED VIEW kept AS SELECT 1 AS a; CREATE TABLE empty ()`,
      (catalog) =>
        Effect.gen(function*() {
          assert.strictEqual((yield* existing(catalog.table("public", "Items"))).name, "Items")
          assert.strictEqual((yield* existing(catalog.table("public", "we\"ird.näme"))).name, "we\"ird.näme")
          assert.deepStrictEqual((yield* existing(catalog.table("public", "empty"))).columns, [])
          const other = yield* existing(catalog.table("other", "items"))
          assert.strictEqual(other.schema, "other")
          assert.deepStrictEqual(yield* existing(catalog.tableByOid(other.oid)), other)
          for (const name of ["items", "seen", "numbers", "kept", "missing", "empty'; DROP TABLE empty; --"]) {
            assert.isTrue(Option.isNone(yield* catalog.table("public", name)), name)
          }
          assert.isTrue(Option.isNone(yield* catalog.tableByOid(4294967295)))
        })
    ))

  it.scopedLive("knows partitions at any depth, from above and from below", () =>
    withCatalog(
      `CREATE TABLE top (a int, b int, PRIMARY KEY (a, b)) PARTITION BY RANGE (a);
       CREATE TABLE mid PARTITION OF top FOR VALUES FROM (0) TO (100) PARTITION BY LIST (b);
       CREATE TABLE leaf1 PARTITION OF mid FOR VALUES IN (1);
       CREATE TABLE leaf2 PARTITION OF top FOR VALUES FROM (100) TO (200);
       CREATE TABLE parent (a int); CREATE TABLE child () INHERITS (parent)`,
      (catalog, db) =>
        Effect.gen(function*() {
          const top = yield* existing(catalog.table("public", "top"))
          const mid = yield* existing(catalog.table("public", "mid"))
          const leaf1 = yield* existing(catalog.table("public", "leaf1"))
          const leaf2 = yield* existing(catalog.table("public", "leaf2"))
          assert.deepStrictEqual([top.kind, mid.kind, leaf1.kind], ["partitioned", "partitioned", "table"])
          assert.deepStrictEqual([...top.partitions], [mid.oid, leaf1.oid, leaf2.oid].sort((a, b) => a - b))
          assert.deepStrictEqual(mid.partitions, [leaf1.oid])
          assert.deepStrictEqual(leaf1.partitions, [])
          assert.deepStrictEqual(leaf1.ancestors, [mid.oid, top.oid])
          assert.deepStrictEqual(leaf2.ancestors, [top.oid])
          assert.deepStrictEqual(top.primaryKey, ["a", "b"])
          assert.deepStrictEqual((yield* existing(catalog.table("public", "parent"))).partitions, [])

          // A new partition is announced by its own oid, which nobody has seen before.
          yield* db.exec("CREATE TABLE leaf3 PARTITION OF mid FOR VALUES IN (3)")
          assert.deepStrictEqual((yield* existing(catalog.table("public", "top"))).partitions, top.partitions)
          const [row] = yield* db.query("SELECT 'leaf3'::regclass::oid AS oid")
          yield* catalog.forget(Number(row?.oid))
          assert.include((yield* existing(catalog.table("public", "top"))).partitions, Number(row?.oid))
        })
    ))

  it.scopedLive("asks once for a table, and again only when told to forget", () =>
    withCatalog("CREATE TABLE t (a int)", (catalog, db, queries) =>
      Effect.gen(function*() {
        const found = yield* Effect.all(
          Array.from({ length: 50 }, () => existing(catalog.table("public", "t"))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(queries(), 1)
        yield* catalog.tableByOid(found[0]!.oid)
        assert.strictEqual(queries(), 1)
        yield* db.exec("ALTER TABLE t ADD COLUMN b int")
        assert.strictEqual((yield* existing(catalog.table("public", "t"))).columns.length, 1)
        yield* catalog.forget(found[0]!.oid)
        assert.strictEqual((yield* existing(catalog.table("public", "t"))).columns.length, 2)

        // That there is no table is not remembered, as is nothing of one that is renamed and looked up by oid.
        assert.isTrue(Option.isNone(yield* catalog.table("public", "u")))
        yield* db.exec("ALTER TABLE t RENAME TO u")
        assert.isTrue(Option.isSome(yield* catalog.table("public", "u")))
        assert.isTrue(Option.isNone(yield* catalog.table("public", "t")))
      })))

  it.scopedLive("does not keep what was read before it was told to forget", () =>
    withCatalog("CREATE TABLE t (a int)", (catalog, db) =>
      Effect.gen(function*() {
        const { oid } = yield* existing(catalog.table("public", "t"))
        yield* catalog.forget(oid)
        const early = yield* Effect.fork(catalog.table("public", "t"))
        yield* Effect.yieldNow()
        yield* db.exec("ALTER TABLE t ADD COLUMN b int")
        yield* catalog.forget(oid)
        yield* Fiber.join(early)
        assert.strictEqual((yield* existing(catalog.table("public", "t"))).columns.length, 2)
      })))

  it.scopedLive("answers those who wait although the one who asked first is interrupted", () =>
    withCatalog("CREATE TABLE t (a int)", (catalog) =>
      Effect.gen(function*() {
        const first = yield* Effect.fork(catalog.table("public", "t"))
        yield* Effect.yieldNow()
        const second = yield* Effect.fork(existing(catalog.table("public", "t")))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(first)
        assert.strictEqual((yield* Fiber.join(second)).name, "t")
      })))

  it.scopedLive("does not remember a failure", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      yield* db.exec("CREATE ROLE late LOGIN PASSWORD 'late'; CREATE TABLE t (a int)".replaceAll("late", db.name))
      yield* Effect.addFinalizer(() => Effect.orDie(db.exec(`DROP OWNED BY ${db.name}; DROP ROLE ${db.name}`)))
      yield* db.exec(`ALTER ROLE ${db.name} CONNECTION LIMIT 0`)
      yield* Effect.gen(function*() {
        const catalog = yield* Catalog.Catalog
        const error = yield* Effect.flip(catalog.table("public", "t"))
        assert.strictEqual(error._tag, "DatabaseUnavailable")
        yield* db.exec(`ALTER ROLE ${db.name} CONNECTION LIMIT 10`)
        assert.isTrue(Option.isSome(yield* catalog.table("public", "t")))
      }).pipe(Effect.provide(
        Layer.provide(
          Catalog.layer,
          Pools.layer({ url: Redacted.make(db.urlOf(db.name, db.name)), streamId: db.name })
        )
      ))
    }))

  it.scopedLive("reads SQL's vocabulary once, and not for everyone who wants it anew", () =>
    withCatalog("CREATE TYPE mood AS ENUM ('ok')", (catalog, db, queries) =>
      Effect.gen(function*() {
        const all = yield* Effect.all(Array.from({ length: 20 }, () => catalog.sql), { concurrency: "unbounded" })
        assert.strictEqual(new Set(all).size, 1)
        assert.deepStrictEqual(all[0]!.typesNamed.get("mood")![0]!.labels, ["ok"])
        yield* db.exec("ALTER TYPE mood ADD VALUE 'sad'")
        yield* catalog.forgetSql
        const again = yield* catalog.sql
        // Unless the machine takes seconds for this, it is as it was.
        assert.isAtMost(queries(), again === all[0] ? 1 : 2)
      })))

  it.scopedLive("evaluates constants and checks clauses", () =>
    withCatalog("CREATE TABLE \"T\" (id int, b bool)", (catalog) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* catalog.evaluate(["1 + 1", "NULL::int4", "1 / 0"]), [
          Either.right("2"),
          Either.right(null),
          Either.left("division by zero")
        ])
        assert.deepStrictEqual(yield* catalog.check("public", "T", "(\"id\" = 1) AND \"b\""), Either.void)
        assert.deepStrictEqual(
          yield* catalog.check("public", "T", "\"id\" = 'x'"),
          Either.left("invalid input syntax for type integer: \"x\"")
        )
      })))
})
