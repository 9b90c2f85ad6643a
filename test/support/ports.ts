import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'

/** Has it listen on loopback, and gives the port. */
export async function portOf(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

/** A port that was free a moment ago, for who must be told it before it listens. */
export async function freePort(): Promise<number> {
  const server = createServer()
  const port = await portOf(server)
  await once(server.close(), 'close')
  return port
}
