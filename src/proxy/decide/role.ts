import { isAtLeast, type Role } from '../../keys/roles.ts'
import { owns } from './body-rules.ts'
import type { Policy, Principal, Refusal, RequestFacts } from './facts.ts'
import { refusal } from './refusal.ts'
import { findExtraRoute, findRoute, type Route } from './routes.ts'
import type { CanonicalPath } from './target.ts'

/** What a request's path stands for: a row of the table, or of --route, or neither (admin's). */
export interface Standpoint {
  readonly route: Route | undefined
  readonly role: Role
  /** ComfyUI's own route: what it does is known. */
  readonly known: boolean
}

const UNKNOWN: Standpoint = { route: undefined, role: 'admin', known: false }

/** Rule 8: the table first, then --route, then admin's; a path that is not canonical is admin's whatever it looks like. */
export function standpointOf(facts: RequestFacts, path: CanonicalPath | undefined, policy: Policy): Standpoint {
  if (!path) return UNKNOWN
  const route = findRoute(facts.method, path)
  if (route) return { route, role: leastRole(route, path), known: route.mark !== 'manager' }
  const extra = findExtraRoute(facts.method, path, policy.extraRoutes)
  return extra ? { route: undefined, role: extra.role, known: false } : UNKNOWN
}

/** `user.css` styles every user's page. */
function leastRole(route: Route, path: CanonicalPath): Role {
  return route.mark === 'user-file' && path.segments.some(isUserCss) ? 'admin' : route.role
}

/** As a file system may read it: without regard to case or form, trailing dots and blanks off, a stream's name too. */
function isUserCss(name: string): boolean {
  const folded = name.normalize('NFKC').toLowerCase()
  const stream = folded.indexOf(':')
  return (stream === -1 ? folded : folded.slice(0, stream)).replace(/[. ]+$/, '') === 'user.css'
}

/** 403 that names the role needed; a job named in the path must be the principal's own, or it is admin's. */
export function requireRole(
  principal: Principal,
  standpoint: Standpoint,
  path: CanonicalPath | undefined,
  policy: Policy,
): Refusal | undefined {
  if (!isAtLeast(principal.role, standpoint.role)) return { ...refusal(403, 'role'), roleNeeded: standpoint.role }
  if (standpoint.route?.mark !== 'stop-in-path' || principal.role === 'admin' || !path) return undefined
  const promptId = path.segments[path.segments.length - 2]!
  return owns(principal, promptId, policy) ? undefined : refusal(403, 'not-own-prompt')
}
