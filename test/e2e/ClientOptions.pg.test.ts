/**
 * What an application tells the published client, against the real server: column mappers, parsers, transformers, and parameters and
 * headers of every kind.
 */
import { createColumnMapper, type Row, snakeCamelMapper } from "@electric-sql/client"
import assert from "node:assert/strict"
import type { Values } from "../support/Follower.ts"
import { withGateway } from "../support/Gateway.ts"
import { camel, matches } from "../support/Materialised.ts"
import { AS_TEXT, scenario } from "../support/Scenario.ts"

scenario("a column mapper: rows, where, columns and parameters", {
  setup: `
    CREATE TABLE user_tasks (task_id int PRIMARY KEY, user_id int NOT NULL, created_at timestamptz, is_done bool, _note text);
    INSERT INTO user_tasks SELECT i, i % 3, '2026-01-01T00:00:00Z'::timestamptz + i * interval '1 day', i % 2 = 0, 'n' || i
    FROM generate_series(1, 30) i;
    CREATE TABLE odd ("Group" int PRIMARY KEY, "first name" text, "select" text);
    INSERT INTO odd VALUES (1, 'a', 'x'), (2, NULL, 'y')`
}, async ({ client, db, select }) => {
  const columnMapper = snakeCamelMapper()
  const all = client({ table: "user_tasks" }, { columnMapper, parser: AS_TEXT })
  const some = client({
    table: "user_tasks",
    where: "userId = $1 AND (isDone OR createdAt > $2) AND (_note LIKE 'n%' OR _note = 'userId')",
    params: ["1", "2026-01-10T00:00:00Z"],
    columns: ["taskId", "userId", "_note"]
  }, { columnMapper, parser: AS_TEXT })
  const now = async () => {
    await matches(all, select, "SELECT * FROM user_tasks", camel)
    await matches(
      some,
      select,
      `SELECT task_id, user_id, _note FROM user_tasks
       WHERE user_id = 1 AND (is_done OR created_at > '2026-01-10T00:00:00Z') AND (_note LIKE 'n%' OR _note = 'userId')`,
      camel
    )
  }
  await now()
  assert.deepEqual(Object.keys(some.rows[0]!).sort(), ["_note", "taskId", "userId"])
  for (
    const sql of [
      "UPDATE user_tasks SET is_done = NOT is_done",
      "UPDATE user_tasks SET user_id = 1, _note = NULL WHERE task_id < 4",
      "UPDATE user_tasks SET task_id = task_id + 100 WHERE user_id = 1",
      "DELETE FROM user_tasks WHERE created_at > '2026-01-20T00:00:00Z'"
    ]
  ) {
    await db.exec(sql)
    await now()
  }

  // Names that have to be quoted, by a mapping.
  const named = createColumnMapper({ Group: "group", "first name": "firstName", select: "selected" })
  const odd = client({ table: "odd", columns: ["group", "firstName", "selected"] }, {
    columnMapper: named,
    parser: AS_TEXT
  })
  const renamed = (row: Values): Row<unknown> => ({
    group: row["Group"]!,
    firstName: row["first name"]!,
    selected: row["select"]!
  })
  await matches(odd, select, "SELECT * FROM odd", renamed)
  await db.exec("UPDATE odd SET \"first name\" = 'changed' WHERE \"Group\" = 2; DELETE FROM odd WHERE \"Group\" = 1")
  await matches(odd, select, "SELECT * FROM odd", renamed)
})

class Money {
  readonly cents: bigint
  constructor(text: string) {
    this.cents = BigInt(text.replace(".", ""))
  }
}

scenario("parsers get Postgres's text and what the schema says of the column; a transformer gets what they made", {
  setup: `
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s, "fine"');
    CREATE DOMAIN price AS numeric(12, 2);
    CREATE TABLE typed (
      id int PRIMARY KEY, amount numeric(10, 2) NOT NULL, code varchar(20), fixed char(4), at timestamptz(3), span interval,
      day date, moods mood[], grid int[][], bytes bytea, doc jsonb, f8 float8, bits bit(3), u uuid, cost price);
    INSERT INTO typed VALUES
      (1, 12.50, 'a', 'b', '2026-03-04 05:06:07.891+02', '1 day 02:03', '2026-02-28', '{sad,NULL,"it''s, \\"fine\\""}',
        '{{1,2},{3,NULL}}', '\\xdeadbeef', '{"a": [1, {"b": null}]}', 'Infinity', B'101',
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 3.10),
      (2, -0.01, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
      (3, 0, '', '', 'infinity', '-00:00:01.5', '0001-01-01 BC', '{}', '{}', '\\x', 'null', 'NaN', B'000',
        '00000000-0000-0000-0000-000000000000', 0)`
}, async ({ client, db, select }) => {
  const told = new Map<string, unknown>()
  const telling = (type: string, parse: (text: string) => unknown) => (text: string, info?: object) => {
    assert.equal(typeof text, "string")
    told.set(type, info)
    return parse(text)
  }
  const parsers: Record<string, (text: string) => unknown> = {
    int4: Number,
    numeric: (text) => new Money(text),
    varchar: (text) => `v:${text}`,
    bpchar: (text) => text.trimEnd(),
    timestamptz: (text) => text === "infinity" ? Infinity : new Date(text),
    interval: (text) => ({ interval: text }),
    date: (text) => ({ date: text }),
    mood: (text) => text.toUpperCase(),
    bytea: (text) => [...Buffer.from(text.slice(2), "hex")],
    jsonb: (text) => ({ text, value: JSON.parse(text) as unknown }),
    float8: Number,
    bit: (text) => parseInt(text, 2),
    uuid: (text) => text.replaceAll("-", "")
  }
  const one = client({ table: "typed" }, {
    parser: Object.fromEntries(Object.entries(parsers).map(([type, parse]) => [type, telling(type, parse)])),
    columnMapper: createColumnMapper({ amount: "total" }),
    transformer: (row) => {
      // After the mapper and the parsers.
      const { total, ...rest } = row
      return total instanceof Money ? { ...rest, total: total.cents } : row
    }
  })
  // By hand, from `SELECT`'s text.
  const grid = (text: string) =>
    JSON.parse(text.replaceAll("{", "[").replaceAll("}", "]").toLowerCase()) as Row<unknown>
  const moods = new Map<string | null, unknown>([
    [null, null],
    ["{}", []],
    ["{sad,NULL,\"it's, \\\"fine\\\"\"}", ["SAD", null, "IT'S, \"FINE\""]],
    ["{ok}", ["OK"]]
  ])
  const parse = (row: Values): Row<unknown> => {
    const by = (type: string, text: string | null | undefined) => typeof text === "string" ? parsers[type]!(text) : null
    return {
      id: Number(row["id"]),
      total: new Money(row["amount"]!).cents,
      code: by("varchar", row["code"]),
      fixed: by("bpchar", row["fixed"]),
      at: by("timestamptz", row["at"]),
      span: by("interval", row["span"]),
      day: by("date", row["day"]),
      moods: moods.get(row["moods"]!),
      grid: typeof row["grid"] === "string" ? grid(row["grid"]) : null,
      bytes: by("bytea", row["bytes"]),
      doc: by("jsonb", row["doc"]),
      f8: by("float8", row["f8"]),
      bits: by("bit", row["bits"]),
      u: by("uuid", row["u"]),
      cost: row["cost"] ?? null
    }
  }
  await matches(one, select, "SELECT * FROM typed", parse)
  assert.deepEqual(Object.fromEntries(told), {
    int4: { type: "int4", not_null: true, pk_index: 0 },
    numeric: { type: "numeric", precision: 10, scale: 2, not_null: true },
    varchar: { type: "varchar", max_length: 20 },
    bpchar: { type: "bpchar", length: 4 },
    timestamptz: { type: "timestamptz", precision: 3 },
    interval: { type: "interval" },
    date: { type: "date" },
    mood: { type: "mood", dims: 1 },
    bytea: { type: "bytea" },
    jsonb: { type: "jsonb" },
    float8: { type: "float8" },
    bit: { type: "bit", length: 3 },
    uuid: { type: "uuid" }
  })
  for (
    const sql of [
      "UPDATE typed SET amount = amount + 1, moods = '{ok}', at = '1999-12-31 23:59:59.999Z', code = NULL",
      "UPDATE typed SET f8 = 'NaN', doc = '[1.0, 1e3]', grid = '{{9}}', bits = B'111', span = NULL, cost = 7",
      "UPDATE typed SET id = 10, day = 'infinity', bytes = '\\x00ff' WHERE id = 2"
    ]
  ) {
    await db.exec(sql)
    await matches(one, select, "SELECT * FROM typed", parse)
  }
})

scenario("parameters and headers as texts, lists and functions", {
  setup: `
    CREATE TABLE notes (id int PRIMARY KEY, "a b" text, owner text, rank int8);
    INSERT INTO notes VALUES (1, 'x&y=z', 'ü%20+ "q"', 1), (2, 'x', 'o''1', 2), (3, NULL, 'a,b', 9007199254740993), (4, '#', '$1', 4)`
}, async ({ client, db, select, server }) => {
  await withGateway(server.url, async (gateway) => {
    let token = 0
    let owner = "ü%20+ \"q\""
    const one = client({
      table: "notes",
      where: "owner = $1 OR owner = $2 OR \"a b\" = $3",
      columns: ["id", "a b", "owner"],
      "params[1]": () => owner,
      "params[2]": async () => await Promise.resolve("o'1"),
      "params[3]": "#",
      tenant: () => "t 1",
      labels: ["x", "y,z"]
    }, {
      url: gateway.shapeUrl,
      parser: AS_TEXT,
      headers: {
        "x-fixed": "one",
        "x-counted": () => String(++token),
        authorization: async () => await Promise.resolve(`Bearer ${token}`)
      }
    })
    const select1 = "SELECT id, \"a b\", owner FROM notes WHERE owner IN ('ü%20+ \"q\"', 'o''1') OR \"a b\" = '#'"
    await matches(one, select, select1)
    await db.exec("UPDATE notes SET owner = 'o''1' WHERE id = 3; UPDATE notes SET owner = 'gone' WHERE id = 2")
    await matches(one, select, select1)
    await gateway.until(() => gateway.held.length === 1, "a live request")
    const { requests } = gateway
    assert.ok(requests.length >= 3)
    for (const { headers, url } of requests) {
      assert.equal(headers["x-fixed"], "one")
      assert.match(headers.authorization ?? "", /^Bearer \d+$/)
      assert.equal(url.searchParams.get("columns"), "\"id\",\"a b\",\"owner\"")
      assert.equal(url.searchParams.get("params[1]"), "ü%20+ \"q\"")
      assert.equal(url.searchParams.get("tenant"), "t 1")
    }
    // A function is asked again for every request; the one ahead of need shares those of the one before it.
    const live = requests.filter((request) => request.url.searchParams.get("live") === "true")
    assert.ok(live.length >= 2)
    assert.equal(new Set(live.map(({ headers }) => headers["x-counted"])).size, live.length)

    // Another value of a parameter is another shape: the server says so to a request with the handle of the first.
    const { shapeHandle } = one.stream
    owner = "$1"
    await one.stream.forceDisconnectAndRefresh()
    const select2 = "SELECT id, \"a b\", owner FROM notes WHERE owner IN ('$1', 'o''1') OR \"a b\" = '#'"
    await matches(one, select, select2)
    assert.notEqual(one.stream.shapeHandle, shapeHandle)
    await db.exec("UPDATE notes SET owner = '$1' WHERE id = 1")
    await matches(one, select, select2)

    // Positional parameters as a list, and typed by what they are compared with.
    const list = client({ table: "notes", where: "rank > $1 AND id = ANY($2)", params: ["1", "{2,3,4}"] }, {
      parser: AS_TEXT
    })
    await matches(list, select, "SELECT * FROM notes WHERE rank > 1 AND id IN (2, 3, 4)")
    await db.exec("UPDATE notes SET rank = rank - 3")
    await matches(list, select, "SELECT * FROM notes WHERE rank > 1 AND id IN (2, 3, 4)")
  })
})
