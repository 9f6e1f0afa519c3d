/**
 * The OpenAPI 3.1 document of what we serve, made of the Schemas that requests are read with and answers are described
 * by.
 */
import { JSONSchema, Schema } from "effect"
import { createHash } from "node:crypto"
import type { HttpSettings } from "./HttpOptions.ts"
import * as LogFrame from "./LogFrame.ts"
import * as Requests from "./RequestSchemas.ts"
import * as Responses from "./ResponseSchemas.ts"

type Json = string | number | boolean | { readonly [key: string]: Json } | ReadonlyArray<Json>
type AnySchema = Schema.Schema.All

export interface Parameter {
  readonly name: string
  readonly in: "query" | "header"
  readonly required?: boolean
  readonly deprecated?: boolean
  readonly style?: "deepObject"
  readonly explode?: boolean
  readonly description?: string
  readonly schema: JSONSchema.JsonSchema7
}

export interface Header {
  readonly required: boolean
  readonly description?: string
  readonly schema: JSONSchema.JsonSchema7
}

export interface Response {
  readonly description: string
  readonly headers?: { readonly [name: string]: Header }
  readonly content?: { readonly [type: string]: { readonly schema: JSONSchema.JsonSchema7 } }
}

export interface Operation {
  readonly operationId: string
  readonly summary: string
  readonly description?: string
  readonly security: ReadonlyArray<{ readonly [scheme: string]: ReadonlyArray<string> }>
  readonly parameters?: ReadonlyArray<Parameter>
  readonly requestBody?: {
    readonly required: boolean
    readonly content: { readonly [type: string]: { readonly schema: JSONSchema.JsonSchema7 } }
  }
  readonly responses: { readonly [status: string]: Response }
}

export type Method = "get" | "head" | "post" | "delete" | "options"

export interface Document {
  readonly openapi: "3.1.0"
  readonly info: { readonly [key: string]: Json }
  readonly servers: ReadonlyArray<{ readonly url: string }>
  readonly paths: { readonly [path: string]: { readonly [method in Method]?: Operation } }
  readonly components: {
    readonly securitySchemes?: { readonly [name: string]: { readonly [key: string]: Json } }
    readonly schemas: { readonly [name: string]: JSONSchema.JsonSchema7 }
  }
}

// --- What is answered ---

type Headers = { readonly [name in Responses.HeaderName]?: "always" | "maybe" }

/** An answer before its Schemas are written out. */
interface Answer {
  readonly description: string
  readonly headers?: Headers
  readonly bodies?: { readonly [type: string]: AnySchema }
}

type Answers = { readonly [status: number]: Answer }

const JSON_TYPE = "application/json"

/** Bodies that come without a content type. */
const UNNAMED = "*/*"

const json = (schema: AnySchema) => ({ [JSON_TYPE]: schema })

const cached: Headers = { "cache-control": "always" }
const withCors: Headers = { ...cached, "access-control-allow-methods": "always" }

const logHeaders: Headers = {
  ...withCors,
  etag: "always",
  "electric-handle": "always",
  "electric-offset": "always",
  "electric-has-data": "always",
  "electric-up-to-date": "maybe",
  "electric-cursor": "maybe"
}

const errorHeaders: Headers = { ...withCors, "surrogate-control": "maybe" }

const conflict: Answer = {
  description:
    "The handle names no log that can be gone on with. `electric-handle` names the one to start over with, " +
    "where it is known.",
  headers: { ...withCors, etag: "maybe", "electric-handle": "maybe" },
  bodies: json(Responses.MustRefetch)
}

const unauthorized: Answer = {
  description: "The secret is missing or wrong. Without CORS headers.",
  headers: cached,
  bodies: { [UNNAMED]: Responses.Unauthorized }
}

const unavailable: Answer = {
  description: "Not now: the client asks again after a while.",
  headers: { ...errorHeaders, "retry-after": "always", "electric-internal-known-error": "maybe" },
  bodies: json(Schema.Union(Responses.Overloaded, Responses.Message))
}

const tooLong: Answer = {
  description: "The request target is longer than 10,000 bytes. A `POST` takes what is long in its body.",
  headers: withCors,
  bodies: { [UNNAMED]: Responses.UriTooLong }
}

const internal: Answer = {
  description: "Something that should not have gone wrong.",
  headers: errorHeaders,
  bodies: json(Schema.Union(Responses.InternalError, Responses.Message))
}

const notModified: Answer = {
  description: "The response is still the one that the client has, as `If-None-Match` says.",
  headers: logHeaders
}

const Events = Schema.String.annotations({
  description: "Events as they happen. Each is `data: ` with a `LogMessage` and an empty line; comments keep the " +
    "connection alive. When the stream ends, the client asks for what comes after the last `up-to-date` message."
})

const shapeAnswers = (secret: Answers): Answers => ({
  200: {
    description:
      "A piece of the log: of the rows as they were at first, or of what has happened since. With a subset, " +
      "its rows.",
    headers: {
      ...logHeaders,
      etag: "maybe",
      "electric-has-data": "maybe",
      "electric-schema": "maybe",
      "electric-snapshot": "maybe"
    },
    bodies: {
      [JSON_TYPE]: Schema.Union(Responses.ShapeLog, Responses.SubsetRows),
      "text/event-stream": Events
    }
  },
  304: notModified,
  400: {
    description: "The request is wrong, and stays so.",
    headers: errorHeaders,
    bodies: json(Responses.InvalidParameters)
  },
  ...secret,
  409: conflict,
  414: tooLong,
  500: internal,
  503: unavailable
})

const postAnswers = (secret: Answers): Answers => ({
  ...shapeAnswers(secret),
  400: {
    description: "The request is wrong, and stays so.",
    headers: errorHeaders,
    bodies: json(Schema.Union(Responses.InvalidParameters, Responses.BodyProblem))
  },
  413: { description: "The body is too long.", headers: errorHeaders, bodies: json(Responses.BodyProblem) }
})

const deleteAnswers = (secret: Answers, allowDelete: boolean): Answers =>
  allowDelete
    ? {
      202: { description: "The shape is gone: its readers get a 409.", headers: withCors },
      400: {
        description: "The request is wrong, or its definition and its handle are those of different shapes.",
        headers: errorHeaders,
        bodies: json(Schema.Union(Responses.InvalidParameters, Responses.Message))
      },
      ...secret,
      404: { description: "There is no such shape.", headers: errorHeaders, bodies: json(Responses.Message) },
      414: tooLong,
      500: internal,
      503: unavailable
    }
    : {
      ...secret,
      405: { description: "This server removes no shapes.", headers: errorHeaders, bodies: json(Responses.Message) },
      414: tooLong
    }

// --- The document ---

const deprecated: ReadonlySet<string> = new Set(["experimental_live_sse", "api_secret"])

const IfNoneMatch = Schema.String.annotations({ description: "ETags of responses that the client has." })

/** All of it. Costs some milliseconds. */
export const make = (options: Pick<HttpSettings, "allowDelete" | "secret" | "version">): Document => {
  const schemas: Record<string, JSONSchema.JsonSchema7> = {}

  const jsonSchema = (schema: AnySchema): JSONSchema.JsonSchema7 =>
    JSONSchema.fromAST(schema.ast, {
      definitions: schemas,
      definitionPath: "#/components/schemas/",
      target: "openApi3.1",
      additionalPropertiesStrategy: "allow"
    })

  /** The Schema without its description, which has a place of its own beside it. */
  const described = (schema: AnySchema) => {
    const { description, ...rest } = jsonSchema(schema)
    return { ...(description !== undefined && { description }), schema: rest }
  }

  const parameters = (
    fields: { readonly [name: string]: AnySchema },
    required: ReadonlyArray<string> = [],
    prefix = ""
  ): ReadonlyArray<Parameter> =>
    Object.entries(fields).map(([name, schema]) => ({
      name: prefix + name,
      in: "query",
      ...(required.includes(name) && { required: true }),
      ...(deprecated.has(name) && { deprecated: true }),
      ...(prefix === "" && name === "params" && { style: "deepObject", explode: true }),
      ...described(schema)
    }))

  const headersOf = (headers: Headers): { readonly [name: string]: Header } =>
    Object.fromEntries(
      Object.entries(Responses.headers).flatMap(([name, schema]) => {
        const when = headers[name as Responses.HeaderName]
        return when === undefined ? [] : [[name, { required: when === "always", ...described(schema) }]]
      })
    )

  const responses = (answers: Answers, withBodies = true): { readonly [status: string]: Response } =>
    Object.fromEntries(
      Object.entries(answers).map(([status, { bodies, description, headers }]) => [status, {
        description,
        ...(headers && { headers: headersOf(headers) }),
        ...(withBodies && bodies && {
          content: Object.fromEntries(Object.entries(bodies).map(([type, of]) => [type, { schema: jsonSchema(of) }]))
        })
      }])
    )

  /** Reads with `GET` and `HEAD`. */
  const reads = (
    name: string,
    answers: Answers,
    operation: Omit<Operation, "operationId" | "responses">
  ): { readonly get: Operation; readonly head: Operation } => ({
    get: { operationId: `get${name}`, ...operation, responses: responses(answers) },
    head: {
      operationId: `head${name}`,
      ...operation,
      summary: `${operation.summary} Headers alone.`,
      responses: responses(answers, false)
    }
  })

  const guarded = options.secret !== undefined
  const security = guarded ? [{ secret: [] }] : []
  const secret: Answers = guarded ? { 401: unauthorized } : {}
  const credentials = parameters({ api_secret: Requests.Credentials.api_secret })
  const definition = parameters(Requests.Definition, ["table"])
  const position = parameters(Requests.Position, ["offset"])
  const subset = parameters(Requests.Subset, [], "subset__")
  const conditional: Parameter = { name: "if-none-match", in: "header", ...described(IfNoneMatch) }
  const optional = (all: ReadonlyArray<Parameter>): ReadonlyArray<Parameter> =>
    all.map(({ required: _, ...parameter }) => parameter)

  const paths: Document["paths"] = {
    "/v1/shape": {
      ...reads("Shape", shapeAnswers(secret), {
        summary: "Reads the log of a shape, which is made when it is not there.",
        description:
          "Begin with `offset=-1`, go on with the `electric-handle` and `electric-offset` of each response " +
          "until one has `electric-up-to-date`, then add `live=true`. With any `subset__…` parameter (or " +
          "`subset[…]`), some of its rows are read instead. Empty parameters count as absent, unknown ones mean nothing.",
        security,
        parameters: [...definition, ...position, ...subset, ...(guarded ? credentials : []), conditional]
      }),
      post: {
        operationId: "postShape",
        summary: "As `GET`, with parameters in the body.",
        description: "Those of the body count for more than those of the query. Responses are not cached.",
        security,
        parameters: [
          ...optional([...definition, ...position]),
          ...subset,
          ...(guarded ? credentials : []),
          conditional
        ],
        requestBody: { required: false, content: { [JSON_TYPE]: { schema: jsonSchema(Requests.PostBody) } } },
        responses: responses(postAnswers(secret))
      },
      delete: {
        operationId: "deleteShape",
        summary: "Removes a shape.",
        description: options.allowDelete
          ? "By its definition, by its handle, or by both, which then must be of one shape."
          : "Not on this server.",
        security,
        parameters: options.allowDelete
          ? [
            ...optional(definition),
            ...parameters({ handle: Requests.Position.handle }),
            ...(guarded ? credentials : [])
          ]
          : [],
        responses: responses(deleteAnswers(secret, options.allowDelete))
      },
      options: {
        operationId: "optionsShape",
        summary: "What scripts of other origins may do.",
        security: [],
        responses: responses({
          204: {
            description: "Methods and headers.",
            headers: {
              "access-control-allow-methods": "always",
              "access-control-max-age": "always",
              "access-control-allow-headers": "maybe"
            }
          },
          414: tooLong
        })
      }
    },
    "/v1/health": reads("Health", {
      200: { description: "All is well.", headers: withCors, bodies: json(Responses.Active) },
      202: { description: "Not ready to serve every request.", headers: withCors, bodies: json(Responses.NotActive) },
      414: tooLong
    }, { summary: "Whether the server is ready.", security: [] }),
    "/openapi.json": reads("OpenApi", {
      200: {
        description: "This document.",
        headers: { ...withCors, etag: "always" },
        bodies: json(Responses.OpenApiDocument)
      },
      304: { description: "The client has it.", headers: { ...withCors, etag: "always" } },
      414: tooLong
    }, { summary: "This document.", security: [], parameters: [conditional] }),
    "/": reads("Root", {
      200: { description: "There is a server.", headers: withCors },
      414: tooLong
    }, { summary: "An empty page.", security: [] })
  }

  return {
    openapi: "3.1.0",
    info: {
      title: "Shapelog",
      version: options.version,
      summary: "Live subsets of Postgres tables over HTTP.",
      description: "The Electric HTTP protocol. Whatever is not described here is answered with 404 and `Not found`.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" }
    },
    // Relative to where this document is, so that a prefix is part of it.
    servers: [{ url: "." }],
    paths,
    components: {
      ...(guarded && {
        securitySchemes: {
          secret: {
            type: "apiKey",
            in: "query",
            name: "secret",
            description: "The server's API secret."
          }
        }
      }),
      schemas
    }
  }
}

export interface Served {
  readonly body: LogFrame.ResponseBody
  readonly etag: string
}

/** The document as it is sent: made when it is first asked for. */
export const lazily = (options: Parameters<typeof make>[0]): () => Served => {
  let served: Served | undefined
  return () => {
    if (served !== undefined) return served
    const text = JSON.stringify(make(options))
    const etag = `"openapi:${createHash("sha256").update(text).digest("hex").slice(0, 16)}"`
    return served = { body: LogFrame.utf8(text), etag }
  }
}
