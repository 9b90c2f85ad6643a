import type { Role } from '../../keys/roles.ts'
import type { ExtraRoute } from './facts.ts'
import type { CanonicalPath } from './target.ts'

/** What else the proxy does for a route, beyond its role. */
export type Mark =
  /** The page: auth_inject.js is put in, and cross-site navigations may come. */
  | 'index'
  /** ComfyUI's own socket, which has a clientId. */
  | 'socket'
  /** Files that people uploaded: a sandbox CSP on the answer. */
  | 'sandbox'
  /** The answer's prompt_id may become the principal's own. */
  | 'prompt'
  /** `user` may stop its own prompt: named in the body, in a list in the body, or in the path. */
  | 'stop-one'
  | 'stop-queued'
  | 'stop-many'
  | 'stop-in-path'
  /** Only admin may write or move `user.css`. */
  | 'user-file'
  /** Not ComfyUI's: older versions change state by GET, so rule 9 takes them as unknown. */
  | 'manager'

export interface Route {
  /** GET answers HEAD too; `*` is every method. */
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | '*'
  /** `{x}` is one segment, `{uuid}` one that looks so, a last `*` everything below. */
  readonly path: string
  /** Also under `/api`. */
  readonly twin: boolean
  readonly role: Role
  readonly mark: Mark | undefined
}

const TWIN = true
const BARE = false

function route(method: Route['method'], path: string, twin: boolean, role: Role, mark?: Mark): Route {
  return { method, path, twin, role, mark }
}

/**
 * Rule 8: every route of ComfyUI 0.33.0 and the least role for it. The twin under `/api` is a column and never a
 * stripped prefix: `/api/assets` holds users' files, `/assets` the public page. What is not here is admin's.
 */
export const ROUTES: readonly Route[] = [
  route('GET', '/', TWIN, 'viewer', 'index'),
  route('GET', '/index.html', BARE, 'viewer', 'index'),
  route('GET', '/ws', TWIN, 'viewer', 'socket'),
  route('GET', '/system_stats', TWIN, 'viewer'),
  route('GET', '/features', TWIN, 'viewer'),
  route('GET', '/prompt', TWIN, 'viewer'),
  route('GET', '/queue', TWIN, 'viewer'),
  route('GET', '/history', TWIN, 'viewer'),
  route('GET', '/history/{id}', TWIN, 'viewer'),
  route('GET', '/object_info', TWIN, 'viewer'),
  route('GET', '/object_info/{class}', TWIN, 'viewer'),
  route('GET', '/embeddings', TWIN, 'viewer'),
  route('GET', '/models', TWIN, 'viewer'),
  route('GET', '/models/{folder}', TWIN, 'viewer'),
  route('GET', '/experiment/models', TWIN, 'viewer'),
  route('GET', '/experiment/models/{folder}', TWIN, 'viewer'),
  route('GET', '/experiment/models/preview/{folder}/{index}/*', TWIN, 'viewer'),
  route('GET', '/view_metadata/{folder}', TWIN, 'viewer'),
  route('GET', '/view', TWIN, 'viewer', 'sandbox'),
  route('GET', '/extensions', TWIN, 'viewer'),
  route('GET', '/i18n', TWIN, 'viewer'),
  route('GET', '/workflow_templates', TWIN, 'viewer'),
  route('GET', '/node_replacements', TWIN, 'viewer'),
  route('GET', '/global_subgraphs', TWIN, 'viewer'),
  route('GET', '/global_subgraphs/{id}', TWIN, 'viewer'),
  route('GET', '/settings', TWIN, 'viewer'),
  route('GET', '/settings/{id}', TWIN, 'viewer'),
  route('GET', '/users', TWIN, 'viewer'),
  route('GET', '/userdata', TWIN, 'viewer', 'sandbox'),
  route('GET', '/userdata/{file}', TWIN, 'viewer', 'sandbox'),
  route('GET', '/v2/userdata', TWIN, 'viewer'),
  route('GET', '/api/jobs', TWIN, 'viewer'),
  route('GET', '/api/jobs/{id}', TWIN, 'viewer'),
  route('GET', '/api/assets', BARE, 'viewer'),
  route('GET', '/api/assets/{uuid}', BARE, 'viewer'),
  route('GET', '/api/assets/{uuid}/content', BARE, 'viewer', 'sandbox'),
  route('GET', '/api/assets/tags/refine', BARE, 'viewer'),
  route('GET', '/api/assets/seed/status', BARE, 'viewer'),
  route('HEAD', '/api/assets/hash/{hash}', BARE, 'viewer'),
  route('GET', '/api/tags', BARE, 'viewer'),

  route('POST', '/prompt', TWIN, 'user', 'prompt'),
  route('POST', '/upload/image', TWIN, 'user'),
  route('POST', '/upload/mask', TWIN, 'user'),
  route('POST', '/userdata/{file}', TWIN, 'user', 'user-file'),
  route('DELETE', '/userdata/{file}', TWIN, 'user', 'user-file'),
  route('POST', '/userdata/{file}/move/{dest}', TWIN, 'user', 'user-file'),
  route('POST', '/settings', TWIN, 'user'),
  route('POST', '/settings/{id}', TWIN, 'user'),
  route('POST', '/interrupt', TWIN, 'user', 'stop-one'),
  route('POST', '/queue', TWIN, 'user', 'stop-queued'),
  route('POST', '/api/jobs/cancel', TWIN, 'user', 'stop-many'),
  route('POST', '/api/jobs/{id}/cancel', TWIN, 'user', 'stop-in-path'),

  route('POST', '/history', TWIN, 'admin'),
  route('POST', '/free', TWIN, 'admin'),
  route('POST', '/users', TWIN, 'admin'),
  route('POST', '/api/assets', BARE, 'admin'),
  route('POST', '/api/assets/from-hash', BARE, 'admin'),
  route('PUT', '/api/assets/{uuid}', BARE, 'admin'),
  route('DELETE', '/api/assets/{uuid}', BARE, 'admin'),
  route('POST', '/api/assets/{uuid}/tags', BARE, 'admin'),
  route('DELETE', '/api/assets/{uuid}/tags', BARE, 'admin'),
  route('POST', '/api/assets/seed', BARE, 'admin'),
  route('POST', '/api/assets/seed/cancel', BARE, 'admin'),
  route('POST', '/api/assets/prune', BARE, 'admin'),
  route('GET', '/internal/logs', BARE, 'admin'),
  route('GET', '/internal/logs/raw', BARE, 'admin'),
  route('PATCH', '/internal/logs/subscribe', BARE, 'admin'),
  route('GET', '/internal/folder_paths', BARE, 'admin'),
  route('GET', '/internal/files/{kind}', BARE, 'admin'),

  // ComfyUI-Manager, v3 and v4: before the static folders, of which one is its own
  route('*', '/v2/manager/*', TWIN, 'admin', 'manager'),
  route('*', '/v2/customnode/*', TWIN, 'admin', 'manager'),
  route('*', '/v2/snapshot/*', TWIN, 'admin', 'manager'),
  route('*', '/v2/comfyui_manager/*', TWIN, 'admin', 'manager'),
  route('*', '/v2/externalmodel/*', TWIN, 'admin', 'manager'),
  route('*', '/manager/*', TWIN, 'admin', 'manager'),
  route('*', '/customnode/*', TWIN, 'admin', 'manager'),
  route('*', '/externalmodel/*', TWIN, 'admin', 'manager'),
  route('*', '/snapshot/*', TWIN, 'admin', 'manager'),
  route('*', '/comfyui_manager/*', TWIN, 'admin', 'manager'),
  route('*', '/extensions/comfyui-manager-legacy/*', BARE, 'admin', 'manager'),

  // The page's own files; rule 7 opens some of them
  route('GET', '/assets/*', BARE, 'viewer'),
  route('GET', '/scripts/*', BARE, 'viewer'),
  route('GET', '/lib/*', BARE, 'viewer'),
  route('GET', '/fonts/*', BARE, 'viewer'),
  route('GET', '/cursor/*', BARE, 'viewer'),
  route('GET', '/templates/*', BARE, 'viewer'),
  route('GET', '/docs/*', BARE, 'viewer'),
  route('GET', '/extensions/*', BARE, 'viewer'),
  route('GET', '/api/workflow_templates/{module}/*', BARE, 'viewer'),
  route('GET', '/materialdesignicons.min.css', BARE, 'viewer'),
  route('GET', '/favicon.ico', BARE, 'viewer'),
  route('GET', '/user.css', BARE, 'viewer'),
]

interface Pattern {
  readonly segments: readonly string[]
  readonly tail: boolean
  readonly route: Route
}

/** Both names of a route, so that each is looked up whole. */
export function pathsOf({ path, twin }: Route): readonly string[] {
  return twin ? [path, `/api${path}`] : [path]
}

const exact = new Map<string, Route[]>()
const byCount = new Map<number, Pattern[]>()
const tails: Pattern[] = []

for (const row of ROUTES) {
  for (const path of pathsOf(row)) {
    const tail = path.endsWith('/*')
    const segments = (tail ? path.slice(1, -2) : path.slice(1)).split('/')
    if (tail) tails.push({ segments, tail, route: row })
    else if (path.includes('{')) push(byCount, segments.length, { segments, tail, route: row })
    else push(exact, path, row)
  }
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const values = map.get(key)
  if (values) values.push(value)
  else map.set(key, [value])
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

function fits(pattern: Pattern, segments: readonly string[]): boolean {
  const { segments: parts, tail } = pattern
  if (tail ? segments.length <= parts.length : segments.length !== parts.length) return false
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!
    const segment = segments[i]!
    if (part === '{uuid}' ? !UUID.test(segment) : part.startsWith('{') ? segment === '' : segment !== part) return false
  }
  return true
}

function answers(row: Route | ExtraRoute, method: string): boolean {
  return row.method === method || row.method === '*' || (row.method === 'GET' && method === 'HEAD')
}

/** The row for a method and a path, by its exact name; undefined where ComfyUI has no such route: admin's. */
export function findRoute(method: string, path: CanonicalPath): Route | undefined {
  const named = exact.get(path.text)?.find((row) => answers(row, method))
  if (named) return named
  const { segments } = path
  const patterns = byCount.get(segments.length)
  if (patterns) {
    for (const pattern of patterns) {
      if (answers(pattern.route, method) && fits(pattern, segments)) return pattern.route
    }
  }
  for (const pattern of tails) {
    if (answers(pattern.route, method) && fits(pattern, segments)) return pattern.route
  }
  return undefined
}

/** The table names this path, or with `below` everything below it: --route would change nothing there. */
export function isInTable(method: string, path: CanonicalPath, below: boolean): boolean {
  if (!below) return findRoute(method, path) !== undefined
  const segments = [...path.segments, '*']
  return tails.some((pattern) => answers(pattern.route, method) && fits(pattern, segments))
}

/** A decoded path of the owner's, or one that ends in `/*`, against a request's: segment by segment, so that a `/` that is data stays data. */
export function matchesPath(pattern: string, path: CanonicalPath): boolean {
  const tail = pattern.endsWith('/*')
  const parts = (tail ? pattern.slice(1, -2) : pattern.slice(1)).split('/')
  const { segments } = path
  if (tail ? segments.length <= parts.length : segments.length !== parts.length) return false
  return parts.every((part, i) => part === segments[i])
}

/** `--route`: the owner's word for what the table does not name. The first that fits holds. */
export function findExtraRoute(
  method: string,
  path: CanonicalPath,
  routes: readonly ExtraRoute[],
): ExtraRoute | undefined {
  return routes.find((row) => answers(row, method) && matchesPath(row.path, path))
}
