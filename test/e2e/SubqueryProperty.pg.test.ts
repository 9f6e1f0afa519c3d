/**
 * The property that everything else serves (I9), of shapes with subqueries: rows move because other tables change, under concurrent
 * writers, with the server killed and restarted again and again.
 */
import type { ShapeOfTest } from "../support/GeneratedShapes.ts"
import { ENVIRONMENT, live, seed, TIMEOUT } from "../support/Lived.ts"
import { scenario } from "../support/Scenario.ts"
import { makeRandom, type Random } from "../where/WhereGenerator.ts"

const SETUP = `
CREATE TABLE teams (id int PRIMARY KEY, active bool NOT NULL, parent_id int);
CREATE TABLE users (id int PRIMARY KEY, team_id int, age int NOT NULL, name text);
CREATE TABLE items (id int PRIMARY KEY, user_id int, kind text NOT NULL, note text);
CREATE TABLE shares (item_id int, team_id int, PRIMARY KEY (item_id, team_id));
CREATE TABLE marker (id bigserial PRIMARY KEY);
INSERT INTO teams SELECT i, i % 2 = 0, NULLIF(i % 4, 0) FROM generate_series(1, 12) i;
INSERT INTO users SELECT i, i % 12, i % 9, 'user ' || i FROM generate_series(1, 60) i;
INSERT INTO items SELECT i, i % 60, chr(97 + i % 4), NULL FROM generate_series(1, 200) i;
INSERT INTO shares SELECT i, i % 12 FROM generate_series(1, 100) i`

const statement = (r: Random): string => {
  const tag = r.below(1_000_000)
  const team = () => r.below(14)
  const user = () => r.below(70)
  const item = () => r.below(230)
  const nullable = (value: number) => r.chance(0.15) ? "NULL" : String(value)
  return r.pick([
    () => `UPDATE teams SET active = NOT active WHERE id = ${team()}`,
    () => `UPDATE teams SET active = ${r.pick(["true", "false"])} WHERE id % 3 = ${r.below(3)}`,
    () => `UPDATE teams SET parent_id = ${nullable(team())} WHERE id = ${team()}`,
    () =>
      `INSERT INTO teams VALUES (${team()}, ${r.pick(["true", "false"])}, ${nullable(team())}) ON CONFLICT DO NOTHING`,
    () => `DELETE FROM teams WHERE id = ${team()}`,
    () => `UPDATE teams SET id = ${team()} WHERE id = ${team()}`,
    () => `UPDATE users SET team_id = ${nullable(team())} WHERE id = ${user()}`,
    () => `UPDATE users SET team_id = (team_id + 1) % 12 WHERE id % 7 = ${r.below(7)}`,
    () => `UPDATE users SET age = ${r.below(9)}, name = 'u ${tag}' WHERE id = ${user()}`,
    () => `INSERT INTO users VALUES (${user()}, ${nullable(team())}, ${r.below(9)}, 'n ${tag}') ON CONFLICT DO NOTHING`,
    () => `DELETE FROM users WHERE id = ${user()}`,
    () => `UPDATE users SET id = ${user()} WHERE id = ${user()}`,
    () => `UPDATE items SET user_id = ${nullable(user())} WHERE id = ${item()}`,
    () => `UPDATE items SET user_id = (user_id + ${r.below(5)}) % 60, note = '${tag}' WHERE id % 11 = ${r.below(11)}`,
    () => `UPDATE items SET kind = chr(97 + ${r.below(4)}) WHERE id = ${item()}`,
    () => `UPDATE items SET note = 'n ${tag}' WHERE id BETWEEN ${item()} AND ${item()}`,
    () => `INSERT INTO items VALUES (${item()}, ${nullable(user())}, 'a', '${tag}') ON CONFLICT DO NOTHING`,
    () => `DELETE FROM items WHERE id = ${item()}`,
    () => `UPDATE items SET id = ${item()} WHERE id = ${item()}`,
    () => `INSERT INTO shares VALUES (${item()}, ${team()}) ON CONFLICT DO NOTHING`,
    () => `DELETE FROM shares WHERE item_id = ${item()}`,
    () => `UPDATE shares SET team_id = ${team()} WHERE item_id = ${item()}`
  ])()
}

const CLAUSES: ReadonlyArray<readonly [table: string, where: string]> = [
  ["users", "id IN (SELECT user_id FROM items)"],
  ["users", "team_id IN (SELECT id FROM teams)"],
  ["users", "team_id IN (SELECT id FROM teams WHERE active)"],
  ["users", "team_id IN (SELECT id FROM teams WHERE active) OR age > 3"],
  ["users", "team_id IN (SELECT id FROM teams WHERE active) AND age > 3"],
  ["users", "team_id NOT IN (SELECT id FROM teams WHERE active)"],
  ["users", "NOT (team_id IN (SELECT id FROM teams WHERE active) AND age < 6)"],
  ["users", "team_id IN (SELECT parent_id FROM teams) OR id IN (SELECT user_id FROM items WHERE kind = 'b')"],
  ["items", "user_id IN (SELECT id FROM users WHERE team_id IN (SELECT id FROM teams WHERE active))"],
  [
    "items",
    "user_id IN (SELECT id FROM users WHERE team_id IN (SELECT id FROM teams WHERE parent_id IN (SELECT id FROM teams WHERE active)))"
  ],
  [
    "items",
    "user_id IN (SELECT id FROM users WHERE team_id NOT IN (SELECT id FROM teams WHERE active)) AND kind <> 'c'"
  ],
  ["items", "EXISTS (SELECT 1 FROM shares s WHERE s.item_id = items.id AND s.team_id = 3)"],
  ["items", "NOT EXISTS (SELECT 1 FROM users u WHERE u.id = items.user_id AND u.age > 2)"],
  [
    "items",
    "id IN (SELECT item_id FROM shares WHERE team_id IN (SELECT id FROM teams WHERE active)) OR user_id IN (SELECT id FROM users WHERE age = 1)"
  ],
  ["teams", "parent_id IN (SELECT id FROM teams WHERE active) OR id IN (SELECT team_id FROM users WHERE age > 6)"],
  ["shares", "(item_id, team_id) IN (SELECT id, user_id FROM items)"],
  ["shares", "team_id = ANY (SELECT id FROM teams WHERE active) AND item_id IN (SELECT id FROM items WHERE kind = 'a')"]
]

const shapeOf = (table: string, where: string, more: Readonly<Record<string, string>>): ShapeOfTest => ({
  params: { table, where, tags: "none", ...more },
  sql: `SELECT * FROM ${table} WHERE ${where}`
})

const SHAPES = CLAUSES.map(([table, where], i) => shapeOf(table, where, i % 3 === 0 ? { replica: "full" } : {}))

scenario(`subqueries, random transactions and kills, seed ${seed}`, {
  setup: SETUP,
  timeout: TIMEOUT,
  env: ENVIRONMENT
}, (scenario) =>
  live(scenario, {
    tables: ["teams", "users", "items", "shares"],
    truncates: 0.0005,
    statement,
    shapes: SHAPES,
    added: (r) => {
      const [table, where] = r.pick(CLAUSES)
      return [shapeOf(table, `${where} AND ${r.below(100)} < 100`, { replica: "full" })]
    },
    rotations: /^a shape that it depends on has ended|^NULL has entered or left|^no shape depends on it/,
    clients: SHAPES.filter((_, i) => i % 3 === 0)
  }, makeRandom(seed)))
