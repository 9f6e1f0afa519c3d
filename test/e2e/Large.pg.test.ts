/**
 * A transaction that is larger than what the server may hold in memory, with the server ended in the middle of it.
 */
import assert from "node:assert/strict"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { scenario } from "../support/Scenario.ts"

const ROWS = 150_000

/** Bytes of all files of the store. */
const bytes = async (directory: string): Promise<number> => {
  const files = await fs.readdir(directory, { recursive: true, withFileTypes: true })
  const sizes = await Promise.all(
    files.filter((file) => file.isFile()).map((file) =>
      fs.stat(path.join(file.parentPath, file.name)).then((stat) => stat.blocks * 512, () => 0)
    )
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

scenario("a large transaction, the server killed and stopped while it arrives", {
  setup: "CREATE TABLE big (id int PRIMARY KEY, v text, n int); INSERT INTO big VALUES (0, 'first', 0)",
  env: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "1000000", SHAPELOG_LONG_POLL_TIMEOUT: "20s" },
  timeout: 180_000
}, async ({ db, follow, followed, same, server }) => {
  const follower = follow({ table: "big" }).start()
  const other = follow({ table: "big", where: "n = 3", replica: "full" }).start()
  await followed(follower, "SELECT * FROM big")
  await followed(other, "SELECT * FROM big WHERE n = 3")
  const { changes } = follower
  const before = await bytes(server.storageDirectory)
  /** Part of the transaction is in the store, and none of it is to be seen. */
  const partlyStored = async (more: number) => {
    const deadline = Date.now() + 60_000
    while (await bytes(server.storageDirectory) < before + more) {
      assert.ok(Date.now() < deadline, "nothing of the transaction is stored")
    }
  }
  await db.exec(`INSERT INTO big SELECT i, 'some text of the row ' || i, i % 100 FROM generate_series(1, ${ROWS}) i`)
  await partlyStored(3_000_000)
  await server.kill()
  assert.equal(follower.changes, changes)
  await server.start()
  await partlyStored(6_000_000)
  assert.equal(await server.stop(), 0)
  await server.start()
  await follower.until(({ rows, upToDate }) => upToDate && rows.size === ROWS + 1, "the transaction", 90_000)
  await followed(other, "SELECT * FROM big WHERE n = 3")
  assert.equal(follower.changes, changes + ROWS)
  assert.equal(follower.rotations, 0)
  await follower.stop()
  await other.stop()
  await same(follower.rows.values(), "SELECT * FROM big")
  // It goes on from there.
  follower.start()
  await db.exec("DELETE FROM big WHERE id % 3 > 0")
  await followed(follower, "SELECT * FROM big")
  await follower.stop()
})
