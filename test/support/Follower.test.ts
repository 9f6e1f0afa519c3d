/** The strict follower, fed with logs of a shape with subqueries: what §13.6 of the protocol has it do, and what it must not take. */
import { afterEach, describe, it } from "@effect/vitest"
import assert from "node:assert/strict"
import * as http from "node:http"
import { Follower } from "./Follower.ts"

type Item = Readonly<Record<string, unknown>>

const [H1, H2, H3] = ["1", "2", "3"].map((digit) => digit.repeat(32)) as [string, string, string]
const SNAPSHOT_END: Item = { headers: { control: "snapshot-end", xmin: "7", xmax: "7", xip_list: [] } }

const row = (operation: string, id: string, headers: Item): Item => ({
  key: `"public"."t"/"${id}"`,
  value: { id },
  headers: { operation, relation: ["public", "t"], ...headers }
})

/** Headers of a row of `a IN … OR b IN …`. */
const tagged = (a: string, b: string, ...active_conditions: ReadonlyArray<boolean>) => ({
  tags: [`${a}/`, `/${b}`],
  active_conditions
})

const at = (op: number, last = true) => ({ lsn: "10", op_position: op, txids: [5], ...(last && { last }) })

const event = (kind: string, ...patterns: ReadonlyArray<readonly [pos: number, value: string]>): Item => ({
  headers: { event: kind, patterns: patterns.map(([pos, value]) => ({ pos, value })), txids: [5] }
})

const movedIn = (id: string, headers: Item): Item => row("insert", id, { is_move_in: true, ...headers })

const ends: Array<() => void> = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

/** Follows a snapshot of rows 1 and 2, and then what is given, up to an offset. */
const follow = async (items: ReadonlyArray<Item>, end = "10_9") => {
  const snapshot = [row("insert", "1", tagged(H1, H3, true, false)), row("insert", "2", tagged(H1, H2, true, true))]
  const server = http.createServer((request, response) => {
    const offset = new URL(request.url ?? "/", "http://localhost").searchParams.get("offset")!
    const isFirst = offset === "-1"
    const next = isFirst ? "0_0" : end
    response.writeHead(200, {
      "cache-control": "no-store",
      "content-type": "application/json",
      "electric-handle": "1-1",
      "electric-offset": next,
      "electric-schema": "{}",
      etag: `"1-1:${offset}:${next}"`,
      ...(!isFirst && { "electric-up-to-date": "" })
    }).end(JSON.stringify(
      isFirst
        ? [...snapshot, SNAPSHOT_END]
        : [...items, { headers: { control: "up-to-date", global_last_seen_lsn: "10" } }]
    ))
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  ends.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  assert.ok(address !== null && typeof address === "object")
  const follower = new Follower({ url: `http://127.0.0.1:${address.port}`, params: { table: "t" } })
  await follower.step(false)
  await follower.step(false)
  return Object.fromEntries([...follower.memberships].map(([key, { conditions }]) => [key.slice(-2, -1), conditions]))
}

describe("a follower of rows with tags", () => {
  it("takes rows out by an event, and keeps those that another disjunct holds", async () => {
    assert.deepEqual(await follow([event("move-out", [0, H1])]), { 2: [false, true] })
    assert.deepEqual(await follow([event("move-in", [1, H3])]), { 1: [true, true], 2: [true, true] })
    assert.deepEqual(
      await follow([
        event("move-out", [0, H1]),
        event("move-in", [1, H3]),
        movedIn("1", tagged(H1, H3, false, true)),
        SNAPSHOT_END
      ]),
      { 1: [false, true], 2: [false, true] }
    )
    assert.deepEqual(
      await follow([
        row("update", "1", { ...at(0), ...tagged(H2, H3, false, true), removed_tags: [`${H1}/`] }),
        event("move-out", [0, H1])
      ]),
      { 1: [false, true], 2: [false, true] }
    )
    assert.deepEqual(await follow([row("delete", "1", { ...at(0), ...tagged(H1, H3, true, false) })], "10_0"), {
      2: [true, true]
    })
  })

  const comesIn = [event("move-in", [0, H2]), movedIn("3", tagged(H2, H2, true, true))]
  const wrong: ReadonlyArray<readonly [what: string, items: ReadonlyArray<Item>, problem: RegExp, end?: string]> = [
    ["a row without tags", [row("insert", "3", at(0))], /tags of another structure/, "10_0"],
    [
      "tags of another structure",
      [row("insert", "3", { ...at(0), tags: [`${H1}/1`], active_conditions: [true, true] })],
      /structure/,
      "10_0"
    ],
    ["a condition too few", [row("insert", "3", { ...at(0), ...tagged(H1, H1, true) })], /has the conditions/, "10_0"],
    [
      "a row that is not in the shape",
      [row("insert", "3", { ...at(0), ...tagged(H1, H1, false, false) })],
      /none of its/,
      "10_0"
    ],
    [
      "an update without removed tags",
      [row("update", "1", { ...at(0), ...tagged(H1, H3, true, false) })],
      /removed/,
      "10_0"
    ],
    [
      "an update with a removed tag that stays",
      [row("update", "1", { ...at(0), ...tagged(H1, H3, true, false), removed_tags: [`${H1}/`] })],
      /removed tags/,
      "10_0"
    ],
    [
      "a deletion with other conditions",
      [row("delete", "1", { ...at(0), ...tagged(H1, H3, true, true) })],
      /its conditions/,
      "10_0"
    ],
    [
      "a row that an event took out, again",
      [event("move-out", [0, H1]), row("delete", "1", at(9))],
      /events came before/
    ],
    [
      "a row that is there",
      [event("move-in", [1, H3]), movedIn("1", tagged(H1, H3, true, true)), SNAPSHOT_END],
      /comes twice/
    ],
    ["rows without an event", [movedIn("3", tagged(H2, H2, true, true)), SNAPSHOT_END], /after the snapshot's end/],
    [
      "rows after values that left",
      [event("move-out", [0, H2]), movedIn("3", tagged(H2, H2, true, true))],
      /after the snap/
    ],
    ["rows without an end", comesIn, /up to date between/],
    ["two ends", [...comesIn, SNAPSHOT_END, SNAPSHOT_END], /a snapshot-end in the live log/],
    ["an end without rows", [event("move-in", [0, H2]), SNAPSHOT_END], /no rows before it/],
    ["values that leave after those that come", [event("move-in", [0, H2]), event("move-out", [0, H1])], /too late/],
    ["a pattern twice", [event("move-out", [0, H1], [0, H1])], /a pattern twice/],
    ["a position that there is not", [event("move-out", [2, H1])], /position 2/],
    ["an event in the middle of a transaction", [
      row("insert", "3", { ...at(0, false), ...tagged(H1, H1, true, true) }),
      event("move-out", [0, H2])
    ], /no last change/],
    [
      "an event that is not counted",
      [
        row("insert", "3", { ...at(0), ...tagged(H1, H1, true, true) }),
        event("move-out", [0, H2])
      ],
      /a move follows 10_0/,
      "10_0"
    ]
  ]
  for (const [what, items, problem, end] of wrong) {
    it(`refuses ${what}`, () => assert.rejects(follow(items, end), problem))
  }
})
