/**
 * Making a shape: one for all who ask, joined to the stream without a gap or a double, readable while it is being taken, and a failure that
 * is told and forgotten.
 */
import assert from "node:assert/strict"
import type { Follower } from "../support/Follower.ts"
import { scenario, type Sql } from "../support/Scenario.ts"

const get = async (url: string, query: Readonly<Record<string, string>>) => {
  const response = await fetch(`${url}/v1/shape?${new URLSearchParams(query)}`)
  return { status: response.status, headers: response.headers, body: await response.text() }
}

scenario("concurrent first requests get one shape", {
  setup:
    "CREATE TABLE items (id int PRIMARY KEY, v int); INSERT INTO items SELECT i, i % 3 FROM generate_series(1, 2000) i"
}, async ({ server }) => {
  for (const query of [{ table: "items" }, { table: "items", where: "v = 1" }, { table: "items", columns: "v,id" }]) {
    const responses = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        get(server.url, {
          ...query,
          // The same shape, asked for in another way.
          ...(i % 2 === 1 && { table: "public.items" }),
          offset: "-1"
        }))
    )
    for (const { status } of responses) assert.equal(status, 200)
    assert.equal(new Set(responses.map(({ headers }) => headers.get("electric-handle"))).size, 1)
    assert.equal(new Set(responses.map(({ body }) => body)).size, 1)
  }
})

scenario("shapes made under concurrent writers miss nothing and have nothing twice", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, grp int, n int, note text);
    INSERT INTO items SELECT i, i % 4, 0, 'note ' || i FROM generate_series(1, 3000) i;
    CREATE TABLE marker (id bigserial PRIMARY KEY)`,
  env: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "20000" },
  timeout: 120_000
}, async ({ db, follow, same }) => {
  let writing = true
  const write = async (sql: Sql, writer: number) => {
    for (let i = 0; writing; i++) {
      const id = 1 + (i * 37 + writer * 11) % 4000
      const statement = [
        `INSERT INTO items VALUES (${id}, ${i % 4}, 1, 'new') ON CONFLICT (id) DO UPDATE SET n = items.n + 1`,
        `UPDATE items SET grp = (grp + 1) % 4 WHERE id BETWEEN ${id} AND ${id + 5}`,
        `DELETE FROM items WHERE id = ${id}`,
        `UPDATE items SET n = n + 1 WHERE id % 500 = ${id % 500}`
      ][(i + writer) % 4]!
      // Transactions that are open for long are the ones that a snapshot sees half of, if it is wrong.
      await sql.exec(i % 3 === 0 ? `BEGIN; ${statement}; SELECT pg_sleep(0.02); ${statement}; COMMIT` : statement)
        .catch(() => sql.exec("ROLLBACK"))
    }
  }
  const writers = await Promise.all([db.session(), db.session(), db.session(), db.session()])
  const load = Promise.all(writers.map(write))
  const shapes: Array<readonly [Follower, string]> = []
  for (let round = 0; round < 6; round++) {
    const made: ReadonlyArray<readonly [Record<string, string>, string]> = [0, 1, 2, 3].flatMap((grp) => {
      const columns = ["id", "id,n", "id,grp", "id,note", "id,n,grp", "id,n,grp,note"][round]!
      return [
        [{ table: "items", where: `grp = ${grp}`, columns }, `SELECT ${columns} FROM items WHERE grp = ${grp}`],
        ...(grp === 0 ? [[{ table: "items", columns }, `SELECT ${columns} FROM items`] as const] : []),
        ...(grp === 1 ? [[{ table: "items", columns, replica: "full" }, `SELECT ${columns} FROM items`] as const] : [])
      ]
    })
    const followers = made.map(([params, sql]) => [follow(params).start(), sql] as const)
    shapes.push(...followers)
    await Promise.all(
      followers.map(([follower]) => follower.until(({ offset }) => offset !== "-1", "a first response"))
    )
  }
  writing = false
  await load
  const marker = follow({ table: "marker" }).start()
  await marker.until(({ upToDate }) => upToDate)
  await db.exec("INSERT INTO marker DEFAULT VALUES")
  await marker.until(({ changes }) => changes === 1)
  await marker.stop()
  const lsn = BigInt(marker.offset.split("_")[0]!)
  for (const [follower, sql] of shapes) {
    await follower.stop()
    await follower.catchUp(lsn)
    assert.equal(follower.rotations, 0)
    await same(follower.rows.values(), sql)
  }
})

scenario("a table that has REPLICA IDENTITY FULL already, and a writer open while it is published", {
  setup: `
    CREATE TABLE items (id int PRIMARY KEY, v text);
    ALTER TABLE items REPLICA IDENTITY FULL;
    INSERT INTO items VALUES (1, 'before')`
}, async ({ db, follow, followed, server }) => {
  const writer = await db.session()
  await writer.exec("BEGIN; INSERT INTO items VALUES (2, 'by the writer'); UPDATE items SET v = 'changed' WHERE id = 1")
  const follower = follow({ table: "items" }).start()
  await server.awaitLog(/waiting for 1 transaction/)
  await writer.exec("INSERT INTO items VALUES (3, 'by the writer, later'); DELETE FROM items WHERE id = 2; COMMIT")
  await followed(follower, "SELECT * FROM items")
  await db.exec("INSERT INTO items VALUES (4, 'after')")
  await followed(follower, "SELECT * FROM items")
  await follower.stop()
})

scenario("the first rows are served while the snapshot is taken; what can't be read is refused, and tried anew", {
  start: false,
  setup: `
    CREATE FUNCTION gate(id int) RETURNS bool LANGUAGE plpgsql AS $$
      BEGIN
        IF id = 10000 THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF;
        RETURN true;
      END $$;
    CREATE TABLE big (id int PRIMARY KEY, v text);
    INSERT INTO big SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i;
    CREATE TABLE small (id int PRIMARY KEY);
    INSERT INTO small VALUES (1)`
}, async ({ another, db, follow, same }) => {
  const role = `role_${db.name}`
  // Row security is what makes the query wait in the middle; it does not hold for superusers.
  await db.exec(`
    CREATE ROLE ${role} LOGIN REPLICATION PASSWORD 'secret';
    GRANT CREATE ON DATABASE ${db.name} TO ${role};
    GRANT ALL ON SCHEMA public TO ${role};
    ALTER TABLE big OWNER TO ${role};
    ALTER TABLE big ENABLE ROW LEVEL SECURITY;
    ALTER TABLE big FORCE ROW LEVEL SECURITY;
    CREATE POLICY gated ON big USING (gate(id))`)
  const server = await another({
    databaseUrl: db.urlOf(role, "secret"),
    env: { SHAPELOG_SHAPE_CHUNK_BYTES_THRESHOLD: "20000" }
  })
  await server.start()
  const holder = await db.session()
  await holder.exec("SELECT pg_advisory_lock(4711)")
  const follower = follow({ table: "big" }, server)
  for (let i = 0; i < 10; i++) await follower.step(false)
  for (;;) {
    const [waiting] = await db.query(
      `SELECT count(*) AS n FROM pg_stat_activity
       WHERE datname = current_database() AND query LIKE 'COPY%' AND wait_event = 'advisory'`
    )
    if (waiting?.n === "1") break
  }
  assert.equal(follower.offset, "0_9")
  assert.ok(follower.rows.size > 500 && follower.rows.size < 10_000)
  await holder.exec("SELECT pg_advisory_unlock(4711)")
  await follower.catchUp(0n)
  await same(follower.rows.values(), "SELECT * FROM big")

  // --- Not ours to publish ---
  const small = { table: "small", offset: "-1" }
  const refused = await get(server.url, small)
  assert.equal(refused.status, 503)
  assert.match(refused.body, /must be owner of table small/)
  assert.equal(refused.headers.get("electric-internal-known-error"), "true")
  assert.equal(refused.headers.get("retry-after"), "10")
  // --- Ours, but not to be read ---
  await db.exec(`ALTER TABLE small OWNER TO ${role}; REVOKE SELECT ON small FROM ${role}`)
  const denied = await get(server.url, small)
  assert.equal(denied.status, 503)
  assert.match(denied.body, /permission denied for table small/)
  await db.exec(`GRANT SELECT ON small TO ${role}`)
  const granted = await get(server.url, small)
  assert.equal(granted.status, 200)
  assert.match(granted.body, /"id":"1"/)

  // --- Dropped while its shape is being made ---
  await db.exec(`CREATE TABLE brief (id int PRIMARY KEY); ALTER TABLE brief OWNER TO ${role}`)
  const brief = { table: "brief", offset: "-1" }
  const dropper = await db.session()
  await dropper.exec("BEGIN; DROP TABLE brief")
  const asked = get(server.url, brief)
  for (;;) {
    const [blocked] = await db.query(
      "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    if (blocked?.n !== "0") break
  }
  await dropper.exec("COMMIT")
  const dropped = await asked
  assert.equal(dropped.status, 409)
  assert.equal(dropped.body, "[{\"headers\":{\"control\":\"must-refetch\"}}]")
  const missing = await get(server.url, brief)
  assert.equal(missing.status, 400)
  assert.match(missing.body, /does not exist/)
  await db.exec(
    `CREATE TABLE brief (id int PRIMARY KEY); ALTER TABLE brief OWNER TO ${role}; INSERT INTO brief VALUES (5)`
  )
  assert.match((await get(server.url, brief)).body, /"id":"5"/)
  await server.stop()
  await db.exec(`DROP OWNED BY ${role} CASCADE`)
  await db.exec(`DROP ROLE ${role}`)
})
