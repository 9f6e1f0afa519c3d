/**
 * Loaded into the server process before the server, by the benchmark alone: measures its event loop, and profiles it, between a
 * `begin` and an `end` from the parent. Ends the server when the benchmark is gone.
 */
import { writeFileSync } from "node:fs"
import { type Profiler } from "node:inspector"
import { Session } from "node:inspector/promises"
import { findSourceMap, type SourceMapping } from "node:module"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { getHeapStatistics, setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Changes from "../../src/engine/Changes.ts"

export type Command =
  | { readonly _tag: "Begin"; readonly profile: boolean }
  | { readonly _tag: "End"; readonly profileFile: string | undefined }
  | { readonly _tag: "Look" }

export interface Seen {
  /** Milliseconds by which a timer was late. */
  readonly loopDelayP99: number
  readonly loopDelayMax: number
  /** Highest use of JavaScript's heap, and of memory that its objects hold outside of it (Buffers), in bytes. */
  readonly peakHeap: number
  readonly peakExternal: number
}

/** What the engine counts, at rest: garbage has been collected. */
export interface Look {
  /** Times that a change was made into items, since the process began. */
  readonly encodings: number
  readonly heap: number
  readonly external: number
}

const RESOLUTION = 5
const SAMPLE_MILLIS = 50
const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
const inspector = new Session()

let sampler: NodeJS.Timeout | undefined
let peakHeap = 0
let peakExternal = 0
const sample = () => {
  const { external_memory, used_heap_size } = getHeapStatistics()
  peakHeap = Math.max(peakHeap, used_heap_size)
  peakExternal = Math.max(peakExternal, external_memory)
}

const begin = async (profile: boolean) => {
  if (profile) {
    inspector.connect()
    await inspector.post("Profiler.enable")
    await inspector.post("Profiler.setSamplingInterval", { interval: 500 })
    await inspector.post("Profiler.start")
  }
  peakHeap = peakExternal = 0
  sampler = setInterval(sample, SAMPLE_MILLIS).unref()
  delay.reset()
  delay.enable()
  process.send?.({ _tag: "Begun" })
}

/** With the places of functions as in the sources. */
const mapped = ({ nodes, ...rest }: Profiler.Profile) => ({
  ...rest,
  nodes: nodes.map((node) => {
    const { columnNumber, lineNumber, url } = node.callFrame
    const found: Partial<SourceMapping> =
      (url === "" ? undefined : findSourceMap(url)?.findEntry(lineNumber, columnNumber)) ?? {}
    return found.originalLine === undefined
      ? node
      : { ...node, callFrame: { ...node.callFrame, lineNumber: found.originalLine } }
  })
})

const end = async (profileFile: string | undefined) => {
  delay.disable()
  const late = (nanos: number) => (Number.isFinite(nanos) ? Math.max(0, nanos / 1e6 - RESOLUTION) : 0)
  clearInterval(sampler)
  sample()
  const answer: Seen = {
    loopDelayP99: late(delay.percentile(99)),
    loopDelayMax: late(delay.max),
    peakHeap,
    peakExternal
  }
  if (profileFile !== undefined) {
    const { profile } = await inspector.post("Profiler.stop")
    inspector.disconnect()
    writeFileSync(profileFile, JSON.stringify(mapped(profile)))
  }
  process.send?.(answer)
}

const look = () => {
  setFlagsFromString("--expose-gc")
  const collect: () => void = runInNewContext("gc")
  collect()
  collect()
  const { external_memory, used_heap_size } = getHeapStatistics()
  const answer: Look = { encodings: Changes.encodings(), heap: used_heap_size, external: external_memory }
  process.send?.(answer)
}

process.on("message", (command: Command) => {
  switch (command._tag) {
    case "Begin":
      return void begin(command.profile)
    case "End":
      return void end(command.profileFile)
    case "Look":
      return look()
  }
})
process.on("disconnect", () => process.kill(process.pid, "SIGTERM"))
process.channel?.unref()
