/**
 * Texts that look like a value's output form: whatever a codec reads and writes back the same, Postgres does too. Others
 * are no values, or have another form.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { SqlType } from "../../src/domain/SqlCatalog.ts"
import { DISPLAY_SETTINGS } from "../../src/source/Database.ts"
import { UNSURE } from "../../src/where/Value.ts"
import { codecOf } from "../../src/where/values/Codecs.ts"
import * as Postgres from "../support/Postgres.ts"

const type = (name: string, subtype?: SqlType): SqlType => ({
  oid: 0,
  schema: "pg_catalog",
  name,
  kind: subtype === undefined ? "b" : name.includes("multi") ? "m" : "r",
  category: "U",
  preferred: false,
  collation: 0,
  ...(subtype && { subtype })
})

const times = [
  ..."00:00:00 24:00:00 24:00:00.000001 25:00:00 12:60:00 12:59:60 23:59:59.999999 1:00:00 12:00 12:00:00.".split(" "),
  ..."12:00:00.10 12:00:00.1234567 12:00:00x".split(" ")
]
const days = [
  ..."2024-02-29 2023-02-29 2024-02-30 2024-13-01 2024-00-01 2024-01-00 0000-01-01 0001-01-01 02024-01-01".split(" "),
  ..."12345-01-01 5874897-12-31 5874898-01-01 infinity -infinity Infinity epoch today 2024-1-1 20240101 24-01-01".split(
    " "
  ),
  "0044-03-15 BC",
  "4714-11-24 BC",
  "4714-11-23 BC",
  "2024-01-01 AD",
  "2024-01-01  BC",
  " 2024-01-01"
]
const intRanges = [
  ..."empty [1,2) [1,2] (1,2) (0,5] [1,1) [1,1] [2,1) (,) [,) (,5] (,5) [5,) [5,] [1,2)x EMPTY".split(" "),
  "[1, 2)",
  " [1,2)",
  "[\"1\",2)",
  "[01,2)"
]
const numericRanges = "[1,2) [1,2] (1,2) [1,1) [1,1] (1,1] [2,1) [NaN,NaN] [1,NaN] [1.0,1] (,] (,1]".split(" ")

/** One, two, and the same again in another order. */
const many = (ranges: ReadonlyArray<string>) => [
  "{}",
  "{empty}",
  "{[1,2),[3,4)}",
  "{[3,4),[1,2)}",
  "{[1,2),[2,4)}",
  "{[1,3),[2,4)}",
  "{[1,2),[1,2)}",
  "{[1,2), [3,4)}",
  "{(,1),[3,)}",
  "{(,),[3,)}",
  "{[1,2),(2,4)}",
  "{[1,2],(2,4)}",
  "{(1,2),(2,4)}",
  "{[1,2),[3,4),}",
  ...ranges.map((range) => `{${range}}`)
]

const int4 = type("int4")
const numeric = type("numeric")
const date = type("date")

const cases: ReadonlyArray<readonly [SqlType, ReadonlyArray<string>]> = [
  [date, days],
  [type("time"), times],
  [
    type("timetz"),
    times.flatMap((time) => ["+00", "-08", "+05:30", "+15:59:59", "+16", "+5", "+05:60", ""].map((zone) => time + zone))
  ],
  [type("timestamp"), [
    ...days.map((day) => `${day} 12:00:00`),
    ...times.map((time) => `2024-01-01 ${time}`),
    "infinity"
  ]],
  [
    type("timestamptz"),
    [
      ..."2024-01-01 12:00:00+00;2024-01-01 12:00:00;2024-01-01 12:00:00+01;0044-03-15 12:00:00+00 BC".split(";"),
      ..."294276-12-31 23:59:59.999999+00;294277-01-01 00:00:00+00;0044-03-15 12:00:00 BC+00".split(";")
    ]
  ],
  [
    type("interval"),
    [
      ..."PT0S P1Y P12M P1Y2M3DT4H5M6.7S P1M2Y PT60S PT59S PT-1S P-1YT1S PT1.10S PT-0.5S P P1YT P0Y PT24H PT25H".split(
        " "
      ),
      ..."1 P1W P1Y-2M PT1M-1S PT0.0000001S P99999999999Y P178956970Y7M P178956970Y8M P+1Y".split(" ")
    ]
  ],
  [
    type("inet"),
    "1.2.3.4 1.2.3.4/32 1.2.3.4/8 1.2.3 1.2.3.256 01.2.3.4 ::1 ::1/128 0::1 1:: 1:0::1 ::1:2:3:4:5:6:7 ::g ::FF 1:2:3"
      .split(" ")
  ],
  [
    type("inet"),
    "1::2::3 ::1.2.3.4 ::ffff:1.2.3.4 ::ffff:102:304 :: ::/0 1.2.3.4/33 1.2.3.4/-1 ::1/129 1.2.3.4/08 1.2.3.4/".split(
      " "
    )
  ],
  [
    type("cidr"),
    "10.0.0.0/8 10.1.0.0/8 10.0.0.1/32 10.0.0.1 10/8 ::/0 ::1/128 ::1/64 2001:db8::/32 2001:db8::1/32".split(" ")
  ],
  [
    type("macaddr"),
    "08:00:2b:01:02:03 08:00:2B:01:02:03 08-00-2b-01-02-03 08:00:2b:01:02 x 08:00:2b:01:02:0g".split(" ")
  ],
  [type("macaddr8"), "08:00:2b:01:02:03:04:05 08:00:2b:01:02:03 08:00:2b:ff:fe:01:02".split(" ")],
  [
    type("jsonb"),
    [
      ..."{\"b\": 1, \"a\": 2};{\"a\": 1, \"b\": 2};{\"aa\": 1, \"b\": 2};{\"b\": 1, \"aa\": 2};{\"a\": 1, \"a\": 2};[1, 2];[1,2]"
        .split(";"),
      ..."1.0;1.;01;-0;-0.0;1e5;\"\\u00e9\";\"é\";\"\\/\";\"\\u001f\";\"\\u001F\";{\"é\": 1, \"zz\": 2};{\"zz\": 1, \"é\": 2}"
        .split(";"),
      ..."\"\\b\\f\\n\\r\\t\\\"\\\\\";\"\\u0008\";null;NULL;true;[];[ ];{};{\"a\":1};[1, ];\"\u007f\"".split(";"),
      " 1",
      "1 "
    ]
  ],
  [type("int4range", int4), intRanges],
  [type("numrange", numeric), [...numericRanges, ...intRanges]],
  [type("daterange", date), [
    ..."[2024-01-01,infinity] [2024-01-01,infinity) (-infinity,2024-01-01) [-infinity,2024-01-01] [2024-01-01,2024-01-02)"
      .split(" "),
    ..."[2024-02-30,) (2024-01-01,) (infinity,) (infinity,infinity)".split(" ")
  ]],
  [type("int4multirange", int4), many(intRanges)],
  [type("nummultirange", numeric), many(numericRanges)]
]

/** The text again, when the codec reads and writes it. */
const reread = (type: SqlType, text: string): string | undefined => {
  const codec = codecOf(type)!
  try {
    return codec.encode(codec.decode(text))
  } catch (error) {
    if (error === UNSURE) return undefined
    throw error
  }
}

describe("output forms", () => {
  it.scoped("are those of Postgres", () =>
    Effect.gen(function*() {
      const database = yield* Postgres.makeDatabase
      const db = yield* database.session
      yield* db.exec(`${DISPLAY_SETTINGS};
        CREATE FUNCTION reread(type text, value text) RETURNS text LANGUAGE plpgsql AS $$
        DECLARE result text;
        BEGIN
          EXECUTE format('SELECT format(''%%s'', %L::%s)', value, type) INTO result;
          RETURN result;
        EXCEPTION WHEN OTHERS THEN
          RETURN NULL;
        END $$`)
      let same = 0
      let others = 0
      for (const [type, texts] of cases) {
        const rows = yield* db.query(
          "SELECT reread($1, value) AS result FROM unnest($2::text[]) WITH ORDINALITY u(value, i) ORDER BY i",
          [type.name, texts]
        )
        texts.forEach((text, i) => {
          const ours = reread(type, text)
          // What Postgres prints is read, apart from what is too much for us, of which there is nothing here.
          if (rows[i]!.result === text) assert.strictEqual(ours, text, `${type.name} ${text}`)
          else assert.notStrictEqual(ours, text, `${type.name} ${text}`)
          if (rows[i]!.result === text) same++
          else others++
        })
      }
      assert.isAbove(same, 100)
      assert.isAbove(others, 150)
    }))
})
