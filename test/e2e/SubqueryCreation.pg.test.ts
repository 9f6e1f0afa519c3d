/**
 * Shapes with subqueries within subqueries that are made while others write to all of their tables: what a strict follower gets from the
 * first snapshot on is right.
 */
import { scenario } from "../support/Scenario.ts"
import { makeRandom } from "../where/WhereGenerator.ts"

const seed = Number(process.env.SHAPELOG_TEST_SEED ?? Date.now() % 1_000_000_000)
const SHAPES = 8
const WRITERS = 3
/** Statements of each writer while a shape is made. */
const STATEMENTS = 30

const SETUP = `
CREATE TABLE teams (id int PRIMARY KEY, active bool NOT NULL);
CREATE TABLE users (id int PRIMARY KEY, team_id int, age int NOT NULL);
CREATE TABLE items (id int PRIMARY KEY, user_id int, kind text NOT NULL, note text);
INSERT INTO teams SELECT i, i % 2 = 0 FROM generate_series(1, 12) i;
INSERT INTO users SELECT i, i % 12, i % 9 FROM generate_series(1, 60) i;
INSERT INTO items SELECT i, i % 60, chr(97 + i % 4), NULL FROM generate_series(1, 200) i`

scenario(`two levels, made under load, seed ${seed}`, {
  setup: SETUP,
  timeout: 120_000,
  env: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "10000" }
}, async ({ db, follow, same, select }) => {
  console.log(`seed ${seed}`)
  const r = makeRandom(seed)
  const sessions = await Promise.all(Array.from({ length: WRITERS }, () => db.session()))
  const statement = () =>
    r.pick([
      `UPDATE teams SET active = NOT active WHERE id = ${r.below(13)}`,
      `UPDATE users SET team_id = ${r.below(13)} WHERE id = ${r.below(61)}`,
      `UPDATE items SET note = '${r.below(1000)}' WHERE id % 7 = ${r.below(7)}`,
      `UPDATE items SET user_id = ${r.below(61)} WHERE id = ${r.below(200)}`
    ])
  for (let i = 0; i < SHAPES; i++) {
    const inner = r.pick(["NOT IN", "IN"])
    // Each time another inner shape.
    const where =
      `user_id IN (SELECT id FROM users WHERE team_id ${inner} (SELECT id FROM teams WHERE active) AND age < ${
        20 + i
      }) AND kind <> 'c'`
    const follower = follow({ table: "items", where, tags: "none" })
    const load = sessions.map(async (sql) => {
      // Two writers may lock each other out.
      for (let n = 0; n < STATEMENTS; n++) await sql.exec(statement()).catch(() => undefined)
    })
    await follower.step(false)
    await Promise.all(load)
    const [position] = await select("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text AS lsn")
    // A transaction past it: a silent database says no later LSN.
    await sessions[0]!.exec("UPDATE items SET note = 'the last' WHERE id = 1")
    await follower.catchUp(BigInt(position!.lsn!))
    await same(follower.rows.values(), `SELECT * FROM items WHERE ${where}`)
  }
})
