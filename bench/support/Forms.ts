/**
 * Where clauses of many shapes that differ in their parameters alone, as clients ask for them.
 */
export interface Form {
  readonly name: string
  /** The clause with `$1…$n`, over a column of which each value is one shape's. */
  readonly where: (column: string) => string
  /** The parameters of shape `i` of so many. */
  readonly params: (i: number, shapes: number) => ReadonlyArray<string>
}

export const equality: Form = {
  name: "=",
  where: (column) => `${column} = $1`,
  params: (i) => [String(i)]
}

/** Each makes a row concern one shape, as equality does. */
export const forms: ReadonlyArray<Form> = [
  equality,
  {
    name: "AND",
    where: (column) => `${column} = $1 AND status = 'active'`,
    params: (i) => [String(i)]
  },
  {
    name: "IN",
    where: (column) => `${column} IN ($1, $2, $3)`,
    params: (i, shapes) => [i, i + shapes, i + 2 * shapes].map(String)
  },
  {
    name: "OR",
    where: (column) => `${column} = $1 OR owner_id = $2`,
    params: (i, shapes) => [i, i + shapes].map(String)
  },
  {
    name: "range",
    where: (column) => `${column} >= $1 AND ${column} < $2`,
    params: (i) => [i, i + 1].map(String)
  }
]

/** What a client asks for, up to the offset. */
export const target = (table: string, where: string, params: ReadonlyArray<string>): string =>
  `/v1/shape?table=${table}&where=${encodeURIComponent(where)}${
    params.map((value, i) => `&params%5B${i + 1}%5D=${encodeURIComponent(value)}`).join("")
  }`

/** The clause as Postgres takes it. */
export const sql = (where: string, params: ReadonlyArray<string>): string =>
  where.replace(/\$(\d+)/g, (_, n: string) => `'${params[Number(n) - 1]!.replaceAll("'", "''")}'`)
