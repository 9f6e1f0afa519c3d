/** Electric HTTP protocol §13: subqueries. */
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import {
  ANY,
  change,
  type Followed,
  type Item,
  key,
  type Row,
  same,
  type Section,
  snapshotEnd,
  type World
} from "./Conformance.ts"

const SETUP = `
  CREATE SCHEMA other;
  CREATE TYPE mood AS ENUM ('sad', 'ok');
  CREATE TABLE projects (id int PRIMARY KEY, org int NOT NULL, active bool NOT NULL, name text);
  CREATE TABLE tasks (id int PRIMARY KEY, project_id int, org int NOT NULL, n int, mood mood);
  CREATE TABLE other.orgs (id int PRIMARY KEY, name varchar, big int8);
  CREATE TABLE others (id int PRIMARY KEY);
  INSERT INTO other.orgs VALUES (1, 'one', 1), (2, 'two', 2);
  INSERT INTO projects VALUES (1, 1, true, 'a'), (2, 1, false, 'b'), (3, 2, true, 'c');
  INSERT INTO tasks VALUES (10, 1, 1, 1), (11, 2, 1, 2), (12, 3, 1, 3), (13, NULL, 2, 4), (14, 3, 2, 5)`

const ACTIVE = "(SELECT id FROM projects WHERE active)"
const HASH = /^[0-9a-f]{32}$/

const at = (where: string, more = ""): string => `table=tasks&where=${where}${more}&offset=-1`

/** The request for a clause, and the rows that it selects. */
const selects = (where: string, ids: ReadonlyArray<number>, more = "") =>
  [
    at(where, more),
    { json: [...ids.map((id) => ({ key: key("tasks", String(id)), value: ANY, headers: ANY })), snapshotEnd] }
  ] as const

/** The request for a clause, and the message that it is refused with. */
const refused = (where: string, message: string) =>
  [at(where), { invalid: { where: [new RegExp(`^(At location \\d+: )?${message}$`)] } }] as const

// --- Tables of a row's own ---

interface Own {
  readonly inner: string
  readonly outer: string
  /** The shape of the rows whose `a` is among the inner table's values that are on. */
  readonly query: string
  readonly values: string
}

/** Inner rows 1 and 2 are on, 3 is off; the outer rows are given as `(id, a, b, n)`. */
const own = async (world: World, rows: string): Promise<Own> => {
  const inner = await world.table(
    "id int PRIMARY KEY, v int NOT NULL, active bool NOT NULL",
    "(1, 1, true), (2, 2, true), (3, 3, false)"
  )
  const outer = await world.table("id int PRIMARY KEY, a int, b int, n int", rows)
  const values = `(SELECT v FROM ${inner} WHERE active)`
  return { inner, outer, values, query: `table=${outer}&where=a IN ${values}` }
}

/** A log followed on through transactions. */
const through = async (world: World, from: Followed, ...transactions: ReadonlyArray<string>) => {
  let followed = from
  const all: Array<Item> = []
  for (const sql of transactions) {
    await world.exec(sql)
    followed = await world.news(followed)
    all.push(...followed.items)
  }
  return { items: all, followed }
}

const tagsOf = ({ headers }: Item): ReadonlyArray<string> => {
  const { tags } = headers
  assert.ok(Array.isArray(tags))
  return tags as ReadonlyArray<string>
}

/** The hash of a value; `text` is it with `v:`. */
const hash = (handle: string, text: string): string =>
  createHash("md5").update(`single_stack${handle}${text}`).digest("hex")

/** Tags and conditions of the only row of a clause on a table of its own: hashes by their number. */
const structure = async (world: World, where: (own: Own) => string) => {
  const tables = await own(world, "(1, 1, 3, 1)")
  const { items: [item] } = await world.follow(`table=${tables.outer}&where=${where(tables)}`)
  const hashes: Array<string> = []
  const tags = tagsOf(item!).map((tag) =>
    tag.replace(/[0-9a-f]{32}/g, (hash) => {
      if (!hashes.includes(hash)) hashes.push(hash)
      return `h${hashes.indexOf(hash) + 1}`
    })
  )
  return { tags, conditions: item!.headers.active_conditions }
}

const event = (kind: "move-in" | "move-out", value: unknown, pos = 0) => ({
  headers: { event: kind, patterns: [{ pos, value }], txids: [ANY] }
})

const moved = (table: string, value: Readonly<Record<string, string | null>>, tags: ReadonlyArray<string>) => ({
  key: key(table, value.id!),
  value,
  headers: {
    operation: "insert",
    relation: ["public", table],
    is_move_in: true,
    tags,
    active_conditions: tags.flatMap((tag) => tag.split("/").map(() => true))
  }
})

// --- §13.1 ---

const accepted: ReadonlyArray<Row> = [
  { line: "13 available without a flag", cases: [selects(`project_id IN ${ACTIVE}`, [10, 12, 14])] },
  {
    line: "13 the shape is kept correct when the other tables change",
    elsewhere: [
      "test/e2e/SubqueryProperty.pg.test.ts › subqueries, random transactions and kills, seed ",
      "test/e2e/SubqueryProperty.pg.test.ts › rows by their tags, random transactions and kills, seed "
    ]
  },
  {
    line: "13.1 col IN, (c1, c2) IN and NOT IN, with AND, OR, NOT and ordinary predicates",
    cases: [
      selects("(project_id, org) IN (SELECT id, org FROM projects)", [10, 11, 14]),
      selects(`project_id NOT IN ${ACTIVE}`, [11]),
      selects("(id, org) NOT IN (SELECT id, org FROM projects)", [10, 11, 12, 13, 14]),
      selects(`project_id IN ${ACTIVE} AND org = 2`, [14]),
      selects(`project_id IN ${ACTIVE} OR n = 4`, [10, 12, 13, 14]),
      selects(`NOT (project_id IN ${ACTIVE} OR n = 5)`, [11])
    ]
  },
  {
    line: "13.1 one table, schema-qualified or in public, with a WHERE that may contain subqueries",
    cases: [
      selects("org IN (SELECT id FROM other.orgs WHERE name = 'two')", [13, 14]),
      selects(
        "project_id IN (SELECT id FROM public.projects WHERE org IN (SELECT id FROM other.orgs WHERE name = 'one'))",
        [10, 11]
      )
    ]
  },
  {
    line: "13.1 a bare LIMIT and a table alias are not detected and have no effect",
    differs: "LIMIT is refused, and an alias is one",
    cases: [
      refused("project_id IN (SELECT id FROM projects LIMIT 1)", "SELECT statement must not contain any clauses"),
      selects("project_id IN (SELECT p.id FROM projects p WHERE p.active)", [10, 12, 14])
    ]
  },
  {
    line: "13.1 parameters of the shape may be used inside",
    cases: [selects("project_id IN (SELECT id FROM projects WHERE name = $1)", [11], "&params[1]=b")]
  },
  {
    line: "13.1 identical subselects are shared",
    elsewhere: "test/where/Subqueries.pg.test.ts › have the protocol's positions"
  },
  {
    line: "13.1 only `value IN (SELECT ...)` sublinks are supported right now",
    cases: [
      "project_id = (SELECT 1)",
      "project_id > ANY (SELECT id FROM projects)",
      "project_id = ALL (SELECT id FROM projects)"
    ]
      .map((where) => refused(where, "only `value IN \\(SELECT \\.\\.\\.\\)` sublinks are supported right now"))
  },
  {
    line: "13.1 …EXISTS and = ANY among them",
    differs: "they are accepted, EXISTS with an equality that says which rows are meant",
    cases: [
      selects("EXISTS (SELECT 1 FROM projects p WHERE p.id = tasks.project_id AND p.active)", [10, 12, 14]),
      selects("NOT EXISTS (SELECT 1 FROM projects p WHERE p.id = tasks.project_id AND p.active)", [11, 13]),
      selects(`project_id = ANY ${ACTIVE}`, [10, 12, 14]),
      refused("EXISTS (SELECT 1 FROM projects)", "EXISTS needs a condition [^]*")
    ]
  },
  {
    line:
      "13.1 currently, left side of `IN (SELECT ...)` can only be a column reference or a list of column references",
    cases: ["project_id + 1 IN (SELECT id FROM projects)", "(project_id, 1) IN (SELECT id, org FROM projects)"].map((
      where
    ) =>
      refused(
        where.replace("+", "%2B"),
        "currently, left side of `IN \\(SELECT \\.\\.\\.\\)` can only be a column reference or a list of column references"
      )
    )
  },
  {
    line: "13.1 left side of `IN (SELECT ...)` has type X but subquery returns Y",
    cases: [
      refused(
        "project_id IN (SELECT name FROM projects)",
        "left side of `IN \\(SELECT \\.\\.\\.\\)` has type int4 but subquery returns text"
      ),
      refused(
        "(id, org) IN (SELECT id, name FROM projects)",
        "left side of `IN \\(SELECT \\.\\.\\.\\)` has type \\(int4, int4\\) but subquery returns \\(int4, text\\)"
      )
    ]
  },
  {
    line: "13.1 …types must be identical",
    differs: "they may differ where equal values have equal texts: int4 and int8, text and varchar",
    cases: [
      selects("id IN (SELECT big FROM other.orgs) OR org IN (SELECT big FROM other.orgs WHERE big = 2)", [13, 14])
    ]
  },
  {
    line:
      "13.1 SELECT statement must not contain any clauses: DISTINCT, GROUP BY, HAVING, WINDOW, ORDER BY, OFFSET, FOR UPDATE, WITH",
    cases: [
      "SELECT DISTINCT id FROM projects",
      "SELECT id FROM projects GROUP BY id",
      "SELECT id FROM projects HAVING true",
      "SELECT id FROM projects WINDOW w AS ()",
      "SELECT id FROM projects ORDER BY id",
      "SELECT id FROM projects OFFSET 1",
      "SELECT id FROM projects FOR UPDATE",
      "WITH w AS (SELECT 1) SELECT id FROM projects"
    ].map((select) => refused(`project_id IN (${select})`, "SELECT statement must not contain any clauses"))
  },
  {
    line: "13.1 Expected a single table reference",
    cases: ["projects, others", "projects JOIN others USING (id)", "(SELECT 1 AS id) p"].map((from) =>
      refused(`project_id IN (SELECT id FROM ${from})`, "Expected a single table reference")
    )
  },
  {
    line: "13.1 At location N: Expected a plain column reference",
    cases: ["id %2B 1", "*", "count(id)", "1"].map((target) =>
      refused(`project_id IN (SELECT ${target} FROM projects)`, "Expected a plain column reference")
    )
  },
  {
    line: "13.1 an unknown inner table: the does not exist text",
    cases: ["nope", "other.nope"].map((table) =>
      refused(`project_id IN (SELECT id FROM ${table})`, "[^]*nope[^]* does not exist[^]*")
    )
  },
  {
    line: "13.1 a subquery dependency cannot be used with both positive and negative polarity in the same filter",
    differs: "it can",
    cases: [selects(`project_id IN ${ACTIVE} OR (project_id NOT IN ${ACTIVE} AND n = 2)`, [10, 11, 12, 14])]
  },
  {
    line: "13.1 WHERE clause too complex for DNF decomposition (N disjuncts exceeds limit of 100)",
    cases: [
      refused(
        Array.from({ length: 7 }, () => `(project_id IN ${ACTIVE} OR n = 1)`).join(" AND "),
        "WHERE clause too complex for DNF decomposition \\(128 disjuncts exceeds limit of 100\\)"
      )
    ]
  },
  {
    line: "13.1 errors.experimental_compaction",
    ask: at(`project_id IN ${ACTIVE}`, "&experimental_compaction=true"),
    is: { invalid: { experimental_compaction: ["can't be enabled for shapes with subqueries"] } }
  }
]

// --- §13.2–13.4 ---

const tags: ReadonlyArray<Row> = [
  {
    line: "13.2 NOT is pushed to the leaves, AND distributed over OR; a leaf is a subquery test or any plain predicate",
    elsewhere: [
      "test/where/Subqueries.pg.test.ts › have the protocol's positions",
      "test/where/Subqueries.pg.test.ts › come leaf by leaf to what Postgres says of the clause, and so do those of inner shapes"
    ]
  },
  {
    line: "13.2 every disjunct has its own consecutive block of positions, in order: the four examples",
    script: async (world) => {
      const result = (where: (own: Own) => string) => structure(world, where)
      same(await result(({ values }) => `a IN ${values}`), { tags: ["h1"], conditions: [true] })
      same(await result(({ values }) => `a IN ${values} AND n=1`), { tags: ["h1/1"], conditions: [true, true] })
      same(await result(({ values }) => `a IN ${values} OR n=1`), { tags: ["h1/", "/1"], conditions: [true, true] })
      same(await result(({ values }) => `(a IN ${values} OR b IN (SELECT id FROM others)) AND n=1`), {
        tags: ["h1/1//", "//h2/1"],
        conditions: [true, true, false, true]
      })
    }
  },
  {
    line: "13.2 the same leaf in two disjuncts has two positions",
    script: async (world) =>
      same(await structure(world, ({ values }) => `(a IN ${values} AND n=1) OR (a IN ${values} AND n=2)`), {
        tags: ["h1/1//", "//h1/1"],
        conditions: [true, true, true, false]
      })
  },
  {
    line: "13.3 one tag per disjunct, always all of them; a slot per position: empty, a hash, or 1",
    script: async (world) => {
      const { outer, values } = await own(world, "(1, 1, 0, 0), (2, 9, 0, 1), (3, NULL, 0, 1)")
      const { items } = await world.follow(`table=${outer}&where=a IN ${values} OR n = 1`)
      for (const item of items.slice(0, -1)) same(tagsOf(item), [/^[0-9a-f]{32}\/$/, "/1"])
    }
  },
  {
    line: "13.3 the hash: MD5 of stack_id, handle and v:text or NULL",
    differs: "stack_id is single_stack, whatever ELECTRIC_DATABASE_ID says: handles of two databases differ anyway",
    script: async (world) => {
      const { outer, values } = await own(world, "(1, 1, 0, 0), (2, NULL, 0, 1)")
      const { handle, items } = await world.follow(`table=${outer}&where=a IN ${values} OR n = 1`)
      assert.deepEqual(items.slice(0, -1).map(tagsOf), [
        [`${hash(handle, "v:1")}/`, "/1"],
        [`${hash(handle, "NULL")}/`, "/1"]
      ])
    }
  },
  {
    line: "13.3 …of a row: the names of the outer columns, each with its value",
    script: async (world) => {
      const { inner, outer } = await own(world, "(1, 2, 2, 0)")
      const { handle, items } = await world.follow(`table=${outer}&where=(a, b) IN (SELECT id, v FROM ${inner})`)
      assert.deepEqual(items[0] && tagsOf(items[0]), [hash(handle, "a:v:2b:v:2")])
    }
  },
  {
    line: "13.3 the same hash for a row and the event about its value, no / inside, not shared across shapes",
    script: async (world) => {
      const { inner, outer, query } = await own(world, "(1, 1, 0, 0)")
      const followed = await world.follow(query)
      const other = await world.follow(`${query}&columns=id`)
      const [tag] = tagsOf(followed.items[0]!)
      assert.match(tag!, HASH)
      assert.notEqual(tagsOf(other.items[0]!)[0], tag)
      assert.equal(followed.items[0]!.key, key(outer, "1"))
      const { items } = await through(world, followed, `UPDATE ${inner} SET active = false WHERE id = 1`)
      same(items, [event("move-out", tag)])
    }
  },
  {
    line: "13.3 the same text form on both paths",
    script: async (world) => {
      const inner = await world.table("v bool PRIMARY KEY", "(true)")
      const outer = await world.table("id int PRIMARY KEY, a bool", "(1, true)")
      const followed = await world.follow(`table=${outer}&where=a IN (SELECT v FROM ${inner})`)
      const [tag] = tagsOf(followed.items[0]!)
      const { items } = await through(world, followed, `INSERT INTO ${outer} VALUES (2, true)`, `DELETE FROM ${inner}`)
      assert.deepEqual(tagsOf(items[0]!), [tag])
      same(items[1], event("move-out", tag))
    }
  },
  {
    line: "13.4 a boolean per position, with the negation applied",
    script: async (world) =>
      same(await structure(world, ({ values }) => `b NOT IN ${values} OR a NOT IN ${values} OR NOT n = 1`), {
        tags: ["h1//", "/h2/", "//1"],
        conditions: [true, false, false]
      })
  },
  {
    line: "13.4 …NULL membership counts as not a member: NOT coalesce(x, false)",
    differs: "as in SQL: a NOT IN that is NULL is not true, and selects nothing",
    script: async (world) => {
      const { outer, values } = await own(world, "(1, NULL, 0, 1)")
      const { items } = await world.follow(`table=${outer}&where=a NOT IN ${values} OR n = 1`)
      assert.deepEqual(items[0]!.headers.active_conditions, [false, true])
    }
  },
  {
    line:
      "13.4 insert: tags and active_conditions; update: removed_tags too, even when []; delete: tags and active_conditions",
    script: async (world) => {
      const { outer, query } = await own(world, "(1, 1, 0, 0)")
      const { handle, items } = await through(
        world,
        await world.follow(query),
        `INSERT INTO ${outer} VALUES (2, 2, 0, 0)`,
        `UPDATE ${outer} SET n = 1 WHERE id = 1`,
        `UPDATE ${outer} SET a = 2 WHERE id = 1`,
        `DELETE FROM ${outer} WHERE id = 1`
      ).then(({ followed, items }) => ({ handle: followed.handle, items }))
      const [h1, h2] = [hash(handle, "v:1"), hash(handle, "v:2")]
      const more = (headers: object) => ({ last: true, active_conditions: [true], ...headers })
      same(items, [
        {
          key: key(outer, "2"),
          value: { id: "2", a: "2", b: "0", n: "0" },
          headers: change(outer, "insert", 0, more({ tags: [h2] }))
        },
        {
          key: key(outer, "1"),
          value: { id: "1", n: "1" },
          headers: change(outer, "update", 0, more({ tags: [h1], removed_tags: [] }))
        },
        {
          key: key(outer, "1"),
          value: { id: "1", a: "2" },
          headers: change(outer, "update", 0, more({ tags: [h2], removed_tags: [h1] }))
        },
        { key: key(outer, "1"), value: { id: "1" }, headers: change(outer, "delete", 0, more({ tags: [h2] })) }
      ])
    }
  },
  {
    line: "13.4 an update is sent even if no selected column changed, with the key's columns",
    script: async (world) => {
      const { outer, query, values } = await own(world, "(1, 1, 0, 0)")
      const { items } = await through(
        world,
        await world.follow(`${query.replace(values, `${values} OR n = 5`)}&columns=id,b`),
        `UPDATE ${outer} SET n = 5`,
        `UPDATE ${outer} SET a = 2`
      )
      same(items.map(({ headers, value }) => ({ value, ...headers })), [
        {
          value: { id: "1" },
          ...change(outer, "update", 0, { last: true, tags: ANY, removed_tags: [], active_conditions: [true, true] })
        },
        {
          value: { id: "1" },
          ...change(outer, "update", 0, {
            last: true,
            tags: ANY,
            removed_tags: [/^[0-9a-f]{32}\/$/],
            active_conditions: [true, true]
          })
        }
      ])
    }
  },
  {
    line: "13.4 a link that changes beside one that stays",
    differs:
      "a second update repeats the new tags: the published client loses what an old tag and a new one have in common",
    script: async (world) => {
      const { outer, query, values } = await own(world, "(1, 1, 1, 0)")
      const { items } = await through(
        world,
        await world.follow(`${query} AND b IN ${values}`),
        `UPDATE ${outer} SET a = 2 WHERE id = 1`
      )
      const [first, second] = items
      same(items.map(({ headers, value }) => [value, headers.op_position, headers.removed_tags, headers.last]), [
        [{ id: "1", a: "2" }, 0, [ANY], undefined],
        [{ id: "1" }, 1, [], true]
      ])
      assert.deepEqual(second!.headers.tags, first!.headers.tags)
    }
  }
]

// --- §13.5–13.7 ---

const moves: ReadonlyArray<Row> = [
  {
    line: "13.5 duplicates are counted: the first occurrence moves in, the last that goes moves out",
    script: async (world) => {
      const { inner, outer, query } = await own(world, "(1, 4, 0, 0)")
      const { items } = await through(
        world,
        await world.follow(query),
        `INSERT INTO ${inner} VALUES (4, 4, true)`,
        `INSERT INTO ${inner} VALUES (5, 4, true); INSERT INTO ${outer} VALUES (2, 4)`,
        `DELETE FROM ${inner} WHERE id = 4; INSERT INTO ${outer} VALUES (3, 4)`,
        `DELETE FROM ${inner} WHERE id = 5`
      )
      assert.deepEqual(items.map(({ headers }) => headers.event ?? headers.control ?? headers.operation), [
        "move-in",
        "insert",
        "snapshot-end",
        "insert",
        "insert",
        "move-out"
      ])
    }
  },
  {
    line: "13.5 NOT IN: reversed",
    script: async (world) => {
      const { inner, outer, values } = await own(world, "(1, 1, 0, 0), (3, 3, 0, 0)")
      const followed = await world.follow(`table=${outer}&where=a NOT IN ${values}`)
      const [h1, h3] = [hash(followed.handle, "v:1"), hash(followed.handle, "v:3")]
      const { items } = await through(
        world,
        followed,
        `UPDATE ${inner} SET active = true WHERE id = 3`,
        `UPDATE ${inner} SET active = false WHERE id = 1`
      )
      same(items, [
        event("move-out", h3),
        event("move-in", h1),
        moved(outer, { id: "1", a: "1", b: "0", n: "0" }, [h1]),
        snapshotEnd
      ])
    }
  },
  {
    line: "13.5 move-out: one event message, a pattern per position and value",
    script: async (world) => {
      const { inner, outer, values } = await own(world, "(1, 1, 2, 0), (2, 2, 2, 1)")
      const followed = await world.follow(
        `table=${outer}&where=(a IN ${values} AND n = 0) OR (b IN ${values} AND a IN ${values})`
      )
      const [h1, h2] = [hash(followed.handle, "v:1"), hash(followed.handle, "v:2")]
      const { items } = await through(world, followed, `DELETE FROM ${inner}`)
      assert.equal(items.length, 1)
      const { patterns, ...rest } = items[0]!.headers
      same(rest, { event: "move-out", txids: [ANY] })
      const sorted = (patterns as ReadonlyArray<object>).map((pattern) => JSON.stringify(pattern)).sort()
      assert.deepEqual(
        sorted,
        [0, 2, 3].flatMap((pos) => [h1, h2].map((value) => JSON.stringify({ pos, value }))).sort()
      )
    }
  },
  {
    line: "13.5 …three levels, composite keys, quoted columns",
    script: async (world) => {
      const top = await world.table("id int PRIMARY KEY, active bool NOT NULL", "(1, true)")
      const middle = await world.table("a int, b text, \"Top Id\" int, PRIMARY KEY (a, b)", "(1, 'x/y', 1)")
      const lower = await world.table("\"the id\" int PRIMARY KEY, a int, b text", "(5, 1, 'x/y')")
      const outer = await world.table("id int PRIMARY KEY, \"Lower\" int", "(1, 5), (2, 6)")
      const where =
        `"Lower" IN (SELECT "the id" FROM ${lower} WHERE (a, b) IN (SELECT a, b FROM ${middle} WHERE "Top Id" IN (SELECT id FROM ${top} WHERE active)))`
      const followed = await world.follow(`table=${outer}&where=${where}`)
      const tags = tagsOf(followed.items[0]!)
      same(followed.items.map(({ value }) => value?.id), ["1", undefined])
      const { items } = await through(
        world,
        followed,
        `UPDATE ${top} SET active = false`,
        `UPDATE ${top} SET active = true`
      )
      same(items, [
        event("move-out", tags[0]),
        event("move-in", tags[0]),
        moved(outer, { id: "1", Lower: "5" }, tags),
        snapshotEnd
      ])
    }
  },
  {
    line: "13.5 move-in: the event, then the rows with is_move_in, without position, then one snapshot-end",
    script: async (world) => {
      const { inner, outer, query } = await own(world, "(1, 3, 0, 0), (2, 3, 0, 0), (3, 4, 0, 0)")
      const followed = await world.follow(query)
      const h3 = hash(followed.handle, "v:3")
      const { items } = await through(world, followed, `UPDATE ${inner} SET active = true`)
      same(items, [
        event("move-in", h3),
        moved(outer, { id: "1", a: "3", b: "0", n: "0" }, [h3]),
        moved(outer, { id: "2", a: "3", b: "0", n: "0" }, [h3]),
        snapshotEnd
      ])
    }
  },
  {
    line: "13.5 …transactions that the query's snapshot sees come before the event, evaluated with the old sets",
    differs: "a move has its transaction's place in the order of commits, whatever the query sees",
    elsewhere: "test/e2e/SubqueryProperty.pg.test.ts › rows by their tags, random transactions and kills, seed "
  },
  {
    line: "13.5 …snapshot-end only if there was at least one row",
    script: async (world) => {
      const { inner, outer, query } = await own(world, "(1, 1, 0, 0)")
      const { items } = await through(
        world,
        await world.follow(query),
        `UPDATE ${inner} SET active = true`,
        `INSERT INTO ${outer} VALUES (3, 3)`
      )
      assert.deepEqual(items.map(({ headers }) => headers.event ?? headers.operation), ["move-in", "insert"])
    }
  },
  {
    line: "13.5 rows that are there through another disjunct are not sent again",
    script: async (world) => {
      const { inner, outer, values } = await own(world, "(1, 3, 0, 1), (2, 3, 0, 0)")
      const { items } = await through(
        world,
        await world.follow(`table=${outer}&where=a IN ${values} OR n = 1`),
        `UPDATE ${inner} SET active = true`
      )
      assert.deepEqual(items.map(({ value }) => value?.id), [undefined, "2", undefined])
    }
  },
  {
    line: "13.5 opposite moves of a value within one transaction cancel",
    script: async (world) => {
      const { inner, outer, query } = await own(world, "(1, 1, 0, 0)")
      const { items } = await through(
        world,
        await world.follow(query),
        `UPDATE ${inner} SET active = NOT active; UPDATE ${inner} SET active = NOT active; INSERT INTO ${outer} VALUES (2, 2)`
      )
      assert.deepEqual(items.map(({ headers }) => headers.operation), ["insert"])
    }
  },
  {
    line: "13.5 …also of several transactions, while queued behind a running move-in",
    differs: "each transaction's moves are told",
    script: async (world) => {
      const { inner, query } = await own(world, "(1, 3, 0, 0)")
      const followed = await world.follow(query)
      for (const active of [true, false, true, false]) {
        await world.exec(`UPDATE ${inner} SET active = ${active} WHERE id = 3`)
      }
      const events: Array<unknown> = []
      for (let at = followed; events.length < 4;) {
        at = await world.news(at)
        events.push(...at.items.flatMap(({ headers }) => headers.event ?? []))
      }
      assert.deepEqual(events, ["move-in", "move-out", "move-in", "move-out"])
    }
  },
  {
    line: "13.5 move-outs are emitted before move-ins",
    script: async (world) => {
      const { inner, query } = await own(world, "(1, 1, 0, 0), (3, 3, 0, 0)")
      const { items } = await through(world, await world.follow(query), `UPDATE ${inner} SET active = NOT active`)
      assert.deepEqual(items.map(({ headers }) => headers.event ?? headers.operation ?? headers.control), [
        "move-out",
        "move-in",
        "insert",
        "snapshot-end"
      ])
    }
  },
  {
    line: "13.5 …so a row that one takes out and the other keeps comes again",
    elsewhere:
      "test/e2e/SubqueryTags.pg.test.ts › a row that leaves by one subquery and comes by another in the same transaction"
  },
  {
    line: "13.5 txids: the upstream transactions that caused the move",
    script: async (world) => {
      const { inner, query } = await own(world, "(1, 1, 0, 0)")
      const followed = await world.follow(query)
      const session = await world.session()
      await session.exec(`BEGIN; UPDATE ${inner} SET active = false WHERE id = 1`)
      const [row] = await session.query("SELECT pg_current_xact_id()::text AS xid")
      await session.exec("COMMIT")
      const { items } = await world.news(followed)
      assert.deepEqual(items.map(({ headers }) => headers.txids), [[Number(row!.xid)]])
    }
  },
  {
    line: "13.5 each takes the next op number after the last stored offset: 12_4, 12_5; 0_inf, 1_0",
    differs: "the numbers of its own transaction, behind its changes",
    script: async (world) => {
      const { inner, outer, query } = await own(world, "(3, 3, 0, 0)")
      const followed = await world.follow(query)
      const first = await through(
        world,
        followed,
        `INSERT INTO ${outer} VALUES (1, 1), (2, 2); UPDATE ${inner} SET active = true WHERE id = 3`
      )
      const changes = first.items.filter(({ headers }) => headers.lsn !== undefined)
      assert.deepEqual(changes.map(({ headers }) => headers.last), [undefined, true])
      const [tx, op] = first.followed.offset.split("_")
      assert.equal(tx, changes[0]!.headers.lsn)
      assert.ok(Number(op) > Number(changes[1]!.headers.op_position))
      // Read again from the last change, the same comes.
      const { op_position: last } = changes[1]!.headers
      const reply = await world.get(`${query}&handle=${followed.handle}&offset=${tx}_${String(last)}`)
      same((JSON.parse(reply.body) as ReadonlyArray<Item>).slice(0, -1), first.items.slice(2))
    }
  },
  {
    line: "13.5 more than 1000 buffered transactions rotate the shape",
    differs: "there is no such limit",
    untested: "there is nothing to see"
  },
  {
    line: "13.5 truncation of a dependency's table rotates the shape",
    script: async (world) => {
      const { inner, query } = await own(world, "(1, 1, 0, 0)")
      const { handle, offset } = await world.follow(query)
      await world.exec(`TRUNCATE ${inner}`)
      await world.until(`${query}&handle=${handle}&offset=${offset}&live=true`, ({ status }) => status === 409)
      same((await world.follow(query)).items, [snapshotEnd])
    }
  },
  {
    line: "13.5 …and so does the loss of what it depends on",
    script: async (world) => {
      const { inner, outer, query } = await own(world, "(1, 1, 0, 0)")
      const { handle, offset } = await world.follow(query)
      await world.exec(`ALTER TABLE ${inner} ALTER v TYPE int8; INSERT INTO ${inner} VALUES (9, 9, true)`)
      await world.exec(`INSERT INTO ${outer} VALUES (2, 2)`)
      await world.until(`${query}&handle=${handle}&offset=${offset}&live=true`, ({ status }) => status === 409)
      assert.deepEqual((await world.follow(query)).items.map(({ value }) => value?.id), ["1", "2", undefined])
    }
  },
  {
    line: "13.5 on restart all shapes with subqueries are dropped",
    differs: "they go on where they were",
    elsewhere: "test/e2e/SubqueryProperty.pg.test.ts › rows by their tags, random transactions and kills, seed "
  },
  {
    line: "13.6 the client's algorithm: TanStack DB",
    elsewhere: [
      "test/e2e/SubqueryTags.pg.test.ts › a link that changes beside another that stays",
      "test/e2e/SubqueryProperty.pg.test.ts › rows by their tags, random transactions and kills, seed "
    ]
  },
  {
    line: "13.6 clients without tag support keep rows after a move-out",
    differs: "with tags=none rows come and go as inserts and deletes, without tags and events",
    script: async (world) => {
      const { inner, outer, query } = await own(world, "(1, 1, 0, 0)")
      const followed = await world.follow(`${query}&tags=none`)
      same(followed.items[0]!.headers, { operation: "insert", relation: ["public", outer] })
      const { items } = await through(
        world,
        followed,
        `UPDATE ${inner} SET active = false WHERE id = 1`,
        `UPDATE ${inner} SET active = true WHERE id = 1`
      )
      same(items, [
        { key: key(outer, "1"), value: { id: "1" }, headers: { ...change(outer, "delete", 0), op_position: ANY } },
        {
          key: key(outer, "1"),
          value: { id: "1", a: "1", b: "0", n: "0" },
          headers: { ...change(outer, "insert", 0), op_position: ANY }
        }
      ])
    }
  },
  {
    line: "13.7 the example",
    script: async (world) => {
      const projects = await world.table("id int PRIMARY KEY, active bool NOT NULL", "(1, true)")
      const tasks = await world.table("id int PRIMARY KEY, project_id int", "(10, 1)")
      const query = `table=${tasks}&where=project_id IN (SELECT id FROM ${projects} WHERE active)`
      const first = await world.get(`${query}&offset=-1`)
      const handle = String(first.headers["electric-handle"])
      const h1 = hash(handle, "v:1")
      const row = (more: string) =>
        `{"key":"\\"public\\".\\"${tasks}\\"/\\"10\\"","value":{"id":"10","project_id":"1"},"headers":{"operation":"insert","relation":["public","${tasks}"]${more},"tags":["${h1}"],"active_conditions":[true]}}`
      const masked = (body: string) =>
        body.replace(/\s*\n\s*/g, "").replace(/"(xmin|xmax|global_last_seen_lsn)":"\d+"/g, "\"$1\":\"#\"").replace(
          /"txids":\[\d+\]/g,
          "\"txids\":[#]"
        )
      const end = "{\"headers\":{\"control\":\"snapshot-end\",\"xmin\":\"#\",\"xmax\":\"#\",\"xip_list\":[]}}"
      const upToDate = "{\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"#\"}}"
      const told = (kind: string) =>
        `{"headers":{"event":"${kind}","patterns":[{"pos":0,"value":"${h1}"}],"txids":[#]}}`
      assert.equal(masked(first.body), `[${row("")},${end}]`)
      let at = await world.follow(query)
      const next = async (active: boolean) => {
        await world.exec(`UPDATE ${projects} SET active = ${active} WHERE id = 1`)
        const { handle, offset } = at
        at = await world.news(at)
        return masked((await world.get(`${query}&handle=${handle}&offset=${offset}`)).body)
      }
      assert.equal(await next(false), `[${told("move-out")},${upToDate}]`)
      assert.equal(await next(true), `[${told("move-in")},${row(",\"is_move_in\":true")},${end},${upToDate}]`)
    }
  }
]

export const section: Section = {
  title: "13 Subqueries in where",
  setup: SETUP,
  servers: { main: {} },
  rows: [...accepted, ...tags, ...moves]
}
