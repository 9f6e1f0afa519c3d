/**
 * The property that everything else serves (I9): under random transactions of concurrent writers, with the server killed and
 * restarted again and again, what clients materialise from a shape is what `SELECT` says; every step of the log is right on the way
 * (test/support/Follower.ts); what was served once is served again (I5); and Postgres gets rid of its WAL (I6). Once with tables
 * made by hand, once with random tables and random where clauses, some of which fail for some rows.
 *
 * `SHAPELOG_TEST_SEED` replays a seed (as far as concurrent writers can be replayed), `SHAPELOG_TEST_ROUNDS` soaks.
 */
import assert from "node:assert/strict"
import * as Generated from "../support/GeneratedShapes.ts"
import type { ShapeOfTest } from "../support/GeneratedShapes.ts"
import { ENVIRONMENT, live, seed, TIMEOUT } from "../support/Lived.ts"
import { scenario } from "../support/Scenario.ts"
import { makeRandom, type Random } from "../where/WhereGenerator.ts"

const SETUP = `
CREATE TABLE items (id int PRIMARY KEY, grp int, title text NOT NULL, body text, n numeric(12, 3));
ALTER TABLE items ALTER body SET STORAGE EXTERNAL;
CREATE TABLE pairs ("A" int, b text, v int, PRIMARY KEY (b, "A"));
CREATE TABLE bare (u bigserial, note text, flag bool);
CREATE TABLE marker (id bigserial PRIMARY KEY);
INSERT INTO items SELECT i, i % 5, 'title ' || i, repeat(md5(i::text), i % 130), i / 7.0 FROM generate_series(1, 300) i;
INSERT INTO pairs SELECT i, 'b/' || i % 3, i % 4 FROM generate_series(1, 100) i;
INSERT INTO bare (note, flag) SELECT CASE WHEN i % 3 > 0 THEN 'note ' || i END, i % 2 = 0 FROM generate_series(1, 50) i`

/** Shapes that are followed all the time. */
const SHAPES: ReadonlyArray<ShapeOfTest> = [
  { params: { table: "items" }, sql: "SELECT * FROM items" },
  { params: { table: "items", replica: "full" }, sql: "SELECT * FROM items" },
  { params: { table: "items", where: "grp = 3" }, sql: "SELECT * FROM items WHERE grp = 3" },
  {
    params: { table: "items", where: "grp = 2", columns: "id,n", replica: "full" },
    sql: "SELECT id, n FROM items WHERE grp = 2"
  },
  { params: { table: "items", columns: "id,title" }, sql: "SELECT id, title FROM items" },
  { params: { table: "pairs" }, sql: "SELECT * FROM pairs" },
  { params: { table: "pairs", where: "v = 1", columns: "\"A\",b" }, sql: "SELECT \"A\", b FROM pairs WHERE v = 1" },
  { params: { table: "bare" }, sql: "SELECT * FROM bare" },
  { params: { table: "bare", where: "flag = true", replica: "full" }, sql: "SELECT * FROM bare WHERE flag = true" }
]

const id = (r: Random) => 1 + r.below(r.chance(0.5) ? 40 : 1500)

const statement = (r: Random): string => {
  const tag = r.below(1_000_000)
  const from = id(r)
  const to = from + r.below(r.chance(0.1) ? 400 : 30)
  return r.pick([
    () =>
      `INSERT INTO items VALUES (${id(r)}, ${r.below(5)}, 'new ${tag}', repeat(md5('${tag}'), ${
        r.below(200)
      }), ${tag}) ON CONFLICT DO NOTHING`,
    () =>
      `INSERT INTO items SELECT i, i % 5, 'many ' || i, NULL, ${tag} FROM generate_series(${from}, ${to}) i ON CONFLICT DO NOTHING`,
    () =>
      `INSERT INTO items VALUES (${id(r)}, ${
        r.below(5)
      }, 'upsert ${tag}', NULL, 1) ON CONFLICT (id) DO UPDATE SET title = excluded.title`,
    () => `UPDATE items SET title = 'up ${tag}' WHERE id = ${id(r)}`,
    () => `UPDATE items SET n = n + 1 WHERE id BETWEEN ${from} AND ${to}`,
    () => `UPDATE items SET grp = (grp + ${1 + r.below(4)}) % 5 WHERE id BETWEEN ${from} AND ${to}`,
    () =>
      `UPDATE items SET grp = NULLIF(${r.below(5)}, 0), body = repeat(md5('${tag}'), ${r.below(150)}) WHERE id = ${
        id(r)
      }`,
    () => `UPDATE items SET id = ${id(r)} WHERE id = ${id(r)}`,
    () =>
      `UPDATE items SET id = id + 1500, grp = ${r.below(5)} WHERE id BETWEEN ${from} AND ${from + 20} AND id <= 1500`,
    () => `UPDATE items SET title = title WHERE id = ${id(r)}`,
    () => `DELETE FROM items WHERE id = ${id(r)}`,
    () => `DELETE FROM items WHERE id BETWEEN ${from} AND ${to}`,
    () => `INSERT INTO pairs VALUES (${r.below(200)}, 'b/${r.below(3)}', ${r.below(4)}) ON CONFLICT DO NOTHING`,
    () => `UPDATE pairs SET v = ${r.below(4)} WHERE "A" = ${r.below(200)}`,
    () => `UPDATE pairs SET "A" = "A" + 1000, b = 'b"/é${r.below(3)}' WHERE "A" = ${r.below(200)}`,
    () => `DELETE FROM pairs WHERE "A" % 17 = ${r.below(17)}`,
    () =>
      `INSERT INTO bare (note, flag) VALUES (${r.chance(0.3) ? "NULL" : `'n ${tag}'`}, ${
        r.pick(["true", "false", "NULL"])
      })`,
    () => `UPDATE bare SET note = 'up ${tag}' WHERE u % 11 = ${r.below(11)}`,
    () => `UPDATE bare SET flag = NOT flag WHERE u % 7 = ${r.below(7)}`,
    () => `DELETE FROM bare WHERE u % 13 = ${r.below(13)}`
  ])()
}

scenario(
  `random transactions and kills, seed ${seed}`,
  { setup: SETUP, timeout: TIMEOUT, env: ENVIRONMENT },
  (scenario) =>
    live(scenario, {
      tables: ["pairs", "bare", "items"],
      statement,
      shapes: SHAPES,
      added: (r) => {
        const group = r.below(5)
        return [
          {
            params: { table: "items", where: `grp = ${group}`, columns: "id,body,grp" },
            sql: `SELECT id, body, grp FROM items WHERE grp = ${group}`
          },
          r.pick(SHAPES)
        ]
      },
      clients: SHAPES.filter((_, i) => i % 2 === 0)
    }, makeRandom(seed))
)

/** Shapes with generated clauses. */
const COUNT = 40

const generated = Generated.makeTables(makeRandom(seed), 2)

scenario(`random clauses, transactions and kills, seed ${seed}`, {
  setup: `${generated.setup}; CREATE TABLE marker (id bigserial PRIMARY KEY)`,
  timeout: TIMEOUT,
  env: ENVIRONMENT
}, async (scenario) => {
  const { db, server } = scenario
  const r = makeRandom(seed + 1)
  let refused = 0
  const accepts = async ({ params }: ShapeOfTest) => {
    const response = await fetch(`${server.url}/v1/shape?${new URLSearchParams({ ...params, offset: "-1" })}`)
    const body = await response.text()
    assert.ok([200, 400, 503].includes(response.status), `${JSON.stringify(params)}: ${response.status} ${body}`)
    if (response.status === 400) refused += 1
    return response.status !== 400
  }
  const session = await db.session()
  const shapes = await Generated.makeShapes(r, generated, session, COUNT + 12, accepts)
  assert.ok(refused <= COUNT / 2, `${refused} clauses were refused`)
  const later = shapes.slice(COUNT)
  // The client makes arrays of arrays: theirs is the business of other tests.
  const simple = shapes.filter(({ params }) => params.columns !== undefined).slice(0, 4).map(
    Generated.withSimpleColumns
  )
  await live(scenario, {
    tables: ["g0", "g1"],
    statement: (r) => Generated.statement(r, generated),
    shapes: shapes.slice(0, COUNT),
    added: () => later.splice(0, 3),
    clients: simple
  }, r)
})
