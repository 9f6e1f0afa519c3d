/**
 * Who uses a data directory of the embedded Postgres: the process that started the server, and the server itself.
 */
import { Effect } from "effect"
import { execFile } from "node:child_process"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { failure, messageOf } from "./EmbeddedBinaries.ts"

/**
 * When the process started, as the system tells it: with the id it names a process for ever. `undefined` when there is
 * none.
 */
const startOf = (pid: number): Promise<string | undefined> =>
  process.platform === "linux"
    // The 22nd field; the second one, the name, may contain anything and ends with the last parenthesis.
    ? fs.readFile(`/proc/${pid}/stat`, "utf8").then(
      (text) => text.slice(text.lastIndexOf(")") + 2).split(" ")[19],
      () => undefined
    )
    : ps(pid, "lstart=")

/** The command line of a process; empty for a dead one that nobody has waited for, `undefined` when there is none. */
const commandOf = (pid: number): Promise<string | undefined> =>
  process.platform === "linux"
    ? fs.readFile(`/proc/${pid}/cmdline`, "utf8").then((text) => text.split("\0").join(" "), () => undefined)
    : ps(pid, "command=")

const ps = (pid: number, format: string): Promise<string | undefined> =>
  new Promise((resolve) => {
    execFile("ps", ["-o", format, "-p", String(pid)], (error, stdout) => resolve(error ? undefined : stdout.trim()))
  })

/**
 * Notes this process as the owner for as long as the scope is open. Fails with `in_use` while the noted one lives.
 */
export const claim = Effect.fnUntraced(function*(file: string, directory: string) {
  const acquire = Effect.tryPromise({
    try: async () => {
      const mine = `${process.pid} ${await startOf(process.pid)}`
      for (let attempt = 0; attempt < 10; attempt++) {
        const noted = await fs.readFile(file, "utf8").catch(() => undefined)
        if (noted !== undefined) {
          const [pid, ...start] = noted.trim().split(" ")
          if (start.length > 0 && await startOf(Number(pid)) === start.join(" ")) return Number(pid)
          await fs.rm(file, { force: true })
        }
        const written = await fs.writeFile(file, mine, { flag: "wx", mode: 0o644 }).then(
          () => true,
          (cause: unknown) => {
            if (cause instanceof Error && "code" in cause && cause.code === "EEXIST") return false
            throw cause
          }
        )
        if (written) return undefined
      }
      throw new Error("other processes are starting on it at the same time")
    },
    catch: (cause) => failure("in_use", `cannot take possession of ${directory}: ${messageOf(cause)}`)
  }).pipe(Effect.flatMap((other) =>
    other === undefined ? Effect.void : Effect.fail(failure(
      "in_use",
      `${directory} is in use by ${
        other === process.pid ? "this process already" : `process ${other}`
      }: stop it, or use another directory`
    ))
  ))
  yield* Effect.acquireRelease(acquire, () => Effect.promise(() => fs.rm(file, { force: true })))
})

const pidFile = (data: string) => path.join(data, "postmaster.pid")

/** Whether the server with this process id accepts connections: what the server itself writes into its lock file. */
export const isReady = async (data: string, pid: number | undefined): Promise<boolean> => {
  const lines = (await fs.readFile(pidFile(data), "utf8").catch(() => "")).split("\n")
  return lines[0] === String(pid) && lines[7]?.trim() === "ready"
}

/** Process ids are well below this: no process has it. */
const NO_PROCESS = 2147483646

/**
 * Stops a server that outlived its owner, and clears what would keep a new one from starting. A lock file of a dead
 * server stays: Postgres judges by it whether backends of the dead one still use the data.
 */
export const stopPrevious = Effect.fnUntraced(function*(
  data: string,
  waitUntil: (done: () => Promise<boolean>, millis: number) => Effect.Effect<boolean>
) {
  const text = yield* Effect.promise(() => fs.readFile(pidFile(data), "utf8").catch(() => undefined))
  if (text === undefined) return
  const pid = Number(text.split("\n")[0])
  const command = Number.isInteger(pid) && pid > 0 ? yield* Effect.promise(() => commandOf(pid)) : undefined
  if (command === undefined) return
  if (!command.includes(data)) {
    // The id belongs to an unrelated process by now (or to a dead one that nobody has waited for): Postgres would take
    // it for a server.
    yield* Effect.tryPromise({
      try: () => fs.writeFile(pidFile(data), [String(NO_PROCESS), ...text.split("\n").slice(1)].join("\n")),
      catch: (cause) => failure("start", `cannot correct ${pidFile(data)}: ${messageOf(cause)}`)
    })
    return
  }
  yield* Effect.logInfo(`stopping the embedded Postgres of an earlier run (process ${pid})`)
  const gone = async () => !((await commandOf(pid)) ?? "").includes(data)
  for (const [signal, millis] of [["SIGINT", 6000], ["SIGQUIT", 3000], ["SIGKILL", 3000]] as const) {
    yield* Effect.try({
      try: () => process.kill(pid, signal),
      catch: (cause) => cause
    }).pipe(
      Effect.catchAll((cause) =>
        Effect.promise(gone).pipe(Effect.flatMap((isGone) =>
          isGone
            ? Effect.void
            : Effect.fail(failure("in_use", `cannot stop the server of ${data} (process ${pid}): ${messageOf(cause)}`))
        ))
      )
    )
    if (yield* waitUntil(gone, millis)) return
  }
  return yield* failure("in_use", `the server of ${data} (process ${pid}) does not stop`)
})
