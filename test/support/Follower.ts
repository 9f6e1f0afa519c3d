/**
 * A client of the raw protocol that believes nothing: it applies every item strictly and fails on whatever a right log can't say.
 * An insert of a row that is there, an update or delete of one that isn't, an offset out of order, half a transaction that is called up
 * to date, a missing header: each is an error with the request that got it.
 *
 * Of a shape with subqueries it keeps the rows by their tags, as Electric HTTP protocol §13.6 has it: events alone tell
 * which rows leave.
 */
import assert from "node:assert/strict"

/** Values as text, `null` for NULL. */
export type Values = Readonly<Record<string, string | null>>

interface Item {
  readonly key?: string
  readonly value?: Values
  readonly old_value?: Values
  readonly headers: {
    readonly operation?: "insert" | "update" | "delete"
    readonly control?: string
    readonly event?: string
    readonly lsn?: string
    readonly op_position?: number
    readonly txids?: ReadonlyArray<number>
    readonly last?: boolean
    readonly relation?: readonly [string, string]
    readonly key_change_to?: string
    readonly key_change_from?: string
    readonly global_last_seen_lsn?: string
    readonly xmin?: string
    readonly xmax?: string
    readonly xip_list?: ReadonlyArray<string>
    readonly tags?: ReadonlyArray<string>
    readonly removed_tags?: ReadonlyArray<string>
    readonly active_conditions?: ReadonlyArray<boolean>
    readonly is_move_in?: boolean
    readonly patterns?: ReadonlyArray<{ readonly pos: number; readonly value: string }>
  }
}

/** Why a row is in a shape with subqueries. */
export interface Membership {
  /** One for each disjunct. */
  readonly tags: ReadonlyArray<string>
  /** Whether each position holds. */
  readonly conditions: Array<boolean>
}

/** One answered request for a piece of the log. */
export interface Served {
  readonly handle: string
  readonly offset: string
  readonly end: string
  readonly upToDate: boolean
  readonly live: boolean
  readonly body: string
}

export interface FollowerOptions {
  /** Where the server is. */
  readonly url: string
  /** `table`, `where`, `columns`, `replica`, … */
  readonly params: Readonly<Record<string, string>>
  /** How long failing requests are tried again, in milliseconds. */
  readonly patience?: number | undefined
}

export class Violation extends Error {
  override readonly name = "Violation"
}

interface Offset {
  readonly tx: bigint
  readonly op: number
}

const parseOffset = (text: string): Offset => {
  if (text === "-1") return { tx: -1n, op: 0 }
  const match = /^(\d+)_(\d+|inf)$/.exec(text)
  if (!match) throw new Violation(`${JSON.stringify(text)} is no offset`)
  return { tx: BigInt(match[1]!), op: match[2] === "inf" ? Infinity : Number(match[2]) }
}

const isBefore = (a: Offset, b: Offset): boolean => a.tx < b.tx || (a.tx === b.tx && a.op < b.op)

const pause = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

/** A served body without what may differ the next time: the closing bracket and the up-to-date message. */
export const content = (body: string): string =>
  body.replace(/,?\s*\{"headers":\{"control":"up-to-date","global_last_seen_lsn":"\d+"\}\}\s*\]\s*$/, "")
    .replace(/\s*\]\s*$/, "")

export class Follower {
  readonly options: FollowerOptions
  /** The materialised rows by key. */
  rows = new Map<string, Values>()
  handle: string | undefined
  offset = "-1"
  schema: string | undefined
  upToDate = false
  /** LSN of the last up-to-date message: nothing at or before it may come any more. */
  seen = -1n
  /** Number of 409s. */
  rotations = 0
  /** Number of 409s that did not say which shape to go on with. */
  unnamed = 0
  /** Answered requests, in order. */
  readonly served: Array<Served> = []
  /** Items applied of the live log, of this and earlier handles. */
  changes = 0
  /** Rows that events took out, and rows that came in with one. */
  readonly moves = { out: 0, in: 0 }
  /** By key, when rows carry tags. */
  memberships = new Map<string, Membership>()
  /** Positions of each disjunct, as the first row's tags have them; null when rows carry none. */
  private disjuncts: ReadonlyArray<ReadonlyArray<number>> | null | undefined
  /** The transaction of the last event, since the last change. */
  private move: { readonly txid: number; readonly isIn: boolean; rows: number; ended: boolean } | undefined
  private txid: number | undefined
  private cursor: string | undefined
  private snapshotEnded = false
  private itemOffset: Offset = { tx: 0n, op: -1 }
  /** The transaction of the last item has more to come. */
  private open = false
  private keyChange: { readonly from: string; readonly to: string } | undefined
  private loop: Promise<void> | undefined
  private failure: unknown
  private stopping = new AbortController()
  private readonly listeners = new Set<() => void>()
  private readonly dead = new Set<string>()

  constructor(options: FollowerOptions) {
    this.options = options
  }

  // --- Following ---

  /** One request for what comes next. `live` waits for it at the end of the log. */
  async step(live: boolean): Promise<void> {
    const query = new URLSearchParams({ ...this.options.params, offset: this.offset })
    if (this.handle !== undefined) query.set("handle", this.handle)
    const isLive = live && this.upToDate
    if (isLive) {
      query.set("live", "true")
      if (this.cursor !== undefined) query.set("cursor", this.cursor)
    }
    const url = `${this.options.url}/v1/shape?${query}`
    const { body, response } = await this.fetch(url)
    try {
      this.take(response, body, isLive)
    } catch (error) {
      throw new Violation(
        `${
          error instanceof Error ? error.message : String(error)
        }\n  at ${url}\n  after ${this.served.length} responses; ` +
          `headers ${JSON.stringify(Object.fromEntries(response.headers))}\n  body ${excerpt(body)}`,
        { cause: error }
      )
    }
    for (const listener of [...this.listeners]) listener()
  }

  /** Follows the shape, live, until `stop`. */
  start(): this {
    if (this.loop) throw new Error("following already")
    this.stopping = new AbortController()
    const { signal } = this.stopping
    this.loop = (async () => {
      try {
        while (!signal.aborted) await this.step(true)
      } catch (error) {
        if (signal.aborted) return
        this.failure = error
        for (const listener of [...this.listeners]) listener()
      }
    })()
    return this
  }

  /** Ends following; fails if the log was found to be wrong. */
  async stop(): Promise<void> {
    this.stopping.abort()
    await this.loop
    this.loop = undefined
    this.stopping = new AbortController()
    this.check()
  }

  /** Throws what following has failed with. */
  check(): void {
    if (this.failure !== undefined) throw this.failure
  }

  /** While following: waits until the predicate holds, which is asked after each response. */
  async until(predicate: (follower: this) => boolean, what = "what was waited for", millis = 30_000): Promise<void> {
    this.check()
    await new Promise<void>((resolve, reject) => {
      const finish = (end: () => void) => {
        clearTimeout(timer)
        this.listeners.delete(look)
        end()
      }
      const look = () => {
        if (this.failure !== undefined) finish(() => reject(this.failure))
        else if (predicate(this)) finish(resolve)
      }
      const timer = setTimeout(
        () =>
          finish(() =>
            reject(
              new Error(
                `${what} did not come within ${millis} ms: ${
                  JSON.stringify(this.options.params)
                } is at ${this.handle} ${this.offset} ` +
                  `with ${this.rows.size} rows, up to date: ${this.upToDate}, seen ${this.seen}`
              )
            )
          ),
        millis
      )
      this.listeners.add(look)
      look()
    })
  }

  /** While not following: requests until the shape is up to date with everything up to `lsn`. */
  async catchUp(lsn: bigint, millis = 30_000): Promise<void> {
    const deadline = Date.now() + millis
    do {
      if (Date.now() > deadline) {
        throw new Error(
          `${
            JSON.stringify(this.options.params)
          } did not reach ${lsn} within ${millis} ms: at ${this.offset}, seen ${this.seen}`
        )
      }
      await this.step(false)
      if (this.upToDate && this.seen < lsn) await pause(10)
    } while (!this.upToDate || this.seen < lsn)
  }

  // --- Requests ---

  /** Tries again while the server is away or not ready. */
  private async fetch(url: string): Promise<{ readonly response: Response; readonly body: string }> {
    const deadline = Date.now() + (this.options.patience ?? 60_000)
    const { signal } = this.stopping
    for (;;) {
      let problem: unknown
      let millis = 30
      try {
        const response = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(45_000)]) })
        const body = await response.text()
        if (response.status < 500) return { response, body }
        problem = `${response.status} ${body}`
        if (response.status !== 503) throw new Violation(`${url}: ${problem}`)
        // Not for want of the server: it will hardly be another answer at once.
        if (response.headers.get("electric-internal-known-error") === "true") millis = 300
      } catch (error) {
        if (signal.aborted || error instanceof Violation) throw error
        problem = error
      }
      if (Date.now() > deadline) throw new Error(`${url} keeps failing: ${String(problem)}`)
      await pause(millis)
    }
  }

  // --- Responses ---

  private take(response: Response, body: string, live: boolean): void {
    if (response.status === 409) return this.refetch(response, body)
    expect(response.status === 200, `status ${response.status}`)
    const header = (name: string): string => {
      const value = response.headers.get(name)
      expect(value !== null, `header ${name} is missing`)
      return value!
    }
    const handle = header("electric-handle")
    const end = header("electric-offset")
    const from = parseOffset(this.offset)
    const to = parseOffset(end)
    const upToDate = response.headers.get("electric-up-to-date") !== null
    expect(header("content-type").startsWith("application/json"), "content-type")
    header("cache-control")
    expect(!this.dead.has(handle), `handle ${handle} has come back`)
    expect(this.handle === undefined || handle === this.handle || this.offset === "-1", `handle changed to ${handle}`)
    if (live) this.cursor = header("electric-cursor")
    else {
      const schema = header("electric-schema")
      JSON.parse(schema)
      this.schema = schema
    }
    const etag = header("etag")
    const plain = `"${handle}:${this.offset}:${end}`
    const encoding = response.headers.get("content-encoding")
    const suffix = encoding === null ? "" : `-${encoding}`
    expect(etag === `${plain}${suffix}"` || etag.startsWith(`${plain}:`), `etag ${etag}`)
    expect(!isBefore(to, from), `the offset went back from ${this.offset} to ${end}`)
    expect(upToDate || isBefore(from, to), `neither up to date nor any further than ${end}`)
    expect(!(upToDate && this.offset === "-1"), "the first response is up to date")

    const items = JSON.parse(body) as ReadonlyArray<Item>
    expect(Array.isArray(items), "the body is no array")
    this.handle = handle
    const { seen } = this
    let said = false
    for (const item of items) {
      expect(!said, "something follows the up-to-date message")
      if (item.headers.control === "up-to-date") {
        said = true
        this.takeUpToDate(item, to)
      } else if (item.headers.event !== undefined) this.takeEvent(item)
      else if (item.headers.control === "snapshot-end") this.takeSnapshotEnd(item, from)
      else if (item.headers.operation !== undefined && item.headers.lsn === undefined) this.takeRow(item, from)
      else this.takeChange(item, from, to)
    }
    expect(said === upToDate, `up-to-date header ${upToDate}, message ${said}`)
    const last = items.at(said ? -2 : -1)
    if (from.tx >= 0n && to.tx > 0n && last !== undefined) {
      const { op, tx } = this.itemOffset
      if (last.headers.lsn !== undefined) {
        expect(to.tx === tx && to.op === op, `the offset is ${end}, the last item's is ${tx}_${op}`)
      } else {
        expect(isBefore(this.itemOffset, to), `the offset is ${end}, and a move follows ${tx}_${op}`)
        expect(this.move?.txid !== this.txid || to.tx === tx, `the offset is ${end}, the move's transaction is ${tx}`)
        expect(to.tx > seen, `a move up to ${end} comes after up to date with ${seen}`)
      }
    }
    if (to.tx > 0n || to.op === Infinity) expect(this.snapshotEnded, "the snapshot has no end")
    expect(!upToDate || !this.open, "up to date in the middle of a transaction")
    expect(!upToDate || !this.isMoving, "up to date between the rows of a move and their snapshot-end")
    this.served.push({ handle, offset: this.offset, end, upToDate, live, body })
    this.offset = end
    this.upToDate = upToDate
  }

  private refetch(response: Response, body: string): void {
    expect(
      body === "[{\"headers\":{\"control\":\"must-refetch\"}}]",
      "the body of a 409"
    )
    const next = response.headers.get("electric-handle") ?? undefined
    expect(next !== this.handle || next === undefined, "the 409 names the handle that is gone")
    expect(next === undefined || !this.dead.has(next), `handle ${next} has come back`)
    if (this.handle !== undefined) this.dead.add(this.handle)
    this.rotations += 1
    if (next === undefined) this.unnamed += 1
    this.rows = new Map()
    this.handle = next
    this.offset = "-1"
    this.upToDate = false
    this.seen = -1n
    this.cursor = undefined
    this.snapshotEnded = false
    this.itemOffset = { tx: 0n, op: -1 }
    this.open = false
    this.keyChange = undefined
    this.memberships = new Map()
    this.disjuncts = undefined
    this.move = undefined
    this.txid = undefined
  }

  private takeUpToDate({ headers }: Item, to: Offset): void {
    const lsn = BigInt(headers.global_last_seen_lsn!)
    expect(lsn >= to.tx, `up to date with ${lsn}, which is before the offset`)
    if (lsn > this.seen) this.seen = lsn
  }

  private takeSnapshotEnd({ headers }: Item, from: Offset): void {
    expect(
      typeof headers.xmin === "string" && typeof headers.xmax === "string" && Array.isArray(headers.xip_list),
      "snapshot-end without its marks"
    )
    if (this.snapshotEnded) {
      expect(this.isMoving, "a snapshot-end in the live log, and no rows before it")
      this.move!.ended = true
      return
    }
    expect(from.tx <= 0n && from.op !== Infinity, "a snapshot-end in the live log")
    this.snapshotEnded = true
  }

  private takeRow({ headers, key, value }: Item, from: Offset): void {
    expect(headers.operation === "insert", `a row without position is ${headers.operation}`)
    expect(key !== undefined && value !== undefined, "a row without key or value")
    if (this.snapshotEnded) {
      expect(
        headers.is_move_in === true && this.move?.isIn === true && !this.move.ended,
        `${key} after the snapshot's end`
      )
      this.move!.rows += 1
      this.moves.in += 1
    } else expect(from.tx <= 0n && headers.is_move_in === undefined, "a row of a move in the snapshot")
    expect(!this.rows.has(key!), `${key} comes twice`)
    this.rows.set(key!, value!)
    this.join(key!, headers)
  }

  // --- Tags ---

  /** Rows of a move have come, and the mark behind them has not. */
  private get isMoving(): boolean {
    return this.move !== undefined && this.move.rows > 0 && !this.move.ended
  }

  /** What an insert or an update says of tags. */
  private join(key: string, { active_conditions: conditions, removed_tags, tags }: Item["headers"]): void {
    const was = this.memberships.get(key)
    if (this.disjuncts === undefined) {
      this.disjuncts = tags?.map((tag) => tag.split("/").flatMap((slot, pos) => slot === "" ? [] : [pos])) ?? null
      const count = tags?.[0]?.split("/").length
      // Blocks of positions one after another, which are all of them.
      if (this.disjuncts) assert.deepEqual(this.disjuncts.flat(), Array.from({ length: count! }, (_, pos) => pos))
    }
    if (this.disjuncts === null) {
      expect(tags === undefined && removed_tags === undefined && conditions === undefined, `${key} has tags`)
      return
    }
    const positions = this.disjuncts.flat().length
    const slots = tags?.map((tag) => tag.split("/"))
    expect(
      slots?.length === this.disjuncts.length && this.disjuncts.every((disjunct, i) =>
        slots[i]!.length === positions &&
        slots[i]!.every((slot, pos) => disjunct.includes(pos) ? /^(1|[0-9a-f]{32})$/.test(slot) : slot === "")
      ),
      `${key} has tags of another structure: ${tags?.join()}`
    )
    expect(conditions?.length === positions, `${key} has the conditions ${conditions?.join()}`)
    expect(
      this.isVisible(conditions!),
      `${key} is in the shape, and none of its disjuncts holds: ${conditions?.join()}`
    )
    if (was === undefined) expect(removed_tags === undefined, `${key} comes with removed tags`)
    else assert.deepEqual(removed_tags, was.tags.filter((tag) => !tags!.includes(tag)), `${key}: removed tags`)
    this.memberships.set(key, { tags: tags!, conditions: [...conditions!] })
  }

  private isVisible(conditions: ReadonlyArray<boolean>): boolean {
    return this.disjuncts!.some((disjunct) => disjunct.every((pos) => conditions[pos]))
  }

  private takeEvent({ headers }: Item): void {
    const { event, patterns, txids } = headers
    const isIn = event === "move-in"
    const what = `${event} of ${txids?.join()}`
    expect(isIn || event === "move-out", `event ${event}`)
    expect(this.options.params.tags !== "none", `${what}, and no tags are wanted`)
    expect(this.snapshotEnded, `${what} before the snapshot's end`)
    expect(!this.open && this.keyChange === undefined, `${what}: the transaction before it has no last change`)
    expect(!this.isMoving, `${what}: the move before it has no end`)
    expect(txids?.length === 1 && Number.isInteger(txids[0]), `${what}: txids`)
    // Of one transaction those that leave are told first.
    expect(this.move?.txid !== txids![0] || (isIn && !this.move!.isIn), `${what} comes twice, or too late`)
    expect(Array.isArray(patterns) && patterns.length > 0, `${what} has no patterns`)
    const known = new Set(patterns!.map(({ pos, value }) => `${pos} ${value}`))
    expect(known.size === patterns!.length, `${what} has a pattern twice`)
    this.move = { txid: txids![0]!, isIn, rows: 0, ended: false }
    for (const { pos, value } of patterns!) {
      expect(Number.isInteger(pos) && /^[0-9a-f]{32}$/.test(value), `${what}: pattern ${pos} ${value}`)
      if (this.disjuncts) expect(pos >= 0 && pos < this.disjuncts.flat().length, `${what}: position ${pos}`)
      for (const [key, { conditions, tags }] of this.memberships) {
        if (!tags.some((tag) => tag.split("/")[pos] === value)) continue
        conditions[pos] = isIn
        if (isIn || this.isVisible(conditions)) continue
        this.memberships.delete(key)
        this.rows.delete(key)
        this.moves.out += 1
      }
    }
  }

  private takeChange({ headers, key, old_value, value }: Item, from: Offset, to: Offset): void {
    const { last, lsn, op_position: op, operation, txids } = headers
    expect(this.snapshotEnded, "a change before the snapshot's end")
    expect(
      key !== undefined && value !== undefined && lsn !== undefined && op !== undefined,
      `not a change: ${JSON.stringify(headers)}`
    )
    expect(txids?.length === 1, "a change has one transaction")
    const at = { tx: BigInt(lsn!), op: op! }
    const where = `${operation} of ${key} at ${lsn}_${op}`
    expect(isBefore(from, at) && !isBefore(to, at), `${where} is outside of what was asked for`)
    expect(isBefore(this.itemOffset, at), `${where} comes after ${this.itemOffset.tx}_${this.itemOffset.op}`)
    expect(at.tx > this.seen, `${where} comes after up to date with ${this.seen}`)
    expect(!this.open || at.tx === this.itemOffset.tx, `${where}: the transaction before it has no last change`)
    expect(this.open || at.tx > this.itemOffset.tx, `${where} follows the last change of its transaction`)
    expect(!this.isMoving, `${where}: the move before it has no end`)
    expect(this.move?.txid !== txids![0], `${where}: its transaction's events came before it`)
    this.move = undefined
    this.txid = txids![0]
    this.itemOffset = at
    this.open = last !== true
    this.changes += 1

    if (this.keyChange) {
      const { from, to } = this.keyChange
      expect(operation === "insert" && key === to && headers.key_change_from === from, `${where}: expected ${to}`)
      this.keyChange = undefined
    } else expect(headers.key_change_from === undefined, `${where} has no other half`)
    switch (operation) {
      case "insert":
        expect(!this.rows.has(key!), `${where}: the row is there already`)
        this.rows.set(key!, value!)
        this.join(key!, headers)
        break
      case "update": {
        const old = this.rows.get(key!)
        expect(old !== undefined, `${where}: there is no such row`)
        this.join(key!, headers)
        const isTouch = this.disjuncts !== null && old_value === undefined &&
          Object.entries(value!).every(([column, is]) => old![column] === is)
        if (this.options.params.replica === "full" && !isTouch) {
          expect(old_value !== undefined, `${where} has no old_value`)
          expect(
            Object.keys(value!).length === Object.keys(old!).length,
            `${where}: replica=full sends ${Object.keys(value!)}`
          )
          for (const [column, was] of Object.entries(old_value!)) {
            expect(old![column] === was, `${where}: old ${column} was ${old![column]}, not ${was}`)
          }
          for (const [column, is] of Object.entries(value!)) {
            const changed = column in old_value!
            expect(changed || old![column] === is, `${where}: ${column} changed without old_value`)
          }
        } else expect(old_value === undefined, `${where} has an old_value`)
        for (const column of Object.keys(value!)) expect(column in old!, `${where}: unknown column ${column}`)
        this.rows.set(key!, { ...old, ...value })
        break
      }
      case "delete": {
        const old = this.rows.get(key!)
        expect(old !== undefined, `${where}: there is no such row`)
        for (const [column, was] of Object.entries(value!)) {
          expect(old![column] === was, `${where}: ${column} was ${old![column]}, not ${was}`)
        }
        this.rows.delete(key!)
        const membership = this.memberships.get(key!)
        this.memberships.delete(key!)
        if (membership) {
          assert.deepEqual(headers.active_conditions, membership.conditions, `${where}: its conditions`)
          if (headers.key_change_to === undefined) assert.deepEqual(headers.tags, membership.tags, `${where}: its tags`)
          else {
            const gone = membership.tags.filter((tag) => headers.tags?.includes(tag) !== true)
            assert.deepEqual(gone, [], `${where}: tags of the row that it was`)
          }
        } else expect(headers.tags === undefined, `${where} has tags`)
        if (headers.key_change_to !== undefined) {
          expect(last !== true, `${where}: the first half of a key change is not the last change`)
          this.keyChange = { from: key!, to: headers.key_change_to }
        }
        break
      }
      default:
        expect(false, `operation ${operation}`)
    }
  }
}

const expect = (holds: boolean, problem: string): void => {
  if (!holds) throw new Violation(problem)
}

const excerpt = (body: string): string => body.length <= 1200 ? body : `${body.slice(0, 600)} … ${body.slice(-600)}`

/** Rows in an order that depends on their content alone, to be compared. */
export const sorted = (rows: Iterable<Values>): ReadonlyArray<string> =>
  [...rows].map((row) => JSON.stringify(Object.entries(row).sort(([a], [b]) => a < b ? -1 : 1))).sort()
