import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

export interface Attack {
  /** One line for the table's key: what it does, and how much of it. */
  readonly what: string
  /** It needs TLS, and HTTP/2 by ALPN. */
  readonly http2?: true
  /** Runs until its process ends; resolves once the flood stands. */
  start(attacker: Attacker): void | Promise<void>
}

/** No flood waits longer for its connections: what the server does not let in is not there. */
const STAND_MS = 15_000
const TICK_MS = 5

/** One hostile process: what it opened, sent and got to hear. Bounded in connections and rate by each attack itself. */
export class Attacker {
  readonly port: number
  /** A user's, for floods of those who were let in. */
  readonly key: string
  readonly #http2: boolean
  readonly counts: Record<string, number> = {}

  constructor(port: number, key: string, http2: boolean) {
    this.port = port
    this.key = key
    this.#http2 = http2
  }

  count(what: string, by = 1): void {
    this.counts[what] = (this.counts[what] ?? 0) + by
  }

  /** A connection that says `first` once it stands; answers are counted by their status. */
  open(first?: string | Buffer): Socket {
    const to = { host: '127.0.0.1', port: this.port, noDelay: true }
    const socket = this.#http2 ? connectTls({ ...to, ALPNProtocols: ['h2'], rejectUnauthorized: false }) : connect(to)
    this.count('opened')
    socket.on('error', () => {})
    socket.once('close', () => this.count('closed'))
    if (!this.#http2) {
      socket.on('data', (chunk: Buffer) => {
        const status = /^HTTP\/1\.1 (\d{3})/.exec(chunk.toString('latin1', 0, 12))?.[1]
        if (status !== undefined) this.count(status)
      })
    }
    if (first !== undefined) socket.once(this.#http2 ? 'secureConnect' : 'connect', () => socket.write(first))
    return socket
  }

  /** `act`, so many times a second. A tick that comes late makes up for at most a tenth of a second. */
  every(perSecond: number, act: () => void): void {
    let owed = 0
    let lastMs = performance.now()
    setInterval(() => {
      const nowMs = performance.now()
      owed = Math.min(owed + ((nowMs - lastMs) * perSecond) / 1_000, perSecond / 10 + 1)
      lastMs = nowMs
      for (; owed >= 1; owed--) act()
    }, TICK_MS)
  }

  /** Holds `most` connections open, and opens at most `perSecond` in place of those that were closed. */
  async hold(most: number, perSecond: number, open: () => Socket): Promise<Set<Socket>> {
    const held = new Set<Socket>()
    const standing = Promise.withResolvers<void>()
    setTimeout(standing.resolve, STAND_MS)
    let connected = 0
    this.every(perSecond, () => {
      if (held.size >= most) return
      const socket = open()
      held.add(socket)
      socket.once('close', () => held.delete(socket))
      socket.once(this.#http2 ? 'secureConnect' : 'connect', () => {
        connected++
        if (connected === most) standing.resolve()
      })
    })
    await standing.promise
    return held
  }

  /** `count` connections that are there when it is their turn, one after the other. */
  async lanes(count: number, first?: Buffer): Promise<() => Socket> {
    const held = await this.hold(count, 200, () => this.open(first))
    let turn = 0
    return () => [...held][turn++ % held.size] ?? this.open(first)
  }
}

/** A request's head: nothing but what is given. */
export function head(method: string, target: string, fields: readonly string[] = []): string {
  return `${[`${method} ${target} HTTP/1.1`, 'Host: localhost', ...fields].join('\r\n')}\r\n\r\n`
}
