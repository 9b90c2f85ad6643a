import type { IncomingHttpHeaders } from 'node:http'

/** How a client framed its body; the parser has refused what is ambiguous. */
export interface Framing {
  readonly hasBody: boolean
  /** Undefined for a body whose length is not announced. */
  readonly contentLength: number | undefined
}

/** What is held of a client's connection; of an HTTP/2 stream only the stream itself. */
export interface ClientConnection {
  readonly remoteAddress?: string | undefined
  readonly destroyed: boolean
  destroy(): unknown
  end(): unknown
}

/** Told of what HTTP itself refuses, before anything is decided; without a request where its head could not be read. */
export type OnRefused = (status: number, from: Pick<ClientConnection, 'remoteAddress'>, request?: ClientRequest) => void

/** A request as the engine reads it: node:http's IncomingMessage is one, http2.ts makes the other. */
export interface ClientRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly httpVersion: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: string[]
  readonly socket: ClientConnection
  /** The whole request has come, body and all. */
  readonly complete: boolean
  readonly destroyed: boolean
  /** Set where the body's framing is not in the headers: HTTP/2. */
  readonly framing?: Framing
  on(event: 'data', listener: (chunk: Buffer) => void): this
  on(event: 'end' | 'close', listener: () => void): this
  on(event: 'error', listener: (error: Error) => void): this
  once(event: 'end' | 'close', listener: () => void): this
  off(event: 'data', listener: (chunk: Buffer) => void): this
  off(event: 'end' | 'close', listener: () => void): this
  off(event: 'error', listener: (error: Error) => void): this
  pause(): this
  resume(): this
  read(size?: number): unknown
}

/** An answer as the engine writes it: node:http's ServerResponse is one, http2.ts makes the other. */
export interface ClientResponse {
  /** Writable: whether another request may follow on this connection. Means nothing to HTTP/2. */
  shouldKeepAlive: boolean
  /** Told once an answer of our own was written, with its body's length in bytes (unread.ts). */
  reader?: { hold(response: ClientResponse, length: number): void }
  readonly statusCode: number
  readonly headersSent: boolean
  readonly destroyed: boolean
  readonly writableFinished: boolean
  /** Bytes that wait here for the connection. */
  readonly writableLength: number
  /** Headers as name, value, name, value. */
  writeHead(status: number, headers: string[]): this
  writeHead(status: number, statusText: string, headers: string[]): this
  writeContinue(): void
  flushHeaders(): void
  write(chunk: Buffer): boolean
  end(body?: string | Uint8Array): unknown
  end(body: string, encoding: 'latin1'): unknown
  destroy(): unknown
  on(event: 'close', listener: () => void): this
  once(event: 'drain', listener: () => void): this
}
