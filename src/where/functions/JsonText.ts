/** json's operators, which find parts of a text and return them as they are written. */
import { type Builtin, type Builtins, type Closure, type PgArray, unsure, type Value } from "../Value.ts"
import { unescaped } from "../values/Json.ts"
import { checkEscapes, elements, members, typeOf } from "../values/JsonText.ts"
import { everywhere } from "./Families.ts"

/** As it is written. */
const asJson = (part: string | undefined): Value => part ?? null

/** As `->>` has it: a string without its quotes, and NULL for a null. */
const asText = (part: string | undefined): Value => {
  if (part === undefined || part === "null") return null
  return part.startsWith("\"") ? unescaped(part.slice(1, -1)) : part
}

const element = (json: string, index: number): string | undefined => elements(json).at(index)

const INDEX = /^-?\d{1,9}$/
const NO_DIGIT = /^[^0-9]*$/

const step = (json: string, key: string): string | undefined => {
  switch (typeOf(json)) {
    case "object": {
      const found = members(json, key)
      // Postgres may go on from an earlier one.
      return found.length > 1 ? unsure() : found[0]
    }
    case "array":
      if (INDEX.test(key)) return element(json, Number(key))
      return NO_DIGIT.test(key) ? undefined : unsure()
    default:
      return undefined
  }
}

const follow = (json: string, path: PgArray): string | undefined => {
  if (path.elements.includes(null)) return undefined
  // All of it, with some of the blanks around it.
  if (path.elements.length === 0) unsure()
  let at: string | undefined = json
  for (const key of path.elements) {
    if (at === undefined) return undefined
    at = step(at, key as string)
  }
  return at
}

const checked =
  (find: (json: string, by: Value) => string | undefined, result: typeof asText): Closure => (json, by) => {
    checkEscapes(json as string)
    return result(find(json as string, by))
  }

/** The last one of a key that is there more than once. */
const byKey = (json: string, key: Value): string | undefined => members(json, key as string).at(-1)
const byIndex = (json: string, index: Value): string | undefined => element(json, index as number)
const byPath = (json: string, path: Value): string | undefined => follow(json, path as PgArray)

/** Variadic functions: only with their array. */
const withArray = (closure: Closure): Builtin => ({ args }) =>
  args.length === 2 && args[1]?.element !== undefined ? closure : undefined

export const jsonTextFunctions: Builtins = {
  json_extract_path: withArray(checked(byPath, asJson)),
  json_extract_path_text: withArray(checked(byPath, asText)),
  ...everywhere({
    json_object_field: checked(byKey, asJson),
    json_object_field_text: checked(byKey, asText),
    json_array_element: checked(byIndex, asJson),
    json_array_element_text: checked(byIndex, asText),
    json_typeof: (a) => typeOf(a as string),
    json_array_length: (a) => typeOf(a as string) === "array" ? elements(a as string).length : unsure()
  })
}
