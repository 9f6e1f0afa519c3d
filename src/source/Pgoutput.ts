/**
 * Decoder of pgoutput, protocol version 1: bytes in, plain data out. Knows neither socket nor transaction state;
 * remembers only the relations it has been told of. Text stays bytes: a row's values are views on the buffer that was
 * decoded, which the caller must not write to afterwards.
 *
 * Message formats: Postgres documentation, "Logical Replication Message Formats".
 */
import { Schema } from "effect"
import type { Relation, RelationColumn } from "../domain/Relation.ts"
import { NULL, type Tuple, UNCHANGED, type WalMessage } from "../domain/WalMessage.ts"

/**
 * The bytes are not a pgoutput message, or speak of a relation that was never described. The stream can't be read
 * further.
 */
export class PgoutputError extends Schema.TaggedError<PgoutputError>("shapelog/source/PgoutputError")("PgoutputError", {
  /** First byte of the message as a character, `?` when it is not printable ASCII. */
  type: Schema.String,
  problem: Schema.String
}) {
  override get message() {
    return `malformed pgoutput message ${this.type}: ${this.problem}`
  }
}

export interface Decoder {
  /**
   * The message in `bytes[start .. end)`; `undefined` for Type, Origin and Message, which nothing here needs. Throws
   * `PgoutputError`.
   */
  readonly decode: (bytes: Buffer, start: number, end: number) => WalMessage | undefined
}

const BEGIN = 0x42
const COMMIT = 0x43
const ORIGIN = 0x4f
const RELATION = 0x52
const TYPE = 0x59
const INSERT = 0x49
const UPDATE = 0x55
const DELETE = 0x44
const TRUNCATE = 0x54
const MESSAGE = 0x4d

const NEW_TUPLE = 0x4e
const KEY_TUPLE = 0x4b
const OLD_TUPLE = 0x4f

const NULL_VALUE = 0x6e
const UNCHANGED_VALUE = 0x75
const TEXT_VALUE = 0x74

/**
 * A decoder that knows no relation yet: one per replication connection, since the server describes each relation once a
 * connection.
 */
export const make = (): Decoder => {
  const relations = new Map<number, Relation>()
  // The message being read. A cursor in variables of the closure: an object per message would cost as much as the rest
  // of a small row.
  let bytes: Buffer = Buffer.alloc(0)
  let start = 0
  let at = 0
  let end = 0

  const malformed = (problem: string): PgoutputError => {
    const type = start < end ? bytes[start]! : 0
    return new PgoutputError({ type: type > 0x20 && type < 0x7f ? String.fromCharCode(type) : "?", problem })
  }

  const need = (count: number): void => {
    if (end - at < count) throw malformed("it is truncated")
  }
  const int8 = (): number => {
    need(1)
    return bytes[at++]!
  }
  const int16 = (): number => {
    need(2)
    at += 2
    return (bytes[at - 2]! << 8) | bytes[at - 1]!
  }
  const int32 = (): number => {
    need(4)
    at += 4
    return (bytes[at - 4]! << 24) | (bytes[at - 3]! << 16) | (bytes[at - 2]! << 8) | bytes[at - 1]!
  }
  const uint32 = (): number => int32() >>> 0
  const uint64 = (): bigint => {
    need(8)
    at += 8
    return bytes.readBigUInt64BE(at - 8)
  }
  const skip = (count: number): void => {
    if (count < 0) throw malformed("it has a negative length")
    need(count)
    at += count
  }
  const string = (): string => {
    const stop = bytes.indexOf(0, at)
    if (stop < 0 || stop >= end) throw malformed("a text in it has no end")
    const text = bytes.toString("utf8", at, stop)
    at = stop + 1
    return text
  }
  const finished = <A>(message: A): A => {
    if (at !== end) throw malformed(`${end - at} bytes follow it`)
    return message
  }

  const known = (oid: number): Relation => {
    const relation = relations.get(oid)
    if (relation === undefined) throw malformed(`relation ${oid} was not described before`)
    return relation
  }

  const tuple = (relation: Relation): Tuple => {
    const count = int16()
    if (count !== relation.columns.length) {
      throw malformed(`a row of ${count} columns for "${relation.name}", which has ${relation.columns.length}`)
    }
    const source = bytes
    const cols = new Int32Array(count * 2)
    let position = at
    for (let i = 0; i < count; i++) {
      if (position >= end) throw malformed("it is truncated")
      const kind = source[position++]
      if (kind === TEXT_VALUE) {
        if (end - position < 4) throw malformed("it is truncated")
        const length = (source[position]! << 24) | (source[position + 1]! << 16) | (source[position + 2]! << 8) |
          source[position + 3]!
        position += 4
        if (length < 0 || length > end - position) throw malformed("it is truncated")
        cols[2 * i] = position
        cols[2 * i + 1] = length
        position += length
      } else if (kind === NULL_VALUE) {
        cols[2 * i + 1] = NULL
      } else if (kind === UNCHANGED_VALUE) {
        cols[2 * i + 1] = UNCHANGED
      } else {
        throw malformed(`a column value of kind ${kind}`)
      }
    }
    at = position
    return { bytes: source, cols }
  }

  const newTuple = (relation: Relation): Tuple => {
    const kind = int8()
    if (kind !== NEW_TUPLE) throw malformed(`a tuple of kind ${kind} in place of the new row`)
    return tuple(relation)
  }

  const describe = (): WalMessage => {
    const oid = uint32()
    const schema = string()
    const name = string()
    const identity = String.fromCharCode(int8())
    if (identity !== "d" && identity !== "n" && identity !== "f" && identity !== "i") {
      throw malformed(`replica identity ${identity}`)
    }
    const count = int16()
    const columns: Array<RelationColumn> = []
    for (let i = 0; i < count; i++) {
      const flags = int8()
      columns.push({ name: string(), typeOid: uint32(), typeModifier: int32(), key: (flags & 1) === 1 })
    }
    // pg_catalog is sent as an empty name.
    const relation: Relation = {
      oid,
      schema: schema === "" ? "pg_catalog" : schema,
      name,
      replicaIdentity: identity,
      columns
    }
    relations.set(oid, relation)
    return { _tag: "Relation", relation }
  }

  const update = (): WalMessage => {
    const relation = known(uint32())
    const kind = int8()
    if (kind === NEW_TUPLE) {
      return { _tag: "Update", relation, old: undefined, oldIsFull: false, row: tuple(relation) }
    }
    if (kind !== KEY_TUPLE && kind !== OLD_TUPLE) throw malformed(`a tuple of kind ${kind}`)
    const old = tuple(relation)
    return { _tag: "Update", relation, old, oldIsFull: kind === OLD_TUPLE, row: newTuple(relation) }
  }

  const remove = (): WalMessage => {
    const relation = known(uint32())
    const kind = int8()
    if (kind !== KEY_TUPLE && kind !== OLD_TUPLE) throw malformed(`a tuple of kind ${kind}`)
    return { _tag: "Delete", relation, old: tuple(relation), oldIsFull: kind === OLD_TUPLE }
  }

  const truncate = (): WalMessage => {
    const count = int32()
    // CASCADE and RESTART IDENTITY: the relations that a cascade reached are all in the list.
    skip(1)
    need(count < 0 ? Infinity : count * 4)
    const truncated: Array<Relation> = []
    for (let i = 0; i < count; i++) truncated.push(known(uint32()))
    return { _tag: "Truncate", relations: truncated }
  }

  const body = (): WalMessage | undefined => {
    switch (int8()) {
      case INSERT: {
        const relation = known(uint32())
        return { _tag: "Insert", relation, row: newTuple(relation) }
      }
      case UPDATE:
        return update()
      case DELETE:
        return remove()
      case BEGIN: {
        const lsn = uint64()
        skip(8)
        return { _tag: "Begin", lsn, xid: uint32() }
      }
      case COMMIT: {
        skip(1)
        const lsn = uint64()
        const endLsn = uint64()
        skip(8)
        return { _tag: "Commit", lsn, endLsn }
      }
      case RELATION:
        return describe()
      case TRUNCATE:
        return truncate()
      case TYPE:
        skip(4)
        string()
        string()
        return undefined
      case ORIGIN:
        skip(8)
        string()
        return undefined
      case MESSAGE:
        skip(9)
        string()
        skip(int32())
        return undefined
      default:
        throw malformed("its type is unknown")
    }
  }

  return {
    decode: (buffer, from, to) => {
      bytes = buffer
      start = from
      at = from
      end = to
      return finished(body())
    }
  }
}
