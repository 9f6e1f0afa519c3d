/**
 * The OpenAPI document: that it is one, that it and the parser know the same, and that real answers are as it says.
 */
import { assert, describe, it } from "@effect/vitest"
import { Ajv2020 } from "ajv/dist/2020.js"
import { Arbitrary, Effect, Either, FastCheck as fc, Logger, Schema } from "effect"
import { readFileSync } from "node:fs"
import { DatabaseUnavailable, InvalidSubset, SnapshotFailed, StorageError } from "../../src/domain/Errors.ts"
import { HttpOptions } from "../../src/http/HttpOptions.ts"
import * as OpenApi from "../../src/http/OpenApi.ts"
import * as PostBody from "../../src/http/PostBody.ts"
import { scan } from "../../src/http/QueryString.ts"
import * as Requests from "../../src/http/RequestSchemas.ts"
import * as ShapeParams from "../../src/http/ShapeParams.ts"
import * as FakeEngine from "../support/FakeEngine.ts"
import * as Fixture from "./HttpFixture.ts"

type JsonValue = string | number | boolean | null | ReadonlyArray<JsonValue> | { readonly [key: string]: JsonValue }

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")

const { version } = Schema.decodeSync(Schema.parseJson(Schema.Struct({ version: Schema.String })))(read("package.json"))

const guarded = OpenApi.make({ version, secret: "s", allowDelete: true })
const open = OpenApi.make({ version, secret: undefined, allowDelete: false })

/** The document as those get it who ask for it. */
const parsed = (document: OpenApi.Document): JsonValue => JSON.parse(JSON.stringify(document)) as JsonValue

const validator = (document: JsonValue): Ajv2020 => {
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  return ajv.addSchema({ ...document as object, $id: "document" })
}

/** A pointer into the document. */
const pointer = (...path: ReadonlyArray<string | number>): string =>
  `document#/${
    path.map((part) => encodeURIComponent(String(part).replaceAll("~", "~0").replaceAll("/", "~1"))).join("/")
  }`

/** What is wrong with a value by the schema at a place in the document; `undefined` when nothing is. */
const problem = (ajv: Ajv2020, at: string, value: unknown): string | undefined => {
  const validate = ajv.getSchema(at)
  assert.isDefined(validate, at)
  return validate!(value) === true ? undefined : ajv.errorsText(validate!.errors)
}

/** Every object in it that says no more may be in it than it names says so. */
const closed = (value: JsonValue): JsonValue => {
  if (Array.isArray(value)) return value.map(closed)
  if (typeof value !== "object" || value === null) return value
  const entries = Object.entries(value as Record<string, JsonValue>).map(([key, each]) => [key, closed(each)] as const)
  const of = Object.fromEntries(entries)
  return of.additionalProperties === true ? { ...of, additionalProperties: false } : of
}

const visit = (value: JsonValue, see: (value: { readonly [key: string]: JsonValue }) => void): void => {
  if (Array.isArray(value)) { for (const each of value) visit(each, see) }
  else if (typeof value === "object" && value !== null) {
    const object = value as { readonly [key: string]: JsonValue }
    see(object)
    for (const each of Object.values(object)) visit(each, see)
  }
}

// --- The document itself ---

const Description = Schema.NonEmptyString
const JsonSchema = Schema.Struct({}, Schema.Record({ key: Schema.String, value: Schema.Unknown }))
const Content = Schema.Record({ key: Schema.String, value: Schema.Struct({ schema: JsonSchema }) })
const optionalKey = <A, I>(schema: Schema.Schema<A, I>) => Schema.optionalWith(schema, { exact: true })

const Operation = Schema.Struct({
  operationId: Schema.NonEmptyString,
  summary: Description,
  description: optionalKey(Description),
  security: Schema.Array(Schema.Record({ key: Schema.String, value: Schema.Array(Schema.String) })),
  parameters: optionalKey(Schema.Array(Schema.Struct({
    name: Schema.NonEmptyString,
    in: Schema.Literal("query", "header"),
    required: optionalKey(Schema.Boolean),
    deprecated: optionalKey(Schema.Boolean),
    style: optionalKey(Schema.Literal("deepObject")),
    explode: optionalKey(Schema.Boolean),
    description: Description,
    schema: JsonSchema
  }))),
  requestBody: optionalKey(Schema.Struct({ required: Schema.Boolean, content: Content })),
  responses: Schema.Record({
    key: Schema.String.pipe(Schema.pattern(/^[1-5]\d\d$/)),
    value: Schema.Struct({
      description: Description,
      headers: optionalKey(Schema.Record({
        key: Schema.String.pipe(Schema.pattern(/^[a-z-]+$/)),
        value: Schema.Struct({
          required: Schema.Boolean,
          description: optionalKey(Description),
          schema: JsonSchema
        })
      })),
      content: optionalKey(Content)
    })
  })
})

/** The part of OpenAPI 3.1 that is used. */
const Document = Schema.Struct({
  openapi: Schema.Literal("3.1.0"),
  info: Schema.Struct({
    title: Description,
    version: Description,
    summary: Description,
    description: Description,
    license: Schema.Struct({ name: Description, identifier: Description })
  }),
  servers: Schema.Array(Schema.Struct({ url: Schema.NonEmptyString })),
  paths: Schema.Record({
    key: Schema.String.pipe(Schema.pattern(/^\//)),
    value: Schema.partialWith(
      Schema.Struct({ get: Operation, head: Operation, post: Operation, delete: Operation, options: Operation }),
      { exact: true }
    )
  }),
  components: Schema.Struct({
    securitySchemes: optionalKey(Schema.Record({
      key: Schema.String,
      value: Schema.Struct({
        type: Schema.Literal("apiKey"),
        in: Schema.Literal("query"),
        name: Description,
        description: Description
      })
    })),
    schemas: Schema.Record({ key: Schema.String.pipe(Schema.pattern(/^[\w.-]+$/)), value: JsonSchema })
  })
})

const operations = (document: OpenApi.Document) =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation }))
  )

describe("the document", () => {
  for (const [name, document] of [["with a secret", guarded], ["without", open]] as const) {
    it(`is OpenAPI 3.1, ${name}`, () => {
      const json = parsed(document)
      const problems = Schema.decodeUnknownEither(Document, { onExcessProperty: "error", errors: "all" })(json)
      if (Either.isLeft(problems)) assert.fail(problems.left.message)
      const ids = operations(document).map(({ operation }) => operation.operationId)
      assert.strictEqual(new Set(ids).size, ids.length)
      for (const { method, operation, path } of operations(document)) {
        const parameters = (operation.parameters ?? []).map(({ in: place, name }) => `${place} ${name}`)
        assert.strictEqual(new Set(parameters).size, parameters.length, `${method} ${path}`)
        assert.isNotEmpty(Object.keys(operation.responses))
        const schemes = Object.keys(document.components.securitySchemes ?? {})
        for (const each of operation.security) for (const scheme of Object.keys(each)) assert.include(schemes, scheme)
        if (method === "head") {
          for (const response of Object.values(operation.responses)) assert.isUndefined(response.content)
        }
      }
      // Every schema in it is a JSON Schema, and what it refers to is there.
      const ajv = validator(json)
      const used = new Set<string>()
      visit(json, ({ $ref }) => {
        if (typeof $ref === "string") used.add($ref)
      })
      for (const ref of used) assert.isDefined(ajv.getSchema(`document${ref}`), ref)
      for (const schema of Object.keys(document.components.schemas)) {
        assert.include(used, `#/components/schemas/${schema}`)
        assert.isTrue(ajv.validateSchema(document.components.schemas[schema] as object), schema)
      }
      visit(json, ({ schema }) => {
        if (schema !== undefined) assert.isTrue(ajv.validateSchema(schema as object), JSON.stringify(schema))
      })
      // Nothing says what a generator says where nobody has said anything.
      visit(json, ({ description }) => {
        if (typeof description === "string") assert.notMatch(description, /matching the pattern|^a number between/)
      })
    })
  }

  it("has examples that are as their schemas say", () => {
    const ajv = validator(parsed(guarded))
    let count = 0
    visit(parsed(guarded), (schema) => {
      if (!Array.isArray(schema.examples)) return
      for (const example of schema.examples) {
        count++
        assert.isTrue(ajv.validate(schema, example), JSON.stringify([schema, example]))
      }
    })
    assert.isAbove(count, 20)
  })

  it.scoped("is served to whoever asks, may be kept, and is our version's", () =>
    Effect.gen(function*() {
      assert.strictEqual(HttpOptions.defaults.version, version)
      const { request } = yield* Fixture.server({ secret: "s", allowDelete: true })
      const reply = yield* request("/openapi.json", { headers: { origin: "https://example.com" } })
      assert.strictEqual(reply.status, 200)
      assert.deepStrictEqual(JSON.parse(reply.body), parsed(guarded))
      assert.strictEqual(reply.headers["content-type"], "application/json; charset=utf-8")
      assert.strictEqual(reply.headers["cache-control"], "public, max-age=300")
      assert.strictEqual(reply.headers["access-control-allow-origin"], "https://example.com")
      const head = yield* request("/openapi.json", { method: "HEAD" })
      assert.strictEqual(head.status, 200)
      assert.strictEqual(head.body, "")
      assert.strictEqual(head.headers.etag, reply.headers.etag)
      assert.strictEqual(head.headers["content-length"], reply.headers["content-length"])
      const headers = { "if-none-match": reply.headers.etag }
      const known = yield* request("/openapi.json", { headers })
      assert.strictEqual(known.status, 304)
      assert.strictEqual(known.body, "")
      const packed = yield* request("/openapi.json", { headers: { "accept-encoding": "gzip" } })
      assert.strictEqual(packed.headers["content-encoding"], "gzip")
      assert.strictEqual((yield* request("/openapi.json", { method: "POST" })).status, 404)
      const other = yield* Fixture.server()
      assert.deepStrictEqual(JSON.parse((yield* other.request("/openapi.json")).body), parsed(open))
    }))
})

// --- The parser ---

const get = guarded.paths["/v1/shape"]!.get!
const queryParameters = get.parameters!.filter(({ in: place }) => place === "query")

/** All parameters, by their names in the query. */
const fields: { readonly [name: string]: Schema.Schema.All } = {
  ...Requests.Definition,
  ...Requests.Position,
  ...Object.fromEntries(Object.entries(Requests.Subset).map(([name, schema]) => [`subset__${name}`, schema])),
  ...Requests.Credentials
}

const at = (name: string): string =>
  pointer("paths", "/v1/shape", "get", "parameters", get.parameters!.findIndex((each) => each.name === name), "schema")

const { definition, request: validate } = ShapeParams.make()

const encode = (name: string, value: unknown): string =>
  typeof value === "object" && value !== null
    ? Object.entries(value).map(([key, each]) => `${name}[${key}]=${encodeURIComponent(String(each))}`).join("&")
    : `${name}=${encodeURIComponent(String(value))}`

/** A request that is right whatever one more parameter says, where that is right by itself. */
const beside: { readonly [name: string]: string } = {
  offset: "table=items&handle=h",
  live: "table=items&offset=0_0&handle=h",
  live_sse: "table=items&offset=0_0&handle=h&live=true",
  experimental_live_sse: "table=items&offset=0_0&handle=h&live=true",
  handle: "table=items&offset=0_0",
  table: "offset=-1",
  params: "table=items&offset=-1&where=true",
  subset__limit: "table=items&offset=-1&subset__order_by=id",
  subset__offset: "table=items&offset=-1&subset__order_by=id"
}

const request = (name: string, value: unknown): string =>
  `${beside[name] ?? "table=items&offset=-1"}&${encode(name, value)}`

/** Of strings whose letters mean something to one parser or another. */
const nasty = fc.stringMatching(/^[-+0-9_infow\u0000".,a $\u00e9]{0,12}$/)

const isWrong = (name: string, errors: ShapeParams.FieldErrors): boolean => {
  const [top, below] = name.split("__")
  const of = errors[top!]
  return below === undefined ? Array.isArray(of) : typeof of === "object" && below in of
}

describe("the parser", () => {
  it("knows the document's parameters, and no others", () => {
    const documented = [...queryParameters.map(({ name }) => name), guarded.components.securitySchemes!.secret!.name]
    assert.sameMembers(documented, Object.keys(fields))
    for (const name of Object.keys(fields)) {
      assert.notDeepEqual(scan(`${name}=x`), scan(""), name)
      assert.deepStrictEqual(scan(`x${name}=x`), scan(""))
    }
    // Whatever it compares names with. (The types see to that, too.)
    const named = [...read("src/http/QueryString.ts").matchAll(/case "(\w+)"/g)].map(([, name]) => name!)
    assert.sameMembers(named, Object.keys(fields).filter((name) => !name.startsWith("subset__")))
    const below = [...read("src/http/SubsetParams.ts").matchAll(/read\("(\w+)"/g)].map(([, name]) => `subset__${name}`)
    assert.includeMembers(Object.keys(fields), below)
    for (const method of ["post", "delete"] as const) {
      for (const { in: place, name } of guarded.paths["/v1/shape"]![method]!.parameters!) {
        if (place === "query") assert.property(fields, name)
      }
    }
  })

  const document = validator(parsed(guarded))

  for (const { name } of queryParameters) {
    it(`takes what the document says of ${name}`, () => {
      const encoded = Schema.encodedSchema(Schema.asSchema(fields[name] as Schema.Schema<unknown>))
      fc.assert(
        fc.property(Arbitrary.make(encoded), (value) => {
          assert.isUndefined(problem(document, at(name), value))
          const result = validate(scan(request(name, value)))
          if (Either.isLeft(result)) assert.fail(JSON.stringify([value, result.left]))
        })
      )
    })
  }

  const refusing = queryParameters.filter(({ name }) =>
    // Whatever these are, they mean something.
    !["live", "live_sse", "experimental_live_sse", "cursor", "api_secret"].includes(name) && !name.endsWith("_expr")
  )

  for (const { name } of refusing.filter(({ name }) => name !== "params")) {
    it(`refuses what the document does not say of ${name}`, () => {
      let refused = 0
      fc.assert(
        fc.property(nasty, (value) => {
          // Empty ones count as absent.
          if (value === "" || problem(document, at(name), value) === undefined) return
          refused++
          const result = validate(scan(request(name, value)))
          assert.isTrue(Either.isLeft(result) && isWrong(name, result.left), JSON.stringify([value, result]))
        }),
        { numRuns: 400, examples: [["\0"], ["a\0"], ["-2"], ["1_"], ["\"a"]] }
      )
      assert.isAbove(refused, 0)
    })
  }

  it("refuses what the document does not say of params", () => {
    const wrong: ReadonlyArray<{ readonly [key: string]: string }> = [{ a: "x" }, { "": "x" }, { 0: "x" }, {
      "1": "\0"
    }]
    for (const value of wrong) {
      assert.isDefined(problem(document, at("params"), value), JSON.stringify(value))
      const result = validate(scan(request("params", value)))
      assert.isTrue(Either.isLeft(result) && isWrong("params", result.left), JSON.stringify([value, result]))
    }
  })

  it("reads names that Postgres takes, whatever their letters, as the document says", () => {
    const letters = fc.constantFrom("a", "Z", "é", "٣", "\u0301", "😀", "_", "$", "\"", "\"\"", ".", ",", " ", "1", "-")
    const texts = fc.array(letters, { minLength: 1, maxLength: 8 }).map((all) => all.join(""))
    const long = fc.tuple(fc.constantFrom("a", "😀", "\"\""), fc.integer({ min: 60, max: 66 }), fc.boolean()).map(
      ([letter, length, quoted]) => quoted ? `"${letter.repeat(length)}"` : letter.repeat(length)
    )
    for (const name of ["table", "columns", "queryable_columns"]) {
      fc.assert(
        fc.property(fc.oneof(texts, long), (text) => {
          const result = definition(scan(name === "table" ? encode(name, text) : `table=items&${encode(name, text)}`))
          assert.strictEqual(Either.isRight(result), problem(document, at(name), text) === undefined, text)
        }),
        { numRuns: 500 }
      )
    }
  })

  const body = pointer("components", "schemas", "PostBody")
  const merged = (query: string, body: unknown) =>
    Either.flatMap(
      PostBody.merge(query, Buffer.from(JSON.stringify(body))),
      (query) => validate(scan(query))
    )

  it("takes bodies that are as the document says", () => {
    const base = "table=items&offset=0_0&handle=h&live=true"
    let subsets = 0
    fc.assert(
      fc.property(Arbitrary.make(Requests.PostBody), (value) => {
        assert.isUndefined(problem(document, body, JSON.parse(JSON.stringify(value))), JSON.stringify(value))
        // Parameters that are right by themselves may contradict each other.
        const { live: _, live_sse: __, experimental_live_sse: ___, ...rest } = value
        if ("subset" in rest) {
          subsets++
          Object.assign(rest, { offset: "0_0" })
        }
        if (rest.columns !== undefined) Object.assign(rest, { queryable_columns: undefined })
        const result = merged(base, rest)
        if (Either.isLeft(result)) assert.fail(JSON.stringify([value, result.left]))
      }),
      { numRuns: 300 }
    )
    assert.isAbove(subsets, 10)
    for (const [name, schema] of Object.entries(Requests.ShapeBody)) {
      fc.assert(
        fc.property(Arbitrary.make(Schema.asSchema(schema as Schema.Schema<unknown>)), (value) => {
          if (value === "") return
          const given = { subset: {}, [name]: value }
          assert.isUndefined(problem(document, body, given), JSON.stringify(given))
          const result = merged(beside[name] ?? "table=items&offset=-1", given)
          if (Either.isLeft(result)) assert.fail(JSON.stringify([given, result.left]))
        })
      )
    }
  })

  it("refuses bodies that are not", () => {
    const wrong: ReadonlyArray<JsonValue> = [
      ...[0, -1, 1.5, "0", "x", [1], {}, 1e300].map((limit) => ({ order_by: "id", limit })),
      ...[-1, 1.5, "-1", "x", [1]].map((offset) => ({ order_by: "id", offset })),
      { limit: 1 },
      { subset: { offset: 1 } },
      ...[["x"], { a: 1 }, { 1: [] }, { 1: 1e300 }, { 1: "\0" }].map((params) => ({ subset: { params } })),
      ...[["x"], { a: 1 }, { 1: [] }].map((params) => ({ subset: {}, params })),
      ...["", ["a", 1], [""], ["a\0"], ["x".repeat(64)], {}].filter((each) => each !== "").map((columns) => ({
        columns
      })),
      ...["x", 5, []].flatMap((mode) => [{ replica: mode }, { log: mode }, { experimental_compaction: mode }]),
      ...["a b", ".x", {}, "\0"].map((table) => ({ table })),
      ...["x", "-2", "1_"].map((offset) => ({ subset: {}, offset })),
      { where: "\0" },
      { order_by: [] },
      [],
      "x",
      null
    ]
    for (const value of wrong) {
      assert.isDefined(problem(document, body, value), JSON.stringify(value))
      assert.isTrue(Either.isLeft(merged("table=items&offset=-1", value)), JSON.stringify(value))
    }
  })
})

// --- Answers ---

const rows = [
  "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"1\\\"\",\"value\":{\"id\":\"1\",\"title\":null}," +
  "\"headers\":{\"operation\":\"insert\",\"relation\":[\"public\",\"items\"]}}",
  "{\"headers\":{\"control\":\"snapshot-end\",\"xmin\":\"1\",\"xmax\":\"1\",\"xip_list\":[\"2\"]}}"
]
const update = "{\"headers\":{\"last\":true,\"lsn\":\"7\",\"op_position\":0,\"operation\":\"update\"," +
  "\"relation\":[\"public\",\"items\"],\"txids\":[750]},\"key\":\"k\",\"value\":{\"id\":\"1\"},\"old_value\":{\"id\":null}}"
const row = "{\"key\":\"k\",\"value\":{\"id\":\"1\"},\"headers\":{\"operation\":\"insert\"," +
  "\"relation\":[\"public\",\"items\"],\"snapshot_mark\":1304557}}"

/** Headers of any answer, of which the document is silent. */
const common: ReadonlySet<string> = new Set([
  "access-control-allow-origin",
  "access-control-expose-headers",
  "connection",
  "content-length",
  "content-type",
  "date",
  "electric-server",
  "keep-alive",
  "transfer-encoding",
  "vary",
  "x-request-id"
])

/** Whether an answer is one that a document describes, to the last field; `seen` gets to know what was answered. */
const conforms = (document: OpenApi.Document, seen: Set<string>) => {
  const json = closed(parsed(document))
  const ajv = validator(json)
  return (method: string, target: string, reply: Fixture.Reply) => {
    const path = target.split("?")[0]!
    const operation = document.paths[path]?.[method.toLowerCase() as OpenApi.Method]
    const said = `${method} ${path} ${reply.status}`
    const response = operation?.responses[reply.status]
    assert.isDefined(response, `${said}: ${reply.body}`)
    seen.add(said)
    const place = ["paths", path, method.toLowerCase(), "responses", reply.status] as const
    for (const [name, header] of Object.entries(response!.headers ?? {})) {
      const value = reply.headers[name]
      if (value === undefined) assert.isFalse(header.required, `${said}: no ${name}`)
      else {assert.isUndefined(
          problem(ajv, pointer(...place, "headers", name, "schema"), value),
          `${said}: ${name}: ${value}`
        )}
    }
    for (const name of Object.keys(reply.headers)) {
      if (!common.has(name)) assert.property(response!.headers ?? {}, name, said)
    }
    if (method === "HEAD" || response!.content === undefined) return assert.strictEqual(reply.body, "", said)
    const type = reply.headers["content-type"]?.split(";")[0] ?? "*/*"
    assert.property(response!.content, type, said)
    seen.add(`${said} ${type}`)
    const at = pointer(...place, "content", type, "schema")
    const texts = type === "text/event-stream"
      ? [...reply.body.matchAll(/^data: (.*)\n\n/gm)].map(([, data]) => `[${data}]`)
      : [reply.body]
    for (const text of texts) {
      const body: unknown = text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : text
      assert.isUndefined(
        problem(ajv, type === "text/event-stream" ? pointer("components", "schemas", "ShapeLog") : at, body),
        `${said}: ${text}`
      )
    }
  }
}

/** All that a document says is answered, with the types of bodies that are not JSON. */
const promised = (document: OpenApi.Document): ReadonlyArray<string> =>
  operations(document).flatMap(({ method, operation, path }) =>
    Object.entries(operation.responses).flatMap(([status, { content }]) => {
      const said = `${method.toUpperCase()} ${path} ${status}`
      return [said, ...Object.keys(content ?? {}).map((type) => `${said} ${type}`)]
    })
  )

describe("answers", () => {
  for (const allowed of [true, false]) {
    it.scopedLive(`are as the document says, ${allowed ? "with a secret and deletions" : "without"}`, () =>
      Effect.gen(function*() {
        const settings = { allowDelete: allowed, readyTimeoutMs: 1, longPollTimeoutMs: 40, sseTimeoutMs: 40 }
        const { fake, request, routes } = yield* Fixture.server({ ...settings, ...(allowed && { secret: "s" }) })
        const full = yield* Fixture.server({
          ...settings,
          ...(allowed && { secret: "s" }),
          maxConcurrentRequests: { initial: 0, existing: 0 }
        })
        const shape = fake.define("items", [rows])
        fake.append(shape, 7n, [update])
        const seen = new Set<string>()
        const check = conforms(allowed ? guarded : open, seen)
        const secret = allowed ? "&secret=s" : ""
        const ask = Effect.fnUntraced(function*(
          expected: number,
          method: string,
          target: string,
          options: { readonly headers?: Record<string, string>; readonly body?: string } = {}
        ) {
          const reply = yield* request(target, { method, ...options })
          assert.strictEqual(reply.status, expected, `${method} ${target}: ${reply.body}`)
          check(method, target, reply)
          return reply
        })
        const long = "x".repeat(10_000)
        const url = (query: string) => `/v1/shape?${query}${secret}`
        const real = `table=items&handle=${shape.handle}&offset`

        for (const method of ["GET", "HEAD", "POST"]) {
          fake.status = "active"
          yield* ask(200, method, url("table=items&offset=-1"))
          yield* ask(200, method, url("table=items&offset=now"))
          const { headers } = yield* ask(200, method, url(`${real}=0_0`))
          yield* ask(304, method, url(`${real}=0_0`), { headers: { "if-none-match": headers.etag! } })
          yield* ask(200, method, url(`${real}=0_0&live=true`))
          yield* ask(200, method, url(`${real}=7_0&live=true&cursor=5`))
          yield* ask(200, method, url(`${real}=7_0&live=true&live_sse=true`))
          yield* ask(200, method, url(`${real}=0_0&live=true&live_sse=true`))
          fake.onSubset = () =>
            Effect.succeed({
              marks: { xmin: 7n, xmax: 9n, xip: [8n], lsn: 26801000n },
              mark: 1304557,
              body: FakeEngine.readyBody([row, row])
            })
          yield* ask(200, method, url("table=items&offset=-1&subset__where=true"))
          fake.onSubset = () => InvalidSubset.of("where", "At location 1: unknown reference x")
          yield* ask(400, method, url("table=items&offset=-1&subset__where=x"))
          yield* ask(400, method, url("table=items&offset=-1&subset__limit=0"))
          yield* ask(400, method, url("table=items"))
          yield* ask(400, method, url("table=nope&offset=-1"))
          yield* ask(400, method, url(`${real}=9_0`))
          if (allowed) yield* ask(401, method, "/v1/shape?table=items&offset=-1")
          yield* ask(409, method, url("table=items&handle=other&offset=0_0"))
          const gone = fake.define("gone", [rows])
          fake.onRead = (handle) => {
            if (handle !== gone.handle) return undefined
            fake.drop(gone)
            return undefined
          }
          const lost = yield* ask(409, method, url("table=gone&offset=-1"))
          assert.isUndefined(lost.headers["electric-handle"])
          yield* ask(414, method, url(long))
          fake.onRead = () => new StorageError({ operation: "read", cause: new Error("broken") })
          yield* ask(500, method, url("table=items&offset=-1"))
          fake.onRead = () => new SnapshotFailed({ reason: "unknown", detail: "Unexpected error" })
          yield* ask(500, method, url("table=items&offset=-1"))
          fake.onRead = () => new SnapshotFailed({ reason: "query_timeout", detail: "Snapshot query took too long" })
          yield* ask(503, method, url("table=items&offset=-1"))
          fake.onRead = () => undefined
          fake.onResolve = () => new DatabaseUnavailable({ operation: "resolving", cause: new Error("gone") })
          yield* ask(503, method, url("table=items&offset=-1"))
          fake.onResolve = () => undefined
          const overloaded = yield* full.request(url("table=items&offset=-1"), { method })
          assert.strictEqual(overloaded.status, 503)
          check(method, "/v1/shape", overloaded)
          fake.status = "starting"
          yield* ask(503, method, url("table=items&offset=-1"))
        }

        fake.status = "active"
        const post = (status: number, body: string) => ask(status, "POST", url("table=items&offset=-1"), { body })
        yield* post(400, "{")
        yield* post(400, "[]")
        yield* post(400, "{\"subset\":{\"limit\":[]},\"columns\":[1]}")
        yield* post(413, " ".repeat(8_000_001))

        const remove = (status: number, query: string) => ask(status, "DELETE", url(query))
        if (allowed) {
          yield* remove(400, "")
          fake.define("other")
          yield* remove(400, `table=other&handle=${shape.handle}`)
          yield* ask(401, "DELETE", "/v1/shape?table=items")
          yield* remove(404, "handle=none")
          yield* remove(202, `handle=${shape.handle}`)
          fake.status = "starting"
          yield* remove(503, "handle=none")
          fake.status = "active"
          const broken = fake.define("broken")
          fake.shapes.get = () => {
            throw new Error("broken")
          }
          yield* remove(500, `handle=${broken.handle}`)
          Reflect.deleteProperty(fake.shapes, "get")
        } else yield* remove(405, "table=items")
        yield* remove(414, long)

        yield* ask(204, "OPTIONS", "/v1/shape", { headers: { "access-control-request-headers": "content-type" } })
        yield* ask(414, "OPTIONS", url(long))
        for (const method of ["GET", "HEAD"]) {
          for (const [status, code] of [["active", 200], ["starting", 202], ["waiting", 202]] as const) {
            fake.status = status
            yield* ask(code, method, "/v1/health")
          }
          const { headers } = yield* ask(200, method, "/openapi.json")
          yield* ask(304, method, "/openapi.json", { headers: { "if-none-match": headers.etag! } })
          yield* ask(200, method, "/")
          for (const path of ["/v1/health", "/openapi.json", "/"]) yield* ask(414, method, `${path}?${long}`)
        }
        assert.strictEqual(routes.held(), 0)
        assert.sameMembers([...seen], [...promised(allowed ? guarded : open)])
      }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))
  }
})
