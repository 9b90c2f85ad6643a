import { dumpJson, type Writable } from './json.ts'

/** An answer before it is written. `raised` ones come from the framework: CORS and cache headers are not put on them. */
export interface Reply {
  status: number
  /** Name and value, in the order in which they go out. */
  headers: [string, string][]
  body: Buffer | FileBody | undefined
  /** Sent with chunked encoding and no Content-Length, as aiohttp does for a static file that is missing. */
  chunked?: boolean
  raised?: boolean
  /** The status that the cache rules see where it is not the one that is sent. */
  cacheStatus?: number
  /** The connection ends after this answer. */
  close?: boolean
}

/** Part of a file on disk: `start` to `end`, both inclusive. */
export interface FileBody {
  readonly path: string
  readonly start: number
  readonly end: number
}

/** What the recorded server calls itself. */
export const SERVER = 'Python/3.12 aiohttp/3.14.5'

const JSON_TYPE: [string, string] = ['Content-Type', 'application/json; charset=utf-8']
const TEXT_TYPE: [string, string] = ['Content-Type', 'text/plain; charset=utf-8']

/** 200 JSON, or another status. */
export function json(value: Writable, status = 200): Reply {
  return jsonText(dumpJson(value), status)
}

/** JSON that is written already. */
export function jsonText(text: string | Buffer, status = 200): Reply {
  const body = typeof text === 'string' ? Buffer.from(text) : text
  return { status, headers: [JSON_TYPE], body }
}

/** A text/plain answer of a handler. */
export function text(body: string, status = 200): Reply {
  return { status, headers: [TEXT_TYPE], body: Buffer.from(body) }
}

/** An answer without a body: aiohttp sends no Content-Type with it. */
export function empty(status = 200): Reply {
  return { status, headers: [], body: Buffer.alloc(0) }
}

const REASONS: Readonly<Record<number, string>> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
}

/** An HTTP error that the framework raises: `404: Not Found` as text. */
export function raised(status: number, headers: [string, string][] = []): Reply {
  return {
    status,
    headers: [TEXT_TYPE, ...headers],
    body: Buffer.from(`${status}: ${REASONS[status] ?? ''}`),
    raised: true,
  }
}

/** A static file that is not there: chunked, octet-stream, empty; to the cache rules it still looks like a 200. */
export function missingFile(): Reply {
  return {
    status: 404,
    headers: [['Content-Type', 'application/octet-stream']],
    body: undefined,
    chunked: true,
    cacheStatus: 200,
  }
}

/** What an exception in a handler becomes. */
export function serverError(): Reply {
  return { ...text('500 Internal Server Error\n\nServer got itself in trouble', 500), raised: true }
}

/** 413, while the body is still coming in. */
export function tooLarge(limit: number): Reply {
  return { ...text(`Maximum request body size ${limit} exceeded.`, 413), raised: true }
}
