/**
 * Replays recorded exchanges of the reference server. The fake engine is scripted with what the recorded response says of the
 * shape; status, headers and body then have to come out the same, but for what differs from run to run and for framing.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import { readFileSync } from "node:fs"
import { DatabaseUnavailable, InvalidRequest } from "../../src/domain/Errors.ts"
import * as LogOffset from "../../src/domain/LogOffset.ts"
import { readyBody } from "../support/FakeEngine.ts"
import * as Fixture from "./HttpFixture.ts"

interface Transcript {
  readonly name: string
  readonly method: string
  readonly path: string
  readonly requestHeaders: Record<string, string>
  readonly requestBody: string | undefined
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: string
}

const parse = (text: string): Array<Transcript> =>
  text.replaceAll("\r", "").split(/^### (?=\d\d-)/m).slice(1).flatMap((block) => {
    const match = /^(\S+)\n### curl (.*)\nHTTP\/1\.1 (\d+).*\n([^]*?)\n\n([^]*)\n### status=/.exec(block)
    if (match === null) return []
    const [, name, command, status, headers, body] = match
    const field = / ?-H (\S+): (\S+)/.exec(command!)
    const data = / -d (\{.*\}) http:/.exec(command!)
    const url = new URL(/http:\S+$/.exec(command!)![0])
    return [{
      name: name!,
      method: command!.includes("-I ") ? "HEAD" : /-X (\w+)/.exec(command!)?.[1] ?? "GET",
      path: url.pathname + url.search,
      requestBody: data?.[1],
      requestHeaders: field ? { [field[1]!]: field[2]! } : {},
      status: Number(status),
      headers: Object.fromEntries(
        headers!.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()])
      ),
      body: body!.trim()
    }]
  })

const transcripts = parse(readFileSync(new URL("fixtures/transcripts.txt", import.meta.url), "utf8"))

/** Headers that differ from run to run, or that say how the body is framed. */
const varying = [
  "date",
  "x-request-id",
  "electric-server",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "electric-cursor"
]

/** The recorded rows of a subset. */
interface Subset {
  readonly metadata: {
    readonly xmin: string
    readonly xmax: string
    readonly database_lsn: string
    readonly snapshot_mark: number
  }
  readonly data: ReadonlyArray<unknown>
}

const comparable = (headers: Record<string, unknown>, withLength: boolean) => {
  const kept = Object.entries(headers).filter(([name]) =>
    !varying.includes(name) && (withLength || name !== "content-length")
  )
  // The unique part of an ETag.
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value).replace(/:-?\d+"$/, ":unique\"")]))
}

describe("recorded exchanges", () => {
  it("are there", () => assert.strictEqual(transcripts.length, 54))

  it.scoped.each(transcripts)("$name", (transcript) =>
    Effect.gen(function*() {
      const { fake, request } = yield* Fixture.server()
      const { headers, status } = transcript
      const json: unknown = transcript.body.startsWith("{") || transcript.body.startsWith("[")
        ? JSON.parse(transcript.body)
        : undefined
      const asked = new URLSearchParams(transcript.path.split("?")[1])

      // What the engine knows, from what the recorded response says.
      const handle = headers["electric-handle"] ?? asked.get("handle") ?? "1-1"
      const control = "\"global_last_seen_lsn\":\""
      const lastSeenLsn = transcript.body.includes(control)
        ? BigInt(transcript.body.split(control)[1]!.split("\"")[0]!)
        : 0n
      fake.lastSeenLsn = lastSeenLsn
      const shape = fake.define("cap", [[]], { handle, schema: headers["electric-schema"] ?? "{}" })
      fake.onResolve = () => {
        const errors = status === 400 && typeof json === "object" && json !== null && "errors" in json
          ? json.errors as InvalidRequest["errors"]
          : undefined
        if (errors !== undefined) return new InvalidRequest({ errors })
        return fake.shapes.has(handle)
          ? Effect.succeed(shape)
          : new DatabaseUnavailable({ operation: "resolve", cause: "gone" })
      }
      const items = Array.isArray(json) ? json : []
      const isControl = (item: unknown) => JSON.stringify(item).includes("up-to-date")
      const end = LogOffset.parse(headers["electric-offset"] ?? "0_inf")!
      if (end.tx > 0n) shape.log.push({ offset: end, json: "", chunkEnd: false })
      fake.onRead = () =>
        fake.shapes.has(handle)
          ? Effect.succeed({
            end,
            upToDate: headers["electric-up-to-date"] !== undefined || asked.get("live") === "true",
            lastSeenLsn,
            body: readyBody(items.filter((item) => !isControl(item)).map((item) => JSON.stringify(item)))
          })
          : undefined

      const subset = headers["electric-snapshot"] === undefined ? undefined : json as Subset
      fake.onSubset = () => {
        if (subset === undefined) return undefined
        const { database_lsn, snapshot_mark, xmax, xmin } = subset.metadata
        const body = readyBody(subset.data.map((item) => JSON.stringify(item)))
        const length = body.ready?.reduce((sum, piece) => sum + piece.length, 0)
        return Effect.succeed({
          marks: { xmin: BigInt(xmin), xmax: BigInt(xmax), xip: [], lsn: BigInt(database_lsn) },
          mark: snapshot_mark,
          body: { ...body, length }
        })
      }

      const isHeld = transcript.name === "09-live-idle-timeout" || transcript.name === "22-live-truncate"
      if (isHeld) shape.log.splice(0, 1, { offset: LogOffset.parse(asked.get("offset")!)!, json: "", chunkEnd: false })
      if (transcript.name === "22-live-truncate") {
        fake.onRead = (_, after) =>
          fake.shapes.has(handle)
            ? Effect.succeed({ end: after, upToDate: true, lastSeenLsn, body: readyBody([]) })
            : undefined
      }

      const response = yield* Effect.fork(
        request(transcript.path, {
          method: transcript.method,
          headers: transcript.requestHeaders,
          ...(transcript.requestBody !== undefined && { body: transcript.requestBody })
        })
      )
      if (isHeld) yield* fake.until(() => fake.waits.size === 1)
      if (transcript.name === "09-live-idle-timeout") yield* TestClock.adjust("20 seconds")
      if (transcript.name === "22-live-truncate") fake.drop(shape)
      const reply = yield* response.await.pipe(Effect.flatten)

      assert.strictEqual(reply.status, status)
      assert.deepStrictEqual(
        comparable(reply.headers, headers["content-length"] !== undefined),
        comparable(headers, headers["content-length"] !== undefined)
      )
      assert.strictEqual("electric-cursor" in reply.headers, "electric-cursor" in headers)
      if (Array.isArray(json) || subset !== undefined) assert.deepStrictEqual(JSON.parse(reply.body), json)
      else assert.strictEqual(reply.body, transcript.body)
    }))
})
