/**
 * An HTTP/1.1 client that costs as little as Node allows: one keep-alive connection, one request at a time, a receive buffer that is
 * used again and again, bodies handed on as they come and never decoded.
 */
import * as net from "node:net"

export interface Head {
  readonly status: number
  /** The header section as it came, from the status line to before the empty line. */
  readonly text: string
}

/** Gets body bytes that are only valid during the call. */
export type OnBody = (bytes: Buffer) => void

/** The value of a response header; the empty string when it is there without one. */
export const header = (head: Head, name: string): string | undefined =>
  new RegExp(`\\r\\n${name}:[ \\t]*([^\\r]*)`, "i").exec(head.text)?.[1]

export interface Connection {
  /** Sends a GET; resolves at the end of the response. `onPiece` hears of the pieces of a chunked body: their lengths. */
  readonly get: (target: string, onBody?: OnBody, headers?: string, onPiece?: (length: number) => void) => Promise<Head>
  readonly close: () => void
}

/** Of all connections: what is read into it has been dealt with before anything else is read. */
const receiveBuffer = Buffer.allocUnsafe(256 * 1024)
const CR = 13
const LF = 10

/** The value of a hexadecimal digit; -1 for anything else. */
const hex = (byte: number): number => {
  if (byte >= 48 && byte <= 57) return byte - 48
  const letter = byte | 32
  return letter >= 97 && letter <= 102 ? letter - 87 : -1
}

export const connect = (port: number, host = "127.0.0.1"): Promise<Connection> =>
  new Promise((resolveConnection, rejectConnection) => {
    let state: "head" | "length" | "size" | "piece" | "pieceEnd" | "trailer" = "head"
    let headBytes: Buffer = Buffer.alloc(0)
    let head: Head = { status: 0, text: "" }
    let remaining = 0
    let size = 0
    let inExtension = false
    let trailerLine = 0
    let onBody: OnBody | undefined
    let onPiece: ((length: number) => void) | undefined
    let resolve: ((head: Head) => void) | undefined
    let reject: ((error: Error) => void) | undefined

    const finish = () => {
      const done = resolve
      state = "head"
      headBytes = Buffer.alloc(0)
      resolve = reject = undefined
      done?.(head)
    }

    const parseHead = (bytes: Buffer, length: number): void => {
      const text = bytes.toString("latin1", 0, length)
      head = { status: Number(text.slice(9, 12)), text }
      if (/\r\ntransfer-encoding:[ \t]*chunked/i.test(text)) {
        state = "size"
        size = 0
        inExtension = false
        return
      }
      remaining = head.status === 304 || head.status === 204 ? 0 : Number(header(head, "content-length") ?? 0)
      if (remaining === 0) finish()
      else state = "length"
    }

    const take = (bytes: Buffer, start: number, end: number): void => {
      let at = start
      while (at < end) {
        switch (state) {
          case "head": {
            const all: Buffer = headBytes.length === 0
              ? bytes.subarray(at, end)
              : Buffer.concat([headBytes, bytes.subarray(at, end)])
            const close = all.indexOf("\r\n\r\n")
            if (close < 0) {
              headBytes = Buffer.from(all)
              return
            }
            at += close + 4 - headBytes.length
            parseHead(all, close)
            break
          }
          case "length":
          case "piece": {
            const length = Math.min(remaining, end - at)
            onBody?.(bytes.subarray(at, at + length))
            at += length
            remaining -= length
            if (remaining > 0) break
            if (state === "length") finish()
            else state = "pieceEnd"
            break
          }
          case "size": {
            const byte = bytes[at++]!
            if (byte === LF) {
              onPiece?.(size)
              remaining = size
              state = size === 0 ? "trailer" : "piece"
              trailerLine = 0
              break
            }
            const digit = inExtension ? -1 : hex(byte)
            if (digit < 0) inExtension = true
            else size = size * 16 + digit
            break
          }
          case "pieceEnd":
            if (bytes[at++] !== LF) break
            state = "size"
            size = 0
            inExtension = false
            break
          case "trailer": {
            const byte = bytes[at++]!
            if (byte !== LF) {
              if (byte !== CR) trailerLine++
              break
            }
            if (trailerLine === 0) finish()
            trailerLine = 0
            break
          }
        }
      }
    }

    const socket = net.connect({
      port,
      host,
      onread: {
        buffer: receiveBuffer,
        callback: (length, buffer) => {
          take(buffer as Buffer, 0, length)
          return true
        }
      }
    })
    socket.setNoDelay(true)
    const fail = (error: Error) => {
      rejectConnection(error)
      reject?.(error)
      resolve = reject = undefined
    }
    socket.once("error", fail)
    socket.once("close", () => fail(new Error("the connection was closed")))
    socket.once("connect", () =>
      resolveConnection({
        get: (target, body, headers = "", piece) =>
          new Promise((onDone, onFail) => {
            if (resolve !== undefined) return onFail(new Error("one request at a time"))
            if (socket.destroyed) return onFail(new Error("the connection is closed"))
            onBody = body
            onPiece = piece
            resolve = onDone
            reject = onFail
            socket.write(`GET ${target} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${headers}\r\n`)
          }),
        close: () => {
          socket.destroy()
        }
      }))
  })

export interface Position {
  readonly handle: string
  readonly offset: string
  readonly upToDate: boolean
  readonly cursor: string | undefined
}

/** Where a response of the log brings its reader; fails unless it is a 200. */
export const position = (head: Head): Position => {
  const handle = header(head, "electric-handle")
  const offset = header(head, "electric-offset")
  if (head.status !== 200 || handle === undefined || offset === undefined) {
    throw new Error(`expected a piece of the log, not: ${head.text.slice(0, 1000)}`)
  }
  return {
    handle,
    offset,
    upToDate: header(head, "electric-up-to-date") !== undefined,
    cursor: header(head, "electric-cursor")
  }
}

/** Most responses that following a log may take. */
const MAX_RESPONSES = 10_000

/** Reads a log from `from` to its end. `onBody` gets every body's bytes. */
export const follow = async (
  connection: Connection,
  shape: string,
  onBody: OnBody,
  from?: { readonly handle: string; readonly offset: string }
): Promise<Position & { readonly responses: number }> => {
  let target = from ? `${shape}&offset=${from.offset}&handle=${from.handle}` : `${shape}&offset=-1`
  for (let responses = 1; responses <= MAX_RESPONSES; responses++) {
    const reached = position(await connection.get(target, onBody))
    if (reached.upToDate) return { ...reached, responses }
    target = `${shape}&offset=${reached.offset}&handle=${reached.handle}`
  }
  throw new Error("the log does not end")
}
