import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'

interface Netloc {
  readonly text: string
  readonly hostname: string
  readonly port: string | undefined
}

/** Python's urlparse of an authority: lower case, brackets off the name, no port is undefined. */
function netloc(authority: string): Netloc {
  const text = authority.slice(authority.lastIndexOf('@') + 1).toLowerCase()
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d*))?$/.exec(text)
  return { text, hostname: match?.[1] ?? match?.[2] ?? '', port: match?.[3] || undefined }
}

/** Names are not resolved here: localhost is the one that counts as this machine. */
function isLoopback(hostname: string): boolean {
  if (isIP(hostname) === 4) return hostname.startsWith('127.')
  if (isIP(hostname) === 6) return hostname === '::1'
  return hostname === 'localhost'
}

/**
 * ComfyUI's own check of who asks: any `Sec-Fetch-Site: cross-site` is refused, and on a loopback Host an Origin
 * whose host and port differ. Ports are only compared where both name one.
 */
export function isForeign(headers: IncomingHttpHeaders): boolean {
  if (headers['sec-fetch-site'] === 'cross-site') return true
  if (headers.host === undefined || headers.origin === undefined) return false
  const host = netloc(headers.host)
  const authority = /^(?:[a-z][a-z0-9+.-]*:)?\/\/([^/?#]*)/i.exec(headers.origin)?.[1] ?? ''
  const origin = netloc(authority)
  const ours = origin.port === undefined ? host.hostname : host.text
  const theirs = host.port === undefined ? origin.hostname : origin.text
  return isLoopback(host.hostname) && ours !== '' && theirs !== '' && ours !== theirs
}
