import { constants } from 'node:crypto'
import type { Server } from 'node:https'
import type { SecureContextOptions, TLSSocket } from 'node:tls'

/** PEM: the certificate with its chain, and its private key. */
export interface TlsPair {
  readonly cert: string
  readonly key: string
}

/** TLS 1.2 with forward secrecy and authenticated encryption, and all of 1.3: Mozilla's "intermediate" without DHE. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

export function secureContext({ cert, key }: TlsPair): SecureContextOptions {
  return {
    cert,
    key,
    minVersion: 'TLSv1.2',
    ciphers: CIPHERS,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  }
}

/**
 * Hands connections that chose h2 to `accept`; all others stay with node:http's own listener, so that its head times,
 * limits and Upgrades hold. (`http2.createSecureServer` with allowHTTP1 leaves slow heads open on Node 22.)
 */
export function divertHttp2(server: Server, accept: (socket: TLSSocket) => void): void {
  const http1 = server.listeners('secureConnection')
  server.removeAllListeners('secureConnection')
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.alpnProtocol === 'h2') accept(socket)
    else for (const listener of http1) listener.call(server, socket)
  })
}
