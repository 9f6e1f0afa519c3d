/**
 * The property that everything else serves (I9), of shapes with subqueries: rows move because other tables change, under concurrent
 * writers, with the server killed and restarted again and again.
 */
import type { ShapeOfTest } from "../support/GeneratedShapes.ts"
import { ENVIRONMENT, live, seed, TIMEOUT, type World } from "../support/Lived.ts"
import * as Positions from "../support/Positions.ts"
import { scenario } from "../support/Scenario.ts"
import { makeRandom, type Random } from "../where/generator/Random.ts"
import { subqueryClause, type SubqueryColumn, type SubqueryTable } from "../where/generator/Subqueries.ts"

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
  params: { table, where, ...more },
  sql: `SELECT * FROM ${table} WHERE ${where}`
})

const COMMON: Pick<World, "rotations" | "statement" | "tables" | "truncates"> = {
  tables: ["teams", "users", "items", "shares"],
  truncates: 0.0005,
  statement,
  rotations: /^a shape that it depends on has ended|^NULL has entered or left|^no shape depends on it/
}

const UNTAGGED = CLAUSES.map(([table, where], i) =>
  shapeOf(table, where, { tags: "none", ...(i % 3 === 0 && { replica: "full" }) })
)

scenario(`subqueries, random transactions and kills, seed ${seed}`, {
  setup: SETUP,
  timeout: TIMEOUT,
  env: ENVIRONMENT
}, (scenario) =>
  live(scenario, {
    ...COMMON,
    shapes: UNTAGGED,
    added: (r) => {
      const [table, where] = r.pick(CLAUSES)
      return [shapeOf(table, `${where} AND ${r.below(100)} < 100`, { tags: "none", replica: "full" })]
    },
    clients: UNTAGGED.filter((_, i) => i % 3 === 0)
  }, makeRandom(seed)))

// --- Rows by their tags ---

const column = (name: string, type: SubqueryColumn["type"], notNull = false): SubqueryColumn => ({
  name,
  type,
  notNull
})

const GENERATED: ReadonlyArray<SubqueryTable> = [
  { name: "teams", columns: [column("id", "int4", true), column("active", "bool", true), column("parent_id", "int4")] },
  { name: "users", columns: [column("id", "int4", true), column("team_id", "int4"), column("age", "int4", true)] },
  { name: "items", columns: [column("id", "int4", true), column("user_id", "int4"), column("kind", "text", true)] },
  { name: "shares", columns: [column("item_id", "int4", true), column("team_id", "int4", true)] }
]

/** Where rows have more than one reason to be in the shape, or reasons that come and go together. */
const MIXED: typeof CLAUSES = [
  // What leaves by one of these comes in by the other.
  [
    "users",
    "team_id IN (SELECT id FROM teams WHERE active) OR (team_id NOT IN (SELECT id FROM teams WHERE active) AND age > 4)"
  ],
  ["users", "team_id IN (SELECT id FROM teams WHERE active) OR team_id IN (SELECT id FROM teams WHERE NOT active)"],
  ["items", "user_id IN (SELECT id FROM users WHERE age < 5) AND id IN (SELECT item_id FROM shares)"],
  [
    "items",
    "(user_id IN (SELECT id FROM users WHERE age < 5) OR kind = 'a') AND (id IN (SELECT item_id FROM shares) OR kind = 'b')"
  ]
]

const PARAMETERS: Readonly<Record<string, string>> = { "params[1]": "3", "params[2]": "b" }

const generated = (r: Random): ShapeOfTest => {
  const first = r.pick(GENERATED)
  const tables = [first, ...GENERATED.filter((table) => table !== first)]
  for (;;) {
    const where = subqueryClause(r, tables, { depth: 3, conditions: 3 })
    // Not all of them have one.
    if (!/\(SELECT/.test(where)) continue
    return shapeOf(first.name, where, {})
  }
}

const TAGGED = [...CLAUSES, ...MIXED].map(([table, where], i) =>
  shapeOf(table, where, i % 3 === 1 ? { replica: "full" } : {})
)

const WITH_PARAMETERS: ShapeOfTest = {
  params: {
    table: "items",
    where: "user_id IN (SELECT id FROM users WHERE age > $1) OR (kind = $2 AND id IN (SELECT item_id FROM shares))",
    columns: "id,kind",
    ...PARAMETERS
  },
  sql:
    "SELECT id, kind FROM items WHERE user_id IN (SELECT id FROM users WHERE age > $1) OR (kind = $2 AND id IN (SELECT item_id FROM shares))",
  values: Object.values(PARAMETERS)
}

const keyOf = ({ params }: ShapeOfTest) => params.table === "shares" ? ["item_id", "team_id"] : ["id"]

scenario(`rows by their tags, random transactions and kills, seed ${seed}`, {
  setup: SETUP,
  timeout: TIMEOUT,
  env: ENVIRONMENT
}, async (scenario) => {
  const positions = Positions.make(scenario.db)
  const r = makeRandom(seed)
  try {
    await live(scenario, {
      ...COMMON,
      shapes: [...TAGGED, WITH_PARAMETERS, ...Array.from({ length: 6 }, () => generated(r))],
      added: (r) => [generated(r)],
      clients: UNTAGGED.filter((_, i) => i % 6 === 3),
      collections: TAGGED.flatMap((shape, i) =>
        i % 2 === 1 || i >= CLAUSES.length ? [[shape, keyOf(shape)] as const] : []
      ),
      positions: positions.of,
      ends: 2,
      prepared: true
    }, r)
  } finally {
    await positions.close()
  }
})
