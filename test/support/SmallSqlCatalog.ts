/**
 * As much of SQL's vocabulary as tests without a database need: booleans, integers, texts and dates, and how they compare.
 */
import { build } from "../../src/source/SqlCatalogQuery.ts"

const CATALOG = 11

/** oid, name, kind and category and whether preferred, element, collation */
const types: ReadonlyArray<readonly [number, string, string, number | null, number]> = [
  [16, "bool", "bBt", null, 0],
  [20, "int8", "bNf", null, 0],
  [21, "int2", "bNf", null, 0],
  [23, "int4", "bNf", null, 0],
  [25, "text", "bSt", null, 100],
  [705, "unknown", "pXf", null, 0],
  [1007, "_int4", "bAf", 23, 0],
  [1009, "_text", "bAf", 25, 100],
  [1016, "_int8", "bAf", 20, 0],
  [1082, "date", "bDf", null, 0]
]

const comparisons = ["=", "<>", "<", "<=", ">", ">="] as const
const suffixes = ["eq", "ne", "lt", "le", "gt", "ge"]

/** Left type, right type, and how the C functions' names begin. */
const families: ReadonlyArray<readonly [number, number, string]> = [
  [16, 16, "bool"],
  [23, 23, "int4"],
  [20, 20, "int8"],
  [23, 20, "int48"],
  [20, 23, "int84"],
  [25, 25, "text"],
  [1082, 1082, "date_"]
]

const sourceOf = (family: string, i: number): string => {
  const underlined = family === "text" && i > 1 ? "text_" : family
  return `${underlined}${suffixes[i]}`
}

const functions = families.flatMap(([left, right, family], f) =>
  comparisons.map((_, i) => ({ oid: 1000 + 10 * f + i, source: sourceOf(family, i), left, right }))
)

/** A function that only Postgres can evaluate. */
const STRANGE = [2000, "strange", 2200, null, "fitf", "25", 0, 0, 16] as const

export const smallSqlCatalog = build({
  version: 180_000,
  searchPath: ["pg_catalog", "public"],
  database: { encoding: 6, provider: "c", collate: "C", ctype: "C", locale: null },
  schemas: [[CATALOG, "pg_catalog"], [2200, "public"]],
  types: types.map(([oid, name, kind, element, collation]) => [oid, name, CATALOG, kind, element, null, -1, collation]),
  enums: [],
  ranges: [],
  functions: [
    ...functions.map(({ left, oid, right, source }) =>
      [oid, source, CATALOG, "", "fitf", `${left} ${right}`, 0, 0, 16] as const
    ),
    STRANGE
  ],
  operators: functions.map(({ left, oid, right }) => [comparisons[oid % 10]!, CATALOG, left, right, 16, oid]),
  casts: [[23, 20, "if", 1], [21, 23, "if", 2], [20, 23, "af", 3]],
  collations: [
    [100, "default", CATALOG, "d", null, null, null, true],
    [950, "C", CATALOG, "c", "C", "C", null, true]
  ]
})
