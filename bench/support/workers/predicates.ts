/**
 * Calls a compiled predicate per prefix on each of some names: the least that looking at each costs.
 */
import * as Worker from "../Worker.ts"

export interface Job {
  readonly prefixes: ReadonlyArray<string>
  readonly names: ReadonlyArray<string>
}

export interface Result {
  readonly cpuSeconds: number
  /** How many names begin with a prefix, whatever their case. */
  readonly found: number
}

Worker.serve<Job, Result>(async ({ names, prefixes }) => {
  const predicates = prefixes.map((prefix) => {
    const folded = prefix.toLowerCase()
    return (name: string): boolean => {
      if (name.length < folded.length) return false
      for (let i = 0; i < folded.length; i++) {
        const code = name.charCodeAt(i)
        if ((code >= 65 && code <= 90 ? code + 32 : code) !== folded.charCodeAt(i)) return false
      }
      return true
    }
  })
  const count = (some: ReadonlyArray<string>) => {
    let found = 0
    for (const name of some) for (const predicate of predicates) if (predicate(name)) found++
    return found
  }
  count(names.slice(0, 100))
  const cpu = process.cpuUsage()
  const found = count(names)
  const { system, user } = process.cpuUsage(cpu)
  return { cpuSeconds: (user + system) / 1e6, found }
})
