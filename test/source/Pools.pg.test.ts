import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import * as path from "node:path"
import pg from "pg"
import { Database } from "../../src/source/Database.ts"
import * as EmbeddedPostgres from "../../src/source/EmbeddedPostgres.ts"
import * as Pools from "../../src/source/Pools.ts"
import * as Postgres from "../support/Postgres.ts"

const withDatabase = <A, E>(
  test: (database: Database["Type"], db: Postgres.TestDatabase) => Effect.Effect<A, E>,
  options?: Partial<Pools.PoolsOptions>
) =>
  Effect.gen(function*() {
    const db = yield* Postgres.makeDatabase
    return yield* Effect.flatMap(Database, (database) => test(database, db)).pipe(
      Effect.provide(Postgres.poolsOf(db, options))
    )
  })

const display =
  `SELECT true AS bool, '2024-02-01 10:00+02'::timestamptz AS at, '1 day 02:00'::interval AS span, '\\x00ff'::bytea AS bytes,
  0.1::float8 + 0.2::float8 AS float, 9007199254740993 AS int8, ARRAY[1, 2] AS ints, '{"a": 1}'::json AS json`

const shown = {
  bool: "t",
  at: "2024-02-01 08:00:00+00",
  span: "P1DT2H",
  bytes: "\\x00ff",
  float: "0.30000000000000004",
  int8: "9007199254740993",
  ints: "{1,2}",
  json: "{\"a\": 1}"
}

describe("Pools", () => {
  it.scopedLive("give every new session the display settings before its first use, whatever the database's defaults are", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      yield* db.exec(
        `ALTER DATABASE ${db.name} SET DateStyle = 'German'; ALTER DATABASE ${db.name} SET TimeZone = 'Asia/Tokyo';
         ALTER DATABASE ${db.name} SET bytea_output = 'escape'; ALTER DATABASE ${db.name} SET IntervalStyle = 'sql_standard';
         ALTER DATABASE ${db.name} SET extra_float_digits = -5`
      )
      yield* Effect.gen(function*() {
        const database = yield* Database
        const admin = Effect.map(database.admin.unsafe(display), ([row]) => row)
        const snapshots = Effect.promise(() => database.snapshots.query(display).then(({ rows }) => rows[0]))
        const rows = yield* Effect.all([
          ...Array.from({ length: 6 }, () => admin),
          ...Array.from({ length: 12 }, () => snapshots)
        ], {
          concurrency: "unbounded"
        })
        for (const row of rows) assert.deepStrictEqual({ ...row }, shown)
      }).pipe(Effect.provide(Postgres.poolsOf(db)))
    }))

  it.scopedLive("are as large as they shall be, together", () => {
    assert.deepStrictEqual([2, 3, 4, 8, 16, 20, 100].map(Pools.poolSizes), [
      { admin: 1, snapshots: 1 },
      { admin: 1, snapshots: 2 },
      { admin: 1, snapshots: 3 },
      { admin: 2, snapshots: 6 },
      { admin: 4, snapshots: 12 },
      { admin: 4, snapshots: 16 },
      { admin: 4, snapshots: 96 }
    ])
    return withDatabase((database, db) =>
      Effect.gen(function*() {
        assert.strictEqual(database.snapshots.options.max, 3)
        assert.strictEqual(database.names.publication, `shapelog_publication_${db.name}`)
        assert.strictEqual(database.names.slot, `shapelog_slot_${db.name}`)
        const [row] = yield* database.admin.unsafe("SHOW application_name")
        assert.deepStrictEqual(row, { application_name: "shapelog" })
        const [version] = yield* db.query("SHOW server_version_num")
        assert.strictEqual(yield* database.serverVersion, Number(version?.server_version_num))
      }), { poolSize: 4 })
  })

  it.scopedLive("tell how to open a further connection, without showing the password", () =>
    withDatabase((database, db) =>
      Effect.gen(function*() {
        const config = yield* database.clientConfig
        const password = decodeURIComponent(new URL(db.url).password)
        if (password !== "") {
          assert.notInclude(JSON.stringify(config), password)
          const { inspect } = yield* Effect.promise(() => import("node:util"))
          assert.notInclude(inspect([config, database.snapshots], { depth: 6, showHidden: false }), password)
        }
        const client = new pg.Client(config)
        yield* Effect.promise(() => client.connect())
        const { rows } = yield* Effect.promise(() => client.query("SELECT current_database() AS name, 1 AS n"))
        assert.deepStrictEqual(rows, [{ name: db.name, n: "1" }])
        yield* Effect.promise(() => client.end())
      })
    ))

  it.scopedLive("keep going when a connection is cut", () =>
    withDatabase((database, db) =>
      Effect.gen(function*() {
        yield* database.admin.unsafe("SELECT 1")
        yield* Effect.promise(() => database.snapshots.query("SELECT 1"))
        yield* db.query(
          "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'shapelog' AND datname = $1",
          [db.name]
        )
        yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 50)))
        assert.deepStrictEqual(yield* database.admin.unsafe("SELECT 1 AS a"), [{ a: "1" }])
        assert.deepStrictEqual((yield* Effect.promise(() => database.snapshots.query("SELECT 1 AS a"))).rows, [{
          a: "1"
        }])
      })
    ))

  it.scopedLive("are there while the database is not: what needs it fails, and works once it is back", () =>
    Effect.gen(function*() {
      const db = yield* Postgres.makeDatabase
      const closed = yield* Effect.promise(() =>
        new Promise<number>((resolve) => {
          const probe = createServer()
          probe.listen(0, "127.0.0.1", () => {
            const address = probe.address()
            probe.close(() => resolve(address !== null && typeof address === "object" ? address.port : 0))
          })
        })
      )
      const away = new URL(db.url)
      away.port = String(closed)
      yield* Effect.gen(function*() {
        const database = yield* Database
        const error = yield* Effect.flip(database.serverVersion)
        assert.strictEqual(error._tag, "DatabaseUnavailable")
        assert.include(error.message, "ECONNREFUSED")
        assert.strictEqual((yield* Effect.flip(database.clientConfig))._tag, "DatabaseUnavailable")
        // Something that forwards to the database appears at the address.
        const target = new URL(db.url)
        const forward = createServer((socket) => {
          import("node:net").then(({ connect }) => {
            const other = connect(Number(target.port), target.hostname)
            socket.on("error", () => other.destroy()).pipe(other)
            other.on("error", () => socket.destroy()).pipe(socket)
          })
        })
        yield* Effect.acquireRelease(
          Effect.promise(() => new Promise<void>((resolve) => forward.listen(closed, "127.0.0.1", resolve))),
          () => Effect.sync(() => forward.close())
        )
        assert.isAbove(yield* database.serverVersion, 140000)
      }).pipe(Effect.provide(Pools.layer({ url: Redacted.make(away.toString()), streamId: "away" })))
    }))

  it.effect("refuse options that can never work, and don't repeat the password", () =>
    Effect.gen(function*() {
      const build = (options: Pools.PoolsOptions) => Effect.flip(Effect.scoped(Layer.build(Pools.layer(options))))
      const uri = yield* build({ url: Redacted.make("mysql://u:sesame@h"), streamId: "default" })
      assert.include(String(uri), "DATABASE_URL")
      assert.notInclude(String(uri), "sesame")
      const id = yield* build({ url: Redacted.make("postgresql://u@h"), streamId: "no-good" })
      assert.include(String(id), "SHAPELOG_REPLICATION_STREAM_ID")
    }))

  describe("TLS", () => {
    const withSslMode = (url: string, mode: string | undefined) => {
      const changed = new URL(url)
      changed.searchParams.delete("sslmode")
      if (mode !== undefined) changed.searchParams.set("sslmode", mode)
      return Redacted.make(changed.toString())
    }
    const encrypted = Effect.flatMap(
      Database,
      (database) =>
        database.admin.unsafe<{ ssl: string }>("SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()").pipe(
          Effect.map(([row]) => row?.ssl),
          Effect.zip(Effect.map(database.clientConfig, (config) => config.ssl !== false))
        )
    )

    it.scopedLive("is not used where the server has none, unless it is required", () =>
      Effect.gen(function*() {
        const db = yield* Postgres.makeDatabase
        const [row] = yield* db.query("SHOW ssl")
        if (row?.ssl !== "off") return
        for (const mode of [undefined, "allow", "prefer", "disable"]) {
          const result = yield* encrypted.pipe(
            Effect.provide(Pools.layer({ url: withSslMode(db.url, mode), streamId: "tls" }))
          )
          assert.deepStrictEqual(result, ["false", false], mode)
        }
        const many = yield* Effect.flatMap(Database, (database) =>
          Effect.all(
            Array.from({ length: 20 }, () => database.admin.unsafe("SELECT 1 AS a")),
            { concurrency: "unbounded" }
          )).pipe(
            Effect.provide(Pools.layer({ url: withSslMode(db.url, undefined), streamId: "tls" }))
          )
        assert.strictEqual(many.length, 20)
        const error = yield* Effect.flip(
          encrypted.pipe(Effect.provide(Pools.layer({ url: withSslMode(db.url, "require"), streamId: "tls" })))
        )
        assert.include(String("cause" in error ? error.cause : error), "does not support SSL")
      }))

    it.scopedLive("is used where the server has it, unless it is disabled", () =>
      Effect.gen(function*() {
        const base = yield* Effect.acquireRelease(
          Effect.promise(async () => {
            const directory = await fs.mkdtemp(path.join(tmpdir(), "shapelog-tls-"))
            await fs.chmod(directory, 0o755)
            return directory
          }),
          (directory) => Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))
        )
        const files = { key: path.join(base, "key.pem"), cert: path.join(base, "cert.pem") }
        try {
          execFileSync("openssl", [
            ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"],
            ...["-keyout", files.key, "-out", files.cert]
          ], { stdio: "ignore" })
        } catch {
          return yield* Effect.logWarning("no openssl to make a certificate with: not tested")
        }
        const directory = path.join(base, "postgres")
        // Once without, to learn which account it runs as: the key has to be that one's.
        const { dataDirectory } = yield* Effect.scoped(
          EmbeddedPostgres.start({ directory, settings: { fsync: "off" } })
        )
        const owner = yield* Effect.promise(() => fs.stat(dataDirectory))
        yield* Effect.promise(() => fs.chmod(files.key, 0o600))
        if (process.getuid?.() === 0) yield* Effect.promise(() => fs.chown(files.key, owner.uid, owner.gid))
        const server = yield* EmbeddedPostgres.start({
          directory,
          settings: { fsync: "off", ssl: "on", ssl_cert_file: files.cert, ssl_key_file: files.key }
        })
        for (
          const [mode, expected] of [[undefined, true], ["prefer", true], ["require", true], [
            "disable",
            false
          ]] as const
        ) {
          const result = yield* encrypted.pipe(
            Effect.provide(Pools.layer({ url: withSslMode(Redacted.value(server.url), mode), streamId: "tls" }))
          )
          assert.deepStrictEqual(result, [String(expected), expected], mode)
        }
      }))
  })
})
