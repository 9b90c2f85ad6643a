import { constants } from 'node:crypto'
import type { Server } from 'node:https'
import type { Socket } from 'node:net'
import { createSecureContext, type SecureContextOptions, type TLSSocket } from 'node:tls'

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

/**
 * Mozilla's too, with the hybrid of ML-KEM where OpenSSL has it (3.5). The groups that are left out cost a server more than its
 * client, the finite fields above all (D(HE)at, CVE-2002-20001).
 */
const CURVES = ['X25519MLKEM768:X25519:P-256:P-384', 'X25519:P-256:P-384'].find((ecdhCurve) => {
  try {
    return createSecureContext({ ecdhCurve })
  } catch {
    return false // an OpenSSL that does not know one of them
  }
})

export function secureContext({ cert, key }: TlsPair): SecureContextOptions {
  return {
    cert,
    key,
    minVersion: 'TLSv1.2',
    ciphers: CIPHERS,
    ecdhCurve: CURVES,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  }
}

/** The bare sockets beneath the TLS of one server. */
export interface BareSockets {
  /** None where its peer is gone already: the system knows no address of it any more. */
  of(secure: TLSSocket): Socket | undefined
  all(): Iterable<Socket>
}

export function followBareSockets(server: Server): BareSockets {
  const sockets = new Map<string, Socket>()
  const endsOf = ({ localAddress, remoteAddress, remotePort }: Socket) =>
    `${localAddress} ${remoteAddress} ${remotePort}`
  server.on('connection', (socket: Socket) => {
    const ends = endsOf(socket)
    sockets.set(ends, socket)
    // The port of one that was reset may have come again by then
    socket.once('close', () => sockets.get(ends) === socket && sockets.delete(ends))
  })
  return {
    of: (secure) => (secure.remotePort === undefined ? undefined : sockets.get(endsOf(secure))),
    all: () => sockets.values(),
  }
}

/**
 * Hands connections that chose h2 to `accept`; all others stay with node:http's own listener, so that its head times,
 * limits and Upgrades hold. (`http2.createSecureServer` with allowHTTP1 leaves slow heads open on Node 22.)
 */
export function divertHttp2(
  server: Server,
  bareSockets: BareSockets,
  accept: (secure: TLSSocket, bare: Socket) => void,
): void {
  const http1 = server.listeners('secureConnection')
  server.removeAllListeners('secureConnection')
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.alpnProtocol !== 'h2') {
      for (const listener of http1) listener.call(server, socket)
      return
    }
    const bare = bareSockets.of(socket)
    if (bare) accept(socket, bare)
    else socket.destroy()
  })
}

/** Whoever speaks plain HTTP to a port of TLS, as OpenSSL knows it by its first bytes. */
const PLAIN_HTTP: ReadonlySet<string | undefined> = new Set(['ERR_SSL_HTTP_REQUEST', 'ERR_SSL_HTTPS_PROXY_REQUEST'])

export interface Connections {
  /** Cuts all of them: node:http knows neither those of HTTP/2 nor those that have not finished their handshake. */
  cut(): void
  /** Those that have not finished their handshake alone. */
  cutHandshakes(): void
}

/** Cuts a connection whose handshake fails, but hands its bare socket to `tellPlain` where it spoke plain HTTP. */
export function watchHandshakes(
  server: Server,
  sockets: BareSockets,
  tellPlain: (socket: Socket) => void,
): Connections {
  const secured = new WeakSet<Socket>()
  server.on('secureConnection', (secure: TLSSocket) => {
    const socket = sockets.of(secure)
    if (socket) secured.add(socket)
  })
  server.on('tlsClientError', (error: NodeJS.ErrnoException, secure: TLSSocket) => {
    const socket = PLAIN_HTTP.has(error.code) ? sockets.of(secure) : undefined
    if (socket) tellPlain(socket)
    else secure.destroy()
  })
  return {
    cut() {
      for (const socket of sockets.all()) socket.destroy()
    },
    cutHandshakes() {
      // One that is ended is being told of its plain HTTP
      for (const socket of sockets.all()) if (!secured.has(socket) && !socket.writableEnded) socket.destroy()
    },
  }
}
