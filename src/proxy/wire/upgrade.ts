import { createHash } from 'node:crypto'
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { ForwardDecision, RequestFacts } from '../decide/facts.ts'
import { responseHeaders } from '../decide/response-headers.ts'
import type { Answer } from '../pages/answer.ts'
import type { GatewayFault } from '../pages/waiting.ts'
import { CROWDED } from './crowded.ts'
import type { Broken } from './forward.ts'
import type { Relay, RelayEnd, Relays } from './relay.ts'
import { alwaysOf, endRaw, rawHead, respondRaw } from './respond.ts'
import type { Eviction, Guest } from './turns.ts'
import { isUnreachable, type Upstream } from './upstream.ts'

export interface UpgradeServices {
  readonly upstream: Upstream
  readonly relays: Relays
  readonly handshakeMs: number
  /** Silence that ends an answer which is no 101. */
  readonly idleMs: number
  readonly waiting: (facts: RequestFacts) => Answer
  readonly badGateway: (facts: RequestFacts, fault: GatewayFault) => Answer
  /** Its turn to speak to ComfyUI, as Turns.take gives it: until the 101, or until the client has all of another answer. */
  readonly takeTurn: (guest: Guest) => (() => void) | undefined
}

/** What became of an Upgrade, once it is over; bytes of the answer's body, or as relayed after the 101. */
export interface UpgradeEnd extends RelayEnd {
  /** Undefined: the client left before it had one. */
  readonly status: number | undefined
  /** Why the client did not get its answer whole. */
  readonly broken?: Broken | undefined
}

/** RFC 6455, section 1.3. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** As much is taken from a client that does not wait for its 101. */
const EARLY_BYTES = 64 * 1024

const NOTHING: RelayEnd = { bytesDown: 0, bytesUp: 0 }

/**
 * One WebSocket (rule 11): waits for its turn, dials the upstream, and joins the two sockets once a true 101 has come back. Until then nothing
 * that the client sent behind its head goes up.
 */
export class Upgrade {
  readonly #client: Socket
  readonly #facts: RequestFacts
  readonly #decision: ForwardDecision
  readonly #services: UpgradeServices
  readonly #onEnd: (end: UpgradeEnd) => void
  #dialled: ClientRequest | undefined
  #relay: Relay | undefined
  #timer: NodeJS.Timeout | undefined
  /** What the client sent behind its head. */
  readonly #early: Buffer[] = []
  #earlyBytes = 0
  #settled = false
  #timedOut = false
  /** An answer that is no 101 waits for the client to take more. */
  #paused = false
  #bytes = 0
  #broken: Broken | undefined
  #leaveTurn: (() => void) | undefined
  #turnOver = false

  constructor(
    client: Socket,
    facts: RequestFacts,
    decision: ForwardDecision,
    services: UpgradeServices,
    onEnd: (end: UpgradeEnd) => void,
  ) {
    this.#client = client
    this.#facts = facts
    this.#decision = decision
    this.#services = services
    this.#onEnd = onEnd
  }

  start(key: string | undefined, head: Buffer): void {
    this.#early.push(head)
    // It is read meanwhile, or nobody would see it leave; what it says waits for the 101.
    this.#client.on('data', this.#hold).on('end', this.#clientGone)
    this.#client.on('error', this.#clientGone).on('close', this.#clientGone)
    this.#leaveTurn = this.#services.takeTurn(this.#guest(key))
    if (!this.#leaveTurn) this.crowded()
    else if (this.#turnOver) this.#leaveTurn()
  }

  /** No turn will be its, or the place that it had is another's. */
  crowded(): void {
    if (!this.#settled) this.#answer(CROWDED)
  }

  #guest(key: string | undefined): Guest {
    const waits = () => this.#paused
    const moved = () => this.#bytes
    return {
      start: () => this.#dial(key),
      evict: (why) => this.#evict(why),
      get waitsForClient() {
        return waits()
      },
      get movedBytes() {
        return moved()
      },
    }
  }

  #evict(why: Eviction): void {
    this.#broken = why
    this.#client.destroy()
  }

  #dial(key: string | undefined): void {
    const { upstream, handshakeMs } = this.#services
    const headers = [...this.#decision.headers, 'Connection', 'Upgrade', 'Upgrade', 'websocket']
    try {
      this.#dialled = httpRequest({ path: this.#decision.target, headers, createConnection: () => upstream.dial() })
    } catch (error) {
      this.#fail(error)
      return
    }
    this.#dialled.on('upgrade', (answer, socket, first) => this.#join(answer, socket as Socket, first, key))
    this.#dialled.on('response', (answer) => this.#relayAnswer(answer))
    this.#dialled.on('error', (error) => this.#fail(error))
    this.#dialled.on('close', () => this.#fail(undefined))
    this.#timer = setTimeout(() => {
      this.#timedOut = true
      this.#dialled?.destroy()
    }, handshakeMs)
    this.#dialled.end()
  }

  /** Closes with this code once joined; before that there is nothing to say but good-bye. */
  close(code: number, reason: string): void {
    if (this.#relay) this.#relay.close(code, reason)
    else this.#client.destroy()
  }

  readonly #hold = (chunk: Buffer): void => {
    this.#early.push(chunk)
    this.#earlyBytes += chunk.length
    if (this.#earlyBytes > EARLY_BYTES) this.#client.pause()
  }

  readonly #clientGone = (): void => {
    this.#client.destroy()
    this.#dialled?.destroy()
    this.#leave()
  }

  #join(answer: IncomingMessage, upstream: Socket, first: Buffer, key: string | undefined): void {
    const accept = createHash('sha1').update(`${key}${ACCEPT_GUID}`).digest('base64')
    if (this.#settled || key === undefined || answer.headers['sec-websocket-accept'] !== accept) {
      upstream.destroy()
      this.#fail(undefined)
      return
    }
    this.#services.upstream.answered()
    this.#release()
    this.#endTurn()
    this.#client.setTimeout(0).setNoDelay(true).setKeepAlive(true, 60_000)
    this.#client.write(this.#switching(answer))
    this.#relay = this.#services.relays.join(this.#client, upstream, (end) => this.#onEnd({ status: 101, ...end }))
    this.#relay.start(Buffer.concat(this.#early), first)
  }

  /** The 101 as it came, with our subprotocol where the upstream chose none: a browser drops the socket without it. */
  #switching(answer: IncomingMessage): Buffer {
    const own = responseHeaders(answer.rawHeaders, this.#decision.response, 101)
    const headers = [...own, ...alwaysOf(this.#client)]
    let lines = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    for (let i = 0; i < headers.length; i += 2) lines += `${headers[i]}: ${headers[i + 1]}\r\n`
    const ours = this.#decision.socket?.subprotocol
    if (ours !== undefined && answer.headers['sec-websocket-protocol'] === undefined) {
      lines += `Sec-WebSocket-Protocol: ${ours}\r\n`
    }
    return Buffer.from(`${lines}\r\n`, 'latin1')
  }

  /** Any other answer goes to the client as it is, and both ends close: what was pipelined behind is nobody's. */
  #relayAnswer(answer: IncomingMessage): void {
    if (this.#settled) return
    const status = answer.statusCode!
    if (status < 200) {
      this.#dialled?.destroy() // it switches to something else than a WebSocket, or is no status at all
      this.#fail(undefined)
      return
    }
    this.#services.upstream.answered()
    this.#release()
    const own = responseHeaders(answer.rawHeaders, this.#decision.response, status)
    const headers = [...own, ...alwaysOf(this.#client)]
    // Without a length it goes in chunks, whose last one shows that it is whole: a closed socket alone does not.
    const chunked = answer.headers['content-length'] === undefined && status !== 204 && status !== 304
    if (chunked) headers.push('Transfer-Encoding', 'chunked')
    this.#client.write(rawHead(status, answer.statusMessage!, headers))
    const cut = (why: Broken) => {
      this.#broken ??= why
      this.#client.destroy() // cut, never ended as if it were complete
    }
    answer.setTimeout(this.#services.idleMs, () => cut(this.#paused ? 'client-stalled' : 'upstream-cut'))
    answer.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length
      if (this.#client.write(chunked ? chunkOf(chunk) : chunk)) return
      this.#paused = true
      answer.pause()
    })
    this.#client.on('drain', () => {
      this.#paused = false
      answer.resume()
    })
    answer.on('end', () => endRaw(this.#client, chunked ? LAST_CHUNK : undefined))
    answer.on('error', () => cut('upstream-cut'))
    this.#client.on('error', () => this.#client.destroy())
    this.#client.on('close', () => {
      answer.destroy()
      if (!this.#client.writableFinished) this.#broken ??= 'client-left'
      this.#end({ status, bytesDown: this.#bytes, bytesUp: 0 })
    })
    this.#client.resume() // what stands behind is dropped, and its end seen
  }

  #fail(error: unknown): void {
    if (this.#settled) return
    const { upstream, waiting, badGateway } = this.#services
    const unreachable = isUnreachable(error)
    if (unreachable) upstream.failed(error)
    this.#answer(unreachable ? waiting(this.#facts) : badGateway(this.#facts, this.#timedOut ? 'timeout' : 'cut'))
  }

  /** One of ours. */
  #answer(answer: Answer): void {
    this.#release()
    respondRaw(this.#client, answer, this.#facts.nowMs)
    this.#end({ status: answer.status, ...NOTHING })
  }

  #leave(): void {
    if (this.#settled) return
    this.#release()
    this.#broken ??= 'client-left'
    this.#end({ status: undefined, ...NOTHING })
  }

  #end(end: UpgradeEnd): void {
    this.#endTurn()
    this.#onEnd({ ...end, broken: this.#broken })
  }

  #endTurn(): void {
    this.#turnOver = true
    this.#leaveTurn?.()
  }

  #release(): void {
    this.#settled = true
    clearTimeout(this.#timer)
    this.#client.off('data', this.#hold).off('end', this.#clientGone)
    this.#client.off('error', this.#clientGone).off('close', this.#clientGone)
  }
}

const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/** RFC 9112, section 7.1. */
function chunkOf(content: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${content.length.toString(16)}\r\n`), content, Buffer.from('\r\n')])
}
