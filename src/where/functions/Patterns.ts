/**
 * LIKE, ILIKE and regular expressions.
 *
 * A pattern that is a constant is compiled once. Of regular expressions only plain texts are matched here, with `^` and `$`
 * around them: all others are Postgres's, because its language isn't JavaScript's, whose matching may take for ever.
 */
import type { Collation } from "../../domain/SqlCatalog.ts"
import { type Builtin, type Builtins, unsure } from "../Value.ts"
import { hasPlainCase, isAscii, lowerAscii, search } from "./Characters.ts"
import { at, exact } from "./define.ts"
import { like, likeEscape, type Matcher } from "./Like.ts"

/** Makes the matcher of a pattern; `undefined` when there is none. */
type Compile = (pattern: string) => Matcher | undefined

/** Whether a text matches, or whether it does not. `compile` is told the collation, which has to be deterministic. */
const matching = (compileUnder: (collation: Collation) => Compile | undefined, wanted: boolean): Builtin =>
  at((site) => {
    if (site.collation?.deterministic !== true) return undefined
    const compile = compileUnder(site.collation)
    if (compile === undefined) return undefined
    const pattern = site.constants[1]
    if (typeof pattern === "string") {
      const matcher = compile(pattern)
      return matcher && ((text: string) => matcher(text) === wanted)
    }
    let last = ""
    let matcher = compile(last)
    return (text: string, pattern: string) => {
      if (pattern !== last) {
        last = pattern
        matcher = compile(pattern)
      }
      return matcher === undefined ? unsure() : matcher(text) === wanted
    }
  })

/** Characters beyond ASCII whose lower case is, or begins with, an ASCII letter: İ and the Kelvin sign. */
const LOWERED_TO_ASCII = /[\u0130\u212a]/

/** Postgres lowers text and pattern. Of a text, what is beyond ASCII stays so, one character for each. */
const likeIgnoringCase = (collation: Collation): Compile | undefined => {
  if (collation.asciiCase) {
    return (pattern) => {
      const matcher = like(lowerAscii(pattern))
      return (text) => matcher(lowerAscii(text))
    }
  }
  if (!hasPlainCase(collation)) return undefined
  return (pattern) => {
    if (!isAscii(pattern)) return undefined
    const matcher = like(lowerAscii(pattern))
    return (text) => LOWERED_TO_ASCII.test(text) ? unsure() : matcher(lowerAscii(text))
  }
}

const SPECIAL = /[\\^$.|()[\]{}*+?]/

/** Of a pattern without anything special in it, but for `^` first and `$` last. */
const regex: Compile = (pattern) => {
  const start = pattern.startsWith("^")
  const end = pattern.length > (start ? 1 : 0) && pattern.endsWith("$")
  const literal = pattern.slice(start ? 1 : 0, end ? -1 : undefined)
  if (SPECIAL.test(literal)) return undefined
  if (start) return end ? (text) => text === literal : (text) => text.startsWith(literal)
  return end ? (text) => text.endsWith(literal) : (text) => search(text, literal) >= 0
}

/** A letter of the pattern stands for its lower and upper case. */
const regexIgnoringCase = (collation: Collation): Compile | undefined => {
  if (!hasPlainCase(collation)) return undefined
  return (pattern) => {
    if (!isAscii(pattern)) return undefined
    const matcher = regex(lowerAscii(pattern))
    return matcher && ((text) => matcher(lowerAscii(text)))
  }
}

const likes = matching(() => like, true)
const unlike = matching(() => like, false)
const likesAnyCase = matching(likeIgnoringCase, true)
const unlikeAnyCase = matching(likeIgnoringCase, false)
const matches = matching(() => regex, true)
const matchesNot = matching(() => regex, false)
const matchesAnyCase = matching(regexIgnoringCase, true)
const matchesNotAnyCase = matching(regexIgnoringCase, false)

export const patternFunctions: Builtins = {
  textlike: likes,
  namelike: likes,
  textnlike: unlike,
  namenlike: unlike,
  texticlike: likesAnyCase,
  nameiclike: likesAnyCase,
  texticnlike: unlikeAnyCase,
  nameicnlike: unlikeAnyCase,
  like_escape: exact(likeEscape),
  textregexeq: matches,
  nameregexeq: matches,
  textregexne: matchesNot,
  nameregexne: matchesNot,
  texticregexeq: matchesAnyCase,
  nameicregexeq: matchesAnyCase,
  texticregexne: matchesNotAnyCase,
  nameicregexne: matchesNotAnyCase
}
