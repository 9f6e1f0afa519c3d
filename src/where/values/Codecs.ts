/**
 * The codec of each type.
 */
import type { SqlType } from "../../domain/SqlCatalog.ts"
import type { Codec, Codecs } from "../Value.ts"
import { arrayCodec } from "./Arrays.ts"
import { float4Codec, float8Codec } from "./Floats.ts"
import { boolCodec, int2Codec, int4Codec, int8Codec, oidCodec } from "./Integers.ts"
import { jsonCodecs } from "./Json.ts"
import { networkCodecs } from "./Network.ts"
import { numericCodec } from "./Numeric.ts"
import { rangeCodec } from "./Range.ts"
import { temporalCodecs } from "./Temporal.ts"
import { bpcharCodec, byteaCodec, charCodec, enumCodec, jsonCodec, nameCodec, textCodec, uuidCodec } from "./Texts.ts"

const scalarCodecs: Codecs = {
  bool: boolCodec,
  int2: int2Codec,
  int4: int4Codec,
  int8: int8Codec,
  oid: oidCodec,
  float4: float4Codec,
  float8: float8Codec,
  numeric: numericCodec,
  text: textCodec,
  varchar: textCodec,
  bpchar: bpcharCodec,
  name: nameCodec,
  char: charCodec,
  uuid: uuidCodec,
  bytea: byteaCodec,
  json: jsonCodec
}

/** Of types in `pg_catalog`, by name. */
const codecs = new Map<string, Codec>(
  [scalarCodecs, temporalCodecs, jsonCodecs, networkCodecs].flatMap((some) => Object.entries(some))
)

/** `undefined` when values of the type can't be read here. Domains are read as what they are made of. */
export const codecOf = (type: SqlType): Codec | undefined => {
  if (type.base !== undefined) return codecOf(type.base)
  if (type.element !== undefined) {
    // Elements of box arrays alone are separated by something else than commas, and box has no codec.
    const element = codecOf(type.element)
    return element && arrayCodec(element)
  }
  if (type.kind === "e") return enumCodec(type)
  if (type.subtype !== undefined) {
    const bounds = codecOf(type.subtype)
    return bounds && rangeCodec(type, bounds)
  }
  return type.schema === "pg_catalog" ? codecs.get(type.name) : undefined
}
