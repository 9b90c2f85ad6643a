// A ComfyUI for floods: node upstream.ts PORT. Small answers, one of 64 MiB, bodies read to their end, sockets that stay, a page that comes as gzip unasked.
import { createHash } from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { SMALL_BODY } from '../upstream.ts'

const PIECE = Buffer.alloc(64 * 1024, 0x61)
const PIECES = 1_024
const BOMB = gzipSync(Buffer.alloc(256 * 1024 * 1024))
const BIG = new Set(['/assets/big.js', '/view'])

/** No faster than it is read. */
function big(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/javascript', 'content-length': PIECE.length * PIECES })
  let sent = 0
  const more = () => {
    while (sent < PIECES) {
      sent++
      if (!response.write(PIECE)) {
        response.once('drain', more)
        return
      }
    }
    response.end()
  }
  more()
}

const server = createServer((request, response) => {
  const path = request.url!.split('?')[0]!
  if (BIG.has(path)) {
    big(response)
  } else if (path === '/') {
    response.writeHead(200, { 'content-type': 'text/html', 'content-encoding': 'gzip' }).end(BOMB)
  } else {
    request.resume().on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end(SMALL_BODY))
  }
})
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(
    `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`,
  )
  socket.on('error', () => {}).on('end', () => socket.end())
  socket.resume()
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept.digest('base64')}\r\n\r\n`,
  )
})
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4_096 })
