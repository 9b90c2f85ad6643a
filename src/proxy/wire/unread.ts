import type { ClientResponse } from './client.ts'
import { type Linked, LinkedList } from './linked-list.ts'

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
  /** Ours, and here rather than in a Map of carriers for the sake of V8's scavenger (linked-list.ts). */
  reader?: Reader | undefined
  destroy(): unknown
}

/** An answer costs this besides its body: its stream, its request and its head. */
const OVERHEAD_BYTES = 8 * 1024
/** Who has taken nothing for so long is cut before those who merely hold much. */
const FRESH_MS = 1_000
const LOOK_MS = 1_000

interface Held extends Linked<Held> {
  readonly response: ClientResponse
  readonly bytes: number
  /** When it was last looked at. */
  left: number
}

/** Who takes the answers of one connection. */
interface Reader extends Linked<Reader> {
  readonly carrier: Carrier
  readonly answers: LinkedList<Held>
  bytes: number
  movedMs: number
  /** An answer of our own was written, with a body of this length. */
  hold(response: ClientResponse, length: number): void
}

/**
 * Rule 15: answers of our own that wait for their readers. ComfyUI's hold a turn until they are taken (turns.ts); ours cost nobody
 * anything but memory, and need no key: over HTTP/2, with a window of 0, 100 of them on each connection.
 */
export class Unread {
  readonly #limits: UnreadLimits
  readonly #nowMs: () => number
  /** Who has answers waiting. */
  readonly #readers = new LinkedList<Reader>()
  #timer: NodeJS.Timeout | undefined
  bytes = 0

  /** `nowMs`: of a clock that never jumps. */
  constructor(limits: UnreadLimits, nowMs: () => number) {
    this.#limits = limits
    this.#nowMs = nowMs
  }

  /** From now on what `respond` makes of this response counts here, until it is taken. */
  watch(response: ClientResponse, carrier: Carrier): void {
    carrier.reader ??= this.#newReader(carrier)
    response.reader = carrier.reader
  }

  #newReader(carrier: Carrier): Reader {
    const reader: Reader = {
      carrier,
      answers: new LinkedList(),
      bytes: 0,
      movedMs: 0,
      hold: (response, length) => this.#hold(reader, response, length),
    }
    return reader
  }

  #hold(reader: Reader, response: ClientResponse, length: number): void {
    if (response.writableFinished || response.destroyed || reader.carrier.destroyed) return
    if (reader.answers.size === 0) this.#expect(reader)
    const bytes = length + OVERHEAD_BYTES
    const held: Held = { response, bytes, left: response.writableLength }
    reader.answers.push(held)
    reader.bytes += bytes
    this.bytes += bytes
    response.on('close', () => this.#release(reader, held))
    if (this.bytes > this.#limits.totalBytes) this.#makeRoom()
  }

  #expect(reader: Reader): void {
    reader.movedMs = this.#nowMs()
    this.#readers.push(reader)
    this.#timer ??= setInterval(() => this.look(), LOOK_MS).unref()
  }

  #release(reader: Reader, held: Held): void {
    if (reader.carrier.reader !== reader) return // it went with its connection
    reader.answers.delete(held)
    reader.movedMs = this.#nowMs()
    reader.bytes -= held.bytes
    this.bytes -= held.bytes
    if (reader.answers.size === 0) this.#forget(reader)
  }

  #forget(reader: Reader): void {
    this.#readers.delete(reader)
    if (this.#readers.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #cut(reader: Reader): void {
    this.bytes -= reader.bytes
    reader.carrier.reader = undefined
    this.#forget(reader)
    reader.carrier.destroy()
  }

  /** Called every second. */
  look(): void {
    const nowMs = this.#nowMs()
    const { connectionBytes, stillMs } = this.#limits
    for (const reader of [...this.#readers]) {
      for (const held of reader.answers) {
        const { writableLength } = held.response
        if (writableLength < held.left) reader.movedMs = nowMs
        held.left = writableLength
      }
      if (reader.bytes > connectionBytes && nowMs - reader.movedMs >= stillMs) this.#cut(reader)
    }
  }

  /** Those who have long taken nothing go, the stillest first; of the others those who hold most. A quarter, so that it is seldom. */
  #makeRoom(): void {
    const freshMs = this.#nowMs() - FRESH_MS
    const stillFor = ({ movedMs }: Reader) => Math.min(movedMs, freshMs)
    const order = [...this.#readers].sort((a, b) => stillFor(a) - stillFor(b) || b.bytes - a.bytes)
    for (const reader of order) {
      if (this.bytes <= this.#limits.totalBytes * 0.75) return
      this.#cut(reader)
    }
  }
}
