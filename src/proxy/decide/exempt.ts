import type { PageName, Policy, RequestFacts } from './facts.ts'
import { matchesPath } from './routes.ts'
import type { CanonicalPath } from './target.ts'

/** Where the guide's suffixes open a file without a key. */
const STATIC_ROOTS: ReadonlySet<string> = new Set(['assets', 'scripts', 'lib', 'fonts', 'cursor', 'templates', 'docs'])
const STATIC_FILES: ReadonlySet<string> = new Set(['/materialdesignicons.min.css', '/favicon.ico'])

const GUIDE_SUFFIXES: ReadonlySet<string> = new Set(
  '.html .js .css .json .png .jpg .jpeg .gif .webp .svg .ico .woff .woff2 .ttf .mp3 .wav .mp4 .webm'.split(' '),
)
/** Custom nodes publish their whole folder under /extensions. */
const EXTENSION_SUFFIXES: ReadonlySet<string> = new Set('.js .css .svg .woff .woff2 .ttf'.split(' '))

/** What the proxy answers itself; everything else goes upstream. */
export function ownPage(facts: RequestFacts, path: CanonicalPath | undefined): PageName | undefined {
  if (!path || facts.upgrade) return undefined
  const { method } = facts
  const reads = method === 'GET' || method === 'HEAD'
  switch (path.text) {
    case '/health':
      return reads ? 'health' : undefined
    case '/auth_login.html':
      return reads ? 'login' : method === 'POST' ? 'login-post' : undefined
    case '/auth_inject.js':
      return reads ? 'inject-script' : undefined
    case '/auth_logout':
      return method === 'POST' ? 'logout-post' : undefined
    default:
      return undefined
  }
}

/**
 * Rule 7: what is open without a key. It asks for a CanonicalPath, so that a doubtful path cannot be exempt, and is asked
 * before the principal, so that a stale cookie never hides the login page. Nothing under /api/, ever.
 */
export function isOpen(
  facts: RequestFacts,
  path: CanonicalPath | undefined,
  page: PageName | undefined,
  policy: Policy,
): boolean {
  if (page !== undefined) return page !== 'logout-post'
  if (!path || (facts.method !== 'GET' && facts.method !== 'HEAD') || path.segments[0] === 'api') return false
  // A folder's pattern is no path, also where a path is spelt like it
  if (facts.upgrade) return !path.text.endsWith('/*') && policy.exemptPaths.includes(path.text)
  if (policy.exempt === 'static' && isStatic(path)) return true
  return policy.exemptPaths.some((pattern) => matchesPath(pattern, path) || (isPage(pattern) && isPage(path.text)))
}

/** `/index.html` is `/`, whichever of the two was named. */
function isPage(text: string): boolean {
  return text === '/' || text === '/index.html'
}

function isStatic(path: CanonicalPath): boolean {
  const { segments } = path
  if (segments.length === 1) return STATIC_FILES.has(path.text)
  const suffix = suffixOf(segments[segments.length - 1]!)
  if (segments[0] === 'extensions') return EXTENSION_SUFFIXES.has(suffix)
  return STATIC_ROOTS.has(segments[0]!) && GUIDE_SUFFIXES.has(suffix)
}

/** Of the decoded last segment, in lower case. */
function suffixOf(name: string): string {
  const dot = name.lastIndexOf('.')
  return dot === -1 ? '' : name.slice(dot).toLowerCase()
}
