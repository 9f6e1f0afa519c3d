import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted, Scope } from "effect"
import { execFileSync, spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"
import pg from "pg"
import * as Demo from "../../src/source/Demo.ts"
import * as Binaries from "../../src/source/EmbeddedBinaries.ts"
import * as EmbeddedPostgres from "../../src/source/EmbeddedPostgres.ts"

const isRoot = process.getuid?.() === 0

const temporary = Effect.acquireRelease(
  Effect.promise(async () => {
    const directory = await fs.mkdtemp(path.join(tmpdir(), "shapelog-embedded-"))
    await fs.chmod(directory, 0o755)
    return directory
  }),
  (directory) =>
    Effect.promise(async () => {
      await fs.chmod(directory, 0o755)
      await fs.rm(directory, { recursive: true, force: true })
    })
)

const start = (directory: string, more: Partial<EmbeddedPostgres.EmbeddedOptions> = {}) =>
  EmbeddedPostgres.start({ directory, settings: { fsync: "off" }, ...more })

const query = (url: Redacted.Redacted, sql: string) =>
  Effect.promise(async () => {
    const client = new pg.Client({ connectionString: Redacted.value(url) })
    client.on("error", () => undefined)
    await client.connect()
    try {
      const result = await client.query<Record<string, unknown>>(sql)
      return result.rows
    } finally {
      await client.end()
    }
  })

const alive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return execFileSync("ps", ["-o", "stat=", "-p", String(pid)]).toString().trim()[0] !== "Z"
  } catch {
    return false
  }
}

const uidOf = (pid: number) => Number(execFileSync("ps", ["-o", "uid=", "-p", String(pid)]).toString())

/** A process that starts the server, prints its URL, and stays until it is told to end. */
const otherProcess = (directory: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const module = path.resolve("src/source/EmbeddedPostgres.ts")
      const child = spawn(process.execPath, [
        "--import",
        "tsx",
        "--input-type=module",
        "-e",
        `import { Effect, Redacted } from "effect"
         import * as EmbeddedPostgres from ${JSON.stringify(module)}
         import { NodeRuntime } from "@effect/platform-node"
         NodeRuntime.runMain(Effect.scoped(Effect.flatMap(
           EmbeddedPostgres.start({ directory: ${JSON.stringify(directory)} }),
           (server) => {
             process.stdout.write(server.pid + " " + Redacted.value(server.url) + "\\n")
             process.on("message", () => process.exit(0))
             return Effect.never
           }
         )))`
      ], { stdio: ["ignore", "pipe", "inherit", "ipc"], detached: true })
      const line = await new Promise<string>((resolve, reject) => {
        child.stdout?.once("data", (chunk: Buffer) => resolve(chunk.toString()))
        child.once("exit", (code) => reject(new Error(`ended with ${code}`)))
      })
      const [pid, url] = line.trim().split(" ")
      const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()))
      return { child, exited, serverPid: Number(pid), url: Redacted.make(url ?? "") }
    }),
    ({ child, exited }) =>
      Effect.promise(async () => {
        child.kill("SIGKILL")
        await exited
      })
  )

const gone = (pid: number) =>
  Effect.promise(async () => {
    for (let i = 0; i < 400 && alive(pid); i++) await new Promise((resolve) => setTimeout(resolve, 25))
    return !alive(pid)
  })

describe("EmbeddedPostgres", () => {
  it.scopedLive("is a server with logical replication on the loopback interface, whose password only we can read", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "deep", "postgres")
      const server = yield* start(directory)
      const [row] = yield* query(
        server.url,
        `SELECT current_setting('wal_level') AS wal, current_setting('listen_addresses') AS listen,
           current_setting('max_replication_slots')::int >= 20 AND current_setting('max_wal_senders')::int >= 20 AS slots,
           current_setting('unix_socket_directories') AS sockets`
      )
      assert.deepStrictEqual(row, { wal: "logical", listen: "127.0.0.1", slots: true, sockets: "" })
      const stat = yield* Effect.promise(() => fs.stat(`${directory}.password`))
      assert.strictEqual(stat.mode & 0o777, 0o600)
      assert.isFalse(String(server.url).includes("postgresql://"))
      const wrong = server.url.pipe(Redacted.value).replace(/postgres:[^@]*@/, "postgres:wrong@")
      const refused = yield* Effect.exit(query(Redacted.make(wrong), "SELECT 1"))
      assert.isTrue(Exit.isFailure(refused))
    }))

  it.scopedLive.skipIf(!isRoot)("runs as an unprivileged user when we are root", () =>
    Effect.gen(function*() {
      const server = yield* start(path.join(yield* temporary, "postgres"))
      assert.notStrictEqual(uidOf(server.pid), 0)
      assert.strictEqual((yield* Effect.promise(() => fs.stat(server.dataDirectory))).uid, uidOf(server.pid))
    }))

  it.scopedLive.skipIf(!isRoot)(
    "stays with the account that owns the data, and takes the data back from root",
    () =>
      Effect.gen(function*() {
        const directory = path.join(yield* temporary, "postgres")
        yield* Effect.scoped(start(directory))
        const own = (spec: string) => execFileSync("chown", ["-R", spec, directory])
        // An account that this system has no name for.
        own("54321:54321")
        yield* Effect.scoped(Effect.map(start(directory), ({ pid }) => assert.strictEqual(uidOf(pid), 54321)))
        own("0:0")
        const server = yield* start(directory)
        assert.notInclude([0, 54321], uidOf(server.pid))
        assert.deepStrictEqual(yield* query(server.url, "SELECT 1 AS a"), [{ a: 1 }])
      })
  )

  it.scopedLive("keeps its data and its password over a restart, and stops within seconds though a session is open", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      const scope = yield* Scope.make()
      const first = yield* Scope.extend(start(directory), scope)
      yield* query(first.url, "CREATE TABLE t AS SELECT 1 AS a")
      const idle = new pg.Client({ connectionString: Redacted.value(first.url) })
      idle.on("error", () => undefined)
      yield* Effect.promise(() => idle.connect())
      const before = Date.now()
      yield* Scope.close(scope, Exit.void)
      assert.isBelow(Date.now() - before, 4000)
      assert.isFalse(alive(first.pid))
      assert.isFalse(yield* Binaries.exists(`${directory}.owner`))

      const second = yield* start(directory, { port: first.port })
      assert.strictEqual(Redacted.value(second.url), Redacted.value(first.url))
      assert.deepStrictEqual(yield* query(second.url, "SELECT a FROM t"), [{ a: 1 }])
    }))

  it.scopedLive("sets a new password when the file is gone", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      const first = yield* Effect.scoped(start(directory))
      yield* Effect.promise(() => fs.rm(`${directory}.password`))
      const second = yield* start(directory, { port: first.port })
      assert.notStrictEqual(Redacted.value(second.url), Redacted.value(first.url))
      assert.deepStrictEqual(yield* query(second.url, "SELECT 1 AS a"), [{ a: 1 }])
    }))

  it.scopedLive("starts after the server was killed, and tells the owner of the old one", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      const scope = yield* Scope.make()
      const first = yield* Scope.extend(start(directory, { settings: {} }), scope)
      yield* query(first.url, "CREATE TABLE t AS SELECT 1 AS a")
      process.kill(first.pid, "SIGKILL")
      const died = yield* Effect.flip(first.died)
      assert.strictEqual(died.reason, "died")
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(yield* Binaries.exists(path.join(directory, "postmaster.pid")))
      const second = yield* start(directory)
      assert.deepStrictEqual(yield* query(second.url, "SELECT a FROM t"), [{ a: 1 }])
    }))

  it.scopedLive("takes the data over from an owner that was killed, and stops its server", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      const other = yield* otherProcess(directory)
      yield* query(other.url, "CREATE TABLE t AS SELECT 1 AS a")

      // While the owner lives, its server is left alone.
      const refused = yield* Effect.flip(start(directory))
      assert.strictEqual(refused.reason, "in_use")
      assert.include(refused.message, String(other.child.pid))
      assert.isTrue(alive(other.serverPid))

      other.child.kill("SIGKILL")
      yield* Effect.promise(() => other.exited)
      assert.isTrue(alive(other.serverPid))
      const server = yield* start(directory)
      assert.isFalse(alive(other.serverPid))
      assert.deepStrictEqual(yield* query(server.url, "SELECT a FROM t"), [{ a: 1 }])
    }))

  it.scopedLive("can be removed, with a server that is left on it, but not from under a living owner", () =>
    Effect.gen(function*() {
      const base = yield* temporary
      const directory = path.join(base, "postgres")
      const other = yield* otherProcess(directory)
      assert.strictEqual((yield* Effect.flip(EmbeddedPostgres.remove(directory))).reason, "in_use")
      other.child.kill("SIGKILL")
      yield* Effect.promise(() => other.exited)
      yield* EmbeddedPostgres.remove(directory)
      assert.isFalse(alive(other.serverPid))
      assert.deepStrictEqual(yield* Effect.promise(() => fs.readdir(base)), [])
    }))

  it.scopedLive("stops with a process that just exits, and not by an interrupt that reaches the process group before us", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      const other = yield* otherProcess(directory)
      const groupOf = (pid: number) => execFileSync("ps", ["-o", "pgid=", "-p", String(pid)]).toString().trim()
      assert.notStrictEqual(groupOf(other.serverPid), groupOf(other.child.pid!))
      other.child.send("exit")
      yield* Effect.promise(() => other.exited)
      assert.isTrue(yield* gone(other.serverPid))
    }))

  it.scopedLive("stops the server when the terminal interrupts the process group", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      const other = yield* otherProcess(directory)
      process.kill(-other.child.pid!, "SIGINT")
      yield* Effect.promise(() => other.exited)
      assert.isFalse(alive(other.serverPid))
    }))

  it.scopedLive("is not fooled by a stale lock file whose process id now belongs to another process", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      yield* Effect.scoped(start(directory))
      // A process of the same user, as Postgres only fears those.
      const owner = yield* Effect.promise(() => fs.stat(directory))
      const sleeper = spawn("sleep", ["60"], { uid: owner.uid, gid: owner.gid, cwd: "/" })
      yield* Effect.addFinalizer(() => Effect.sync(() => sleeper.kill()))
      const file = path.join(directory, "postmaster.pid")
      yield* Effect.promise(() =>
        fs.writeFile(file, `${sleeper.pid}\n${directory}\n1\n1\n\n127.0.0.1\n     1         1\nready   \n`)
      )
      const server = yield* start(directory)
      assert.deepStrictEqual(yield* query(server.url, "SELECT 1 AS a"), [{ a: 1 }])
      assert.isTrue(alive(sleeper.pid!))
    }))

  it.scopedLive("throws away what a creation that was cut short has left", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      yield* Effect.promise(() => fs.mkdir(path.join(`${directory}.init`, "base"), { recursive: true }))
      const server = yield* start(directory)
      assert.deepStrictEqual(yield* query(server.url, "SELECT 1 AS a"), [{ a: 1 }])
    }))

  it.scopedLive("reports what the server wrote when it doesn't start", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      const error = yield* Effect.flip(Effect.scoped(start(directory, { settings: { shared_buffers: "nonsense" } })))
      assert.strictEqual(error.reason, "start")
      assert.include(error.message, "shared_buffers")
      // A port that is taken is an error only when it was asked for.
      const first = yield* start(`${directory}-1`)
      const taken = yield* Effect.flip(start(`${directory}-2`, { port: first.port }))
      assert.strictEqual(taken.reason, "start")
      assert.match(taken.message, /in use|bind/)
    }))

  it.scopedLive("refuses data of another major version, and a directory with other content", () =>
    Effect.gen(function*() {
      const directory = path.join(yield* temporary, "postgres")
      yield* Effect.scoped(start(directory))
      yield* Effect.promise(() => fs.writeFile(path.join(directory, "PG_VERSION"), "12\n"))
      const old = yield* Effect.flip(start(directory))
      assert.strictEqual(old.reason, "init")
      assert.include(old.message, "Postgres 12")
      yield* Effect.promise(() => fs.rm(path.join(directory, "PG_VERSION")))
      const strange = yield* Effect.flip(start(directory))
      assert.strictEqual(strange.reason, "init")
    }))

  it.scopedLive("keeps the data elsewhere when the user it runs as can't reach the directory", () =>
    Effect.gen(function*() {
      if (!isRoot) return
      const base = path.join(yield* temporary, "closed")
      yield* Effect.promise(() => fs.mkdir(path.join(base, "app"), { recursive: true }))
      yield* Effect.promise(() => fs.chmod(base, 0o700))
      const directory = path.join(base, "app", ".shapelog", "postgres")
      const dataDirectory = yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* start(directory)
        yield* query(server.url, "CREATE TABLE t AS SELECT 1 AS a")
        return server.dataDirectory
      }))
      assert.isFalse(dataDirectory.startsWith(base))
      yield* Effect.addFinalizer(() => Effect.promise(() => fs.rm(dataDirectory, { recursive: true, force: true })))
      assert.strictEqual(yield* Effect.promise(() => fs.realpath(directory)), dataDirectory)
      const again = yield* start(directory)
      assert.deepStrictEqual(yield* query(again.url, "SELECT a FROM t"), [{ a: 1 }])
    }))

  describe("binaries", () => {
    /** The installed tree without its links, as npm leaves it when it runs no install scripts. */
    const bareCopy = Effect.fnUntraced(function*(base: string) {
      const native = path.join(base, "package", "native")
      yield* Effect.flatMap(Binaries.locate, (from) =>
        Effect.promise(async () => {
          await fs.cp(from, native, {
            recursive: true,
            verbatimSymlinks: true,
            filter: async (source) => !(await fs.lstat(source)).isSymbolicLink() && !source.endsWith(".a")
          })
          await fs.chmod(path.join(native, "bin", "postgres"), 0o644)
        }))
      return native
    })
    const linksIn = (native: string) =>
      Effect.promise(async () => {
        const names = await fs.readdir(path.join(native, "lib"), { withFileTypes: true })
        return names.filter((entry) => entry.isSymbolicLink()).length
      })

    it.scopedLive("get their library links and permissions back, and a server runs on them", () =>
      Effect.gen(function*() {
        const base = yield* temporary
        const native = yield* bareCopy(base)
        assert.strictEqual(yield* linksIn(native), 0)
        const server = yield* start(path.join(base, "postgres"), { native })
        assert.deepStrictEqual(yield* query(server.url, "SELECT 1 AS a"), [{ a: 1 }])
        assert.strictEqual(yield* linksIn(native), 14)
        assert.isTrue(yield* Binaries.exists(path.join(native, "lib", "libpq.so.5")))
      }))

    it.scopedLive("are copied when the user can't reach them", () =>
      Effect.gen(function*() {
        if (!isRoot) return
        const base = yield* temporary
        const native = yield* bareCopy(path.join(base, "modules"))
        yield* Effect.promise(() => fs.chmod(path.join(base, "modules"), 0o700))
        const server = yield* start(path.join(base, "data", "postgres"), { native })
        assert.deepStrictEqual(yield* query(server.url, "SELECT 1 AS a"), [{ a: 1 }])
        const copies = yield* Effect.promise(() => fs.readdir(path.join(base, "data")))
        assert.strictEqual(copies.filter((name) => name.startsWith("postgres-binaries-")).length, 1)
      }))

    it.live("that don't run are reported, with the way out", () =>
      Effect.gen(function*() {
        const base = yield* temporary
        yield* Effect.promise(async () => {
          await fs.mkdir(path.join(base, "native", "bin"), { recursive: true })
          for (const name of ["initdb", "postgres"]) {
            await fs.writeFile(path.join(base, "native", "bin", name), "#!/bin/sh\necho no such library\nexit 127\n")
          }
        })
        const error = yield* Effect.flip(
          start(path.join(base, "data", "postgres"), { native: path.join(base, "native") })
        )
        assert.strictEqual(error.reason, "not_accessible")
        assert.include(error.message, "DATABASE_URL")
        assert.include(error.message, "no such library")
      }).pipe(Effect.scoped))
  })

  it.scopedLive("has a demo table that is made once and then the user's", () =>
    Effect.gen(function*() {
      const server = yield* start(path.join(yield* temporary, "postgres"))
      yield* Effect.all([Demo.seed(server.url), Demo.seed(server.url)], { concurrency: 2 })
      assert.deepStrictEqual(yield* query(server.url, "SELECT count(*)::int AS n FROM todos"), [{ n: 4 }])
      yield* query(server.url, "DELETE FROM todos")
      yield* Demo.seed(server.url)
      assert.deepStrictEqual(yield* query(server.url, "SELECT count(*)::int AS n FROM todos"), [{ n: 0 }])
      yield* query(server.url, "DROP TABLE todos")
      yield* Demo.seed(server.url)
      assert.deepStrictEqual(yield* query(server.url, "SELECT to_regclass('todos') AS t"), [{ t: null }])
    }))
})
