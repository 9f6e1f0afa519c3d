import { assert, describe, it } from "@effect/vitest"
import { Either, Redacted } from "effect"
import * as ConnectionUri from "../../src/domain/ConnectionUri.ts"
import { streamNames } from "../../src/domain/StreamNames.ts"

const read = (text: string) =>
  Either.map(ConnectionUri.parse(text), ({ password, ...uri }) => ({
    ...uri,
    password: password && Redacted.value(password)
  }))

const all = { host: "h", port: 5432, user: "u", password: undefined, database: "u", sslMode: undefined }

describe("ConnectionUri", () => {
  const accepted: ReadonlyArray<readonly [string, Partial<typeof all> | Record<string, unknown>]> = [
    ["postgresql://u@h", {}],
    ["postgres://u@h/", {}],
    ["postgres://u:@h", {}],
    ["postgres://u:p@h:6543/d", { password: "p", port: 6543, database: "d" }],
    ["postgresql://u:p@[::1]:6543/d", { password: "p", port: 6543, database: "d", host: "::1" }],
    ["postgresql://u@[2001:db8::7]", { host: "2001:db8::7" }],
    ["postgresql://u%40x:p%2F%3A%23%25@h/a%20b", { user: "u@x", password: "p/:#%", database: "a b" }],
    ["postgresql://u@%2Fvar%2Frun/d", { host: "/var/run", database: "d" }],
    ["postgresql://u@h/d?sslmode=require", { database: "d", sslMode: "require" }],
    ["postgresql://u@h?sslmode=disable&options=x&whatever=1", { sslMode: "disable" }],
    ["postgresql://u@h?sslmode=allow", { sslMode: "allow" }],
    ["postgresql://u@h?sslmode=prefer&channel_binding=require", { sslMode: "prefer" }]
  ]
  for (const [text, expected] of accepted) {
    it(`reads ${text}`, () => {
      assert.deepStrictEqual(read(text), Either.right({ ...all, ...expected }))
    })
  }

  const refused = [
    "",
    "u:hidden@h",
    "mysql://u:hidden@h",
    "http://u:hidden@h",
    "postgresql://h/d",
    "postgresql://:hidden@h/d",
    "postgresql://u:hidden@/d",
    "postgresql://u:hidden@h:0/d",
    "postgresql://u:hidden@h:65536",
    "postgresql://u:hidden@h:http",
    "postgresql://u:hid@den@h",
    "postgresql://u:%hidden@h",
    "postgresql://u:hidden@h?sslmode=verify-full",
    "postgresql://u:hidden@h?sslmode=",
    "postgresql://u:hidden@::1/d"
  ]
  for (const text of refused) {
    it(`refuses ${JSON.stringify(text)}, without repeating the password`, () => {
      const result = ConnectionUri.parse(text)
      assert.isTrue(Either.isLeft(result))
      if (Either.isLeft(result)) assert.notMatch(result.left, /hid/)
    })
  }
})

describe("streamNames", () => {
  it("names publication and slot after the id, in lower case", () => {
    assert.deepStrictEqual(
      streamNames("Blue_2"),
      Either.right({ publication: "shapelog_publication_blue_2", slot: "shapelog_slot_blue_2" })
    )
  })
  it("takes the longest id that leaves the names whole, and no longer one", () => {
    assert.isTrue(Either.isRight(streamNames("a".repeat(42))))
    assert.isTrue(Either.isLeft(streamNames("a".repeat(43))))
  })
  for (const id of ["", "a b", "a-b", "ä", "a\"b", "a;drop", "a.b"]) {
    it(`refuses ${JSON.stringify(id)}`, () => assert.isTrue(Either.isLeft(streamNames(id))))
  }
})
