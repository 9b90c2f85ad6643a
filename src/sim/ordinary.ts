import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'

/**
 * Serves a request with an Upgrade header as the ordinary request that ComfyUI takes it for. Node hands its socket over
 * with the body unread, or drops what follows it; so the bytes are put back without that header and parsed anew, with all
 * that was pipelined behind them. `originals` keeps the request as it was sent, for the log.
 */
export function serveOrdinarily(
  server: Server,
  originals: WeakMap<Duplex, IncomingMessage>,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): void {
  const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`]
  const raw = request.rawHeaders
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase()
    if (name === 'upgrade') continue
    const value = name === 'connection' ? withoutUpgrade(raw[i + 1] ?? '') : raw[i + 1]
    if (value !== '' || name !== 'connection') lines.push(`${raw[i]}: ${value}`)
  }
  originals.set(socket, request)
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]))
  server.emit('connection', socket)
}

function withoutUpgrade(connection: string): string {
  return connection
    .split(',')
    .filter((token) => token.trim().toLowerCase() !== 'upgrade')
    .join(',')
}
