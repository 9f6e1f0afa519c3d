/**
 * Loaded into the server process before the server, by the benchmark alone: measures its event loop, and profiles it, between a
 * `begin` and an `end` from the parent. Ends the server when the benchmark is gone.
 */
import { writeFileSync } from "node:fs"
import { type Profiler } from "node:inspector"
import { Session } from "node:inspector/promises"
import { findSourceMap, type SourceMapping } from "node:module"
import { monitorEventLoopDelay } from "node:perf_hooks"

export type Command =
  | { readonly _tag: "Begin"; readonly profile: boolean }
  | { readonly _tag: "End"; readonly profileFile: string | undefined }

export interface LoopDelay {
  readonly _tag: "LoopDelay"
  /** Milliseconds by which a timer was late. */
  readonly p50: number
  readonly p99: number
  readonly max: number
}

const RESOLUTION = 5
const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
const inspector = new Session()

const begin = async (profile: boolean) => {
  if (profile) {
    inspector.connect()
    await inspector.post("Profiler.enable")
    await inspector.post("Profiler.setSamplingInterval", { interval: 500 })
    await inspector.post("Profiler.start")
  }
  delay.reset()
  delay.enable()
  process.send?.({ _tag: "Begun" })
}

/** With the places of functions as in the sources. */
const mapped = ({ nodes, ...rest }: Profiler.Profile) => ({
  ...rest,
  nodes: nodes.map((node) => {
    const { columnNumber, lineNumber, url } = node.callFrame
    const found: Partial<SourceMapping> = (url === "" ? undefined : findSourceMap(url)?.findEntry(lineNumber, columnNumber)) ?? {}
    return found.originalLine === undefined
      ? node
      : { ...node, callFrame: { ...node.callFrame, lineNumber: found.originalLine } }
  })
})

const end = async (profileFile: string | undefined) => {
  delay.disable()
  const late = (nanos: number) => (Number.isFinite(nanos) ? Math.max(0, nanos / 1e6 - RESOLUTION) : 0)
  const answer: LoopDelay = {
    _tag: "LoopDelay",
    p50: late(delay.percentile(50)),
    p99: late(delay.percentile(99)),
    max: late(delay.max)
  }
  if (profileFile !== undefined) {
    const { profile } = await inspector.post("Profiler.stop")
    inspector.disconnect()
    writeFileSync(profileFile, JSON.stringify(mapped(profile)))
  }
  process.send?.(answer)
}

process.on("message", (command: Command) => {
  void (command._tag === "Begin" ? begin(command.profile) : end(command.profileFile))
})
process.on("disconnect", () => process.kill(process.pid, "SIGTERM"))
process.channel?.unref()
