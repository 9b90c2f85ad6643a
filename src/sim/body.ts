import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { inflateRawSync, unzipSync } from 'node:zlib'
import { BodyBroken, BodyTooLarge } from './call.ts'
import { noteBody, type SimRequest } from './log.ts'

function unpack(packed: Buffer, encoding: string, limit: number): Buffer {
  const options = { maxOutputLength: limit + 1 }
  try {
    const out =
      encoding === 'deflate' && (packed[0] ?? 0) % 16 !== 8
        ? inflateRawSync(packed, options)
        : unzipSync(packed, options)
    if (out.length > limit) throw new BodyTooLarge()
    return out
  } catch (error) {
    if (error instanceof BodyTooLarge) throw error
    if (error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') throw new BodyTooLarge()
    throw new BodyBroken()
  }
}

/** A request's body: it flows from the start, is kept up to `limit` bytes, and stands in the log whether a handler read it or not. */
export interface Incoming {
  /** Settles with the unpacked body, or rejects as soon as it is over the limit. */
  read(): Promise<Buffer>
  /** All of it has arrived. */
  readonly ended: boolean
}

const NO_BODY: Incoming = { read: () => Promise.resolve(Buffer.alloc(0)), ended: true }

/** Starts to read. `entry` is undefined where no log is kept: no hash is then computed. */
export function readIncoming(request: IncomingMessage, limit: number, entry: SimRequest | undefined): Incoming {
  if (request.headers['content-length'] === undefined && request.headers['transfer-encoding'] === undefined)
    return NO_BODY
  const hash = entry && createHash('sha256')
  const chunks: Buffer[] = []
  let bytes = 0
  let ended = false
  const whole = new Promise<Buffer>((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      hash?.update(chunk)
      if (bytes <= limit) chunks.push(chunk)
      else {
        chunks.length = 0
        reject(new BodyTooLarge())
      }
    })
    request.on('end', () => {
      ended = true
      const raw = bytes <= limit ? Buffer.concat(chunks) : undefined
      if (entry && hash) noteBody(entry, bytes, hash.digest('hex'), raw)
      if (raw) resolve(raw)
    })
    const broken = () => {
      if (entry && !ended) entry.body.bytes = bytes
      reject(new BodyBroken())
    }
    request.on('error', broken)
    request.on('close', broken)
  })
  whole.catch(() => {})
  const encoding = request.headers['content-encoding']?.toLowerCase()
  return {
    read: async () => {
      const raw = await whole
      return encoding === 'gzip' || encoding === 'deflate' ? unpack(raw, encoding, limit) : raw
    },
    get ended() {
      return ended
    },
  }
}
