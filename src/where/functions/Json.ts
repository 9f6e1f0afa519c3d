/** jsonb's operators and casts. */
import {
  type Builtin,
  type Builtins,
  type Closure,
  type Json,
  type Jsonb,
  type Numeric,
  type PgArray,
  unsure,
  type Value
} from "../Value.ts"
import { decodeFloat4, decodeFloat8 } from "../values/Floats.ts"
import { compareKeys, isArray, isObject, jsonb, printJson } from "../values/Json.ts"
import { compareJson, containsJson, equalJson } from "../values/JsonOrder.ts"
import { format, toBigint } from "../values/Numeric.ts"
import { everywhere, threeWay } from "./Families.ts"

const jsonOf = (value: Value): Json => (value as Jsonb).json

/** What there is, as jsonb: nothing is NULL. */
const asJsonb = (json: Json | undefined): Value => json === undefined ? null : jsonb(json)

/** As `->>` has it: a string without its quotes, and NULL for a null. */
const asText = (json: Json | undefined): Value =>
  json === undefined || json === null ? null : typeof json === "string" ? json : printJson(json)

const field = (json: Json, key: string): Json | undefined => isObject(json) ? json.get(key) : undefined

/** From the end when negative. */
const element = (array: ReadonlyArray<Json>, index: number): Json | undefined =>
  array[index < 0 ? array.length + index : index]

/** A scalar that stands alone counts as an array of one here. */
const elementOf = (json: Json, index: number): Json | undefined =>
  isObject(json) ? undefined : element(isArray(json) ? json : [json], index)

/** What an index of an array may look like; a text without digits is none, and of others Postgres knows. */
const INDEX = /^-?\d{1,9}$/
const NO_DIGIT = /^[^0-9]*$/

const step = (json: Json, key: string): Json | undefined => {
  if (isObject(json)) return json.get(key)
  if (!isArray(json)) return undefined
  if (INDEX.test(key)) return element(json, Number(key))
  return NO_DIGIT.test(key) ? undefined : unsure()
}

const follow = (json: Json, path: PgArray): Json | undefined => {
  // A NULL anywhere in it makes it lead nowhere.
  if (path.elements.includes(null)) return undefined
  let at: Json | undefined = json
  for (const key of path.elements) {
    if (at === undefined) return undefined
    at = step(at, key as string)
  }
  return at
}

/** Whether a key, or a string that is an element. */
const exists = (json: Json, key: string): boolean => {
  if (isObject(json)) return json.has(key)
  return isArray(json) ? json.includes(key) : json === key
}

const existsAny = (json: Json, keys: PgArray): boolean => {
  for (const key of keys.elements) if (key !== null && exists(json, key as string)) return true
  return false
}

const existsAll = (json: Json, keys: PgArray): boolean => {
  for (const key of keys.elements) if (key !== null && !exists(json, key as string)) return false
  return true
}

const typeOf = (json: Json): string => {
  if (json === null) return "null"
  if (isArray(json)) return "array"
  if (isObject(json)) return "object"
  return typeof json === "object" ? "number" : typeof json
}

/** Members of both, the right one's when both have a key. */
const merge = (a: ReadonlyMap<string, Json>, b: ReadonlyMap<string, Json>): Json =>
  new Map([...new Map([...a, ...b])].sort(([x], [y]) => compareKeys(x, y)))

const concatenate = (a: Json, b: Json): Json => {
  if (isObject(a) && isObject(b)) return merge(a, b)
  // Versions differ.
  if (isObject(a) && !isArray(b) || isObject(b) && !isArray(a)) unsure()
  return [...isArray(a) ? a : [a], ...isArray(b) ? b : [b]]
}

const remove = (json: Json, keys: ReadonlyArray<Value>): Json => {
  if (isArray(json)) return json.filter((item) => typeof item !== "string" || !keys.includes(item))
  return isObject(json) ? new Map([...json].filter(([key]) => !keys.includes(key))) : unsure()
}

/** An array of arrays is an error here. */
const removeAll = (json: Json, { elements, lengths }: PgArray): Json =>
  lengths.length > 1 ? unsure() : remove(json, elements)

const removeAt = (json: Json, index: number): Json => {
  if (!isArray(json)) return unsure()
  const at = index < 0 ? json.length + index : index
  return json.filter((_, i) => i !== at)
}

const numberOf = (value: Value): Numeric => {
  const json = jsonOf(value)
  if (json === null || typeof json !== "object" || isArray(json) || isObject(json)) return unsure()
  return json
}

/** Rounded to a whole number that fits. */
const integer = (bits: number): Closure => (value) => {
  const whole = toBigint(numberOf(value))
  if (BigInt.asIntN(bits, whole) !== whole) unsure()
  return bits === 64 ? whole : Number(whole)
}

/** Beyond what the type holds is an error, and so is what is lost to zero. */
const float = (decode: (text: string) => Value): Closure => (value) => {
  const number = numberOf(value)
  const result = decode(format(number))
  return Number.isFinite(result) && (result !== 0 || number.digits === 0n) ? result : unsure()
}

const access: Readonly<Record<string, Closure>> = {
  jsonb_object_field: (a, b) => asJsonb(field(jsonOf(a), b as string)),
  jsonb_object_field_text: (a, b) => asText(field(jsonOf(a), b as string)),
  jsonb_array_element: (a, b) => asJsonb(elementOf(jsonOf(a), b as number)),
  jsonb_array_element_text: (a, b) => asText(elementOf(jsonOf(a), b as number))
}

/** Variadic functions: only with their array. */
const withArray = (closure: Closure): Builtin => ({ args }) =>
  args.length === 2 && args[1]?.element !== undefined ? closure : undefined

const variadic: Builtins = {
  jsonb_extract_path: withArray((a, b) => asJsonb(follow(jsonOf(a), b as PgArray))),
  jsonb_extract_path_text: withArray((a, b) => asText(follow(jsonOf(a), b as PgArray))),
  jsonb_delete_array: withArray((a, b) => jsonb(removeAll(jsonOf(a), b as PgArray)))
}

const predicates: Readonly<Record<string, Closure>> = {
  jsonb_eq: (a, b) => equalJson(jsonOf(a), jsonOf(b)),
  jsonb_ne: (a, b) => !equalJson(jsonOf(a), jsonOf(b)),
  jsonb_contains: (a, b) => containsJson(jsonOf(a), jsonOf(b)),
  jsonb_contained: (a, b) => containsJson(jsonOf(b), jsonOf(a)),
  jsonb_exists: (a, b) => exists(jsonOf(a), b as string),
  jsonb_exists_any: (a, b) => existsAny(jsonOf(a), b as PgArray),
  jsonb_exists_all: (a, b) => existsAll(jsonOf(a), b as PgArray)
}

const results: Readonly<Record<string, Closure>> = {
  jsonb_typeof: (a) => typeOf(jsonOf(a)),
  jsonb_array_length: (a) => {
    const json = jsonOf(a)
    return isArray(json) ? json.length : unsure()
  },
  jsonb_concat: (a, b) => jsonb(concatenate(jsonOf(a), jsonOf(b))),
  jsonb_delete: (a, b) => jsonb(remove(jsonOf(a), [b])),
  jsonb_delete_idx: (a, b) => jsonb(removeAt(jsonOf(a), b as number))
}

const casts: Readonly<Record<string, Closure>> = {
  jsonb_bool: (a) => {
    const json = jsonOf(a)
    return typeof json === "boolean" ? json : unsure()
  },
  jsonb_numeric: numberOf,
  jsonb_int2: integer(16),
  jsonb_int4: integer(32),
  jsonb_int8: integer(64),
  jsonb_float4: float(decodeFloat4),
  jsonb_float8: float(decodeFloat8)
}

export const jsonFunctions: Builtins = {
  ...threeWay("jsonb", (a, b) => compareJson(jsonOf(a), jsonOf(b))),
  ...variadic,
  ...everywhere({ ...access, ...predicates, ...results, ...casts })
}
