/**
 * TanStack DB's Electric collections against the real server, in each of their modes: what they hold is what `SELECT` says, what they ask
 * for goes over the wire once, and an optimistic change makes way for its transaction, not before and not after.
 */
import { and, createLiveQueryCollection, eq, gte, inArray, isNull, lt, or, type Ref } from "@tanstack/db"
import { isChangeMessage } from "@tanstack/electric-db-collection"
import assert from "node:assert/strict"
import { eventually } from "../support/Eventually.ts"
import { Gateway, type Passed } from "../support/Gateway.ts"
import { scenario } from "../support/Scenario.ts"
import { tagAwareCollection } from "../support/TagClient.ts"
import { has, makeTodos, type Todo, TODOS, type Todos } from "../support/Todos.ts"

const MODES = ["eager", "progressive", "on-demand"] as const

const MINE = "(owner = 'ann' OR owner = 'bob')"

// Without `gcTime: 0` a live query that nobody subscribes to is emptied after five seconds.
const everything = (todos: Todos) =>
  createLiveQueryCollection({ query: (query) => query.from({ todo: todos }), gcTime: 0 })

/** The five of one owner that rank highest. */
const topFive = (todos: Todos, owner: string) =>
  createLiveQueryCollection({
    query: (query) =>
      query.from({ todo: todos }).where(({ todo }) => eq(todo.owner, owner)).orderBy(({ todo }) => todo.rank, "desc")
        .limit(5),
    gcTime: 0
  })

const TOP_FIVE = `SELECT * FROM todos WHERE owner = 'ann' ORDER BY rank DESC NULLS FIRST LIMIT 5`

/** What a request asks for as a subset, however it asks; `undefined` for one of the log. */
const subsetOf = ({ body, method, url }: Passed) => {
  if (method === "POST") return { method, ...JSON.parse(body) as object }
  const fields = [...url.searchParams].filter(([name]) => name.startsWith("subset__"))
  if (fields.length === 0) return undefined
  return {
    method,
    ...Object.fromEntries(fields.map(([name, value]) => [
      name.slice("subset__".length),
      name === "subset__params" || name === "subset__limit" ? JSON.parse(value) as unknown : value
    ]))
  }
}

for (const syncMode of MODES) {
  scenario(
    `${syncMode}: rows, every kind of change, rotation, a restart and a kill`,
    { setup: TODOS },
    async ({ db, select, server }) => {
      const todos = makeTodos({ url: server.url, syncMode, where: MINE, replica: "full" })
      const all = everything(todos)
      const top = topFive(todos, "ann")
      await Promise.all([all.preload(), top.preload()])
      const now = async () => {
        await has(all, select, `SELECT * FROM todos WHERE ${MINE}`)
        await has(todos, select, `SELECT * FROM todos WHERE ${MINE}`)
        await has(top, select, TOP_FIVE, true)
      }
      await now()
      for (
        const sql of [
          "INSERT INTO todos VALUES (50, 'ann', 'é \"quoted\" \\ 日本', 100, NULL), (51, 'eve', 'not ours', 101, true)",
          "UPDATE todos SET rank = 200 WHERE id = 1",
          "UPDATE todos SET rank = NULL, done = NULL, title = '' WHERE id = 4",
          // Out of the shape, out of the query, and back.
          "UPDATE todos SET owner = NULL WHERE id = 1",
          "UPDATE todos SET owner = 'bob' WHERE id IN (7, 10)",
          "UPDATE todos SET owner = 'ann', rank = 300 + id WHERE id IN (1, 51)",
          "UPDATE todos SET id = 1000 WHERE id = 13",
          "DELETE FROM todos WHERE id IN (50, 51, 2)",
          "BEGIN; INSERT INTO todos VALUES (60, 'ann', 'a', 400, true); UPDATE todos SET title = 'b' WHERE id = 60; DELETE FROM todos WHERE id = 60; INSERT INTO todos VALUES (60, 'ann', 'c', 401, false); COMMIT",
          "BEGIN; SAVEPOINT s; DELETE FROM todos; ROLLBACK TO s; UPDATE todos SET done = true; COMMIT",
          "TRUNCATE todos; INSERT INTO todos VALUES (1, 'ann', 'new', 1, false), (2, 'bob', 'new', 2, false)",
          "INSERT INTO todos SELECT i, 'ann', 'many', i, true FROM generate_series(10, 500) i",
          "DELETE FROM todos WHERE id > 100"
        ]
      ) {
        await db.exec(sql)
        await now()
      }
      assert.equal(await server.stop(), 0)
      await db.exec("UPDATE todos SET rank = -rank WHERE id % 2 = 0; DELETE FROM todos WHERE id = 1")
      await server.start()
      await now()
      await db.exec("INSERT INTO todos VALUES (7000, 'ann', 'before', 900, true)")
      await now()
      await server.kill()
      await db.exec("UPDATE todos SET title = 'after' WHERE id = 7000")
      await server.start()
      await now()
      for (const each of [all, top, todos]) await each.cleanup()
    }
  )
}

/** A live query of the todos that the predicate picks. */
const liveQuery = (todos: Todos, where: (todo: Ref<Todo>) => Parameters<typeof and>[0]) =>
  createLiveQueryCollection({
    query: (query) => query.from({ todo: todos }).where(({ todo }) => where(todo as Ref<Todo>)),
    gcTime: 0
  })

scenario("on-demand: what live queries ask for goes over the wire, once, and the rows are right", {
  setup: TODOS
}, async ({ db, select, server }) => {
  const gateway = await Gateway.open(server.url)
  try {
    for (const [round, method] of (["POST", "GET"] as const).entries()) {
      const todos = makeTodos({ url: gateway.url, syncMode: "on-demand", subsetMethod: method, replica: "full" })
      let steps = 0
      /** What is asked for during the step, which begins when the stream has just moved on and is up to date. */
      const asks = async (step: () => Promise<void>, expected: ReadonlyArray<object>) => {
        const marker = 1000 * (round + 1) + steps++
        await db.exec(`INSERT INTO todos VALUES (${marker}, 'eve', 'a step', 0)`)
        // Without subscribers to it the stream has yet to begin.
        if (steps > 1) await eventually(() => todos.has(marker) ? undefined : "the marker has not come")
        const from = gateway.requests.length
        await step()
        const asked = gateway.requests.slice(from).map(subsetOf).filter((subset) => subset !== undefined)
        assert.deepEqual(asked, expected.map((subset) => ({ method, ...subset })))
      }

      const ann = liveQuery(todos, ({ owner }) => eq(owner, "ann"))
      await asks(async () => {
        await ann.preload()
        await has(ann, select, "SELECT * FROM todos WHERE owner = 'ann'")
      }, [{ where: "\"owner\" = $1", params: { 1: "ann" } }])

      const same = liveQuery(todos, ({ owner }) => eq(owner, "ann"))
      await asks(async () => {
        await same.preload()
        await has(same, select, "SELECT * FROM todos WHERE owner = 'ann'")
      }, [])

      const some = liveQuery(todos, ({ id, owner }) => or(inArray(id, [3, 6, 9]), isNull(owner)))
      await asks(async () => {
        await some.preload()
        await has(some, select, "SELECT * FROM todos WHERE id IN (3, 6, 9) OR owner IS NULL")
      }, [{ where: "\"id\" = ANY($1) OR \"owner\" IS NULL", params: { 1: "{3,6,9}" } }])

      // --- The first of an order, with those that rank like the last of them; then the next ---
      const ofBob = "SELECT * FROM todos WHERE owner = 'bob' ORDER BY rank DESC NULLS FIRST"
      const top = topFive(todos, "bob")
      const [fifth, eighth] = (await select(`${ofBob} LIMIT 4 OFFSET 4`)).filter((_, i) => i % 3 === 0).map((
        { rank }
      ) => rank)
      const ordered = { order_by: "\"rank\" DESC NULLS FIRST" }
      const ties = (rank: string | null | undefined) => ({
        where: "\"owner\" = $1 AND \"rank\" = $2",
        params: { 1: "bob", 2: rank }
      })
      await asks(async () => {
        await top.preload()
        await has(top, select, `${ofBob} LIMIT 5`, true)
      }, [{ where: "\"owner\" = $1", params: { 1: "bob" }, limit: 5, ...ordered }, ties(fifth)])
      await asks(async () => {
        await top.utils.setWindow({ offset: 3, limit: 5 })
        await has(top, select, `${ofBob} LIMIT 5 OFFSET 3`, true)
      }, [
        { ...ties(fifth), ...ordered },
        { where: "\"owner\" = $1 AND \"rank\" < $2", params: { 1: "bob", 2: fifth }, limit: 3, ...ordered },
        ties(eighth)
      ])

      // --- What leaves the window is made up for with rows that had not been asked for ---
      const from = gateway.requests.length
      await db.exec(`DELETE FROM todos WHERE owner = 'bob' AND rank >= ${fifth}`)
      await has(top, select, `${ofBob} LIMIT 5 OFFSET 3`, true)
      assert.ok(gateway.requests.slice(from).some((request) => subsetOf(request) !== undefined))
      // Into the window come rows that nobody had asked for, and leave it again.
      for (const owner of ["bob", "eve"]) {
        await db.exec(`UPDATE todos SET owner = '${owner}', rank = rank + 50 WHERE id IN (15, 18, 21)`)
        await has(top, select, `${ofBob} LIMIT 5 OFFSET 3`, true)
        await has(some, select, "SELECT * FROM todos WHERE id IN (3, 6, 9) OR owner IS NULL")
      }
      for (const each of [ann, same, some, top, todos]) await each.cleanup()
      await db.exec(`TRUNCATE todos; ${TODOS.slice(TODOS.indexOf("INSERT"))}`)
    }
  } finally {
    await gateway.close()
  }
})

scenario("progressive: a query has its rows before the collection has all, and keeps them when it has", {
  setup: TODOS
}, async ({ db, select, server }) => {
  // The log waits, subsets do not.
  let open = () => undefined as void
  const gate = new Promise<void>((resolve) => (open = resolve))
  const todos = makeTodos({
    url: server.url,
    syncMode: "progressive",
    fetchClient: async (input, init) => {
      const url = new URL(String(input instanceof Request ? input.url : input))
      if (![...url.searchParams.keys()].some((name) => name.startsWith("subset__"))) await gate
      return fetch(input, init)
    }
  })
  const ann = liveQuery(todos, ({ owner }) => eq(owner, "ann"))
  const gone: Array<unknown> = []
  // Its preload would wait for the whole collection.
  ann.startSyncImmediate()
  await has(ann, select, "SELECT * FROM todos WHERE owner = 'ann'")
  await has(todos, select, "SELECT * FROM todos WHERE owner = 'ann'")
  // Deletions of rows that a subscription has not been told of are not told either.
  const subscription = ann.subscribeChanges((changes) => {
    for (const { key, type } of changes) if (type === "delete") gone.push(key)
  }, { includeInitialState: true })
  await db.exec("UPDATE todos SET title = 'meanwhile' WHERE id IN (1, 2, 4); DELETE FROM todos WHERE id = 7")
  open()
  await has(todos, select, "SELECT * FROM todos")
  await has(ann, select, "SELECT * FROM todos WHERE owner = 'ann'")
  await db.exec("INSERT INTO todos VALUES (100, 'ann', 'later'), (101, 'bob', 'later')")
  await has(todos, select, "SELECT * FROM todos")
  await has(ann, select, "SELECT * FROM todos WHERE owner = 'ann'")
  assert.deepEqual(gone, [7])
  subscription.unsubscribe()
  for (const each of [ann, todos]) await each.cleanup()
})

/** Titles are written in capitals, whatever was sent: what the database makes of a change can be told from the change. */
const SHOUTED = `${TODOS};
  UPDATE todos SET title = upper(title);
  CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.title := upper(NEW.title); RETURN NEW; END $$;
  CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON todos FOR EACH ROW EXECUTE FUNCTION shout()`

for (const syncMode of MODES) {
  scenario(`${syncMode}: optimistic changes make way for their transaction`, { setup: SHOUTED }, async (scenario) => {
    const { db, select, server } = scenario
    const writer = await db.session()
    const todos = makeTodos({ url: server.url, syncMode, where: MINE, db: writer })
    const all = everything(todos)
    await all.preload()
    const settled = () => has(all, select, `SELECT * FROM todos WHERE ${MINE}`)
    await settled()
    /** What was to be seen of a row, one after another; `undefined` when it was not there. */
    const shown: Array<string | undefined> = []
    let watched = 0
    const subscription = all.subscribeChanges((changes) => {
      for (const { key, type, value } of changes) {
        const title = type === "delete" ? undefined : value.title
        if (key === watched && shown.at(-1) !== title) shown.push(title)
      }
    })
    const watch = (id: number) => {
      watched = id
      shown.length = 0
    }
    const make = (id: number, title: string, owner = "ann"): Todo => ({ id, owner, title, rank: 1, done: false })
    const isOptimistic = (id: number) => all.get(id)?.$synced === false

    // --- Each kind of change ---
    watch(100)
    const inserted = todos.insert(make(100, "draft"))
    assert.equal(all.get(100)?.title, "draft")
    assert.ok(isOptimistic(100))
    await inserted.isPersisted.promise
    assert.equal(all.get(100)?.title, "DRAFT")
    assert.ok(!isOptimistic(100))
    const updated = todos.update(100, (draft) => {
      draft.title = "better"
    })
    assert.equal(all.get(100)?.title, "better")
    await updated.isPersisted.promise
    assert.equal(all.get(100)?.title, "BETTER")
    const deleted = todos.delete(100)
    assert.ok(!all.has(100))
    await deleted.isPersisted.promise
    assert.ok(!all.has(100))
    assert.deepEqual(shown, ["draft", "DRAFT", "better", "BETTER", undefined])
    await settled()

    // --- A transaction that is still open: others' transactions come, one's own change stays as it is until it is committed ---
    watch(101)
    await writer.exec("BEGIN; SAVEPOINT one")
    const held = todos.insert(make(101, "held"))
    await eventually(async () => {
      const [row] = await db.query("SELECT count(*) FROM pg_locks WHERE pid = $1 AND locktype = 'transactionid'", [
        writer.pid
      ])
      return row?.count === "0" ? "nothing is written" : undefined
    })
    for (const id of [102, 103]) {
      const [row] = await db.query(
        `INSERT INTO todos VALUES (${id}, 'bob', 'by another') RETURNING pg_current_xact_id()::xid::text AS txid`
      )
      assert.equal(await todos.utils.awaitTxId(Number(row?.txid), 15_000), true)
      assert.ok(isOptimistic(101))
      assert.equal(all.get(101)?.title, "held")
      assert.equal(held.state, "persisting")
    }
    await writer.exec("COMMIT")
    await held.isPersisted.promise
    assert.deepEqual(shown, ["held", "HELD"])
    await settled()

    // --- A change that Postgres refuses is taken back ---
    await db.exec("INSERT INTO todos VALUES (104, 'eve', 'not ours')")
    watch(104)
    await assert.rejects(todos.insert(make(104, "ours")).isPersisted.promise, /duplicate key/)
    assert.deepEqual(shown, ["ours", undefined])
    watch(1)
    await db.exec("ALTER TABLE todos ADD CHECK (rank < 1000)")
    const refused = todos.update(1, (draft) => {
      draft.title = "too high"
      draft.rank = 1000
    })
    await assert.rejects(refused.isPersisted.promise, /check constraint/)
    assert.deepEqual(shown, ["too high", "TITLE 1"])
    await settled()

    // --- Waiting for a transaction by its number, and for a message ---
    const [one] = await db.query(
      "UPDATE todos SET title = 'by number' WHERE id = 4 RETURNING pg_current_xact_id()::xid::text AS txid"
    )
    assert.equal(await todos.utils.awaitTxId(Number(one?.txid), 20_000), true)
    assert.equal(all.get(4)?.title, "BY NUMBER")
    await assert.rejects(todos.utils.awaitTxId(Number(one?.txid) + 100_000, 300), {
      name: "TimeoutWaitingForTxIdError"
    })
    const matched = todos.utils.awaitMatch(
      (message) => isChangeMessage(message) && message.headers.operation === "update" && message.value.id === 5,
      20_000
    )
    await db.exec("UPDATE todos SET title = 'matched' WHERE id = 5")
    assert.equal(await matched, true)
    assert.equal(all.get(5)?.title, "MATCHED")
    await assert.rejects(todos.utils.awaitMatch(() => false, 300), { name: "TimeoutWaitingForMatchError" })

    // --- Moving out of the shape is a change of its transaction too ---
    const [moved] = await db.query(
      "UPDATE todos SET owner = 'eve' WHERE id = 4 RETURNING pg_current_xact_id()::xid::text AS txid"
    )
    assert.equal(await todos.utils.awaitTxId(Number(moved?.txid), 20_000), true)
    assert.ok(!all.has(4))
    await settled()
    subscription.unsubscribe()
    for (const each of [all, todos]) await each.cleanup()
  })
}

// Not in progressive mode, which drops the snapshot's end along with what it holds back.
for (const syncMode of ["eager", "on-demand"] as const) {
  scenario(`${syncMode}: a snapshot tells which transactions it has`, { setup: TODOS }, async ({ db, server }) => {
    const txidOf = async (of: typeof db | Awaited<ReturnType<typeof db.session>>, sql: string) =>
      Number((await of.query(`${sql} RETURNING pg_current_xact_id()::xid::text AS txid`))[0]?.txid)
    // The first shape of a table alters it, for which an open transaction would be in the way.
    await (await fetch(`${server.url}/v1/shape?table=todos&where=id=0&offset=-1`)).text()
    const open = await db.session()
    await open.exec("BEGIN")
    const pending = await txidOf(open, "INSERT INTO todos VALUES (200, 'ann', 'pending')")
    const before = await txidOf(db, "UPDATE todos SET title = 'before' WHERE id = 1")
    const todos = makeTodos({ url: server.url, syncMode })
    const ann = liveQuery(todos, ({ owner }) => eq(owner, "ann"))
    await ann.preload()
    assert.equal(await todos.utils.awaitTxId(before, 20_000), true)
    assert.equal(todos.get(1)?.title, "before")
    // It began before the other but was not to be seen in the snapshot.
    await assert.rejects(todos.utils.awaitTxId(pending, 300), { name: "TimeoutWaitingForTxIdError" })
    assert.ok(!todos.has(200))
    const arrival = todos.utils.awaitTxId(pending, 20_000)
    await open.exec("COMMIT")
    assert.equal(await arrival, true)
    assert.equal(ann.get(200)?.title, "pending")
    for (const each of [ann, todos]) await each.cleanup()
  })
}

/** The same numbers from 0 up to a bound for the same seed. */
const numbers = (seed: number) => {
  let state = seed
  return (bound: number): number => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9 | 0
    return ((state ^ (state >>> 13)) >>> 0) % bound
  }
}

const fourWriters = (name: string, kills: number, seed: number) =>
  scenario(name, {
    setup: TODOS,
    timeout: 120_000
  }, async ({ db, select, server }) => {
    const WRITERS = 4
    const TRANSACTIONS = 80
    const owners = ["'ann'", "'bob'", "'eve'", "NULL"]
    /** One row after another in the order of their keys, so that no two writers wait for each other. */
    const transaction = (next: (bound: number) => number): string => {
      const ids = Array.from({ length: 1 + next(4) }, () => 1 + next(60)).sort((a, b) => a - b)
      const statements = ids.map((id) => {
        const owner = owners[next(owners.length)]
        const rank = next(10) === 0 ? "NULL" : next(41)
        return [
          `INSERT INTO todos VALUES (${id}, ${owner}, 'new', ${rank}) ON CONFLICT (id) DO UPDATE SET title = 'kept'`,
          `UPDATE todos SET owner = ${owner} WHERE id = ${id}`,
          `UPDATE todos SET rank = ${rank}, done = NOT done WHERE id = ${id}`,
          `UPDATE todos SET title = title || '.' WHERE id = ${id}`,
          `DELETE FROM todos WHERE id = ${id}`
        ][next(5)]
      })
      return `BEGIN; ${statements.join("; ")}; ${next(8) === 0 ? "ROLLBACK" : "COMMIT"}`
    }
    const make = (syncMode: (typeof MODES)[number], replica?: "full") =>
      makeTodos({ url: server.url, syncMode, where: MINE, replica })
    const early = MODES.map((mode) => make(mode))
    const late = MODES.map((mode) => make(mode))
    const tagged = tagAwareCollection(server.url, "todos", MINE)
    const parts = make("on-demand", "full")
    const queries = [...early.map(everything)]
    const ranges: Array<readonly [ReturnType<typeof liveQuery>, string]> = []
    /** Steps between the writers' transactions: what is begun meanwhile. */
    const meanwhile: ReadonlyArray<() => void> = [
      ...late.map((todos) => () => queries.push(everything(todos))),
      ...[0, 10, 20, 30].map((from) => () => {
        ranges.push([
          liveQuery(parts, ({ rank }) => and(gte(rank, from), lt(rank, from + 15))),
          `SELECT * FROM todos WHERE ${MINE} AND rank >= ${from} AND rank < ${from + 15}`
        ])
        ranges.at(-1)![0].startSyncImmediate()
      })
    ]
    await Promise.all(queries.map((query) => query.preload()))
    let done = 0
    let killing = Promise.resolve()
    await Promise.all(Array.from({ length: WRITERS }, async (_, writer) => {
      const session = await db.session()
      const next = numbers(seed + writer)
      for (let i = 0; i < TRANSACTIONS; i++) {
        await session.exec(transaction(next))
        const step = ++done
        if (step % 100 === 50 && step < 100 * kills) {
          killing = killing.then(async () => {
            await server.kill()
            await server.start()
          })
        }
        if (step % 40 === 20) {
          meanwhile[(step - 20) / 40]?.()
          for (const query of queries) query.startSyncImmediate()
        }
      }
      await session.close()
    }))
    await killing
    assert.equal(done, WRITERS * TRANSACTIONS)
    assert.equal(ranges.length, 4)
    assert.equal(queries.length, 6)
    await tagged.until(await select(`SELECT * FROM todos WHERE ${MINE}`))
    for (const query of queries) await has(query, select, `SELECT * FROM todos WHERE ${MINE}`)
    for (const todos of [...early, ...late]) await has(todos, select, `SELECT * FROM todos WHERE ${MINE}`)
    for (const [range, sql] of ranges) await has(range, select, sql)
    // Rotation while all of it is open.
    await db.exec("TRUNCATE todos; INSERT INTO todos SELECT i, 'ann', 'new', i, true FROM generate_series(1, 30) i")
    await tagged.until(await select(`SELECT * FROM todos WHERE ${MINE}`))
    for (const query of queries) await has(query, select, `SELECT * FROM todos WHERE ${MINE}`)
    for (const [range, sql] of ranges) await has(range, select, sql)
    await tagged.close()
    for (const each of [...queries, ...ranges.map(([range]) => range), ...early, ...late, parts]) await each.cleanup()
  })

fourWriters("four writers: collections of every mode, begun while they write, end with what the table holds", 0, 1)
fourWriters("four writers: so they do when the server is killed meanwhile", 3, 100)
