import type { ClientResponse } from './client.ts'

export interface UnreadLimits {
  /** More than this on one connection, of which nothing was taken for `stillMs`, and it is cut. */
  readonly connectionBytes: number
  readonly stillMs: number
  /** Of all connections together. */
  readonly totalBytes: number
}

export const UNREAD_BYTES = { connectionBytes: 256 * 1024, totalBytes: 64 * 1024 * 1024 }

/** What carries answers: a socket of HTTP/1, a session of HTTP/2. */
export interface Carrier {
  readonly destroyed: boolean
  destroy(): unknown
}

/** An answer costs this besides its body: its stream, its request and its head. */
const OVERHEAD_BYTES = 8 * 1024
/** Who has taken nothing for so long is cut before those who merely hold much. */
const FRESH_MS = 1_000
const LOOK_MS = 1_000

interface Reader {
  readonly carrier: Carrier
  /** With what of each was left when it was last looked at. */
  readonly answers: Map<ClientResponse, number>
  bytes: number
  movedMs: number
}

/**
 * Rule 15: answers of our own that wait for their readers. ComfyUI's hold a turn until they are taken (turns.ts); ours cost nobody
 * anything but memory, and need no key: over HTTP/2, with a window of 0, 100 of them on each connection.
 */
export class Unread {
  readonly #limits: UnreadLimits
  readonly #nowMs: () => number
  readonly #readers = new Map<Carrier, Reader>()
  #timer: NodeJS.Timeout | undefined
  bytes = 0

  /** `nowMs`: of a clock that never jumps. */
  constructor(limits: UnreadLimits, nowMs: () => number) {
    this.#limits = limits
    this.#nowMs = nowMs
  }

  /** From now on what `respond` makes of this response counts here, until it is taken. */
  watch(response: ClientResponse, carrier: Carrier): void {
    // On the response, and in no WeakMap: while that is old, V8's scavenger takes all its values for alive
    response.onOwnAnswer = (length) => this.#hold(response, carrier, length)
  }

  #hold(response: ClientResponse, carrier: Carrier, length: number): void {
    if (response.writableFinished || response.destroyed || carrier.destroyed) return
    const reader = this.#readerOf(carrier)
    const bytes = length + OVERHEAD_BYTES
    reader.answers.set(response, response.writableLength)
    reader.bytes += bytes
    this.bytes += bytes
    response.on('close', () => this.#release(reader, response, bytes))
    if (this.bytes > this.#limits.totalBytes) this.#makeRoom()
  }

  #readerOf(carrier: Carrier): Reader {
    const known = this.#readers.get(carrier)
    if (known) return known
    const reader: Reader = { carrier, answers: new Map(), bytes: 0, movedMs: this.#nowMs() }
    this.#readers.set(carrier, reader)
    this.#timer ??= setInterval(() => this.look(), LOOK_MS).unref()
    return reader
  }

  #release(reader: Reader, response: ClientResponse, bytes: number): void {
    if (!reader.answers.delete(response)) return // it went with its connection
    reader.movedMs = this.#nowMs()
    reader.bytes -= bytes
    this.bytes -= bytes
    if (reader.answers.size === 0) this.#forget(reader)
  }

  #forget(reader: Reader): void {
    this.#readers.delete(reader.carrier)
    if (this.#readers.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #cut(reader: Reader): void {
    this.bytes -= reader.bytes
    reader.answers.clear()
    this.#forget(reader)
    reader.carrier.destroy()
  }

  /** Called every second. */
  look(): void {
    const nowMs = this.#nowMs()
    const { connectionBytes, stillMs } = this.#limits
    for (const reader of this.#readers.values()) {
      for (const [response, left] of reader.answers) {
        const { writableLength } = response
        if (writableLength < left) reader.movedMs = nowMs
        reader.answers.set(response, writableLength)
      }
      if (reader.bytes > connectionBytes && nowMs - reader.movedMs >= stillMs) this.#cut(reader)
    }
  }

  /** Those who have long taken nothing go, the stillest first; of the others those who hold most. A quarter, so that it is seldom. */
  #makeRoom(): void {
    const freshMs = this.#nowMs() - FRESH_MS
    const stillFor = ({ movedMs }: Reader) => Math.min(movedMs, freshMs)
    const order = [...this.#readers.values()].sort((a, b) => stillFor(a) - stillFor(b) || b.bytes - a.bytes)
    for (const reader of order) {
      if (this.bytes <= this.#limits.totalBytes * 0.75) return
      this.#cut(reader)
    }
  }
}
