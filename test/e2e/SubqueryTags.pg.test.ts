/**
 * Shapes with subqueries, followed by their tags one transaction after another: by a strict follower of the protocol and by
 * the published client that understands tags.
 */
import assert from "node:assert/strict"
import { type Scenario, scenario } from "../support/Scenario.ts"
import { tagAwareCollection } from "../support/TagClient.ts"

const SETUP = `
CREATE TABLE s (id int PRIMARY KEY, on_ bool NOT NULL DEFAULT true);
CREATE TABLE t (id int PRIMARY KEY, on_ bool NOT NULL DEFAULT true);
CREATE TABLE rows (id int PRIMARY KEY, a int, b int, n int NOT NULL DEFAULT 0);
INSERT INTO s VALUES (1, true), (2, true), (3, false);
INSERT INTO t VALUES (1, true), (2, true), (3, false)`

/** Follows the rows of a clause; each step is a transaction that ends with a further row of the shape. */
const follow = async ({ db, follow, followed, select, server }: Scenario, where: string, last: string) => {
  const sql = `SELECT * FROM rows WHERE ${where}`
  const follower = follow({ table: "rows", where }).start()
  const collection = tagAwareCollection(server.url, "rows", where)
  let id = 1000
  const now = async (what: string) => {
    await followed(follower, sql)
    await collection.until(await select(sql), what)
  }
  await now("the snapshot")
  return {
    follower,
    step: async (...statements: ReadonlyArray<string>) => {
      // It is seen when it has come, also when nothing else has changed.
      const mark = `INSERT INTO rows (id, a, b, n) VALUES (${++id}, ${last})`
      await db.exec([...statements, mark].join(";\n"))
      await now(statements.join("; "))
    },
    end: async () => {
      await follower.stop()
      await collection.close()
    }
  }
}

scenario("a row that leaves by one subquery and comes by another in the same transaction", {
  setup: `${SETUP}; INSERT INTO rows VALUES (1, 1, 3), (2, 3, 1), (3, 1, 1), (4, 3, 3), (5, NULL, 2)`
}, async (scenario) => {
  const { end, follower, step } = await follow(
    scenario,
    "a IN (SELECT id FROM s WHERE on_) OR b IN (SELECT id FROM t WHERE on_)",
    "2, 2, 0"
  )
  await step("UPDATE s SET on_ = false WHERE id = 1", "UPDATE t SET on_ = true WHERE id = 3")
  assert.deepEqual(follower.moves, { out: 1, in: 2 })
  await step("UPDATE s SET on_ = NOT on_ WHERE id <> 2", "UPDATE t SET on_ = NOT on_ WHERE id <> 2")
  // With changes of the rows themselves, in between.
  await step(
    "UPDATE s SET on_ = NOT on_ WHERE id <> 2",
    "UPDATE rows SET n = 1",
    "UPDATE t SET on_ = NOT on_ WHERE id <> 2"
  )
  await step("UPDATE s SET on_ = false", "UPDATE t SET on_ = true", "UPDATE rows SET a = b, b = a WHERE id < 4")
  await end()
})

scenario("a row that leaves by IN and comes by NOT IN of the same subquery", {
  setup: `${SETUP}; INSERT INTO rows VALUES (1, 1, 1, 5), (2, 1, 1, 0), (3, 3, 3, 5), (4, NULL, 1, 5)`
}, async (scenario) => {
  const inner = "(SELECT id FROM s WHERE on_)"
  const { end, follower, step } = await follow(scenario, `a IN ${inner} OR (a NOT IN ${inner} AND n > 4)`, "2, 2, 0")
  await step("UPDATE s SET on_ = false WHERE id = 1")
  assert.deepEqual(follower.moves, { out: 2, in: 1 })
  await step("UPDATE s SET on_ = true WHERE id = 1")
  await step("UPDATE s SET on_ = NOT on_ WHERE id <> 2", "UPDATE rows SET n = 5 WHERE id = 2")
  await end()
})

scenario("a link that changes beside another that stays", {
  setup: `${SETUP}; INSERT INTO rows VALUES (1, 1, 1), (2, 1, 2), (3, 2, 1)`
}, async (scenario) => {
  const { end, step } = await follow(
    scenario,
    "a IN (SELECT id FROM s WHERE on_) AND b IN (SELECT id FROM t WHERE on_)",
    "2, 2, 0"
  )
  await step("UPDATE rows SET a = 2 WHERE id = 1")
  await step("UPDATE t SET on_ = false WHERE id = 1")
  await step("UPDATE t SET on_ = true WHERE id = 1")
  await step("UPDATE rows SET b = 1 WHERE id = 2", "UPDATE rows SET a = 1, n = 1 WHERE id = 3")
  await step("UPDATE s SET on_ = false WHERE id = 1")
  await end()
})

scenario("an inner table is emptied, and rows without link are in by NOT IN", {
  setup: `${SETUP}; INSERT INTO rows VALUES (1, 1, 1), (2, NULL, 2), (3, 3, 1)`
}, async (scenario) => {
  const { end, step } = await follow(scenario, "a NOT IN (SELECT id FROM s WHERE on_)", "9, 9, 0")
  await step("DELETE FROM s WHERE on_")
  await step("UPDATE rows SET n = 1")
  await step("INSERT INTO s VALUES (7)")
  await step("UPDATE s SET on_ = true")
  await step("DELETE FROM s", "UPDATE rows SET a = NULL WHERE id = 1")
  await end()
})

scenario("a key that changes, with and without its link", {
  setup: `${SETUP}; INSERT INTO rows VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)`
}, async (scenario) => {
  const { end, step } = await follow(scenario, "a IN (SELECT id FROM s WHERE on_) OR b = 3", "2, 2, 0")
  await step("UPDATE rows SET id = 11 WHERE id = 1")
  await step("UPDATE rows SET id = 12, a = 1 WHERE id = 2")
  await step("UPDATE rows SET id = 13, a = 1 WHERE id = 3", "UPDATE s SET on_ = false WHERE id = 1")
  await step("UPDATE s SET on_ = true WHERE id = 1", "UPDATE rows SET id = id + 10 WHERE id < 100")
  await end()
})
