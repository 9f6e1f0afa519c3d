/** The WASM build of the Postgres parser, of which `libpg-query` itself keeps a single instance. */
declare module "libpg-query/wasm/libpg-query.js" {
  export interface PgQuery {
    readonly _malloc: (bytes: number) => number
    readonly _free: (pointer: number) => void
    readonly _wasm_parse_query_raw: (sql: number) => number
    readonly _wasm_free_parse_result: (result: number) => void
    readonly lengthBytesUTF8: (text: string) => number
    readonly stringToUTF8: (text: string, pointer: number, maxBytes: number) => void
    readonly UTF8ToString: (pointer: number) => string
    readonly getValue: (pointer: number, type: "i32") => number
  }
  export default function instantiate(): Promise<PgQuery>
}
