import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type Linked, LinkedList } from './linked-list.ts'

export interface SessionLimits {
  /** A head has to be whole within this, the first one like all others. */
  readonly headMs: number
  /** A connection without a stream is closed after this much silence. */
  readonly keepAliveMs: number
  /** An answer of which its reader takes nothing for this long is cut. */
  readonly idleMs: number
}

/** A TLS connection, and the bare one beneath it. */
export interface Line {
  readonly secure: TLSSocket
  readonly bare: Socket
}

/** What of an answer waited for its reader, and since when it was that much. */
interface Waiting extends Linked<Waiting> {
  readonly stream: ServerHttp2Stream
  bytes: number
  sinceMs: number
}

/** A client that has more streams ended before their answer than this (rapid reset, CVE-2023-44487) loses its connection. */
const RESETS_AT_ONCE = 200
const RESETS_A_SECOND = 50

/** One connection of HTTP/2: what its streams may do to it, and how long it may stand without one (rule 15). */
export class TendedSession {
  readonly #session: ServerHttp2Session
  readonly #line: Line
  readonly #limits: SessionLimits
  /** Of a clock that never jumps. */
  readonly #nowMs: () => number
  readonly #open = new LinkedList<Waiting>()
  #lastId = 0
  /** Since when no stream is open. */
  #idleMs: number
  #resets = 0
  #resetMs: number
  #isDoomed = false
  /** Since when its last head is not whole. */
  #headMs: number | undefined
  /** What had gone in and out when it was last seen to move, and when that was. */
  #moved = 0
  #movedMs: number
  /** `#moved` when it was last asked for a sign of life. */
  #asked: number | undefined
  #isAskingBare = false
  /** Since when it is known to be destroyed. */
  #endedMs: number | undefined

  constructor(session: ServerHttp2Session, line: Line, limits: SessionLimits, nowMs: () => number) {
    this.#session = session
    this.#line = line
    this.#limits = limits
    this.#nowMs = nowMs
    this.#idleMs = this.#resetMs = this.#movedMs = nowMs()
    session.on('stream', (stream) => this.#onStream(stream))
    line.bare.on('error', () => line.secure.destroy())
  }

  #onStream(stream: ServerHttp2Stream): void {
    this.#lastId = stream.id ?? 0
    this.#headMs = undefined
    const waiting: Waiting = { stream, bytes: 0, sinceMs: 0 }
    this.#open.push(waiting)
    stream.once('aborted', () => this.#onReset())
    stream.once('close', () => {
      this.#open.delete(waiting)
      this.#idleMs = this.#nowMs()
    })
  }

  #onReset(): void {
    const now = this.#nowMs()
    const forgiven = (Math.max(0, now - this.#resetMs) / 1_000) * RESETS_A_SECOND
    this.#resets = Math.max(0, this.#resets - forgiven) + 1
    this.#resetMs = now
    if (this.#resets <= RESETS_AT_ONCE || this.#isDoomed) return
    this.#isDoomed = true
    // Not while nghttp2 still reads what brought it here: nobody would hear why.
    setImmediate(() => this.#session.destroy(new Error('too many resets'), constants.NGHTTP2_ENHANCE_YOUR_CALM))
  }

  get neverAsked(): boolean {
    return this.#lastId === 0
  }

  /** It had requests, and has none now. */
  get isIdle(): boolean {
    return this.#lastId > 0 && this.#open.size === 0
  }

  /** Called every second. */
  look(): void {
    const now = this.#nowMs()
    this.#askBare()
    if (this.#session.destroyed) this.#lookAtEnd(now)
    else if (this.#open.size === 0) this.#lookAtIdle(now)
    else this.#lookAtReaders(now)
    if (!this.#session.destroyed) this.#lookForDeath(now)
  }

  /**
   * A write of node:http2's that fails, for the client has reset the connection, is lost, and nothing is read behind it: no event
   * comes, and no `destroy()` of the session frees its descriptor. A write of nothing to the bare socket fails as well, and is heard;
   * to a living client it sends nothing.
   */
  #askBare(): void {
    const { bare } = this.#line
    if (this.#isAskingBare || !bare.writable) return
    this.#isAskingBare = true
    bare.write('', () => {
      this.#isAskingBare = false
    })
  }

  /** A destroyed session waits for what it still writes, and its client need not take that. */
  #lookAtEnd(now: number): void {
    this.#endedMs ??= now
    if (now - this.#endedMs >= this.#limits.headMs) this.#line.secure.destroy()
  }

  #lookAtIdle(now: number): void {
    const { headMs, keepAliveMs } = this.#limits
    // nghttp2 has begun a stream that is not here yet: its head is not whole, or was refused.
    const isHalf = this.#lastId === 0 || (this.#session.state.lastProcStreamID ?? 0) > this.#lastId
    this.#headMs = isHalf ? (this.#headMs ?? (this.#lastId === 0 ? this.#idleMs : now)) : undefined
    if (this.#headMs !== undefined && now - this.#headMs >= headMs) this.#session.destroy()
    else if (now - this.#idleMs < keepAliveMs) return
    else if (this.#session.closed) this.#session.destroy()
    else this.#session.close()
  }

  /** Once ComfyUI's answer has ended nobody else waits for its reader: a window of 0 would hold it for ever. */
  #lookAtReaders(now: number): void {
    for (const waiting of this.#open) {
      const { stream } = waiting
      const { writableLength: bytes } = stream
      if (bytes === 0 || bytes !== waiting.bytes) Object.assign(waiting, { bytes, sinceMs: now })
      else if (now - waiting.sinceMs >= this.#limits.idleMs) stream.destroy(new Error('its reader is gone'))
    }
  }

  /**
   * Node 22 neither closes a connection that nghttp2 has given up, for an error of the client's, nor hears its client go: but then
   * nothing is sent on it any more, not even a PING.
   */
  #lookForDeath(now: number): void {
    const moved = this.#bytes()
    if (moved !== this.#moved) {
      this.#moved = moved
      this.#movedMs = now
    } else if (now - this.#movedMs >= this.#limits.headMs) {
      if (this.#asked !== moved) this.#ask(moved)
      else if (this.#isStuck()) this.#session.destroy()
    }
  }

  #bytes(): number {
    const { bytesRead, bytesWritten } = this.#line.secure
    return bytesRead + bytesWritten
  }

  #ask(moved: number): void {
    this.#asked = moved
    this.#session.ping((error) => {
      if (error === null) this.#moved = this.#asked = this.#bytes() // its answer is no new movement
    })
  }

  #isStuck(): boolean {
    // Where an answer waits for its reader, that reader's idleness decides.
    for (const { stream } of this.#open) if (stream.writableLength > 0) return false
    return (this.#session.state.outboundQueueSize ?? 0) > 0
  }
}
