/**
 * A real Postgres of our own, for `npm start` without a database and for tests: binaries from npm, data in a given
 * directory.
 *
 * - One owner: the process (its id and start time) that started the server is noted beside the data. While it lives, a
 * second start
 *   on the same data fails with `in_use`. A server that outlived its owner (`kill -9`) is stopped and a new one started, so
 *   that the settings are always those asked for.
 * - The server has a process group of its own: an interrupt from the terminal reaches us, and we stop it last. If we
 * end without
 *   closing the scope, it is told to stop when the process exits.
 * - It listens on 127.0.0.1 alone; its superuser's random password is in `<directory>.password`, readable to us only.
 * - Postgres refuses to run as root; then it runs as the owner of the existing data, as `postgres`, or as `nobody`.
 * Where that
 *   user can't reach the directory, the data is kept in a system-wide place and `directory` is a link to it.
 */
import { Clock, Deferred, Effect, ExecutionStrategy, Exit, Redacted, Runtime, Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import * as fsSync from "node:fs"
import * as fs from "node:fs/promises"
import { createServer } from "node:net"
import * as path from "node:path"
import * as Binaries from "./EmbeddedBinaries.ts"
import { type EmbeddedPostgresError, exists, failure, messageOf, type User } from "./EmbeddedBinaries.ts"
import * as Owner from "./EmbeddedOwner.ts"

export { EmbeddedPostgresError } from "./EmbeddedBinaries.ts"

export interface EmbeddedOptions {
  /**
   * Postgres's data directory. Beside it are kept `<directory>.password`, `<directory>.log` and `<directory>.owner`.
   */
  readonly directory: string
  /** TCP port on 127.0.0.1; absent or 0 takes a free one. */
  readonly port?: number | undefined
  /** Without `port`: the one to take if it is free. */
  readonly preferredPort?: number | undefined
  /** Further server settings, such as `fsync: "off"`. */
  readonly settings?: Readonly<Record<string, string>> | undefined
  /** A tree of binaries (`bin`, `lib`, `share`) other than the installed package's. */
  readonly native?: string | undefined
}

export interface EmbeddedServer {
  /** Connection URI of the superuser `postgres` to the database `postgres`. */
  readonly url: Redacted.Redacted
  readonly port: number
  /** Process id of the server. */
  readonly pid: number
  /** Where the data really is. */
  readonly dataDirectory: string
  /** Fails when the server ends though nobody asked it to. */
  readonly died: Effect.Effect<never, EmbeddedPostgresError>
}

const START_SECONDS = 120
const FAST_STOP_MILLIS = 6000
const IMMEDIATE_STOP_MILLIS = 3000
const POLL_MILLIS = 25
/**
 * Backends of a killed server notice its death within moments; until then their shared memory keeps a new one from
 * starting.
 */
const ORPHANS_MILLIS = 15_000

const io = <A>(reason: EmbeddedPostgresError["reason"], what: string, body: () => Promise<A>) =>
  Effect.tryPromise({ try: body, catch: (cause) => failure(reason, `cannot ${what}: ${messageOf(cause)}`) })

/** Polls `done` until it holds or `millis` have passed; whether it did. Works where fibers can't be interrupted. */
const waitUntil = Effect.fnUntraced(function*(done: () => boolean | Promise<boolean>, millis: number) {
  const deadline = (yield* Clock.currentTimeMillis) + millis
  while (!(yield* Effect.promise(async () => done()))) {
    if ((yield* Clock.currentTimeMillis) >= deadline) return false
    yield* Effect.sleep(POLL_MILLIS)
  }
  return true
})

// --- Who runs it, and where ---

const accounts = Effect.promise(async () => {
  const text = await fs.readFile("/etc/passwd", "utf8").catch(() => "")
  return text.split("\n").flatMap((line): ReadonlyArray<User> => {
    const [name, , uid, gid] = line.split(":")
    return name && Number(uid) > 0 && Number(gid) >= 0 ? [{ name, uid: Number(uid), gid: Number(gid) }] : []
  })
})

/** The account to run as; `undefined` means ours. To create data it has to have a name: initdb looks it up. */
const chooseUser = Effect.fnUntraced(function*(directory: string) {
  if (process.getuid === undefined) {
    return yield* failure(
      "not_installed",
      `the embedded Postgres is not supported on ${process.platform}: set DATABASE_URL`
    )
  }
  if (process.getuid() !== 0) return undefined
  const known = yield* accounts
  const owner = yield* Effect.promise(() => fs.stat(directory).catch(() => undefined))
  if (owner !== undefined && owner.uid !== 0) {
    const name = known.find((account) => account.uid === owner.uid)?.name ?? String(owner.uid)
    return { name, uid: owner.uid, gid: owner.gid }
  }
  const user = known.find((account) => account.name === "postgres") ??
    known.find((account) => account.name === "nobody")
  return user ?? (yield* failure(
    "not_accessible",
    "Postgres refuses to run as root, and there is no account `postgres` or `nobody` to run it as: start as another user, or set DATABASE_URL"
  ))
})

/** The real place of the data directory, whose parents the user can enter. */
const place = Effect.fnUntraced(function*(directory: string, user: User | undefined) {
  const real = yield* Effect.promise(() =>
    fs.realpath(directory).catch(() => fs.readlink(directory)).catch(() => directory)
  )
  const blocked = yield* Binaries.obstacle(path.dirname(real), user)
  if (blocked === undefined) return real
  if (real !== directory || (yield* exists(directory))) {
    return yield* failure(
      "not_accessible",
      `Postgres runs as user ${user?.name}, which can't enter ${blocked} to reach its data in ${real}: allow it (chmod o+x), or set DATABASE_URL`
    )
  }
  const elsewhere = yield* Binaries.readablePlace(Binaries.readablePlaces("/var/lib/shapelog"), user)
  if (elsewhere === undefined) {
    return yield* failure(
      "not_accessible",
      `Postgres runs as user ${user?.name}, which can't enter ${blocked}, and there is no other place for its data: allow it (chmod o+x), ` +
        "or set DATABASE_URL"
    )
  }
  const data = path.join(elsewhere, `postgres-${createHash("sha256").update(directory).digest("hex").slice(0, 16)}`)
  yield* io("not_accessible", `link ${directory} to ${data}`, () => fs.symlink(data, directory))
  return data
})

// --- Data directory ---

const password = Effect.fnUntraced(function*(file: string) {
  const known = yield* Effect.promise(() => fs.readFile(file, "utf8").then((text) => text.trim(), () => ""))
  if (known !== "") return { value: known, fresh: false }
  const value = randomBytes(24).toString("base64url")
  yield* io("init", `write ${file}`, async () => {
    await fs.rm(file, { force: true })
    await fs.writeFile(file, `${value}\n`, { mode: 0o600, flag: "wx" })
  })
  return { value, fresh: true }
})

const give = async (data: string, user: User) => {
  if ((await fs.stat(data)).uid === user.uid) return
  await fs.chown(data, user.uid, user.gid)
  for (const name of await fs.readdir(data, { recursive: true })) {
    await fs.lchown(path.join(data, name), user.uid, user.gid)
  }
}

/** Makes the data directory, all of it or nothing: a half-made one of an earlier start is thrown away. */
const initialise = Effect.fnUntraced(function*(
  binaries: Binaries.Binaries,
  data: string,
  user: User | undefined,
  secret: { readonly value: string; readonly fresh: boolean },
  sync: boolean
) {
  const version = yield* Effect.promise(() =>
    fs.readFile(path.join(data, "PG_VERSION"), "utf8").then((text) => Number(text.trim()), () => undefined)
  )
  if (version !== undefined && version !== binaries.major) {
    return yield* failure(
      "init",
      `the data in ${data} belongs to Postgres ${version}, the installed one is ${binaries.major}: remove the directory to start afresh`
    )
  }
  if (version !== undefined) {
    // Somebody has made it root's since.
    if (user) yield* io("init", `give ${data} to user ${user.name}`, () => give(data, user))
    // The password file is gone, the data is not: set a new password with no server running.
    if (secret.fresh) {
      const result = yield* Binaries.run(binaries.postgres, ["--single", "-D", data, "postgres"], {
        user,
        stdin: `ALTER ROLE postgres PASSWORD '${secret.value}'\n`
      })
      if (result.code !== 0) return yield* failure("init", "cannot set a new password", result.lines.slice(-20))
    }
    return
  }
  const half = `${data}.init`
  const passwordFile = `${data}.init-password`
  yield* io("init", `prepare ${data}`, async () => {
    await fs.mkdir(path.dirname(data), { recursive: true })
    await fs.rm(half, { recursive: true, force: true })
    await fs.rm(passwordFile, { force: true })
    await fs.writeFile(passwordFile, secret.value, { mode: 0o600, flag: "wx" })
    await fs.mkdir(half, { mode: 0o700 })
    if (user) {
      await fs.chown(passwordFile, user.uid, user.gid)
      await fs.chown(half, user.uid, user.gid)
    }
  })
  const result = yield* Binaries.run(binaries.initdb, [
    `--pgdata=${half}`,
    "--username=postgres",
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
    ...(sync ? [] : ["--no-sync"])
  ], { user }).pipe(Effect.ensuring(Effect.promise(() => fs.rm(passwordFile, { force: true }))))
  if (result.code !== 0) return yield* failure("init", `cannot create the database in ${data}`, result.lines.slice(-20))
  yield* io("init", `create ${data} (is it there already, with other content?)`, () => fs.rename(half, data))
})

// --- Server process ---

/** A port that can be listened on: `port`, or any for 0. */
const probePort = (port: number): Promise<number> =>
  new Promise<number>((resolve, reject) => {
    const probe = createServer()
    probe.once("error", reject)
    probe.listen(port, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => resolve(address !== null && typeof address === "object" ? address.port : 0))
    })
  })

const freePort = (preferred: number) =>
  io("start", "find a free port", () => probePort(preferred).catch(() => probePort(0)))

const ended = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null

/**
 * Fast shutdown, which ends sessions and checkpoints; without effect, an immediate one, which the next start recovers
 * from.
 */
const stop = Effect.fnUntraced(function*(child: ChildProcess) {
  if (ended(child)) return
  child.kill("SIGINT")
  if (yield* waitUntil(() => ended(child), FAST_STOP_MILLIS)) return
  yield* Effect.logWarning("the embedded Postgres does not stop (a session holds it up): stopping it at once")
  child.kill("SIGQUIT")
  if (yield* waitUntil(() => ended(child), IMMEDIATE_STOP_MILLIS)) return
  child.kill("SIGKILL")
  yield* waitUntil(() => ended(child), IMMEDIATE_STOP_MILLIS)
})

const logTail = (file: string, from: number): Effect.Effect<ReadonlyArray<string>> =>
  Effect.promise(async () => {
    const bytes = await fs.readFile(file).catch(() => Buffer.alloc(0))
    return bytes.subarray(from).toString().split("\n").filter((line) => line !== "").slice(-20)
  })

/** One attempt: a running server, or an error with what it wrote. Stopped with the scope. */
const launch = Effect.fnUntraced(function*(
  binaries: Binaries.Binaries,
  data: string,
  user: User | undefined,
  port: number,
  settings: Readonly<Record<string, string>>,
  log: string
) {
  const from = yield* Effect.promise(() => fs.stat(log).then((stat) => stat.size, () => 0))
  const args = Object.entries({
    listen_addresses: "127.0.0.1",
    // No socket file: nothing to collide on, and no path that may be too long for one.
    unix_socket_directories: "",
    wal_level: "logical",
    max_wal_senders: "50",
    max_replication_slots: "50",
    max_connections: "200",
    ...settings
  }).flatMap(([name, value]) => ["-c", `${name}=${value}`])
  const runtime = yield* Effect.runtime()
  const died = yield* Deferred.make<never, EmbeddedPostgresError>()
  let stopping = false

  const child = yield* Effect.acquireRelease(
    Effect.try({
      try: () => {
        const file = fsSync.openSync(log, "a", 0o600)
        try {
          return spawn(binaries.postgres, ["-D", data, "-p", String(port), ...args], {
            cwd: "/",
            detached: true,
            env: Binaries.environment(),
            stdio: ["ignore", file, file],
            ...(user && { uid: user.uid, gid: user.gid })
          })
        } finally {
          fsSync.closeSync(file)
        }
      },
      catch: (cause) => failure("start", `cannot start ${binaries.postgres}: ${messageOf(cause)}`)
    }),
    (child) =>
      Effect.suspend(() => {
        stopping = true
        return stop(child)
      })
  )
  child.unref()
  const stopOnExit = () => {
    child.kill("SIGINT")
  }
  process.once("exit", stopOnExit)
  yield* Effect.addFinalizer(() => Effect.sync(() => process.removeListener("exit", stopOnExit)))

  let spawnError: string | undefined
  child.once("error", (cause) => {
    spawnError = messageOf(cause)
  })
  child.once("exit", (code, signal) => {
    if (stopping) return
    Runtime.runFork(runtime)(Effect.flatMap(
      logTail(log, from),
      (lines) =>
        Deferred.fail(died, failure("died", `the embedded Postgres ended (${signal ?? `code ${code}`})`, lines))
    ))
  })

  const ready = yield* waitUntil(
    async () => spawnError !== undefined || ended(child) || await Owner.isReady(data, child.pid),
    START_SECONDS * 1000
  )
  if (!ready || spawnError !== undefined || ended(child)) {
    const lines = yield* logTail(log, from)
    const why = spawnError ?? (ready ? "it ended at once" : `not ready within ${START_SECONDS} s`)
    return yield* failure("start", `the embedded Postgres does not start: ${why}`, lines)
  }
  return { pid: child.pid!, died: Deferred.await(died) }
})

const open = Effect.fnUntraced(function*(
  options: EmbeddedOptions
): Effect.fn.Return<EmbeddedServer, EmbeddedPostgresError, Scope.Scope> {
  const directory = path.resolve(options.directory)
  const base = path.dirname(directory)
  const log = `${directory}.log`
  yield* io("not_accessible", `create ${base}`, async () => {
    // Entering is not listing: the user that Postgres runs as must pass through.
    if (await fs.mkdir(base, { recursive: true }) !== undefined) await fs.chmod(base, 0o711)
  })
  yield* Owner.claim(`${directory}.owner`, directory)

  const native = options.native ?? (yield* Binaries.locate)
  const user = yield* chooseUser(directory)
  const data = yield* place(directory, user)
  const binaries = yield* Binaries.prepare(native, user, base)
  yield* Owner.stopPrevious(data, waitUntil)
  const secret = yield* password(`${directory}.password`)
  yield* initialise(binaries, data, user, secret, options.settings?.fsync !== "off")
  yield* io("start", `truncate ${log}`, async () => {
    const stat = await fs.stat(log).catch(() => undefined)
    if (stat !== undefined && stat.size > 4_000_000) await fs.truncate(log)
  })

  const orphansUntil = (yield* Clock.currentTimeMillis) + ORPHANS_MILLIS
  for (let attempt = 1;; attempt++) {
    const port = options.port || (yield* freePort(options.preferredPort ?? 0))
    const exit = yield* Effect.exit(launch(binaries, data, user, port, options.settings ?? {}, log))
    if (Exit.isSuccess(exit)) {
      const url = Redacted.make(
        `postgresql://postgres:${encodeURIComponent(secret.value)}@127.0.0.1:${port}/postgres?sslmode=disable`
      )
      return { url, port, dataDirectory: data, ...exit.value }
    }
    const text = String(exit.cause)
    const portTaken = /could not bind|Address already in use/.test(text)
    const orphans = /is still in use|lock file "postmaster.pid" already exists/.test(text)
    if (orphans && (yield* Clock.currentTimeMillis) < orphansUntil) yield* Effect.sleep(200)
    else if (!(portTaken && !options.port && attempt < 5)) return yield* Effect.failCause(exit.cause)
  }
})

/**
 * Starts Postgres on the data in `options.directory`, creating it when there is none, and stops it with the scope.
 * Ready to connect when it returns.
 */
export const start = (
  options: EmbeddedOptions
): Effect.Effect<EmbeddedServer, EmbeddedPostgresError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      // A scope of its own, so that a start that fails leaves nothing behind while the caller's scope stays open.
      const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
      return yield* restore(open(options)).pipe(
        Scope.extend(scope),
        Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
    })
  )

/**
 * Removes the data in `directory` with what is kept beside it, after stopping the server that may be left on it. Fails
 * with `in_use` while the process that started it lives.
 */
export const remove = (directory: string): Effect.Effect<void, EmbeddedPostgresError> =>
  Effect.scoped(Effect.gen(function*() {
    const data = path.resolve(directory)
    yield* Owner.claim(`${data}.owner`, data)
    const real = yield* Effect.promise(() => fs.realpath(data).catch(() => data))
    yield* Owner.stopPrevious(real, waitUntil)
    yield* io("not_accessible", `remove ${data}`, async () => {
      for (const file of [real, data, `${data}.password`, `${data}.log`]) {
        await fs.rm(file, { recursive: true, force: true })
      }
    })
  }))
