import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { type Digest, digestOf } from '../../../src/keys/digest.ts'
import type { LiveKey, LiveKeys } from '../../../src/keys/live.ts'
import type { Role } from '../../../src/keys/roles.ts'
import type { ProxyOptions } from '../../../src/proxy/options.ts'
import { createProxy } from '../../../src/proxy/proxy.ts'
import { closing } from '../../support/closers.ts'
import { portOf } from '../../support/ports.ts'
import { knowSecret, listen } from '../../support/secrets.ts'

export const ADMIN = 'admin-key-of-the-tests'
export const USER = 'user-key-of-the-tests'
export const OTHER = 'other-user-of-the-tests'
export const VIEWER = 'viewer-key-of-the-tests'

export interface TestKeys extends LiveKeys {
  revoke(id: string): void
}

/** Four keys by role, each known by its role's name, and one more user called `other`. */
export function testKeys(): TestKeys {
  const byDigest = new Map<Digest, LiveKey>()
  const listeners: ((keyId: string) => void)[] = []
  const add = (secret: string, id: string, role: Role) =>
    byDigest.set(digestOf(secret), { id, label: id, role, expiresMs: undefined, revoked: false })
  add(ADMIN, 'admin', 'admin')
  add(USER, 'user', 'user')
  add(OTHER, 'other', 'user')
  add(VIEWER, 'viewer', 'viewer')
  return {
    find: (digest) => byDigest.get(digest),
    findById: (id) => [...byDigest.values()].find((key) => key.id === id),
    count: byDigest.size,
    onDeath: (callback) => void listeners.push(callback),
    reload: async () => {},
    close: () => {},
    revoke(id) {
      for (const [digest, key] of byDigest) if (key.id === id) byDigest.set(digest, { ...key, revoked: true })
      for (const listener of listeners) listener(id)
    },
  }
}

export interface TestProxy {
  readonly port: number
  readonly url: string
  readonly keys: TestKeys
  readonly lines: string[]
  close(): Promise<void>
}

export async function startProxy(upstream: string, options: Partial<ProxyOptions> = {}): Promise<TestProxy> {
  const keys = testKeys()
  const lines: string[] = []
  for (const key of [ADMIN, USER, OTHER, VIEWER]) knowSecret(key)
  listen('the words of a proxy', { read: () => lines.join('\n') })
  const proxy = await createProxy({
    upstream,
    listen: '127.0.0.1',
    port: 0,
    keys,
    serveDb: ':memory:',
    drainMs: 0,
    log: (line) => lines.push(line),
    ...options,
  })
  return { port: Number(new URL(proxy.url).port), url: proxy.url, keys, lines, close: () => proxy.close() }
}

/** One request as a raw upstream saw it, and the socket to answer on. */
export interface RawRequest {
  readonly head: string
  readonly socket: Socket
  /** What came behind the head so far. */
  body(): string
}

export interface RawUpstream {
  readonly url: string
  readonly port: number
  readonly requests: RawRequest[]
  /** Resolves with the request of this number, from 0. */
  request(index: number): Promise<RawRequest>
  connections(): number
  close(): Promise<void>
}

/** An upstream that says nothing by itself: `answer` writes what it likes onto each request's socket. */
export async function rawUpstream(answer: (request: RawRequest) => void = () => {}): Promise<RawUpstream> {
  const requests: RawRequest[] = []
  const sockets = new Set<Socket>()
  const waiting: (() => void)[] = []
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    let text = ''
    let current: RawRequest | undefined
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      // With a body still coming, what looks like another head is not one: these tests send no body with a blank line.
      if (end === -1 || !/^[A-Z]+ \S+ HTTP\/1\.1\r\n/.test(text)) return
      const head = text.slice(0, end + 4)
      text = text.slice(end + 4)
      current = { head, socket, body: () => text }
      requests.push(current)
      answer(current)
      for (const wake of waiting.splice(0)) wake()
    })
  })
  const port = await portOf(server)
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    async request(index) {
      while (requests.length <= index) await new Promise<void>((resolve) => waiting.push(resolve))
      return requests[index]!
    },
    connections: () => sockets.size,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** A raw upstream and the proxy before it, until the test ends. */
export async function proxied(answer?: (request: RawRequest) => void, options?: Partial<ProxyOptions>) {
  const upstream = closing(await rawUpstream(answer))
  const proxy = closing(await startProxy(upstream.url, options))
  return { upstream, proxy }
}

export interface RawClient {
  readonly socket: Socket
  /** Everything received, latin1. */
  text(): string
  /** Resolves once the received text fits. */
  until(pattern: RegExp): Promise<string>
  /** Resolves with everything once the other side has closed or cut the connection. */
  ended(): Promise<string>
}

export async function rawClient(port: number, send = ''): Promise<RawClient> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  let closed = false
  const waiting: (() => void)[] = []
  const wake = () => {
    for (const one of waiting.splice(0)) one()
  }
  socket.on('error', () => {})
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    wake()
  })
  socket.on('close', () => {
    closed = true
    wake()
  })
  const change = () => new Promise<void>((resolve) => waiting.push(resolve))
  await once(socket, 'connect')
  if (send !== '') socket.write(Buffer.from(send, 'latin1'))
  return {
    socket,
    text: () => text,
    async until(pattern) {
      while (!pattern.test(text)) {
        if (closed) throw new Error(`closed before ${pattern}: ${JSON.stringify(text)}`)
        await change()
      }
      return text
    },
    async ended() {
      while (!closed) await change()
      return text
    },
  }
}

/** Sends `text` and gives all that comes back until the proxy closes. */
export async function exchange(port: number, text: string): Promise<string> {
  return (await rawClient(port, text)).ended()
}

export function get(path: string, more = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ADMIN}\r\n${more}\r\n`
}
