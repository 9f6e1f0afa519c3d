/** Equality, order and containment of jsonb, by Postgres's rules. */
import { type Json, type Numeric, unsure } from "../Value.ts"
import { compare as compareNumbers, equal as equalNumbers } from "./Numeric.ts"

/** Null, string, number, bool, array, object: in this order. */
const rank = (json: Json): number => {
  if (json === null) return 0
  if (typeof json === "string") return 1
  if (typeof json === "boolean") return 3
  if (Array.isArray(json)) return 4
  return json instanceof Map ? 5 : 2
}

const ARRAY = 4
const OBJECT = 5

type Members = ReadonlyMap<string, Json>
type Elements = ReadonlyArray<Json>

const equalArrays = (a: Elements, b: Elements): boolean => {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (!equalJson(a[i]!, b[i]!)) return false
  return true
}

const equalObjects = (a: Members, b: Members): boolean => {
  if (a.size !== b.size) return false
  for (const [key, value] of a) {
    const other = b.get(key)
    if (other === undefined || !equalJson(value, other)) return false
  }
  return true
}

/** Numbers are equal whatever their scales. */
export const equalJson = (a: Json, b: Json): boolean => {
  const kind = rank(a)
  if (kind !== rank(b)) return false
  if (kind === ARRAY) return equalArrays(a as Elements, b as Elements)
  if (kind === OBJECT) return equalObjects(a as Members, b as Members)
  return kind === 2 ? equalNumbers(a as Numeric, b as Numeric) : a === b
}

/** Different texts are ordered by the database's collation, which is not known here. */
const compareStrings = (a: string, b: string): number => a === b ? 0 : unsure()

const compareElements = (a: Elements, b: Elements): number => {
  if (a.length !== b.length) return a.length > b.length ? 1 : -1
  for (let i = 0; i < a.length; i++) {
    const order = compareNested(a[i]!, b[i]!)
    if (order !== 0) return order
  }
  return 0
}

const compareMembers = (a: Members, b: Members): number => {
  if (a.size !== b.size) return a.size > b.size ? 1 : -1
  const others = b.entries()
  for (const [key, value] of a) {
    const [otherKey, otherValue] = others.next().value!
    const order = compareStrings(key, otherKey) || compareNested(value, otherValue)
    if (order !== 0) return order
  }
  return 0
}

const compareNested = (a: Json, b: Json): number => {
  const kind = rank(a)
  const other = rank(b)
  if (kind !== other) return kind > other ? 1 : -1
  switch (kind) {
    case ARRAY:
      return compareElements(a as Elements, b as Elements)
    case OBJECT:
      return compareMembers(a as Members, b as Members)
    case 1:
      return compareStrings(a as string, b as string)
    case 2:
      return compareNumbers(a as Numeric, b as Numeric)
    case 3:
      return a === b ? 0 : a === true ? 1 : -1
    default:
      return 0
  }
}

/** Arrays by their length first. A scalar that stands alone counts as an array of one, and as less than a real one. */
export const compareJson = (a: Json, b: Json): number => {
  const kind = rank(a)
  const other = rank(b)
  if (kind < ARRAY && other === ARRAY) return (b as Elements).length === 0 ? 1 : -1
  if (kind === ARRAY && other < ARRAY) return (a as Elements).length === 0 ? -1 : 1
  return compareNested(a, b)
}

const isScalar = (json: Json): boolean => rank(json) < ARRAY

const someElement = (array: Elements, contained: Json): boolean => {
  const scalar = isScalar(contained)
  for (const element of array) {
    if (scalar ? equalJson(element, contained) : containsNested(element, contained)) return true
  }
  return false
}

const containsMembers = (a: Members, b: Members): boolean => {
  if (a.size < b.size) return false
  for (const [key, contained] of b) {
    const value = a.get(key)
    if (value === undefined) return false
    if (isScalar(contained) ? !equalJson(value, contained) : !containsNested(value, contained)) return false
  }
  return true
}

const containsNested = (a: Json, b: Json): boolean => {
  const kind = rank(a)
  if (kind !== rank(b)) return false
  if (kind === OBJECT) return containsMembers(a as Members, b as Members)
  if (kind !== ARRAY) return equalJson(a, b)
  for (const contained of b as Elements) if (!someElement(a as Elements, contained)) return false
  return true
}

/** `a @> b`. An array contains a scalar that stands alone, though nowhere deeper. */
export const containsJson = (a: Json, b: Json): boolean =>
  Array.isArray(a) && isScalar(b) ? someElement(a as Elements, b) : containsNested(a, b)
