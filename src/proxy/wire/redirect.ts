import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Places } from './places.ts'
import { protocolAnswer, respond } from './respond.ts'
import type { ServerLimits } from './server.ts'

export interface RedirectOptions {
  readonly host: string
  readonly port: number
  readonly limits: ServerLimits
  /** Shared by all listeners. */
  readonly places: Places
  /** Where this Host is served over TLS: an origin, or undefined where the name is not ours. */
  readonly originFor: (host: string) => string | undefined
}

export interface Redirect {
  readonly port: number
  close(): Promise<void>
}

/** A plain-HTTP port that knows one thing: where the page is to be found over TLS. Nothing is forwarded, no key is read. */
export async function listenForRedirect({ host, port, limits, places, originFor }: RedirectOptions): Promise<Redirect> {
  const server = createServer(
    { maxHeaderSize: limits.headBytes, headersTimeout: limits.headMs, connectionsCheckingInterval: 1_000 },
    (request, response) => {
      response.shouldKeepAlive = false
      const { host: names = [] } = request.headersDistinct
      const origin = names.length === 1 ? originFor(names[0]!) : undefined
      const { method, url = '' } = request
      if (method !== 'GET' && method !== 'HEAD') {
        respond(request, response, protocolAnswer(400, 'This port only sends browsers on to HTTPS.'))
      } else if (origin === undefined || !url.startsWith('/') || url.startsWith('//')) {
        respond(request, response, protocolAnswer(400, 'No such name is served here.'))
      } else {
        const headers = ['Location', origin + url, 'Cache-Control', 'no-store']
        respond(request, response, { status: 308, headers, body: '' })
      }
    },
  )
  places.guard(server, () => server.closeIdleConnections())
  server.listen({ host, port })
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}
