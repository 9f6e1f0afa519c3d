/**
 * Recording what the server under test sends, and a bare `node:http` server on its core that sends the same.
 */
import * as Worker from "./Worker.ts"
import type * as Raw from "./workers/rawServer.ts"
import type * as Record from "./workers/record.ts"

export interface Recording {
  readonly file: string
  readonly responses: ReadonlyArray<Record.Recorded>
}

export const record = async (job: Record.Job): Promise<Recording> => ({
  file: job.file,
  responses: await Worker.once<Record.Job, ReadonlyArray<Record.Recorded>>("record", "load", job, 120_000)
})

export interface RawServer {
  readonly port: number
  /** CPU seconds so far. */
  readonly cpu: () => Promise<number>
  readonly stop: () => void
}

export const start = async ({ file, responses }: Recording, inPieces: boolean): Promise<RawServer> => {
  const worker = Worker.start<Raw.Job, Raw.Result>("rawServer", "server")
  const { port } = await worker.ask({ _tag: "Listen", file, responses, inPieces }, 60_000)
  return {
    port,
    cpu: async () => (await worker.ask({ _tag: "Usage" }, 10_000)).cpuSeconds,
    stop: worker.stop
  }
}
