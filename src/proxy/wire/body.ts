import { Readable } from 'node:stream'
import type { ClientRequest, ClientResponse, Framing } from './client.ts'

/** After an answer that came before the body had ended: how much of the rest is read so that the connection lives on. */
const DRAIN_BYTES = 1024 * 1024
const DRAIN_MS = 2_000

const NO_BODY: Framing = { hasBody: false, contentLength: undefined }

export function framingOf(request: ClientRequest): Framing {
  if (request.framing) return request.framing
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers
  if (coding !== undefined) return { hasBody: true, contentLength: undefined }
  if (length === undefined || length === '0') return NO_BODY
  return { hasBody: true, contentLength: Number(length) }
}

/** Whoever waits for our word before its body gets it: the decision has been made. Once only: a body that was read is here. */
export function continueIfAsked(request: ClientRequest, response: ClientResponse): void {
  if (!request.complete && request.headers.expect !== undefined && request.httpVersion !== '1.0')
    response.writeContinue()
}

/**
 * A request's body as undici takes it, with backpressure. Whatever happens to this stream never touches the client's
 * connection: an answer may still have to go out on it.
 */
export class BodySource extends Readable {
  readonly #request: ClientRequest
  readonly #idleMs: number
  readonly #limitBytes: number
  readonly #seen: ((chunk: Buffer) => void) | undefined
  #timer: NodeJS.Timeout | undefined
  bytes = 0
  /** All of it has gone through here. */
  whole = false
  /** It ended because the client sent nothing for `idleMs`. */
  stalled = false
  /** It ended because it came to more than `limitBytes`. */
  tooLong = false

  constructor(
    request: ClientRequest,
    idleMs: number,
    limitBytes = Number.POSITIVE_INFINITY,
    seen?: (chunk: Buffer) => void,
  ) {
    super({ highWaterMark: 64 * 1024 })
    this.#request = request
    this.#limitBytes = limitBytes
    this.#seen = seen
    this.#idleMs = idleMs
    request.on('data', this.#onData).on('end', this.#onEnd).on('error', this.#onGone).on('close', this.#onGone)
    request.pause()
  }

  override _read(): void {
    this.#timer ??= setTimeout(this.stall, this.#idleMs).unref()
    this.#request.resume()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const request = this.#request
    request.off('data', this.#onData).off('end', this.#onEnd).off('error', this.#onGone).off('close', this.#onGone)
    done(error)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.bytes += chunk.length
    if (this.bytes > this.#limitBytes) {
      this.tooLong = true
      this.destroy(new Error('the body is longer than it may be'))
      return
    }
    this.#seen?.(chunk)
    this.#timer?.refresh()
    if (this.push(chunk)) return
    this.#request.pause()
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** It is the client that is waited for. */
  get waits(): boolean {
    return this.#timer !== undefined
  }

  readonly #onEnd = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (!this.#request.complete) {
      this.#onGone()
      return
    }
    this.whole = true
    this.push(null)
  }

  /** The client is too slow. */
  readonly stall = (): void => {
    this.stalled = true
    this.destroy(new Error('the body stopped coming'))
  }

  readonly #onGone = (): void => {
    if (!this.#request.complete) this.destroy(new Error('the client is gone'))
  }
}

/**
 * The whole body, or undefined where it is longer than `limitBytes`; rejects where the client goes, or takes longer than
 * `withinMs` over all of it: what is so short never needs long, and a byte now and then would hold its connection for days.
 */
export function readBody(request: ClientRequest, limitBytes: number, withinMs: number): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    const timer = setTimeout(() => finish(() => reject(new Error('the body took too long'))), withinMs)
    const onData = (chunk: Buffer) => {
      length += chunk.length
      if (length > limitBytes) finish(() => resolve(undefined))
      else chunks.push(chunk)
    }
    const onGone = () => finish(() => reject(new Error('the client is gone')))
    const onEnd = () => (request.complete ? finish(() => resolve(Buffer.concat(chunks))) : onGone())
    const finish = (settle: () => void) => {
      clearTimeout(timer)
      request.off('data', onData).off('end', onEnd).off('error', onGone).off('close', onGone)
      settle()
    }
    request.on('data', onData).on('end', onEnd).on('error', onGone).on('close', onGone)
  })
}

/**
 * Called before an answer ends whose request has not: the rest is read and dropped within 1 MiB or 2 s, and the connection
 * serves the next request where that sufficed. Else it is ended, with the time left for the client to read its answer.
 */
export function dropRest(request: ClientRequest): void {
  // Called from within the parser, a request without a body is not complete yet.
  if (request.complete || request.destroyed || !framingOf(request).hasBody) return
  const { socket } = request
  let left = DRAIN_BYTES
  const timer = setTimeout(() => socket.destroy(), DRAIN_MS)
  const onData = (chunk: Buffer) => {
    left -= chunk.length
    if (left >= 0) return
    request.off('data', onData).pause()
    socket.end()
  }
  request.on('data', onData)
  request.once('end', () => clearTimeout(timer))
  request.once('close', () => {
    if (request.complete || socket.destroyed) clearTimeout(timer)
  })
  request.read(0) // tells node:http that the body is being read, or it would take the listener off
  request.resume()
}
