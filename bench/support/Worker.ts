/**
 * Helper processes: each takes jobs over IPC, one at a time, and answers with a result; `say` tells the parent something meanwhile. They end with
 * their parent.
 */
import type { ChildProcess } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Processes from "./Processes.ts"

type Answer =
  | { readonly _tag: "Result"; readonly result: unknown }
  | { readonly _tag: "Error"; readonly message: string }
  | { readonly _tag: "Said"; readonly what: unknown }

/** In the worker: serves jobs until the parent goes. */
export const serve = <Job, Result, Event = never>(
  run: (job: Job, say: (what: Event) => void) => Promise<Result>
): void => {
  const send = (answer: Answer) => {
    process.send?.(answer)
  }
  process.on("disconnect", () => process.exit())
  process.on("message", (job: Job) => {
    run(job, (what) => send({ _tag: "Said", what })).then(
      (result) => send({ _tag: "Result", result }),
      (error: unknown) => send({ _tag: "Error", message: error instanceof Error ? String(error.stack) : String(error) })
    )
  })
}

export interface Worker<Job, Result, Event> {
  readonly pid: number
  readonly ask: (job: Job, limitMillis: number, onEvent?: (event: Event) => void) => Promise<Result>
  readonly stop: () => void
}

/** In the parent: starts `workers/<name>.ts`. */
export const start = <Job extends object, Result, Event = never>(
  name: string,
  role: Processes.Role
): Worker<Job, Result, Event> => {
  const file = fileURLToPath(new URL(`./workers/${name}.ts`, import.meta.url))
  const child: ChildProcess = Processes.spawnScript(file, {
    role,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    imports: ["tsx"]
  })
  const ask = (job: Job, limitMillis: number, onEvent?: (event: Event) => void) => {
    const answer = new Promise<Result>((resolve, reject) => {
      const settle = (done: () => void) => {
        child.off("message", onMessage)
        child.off("exit", onExit)
        done()
      }
      const onExit = () => settle(() => reject(new Error(`the worker ${name} ended`)))
      const onMessage = (message: unknown) => {
        const answer = message as Answer
        switch (answer._tag) {
          case "Said":
            return onEvent?.(answer.what as Event)
          case "Result":
            return settle(() => resolve(answer.result as Result))
          case "Error":
            return settle(() => reject(new Error(`worker ${name}: ${answer.message}`)))
        }
      }
      if (Processes.hasEnded(child)) return onExit()
      child.on("message", onMessage)
      child.on("exit", onExit)
      child.send(job)
    })
    return Processes.within(limitMillis, `a job of the worker ${name}`, answer)
  }
  return { pid: child.pid!, ask, stop: () => child.kill("SIGKILL") }
}

/** A worker for one job. */
export const once = async <Job extends object, Result>(
  name: string,
  role: Processes.Role,
  job: Job,
  limitMillis: number
): Promise<Result> => {
  const worker = start<Job, Result>(name, role)
  try {
    return await worker.ask(job, limitMillis)
  } finally {
    worker.stop()
  }
}
