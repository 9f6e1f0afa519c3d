/** The collection that understands tags, fed with what the protocol's §13 says: it follows moves in and out. */
import { afterEach, describe, it } from "@effect/vitest"
import assert from "node:assert/strict"
import * as http from "node:http"
import { tagAwareCollection } from "./TagClient.ts"

type Item = Readonly<Record<string, unknown>>

const H1 = "0123456789abcdef0123456789abcdef"
const H2 = "fedcba9876543210fedcba9876543210"
const RELATION = ["public", "tasks"]
const SNAPSHOT_END: Item = { headers: { control: "snapshot-end", xmin: "760", xmax: "760", xip_list: [] } }

const row = (
  operation: "insert" | "update" | "delete",
  id: string,
  project: string,
  headers: Item
): Item => ({
  key: `"public"."tasks"/"${id}"`,
  value: operation === "delete" ? { id } : { id, project_id: project },
  headers: { operation, relation: RELATION, ...headers }
})

const move = (event: "move-in" | "move-out", pos: number, value: string): Item => ({
  headers: { event, patterns: [{ pos, value }], txids: [761] }
})

const ends: Array<() => Promise<void> | void> = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** A server of one shape: a snapshot, then what is pushed. */
const serve = async (snapshot: ReadonlyArray<Item>) => {
  const bodies: Array<ReadonlyArray<Item>> = [[...snapshot, SNAPSHOT_END]]
  const waiting = new Map<number, () => void>()
  const server = http.createServer((request, response) => {
    const offset = new URL(request.url ?? "/", "http://localhost").searchParams.get("offset") ?? "-1"
    const index = offset === "-1" ? 0 : Number(offset.split("_")[0]) + 1
    const answer = () =>
      response.writeHead(200, {
        "content-type": "application/json",
        "electric-handle": "1-1",
        "electric-offset": `${index}_0`,
        "electric-schema": "{\"id\":{\"type\":\"text\"},\"project_id\":{\"type\":\"text\"}}",
        "electric-cursor": "1",
        "electric-up-to-date": ""
      }).end(JSON.stringify([
        ...bodies[index]!,
        { headers: { control: "up-to-date", global_last_seen_lsn: String(index) } }
      ]))
    if (bodies[index] === undefined) waiting.set(index, answer)
    else answer()
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  ends.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  assert.ok(address !== null && typeof address === "object")
  const collection = tagAwareCollection(`http://127.0.0.1:${address.port}`, "tasks", "a IN (SELECT b FROM c)")
  ends.push(() => collection.close())
  return {
    collection,
    push: (...items: ReadonlyArray<Item>) => {
      const index = bodies.push(items) - 1
      waiting.get(index)?.()
    }
  }
}

describe("tagAwareCollection", () => {
  it("takes rows out and in again as the subquery's values go and come", async () => {
    const one = { tags: [H1], active_conditions: [true] }
    const two = { tags: [H2], active_conditions: [true] }
    const { collection, push } = await serve([row("insert", "10", "1", one), row("insert", "11", "2", two)])
    await collection.until([{ id: "10", project_id: "1" }, { id: "11", project_id: "2" }])
    assert.ok(collection.upToDate())
    push(move("move-out", 0, H1))
    await collection.until([{ id: "11", project_id: "2" }])
    push(move("move-in", 0, H1), row("insert", "10", "1", { ...one, is_move_in: true }), SNAPSHOT_END)
    await collection.until([{ id: "10", project_id: "1" }, { id: "11", project_id: "2" }])
    // A row that goes from one value to another follows the other from then on.
    push(row("update", "10", "2", { ...two, removed_tags: [H1] }))
    await collection.until([{ id: "10", project_id: "2" }, { id: "11", project_id: "2" }])
    push(move("move-out", 0, H1), row("insert", "12", "3", one))
    await collection.until([{ id: "10", project_id: "2" }, { id: "11", project_id: "2" }, {
      id: "12",
      project_id: "3"
    }])
    push(row("delete", "12", "3", one), move("move-out", 0, H2))
    await collection.until([])
    assert.deepEqual([...collection.answers], [[200, 6]])
  })

  it("keeps a row while another disjunct holds it", async () => {
    const tags = [`${H1}/`, "/1"]
    const { collection, push } = await serve([
      row("insert", "10", "1", { tags, active_conditions: [true, true] }),
      row("insert", "11", "1", { tags, active_conditions: [true, false] })
    ])
    await collection.until([{ id: "10", project_id: "1" }, { id: "11", project_id: "1" }])
    push(move("move-out", 0, H1))
    await collection.until([{ id: "10", project_id: "1" }])
    push(row("update", "10", "1", { tags, removed_tags: [], active_conditions: [true, false] }))
    push(move("move-out", 0, H1))
    await collection.until([])
  })

  it("says what is missing and what is too many", async () => {
    const { collection } = await serve([row("insert", "10", "1", { tags: [H1], active_conditions: [true] })])
    await collection.ready()
    await assert.rejects(collection.until([{ id: "11", project_id: "1" }], "that", 100), (error: Error) => {
      assert.match(error.message, /not that: too many: .*"10".* missing: .*"11"/)
      return true
    })
  })
})
