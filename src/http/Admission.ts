/**
 * How many requests for shapes are served at a time (Electric HTTP protocol §15.3). Requests for a shape that is there
 * cost little; those for one that may have to be made cost the database a query, so there are far fewer of them.
 *
 * A request holds its permit until its response has been sent or its client is gone.
 */

export type Kind = "initial" | "existing"

export type Limits = Readonly<Record<Kind, number>>

export interface Permit {
  /** The shape is there now: counts the request among the existing ones, if there is room. */
  readonly exchange: () => void
  /** Gives the permit back; later calls do nothing. */
  readonly release: () => void
}

export interface Admission {
  /** `undefined` when there are as many as there may be. */
  readonly acquire: (kind: Kind) => Permit | undefined
  readonly isFull: (kind: Kind) => boolean
  /** Requests that are served now. */
  readonly counts: () => Limits
}

export const make = (limits: Limits): Admission => {
  const counts = { initial: 0, existing: 0 }
  const isFull = (kind: Kind): boolean => counts[kind] >= limits[kind]
  return {
    acquire: (first) => {
      if (isFull(first)) return undefined
      let kind: Kind | undefined = first
      counts[kind] += 1
      return {
        exchange: () => {
          if (kind !== "initial" || isFull("existing")) return
          counts.initial -= 1
          counts.existing += 1
          kind = "existing"
        },
        release: () => {
          if (kind === undefined) return
          counts[kind] -= 1
          kind = undefined
        }
      }
    },
    isFull,
    counts: () => ({ ...counts })
  }
}
