import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { type WebSocket, WebSocketServer } from 'ws'
import { portOf } from '../support/ports.ts'

/** What a test lets the server answer: undefined falls through to 404. */
export type Route = (request: IncomingMessage, body: string, response: ServerResponse) => unknown

export interface Fake {
  readonly url: string
  /** `METHOD /path?query`, in order. */
  readonly requests: string[]
  readonly heads: IncomingMessage[]
  readonly sockets: Set<WebSocket>
  /** JSON frames to every socket. */
  send(...frames: unknown[]): void
  close(): Promise<void>
}

/**
 * A server that answers as one test wants: for what the simulated ComfyUI cannot be made to do (older versions, lies, cuts).
 * A route's value is sent as JSON, a string as it is; a route that has answered itself returns undefined.
 */
export async function startFake(
  routes: Readonly<Record<string, Route>>,
  options: { refuseSockets?: number } = {},
): Promise<Fake> {
  const requests: string[] = []
  const heads: IncomingMessage[] = []
  const sockets = new Set<WebSocket>()
  const server = createServer(async (request, response) => {
    requests.push(`${request.method} ${request.url}`)
    heads.push(request)
    const { pathname } = new URL(request.url!, 'http://x')
    const names = Object.keys(routes).filter((name) => `${request.method} ${pathname}`.startsWith(name))
    const route = routes[names.sort((a, b) => b.length - a.length)[0] ?? '']
    const body = await text(request).catch(() => '')
    const answer = route?.(request, body, response)
    if (response.headersSent || response.destroyed) return
    if (answer === undefined) {
      if (!route) response.writeHead(404).end()
      return
    }
    response.setHeader('content-type', 'application/json')
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer))
  })
  const socketServer = new WebSocketServer({ noServer: true })
  server.on('upgrade', (request, socket, head) => {
    requests.push(`UPGRADE ${request.url}`)
    heads.push(request)
    if (options.refuseSockets) {
      socket.end(`HTTP/1.1 ${options.refuseSockets} No\r\ncontent-length: 0\r\n\r\n`)
      return
    }
    socketServer.handleUpgrade(request, socket, head, (accepted) => {
      sockets.add(accepted)
      accepted.on('close', () => sockets.delete(accepted))
      accepted.send(
        JSON.stringify({ type: 'status', data: { status: { exec_info: { queue_remaining: 0 } }, sid: 'x' } }),
      )
    })
  })
  const port = await portOf(server)
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    heads,
    sockets,
    send(...frames) {
      for (const socket of sockets)
        for (const frame of frames) socket.send(Buffer.isBuffer(frame) ? frame : JSON.stringify(frame))
    },
    async close() {
      for (const socket of sockets) socket.terminate()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
