/**
 * Intervals and what belongs to them, found by a point inside: a treap ordered by lower bound, each node of which knows the
 * highest upper bound below it. Adding and removing take logarithmic time, finding takes that for each result at most.
 */
import type { Place } from "../where/Bounds.ts"

interface Node<A> {
  readonly low: Place
  readonly high: Place
  readonly priority: number
  readonly values: Set<A>
  /** Highest `high` of this node and all below it. */
  reach: Place
  left: Node<A> | undefined
  right: Node<A> | undefined
}

const order = (low: Place, high: Place, node: { readonly low: Place; readonly high: Place }): number => {
  if (low !== node.low) return low < node.low ? -1 : 1
  return high === node.high ? 0 : high < node.high ? -1 : 1
}

const update = <A>(node: Node<A>): Node<A> => {
  let reach = node.high
  if (node.left && node.left.reach > reach) reach = node.left.reach
  if (node.right && node.right.reach > reach) reach = node.right.reach
  node.reach = reach
  return node
}

const rotateRight = <A>(node: Node<A>, left: Node<A>): Node<A> => {
  node.left = left.right
  left.right = update(node)
  return update(left)
}

const rotateLeft = <A>(node: Node<A>, right: Node<A>): Node<A> => {
  node.right = right.left
  right.left = update(node)
  return update(right)
}

/** Both trees as one; every interval of `left` comes before every one of `right`. */
const join = <A>(left: Node<A> | undefined, right: Node<A> | undefined): Node<A> | undefined => {
  if (!left || !right) return left ?? right
  if (left.priority > right.priority) {
    left.right = join(left.right, right)
    return update(left)
  }
  right.left = join(left, right.left)
  return update(right)
}

/** All places are numbers, or all are texts. */
export class IntervalIndex<A> {
  private root: Node<A> | undefined = undefined
  /** State of the generator of priorities: any sequence without a pattern will do. */
  private seed = 0x9e3779b9

  get isEmpty(): boolean {
    return this.root === undefined
  }

  add(low: Place, high: Place, value: A): void {
    this.root = this.insert(this.root, low, high, value)
  }

  remove(low: Place, high: Place, value: A): void {
    this.root = this.erase(this.root, low, high, value)
  }

  /** Calls `visit` for everything whose interval has the point in it. */
  find(point: Place, visit: (value: A) => void): void {
    this.search(this.root, point, visit)
  }

  all(visit: (value: A) => void): void {
    this.walk(this.root, visit)
  }

  private nextPriority(): number {
    this.seed ^= this.seed << 13
    this.seed ^= this.seed >>> 17
    this.seed ^= this.seed << 5
    return this.seed
  }

  private insert(node: Node<A> | undefined, low: Place, high: Place, value: A): Node<A> {
    if (!node) {
      const priority = this.nextPriority()
      return { low, high, priority, values: new Set([value]), reach: high, left: undefined, right: undefined }
    }
    const side = order(low, high, node)
    if (side === 0) {
      node.values.add(value)
      return node
    }
    if (side < 0) {
      const left = this.insert(node.left, low, high, value)
      node.left = left
      return left.priority > node.priority ? rotateRight(node, left) : update(node)
    }
    const right = this.insert(node.right, low, high, value)
    node.right = right
    return right.priority > node.priority ? rotateLeft(node, right) : update(node)
  }

  private erase(node: Node<A> | undefined, low: Place, high: Place, value: A): Node<A> | undefined {
    if (!node) return undefined
    const side = order(low, high, node)
    if (side === 0) {
      node.values.delete(value)
      return node.values.size > 0 ? node : join(node.left, node.right)
    }
    if (side < 0) node.left = this.erase(node.left, low, high, value)
    else node.right = this.erase(node.right, low, high, value)
    return update(node)
  }

  private search(node: Node<A> | undefined, point: Place, visit: (value: A) => void): void {
    if (!node || node.reach < point) return
    this.search(node.left, point, visit)
    if (node.low > point) return
    if (point <= node.high) { for (const value of node.values) visit(value) }
    this.search(node.right, point, visit)
  }

  private walk(node: Node<A> | undefined, visit: (value: A) => void): void {
    if (!node) return
    this.walk(node.left, visit)
    for (const value of node.values) visit(value)
    this.walk(node.right, visit)
  }
}
