import { deflateSync, gzipSync } from 'node:zlib'
import { type Call, header } from './call.ts'
import type { SimFlags } from './options.ts'
import type { Reply } from './reply.ts'

const IMAGE = /\.(?:jpe?g|png|ppm|bmp|pgm|tiff?|webp)$/i
const CSP =
  "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self' data:; frame-src 'self'; object-src 'self';"

function has(reply: Reply, name: string): boolean {
  return reply.headers.some(([key]) => key.toLowerCase() === name)
}

/** Scripts, styles and index*.json are never stored; what is named like a picture is public for a day, a missing one for an hour. */
function cacheControl(path: string, reply: Reply): string | undefined {
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (path.endsWith('.js') || path.endsWith('.css') || (name.startsWith('index') && name.endsWith('.json')))
    return 'no-store'
  if (!IMAGE.test(path)) return undefined
  const status = reply.cacheStatus ?? reply.status
  if (status === 404) return 'public, max-age=3600'
  return status < 300 ? 'public, max-age=86400' : undefined
}

function compress(call: Call, reply: Reply): void {
  const type = reply.headers.find(([name]) => name === 'Content-Type')?.[1].split(';')[0]
  const accepted = header(call, 'accept-encoding') ?? ''
  if (type !== 'application/json' && type !== 'text/plain') return
  if (!Buffer.isBuffer(reply.body) || reply.body.length === 0 || !accepted.includes('gzip')) return
  const coding = accepted.includes('deflate') ? 'deflate' : 'gzip'
  reply.body = coding === 'deflate' ? deflateSync(reply.body) : gzipSync(reply.body)
  reply.headers.push(['Content-Encoding', coding])
}

/** What ComfyUI's middleware adds to a handler's answer; answers that the framework raised pass it by. */
export function finish(call: Call, reply: Reply, flags: SimFlags): Reply {
  if (reply.raised) return reply
  if (flags.disableApiNodes && call.method !== 'OPTIONS') reply.headers.push(['Content-Security-Policy', CSP])
  if (flags.corsHeader !== undefined) {
    reply.headers.push(
      ['Access-Control-Allow-Origin', flags.corsHeader],
      ['Access-Control-Allow-Methods', 'POST, GET, DELETE, PUT, OPTIONS, PATCH'],
      ['Access-Control-Allow-Headers', 'Content-Type, Authorization'],
      ['Access-Control-Allow-Credentials', 'true'],
    )
  }
  if (flags.compressResponses) compress(call, reply)
  const cache = cacheControl(call.target.decoded, reply)
  if (cache !== undefined && !has(reply, 'cache-control')) reply.headers.push(['Cache-Control', cache])
  return reply
}
