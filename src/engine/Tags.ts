/**
 * How a shape with subqueries says why a row is in it (Electric HTTP protocol §13.2–13.4): a tag for each disjunct of
 * the clause, and for each position whether it holds. A client that has these can tell by an event which rows leave.
 */
import { createHash } from "node:crypto"
import type { Pattern } from "../domain/RowItem.ts"
import { NULL_KEY } from "../where/Access.ts"
import type { Plan } from "../where/Plan.ts"
import type { Facts } from "./NodeRows.ts"
import { SEPARATOR } from "./ValueSet.ts"

/** A link value that has begun or ceased to satisfy a leaf. */
export interface Moved {
  readonly leaf: number
  readonly key: string
  readonly texts: ReadonlyArray<string | null>
  /** The leaf holds for it now. */
  readonly holds: boolean
}

/** What the protocol's servers begin with, unless they are told otherwise. */
const STACK = "single_stack"

export class Tags {
  private readonly plan: Plan
  private readonly salt: string
  /** The leaf at each position. */
  private readonly positions: ReadonlyArray<number>

  /** The shape's handle salts the hashes: equal values of two shapes can't be told to be equal. */
  constructor(plan: Plan, handle: string) {
    this.plan = plan
    this.salt = STACK + handle
    this.positions = plan.disjuncts.flat()
  }

  /** What stands for a link value of a leaf. Equal values have equal keys, whatever their text. */
  private hash(leaf: number, key: string): string {
    const { member } = this.plan.leaves[leaf] as Extract<Plan["leaves"][number], { _tag: "Member" }>
    const parts = key.split(SEPARATOR).map((part) => part === NULL_KEY ? "NULL" : `v:${part}`)
    const named = parts.length === 1
      ? parts[0]!
      : parts.map((part, i) => `${Buffer.from(member.links[i]!.name).toString("latin1")}:${part}`).join("")
    return createHash("md5").update(this.salt).update(named, "latin1").digest("hex")
  }

  private tagsOf({ keys }: Facts): ReadonlyArray<string> {
    const { disjuncts, leaves } = this.plan
    let from = 0
    return disjuncts.map((disjunct) => {
      const slots = this.positions.map((leaf, position) => {
        if (position < from || position >= from + disjunct.length) return ""
        return leaves[leaf]!._tag === "Member" ? this.hash(leaf, keys[leaf]!) : "1"
      })
      from += disjunct.length
      return slots.join("/")
    })
  }

  private conditionsOf({ truths }: Facts): string {
    return `,"active_conditions":[${this.positions.map((leaf) => truths[leaf] ? "true" : "false").join()}]`
  }

  /** The headers of a row that enters or leaves. */
  headers(facts: Facts): string {
    return `,"tags":${JSON.stringify(this.tagsOf(facts))}${this.conditionsOf(facts)}`
  }

  /** The headers of the first half of a change of the key: all tags of both halves (Electric HTTP protocol §10.4). */
  removalHeaders(before: Facts, after: Facts): string {
    const tags = new Set([...this.tagsOf(after), ...this.tagsOf(before)])
    return `,"tags":${JSON.stringify([...tags])}${this.conditionsOf(before)}`
  }

  /** The headers of a row that stays. */
  updateHeaders(before: Facts, after: Facts): string {
    const tags = this.tagsOf(after)
    const removed = this.tagsOf(before).filter((tag) => !tags.includes(tag))
    return `,"tags":${JSON.stringify(tags)},"removed_tags":${JSON.stringify(removed)}${this.conditionsOf(after)}`
  }

  /**
   * Whether a tag that a row has got is the one it has lost at another membership. The published client takes a lost tag
   * from its index after it has put the new one there, and would not know what both have.
   */
  overlap(before: Facts, after: Facts): boolean {
    const { disjuncts, leaves } = this.plan
    return disjuncts.some((disjunct) => {
      const members = disjunct.filter((leaf) => leaves[leaf]!._tag === "Member")
      const kept = members.filter((leaf) => before.keys[leaf] === after.keys[leaf])
      return kept.length > 0 && kept.length < members.length
    })
  }

  /** What an event says of the values that have moved in, or out. */
  patterns(moved: ReadonlyArray<Moved>, holds: boolean): ReadonlyArray<Pattern> {
    return this.positions.flatMap((leaf, pos) =>
      moved.filter((each) => each.leaf === leaf && each.holds === holds).map(({ key }) => ({
        pos,
        value: this.hash(leaf, key)
      }))
    )
  }
}
