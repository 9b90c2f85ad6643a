import WebSocket, { type RawData } from 'ws'
import type { ComfyClient } from './client.ts'
import { type ComfyEvent, parseFrame } from './events.ts'

export type SocketState =
  | { readonly state: 'connecting' }
  | { readonly state: 'open' }
  /** Cut, and trying again. */
  | { readonly state: 'down' }
  /** The server said no (its status), or ended it with 4401: not tried again, polling must do. */
  | { readonly state: 'refused'; readonly status: number }
  | { readonly state: 'closed' }

export interface ComfySocket {
  readonly clientId: string
  readonly current: SocketState
  /**
   * Hands over every event and change of state from now on, and first what came before anybody listened: a prompt's
   * frames may outrun the answer to its POST. One listener at a time.
   */
  listen(onEvent: (event: ComfyEvent) => void, onState: (state: SocketState) => void): () => void
  /** Settles once the socket is open or will not be; after `limitMs` at the latest. Never rejects. */
  ready(limitMs: number): Promise<void>
  close(): void
}

export interface SocketOptions {
  readonly client: ComfyClient
  readonly clientId: string
  /** First pause before a reconnect; doubled each time, to 5,000 at most. Default 300. */
  readonly retryMs?: number | undefined
  /** A ping after this long, and the end of a socket that did not answer the last. Default 20,000. */
  readonly pingMs?: number | undefined
}

const MAX_RETRY_MS = 5_000
const MAX_FRAME_BYTES = 512 * 1024 * 1024
const MAX_KEPT_EVENTS = 10_000

/** First message: previews then come as type 4, which names their node and prompt; type 1 names neither. */
const FEATURES = JSON.stringify({ type: 'feature_flags', data: { supports_preview_metadata: true } })

function bytes(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)
}

/** One /ws session of `clientId`: reconnects for ever, but after a refusal. It keeps no process alive by itself. */
export function openSocket({ client, clientId, retryMs = 300, pingMs = 20_000 }: SocketOptions): ComfySocket {
  let current: SocketState = { state: 'connecting' }
  let socket: WebSocket | undefined
  let retry: NodeJS.Timeout | undefined
  let pause = retryMs
  let listener: { onEvent: (event: ComfyEvent) => void; onState: (state: SocketState) => void } | undefined
  let kept: ComfyEvent[] = []
  const settled = Promise.withResolvers<void>()

  function become(next: SocketState): void {
    if (current.state === 'closed') return
    current = next
    if (next.state !== 'connecting') settled.resolve()
    listener?.onState(next)
  }

  function heartbeat(to: WebSocket): void {
    let answered = true
    to.on('pong', () => {
      answered = true
    })
    const timer = setInterval(() => {
      if (!answered) return to.terminate()
      answered = false
      to.ping()
    }, pingMs).unref()
    to.once('close', () => clearInterval(timer))
  }

  function again(): void {
    if (current.state === 'closed' || current.state === 'refused') return
    become({ state: 'down' })
    retry = setTimeout(connect, pause).unref()
    pause = Math.min(pause * 2, MAX_RETRY_MS)
  }

  function connect(): void {
    const attempt = new WebSocket(client.socketUrl(clientId), {
      headers: client.credential,
      followRedirects: false,
      handshakeTimeout: 10_000,
      maxPayload: MAX_FRAME_BYTES,
      perMessageDeflate: false, // previews are packed already
    })
    socket = attempt
    attempt.once('open', () => {
      pause = retryMs
      attempt.send(FEATURES)
      heartbeat(attempt)
      become({ state: 'open' })
    })
    attempt.on('message', (data, isBinary) => {
      const event = parseFrame(isBinary ? bytes(data) : bytes(data).toString('utf8'))
      if (listener) listener.onEvent(event)
      else if (kept.length < MAX_KEPT_EVENTS) kept.push(event)
    })
    attempt.once('unexpected-response', (request, response) => {
      response.resume()
      request.destroy()
      const status = response.statusCode ?? 0
      if (status >= 400 && status < 500 && status !== 429) become({ state: 'refused', status })
      else again()
    })
    let over = false
    const end = (code: number): void => {
      if (over) return
      over = true
      if (code === 4401) become({ state: 'refused', status: 401 })
      else if (current.state !== 'refused') again()
    }
    attempt.once('close', end)
    attempt.on('error', () => {
      // a close follows where the socket was open; a failed dial has none that is ours to wait for
      if (attempt.readyState === WebSocket.CLOSED) end(1006)
    })
  }

  connect()
  return {
    clientId,
    get current() {
      return current
    },
    listen(onEvent, onState) {
      listener = { onEvent, onState }
      const before = kept
      kept = []
      for (const event of before) onEvent(event)
      onState(current)
      return () => {
        listener = undefined
      }
    },
    async ready(limitMs) {
      const timer = setTimeout(settled.resolve, limitMs)
      await settled.promise
      clearTimeout(timer)
    },
    close() {
      become({ state: 'closed' })
      clearTimeout(retry)
      socket?.on('error', () => {}) // closing an attempt that is still dialling reports itself as one
      socket?.close()
      setTimeout(() => socket?.terminate(), 500).unref()
    },
  }
}
