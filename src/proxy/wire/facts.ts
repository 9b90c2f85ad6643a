import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { RequestFacts } from '../decide/facts.ts'
import type { ClientRequest } from './client.ts'

/** Of a head as the parser made it: nothing is decoded, joined or dropped. */
export function requestFacts(request: ClientRequest, secure: boolean, upgrade: boolean, nowMs: number): RequestFacts {
  return {
    method: request.method!,
    target: request.url!,
    headers: request.rawHeaders,
    http2: request.httpVersion === '2.0',
    peer: request.socket.remoteAddress ?? '',
    secure,
    upgrade,
    nowMs,
    freshClientId: upgrade ? randomBytes(16).toString('hex') : '',
  }
}

/**
 * Only a GET of HTTP/1.1 with `Upgrade: websocket` and without a body is an Upgrade (rule 11); elsewhere the header means
 * nothing and the request is an ordinary one.
 */
export function isWebSocketUpgrade(request: IncomingMessage): boolean {
  const { upgrade, 'content-length': length, 'transfer-encoding': coding } = request.headers
  return (
    request.method === 'GET' &&
    request.httpVersion === '1.1' &&
    upgrade?.trim().toLowerCase() === 'websocket' &&
    (length === undefined || length === '0') &&
    coding === undefined
  )
}

/** What node:http's strict parser lets by and we do not: undefined, or why the request is refused. */
export function headFault(request: IncomingMessage): string | undefined {
  const { httpVersion } = request
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 'This HTTP version is not spoken here.'
  const coding = request.headers['transfer-encoding']
  if (coding === undefined) return undefined
  if (httpVersion === '1.0') return 'HTTP/1.0 knows no Transfer-Encoding.'
  // The parser takes off `chunked` alone: any coding before it would go up as if it were the body.
  return coding.trim().toLowerCase() === 'chunked' ? undefined : 'Transfer-Encoding may be chunked and nothing else.'
}
