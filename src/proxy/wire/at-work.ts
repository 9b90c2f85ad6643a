import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type Linked, LinkedList } from './linked-list.ts'

interface Open extends Linked<Open> {
  readonly socket: Socket
}

/**
 * The connections of HTTP/1 on `server`, to cut those on which nothing runs. `closeIdleConnections()` takes one that never asked for
 * one at work, and half a head too; once the server is told to close it no longer looks whether heads come in time, either.
 */
export function followHttp1(
  server: Server,
  opened: 'connection' | 'secureConnection',
  isAtWork: (socket: Socket) => boolean,
): () => void {
  const list = new LinkedList<Open>()
  server.on(opened, (socket: Socket | TLSSocket) => {
    if ('alpnProtocol' in socket && socket.alpnProtocol === 'h2') return
    const open: Open = { socket }
    list.push(open)
    socket.once('close', () => list.delete(open))
  })
  return () => {
    for (const { socket } of list) {
      // What is ended already has words under way, and its own time for them
      if (!socket.writableEnded && !isAtWork(socket)) socket.destroy()
    }
  }
}
