import { assert, describe, it } from "@effect/vitest"
import type { Relation } from "../../src/domain/Relation.ts"
import { text, type Tuple, type WalMessage } from "../../src/domain/WalMessage.ts"
import * as Pgoutput from "../../src/source/Pgoutput.ts"
import fixtures from "./fixtures/pgoutput.json" with { type: "json" }

const captured: Readonly<Record<string, ReadonlyArray<string>>> = fixtures.captured

// --- Printing, so that an expectation is one line ---

const row = (tuple: Tuple): string =>
  Array.from({ length: tuple.cols.length / 2 }, (_, i) => {
    const value = text(tuple, i)
    if (value === undefined) return "unchanged"
    if (value === null) return "null"
    return value.length > 100 ? `${value[0]}*${value.length}` : JSON.stringify(value)
  }).join(", ")

const relation = (r: Relation): string =>
  `${r.schema}.${r.name} ${r.replicaIdentity} ${
    r.columns.map((c) => `${c.name}${c.key ? "!" : ""}:${c.typeOid}:${c.typeModifier}`).join(" ")
  }`

const print = (message: WalMessage | undefined): string => {
  if (message === undefined) return "dropped"
  switch (message._tag) {
    case "Relation":
      return `Relation ${relation(message.relation)}`
    case "Insert":
      return `Insert ${message.relation.name} (${row(message.row)})`
    case "Update": {
      const old = message.old ? `${message.oldIsFull ? "full" : "key"} (${row(message.old)})` : "none"
      return `Update ${message.relation.name} ${old} -> (${row(message.row)})`
    }
    case "Delete":
      return `Delete ${message.relation.name} ${message.oldIsFull ? "full" : "key"} (${row(message.old)})`
    case "Truncate":
      return `Truncate ${message.relations.map((r) => r.name).join(", ")}`
    default:
      return message._tag
  }
}

const decodeAll = (messages: ReadonlyArray<string>, decoder = Pgoutput.make()): ReadonlyArray<WalMessage | undefined> =>
  messages.map((hex) => {
    const bytes = Buffer.from(hex, "hex")
    return decoder.decode(bytes, 0, bytes.length)
  })

// --- Messages of a real server ---

const plain = "Relation fixture.plain d id!:23:-1 name:25:-1 note:1043:24"
const full = "Relation fixture.Full Row f id!:23:-1 name!:25:-1"
const nothing = "Relation fixture.nothing n id:23:-1"
const toasted = "Relation fixture.toasted d id!:23:-1 big:25:-1 small:25:-1"
const toastedFull = "Relation fixture.toasted_full f id!:23:-1 big!:25:-1 small!:25:-1"

const goldens: Readonly<Record<string, ReadonlyArray<string>>> = {
  "insert": [
    "Begin",
    plain,
    "Insert plain (\"1\", \"gruß 日本\", null)",
    "Insert plain (\"2\", \"\", \"tab\\tnewline\\n\")",
    "Commit"
  ],
  "update": ["Begin", plain, "Update plain none -> (\"1\", \"b\", null)", "Commit"],
  "update of the key": ["Begin", plain, "Update plain key (\"1\", null, null) -> (\"10\", \"b\", null)", "Commit"],
  "delete by key": ["Begin", plain, "Delete plain key (\"10\", null, null)", "Commit"],
  "full: insert": ["Begin", full, "Insert Full Row (\"1\", null)", "Commit"],
  "full: update": ["Begin", full, "Update Full Row full (\"1\", null) -> (\"1\", \"x\")", "Commit"],
  "full: update of the key": ["Begin", full, "Update Full Row full (\"1\", \"x\") -> (\"2\", \"x\")", "Commit"],
  "full: delete": ["Begin", full, "Delete Full Row full (\"2\", \"x\")", "Commit"],
  "index: update of the key": [
    "Begin",
    "Relation fixture.indexed i id:23:-1 code!:25:-1",
    "Insert indexed (\"1\", \"a\")",
    "Commit",
    "Begin",
    "Update indexed key (null, \"a\") -> (\"1\", \"b\")",
    "Commit"
  ],
  "nothing: insert": ["Begin", nothing, "Insert nothing (\"1\")", "Commit"],
  "toast: update": [
    "Begin",
    toasted,
    "Insert toasted (\"1\", a*3000, \"s\")",
    "Commit",
    "Begin",
    "Update toasted none -> (\"1\", unchanged, \"t\")",
    "Commit"
  ],
  "toast: update of the key": [
    "Begin",
    toasted,
    "Update toasted key (\"1\", null, null) -> (\"2\", unchanged, \"t\")",
    "Commit"
  ],
  "toast, full: update": [
    "Begin",
    toastedFull,
    "Insert toasted_full (\"1\", a*3000, \"s\")",
    "Commit",
    "Begin",
    "Update toasted_full full (\"1\", a*3000, \"s\") -> (\"1\", unchanged, \"t\")",
    "Commit"
  ],
  "toast, full: delete": ["Begin", toastedFull, "Delete toasted_full full (\"1\", a*3000, \"t\")", "Commit"],
  "truncate": ["Begin", plain, "Truncate plain", "Commit"],
  "truncate with options": [
    "Begin",
    "Relation fixture.parent d id!:23:-1",
    plain,
    "Relation fixture.child d id:23:-1",
    "Truncate parent, plain, child",
    "Commit"
  ],
  "message": ["Begin", "dropped", "Commit"],
  "message outside transactions": ["dropped"],
  "origin": ["Begin", "dropped", nothing, "Insert nothing (\"2\")", "Commit"],
  "several tables in one transaction": [
    "Begin",
    plain,
    "Insert plain (\"5\", null, null)",
    nothing,
    "Insert nothing (\"5\")",
    "Insert plain (\"6\", null, null)",
    "Commit"
  ]
}

describe("messages of a real server", () => {
  for (const [name, expected] of Object.entries(goldens)) {
    it(name, () => assert.deepStrictEqual(decodeAll(captured[name]!).map(print), expected))
  }

  it("type", () => {
    const [begin, type, described, insert] = decodeAll(captured["type"]!)
    assert.deepStrictEqual([begin, type, insert].map(print), ["Begin", "dropped", "Insert typed (\"1\", \"sad\")"])
    // The enum's oid is the database's own.
    assert.match(print(described), /^Relation fixture\.typed d id!:23:-1 feeling:\d{5,}:-1$/)
  })

  it("Begin has the commit's LSN, and Commit ends after it", () => {
    const messages = decodeAll(captured["insert"]!)
    const begin = messages[0]
    const commit = messages.at(-1)
    assert.ok(begin?._tag === "Begin" && commit?._tag === "Commit")
    assert.strictEqual(commit.lsn, begin.lsn)
    assert.isTrue(commit.endLsn > commit.lsn)
    assert.isTrue(begin.xid > 0)
  })

  it("every captured scenario has an expectation", () =>
    assert.deepStrictEqual(Object.keys(captured).sort(), [...Object.keys(goldens), "type"].sort()))

  it("a row is a view of the buffer it was decoded from, wherever in it", () => {
    const decoder = Pgoutput.make()
    const [, described, insert] = captured["insert"]!
    decodeAll([described!], decoder)
    const message = Buffer.from(insert!, "hex")
    const bytes = Buffer.concat([Buffer.alloc(7, 1), message, Buffer.alloc(9, 2)])
    const decoded = decoder.decode(bytes, 7, 7 + message.length)
    assert.strictEqual(print(decoded), "Insert plain (\"1\", \"gruß 日本\", null)")
    assert.ok(decoded?._tag === "Insert")
    assert.strictEqual(decoded.row.bytes, bytes)
  })
})

// --- Relations ---

const int16 = (n: number) => [n >> 8, n & 255]
const int32 = (n: number) => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]
const cstring = (value: string) => [...Buffer.from(value), 0]
const column = (name: string, oid = 25) => [0, ...cstring(name), ...int32(oid), ...int32(-1)]
const value = (content: string) => [0x74, ...int32(Buffer.byteLength(content)), ...Buffer.from(content)]
const bytesOf = (type: string, ...parts: ReadonlyArray<ReadonlyArray<number>>) =>
  Buffer.from([type.charCodeAt(0), ...parts.flat()])
const described = (oid: number, name: string, columns: ReadonlyArray<string>, schema = "public") =>
  bytesOf(
    "R",
    int32(oid),
    cstring(schema),
    cstring(name),
    [0x66],
    int16(columns.length),
    ...columns.map((c) => column(c))
  )

const decodeOne = (decoder: Pgoutput.Decoder, bytes: Buffer) => decoder.decode(bytes, 0, bytes.length)

const failure = (run: () => WalMessage | undefined): string => {
  try {
    return `decoded ${print(run())}`
  } catch (error) {
    assert.instanceOf(error, Pgoutput.PgoutputError)
    return error.message
  }
}

describe("relations", () => {
  it("are remembered until they are described again", () => {
    const decoder = Pgoutput.make()
    decodeOne(decoder, described(1, "a", ["x"]))
    decodeOne(decoder, described(2, "b", ["x", "y"]))
    const one = bytesOf("I", int32(1), [0x4e], int16(1), value("v"))
    assert.strictEqual(print(decodeOne(decoder, one)), "Insert a (\"v\")")
    decodeOne(decoder, described(1, "renamed", ["x", "z"]))
    assert.match(failure(() => decodeOne(decoder, one)), /a row of 1 columns for "renamed", which has 2/)
    assert.strictEqual(
      print(decodeOne(decoder, bytesOf("I", int32(1), [0x4e], int16(2), value("v"), [0x6e]))),
      "Insert renamed (\"v\", null)"
    )
  })

  it("that were never described are an error", () => {
    for (
      const message of [
        bytesOf("I", int32(9)),
        bytesOf("U", int32(9)),
        bytesOf("D", int32(9)),
        bytesOf("T", int32(1), [0], int32(9))
      ]
    ) {
      assert.match(failure(() => decodeOne(Pgoutput.make(), message)), /relation 9 was not described before/)
    }
  })

  it("have oids above 2^31, no columns, and an empty schema name for pg_catalog", () => {
    const decoder = Pgoutput.make()
    const message = decodeOne(decoder, described(0xfffffff0, "r", [], ""))
    assert.ok(message?._tag === "Relation")
    assert.deepStrictEqual(message.relation, {
      oid: 4294967280,
      schema: "pg_catalog",
      name: "r",
      replicaIdentity: "f",
      columns: []
    })
    assert.strictEqual(print(decodeOne(decoder, bytesOf("I", int32(0xfffffff0), [0x4e], int16(0)))), "Insert r ()")
  })
})

// --- Malformed input ---

describe("malformed input", () => {
  it("every captured message, cut at any byte or followed by one, is an error and nothing else", () => {
    for (const messages of Object.values(captured)) {
      const decoder = Pgoutput.make()
      for (const hex of messages) {
        const bytes = Buffer.from(hex, "hex")
        // The bytes of the rest are there, after the message's end: nothing beyond the end may be read.
        const step = bytes.length > 200 ? 97 : 1
        for (let end = 0; end < bytes.length; end += step) {
          assert.match(failure(() => decoder.decode(bytes, 0, end)), /^malformed/, `${hex.slice(0, 40)} cut at ${end}`)
        }
        const longer = Buffer.concat([bytes, Buffer.from([0])])
        assert.match(failure(() => decodeOne(decoder, longer)), /1 bytes follow it/)
        decodeOne(decoder, bytes)
      }
    }
  })

  const decoder = Pgoutput.make()
  decodeOne(decoder, described(1, "a", ["x"]))
  const cases: Readonly<Record<string, readonly [message: Buffer, problem: RegExp]>> = {
    "an unknown type": [bytesOf("Z"), /message Z: its type is unknown/],
    "a type that is no character": [Buffer.from([0x01]), /message \?: its type is unknown/],
    "nothing": [Buffer.alloc(0), /message \?: it is truncated/],
    "an unknown kind of value": [bytesOf("I", int32(1), [0x4e], int16(1), [0x62]), /a column value of kind 98/],
    "an unknown kind of tuple": [bytesOf("U", int32(1), [0x58]), /a tuple of kind 88/],
    "an insert of an old row": [
      bytesOf("I", int32(1), [0x4f], int16(1), [0x6e]),
      /a tuple of kind 79 in place of the new row/
    ],
    "a delete of a new row": [bytesOf("D", int32(1), [0x4e], int16(1), [0x6e]), /a tuple of kind 78/],
    "an update without its new row": [bytesOf("U", int32(1), [0x4b], int16(1), [0x6e]), /it is truncated/],
    "a value of negative length": [bytesOf("I", int32(1), [0x4e], int16(1), [0x74], int32(-1)), /it is truncated/],
    "a value longer than the message": [
      bytesOf("I", int32(1), [0x4e], int16(1), [0x74], int32(0x7fffffff)),
      /it is truncated/
    ],
    "a negative number of relations": [bytesOf("T", int32(-1), [0]), /it is truncated/],
    "more relations than fit": [bytesOf("T", int32(0x7fffffff), [0], int32(1)), /it is truncated/],
    "a name without an end": [bytesOf("R", int32(1), [0x61, 0x62]), /a text in it has no end/],
    "an unknown replica identity": [
      bytesOf("R", int32(1), cstring("s"), cstring("t"), [0x78], int16(0)),
      /replica identity x/
    ],
    "a message of negative length": [
      bytesOf("M", new Array<number>(9).fill(0), cstring("p"), int32(-5)),
      /a negative length/
    ]
  }
  for (const [name, [message, problem]] of Object.entries(cases)) {
    it(name, () => assert.match(failure(() => decodeOne(decoder, message)), problem))
  }
})
