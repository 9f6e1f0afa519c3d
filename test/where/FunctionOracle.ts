/**
 * Functions against Postgres: each C function that we have is called, in every signature under which Postgres has it, with
 * values of its arguments' types, there and here. What we are certain of must be what Postgres says, and we must be
 * certain of enough.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { quote, quoteLiteral } from "../../src/domain/Identifier.ts"
import type { Collation, SqlType } from "../../src/domain/SqlCatalog.ts"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { type Builtin, type CallSite, type Closure, type Codec, UNSURE, type Value } from "../../src/where/Value.ts"
import * as Postgres from "../support/Postgres.ts"

export interface Group {
  /** C functions by name. */
  readonly functions: Readonly<Record<string, Builtin>>
  /** Values of each type in some input form; of polymorphic arguments, those of the types in `elements`. */
  readonly samples: Readonly<Record<string, ReadonlyArray<string>>>
  /** Types that `anyelement`, `anyarray`, `anyenum` and the like stand for. Arrays need samples too, as `int4[]`. */
  readonly elements?: ReadonlyArray<string>
  /** Of an element type: its range and multirange types, which `anyrange` and `anymultirange` then stand for. */
  readonly ranges?: Readonly<Record<string, readonly [string, string]>>
  /** Collations to call under, as in SQL; `"C"` when there are none. */
  readonly collations?: ReadonlyArray<Collation>
  /** The most calls of one signature. */
  readonly limit?: number
  /** The least share of calls that we must be certain of, and other ones for some functions. */
  readonly certain?: number
  readonly exceptions?: Readonly<Record<string, number>>
  /** Arguments' types to call with, of functions that take any. */
  readonly signatures?: Readonly<Record<string, ReadonlyArray<ReadonlyArray<string>>>>
  /** Run before, to make types. */
  readonly setup?: string
}

export const C: Collation = {
  oid: 950,
  schema: "pg_catalog",
  name: "C",
  bytewise: true,
  asciiCase: true,
  deterministic: true
}
export const ICU: Collation = { ...C, oid: 0, name: "en-x-icu", bytewise: false, asciiCase: false }

const setup = `
  CREATE FUNCTION attempt(expression text) RETURNS text LANGUAGE plpgsql AS $$
  DECLARE result text;
  BEGIN
    EXECUTE 'SELECT CASE WHEN v IS NULL THEN ''N'' ELSE ''V'' || format(''%s'', v) END FROM (SELECT ' || expression || ' AS v OFFSET 0) s' INTO result;
    RETURN result;
  EXCEPTION WHEN OTHERS THEN
    RETURN 'E' || SQLERRM;
  END $$`

const loadTypes = (db: Postgres.Queryable) =>
  Effect.gen(function*() {
    const rows = yield* db.query(`
      SELECT t.oid, nspname, typname, typtype, typcategory, typispreferred, typcollation, typbasetype, typtypmod,
        CASE WHEN typsubscript = 'array_subscript_handler'::regproc THEN typelem ELSE 0 END AS element,
        (SELECT rngsubtype FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid)) AS subtype,
        (SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid) AS labels,
        t.oid::regtype::text AS display
      FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace`)
    const byOid = new Map(rows.map((row) => [row.oid!, row]))
    const type = (oid: string | null): SqlType => {
      const row = byOid.get(oid!)!
      return {
        oid: Number(oid),
        schema: row.nspname!,
        name: row.typname!,
        kind: row.typtype!,
        category: row.typcategory!,
        preferred: row.typispreferred === "t",
        collation: Number(row.typcollation),
        ...(row.element !== "0" && { element: type(row.element!) }),
        ...(row.typbasetype !== "0" && { base: type(row.typbasetype!), baseModifier: Number(row.typtypmod) }),
        ...(row.subtype !== null && { subtype: type(row.subtype!) }),
        ...(row.labels !== null && { labels: JSON.parse(row.labels!) as ReadonlyArray<string> })
      }
    }
    return new Map(rows.map((row) => [row.display!, type(row.oid!)]))
  })

const POLYMORPHIC = /^any(compatible)?(element|nonarray|enum|array|range|multirange)?$/

/** What a polymorphic type is when its element is `element`. */
const actual = (display: string, element: string, ranges: Group["ranges"]): string => {
  const match = POLYMORPHIC.exec(display)
  if (match === null || display === "any") return display
  if (match[2] === "range") return ranges?.[element]?.[0] ?? display
  if (match[2] === "multirange") return ranges?.[element]?.[1] ?? display
  return match[2] === "array" ? `${element}[]` : element
}

/** As a cast names it: `character` alone would be one character long. */
const castable = (display: string): string => display.replace(/^character(\[\])?$/, "bpchar$1")

/** Numbers that look random and are the same in every run. */
const sequence = (): (bound: number) => number => {
  let state = 12_345
  return (bound) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
}

/** All combinations when there are few, else some. */
const combinations = (
  lists: ReadonlyArray<ReadonlyArray<string | null>>,
  limit: number
): ReadonlyArray<ReadonlyArray<string | null>> => {
  const total = lists.reduce((product, list) => product * list.length, 1)
  const random = sequence()
  if (total > limit) return Array.from({ length: limit }, () => lists.map((list) => list[random(list.length)]!))
  return lists.reduce<ReadonlyArray<ReadonlyArray<string | null>>>(
    (some, list) => some.flatMap((head) => list.map((last) => [...head, last])),
    [[]]
  )
}

interface Signature {
  readonly site: Omit<CallSite, "constants">
  readonly source: string
  readonly args: ReadonlyArray<string>
  /** The argument whose collation is given, or -1. */
  readonly collatable: number
  /** The last argument is an array of the variadic ones. */
  readonly variadic: boolean
}

interface Case {
  readonly signature: Signature
  readonly values: ReadonlyArray<string | null>
  readonly sql: string
}

const evaluate = (
  builtin: Builtin,
  signature: Signature,
  values: ReadonlyArray<string | null>,
  constants: boolean,
  codecOf: (type: SqlType) => Codec | undefined
): string | undefined => {
  try {
    const decoded: ReadonlyArray<Value> = values.map((text, i) =>
      text === null ? null : codecOf(signature.site.args[i]!)!.decode(text)
    )
    const closure: Closure | undefined = builtin({
      ...signature.site,
      constants: decoded.map((value, i) => constants && (i > 0 || decoded.length === 1) ? value : undefined)
    })
    if (closure === undefined) return undefined
    const result = closure(decoded[0]!, decoded[1]!, decoded[2]!, decoded[3]!)
    return result === null ? "N" : `V${codecOf(signature.site.result)!.encode(result)}`
  } catch (error) {
    if (error === UNSURE) return undefined
    throw error
  }
}

type Attempt = (expressions: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<string>, Postgres.QueryError>
type Samples = ReadonlyMap<string, ReadonlyArray<string>>

/** Samples in output form. */
const inOutputForm = (samples: Group["samples"], attempt: Attempt) =>
  Effect.gen(function*() {
    const result = new Map<string, ReadonlyArray<string>>()
    for (const [display, texts] of Object.entries(samples)) {
      const results = yield* attempt(texts.map((text) => `${quoteLiteral(text)}::${castable(display)}`))
      results.forEach((result, i) => assert(result.startsWith("V"), `${display} ${texts[i]!}: ${result}`))
      result.set(display, [...new Set(results.map((result) => result.slice(1)))])
    }
    return result
  })

/** How a function that a row of pg_proc describes is called. */
const signaturesOf = (
  row: Postgres.Row,
  group: Group,
  samples: Samples,
  types: ReadonlyMap<string, SqlType>
): ReadonlyArray<Signature> => {
  const declared = JSON.parse(row.args!) as ReadonlyArray<string>
  const elements = declared.some((arg) => POLYMORPHIC.test(arg)) ? group.elements ?? [] : [""]
  const given = group.signatures?.[row.prosrc!]
  const calls = given?.map((args) => ({ args, element: "" })) ??
    elements.map((element) => ({ args: declared.map((arg) => actual(arg, element, group.ranges)), element }))
  return calls.filter(({ args }) => args.every((arg) => samples.has(arg))).flatMap(({ args, element }) => {
    const collatable = args.findIndex((arg) => types.get(arg)!.collation !== 0)
    return (collatable < 0 ? [undefined] : group.collations ?? [C]).map((collation) => ({
      site: {
        fn: {
          oid: Number(row.oid),
          schema: row.nspname!,
          name: row.proname!,
          source: row.prosrc!,
          strict: row.proisstrict === "t"
        },
        args: args.map((arg) => types.get(arg)!),
        result: types.get(actual(row.result!, element, group.ranges))!,
        collation
      },
      source: row.prosrc!,
      args,
      collatable,
      variadic: row.provariadic !== "0" && given === undefined
    }))
  })
}

const casesOf = (signature: Signature, samples: Samples, limit: number): ReadonlyArray<Case> => {
  const { site, args, collatable, variadic } = signature
  const nulls = site.fn.strict ? [] : [null]
  return combinations(args.map((arg) => [...samples.get(arg)!, ...nulls]), limit).map((values) => {
    const list = values.map((text, i) => {
      const collate = i === collatable && site.collation !== undefined ? ` COLLATE ${quote(site.collation.name)}` : ""
      const value = `${text === null ? "NULL" : quoteLiteral(text)}::${castable(args[i]!)}${collate}`
      return variadic && i === args.length - 1 ? `VARIADIC ${value}` : value
    })
    return { signature, values, sql: `pg_catalog.${quote(site.fn.name)}(${list.join(", ")})` }
  })
}

/** `codecOf` is given here, so that this file depends on no codec. */
export const check = (group: Group, codecOf: (type: SqlType) => Codec | undefined) =>
  Effect.gen(function*() {
    const database = yield* Postgres.makeDatabase
    const db = yield* database.session
    yield* db.exec(`${DISPLAY_SETTINGS}; ${group.setup ?? ""}; ${setup}`)
    const types = yield* loadTypes(db)
    const attempt: Attempt = (expressions) =>
      Effect.map(
        db.query(`SELECT attempt(e) AS result FROM unnest($1::text[]) WITH ORDINALITY u(e, i) ORDER BY i`, [
          expressions
        ]),
        (rows) => rows.map((row) => row.result!)
      )
    const samples = yield* inOutputForm(group.samples, attempt)
    const rows = yield* db.query(
      `SELECT p.oid, nspname, proname, prosrc, proisstrict, provariadic, prorettype::regtype::text AS result,
         to_json(ARRAY(SELECT t::regtype::text FROM unnest(proargtypes::oid[]) t)) AS args
       FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
       WHERE prolang = (SELECT oid FROM pg_language WHERE lanname = 'internal') AND prosrc = ANY($1::text[])`,
      [Object.keys(group.functions)]
    )
    const cases = rows
      .flatMap((row) => signaturesOf(row, group, samples, types))
      .flatMap((signature) => casesOf(signature, samples, group.limit ?? 300))
    const expected = yield* attempt(cases.map((one) => one.sql))
    const counts = new Map(Object.keys(group.functions).map((source) => [source, { calls: 0, certain: 0 }]))
    cases.forEach(({ signature, values, sql }, i) => {
      const count = counts.get(signature.source)!
      const failed = expected[i]!.startsWith("E")
      for (const constants of [false, true]) {
        const result = evaluate(group.functions[signature.source]!, signature, values, constants, codecOf)
        if (!failed) count.calls++
        if (result === undefined) continue
        count.certain++
        assert.strictEqual(result, expected[i], `${signature.source}: ${sql}`)
      }
    })
    const missing = yield* db.query(
      `SELECT s FROM unnest($1::text[]) s WHERE s NOT IN (SELECT prosrc FROM pg_proc)
         AND current_setting('server_version_num')::int < 180000`,
      [Object.keys(group.functions)]
    )
    // What older versions don't have yet.
    for (const { s } of missing) counts.delete(s!)
    for (const [source, { calls, certain }] of counts) {
      const least = group.exceptions?.[source] ?? group.certain ?? 0.6
      assert(calls > 0 || least === 0, `${source} was never called, or Postgres refused every call`)
      assert(certain >= least * calls, `${source} is certain of ${certain} of ${calls} calls only`)
    }
    return { calls: cases.length, counts }
  })
