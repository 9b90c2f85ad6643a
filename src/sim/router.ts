import type { Call } from './call.ts'
import { type Reply, raised } from './reply.ts'
import { paramOf } from './target.ts'

export type Handler = (call: Call, params: readonly string[]) => Reply | Promise<Reply>

/** One line of the route table. `{name}` matches one segment, `{name:.*}` any rest, `{name:uuid}` a UUID. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD'
  readonly path: string
  readonly handler: Handler
  /** False where the route was registered elsewhere and has no copy under `/api`. */
  readonly twin?: boolean
}

interface Resource {
  readonly pattern: RegExp
  readonly methods: Map<string, Handler>
}

const PARTS: Readonly<Record<string, string>> = {
  '': '([^/]+)',
  '.*': '(.*)',
  uuid: '([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})',
}

function compile(path: string): RegExp {
  const source = path.replace(/\{\w+(?::([^}]+))?\}|[.*+?^$()|[\]\\]/g, (found, kind: string | undefined) =>
    found.startsWith('{') ? (PARTS[kind ?? ''] ?? '([^/]+)') : `\\${found}`,
  )
  return new RegExp(`^${source}$`, 's')
}

export type Found =
  | { readonly kind: 'route'; readonly handler: Handler; readonly params: readonly string[] }
  | { readonly kind: 'reply'; readonly reply: Reply }

/** Looks a method and a path up as aiohttp does: exact paths first, then patterns in the order in which they were made. */
export function createRouter(routes: readonly Route[], fallback: Handler): (method: string, path: string) => Found {
  const exact = new Map<string, Map<string, Handler>>()
  const patterns: Resource[] = []

  function add(method: string, path: string, handler: Handler): void {
    let methods: Map<string, Handler> | undefined
    if (path.includes('{')) {
      const pattern = compile(path)
      const known = patterns.find((resource) => resource.pattern.source === pattern.source)
      methods = known?.methods ?? new Map()
      if (!known) patterns.push({ pattern, methods })
    } else {
      methods = exact.get(path) ?? new Map()
      exact.set(path, methods)
    }
    if (!methods.has(method)) methods.set(method, handler)
    if (method === 'GET' && !methods.has('HEAD')) methods.set('HEAD', handler)
  }

  for (const route of routes) if (route.twin !== false) add(route.method, `/api${route.path}`, route.handler)
  for (const route of routes) add(route.method, route.path, route.handler)

  const notAllowed = (methods: Iterable<string>): Found => ({
    kind: 'reply',
    reply: raised(405, [['Allow', [...new Set(methods)].sort().join(',')]]),
  })

  return (method, path) => {
    const allowed: string[] = []
    const fixed = exact.get(path)
    if (fixed) {
      const handler = fixed.get(method)
      if (handler) return { kind: 'route', handler, params: [] }
      allowed.push(...fixed.keys())
    }
    for (const { pattern, methods } of patterns) {
      const match = pattern.exec(path)
      if (!match) continue
      const handler = methods.get(method)
      if (handler) return { kind: 'route', handler, params: match.slice(1).map(paramOf) }
      allowed.push(...methods.keys())
    }
    // /internal is an application of its own: nothing below it reaches the page's folder.
    if (path === '/internal' || path.startsWith('/internal/')) {
      return allowed.length > 0 ? notAllowed(allowed) : { kind: 'reply', reply: raised(404) }
    }
    if (method === 'GET' || method === 'HEAD') return { kind: 'route', handler: fallback, params: [] }
    return notAllowed([...allowed, 'GET', 'HEAD'])
  }
}
