import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { castKey, type SqlCatalog } from "../../src/domain/SqlCatalog.ts"
import { build, decode, type RawCatalog, SELECT_SQL_CATALOG } from "../../src/source/SqlCatalogQuery.ts"
import * as Postgres from "../support/Postgres.ts"
import { sqlCatalogOf } from "../support/SqlCatalogs.ts"

const withCatalog = <A, E>(
  sql: string,
  test: (catalog: SqlCatalog, db: Postgres.TestDatabase) => Effect.Effect<A, E>
) =>
  Effect.gen(function*() {
    const db = yield* Postgres.makeDatabase
    if (sql !== "") yield* db.exec(sql)
    return yield* test(yield* sqlCatalogOf(db), db)
  })

const typeNamed = (catalog: SqlCatalog, name: string, schema = "pg_catalog") => {
  const found = catalog.typesNamed.get(name)?.find((type) => type.schema === schema)
  assert.isDefined(found, name)
  return found!
}

const functionNamed = (catalog: SqlCatalog, name: string) => {
  const [found, ...others] = catalog.functionsNamed.get(name) ?? []
  assert.isDefined(found, name)
  assert.isEmpty(others)
  return found!
}

describe("the catalog of SQL", () => {
  it.scopedLive("has every type that expressions may have, each as one object", () =>
    withCatalog("", (catalog, db) =>
      Effect.gen(function*() {
        const expected = yield* db.query(
          `SELECT t.oid, n.nspname AS schema, typname AS name, typtype AS kind, typcategory AS category, typispreferred AS preferred,
             typcollation AS collation,
             (SELECT e.oid FROM pg_type e WHERE e.typarray = t.oid) AS element
           FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE typtype <> 'c' AND typcategory <> 'A'
             AND n.nspname = 'pg_catalog' OR t.oid = ANY ('{1007,1009,1005,2277,22,30}')`
        )
        assert.isAbove(expected.length, 80)
        for (const row of expected) {
          const type = catalog.types.get(Number(row.oid))
          assert.isDefined(type, row.name!)
          const { base, baseModifier, element, labels, subtype, ...plain } = type!
          assert.deepStrictEqual(plain, {
            oid: Number(row.oid),
            schema: row.schema!,
            name: row.name!,
            kind: row.kind!,
            category: row.category!,
            preferred: row.preferred === "t",
            collation: Number(row.collation)
          })
          assert.isUndefined(base ?? baseModifier ?? labels)
          assert.strictEqual(subtype !== undefined, plain.kind === "r" || plain.kind === "m", plain.name)
          assert.strictEqual(element?.oid, row.element === null ? undefined : Number(row.element), plain.name)
        }
        const int4 = typeNamed(catalog, "int4")
        assert.strictEqual(catalog.types.get(23), int4)
        assert.strictEqual(typeNamed(catalog, "_int4").element, int4)
        assert.strictEqual(catalog.arrays.get(23), typeNamed(catalog, "_int4"))
        assert.strictEqual(typeNamed(catalog, "int4range").subtype, int4)
        assert.strictEqual(typeNamed(catalog, "int4multirange").subtype, int4)
        assert.strictEqual(
          catalog.multiranges.get(typeNamed(catalog, "int4range").oid),
          typeNamed(catalog, "int4multirange")
        )
        // Neither is an array type, although both have elements.
        assert.isUndefined(typeNamed(catalog, "int2vector").element)
        assert.isUndefined(typeNamed(catalog, "point").element)
        assert.isUndefined(catalog.typesNamed.get("pg_class"))
      })))

  it.scopedLive("has functions, operators and casts as Postgres lists them", () =>
    withCatalog("", (catalog, db) =>
      Effect.gen(function*() {
        const [counts] = yield* db.query(
          `SELECT (SELECT count(*) FROM pg_operator) AS operators, (SELECT count(*) FROM pg_cast) AS casts,
             (SELECT count(*) FROM pg_proc) AS functions, current_setting('server_version_num') AS version`
        )
        assert.strictEqual([...catalog.operatorsNamed.values()].flat().length, Number(counts!.operators))
        assert.strictEqual(catalog.casts.size, Number(counts!.casts))
        assert.isAbove(catalog.functions.size, Number(counts!.functions) * 0.8)
        assert.strictEqual(catalog.version, Number(counts!.version))
        assert.deepStrictEqual(catalog.searchPath, ["pg_catalog", "public"])
        for (const operator of [...catalog.operatorsNamed.values()].flat()) {
          assert.isTrue(catalog.functions.has(operator.fn), operator.name)
        }
        for (const cast of catalog.casts.values()) {
          assert.strictEqual(catalog.functions.has(cast.fn), cast.method === "f")
        }

        const equals = catalog.operatorsNamed.get("=")!.find(({ left, right }) => left === 23 && right === 23)!
        assert.deepStrictEqual(equals, { schema: "pg_catalog", name: "=", left: 23, right: 23, result: 16, fn: 65 })
        assert.deepStrictEqual(catalog.functions.get(65), {
          ref: { oid: 65, schema: "pg_catalog", name: "int4eq", source: "int4eq", strict: true },
          kind: "f",
          volatility: "i",
          args: [23, 23],
          defaults: 0,
          variadic: 0,
          result: 16,
          returnsSet: false
        })
        assert.strictEqual(catalog.operatorsNamed.get("@")!.find(({ right }) => right === 23)!.left, 0)
        const length = catalog.functionsNamed.get("length")!.find(({ args }) => args[0] === 25)!
        assert.strictEqual(length.ref.source, "textlen")
        const charLength = catalog.functionsNamed.get("char_length")!.find(({ args }) => args[0] === 25)!
        assert.deepInclude(charLength.ref, { name: "char_length", source: "textlen" })
        assert.deepInclude(functionNamed(catalog, "concat"), { args: [2276], variadic: 2276, volatility: "s" })
        assert.strictEqual(functionNamed(catalog, "concat").ref.strict, false)
        assert.strictEqual(functionNamed(catalog, "jsonb_set").defaults, 1)
        assert.isTrue(functionNamed(catalog, "jsonb_array_elements").returnsSet)
        assert.strictEqual(functionNamed(catalog, "row_number").kind, "w")
        assert.strictEqual(catalog.functionsNamed.get("count")![0]!.kind, "a")
        assert.deepStrictEqual(functionNamed(catalog, "pi").args, [])
        assert.isUndefined(catalog.functionsNamed.get("int4_sum_trigger"))
        assert.isUndefined(catalog.functionsNamed.get("btint4sortsupport"))

        assert.deepStrictEqual(catalog.casts.get(castKey(23, 20)), {
          from: 23,
          to: 20,
          context: "i",
          method: "f",
          fn: 481
        })
        assert.deepInclude(catalog.casts.get(castKey(1043, 25)), { context: "i", method: "b", fn: 0 })
        assert.deepInclude(catalog.casts.get(castKey(20, 23)), { context: "a" })
        assert.isUndefined(catalog.casts.get(castKey(16, 1184)))
      })))

  it.scopedLive("has what the database's users have made", () =>
    withCatalog(
      `CREATE SCHEMA "Odd Schema"; SET search_path = "Odd Schema", public;
       CREATE TYPE "Odd Schema".mood AS ENUM ('sad', 'ok'); ALTER TYPE mood ADD VALUE 'me''h' BEFORE 'ok';
       CREATE TYPE public.mood AS ENUM ();
       CREATE DOMAIN posint AS int4 CHECK (VALUE > 0); CREATE DOMAIN tiny AS posint CHECK (VALUE < 9);
       CREATE DOMAIN price AS numeric(5, 2); CREATE DOMAIN "C text" AS text COLLATE "C";
       CREATE TYPE span AS RANGE (subtype = float8);
       CREATE TYPE pair AS (a int, b mood);
       CREATE TABLE plain (a int); CREATE VIEW seen AS SELECT 1 AS a; CREATE VIEW used AS SELECT 1 AS a;
       CREATE TABLE keeper (r used, rs plain[], d tiny[]);
       CREATE FUNCTION is_fine(m mood, n int DEFAULT 1, VARIADIC rest text[] DEFAULT '{}') RETURNS bool
         LANGUAGE sql IMMUTABLE AS 'SELECT $1 = ''ok''';
       CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE internal STRICT STABLE AS 'int4eq';
       CREATE FUNCTION on_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
       CREATE PROCEDURE act(IN a int, OUT b int) LANGUAGE sql AS 'SELECT 1';
       CREATE OPERATOR public.=== (FUNCTION = same, LEFTARG = int4, RIGHTARG = int4);
       CREATE FUNCTION fine(mood) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 = ''ok''';
       CREATE CAST (mood AS bool) WITH FUNCTION fine AS IMPLICIT`,
      (catalog) =>
        Effect.sync(() => {
          const odd = "Odd Schema"
          const mood = typeNamed(catalog, "mood", odd)
          assert.deepStrictEqual(mood.labels, ["sad", "me'h", "ok"])
          assert.strictEqual(catalog.typesNamed.get("mood")!.length, 2)
          assert.isUndefined(typeNamed(catalog, "mood", "public").labels?.[0])
          assert.strictEqual(typeNamed(catalog, "_mood", odd).element, mood)
          const posint = typeNamed(catalog, "posint", odd)
          assert.strictEqual(posint.base, typeNamed(catalog, "int4"))
          assert.strictEqual(posint.baseModifier, -1)
          assert.strictEqual(typeNamed(catalog, "tiny", odd).base, posint)
          assert.strictEqual(typeNamed(catalog, "price", odd).baseModifier, ((5 << 16) | 2) + 4)
          assert.strictEqual(typeNamed(catalog, "C text", odd).collation, 950)
          assert.strictEqual(typeNamed(catalog, "span", odd).subtype, typeNamed(catalog, "float8"))
          assert.strictEqual(typeNamed(catalog, "pair", odd).kind, "c")
          // Row types: of tables, and whatever columns are of.
          assert.strictEqual(typeNamed(catalog, "plain", odd).kind, "c")
          assert.strictEqual(typeNamed(catalog, "_plain", odd).element, typeNamed(catalog, "plain", odd))
          assert.strictEqual(typeNamed(catalog, "used", odd).kind, "c")
          assert.isUndefined(catalog.typesNamed.get("seen"))

          const text = typeNamed(catalog, "text")
          const isFine = functionNamed(catalog, "is_fine")
          assert.deepStrictEqual(isFine, {
            ref: { oid: isFine.ref.oid, schema: odd, name: "is_fine", strict: false },
            kind: "f",
            volatility: "i",
            args: [mood.oid, 23, catalog.arrays.get(text.oid)!.oid],
            names: ["m", "n", "rest"],
            defaults: 2,
            variadic: text.oid,
            result: 16,
            returnsSet: false
          })
          assert.deepInclude(functionNamed(catalog, "same").ref, { source: "int4eq", strict: true })
          assert.strictEqual(functionNamed(catalog, "same").volatility, "s")
          assert.strictEqual(functionNamed(catalog, "act").kind, "p")
          assert.isUndefined(catalog.functionsNamed.get("on_change"))
          assert.deepStrictEqual(catalog.operatorsNamed.get("==="), [{
            schema: "public",
            name: "===",
            left: 23,
            right: 23,
            result: 16,
            fn: functionNamed(catalog, "same").ref.oid
          }])
          assert.deepInclude(catalog.casts.get(castKey(mood.oid, 16)), {
            context: "i",
            method: "f",
            fn: functionNamed(catalog, "fine").ref.oid
          })
        })
    ))

  it.scopedLive("is the search path's", () =>
    withCatalog("", (_, db) =>
      Effect.gen(function*() {
        yield* db.exec("CREATE SCHEMA \"Odd,\"")
        const session = yield* db.session
        yield* session.exec("SET search_path = \"Odd,\", missing, pg_catalog, public")
        assert.deepStrictEqual((yield* sqlCatalogOf(session)).searchPath, ["Odd,", "pg_catalog", "public"])
      }).pipe(Effect.scoped)))

  it.scopedLive("knows collations that compare bytes, and cases that are ASCII's", () =>
    withCatalog(
      `CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
       CREATE COLLATION mixed (provider = libc, lc_collate = 'C', lc_ctype = 'C.UTF-8');
       CREATE COLLATION posix (provider = libc, locale = 'POSIX')`,
      (catalog) =>
        Effect.sync(() => {
          const kind = (name: string) => {
            const found = [...catalog.collations.values()].filter((one) => one.name === name)
            if (found.length === 0) return undefined
            assert.strictEqual(found.length, 1, name)
            const { asciiCase, bytewise, deterministic } = found[0]!
            return { bytewise, asciiCase, deterministic }
          }
          const plain = { bytewise: true, asciiCase: true, deterministic: true }
          const locale = { bytewise: false, asciiCase: false, deterministic: true }
          assert.deepStrictEqual(catalog.collations.get(950), { oid: 950, schema: "pg_catalog", name: "C", ...plain })
          assert.deepStrictEqual(kind("POSIX"), plain)
          assert.deepStrictEqual(kind("posix"), plain)
          assert.deepStrictEqual(kind("ucs_basic"), plain)
          assert.deepStrictEqual(kind("mixed"), { ...plain, asciiCase: false })
          assert.deepStrictEqual(kind("folded"), { ...locale, deterministic: false })
          assert.deepStrictEqual(kind("und-x-icu"), locale)
          assert.strictEqual(catalog.collations.get(100)!.name, "default")
          if (catalog.version >= 170000) assert.deepStrictEqual(kind("pg_c_utf8"), { ...plain, asciiCase: false })
        })
    ))

  describe("default collation", () => {
    const raw: RawCatalog = {
      version: 170000,
      searchPath: [],
      database: { encoding: 6, provider: "c", collate: "C", ctype: "C", locale: null },
      schemas: [[11, "pg_catalog"]],
      types: [],
      enums: [],
      ranges: [],
      functions: [],
      operators: [],
      casts: [],
      collations: [[100, "default", 11, "d", null, null, null, true]]
    }
    const cases: ReadonlyArray<readonly [Partial<RawCatalog["database"]>, bytewise: boolean, asciiCase: boolean]> = [
      [{}, true, true],
      [{ ctype: "en_US.UTF-8" }, true, false],
      [{ collate: "en_US.UTF-8" }, false, true],
      [{ collate: "C.UTF-8", ctype: "C.UTF-8" }, false, false],
      // With ICU the names of libc's locale stand there as well, and mean nothing.
      [{ provider: "i", locale: "en-US" }, false, false],
      [{ provider: "b", locale: "C" }, true, true],
      [{ provider: "b", locale: "C.UTF-8" }, true, false],
      [{ provider: "b", locale: "PG_UNICODE_FAST", collate: "en_US.UTF-8" }, true, false],
      [{ encoding: 8 }, false, false]
    ]
    it("is the database's", () => {
      for (const [database, bytewise, asciiCase] of cases) {
        const { collations } = build({ ...raw, database: { ...raw.database, ...database } })
        assert.deepInclude(collations.get(100), { bytewise, asciiCase }, JSON.stringify(database))
      }
    })
  })

  it.scopedLive("comes as a text that is checked, and is not large", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      const [row] = yield* db.query(SELECT_SQL_CATALOG)
      assert.isBelow(row!.catalog!.length, 400_000)
      assert.throws(() => decode(row!.catalog!.replace("\"casts\"", "\"cats\"")), /casts/)
      assert.throws(() => decode("{}"))
    }))
})
