import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { dumpJson, type Writable } from './json.ts'
import { SERVER } from './reply.ts'

/** aiohttp closes with 1009 at 4 MiB. */
const MAX_MESSAGE = 4 * 1024 * 1024 - 1

/** Binary frames begin with one of these, big-endian. */
export const PREVIEW = 1
export const TEXT = 3
export const PREVIEW_WITH_METADATA = 4

/** The sockets, by the id that they asked for or were given. A client id of null means everybody. */
export interface Frames {
  send(type: string, data: Writable, clientId: string | null): void
  sendBinary(type: number, parts: readonly Buffer[], clientId: string | null): void
  /** What the client announced in its first message. */
  supports(clientId: string | null, flag: string): boolean
  has(clientId: string): boolean
  accept(request: IncomingMessage, socket: Duplex, head: Buffer, clientId: string): void
  /** Open sockets, deaf ones too. */
  readonly count: number
  close(): void
}

export interface FramesParts {
  readonly statusOf: () => Writable
  /** The node that runs now for this client, where one does. */
  readonly runningNode: (clientId: string) => string | undefined
  readonly features: () => Writable
}

/** The number as the frames carry it: u32, big-endian. */
export function u32(value: number): Buffer {
  const out = Buffer.alloc(4)
  out.writeUInt32BE(value)
  return out
}

function announced(text: string): Record<string, unknown> | undefined {
  try {
    const message = JSON.parse(text) as { type?: unknown; data?: unknown } | null
    if (message?.type !== 'feature_flags') return undefined
    return typeof message.data === 'object' && message.data !== null ? { ...message.data } : {}
  } catch {
    return undefined
  }
}

/** ComfyUI's /ws: no pings, no subprotocol, no limit on what it sends. */
export function createFrames(parts: FramesParts): Frames {
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE,
    perMessageDeflate: true,
    handleProtocols: () => false,
  })
  server.on('headers', (headers) => headers.push(`Date: ${new Date().toUTCString()}`, `Server: ${SERVER}`))
  const open = new Set<WebSocket>()
  const bySid = new Map<string, WebSocket>()
  const flagsBySid = new Map<string, Record<string, unknown>>()

  const targets = (clientId: string | null): Iterable<WebSocket> => {
    if (clientId === null) return bySid.values()
    const socket = bySid.get(clientId)
    return socket ? [socket] : []
  }
  const deliver = (socket: WebSocket, message: string | Buffer) => {
    if (socket.readyState === socket.OPEN) socket.send(message)
  }

  const frames: Frames = {
    send(type, data, clientId) {
      const message = dumpJson({ type, data })
      for (const socket of targets(clientId)) deliver(socket, message)
    },
    sendBinary(type, payload, clientId) {
      const message = Buffer.concat([u32(type), ...payload])
      for (const socket of targets(clientId)) deliver(socket, message)
    },
    supports(clientId, flag) {
      return clientId !== null && flagsBySid.get(clientId)?.[flag] === true
    },
    has: (clientId) => bySid.has(clientId),
    accept(request, stream, head, clientId) {
      server.handleUpgrade(request, stream, head, (socket) => {
        const sid = clientId === '' ? randomBytes(16).toString('hex') : clientId
        open.add(socket)
        // A second socket with the same id takes the stream. The first stays open, and its end takes the second's stream too.
        bySid.delete(sid)
        bySid.set(sid, socket)
        flagsBySid.set(sid, {})
        socket.on('error', () => {})
        socket.on('close', () => {
          open.delete(socket)
          bySid.delete(sid)
          flagsBySid.delete(sid)
        })
        let first = true
        socket.on('message', (data, binary) => {
          if (binary) return
          const flags = first ? announced(data.toString()) : undefined
          first = false
          if (!flags) return
          if (flagsBySid.has(sid)) flagsBySid.set(sid, flags)
          frames.send('feature_flags', parts.features(), sid)
        })
        frames.send('status', { status: parts.statusOf(), sid }, sid)
        const node = parts.runningNode(sid)
        if (node !== undefined) frames.send('executing', { node }, sid)
      })
    },
    get count() {
      return open.size
    },
    close() {
      for (const socket of open) socket.terminate()
      server.close()
    },
  }
  return frames
}
