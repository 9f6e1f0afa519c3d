/**
 * Postgres for the whole test run: `TEST_DATABASE_URL` (a superuser of a server with wal_level=logical), or else an embedded one for each of
 * the workers, in a temporary directory, without fsync, removed at the end. Files that run at the same time share none: a snapshot lists the
 * transactions of all databases of a server, and a slot waits for them.
 */
import { Effect, Exit, Redacted, Scope } from "effect"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"
import type { TestProject } from "vitest/node"
import * as EmbeddedPostgres from "../../src/source/EmbeddedPostgres.ts"

declare module "vitest" {
  export interface ProvidedContext {
    /** Connection URI of a superuser, for each worker. */
    readonly postgresUrls: ReadonlyArray<string>
  }
}

const PREFIX = "shapelog-test-"

const temporaryDirectory = Effect.acquireRelease(
  Effect.promise(async () => {
    const directory = await fs.mkdtemp(path.join(tmpdir(), PREFIX))
    // The account that Postgres runs as, when we are root, must pass through.
    await fs.chmod(directory, 0o755)
    return directory
  }),
  (directory) => Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))
)

/** What earlier runs that were killed have left. */
const sweep = Effect.gen(function*() {
  const names = yield* Effect.promise(() => fs.readdir(tmpdir()))
  for (const name of names.filter((name) => name.startsWith(PREFIX))) {
    const directory = path.join(tmpdir(), name)
    // One without an owner's note may just be starting.
    if (!(yield* Effect.promise(() => fs.stat(path.join(directory, "postgres.owner")).then(() => true, () => false)))) {
      continue
    }
    yield* EmbeddedPostgres.remove(path.join(directory, "postgres")).pipe(
      Effect.zipRight(Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))),
      // Its run is still going on.
      Effect.catchTag("EmbeddedPostgresError", (error) => error.reason === "in_use" ? Effect.void : Effect.fail(error))
    )
  }
})

export default async function setup(project: TestProject) {
  // What the end-to-end tests start: the server as `npm start` compiles it.
  execFileSync("npm", ["run", "--silent", "compile"], { stdio: ["ignore", "inherit", "inherit"] })
  const given = process.env.TEST_DATABASE_URL
  if (given) {
    project.provide("postgresUrls", [given])
    return
  }
  await Effect.runPromise(sweep)
  // The server is told to stop when this process exits; by default a signal ends it without an exit.
  const exit = () => process.exit(143)
  process.once("SIGTERM", exit).once("SIGHUP", exit)
  const scope = await Effect.runPromise(Scope.make())
  const start = Effect.flatMap(temporaryDirectory, (directory) =>
    EmbeddedPostgres.start({
      directory: path.join(directory, "postgres"),
      // Not synchronous_commit: what is committed has to be in the stream at once.
      settings: { fsync: "off", full_page_writes: "off", max_prepared_transactions: "10" }
    }))
  const servers = await Effect.replicateEffect(start, project.vitest.config.maxWorkers ?? 1, {
    concurrency: "unbounded"
  }).pipe(
    Scope.extend(scope),
    Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))),
    Effect.runPromise
  )
  project.provide("postgresUrls", servers.map(({ url }) => Redacted.value(url)))
  return () => Effect.runPromise(Scope.close(scope, Exit.void))
}
