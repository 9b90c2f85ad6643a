import { type BigIntStats, statSync } from 'node:fs'
import { extname } from 'node:path'
import { type Call, header } from './call.ts'
import { empty, type Reply } from './reply.ts'

/** Python's mimetypes, as far as ComfyUI's files need it; woff2 is unknown to it. */
const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css',
  '.html': 'text/html',
  '.htm': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.txt': 'text/plain',
  '.md': 'text/markdown',
  '.csv': 'text/csv',
  '.xml': 'text/xml',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.gif': 'image/gif',
  '.webp': 'image/webp',
  '.bmp': 'image/bmp',
  '.ico': 'image/vnd.microsoft.icon',
  '.mp4': 'video/mp4',
  '.webm': 'video/webm',
  '.mp3': 'audio/mpeg',
  '.flac': 'audio/x-flac',
  '.wav': 'audio/x-wav',
  '.wasm': 'application/wasm',
  '.pdf': 'application/pdf',
  '.zip': 'application/zip',
}

/** The type by a file's name, else octet-stream. */
export function typeOf(name: string): string {
  return TYPES[extname(name).toLowerCase()] ?? 'application/octet-stream'
}

const ACTIVE = new Set([
  'text/html',
  'text/javascript',
  'text/css',
  'image/svg+xml',
  'application/xml',
  'text/xml',
  'application/xhtml+xml',
])

/** A type that a browser may run or render as a page. */
export function isActive(type: string): boolean {
  return ACTIVE.has(type) || type.endsWith('+xml') || type.endsWith('/xml')
}

/** The file's stat, or undefined where there is no regular file. */
export function regularFile(path: string): BigIntStats | undefined {
  try {
    const stat = statSync(path, { bigint: true })
    return stat.isFile() ? stat : undefined
  } catch {
    return undefined
  }
}

function matches(list: string, etag: string): boolean {
  return list.trim() === '*' || list.split(',').some((one) => one.trim().replace(/^W\//, '') === etag)
}

function seconds(date: string | undefined): number | undefined {
  const ms = date === undefined ? Number.NaN : Date.parse(date)
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000)
}

/** aiohttp's FileResponse: validators, one range, 206, 304, 412 and 416. `headers` come first, as the handler set them. */
export function fileReply(
  call: Call,
  path: string,
  stat: BigIntStats,
  headers: [string, string][],
  type?: string,
): Reply {
  const etag = `"${stat.mtimeNs.toString(16)}-${stat.size.toString(16)}"`
  const modified = Number(stat.mtimeMs / 1000n)
  const size = Number(stat.size)
  const out: [string, string][] = [...headers]
  if (type !== undefined) out.push(['Content-Type', type])
  const validators: [string, string][] = [
    ['Etag', etag],
    ['Last-Modified', new Date(modified * 1000).toUTCString()],
  ]

  const ifMatch = header(call, 'if-match')
  const unmodified = seconds(header(call, 'if-unmodified-since'))
  if (ifMatch !== undefined ? !matches(ifMatch, etag) : unmodified !== undefined && modified > unmodified)
    return { ...empty(412), headers: out }

  const ifNone = header(call, 'if-none-match')
  const since = seconds(header(call, 'if-modified-since'))
  if (ifNone !== undefined ? matches(ifNone, etag) : since !== undefined && modified <= since) {
    // The type guessed by the framework is only added to a body; one that a handler named stays.
    return { status: 304, headers: [...headers, ...validators], body: undefined }
  }

  const ranges: [string, string] = ['Accept-Ranges', 'bytes']
  const range = header(call, 'range')
  const ifRange = seconds(header(call, 'if-range'))
  if (range !== undefined && (ifRange === undefined || modified <= ifRange)) {
    const found = /^bytes=(\d*)-(\d*)$/.exec(range)
    const from = found?.[1] ? Number(found[1]) : undefined
    const to = found?.[2] ? Number(found[2]) : undefined
    const start = from ?? Math.max(0, size - (to ?? 0))
    const end = from === undefined || to === undefined ? size - 1 : Math.min(to, size - 1)
    if (
      !found ||
      (from === undefined && to === undefined) ||
      start >= size ||
      (from !== undefined && to !== undefined && to < from)
    ) {
      return { ...empty(416), headers: [...out, ['Content-Range', `bytes */${size}`]] }
    }
    out.push(...validators, ranges, ['Content-Range', `bytes ${start}-${end}/${size}`])
    return { status: 206, headers: out, body: { path, start, end } }
  }
  out.push(...validators, ranges)
  return { status: 200, headers: out, body: { path, start: 0, end: size - 1 } }
}
