/**
 * The output form of literals that needs no question to the database.
 */

const limits: ReadonlyMap<string, readonly [bigint, bigint]> = new Map([
  ["int2", [-0x8000n, 0x7fffn]],
  ["int4", [-0x80000000n, 0x7fffffffn]],
  ["int8", [-0x8000000000000000n, 0x7fffffffffffffffn]]
])

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Longer numbers are left to Postgres. */
const MAX_DIGITS = 100

const decimal = /^(-?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?$/

/** The output form of a number without digit separators, as `numeric` has it; `undefined` where Postgres has to tell. */
export const numericLiteral = (text: string): string | undefined => {
  const match = decimal.exec(text)
  if (match === null || text.length > MAX_DIGITS) return undefined
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = match
  const shift = Number(exponent)
  if (whole + fraction === "" || Math.abs(shift) > MAX_DIGITS) return undefined
  const digits = (whole + fraction).padStart(Math.max(-shift, 0) + whole.length + fraction.length + 1, "0")
  const scale = Math.max(fraction.length - shift, 0)
  const padded = digits + "0".repeat(Math.max(shift - fraction.length, 0))
  const integer = padded.slice(0, padded.length - scale).replace(/^0+(?=\d)/, "")
  const value = scale === 0 ? integer : `${integer}.${padded.slice(-scale)}`
  return /[1-9]/.test(value) ? sign + value : value
}

const date = /^(\d{4})-(\d\d)-(\d\d)$/
const daysOf = (year: number, month: number): number =>
  month === 2
    ? (year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28)
    : [4, 6, 9, 11].includes(month)
    ? 30
    : 31

const isDate = (text: string): boolean => {
  const match = date.exec(text)
  if (match === null) return false
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])]
  return year > 0 && month >= 1 && month <= 12 && day >= 1 && day <= daysOf(year, month)
}

const integer = (typeName: string, text: string): string | undefined => {
  if (!/^-?\d{1,19}$/.test(text)) return undefined
  const [least, greatest] = limits.get(typeName)!
  const value = BigInt(text)
  return value >= least && value <= greatest ? String(value) : undefined
}

/**
 * The output form of a text as a value of a base type, where it is evident; `undefined` where only Postgres can tell.
 */
export const evident = (typeName: string, text: string): string | undefined => {
  if (text.includes("\0")) return undefined
  switch (typeName) {
    case "text":
    case "varchar":
    case "bpchar":
      return text
    case "int2":
    case "int4":
    case "int8":
      return integer(typeName, text)
    case "numeric":
      return numericLiteral(text)
    case "bool":
      return text === "t" || text === "true" ? "t" : text === "f" || text === "false" ? "f" : undefined
    case "uuid":
      return uuid.test(text) ? text : undefined
    case "date":
      return isDate(text) ? text : undefined
    default:
      return undefined
  }
}

/** Of whitespace only what ASCII has. */
const quotedElement = /^$|^null$|[{}",\\ \t\n\v\f\r]/i

/**
 * The output form of a one-dimensional array whose elements have these output forms; `null` is NULL. The type's
 * delimiter is a comma, as that of all but `box` is.
 */
export const arrayText = (elements: ReadonlyArray<string | null>): string =>
  `{${
    elements.map((text) =>
      text === null ? "NULL" : quotedElement.test(text) ? `"${text.replace(/["\\]/g, "\\$&")}"` : text
    ).join(",")
  }}`
