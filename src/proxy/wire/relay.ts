import type { Duplex } from 'node:stream'
import { closeFrame, FrameTracker, PongFilter, pingFrame } from './frames.ts'

export interface RelayLimits {
  /** What may wait for one client. */
  readonly bufferBytes: number
  /** What may wait for all clients together. */
  readonly totalBytes: number
  /** A client that takes no byte for this long with data waiting is cut. */
  readonly stallMs: number
  /** A client silent for this long is pinged. */
  readonly pingMs: number
  /** How long a close code may wait for a frame boundary and for the client, and one end for the other. */
  readonly closeMs: number
}

export const RELAY_LIMITS: RelayLimits = {
  bufferBytes: 96 * 1024 * 1024,
  totalBytes: 512 * 1024 * 1024,
  stallMs: 10_000,
  pingMs: 25_000,
  closeMs: 1_000,
}

/** After one end has said all: how long the other may still speak. */
const HALF_OPEN_MS = 10_000
/** Handed to the kernel at a time: small pieces, so that a slow client's progress can be seen. */
const WRITE_BYTES = 64 * 1024
/** A small frame costs its object too. */
const CHUNK_OVERHEAD_BYTES = 256
const SWEEP_MS = 1_000

export interface RelayEnd {
  readonly bytesDown: number
  readonly bytesUp: number
}

/** What all relays of one proxy share: the total of waiting bytes, and one timer. */
export class Relays {
  readonly limits: RelayLimits
  readonly nowMs: () => number
  readonly pingPayload: Uint8Array
  waitingBytes = 0
  readonly #open = new Set<Relay>()
  #timer: NodeJS.Timeout | undefined

  constructor(limits: RelayLimits, nowMs: () => number, pingPayload: Uint8Array) {
    this.limits = limits
    this.nowMs = nowMs
    this.pingPayload = pingPayload
  }

  /** Joins two sockets after their 101; `onEnd` is called once, when both are gone. */
  join(client: Duplex, upstream: Duplex, onEnd: (end: RelayEnd) => void): Relay {
    const relay = new Relay(this, client, upstream, (end) => {
      this.#open.delete(relay)
      if (this.#open.size === 0) {
        clearInterval(this.#timer)
        this.#timer = undefined
      }
      onEnd(end)
    })
    this.#open.add(relay)
    this.#timer ??= setInterval(
      () => this.#sweep(),
      Math.min(SWEEP_MS, this.limits.pingMs, this.limits.stallMs),
    ).unref()
    return relay
  }

  /** At the total whoever holds most goes, not whoever comes. */
  makeRoom(): void {
    let fullest: Relay | undefined
    for (const relay of this.#open) if (!fullest || relay.queuedBytes > fullest.queuedBytes) fullest = relay
    fullest?.cut()
  }

  #sweep(): void {
    const nowMs = this.nowMs()
    for (const relay of this.#open) relay.tend(nowMs)
  }
}

/**
 * Two sockets of one WebSocket (rule 11). The upstream is read as fast as it sends and never waits for the client: what the
 * client has not taken stands in a bounded queue. The other way there is ordinary backpressure.
 */
export class Relay {
  readonly #shared: Relays
  readonly #client: Duplex
  readonly #upstream: Duplex
  readonly #onEnd: (end: RelayEnd) => void
  readonly #down = new FrameTracker()
  readonly #up: PongFilter
  /** Chunks that wait for the client, from `#first` on. */
  #queue: Buffer[] = []
  #first = 0
  #queuedBytes = 0
  /** Writes that the client's socket has not confirmed. */
  #unconfirmed = 0
  #progressMs: number
  #heardMs: number
  #pingedMs: number
  #pingDue = false
  #closing: { readonly code: number; readonly reason: string } | undefined
  #closeSent = false
  #upstreamEnded = false
  #deadline: NodeJS.Timeout | undefined
  #openEnds = 2
  #bytesDown = 0
  #bytesUp = 0

  constructor(shared: Relays, client: Duplex, upstream: Duplex, onEnd: (end: RelayEnd) => void) {
    this.#shared = shared
    this.#client = client
    this.#upstream = upstream
    this.#onEnd = onEnd
    this.#up = new PongFilter(shared.pingPayload)
    this.#progressMs = this.#heardMs = this.#pingedMs = shared.nowMs()
    client.on('data', (chunk: Buffer) => this.#fromClient(chunk))
    client.on('end', () => this.#clientEnded())
    client.on('error', () => this.destroy())
    client.on('close', () => this.#gone())
    upstream.on('data', (chunk: Buffer) => this.#fromUpstream(chunk))
    upstream.on('drain', () => this.#client.resume())
    upstream.on('end', () => this.#upstreamEnd())
    upstream.on('error', () => this.destroy())
    upstream.on('close', () => this.#gone())
  }

  /** Bytes a client sent behind its head: they go up first. */
  start(clientHead: Buffer, upstreamHead: Buffer): void {
    if (upstreamHead.length > 0) this.#fromUpstream(upstreamHead)
    if (clientHead.length > 0) this.#fromClient(clientHead)
    this.#client.resume()
    this.#upstream.resume()
  }

  /** Sends a close code at the next frame boundary; destroys both ends where it cannot go out in time. */
  close(code: number, reason: string): void {
    if (this.#closing) return
    this.#closing = { code, reason }
    this.#expire(this.#shared.limits.closeMs)
    this.#sendClose()
  }

  /** What waits for its client is too much: with a close code, or at once where that is under way already. */
  cut(): void {
    if (this.#closing) this.destroy()
    else this.close(1013, 'reads too slowly')
  }

  /** What waits for its client. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  destroy(): void {
    this.#client.destroy()
    this.#upstream.destroy()
  }

  /** Called once a second: who is stalled, and who wants a ping. */
  tend(nowMs: number): void {
    const { stallMs, pingMs } = this.#shared.limits
    if (this.#unconfirmed > 0 && nowMs - this.#progressMs >= stallMs) {
      this.close(1013, 'reads too slowly')
      return
    }
    if (this.#closing || nowMs - Math.max(this.#heardMs, this.#pingedMs) < pingMs) return
    this.#pingDue = true
    if (this.#down.atBoundary) this.#ping()
  }

  #fromClient(chunk: Buffer): void {
    this.#heardMs = this.#shared.nowMs()
    if (this.#closing) return // whoever is being cut off says nothing more to the upstream
    this.#bytesUp += chunk.length
    for (const piece of this.#up.pass(chunk)) {
      if (!this.#upstream.write(piece)) this.#client.pause()
    }
  }

  #fromUpstream(chunk: Buffer): void {
    if (this.#closeSent) return
    this.#bytesDown += chunk.length
    let from = 0
    if ((this.#pingDue || this.#closing) && !this.#down.atBoundary) {
      from = this.#down.step(chunk, 0)
      this.#send(chunk.subarray(0, from))
    }
    if (this.#closing) {
      this.#sendClose()
      return
    }
    if (this.#pingDue && this.#down.atBoundary) this.#ping()
    if (from === chunk.length) return
    const rest = from === 0 ? chunk : chunk.subarray(from)
    this.#down.skip(rest)
    this.#send(rest)
  }

  #ping(): void {
    this.#pingDue = false
    this.#pingedMs = this.#shared.nowMs()
    this.#up.expectPong()
    this.#send(pingFrame(this.#shared.pingPayload))
  }

  #sendClose(): void {
    if (!this.#closing || this.#closeSent || !this.#down.atBoundary) return
    this.#closeSent = true
    this.#send(closeFrame(this.#closing.code, this.#closing.reason))
    this.#upstream.destroy()
    this.#client.resume() // its answer is read and dropped
    if (this.#waiting === 0) this.#endClient()
  }

  get #waiting(): number {
    return this.#queue.length - this.#first
  }

  #send(chunk: Buffer): void {
    if (this.#waiting === 0 && this.#client.writableLength < WRITE_BYTES) {
      this.#write(chunk)
      return
    }
    this.#queue.push(chunk)
    this.#count(chunk.length + CHUNK_OVERHEAD_BYTES)
    const { bufferBytes, totalBytes } = this.#shared.limits
    if (this.#queuedBytes > bufferBytes) this.cut()
    else if (this.#shared.waitingBytes > totalBytes) this.#shared.makeRoom()
  }

  #count(bytes: number): void {
    this.#queuedBytes += bytes
    this.#shared.waitingBytes += bytes
  }

  #write(chunk: Buffer): void {
    if (this.#unconfirmed++ === 0) this.#progressMs = this.#shared.nowMs()
    this.#client.write(chunk, this.#written)
  }

  readonly #written = (error?: Error | null): void => {
    this.#unconfirmed--
    if (error) return
    this.#progressMs = this.#shared.nowMs()
    while (this.#waiting > 0 && this.#client.writableLength < WRITE_BYTES) {
      const chunk = this.#queue[this.#first]!
      this.#queue[this.#first++] = EMPTY
      this.#count(-(chunk.length + CHUNK_OVERHEAD_BYTES))
      this.#write(chunk)
    }
    if (this.#waiting > 0) {
      this.#compact()
      return
    }
    this.#queue.length = this.#first = 0
    if (this.#closeSent || this.#upstreamEnded) this.#endClient()
  }

  /** All that the client gets has been written: now it has its time to close too. */
  #endClient(): void {
    this.#client.end()
    if (!this.#closing) this.#expire(HALF_OPEN_MS)
  }

  #compact(): void {
    if (this.#first < 1_024 || this.#first * 2 < this.#queue.length) return
    this.#queue = this.#queue.slice(this.#first)
    this.#first = 0
  }

  #clientEnded(): void {
    this.#upstream.end()
    this.#expire(HALF_OPEN_MS)
  }

  #upstreamEnd(): void {
    this.#upstreamEnded = true
    this.#upstream.end()
    // A slow client may take its time over what is still waiting: the stall rule watches it.
    if (this.#waiting === 0) this.#endClient()
  }

  #expire(afterMs: number): void {
    clearTimeout(this.#deadline)
    this.#deadline = setTimeout(() => this.destroy(), afterMs).unref()
  }

  #gone(): void {
    this.#openEnds--
    if (this.#upstream.destroyed && !this.#upstreamEnded && !this.#closeSent) this.#client.destroy()
    if (this.#client.destroyed) this.#upstream.destroy()
    if (this.#openEnds > 0) return
    clearTimeout(this.#deadline)
    this.#count(-this.#queuedBytes)
    this.#queue = []
    this.#first = 0
    this.#onEnd({ bytesDown: this.#bytesDown, bytesUp: this.#bytesUp })
  }
}

const EMPTY = Buffer.alloc(0)
