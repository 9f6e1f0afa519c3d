/**
 * What is asked for and answered: clauses that are refused, clauses that mean the same, clauses that fail for a row or
 * lose what they need, and shapes of all forms over restarts.
 */
import assert from "node:assert/strict"
import { scenario } from "../support/Scenario.ts"

const request = async (url: string, params: Readonly<Record<string, string>>) => {
  const response = await fetch(`${url}/v1/shape?${new URLSearchParams({ offset: "-1", ...params })}`)
  return { status: response.status, headers: response.headers, body: await response.text() }
}

/** Asked again for as long as the answer is that the shape has just gone, as others ask for it too. */
const settled = async (url: string, params: Readonly<Record<string, string>>) => {
  for (;;) {
    const response = await request(url, params)
    if (response.status !== 409) return response
  }
}

const ITEMS = `
  CREATE SCHEMA app;
  CREATE TYPE app.mood AS ENUM ('sad', 'ok');
  CREATE TABLE items (id int PRIMARY KEY, title text, n int, flag bool, mood app.mood, nums int[], at timestamptz,
    price numeric, meta jsonb);`

// --- Refused ---

const REFUSED: ReadonlyArray<readonly [string, string]> = [
  ["foo = 1", "At location 0: unknown reference foo"],
  ["n = 1 AND items.n = 2", "At location 10: unknown reference items.n"],
  ["nope(n, 1)", "At location 0: unknown or unsupported function nope/2"],
  ["n @@@@ 1", "At location 2: unknown binary operator @@@@"],
  ["n @@ 1", "At location 2: Could not select an operator overload"],
  ["title + 1 > 10", "At location 6: Could not select an operator overload"],
  ["lower(n) = 'x'", "At location 0: Could not select a function overload for lower(int4)"],
  ["n = $1", "At location 4: parameter $1 was not provided"],
  ["n = 'x'", "At location 4: invalid syntax for type int4: x"],
  ["mood = 'glad'", "At location 7: invalid syntax for type mood: glad"],
  ["n = 1::nonsense", "At location 7: unsupported type nonsense"],
  ["flag::date = '2024-01-01'", "At location 4: unknown cast from type bool to type date"],
  ["title IS TRUE", "At location 0: argument of IS TRUE must be bool, not text"],
  ["n = ANY (title)", "At location 2: argument of ANY must be an array"],
  ["n + ANY (nums)", "At location 2: ANY/ALL requires operator that returns bool"],
  ["count(n) > 1", "At location 0: aggregation is not supported in this context"],
  ["n = 1 x 1", "At location 21: syntax error at or near \"x\""],
  ["n + 1", "WHERE clause must return a boolean"],
  ["n = 1 ORDER BY n", "malformed query ending with SQL clauses"],
  ["n = 1; DELETE FROM items", "unescaped \";\" causing statement split"],
  ["at > now()", "At location 5: function now() is not immutable"],
  ["n > random()", "At location 4: unknown or unsupported function random/0"],
  ["title = ''; --", "unescaped \";\" causing statement split"]
]

scenario("clauses that are refused", { setup: ITEMS }, async ({ db, server }) => {
  for (const [where, message] of REFUSED) {
    const { body, headers, status } = await request(server.url, { table: "items", where })
    assert.deepEqual({ where, status, body: JSON.parse(body) }, {
      where,
      status: 400,
      body: { message: "Invalid request", errors: { where: [message] } }
    })
    assert.equal(headers.get("electric-handle"), null)
    assert.equal(headers.get("cache-control"), "no-store")
  }
  const conflict = await request(server.url, { table: "items", where: "n = $1 AND title = $1", "params[1]": "1" })
  assert.equal(conflict.status, 400)
  assert.match(conflict.body, /type conflict for \$1: int4 and text/)
  const long = await request(server.url, { table: "items", where: `n IN (${"1, ".repeat(25_000)}1)` })
  // The HTTP layer may be the first to find it too long.
  assert.ok(long.status === 431 || /bigger than maximum size/.test(long.body), `${long.status} ${long.body}`)
  for (
    const [params, message] of [
      [{ "params[a]": "1" }, "Parameters can only use numbers as keys"],
      [{ "params[2]": "1" }, "Parameters must be numbered sequentially, starting from 1"]
    ] as const
  ) {
    const { body, status } = await request(server.url, { table: "items", where: "n = $1", ...params })
    assert.equal(status, 400)
    assert.deepEqual(JSON.parse(body).errors, { params: [message] })
  }
  // Nothing has become of any of them: the table is not even published.
  assert.deepEqual(await db.query("SELECT FROM pg_publication_tables WHERE tablename = 'items'"), [])
})

// --- Of one meaning ---

type Form = readonly [string, ...ReadonlyArray<string>]

/** Clauses with their parameters; those of one line are one shape. */
const SAME: ReadonlyArray<ReadonlyArray<Form>> = [
  [
    ["n = 5"],
    ["n=5"],
    ["n = $1", "5"],
    ["n = $1", " 5 "],
    ["n = $1::int", "5"],
    ["n = $1::int4", "+5"],
    ["n = '5'"],
    ["\"n\" = (5) -- five"],
    ["n = CAST($1 AS integer)", "5"],
    ["n = 2 + 3"],
    ["n = 5 AND true"],
    ["n OPERATOR(pg_catalog.=) 5"]
  ],
  [["n = 6"], ["n = $1", "6"]],
  [
    ["n = ANY ('{1,2}')"],
    ["n = ANY ($1)", "{1,2}"],
    ["n = ANY ($1::int[])", "{ 1 , 2 }"],
    ["n = ANY (ARRAY[1, 2])"],
    ["n IN (1, 2)"],
    ["n IN ($1, $2)", "1", "2"],
    ["n = ANY (ARRAY[$1, $2]::int[])", "1", "2"]
  ],
  [["title = 'x'"], ["title = $1", "x"], ["title = 'x'::text"], ["title = $1::text", "x"], ["title = E'\\x78'"]],
  [["title = '$1'"], ["title = $1", "$1"]],
  [["title = '5'"], ["title = $1", "5"]],
  [
    ["at > '2024-01-01 00:00+02'"],
    ["at > $1", "2023-12-31T22:00:00Z"],
    ["at > $1::timestamptz", "2024-01-01T03:30:00.000+05:30"],
    ["at > timestamptz '2023-12-31 22:00'"]
  ],
  [["mood = 'ok'"], ["mood = $1", "ok"], ["mood = 'ok'::app.mood"]],
  [["meta @> $1", "{\"a\":1}"], ["meta @> '{\"a\": 1}'"], ["meta @> $1::jsonb", "{ \"a\" : 1 }"]],
  // Equal numbers, and yet not the same: the scale shows in texts.
  [["price::text = 1.5::text"], ["price::text = $1", "1.5"]],
  [["price::text = 1.50::text"]],
  [[""], ["true"], ["1 = 1"], ["$1 = 'x'", "x"], ["n = 5 OR true"]]
]

scenario("forms of one meaning are one shape", {
  setup: `${ITEMS} INSERT INTO items SELECT i, (ARRAY['x', '$1', '5'])[1 + i % 3], i % 8, true,
    'ok', ARRAY[i], timestamptz '2024-01-01 00:00Z' + (i - 5) * interval '1 hour', 1.5, '{"a": 1}'
    FROM generate_series(1, 20) i`
}, async ({ server }) => {
  const handles = new Map<string, number>()
  for (const [i, forms] of SAME.entries()) {
    let first: { readonly handle: string; readonly rows: string } | undefined
    for (const [where, ...params] of forms) {
      const query = Object.fromEntries(params.map((value, i) => [`params[${i + 1}]`, value]))
      const { body, headers, status } = await request(server.url, {
        table: "items",
        ...(where === "" ? {} : { where }),
        ...query
      })
      assert.equal(status, 200, `${where}: ${body}`)
      const handle = headers.get("electric-handle")!
      first ??= { handle, rows: body }
      assert.deepEqual({ where, handle, rows: body }, { where, ...first })
    }
    assert.equal(handles.get(first!.handle), undefined, `${forms[0]![0]} is another shape than before`)
    handles.set(first!.handle, i)
    assert.ok(JSON.parse(first!.rows).length > 0)
  }
})

// --- Failing ---

scenario("a clause that fails for a row: the shape ends, and there is none until the row is gone", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, n int, body text);
    CREATE FUNCTION checked(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE
      AS $$BEGIN IF $1 = 0 THEN RAISE EXCEPTION 'no zeros'; END IF; RETURN $1 > 2; END$$;
    INSERT INTO items SELECT i, i, i::text FROM generate_series(1, 9) i`
}, async ({ db, follow, followed, server }) => {
  const failing: ReadonlyArray<readonly [string, string]> = [
    ["12 / n > 3", "division by zero"],
    ["body::int > 5", "invalid input syntax for type integer: \"zero\""],
    ["checked(n)", "no zeros"]
  ]
  const shapes = failing.map(([where, message]) => ({
    where,
    message,
    follower: follow({ table: "items", where }).start()
  }))
  // The row does not come to be tested for what would fail.
  const safe = follow({ table: "items", where: "CASE WHEN n = 0 THEN true ELSE 12 / n > 3 END" }).start()
  const now = async () => {
    for (const { follower, where } of shapes) await followed(follower, `SELECT * FROM items WHERE ${where}`)
    await followed(safe, "SELECT * FROM items WHERE CASE WHEN n = 0 THEN true ELSE 12 / n > 3 END")
  }
  await now()
  const [before] = shapes.map(({ follower }) => follower.handle)

  for (
    const bad of ["INSERT INTO items VALUES (10, 0, 'zero')", "UPDATE items SET n = 0, body = 'zero' WHERE id = 3"]
  ) {
    const rotations = shapes.map(({ follower }) => follower.rotations)
    await db.exec(bad)
    for (const [i, { follower, message, where }] of shapes.entries()) {
      await follower.until((now) => now.rotations > rotations[i]!, `${where}: the rotation`)
      // Said once the row is in the table, to whoever asks, and never with an older log.
      const { body, headers, status } = await settled(server.url, { table: "items", where })
      assert.deepEqual({ status, body: JSON.parse(body) }, {
        status: 503,
        body: { message: `Unable to create initial snapshot: ${message}` }
      })
      assert.equal(headers.get("electric-internal-known-error"), "true")
      assert.equal(headers.get("retry-after"), "10")
    }
    const old = await request(server.url, { table: "items", where: "12 / n > 3", handle: before!, offset: "0_inf" })
    assert.ok(old.status === 409 || old.status === 503, String(old.status))
    await followed(safe, "SELECT * FROM items WHERE CASE WHEN n = 0 THEN true ELSE 12 / n > 3 END")
    await db.exec("DELETE FROM items WHERE n = 0; UPDATE items SET n = n + 1")
    await now()
  }
  // Such a row that nobody ever sees ends shapes as well; what they become is right at once.
  await db.exec("BEGIN; INSERT INTO items VALUES (11, 0, 'zero'); DELETE FROM items WHERE id = 11; COMMIT")
  await db.exec("UPDATE items SET n = 1 WHERE id = 5")
  await now()
  const reasons = server.lines.flatMap((line) => /is rotated: (.*)/.exec(line)?.[1] ?? [])
  for (const { message } of shapes) {
    assert.ok(reasons.includes(`its where clause can't be evaluated: ${message}`), reasons.join("\n"))
  }
  assert.equal(safe.rotations, 0)
  for (const { follower } of [...shapes, { follower: safe }]) await follower.stop()
})

scenario("a clause that fails for a row far back in a large table", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, n int, body text);
    INSERT INTO items SELECT i, 1 + i % 3, repeat(md5(i::text), 20) FROM generate_series(1, 12000) i;
    INSERT INTO items VALUES (12001, 0, 'zero')`
}, async ({ db, follow, followed, server }) => {
  const shape = { table: "items", where: "6 / n > 2" }
  // A body that was begun breaks off.
  await assert.rejects(async () => {
    const { body, status } = await settled(server.url, shape)
    assert.equal(status, 503)
    throw new Error(body)
  }, /division by zero|terminated|other side closed/)
  const follower = follow(shape).start()
  await server.awaitLog(/the snapshot of public.items \(filtered\) failed: .*division by zero/)
  await db.exec("DELETE FROM items WHERE n = 0")
  await followed(follower, "SELECT * FROM items WHERE 6 / n > 2")
  await follower.stop()
})

scenario("a function that is dropped while a shape needs it, and made again", {
  setup: `
    CREATE SCHEMA ext;
    CREATE TABLE items (id int PRIMARY KEY, n int);
    CREATE FUNCTION ext.even(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 % 2 = 0; END';
    INSERT INTO items SELECT i, i FROM generate_series(1, 9) i`
}, async ({ db, follow, followed, server }) => {
  const shape = { table: "items", where: "ext.even(n)" }
  const one = follow(shape).start()
  const other = follow({ table: "items", where: "n > 5" }).start()
  await followed(one, "SELECT * FROM items WHERE ext.even(n)")
  await db.exec("DROP FUNCTION ext.even; INSERT INTO items VALUES (10, 10)")
  await assert.rejects(
    one.until(() => false, "the refusal"),
    /unknown or unsupported function ext\.even\/1|function ext\.even\(integer\) does not exist/
  )
  assert.equal((await request(server.url, shape)).status, 400)
  await followed(other, "SELECT * FROM items WHERE n > 5")
  await db.exec(
    "CREATE FUNCTION ext.even(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 4 = 0'; INSERT INTO items VALUES (12, 12)"
  )
  // What is known of functions is looked up anew every now and then only.
  while ((await request(server.url, shape)).status === 400);
  const again = follow(shape).start()
  await followed(again, "SELECT * FROM items WHERE ext.even(n)")
  await db.exec("UPDATE items SET n = n + 2")
  await followed(again, "SELECT * FROM items WHERE ext.even(n)")
  await followed(other, "SELECT * FROM items WHERE n > 5")
  assert.equal(other.rotations, 0)
  await again.stop()
  await other.stop()
})
