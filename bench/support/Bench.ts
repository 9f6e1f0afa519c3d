/**
 * What workloads run with: the options, a Postgres, a scratch directory, and servers under test that leave nothing behind.
 */
import * as fs from "node:fs"
import * as fsPromises from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"
import * as Database from "./Database.ts"
import type { Options } from "./Options.ts"
import * as Processes from "./Processes.ts"
import * as Profile from "./Profile.ts"
import * as Server from "./Server.ts"

export interface Bench {
  readonly options: Options
  /** URI of the database that other databases are made from. */
  readonly postgresUrl: string
  /** A database that `prepare` has filled, made once. */
  readonly database: (name: string, prepare: (url: string) => Promise<unknown>) => Promise<string>
  /** A database with `items` of so many rows, made once. */
  readonly items: (name: string, rows: number) => Promise<string>
  /** A new empty directory's path. */
  readonly scratch: (name: string) => string
  /** Runs `use` with a server that is stopped afterwards; its slot is dropped unless it is to be kept. */
  readonly withServer: <A>(
    options: {
      readonly label: string
      readonly databaseUrl: string
      readonly storage?: string
      readonly keepSlot?: boolean
      /** Further environment variables. */
      readonly env?: Readonly<Record<string, string>>
      readonly onFollowing?: (pid: number) => void
    },
    use: (server: Server.Server) => Promise<A>
  ) => Promise<A>
  readonly progress: (text: string) => void
}

export const outDirectory = Processes.repository("bench/out")

/** Where the server's output goes; kept after the run. */
const logFile = path.join(outDirectory, "server.log")

export const run = async (options: Options, use: (bench: Bench) => Promise<void>): Promise<void> => {
  fs.mkdirSync(outDirectory, { recursive: true })
  fs.rmSync(logFile, { force: true })
  const directory = await fsPromises.mkdtemp(path.join(tmpdir(), "shapelog-bench-"))
  // The account that Postgres runs as, when we are root, must pass through.
  await fsPromises.chmod(directory, 0o755)
  const profiles = options.profile ? path.join(outDirectory, "profiles") : undefined
  if (profiles !== undefined) {
    fs.rmSync(profiles, { recursive: true, force: true })
    fs.mkdirSync(profiles, { recursive: true })
  }

  Server.compile()

  const postgres = await Database.startPostgres(directory).catch(async (error: unknown) => {
    await fsPromises.rm(directory, { recursive: true, force: true })
    throw error
  })

  let scratches = 0
  const scratch = (name: string) => {
    const made = path.join(directory, `${++scratches}-${name}`)
    fs.mkdirSync(made)
    return made
  }
  const progress = (text: string) => console.error(`  … ${text}`)
  const databases = new Map<string, Promise<string>>()

  const database: Bench["database"] = (name, prepare) => {
    const made = databases.get(name) ?? (async () => {
      const url = await Database.createDatabase(postgres.url, name)
      await prepare(url)
      return url
    })()
    databases.set(name, made)
    return made
  }
  const items = (name: string, rows: number) =>
    database(name, async (url) => {
      progress(`loading ${rows} rows into ${name}`)
      await Database.createItems(url, rows)
      await Database.settle(url)
    })

  const withServer: Bench["withServer"] = async ({ databaseUrl, env, keepSlot, label, onFollowing, storage }, use) => {
    const directory = storage ?? scratch("storage")
    const server = await Server.start({
      databaseUrl,
      storage: directory,
      logFile,
      profiles,
      label,
      env,
      ...(onFollowing && { onFollowing })
    })
    try {
      return await use(server)
    } finally {
      await server.stop()
      if (!keepSlot) await Database.dropSlot(databaseUrl, Database.SLOT)
      if (storage === undefined) await fsPromises.rm(directory, { recursive: true, force: true })
    }
  }

  try {
    await use({ options, postgresUrl: postgres.url, database, items, scratch, withServer, progress })
    if (profiles !== undefined) Profile.print(profiles)
  } finally {
    Processes.killAll()
    await postgres.stop()
    await fsPromises.rm(directory, { recursive: true, force: true })
  }
}
