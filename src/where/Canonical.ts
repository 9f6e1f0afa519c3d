/**
 * The output form of literals that needs no question to the database.
 */

const limits: ReadonlyMap<string, readonly [bigint, bigint]> = new Map([
  ["int2", [-0x8000n, 0x7fffn]],
  ["int4", [-0x80000000n, 0x7fffffffn]],
  ["int8", [-0x8000000000000000n, 0x7fffffffffffffffn]]
])

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * The output form of a text as a value of a base type, where it is evident; `undefined` where only Postgres can tell.
 */
export const evident = (typeName: string, text: string): string | undefined => {
  if (text.includes("\0")) return undefined
  switch (typeName) {
    case "text":
    case "varchar":
      return text
    case "int2":
    case "int4":
    case "int8": {
      if (!/^-?\d{1,19}$/.test(text)) return undefined
      const [least, greatest] = limits.get(typeName)!
      const value = BigInt(text)
      return value >= least && value <= greatest ? String(value) : undefined
    }
    case "bool":
      return text === "t" || text === "true" ? "t" : text === "f" || text === "false" ? "f" : undefined
    case "uuid":
      return uuid.test(text) ? text : undefined
    default:
      return undefined
  }
}
