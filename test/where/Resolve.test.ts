import { assert, describe, it } from "@effect/vitest"
import { Either } from "effect"
import type { Where } from "../../src/domain/ShapeDefinition.ts"
import { equality, read } from "./Clauses.ts"

describe("accepted clauses", () => {
  const cases: ReadonlyArray<readonly [string, Where | undefined, ...Array<string>]> = [
    ["TRUE", undefined],
    ["true = true", undefined],
    ["1=1", undefined],
    ["(1 = 1)", undefined],
    ["'a' = 'a'", undefined],
    ["0=0", undefined],
    ["false=false", undefined],
    ["id = 1", equality("id", "1")],
    ["1 = id", equality("id", "1")],
    ["(((id)) = (1))", equality("id", "1")],
    ["ID = 1", equality("id", "1")],
    ["\"id\" = 1", equality("id", "1")],
    ["id = 0", equality("id", "0")],
    ["id = -1", equality("id", "-1")],
    ["id = - - 1", equality("id", "1")],
    ["id = '01'", equality("id", "1")],
    ["id = 1::int4", equality("id", "1")],
    ["id = 1::integer", equality("id", "1")],
    ["id = '1'::pg_catalog.int4", equality("id", "1")],
    ["id = CAST('1' AS int)", equality("id", "1")],
    ["id = int4 '1'", equality("id", "1")],
    ["id = $1", equality("id", "7"), "7"],
    ["id = $1::int", equality("id", "7"), "7"],
    ["$2 = id", equality("id", "8"), "7", "8"],
    ["id = $10", equality("id", "10"), "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"],
    ["title = ''", equality("title", "")],
    ["title = 'it''s'", equality("title", "it's")],
    ["title = 'a\\b'", equality("title", "a\\b")],
    ["title = E'a\\nb\\u00e9'", equality("title", "a\nbé")],
    ["title = U&'\\00e9'", equality("title", "é")],
    ["title = $$it's$$", equality("title", "it's")],
    ["title = 'a' -- it is", equality("title", "a")],
    ["title = /* ; */ 'a'", equality("title", "a")],
    ["title = 'a'::text", equality("title", "a")],
    ["title = 'a'::varchar", equality("title", "a")],
    ["title = $1", equality("title", "' OR 1=1 --"), "' OR 1=1 --"],
    ["done = true", equality("done", "t")],
    ["done = 'f'", equality("done", "f")],
    ["price = 1.50", equality("price", "1.5")],
    ["price = '2.00'", equality("price", "2")],
    ["code = 'ab  '", equality("code", "ab")],
    ["tags = '{a}'", equality("tags", "{a}")],
    ["tags = '{a}'::text[]", equality("tags", "{a}")],
    ["mood = 'ok'", equality("mood", "ok")],
    ["mood = 'ok'::mood", equality("mood", "ok")],
    ["mood = 'ok'::public.mood", equality("mood", "ok")],
    ["\"Käse \"\"x\"\"\" = 'y'", equality("Käse \"x\"", "y")],
    ["f4 = 0.5", equality("f4", "0.5")],
    ["f4 = '1.1'", equality("f4", "1.1")]
  ]
  for (const [clause, expected, ...params] of cases) {
    it(clause, async () => {
      assert.deepStrictEqual(await read(clause, ...params), Either.right(expected))
    })
  }
})

const nested = (open: string, inner: string, close: string, n: number) => open.repeat(n) + inner + close.repeat(n)

describe("refused clauses", () => {
  const cases: ReadonlyArray<readonly [string, string, ...Array<string>]> = [
    // Recorded from the reference server.
    ["id =", "At location 19: syntax error at end of input"],
    ["zzz = 1", "At location 0: unknown reference zzz"],
    ["id = 'x'", "At location 5: invalid syntax for type int4: x"],
    ["id + 1", "WHERE clause must return a boolean"],
    ["id = $1", "At location 5: parameter $1 was not provided"],
    ["random() > 0.5", "At location 0: unknown or unsupported function random/0"],
    ["1 x 1", "At location 17: syntax error at or near \"x\""],
    // Not one condition.
    ["id = 1; DROP TABLE t", "unescaped \";\" causing statement split"],
    ["id = 1;", "unescaped \";\" causing statement split"],
    [";", "At location 15: syntax error at or near \";\""],
    ["id = 1 ORDER BY id", "malformed query ending with SQL clauses"],
    ["id = 1 LIMIT 1", "malformed query ending with SQL clauses"],
    ["id = 1 FOR UPDATE", "malformed query ending with SQL clauses"],
    ["id = 1 GROUP BY id", "malformed query ending with SQL clauses"],
    ["id = 1 UNION SELECT 1", "malformed query ending with SQL clauses"],
    ["id = 1) OR (1 = 1", "At location 21: syntax error at or near \")\""],
    ["", "At location 15: syntax error at end of input"],
    ["id = 1 /*", "At location 22: unterminated /* comment at or near \"/*\""],
    ["id = 'a", "At location 20: unterminated quoted string at or near \"'a\""],
    ["id = 1 \0 OR true", "At location 7: null byte in where clause"],
    [`title = '${"a".repeat(65_536)}'`, "the where clause is bigger than maximum size (65536 bytes)"],
    // Names.
    ["public.t.id = 1", "At location 0: unknown reference public.t.id"],
    ["\"ID\" = 1", "At location 0: unknown reference ID"],
    ["ctid = '(0,1)'", "At location 0: unknown reference ctid"],
    ["id = zzz", "At location 5: unknown reference zzz"],
    ["id = \"x\"", "At location 5: unknown reference x"],
    ["\"Käse \"\"x\"\"\" = zzz", "At location 15: unknown reference zzz"],
    ["id = $0", "At location 5: parameter $0 was not provided", "1"],
    ["id = $3", "At location 5: parameter $3 was not provided", "1", "2"],
    ["id = pg_sleep(10)", "At location 5: unknown or unsupported function pg_sleep/1"],
    ["id = 1 OR pg_catalog.lower(title) = 'a'", "At location 10: unknown or unsupported function lower/1"],
    ["NOT f(1, 2)", "At location 4: unknown or unsupported function f/2"],
    // Not a condition.
    ["1", "WHERE clause must return a boolean"],
    ["'t'", "WHERE clause must return a boolean"],
    ["title", "WHERE clause must return a boolean"],
    ["title || 'x'", "WHERE clause must return a boolean"],
    ["$1", "WHERE clause must return a boolean", "t"],
    ["id::text", "WHERE clause must return a boolean"],
    // Values.
    ["id = $1", "At location 5: invalid syntax for type int4: x", "x"],
    ["title = $1", "At location 8: invalid syntax for type text: a\0b (null byte)", "a\0b"],
    ["born = 'today'", "At location 7: invalid syntax for type date: today (relative to the present)"],
    ["born = 'NOW()'", "At location 7: invalid syntax for type date: NOW() (relative to the present)"],
    ["id = 1::int8", "At location 5: a cast to another type than that of column id (int4) is not supported yet"],
    [
      "price = 1.5::numeric(3,1)",
      "At location 8: a cast to another type than that of column price (numeric) is not supported yet"
    ],
    [
      "code = 'a'::char(3)",
      "At location 7: a cast to another type than that of column code (bpchar) is not supported yet"
    ],
    ["tags = 'a'::text", "At location 7: a cast to another type than that of column tags (_text) is not supported yet"],
    [
      "mood = 'ok'::app.mood",
      "At location 7: a cast to another type than that of column mood (mood) is not supported yet"
    ],
    ["title = 1", "At location 8: comparing column title (text) with the number 1 is not supported yet"],
    ["id = true", "At location 5: comparing column id (int4) with the boolean true is not supported yet"],
    ["f4 = 1.1", "At location 5: comparing column f4 (float4) with the number 1.1 is not supported yet"],
    ["meta = '{}'", "At location 5: column meta can't be compared: type jsonb is not supported yet"],
    ["folded = 'a'", "At location 7: column folded can't be compared: its collation calls different texts equal"],
    // Not yet.
    ["id = NULL", "At location 5: NULL is not supported yet"],
    ["FALSE", "At location 0: FALSE is not supported yet"],
    ["NULL", "At location 0: NULL is not supported yet"],
    ["done", "At location 0: a column as a condition of its own is not supported yet"],
    ["id > 1", "At location 3: operator > is not supported yet"],
    ["id <> 1", "At location 3: operator <> is not supported yet"],
    ["id OPERATOR(pg_catalog.=) 1", "At location 3: operator pg_catalog.= is not supported yet"],
    ["id = 1 AND done = true", "At location 7: AND is not supported yet"],
    ["id = 1 OR true", "At location 7: OR is not supported yet"],
    ["NOT done", "At location 0: NOT is not supported yet"],
    ["id IN (1, 2)", "At location 3: IN is not supported yet"],
    ["id = ANY('{1}')", "At location 3: ANY is not supported yet"],
    ["id IS NULL", "At location 3: IS NULL is not supported yet"],
    ["done IS TRUE", "At location 5: IS TRUE is not supported yet"],
    ["title LIKE 'a%'", "At location 6: LIKE is not supported yet"],
    ["id BETWEEN 1 AND 2", "At location 3: BETWEEN is not supported yet"],
    ["id = 1 + 1", "At location 7: operator + is not supported yet"],
    ["id = id", "At location 3: comparing two columns is not supported yet"],
    ["1 = 2", "At location 2: comparing two different constants is not supported yet"],
    ["1 = '1'", "At location 2: comparing two different constants is not supported yet"],
    ["id = (SELECT 1)", "At location 5: SubLink is not supported yet"],
    ["EXISTS (SELECT pg_sleep(9))", "At location 0: SubLink is not supported yet"],
    ["title = CURRENT_USER", "At location 8: SQLValueFunction is not supported yet"],
    ["CASE WHEN done THEN true END", "At location 0: CaseExpr is not supported yet"],
    ["id = B'101'", "At location 5: a bit string is not supported yet"],
    ["id = '1'::int4::int4", "At location 14: a cast is not supported yet"],
    ["= 1", "At location 15: syntax error at or near \"=\""],
    [nested("NOT ", "done", "", 1000), "At location 804: the clause is nested too deeply"],
    [
      "title = '" + "=".repeat(64) + "'",
      "At location 9: operator too long (texts that look like one go into a parameter)"
    ],
    ["1" + "+1".repeat(30_000) + " = 1", "At location 0: the clause is nested too deeply"]
  ]
  for (const [clause, message, ...params] of cases) {
    it(clause.slice(0, 60), async () => {
      assert.deepStrictEqual(await read(clause, ...params), Either.left(message))
    })
  }

  it("survives clauses that overflow the parser's stack", async () => {
    const bomb = "1" + "+1".repeat(30_000) + " = 1"
    for (let i = 0; i < 60; i++) assert(Either.isLeft(await read(bomb)))
    assert.deepStrictEqual(await read("id = 1"), Either.right(equality("id", "1")))
  })
})
