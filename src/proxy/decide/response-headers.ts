import { corsHeaders } from './cors.ts'
import type { ResponsePlan } from './facts.ts'
import { connectionNames } from './request-headers.ts'

/** Realm of our own 401, by which our script tells it from ComfyUI's (rule 13): no upstream may use it. */
export const REALM = 'comfy-auth'

/** Hop-by-hop, and what is set anew. */
const DROPPED: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'referrer-policy',
  'x-content-type-options',
])

/**
 * Rule 13: the upstream's raw headers (name, value, ...) as they go back. Content-Length stays, but for the index page,
 * whose body changes; Transfer-Encoding, Connection and Upgrade are the wire's, on a 101 too.
 */
export function responseHeaders(upstream: readonly string[], plan: ResponsePlan, status: number): string[] {
  const out: string[] = []
  const named = connectionNames(connectionOf(upstream))
  const missingStyle = plan.userStyle && status === 404
  let cacheControl: string | undefined
  for (let i = 0; i < upstream.length; i += 2) {
    const name = upstream[i]!.toLowerCase()
    const value = upstream[i + 1]!
    if (DROPPED.has(name) || named.has(name) || name.startsWith('access-control-')) continue
    switch (name) {
      case 'cache-control':
        cacheControl = cacheControl === undefined ? value : `${cacheControl}, ${value}`
        continue
      case 'set-cookie':
        if (setsOurs(value, plan.cookieNames)) continue
        break
      case 'www-authenticate':
        if (value.toLowerCase().includes(REALM)) continue
        break
      case 'content-length':
      case 'etag':
      case 'last-modified':
      case 'accept-ranges':
        // Of the page as it was before our script stood in it
        if (plan.index) continue
        break
      case 'content-type':
        if (missingStyle) continue
        break
      case 'expires':
      case 'pragma':
        if (plan.noStore) continue
        break
      case 'location':
        out.push(upstream[i]!, locationOf(value, plan))
        continue
    }
    out.push(upstream[i]!, value)
  }
  if (status === 101) return out
  if (missingStyle) out.push('Content-Type', 'text/css')
  const cache = cacheControlOf(cacheControl, plan)
  if (cache !== undefined) out.push('Cache-Control', cache)
  out.push('X-Content-Type-Options', 'nosniff', 'Referrer-Policy', 'same-origin')
  // A header of its own: beside the upstream's policy both hold
  out.push('Content-Security-Policy', plan.sandbox ? "sandbox; frame-ancestors 'self'" : "frame-ancestors 'self'")
  out.push(...corsHeaders(plan.corsOrigin))
  return out
}

/** No name of anybody's (RFC 2606): what resolves to it is relative. */
const OWN = ['http://comfy-auth.invalid', 'https://comfy-auth.invalid'] as const

/**
 * A custom node that redirects to `/x`, or to itself by the name that it has for us, knows nothing of --base-path or of
 * where browsers find it: both lead to our own path. What is relative, or leads elsewhere, stays. Both are read as browsers
 * read them (WHATWG URL): without tabs, a `\` as a `/`, and as many of them before a host as one likes.
 */
function locationOf(value: string, { basePath, upstreamHost }: ResponsePlan): string {
  const text = value.replace(/^[^!-\uffff]+|[\t\n\r]/g, '')
  if (/^[/\\](?![/\\])/.test(text)) return basePath === '' ? value : `${basePath}/${text.slice(1)}`
  const urls = OWN.map((origin) => URL.parse(text, origin))
  const isUpstream = urls.every(
    (url) =>
      url?.username === '' &&
      url.password === '' &&
      /^https?:$/.test(url.protocol) &&
      url.host === URL.parse(`${url.protocol}//${upstreamHost}`)?.host,
  )
  if (!isUpstream) return value
  const rest = text.replace(/^(?:https?:)?[/\\]*[^/\\?#]*/i, '')
  const path = /^[/\\]/.test(rest) ? rest.slice(1) : rest
  // `//h` would name a host: the dot says that it is a path (WHATWG URL, 4.5)
  return `${basePath}${basePath === '' && /^[/\\]/.test(path) ? '/.' : ''}/${path}`
}

function connectionOf(upstream: readonly string[]): string | undefined {
  let connection: string | undefined
  for (let i = 0; i < upstream.length; i += 2) {
    const name = upstream[i]!
    if (name.length === 10 && name.toLowerCase() === 'connection') {
      connection = connection === undefined ? upstream[i + 1]! : `${connection},${upstream[i + 1]}`
    }
  }
  return connection
}

/** `private` in place of `public`, and where neither it nor no-store stands; no-store for a key in the query. */
function cacheControlOf(value: string | undefined, plan: ResponsePlan): string | undefined {
  if (plan.noStore) return 'no-store'
  if (!plan.private) return value
  if (value === undefined || value.trim() === '') return 'private'
  let isPrivate = false
  const directives: string[] = []
  for (const part of value.split(',')) {
    const directive = part.trim()
    const name = directive.toLowerCase()
    // `private="set-cookie"` keeps only that field from shared caches
    if (name === 'private' || name === 'no-store') isPrivate = true
    if (name !== 'public' && name !== '' && !name.startsWith('s-maxage')) directives.push(directive)
  }
  if (!isPrivate) directives.unshift('private')
  return directives.join(', ')
}

/** By name, whatever its case; a nameless `=name=value` comes back as `name=value`. */
function setsOurs(value: string, cookieNames: readonly string[]): boolean {
  const text = value.replace(/^[\s=]+/, '')
  const end = text.search(/[=;]/)
  const name = (end === -1 ? text : text.slice(0, end)).trim().toLowerCase()
  return cookieNames.some((cookieName) => cookieName.toLowerCase() === name)
}
